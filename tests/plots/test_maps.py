"""Parts of maps: thinned to what a panel shows, stretched by what is valid, with a locator that marks the place."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from made import made_arrays
from pyproj import CRS, Transformer

from geonb import plots
from geonb.plots import maps


def test_large_rasters_are_thinned():
    data = xr.DataArray(np.zeros((4000, 2500), bool), dims=("y", "x"), coords={"y": -np.arange(4000), "x": range(2500)})
    assert max(maps.thinned(data).shape) <= maps.PANEL_PIXELS


def test_stretch_ignores_what_is_not_valid():
    image = xr.DataArray(np.array([[[0.0, 10.0, 1e9]]] * 3), dims=("channel", "y", "x"))
    valid = xr.DataArray([[True, True, False]], dims=("y", "x"))
    shown = plots.stretched(image, valid)
    assert shown[0, 1, 0] == pytest.approx(1) and shown[0, 0, 0] == pytest.approx(0) and shown[0, 2, 3] == 0


def test_locator_marks_the_middle_of_the_scene():
    scene = made_arrays()["scene"].to_dataset()
    west, south, east, north = maps.edges(scene)
    to_lonlat = Transformer.from_crs(32119, 4326, always_xy=True)
    lon, lat = to_lonlat.transform((west + east) / 2, (south + north) / 2)
    figure = plots.locator(made_arrays())
    dot = figure.axes[0].lines[-1]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == pytest.approx((lon, lat), abs=2e-3)
    assert -78.8 < lon < -78.5 and 35.6 < lat < 35.9  # Raleigh


@pytest.mark.parametrize(
    "box", [(-180, -90, 180, 90), (-17.5, -35, 51.5, 37.5), (170, -50, 180, -30), (-70, -30, -50, -10)]
)
def test_locator_draws_the_globe_a_continent_and_what_has_land_at_its_antipode(box):
    west, south, east, north = box
    y, x = np.arange(south + 0.5, north), np.arange(west + 0.5, east)
    scene = xr.Dataset({"a": (("y", "x"), np.zeros((len(y), len(x))))}, {"y": y, "x": x}).rio.write_crs(4326)
    figure = plots.locator(xr.DataTree.from_dict({"/grid": scene}))
    figure.canvas.draw()
    assert np.isfinite(figure.axes[1].get_xlim()).all()


def test_a_scale_bar_is_true_on_the_ground_in_web_mercator():
    # at 60 degrees north a kilometre of Web Mercator is about 500 m: the bar of 500 m is as long as one of the axis' km
    figure, axes = plt.subplots(1, 2)
    for ax, crs in zip(axes, (None, CRS.from_epsg(3857)), strict=True):
        ax.set(xlim=(1113, 1117.4), ylim=(8399.7, 8400))
        maps.scale_bar(ax, crs)
    lengths = [np.ptp(ax.lines[0].get_xdata()) for ax in axes]
    assert [ax.texts[0].get_text() for ax in axes] == ["1 km", "500 m"]
    assert lengths == pytest.approx([1, 1], rel=0.01)
    plt.close(figure)
