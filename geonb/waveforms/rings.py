"""The last minutes of live waveforms: packets go in as they come, late, twice or out of order; what is cut out is as from an archive."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.waveforms.archives import LEFT_S, REACH, chosen, component_of, on_grid
from geonb.waveforms.preparation import ratio

if TYPE_CHECKING:
    import pandas as pd


EDGE_NS = 10 * 10**9  # read around what is wanted, because filters need neighbours
AHEAD_S = 120  # by which a packet may be ahead of this machine's clock


class Ring:
    """A buffer of the newest `length_s` of every channel, at its own rate.

    Parameters
    ----------
    length_s : float, s

    Attributes
    ----------
    newest : dict, SEED id -> ns since 1970 UTC of the end of its newest sample
    notes : list of str
        What a reader should know; whoever tells it empties the list.
    """

    def __init__(self, length_s: float) -> None:
        self.length_s = float(length_s)
        self.newest: dict[str, int] = {}
        self.notes: list[str] = []
        self._channels: dict[str, _Channel] = {}
        self._sensors: dict[str, dict[str, _Channel]] | None = None
        self._ahead: dict[tuple[Any, ...], float] = {}

    def put(self, packet: Any) -> tuple[int, int] | None:
        """Take an ObsPy Trace: from when to when it brought samples that were not known, or others (ns since 1970); None if it did not."""
        rate, start, name = float(f"{packet.stats.sampling_rate:.5g}"), packet.stats.starttime, packet.id
        channel = self._channels.get(name)
        if not len(packet.data) or rate <= 0:
            return None
        if start.ns > time.time_ns() + AHEAD_S * 10**9:
            self.notes.append(f"{name}: a packet of {start}, which is yet to come: not used. Whose clock is wrong?")
            return None
        if channel is None or channel.rate != rate:
            if channel is not None:
                self.notes.append(f"{name}: {rate:g} Hz from {start} on, {channel.rate:g} Hz before")
            self._channels[name] = channel = _Channel(rate, start.ns, self.length_s)
            self._sensors = None
            self._ahead.clear()
        told, origin = list[str](), channel.origin
        masked = np.ma.isMaskedArray(packet.data)
        values = np.ma.filled(packet.data.astype(float), np.nan) if masked else np.asarray(packet.data, float)
        changed = channel.put(start.ns, values, told)
        self.notes += [f"{name}: {text}" for text in told]
        self.newest[name] = channel.until
        if channel.origin != origin:
            self._ahead.clear()
        return changed

    def table(self) -> pd.DataFrame:
        """A row a channel: network, station, location, channel, rate_hz, start, end."""
        import pandas as pd

        rows = [
            (*name.split("."), c.rate, pd.Timestamp(c.begun), pd.Timestamp(c.until))
            for name, c in sorted(self._channels.items())
        ]
        return pd.DataFrame(
            rows, columns=["network", "station", "location", "channel", "rate_hz", "start", "end"]
        ).astype({"rate_hz": float})

    @property
    def sensors(self) -> dict[str, list[str]]:
        """NET.STA[.LOC] of what sends -> its components."""
        return {sensor: sorted(parts) for sensor, parts in self._chosen().items()}

    def _chosen(self) -> dict[str, dict[str, _Channel]]:
        if self._sensors is None:
            table, self._sensors = self.table(), {}
            notes: list[str] = []
            table = table[[component_of(code) != "" for code in table["channel"]]]  # not the state of an instrument
            for row in chosen(table, "*", None, None, notes).itertuples() if len(table) else ():
                name = f"{row.network}.{row.station}.{row.location}.{row.channel}"
                self._sensors.setdefault(row.sensor, {})[row.component] = self._channels[name]
            self.notes += notes
        return self._sensors

    def spans(self, sensors: Iterable[str]) -> list[tuple[int, int]]:
        """From when to when each channel of some sensors has sent, ns since 1970."""
        mine = [channel for sensor in sensors for channel in self._of(sensor).values()]
        return [(channel.begun, channel.until) for channel in mine]

    def ahead_s(self, sensors: Iterable[str], least_hz: float) -> float:
        """How long after a cut's end samples must be there, so that later ones do not change it, s: 0 if all are sampled alike."""
        key = (*sensors, least_hz)
        if key not in self._ahead:
            mine = [channel for sensor in sensors for channel in self._of(sensor).values()]
            rates = [c.rate for c in mine if _fits(c.rate, least_hz)]
            late = {round(c.origin * c.rate / 1e9 % 1, 2) % 1 for c in mine}
            alike = not rates or (set(rates) <= {least_hz} and len(late) <= 1)
            self._ahead[key] = 0.0 if alike else (REACH + 10 * max(rates) / least_hz + 2) / min(rates)
        return self._ahead[key]

    def read(
        self, sensors: Sequence[str], components: Sequence[str], begin: int, end: int, least_hz: float
    ) -> tuple[np.ndarray, float]:
        """What is known of some sensors from begin to end (ns since 1970): samples (sensor, component, time), NaN where there is none; Hz.

        The rate is the lowest of the channels' that is not below `least_hz`, and `least_hz` if none has such a one; the times are those of
        most channels, and begin at most half a sample off. Channels are brought to them as :func:`geonb.waveforms.archives.cut` does.
        """
        there = {
            (i, j): c
            for i, parts in enumerate(map(self._of, sensors))
            for j, name in enumerate(components)
            if (c := parts.get(name))
        }
        rate = min((c.rate for c in there.values() if _fits(c.rate, least_hz)), default=least_hz)
        late = [round((c.origin - begin) * rate / 1e9 % 1, 2) % 1 for c in there.values() if c.rate == rate]
        n = round((end - begin) / 1e9 * rate)
        begin += round(((max(sorted(late), key=late.count, default=0) + 0.5) % 1 - 0.5) * 1e9 / rate)
        out = np.full((len(sensors), len(components), n), np.nan)
        for (i, j), channel in there.items():
            if not _fits(channel.rate, least_hz):
                self.notes.append(
                    f"{sensors[i]} {components[j]}: {channel.rate:g} Hz cannot be made {least_hz:g} Hz, left out"
                )
                continue
            told: list[str] = []
            try:
                out[i, j] = on_grid(channel.part(begin - EDGE_NS, end + EDGE_NS), begin, rate, n, told)
            except ValueError as error:
                told.append(f"left out, {error}")
            self.notes += [f"{sensors[i]} {components[j]}: {text}" for text in told]
        return out, rate

    def _of(self, sensor: str) -> dict[str, _Channel]:
        return self._chosen().get(sensor, {})


