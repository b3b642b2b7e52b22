"""UCDP event files of every kind -> one compact table of events, with every fault of the files found first.

The data: UCDP Georeferenced Event Dataset (Sundberg and Melander 2013, Journal of Peace Research 50(4), 523-532), CC BY 4.0.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.conventions import refuse
from geonb.workloads.conflict import priogrid, tables
from geonb.workloads.conflict.event_files import SPELLINGS, EventFile, Paths, lacking_pages, open_files

TYPES = {1: "state", 2: "nonstate", 3: "onesided"}  # UCDP's codes: state-based, non-state, one-sided
DTYPES: dict[str, Any] = {
    "id": np.int64, "gid": np.int32, "row": np.int16, "column": np.int16, "month_start": np.int32,
    "month_end": np.int32, "type": np.int8, "best": np.int32, "high": np.int32, "low": np.int32, "where_prec": np.int8,
    "date_prec": np.int8, "country_id": np.int32,
}  # fmt: skip
CHUNK_ROWS = 50_000
MONTH = r"\d{4}-(0[1-9]|1[0-2])(-\d{2}|$)"
MONTH_RULES = ("start", "end", "spread")
YEARS = (1900, 2099)  # beyond these a date is a slip of the pen, and would make a cube of a thousand years
MOST = 2**31 - 1  # deaths that the table can hold
FEW = 0.01  # share of a file's events up to which a contradiction is UCDP's own, and counted; above, the file is another than it seems
FAULTS, OVERLAPS = ("raise", "drop"), ("raise", "first", "both")
FAR = "priogrid_gid is neither the cell at latitude and longitude nor one beside it; leave one of the two out, if the other is right"
TWICE = "id is that of an earlier event of the file, which is another"
ALIKE = ["month_start", "month_end", "gid", "type", "best"]  # what the same killings share in two releases


@dataclass
class Found:
    """What was noticed while files were read, beside their events.

    Attributes
    ----------
    faulty : fault -> how many events, and the first of them
    counts : what was odd -> how many events
    countries : country_id -> name
    numbered : path of a file whose column gid is no cell's number -> how many events disagree, and of how many
    recoded : path of a file that is not in UTF-8 -> the first name that was read as Windows-1252
    """

    faulty: dict[str, tuple[int, dict]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    countries: dict[int, str] = field(default_factory=dict)
    numbered: dict[str, tuple[int, int]] = field(default_factory=dict)
    recoded: dict[str, str] = field(default_factory=dict)


def read_events(paths: Paths, faults: str = "raise", overlap: str = "raise") -> pd.DataFrame:
    """Read UCDP event files into one compact table.

    Global and candidate releases, the export of the Humanitarian Data Exchange (its row of HXL tags is skipped), a zipped
    CSV, GeoJSON, pages of UCDP's web service (JSON); columns in any order and either spelling. Only the columns needed are
    read, in pieces, so that a global file stays small.

    Parameters
    ----------
    paths : path, list of paths, or text with commas
        An event id that was there before is dropped and counted: the first file wins, so name final releases before
        candidate ones.
    faults : str
        ``raise``: one error that lists every fault of every file; ``drop``: faulty events are left out and counted.
    overlap : str
        What becomes of events of months, countries and types that an earlier file covers, under ids of their own:
        ``raise``: an error, where they are more than a few; ``first``: left out and counted; ``both``: kept and counted.

    Returns
    -------
    DataFrame, a row an event, in the order of the files
        id; gid, as UCDP published it, else from the coordinates; row, column (0 is the south-west); month_start,
        month_end (months since 1970-01); type (1 state-based, 2 non-state, 3 one-sided); best, high, low (deaths; -1 high
        and low of a file without that column); where_prec, date_prec (-1 unknown); country_id (Gleditsch-Ward, 0 unknown).
        attrs: ``report`` (what was counted, see `remarks`), ``countries`` (names by country_id), ``columns``, ``simulated``,
        ``rules`` (`faults` and `overlap`).

    Raises
    ------
    ValueError
        Files not there, columns missing, lines that are no rows, dates that are none, end before start, negative deaths, a
        type of violence that is not 1-3, coordinates off the globe or in another cell than the one published: all of them,
        with the first event each. Releases that overlap.
    """
    for name, value, allowed in (("faults", faults, FAULTS), ("overlap", overlap, OVERLAPS)):
        if value not in allowed:
            raise ValueError(f"{name} = {value!r} is not allowed: {', '.join(allowed[:-1])} or {allowed[-1]}.")
    files = open_files(paths)
    lacks = [text for file in files for text in file.lacks()] + lacking_pages(files)
    refuse("The event files cannot be used", lacks)
    pieces, found = [], []
    for number, file in enumerate(files):
        table, noticed = _read(file)
        pieces.append(table.assign(file=np.int16(number)))
        found.append(noticed)
    if faults == "raise":
        lines = [
            f"{file.path}: {_told(text, *facts)}"
            for file, noticed in zip(files, found, strict=True)
            for text, facts in noticed.faulty.items()
        ]
        cure = "Correct the files, or leave such events out and count them: faults = drop."
        refuse("The events have faults", lines, cure=cure)
    return _joined(pd.concat(pieces, ignore_index=True), files, found, {"faults": faults, "overlap": overlap})


def remarks(report: dict[str, Any]) -> list[str]:
    """What `read_events` and the cube counted that a reader of the results must know: a sentence each.

    Parameters
    ----------
    report : dict
        attrs["report"] of the events, or of a store.
    """
    said = [
        f"{Path(name).name}: the column gid is another cell than the coordinates for {n:,} of {both:,} events, so it is no number of "
        "PRIO-GRID's: the coordinates count."
        for name, (n, both) in report.get("numbered", {}).items()
    ]
    said += [
        f"{Path(k).name} is not in UTF-8: read as Windows-1252, as in {v!r}."
        for k, v in report.get("recoded", {}).items()
    ]
    numbers = {
        "Cell numbers that are not the cell at their event's coordinates, and count nevertheless": "gid_disagrees",
        "Events left out because an earlier one has their id": "duplicate_ids",
        "Events without an id, of which one that is listed twice counts twice": "without_id",
        "Events without a country_id, which count to no country": "without_country_id",
        "Events left out because an earlier file covers their months": "overlapping_left_out",
        "Months before the first event read, which count as peaceful (do the files cover them?)": "months_before_events",
        "Months after the last event read, which count as peaceful (do the files cover them?)": "months_after_events",
    }
    counts = {text: report.get(key, 0) for text, key in numbers.items()}
    kept = sum(report.get("overlapping_files", {}).values()) - report.get("overlapping_left_out", 0)
    counts["Events in months that an earlier file covers, so that deaths may count twice"] = kept
    counts["Events left out for their faults"] = sum(report.get("faulty_dropped", {}).values())
    return said + [f"{text}: {n:,}." for text, n in counts.items() if n]


def _joined(events: pd.DataFrame, files: list[EventFile], found: list[Found], rules: dict[str, str]) -> pd.DataFrame:
    """Drop duplicates and gather what was noticed."""
    numbered = events["id"] >= 0
    again = events.duplicated("id") & numbered
    per_file = events["file"].value_counts().sort_index()
    counts, dropped = sum((noticed.counts for noticed in found), Counter[str]()), Counter[str]()
    for noticed in found:
        dropped.update({text: n for text, (n, _) in noticed.faulty.items()})
    refuse("The event files cannot be used together", _foreign_ids(events, again, files))
    events = events[~again]
    over, texts = _overlaps(events, files)
    if rules["overlap"] == "raise":
        cure = (
            "If they are releases of the same data, name the better one first (final before candidate) and leave the others' events of "
            f"its months out: faults = {rules['faults']}:overlap=first. If they hold different events, keep all: "
            f"faults = {rules['faults']}:overlap=both."
        )
        refuse("The event files overlap", texts, cure=cure)
    leave = over & (rules["overlap"] == "first")
    report = {
        "files": {str(file.path): int(per_file.get(n, 0)) for n, file in enumerate(files)},
        "events": len(events) - int(leave.sum()),
        "duplicate_ids": int(again.sum()),
        "without_id": int((~numbered).sum()),
        "without_country_id": int((events["country_id"][~leave] == 0).sum()),
        "faulty_dropped": dict(dropped),
        "simulated": any(file.simulated for file in files),
        "hxl_rows_skipped": sum(isinstance(file.rows, tables.Table) and file.rows.tags for file in files),
        **{k: counts[k] for k in ("gid_from_coordinates", "gid_disagrees", "best_outside_low_high", "spans_months")},
        "numbered": {k: v for noticed in found for k, v in noticed.numbered.items()},
        "recoded": {k: v for noticed in found for k, v in noticed.recoded.items()},
        "overlapping_files": {str(files[n].path): int(k) for n, k in events["file"][over].value_counts().items()},
        "overlapping_left_out": int(leave.sum()),
    }
    countries = {k: v for noticed in reversed(found) for k, v in noticed.countries.items()}
    events = events.loc[~leave, list(DTYPES)].reset_index(drop=True)
    columns = sorted(set.intersection(*(set(file.columns) for file in files)))
    events.attrs = {"report": report, "countries": countries, "columns": columns, "simulated": report["simulated"]}
    events.attrs["rules"] = rules
    return events


def _foreign_ids(events: pd.DataFrame, again: pd.Series, files: list[EventFile]) -> list[str]:
    """Files whose ids are, for most that an earlier file has too, those of other events: each numbers its own."""
    both = events[again].merge(events[~again], on="id", suffixes=("", "_before"))
    both["other"] = np.any([both[k] != both[f"{k}_before"] for k in ("month_start", "gid", "type")], axis=0)
    return [
        f"{files[number].path}: {len(same):,} of its events have the id of an event of an earlier file, but {n:,} are of another month, "
        "cell or type, so these ids are the file's own. Number the events of all files as one, or take the column out"
        for number, same in both.groupby("file")
        if (n := int(same["other"].sum())) > len(same) / 2
    ]


def _overlaps(events: pd.DataFrame, files: list[EventFile]) -> tuple[np.ndarray, list[str]]:
    """Which events lie in months, countries and are of types that an earlier file covers; the files where these are many.

    Under ids of their own they would count twice. A file covers the months from its first to its last event.
    """
    parts = [events[events["file"] == number] for number in range(len(files))]
    spans = [(part["month_start"].min(), part["month_start"].max()) for part in parts]  # NaN of none
    over, texts = pd.Series(False, events.index), []
    for number, part in enumerate(parts):
        for file, before, (first, last) in zip(files, parts[:number], spans, strict=False):
            inside = part[(part["month_start"] >= first) & (part["month_end"] <= last)]
            if inside.empty or (
                file.total and file.total == files[number].total
            ):  # pages of one answer are one release
                continue
            known = [*before["country_id"].unique(), 0]  # an event of an unknown country may be of any
            there = inside["country_id"].isin(known) | (before["country_id"] == 0).any()
            inside = inside[there & inside["type"].isin(before["type"].unique())]
            over[inside.index] = True
            if len(inside) > FEW * min(len(part), len(before)):
                alike = len(inside[ALIKE].merge(before[ALIKE].drop_duplicates()))
                texts.append(
                    f"{files[number].path}: {len(inside):,} of its {len(part):,} events lie in months and countries that {file.path} "
                    f"covers too, so that deaths would count twice; {alike:,} have the month, cell, type and deaths of an event there"
                )
    return over.to_numpy(), texts


def _read(file: EventFile) -> tuple[pd.DataFrame, Found]:
    """A file's events, with what was noticed of them; a column gid that numbers something else than cells is left out."""
    found = Found()
    table = pd.concat([_tidy(chunk, found) for chunk in file.chunks(CHUNK_ROWS)], ignore_index=True)
    far, both = int(table["far"].sum()), found.counts["placed_twice"]
    anyones = (
        file.columns.get("gid", "").strip().lower() == "gid"
    )  # PRIO's name for it in its tables, and many a database's
    if anyones and far > FEW * both:
        table, found = _read(file.without("gid"))
        found.numbered[str(file.path)] = far, both
        return table, found
    if anyones and not both and len(table) > 9 and (np.diff(table["gid"]) > 0).all():
        raise ValueError(
            f"{file.path}: the column gid rises from row to row, from {table['gid'].iloc[0]} to {table['gid'].iloc[-1]}, as a database's "
            "number of the row does, and no coordinates tell. Give latitude and longitude; or if these are PRIO-GRID's cells, "
            "name the column priogrid_gid."
        )
    wrong = table["far"].astype(bool)
    if far <= FEW * both:
        found.faulty.pop(FAR, None)
        wrong = wrong & False
    again = table.duplicated("id") & (table["id"] >= 0) & ~table.duplicated([*DTYPES])
    if again.any():
        found.faulty[TWICE] = int(again.sum()), {"id": _text_of(file, table["id"][again].iloc[0])}
    for code, name in found.countries.items():
        if (read := tables.mended(name)) != name:
            found.countries[code] = read
            found.recoded.setdefault(str(file.path), read)
    return table.loc[~(wrong | again), [*DTYPES]], found


