"""What two heads say together, and how right that is: counts that blocks of events can be drawn of."""

from __future__ import annotations

import numpy as np

from geonb.scores.ranking import auroc, levels

KINDS = ("noise", "earthquake", "explosion")
METRICS = ("macro_f1", "detector_f1", "detector_ap", "classifier_f1", "classifier_auroc")
LEVELS = 200  # of a probability, between which ranks are told apart


def joint(told: np.ndarray) -> np.ndarray:
    """Probabilities (..., kind) of noise, earthquake and explosion from those of the heads (..., head)."""
    event, explosion = told[..., 0], told[..., 1]
    return np.stack([1 - event, event * (1 - explosion), event * explosion], -1)


def truth_of(targets: np.ndarray) -> np.ndarray:
    """Number of the kind of each window from its targets (sample, head); -1 where the kind of an event is not known."""
    known = np.where(np.isnan(targets[:, 1]), -1, 1 + targets[:, 1])
    return np.where(targets[:, 0] > 0.5, known, np.where(targets[:, 0] == 0, 0, -1)).astype(np.int64)


def macro_f1(truth: np.ndarray, told: np.ndarray) -> float:
    """Mean F1 over the kinds that are there; windows of kind -1 count nowhere (scikit-learn's)."""
    from sklearn.metrics import f1_score

    known = truth >= 0
    if not known.any():
        return float("nan")
    return float(f1_score(truth[known], told[known], labels=np.unique(truth[known]), average="macro", zero_division=0))


def block_table(told: np.ndarray, targets: np.ndarray, block: np.ndarray, blocks: int) -> np.ndarray:
    """Sums by block from which `metrics_of` makes the metrics.

    Parameters
    ----------
    told : array (sample, head), probabilities
    targets : array (sample, head), 1, 0, or NaN where not known or not asked
    block : array (sample,) of int

    Returns
    -------
    array (block, column): 3 x 3 counts of kinds (true, told), then by head, answer and level the windows
    """
    truth, likeliest = truth_of(targets), joint(told).argmax(-1)
    table = np.zeros((blocks, 9 + 2 * 2 * LEVELS))
    known = truth >= 0
    np.add.at(table, (block[known], 3 * truth[known] + likeliest[known]), 1)
    counts = table[:, 9:].reshape(blocks, 2, 2, LEVELS)
    for head in range(2):
        asked = np.flatnonzero(np.isfinite(targets[:, head]) & np.isfinite(told[:, head]))
        level, answer = levels(told[asked, head], LEVELS), (targets[asked, head] > 0.5).astype(int)
        np.add.at(counts[:, head], (block[asked], answer, level), 1)
    return table


def metrics_of(table: np.ndarray) -> dict[str, np.ndarray]:
    """``score (..., metric)``, ``kind_score (..., kind, kind_metric)`` and ``confusion (..., true, told)`` from sums; NaN where undefined.

    kind_metric is F1, precision, recall. The detector tells an event, the classifier an explosion among true events, from one half on.
    """
    counts = table[..., :9].reshape(*table.shape[:-1], 3, 3)
    ranked = table[..., 9:].reshape(*table.shape[:-1], 2, 2, LEVELS)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    there, told = counts.sum(-1), counts.sum(-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(there > 0, 2 * right / (there + told), np.nan)
        kind_score = np.stack([f1, right / told, right / there], -1)
        each = [_mean(f1)]
        for head, rank in ((0, _average_precision), (1, auroc)):
            no, yes = ranked[..., head, 0, :], ranked[..., head, 1, :]
            hit, alarm, miss = (
                yes[..., LEVELS // 2 :].sum(-1),
                no[..., LEVELS // 2 :].sum(-1),
                yes[..., : LEVELS // 2].sum(-1),
            )
            each += [np.where(hit + miss > 0, 2 * hit / (2 * hit + alarm + miss), np.nan), rank(no, yes)]
    return {"score": np.stack(each, -1), "kind_score": kind_score, "confusion": counts}


def _average_precision(no: np.ndarray, yes: np.ndarray) -> np.ndarray:
    """From counts by level (..., level), lowest first; a level is one step, as ties are."""
    hits, alarms = (np.cumsum(part[..., ::-1], -1) for part in (yes, no))
    precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits + alarms > 0)
    return (yes[..., ::-1] * precision).sum(-1) / hits[..., -1]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined, NaN where nothing is."""
    there = np.isfinite(values)
    return np.where(there, values, 0).sum(-1) / np.where(there.any(-1), there.sum(-1), np.nan)


KIND_METRICS = ("f1", "precision", "recall")
