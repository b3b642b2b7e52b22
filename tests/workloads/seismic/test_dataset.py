"""Which archive holds what of which event: arrays of vertical sensors too, depths that nobody knows, moved sensors."""

import numpy as np
import obspy
import pytest
from waveforms.fdsn_server import FdsnServer
from waveforms.test_seisbench import RATE, rows, write

from geonb import registry
from geonb.runs import plan
from geonb.waveforms import fetching
from geonb.workloads.seismic import dataset, examples, store


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return examples.simulate(tmp_path_factory.mktemp("array") / "sim", events=4, seed=5)


def opened(home, archive=None, events=None, stations=None, **settings):
    names = (
        str(archive or home / "waveforms"),
        str(events or home / "events.xml"),
        str(stations or home / "stations.xml"),
    )
    return dataset.open_recordings(*names, window_s=60, before_s=15, noise_s=80, **settings)


def test_an_array_of_vertical_sensors_has_one_beam(home, tmp_path):
    for file in sorted((home / "waveforms").glob("*.mseed"))[:3]:
        obspy.read(str(file)).select(component="Z").write(str(tmp_path / file.name), "MSEED")
    found = opened(home, tmp_path)
    assert found.channels == ("P beam, Z",) and opened(home).channels == tuple(dataset.CHANNELS.values())
    values, valid, _ = found.prepared("SI", 0)
    every, _, _ = opened(home).prepared("SI", 0)
    assert valid.mean() > 0.95
    np.testing.assert_allclose(values[0], every[0], rtol=1e-4, atol=1e-4 * np.abs(every[0]).max())


def test_a_depth_that_nobody_knows_is_told(home, tmp_path):
    catalogue = obspy.read_events(str(home / "events.xml"))
    catalogue[0].origins[0].depth = None
    catalogue.write(str(tmp_path / "events.xml"), "QUAKEML")
    assert any(
        "1 events have no depth: their P is that of 10 km" in note
        for note in opened(home, events=tmp_path / "events.xml").notes
    )


def test_a_sensor_that_moved_makes_other_beams(home, tmp_path):
    inventory = obspy.read_inventory(str(home / "stations.xml"))
    for i, by in ((1, 0.01), (2, -0.01)):  # the array's middle stays
        station = inventory[0][i]
        station.latitude = float(station.latitude) + by
    inventory.write(str(tmp_path / "stations.xml"), "STATIONXML")
    one, other = opened(home), opened(home, stations=tmp_path / "stations.xml")
    assert (
        home / "stations.xml" in one.files and tmp_path / "stations.xml" in other.files
    )  # so that the store is another
    assert not np.allclose(one.prepared("SI", 0)[0], other.prepared("SI", 0)[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"beams": "array:aperture_km=0.01"}, "no 3 sensors"),
     ({"beams": "none:components=Z1"}, "letters as ZNE"), ({"arrival": "tauq"}, "taup"),
     ({"induced": "maybe"}, "earthquake or drop"), ({"filters": "bandpass:high=30"}, "half the rate")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(home, settings, said):
    with pytest.raises(ValueError, match=said):
        opened(home, **settings)


def test_no_record_begins_where_a_filter_swings_in(tmp_path):
    """Else windows of noise, which lie at the beginning of files, are told by the taper."""
    import obspy

    start = obspy.UTCDateTime("2020-01-01")
    rows = ["event_id,time,latitude,longitude,depth_km,magnitude,kind"]
    for i in range(3):
        values = np.random.default_rng(i).integers(-1000, 1000, 4000).astype(np.int32)
        header = {
            "network": "UW",
            "station": "AAA",
            "channel": "HHZ",
            "sampling_rate": 40.0,
            "starttime": start + 86400 * i,
        }
        obspy.Trace(values, header).write(str(tmp_path / f"ev{i}_UW.AAA.HHZ.mseed"), "MSEED")
        rows.append(f"ev{i},{start + 86400 * i + 50},45,-120,5,2,{'explosion' if i % 2 else 'earthquake'}")
    (tmp_path / "events.csv").write_text("\n".join(rows) + "\n")
    files = str(tmp_path / "*.mseed")
    found = dataset.open_recordings(
        files, str(tmp_path / "events.csv"), arrival="offset:seconds=50", beams="none", filters="highpass"
    )
    for i, record in enumerate(found.sources["stations"]):
        assert (np.datetime64(record.start) - found.index["start"].iloc[i]) / np.timedelta64(1, "s") == dataset.RUN_IN_S
        assert record.p_s == 50 - dataset.RUN_IN_S
        values, valid, _ = found.prepared("stations", i)
        size = np.abs(values[0, :3560]).reshape(-1, 40).mean(1)
        assert valid[:3560].all() and size[0] > 0.7 * np.median(size)


