"""geonb: a Jupyter workbench for geospatial deep learning.

Sources become georeferenced xarray, xarray becomes a sample store, and from the store on every workload shares the same
notebooks. The modules in the order of that path:

workloads
    The registry: one record a workload (title, defaults, task, baselines, map).
parameters
    The notebooks' typed parameters: what there is, what is allowed, the checks; specifications such as ``unet:encoder=resnet18``.
examples
    Small ready data per workload: real where a package carries it, else simulated, and said so.
sources, images, masks
    Files -> georeferenced arrays and labels on one grid, with every fault of a set found before long work.
grids, samples
    Windows, spatial blocks, rasterising; which windows a store has, how blocks are dealt to the splits, the leakage check.
store, arrays, disk, hdf5
    The sample store: write, open, check; its arrays; whole-or-not-at-all writing; one HDF5 file out and in.
loaders
    Windows -> tensors over a node-local memory map; augmentation; LightningDataModule.
networks, losses, tasks, training
    Specifications -> nn.Module and loss; LightningModules, ``train``, ``load_model``; the frame of the training loop.
prediction, stitching, maps
    Trained model -> georeferenced predictions; blending windows; class and probability maps as COG.
baselines, scores
    What we would have guessed anyway; metrics with intervals, network and baselines side by side.
embeddings
    Embed samples; reduce, cluster, link, find the nearest.
plots, plots_style, plots_maps, plots_locator, plots_scores, plots_tiles
    Static figures; notebooks use ``plots``, which lists them all.
dashboards, dashboards_map, dashboards_frozen
    Explore predictions on a map, live or frozen into a page.
runs, runner, resuming, kernels, watching, environment
    The run folder and the table of runs; a workload's notebooks, one kernel a step; when a finished step is still good;
    what a kernel prints and holds; what a run was made with.
reports, reports_html
    One self-contained HTML of a run.
cli, doctor, lab
    ``geonb ...``

Heavy libraries load when a name is first used, so that ``import geonb`` stays light.
"""

from __future__ import annotations

import importlib
import pkgutil
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
