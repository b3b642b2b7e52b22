"""Labels: rasters of codes, colours or a band a class, polygons; what is left out, repaired or refused, and with which words."""

from contextlib import ExitStack

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
import zarr
from pyproj import Geod, Transformer
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from scenes import GRID, write_raster

from geonb.rasters import images
from geonb.workloads.segmentation import dataset, masks
from geonb.workloads.segmentation.arrays import write_arrays

WEST, NORTH = GRID["west"], GRID["north"]
LAB = np.repeat(np.repeat([[0, 1, 2, 1]], 10, axis=1), 30, axis=0).astype(np.uint8)  # 30 x 40 px
TABLE = [
    {"code": c, "name": n, "colour": k} for c, n, k in ((0, "a", "#ffffff"), (1, "b", "#ff0000"), (2, "c", "#00ff00"))
]
COLOURS = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0]], np.uint8)


@pytest.fixture
def image(tmp_path):
    values = np.random.default_rng(0).integers(1, 200, (2, *LAB.shape)).astype(np.uint8)
    return write_raster(tmp_path / "image.tif", values)


def codes_of(pairs, i=0):
    with masks.reader(pairs.images[i], pairs.masks[i], pairs.classes) as read:
        return read(slice(0, pairs.images[i].shape[0]), slice(0, pairs.images[i].shape[1]))[2]


def refused(image, mask, *words, **options):
    with pytest.raises(ValueError) as caught:
        dataset.scan(dataset.open_pairs(str(image), str(mask), **options))
    assert all(word in str(caught.value) for word in words), str(caught.value)


# ---- bands


def test_three_bands_that_look_like_colours_are_not_codes(image, tmp_path):
    mask = write_raster(tmp_path / "rgb.tif", COLOURS[LAB].transpose(2, 0, 1), photometric="RGB")
    refused(image, mask, "rgb.tif has 3 bands", "look like colours: rgb.tif:read=rgb", "code, name and colour")
    pairs = dataset.scan(dataset.open_pairs(str(image), f"{mask}:read=rgb", TABLE))
    np.testing.assert_array_equal(codes_of(pairs), LAB)


def test_a_band_a_class_is_read_as_such_when_asked_for(image, tmp_path):
    hot = np.stack([code == LAB for code in range(3)]).astype(np.uint8)
    mask = write_raster(tmp_path / "hot.tif", hot)
    refused(image, mask, "hot.tif has 3 bands", "It looks one-hot", "hot.tif:read=one-hot")
    pairs = dataset.scan(dataset.open_pairs(str(image), f"{mask}:read=one-hot", "1=a,2=b,3=c"))
    np.testing.assert_array_equal(codes_of(pairs), LAB + 1)
    hot[:, :5] = 0
    hot[2, 29, 39] = 255  # of two classes
    write_raster(mask, hot, nodata=0)
    refused(image, f"{mask}:read=one-hot", "hot.tif: 1 pixels have several bands")
    hot[1, 29, 39] = 0
    pairs = dataset.open_pairs(str(image), f"{write_raster(mask, hot, nodata=0)}:read=one-hot")
    codes = codes_of(pairs)
    assert (codes[:5] == images.NO_CODE).all() and codes[29, 39] == 3
    np.testing.assert_array_equal(codes[5:29], LAB[5:29] + 1)


@pytest.mark.parametrize("on", [1, 255])
def test_the_fourth_class_of_four_is_no_alpha_band(image, tmp_path, on):
    lab = np.repeat(np.repeat([[0, 1, 2, 3]], 10, axis=1), 30, axis=0)
    hot = np.stack([code == lab for code in range(4)]).astype(np.uint8) * on
    mask = write_raster(tmp_path / "hot.tif", hot)
    with rasterio.open(mask) as data:
        assert data.colorinterp[3] == ColorInterp.alpha
    pairs = dataset.scan(dataset.open_pairs(str(image), f"{mask}:read=one-hot", "1=a,2=b,3=c,4=d"))
    np.testing.assert_array_equal(codes_of(pairs), lab + 1)
    np.testing.assert_array_equal(codes_of(dataset.resample(pairs, 20.0)), (lab + 1)[::2, ::2])


