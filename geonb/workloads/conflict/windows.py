"""Which windows of a monthly cube are samples, and on which side of the split: a table of places and months, no copies.

An origin is the month t that is forecast first: the inputs of a window are the months t - steps .. t - 1, its targets the
months t .. t + horizon - 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.conventions import SPLITS, refuse
from geonb.store.windows import read_shares
from geonb.workloads.conflict.events import month_of, month_text

OUTLIERS = ("none", "lof", "kmeans")
NEIGHBOURS = 5  # of LocalOutlierFactor, and events in a cluster of KMeans on average
CONTAMINATION = 0.05  # share of a month's events that LocalOutlierFactor calls isolated
TABLE = {"t": np.int32, "y": np.int16, "x": np.int16, "events": np.int32, "gid": np.int32}


def check_windows(
    chunk_size: int | None,
    steps: int,
    horizon: int,
    draws: int,
    min_events: int,
    outliers: str,
    seed: int,
    shape: tuple[int, int, int] | None = None,
) -> None:
    """Refuse settings that cannot be; with `shape` (months, rows, columns) also those that this cube cannot serve.

    Raises
    ------
    ValueError
        Lists every fault.
    """
    from_one = {} if chunk_size is None else {"chunk_size": chunk_size}
    from_one |= {"steps": steps, "horizon": horizon, "draws": draws}
    faults = [
        f"{name} = {value!r}: give a whole number from {least}"
        for least, numbers in ((1, from_one), (0, {"min_events": min_events, "seed": seed}))
        for name, value in numbers.items()
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least
    ]
    if isinstance(chunk_size, int | np.integer) and chunk_size > 2**15 - 1:
        faults.append(f"chunk_size = {chunk_size} cells: at most {2**15 - 1}")
    if outliers not in OUTLIERS:
        faults.append(f"outliers = {outliers!r} is not known: choose {', '.join(OUTLIERS)}")
    if shape is not None and not faults:
        for check in (lambda: check_fit(chunk_size, *shape[1:]), lambda: check_length(steps, horizon, shape[0])):
            try:
                check()
            except ValueError as error:
                faults.append(str(error))
    refuse("No windows can be cut", faults)


def check_fit(chunk_size: int | None, rows: int, columns: int) -> None:
    """Refuse windows larger than the region.

    Raises
    ------
    ValueError
        Says which size fits.
    """
    if chunk_size is not None and chunk_size > min(rows, columns):
        raise ValueError(
            f"chunk_size = {chunk_size} cells (size in `windows`) is larger than the region of {rows} x {columns} cells: the "
            f"largest that fits is {min(rows, columns)}; or choose a larger `region`, or windows=region"
        )


def check_length(steps: int, horizon: int, months: int) -> None:
    """Refuse windows longer than the data.

    Raises
    ------
    ValueError
        Says which of the two is too long.
    """
    if horizon > months:
        raise ValueError(f"horizon = {horizon} months is longer than the data of {months} months: give a smaller one")
    if steps + horizon > months:
        raise ValueError(
            f"steps + horizon = {steps} + {horizon} months is longer than the data of {months} months: make one smaller, "
            "or the period longer"
        )


def cut_sequences(
    event: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    steps: int = 10,
    horizon: int = 1,
    chunk_size: int | None = 16,
    draws: int = 5,
    min_events: int = 25,
    outliers: str = "none",
    seed: int = 0,
    wraps: bool = False,
    gid: np.ndarray | None = None,
    first_month: int = 0,
    origins: np.ndarray | None = None,
) -> pd.DataFrame:
    """Windows around the events of each month, kept where the months before hold enough events.

    Every cell with an event in month t draws windows that contain it, each place equally likely. At an edge a window is
    shifted inside; in longitude it goes on at the other end where the cube spans 360 degrees.

    Parameters
    ----------
    event : ndarray (time, y, x)
        An event where >= 1; what is not 0 is counted in the inputs.
    valid : ndarray (y, x) of bool, optional
        Cells that may seed a window; all by default.
    steps, horizon : int, months
    chunk_size : int, cells, optional
        Side of a window. None: one window a month, the whole region, whether or not there are events.
    draws : int
        Windows a cell and month.
    min_events : int
        The least number of non-zero cells in the inputs.
    outliers : str
        ``lof`` or ``kmeans`` drop a month's isolated events first, see `drop_isolated`; ``none``.
    seed : int
        A draw follows from (seed, month, gid, number of the draw) alone: neither region nor period change it.
    wraps : bool
        The columns span 360 degrees.
    gid : ndarray (y, x) of int, optional
        Number of each cell; row * columns + column by default.
    first_month : int
        The first month, in months since 1970-01.
    origins : ndarray of int, optional
        Months t to look at; all that have inputs and targets by default.

    Returns
    -------
    DataFrame with t, y, x (of the window's first cell), events, gid (cell that seeded it), valid_share; by t, y, x; each
    window once

    Raises
    ------
    ValueError
        Lists every fault of the settings.
    """
    event = np.asarray(event)
    months, rows, columns = event.shape
    check_windows(chunk_size, steps, horizon, draws, min_events, outliers, seed, event.shape)
    valid = np.ones((rows, columns), bool) if valid is None else np.asarray(valid, bool)
    gid = np.arange(rows * columns).reshape(rows, columns) if gid is None else np.asarray(gid)
    origins = np.arange(steps, months - horizon + 1) if origins is None else np.sort(np.asarray(origins))
    if chunk_size is None:
        return _whole_region(event, valid, origins, steps)
    pad = chunk_size - 1 if wraps else 0
    parts = [pd.DataFrame(columns=[*TABLE], dtype=np.int64)]
    for t, past in _counts_before(event, origins, steps):
        y, x = np.nonzero((event[t] >= 1) & valid)
        y, x = drop_isolated(y, x, outliers, seed, columns if wraps else None)
        if not len(y):
            continue
        row, column = place_windows(y, x, gid[y, x], first_month + t, chunk_size, draws, seed, (rows, columns), wraps)
        events = box_sums(summed(past, pad), row, column, chunk_size)
        windows = {"t": t, "y": row, "x": column, "events": events, "gid": np.repeat(gid[y, x], draws)}
        parts.append(pd.DataFrame(windows)[events >= min_events])
    table = pd.concat(parts).astype(TABLE)
    table = table.sort_values(["t", "y", "x"], kind="stable").drop_duplicates(["t", "y", "x"], ignore_index=True)
    row, column = table[["y", "x"]].to_numpy(np.int64).T
    inside = box_sums(summed(valid, pad), row, column, chunk_size)
    return table.assign(valid_share=(inside / chunk_size**2).astype(np.float32))


def _counts_before(event: np.ndarray, origins: np.ndarray, steps: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each origin t, ascending, and how many of the months t - steps .. t - 1 are not 0 in each cell; one array, used again."""
    past, begin, end = np.zeros(event.shape[1:], np.int32), 0, 0
    for t in origins.tolist():
        for month in range(end, t):
            past += event[month] != 0
        for month in range(begin, t - steps):
            past -= event[month] != 0
        begin, end = t - steps, t
        yield t, past


def _whole_region(event: np.ndarray, valid: np.ndarray, origins: np.ndarray, steps: int) -> pd.DataFrame:
    """One window a month; ``events`` as in `cut_sequences`, ``gid`` 0 for none."""
    total = np.concatenate([[0], np.cumsum((event != 0).sum(axis=(1, 2)))])
    values = {"t": origins, "y": 0, "x": 0, "events": total[origins] - total[origins - steps], "gid": 0}
    table = pd.DataFrame(values, index=range(len(origins))).astype(TABLE)
    return table.assign(valid_share=np.float32(valid.mean()))


def place_windows(
    y: np.ndarray,
    x: np.ndarray,
    gid: np.ndarray,
    month: int,
    chunk_size: int,
    draws: int,
    seed: int,
    shape: tuple[int, int],
    wraps: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """First row and column (cell * draw,) of `draws` windows around each cell, each place that contains it equally likely."""
    key = _mix(_mix(_mix(np.uint64(seed)) ^ np.int64(month).astype(np.uint64)) ^ gid.astype(np.uint64))
    number = np.arange(2 * draws, dtype=np.uint64)
    # the remainder is unequal by less than chunk_size / 2**64
    drawn = (_mix(key[:, None] + _mix(number)) % np.uint64(chunk_size)).astype(np.int64)
    row = np.clip(y[:, None] - drawn[:, :draws], 0, shape[0] - chunk_size)
    column = x[:, None] - drawn[:, draws:]
    column = column % shape[1] if wraps else np.clip(column, 0, shape[1] - chunk_size)
    return row.ravel(), column.ravel()


def _mix(value: np.ndarray | np.uint64) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195): a random number a key."""
    with np.errstate(over="ignore"):  # modulo 2**64 is meant
        mixed = np.asarray(value, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def summed(plane: np.ndarray, pad: int = 0) -> np.ndarray:
    """Summed-area table (Crow 1984) of (y, x), a row and column of 0 first; `pad` columns are repeated at the end."""
    if pad:
        plane = np.concatenate([plane, plane[:, :pad]], axis=1)
    table = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), np.int32 if plane.size < 2**24 else np.int64)
    plane.cumsum(axis=0, dtype=table.dtype).cumsum(axis=1, out=table[1:, 1:])
    return table


def box_sums(table: np.ndarray, row: np.ndarray, column: np.ndarray, size: int) -> np.ndarray:
    """Sums of square boxes by their first row and column, of a summed-area table."""
    end_row, end_column = row + size, column + size
    return table[end_row, end_column] - table[row, end_column] - table[end_row, column] + table[row, column]


def drop_isolated(
    y: np.ndarray, x: np.ndarray, outliers: str, seed: int = 0, around: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Leave out a month's isolated events.

    ``lof``: scikit-learn's LocalOutlierFactor with 5 neighbours and a contamination of .05; ``kmeans``: clusters of one
    member, with a cluster for every five events. Months with fewer than seven events stay as they are.

    Parameters
    ----------
    y, x : ndarray (event,) of int, cells
    outliers : str
    around : int, optional
        Number of columns once around the globe: distances are then those on a cylinder.
    """
    if outliers == "none" or len(y) < NEIGHBOURS + 2:
        return y, x
    places = np.stack([y, x], axis=1).astype(np.float64)
    if around:
        angle = 2 * np.pi * x / around
        places = np.stack([y, around / 2 / np.pi * np.cos(angle), around / 2 / np.pi * np.sin(angle)], axis=1)
    if outliers == "lof":
        from sklearn.neighbors import LocalOutlierFactor

        keep = LocalOutlierFactor(n_neighbors=NEIGHBOURS, contamination=CONTAMINATION).fit_predict(places) == 1
    else:
        from sklearn.cluster import KMeans

        labels = KMeans(-(-len(y) // NEIGHBOURS), n_init=1, random_state=seed % 2**32).fit_predict(places)
        keep = np.bincount(labels)[labels] > 1
    return y[keep], x[keep]


def split_months(
    n_months: int,
    steps: int,
    horizon: int,
    shares: str | tuple[float, ...] = "70/15/15",
    first_month: int | None = None,
) -> dict[str, tuple[int, int]]:
    """First and last forecast origin of each split, in order of time, those of two splits steps + horizon months apart.

    Parameters
    ----------
    n_months : int
    steps, horizon : int, months
    shares : str or tuple
        train/val/test in percent of the origins that the gaps leave ("70/15/15"); or the last month of each split, which is
        its last target month ("train:2010-12,val:2014-12"; without ``test`` that one lasts to the end).
    first_month : int, optional
        Months since 1970-01; needed for dates.

    Returns
    -------
    dict of split -> (first, last) index of the origin in the data; a split of share 0 is left out

    Raises
    ------
    ValueError
        Lists every fault.
    """
    gap, start, found, faults = steps + horizon, steps, {}, []
    if isinstance(shares, str) and ":" in shares:
        for name, end in read_ends(shares, first_month, n_months).items():
            last = end - horizon + 1
            if last < start:
                faults.append(
                    f"{name}: its first forecast is {start - last} months after the last that "
                    f"{month_text((first_month or 0) + end)} allows (steps = {steps}, horizon = {horizon}, {gap} months "
                    "after the split before)"
                )
            found[name] = start, last
            start = max(last, start) + gap
    else:
        for name, count in _counts_of(read_shares(shares), n_months, steps, horizon).items():
            found[name] = start, start + count - 1
            start += count - 1 + gap
    refuse(f"shares = {shares!r} leaves splits without a forecast. Move the months apart", faults)
    return found


def _counts_of(shares: tuple[float, ...], n_months: int, steps: int, horizon: int) -> dict[str, int]:
    """Number of forecast origins of each split that has a share."""
    wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    gap = steps + horizon
    free = n_months + len(wanted) - len(wanted) * gap
    if free < len(wanted):
        raise ValueError(
            f"The period of {n_months} months is too short for {len(wanted)} splits with steps = {steps} and horizon = "
            f"{horizon} months, which lie {gap} months apart: at least {len(wanted) * gap} months are needed. Choose a longer "
            "period, fewer steps, a smaller horizon, or a share of 0"
        )
    return dict(zip(wanted, _apportion(np.array(list(wanted.values())), free).tolist(), strict=True))


def _apportion(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers, each at least 1, that add up to `total` and come near the shares (largest remainders)."""
    ideal = shares / shares.sum() * (total - len(shares))
    counts = np.floor(ideal).astype(int)
    counts[np.argsort(counts - ideal, kind="stable")[: total - len(shares) - counts.sum()]] += 1
    return counts + 1


def read_ends(text: str, first_month: int | None, n_months: int) -> dict[str, int]:
    """The last month of each split, as an index into the data.

    Raises
    ------
    ValueError
        Lists every part of the text that is none.
    """
    if first_month is None:
        raise ValueError(f"shares = {text!r} gives dates, but it is not known which month the data begin with")
    given: dict[str, int] = {}
    faults = []
    for part in text.split(","):
        name, _, month = (p.strip() for p in part.partition(":"))
        if name not in SPLITS or name in given:
            faults.append(f"{part.strip()!r}: name each of {', '.join(SPLITS)} at most once")
        elif not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
            faults.append(f"{part.strip()!r}: {month!r} is not a month like 2010-12")
        else:
            given[name] = month_of(month) - first_month
            if not 0 <= given[name] < n_months:
                period = f"{month_text(first_month)} to {month_text(first_month + n_months - 1)}"
                faults.append(f"{part.strip()!r} lies outside the data, {period}")
    if not faults:
        given.setdefault("test", n_months - 1)
        if "train" not in given:
            faults.append("the last month of train is missing")
        order = [given[s] for s in SPLITS if s in given]
        if order != sorted(set(order)):
            faults.append("train must end before val, val before test")
    if faults:
        raise ValueError(
            f"shares = {text!r} is not right; write train:2010-12,val:2014-12\n" + "\n".join(f"- {f}" for f in faults)
        )
    return {s: given[s] for s in SPLITS if s in given}


def with_months(store: Any) -> Any:
    """A store as it is, for all that needs its cube and its months.

    Raises
    ------
    ValueError
        If it is of samples that came without (:class:`geonb.workloads.conflict.window_store.WindowStore`).
    """
    if getattr(store, "georeferenced", True):
        return store
    raise ValueError(f"{store.path}: it has no months to forecast and no cube; {store.unproved}")
