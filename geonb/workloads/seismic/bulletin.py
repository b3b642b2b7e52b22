"""What windows say, second by second, as a bulletin: which events, when, of which kind, how sure, by how many votes.

A stretch of windows whose detector says event is an event, or several. Its P is where power first rises, of the seconds of
which windows say so when they stand where training had P; these windows vote. What several stations saw within `together_s` is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from geonb.base.files import whole_file
from geonb.workloads.seismic.metrics import KINDS, joint

STEP_COLUMNS = (
    "station", "step", "time", "event", "explosion", "valid", "power", "semblance", "back_azimuth", "slowness", "onset_s"
)  # fmt: skip
COLUMNS = (
    "event_id", "onset", "kind", "p_noise", "p_earthquake", "p_explosion", "windows", "agreed", "stations", "back_azimuth", "slowness",
    "semblance", "status",
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
    """

    threshold: float = 0.5
    rises: float = 4.0
    apart_s: float = 120.0
    together_s: float = 60.0
    stations: int = 1


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
    onset: float  # s since 1970
    votes: tuple[tuple[float, float], ...]  # probabilities of the heads
    semblance: float
    back_azimuth: float
    slowness: float
    final: bool


class Track:
    """The windows of one station, as far as they are still needed: what is settled is kept as events.

    Parameters
    ----------
    frame, settings : how windows lie, and become events
    """

    def __init__(self, station: str, frame: Frame, settings: Settings) -> None:
        self.station, self.frame, self.settings = station, frame, settings
        self.quiet = max(4, round(QUIET_S / frame.step_s))
        self.rows: dict[int, tuple[float, ...]] = {}  # window -> STEP_COLUMNS from `event` on
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
        for first, last, _ in stretches:
            if first <= before <= last + HOLES + 1:
                before = first - HOLES - 1
        old = [seen for stretch in stretches if stretch[1] < before for seen in self._of(*stretch)]
        if before <= self.floor or not all(seen.final for seen in old):
            return
        self._settled += old
        self.floor = before
        self.rows = {k: row for k, row in self.rows.items() if k >= before - self.frame.span - self.quiet}

    def _stretches(self) -> list[tuple[int, int, bool]]:
        """First and last window of each stretch that says event, and whether it is over."""
        if not self.rows:
            return []
        steps = np.array(sorted(self.rows))
        yes = steps[[self.rows[k][0] >= self.settings.threshold for k in steps.tolist()]]
        yes = yes[yes >= self.floor]
        if not len(yes):
            return []
        cuts = np.flatnonzero(np.diff(yes) > HOLES + 1)
        firsts, lasts = yes[[0, *(cuts + 1)]], yes[[*cuts, -1]]
        return [(int(a), int(b), bool(steps[-1] > b + HOLES)) for a, b in zip(firsts, lasts, strict=True)]

    def _of(self, first: int, last: int, over: bool) -> list[Seen]:
        """The events of a stretch, the one of the largest rise first."""
        frame, settings, newest = self.frame, self.settings, max(self.rows)
        behind = frame.span - frame.before  # windows from the one that ends with a block to the one with P there
        # block b ends with window b + 1
        found: list[int] = []
        blocks = np.arange(first - behind, (last if over else min(last, newest)) - behind + 1)
        rises = self._rises(int(blocks[0]), int(blocks[-1])) if len(blocks) else np.zeros(0)
        apart = round(settings.apart_s / frame.step_s)
        for i in np.argsort(-rises, kind="stable"):
            # what rises most may be S: P is the first that rises well above what noise does
            early = [j for j in range(max(0, i - apart), i) if rises[j] >= RISEN]
            b = int(blocks[early[0] if early else i])
            strong = not found or rises[i] >= np.log(settings.rises)
            if np.isfinite(rises[i]) and strong and all(abs(b - other) >= apart for other in found):
                found.append(b)
        return [self._seen(b, first, behind, over) for b in sorted(found)]

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

    def _seen(self, b: int, first: int, behind: int, over: bool) -> Seen:
        votes = round(VOTES_S / self.frame.step_s)
        wanted = range(b + behind - votes, b + behind + votes + 1)
        told = [(row[0], row[1]) for k in wanted if (row := self.rows.get(k)) and np.isfinite(row[0])]
        row = self.rows[b + 1]
        near = [r for k in (b, b + 1, b + 2) if (r := self.rows.get(k)) and np.isfinite(r[4])]
        best = max(near, key=lambda r: r[3], default=(np.nan,) * 8)
        onset = b * self.frame.step_s + (row[7] if np.isfinite(row[7]) else 0.0)
        final = over and max(self.rows) >= wanted[-1]
        return Seen(self.station, first, onset, tuple(told), best[4], best[5], best[6], final)


def step_line(station: str, k: int, step_s: float, row: Sequence[float]) -> str:
    """A line of steps.csv; window k ends k * step_s seconds after 1970 began."""
    when = np.datetime64(round(k * step_s * 1000), "ms")
    return ",".join([station, str(k), str(when), *("" if np.isnan(v) else f"{v:.7g}" for v in row)]) + "\n"


def read_steps(path: Path) -> dict[str, dict[int, tuple[float, ...]]]:
    """Rows of steps.csv by station and window, the last of each."""
    table = (
        pd.read_csv(path, dtype={"station": str})
        .dropna(subset=["step"])
        .drop_duplicates(["station", "step"], keep="last")
    )
    values = list(table[list(STEP_COLUMNS[3:])].astype(float).itertuples(index=False, name=None))
    found: dict[str, dict[int, tuple[float, ...]]] = {}
    for station, k, row in zip(table["station"], table["step"], values, strict=True):
        found.setdefault(station, {})[int(k)] = row
    return found


