"""Files of events that are no CSV: answers of the web service, layers."""

import json

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from geonb.workloads.conflict import events

ROWS = [
    {
        "id": n, "type_of_violence": 1, "where_prec": 1, "latitude": 10.2, "longitude": 9.1, "priogrid_gid": 144379, "best": n,
        "country": "Nigeria", "country_id": 475, "date_prec": 1, "date_start": f"2009-0{1 + n % 9}-09T00:00:00",
        "date_end": f"2009-0{1 + n % 9}-09T00:00:00", "high": n, "low": n,
    }
    for n in range(1, 8)
]  # fmt: skip


def plain(tmp_path):
    pd.DataFrame(ROWS).to_csv(tmp_path / "plain.csv", index=False)
    return events.read_events(tmp_path / "plain.csv")


def page(path, rows, total, more):
    path.write_text(json.dumps({"TotalCount": total, "TotalPages": 2, "NextPageUrl": more, "Result": rows}))
    return path


def test_pages_of_the_web_service_read_as_the_table_and_none_may_be_missing(tmp_path):
    first = page(
        tmp_path / "page0.json", ROWS[::2], 7, "https://ucdpapi.pcr.uu.se/api/gedevents/25.1?pagesize=4&page=1"
    )
    second = page(tmp_path / "page1.json", ROWS[1::2], 7, "")
    read = events.read_events([first, second]).sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(read, plain(tmp_path))
    with pytest.raises(ValueError, match=r"page0.json: 4 of the 7 events that the web service found.*name all pages"):
        events.read_events(first)
    with pytest.raises(ValueError, match="4 of the 7 events"):
        events.read_events([first, page(tmp_path / "again.json", ROWS[::2], 7, "")])
    for name in ("ID", "number"):  # spelt otherwise, or none that is known
        rows = [{name if k == "id" else k: v for k, v in row.items()} for row in ROWS]
        assert len(events.read_events(page(tmp_path / "whole.json", rows, 7, ""))) == 7


def test_a_list_of_records_reads_as_the_table(tmp_path):
    (tmp_path / "list.json").write_text("\ufeff" + json.dumps(ROWS), encoding="utf-8")
    pd.testing.assert_frame_equal(events.read_events(tmp_path / "list.json"), plain(tmp_path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"TotalCount": 1, "Result": [{"id": 1', "a.json is damaged or not what its name says"),
        ('{"TotalCount": 0, "Result": []}', "a.json: no column for date_start"),
        ('{"Result": "none"}', "a.json holds no list of events"),
        ("[1, 2]", "a.json holds no list of events"),
        ('{"TotalCount": [1], "Result": []}', r"a.json: TotalCount = \[1\] is no number of events"),
        ('{"TotalCount": "abc", "Result": []}', "a.json: TotalCount = abc is no number of events"),
        ('{"TotalCount": NaN, "Result": []}', "a.json: TotalCount = nan is no number of events"),
        ('{"TotalCount": 1, "Result": [{"id": [1, 2]}]}', r"a.json: id = \[1, 2\] is no single value"),
        ('{"message": "no such version"}', "a.json is damaged or not what its name says"),
    ],
)
def test_json_that_holds_no_events_is_named(tmp_path, content, says):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=says):
        events.read_events(tmp_path / "a.json")


def test_a_number_beyond_all_numbers_is_no_cell(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([ROWS[0] | {"priogrid_gid": 10**400}, *ROWS[1:]]))
    read = events.read_events(tmp_path / "a.json")
    pd.testing.assert_frame_equal(read, plain(tmp_path))  # the coordinates count
    assert read.attrs["report"]["gid_from_coordinates"] == 1


def test_an_empty_point_is_an_event_without_a_place(tmp_path):
    rows = pd.DataFrame(ROWS).drop(columns=["latitude", "longitude", "priogrid_gid"])
    points = [shapely.Point(), *[shapely.Point(9.1, 10.2)] * 6]
    gpd.GeoDataFrame(rows, geometry=points, crs=4326).to_file(tmp_path / "a.gpkg")
    with pytest.raises(ValueError, match=r"a.gpkg: 1 event: no cell: .*; first: event 1 \(latitude empty"):
        events.read_events(tmp_path / "a.gpkg")


def test_a_compressed_table_reads_as_the_table(tmp_path):
    for name, way in {"a.csv.gz": "gzip", "a.csv.bz2": "bz2", "A.CSV.XZ": "xz"}.items():
        pd.DataFrame(ROWS).to_csv(tmp_path / name, index=False, compression=way)
        pd.testing.assert_frame_equal(events.read_events(tmp_path / name), plain(tmp_path))


def test_of_several_layers_none_is_taken_without_a_word(tmp_path):
    frame = gpd.GeoDataFrame(ROWS, geometry=[shapely.Point(9.1, 10.2)] * len(ROWS), crs=4326)
    frame.to_file(tmp_path / "a.gpkg", layer="deaths")
    pd.testing.assert_frame_equal(events.read_events(tmp_path / "a.gpkg"), plain(tmp_path))
    frame.to_file(tmp_path / "a.gpkg", layer="others")
    with pytest.raises(ValueError, match=r"a.gpkg holds 2 layers \(deaths, others\)"):
        events.read_events(tmp_path / "a.gpkg")


def test_a_shapefile_that_is_cut_short_is_refused(tmp_path):
    frame = gpd.GeoDataFrame(ROWS, geometry=[shapely.Point(9.1, 10.2)] * len(ROWS), crs=4326)
    frame.rename(columns=lambda name: name[:10]).to_file(tmp_path / "a.shp")
    assert len(events.read_events(tmp_path / "a.shp")) == len(ROWS)
    table = (tmp_path / "a.dbf").read_bytes()
    (tmp_path / "a.dbf").write_bytes(table[: len(table) // 2])
    with pytest.raises(ValueError, match=r"a.dbf is damaged or cut short: .* Copy it again"):
        events.read_events(tmp_path / "a.shp")


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    frame = pd.DataFrame(ROWS)
    pd.concat([frame, frame[["best"]] + 1], axis=1).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match="the column best is there twice"):
        events.read_events(tmp_path / "a.csv")
    frame.assign(Best=1).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match="the column best is there twice"):
        events.read_events(tmp_path / "a.csv")


def test_truths_are_no_deaths(tmp_path):
    pd.DataFrame(ROWS).assign(best=[True, False, True, False, True, False, True]).to_csv(
        tmp_path / "a.csv", index=False
    )
    with pytest.raises(ValueError, match=r"a.csv: 7 events: best is not a number; first: event 1"):
        events.read_events(tmp_path / "a.csv")


def test_points_beside_their_columns_of_coordinates_are_refused(tmp_path):
    rounded = shapely.Point(9.104, 10.196)
    frame = gpd.GeoDataFrame(ROWS, geometry=[rounded, shapely.Point()] + [shapely.Point(9.1, 10.2)] * 5, crs=4326)
    for crs in (4326, 3857):
        frame.to_crs(crs).to_file(tmp_path / f"{crs}.gpkg")
        pd.testing.assert_frame_equal(events.read_events(tmp_path / f"{crs}.gpkg"), plain(tmp_path))
    frame.loc[6, "geometry"] = shapely.Point(30, 10.2)
    frame.to_file(tmp_path / "b.gpkg")
    told = r"b.gpkg: 1 of 7 points lie elsewhere .* first: 10.2, 30, but the columns have 10.2, 9.1\."
    with pytest.raises(ValueError, match=told):
        events.read_events(tmp_path / "b.gpkg")
