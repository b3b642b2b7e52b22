"""Labels are looked at before imagery is read; where polygons of several places are mapped is told by each file for itself."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from made_rasters import class_map
from PIL import Image as Picture
from rasterio.transform import from_origin

from geonb.rasters import grids
from geonb.workloads.chips import dataset, labels, quadkeys, store


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
    house(tmp_path / "area.geojson", 0, 0)
    said = {file.name for file in dataset.files_named("roofs.shp:all=house,extent=area.geojson", tmp_path)}
    assert {"roofs.shp", "area.geojson"} <= said, "a changed extent is another input"
    with pytest.raises(ValueError, match=r"no such file: gone\.geojson"):
        dataset.files_named("roofs.shp:all=house,extent=gone.geojson", tmp_path)
    kept = dataset.read_labels(f"{tmp_path}/roofs.shp:all=house,extent={tmp_path}/area.geojson")
    assert {file.name for file in kept.files} == {"roofs.shp", "area.geojson"} and not kept.is_osm
    assert np.all([file.exists() for file in dataset.files_named(str(tmp_path), tmp_path)])


def test_whose_labels_they_are_is_told_by_the_files_not_by_the_glob(tmp_path):
    """OpenStreetMap wants to be named as the source, whatever is written for its files."""
    for name in ("city-north.osm.pbf", "city-south.json", "roofs-1.geojson"):
        (tmp_path / name).touch()
    assert dataset.Labelling(f"{tmp_path}/city-*", ()).is_osm
    assert not dataset.Labelling(f"{tmp_path}/roofs-*:all=house", ()).is_osm


def ard_file(folder, tile, date, apron_m=160.0, pixel_m=20.0):
    """A file as Maxar names and lays them: the square, and around it what is its neighbours'."""
    (west, _, _, north), side = tile.bounds, round((5000 + 2 * apron_m) / pixel_m)
    path = folder / f"{tile.zone:02d}" / tile.quadkey / date / "10300100A-visual.tif"
    path.parent.mkdir(parents=True)
    place = from_origin(west - apron_m, north + apron_m, pixel_m, pixel_m)
    with rasterio.open(path, "w", "GTiff", side, side, 3, tile.crs, place, "uint8") as file:
        file.write(np.full((3, side, side), 7, np.uint8))
    return path


def test_a_folder_of_ard_keeps_dates_and_ids_and_no_apron(tmp_path):
    """As `cut_chips` has it: two neighbours of one strip share no chip, and each says when it was taken."""
    first = quadkeys.cells_at(15.3, 47.85, "ard", 12)[0]
    tiles = [quadkeys.cell_at(33, 12, first.tile.x + i, first.tile.y) for i in (0, 1)]
    for tile in tiles:
        ard_file(tmp_path / "ard", tile, "2021-05-04")
    imagery = dataset.open_imagery(str(tmp_path / "ard"), "ard", 15, 64)
    assert [strip.name for strip in imagery.strips] == [f"{tile.label}_10300100A" for tile in tiles]
    assert [strip.date for strip in imagery.strips] == ["2021-05-04"] * 2
    cells = [s.lattice.cell(x, y) for s in imagery.strips for x in s.lattice.columns for y in s.lattice.rows]
    assert len(set(cells)) == len(cells) == 2 * 64 and {cell.parent(12) for cell in cells} == set(tiles)
    samples = store.write_store(imagery, dataset.Labelling(*covered(tmp_path, imagery)), root=tmp_path)
    assert set(samples.index["time"].astype(str)) == {"2021-05-04"}


def test_on_the_grid_of_the_web_neighbours_of_ard_share_no_chip_either(tmp_path):
    """Both hold the chips along their seam whole, by their aprons: twice in a store they would be in two splits."""
    first = quadkeys.cells_at(15.3, 47.85, "ard", 12)[0]
    tiles = [quadkeys.cell_at(33, 12, first.tile.x + i, first.tile.y) for i in (0, 1)]
    for tile in tiles:
        ard_file(tmp_path / "ard", tile, "2021-05-04", apron_m=1000.0)
    imagery = dataset.open_imagery(str(tmp_path / "ard"), "xyz", 16, 32)
    cells = [{s.lattice.cell(x, y) for x in s.lattice.columns for y in s.lattice.rows} for s in imagery.strips]
    assert len(cells[0] & cells[1]) > 20
    samples = store.write_store(imagery, dataset.Labelling(*covered(tmp_path, imagery)), root=tmp_path)
    assert samples.index["quadkey"].is_unique and (samples.index["valid_share"] == 1).all()
    centres = np.array([cell.footprint.centroid.coords[0] for cell in map(quadkeys.Cell, samples.index["quadkey"])])
    inside = [tile.footprint.contains(shapely.points(centres)) for tile in tiles]
    assert (inside[0] ^ inside[1]).all()
    side = (quadkeys.side_m("xyz", 16) * np.cos(np.radians(47.85))) ** 2
    assert abs(len(samples) - 2 * 5000**2 / side) < 20, "and none is left to nobody"


def covered(folder, imagery):
    """A class raster that covers all of some imagery, as labels."""
    boxes = [
        grids.lonlat_bounds(s.lattice.crs, grids.bounds(s.lattice.transform, s.lattice.shape)) for s in imagery.strips
    ]
    west, south, east, north = *np.min(boxes, 0)[:2], *np.max(boxes, 0)[2:]
    place = from_origin(west - 0.01, north + 0.01, 1e-3, 1e-3)
    shape = (int((north - south) / 1e-3) + 21, int((east - west) / 1e-3) + 21)
    with rasterio.open(folder / "cover.tif", "w", "GTiff", shape[1], shape[0], 1, 4326, place, "uint8") as file:
        file.write(np.ones((1, *shape), np.uint8))
    return str(folder / "cover.tif"), (folder / "cover.tif",), {1: "land"}


def test_what_was_taken_for_granted_of_tiles_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for x in (315878, 315879):
        Picture.fromarray(np.full((32, 32, 3), 9, np.uint8)).save(tmp_path / f"OAM-{x}-264050-19.png")
    notes = dataset.open_imagery(str(tmp_path), "xyz", 19, 32, notes=("ours",)).notes
    assert len(notes) == 2 and "2 tiles were placed by their names" in notes[0] and notes[1] == "ours"
