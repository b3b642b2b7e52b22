"""How good embeddings of tiles are, with no labels: is a tile's neighbour nearer to it than a tile from far away?

Network and baselines side by side. A triplet is right when the squared distance in the embedding from anchor to neighbour is
smaller than that from anchor to distant tile; a coin gets half of them. Intervals resample whole places
(:mod:`geonb.workloads.clouds.blocks`). What the network sees beyond brightness: :mod:`geonb.workloads.clouds.beyond_brightness`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLITS
from geonb.scores.bootstrap import Arrays, by_group, by_split, resampled
from geonb.scores.ranking import auroc
from geonb.workloads.clouds import blocks
from geonb.workloads.clouds.beyond_brightness import beyond_brightness
from geonb.workloads.clouds.blocks import KINDS, LEVELS, SUMS, Distances, accuracy_by_group
from geonb.workloads.clouds.neighbours import neighbours_alike

METRICS = ("triplet_accuracy", "margin", "auc")
BINS = 40  # of the distances' histograms
PLACE_TILES = 2  # side of the squares of a map


def score_triplets(predictions: xr.DataTree, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Score every model of a predictions tree on every split, with 95 % block-bootstrap intervals.

    ``triplet_accuracy``: share of triplets whose neighbour is nearer than the distant tile, ties counting half. ``margin``: mean
    of (far - near) / (far + near), -1 to 1, which compares models of any scale. ``auc``: probability that a near distance is
    smaller than a far one of any other triplet; lower than the accuracy where a model's distances depend on where it looks.

    Parameters
    ----------
    predictions : DataTree, from :func:`geonb.open_predictions`
        Its group ``triplets`` holds ``near``, ``far`` (model, sample) and the place of each anchor.
    draws : int
        Bootstrap draws; 0 leaves the intervals NaN.

    Returns
    -------
    Dataset, ``score``, ``gain`` and what ends so each with ``_low`` and ``_high`` (NaN where there is one block only):
        ``score``, ``gain (model, split, metric)``: gain is the network's score minus the model's, over the same draws;
        ``source_score``, ``source_gain (model, split, source, metric)``; of accuracy alone ``scene_score``, ``scene_gain (model,
        split, scene)`` with ``scene_triplets (split, scene)``, ``scene_time``, ``scene_source (scene)``, and ``place_score
        (model, split, place)`` with ``place_triplets``, ``place_lon``, ``place_lat`` (degrees), ``place_source``; what
        :func:`geonb.workloads.clouds.beyond_brightness.beyond_brightness` and, for the series' embeddings,
        :func:`geonb.workloads.clouds.neighbours.neighbours_alike` give; ``distance_count (model, split, kind, distance_bin)``,
        ``distance_edge (model, distance_edges)``, ``distance_median (model, split, kind)``; ``ties (model, split)``, share of
        triplets; ``n_samples`` (triplets), ``n_blocks (split)``; by block, to compare runs (:func:`geonb.scores.scores.compare`), what
        :func:`geonb.workloads.clouds.blocks.block_variables` gives.

    Raises
    ------
    ValueError
        If no triplet has a distance by every model.
    """
    found, data = blocks.read_distances(predictions)
    sources = list(dict.fromkeys(found.source.tolist()))
    mine = [found.split == s for s in SPLITS]
    by_source = [[inside & (found.source == source) for source in sources] for inside in mine]

    def resample(inside: np.ndarray, key: list[int]) -> Arrays:
        return _resampled(found, inside, draws, key)

    variables: dict = by_split(resample, mine, seed, dict.fromkeys(("score", "gain"), ("model", "split", "metric")))
    counts = {"samples": lambda inside: int(inside.sum()), "blocks": lambda inside: len(np.unique(found.unit[inside]))}
    variables |= by_group(resample, by_source, "source", seed, counts)
    variables |= _by_scene(found, data, draws, seed) | _by_place(found, data)
    variables |= _histograms(found) | blocks.block_variables(found, data)
    variables |= beyond_brightness(found, draws, seed) | neighbours_alike(predictions, seed)
    coords = {
        "model": found.models, "split": list(SPLITS), "metric": list(METRICS), "source": sources,
        "dataset": ("source", _datasets(predictions, data, found, sources)), "kind": list(KINDS), "sum": list(SUMS),
    }  # fmt: skip
    keep = ("workload", "title", "run", "simulated", "notes", "colours", "network", "precision", "block", "patch")
    attrs = {k: predictions.attrs[k] for k in keep if k in predictions.attrs}
    attrs |= {"headline": "triplet_accuracy", "draws": draws, "unit": "triplets"}
    return xr.Dataset(variables, coords, attrs)