@pytest.mark.parametrize(
    ("dtype", "nodata", "unknown"), [("uint8", 255, 255), ("float32", -1, -1), ("float32", None, np.nan)]
)
def test_no_data_in_a_band_is_not_its_class(image, tmp_path, dtype, nodata, unknown):
    hot = np.stack([code == LAB for code in range(3)]).astype(dtype)
    hot[0, :2], hot[1:, :2] = unknown, 0
    hot[1, 2] = unknown  # of the others there is one
    mask = write_raster(tmp_path / "hot.tif", hot, nodata=nodata)
    codes = codes_of(dataset.open_pairs(str(image), f"{mask}:read=one-hot"))
    assert (codes[:2] == images.NO_CODE).all()
    np.testing.assert_array_equal(codes[2], np.where(LAB[2] == 1, images.NO_CODE, LAB[2] + 1))
    np.testing.assert_array_equal(codes[3:], LAB[3:] + 1)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_what_a_mask_on_another_grid_does_not_reach_is_no_class(image, tmp_path, dtype):
    mask = write_raster(tmp_path / "mask.tif", LAB[:20, :30].astype(dtype), west=WEST + 100, north=NORTH - 100)
    codes = codes_of(dataset.open_pairs(str(image), str(mask)))
    assert (codes[:10] == images.NO_CODE).all() and (codes[:, :10] == images.NO_CODE).all()
    np.testing.assert_array_equal(codes[10:, 10:], LAB[:20, :30])


def test_a_nodata_value_counts_beside_a_mask_file(image, tmp_path):
    lab = LAB.copy()
    lab[0, :3] = 9
    mask = write_raster(tmp_path / "mask.tif", lab, nodata=9)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(mask, "r+") as data:
        data.write_mask(np.full(LAB.shape, 255, np.uint8))
    assert (codes_of(dataset.open_pairs(str(image), str(mask)))[0, :4] == (*[images.NO_CODE] * 3, 0)).all()


@pytest.mark.parametrize("nodata", [None, 2])
@pytest.mark.parametrize("told_by", ["mask", "alpha"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_a_mask_and_a_nodata_value_of_labels_both_count_on_any_grid(image, tmp_path, dtype, told_by, nodata):
    there = np.ones(LAB.shape, bool)
    there[:, 4:14] = False
    alpha = there.astype(np.uint8) * 255
    lab = LAB.astype(dtype)
    if told_by == "alpha":
        mask = write_raster(tmp_path / "mask.tif", np.stack([lab, alpha.astype(dtype)]), nodata=nodata)
        with rasterio.open(mask, "r+") as data:
            data.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    else:
        mask = write_raster(tmp_path / "mask.tif", lab, nodata=nodata)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(mask, "r+") as data:
            data.write_mask(alpha)
    truth = np.where(there & (nodata != LAB), LAB, images.NO_CODE)
    pairs = dataset.open_pairs(str(image), str(mask))
    np.testing.assert_array_equal(codes_of(pairs), truth)
    np.testing.assert_array_equal(codes_of(dataset.resample(pairs, 20.0)), truth[::2, ::2])


def test_a_band_called_alpha_that_is_taken_as_data_is_told(tmp_path):
    values = np.full((4, *LAB.shape), 255, np.uint8)
    values[3, 0] = 128  # feathered, or near infrared
    mask = write_raster(tmp_path / "mask.tif", LAB)
    image = write_raster(tmp_path / "image.tif", values)
    told = "image.tif (band 4): called alpha, but more than 0 and full is in it, so it masks nothing."
    assert dataset.open_pairs(str(image), str(mask)).notes == (told,)
    assert dataset.open_pairs(str(image), str(mask), bands="1,2").notes == ()
    values[3, 0] = 0
    pairs = dataset.open_pairs(str(write_raster(image, values)), str(mask))
    assert pairs.notes == () and len(pairs.images[0].channels) == 3


def test_a_truncated_mask_of_three_bands_is_named(image, tmp_path):
    mask = write_raster(tmp_path / "rgb.tif", np.random.default_rng(0).integers(0, 9, (3, 600, 600)).astype(np.uint8))
    mask.write_bytes(mask.read_bytes()[:50_000])
    refused(image, mask, "rgb.tif cannot be read: truncated or damaged", "Copy it again")


def test_other_bands_are_surplus(image, tmp_path):
    mask = write_raster(tmp_path / "two.tif", np.stack([LAB, LAB * 7]))
    refused(image, mask, "two.tif has 2 bands", "gdal_translate -b 1 two.tif")
    one = write_raster(tmp_path / "one.tif", LAB)
    refused(image, f"{one}:read=one-hot", "one.tif has one band")
    refused(image, f"{one}:layer=main", "layer: not an option of such a file")
    refused(image, f"{one}:buffer=2", ": buffer: not an option of such a file")
    refused(image, f"{one}:buffer=-1", "buffer=-1 is not known", "read=codes|rgb|one-hot")


def test_a_palette_is_a_raster_of_codes(image, tmp_path):
    with rasterio.open(write_raster(tmp_path / "palette.tif", LAB), "r+") as data:
        data.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(COLOURS)})
    np.testing.assert_array_equal(codes_of(dataset.open_pairs(str(image), str(tmp_path / "palette.tif"))), LAB)


