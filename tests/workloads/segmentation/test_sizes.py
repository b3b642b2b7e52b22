"""Sizes found from polygons, and those that are given, which win."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from rasterio.transform import from_origin

from geonb.workloads.segmentation import catalogue, dataset, sizes

EAST, NORTH = 500_000, 1_000_000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    return tmp_path


def opened(folder, side_m, pixel_m, px=600, options="all=building", mask=None):
    """An image of px pixels, and squares of side_m among which the median is one."""
    grid = {"crs": "EPSG:32637", "transform": from_origin(EAST, NORTH, pixel_m, pixel_m), "height": px, "width": px}
    with rasterio.open(folder / "image.tif", "w", dtype="uint8", count=1, **grid) as image:
        image.write(np.random.default_rng(0).integers(1, 255, (1, px, px), np.uint8))
    if mask == "raster":
        with rasterio.open(folder / "mask.tif", "w", dtype="uint8", count=1, **grid) as image:
            image.write(np.random.default_rng(1).integers(1, 3, (1, px, px), np.uint8))
        return dataset.open_pairs(str(folder / "image.tif"), str(folder / "mask.tif"))
    sides = [side_m / 3, side_m, side_m, side_m, 2 * side_m]
    shapes = [shapely.box(EAST + i, NORTH - i - side, EAST + i + side, NORTH - i) for i, side in enumerate(sides)]
    far = [shapely.box(EAST - 9000 - i, NORTH - 9000, EAST - 8000, NORTH - 8000) for i in range(9)]  # reach no image
    frame = gpd.GeoDataFrame({"kind": [1, 2] * 7}, geometry=shapes + far, crs="EPSG:32637")
    frame.to_crs("EPSG:4326").to_file(folder / "roofs.geojson")
    return dataset.open_pairs(str(folder / "image.tif"), f"{folder}/roofs.geojson:{options}")


def test_rasters_keep_what_they_had(folder):
    pairs = opened(folder, 10, 1, mask="raster")
    assert sizes.fitted(pairs) == (pairs, {"patch": 32, "stride": 16, "block": 64})


def test_buildings_of_sixteen_metres_at_seven_centimetres(folder):
    # 16 m / 32 px = .5 m; four sides are 128 px of it; 900 px of 7.5 cm are 135 px then, so that a quarter is 32
    pairs, found = sizes.fitted(opened(folder, 16, 0.25, px=1200))
    assert found == {"patch": 128, "stride": 64, "block": 256}
    assert pairs.images[0].shape == (600, 600)
    assert pairs.images[0].resampling == "average"
    assert "side is 16 m" in pairs.notes[-1]
    assert "averaged to 0.5 m" in pairs.notes[-1]
    small, found = sizes.fitted(opened(folder, 16, 0.075, px=900))
    assert found == {"patch": 32, "stride": 16, "block": 64}
    assert small.images[0].shape == (135, 135)
    assert "as large as the images allow" in small.notes[-1]


def test_each_data_set_keeps_its_own_resampling_where_the_resolution_is_found(folder):
    opened(folder, 16, 0.25, px=1200)
    files = {"images": "image.tif", "masks": "roofs.geojson", "mask": "all=building"}
    entries = {"near": files | {"resampling": "nearest"}, "free": files}
    (folder / "datasets.yaml").write_text(yaml.safe_dump(entries))
    for name, method in (("near", "nearest"), ("free", "average")):
        pairs, _ = sizes.fitted(catalogue.open_datasets(f"{folder}/datasets.yaml:{name}"))
        assert (pairs.images[0].shape, pairs.images[0].resampling) == ((600, 600), method)


def test_pixels_that_are_coarse_enough_stay(folder):
    pairs, found = sizes.fitted(opened(folder, 16, 0.45))
    assert pairs.images[0].resampling is None
    assert found["patch"] == 128  # 64 m are 142 px: 4 steps of 32
    _, found = sizes.fitted(opened(folder, 16, 2))
    assert found["patch"] == 32


def test_ground_cover_keeps_its_pixels(folder):
    pairs, found = sizes.fitted(opened(folder, 100, 1, px=1200, options="column=kind"))
    assert pairs.images[0].resampling is None
    assert found["patch"] == 256


def test_what_is_given_wins(folder):
    pairs = opened(folder, 16, 0.25, px=1200)
    kept, found = sizes.fitted(pairs, patch=64)
    assert kept.images[0].resampling is None
    assert found == {"patch": 64, "stride": 32, "block": 128}
    one, found = sizes.fitted(pairs, resolution=1.0, stride=8, block=None)
    assert one.images[0].shape == (300, 300)
    assert found == {"patch": 64, "stride": 8, "block": None}


def test_what_is_found_later_refuses_nothing_before():
    values = {"patch": None, "stride": None, "block": 0, "seed": 0}
    for change in ({}, {"block": 512}, {"stride": 100}, {"block": None}, {"patch": 64}, {"patch": 64, "block": None}):
        assert sizes.fit_faults(values | change, None) == []
    for change in ({"gap": 48}, {"gap": 48, "stride": 700}, {"gap": 48, "patch": 64}):  # blocks there will be
        assert sizes.fit_faults(values | change, None) == []
    assert "whole images" in str(sizes.fit_faults(values | {"gap": 48, "block": None}, None))
    assert "stride" in str(sizes.fit_faults(values | {"stride": 100, "block": 64}, None))
    assert "Raise `block`" in str(sizes.fit_faults(values | {"patch": 128, "block": 64}, None))
