"""Scores of several labels at once, from probabilities and from counts by level that blocks can be drawn of.

mAP is the mean of the classes' average precision; macro-F1 the mean of their F1; samples-F1 the mean over chips of the F1 of a
chip's labels (scikit-learn's names). Labels that are not known count nowhere.
"""

from __future__ import annotations

import numpy as np

METRICS = ("map", "macro_f1", "samples_f1")
LEVELS = 200  # of a probability, between which ranks are told apart
COUNTS = ("hit", "false alarm", "miss")


def average_precision(probability: np.ndarray, truth: np.ndarray) -> float:
    """Average precision of one class; NaN where nothing of it is there (scikit-learn's, which ties alike)."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth > 0.5, probability)) if (truth > 0.5).any() else np.nan


def best_thresholds(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The threshold of each class with the highest F1 on some chips; .5 where nobody knows.

    Parameters
    ----------
    probability : array (sample, class), 0-1
    truth : array (sample, class), 1, 0, or NaN where it is not known

    Returns
    -------
    array (class,): a label is told from this probability on
    """
    from sklearn.metrics import precision_recall_curve

    found = np.full(probability.shape[1], 0.5)
    for c, (p, t) in enumerate(zip(probability.T, truth.T, strict=True)):
        known = np.isfinite(t) & np.isfinite(p)
        if not known.any() or t[known].sum() in (0, known.sum()):
            continue
        precision, recall, thresholds = precision_recall_curve(t[known], p[known])
        total = precision + recall
        f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)[:-1]
        best = int(f1.argmax())
        below = (
            thresholds[best - 1] if best else 0.0
        )  # half-way to the next lower one: a rounded probability shall not flip
        found[c] = (thresholds[best] + below) / 2
    return found


def level_of(probability: np.ndarray) -> np.ndarray:
    """The level (int) of probabilities 0-1: finer where they are small or large, as those of rare labels are."""
    logit = np.log(np.clip(probability, 1e-6, 1 - 1e-6) / np.clip(1 - probability, 1e-6, 1 - 1e-6))
    return np.clip((logit + 14) / 28 * LEVELS, 0, LEVELS - 1).astype(int)


def block_table(
    probability: np.ndarray, truth: np.ndarray, threshold: np.ndarray, block: np.ndarray, blocks: int
) -> np.ndarray:
    """Sums by block from which `metrics_of` makes the metrics.

    Parameters
    ----------
    probability, truth : arrays (sample, class), NaN where not known
    threshold : array (class,)
    block : array (sample,) of int
        Number of each sample's block.

    Returns
    -------
    array (block, column): chips with a known label, their F1 summed, then by class hits, false alarms and misses, then by class
    and level those without the label and those with it
    """
    classes = probability.shape[1]
    known = np.isfinite(truth) & np.isfinite(probability)
    present, told = known & (truth > 0.5), known & (probability >= threshold)
    hit = (present & told).sum(1)
    wanted = present.sum(1) + told.sum(1)
    f1 = np.where(wanted > 0, 2 * hit / np.maximum(wanted, 1), 1.0)  # nothing there and nothing told is right
    rated = known.any(1)
    table = np.zeros((blocks, 2 + 3 * classes + 2 * classes * LEVELS))
    np.add.at(table[:, 0], block[rated], 1)
    np.add.at(table[:, 1], block[rated], f1[rated])
    for i, counted in enumerate((present & told, ~present & told, present & ~told)):
        np.add.at(table[:, 2 + i * classes : 2 + (i + 1) * classes], block, counted)
    levels = table[:, 2 + 3 * classes :].reshape(blocks, 2, classes, LEVELS)
    sample, c = np.nonzero(known)
    np.add.at(levels, (block[sample], present[sample, c].astype(int), c, level_of(probability[sample, c])), 1)
    return table


def metrics_of(table: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """``score (..., metric)`` and ``class_score (..., class, class_metric)`` from summed counts (..., column); NaN where undefined.

    class_metric is average precision, F1, precision, recall, prevalence.
    """
    number, f1_sum = table[..., 0], table[..., 1]
    hit, alarm, miss = (table[..., 2 + i * classes : 2 + (i + 1) * classes] for i in range(3))
    without, present = np.moveaxis(table[..., 2 + 3 * classes :].reshape(*table.shape[:-1], 2, classes, LEVELS), -3, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(hit + miss > 0, 2 * hit / (2 * hit + alarm + miss), np.nan)
        ap = _ap(without, present)
        each = [ap, f1, hit / (hit + alarm), hit / (hit + miss), present.sum(-1) / (present + without).sum(-1)]
        score = [_mean(ap), _mean(f1), f1_sum / number]
    return {"score": np.stack(score, -1), "class_score": np.stack(each, -1)}


CLASS_METRICS = ("average_precision", "f1", "precision", "recall", "prevalence")


def _ap(without: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Average precision from counts by level (..., level), lowest first; a level is one step, as ties are."""
    hits, alarms = (np.cumsum(part[..., ::-1], -1) for part in (present, without))
    total = hits[..., -1:]
    precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits + alarms > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (present[..., ::-1] * precision).sum(-1) / total[..., 0]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined, NaN where nothing is."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(-1) / np.where(there.any(-1), there.sum(-1), np.nan)
