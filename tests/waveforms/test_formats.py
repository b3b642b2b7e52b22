"""Other people's files: written ones are opened by SeisBench itself, its own are read, and 100,000 windows need not fit into memory."""

import json
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from geonb.waveforms import formats

TIME = pd.Timestamp("2020-01-01T00:00:00.25")


def window(sensors=("NS.A.00",), components="ZNE", n=600, seed=0, event_id="e1", **attrs):
    values = np.random.default_rng(seed).normal(size=(len(sensors), len(components), n)).astype(np.float32)
    about = {
        "start": "2020-01-01T00:00:00Z",
        "rate_hz": 40.0,
        "units": "counts",
        "event_id": event_id,
        "array": "",
        "notes": [],
    } | attrs
    coords = {
        "sensor": list(sensors),
        "component": list(components),
        "latitude": ("sensor", np.arange(len(sensors)) + 60.0),
    }
    coords |= {
        "longitude": ("sensor", np.full(len(sensors), 5.0)),
        "elevation_m": ("sensor", np.full(len(sensors), np.nan)),
    }
    return xr.Dataset({"data": (("sensor", "component", "time"), values)}, coords, about)


def catalogue(*ids):
    n = len(ids)
    return pd.DataFrame({
        "event_id": list(ids), "time": [TIME] * n, "kind": ["explosion"] * n, "latitude": [50.5] * n, "longitude": [-10.0] * n,
        "depth_km": [np.nan] * n, "magnitude": [4.5] * n, "magnitude_type": ["mb"] * n,
    })  # fmt: skip


# ---------------------------------------------------------------- the original's


@pytest.mark.parametrize("components", ["ZTR", "ENZ"])
def test_the_original_s_file_comes_back(tmp_path, components):
    made = window(components=components)
    event = catalogue("e1").assign(depth_km=7.5).iloc[0]
    formats.write_original(made, tmp_path / "a.h5", event, baz_to_arces=12.5)
    with h5py.File(tmp_path / "a.h5") as file:  # as the original opens it
        info = json.loads(file["event_info"][()])
        assert file["traces"].shape == (3, 600) and file["traces"].dtype == np.float32
    assert (
        info["event_type"] == "explosion"
        and info["baz_to_arces"] == 12.5
        and info["trace_stats"]["sampling_rate"] == 40
    )
    assert info["origins"][0]["depth"] == 7500 and info["magnitudes"] == [{"mag": 4.5, "magnitude_type": "mb"}]
    back, events = formats.read_original(tmp_path / "a.h5")
    np.testing.assert_array_equal(back["data"].values, made["data"].values)
    assert back["component"].values.tolist() == list(components) and back["sensor"].values.tolist() == ["NS.A.00"]
    assert (
        back.attrs["rate_hz"] == 40 and back.attrs["start"] == "2020-01-01T00:00:00Z" and back.attrs["event_id"] == "e1"
    )
    pd.testing.assert_frame_equal(events, catalogue("e1").assign(depth_km=7.5), check_dtype=False)


def original(path, attribute=False, **changes):
    info = {
        "event_type": "quarry blast", "est_arrivaltime_arces": "2015-05-05T01:02:03", "baz_to_arces": 100.0,
        "origins": [{"time": "2015-05-05T01:01:00.000000Z", "latitude": 67.1, "longitude": 20.9, "depth": 3.0}],
        "magnitudes": [{"mag": 2.5, "magnitude_type": "ML"}],
        "trace_stats": {"starttime": "2015-05-05T01:01:03.500000Z", "sampling_rate": 40.0, "station": "ARCES beam",
                        "channels": ["P-beam, vertical", "S-beam, transverse", "S-beam, radial"]},
    } | changes  # fmt: skip
    with h5py.File(path, "w") as file:
        file["traces"] = np.ones((3, 9600), np.float32)
        if attribute:
            file["traces"].attrs["event_info"] = json.dumps(info)
        else:
            file["event_info"] = json.dumps(info)
    return path


