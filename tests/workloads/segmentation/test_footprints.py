"""Polygons of one class: what lies between them, where the labels are complete, and the border where they touch."""

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from rasterio.transform import from_origin
from shapely import affinity

from geonb.rasters import tiles
from geonb.workloads.segmentation import catalogue, dataset, footprints, mask_options, masks, predict
from geonb.workloads.segmentation.store import write_store

NONE = -1
EAST, NORTH = 500_000, 1_000_000
# On a grid of 1 m pixels, seen from its corner (EAST, NORTH): two that touch along x = 8, one a pixel from them, one alone
ROOFS = [
    shapely.box(2, -8, 8, -2),
    shapely.box(8, -8, 12, -2),
    shapely.box(2, -14, 8, -9),
    shapely.box(16, -14, 20, -9),
]


def laid(shapes):
    return [affinity.translate(shape, EAST, NORTH) for shape in shapes]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project with an image of 24 x 16 px, and roofs.geojson that says of each polygon but its number."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    pixels = np.random.default_rng(0).integers(1, 255, (3, 16, 24), np.uint8)
    grid = {"crs": "EPSG:32637", "transform": from_origin(EAST, NORTH, 1, 1), "height": 16, "width": 24, "count": 3}
    with rasterio.open(tmp_path / "image.tif", "w", dtype="uint8", **grid) as image:
        image.write(pixels)
    shapes = gpd.GeoDataFrame({"osm_id": range(len(ROOFS))}, geometry=laid(ROOFS), crs="EPSG:32637")
    shapes.to_file(tmp_path / "roofs.gpkg")
    mapped = gpd.GeoDataFrame(geometry=laid([shapely.box(0, -16, 14, 0)]), crs="EPSG:32637")
    mapped.to_crs("EPSG:4326").to_file(tmp_path / "mapped.geojson")
    return tmp_path


def codes(pairs, number=0):
    """Class codes (y, x) as they are read, in one go and row by row, which must agree."""
    image, mask = list(pairs)[number]
    with masks.reader(image, mask, pairs.classes) as read:
        whole = read(slice(0, image.shape[0]), slice(0, image.shape[1]))[2]
        rows = [read(slice(y, y + 1), slice(0, image.shape[1]))[2] for y in range(image.shape[0])]
    assert (np.concatenate(rows) == whole).all()
    return np.where(whole == masks.NO_CODE, NONE, whole)


def burnt(*shapes):
    """Where hand-made boxes of whole pixels lie: (y, x) bool."""
    plane = np.zeros((16, 24), bool)
    for shape in shapes:
        west, south, east, north = map(int, shape.bounds)
        plane[-north:-south, west:east] = True
    return plane


def opened(place, options, **more):
    return dataset.open_pairs(str(place / "image.tif"), f"{place}/roofs.gpkg:{options}", **more)


def test_every_polygon_is_the_class_and_the_rest_background(place):
    pairs = opened(place, "all=building")
    assert [(c["code"], c["name"]) for c in pairs.classes] == [(0, "background"), (1, "building")]
    assert (codes(pairs) == burnt(*ROOFS)).all()
    (note,) = [note for note in pairs.notes if "TAKEN FOR BACKGROUND" in note]
    assert "4 polygons" in note
    assert "complete=AREA.geojson" in note
    store = write_store(pairs, patch=8, stride=8, block=8, shares="40/30/30")
    assert note in store.meta["notes"]


def test_complete_in_an_area_only(place):
    pairs = opened(place, f"all=building,complete={place}/mapped.geojson")
    expected = np.where(burnt(shapely.box(0, -16, 14, 0)), burnt(*ROOFS), NONE)
    assert (codes(pairs) == expected).all()
    assert place / "mapped.geojson" in pairs.files  # a change of it is noticed
    assert not any("TAKEN FOR" in note for note in pairs.notes)


EARTH = shapely.box(-180, -90, 180, 90)


@pytest.mark.parametrize(
    ("area", "crs"),
    [(EARTH, "EPSG:4326"), (EARTH, "OGC:CRS84"), (shapely.box(-2.1e8, -2.1e8, 2.1e8, 2.1e8), "EPSG:3857")],
)
@pytest.mark.parametrize("onto", ["EPSG:32637", "EPSG:3857"])
def test_complete_on_the_whole_earth_is_complete(place, area, crs, onto):
    with rasterio.open(place / "image.tif") as image:
        pixels, grid = image.read(), image.profile | {"crs": onto, "transform": from_origin(EAST, NORTH, 0.07, 0.07)}
    with rasterio.open(place / "fine.tif", "w", **grid) as image:
        image.write(pixels)
    roof = gpd.GeoDataFrame(geometry=[shapely.box(EAST, NORTH - 0.35, EAST + 0.35, NORTH)], crs=onto)
    roof.to_file(place / "roof.gpkg")
    gpd.GeoDataFrame(geometry=[area], crs=crs).to_file(place / "earth.gpkg")
    pairs = dataset.open_pairs(str(place / "fine.tif"), f"{place}/roof.gpkg:all=building,complete={place}/earth.gpkg")
    assert (codes(pairs) == burnt(shapely.box(0, -5, 5, 0))).all()


