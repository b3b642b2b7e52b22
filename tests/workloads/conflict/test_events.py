import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geonb.workloads.conflict import events, priogrid

NIGERIA = Path(__file__).resolve().parents[4] / "shared" / "data" / "conflict" / "conflict_data_nga.csv"
if not NIGERIA.exists():  # a worktree lies one folder deeper
    NIGERIA = Path(__file__).resolve().parents[5] / "shared" / "data" / "conflict" / "conflict_data_nga.csv"

ROW = {
    "id": 1, "type_of_violence": 1, "where_prec": 1, "latitude": 10.2, "longitude": 9.1, "country": "Nigeria",
    "country_id": 475, "date_prec": 1, "date_start": "2009-06-09 00:00:00.000", "date_end": "2009-06-09 00:00:00.000",
    "best": 3, "high": 5, "low": 2,
}  # fmt: skip
ROW["priogrid_gid"] = int(priogrid.gid_of(10.2, 9.1))


def table(*changes):
    """A row an argument: what differs from ROW."""
    return pd.DataFrame([ROW | {"id": n} | change for n, change in enumerate(changes, 1)])


def write(path, *changes):
    table(*changes).to_csv(path, index=False)
    return path


def test_the_table_is_compact_and_says_what_was_read(tmp_path):
    read = events.read_events(write(tmp_path / "a.csv", {}, {"date_start": "2009-05-31", "best": 0}))
    assert read.loc[0].to_dict() == {
        "id": 1, "gid": ROW["priogrid_gid"], "row": 200, "column": 378, "month_start": 473, "month_end": 473, "type": 1,
        "best": 3, "high": 5, "low": 2, "where_prec": 1, "date_prec": 1, "country_id": 475,
    }  # fmt: skip
    assert read["month_start"].tolist() == [473, 472] and read["month_end"].tolist() == [473, 473]
    assert {c: read[c].dtype for c in read} == {k: np.dtype(v) for k, v in events.DTYPES.items()}
    assert read.attrs["report"]["spans_months"] == 1 and read.attrs["report"]["best_outside_low_high"] == 1
    assert read.attrs["countries"] == {475: "Nigeria"} and not read.attrs["simulated"]


def test_order_spelling_separator_and_letters_of_the_header_do_not_matter(tmp_path):
    plain = events.read_events(write(tmp_path / "a.csv", {}, {"best": 7}))
    renamed = table({}, {"best": 7}).rename(
        columns={"priogrid_gid": "PRIO_GRID", "best": "best_est", "high": "High_Est", "low": "low_est",
                 "date_prec": "dateprec", "country_id": "gwno", "type_of_violence": "type_of_vi"}
    )  # fmt: skip
    renamed[renamed.columns[::-1]].to_csv(tmp_path / "b.csv", index=False, sep=";", encoding="utf-8-sig")
    pd.testing.assert_frame_equal(plain, events.read_events(tmp_path / "b.csv"))


