"""Catalogues: each format against truths that can be checked by eye, what is unknown stays so, and what is wrong is named at once."""

from pathlib import Path

import numpy as np
import obspy
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obspy.core.event import Catalog, Event, EventDescription, Magnitude, Origin
from obspy.geodetics import gps2dist_azimuth, kilometers2degrees

from geonb.waveforms import catalogues

PNW = Path(__file__).parents[3] / "shared" / "data" / "seismic" / "pnw" / "events.csv"
NORDIC = Path(obspy.__file__).parent / "io" / "nordic" / "tests" / "data"


def table(folder, text, name="events.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_csv_by_its_usual_names_and_its_order_is_by_time(tmp_path):
    path = table(
        tmp_path,
        "EventID,Origin_Time,Lat,LON,Depth_km,Mag,MagType,Event_Type\n"
        "b,2020-01-02T00:00:00.5Z,60.5,-10.25,5,1.5,ml,quarry blast\n"
        "a,2020-01-01T02:00:00+02:00,-60.5,350,,,,\n",
    )
    frame = catalogues.read_events(str(path))
    assert tuple(frame.columns) == catalogues.COLUMNS
    assert frame["event_id"].tolist() == ["a", "b"]
    assert frame["time"].dtype == "M8[ns]"
    assert frame["time"].tolist() == [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02T00:00:00.5")]
    assert frame["kind"].tolist() == ["", "explosion"] and frame["magnitude_type"].tolist() == ["", "ml"]
    assert frame["longitude"].tolist() == [-10, -10.25]
    assert np.isnan(frame.loc[0, ["depth_km", "magnitude"]].astype(float)).all() and frame["depth_km"][1] == 5
    assert frame.attrs["notes"] == ["longitudes beyond 180, taken as west: 1", "events without a magnitude: 1"]


@pytest.mark.parametrize(
    ("header", "value", "km"),
    [("depth_km", "7.5", 7.5), ("Depth/km", "7.5", 7.5), ("depth [m]", "7500", 7.5), ("depth", "7.5", 7.5)],
)
def test_the_unit_of_a_depth_is_read_or_told(tmp_path, header, value, km):
    frame = catalogues.read_events(table(tmp_path, f"id,time,{header},mag\nx,2020-01-01,{value},1\n"))
    assert frame["depth_km"].tolist() == [km]
    assert ("depths without a unit, taken as km: 1" in frame.attrs["notes"]) == (header == "depth")


def test_a_depth_that_cannot_be_km_is_refused(tmp_path):
    with pytest.raises(ValueError, match="line 2: depth_km = 7500 is not from -12 to 800"):
        catalogues.read_events(table(tmp_path, "id,time,depth\nx,2020-01-01,7500\n"))


FDSN = (
    "#EventID | Time | Latitude | Longitude | Depth/km | Author | Catalog | Contributor | ContributorID | MagType | Magnitude | MagAuthor "
    "| EventLocationName | EventType\n"
    "us7000|2020-02-03T04:05:06.789|38.1|22.4|10.0|us|c|us|us7000|mb|4.2|us|GREECE|earthquake\n"
)


def test_fdsn_s_text_and_two_files_with_other_names(tmp_path):
    one = table(tmp_path, FDSN, "a.txt")
    two = table(tmp_path, "id;origin_time;lat;lon\nq;2020-01-01T00:00:00Z;1;2\n", "b.csv")
    frame = catalogues.read_events(f"{one},{two}")
    assert frame["event_id"].tolist() == ["q", "us7000"] and frame["latitude"].tolist() == [1, 38.1]
    assert frame.loc[1, ["kind", "magnitude", "magnitude_type", "depth_km"]].tolist() == ["earthquake", 4.2, "mb", 10]
    assert frame["time"][1] == pd.Timestamp("2020-02-03T04:05:06.789")


@pytest.mark.parametrize(
    ("word", "kind"),
    [("Earthquake", "earthquake"), ("nuclear explosion", "explosion"), ("Quarry_Blast", "explosion"), ("probable explosion", "explosion"),
     ("induced or triggered event", "induced"), ("rock burst", "induced"), ("kx", "explosion"), ("si", "induced"), ("noise", "noise"),
     ("not existing", "noise"), ("", ""), ("not reported", ""), ("NaN", "")],
)  # fmt: skip
def test_words_of_networks(tmp_path, word, kind):
    frame = catalogues.read_events(table(tmp_path, f"id,time,type,mag\nx,2020-01-01,{word},1\n"))
    assert frame["kind"].tolist() == [kind] and frame.attrs["notes"] == []


def test_kinds_that_are_none_of_ours_are_told_and_stay_empty(tmp_path):
    text = "id,time,type,mag\nx,2020-01-01,Ice Quake,1\ny,2020-01-02,ice quake,1\nz,2020-01-03,,1\n"
    frame = catalogues.read_events(table(tmp_path, text), kind="earthquake")
    assert frame["kind"].tolist() == ["", "", "earthquake"]
    assert frame.attrs["notes"] == ["events whose kind, ice quake, is none of ours: 2"]


def test_every_quakeml_type_of_an_explosion_is_known():
    from obspy.core.event.header import EventType

    words = [str(word) for word in EventType if "explosion" in str(word) or "blast" in str(word)]
    kinds = {word: catalogues.KIND_OF.get(word) for word in words if word != "sonic blast"}
    assert len(kinds) > 7 and set(kinds.values()) == {"explosion"}


def test_all_that_is_wrong_is_listed_at_once(tmp_path):
    path = table(
        tmp_path,
        "id,time,lat,lon,mag\na,2020-01-01,95,0,1\na,04/05/2020,1,x,1\n,2020-01-03,0,0,99\n,,0,0,1\nb,2020-01-03,0,400,inf\n",
    )
    with pytest.raises(ValueError) as error:
        catalogues.read_events([path, tmp_path / "missing.csv", table(tmp_path, "no,table\n1,2\n", "other.csv")])
    said = str(error.value)
    for part in (
        "latitude = 95 is not from -90 to 90", "line 3: time = '04/05/2020' is no time", "line 3: longitude = 'x' is no number",
        "magnitude = 99 is not", "line 5: it has neither an id nor a time", "longitude = 400 is not from", "magnitude = inf",
        "event_id a is there 2 times (events.csv, line 2; events.csv, line 3)", "no file is at", "other.csv: Unknown format",
    ):  # fmt: skip
        assert part in said, part


def test_a_damaged_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cut\.xml"):
        catalogues.read_events(
            table(tmp_path, "<?xml version='1.0'?><q:quakeml xmlns:q='http://quakeml.org", "cut.xml")
        )
    with pytest.raises(ValueError, match="there is no event"):
        catalogues.read_events(table(tmp_path, "id,time\n"))


def quakeml(folder, *events):
    path = folder / "events.xml"
    Catalog(list(events)).write(str(path), "QUAKEML")
    return path


def test_quakeml_without_magnitude_and_with_a_preferred_origin(tmp_path):
    time = obspy.UTCDateTime("2020-01-01T00:00:00.123456Z")
    first, second = (
        Origin(time=time - 1, latitude=1, longitude=2),
        Origin(time=time, latitude=3, longitude=4, depth=12_300),
    )
    event = Event(
        resource_id="quakeml:x.org/fdsnws/event/1/query?eventid=us20005j32&format=quakeml", event_type="quarry blast"
    )
    event.origins, event.preferred_origin_id = [first, second], second.resource_id
    bare = Event(resource_id="smi:ch.ethz.sed/sc3a/2013lxgf", event_descriptions=[EventDescription(text="bare")])
    frame = catalogues.read_events(quakeml(tmp_path, event, bare)).set_index("event_id")
    assert list(frame.index) == ["us20005j32", "2013lxgf"]
    assert frame.loc["us20005j32", ["latitude", "longitude", "depth_km"]].tolist() == [3, 4, 12.3]
    assert frame["time"]["us20005j32"] == pd.Timestamp("2020-01-01T00:00:00.123456")
    assert frame["kind"].tolist() == ["explosion", ""] and frame["magnitude"].isna().all()
    assert pd.isna(frame["time"]["2013lxgf"])
    assert frame.attrs["notes"] == ["events without a time: 1", "events without a magnitude: 2"]


def test_the_preferred_magnitude_is_taken(tmp_path):
    sizes = [Magnitude(mag=1, magnitude_type="ML"), Magnitude(mag=2, magnitude_type="mb")]
    event = Event(resource_id="smi:x.org/event/1", magnitudes=sizes, origins=[Origin(time=obspy.UTCDateTime(0))])
    event.preferred_magnitude_id = sizes[1].resource_id
    assert catalogues.read_events(quakeml(tmp_path, event)).loc[0, ["magnitude", "magnitude_type"]].tolist() == [
        2,
        "mb",
    ]


@pytest.mark.skipif(not NORDIC.is_dir(), reason="this ObsPy came without its test data")
def test_nordic_as_obspy_reads_it():
    frame = catalogues.read_events(str(NORDIC / "collect.out"))
    assert frame["event_id"].tolist() == ["20130901T041115.700", "20210103T034523.900", "20220513T044344.800"]
    assert frame["kind"].tolist() == ["", "earthquake", "earthquake"]  # the first line says nothing
    assert frame["depth_km"].tolist() == [8.5, 13.9, 8.7] and np.isnan(frame["magnitude"][2])
    one = catalogues.read_events(str(NORDIC / "dos-file.sfile"))
    assert one["kind"].tolist() == ["explosion"]
    ids = catalogues.read_events(str(NORDIC / "03-0345-23L.S202101"))["event_id"]
    assert ids.tolist() == ["20210103034523"]


numbers = st.floats(-80, 80, allow_subnormal=False) | st.just(float("nan"))
events = st.fixed_dictionaries({
    "event_id": st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12).filter(
        lambda text: text.lower() not in catalogues.KIND_OF and not text.startswith('"') and "\r" not in text),
    "time": st.integers(-(10**15), 3 * 10**15), "kind": st.sampled_from(["earthquake", "explosion", "induced", "noise", ""]),
    "latitude": numbers, "longitude": numbers, "depth_km": st.floats(-5, 700) | st.just(float("nan")),
    "magnitude": st.floats(-4, 9) | st.just(float("nan")), "magnitude_type": st.sampled_from(["", "ml", "Mw"]),
})  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(events, min_size=1, max_size=4, unique_by=lambda row: row["event_id"]),
    ending=st.sampled_from(["csv", "xml"]),
)
def test_written_and_read_back_it_is_the_same(tmp_path_factory, rows, ending):
    frame = pd.DataFrame(rows, columns=catalogues.COLUMNS).astype({"time": "M8[us]"}).astype({"time": "M8[ns]"})
    frame.loc[frame["magnitude"].isna(), "magnitude_type"] = ""
    frame = frame.sort_values("time", kind="stable", ignore_index=True)
    path = catalogues.write_events(frame, tmp_path_factory.mktemp("written") / f"events.{ending}")
    back = catalogues.read_events(path)
    pd.testing.assert_frame_equal(back, frame, check_dtype=False, rtol=1e-12)
    assert back["time"].dtype == "M8[ns]"


