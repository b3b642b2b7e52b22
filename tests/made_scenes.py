"""Small stores of scenes for tests: pixels that tell where they come from, on a UTM grid, with holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scene_files

from geonb.workloads.clouds import dataset
from geonb.workloads.clouds import store as clouds_store

DAYS = [f"2020-04-{day:02d}T{hour:02d}:00" for day in (1, 2, 3, 4, 5, 6) for hour in (12, 13)]


def write(folder: Path, times=DAYS, shape=(96, 128), name="vis.nc", seed=0, **place) -> Path:
    """A NetCDF file of scenes; whole numbers, no two tiles alike."""
    values = scene_files.textured((len(times), *shape), seed).astype(np.int16)
    return scene_files.write_cf(folder / name, values, times, **place)


def store(folder: Path, times=DAYS, shape=(96, 128), **options):
    """A sealed store of `write`'s scenes; tiles of 16 px."""
    found = dataset.open_scenes(str(write(folder, times, shape)), patch=16)
    settings = {"patch": 16, "counts": "60/20/30", "root": folder} | options
    return clouds_store.write_triplet_store(found, **settings)
