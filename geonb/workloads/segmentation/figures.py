"""Every figure of `segmentation`, and which of them the shared notebooks show, with the words that tell how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from geonb import registry
from geonb.base.lazy import names_of
from geonb.plots.shared import LABELS, RELIABILITY

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from geonb.workloads.segmentation.loaders import Windows
    from geonb.workloads.segmentation.store import PatchStore

_WHERE = {
    "geonb.workloads.segmentation.maps": "class_shares prediction_panels rgb samples scene",
    "geonb.workloads.segmentation.places": "class_source_scores",
    "geonb.workloads.segmentation.score_figures": "area_error block_scores class_scores confusion",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
MOST_STRETCHED = 64  # windows that say how bright a store is


def rgb_tiles(store: PatchStore, rows: Sequence[int] | np.ndarray, bands: Sequence[int] | None = None) -> np.ndarray:
    """How windows look to a person: the 2-98 % stretch of three bands, the same for every window of the store.

    Parameters
    ----------
    rows : rows of the store's index, all of one window size
    bands : positions for red, green, blue; see `geonb.plots.maps.default_bands`

    Returns
    -------
    uint8 array (sample, y, x, 3), in the order of ``rows``; invalid pixels white
    """
    from geonb.plots.maps import default_bands
    from geonb.workloads.segmentation.loaders import Windows

    windows = Windows(store)
    bands = list(default_bands(store.channels) if bands is None else bands)
    bands *= 3 if len(bands) == 1 else 1
    low, high = _stretch(windows, bands)
    tiles = []
    for row in rows:
        inputs = np.asarray(windows[int(row)]["inputs"])
        grey = np.clip((inputs[bands] - low) / max(high - low, 1e-6), 0, 1)
        tiles.append((np.moveaxis(np.where((inputs == 0).all(axis=0), 1, grey), 0, -1) * 255).astype(np.uint8))
    return np.stack(tiles) if tiles else np.zeros((0, 1, 1, 3), np.uint8)


def _stretch(windows: Windows, bands: list[int]) -> tuple[float, float]:
    """The 2nd and 98th percentile of some bands in windows spread over the store: not of those asked for, so that a tile
    looks the same beside whichever others it is drawn."""
    drawn = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), MOST_STRETCHED)).astype(int))
    items = [np.asarray(windows[int(row)]["inputs"])[:, ::2, ::2] for row in drawn]
    seen = [item[bands][:, (item != 0).any(axis=0)].ravel() for item in items]
    shown = np.concatenate(seen) if seen else np.zeros(0)
    low, high = np.percentile(shown, [2, 98]) if shown.size else (0, 1)
    return float(low), float(high)


PIXELS: Mapping[str, tuple[registry.Figure, ...]] = {
    "02_training": (
        registry.Figure(
            "",
            "Windows of the training split with their targets. If something is wrong here (a shifted mask, a swapped band), no "
            "training will mend it. Grey is ignored.",
            "geonb.workloads.segmentation.figures:samples",
        ),
    ),
    "03_prediction": (
        registry.Figure(
            "",
            "Where is the network wrong, and is it at least unsure there? Only the outlined test blocks count: elsewhere the "
            "network saw the answers. Errors in thin lines along borders are half a pixel of mixed ground and hard to avoid; "
            "errors in whole patches are a kind of place that the network misses, or a label that is wrong. The last panel says "
            "which of the two it suspects itself: a good network is unsure exactly where it errs.",
            "geonb.workloads.segmentation.figures:panels",
        ),
    ),
    "04_analytics": (
        registry.Figure(
            "Which classes",
            "Accuracy is the share of pixels that are right, and a model that knows only the commonest class can look good by it; "
            "the mean IoU gives every class of the split the same weight. An average hides the rare ones. Prevalence stands beside "
            "each score: a class with a thousandth of the pixels has an interval as wide as the axis, and its score is an anecdote. "
            "If a rare class matters to you, get more of it before you tune anything.",
            "geonb.workloads.segmentation.figures:class_scores",
        ),
        registry.Figure(
            "How many hectares",
            "A map is often read for its hectares. Errors of both kinds can cancel there: a class may be in the wrong places and "
            "still have nearly the right area, so look at both figures. Boundary F1, in the table above, asks whether the outlines "
            "lie where they should, within two pixels.",
            "geonb.workloads.segmentation.figures:area_error",
        ),
        registry.Figure(
            "Where",
            "By source and block by block. If one source is much worse than the others, its images, its labels or its kind of place "
            "differ, and a mean over all of them hides it. Bad blocks side by side are a place to look at on the map of notebook 06.",
            "geonb.workloads.segmentation.figures:places",
        ),
        registry.Figure(
            "Taken for what",
            "Each row is a true class; the columns say what the network called it. Two classes that go into each other are hard to "
            "tell apart in these bands, at this resolution, or for the people who drew the labels.",
            "geonb.workloads.segmentation.figures:confusion",
        ),
        RELIABILITY,
    ),
    "05_interpretation": (LABELS,),
    "06_explore": (
        registry.Figure(
            "",
            'A way through it. First lay "where the model is wrong" over the image: errors lie along borders if the network is good, '
            "in patches if it misses a kind of place. Then switch the model to a baseline and back: what does the network add? Click "
            "into a patch of errors and read the bands and the probabilities: is it nearly right, or sure and wrong? Last, lay a "
            "class's probability over the image and move the threshold: how many false alarms does it cost to find the rest of that "
            "class?",
        ),
    ),
}


def panels(predictions: xr.DataTree, store: PatchStore) -> list[Figure]:
    """Image, truth, label and sureness of each source."""
    from geonb.workloads.segmentation import maps

    return [maps.prediction_panels(predictions, source, arrays=store.arrays) for source in predictions.children]


def places(scores: xr.Dataset) -> list[Figure]:
    """Scores by source, of a few classes by class and source, and by block."""
    from geonb import plots
    from geonb.workloads.segmentation import places, score_figures

    tested = len(set(scores.block_source.values[scores.block_split.values == "test"]))
    by_class = [places.class_source_scores(scores)] if tested > 1 and scores.sizes["class"] <= places.MOST else []
    return [plots.source_scores(scores), *by_class, score_figures.block_scores(scores)]
