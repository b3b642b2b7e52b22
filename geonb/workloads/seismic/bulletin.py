"""What windows say, second by second, as a bulletin: which events, when, of which kind, how sure, by how many votes.

A stretch of windows whose detector says event is an event, or several. Its P is where power first rises, of the seconds of
which windows say so when they stand where training had P; these windows vote. Where no power rises the onset is not known: it stays
empty, and all windows of the stretch vote. A stretch that lasts longer than `longest_s` is cut; what follows tells of further events
only where power rises as for a second one. What several stations saw within `together_s` is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from geonb.waveforms import bulletins
from geonb.workloads.seismic.metrics import KINDS, joint

STEP_COLUMNS = ("event", "explosion", "valid", "power", "semblance", "back_azimuth", "slowness", "onset_s")
COLUMNS = (
    "event_id", "onset", "detected", "kind", "p_noise", "p_earthquake", "p_explosion", "windows", "majority", "agreed", "stations",
    "back_azimuth", "slowness", "semblance", "status", "remark",
)  # fmt: skip
HOLES = 2  # windows in a row that may say noise within an event
QUIET_S = 60.0  # before a block, above whose median its power rises
RISEN = np.log(2)  # of a block's power, 4 standard deviations of noise in 5 s of 2-8 Hz (2 B T = 60 degrees of freedom)
VOTES_S = 10.0  # on each side of the window with P where training had it, others vote, too


@dataclass(frozen=True)
class Settings:
    """How windows become events.

    Attributes
    ----------
    threshold : float, 0-1
        Probability of an event from which a window's detector says event.
    rises : float
        Power over that before, from which a second event is told in one stretch of windows.
    apart_s : float, s
        By which two events in one stretch of windows are apart at least: what follows P sooner is its own S and coda.
    together_s : float, s
        Onsets at several stations so near to each other are one event's.
    stations : int
        That must have seen an event.
    longest_s : float, s
        How long windows can say event without a break until they are told of as an event that went on for longer.
    """

    threshold: float = 0.5
    rises: float = 4.0
    apart_s: float = 120.0
    together_s: float = 60.0
    stations: int = 1
    longest_s: float = 1800.0


@dataclass(frozen=True)
class Frame:
    """How windows lie: seconds between two; blocks of so many seconds in one; blocks of it before P."""

    step_s: float
    span: int
    before: int


@dataclass(frozen=True)
class Seen:
    """What one array, or station, saw of an event."""

    station: str
    first: int  # first window of its stretch
    detected: float  # s since 1970, when that window ended
    onset: float  # s since 1970; NaN where no power rises
    votes: tuple[tuple[float, float], ...]  # probabilities of the heads
    semblance: float
    back_azimuth: float
    slowness: float
    final: bool
    longer: bool  # its stretch went on for longer than an event can

    @property
    def time(self) -> float:
        """By which it is placed, s since 1970."""
        return self.detected if np.isnan(self.onset) else self.onset


class Track:
    """The windows of one station, as far as they are still needed: what is settled is kept as events.

    Parameters
    ----------
    frame, settings : how windows lie, and become events
    """

    def __init__(self, station: str, frame: Frame, settings: Settings) -> None:
        self.station, self.frame, self.settings = station, frame, settings
        self.quiet = max(4, round(QUIET_S / frame.step_s))
        self.apart, self.longest = (round(s / frame.step_s) for s in (settings.apart_s, settings.longest_s))
        self.rows: dict[int, tuple[float, ...]] = {}  # window -> STEP_COLUMNS
        self.floor = -(2**62)  # stretches that begin before are settled
        self._settled: list[Seen] = []

    def events(self) -> list[Seen]:
        """All that was seen."""
        return self._settled + [seen for stretch in self._stretches() for seen in self._of(*stretch)]

    def settle(self, before: int) -> None:
        """Keep as events what no window from `before` on can change, and forget its windows."""
        if not self.rows or (self.floor > 0 and before - self.floor < 4 * self.frame.span):
            return
        stretches = self._stretches()
        for first, last, *_ in stretches:
            if first <= before <= last + HOLES + 1:
                before = first
        old = [seen for stretch in stretches if stretch[1] < before for seen in self._of(*stretch)]
        if before <= self.floor or not all(seen.final for seen in old):
            return
        self._settled += old
        self.floor = before
        self.rows = {k: row for k, row in self.rows.items() if k >= before - self.memory}

    @property
    def memory(self) -> int:
        """Windows before a stretch that what is told of it depends on."""
        return self.frame.span + self.quiet + self.apart

    def forget(self, until: float) -> int:
        """Forget what was seen before a time (s since 1970); the first window that what is left depends on, but for its `memory`."""
        self._settled = [seen for seen in self._settled if seen.time >= until]
        return min([self.floor, *(seen.first for seen in self._settled)])

    def _stretches(self) -> list[tuple[int, int, bool, bool, bool]]:
        """First and last window of each stretch that says event; whether it is over, goes on one that was cut, and is cut itself."""
        if not self.rows:
            return []
        steps = np.array(sorted(self.rows))
        yes = steps[[self.rows[k][0] >= self.settings.threshold for k in steps.tolist()]]
        stretches: list[tuple[int, int, bool]] = []  # first and last window; it goes on what was cut
        before = -math.inf
        for k in yes.tolist():
            goes_on, before = k - before <= HOLES + 1, k
            if goes_on and stretches and k - stretches[-1][0] < self.longest:
                stretches[-1] = stretches[-1][0], k, stretches[-1][2]
            elif k >= self.floor:
                stretches.append((k, k, goes_on))
        cut = [*(goes_on for _, _, goes_on in stretches[1:]), False]
        return [
            (a, b, far or bool(steps[-1] > b + HOLES), on, far) for (a, b, on), far in zip(stretches, cut, strict=False)
        ]

    def _of(self, first: int, last: int, over: bool, goes_on: bool, longer: bool) -> list[Seen]:
        """The events of a stretch; one whose onset is not known if no power rises."""
        # block b ends with window b + 1, and stands where training had P so many windows later
        behind = self.frame.span - self.frame.before
        # the last blocks of what was cut are looked at too, as this may be the S of their P
        found: list[int] = []
        blocks = np.arange(first - behind - (self.apart if goes_on else 0), last - behind + 1)
        rises = self._rises(int(blocks[0]), int(blocks[-1]))
        for i in np.argsort(-rises, kind="stable"):
            # what rises most may be S: P is the first that rises well above what noise does
            early = [j for j in range(max(0, i - self.apart), i) if rises[j] >= RISEN]
            b = int(blocks[early[0] if early else i])
            strong = rises[i] >= (np.log(self.settings.rises) if found or goes_on else RISEN)
            if strong and all(abs(b - other) >= self.apart for other in found):
                found.append(b)
        mine = sorted(b for b in found if b >= first - behind) if found or goes_on else [None]
        return [self._seen(b, first, last, over, longer and b == mine[-1]) for b in mine]

    def _rises(self, first: int, last: int) -> np.ndarray:
        """Logarithm of the power of blocks first to last over the median of those before each; NaN where that is not known."""
        rows = (self.rows.get(b + 1) for b in range(first - self.quiet, last + 1))
        power = np.array([row[3] if row else np.nan for row in rows])
        before = sliding_window_view(power, self.quiet)[:-1]
        known = np.isfinite(before).any(1)
        median = np.full(len(before), np.nan)
        median[known] = np.nanmedian(before[known], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            rises = np.log(power[self.quiet :] / median)
        return np.where(np.isfinite(rises), rises, np.nan)

    def _seen(self, b: int | None, first: int, last: int, over: bool, longer: bool) -> Seen:
        """An event with P in block b, or nobody knows where."""
        votes, middle = round(VOTES_S / self.frame.step_s), (b or 0) + self.frame.span - self.frame.before
        wanted = range(first, last + 1) if b is None else range(middle - votes, middle + votes + 1)
        told = [(row[0], row[1]) for k in wanted if (row := self.rows.get(k)) and np.isfinite(row[0])]
        near = [r for k in (b, b + 1, b + 2) if (r := self.rows.get(k)) and np.isfinite(r[4])] if b is not None else []
        best = max(near, key=lambda r: r[3], default=(np.nan,) * 8)
        onset = np.nan if b is None else b * self.frame.step_s + np.nan_to_num(self.rows[b + 1][7])
        final, detected = over and max(self.rows) >= wanted[-1], first * self.frame.step_s
        return Seen(self.station, first, detected, float(onset), tuple(told), best[4], best[5], best[6], final, longer)


def events_of(tracks: Iterable[Track], settings: Settings, since: float = -math.inf) -> pd.DataFrame:
    """The bulletin: a row an event, in the order of time.

    Parameters
    ----------
    since : float, s since 1970
        What was seen before is left out.

    Returns
    -------
    DataFrame of :data:`COLUMNS`: ``onset`` (UTC) of P at the first station, NaT if no power rises at any; ``detected``, when the first
    window that says event ended; mean probabilities and ``kind``, the likeliest by them; ``windows`` that voted, ``majority``, the kind
    that most of them say, and ``agreed``, the share of them that say `kind`; ``stations``, joined by blanks; ``back_azimuth`` (degrees) and
    ``slowness`` (s/km) by the scan at the station of the highest semblance, NaN without an array; ``status``, open as long as windows
    that vote are missing, then final; ``remark``, in words. ``attrs``: ``seen``, by event what each station saw; ``begins``, of each event
    or none when it was seen first, s since 1970.
    """
    every = [seen for track in tracks for seen in track.events() if seen.votes and seen.time >= since]
    singles = sorted(every, key=lambda seen: (seen.time, seen.station))
    groups: list[list[Seen]] = []
    for seen in singles:
        mine = groups[-1] if groups else []
        fits = (
            mine and seen.time - mine[0].time <= settings.together_s and seen.station not in {s.station for s in mine}
        )
        groups[-1].append(seen) if fits else groups.append([seen])
    rows, kept = [], dict[str, list[Seen]]()
    for group in groups:
        votes = joint(np.array([vote for seen in group for vote in seen.votes]))
        told = votes.mean(0)
        kind = KINDS[told.argmax()]
        if kind == "noise" or len({".".join(seen.station.split(".")[:2]) for seen in group}) < settings.stations:
            continue
        best = max(group, key=lambda seen: np.nan_to_num(seen.semblance))
        onsets = [seen.onset for seen in group if np.isfinite(seen.onset)]
        first, detected = min(onsets, default=group[0].time), min(seen.detected for seen in group)
        when, detected = (pd.Timestamp(round(t * 1e3), unit="ms") for t in (first, detected))
        name = f"{when:%Y%m%dT%H%M%S}"
        name += f"-{sum(other.partition('-')[0] == name for other in kept)}" if name in kept else ""
        said = votes.argmax(1)
        majority, agreed = KINDS[np.bincount(said).argmax()], float((said == told.argmax()).mean())
        status = "final" if all(seen.final for seen in group) else "open"
        stations = " ".join(seen.station for seen in group)
        where = best.back_azimuth, best.slowness, best.semblance
        remarks = ["no power rises, so the onset is not known"] * (not onsets)
        remarks += [f"went on for more than {settings.longest_s:g} s"] * any(seen.longer for seen in group)
        times = when if onsets else pd.NaT, detected
        rows.append(
            (name, *times, kind, *told, len(votes), majority, agreed, stations, *where, status, "; ".join(remarks))
        )
        kept[name] = group
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(bulletins.TIMES, "datetime64[ns]"))
    table.attrs |= {"seen": kept, "begins": [group[0].time for group in groups]}
    return table


def said_of(event: Any, facts: Mapping[str, Any]) -> str:
    """A row of the bulletin in words, for the QuakeML."""
    sure = f"geonb: earthquake {event.p_earthquake:.3f}, explosion {event.p_explosion:.3f}"
    sure += f", {event.windows} windows, {event.agreed:.0%} agree, detected {event.detected:%Y-%m-%dT%H:%M:%S}Z"
    simulated = "SIMULATED waveforms in training" if facts.get("simulated") else ""
    return ", ".join(filter(None, (sure, event.remark, simulated)))


def read(folder: str | Path) -> pd.DataFrame:
    """The bulletin that stands in a folder: DataFrame of :data:`COLUMNS`, times in UTC."""
    return bulletins.read(folder, COLUMNS)


def compared(
    table: pd.DataFrame, events: pd.DataFrame, arrivals: Sequence[Any], within_s: float = 15.0
) -> pd.DataFrame:
    """A bulletin beside a catalogue: which events were found, and as what.

    Parameters
    ----------
    events : DataFrame of :func:`geonb.waveforms.catalogues.read_events`
    arrivals : UTC, of P of each of them where the bulletin's stations are; NaT where nobody knows
    within_s : float, s
        An onset so near is the event's; where it is not known, that window's end which detected it.

    Returns
    -------
    DataFrame, a row an event of either: event_id, catalogued (kind), arrival, told (kind; empty if it was missed), onset, off_s, and of
    the bulletin's alone `catalogued` is empty
    """
    onsets, used, rows = table["onset"].fillna(table["detected"]).to_numpy("datetime64[ns]"), set[int](), []
    for event, arrival in zip(events.to_dict("records"), pd.to_datetime(pd.Series(arrivals)), strict=True):
        off = (
            np.abs((onsets - np.datetime64(arrival, "ns")) / np.timedelta64(1, "s"))
            if len(onsets) and pd.notna(arrival)
            else []
        )
        near = int(np.argmin(off)) if len(off) else -1
        hit = near >= 0 and off[near] <= within_s and near not in used
        used |= {near} if hit else set()
        mine = table.iloc[near] if hit else {"kind": "", "onset": pd.NaT}
        rows.append(
            {
                "event_id": event["event_id"], "catalogued": event["kind"], "arrival": arrival, "told": mine["kind"],
                "onset": mine["onset"], "off_s": float(off[near]) if hit else np.nan,
            }
        )  # fmt: skip
    for i, row in enumerate(table.itertuples()):
        if i not in used:
            rows.append({"event_id": row.event_id, "catalogued": "", "told": row.kind, "onset": row.onset})
    columns = ["event_id", "catalogued", "arrival", "told", "onset", "off_s"]
    return pd.DataFrame(rows, columns=columns).sort_values("onset", kind="stable", ignore_index=True)


def said(beside: pd.DataFrame, hours: float) -> str:
    """Found, missed, right kind and unknown of :func:`compared`, in a sentence with counts."""
    known = beside[beside["catalogued"] != ""]
    found, more = known[known["told"] != ""], len(beside) - len(known)
    right = int((found["told"] == found["catalogued"]).sum())
    return (
        f"{len(known)} catalogued events in {hours:.1f} h: {len(found)} found, {len(known) - len(found)} missed; {right} of those found "
        f"have the catalogue's kind. {more} more events that it does not know, {more / max(hours, 1e-9):.1f} an hour."
    )
