"""Distances of triplets and embeddings of whole scenes: the numbers, the places, what a GIS gets, and going on after a break."""

import contextlib
from types import SimpleNamespace

import harm
import made_scenes
import numpy as np
import pytest
import rasterio
import torch

from geonb.prediction.faults import check_predictions
from geonb.prediction.predictions import open_predictions
from geonb.training import task
from geonb.workloads.clouds import baselines as clouds_baselines
from geonb.workloads.clouds import exports, predict
from geonb.workloads.clouds.task import Triplet


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_scenes.store(
        tmp_path_factory.mktemp("project"), made_scenes.DAYS[:4], patch=16, counts="30/10/10", split="area"
    )


@pytest.fixture(scope="module")
def model(made):
    torch.manual_seed(0)
    card = {
        "network": "resnet10t:dims=6",
        "loss": "triplet",
        "lr": 1e-3,
        "workload": "clouds",
        "geonb": "0",
        "training": {},
        "best": {},
    }
    return Triplet(card | Triplet.card_of(made)).eval()


def run_in(folder):
    return SimpleNamespace(path=folder, predictions=folder / "predictions.zarr")


@pytest.fixture(scope="module")
def predicted(made, model, tmp_path_factory):
    run = run_in(tmp_path_factory.mktemp("run"))
    baselines = [clouds_baselines.mean_and_spread(made)]
    predict.predict_triplets(run, made, model, baselines, overlap=0.5, batch=7)
    return run, open_predictions(run.predictions)


def encode(model, tiles):
    with torch.inference_mode():
        return model.encode(torch.as_tensor(tiles)).numpy()


def test_distances_are_those_of_each_rows_own_tiles(made, model, predicted):
    table = predicted[1]["triplets"]
    assert list(table["model"].values) == ["network", "untrained", "mean-and-spread"]
    item = made.windows()[33]
    vectors = encode(model, torch.stack([item[k] for k in ("inputs", "neighbor", "distant")]))
    assert float(table["near"][0, 33]) == pytest.approx(((vectors[0] - vectors[1]) ** 2).sum(), rel=1e-3)
    assert float(table["far"][0, 33]) == pytest.approx(((vectors[0] - vectors[2]) ** 2).sum(), rel=1e-3)
    assert table["split"].values.tolist() == made.index["split"].tolist()
    assert table["time"].values[33] == np.datetime64(made.index["time"][33].tz_localize(None))


def test_an_untrained_network_is_the_same_for_a_seed_and_not_the_trained_one(made, model):
    one, two = (task.untrained(model, 3).state_dict() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.values(), model.state_dict().values(), strict=True))


def test_the_embedding_at_a_place_is_that_of_the_tile_around_it(made, model, predicted):
    name = made.sources[0]
    scene = predicted[1][name].to_dataset()
    assert scene["embedding"].dims == ("time", "y", "x", "dim") and scene.sizes["time"] == 4
    i, j, t = 5, 3, 2
    inputs, _ = predict.standardised(made, name, t)
    tile = inputs[8 * i : 8 * i + 16, 8 * j : 8 * j + 16].transpose(2, 0, 1)
    np.testing.assert_allclose(scene["embedding"][t, i, j], encode(model, tile[None].copy())[0], rtol=1e-3, atol=1e-4)
    assert float(scene["x"][j]) == 500_000 + 1000 * (8 * j + 8)
    assert float(scene["y"][i]) == 1_600_000 - 1000 * (8 * i + 8)


