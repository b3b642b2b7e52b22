"""Files of UCDP's events, of every kind: which of their columns are which of ours, and these columns in pieces.

CSV, also in a zip; GeoJSON, GeoPackage and other vector files; JSON as UCDP's web service gives it, page by page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.files import check_shapefile
from geonb.workloads.conflict.tables import BROKEN, COMPRESSED, Table, read_columns, read_table

# the spellings UCDP and those who republish it have used; the first found counts (shapefiles cut names at ten letters)
SPELLINGS = {
    "id": ("id", "event_id", "eventid"),
    "gid": ("priogrid_gid", "prio_grid", "prio_gid", "priogrid", "priogrid_g", "pg_id", "gid"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long"),
    "date_start": ("date_start", "start_date", "datestart"),
    "date_end": ("date_end", "end_date", "dateend"),
    "type": ("type_of_violence", "type_of_vi", "typeofviolence", "violence_type", "type"),
    "best": ("best", "best_est", "best_estimate", "deaths_best"),
    "high": ("high", "high_est", "high_estimate", "deaths_high"),
    "low": ("low", "low_est", "low_estimate", "deaths_low"),
    "where_prec": ("where_prec", "whereprec", "where_precision"),
    "date_prec": ("date_prec", "dateprec", "event_prec", "date_precision"),
    "country_id": ("country_id", "countryid", "country_gwno", "gwnoloc", "gwno"),
    "country": ("country", "country_name"),
}
NEEDED = ("date_start", "type", "best")
DAYS = ("date_start", "date_end")
TEXTS = ("id", *DAYS)  # a float holds no id beyond 2**53
TABLES = (".csv", ".tsv", ".txt", ".zip", *COMPRESSED)
SHAPES = (".geojson", ".json", ".gpkg", ".shp", ".fgb")
APART_DEG = 0.01  # of a point and its columns latitude and longitude; less is rounding
SIMULATED = "simulated by geonb"
Paths = str | Path | Iterable[str | Path]


@dataclass(frozen=True)
class EventFile:
    """A file of events whose header is known.

    Attributes
    ----------
    header : list of str
        Names of the columns as they stand there.
    columns : dict of our name -> theirs
    simulated : bool
    rows : Table, or DataFrame of records that are read already; None: a vector file
    layer, points : str, bool
        The vector file's only layer, and whether it may hold points.
    total : int
        Events of which this file is a page, as the web service counts them; 0 if it is none.
    """

    path: Path
    header: list[str]
    columns: dict[str, str]
    simulated: bool
    rows: Table | pd.DataFrame | None = None
    layer: str = ""
    points: bool = False
    total: int = 0

    def without(self, name: str) -> EventFile:
        """The same file without one of our columns."""
        return replace(self, columns={ours: theirs for ours, theirs in self.columns.items() if ours != name})

    def lacks(self) -> list[str]:
        """What the file lacks, in UCDP's words."""
        texts = [
            f"{self.path}: no column for {name}; it may be called {', '.join(SPELLINGS[name])}"
            for name in NEEDED
            if name not in self.columns
        ]
        if "gid" not in self.columns and not self.points and not {"latitude", "longitude"} <= self.columns.keys():
            texts.append(f"{self.path}: neither priogrid_gid nor latitude and longitude, so no event has a place")
        if texts:
            texts[-1] += f". It has: {', '.join(str(name) for name in self.header[:40])}"
        names = list(map(_spelt, self.header))
        twice = [name for name in map(_spelt, self.columns.values()) if names.count(name) > 1]
        return texts + [f"{self.path}: the column {name} is there twice; take one of them out" for name in twice]

    def chunks(self, rows: int) -> Iterator[pd.DataFrame]:
        """The columns needed under our names, so many rows at a time."""
        ours = {theirs: name for name, theirs in self.columns.items()}
        with unbroken(self.path):
            if isinstance(self.rows, Table):
                places = {name: self.header.index(theirs) for theirs, name in ours.items()}
                yield from read_columns(self.rows, places, rows, [name for name in TEXTS if name in places])
            elif self.rows is not None:
                yield self.rows[list(ours)].rename(columns=ours)
            else:
                yield _layer(self.path, self.layer, ours, self.points)


def open_files(paths: Paths) -> list[EventFile]:
    """The headers of event files.

    Raises
    ------
    ValueError
        Files not there, of no kind that can be read, or damaged.
    """
    files = named_files(paths)
    faults = [f"not there: {p}" for p in files if not p.exists()]
    faults += [f"may not be read, get the permission: {p}" for p in files if p.exists() and not os.access(p, os.R_OK)]
    faults += [f"of no kind that can be read: {p}" for p in files if p.suffix.lower() not in TABLES + SHAPES]
    if faults or not files:
        what = "; ".join(faults) or "none is named"
        raise ValueError(
            f"Event files: {what}. Give UCDP GED files ({', '.join(TABLES + SHAPES)}), separated by commas."
        )
    return [_open(path) for path in files]


def named_files(paths: Paths | None) -> list[Path]:
    """One file, several, or those that a text names with commas between them; none of nothing."""
    if isinstance(paths, str):
        return [Path(part.strip()) for part in paths.split(",") if part.strip()]
    return [paths] if isinstance(paths, Path) else [Path(p) for p in paths or ()]


