"""The proof that the splits of months don't leak: no input month of one is a target month of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from geonb.base.conventions import SPLITS


def leaks(index: pd.DataFrame, split: dict[str, Any], most: int = 20) -> tuple[list[str], float]:
    """Look for leakage in the table itself: months that a window of one split sees and one of another is to forecast.

    Parameters
    ----------
    index : DataFrame with t, y, x, split
    split : dict with steps, horizon (months)
    most : int
        Faults that are spelt out.

    Returns
    -------
    faults : list of str, empty if nothing leaks
    smallest_gap_months : float
        Between forecast origins of different splits; inf with one split only.
    """
    steps, horizon = int(split["steps"]), int(split["horizon"])
    faults = [f"{name_of(row)} has no split" for row in index[index["split"].isna()].head(most).itertuples()]
    origins = {s: np.unique(index.loc[index["split"] == s, "t"].to_numpy(np.int64)) for s in SPLITS}
    origins = {s: t for s, t in origins.items() if len(t)}
    # every month that is a target, by split, spelt out: a check must not share the arithmetic of what it checks
    targets = {s: {int(m) + lead for m in t for lead in range(horizon)} for s, t in origins.items()}
    gap = np.inf
    for one, mine in origins.items():
        for other, theirs in origins.items():
            if one == other:
                continue
            gap = min(gap, float(np.abs(mine[:, None] - theirs[None]).min()))
            for t in mine.tolist():
                shared = sorted(set(range(t - steps, t + horizon)) & targets[other])
                if not shared or len(faults) >= most:
                    continue
                row = next(index[(index["t"] == t) & (index["split"] == one)].itertuples())
                kind = "sees" if shared[0] < t else "forecasts"
                faults.append(f"{name_of(row)} {kind} month {shared[0]}, which is a target of {other}")
    return faults, gap


def name_of(row: Any) -> str:
    """A window as faults name it, from a row of `DataFrame.itertuples`."""
    return f"{row.split} window {row.Index} (origin {row.t}, y {row.y}, x {row.x})"
