"""Where live waveforms come from: a SeedLink server, an FDSN service that is asked again and again, or an archive that is replayed.

All give the same: packets as ObsPy's Traces, in about the order of time; None about once a second while nothing comes, so that whoever
takes them can do what is due; and a :class:`Note` of whatever happened. Late, doubled and lost packets are the taker's to bear.
"""

from __future__ import annotations

import glob
import math
import random
import re
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from heapq import heappop, heappush
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np

from geonb.base.conventions import redacted, refuse, short
from geonb.base.specs import Option, check_options, pick
from geonb.waveforms import archives
from geonb.waveforms.preparation import utc

BLOCK_S = 3600  # of an archive that is in memory at a time, and that an FDSN service is asked for at once
BACK_S = 86_400  # a stream that was silent for longer is not asked for all of it
GAPS_S = 600  # a replay's `gap_s` comes once in each
ENDLESS = 2**63 - 1  # ns
LONGEST_S = 60.0  # between two attempts to connect
PART = re.compile(r"[A-Za-z0-9?*]*")
_WAIT = Option(False, bool, help="for a server that is not there at the start, too")
_QUIET = Option(60.0, float, least=0, help="s: with an end, how long after it nothing must come until it is over")
_SHARE = Option(0.0, float, 0, 1, help="of the packets, at random")
SOURCES = {
    "seedlink": {
        "wait": _WAIT,
        "quiet_s": _QUIET,
        "timeout_s": Option(20.0, float, above=0, help="s, for each answer while connecting"),
        "silence_s": Option(
            60.0, float, above=0, help="s without a packet until the server is asked for a sign of life"
        ),
    },
    "fdsn": {
        "wait": _WAIT,
        "quiet_s": _QUIET,
        "timeout_s": Option(60.0, float, above=0, help="s, for an answer"),
        "poll_s": Option(30.0, float, above=0, help="s between two requests"),
        "latency_s": Option(10.0, float, least=0, help="s before now that are not asked for yet"),
    },
    "replay": {
        "packet_s": Option(5.0, float, least=0.1, most=600, help="s, of a packet"),
        "jump_s": Option(3600.0, float, above=0, choices=("none",), help="s without any data that are jumped over"),
        "shuffle_s": Option(0.0, float, 0, 600, help="s, up to which packets are late, so out of order too"),
        "drop": _SHARE,
        "repeat": _SHARE,
        "gap_s": Option(0.0, float, 0, below=GAPS_S, help=f"s that each stream lacks in each {GAPS_S} s"),
        "seed": Option(0, int, 0, help="of these four"),
    },
}
FORMS = "seedlink://host[:port], fdsn:IRIS, fdsn:https://host or replay:FOLDER@SPEED (1 is real time, max or none as fast as it goes)"


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


Packet: TypeAlias = Any  # an ObsPy Trace, a Note, or None
Packets: TypeAlias = Iterator[Packet]
Stop: TypeAlias = Callable[[], bool]
Wanted: TypeAlias = list[tuple[str, ...]]


@dataclass(frozen=True)
class Source:
    """Where waveforms come from, of :func:`check_source`; as a text it says so in words.

    Attributes
    ----------
    scheme : str
        One of :data:`SOURCES`.
    where : str
        host:port, the address of a service, or files.
    options : mapping
        All that the scheme takes; `speed` of a replay too, in seconds a second.
    index : DataFrame, of a replay
        Of :func:`~geonb.waveforms.archives.index_files`.
    """

    scheme: str
    where: str
    options: Mapping[str, Any]
    index: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        if self.scheme == "seedlink":
            return f"the SeedLink server {self.where}"
        if self.scheme == "fdsn":
            return f"the FDSN service {self.where}, asked every {self.options['poll_s']:g} s"
        fast = self.options["speed"]
        return f"a replay of {self.where} " + (
            f"at {fast:g} times real time" if math.isfinite(fast) else "as fast as it goes"
        )

    def packets(
        self, streams: Sequence[str], begin: Any = None, until: Any = None, stop: Stop | None = None
    ) -> Packets:
        """What comes, as it comes.

        Parameters
        ----------
        streams : sequence of str
            SEED identifiers, ``NS.KTK1..HHZ``, or patterns of them, ``NS.KTK*.*.HH?``.
        begin, until : times, UTC, optional
            Samples from `begin` on and before `until`. Without `begin` a server gives what comes from now on, an archive all it has;
            without `until` only an archive ends. A server is done when all streams that are named without a pattern have reached
            `until`, or that hour has struck and nothing new came for ``quiet_s``.
        stop : callable, optional
            Asked about once a second, and ends it.

        Yields
        ------
        Packet: Trace, :class:`Note`, or None about once a second while nothing comes

        Raises
        ------
        ValueError
            At once: streams that are none, an end before the begin, or an archive that has nothing of it.
        ConnectionError
            A server that is not there at the first attempt (``wait=true`` waits for it), or refuses for good. One that was there
            once is tried for ever.
        """
        wanted, first, last = check_streams(streams), _time(begin), _time(until)
        if first and last and first >= last:
            raise ValueError(f"The end, {last}, must be after the begin, {first}.")
        return _TAKE[self.scheme](self, wanted, first, last, stop or (lambda: False))


