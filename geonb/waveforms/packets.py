"""What live sources share: a note of what happened, waiting without falling silent, what came of each stream, when to try again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from fnmatch import fnmatchcase
from threading import Thread
from time import monotonic, sleep
from typing import Any, TypeAlias

from geonb.base.conventions import short

ENDLESS = 2**63 - 1  # ns
BEAT_S = 1.0  # between signs that nothing came
LONGEST_S = 60.0  # between two attempts to connect
ID = ("network", "station", "location", "channel")
Packet: TypeAlias = Any  # an ObsPy Trace, a Note, or None
Stop: TypeAlias = Callable[[], bool]
Wanted: TypeAlias = Sequence[tuple[str, ...]]  # network, station, location, channel, or patterns


@dataclass(frozen=True)
class Note:
    """A sentence on what happened to a source.

    Attributes
    ----------
    kind : str
        ``"lost"`` (a connection), ``"back"`` (there is one, again), or ``"told"`` (anything else).
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def matches(name: str, wanted: Wanted) -> bool:
    """Whether NET.STA.LOC.CHA is among streams; a pattern does not reach over a dot."""
    return any(all(map(fnmatchcase, name.split("."), parts)) for parts in wanted)


def wild(parts: Sequence[str]) -> bool:
    """Whether one of them is a pattern."""
    return any(set("*?") & set(part) for part in parts)


def part(trace: Any, first: int, last: int) -> Any:
    """Samples from `first` on and before `last`, ns, in a Trace of their own; None if there are none.

    Not ObsPy's slice: parts that adjoin share no sample, and hold no more than their own.
    """
    from obspy import Trace, UTCDateTime

    begin, rate = trace.stats.starttime.ns, trace.stats.sampling_rate
    i, j = (min(max(math.ceil((t - begin) * rate / 1e9 - 1e-3), 0), trace.stats.npts) for t in (first, last))
    header = {key: trace.stats[key] for key in ID} | {"sampling_rate": rate}
    header["starttime"] = UTCDateTime(ns=begin + round(i * 1e9 / rate))
    return Trace(trace.data[i:j].copy(), header) if i < j else None


def wait(seconds: float, stop: Stop) -> Iterator[None]:
    """Wait, with a None each :data:`BEAT_S`."""
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0 and not stop():
        sleep(min(left, BEAT_S))
        if left >= BEAT_S:
            yield None


def meanwhile(stop: Stop, function: Callable[..., Any], *args: Any) -> Generator[None, None, Any]:
    """Call what may block on a network, with a None each :data:`BEAT_S`; gives None if it was stopped, and lets the call end unheard."""
    future = Future[Any]()

    def run() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    while not stop():
        try:
            return future.result(timeout=BEAT_S)
        except TimeoutError:
            if future.done():  # it is the function's own
                raise
            yield None
    return None


class Taken:
    """What came of each stream so far, of a server that goes on for ever."""

    def __init__(self, wanted: Wanted, begin: Any, until: Any, quiet_s: float) -> None:
        self.wanted, self.begin, self.until, self.quiet_s = wanted, begin, until, quiet_s
        self.next = dict[str, Any]()  # stream -> time of the next sample, if there is no gap
        self.heard = monotonic()

    def take(self, trace: Any, twice: bool = True) -> Any:
        """A trace without what is not wanted, or came already if it shall not come `twice`; None if nothing remains."""
        name = trace.id
        if not matches(name, self.wanted):
            return None
        first = self.begin.ns if self.begin else 0
        if name in self.next and not twice:
            first = max(first, (self.next[name] - trace.stats.delta / 2).ns)
        if (trace := part(trace, first, self.until.ns if self.until else ENDLESS)) is not None:
            end = trace.stats.endtime + trace.stats.delta
            self.next[name], self.heard = max(end, self.next.get(name, end)), monotonic()
        return trace

    def since(self, net: str, sta: str) -> Any:
        """From when on data of a station are lacking."""
        return min((t for name, t in self.next.items() if matches(name, [(net, sta, "*", "*")])), default=self.begin)

    @property
    def complete(self) -> bool:
        """Whether all streams that are named without a pattern are at the end, or it has struck, and it is quiet since."""
        if self.until is None:
            return False
        ends = [self.next.get(".".join(parts)) for parts in self.wanted]  # of a pattern None
        done, quiet = all(end and end >= self.until - 1e-3 for end in ends), monotonic() - self.heard
        return quiet > (min(BEAT_S, self.quiet_s) if done else self.quiet_s) and (
            done or type(self.until)() > self.until
        )


class Attempts:
    """When to try again, and what to tell of it."""

    def __init__(self, name: str, check: str, been: bool) -> None:
        self.name, self.check, self.been, self.tries, self.lost = name, check, been, 0, 0.0

    def failed(self, error: Exception, stop: Stop, least_s: float = 0.0) -> Iterator[Packet]:
        """Tell it and wait, ever longer, and at random, so that not all who lost a server come back at once.

        A ConnectionError if it was never there.
        """
        if not self.been:
            cure = f"Check {self.check}; wait=true waits for it"
            raise ConnectionError(f"{self.name} does not answer ({short(error)}). {cure}.") from None
        self.lost, self.tries = self.lost or monotonic(), self.tries + 1
        pause = max(least_s, min(LONGEST_S, 2.0 ** min(self.tries, 9)) * random.uniform(0.25, 0.5))
        yield Note("lost", f"{self.name} is lost ({short(error)}); the next attempt is in {pause:.0f} s")
        yield from wait(pause, stop)

    def back(self) -> Iterator[Note]:
        """Tell that it answers, if that is news."""
        if self.lost:
            yield Note("back", f"{self.name} is back after {monotonic() - self.lost:.0f} s")
        elif not self.tries:
            yield Note("back", f"connected to {self.name}")
        self.been, self.lost = True, 0.0
