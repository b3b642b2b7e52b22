"""Which archive holds what of which event: arrays of vertical sensors too, depths that nobody knows, moved sensors."""

import numpy as np
import obspy
import pytest

from geonb.workloads.seismic import dataset, examples


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