def check_source(text: str) -> Source:
    """What a text names: ``seedlink://host[:port]``, ``fdsn:IRIS``, ``fdsn:https://host`` or ``replay:FOLDER@SPEED``.

    Options follow after commas, ``replay:archive@500,shuffle_s=20,seed=1``: :data:`SOURCES`. The speed of a replay is what follows the
    last ``@`` (of a path that has one in its last part, give the speed too). Of an archive all headers are read; no server is asked.

    Raises
    ------
    ValueError
        Lists all that is wrong, and what is allowed.
    """
    scheme, _, rest = text.partition(":")
    pick("source", scheme, SOURCES, redacted(text), f": {FORMS}")
    (where, *given), faults = re.split(r",(?=\w+=)", rest), list[str]()
    try:
        options = check_options("source", f"{scheme}:{','.join(given)}" if given else scheme, SOURCES)[1]
    except ValueError as error:
        faults += [line.removeprefix("- ") for line in str(error).splitlines()[1:]] or [str(error)]
    where, more, index = {"seedlink": _server, "fdsn": _service, "replay": _archive}[scheme](where, faults)
    refuse(f"source = {redacted(text)!r} is not right", faults, cure=f"Write {FORMS}; options follow as ,key=value.")
    return Source(scheme, where, options | more, index)


def check_streams(streams: Sequence[str]) -> Wanted:
    """NET.STA.LOC.CHA in its parts; a ValueError lists what is none."""
    wanted = [tuple(text.strip().split(".")) for text in ([streams] if isinstance(streams, str) else streams)]
    wrong = [
        ".".join(w) for w in wanted if len(w) != 4 or not all(map(PART.fullmatch, w)) or not all((w[0], w[1], w[3]))
    ]
    faults = wrong if wanted else ["there is none"]
    refuse(
        "These streams are not right",
        faults,
        cure="Write NET.STA.LOC.CHA, with ? and * for any: NS.KTK1..HHZ, NS.KTK*.*.HH?.",
    )
    return list(dict.fromkeys(wanted))


def _server(where: str, faults: list[str]) -> tuple[str, dict[str, Any], Any]:
    url = urlsplit(where)
    try:
        port = url.port
    except ValueError:
        port = None
    told = url.netloc.rpartition("@")[2]
    if not where.startswith("//") or not url.hostname or url.path or url.query or url.fragment or "[" in told:
        faults.append(f"{redacted(where)!r} names no host (IPv6 addresses are not read: give a name)")
    elif told != url.netloc:
        faults.append("it carries a name or a password, which SeedLink does not take")
    elif (":" in told and not port) or port == 0:
        faults.append(f"the port {told.rpartition(':')[2]!r} must be a whole number from 1 to 65535")
    return f"{url.hostname}:{port or 18000}", {}, None


def _service(where: str, faults: list[str]) -> tuple[str, dict[str, Any], Any]:
    from obspy.clients.fdsn.header import URL_MAPPINGS

    url = urlsplit(where)
    if "@" in url.netloc:
        faults.append("it carries a name or a password, which is not supported")
    elif url.scheme in ("http", "https") and url.netloc:
        return where.rstrip("/"), {}, None
    elif where.upper() in URL_MAPPINGS:  # "IRIS" is of before it became EarthScope
        return where.upper().replace("IRIS", "EARTHSCOPE") if where.upper() == "IRIS" else where.upper(), {}, None
    else:
        near = get_close_matches(where.upper(), URL_MAPPINGS, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(sorted(URL_MAPPINGS))}."
        faults.append(f"{where!r} is neither http(s)://host nor a service that ObsPy knows.{hint}")
    return where, {}, None


