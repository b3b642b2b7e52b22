"""SeisBench's own layout as an archive: what SeisBench itself wrote and reads, against what we take of it, sample by sample."""

import h5py
import numpy as np
import pandas as pd
import pytest

from geonb.waveforms import archives, catalogues, named, seisbench

RATE = 50.0
START = pd.Timestamp("2021-03-04T05:06:07.120")
TYPES = ("earthquake", "quarry blast", "", "landslide", "induced or triggered event")
KINDS = ("earthquake", "explosion", "", "", "induced")


def rows(count=10):
    """A row of metadata and samples (component, time) of each trace: two stations an event, and the last two are noise."""
    for i in range(count):
        event, station, noise = i // 2, i % 2, i >= count - 2
        values = np.random.default_rng(i).normal(0, 100, (3, 2000 - 10 * i)).astype(np.float32)
        row = {
            "station_network_code": "NA", "station_code": f"S{station}", "station_location_code": "00", "trace_channel": "HH",
            "station_latitude_deg": 60.0 + station, "station_longitude_deg": 5.0, "station_elevation_m": np.nan,
            "trace_start_time": f"{(START + pd.Timedelta(event, 'h')).isoformat()}Z", "trace_sampling_rate_hz": RATE,
            "trace_category": "noise" if noise else "local",
        }  # fmt: skip
        if not noise:
            row |= {
                "source_id": f"ev{event}", "source_origin_time": f"{(START + pd.Timedelta(event, 'h')).isoformat()}Z",
                "source_latitude_deg": 61.0, "source_longitude_deg": 6.0, "source_depth_km": 3.5, "source_magnitude": 1.5,
                "source_type": TYPES[event % len(TYPES)], "trace_P_arrival_sample": 900 + i, "trace_S_arrival_sample": 1200 + i,
            }  # fmt: skip
        yield row, values


def write(folder, made=None, chunk="", order="ZNE", dimensions="CW", bucketed=True, **told):
    """What SeisBench's own writer makes of rows."""
    sbd = pytest.importorskip("seisbench.data")
    folder.mkdir(exist_ok=True)
    with sbd.WaveformDataWriter(folder / f"metadata{chunk}.csv", folder / f"waveforms{chunk}.hdf5") as writer:
        writer.data_format = {"dimension_order": dimensions, "component_order": order, "unit": "counts"} | told
        if not bucketed:
            writer.bucket_size = 1  # each trace is an array of its own
        for row, values in rows() if made is None else made:
            writer.add_trace(dict(row), values if dimensions == "CW" else values.T)
    return folder


def cut(held, trace, **options):
    part = held.index[held.index["trace"] == trace]
    end = part["end"].max() + pd.Timedelta(1 / RATE, "s")
    return archives.cut(part, part["start"].min(), end, **options)


@pytest.mark.parametrize(("dimensions", "bucketed"), [("CW", True), ("WC", True), ("CW", False), ("WC", False)])
def test_every_trace_is_what_seisbench_reads(tmp_path, dimensions, bucketed):
    folder = write(tmp_path / "made", dimensions=dimensions, bucketed=bucketed)
    sbd = pytest.importorskip("seisbench.data")
    theirs, held = sbd.WaveformDataset(folder, component_order="ZNE"), seisbench.open_folder(folder)
    assert bucketed is False or dimensions == "WC" or theirs.metadata["trace_name"].str.contains(r"\$").any()
    for i, (row, written) in enumerate(rows()):
        values, about = theirs.get_sample(i)
        np.testing.assert_array_equal(values, written)
        found = cut(held, about["trace_name"])
        order = found["component"].values.tolist()
        np.testing.assert_array_equal(found["data"].values[0], [values["ZNE".index(letter)] for letter in order])
        assert order == list("ZNE") and found["sensor"].values.tolist() == [f"NA.S{i % 2}.00"]
        assert (
            found.attrs["start"] == f"{np.datetime64(pd.Timestamp(row['trace_start_time']).tz_localize(None), 'ns')}Z"
        )
        mine = held.index[held.index["trace"] == about["trace_name"]]
        assert mine["channel"].tolist() == ["HHZ", "HHN", "HHE"] and set(mine["samples"]) == {values.shape[1]}


