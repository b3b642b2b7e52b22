"""`conflict`: violence on the PRIO-GRID, months ahead, from events and covariates."""

from __future__ import annotations

from geonb.base.download import Source
from geonb.registry import Parameter, Workload
from geonb.workloads.conflict.figures import CELLS

UCDP, PRIOGRID = "https://ucdp.uu.se/downloads/", "https://grid.prio.org/#/download"
RECORD = Workload(
    name="conflict",
    title="Conflict on the PRIO-GRID",
    question="Given the months behind us, how probable is violence in each cell in each of the months ahead?",
    dataset="notebooks/01_dataset_conflict.ipynb",
    task="geonb.workloads.conflict.task:Forecast",
    former_tasks=("geonb.tasks_forecast:Forecast",),
    baselines=(
        "geonb.workloads.conflict.baselines:never",
        "geonb.workloads.conflict.baselines:climatology",
        "geonb.workloads.conflict.baselines:persistence",
        "geonb.workloads.conflict.baselines:weighted_history",
        "geonb.workloads.conflict.baselines:logistic",
        "geonb.workloads.conflict.death_baselines:last_months",
        "geonb.workloads.conflict.death_baselines:last_months_neighbours",
        "geonb.workloads.conflict.death_baselines:last_poisson",
    ),
    predict="geonb.workloads.conflict.predict:predict_region",
    check_predictions="geonb.workloads.conflict.predict:forecast_faults",
    export="geonb.workloads.conflict.exports:export_forecasts",
    score="geonb.workloads.conflict.scores:score_forecasts",
    compare="geonb.workloads.conflict.compare:compare_forecasts",
    tiles="geonb.workloads.conflict.maps:forecast_tiles",
    explore="geonb.workloads.conflict.explore:explorer",
    headline="average_precision",
    check="geonb.workloads.conflict.dataset:check_settings",
    fetch=(
        Source("ucdp_ged", "https://ucdp.uu.se/downloads/ged/ged261-csv.zip", UCDP),
        Source("ucdp_candidate", "https://ucdp.uu.se/downloads/candidateged/GEDEvent_v26_0_6.csv", UCDP),
        Source("hdx", page="https://data.humdata.org/organization/ucdp"),
        Source("priogrid_yearly", page=PRIOGRID),
        Source("priogrid_static", page=PRIOGRID),
    ),
    stores={
        "sequences": "geonb.workloads.conflict.store:CubeStore",
        "windows": "geonb.workloads.conflict.window_store:WindowStore",
    },
    figures=CELLS,
    defaults={
        # Of those tried on Nigeria, the best on its validation months (docs/nigeria.md).
        "network": "unet_lstm",
        "loss": "bce",
        "augment": "flips",
        "lr": 3e-3,
        "epochs": 25,
        "batch": 16,
        "patience": 8,
        "overlap": 0.5,
    },
    parameters={
        "events": Parameter("UCDP GED files, comma separated or a glob", files=True),
        "faults": Parameter(
            "what becomes of faulty events, and of months that two files cover",
            check="geonb.workloads.conflict.dataset:check_faults",
            options="geonb.workloads.conflict.dataset:FAULTS",
        ),
        "covariates": Parameter("PRIO-GRID yearly and static CSV files, comma separated or a glob", files=True),
        "region": Parameter(
            "box:W,S,E,N, country:GWNO, africa, globe, or a vector file",
            check="geonb.workloads.conflict.dataset:check_region",
        ),
        "period": Parameter(
            "first and last month, 1990-01:2019-12", check="geonb.workloads.conflict.dataset:check_period"
        ),
        "channels": Parameter("channels of the cube that go in, comma separated"),
        "outcomes": Parameter("one forecast for any violence, or one a type", choices=("any", "by-type")),
        "event": Parameter(
            "what makes an event: at least one death, or any listed event",
            check="geonb.workloads.conflict.dataset:check_event",
            options="geonb.workloads.conflict.dataset:EVENT",
        ),
        "windows": Parameter(
            "training windows: around events, or the whole region",
            check="geonb.workloads.conflict.dataset:check_windows",
            options="geonb.workloads.conflict.dataset:WINDOWS",
        ),
        "steps": Parameter("months that go in", 1, 600),
        "horizon": Parameter("months ahead that are forecast", 1, 36),
        "network": Parameter(
            "architecture and its options, name:key=value,key=value",
            check="geonb.workloads.conflict.networks:check_build",
            options="geonb.workloads.conflict.networks:OPTIONS",
        ),
        "loss": Parameter(
            "loss and its options, name:key=value (hurdle: events and deaths; hurdle-classes: draws of deaths); a+b adds losses",
            check="geonb.workloads.conflict.losses:build_loss",
            options="geonb.workloads.conflict.losses:OPTIONS",
        ),
        "shares": Parameter(
            "share of training, validation and test [%], or their last months, train:2010-12,val:2014-12",
            check="geonb.workloads.conflict.dataset:check_shares",
        ),
        "augment": Parameter(
            "flips,rotations of training windows (rotations need square ones), or none",
            check="geonb.workloads.conflict.loaders:check_turns",
            options="geonb.training.augmentation:TURNS",
        ),
        "sampler": Parameter(
            "order and balance of training windows, name:key=value; there are no classes to balance",
            check="geonb.store.samplers:check_unlabelled",
            options="geonb.store.samplers:OPTIONS",
        ),
        "rasters": Parameter(
            "not used: forecasts are of the store's region", check="geonb.workloads.conflict.dataset:refuse_rasters"
        ),
    },
)