def _archive(where: str, faults: list[str]) -> tuple[str, dict[str, Any], Any]:
    path, mark, fast = where.rpartition("@")
    if not mark or "/" in fast:
        path, fast = where, "max"
    try:
        speed = math.inf if fast == "max" else float(fast)
    except ValueError:
        speed = math.nan
    if not speed > 0:
        faults.append(f"the speed {fast!r} must be a number above 0, or max")
    try:
        index = archives.index_files(path)
    except ValueError as error:
        index = None
        faults += [line.removeprefix("- ") for line in str(error).splitlines()[1:]] or [str(error)]
    return path, {"speed": speed}, index


def _time(time: Any) -> Any:
    """ObsPy's UTCDateTime of a time, None of None."""
    from obspy import UTCDateTime

    return time if time is None or isinstance(time, UTCDateTime) else UTCDateTime(ns=utc(time).value)


def _wild(wanted: Iterable[str]) -> bool:
    return any(set("*?") & set(part) for part in wanted)


def _matches(name: str, wanted: Wanted) -> bool:
    """Whether NET.STA.LOC.CHA is among streams; a pattern does not reach over a dot."""
    return any(all(map(fnmatchcase, name.split("."), parts)) for parts in wanted)


def _wait(seconds: float, stop: Stop) -> Iterator[None]:
    """Wait, with a None each second."""
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0 and not stop():
        sleep(min(left, 1.0))
        if left >= 1:
            yield None


def _meanwhile(stop: Stop, function: Callable[..., Any], *args: Any) -> Generator[None, None, Any]:
    """Call what may block on a network, with a None each second; gives None if it was stopped, and lets the call end unheard."""
    future = Future[Any]()

    def run() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    while not stop():
        try:
            return future.result(timeout=1)
        except TimeoutError:
            if future.done():  # it is the function's own
                raise
            yield None
    return None


def _part(trace: Any, first: int, last: int) -> Any:
    """Samples from `first` on and before `last`, ns, in a trace of their own; None if there are none.

    Not ObsPy's slice: parts that adjoin share no sample, and hold no more than their own.
    """
    from obspy import Trace, UTCDateTime

    stats = trace.stats
    begin, rate = stats.starttime.ns, stats.sampling_rate
    i, j = (min(max(math.ceil((t - begin) * rate / 1e9 - 1e-3), 0), stats.npts) for t in (first, last))
    header = {key: stats[key] for key in (*archives.ID, "sampling_rate")}
    return (
        Trace(trace.data[i:j].copy(), header | {"starttime": UTCDateTime(ns=begin + round(i * 1e9 / rate))})
        if i < j
        else None
    )


class _Taken:
    """What came of each stream so far."""

    def __init__(self, wanted: Wanted, begin: Any, until: Any, quiet_s: float) -> None:
        self.wanted, self.begin, self.until, self.quiet_s = wanted, begin, until, quiet_s
        self.next = dict[str, Any]()  # stream -> time of the next sample, if there is no gap
        self.heard = monotonic()

    def take(self, trace: Any, since: Any = None) -> Any:
        """A trace without what is not wanted, None if nothing remains."""
        if not _matches(trace.id, self.wanted):
            return None
        first = max((t.ns for t in (since, self.begin) if t), default=0)
        if (trace := _part(trace, first, self.until.ns if self.until else ENDLESS)) is None:
            return None
        end = trace.stats.endtime + trace.stats.delta
        self.next[trace.id], self.heard = max(end, self.next.get(trace.id, end)), monotonic()
        return trace

    def since(self, net: str, sta: str) -> Any:
        """From when on data of a station are lacking."""
        reached = [t for name, t in self.next.items() if _matches(name, [(net, sta, "*", "*")])]
        return min(reached, default=self.begin)

    @property
    def complete(self) -> bool:
        from obspy import UTCDateTime

        if self.until is None:
            return False
        ends = [self.next.get(".".join(w)) for w in self.wanted]
        reached = all(end and end >= self.until - 1e-3 for end in ends)  # by a pattern never
        quiet = monotonic() - self.heard
        return (quiet > self.quiet_s and UTCDateTime() > self.until) or (reached and quiet > min(1.0, self.quiet_s))