# ---- codes


def test_nodata_that_is_a_class_is_refused(image, tmp_path):
    mask = write_raster(tmp_path / "mask.tif", LAB.clip(0, 1), nodata=0)
    refused(
        image, mask, "nodata value 0 is the code of class ground", "-unsetnodata mask.tif", classes="0=ground,1=house"
    )
    refused(image, mask, "all labels are of one class, class 1", "-unsetnodata mask.tif")
    black = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[LAB.clip(0, 1)].transpose(2, 0, 1)
    table = [TABLE[0] | {"colour": "#000000"}, TABLE[1]]
    rgb = write_raster(tmp_path / "rgb.tif", black, nodata=0)
    refused(image, f"{rgb}:read=rgb", "nodata value 0 is the colour of class a", classes=table)
    write_raster(mask, LAB, nodata=0)
    assert dataset.scan(dataset.open_pairs(str(image), str(mask), "0=ignore,1=b,2=c")).found[0]["codes"] == {
        1: 600,
        2: 300,
    }


@pytest.mark.parametrize(
    ("dtype", "nothing", "told"),
    [("uint32", 4294967295, None), ("int64", 2**32, None), ("float64", 1e12, None), ("uint32", 4294967295, 4294967295)],
)
def test_codes_that_no_class_may_have_are_refused_not_wrapped(image, tmp_path, dtype, nothing, told):
    values = LAB.astype(dtype)
    values[:5] = nothing
    mask = write_raster(tmp_path / "mask.tif", values, nodata=told)
    if told is None:
        refused(image, mask, f"mask.tif holds {nothing:.0f}", f"gdal_edit.py -a_nodata {nothing:.0f} mask.tif")
        return
    codes = codes_of(dataset.scan(dataset.open_pairs(str(image), str(mask))))
    assert (codes[:5] == images.NO_CODE).all()
    np.testing.assert_array_equal(codes[5:], LAB[5:])


# ---- without a place


@pytest.mark.parametrize("driver", ["PNG", "GTiff"])
def test_a_mask_that_does_not_say_where_it_lies_takes_the_images_grid(image, tmp_path, driver):
    mask = tmp_path / f"mask.{driver.lower()[-4:]}"
    with rasterio.open(mask, "w", driver=driver, width=40, height=30, count=1, dtype="uint8") as data:
        data.write(LAB, 1)
    pairs = dataset.open_pairs(str(image), str(mask), notes=("Mine.",))
    np.testing.assert_array_equal(codes_of(pairs), LAB)
    assert pairs.notes == ("Mine.", f"{mask.name} has no CRS: it was laid on image.tif, pixel by pixel (30 x 40 px).")
    half = codes_of(dataset.resample(dataset.open_pairs(str(image), str(mask)), 20.0))
    np.testing.assert_array_equal(half, LAB[::2, ::2])


