"""Waveforms and stations out of an FDSN service, into files: politely, resumed where it was, and never asked twice for the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from geonb.base import files
from geonb.base.conventions import redacted, short
from geonb.base.project import project_root, slug
from geonb.waveforms import archives, arrays
from geonb.waveforms.archives import ID
from geonb.waveforms.preparation import utc

if TYPE_CHECKING:
    import pandas as pd

FORM = "fdsn:SERVER?network=NN&station=SSS,TT*&location=*&channel=?HZ"
ATTEMPTS = 4  # of a service that is busy or breaks off
MARGIN_S = 5.0  # more than is asked for on either side: filters and arrays need neighbours


def is_address(waveforms: str) -> bool:
    """Whether `waveforms` names a service, not files."""
    return waveforms.startswith("fdsn:")


def address_of(text: str) -> tuple[str, dict[str, str]]:
    """What ObsPy's client calls the service, and network, station, location and channel, each a list of patterns.

    Parameters
    ----------
    text : ``fdsn:EARTHSCOPE?network=UW&station=BHW,JCW&channel=?HZ``
        A name that ObsPy knows, or a server's own: ``fdsn:https://host/path?...``; location and channel are all by default.

    Raises
    ------
    ValueError
        If it is not of that form.

    >>> address_of("fdsn:IRIS?network=UW&station=*")
    ('IRIS', {'location': '*', 'channel': '*', 'network': 'UW', 'station': '*'})
    """
    where, _, asked = text.removeprefix("fdsn:").removeprefix("//").partition("?")
    query = {"location": "*", "channel": "*"} | dict(parse_qsl(asked))
    url = urlsplit(where if "://" in where else f"//{where}")
    if not is_address(text) or not url.hostname or "@" in url.netloc or set(query) != set(ID):
        raise ValueError(f"{redacted(text)!r} must be {FORM}, SERVER being a name that ObsPy knows, or https://host")
    if set(".:") & set(where) and "://" not in where:
        where = f"http{'s' * (url.hostname not in ('localhost', '127.0.0.1'))}://{where}"
    return where.rstrip("/"), query


@dataclass
class Service:
    """An FDSN service that is asked for what is not there yet, with a pause after each answer.

    Attributes
    ----------
    where : str
        As :func:`address_of` gives it.
    pause_s : float, s
    """

    where: str
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        self._client: Any = None

    def file(self, path: Path, ask: str, *what: Any, **query: Any) -> bool:
        """Fetch a file if it is not there; False if the service has nothing, which an empty file ``*.nothing`` beside it remembers.

        Raises
        ------
        ConnectionError
            If the service cannot be reached or refuses. What was fetched stays, and the next call goes on there.
        """
        from obspy.clients.fdsn import header

        from geonb.waveforms.fdsn import REFUSED

        empty = path.with_suffix(".nothing")
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(0 if path.exists() or empty.exists() else ATTEMPTS):
            try:
                self._fetch(path, ask, *what, **query)
            except header.FDSNNoDataException:
                empty.touch()
            except Exception as error:  # of sockets, and ObsPy's own of the server's answers
                if self._client is None or isinstance(error, REFUSED) or attempt == ATTEMPTS - 1:
                    raise ConnectionError(self._told(path, error, isinstance(error, REFUSED))) from None
                spared = max(self._spared.seconds, self.pause_s * 2**attempt)
                files.say(f"{self.where} is busy or broke off ({short(error)}): asked again in {spared:.0f} s")
                sleep(spared)
                continue
            sleep(self.pause_s)
            break
        return path.exists()

    def _fetch(self, path: Path, ask: str, *what: Any, **query: Any) -> None:
        """Ask once; what comes is looked at before it stays."""
        import obspy
        from obspy.clients.fdsn import Client

        from geonb.waveforms.fdsn import RetryAfter

        if self._client is None:
            client, self._spared = Client(self.where, user_agent="geonb", timeout=120), RetryAfter()
            client._url_opener.add_handler(self._spared)
            self._client = client
        with files.whole_file(path) as partial:
            getattr(self._client, ask)(*what, filename=str(partial), **query)
            look: Any = obspy.read_inventory if ask == "get_stations" else obspy.read
            look(str(partial), **({} if ask == "get_stations" else {"headonly": True}))

    def _told(self, path: Path, error: Exception, refused: bool) -> str:
        if refused:
            cure = "Check network, station, channel and period, and whether they are open to all"
            return f"{self.where} refuses {path.name} ({short(error)}). {cure}."
        cure = f"Call again to go on, or fetch it elsewhere and put miniSEED and StationXML into {path.parent}"
        return f"{self.where} did not answer for {path.name} ({short(error)}). {cure}"


def fetch_period(address: str, start: Any, end: Any, folder: str | Path, pause_s: float = 1.0) -> list[Path]:
    """Fetch a period: a day a request, and the stations with their responses.

    Parameters
    ----------
    address : str
        See :func:`address_of`.
    start, end : times, UTC
    folder : where ``*.mseed`` and ``*.stationxml`` go

    Raises
    ------
    ValueError
        If the address is none.
    ConnectionError
        See :meth:`Service.file`.
    """
    import pandas as pd
    from obspy import UTCDateTime

    where, query = address_of(address)
    service, found, first, last = Service(where, pause_s), list[Path](), utc(start), utc(end)
    days = pd.date_range(first, last, freq="24h", inclusive="left")
    jobs: list[tuple[Any, ...]] = [(day, min(day + days.freq, last), "get_waveforms", "mseed", {}) for day in days]
    for low, high, ask, form, more in [*jobs, (first, last, "get_stations", "stationxml", {"level": "response"})]:
        path = Path(folder, f"{files.key_of([where, query])[:8]}_{low:%Y%m%dT%H%M%S}_{high:%Y%m%dT%H%M%S}.{form}")
        period = {"starttime": UTCDateTime(ns=low.value), "endtime": UTCDateTime(ns=high.value)}
        if service.file(path, ask, **query, **period, **more):
            found.append(path)
        else:
            files.say(f"{where}: nothing of {low} to {high}")
    return found


def fetch_events(
    address: str, events: pd.DataFrame, spans: tuple[float, float], stations: str | None = None, model: str = "iasp91",
    folder: str | Path | None = None, pause_s: float = 1.0,
) -> tuple[list[Path], list[Path]]:  # fmt: skip
    """Fetch what stations saw of events: a request an event, each station's part about its own P.

    Parameters
    ----------
    address : str
        See :func:`address_of`.
    events : DataFrame of :func:`geonb.waveforms.catalogues.events_of`
        Those without a time or a place are passed over, since nobody knows their P.
    spans : float, float, s
        Before and after the first P, by TauP.
    stations : str, optional
        Files of station metadata; the service's own by default. Only what is in them is asked for.
    folder : optional
        Where files go; the project's ``data/downloads/fdsn`` by default. What is there is not asked for again, nor what the service
        had nothing of (``*.nothing``: remove it to ask again).

    Returns
    -------
    files of waveforms (miniSEED, one an event), files of station metadata

    Raises
    ------
    ValueError
        If the address or the stations cannot be used, or the service has nothing of any event.
    ConnectionError
        See :meth:`Service.file`.
    """
    where, query = address_of(address)
    folder = Path(folder or project_root() / "data" / "downloads" / "fdsn", slug(where.rpartition("://")[2]))
    service, known = Service(where, pause_s), events[events["time"].notna()]
    metadata = [Path(folder, f"stations_{files.key_of([where, query])[:8]}.stationxml")]
    if stations:
        metadata = archives.files_of(stations, "stations", [], None)
    elif not service.file(metadata[0], "get_stations", level="channel", **query):
        raise ValueError(f"{where} knows no station of {query}. Give others, or their metadata as `stations`")
    stood = ((net.code, s) for net in archives.read_stations(metadata) for s in net if _asked(query, net.code, s.code))
    places = {(network, s.code): (s.latitude, s.longitude) for network, s in stood}
    files.say(f"{where}: {len(known)} events at {len(places)} stations, into {folder}, of which what is there stays")
    found = list[Path]()
    for event in known.to_dict("records"):
        lines = _lines(event, places, query, spans, model)
        path = folder / f"{event['time']:%Y%m%dT%H%M%S}_{files.key_of([where, lines])[:8]}.mseed"
        found += [path] if lines and service.file(path, "get_waveforms_bulk", lines) else []
    if not found:
        why = f"{len(known)} of {len(events)} events have a time, {len(places)} stations are known"
        raise ValueError(f"{where} has nothing of these events ({why}). Are their times in UTC, and is {query} right?")
    return found, metadata


def brought(
    waveforms: str, events: pd.DataFrame, spans: tuple[float, float], stations: str | None, model: str
) -> tuple[archives.Paths, archives.Paths]:
    """Files of waveforms and of stations: as they are named, or fetched, if that is the address of a service; see :func:`fetch_events`."""
    if is_address(waveforms):
        return fetch_events(waveforms, events, spans, stations, model)
    return waveforms, stations or []


def _asked(query: dict[str, str], network: str, station: str) -> bool:
    """Whether lists of patterns let a station pass."""
    pairs = ((query["network"], network), (query["station"], station))
    return all(any(fnmatchcase(code, pattern) for pattern in patterns.split(",")) for patterns, code in pairs)


def _lines(
    event: dict[str, Any], places: dict[tuple[str, str], tuple[float, float]], query: dict[str, str], spans: Sequence[float], model: str
) -> list[tuple[Any, ...]]:  # fmt: skip
    """What to ask for: of each station from before its P to after it."""
    import pandas as pd
    from obspy import UTCDateTime

    row, lines = pd.DataFrame([event]), list[tuple[Any, ...]]()
    for (network, station), place in places.items():
        p = arrays.p_times(row, [place], model).iloc[0]
        if pd.notna(p):
            at = UTCDateTime(ns=p.value)
            begin, end = at - spans[0] - MARGIN_S, at + spans[1] + MARGIN_S
            codes = ((a, b) for a in query["location"].split(",") for b in query["channel"].split(","))
            lines += [(network, station, location, channel, begin, end) for location, channel in codes]
    return lines
