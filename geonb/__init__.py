"""geonb: a Jupyter workbench for geospatial deep learning.

Sources become georeferenced xarray, xarray becomes a sample store, and from the store on every workload shares the same
notebooks. The modules in the order of that path:

workloads, looks, looks_clouds
    The registry: one record a workload (title, defaults, task, baselines, map); its own figures in the shared notebooks.
parameters, specifications
    The notebooks' typed parameters: what there is, what is allowed, the checks; texts such as ``unet:encoder=resnet18``.
examples
    Small ready data per workload: real where a package carries it, else simulated, and said so.
datasets, preprocessing
    Datasets by name from a YAML registry, combined; a dataset's own function, applied pixel by pixel.
sources, images, masks, counting
    Files -> georeferenced arrays and labels on one grid, with every fault of a set found before long work.
conflict, events, priogrid, covariates, cubes, fetching, examples_conflict
    Events of UCDP and columns of PRIO-GRID -> one cube of months on the grid; publishers' files; a simulated conflict.
scenes, scenes_files, scenes_netcdf, scenes_values, scenes_goes, scenes_channels, scenes_grids, scenes_faults,
fetching_goes, examples_clouds
    Satellite scenes -> series of images on common grids, what is unfit left out and told; GOES's public bucket.
grids, samples, splits, tilers
    Windows, spatial blocks, rasterising; which windows a store has, how blocks are dealt to the splits, the leakage check;
    arrays cut into windows and put together again.
store, store_faults, arrays, disk, hdf5, threads
    The sample store: write, open, check, list, delete; its arrays; whole-or-not-at-all writing; one HDF5 file out and in;
    work shared by threads.
sequences, store_cubes, store_cubes_faults, cube_statistics, loaders_cubes, loaders_windows, hdf5_sequences, hdf5_cubes, store_windows
    The same for a cube: windows in months and cells, the split in time, its store, check and statistics, its batches; the
    original's HDF5 file out and in.
triplets, store_scenes, store_scenes_arrays, store_pictures, loaders_triplets, triplet_files
    The same for scenes: triplets of tiles, their splits by scene or area, their store and batches; as three pictures each.
loaders, buffers, augmentation, samplers
    Windows -> tensors over a node-local memory map, in memory that is lent again; their random changes; order and balance of
    an epoch.
networks, networks_segmentalist, losses, optimizers, tasks, training
    Specifications -> nn.Module, loss, optimiser and schedule; LightningModules, ``train``, ``load_model``; the frame of
    the training loop, with averaging of weights.
networks_forecast, networks_convlstm, networks_unet_lstm, losses_forecast, tasks_forecast
    The same for forecasts: months in, event probabilities and deaths of the months ahead out, with Monte-Carlo dropout.
networks_triplet, losses_triplet, tasks_triplet
    The same for embeddings without labels: any timm backbone and a head; InfoNCE and the triplet loss; collapse.
prediction, prediction_faults, stitching, maps, polygons
    Trained model -> georeferenced predictions, and the check of those of any workload; blending windows; class and
    probability maps as COG; outlines with areas.
rasters, jobs, reading, workers
    Any other rasters: many files, what is there kept, bad ones reported; how they are read; spread over Dask workers.
forecasts, exports_forecast, analytics
    Whole regions, month by month; tables, NetCDF and maps of them; a model's scores on the windows of any set.
predictions_triplets
    Distances of every triplet; embeddings of whole scenes, georeferenced.
baselines, metrics, scores, scores_blocks, scores_boundary
    What we would have guessed anyway; metrics with intervals, network and baselines side by side, from counts by block.
baselines_forecast, scores_forecast, scores_cells, scores_forecast_blocks
    The same for forecasts: what a cell's own history says; average precision, calibration and the rest by lead and month;
    two runs over the same blocks of cells and months.
baselines_triplets, scores_triplets, scores_triplets_blocks, scores_triplets_beyond, scores_neighbours
    The same for embeddings: what brightness and pixels alone say of triplets; accuracy, what is seen beyond brightness, and
    whether what is alike is near.
embeddings, embeddings_planes, embeddings_trees, embeddings_transforms
    Embed samples; reduce, link, cut into kinds, find the nearest; fitted transforms kept and applied again.
plots, plots_style, plots_maps, plots_locator, plots_scores, plots_compare, plots_tiles, plots_planes, plots_kinds, plots_cells,
plots_forecast, plots_forecast_scores, plots_scenes, plots_triplets
    Static figures; notebooks use ``plots``, which lists them all.
dashboards, dashboards_map, dashboards_frozen, dashboards_forecast, dashboards_forecast_cells, dashboards_forecast_frozen
    Explore predictions on a map, live or frozen into a page; of images, and of months.
dashboards_clouds, dashboards_clouds_tiles, dashboards_clouds_look, dashboards_clouds_frozen, dashboards_tiles
    The same of embedded scenes: click for likeness; a scatter with the tile under the pointer.
runs, runs_table, runner, resuming, kernels, watching, environment
    The run folder and the table of runs; a workload's notebooks, one kernel a step; when a finished step is still good;
    what a kernel prints and holds; what a run was made with.
reports, reports_compare, reports_html, reports_page
    One self-contained HTML of a run, or of several beside each other.
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
    "check_predictions": "prediction_faults",
    "train": "tasks",
    "load_model": "tasks",
    "predict": "prediction",
    "export": "prediction",
    "open_predictions": "prediction",
    "embed": "embeddings",
    "score": "scores",
    "load_run": "runs_table",
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
