"""Predictions: georeferenced, beside the baselines, resumable; maps that GDAL opens; rasters that do not fit refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

from geonb import baselines, maps, prediction, tasks

SMALL = "unet:encoder=resnet18,encoder_depth=2,decoder_channels=16-8"


@pytest.fixture(scope="module")
def model(small_store):
    torch.manual_seed(0)
    card = {
        "workload": "segmentation", "network": SMALL, "loss": "cross-entropy", "lr": 1e-3, "geonb": "0", "patch": 32,
        **{key: small_store.meta[key] for key in ("channels", "classes", "statistics")},
        "training": {"seed": 0}, "best": {"epoch": 1},
    }  # fmt: skip
    return tasks.Segmentation(card).eval()


def folder(path: Path):
    return SimpleNamespace(path=path, predictions=path / "predictions.zarr", name=path.name)


@pytest.fixture(scope="module")
def predicted(small_store, model, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("run"))
    found = [baselines.majority(small_store), baselines.pixel_linear(small_store)]
    prediction.predict_scenes(run, small_store, model, found)
    return run


def test_the_contract_holds(predicted, small_store):
    prediction.check_predictions(predicted.predictions)
    tree = prediction.open_predictions(predicted.predictions)
    source = small_store.sources[0]
    scene, original = tree[source].to_dataset(), small_store.arrays[source].to_dataset()
    assert list(scene["model"].values) == ["network", "majority", "pixel-linear"]
    assert scene.rio.crs == original.rio.crs and scene.rio.transform() == original.rio.transform()
    np.testing.assert_array_equal(scene["truth"], original["targets"])
    valid = original["valid"].values.astype(bool)
    assert (scene["label"].values[:, ~valid] == 255).all() and np.isnan(scene["probability"].values[..., ~valid]).all()
    assert (scene["label"].values[:, valid] < 255).all()


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


def test_interrupted_it_goes_on_bit_for_bit(predicted, small_store, model, tmp_path, monkeypatch):
    run, found = folder(tmp_path), [baselines.majority(small_store), baselines.pixel_linear(small_store)]

    class Killed(BaseException):
        pass

    write, bands = prediction._Scene.write, []

    def dying(self, *arguments):
        bands.append(arguments)
        if len(bands) in (3, 9):
            raise Killed
        write(self, *arguments)

    monkeypatch.setattr(prediction._Scene, "write", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            prediction.predict_scenes(run, small_store, model, found)
        with pytest.raises(ValueError, match="interrupted"):
            prediction.check_predictions(run.predictions)
    prediction.predict_scenes(run, small_store, model, found)
    once = prediction.open_predictions(predicted.predictions)[small_store.sources[0]].to_dataset()
    again = prediction.open_predictions(run.predictions)[small_store.sources[0]].to_dataset()
    np.testing.assert_array_equal(once["probability"], again["probability"])
    np.testing.assert_array_equal(once["label"], again["label"])


def test_done_is_not_done_again_and_another_model_is(predicted, small_store, model, monkeypatch):
    found = [baselines.majority(small_store), baselines.pixel_linear(small_store)]
    with monkeypatch.context() as patch:
        patch.setattr(prediction._Scene, "write", lambda *_: pytest.fail("predicted again"))
        prediction.predict_scenes(predicted, small_store, model, found)
    monkeypatch.setitem(model.card, "best", {"epoch": 2})
    prediction.predict_scenes(predicted, small_store, model, found)
    assert prediction.open_predictions(predicted.predictions).attrs["complete"] == 1


def test_any_raster_comes_out_on_its_own_grid(small_store, model, scene, tmp_path):
    paths = prediction.predict_raster(model, scene.image, tmp_path / "maps")
    with (
        rasterio.open(scene.image) as image,
        rasterio.open(paths["class"]) as labels,
        rasterio.open(paths["probability"]) as shares,
    ):
        for made in (labels, shares):
            assert (made.crs, made.transform, made.shape) == (image.crs, image.transform, image.shape)
            assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert shares.descriptions == tuple(c["name"] for c in small_store.classes)
        valid = image.dataset_mask() > 0
        label, share = labels.read(1), shares.read().astype(float) * shares.scales[0]
        assert labels.colormap(1)[0][:3] == tuple(bytes.fromhex(small_store.classes[0]["colour"].lstrip("#")))
    assert (label[~valid] == 255).all() and (label[valid] < len(small_store.classes)).all()
    assert share[:, valid].sum(axis=0) == pytest.approx(1, abs=0.02)
    agree = (
        np.take_along_axis(share[:, valid], label[valid][None].astype(int), axis=0)[0]
        >= share[:, valid].max(axis=0) - 1e-9
    )
    assert agree.mean() > 0.99  # ties of the rounded shares aside
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {paths["class"].name, paths["probability"].name}


def test_the_raster_of_a_store_comes_out_as_its_scene(predicted, small_store, model, scene, tmp_path):
    paths = prediction.predict_raster(model, scene.image, tmp_path)
    inside = prediction.open_predictions(predicted.predictions)[small_store.sources[0]].to_dataset()
    with rasterio.open(paths["class"]) as labels:
        np.testing.assert_array_equal(labels.read(1), inside["label"].sel(model="network"))


def test_other_bands_are_refused(model, tmp_path):
    with rasterio.open(
        tmp_path / "one.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", crs="EPSG:4326",
        transform=rasterio.Affine(1, 0, 0, 0, -1, 0),
    ):  # fmt: skip
        pass
    with pytest.raises(
        ValueError, match=rf"one.tif has 1 bands; the model was trained on {len(model.card['channels'])} \("
    ):
        prediction.predict_raster(model, tmp_path / "one.tif", tmp_path)


def test_no_coordinate_system_is_refused(model, tmp_path):
    count = len(model.card["channels"])
    with rasterio.open(
        tmp_path / "lost.tif", "w", driver="GTiff", width=8, height=8, count=count, dtype="uint8",
        transform=rasterio.Affine(1, 0, 0, 0, -1, 0),
    ):  # fmt: skip
        pass
    with pytest.raises(ValueError, match=r"lost.tif has no coordinate reference system.*gdal_edit"):
        prediction.predict_raster(model, tmp_path / "lost.tif", tmp_path)


def test_a_full_disk_leaves_no_half_map(predicted, small_store, tmp_path, monkeypatch):
    scene = prediction.open_predictions(predicted.predictions)[small_store.sources[0]].to_dataset()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(maps, "copy", full)
    with pytest.raises(OSError, match="No space left"):
        maps.write_class_map(scene, tmp_path / "class.tif", ["#000000"] * scene.sizes["class"])
    assert not list(tmp_path.iterdir())


def test_faults_are_all_listed(tmp_path):
    import xarray as xr

    xr.DataTree.from_dict({"/": xr.Dataset(), "/a": xr.Dataset({"truth": ("x", [1])})}).to_zarr(tmp_path / "p.zarr")
    with pytest.raises(ValueError) as error:
        prediction.check_predictions(tmp_path / "p.zarr")
    told = str(error.value)
    assert all(
        part in told
        for part in ("root attributes missing", "a: no probability", "truth has dims", "no coordinate reference")
    )
    with pytest.raises(FileNotFoundError, match="03_prediction"):
        prediction.open_predictions(tmp_path / "none.zarr")
