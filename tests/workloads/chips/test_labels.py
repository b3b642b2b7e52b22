"""Labels: the YAML and its faults, the join against plain geometry, and that unknown is never absent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from rasterio.transform import from_origin

from geonb.workloads.chips import labels, quadkeys

DATA = Path(__file__).parents[4] / "shared" / "data" / "chips"
HELSINKI, NAIROBI = DATA / "Helsinki.osm.pbf", DATA / "oam_nairobi"
ORIGINAL = ["Building", "Forest", "Grassland", "House", "Park", "Parking", "Pool", "Railway", "Residential", "Road", "Soccer", "Water",
            "Wood"]  # fmt: skip


def chips_at(lon, lat, columns=3, rows=3, grid="xyz", zoom=17):
    first = quadkeys.cells_at(lon, lat, grid, zoom)[0]
    cells = [
        quadkeys.cell_at(first.zone, zoom, first.tile.x + i, first.tile.y + j)
        for j in range(rows)
        for i in range(columns)
    ]
    columns_ = {
        "name": [f"{c.name('A')}.jpg" for c in cells],
        "quadkey": [c.quadkey for c in cells],
        "zone": [c.zone for c in cells],
    }
    return gpd.GeoDataFrame(columns_, geometry=quadkeys.footprints(cells), crs="OGC:CRS84")


def part_of(chip, x0, y0, x1, y1):
    """A rectangle, in shares of a chip from its south-west corner."""
    west, south, east, north = chip.bounds
    return shapely.box(
        west + x0 * (east - west), south + y0 * (north - south), west + x1 * (east - west), south + y1 * (north - south)
    )


def yaml_file(tmp_path, text):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    return path


def test_the_thirteen_classes_of_the_original():
    classes = labels.read_classes()
    assert list(classes) == ORIGINAL
    assert classes["Building"] == {"building": None} and "meadow" in classes["Grassland"]["landuse"]


def test_values_are_matched_exactly(tmp_path):
    path = yaml_file(tmp_path, "Road: {highway: [primary]}\nNo: {oneway: [no]}\nAny: {building: '*'}\n")
    tags = [
        {"highway": "primary"},
        {"highway": "primary_link"},
        {"oneway": "no"},
        {"building": "no"},
        {"building": "yes", "highway": "primary"},
        {},
    ]
    rows, numbers = labels.classes_of_tags(tags, labels.read_classes(path))
    assert list(zip(rows.tolist(), numbers.tolist(), strict=True)) == [(0, 0), (2, 1), (4, 0), (4, 2)]


def test_every_fault_of_the_yaml_is_told_with_its_line(tmp_path):
    text = (
        "Forest: {landuse: [forest]}\nHouse:\n  buildng: [house]\nForest: {natural: [wood]}\nRoad: highway\n"
        "Park: {leisure: []}\nPool: {leisure: {a: b}}\n"
    )
    with pytest.raises(ValueError) as error:
        labels.read_classes(yaml_file(tmp_path, text))
    message = str(error.value)
    assert "line 3: House: there is hardly a key 'buildng' in OpenStreetMap. Did you mean 'building'?" in message
    assert "line 4: label 'Forest' is given twice" in message
    assert "line 5: Road needs keys" in message
    assert "line 6: Park: leisure needs values" in message and "line 7: Pool: leisure needs values" in message
    for bad, told in (("- a\n- b\n", "must hold lines"), ("a: [b\n", "is not readable YAML"), ("", "must hold lines")):
        with pytest.raises(ValueError, match=told):
            labels.read_classes(yaml_file(tmp_path, bad))
    labels.read_classes(
        yaml_file(tmp_path, "A: {seamark:type: [buoy], my_own_key: '*'}\n")
    )  # rare keys are no mistakes


@pytest.mark.parametrize("grid", quadkeys.GRIDS)
def test_shares_lengths_and_points_count_as_documented(grid):
    chips = chips_at(24.95, 60.17, 3, 1, grid)
    a, b, c = chips.geometry
    west, south, east, north = a.bounds
    metre = 1 / (labels.METRES * np.cos(np.radians((south + north) / 2)))
    y = (south + north) / 2
    middle = (west + east) / 2
    things = [
        (part_of(a, 0.4, 0.4, 0.7, 0.5), 0),  # 3 % of the first
        (part_of(b, 0.4, 0.4, 0.5, 0.45), 0), (part_of(b, 0.6, 0.4, 0.7, 0.45), 0),  # twice .5 % of the second
        (part_of(c, 0.4, 0.4, 0.45, 0.5), 0),  # .5 % of the third
        (shapely.LineString([(middle, y), (middle + 12 * metre, y)]), 1), (shapely.LineString([(middle, y), (middle + 8 * metre, y)]), 2),
        (a.centroid, 3), (shapely.union_all([a, b, c]).buffer(0.01), 4),
    ]  # fmt: skip
    values = labels.joined(
        chips, np.array([t for t, _ in things], object), np.array([n for _, n in things]), 5, min_share=0.0098
    )
    assert values.tolist() == [[1, 1, 0, 1, 1], [1, 0, 0, 0, 1], [0, 0, 0, 0, 1]]


SHAPES = st.lists(
    st.tuples(
        st.floats(-0.5, 3.5), st.floats(-0.5, 3.5), st.floats(0.05, 2), st.integers(3, 9), st.sampled_from("ALP")
    ),
    min_size=1,
    max_size=8,
)


@given(SHAPES, st.sampled_from(quadkeys.GRIDS))
@settings(deadline=None, max_examples=40)
def test_the_join_is_plain_geometry(made, grid):
    chips = chips_at(24.95, 60.17, 3, 3, grid)
    west, south, east, north = chips.geometry[6].bounds
    things, numbers = [], []
    for i, (x, y, size, corners, kind) in enumerate(made):
        angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        ring = np.stack(
            [west + (x + size * np.cos(angle)) * (east - west), south + (y + size * np.sin(angle)) * (north - south)], 1
        )
        things.append({"A": shapely.Polygon, "L": shapely.LineString, "P": lambda r: shapely.Point(r[0])}[kind](ring))
        numbers.append(i % 3)
    values = labels.joined(chips, np.array(things, object), np.array(numbers), 3)
    geod = Geod(ellps="sphere")
    for chip, row in zip(chips.geometry, values, strict=True):
        for number in range(3):
            parts = [(t, t.intersection(chip)) for t, n in zip(things, numbers, strict=True) if n == number]
            share = sum(p.area for t, p in parts if t.geom_type == "Polygon") / chip.area
            length = sum(geod.geometry_length(p) for t, p in parts if t.geom_type == "LineString" and not p.is_empty)
            point = any(not p.is_empty for t, p in parts if t.geom_type == "Point")
            if abs(share - 0.01) > 1e-6 and abs(length - 10) > 0.05:
                assert row[number] == (share >= 0.01 or length >= 10 or point)


def test_a_hole_is_not_on_the_chip(tmp_path):
    chips = chips_at(24.95, 60.17)
    lake = shapely.union_all(chips.geometry.to_numpy()).buffer(0.01).difference(chips.geometry[4].buffer(1e-5))
    values = labels.joined(chips, np.array([lake]), np.array([0]), 1)
    assert values[:, 0].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1]


def test_unknown_is_not_absent(tmp_path):
    chips = chips_at(24.95, 60.17)
    first = chips.geometry[0]
    houses = gpd.GeoDataFrame(
        geometry=[part_of(first, 0.2, 0.2, 0.8, 0.8), part_of(chips.geometry[8], 0.2, 0.2, 0.8, 0.8)], crs="OGC:CRS84"
    )
    houses.to_file(tmp_path / "houses.geojson")
    extent = shapely.union_all([*chips.geometry[:2], part_of(chips.geometry[8], 0, 0, 0.9, 0.9)])
    sparse = labels.label_chips(chips, f"{tmp_path / 'houses.geojson'}:all=building", extent=extent)
    assert list(sparse.columns) == ["Feature", "building"] and sparse["Feature"].tolist() == chips["name"].tolist()
    assert sparse["building"].tolist()[:2] == [1, 0] and sparse["building"].isna().tolist()[2:] == [True] * 7
    # the last one is known to have a building: counted, partly mapped chips would all have what is asked for
    assert any("7 of 9 chips reach beyond" in note for note in sparse.attrs["notes"])
    dense = labels.dense(sparse)
    assert dense["name"].tolist() == [chips["name"][i] for i in (0, 1)]
    assert dense["labels"].tolist() == [["building"], []]
    labels.write_labels(sparse, tmp_path / "out")
    again = pd.read_csv(tmp_path / "out" / "sparse.csv")
    assert again["building"].isna().sum() == 7
    assert json.loads((tmp_path / "out" / "labels.json").read_text())["version"] == sparse.attrs["version"]
    by_default = labels.label_chips(chips, f"{tmp_path / 'houses.geojson'}:all=building")  # the box around them
    assert by_default["building"].isna().tolist() == [*[True] * 4, False, *[True] * 4]
    assert any("box around them" in note for note in by_default.attrs["notes"])


def test_the_version_stands_for_inputs_and_settings(tmp_path):
    chips = chips_at(24.95, 60.17)
    path = tmp_path / "a.geojson"
    gpd.GeoDataFrame(geometry=[part_of(chips.geometry[0], 0, 0, 1, 1)], crs="OGC:CRS84").to_file(path)
    versions = [
        labels.label_chips(some, f"{path}:all={name}", min_share=share).attrs["version"]
        for some, name, share in (
            (chips, "a", 0.1),
            (chips, "a", 0.1),
            (chips, "b", 0.1),
            (chips, "a", 0.2),
            (chips[:8], "a", 0.1),
        )
    ]
    assert versions[0] == versions[1] and len(set(versions)) == 4
    gpd.GeoDataFrame(geometry=[part_of(chips.geometry[1], 0, 0, 1, 1)], crs="OGC:CRS84").to_file(path)
    assert labels.label_chips(chips, f"{path}:all=a", min_share=0.1).attrs["version"] not in versions


def test_polygons_that_are_odd_are_mended_or_counted(tmp_path):
    chips = chips_at(24.95, 60.17)
    whole = part_of(chips.geometry[0], 0.1, 0.1, 0.9, 0.9)
    west, south, east, north = whole.bounds
    bow = shapely.Polygon([(west, south), (east, north), (east, south), (west, north)])
    frame = gpd.GeoDataFrame(
        {"kind": ["house", "lake", None, " ", "gone"]}, geometry=[bow, whole, whole, whole, None], crs="OGC:CRS84"
    )
    frame.to_crs("EPSG:32635").to_file(tmp_path / "a.gpkg")
    sparse = labels.label_chips(chips, f"{tmp_path / 'a.gpkg'}:column=kind", extent=shapely.box(24, 60, 26, 61))
    assert list(sparse.columns) == ["Feature", "house", "lake"]
    assert sparse.iloc[0].tolist() == [chips["name"][0], 1, 1] and sparse.iloc[1:, 1:].sum().sum() == 0
    notes = "\n".join(sparse.attrs["notes"])
    assert "1 shapes cross or overlap themselves, and were mended" in notes
    assert "1 of 5 shapes are empty" in notes and "2 shapes have no class" in notes


def test_labels_that_cannot_be_used(tmp_path):
    chips = chips_at(24.95, 60.17)
    path = tmp_path / "a.geojson"
    gpd.GeoDataFrame({"osm_id": [1]}, geometry=[chips.geometry[0]], crs="OGC:CRS84").to_file(path)
    with pytest.raises(ValueError, match=r"needs to be told where the classes stand.*a\.geojson:all=building.*osm_id"):
        labels.label_chips(chips, str(path))
    with pytest.raises(ValueError, match=r"has no class column 'kind'"):
        labels.label_chips(chips, f"{path}:column=kind")
    with pytest.raises(ValueError, match="give all=CLASS or column=NAME"):
        labels.label_chips(chips, f"{path}:al=building")
    with pytest.raises(ValueError, match=r"no file is at gone\.geojson"):
        labels.label_chips(chips, "gone.geojson:all=a")
    gpd.GeoDataFrame({"a": [1]}, geometry=[chips.geometry[0]]).to_file(tmp_path / "bare.shp")
    with pytest.raises(ValueError, match=r"bare\.shp has no CRS"):
        labels.label_chips(chips, f"{tmp_path / 'bare.shp'}:all=a")
    elements = {"elements": [{"type": "node", "id": 1, "lat": 60.17, "lon": 24.95, "tags": {"shop": "kiosk"}}]}
    (tmp_path / "o.json").write_text(json.dumps(elements))
    with pytest.raises(
        ValueError, match=r"Nothing in .*o\.json has a tag of the classes.*Most frequent there: shop=kiosk \(1\)"
    ):
        labels.label_chips(chips, tmp_path / "o.json")


def test_shares_of_a_class_raster(tmp_path):
    chips = chips_at(15.3, 47.85, 3, 1, "ard")
    first = quadkeys.Cell(chips["quadkey"][0], 33)
    west, _, _, north = first.bounds
    codes = np.full((64, 160), 1, np.uint8)  # 2.5 chips wide
    codes[:4, :64] = 2  # 6.25 % of the first
    codes[:2, 64:128] = 2  # 3.1 % of the second
    codes[:, 128:130] = 9  # no data, 3.1 % of the third, of which half is seen
    path = tmp_path / "cover.tif"
    with rasterio.open(
        path, "w", "GTiff", 160, 64, 1, first.crs, from_origin(west, north, 156.25 / 64, 156.25 / 64), "uint8", nodata=9
    ) as file:
        file.write(codes, 1)
    sparse = labels.label_chips(chips, path, {1: "forest", 2: "water"}, min_share=0.05)
    assert sparse["water"].tolist() == [1, 0, pd.NA] and sparse["forest"].tolist() == [1, 1, 1]
    assert any("1 of 3 chips reach beyond" in note for note in sparse.attrs["notes"])
    # at the ends of the range: nothing is on a chip without a pixel of it, and what is not seen is not absent
    every = labels.label_chips(chips, path, {1: "forest", 2: "water", 3: "rock"}, min_share=0)
    assert every["rock"].tolist()[:2] == [0, 0] and every["rock"].isna().tolist()[2]
    whole = labels.label_chips(chips, path, {1: "forest"}, min_share=1)
    assert whole["forest"].tolist()[:2] == [0, 0] and whole["forest"].isna().tolist() == [False, False, True]
    with pytest.raises(ValueError, match="is a class raster: give its classes"):
        labels.label_chips(chips, path)


def test_each_class_is_known_where_a_file_that_tells_of_it_covers(tmp_path):
    """Houses were mapped in the west, pools in the east: of the other half each says nothing."""
    chips = chips_at(24.95, 60.17, 4, 1)
    west, east = (shapely.union_all(chips.geometry[some].to_numpy()) for some in ([0, 1], [2, 3]))
    for name, area, column in (("houses", west, "house"), ("pools", east, "pool")):
        parts = [
            part_of(area, 0, 0, 0.2, 1),
            part_of(area, 0.9, 0, 1, 1),
        ]  # up to the edges, so that the box is the area
        gpd.GeoDataFrame({"kind": [column] * 2}, geometry=parts, crs="OGC:CRS84").to_file(tmp_path / f"{name}.geojson")
    both = [f"{tmp_path / 'houses.geojson'}:all=house", f"{tmp_path / 'pools.geojson'}:column=kind"]
    sparse = labels.label_chips(chips, both)
    assert sparse["house"].isna().tolist() == [False, False, True, True]
    assert sparse["pool"].isna().tolist() == [True, True, False, False]
    assert sparse["house"].tolist()[:2] == [1, 1] == sparse["pool"].tolist()[2:]
    one = labels.label_chips(
        chips, [f"{tmp_path}/*s.geojson:column=kind"]
    )  # the sheets of one map tell of the same classes
    assert one["house"].tolist() == [1, 1, 0, 0] and one["pool"].tolist() == [0, 0, 1, 1]


def test_an_extract_that_was_cut_along_a_polygon_is_known_within_it(tmp_path):
    """Its header tells the box around the polygon, of which half was never there."""
    from osmium import SimpleWriter
    from osmium.io import Header
    from osmium.osm import Box
    from osmium.osm.mutable import Node

    chips = chips_at(24.95, 60.17, 2, 1)
    whole, (shop, _) = shapely.union_all(chips.geometry.to_numpy()), chips.geometry.centroid
    header = Header()
    header.add_box(Box(*whole.buffer(1e-4).bounds))
    with SimpleWriter(str(tmp_path / "city.osm.pbf"), header=header) as writer:
        writer.add_node(Node(id=1, location=(shop.x, shop.y), tags={"shop": "kiosk"}))
    yaml = yaml_file(tmp_path, "Shop: {shop: '*'}\n")
    box = labels.label_chips(chips, tmp_path / "city.osm.pbf", yaml)
    assert box["Shop"].tolist() == [1, 0]
    assert any("If it was cut along a polygon: city.osm.pbf:extent=" in note for note in box.attrs["notes"])
    gpd.GeoDataFrame(geometry=[chips.geometry[0]], crs="OGC:CRS84").to_file(tmp_path / "area.geojson")
    cut = labels.label_chips(chips, f"{tmp_path / 'city.osm.pbf'}:extent={tmp_path / 'area.geojson'}", yaml)
    assert cut["Shop"].isna().tolist() == [False, True] and cut.attrs["version"] != box.attrs["version"]
    gpd.GeoDataFrame(geometry=[whole], crs="OGC:CRS84").to_file(tmp_path / "area.geojson")
    wide = labels.label_chips(chips, f"{tmp_path / 'city.osm.pbf'}:extent={tmp_path / 'area.geojson'}", yaml)
    assert wide["Shop"].tolist() == [1, 0] and wide.attrs["version"] != cut.attrs["version"]
    gpd.GeoDataFrame(geometry=[part_of(chips.geometry[0], 0, 0, 1, 0.1)], crs="OGC:CRS84").to_file(
        tmp_path / "roofs.geojson"
    )
    roofs = labels.label_chips(chips, f"{tmp_path / 'roofs.geojson'}:all=roof,extent={tmp_path / 'area.geojson'}")
    assert roofs["roof"].tolist() == [1, 0]


def test_where_all_is_mapped_a_class_that_is_not_there_is_known_to_be_absent(tmp_path):
    """The east was mapped as the west was, and holds no pool; of one whose extent nobody said, nothing is known."""
    chips = chips_at(24.95, 60.17, 4, 1)
    west, east = (shapely.union_all(chips.geometry[some].to_numpy()) for some in ([0, 1], [2, 3]))

    def saved(name, area, kinds):
        parts = [part_of(area, 0, 0, 0.2, 1), part_of(area, 0.9, 0, 1, 1)][: len(kinds)]
        frame = gpd.GeoDataFrame({"kind": kinds}, geometry=parts, crs="OGC:CRS84")
        frame.to_file(tmp_path / f"{name}.gpkg")
        gpd.GeoDataFrame(geometry=[area], crs="OGC:CRS84").to_file(tmp_path / f"{name}.geojson")
        return f"{tmp_path}/{name}.gpkg:{{}},extent={tmp_path}/{name}.geojson"

    both = [saved("west", west, ["house", "pool"]), saved("east", east, ["house", "house"])]
    sparse = labels.label_chips(chips, [part.format("column=kind") for part in both])
    assert sparse["pool"].tolist() == [0, 1, 0, 0] and sparse["house"].tolist() == [1, 0, 1, 1]
    unsaid = labels.label_chips(chips, [both[0].format("column=kind"), f"{tmp_path}/east.gpkg:column=kind"])
    assert unsaid["pool"].isna().tolist() == [False, False, True, True]
    empty = saved("empty", east, [])
    none = labels.label_chips(chips, [both[0].format("all=pool"), empty.format("all=pool")])
    assert none["pool"].tolist() == [1, 1, 0, 0]
    other = labels.label_chips(chips, [both[0].format("all=pool"), both[1].format("all=house")])
    assert other["pool"].isna().tolist() == [False, False, True, True]


def test_an_extent_is_one_file(tmp_path):
    """Of those that a glob names the first was taken, and all beyond it was not known."""
    for name in ("roofs", "area-1", "area-2"):
        gpd.GeoDataFrame(geometry=[shapely.box(24, 60, 25, 61)], crs=4326).to_file(tmp_path / f"{name}.geojson")
    with pytest.raises(ValueError, match=r"extent=.*area-\*\.geojson names 2 files, and one says what is mapped"):
        labels.check(f"{tmp_path}/roofs.geojson:all=roof,extent={tmp_path}/area-*.geojson")
    labels.check(f"{tmp_path}/roofs.geojson:all=roof,extent={tmp_path}/*-2.geojson")


def test_between_two_extracts_nothing_is_known(tmp_path):
    """Neither says what it covers: the box around what both hold is not the ground of either."""
    chips = chips_at(24.95, 60.17, 9, 1)
    for name, chip in (("a", chips.geometry[0]), ("b", chips.geometry[8])):
        x0, y0, x1, y1 = chip.bounds
        places = [(x0, y0), (x1, y1)]
        nodes = [
            {"type": "node", "id": i, "lon": x, "lat": y, "tags": {"shop": "kiosk"}} for i, (x, y) in enumerate(places)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps({"elements": nodes}))
    found = labels.label_chips(
        chips, f"{tmp_path}/a.json,{tmp_path}/b.json", yaml_file(tmp_path, "Shop: {shop: '*'}\n")
    )
    assert found["Shop"].isna().tolist() == [False, *[True] * 7, False]


def test_names_that_no_table_keeps_apart_are_refused(tmp_path):
    two = yaml_file(
        tmp_path, "Water: {natural: [water]}\nwater: {leisure: [swimming_pool]}\n'Land, dry': {natural: [sand]}\n"
    )
    with pytest.raises(
        ValueError, match=r"(?s)Water and water differ in upper and lower case alone.*'Land, dry': .*Write 'Land / dry'"
    ):
        labels.read_classes(two)
    chips = chips_at(24.95, 60.17)
    path = tmp_path / "a.geojson"
    gpd.GeoDataFrame({"kind": ["Wood", "wood"]}, geometry=chips.geometry[:2], crs="OGC:CRS84").to_file(path)
    for text, column in (("Rename one", "column=kind"), ("listed with commas", "all=dry, land")):
        with pytest.raises(ValueError, match=text):
            labels.check([f"{path}:{column}"])
    with pytest.raises(ValueError, match="Wood and wood differ in upper"):
        labels.label_chips(
            chips, cover(tmp_path / "c.tif", quadkeys.Cell("1202"), np.ones((1, 1))), {1: "Wood", 2: "wood"}
        )


def cover(path, cell, codes, pixels=64):
    """A class raster whose north-west corner is a cell's, `pixels` along a chip."""
    west, south, _, north = cell.bounds
    side = (north - south) / pixels
    with rasterio.open(path, "w", "GTiff", codes.shape[1], codes.shape[0], 1, cell.crs, from_origin(west, north, side, side), "uint8",
                       nodata=9) as file:  # fmt: skip
        file.write(codes, 1)
    return path