def test_hxl_row_zip_and_geojson_read_as_the_plain_file(tmp_path):
    plain = events.read_events(write(tmp_path / "a.csv", {}, {"best": 7}))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    tags = ",".join(f"#tag+{n}" for n in range(len(ROW)))
    (tmp_path / "hxl.csv").write_text("\n".join([lines[0], tags, *lines[1:]]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.csv", "GEDEvent.csv")
        archive.writestr("__MACOSX/GEDEvent.csv", "")
    features = [
        {
            "type": "Feature",
            "properties": {k: v for k, v in row.items() if k not in ("latitude", "longitude", "priogrid_gid")},
            "geometry": {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]},
        }
        for row in table({}, {"best": 7}).to_dict("records")
    ]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    for name in ("hxl.csv", "a.zip", "a.geojson"):
        pd.testing.assert_frame_equal(plain, events.read_events(tmp_path / name), check_like=False)
    assert events.read_events(tmp_path / "hxl.csv").attrs["report"]["hxl_rows_skipped"] == 1
    assert events.read_events(tmp_path / "a.geojson").attrs["report"]["gid_from_coordinates"] == 2


def test_without_a_gid_it_comes_from_the_coordinates_also_on_the_maps_edges(tmp_path):
    places = [(90, 180), (-90, -180), (0, 180)]
    frame = table(*({"latitude": y, "longitude": x} for y, x in places)).drop(columns="priogrid_gid")
    frame.to_csv(tmp_path / "a.csv", index=False)
    read = events.read_events(tmp_path / "a.csv")
    assert read["gid"].tolist() == [259_200, 1, 180 * 720 + 720]
    assert read.attrs["report"]["gid_from_coordinates"] == 3


def test_a_few_cell_numbers_that_disagree_count_as_published_and_are_told(tmp_path):
    beside = ROW["priogrid_gid"] + 1
    read = events.read_events(write(tmp_path / "a.csv", {"priogrid_gid": beside}, {}, {"priogrid_gid": np.nan}))
    assert read["gid"].tolist() == [beside, ROW["priogrid_gid"], ROW["priogrid_gid"]], "rounding on an edge"
    report = read.attrs["report"]
    assert (report["gid_disagrees"], report["gid_from_coordinates"]) == (1, 1)
    assert events.remarks(report) == [
        "Cell numbers that are not the cell at their event's coordinates, and count nevertheless: 1."
    ]
    far = write(tmp_path / "b.csv", *[{}] * 150, {"priogrid_gid": 5})
    assert events.read_events(far)["gid"].tolist()[-1] == 5 and events.remarks(events.read_events(far).attrs["report"])


def test_cell_numbers_and_coordinates_that_contradict_each_other_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", *[{}] * 40, {"priogrid_gid": 5}, {"priogrid_gid": 5, "longitude": -171.0})
    with pytest.raises(
        ValueError, match=r"2 events: priogrid_gid is neither the cell .*first: event 41 \(.*priogrid_gid 5"
    ):
        events.read_events(path)
    read = events.read_events(path, faults="drop")
    assert len(read) == 40 and sum(read.attrs["report"]["faulty_dropped"].values()) == 2
    assert "Events left out for their faults: 2." in events.remarks(read.attrs["report"])


@pytest.mark.parametrize("placed", ["geometry", "multipoint", "columns"])
def test_a_database_s_number_of_the_row_is_not_taken_for_a_cell(tmp_path, placed):
    """Points that went through a spatial database, whose primary key is called gid."""
    random = np.random.default_rng(0)
    places = np.round(random.normal([9, 8], 1.5, (300, 2)), 6).tolist()
    rows = [
        {k: v for k, v in (ROW | {"id": n, "gid": n}).items() if k not in ("priogrid_gid", "latitude", "longitude")}
        | ({"latitude": y, "longitude": x} if placed == "columns" else {})
        for n, (y, x) in enumerate(places, 1)
    ]
    kind = "MultiPoint" if placed == "multipoint" else "Point"
    features = [
        {"type": "Feature", "properties": row,
         "geometry": {"type": kind, "coordinates": [[x, y]] if kind == "MultiPoint" else [x, y]}}
        for row, (y, x) in zip(rows, places, strict=True)
    ]  # fmt: skip
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    read = events.read_events(tmp_path / "a.geojson")
    expected = [int((y + 90) // 0.5) * 720 + int((x + 180) // 0.5) + 1 for y, x in places]
    assert read["gid"].tolist() == expected and read["id"].tolist() == list(range(1, 301))
    (said,) = events.remarks(read.attrs["report"])
    assert "another cell than the coordinates for 300 of 300 events" in said and "a.geojson" in said
    pd.DataFrame(rows).drop(columns=["latitude", "longitude"], errors="ignore").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(
        ValueError, match=r"the column gid rises from row to row, from 1 to 300.*name the column priogrid_gid"
    ):
        events.read_events(tmp_path / "a.csv")


def test_a_column_gid_that_is_prio_s_counts_also_without_coordinates(tmp_path):
    frame = table(*({} for _ in range(20)), {"latitude": np.nan}).rename(columns={"priogrid_gid": "gid"})
    frame.to_csv(tmp_path / "a.csv", index=False)
    read = events.read_events(tmp_path / "a.csv")
    assert set(read["gid"]) == {ROW["priogrid_gid"]} and not events.remarks(read.attrs["report"])
    frame.drop(columns=["latitude", "longitude"]).to_csv(tmp_path / "a.csv", index=False)
    pd.testing.assert_frame_equal(events.read_events(tmp_path / "a.csv"), read)


def test_of_the_same_id_the_first_file_wins(tmp_path):
    final = write(tmp_path / "final.csv", {"best": 3}, {"best": 4})
    candidate = write(
        tmp_path / "candidate.csv", {"best": 30}, {"id": 9, "date_start": "2010-01-01", "date_end": "2010-01-01"}
    )
    read = events.read_events(f"{final}, {candidate}")
    assert read["best"].tolist() == [3, 4, 3] and read["id"].tolist() == [1, 2, 9]
    assert read.attrs["report"]["duplicate_ids"] == 1 and read.attrs["report"]["overlapping_files"] == {}
    assert events.remarks(read.attrs["report"]) == ["Events left out because an earlier one has their id: 1."]


def test_an_id_that_is_none_is_refused_and_a_row_that_is_there_twice_counts_once(tmp_path):
    path = write(tmp_path / "a.csv", *({"id": 7, "best": best} for best in (1, 2, 2, 1)))
    with pytest.raises(ValueError, match=r"1 event: id is that of an earlier event of the file, .*first: event 7"):
        events.read_events(path)
    assert events.read_events(path, "drop")["best"].tolist() == [1]


def test_files_that_number_their_events_each_for_itself_lose_none(tmp_path):
    first = write(tmp_path / "a.csv", *[{}] * 20)
    there = {"latitude": 4.1, "longitude": 7.1, "priogrid_gid": int(priogrid.gid_of(4.1, 7.1))}
    second = write(tmp_path / "b.csv", *[there | {"date_start": "2010-01-01", "date_end": "2010-01-01"}] * 20)
    with pytest.raises(
        ValueError, match=r"b.csv: 20 of its events have the id .* 20 are of another month, cell or type"
    ):
        events.read_events([first, second])
    write(second, *[{"date_start": "2010-01-01", "date_end": "2010-01-01"}] * 20)  # of the same town
    with pytest.raises(ValueError, match=r"b.csv: 20 of its events have the id .* 20 are of another month"):
        events.read_events([first, second])


@pytest.mark.parametrize("ids", [("NIG-1", "NIG-2"), (2**62 + 1, 2**62 + 2), ("1.5", "1")])
def test_ids_that_are_no_small_numbers_tell_events_apart_too(tmp_path, ids):
    path = write(tmp_path / "a.csv", {"id": ids[0]}, {"id": ids[1], "best": 4}, {"id": ids[0]})
    read = events.read_events(path)
    assert read["best"].tolist() == [3, 4] and (read["id"] >= 0).all()
    assert read.attrs["report"]["duplicate_ids"] == 1


@pytest.mark.parametrize("kind", ["csv", "json", "geojson"])
def test_large_ids_beside_an_empty_one_lose_no_event(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    rows = [ROW | {"id": n} for n in (10**17 + 1, 10**17 + 2, None)]
    places = {"type": "Point", "coordinates": [9.1, 10.2]}
    shapes = [{"type": "Feature", "properties": row, "geometry": places} for row in rows]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": shapes} if kind == "geojson" else rows))
    if kind == "csv":
        pd.DataFrame(rows, dtype=object).to_csv(path, index=False)
    read = events.read_events(path)
    assert len(read) == 3
    assert read.attrs["report"]["without_id"] == (3 if kind == "geojson" else 1)  # GDAL gives floats there


def test_an_id_of_letters_that_comes_twice_is_told_as_the_file_has_it(tmp_path):
    path = write(tmp_path / "a.csv", {"id": "NIG-1"}, {"id": "NIG-1", "best": 4})
    with pytest.raises(ValueError, match=r"1 event: id is that of an earlier event .*; first: event NIG-1 \("):
        events.read_events(path)


def test_events_without_an_id_are_told(tmp_path):
    read = events.read_events(write(tmp_path / "a.csv", {"id": ""}, {"id": ""}, {}))
    assert read["id"].tolist() == [-1, -1, 3]
    assert events.remarks(read.attrs["report"]) == [
        "Events without an id, of which one that is listed twice counts twice: 2."
    ]


def monthly(first, months, start=1, **more):
    """Two events a month, of two kinds."""
    days = [str(day)[:10] for day in pd.date_range(f"{first}-05", periods=months, freq=pd.DateOffset(months=1))]
    return [
        {"id": start + n, "date_start": day, "date_end": day, "type_of_violence": 1 + n % 2, "best": n % 9, "high": 9, "low": 0}
        | more
        for n, day in enumerate(day for day in days for _ in range(2))
    ]  # fmt: skip


def test_releases_of_the_same_months_are_refused_until_one_counts(tmp_path):
    """The same killings under the ids of a final and of a candidate release, of which the last three months are new."""
    final = write(tmp_path / "final.csv", *monthly("2010-01", 24))
    late = [row | {"id": 900 + row["id"]} for row in monthly("2010-01", 24)[42:]]
    candidate = write(tmp_path / "candidate.csv", *late, *monthly("2012-01", 3, 5000))
    with pytest.raises(ValueError) as error:
        events.read_events([final, candidate])
    for says in ("6 of its 12 events", f"that {final} covers", "6 have the month", "faults = raise:overlap=first"):
        assert says in str(error.value)
    once = events.read_events([final, candidate], overlap="first")
    expected = [*range(1, 49), *range(5000, 5006)]
    assert once["id"].tolist() == expected and once["best"].sum() == sum(
        r["best"] for r in [*monthly("2010-01", 24), *monthly("2012-01", 3)]
    )
    assert once.attrs["report"]["overlapping_left_out"] == 6 and once.attrs["report"]["events"] == len(once)
    assert events.remarks(once.attrs["report"]) == ["Events left out because an earlier file covers their months: 6."]
    both = events.read_events([final, candidate], overlap="both")
    assert len(both) == 60 and "deaths may count twice: 6." in events.remarks(both.attrs["report"])[0]
    assert both.attrs["report"]["overlapping_files"] == {str(candidate): 6}
    with pytest.raises(ValueError, match="6 of its 48 events"):
        events.read_events([candidate, final])  # as a glob orders them


@pytest.mark.parametrize(
    "more",
    [
        {"country_id": 520},
        {"type_of_violence": 3},
        {"date_end": "2012-01-01"},  # the month after's, though it began in the last one
        {"date_start": "2012-01-01", "date_end": "2012-01-02"},
        {"date_start": "2009-12-01", "date_end": "2009-12-02"},
    ],
)
def test_files_that_hold_other_events_do_not_overlap(tmp_path, more):
    first = write(tmp_path / "a.csv", *monthly("2010-01", 24))
    second = write(tmp_path / "b.csv", *monthly("2011-12", 1, 900, **more))
    read = events.read_events([first, second])
    assert len(read) == 50 and not events.remarks(read.attrs["report"])


FAULTS = [
    ({"date_start": "2009-13-45"}, "date_start is not a date"),
    ({"date_end": ""}, "date_end is not a date"),
    ({"date_end": "2009-06-08"}, "date_end before date_start"),
    ({"best": -1}, "negative deaths"),
    ({"low": -2}, "negative deaths"),
    ({"best": "many"}, "best is not a number"),
    ({"high": ""}, r"high is not a number; first: event 2 \(high empty\)"),
    ({"low": np.nan}, "low is not a number"),
    ({"type_of_violence": 4}, "type_of_violence is not 1, 2 or 3"),
    ({"latitude": 90.5}, "latitude not in -90 to 90"),
    ({"longitude": 181}, "longitude not in -180 to 180"),
    ({"priogrid_gid": 0, "latitude": np.nan}, "no cell"),
    ({"priogrid_gid": "", "latitude": "10,25"}, r"no cell.*first: event \d+ \(.*latitude '10,25'"),
    ({"date_start": "1009-06-09"}, "date_start or date_end not in the years 1900 to 2099"),
    ({"date_end": "2909-06-09"}, "date_start or date_end not in the years 1900 to 2099"),
    ({"best": "1e12"}, "deaths not whole numbers"),
    ({"high": "inf"}, "deaths not whole numbers"),
    ({"best": 2.5}, "deaths not whole numbers"),
]


@pytest.mark.parametrize(("change", "says"), FAULTS)
def test_a_faulty_event_is_named(tmp_path, change, says):
    path = write(tmp_path / "a.csv", {}, change)
    with pytest.raises(ValueError, match=says) as error:
        events.read_events(path)
    assert "1 event:" in str(error.value) and "first: event 2" in str(error.value)
    read = events.read_events(path, faults="drop")
    assert read["id"].tolist() == [1] and sum(read.attrs["report"]["faulty_dropped"].values()) == 1


def test_all_faults_are_listed_at_once_with_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "CHUNK_ROWS", 3)  # counted over pieces
    path = write(tmp_path / "a.csv", *(change for change, _ in FAULTS))
    with pytest.raises(ValueError) as error:
        events.read_events(path)
    for says in {says for _, says in FAULTS if "first" not in says}:
        assert says in str(error.value)
    assert "2 events: negative deaths; first: event 4" in str(error.value)


def test_numbers_that_the_table_cannot_hold_are_unknown_not_others(tmp_path):
    read = events.read_events(write(tmp_path / "a.csv", {"where_prec": 257, "date_prec": -99, "country_id": -99}))
    assert read.loc[0, ["where_prec", "date_prec", "country_id"]].tolist() == [-1, -1, 0]


def test_letters_that_are_no_utf8_are_read_and_told(tmp_path):
    path = write(tmp_path / "a.csv", {"country": "Côte d'Açai"}, {})
    path.write_bytes(path.read_text().encode("latin-1"))
    read = events.read_events(path)
    assert read.attrs["countries"] == {475: "Côte d'Açai"}
    assert events.remarks(read.attrs["report"]) == [
        'a.csv is not in UTF-8: read as Windows-1252, as in "Côte d\'Açai".'
    ]


def test_files_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / year / "ged.csv" for year in ("2024", "2025")]
    for n, path in enumerate(paths):
        path.parent.mkdir()
        days = {"date_start": f"201{n}-01-01", "date_end": f"201{n}-01-01"}
        write(path, *({"id": 10 * n + i, "country": f"Côte {n}"} | days for i in range(n + 1)))
        path.write_bytes(path.read_text().encode("latin-1"))
    report = events.read_events(paths).attrs["report"]
    assert report["files"] == {str(paths[0]): 1, str(paths[1]): 2}
    assert report["recoded"] == {str(paths[0]): "Côte 0", str(paths[1]): "Côte 1"}


def test_a_table_of_r_reads_as_the_plain_one(tmp_path):
    """write.table names no column for its row names; others end each line with a separator, or write decimal commas."""
    plain = write(tmp_path / "plain.csv", *({"id": 99 + n, "best": n, "latitude": 10.2 + n / 800} for n in range(60)))
    header, *rows = plain.read_text().splitlines()
    ways = {
        "table": [header, *(f'"{n}",{row}' for n, row in enumerate(rows, 1))],
        "ends": [header, *(f"{row}," for row in rows)],
        "csv2": [line.replace(",", ";").replace(".", ",") for line in [header, *rows]],
    }
    ways["spreadsheet"] = [
        "sep=;",
        *(line.replace("2009-06-09 00:00:00,000", "09.06.2009 00:00") for line in ways["csv2"]),
    ]
    for name, lines in ways.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        pd.testing.assert_frame_equal(events.read_events(tmp_path / f"{name}.csv"), events.read_events(plain))


def test_events_within_a_broken_quote_are_not_lost(tmp_path):
    path = write(tmp_path / "a.csv", *({"country": "Nowhere"} for _ in range(3000)))
    lines = path.read_text().splitlines()
    lines[500], lines[2500] = lines[500].replace("Nowhere", '"Nowhere'), lines[2500].replace("Nowhere", 'Nowhere"')
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"a.csv is damaged:\n- line 501: a quote opens a text there"):
        events.read_events(path, "drop")


def test_missing_columns_of_all_files_are_listed(tmp_path):
    table({}).drop(columns=["best", "date_start"]).to_csv(tmp_path / "a.csv", index=False)
    table({}).drop(columns=["priogrid_gid", "latitude"]).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ValueError) as error:
        events.read_events([tmp_path / "a.csv", tmp_path / "b.csv"])
    for says in ("best_est", "date_start", "neither priogrid_gid nor latitude"):
        assert says in str(error.value)
    with pytest.raises(ValueError, match=r"not there: .*none.csv; .*no kind .*ged.xlsx"):
        events.read_events(f"{tmp_path / 'none.csv'},{write(tmp_path / 'ged.xlsx')}")