def _fits(rate: float, least_hz: float) -> bool:
    """Whether a rate can be brought to another."""
    try:
        return bool(ratio(rate, least_hz))
    except ValueError:
        return False


class _Channel:
    """Samples of one channel on its own grid of times; NaN where there is none, or where two packets differ."""

    def __init__(self, rate: float, origin: int, length_s: float) -> None:
        self.rate, self.keep = rate, round(length_s * rate)
        self.origin = origin - round(length_s * 1e9)  # what comes late may be older than the first packet
        self.values = np.full(2 * self.keep, np.nan)
        self.torn = np.zeros(2 * self.keep, bool)
        self.begun, self.until = origin, origin  # ns, of the first sample and after the newest
        self.end: int | None = None  # place after the newest sample

    def put(self, start: int, new: np.ndarray, told: list[str]) -> tuple[int, int] | None:
        self.begun, self.until = min(self.begun, start), max(self.until, start + round(len(new) * 1e9 / self.rate))
        at = (start - self.origin) * self.rate / 1e9
        place, off = round(at), (at - round(at)) / self.rate
        if abs(off) > LEFT_S:
            # the newest clock is right: of two that differ it is that of the samples to come
            self.origin += round(off * 1e9)
            if self.end is not None and place < self.end + self.rate:
                told.append(f"the clock moves by {off:+.4f} s at {np.datetime64(start, 'ns')}")
        if self.end is not None and place + len(new) <= self.end - self.keep:
            told.append(f"{len(new)} samples of {np.datetime64(start, 'ns')} come too late, and are not used")
            return None
        place = self._room(place, len(new))
        if place < 0:
            new, place = new[-place:], 0
        part = slice(place, place + len(new))
        old = self.values[part]
        if place >= (self.end or 0) and np.isfinite(new).all():  # it follows, as nearly all do
            self.values[part], self.end = new, part.stop
            return self._times(place, part.stop)
        torn = np.isfinite(old) & np.isfinite(new) & (old != new)
        changed = np.flatnonzero((np.isnan(old) & np.isfinite(new) & ~self.torn[part]) | torn)
        if torn.any():
            told.append(f"{torn.sum()} samples overlap and differ at {np.datetime64(start, 'ns')}: NaN")
        self.torn[part] |= torn
        self.values[part] = np.where(self.torn[part], np.nan, np.where(np.isnan(old), new, old))
        self.end = max(self.end or 0, part.stop)
        if not len(changed):
            return None
        return self._times(place + int(changed[0]), place + int(changed[-1]) + 1)

    def _times(self, first: int, last: int) -> tuple[int, int]:
        return self.origin + round(first * 1e9 / self.rate), self.origin + round(last * 1e9 / self.rate)

    def _room(self, place: int, n: int) -> int:
        """Let the buffer begin later, so that a packet fits in: its place then."""
        if place + n <= len(self.values):
            return place
        shift = place + n - self.keep
        for each, empty in ((self.values, np.nan), (self.torn, False)):
            kept = each[shift:].copy() if shift < len(each) else each[:0]
            each[: len(kept)], each[len(kept) :] = kept, empty
        self.origin += round(shift * 1e9 / self.rate)
        self.end = max(0, (self.end or 0) - shift)
        return place - shift

    def part(self, begin: int, end: int) -> Any:
        """From begin to end (ns), or what of that there is, as far as :func:`on_grid` looks at a Trace."""
        first, last = (round((t - self.origin) * self.rate / 1e9) for t in (begin, end))
        a, b = (int(np.clip(i, 0, self.end or 0)) for i in (first, last))
        start = SimpleNamespace(ns=self.origin + round(a * 1e9 / self.rate))
        stats = SimpleNamespace(sampling_rate=self.rate, npts=b - a, starttime=start)
        return SimpleNamespace(stats=stats, data=self.values[a:b])