def test_a_seisbench_folder_becomes_a_store_of_windows(tmp_path):
    """Each window is what SeisBench itself reads of its trace, at the rate and from where P was picked."""
    sbd = pytest.importorskip("seisbench.data")
    folder = write(tmp_path / "bench", list(rows(12)))
    found = dataset.recordings(str(folder), None, filters="none", beams="none:components=ZNE", rate_hz=RATE)
    made = store.write_store(found, window_s=8, before_s=3, noise=1, deal="event", root=tmp_path)
    theirs, index = sbd.WaveformDataset(folder, component_order="ZNE"), made.index
    assert index["kind"].value_counts().to_dict() == {"noise": 2, "earthquake": 4, "explosion": 2, "unknown": 4}
    assert made.meta["channels"] == [{"name": c, "units": "counts"} for c in "ZNE"] and made.check_split()["leaks"] == 0
    for row in index[index["kind"] != "noise"].itertuples():
        i = 2 * int(row.id.removeprefix("ev")) + int(row.station.removeprefix("NA.S"))
        begin = 900 + i - round(3 * RATE)
        window, whole = made[row.Index]["inputs"].to_numpy(), theirs.get_waveforms(i)[:, begin:][:, : round(8 * RATE)]
        np.testing.assert_allclose(level(window), level(whole), atol=1e-3)
        far = obspy.geodetics.gps2dist_azimuth(60.0 + i % 2, 5.0, 61.0, 6.0)
        assert row.distance_km == pytest.approx(far[0] / 1000, rel=1e-5) and row.back_azimuth == pytest.approx(
            far[1], abs=0.01
        )
    assert {path.name for path in found.files} == {"metadata.csv", "waveforms.hdf5"}


def level(values):
    """What preparation without a filter leaves: ten seconds into a trace its taper is over, and a mean is gone."""
    return values - values.mean(1, keepdims=True)


def test_noise_alone_and_events_before_the_run_in_break_nothing(tmp_path):
    made = list(rows(8))
    made[0][0]["trace_P_arrival_sample"] = 100  # two seconds after the trace's beginning: no window has it
    found = dataset.recordings(str(write(tmp_path / "bench", made)), None, filters="none", rate_hz=RATE)
    windows = store.write_store(found, window_s=8, before_s=3, deal="event", root=tmp_path).index
    assert not ((windows["id"] == "ev0") & (windows["station"] == "NA.S0")).any() and len(windows) == 7


def test_a_service_gives_what_its_archive_would(home, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "project_root", lambda: tmp_path)
    monkeypatch.setattr(fetching, "sleep", lambda _: None)
    every = obspy.read(str(home / "waveforms" / "*.mseed"))
    with FdsnServer(every, inventory=obspy.read_inventory(str(home / "stations.xml"))) as server:
        network = every[0].stats.network
        found = opened_from(f"fdsn:{server.address}?network={network}&station=*", home)
        asked = len(server.asked)
        assert opened_from(f"fdsn:{server.address}?network={network}&station=*", home).files == found.files
        assert len(server.asked) == asked == 4
    mine = opened(home)
    assert [r.event["event_id"] for r in found.sources["SI"]] == [r.event["event_id"] for r in mine.sources["SI"]]
    for i in range(4):
        (one, valid, _), (other, known, _) = found.prepared("SI", i), mine.prepared("SI", i)
        n = min(valid.sum(), known.sum())
        assert n > 0.95 * known.sum()
        assert np.corrcoef(one[:, 400:n].ravel(), other[:, 400:n].ravel())[0, 1] > 0.999
    with pytest.raises(ValueError, match="Leave it out"):
        opened_from("fdsn:IRIS?network=N&station=A", home, arrival="offset:seconds=5")


