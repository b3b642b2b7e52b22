"""A training over nodes of a real Slurm: the nodes are daemons of this machine, the processes are begun by its own srun."""

import chains
import one_node_slurm
import pandas as pd
import pytest

from geonb import runs
from geonb.rasters import landsat

pytestmark = [
    pytest.mark.notebook, pytest.mark.slow, pytest.mark.timeout(600),
    pytest.mark.skipif(bool(one_node_slurm.missing()), reason=f"no Slurm can be started: {one_node_slurm.missing()}"),
]  # fmt: skip
SMALL = {
    "images": "image.tif", "masks": "mask.tif", "patch": 32, "stride": 32, "block": 32, "epochs": 2, "batch": 8, "precision": "float32",
    "network": "unet:encoder=resnet18,encoder_depth=2,decoder_channels=16-8",
}  # fmt: skip


def test_two_nodes_train_one_network(tmp_path):
    """Two processes on each, of one core."""
    folder = chains.project(tmp_path)
    landsat.write_scene(folder, *landsat.simulate((160, 192), seed=1))
    (folder / "slurm").mkdir()
    with one_node_slurm.slurm(folder / "slurm", nodes=2):
        told = chains.run(
            "segmentation", folder, SMALL | {"devices": "cpu:2x2"}, "--steps", "1-2", "--on", "slurm:cores=1,memory=2GB",
            "--job", "2:nodes=2",
        )  # fmt: skip
    run = runs.open_run("segmentation", root=folder)
    assert [(part["nodes"], part["processes"]) for part in run.info["trained_by"]] == [(2, 4)], told
    assert len(pd.read_csv(run.path / "log.csv")) == 2