@contextmanager
def unbroken(path: Path) -> Iterator[None]:
    """While a file is read: what a damaged one makes the libraries say becomes an error with its name."""
    try:
        yield
    except (*BROKEN, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or not what its name says ({error}). Fetch it again.") from error


def _open(path: Path) -> EventFile:
    with unbroken(path):
        if path.suffix.lower() in TABLES:
            table = read_table(path)
            return _named(path, table.header, SIMULATED in table.first, rows=table)
        if (found := _records(path)) is not None:
            records, total = found
            frame = pd.DataFrame(records, dtype=object)
            file = _named(path, list(frame), SIMULATED in frame[:1].astype(str).to_numpy(), rows=frame, total=total)
            for name in file.columns.values():
                if len(odd := frame[name][frame[name].map(type).isin([list, dict])]):
                    raise ValueError(
                        f"{path}: {name} = {odd.iloc[0]!r:.60} is no single value. Give a text or a number."
                    )
            return file
        return _open_layer(path)


def _spelt(name: Any) -> str:
    """A column's name as SPELLINGS has it."""
    return str(name).strip().lstrip("\ufeff").strip('"').lower().replace(" ", "_")


def _named(path: Path, header: list[str], simulated: bool, **more: Any) -> EventFile:
    names = list(map(_spelt, header))
    columns: dict[str, str] = {}
    for ours, spellings in SPELLINGS.items():
        there = (header[names.index(spelling)] for spelling in spellings if spelling in names)
        if theirs := next((name for name in there if name not in columns.values()), None):
            columns[ours] = theirs
    return EventFile(path, header, columns, simulated, **more)


def _records(path: Path) -> tuple[list[dict], int] | None:
    """Events in JSON: a list, or a page of UCDP's web service and the number of events on all pages; None of GeoJSON."""
    if path.suffix.lower() != ".json":
        return None
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"[") and b'"Result"' not in start:
        return None
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    records = content.get("Result") if isinstance(content, dict) else content
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{path} holds no list of events. Give a page of UCDP's web service, or GeoJSON.")
    total = str(content.get("TotalCount") or 0) if isinstance(content, dict) else "0"
    if not total.isdecimal():
        raise ValueError(f"{path}: TotalCount = {total:.60} is no number of events. Fetch the page again.")
    return records, int(total)


def lacking_pages(files: list[EventFile]) -> list[str]:
    """Answers of the web service of which pages are missing."""
    totals = dict.fromkeys(file.total for file in files if file.total)
    faults = []
    for total in totals:
        pages = [file for file in files if file.total == total]
        tables = [file.rows for file in pages if isinstance(file.rows, pd.DataFrame)]
        there = sum(map(len, tables))
        if all("id" in file.columns for file in pages):  # a page may be there twice; without ids nobody knows
            there = len({i for file, table in zip(pages, tables, strict=True) for i in table[file.columns["id"]]})
        if there < total:
            names = ", ".join(str(file.path) for file in pages)
            faults.append(
                f"{names}: {there:,} of the {total:,} events that the web service found; the others are on its next pages. "
                "Fetch those (NextPageUrl), and name all pages"
            )
    return faults


def list_layers(path: str | Path) -> list[str]:
    """Names of a vector file's layers, but for the one in which QGIS keeps colours."""
    import pyogrio

    return [str(name) for name, _ in pyogrio.list_layers(path) if name != "layer_styles"]


def _open_layer(path: Path) -> EventFile:
    import pyogrio

    check_shapefile(path)
    layers = list_layers(path)
    if len(layers) != 1:
        raise ValueError(f"{path} holds {len(layers)} layers ({', '.join(layers[:9])}); it must hold one.")
    info = pyogrio.read_info(path, layer=layers[0])
    first = pyogrio.read_dataframe(path, layer=layers[0], max_features=1, read_geometry=False)
    kind = str(info.get("geometry_type", "")).lower()
    points = "point" in kind or kind == "unknown"
    return _named(path, list(info["fields"]), SIMULATED in first.astype(str).to_numpy(), layer=layers[0], points=points)


def _layer(path: Path, layer: str, ours: dict[str, str], points: bool) -> pd.DataFrame:
    """A vector file's columns under our names; places and days as a table has them."""
    import geopandas as gpd
    import shapely

    frame = gpd.read_file(path, layer=layer, columns=list(ours)).rename(columns=ours)
    if points:
        shapes = frame.geometry.to_crs(4326) if frame.crs is not None else frame.geometry
        # many programs write each point as a multipoint
        alone = shapes.where((shapely.get_num_geometries(shapes) == 1) & ~shapely.is_empty(shapes))
        point = shapely.get_geometry(alone.to_numpy(), 0)
        places = {"latitude": shapely.get_y(point), "longitude": shapely.get_x(point)}
        if not places.keys() <= set(frame):
            frame = frame.assign(**places)
        elif frame.crs is not None:
            _refuse_apart(path, frame, places)
    frame = pd.DataFrame(frame.drop(columns="geometry", errors="ignore"))
    for name in DAYS:
        if name in frame and frame[name].dtype.kind == "M":
            frame[name] = frame[name].dt.strftime("%Y-%m-%d")
    return frame


def _refuse_apart(path: Path, frame: pd.DataFrame, places: dict[str, np.ndarray]) -> None:
    """Refuse points that lie elsewhere than their columns of coordinates say."""
    points = np.stack([*places.values()], axis=1)
    given = frame[[*places]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    apart = (np.abs((given - points + 180) % 360 - 180) > APART_DEG).any(axis=1)
    if apart.any():
        point, columns = (", ".join(f"{degrees:.6g}" for degrees in pair[apart][0]) for pair in (points, given))
        raise ValueError(
            f"{path}: {apart.sum():,} of {len(frame):,} points lie elsewhere than latitude and longitude say; first: {point}, but the "
            f"columns have {columns}. Correct the wrong ones, or take the columns out: then the points count."
        )