def _tidy(chunk: pd.DataFrame, found: Found) -> pd.DataFrame:
    """Numbers, cells and months of those rows that can be used; `far` says whether place and cell number contradict each other."""
    values = {name: _numbers(chunk, name) for name in SPELLINGS if name not in ("date_start", "date_end", "country")}
    values["id"] = _ids(chunk)
    start = _days(chunk["date_start"])
    end = _days(chunk["date_end"]) if "date_end" in chunk else start
    gid, off, both, disagrees, computed = _cells(values["gid"], values["latitude"], values["longitude"])
    values["gid"] = gid
    wrong = _faults(values, start, end, off)
    wrong |= {f"{k} is not a number": np.isnan(values[k]) for k in ("best", "high", "low") if k in chunk}
    good = ~np.logical_or.reduce(list(wrong.values()))
    far = good & both & priogrid.far_from(gid, values["latitude"], values["longitude"])
    for text, mask in (wrong | {FAR: far}).items():
        if mask.any():
            n, first = found.faulty.get(text, (0, chunk[mask].iloc[0].to_dict()))
            found.faulty[text] = n + int(mask.sum()), first
    known = [name for name in DTYPES if name in values]
    table = {k: _held(values[k][good], k) for k in known}
    table["month_start"], table["month_end"] = (d[good].astype("datetime64[M]").astype(np.int64) for d in (start, end))
    table["row"], table["column"] = priogrid.cell_of(table["gid"])
    low, best, high = (table[k] for k in ("low", "best", "high"))
    found.counts.update(
        placed_twice=int((both & good).sum()),
        gid_from_coordinates=int((computed & good).sum()),
        gid_disagrees=int((disagrees & good).sum()),
        best_outside_low_high=int((((high >= 0) & (high < best)) | (low > best)).sum()),
        spans_months=int((table["month_end"] > table["month_start"]).sum()),
    )
    if "country" in chunk:
        named = pd.Series(chunk["country"].to_numpy()[good], table["country_id"].astype(int)).dropna()
        names = {int(k): str(v) for k, v in named[~named.index.duplicated()].items() if k}
        found.countries |= {k: v for k, v in names.items() if k not in found.countries}
    return pd.DataFrame({k: table[k].astype(dtype) for k, dtype in DTYPES.items()}).assign(far=far[good])


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