def test_a_mask_of_another_size_or_another_transform_takes_no_grid(image, tmp_path):
    small = tmp_path / "small.png"
    with rasterio.open(small, "w", driver="PNG", width=39, height=30, count=1, dtype="uint8") as data:
        data.write(LAB[:, 1:], 1)
    refused(image, small, "small.png has no CRS and has 30 x 39 px", "image.tif (30 x 40 px)", "gdal_edit.py -a_srs")
    refused(
        image,
        write_raster(tmp_path / "far.tif", LAB, crs=None, west=WEST + 10),
        "far.tif has no CRS and lies elsewhere",
    )
    same = write_raster(tmp_path / "same.tif", LAB, crs=None)
    np.testing.assert_array_equal(codes_of(dataset.open_pairs(str(image), str(same))), LAB)
    other = write_raster(tmp_path / "other.tif", np.ones((2, *LAB.shape), np.uint8), west=WEST + 1000)
    refused(f"{image},{other}", same, "or on several images")


def test_a_pixel_of_a_hundred_thousandth_of_a_degree_is_a_pixel(tmp_path):
    grid = {"crs": "EPSG:4326", "west": 10.0, "north": 50.0, "pixel_m": 8e-6}  # degrees, a metre or so
    image = write_raster(tmp_path / "image.tif", np.ones(LAB.shape, np.uint8), **grid)
    same = write_raster(tmp_path / "same.tif", LAB, **grid | {"crs": None})
    np.testing.assert_array_equal(codes_of(dataset.open_pairs(str(image), str(same))), LAB)
    off = write_raster(tmp_path / "off.tif", LAB, **grid | {"crs": None, "west": 10.0 + 8e-6})
    refused(image, off, "off.tif has no CRS and lies elsewhere")


# ---- geometries


def frame_of(shapes, classes, crs=GRID["crs"]):
    return gpd.GeoDataFrame({"class": classes}, geometry=shapes, crs=crs)


def at(*corners):
    return [(WEST + 10 * x, NORTH - 10 * y) for x, y in corners]


SQUARE = shapely.Polygon(at((1, 1), (9, 1), (9, 9), (1, 9)))
BOWTIE = shapely.Polygon(at((12, 2.2), (20, 10.2), (20, 2.2), (12, 10.2)))
ROAD = shapely.LineString(at((2, 20.5), (38, 20.5)))


def test_null_empty_and_crossed_geometries_are_dealt_with_and_told(image, tmp_path):
    overlapping = shapely.MultiPolygon([shapely.box(*b) for b in ((WEST + 250, NORTH - 90, WEST + 310, NORTH - 30),
                                                                  (WEST + 290, NORTH - 90, WEST + 350, NORTH - 30))])  # fmt: skip
    frame = frame_of([SQUARE, BOWTIE, overlapping, None, shapely.Polygon()], [1, 2, 3, 1, 1])
    frame.to_file(tmp_path / "odd.gpkg")
    pairs = dataset.open_pairs(str(image), str(tmp_path / "odd.gpkg"))
    codes = codes_of(pairs)
    assert (codes == 1).sum() == 64
    y, x = np.indices(LAB.shape) + 0.5
    inside = (x > 12) & (x < 20) & (np.abs(y - 6.2) < np.abs(x - 16))  # two triangles
    np.testing.assert_array_equal(codes == 2, inside)
    assert (codes[3:9, 25:35] == 3).all() and (codes == 3).sum() == 60, "no hole where the parts overlap"
    assert pairs.notes == (
        "odd.gpkg: 2 polygons cross or overlap themselves, and were repaired.",
        "odd.gpkg: 2 of 5 geometries are null, empty or without area, and left out.",
    )


