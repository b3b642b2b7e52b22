"""PRIO-GRID's yearly and static tables -> arrays on the region's cells, with gaps in time filled and told.

Tollefsen, Strand and Buhaug 2012, "PRIO-GRID: A unified spatial data structure", Journal of Peace Research 49(2), 363-374.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.workloads.conflict import priogrid
from geonb.workloads.conflict.events import Paths, named_files, refuse_all

if TYPE_CHECKING:
    import xarray as xr

PLACES = ("gid", "year", "row", "col", "xcoord", "ycoord")  # the published tables' own columns
CHUNK_ROWS = 400_000
NOT_TABLES = pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError
UNREADABLE = *NOT_TABLES, zipfile.BadZipFile, zlib.error, EOFError


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
            names = _names(path)
        except FileNotFoundError:
            faults.append(f"{path} is not there")
            continue
        except UNREADABLE as error:
            faults.append(f"{path} is empty, damaged or no CSV ({error})")
            continue
        if "gid" not in names:
            faults.append(f"{path} has no column gid; it has {', '.join(names[:20])}")
        known = columns["yearly" if "year" in names else "static"]
        known += [n for n in names if n not in PLACES and n not in known]
    cure = "\nGive PRIO-GRID CSVs: gid, year, variables (yearly) or gid, variables (static)."
    refuse_all("The covariate files cannot be used", faults, cure)
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
        except UNREADABLE as error:
            faults.append(f"{path} is damaged ({error}). Fetch it again")
        except ValueError as error:
            faults.append(f"{path}{error}")
    refuse_all("The covariate files have faults", faults)
    data = {}
    for name in columns:
        yearly = name in there["yearly"]
        known, values = _scatter(pieces, name, region, yearly)
        if yearly:
            rule = "interpolated" if name.startswith(tuple(interpolate)) else "carried"
            values, attrs = _over_years(values, known, years, rule, region)
        else:
            values, attrs = values[0], {"unknown_cells": int((np.isnan(values[0]) & region.valid).sum())}
        dims = ("year", "y", "x") if yearly else ("y", "x")
        if np.isnan(values[..., region.valid]).all():
            faults.append(
                f"{name} has no value in any cell of the region {region.spec or 'around the events'}: leave it out"
            )
        data[name] = xr.Variable(dims, values, attrs | {"kind": "yearly" if yearly else "static"})
    refuse_all("The covariate files have faults", faults)
    return xr.Dataset(data, {"year": years, "y": region.latitude, "x": region.longitude})


def _names(path: Path) -> list[str]:
    return pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns.tolist()


def _pieces(path: Path, columns: Sequence[str], region: priogrid.Region, years: np.ndarray) -> list[pd.DataFrame]:
    """Rows of one file inside the region: place (flat index), year (0 of a static file), and those of the variables it has."""
    names = _names(path)
    keys = ["gid", "year"] if "year" in names else ["gid"]
    columns = [name for name in columns if name in names]
    if not columns:
        return []
    pieces: list[pd.DataFrame] = []
    seen: set[int] = set()
    for chunk in pd.read_csv(
        path, usecols=[*keys, *columns], chunksize=CHUNK_ROWS, encoding="utf-8-sig", low_memory=False
    ):
        _check_numbers(chunk, keys, columns)
        seen |= set(chunk["year"].unique()) if "year" in keys else set()
        place = region.places(chunk["gid"].to_numpy(np.int64))
        inside = place >= 0
        rows = chunk[inside]
        year = rows["year"].astype(np.int16) if "year" in keys else np.int16(0)
        pieces.append(rows[columns].astype(np.float32).assign(place=place[inside].astype(np.int32), year=year))
    if "year" in keys and not seen & set(years.tolist()):
        span = f"{min(seen)} to {max(seen)}" if seen else "none"
        raise ValueError(
            f" has years {span}, and none of the cube's {years[0]} to {years[-1]}. Give a file of those years, or another period"
        )
    return pieces


def _check_numbers(chunk: pd.DataFrame, keys: list[str], columns: Sequence[str]) -> None:
    """Refuse text for a number, and numbers of cells and years that there are not."""
    texts = [c for c in (*keys, *columns) if chunk[c].dtype.kind not in "iuf"]
    if texts:
        raise ValueError(f": text for a number ({', '.join(f'{c} = {_first_text(chunk[c])!r}' for c in texts)}, ...)")
    for name, high in zip(keys, (priogrid.CELLS, 9999), strict=False):
        wrong = chunk[name][~(chunk[name].between(1, high) & (chunk[name] % 1 == 0))]
        if len(wrong):
            raise ValueError(f": {name} must be a whole number from 1 to {high}, not {wrong.iloc[0]:.10g}")


def _first_text(column: pd.Series) -> Any:
    """The first value that is no number."""
    wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    return wrong.iloc[0] if len(wrong) else column.iloc[0]


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
