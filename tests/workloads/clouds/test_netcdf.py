from pathlib import Path

import h5netcdf
import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from scene_files import VIEW, textured, write_cf, write_plain

from geonb.rasters import grids
from geonb.workloads.clouds import dataset, netcdf
from geonb.workloads.clouds import values as clouds_values

HRV = Path(__file__).parents[4] / "shared/data/clouds/hrv_2020-04-01_west.nc"
real = pytest.mark.skipif(not HRV.exists(), reason=f"needs the HRV scenes at {HRV}")


def first(path, **settings):
    found = dataset.open_scenes(str(path), **{"patch": 8} | settings)
    return found.series[0], *found.series[0].read(0)


@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("order", [("y", "x"), ("x", "y")])
def test_north_is_up_and_west_is_left_however_the_file_has_it(tmp_path, flip_y, flip_x, order):
    values = textured((20, 30)).astype(np.uint8)
    data = xr.open_dataset(write_cf(tmp_path / "a.nc", values), decode_cf=False, engine="h5netcdf").load()
    turned = data.isel(y=slice(None, None, -1 if flip_y else 1), x=slice(None, None, -1 if flip_x else 1))
    turned.transpose(*order).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    series, inputs, valid = first(tmp_path / "b.nc")
    assert (inputs[0] == values).all() and valid.all() and inputs.dtype == np.uint8
    assert tuple(series.transform)[:6] == (1000, 0, 500_000, 0, -1000, 1_600_000)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_rectangle_is_the_same_as_in_the_whole(tmp_path, turn):
    values = textured((20, 30)).astype(np.uint8)
    data = xr.open_dataset(write_cf(tmp_path / "a.nc", values), decode_cf=False, engine="h5netcdf").load()
    data.isel(y=slice(None, None, turn), x=slice(None, None, turn)).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    (frame,) = netcdf.open_netcdf(tmp_path / "b.nc", {})
    inputs, valid = frame.layers[0].load(slice(3, 9), slice(4, 29))
    assert (inputs[0] == values[3:9, 4:29]).all() and valid.shape == (6, 25)


def test_packed_numbers_come_as_xarray_unpacks_them(tmp_path):
    values = textured((20, 30)).astype(np.int16)
    values[0, 0] = -9
    path = write_cf(tmp_path / "a.nc", values)
    data = xr.open_dataset(path, decode_cf=False, engine="h5netcdf").load()
    data.vis.attrs |= {"scale_factor": 0.01, "add_offset": 3.0, "_FillValue": np.int16(-9), "valid_max": np.int16(240)}
    data.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    expected = xr.open_dataset(tmp_path / "b.nc", engine="h5netcdf").vis.values
    _, inputs, valid = first(tmp_path / "b.nc")
    assert inputs.dtype == np.float32 and not valid[0, 0]
    assert (valid == (np.isfinite(expected) & (values <= 240))).all() and (~valid).sum() > 5
    np.testing.assert_allclose(inputs[0][valid], expected[valid], rtol=1e-6)


@pytest.mark.parametrize(
    ("attrs", "invalid"),
    [
        ({"_FillValue": np.int16(-1)}, 65535),
        ({"_FillValue": np.int64(-1)}, 65535),
        ({"missing_value": np.int16(7)}, 7),
        ({"valid_range": np.array([0, -2], np.int16)}, 65535),
    ],
)
def test_unsigned_counts_in_a_signed_type(attrs, invalid):
    raw = np.array([[-1, 7, -2, 100]], np.int16)
    values, valid = clouds_values.decode(raw, {"_Unsigned": "true"} | attrs)
    assert values.tolist() == [[65535, 7, 65534, 100]] and values.dtype == np.uint16
    assert (valid == (values != invalid)).all()


def test_a_range_in_units_of_the_unpacked_values_counts_there():
    attrs = {"scale_factor": 0.5, "valid_range": np.array([1.0, 2.0], np.float32)}
    values, valid = clouds_values.decode(np.array([1, 2, 4, 5], np.int16), attrs)
    assert values.tolist() == [0.5, 1, 2, 2.5] and valid.tolist() == [False, True, True, False]


def test_several_variables_and_a_dimension_of_bands(tmp_path):
    one = xr.open_dataset(write_cf(tmp_path / "a.nc", textured((20, 30)).astype(np.int16)), decode_cf=False).load()
    one["ir"] = one.vis * 2
    one["flags"] = one.vis % 3
    one.flags.attrs = {"flag_values": [0, 1, 2]}
    one["ir"].attrs = {"units": "K"}
    one.to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    found = dataset.open_scenes(str(tmp_path / "two.nc"), patch=8)
    assert found.channels == ({"name": "vis", "units": "1"}, {"name": "ir", "units": "K"})
    series, inputs, _ = first(tmp_path / "two.nc", channels="ir")
    assert series.channels == ("ir",) and (inputs[0] == one.ir).all()

    dataset.to_xarray(found.series[0], 0).drop_vars("valid").to_netcdf(tmp_path / "bands.nc", engine="h5netcdf")
    series, inputs, _ = first(tmp_path / "bands.nc")
    assert series.channels == ("vis", "ir") and (inputs == [one.vis, one.ir]).all()
    assert tuple(series.transform)[:6] == pytest.approx((1000, 0, 500_000, 0, -1000, 1_600_000))


