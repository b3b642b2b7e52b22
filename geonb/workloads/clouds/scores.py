"""How good embeddings of tiles are, with no labels: is a tile's neighbour nearer to it than a tile from far away?

Network and baselines side by side. A triplet is right when the squared distance in the embedding from anchor to neighbour is
smaller than that from anchor to distant tile; a coin gets half of them. Intervals resample whole places
(:mod:`geonb.workloads.clouds.blocks`). What the network sees beyond brightness: :mod:`geonb.workloads.clouds.beyond`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import draw, interval
from geonb.workloads.clouds.blocks import (
    KINDS,
    LEVELS,
    SPLITS,
    SUMS,
    Distances,
    block_table,
    block_variables,
    read_distances,
)

METRICS = ("triplet_accuracy", "margin", "auc")
BINS = 40  # of the distances' histograms
PLACE_TILES = 2  # side of the squares of a map
PIECE = 256  # groups whose draws are held at once


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
        :func:`geonb.workloads.clouds.beyond.beyond_brightness` and, for the series' embeddings,
        :func:`geonb.workloads.clouds.neighbours.neighbours_alike` give; ``distance_count (model, split, kind, distance_bin)``,
        ``distance_edge (model, distance_edges)``, ``distance_median (model, split, kind)``; ``ties (model, split)``, share of
        triplets; ``n_pixels`` (triplets), ``n_blocks (split)``; by block, to compare runs (:func:`geonb.scores.scores.compare`), what
        :func:`geonb.workloads.clouds.blocks.block_variables` gives.

    Raises
    ------
    ValueError
        If no triplet has a distance by every model.
    """
    from geonb.workloads.clouds.beyond import beyond_brightness
    from geonb.workloads.clouds.neighbours import neighbours_alike

    found, data = read_distances(predictions)
    whole = [_resampled(found, found.split == s, draws, [seed, n, 0xB007]) for n, s in enumerate(SPLITS)]
    variables = {
        name: (("model", "split", "metric"), np.stack([piece[name] for piece in whole], axis=1)) for name in whole[0]
    }
    sources = list(dict.fromkeys(found.source.tolist()))
    variables |= _by_source(found, sources, draws, seed) | _by_scene(found, data, draws, seed) | _by_place(found, data)
    variables |= _histograms(found) | block_variables(found, data)
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
    from geonb.scores.ranking import auroc

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


def _resampled(found: Distances, inside: np.ndarray, draws: int, seed: list[int]) -> dict[str, np.ndarray]:
    """Metrics of every model on some triplets, and what the first model gains on each, over the same draws of blocks.

    Parameters
    ----------
    inside : array (sample,) of bool

    Returns
    -------
    dict: score and gain (model, metric), each with _low and _high
    """
    table = block_table(found, inside)
    coarse = metrics_of(table.sum(axis=1))
    value = coarse.copy()
    value[:, METRICS.index("auc")] = [
        auc(near[inside], far[inside]) for near, far in zip(found.near, found.far, strict=True)
    ]
    out, number, drawn = {}, table.shape[1], None
    if number > 1 and draws:
        # levels tie what distances tell apart: the draws are moved by what that costs on all blocks
        drawn = metrics_of(draw(number, draws, seed) @ table) + (value - coarse)[:, None]  # (model, draw, metric)
    for kind in ("score", "gain"):
        out[kind] = value if kind == "score" else value[:1] - value
        bounds = np.full((2, *value.shape), np.nan)
        if drawn is not None:
            bounds = interval(np.moveaxis(drawn if kind == "score" else drawn[:1] - drawn, 1, 0))
        out[f"{kind}_low"], out[f"{kind}_high"] = bounds
    return out


def _by_source(found: Distances, sources: list[str], draws: int, seed: int) -> dict:
    """Score and gain (model, split, source, metric) of the anchors of each source, and how many there are."""
    mine = [[(found.split == s) & (found.source == source) for source in sources] for s in SPLITS]
    pieces = [
        [_resampled(found, m, draws, [seed, n, 0xB007, i + 1]) for i, m in enumerate(row)] for n, row in enumerate(mine)
    ]
    stacked = {
        f"source_{name}": (
            ("model", "split", "source", "metric"),
            np.stack([np.stack([piece[name] for piece in row], axis=1) for row in pieces], axis=1),
        )
        for name in pieces[0][0]
    }
    counts = {"pixels": lambda m: int(m.sum()), "blocks": lambda m: len(np.unique(found.unit[m]))}
    return stacked | {
        f"source_{name}": (("split", "source"), np.array([[of(m) for m in row] for row in mine]))
        for name, of in counts.items()
    }