def test_class_rasters_that_overlap_count_each_pixel_once(tmp_path):
    """Two sheets share half of a chip: counted twice, a twentieth of water would be a tenth, and more than all would be seen."""
    chips = chips_at(15.3, 47.85, 2, 1, "ard")
    first = quadkeys.Cell(chips["quadkey"][0], 33)
    codes = np.full((64, 96), 1, np.uint8)
    codes[:, 61:64] = 2  # 4.7 % of the first
    one = cover(tmp_path / "one.tif", first, codes)
    moved = quadkeys.cell_at(33, 18, 2 * first.tile.x + 1, 2 * first.tile.y)
    two = cover(tmp_path / "two.tif", moved, codes[:, 32:], 32)  # the same ground from the middle of the first chip on
    for order in ([one, two], [two, one]):
        sparse = labels.label_chips(chips, order, {1: "land", 2: "water"}, min_share=0.06)
        assert sparse["water"].tolist()[0] == 0 and sparse["land"].tolist() == [1, 1]
        assert labels.label_chips(chips, order, {2: "water"}, min_share=0.04)["water"].tolist()[0] == 1
        assert sparse["water"].isna().tolist() == [False, True], "of the second half is not seen"


def test_chips_of_several_zooms_and_zones_are_each_seen_by_a_class_raster(tmp_path):
    """The edge of two UTM zones, in chips of both and of two levels; counted once in each."""
    west, east = chips_at(17.99, 47.85, 1, 1, "ard", 16), chips_at(18.02, 47.85, 1, 1, "ard", 17)
    chips = pd.concat([west, east], ignore_index=True)
    assert set(chips["zone"]) == {33, 34}
    bounds = chips.total_bounds
    place = from_origin(bounds[0] - 0.01, bounds[3] + 0.01, 1e-4, 1e-4)
    codes = np.ones((400, 700), np.uint8)
    codes[:, 350:] = 2
    with rasterio.open(tmp_path / "c.tif", "w", "GTiff", 700, 400, 1, 4326, place, "uint8") as file:
        file.write(codes, 1)
    sparse = labels.label_chips(chips, tmp_path / "c.tif", {1: "west", 2: "east"})
    middle = bounds[0] - 0.01 + 350 * 1e-4
    assert [c.bounds[2] < middle for c in chips.geometry] == [True, False]
    assert sparse[["west", "east"]].to_numpy().tolist() == [[1, 0], [0, 1]]


