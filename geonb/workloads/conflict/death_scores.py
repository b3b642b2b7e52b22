"""How good draws of deaths are: the scores of the field's prediction challenge, of each cell and month.

The challenge (VIEWS 2023/24; Hegre et al. 2024, arXiv 2407.11045) scores samples of the deaths of a month by the CRPS, the
ignorance over classes of deaths, and the interval score, as its public code computes them (prio-data/prediction_competition_2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

# Lower edges of the challenge's classes 1-2, 3-5, 6-10, 11-25, 26-50, 51-100, 101-250, 251-500, 501-1000 and more; below is none.
EDGES = (0.5, 2.5, 5.5, 10.5, 25.5, 50.5, 100.5, 250.5, 500.5, 1000.5)
CLASSES = len(EDGES) + 1
COVERED = 0.9  # share of the draws inside the interval that is scored
MEMBERS = 100  # draws of a cell's deaths; the ignorance of models compares at equal numbers only
NAMES = ("crps", "ignorance", "interval_score")
NO_DRAW = np.iinfo(np.uint32).max  # outside the region
AT_ONCE_BYTES = 2**26  # larger draws of an origin are kept, and read, lead by lead


def draw_scores(draws: np.ndarray, deaths: np.ndarray) -> dict[str, np.ndarray]:
    """Score draws of deaths against those that came.

    Parameters
    ----------
    draws : array (member, ...), deaths, not negative
    deaths : array (...); NaN where not known

    Returns
    -------
    dict of arrays (...) float64, each the lower the better, NaN where not known
        ``crps``: ``E|X - y| - E|X - X'|/2`` of the ensemble, in deaths (Gneiting and Raftery 2007, eq. 21). ``ignorance``: -log2 of
        the share of draws in the class of deaths that came (EDGES), in bits, after one more draw in every class, as the
        challenge has it: a class that nothing was drawn in costs log2(n + 11). ``interval_score``: width of the central 90 %
        interval, plus 20 times the distance by which it was missed (eq. 43), in deaths.
    """
    deaths = np.asarray(deaths, np.float64)
    # Most cells have no death in any draw: what comes then is known without a sort.
    number, some = len(draws), np.any(draws, axis=0)
    drawn, came = np.sort(draws[:, some], axis=0).astype(np.float64), deaths[some]
    rank = 2 * np.arange(1, number + 1) - number - 1
    low, high = np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2], axis=0)
    missed = np.maximum(low - came, 0) + np.maximum(came - high, 0)
    hits = np.where(deaths < EDGES[0], number, 0)
    hits[some] = (classes_of(drawn) == classes_of(came)).sum(axis=0)
    found = {
        "crps": deaths.copy(),
        "ignorance": np.where(np.isnan(deaths), np.nan, -np.log2((hits + 1) / (number + CLASSES))),
        "interval_score": 2 / (1 - COVERED) * deaths,
    }
    found["crps"][some] = np.abs(drawn - came).mean(axis=0) - np.tensordot(rank, drawn, 1) / number**2
    found["interval_score"][some] = high - low + 2 / (1 - COVERED) * missed
    return found


def classes_of(deaths: np.ndarray) -> np.ndarray:
    """The challenge's class of deaths, 0 (none) to 10 (more than 1000)."""
    return np.digitize(deaths, EDGES)


def draws_of(data: xr.Dataset, model: str, i: int, o: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Draws (member, lead, cell) of the region's cells of one model, origin and outcome, with the leads that they are of.

    All leads at once, or one after the other where they are many numbers. Nothing of a model without draws.
    """
    if "deaths_draws" not in data or model not in data["drawn"].values:
        return
    lazy = data["deaths_draws"].sel(drawn=model).isel(time=i, outcome=o)
    valid, leads = data["valid"].to_numpy(), data.sizes["lead"]
    step = leads if lazy.size * lazy.dtype.itemsize <= AT_ONCE_BYTES else 1
    for first in range(0, leads, step):
        some = slice(first, first + step)
        yield some, lazy.isel(lead=some).transpose("member", "lead", "y", "x").to_numpy()[..., valid]