def test_zarr_and_the_classic_format_are_read_too(tmp_path):
    values = textured((3, 20, 30)).astype(np.int16)
    data = xr.open_dataset(write_cf(tmp_path / "a.nc", values, pd.date_range("2020-01-01", periods=3, freq="h"))).load()
    data.to_zarr(tmp_path / "b.zarr")
    data.to_netcdf(tmp_path / "c.nc", engine="scipy")
    for name in ("a.nc", "b.zarr", "c.nc"):
        found = dataset.open_scenes(str(tmp_path / name), patch=8)
        (series,) = found.series
        assert (series.read(2)[0][0] == values[2]).all(), name
        assert series.times.tolist() == list(pd.date_range("2020-01-01", periods=3, freq="h"))
        assert found.files == [p for p in sorted(tmp_path.rglob("*")) if p.is_file() and name in str(p)]


@pytest.mark.parametrize(
    ("units", "numbers", "expected"),
    [
        ("hours since 2020-04-01", [0, 1.5], ["2020-04-01T00:00", "2020-04-01T01:30"]),
        ("minutes since 2020-04-01 12:00:00 +02:00", [0, 5], ["2020-04-01T10:00", "2020-04-01T10:05"]),
        ("nanoseconds since 1970-01-01", [0, 10**9], ["1970-01-01T00:00:00", "1970-01-01T00:00:01"]),
        ("seconds since 2000-01-01 12:00:00", [0.0, 60.0], ["2000-01-01T12:00", "2000-01-01T12:01"]),
    ],
)
def test_times_are_utc(tmp_path, units, numbers, expected):
    path = write_cf(tmp_path / "a.nc", textured((2, 20, 30)).astype(np.uint8))
    data = xr.open_dataset(path, decode_cf=False, engine="h5netcdf").load()
    data.assign_coords(time=("time", numbers, {"units": units})).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    series, _, _ = first(tmp_path / "b.nc")
    assert series.times.tolist() == [pd.Timestamp(t) for t in expected]


def test_times_in_other_places(tmp_path):
    values = textured((20, 30)).astype(np.uint8)
    write_cf(tmp_path / "scalar.nc", values, "2020-04-01T12:05")
    write_cf(tmp_path / "name_20200401T1210.nc", values)
    data = xr.open_dataset(write_cf(tmp_path / "x.nc", values), decode_cf=False, engine="h5netcdf").load()
    data.assign_attrs(time_coverage_start="2020-04-01T14:15:00+02:00").to_netcdf(tmp_path / "attribute.nc")
    times = [first(tmp_path / f"{n}.nc")[0].times[0] for n in ("scalar", "name_20200401T1210", "attribute", "x")]
    assert [str(t) for t in times] == ["2020-04-01 12:05:00", "2020-04-01 12:10:00", "2020-04-01 12:15:00", "NaT"]


WHEN = pd.DatetimeIndex(["2020-04-01T12:00", "2020-04-05T12:00", "2020-04-09T18:00"], name="time").as_unit("ns")
HOURS = np.asarray((WHEN - pd.Timestamp("1970-01-01")) / pd.Timedelta("1h"))


def write_times(path, numbers, attrs):
    values = textured((len(numbers), 20, 24)).astype(np.float32)
    return write_plain(path, values, {}, time=(("time",), np.asarray(numbers), attrs))


@pytest.mark.parametrize(
    ("numbers", "attrs"),
    [
        ([20200401.5, 20200405.5, 20200409.75], {"units": "day as %Y%m%d.%f", "calendar": "proleptic_gregorian"}),
        ([2020040112, 2020040512, 2020040918], {"long_name": "time, YYYYMMDDHH"}),
        (HOURS / 24, {"units": "days since 1970-01-01"}),
    ],
)
def test_times_in_forms_that_the_file_names(tmp_path, numbers, attrs):
    found = dataset.open_scenes(str(write_times(tmp_path / "a.nc", numbers, attrs)), patch=8)
    assert found.series[0].times.equals(WHEN) and not found.notes