def opened_from(address, home, **settings):
    return dataset.open_recordings(address, str(home / "events.xml"), window_s=60, before_s=15, noise_s=80, **settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"events": "gone.xml"}, "no file is at gone.xml"), ({"events": "text.txt"}, "text.txt: .*Give QuakeML"),
     ({"events": "none.csv"}, "there is no event"), ({"stations": "text.txt"}, "station metadata cannot be used"),
     ({"stations": "gone.xml"}, "no file is at gone.xml"), ({"events": None}, "only a SeisBench folder"),
     ({"waveforms": "gone"}, "no file is at gone"), ({"waveforms": "fdsn:IRIS"}, "must be fdsn:SERVER"),
     ({"waveforms": None}, "give waveforms and events")],
)  # fmt: skip
def test_what_cannot_be_read_is_told_before_there_is_a_run(home, tmp_path, given, said):
    (tmp_path / "none.csv").write_text("event_id,time\n")
    (tmp_path / "text.txt").write_text("neither a catalogue nor stations\n")
    names = {"waveforms": "waveforms", "events": "events.xml", "stations": "stations.xml"}
    values = {name: str(home / value) for name, value in names.items()} | given
    (tmp_path / "notebooks").symlink_to(registry.__file__.rpartition("/geonb/")[0] + "/notebooks")
    (tmp_path / "pyproject.toml").write_text("")
    texts = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(ValueError, match=f"(?s)Parameters are not right, nothing was run.*{said}"):
        plan.prepare("seismic", texts=texts, root=tmp_path)
    assert not (tmp_path / "runs").exists()


ORIGIN = obspy.UTCDateTime("2020-01-01T00:00:50")
PLACES = {"AAA": (45.3, -120.2), "BBB": (46.4, -121.5)}  # of network UW; CCC has none


@pytest.fixture
def traces(tmp_path):
    """An event a day, each seen by three stations in files of 150 s that begin 50 s before the origin."""
    rng = np.random.default_rng(3)
    rows = ["event_id,time,latitude,longitude,depth_km,magnitude,kind"]
    for i in range(3):
        rows.append(f"ev{i},{ORIGIN + 86400 * i},45,-120,7,2,{'explosion' if i % 2 else 'earthquake'}")
        for code in (*PLACES, "CCC"):
            header = {"network": "UW", "station": code, "channel": "HHZ", "sampling_rate": 40.0}
            trace = obspy.Trace(rng.integers(-1000, 1000, 6000).astype(np.int32), header)
            trace.stats.starttime = ORIGIN + 86400 * i - 50
            trace.write(str(tmp_path / f"ev{i}_UW.{code}.HHZ.mseed"), "MSEED")
    (tmp_path / "events.csv").write_text("\n".join(rows) + "\n")
    stations = [obspy.core.inventory.Station(code, *place, 0) for code, place in PLACES.items()]
    network = obspy.core.inventory.Network("UW", stations)
    obspy.Inventory([network]).write(str(tmp_path / "stations.xml"), "STATIONXML")
    return tmp_path


def picked(folder, name, **seconds):
    """A catalogue of the same events, with picks so long after the origin of the first one."""
    from obspy.core import event as quakeml

    events = []
    for i in range(3):
        time = ORIGIN + 86400 * i
        picks = [
            quakeml.Pick(time=time + late, phase_hint="P", waveform_id=quakeml.WaveformStreamID("UW", code))
            for code, late in (seconds if i == 0 else {}).items()
        ]
        origin = quakeml.Origin(time=time, latitude=45, longitude=-120, depth=7000)
        kind = "explosion" if i % 2 else "earthquake"
        events.append(
            quakeml.Event(resource_id=f"smi:geonb/event/ev{i}", event_type=kind, origins=[origin], picks=picks)
        )
    quakeml.Catalog(events).write(str(folder / name), "QUAKEML")
    return folder / name


def of_picks(folder, events="events.csv", stations="stations.xml", **settings):
    where = str(folder / stations) if stations else None
    files = str(folder / "*.mseed")
    return dataset.open_recordings(files, str(folder / events), where, arrival="picks", beams="none", **settings)


def p_of(found):
    """Seconds from the origin to P by event and station."""
    records = found.sources["stations"]
    when = [obspy.UTCDateTime(str(r.start)) + r.p_s - ORIGIN for r in records]
    return {(r.event["event_id"], r.station): late % 86400 for r, late in zip(records, when, strict=True)}


def taup_s(code):
    from obspy.geodetics import gps2dist_azimuth, kilometers2degrees
    from obspy.taup import TauPyModel

    distance = gps2dist_azimuth(45, -120, *PLACES[code])[0] / 1000
    found = TauPyModel("iasp91").get_travel_times(7, kilometers2degrees(distance), ["p", "P", "Pn", "Pg"])
    return found[0].time


