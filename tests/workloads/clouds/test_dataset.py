import json
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from scene_files import textured, write_cf
from scenes import write_raster

from geonb.workloads.clouds import channels, dataset, files, frames
from geonb.workloads.clouds.dataset import open_scenes

DAY = pd.Timestamp("2020-04-01 12:00")


@pytest.fixture
def good(tmp_path):
    """Three scenes, an hour apart, in a folder."""
    for i in range(3):
        write_cf(tmp_path / f"good_{i}.nc", textured((40, 48), i).astype(np.uint8), DAY + pd.Timedelta(hours=i))
    return tmp_path


def test_scenes_of_one_grid_are_a_series_in_order_of_time(good):
    found = open_scenes(str(good), patch=16)
    (series,) = found.series
    assert series.name == "good" and len(found) == len(series) == 3
    assert list(series.times) == [DAY, DAY + pd.Timedelta(hours=1), DAY + pd.Timedelta(hours=2)]
    assert series.labels == ("2020-04-01 12:00", "2020-04-01 13:00", "2020-04-01 14:00")
    assert [f[0].name for f in series.files] == ["good_0.nc", "good_1.nc", "good_2.nc"]
    assert found.left_out == () and found.notes == () and not found.simulated
    for i in range(3):
        inputs, valid = series.read(i)
        assert (
            (inputs[0] == textured((40, 48), i)).all() and valid.all() and inputs.dtype.name == series.dtype == "uint8"
        )


def test_folders_globs_and_lists_name_the_same(good, monkeypatch):
    whole = open_scenes(str(good), patch=16).files
    assert open_scenes(f"{good}/good_*.nc", patch=16).files == whole
    assert open_scenes(f"{good}/good_2.nc, {good}/good_[01].nc", patch=16).files == whole
    monkeypatch.chdir(good)
    assert len(open_scenes("good_0.nc,good_1.nc", patch=16)) == 2
    with pytest.raises(ValueError, match=r"no file is at none.nc \(looked from .*\n.*no file is at no\*.tif"):
        open_scenes("good_0.nc,none.nc,no*.tif", patch=16)


def test_unsorted_scenes_are_sorted_and_that_is_said(tmp_path):
    hours = [5, 1, 3]
    values = np.stack([textured((20, 24), h) for h in hours]).astype(np.uint8)
    write_cf(tmp_path / "a.nc", values, [DAY + pd.Timedelta(hours=h) for h in hours])
    found = open_scenes(str(tmp_path / "a.nc"), patch=8)
    assert [t.hour for t in found.series[0].times] == [13, 15, 17] and "sorted" in found.notes[0]
    for i, h in enumerate(sorted(hours)):
        assert (found.series[0].read(i)[0][0] == textured((20, 24), h)).all()


def test_scenes_without_a_time_stand_last_in_order_of_their_names(tmp_path):
    for name in ("b", "a", "at_2020-04-01T12:00"):
        write_raster(tmp_path / f"{name}.tif", textured((20, 24), len(name)).astype(np.uint8))
    found = open_scenes(str(tmp_path), patch=8)
    assert found.series[0].labels == ("2020-04-01 12:00", "a", "b")
    assert list(found.series[0].times.isna()) == [False, True, True]
    assert any("2 scenes have no time" in n for n in found.notes) and any(
        "names of the files" in n for n in found.notes
    )


def test_a_second_scene_of_the_same_time_and_place_is_left_out(good):
    write_cf(good / "twice.nc", textured((40, 48), 9).astype(np.uint8), DAY)
    found = open_scenes(str(good), patch=16)
    assert (
        len(found) == 3 and "twice.nc: " in found.left_out[0] and "good_0.nc is of the same time" in found.left_out[0]
    )
    assert good / "twice.nc" not in found.files


def test_scenes_on_other_grids_are_other_series(good):
    write_cf(good / "good_east.nc", textured((40, 48), 9).astype(np.uint8), DAY, west=600_000.0)
    write_cf(good / "good_small.nc", textured((30, 48), 9).astype(np.uint8), DAY)
    found = open_scenes(str(good), patch=16)
    assert [len(s) for s in found.series] == [3, 1, 1]
    assert len({s.name for s in found.series}) == 3 and found.name == "good-and-2-more"
    one = open_scenes(str(good), patch=16, region="box:-63,14.2,-62.7,14.4", pixel_m=1500)
    assert {s.shape for s in one.series} == {one.series[0].shape} and len(one.series) == 1, "one place, one grid"


