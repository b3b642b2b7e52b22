"""Counts of forecasts by block of cells and quarter, as scores.nc keeps them: two runs are compared over the same draws.

Of the network only, of all leads together: 64 levels of probability without and with an event, and six sums. For a country
they are some 100 kB (few of the counts are not zero). A fingerprint of the months, leads, cells and events that were
scored tells whether the counts of two runs are of the same forecasts, whatever sample stores they came from.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import interval
from geonb.workloads.conflict.cells import COARSE, Cells

NEEDED = ("block_counts", "block_sums", "block_truth")


def block_variables(cells: Cells) -> dict:
    """The network's counts of each block and quarter of each split, in the order of the split's own quarters and blocks.

    Returns
    -------
    dict of ``block_counts (outcome, block, event, level)`` int32, ``block_sums (outcome, block, sum)`` float64,
    ``block_split``, ``block_quarter``, ``block_place (block)`` and ``block_truth (split)``, the fingerprint of what was scored
    """
    tables, split_of, quarter, place = [], [], [], []
    for split in cells.splits:
        table = cells.blocks[split][0].sum(axis=1, dtype=np.float64)  # (outcome, quarter, place, column)
        quarters, places = table.shape[1:3]
        tables.append(table.reshape(len(table), quarters * places, -1))
        split_of += [split] * (quarters * places)
        quarter.append(np.repeat(np.arange(quarters), places))
        place.append(np.tile(np.arange(places), quarters))
    table = np.concatenate(tables, axis=1)
    counts = np.rint(table[..., : 2 * COARSE]).astype(np.int32).reshape(*table.shape[:2], 2, COARSE)
    return {
        "block_counts": (("outcome", "block", "event", "level"), counts),
        "block_sums": (("outcome", "block", "sum"), table[..., 2 * COARSE :]),
        "block_split": ("block", np.array(split_of)),
        "block_quarter": ("block", np.concatenate(quarter).astype(np.int32)),
        "block_place": ("block", np.concatenate(place).astype(np.int32)),
        "block_truth": ("split", np.array([cells.truth[s] for s in cells.splits])),
    }


def compare_forecasts(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """As :func:`geonb.scores.scores.compare`, of forecasts: blocks of cells and quarters are drawn, the same ones for both.

    Returns
    -------
    dict with ``difference`` (one minus other), ``low``, ``high``, ``blocks`` = ``places`` x ``quarters``, which are resampled
    independently, and ``fewest``, the smaller of the two, on which the interval rests

    Raises
    ------
    ValueError
        If they were not scored on the same months, leads, outcomes, cells and events, or scores.nc does not tell.
    """
    _refuse_others(one, other, metric, split)
    at = [scores["score"].isel(model=0).sel(split=split, metric=metric).item() for scores in (one, other)]
    mine = one["block_split"].values == split
    quarters, places = (int(one[f"block_{name}"].values[mine].max()) + 1 for name in ("quarter", "place"))
    told = {"difference": at[0] - at[1], "low": np.nan, "high": np.nan}
    if draws and max(quarters, places) > 1:
        from geonb.workloads.conflict.scores import weights_of

        weights = weights_of(quarters, places, draws, [seed, 0xB007])
        first, second = (_drawn(scores, metric, split, weights) for scores in (one, other))
        low, high = interval(first - second)
        told |= {"low": float(low), "high": float(high)}
    counted = {"blocks": quarters * places, "places": places, "quarters": quarters}
    return told | counted | {"fewest": min(quarters, places)}


def _drawn(scores: xr.Dataset, metric: str, split: str, weights: np.ndarray) -> np.ndarray:
    """The metric (draw,) of each draw, mean over outcomes, moved by what the coarse levels cost on all blocks."""
    from geonb.workloads.conflict.scores import METRICS, _drawn, _mean

    here = scores.isel(block=np.flatnonzero(scores["block_split"].values == split))
    counts = here["block_counts"].transpose("outcome", "block", "event", "level").to_numpy()
    sums = here["block_sums"].transpose("outcome", "block", "sum").to_numpy()
    table = np.concatenate([counts.reshape(*counts.shape[:2], -1), sums], axis=-1).astype(np.float64)
    value = here["outcome_score"].isel(model=0).sel(split=split).transpose("outcome", "metric").to_numpy()
    return _mean(_drawn(table[None], weights, value[None]))[0][:, METRICS.index(metric)]


def _refuse_others(one: xr.Dataset, other: xr.Dataset, metric: str, split: str) -> None:
    """Raise one ValueError with everything in which the forecasts that were scored differ."""
    both = (one, other)
    if any(name not in scores for scores in both for name in NEEDED):
        raise ValueError("these scores hold no counts by block (made by an older geonb): run 04_analytics again")
    if any(split not in scores["split"].values or metric not in scores["metric"].values for scores in both):
        raise ValueError(f"not both have {metric} of the {split} split")
    faults = []
    for name, of in (("outcomes", _outcomes), (f"{split} months", lambda s: _months(s, split)), ("leads", _leads)):
        mine, others = map(of, both)
        if mine != others:
            faults.append(f"other {name} ({mine}; {others})")
    if not faults and one["block_truth"].sel(split=split).item() != other["block_truth"].sel(split=split).item():
        faults.append(f"their {split} splits do not hold the same cells and events")
    if faults:
        raise ValueError(", ".join(faults))


def _outcomes(scores: xr.Dataset) -> str:
    return ", ".join(map(str, scores["outcome"].values))


def _months(scores: xr.Dataset, split: str) -> str:
    times = np.sort(scores["time"].values[scores["month_split"].values == split]).astype("datetime64[M]")
    return f"{times[0]} to {times[-1]}, {len(times)} months" if len(times) else "none"


def _leads(scores: xr.Dataset) -> str:
    leads = [int(lead) for lead in scores["lead"].values]
    return f"{leads[0]} to {leads[-1]}" if leads == list(range(leads[0], leads[-1] + 1)) else ", ".join(map(str, leads))
