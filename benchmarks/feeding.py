"""A sample store of each workload, made up, and how fast its loader gives what a training step takes: for ``benchmarks gpu``."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

WORKERS, REPEATS = 2, 3
SECONDS = 2.0  # of each repeat


def segmentation(folder: Path) -> Any:
    from benchmarks import training

    return training.make(folder)


def conflict(folder: Path) -> Any:
    """Windows of 32 x 32 cells and 12 months, of ten years of a part of the globe."""
    from benchmarks import windows
    from geonb.workloads.conflict.store import write_cube_store

    cube = folder / "cube.zarr"
    with mock.patch.object(windows, "SHAPE", (120, 96, 192)):
        windows.simulate(cube)
    return write_cube_store(
        lambda into: (into.rmdir(), into.symlink_to(cube)), {"simulated": 0}, root=folder, chunk_size=32, steps=12
    )


def clouds(folder: Path) -> Any:
    from benchmarks import triplets

    return triplets.small_store(folder, 256, "512/64/64")


def chips(folder: Path) -> Any:
    from benchmarks import chips as cutting
    from geonb.workloads.chips import dataset
    from geonb.workloads.chips.store import write_store

    scene = cutting.make(folder)
    said = dataset.read_labels(str(_halves(scene)), "1=west,2=east")
    return write_store(dataset.open_imagery(str(scene), zoom=cutting.ZOOM, size=256), said, root=folder)


def _halves(scene: Path) -> Path:
    """A raster of two classes on the grid of another."""
    import numpy as np
    import rasterio

    with rasterio.open(scene) as data:
        about = {"driver": "GTiff", "crs": data.crs, "transform": data.transform, "dtype": "uint8", "count": 1}
        codes = np.ones(data.shape, np.uint8)
    codes[:, codes.shape[1] // 2 :] = 2
    path = scene.with_name("halves.tif")
    with rasterio.open(path, "w", height=codes.shape[0], width=codes.shape[1], **about) as file:
        file.write(codes, 1)
    return path


def seismic(folder: Path) -> Any:
    """Windows of a minute, three components at 40 Hz."""
    from benchmarks import records

    with mock.patch.object(records, "WINDOWS", 2000):
        return records.made(folder)


MAKERS = {"segmentation": segmentation, "conflict": conflict, "clouds": clouds, "chips": chips, "seismic": seismic}


def rate(store: Any, batch: int, device: str) -> float:
    """Samples a second that come to a device from the loader of training, with nobody computing: the median of repeats."""
    import torch

    from geonb.store.loaders import data_module

    loader = data_module(store, batch=batch, augment="none", seed=0, workers=WORKERS).train_dataloader()
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    next(batches)
    found = []
    for _ in range(REPEATS):
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            moved = {name: value.to(device, non_blocking=True) for name, value in next(batches).items()}
            count += len(next(iter(moved.values())))
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(count / (time.perf_counter() - started))
    return statistics.median(found)