@pytest.mark.parametrize("name", ["a.zip", "a.geojson"])
def test_a_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        events.read_events(tmp_path / name)


def test_a_zip_that_is_damaged_inside_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(write(tmp_path / "a.csv", *[{}] * 2000), "a.csv")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.zip is damaged .*CRC"):
        events.read_events(tmp_path / "a.zip")


def test_a_file_that_may_not_be_read_or_has_a_password_is_not_called_damaged(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(write(tmp_path / "a.csv", {}), "a.csv")
    content = (tmp_path / "a.zip").read_bytes()
    at = content.index(b"PK\x01\x02") + 8  # the entry's flags
    (tmp_path / "a.zip").write_bytes(content[:at] + b"\x01" + content[at + 1 :])
    with pytest.raises(ValueError, match=r"a.zip cannot be read: .*password required.*Unpack it"):
        events.read_events(tmp_path / "a.zip")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read all
    with pytest.raises(ValueError, match=r"may not be read, get the permission: .*a.csv"):
        events.read_events(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a.csv is empty"),
        (b"\xef\xbb\xbf\r\n", "a.csv is empty"),
        (b"<!DOCTYPE html>\n<html>", "a web page, not a table"),
        ("id,best\n1,2\n".encode("utf-16"), "no text in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, content, says):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        events.read_events(tmp_path / "a.csv")


def test_countries_without_a_name_are_none(tmp_path):
    read = events.read_events(write(tmp_path / "a.csv", {"country": None}, {"country_id": 520, "country": "Somalia"}))
    assert read.attrs["countries"] == {520: "Somalia"}


def test_the_unknown_country_has_no_name(tmp_path):
    read = events.read_events(write(tmp_path / "a.csv", {"country_id": None, "country": "Afghanistan"}, {}))
    assert read.attrs["countries"] == {475: "Nigeria"}
    assert events.remarks(read.attrs["report"]) == ["Events without a country_id, which count to no country: 1."]


def test_a_file_without_events_says_so(tmp_path):
    pd.DataFrame(columns=list(ROW)).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match="hold no events"):
        events.check_events(events.read_events(tmp_path / "a.csv"))


def test_filters_and_month_rules_are_those_of_a_loop(tmp_path):
    months = [(1 + n % 3, 1 + n % 3 + n % 4) for n in range(40)]
    changes = [
        {"where_prec": 1 + n % 6, "date_prec": 1 + n % 5, "date_start": f"2009-0{a}-01", "date_end": f"2009-0{b}-02"}
        for n, (a, b) in enumerate(months)
    ]
    read = events.read_events(write(tmp_path / "a.csv", *changes))
    kept = events.select_events(read, where_prec=3, date_prec=2)
    assert kept["id"].tolist() == [n for n, c in enumerate(changes, 1) if c["where_prec"] <= 3 and c["date_prec"] <= 2]
    spread = events.place_events(read, "spread")
    wanted = [
        (e.id, m, 1 / (e.month_end - e.month_start + 1))
        for e in read.itertuples()
        for m in range(e.month_start, e.month_end + 1)
    ]
    assert list(zip(spread["id"], spread["month"], spread["share"], strict=True)) == wanted
    assert spread["share"].sum() == pytest.approx(len(read))
    assert (events.place_events(read, "end")["month"] == read["month_end"]).all()
    assert (events.place_events(read)["month"] == read["month_start"]).all()


def test_a_period_or_filter_without_events_is_refused(tmp_path):
    read = events.read_events(write(tmp_path / "a.csv", {"where_prec": 5}))
    events.check_events(read, "2009-01", "2009-12")
    with pytest.raises(ValueError, match=r"from 2010-01 to 2011-12.*2009-06 to 2009-06"):
        events.check_events(read, "2010-01", "2011-12")
    with pytest.raises(ValueError, match="no event"):
        events.check_events(read, where_prec=2)
    with pytest.raises(ValueError, match="begins in 2010-01 and ends in 2009-01"):
        events.check_events(read, "2010-01", "2009-01")
    with pytest.raises(ValueError) as error:
        events.check_events(read, "soon", "2009", where_prec=9, months="middle")
    for says in ("start of the period = 'soon'", "stop of the period = '2009'", "where_prec = 9", "months = 'middle'"):
        assert says in str(error.value)


@pytest.mark.skipif(not NIGERIA.exists(), reason=f"the Nigeria file is not in {NIGERIA.parent}")
def test_nigeria_as_pandas_reads_it():
    read = events.read_events(NIGERIA)
    frame = pd.read_csv(NIGERIA, skiprows=[1], low_memory=False)
    assert len(read) == len(frame) == 4603
    assert (read["gid"] == frame["priogrid_gid"]).all() and (read["best"] == frame["best"]).all()
    months = pd.to_datetime(frame["date_start"]).dt.to_period("M")
    assert (read["month_start"] == (months.dt.year - 1970) * 12 + months.dt.month - 1).all()
    assert read.attrs["report"]["gid_disagrees"] == 0 and read.attrs["report"]["hxl_rows_skipped"] == 1
