"""`geonb run clouds`, all six notebooks on small simulated scenes: what a reader of the run would check."""

import json
import re
from pathlib import Path

import chains
import numpy as np
import pytest
import rasterio
import xarray as xr
from pages import FETCHES

import geonb
from geonb import registry, runs, store
from geonb.embeddings import transforms
from geonb.workloads.clouds import examples, predict

pytestmark = pytest.mark.notebook

ROOT = Path(__file__).parents[1]
SMALL = {
    "patch": 32, "triplets": "48/24/40", "network": "resnet10t:dims=8,hidden=32", "epochs": 1, "batch": 16, "samples": 60, "clusters": 3,
    "draws": 50, "show": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run and what the command line said."""
    folder = chains.project(tmp_path_factory.mktemp("clouds"))
    found = examples.simulated_scenes(folder / "data", shape=(160, 192), days=6, frames=2, patch=32)
    (folder / "data" / "broken.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + b"cut short")
    files = f"{found.files[0].relative_to(folder)},data/broken.nc"
    told = chains.run_anywhere("clouds", folder, SMALL | {"scenes": files})
    return runs.open_run("clouds", root=folder), told


def test_the_run_is_whole_and_stands_beside_its_baselines(made):
    run, told = made
    runs.check_run(run.path, deep=True)
    geonb.check_store(run.store, deep=True)
    geonb.check_predictions(run.predictions, deep=True)
    assert list(run.info["steps"]) == ["01_dataset_clouds", *registry.SHARED_STEPS]
    expected = ["network", "untrained", "mean-and-spread", "pixel-pca"]
    with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
        assert list(scores["model"].values) == expected
        assert int(scores["n_samples"].sel(split="test")) == 40
        assert scores.attrs["unit"] == "triplets" and scores.attrs["simulated"] == 1
    assert run.info["headline"]["metric"] == "triplet_accuracy"
    assert all(f"\n{name} " in told for name in expected) and "simulated data" in told


def test_the_accuracy_is_what_the_network_says_of_the_tiles(made):
    """From the scenes' own file to the score, past the loader, the predictions and the score function."""
    from geonb.training import task

    run = made[0]
    samples, model = store.open_store(run.store), task.load_model(run.path)
    rows = np.flatnonzero(samples.index["split"] == "test")
    mean, std = (np.array(samples.meta["statistics"][k])[:, None, None] for k in ("mean", "std"))
    with xr.open_zarr(run.predictions) as predictions:
        embed = predict.encoder(model, predictions.attrs["precision"])
    vectors = []
    for tile in ("anchor", "neighbor", "distant"):
        pixels = np.stack([samples[int(row)]["inputs"].sel(tile=tile).to_numpy() for row in rows])
        vectors.append(embed(((pixels - mean) / std).astype(np.float32)))
    near, far = (((vectors[0] - v) ** 2).sum(1) for v in vectors[1:])
    with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
        found = scores["score"].sel(split="test", model="network", metric="triplet_accuracy")
        assert float(found) == pytest.approx((near < far).mean())


def test_what_was_left_out_is_told(made):
    run, _ = made
    meta = store.open_store(run.store).meta
    assert any("broken.nc" in text for text in meta["left_out"])
    assert "broken.nc" in (run.path / "report.html").read_text()


def test_scenes_are_embedded_in_their_place(made):
    tree = xr.open_datatree(made[0].predictions, engine="zarr")
    name = next(n for n in tree.children if n != "triplets")
    scene = tree[name].to_dataset()
    assert scene["embedding"].dims == ("time", "y", "x", "dim") and scene.sizes["time"] == 12
    files = sorted((made[0].path / "maps").glob("*_components.tif"))
    assert len(files) == 12
    with rasterio.open(files[0]) as raster:
        assert raster.xy(0, 0) == pytest.approx((float(scene["x"][0]), float(scene["y"][0])))


def test_kinds_were_kept_and_can_be_used_again(made):
    run, _ = made
    kinds = transforms.load(run.path / "transforms", "kinds")
    with xr.open_zarr(run.embeddings) as vectors:
        letters = transforms.apply(kinds, vectors)
    assert set(np.asarray(letters).astype(str)) <= set("ABC")


def test_the_report_asks_no_network_and_says_simulated(made):
    report = (made[0].path / "report.html").read_text()
    assert not FETCHES.search(re.sub(r"data:[^\"')]+", "", report))
    assert "simulated data" in report.lower()


def test_every_notebook_that_is_shared_is_the_one_of_the_others(made):
    for name in registry.SHARED_STEPS:
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        assert not re.search(r"if .*(workload|clouds|conflict|segmentation)", code)
