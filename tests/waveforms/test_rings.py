"""Packets in any order, and what is cut out again, against the arrays they came from and the archive's own reader."""

from itertools import pairwise

import numpy as np
import obspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.waveforms import archives
from geonb.waveforms.rings import Ring

START = obspy.UTCDateTime("2024-02-03T04:05:06")
S = 10**9


def trace(values, station="AAA", rate=40.0, start=START, channel="BHZ"):
    header = {"network": "XX", "station": station, "channel": channel, "sampling_rate": rate, "starttime": start}
    return obspy.Trace(np.asarray(values, np.float64), header)


def packets(whole, cuts):
    ends = [0, *sorted(cuts), whole.stats.npts]
    step = 1 / whole.stats.sampling_rate
    return [trace(whole.data[a:b], whole.stats.station, whole.stats.sampling_rate, whole.stats.starttime + a * step)
            for a, b in pairwise(ends) if b > a]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 1999), max_size=12), st.randoms(use_true_random=False), st.sampled_from([40.0, 50.0, 33.3])
)
def test_packets_in_any_order_and_twice_are_the_record(cuts, random, rate):
    values = np.random.default_rng(len(cuts)).standard_normal(2000)
    parts = packets(trace(values, rate=rate), cuts)
    parts += random.sample(parts, len(parts) // 2)
    random.shuffle(parts)
    ring = Ring(2000 / rate)
    spans = [ring.put(part) for part in parts]
    begin = START.ns
    found, hz = ring.read(["XX.AAA"], ["Z"], begin, begin + round(2000 / rate * S), rate)
    assert hz == rate and not ring.notes
    np.testing.assert_array_equal(found[0, 0], values)
    assert sum(end - first for first, end in filter(None, spans)) == pytest.approx(2000 / rate * S, abs=len(spans))


def test_what_is_not_known_is_nan():
    ring, values = Ring(60), np.arange(400.0)
    for part in (values[:100], values[200:]):
        ring.put(trace(part, start=START + part[0] / 40))
    found = ring.read(["XX.AAA", "XX.BBB"], ["Z", "N"], START.ns, START.ns + 10 * S, 40.0)[0]
    assert np.isnan(found[1]).all() and np.isnan(found[0, 1]).all()
    np.testing.assert_array_equal(np.isnan(found[0, 0]), (np.arange(400) >= 100) & (np.arange(400) < 200))


def test_packets_that_differ_are_nan_for_good():
    ring, values = Ring(60), np.arange(400.0)
    ring.put(trace(values))
    assert ring.put(trace(values)) is None  # twice the same
    other = values[100:110] + 1
    assert ring.put(trace(other, start=START + 2.5)) == (START.ns + 25 * S // 10, START.ns + 275 * S // 100)
    ring.put(trace(values[100:110], start=START + 2.5))
    found = ring.read(["XX.AAA"], ["Z"], START.ns, START.ns + 10 * S, 40.0)[0][0, 0]
    assert np.flatnonzero(np.isnan(found)).tolist() == list(range(100, 110))
    assert any("10 samples overlap and differ" in note for note in ring.notes)


def test_what_comes_too_late_or_from_the_future_is_told_and_left():
    ring = Ring(10)
    ring.put(trace(np.ones(40 * 60)))
    assert ring.put(trace(np.zeros(40))) is None
    assert ring.put(trace(np.zeros(40), start=obspy.UTCDateTime() + 3600)) is None
    assert ["too late" in ring.notes[0], "yet to come" in ring.notes[1]] == [True, True]
    assert np.nanmax(ring.read(["XX.AAA"], ["Z"], START.ns + 50 * S, START.ns + 60 * S, 40.0)[0]) == 1


def test_a_long_stream_keeps_its_newest_part():
    ring, rate = Ring(20), 40.0
    values = np.random.default_rng(0).standard_normal(40 * 600)
    for part in packets(trace(values), range(200, 40 * 600, 200)):
        ring.put(part)
    end = START.ns + 600 * S
    np.testing.assert_array_equal(ring.read(["XX.AAA"], ["Z"], end - 20 * S, end, rate)[0][0, 0], values[-800:])
    assert ring.spans(["XX.AAA"]) == [(START.ns, end)]


def test_rates_and_clocks_are_brought_together_as_from_an_archive(tmp_path):
    random = np.random.default_rng(1)
    whole = [
        trace(random.standard_normal(6000).round(3), "AAA", 100.0), trace(random.standard_normal(3000).round(3), "BBB", 50.0),
        trace(random.standard_normal(3000).round(3), "CCC", 50.0, START + 0.006), trace(np.ones(600), "DDD", 10.0),
    ]  # fmt: skip
    ring = Ring(70)
    for one in whole:
        one.write(str(tmp_path / f"{one.stats.station}.mseed"), "MSEED")
        for part in packets(one, [500, 555]):
            ring.put(part)
    sensors = ["XX.AAA", "XX.BBB", "XX.CCC", "XX.DDD"]
    assert ring.ahead_s(sensors, 40.0) > 0.4 and ring.ahead_s(["XX.BBB"], 50.0) == 0
    found, rate = ring.read(sensors, ["Z"], START.ns + 10 * S, START.ns + 40 * S, 40.0)
    index = archives.index_files(str(tmp_path))
    right = archives.cut(
        index, START.datetime + np.timedelta64(10, "s"), START.datetime + np.timedelta64(40, "s"), rate_hz=50
    )
    assert rate == 50 and np.isnan(found[3]).all()  # 10 Hz are of no use
    for i, name in enumerate(sensors[:3]):
        np.testing.assert_allclose(found[i, 0], right["data"].sel(sensor=name, component="Z"), atol=1e-5)


def test_a_channel_that_changes_its_rate_begins_anew():
    ring = Ring(60)
    ring.put(trace(np.ones(400)))
    ring.put(trace(np.zeros(1000), rate=100.0, start=START + 10))
    assert "100 Hz" in ring.notes[0] and ring.read(["XX.AAA"], ["Z"], START.ns, START.ns + 20 * S, 40.0)[1] == 100


def test_channels_that_cannot_be_used_are_left_out_and_told():
    ring = Ring(60)
    ring.put(trace(np.zeros(100), "SOH", rate=1.0, channel="LCQ"))  # an instrument's state
    assert ring.sensors == {}
    ring.put(trace(np.ones(2000), "ODD", rate=99.99))
    ring.put(trace(np.ones(2000), "SLOW", rate=20.0))
    ring.put(trace(np.ones(2000), "SLOW", rate=20.0, channel="BHN", start=START + 0.01))
    ring.put(trace(np.ones(800)))
    found, rate = ring.read(["XX.ODD", "XX.AAA", "XX.SLOW"], ["Z"], START.ns, START.ns + 10 * S, 40.0)
    assert rate == 40 and np.isnan(found[[0, 2]]).all() and (found[1] == 1).all()
    assert any("99.99 Hz cannot be made 40 Hz" in note for note in ring.notes) and ring.ahead_s(["XX.SLOW"], 40.0) == 0


def test_a_clock_with_another_phase_after_a_gap_needs_samples_beyond_a_cut():
    ring = Ring(60)
    ring.put(trace(np.ones(400)))
    ring.put(trace(np.ones(400), "BBB"))
    assert ring.ahead_s(["XX.AAA", "XX.BBB"], 40.0) == 0
    ring.put(trace(np.ones(400), start=START + 20.011))
    assert ring.ahead_s(["XX.AAA", "XX.BBB"], 40.0) > 0.4