@pytest.mark.parametrize(("numbers", "attrs"), [(HOURS, {"units": "hours"}), (HOURS * 3600, {"standard_name": "time"})])
def test_numbers_that_count_from_nobody_knows_when_are_no_times(tmp_path, numbers, attrs):
    path = write_times(tmp_path / "a.nc", numbers, attrs)
    found = dataset.open_scenes(str(path), patch=8)
    assert found.series[0].times.isna().all() and found.series[0].labels == ("a 0", "a 1", "a 2")
    assert any(f"(units: {attrs.get('units', 'none')})" in n and "FILE:time=hours since" in n for n in found.notes)
    assert any("3 scenes have no time" in n and "(a 0, a 1, a 2)" in n for n in found.notes)
    unit = "hours" if "units" in attrs else "seconds"
    told = dataset.open_scenes(f"{path}:time={unit} since 1970-01-01 00:00:00", patch=8)
    assert told.series[0].times.equals(WHEN) and not told.notes and told.recipe != found.recipe
    assert [f"{label}" for label in told.series[0].labels] == [f"{time:%Y-%m-%d %H:%M}" for time in WHEN]


@pytest.mark.parametrize(
    ("attrs", "why"),
    [
        ({"units": "days since 2020-01-01", "calendar": "360_day"}, "calendar 360_day"),
        ({"units": "months since 2020-01-01"}, "unit months"),
    ],
)
def test_what_cannot_be_counted_is_said_and_no_cure_that_is_none(tmp_path, attrs, why):
    path = write_times(tmp_path / "a.nc", [1, 2, 3], attrs)
    found = dataset.open_scenes(str(path), patch=8)
    (note,) = [n for n in found.notes if "Times are unknown" in n]
    assert f"counts in {why}, which is not read" in note and "hours since" not in note
    with pytest.raises(ValueError, match=rf"reads none of the 3 times in its time \({why} is not read\)"):
        dataset.open_scenes(f"{path}:time={attrs['units']}", patch=8)


def test_a_time_that_the_name_tells_is_not_told_to_be_unknown(tmp_path):
    path = write_plain(
        tmp_path / "a_20200401.nc", textured((20, 24)).astype("f4"), {}, time=((), 12.0, {"units": "hours"})
    )
    found = dataset.open_scenes(str(path), patch=8)
    assert found.series[0].times[0] == pd.Timestamp("2020-04-01")
    assert found.notes == ("Times are those that the names of the files tell.",)


def test_times_written_letter_by_letter(tmp_path):
    texts = np.array([f"{time:%Y-%m-%d_%H:%M:%S}" for time in WHEN], "S19")
    path = write_times(tmp_path / "a.nc", [1, 2, 3], {})
    with h5netcdf.File(path, "a") as file:
        file.dimensions["strlen"] = 19
        file.create_variable("Times", ("time", "strlen"), data=texts.view("S1").reshape(3, 19))
    assert dataset.open_scenes(f"{path}:time=Times", patch=8).series[0].times.equals(WHEN)


def test_times_as_they_are_told_in_the_name(tmp_path):
    form = [1042020, 5042020, 9042020]
    days = WHEN.normalize()
    path = write_times(tmp_path / "a.nc", [20200401, 20200405, 20200409], {})
    assert dataset.open_scenes(f"{path}:time=%Y%m%d", patch=8).series[0].times.equals(days)
    more = {"begin": (("time",), HOURS, {"units": "hours since 1970-01-01"})}
    write_plain(tmp_path / "b.nc", textured((3, 20, 24)).astype("f4"), {}, time=(("time",), np.array(form), {}), **more)
    assert dataset.open_scenes(f"{tmp_path / 'b.nc'}:time=begin", patch=8).series[0].times.equals(WHEN)
    assert dataset.open_scenes(f"{tmp_path / 'b.nc'}:time=%d%m%Y", patch=8).series[0].times.equals(days)
    write_plain(tmp_path / "c_01042020.nc", textured((20, 24)).astype("f4"), {})
    for given, expected in (
        ("%d%m%Y", "2020-04-01"),
        ("2020-04-01T14:00+02:00", "2020-04-01T12:00"),
        ("20200401", "2020-04-01"),
    ):
        (time,) = dataset.open_scenes(f"{tmp_path / 'c_01042020.nc'}:time={given}", patch=8).series[0].times
        assert time == pd.Timestamp(expected)
    write_plain(tmp_path / "d_2020-04-01.nc", textured((20, 24)).astype("f4"), {}, time=((), 1850, {}))
    assert dataset.open_scenes(f"{tmp_path / 'd_2020-04-01.nc'}:time=%Y-%m-%d", patch=8).series[0].times[0] == days[0]
    when = (("time",), np.array([b"01/04/2020", b"05/04/2020", b"09/04/2020"]), {})
    write_plain(tmp_path / "e.nc", textured((3, 20, 24)).astype("f4"), {}, time=when)
    assert dataset.open_scenes(f"{tmp_path / 'e.nc'}:time=%d/%m/%Y", patch=8).series[0].times.equals(days)
    for given, says in (
        ("2020-04-01", r"has 3 scenes. Give the units.*Its variables: (.*, )?begin"),
        ("hours since then", "reads none of the 3 times in its time"),
    ):
        with pytest.raises(ValueError, match=says):
            dataset.open_scenes(f"{tmp_path / 'b.nc'}:time={given}", patch=8)
    with pytest.raises(ValueError, match="time = 'noon' is no date"):
        dataset.open_scenes(f"{tmp_path / 'c_01042020.nc'}:time=noon", patch=8)


