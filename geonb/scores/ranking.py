"""How well a score ranks, from counts by level."""

from __future__ import annotations

import numpy as np


def auroc(without: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Share of pairs of an event and a non-event in which the event has the higher probability; equal ones count half."""
    below = np.cumsum(without, -1) - without / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (events * below).sum(-1) / (events.sum(-1) * without.sum(-1).astype(np.float64))