@pytest.mark.parametrize("ending", [".shp", ".shx", ".dbf"])
def test_a_shapefile_cut_short_is_refused_not_read_as_far_as_it_goes(image, tmp_path, ending):
    frame_of([SQUARE, BOWTIE], [1, 2]).to_file(tmp_path / "p.shp")
    assert {1, 2} < set(np.unique(codes_of(dataset.open_pairs(str(image), str(tmp_path / "p.shp")))))
    part = tmp_path / f"p{ending}"
    part.write_bytes(part.read_bytes()[:-5])
    refused(image, tmp_path / "p.shp", f"p{ending} is damaged or cut short", "Copy it again")


def test_edges_between_far_corners_are_curves_in_another_crs(image, tmp_path):
    west, south, east, north = (
        -82.0,
        35.5,
        -80.0,
        36.1439,
    )  # around UTM's middle, 81 degrees: a parallel through the image
    frame_of([shapely.box(west, south, east, north)], [1], "EPSG:4326").to_file(tmp_path / "p.gpkg")
    pairs = dataset.open_pairs(str(image), str(tmp_path / "p.gpkg"))
    x, y = np.meshgrid(WEST + 10 * np.arange(40) + 5, NORTH - 10 * np.arange(30) - 5)
    _, lat = Transformer.from_crs(GRID["crs"], "EPSG:4326", always_xy=True).transform(x, y)
    truth = np.where(lat > north, images.NO_CODE, 1)
    assert 0 < (truth == images.NO_CODE).sum() < truth.size
    np.testing.assert_array_equal(codes_of(pairs), truth)


@pytest.mark.parametrize("west", [-180, 0])
def test_a_polygon_of_the_whole_world_covers_an_image_and_what_came_before_it(image, tmp_path, west):
    box = shapely.box(-81.5, 35.5, -80.5, 36.5)
    frame_of([box, shapely.box(west, -90, west + 360, 90)], [1, 2], "EPSG:4326").to_file(tmp_path / "p.gpkg")
    assert (codes_of(dataset.open_pairs(str(image), str(tmp_path / "p.gpkg"))) == 2).all()
    frame_of([shapely.box(west, -90, west + 360, 90), box], [1, 2], "EPSG:4326").to_file(tmp_path / "q.gpkg")
    assert (codes_of(dataset.open_pairs(str(image), str(tmp_path / "q.gpkg"))) == 2).all()


def test_a_polygon_of_the_whole_world_covers_an_image_across_the_date_line(tmp_path):
    west = Transformer.from_crs("EPSG:4326", "EPSG:32601", always_xy=True).transform(-180, 10)[0] - 200
    image = write_raster(
        tmp_path / "image.tif", np.ones(LAB.shape, np.uint8), crs="EPSG:32601", west=west, north=1_106_000
    )
    frame_of([shapely.box(-180, -90, 180, 90)], [1], "EPSG:4326").to_file(tmp_path / "p.gpkg")
    assert (
        codes_of(dataset.open_pairs(str(image), str(tmp_path / "p.gpkg"))) == 1
    ).mean() > 0.97  # but for the line itself


def test_polygons_without_coordinates_on_an_image_are_refused(tmp_path):
    image = write_raster(tmp_path / "image.tif", np.ones(LAB.shape, np.uint8), west=-2e7, north=1.5e7, pixel_m=1e6)
    frame_of([shapely.box(-180, -90, 180, 90), shapely.box(-81, 35, -80, 36)], [1, 2], "EPSG:4326").to_file(
        tmp_path / "p.gpkg"
    )
    with pytest.raises(
        ValueError, match=r"p\.gpkg: 1 polygons have no coordinates in the CRS of an image.*ogr2ogr -clipsrc"
    ):
        masks.open_codes(masks.Mask(tmp_path / "p.gpkg"), *images.open_image(image).grid, None, ExitStack())


