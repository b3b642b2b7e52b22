"""The original's HDF5 file, written by hand with h5py, in; ours out, read with h5py."""

import pickle

import h5py
import made_cubes
import numpy as np
import pandas as pd
import pytest
import torch

from geonb import store as stores
from geonb.workloads.conflict import baselines, hdf5, maps, predict


@pytest.fixture(scope="module")
def cube_store(tmp_path_factory):
    return made_cubes.small_cube_store(tmp_path_factory.mktemp("project"), draws=1)


@pytest.fixture
def theirs(tmp_path):
    """A file as the original writes it: 20 samples, 4 months, 3 channels, 6 x 6 cells, float64."""
    random = np.random.default_rng(0)
    predictor = random.normal(30, 5, (20, 4, 3, 6, 6))
    predictor[:, :, 0] = random.random((20, 4, 6, 6)) < 0.2
    truth = (random.random((20, 6, 6)) < 0.2).astype(float)
    with h5py.File(tmp_path / "theirs.hdf5", "w") as file:
        file.create_dataset("predictor", data=predictor[:10], maxshape=(None, 4, 3, 6, 6), chunks=True)
        file.create_dataset("truth", data=truth[:10], maxshape=(None, 6, 6), chunks=True)
        for name, values in (("predictor", predictor), ("truth", truth)):
            file[name].resize(20, axis=0)
            file[name][10:] = values[10:]
        file.attrs["key_ucdp"], file.attrs["key_prio"] = ["best"], ["petroleum_y", "excluded"]
    return tmp_path / "theirs.hdf5", predictor, truth