def place(role="standard_name"):
    """Longitude of every pixel, told to be one by its standard name, its units, or by the image."""
    lon = np.broadcast_to(np.linspace(-60, -58, 24), (20, 24)).astype("f4") + textured((20, 24)) * 1e-3
    told = {"standard_name": {"standard_name": "longitude"}, "units": {"units": "degrees_east"}}.get(role, {})
    return ("lat", "lon"), lon, told


@pytest.mark.parametrize("role", ["standard_name", "units", "coordinates", "ancillary_variables", "cell_measures"])
def test_what_serves_an_image_is_no_channel_unless_it_is_named(tmp_path, role):
    values, named = textured((20, 24)).astype("f4"), {"cell_measures": "area: where"}.get(role, "where more")
    attrs = {role: named} if role not in ("standard_name", "units") else {}
    path = write_plain(tmp_path / "a_20200401.nc", values, attrs, where=place(role))
    found = dataset.open_scenes(str(path), patch=8)
    assert [c["name"] for c in found.channels] == ["tb"]
    assert any(": where. To have one, name it in `channels`" in note for note in found.notes)
    both = dataset.open_scenes(str(path), patch=8, channels="where,tb").series[0]
    assert both.channels == ("where", "tb")
    inputs, valid = both.read(0)
    own, _ = found.series[0].read(0)
    np.testing.assert_array_equal(inputs[1], own[0])
    assert valid.any() and np.ptp(inputs[0][valid]) > 1.5


def test_angles_flags_and_what_does_not_change_are_no_channels_either(tmp_path):
    values = textured((2, 20, 24)).astype("f4")
    dims, numbers, _ = place()
    more = {
        "time": (("time",), HOURS[:2], {"units": "hours since 1970-01-01"}),
        "sun": (("time", *dims), values, {"standard_name": "solar_zenith_angle", "units": "degree"}),
        "good": (("time", *dims), values.astype("i2"), {"standard_name": "toa_brightness_temperature status_flag"}),
        "flags": (("time", *dims), values.astype("i1"), {"flag_masks": np.int8(1)}),
        "height": (dims, numbers, {"units": "m"}),
    }
    found = dataset.open_scenes(str(write_plain(tmp_path / "a.nc", values, {}, **more)), patch=8)
    assert [c["name"] for c in found.channels] == ["tb"]
    assert any("so no channels: sun, good, flags, height. To" in note for note in found.notes)
    named = dataset.open_scenes(str(tmp_path / "a.nc"), patch=8, channels="height,tb")
    assert [c["name"] for c in named.channels] == ["height", "tb"] and len(named) == 2
    write_plain(tmp_path / "b.nc", numbers, {"standard_name": "longitude"})
    with pytest.raises(
        ValueError, match="all it has are coordinates, angles or flags: name in `channels` what to use, tb"
    ):
        dataset.open_scenes(str(tmp_path / "b.nc"), patch=8)
    assert dataset.open_scenes(str(tmp_path / "b.nc"), patch=8, channels="tb").channels[0]["name"] == "tb"


def test_channels_that_cannot_be_are_told(tmp_path):
    values = textured((2, 20, 24)).astype("f4")
    dims = ("time", "lat", "lon")
    time = (("time",), HOURS[:2], {"units": "hours since 1970-01-01"})
    levels = (("time", "level", "lat", "lon"), np.stack([values, values], axis=1), {})
    path = write_plain(tmp_path / "a.nc", values, {}, time=time, T=levels)
    found = dataset.open_scenes(str(path), patch=8)
    assert [c["name"] for c in found.channels] == ["tb"]
    assert any("T has the dimensions time, level, lat, lon" in note for note in found.notes)
    data = {"flag_values": np.int8([0, 1]), "flag_meanings": "clear cloud"}
    found = dataset.open_scenes(
        str(write_plain(tmp_path / "b.nc", values, {}, time=time, kind=(dims, values, data))), patch=8
    )
    assert any("so no channels: kind. To" in note for note in found.notes)


def test_flags_of_several_times_do_not_make_an_image_steady(tmp_path):
    flags = (("time", "lat", "lon"), np.zeros((2, 20, 24), "i1"), {"flag_masks": np.int8(1)})
    path = write_plain(tmp_path / "a_20200401.nc", textured((20, 24)).astype("f4"), {}, flags=flags)
    found = dataset.open_scenes(str(path), patch=8)
    assert [c["name"] for c in found.channels] == ["tb"] and len(found) == 1