def test_nanoseconds_stay_in_csv_and_other_endings_are_refused(tmp_path):
    frame = catalogues.read_events(table(tmp_path, "id,time,lat\nx,2020-01-01T00:00:00.123456789Z,1\ny,,2\n"))
    back = catalogues.read_events(catalogues.write_events(frame, tmp_path / "out.csv"))
    assert back["time"][0].nanosecond == 789 and pd.isna(back["time"][1])
    with pytest.raises(ValueError, match=r"out\.parquet: the ending tells the format"):
        catalogues.write_events(frame, tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*.partial*"))


@settings(max_examples=30, deadline=None)
@given(st.floats(-85, 85), st.floats(-85, 85), st.floats(-179, 179), st.floats(0.1, 140) | st.floats(-140, -0.1))
def test_places_against_obspy(lat1, lat2, lon1, east):
    frame = pd.DataFrame({"latitude": [lat2, np.nan], "longitude": [lon1 + east, 0.0]}, index=[7, 9])
    placed = catalogues.places(frame, lat1, lon1)
    metres, azimuth, _ = gps2dist_azimuth(lat1, lon1, lat2, lon1 + east)
    assert list(placed.index) == [7, 9] and placed.loc[9].isna().all()
    assert placed["distance_km"][7] == pytest.approx(metres / 1000, rel=1e-5)
    assert placed["distance_deg"][7] == pytest.approx(kilometers2degrees(metres / 1000), rel=1e-5)
    assert abs((placed["back_azimuth_deg"][7] - azimuth + 180) % 360 - 180) < 1e-3


def test_an_event_under_the_station_has_no_azimuth():
    placed = catalogues.places(pd.DataFrame({"latitude": [10.0], "longitude": [20.0]}), 10, 20)
    assert placed["distance_km"][0] == 0 and np.isnan(placed["back_azimuth_deg"][0])


@pytest.mark.skipif(not PNW.is_file(), reason="the events of the Pacific Northwest are not there (../shared)")
def test_the_pacific_northwest():
    frame = catalogues.read_events(PNW)
    assert frame["kind"].value_counts().to_dict() == {"earthquake": 51, "explosion": 17} and frame.attrs["notes"] == []


def test_the_first_p_of_each_station_is_read(tmp_path):
    from obspy.core.event import Arrival, Pick, WaveformStreamID

    start = obspy.UTCDateTime("2020-01-01T00:00:00")

    def pick(late, station, hint="P", network="UW", **more):
        return Pick(time=start + late, phase_hint=hint, waveform_id=WaveformStreamID(network, station), **more)

    first, renamed, second = pick(9.5, "AAA", "Pn"), pick(12, "BBB", "P"), pick(4, "DDD", "?")
    picks = [
        pick(10, "AAA", "Pg"), first, pick(1, "AAA", "P", evaluation_status="rejected"), pick(2, "AAA", "S"), renamed, second,
        pick(7, "CCC", network=None),
    ]  # fmt: skip
    phases = [Arrival(pick_id=renamed.resource_id, phase="S"), Arrival(pick_id=second.resource_id, phase="P")]
    known = Event(resource_id="smi:local/event/one", origins=[Origin(time=start, arrivals=phases)], picks=picks)
    nameless = Event(resource_id="smi:local/0123abcd-0000-0000-0000-0123456789ab", origins=[Origin(time=start + 60)])
    nameless.picks = [pick(65, "AAA")]
    Catalog([known, nameless]).write(str(tmp_path / "events.xml"), "QUAKEML")
    paths = [tmp_path / "events.xml", table(tmp_path, "id,time,mag\nx,2020-01-01,1\n")]
    notes = []
    found = catalogues.read_picks(paths, notes)
    assert {key: (time - pd.Timestamp("2020-01-01")).total_seconds() for key, time in found.items()} == {
        ("one", "UW.AAA"): 9.5, ("one", "UW.DDD"): 4, ("20200101T000100.000", "UW.AAA"): 65,
    }  # fmt: skip
    assert notes == ["picks of P without a network's or a station's code, left out: 1"]
    assert {event for event, _ in found} <= set(catalogues.read_events(paths)["event_id"])
