"""Draws of deaths as the tables of the field's prediction challenge (VIEWS 2023/24): written, read, and scored beside ours.

A row a month, cell and draw, as Parquet: ``month_id`` (1 is January 1980), ``priogrid_gid``, ``draw`` and ``outcome``, the deaths.
These are the columns that the challenge's own checks ask for (prio-data/prediction_competition_2023, test_compliance.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from geonb.workloads.conflict.death_scores import NO_DRAW

COLUMNS = ("month_id", "priogrid_gid", "draw", "outcome")
CELL_NAMES = ("priogrid_gid", "priogrid_id", "pg_id", "pgid", "gid")
MOST_GID = 360 * 720


def month_id(months: pd.DatetimeIndex | pd.Timestamp) -> np.ndarray | int:
    """VIEWS' number of a month: 1 is January 1980."""
    return (months.year - 1980) * 12 + months.month


def windows_of(data: xr.Dataset, split: str) -> list[int]:
    """Origins (positions along time) of a split whose months adjoin without overlap, counted back from the last.

    Months before the first of them, fewer than there are leads, are in none.
    """
    here = np.flatnonzero(data["split"].astype(str).to_numpy() == split)
    months = data["time"].to_numpy()[here].astype("datetime64[M]").astype(int)
    return here[(months[-1:] - months) % data.sizes["lead"] == 0].tolist() if len(here) else []


