"""Waveforms: archives made here with every fault that real ones have, against ObsPy's own reading and hand-made truths."""

import time
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy import UTCDateTime
from obspy.core.inventory import Channel, Inventory, Network, Response, Station
from obspy.core.inventory.response import InstrumentSensitivity, PolesZerosResponseStage
from obspy.signal.util import util_geo_km

from geonb.waveforms import archives, preparation

REAL = Path(__file__).parents[3] / "shared" / "data" / "seismic"
real = pytest.mark.skipif(not REAL.is_dir(), reason="real waveforms are not there (../shared)")
T0 = UTCDateTime("2020-01-01T00:00:00Z")
WADL = Path(obspy.__file__).parent / "clients" / "fdsn" / "tests" / "data"


def counts(n, seed=0, size=1000):
    return np.random.default_rng(seed).normal(0, size, n).astype(np.int32)


def write(folder, seed_id, data, rate=100.0, start=0.0, name=None, form="MSEED"):
    network, station, location, channel = seed_id.split(".")
    codes = {"network": network, "station": station, "location": location, "channel": channel}
    trace = obspy.Trace(np.ascontiguousarray(data), codes | {"sampling_rate": rate, "starttime": T0 + start})
    path = Path(folder, name or f"{seed_id}_{start:g}_{len(list(Path(folder).iterdir()))}.mseed")
    path.parent.mkdir(parents=True, exist_ok=True)
    big = (
        trace.data.dtype == np.int32 and np.abs(trace.data.astype(float)).max() > 2**29
    )  # more than Steim's differences hold
    trace.write(
        str(path), form, **({"reclen": 512} | ({"encoding": "INT32"} if big else {}) if form == "MSEED" else {})
    )
    return path


def cut(folder, start=0.0, end=60.0, stations="*", **options):
    index = folder if isinstance(folder, pd.DataFrame) else archives.index_files(folder)
    return archives.cut(index, (T0 + start).datetime, (T0 + end).datetime, stations, **options)


def told(found):
    return "\n".join(found.attrs["notes"])


def inventory(*places, sensitivity=2.0, start=T0 - 1e6):
    """Stations as (NET.STA.LOC.CHA, latitude, longitude)."""
    networks = {}
    for seed_id, lat, lon in places:
        net, sta, loc, cha = seed_id.split(".")
        stage = PolesZerosResponseStage(
            1, sensitivity, 1, "M/S", "COUNTS", "LAPLACE (RADIANS/SECOND)", 1, [0j, 0j], [-4.4 + 4.4j, -4.4 - 4.4j]
        )
        response = Response(
            instrument_sensitivity=InstrumentSensitivity(sensitivity, 5, "M/S", "COUNTS"), response_stages=[stage]
        )
        channel = Channel(
            cha, loc, lat, lon, 100, 0, start_date=start, sample_rate=100, response=response if sensitivity else None
        )
        station = Station(sta, lat, lon, 100, channels=[channel], start_date=start, creation_date=start)
        networks.setdefault(net, Network(net)).stations.append(station)
    return Inventory(list(networks.values()))


# ---------------------------------------------------------------- index


def test_the_index_is_what_obspy_reads_of_headers(tmp_path):
    write(tmp_path, "NS.A.00.BHZ", counts(3000), 100, 5)
    write(tmp_path / "deep", "NS.B..HHN", counts(500), 50, 0, "b.sac", "SAC")
    (tmp_path / "README.md").write_text("no waveform")
    (tmp_path / "a-catalogue-with-a-long-name.csv").write_text("event_id,time\ne1,2020-01-01T00:00:00Z\n")
    (tmp_path / "events.xml").write_text('<q:quakeml xmlns:q="http://quakeml.org/xmlns/quakeml/1.2"/>')
    index = archives.index_files(tmp_path)
    assert index[["network", "station", "location", "channel"]].agg(".".join, axis=1).tolist() == [
        "NS.A.00.BHZ",
        "NS.B..HHN",
    ]
    assert index["start"].tolist() == [pd.Timestamp("2020-01-01T00:00:05"), pd.Timestamp("2020-01-01")]
    assert index["end"].tolist() == [pd.Timestamp("2020-01-01T00:00:34.99"), pd.Timestamp("2020-01-01T00:00:09.98")]
    assert index["rate_hz"].tolist() == [100, 50] and index["samples"].tolist() == [3000, 500]
    assert index["start"].dtype == "M8[ns]"
    assert index.attrs["notes"] == [
        "no waveforms, passed over: README.md, a-catalogue-with-a-long-name.csv, events.xml"
    ]


