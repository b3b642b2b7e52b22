"""A SeedLink connection that can be pulled, resumed and stopped: ObsPy's protocol and packets, without its loop.

ObsPy's ``collect`` blocks until a packet comes, takes a server that closed for one that is silent, and resumes no station that was asked
for by a pattern. SeedLink 3: https://www.seiscomp.de/seiscomp3/doc/applications/seedlink.html
"""

from __future__ import annotations

import logging
import re
import select
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from time import monotonic
from typing import Any
from xml.etree import ElementTree

from obspy import Trace, UTCDateTime
from obspy.clients.seedlink.client import seedlinkconnection
from obspy.clients.seedlink.client.slnetstation import SLNetStation
from obspy.clients.seedlink.seedlinkexception import SeedLinkException
from obspy.clients.seedlink.slpacket import SLPacket

PACKET = SLPacket.SLHEADSIZE + SLPacket.SLRECSIZE  # bytes
LAST = 0xFFFFFF  # sequence number, before 0
FAULTS = (OSError, SeedLinkException)  # of a connection that is lost
Since = Callable[[str, str], UTCDateTime | None]


class Link(seedlinkconnection.SeedLinkConnection):
    """A connection to one server.

    Parameters
    ----------
    address : str
        host:port
    timeout_s : float, s
        For each answer while connecting.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(timeout=timeout_s)
        self.set_sl_address(address)
        self.netto, self.multistation, self.lists = timeout_s, True, True
        self.known = dict[tuple[str, str], SLNetStation]()  # with the sequence numbers reached
        self.held, self.heard, self.asked = bytearray(), 0.0, False
        seedlinkconnection.logger.setLevel(logging.CRITICAL)  # what it complains of is raised or told here

    def open(self, wanted: Sequence[tuple[str, ...]], since: Since) -> list[str]:
        """Connect and ask for streams: from the sequence number reached on, else by time, else what comes next.

        Parameters
        ----------
        wanted : sequence of (network, station, location, channel), patterns
        since : callable
            (network, station), either may be a pattern -> the time from which on data are lacking, or None.

        Returns
        -------
        list of str, what is worth telling; FAULTS are raised if that fails.
        """
        self.disconnect()
        self.held.clear()
        self.connect()
        self.since, self.told, self.taken = since, list[str](), set[tuple[str, str]]()
        self.streams = self._stations(wanted)
        try:
            if self.streams:
                self.config_link()
        except SeedLinkException:  # it says only that no station was accepted
            if self.taken:
                raise
        names = {(s.net, s.station) for s in self.streams}
        self.told += [
            f"{'.'.join(name)} is unknown to the server, or it gives none of it" for name in sorted(names - self.taken)
        ]
        self.unchecked = {name for name in names if self.known[name].seqnum != -1}
        self.heard, self.asked = monotonic(), False
        if not self.taken:
            raise SeedLinkException("; ".join(self.told))
        return self.told

    def receive(self, wait_s: float, silence_s: float) -> list[SLPacket]:
        """Packets that came, after at most `wait_s`; after `silence_s` the server is asked for a sign, and given up without one."""
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
        packets = list[SLPacket]()
        while packet := self._cut():
            packets += [] if packet.slhead.upper().startswith(SLPacket.INFOSIGNATURE) else [packet]
        return packets

    def trace(self, packet: SLPacket) -> Trace | None:
        """The samples of a packet, whose number is remembered; None if it holds no samples; SeedLinkException if it is damaged."""
        try:
            trace = packet.get_trace()
        except Exception as error:  # whatever ctypes and the header's codes may raise
            raise ValueError(f"a record is damaged ({' '.join(str(error).split())[:80]}), and lost") from None
        name = trace.stats.network, trace.stats.station
        if name in self.known:
            number, before = packet.get_sequence_number(), self.known[name].seqnum
            if name in self.unchecked and 0 < (before - number) % (LAST + 1) < LAST // 2:
                for station in self.known.values():
                    station.seqnum = -1
                raise ConnectionError("the server counts its packets anew, and is asked again by time")
            self.unchecked.discard(name)
            self.known[name].seqnum = number if number != LAST else -1
        return trace if trace.stats.npts and trace.stats.sampling_rate > 0 else None

    def receive_data(self, maxbytes: int, code: Any) -> bytes:
        """As ObsPy's, but the end of a connection is no silence."""
        got = super().receive_data(maxbytes, code)
        if not got:
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
                f"{curstream.net}.{curstream.station}: the server gives nothing of before, only what comes from now on"
            )
        self.taken.add((curstream.net, curstream.station))

    def _stations(self, wanted: Sequence[tuple[str, ...]]) -> list[SLNetStation]:
        """Stations and selectors; patterns of stations are resolved by the server's list, as few servers resolve them."""
        chosen = dict[tuple[str, str], list[str]]()
        listed = self._listed() if self.lists and any(set("*?") & set(w[0] + w[1]) for w in wanted) else None
        for net, sta, loc, cha in wanted:
            names = [(net, sta)]
            if listed is not None and set("*?") & set(net + sta):
                names = [name for name in listed if fnmatchcase(name[0], net) and fnmatchcase(name[1], sta)]
                has = ", ".join(map(".".join, listed[:9])) + ", ..." * (len(listed) > 9)
                self.told += [] if names else [f"{net}.{sta}: the server has no such station, but {has or 'none'}"]
            # at most two and three letters; an empty location is not asked for, as servers write it in different ways
            selector = re.sub(r"\*+", "??", loc)[:2] + re.sub(r"\*+", "?" * (4 - len(cha)), cha)[:3]
            for name in names:
                chosen.setdefault(name, []).append(selector)
        for name, selectors in chosen.items():
            station = self.known.setdefault(name, SLNetStation(*name, [], -1, None))
            station.selectors = list(dict.fromkeys(selectors))
        return [self.known[name] for name in chosen]

    def _listed(self) -> list[tuple[str, str]] | None:
        """The stations that the server has; None if it does not say."""
        try:
            self.send_info_request("STATIONS", 3)
            xml, last = b"", False
            while not last:
                while not (packet := self._cut()):
                    self.held += self.receive_data(1 << 16, self.sladdr)
                xml, last = xml + packet.get_string_payload(), packet.get_type() == SLPacket.TYPE_SLINFT
            found = ElementTree.fromstring(xml.rstrip(b"\0 \r\n").decode(errors="replace"))
            return sorted({(s.get("network", ""), s.get("name", "")) for s in found.iter("station")})
        except (*FAULTS, ElementTree.ParseError):
            self.lists = False
            self.told.append("the server lists no stations; patterns are passed on to it as they are")
            self.disconnect()
            self.held.clear()
            self.connect()
            return None

    def _cut(self) -> SLPacket | None:
        """The next whole packet of what came; ConnectionError if it is none."""
        if self.held[:2] != b"SL"[: len(self.held)]:
            raise ConnectionError(f"what came is no SeedLink packet: {bytes(self.held[:12])!r}")
        if len(self.held) < PACKET:
            return None
        packet = SLPacket(bytes(self.held[:PACKET]), 0)
        del self.held[:PACKET]
        return packet
