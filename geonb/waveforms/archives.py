"""Waveforms out of archives: an index of headers first, then what overlaps an event, on one grid of times, gaps as NaN.

Nothing is mended without a word: `notes` tells of segments that contradict each other, clocks that jumped, channels that were chosen
and sensors without coordinates; the coordinate `fault` (sensor, component) says what makes a trace useless.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import refuse, short
from geonb.base.project import expand_files, folder_of, places, split_files
from geonb.waveforms.formats import stored
from geonb.waveforms.preparation import GAP_S, dataset, longest, ratio, resample, utc

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

ID = ["network", "station", "location", "channel"]
ORDER = "ZNERT123"
ALIGNED_S = 0.15  # a clock that is off the sampling of the others by more is refused
LEFT_S = 0.001  # and by less is left as it is
REACH = 20  # samples on either side from which one between two is interpolated
# EVENT_NET.STA.CHA.mseed or EVENT_NET.STA.LOC.CHA.mseed
NAME = re.compile(r"(.+)_([^._]*)\.([^.]+)\.(?:([^.]*)\.)?([^.]+)\.\w+")
Paths = str | Path | Iterable[str | Path]


def index_files(waveforms: Paths, root: Path | None = None) -> pd.DataFrame:
    """Which file holds what, from headers alone, so that a large archive is not read to find one event.

    Parameters
    ----------
    waveforms : files, folders or globs, comma separated, or a list; any format of ObsPy
    root : Path, optional
        Where else than here relative paths begin; the checkout by default.

    Returns
    -------
    DataFrame, a row a segment: file, network, station, location, channel, start and end (datetime64[ns] UTC, of the first and the
    last sample), rate_hz, samples; `attrs["notes"]` tells which files hold no waveforms or are cut short

    Raises
    ------
    ValueError
        Listing each name at which there is nothing, and if no file holds a waveform.
    """
    import obspy
    import pandas as pd

    faults, notes, others, broken, rows = list[str](), list[str](), list[str](), list[str](), []
    for path in files_of(waveforms, "waveforms", faults, root):
        try:
            stream = obspy.read(glob.escape(str(path)), headonly=True)
        except Exception as error:  # of whichever plug-in tried it
            unknown = "unknown format" in str(error).lower()
            (others if unknown else broken).append(path.name if unknown else f"{path.name} ({short(error)})")
            continue
        for s in (trace.stats for trace in stream):
            rows.append((str(path), *(s[k] for k in ID), s.starttime.ns, s.endtime.ns, s.sampling_rate, s.npts))
        if (about := stream[0].stats.get("mseed")) and (rest := about["filesize"] % about["record_length"]):
            notes.append(f"{path}: cut short, its last record has {rest} of {about['record_length']} bytes and is lost")
    for found, what in ((others, "no waveforms, passed over"), (broken, "cannot be read as waveforms")):
        more = f" and {len(found) - 9} more" if len(found) > 9 else ""
        notes += [f"{what}: {', '.join(sorted(found)[:9])}{more}"] if found else []
    refuse("These waveforms cannot be used", faults or (["no file holds a waveform", *notes] if not rows else []))
    index = pd.DataFrame(rows, columns=["file", *ID, "start", "end", "rate_hz", "samples"])
    index = index.astype({"start": "M8[ns]", "end": "M8[ns]"})
    index.attrs["notes"] = notes
    return index


def files_of(named: Paths, what: str, faults: list[str], root: Path | None) -> list[Path]:
    """Files by name, and all in folders."""
    items = split_files(str(named)) if isinstance(named, str | Path) else list(map(str, named))
    roots = places() if root is None else [Path.cwd(), root]
    try:
        homes = {item: folder_of(item, roots) for item in items}
    except ValueError as error:
        faults.append(f"{what}: {error}")
        return []
    globs = [f"{glob.escape(str(home))}/**/*" if home else item for item, home in homes.items()]
    return list(dict.fromkeys(expand_files(globs, faults, what, root)))


def component_of(channel: str, components: Mapping[str, str] | None = None) -> str:
    """The component that a channel records: its last letter, if that is one; empty if nothing tells.

    >>> [component_of(c) for c in ("BHZ", "bhn", "HH1", "UD", "SZL")], component_of("SZL", {"SZL": "Z"})
    (['Z', 'N', '1', 'Z', ''], 'Z')
    """
    code, known = channel.upper(), {"UD": "Z", "NS": "N", "EW": "E"} | dict(components or {})
    return known.get(code) or (code[-1:] if code[-1:] in ORDER else "")


def trace_fault(values: np.ndarray, rate_hz: float) -> str:
    """What makes raw samples (time,) useless, in words; empty if nothing does. NaN is a gap.

    Clipped: five times or more, three samples or more in a row hold the lowest or the highest value of a range above 100.
    """
    known = values[np.isfinite(values)]
    if np.isinf(values).any() or not len(known):
        return "not finite" if np.isinf(values).any() else "no samples"
    low, high, same = known.min(), known.max(), int(longest(np.diff(known) == 0)) + 1
    if low == high or (same > len(known) / 2 and same > rate_hz):
        return f"flat for {same / rate_hz:.0f} s"
    if max(-low, high) >= 2**31 - 1:
        return "beyond what 32 bits hold"
    ends = np.concatenate([known == low, [False], known == high]).tobytes()
    return f"clipped at {low:g} and {high:g}" if high - low > 100 and len(re.findall(b"\1{3,}", ends)) >= 5 else ""


def cut(
    index: pd.DataFrame, start: Any, end: Any, stations: str | Iterable[str] = "*", *, rate_hz: float | None = None, channels: str = "*",
    components: Mapping[str, str] | None = None, inventory: Any = None, response: bool = False, event_id: str = "", array: str = "",
) -> xr.Dataset:  # fmt: skip
    """Read what an archive holds of a period: every sensor and component on one grid of times.

    Parameters
    ----------
    index : DataFrame of :func:`index_files`
    start, end : times, UTC
        The result has exactly round((end - start) * rate) samples, and begins at most half a sample off `start`.
    stations : names or patterns, comma separated
        ``NS.KTK*`` or ``KTK1``.
    rate_hz : float, optional
        Of the result; else what most traces have. Higher rates are brought down, and told; lower ones left out.
    channels : str
        Patterns in order of preference, ``"HH?,BH?"``; others are not read.
    components : mapping, optional
        Channel -> component, of channels whose last letter is none or only a number: ``{"SZL": "Z", "BH1": "N"}``.
    inventory : ObsPy's Inventory, optional
        See :func:`read_stations`: coordinates and responses.
    response : bool
        Divide the instruments' responses out (ObsPy's ``remove_response``, to m/s).

    Returns
    -------
    Dataset (sensor, component, time), `data` float32, NaN where there is no sample

    Raises
    ------
    ValueError
        If nothing of the period is there (with what is), or a response is missing that was asked for.

    Notes
    -----
    Of one component of a sensor one channel is taken: the one preferred, else of the rate asked for, else a seismometer's before an
    accelerometer's, else of the highest rate. Segments that overlap are merged where they agree; where they do not, nobody knows
    which is right: NaN. A clock up to :data:`ALIGNED_S` off the common sampling is interpolated (windowed sinc), beyond refused.
    """
    first, last, notes = utc(start), utc(end), list[str]()
    rows = chosen(_there(index, first, last, stations, notes), channels, components, rate_hz, notes)
    count = rows["rate_hz"].value_counts()
    target = float(rate_hz or max(count.index, key=lambda rate: (count[rate], rate)))
    base = rows[rows["rate_hz"] == (target if target in count else count.idxmax())]
    dt = 1e9 / base["rate_hz"].iloc[0]
    late = ((base["start"] - first).astype("int64") / dt).round(2) % 1  # in samples; of most traces
    begin = first.value + round(((late.mode()[0] + 0.5) % 1 - 0.5) * dt)
    n = round((last - first).total_seconds() * target)
    traces, lacking = dict[tuple[str, str], tuple[np.ndarray, str]](), list[str]()
    opened: dict[tuple, Any] = {}
    for key, group in rows.groupby(["sensor", "component"]):
        told, seed_id = list[str](), ".".join(group[ID].iloc[0])
        try:
            trace, fault = _merged(_stream(group, first, last, told, opened), told)
            if response:
                _remove_response(trace, inventory)
            traces[key] = on_grid(trace, begin, target, n, told), fault
        except LookupError as error:
            lacking.append(f"{seed_id}: {error}")
        except ValueError as error:
            told.append(f"left out, {short(error)}")
        notes += [f"{seed_id}: {text}" for text in told]
    refuse("Responses are missing", lacking, cure="Give StationXML that has them as `stations`, or response=false.")
    refuse(f"Nothing can be read of {first} to {last}", [] if traces else notes)
    attrs = {"start": f"{np.datetime64(begin, 'ns')}Z", "rate_hz": target, "units": "m/s" if response else "counts"}
    attrs |= {"event_id": event_id, "array": array, "notes": notes}
    return locate(_dataset(traces, n, attrs), inventory)


def _there(index: pd.DataFrame, first: Any, last: Any, stations: Any, notes: list[str]) -> pd.DataFrame:
    """Rows of the stations that overlap the period; stations of which there is none are told."""
    here, faults = np.zeros(len(index), bool), []
    names, within = index["network"] + "." + index["station"], (index["start"] < last) & (index["end"] >= first)
    for pattern in stations.split(",") if isinstance(stations, str) else stations:
        net, _, station = pattern.strip().rpartition(".")
        alike = np.array([fnmatchcase(code, station) for code in index["station"]], bool)
        mask = alike & np.array([fnmatchcase(code, net or "*") for code in index["network"]], bool)
        near = f"nothing, but of {sorted(set(names[alike]))}: is the network code wrong?" if alike.any() else "nothing"
        has = f"{index['start'][mask].min()} to {index['end'][mask].max()}" if mask.any() else near
        faults += [] if (mask & within).any() else [f"{pattern}: the archive has {has}"]
        here |= mask & within
    refuse(f"The archive holds nothing of {first} to {last}", [] if here.any() else faults)
    notes += faults
    return index[here].reset_index(drop=True)


def chosen(index: pd.DataFrame, channels: str, components: Any, rate: float | None, notes: list[str]) -> pd.DataFrame:
    """Rows with `sensor`, `component` and nominal rate; of each sensor and component one channel at one rate."""
    liked, codes = [pattern.strip() for pattern in channels.split(",")], index["channel"]
    rates = index["rate_hz"].map(lambda hz: float(f"{hz:.5g}"))  # a clock's 99.9999 Hz are 100
    rank = codes.map(lambda code: min((i for i, like in enumerate(liked) if fnmatchcase(code, like)), default=99))
    kind = codes.map(lambda code: "HLPGN".find(code[1:2].upper()) % 6)  # high gain first, accelerometers last
    sensors = index["network"] + "." + index["station"] + ("." + index["location"]).where(index["location"] != "", "")
    rows = index.assign(rate_hz=rates, sensor=sensors, component=[component_of(code, components) for code in codes])
    if odd := sorted(set(codes[~rows["component"].isin(list("ZNERT"))])):
        notes.append(f"channels {', '.join(odd)}: only 1, 2, 3 stay, as they are; `components` may map them to Z, N, E")
    rows = rows.iloc[np.lexsort([codes, -rates, kind, rates != rate, rank])]
    rows = rows[(rows["component"] != "") & (rank[rows.index] < 99)]
    refuse("No channel is left", [] if len(rows) else [*notes, f"channels = {channels!r} lets none pass"])
    made, keys = rows["channel"] + " at " + rows["rate_hz"].map("{:g} Hz".format), [rows["sensor"], rows["component"]]
    best = made.groupby(keys).transform("first")
    for (sensor, component), group in made[made != best].groupby(keys):
        notes.append(f"{sensor} {component}: {best[group.index[0]]} taken, not {', '.join(sorted(set(group)))}")
    return rows[made == best]


def _stream(group: pd.DataFrame, first: Any, last: Any, told: list[str], opened: dict[tuple, Any] | None = None) -> Any:
    """What files hold of one channel about a period, as ObsPy's Stream of float64; what was `opened` before is not read again."""
    import obspy

    if "trace" in group:
        return _stored(group, told, {} if opened is None else opened)
    wanted, stream = group.iloc[0], obspy.Stream()
    edge = 2 * REACH / wanted["rate_hz"] + 2
    low, high = obspy.UTCDateTime(ns=first.value) - edge, obspy.UTCDateTime(ns=last.value) + edge
    opened = {} if opened is None else opened
    for file in dict.fromkeys(group["file"]):
        try:
            if (key := (file, low.ns, high.ns)) not in opened:  # a file may hold all channels of an array
                opened[key] = obspy.read(glob.escape(file), starttime=low, endtime=high)
            read = opened[key]
        except Exception as error:  # a record that is damaged
            told.append(f"{file} cannot be read, {short(error)}")
            continue
        for trace in read.select(id=".".join(wanted[ID])):
            if np.isclose(trace.stats.sampling_rate, wanted["rate_hz"], rtol=1e-4):
                trace.data, trace.stats.sampling_rate = np.asarray(trace.data, np.float64), wanted["rate_hz"]
                stream.append(trace)
    return stream