HOLE = np.zeros((20, 24), bool)
HOLE[:4] = True
WARM = (270 + textured((20, 24)) / 10).astype(np.float32)


@pytest.mark.parametrize(
    ("number", "attrs"),
    [
        (np.float32(-999.9), {"missing_value": np.float64(-999.9)}),
        (np.float32(1e20), {"missing_value": np.float64(1e20)}),
        (np.float32(-999.9), {"missing_value": np.float32(-999.9)}),
        (np.float32(-999.9), {"missing_value": np.array([-1.5, -999.9])}),
        (np.float32(-999), {"missing_value": "-999.0"}),
        (np.float32(-999), {"missing_value": np.int16(-999)}),
        (np.float32(9.969209968386869e36), {}),
        (np.float32(-999.9), {"valid_range": np.array([150.0, 350.0])}),
        (np.float64(-999.9), {"missing_value": np.float32(-999.9)}),
        (np.float64(np.inf), {}),
    ],
)
def test_fills_of_another_type_than_the_data_are_no_data(tmp_path, number, attrs):
    values = np.where(HOLE, number, WARM).astype(number.dtype)
    (frame,) = netcdf.open_netcdf(write_plain(tmp_path / "a_20200401.nc", values, attrs), {})
    inputs, valid = frame.layers[0].load(slice(0, 20), slice(0, 24))
    assert (valid == ~HOLE).all()
    np.testing.assert_allclose(inputs[0][valid], WARM[valid], rtol=1e-6)


@pytest.mark.parametrize(
    ("raw", "attrs"),
    [
        (-999, {"_FillValue": np.float64(-999)}),
        (-9999, {"missing_value": np.float64(-99.99)}),  # of what the numbers unpack to
        (-32767, {}),  # NetCDF's own, of what was never written
        (-1, {"missing_value": "-1"}),
    ],
)
def test_fills_of_packed_numbers(raw, attrs):
    numbers = np.array([raw, 0, 100], np.int16)
    values, valid = clouds_values.decode(numbers, {"scale_factor": 0.01} | attrs)
    assert valid.tolist() == [False, True, True] and values[1:].tolist() == pytest.approx([0, 1])


def test_a_limit_in_doubles_keeps_the_single_that_was_rounded_down():
    numbers = np.float32([0.1, 0.7, 0.8])
    assert clouds_values.decode(numbers, {"valid_range": np.array([0.1, 0.7])})[1].tolist() == [True, True, False]


def test_a_limit_in_doubles_keeps_the_packed_number_that_is_it():
    attrs = {"scale_factor": 0.1, "valid_range": np.array([0, 1.1])}
    assert clouds_values.decode(np.array([-1, 0, 11, 12], np.int16), attrs)[1].tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    "attrs",
    [
        {"valid_min": "0", "valid_max": b"250"},
        {"valid_range": "0 250"},
        {"valid_range": "0, 250.0"},
        {"valid_range": np.array(["0", "250"], object)},
    ],
)
@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_limits_may_be_texts(attrs, dtype):
    assert clouds_values.decode(np.array([-1, 0, 250, 251], dtype), attrs)[1].tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("attrs", "says"),
    [
        ({"valid_min": "none"}, "attribute valid_min = 'none' is not a number"),
        ({"valid_range": np.array([0, 1, 2])}, r"attribute valid_range = \[0, 1, 2\] is not 2 numbers"),
        ({"valid_range": "0-250"}, "attribute valid_range = '0-250' is not 2 numbers"),
    ],
)
def test_limits_that_are_none_are_refused(attrs, says):
    with pytest.raises(ValueError, match=says):
        clouds_values.decode(np.zeros(2, "i2"), attrs)


def test_the_highest_count_of_an_unsigned_sensor_is_a_count():
    assert clouds_values.decode(np.array([0, 65535], np.uint16), {})[1].all()


def test_a_number_that_looks_like_no_data_is_told_and_can_be_said(tmp_path):
    values = np.where(HOLE, np.float32(-999.9), WARM)
    path = write_plain(tmp_path / "a_20200401.nc", values, {})
    (note,) = [n for n in dataset.open_scenes(str(path), patch=8).notes if "nodata" in n]
    assert note.startswith("-999.9 fills up to 1") and str(path) in note and note.endswith("FILE:nodata=-999.9.")
    (frame,) = netcdf.open_netcdf(path, {"nodata": -999.9})
    assert (frame.layers[0].load(slice(0, 20), slice(0, 24))[1] == ~HOLE).all()
    assert not any("nodata" in n for n in dataset.open_scenes(f"{path}:nodata=-999.9", patch=8).notes)
    with pytest.raises(ValueError, match="'nodata=none' is not nodata=number"):
        dataset.open_scenes(f"{path}:nodata=none", patch=8)


