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
    ),
    predict="geonb.workloads.conflict.predict:predict_region",
    check_predictions="geonb.workloads.conflict.predict:forecast_faults",
    export="geonb.workloads.conflict.exports:export_forecasts",
    score="geonb.workloads.conflict.scores:score_forecasts",
    compare="geonb.workloads.conflict.compare:compare_forecasts",
    tiles="geonb.workloads.conflict.maps:forecast_tiles",
    explore="geonb.workloads.conflict.explore:show",
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
        "network": Parameter(
            "convlstm:structure=12-24-0/0-24-12,kernel=3,peephole=channel|pixel|none,skip=true,dropout=0.2, or "
            "unet_lstm:filters=8,depth=2,dropout=0.1",
            check="geonb.workloads.conflict.networks:check_network",
        ),
        "loss": Parameter(
            "bce, bce:pos_weight=pixel/4, focal, mse, ssim, or hurdle (events and deaths); a+b adds losses",
            check="geonb.workloads.conflict.losses:build_loss",
        ),
        "shares": Parameter(
            "share of training, validation and test [%], or their last months, train:2010-12,val:2014-12",
            check="geonb.workloads.conflict.dataset:check_shares",
        ),
        "augment": Parameter(
            "flips,rotations of training windows (rotations need square ones), or none",
            check="geonb.training.augmentation:check_augment",
        ),
        "rasters": Parameter(
            "not used: forecasts are of the store's region", check="geonb.workloads.conflict.dataset:refuse_rasters"
        ),
    },
)
