"""Every kind of store, and of its tensors, keeps what the common one promises: what there is works, what cannot be is not there."""

import inspect
import re
from pathlib import Path

import h5py
import made_cubes
import made_scenes
import numpy as np
import pytest
import torch

import geonb
from geonb import store
from geonb.store import loaders, samplers
from geonb.workloads.clouds.loaders import Triplets
from geonb.workloads.conflict import hdf5

KINDS = ("patches", "cube", "windows", "triplets")
# what the public methods that take something are asked here
ASKED = {
    "open": lambda kept: (kept.path,),
    "origins": lambda kept: ("test",),
    "split_map": lambda kept: (kept.sources[0],),
    "labels": lambda kept: ([kept.windows()[0]],),
    "pixels": lambda kept: ([0, 1],),
    "tiles": lambda kept: ([0, 1],),
    "valid_shares": lambda kept: (kept.sources[0], 0, np.array([[0, 0]])),
    "__getitem__": lambda kept: (0,),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, small_store):
    folder = tmp_path_factory.mktemp("kinds")
    with h5py.File(folder / "theirs.hdf5", "w") as file:
        random = np.random.default_rng(0)
        file["predictor"], file["truth"] = random.random((9, 4, 2, 5, 5)) * 9, random.random((9, 5, 5)) < 0.3
    return {
        "patches": small_store,
        "cube": made_cubes.small_cube_store(tmp_path_factory.mktemp("cube"), draws=1),
        "windows": hdf5.import_sequences(folder / "theirs.hdf5", folder / "theirs", "60/20/20"),
        "triplets": made_scenes.store(tmp_path_factory.mktemp("clouds")),
    }


def public(kind):
    return [n for n in dir(kind) if not n.startswith("_")] + ["__getitem__", "__len__", "__repr__"]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_store_has_works(kinds, kind):
    kept, refused = kinds[kind], []
    for name in public(type(kept)):
        try:
            found = getattr(kept, name)
            if callable(found) and not inspect.isclass(found):
                found(*ASKED.get(name, lambda kept: ())(kept))
        except Exception as error:
            refused.append(f"{name}: {error!r}")
    assert refused == []


def test_what_cannot_be_is_not_there(kinds):
    for name in ("cube", "origins", "times", "check_split", "split_map"):
        assert not hasattr(kinds["windows"], name)
    assert not hasattr(kinds["cube"], "split_map") and not hasattr(kinds["triplets"], "split_map")
    assert [k for k in KINDS if not hasattr(kinds[k], "check_split")] == ["windows"]
    assert [k for k in KINDS if kinds[k].unproved] == ["windows"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_overridden_method_takes_what_the_common_one_takes(kinds, kind):
    windows = kinds[kind].windows()
    for own, common in ((type(kinds[kind]), store.Store), (type(windows), loaders.Tensors)):
        for cls in own.__mro__[: own.__mro__.index(common)]:
            for above in cls.__mro__[1:]:
                for name, method in vars(above).items():
                    if inspect.isfunction(method) and name in vars(cls) and name != "__init__":
                        asked = list(inspect.signature(method).parameters.values())
                        given = list(inspect.signature(vars(cls)[name]).parameters.values())
                        assert [p.name for p in given[: len(asked)]] == [p.name for p in asked], f"{cls}.{name}"
                        assert all(p.default is not p.empty for p in given[len(asked) :]), f"{cls}.{name}"


def test_no_type_is_waved_through():
    found = [
        p.name for p in Path(geonb.__file__).parent.rglob("*.py") if re.search(r"type: ignore\[override", p.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_every_kind_are_read_alike(kinds, kind):
    windows = kinds[kind].windows("train", seed=3)
    assert isinstance(windows, loaders.Tensors)
    assert (kinds[kind].index["split"].iloc[windows.rows] == "train").all()
    batch, n = windows.batch([1, 0]), len(windows)
    for key, at in ((1, 0), (1 - n, 0), (n, 1)):  # of epoch 0, from the end, of epoch 1
        item = windows[key]
        assert item["index"] == batch["index"][at] == windows.rows[1 - at]
        assert torch.equal(item["inputs"], batch["inputs"][at])
    with pytest.raises(IndexError, match=f"There are {n} windows"):
        windows[-n - 1]
    with pytest.raises(ValueError, match="split = 'dev' is none of"):
        kinds[kind].windows("dev")


@pytest.mark.parametrize("kind", KINDS)
def test_windows_and_balance_are_of_one_kind(kinds, kind):
    windows = kinds[kind].windows("train")
    if kind == "patches":
        assert len(windows.commonest()) == len(windows)
        return
    assert not hasattr(windows, "commonest")
    said = "triplets" if isinstance(windows, Triplets) else "windows of months"
    with pytest.raises(ValueError, match=f"balance = class: {said} have no classes"):
        samplers.order_of(windows, kinds[kind], "shuffle:balance=class")


@pytest.mark.parametrize("kind", ["cube", "windows"])
def test_native_units_are_the_stores_own(kinds, kind):
    native, usual = kinds[kind].windows(native=True), kinds[kind].windows()
    i = len(native) // 2
    expected = kinds[kind][i]["inputs"].values
    np.testing.assert_allclose(native[i]["inputs"], expected, rtol=1e-6)
    assert np.isnan(expected).any() == np.isnan(native[i]["inputs"].numpy()).any()
    mean, std = (np.array(kinds[kind].meta["statistics"][k])[:, None, None] for k in ("mean", "std"))
    np.testing.assert_allclose(usual[i]["inputs"], np.nan_to_num((expected - mean) / std), atol=1e-4)


def test_an_exporter_asks_for_what_it_needs(kinds, tmp_path, monkeypatch):
    """It once set the scale of finished windows: whoever is asked now says so in its arguments."""
    asked, cls = [], type(kinds["cube"])
    real = cls.windows
    monkeypatch.setattr(cls, "windows", lambda self, *a, **k: asked.append(k) or _frozen(real(self, *a, **k)))
    hdf5.export_sequences(kinds["cube"], tmp_path / "out.h5")
    assert asked == [{"native": True}]


def _frozen(windows):
    def refuse(self, name, value):
        assert name in ("_maps", "_drawn"), f"{name} was set from outside"
        object.__setattr__(self, name, value)

    windows.__class__ = type("Frozen", (type(windows),), {"__setattr__": refuse})
    return windows