def metrics_of(table: np.ndarray) -> np.ndarray:
    """Metrics (..., metric) in the order of METRICS from summed counts (..., column); NaN where there is no triplet."""
    number, wins, margin = (table[..., column] for column in range(len(SUMS)))
    near, far = table[..., len(SUMS) : len(SUMS) + LEVELS], table[..., len(SUMS) + LEVELS :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([wins / number, margin / number, auroc(near, far)], axis=-1)


def auc(near: np.ndarray, far: np.ndarray) -> float:
    """Probability that one of `near` is smaller than one of `far`, ties counting half (Mann and Whitney 1947)."""
    from scipy.stats import rankdata

    if not len(near) or not len(far):
        return np.nan
    ranks = rankdata(np.concatenate([near, far]))[len(near) :]
    return (ranks.sum() - len(far) * (len(far) + 1) / 2) / (len(near) * len(far))


def _resampled(found: Distances, inside: np.ndarray, draws: int, seed: list[int]) -> Arrays:
    """Metrics of every model on some triplets, and what the first model gains on each, over the same draws of blocks."""
    table = blocks.block_table(found, inside)
    value = metrics_of(table.sum(axis=1))
    value[:, METRICS.index("auc")] = [
        auc(near[inside], far[inside]) for near, far in zip(found.near, found.far, strict=True)
    ]
    # levels tie what distances tell apart
    return resampled(table, lambda sums: {"score": metrics_of(sums)}, draws, seed, exact={"score": value})


def _by_scene(found: Distances, data: xr.Dataset, draws: int, seed: int) -> dict:
    """Accuracy of the anchors of each scene, in order of time; those without one come last.

    Scenes of no time with one anchor each count together: a share of one is none.
    """
    time = data["time"].to_numpy() if "time" in data else np.full(data.sizes["sample"], "NaT", "datetime64[ns]")
    when = np.where(np.isnat(time), np.iinfo(np.int64).max, time.astype("datetime64[ns]").astype(np.int64))
    keys = list(zip(when.tolist(), found.source.tolist(), data["t"].to_numpy().tolist(), strict=True))
    anchors, undated = Counter(keys), np.isnat(time)
    keys = [(*k[:2], -1) if none and anchors[k] == 1 else k for k, none in zip(keys, undated, strict=True)]
    scenes = {key: place for place, key in enumerate(sorted(set(keys)))}
    group = np.array([scenes[key] for key in keys])
    _, first = np.unique(group, return_index=True)
    return accuracy_by_group(found, "scene", group, len(scenes), draws, seed) | {
        "scene_time": ("scene", time[first].astype("datetime64[ns]")),
        "scene_source": ("scene", found.source[first]),
    }


def _by_place(found: Distances, data: xr.Dataset) -> dict:
    """Accuracy of the anchors in squares of some tiles of each source, all scenes together; nothing where no lon and lat are known."""
    if not {"lon", "lat", "height"} <= set(data.variables):
        return {}
    side = PLACE_TILES * int(data["height"].max())
    keys = np.stack([np.unique(found.source, return_inverse=True)[1], data["y"] // side, data["x"] // side])
    _, first, group = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    group, number = group.reshape(-1), len(first)
    count = np.bincount(group, minlength=number)
    lon, lat = np.deg2rad(data["lon"].to_numpy()), data["lat"].to_numpy()
    # the mean of an angle, or a square on the date line would lie in Greenwich
    east = np.arctan2(*(np.bincount(group, of(lon), number) for of in (np.sin, np.cos)))
    told = accuracy_by_group(found, "place", group, number, 0, 0)
    return {name: told[name] for name in ("place_score", "place_triplets")} | {
        "place_lon": ("place", np.rad2deg(east)),
        "place_lat": ("place", np.bincount(group, lat, number) / count),
        "place_source": ("place", found.source[first]),
    }


def _histograms(found: Distances) -> dict:
    """How far apart near and far tiles are: counts in bins of equal width of the logarithm, outliers in the outer ones."""
    shape = len(found.models), len(SPLITS), len(KINDS)
    counts, median = np.zeros((*shape, BINS), np.int64), np.full(shape, np.nan)
    edges, ties = np.ones((shape[0], BINS + 1)), np.full(shape[:2], np.nan)
    for m, pair in enumerate(zip(found.near, found.far, strict=True)):
        positive = np.concatenate(pair)
        positive = positive[positive > 0]
        low, high = np.quantile(positive, [0.002, 0.998]) if positive.size else (0.1, 1.0)
        edges[m] = np.geomspace(low, max(high, low * 1.01), BINS + 1)
        for s, split in enumerate(SPLITS):
            inside = found.split == split
            if not inside.any():
                continue
            ties[m, s] = (pair[0][inside] == pair[1][inside]).mean()
            for k, values in enumerate(pair):
                median[m, s, k] = np.median(values[inside])
                counts[m, s, k] = np.histogram(np.clip(values[inside], edges[m, 0], edges[m, -1]), edges[m])[0]
    return {
        "distance_count": (("model", "split", "kind", "distance_bin"), counts),
        "distance_median": (("model", "split", "kind"), median),
        "distance_edge": (("model", "distance_edges"), edges),
        "ties": (("model", "split"), ties),
        "n_samples": ("split", np.array([(found.split == s).sum() for s in SPLITS])),
        "n_blocks": ("split", np.array([(found.block_split == s).sum() for s in SPLITS])),
    }


def _datasets(predictions: xr.DataTree, data: xr.Dataset, found: Distances, sources: list[str]) -> list[str]:
    """The data set of each source: the triplets' own, else the title."""
    if "dataset" not in data:
        return [str(predictions.attrs.get("title", ""))] * len(sources)
    names = data["dataset"].to_numpy().astype(str)
    return [str(names[np.flatnonzero(found.source == source)[0]]) for source in sources]
