"""Over Dask workers the files that are written are those of one process, byte for byte; also where a worker was killed meanwhile."""

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import made_scenes
import numpy as np
import pytest
import torch
from scenes import write_raster
from untrained import untrained

from geonb.base import cluster
from geonb.base.files import read_json
from geonb.embeddings.embedding import embed
from geonb.prediction import scenes, workers
from geonb.workloads.chips import cutting
from geonb.workloads.chips import dataset as chips_dataset
from geonb.workloads.chips import predict as chips_predict
from geonb.workloads.chips.store import write_store as write_chips
from geonb.workloads.chips.task import MultiLabel
from geonb.workloads.clouds import dataset as clouds_dataset
from geonb.workloads.clouds import predict as clouds_predict
from geonb.workloads.clouds.store import write_triplet_store
from geonb.workloads.clouds.task import Triplet
from geonb.workloads.segmentation import baselines
from geonb.workloads.segmentation import dataset as segmentation_dataset
from geonb.workloads.segmentation import predict as segmentation_predict
from geonb.workloads.segmentation.store import write_store as write_patches
from geonb.workloads.seismic import dataset as seismic_dataset
from geonb.workloads.seismic import examples as seismic_examples
from geonb.workloads.seismic.store import write_store as write_records


@pytest.fixture(scope="module")
def client():
    with cluster.dask_client("local:workers=2") as found:
        yield found


def contents(folder):
    """Every file below a folder, by its path, but for locks."""
    files = [p for p in sorted(Path(folder).rglob("*")) if p.is_file() and "lock" not in p.name]
    assert files
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def picture(path, shape=(700, 900)):
    values = np.random.default_rng(0).integers(1, 255, (3, *shape)).astype(np.uint8)
    return write_raster(path, values, nodata=0)


def test_images_and_masks(client, tmp_path):
    image = picture(tmp_path / "image.tif", (2100, 700))  # three strips of rows
    mask = write_raster(tmp_path / "mask.tif", np.random.default_rng(1).integers(0, 3, (1, 2100, 700)).astype(np.uint8))
    for name, given in (("here", None), ("there", client)):
        pairs = segmentation_dataset.open_pairs(str(image), str(mask))
        write_patches(pairs, patch=64, root=tmp_path / name, client=given)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_scenes_of_clouds(client, tmp_path):
    file = made_scenes.write(tmp_path)
    for name, given in (("here", None), ("there", client)):
        found = clouds_dataset.open_scenes(str(file), patch=16)
        write_triplet_store(found, patch=16, counts="60/20/30", root=tmp_path / name, client=given)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_imagery_of_chips(client, tmp_path):
    image = picture(tmp_path / "image.tif")
    mask = write_raster(tmp_path / "cover.tif", np.ones((1, 700, 900), np.uint8))
    for name, given in (("here", None), ("there", client)):
        said = chips_dataset.read_labels(str(mask), "1=land")
        imagery = chips_dataset.open_imagery(str(image), zoom=15, size=32)
        write_chips(imagery, said, root=tmp_path / name, client=given)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_records_of_ground_motion(client, tmp_path):
    home = seismic_examples.simulate(tmp_path / "array", events=8, seed=1)
    for name, given in (("here", None), ("there", client)):
        files = (str(home / part) for part in ("waveforms", "events.xml", "stations.xml"))
        found = seismic_dataset.open_recordings(
            *files, window_s=40.0, before_s=10.0, noise_s=90, **seismic_examples.FACTS
        )
        write_records(found, window_s=40.0, before_s=10.0, root=tmp_path / name, client=given)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_chips_as_pictures(client, tmp_path):
    raster = picture(tmp_path / "image.tif")
    for name, given in (("here", None), ("there", client)):
        cutting.cut_chips([raster], tmp_path / name, size=32, zoom=15, form="png", processes=1, client=given)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_worker_that_is_killed_meanwhile(client, tmp_path, monkeypatch):
    """SIGKILL, as by a system without memory: what it had begun is done again, and no half of it stays."""
    raster = picture(tmp_path / "image.tif", (1500, 1500))
    monkeypatch.setattr(cutting, "AT_ONCE", 8)
    options = {"size": 32, "zoom": 15, "form": "png", "processes": 1}
    cutting.cut_chips([raster], tmp_path / "here", **options)
    pids, there, killed = list(client.run(os.getpid).values()), tmp_path / "there", []

    def kill():
        while len(list(there.glob("*.png"))) < 20:
            time.sleep(0.002)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(len(list(there.glob("*.png"))))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    cutting.cut_chips([raster], there, **options, client=client)
    thread.join()
    assert contents(there) == contents(tmp_path / "here")
    assert killed[0] < len(list(there.glob("*.png"))), "it was in the middle"


