"""Scores of classes with block-bootstrap intervals, network and baselines side by side."""

from __future__ import annotations

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLIT_CODES as SPLITS
from geonb.scores.bootstrap import Arrays, Variables, by_group, by_split, resampled
from geonb.scores.comparison import of_split
from geonb.workloads.segmentation.blocks import Blocks, columns, count, with_areas

METRICS = ("mean_iou", "accuracy", "macro_f1", "boundary_f1", "log_loss", "brier")


CLASS_METRICS = ("iou", "f1", "precision", "recall", "boundary_f1", "area_error")


DIMS = {"score": ("model", "split", "metric"), "class_score": ("model", "split", "class", "class_metric")}


# A class of fewer blocks, or a smaller share of a split's pixels, is called rare: in the mean it weighs as much as any other.
FEW_BLOCKS, SMALL_SHARE = 3, 0.01


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
    Counts: ``confusion (model, split, true, predicted)``; ``confidence``, ``hit_rate``, ``bin_samples (model, split, bin)`` of
    the reliability diagram; ``n_samples``, ``n_blocks``, ``n_classes (split)``; ``prevalence``, ``true_area_ha``, ``class_samples``,
    ``class_blocks`` (that hold some of it), ``rare (split, class)``, and ``score_without_rare (model, split)``, the mean IoU over
    the other classes; ``area_ha (model, split, class)``; ``source_samples``, ``source_blocks (split, source)``. By block, with its
    ``block_source``, ``block_number``, ``block_split``: ``block_confusion (model, block, true, predicted)``, ``block_losses (model,
    block, loss)`` and ``block_edges (model, block, edge, class)``; ``blocks_across (source)``: block number = row * across + column.

    ``area_error`` is (predicted - true) / true area: 0.1 means that a tenth too much was mapped.

    Raises
    ------
    ValueError
        If no labelled pixel has a prediction.
    """
    blocks = count(predictions, rows, tolerance_px)
    number = len(blocks.classes)
    if not blocks.number.size:
        raise ValueError(
            "No labelled pixel has a prediction, so there is nothing to score. Check the mask of notebook 01."
        )
    splits = [name for name in SPLITS if name != "none"]
    datasets = [
        str(n.attrs.get("dataset") or predictions.attrs.get("title", "")) for n in predictions.children.values()
    ]
    mine, named = [blocks.split == SPLITS[name] for name in splits], list(dict.fromkeys(datasets))

    def resample(inside: np.ndarray, key: list[int]) -> Arrays:
        return resampled(
            blocks.table[:, inside], lambda sums: dict(zip(DIMS, metrics_of(sums, number), strict=True)), draws, key
        )

    variables = by_split(resample, mine, seed, DIMS | {"gain": ("model", "split", "metric")})
    pixels = blocks.table[0][:, columns(number)["confusion"]].sum(-1)
    counts = {"samples": lambda inside: int(pixels[inside].sum()), "blocks": lambda inside: int(inside.sum())}
    for dim, group_of in {"source": blocks.sources, "constituent": datasets}.items():
        of_block, groups = np.array(group_of)[blocks.source], list(dict.fromkeys(group_of))
        if dim == "source" or len(groups) > 1:
            inside = [[of_split & (of_block == group) for group in groups] for of_split in mine]
            variables |= by_group(resample, inside, dim, seed, counts)
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
    return xr.Dataset(
        variables,
        coords,
        attrs | {"draws": draws, "mean_over_classes": "mean_iou", "boundary_tolerance_px": tolerance_px},
    )


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


def _counts(blocks: Blocks, splits: list[str]) -> Variables:
    """Confusion, reliability, pixels and areas of each split, over all its blocks."""
    number, where = len(blocks.classes), columns(len(blocks.classes))
    mine = [blocks.split == SPLITS[s] for s in splits]
    total = np.stack([blocks.table[:, m].sum(axis=1) for m in mine], axis=1)  # (model, split, column)
    confusion = total[..., where["confusion"]].reshape(len(blocks.models), len(splits), number, number).astype(np.int64)
    bins = blocks.bins[:, [SPLITS[s] for s in splits]]
    per_class = confusion[0].sum(axis=-1)
    held = blocks.table[0][:, where["confusion"]].reshape(-1, number, number).sum(axis=-1) > 0  # (block, class)
    class_blocks = np.stack([held[m].sum(axis=0) for m in mine])
    areas = total[..., where["areas"]] * (1 if np.isfinite(blocks.pixel_ha).all() else np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        confidence, hit_rate = bins[..., 1] / bins[..., 0], bins[..., 2] / bins[..., 0]
        prevalence = per_class / per_class.sum(axis=-1, keepdims=True)
        rare = (per_class > 0) & ((class_blocks < FEW_BLOCKS) | (prevalence < SMALL_SHARE))
        iou = metrics_of(total, number)[1][..., CLASS_METRICS.index("iou")]
        without = _mean(np.where(rare, np.nan, iou))
    return {
        "confusion": (("model", "split", "true", "predicted"), confusion),
        "confidence": (("model", "split", "bin"), confidence),
        "hit_rate": (("model", "split", "bin"), hit_rate),
        "bin_samples": (("model", "split", "bin"), bins[..., 0].astype(np.int64)),
        "n_samples": ("split", per_class.sum(axis=-1)),
        "n_blocks": ("split", np.array([m.sum() for m in mine])),
        "n_classes": ("split", (per_class > 0).sum(axis=-1)),
        "prevalence": (("split", "class"), prevalence),
        "class_samples": (("split", "class"), per_class),
        "class_blocks": (("split", "class"), class_blocks),
        "rare": (("split", "class"), rare),
        "score_without_rare": (("model", "split"), without),
        "true_area_ha": (("split", "class"), areas[0][:, :number]),
        "area_ha": (("model", "split", "class"), areas[..., number:]),
    }


def _block_variables(blocks: Blocks) -> Variables:
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


def block_table(scores: xr.Dataset) -> np.ndarray:
    """Counts (model, block, column) of the blocks in scores, for :func:`metrics_of`.

    Raises
    ------
    ValueError
        If the scores were made by a geonb that did not keep them.
    """
    if "block_confusion" not in scores:
        raise ValueError("these scores hold no counts by block (made by an older geonb): run 04_analytics again")
    parts = [scores[name].to_numpy() for name in ("block_confusion", "block_losses", "block_edges")]
    parts = [part.reshape(*part.shape[:2], -1) for part in parts]
    pixel_ha = scores["pixel_ha"].sel(source=scores["block_source"]).to_numpy()
    return with_areas(np.concatenate(parts, axis=-1).astype(np.float64), scores.sizes["class"], pixel_ha)


def block_scores(scores: xr.Dataset, metric: str, model: str | None = None, split: str = "test") -> xr.DataArray:
    """One metric of each block of a split: DataArray (block,) with block_source, block_number and ``pixels``."""
    model = str(scores["model"].values[0]) if model is None else model
    at = list(scores["model"].values).index(model)
    here = of_split(scores, split)
    table = block_table(here)[at]
    values = metrics_of(table, scores.sizes["class"])[0][:, METRICS.index(metric)]
    pixels = table[:, columns(scores.sizes["class"])["confusion"]].sum(-1).astype(int)
    coords = {name: ("block", here[name].values) for name in ("block_source", "block_number")}
    return xr.DataArray(values, coords | {"pixels": ("block", pixels)}, ("block",), name=metric)
