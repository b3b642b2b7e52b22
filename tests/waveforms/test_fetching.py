"""An FDSN service over loopback: what is asked for, and how often; what lies in the files afterwards, against the service's own stream."""

import numpy as np
import obspy
import pandas as pd
import pytest
from obspy import UTCDateTime
from obspy.core.inventory import Channel, Inventory, Network, Station
from waveforms.fdsn_server import FdsnServer

from geonb.waveforms import archives, catalogues, fetching

T0 = UTCDateTime("2020-01-01T00:00:00Z")
PLACES = {"A": (60.0, 5.0), "B": (61.0, 6.0), "FAR": (60.0, -30.0)}


def inventory():
    stations = []
    for code, (lat, lon) in PLACES.items():
        channel = Channel("BHZ", "", lat, lon, 100, 0, start_date=T0 - 1e6, sample_rate=20)
        stations.append(Station(code, lat, lon, 100, channels=[channel], start_date=T0 - 1e6, creation_date=T0 - 1e6))
    return Inventory([Network("NS", stations)])


def stream(hours=30, rate=20.0):
    found = obspy.Stream()
    for i, code in enumerate(PLACES):
        header = {"network": "NS", "station": code, "channel": "BHZ", "sampling_rate": rate, "starttime": T0}
        values = np.random.default_rng(i).normal(0, 1000, int(hours * 3600 * rate)).astype(np.int32)
        found += obspy.Trace(values, header)
    return found


def events(*hours):
    times = [T0 + 3600 * h for h in hours]
    rows = {
        "event_id": [f"e{h}" for h in hours],
        "time": [str(t) for t in times],
        "latitude": 60.5,
        "longitude": 5.0,
        "depth_km": 10.0,
    }
    return catalogues.events_of(pd.DataFrame(rows))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(fetching, "sleep", slept.append)
    return slept


def test_each_station_is_asked_for_what_lies_about_its_own_p_and_nothing_twice(tmp_path, no_pauses):
    spans = 60.0, 120.0
    with FdsnServer(stream(), inventory=inventory()) as server:
        address = f"fdsn:{server.address}?network=NS&station=A,B,C*&channel=BH?,HH?"
        found, metadata = fetching.fetch_events(address, events(1, 5, 99), spans, folder=tmp_path)
        assert len(found) == 2 and len(server.asked) == 3 and len(server.stations) == 1 and server.agents == {"geonb"}
        assert server.stations[0]["station"] == "A,B,C*" and server.stations[0]["level"] == "channel"
        again = fetching.fetch_events(address, events(1, 5, 99), spans, folder=tmp_path)
        assert (
            again == (found, metadata) and len(server.asked) == 3 and len(server.stations) == 1
        )  # nor for what it has not
        fetching.fetch_events(address, events(1, 5, 99), (70.0, 120.0), folder=tmp_path)
        assert len(server.asked) == 6  # another period is another file
    assert no_pauses.count(1.0) == 7  # one after each answer
    known = archives.read_stations(metadata)
    assert {s.code for net in known for s in net} == set(PLACES)
    index = archives.index_files(found)
    assert set(index["station"]) == {"A", "B"}
    model = obspy.taup.TauPyModel("iasp91")
    for code in "AB":
        degrees = obspy.geodetics.locations2degrees(60.5, 5.0, *PLACES[code])
        p = T0 + 3600 + model.get_travel_times(10, degrees, ("p", "P", "Pn", "Pg"))[0].time
        mine = index[(index["station"] == code) & (index["file"] == str(found[0]))]
        first, last = (UTCDateTime(ns=int(mine[name].iloc[0].value)) for name in ("start", "end"))
        assert abs(first - (p - 60 - fetching.MARGIN_S)) < 0.3 and abs(last - (p + 120 + fetching.MARGIN_S)) < 0.3
        held = archives.cut(index, p.datetime, (p + 100).datetime, f"NS.{code}")
        theirs = stream().select(station=code)[0].slice(UTCDateTime(held.attrs["start"]))
        np.testing.assert_array_equal(held["data"].values[0, 0], theirs.data[: held.sizes["time"]])


def test_one_s_own_stations_are_the_only_ones_asked_for(tmp_path):
    inventory().select(station="B").write(str(tmp_path / "mine.xml"), "STATIONXML")
    with FdsnServer(stream()) as server:  # it has no station service
        address = f"fdsn:{server.address}?network=NS&station=*"
        found, metadata = fetching.fetch_events(
            address, events(1), (9, 9), str(tmp_path / "mine.xml"), folder=tmp_path / "to"
        )
        assert (
            [line[1] for line in server.asked[0]] == ["B"] and metadata == [tmp_path / "mine.xml"] and len(found) == 1
        )


