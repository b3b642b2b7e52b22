"""OpenStreetMap extracts: areas against osmium's own, hand-made ones in both formats, and what is missing from them."""

import json
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from geonb.rasters import osm

osmium = pytest.importorskip("osmium")
HELSINKI = Path(__file__).parents[3] / "shared" / "data" / "chips" / "Helsinki.osm.pbf"
real = pytest.mark.skipif(not HELSINKI.is_file(), reason="the extract of Helsinki is not there (../shared)")

# a lake with an island in two outer pieces, a house with a courtyard, a road, a roundabout, a shop
NODES = {
    1: (0, 0), 2: (10, 0), 3: (10, 10), 4: (0, 10), 5: (4, 4), 6: (6, 4), 7: (6, 6), 8: (4, 6),
    11: (20, 0), 12: (22, 0), 13: (22, 2), 14: (20, 2), 21: (30, 5),
}  # fmt: skip
WAYS = {
    1: ([1, 2, 3], {}), 2: ([3, 4, 1], {}), 3: ([5, 6, 7, 8, 5], {"natural": "wood"}), 4: ([11, 12, 13, 14, 11], {"building": "house"}),
    5: ([1, 3], {"highway": "path"}), 6: ([11, 12, 13, 14, 11], {"highway": "service", "junction": "roundabout"}),
    7: ([14, 13, 12, 14], {"area": "no", "building": "yes"}),
}  # fmt: skip
LAKE = (9, {"type": "multipolygon", "natural": "water"}, [(1, "outer"), (2, "outer"), (3, "inner")])
SHOP = (21, {"shop": "kiosk"})


def place(i):
    x, y = NODES[i]
    return {"lon": 24 + x / 1000, "lat": 60 + y / 1000}


def overpass(style, ways=WAYS, relations=(LAKE,), drop_nodes=()):
    """Overpass JSON: with nodes, with geometries, or with the members' geometries only in the relation."""
    elements = [{"type": "node", "id": SHOP[0], **place(SHOP[0]), "tags": SHOP[1]}]
    there = {i for i in NODES if i not in drop_nodes}
    if style == "nodes":
        elements += [{"type": "node", "id": i, **place(i)} for i in there - {21}]
    for i, (nodes, tags) in ways.items():
        element = {"type": "way", "id": i, "nodes": nodes, "tags": tags}
        if style != "nodes":
            element["geometry"] = [place(n) if n in there else None for n in nodes]
        if style != "members" or i not in (1, 2, 3):
            elements.append(element)
    for i, tags, members in relations:
        each = [{"type": "way", "ref": ref, "role": role} for ref, role in members]
        if style == "members":
            for m in each:
                m["geometry"] = [place(n) for n in WAYS[m["ref"]][0]]
        elements.append({"type": "relation", "id": i, "tags": tags, "members": each})
    return {"version": 0.6, "elements": elements}


def write_pbf(path, ways=WAYS, relations=(LAKE,), drop_nodes=(), box=None):
    header = osmium.io.Header()
    if box:
        header.add_box(osmium.osm.Box(*box))
    with osmium.SimpleWriter(str(path), header=header) as writer:
        for i in sorted(set(NODES) - set(drop_nodes)):
            p = place(i)
            writer.add_node(
                osmium.osm.mutable.Node(id=i, version=1, location=(p["lon"], p["lat"]), tags=SHOP[1] if i == 21 else {})
            )
        for i, (nodes, tags) in ways.items():
            writer.add_way(osmium.osm.mutable.Way(id=i, version=1, nodes=nodes, tags=tags))
        for i, tags, members in relations:
            writer.add_relation(
                osmium.osm.mutable.Relation(
                    id=i, version=1, members=[("w", ref, role) for ref, role in members], tags=tags
                )
            )
    return path


def made(tmp_path, style, **options):
    if style == "pbf":
        return osm.read_osm(write_pbf(tmp_path / "a.osm.pbf", **options))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(overpass(style, **options)))
    return osm.read_osm(path)


def by_id(table):
    return {(k, i): g for k, i, g in zip(table["kind"], table["osm_id"], table.geometry, strict=True)}


