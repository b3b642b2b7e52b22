"""Times out of numbers: right in every unit and form that files have, NaT where nothing tells what the numbers count."""

import numpy as np
import pandas as pd
import pytest

from geonb.base import times

DAYS = pd.DatetimeIndex(["2020-04-01T12:00", "2020-04-05T12:00", "2020-04-09T18:00"]).as_unit("ns")
SECONDS = (DAYS - pd.Timestamp("1970-01-01")) // pd.Timedelta("1s")


def read(values, units="", **attrs):
    found = times.decoded(np.array(values), {"units": units} | attrs)
    assert found.unit == "ns" and found.tz is None
    return found.round("ms")


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (SECONDS, "seconds since 1970-01-01"),
        (SECONDS * 1000, "milliseconds since 1970-01-01"),
        (SECONDS * 10**9, "nanoseconds since 1970-01-01T00:00:00Z"),
        (SECONDS / 3600, "hours since 1970-01-01 00:00:00 UTC"),
        (SECONDS / 86400, "days since 1970-1-1 00:00:0.0"),
        (SECONDS / 60, "min since 1970-01-01"),
        (SECONDS, "s since 19700101"),
        (SECONDS / 3600 + 2, b"hours since 1970-01-01 00:00:00 +02:00"),
        (SECONDS / 3600 - 3.5, "hours since 1970-01-01 00:00:00 -03:30"),
        (SECONDS / 3600 - 6, "hrs since 1970-01-01 06:00"),
        ([20200401.5, 20200405.5, 20200409.75], "day as %Y%m%d.%f"),
        ([2020040112, 2020040512, 2020040918], "YYYYMMDDHH"),
        ([202004011200, 202004051200, 202004091800], "%Y%m%d%H%M"),
        ([2020092.5, 2020096.5, 2020100.75], "YYYYDDD"),
        (SECONDS.astype(float), "seconds, unix epoch"),
        (SECONDS, "seconds since the epoch"),
        (SECONDS, "seconds since 1970"),
    ],
)
def test_every_unit_and_form_gives_the_same_times(values, units):
    assert read(values, units).equals(DAYS)


def test_name_and_long_name_may_tell_what_units_do_not():
    assert read([2020040112, 2020040512, 2020040918], long_name="time, YYYYMMDDHH").equals(DAYS)
    assert read(SECONDS * 1000, "ms", name="unix_time").equals(DAYS)
    assert read(SECONDS / 3600, "hours since 1970-01-01", long_name="YYYYMMDDHH").equals(DAYS), "units come first"


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        (SECONDS, {}),
        (SECONDS, {"units": "seconds"}),
        (SECONDS * 10**9, {"standard_name": "time"}),
        (SECONDS / 3600, {"units": "hours"}),
        (SECONDS / 86400, {"units": "days since launch"}),
        ([1, 2, 3], {"units": "days since 01-02-2020"}),  # of January or of February
        ([1, 2, 3], {"units": "months since 2020-01-01"}),
        ([1, 2, 3], {"units": "days since 2020-13-01"}),
        ([1, 2, 3], {"units": "days since 2020-01-01", "calendar": "360_day"}),
        (SECONDS, {"name": "unix_time"}),  # seconds or milliseconds?
        (SECONDS, {"units": "seconds", "long_name": "since epoch 2000"}),
        (SECONDS, {"units": "seconds", "long_name": "time since the GPS epoch"}),
        (SECONDS, {"units": "seconds", "long_name": "since the epoch of the model"}),
        (SECONDS, {"units": "seconds since epoch", "long_name": "mission_time"}),
        (SECONDS, {"units": "seconds", "long_name": "epoch"}),
        ([1, 2, 3], {"units": "days", "long_name": "day of 1970"}),
        (np.float32([20200401.5, 20200405.5, 20200409.75]), {"units": "day as %Y%m%d.%f"}),  # has not so many digits
        ([20201301, 202041, 99991231], {"units": "YYYYMMDD"}),
        ([20200401.1230, 20200405.1230], {"units": "%Y%m%d.%H%M"}),  # half past twelve is no .123 of a day
        ([20200401.1230, 20200405.1230], {"long_name": "YYYYMMDD.hhmm"}),
        ([1850, 1851], {"units": "%Y-%m-%d"}),
        (["12:15", "12:30"], {"units": "%H:%M"}),
    ],
)
def test_what_nothing_tells_stays_unknown(values, attrs):
    assert times.decoded(np.array(values), attrs).isna().all()


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        ([np.nan, *SECONDS[1:]], {}),
        ([-999.0, *SECONDS[1:]], {"missing_value": np.float32(-999)}),
        ([9.969209968386869e36, *SECONDS[1:]], {}),
        ([1e20, *SECONDS[1:]], {}),
        (np.array([np.iinfo(np.int64).min, *SECONDS[1:]]), {}),
        (np.array([-9223372036854775806, *SECONDS[1:]]), {}),  # NetCDF's own of int64
        (np.array([-2147483647, *SECONDS[1:]], np.int32), {}),  # and of int32: it would be of 1901
        ([1e18, *SECONDS[1:]], {}),
        ([-999.0, *SECONDS[1:]], {"_FillValue": -999.0, "missing_value": "-999"}),
    ],
)
def test_one_time_that_is_none_leaves_the_others(values, attrs):
    found = read(values, "seconds since 1970-01-01", **attrs)
    assert found[0] is pd.NaT and found[1:].equals(DAYS[1:])


