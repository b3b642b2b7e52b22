import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geonb.workloads.conflict import covariates, priogrid

REGION = priogrid.select_region("box:0,0,1,1")  # 2 x 2 cells
A, B, C, D = REGION.gid.ravel().tolist()
NAN = float("nan")


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.fixture
def files(tmp_path):
    yearly = write(
        tmp_path / "yearly.csv",
        gid=[A, A, A, B, B, 1],
        year=[2000, 2001, 2004, 2001, 2002, 2001],
        pop_gpw_sum=[10.0, NAN, 50.0, 7.0, NAN, 99.0],
        nlights_mean=[NAN, 0.5, NAN, 0.0, 0.25, 99.0],
    )
    static = write(
        tmp_path / "static.csv", gid=[D, A], row=[1, 1], col=[2, 1], xcoord=[0, 0], ycoord=[0, 0], ttime_mean=[3.5, 0.0]
    )
    return [yearly, static]


def test_columns_are_told_by_header(files):
    assert covariates.list_columns(files) == {"yearly": ["pop_gpw_sum", "nlights_mean"], "static": ["ttime_mean"]}
    assert covariates.list_columns(None) == {"yearly": [], "static": []}


def test_people_are_interpolated_lights_carried_and_the_unknown_stays_unknown(files):
    read = covariates.read_covariates(files, ["nlights_mean", "pop_gpw_sum", "ttime_mean"], REGION, range(2000, 2005))
    lights = read["nlights_mean"].to_numpy().reshape(5, 4)
    people = read["pop_gpw_sum"].to_numpy().reshape(5, 4)
    np.testing.assert_array_equal(lights[:, 0], [0.5] * 5)
    np.testing.assert_array_equal(lights[:, 1], [0, 0, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(people[:, 0], [10, 20, 30, 40, 50])
    np.testing.assert_array_equal(people[:, 1], [7] * 5)
    assert np.isnan(lights[:, 2:]).all() and np.isnan(people[:, 2:]).all()
    np.testing.assert_array_equal(read["ttime_mean"], [[0.0, NAN], [NAN, 3.5]])
    told = read["nlights_mean"].attrs
    assert told["fill"] == "carried" and told["known_years"] == [2000, 2001, 2002, 2004]
    assert (
        told["filled_years"] == [2000, 2002, 2003, 2004] and told["filled_values"] == 7 and told["unknown_cells"] == 2
    )
    assert read["pop_gpw_sum"].attrs["fill"] == "interpolated" and read["ttime_mean"].attrs["unknown_cells"] == 2


def test_years_outside_the_cubes_fill_those_inside(files):
    read = covariates.read_covariates(files, ["pop_gpw_sum"], REGION, [2001, 2002])
    assert read["pop_gpw_sum"][:, 0, 0].to_numpy().tolist() == [20, 30]
    assert read["year"].to_numpy().tolist() == [2001, 2002]


def test_files_are_joined_and_the_first_counts(files, tmp_path):
    more = write(tmp_path / "more.csv", gid=[A, C], year=[2000, 2000], pop_gpw_sum=[1.0, 2.0], temp=[20.0, 21.0])
    read = covariates.read_covariates([*files, more], ["pop_gpw_sum", "temp"], REGION, [2000])
    np.testing.assert_array_equal(read["pop_gpw_sum"][0], [[10, 7], [2, NAN]])
    np.testing.assert_array_equal(read["temp"][0], [[20, NAN], [21, NAN]])


def test_files_that_do_not_fit_are_refused(files, tmp_path):
    def read(paths, columns=("pop_gpw_sum",), years=(2000,)):
        return covariates.read_covariates(paths, columns, REGION, years)

    with pytest.raises(ValueError, match="has years 2000 to 2004, and none of the cube's 2010 to 2012"):
        read(files, years=range(2010, 2013))
    with pytest.raises(ValueError, match=r"No covariate file has rain\. There are: yearly pop_gpw_sum"):
        read(files, ["rain"])
    with pytest.raises(ValueError, match="gid must be a whole number from 1 to 259200, not 0"):
        read(write(tmp_path / "off.csv", gid=[0], year=[2000], pop_gpw_sum=[1]))
    with pytest.raises(ValueError, match="text for a number"):
        read(write(tmp_path / "text.csv", gid=[A], year=[2000], pop_gpw_sum=["many"]))
    with pytest.raises(ValueError, match="no value in any cell"):
        read(write(tmp_path / "far.csv", gid=[1], year=[2000], pop_gpw_sum=[1]))
    with pytest.raises(ValueError) as error:
        read([write(tmp_path / "x.csv", cell=[1]), tmp_path / "none.csv"])
    assert "x.csv has no column gid" in str(error.value) and "none.csv is not there" in str(error.value)


@given(
    st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=1, max_size=12),
    st.sampled_from(["carried", "interpolated"]),
)
def test_filling_is_what_pandas_does(values, rule):
    series = pd.Series(values, dtype=float, index=range(2000, 2000 + len(values)))
    wanted = (series.interpolate("index") if rule == "interpolated" else series.ffill()).ffill().bfill()
    found = covariates.fill_years(series.to_numpy()[:, None], series.index.to_numpy(), rule)[:, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "bad.csv is empty"),
        (b"gid,year,pop\n1,2000,3\n1,2001,many\n", "pop = 'many'"),
        (b"gid,year,pop\n1,2000,True\n1,2001,False\n", "pop = 'True'"),
        (b"gid,year,pop\n1,2000,3\n999999,2000,3\n", "gid must be a whole number from 1 to 259200, not 999999"),
        (b"gid,year,pop\n1,2000,3\n1,,3\n", "year must be a whole number from 1 to 9999, not nan"),
        (b'gid,year,pop\n1,2000,3\n1,2001,"3\n1,2002', "bad.csv is damaged:\n- line 3: a quote opens"),
        (b"gid,year,pop\n1,2000,3\n1,2001,1,234\n", "bad.csv is damaged:\n- line 3: 4 fields, but 3 columns"),
        (b"gid,year,pop\n1,2000,3\n1,2001", "line 3: the last row ends after 2 of 3 fields"),
        (b"gid,year,pop,pop\n1,2000,3,4\n", "bad.csv has columns of the same name: pop"),
        (b"gid,year,pop\n1,2000,3\n1,2000,4\n", "pop of gid 1 of 2000 is given more than once, as 3 and 4"),
        (b"gid,period,pop\n1,2000,3\n1,2001,4\n", "pop of gid 1 is given more than once, .* a column called year"),
        (b"gid,year,pop\n1,2000,3\n2,2000,-inf\n", "bad.csv: pop = -inf, and nothing of 1e30 and beyond is"),
        (b"gid,year,pop\n1,2000,3\n2,2000,1e39\n", r"bad.csv: pop = 1e\+39, and nothing of 1e30"),
        (b"gid,year,pop\n1,2000,3\n2,2000,-3.4e38\n", r"bad.csv: pop = -3.4e\+38, and nothing of 1e30"),
        (b"gid,year,pop\n1,2000,3\n2,2000,9.96921e36\n", r"bad.csv: pop = 9.96921e\+36, and nothing of 1e30"),
        (b"gid,year,pop\n1,2000,3\n2,2000,1e20\n", r"pop is 1e\+20 in cells of the region globe, far from all else"),
        (b"gid,year,pop\n1,2000,3\n2,2000,-32768\n", "pop is -32768 in cells of the region globe"),
        (b"gid,year,pop\n1,2000,3\n2,2000,-2147483648\n", "pop is -2147483648 in cells of the region globe"),
        (b"gid,year,pop\n1,2000,3\n2,2000,-99\n", "pop is -99 in cells of the region globe, far from all else"),
        (
            b"gid,xcoord,ycoord,pop\n1,9.25,8.75,3\n2,9.75,8.75,4\n",
            "for 2 of 2 rows gid is not the cell at ycoord and xcoord",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_value(tmp_path, content, says):
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        covariates.read_covariates(tmp_path / "bad.csv", ["pop"], priogrid.select_region("globe"), [2000, 2001])


def test_a_zip_that_is_none_is_named(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=r"bad.zip is damaged or no CSV \(File is not a zip file"):
        covariates.list_columns(tmp_path / "bad.zip")


def test_a_file_that_may_not_be_read_is_not_called_damaged(files, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(covariates, "read_table", denied)  # root may read all
    with pytest.raises(ValueError, match=r"yearly.csv may not be read: get the permission"):
        covariates.list_columns(files)


def test_tables_of_r_and_of_spreadsheets_read_as_the_plain_one(tmp_path):
    plain = write(
        tmp_path / "plain.csv", gid=[A, B, C, D] * 2, year=[2000] * 4 + [2001] * 4, light=np.arange(8) / 8, pop=range(8)
    )
    header, *rows = plain.read_text().splitlines()
    ways = {
        "table": [header, *(f'"{n}",{row}' for n, row in enumerate(rows, 1))],
        "csv": ['"",' + header, *(f'"{n}",{row}' for n, row in enumerate(rows, 1))],
        "csv2": [line.replace(",", ";").replace(".", ",") for line in [header, *rows]],
        "ends": [header, *(f"{row}," for row in rows)],
        "capitals": [header.replace("gid", "GID").replace("year", "Year"), *rows],
    }
    expected = covariates.read_covariates(plain, ["light", "pop"], REGION, [2000, 2001])
    np.testing.assert_array_equal(expected["light"], np.arange(8).reshape(2, 2, 2) / 8)
    for name, lines in ways.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        assert covariates.list_columns(tmp_path / f"{name}.csv") == {"yearly": ["light", "pop"], "static": []}
        read = covariates.read_covariates(tmp_path / f"{name}.csv", ["light", "pop"], REGION, [2000, 2001])
        assert read.identical(expected), name


@pytest.mark.parametrize("lights", [range(60), ["1.5E-05"] * 60, [".5"] * 60, ["+0.25"] * 60])
def test_points_between_semicolons_are_decimal_signs_however_late_or_written(tmp_path, lights):
    """The first fifty rows may say nothing of it."""
    lights = [*lights, "12.5", ""]
    rows = [f"{A};{1950 + n};{light}" for n, light in enumerate(lights)]
    (tmp_path / "a.csv").write_text("\n".join(["gid;year;light", *rows]) + "\n")
    read = covariates.read_covariates(tmp_path / "a.csv", ["light"], REGION, range(1950, 1950 + len(lights)))
    expected = np.float32([*map(float, lights[:-1]), 12.5])  # the last one is carried
    np.testing.assert_array_equal(read["light"][:, 0, 0], expected)
    (tmp_path / "b.csv").write_text("\n".join(["gid;year;light", *rows[:-1], f"{A};2020;3,5"]) + "\n")
    with pytest.raises(ValueError, match=r"b.csv: text for a number \(light = '3,5', ...\)"):
        covariates.read_covariates(tmp_path / "b.csv", ["light"], REGION, [1950])


def test_static_values_of_another_part_of_the_world_are_named(tmp_path, files):
    there = (np.arange(230, 240)[:, None] * 720 + np.arange(500, 520)).ravel()
    far = write(tmp_path / "far.csv", gid=there, ttime_mean=there / 2.0)
    with pytest.raises(
        ValueError, match=r"ttime_mean has no value in any cell of the region box:0,0,1,1 \(west, .*0.0, 0.0, 1.0, 1.0"
    ):
        covariates.read_covariates(far, ["ttime_mean"], REGION, [2000])
    both = covariates.read_covariates([far, *files], ["ttime_mean"], REGION, [2000])
    np.testing.assert_array_equal(both["ttime_mean"], [[0.0, NAN], [NAN, 3.5]])


def test_rows_that_complete_each_other_and_cold_places_are_no_faults(tmp_path):
    parts = write(tmp_path / "a.csv", gid=[A, A, B], year=[2000] * 3, pop=[1, NAN, 2], temp=[NAN, -99.0, -98.0])
    read = covariates.read_covariates(parts, ["pop", "temp"], REGION, [2000])
    np.testing.assert_array_equal(read["temp"][0], [[-99, -98], [NAN, NAN]])
    np.testing.assert_array_equal(read["pop"][0], [[1, 2], [NAN, NAN]])
