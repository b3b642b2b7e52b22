"""Numbers of every pixel, predicted by what the spine has for any workload on a grid: no classes anywhere."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from affine import Affine
from rasterio.crs import CRS

from geonb import registry
from geonb.base.manifest import MANIFEST
from geonb.prediction import scenes
from geonb.prediction.bands import value_layout
from geonb.prediction.baselines import Baseline
from geonb.prediction.predictions import open_predictions
from geonb.rasters import images
from geonb.store import arrays, windows
from geonb.store.grid_store import GridStore
from geonb.store.sealing import make_store
from geonb.store.store import META_KEYS, check_split

SHAPE, PATCH, BLOCK = (96, 80), 16, 16
CUT = {"patch": PATCH, "stride": 8, "block": BLOCK, "shares": [0.6, 0.2, 0.2], "seed": 1, "min_valid": 0.5}
GRID = Affine.translation(5e5, 4e6) @ Affine.scale(10, -10)


@dataclass(frozen=True, repr=False)
class NumberStore(GridStore):
    """Heights in km as inputs, in m as targets; where nobody measured, NaN."""

    def windows(self, split=None, augment="none", seed=0):
        raise AssertionError("not asked for")

    labels = legend = None

    def faults(self, deep=False):
        return []


class Metres:
    """A task that knows: a km has 1,000 m. Its windows' rims are seen by nobody, so blending must not show."""

    window = 32

    def __init__(self, statistics):
        self.card = {"statistics": statistics, "training": {}, "best": {}, "network": "exact", "workload": "numbers"}
        (self.mean,), (self.std,) = statistics["mean"], statistics["std"]

    def metres(self, inputs):
        return 1000 * (inputs * self.std + self.mean)

    def state_dict(self):
        return {}

    def to(self, device):
        return self

    eval = train = lambda self: self


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    random = np.random.default_rng(0)
    heights = (np.linspace(0.1, 2, SHAPE[1]) + random.normal(0, 0.05, SHAPE)).astype(np.float32)
    valid, measured = np.ones(SHAPE, bool), np.ones(SHAPE, bool)
    valid[:20, :20], measured[60:, 40:] = False, False
    source = arrays.source_facts("ground", CRS.from_epsg(32617), GRID, SHAPE) | {"dataset": "ground"}

    def write_arrays(folder):
        data = images.frame(heights[None], valid, GRID, "EPSG:32617", ["height"])
        data["targets"] = ("y", "x"), np.where(measured & valid, 1000 * heights, np.nan).astype(np.float32)
        with arrays.quiet_zarr():
            data.to_zarr(folder, group="ground", consolidated=False)
        arrays.seal(folder, [source])

    def write_table(folder):
        groups = {"ground": zarr.open_group(folder / "arrays.zarr", mode="r")["ground"]}
        split = windows.deal(groups, 0, CUT)
        windows.cut_windows(groups, split, CUT, [source]).to_parquet(folder / "index.parquet", index=False)
        return {
            "statistics": arrays.training_statistics(groups, split),
            "parameters": CUT,
            "sources": [source],
            "split": split,
        }

    facts = {
        "title": "",
        "simulated": True,
        "notes": [],
        "attribution": "",
        "channels": [{"name": "height", "units": "km"}],
    }
    root = tmp_path_factory.mktemp("project")
    return NumberStore.open(
        make_store("numbers", write_arrays, write_table, recipe=1, cut=CUT, facts=facts, files=[], name="ground",
                   workload="numbers", root=root)
    )  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    record = registry.Workload(name="numbers", title="", question="", dataset="", headline="rmse", units="m")
    monkeypatch.setattr(registry, "known", lambda name: record)
    return SimpleNamespace(path=tmp_path, predictions=tmp_path / "predictions.zarr")


def predicted(run, store):
    model = Metres(store.meta["statistics"])
    nothing = Baseline("nothing", lambda inputs: np.zeros((1, *inputs.shape[1:]), np.float32))
    return scenes.predict_scenes(run, store, model, [nothing], model.metres, value_layout("height", "m"))


def faults(path, deep=True):
    wanted, kinds = {"mean": ("model", "y", "x")}, {"mean": "float32", "truth": "float32"}
    return list(scenes.scene_faults(open_predictions(path), wanted, kinds, lambda rows: (), deep))