@pytest.mark.parametrize("attribute", [False, True])
def test_a_file_as_the_original_made_it(tmp_path, attribute):
    found, events = formats.read_original(original(tmp_path / "2015.h5", attribute))
    assert found["component"].values.tolist() == ["Z", "T", "R"] and found.sizes["time"] == 9600
    assert found.attrs["start"] == "2015-05-05T01:01:03.500000Z" and found.attrs["event_id"] == "2015"
    assert found.attrs["event_info"]["baz_to_arces"] == 100
    assert events.loc[0, ["kind", "latitude", "magnitude", "magnitude_type"]].tolist() == ["explosion", 67.1, 2.5, "ML"]
    assert events["time"][0] == pd.Timestamp("2015-05-05T01:01:00")
    assert np.isnan(events["depth_km"][0]) and "the depth has no unit" in found.attrs["notes"]


def test_noise_of_the_original_has_no_origin(tmp_path):
    _, events = formats.read_original(original(tmp_path / "n.h5", event_type="noise", origins=[], magnitudes=None))
    assert events["kind"].tolist() == ["noise"] and pd.isna(events["time"][0]) and np.isnan(events["latitude"][0])


def test_a_file_that_is_none_of_the_original_says_why(tmp_path):
    stats = {"starttime": "?", "sampling_rate": 40, "channels": ["vertical", "north", "east"]}
    for name, changes, said in (
        ("a", {}, "channels"), ("b", stats, "starttime"), ("c", stats | {"channels": ["x"]}, r"channels \['x'\]"),
        ("d", stats | {"starttime": "2020-01-01", "channels": ["vertical"]}, r"traces \(3, 9600\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"(?s){name}\.h5 is no file of the original.*{said}"):
            formats.read_original(original(tmp_path / f"{name}.h5", trace_stats=changes))
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ValueError, match="is no file of the original"):
        formats.read_original(tmp_path / "text.h5")


# ---------------------------------------------------------------- SeisBench's


def windows(count, **options):
    for i in range(count):
        yield (
            window(seed=i, event_id=f"e{i}", **options),
            {"split": ("train", "val", "test")[i % 3], "trace_P_arrival_sample": i},
        )


def test_what_is_written_comes_back(tmp_path):
    folder = formats.write_seisbench(windows(10), tmp_path / "made", catalogue("e0", "e3"), bucket=4)
    table = formats.read_seisbench(folder)
    assert (
        len(table) == 10
        and table["trace_name"][4] == "bucket1$0,:3,:600"
        and table["split"].tolist()[:3] == ["train", "dev", "test"]
    )
    with h5py.File(folder / "waveforms.hdf5") as file:
        assert [file["data"][f"bucket{i}"].shape for i in range(3)] == [(4, 3, 600), (4, 3, 600), (2, 3, 600)]
    for (want, _), got in zip(windows(10), formats.seisbench_windows(table), strict=True):
        np.testing.assert_array_equal(got["data"].values, want["data"].values)
        assert {key: got.attrs[key] for key in ("start", "rate_hz", "units", "event_id")} == {
            key: want.attrs[key] for key in ("start", "rate_hz", "units", "event_id")
        }
        assert got["sensor"].values.tolist() == ["NS.A.00"] and got["latitude"].values.tolist() == [60.0]
    some = list(formats.seisbench_windows(table[table["split"] == "dev"]))
    assert [w.attrs["event_id"] for w in some] == ["e1", "e4", "e7"]
    events = formats.seisbench_events(table).set_index("event_id")
    assert len(events) == 10 and events.loc["e3", ["kind", "magnitude", "magnitude_type"]].tolist() == [
        "explosion",
        4.5,
        "mb",
    ]
    assert events["time"]["e0"] == TIME and pd.isna(events["time"]["e1"]) and events["kind"]["e1"] == ""


def test_gaps_are_zero_and_told_and_lengths_may_differ(tmp_path):
    one, two, flat = window(("NS.A", "NS.B.10"), n=600), window(n=500), window(components="Z", n=500)
    one["data"][0, :, 100:250] = np.nan
    folder = formats.write_seisbench([(w, {}) for w in (one, two, flat)], tmp_path / "made")
    table = formats.read_seisbench(folder)
    assert table["trace_completeness"].tolist() == [0.75, 1, 1, 1] and table["trace_npts"].tolist() == [
        600,
        600,
        500,
        500,
    ]
    assert table["trace_component_order"].tolist() == ["ZNE", "ZNE", "ZNE", "Z"]
    assert table["trace_name"].tolist()[2:] == ["bucket0$2,:3,:500", "bucket1$0,:1,:500"]
    got = list(formats.seisbench_windows(table))
    assert (got[0]["data"].values[..., 100:250] == 0).all() and got[3]["data"].shape == (1, 1, 500)
    assert [g["sensor"].item() for g in got] == ["NS.A", "NS.B.10", "NS.A.00", "NS.A.00"]
    np.testing.assert_array_equal(got[2]["data"].values, two["data"].values)


def test_it_is_opened_by_seisbench_itself(tmp_path):
    sbd = pytest.importorskip("seisbench.data")
    folder = formats.write_seisbench(windows(7), tmp_path / "made", catalogue("e0"), bucket=3)
    opened = sbd.WaveformDataset(folder)
    assert len(opened) == 7 and opened.metadata["source_id"].tolist()[:2] == ["e0", "e1"]
    assert len(opened.train()) == 3 and len(opened.dev()) == 2 and len(opened.test()) == 2
    for i, (want, _) in enumerate(windows(7)):
        got, row = opened.get_sample(i)
        np.testing.assert_array_equal(got, want["data"].values[0])
        assert row["trace_sampling_rate_hz"] == 40 and row["trace_P_arrival_sample"] == i
    slower = sbd.WaveformDataset(folder, sampling_rate=20, component_order="NZ")
    assert slower.get_waveforms(0).shape == (2, 300)


def written_by_seisbench(folder, chunk="", order="ZNE", dimensions="CW", first=0):
    sbd = pytest.importorskip("seisbench.data")
    arrays = []
    with sbd.WaveformDataWriter(folder / f"metadata{chunk}.csv", folder / f"waveforms{chunk}.hdf5") as writer:
        writer.data_format = {
            "dimension_order": dimensions,
            "component_order": order,
            "sampling_rate": 50,
            "unit": "counts",
        }
        for i in range(first, first + 5):
            values = np.random.default_rng(i).normal(size=(3, 600 - i))
            arrays.append(values)
            row = {"source_id": f"ev{i // 2}", "source_origin_time": "2021-01-01T00:00:00Z", "source_type": "earthquake", "split": "train",
                   "station_network_code": "NA", "station_code": f"S{i}", "trace_start_time": "2021-01-01T00:00:01Z"}  # fmt: skip
            writer.add_trace(row, values if dimensions == "CW" else values.T)
    return arrays


@pytest.mark.parametrize("dimensions", ["CW", "WC"])
def test_seisbench_s_own_layout_with_chunks(tmp_path, dimensions):
    arrays = written_by_seisbench(tmp_path, "_a", dimensions=dimensions) + written_by_seisbench(
        tmp_path, "_b", dimensions=dimensions, first=5
    )
    for listed in (False, True):
        if listed:
            (tmp_path / "chunks").write_text("_a\n_b\n")
        table = formats.read_seisbench(tmp_path)
        assert len(table) == 10 and set(table["trace_chunk"]) == {"_a", "_b"}
        assert table["trace_name"].str.contains(r"\$").all() == (dimensions == "CW")
        for got, want in zip(formats.seisbench_windows(table), arrays, strict=True):
            np.testing.assert_array_equal(got["data"].values[0], want.astype(np.float32))
            assert got.attrs["rate_hz"] == 50 and got.attrs["units"] == "counts"
        assert [w["sensor"].item() for w in formats.seisbench_windows(table[:2])] == ["NA.S0", "NA.S1"]
    events = formats.seisbench_events(table)
    assert events["event_id"].tolist() == [f"ev{i}" for i in range(5)] and set(events["kind"]) == {"earthquake"}


def test_noise_has_no_event_and_what_is_not_finite_is_written_as_zero(tmp_path):
    noise = window(event_id="")
    noise["data"][0, 0, :3] = [np.nan, np.inf, -np.inf]
    folder = formats.write_seisbench(
        [(noise, {}), (window(event_id="e0"), {}), (window(event_id=""), {})], tmp_path / "made", catalogue("e0")
    )
    table = formats.read_seisbench(folder)
    assert table["source_id"].tolist() == ["", "e0", ""] and formats.seisbench_events(table)["event_id"].tolist() == [
        "e0"
    ]
    assert next(formats.seisbench_windows(table))["data"].values[0, 0, :3].tolist() == [0, 0, 0]


def test_traces_outside_of_buckets_and_rates_by_dt(tmp_path):
    with h5py.File(tmp_path / "waveforms.hdf5", "w") as file:
        file["data/one"] = np.arange(12.0).reshape(3, 4)
    rows = pd.DataFrame(
        {"trace_name": ["one", "one$:2,1:3"], "trace_dt_s": [0.01, 0.02], "trace_component_order": ["ZNE", "ZN"]}
    )
    rows.to_csv(tmp_path / "metadata.csv", index=False)
    table = formats.read_seisbench(tmp_path)
    assert table["trace_sampling_rate_hz"].tolist() == [100, 50]
    one, two = formats.seisbench_windows(table)
    np.testing.assert_array_equal(one["data"].values[0], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(two["data"].values[0], [[1, 2], [5, 6]])
    assert one["sensor"].values.tolist() == [""] and two["component"].values.tolist() == ["Z", "N"]


def test_folders_that_are_not_whole_and_traces_of_which_nothing_is_told(tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)no whole SeisBench folder.*metadata\.csv is missing.*waveforms\.hdf5 is missing"
    ):
        formats.read_seisbench(tmp_path)
    pd.DataFrame({"trace_name": ["one"]}).to_csv(tmp_path / "metadata.csv")
    with h5py.File(tmp_path / "waveforms.hdf5", "w") as file:
        file["data/one"] = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"(?s)tell trace_sampling_rate_hz of all.*tell trace_component_order of all"):
        formats.read_seisbench(tmp_path)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    folder = tmp_path / "made"

    def broken():
        yield from windows(3)
        raise RuntimeError("the disk is gone")

    for wrong, error, said in (
        (broken(), RuntimeError, "the disk is gone"), (iter(()), ValueError, "must be of one unit, not"),
        ([(window(), {}), (window(units="m/s"), {})], ValueError, r"must be of one unit, not \['counts', 'm/s'\]"),
        ([(window(), {}), (window(), {"trace_snr": 3})], ValueError, "trace_snr"),
    ):  # fmt: skip
        with pytest.raises(error, match=said):
            formats.write_seisbench(wrong, folder, bucket=1)
        assert not list(tmp_path.iterdir())
    formats.write_seisbench(windows(1), folder)
    with pytest.raises(ValueError, match="made is there already"):
        formats.write_seisbench(windows(1), folder)


def test_no_more_than_a_bucket_of_windows_is_in_memory(tmp_path):
    tracemalloc.start()
    try:
        folder = formats.write_seisbench(windows(40, n=100_000), tmp_path / "made", bucket=4)  # 1.2 MB each
        _, peak = tracemalloc.get_traced_memory()
        table = formats.read_seisbench(folder)
        tracemalloc.reset_peak()
        assert sum(1 for _ in formats.seisbench_windows(table)) == 40
        _, read = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6 and read < 10e6  # of 48 MB


def test_metres_a_second_are_seisbench_s_mps(tmp_path):
    folder = formats.write_seisbench([(window(units="m/s"), {})], tmp_path / "made")
    with h5py.File(folder / "waveforms.hdf5") as file:
        assert file["data_format/unit"][()] == b"mps"
    assert formats.read_seisbench(folder).attrs["units"] == "m/s"
    assert Path(folder).is_dir()
