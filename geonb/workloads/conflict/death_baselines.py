"""Guesses of deaths that are distributions: those of the field's prediction challenge, which are hard to beat.

The challenge's benchmarks (Hegre et al. 2024, arXiv 2407.11045) draw from what a cell saw in the last 12 months
("conflictology"), with and without its neighbours, or from a Poisson distribution about its last month; that there will be no
death at all is :func:`geonb.workloads.conflict.baselines.never`. They learn nothing, and know the months before t only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geonb.workloads.conflict.baselines import Baseline, deaths_of, events_of, has_deaths

if TYPE_CHECKING:
    from geonb.workloads.conflict.store import CubeStore

MONTHS = 12
SALT = 0xDEAD
HERE = (0, 0)
QUEEN = [HERE, *((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != HERE)]


def last_months(store: CubeStore, seed: int = 0) -> Baseline:
    """The cell's own last 12 months as equally likely futures, whatever the lead.

    A draw is a month: the same one for all cells and leads, so that sums over cells are those of a month that was.
    """
    return _of_last_months("last-12-months", store, seed, [HERE])


def last_months_neighbours(store: CubeStore, seed: int = 0) -> Baseline:
    """The last 12 months of the cell and its up to eight neighbours in the region as equally likely futures."""
    return _of_last_months("last-12-months-neighbours", store, seed, QUEEN)


def last_poisson(store: CubeStore, seed: int = 0) -> Baseline:
    """A Poisson distribution about the deaths of the cell's last month, whatever the lead.

    Where an event may be one without a death, one that was listed counts as one death for the probability of an event.
    """

    def rate(t: int) -> np.ndarray:
        return deaths_of(store, t - 1, t)[0] if t else np.zeros((len(store.outcomes), *store.valid.shape), np.float32)

    def forecast(t: int) -> dict[str, np.ndarray | None]:
        flags = events_of(store, max(0, t - 1), t).max(axis=0, initial=0)
        seen = rate(t) if has_deaths(store) else 0 * flags
        chance = -np.expm1(-np.maximum(seen, flags))
        return {"probability": _held(store, chance), "deaths": _held(store, seen) if has_deaths(store) else None}

    def draws(t: int, members: int) -> np.ndarray:
        mean = _held(store, rate(t))
        return np.random.default_rng([seed, t, SALT]).poisson(mean, (members, *mean.shape)).astype(np.uint32)

    return Baseline("last-poisson", forecast, draws=draws if has_deaths(store) else None)


def _of_last_months(name: str, store: CubeStore, seed: int, offsets: list[tuple[int, int]]) -> Baseline:
    """Equally likely: the last 12 months of the cells at some `offsets` (rows, columns) that lie in the region."""
    inside = _moved(store, store.valid.astype(np.float32), offsets)  # (offset, y, x)

    def mean(months: np.ndarray) -> np.ndarray:
        # one division: equal shares are equal numbers, and tie
        total = (_moved(store, months.sum(axis=0, dtype=np.float64), offsets) * inside).sum(axis=-3)
        return total / np.maximum(inside.sum(axis=0) * len(months), 1)

    def forecast(t: int) -> dict[str, np.ndarray | None]:
        chance = mean(events_of(store, max(0, t - MONTHS), t))
        deaths = mean(deaths_of(store, max(0, t - MONTHS), t)) if has_deaths(store) else 0
        return {"probability": _held(store, chance), "deaths": _held(store, deaths) if has_deaths(store) else None}

    def draws(t: int, members: int) -> np.ndarray:
        random = np.random.default_rng([seed, t, SALT])
        seen = np.rint(deaths_of(store, max(0, t - MONTHS), t)).astype(np.uint32)
        out = np.zeros((members, len(store.outcomes), store.horizon, *store.valid.shape), np.uint32)
        # each month as often as the others, but for those that are left over
        order = random.permuted(np.resize(random.permutation(len(seen)), members)) if t else ()
        for member, month in enumerate(order):
            out[member] = _picked(_moved(store, seen[month], offsets), inside, random)[:, None]
        return out

    return Baseline(name, forecast, draws=draws if has_deaths(store) else None)


def _picked(values: np.ndarray, inside: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Of (outcome, offset, y, x) those of one offset, the first in a random order that lies in the region: (outcome, y, x)."""
    order = random.permutation(len(inside))
    first = order[np.argmax(inside[order] > 0, axis=0)]
    return np.take_along_axis(values, first[None, None], axis=1)[:, 0]


def _moved(store: CubeStore, values: np.ndarray, offsets: list[tuple[int, int]]) -> np.ndarray:
    """What lies at each offset from every cell: (..., offset, y, x) of (..., y, x); 0 beyond the edge, but round the globe."""
    rows, columns = values.shape[-2:]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(1, 1), (0, 0)])
    padded = np.pad(padded, [(0, 0)] * (values.ndim - 1) + [(1, 1)], mode="wrap" if store.wraps else "constant")
    return np.stack([padded[..., 1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns] for dy, dx in offsets], axis=-3)


def _held(store: CubeStore, values: np.ndarray | float) -> np.ndarray:
    """(outcome, lead, y, x) float32 of (outcome, y, x): the same at every lead."""
    values = np.broadcast_to(np.asarray(values, np.float32), (len(store.outcomes), *store.valid.shape))
    return np.broadcast_to(values[:, None], (len(values), store.horizon, *values.shape[1:]))