def bad_files(folder):
    """A folder with every kind of unfit scene among three good ones: file -> what must be said of it."""
    rng = np.random.default_rng(0)
    shape, hour = (40, 48), DAY + pd.Timedelta(hours=9)
    whole = (folder / "good_0.nc").read_bytes()
    (folder / "cut.nc").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.nc").write_bytes(b"")
    (folder / "text.tif").write_text("no raster")
    Image.fromarray(textured(shape).astype(np.uint8)).save(folder / "plain.png")
    write_cf(folder / "night.nc", rng.integers(60, 62, shape).astype(np.uint8), hour)
    write_cf(folder / "flat.nc", np.full(shape, 7, np.uint8), hour)
    write_cf(folder / "nodata.nc", np.zeros(shape, np.uint8), hour, _FillValue=np.uint8(0))
    half = textured(shape).astype(np.uint8)
    half[:25] = 0
    write_cf(folder / "half.nc", half, hour, _FillValue=np.uint8(0))
    write_cf(folder / "small.nc", textured((15, 48)).astype(np.uint8), hour)
    write_cf(folder / "other.nc", textured(shape).astype(np.float32), hour)
    write_raster(folder / "bands.tif", np.stack([textured(shape)] * 2).astype(np.uint8))
    return {
        "cut.nc": "cut short", "empty.nc": "cannot be opened", "text.tif": "no NetCDF, Zarr or raster",
        "plain.png": "no georeference", "night.nc": "nothing to see", "flat.nc": "all valid pixels are alike",
        "nodata.nc": "none of its pixels is valid", "half.nc": "38% of its pixels are valid; min_valid is 50%",
        "small.nc": "15 x 48 px are smaller than a tile of 16 px",
        "other.nc": "it has vis (float32), but {good} has vis (uint8)", "bands.tif": "it has band 1, band 2 (uint8), but",
    }  # fmt: skip


def test_what_is_unfit_is_left_out_and_listed_with_its_reason(good):
    expected = bad_files(good)
    found = open_scenes(str(good), patch=16)
    assert [f.name for f in found.files] == ["good_0.nc", "good_1.nc", "good_2.nc"]
    assert len(found.left_out) == len(expected)
    for name, says in expected.items():
        (line,) = [t for t in found.left_out if t.startswith(f"{good / name}")]
        assert says.format(good=good / "good_0.nc") in line, line
        assert line.count(str(good / name)) == 1, line


def test_raise_tells_of_all_at_once_and_nothing_left_is_an_error(good):
    expected = bad_files(good)
    with pytest.raises(ValueError, match="Scenes are not right in") as error:
        open_scenes(str(good), patch=16, faults="raise")
    assert all(str(good / name) in str(error.value) for name in expected)
    with pytest.raises(ValueError, match=r"No scene remains of(.|\n)*cut.nc: (.|\n)*flat.nc: "):
        open_scenes(f"{good}/cut.nc,{good}/flat.nc", patch=16)


def test_scenes_of_a_file_with_one_fault_share_a_line(good):
    times = [DAY + pd.Timedelta(minutes=m) for m in range(50)]
    write_cf(good / "many.nc", textured((50, 12, 48)).astype(np.uint8), times)
    (line,) = open_scenes(str(good), patch=16).left_out
    assert line.startswith(f"{good / 'many.nc'} (50 scenes, 2020-04-01 12:00 to 2020-04-01 12:49): its 12 x 48 px")


