"""An FDSN service asked again and again for what came since, by ObsPy's client."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any
from urllib.request import BaseHandler

from obspy import UTCDateTime
from obspy.clients.fdsn import Client, header

from geonb.base.conventions import short
from geonb.waveforms.packets import Attempts, Packet, Stop, Taken, Wanted, matches, meanwhile, part, wait, wild

BLOCK_S = 3600  # that are asked for at once
PACKET_S = 10
BACK_S = 86_400  # a stream that was silent for longer is not asked for all of it
REFUSED = (header.FDSNBadRequestException, header.FDSNUnauthorizedException, header.FDSNForbiddenException)


class RetryAfter(BaseHandler):
    """Hears how long a service wants to be spared, the header Retry-After, which ObsPy does not hand on."""

    handler_order = 100  # before an error is raised of the answer
    text = ""

    def http_response(self, request: Any, response: Any) -> Any:
        """Of urllib's openers, for each answer."""
        self.text = response.headers.get("Retry-After") or ""
        return response

    https_response = http_response

    @property
    def seconds(self) -> float:
        """At most an hour; 0 if nothing was said."""
        try:
            date = None if self.text.isdigit() else UTCDateTime(parsedate_to_datetime(self.text))
        except (ValueError, TypeError):
            return 0.0
        return min(max(float(self.text) if date is None else date - UTCDateTime(), 0.0), 3600.0)


def packets(source: Any, wanted: Wanted, begin: Any, until: Any, stop: Stop) -> Iterator[Packet]:
    """See :meth:`~geonb.waveforms.streams.Source.packets`."""
    options, client, spared = source.options, None, RetryAfter()
    poll_s, latency_s = options["poll_s"], options["latency_s"]
    floor = begin or UTCDateTime() - latency_s - poll_s
    taken = Taken(wanted, floor, until, options["quiet_s"])
    attempts = Attempts(source.where, "the address, and what a firewall or proxy lets pass", options["wait"])
    while not stop():
        now = min(filter(None, (UTCDateTime() - latency_s, until)))
        end = min(now, floor + BLOCK_S)
        try:
            if client is None:
                about = {"user_agent": "geonb", "timeout": options["timeout_s"]}
                client = yield from meanwhile(stop, lambda more=about: Client(source.where, **more))
                if client is None:
                    return
                client._url_opener.add_handler(spared)
                yield from attempts.back()
            found = yield from meanwhile(stop, client.get_waveforms_bulk, lines(taken, floor, end))
        except header.FDSNNoDataException:
            found = []
        except REFUSED as error:
            cure = "Check the streams, and whether they are open to all"
            raise ConnectionError(f"{source.where} refuses ({short(error)}). {cure}.") from None
        except Exception as error:  # of sockets, and ObsPy's own of the server's answers
            yield from attempts.failed(error, stop, spared.seconds)
            continue
        if attempts.lost:
            taken.heard = monotonic()  # an outage is no silence
            yield from attempts.back()
        attempts.tries = 0
        for trace in abreast_of(found or []):
            if (trace := taken.take(trace, twice=False)) is not None:
                yield trace
        if end == until and taken.complete:
            return
        lead = max(taken.next.values(), default=floor)
        abreast = [t for t in taken.next.values() if lead - t < poll_s]  # those that do not lag behind
        floor = end if end < now else max(floor, min(abreast, default=floor))
        yield from wait(min(poll_s, 1.0) if end < now else poll_s, stop)


def abreast_of(traces: Any) -> Iterator[Any]:
    """Traces in packets of :data:`PACKET_S`, all streams side by side: whoever takes them has no room for an hour of each."""
    if traces:
        first, last = min(t.stats.starttime.ns for t in traces), max(t.stats.endtime.ns for t in traces)
        step = PACKET_S * 10**9
        for begin in range(first, last + 1, step):
            yield from filter(None, (part(trace, begin, begin + step) for trace in traces))


def lines(taken: Taken, floor: UTCDateTime, end: UTCDateTime) -> list[tuple[Any, ...]]:
    """What to ask for: patterns from `floor` on, and streams from where they are on, up to where a pattern asks for them."""
    patterns = [parts for parts in taken.wanted if wild(parts)]
    found: list[tuple[Any, ...]] = [(*parts, floor, end) for parts in patterns]
    for name in dict.fromkeys([*(".".join(parts) for parts in taken.wanted if not wild(parts)), *taken.next]):
        last = floor if matches(name, patterns) else end
        first = max(taken.next.get(name, taken.begin), last - BACK_S)
        found += [(*name.split("."), first, last)] if first < last else []
    return found
