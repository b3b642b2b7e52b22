"""Polygons of class maps: those of the whole raster at once, whatever the strips; areas on the ellipsoid."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes
from scenes import write_raster

from geonb.rasters import polygons

CLASSES = [{"name": "field", "code": 1}, {"name": "wood", "code": 2}, {"name": "lake", "code": 5}]


def patches(shape, seed=0, smooth=3.0):
    """Classes 0 to 2 in patches with holes, and a corner without data."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), smooth)
    values = np.digitize(noise, np.quantile(noise, [0.3, 0.6])).astype(np.uint8)
    values[:5, :7] = 255
    return values


def at_once(path):
    with rasterio.open(path) as data:
        found = shapes(data.read(1), mask=data.read(1) < 255, connectivity=4, transform=data.transform)
        return sorted((int(v), shapely.normalize(shapely.geometry.shape(s)).wkb_hex) for s, v in found)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 40), columns=st.integers(1, 30), seed=st.integers(0, 99), smooth=st.sampled_from([0.0, 0.7, 3.0]),
       strip=st.integers(1, 200))  # fmt: skip
def test_strips_give_the_polygons_of_the_whole(tmp_path_factory, rows, columns, seed, smooth, strip):
    values = patches((rows, columns), seed, smooth)
    path = write_raster(tmp_path_factory.mktemp("map") / "class.tif", values, nodata=255)
    with rasterio.open(path) as data:
        found = list(polygons.outlines(data, range(3), strip_px=strip))
        moved = polygons._moved(np.array([shape for _, shape, *_ in found]), data.transform)
    ours = sorted((value, shapely.normalize(shape).wkb_hex) for (value, *_), shape in zip(found, moved, strict=True))
    assert ours == at_once(path)
    assert sum(n for *_, n, _ in found) == (values < 255).sum()
    assert [shape.area for _, shape, *_ in found] == [n for *_, n, _ in found]


def test_the_file_holds_class_area_and_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(polygons, "STRIP_PX", 700)  # ten rows
    monkeypatch.setattr(polygons, "BATCH", 7)  # many batches
    values = patches((60, 70))
    path = write_raster(tmp_path / "class.tif", values, nodata=255)
    made = polygons.write_polygons(path, tmp_path / "out.gpkg", CLASSES, layer="here", tags={"KEY": "k"})
    frame = gpd.read_file(made, layer="here")
    assert list(frame.columns) == ["value", "code", "name", "area_m2", "geometry"] and frame.crs == "EPSG:32617"
    assert set(zip(frame["value"], frame["code"], frame["name"], strict=True)) == {
        (0, 1, "field"), (1, 2, "wood"), (2, 5, "lake")}  # fmt: skip
    sums = frame.groupby("value")["area_m2"].sum()
    for value in range(3):  # pixels of 10 m; UTM is not true to area, by up to .1 %
        assert sums[value] == pytest.approx((values == value).sum() * 100, rel=1e-3)
    assert len(frame) == len(at_once(path)) and frame.is_valid.all()
    assert {p.name for p in tmp_path.iterdir()} == {"class.tif", "out.gpkg"}
    import pyogrio

    assert pyogrio.read_info(made)["layer_metadata"]["KEY"] == "k"


@pytest.mark.parametrize(("crs", "west", "north", "pixel"), [
    ("EPSG:32617", 250_000, 7_500_000, 3000.0), ("EPSG:4326", 170.0, 60.0, 0.25), ("EPSG:3413", -1e5, 1e5, 5000.0),
    ("EPSG:32660", 800_000, 6_000_000, 2000.0)])  # fmt: skip
def test_areas_are_those_of_geodesics(tmp_path, crs, west, north, pixel):
    """The oracle: each polygon with a corner at every quarter of a pixel's side, its area by Karney's geodesics (pyproj)."""
    from pyproj import Geod, Transformer

    values = patches((40, 44), seed=3)
    path = write_raster(tmp_path / "class.tif", values, nodata=255, crs=crs, west=west, north=north, pixel_m=pixel)
    frame = gpd.read_file(polygons.write_polygons(path, tmp_path / "out.gpkg", CLASSES))
    to_lonlat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform
    geod = Geod(ellps="WGS84")
    for shape, area in zip(frame.geometry, frame["area_m2"], strict=True):
        rings = [shape.exterior, *shape.interiors]
        dense = [shapely.segmentize(r, pixel / 60).coords.xy for r in rings]
        areas = [abs(geod.polygon_area_perimeter(*to_lonlat(*xy))[0]) for xy in dense]
        assert area == pytest.approx(areas[0] - sum(areas[1:]), rel=2e-5)


def test_small_and_unwanted_polygons_are_left_out(tmp_path):
    values = np.zeros((8, 8), np.uint8)
    values[1, 1] = 1  # 100 m2
    values[4:6, 4:6] = 1  # 400 m2
    path = write_raster(tmp_path / "class.tif", values)
    frame = gpd.read_file(polygons.write_polygons(path, tmp_path / "out.gpkg", CLASSES, 150, skip=["field"]))
    assert frame["name"].tolist() == ["wood"] and frame["area_m2"].tolist() == pytest.approx([400], rel=1e-3)
    frame = gpd.read_file(polygons.write_polygons(path, tmp_path / "out.gpkg", CLASSES, 1e6))
    assert len(frame) == 0 and "area_m2" in frame


def test_the_probability_is_the_mean_of_the_polygons_own_class(tmp_path, monkeypatch):
    monkeypatch.setattr(polygons, "STRIP_PX", 8)  # a row
    values = np.array([[0, 0, 1], [0, 1, 1], [255, 2, 2]], np.uint8)
    shares = np.array([[[200, 100, 9], [150, 9, 9], [255, 9, 9]], [[9, 9, 125], [9, 250, 250], [255, 9, 9]],
                       [[9, 9, 9], [9, 9, 9], [255, 125, 175]]], np.uint8)  # fmt: skip
    path = write_raster(tmp_path / "class.tif", values, nodata=255)
    with rasterio.open(write_raster(tmp_path / "p.tif", shares, nodata=255), "r+") as file:
        file.scales = (0.004,) * 3
    frame = gpd.read_file(polygons.write_polygons(path, tmp_path / "o.gpkg", CLASSES, probability=tmp_path / "p.tif"))
    found = frame.set_index("name")["probability"].to_dict()
    assert found == pytest.approx({"field": 0.6, "wood": 625 / 3 * 0.004, "lake": 0.6})


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = write_raster(tmp_path / "class.tif", patches((20, 20)), nodata=255)
    made = polygons.write_polygons(path, tmp_path / "out.gpkg", CLASSES)
    before = made.read_bytes()
    monkeypatch.setattr(polygons, "_frame", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        polygons.write_polygons(path, made, CLASSES)
    assert made.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == {"class.tif", "out.gpkg"}