def test_damage_inside_of_a_file_is_found_before_it_matters(tmp_path):
    values = textured((3, 200, 200)).astype(np.uint8)
    write_cf(tmp_path / "a.nc", values, [DAY + pd.Timedelta(hours=h) for h in range(3)])
    write_raster(tmp_path / "b.tif", values[0], compress="deflate")
    Image.fromarray(values[0]).save(tmp_path / "c.jpg", quality=95)
    for name in ("b.tif", "c.jpg"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    found = open_scenes(str(tmp_path), bounds="-60,10,-50,20")
    assert [f.name for f in found.files] == ["a.nc"]
    assert [t.split(": ")[0] for t in found.left_out] == [str(tmp_path / "b.tif"), str(tmp_path / "c.jpg")]


def test_night_is_told_even_where_most_scenes_are_of_the_night(tmp_path):
    rng = np.random.default_rng(0)
    for hour in range(10):
        values = textured((20, 24), hour) if hour < 3 else rng.integers(10, 12, (20, 24))
        write_cf(tmp_path / f"{hour}.nc", values.astype(np.uint8), DAY + pd.Timedelta(hours=hour))
    found = open_scenes(str(tmp_path), patch=8)
    assert [f.name for f in found.files] == ["0.nc", "1.nc", "2.nc"] and len(found.left_out) == 7


def test_plain_images_lie_where_the_bounds_put_them(tmp_path):
    lon, lat = np.meshgrid(np.linspace(-59.95, -50.05, 100), np.linspace(19.95, 10.05, 100))
    colours = np.stack([(lon + 60) * 20, (lat - 10) * 20, (lon + lat + 60) * 3], axis=-1).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "a_2020-04-01.png")
    found = open_scenes(str(tmp_path / "a_2020-04-01.png"), bounds="-60,10,-50,20", patch=32)
    (series,) = found.series
    assert series.channels == ("red", "green", "blue") and series.crs.linear_units == "metre"
    assert [str(t) for t in series.times] == ["2020-04-01 00:00:00"]
    data = dataset.to_xarray(series, 0)
    there = np.meshgrid(data.x, data.y)
    lon, lat = pyproj.Transformer.from_crs(series.crs, "OGC:CRS84", always_xy=True).transform(*there)
    valid = data.valid.values
    assert np.abs(data.inputs[0].values - (lon + 60) * 20)[valid].max() < 2.5
    assert np.abs(data.inputs[1].values - (lat - 10) * 20)[valid].max() < 2.5


def test_a_world_file_says_where_an_image_lies(tmp_path):
    Image.fromarray(textured((50, 60)).astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("0.1\n0\n0\n-0.1\n-59.95\n19.95\n")
    found = open_scenes(str(tmp_path / "a.png"), patch=32)
    assert found.files == [tmp_path / "a.pgw", tmp_path / "a.png"], "what moves it is a part of it"
    series = found.series[0]
    lonlat = pyproj.Transformer.from_crs(series.crs, "OGC:CRS84", always_xy=True).transform(0, 0)
    assert lonlat == pytest.approx((-57, 17.5), abs=1e-3)


def test_a_palette_is_no_colour(tmp_path):
    Image.fromarray(textured((50, 60)).astype(np.uint8)).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "a.png"
    )
    with pytest.raises(ValueError, match="numbers of a palette"):
        open_scenes(str(tmp_path / "a.png"), bounds="-60,10,-50,20", patch=8)


def test_geotiffs_keep_their_grid_nodata_and_names(tmp_path):
    values = np.stack([textured((40, 48), i) for i in range(3)]).astype(np.uint16)
    values[1, 5, 6] = 0
    with rasterio.open(
        tmp_path / "s_20200401_1230.tif", "w", driver="GTiff", width=48, height=40, count=3, dtype="uint16", nodata=0,
        crs="EPSG:32620", transform=from_origin(500_000, 1_600_000, 1000, 1000),
    ) as file:  # fmt: skip
        file.write(values)
        for i, name in enumerate(("blue", "green", "nir")):
            file.set_band_description(i + 1, name)
    series = open_scenes(str(tmp_path), patch=16).series[0]
    inputs, valid = series.read(0)
    assert series.channels == ("blue", "green", "nir") and str(series.times[0]) == "2020-04-01 12:30:00"
    assert not valid[5, 6] and valid.sum() == valid.size - 1 and (inputs[:, 5, 6] == 0).all()
    assert (inputs[:, valid] == values[:, valid]).all() and tuple(series.transform)[:6] == (
        1000,
        0,
        5e5,
        0,
        -1000,
        1.6e6,
    )
    picked = open_scenes(str(tmp_path), patch=16, channels="nir,blue").series[0]
    assert picked.channels == ("nir", "blue") and (picked.read(0)[0][:, 0, 0] == values[[2, 0], 0, 0]).all()
    assert picked.read(0)[1].all(), "the band with nodata was not asked for"


FUNCTIONS = """
import numpy as np
import xarray as xr


def contrast(scene):
    made = xr.concat([scene.vis - scene.vis.mean(), 2 * scene.vis], dim="channel")
    return made.assign_coords(channel=["anomaly", "twice"])


def flat(scene):
    return scene.vis


def fails(scene):
    return scene.infrared
"""


