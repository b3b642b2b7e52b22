"""geonb: a Jupyter workbench for geospatial deep learning.

Sources become georeferenced xarray, xarray becomes a sample store, and from the store on every workload shares the same
notebooks. A house of two floors: a spine by layer, and on it a room for each workload. Imports go down this list, never up:

base
    Knows nothing of us: the version, the project root, files that appear whole or not at all and the ``manifest`` of what a folder
    must hold, texts with options, downloads, inputs in object stores (``objects``), threads, work over a Dask ``cluster``, which way a
    metric points and its unit, which code of files may run (``trust``).
registry, parameters
    The record of a workload, and which there are; reading and checking the notebooks' typed parameters, and those that every
    workload has (range and help of a workload's own stand in its record).
rasters
    Georeferenced pixels for whoever has them: grids, images, reading, stitching, polygons, COGs.
waveforms
    Ground motion: archives and catalogues, preparation, arrays and their beams; live streams, in rings and blocks.
store
    The sample store: its contract (``store``), how one is sealed and checked (``sealing``, ``faults``), ``windows`` and splits
    by blocks (``grid_store``: stores of such), the proof that they don't leak (``leakage``), a node-local ``memory_map`` and
    the ``loaders`` of batches over it.
training
    The base ``task`` and model cards, the loop with its patience (``fit``), its log and ``progress``, pictures and ``trackers``
    beside it (``watching``), augmentation, optimisers.
prediction
    predictions.zarr, baselines beside the network; ``scenes`` predicted pixel by pixel; ``many`` rasters, over Dask processes.
scores
    The ``bootstrap`` behind every interval, scores.nc and its contract (``scores``), the verdict in words (``verdicts``), the
    ``comparison`` of two runs.
embeddings
    Embed samples; reduce, link, cut into clusters; an index that is asked what looks alike (``search``), with filters and
    ``marks``; fitted transforms kept and applied again.
plots
    Static figures: style, maps, scores, tiles, dendrograms, planes, clusters, epochs.
dashboards
    What maps to explore share, live or frozen into a page; tiles under the pointer.
runs
    The run folder (``run``), what is planned, run and resumed (``plan``, ``runner``, ``resume``, ``kernels``), the table of
    runs, the ``report`` with its sections, the page that compares runs.
workloads
    The rooms, a folder a workload: ``segmentation``, ``conflict``, ``clouds``, ``chips``, ``seismic``. In each its record
    (``__init__``), ``dataset``, ``store``, ``networks``, ``losses``, ``task``, ``predict``, ``baselines``, ``scores``, ``figures``,
    ``explore`` and ``frozen`` (live and frozen map; what a click does there: ``templates/frozen.js``), and what only its science
    needs. README, "Where things are", leads to the file.
tileserver
    Rasters as map tiles for QGIS, web maps and the eye.
batch
    Runs, sweeps and JupyterLab as ``jobs`` of a site's scheduler.
cli, doctor, lab
    ``geonb ...``

Heavy libraries load when a name is first used, so that ``import geonb`` stays light.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from geonb.base.conventions import VERSION as __version__
from geonb.base.conventions import WORKLOADS
from geonb.workloads import ROOMS

WORKLOADS.update(ROOMS)  # the spine asks for workloads by name; here it is told which there are

# The names a notebook needs most, and where each lives.
_PUBLIC = {
    "settle": "parameters",
    "open_run": "runs.run",
    "start_run": "runs.run",
    "project_root": "base.project",
    "relative": "base.project",
    "trust": "base.trust",
    "dask_client": "base.cluster",
    "open_store": "store.store",
    "check_store": "store.store",
    "check_split": "store.store",
    "check_run": "runs.faults",
    "check_predictions": "prediction.faults",
    "train": "training.task",
    "load_model": "training.task",
    "export_onnx": "training.onnx",
    "predict": "prediction.predictions",
    "predict_rasters": "prediction.many",
    "export": "prediction.predictions",
    "open_predictions": "prediction.predictions",
    "embed": "embeddings.embedding",
    "score": "scores.scores",
    "load_run": "runs.run_table",
    "show": "plots.shared",
    "explore": "runs.explore",
    "offline": "plots.arrays",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"geonb.{_PUBLIC[name]}"), name)
    if name in _modules():
        return importlib.import_module(f"geonb.{name}")
    raise AttributeError(f"module 'geonb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_modules()])


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]
