"""Two runs' forecasts over the same draws of blocks of cells and, independently, of quarters."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import SALT
from geonb.scores.comparison import Drawable, difference, of_split, refuse_others, same_truth, scored
from geonb.workloads.conflict.cells import SUMS
from geonb.workloads.conflict.death_scores import NAMES
from geonb.workloads.conflict.scores import METRICS, drawn_metrics, mean_of_outcomes, weights_of

NEEDED = ("block_counts", "block_sums", "block_truth")


def compare_forecasts(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """As :func:`geonb.scores.scores.compare`, of forecasts: blocks of cells and quarters are drawn, the same ones for both.

    Returns
    -------
    dict with ``difference`` (one minus other), ``low``, ``high``, ``blocks`` = ``places`` x ``quarters``, which are resampled
    independently (``resampled`` says so), and ``fewest``, the smaller of the two, on which the interval rests

    Raises
    ------
    ValueError
        If they were not scored on the same months, leads, outcomes, cells and events, or scores.nc does not tell.
    """
    told: dict[str, Any] = {
        "outcomes": _outcomes,
        f"{split} months": lambda scores: _months(scores, split),
        "leads": _leads,
    }
    if (
        metric in NAMES
    ):  # the ignorance hangs on the number of draws; the CRPS of an earlier geonb was one of means over dropout
        told["draws of deaths of a cell"] = lambda scores: str(scores.attrs.get("members", "none, by an earlier geonb"))
    refuse_others(
        one, other, metric, split, needed=NEEDED, samples="cells and events", told=told,
        same=lambda both: same_truth(both, split),
    )  # fmt: skip
    mine = of_split(one, split)
    quarters, places = (int(mine[f"block_{name}"].max()) + 1 for name in ("quarter", "place"))
    several = draws and max(quarters, places) > 1
    weights = weights_of(quarters, places, draws, [seed, SALT]) if several else None
    return difference([_network(scores, metric, split) for scores in (one, other)], weights) | {
        "blocks": quarters * places, "places": places, "quarters": quarters, "fewest": min(quarters, places),
        "resampled": f"{places} of cells x {quarters} quarters",
    }  # fmt: skip


def _network(scores: xr.Dataset, metric: str, split: str) -> Drawable:
    """The network's metric, mean over outcomes."""
    at = of_split(scores, split)
    counts = at["block_counts"].transpose("outcome", "block", "event", "level").to_numpy()
    # scores of an earlier geonb lack the latest sums and metrics
    sums = at["block_sums"].reindex(sum=list(SUMS), fill_value=0).transpose("outcome", "block", "sum").to_numpy()
    table = np.concatenate([counts.reshape(*counts.shape[:2], -1), sums], axis=-1).astype(np.float64)
    whole = at["outcome_score"].isel(model=0).sel(split=split).reindex(metric=list(METRICS))
    value = whole.transpose("outcome", "metric").to_numpy()

    def drawn(weights: np.ndarray) -> np.ndarray:
        return mean_of_outcomes(drawn_metrics(table[None], weights, value[None]))[0][:, METRICS.index(metric)]

    return Drawable(scored(scores, metric, split), drawn)


def _outcomes(scores: xr.Dataset) -> str:
    return ", ".join(map(str, scores["outcome"].values))


def _months(scores: xr.Dataset, split: str) -> str:
    times = np.sort(scores["time"].values[scores["month_split"].values == split]).astype("datetime64[M]")
    return f"{times[0]} to {times[-1]}, {len(times)} months" if len(times) else "none"


def _leads(scores: xr.Dataset) -> str:
    leads = [int(lead) for lead in scores["lead"].values]
    return f"{leads[0]} to {leads[-1]}" if leads == list(range(leads[0], leads[-1] + 1)) else ", ".join(map(str, leads))