def test_a_function_makes_the_channels(good, monkeypatch):
    (good / "mine.py").write_text(FUNCTIONS)
    monkeypatch.chdir(good)
    found = open_scenes("good_*.nc", patch=16, channels="mine.py:contrast")
    (series,) = found.series
    values = textured((40, 48), 1).astype(float)
    inputs, valid = series.read(1)
    assert series.channels == ("anomaly", "twice") and series.dtype == inputs.dtype.name == "float32" and valid.all()
    np.testing.assert_allclose(inputs, [values - values.mean(), 2 * values], atol=1e-3)
    before = json.dumps(found.recipe)
    (good / "mine.py").write_text(FUNCTIONS.replace("2 *", "3 *"))
    assert json.dumps(open_scenes("good_*.nc", patch=16, channels="mine.py:contrast").recipe) != before
    for name, says in (
        ("flat", "made float32"),
        ("fails", "failed on vis"),
        ("none", "channels = ?'none'|Unknown channels"),
    ):
        with pytest.raises(ValueError, match=says):
            open_scenes("good_*.nc", patch=16, channels=f"mine.py:{name}")


def test_true_colour_of_a_picture_is_its_bands(tmp_path):
    values = np.stack([textured((40, 48), i) for i in range(3)], axis=-1).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    own, asked = (
        open_scenes(str(tmp_path / "a.png"), bounds="-60,10,-50,20", patch=8, channels=c).series[0]
        for c in (None, "true-colour")
    )
    assert own.channels == asked.channels and (own.read(0)[0] == asked.read(0)[0]).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pixel_m": 0}, "pixel_m = 0"),
        ({"min_valid": 1.5}, "min_valid = 1.5"),
        ({"patch": 0}, "patch = 0"),
        ({"faults": "drop"}, "faults = 'drop': give skip or raise"),
        ({"region": "10,20,30"}, "region = '10,20,30' is not box:W,S,E,N"),
        ({"bounds": "a,b"}, "bounds = 'a,b' is not W,S,E,N"),
        ({"channels": "a,a"}, "channels = 'a,a' names one twice"),
        ({"channels": "no.py:f"}, "channels = 'no.py:f': there is no file"),
        ({"channels": "ir"}, "it has no channel ir. Its channels: vis"),
        ({"region": "box:10,40,20,50"}, "it has nothing of region = box:10,40,20,50; it lies in box:-63"),
    ],
)
def test_settings_that_cannot_be_used(good, settings, says):
    with pytest.raises(ValueError) as error:
        open_scenes(str(good), **{"patch": 16} | settings)
    assert says in str(error.value)


def test_all_wrong_settings_are_told_at_once(good):
    with pytest.raises(ValueError, match=r"pixel_m(.|\n)*min_valid(.|\n)*faults"):
        open_scenes(str(good), pixel_m=-1, min_valid=2, faults="no")


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("OR_ABI-L1b-RadC-M6C02_G16_s20203660801164_e1.nc", "2020-12-31 08:01:16"),
        ("MOD021KM.A2012270.2050.061.hdf", "2012-09-26 20:50"),
        ("scene_2020-04-01T12:05:30.tif", "2020-04-01 12:05:30"),
        ("scene_2020-04-01_12-05.tif", "2020-04-01 12:05"),
        ("20200401120530.png", "2020-04-01 12:05:30"),
        ("S2_20200401T1205_x.png", "2020-04-01 12:05"),
        ("goes_20200401.png", "2020-04-01"),
        ("hrv_2020-04-01_west.nc", "2020-04-01"),
        ("tile_12345678.png", "NaT"),
        ("r_20201301.png", "NaT"),
        ("s20203670801164.nc", "NaT"),
        ("scene.nc", "NaT"),
    ],
)
def test_times_in_names(name, time):
    assert str(files.time_of_name(name)) == str(pd.Timestamp(time))


@pytest.mark.parametrize(
    ("stem", "form", "expected"),
    [
        ("msg_12345678_20200401", "%Y%m%d", "2020-04-01"),  # the first is of the year 1234
        ("a_20200401T1400+0200", "%Y%m%dT%H%M%z", "2020-04-01 12:00"),
        ("a_200401", "%y%m%d", "2020-04-01"),
        ("2020-W14-3", "%G-W%V-%u", "2020-04-01"),
    ],
)
def test_a_form_gives_utc_of_these_centuries(stem, form, expected):
    time = frames.time_given(stem, form)
    assert time == pd.Timestamp(expected) and time.tz is None


@pytest.mark.parametrize(
    ("stem", "form", "says"),
    [
        ("a_1230", "%H%M", "tells no year"),
        ("msg_12345678", "%Y%m%d", "no form of a date"),
        ("a_20201301", "%Y-%m-%d", "no form of a date"),
    ],
)
def test_a_form_without_a_date_is_refused(stem, form, says):
    with pytest.raises(ValueError, match=says):
        frames.time_given(stem, form)