class _Attempts:
    """When to try again, and what to tell of it."""

    def __init__(self, source: Source, check: str) -> None:
        self.source, self.check, self.been, self.tries, self.lost = source, check, source.options["wait"], 0, 0.0

    def failed(self, error: Exception, least_s: float = 0.0) -> tuple[float, Note]:
        """How long to wait (growing, at random, so that not all who lost a server come back at once), and a note of why."""
        name = self.source.where
        if not self.been:
            raise ConnectionError(
                f"{name} does not answer ({short(error)}). Check {self.check}; wait=true waits for it."
            ) from None
        self.lost, self.tries = self.lost or monotonic(), self.tries + 1
        pause = max(least_s, min(LONGEST_S, 2.0 ** min(self.tries, 9)) * random.uniform(0.25, 0.5))
        return pause, Note("lost", f"{name} is lost ({short(error)}); the next attempt is in {pause:.0f} s")

    def back(self) -> list[Note]:
        """To be told when it answers."""
        since, first, self.lost, self.been = self.lost, not self.been, 0.0, True
        if since:
            return [Note("back", f"{self.source.where} is back after {monotonic() - since:.0f} s")]
        return [Note("back", f"connected to {self.source.where}")] if first or not self.tries else []


def _seedlink(source: Source, wanted: Wanted, begin: Any, until: Any, stop: Stop) -> Packets:
    from geonb.waveforms import seedlink

    options = source.options
    taken, link = _Taken(wanted, begin, until, options["quiet_s"]), seedlink.Link(source.where, options["timeout_s"])
    attempts = _Attempts(source, "host, port (18000 is usual), streams and what a firewall lets pass")
    try:
        while not stop():
            try:
                told = yield from _meanwhile(stop, link.open, wanted, taken.since)
                if told is None:
                    return
                taken.heard = monotonic()  # an outage is no silence
                yield from [*attempts.back(), *(Note("told", text) for text in told)]
                while not stop() and not taken.complete:
                    packets = link.receive(1.0, options["silence_s"])
                    attempts.tries = 0 if packets else attempts.tries
                    for packet in packets:
                        yield from _trace(link, packet, taken)
                    if not packets:
                        yield None
                return
            except seedlink.FAULTS as error:
                pause, note = attempts.failed(error)
            yield note
            yield from _wait(pause, stop)
    finally:
        link.disconnect()


def _trace(link: Any, packet: Any, taken: _Taken) -> Packets:
    try:
        trace = link.trace(packet)
    except ValueError as error:
        yield Note("told", str(error))
        return
    if trace is not None and (trace := taken.take(trace)) is not None:
        yield trace


def _fdsn(source: Source, wanted: Wanted, begin: Any, until: Any, stop: Stop) -> Packets:
    from obspy import UTCDateTime
    from obspy.clients.fdsn import Client, header

    options, turn, client, hold = source.options, 0, None, _Hold()
    poll_s, latency_s = options["poll_s"], options["latency_s"]
    floor = begin or UTCDateTime() - latency_s - poll_s
    taken = _Taken(wanted, floor, until, options["quiet_s"])
    attempts = _Attempts(source, "the address, and what a firewall or proxy lets pass")
    refused = (header.FDSNBadRequestException, header.FDSNUnauthorizedException, header.FDSNForbiddenException)
    while not stop():
        now = UTCDateTime() - latency_s
        end = min(filter(None, (now, floor + BLOCK_S, until)))
        back = max(taken.begin, floor - BLOCK_S * (turn % 20 == 19))  # now and then, for streams that are new and late
        try:
            if client is None:
                client = yield from _meanwhile(
                    stop, lambda: Client(source.where, user_agent="geonb", timeout=options["timeout_s"])
                )
                hold.listen(client)
            got = yield from _meanwhile(stop, client.get_waveforms_bulk, _lines(taken, back, end))
        except header.FDSNNoDataException:
            got = []
        except refused as error:
            raise ConnectionError(
                f"{source.where} refuses ({short(error)}). Check the streams, and whether they are open."
            ) from None
        except Exception as error:  # of sockets, and ObsPy's own of the server's answers
            if client is not None and not attempts.been:
                attempts.been = isinstance(error, header.FDSNTooManyRequestsException)
            pause, note = attempts.failed(error, hold.seconds())
            yield note
            yield from _wait(pause, stop)
            continue
        if got is None:
            return
        taken.heard = monotonic() if attempts.lost else taken.heard  # an outage is no silence
        yield from attempts.back() if not turn or attempts.lost else []
        attempts.tries, turn = 0, turn + 1
        for trace in sorted(got, key=lambda t: t.stats.starttime):
            reached = taken.next.get(trace.id)
            if (trace := taken.take(trace, reached and reached - trace.stats.delta / 2)) is not None:
                yield trace
        if until and end >= until and taken.complete:
            return
        behind = end < min(filter(None, (now, until)))
        floor = end if behind else max(floor, min(_abreast(taken, poll_s), default=floor))
        yield from _wait(min(poll_s, 1.0) if behind else poll_s, stop)


