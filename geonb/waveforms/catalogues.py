"""Catalogues of events as one table, from QuakeML, CSV and Nordic: what a file does not say stays empty, what was taken is told."""

from __future__ import annotations

import glob
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from geonb.base import files, times
from geonb.base.conventions import refuse, short
from geonb.base.project import expand_files

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("event_id", "time", "kind", "latitude", "longitude", "depth_km", "magnitude", "magnitude_type")
KINDS = {  # QuakeML's event types, words of networks and the codes of the ISC (k: known, s: suspected) that are ours
    "earthquake": "earthquake, felt earthquake, damaging earthquake, tectonic, eq, ke, se, fe, de",
    "explosion": "explosion, accidental explosion, chemical explosion, controlled explosion, experimental explosion, mining explosion, "
    "industrial explosion, nuclear explosion, nuclear test, quarry blast, quarry explosion, mine blast, blast, shot, road cut, "
    "blasting levee, ex, px, qb, km, sm, kh, sh, kx, sx, kn, sn",
    "induced": "induced, induced or triggered event, rock burst, reservoir loading, fluid injection, fluid extraction, ki, si, kr, sr",
    "noise": "noise, not existing",
    "": ", not reported, unknown, uk, none, nan, nat, null, na, n/a, -",
}
KIND_OF = {word.strip(): kind for kind, words in KINDS.items() for word in words.split(",")}
QUAKEML = {"induced": "induced or triggered event", "noise": "not existing", "": None}  # the others are called the same
SPELLINGS = {  # of columns, in small letters; the first that is there counts
    "event_id": "event_id, eventid, id, evid, source_id, event", "kind": "kind, event_type, eventtype, source_type, etype, type",
    "time": "time, origin_time, origintime, source_origin_time, datetime, date_time", "depth_km": "depth_km, source_depth_km",
    "latitude": "latitude, lat, source_latitude_deg, source_latitude", "depth_m": "depth_m, source_depth_m",
    "longitude": "longitude, lon, long, source_longitude_deg, source_longitude", "depth": "depth, source_depth",
    "magnitude": "magnitude, mag, source_magnitude, preferred_source_magnitude",
    "magnitude_type": "magnitude_type, magtype, mag_type, source_magnitude_type, preferred_source_magnitude_type",
}  # fmt: skip
RANGES = {"latitude": (-90, 90), "longitude": (-180, 360), "depth_km": (-12, 800), "magnitude": (-5, 11)}
OURS = "smi:geonb/event/"  # what an id begins with in QuakeML that we write
FIRST_P = ("p", "P", "Pn", "Pg", "Pdiff", "PKP", "PKIKP")  # what TauP calls the first P
PICKED = {*FIRST_P, "Pb", "P*", "PKPdf"}  # what analysts call a first P


def read_events(paths: str | Path | Iterable[str | Path], kind: str = "", root: Path | None = None) -> pd.DataFrame:
    """Events of QuakeML, CSV (any separator; FDSN's text too) and whatever else ObsPy reads, as SEISAN's Nordic.

    Parameters
    ----------
    paths : files or globs, comma separated, or a list
    kind : str
        Of events of which their file says none; empty: nobody said.
    root : Path, optional
        Where else than here relative paths begin; the checkout by default.

    Returns
    -------
    DataFrame as :func:`events_of` gives it

    Raises
    ------
    ValueError
        Listing every file that cannot be read, id that is there twice, time that is none, and impossible place.
    """
    import pandas as pd

    faults, texts = list[str](), [pd.DataFrame(columns=["where"])]
    named = str(paths) if isinstance(paths, str | Path) else list(paths)
    for path in expand_files(named, faults, "events", root):
        try:
            texts.append(_texts(path))
        except Exception as error:  # of whichever library reads it
            faults.append(f"{path}: {short(error)}. Give QuakeML, Nordic, or a CSV with a column of times, `time`")
    return events_of(pd.concat(texts, ignore_index=True), kind, faults)


