"""`segmentation`: land cover or buildings, a class for every pixel, from rasters and masks."""

from __future__ import annotations

from geonb.base.download import Source
from geonb.registry import Parameter, Workload
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
    explore="geonb.workloads.segmentation.explore:explorer",
    stores={"patches": "geonb.workloads.segmentation.store:PatchStore"},
    figures=PIXELS,
    headline="mean_iou",
    check="geonb.workloads.segmentation.catalogue:check_settings",
    fetch=(
        Source("example", collect="geonb.rasters.landsat:fetch_example"),
        Source("weights", collect="geonb.workloads.segmentation.networks:fetch_weights", options=("network",)),
    ),
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
    parameters={
        "images": Parameter("rasters, or tiles of a web map, comma separated or a glob", files=True),
        "masks": Parameter(
            "class rasters (file.tif:read=rgb holds colours), or polygons as file.gpkg:column=class or file.gpkg:all=building",
            files=True,
            check="geonb.workloads.segmentation.mask_options:files_named",
        ),
        "datasets": Parameter(
            'data sets of a catalogue, "a+b" (datasets.yaml) or "file.yaml:a+b"',
            files=True,
            check="geonb.workloads.segmentation.catalogue:catalogue_files",
        ),
        "resolution": Parameter(
            "pixel side that everything is resampled to [m]; none: each its own, or as polygons ask for", 1e-3, 1e6
        ),
        "classes": Parameter(
            'class table: a file, or "1=forest,2=water"', check="geonb.workloads.segmentation.class_tables:read_classes"
        ),
        "bands": Parameter("bands to use, comma separated"),
        "shares": Parameter(
            "share of training, validation and test [%]; whole data sets or images by name, 75/25/0,test:banepa",
            check="geonb.store.held:check_split_text",
        ),
        "patch": Parameter("side of a window [px]; none: 32, or as polygons ask for", 8, 8192),
        "stride": Parameter("distance of neighbouring windows [px]; none: half a window", 1, 8192),
        "block": Parameter("side of the blocks dealt to the splits [px]; 0: two windows, none: whole images", 0, 65536),
        "gap": Parameter("training windows stay so far from blocks of validation and test [px]", 0, 65536),
        "name": Parameter("first part of the sample store's name", check="geonb.base.project:check_name"),
        "network": Parameter(
            "architecture and its options, name:key=value,key=value",
            check="geonb.workloads.segmentation.networks:check_build",
            options="geonb.workloads.segmentation.networks:OPTIONS",
        ),
        "loss": Parameter(
            "loss and its options, name:key=value; a+b adds losses",
            check="geonb.workloads.segmentation.losses:build_loss",
            options="geonb.workloads.segmentation.losses:OPTIONS",
        ),
    },
)
