"""Live sources: what arrives, merged, against the arrays that were served, over loopback servers that misbehave."""

import time
import tracemalloc
from datetime import datetime
from itertools import pairwise

import numpy as np
import obspy
import pytest
from obspy import UTCDateTime
from waveforms.fdsn_server import FdsnServer
from waveforms.seedlink_server import SeedLinkServer

from geonb.waveforms import packets, seedlink, streams

T0 = UTCDateTime("2020-01-01T00:00:00Z")
IDS = ("NS.KTK1..HHZ", "NS.KTK2.00.HHZ", "NS.KTK2.00.HHN")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(packets, "LONGEST_S", 0.3)
    for module in (packets, seedlink):
        monkeypatch.setattr(module, "BEAT_S", 0.2)


def made(seconds=120.0, rate=50.0, ids=IDS, start=T0):
    stream = obspy.Stream()
    for i, name in enumerate(ids):
        keys = dict(zip(("network", "station", "location", "channel"), name.split("."), strict=True))
        data = np.random.default_rng(i).normal(0, 1000, round(seconds * rate)).astype(np.int32)
        stream += obspy.Trace(data, keys | {"sampling_rate": rate, "starttime": start})
    return stream


def filled(packets, like):
    """id -> samples that came, on the grid of those that were served; NaN where none came, an error where two differ."""
    found = {t.id: np.full(t.stats.npts, np.nan) for t in like}
    for packet in packets:
        if isinstance(packet, obspy.Trace):
            origin = like.select(id=packet.id)[0].stats
            first = (packet.stats.starttime - origin.starttime) * origin.sampling_rate
            assert abs(first - round(first)) < 1e-3 and packet.stats.sampling_rate == origin.sampling_rate
            part = found[packet.id][round(first) : round(first) + packet.stats.npts]
            assert len(part) == packet.stats.npts
            assert not (part[np.isfinite(part)] != packet.data[np.isfinite(part)]).any()
            part[:] = packet.data
    return found


def all_there(packets, like):
    for name, values in filled(packets, like).items():
        np.testing.assert_array_equal(values, like.select(id=name)[0].data, err_msg=name)


def notes(packets, kind=None):
    return [str(p) for p in packets if isinstance(p, streams.Note) and kind in (None, p.kind)]


def taken(source, wanted=("NS.*.*.*",), begin=T0, seconds=20.0, **options):
    """All packets until the source ends, or the time is over."""
    end, source = time.monotonic() + seconds, streams.check_source(source)
    found = list(source.packets(wanted, begin, stop=lambda: time.monotonic() > end, **options))
    assert time.monotonic() < end + 1.5, "it did not end by itself"
    return found


# ---------------------------------------------------------------- seedlink


def at(server, *options, silence_s=0.4):
    return ",".join([f"seedlink://{server.address}", f"timeout_s=5,silence_s={silence_s}", *options])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"dribble": True},
        {"late_s": 30},
        {"repeat": 0.3},
        {"drop_after": [6, 40]},
        {"drop_after": [7], "refuse": 14},
        {"drop_after": [5], "anew": True, "there": 50, "pace_s": 0.06},
        {"truncated": 9},
        {"stall_after": [6]},
        {"refuses": "INFO", "stall_after": [6]},
        {"refuses": "DATA [0-9]", "drop_after": [9, 9]},
        {"refuses": "TIME"},
    ],
    ids=str,
)
def test_seedlink_gives_all_whatever_happens_on_the_way(wrong):
    like = made()
    with SeedLinkServer(like, **wrong) as server:
        names = ("NS.KTK?.*.HH?",) if "repeat" in wrong or "drop_after" in wrong else IDS
        got = taken(at(server, "quiet_s=1"), names, until=T0 + 120)
    if wrong.get("refuses") == "TIME":
        assert "NS.KTK1: the server gives nothing of before, only what comes" in notes(got)
        return
    all_there(got, like)
    lost = len(wrong.get("drop_after", ())) + ("truncated" in wrong) + ("stall_after" in wrong) + ("anew" in wrong)
    lost += wrong.get("refuse", 0)
    assert len(notes(got, "lost")) == lost, notes(got)


