"""A SeedLink 3 server over loopback that serves miniSEED records of given Streams, and misbehaves on request.

Its ring keeps every record with a sequence number, in the order in which they came to it; what a client asked for, by number (DATA n),
by time (TIME) or from now on (DATA), is sent as real servers do: 8 bytes ``SL`` and the number in hexadecimals, and 512 bytes.
"""

import random
import re
import socket
import threading
from fnmatch import fnmatchcase
from io import BytesIO
from time import sleep

import numpy as np
import obspy

SIZE = 512


def records(stream):
    """(id, start, end, 512 bytes) of a Stream in order of their ends."""
    found = []
    for trace in stream:
        file = BytesIO()
        trace.write(file, "MSEED", reclen=SIZE)
        raw = file.getvalue()
        for i in range(0, len(raw), SIZE):
            stats = obspy.read(BytesIO(raw[i : i + SIZE]), headonly=True)[0].stats
            found.append((trace.id, stats.starttime, stats.endtime, raw[i : i + SIZE]))
    return sorted(found, key=lambda record: record[2])


def log_records(text):
    """Records of text, as INFO answers come in."""
    file = BytesIO()
    data = np.frombuffer(text.encode(), "S1")
    obspy.Trace(data, {"station": "INFO", "network": "SL", "channel": "INF"}).write(
        file, "MSEED", encoding="ASCII", reclen=SIZE
    )
    raw = file.getvalue()
    return [raw[i : i + SIZE] for i in range(0, len(raw), SIZE)]


