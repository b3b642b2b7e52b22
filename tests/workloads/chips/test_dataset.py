"""Labels are looked at before imagery is read; where polygons of several places are mapped is told by each file for itself."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from made_rasters import class_map

from geonb.workloads.chips import dataset, labels, quadkeys


def house(path, lon, lat, **columns):
    gpd.GeoDataFrame(columns, geometry=[shapely.box(lon, lat, lon + 0.02, lat + 0.02)], crs=4326).to_file(path)


def test_what_cannot_be_used_is_refused_before_anything_is_read(tmp_path):
    class_map(tmp_path / "classes.tif")
    house(tmp_path / "land.geojson", 1, 1, kind=["wood"])
    (tmp_path / "odd.yaml").write_text("Forest: {landuze: [forest]}\n")
    (tmp_path / "city.osm.pbf").write_bytes(b"")
    for given, classes, told in (
        ("classes.tif", None, r"is a class raster: give its classes as code and name, for instance 1=forest,2=water"),
        ("land.geojson", None, r"needs to be told where the classes stand.*land\.geojson:all=building"),
        ("land.geojson:column=class", None, r"has no class column 'class'.*its columns are kind"),
        ("city.osm.pbf", "odd.yaml", r"line 1: Forest: there is hardly a key 'landuze'.*Did you mean 'landuse'"),
        ("gone.tif", None, r"gone\.tif"),
        ("classes.tif", "one=forest", r"classes: 'one' is no whole number"),
    ):
        table = str(tmp_path / classes) if classes and "=" not in classes else classes
        with pytest.raises(ValueError, match=f"(?s){told}"):
            dataset.read_labels(str(tmp_path / given), table)
    with pytest.raises(ValueError, match="labels = None: say what is on the chips"):
        dataset.read_labels(None)


def test_between_two_files_of_polygons_nothing_is_known(tmp_path):
    """Houses of two towns: what lies between the towns was mapped by neither."""
    house(tmp_path / "west.geojson", 0, 0)
    house(tmp_path / "east.geojson", 10, 0)
    cells = [quadkeys.cells_at(lon, 0.01, zoom=17)[0] for lon in (0.01, 5.0, 10.01)]
    chips = gpd.GeoDataFrame({"name": [c.name() for c in cells]}, geometry=quadkeys.footprints(cells), crs="OGC:CRS84")
    both = ",".join(f"{tmp_path / name}.geojson:all=house" for name in ("west", "east"))
    found = labels.label_chips(chips, both)["house"]
    assert found.iloc[[0, 2]].tolist() == [1, 1] and found.isna().tolist() == [False, True, False]


def test_a_shapefile_stands_for_all_of_its_files(tmp_path):
    house(tmp_path / "roofs.shp", 0, 0)
    said = {file.suffix for file in dataset.files_named(f"{tmp_path / 'roofs.shp'}:all=house", tmp_path)}
    assert {".shp", ".shx", ".dbf", ".prj"} <= said
    assert np.all([file.exists() for file in dataset.files_named(str(tmp_path), tmp_path)])