def test_the_name_of_a_picture_may_say_its_time_and_what_is_no_data(tmp_path):
    values = textured((20, 24)).astype(np.uint8)
    values[:5, :6] = 0
    path = write_raster(tmp_path / "img_01042020.tif", values)
    found = open_scenes(str(path), patch=8)
    assert found.series[0].times.isna().all() and found.series[0].read(0)[1].all()
    (note,) = [n for n in found.notes if "nodata" in n]
    assert note.startswith("0 fills up to 6.2% of 1 scenes") and str(path) in note
    told = open_scenes(f"{path}:time=%d%m%Y,nodata=0", patch=8)
    assert told.series[0].times.tolist() == [pd.Timestamp("2020-04-01")] and not told.notes
    assert (told.series[0].read(0)[1] == (values > 0)).all()
    with pytest.raises(ValueError, match=r"sweep: only the grid mapping.*; of a raster say time, nodata"):
        open_scenes(f"{path}:sweep=x", patch=8)
    with pytest.raises(ValueError, match="no form of a date in img_01042020"):
        open_scenes(f"{path}:time=%Y-%m-%d", patch=8)


@pytest.mark.parametrize("name", ["a_20200401.tif", "a_20200401.png"])
def test_a_number_told_to_be_no_data_is_none_where_all_bands_hold_it(tmp_path, name):
    values = np.stack([textured((20, 24), i) for i in range(3)]).astype(np.uint8)
    values[:, :5, :6] = 0
    values[1, 10, 10] = 0
    driver = {"driver": "PNG"} if name.endswith("png") else {}
    path = write_raster(tmp_path / name, values, **driver)
    (series,) = open_scenes(f"{path}:nodata=0", patch=8).series
    inputs, valid = series.read(0)
    assert len(inputs) == 3 and (valid == (values > 0).any(axis=0)).all() and inputs[1, 10, 10] == 0
    (green,) = open_scenes(f"{path}:nodata=0", patch=8, channels=series.channels[1]).series
    assert (green.read(0)[1] == valid).all()


def test_summary_and_dataset_for_people(good):
    found = open_scenes(str(good), patch=16)
    row = dataset.summarise(found).loc["good"]
    assert (row.scenes, row["rows"], row["columns"], row["pixel [m]"]) == (3, 40, 48, 1000)
    assert (row["first"], row["last"]) == (DAY, DAY + pd.Timedelta(hours=2))
    assert row.channels == "vis" and row.CRS == "WGS 84 / UTM zone 20N (EPSG:32620)"
    data = dataset.to_xarray(found.series[0], 1)
    assert data.inputs.dims == ("channel", "y", "x") and data.time == DAY + pd.Timedelta(hours=1)
    assert data.rio.crs == found.series[0].crs and float(data.x[0]) == 500_500


def test_a_recipe_is_json_and_tells_settings_apart(good):
    recipes = [
        json.dumps(open_scenes(str(good), **{"patch": 16} | more).recipe, sort_keys=True)
        for more in (
            {},
            {"pixel_m": 2000.0},
            {"region": "box:-63,14.2,-62.7,14.4"},
            {"min_valid": 0.9},
            {"channels": "vis"},
        )
    ]
    assert len(set(recipes)) == 5 and recipes[0] == json.dumps(open_scenes(str(good), patch=16).recipe, sort_keys=True)


def test_many_threads_read_the_same_as_one(tmp_path):
    values = textured((12, 64, 64)).astype(np.uint8)
    path = write_cf(tmp_path / "a.nc", values, [DAY + pd.Timedelta(hours=h) for h in range(12)])
    shutil.copy(path, tmp_path / "b.nc")
    series = open_scenes(str(path), patch=16, pixel_m=1500).series[0]
    once = [series.read(i)[0] for i in range(12)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: series.read(i)[0], list(range(12)) * 5))
    assert all((a == once[i % 12]).all() for i, a in enumerate(found))


def test_scenes_are_looked_at_one_by_one(tmp_path):
    shape = (600, 600)
    for hour in range(16):
        write_cf(tmp_path / f"{hour}.nc", textured(shape, hour).astype(np.float32), DAY + pd.Timedelta(hours=hour))
    open_scenes(f"{tmp_path}/0.nc")  # what is loaded once
    tracemalloc.start()
    found = open_scenes(str(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # a scene, its mask, what both are cut from, what they are compared by and what fills are looked for in
    assert len(found) == 16
    assert peak < 10 * 4 * np.prod(shape), f"{peak / 4 / np.prod(shape):.1f} scenes at once"


def test_channels_of_several_layers_keep_their_order(good):
    choice = channels.choose("b,a")
    assert choice.names == ("b", "a") and choice.recipe == {"channels": "b,a"}
