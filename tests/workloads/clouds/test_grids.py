from functools import cache

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from scene_files import VIEW

from geonb.rasters import grids
from geonb.workloads.clouds import grids as clouds_grids
from geonb.workloads.clouds.frames import FrameLayer


@cache
def geostationary(sweep="x", lon_0=-75.0):
    cf = VIEW | {"sweep_angle_axis": sweep, "longitude_of_projection_origin": lon_0}
    return CRS.from_wkt(pyproj.CRS.from_cf(cf).to_wkt())


def layer_of(values, valid, crs, transform):
    def load(rows, columns):
        return values[:, rows, columns].copy(), valid[rows, columns].copy()

    names = tuple({"name": str(i), "units": "1"} for i in range(len(values)))
    return FrameLayer("none", names, crs, transform, valid.shape, values.dtype.name, load)


def lonlat_layer(crs, transform, shape, dtype=np.float32):
    """Pixels that hold their own longitude and latitude."""
    y, x = grids.centres(transform, shape)
    to_lonlat = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    lon, lat = to_lonlat.transform(*np.meshgrid(x, y))
    valid = np.isfinite(lon) & np.isfinite(lat)
    return layer_of(np.where(valid, [lon, lat], 0).astype(dtype), valid, crs, transform)


def lonlat_of(grid):
    y, x = grids.centres(*grid[1:])
    return pyproj.Transformer.from_crs(grid[0], "OGC:CRS84", always_xy=True).transform(*np.meshgrid(x, y))


@pytest.mark.parametrize("sweep", ["x", "y"])
@pytest.mark.parametrize("pixel_m", [1500.0, 4000.0])  # finer: bilinear; coarser: average
def test_a_pixel_lands_where_pyproj_says(sweep, pixel_m):
    layer = lonlat_layer(geostationary(sweep), Affine(2000, 0, -1_000_000, 0, -2000, 2_800_000), (400, 500))
    grid = clouds_grids.target_grid((layer.crs, layer.transform, layer.shape), (-80, 20, -77, 22), pixel_m)
    found, valid = clouds_grids.bring(layer, grid)
    assert valid.all() and grid[1].e < 0
    lon, lat = lonlat_of(grid)
    degrees_a_px = max(2000, pixel_m) / 111_000
    assert np.abs(found[0] - lon).max() < 0.15 * degrees_a_px
    assert np.abs(found[1] - lat).max() < 0.15 * degrees_a_px


def test_the_two_sweeps_are_apart_by_more_than_that():
    grid = (CRS.from_epsg(32615), Affine(2000, 0, 400_000, 0, -2000, 4_500_000), (40, 40))
    lon, lat = lonlat_of(grid)
    x, y = (
        pyproj.Transformer.from_crs("OGC:CRS84", geostationary(s), always_xy=True).transform(lon, lat)
        for s in ("x", "y")
    )
    assert np.hypot(x[0] - y[0], x[1] - y[1]).min() > 2000


def test_off_the_disk_nothing_is_valid():
    layer = lonlat_layer(geostationary(), Affine(50_000, 0, -5_600_000, 0, -50_000, 5_600_000), (224, 224))
    assert 0.7 < layer.load(slice(0, 224), slice(0, 224))[1].mean() < 0.8, "a disk in a square"
    # a box around the limb: its west is not seen
    grid = clouds_grids.target_grid((layer.crs, layer.transform, layer.shape), (-165, -10, -130, 10), 50_000)
    found, valid = clouds_grids.bring(layer, grid)
    lon, lat = lonlat_of(grid)
    x, _ = pyproj.Transformer.from_crs("OGC:CRS84", layer.crs, always_xy=True).transform(lon, lat)
    assert not valid[~np.isfinite(x)].any() and (~np.isfinite(x)).mean() > 0.2
    assert (found[:, ~valid] == 0).all()
    seen = valid & (lon > -140)
    assert seen.any() and np.abs(found[0] - lon)[seen].max() < 1


