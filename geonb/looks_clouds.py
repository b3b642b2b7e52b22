"""What the shared notebooks show of `clouds`: the functions that :data:`geonb.looks.TILES` names."""

from __future__ import annotations


def triplets(store, seed):
    """Training triplets."""
    from geonb import plots_triplets

    return plots_triplets.triplet_samples(store, n=8, seed=seed)


def worst(predictions, store):
    """Test triplets that the network gets most wrong."""
    from geonb import plots_triplets

    return plots_triplets.triplet_gallery(predictions, store, which="worst")


def best(predictions, store):
    """Test triplets that the network gets most right."""
    from geonb import plots_triplets

    return plots_triplets.triplet_gallery(predictions, store, which="best", show=4)


def beyond(scores, run):
    """What the network sees beyond brightness, drawn and said; nothing where mean and spread are not among the models."""
    from IPython.display import Markdown

    from geonb import plots_triplets
    from geonb.scores_triplets_beyond import beyond as said

    told = said(scores)
    return [plots_triplets.beyond_brightness(scores), Markdown(f"**{told}**")] if told else None


def distances(scores, run):
    """Near and far distances of every model and split."""
    from geonb import plots_triplets

    return plots_triplets.distances(scores)


def scenes_and_places(scores, run):
    """Accuracy by scene, where there are several, by place and by series."""
    from geonb import plots, plots_triplets

    if not int(scores["n_pixels"].sel(split="test")):
        return None
    several = int((scores["scene_triplets"].sel(split="test") > 0).sum()) > 1
    drawn = [plots_triplets.scene_accuracy(scores)] if several else []
    drawn += [plots_triplets.place_accuracy(scores)] if "place_score" in scores else []
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
    from geonb import embeddings, embeddings_transforms, plots, plots_scenes
    from geonb.prediction import open_predictions
    from geonb.predictions_triplets import series_of

    if not run.predictions.exists():
        return None
    predictions, drawn = open_predictions(run.predictions), []
    kinds, colours, placed = (
        embeddings_transforms.load(run.path / "transforms", name) for name in ("kinds", "colours", "plane")
    )
    for name in series_of(predictions)[: plots_scenes.MOST_SERIES]:
        scene = predictions[name].to_dataset()
        scene.attrs |= {key: vectors.attrs[key] for key in ("simulated", "notes") if key in vectors.attrs}
        found = [embeddings_transforms.apply(transform, scene) for transform in (kinds, colours)]
        drawn.append(plots_scenes.whole_scenes(*found, store.arrays[name].to_dataset()))
        samples = embeddings.scene_samples(scene, name)
        labels = embeddings_transforms.apply(kinds, samples).values
        drawn.append(plots.trajectories(embeddings_transforms.apply(placed, samples), labels))
    return [figure for figure in drawn if figure is not None] or None


def _percent(share) -> str:
    return f"{float(share):.0%}" if float(share) >= 0 else "-"  # NaN where it could not be asked
