"""UCDP event files of every kind -> one compact table of events, with every fault of the files found first.

The data: UCDP Georeferenced Event Dataset (Sundberg and Melander 2013, Journal of Peace Research 50(4), 523-532), CC BY 4.0.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geonb.workloads.conflict import priogrid

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
TYPES = {1: "state", 2: "nonstate", 3: "onesided"}  # UCDP's codes: state-based, non-state, one-sided
DTYPES = {
    "id": np.int64, "gid": np.int32, "row": np.int16, "column": np.int16, "month_start": np.int32,
    "month_end": np.int32, "type": np.int8, "best": np.int32, "high": np.int32, "low": np.int32, "where_prec": np.int8,
    "date_prec": np.int8, "country_id": np.int32,
}  # fmt: skip
TABLES, SHAPES = (".csv", ".tsv", ".txt", ".zip"), (".geojson", ".json", ".gpkg", ".shp", ".fgb")
CHUNK_ROWS = 50_000
SIMULATED = "simulated by geonb"
MONTH = r"\d{4}-(0[1-9]|1[0-2])(-\d{2}|$)"
MONTH_RULES = ("start", "end", "spread")
Paths = str | Path | Iterable[str | Path]
Faulty = dict[tuple[Path, str], tuple[int, dict]]  # file, fault -> how many events, and the first of them
YEARS = (1900, 2099)  # beyond these a date is a slip of the pen, and would make a cube of a thousand years
MOST = 2**31 - 1  # deaths that the table can hold


def read_events(paths: Paths, faults: str = "raise") -> pd.DataFrame:
    """Read UCDP event files into one compact table.

    Global and candidate releases, the export of the Humanitarian Data Exchange (its row of HXL tags is skipped), a zipped
    CSV, GeoJSON; columns in any order and either spelling. Only the columns needed are read, in pieces, so that a global file stays small.

    Parameters
    ----------
    paths : path, list of paths, or text with commas
        An event id that was there before is dropped and counted: the first file wins, so name final releases before
        candidate ones.
    faults : str
        ``raise``: one error that lists every fault of every file; ``drop``: faulty events are left out and counted.

    Returns
    -------
    DataFrame, a row an event, in the order of the files
        id; gid, as UCDP published it, else from the coordinates; row, column (0 is the south-west); month_start,
        month_end (months since 1970-01); type (1 state-based, 2 non-state, 3 one-sided); best, high, low (deaths, -1 where
        the file has no such column); where_prec, date_prec (-1 unknown); country_id (Gleditsch-Ward, 0 unknown).
        attrs: ``report`` (what was counted), ``countries`` (names by country_id), ``columns``, ``simulated``.

    Raises
    ------
    ValueError
        Files not there, columns missing, dates that are none, end before start, negative deaths, a type of violence that
        is not 1-3, coordinates off the globe: all of them, with the first event each.
    """
    if faults not in ("raise", "drop"):
        raise ValueError(f"faults = {faults!r} is not allowed: raise or drop.")
    files = _existing(paths)
    heads = {path: _head(path) for path in files}
    refuse_all(
        "The event files cannot be used", [text for path, head in heads.items() for text in _missing(path, head)]
    )
    faulty: Faulty = {}
    countries: dict[int, str] = {}
    pieces, counts = [], Counter[str]()
    for number, path in enumerate(files):
        for chunk in _chunks(path, heads[path]):
            table, wrong = _tidy(chunk, countries, counts)
            for text, rows in wrong.items():
                n, first = faulty.get((path, text), (0, rows.iloc[0].to_dict()))
                faulty[path, text] = n + len(rows), first
            pieces.append(table.assign(file=np.int16(number)))
    if faults == "raise":
        lines = [f"{path}: {_told(text, *facts)}" for (path, text), facts in faulty.items()]
        cure = "\nCorrect the files, or leave such events out and count them: faults = drop."
        refuse_all("The events have faults", lines, cure)
    events = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=[*DTYPES, "file"])
    return _joined(events, files, heads, faulty, counts, countries)


def refuse_all(head: str, faults: list[str], cure: str = "") -> None:
    """One ValueError that lists every fault of some files, a line each, and what to do, if there is any."""
    if faults:
        raise ValueError("\n  ".join([f"{head}:", *faults]) + cure)


def _joined(
    events: pd.DataFrame, files: list[Path], heads: dict[Path, dict], faulty: Faulty, counts: Counter, countries: dict
) -> pd.DataFrame:
    """Drop duplicates and gather what was noticed."""
    numbered = events["id"] >= 0
    again = events.duplicated("id") & numbered
    per_file = events["file"].value_counts().sort_index()
    report = {
        "files": {p.name: int(per_file.get(n, 0)) for n, p in enumerate(files)},
        "events": len(events) - int(again.sum()),
        "duplicate_ids": int(again.sum()),
        "without_id": int((~numbered).sum()),
        "faulty_dropped": {text: sum(f[0] for (_, t), f in faulty.items() if t == text) for _, text in faulty},
        "simulated": any(h["simulated"] for h in heads.values()),
        "hxl_rows_skipped": sum(h["hxl"] for h in heads.values()),
        **{k: counts[k] for k in ("gid_from_coordinates", "gid_disagrees", "best_outside_low_high", "spans_months")},
        "overlapping_files": _overlaps(events, files),
    }
    events = events.loc[~again, list(DTYPES)].reset_index(drop=True)
    columns = sorted(set.intersection(*(set(h["columns"]) for h in heads.values())))
    events.attrs = {"report": report, "countries": countries, "columns": columns, "simulated": report["simulated"]}
    return events


def _overlaps(events: pd.DataFrame, files: list[Path]) -> dict[str, int]:
    """Events in months that an earlier file covers too: under other ids they would count twice."""
    overlaps: dict[str, int] = {}
    last: dict[int, int] = {}
    for number, path in enumerate(files):
        months = events.loc[events["file"] == number, ["month_start", "country_id"]]
        before = np.array([last.get(c, -(10**6)) for c in months["country_id"].to_numpy()])
        if n := int((months["month_start"].to_numpy() <= before).sum()):
            overlaps[str(path)] = n
        for country, month in months.groupby("country_id")["month_start"].max().items():
            last[country] = max(last.get(country, month), month)
    return overlaps


def named_files(paths: Paths | None) -> list[Path]:
    """One file, several, or those that a text names with commas between them; none of nothing."""
    if isinstance(paths, str):
        return [Path(part.strip()) for part in paths.split(",") if part.strip()]
    return [paths] if isinstance(paths, Path) else [Path(p) for p in paths or ()]


def _existing(paths: Paths) -> list[Path]:
    files = named_files(paths)
    faults = [f"not there: {p}" for p in files if not p.exists()]
    faults += [f"of no kind that can be read: {p}" for p in files if p.suffix.lower() not in TABLES + SHAPES]
    if faults or not files:
        what = "; ".join(faults) or "none is named"
        raise ValueError(
            f"Event files: {what}. Give UCDP GED files ({', '.join(TABLES + SHAPES)}), separated by commas."
        )
    return files


@contextmanager
def _unbroken(path: Path) -> Iterator[None]:
    """While a file is read: what a damaged one makes the libraries say becomes an error with its name."""
    import pyogrio

    broken = (zipfile.BadZipFile, zlib.error, EOFError, csv.Error, pd.errors.ParserError)
    try:
        yield
    except (*broken, pyogrio.errors.DataSourceError, RuntimeError) as error:  # RuntimeError: a zip with a password
        raise ValueError(f"{path} is damaged or not what its name says ({error}). Fetch it again.") from error


def _head(path: Path) -> dict[str, Any]:
    """What a file's first rows say: its columns under our names, how to read it, whether it is simulated."""
    with _unbroken(path):
        header, names, more = _table_head(path) if path.suffix.lower() in TABLES else _layer_head(path)
    columns: dict[str, str] = {}
    for ours, spellings in SPELLINGS.items():
        there = (header[names.index(spelling)] for spelling in spellings if spelling in names)
        if theirs := next((name for name in there if name not in columns.values()), None):
            columns[ours] = theirs
    return {"header": header, "columns": columns, **more}


