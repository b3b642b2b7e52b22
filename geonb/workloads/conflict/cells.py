"""What scores of forecasts are made of: counts by block of cells and months, in two walks over the months, one in memory.

The first walk counts probabilities in fine bins (some 25,000: an event's rank among all others is known to a thousandth of
its probability). From them come thresholds, exact-enough ranks and coarse bins of equal weight; the second walk counts
those in each block. Every metric is a function of sums over blocks, so that the bootstrap costs matrix products.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.scores.bootstrap import Variables
from geonb.workloads.conflict.death_scores import NAMES, draw_scores, draws_of

# Positive floats stand in the order of their bits: cutting the last ones makes bins of equal relative width (2**-10).
SHIFT = 13
SMALLEST = 2.0**-24  # a smaller probability counts as this one in the log loss, and is never an alarm
_LOW = int(np.float32(SMALLEST).view(np.int32))
FINE = ((int(np.float32(1).view(np.int32)) - _LOW) >> SHIFT) + 2
COARSE, MEDIUM, BINS = 64, 1024, 10
SUMS = ("brier", "log_loss", "tp", "fp", "crps", "n_deaths", "ignorance", "interval_score", "n_drawn")
BLOCK_CELLS, BLOCK_MONTHS, MOST_BLOCKS = 4, 3, 64


def fine_bins(probability: np.ndarray) -> np.ndarray:
    """Fine bin of each probability, ascending; 0: below SMALLEST."""
    bits = np.ascontiguousarray(probability, np.float32).view(np.int32)
    return np.where(probability < SMALLEST, 0, ((bits - _LOW) >> SHIFT) + 1)


def lower_edge(fine: np.ndarray | int) -> np.ndarray:
    """Smallest probability (float32) of a fine bin."""
    fine = np.asarray(fine)
    bits = (_LOW + ((np.maximum(fine, 1) - 1) << SHIFT)).astype(np.int32)
    return np.where(fine < 1, np.float32(0), bits.view(np.float32))


@dataclass
class Cells:
    """Counts of all forecasts of known months; axes in the order of the names."""

    models: list[str]
    outcomes: list[str]
    leads: np.ndarray
    splits: list[str]
    times: np.ndarray
    split_of: np.ndarray  # (time,) text
    side: int  # of a spatial block, cells
    fine: np.ndarray  # (model, split, outcome, lead, 2, FINE): without and with an event
    bins: np.ndarray  # (model, split, BINS, 3): cells, sum of probability, events
    threshold: np.ndarray  # (model, outcome) fine bin from which on there is an alarm
    blocks: dict[str, np.ndarray] = field(default_factory=dict)  # split: (model, outcome, lead, months, cells, column)
    months: np.ndarray = field(default_factory=lambda: np.empty(0))  # (model, outcome, time, column)
    countries: np.ndarray = field(default_factory=lambda: np.empty(0))  # (model, split, outcome, country, column)
    country: np.ndarray = field(default_factory=lambda: np.empty(0))  # (country,) UCDP's numbers
    truth: dict[str, str] = field(default_factory=dict)  # split: fingerprint of months, leads, cells and events scored


def count(predictions: xr.DataTree) -> Cells:
    """Walk twice over the forecasts of the months that are known.

    Raises
    ------
    ValueError
        If there is none.
    """
    data = predictions["grid"].to_dataset()
    valid, split_of = data["valid"].to_numpy(), _texts(data["split"])
    splits = [s for s in ("train", "val", "test") if (split_of == s).any()]
    if not splits or not (data["truth"].isel(time=np.flatnonzero(np.isin(split_of, splits))) >= 0).any():
        raise ValueError(
            "No forecast is of a month that is known, so there is nothing to score. Give a longer period in notebook 01."
        )
    models, outcomes = ([str(v) for v in data[d].values] for d in ("model", "outcome"))
    shape = len(models), len(splits), len(outcomes), data.sizes["lead"]
    fine, bins = np.zeros((*shape, 2, FINE), np.int32), np.zeros((*shape[:2], BINS, 3))
    prints = {split: _fingerprint(data, valid) for split in splits}
    for i, _, m, o, p, event, known in _walk(data, valid, splits):
        s = splits.index(split_of[i])
        if m == 0:
            said = str(data["time"].values[i].astype("datetime64[M]")), outcomes[o]
            prints[splits[s]].update(repr(said).encode() + np.where(known, event, -1).astype(np.int8).tobytes())
        key = (np.arange(len(p))[:, None] * 2 + event) * FINE + fine_bins(p)
        fine[m, s, o] += np.bincount(key[known], minlength=fine[m, s, o].size).reshape(-1, 2, FINE).astype(np.int32)
        place = np.minimum((p * BINS).astype(int), BINS - 1)[known]
        for column, weights in enumerate((None, p[known], event[known])):
            bins[m, s, :, column] += np.bincount(place, weights, BINS)
    side, _, _ = blocks_of(valid)
    validation = fine[:, splits.index("val")] if "val" in splits else np.zeros_like(fine[:, 0])
    threshold = thresholds(validation.sum(axis=2, dtype=np.int64))
    cells = Cells(
        models, outcomes, data["lead"].values, splits, data["time"].values, split_of, side, fine, bins, threshold
    )
    cells.truth = {split: one.hexdigest()[:16] for split, one in prints.items()}
    _count_blocks(cells, data, valid)
    return cells


def _fingerprint(data: xr.Dataset, valid: np.ndarray) -> Any:
    """A hash that has seen the leads and the places of the cells, to be fed with the events."""
    places = np.stack(np.nonzero(valid)).astype(np.int64) if "gid" not in data else data["gid"].to_numpy()[valid]
    return hashlib.sha256(np.asarray(data["lead"], np.int64).tobytes() + places.astype(np.int64).tobytes())


def _walk(data: xr.Dataset, valid: np.ndarray, splits: list[str], more: tuple[str, ...] = ()) -> Iterator[tuple]:
    """(time, what was read, model, outcome, probability (lead, cell), event, known) of each origin that is scored."""
    for i in np.flatnonzero(np.isin(_texts(data["split"]), splits)):
        for o in range(data.sizes["outcome"]):
            # in one read: a look-up of each model's alone costs more than its numbers
            at = data[["truth", "probability", *more]].isel(time=i, outcome=o).load()
            truth = at["truth"].to_numpy()[..., valid]
            for m in range(data.sizes["model"]):
                p = at["probability"].to_numpy()[m][..., valid]
                known = (truth >= 0) & np.isfinite(p)
                yield i, at, m, o, np.where(known, p, 0).astype(np.float32), (truth > 0).astype(int), known


def thresholds(fine: np.ndarray) -> np.ndarray:
    """The bin from which on to warn, where F1 is highest; of equal ones the highest. Never where no bin has an event.

    Parameters
    ----------
    fine : array (..., 2, FINE), counts of the validation months
    """
    above = np.cumsum(fine[..., ::-1], axis=-1)[..., ::-1].astype(np.float64)
    hits, alarms = above[..., 1, :], above.sum(axis=-2)
    f1 = 2 * hits / np.maximum(alarms + hits[..., :1], 1)
    f1[..., 0] = 0  # a probability of zero is no alarm
    best = FINE - 1 - np.argmax(f1[..., ::-1], axis=-1)
    return np.where(f1.max(axis=-1) > 0, best, FINE)


def blocks_of(valid: np.ndarray) -> tuple[int, np.ndarray, int]:
    """Side of the spatial blocks, the block of each valid cell (cell,), and their number.

    4 cells (2 degrees), doubled until there are at most 64 blocks: memory stays bounded, and larger ones are the safer.
    """
    rows, columns = np.nonzero(valid)
    side = BLOCK_CELLS
    while True:
        number = rows // side * (valid.shape[1] // side + 1) + columns // side
        found, place = np.unique(number, return_inverse=True)
        if len(found) <= MOST_BLOCKS:
            return side, place, len(found)
        side *= 2


def quarters(times: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """Number of the calendar quarter of each forecast month, array (time, lead)."""
    first = pd.DatetimeIndex(times)
    months = (first.year * 12 + first.month - 1).to_numpy()
    return (months[:, None] + np.asarray(leads) - 1) // BLOCK_MONTHS


def bins_of_equal_weight(fine: np.ndarray, number: int) -> np.ndarray:
    """Fine bin -> one of `number` bins, which share out evenly the events, all cells, and the logarithm of the rank.

    The last because the first few alarms decide most of the average precision.
    """
    events, every = fine[1].astype(np.float64), fine.sum(axis=0).astype(np.float64)
    ranks = every / np.maximum(np.cumsum(every[::-1])[::-1], 1)
    weight = sum(part / max(1e-300, part.sum()) for part in (events, every, ranks))
    below = np.cumsum(weight) - weight
    return np.minimum((below / max(weight.sum(), 1e-300) * number).astype(np.intp), number - 1)


def _count_blocks(cells: Cells, data: xr.Dataset, valid: np.ndarray) -> None:
    _, place, number = blocks_of(valid)
    quarter = quarters(cells.times, cells.leads)
    country = data["country"].to_numpy()[valid]
    cells.country, of_country = np.unique(country, return_inverse=True)
    total = cells.fine.sum(axis=(1, 3), dtype=np.int64)  # (model, outcome, 2, FINE)
    levels = {n: [[bins_of_equal_weight(c, n) for c in row] for row in total] for n in (COARSE, MEDIUM)}
    models, outcomes, leads = len(cells.models), len(cells.outcomes), len(cells.leads)
    cells.months = np.zeros((models, outcomes, len(cells.times), width(MEDIUM)), np.float32)
    cells.countries = np.zeros((models, len(cells.splits), outcomes, len(cells.country), width(MEDIUM)), np.float32)
    first = {}
    for split in cells.splits:
        mine = quarter[cells.split_of == split]
        first[split] = mine.min()
        span = mine.max() - mine.min() + 1
        cells.blocks[split] = np.zeros((models, outcomes, leads, span, number, width(COARSE)), np.float32)
    more = tuple(n for n in ("deaths", "deaths_mean") if n in data)
    for i, at, m, o, p, event, known in _walk(data, valid, cells.splits, more):
        split = cells.split_of[i]
        scored = death_scores(data, at, valid, m, i, o)
        bins, sums = fine_bins(p), _sums(p, event, known, fine_bins(p) >= cells.threshold[m, o], scored)
        when = (quarter[i] - first[split])[:, None]
        low, high = when.min(), when.max() + 1
        span = int(high - low)
        lead = np.arange(leads)[:, None]
        key = (lead * span + when - low) * number + place
        found = tally(key[known], levels[COARSE][m][o][bins[known]], event[known], sums, leads * span * number, COARSE)
        cells.blocks[split][m, o, :, low:high] += found.reshape(leads, span, number, -1)
        medium = levels[MEDIUM][m][o][bins[known]]
        key = np.broadcast_to(of_country, p.shape)[known]
        s = cells.splits.index(split)
        by_country = tally(key, medium, event[known], sums, len(cells.country), MEDIUM)
        cells.countries[m, s, o] += by_country
        cells.months[m, o, i] = by_country.sum(axis=0)


def _sums(
    p: np.ndarray, event: np.ndarray, known: np.ndarray, alarm: np.ndarray, scored: dict[str, np.ndarray]
) -> np.ndarray:
    """(sum, known forecast) in the order of SUMS."""
    clipped = np.clip(p.astype(np.float64), SMALLEST, 1 - SMALLEST)
    losses = (p.astype(np.float64) - event) ** 2, -np.log(np.where(event, clipped, 1 - clipped))
    unknown = np.full(p.shape, np.nan)
    crps, ignorance, interval = (scored.get(name, unknown) for name in NAMES)
    counted, drawn = known & np.isfinite(crps), known & np.isfinite(ignorance)
    parts = (*losses, alarm & (event > 0), alarm & (event == 0), np.where(counted, crps, 0), counted,
             np.where(drawn, ignorance, 0), np.where(drawn, interval, 0), drawn)  # fmt: skip
    return np.stack([np.asarray(part, np.float64)[known] for part in parts])


def death_scores(data: xr.Dataset, at: xr.Dataset, valid: np.ndarray, m: int, i: int, o: int) -> dict[str, np.ndarray]:
    """Scores (lead, cell) of a model's deaths at one origin and outcome, by name.

    Of draws, :func:`geonb.workloads.conflict.death_scores.draw_scores`. Expected deaths alone are a point forecast: its CRPS is
    the absolute error, and it has no other score. Nothing where no deaths are known.
    """
    if "deaths" not in at:
        return {}
    deaths = at["deaths"].to_numpy()[..., valid].astype(np.float64)
    model = str(data["model"].values[m])
    pieces = [draw_scores(draws, deaths[leads]) for leads, draws in draws_of(data, model, i, o)]
    if pieces:
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in NAMES}
    return {"crps": np.abs(at["deaths_mean"].to_numpy()[m][..., valid] - deaths)} if "deaths_mean" in at else {}


def width(bins: int) -> int:
    """Columns of a table: without an event by bin, with one by bin, then SUMS."""
    return 2 * bins + len(SUMS)


def tally(
    key: np.ndarray, bins: np.ndarray, event: np.ndarray, sums: np.ndarray, number: int, levels: int
) -> np.ndarray:
    """Table (key, column) of counts by bin and of sums."""
    hist = np.bincount((key * 2 + event) * levels + bins, minlength=number * 2 * levels).reshape(number, -1)
    return np.column_stack([hist, *(np.bincount(key, weights, number) for weights in sums)])


def block_variables(cells: Cells) -> Variables:
    """The network's counts of each block and quarter of each split, as scores.nc keeps them: two runs are compared by these.

    Of all leads together, in the order of the split's own quarters and blocks: 64 levels of probability without and with an
    event, and the sums. For a country they are some 100 kB (few of the counts are not zero).

    Returns
    -------
    dict of ``block_counts (outcome, block, event, level)`` int32, ``block_sums (outcome, block, sum)`` float64,
    ``block_split``, ``block_quarter``, ``block_place (block)`` and ``block_truth (split)``, a fingerprint of the months,
    leads, cells and events: are the counts of two runs of the same forecasts, whatever sample stores they came from?
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


def _texts(names: xr.DataArray) -> np.ndarray:
    """Texts as numpy's own of fixed width: those of variable width do not compare or cast everywhere."""
    return np.array([str(name) for name in names.values])
