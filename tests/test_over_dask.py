"""Over Dask workers the files that are written are those of one process, byte for byte; also where a worker was killed meanwhile."""

import os
import signal
import threading
import time
from pathlib import Path

import made_scenes
import numpy as np
import pytest
from scenes import write_raster

from geonb.base import cluster
from geonb.workloads.chips import cutting
from geonb.workloads.chips import dataset as chips_dataset
from geonb.workloads.chips.store import write_store as write_chips
from geonb.workloads.clouds import dataset as clouds_dataset
from geonb.workloads.clouds.store import write_triplet_store
from geonb.workloads.segmentation import dataset as segmentation_dataset
from geonb.workloads.segmentation.store import write_store as write_patches


@pytest.fixture(scope="module")
def client():
    with cluster.opened("local:workers=2") as found:
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
