"""A cloud-optimised GeoTIFF says what it was told, and appears whole or not at all."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geonb.rasters.cog import TargetGrid, new_cog

GRID = TargetGrid(rasterio.crs.CRS.from_epsg(4326), from_origin(10, 50, 0.5, 0.5), (600, 700))


def test_a_cog_has_its_place_values_tags_and_overviews(tmp_path):
    values = np.random.default_rng(0).random((2, *GRID.shape), np.float32)
    values[0, :10] = np.nan
    with new_cog(tmp_path / "deep" / "p.tif", GRID, 2, dtype="float32", nodata=np.nan, overviews="AVERAGE") as target:
        target.write(values)
        target.update_tags(2, month="2020-04")
    with rasterio.open(tmp_path / "deep" / "p.tif") as found:
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and found.tags(2)["month"] == "2020-04"
        assert (found.crs, found.transform, found.overviews(1)) == (GRID.crs, GRID.transform, [2])
        np.testing.assert_array_equal(found.read(), values)
        assert np.isnan(found.nodata)
    with rasterio.open(tmp_path / "deep" / "p.tif", overview_level=0) as half:
        np.testing.assert_allclose(half.read(2)[7, 9], values[1, 14:16, 18:20].mean(), rtol=1e-5)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["p.tif"]


def test_nothing_stays_of_one_that_failed_and_the_one_before_does(tmp_path):
    (tmp_path / "p.tif").write_text("before")
    with pytest.raises(RuntimeError), new_cog(tmp_path / "p.tif", GRID, 1) as target:
        target.write(np.zeros((1, *GRID.shape), np.uint8))
        raise RuntimeError
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]
