"""What the shared notebooks show of `clouds`: the functions that :data:`geonb.workloads.clouds.figures.TILES` names."""

from __future__ import annotations

from collections.abc import Mapping

from geonb.registry import Figure


def triplets(store, seed):
    """Training triplets."""
    from geonb.workloads.clouds import triplet_figures

    return triplet_figures.triplet_samples(store, n=8, seed=seed)


def worst(predictions, store):
    """Test triplets that the network gets most wrong."""
    from geonb.workloads.clouds import triplet_figures

    return triplet_figures.triplet_gallery(predictions, store, which="worst")


def best(predictions, store):
    """Test triplets that the network gets most right."""
    from geonb.workloads.clouds import triplet_figures

    return triplet_figures.triplet_gallery(predictions, store, which="best", show=4)


def beyond(scores, run):
    """What the network sees beyond brightness, drawn and said; nothing where mean and spread are not among the models."""
    from IPython.display import Markdown

    from geonb.workloads.clouds import triplet_figures
    from geonb.workloads.clouds.beyond import beyond as said

    told = said(scores)
    return [triplet_figures.beyond_brightness(scores), Markdown(f"**{told}**")] if told else None


def distances(scores, run):
    """Near and far distances of every model and split."""
    from geonb.workloads.clouds import triplet_figures

    return triplet_figures.distances(scores)


def scenes_and_places(scores, run):
    """Accuracy by scene, where there are several, by place and by series."""
    from geonb import plots
    from geonb.workloads.clouds import triplet_figures

    if not int(scores["n_pixels"].sel(split="test")):
        return None
    several = int((scores["scene_triplets"].sel(split="test") > 0).sum()) > 1
    drawn = [triplet_figures.scene_accuracy(scores)] if several else []
    drawn += [triplet_figures.place_accuracy(scores)] if "place_score" in scores else []
    drawn += [plots.source_scores(scores)] if int((scores["source_pixels"].sel(split="test") > 0).sum()) > 1 else []
    return drawn or None


def neighbours(scores, run):
    """Share of each tile's likes that are near, beside chance; nothing where no whole scene was embedded."""
    import numpy as np
    import pandas as pd

    if "neighbour_share" not in scores:
        return None
    found = np.isfinite(scores["neighbour_share"].values).any(axis=0)  # of one scene nothing can be near in time
    known = scores["nearness"].values[found]
    words = {"space": "within 3 tiles", "time": "within a tenth of the time"}
    rows = {
        str(name): {
            f"{words[str(near)]}, {what}": _percent(scores[f"neighbour_{key}"].sel(series=name, nearness=near))
            for near in known
            for key, what in (("share", "found"), ("chance", "by chance"))
        }
        for name in scores["series"].values
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def whole_scenes(vectors, letters, plane, tiles, store, run):
    """Whole scenes by colour and kind, and the ways of places, by the transforms that notebook 05 kept; None before 03 ran."""
    from geonb import embeddings, plots
    from geonb.embeddings import transforms
    from geonb.prediction.predictions import open_predictions
    from geonb.workloads.clouds import scene_figures
    from geonb.workloads.clouds.predict import series_of

    if not run.predictions.exists():
        return None
    predictions, drawn = open_predictions(run.predictions), []
    kinds, colours, placed = (transforms.load(run.path / "transforms", name) for name in ("kinds", "colours", "plane"))
    for name in series_of(predictions)[: scene_figures.MOST_SERIES]:
        scene = predictions[name].to_dataset()
        scene.attrs |= {key: vectors.attrs[key] for key in ("simulated", "notes") if key in vectors.attrs}
        found = [transforms.apply(transform, scene) for transform in (kinds, colours)]
        drawn.append(scene_figures.whole_scenes(*found, store.arrays[name].to_dataset()))
        samples = embeddings.scene_samples(scene, name)
        labels = transforms.apply(kinds, samples).values
        drawn.append(plots.trajectories(transforms.apply(placed, samples), labels))
    return [figure for figure in drawn if figure is not None] or None


def _percent(share) -> str:
    return f"{float(share):.0%}" if float(share) >= 0 else "-"  # NaN where it could not be asked


TILES: Mapping[str, tuple[Figure, ...]] = {
    "02_training": (
        Figure(
            "",
            "Triplets of the training split, a column each. The network learns to place the neighbour closer to the anchor than the "
            "distant tile. Where you could not say either which is which, it cannot learn anything; where brightness gives it "
            "away, it need not learn anything else.",
            "geonb.workloads.clouds.figures:triplets",
        ),
    ),
    "03_prediction": (
        Figure(
            "Most wrong",
            "The test triplets whose distant tile the network finds by far the nearer one. Figure at each: often the distant tile does "
            "show the same kind of sky, and the network is not wrong but the triplet is. If you can see at once that it is wrong, "
            "ask what it looked at instead: brightness, the coast, an edge of the scene?",
            "geonb.workloads.clouds.figures:worst",
        ),
        Figure(
            "Most right",
            "The test triplets that it finds easiest. If all of them are bright against dark, it was easy for anybody.",
            "geonb.workloads.clouds.figures:best",
        ),
    ),
    "04_analytics": (
        Figure(
            "Beyond brightness",
            "Neighbours are alike in brightness and in its spread, so these two numbers alone put most triplets right. The network "
            "earns its place where they do not: on the hardest fifth of the triplets, and in what the two gain when it is joined with "
            "them. The untrained network beside it says how much of that is training, and how much any network would see.",
            "geonb.workloads.clouds.figures:beyond",
        ),
        Figure(
            "How far apart",
            "The distances behind the accuracy. Accuracy compares the two tiles of one anchor; the AUC compares all distances with all, "
            "and is lower where a model's distances mean something else in another place or at another hour. Near distances "
            "that grow from training to test are over-fitting. Two heaps at the same place are a network that tells nothing apart, "
            "and both at nothing one that has collapsed.",
            "geonb.workloads.clouds.figures:distances",
        ),
        Figure(
            "When and where",
            "Scene by scene and place by place. A slope over the day is light that changes, not clouds; one bad place may be a coast, "
            "a desert or sun glint that looks the same in every scene. Few triplets make a value scatter.",
            "geonb.workloads.clouds.figures:scenes_and_places",
        ),
        Figure(
            "Are those alike also near",
            "Of each tile's ten likes among all that do not overlap it, the share that lies within three tiles on the ground, or within "
            "a tenth of the series in time, beside the share that chance would give. Weather has a size, so more than chance is "
            "right; nearly all of them would mean that the network knows the place and not the pattern. Tiles of training places "
            "are among them.",
            "geonb.workloads.clouds.figures:neighbours",
        ),
    ),
    "05_interpretation": (
        Figure(
            "Whole scenes",
            "The kinds and colours found above, given to every tile of the scenes: each tile has the letter of the nearest kind. Do the "
            "borders between kinds follow borders that you see? Then the ways of places through the plane: a place over which one kind of "
            "cloud stays keeps to a corner, a front that passes makes a jump, and the return of all of them together would be the "
            "time of day.",
            "geonb.workloads.clouds.figures:whole_scenes",
        ),
    ),
    "06_explore": (
        Figure(
            "",
            "A way through it. Lay the three components over the scene: do their colours follow kinds of cloud that you have a name "
            "for, or only how bright it is? Move through the times: a kind that drifts with the clouds is a pattern, a kind that stays "
            "where it is is ground. Click a tile: what else is near to it, here and at the other times? Then click clear sky, a coast and "
            "the scene's edge, and see what the network makes of those.",
        ),
    ),
}
