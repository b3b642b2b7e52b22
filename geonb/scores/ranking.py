"""How well a score ranks, from counts by level, and the levels."""

from __future__ import annotations

import numpy as np


def auroc(without: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Share of pairs of an event and a non-event in which the event has the higher probability; equal ones count half."""
    below = np.cumsum(without, -1) - without / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (events * below).sum(-1) / (events.sum(-1) * without.sum(-1).astype(np.float64))


def levels(probability: np.ndarray, count: int) -> np.ndarray:
    """Level, 0 to `count` - 1, of each of some probabilities (sample,): half of the levels lie below one half, half from there on.

    Within a half each level holds as many distinct values as the others, so that those are told apart, too, that lie close together, as
    those of a model that knows little. What differs by rounding alone shares a level.
    """
    clipped = np.clip(np.asarray(probability, np.float64), 1e-7, 1 - 1e-7)
    logit, level = np.round(np.log(clipped / (1 - clipped)), 4), np.empty(len(clipped), int)
    for half in (0, 1):
        mine = (clipped >= 0.5) == half
        values, at = np.unique(logit[mine], return_inverse=True)
        level[mine] = count // 2 * half + at * (count // 2) // max(len(values), 1)
    return level
