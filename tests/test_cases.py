"""Files as other people make them, case by case (../shared/cases): the right value, number by number, or a fault with its cure.

Each kind has its own test beside the code that reads it; these are the very inputs that once gave a wrong answer without a word.
"""

import json
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rasterio.features import rasterize

from geonb.workloads.clouds import dataset as clouds
from geonb.workloads.clouds import netcdf
from geonb.workloads.conflict import covariates, priogrid
from geonb.workloads.conflict import dataset as conflict
from geonb.workloads.segmentation import dataset as segmentation
from geonb.workloads.segmentation import store as segmentation_store

CASES = Path(__file__).parents[2] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="odd inputs after public reports are not there (../shared)")
NONE = -1  # no label, in what `labels` gives


@pytest.fixture
def case(tmp_path, monkeypatch):
    """Case by its number -> folder with its files; a project of its own around them."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))

    def make(number: str) -> Path:
        (script,) = CASES.glob(f"{number}_*.py")
        subprocess.run([sys.executable, script, tmp_path / number], check=True)
        return tmp_path / number

    return make


def samples(images, masks, **options):
    pairs = segmentation.open_pairs(str(images), str(masks), simulated=True, **options)
    return segmentation_store.write_store(pairs, patch=16, stride=16, block=32)


def labels(store):
    """Class codes (y, x) as the store holds them."""
    codes = np.array([c["code"] for c in store.classes] + [NONE] * (256 - len(store.classes)))
    return codes[store.arrays[store.sources[0]]["targets"].to_numpy()]


def raster(path):
    with rasterio.open(path) as opened:
        return opened.read()


def refused(what, *words):
    with pytest.raises(ValueError) as told:
        what()
    assert all(word in str(told.value) for word in words), told.value


# ---- segmentation
def test_a_mask_whose_nodata_is_a_class(case):
    folder = case("01")
    image, mask = folder / "image.tif", folder / "mask.tif"
    refused(lambda: samples(image, mask), "mask.tif", "all labels are of one class", "-unsetnodata")
    refused(lambda: samples(image, mask, classes="0=background,1=building"), "nodata value 0", "-unsetnodata")
    with rasterio.open(mask, "r+") as opened:  # the cure
        opened.nodata = None
    assert (labels(samples(image, mask)) == raster(mask)[0]).all()


def test_a_mask_of_colours(case):
    folder = case("02")
    image, expected = folder / "image.tif", np.load(folder / "lab.npy")
    refused(lambda: samples(image, folder / "mask_rgb.tif"), "3 bands", ":read=rgb", "colour")
    refused(lambda: samples(image, folder / "mask_onehot.tif"), "3 bands", ":read=one-hot")
    assert (labels(samples(image, folder / "mask_palette.tif")) == expected).all()
    assert (labels(samples(image, f"{folder}/mask_onehot.tif:read=one-hot")) == expected + 1).all()
    table = folder / "classes.csv"
    table.write_text("code,name,colour\n0,impervious,#ffffff\n1,building,#ff0000\n2,tree,#00ff00\n")
    read = samples(image, f"{folder}/mask_rgb.tif:read=rgb", classes=str(table))
    assert (labels(read) == expected).all()


@pytest.mark.parametrize(
    "name", ["exact", "short", "old_gdal", "arcgis", "beyond", "decimal", "worldclim", "seaice"]
)  # as GDAL reads each spelling
def test_the_lowest_float_as_nodata_however_it_is_spelled(case, name):
    folder = case("04")
    store = samples(folder / f"{name}.tif", folder / "mask.tif")
    data, values = store.arrays[store.sources[0]], raster(folder / f"{name}.tif")[0]
    assert (data["valid"].to_numpy() == (np.indices((128, 128))[0] >= 32)).all()
    assert (data["inputs"].to_numpy()[0, 32:] == values[32:]).all()
    assert 90 < store.meta["statistics"]["mean"][0] < 150, "of the training blocks"


def test_polygons_of_odd_geometry(case):
    folder = case("06")
    image = folder / "image.tif"
    with rasterio.open(image) as opened:
        grid = {"out_shape": opened.shape, "transform": opened.transform, "fill": NONE, "dtype": "int32"}
    shapes = gpd.read_file(folder / "labels.shp").dropna(subset="geometry")
    expected = rasterize(zip(shapes.make_valid(), shapes["class"].astype(int), strict=True), **grid)
    for name in ("labels.shp", "text.gpkg"):
        store = samples(image, folder / name)
        assert (labels(store) == expected).all()
        assert "repaired" in store.meta["notes"][0] and "1 of 4 geometries are null" in store.meta["notes"][1]
    refused(lambda: samples(image, folder / "two.gpkg"), "buildings_old, landuse", "layer=")
    refused(lambda: samples(image, folder / "nan.gpkg"), "1 polygons have no class")
    refused(lambda: samples(image, folder / "lines.geojson"), "cover no ground", ":buffer=")
    lines = gpd.read_file(folder / "lines.geojson").set_crs(32633, allow_override=True)
    wide = labels(samples(image, f"{folder}/lines.geojson:buffer=2.3"))
    expected = rasterize(((area, 1) for area in lines.buffer(2.3)), **grid | {"fill": 0})
    assert abs((wide != NONE).sum() - expected.sum()) <= 0.03 * expected.sum()  # 0.04 % of UTM, and corners of discs


@pytest.mark.parametrize(("image", "part"), [("mosaic.vrt", "tile1.tif"), ("masked.tif", "masked.tif.msk")])
def test_what_is_read_counts_not_only_what_is_named(case, image, part):
    folder = case("08")
    first = samples(folder / image, folder / "mask.tif")
    with rasterio.open(folder / part, "r+") as opened:
        opened.write(np.where(np.indices(opened.shape)[0] < 40, 0, opened.read()).astype("uint8"))
    second = samples(folder / image, folder / "mask.tif")
    assert first.path != second.path
    held, valid = (second.arrays[second.sources[0]][name].to_numpy() for name in ("inputs", "valid"))
    with rasterio.open(folder / image) as opened:
        assert (valid == (opened.dataset_mask() > 0)).all() and (held[0][valid] == opened.read(1)[valid]).all()


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_a_mask_that_does_not_say_where_it_lies(case, name):
    folder = case("09")
    store = samples(folder / "image.tif", folder / name)
    assert (labels(store) == raster(folder / name)[0]).all()
    assert "has no CRS: it was laid on image.tif, pixel by pixel (128 x 128 px)" in store.meta["notes"][0]


def test_zeros_that_no_header_calls_nodata_are_counted(case):
    folder = case("10")
    zero = (raster(folder / "plain.tif") == 0).all(axis=0)
    plain, tagged = (samples(folder / f"{name}.tif", folder / "mask.tif") for name in ("plain", "tagged"))
    assert f"({zero.sum():,}, " in plain.meta["notes"][0] and "-a_nodata 0" in plain.meta["notes"][0]
    assert (tagged.arrays[tagged.sources[0]]["valid"].to_numpy() == ~zero).all() and not tagged.meta["notes"]


def test_odd_names_and_wide_codes(case):
    folder = case("12")
    for name in ("scene [1] 2020.tif", "field, north.tif", "größe 5%.tif"):
        assert (labels(samples(folder / name, folder / "mask.tif")) == raster(folder / "mask.tif")[0]).all()
    image = folder / "scene [1] 2020.tif"
    refused(lambda: samples(image, folder / "mask_u32.tif"), "4294967295", "-a_nodata")
    refused(lambda: samples(image, folder / "mask_i64.tif"), "4294967296", "-a_nodata")
    tagged = labels(samples(image, folder / "mask_u32_tagged.tif"))
    assert (tagged[20:] == raster(folder / "mask.tif")[0, 20:]).all() and (tagged[:20] == NONE).all()


# ---- clouds
def test_coordinates_of_two_dimensions_are_no_channels(case):
    folder = case("20")
    found = clouds.open_scenes(f"{folder}/*.nc")
    assert [c["name"] for c in found.channels] == ["IR_108"] and "latitude, longitude" in found.notes[0]
    (series,) = found.series
    assert list(series.times) == list(pd.to_datetime(["2021-06-01 12:00", "2021-06-02 12:00", "2021-06-03 12:00"]))
    for i, file in enumerate(sorted(folder.glob("*.nc"))):
        with xr.open_dataset(file, engine="h5netcdf") as data:
            assert (series.read(i)[0][0] == data["IR_108"].to_numpy()).all()


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("cdo", None), ("yyyymmddhh", None), ("epoch_s", "seconds since 1970-01-01"), ("epoch_s_units", "seconds since 1970-01-01"),
        ("epoch_ns", "nanoseconds since 1970-01-01"), ("hours_bare", "hours since 1970-01-01"),
    ],
)  # fmt: skip
def test_times_without_since(case, name, time):
    file = case("21") / f"{name}.nc"
    if time:
        found = clouds.open_scenes(str(file))
        assert pd.isna(found.series[0].times).all() and ":time=" in found.notes[0]
    (series,) = clouds.open_scenes(f"{file}:time={time}" if time else str(file)).series
    assert list(series.times) == list(pd.to_datetime(["2020-04-01 12:00", "2020-04-05 12:00", "2020-04-09 18:00"]))


@pytest.mark.parametrize(
    "name",
    ["missing_999.9_double", "fill_1e20_double", "fill_same_type", "default_fill", "int16_float_fill", "fill_as_text",
     "valid_range_double"],
)  # fmt: skip
def test_fills_of_another_type(case, name):
    folder = case("22")
    (frame,) = netcdf.open_netcdf(folder / f"{name}_2020-04-01T1200.nc", {})
    inputs, valid = frame.layers[0].load(slice(0, 100), slice(0, 100))
    with xr.open_dataset(folder / "fill_same_type_2020-04-01T1200.nc", engine="h5netcdf") as data:
        expected = data["tb"].to_numpy()
    known = np.isfinite(expected)
    if "int16" in name:  # a few packed values are by chance the fill
        known &= np.round((expected - 273.15) * 100) != -999
    assert (valid == known).all()
    np.testing.assert_allclose(inputs[0][valid], expected[valid], atol=0.0051 if "int16" in name else 0)


@pytest.mark.parametrize("name", ["days", "seconds"])
def test_times_that_are_no_whole_milliseconds(case, name):
    (series,) = clouds.open_scenes(str(case("26") / f"{name}.nc")).series
    expected = pd.date_range("2020-04-01T00:10:20", periods=24, freq="30min")
    assert abs(pd.DatetimeIndex(series.times) - expected).max() < pd.Timedelta("1ms")


# ---- conflict
def test_tables_as_r_and_spreadsheets_write_them(case):
    folder, counted = case("30"), ["month", "gid", "type", "best", "high", "low"]
    plain = conflict.open_events(str(folder / "plain.csv"))
    told = pd.read_csv(folder / "plain.csv")
    assert (plain["gid"].to_numpy() == told["priogrid_gid"]).all() and plain["best"].sum() == told["best"].sum()
    for file in sorted(folder.glob("*.csv")):
        if not file.name.startswith("priogrid_"):
            found = conflict.open_events(str(file))
            same = [name for name in counted if name in plain]
            pd.testing.assert_frame_equal(found[same], plain[same])


def test_covariates_as_r_and_spreadsheets_write_them(case):
    folder = case("30")
    told = pd.read_csv(folder / "priogrid_plain.csv")
    region = priogrid.select_region("box:0,0,20,20")
    years = list(range(2005, 2012))
    read = {
        name: covariates.read_covariates(folder / f"priogrid_{name}.csv", ["nlights_mean"], region, years)[
            "nlights_mean"
        ]
        for name in ("plain", "write_table", "semicolon")
    }
    for values in read.values():
        xr.testing.assert_allclose(values, read["plain"], rtol=1e-6)
    assert float(read["plain"].sum()) == pytest.approx(told["nlights_mean"].sum(), rel=1e-5)
    refused(lambda: covariates.list_columns(folder / "priogrid_v3.csv"), "priogrid_v3.csv", "pgid")


@pytest.mark.parametrize("name", ["ged_postgis", "ged_postgis_latlon"])
def test_a_serial_number_called_gid_is_no_cell(case, name):
    file = case("31") / f"{name}.geojson"
    events = conflict.open_events(str(file))
    lon, lat = np.array([f["geometry"]["coordinates"] for f in json.loads(file.read_text())["features"]]).T
    rows, columns = np.floor((lat + 90) / 0.5), np.floor((lon + 180) / 0.5)
    assert (events["gid"].to_numpy() == rows * 720 + columns + 1).all(), "the rule of PRIO-GRID"


def test_covariates_of_another_region(case):
    folder, plain = case("34"), case("30") / "plain.csv"
    (static,) = folder.glob("*.csv")
    events = conflict.open_events(str(plain))
    refused(
        lambda: conflict.write_conflict_store(events, covariates=str(static), channels="event,ttime_mean"),
        "ttime_mean",
    )


def test_releases_that_overlap(case):
    folder = case("35")
    final, candidate = folder / "GEDEvent_v12_1.csv", folder / "GEDEvent_v12_0_3.csv"
    refused(lambda: conflict.open_events(f"{final},{candidate}"), "overlap", "15", "overlap=first")
    events = conflict.open_events(f"{final},{candidate}", faults="raise:overlap=first")
    told, later = pd.read_csv(final), pd.read_csv(candidate)
    expected = told["best"].sum() + later.loc[later["date_start"] >= "2012", "best"].sum()
    assert events["best"].sum() == expected and len(events) == 375