def draw_tables(data: xr.Dataset, model: str, outcome: str, origins: list[int]) -> Iterator[pd.DataFrame]:
    """The challenge's table of one model and outcome, an origin and lead at a time; columns as COLUMNS."""
    valid = data["valid"].to_numpy()
    gid = data["gid"].to_numpy()[valid].astype(np.int32)
    members = data.sizes["member"]
    for i in origins:
        origin = pd.Timestamp(data["time"].values[i])
        for k, lead in enumerate(data["lead"].values):
            draws = data["deaths_draws"].sel(drawn=model, outcome=outcome).isel(time=i, lead=k).to_numpy()[:, valid]
            month = month_id(origin + pd.DateOffset(months=int(lead) - 1))
            columns = (
                np.int32(month),
                np.repeat(gid, members),
                np.tile(np.arange(members, dtype=np.int32), len(gid)),
                draws.T.ravel(),
            )
            yield pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def write_draws(data: xr.Dataset, path: str | Path, model: str, outcome: str, split: str = "future") -> int:
    """Write one model's draws of an outcome in the challenge's layout.

    Parameters
    ----------
    data : Dataset, the group ``grid`` of a run's predictions
    model : str
        One that has draws (coordinate ``drawn``).
    split : str
        ``future``: the months after the data, from the last origin. ``val``, ``test``: its months once, forecast from origins as many
        months apart as there are leads, the last ones whole.

    Returns
    -------
    Number of rows

    Raises
    ------
    ValueError
        If the model has no draws, or the split no origin; lists which have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    drawn = [str(name) for name in data["drawn"].values] if "drawn" in data else []
    if model not in drawn:
        raise ValueError(f"{model!r} has no draws of deaths. These have: {', '.join(drawn) or 'none'}.")
    origins = windows_of(data, split)
    if not origins:
        raise ValueError(f"No origin of the split {split!r} in these predictions.")
    writer, number = None, 0
    try:
        for table in draw_tables(data, model, outcome, origins):
            part = pa.Table.from_pandas(table, preserve_index=False)
            writer = writer or pq.ParquetWriter(path, part.schema, compression="zstd")
            writer.write_table(part)
            number += len(table)
    finally:
        if writer is not None:
            writer.close()
    return number


def read_draws(path: str | Path) -> xr.DataArray:
    """Read draws in the challenge's layout, by whatever program they were made.

    Returns
    -------
    DataArray (month, gid, member) of whole deaths, uint32; ``month`` the first day of each

    Raises
    ------
    ValueError
        If a column is missing, a cell is none of PRIO-GRID's, outcomes are negative or not known, or not every month has the same
        cells with the same number of draws; lists all that is wrong.
    """
    table = pd.read_parquet(path).reset_index()
    cells = [name for name in CELL_NAMES if name in table]
    if missing := [name for name in COLUMNS if name not in table and (name != "priogrid_gid" or not cells)]:
        raise ValueError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. Draws are tables of "
            f"{', '.join(COLUMNS)} (cells also as {', '.join(CELL_NAMES[1:])})."
        )
    table = table[["month_id", cells[0], "draw", "outcome"]].set_axis(COLUMNS, axis=1)
    if faults := list(_faults(table)):
        raise ValueError(f"{path} holds no draws that can be scored:\n" + "\n".join(f"- {fault}" for fault in faults))
    table = table.sort_values(list(COLUMNS[:3]))
    month, gid = (np.unique(table[name]).astype(int) for name in COLUMNS[:2])
    values = np.rint(table["outcome"].to_numpy(np.float64)).astype(np.uint32).reshape(len(month), len(gid), -1)
    months = pd.PeriodIndex.from_ordinals(month + 119, freq="M").to_timestamp()  # January 1970 is 0 there
    coords = {"month": months, "gid": gid, "member": np.arange(values.shape[-1])}
    return xr.DataArray(values, coords, ("month", "gid", "member"), name="deaths", attrs={"units": "deaths"})


def _faults(table: pd.DataFrame) -> Iterator[str]:
    """What is wrong with a table of draws."""
    if table.empty:
        yield "it has no row"
        return
    outcome = pd.to_numeric(table["outcome"], errors="coerce").to_numpy(np.float64)
    for wrong, what in (
        (~np.isfinite(outcome), "not known"),
        (outcome < 0, "negative"),
        (outcome >= NO_DRAW, "beyond 2**32 - 2"),
    ):
        if wrong.any():
            row = table[wrong].iloc[0]
            yield f"{wrong.sum():,} outcomes are {what} (first: {row.outcome} of cell {row.priogrid_gid}, month_id {row.month_id})"
    for name, least, most in (("month_id", 1, 12 * 200), ("priogrid_gid", 1, MOST_GID)):
        number = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        wrong = ~((number >= least) & (number <= most) & (number == np.rint(number)))
        if wrong.any():
            yield f"{wrong.sum():,} rows whose {name} is no whole number from {least} to {most} (as {table[name][wrong].iloc[0]})"
            return
    if twice := int(table.duplicated(list(COLUMNS[:3])).sum()):
        yield f"{twice:,} rows are a second draw of the same number, cell and month"
    counts = table.groupby(list(COLUMNS[:2])).size()
    if counts.min() < counts.max():
        few = counts.idxmin()
        yield f"cells have {counts.min()} to {counts.max()} draws (fewest: month_id {few[0]}, cell {few[1]}); each needs as many"
    months, cells = table["month_id"].nunique(), table["priogrid_gid"].nunique()
    if len(counts) < months * cells:
        yield f"{months * cells - len(counts):,} of {cells:,} cells x {months} months have no draw"


def beside(
    predictions: xr.DataTree, draws: xr.DataArray, name: str, outcome: str | None = None, windows: int = 1
) -> xr.DataTree:
    """Put draws made elsewhere beside ours, on the months that they are of, to be scored: ``score_forecasts(beside(...))``.

    Parameters
    ----------
    predictions : DataTree, from :func:`geonb.open_predictions`
    draws : DataArray (month, gid, member), from :func:`read_draws`
        For all cells of the region; others are left out. As many members as ours are kept, evenly: the ignorance of models compares
        at equal numbers only.
    name : str
        Of the model in tables.
    outcome : str, optional
        Which outcome they are of; needed where there are several, and the others are left out.
    windows : int
        How many forecasts, one after the other, the months are: each is as long as ours, and known up to its first month as ours is.

    Returns
    -------
    DataTree of the origins of those months, with one model more. Its probability of an event is the share of draws with a death.
    Thresholds are chosen in validation months: without any among them there is no F1.

    Raises
    ------
    ValueError
        If months, cells or the number of draws do not fit; says how.
    """
    data = predictions["grid"].to_dataset()
    outcome = str(data["outcome"].values[0]) if outcome is None and data.sizes["outcome"] == 1 else outcome
    times, horizon = _checked(data, draws, name, outcome, windows), data.sizes["lead"]
    data = data.sel(time=times, outcome=[outcome]).load()
    valid, members = data["valid"].to_numpy(), data.sizes["member"]
    kept = draws.isel(member=np.linspace(0, draws.sizes["member"] - 1, members).round().astype(int))
    values = kept.sel(gid=data["gid"].to_numpy()[valid]).transpose("member", "month", "gid").to_numpy()
    whole = np.full((members, 1, len(times), horizon, *valid.shape), NO_DRAW, np.uint32)
    whole[..., valid] = values.reshape(members, 1, len(times), horizon, -1)
    dims = data["truth"].dims
    more = {"deaths_draws": (("drawn", "member", *dims), whole[None])}
    for variable, value in (("probability", (whole > 0).mean(axis=0)), ("deaths_mean", whole.mean(axis=0))):
        if variable in data:
            more[variable] = ("model", *dims), np.where(valid, value, np.nan)[None].astype(np.float32)
    added = xr.Dataset(more, {"model": [name], "drawn": [name]})
    both = data.drop_dims(["model", "drawn"]).assign(
        {v: xr.concat([data[v], added[v]], "drawn" if v == "deaths_draws" else "model") for v in more}
    )
    tree = xr.DataTree.from_dict({"/grid": both})
    tree.attrs = predictions.attrs
    return tree


def _checked(data: xr.Dataset, draws: xr.DataArray, name: str, outcome: str | None, windows: int) -> np.ndarray:
    """The origins (time,) of the draws' months, if all fits."""
    horizon, months = data.sizes["lead"], pd.DatetimeIndex(draws["month"].to_numpy())
    said = f"{months[0]:%Y-%m} to {months[-1]:%Y-%m}"
    if "deaths_draws" not in data:
        raise ValueError("These predictions hold no draws of deaths to stand beside. Make them again with notebook 03.")
    if name in data["model"].values:
        raise ValueError(
            f"There is a model {name!r} already: {', '.join(map(str, data['model'].values))}. Give another name."
        )
    if outcome not in data["outcome"].values:
        known = ", ".join(map(str, data["outcome"].values))
        raise ValueError(f"outcome = {outcome!r}: say which one the draws are of: {known}.")
    if len(months) != windows * horizon or not months.equals(pd.date_range(months[0], periods=len(months), freq="MS")):
        raise ValueError(
            f"The draws are of {len(months)} months, {said}; {windows} forecast(s) of {horizon} months each are {windows * horizon} "
            "in a row. Give `windows`, other draws, or a run with another `horizon`."
        )
    missing = months[::horizon].difference(pd.DatetimeIndex(data["time"].to_numpy()))
    if len(missing):
        first, last = (pd.Timestamp(t) for t in data["time"].to_numpy()[[0, -1]])
        raise ValueError(
            f"The draws are of {said}, but these predictions have no forecast that begins in {missing[0]:%Y-%m}; theirs begin in "
            f"{first:%Y-%m} to {last:%Y-%m}."
        )
    if draws.sizes["member"] < data.sizes["member"]:
        raise ValueError(
            f"{draws.sizes['member']} draws a cell, but ours are {data.sizes['member']}, and the ignorance compares at equal numbers "
            "only. Give as many or more, or predict with fewer `members`."
        )
    lacking = np.setdiff1d(data["gid"].to_numpy()[data["valid"].to_numpy()], draws["gid"].to_numpy())
    if len(lacking):
        raise ValueError(
            f"No draws of {len(lacking):,} of the region's cells (first: {lacking[0]}). Give all of them, or a smaller region."
        )
    return months[::horizon].to_numpy()