def write_view(path, units, per_m, lon_0=-75.0, step=2000.0):
    values = textured((20, 30)).astype(np.uint8)
    y, x = 1_600_000 - step * (np.arange(20) + 0.5), 500_000 + step * (np.arange(30) + 0.5)
    attrs = {"units": units} if units else {}
    xr.Dataset(
        {
            "vis": (("y", "x"), values, {"grid_mapping": "view"}),
            "view": ((), 0, VIEW | {"longitude_of_projection_origin": lon_0}),
        },
        {"y": ("y", y * per_m, attrs), "x": ("x", x * per_m, attrs)},
    ).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize(
    ("units", "per_m"),
    [
        ("rad", 1 / 35786023.0),
        ("", 1 / 35786023.0),
        ("1", 1 / 35786023.0),
        ("mrad", 1e3 / 35786023.0),
        ("deg", 180 / np.pi / 35786023.0),
        ("microradian", 1e6 / 35786023.0),
        ("m", 1),
        ("km", 1e-3),
    ],
)
def test_units_of_a_geostationary_view(tmp_path, units, per_m):
    series, _, _ = first(write_view(tmp_path / "a.nc", units, per_m))
    assert tuple(series.transform)[:6] == pytest.approx((2000, 0, 500_000, 0, -2000, 1_600_000), rel=1e-6)
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", series.crs, always_xy=True).transform(-68.0, 14.0)
    satellite = pyproj.Proj(proj="geos", h=35786023.0, lon_0=-75, sweep="x", a=6378137.0, b=6356752.31414)
    assert (x, y) == pytest.approx(satellite(-68.0, 14.0), abs=0.01)


def write_places(path, y, x, crs=None, y_attrs=None, x_attrs=None, names=("y", "x")):
    """vis over two coordinates, with the grid mapping of a CRS if there is one."""
    data = xr.Dataset(
        {"vis": (names, textured((len(y), len(x))).astype(np.uint8), {"grid_mapping": "crs"} if crs else {})},
        {names[0]: (names[0], y, y_attrs or {}), names[1]: (names[1], x, x_attrs or {})},
    )
    if crs:
        data["crs"] = ((), 0, pyproj.CRS(crs).to_cf())
    data.to_netcdf(path, engine="h5netcdf")
    return path


NORTH, EAST = 20 - 0.5 * np.arange(20), 5 + 0.5 * np.arange(30)


@pytest.mark.parametrize(
    ("crs", "units", "per_unit"),
    [
        ("EPSG:4326", "radian", np.pi / 180),
        ("EPSG:4326", "degrees_north", 1),
        ("EPSG:2263", "m", 1200 / 3937),  # feet of the US survey
        ("EPSG:2263", "us-ft", 1),
        ("EPSG:2263", "US survey foot", 1),
        ("EPSG:2263", "0.304800609601219 metre", 1),
        ("EPSG:2263", "", 1),
    ],
)
def test_coordinates_come_in_the_unit_of_their_crs(tmp_path, crs, units, per_unit):
    attrs = {"units": units}
    path = write_places(tmp_path / "a.nc", NORTH * per_unit, EAST * per_unit, crs, attrs, attrs)
    (frame,) = netcdf.open_netcdf(path, {})
    assert tuple(frame.layers[0].transform)[:6] == pytest.approx((0.5, 0, 4.75, 0, -0.5, 20.25))


def test_latitudes_and_longitudes_in_radians_need_no_grid_mapping(tmp_path):
    attrs = {"units": "radian"}
    path = write_places(tmp_path / "a.nc", *np.radians([NORTH, EAST[:20]]), None, attrs, attrs, ("lat", "lon"))
    (frame,) = netcdf.open_netcdf(path, {})
    assert tuple(frame.layers[0].transform)[:6] == pytest.approx((0.5, 0, 4.75, 0, -0.5, 20.25))


@pytest.mark.parametrize(
    ("crs", "attrs", "names", "says"),
    [
        (None, {"units": "degrees"}, ("rlat", "rlon"), "rlat and rlon are no latitude and longitude"),
        (None, {"units": "degrees_north", "standard_name": "grid_latitude"}, ("lat", "lon"), "no grid mapping"),
        (None, {"units": "degrees"}, ("y", "x"), "y and x are no latitude and longitude"),
        (
            "EPSG:32620",
            {"units": "degrees"},
            ("y", "x"),
            "its coordinate y is in 'degrees'. Write it in one of m, metre",
        ),
        ("EPSG:4326", {"units": "m"}, ("y", "x"), "its coordinate y is in 'm'. Write it in one of rad, "),
    ],
)
def test_coordinates_in_other_units_are_refused(tmp_path, crs, attrs, names, says):
    x_attrs = attrs | {"axis": "X"}
    path = write_places(tmp_path / "a.nc", NORTH, EAST, crs, attrs | {"axis": "Y"}, x_attrs, names)
    with pytest.raises(ValueError, match=says):
        netcdf.open_netcdf(path, {})
    with pytest.raises(ValueError, match="its coordinate y is in '1'"):
        netcdf.open_netcdf(write_view(tmp_path / "b.nc", "1", 1), {})  # metres, or columns, but no angles