def events_of(tracks: Iterable[Track], settings: Settings) -> pd.DataFrame:
    """The bulletin: a row an event, in the order of time.

    Returns
    -------
    DataFrame of :data:`COLUMNS`: ``onset`` (UTC) of P at the first station; mean probabilities; ``windows`` that voted and ``agreed``, the
    share of them whose own likeliest kind is that of the bulletin; ``stations``, joined by blanks; ``back_azimuth`` (degrees) and
    ``slowness`` (s/km) by the scan at the station of the highest semblance, NaN without an array; ``status``, open as long as windows
    that vote are missing, then final. ``attrs["seen"]``: by event what each station saw.
    """
    singles = sorted(
        (seen for track in tracks for seen in track.events() if seen.votes), key=lambda seen: (seen.onset, seen.station)
    )
    groups: list[list[Seen]] = []
    for seen in singles:
        mine = groups[-1] if groups else []
        fits = (
            mine and seen.onset - mine[0].onset <= settings.together_s and seen.station not in {s.station for s in mine}
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
        onset = pd.Timestamp(round(group[0].onset * 1e3), unit="ms")
        name = f"{onset:%Y%m%dT%H%M%S}"
        name += f"-{sum(other.partition('-')[0] == name for other in kept)}" if name in kept else ""
        agreed = float((votes.argmax(1) == told.argmax()).mean())
        status = "final" if all(seen.final for seen in group) else "open"
        stations = " ".join(seen.station for seen in group)
        where = best.back_azimuth, best.slowness, best.semblance
        rows.append((name, onset, kind, *told, len(votes), agreed, stations, *where, status))
        kept[name] = group
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["seen"] = kept
    return table


def write(
    table: pd.DataFrame, folder: Path, facts: Mapping[str, Any], seen: Mapping[str, list[Seen]] | None = None
) -> None:
    """``bulletin.csv`` and ``bulletin.xml`` (QuakeML), each whole or not at all.

    Parameters
    ----------
    facts : title, simulated; they stand in the QuakeML
    seen : as ``table.attrs["seen"]``, which pandas copies whenever it touches the table
    """
    seen = table.attrs.pop("seen", {}) if seen is None else seen
    with whole_file(folder / "bulletin.csv") as partial:
        shown = table.assign(onset=table["onset"].map(lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"))
        shown.round({name: 4 for name in COLUMNS[3:]}).to_csv(partial, index=False)
    with whole_file(folder / "bulletin.xml") as partial:
        quakeml(table, facts, seen).write(str(partial), "QUAKEML")


def quakeml(table: pd.DataFrame, facts: Mapping[str, Any], seen: Mapping[str, list[Seen]]) -> Any:
    """ObsPy's Catalog: each event with its type, a pick of P a station, and a comment that says how sure that is. It tells no place."""
    from obspy import UTCDateTime
    from obspy.core import event as of
    from obspy.geodetics import degrees2kilometers

    events = []
    for row in table.itertuples():
        said = f"geonb: earthquake {row.p_earthquake:.3f}, explosion {row.p_explosion:.3f}, {row.windows} windows, {row.agreed:.0%} agree"
        said += ", SIMULATED waveforms in training" if facts.get("simulated") else ""
        base, picks = f"smi:local/geonb/{row.event_id}", []
        for one in seen.get(row.event_id, ()):
            parts = one.station.split(".")  # an array has a name, a sensor NET.STA[.LOC]
            net, station, place = [*parts, "", ""][:3] if len(parts) > 1 else ("XX", *parts, "")
            pick = of.Pick(
                resource_id=of.ResourceIdentifier(f"{base}/{one.station}"), time=UTCDateTime(one.onset), phase_hint="P",
                evaluation_mode="automatic", waveform_id=of.WaveformStreamID(net, station, place or None),
            )  # fmt: skip
            if np.isfinite(one.slowness):
                pick.backazimuth, pick.horizontal_slowness = one.back_azimuth, one.slowness * degrees2kilometers(1)
            picks.append(pick)
        events.append(
            of.Event(
                resource_id=of.ResourceIdentifier(base),
                event_type=row.kind,
                event_type_certainty="suspected",
                picks=picks,
                comments=[of.Comment(text=said, force_resource_id=False)],
            )
        )
    return of.Catalog(events, resource_id=of.ResourceIdentifier("smi:local/geonb/bulletin"))


def read(folder: str | Path) -> pd.DataFrame:
    """The bulletin that stands in a folder: DataFrame of :data:`COLUMNS`, `onset` in UTC."""
    path = Path(folder) / "bulletin.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there: nothing was watched into this folder. Give a source, or another folder"
        )
    texts = ("event_id", "onset", "kind", "stations", "status")
    table = pd.read_csv(path, dtype={name: str if name in texts else float for name in COLUMNS})
    return table.assign(onset=pd.to_datetime(table["onset"], utc=True).dt.tz_localize(None).astype("datetime64[ns]"))


def compared(
    table: pd.DataFrame, events: pd.DataFrame, arrivals: Sequence[Any], within_s: float = 15.0
) -> pd.DataFrame:
    """A bulletin beside a catalogue: which events were found, and as what.

    Parameters
    ----------
    events : DataFrame of :func:`geonb.waveforms.catalogues.read_events`
    arrivals : UTC, of P of each of them where the bulletin's stations are; NaT where nobody knows
    within_s : float, s
        An onset so near is the event's.

    Returns
    -------
    DataFrame, a row an event of either: event_id, catalogued (kind), arrival, told (kind; empty if it was missed), onset, off_s, and of
    the bulletin's alone `catalogued` is empty
    """
    onsets, used, rows = table["onset"].to_numpy("datetime64[ns]"), set[int](), []
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
