"""Scores of classes with block-bootstrap intervals, network and baselines side by side."""

from __future__ import annotations

import numpy as np
import xarray as xr

from geonb.base.conventions import IGNORE  # noqa: F401  (named where scores are made)
from geonb.base.conventions import SPLIT_CODES as SPLITS
from geonb.scores.bootstrap import draw, interval
from geonb.workloads.segmentation.blocks import Blocks, columns, count, with_areas

METRICS = ("mean_iou", "accuracy", "macro_f1", "boundary_f1", "log_loss", "brier")


CLASS_METRICS = ("iou", "f1", "precision", "recall", "boundary_f1", "area_error")


DRAWN = ("score", "class_score", "gain")


EDGES = ("true", "true_near", "guess", "guess_near")


def score_classes(
    predictions: xr.DataTree, draws: int = 1000, seed: int = 0, rows: int = 512, tolerance_px: float = 2
) -> xr.Dataset:
    """Score every model of a predictions tree on every split, with 95 % block-bootstrap intervals.

    Pixels without truth or prediction do not count. Mean IoU, macro F1 and boundary F1 average over the classes present in
    the split. Intervals resample whole spatial blocks with replacement, because neighbouring pixels are not independent.

    Parameters
    ----------
    predictions : DataTree, from :func:`geonb.open_predictions`
    draws : int
        Bootstrap draws; 0 leaves the intervals NaN.
    seed : int
    rows : int
        At most so many rows are read at once.
    tolerance_px : float, pixels
        How far a predicted boundary may lie from a true one and still be right (:mod:`geonb.workloads.segmentation.boundary`).

    Returns
    -------
    Dataset, each of the first four with ``_low`` and ``_high`` (NaN where there is one block only):
        ``score (model, split, metric)``, ``class_score (model, split, class, class_metric)``;
        ``gain (model, split, metric)``: the network's score minus the model's, whose interval comes from the same draws for
        both (paired), hence is narrower than the two scores' own;
        ``source_score``, ``source_gain (model, split, source, metric)``; ``constituent_score``, ``constituent_gain`` if
        there is more than one dataset among the sources (coordinate ``dataset`` of ``source``).
    Counts: ``confusion (model, split, true, predicted)``; ``confidence``, ``hit_rate``, ``bin_pixels (model, split, bin)`` of
    the reliability diagram; ``n_pixels``, ``n_blocks``, ``n_classes (split)``; ``prevalence``, ``true_area_ha (split, class)``,
    ``area_ha (model, split, class)``; ``source_pixels``, ``source_blocks (split, source)``. By block, with its ``block_source``,
    ``block_number``, ``block_split``: ``block_confusion (model, block, true, predicted)``, ``block_losses (model, block, loss)``
    and ``block_edges (model, block, edge, class)``; ``blocks_across (source)``: block number = row * across + column.

    ``area_error`` is (predicted - true) / true area: 0.1 means that a tenth too much was mapped.

    Raises
    ------
    ValueError
        If no labelled pixel has a prediction.
    """
    blocks = count(predictions, rows, tolerance_px)
    if not blocks.number.size:
        raise ValueError(
            "No labelled pixel has a prediction, so there is nothing to score. Check the mask of notebook 01."
        )
    splits = [name for name in SPLITS if name != "none"]
    datasets = [
        str(n.attrs.get("dataset") or predictions.attrs.get("title", "")) for n in predictions.children.values()
    ]
    whole = [
        _resampled(blocks, blocks.split == SPLITS[name], draws, [seed, n, 0xB007]) for n, name in enumerate(splits)
    ]
    variables = _stacked(whole, "", ("model", "split"), DRAWN)
    variables |= _grouped(blocks, np.array(blocks.sources), "source", splits, draws, seed)
    named = list(dict.fromkeys(datasets))
    if len(named) > 1:
        variables |= _grouped(blocks, np.array(datasets), "constituent", splits, draws, seed)
    variables |= _counts(blocks, splits) | _block_variables(blocks)
    coords = {
        "model": blocks.models, "split": splits, "metric": list(METRICS), "class": blocks.classes,
        "class_metric": list(CLASS_METRICS), "true": blocks.classes, "predicted": blocks.classes, "source": blocks.sources,
        "dataset": ("source", datasets), "pixel_ha": ("source", blocks.pixel_ha), "loss": ["log_loss", "brier"], "edge": list(EDGES),
        "block_source": ("block", np.array(blocks.sources)[blocks.source]), "block_number": ("block", blocks.number),
        "block_split": ("block", np.array(list(SPLITS))[blocks.split]),
    } | ({"constituent": named} if len(named) > 1 else {})  # fmt: skip
    keep = ("workload", "title", "run", "simulated", "notes", "colours", "headline", "network", "precision", "block")
    attrs = {k: predictions.attrs[k] for k in keep if k in predictions.attrs}
    return xr.Dataset(variables, coords, attrs | {"draws": draws, "boundary_tolerance_px": tolerance_px})