def test_a_rotated_grid_is_placed_by_its_mapping(tmp_path):
    attrs = {"units": "degrees"}
    names = ("rlat", "rlon")
    rotated = (
        "+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +o_lon_p=0 +lon_0=18 +datum=WGS84 +to_meter=0.0174532925199433"
    )
    path = write_places(tmp_path / "a.nc", NORTH, EAST, rotated, attrs | {"axis": "Y"}, attrs | {"axis": "X"}, names)
    (frame,) = netcdf.open_netcdf(path, {})
    assert tuple(frame.layers[0].transform)[:6] == pytest.approx((0.5, 0, 4.75, 0, -0.5, 20.25))


def test_what_a_file_says_wrongly_can_be_set_right(tmp_path):
    path = write_view(tmp_path / "a.nc", "m", 1, lon_0=0.0)
    series, _, _ = first(f"{path}:longitude_of_projection_origin=-75.2")
    found = dataset.open_scenes(f"{path}:longitude_of_projection_origin=-75.2", patch=8)
    assert grids.crs_name(series.crs) == "geostationary, 75.2°W"
    assert found.recipe["options"] == [{"longitude_of_projection_origin": -75.2}]
    with pytest.raises(ValueError, match=r"has no longitude that could be set right. It has: grid_mapping_name"):
        dataset.open_scenes(f"{path}:longitude=9", patch=8)


def test_degrees_beyond_180_are_where_they_are(tmp_path):
    lon, lat = np.arange(170.25, 190, 0.5), np.arange(10.25, -10, -0.5)
    values = np.broadcast_to(lon, (len(lat), len(lon))).astype(np.float32)
    xr.Dataset(
        {"vis": (("lat", "lon"), values)}, {"lat": lat, "lon": ("lon", lon, {"units": "degrees_east"})}
    ).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    series, inputs, valid = first(tmp_path / "a.nc")
    data = dataset.to_xarray(series, 0)
    found, _ = pyproj.Transformer.from_crs(series.crs, "OGC:CRS84", always_xy=True).transform(
        *np.meshgrid(data.x, data.y)
    )
    assert valid.mean() > 0.9
    assert np.abs(np.mod(found, 360) - inputs[0])[valid].max() < 0.26
    assert found[valid].min() < -175 and found[valid].max() > 175


@pytest.mark.parametrize("west", [0.0, -180.0, -30.0])
@pytest.mark.parametrize("box", [(-62, -5, -58, 5), (-5, -5, 5, 5), (175, -5, -175, 5), (-32, 20, -28, 30)])
def test_a_globe_in_degrees_has_every_region_wherever_it_begins(tmp_path, box, west):
    lon, lat = west + np.arange(0.25, 360, 0.5), np.arange(-89.75, 90, 0.5)
    turn = np.cos(np.radians(lon))[None] * np.ones((len(lat), 1))  # goes round without a jump
    xr.Dataset(
        {"vis": (("lat", "lon"), turn.astype(np.float32))}, {"lat": lat, "lon": ("lon", lon, {"units": "degrees_east"})}
    ).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    series, inputs, valid = first(tmp_path / "a.nc", region="box:" + ",".join(map(str, box)), min_valid=0.0)
    data = dataset.to_xarray(series, 0)
    found, _ = pyproj.Transformer.from_crs(series.crs, "OGC:CRS84", always_xy=True).transform(
        *np.meshgrid(data.x, data.y)
    )
    assert valid.all()
    assert np.abs(np.cos(np.radians(found)) - inputs[0]).max() < 0.002


