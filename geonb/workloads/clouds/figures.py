"""Every figure of `clouds`, and which of them the shared notebooks show, with the words that tell how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from geonb import registry
from geonb.base.lazy import names_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from IPython.display import Markdown
    from matplotlib.figure import Figure

    from geonb.base.run_folder import RunFolder
    from geonb.workloads.clouds.store import TripletStore

_WHERE = {
    "geonb.workloads.clouds.scene_figures": "scene_parts whole_scenes",
    "geonb.workloads.clouds.triplet_figures": "beyond_brightness distances place_accuracy scene_accuracy triplet_gallery triplet_samples",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)


def worst(predictions: xr.DataTree, store: TripletStore) -> Figure | None:
    """Test triplets that the network gets most wrong."""
    from geonb.workloads.clouds import triplet_figures

    return triplet_figures.triplet_gallery(predictions, store, which="worst")


def best(predictions: xr.DataTree, store: TripletStore) -> Figure | None:
    """Test triplets that the network gets most right."""
    from geonb.workloads.clouds import triplet_figures

    return triplet_figures.triplet_gallery(predictions, store, which="best", show=4)


def beyond(scores: xr.Dataset) -> list[Figure | Markdown] | None:
    """What the network sees beyond brightness, drawn and said; nothing where mean and spread are not among the models."""
    from IPython.display import Markdown

    from geonb.workloads.clouds import triplet_figures
    from geonb.workloads.clouds.beyond_brightness import beyond as said

    told = said(scores)
    return [triplet_figures.beyond_brightness(scores), Markdown(f"**{told}**")] if told else None


def scenes_and_places(scores: xr.Dataset) -> list[Figure] | None:
    """Accuracy by scene, where there are several, by place and by series."""
    from geonb import plots
    from geonb.workloads.clouds import triplet_figures

    if not int(scores["n_samples"].sel(split="test")):
        return None
    several = int((scores["scene_triplets"].sel(split="test") > 0).sum()) > 1
    drawn = [triplet_figures.scene_accuracy(scores)] if several else []
    drawn += [triplet_figures.place_accuracy(scores)] if "place_score" in scores else []
    drawn += [plots.source_scores(scores)] if int((scores["source_samples"].sel(split="test") > 0).sum()) > 1 else []
    return drawn or None


def neighbours(scores: xr.Dataset) -> pd.DataFrame | None:
    """Share of each tile's likes that are near, beside chance; nothing where no whole scene was embedded."""
    import numpy as np
    import pandas as pd

    if "neighbour_share" not in scores:
        return None
    asked = np.isfinite(scores["neighbour_share"].values).any(axis=0)  # of one scene nothing can be near in time
    words = {"space": "within 3 tiles", "time": "within a tenth of the time"}
    rows = {
        str(name): {
            f"{words[str(near)]}, {what}": _percent(scores[f"neighbour_{key}"].sel(series=name, nearness=near))
            for near in scores["nearness"].values[asked]
            for key, what in (("share", "found"), ("chance", "by chance"))
        }
        for name in scores["series"].values
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def scenes_by_kind(vectors: xr.Dataset, store: TripletStore, run: RunFolder) -> list[Figure] | None:
    """Whole scenes by colour and kind, and the ways of places, by the transforms that notebook 05 kept; None before 03 ran."""
    from geonb import embeddings, plots
    from geonb.embeddings import transforms
    from geonb.prediction.predictions import open_predictions
    from geonb.workloads.clouds import scene_figures
    from geonb.workloads.clouds.predict import series_of

    if not run.predictions.exists():
        return None
    predictions, drawn = open_predictions(run.predictions), []
    kinds, colours, plane = (transforms.load(run.path / "transforms", name) for name in ("kinds", "colours", "plane"))
    for name in series_of(predictions)[: scene_figures.MOST_SERIES]:
        scene = predictions[name].to_dataset()
        scene.attrs |= {key: vectors.attrs[key] for key in ("simulated", "notes") if key in vectors.attrs}
        applied = [transforms.apply(transform, scene) for transform in (kinds, colours)]
        drawn.append(scene_figures.whole_scenes(*applied, store.arrays[name].to_dataset()))
        samples = embeddings.scene_samples(scene, name)
        drawn.append(plots.trajectories(transforms.apply(plane, samples), transforms.apply(kinds, samples).values))
    return [figure for figure in drawn if figure is not None] or None


def _percent(share: xr.DataArray) -> str:
    return f"{float(share):.0%}" if float(share) >= 0 else "-"  # NaN where it could not be asked


TILES: Mapping[str, tuple[registry.Figure, ...]] = {
    "02_training": (
        registry.Figure(
            "",
            "Triplets of the training split, a column each. The network learns to place the neighbour closer to the anchor than the "
            "distant tile. Where you could not say either which is which, it cannot learn anything; where brightness gives it "
            "away, it need not learn anything else.",
            "geonb.workloads.clouds.figures:triplet_samples",
        ),
    ),
    "03_prediction": (
        registry.Figure(
            "Most wrong",
            "The test triplets whose distant tile the network finds by far the nearer one. Look at each: often the distant tile does "
            "show the same kind of sky, and the network is not wrong but the triplet is. If you can see at once that it is wrong, "
            "ask what it looked at instead: brightness, the coast, an edge of the scene?",
            "geonb.workloads.clouds.figures:worst",
        ),
        registry.Figure(
            "Most right",
            "The test triplets that it finds easiest. If all of them are bright against dark, it was easy for anybody.",
            "geonb.workloads.clouds.figures:best",
        ),
    ),
    "04_analytics": (
        registry.Figure(
            "Beyond brightness",
            "Neighbours are alike in brightness and in its spread, so these two numbers alone put most triplets right. The network "
            "earns its place where they do not: on the hardest fifth of the triplets, and in what the two gain when it is joined with "
            "them. The untrained network beside it says how much of that is training, and how much any network would see.",
            "geonb.workloads.clouds.figures:beyond",
        ),
        registry.Figure(
            "How far apart",
            "The distances behind the accuracy. Accuracy compares the two tiles of one anchor; the AUC compares all distances with all, "
            "and is lower where a model's distances mean something else in another place or at another hour. Near distances "
            "that grow from training to test are over-fitting. Two heaps at the same place are a network that tells nothing apart, "
            "and both at nothing one that has collapsed.",
            "geonb.workloads.clouds.figures:distances",
        ),
        registry.Figure(
            "When and where",
            "Scene by scene and place by place. A slope over the day is light that changes, not clouds; one bad place may be a coast, "
            "a desert or sun glint that looks the same in every scene. Few triplets make a value scatter.",
            "geonb.workloads.clouds.figures:scenes_and_places",
        ),
        registry.Figure(
            "Are those alike also near",
            "Of each tile's ten likes among all that do not overlap it, the share that lies within three tiles on the ground, or within "
            "a tenth of the series in time, beside the share that chance would give. Weather has a size, so more than chance is "
            "right; nearly all of them would mean that the network knows the place and not the pattern. Tiles of training places "
            "are among them.",
            "geonb.workloads.clouds.figures:neighbours",
        ),
    ),
    "05_interpretation": (
        registry.Figure(
            "Whole scenes",
            "The kinds and colours found above, given to every tile of the scenes: each tile has the letter of the nearest kind. Do the "
            "borders between kinds follow borders that you see? Then the ways of places through the plane: a place over which one kind of "
            "cloud stays keeps to a corner, a front that passes makes a jump, and the return of all of them together would be the "
            "time of day.",
            "geonb.workloads.clouds.figures:scenes_by_kind",
        ),
    ),
    "06_explore": (
        registry.Figure(
            "",
            "A way through it. Lay the three components over the scene: do their colours follow kinds of cloud that you have a name "
            "for, or only how bright it is? Move through the times: a kind that drifts with the clouds is a pattern, a kind that stays "
            "where it is is ground. Click a tile: what else is near to it, here and at the other times? Then click clear sky, a coast and "
            "the scene's edge, and see what the network makes of those.",
        ),
    ),
}
