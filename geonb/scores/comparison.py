"""Two runs over the same blocks: that they were scored on the same samples, and their difference with its paired interval.

What makes a block hard is hard for both, and cancels out where the same blocks are drawn for both. A workload says what its
scores.nc keeps of each block, and what a draw of blocks makes of its metric; :func:`geonb.scores.scores.compare` asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import interval


@dataclass(frozen=True)
class Drawable:
    """One run's network: its score, and ``drawn(weights)``, the score of each draw of blocks (draw,)."""

    score: float
    drawn: Callable[[np.ndarray], np.ndarray]


def difference(both: Iterable[Drawable], weights: np.ndarray | None) -> dict[str, float]:
    """The first minus the second: ``difference``, ``low`` and ``high`` (NaN without weights).

    Parameters
    ----------
    weights : array (draw, block), or None where there is nothing to resample
        How often each block is drawn, for both.
    """
    (one, other), low, high = both, np.nan, np.nan
    if weights is not None:
        low, high = interval(one.drawn(weights) - other.drawn(weights))
    return {"difference": float(one.score - other.score), "low": float(low), "high": float(high)}


def scored(scores: xr.Dataset, metric: str, split: str) -> float:
    """The network's score, as scores.nc says it."""
    return float(scores["score"].isel(model=0).sel(split=split, metric=metric))


def of_split(scores: xr.Dataset, split: str, *order: str) -> xr.Dataset:
    """The blocks of a split, sorted by the variables `order`, the first one first."""
    mine = scores.isel(block=np.flatnonzero(scores["block_split"].values == split))
    return mine.isel(block=np.lexsort([mine[name].values for name in reversed(order)])) if order else mine


def refuse_others(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str, *, needed: Iterable[str], samples: str,
    told: Mapping[str, Callable[[xr.Dataset], str]] | None = None, same: Callable[[Sequence[xr.Dataset]], bool],
) -> None:  # fmt: skip
    """Raise one ValueError with everything in which the samples differ that two runs were scored on.

    Parameters
    ----------
    needed : names of variables by block, without which there is nothing to compare
    samples : str
        What is scored, in the plural.
    told : mapping, optional
        What both must have alike -> function that says it of one.
    same : function of both
        Whether these are the same samples, asked if nothing told differs.
    """
    both = (one, other)
    if any(name not in scores for scores in both for name in needed):
        raise ValueError("these scores hold no counts by block (made by an older geonb): run 04_analytics again")
    if any(split not in scores["split"].values or metric not in scores["metric"].values for scores in both):
        known = (
            ", ".join(str(name) for name in one[dim].values if name in other[dim].values) for dim in ("metric", "split")
        )
        raise ValueError(f"not both have {metric} of the {split} split (both have {'; '.join(known)})")
    if not all((scores["block_split"].values == split).any() for scores in both):
        raise ValueError(f"there are no scored {samples} in the {split} split")
    faults = []
    for name, say in (told or {}).items():
        mine, others = say(one), say(other)
        if mine != others:
            faults.append(f"other {name} ({mine}; {others})")
    if not faults and not same(both):
        faults.append(f"their {split} splits do not hold the same {samples}")
    if faults:
        raise ValueError(", ".join(faults))


def same_truth(both: Sequence[xr.Dataset], split: str) -> bool:
    """Whether the fingerprints of what was scored (``block_truth``) are one; True where not both have one."""
    return (
        not all("block_truth" in s for s in both) or len({s["block_truth"].sel(split=split).item() for s in both}) == 1
    )
