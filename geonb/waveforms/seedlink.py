"""A SeedLink server, by ObsPy's protocol and packets, but not its loop.

ObsPy's ``collect`` blocks until a packet comes, takes a server that closed for one that is silent, and does not resume by time. SeedLink 3:
https://www.seiscomp.de/doc/apps/seedlink.html
"""

from __future__ import annotations

import logging
import re
import select
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from time import monotonic
from typing import Any
from xml.etree import ElementTree

from obspy.clients.seedlink.client import seedlinkconnection
from obspy.clients.seedlink.client.slnetstation import SLNetStation
from obspy.clients.seedlink.seedlinkexception import SeedLinkException
from obspy.clients.seedlink.slpacket import SLPacket

from geonb.base.conventions import short
from geonb.waveforms.packets import BEAT_S, Attempts, Note, Packet, Stop, Taken, Wanted, meanwhile, wild

PACKET = SLPacket.SLHEADSIZE + SLPacket.SLRECSIZE  # bytes
LAST = 0xFFFFFF  # sequence number, before 0
FAULTS = (OSError, SeedLinkException)  # of a connection that is lost


def packets(source: Any, wanted: Wanted, begin: Any, until: Any, stop: Stop) -> Iterator[Packet]:
    """See :meth:`~geonb.waveforms.streams.Source.packets`."""
    options = source.options
    quiet_s = max(options["quiet_s"], 2.5 * options["silence_s"])  # or a connection that stalls were the end
    taken, link = Taken(wanted, begin, until, quiet_s), Link(source.where, options["timeout_s"])
    check = "host, port (18000 is usual), streams and what a firewall lets pass"
    attempts = Attempts(source.where, check, options["wait"])
    try:
        while not stop():
            try:
                told = yield from meanwhile(stop, link.open, wanted, taken.since)
                if told is None:
                    return
                taken.heard = monotonic()  # an outage is no silence
                yield from attempts.back()
                yield from [Note("told", text) for text in told]
                while not stop() and not taken.complete:
                    came = False
                    for packet in link.receive(BEAT_S, options["silence_s"]):
                        came, attempts.tries = True, 0
                        if isinstance(packet, Note) or (packet := taken.take(packet)) is not None:
                            yield packet
                    if not came:
                        yield None
                return
            except FAULTS as error:
                fault = error
            yield from attempts.failed(fault, stop)
    finally:
        link.disconnect()