def test_a_polygon_that_collapses_is_left_out_not_repaired(image, tmp_path):
    flat = shapely.Polygon(at((1, 20), (9, 20), (1, 20)))
    frame_of([SQUARE, flat], [1, 2]).to_file(tmp_path / "one.gpkg")
    pairs = dataset.open_pairs(str(image), str(tmp_path / "one.gpkg"))
    assert pairs.notes == ("one.gpkg: 1 of 2 geometries are null, empty or without area, and left out.",)
    frame_of([flat], [1]).to_file(tmp_path / "none.gpkg")
    refused(image, tmp_path / "none.gpkg", "none.gpkg holds no polygons: none of its 1 geometries covers any ground")


def test_lines_and_points_need_a_width(image, tmp_path):
    point = shapely.Point(*at((30, 5))[0])
    frame_of([ROAD, point, SQUARE], ["road", "tree", "house"]).to_file(tmp_path / "roads.geojson", driver="GeoJSON")
    lonlat = frame_of([ROAD, point, SQUARE], ["road", "tree", "house"]).to_crs("EPSG:4326")
    lonlat.to_file(tmp_path / "lonlat.gpkg")
    for name in ("roads.geojson", "lonlat.gpkg"):
        refused(
            image,
            tmp_path / name,
            f"{name}: 2 of 3 geometries cover no ground (LineString, Point)",
            f"{name}:buffer=2.5",
        )
        pairs = dataset.open_pairs(str(image), f"{tmp_path / name}:buffer=15")
        codes, number = codes_of(pairs), {c["name"]: c["code"] for c in pairs.classes}
        road = codes == number["road"]
        assert road[19:22, 2:38].all() and road[:, 10].sum() == 3, "15 m to each side of a pixel centre"
        assert (codes == number["tree"]).sum() == 4 and abs((codes == number["house"]).sum() - 64) <= 2
        assert pairs.notes == (f"{name}: 2 lines or points became areas, 15 m to each side.",)


@pytest.mark.parametrize(
    ("crs", "start", "end"),
    [
        ("EPSG:3857", (10.0, 60.0), (10.001, 60.0)),  # whose metres are half as long there
        ("EPSG:4326", (10.0, -85.0), (10.01, -85.0)),  # beyond UTM
        ("EPSG:2264", (-78.6, 35.7), (-78.601, 35.7)),  # in feet
    ],
)
def test_a_width_is_in_metres_on_the_ground(tmp_path, crs, start, end):
    line = gpd.GeoSeries([shapely.LineString([start, end])], crs="EPSG:4326").to_crs(crs)
    frame_of(line.to_list(), [1], crs=crs).to_file(tmp_path / "road.gpkg")
    area = masks.read_polygons(masks.Mask(tmp_path / "road.gpkg", buffer_m=5.0)).to_crs("EPSG:4326").geometry[0]
    geod = Geod(ellps="WGS84")
    length = geod.inv(*start, *end)[2]
    assert abs(geod.geometry_area_perimeter(area)[0]) == pytest.approx(10 * length + np.pi * 25, rel=0.01)


def test_no_width_is_in_metres_across_a_continent(image, tmp_path):
    frame_of([shapely.Point(0, 0), shapely.Point(60, 0)], [1, 2], crs="EPSG:4326").to_file(tmp_path / "wide.gpkg")
    refused(
        image, f"{tmp_path}/wide.gpkg:buffer=2", "wide.gpkg: its lines and points lie up to 3,340 km from their centre"
    )


def test_an_option_given_twice_is_refused(image, tmp_path):
    frame_of([ROAD], [1]).to_file(tmp_path / "roads.gpkg")
    refused(image, f"{tmp_path}/roads.gpkg:buffer=5,buffer=6", "roads.gpkg:buffer=5,buffer=6: an option is given twice")


