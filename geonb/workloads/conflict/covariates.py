"""PRIO-GRID's yearly and static tables -> arrays on the region's cells, with gaps in time filled and told.

Tollefsen, Strand and Buhaug 2012, "PRIO-GRID: A unified spatial data structure", Journal of Peace Research 49(2), 363-374.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base.conventions import refuse
from geonb.base.fills import LARGEST
from geonb.workloads.conflict import priogrid
from geonb.workloads.conflict.event_files import Paths, named_files
from geonb.workloads.conflict.events import FEW
from geonb.workloads.conflict.tables import BROKEN, Table, read_columns, read_table

if TYPE_CHECKING:
    import xarray as xr

PLACES = ("gid", "year", "row", "col", "xcoord", "ycoord")  # the published tables' own columns
CHUNK_ROWS = 400_000
KEYS = ("gid", "year", "ycoord", "xcoord")
# -99, -999 ..., the least of an integer type, 1e20 of ocean models: how tables without a sign for it say unknown
CODES = (*(-(10.0**n - 1) for n in range(2, 7)), *(-(2.0**n) for n in (15, 31, 63)), 1e20)


def list_columns(paths: Paths | None) -> dict[str, list[str]]:
    """The variables of PRIO-GRID files, by their headers: {"yearly": [...], "static": [...]}.

    Raises
    ------
    ValueError
        If a file is not there or has no gid: all such files.
    """
    columns: dict[str, list[str]] = {"yearly": [], "static": []}
    faults: list[str] = []
    for path in named_files(paths):
        try:
            names = _names(read_table(path))
        except FileNotFoundError:
            faults.append(f"{path} is not there")
            continue
        except PermissionError:
            faults.append(f"{path} may not be read: get the permission")
            continue
        except BROKEN as error:
            faults.append(f"{path} is damaged or no CSV ({error})")
            continue
        except ValueError as error:
            faults.append(str(error))
            continue
        if "gid" not in names:
            faults.append(f"{path} has no column gid; it has {', '.join(names[:20])}")
        if twice := {name for name in names if name and names.count(name) > 1}:
            faults.append(f"{path} has columns of the same name: {', '.join(sorted(twice))}")
        known = columns["yearly" if "year" in names else "static"]
        known += [n for n in names if n and n not in PLACES and n not in known]
    cure = "Give PRIO-GRID CSVs: gid, year, variables (yearly) or gid, variables (static)."
    refuse("The covariate files cannot be used", faults, cure=cure)
    columns["static"] = [n for n in columns["static"] if n not in columns["yearly"]]
    return columns


def read_covariates(
    paths: Paths | None,
    columns: Sequence[str],
    region: priogrid.Region,
    wanted_years: Sequence[int],
    interpolate: Sequence[str] = ("pop_",),
) -> xr.Dataset:
    """Read some variables of PRIO-GRID files onto a region's cells.

    Parameters
    ----------
    paths : CSV files as published, also zipped; joined on gid and year
        Where two files give the same value, the first counts.
    columns : list of str
        Names of variables.
    wanted_years : list of int, ascending
        Years wanted. A year that the files lack is carried forward, before the first known one backward, cell by cell.
    interpolate : list of str
        Variables whose names begin so are instead interpolated in time between known years (population).

    Returns
    -------
    Dataset of float32: yearly variables (year, y, x), static ones (y, x); NaN where nothing is known, never 0 instead.
        Each variable's attrs say how gaps were filled: ``known_years``, ``filled_years``, ``filled_values``, ``unknown_cells``.

    Raises
    ------
    ValueError
        A variable in no file, a file without any of the years, a gid off the grid, text for a number: every fault.
    """
    import xarray as xr

    files, years = named_files(paths), np.asarray(wanted_years)
    there = list_columns(files)
    unknown = [c for c in columns if c not in there["yearly"] + there["static"]]
    if unknown:
        raise ValueError(
            f"No covariate file has {', '.join(unknown)}. There are: yearly {', '.join(there['yearly']) or 'none'}; "
            f"static {', '.join(there['static']) or 'none'}."
        )
    pieces: list[pd.DataFrame] = []
    faults: list[str] = []
    for path in files:
        try:
            pieces += _pieces(path, columns, region, years)
        except BROKEN as error:
            faults.append(f"{path} is damaged ({error}). Fetch it again")
        except ValueError as error:
            faults.append(str(error) if str(error).startswith(str(path)) else f"{path}{error}")
    refuse("The covariate files have faults", faults)
    data = {}
    for name in columns:
        yearly = name in there["yearly"]
        known, values = _scatter(pieces, name, region, yearly)
        where = region.spec or "around the events"
        if code := _code(values[..., region.valid]):
            faults.append(
                f"{name} is {code:.10g} in cells of the region {where}, far from all else: a code for unknown? Leave such fields empty"
            )
        if yearly:
            rule = "interpolated" if name.startswith(tuple(interpolate)) else "carried"
            values, attrs = _over_years(values, known, years, rule, region)
        else:
            values, attrs = values[0], {"unknown_cells": int((np.isnan(values[0]) & region.valid).sum())}
        dims = ("year", "y", "x") if yearly else ("y", "x")
        if np.isnan(values[..., region.valid]).all():
            faults.append(
                f"{name} has no value in any cell of the region {where} (west, south, east, north: {region.bounds}): give a file of "
                "that part of the world, or leave the channel out"
            )
        data[name] = xr.Variable(dims, values, attrs | {"kind": "yearly" if yearly else "static"})
    refuse("The covariate files have faults", faults)
    return xr.Dataset(data, {"year": years, "y": region.latitude, "x": region.longitude})


def _names(table: Table) -> list[str]:
    """The columns by name, those of places and years in small letters."""
    names = [name.strip() for name in table.header]
    return [name.lower() if name.lower() in PLACES else name for name in names]


def _pieces(path: Path, columns: Sequence[str], region: priogrid.Region, years: np.ndarray) -> list[pd.DataFrame]:
    """Rows of one file inside the region: place (flat index), year (0 of a static file), and those of the variables it has."""
    table = read_table(path)
    names = _names(table)
    columns = [name for name in columns if name in names]
    if not columns:
        return []
    keys = [name for name in KEYS if name in names]
    pieces: list[pd.DataFrame] = []
    seen: set[int] = set()
    rows = far = 0
    for chunk in read_columns(table, {name: names.index(name) for name in (*keys, *columns)}, CHUNK_ROWS):
        chunk = _as_numbers(chunk, keys, columns)
        seen |= set(chunk["year"].unique()) if "year" in keys else set()
        rows += len(chunk)
        if {"xcoord", "ycoord"} <= set(keys):
            far += int(priogrid.far_from(chunk["gid"], chunk["ycoord"], chunk["xcoord"]).sum())
        place = region.places(chunk["gid"].to_numpy(np.int64))
        inside = place >= 0
        within = chunk[inside]
        year = within["year"].astype(np.int16) if "year" in keys else np.int16(0)
        pieces.append(within[columns].astype(np.float32).assign(place=place[inside].astype(np.int32), year=year))
    if far > FEW * rows:
        raise ValueError(
            f": for {far:,} of {rows:,} rows gid is not the cell at ycoord and xcoord, so it is no number of PRIO-GRID's (a database's "
            "number of the row?). Give the table with PRIO-GRID's gid"
        )
    if "year" in keys and not seen & set(years.tolist()):
        span = f"{min(seen)} to {max(seen)}" if seen else "none"
        raise ValueError(
            f" has years {span}, and none of the cube's {years[0]} to {years[-1]}. Give a file of those years, or another period"
        )
    _refuse_twice(pieces, columns, region)
    return pieces


def _refuse_twice(pieces: list[pd.DataFrame], columns: Sequence[str], region: priogrid.Region) -> None:
    """Refuse a file that says two things of one cell and year."""
    if not pieces:
        return
    table, key = pd.concat(pieces), ["place", "year"]
    table = table[table.duplicated(key, keep=False)]
    for name in columns:
        given = table[[*key, name]].dropna().drop_duplicates()
        if (other := given[given.duplicated(key, keep=False)]).empty:
            continue
        row = other.iloc[0]
        gid, when = region.gid.ravel()[int(row["place"])], f" of {row['year']:.0f}" if row["year"] else ""
        values = other.loc[(other[key] == row[key]).all(axis=1), name].tolist()
        raise ValueError(
            f": {name} of gid {gid}{when} is given more than once, as {' and '.join(f'{v:.6g}' for v in values[:3])}. Give each cell one "
            + ("row a year" if when else "row, or the years in a column called year")
        )


def _code(values: np.ndarray) -> float | None:
    """A value that is no measurement: one of CODES, where no other goes half as far on its side of 0."""
    there = (code for code in CODES if (values == code).any())
    return next((c for c in there if np.nanmax(values / c, initial=0, where=values != c) < 0.5), None)


def _as_numbers(chunk: pd.DataFrame, keys: list[str], columns: Sequence[str]) -> pd.DataFrame:
    """Refuse text for a number, numbers of cells and years that there are not, and those that are infinite."""
    texts = chunk.select_dtypes(exclude="number").astype("string")  # also numbers whose decimal sign shows late
    numbers = texts.apply(pd.to_numeric, errors="coerce").astype(np.float64)
    wrong = {name: texts[name][numbers[name].isna() & texts[name].notna()] for name in texts}
    if told := [f"{name} = {values.iloc[0]!r}" for name, values in wrong.items() if len(values)]:
        raise ValueError(f": text for a number ({', '.join(told)}, ...)")
    chunk = chunk.assign(**numbers)
    for name, high in zip(KEYS[: 1 + ("year" in keys)], (priogrid.CELLS, 9999), strict=False):
        wrong = chunk[name][~(chunk[name].between(1, high) & (chunk[name] % 1 == 0))]
        if len(wrong):
            raise ValueError(f": {name} must be a whole number from 1 to {high}, not {wrong.iloc[0]:.10g}")
    for name in columns:
        if len(wrong := chunk[name][chunk[name].abs() >= LARGEST]):
            raise ValueError(
                f": {name} = {wrong.iloc[0]:g}, and nothing of 1e30 and beyond is a measurement. Leave fields that are not known empty"
            )
    return chunk


def _scatter(
    pieces: list[pd.DataFrame], name: str, region: priogrid.Region, yearly: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Years that the files have, and the values (year, y, x), NaN where they have none."""
    pieces = [p for p in pieces if name in p and (p["year"].iloc[:1] > 0).any() == yearly]
    known = np.unique(np.concatenate([[0] * (not yearly), *(p["year"] for p in pieces)])).astype(np.int16)
    values = np.full((len(known), region.valid.size), np.nan, np.float32)
    for piece in reversed(pieces):  # the first file is written last
        given = piece[piece[name].notna()]
        values[np.searchsorted(known, given["year"]), given["place"]] = given[name]
    return known, values.reshape(len(known), *region.shape)


