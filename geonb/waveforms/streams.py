"""Where live waveforms come from: a SeedLink server, an FDSN service that is asked again and again, or an archive that is replayed.

All give the same: packets as ObsPy's Traces, in about the order of time; None about once a second while nothing comes, so that whoever
takes them can do what is due; and a :class:`Note` of whatever happened. Late, doubled and lost packets are the taker's to bear.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any

from geonb.base.conventions import redacted, refuse
from geonb.base.specs import Option, check_options, pick
from geonb.waveforms import archives
from geonb.waveforms.packets import Note, Packet, Stop, Wanted
from geonb.waveforms.preparation import utc

__all__ = ["FORMS", "SOURCES", "Note", "Packet", "Source", "check_source", "check_streams"]

FORMS = "seedlink://host[:port], fdsn:EARTHSCOPE, fdsn:https://host or replay:FOLDER@SPEED (1 is real time; max)"
PART = re.compile(r"[A-Za-z0-9?*]*")
_S = partial(Option, kind=float, above=0)
_SHARE = Option(0.0, float, 0, 1, help="of the packets, at random")
_SERVER = {
    "wait": Option(False, bool, help="for a server that is not there at the start, too"),
    "quiet_s": Option(60.0, float, 0, help="s: with an end, how long nothing must come after it until it is over"),
    "timeout_s": _S(30.0, help="s, for an answer"),
}
SOURCES = {
    "seedlink": _SERVER | {"silence_s": _S(30.0, help="s without a packet until a sign of life is asked for")},
    "fdsn": _SERVER
    | {
        "poll_s": _S(30.0, help="s between two requests"),
        "latency_s": Option(10.0, float, 0, help="s before now that are not asked for yet"),
    },
    "replay": {
        "packet_s": Option(5.0, float, 0.1, 600, help="s, of a packet"),
        "jump_s": _S(3600.0, choices=("none",), help="s without any data that are jumped over"),
        "shuffle_s": Option(0.0, float, 0, 600, help="s, up to which packets are late, so out of order too"),
        "drop": _SHARE,
        "repeat": _SHARE,
        "gap_s": Option(0.0, float, 0, below=600, help="s that each stream lacks in each 600 s"),
        "seed": Option(0, int, 0, help="of these four"),
    },
}


@dataclass(frozen=True)
class Source:
    """Where waveforms come from, of :func:`check_source`; as a text it says so in words.

    Attributes
    ----------
    scheme : str
        One of :data:`SOURCES`.
    where : str
        host:port, the address of a service or its name, or files.
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
        speed = self.options.get("speed", 1)
        return {
            "seedlink": f"the SeedLink server {self.where}",
            "fdsn": f"the FDSN service {self.where}, asked every {self.options.get('poll_s', 0):g} s",
            "replay": f"a replay of {self.where} "
            + (f"at {speed:g} times real time" if math.isfinite(speed) else "as fast as it goes"),
        }[self.scheme]

    def packets(
        self, streams: Sequence[str], begin: Any = None, until: Any = None, stop: Stop | None = None
    ) -> Iterator[Packet]:
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
        from geonb.waveforms import fdsn, replay, seedlink  # here, as ObsPy's clients take a second

        take = {"fdsn": fdsn, "replay": replay, "seedlink": seedlink}[self.scheme]
        return take.packets(self, wanted, first, last, stop or (lambda: False))


def check_source(text: str) -> Source:
    """What a text names: ``seedlink://host[:port]``, ``fdsn:EARTHSCOPE``, ``fdsn:https://host`` or ``replay:FOLDER@SPEED``.

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
        faults += _listed(error)
    if "@" in where and scheme != "replay":
        faults.append("it carries a name or a password, which is not supported")
    elif scheme == "replay":
        where, speed, index = _archive(where, faults)
    else:
        where = (_server if scheme == "seedlink" else _service)(where, faults)
    refuse(f"source = {redacted(text)!r} is not right", faults, cure=f"Write {FORMS}; options follow as ,key=value.")
    return (
        Source(scheme, where, options | {"speed": speed}, index)
        if scheme == "replay"
        else Source(scheme, where, options)
    )


def check_streams(streams: Sequence[str]) -> Wanted:
    """NET.STA.LOC.CHA in its parts; a ValueError lists what is none."""
    wanted = [tuple(text.strip().split(".")) for text in ([streams] if isinstance(streams, str) else streams)]
    wrong = [".".join(w) for w in wanted if len(w) != 4 or not all(map(PART.fullmatch, w)) or "" in (w[0], w[1], w[3])]
    cure = "Write NET.STA.LOC.CHA, with ? and * for any: NS.KTK1..HHZ, NS.KTK*.*.HH?."
    refuse("These streams are not right", wrong if wanted else ["there is none"], cure=cure)
    return list(dict.fromkeys(wanted))


def _server(where: str, faults: list[str]) -> str:
    found = re.fullmatch(r"//([\w.-]+)(?::(.*))?", where)
    port = (found[2] or "18000") if found else ""
    if not found:  # nor are IPv6 addresses, which ObsPy does not read
        faults.append(f"{where!r} names no host")
    elif not port.isdecimal() or not 0 < int(port) < 65536:
        faults.append(f"the port {port!r} must be a whole number from 1 to 65535")
    return f"{found[1]}:{port}" if found else where


def _service(where: str, faults: list[str]) -> str:
    from obspy.clients.fdsn.header import URL_MAPPINGS

    name = "EARTHSCOPE" if where.upper() == "IRIS" else where.upper()  # as it is called now
    if name not in URL_MAPPINGS and not re.match(r"https?://\w", where):
        near = get_close_matches(name, URL_MAPPINGS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(URL_MAPPINGS))}."
        faults.append(f"{where!r} is neither http(s)://host nor a service that ObsPy knows. {hint}")
    return name if name in URL_MAPPINGS else where.rstrip("/")


def _archive(where: str, faults: list[str]) -> tuple[str, float, Any]:
    path, mark, fast = where.rpartition("@")
    path, fast = (path, fast) if mark and "/" not in fast else (where, "max")
    speed, index = math.inf, None
    if fast != "max":
        speed = float(fast) if re.fullmatch(r"[\d.]+(e\d+)?", fast) and fast.count(".") < 2 else 0.0
        faults += [] if speed > 0 else [f"the speed {fast!r} must be a number above 0, or max"]
    try:
        index = archives.index_files(path)
    except ValueError as error:
        faults += _listed(error)
    return path, speed, index


def _listed(error: ValueError) -> list[str]:
    """What an error of ours lists."""
    return [line.removeprefix("- ") for line in str(error).splitlines()[1:]] or [str(error)]


def _time(time: Any) -> Any:
    """ObsPy's UTCDateTime of a time, None of None."""
    from obspy import UTCDateTime

    return time if time is None or isinstance(time, UTCDateTime) else UTCDateTime(ns=utc(time).value)