def _lines(taken: _Taken, floor: Any, end: Any) -> list[tuple]:
    """What to ask an FDSN service for: patterns from `floor` on, and streams from where they are, if no pattern asks for that."""
    wild = [w for w in taken.wanted if _wild(w)]
    lines = [(*w, floor, end) for w in wild]
    for name in [".".join(w) for w in taken.wanted if not _wild(w)] + [n for n in taken.next if _matches(n, wild)]:
        top = floor if _matches(name, wild) else end
        first = max(taken.next.get(name, taken.begin), top - BACK_S)
        lines += [(*name.split("."), first, top)] if first < top else []
    return lines


def _abreast(taken: _Taken, poll_s: float) -> list[Any]:
    """How far those streams are that do not lag behind."""
    lead = max(taken.next.values(), default=None)
    return [t for t in taken.next.values() if lead - t < poll_s]


class _Hold:
    """What a service wants to be spared for, its header Retry-After, which ObsPy does not hand on."""

    handler_order = 100  # before errors are raised of it

    def __init__(self) -> None:
        self.text = ""

    def listen(self, client: Any) -> None:
        from urllib.request import BaseHandler

        def note(_: Any, request: Any, response: Any) -> Any:
            self.text = response.headers.get("Retry-After") or ""
            return response

        if client is not None:
            made = type("Note", (BaseHandler,), {"handler_order": 100, "http_response": note, "https_response": note})
            client._url_opener.add_handler(made())

    def seconds(self) -> float:
        """At most an hour; 0 if nothing was said."""
        from email.utils import parsedate_to_datetime

        from obspy import UTCDateTime

        try:
            wanted = (
                float(self.text)
                if self.text.isdigit()
                else UTCDateTime(parsedate_to_datetime(self.text)) - UTCDateTime()
            )
        except (ValueError, TypeError):
            wanted = 0.0
        self.text = ""
        return float(np.clip(wanted, 0, 3600))


def _replay(source: Source, wanted: Wanted, begin: Any, until: Any, stop: Stop) -> Packets:
    """Checks at once, then gives a generator."""
    index = source.index
    names = index["network"] + "." + index["station"] + "." + index["location"] + "." + index["channel"]
    known = sorted(set(names))
    rows = index[names.map({name: _matches(name, wanted) for name in known}) & (index["rate_hz"] > 0)]
    lacking = [".".join(w) for w in wanted if not any(_matches(name, [w]) for name in known)]
    has = f"it has {', '.join(known[:9])}{', ...' * (len(known) > 9)}"
    refuse(f"{source.where} has no such streams", [] if len(rows) else lacking, cure=f"{has[0].upper()}{has[1:]}.")
    first = begin.ns if begin else rows["start"].min().value
    last = until.ns if until else rows["end"].max().value + 10**9
    rows = rows[(rows["end"].astype("int64") >= first) & (rows["start"].astype("int64") < last)].sort_values("start")
    there = f"it has {index['start'].min()} to {index['end'].max()}"
    refuse(f"{source.where} has nothing of these streams then", [] if len(rows) else [there])
    notes = [*index.attrs["notes"], *(f"{name}: not in {source.where}; {has}" for name in lacking)]
    pieces = _spoiled(_pieces(rows, wanted, first, last, round(source.options["packet_s"] * 1e9)), source.options)
    return _paced(pieces, [Note("told", text) for text in notes], source.options, stop)


