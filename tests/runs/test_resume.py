"""When a finished step is still good: its inputs are those files that are read, not those that are named."""

import os

import numpy as np
import rasterio
from scenes import look_at, write_raster
from tiny import RECORD

from geonb.runs import plan, resume

pytest_plugins = ("tiny_fixtures",)  # project

VRT = """<VRTDataset rasterXSize="8" rasterYSize="6"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="1">tile.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


def files_of(project, table):
    planned = plan.prepare(RECORD, {"table": table}, steps="1")
    return resume.signature(planned, planned.steps[0], None)["files"]


def test_a_tile_of_a_vrt_its_mask_and_a_shapefiles_table_are_inputs(project):
    tile = write_raster(project / "tile.tif", np.ones((6, 8), np.uint8))
    (project / "mosaic.vrt").write_text(VRT)
    (project / "a.shp").write_text("shapes")
    (project / "a.dbf").write_text("table")
    before = {name: files_of(project, name) for name in ("mosaic.vrt", "a.shp", "tile.tif")}
    assert before == {name: files_of(project, name) for name in before}
    os.utime(tile, (0, 0))
    (project / "a.dbf").write_text("other table")
    after = {name: files_of(project, name) for name in before}
    assert all(before[name] != after[name] for name in before)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tile, "r+") as data:
        data.write_mask(np.zeros((6, 8), np.uint8))
    os.utime(tile, (0, 0))
    assert files_of(project, "mosaic.vrt") != after["mosaic.vrt"] and files_of(project, "tile.tif") != after["tile.tif"]


def test_looking_at_a_raster_makes_no_step_run_again(project):
    tile = write_raster(project / "tile.tif", np.ones((6, 8), np.uint8))
    before = files_of(project, "tile.tif")
    look_at(tile)
    assert files_of(project, "tile.tif") == before