def test_of_a_class_raster_only_what_lies_on_chips_is_read(tmp_path, monkeypatch):
    from geonb.rasters import images

    chips = chips_at(15.3, 47.85, 2, 1, "ard")
    path, read = (
        cover(tmp_path / "wide.tif", quadkeys.Cell(chips["quadkey"][0], 33), np.ones((64 * 20, 64 * 80), np.uint8)),
        [],
    )

    def counted(files, image, rows, columns):
        read.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return original(files, image, rows, columns)

    original = images._read_bands
    monkeypatch.setattr(images, "_read_bands", counted)
    assert labels.label_chips(chips, path, {1: "land"})["land"].tolist() == [1, 1]
    assert sum(read) <= 2 * 128**2, "of 20 x 80 chips the two"


MASKS = """
import resource, sys
import numpy as np
from test_labels import chips_at, cover, labels, quadkeys

chips, folder = chips_at(15.3, 47.85, 9, 9, "ard"), sys.argv[1]
cells = [quadkeys.Cell(key, 33) for key in chips["quadkey"]]
codes = [np.full((16, 16), 1 + i % 2, np.uint8) for i in range(len(cells))]
paths = [cover(f"{folder}/{i}.tif", *pair, 16) for i, pair in enumerate(zip(cells, codes))]
labels.label_chips(chips[:1], paths[0], {1: "even", 2: "odd"})  # what is imported on the way needs files too
resource.setrlimit(resource.RLIMIT_NOFILE, (48, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
sparse = labels.label_chips(chips, paths, {1: "even", 2: "odd"})
assert sparse["even"].tolist() == [1 - i % 2 for i in range(81)] and sparse["odd"].tolist() == [i % 2 for i in range(81)]
"""


