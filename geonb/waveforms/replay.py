"""An archive replayed as if it came live, at any speed, with the faults of a bad line if wanted; an hour of it is in memory at a time."""

from __future__ import annotations

import glob
import zlib
from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import obspy

from geonb.base.conventions import refuse, short
from geonb.waveforms.packets import ID, Note, Packet, Stop, Wanted, matches, part, wait

BLOCK_NS = 3600 * 10**9
GAPS_S = 600  # `gap_s` comes once in each
Timed = Iterator[tuple[int, Any]]  # (ns, Trace or Note)


def packets(source: Any, wanted: Wanted, begin: Any, until: Any, stop: Stop) -> Iterator[Packet]:
    """See :meth:`~geonb.waveforms.streams.Source.packets`; checks at once, and gives a generator."""
    index, options = source.index, source.options
    names = index[list(ID)].agg(".".join, axis=1)
    known = {name: matches(name, wanted) for name in sorted(set(names))}
    has = f"It has {', '.join([*known][:9])}{', ...' * (len(known) > 9)}"
    lacking = [".".join(parts) for parts in wanted if not any(matches(name, [parts]) for name in known)]
    refuse(f"{source.where} has no such streams", [] if any(known.values()) else lacking, cure=f"{has}.")
    rows = index[names.map(known) & (index["rate_hz"] > 0)].sort_values("start")
    rows = rows.assign(**{key: rows[key].astype("int64") for key in ("start", "end")})
    first = begin.ns if begin else rows["start"].min()
    last = until.ns if until else rows["end"].max() + 10**9
    rows = rows[(rows["end"] >= first) & (rows["start"] < last)]
    period = f"it has {index['start'].min()} to {index['end'].max()}"
    refuse(f"{source.where} has nothing of these streams then", [] if len(rows) else [period])
    told = [*index.attrs["notes"], *(f"{name}: not in {source.where}. {has}" for name in lacking)]
    cut = pieces(rows, wanted, first, last, round(options["packet_s"] * 1e9))
    return paced(spoiled(cut, options), [Note("told", text) for text in told], options, stop)


def paced(timed: Timed, notes: list[Note], options: Mapping[str, Any], stop: Stop) -> Iterator[Packet]:
    """Packets when they are due."""
    yield from notes
    jump_s, began, zero, before = options["jump_s"], monotonic(), None, None
    for due, packet in timed:
        zero, before = due if zero is None else zero, due if before is None else before
        if jump_s != "none" and (silent := (due - before) / 1e9) > jump_s:
            yield Note("told", f"nothing for {silent:.0f} s from {np.datetime64(before, 'ns')} on, jumped over")
            zero += due - before
        yield from wait(began + (due - zero) / 1e9 / options["speed"] - monotonic(), stop)
        if stop():
            return
        yield packet
        before = due


def pieces(rows: Any, wanted: Wanted, first: int, last: int, size: int) -> Timed:
    """(when it is complete, packet), in order of time; all in ns."""
    block = size * max(1, BLOCK_NS // size)
    low = max(first, rows["start"].min()) // size * size
    while low < last:
        if not len(here := rows[(rows["start"] < low + block) & (rows["end"] >= low)]):
            if not len(later := rows["start"][rows["start"] >= low]):
                return
            low = later.min() // size * size
            continue
        traces = []
        for file in dict.fromkeys(here["file"]):
            times = {"starttime": obspy.UTCDateTime(ns=low) - 1, "endtime": obspy.UTCDateTime(ns=low + block) + 1}
            try:
                stream = obspy.read(glob.escape(file), **times)
            except Exception as error:  # a record that is damaged
                where = np.datetime64(int(low), "ns")
                yield low, Note("told", f"{Path(file).name} cannot be read from {where} on, {short(error)}")
                continue
            traces += [(t, t.stats.starttime.ns, t.stats.endtime.ns) for t in stream if matches(t.id, wanted)]
        for begin in range(low, min(low + block, last), size):
            for trace, start, end in traces:
                if start < begin + size and end >= begin:
                    piece = part(trace, max(begin, first), min(begin + size, last))
                    if piece is not None:
                        yield begin + size, piece
        low += block


def spoiled(timed: Timed, options: Mapping[str, Any]) -> Timed:
    """Packets late, lost or doubled, the same for the same seed."""
    rng, heap, n = np.random.default_rng(options["seed"]), list[tuple[int, int, Any]](), 0
    for due, packet in timed:
        while heap and heap[0][0] <= due:
            yield heappop(heap)[::2]
        copies = 1
        if not isinstance(packet, Note):
            lost, again = rng.random(2) < (options["drop"], options["repeat"])
            copies = 0 if lost or in_gap(packet, options) else 1 + again
        for copy in range(copies):
            late = rng.uniform(0, options["shuffle_s"]) + copy * options["packet_s"]
            heappush(heap, (due + round(late * 1e9), n, packet.copy() if copy else packet))
            n += 1
    while heap:
        yield heappop(heap)[::2]


def in_gap(trace: Any, options: Mapping[str, Any]) -> bool:
    """Whether a packet begins in what its stream is to lack."""
    turn, within = divmod(trace.stats.starttime.timestamp, GAPS_S)
    rng = np.random.default_rng([options["seed"], zlib.crc32(trace.id.encode()), int(turn)])
    return 0 <= within - rng.uniform(0, GAPS_S - options["gap_s"]) < options["gap_s"]