def test_nodata_does_not_bleed_into_its_neighbours():
    values, valid = np.full((1, 60, 60), 10, np.uint8), np.ones((60, 60), bool)
    values[0, 20:30, 20:30], valid[20:30, 20:30] = 250, False  # whatever stands there
    own = CRS.from_epsg(32620), Affine(1000, 0, 500_000, 0, -1000, 1_600_000), (60, 60)
    for pixel_m in (700, 2500):
        grid = (own[0], Affine(pixel_m, 0, 500_000, 0, -pixel_m, 1_600_000), (int(60_000 / pixel_m),) * 2)
        found, there = clouds_grids.warp(values, valid, own, grid)
        assert set(np.unique(found[0][there])) == {10} and (found[0][~there] == 0).all()
        share = (~there).sum() * pixel_m**2 / 1e6
        assert 80 <= share <= 125, "about as much is missing as before"


def test_whole_blocks_are_averaged_exactly():
    values = np.random.default_rng(0).uniform(0, 1, (2, 40, 60)).astype(np.float32)
    own = CRS.from_epsg(32620), Affine(500, 0, 500_000, 0, -500, 1_600_000), (40, 60)
    grid = own[0], Affine(2000, 0, 500_000, 0, -2000, 1_600_000), (10, 15)
    found, there = clouds_grids.bring(layer_of(values, np.ones((40, 60), bool), own[0], own[1]), grid)
    assert there.all()
    np.testing.assert_allclose(found, values.reshape(2, 10, 4, 15, 4).mean((2, 4)), rtol=1e-5)


def test_half_of_a_pixel_must_be_valid():
    values, valid = np.random.default_rng(0).uniform(1, 2, (1, 4, 16)).astype(np.float32), np.zeros((4, 16), bool)
    for k, number in enumerate((0, 7, 9, 16)):  # of the 16 that make a coarse pixel
        valid[:, 4 * k : 4 * k + 4] = (np.arange(16) < number).reshape(4, 4)
    own = CRS.from_epsg(32620), Affine(500, 0, 500_000, 0, -500, 1_600_000), (4, 16)
    found, there = clouds_grids.warp(values, valid, own, (own[0], own[1] * Affine.scale(4), (1, 4)))
    means = [values[0, :, 4 * k : 4 * k + 4][valid[:, 4 * k : 4 * k + 4]].mean() for k in (2, 3)]
    assert there.tolist() == [[False, False, True, True]]
    np.testing.assert_allclose(found[0, 0], [0, 0, *means], rtol=1e-5)


def test_counts_are_rounded_to_the_nearest_not_down():
    values = np.random.default_rng(0).integers(0, 256, (1, 40, 60)).astype(np.uint8)
    own = CRS.from_epsg(32620), Affine(500, 0, 500_000, 0, -500, 1_600_000), (40, 60)
    grid = own[0], Affine(2000, 0, 500_000, 0, -2000, 1_600_000), (10, 15)
    found, _ = clouds_grids.bring(layer_of(values, np.ones((40, 60), bool), own[0], own[1]), grid)
    means = values.reshape(10, 4, 15, 4).mean((1, 3))
    assert np.abs(found[0] - means).max() <= 0.5001 and found.dtype == np.uint8


@settings(max_examples=25, deadline=None)
@given(row=st.integers(0, 20), column=st.integers(0, 20), rows=st.integers(2, 20), columns=st.integers(2, 20))
def test_a_part_of_a_grid_is_read_untouched(row, column, rows, columns):
    values = np.random.default_rng(1).integers(0, 9999, (1, 40, 40)).astype(np.uint16)
    transform = Affine(2004.017, 0, -1_814_743.8, 0, -2004.017, 5_088_183.6)
    layer = layer_of(values, values[0] > 100, geostationary(), transform)
    grid = layer.crs, transform * Affine.translation(column, row), (rows, columns)
    found, valid = clouds_grids.bring(layer, grid)
    expected = values[0, row : row + rows, column : column + columns]
    assert (valid == (expected > 100)).all()
    assert (found[0] == np.where(expected > 100, expected, 0)).all() and found.dtype == np.uint16


def test_half_a_pixel_aside_is_another_grid():
    values = np.add.outer(10 * np.arange(20), np.arange(20)).astype(np.float32)[None]
    crs, transform = CRS.from_epsg(32620), Affine(500, 0, 500_000, 0, -500, 1_600_000)
    layer = layer_of(values, np.ones((20, 20), bool), crs, transform)
    for down, right in ((0.5, 0), (0, 0.5)):
        found, _ = clouds_grids.bring(layer, (crs, transform * Affine.translation(4 + right, 4 + down), (8, 8)))
        np.testing.assert_allclose(found[0], values[0, 4:12, 4:12] + 10 * down + right, atol=1e-3)


