"""Names and places of chips, against mercantile (xyz), maxar-ard-grid (ard) and pyproj; edges of zones, poles, 180 degrees."""

import math
import warnings

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geonb.workloads.chips import quadkeys
from geonb.workloads.chips.quadkeys import Cell

mercantile = pytest.importorskip("mercantile")
maxar = pytest.importorskip("maxar_ard_grid")

LON, LAT = st.floats(-179.5, 179.5), st.floats(-79.5, 83.5)
CATALOGUE = st.text("ABCDEF0123456789_-.", min_size=1, max_size=20).filter(lambda t: not t.endswith("."))


def corners(bounds):
    west, south, east, north = bounds
    return np.array([west, east, east, west]), np.array([south, south, north, north])


@given(LON, LAT, st.integers(1, 24))
def test_xyz_is_mercantile_s(lon, lat, zoom):
    tile = mercantile.tile(lon, lat, zoom)
    (cell,) = quadkeys.cells_at(lon, lat, "xyz", zoom)
    if cell.quadkey != mercantile.quadkey(tile):  # at an edge, by the rounding of the last digit
        west, south, east, north = mercantile.bounds(tile)
        assert min(abs(lon - west), abs(lon - east), abs(lat - south), abs(lat - north)) < 1e-9
        return
    assert cell == Cell(mercantile.quadkey(tile), 0)
    assert cell.bounds == pytest.approx(tuple(mercantile.xy_bounds(tile)), abs=1e-6)
    assert cell.parent(zoom - 1).quadkey == mercantile.quadkey(mercantile.parent(tile))
    assert cell.footprint.bounds == pytest.approx(tuple(mercantile.bounds(tile)), abs=1e-9)


@given(st.floats(-179, 178), st.floats(-80, 80), st.floats(0.001, 0.5), st.floats(0.001, 0.5), st.integers(8, 12))
def test_xyz_boxes_hold_mercantile_s_tiles(west, south, width, height, zoom):
    box = west, south, west + width, south + height
    theirs = {mercantile.quadkey(t) for t in mercantile.tiles(*box, zoom)}
    differing = {cell.quadkey for cell in quadkeys.cells_in(box, "xyz", zoom)} ^ theirs
    for key in differing:  # by a hair of a cell only
        b = mercantile.bounds(mercantile.quadkey_to_tile(key))
        overlap = max(0, min(b.east, box[2]) - max(b.west, box[0])) * max(
            0, min(b.north, box[3]) - max(b.south, box[1])
        )
        assert overlap < 1e-5 * (b.east - b.west) * (b.north - b.south)


@given(LON, LAT, st.sampled_from([12, 17, 18]))
@settings(deadline=None, max_examples=60)
def test_ard_places_are_maxar_s_and_pyproj_s(lon, lat, zoom):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {cell.id: cell.geom_WGS84 for cell in maxar.covers(shapely.Point(lon, lat), zoom)}
    ours = quadkeys.cells_at(lon, lat, "ard", zoom)
    if theirs:  # between two zones there are places that no cell of theirs holds
        for label in {cell.label for cell in ours} ^ set(theirs):  # a point on an edge lies in both for them
            assert maxar.Cell(label).geom_WGS84.exterior.distance(shapely.Point(lon, lat)) < 1e-9
    for cell in ours:
        their = maxar.Cell(cell.label)
        assert cell.bounds == pytest.approx(tuple(their.bounds), abs=1e-6)
        assert cell.crs == their.proj
        assert cell.parent(11).quadkey == their.get_parent_at_zoom(11).quadkey
        x, y = Transformer.from_crs("OGC:CRS84", cell.crs, always_xy=True).transform(lon, lat)
        west, south, east, north = cell.bounds
        assert west - 1e-6 <= x <= east + 1e-6 and south - 1e-6 <= y <= north + 1e-6


@given(
    st.floats(-179, 178.9),
    st.floats(-78, 83),
    st.floats(0.002, 0.04),
    st.floats(0.002, 0.04),
    st.sampled_from([12, 15]),
)
@settings(deadline=None, max_examples=60)
def test_ard_boxes_hold_maxar_s_cells(west, south, width, height, zoom):
    box = west, south, west + width, south + height
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {cell.id: cell for cell in maxar.covers(shapely.box(*box), zoom)}
    ours = {cell.label for cell in quadkeys.cells_in(box, "ard", zoom)}
    for label in ours ^ set(theirs):  # they draw straight lines between a box's corners: metres apart
        shape = maxar.Cell(label).geom_WGS84
        assert shape.intersection(shapely.box(*box)).area < 0.01 * shape.area


def test_levels_of_ard_have_their_published_sides():
    # 5 km of 16,384 px, 156.25 m of 512 px and half of that
    for zoom, side in ((12, 5000), (17, 156.25), (18, 78.125)):
        (cell,) = quadkeys.cells_at(15.5, 48.2, "ard", zoom)
        west, south, east, north = cell.bounds
        assert (east - west, north - south) == (side, side)