def test_names_are_files_folders_globs_and_lists(tmp_path):
    one, two = (
        write(tmp_path, "NS.A..BHZ", counts(100)),
        write(tmp_path / "x", "NS.B..BHZ", counts(100), name="odd [1], name.mseed"),
    )
    for named in (
        f"{one},{two}",
        [one, str(two)],
        str(tmp_path),
        tmp_path,
        f"{tmp_path}/**/*.mseed",
        f"{tmp_path}/*.mseed,{tmp_path / 'x'}",
    ):
        assert sorted(archives.index_files(named)["station"]) == ["A", "B"], named


def test_what_is_not_there_is_listed_and_an_archive_of_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)no file is at nowhere.*no file is at no/\*"):
        archives.index_files("nowhere,no/*")
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(ValueError, match=r"(?s)no file holds a waveform.*a\.md"):
        archives.index_files(tmp_path)


def test_a_truncated_record_is_told_and_the_rest_is_read(tmp_path):
    path = write(tmp_path, "NS.A..BHZ", counts(6000))
    path.write_bytes(path.read_bytes()[:-300])
    index = archives.index_files(path)
    assert "cut short, its last record has 212 of 512 bytes and is lost" in index.attrs["notes"][0]
    found = cut(index)
    assert 0 < np.isnan(found["data"].values).sum() < 600 and np.isnan(found["data"].values[0, 0, -1])
    np.testing.assert_array_equal(found["data"].values[0, 0, :5000], counts(6000)[:5000])


def test_a_damaged_record_is_told_and_the_others_go_on(tmp_path):
    path = write(tmp_path, "NS.A..BHZ", counts(6000))
    raw = bytearray(path.read_bytes())
    raw[1100:1500] = b"\xff" * 400
    path.write_bytes(raw)
    write(tmp_path, "NS.B..BHZ", counts(6000))
    found = cut(tmp_path)
    assert found["sensor"].values.tolist() == ["NS.B"]
    assert "cannot be read" in told(found) and "NS.A..BHZ: left out, no sample could be read" in told(found)


# ---------------------------------------------------------------- cut


def test_a_period_has_exactly_its_samples(tmp_path):
    data = counts(30_000)
    write(tmp_path, "NS.A.00.BHZ", data)
    found = cut(tmp_path, 10, 250)
    assert dict(found.sizes) == {"sensor": 1, "component": 1, "time": 24_000}
    np.testing.assert_array_equal(found["data"].values[0, 0], data[1000:25_000])
    assert found["data"].dtype == np.float32 and found["sensor"].values.tolist() == ["NS.A.00"]
    assert found.attrs["rate_hz"] == 100 and found.attrs["units"] == "counts" and found.attrs["notes"] == []
    assert pd.Timestamp(found.attrs["start"]) == pd.Timestamp("2020-01-01T00:00:10Z")
    assert found["fault"].values.tolist() == [[""]] and np.isnan(found["latitude"]).all()


@settings(max_examples=25, deadline=None)
@given(
    pieces=st.permutations([(0, 2000), (1500, 3000), (2900, 4000), (4500, 6000), (1600, 1800)]),
    begin=st.integers(0, 4000),
)
def test_overlapping_and_late_packets_make_the_same_record_in_any_order(tmp_path_factory, pieces, begin):
    folder, data = tmp_path_factory.mktemp("pieces"), counts(6000)
    for a, b in pieces:
        write(folder, "NS.A..BHZ", data[a:b], start=a / 100)
    found = cut(folder, begin / 100, 60)
    want = data.astype(float)
    want[4000:4500] = np.nan
    np.testing.assert_array_equal(found["data"].values[0, 0], want[begin:])
    assert found.attrs["notes"] == []