def test_double_precision_comes_as_single(tmp_path):
    values = textured((20, 30)) + 0.1
    series, inputs, _ = first(write_cf(tmp_path / "a.nc", values))
    assert series.dtype == inputs.dtype.name == "float32"
    (frame,) = netcdf.open_netcdf(tmp_path / "a.nc", {})
    assert frame.layers[0].dtype == frame.layers[0].load(slice(0, 2), slice(0, 2))[0].dtype.name == "float32"
    np.testing.assert_allclose(inputs[0], values, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.drop_vars("crs").assign(vis=d.vis.drop_attrs()), "no grid mapping"),
        (lambda d: d.drop_vars(["x", "y"]), "no coordinate of its rows"),
        (lambda d: d.assign_coords(x=np.geomspace(1, 1000, 30)), "x is not evenly spaced"),
        (lambda d: d.drop_vars("vis"), "no numeric variable"),
        (
            lambda d: d.assign(vis=d.vis.expand_dims(time=pd.DatetimeIndex([]))),
            "it has no scene: its time has length 0",
        ),
        (lambda d: d.expand_dims(member=[1, 2]), "vis has the dimensions member, y, x"),
        (
            lambda d: d.assign(crs=d.crs.assign_attrs(crs_wkt="nonsense", spatial_ref="no")),
            "grid mapping cannot be read",
        ),
        (
            lambda d: d.drop_vars(["x", "y"]).assign_coords(lat=(("y", "x"), np.ones((20, 30)))),
            "two-dimensional",
        ),
    ],
)
def test_files_that_hold_no_scene_say_what_is_missing(tmp_path, change, says):
    data = xr.open_dataset(write_cf(tmp_path / "a.nc", textured((20, 30)).astype(np.uint8)), decode_cf=False).load()
    change(data).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=says) as error:
        dataset.open_scenes(str(tmp_path / "b.nc"), patch=8)
    assert f"{tmp_path / 'b.nc'}: " in str(error.value)


@pytest.mark.parametrize(
    ("minutes", "source", "degrees", "expected"),
    [
        (5, "Meteosat-10 SEVIRI HRV", 0.0, 9.5),
        (15, "Meteosat-10 SEVIRI HRV", 0.0, 0.0),  # the full disk
        (5, "GOES-16 ABI", 0.0, 0.0),
        (5, "Meteosat-8 SEVIRI", 41.5, 41.5),  # over the Indian Ocean
    ],
)
def test_rapid_scans_of_seviri_alone_are_put_where_they_were_rectified(tmp_path, minutes, source, degrees, expected):
    data = xr.open_dataset(write_view(tmp_path / "a.nc", "m", 1, lon_0=degrees), decode_cf=False).load()
    data = data.drop_vars("vis").assign(vis=data.vis.expand_dims(time=3) + xr.DataArray([0, 1, 2], dims="time"))
    data.vis.attrs = {"grid_mapping": "view", "source": source}
    times = pd.date_range("2020-04-01", periods=3, freq=f"{minutes}min")[[2, 0, 1]]
    data.assign_coords(time=times).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    found = dataset.open_scenes(str(tmp_path / "b.nc"), patch=8)
    assert grids.crs_name(found.series[0].crs) == f"geostationary, {expected:g}°E"
    assert any("rapid scans" in note for note in found.notes) == (expected == 9.5)


@real
def test_the_real_sequence_comes_out_as_it_was_taken():
    found = dataset.open_scenes(str(HRV))
    (series,) = found.series
    assert (len(series), series.shape, series.channels, series.dtype) == (25, (891, 921), ("hrv",), "int16")
    assert (series.times[0], series.times[-1]) == (pd.Timestamp("2020-04-01 12:00"), pd.Timestamp("2020-04-01 14:00"))
    assert not found.left_out and "EUMETSAT" in found.attribution and not found.simulated
    with xr.open_dataset(HRV, engine="h5netcdf") as data:
        assert (series.read(7)[0][0] == data.hrv[7].values).all()
        np.testing.assert_allclose(dataset.to_xarray(series, 7).x, data.x, atol=30)
        np.testing.assert_allclose(dataset.to_xarray(series, 7).y, data.y, atol=300)


@real
def test_the_real_sequence_lies_on_its_coastlines():
    """Clear ground is brighter than clear sea: Brittany must shine through at its place, and the sea around it be dark."""
    import geopandas as gpd
    from rasterio.features import rasterize

    from geonb.workloads.conflict.priogrid import NATURAL_EARTH

    found = dataset.open_scenes(str(HRV))
    (series,) = found.series
    darkest = np.min([series.read(i)[0][0] for i in range(0, 25, 4)], axis=0)
    land = gpd.read_file(next(NATURAL_EARTH.rglob("ne_110m_land.shp"))).clip((-30, 40, 5, 60)).to_crs(series.crs)
    outline = rasterize(land.geometry, series.shape, transform=series.transform).astype(bool)
    y, x = np.mgrid[: series.shape[0], : series.shape[1]]
    lon, lat = pyproj.Transformer.from_crs(series.crs, "OGC:CRS84", always_xy=True).transform(
        *(series.transform * (x, y))
    )
    here = (lon > -7) & (lon < -3) & (lat > 47.2) & (lat < 49.2)
    assert outline[here].mean() > 0.1, "Brittany is in the scene"
    assert darkest[here & outline].mean() > 1.5 * darkest[here & ~outline].mean()
    assert any("9.5°E" in note for note in found.notes)
    kept = dataset.open_scenes(f"{HRV}:longitude_of_projection_origin=0")
    assert grids.crs_name(kept.series[0].crs) == "geostationary, 0°E" and not kept.notes