@pytest.mark.parametrize(("lat", "crs", "digits"), [(-33.9, "EPSG:32734", "23"), (33.9, "EPSG:32634", "01")])
def test_both_hemispheres(lat, crs, digits):
    (cell,) = quadkeys.cells_at(18.5, lat, "ard", 17)
    assert cell.crs == crs and cell.quadkey[0] in digits
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(18.5, lat)
    assert cell.bounds[0] <= x <= cell.bounds[2] and cell.bounds[1] <= y <= cell.bounds[3]
    assert quadkeys.cells_at(18.5, lat, "xyz", 17)[0].quadkey[0] in digits


@given(LON, LAT, st.sampled_from(quadkeys.GRIDS), st.integers(12, 20), st.one_of(st.just(""), CATALOGUE))
@settings(deadline=None)
def test_names_there_and_back(lon, lat, grid, zoom, catalogue):
    cell = quadkeys.cells_at(lon, lat, grid, zoom)[0]
    if catalogue.lower().endswith((".jpg", ".tif")):
        return
    for ending in ("", ".jpg", ".webp"):
        assert quadkeys.read_name(f"chips/{cell.name(catalogue)}{ending}", zoom) == (cell, catalogue)


def test_names_are_those_of_the_original():
    name = "Z33-120022012123213_10300100A2B3C4D5.jpg"
    cell, catalogue = quadkeys.read_name(name)
    assert (cell.zone, cell.quadkey, catalogue) == (33, "120022012123213", "10300100A2B3C4D5")
    assert cell.name(catalogue) + ".jpg" == name


def test_source_of_a_chip(tmp_path):
    tile = tmp_path / "33" / "120022012123" / "2021-05-04" / "10300100A2B3C4D5-visual.tif"
    tile.parent.mkdir(parents=True)
    tile.touch()
    assert quadkeys.source_of("Z33-12002201212321311_10300100A2B3C4D5.jpg", tmp_path) == tile
    with pytest.raises(FileNotFoundError, match=r"No X-visual.tif in .*33/120022012123"):
        quadkeys.source_of("Z33-12002201212321311_X.jpg", tmp_path)
    with pytest.raises(ValueError, match="no ARD chip"):
        quadkeys.source_of("12002201212321311_X.jpg", tmp_path)


@pytest.mark.parametrize("grid", quadkeys.GRIDS)
def test_across_180_degrees(grid):
    box = 179.97, -17.02, -179.96, -17.0
    cells = quadkeys.cells_in(box, grid, 15)
    assert len(set(cells)) == len(cells)
    west = quadkeys.cells_in((179.97, -17.02, 180.0, -17.0), grid, 15)
    east = quadkeys.cells_in((-180.0, -17.02, -179.96, -17.0), grid, 15)
    assert set(cells) == {*west, *east}
    # no hole between them wider than ARD's own rule leaves, and every outline is a small one
    for lon in np.arange(179.971, 180.039, 0.001):
        turned = lon - 360 * (lon > 180)
        assert set(quadkeys.cells_at(turned, -17.01, grid, 15)) & set(cells)
    assert max(cell.footprint.bounds[2] - cell.footprint.bounds[0] for cell in cells) < 0.1


def test_poles():
    assert quadkeys.cells_at(0, 85.0511, "xyz", 3)[0].tile.y == 0
    assert len(quadkeys.cells_in((-180, -85.05112877980659, 180, 85.05112877980659), "xyz", 3)) == 64
    with pytest.raises(ValueError, match=r"latitude 88: Web Mercator ends at -85\.0511 and 85\.0511"):
        quadkeys.cells_at(0, 88, "xyz", 3)
    with pytest.raises(ValueError, match=r"latitude -80\.5: the UTM zones end at -80"):
        quadkeys.cells_at(0, -80.5, "ard", 12)


def test_what_is_no_chip_is_refused():
    with pytest.raises(ValueError, match=r"IMG_0001\.jpg is no name of a chip: they are called <quadkey>_"):
        quadkeys.read_name("IMG_0001.jpg")
    with pytest.raises(ValueError, match="there is no UTM zone 61"):
        quadkeys.read_name("Z61-0123_A.jpg")
    with pytest.raises(ValueError, match="one of zoom 4, not 17"):
        quadkeys.read_name("0123_A.jpg", 17)
    with pytest.raises(ValueError) as error:
        quadkeys.read_names(["0123_A.jpg", "Z33-0123_A.jpg", "01234_A.jpg", "012_A.jpg"])
    text = str(error.value)
    assert "01234_A.jpg is no name" in text and "012_A.jpg: the quadkey has 3 digits" in text
    assert "two grids (1 of ard and 1 of xyz)" in text
    with pytest.raises(ValueError, match="grid = 'utm': there are xyz and ard"):
        quadkeys.cells_at(0, 0, "utm", 17)
    with pytest.raises(ValueError, match=r"chips of zoom 20 lie there, and at most 5,000,000"):
        quadkeys.cells_in((0, 0, 10, 10), "xyz", 20)
    with pytest.raises(ValueError, match="has no parent of zoom 5"):
        Cell("0123").parent(5)


def test_a_square_on_the_ground_is_what_its_footprint_says():
    (cell,) = quadkeys.cells_at(24.95, 60.17, "ard", 17)
    lon, lat = Transformer.from_crs(cell.crs, "OGC:CRS84", always_xy=True).transform(*corners(cell.bounds))
    assert cell.footprint.equals_exact(shapely.Polygon(np.stack([lon, lat], 1)), 1e-9)
    assert not math.isclose(*cell.footprint.bounds[::2])