class Link(seedlinkconnection.SeedLinkConnection):
    """A connection to one server, host:port; `timeout_s` is for each answer while connecting."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(timeout=timeout_s)
        self.set_sl_address(address)
        self.netto, self.multistation = timeout_s, True
        self.known = dict[tuple[str, str], SLNetStation]()  # with the sequence numbers reached
        self.held, self.heard, self.asked = bytearray(), 0.0, False
        seedlinkconnection.logger.setLevel(logging.CRITICAL)  # what it complains of is raised or told here

    def open(self, wanted: Wanted, since: Callable[[str, str], Any]) -> list[str]:
        """Connect and ask for streams: from the sequence number reached on, else by time, else what comes next.

        Parameters
        ----------
        since : callable
            (network, station) -> the time from which on data are lacking, or None.

        Returns
        -------
        list of str, what is worth telling; :data:`FAULTS` are raised if that fails.
        """
        self.disconnect()
        self.held.clear()
        self.connect()
        self.since, self.told, self.accepted = since, list[str](), set[tuple[str, str]]()
        self.streams = self._stations(wanted)
        try:
            if self.streams:
                self.config_link()
        except SeedLinkException:
            if self.accepted:
                raise
        names = {(s.net, s.station) for s in self.streams}
        for name in sorted(names - self.accepted):
            self.told.append(f"{'.'.join(name)} is unknown to the server, or it gives none of it")
        if not self.accepted:
            raise SeedLinkException("; ".join(self.told))
        self.unchecked = {name for name in names if self.known[name].seqnum != -1}
        self.heard, self.asked = monotonic(), False
        return self.told

    def receive(self, wait_s: float, silence_s: float) -> Iterator[Any]:
        """Traces and notes of what came, after at most `wait_s`; after `silence_s` a sign is asked for, without which it is lost."""
        if select.select([self.socket], [], [], wait_s)[0]:
            self.held += self.receive_data(1 << 16, self.sladdr)
            if self.asked and self.held.startswith(SLPacket.ERRORSIGNATURE):  # it gives no INFO, but is there
                del self.held[: len(SLPacket.ERRORSIGNATURE)]
            self.heard, self.asked = monotonic(), False
        elif monotonic() - self.heard > silence_s:
            if self.asked:
                raise ConnectionError(f"no sign of life for {2 * silence_s:g} s")
            self.send_info_request("ID", 3)
            self.heard, self.asked = monotonic(), True
        while packet := self._cut():
            if packet.slhead.upper().startswith(SLPacket.INFOSIGNATURE):
                continue
            try:
                trace = packet.get_trace()
            except Exception as error:  # whatever ctypes and the header's codes may raise
                yield Note("told", f"a record is damaged ({short(error)}), and lost")
                continue
            self._number((trace.stats.network, trace.stats.station), packet.get_sequence_number())
            if trace.stats.npts and trace.stats.sampling_rate > 0:
                yield trace

    def _number(self, name: tuple[str, str], number: int) -> None:
        """Remember how far a station is; ConnectionError if the first number after a resumption is of before."""
        if (station := self.known.get(name)) is None:
            return
        if name in self.unchecked and 0 < (station.seqnum - number) % (LAST + 1) < LAST // 2:
            for each in self.known.values():
                each.seqnum = -1
            raise ConnectionError("the server counts its packets anew, and is asked again by time")
        self.unchecked.discard(name)
        station.seqnum = number if number != LAST else -1  # ObsPy asks for the number + 1

    def receive_data(self, maxbytes: int, code: Any) -> bytes:
        """As ObsPy's, but the end of a connection is no silence."""
        if not (got := super().receive_data(maxbytes, code)):
            raise ConnectionError("the server closed the connection")
        return got

    def send_data(self, sendbytes: bytes, code: Any, resplen: int) -> bytes | None:
        """As ObsPy's, but an answer is read to the end of its lines, of which HELLO has two, however the network cuts it."""
        got = super().send_data(sendbytes, code, resplen)
        while resplen and got.count(b"\r\n") < 1 + sendbytes.startswith(b"HELLO"):
            got += self.receive_data(resplen, code)
        return got

    def negotiate_station(self, curstream: SLNetStation) -> None:
        """As ObsPy's, but each station from where it was left, and by the next best way if the server refuses one."""
        since = self.since(curstream.net, curstream.station)
        ways = [(curstream.seqnum, None)] if curstream.seqnum != -1 else []
        for way in [*ways, *([(-1, since)] if since else []), (-1, None)]:
            curstream.seqnum, self.begin_time = way
            try:
                super().negotiate_station(curstream)
                break
            except SeedLinkException:
                if way == (-1, None):
                    raise
        if since and way == (-1, None):
            self.told.append(
                f"{curstream.net}.{curstream.station}: the server gives nothing of before, only what comes"
            )
        self.accepted.add((curstream.net, curstream.station))

    def _stations(self, wanted: Wanted) -> list[SLNetStation]:
        """Stations and selectors; patterns of stations are resolved by the server's list, as few servers resolve them."""
        listed = self._listed() if any(wild(parts[:2]) for parts in wanted) else []
        chosen = dict[tuple[str, str], list[str]]()
        for net, sta, loc, cha in wanted:
            names = [(net, sta)]
            if wild(names[0]):
                names = [name for name in listed if fnmatchcase(name[0], net) and fnmatchcase(name[1], sta)]
                has = ", ".join(map(".".join, listed[:9])) + ", ..." * (len(listed) > 9)
                self.told += [] if names else [f"{net}.{sta}: the server has no such station, but {has or 'none'}"]
            # at most two and three letters; an empty location is not asked for, as servers write it in different ways
            selector = re.sub(r"\*+", "??", loc)[:2] + re.sub(r"\*+", "?" * (4 - len(cha)), cha)[:3]
            for name in names:
                chosen.setdefault(name, []).append(selector)
        for name, selectors in chosen.items():
            self.known.setdefault(name, SLNetStation(*name, [], -1, None)).selectors = list(dict.fromkeys(selectors))
        return [self.known[name] for name in chosen]

    def _listed(self) -> list[tuple[str, str]]:
        """The stations that the server has; SeedLinkException if it does not say."""
        try:
            self.send_info_request("STATIONS", 3)
            xml, last = b"", False
            while not last:
                while not (packet := self._cut()):
                    self.held += self.receive_data(1 << 16, self.sladdr)
                xml, last = xml + packet.get_string_payload(), packet.get_type() == SLPacket.TYPE_SLINFT
            found = ElementTree.fromstring(xml.rstrip(b"\0 \r\n").decode(errors="replace"))
        except (*FAULTS, ElementTree.ParseError) as error:
            told = f"the server lists no stations ({short(error)}): name them without * and ?"
            raise SeedLinkException(told) from None
        return sorted({(s.get("network", ""), s.get("name", "")) for s in found.iter("station")})

    def _cut(self) -> SLPacket | None:
        """The next whole packet of what came, if there is one; ConnectionError if it is none."""
        if self.held[:2] != b"SL"[: len(self.held)]:
            raise ConnectionError(f"what came is no SeedLink packet: {bytes(self.held[:12])!r}")
        if len(self.held) < PACKET:
            return None
        packet = SLPacket(bytes(self.held[:PACKET]), 0)
        del self.held[:PACKET]
        return packet