def _table_head(path: Path) -> tuple[list[str], list[str], dict[str, Any]]:
    """Names of the columns as they are, the same plainly spelt, and how to read a CSV."""
    with _open(path) as file:
        first = file.readline()
        _refuse_text(path, first)
        sep = max(",;\t", key=first.count)
        header, second = next(csv.reader([first], delimiter=sep), []), next(csv.reader(file, delimiter=sep), [])
    names = [name.strip().lstrip("\ufeff").strip('"').lower().replace(" ", "_") for name in header]
    hxl = sum(v.strip().startswith("#") for v in second) >= 2
    return header, names, {"sep": sep, "hxl": int(hxl), "simulated": SIMULATED in second}


def _layer_head(path: Path) -> tuple[list[str], list[str], dict[str, Any]]:
    """The same of a vector file, and whether it has points."""
    import pyogrio

    info = pyogrio.read_info(path)
    header = list(info["fields"])
    first = pyogrio.read_dataframe(path, max_features=1, read_geometry=False)
    point = "point" in str(info.get("geometry_type", "")).lower()
    more = {"hxl": 0, "simulated": SIMULATED in first.astype(str).to_numpy(), "geometry": point}
    return header, [name.lower() for name in header], more


def _refuse_text(path: Path, first: str) -> None:
    """Refuse what is no table by its first line."""
    if not first.strip("\ufeff \r\n"):
        raise ValueError(f"{path} is empty, or its first line is: a header of column names must stand there.")
    if first.lstrip().startswith("<"):
        raise ValueError(f"{path} is a web page, not a table ({first.strip()[:60]!r}). Fetch the file itself.")
    if "\0" in first:
        raise ValueError(f"{path} is no text in UTF-8 (perhaps UTF-16, or no text at all). Save it as CSV in UTF-8.")