def test_degrees_come_to_metres_of_their_own_size():
    native = CRS.from_epsg(4326), Affine(0.02, 0, -120, 0, -0.02, 30), (500, 400)
    crs, transform, shape = clouds_grids.target_grid(native, None, None)
    assert crs.is_projected and crs.linear_units == "metre"
    lon, lat = (-116.0, 25.0)
    geod = pyproj.Geod(ellps="WGS84")
    sides = geod.inv(lon, lat, lon + 0.02, lat)[2], geod.inv(lon, lat, lon, lat + 0.02)[2]
    assert transform.a == -transform.e == pytest.approx(np.sqrt(np.prod(sides)), rel=0.005)
    middle = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(0, 0)
    assert middle == pytest.approx((lon, lat), abs=1e-3)
    west, south, east, north = grids.lonlat_bounds(crs, grids.bounds(transform, shape))
    assert west <= -120 and south <= 20.05 and east >= -112 and north >= 30


def test_a_box_over_the_dateline_is_a_box():
    native = CRS.from_epsg(4326), Affine(0.1, 0, -180, 0, -0.1, 90), (1800, 3600)
    crs, transform, shape = clouds_grids.target_grid(native, clouds_grids.parse_region("box:175,-5,-175,5"), None)
    assert shape[1] * transform.a == pytest.approx(10 * 111_320, rel=0.02)
    layer = lonlat_layer(native[0], native[1], native[2])
    found, valid = clouds_grids.bring(layer, (crs, transform, shape))
    lon, _ = lonlat_of((crs, transform, shape))
    west = valid & (lon > 175) & (lon < 179.9)
    assert west.mean() > 0.4 and np.abs(found[0] - lon)[west].max() < 0.02


def test_the_same_region_gives_the_same_lattice_whatever_the_sensor():
    box = (-60, 10, -55, 15)
    natives = [
        (geostationary(), Affine(2000, 0, -1_000_000, 0, -2000, 3_800_000), (1900, 1500)),
        (CRS.from_epsg(4326), Affine(0.01, 0, -70, 0, -0.01, 20), (1500, 2000)),
    ]
    first, second = (clouds_grids.target_grid(n, box, 1500.0) for n in natives)
    assert grids.same_grid(first, second)


def test_a_crop_keeps_pixels_and_holds_the_region():
    native = geostationary(), Affine(2000, 0, 1_000_000, 0, -2000, 2_000_000), (600, 900)
    box = (-60, 11, -57, 13)
    crs, transform, shape = clouds_grids.target_grid(native, box, None)
    assert crs == native[0] and (transform.a, transform.e) == (2000, -2000)
    assert (transform.c - 1_000_000) % 2000 == 0 and (2_000_000 - transform.f) % 2000 == 0
    corners = [(x, y) for x in box[::2] for y in box[1::2]]
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(*zip(*corners, strict=True))
    west, south, east, north = grids.bounds(transform, shape)
    assert west <= min(x) < west + 4000 and east - 4000 < max(x) <= east
    assert south <= min(y) and max(y) <= north


@pytest.mark.parametrize(
    ("box", "pixel_m", "says"),
    [
        ((10, 40, 20, 50), None, "nothing of region = box:10,40,20,50"),
        ((10, 40, 20, 50), 2000.0, "nothing of region"),
        (None, 1.0, "pixel_m = 1 m for pixels of"),
        (None, 2e5, "at most 50 times"),
    ],
)
def test_absurd_grids_are_refused(box, pixel_m, says):
    native = geostationary(), Affine(2000, 0, 1_000_000, 0, -2000, 2_000_000), (60, 90)
    with pytest.raises(ValueError, match=says):
        clouds_grids.target_grid(native, box, pixel_m)


def test_the_whole_globe_needs_a_region():
    native = CRS.from_epsg(4326), Affine(1, 0, -180, 0, -1, 90), (180, 360)
    with pytest.raises(ValueError, match="more than half of the globe"):
        clouds_grids.target_grid(native, None, None)


@pytest.mark.parametrize(
    "text", ["-60,10,-50,20", "box:1,2,3", "box:a,b,c,d", "box:0,20,10,10", "box:0,0,10,100", "box:5,0,5,1"]
)
def test_regions_that_are_none(text):
    with pytest.raises(ValueError, match=r"region = .*box:W,S,E,N"):
        clouds_grids.parse_region(text)