@pytest.mark.parametrize("listed", [False, True])
def test_chunks_are_found_as_seisbench_finds_them(tmp_path, listed):
    made = list(rows())
    for chunk, part in (("_a", made[:6]), ("_b", made[6:])):
        write(tmp_path, part, chunk)
    if listed:
        (tmp_path / "chunks").write_text("_a\n")
    sbd = pytest.importorskip("seisbench.data")
    theirs, held = sbd.WaveformDataset(tmp_path), seisbench.open_folder(tmp_path)
    traces = held.index.drop_duplicates(["file", "trace"])
    assert len(traces) == len(theirs) == (6 if listed else 10)
    names = {f"metadata{c}.csv" for c in ("_a", "_b")} | {f"waveforms{c}.hdf5" for c in ("_a", "_b")}
    assert {path.name for path in held.files} == {name for name in names if "_a" in name or not listed}
    write(tmp_path, made[:1])  # beside them one that is whole: SeisBench takes that alone, unless chunks are listed
    assert len(seisbench.open_folder(tmp_path).index) == 3 * len(sbd.WaveformDataset(tmp_path))


def test_no_trace_is_read_but_the_one_that_is_wanted_and_that_once(tmp_path, monkeypatch):
    folder, read, stored = write(tmp_path / "made"), [], archives.stored
    monkeypatch.setattr(archives, "stored", lambda file, name, order: read.append(name) or stored(file, name, order))
    held = seisbench.open_folder(folder)
    assert read == []
    wanted = held.index["trace"].iloc[9]
    assert cut(held, wanted).sizes["component"] == 3 and read == [wanted]


def test_p_is_where_it_was_picked_and_the_first_of_several_counts(tmp_path):
    made = list(rows())
    made[0][0]["trace_Pn_arrival_sample"] = 800.5
    made[2][0]["trace_pP_arrival_sample"] = 1  # a depth phase is no first P
    held = seisbench.open_folder(write(tmp_path / "made", made))
    traces = held.index.drop_duplicates("trace").reset_index(drop=True)
    late = (traces["p"] - traces["start"]).dt.total_seconds() * RATE
    assert late.tolist()[:8] == pytest.approx([800.5, *range(901, 908)]) and late[8:].isna().all()
    assert (traces["why"] == "").all()


def test_events_kinds_and_noise(tmp_path):
    held = seisbench.open_folder(write(tmp_path / "made", list(rows(12))))
    events = held.events.set_index("event_id")
    for i, kind in enumerate(KINDS):
        assert events.loc[f"ev{i}", "kind"] == kind
    assert events.loc["ev0", ["latitude", "longitude", "depth_km", "magnitude"]].tolist() == [61, 6, 3.5, 1.5]
    assert events.loc["ev1", "time"] == START + pd.Timedelta("1h")
    noise = events[events["kind"] == "noise"]
    assert len(noise) == 2 and noise["time"].isna().all() and noise["latitude"].isna().all()
    assert set(noise.index) == set(held.index.loc[held.index["p"].isna(), "event_id"])
    assert any("landslide, is none of ours: 1" in note for note in held.events.attrs["notes"])
    assert held.places == {"NA.S0": (60, 5), "NA.S1": (61, 5)}


def test_what_metadata_say_otherwise(tmp_path):
    """As STEAD, whose kind is trace_category alone; without an id; with two kinds of one event; with noise that has a source."""
    made = [({k: v for k, v in row.items() if k != "source_type"}, values) for row, values in rows()]
    made[0][0]["trace_category"] = made[1][0]["trace_category"] = "earthquake_local"
    for i in (2, 3):
        del made[i][0]["source_id"]
    for i, kind in ((4, "earthquake"), (5, "explosion"), (8, "earthquake")):
        made[i][0]["source_type"] = kind
    made[8] = made[8][0] | {"source_id": "ev0", "source_magnitude": 9.0}, made[8][1]
    held = seisbench.open_folder(write(tmp_path / "made", made))
    events = held.events.set_index("event_id")["kind"]
    assert (
        events["ev0"] == "earthquake" and events["ev2"] == "" and events["ev3"] == "" and (events == "noise").sum() == 2
    )
    shared = held.index.loc[held.index["start"] == START + pd.Timedelta("1h"), "event_id"]
    assert (
        len(set(shared)) == 1
    )  # what two stations saw at one origin's time is one event, or it could be in two splits
    assert any("several kinds in the metadata, taken as unknown: 1" in note for note in held.events.attrs["notes"])