def _open(path: Path) -> Any:
    """A text file, also out of a zip."""
    if path.suffix.lower() != ".zip":
        return path.open(encoding="utf-8-sig", errors="replace", newline="")
    archive = zipfile.ZipFile(path)
    inside = [n for n in archive.namelist() if n.lower().endswith(".csv") and not n.startswith("__MACOSX")]
    if len(inside) != 1:
        raise ValueError(
            f"{path} holds {len(inside)} CSV files ({', '.join(inside[:5])}); it must hold one. Unpack it."
        )
    return io.TextIOWrapper(archive.open(inside[0]), encoding="utf-8-sig", errors="replace", newline="")


def _missing(path: Path, head: dict[str, Any]) -> list[str]:
    """What a file lacks, in UCDP's words."""
    lacks = [name for name in NEEDED if name not in head["columns"]]
    texts = [f"{path}: no column for {n}; it may be called {', '.join(SPELLINGS[n])}" for n in lacks]
    placed = {"latitude", "longitude"} <= head["columns"].keys() or head.get("geometry")
    if "gid" not in head["columns"] and not placed:
        texts.append(f"{path}: neither priogrid_gid nor latitude and longitude, so no event has a place")
    if texts:
        texts[-1] += f". It has: {', '.join(str(h) for h in head['header'][:40])}"
    return texts


def _chunks(path: Path, head: dict[str, Any]) -> Iterator[pd.DataFrame]:
    """The columns needed under our names, some thousand rows at a time."""
    ours = {theirs: name for name, theirs in head["columns"].items()}
    with _unbroken(path):
        if "sep" not in head:
            yield _layer(path, ours, head["geometry"])
            return
        dates = {theirs: str for theirs, name in ours.items() if name.startswith("date_") and name != "date_prec"}
        skip = [1] if head["hxl"] else None
        with _open(path) as file:
            options = {"usecols": list(ours), "sep": head["sep"], "dtype": dates, "chunksize": CHUNK_ROWS}
            for chunk in pd.read_csv(file, skiprows=skip, low_memory=False, **options):
                yield chunk.rename(columns=ours)


def _layer(path: Path, ours: dict[str, str], has_points: bool) -> pd.DataFrame:
    """A vector file's columns under our names; places and days as a table has them."""
    import geopandas as gpd

    frame = gpd.read_file(path, columns=list(ours)).rename(columns=ours)
    if has_points and not {"latitude", "longitude"} <= set(frame):
        points = frame.geometry.to_crs(4326) if frame.crs is not None else frame.geometry
        frame["latitude"], frame["longitude"] = points.y, points.x
    frame = pd.DataFrame(frame.drop(columns="geometry", errors="ignore"))
    for name in ("date_start", "date_end"):
        if name in frame and frame[name].dtype.kind == "M":
            frame[name] = frame[name].dt.strftime("%Y-%m-%d")
    return frame