def test_seedlink_lacks_what_the_server_lacks_and_tells_of_noise():
    like = made()
    with SeedLinkServer(like, skip={10, 11}, garbage=20) as server:
        got = taken(at(server, "quiet_s=1"), IDS, until=T0 + 120)
    lacking = sum(np.isnan(values).sum() for values in filled(got, like).values())
    assert 3 * 100 < lacking < 3 * 500 and "a record is damaged" in notes(got, "told")[0]


def test_seedlink_waits_with_none_each_second_and_stops_when_told(monkeypatch):
    monkeypatch.setattr(seedlink, "BEAT_S", 1.0)
    like = made(20)
    with SeedLinkServer(like) as server:
        start, found, ask = time.monotonic(), [], [False]
        for packet in streams.check_source(at(server, silence_s=9)).packets(IDS, T0, stop=lambda: ask[0]):
            found.append(packet)
            ask[0] = time.monotonic() - start > 2.2
    assert found.count(None) in (2, 3) and time.monotonic() - start < 3.8
    all_there(found, like)


def test_seedlink_gives_what_comes_from_now_on_without_a_begin():
    like = made()
    with SeedLinkServer(like, there=60, pace_s=0.05) as server:
        got = taken(at(server), IDS, begin=None, seconds=2.5)
    values = filled(got, like)[IDS[0]]
    known = np.isfinite(values)
    assert 100 < known.sum() < 4000 and known[-1] and not known[0]
    assert not any(command.startswith("TIME") for command in server.commands)


def test_seedlink_takes_begin_until_and_the_streams_that_were_asked_for():
    like = made()
    with SeedLinkServer(like) as server:
        got = taken(at(server, "quiet_s=1"), ("NS.*.00.HHZ", "XX.A*.*.*", "NS.NO..HHZ"), T0 + 30.01, until=T0 + 60)
    values = filled(got, like)
    assert np.isnan(values["NS.KTK1..HHZ"]).all() and np.isnan(values["NS.KTK2.00.HHN"]).all()
    known = np.flatnonzero(np.isfinite(values["NS.KTK2.00.HHZ"]))
    assert known[0] == 1501 and known[-1] == 2999 and len(known) == 1499
    told = " ".join(notes(got, "told"))
    assert (
        "XX.A*: the server has no such station, but NS.KTK1, NS.KTK2" in told
        and "NS.NO is unknown to the server" in told
    )


def test_seedlink_without_a_server_is_told_at_once_or_waited_for():
    with SeedLinkServer(made(1)) as server:
        pass
    with pytest.raises(ConnectionError, match=rf"{server.address} does not answer .*refused.*Check host, port"):
        taken(f"seedlink://{server.address}")
    got = taken(f"seedlink://{server.address},wait=true", seconds=2)
    assert len(notes(got, "lost")) >= 1
    with (
        SeedLinkServer(made(1), refuses="INFO") as server,
        pytest.raises(ConnectionError, match=r"lists no stations.*name them without"),
    ):
        taken(at(server), ("NS.*..HHZ",))
    with SeedLinkServer(made(1)) as server, pytest.raises(ConnectionError, match=r"NS.NO is unknown to the server"):
        taken(at(server), ("NS.NO..HHZ",))


# ---------------------------------------------------------------- fdsn