def metrics_of(table: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Metrics from summed counts.

    Parameters
    ----------
    table : array (..., column), see :func:`geonb.workloads.segmentation.blocks.columns`
        Among them the sum of Brier scores (Brier 1950, multi-class form, 0-2).

    Returns
    -------
    (..., metric) in the order of METRICS and (..., class, class_metric) in the order of CLASS_METRICS; NaN where undefined.
    """
    part = {name: table[..., where] for name, where in columns(classes).items()}
    confusion = part["confusion"].reshape(*table.shape[:-1], classes, classes)
    true_edge, true_near, guess_edge, guess_near = np.moveaxis(
        part["edges"].reshape(*table.shape[:-1], 4, classes), -2, 0
    )
    true_area, area = part["areas"][..., :classes], part["areas"][..., classes:]
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, guessed, total = confusion.sum(-1), confusion.sum(-2), confusion.sum((-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        present = true > 0
        # A class that is guessed but absent from the split has no recall; its IoU is left out of the mean, as stated.
        iou = np.where(present, hit / (true + guessed - hit), np.nan)
        f1 = np.where(present, 2 * hit / (true + guessed), np.nan)
        precise, found = guess_near / np.maximum(guess_edge, 1), true_near / true_edge
        boundary = np.where(true_edge > 0, 2 * precise * found / np.maximum(precise + found, 1e-300), np.nan)
        area_error = np.where(present, (area - true_area) / true_area, np.nan)
        by_class = [iou, f1, np.where(guessed > 0, hit / guessed, np.nan), hit / true, boundary, area_error]
        overall = [
            _mean(iou),
            hit.sum(-1) / total,
            _mean(f1),
            _mean(boundary),
            part["losses"][..., 0] / total,
            part["losses"][..., 1] / total,
        ]
    return np.stack(overall, axis=-1), np.stack(by_class, axis=-1)


def _mean(by_class: np.ndarray) -> np.ndarray:
    """Over the classes where it is defined; NaN where there is none."""
    return np.nansum(by_class, -1) / np.isfinite(by_class).sum(-1)


def _resampled(blocks: Blocks, mine: np.ndarray, draws: int, seed: list[int]) -> dict[str, np.ndarray]:
    """Metrics of every model on some blocks, and what the first model gains on each, over the same draws of blocks.

    Returns
    -------
    dict: score and gain (model, metric), class_score (model, class, class_metric), each with _low and _high
    """
    table, classes = blocks.table[:, mine], len(blocks.classes)
    value = dict(zip(DRAWN, _with_gain(metrics_of(table.sum(axis=1), classes)), strict=True))
    out = dict(value)
    number = table.shape[1]
    if number < 2 or not draws:
        return out | {name + end: np.full_like(v, np.nan) for name, v in value.items() for end in ("_low", "_high")}
    counts = draw(number, draws, seed)
    for name, drawn in zip(DRAWN, _with_gain(metrics_of(counts @ table, classes)), strict=True):
        out[f"{name}_low"], out[f"{name}_high"] = interval(np.moveaxis(drawn, 1, 0))
    return out


def _with_gain(metrics: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return *metrics, metrics[0][:1] - metrics[0]


def _stacked(pieces: list[dict], prefix: str, dims: tuple[str, ...], names: tuple[str, ...]) -> dict:
    """Variables (model, ..., metric) from one dict a split, or a split and source (then nested)."""
    tails = {"class_score": ("class", "class_metric")}
    return {
        prefix + name + end: (
            (*dims, *tails.get(name, ("metric",))),
            np.stack([piece[name + end] for piece in pieces], axis=1),
        )
        for name in names
        for end in ("", "_low", "_high")
    }


def _grouped(blocks: Blocks, group_of: np.ndarray, dim: str, splits: list[str], draws: int, seed: int) -> dict:
    """Score and gain (model, split, <dim>, metric) over each group's own blocks; `group_of`: name of each source's group."""
    groups, names = list(dict.fromkeys(group_of)), ("score", "gain")
    of_block = group_of[blocks.source]
    mine = {(s, g): (blocks.split == SPLITS[s]) & (of_block == g) for s in splits for g in groups}
    by_split = []
    for n, split in enumerate(splits):
        pieces = [_resampled(blocks, mine[split, g], draws, [seed, n, 0xB007, i + 1]) for i, g in enumerate(groups)]
        by_split.append({name: value for name, (_, value) in _stacked(pieces, "", ("model", dim), names).items()})
    out = _stacked(by_split, f"{dim}_", ("model", "split", dim), names)
    pixels = blocks.table[0][:, columns(len(blocks.classes))["confusion"]].sum(-1)
    counts = {f"{dim}_pixels": lambda where: int(pixels[where].sum()), f"{dim}_blocks": lambda where: int(where.sum())}
    return out | {
        name: (("split", dim), np.array([[of(mine[s, g]) for g in groups] for s in splits]))
        for name, of in counts.items()
    }


def _counts(blocks: Blocks, splits: list[str]) -> dict:
    """Confusion, reliability, pixels and areas of each split, over all its blocks."""
    number, where = len(blocks.classes), columns(len(blocks.classes))
    mine = [blocks.split == SPLITS[s] for s in splits]
    total = np.stack([blocks.table[:, m].sum(axis=1) for m in mine], axis=1)  # (model, split, column)
    confusion = total[..., where["confusion"]].reshape(len(blocks.models), len(splits), number, number).astype(np.int64)
    bins = blocks.bins[:, [SPLITS[s] for s in splits]]
    per_class = confusion[0].sum(axis=-1)
    areas = total[..., where["areas"]] * (1 if np.isfinite(blocks.pixel_ha).all() else np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        confidence, hit_rate = bins[..., 1] / bins[..., 0], bins[..., 2] / bins[..., 0]
        prevalence = per_class / per_class.sum(axis=-1, keepdims=True)
    return {
        "confusion": (("model", "split", "true", "predicted"), confusion),
        "confidence": (("model", "split", "bin"), confidence),
        "hit_rate": (("model", "split", "bin"), hit_rate),
        "bin_pixels": (("model", "split", "bin"), bins[..., 0].astype(np.int64)),
        "n_pixels": ("split", per_class.sum(axis=-1)),
        "n_blocks": ("split", np.array([m.sum() for m in mine])),
        "n_classes": ("split", (per_class > 0).sum(axis=-1)),
        "prevalence": (("split", "class"), prevalence),
        "true_area_ha": (("split", "class"), areas[0][:, :number]),
        "area_ha": (("model", "split", "class"), areas[..., number:]),
    }


def _block_variables(blocks: Blocks) -> dict:
    """The counts of each block, as they are kept in scores.nc; :func:`block_table` is the way back."""
    number, where = len(blocks.classes), columns(len(blocks.classes))
    shape = blocks.table.shape[:2]
    confusion = blocks.table[..., where["confusion"]].reshape(*shape, number, number).astype(np.int32)
    edges = blocks.table[..., where["edges"]].reshape(*shape, 4, number).astype(np.int32)
    return {
        "block_confusion": (("model", "block", "true", "predicted"), confusion),
        "blocks_across": ("source", blocks.across),
        "block_losses": (("model", "block", "loss"), blocks.table[..., where["losses"]]),
        "block_edges": (("model", "block", "edge", "class"), edges),
    }


def block_table(scores: xr.Dataset, split: str = "test") -> np.ndarray:
    """Counts (model, block, column) of a split's blocks, for :func:`metrics_of`.

    Raises
    ------
    ValueError
        If the scores were made by a geonb that did not keep them.
    """
    if "block_confusion" not in scores:
        raise ValueError("these scores hold no counts by block (made by an older geonb): run 04_analytics again")
    here = scores.isel(block=np.flatnonzero(scores["block_split"] == split))
    names = ("block_confusion", "block_losses", "block_edges")
    parts = [here[name].to_numpy().reshape(*here[name].shape[:2], -1) for name in names]
    pixel_ha = here["pixel_ha"].sel(source=here["block_source"]).to_numpy()
    return with_areas(np.concatenate(parts, axis=-1).astype(np.float64), scores.sizes["class"], pixel_ha)


def block_scores(scores: xr.Dataset, metric: str, model: str | None = None, split: str = "test") -> xr.DataArray:
    """One metric of each block of a split: DataArray (block,) with block_source, block_number and ``pixels``."""
    model = str(scores["model"].values[0]) if model is None else model
    at = list(scores["model"].values).index(model)
    table = block_table(scores, split)[at]
    values = metrics_of(table, scores.sizes["class"])[0][:, METRICS.index(metric)]
    here = scores.isel(block=np.flatnonzero(scores["block_split"] == split))
    pixels = table[:, columns(scores.sizes["class"])["confusion"]].sum(-1).astype(int)
    coords = {name: ("block", here[name].values) for name in ("block_source", "block_number")}
    return xr.DataArray(values, coords | {"pixels": ("block", pixels)}, ("block",), name=metric)


def _truth(table: np.ndarray, classes: int) -> np.ndarray:
    confusion = table[:, columns(classes)["confusion"]]
    return confusion.reshape(len(table), classes, classes).sum(-1)


def compare_classes(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Difference of two runs' networks over the same blocks, with its paired 95 % interval.

    Returns
    -------
    dict with ``difference`` (one minus other), ``low``, ``high``, ``blocks``

    Raises
    ------
    ValueError
        If they were not scored on the same pixels: other classes, blocks or truth.
    """
    if list(one["class"].values) != list(other["class"].values):
        raise ValueError("their classes differ")
    tables, classes = [], one.sizes["class"]
    for scores in (one, other):
        table = block_table(scores, split)[0]
        here = scores.isel(block=np.flatnonzero(scores["block_split"] == split))
        order = np.lexsort([here["block_number"].values, here["block_source"].values])
        tables.append((here["block_source"].values[order], here["block_number"].values[order], table[order]))
    (*keys, table), (*other_keys, other_table) = tables
    same = all(np.array_equal(a, b) for a, b in zip(keys, other_keys, strict=True))
    if not same or not np.array_equal(_truth(table, classes), _truth(other_table, classes)):
        raise ValueError(f"their {split} splits do not hold the same pixels")
    at, number = METRICS.index(metric), len(table)
    if not number:
        raise ValueError(f"there is no scored pixel in the {split} split")

    def difference(weights: np.ndarray) -> np.ndarray:
        first, second = (metrics_of(weights @ t, classes)[0][..., at] for t in (table, other_table))
        return first - second

    low = high = np.nan
    if number > 1 and draws:
        low, high = interval(difference(draw(number, draws, [seed, 0xB007])))
    return {"difference": float(difference(np.ones(number))), "low": float(low), "high": float(high), "blocks": number}
