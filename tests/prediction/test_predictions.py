"""Predictions: georeferenced, beside the baselines, resumable; a full disk leaves no half map."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from untrained import untrained

from geonb import prediction, registry
from geonb.prediction import bands as prediction_bands
from geonb.prediction import predictions
from geonb.prediction.faults import check_predictions
from geonb.rasters import cog
from geonb.workloads.segmentation import baselines, predict


@pytest.fixture(scope="module")
def model(small_store):
    return untrained(small_store)


def folder(path: Path):
    return SimpleNamespace(path=path, predictions=path / "predictions.zarr", name=path.name)


@pytest.fixture(scope="module")
def predicted(small_store, model, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("run"))
    found = [baselines.majority(small_store), baselines.pixel_linear(small_store)]
    predict.predict_scenes(run, small_store, model, found)
    return run


def test_the_contract_holds(predicted, small_store):
    check_predictions(predicted.predictions)
    tree = prediction.open_predictions(predicted.predictions)
    source = small_store.sources[0]
    scene, original = tree[source].to_dataset(), small_store.arrays[source].to_dataset()
    assert list(scene["model"].values) == ["network", "majority", "pixel-linear"]
    assert scene.rio.crs == original.rio.crs and scene.rio.transform() == original.rio.transform()
    np.testing.assert_array_equal(scene["truth"], original["targets"])
    valid = original["valid"].values.astype(bool)
    assert (scene["label"].values[:, ~valid] == 255).all() and np.isnan(scene["probability"].values[..., ~valid]).all()
    assert (scene["label"].values[:, valid] < 255).all()


def test_predictions_say_at_their_root_whose_they_are(predicted, small_store, model):
    said, record = prediction.open_predictions(predicted.predictions).attrs, registry.get("segmentation")
    own = {"colours": [c["colour"] for c in small_store.classes], "block": small_store.meta["split"]["block"]}
    assert said == own | {
        "workload": "segmentation", "title": small_store.meta["title"] or record.title, "question": record.question,
        "simulated": 1, "notes": small_store.meta["notes"], "run": predicted.name, "headline": "mean_iou",
        "network": model.card["network"], "precision": "float32", "geonb": model.card["geonb"],
        "models": ["network", "majority", "pixel-linear"], "complete": 1,
    }  # fmt: skip


def test_the_precision_is_that_of_the_machine_unless_told(small_store, model, predicted, tmp_path, bfloat16):
    found = {}
    for precision in ("auto", "float32"):
        run, options = folder(tmp_path / precision), {} if precision == "auto" else {"precision": precision}
        predict.predict_scenes(run, small_store, model, [], **options)
        tree = prediction.open_predictions(run.predictions)
        found[precision] = (
            tree.attrs["precision"],
            tree[small_store.sources[0]]["probability"].sel(model="network").values,
        )
    assert found["auto"][0] == "bfloat16" and found["float32"][0] == "float32"
    before = prediction.open_predictions(predicted.predictions)[small_store.sources[0]]["probability"]
    np.testing.assert_array_equal(found["float32"][1], before.sel(model="network").values)
    differ = np.nanmax(np.abs(found["auto"][1] - found["float32"][1]))
    assert 0 < differ < 0.05


def test_majority_says_the_most_frequent_training_class(predicted, small_store):
    scene = prediction.open_predictions(predicted.predictions)[small_store.sources[0]].to_dataset()
    truth, split = scene["truth"].values, scene["split"].values
    counts = np.bincount(truth[(split == 1) & (truth < 255)], minlength=scene.sizes["class"])
    said = scene["label"].sel(model="majority").values
    assert set(np.unique(said)) <= {counts.argmax(), 255}


def test_pixel_linear_is_scikit_learns_regression_on_the_bands(small_store):
    from sklearn.linear_model import LogisticRegression

    bands, labels = baselines.training_pixels(small_store, seed=0)
    expected = LogisticRegression(max_iter=500).fit(bands, labels).predict_proba(bands[:6])
    found = baselines.pixel_linear(small_store, seed=0)(bands[:6].T.reshape(-1, 2, 3))
    np.testing.assert_allclose(found.reshape(len(expected[0]), 6).T, expected, atol=1e-5)


def test_baselines_learn_from_every_labelled_pixel_of_the_training_windows_alone(small_store):
    targets, counts = small_store.arrays["image"]["targets"].to_numpy(), {"train": 0, "all": 0}
    for row in small_store.index.itertuples():
        here = np.bincount(targets[row.y : row.y + 16, row.x : row.x + 16].ravel(), minlength=256)[:3]
        counts["all"] += here
        counts["train"] += here * (row.split == "train")
    _, labels = baselines.training_pixels(small_store)
    assert np.bincount(labels).tolist() == counts["train"].tolist() != counts["all"].tolist()
    guessed = baselines.majority(small_store)(np.zeros((4, 1, 1), np.float32))[:, 0, 0]
    np.testing.assert_allclose(guessed, counts["train"] / counts["train"].sum(), rtol=1e-6)


def test_a_class_that_training_lacks_has_no_chance_and_moves_no_other(monkeypatch):
    bands, labels = np.array([[0.0], [1], [0.2], [0.8]]), np.array([0, 2, 0, 2])
    monkeypatch.setattr(baselines, "training_pixels", lambda store, seed: (bands, labels))
    guess = baselines.pixel_linear(SimpleNamespace(classes=["a", "b", "c"]))(np.array([[[0.0, 1]]]))
    assert (guess[1] == 0).all() and guess[0, 0, 0] > 0.5 > guess[0, 0, 1] and guess[2, 0, 1] > 0.5 > guess[2, 0, 0]


def test_interrupted_it_goes_on_bit_for_bit(predicted, small_store, model, tmp_path, monkeypatch):
    run, found = folder(tmp_path), [baselines.majority(small_store), baselines.pixel_linear(small_store)]

    class Killed(BaseException):
        pass

    write, bands = prediction_bands.Writer.write, []

    def dying(self, *arguments):
        bands.append(arguments)
        if len(bands) in (3, 9):
            raise Killed
        write(self, *arguments)

    monkeypatch.setattr(prediction_bands.Writer, "write", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            predict.predict_scenes(run, small_store, model, found)
        with pytest.raises(ValueError, match="interrupted"):
            check_predictions(run.predictions)
    predict.predict_scenes(run, small_store, model, found)
    once = prediction.open_predictions(predicted.predictions)[small_store.sources[0]].to_dataset()
    again = prediction.open_predictions(run.predictions)[small_store.sources[0]].to_dataset()
    np.testing.assert_array_equal(once["probability"], again["probability"])
    np.testing.assert_array_equal(once["label"], again["label"])


def test_done_is_not_done_again_and_another_model_is(predicted, small_store, model, monkeypatch):
    found = [baselines.majority(small_store), baselines.pixel_linear(small_store)]
    with monkeypatch.context() as patch:
        patch.setattr(prediction_bands.Writer, "write", lambda *_: pytest.fail("predicted again"))
        predict.predict_scenes(predicted, small_store, model, found)
    monkeypatch.setitem(model.card, "best", {"epoch": 2})
    predict.predict_scenes(predicted, small_store, model, found)
    assert prediction.open_predictions(predicted.predictions).attrs["complete"] == 1


def test_a_full_disk_leaves_no_half_map(predicted, small_store, tmp_path, monkeypatch):
    scene = prediction.open_predictions(predicted.predictions)[small_store.sources[0]].to_dataset()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cog, "copy", full)
    with pytest.raises(OSError, match="No space left"):
        cog.write_class_map(scene, tmp_path / "class.tif", ["#000000"] * scene.sizes["class"])
    assert not list(tmp_path.iterdir())


def test_faults_are_all_listed(tmp_path):
    import xarray as xr

    xr.DataTree.from_dict({"/": xr.Dataset(), "/a": xr.Dataset({"truth": ("x", [1])})}).to_zarr(tmp_path / "p.zarr")
    with pytest.raises(ValueError) as error:
        check_predictions(tmp_path / "p.zarr", "segmentation")
    told = str(error.value)
    assert all(
        part in told
        for part in ("root attributes missing", "a: no probability", "truth has dims", "no coordinate reference")
    )
    with pytest.raises(FileNotFoundError, match="03_prediction"):
        prediction.open_predictions(tmp_path / "none.zarr")


class Killed(BaseException):
    """As if the process had been killed there."""


@pytest.mark.parametrize("again", [{"model": 1}, {"model": 2}])
def test_a_list_of_rows_never_outlives_the_rows(tmp_path, monkeypatch, again):
    """Killed while the rows of another model are removed, and then asked for either model's."""
    path = tmp_path / "predictions.zarr"
    predictions.Done(path, {"model": 1}).mark("scene", "network", 64)

    def cut_short(path, **options):
        raise Killed

    monkeypatch.setattr(predictions.shutil, "rmtree", cut_short)
    with pytest.raises(Killed):
        predictions.Done(path, {"model": 2})
    monkeypatch.undo()
    assert predictions.Done(path, again).rows("scene", "network") is None
