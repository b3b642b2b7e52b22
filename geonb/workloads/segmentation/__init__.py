"""`segmentation`: land cover or buildings, a class for every pixel, from rasters and masks."""

from __future__ import annotations

from geonb.registry import Workload
from geonb.workloads.segmentation.figures import PIXELS

RECORD = Workload(
    name="segmentation",
    title="Land cover from rasters and masks",
    question="Given pairs of an image and a mask, which class is every pixel of any other image?",
    dataset="notebooks/01_dataset_segmentation.ipynb",
    baselines=(
        "geonb.workloads.segmentation.baselines:majority",
        "geonb.workloads.segmentation.baselines:pixel_linear",
    ),
    task="geonb.workloads.segmentation.task:Segmentation",
    former_tasks=("geonb.tasks:Segmentation",),
    predict="geonb.workloads.segmentation.predict:predict_scenes",
    check_predictions="geonb.workloads.segmentation.predict:scene_faults",
    export="geonb.workloads.segmentation.predict:export_maps",
    score="geonb.workloads.segmentation.scores:score_classes",
    compare="geonb.workloads.segmentation.compare:compare_classes",
    tiles="geonb.workloads.segmentation.figures:rgb_tiles",
    explore="geonb.workloads.segmentation.explore:show",
    stores={"patches": "geonb.workloads.segmentation.store:PatchStore"},
    figures=PIXELS,
    headline="mean_iou",
    defaults={
        # Of five tried on the Landsat scene's validation blocks: a shallower encoder suits windows of 32 px, and the Dice
        # term is what lets rare classes count.
        "network": "unet:encoder=resnet18,encoder_depth=4,decoder_channels=128-64-32-16",
        "loss": "cross-entropy+dice",
        "augment": "flips,rotations",
        "lr": 1e-3,
        "epochs": 25,
        "batch": 32,
        "patience": 10,
        "overlap": 0.5,
    },
)
