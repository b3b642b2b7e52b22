"""The block bootstrap: how often each block is drawn, and the interval of what was drawn."""

from __future__ import annotations

import numpy as np

from geonb.base.conventions import IGNORE  # noqa: F401  (named where scores are made)


def draw(blocks: int, draws: int, seed: list[int]) -> np.ndarray:
    """How often each block is drawn: array (draw, block), rows sum to the number of blocks."""
    counts = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)
    return counts.astype(np.float64)  # a product of floats goes through BLAS


def interval(drawn: np.ndarray) -> np.ndarray:
    """2.5 and 97.5 percentiles over the first axis, NaN where no draw is defined."""
    bounds = np.full((2, *drawn.shape[1:]), np.nan)
    defined = np.isfinite(drawn).any(axis=0)
    bounds[:, defined] = np.nanpercentile(drawn[:, defined], [2.5, 97.5], axis=0)
    return bounds