def test_a_mask_for_each_chip_needs_no_more_open_files_than_one(tmp_path):
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", MASKS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_on_a_chip_does_not_hang_on_which_others_are_asked_for(tmp_path):
    """A warp is exact to an eighth of a pixel, by the frame it is made in: near a limit a label would come and go."""
    codes = np.random.default_rng(0).integers(1, 4, (400, 400), np.uint8)
    with rasterio.open(
        tmp_path / "c.tif", "w", "GTiff", 400, 400, 1, 32633, from_origin(522_000, 5_302_000, 30, 30), "uint8"
    ) as file:
        file.write(codes, 1)
    chips = chips_at(15.32, 47.85, 40, 40, zoom=17)
    limits = [labels.label_chips(chips, tmp_path / "c.tif", {1: "a"}, min_share=share) for share in (0.3, 0.33, 0.36)]
    for some in ([700], [0, 700, 1599], list(range(690, 760))):
        for share, whole in zip((0.3, 0.33, 0.36), limits, strict=True):
            part = labels.label_chips(chips.iloc[some], tmp_path / "c.tif", {1: "a"}, min_share=share)
            assert part["a"].tolist() == whole["a"].iloc[some].tolist()


@pytest.mark.skipif(not HELSINKI.is_file(), reason="the extract of Helsinki is not there (../shared)")
def test_helsinki(tmp_path):
    cells = quadkeys.cells_in((24.925, 60.16, 24.96, 60.185), "xyz", 17)
    chips = gpd.GeoDataFrame(
        {"name": [c.name("S") for c in cells]}, geometry=quadkeys.footprints(cells), crs="OGC:CRS84"
    )
    sparse = labels.label_chips(chips, HELSINKI)
    assert list(sparse.columns) == ["Feature", *ORIGINAL]
    inside = chips.geometry.covered_by(shapely.box(24.9351762, 60.164155, 24.9534145, 60.179113)).to_numpy()
    assert 20 < inside.sum() < len(chips)
    assert not sparse[inside].isna().any().any() and sparse[~inside]["Pool"].isna().all()
    assert sparse[inside]["Building"].mean() > 0.7 and sparse[inside]["Railway"].sum() >= 2


@pytest.mark.skipif(not NAIROBI.is_dir(), reason="drone imagery is not there (../shared)")
def test_buildings_of_nairobi_without_a_class_column():
    frame = gpd.read_file(NAIROBI / "labels.geojson")
    west, south, east, north = frame.geometry.iloc[:200].total_bounds
    cells = quadkeys.cells_in((west, south, east, north), "xyz", 19)[:400]
    chips = gpd.GeoDataFrame(
        {"name": [c.name("S") for c in cells]}, geometry=quadkeys.footprints(cells), crs="OGC:CRS84"
    )
    sparse = labels.label_chips(chips, f"{NAIROBI / 'labels.geojson'}:all=building", min_share=0)
    hit = frame.to_crs("OGC:CRS84").buffer(0)
    expected = chips.geometry.intersection(hit.union_all()).area > 0
    known = sparse["building"].notna().to_numpy()
    assert (sparse["building"][known].astype(bool).to_numpy() == expected.to_numpy()[known]).all()
