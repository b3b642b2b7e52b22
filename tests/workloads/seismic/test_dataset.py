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
