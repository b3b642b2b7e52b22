"""CSVs as R, spreadsheets and broken quotes leave them, against the same table written plainly."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest

from geonb.workloads.conflict import tables

HEADER = ["gid", "year", "light", "name"]
ROWS = [[62356 + i, 2005 + i % 7, i / 8, f"place {i}"] for i in range(60)]
PLAIN = pd.DataFrame(ROWS, columns=HEADER)


def lines(sep=",", comma=".", before="", after=""):
    rows = [sep.join(str(v).replace(".", comma) for v in row) for row in ROWS]
    return [f"{before.format(i + 1)}{row}{after}" for i, row in enumerate(rows)]


def read(path, rows=25):
    table = tables.read_table(path)
    places = {name: table.header.index(name) for name in HEADER}
    return pd.concat(tables.read_columns(table, places, rows, ["name"]), ignore_index=True)


def write(path, *text):
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


WAYS = {
    "plain": [",".join(HEADER), *lines()],
    "write.table": [",".join(f'"{name}"' for name in HEADER), *lines(before='"{}",')],
    "write.csv": ['"",' + ",".join(HEADER), *lines(before='"{}",')],
    "write.csv2": ['"";' + ";".join(HEADER), *lines(";", ",", before='"{}";')],
    "separators at the ends": [",".join(HEADER), *lines(after=",")],
    "separators at all ends": [",".join(HEADER) + ",", *lines(after=",")],
    "a spreadsheet's": ["sep=;", ";".join(HEADER), *lines(";", ",")],
    "semicolons and points": [";".join(HEADER), *lines(";")],
    "tabs": ["\t".join(HEADER), *lines("\t")],
    "an empty line": [",".join(HEADER), *lines()[:30], "", *lines()[30:], ""],
    "a name on two lines": ['gid,year,light,"name"', *lines()],
    "a header on two lines": ['gid,year,light,name,"best\nestimate"', *lines(after=",1")],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_gives_the_same_columns(tmp_path, way):
    pd.testing.assert_frame_equal(read(write(tmp_path / "a.csv", *WAYS[way])), PLAIN, check_dtype=False)


def test_tags_line_ends_and_compression_do_not_matter(tmp_path):
    text = "\r\n".join([",".join(HEADER), "#gid,#year,,", *lines()])
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert tables.read_table(tmp_path / "a.csv").tags
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.csv", text)
    for name in ("a.csv", "a.csv.gz", "a.zip"):
        pd.testing.assert_frame_equal(read(tmp_path / name), PLAIN, check_dtype=False)


def test_a_table_without_rows_has_none(tmp_path):
    assert not sum(map(len, tables.read_columns(tables.read_table(write(tmp_path / "a.csv", "a,b")), {"a": 0}, 5)))


@pytest.mark.parametrize(
    "changed",
    [
        [",".join(HEADER), *lines(before='"{}",', after=",")],
        [",".join(HEADER), *(f"{i + 1},{i},{i},{i}," for i in range(60))],  # which end has no name?
        [",".join(HEADER), *lines(before="7,")],
        [",".join(HEADER), *lines(after=",1,2")],
    ],
)
def test_rows_that_do_not_fit_the_header_are_refused(tmp_path, changed):
    with pytest.raises(ValueError, match=r"the header names 4 columns, but the rows below have \d fields"):
        tables.read_table(write(tmp_path / "a.csv", *changed))


def swallow(first, last, at):
    """Quotes that nobody meant, before a field of one row and after one of another."""
    rows = [",".join(map(str, row)).split(",") for row in ROWS]
    rows[first][at] = '"' + rows[first][at]
    rows[last][at] += '"'
    return [",".join(HEADER), *map(",".join, rows)]


@pytest.mark.parametrize(("first", "last", "at"), [(20, 50, 3), (20, 21, 2), (0, 59, 1)])
def test_rows_within_a_broken_quote_are_not_lost_without_a_word(tmp_path, first, last, at):
    path = write(tmp_path / "a.csv", *swallow(first, last, at))
    assert len(pd.read_csv(path)) == len(ROWS) - (last - first), "pandas says nothing"
    with pytest.raises(ValueError) as error:
        read(path)
    assert f"line {first + 2}: a quote opens a text there, and {last - first} rows below are taken" in str(error.value)


def test_a_quote_that_is_never_closed_is_named_by_its_line(tmp_path):
    text = [",".join(HEADER), *lines()]
    text[-1] = text[-1].replace("place", '"place')
    with pytest.raises(ValueError, match=r"a.csv is damaged:\n- line 61: a quote .* not closed"):
        read(write(tmp_path / "a.csv", *text))
    text = [*text[:40], text[40].replace("place", '"place'), *text[41:60] * 700, text[41].replace("place", 'pla"ce')]
    with pytest.raises(ValueError, match="line 41: a quote opens a text there, and it is not closed"):
        read(write(tmp_path / "a.csv", *text))


def test_line_breaks_and_separators_in_quotes_are_text(tmp_path):
    text = [",".join(HEADER), *lines()]
    names = ["Lagos,\nNigeria", "12\n13,14", 'a "b"\n\n,,,,\nc', "5 inch"]
    for i, name in enumerate(names):
        doubled = name.replace('"', '""')
        text[i + 1] = text[i + 1].replace(f"place {i}", f'"{doubled}"')
    found = read(write(tmp_path / "a.csv", *text))
    assert found["name"][:4].tolist() == names
    pd.testing.assert_frame_equal(found.iloc[:, :3], PLAIN.iloc[:, :3], check_dtype=False)
    text[5] = text[5].replace("place 4", 'a 5" gun')  # a quote that opens nothing
    assert read(write(tmp_path / "a.csv", *text))["name"][4] == 'a 5" gun'


def test_a_row_with_more_fields_than_names_is_refused(tmp_path):
    text = [",".join(HEADER), *lines()]
    text[56] = text[56].replace("place", "place,")
    with pytest.raises(ValueError, match=r"a.csv is damaged:\n- line 57: 5 fields, but 4 columns have a name"):
        read(write(tmp_path / "a.csv", *text))
    ragged = WAYS["write.table"].copy()
    ragged[56] = ragged[56].partition(",")[2]  # a row without its name would be read askew
    with pytest.raises(ValueError, match=r"line 57: 4 fields, but 4 columns have a name"):
        read(write(tmp_path / "a.csv", *ragged))


def test_a_row_that_ends_before_a_column_that_is_read_is_refused(tmp_path):
    text = [",".join([*HEADER, "notes", "more"]), *lines(after=",,")]
    text[30] = text[30].removesuffix(",,")  # as Excel does with empty fields; nobody reads them
    text[40] = "  "
    expected = PLAIN.drop(39).reset_index(drop=True)
    pd.testing.assert_frame_equal(read(write(tmp_path / "a.csv", *text)), expected, check_dtype=False)
    text[20] = text[20].partition(",")[2].removesuffix(",,")  # read askew: its year would be its gid
    with pytest.raises(ValueError, match=r"a.csv is damaged:\n- line 21: 3 fields, but 6 columns have a name"):
        read(write(tmp_path / "a.csv", *text))


NOTED = [",".join([*HEADER, "notes"]), *lines(after=",")]  # a last column that is empty


@pytest.mark.parametrize(
    ("head", "row", "size"),
    [
        (NOTED, "62400,2005,1,200,place,", 6),  # 1,200 of a light, without quotes
        (NOTED, "62400,2005,place,", 4),  # no light
        (NOTED, "62400,2005,1,", 4),
        (WAYS["separators at the ends"], "62400,2005,1,200,,", 6),
        (WAYS["separators at the ends"], "62400,2005,place,", 4),
        ([f"{line}{i or 'notes'}" for i, line in enumerate(NOTED)], "62400,2005,place,5", 4),
    ],
)
def test_a_row_that_may_be_read_askew_is_refused(tmp_path, head, row, size):
    table = tables.read_table(write(tmp_path / "a.csv", *head[:30], row, *head[30:]))
    with pytest.raises(ValueError, match=rf"a.csv is damaged:\n- line 31: {size} fields, but . columns have a name"):
        list(tables.read_columns(table, {"gid": 0}, 9))


def test_excel_leaves_off_a_column_that_is_empty_in_sixteen_rows(tmp_path):
    text = [f"{line},{i % 3 or ''}" for i, line in enumerate([",".join(HEADER), *lines()])]
    text[0] += "notes"
    text[16:32] = lines()[15:31]
    pd.testing.assert_frame_equal(read(write(tmp_path / "a.csv", *text)), PLAIN, check_dtype=False)
    text[32] = lines()[31]
    with pytest.raises(ValueError, match=r"a.csv is damaged:\n- line 33: 4 fields, but 5 columns have a name"):
        read(write(tmp_path / "a.csv", *text))


def test_a_last_row_that_is_cut_is_refused_and_one_without_its_line_break_is_not(tmp_path):
    text = "\n".join([",".join(HEADER), *lines()])
    (tmp_path / "a.csv").write_text(text)
    pd.testing.assert_frame_equal(read(tmp_path / "a.csv"), PLAIN, check_dtype=False)
    (tmp_path / "a.csv").write_text(text[: -len("5,place 59")])
    with pytest.raises(ValueError, match=r"line 61: the last row ends after 3 of 4 fields"):
        read(tmp_path / "a.csv")


def test_bytes_that_are_no_utf8_are_those_of_windows(tmp_path):
    (tmp_path / "a.csv").write_bytes("name,x\nCôte d’Or — é,1\nÅbo,2\n".encode("cp1252"))
    table = tables.read_table(tmp_path / "a.csv")
    found = pd.concat(tables.read_columns(table, {"name": 0, "x": 1}, 5, ["name"]))
    assert [tables.mended(name) for name in found["name"]] == ["Côte d’Or — é", "Åbo"]
    assert tables.mended("Côte") == "Côte" and np.array_equal(found["x"], [1, 2])