def live(delays=None, ahead=0.0):
    """Data of the last minutes, of which the newest come as time goes by."""
    begin = UTCDateTime() - 60
    like = made(90, start=UTCDateTime(ns=begin.ns // 10**9 * 10**9))
    return like, lambda s, name: begin + 50 + s - (delays or {}).get(name, 0)


FAST = "poll_s=0.3,latency_s=0,timeout_s=5,quiet_s=1"


@pytest.mark.parametrize(
    "wrong",
    [[], [429], [(429, 1)], [503, 500], ["cut"], [204], [200, "cut", (503, 1)]],
    ids=str,
)
def test_fdsn_gives_all_also_if_it_is_refused_for_a_while(wrong):
    like = made()
    with FdsnServer(like, [w for w in wrong if w != 200]) as server:
        got = taken(f"fdsn:{server.address},{FAST}", until=T0 + 120)
    all_there(got, like)
    assert len(notes(got, "lost")) == len([w for w in wrong if w not in (200, 204)])
    for i, one in enumerate(w for w in wrong if w != 200):
        if isinstance(one, tuple):
            assert server.times[i + 1] - server.times[i] >= one[1]


def test_fdsn_asks_for_what_came_since_and_waits_for_who_is_late():
    like, there = live({IDS[0]: 5.0})
    with FdsnServer(like, live=there) as server:
        begin = like[0].stats.starttime + 40
        got = taken(f"fdsn:{server.address},{FAST}", ("NS.*.*.HHZ", IDS[2]), begin, seconds=3.2)
    values = filled(got, like)
    for name in IDS:
        known = np.flatnonzero(np.isfinite(values[name]))
        assert known[0] == 2000 and (np.diff(known) == 1).all(), name
        assert abs(len(known) / 50 - (13.5 - 5 * (name == IDS[0]))) < 1.5
    assert 6 <= len(server.asked) <= 12
    asked = sum(UTCDateTime(line[5]) - UTCDateTime(line[4]) for lines in server.asked[3:] for line in lines)
    assert asked < 30 * len(server.asked)  # not all again and again
    begins = [UTCDateTime(lines[0][4]) for lines in server.asked]
    assert begins[-1] - begins[0] > 11 and sorted(begins) == begins
    sizes = sum(p.stats.npts for p in got if isinstance(p, obspy.Trace))
    assert sizes == sum(np.isfinite(v).sum() for v in values.values())  # none twice
    assert max(len(lines) for lines in server.asked) <= 3


def test_fdsn_goes_on_over_a_long_gap_and_ends():
    like = made(60) + made(60, start=T0 + 5 * 3600)
    with FdsnServer(like) as server:
        got = taken(f"fdsn:{server.address},{FAST}", ("NS.*.*.*",), until=T0 + 6 * 3600)
    assert sum(p.stats.npts for p in got if isinstance(p, obspy.Trace)) == 6 * 3000
    assert len(server.asked) < 12


def test_fdsn_without_a_service_or_refused_for_good_is_told():
    with FdsnServer(made(1), [403]) as server, pytest.raises(ConnectionError, match=r"refuses .*Check the streams"):
        taken(f"fdsn:{server.address}")
    with pytest.raises(ConnectionError, match=r"http://127.0.0.1:1 does not answer.*Check the address"):
        taken("fdsn:http://127.0.0.1:1")


def test_attempts_are_further_and_further_apart(monkeypatch):
    monkeypatch.setattr(packets, "LONGEST_S", 60.0)
    monkeypatch.setattr(packets, "wait", lambda seconds, stop: pauses.append(seconds) or iter(()))
    pauses, attempts = [], packets.Attempts("host", "it", been=True)
    told = [str(note) for _ in range(12) for note in attempts.failed(OSError("gone"), bool)]
    assert (
        0.5 <= pauses[0] <= 1
        and 2 <= pauses[2] <= 4
        and all(15 <= p <= 30 for p in pauses[6:])
        and len(set(pauses)) == 12
    )
    assert told[0].startswith("host is lost (gone); the next attempt is in 1 s")
    list(attempts.failed(OSError("gone"), bool, 300))
    assert pauses[-1] == 300


# ---------------------------------------------------------------- replay


def archive(folder, like):
    for i, trace in enumerate(like):
        half = trace.stats.starttime + trace.stats.npts * trace.stats.delta / 2
        trace.slice(endtime=half - 1e-3, nearest_sample=False).write(str(folder / f"{i}a.mseed"), "MSEED")
        trace.slice(half - 1e-3, nearest_sample=False).write(str(folder / f"{i}b.mseed"), "MSEED")
    return folder


@pytest.mark.parametrize("options", ["", "@max,packet_s=7.3", ",shuffle_s=20,repeat=.1,seed=3", "@1e6,packet_s=0.5"])
def test_replay_gives_all(tmp_path, options):
    like = made(400, start=T0 + 0.007)
    got = taken(f"replay:{archive(tmp_path, like)}{options}", begin=None)
    all_there(got, like)
    ends = [p.stats.endtime for p in got if isinstance(p, obspy.Trace)]
    assert (sorted(ends) == ends) is ("shuffle" not in options)
    assert len({(p.id, p.stats.starttime.ns) for p in got}) == len(got) or "repeat" in options


def test_replay_spoils_packets_the_same_for_the_same_seed(tmp_path):
    like = made(3600, rate=10, ids=IDS[:2])
    place = archive(tmp_path, like)

    def run(options):
        return [(p.id, p.stats.starttime.ns) for p in taken(f"replay:{place}@max,{options}", begin=None)]

    plain, spoiled = run("seed=1"), run("shuffle_s=20,drop=.1,repeat=.2,gap_s=30,seed=1")
    assert (
        spoiled
        == run("shuffle_s=20,drop=.1,repeat=.2,gap_s=30,seed=1")
        != run("shuffle_s=20,drop=.1,repeat=.2,gap_s=30,seed=2")
    )
    assert abs(len(run("drop=.1")) / len(plain) - 0.9) < 0.03 and abs(len(run("repeat=.2")) / len(plain) - 1.2) < 0.04
    shuffled = run("shuffle_s=20")
    late = [max(t for _, t in shuffled[: i + 1]) - t for i, (_, t) in enumerate(shuffled)]
    assert sorted(shuffled) == sorted(plain) and 10e9 < max(late) <= 20e9
    left = filled(taken(f"replay:{place}@max,gap_s=30", begin=None), like)
    for values in left.values():
        gone = np.isnan(values).reshape(6, 6000).sum(1) / 10
        assert abs(gone.sum() - 180) <= 30 and gone.max() <= 65


def test_replay_keeps_to_begin_until_speed_and_stop(tmp_path):
    like, start = made(400), time.monotonic()
    source = f"replay:{archive(tmp_path, like)}@150"
    got = taken(source, IDS[:1], T0 + 33.333, until=T0 + 300)
    assert 1.6 < time.monotonic() - start < 3.5 and got.count(None) <= 3
    known = np.flatnonzero(np.isfinite(filled(got, like)[IDS[0]]))
    assert known[0] == 1667 and known[-1] == 14_999 and len(known) == 13_333
    slow = taken(source.replace("@150", "@1"), begin=None, seconds=1.5)
    assert len([p for p in slow if p is not None]) <= 3 and slow.count(None) >= 1


def test_replay_jumps_over_long_silence_and_says_so(tmp_path):
    like = made(30) + made(30, start=T0 + 86_400 * 9)
    for i, trace in enumerate(like):
        trace.write(str(tmp_path / f"{i}.mseed"), "MSEED")
    got = taken(f"replay:{tmp_path}@60", begin=None)
    assert sum(p.stats.npts for p in got if isinstance(p, obspy.Trace)) == 6 * 1500
    assert len(notes(got)) == 1 and "from 2020-01-01T00:00:30" in notes(got)[0] and "jumped over" in notes(got)[0]


def test_replay_is_flat_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    for hour in range(4):
        data = rng.normal(0, 1000, 360_000).astype(np.int32)
        keys = {"network": "NS", "station": "A", "channel": "HHZ", "sampling_rate": 100, "starttime": T0 + 3600 * hour}
        obspy.Trace(data, keys).write(str(tmp_path / f"{hour:02}.mseed"), "MSEED")
    source, count, peak = streams.check_source(f"replay:{tmp_path}"), 0, 0
    tracemalloc.start()
    try:
        for packet in source.packets(["NS.A..HHZ"]):
            count += packet.stats.npts
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 4 * 360_000 and peak < 4.5e6, peak  # all are 5.8 MB, an hour is 1.4 MB


def test_replay_tells_of_files_that_cannot_be_read_and_goes_on(tmp_path):
    like = made(100, ids=IDS[:2])
    archive(tmp_path, like)
    source = streams.check_source(f"replay:{tmp_path}")
    (tmp_path / "0b.mseed").unlink()
    got = list(source.packets(["NS.*.*.*", "NS.NO..HHZ"]))
    assert any("0b.mseed cannot be read" in text for text in notes(got)) and any(
        "NS.NO..HHZ: not in" in text for text in notes(got)
    )
    assert np.isfinite(filled(got, like)[IDS[1]]).all() and np.isfinite(filled(got, like)[IDS[0]]).sum() == 2500


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize("rate", [100.0, 3.0, 99.9999, 0.1])
def test_parts_that_adjoin_are_the_whole(rate):
    trace = made(1000 / rate, rate, IDS[:1], T0 + 0.0073)[0]
    edges = [T0.ns, *(T0.ns + round(k * 1e9 * 7.7 / rate) for k in range(1, 140)), 2**63 - 1]
    parts = [p for a, b in pairwise(edges) if (p := packets.part(trace, a, b)) is not None]
    np.testing.assert_array_equal(np.concatenate([p.data for p in parts]), trace.data)
    begun = 0
    for p, q in pairwise(parts):
        assert abs(q.stats.starttime - p.stats.endtime - 1 / rate) < 1e-3 / rate
        begun += p.stats.npts  # times are whole nanoseconds, also where samples lie between
        assert packets.part(trace, q.stats.starttime.ns, 2**63 - 1).stats.npts == 1000 - begun


def test_sources_say_what_they_are(tmp_path):
    archive(tmp_path, made(10))
    for text, where, words in (
        ("seedlink://geofon.gfz.de", "geofon.gfz.de:18000", "the SeedLink server geofon.gfz.de:18000"),
        ("seedlink://localhost:18001,silence_s=5", "localhost:18001", "the SeedLink server localhost:18001"),
        ("fdsn:IRIS", "EARTHSCOPE", "the FDSN service EARTHSCOPE, asked every 30 s"),
        ("fdsn:https://x.org/,poll_s=5", "https://x.org", "the FDSN service https://x.org, asked every 5 s"),
        (f"replay:{tmp_path}@500", str(tmp_path), f"a replay of {tmp_path} at 500 times real time"),
        (f"replay:{tmp_path}@max,seed=1", str(tmp_path), f"a replay of {tmp_path} as fast as it goes"),
    ):
        source = streams.check_source(text)
        assert source.where == where and str(source) == words


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://x.org", r"Unknown source 'http'.*seedlink://host\[:port\]"),
        ("seedlink:host", "names no host"),
        ("seedlink://host:abc", "the port 'abc' must be a whole number from 1 to 65535"),
        ("seedlink://host:99999", "the port '99999' must be"),
        ("seedlink://me:pw@host", "a name or a password"),
        ("seedlink://host:x,wait=perhaps,pol=1", r"(?s)wait = 'perhaps' must be true or false.*no 'pol'.*port 'x'"),
        ("fdsn:IRES", "neither.*Did you mean IRIS"),
        ("fdsn:ftp://x", "neither http"),
        ("fdsn:https://a:b@x.org", "a name or a password"),
        ("replay:nowhere@0,drop=2", r"(?s)drop = 2 must be.*speed '0' must be a number above 0.*no file is at nowhere"),
        ("replay:nowhere@fast", "speed 'fast' must be"),
        ("replay:nowhere@nan", "speed 'nan' must be"),
    ],
)
def test_what_is_wrong_with_a_source_is_listed(text, told):
    with pytest.raises(ValueError, match=told) as error:
        streams.check_source(text)
    assert "pw@" not in str(error.value) and "a:b@" not in str(error.value)