@pytest.mark.parametrize("style", ["pbf", "nodes", "geometry", "members"])
def test_every_format_gives_the_same_ground(tmp_path, style):
    table = made(tmp_path, style)
    shapes = by_id(table)
    unit = 1e-6  # square degrees of a cell of the plan above
    assert shapes["relation", 9].area == pytest.approx(96 * unit)  # the lake without its island
    assert shapes["way", 4].geom_type == "Polygon" and shapes["way", 4].area == pytest.approx(4 * unit)
    assert shapes["way", 5].geom_type == "LineString" and shapes["way", 5].length == pytest.approx(0.01 * 2**0.5)
    assert shapes["way", 6].geom_type == "LineString"  # a roundabout encloses, but is none
    assert shapes["way", 7].geom_type == "LineString"  # area=no
    assert shapes["node", 21].equals(shapely.Point(24.03, 60.005))
    assert table.crs == "OGC:CRS84" and table.attrs["notes"] == []
    tags = dict(zip(zip(table["kind"], table["osm_id"], strict=True), table["tags"], strict=True))
    assert tags["relation", 9]["natural"] == "water" and tags["node", 21] == {"shop": "kiosk"}
    if style != "members":
        assert shapes["way", 3].area == pytest.approx(4 * unit)  # the island's wood


@pytest.mark.parametrize("style", ["pbf", "nodes", "geometry"])
def test_members_that_are_missing_are_counted_and_the_rest_is_kept(tmp_path, style):
    # of the lake's outline one half is not in the extract; of a park of two parts one part is whole
    ways = {i: way for i, way in WAYS.items() if i != 2}
    park = (10, {"type": "multipolygon", "leisure": "park"}, [(4, "outer"), (2, "outer")])
    table = made(tmp_path, style, ways=ways, relations=(LAKE, park))
    shapes, notes = by_id(table), "\n".join(table.attrs["notes"])
    assert ("relation", 9) not in shapes  # and its island did not become a lake
    assert shapes["relation", 10].area == pytest.approx(4e-6)
    assert "1 multipolygons lack members" in notes and "1 multipolygons lack so many members" in notes
    assert ("way", 4) in shapes and ("node", 21) in shapes


@pytest.mark.parametrize("style", ["pbf", "nodes", "geometry"])
def test_nodes_that_are_missing_break_lines_and_leave_no_false_areas(tmp_path, style):
    table = made(tmp_path, style, drop_nodes=(13, 1))
    shapes, notes = by_id(table), "\n".join(table.attrs["notes"])
    assert shapes["way", 4].geom_type == "MultiLineString"  # not a triangle
    assert ("way", 5) not in shapes and "1 ways have no place at all" in notes
    assert "places of ways are not in the extract" in notes


@pytest.mark.parametrize("style", ["pbf", "nodes", "geometry"])
def test_a_ring_with_a_gap_does_not_turn_a_lake_into_its_island(tmp_path, style):
    table = made(tmp_path, style, drop_nodes=(2,))  # all ways of the relation are there
    assert ("relation", 9) not in by_id(table)
    assert "multipolygons lack" in "\n".join(table.attrs["notes"])


def test_the_extent_is_what_the_extract_says(tmp_path):
    assert osm.read_osm(write_pbf(tmp_path / "a.pbf")).attrs["extent"] is None
    table = osm.read_osm(write_pbf(tmp_path / "b.pbf", box=(24.0, 60.0, 24.02, 60.01)))
    assert table.attrs["extent"].bounds == pytest.approx((24.0, 60.0, 24.02, 60.01))


def test_files_together_hold_each_thing_once(tmp_path):
    one, two = write_pbf(tmp_path / "a.pbf"), write_pbf(tmp_path / "b.pbf")
    assert len(osm.read_osm([one, two])) == len(osm.read_osm(one))


def test_tags_are_counted_by_kind(tmp_path):
    table = osm.tag_table([osm.read_elements(write_pbf(tmp_path / "a.pbf"))])
    assert list(table.columns) == ["topic", "value", "nodes", "ways", "relations"]
    rows = {(r.topic, r.value): (r.nodes, r.ways, r.relations) for r in table.itertuples()}
    assert (
        rows["shop", "kiosk"] == (1, 0, 0)
        and rows["building", "house"] == (0, 1, 0)
        and rows["natural", "water"] == (0, 0, 1)
    )