@pytest.mark.parametrize(
    ("number", "units", "calendar", "expected"),
    [
        (17_714_064, "hours since 0001-01-01 00:00:0.0", "proleptic_gregorian", "2021-10-24"),  # as datetime has it
        (
            17_714_064,
            "hours since 0001-01-01 00:00:0.0",
            "standard",
            "2021-10-22",
        ),  # the Julian 1 January: two days before
        (1, "days since 1582-10-04 12:00", "", "NaT"),  # read, but before there are any images
        (160_000, "days since 1582-10-04", "gregorian", "2020-11-06"),  # the day before the 15th
        (160_000, "days since 1582-10-15", "gregorian", "2020-11-07"),
        (44_286.5, "days since 1900-01-01", "standard", "2021-04-02 12:00"),
    ],
)
def test_calendars_before_1582(number, units, calendar, expected):
    (found,) = read([number], units, calendar=calendar)
    assert str(found) == str(pd.Timestamp(expected))


def test_packed_times_and_such_that_carry_their_unit_in_their_type():
    packed = {"scale_factor": 0.5, "add_offset": 10.0}
    assert [t.hour for t in read([0, 4], "hours since 2020-04-01", **packed)] == [10, 12]
    assert times.decoded(DAYS.to_numpy().astype("M8[s]"), {}).equals(DAYS)


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2020-05-04", "%Y-%d-%m", "2020-04-05"),
        (b"05/04/2020", "%d/%m/%Y", "2020-04-05"),
        ("05/04/2020 02:00 +0200", "%d/%m/%Y %H:%M %z", "2020-04-05"),
        ("2020-04-05", "%d/%m/%Y", "NaT"),
        ("05/04/1234", "%d/%m/%Y", "NaT"),
    ],
)
def test_texts_are_read_in_the_form_that_is_told(text, form, expected):
    (found,) = times.decoded(np.array([text], object), {"units": form})
    assert str(found) == str(pd.Timestamp(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-04-01T12:00:16.4Z", "2020-04-01 12:00:16.400"),
        (b"2020-04-01 14:15:00+02:00", "2020-04-01 12:15"),
        ("2020-04-01_12:05:00", "2020-04-01 12:05"),
        ("2020/04/01 12:05 UTC", "2020-04-01 12:05"),
        ("20200401T120500Z", "2020-04-01 12:05"),
        ("2020-04-01", "2020-04-01"),
        ("12:05", "NaT"),
        ("10", "NaT"),
        ("04/05/2020", "NaT"),
        ("2020", "NaT"),
        ("9999-12-31", "NaT"),
        ("none", "NaT"),
    ],
)
def test_texts_begin_with_the_year_or_are_unknown(text, expected):
    assert str(times.stamp(text)) == str(pd.Timestamp(expected))
