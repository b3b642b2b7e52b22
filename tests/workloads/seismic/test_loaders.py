"""Windows as tensors: what the store holds, scaled; and changes in training, each by what it says."""

import numpy as np
import obspy
import pytest

from geonb.workloads.seismic import dataset, store

RATE = 40.0


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Six events at one station, 100 s each with the origin at 50 s."""
    folder, start = tmp_path_factory.mktemp("six"), obspy.UTCDateTime("2020-01-01")
    rows = ["event_id,time,latitude,longitude,depth_km,magnitude,kind"]
    for i in range(6):
        values = np.random.default_rng(i).integers(-1000, 1000, 4000)
        values[2000:3000] *= 20
        header = {
            "network": "UW",
            "station": "AAA",
            "channel": "HHZ",
            "sampling_rate": RATE,
            "starttime": start + 86400 * i,
        }
        obspy.Trace(values.astype(np.int32), header).write(str(folder / f"ev{i}_UW.AAA.HHZ.mseed"), "MSEED")
        rows.append(f"ev{i},{start + 86400 * i + 50},45,-120,5,2,{'explosion' if i % 2 else 'earthquake'}")
    (folder / "events.csv").write_text("\n".join(rows) + "\n")
    found = dataset.open_recordings(
        str(folder / "*.mseed"),
        str(folder / "events.csv"),
        arrival="offset:seconds=50",
        beams="none",
        filters="highpass",
        noise_s=50,
    )
    return store.write_store(found, window_s=20, before_s=5, root=folder)


def test_without_changes_a_window_is_the_store_s_by_its_mean_and_deviation(samples):
    windows = samples.windows("train")
    batch = windows.batch(list(range(len(windows))))
    assert len(windows) == 8 and batch["inputs"].shape == (8, 1, 800)
    for inputs, targets, row in zip(
        batch["inputs"].numpy(), batch["targets"].numpy(), batch["index"].tolist(), strict=True
    ):
        held = samples[row]
        values = held["inputs"].to_numpy()
        np.testing.assert_allclose(inputs, (values - values.mean()) / values.std(), atol=1e-4)
        kind = samples.index["kind"].iloc[row]
        assert targets[0] == (kind != "noise") and (
            np.isnan(targets[1]) if kind == "noise" else targets[1] == (kind == "explosion")
        )


def test_a_shifted_window_is_another_part_of_its_record_and_of_its_kind(samples):
    import zarr

    windows = samples.windows("train", augment="shift:most_s=4", seed=3)
    root, starts = zarr.open_group(samples.path / "arrays.zarr", mode="r"), []
    for epoch in range(4):
        for i in range(len(windows)):
            batch = windows.batch([epoch * len(windows) + i])
            row = samples.index.iloc[int(batch["index"][0])]
            whole = np.asarray(root[row["source"]]["inputs"][row["record"], 0])
            part = np.lib.stride_tricks.sliding_window_view(whole, 800)
            part = (part - part.mean(1, keepdims=True)) / np.maximum(part.std(1, keepdims=True), 1e-9)
            off = np.abs(part - batch["inputs"].numpy()[0, 0]).max(1)
            assert off.min() < 1e-3
            starts.append(int(off.argmin()) - row["x"])
            assert row["first"] <= off.argmin() <= row["last"]
    assert len(set(starts)) > 4 and np.abs(starts).max() <= 160


def test_changes_are_drawn_by_seed_epoch_and_window_alone(samples):
    def drawn(seed, keys):
        return samples.windows("train", augment="shift,noise:p=1,reverse", seed=seed).batch(keys)["inputs"].numpy()

    one = drawn(1, [0, 1, 2])
    np.testing.assert_array_equal(one[1], drawn(1, [5, 1])[1])
    assert not np.array_equal(one[0], drawn(2, [0])[0]) and not np.array_equal(one[0], drawn(1, [8])[0])
    plain = samples.windows("val", seed=1)
    np.testing.assert_array_equal(plain.batch([0])["inputs"], plain.batch([len(plain)])["inputs"])