def test_empty_and_other_files_say_so(tmp_path):
    empty = tmp_path / "empty.json"
    empty.write_text('{"elements": []}')
    with pytest.raises(ValueError, match=r"empty\.json holds nothing with a tag.*Was the box empty"):
        osm.read_osm(empty)
    with pytest.raises(ValueError, match="holds nothing with a tag"):
        osm.read_osm(write_pbf(tmp_path / "bare.pbf", ways={1: ([1, 2], {})}, relations=(), drop_nodes=(21,)))
    for name, content in (
        ("a.json", "{"),
        ("b.json", "[1]"),
        ("c.json", '{"type": "FeatureCollection"}'),
        ("d.json", '{"elements": [{}]}'),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=rf"{name} is no Overpass JSON"):
            osm.read_osm(tmp_path / name)
    (tmp_path / "e.osm.pbf").write_bytes(b"not a pbf")
    with pytest.raises(ValueError, match=r"e\.osm\.pbf cannot be read as OpenStreetMap data"):
        osm.read_osm(tmp_path / "e.osm.pbf")
    with pytest.raises(ValueError, match="There is no OpenStreetMap extract"):
        osm.read_osm(tmp_path / "gone.pbf")


@pytest.mark.parametrize(
    "remark", ['runtime error: Query timed out in "query" at line 3 after 25 seconds.', "Timeout is 180s", "x"]
)
def test_an_answer_that_its_server_did_not_finish_is_refused(tmp_path, remark):
    path = tmp_path / "part.json"
    path.write_text(json.dumps(overpass("geom") | {"remark": remark}))
    if remark == "x":
        assert len(osm.read_osm(path)) > 3, "other remarks are none of ours"
    else:
        with pytest.raises(ValueError, match=f"(?s)part\\.json is a part only.*{remark[:20]}.*longer"):
            osm.read_osm(path)


def test_the_area_that_an_extract_was_cut_along(tmp_path):
    """A square with a hole and an island in it, as .poly and as GeoJSON: osmium itself cuts along the same."""
    rings = {"1": (0, 0, 9, 9), "!2": (3, 3, 6, 6), "3": (4, 4, 5, 5)}
    lines = ["none"]
    for name, (west, south, east, north) in rings.items():
        corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        lines += [name, *(f"   {x:.4E}  {y:.4E}" for x, y in corners), "END"]
    path = tmp_path / "area.poly"
    path.write_text("\n".join([*lines[:-6], "END", ""]))  # without the island
    square = shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 6, 6))
    assert osm.read_extent(path).equals(square)
    gpd.GeoDataFrame(geometry=[square], crs=4326).to_crs(3857).to_file(tmp_path / "area.gpkg")
    assert osm.read_extent(tmp_path / "area.gpkg").symmetric_difference(square).area < 1e-9
    gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs=4326).to_file(tmp_path / "point.geojson")
    (tmp_path / "odd.poly").write_text("none\n1\n  a b\nEND\nEND\n")
    for name, told in (
        ("point.geojson", "holds no polygon"),
        ("odd.poly", "is no .poly file"),
        ("gone.poly", "is no .poly file"),
    ):
        with pytest.raises(ValueError, match=told):
            osm.read_extent(tmp_path / name)


@real
def test_areas_of_helsinki_are_osmium_s():
    table = osm.read_osm(HELSINKI)
    shapes = by_id(table)
    factory, compared = osmium.geom.WKBFactory(), 0
    tags = dict(zip(zip(table["kind"], table["osm_id"], strict=True), table["tags"], strict=True))
    for thing in osmium.FileProcessor(str(HELSINKI)).with_areas():
        if thing.is_area():
            key = "way" if thing.from_way() else "relation", thing.orig_id()
            if key[0] == "way" and (key not in tags or not osm.is_area(tags[key])):
                continue
            theirs = shapely.from_wkb(bytes.fromhex(factory.create_multipolygon(thing)))
            assert shapes[key].symmetric_difference(theirs).area <= 1e-6 * theirs.area, key
            compared += 1
    assert compared > 1000 and sum(k == "relation" for k, _ in shapes) >= 98
    assert table.attrs["extent"].bounds == pytest.approx((24.9351762, 60.164155, 24.9534145, 60.179113))
    assert any("lack so many members" in note for note in table.attrs["notes"])


@real
def test_tags_of_helsinki_are_counted_as_osmium_sees_them():
    counts = {}
    for thing in osmium.FileProcessor(str(HELSINKI)):
        for tag in thing.tags:
            counts[tag.k, tag.v] = counts.get((tag.k, tag.v), 0) + 1
    table = osm.tag_table([osm.read_elements(HELSINKI)])
    assert (
        dict(
            zip(
                zip(table["topic"], table["value"], strict=True),
                table[["nodes", "ways", "relations"]].sum(axis=1),
                strict=True,
            )
        )
        == counts
    )
