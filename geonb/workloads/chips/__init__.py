"""`chips`: what is on each chip of imagery, and where else does it look like this?"""

from __future__ import annotations

from geonb.base.download import Source
from geonb.registry import SHARED_STEPS, Parameter, Workload
from geonb.workloads.chips.figures import CHIPS

RECORD = Workload(
    name="chips",
    title="Labels of chips",
    question="What is on each chip, and where else does it look like this?",
    dataset="notebooks/01_dataset_chips.ipynb",
    stores={"chips": "geonb.workloads.chips.store:ChipStore"},
    task="geonb.workloads.chips.task:MultiLabel",
    baselines=(
        "geonb.workloads.chips.baselines:prevalence",
        "geonb.workloads.chips.baselines:colour_histogram",
    ),
    predict="geonb.workloads.chips.predict:predict_chips",
    check_predictions="geonb.workloads.chips.predict:chip_faults",
    export="geonb.workloads.chips.predict:export_chips",
    score="geonb.workloads.chips.scores:score_chips",
    compare="geonb.workloads.chips.compare:compare_chips",
    tiles="geonb.workloads.chips.figures:rgb_tiles",
    explore="geonb.workloads.chips.explore:explorer",
    figures=CHIPS,
    headline="map",
    steps=(*SHARED_STEPS, "07_similar_places"),
    fetch=(
        Source("example", collect="geonb.rasters.landsat:fetch_example"),
        Source("weights", collect="geonb.workloads.chips.networks:fetch_weights", options=("network",)),
    ),
    defaults={
        "network": "resnet10t:head=linear",
        "loss": "bce:weights=none",
        "augment": "flips,rotations",
        "lr": 1e-3,
        "epochs": 30,
        "batch": 32,
        "patience": 8,
        "overlap": 0.0,
    },
    parameters={
        "images": Parameter(
            "rasters, folders of them, or tiles that somebody cut, comma separated or globs",
            files=True,
            check="geonb.workloads.chips.dataset:files_named",
        ),
        "labels": Parameter(
            "extract.osm.pbf, Overpass .json, polygons.geojson:all=building or :column=kind, or a class raster; extent=FILE: where all is "
            "mapped",
            files=True,
            check="geonb.workloads.chips.dataset:files_named",
        ),
        "classes": Parameter("labels YAML for OpenStreetMap, or the classes of a raster, 1=forest,2=water"),
        "grid": Parameter("xyz: Web-Mercator quadkeys; ard: UTM zones", choices=("xyz", "ard")),
        "zoom": Parameter("level of the chips; none: that of the images' own pixels", 1, 30),
        "size": Parameter("side of a chip [px]", 16, 4096),
        "bands": Parameter("bands to use, comma separated"),
        "minimum": Parameter("least share of a chip that a label covers", 0, 1),
        "parent": Parameter(
            "level of the tiles that are dealt to the splits; none: 12, or deeper where those are few", 1, 30
        ),
        "name": Parameter("first part of the sample store's name", check="geonb.base.project:check_name"),
        "network": Parameter(
            "backbone of timm and its options, name:key=value,key=value",
            check="geonb.workloads.chips.networks:check_build",
            options="geonb.workloads.chips.networks:OPTIONS",
        ),
        "query": Parameter(
            "what is looked for: a quadkey, 'latitude, longitude', 'west, south, east, north', or a picture; none: a rare label",
            check="geonb.workloads.chips.similar:read_query",
        ),
        "count": Parameter("answers of a search", 1, 1000),
        "within": Parameter("only chips with one of these labels, comma separated"),
        "vectors": Parameter(
            "vectors brought from elsewhere: a GeoParquet, or a raster of embedding bands", files=True
        ),
        "k": Parameter("answers that count for mAP@k", 1, 1000),
        "loss": Parameter(
            "loss and its options, name:key=value",
            check="geonb.workloads.chips.losses:check_loss",
            options="geonb.workloads.chips.losses:OPTIONS",
        ),
    },
)