def accuracy_by_group(
    found: Distances, split: str, group: np.ndarray, number: int, draws: int, seed: list[int]
) -> dict[str, np.ndarray]:
    """Triplet accuracy of every model in each group of a split's triplets, with intervals over the split's blocks.

    Parameters
    ----------
    group : array (sample,) of int
        Below `number`; -1 for none.

    Returns
    -------
    dict: score and gain (model, group), each with _low and _high, NaN where a group lies in one block; triplets (group,)
    """
    blocks, shape = np.flatnonzero(found.block_split == split), (len(found.models), number)
    out = {f"{kind}{end}": np.full(shape, np.nan) for kind in ("score", "gain") for end in ("", "_low", "_high")}
    out["triplets"] = np.zeros(number, int)
    weights = np.ones((1, len(blocks)))
    if draws and len(blocks) > 1:
        weights = np.concatenate([weights, draw(len(blocks), draws, seed)])
    wins = found.wins
    for begin in range(0, number, PIECE):
        some = slice(begin, min(begin + PIECE, number))
        wide = some.stop - begin
        inside = (found.split == split) & (group >= begin) & (group < some.stop)
        place = np.searchsorted(blocks, found.unit[inside]) * wide + group[inside] - begin
        sums = [np.bincount(place, w, len(blocks) * wide) for w in (None, *wins[:, inside])]
        count, *won = (one.reshape(len(blocks), wide).astype(float) for one in sums)
        out["triplets"][some] = count.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.stack([weights @ w for w in won]) / (
                weights @ count
            )  # (model, draw, group), the first all blocks
        several = begin + np.flatnonzero((count > 0).sum(axis=0) > 1)
        for kind, values in (("score", drawn), ("gain", drawn[:1] - drawn)):
            out[kind][:, some] = values[:, 0]
            if len(weights) > 1 and several.size:
                low, high = interval(np.moveaxis(values[:, 1:, several - begin], 1, 0))
                out[f"{kind}_low"][:, several], out[f"{kind}_high"][:, several] = low, high
    return out


def grouped(prefix: str, dim: str, pieces: list[dict[str, np.ndarray]]) -> dict:
    """Variables ``<prefix>_score (model, split, <dim>)`` and so on of what `accuracy_by_group` gave of each split."""
    return {
        f"{prefix}_{name}": (("split", dim), np.stack([piece[name] for piece in pieces]))
        if name == "triplets"
        else (("model", "split", dim), np.stack([piece[name] for piece in pieces], axis=1))
        for name in pieces[0]
    }


def _by_scene(found: Distances, data: xr.Dataset, draws: int, seed: int) -> dict:
    """Accuracy of the anchors of each scene, in order of time; those without one come last.

    Scenes of no time with one anchor each count together: a share of one is none.
    """
    time = data["time"].to_numpy() if "time" in data else np.full(data.sizes["sample"], "NaT", "datetime64[ns]")
    when = np.where(np.isnat(time), np.iinfo(np.int64).max, time.astype("datetime64[ns]").astype(np.int64))
    keys = list(zip(when.tolist(), found.source.tolist(), data["t"].to_numpy().tolist(), strict=True))
    anchors = Counter(keys)
    keys = [
        (*key[:2], -1) if isnat and anchors[key] == 1 else key for key, isnat in zip(keys, np.isnat(time), strict=True)
    ]
    scenes = {key: place for place, key in enumerate(sorted(set(keys)))}
    group = np.array([scenes[key] for key in keys])
    _, first = np.unique(group, return_index=True)
    pieces = [accuracy_by_group(found, s, group, len(scenes), draws, [seed, n, 0xB007]) for n, s in enumerate(SPLITS)]
    return grouped("scene", "scene", pieces) | {
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
    pieces = [accuracy_by_group(found, s, group, number, 0, []) for s in SPLITS]
    count = np.bincount(group, minlength=number)
    lon, lat = np.deg2rad(data["lon"].to_numpy()), data["lat"].to_numpy()
    # the mean of an angle, or a square on the date line would lie in Greenwich
    east = np.arctan2(*(np.bincount(group, of(lon), number) for of in (np.sin, np.cos)))
    middle = {
        "place_lon": ("place", np.rad2deg(east)),
        "place_lat": ("place", np.bincount(group, lat, number) / count),
    }
    kept = {k: v for k, v in grouped("place", "place", pieces).items() if k in ("place_score", "place_triplets")}
    return kept | middle | {"place_source": ("place", found.source[first])}


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
        "n_pixels": ("split", np.array([(found.split == s).sum() for s in SPLITS])),
        "n_blocks": ("split", np.array([(found.block_split == s).sum() for s in SPLITS])),
    }


def _datasets(predictions: xr.DataTree, data: xr.Dataset, found: Distances, sources: list[str]) -> list[str]:
    """The data set of each source: the triplets' own, else the title."""
    if "dataset" not in data:
        return [str(predictions.attrs.get("title", ""))] * len(sources)
    names = data["dataset"].to_numpy().astype(str)
    return [str(names[np.flatnonzero(found.source == source)[0]]) for source in sources]