class SeedLinkServer:
    """With this as a context, `address` is host:port.

    Parameters
    ----------
    stream : obspy.Stream
    there : int, optional
        How many records the ring has from the start; all by default. The others come one by one, `pace_s` apart.
    late_s : float
        Records come to the ring up to so many seconds of data late, so out of order.
    repeat : float
        Share of records that come to the ring twice.
    skip : container of int
        Records that never come to it.
    drop_after : list of int
        The first connection is closed after so many records, the second ...
    refuse : int
        How many attempts to connect are closed at once, after each such drop.
    stall_after : list of int
        Likewise, but the connection stays open, and nothing more is sent or answered.
    garbage, truncated : int
        The place, of all records that are sent, at which one is noise, or is cut short. Once.
    anew : bool
        After the first drop the server counts from 0 again, and answers to numbers that it does not know with what comes from now on.
    refuses : str
        A regular expression of commands that are answered by ERROR.
    dribble : bool
        Answers come byte by byte.
    """

    def __init__(self, stream, there=None, pace_s=0.01, late_s=0.0, repeat=0.0, skip=(), drop_after=(), refuse=0, stall_after=(),
                 garbage=-1, truncated=-1, anew=False, refuses="$.", dribble=False, seed=0):  # fmt: skip
        rng = random.Random(seed)
        made = [record for i, record in enumerate(records(stream)) if i not in skip]
        made = sorted(
            ((record[2] + rng.uniform(0, late_s), i, record) for i, record in enumerate(made)), key=lambda m: m[:2]
        )
        self.ring = [record for _, _, record in made for _ in range(1 + (rng.random() < repeat))]
        self.reached = len(self.ring) if there is None else there
        self.pace_s, self.refuse, self.anew, self.refuses, self.dribble = pace_s, refuse, anew, refuses, dribble
        self.drop_after, self.stall_after, self.refused = list(drop_after), list(stall_after), 0
        self.garbage, self.truncated, self.first, self.sent = garbage, truncated, 1000, 0
        self.commands, self.connections, self.lock, self.over = [], 0, threading.Lock(), threading.Event()

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._feed, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self.listener.close()

    def _feed(self):
        while self.reached < len(self.ring) and not self.over.wait(self.pace_s):
            self.reached += 1

    def _accept(self):
        while not self.over.is_set():
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            if self.refused:
                self.refused -= 1
                link.close()
                continue
            self.connections += 1
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link):
        link.settimeout(0.005)
        held, wanted, streaming, count, stalled, where = b"", [], False, 0, False, None
        drop = stall = None
        try:
            while not self.over.is_set():
                try:
                    got = link.recv(4096)
                    if not got:
                        return
                    held += got
                except TimeoutError:
                    pass
                while b"\r" in held and not stalled:
                    line, held = held.split(b"\r", 1)
                    words = line.decode().split()
                    if not words:
                        continue
                    self.commands.append(" ".join(words))
                    if words[0] == "BYE":
                        return
                    if words[0] == "END":
                        streaming = True
                        drop = self.drop_after.pop(0) if self.drop_after else None
                        stall = self.stall_after.pop(0) if self.stall_after else None
                    elif re.match(self.refuses, " ".join(words)):
                        self._answer(link, b"ERROR\r\n")
                    elif words[0] == "HELLO":
                        self._answer(link, b"SeedLink v3.1 (2020.075) :: SLPROTO:3.1\r\nTest\r\n")
                    elif words[0] == "INFO":
                        self._info(link, words[1])
                    else:
                        self._answer(link, b"OK\r\n" if self._configure(words, wanted) else b"ERROR\r\n")
                        where = None
                if not streaming or stalled:
                    continue
                where = where or [w[4] for w in wanted]
                for i in range(min(where, default=0), self.reached):
                    for k, (net, sta, selectors, since, _) in enumerate(wanted):
                        if i < where[k]:
                            continue
                        where[k] = i + 1
                        if not self._matches(self.ring[i], net, sta, selectors) or (since and self.ring[i][2] < since):
                            continue
                        if stall is not None and count >= stall:
                            stalled = True
                            break
                        self._send(link, i)
                        count += 1
                        if drop is not None and count >= drop:
                            self.refused = self.refuse
                            if self.anew:
                                self.first, self.anew = 0, False
                            return
                    if stalled:
                        break
        except OSError:
            pass
        finally:
            link.close()

    def _configure(self, words, wanted):
        """Whether a command is right; it goes into `wanted`: [network, station, selectors, since, place in the ring]."""
        if words[0] == "STATION":
            sta, net = words[1:]
            known = {tuple(record[0].split(".")[:2]) for record in self.ring}
            if not any(fnmatchcase(n, net) and fnmatchcase(s, sta) for n, s in known):
                return False
            wanted[:] = [w for w in wanted if w[:2] != [net, sta]]
            wanted.append([net, sta, [], None, self.reached])
        elif words[0] == "SELECT":
            if not re.fullmatch(r"([A-Z0-9?-]{2})?[A-Z0-9?]{3}(\.[A-Z])?", words[1]):
                return False
            wanted[-1][2].append(words[1])
        elif words[0] == "DATA" and len(words) > 1:
            number = int(words[1], 16) - self.first
            wanted[-1][4] = number if 0 <= number <= self.reached else self.reached
        elif words[0] == "TIME":
            year, month, day, hour, minute, second = map(int, words[1].split(","))
            wanted[-1][3:] = obspy.UTCDateTime(year, month, day, hour, minute, second), 0
        return words[0] in ("STATION", "SELECT", "DATA", "TIME")

    @staticmethod
    def _matches(record, net, sta, selectors):
        n, s, loc, cha = record[0].split(".")
        if not (fnmatchcase(n, net) and fnmatchcase(s, sta)):
            return False
        parts = [(("" if p[:-3] == "--" else p[:-3] or "*"), p[-3:]) for p in (x.split(".")[0] for x in selectors)]
        return any(fnmatchcase(loc.ljust(2), a) or fnmatchcase(loc, a) for a, b in parts if fnmatchcase(cha, b))

    def _send(self, link, i):
        record = self.ring[i][3]
        with self.lock:
            place, self.sent = self.sent, self.sent + 1
        if place == self.garbage:
            record = record[:20] + bytes(random.Random(0).randbytes(SIZE - 20))
        if place == self.truncated:
            record = record[:300]
        link.settimeout(5)
        link.sendall(b"SL%06X" % ((self.first + i) % (1 << 24)) + record)
        link.settimeout(0.005)

    def _answer(self, link, text):
        for part in [bytes([b]) for b in text] if self.dribble else [text]:
            link.sendall(part)
            sleep(0.001 * self.dribble)

    def _info(self, link, level):
        stations = sorted({tuple(record[0].split(".")[:2]) for record in self.ring})
        inside = "".join(
            f'<station name="{s}" network="{n}" begin_seq="000001" end_seq="0000FF"/>' for n, s in stations
        )
        xml = f'<?xml version="1.0"?>\n<seedlink software="test">{inside if level == "STATIONS" else ""}</seedlink>'
        parts = log_records(xml)
        for i, part in enumerate(parts):
            link.sendall((b"SLINFO *" if i < len(parts) - 1 else b"SLINFO  ") + part)
