"""Recordings of the seismic workload: which archive holds what of which event, and how that becomes what a network sees.

Nothing is read but headers until the store is written, record by record: of an array and an event, or of a station and an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files as base_files
from geonb.base.conventions import refuse, short
from geonb.base.specs import Option, check_options
from geonb.waveforms import archives, arrays, catalogues, fetching, named, seisbench
from geonb.waveforms import beams as beaming
from geonb.waveforms.preparation import check_filters, prepare

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_MODEL = Option(
    "iasp91", choices=("iasp91", "ak135", "prem"), help="of ObsPy's TauP, for first P from origin and stations"
)
ARRIVALS = {
    "taup": {"model": _MODEL},
    "picks": {"model": _MODEL},  # each station's own in the catalogue, and TauP where it has none
    "offset": {
        "seconds": Option(
            50.0, float, 0, help="P (or an origin close by) is so long after the first sample of each file [s]"
        )
    },
}
BEAMS = {
    "auto": {},
    "none": {"components": Option("Z", help="of each station: Z, ZNE, ...")},
    "array": {
        "p_km_s": Option(6.45, float, above=0, help="apparent velocity of P, on Z [km/s]"),
        "s_km_s": Option(3.7, float, above=0, help="of S, on R and T [km/s]"),
        "aperture_km": Option(10.0, float, above=0, help="sensors nearer than that to another are of one array"),
    },
}
CHANNELS = {"Z": "P beam, Z", "R": "S beam, R", "T": "S beam, T"}
RUN_IN_S = (
    10.0  # before a record: there the filter swings in, which would tell windows at the beginning of a file from others
)
INDUCED = ("earthquake", "drop")


@dataclass(frozen=True)
class Record:
    """What one array, or one station, saw of one event.

    Attributes
    ----------
    event : row of the catalogue, see :data:`geonb.waveforms.catalogues.COLUMNS`
    station : str, the array's name, or NET.STA
    sensors : NET.STA of all that belong to it
    rows : which rows of the archive's index hold it
    start : datetime64[ns] UTC, of the first sample; length_s : float, s
    p_s : float, s from the start to P
    distance_km, back_azimuth : from the station or the array's middle; NaN where a place is not known
    """

    event: dict[str, Any]
    station: str
    sensors: tuple[str, ...]
    rows: tuple[int, ...]
    start: Any
    length_s: float
    p_s: float
    distance_km: float = np.nan
    back_azimuth: float = np.nan


@dataclass(frozen=True)
class Recordings:
    """Everything that is prepared together: what notebook 01 hands to `store.write_store`."""

    sources: Mapping[str, Sequence[Record]]
    index: pd.DataFrame
    events: pd.DataFrame
    inventory: Any
    settings: Mapping[str, Any]
    name: str
    files: tuple[Path, ...]
    title: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()
    attribution: str = ""
    stations: tuple[str, ...] = ()  # the files of `inventory`
    guard_s: float = field(default=5.0)  # before P, where noise ends: origins and velocities are not exact

    @property
    def rate_hz(self) -> float:
        return float(self.settings["rate_hz"])

    @property
    def units(self) -> str:
        return str(self.index.attrs.get("units", "counts"))

    @property
    def channels(self) -> tuple[str, ...]:
        """Of what a network sees: beams, or components."""
        return (
            tuple(CHANNELS[c] for c in self.settings["beams"])
            if self.settings["beams"]
            else tuple(self.settings["components"])
        )

    @property
    def preparation(self) -> dict[str, Any]:
        """All that live must do, too, for JSON."""
        return {key: self.settings[key] for key in ("filters", "beams", "components", "rate_hz", "aperture_km")}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All that prepared records depend on, beside the contents of files."""
        return {
            "settings": dict(self.settings),
            "records": base_files.key_of(
                [
                    [r.event["event_id"], r.station, str(r.start), r.length_s, r.p_s, r.back_azimuth]
                    for part in self.sources.values()
                    for r in part
                ]
            ),
        }

    @cached_property
    def events_key(self) -> str:
        """Stands for the catalogue."""
        return base_files.key_of(self.events.astype(str).to_numpy().tolist())

    def samples_of(self, source: str) -> int:
        """Length of the longest record of a source."""
        return max(round(record.length_s * self.rate_hz) for record in self.sources[source])

    def prepared(self, source: str, i: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Record i as a network may see it: values (channel, time), 0 where there is none; valid (time,); what a reader should know."""
        record, samples = self.sources[source][i], self.samples_of(source)
        values, valid = np.zeros((len(self.channels), samples), np.float32), np.zeros(samples, bool)
        try:
            wave = self.waves(record)
            data, notes = wave["data"].to_numpy(), list(wave.attrs["notes"])
        except (ValueError, OSError) as error:
            return values, valid, [f"left out: {record.event['event_id']} at {record.station} ({short(error)})"]
        there = np.isfinite(data).all(0)
        values[:, : data.shape[1]] = np.where(there, data, 0)
        valid[: data.shape[1]] = there
        return values, valid, notes

    def waves(self, record: Record) -> xr.Dataset:
        """A record's beams, or its station's components: Dataset with ``data`` (component, time).

        Raises
        ------
        ValueError
            If nothing of it can be used: says why.
        """
        sensors = self.sensors(record)
        if self.settings["beams"]:
            return beaming.phase_beams(sensors, record.back_azimuth, self.settings["beams"])
        return sensors.isel(sensor=0).reindex(component=list(self.settings["components"]))

    def sensors(self, record: Record, filters: str | None = None) -> xr.Dataset:
        """All sensors of a record, prepared and, for beams, turned to R and T: Dataset with ``data`` (sensor, component, time)."""
        import pandas as pd

        start, rows = pd.Timestamp(record.start), self.index.loc[list(record.rows)]
        begin = max(start - pd.Timedelta(RUN_IN_S, "s"), rows["start"].min())
        found = archives.cut(
            rows, begin, start + pd.Timedelta(record.length_s, "s"), list(record.sensors), inventory=self.inventory,
            event_id=record.event["event_id"], array=record.station,
        )  # fmt: skip
        found = archives.without_dead(found)
        azimuth = record.back_azimuth if "R" in (self.settings["beams"] or ()) else None
        first = max(start, pd.Timestamp(found.attrs["start"]).tz_localize(None))
        length = record.length_s - (first - start).total_seconds() - 1 / self.rate_hz
        return prepare(
            found,
            filters or self.settings["filters"],
            self.rate_hz,
            back_azimuth_deg=azimuth,
            start=first,
            length_s=length,
        )


def open_recordings(
    archive: str,
    events: str | None,
    stations: str | None = None,
    *,
    arrival: str = "taup",
    filters: str = "bandpass",
    beams: str = "auto",
    rate_hz: float = 40.0,
    window_s: float = 240.0,
    before_s: float = 60.0,
    noise_s: float = 300.0,
    induced: str = "earthquake",
    name: str | None = None,
    **facts: Any,
) -> Recordings:
    """Look which archive holds what of which event; nothing but headers is read.

    Parameters
    ----------
    archive : files, folders or globs of waveforms, comma separated; a SeisBench folder; or an FDSN service, as
        :func:`geonb.waveforms.fetching.address_of` reads it, of which files are fetched
    events, stations : catalogue; StationXML, optional where arrivals are offsets or picks, of a service, and both of a SeisBench folder
    arrival : str
        Where P is, see :data:`ARRIVALS`; of a SeisBench folder, always where it was picked.
    filters : see :data:`geonb.waveforms.preparation.FILTERS`
    beams : str
        See :data:`BEAMS`; auto makes beams where three sensors lie together.
    window_s, before_s, noise_s : float, s
        A record begins noise_s before P (or with the archive) and ends where a window that begins before_s before P does, and a little
        later, so that windows can be shifted.
    induced : earthquake or drop
        What induced events count as.
    **facts : title, simulated, notes, attribution

    Raises
    ------
    ValueError
        Listing every fault of files and settings.
    """
    check_filters(filters, rate_hz)
    how, options = check_options("arrival", arrival, ARRIVALS)
    kind, array = check_options("beams", beams, BEAMS)
    faults = [f"induced = {induced!r}: it is {' or '.join(INDUCED)}"] * (induced not in INDUCED)
    parts = list(str(array.get("components", "Z")).upper())
    faults += [f"components = {''.join(parts)!r}: letters as ZNE"] * (not all(p.isalpha() for p in parts))
    bench, served = seisbench.folder_of(archive), fetching.is_address(archive)
    faults += [
        "arrival = taup needs stations (StationXML): travel times are from where to where? Or give offset:seconds=..."
    ] * (how == "taup" and not (stations or bench or served))
    if how == "offset" and (bench or served):
        faults.append(
            f"arrival = {arrival!r} is of files that are named by their event, and {archive} has none. Leave it out"
        )
    refuse("These recordings cannot be opened", faults)
    held = seisbench.open_folder(bench, rate_hz, events) if bench else None
    table = held.events if held else catalogues.read_events(events or "")
    notes = [*facts.pop("notes", ()), *table.attrs["notes"]]
    picks = catalogues.read_picks(events, notes) if how == "picks" and events else {}
    if how == "picks" and not (picks or stations or bench or served):
        wants = "Give a catalogue with picks (QuakeML), stations (StationXML), or offset:seconds=..."
        raise ValueError(f"arrival = {arrival}: {events} has no picks of P, and there are no stations. {wants}")
    is_induced = table["kind"] == "induced"
    if is_induced.any():
        notes.append(
            f"{int(is_induced.sum())} induced events "
            + ("count as earthquakes." if induced == "earthquake" else "are left out.")
        )
        table = (
            table.assign(kind=table["kind"].replace("induced", "earthquake"))
            if induced == "earthquake"
            else table[~is_induced]
        )
    spans = noise_s, window_s - before_s + 10.0
    around, model = (noise_s + RUN_IN_S, spans[1]), options.get("model", "iasp91")
    waveforms, metadata = fetching.brought(archive, table, around, stations, model)
    inventory = archives.read_stations(metadata) if metadata else None
    named = how == "picks" and not (bench or served) and archives.named_events(archive) & set(table["event_id"])
    if held or named or how == "offset":
        index = held.index if held else archives.read_event_files(archive, rate_hz, seconds=options.get("seconds", 0.0))
        notes += index.attrs["notes"]
        if named:
            index = arrays.own_p(index, table, inventory, picks, model, RUN_IN_S, notes)
        places = held.places if held and not inventory else {}
        sources = {"stations": list(_of_files(index, table, inventory, places, notes))}
        velocities = None
    else:
        index = archives.index_files(waveforms)
        notes += index.attrs["notes"]
        there = set(index["network"] + "." + index["station"])
        groups = arrays.arrays_of(inventory, there, array.get("aperture_km", 10.0)) if kind != "none" else {}
        if kind == "array" and not groups:
            raise ValueError(
                f"beams = {beams!r}: no {beaming.FEWEST} sensors of {stations} lie within {array['aperture_km']:g} km of each other"
            )
        velocities = {"Z": array.get("p_km_s", 6.45)} if groups else None
        if velocities and {"N", "E"} <= set(map(archives.component_of, index["channel"])):
            velocities |= dict.fromkeys("RT", array.get("s_km_s", 3.7))
        groups = groups or {
            f"{net}.{sta}": (f"{net}.{sta}",) for net, sta in index[["network", "station"]].drop_duplicates().to_numpy()
        }
        found = {
            group: list(_of_archive(index, table, inventory, group, sensors, options["model"], picks, spans, notes))
            for group, sensors in groups.items()
        }
        sources = (
            {k: v for k, v in found.items() if v}
            if velocities
            else {"stations": [r for part in found.values() for r in part]}
        )
    sources = {source: records for source, records in sources.items() if records}
    if not sources:
        refuse("The archive holds nothing of these events", notes[-20:], cure="Are the times of both in UTC?")
    used = sorted({row for part in sources.values() for record in part for row in record.rows})
    files = [Path(file) for file in index.loc[used, "file"].unique()]
    known = archives.files_of(metadata, "stations", [], None) if metadata else []
    files = [*(held.files if held else files), *known]  # where sensors are decides what a beam is
    settings = {
        "filters": filters,
        "rate_hz": float(rate_hz),
        "beams": velocities,
        "components": parts,
        "aperture_km": array.get("aperture_km", 10.0),
        "arrival": arrival,
    }
    return Recordings(
        sources, index, table, inventory, settings, name or Path(files[0]).parent.name, tuple(files), notes=tuple(notes),
        stations=tuple(map(str, known)), **facts,
    )  # fmt: skip


def _of_files(
    index: pd.DataFrame, events: pd.DataFrame, inventory: Any, places: Mapping[str, tuple[float, float]], notes: list[str]
) -> Iterator[Record]:  # fmt: skip
    """A record for each event and station of an archive whose traces are of one event each."""
    import pandas as pd

    by_id, run_in = {row["event_id"]: row for row in events.to_dict("records")}, pd.Timedelta(RUN_IN_S, "s")
    usable = index[(index["why"] == "") & (index["end"] - index["start"] > run_in)]
    here = usable[usable["event_id"].isin(list(by_id))]
    if strange := sorted(set(usable["event_id"]) - set(by_id)):
        notes.append(
            f"{len(strange)} events of the files are not in the catalogue, and left out: {', '.join(strange[:5])}"
        )
    if here.empty:
        return
    each = here.groupby(["event_id", "network", "station"])
    seen = each.agg(start=("start", "max"), end=("end", "min"), p=("p", "max")).reset_index()
    seen["name"], seen["start"] = seen["network"] + "." + seen["station"], seen["start"] + run_in
    middles = {name: places.get(name) or arrays.middle_of(inventory, [name]) for name in seen["name"].unique()}
    place = np.array([middles[name] for name in seen["name"]])
    seen = seen.join(catalogues.places(pd.DataFrame([by_id[name] for name in seen["event_id"]]), *place.T))
    length = (seen["end"] - seen["start"]).dt.total_seconds()
    before = (seen["p"] - seen["start"]).dt.total_seconds().fillna(length)  # noise has no P
    for row, n, p, group in zip(seen.itertuples(), length, before, each.groups.values(), strict=True):
        rows, start = tuple(group), row.start.to_datetime64()
        yield Record(
            by_id[row.event_id], row.name, (row.name,), rows, start, n, p, row.distance_km, row.back_azimuth_deg
        )


def _of_archive(
    index: pd.DataFrame, events: pd.DataFrame, inventory: Any, group: str, sensors: Sequence[str], model: str, picks: Mapping,
    spans: tuple[float, float], notes: list[str],
) -> Iterator[Record]:  # fmt: skip
    """A record for each event of which an archive holds what an array, or a station, saw."""
    import pandas as pd

    mine = index[(index["network"] + "." + index["station"]).isin(list(sensors))]
    middle, nowhere, run_in = arrays.middle_of(inventory, sensors), 0, pd.Timedelta(RUN_IN_S, "s")
    for event in events.to_dict("records"):
        distance, azimuth = arrays.seen_from(event, middle)
        p = arrays.p_at(event, sensors, distance, picks, model)
        if pd.isna(p):
            nowhere += 1
            continue
        begin, end = p - pd.Timedelta(spans[0], "s"), p + pd.Timedelta(spans[1], "s")
        rows = mine[(mine["start"] < end) & (mine["end"] > begin)]
        if rows.empty:
            continue
        each = rows.groupby(["network", "station"])
        begin, end = max(begin, each["start"].min().median() + run_in), min(end, each["end"].max().median())
        if begin >= p or end <= p:
            continue
        length, before = (end - begin).total_seconds(), (p - begin).total_seconds()
        yield Record(
            event, group, tuple(sensors), tuple(rows.index), begin.to_datetime64(), length, before, distance, azimuth
        )
    if nowhere:
        notes.append(
            f"{nowhere} events have no time, place or pick, or {group} has no place: their P is not known there."
        )
    if shallow := int(events["depth_km"].isna().sum()):
        notes.append(f"{shallow} events have no depth: their P is that of {arrays.DEPTH_KM:g} km.")


def summarise(recordings: Recordings) -> pd.DataFrame:
    """A row a source and kind: events, records, distances, magnitudes, and how much noise stands before P."""
    import pandas as pd

    rows = [
        {
            "source": source,
            "kind": r.event["kind"] or "unknown",
            "event": r.event["event_id"],
            "distance_km": r.distance_km,
            "magnitude": r.event["magnitude"],
            "noise_s": r.p_s,
        }
        for source, part in recordings.sources.items()
        for r in part
    ]
    table = pd.DataFrame(rows).groupby(["source", "kind"])
    ends = {
        name: table[name].agg(lambda v: "" if v.isna().all() else f"{v.min():,.1f} to {v.max():,.1f}")
        for name in ("distance_km", "magnitude")
    }
    counts = {"events": table["event"].nunique(), "records": table.size()}
    return pd.DataFrame(counts | ends | {"noise before P [s]": table["noise_s"].median()}).reset_index()


def recordings(archive: str | None, events: str | None, stations: str | None = None, **settings: Any) -> Recordings:
    """The user's recordings, see :func:`open_recordings`; without any those of a simulated array, which say so.

    Raises
    ------
    ValueError
        See :func:`geonb.waveforms.named.together`.
    """
    given = {"waveforms": archive, "events": events, "stations": stations}
    refuse("These cannot go together", named.together(given))
    if archive:
        return open_recordings(archive, events, stations, **settings)
    from geonb.workloads.seismic import examples

    home = examples.simulated_array()
    return open_recordings(
        str(home / "waveforms"), str(home / "events.xml"), str(home / "stations.xml"), **settings, **examples.FACTS
    )
