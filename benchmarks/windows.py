"""The full-size experiment, 5 channels x 360 months x 360 x 720 (simulated): a table instead of a file of windows.

The yardsticks: the size of the windows as float64, computed from their number; and batches read from such a file by h5py,
shuffled, as a DataLoader over it does (on a part of the windows, all in the page cache).
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np

SHAPE, STEPS, SIDE, BATCH, PART = (360, 360, 720), 10, 16, 32, 2048


def simulate(folder: Path) -> None:
    """Write the arrays of a cube: events cluster around some hundred places that flare up and calm down."""
    import pandas as pd
    import xarray as xr
    import zarr
    from pyproj import CRS

    random = np.random.default_rng(0)
    months, rows, columns = SHAPE
    monthly = np.zeros((months, 2, rows, columns), np.float32)
    for _ in range(150):
        y, x, start = random.integers(20, rows - 20), random.integers(columns), random.integers(months)
        for month in range(start, min(start + random.integers(12, 180), months)):
            n = random.poisson(6)
            at = np.clip(y + random.normal(0, 4, n).astype(int), 0, rows - 1)
            monthly[month, 0, at, (x + random.normal(0, 4, n).astype(int)) % columns] = 1
    hit = np.nonzero(monthly[:, 0])
    monthly[hit[0], 1, hit[1], hit[2]] = random.gamma(1, 2, len(hit[0]))
    years = np.arange(1990, 1990 + months // 12)
    gid = np.arange(1, rows * columns + 1, dtype=np.int32).reshape(rows, columns)
    spread = random.normal(0, 1, (len(years), 2, rows, columns)).astype(np.float32)
    data = xr.Dataset(
        {
            "monthly": (("time", "monthly_channel", "y", "x"), monthly),
            "yearly": (("year", "yearly_channel", "y", "x"), spread),
            "static": (("static_channel", "y", "x"), spread[0, :1]),
            "valid": (("y", "x"), np.ones((rows, columns), bool)),
            "country": (("y", "x"), np.zeros((rows, columns), np.int32)),
            "gid": (("y", "x"), gid),
        },
        {
            "time": pd.date_range("1990-01", periods=months, freq="MS"), "year": years,
            "y": -90 + 0.5 * (np.arange(rows) + 0.5), "x": -180 + 0.5 * (np.arange(columns) + 0.5),
            "spatial_ref": ((), 0, CRS.from_epsg(4326).to_cf()),
        },
    )  # fmt: skip
    chunks = {"monthly": (12, 1, rows, columns), "yearly": (12, 1, rows, columns)}
    data.to_zarr(folder, group="grid", encoding={k: {"chunks": v} for k, v in chunks.items()}, consolidated=False)
    names = [("event", "monthly", 0), ("log1p_best", "monthly", 1), ("excluded", "yearly", 0), ("wealth", "yearly", 1)]
    names.append(("mountains", "static", 0))
    channels = [
        {
            "name": n,
            "units": "1",
            "kind": k,
            "position": p,
            "binary": n == "event",
            "role": "both" if p == 0 else "input",
        }
        for n, k, p in names
    ]
    source = {
        "name": "grid", "crs": "EPSG:4326", "shape": [rows, columns], "resolution": [0.5, 0.5], "pixel_m": 55660,
        "months": months, "first_month": "1990-01", "wraps": True,
    }  # fmt: skip
    outcome = {"name": "any violence", "colour": "#b2182b", "event": "event", "deaths": "log1p_best"}
    zarr.open_group(folder, mode="r+").attrs.update({"sources": [source], "channels": channels, "outcomes": [outcome]})


def rate(batches, n: int) -> float:
    """Windows a second over n windows, after a first batch."""
    iterator = iter(batches)
    next(iterator)
    start = time.perf_counter()
    for _ in range(n // BATCH):
        next(iterator)
    return n / (time.perf_counter() - start)


def seed_file(folder: Path, windows) -> Path:
    """The first PART windows in the original's layout (float64, chunks as h5py chooses them for a resizable dataset)."""
    import h5py

    file = folder / "windows.h5"
    with h5py.File(file, "w") as out:
        sizes = {"predictor": (STEPS, 5, SIDE, SIDE), "truth": (SIDE, SIDE)}
        here = {k: out.create_dataset(k, (PART, *v), "f8", maxshape=(None, *v), chunks=True) for k, v in sizes.items()}
        for start in range(0, PART, BATCH):
            batch = windows.batch(list(range(start, start + BATCH)))
            here["predictor"][start : start + BATCH] = batch["inputs"].numpy()
            here["truth"][start : start + BATCH] = batch["targets"][:, 0, 0].numpy()
    return file


def read_file(file: Path):
    """Batches in random order, a sample at a time, standardised, as a DataLoader without workers makes them."""
    import h5py
    import torch

    order = np.random.default_rng(0).permutation(PART)
    mean, std = torch.zeros(5, 1, 1, dtype=torch.float64), torch.ones(5, 1, 1, dtype=torch.float64)
    with h5py.File(file) as data:
        predictor, truth = data["predictor"], data["truth"]
        for part in order.reshape(-1, BATCH):
            samples = [((torch.from_numpy(predictor[i]) - mean) / std, torch.from_numpy(truth[i])) for i in part]
            yield [torch.stack(plane) for plane in zip(*samples, strict=True)]


def main(folder: Path) -> list[list[str]]:
    from geonb.store import loaders, samplers
    from geonb.workloads.conflict import loaders as conflict_loaders
    from geonb.workloads.conflict import store as conflict_store

    cube = folder / "cube.zarr"
    maker = multiprocessing.get_context("spawn").Process(target=simulate, args=(cube,))  # its memory is not ours
    maker.start()
    maker.join()
    # the cube is written by geonb.workloads.conflict.cube in its own benchmark; here it is there already
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    store = conflict_store.write_cube_store(
        lambda into: (into.rmdir(), into.symlink_to(cube)), {"simulated": 0}, root=folder, chunk_size=SIDE, steps=STEPS
    )
    took_s = time.perf_counter() - start
    more_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    n, table = len(store), (store.path / "index.parquet").stat().st_size
    theirs = n * (STEPS * 5 * SIDE * SIDE + SIDE * SIDE) * 8
    windows = conflict_loaders.Sequences(store, "train", "none", 0)
    file = seed_file(folder, windows)
    order = samplers.order_of(windows, store, "shuffle")
    ours = [rate(loaders.Batches(windows, order, BATCH, workers=0), PART - BATCH) for _ in range(3)]
    other = [rate(read_file(file), PART - BATCH) for _ in range(3)]
    ours, other = float(np.median(ours)), float(np.median(other))
    size, quick = theirs / table, ours / other
    return [
        [f"table of {n:,} windows", f"{table / 1e6:.2f} MB", f"{theirs / 1e9:.1f} GB as float64 windows", f"{size:,.0f}x",
         "1,000x", "yes" if size >= 1000 else "no"],
        ["cut, split, statistics", f"{took_s:.1f} s, +{more_mb:,.0f} MB", "", "", "", ""],
        ["shuffled batches of 32", f"{ours:,.0f} windows/s", f"{other:,.0f} from the file", f"{quick:.1f}x", "1x",
         "yes" if quick >= 1 else "no"],
    ]  # fmt: skip
