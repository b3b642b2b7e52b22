import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import transform as moved
from rasterio.warp import transform_bounds

from geonb.rasters import grids

UTM = CRS.from_epsg(32617)


def test_windows_of_a_small_grid():
    # 5 rows, 4 columns, windows of 2 every 2: the last row of windows is flush with the edge
    assert grids.windows((5, 4), 2, 2).tolist() == [[0, 0], [0, 2], [2, 0], [2, 2], [3, 0], [3, 2]]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
def test_windows_stay_inside_and_cover_the_grid(rows, columns, size, stride):
    if size > min(rows, columns):
        with pytest.raises(ValueError, match="larger than the grid"):
            grids.windows((rows, columns), size, stride)
        return
    seen = np.zeros((rows, columns), bool)
    for y, x in grids.windows((rows, columns), size, stride):
        assert 0 <= y <= rows - size and 0 <= x <= columns - size
        seen[y : y + size, x : x + size] = True
    assert seen.all() or stride > size


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 20))
def test_tiles_cover_each_pixel_once(rows, columns, size):
    seen = np.zeros((rows, columns), int)
    for y, x in grids.tiles((rows, columns), size):
        seen[y, x] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (-3, 1), (2, 0)])
def test_windows_refuse_what_is_not_positive(size, stride):
    with pytest.raises(ValueError, match="is not positive"):
        grids.windows((5, 5), size, stride)


def test_blocks_spread_over_their_pixels():
    blocks = np.array([[1, 2], [3, 0]])
    assert grids.block_shape((3, 4), 2) == (2, 2)
    assert grids.pixels_of_blocks(blocks, 2, (3, 4)).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 0, 0]]


def test_centres_and_bounds():
    transform = from_origin(100, 50, 10, 10)
    y, x = grids.centres(transform, (2, 3))
    assert y.tolist() == [45, 35] and x.tolist() == [105, 115, 125]
    assert grids.bounds(transform, (2, 3)) == (100, 30, 130, 50)


def test_footprints_are_what_rasterio_warps():
    transform = from_origin(500_000, 4_000_000, 10, 10)
    outline = grids.footprints(np.array([[8, 16]]), np.array([[32, 32]]), transform, UTM)
    assert outline.crs == "OGC:CRS84"
    box = (500_160, 3_999_600, 500_480, 3_999_920)
    np.testing.assert_allclose(outline.total_bounds, transform_bounds(UTM, "OGC:CRS84", *box), atol=1e-7)


def test_two_names_of_one_grid_are_the_same_grid():
    transform, shape = from_origin(630_534, 228_114, 28.5, 28.5), (443, 489)
    a, b = CRS.from_epsg(32119), CRS.from_epsg(3358)  # North Carolina on NAD83 and on NAD83(HARN)
    assert grids.same_grid((a, transform, shape), (b, transform, shape))
    assert not grids.same_grid((a, transform, shape), (UTM, transform, shape))
    assert not grids.same_grid((a, transform, shape), (a, transform * Affine.translation(0.5, 0), shape))
    # a pixel size that is off by a millimetre drifts by half a pixel over the grid
    assert not grids.same_grid((a, transform, shape), (a, transform * Affine.scale(1 + 1e-3), shape))


def test_pixel_size_in_metres_of_degrees():
    # 0.01 degrees of longitude at 60 degrees north: half of the 1113.2 m at the equator (WGS 84: 558.0 m)
    size = grids.pixel_size_m(CRS.from_epsg(4326), from_origin(10, 60.005, 0.01, 0.01), (1, 1))
    assert size == pytest.approx(558.0, abs=0.5)


def test_overlap():
    here = (UTM, (500_000, 4_000_000, 501_000, 4_001_000))
    assert grids.overlap(here, (CRS.from_epsg(4326), (-81.01, 36.1, -80.9, 36.3)))
    assert not grids.overlap(here, (CRS.from_epsg(4326), (10.0, 50.0, 11.0, 51.0)))
    assert not grids.overlap(here, (UTM, (501_000, 4_000_000, 502_000, 4_001_000)))  # they touch


def test_a_pixel_belongs_to_what_covers_its_centre():
    transform = from_origin(0, 40, 10, 10)  # centres at 5, 15, 25, 35 m
    shapes = [(shapely.box(6, 6, 36, 34), 7), (shapely.box(24, 0, 40, 16), 8)]
    burnt = grids.burn(shapes, transform, (slice(0, 4), slice(0, 5)), -1)
    assert burnt.tolist() == [[-1, -1, -1, -1, -1], [-1, 7, 7, 7, -1], [-1, 7, 8, 8, -1], [-1, -1, 8, 8, -1]]
    assert grids.burn(shapes, transform, (slice(2, 4), slice(1, 4)), -1).tolist() == [[7, 8, 8], [-1, 8, 8]]
    assert grids.burn([], transform, (slice(0, 2), slice(0, 1)), -1).tolist() == [[-1], [-1]]


@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 60)), min_size=3, max_size=3))
def test_a_burnt_triangle_is_that_of_shapely(corners):
    triangle, transform = shapely.Polygon(corners), from_origin(0, 60, 10, 10)
    assume(triangle.area > 1e-3)
    y, x = grids.centres(transform, (6, 9))
    points = shapely.points(*np.meshgrid(x, y))
    clear = shapely.distance(triangle.boundary, points) > 1e-6  # a centre on the line may go either way
    burnt = grids.burn([(triangle, 1)], transform, (slice(0, 6), slice(0, 9)), 0)
    assert (burnt == shapely.covers(triangle, points))[clear].all()


def test_a_crs_is_called_by_its_name_and_code_or_by_its_projection():
    import pyproj

    raleigh = pyproj.CRS("EPSG:32119")
    esri = pyproj.CRS(raleigh.to_wkt("WKT1_ESRI"))  # names no authority; GDAL knows it all the same
    assert {grids.crs_name(crs) for crs in (raleigh, esri, CRS.from_epsg(32119))} == {
        "NAD83 / North Carolina (EPSG:32119)"
    }
    assert grids.crs_name(pyproj.CRS("OGC:CRS84")) == "WGS 84 (CRS84)"
    assert grids.crs_name(pyproj.CRS("+proj=tmerc +lon_0=5 +ellps=GRS80")) == "transverse mercator"


def test_metres_of_mercator_are_brought_to_the_ground():
    # at 60 degrees north two metres of Web Mercator are about one: cos 60; those of UTM are taken as they are
    x, y = moved("OGC:CRS84", "EPSG:3857", [10.0], [60.0])
    sides = grids.pixel_sides_m(CRS.from_epsg(3857), from_origin(x[0], y[0], 2, 2), (2, 2))
    assert sides == pytest.approx((1, 1), rel=0.01)
    transform, shape = grids.resampled(CRS.from_epsg(3857), from_origin(x[0], y[0], 2, 2), (100, 100), 4.0)
    assert shape == pytest.approx((25, 25), abs=1)
    assert grids.pixel_sides_m(CRS.from_epsg(3857), transform, shape) == pytest.approx((4, 4), rel=1e-4)
    assert not any(
        grids.true_to_scale(kind.from_epsg(code)) for kind in (CRS, pyproj.CRS) for code in (3857, 3395, 4326)
    )
    assert all(grids.true_to_scale(kind.from_epsg(code)) for kind in (CRS, pyproj.CRS) for code in (32632, 32119))
    assert grids.pixel_sides_m(CRS.from_epsg(32632), from_origin(5e5, 6.6e6, 2, 2), (2, 2)) == (2, 2)