def test_their_file_becomes_a_store_to_train_on(theirs, tmp_path):
    file, predictor, truth = theirs
    store = hdf5.import_sequences(file, tmp_path / "data/theirs", "60/20/20")
    assert store.index["split"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert store.inputs == ["best", "petroleum_y", "excluded"]
    assert (store.steps, store.horizon, len(store), store.faults(deep=True)) == (4, 1, 20, [])
    train = predictor[:12]
    np.testing.assert_allclose(
        store.meta["statistics"]["mean"], [0, *train[:, :, 1:].mean(axis=(0, 1, 3, 4))], rtol=1e-9
    )
    np.testing.assert_allclose(store.meta["statistics"]["std"], [1, *train[:, :, 1:].std(axis=(0, 1, 3, 4))], rtol=1e-9)
    windows = store.windows("val")
    batch = windows.batch([0, 3])
    mean, std = (np.array(store.meta["statistics"][k])[:, None, None] for k in ("mean", "std"))
    np.testing.assert_allclose(batch["inputs"].numpy(), (predictor[[12, 15]] - mean) / std, atol=1e-5)
    np.testing.assert_array_equal(batch["targets"][:, 0, 0].numpy(), truth[[12, 15]])
    assert batch["valid"].all()
    assert batch["index"].tolist() == [12, 15]
    np.testing.assert_array_equal(store[-1]["inputs"].values, predictor[-1].astype(np.float32))
    again = pickle.loads(pickle.dumps(windows)).batch([0, 3])
    assert torch.equal(batch["inputs"], again["inputs"])


def test_infinite_numbers_are_as_unknown_as_nan(theirs, tmp_path):
    with h5py.File(theirs[0], "r+") as data:
        data["predictor"][15, 0, 1, 0, :3] = np.inf, -np.inf, np.nan
    inputs = hdf5.import_sequences(theirs[0], tmp_path / "theirs").windows().batch([15])["inputs"]
    assert inputs[0, 0, 1, 0, :3].tolist() == [0, 0, 0] and torch.isfinite(inputs).all()


def test_nobody_can_check_its_leakage(theirs, tmp_path):
    store = hdf5.import_sequences(theirs[0], tmp_path / "theirs")
    assert store.georeferenced is False
    assert "leakage cannot be checked" in " ".join(store.meta["notes"])
    with pytest.raises(ValueError, match="its split cannot be checked; ungeoreferenced, leakage cannot be checked"):
        stores.check_split(store)
    with pytest.raises(ValueError, match="its split cannot be checked"):
        stores.proof_of(store)
    for ask in (
        predict.origins_of,
        baselines.training_stop,
        lambda store: baselines.events_of(store, 0, 4),
        lambda store: maps.event_diffusion(store, 5),
        maps.cube_maps,
        maps.sequence_samples,
    ):
        with pytest.raises(ValueError, match=r"no months to forecast .*ungeoreferenced.* Write a store from events"):
            ask(store)


def test_turned_samples_stay_together(theirs, tmp_path):
    store = hdf5.import_sequences(theirs[0], tmp_path / "theirs")
    plain = store.windows().batch(range(20))
    turned = store.windows(augment="flips,rotations").batch(range(20))
    assert not torch.equal(plain["inputs"], turned["inputs"])

    def turn(plane, flip, quarters):
        return torch.rot90(plane.flip(-1) if flip else plane, quarters, (-2, -1))

    for j in range(20):
        turns = [(flip, quarters) for flip in (False, True) for quarters in range(4)]
        assert any(
            all(torch.equal(turn(plain[k][j], *way), turned[k][j]) for k in ("inputs", "targets")) for way in turns
        )


def test_export_is_their_file(cube_store, tmp_path):
    file = hdf5.export_sequences(cube_store, tmp_path / "ours.h5")
    with h5py.File(file) as data:
        n = len(cube_store)
        assert data["predictor"].shape == (n, 6, 5, 8, 8)
        assert data["predictor"].maxshape[0] is data["truth"].maxshape[0] is None
        assert data["predictor"].dtype == data["truth"].dtype == np.float64
        assert list(data.attrs["key_ucdp"]) == ["event", "log1p_best", "months_since"]
        assert list(data.attrs["key_prio"]) == ["wealth", "mountains"]
        np.testing.assert_array_equal(data["mean"], cube_store.meta["statistics"]["mean"])
        order = np.argsort(cube_store.index["split"].cat.codes, kind="stable")
        for at in (0, n // 2, n - 1):
            window, mean = cube_store[int(order.iloc[at])], data["mean"][:][:, None, None]
            values = window["inputs"].values
            np.testing.assert_allclose(data["predictor"][at], np.where(np.isnan(values), mean, values), rtol=1e-7)
            np.testing.assert_array_equal(data["truth"][at], window["targets"].values[0, 0])
    back = hdf5.import_sequences(file, tmp_path / "back")
    counts = cube_store.index["split"].value_counts()
    assert back.index["split"].value_counts().to_dict() == counts.to_dict()
    assert back.inputs == cube_store.inputs


def test_the_own_layout_comes_back_exactly(cube_store, tmp_path):
    file = hdf5.export_sequences(cube_store, tmp_path / "ours.h5", layout="geonb")
    back = hdf5.import_sequences(file, tmp_path / "back")
    assert back.meta == cube_store.meta
    assert back.faults(deep=True) == []
    assert back.check_split() == cube_store.check_split()
    pd.testing.assert_frame_equal(back.index, cube_store.index)
    assert back[7].identical(cube_store[7])
    assert back.grid.load().identical(cube_store.grid.load())


def wide(data):
    del data["predictor"], data["truth"]
    data.create_dataset("predictor", (3, 1, 1, 1, 40_000), "f4", chunks=True)
    data.create_dataset("truth", (3, 1, 40_000), "f4", chunks=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.create_group("predictor"), "no dataset 'predictor' of numbers"),
        (lambda data: data.create_dataset("predictor", data=[b"a"]), "no dataset 'predictor' of numbers"),
        (lambda data: data.attrs.update(splits=20), "train, val and test have 20 samples, not 20 together"),
        (lambda data: data.attrs.update(splits=[30, -5, -5]), r"have \[30, -5, -5\] samples"),
        (lambda data: data.attrs.update(splits=[12.0, 4.0, 4.0]), r"have \[12.0, 4.0, 4.0\] samples"),
        (lambda data: data.attrs.update(splits=[0, 20, 0]), r"have \[0, 20, 0\] samples"),
        (lambda data: data["predictor"].__setitem__((15, 0, 1, 0, 0), -3.4e38), r"predictor is -3.4e\+38 in samples"),
        (lambda data: data["predictor"].__setitem__((15, 0, 1, 0, 0), 1e300), r"predictor is 1e\+300 in samples"),
        (lambda data: data.attrs.update(splits=np.array([2**64 - 1, 1, 20], np.uint64)), "have .* samples, not 20"),
        (lambda data: data.attrs.update(channels=np.array([b"a\xff", b"b", b"c"])), r"no text in UTF-8: 'a\\udcff'"),
        (wide, "its windows are 1 x 40000 cells: at most 32767"),
        (lambda data: data.attrs.update(layout="geonb") or data.create_group("cube"), "/cube has no attribute root"),
        (lambda data: data["truth"].__setitem__((15, 0, 0), 7), "truth is 7 in samples from 0"),
        (lambda data: data["truth"].__setitem__((15, 0, 0), np.nan), "truth is nan in samples from 0"),
    ],
)
def test_what_others_wrote_is_checked_before_there_is_a_store(theirs, tmp_path, change, says):
    with h5py.File(theirs[0], "r+") as data:
        if "'predictor'" in says:
            del data["predictor"]
        change(data)
    with pytest.raises(ValueError, match=f"theirs.hdf5[\\s\\S]*{says}"):
        hdf5.import_sequences(theirs[0], tmp_path / "data/a")
    assert not (tmp_path / "data/a").exists() and not list(tmp_path.rglob("*.zarr*"))