def test_a_long_edge_of_the_area_is_a_curve_on_the_image(place):
    # a parallel from pole to pole of the zone lies up to kilometres from the straight line between its projected ends
    from pyproj import Transformer

    to = Transformer.from_crs("EPSG:32637", "EPSG:4326", always_xy=True)
    _, lat = to.transform(EAST + 12, NORTH - 8)
    area = gpd.GeoDataFrame(geometry=[shapely.box(36, lat - 1, 42, lat)], crs="EPSG:4326")
    area.to_file(place / "wide.geojson")
    pairs = opened(place, f"all=building,complete={place}/wide.geojson")
    x, y = np.meshgrid(EAST + np.arange(24) + 0.5, NORTH - np.arange(16) - 0.5)
    assert ((codes(pairs) >= 0) == (np.array(to.transform(x, y)[1]) < lat)).mean() > 0.95


def test_where_nobody_knows_nothing_is_background(place):
    pairs = opened(place, "all=building,complete=false")
    assert (codes(pairs) == np.where(burnt(*ROOFS), 1, NONE)).all()
    with pytest.raises(ValueError, match=r"nothing to tell apart.*complete=true"):
        dataset.scan(pairs)
    named = opened(place, "all=building,complete=false", classes="0=other,1=building")
    assert (codes(named) == np.where(burnt(*ROOFS), 1, NONE)).all()


def test_complete_goes_with_a_column_too(place):
    pairs = opened(place, "column=osm_id,complete=true", classes="1=b,2=c,3=d,0=a")
    assert codes(pairs).max() == 3
    numbers = gpd.read_file(place / "roofs.gpkg").assign(kind=[3, 3, 7, 7])
    numbers.to_file(place / "roofs.gpkg")
    pairs = opened(place, "column=kind,complete=true")
    assert [(c["code"], c["name"]) for c in pairs.classes] == [(0, "background"), (3, "class 3"), (7, "class 7")]
    assert (codes(pairs) == 3 * burnt(*ROOFS[:2]) + 7 * burnt(*ROOFS[2:])).all()