@pytest.mark.parametrize("wrong", [503, (429, 7), "cut"])
def test_a_service_that_is_busy_or_breaks_off_is_asked_again_and_spared(tmp_path, no_pauses, wrong):
    with FdsnServer(stream(), wrong=[wrong], inventory=inventory()) as server:
        address = f"fdsn:{server.address}?network=NS&station=A"
        found, _ = fetching.fetch_events(address, events(1), (9, 9), folder=tmp_path)
        assert len(server.asked) == 2 and not list(tmp_path.rglob("*partial*"))
    assert (7.0 in no_pauses) == isinstance(wrong, tuple)
    assert archives.index_files(found)["samples"].iloc[0] > 400


def test_what_was_fetched_stays_when_it_refuses_for_good(tmp_path):
    with FdsnServer(stream(), inventory=inventory()) as server:
        address = f"fdsn:{server.address}?network=NS&station=A"
        server.wrong = [None, *[503] * fetching.ATTEMPTS]
        said = r"(?s)127\.0\.0\.1.* did not answer for 20200101T05.*503.*Call again to go on, or fetch it elsewhere"
        with pytest.raises(ConnectionError, match=said):
            fetching.fetch_events(address, events(1, 5), (9, 9), folder=tmp_path)
        asked = len(server.asked)
        assert (
            len(fetching.fetch_events(address, events(1, 5), (9, 9), folder=tmp_path)[0]) == 2
            and len(server.asked) == asked + 1
        )
        server.wrong = [403]
        with pytest.raises(ConnectionError, match=r"(?s)refuses .*whether they are open to all"):
            fetching.fetch_events(address, events(7), (9, 9), folder=tmp_path)
        assert len(server.asked) == asked + 2  # once


def test_what_is_nowhere_is_told(tmp_path):
    with FdsnServer(stream(), inventory=inventory()) as server:
        address = f"fdsn:{server.address}?network=NS&station=A"
        with pytest.raises(
            ValueError, match=r"(?s)127\.0\.0\.1.*has nothing of these events \(1 of 1 events have a time, 1 stations"
        ):
            fetching.fetch_events(address, events(99), (9, 9), folder=tmp_path)
    with pytest.raises(ConnectionError, match="put miniSEED and StationXML into"):
        fetching.fetch_events("fdsn://127.0.0.1:1?network=NS&station=A", events(1), (9, 9), folder=tmp_path)


def test_a_period_is_fetched_day_by_day(tmp_path, capsys):
    period = T0.datetime, (T0 + 3 * 86_400 - 1).datetime
    with FdsnServer(stream(rate=1.0), inventory=inventory()) as server:
        address = f"fdsn://{server.address.removeprefix('http://')}?network=NS&station=A&channel=BHZ"
        paths = fetching.fetch_period(address, *period, tmp_path / "new")
        assert (
            len(server.asked) == 3
            and server.asked[0][0][:4] == ("NS", "A", "*", "BHZ")
            and server.stations[0]["level"] == "response"
        )
        assert fetching.fetch_period(address, *period, tmp_path / "new") == paths and len(server.asked) == 3
    assert [path.suffix for path in paths] == [".mseed", ".mseed", ".stationxml"]
    assert "nothing of 2020-01-03" in capsys.readouterr().out
    found = archives.cut(archives.index_files(paths[:2]), (T0 + 86_300).datetime, (T0 + 86_500).datetime, rate_hz=1.0)
    np.testing.assert_array_equal(found["data"].values[0, 0], stream(rate=1.0)[0].data[86_300:86_500])


def test_addresses():
    for text, where in (
        ("fdsn:IRIS?network=N&station=A", "IRIS"), ("fdsn://IRIS?network=N&station=A", "IRIS"),
        ("fdsn:https://x.org/a/?network=N&station=A", "https://x.org/a"), ("fdsn://x.org?network=N&station=A", "https://x.org"),
        ("fdsn:localhost:8080?network=N&station=A", "http://localhost:8080"),
    ):  # fmt: skip
        assert fetching.address_of(text) == (where, {"network": "N", "station": "A", "location": "*", "channel": "*"})
    for wrong in ("http://x.org?network=N&station=A", "fdsn:IRIS?network=NS", "fdsn:https://me:pw@x.org?network=N&station=A",
                  "fdsn:X?net=N", "fdsn:?network=N&station=A", "fdsn:IRIS"):  # fmt: skip
        with pytest.raises(ValueError, match="must be fdsn:SERVER"):
            fetching.address_of(wrong)