def test_a_file_of_several_layers_needs_one_named(image, tmp_path):
    frame_of([SQUARE, BOWTIE], [1, 2]).to_file(tmp_path / "two.gpkg", layer="old")
    frame_of([SQUARE, BOWTIE], [5, 6]).to_file(tmp_path / "two.gpkg", layer="landuse")
    refused(
        image, tmp_path / "two.gpkg", "two.gpkg has several layers: old, landuse", "two.gpkg:column=class,layer=old"
    )
    refused(image, f"{tmp_path}/two.gpkg:layer=new", "two.gpkg has no layer 'new': old, landuse")
    assert set(np.unique(codes_of(dataset.open_pairs(str(image), f"{tmp_path}/two.gpkg:layer=landuse")))) == {
        images.NO_CODE, 5, 6,
    }  # fmt: skip


def test_tables_are_no_layers(image, tmp_path):
    pyogrio.write_dataframe(pd.DataFrame({"class": [1]}), tmp_path / "tab.gpkg", layer="tab")
    refused(image, f"{tmp_path}/tab.gpkg:layer=tab", "tab.gpkg has no layer with geometries (tab)")


def test_names_are_read_without_the_blanks_around_them(image, tmp_path):
    frame_of([SQUARE, BOWTIE], ["water ", "water"]).to_file(tmp_path / "names.gpkg")
    assert [c["name"] for c in dataset.open_pairs(str(image), str(tmp_path / "names.gpkg")).classes] == ["water"]
    frame_of([SQUARE, BOWTIE, ROAD], ["water", " ", ""]).to_file(tmp_path / "blank.gpkg")
    refused(image, tmp_path / "blank.gpkg", "blank.gpkg: 2 polygons have no class. Fill or delete them")


def test_between_polygons_nothing_is_known_unless_the_table_that_was_given_says_it(image, tmp_path):
    other = shapely.box(WEST + 200, NORTH - 200, WEST + 300, NORTH - 100)
    frame_of([SQUARE, other], [0, 1]).to_file(tmp_path / "p.gpkg")
    mask = str(tmp_path / "p.gpkg")
    untold = dataset.open_pairs(str(image), mask)
    assert untold.notes == (
        "p.gpkg: between the polygons nothing is known; `classes` with a name for code 0 would make it that.",
    )
    told = dataset.open_pairs(str(image), mask, "0=ground,1=house")
    assert told.notes == ("p.gpkg: between the polygons lies class ground (code 0).",)
    for pairs, ground in ((untold, 64), (told, LAB.size - 100)):
        scanned = dataset.scan(pairs)
        assert scanned.found[0]["codes"] == {0: ground, 1: 100}
        write_arrays(pairs, tmp_path / f"{ground}.zarr")
        written = zarr.open_group(tmp_path / f"{ground}.zarr", mode="r")["image"]["targets"][:]
        for targets in (written, masks.to_xarray(*next(iter(scanned)), scanned.classes).targets.to_numpy()):
            assert ((targets == 0).sum(), (targets == 1).sum()) == (ground, 100)


def test_classes_of_polygons_beyond_what_a_class_may_have(image, tmp_path):
    frame_of([SQUARE, BOWTIE], [1, 2**32 + 1]).to_file(tmp_path / "wide.gpkg")
    refused(image, tmp_path / "wide.gpkg", "4294967297 is no class code", "column class")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1.5])
def test_classes_of_polygons_are_whole_numbers(image, tmp_path, value):
    frame_of([SQUARE, BOWTIE], [1.0, value]).to_file(tmp_path / "odd.gpkg")
    refused(image, tmp_path / "odd.gpkg", f"odd.gpkg: column class holds {value:g}, and class codes are whole numbers")


def test_polygons_of_a_local_system(image, tmp_path):
    site = CRS.from_wkt('LOCAL_CS["building site",UNIT["metre",1]]').to_wkt()
    frame_of([SQUARE], [1], crs=site).to_file(tmp_path / "site.gpkg")
    refused(image, tmp_path / "site.gpkg", "site.gpkg has a local CRS")