def run_in(folder):
    folder.mkdir()
    return SimpleNamespace(path=folder, predictions=folder / "predictions.zarr", embeddings=folder / "embeddings.zarr")


def arrays_of(folder, name):
    """Every file of a Zarr, but for its root's attributes, which say the name of the run."""
    found = contents(folder / name)
    return {path: content for path, content in found.items() if path not in ("zarr.json", "manifest.json")}


def long_store(folder):
    """Of an image of three spans of rows."""
    image = picture(folder / "image.tif", (1500, 160))
    mask = write_raster(folder / "mask.tif", np.random.default_rng(1).integers(0, 3, (1, 1500, 160)).astype(np.uint8))
    return write_patches(segmentation_dataset.open_pairs(str(image), str(mask)), patch=16, root=folder)


def test_predictions_and_embeddings_of_images(client, tmp_path):
    store = long_store(tmp_path)
    model, found = untrained(store), [baselines.majority(store)]
    for name, given in (("here", None), ("there", client)):
        run = run_in(tmp_path / name)
        segmentation_predict.predict_scenes(run, store, model, found, precision="float32", client=given)
        embed(run, store, model, samples=1000, batch=16, precision="float32", client=given)
    assert len(arrays_of(tmp_path / "here", "predictions.zarr")) > 20
    for kind in ("predictions.zarr", "embeddings.zarr"):
        assert arrays_of(tmp_path / "there", kind) == arrays_of(tmp_path / "here", kind)


def test_predictions_that_were_begun_here_go_on_there(client, tmp_path, monkeypatch):
    store = long_store(tmp_path)
    model = untrained(store)
    segmentation_predict.predict_scenes(run_in(tmp_path / "here"), store, model, [], precision="float32")
    run, write = run_in(tmp_path / "there"), scenes.Writer.write

    def stopped(self, model, row, *more):
        if row > 300:
            raise KeyboardInterrupt
        return write(self, model, row, *more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scenes.Writer, "write", stopped)
        segmentation_predict.predict_scenes(run, store, model, [], precision="float32")
    begun = read_json(tmp_path / "there" / "predictions.zarr.done.json")["rows"]
    assert 0 < begun["image|network"] < 1500
    segmentation_predict.predict_scenes(run, store, model, [], precision="float32", client=client)
    assert arrays_of(tmp_path / "there", "predictions.zarr") == arrays_of(tmp_path / "here", "predictions.zarr")


def test_embeddings_of_scenes_of_clouds(client, tmp_path):
    store = made_scenes.store(tmp_path, made_scenes.DAYS[:4], patch=16, counts="30/10/10", split="area")
    torch.manual_seed(0)
    card = {"network": "resnet10t:dims=6", "loss": "triplet", "lr": 1e-3, "workload": "clouds", "geonb": "0", "training": {}, "best": {},
            "task": "geonb.workloads.clouds.task:Triplet"}  # fmt: skip
    model = Triplet(card | Triplet.card_of(store)).eval()
    for name, given in (("here", None), ("there", client)):
        clouds_predict.predict_triplets(run_in(tmp_path / name), store, model, [], precision="float32", client=given)
    assert arrays_of(tmp_path / "there", "predictions.zarr") == arrays_of(tmp_path / "here", "predictions.zarr")


def test_predictions_of_chips(client, tmp_path):
    image = picture(tmp_path / "image.tif")
    mask = write_raster(tmp_path / "cover.tif", np.random.default_rng(1).integers(1, 3, (1, 700, 900)).astype(np.uint8))
    said = chips_dataset.read_labels(str(mask), "1=land,2=water")
    store = write_chips(chips_dataset.open_imagery(str(image), zoom=15, size=32), said, root=tmp_path)
    torch.manual_seed(0)
    card = {"network": "resnet10t:head=linear", "loss": "bce", "lr": 1e-3, "workload": "chips", "geonb": "0", "training": {}, "best": {},
            "task": "geonb.workloads.chips.task:MultiLabel"}  # fmt: skip
    model = MultiLabel(card | MultiLabel.card_of(store)).eval()
    for name, given in (("here", None), ("there", client)):
        chips_predict.predict_chips(
            run_in(tmp_path / name), store, model, [], batch=4, precision="float32", client=given
        )
    assert len(store) > 4 * workers.BATCHES_A_TASK, "several tasks"
    assert arrays_of(tmp_path / "there", "predictions.zarr") == arrays_of(tmp_path / "here", "predictions.zarr")


def summed(size):
    import dask.array as da

    return int(da.ones(size, chunks=10).sum().compute())


def test_lazy_arrays_within_a_task_wait_for_no_other_task(client, tmp_path):
    """Handed to the cluster they would: with all workers busy so, for ever."""
    assert list(cluster.spread(summed, [(100,)] * 20, client, tmp_path)) == [100] * 20
