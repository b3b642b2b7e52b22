"""A simulated conflict in UCDP's format, and simulated PRIO-GRID tables: for a first run, tests and benchmarks.

Nothing in these files happened. Every event says so in `conflict_name` and `source_office`, every file in its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.files import whole_file
from geonb.workloads.conflict import event_files, priogrid

VERSION = 1  # raise it with every change of the numbers, so that no older file is taken for this one
ROWS, COLUMNS = 30, 30
SOUTH_WEST = (4.5, -5.0)
FIRST_MONTH, MONTHS = 240, 300  # 1990-01 to 2014-12
SETTLING = 60  # months before the first, until what excites and what fades balance
# Gleditsch and Ward's codes of the countries there
COUNTRIES = {
    "Nigeria": 475, "Niger": 436, "Benin": 434, "Togo": 461, "Ghana": 452, "Burkina Faso": 439, "Mali": 432,
    "Ivory Coast": 437, "Algeria": 615, "Cameroon": 471,
}  # fmt: skip
# by type of violence: share of the background, how much an event excites within a month, and over a year
TYPES = ((0.40, 0.42, 0.53), (0.34, 0.40, 0.53), (0.26, 0.36, 0.52))
BACKGROUND = 1.4  # events a month that nothing before has excited, over the whole region


def simulated_conflict(cache: Path | None = None, seed: int = 0) -> Path:
    """A made-up conflict on real cells of the PRIO-GRID in West Africa, 1990-2014, as a file in UCDP GED's format.

    A self-exciting process: in every cell and month, events of three types fall at a rate that is the sum of a background
    (higher where more people live) and of what earlier events excite, strongly for a month or two in the cells around, weakly for about a
    year in the cell itself. Deaths are skewed, and some events have none.

    Parameters
    ----------
    cache : Path, optional
        Where the file is kept; data/examples in the project by default.
    seed : int
        The same seed gives the same bytes.

    Returns
    -------
    Path of the CSV
    """
    from geonb.base.project import examples_folder as _cache

    path = (cache or _cache()) / f"simulated-conflict-{VERSION}-{seed}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            simulate_events(seed).to_csv(partial, index=False, lineterminator="\n")
    return path


def simulate_events(seed: int = 0) -> pd.DataFrame:
    """Draw the events of `simulated_conflict`, a row an event, in the order of their dates."""
    rng = np.random.default_rng(seed)
    country = _countries()
    counts = _contagion(rng, country > 0, seed)
    month, kind, row, column = np.repeat(np.nonzero(counts), counts[counts > 0], axis=1)
    return _as_ged(rng, month, kind, row, column, country[row, column])


def _countries() -> np.ndarray:
    """Codes of the countries in which the cells' centres lie, 0 at sea: (row, column), row 0 the south."""
    import geopandas as gpd
    from shapely import points

    names = gpd.read_file(priogrid.COUNTRIES, columns=["NAME_EN"])
    south, west = SOUTH_WEST
    y, x = np.mgrid[:ROWS, :COLUMNS] * priogrid.RESOLUTION_DEG + priogrid.RESOLUTION_DEG / 2
    centres, codes = points(x + west, y + south), np.zeros((ROWS, COLUMNS), np.int32)
    for name, code in COUNTRIES.items():
        codes[names.geometry[names["NAME_EN"] == name].union_all().contains(centres)] = code
    return codes


def _contagion(rng: np.random.Generator, land: np.ndarray, seed: int) -> np.ndarray:
    """Numbers of events (month, type, row, column)."""
    from scipy.ndimage import gaussian_filter

    background = _people(seed)[_window()] * land
    background *= BACKGROUND / background.sum()
    counts = np.zeros((SETTLING + MONTHS, len(TYPES), ROWS, COLUMNS), np.int64)
    fast, slow = np.zeros((2, len(TYPES), ROWS, COLUMNS))
    for month in range(len(counts)):
        rate = [s * background + f * a + w * b for (s, f, w), a, b in zip(TYPES, fast, slow, strict=True)]
        counts[month] = rng.poisson(np.array(rate) * land)
        heard = 0.85 * counts[month] + 0.05 * counts[month].sum(axis=0)  # one type excites the others a little
        around = np.stack([gaussian_filter(h, 0.5, mode="constant") for h in heard])
        fast = 0.35 * fast + 0.65 * around
        slow = 0.93 * slow + 0.07 * heard
    return counts[SETTLING:]