def test_what_is_wrong_with_streams_and_times_is_told_at_once(tmp_path):
    source = streams.check_source(f"replay:{archive(tmp_path, made(10))}")
    with pytest.raises(ValueError, match=r"(?s)- NS.KTK1\n- NS.K#..HHZ\n.*Write NET.STA.LOC.CHA"):
        source.packets(["NS.KTK1", "NS.K#..HHZ", IDS[0]])
    with pytest.raises(ValueError, match="there is none"):
        source.packets([])
    with pytest.raises(ValueError, match="must be after the begin"):
        source.packets(IDS, T0 + 5, datetime(2020, 1, 1))
    with pytest.raises(ValueError, match=r"(?s)no such streams.*XX.*It has NS.KTK1..HHZ"):
        source.packets(["XX.*.*.*"])
    with pytest.raises(ValueError, match=r"nothing of these streams then.*\n.*2020-01-01 00:00:00 to"):
        source.packets(IDS, "2021-01-01")


def test_an_hour_of_several_streams_comes_side_by_side():
    from geonb.waveforms import fdsn

    start = obspy.UTCDateTime("2024-01-01")
    header = {"network": "XX", "channel": "HHZ", "sampling_rate": 20.0}
    hour = [
        obspy.Trace(np.arange(72_000) + k, header | {"station": name, "starttime": start + 3 * k})
        for k, name in enumerate("AB")
    ]
    found = list(fdsn.abreast_of(hour))
    times = [trace.stats.starttime for trace in found]
    assert max(a - b for a, b in pairwise(times)) <= fdsn.PACKET_S and not list(fdsn.abreast_of([]))
    for whole in hour:
        parts = [trace.data for trace in found if trace.id == whole.id]
        np.testing.assert_array_equal(np.concatenate(parts), whole.data)
