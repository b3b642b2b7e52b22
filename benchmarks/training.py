"""How long a training step waits for its data: 256 px windows of a 2048 x 2048 x 4 image, U-Net with a resnet18 encoder.

A step is what Lightning's loop does without its bookkeeping: zero the gradient, forward, loss, backward, AdamW.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

SIDE, BANDS, WINDOW, BATCH = 2048, 4, 256, 4
STEPS, REPEATS = 12, 3
STRONG = (
    "flips,rotations,affine:p=1,noise:p=1,blur:p=1,brightness:p=1,contrast:p=1,gamma:p=1,fancy-pca:p=1"  # all, always
)
LISTS = {"nothing": "none", "flips,rotations": "flips,rotations", "eight changes, all in each window": STRONG}


def make(folder: Path):
    """A store of smooth fields with noise, and classes that follow the first of them."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin

    from geonb.workloads.segmentation import dataset
    from geonb.workloads.segmentation.store import write_store

    random = np.random.default_rng(0)
    grid = {"driver": "GTiff", "height": SIDE, "width": SIDE, "crs": "EPSG:32617", "transform": from_origin(5e5, 4e6, 10, 10),
            "tiled": True, "dtype": "uint8"}  # fmt: skip
    coarse = random.integers(40, 200, (BANDS, SIDE // 32, SIDE // 32))
    with rasterio.open(folder / "image.tif", "w", count=BANDS, **grid) as file:
        for band in range(BANDS):
            values = np.kron(coarse[band], np.ones((32, 32))) + random.normal(0, 4, (SIDE, SIDE))
            file.write(values.clip(1, 255).astype(np.uint8), band + 1)
    with rasterio.open(folder / "mask.tif", "w", count=1, **grid) as file:
        file.write((np.kron(coarse[0], np.ones((32, 32))) > 120).astype(np.uint8), 1)
    pairs = dataset.open_pairs(str(folder / "image.tif"), str(folder / "mask.tif"))
    return write_store(pairs, patch=WINDOW, stride=64, block=512, shares="80/10/10", root=folder)


def endless(store, augment: str, workers: int):
    from geonb.store.loaders import data_module

    loader = data_module(store, batch=BATCH, augment=augment, seed=0, workers=workers).train_dataloader()
    epoch = 0
    while True:
        loader.sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def steps(store, augment: str, workers: int) -> tuple[float, float]:
    """Seconds a step waits for its batch, and seconds it computes (means); the first two steps left out."""
    import torch

    from geonb.workloads.segmentation.losses import build_loss
    from geonb.workloads.segmentation.networks import build_network

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build_network("unet:encoder=resnet18", BANDS, 2).to(device, memory_format=torch.channels_last).train()
    loss, optimizer = build_loss("cross-entropy"), torch.optim.AdamW(network.parameters(), 1e-3)
    batches, waited, computed = endless(store, augment, workers), [], []
    for _ in range(STEPS + 2):
        started = time.perf_counter()
        batch = next(batches)
        waited.append(time.perf_counter() - started)
        started = time.perf_counter()
        optimizer.zero_grad()
        loss(network(batch["inputs"].to(device)), batch["targets"].to(device)).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        computed.append(time.perf_counter() - started)
    return statistics.fmean(waited[2:]), statistics.fmean(computed[2:])


def alone(store, augment: str, workers: int, batches: int = 64) -> float:
    """Windows a second from the loader with nobody computing."""
    iterator = endless(store, augment, workers)
    next(iterator)
    started = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches * BATCH / (time.perf_counter() - started)


def main(folder: Path) -> list[list[str]]:
    os.environ["GEONB_SCRATCH"] = str(folder / "scratch")
    import torch

    torch.set_num_threads(torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else os.cpu_count())
    store, rows = make(folder), []
    for told, augment in LISTS.items():
        for workers in (0, 2):
            measured = [steps(store, augment, workers) for _ in range(REPEATS)]
            waited, computed = (statistics.median(values) for values in zip(*measured, strict=True))
            rate = statistics.median(alone(store, augment, workers) for _ in range(REPEATS))
            share, needed = waited / (waited + computed), BATCH / computed
            name = f"{told}, {workers or 'no'} workers"
            print(f"{name}: wait {1e3 * waited:.1f} ms, compute {1e3 * computed:.0f} ms, loader alone {rate:,.0f}/s")
            # the aim is on reading; changes need only keep up with the step
            rows.append([name, f"waits {1e3 * waited:.1f} ms a step", f"computes {1e3 * computed:.0f} ms",
                         f"{share:.1%} of the step", "<= 10 %", "yes" if share <= 0.1 else "no"])  # fmt: skip
            rows.append([f"the loader alone: {name}", f"{rate:,.0f} windows/s", f"the step takes {needed:,.1f}/s",
                         f"{rate / needed:.0f}", ">= 1", "yes" if rate >= needed else "no"])  # fmt: skip
    return rows
