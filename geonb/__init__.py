"""geonb: a Jupyter workbench for geospatial deep learning.

Sources become georeferenced xarray, xarray becomes a sample store, and from the store on every workload shares the same
notebooks. The modules in the order of that path:

==============  ======================================================================================
workloads       the registry: one record a workload (title, defaults, task, baselines, dashboard)
parameters      the notebooks' typed parameters: what there is, what is allowed, the checks
examples        small ready data per workload, real where a package carries it, else simulated and said so
sources         files -> georeferenced xarray, with every fault of a set found before long work
grids           windows, spatial blocks, rasterising, alignment
samples         cutters (patches) and splits, with the leakage check
store           the sample store: write, open, check, statistics, HDF5 export and import
loaders         torch datasets over a node-local memory map, augmentation, LightningDataModule
networks        network specification -> nn.Module
losses          loss specification -> callable
tasks           LightningModules, `train`, `load_model`; training holds the loop's frame
prediction      trained model -> georeferenced predictions; stitching blends the windows, maps writes COGs
baselines       what we would have guessed anyway
scores          metrics with block-bootstrap intervals, network and baselines side by side
embeddings      embed samples; reduce, cluster, link, find the nearest
plots           static maps, curves, dendrogram and scatter with tiles
dashboards      widgets that explore predictions on a map, live or frozen
runs            the run folder and the table of runs        environment   what a run was made with
runner          a workload's notebooks, one kernel a step   resuming      when a finished step is still good
kernels         one notebook in a kernel of its own         watching      what it prints, the memory it holds
reports         one self-contained HTML of a run            cli, doctor, lab   `geonb ...`
==============  ======================================================================================

Heavy libraries load when a name is first used, so that ``import geonb`` stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

# The names a notebook needs most, and where each lives.
_PUBLIC = {
    "settle": "parameters",
    "open_run": "runs",
    "start_run": "runs",
    "project_root": "runs",
    "relative": "runs",
    "open_store": "store",
    "check_store": "store",
    "check_split": "store",
    "check_run": "runs",
    "check_predictions": "prediction",
    "train": "tasks",
    "load_model": "tasks",
    "predict": "prediction",
    "export": "prediction",
    "open_predictions": "prediction",
    "embed": "embeddings",
    "score": "scores",
}
_MODULES = [
    "baselines",
    "cli",
    "dashboards",
    "doctor",
    "embeddings",
    "environment",
    "examples",
    "grids",
    "kernels",
    "lab",
    "loaders",
    "losses",
    "maps",
    "networks",
    "parameters",
    "plots",
    "prediction",
    "reports",
    "resuming",
    "runner",
    "runs",
    "samples",
    "scores",
    "sources",
    "stitching",
    "store",
    "tasks",
    "training",
    "watching",
    "workloads",
]
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"geonb.{_PUBLIC[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"geonb.{name}")
    raise AttributeError(f"module 'geonb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