def test_a_file_that_is_cut_short_is_refused(theirs, tmp_path):
    whole = theirs[0].read_bytes()
    theirs[0].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"theirs.hdf5 is damaged or cut short \(.*truncated"):
        hdf5.import_sequences(theirs[0], tmp_path / "a")


@pytest.mark.parametrize("value", [7, h5py.Empty("f"), np.bytes_(b"one"), "one"])
def test_names_that_are_not_one_a_channel_are_numbers(theirs, tmp_path, value):
    with h5py.File(theirs[0], "r+") as data:
        data.attrs["channels"] = data.attrs["key_ucdp"] = value
        data.attrs["splits"] = np.array([12, 4, 4], np.uint64)
        del data.attrs["key_prio"]
    store = hdf5.import_sequences(theirs[0], tmp_path / "theirs")
    assert store.inputs == ["channel_0", "channel_1", "channel_2"]
    assert store.index["split"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}


def test_shares_that_leave_no_sample_to_train_on_are_refused(theirs, tmp_path):
    with pytest.raises(ValueError, match=r"have \[0, 10, 10\] samples"):
        hdf5.import_sequences(theirs[0], tmp_path / "a", (0.02, 0.49, 0.49))


def test_files_of_another_kind_are_refused(cube_store, theirs, tmp_path):
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        hdf5.import_sequences(tmp_path / "text.h5", tmp_path / "a")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["predictor"] = np.zeros((4, 2, 2, 6, 6))
        file["truth"] = np.zeros((4, 5, 6))
    with pytest.raises(ValueError, match=r"truth is \(4, 5, 6\), not \(4, 6, 6\)"):
        hdf5.import_sequences(tmp_path / "odd.h5", tmp_path / "a")
    with pytest.raises(FileExistsError):
        hdf5.import_sequences(theirs[0], tmp_path)
    with pytest.raises(ValueError, match=r"layout = 'seismic'[\s\S]*dtype = 'int8'"):
        hdf5.export_sequences(cube_store, tmp_path / "b.h5", "seismic", "int8")
    assert not (tmp_path / "a").exists()
    assert not list(tmp_path.glob("*.partial"))