def test_a_store_of_numbers_needs_no_classes(store):
    assert "classes" not in META_KEYS and store.classes == []
    told = check_split(store)
    assert told["leaks"] == 0 and "0 m apart" in told["said"]
    counts = [(store.split_map("ground") == code).sum().item() for code in (1, 2, 3)]
    np.testing.assert_allclose(np.array(counts) / np.prod(SHAPE), CUT["shares"], atol=0.1)
    valid = store.arrays["ground"]["valid"].to_numpy()
    assert store.meta["split"]["pixels"]["train"] == (valid & (store.split_map("ground") == 1).to_numpy()).sum()
    train = store.arrays["ground"]["inputs"].to_numpy()[0][valid & (store.split_map("ground") == 1).to_numpy()]
    np.testing.assert_allclose(store.meta["statistics"]["std"], train.astype(float).std())


def test_windows_without_a_number_are_left_out(store):
    targets = store.arrays["ground"]["targets"].to_numpy()
    shares = [np.isfinite(targets[y : y + PATCH, x : x + PATCH]).mean() for y, x in store.index[["y", "x"]].to_numpy()]
    np.testing.assert_allclose(store.index["labelled_share"], shares)
    assert min(shares) > 0 and not ((store.index["y"] >= 64) & (store.index["x"] >= 40)).any()


def test_every_pixel_gets_its_number_and_keeps_its_place(store, run):
    path = predicted(run, store)
    scene, truth = open_predictions(path)["ground"].to_dataset(), store.arrays["ground"]["targets"]
    network = scene["mean"].sel(model="network")
    known = np.isfinite(truth.to_numpy())
    np.testing.assert_allclose(network.to_numpy()[known], truth.to_numpy()[known], rtol=1e-4)
    np.testing.assert_array_equal(np.isnan(network), ~store.arrays["ground"]["valid"].to_numpy())
    xr.testing.assert_equal(scene["truth"].drop_attrs(), truth.drop_attrs().rename("truth"))
    assert scene.rio.crs.to_epsg() == 32617 and scene["mean"].attrs["units"] == "m"
    assert float(scene["mean"].sel(model="nothing").max()) == 0
    assert faults(path) == []


def test_what_is_wrong_with_them_is_told(store, run):
    path = predicted(run, store)
    group = zarr.open_group(path, mode="r+")["ground"]
    del group["truth"]
    group["x"][3] = np.nan
    zarr.consolidate_metadata(path)
    (path / MANIFEST).unlink()  # else the files are told, before anybody looks at what is in them
    assert faults(path) == ["ground: no truth", "ground: x is unknown at 1 places"]


def test_they_go_on_where_they_were_interrupted(store, run, monkeypatch):
    rows, write = [], scenes.Writer.write

    def stops(self, model, row, *band):
        if len(rows) == 2:
            raise KeyboardInterrupt
        rows.append((model, row))
        return write(self, model, row, *band)

    monkeypatch.setattr(scenes.Writer, "write", stops)
    with pytest.raises(KeyboardInterrupt):
        predicted(run, store)
    first = list(rows)
    monkeypatch.setattr(scenes.Writer, "write", lambda *a: (rows.append(a[1:3]), write(*a))[1])
    scene = open_predictions(predicted(run, store))["ground"].to_dataset()
    assert len(first) == 2 and not set(first) & set(rows[2:])
    assert np.isfinite(scene["mean"].sel(model="network").to_numpy()[store.arrays["ground"]["valid"].to_numpy()]).all()


def test_affine_moves_numbers_and_knows_nothing_of_what_comes_in():
    from geonb.training.augmentation import change

    drawn = iter([0.0, 3 / 16, 0.0, 0.0, 0.0, 0.0])  # a shift by three columns
    random = SimpleNamespace(random=lambda: 0.0, uniform=lambda low, high: next(drawn))
    targets = torch.rand(16, 16) * 9 - 4
    targets[2, 2] = torch.nan
    window = {"inputs": targets[None].nan_to_num(), "targets": targets.clone(), "valid": None}
    options = {"p": 1, "rotate_deg": 0, "translate": 0.5, "scale": 0, "shear_deg": 0}
    moved = change(window, [("affine", options)], {}, random)["targets"]
    torch.testing.assert_close(moved[:, 3:], targets[:, :-3], equal_nan=True)
    assert moved[:, :3].isnan().all()