def test_a_border_of_a_pixel_parts_what_touches(place):
    pairs = opened(place, "all=building,border=1")
    assert [c["name"] for c in pairs.classes] == ["background", "building", "border"]
    brute = np.zeros((16, 24), int)
    number = sum(i * burnt(shape) for i, shape in enumerate(ROOFS, 1))
    for y in range(16):
        for x in range(24):
            near = number[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            brute[y, x] = len(set(near[near > 0].tolist())) > 1
    found = codes(pairs)
    assert ((found == 2) == brute).all()
    assert (found[2:7, 6:10] == [[1, 2, 2, 1]] * 5).all()  # to be checked by eye: the wall, a pixel to each side
    assert (np.where(found == 2, burnt(*ROOFS), found) == burnt(*ROOFS)).all()
    # what is left of the buildings falls into as many pieces as there are polygons
    from scipy.ndimage import label

    assert label(found == 1)[1] == len(ROOFS)
    assert label(burnt(*ROOFS))[1] < len(ROOFS)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_between_is_where_two_numbers_are_near(seed, reach):
    numbers = np.random.default_rng(seed).choice([0, 0, 0, 0, 0, 0, 1, 2, 3], (9, 11)).astype(np.int32)
    found = footprints.between(numbers, reach)
    for y, x in np.ndindex(numbers.shape):
        near = numbers[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        assert found[y, x] == (len(set(near[near > 0].tolist())) > 1)


def refused(*arguments, **more):
    with pytest.raises(ValueError) as caught:
        dataset.open_pairs(*arguments, **more)
    return str(caught.value)


def test_what_makes_no_sense_is_refused(place):
    image, roofs = str(place / "image.tif"), f"{place}/roofs.gpkg"
    assert "If every polygon is one class: roofs.gpkg:all=building" in refused(image, roofs)
    assert "Give one" in refused(image, f"{roofs}:all=building,column=osm_id")
    assert "border=0 is not known" in refused(image, f"{roofs}:all=building,border=0")
    assert "border=17 is not known" in refused(image, f"{roofs}:all=building,border=17")
    assert "all= is not known" in refused(image, f"{roofs}:all=")
    assert "complete: no file is at" in refused(image, f"{roofs}:all=building,complete=nowhere.geojson")
    assert "not a vector file" in refused(image, f"{roofs}:all=building,complete={image}")
    gpd.read_file(place / "roofs.gpkg").to_file(place / "more.gpkg")
    assert "names 2 files. Name one" in refused(image, f"{roofs}:all=building,complete={place}/*.gpkg")
    assert "not in the class table" in refused(image, f"{roofs}:all=building", classes="1=house,0=other")
    assert "Give it code 0" in refused(image, f"{roofs}:all=building", classes="1=building,5=background")
    assert "Give the polygons another class, or leave out border=" in refused(image, f"{roofs}:all=border,border=1")
    assert "all: not an option of such a file" in refused(image, f"{image}:all=building")


def test_an_area_beside_every_image_is_refused(place):
    east = gpd.GeoDataFrame(geometry=laid([shapely.box(30, -16, 44, 0)]), crs="EPSG:32637")
    east.to_crs("EPSG:4326").to_file(place / "east.geojson")
    said = refused(str(place / "image.tif"), f"{place}/roofs.gpkg:all=building,complete={place}/east.geojson")
    assert "east.geojson overlaps no image" in said


def test_a_border_between_polygons_that_are_far_apart_is_left_out(place):
    far = [shapely.MultiPolygon([ROOFS[0], ROOFS[2]]), ROOFS[3]]  # parts of one count as one
    gpd.GeoDataFrame(geometry=laid(far), crs="EPSG:32637").to_file(place / "far.gpkg")
    pairs = dataset.open_pairs(str(place / "image.tif"), f"{place}/far.gpkg:all=building,border=1")
    with pytest.raises(ValueError, match=r"border=1 finds no pixel within 1 px of two polygons.*Leave out border="):
        dataset.scan(pairs)
    assert dataset.scan(replace(pairs, masks=tuple(replace(m, border_px=9) for m in pairs.masks))).found


def test_files_of_the_parameter_are_those_of_the_area_too(place):
    found = mask_options.files_named("roofs.gpkg:all=building,complete=mapped.geojson", place)
    assert found == [place / "roofs.gpkg", place / "mapped.geojson"]
    with pytest.raises(ValueError, match=r"complete=nowhere\.geojson"):
        mask_options.files_named("roofs.gpkg:all=building,complete=nowhere.geojson", place)


def test_a_catalogue_says_it_too(place):
    text = "images: image.tif\n  masks: roofs.gpkg\n  mask: {all: building, complete: mapped.geojson, border: 1}\n"
    (place / "datasets.yaml").write_text(f"here:\n  {text}")
    pairs = catalogue.open_datasets("here")
    direct = opened(place, f"all=building,complete={place}/mapped.geojson,border=1")
    assert (codes(pairs) == codes(direct)).all()
    assert place / "mapped.geojson" in catalogue.catalogue_files("here", place)


def test_the_tile_that_is_cut_short_is_named(place):
    rng = np.random.default_rng(2)
    files = [place / "t" / f"a-{x}-1000-12.jpg" for x in (1000, 1001, 1002)]
    files[0].parent.mkdir()
    for file in files:
        Picture.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(file)
    box = shapely.box(*tiles.Tile(12, 1000, 1000).bounds).buffer(-2000)
    gpd.GeoDataFrame(geometry=[box], crs="EPSG:3857").to_file(place / "roofs.geojson")
    files[1].write_bytes(files[1].read_bytes()[:1500])
    with pytest.raises(ValueError) as caught:
        dataset.open_pairs(f"{place}/t/*.jpg", f"{place}/roofs.geojson:all=building")
    assert "a-1001-1000-12.jpg is cut short" in str(caught.value)
    assert "a-1000-1000-12.jpg" not in str(caught.value)


def test_polygons_of_two_places_go_to_the_tiles_they_reach(place):
    rng = np.random.default_rng(1)
    for name, x in (("a", 1000), ("b", 1010)):
        (place / name).mkdir()
        for column in (x, x + 3):  # two images each
            Picture.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(
                place / name / f"t-{column}-1000-12.png"
            )
        boxes = [shapely.box(*tiles.Tile(12, column, 1000).bounds).buffer(-2000) for column in (x, x + 3)]
        gpd.GeoDataFrame(geometry=boxes, crs="EPSG:3857").to_file(place / name / "roofs.geojson")
    named = ",".join(f"{place}/{name}/roofs.geojson:all=building" for name in "ab")
    pairs = dataset.open_pairs(f"{place}/a/*.png,{place}/b/*.png", named)
    assert [(image.name, mask.path.parent.name) for image, mask in pairs] == [
        ("a-12-1", "a"), ("a-12-2", "a"), ("b-12-1", "b"), ("b-12-2", "b"),
    ]  # fmt: skip
    inside = round((9783.94 - 4000) / 9783.94 * 64) ** 2
    for number in range(4):
        assert (codes(pairs, number) == 1).sum() == pytest.approx(inside, rel=0.06)
    store = write_store(pairs, patch=16, stride=16, block=32)
    assert store.meta["sources"][0]["image"] == [str(pairs.images[0].paths[0].relative_to(place))]


def test_what_lies_between_objects_gets_no_outlines():
    card = {"classes": [{"name": name} for name in ("background", "building", "border", "borderland")]}
    assert predict._between(card) == ("background", "border")