def _stored(group: pd.DataFrame, told: list[str], opened: dict[tuple, Any]) -> Any:
    """The same of a SeisBench folder, see :mod:`geonb.waveforms.seisbench`: a trace is read once for all its components."""
    import h5py
    import obspy

    stream = obspy.Stream()
    for row in group.itertuples():
        try:
            if (key := (row.file, row.trace)) not in opened:
                with h5py.File(row.file) as file:
                    opened[key] = stored(file, row.trace, row.order)
            values = np.asarray(opened[key][row.place], np.float64)
        except Exception as error:  # of HDF5: a file that was cut short, a trace that is not there
            told.append(f"{row.trace} of {row.file} cannot be read, {short(error)}")
            continue
        about = {name: getattr(row, name) for name in ID} | {"starttime": obspy.UTCDateTime(ns=row.start.value)}
        stream.append(obspy.Trace(values, about | {"sampling_rate": row.rate_hz}))
    return stream


def _merged(stream: Any, told: list[str]) -> tuple[Any, str]:
    """One trace, NaN where nothing is or two segments differ, and what is wrong with its samples.

    Not ObsPy's merge, which takes minutes for a day of thousands of gaps.
    """
    if not len(stream):
        raise ValueError("no sample could be read")
    first, rate = stream.sort(["starttime"])[0].stats.starttime.ns, stream[0].stats.sampling_rate
    begins, sizes = np.array([((t.stats.starttime.ns - first) * rate / 1e9, t.stats.npts) for t in stream]).T
    places, n = np.rint(begins).astype(int), int((np.rint(begins) + sizes).max())
    values, torn, lasts = np.full(n, np.nan), np.zeros(n, bool), [0.0, *(begins + sizes)[:-1]]
    for trace, begin, place, last in zip(stream, begins, places, lasts, strict=True):
        if abs(begin - last - round(begin - last)) / rate > LEFT_S:
            told.append(f"the clock jumps at {trace.stats.starttime}, by {(begin - last) / rate:+.3f} s")
        part = slice(place, place + trace.stats.npts)
        new, old = trace.data, values[part]
        torn[part] |= np.isfinite(old) & np.isfinite(new) & (old != new)
        values[part] = np.where(np.isnan(old), new, old)
    told += [f"{torn.sum()} samples overlap and differ: NaN"] if torn.any() else []
    stream[0].data = np.where(torn | ~np.isfinite(values), np.nan, values)
    return stream[0], trace_fault(values, rate)


