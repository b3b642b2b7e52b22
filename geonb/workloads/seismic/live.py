"""Watch waveforms as they come: every few seconds the window that ends now, its beams, both heads; and a bulletin of events.

What a window shows is a function of the samples in it alone, not of how they came: prepared are blocks of a few seconds, each with as
much before it as its filter remembers, and a block is prepared again if a late packet changes it. So a bulletin is the same after a
dropped connection, late packets, or a restart, wherever the data are.

The folder that is written: ``steps``, a CSV a UTC day with a row a window and array (or station), of rows of one window the last counts;
``bulletin.csv``, ``bulletin.xml``, ``settled.json``, see :mod:`geonb.workloads.seismic.bulletin`; ``events``, the window of each;
``live.json``, whose model and which settings it is made with; ``told.log``. What is a day old is settled: it is told for good, and who
goes on reads no more than what came since.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files
from geonb.base.conventions import refuse
from geonb.base.specs import Option, check_options
from geonb.waveforms import archives, arrays, bulletins, journal, preparation, streams
from geonb.waveforms import beams as beaming
from geonb.waveforms.blocks import Blocks, run_in_s
from geonb.waveforms.preparation import scale, utc
from geonb.waveforms.rings import Ring
from geonb.workloads.seismic import bulletin

if TYPE_CHECKING:
    import pandas as pd

    from geonb.base.run_folder import RunFolder
    from geonb.training.task import Trainable

BATCH = 16  # windows that go through the network together, when data come faster than time
WAIT_S = 0.5  # that a window waits for others, at most
TOLD_S = 3600.0  # before the same is told again, or more is settled
LATE_S = 86_400.0  # that something may come late
MIN_VALID = 0.8  # of a window's samples, as in the store
P_NEAR_S = 10.0  # P is so near to where windows have it: that far training shifts them
HOW = {
    "events": {
        "step_s": Option(5.0, float, above=0, most=30, help="between two windows [s]"),
        "patience_s": Option(10.0, float, 0, 600, help="that a window waits for channels that are late [s]; later it is looked at again"),
        "threshold": Option(0.5, float, above=0, below=1, help="probability of an event from which a window says event"),
        "rises": Option(4.0, float, above=1, help="power over that before, from which a second event is told in a stretch of windows"),
        "apart_s": Option(120.0, float, above=0, help="that two events of a stretch are apart at least [s]: sooner comes its own S"),
        "together_s": Option(60.0, float, 0, help="onsets at several stations so near to each other are one event's [s]"),
        "stations": Option(1, int, 1, help="that must have seen an event"),
        "longest_s": Option(1800.0, float, 600, help="that an event can last [s]; of what goes on more is told where power rises again"),
    }
}  # fmt: skip


class Station:
    """An array of sensors, or one sensor: its windows as the network sees them.

    Parameters
    ----------
    sensors, place_km : see :class:`geonb.waveforms.blocks.Blocks`
    card : mapping
        The model's.
    """

    def __init__(
        self, sensors: Sequence[str], place_km: np.ndarray, ring: Ring, card: Mapping[str, Any], step_s: float
    ) -> None:
        self.rate, how, self.samples = float(card["rate_hz"]), card["preparation"], int(card["samples"])
        self.velocities = how["beams"]
        turned = {"R", "T"} & set(self.velocities or ())
        components = ["Z", *("NE" if turned else "")] if self.velocities else list(how["components"])
        self.blocks = Blocks(
            ring, sensors, components, place_km, how["filters"], self.rate, step_s, bool(self.velocities)
        )
        self.span, self.before = (
            -(-self.samples // self.blocks.per),
            int(card["before"]) // self.blocks.per,
        )  # in blocks
        self.near = round(P_NEAR_S / step_s)

    def direction(self, k: int) -> float:
        """Back-azimuth of what crosses the array strongest about where window k has its P; NaN if nothing does."""
        middle = k - self.span + self.before
        places = range(max(middle - self.near, k - self.span), min(middle + self.near + 1, k))
        known = [block for b in places if (block := self.blocks[b]) and np.isfinite(block.back_azimuth)]
        return max(known, key=lambda block: block.power).back_azimuth if known else np.nan

    def window(self, k: int) -> tuple[np.ndarray, float] | None:
        """What the network sees at step k, not scaled: (channel, time); the share of samples that are known. None if too few are."""
        self.blocks.need(range(k - self.span, k))
        blocks = [self.blocks[b] for b in range(k - self.span, k)]
        there = [block for block in blocks if block]
        if len(there) < MIN_VALID * self.span:
            return None
        nothing = np.zeros_like(there[0].values), np.zeros_like(there[0].known)
        parts = [block[:2] if block else nothing for block in blocks]
        values, known = (np.concatenate(each, -1)[..., -self.samples :] for each in zip(*parts, strict=True))
        gone = np.logical_not(known.all(-1))
        gone[gone] = preparation.longest(~known[gone]) > preparation.GAP_S * self.rate  # as `prepare` drops them
        valid = float((known & ~gone[..., None]).any((0, 1)).mean())
        if valid < MIN_VALID:
            return None
        if not self.velocities:
            return np.where(gone[0, :, None], 0, values[0]), valid
        azimuth = self.direction(k)
        return (self._beams(values, gone, azimuth), valid) if np.isfinite(azimuth) else None

    def _beams(self, values: np.ndarray, gone: np.ndarray, azimuth: float) -> np.ndarray:
        """As :func:`geonb.waveforms.beams.phase_beams` of what was rotated: beams first, which is the same and less work."""
        gone = gone | ~self.blocks.placed[:, None]
        if gone.shape[1] > 1:
            gone[:, 1:] |= gone[:, 1:].any(1, keepdims=True)  # R and T need both
        values = np.where(gone[..., None], np.float32(np.nan), values)
        sin, cos = np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
        place, summed, out = np.nan_to_num(self.blocks.place_km), dict[float, np.ndarray](), []
        for name, velocity in self.velocities.items():
            parts, key = (values[:, :1], -velocity) if name == "Z" else (values[:, 1:], velocity)
            if key not in summed:
                tau = beaming.delays(beaming.slowness_of(azimuth, velocity)[None], *place.T)
                summed[key] = beaming.delay_and_sum(parts, self.rate, tau)[0][0]
            beam = summed[key]
            out.append(
                beam[0]
                if name == "Z"
                else {"R": -beam[1] * sin - beam[0] * cos, "T": -beam[1] * cos + beam[0] * sin}[name]
            )
        return np.nan_to_num(np.stack(out))

    def row(self, k: int, told: np.ndarray | None, valid: float) -> tuple[float, ...]:
        """What is said of window k, and what its last block is like: STEP_COLUMNS of the bulletin."""
        event, explosion = (np.nan, np.nan) if told is None else (float(told[0]), float(told[1]))
        block = self.blocks[k - 1]
        return (event, explosion, valid, *((np.nan,) * 5 if block is None else map(float, block[2:])))


class Watch:
    """Windows of a stream of packets, and the bulletin of them in a folder.

    Parameters
    ----------
    model : the trained task
    folder : where all is written, see the head of this module
    inventory : ObsPy's Inventory, needed where there are beams
    step_s : float, s
        Between two windows.
    patience_s : float, s
        How long a window waits for channels that are late. It is looked at again if they bring something later.
    settings : how windows become events
    told : what is called with everything that a reader should know
    """

    def __init__(
        self, model: Trainable, folder: Path, inventory: Any = None, *, step_s: float = 5.0, patience_s: float = 10.0,
        settings: bulletin.Settings | None = None, told: Callable[[str], Any] = files.say,
    ) -> None:  # fmt: skip
        from geonb.training.task import as_function

        self.card, self.folder, self.inventory, self.told = model.card, folder, inventory, told
        self.rate, self.step_s, self.step_ns = float(self.card["rate_hz"]), step_s, round(step_s * 1e9)
        faults = [f"step_s = {step_s}: at {self.rate:g} Hz a step must hold whole samples, as 5 or 10 s do"]
        refuse("This cannot be watched", faults * (step_s * self.rate % 1 != 0))
        per = round(step_s * self.rate)
        self.frame = bulletin.Frame(step_s, -(-int(self.card["samples"]) // per), int(self.card["before"]) // per)
        self.patience_ns, self.settings = round(patience_s * 1e9), settings or bulletin.Settings()
        self.ask = as_function(model, "probabilities", "float32")
        self.run_in_s = run_in_s(self.card["preparation"]["filters"], self.rate)
        self.ring = Ring(2 * self.frame.span * step_s + self.run_in_s + patience_s + 60)
        self.stations: dict[str, Station] = {}
        self.tracks: dict[str, bulletin.Track] = {}
        self.done: dict[str, int] = {}  # last window of each station that was looked at
        self.again: dict[str, set[int]] = {}  # windows that something changed since
        self.kept: dict[str, int] = {}  # last window that was told before this began
        self.said: dict[str, float] = {}
        self.windows, self.waiting, self.sending = 0, 0.0, 0
        self.steps, self.book = folder / "steps", bulletins.Book(folder, bulletin.COLUMNS)

    def resume(self) -> float | None:
        """Read what was told before; since when the source should give what it has (s since 1970), None: from now on."""
        journal.mend(self.steps)
        first = min([self.book.until / self.step_s, *self.book.floors.values()])
        begin = first - bulletin.Track("", self.frame, self.settings).memory
        for name, rows in journal.read(self.steps, bulletin.STEP_COLUMNS, begin * self.step_s).items():
            self._track(name).rows = rows
            self.kept[name] = max(rows)
            self.done[name] = max(rows) - self.frame.span  # what was late then is looked at again
        if not self.done:
            return None
        self._publish()
        # of a station that was silent for longer than that the newest windows are looked at as of one that begins
        first = max(min(self.done.values()), max(self.done.values()) - round(LATE_S / self.step_s))
        return (first - self.frame.span) * self.step_s - self.run_in_s

    def take(self, item: Any) -> None:
        """A packet (ObsPy's Trace), a note of the source, or None; then look at what is due."""
        if isinstance(item, streams.Note):
            self.say(item.text)
        elif item is not None:
            self._take(item)
        due = self.due()
        count = sum(map(len, due.values()))
        self.waiting = self.waiting or time.monotonic() if count else 0.0
        if count >= BATCH or (count and time.monotonic() - self.waiting >= WAIT_S):
            self.look(due)

    def _take(self, packet: Any) -> None:
        newest = max(self.ring.newest.values(), default=packet.stats.starttime.ns)
        if packet.stats.starttime.ns > newest + round(5e8 * self.ring.length_s):  # the ring will lose what was before
            self.look(self.due(everything=True))
        if changed := self.ring.put(packet):
            self._changed(f"{packet.stats.network}.{packet.stats.station}", *changed)

    def end(self) -> None:
        """Look at all that there is: nothing more comes."""
        self.look(self.due(everything=True))

    def _changed(self, sensor: str, begin: int, end: int) -> None:
        """Samples from begin to end (ns) are new, or others."""
        if len(self.ring.newest) != self.sending:
            self.sending = len(self.ring.newest)
            self._gather()
        for name, station in self.stations.items():
            if any(other == sensor or other.startswith(f"{sensor}.") for other in station.blocks.sensors):
                first, last = station.blocks.forget(begin, end)
                until = min(self.done.get(name, first), last + self.frame.span)
                self.again.setdefault(name, set()).update(range(first + 1, until + 1))

    def _gather(self) -> None:
        """The sensors that send by arrays, which the metadata tell, or each by itself."""
        names = list(self.ring.sensors)
        groups: Mapping[str, Sequence[str]] = {name: (name,) for name in names}
        how = self.card["preparation"]
        if how["beams"]:
            there = arrays.arrays_of(self.inventory, aperture_km=how["aperture_km"])
            groups = {name: [n for n in names if ".".join(n.split(".")[:2]) in codes] for name, codes in there.items()}
        for name, sensors in groups.items():
            if sensors and (name not in self.stations or self.stations[name].blocks.sensors != list(sensors)):
                self.stations[name] = Station(sensors, self._places(sensors), self.ring, self.card, self.step_s)
                self._track(name)

    def _places(self, sensors: Sequence[str]) -> np.ndarray:
        """Places (sensor, 2), km from the middle of those known; NaN where nobody knows."""
        known = {f"{net.code}.{station.code}": station for net in self.inventory or () for station in net}
        at = [known.get(".".join(name.split(".")[:2])) for name in sensors]
        latitude, longitude = ([getattr(station, what, np.nan) for station in at] for what in ("latitude", "longitude"))
        return beaming.local_km(latitude, longitude)

    def _track(self, name: str) -> bulletin.Track:
        if name not in self.tracks:
            self.tracks[name] = track = bulletin.Track(name, self.frame, self.settings)
            if math.isfinite(self.book.until):
                track.floor = self.book.floors.get(name, int(self.book.until // self.step_s))
        return self.tracks[name]

    def due(self, everything: bool = False) -> dict[str, list[int]]:
        """Windows of each station that can be looked at: their data are there, or were waited for, or changed."""
        found = {}
        clock = min(max(self.ring.newest.values(), default=0), time.time_ns()) - self.patience_ns
        for name, station in self.stations.items():
            spans = self.ring.spans(station.blocks.sensors)
            there = max(end for _, end in spans) if everything else max(min(end for _, end in spans), clock)
            last = (there - (0 if everything else station.blocks.ahead_ns)) // self.step_ns
            if name not in self.done:
                first = min(begin for begin, _ in spans) // self.step_ns
                self.done[name] = min(first + int(MIN_VALID * self.frame.span) - 1, last)
                if first * self.step_s < self.book.until:
                    self.say(
                        f"{name}: it begins to send of {utc(first * self.step_ns)}, of which no event is told any more"
                    )
            held = last - round(self.ring.length_s / self.step_s)
            whole = self._whole(name)
            steps = {k for k in self.again.get(name, ()) if k >= whole} | set(
                range(max(self.done[name] + 1, held), last + 1)
            )
            if steps:
                found[name] = sorted(steps)
        return found

    def look(self, due: Mapping[str, list[int]]) -> None:
        """Ask the network of windows; write what it says, and the bulletin if that changed."""
        wanted = sorted((k, name) for name, steps in due.items() for k in steps)
        for name, steps in due.items():
            span = self.frame.span
            self.stations[name].blocks.need(b for k in steps for b in range(k - span, k))
        windows = [(name, k, self.stations[name].window(k)) for k, name in wanted]
        usable = [window[0] for _, _, window in windows if window]
        told: Iterator[np.ndarray] = iter(())
        if usable:
            scaled = scale(self.card["scaler"], np.stack(usable))
            told = iter(np.concatenate([self.ask(scaled[i : i + BATCH]) for i in range(0, len(scaled), BATCH)]))
        lines = []
        for name, k, window in windows:
            rows = self.tracks[name].rows
            row = self.stations[name].row(k, next(told) if window else None, window[1] if window else 0.0)
            if not window and k <= self.kept.get(name, k - 1) and k in rows:
                continue  # the source no longer has what was seen then
            rows[k] = row
            lines += [(name, k, row)] if window or np.isfinite(row[3]) else []
        journal.add(self.steps, bulletin.STEP_COLUMNS, self.step_s, lines)
        for name, steps in due.items():
            self.done[name] = max(self.done[name], steps[-1])
            whole = self._whole(name)
            if lost := sum(k < whole for k in self.again.pop(name, ())):
                self.say(
                    f"{name}: samples of {lost} windows came so late that what is before them is gone; they stay as they were told"
                )
            self.stations[name].blocks.forget_before(self._oldest(name))
        self.windows, self.waiting = self.windows + len(usable), 0.0
        self._publish()
        self._tell()

    def _publish(self) -> None:
        table = bulletin.events_of(self.tracks.values(), self.settings, self.book.until)
        seen, begins = table.attrs.pop("seen"), table.attrs.pop("begins")
        new, gone = self.book.write(table, [bulletin.said_of(row, self.card) for row in table.itertuples()], seen)
        for path in (path for name in gone for path in (self.folder / "events").glob(f"{name}.*")):
            path.unlink()  # its onset is another now, and with it its name
        if new:
            self._keep(table, seen)
        for event in table[table["event_id"].isin(new) & table["remark"].str.contains("went on")].itertuples():
            self.say(f"{event.stations}: {event.event_id} {event.remark}; more is told where power rises again")
        self._settle(seen, begins)

    def _settle(self, seen: Mapping[str, list[bulletin.Seen]], begins: Sequence[float]) -> None:
        """Keep as events what no window can change any more, and of events what nothing can that is a day late."""
        now, late = max(self.done.values(), default=0), round(LATE_S / self.step_s)
        for name, track in self.tracks.items():
            sent = min(self.done[name], self._newest(name)) if name in self.stations and name in self.done else 0
            if name not in self.stations:
                # nothing came of it until then
                track.rows.setdefault(now - late, (np.nan,) * len(bulletin.STEP_COLUMNS))
            track.settle(max(sent, now - late) - 3 * self.frame.span)
        floor = min((track.floor for track in self.tracks.values()), default=0)
        until = (floor - self.frame.span) * self.step_s - LATE_S
        if floor > 0 and until >= self.book.until + TOLD_S:
            until = next((t for t in begins if t + self.settings.together_s >= until), until)
            floors = {name: track.forget(until) for name, track in self.tracks.items()}
            self.book.settle(until, floors, [name for name, group in seen.items() if group[0].time < until])

    def _newest(self, name: str) -> int:
        """The last window of which a station has sent something."""
        return max(end for _, end in self.ring.spans(self.stations[name].blocks.sensors)) // self.step_ns

    def _whole(self, name: str) -> int:
        """The first window that the ring holds all samples of."""
        return self._newest(name) - round((self.ring.length_s - self.run_in_s) / self.step_s) + self.frame.span + 1

    def _keep(self, table: pd.DataFrame, seen: Mapping[str, list[bulletin.Seen]]) -> None:
        """The window of each event with P in its place, for whoever wants to see it, as long as its samples are there."""
        for event in table[table["status"] == "final"].itertuples():
            path = self.folder / "events" / f"{event.event_id}.npz"
            first = seen[event.event_id][0]
            k = int(first.time // self.step_s) + self.frame.span - self.frame.before
            station = self.stations.get(first.station)
            if path.exists() or station is None or (k - self.frame.span) * self.step_ns < self._oldest(first.station):
                continue
            if (window := station.window(k)) is not None:
                path.parent.mkdir(exist_ok=True)
                begin = k * self.step_s - self.card["samples"] / self.rate
                with files.whole_file(path, ".npz") as partial:
                    facts = {"begin": begin, "rate_hz": self.rate, "station": first.station, "step_s": self.step_s}
                    np.savez(partial, values=window[0], **facts)

    def _oldest(self, name: str) -> int:
        """Blocks that end before that (ns since 1970) are not looked at again."""
        return (self.done[name] + 1) * self.step_ns - round(self.ring.length_s * 1e9)

    def _tell(self) -> None:
        for notes in (self.ring.notes, *(station.blocks.notes for station in self.stations.values())):
            for note in notes:
                self.say(note)
            notes.clear()

    def say(self, text: str) -> None:
        """Tell, and note in told.log with the time, what was not told, but for its numbers, within the hour before."""
        kind, now = re.sub(r"(?<![\w.])[-+]?\d[\d.:T-]*", "N", text), time.monotonic()
        if now - self.said.get(kind, -TOLD_S) >= TOLD_S:
            self.said[kind] = now
            self.told(text)
            with (self.folder / "told.log").open("a") as file:
                file.write(f"{np.datetime64('now')}Z {text}\n")


def inventory_of(run: RunFolder, stations: str | None = None) -> Any:
    """Metadata of stations, or of those of the run's samples; None, which is told, where they are not there any more."""
    from geonb.store.store import open_store

    found = stations or ",".join(open_store(run.store).meta.get("stations", ()))
    try:
        return archives.read_stations(found) if found else None
    except ValueError as error:
        if stations:
            raise
        print(f"No places of stations: {error}")
        return None


def step_of(how: str) -> float:
    """Seconds between two windows, of a text as `watch` takes it."""
    return float(check_options("how", how, HOW)[1]["step_s"])


def watch(
    run: RunFolder, source: str, folder: str | Path | None = None, *, stations: str | None = None, channels: str | None = None,
    how: str = "events", begin: Any = None, until: Any = None, stop: Callable[[], bool] | None = None,
    told: Callable[[str], Any] = files.say,
) -> Path:  # fmt: skip
    """Watch a source with a run's model, until it ends or `stop` says so; go on where an earlier watch into the same folder was.

    Parameters
    ----------
    source : str
        See :func:`geonb.waveforms.streams.check_source`.
    folder : path, optional
        ``live`` in the run's folder by default.
    stations : str, optional
        StationXML; the run's own by default. Beams need it.
    channels : str, optional
        Patterns of SEED ids, comma separated, that the source is asked for; those of `stations` by default.
    how : str
        How windows become events, ``"events:threshold=0.6,stations=2"``, see :data:`HOW`.
    begin, until : UTC, optional
        A period; by default from now on, of a replay from its beginning.
    told : what is called with everything that a reader should know

    Returns
    -------
    The folder

    Raises
    ------
    ValueError
        Listing what cannot be: no model, an unknown source, no metadata for beams, a folder of another model or other settings.
    """
    from geonb.store.store import open_store
    from geonb.training.task import load_model

    settings, origin = check_options("how", how, HOW)[1], streams.check_source(source)
    model, times = load_model(run.checkpoints), {name: settings.pop(name) for name in ("step_s", "patience_s")}
    stations = stations or ",".join(open_store(run.store).meta.get("stations", ())) or None
    made = model.card["preparation"]
    faults = ["stations: beams need metadata of the array (StationXML), and the run has none"] * bool(
        made["beams"] and not stations
    )
    faults += ["channels: say which, as UW.*.*.?HZ, or give stations (StationXML)"] * (not stations and not channels)
    faults += ["model: it was trained before geonb live, and does not say where P lies in a window: train again"] * (
        "before" not in model.card
    )
    refuse("This cannot be watched", faults)
    inventory = archives.read_stations(stations) if stations else None
    if made["beams"] and not arrays.arrays_of(inventory, aperture_km=made["aperture_km"]):
        near = f"stations = {stations}: no three sensors lie within {made['aperture_km']:g} km"
        raise ValueError(f"{near}, and the model sees beams of an array")
    wanted = channels.split(",") if channels else channels_of(inventory, "ZNE" if made["beams"] else made["components"])
    streams.check_streams(wanted)
    folder = Path(folder or Path(run.path) / "live")
    with _only_one(folder):
        watcher = Watch(model, folder, inventory, settings=bulletin.Settings(**settings), told=told, **times)
        _same(folder, watcher, run)
        resumed = watcher.resume()
        if resumed is not None:
            since, asked = utc(resumed * 1e9), begin
            begin = max(utc(begin), since) if begin else since
            if asked and utc(asked) < since:
                told(f"begin = {asked}: {folder} was watched before and goes on from {since:%Y-%m-%dT%H:%M:%S}; what is before that is not "
                     "looked at again. Give another folder (--out) to watch it")  # fmt: skip
        told(f"{origin}, {len(wanted)} channels, into {folder}{' which is gone on with' if resumed else ''}")
        try:
            for item in origin.packets(wanted, begin, until, stop):
                watcher.take(item)
        finally:
            watcher.end()
    return folder


def channels_of(inventory: Any, components: Iterable[str]) -> list[str]:
    """SEED ids of the channels of some components that metadata know; with a wildcard for each station if they name none."""
    from obspy import UTCDateTime

    wanted, now = set(components), UTCDateTime()
    found = []
    for net in inventory:
        for station in net:
            codes = {(c.location_code, c.code) for c in station if c.is_active(now) or not c.end_date}
            named = [code for code in sorted(codes) if archives.component_of(code[1]) in wanted]
            found += [f"{net.code}.{station.code}.{location}.{code}" for location, code in named] or [
                f"{net.code}.{station.code}.*.*"
            ]
    return list(dict.fromkeys(found))


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold a folder; a ValueError says that somebody else does."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder}: another geonb live writes there. Give another folder, or stop that one"
            ) from None
        yield


def _same(folder: Path, watcher: Watch, run: RunFolder) -> None:
    """A folder belongs to one model and its settings: refuse another's, or say whose it is."""
    mine = {
        "run": run.name,
        "model": files.key_of(watcher.card),
        "step_s": watcher.step_s,
        "settings": vars(watcher.settings),
    }
    path = folder / "live.json"
    if path.exists():
        there = files.read_json(path)
        there["settings"] = vars(bulletin.Settings()) | there.get("settings", {})  # made before there were all of them
        other = [
            f"{name} was {there.get(name)!r} and is {mine[name]!r}" for name in mine if there.get(name) != mine[name]
        ]
        refuse(
            f"{folder} holds what another watch told",
            other,
            cure="Give another folder (--out), or the settings of that one.",
        )
    facts = {name: watcher.card.get(name) for name in ("title", "simulated", "workload")}
    files.write_text(path, json.dumps(mine | facts, indent=1, default=str))