def test_a_thousand_small_gaps_take_no_time(tmp_path):
    data = counts(200_000)
    about = {"station": "A", "network": "NS", "channel": "BHZ", "sampling_rate": 100}
    pieces = [obspy.Trace(data[i : i + 90], about | {"starttime": T0 + i / 100}) for i in range(0, 200_000, 100)]
    obspy.Stream(pieces).write(str(tmp_path / "day.mseed"), "MSEED", reclen=512)
    index = archives.index_files(tmp_path)
    begun = time.process_time()
    found = cut(pd.concat([index[:700], index[700:]]), 0, 2000)["data"].values[0, 0]
    assert time.process_time() - begun < 5  # ObsPy's merge takes minutes
    assert len(index) == 2000
    lost = np.arange(200_000) % 100 >= 90
    np.testing.assert_array_equal(found, np.where(lost, np.nan, data))


def test_two_indexes_are_one_archive(tmp_path):
    one, two = (archives.index_files(write(tmp_path, f"NS.{name}..BHZ", counts(6000))) for name in "AB")
    assert cut(pd.concat([one, two]))["sensor"].values.tolist() == ["NS.A", "NS.B"]


def test_segments_that_contradict_each_other_are_nan_and_told(tmp_path):
    data = counts(6000)
    write(tmp_path, "NS.A..BHZ", data[:3000])
    write(tmp_path, "NS.A..BHZ", np.r_[data[2500:2600] + 1, data[2600:]], start=25)
    found = cut(tmp_path)
    lost = np.isnan(found["data"].values[0, 0])
    assert lost[2500:2600].all() and not lost[:2500].any() and not lost[3000:].any()
    assert f"{lost.sum()} samples overlap and differ: NaN" in told(found)


def test_two_rates_of_one_channel(tmp_path):
    write(tmp_path, "NS.A..BHZ", counts(6000), 100)
    write(tmp_path, "NS.A..BHZ", counts(2400, 1), 40)
    found = cut(tmp_path)
    assert found.attrs["rate_hz"] == 100 and "NS.A Z: BHZ at 100 Hz taken, not BHZ at 40 Hz" in told(found)
    asked = cut(tmp_path, rate_hz=40.0)
    np.testing.assert_array_equal(asked["data"].values[0, 0], counts(2400, 1))
    assert "BHZ at 40 Hz taken, not BHZ at 100 Hz" in told(asked)


def test_of_a_component_one_channel_is_taken(tmp_path):
    for channel, rate in (("LHZ", 1), ("HNZ", 200), ("HHZ", 100), ("BHZ", 40), ("HHN", 100)):
        write(tmp_path, f"NS.A..{channel}", counts(round(60 * rate), rate), rate)
    found = cut(tmp_path)
    assert found["component"].values.tolist() == ["Z", "N"]
    np.testing.assert_array_equal(found["data"].sel(component="Z").values[0], counts(6000, 100))
    assert "NS.A Z: HHZ at 100 Hz taken, not BHZ at 40 Hz, HNZ at 200 Hz, LHZ at 1 Hz" in told(found)
    liked = cut(tmp_path, channels="BH?,LH?")
    assert liked.attrs["rate_hz"] == 40 and liked["component"].values.tolist() == ["Z"]
    with pytest.raises(ValueError, match=r"(?s)No channel is left.*channels = 'XX\?' lets none pass"):
        cut(tmp_path, channels="XX?")


