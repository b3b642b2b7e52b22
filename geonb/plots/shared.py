"""Figures that more than one workload shows, with the words that tell how to read them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from geonb import registry
from geonb.base import specs
from geonb.registry import Figure

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure as MatplotlibFigure

    from geonb.plots.tiles import Tiles
    from geonb.store.store import Store

RELIABILITY = Figure(
    "Does it know when it does not know",
    "Of what it calls 80 % sure, about 80 % should come true. Below the diagonal it is surer than it should be, as networks "
    "often are; above, it is too modest. ECE is the mean distance to the diagonal, weighted by the number of samples, which the "
    "bars show.",
    "geonb.plots.scores:reliability",
)


LABELS = Figure(
    "By label",
    "The same plane in the colours of what the windows mostly show. Colours that lie apart are what the network tells apart without "
    "having been asked here; a label in two heaps has kinds of its own; labels in one heap are confused, or look alike.",
    "geonb.plots.shared:by_label",
)


def show(workload: str, notebook: str, *subject: Any) -> None:
    """Display a workload's figures for a notebook, in order, each with the words that tell how to read it.

    Parameters
    ----------
    workload : name or import path of the record
    notebook : stem, e.g. ``"04_analytics"``
    *subject : what the notebook has to draw from, see `geonb.registry.GIVES`
    """
    from IPython.display import Markdown, display

    subjects = dict(zip(registry.GIVES.get(notebook, ()), subject, strict=False))
    with named(*subject):
        for figure in registry.get(workload).figures.get(notebook, ()):
            drawn: Any = ()
            if figure.draw:
                draw = specs.load(figure.draw)
                wanted = inspect.signature(draw).parameters
                drawn = draw(**{name: value for name, value in subjects.items() if name in wanted})
            if drawn is None:
                continue
            display(Markdown(f"### {figure.title}\n\n{figure.text}" if figure.title else figure.text))
            for one in drawn if isinstance(drawn, list | tuple) else [drawn]:
                display(one)


@contextmanager
def named(*subject: Any) -> Iterator[None]:
    """What is drawn in here from a store or from predictions, and fails for a damaged chunk, names it."""
    import xarray as xr

    from geonb.prediction import predictions
    from geonb.store import sealing, store

    with ExitStack() as reading:
        for one in subject:
            if isinstance(one, store.Store):
                reading.enter_context(sealing.named(one.path))
            elif isinstance(one, xr.DataTree) and "source" in one.encoding:
                reading.enter_context(predictions.named(one.encoding["source"]))
        yield


def tiles_of(workload: str, store: Store) -> Callable[[np.ndarray], np.ndarray]:
    """How a workload's samples look to a person: function of rows of the store -> uint8 array (sample, y, x, 3)."""
    return partial(specs.load(registry.get(workload).tiles), store)


def by_label(vectors: xr.Dataset, plane: xr.DataArray, tiles: Tiles) -> MatplotlibFigure | None:
    """The plane of notebook 05 coloured by label; nothing where samples have none."""
    from geonb.plots import planes

    return planes.scatter_with_tiles(plane, tiles, vectors["label"].values) if "label" in vectors.coords else None
