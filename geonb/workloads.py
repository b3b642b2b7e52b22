"""The registry: one frozen record a workload. What differs between workloads stands here, as data; notebooks do not branch.

To add a workload, write its ``01_dataset_<name>.ipynb`` and a record. The record may live in your own package: every
place that takes a workload's name also takes an import path, ``"package.module:RECORD"``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geonb.looks import CELLS, PIXELS, TILES, Look
from geonb.parameters import Parameter
from geonb.specifications import pick

SHARED_STEPS = ("02_training", "03_prediction", "04_analytics", "05_interpretation", "06_explore")


@dataclass(frozen=True)
class Workload:
    """What the shared notebooks need to know of a workload.

    Functions are named as ``"package.module:function"`` and imported when a notebook first needs them.

    Attributes
    ----------
    name, title, question : str
        Folder name; heading of notebooks, figures and the report; what a reader wants answered.
    dataset : str
        The notebook that writes the sample store, relative to the project root (or absolute).
    steps : tuple of str
        The shared notebooks that follow, by stem.
    task : str
        LightningModule with ``encode`` (see :class:`geonb.tasks.Segmentation`), a :class:`geonb.tasks.Trainable`.
    former_tasks : tuple of str
        What model cards of earlier versions call the same task; compared, never imported.
    baselines : tuple of str
        Each ``(store) -> (inputs) -> probability``; see :mod:`geonb.baselines`.
    predict : str
        ``(run, model, store, baselines, ...) -> path`` of predictions.zarr.
    check_predictions : str
        ``(tree, deep) -> faults``: what is wrong with its predictions, beyond what all workloads' have in common; see
        :mod:`geonb.prediction_faults`.
    export : str
        ``(run, model, rasters, ...) -> paths`` of files for a GIS, from the predictions and for more rasters.
    score : str
        ``(predictions, draws, seed) -> Dataset``.
    tiles : str
        ``(store, rows) -> uint8 array (sample, y, x, 3)``: how a sample looks to a person.
    explore : str
        ``(predictions, arrays) -> widget`` or frozen HTML.
    looks : mapping
        Stem of a shared notebook -> its :class:`geonb.looks.Look`s of this workload.
    fetch : tuple of str
        Names of :data:`geonb.fetching.SOURCES` that ``geonb fetch`` brings for it.
    headline : str
        The metric that leads tables and the run list.
    lower_is_better : bool, optional
        Which way the headline points; needed of a metric that :mod:`geonb.metrics` does not know, if less of it is better.
    check : str
        ``(values, root) -> faults``: what parameters, right each by itself, cannot be together; called before step 1 runs.
    defaults : mapping
        Parameter -> value, used where a notebook's cell says None.
    parameters : mapping
        Parameters of this workload alone, or with another range than in :data:`geonb.parameters.PARAMETERS`.
    """

    name: str
    title: str
    question: str
    dataset: str
    headline: str
    lower_is_better: bool | None = None
    check: str = ""
    task: str = "geonb.tasks:Segmentation"
    former_tasks: tuple[str, ...] = ("geonb.tasks:Segmentation",)
    baselines: tuple[str, ...] = ()
    predict: str = "geonb.prediction:predict_scenes"
    check_predictions: str = "geonb.prediction:scene_faults"
    export: str = "geonb.prediction:export_maps"
    score: str = "geonb.scores:score_classes"
    tiles: str = "geonb.embeddings:rgb_tiles"
    explore: str = "geonb.dashboards:show"
    looks: Mapping[str, tuple[Look, ...]] = field(default_factory=lambda: PIXELS)
    fetch: tuple[str, ...] = ()
    steps: tuple[str, ...] = SHARED_STEPS
    defaults: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


SEGMENTATION = Workload(
    name="segmentation",
    title="Land cover from rasters and masks",
    question="Given pairs of an image and a mask, which class is every pixel of any other image?",
    dataset="notebooks/01_dataset_segmentation.ipynb",
    baselines=("geonb.baselines:majority", "geonb.baselines:pixel_linear"),
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

CONFLICT = Workload(
    name="conflict",
    title="Conflict on the PRIO-GRID",
    question="Given the months behind us, how probable is violence in each cell in each of the months ahead?",
    dataset="notebooks/01_dataset_conflict.ipynb",
    task="geonb.tasks_forecast:Forecast",
    former_tasks=("geonb.tasks_forecast:Forecast",),
    baselines=(
        "geonb.baselines_forecast:never",
        "geonb.baselines_forecast:climatology",
        "geonb.baselines_forecast:persistence",
        "geonb.baselines_forecast:weighted_history",
        "geonb.baselines_forecast:logistic",
    ),
    predict="geonb.forecasts:predict_region",
    check_predictions="geonb.forecasts:forecast_faults",
    export="geonb.forecasts:export_forecasts",
    score="geonb.scores_forecast:score_forecasts",
    tiles="geonb.plots_forecast:forecast_tiles",
    explore="geonb.dashboards_forecast:show",
    headline="average_precision",
    check="geonb.conflict:check_settings",
    fetch=("ucdp_ged", "ucdp_candidate", "hdx", "priogrid_yearly", "priogrid_static"),
    looks=CELLS,
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
            check="geonb.networks_forecast:check_network",
        ),
        "loss": Parameter(
            "bce, bce:pos_weight=pixel/4, focal, mse, ssim, or hurdle (events and deaths); a+b adds losses",
            check="geonb.losses_forecast:build_loss",
        ),
        "shares": Parameter(
            "share of training, validation and test [%], or their last months, train:2010-12,val:2014-12",
            check="geonb.conflict:check_shares",
        ),
        "augment": Parameter(
            "flips,rotations of training windows (rotations need square ones), or none",
            check="geonb.augmentation:check_augment",
        ),
        "rasters": Parameter("not used: forecasts are of the store's region", check="geonb.conflict:refuse_rasters"),
    },
)

CLOUDS = Workload(
    name="clouds",
    title="Embeddings of satellite tiles",
    question="Which kinds of pattern exist in these scenes, where and when, with no labels at all?",
    dataset="notebooks/01_dataset_clouds.ipynb",
    task="geonb.tasks_triplet:Triplet",
    former_tasks=("geonb.tasks_triplet:Triplet",),
    baselines=("geonb.baselines_triplets:mean_and_spread", "geonb.baselines_triplets:pixel_pca"),
    predict="geonb.predictions_triplets:predict_triplets",
    check_predictions="geonb.predictions_triplets:triplet_faults",
    export="geonb.predictions_triplets:export_embeddings",
    score="geonb.scores_triplets:score_triplets",
    tiles="geonb.store_scenes:anchor_tiles",
    explore="geonb.dashboards_clouds:show",
    headline="triplet_accuracy",
    fetch=("goes",),
    looks=TILES,
    defaults={
        "network": "resnet18:head=linear",
        "loss": "infonce:temperature=0.1,apart=3",
        # the three tiles each for itself: which way up a pattern lies is no sign of a neighbour
        "augment": "flips,rotations",
        "lr": 1e-3,
        "epochs": 2,  # of many triplets, which cost nothing, rather than many passes over few
        "batch": 32,
        "patience": 5,
        "overlap": 0.5,
    },
    parameters={
        "network": Parameter(
            "a backbone of timm, resnet18:dims=100,unit=true|false,head=linear|mlp,hidden=512,dropout=0.5,weights=none|imagenet",
            check="geonb.networks_triplet:check_network",
        ),
        "loss": Parameter(
            "infonce:temperature=0.1,apart=3 or triplet:margin=1", check="geonb.losses_triplet:build_loss"
        ),
        "channels": Parameter("channels by name, true-colour, or a function path.py:name; None: the scenes' own"),
        "region": Parameter(
            "box:W,S,E,N, the part of the scenes to use [degrees]", check="geonb.scenes_grids:parse_region"
        ),
        "faults": Parameter("what becomes of scenes that cannot be used", choices=("skip", "raise")),
        "rasters": Parameter("not used: scenes come with the store", check="geonb.predictions_triplets:refuse_rasters"),
    },
)

WORKLOADS: dict[str, Workload] = {w.name: w for w in (CLOUDS, CONFLICT, SEGMENTATION)}
_NAMED: dict[str, Workload] = {}  # import path -> record that the user named in this process


def get(name: str) -> Workload:
    """Return a workload by its name, or a record of your own by import path (``"package.module:RECORD"``).

    What is named here is imported, so only give what the user typed; for what a file says there is :func:`known`.

    Raises
    ------
    ValueError
        If the name is unknown (the known ones are listed), or what the path leads to is no :class:`Workload`.
    """
    if ":" in name:
        record = load(name)
        if not isinstance(record, Workload):
            raise ValueError(
                f"{name} is a {type(record).__name__}, not a geonb.workloads.Workload. Point at such a record."
            )
        _NAMED[name] = record
        return record
    return pick("workload", name, WORKLOADS, more="; a record of your own is given as 'package.module:RECORD'")


def known(name: str) -> Workload:
    """Return the workload that a file names (a model's card, a run, predictions), without importing anything for it.

    Parameters
    ----------
    name : str
        Name of one of geonb's, or the name or import path of a record that the user has named to :func:`get` in this process.

    Raises
    ------
    ValueError
        If it is neither: a file must not choose what is imported. Says how to name it.
    """
    name, named = str(name), {record.name: record for record in _NAMED.values()} | _NAMED | WORKLOADS
    if name in named:
        return named[name]
    path = name if ":" in name else "package.module:RECORD"
    raise ValueError(
        f"The workload {name!r} is not known in this process (known: {', '.join(sorted(named))}), and a file's word for it is "
        f"not imported: it could be any code. If you trust it, name it yourself first: geonb.workloads.get({path!r})."
    )


def load(path: str) -> Any:
    """Import what ``"package.module:name"`` names.

    Raises
    ------
    ValueError
        If the module or the name in it cannot be imported; says which, and from where Python looked.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise  # the module was found; one of its own imports is missing
        raise ValueError(
            f"Cannot import {module!r} (from {path!r}): {error}. Install it into this environment or add its folder to PYTHONPATH."
        ) from error
    except AttributeError as error:
        raise ValueError(f"Module {module!r} has no {attribute!r} (from {path!r}).") from error
