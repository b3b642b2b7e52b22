"""Arrays to look through with hvplot: live in JupyterLab and without a network; a still picture where nobody sits before it."""

from __future__ import annotations

import base64
import io
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from geonb.plots.style import RC, described

if TYPE_CHECKING:
    import xarray as xr

# Panel adds itself only to a Bokeh that it loads: of one that is there already (a map's) it makes nothing
ALONE = "if (window.Bokeh && !window.Bokeh.Panel) delete window.Bokeh"


def offline() -> None:
    """Give arrays ``.hvplot``, as ``import hvplot.xarray`` does, but from this machine: nothing is asked of any network.

    To be called in place of that import, or before it. In a headless run (``GEONB_HEADLESS=1``) what hvplot draws is shown as a
    still picture of its first frame, by matplotlib: a report has no kernel.

    Warns
    -----
    UserWarning
        If a notebook imported hvplot before: it has asked a CDN for its code then, and without a network its plots stay empty.
    """
    import holoviews as hv
    from IPython import get_ipython
    from IPython.display import display
    from IPython.utils.capture import capture_output
    from panel.viewable import Viewable

    if os.environ.get("GEONB_HEADLESS") == "1":
        with capture_output():  # megabytes of JavaScript, which nobody will run
            import hvplot.xarray

            hvplot.extension("matplotlib", compatibility="bokeh")
        hv.Store.display_formats = ["png"]
        hv.Store.set_display_hook("png", hv.core.Dimensioned, _still)
        return
    if _with_styles not in Viewable._preprocessing_hooks:
        if "hvplot.xarray" in sys.modules and hasattr(hv.extension, "inline"):
            warnings.warn(
                "hvplot was imported before geonb.offline() and has asked a CDN for its code: without a network its plots stay "
                "empty. Restart the kernel and call geonb.offline() first; it imports hvplot.",
                stacklevel=2,
            )
        Viewable._preprocessing_hooks.append(_with_styles)
    if get_ipython() is not None:
        display({"application/javascript": ALONE, "text/plain": ""}, raw=True)
    hv.extension.inline = True  # the default of every extension from here on, and importing hvplot loads one
    import hvplot.xarray


def _with_styles(viewable: Any, root: Any) -> None:
    """Panel's style sheets lie on a CDN even where its code is inline: give each along as a data URL."""
    from bokeh.models import ImportedStyleSheet
    from panel.io.resources import CDN_DIST, DIST_DIR

    for sheet in root.select({"type": ImportedStyleSheet}):
        file = DIST_DIR / sheet.url.removeprefix(CDN_DIST).partition("?")[0]
        if sheet.url.startswith(CDN_DIST) and file.is_file():
            sheet.url = "data:text/css;base64," + base64.b64encode(file.read_bytes()).decode()


def _still(plot: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The first frame of what hvplot drew, as a PNG with its text."""
    import holoviews as hv
    import matplotlib.pyplot as plt

    with plt.rc_context(RC):
        figure = hv.render(plot, backend="matplotlib")
        figure.axes[0].xaxis.get_major_locator().set_params(nbins=4)
        file = io.BytesIO()
        figure.savefig(file, format="png", bbox_inches="tight")
    plt.close(figure)
    return {"image/png": file.getvalue()}, {"image/png": {"alt": described(figure)}}


def numbers(tree: xr.DataTree) -> xr.DataArray | None:
    """The numbers on a grid of a store's `arrays` or of predictions that have most to look through, or None where none lie on one.

    Returns
    -------
    DataArray (..., y, x) of the first group that has such: of its floating ones that begin with anything, that with the most dimensions
    """
    for group in tree.children.values():
        found = [
            array for array in group.data_vars.values() if {"y", "x"} <= set(array.dims) and array.dtype.kind == "f"
        ]
        if found:
            array = max(found, key=lambda one: (_begins(one), one.ndim))
            # a widget wants a number for each position, and each once: scenes may share a time, an embedding's dims have none
            bare = [dim for dim in array.dims if dim not in array.indexes or not array.indexes[dim].is_unique]
            return array.assign_coords({dim: range(array.sizes[dim]) for dim in bare})
    return None


def _begins(array: xr.DataArray) -> bool:
    """Whether the first picture of an array shows anything: of deaths that a model does not forecast it would be empty."""
    return bool(array.isel({dim: 0 for dim in array.dims if dim not in ("y", "x")}).notnull().any())
