"""`clouds`: embeddings of satellite tiles, without labels."""

from __future__ import annotations

from geonb.base.download import Source
from geonb.registry import Parameter, Workload
from geonb.workloads.clouds.figures import TILES

GOES = Source(
    "goes",
    "https://noaa-goes{satellite}.s3.amazonaws.com",
    page="https://registry.opendata.aws/noaa-goes/",
    collect="geonb.workloads.clouds.goes_bucket:fetch_scenes",
)
RECORD = Workload(
    name="clouds",
    title="Embeddings of satellite tiles",
    question="Which kinds of pattern exist in these scenes, where and when, with no labels at all?",
    dataset="notebooks/01_dataset_clouds.ipynb",
    task="geonb.workloads.clouds.task:Triplet",
    former_tasks=("geonb.tasks_triplet:Triplet",),
    baselines=("geonb.workloads.clouds.baselines:mean_and_spread", "geonb.workloads.clouds.baselines:pixel_pca"),
    predict="geonb.workloads.clouds.predict:predict_triplets",
    check_predictions="geonb.workloads.clouds.predict:triplet_faults",
    export="geonb.workloads.clouds.exports:export_embeddings",
    score="geonb.workloads.clouds.scores:score_triplets",
    compare="geonb.workloads.clouds.compare:compare_triplets",
    tiles="geonb.workloads.clouds.store:anchor_tiles",
    explore="geonb.workloads.clouds.explore:explorer",
    headline="triplet_accuracy",
    check="geonb.workloads.clouds.dataset:check_settings",
    fetch=(
        GOES,
        Source("weights", collect="geonb.workloads.clouds.networks:fetch_weights", options=("network",)),
    ),
    stores={"triplets": "geonb.workloads.clouds.store:TripletStore"},
    figures=TILES,
    defaults={
        "network": "resnet18:head=linear",
        "loss": "infonce:temperature=0.1,apart=3",
        # the three tiles each for itself: which way up a pattern lies is no sign of a neighbour
        "augment": "flips,rotations",
        "lr": 1e-3,
        "epochs": 2,  # of many triplets, which cost nothing, rather than many passes over few
        "min_steps": 150,  # a few hundred triplets are seen more than twice
        "batch": 32,
        "patience": 5,
        "overlap": 0.5,
    },
    parameters={
        "scenes": Parameter(
            "NetCDF, Zarr, GeoTIFF or plain images: files, globs or folders, comma separated; or a folder of triplets as pictures",
            files=True,
            check="geonb.workloads.clouds.dataset:scene_files",
        ),
        "bounds": Parameter(
            "W,S,E,N of plain images that do not say where they lie [degrees]",
            check="geonb.workloads.clouds.grids:parse_bounds",
        ),
        "patch": Parameter("side of a tile [px]", 8, 8192),
        "tile_km": Parameter("side of a tile on the ground, to which scenes are resampled [km]", 1e-3, 1e5),
        "triplets": Parameter("training/validation/test triplets", check="geonb.workloads.clouds.store:read_counts"),
        "distance": Parameter("from a tile to its neighbour, centre to centre [tiles]", 0.05, 10),
        "min_distant": Parameter("so far at least a distant tile of the same hours lies away [tiles]", 0, 10_000),
        "split": Parameter(
            "what is dealt to the splits: whole scenes, or parts of all",
            check="geonb.workloads.clouds.store:read_split",
            options="geonb.workloads.clouds.store:SPLIT",
        ),
        "network": Parameter(
            "a backbone of timm and its options, name:key=value,key=value",
            check="geonb.workloads.clouds.networks:check_build",
            options="geonb.workloads.clouds.networks:OPTIONS",
        ),
        "loss": Parameter(
            "loss and its options, name:key=value",
            check="geonb.workloads.clouds.losses:build_loss",
            options="geonb.workloads.clouds.losses:OPTIONS",
        ),
        "channels": Parameter(
            "channels by name, true-colour, or a function path.py:name; None: the scenes' own",
            code=True,
            check="geonb.workloads.clouds.channels:check_channels",
        ),
        "region": Parameter(
            "box:W,S,E,N, the part of the scenes to use [degrees]", check="geonb.workloads.clouds.grids:parse_region"
        ),
        "faults": Parameter("what becomes of scenes that cannot be used", choices=("skip", "raise")),
        "sampler": Parameter(
            "order and balance of training windows, name:key=value",
            check="geonb.store.samplers:check_unlabelled",
            options="geonb.store.samplers:OPTIONS",
        ),
        "rasters": Parameter(
            "not used: scenes come with the store", check="geonb.workloads.clouds.predict:refuse_rasters"
        ),
    },
)
