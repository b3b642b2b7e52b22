"""Overviews of large predictions: every fourth pixel of the data, beside them, and only as long as they are of them."""

import shutil
import warnings

import numpy as np
import pytest
import xarray as xr
from made import made_predictions

from geonb.prediction import overviews
from geonb.workloads.segmentation.explore import explorer


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(overviews, "SIDE_PX", 100)
    path = tmp_path / "run" / "predictions.zarr"
    made_predictions((150, 131), ("scene", "other")).to_zarr(path, consolidated=True)
    return path


def opened(path):
    return xr.open_datatree(path, engine="zarr", chunks=None, decode_coords="all")


def test_every_fourth_pixel_of_every_array_lies_beside_the_predictions(path):
    folder = overviews.write(path)
    whole = opened(path)
    found = overviews.open_of(whole)
    assert folder == path.with_name("overviews.zarr") and set(found) == {"scene", "other"}
    for name, small in found.items():
        wanted = whole[name].to_dataset().isel(y=slice(2, None, 4), x=slice(2, None, 4))
        for variable in ("probability", "label", "truth", "split"):
            np.testing.assert_array_equal(small[variable].values, wanted[variable].values)
        np.testing.assert_array_equal(small.x.values, wanted.x.values)


def test_a_table_of_samples_with_columns_x_and_y_is_no_grid(path):
    tree = made_predictions((150, 131), ("scene",))
    tree["samples"] = xr.DataTree(
        xr.Dataset({"far": ("sample", np.zeros(300))}, {a: ("sample", np.arange(300)) for a in "xy"})
    )
    shutil.rmtree(path)
    tree.to_zarr(path, consolidated=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        overviews.write(path)
    assert set(overviews.open_of(opened(path))) == {"scene"}


def test_small_predictions_have_none_and_those_of_others_are_not_taken(path, monkeypatch):
    overviews.write(path)
    written = (path.with_name("overviews.zarr") / "zarr.json").stat().st_mtime_ns
    overviews.write(path)
    assert (path.with_name("overviews.zarr") / "zarr.json").stat().st_mtime_ns == written  # they are there
    shutil.rmtree(path)
    tree = made_predictions((150, 131), ("scene",))
    tree.attrs["run"] = "another"
    tree.to_zarr(path, consolidated=True)
    assert overviews.open_of(opened(path)) == {}
    monkeypatch.setattr(overviews, "SIDE_PX", 151)
    assert overviews.write(path) is None


@pytest.mark.parametrize("south_up", [False, True])
def test_a_thinned_view_of_the_overview_shows_neighbours_of_what_the_whole_shows(path, south_up):
    tree = made_predictions((150, 131), ("scene",))
    if south_up:
        scene = tree["scene"].to_dataset().isel(y=slice(None, None, -1))
        tree["scene"] = xr.DataTree(scene)
    shutil.rmtree(path)
    tree.to_zarr(path, consolidated=True)
    whole = explorer(opened(path)).layer("label").read(0, {"model": 0}, {"y": slice(0, 150, 5), "x": slice(0, 131, 5)})
    overviews.write(path)
    shown = explorer(opened(path)).layer("label")
    thin = shown.read(0, {"model": 0}, {"y": slice(0, 150, 5), "x": slice(0, 131, 5)})
    assert thin.shape == whole.shape
    north = tree["scene"].to_dataset().sortby("y", ascending=False).label.values[0]
    for row, column in np.ndindex(thin.shape):
        around = north[max(0, 5 * row - 4) : 5 * row + 5, max(0, 5 * column - 4) : 5 * column + 5]
        assert thin[row, column] in around
    fine = shown.read(0, {"model": 0}, {"y": slice(10, 40, 3), "x": slice(5, 50, 3)})
    np.testing.assert_array_equal(fine, north[10:40:3, 5:50:3])