def test_rates_of_several_sensors_come_to_one_and_slow_ones_are_left_out(tmp_path):
    t = np.arange(0, 60, 0.01)
    wave = 1e4 * np.sin(2 * np.pi * 3 * t)
    for station, rate in (("A", 50), ("B", 50), ("C", 100), ("D", 20)):
        write(tmp_path, f"NS.{station}..BHZ", np.float32(wave[:: 100 // rate]), rate)
    found = cut(tmp_path, 5, 55)
    assert found.attrs["rate_hz"] == 50 and found["sensor"].values.tolist() == ["NS.A", "NS.B", "NS.C"]
    np.testing.assert_allclose(found["data"].values[2, 0], found["data"].values[0, 0], atol=20)
    assert "NS.C..BHZ: from 100 to 50 Hz" in told(found) and "NS.D..BHZ: left out, 20 Hz cannot be made 50 Hz" in told(
        found
    )
    down = cut(tmp_path, 5, 55, rate_hz=20.0)
    assert down["data"].shape == (4, 1, 1000)
    np.testing.assert_allclose(down["data"].values[:3, 0], np.tile(wave[500:5500:5], (3, 1)), atol=60)


def test_a_hair_off_the_grid_is_left_and_more_is_interpolated(tmp_path):
    t = np.arange(-1, 61, 0.01)

    def wave(t):
        return 1e4 * np.sin(2 * np.pi * 6 * t) + 3e3 * np.cos(2 * np.pi * 17 * t) + 500

    for station, late in (("A", 0), ("B", 0), ("C", 0.00003), ("D", 0.004), ("E", -0.003)):
        write(tmp_path, f"NS.{station}..BHZ", np.float32(wave(t + late)), 100, -1 + late)
    found = cut(tmp_path)
    assert found["data"].shape == (5, 1, 6000) and pd.Timestamp(found.attrs["start"]) == pd.Timestamp(
        "2020-01-01T00:00Z"
    )
    for i in (3, 4):
        np.testing.assert_allclose(found["data"].values[i, 0], wave(np.arange(0, 60, 0.01)), atol=30)
    assert told(found).count("interpolated") == 2 and "NS.D..BHZ: interpolated, +0.0040 s off" in told(found)


def test_interpolation_is_as_good_as_obspy_s_and_keeps_gaps():
    rng = np.random.default_rng(1)
    tones = [(f, rng.normal(), rng.uniform(0, 6)) for f in rng.uniform(0.01, 0.35, 20)]  # to 0.7 of half the rate

    def true(t):
        return sum(size * np.sin(2 * np.pi * f * t + phase) for f, size, phase in tones) + 100

    t, inner = np.arange(2000), slice(30, -30)
    got = archives._shifted(true(t + 0.3), 0.3)
    trace = obspy.Trace(true(t + 0.3), {"delta": 1, "starttime": UTCDateTime(0.3)})
    lanczos = trace.interpolate(1, "lanczos", starttime=UTCDateTime(1), a=20).data
    ours, theirs = (
        np.abs(got - true(t))[inner].max(),
        np.abs(lanczos - true(np.arange(1, len(lanczos) + 1)))[inner].max(),
    )
    assert ours < max(theirs, 1e-2)
    for late, lost in ((0.3, range(900, 951)), (-0.3, range(899, 950))):  # one that stands between two needs both
        gappy = np.where((t >= 900) & (t < 950), np.nan, true(t))
        assert np.flatnonzero(np.isnan(archives._shifted(gappy, late))).tolist() == list(lost)


def test_the_grid_is_that_of_most_traces(tmp_path):
    for station in "ABC":
        write(tmp_path, f"NS.{station}..BHZ", counts(8000), 100, -3 + 0.004)
    write(tmp_path, "NS.D..BHZ", counts(8000), 100, -3)
    found = cut(tmp_path)
    assert pd.Timestamp(found.attrs["start"]) == pd.Timestamp("2020-01-01T00:00:00.004Z")
    np.testing.assert_array_equal(found["data"].values[0, 0], counts(8000)[300:6300])
    assert told(found).count("interpolated") == 1


def test_a_clock_too_far_off_is_refused(tmp_path):
    for station in "AB":
        write(tmp_path, f"NS.{station}..LHZ", counts(100), 1.0)
    write(tmp_path, "NS.C..LHZ", counts(100), 1.0, 0.3)
    found = cut(tmp_path)
    assert found["sensor"].values.tolist() == ["NS.A", "NS.B"]
    assert "NS.C..LHZ: left out, +0.300 s off the common sampling, and more than 0.15 s are not mended" in told(found)


def test_a_clock_jump_is_told(tmp_path):
    write(tmp_path, "NS.A..BHZ", counts(3000))
    write(tmp_path, "NS.A..BHZ", counts(3000, 1), start=30.504)
    found = cut(tmp_path)
    assert "the clock jumps at 2020-01-01T00:00:30.504000Z, by +0.504 s" in told(found)
    assert np.isnan(found["data"].values[0, 0, 3000:3050]).all()


@pytest.mark.parametrize("late", [0.005, 0.015, 0.025, -0.005, 0.0149])
def test_a_clock_that_jumps_by_half_a_sample_goes_on(tmp_path, late):
    write(tmp_path, "NS.A..BHZ", counts(3000))
    write(tmp_path, "NS.A..BHZ", counts(3000, 1), start=30 + late)
    found = cut(tmp_path)
    assert np.isnan(found["data"].values).sum() <= 4
    assert "the clock jumps at 2020-01-01T00:00:" in told(found)
    np.testing.assert_array_equal(found["data"].values[0, 0, :2999], counts(3000)[:2999])


def test_unusual_letters_are_told_and_mapped(tmp_path):
    for channel in ("SZL", "BH1", "UD", "bhn"):
        write(tmp_path, f"NS.{channel[:1]}{channel[-1:]}..{channel}", counts(6000), form="SAC", name=f"{channel}.sac")
    found = cut(tmp_path)
    assert found["component"].values.tolist() == ["Z", "N", "1"]
    assert "channels BH1, SZL: only 1, 2, 3 stay, as they are; `components` may map them" in told(found)
    mapped = cut(tmp_path, components={"SZL": "Z", "BH1": "E"})
    assert mapped["component"].values.tolist() == ["Z", "N", "E"] and "NS.SL" in mapped["sensor"].values


def test_an_event_outside_of_the_archive_and_stations_that_are_not_there(tmp_path):
    write(tmp_path, "NS.A..BHZ", counts(6000))
    write(tmp_path, "NS.B..BHZ", counts(6000), start=100)
    with pytest.raises(
        ValueError,
        match=r"(?s)holds nothing of 2020-01-01 01:00:00.*\*: the archive has 2020-01-01 00:00:00 to 2020-01-01 00:02:39",
    ):
        cut(tmp_path, 3600, 3660)
    found = cut(tmp_path, 0, 60, "NS.A,NS.B,ZZ.A,QQ")
    assert found["sensor"].values.tolist() == ["NS.A"]
    assert "NS.B: the archive has 2020-01-01 00:01:40 to" in told(found) and "QQ: the archive has nothing" in told(
        found
    )
    assert "ZZ.A: the archive has nothing, but of ['NS.A']: is the network code wrong?" in told(found)
    with pytest.raises(ValueError, match=r"but of \['NS.A'\]: is the network code wrong"):
        cut(tmp_path, 0, 60, "NO.A")
    assert cut(tmp_path, 0, 60, "A")["sensor"].values.tolist() == ["NS.A"]


# ---------------------------------------------------------------- faults


def spoilt(kind):
    data = counts(6000).astype(np.float64 if kind in ("nan", "inf") else np.int32)
    if kind == "clipped":
        return np.clip(data * 3, -2048, 2047)
    if kind == "overflow":
        data[100] = -(2**31)
        return data
    if kind in ("nan", "inf"):
        data[1000:1100] = np.nan if kind == "nan" else np.inf
        return data.astype(np.float32)
    if kind == "mostly flat":
        data[1000:5000] = 7
    return np.full(6000, 12, np.int32) if kind == "flat" else data


@pytest.mark.parametrize(
    ("kind", "why"),
    [("clipped", "clipped at -2048 and 2047"), ("flat", "flat for 60 s"), ("mostly flat", "flat for 40 s"), ("inf", "not finite"),
     ("overflow", "beyond what 32 bits hold"), ("nan", ""), ("good", "")],
)  # fmt: skip
def test_what_makes_a_trace_useless_is_said(tmp_path, kind, why):
    write(tmp_path, "NS.A..BHZ", spoilt(kind))
    found = cut(tmp_path)
    assert found["fault"].values.tolist() == [[why]]
    assert archives.dead(found) == ({"NS.A": why} if why else {})
    if kind in ("nan", "inf"):
        assert np.isnan(found["data"].values[0, 0, 1000:1100]).all()


def test_few_counts_and_sines_are_not_clipped():
    quiet = np.random.default_rng(0).integers(-2, 3, 6000).astype(float)
    sine = 5000 * np.sin(np.arange(6000) / 7)
    for values in (quiet, sine, np.round(sine), np.full(3, np.nan)):
        assert archives.trace_fault(values, 100) == ("no samples" if np.isnan(values).all() else "")


def test_an_archive_where_half_of_the_sensors_are_dead(tmp_path):
    for i, kind in enumerate(("good", "flat", "good", "overflow", "clipped", "inf", "good")):
        write(tmp_path, f"NS.S{i}..BHZ", spoilt(kind))
    write(tmp_path, "NS.S0..BHN", spoilt("flat"))
    found = cut(tmp_path)
    left = archives.without_dead(found)
    assert left["sensor"].values.tolist() == ["NS.S0", "NS.S2", "NS.S4", "NS.S6"]  # a clipped one is of some use
    assert "3 of 7 sensors are dead" in told(left) and "NS.S1: flat for 60 s; no channel" in told(left)
    assert np.isnan(left["data"].sel(component="N")).all() and np.isfinite(left["data"].sel(component="Z")).all()
    assert archives.without_dead(found, keep="")["sensor"].values.tolist() == ["NS.S0", "NS.S2", "NS.S6"]
    assert preparation.prepare(left).sizes["sensor"] == 4
    with pytest.raises(ValueError, match=r"(?s)Nothing goes on.*2 of 2 sensors are dead.*NS.S1: flat"):
        archives.without_dead(found.isel(sensor=[1, 3]))


# ---------------------------------------------------------------- metadata


def test_coordinates_and_a_station_without_metadata(tmp_path):
    for station in "ABCD":
        write(tmp_path, f"NS.{station}..BHZ", counts(6000))
    known = inventory(
        ("NS.A..BHZ", 60.0, 5.0), ("NS.B..BHZ", 60.01, 5.02), ("NS.C..BHZ", 59.99, 5.01), ("NO.D..BHZ", 1, 1)
    )
    found = cut(tmp_path, inventory=known, array="TEST", event_id="e1")
    np.testing.assert_array_equal(found["latitude"], [60, 60.01, 59.99, np.nan])
    np.testing.assert_array_equal(found["elevation_m"], [100, 100, 100, np.nan])
    assert told(found) == "NS.D: no metadata, so no coordinates; NO.D is there, is the network code wrong?"
    assert found.attrs["array"] == "TEST" and found.attrs["event_id"] == "e1"
    lat, lon = found.attrs["reference_latitude"], found.attrs["reference_longitude"]
    assert (lat, lon) == pytest.approx((60, 5.01))
    for i in range(3):
        east, north = util_geo_km(lon, lat, float(found["longitude"][i]), float(found["latitude"][i]))
        assert (found["east_m"][i], found["north_m"][i]) == pytest.approx((east * 1000, north * 1000), abs=5)
    assert np.isnan(found["east_m"][3])


def test_an_array_across_180_degrees(tmp_path):
    write(tmp_path, "NS.A..BHZ", counts(6000))
    write(tmp_path, "NS.B..BHZ", counts(6000))
    found = cut(tmp_path, inventory=inventory(("NS.A..BHZ", 0.0, 179.99), ("NS.B..BHZ", 0.0, -179.99)))
    np.testing.assert_allclose(found["east_m"], [-1113, 1113], atol=1)


def test_responses_are_divided_out_as_obspy_does_and_missing_ones_are_an_error(tmp_path):
    data = counts(6000)
    write(tmp_path, "NS.A..BHZ", data)
    write(tmp_path, "NS.B..BHZ", data)
    known = inventory(("NS.A..BHZ", 60, 5), ("NS.B..BHZ", 60, 5))
    found = cut(tmp_path, 0, 60, inventory=known, response=True)
    trace = obspy.Trace(
        data.astype(float), {"network": "NS", "station": "A", "channel": "BHZ", "sampling_rate": 100, "starttime": T0}
    )
    want = trace.detrend("constant").remove_response(known, output="VEL").data
    np.testing.assert_allclose(found["data"].values[0, 0], want, atol=1e-5 * np.abs(want).max())
    assert found.attrs["units"] == "m/s"
    with pytest.raises(
        ValueError, match=r"(?s)Responses are missing:\n- NS.A..BHZ: .*\n- NS.B..BHZ: .*Give StationXML"
    ):
        cut(tmp_path, inventory=inventory(("NS.A..BHZ", 60, 5), sensitivity=None), response=True)
    with pytest.raises(ValueError, match="no station metadata are given"):
        cut(tmp_path, response=True)


def test_station_files_are_read_and_others_passed_over(tmp_path):
    inventory(("NS.A..BHZ", 60, 5)).write(str(tmp_path / "a.xml"), "STATIONXML")
    inventory(("NS.B..BHZ", 61, 5)).write(str(tmp_path / "b.xml"), "STATIONXML")
    (tmp_path / "notes.txt").write_text("none")
    found = archives.read_stations(tmp_path)
    assert sorted(s.code for net in found for s in net) == ["A", "B"]
    with pytest.raises(ValueError, match=r"(?s)station metadata cannot be used.*notes\.txt"):
        archives.read_stations(tmp_path / "notes.txt")


# ---------------------------------------------------------------- files by event


def test_files_by_event_say_which_traces_are_of_use(tmp_path):
    rows = {
        "e1_NS.A.BHZ": ("NS.A..BHZ", counts(15_000), 100, ""), "e1_NS.B.00.BHZ": ("NS.B.00.BHZ", counts(7500), 50, ""),
        "e1_NS.A.LHZ": ("NS.A..LHZ", counts(150), 1, "1 Hz, below 40 Hz"),
        "e1_NS.A.VHZ": ("NS.A..VHZ", counts(15), 0.1, "0.1 Hz, below 40 Hz"),
        "e2_NS.C.BHZ": ("NS.C..BHZ", counts(12_000), 100, "too short, lacks 30 s"),
        "e2_NS.D.BHZ": ("NS.D..BHZ", np.zeros(15_000, np.int32), 100, "flat for 150 s"),
        "e2_NS.E.BHZ": ("XX.E..BHZ", counts(15_000), 100, "the header says XX.E..BHZ, not the name"),
        "noname": ("NS.F..BHZ", counts(15_000), 100, "the header says NS.F..BHZ, not the name"),
    }  # fmt: skip
    for name, (seed_id, data, rate, _) in rows.items():
        write(tmp_path, seed_id, data, rate, name=f"{name}.mseed")
    found = archives.read_event_files(tmp_path)
    assert dict(zip(found["file"].map(lambda f: Path(f).stem), found["why"], strict=True)) == {
        k: v[3] for k, v in rows.items()
    }
    assert set(found["event_id"]) == {"e1", "e2", ""}
    notes = found.attrs["notes"]
    assert {
        f"1 of 8 traces: {why}" for why in ("1 Hz, below 40 Hz", "0.1 Hz, below 40 Hz", "too short", "flat")
    } <= set(notes)
    assert "2 of 8 traces: usable" in notes
    good = found[(found["event_id"] == "e1") & (found["why"] == "")]
    made = cut(good, 0, 150, rate_hz=40.0)
    assert made["sensor"].values.tolist() == ["NS.A", "NS.B.00"] and made.sizes["time"] == 6000


# ---------------------------------------------------------------- real archives


@real
def test_the_norwegian_network():
    index = archives.index_files(REAL / "nnsn" / "USS19883390519")
    known = archives.read_stations(f"{REAL}/nnsn/RESPONSES/KTK*.xml")
    found = archives.cut(index, "1988-12-04T05:24", "1988-12-04T05:30", "NS.KTK*", inventory=known, array="KTK")
    assert found["sensor"].values.tolist() == [f"NS.KTK{i}.00" for i in range(1, 7)]
    assert found.sizes["time"] == 18_000 and found.attrs["rate_hz"] == 50
    spread = np.hypot(found["east_m"], found["north_m"])
    assert 100 < float(spread.max()) < 600  # an aperture of half a kilometre
    assert preparation.prepare(found, length_s=300).sizes["time"] == 12_000


@real
def test_the_pacific_northwest():  # twelve-bit recorders that clipped are among its traces
    found = archives.read_event_files(f"{REAL}/pnw/uw61722766_*.mseed")
    why = dict(zip(found["station"], found["why"], strict=True))
    assert why["PRIN"] == "too short, lacks 27 s" and (found["why"] == "").sum() > 5
    clipped = archives.read_event_files(f"{REAL}/pnw/uw61348817_*.mseed").set_index("station")["why"]
    assert clipped["JCW"] == "clipped at -2048 and 2047" and (clipped == "").sum() == 5