def _named(names: Iterable[str]) -> dict[int, str]:
    """Place of a column -> our name, of names in any spelling."""
    at = {re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_"): i for i, name in reversed([*enumerate(names)])}
    found = {ours: [at[s] for s in spelt.split(", ") if s in at] for ours, spelt in SPELLINGS.items()}
    return {where[0]: ours for ours, where in found.items() if where}


def _texts(path: Path) -> pd.DataFrame:
    """Columns of a text table, or what ObsPy reads where there is no column of times; and `where` each event stands."""
    import pandas as pd

    if sep := _separator(path):
        table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        table = table.iloc[:, list(named := _named(table.columns))].set_axis(list(named.values()), axis=1)
        return table.assign(where=[f"{path.name}, line {n + 2}" for n in range(len(table))])
    from obspy.core.event import Magnitude

    rows = []
    for n, event in enumerate(_read(path), 1):
        origin, size = _origin(event), event.preferred_magnitude() or next(iter(event.magnitudes), Magnitude())
        said, sure = event.event_type or "", event.event_type_certainty
        # where a Nordic line says nothing, and only there, ObsPy says that it is a suspected earthquake
        said = "" if getattr(event, "_format", "") == "NORDIC" and (said, sure) == ("earthquake", "suspected") else said
        rows.append([_event_id(event), origin.time, said, origin.latitude, origin.longitude, origin.depth, size.mag,
                     size.magnitude_type, f"{path.name}, event {n}"])  # fmt: skip
    columns = [*(name.replace("depth_km", "depth_m") for name in COLUMNS), "where"]
    return pd.DataFrame([["" if v is None else str(v) for v in row] for row in rows], columns=columns)


def _separator(path: Path) -> str:
    """What parts the columns of a text table; empty if it is none with a column of times."""
    first = path.read_text(encoding="utf-8-sig", errors="replace").partition("\n")[0]
    sep = max(",;|\t", key=first.count)
    return sep if len(names := set(_named(first.split(sep)).values())) > 1 and "time" in names else ""


def _read(path: Path) -> Any:
    import obspy

    with warnings.catch_warnings(action="ignore"):  # of lines that are none of ours
        return obspy.read_events(glob.escape(str(path)))


def _origin(event: Any) -> Any:
    from obspy.core.event import Origin

    return event.preferred_origin() or next(iter(event.origins), Origin())


def read_picks(
    paths: str | Path | Iterable[str | Path], notes: list[str], root: Path | None = None
) -> dict[tuple[str, str], pd.Timestamp]:
    """When the first P of each event reached each station, as somebody picked it, by (event_id, NET.STA); of text tables nothing.

    A pick is of the phase that its arrival at the preferred origin has, else of its own hint. Rejected ones do not count, nor do those
    without a network's code, because nobody says whose station it is; `notes` counts these.

    Parameters
    ----------
    paths, root : as :func:`read_events` takes them, which refuses what cannot be read

    Returns
    -------
    dict of times in UTC, without a zone
    """
    import pandas as pd

    found, nameless = dict[tuple[str, str], pd.Timestamp](), 0
    for path in expand_files(str(paths) if isinstance(paths, str | Path) else list(paths), [], "events", root):
        for event in [] if _separator(path) else _read(path):
            origin = _origin(event)
            phases = {str(arrival.pick_id): arrival.phase for arrival in origin.arrivals}
            name = _event_id(event) or _id_of(pd.Series([pd.Timestamp(str(origin.time))]))[0]
            for pick in event.picks:
                phase, seed = phases.get(str(pick.resource_id)) or pick.phase_hint, pick.waveform_id
                if phase not in PICKED or pick.evaluation_status == "rejected":
                    continue
                if not (seed and seed.network_code and seed.station_code):
                    nameless += 1
                    continue
                key, time = (name, f"{seed.network_code}.{seed.station_code}"), pd.Timestamp(pick.time.ns)
                found[key] = min(time, found.get(key, time))
    notes += [f"picks of P without a network's or a station's code, left out: {nameless}"] if nameless else []
    return found


def _event_id(event: Any) -> str:
    """An event's id: what tells it apart in its resource identifier, or SEISAN's; empty where ObsPy made one up."""
    whole = str(event.resource_id.id)
    if whole.startswith(OURS):
        return unquote(whole.removeprefix(OURS).replace("~", "%"))
    if re.fullmatch(r"smi:local/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", whole):
        return next((m[1] for c in event.comments if (m := re.search(r"\bID:(\d{14})", c.text or ""))), "")
    query = re.search(r"eventid=([^&]+)", whole, re.IGNORECASE)
    return query[1] if query else whole.rpartition("/")[2]


def events_of(table: pd.DataFrame, kind: str = "", faults: Iterable[str] = ()) -> pd.DataFrame:
    """A catalogue of a table whose columns are called in any of :data:`SPELLINGS`.

    Parameters
    ----------
    table : DataFrame
        With `where`, for messages, each row stands, if it has such a column.
    kind : str
        Of events that say none.

    Returns
    -------
    DataFrame with :data:`COLUMNS`, by time: `time` datetime64[ns] UTC; NaT, NaN or "" where unknown. `attrs["notes"]` tells what was
    taken, made or left empty

    Raises
    ------
    ValueError
        Listing what is wrong with it, after other `faults`.
    """
    import pandas as pd

    faults, table = list(faults), table.reset_index(drop=True)
    where = table.get("where", pd.Series([f"row {n}" for n in table.index]))
    texts = pd.concat({ours: table.iloc[:, i] for i, ours in _named(table.columns).items()} or {"time": where}, axis=1)
    texts = texts.astype(object).where(texts.notna(), "").astype(str).apply(lambda column: column.str.strip())
    texts = texts.mask(texts.apply(lambda column: column.str.lower().map(KIND_OF.get) == ""), "")
    texts = texts.reindex(columns=list(SPELLINGS), fill_value="")
    numbers = [*RANGES, "depth_m", "depth"]
    frame = texts[numbers].apply(pd.to_numeric, errors="coerce").astype(float)
    frame["time"] = times.decoded(texts["time"], {})
    for name in ("time", *numbers):
        odd = frame[name].isna() & (texts[name] != "")
        what = "time. Write 2020-01-31T12:00:00Z" if name == "time" else "number"
        faults += [f"{where[i]}: {name} = {texts[name][i]!r} is no {what}" for i in table.index[odd]]
    unsaid = frame["depth"].notna() & frame["depth_km"].isna() & frame["depth_m"].isna()
    frame["depth_km"] = frame["depth_km"].fillna(frame["depth_m"] / 1000).fillna(frame["depth"])
    none, east, nameless = frame["magnitude"] <= -9, frame["longitude"] > 180, texts["event_id"] == ""
    frame["magnitude"] = frame["magnitude"].mask(none)
    for name, (low, high) in RANGES.items():
        bad = ~(frame[name].between(low, high) | frame[name].isna())
        faults += [f"{where[i]}: {name} = {frame[name][i]:g} is not from {low} to {high}" for i in table.index[bad]]
    frame["longitude"] -= 360.0 * east
    frame["event_id"] = texts["event_id"].mask(nameless, _id_of(frame["time"]))
    faults += [f"{where[i]}: it has neither an id nor a time" for i in table.index[frame["event_id"].isna()]]
    for name, rows in where[frame["event_id"].duplicated(keep=False)].groupby(frame["event_id"]):
        faults.append(f"event_id {name} is there {len(rows)} times ({'; '.join(rows[:4])}). Keep one")
    refuse("These events cannot be used", faults or ([] if len(table) else ["there is no event"]))
    words = texts["kind"].str.lower().str.replace(r"[\s_]+", " ", regex=True)
    kinds = words.str.replace(r"^(probable|suspected|possible|known) ", "", regex=True).map(KIND_OF)
    told = {"events without an id (made of the time)": nameless, "events without a time": frame["time"].isna(),
            "longitudes beyond 180, taken as west": east, "magnitudes of -9 or less, taken as unknown": none,
            "events without a magnitude": frame["magnitude"].isna(), "depths without a unit, taken as km": unsaid}  # fmt: skip
    told |= {f"events whose kind, {word}, is none of ours": words == word for word in sorted(set(words[kinds.isna()]))}
    frame = frame.assign(kind=kinds.fillna("").mask(kinds == "", kind), magnitude_type=texts["magnitude_type"])
    frame = frame[list(COLUMNS)].sort_values("time", kind="stable", ignore_index=True)
    frame.attrs["notes"] = [f"{text}: {mask.sum()}" for text, mask in told.items() if mask.any()]
    return frame


def _id_of(time: pd.Series) -> pd.Series:
    """What events without an id are called."""
    return time.dt.strftime("%Y%m%dT%H%M%S.%f").str[:-3]


def write_events(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write events as CSV (.csv) or QuakeML (.xml, .qml, .quakeml; times to the microsecond), whole or not at all.

    :func:`read_events` reads them back equal. A ValueError refuses another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".xml", ".qml", ".quakeml"):
        raise ValueError(f"{path}: the ending tells the format, .csv or .xml (QuakeML)")
    with files.whole_file(path) as partial:
        if path.suffix.lower() == ".csv":
            stamps = np.datetime_as_string(frame["time"].to_numpy("M8[ns]"), unit="ns", timezone="UTC")
            frame[list(COLUMNS)].assign(time=np.where(frame["time"].isna(), "", stamps)).to_csv(partial, index=False)
        else:
            _quakeml(frame).write(str(partial), "QUAKEML")
    return path


def _quakeml(frame: pd.DataFrame) -> Any:
    from obspy.core import UTCDateTime
    from obspy.core.event import Catalog, Event, Magnitude, Origin

    events = []
    for row in frame.to_dict("records"):
        # an id of any letters in the few that QuakeML lets pass
        name = re.sub(r"[^A-Za-z0-9.-]", lambda m: "".join(f"~{b:02X}" for b in m[0].encode()), row["event_id"])
        known = {key: float(row[key]) for key in RANGES if np.isfinite(row[key])}
        size, kind = Magnitude(mag=known.pop("magnitude", None), magnitude_type=row["magnitude_type"]), row["kind"]
        known |= {"depth": known.pop("depth_km") * 1000} if "depth_km" in known else {}
        known |= {"time": UTCDateTime(ns=row["time"].value)} if row["time"] == row["time"] else {}
        events.append(Event(resource_id=OURS + name, event_type=QUAKEML.get(kind, kind), origins=[Origin(**known)]))
        events[-1].magnitudes = [] if size.mag is None else [size]
    return Catalog(events)


def places(events: pd.DataFrame, latitude: Any, longitude: Any) -> pd.DataFrame:
    """Where events lie from a station or an array's reference, or each from one of its own (event,): geodesics on WGS84.

    By PROJ, because ObsPy's ``gps2dist_azimuth`` takes one pair at a time, and fails near antipodes.

    Returns
    -------
    DataFrame (event): distance_km, distance_deg, back_azimuth_deg (clockwise from north, at the station); NaN where a place is unknown
    """
    from pyproj import Geod

    lon, lat = events["longitude"], events["latitude"]
    azimuth, _, metres = Geod(ellps="WGS84").inv(0 * lon + longitude, 0 * lat + latitude, lon, lat)
    known = events.assign(distance_km=metres / 1000, distance_deg=metres / 111_195, back_azimuth_deg=azimuth % 360)
    known.loc[metres == 0, "back_azimuth_deg"] = np.nan
    return known[["distance_km", "distance_deg", "back_azimuth_deg"]]
