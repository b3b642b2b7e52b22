"""Whole scenes by colour and kind: every tile's colour lies where the tile lies, and of many scenes those drawn are named."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from pyproj import CRS

from geonb import plots
from geonb.plots.clusters import component_colours, component_limits
from geonb.workloads.clouds import scene_figures


def made(ascending=False, times=5):
    """Scenes of 24 x 32 px of 1 km, and a kind and colours for each of 3 x 4 tiles of 8 px; the first tile has none."""
    random = np.random.default_rng(0)
    y, x = 1000.0 * np.arange(24)[:: 1 if ascending else -1], 1000.0 * np.arange(32)
    when = np.datetime64("2020-04-01T12:00", "ns") + np.arange(times) * np.timedelta64(10, "m")
    scenes = xr.Dataset(
        {
            "inputs": (("time", "channel", "y", "x"), random.random((times, 1, 24, 32), np.float32)),
            "valid": (("time", "y", "x"), np.ones((times, 24, 32), bool)),
        },
        {"y": y, "x": x, "time": when, "channel": ["c1"], "spatial_ref": 0},
    )
    scenes["spatial_ref"].attrs["crs_wkt"] = CRS("EPSG:32631").to_wkt()
    coords = {"time": when, "y": y.reshape(3, 8).mean(1), "x": x.reshape(4, 8).mean(1)}
    letters = random.choice(list("ABC"), (times, 3, 4))
    letters[:, 0, 0] = ""
    shade = random.normal(size=(times, 3, 4, 3))
    shade[:, 0, 0] = np.nan
    kinds = xr.DataArray(letters, coords, ("time", "y", "x"), attrs={"simulated": 1, "notes": []})
    return kinds, xr.DataArray(shade, coords, ("time", "y", "x", "axis")), scenes


@pytest.mark.parametrize("ascending", [True, False])
def test_each_tile_has_its_colour_where_it_lies_with_north_up(ascending):
    kinds, shade, scenes = made(ascending)
    figure = scene_figures.whole_scenes(kinds, shade, scenes)
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    limits = component_limits(shade)
    tones = plots.cluster_colours("ABC")
    for row, t in zip(axes, (0, 2, 4), strict=True):
        rgb, flat = (ax.images[1] for ax in row[1:])
        for drawn in (rgb, flat):
            assert drawn.get_extent() == pytest.approx((-0.5, 31.5, -0.5, 23.5))
        here = kinds.isel(time=t).sortby("y", ascending=False).values
        expected = component_colours(shade.isel(time=t).sortby("y", ascending=False).values, limits) / 255
        got, known = np.asarray(flat.get_array()), here != ""
        assert (np.asarray(rgb.get_array())[..., 3] > 0).tolist() == (got[..., 3] > 0).tolist() == known.tolist()
        np.testing.assert_allclose(np.asarray(rgb.get_array())[known][:, :3], expected[known], atol=1e-6)
        np.testing.assert_allclose(got[known][:, :3], [to_rgb(tones[letter]) for letter in here[known]], atol=1e-6)
    assert [row[0].get_title(loc="left") or row[0].get_title() for row in axes] == [
        "2020-04-01 12:00", "2020-04-01 12:20", "2020-04-01 12:40",
    ]  # fmt: skip
    said = " ".join(text.get_text() for text in figure.texts).lower()
    assert "of 5 scenes 3 are drawn" in said and "simulated" in said


def test_scenes_without_a_time_are_numbered():
    kinds, shade, scenes = made(times=1)
    none = {"time": [np.datetime64("NaT", "ns")]}
    figure = scene_figures.whole_scenes(*(data.assign_coords(none) for data in (kinds, shade, scenes)))
    assert "scene 1" in [figure.axes[0].get_title(loc=side) for side in ("left", "center")]


def test_scenes_one_tile_high_have_no_map():
    kinds, shade, scenes = made()
    assert scene_figures.whole_scenes(kinds.isel(y=slice(1)), shade.isel(y=slice(1)), scenes) is None