def test_tiles_of_no_data_have_no_embedding(model, tmp_path):
    from geonb.workloads.clouds import dataset
    from geonb.workloads.clouds import store as clouds_store

    values = made_scenes.scene_files.textured((3, 96, 128)).astype("f4")
    values[:, :, 90:] = np.nan
    path = made_scenes.scene_files.write_cf(tmp_path / "holes.nc", values, made_scenes.DAYS[:6:2])
    samples = clouds_store.write_triplet_store(
        dataset.open_scenes(str(path), patch=16), patch=16, counts="20/5/5", root=tmp_path, split="scene"
    )
    name = samples.sources[0]
    corners = predict.tile_corners(samples, name, 8)
    vectors, good = predict.embed_scene(samples, name, 0, corners, predict.encoder(model))
    np.testing.assert_array_equal(good[0], corners[1] + 16 <= 90 + 1)
    assert np.isnan(vectors[~good]).all() and np.isfinite(vectors[good]).all()


def test_the_precision_is_that_of_the_machine_unless_told(made, model, predicted, tmp_path, bfloat16):
    tiles = made.windows().batch([0, 1])["inputs"].numpy()
    exact = encode(model, tiles)
    np.testing.assert_array_equal(predict.encoder(model, "float32")(tiles), exact)
    assert 0 < np.abs(predict.encoder(model)(tiles) - exact).max() < 0.1 * np.abs(exact).max()
    predict.predict_triplets(run_in(tmp_path), made, model, [], overlap=0.5, batch=7)
    assert open_predictions(tmp_path / "predictions.zarr").attrs["precision"] == "bfloat16"
    assert predicted[1].attrs["precision"] == "float32"


def test_interrupted_it_goes_on_and_ends_the_same(made, model, predicted, tmp_path, monkeypatch):
    run, calls = run_in(tmp_path), []
    whole = predict.embed_scene

    def breaks(store, name, t, *rest):
        calls.append(t)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(store, name, t, *rest)

    monkeypatch.setattr(predict, "embed_scene", breaks)
    baselines = [clouds_baselines.mean_and_spread(made)]
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt):
            predict.predict_triplets(run, made, model, baselines, overlap=0.5, batch=7)
    assert calls == [0, 1, 2, 2, 3]
    name = made.sources[0]
    one, two = open_predictions(run.predictions)[name], predicted[1][name]
    np.testing.assert_array_equal(one["embedding"].values, two["embedding"].values)


def test_the_rgb_files_open_in_their_place(predicted, model):
    run, tree = predicted
    report = exports.export_embeddings(run, model)
    assert (report["state"] == "done").all() and len(report) == 4 + 1
    file = sorted((run.path / "maps").glob("*_components.tif"))[1]
    scene = next(tree[n] for n in tree.children if n != "triplets")
    with rasterio.open(file) as raster:
        assert (raster.count, raster.shape, raster.crs.to_epsg()) == (4, (scene.sizes["y"], scene.sizes["x"]), 32620)
        x, y = raster.xy(0, 0)
        assert (x, y) == (float(scene["x"][0]), float(scene["y"][0]))
        assert raster.transform.e < 0 and raster.read(4).min() == 255


def test_colours_mean_the_same_at_all_times(predicted):
    _, tree = predicted
    name = next(n for n in tree.children if n != "triplets")
    colours = exports.component_colours(tree, name)
    vectors = tree[name]["embedding"].values.reshape(-1, 6)
    flat = colours.values.reshape(-1, 3)
    # affine in the embedding, one and the same map for all scenes, wherever it is not clipped
    inside = ((flat > 0.01) & (flat < 0.99)).all(axis=1)
    design = np.column_stack([vectors[inside], np.ones(inside.sum())])
    rest = flat[inside] - design @ np.linalg.lstsq(design, flat[inside], rcond=None)[0]
    assert np.abs(rest).max() < 1e-3


def test_predictions_that_are_damaged_are_refused(predicted, tmp_path):
    import shutil

    import zarr

    harm.unsealed(shutil.copytree(predicted[0].predictions, tmp_path / "p.zarr"))
    shutil.rmtree(tmp_path / "p.zarr" / "triplets" / "far")
    zarr.consolidate_metadata(tmp_path / "p.zarr")
    with pytest.raises(ValueError, match="triplets: no far"):
        check_predictions(tmp_path / "p.zarr")
