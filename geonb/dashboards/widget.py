"""The explorer live in a notebook: the viewer as a widget whose kernel reads from disk what the screen needs."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from PIL import Image

from geonb.base.conventions import short
from geonb.dashboards.frozen import frozen
from geonb.dashboards.page import TEMPLATES, VIEWER, code

if TYPE_CHECKING:
    from geonb.dashboards.explorer import Explorer

STILL_PX = 800  # a side of the picture that a notebook without kernel shows
# The picture stands before the widget and gives way to it; reopened without kernel, the widget's error gives way to the picture.
STILL = """<style>.jp-OutputArea-child:has(+ .jp-OutputArea-child .geonb-explorer) {{ display: none }}
.jp-OutputArea-child:has(.geonb-still) + .jp-OutputArea-child:not(:has(.geonb-explorer)) {{ display: none }}</style>
<figure class="geonb-still" style="margin:0"><img src="data:image/png;base64,{picture}" alt="{title}" style="max-width:100%">
<figcaption>{title}. A still picture: run the cell for the map that answers.</figcaption></figure>"""


def headless() -> bool:
    """Whether the runner said that nobody sits before the notebook (``GEONB_HEADLESS=1``): maps are then frozen."""
    return os.environ.get("GEONB_HEADLESS") == "1"


def show(explorer: Explorer, budget_mb: float = 4) -> Any:
    """Show an explorer: live in JupyterLab, frozen into the page when the runner set ``GEONB_HEADLESS=1``.

    Returns
    -------
    IPython.display.HTML, or the widget of `live`
    """
    return frozen(explorer, budget_mb) if headless() else live(explorer)


def live(explorer: Explorer) -> Any:
    """Make the viewer as a widget.

    Returns
    -------
    anywidget.AnyWidget
        Its traits ``state`` (what is shown, what was clicked, the region drawn: set by the viewer) and ``wanted`` (dict of
        ``at``, ``top``, ``below``, ``compare``, ``opacity``: set it to move the viewer) can be read and set from cells.
    """
    import anywidget
    import traitlets

    class Viewer(anywidget.AnyWidget):
        _esm = code(*VIEWER, "widget.js")
        _css = (TEMPLATES / "viewer.css").read_text(encoding="utf-8")
        facts = traitlets.Dict().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)
        wanted = traitlets.Dict().tag(sync=True)

        def _repr_mimebundle_(self, **options: Any) -> Any:
            from IPython.display import HTML, display

            picture = base64.b64encode(still(explorer)).decode()
            display(HTML(STILL.format(picture=picture, title=escape(explorer.title))))
            return super()._repr_mimebundle_(**options)

    viewer = Viewer(facts=explorer.facts())

    def answered(widget: Any, message: Mapping[str, Any], buffers: Any) -> None:
        try:
            told, files = explorer.answer(message["asked"])
            viewer.send({"number": message["number"], "told": told}, buffers=files)
        except Exception as error:  # the viewer tells it: in a callback it would be lost
            viewer.send({"number": message["number"], "failed": f"{type(error).__name__}: {short(error)}"})
            raise

    viewer.on_msg(answered)
    viewer.explorer = explorer
    return viewer


def still(explorer: Explorer, pixels: int = STILL_PX) -> bytes:
    """The first view as PNG: the top layer over the one below."""
    from geonb.dashboards.layers import painted, png

    place = explorer.likeness.start()[0] if explorer.likeness is not None else 0
    at: dict[str, Any] = {dim.name: dim.start for dim in explorer.dims}
    if explorer.likeness is not None:
        at |= {"chosen": explorer.likeness.start(), explorer.likeness.dim: explorer.likeness.start()[1]}
    west, south, east, north = explorer.places[place].bounds
    shape = (
        max(1, round(pixels * min(1, (north - south) / (east - west)))),
        max(1, round(pixels * min(1, (east - west) / (north - south)))),
    )
    whole = Image.new("RGBA", shape[::-1], explorer.land or explorer.ground)
    for name, opacity in ((explorer.below, 1.0), (explorer.top, explorer.opacity)):
        layer = next((layer for layer in explorer.layers if layer.name == name and layer.kind != "error"), None)
        if layer is None:
            continue
        slices, box = explorer.places[place].grids[layer.grid].window((west, south, east, north), pixels)
        picture = Image.fromarray(painted(layer, layer.read(place, at, slices)))
        left, top = (box[0] - west) / (east - west) * shape[1], (north - box[3]) / (north - south) * shape[0]
        size = (box[2] - box[0]) / (east - west) * shape[1], (box[3] - box[1]) / (north - south) * shape[0]
        picture = picture.resize((max(1, round(size[0])), max(1, round(size[1]))), Image.Resampling.NEAREST)
        picture.putalpha(picture.getchannel("A").point(lambda value, opacity=opacity: int(value * opacity)))
        whole.alpha_composite(
            picture, (max(0, round(left)), max(0, round(top))), (max(0, -round(left)), max(0, -round(top)))
        )
    return png(whole)