def _text_of(file: EventFile, number: int) -> Any:
    """An id as the file has it."""
    chunks = file.chunks(CHUNK_ROWS)
    return next(chunk["id"][same].iloc[0] for chunk in chunks if (same := _ids(chunk) == number).any())


def _numbers(chunk: pd.DataFrame, name: str) -> np.ndarray:
    """A column as float64; NaN where it is missing or no number."""
    if name not in chunk:
        return np.full(len(chunk), np.nan)
    column = chunk[name] if chunk[name].dtype.kind in "iuf" else chunk[name].astype("string")  # TRUE is not 1
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _ids(chunk: pd.DataFrame) -> np.ndarray:
    """Ids as int64: whole numbers that float64 holds, else a hash of the text; -1 where there is none, or one below 0."""
    numbers = _numbers(chunk, "id")
    plain = (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
    ids = np.where(plain & (numbers >= 0), numbers, -1).astype(np.int64)
    if "id" in chunk and chunk["id"].dtype.kind != "f" and not plain.all():  # a float beyond may be several ids
        texts = chunk["id"].astype("string").str.strip().fillna("").to_numpy(object)
        other = ~plain & (texts != "")
        ids[other] = pd.util.hash_array(texts[other]) >> np.uint64(1)
    return ids


def _held(values: np.ndarray, name: str) -> np.ndarray:
    """Numbers as the table can hold them; what is none, below 0 or too large is unknown."""
    unknown = 0 if name == "country_id" else -1
    return np.where((values >= 0) & (values <= np.iinfo(DTYPES[name]).max), values, unknown)


def _days(texts: pd.Series) -> np.ndarray:
    """Days as datetime64[s], of 2009-06-09 or, with points, 09.06.2009; NaT of other texts. The time of day does not matter."""
    days = texts.astype("string").str.strip().str.slice(0, 10)
    found = pd.to_datetime(days, format="%Y-%m-%d", errors="coerce").to_numpy("datetime64[s]", copy=True)
    if (other := np.isnat(found)).any():
        found[other] = pd.to_datetime(days[other], format="%d.%m.%Y", errors="coerce").to_numpy("datetime64[s]")
    return found


def _cells(gid: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, ...]:
    """gid as published, else from the coordinates (0: neither); off the globe; having both; these disagreeing; computed."""
    placed = ~(np.isnan(latitude) | np.isnan(longitude))
    off = placed & ((np.abs(latitude) > 90) | (np.abs(longitude) > 180))
    own = np.zeros(len(gid), np.int64)
    inside = placed & ~off
    own[inside] = priogrid.gid_of(latitude[inside], longitude[inside])
    published = (gid >= 1) & (gid <= priogrid.CELLS) & (gid == np.floor(gid))
    out = np.where(published, np.nan_to_num(gid), own).astype(np.int64)
    return out, off, published & inside, published & inside & (out != own), inside & ~published


def _told(text: str, n: int, first: dict) -> str:
    about = [*("best", "high", "low") * ("deaths" in text), *re.findall(r"\w+", text)]
    keys = [k for k in first if k in about or SPELLINGS[k][0] in about]
    keys = keys or [k for k in ("date_start", "gid") if k in first]
    shown = ", ".join(f"{SPELLINGS[k][0]} {_plain(first[k])}" for k in keys)
    event = first.get("id", "without id")
    event = event.strip() if isinstance(event, str) else _plain(event)
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
    refuse("The events cannot be used", faults)


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
