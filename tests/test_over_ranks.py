"""Each workload's own training by two processes beside that by one: the same steps on the same windows, and about the same loss.

To rounding where nothing compares the windows of a batch; else batch normalisation sees half of it on the CPU (tests/training/test_ranks.py
says what that comes to beside the spread of seeds).
"""

import made_cubes
import made_scenes
import numpy as np
import pandas as pd
import pytest
from scenes import write_raster
from trainings import folder

from geonb.training import task as training_task
from geonb.workloads.chips import dataset as chips_dataset
from geonb.workloads.chips.store import write_store as write_chips
from geonb.workloads.seismic import dataset as seismic_dataset
from geonb.workloads.seismic import examples as seismic_examples
from geonb.workloads.seismic.store import write_store as write_records

COMMON = {"augment": "none", "lr": 1e-3, "epochs": 2, "patience": 5, "seed": 1, "precision": "float32"}


def conflict(root):
    return made_cubes.small_cube_store(root, rows=16, columns=18)


def clouds(root):
    return made_scenes.store(root, patch=32, counts="48/16/16")


def chips(root):
    random = np.random.default_rng(0)
    image = write_raster(root / "image.tif", random.integers(1, 255, (3, 700, 900)).astype(np.uint8), nodata=0)
    mask = write_raster(
        root / "cover.tif", np.kron(random.integers(1, 3, (14, 18)), np.ones((50, 50), int))[None].astype(np.uint8)
    )
    said = chips_dataset.read_labels(str(mask), "1=land,2=water")
    return write_chips(chips_dataset.open_imagery(str(image), zoom=15, size=32), said, root=root)


def seismic(root):
    home = seismic_examples.simulate(root / "array", events=12, seed=1)
    files = (str(home / part) for part in ("waveforms", "events.xml", "stations.xml"))
    found = seismic_dataset.open_recordings(*files, window_s=40.0, before_s=10.0, noise_s=90, **seismic_examples.FACTS)
    return write_records(found, window_s=40.0, before_s=10.0, root=root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "network", "loss", "batch", "tolerance"),
    [
        (conflict, "unet_lstm:filters=2,depth=1,dropout=0", "hurdle", 9, 2e-3),
        (clouds, "resnet10t:dims=8,hidden=16", "triplet", 16, 0.5),
        (chips, "resnet10t:head=linear", "bce", 16, 0.5),
        (seismic, "resnet1d:width=8", "bce", 8, 0.5),
    ],
)
def test_two_processes_train_what_one_does(make, network, loss, batch, tolerance, tmp_path):
    store = make(tmp_path)
    told = COMMON | {"workload": make.__name__, "network": network, "loss": loss, "batch": batch}
    alone, two = folder(tmp_path / "alone"), folder(tmp_path / "two")
    training_task.train(alone, store, **told)
    training_task.train(two, store, **told, devices="cpu:2")
    one, both = (pd.read_csv(run.path / "log.csv") for run in (alone, two))
    assert both["step"].tolist() == one["step"].tolist() and one["step"].max() > 0
    np.testing.assert_allclose(both["val_loss"], one["val_loss"], rtol=tolerance)
    assert two.info["trained_by"][0]["processes"] == 2
