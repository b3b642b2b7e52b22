"""A sixth workload, given as "toy:RECORD": its own notebook, parameter, defaults and baseline; nothing of geonb is touched."""

from pathlib import Path

import numpy as np

from geonb.parameters import Parameter
from geonb.workloads import Workload, segmentation
from geonb.workloads.segmentation.figures import PIXELS


def below_mean(store, seed=0):
    """Low ground is basin: what anybody would say without a network."""

    def guess(inputs):
        basin = 1 / (1 + np.exp(4 * inputs[0]))
        return np.stack([1 - basin, basin]).astype(np.float32)

    guess.name = "below-mean"
    return guess


RECORD = Workload(
    name="toy",
    title="Basins and ridges",
    question="Which pixels of a relief lie in a basin?",
    dataset=str(Path(__file__).with_name("01_dataset_toy.ipynb")),
    headline="accuracy",
    task="geonb.workloads.segmentation.task:Segmentation",
    predict="geonb.workloads.segmentation.predict:predict_scenes",
    check_predictions="geonb.workloads.segmentation.predict:scene_faults",
    export="geonb.workloads.segmentation.predict:export_maps",
    score="geonb.workloads.segmentation.scores:score_classes",
    compare="geonb.workloads.segmentation.compare:compare_classes",
    tiles="geonb.workloads.segmentation.figures:rgb_tiles",
    explore="geonb.workloads.segmentation.explore:show",
    figures=PIXELS,
    baselines=("toy:below_mean",),
    defaults={
        "network": "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8",
        "loss": "cross-entropy",
        "augment": "flips,rotations",
        "lr": 1e-3,
        "epochs": 2,
        "batch": 16,
        "patience": 5,
        "overlap": 0.25,
    },
    parameters={
        "relief": Parameter("height of the ridges [m]", minimum=1, maximum=5000),
        "network": segmentation.RECORD.parameters["network"],
        "loss": segmentation.RECORD.parameters["loss"],
    },
)