def _over_years(
    values: np.ndarray, known: np.ndarray, years: np.ndarray, rule: str, region: priogrid.Region
) -> tuple[np.ndarray, dict[str, Any]]:
    """Bring what is known in some years onto the years wanted; say what was filled."""
    steps = np.union1d(known, years)
    full = np.full((len(steps), region.valid.size), np.nan, np.float32)
    full[np.searchsorted(steps, known)] = values.reshape(len(known), region.valid.size)
    wanted = np.searchsorted(steps, years)
    given = ~np.isnan(full[wanted])
    some = ~np.isnan(full).all(axis=0)  # the sea costs nothing
    full[:, some] = fill_years(full[:, some], steps, rule)
    filled = full[wanted]
    new = ~np.isnan(filled) & ~given & region.valid.ravel()
    attrs = {
        "fill": rule,
        "known_years": [int(y) for y in known],
        "filled_years": [int(y) for y in years[new.any(axis=1)]],
        "filled_values": int(new.sum()),
        "unknown_cells": int((np.isnan(filled).all(axis=0) & region.valid.ravel()).sum()),
    }
    return filled.reshape(len(years), *region.shape), attrs


def fill_years(values: np.ndarray, years: np.ndarray, rule: str) -> np.ndarray:
    """Fill gaps in time, cell by cell.

    Parameters
    ----------
    values : ndarray (year, cell), NaN where unknown
    years : ndarray (year,), ascending
    rule : str
        ``carried``: the last known value, before the first known one that one; ``interpolated``: straight lines between
        known values, the ends carried.

    Returns
    -------
    ndarray (year, cell), NaN only where a cell has no value in any year

    Examples
    --------
    >>> fill_years(np.array([[np.nan], [1], [np.nan], [3]]), np.arange(4), "interpolated").ravel().tolist()
    [1.0, 1.0, 2.0, 3.0]
    """
    table = pd.DataFrame(values)
    low, high = table.ffill().bfill().to_numpy(), table.bfill().ffill().to_numpy()  # the nearest known before and after
    if rule == "carried":
        return low
    when = table.notna().mul(years, axis=0).where(table.notna())
    first, last = when.ffill().bfill().to_numpy(), when.bfill().ffill().to_numpy()
    share = (years[:, None] - first) / np.maximum(last - first, 1)
    return low + share.astype(values.dtype) * (high - low)