def _people(seed: int) -> np.ndarray:
    """A made-up density of people on the whole grid (360, 720): few cells have many."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng([seed, 1])
    smooth = gaussian_filter(rng.normal(size=(priogrid.ROWS, priogrid.COLUMNS)), 1.5, mode=("nearest", "wrap"))
    return np.exp(2.4 * smooth / smooth.std())


def _window() -> tuple[slice, slice]:
    row, column = (int(v) for v in priogrid.cell_of(priogrid.gid_of(*SOUTH_WEST)))
    return slice(row, row + ROWS), slice(column, column + COLUMNS)


def _as_ged(
    rng: np.random.Generator, month: np.ndarray, kind: np.ndarray, row: np.ndarray, column: np.ndarray, code: np.ndarray
) -> pd.DataFrame:
    """A table of events as UCDP has it: place and day within cell and month drawn, deaths skewed."""
    n = len(month)
    place = rng.integers(1, 500_000, (2, n)) / 1e6  # never on an edge
    latitude = np.round(SOUTH_WEST[0] + row * 0.5 + place[0], 6)
    longitude = np.round(SOUTH_WEST[1] + column * 0.5 + place[1], 6)
    first = (FIRST_MONTH + month).astype("datetime64[M]").astype("datetime64[D]")
    start = first + rng.integers(0, 28, n)
    vague = rng.random(n) < 0.05
    end = start + np.where(vague, rng.integers(1, 20, n), 0)
    best = np.floor(np.exp(rng.normal(1.25, 1.5, n))).astype(int)
    low = np.where(rng.random(n) < 0.15, best // 2, best)
    high = best + np.where(rng.random(n) < 0.3, rng.integers(1, 6, n) + best // 3, 0)
    high = np.maximum(high, 1)  # an event with best 0 is one that may have killed
    names = {v: k for k, v in COUNTRIES.items()}
    said = np.full(n, event_files.SIMULATED)
    frame: dict[str, Any] = {
        "id": 0, "relid": "SIM", "year": start.astype("datetime64[Y]").astype(int) + 1970, "active_year": 1,
        "type_of_violence": kind + 1, "conflict_name": said, "dyad_name": said, "side_a": "simulated", "side_b": "simulated",
        "number_of_sources": 1, "source_office": said, "source_headline": "This event never happened",
        "where_prec": rng.choice([1, 2, 3], n, p=[0.6, 0.2, 0.2]), "where_coordinates": "simulated", "latitude": latitude,
        "longitude": longitude, "priogrid_gid": priogrid.gid_of(latitude, longitude), "country": [names[c] for c in code],
        "country_id": code, "region": "Africa", "event_clarity": 1, "date_prec": np.where(vague, 2, 1),
        "date_start": np.char.add(start.astype(str), " 00:00:00.000"),
        "date_end": np.char.add(end.astype(str), " 00:00:00.000"), "best": best, "high": high, "low": low,
    }  # fmt: skip
    table = pd.DataFrame(frame).sort_values("date_start", kind="stable", ignore_index=True)
    return table.assign(id=np.arange(1, n + 1), relid=[f"SIM-{i}" for i in range(1, n + 1)])


def write_prio_files(
    folder: str | Path, years: tuple[int, int] = (1990, 2014), cells: int | None = None, seed: int = 0
) -> tuple[Path, Path]:
    """Write made-up covariates in the layout of PRIO-GRID's yearly and static tables.

    Parameters
    ----------
    years : tuple = (first, last)
    cells : int, optional
        How many cells on land, spread evenly; all by default. PRIO-GRID itself has 64,818.
    seed : int
        The people of a seed are those of `simulated_conflict` with that seed.

    Returns
    -------
    Paths of simulated-priogrid-yearly.csv (gid, year, gcp_mer, nlights_mean, pop_gpw_sum, temp) and
    simulated-priogrid-static.csv (gid, row, col, xcoord, ycoord, landarea, mountains_mean, ttime_mean).
        As in the published ones, people are known every fifth year only, lights from 1992 on; elsewhere the table is empty.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    globe = priogrid.select_region("globe")
    gid = globe.gid[globe.valid & (globe.latitude > -60)[:, None]]
    gid = gid if cells is None else gid[np.linspace(0, len(gid) - 1, min(cells, len(gid))).astype(int)]
    rng = np.random.default_rng([seed, 2])
    people = 5e4 * _people(seed).ravel()[gid - 1]
    year = np.arange(years[0], years[1] + 1)
    growth = 1.02 ** (year - 1990)[None]
    pop = np.where(year % 5 == 0, people[:, None] * growth, np.nan).round(1)
    lights = np.where(year >= 1992, (people[:, None] / 1e5 * growth + rng.random((len(gid), len(year)))), np.nan)
    latitude, longitude = priogrid.centre_of(gid)
    temp = 28 - 0.5 * np.abs(latitude)[:, None] + rng.normal(0, 0.5, (len(gid), len(year)))
    yearly = {
        "gid": np.repeat(gid, len(year)), "year": np.tile(year, len(gid)), "gcp_mer": (lights * 0.1).round(3).ravel(),
        "nlights_mean": lights.round(3).ravel(), "pop_gpw_sum": pop.ravel(), "temp": temp.round(2).ravel(),
    }  # fmt: skip
    row, column = priogrid.cell_of(gid)
    static = {
        "gid": gid, "row": row + 1, "col": column + 1, "xcoord": longitude, "ycoord": latitude,
        "landarea": np.round(3080 * np.cos(np.radians(latitude)), 1), "mountains_mean": rng.random(len(gid)).round(3),
        "ttime_mean": (1e6 / people).round(1),
    }  # fmt: skip
    return (
        _write_table(folder / "simulated-priogrid-yearly.csv", yearly),
        _write_table(folder / "simulated-priogrid-static.csv", static),
    )


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> Path:
    import pyarrow as pa
    from pyarrow import csv

    with whole_file(path) as partial:
        csv.write_csv(pa.table({k: pa.array(v, from_pandas=True) for k, v in columns.items()}), partial)
    return path
