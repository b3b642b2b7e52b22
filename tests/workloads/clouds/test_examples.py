import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr

from geonb.base import project
from geonb.rasters import grids
from geonb.workloads.clouds import dataset, examples


def test_the_modis_scene_is_there_without_any_network():
    found = dataset.open_scenes(None)
    (series,) = found.series
    assert series.name == "miriam" and len(series) == 1 and not found.simulated
    assert list(series.times) == [pd.Timestamp("2012-09-26 20:50")]
    assert series.channels == ("red", "green", "blue") and series.dtype == "uint8"
    assert series.transform.a == -series.transform.e == pytest.approx(2000, rel=0.02)
    assert "NASA" in found.attribution and any("Coastlines" in n for n in found.notes) and found.left_out == ()
    inputs, valid = series.read(0)
    assert inputs.shape == (3, *series.shape) and 0.9 < valid.mean() < 1


def test_the_modis_scene_lies_where_it_was_taken():
    """On one parallel from the west: Baja California, the Gulf, the Sonoran desert; sea is dark and blue, desert red."""
    series = examples.modis_scene().series[0]
    inputs, _ = series.read(0)
    to_metres = pyproj.Transformer.from_crs("OGC:CRS84", series.crs, always_xy=True)

    def look(lon, lat, half=4):
        column, row = ~series.transform * to_metres.transform(lon, lat)
        y, x = int(row), int(column)
        return inputs[:, y - half : y + half, x - half : x + half].astype(float).mean((1, 2))

    baja, gulf, desert = (look(lon, 30.3) for lon in (-115.3, -114.1, -112.4))
    for land in (baja, desert):
        assert land[0] > land[2] and land[0] > 3 * gulf[0]
    assert gulf[2] > gulf[0]


def test_settings_go_through_to_the_example():
    found = dataset.open_scenes(None, region="box:-118,15,-112,21", pixel_m=4000, channels="red")
    (series,) = found.series
    assert series.channels == ("red",) and series.transform.a == 4000
    assert series.shape == (pytest.approx(167, abs=3), pytest.approx(162, abs=6)) and series.read(0)[1].all()
    assert "box:-118" in str(found.recipe)


def test_without_the_image_the_simulated_scenes_take_over_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "MODIS_FILE", "none.jpg")
    monkeypatch.setattr(project, "examples_folder", lambda: tmp_path)
    with pytest.warns(UserWarning, match="Simulated scenes are used instead"):
        found = dataset.open_scenes(None, patch=32)
    assert found.simulated and any("Simulated" in n for n in found.notes)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return examples.simulated_scenes(tmp_path_factory.mktemp("clouds"), (128, 160), days=3, frames=2, seed=4, patch=32)


def test_simulated_scenes_are_a_sequence_on_a_geostationary_grid(simulated):
    (series,) = simulated.series
    assert simulated.simulated and len(series) == 6 and series.shape == (128, 160)
    assert grids.crs_name(series.crs) == "geostationary, 75°W"
    steps = np.diff(series.times) / np.timedelta64(1, "m")
    assert list(steps[::2]) == [10] * 3 and (steps[1::2] > 1440).all()
    middle = series.transform * (80, 64)
    lonlat = pyproj.Transformer.from_crs(series.crs, "OGC:CRS84", always_xy=True).transform(*middle)
    assert lonlat == pytest.approx(examples.PLACE, abs=0.05)


def test_kinds_of_cloud_are_known_and_differ_in_pattern_alone(simulated):
    with xr.open_dataset(simulated.files[0], engine="h5netcdf") as data:
        regime, visible = data.regime.values, data.visible.values
    means = [visible[regime == k].mean() for k in range(3)]
    spreads = [visible[regime == k].std() for k in range(3)]
    assert np.ptp(means) < 0.08 and np.ptp(spreads) < 0.08
    assert [(regime[0] == k).mean() for k in range(3)] == pytest.approx([1 / 3] * 3, abs=0.01)
    rough = np.abs(np.diff(visible, axis=1)[:, :, :-1]) + np.abs(np.diff(visible, axis=2)[:, :-1])
    by_kind = [rough[regime[:, :-1, :-1] == k].mean() for k in range(3)]
    assert by_kind[0] > 2 * by_kind[2] and by_kind[1] > 1.3 * by_kind[2]
    assert simulated.series[0].read(3)[0][0] == pytest.approx(visible[3], abs=1e-4)


def test_clouds_drift_within_a_day_and_are_new_the_next(simulated):
    frames = [simulated.series[0].read(i)[0][0] for i in range(3)]

    def likeness(a, b):
        spectrum = np.fft.fft2(a - a.mean()) * np.conj(np.fft.fft2(b - b.mean()))
        return np.fft.ifft2(spectrum).real.max() / (a.std() * b.std() * a.size)

    assert likeness(frames[0], frames[1]) > 0.95 > 0.6 > likeness(frames[0], frames[2])
    assert np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1] < 0.9, "they moved"


def test_the_same_seed_gives_the_same_scenes(tmp_path):
    a, b = (examples.simulate((48, 64), 2, 1, seed) for seed in (0, 0))
    assert a.equals(b) and not a.equals(examples.simulate((48, 64), 2, 1, 1))