def _paced(pieces: Iterator[tuple[int, Any]], notes: list[Note], options: Mapping[str, Any], stop: Stop) -> Packets:
    """Packets when they are due."""
    yield from notes
    jump_s, began, zero, before = options["jump_s"], monotonic(), None, 0
    for due, packet in pieces:
        zero = due if zero is None else zero
        if before and jump_s != "none" and (silent := (due - before) / 1e9) > jump_s:
            yield Note("told", f"nothing for {silent:.0f} s from {np.datetime64(before, 'ns')} on, jumped over")
            zero += due - before
        yield from _wait(began + (due - zero) / 1e9 / options["speed"] - monotonic(), stop)
        if stop():
            return
        yield packet
        before = due


def _pieces(rows: Any, wanted: Wanted, first: int, last: int, size: int) -> Iterator[tuple[int, Any]]:
    """(when it is complete, packet) in order of time, ns; a block of the archive is in memory at a time."""
    starts, ends = rows["start"].astype("int64"), rows["end"].astype("int64")
    low, block = max(first, int(starts.min())) // size * size, size * max(1, round(BLOCK_S * 1e9) // size)
    while low < last:
        part = rows[(starts < low + block) & (ends >= low)]
        if not len(part):
            later = starts[starts >= low]
            if not len(later):
                return
            low = int(later.min()) // size * size
            continue
        traces, faults = _read(part, wanted, low, low + block)
        yield from ((low, Note("told", fault)) for fault in faults)
        for begin in range(low, low + block, size):
            end = min(begin + size, last)
            for trace, start, stop in traces:
                if start < end and stop >= begin:
                    piece = _part(trace, max(begin, first), end)
                    if piece is not None:
                        yield begin + size, piece
        low += block


def _read(rows: Any, wanted: Wanted, low: int, high: int) -> tuple[list[tuple[Any, int, int]], list[str]]:
    """(trace, start, end) of what files hold of a block, a little more on either side, and which cannot be read."""
    import obspy

    found, faults = [], []
    for file in dict.fromkeys(rows["file"]):
        try:
            times = {"starttime": obspy.UTCDateTime(ns=low) - 1, "endtime": obspy.UTCDateTime(ns=high) + 1}
            stream = obspy.read(glob.escape(file), **times)
        except Exception as error:  # a record that is damaged
            faults.append(f"{Path(file).name} cannot be read from {np.datetime64(low, 'ns')} on, {short(error)}")
            continue
        found += [(t, t.stats.starttime.ns, t.stats.endtime.ns) for t in stream if _matches(t.id, wanted)]
    return found, faults


def _spoiled(pieces: Iterator[tuple[int, Any]], options: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """Packets late, lost or doubled, the same for the same seed."""
    rng, heap, n = np.random.default_rng(options["seed"]), list[tuple[int, int, Any]](), 0
    for due, piece in pieces:
        while heap and heap[0][0] <= due:
            yield heappop(heap)[::2]
        copies = 1
        if not isinstance(piece, Note):
            lost, again = rng.random(2) < (options["drop"], options["repeat"])
            copies = 0 if lost or _in_gap(piece, options) else 1 + again
        for copy in range(copies):
            late = rng.uniform(0, options["shuffle_s"]) + copy * options["packet_s"]
            heappush(heap, (due + round(late * 1e9), n, piece.copy() if copy else piece))
            n += 1
    while heap:
        yield heappop(heap)[::2]


def _in_gap(trace: Any, options: Mapping[str, Any]) -> bool:
    """Whether a packet begins in what its stream is to lack, of each :data:`GAPS_S` one stretch."""
    turn, within = divmod(trace.stats.starttime.timestamp, GAPS_S)
    rng = np.random.default_rng([options["seed"], zlib.crc32(trace.id.encode()), int(turn)])
    return 0 <= within - rng.uniform(0, GAPS_S - options["gap_s"]) < options["gap_s"]


_TAKE = {"seedlink": _seedlink, "fdsn": _fdsn, "replay": _replay}