def test_traces_of_no_use_say_why(tmp_path):
    made = list(rows(14))
    made[0][0]["trace_sampling_rate_hz"] = 20.0
    made[1][0]["trace_start_time"] = ""
    made[2][0]["station_code"] = ""
    del made[3][0]["trace_P_arrival_sample"]
    made[4][0]["trace_P_arrival_sample"] = 5000
    made[5][0]["trace_P_arrival_sample"] = -1
    made[7][0]["station_code"] = "S0"
    held = seisbench.open_folder(write(tmp_path / "made", made))
    whys = held.index.drop_duplicates("trace")["why"].tolist()
    assert whys == [
        "20 Hz, below 40 Hz", "no start", "no station", "no pick of P", "P lies outside", "P lies outside", "",
        "another of this event and station comes before it", *[""] * 6,
    ]  # fmt: skip
    assert {"7 of 14 traces: usable", "2 of 14 traces: P lies outside"} <= set(held.index.attrs["notes"])


def test_a_catalogue_of_one_s_own_takes_the_place_of_the_metadata(tmp_path):
    folder = write(tmp_path / "made")
    (tmp_path / "mine.csv").write_text(
        "event_id,time,kind,latitude,longitude\nev2,2021-01-01T00:00:00Z,explosion,1,2\n"
    )
    events = seisbench.open_folder(folder, events=str(tmp_path / "mine.csv")).events.set_index("event_id")["kind"]
    assert events["ev2"] == "explosion" and sorted(events) == ["explosion", "noise", "noise"]


def test_units_are_what_the_folder_says_or_nothing(tmp_path):
    for unit, said in (("mps", "m/s"), ("counts", "counts"), ("", "")):
        held = seisbench.open_folder(write(tmp_path / f"made{unit}", list(rows(2)), unit=unit))
        assert held.index.attrs["units"] == said


def test_folders_that_cannot_be(tmp_path):
    folder = write(tmp_path / "made")
    assert seisbench.folder_of(str(folder)) == folder and seisbench.folder_of("made", tmp_path) == folder
    assert seisbench.folder_of(f"{folder}/*") is None and seisbench.folder_of(str(tmp_path)) is None
    assert {path.name for path in named.waveforms("made", tmp_path)} == {"metadata.csv", "waveforms.hdf5"}
    (folder / "metadata.csv").rename(tmp_path / "kept.csv")
    with pytest.raises(ValueError, match=r"(?s)no whole SeisBench folder.*metadata\.csv is missing"):
        named.waveforms("made", tmp_path)
    for chunk, unit in (("_a", "counts"), ("_b", "mps")):
        write(tmp_path / "two", list(rows(2)), chunk, unit=unit)
    with pytest.raises(ValueError, match="its chunks differ in unit or dimension_order"):
        seisbench.open_folder(tmp_path / "two")
    (tmp_path / "kept.csv").rename(folder / "metadata.csv")
    with h5py.File(folder / "waveforms.hdf5", "a") as file:
        del file["data"]
    held = seisbench.open_folder(folder)
    with pytest.raises(ValueError, match=r"(?s)Nothing can be read.*bucket0.* cannot be read"):
        cut(held, held.index["trace"].iloc[0])


def test_what_parameters_name_is_looked_at(tmp_path):
    (tmp_path / "events.csv").write_text("event_id,time\ne1,2020-01-01T00:00:00Z\n")
    (tmp_path / "none.csv").write_text("event_id,time\n")
    (tmp_path / "text.txt").write_text("no catalogue and no stations\n")
    assert named.events("events.csv", tmp_path) == [tmp_path / "events.csv"]
    for name, said in (
        ("none.csv", "there is no event"), ("text.txt", "Give QuakeML, Nordic, or a CSV"), ("gone.xml", "no file is at gone.xml"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            named.events(name, tmp_path)
    for name, said in (("text.txt", "Unknown format"), ("gone.xml", "no file is at gone.xml")):
        with pytest.raises(ValueError, match=said):
            named.stations(name, tmp_path)
    with pytest.raises(ValueError, match="no file is at gone"):
        named.waveforms("gone", tmp_path)
    assert named.waveforms("fdsn:IRIS?network=UW&station=*", tmp_path) == []
    with pytest.raises(ValueError, match="must be fdsn:SERVER"):
        named.waveforms("fdsn:IRIS", tmp_path)
    assert catalogues.read_events("events.csv", root=tmp_path)["event_id"].tolist() == ["e1"]