def test_p_of_each_station_is_its_own_by_taup_and_one_without_a_place_is_named(traces):
    found = of_picks(traces)
    late = p_of(found)
    assert set(late) == {(f"ev{i}", f"UW.{code}") for i in range(3) for code in PLACES}
    assert taup_s("BBB") - taup_s("AAA") > 20
    for (_, station), seconds in late.items():
        assert seconds == pytest.approx(taup_s(station[3:]), abs=0.05)
    named = "3 records left out, neither a pick nor a place says when P came: UW.CCC (3)"
    assert named in found.notes


def test_a_pick_goes_before_taup_and_is_enough_without_a_place(traces):
    events = picked(traces, "events.xml", AAA=12.345, CCC=60.0)
    late = p_of(of_picks(traces, events.name))
    assert late["ev0", "UW.AAA"] == pytest.approx(12.345, abs=1e-6)
    assert late["ev0", "UW.CCC"] == pytest.approx(60, abs=1e-6) and ("ev1", "UW.CCC") not in late
    assert late["ev1", "UW.AAA"] == pytest.approx(taup_s("AAA"), abs=0.05)
    alone = of_picks(traces, events.name, stations=None)
    assert set(p_of(alone)) == {("ev0", "UW.AAA"), ("ev0", "UW.CCC")}
    assert any("UW.AAA (2), UW.BBB (3), UW.CCC (2)" in note for note in alone.notes)


def test_windows_begin_before_each_station_s_p(traces):
    from geonb.workloads.seismic.store import write_store

    samples = write_store(of_picks(traces), window_s=20, before_s=5, deal="event", root=traces)
    index = samples.index.assign(late=(samples.index["time"] - ORIGIN.datetime).dt.total_seconds() % 86400)
    events = index[index["kind"] != "noise"]
    assert len(events) == 6
    for row in events.itertuples():
        assert row.late == pytest.approx(taup_s(row.station[3:]) - 5, abs=0.06)
    noise = index[index["kind"] == "noise"].set_index(["id", "station"])["time"]
    apart = events.set_index(["id", "station"])["time"] - noise
    assert (apart.dt.total_seconds() >= 20).all() and apart.notna().all()


def test_a_file_that_ends_before_p_is_left_out_by_name(traces):
    events = picked(traces, "events.xml", AAA=101.0, BBB=-41.0, CCC=99.0)
    found = of_picks(traces, events.name, stations=None)
    assert set(p_of(found)) == {("ev0", "UW.CCC")}
    assert "2 records left out, P is not in them, or in their first 10 s: UW.AAA (1), UW.BBB (1)" in found.notes


def test_an_archive_that_is_not_named_by_events_takes_picks_too(home, tmp_path):
    catalogue = obspy.read_events(str(home / "events.xml"))
    from obspy.core.event import Pick, WaveformStreamID

    network = obspy.read_inventory(str(home / "stations.xml"))[0]
    origin = catalogue[0].origins[0].time
    for i, late in enumerate((30.0, 31.0, 33.0)):  # of three sensors of the array: the median counts
        seed = WaveformStreamID(network.code, network[i].code)
        catalogue[0].picks.append(Pick(time=origin + late, phase_hint="P", waveform_id=seed))
    catalogue.write(str(tmp_path / "events.xml"), "QUAKEML")
    by_taup, by_pick = opened(home), opened(home, events=tmp_path / "events.xml", arrival="picks")

    def when(found):
        return {r.event["event_id"]: obspy.UTCDateTime(str(r.start)) + r.p_s for r in found.sources["SI"]}

    first = by_pick.events["event_id"].iloc[0]
    assert when(by_pick)[first] - origin == pytest.approx(31, abs=1e-6)
    others = {k: v for k, v in when(by_pick).items() if k != first}
    assert others and others == {k: v for k, v in when(by_taup).items() if k != first}


def test_picks_without_picks_or_stations_are_refused(traces):
    with pytest.raises(ValueError, match=r"events\.csv has no picks of P.*no stations.*offset:seconds"):
        of_picks(traces, stations=None)


def test_a_record_that_begins_right_before_p_has_no_noise(traces):
    from geonb.workloads.seismic.store import write_store

    picks = picked(traces, "events.xml", AAA=-38.0, BBB=20.0, CCC=20.0)
    samples = write_store(of_picks(traces, picks.name), window_s=20, before_s=0, deal="event", root=traces)
    mine = samples.index[(samples.index["id"] == "ev0") & (samples.index["station"] == "UW.AAA")]
    assert mine["kind"].tolist() == ["earthquake"]