def _tidy(chunk: pd.DataFrame, countries: dict, counts: Counter) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Numbers, cells and months of some rows; the rows that cannot be used by what is wrong with them."""
    values = {name: _numbers(chunk, name) for name in SPELLINGS if name not in ("date_start", "date_end", "country")}
    start = _days(chunk["date_start"])
    end = _days(chunk["date_end"]) if "date_end" in chunk else start
    values["gid"], off, disagrees, computed = _cells(values["gid"], values["latitude"], values["longitude"])
    wrong = _faults(values, start, end, off)
    good = ~np.logical_or.reduce(list(wrong.values()))
    known = [name for name in DTYPES if name in values]
    table = {k: np.nan_to_num(values[k][good], nan=0 if k == "country_id" else -1) for k in known}
    table["month_start"], table["month_end"] = (d[good].astype("datetime64[M]").astype(np.int64) for d in (start, end))
    table["row"], table["column"] = priogrid.cell_of(table["gid"])
    counts["gid_from_coordinates"] += int((computed & good).sum())
    counts["gid_disagrees"] += int((disagrees & good).sum())
    low, best, high = (table[k] for k in ("low", "best", "high"))
    counts["best_outside_low_high"] += int((((high >= 0) & (high < best)) | (low > best)).sum())
    counts["spans_months"] += int((table["month_end"] > table["month_start"]).sum())
    if "country" in chunk:
        named = pd.Series(chunk["country"].to_numpy()[good], table["country_id"].astype(int)).dropna()
        countries |= {int(k): str(v) for k, v in named[~named.index.duplicated()].items() if k not in countries}
    rows = {text: chunk[mask] for text, mask in wrong.items() if mask.any()}
    return pd.DataFrame({k: table[k].astype(dtype) for k, dtype in DTYPES.items()}), rows


def _faults(
    values: dict[str, np.ndarray], start: np.ndarray, end: np.ndarray, off: np.ndarray
) -> dict[str, np.ndarray]:
    """Which rows cannot be used, by what is wrong with them."""
    deaths = np.stack([values[k] for k in ("best", "high", "low")])
    years = np.stack([start, end]).astype("datetime64[Y]").astype(np.int64) + 1970
    strange = ((years < YEARS[0]) | (years > YEARS[1])) & ~np.isnat([start, end])
    return {
        "date_start is not a date (YYYY-MM-DD)": np.isnat(start),
        "date_end is not a date (YYYY-MM-DD)": np.isnat(end),
        "date_end before date_start": end < start,  # false where either is none
        f"date_start or date_end not in the years {YEARS[0]} to {YEARS[1]}": (strange.any(axis=0)),
        "best is not a number": np.isnan(values["best"]),
        "negative deaths": (deaths < 0).any(axis=0),
        f"deaths not whole numbers up to {MOST}": (
            ((deaths > MOST) | ((deaths >= 0) & (deaths != np.floor(deaths)))).any(axis=0)
        ),
        "type_of_violence is not 1, 2 or 3": ~np.isin(values["type"], list(TYPES)),
        "latitude not in -90 to 90 or longitude not in -180 to 180": off,
        "no cell: priogrid_gid empty or not 1 to 259200, and latitude or longitude empty or no number (a decimal comma?)": (
            (values["gid"] < 1) & ~off
        ),
    }


def _numbers(chunk: pd.DataFrame, name: str) -> np.ndarray:
    """A column as float64; NaN where it is missing or no number. Ids above 2**53 do not occur."""
    if name not in chunk:
        return np.full(len(chunk), np.nan)
    return pd.to_numeric(chunk[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _days(texts: pd.Series) -> np.ndarray:
    """Days as datetime64[s], NaT where a text is no date; the time of day does not matter."""
    days = texts.astype("string").str.strip().str.slice(0, 10)
    return pd.to_datetime(days, format="%Y-%m-%d", errors="coerce").to_numpy("datetime64[s]")


def _cells(gid: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, ...]:
    """gid as published, else from the coordinates (0: neither); off the globe; disagreeing; computed."""
    placed = ~(np.isnan(latitude) | np.isnan(longitude))
    off = placed & ((np.abs(latitude) > 90) | (np.abs(longitude) > 180))
    own = np.zeros(len(gid), np.int64)
    inside = placed & ~off
    own[inside] = priogrid.gid_of(latitude[inside], longitude[inside])
    published = (gid >= 1) & (gid <= priogrid.CELLS) & (gid == np.floor(gid))
    out = np.where(published, np.nan_to_num(gid), own).astype(np.int64)
    return out, off, published & inside & (out != own), inside & ~published


def _told(text: str, n: int, first: dict) -> str:
    about = [*("best", "high", "low") * ("deaths" in text), *re.findall(r"\w+", text)]
    keys = [k for k in first if k in about or SPELLINGS[k][0] in about]
    keys = keys or [k for k in ("date_start", "gid") if k in first]
    shown = ", ".join(f"{SPELLINGS[k][0]} {_plain(first[k])}" for k in keys)
    event = _plain(first["id"]) if "id" in first else "without id"
    return f"{n} event{'s' * (n > 1)}: {text}; first: event {event} ({shown})"


def _plain(value: Any) -> str:
    """A value as the file has it, as near as pandas lets us know: 17167.0 was 17167."""
    if isinstance(value, float | np.floating):
        return str(int(value)) if value.is_integer() else "empty" if np.isnan(value) else str(value)
    return repr(value) if isinstance(value, str) else str(value)


def check_events(
    events: pd.DataFrame,
    start: str | None = None,
    stop: str | None = None,
    where_prec: int | None = None,
    date_prec: int | None = None,
    months: str = "start",
) -> None:
    """Refuse a period, precision or month rule that cannot be, or that leaves no event.

    Raises
    ------
    ValueError
        Every fault, with what is allowed.
    """
    faults = [f"months = {months!r} is not allowed: {', '.join(MONTH_RULES)}"] * (months not in MONTH_RULES)
    for name, value, most in (("where_prec", where_prec, 7), ("date_prec", date_prec, 5)):
        if value is not None and not 1 <= value <= most:
            faults.append(f"{name} = {value!r} is not allowed: 1 (exact) to {most}, or nothing for all events")
        elif value is not None and name not in events.attrs.get("columns", [name]):
            faults.append(f"{name} = {value!r}, but a file has no such column: leave it empty")
    faults += [
        f"{name} of the period = {value!r} is no month: write it as 1990-01"
        for name, value in (("start", start), ("stop", stop))
        if value is not None and not re.match(MONTH, str(value))
    ]
    if not len(events):
        faults.append("the files hold no events")
    if not faults:
        there = int(events["month_start"].min()), int(events["month_end"].max())
        first = there[0] if start is None else month_of(start)
        last = there[1] if stop is None else month_of(stop)
        held = " to ".join(map(month_text, there))
        if first > last:
            faults.append(
                f"the period begins in {month_text(first)} and ends in {month_text(last)}: the files hold events from {held}"
            )
        elif not len(place_events(select_events(events, where_prec, date_prec), months, first, last)):
            faults.append(
                f"no event from {month_text(first)} to {month_text(last)} with these settings: the files hold events from "
                f"{held}. Choose a `period` within those, or weaker filters in `event`"
            )
    refuse_all("The events cannot be used", faults)


def select_events(events: pd.DataFrame, where_prec: int | None = None, date_prec: int | None = None) -> pd.DataFrame:
    """Events whose place and date are known at least so well (1 is exact); unknown precision is not kept."""
    keep = np.ones(len(events), bool)
    for name, most in (("where_prec", where_prec), ("date_prec", date_prec)):
        if most is not None:
            keep &= events[name].between(0, most).to_numpy()
    return events[keep]


def place_events(
    events: pd.DataFrame, months: str = "start", start: int | None = None, stop: int | None = None
) -> pd.DataFrame:
    """Give every event its month.

    Parameters
    ----------
    months : str
        ``start``, ``end``: the month in which an event begins or ends; ``spread``: a row for each month it touches, with
        `share` = 1 / their number, by which deaths and counts are divided.
    start, stop : int, optional
        Months since 1970-01; events outside are left out.

    Returns
    -------
    DataFrame with `month` and `share` beside the events' columns
    """
    if months == "spread":
        lasts = (events["month_end"] - events["month_start"] + 1).to_numpy()
        row = np.repeat(np.arange(len(events)), lasts)
        step = np.arange(len(row)) - np.repeat(np.cumsum(lasts) - lasts, lasts)
        placed = events.iloc[row].reset_index(drop=True)
        placed["month"], placed["share"] = placed["month_start"].to_numpy() + step, 1.0 / lasts[row]
    else:
        placed = events.assign(month=events[f"month_{months}"], share=1.0)
    return placed[placed["month"].between(-MOST if start is None else start, MOST if stop is None else stop)]


def month_of(text: Any) -> int:
    """Months since 1970-01 of "1990-01" (or of a date in it).

    >>> month_of("1990-01")
    240
    """
    if not re.match(MONTH, str(text)):
        raise ValueError(f"{text!r} is no month: write it as 1990-01")
    return int(np.datetime64(str(text)[:7], "M").astype(int))


def month_text(month: int) -> str:
    """The month as "1990-01".

    >>> month_text(240)
    '1990-01'
    """
    return str(np.datetime64(int(month), "M"))