def _remove_response(trace: Any, inventory: Any) -> None:
    """Counts to m/s; LookupError where nothing says how."""
    known = np.isfinite(trace.data)
    trace.data = np.where(known, trace.data, trace.data[known].mean() if known.any() else 0)
    try:
        trace.detrend("constant").remove_response(inventory, output="VEL")
    except Exception as error:  # ObsPy raises bare ones
        raise LookupError(short(error) if inventory is not None else "no station metadata are given") from None
    trace.data[~known] = np.nan


def on_grid(trace: Any, begin: int, target: float, n: int, told: list[str]) -> np.ndarray:
    """Samples (n,) at the target rate from `begin` (ns) on."""
    rate = trace.stats.sampling_rate
    up, down = ratio(rate, target)
    edge = down * -(-max(round(rate), REACH) // down)  # more than is kept, because filters need neighbours
    values = np.full(-(-n * down // up) + 2 * edge, np.nan)
    at = (trace.stats.starttime.ns - begin) * rate / 1e9 + edge
    late = at - round(at)
    if abs(late) / rate > ALIGNED_S:
        raise ValueError(f"{late / rate:+.3f} s off the common sampling, and more than {ALIGNED_S} s are not mended")
    a, b = (int(np.clip(round(at) + k, 0, len(values))) for k in (0, trace.stats.npts))
    values[a:b] = trace.data[a - round(at) : b - round(at)]
    if abs(late) / rate > LEFT_S:
        told.append(f"interpolated, {late / rate:+.4f} s off the common sampling")
        values = _shifted(values, late)
    told += [f"from {rate:g} to {target:g} Hz"] if up != down else []
    return resample(values, rate, target)[edge * up // down :][:n]


def _shifted(values: np.ndarray, late: float) -> np.ndarray:
    """Samples (time,) that stand `late` samples after their places, at these places: a sinc under a cosine bell."""
    known = np.isfinite(values)
    mean = values[known].mean() if known.any() else 0
    k = np.arange(-REACH, REACH + 1) - late
    kernel = np.sinc(k) * np.cos(np.pi * k / (2 * REACH + 2)) ** 2
    new = np.convolve(np.where(known, values - mean, 0), kernel / kernel.sum(), "same") + mean
    return np.where(known & np.roll(known, 1 if late > 0 else -1), new, np.nan)


def _dataset(traces: Mapping[tuple[str, str], tuple[np.ndarray, str]], n: int, attrs: dict[str, Any]) -> xr.Dataset:
    sensors, components = sorted({s for s, _ in traces}), sorted({c for _, c in traces}, key=ORDER.index)
    rows = [[traces.get((s, c), (np.full(n, np.nan), "no channel")) for c in components] for s in sensors]
    fault = [[why or ("no samples" if np.isnan(values).all() else "") for values, why in row] for row in rows]
    new = dataset(np.array([[values for values, _ in row] for row in rows]), sensors, components, attrs)
    return new.assign_coords(fault=(("sensor", "component"), fault))


def dead(waveforms: xr.Dataset) -> dict[str, str]:
    """Sensors of which no trace is any good -> why."""
    rows = zip(waveforms["sensor"].values.tolist(), waveforms["fault"].values.tolist(), strict=True)
    return {name: "; ".join(dict.fromkeys(row)) for name, row in rows if all(row)}


def without_dead(waveforms: xr.Dataset, keep: str = "clipped") -> xr.Dataset:
    """Only what is good: traces with a fault become NaN, sensors that are dead are left out; `notes` says which and why.

    Parameters
    ----------
    keep : regular expression of faults that one can live with; "" for none

    Raises
    ------
    ValueError
        If no sensor is left.
    """
    fault = [["" if keep and re.match(keep, why) else why for why in row] for row in waveforms["fault"].values.tolist()]
    new = waveforms.assign_coords(fault=(("sensor", "component"), fault))
    gone, total = dead(new), new.sizes["sensor"]
    told = [f"{len(gone)} of {total} sensors are dead", *(f"{name}: {why}" for name, why in gone.items())]
    refuse("Nothing goes on", told if len(gone) == total else [])
    new = new.assign(data=new["data"].where(new["fault"] == "")).drop_sel(sensor=list(gone))
    return new.assign_attrs(notes=[*new.attrs["notes"], *(told if gone else [])])


def read_stations(stations: Paths, root: Path | None = None) -> Any:
    """Station metadata as ObsPy's Inventory: StationXML, dataless SEED or whatever else it reads; files, folders or globs.

    A ValueError lists what is not there or cannot be read. What is of another format is passed over, if there is any station.
    """
    import obspy

    faults, passed, inventory = list[str](), list[str](), obspy.Inventory()
    for path in files_of(stations, "stations", faults, root):
        try:
            inventory += obspy.read_inventory(glob.escape(str(path)))
        except Exception as error:  # of whichever plug-in tried it
            (passed if "Unknown format" in str(error) else faults).append(f"{path}: {short(error)}")
    refuse("These station metadata cannot be used", faults or (passed if not len(inventory) else []))
    return inventory


def locate(waveforms: xr.Dataset, inventory: Any) -> xr.Dataset:
    """Give sensors their coordinates, NaN where the inventory knows none, which `notes` tells.

    east_m and north_m are geodesics on WGS84 from the mean of the sensors that are known (`reference_latitude`,
    `reference_longitude` among the attributes).
    """
    from obspy import UTCDateTime
    from pyproj import Geod

    when, attrs, notes = UTCDateTime(waveforms.attrs["start"]), dict(waveforms.attrs), list[str]()
    found = np.full((5, waveforms.sizes["sensor"]), np.nan)
    known = {(net.code, s.code): s for net in inventory or [] for s in sorted(net, key=lambda s: s.is_active(when))}
    for i, name in enumerate(waveforms["sensor"].values.tolist()):
        if station := known.get(tuple(name.split(".")[:2])):
            found[:3, i] = station.latitude, station.longitude, station.elevation
        elif inventory is not None:
            codes = [f"; {n}.{c} is there, is the network code wrong?" for n, c in known if c == name.split(".")[1]]
            notes.append(f"{name}: no metadata, so no coordinates{''.join(codes)}")
    lat, lon = found[:2, np.isfinite(found[0])]
    if len(lat):
        middle = float(lon[0] + ((lon - lon[0] + 180) % 360 - 180).mean()), float(lat.mean())
        attrs |= {"reference_longitude": middle[0], "reference_latitude": middle[1]}
        pairs = 0 * found[1] + middle[0], 0 * found[0] + middle[1], found[1], found[0]
        azimuth, _, metres = Geod(ellps="WGS84").inv(*pairs)
        found[3:] = metres * np.sin(np.radians(azimuth)), metres * np.cos(np.radians(azimuth))
    names = ["latitude", "longitude", "elevation_m", "east_m", "north_m"]
    coords = {name: ("sensor", row) for name, row in zip(names, found, strict=True)}
    return waveforms.assign_coords(coords).assign_attrs(attrs | {"notes": [*attrs["notes"], *notes]})


def read_event_files(
    pattern: Paths, rate_hz: float = 40.0, root: Path | None = None, seconds: float = 0.0
) -> pd.DataFrame:
    """An archive of a file an event and channel, ``EVENT_NET.STA.CHA.mseed``: which traces can be used, and why others cannot.

    Parameters
    ----------
    rate_hz : float, Hz
        Traces below are of no use; nor are those that lack more than :data:`GAP_S` of the usual length.
    seconds : float, s
        From the first sample of each file to P.

    Returns
    -------
    DataFrame, a row a trace: as :func:`index_files` (:func:`cut` takes rows of it), and `event_id`, when P was (`p`), and `why` it is of
    no use, empty if it is of some; `attrs["notes"]` counts
    """
    import pandas as pd

    index, rows = index_files(pattern, root), []
    usual = (index["end"] - index["start"]).dt.total_seconds().median()
    for (file, *seed, rate), group in index.groupby(["file", *ID, "rate_hz"], sort=False):
        low, high, name, told = group["start"].min(), group["end"].max(), NAME.fullmatch(Path(file).name), list[str]()
        lacking = usual - group["samples"].sum() / rate
        if name is None or [name[2], name[3], name[5]] != [seed[0], seed[1], seed[3]]:
            why = f"the header says {'.'.join(seed)}, not the name"
        elif rate < rate_hz * (1 - 1e-5):
            why = f"{rate:g} Hz, below {rate_hz:g} Hz"
        elif lacking > GAP_S or not len(stream := _stream(group, low, high, told)):
            why = "; ".join(told) or f"too short, lacks {lacking:.0f} s"
        else:
            why = _merged(stream, told)[1]
        rows.append((file, *seed, low, high, rate, group["samples"].sum(), name[1] if name else "", why))
    table = pd.DataFrame(rows, columns=[*index.columns, "event_id", "why"])
    table["p"] = table["start"] + pd.Timedelta(seconds, "s")
    kinds = table["why"].str.replace(",? (at|for|lacks) .*", "", regex=True).replace("", "usable").value_counts()
    table.attrs["notes"] = index.attrs["notes"] + [f"{n} of {len(table)} traces: {why}" for why, n in kinds.items()]
    return table


def named_events(waveforms: Paths, root: Path | None = None) -> set[str]:
    """What names of files as ``EVENT_NET.STA.CHA.mseed`` begin with; of others nothing."""
    return {name[1] for path in files_of(waveforms, "waveforms", [], root) if (name := NAME.fullmatch(path.name))}
