"""How well labels are told, beside baselines, with intervals over parent tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLIT_CODES, SPLITS
from geonb.scores.bootstrap import by_split, resampled
from geonb.workloads.chips import metrics
from geonb.workloads.chips.metrics import CLASS_METRICS, METRICS

KEEP = ("workload", "title", "run", "simulated", "notes", "colours", "network", "precision")


def score_chips(predictions: xr.DataTree, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Score every model of a predictions tree on every split, with 95 % block-bootstrap intervals over parent tiles.

    ``map``: mean over classes of average precision; ``macro_f1``: mean over classes of F1; ``samples_f1``: mean over chips of the F1 of a
    chip's labels. F1 is at each model's own thresholds, chosen on validation. Classes of which a split has no chip do not count in it.

    Returns
    -------
    Dataset, with ``_low`` and ``_high`` each: ``score``, ``gain (model, split, metric)``; ``class_score (model, split, class,
    class_metric)`` of average precision, F1, precision, recall, prevalence; besides ``class_chips (split, class)``, chips with the
    label; ``class_threshold (model, class)``; ``n_samples``, ``n_blocks (split)``; and by block, to compare runs, ``block_sums
    (model, block, sum)`` with ``block_split``, ``block_number``
    """
    found = gathered(predictions)
    probability, truth, threshold, block, split = (
        found[k] for k in ("probability", "truth", "threshold", "block", "split")
    )
    classes, codes = truth.shape[1], np.unique(block)
    at = np.searchsorted(codes, block)
    table = np.stack(
        [metrics.block_table(p, truth, t, at, len(codes)) for p, t in zip(probability, threshold, strict=True)]
    )
    of_block = np.zeros(len(codes), int)
    of_block[at] = split  # a parent tile lies in one split
    inside = [of_block == SPLIT_CODES[s] for s in SPLITS]

    def resample(mine: np.ndarray, key: list[int]) -> dict[str, np.ndarray]:
        chips = mine[at]
        exact = _exact(probability[:, chips], truth[chips], table[:, mine].sum(1), classes)
        return resampled(table[:, mine], lambda sums: metrics.metrics_of(sums, classes), draws, key, exact=exact)

    dims = {"score": ("model", "split", "metric"), "gain": ("model", "split", "metric"),
            "class_score": ("model", "split", "class", "class_metric")}  # fmt: skip
    variables: dict[str, Any] = by_split(resample, inside, seed, dims)
    variables |= {
        "n_samples": ("split", [int(np.isfinite(truth[mine[at]]).any(1).sum()) for mine in inside]),
        "n_blocks": ("split", [int(mine.sum()) for mine in inside]),
        "class_chips": (("split", "class"), np.stack([(truth[mine[at]] == 1).sum(0) for mine in inside])),
        "class_threshold": (("model", "class"), threshold),
        "block_sums": (("model", "block", "sum"), table.astype(np.float32)),
        "block_split": ("block", np.array(["none", *SPLITS])[of_block]),
        "block_number": ("block", codes),
    }
    coords = {"model": found["models"], "split": list(SPLITS), "metric": list(METRICS), "class": found["classes"],
              "class_metric": list(CLASS_METRICS)}  # fmt: skip
    attrs = {k: predictions.attrs[k] for k in KEEP if k in predictions.attrs}
    return xr.Dataset(variables, coords, attrs | {"headline": "map", "draws": draws, "unit": "chips"})


def _exact(probability: np.ndarray, truth: np.ndarray, sums: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """The metrics on all blocks with exact average precision, which levels tell a little too coarsely."""
    value = metrics.metrics_of(sums, classes)
    for m, told in enumerate(probability):
        for c in range(classes):
            known = np.isfinite(truth[:, c])
            value["class_score"][m, c, 0] = (
                metrics.average_precision(told[known, c], truth[known, c]) if known.any() else np.nan
            )
        ap = value["class_score"][m, :, 0]
        value["score"][m, 0] = np.nanmean(ap) if np.isfinite(ap).any() else np.nan
    return value


def gathered(predictions: xr.DataTree) -> dict[str, Any]:
    """All chips of all sources: probability (model, chip, class), truth (chip, class) NaN where not known, threshold (model, class), block,
    split, row (chip,), source (chip,), and the names of models and classes."""
    parts: dict[str, list] = {name: [] for name in ("probability", "truth", "block", "split", "row", "source")}
    first = None
    for name, node in predictions.children.items():
        data = node.to_dataset().load()
        there = (data["row"] >= 0).to_numpy()
        first = data if first is None else first
        truth = data["truth"].transpose("y", "x", "class").to_numpy()[there].astype(np.float32)
        parts["probability"].append(data["probability"].transpose("model", "y", "x", "class").to_numpy()[:, there])
        parts["truth"].append(np.where(truth < 0, np.nan, truth))
        for column in ("block", "split", "row"):
            parts[column].append(data[column].to_numpy()[there])
        parts["source"].append(np.full(int(there.sum()), name, object))
    if first is None:
        raise ValueError("The predictions hold no source. Run notebooks/03_prediction.ipynb first.")
    found: dict[str, Any] = {k: np.concatenate(v, axis=1 if k == "probability" else 0) for k, v in parts.items()}
    return found | {
        "threshold": first["threshold"].to_numpy(), "models": first["model"].astype(str).to_numpy(),
        "classes": first["class"].astype(str).to_numpy(),
    }  # fmt: skip
