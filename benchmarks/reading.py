"""Random 256 px windows of an 8192 x 8192 x 4 COG with its mask, GDAL's block cache held at 64 MB."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

SIDE, BANDS, WINDOW, BATCH = 8192, 4, 256, 32
GDAL_CACHE_MB = 64


def make(folder: Path) -> tuple[Path, Path]:
    """An image of smooth fields with noise (compresses like imagery) and a mask, both COG."""
    import numpy as np
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    random = np.random.default_rng(0)
    grid = {"driver": "GTiff", "height": SIDE, "width": SIDE, "crs": "EPSG:32617", "transform": from_origin(5e5, 4e6, 10, 10),
            "tiled": True, "dtype": "uint8"}  # fmt: skip
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    image, mask = folder / "images" / "image.tif", folder / "masks" / "mask.tif"
    coarse = random.integers(40, 200, (BANDS, SIDE // 32, SIDE // 32))
    with rasterio.open(folder / "plain.tif", "w", count=BANDS, **grid) as file:
        for band in range(BANDS):
            values = np.kron(coarse[band], np.ones((32, 32))) + random.normal(0, 4, (SIDE, SIDE))
            file.write(values.clip(1, 255).astype(np.uint8), band + 1)
    copy(folder / "plain.tif", image, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=512)
    with rasterio.open(folder / "plain.tif", "w", count=1, **grid) as file:
        file.write((np.kron(coarse[0], np.ones((32, 32))) > 120).astype(np.uint8), 1)
    copy(folder / "plain.tif", mask, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=512)
    (folder / "plain.tif").unlink()
    return image, mask


def rate(iterable, windows: int) -> float:
    """Windows a second, over what the iterable gives (batches of BATCH), the first batch left out."""
    iterator = iter(iterable)
    next(iterator)
    start, count = time.perf_counter(), 0
    for _ in range(windows // BATCH):
        next(iterator)
        count += BATCH
    return count / (time.perf_counter() - start)


def memory_map(array, target, windows: int) -> float:
    """The yardstick: a loop over an uncompressed memory map of the same windows, with the copy to float32."""
    import numpy as np
    import torch

    random = np.random.default_rng(1)
    places = random.integers(0, SIDE - WINDOW, (windows, 2))
    start = time.perf_counter()
    for batch in places.reshape(-1, BATCH, 2):
        inputs = np.empty((BATCH, WINDOW, WINDOW, BANDS), np.float32)
        targets = np.empty((BATCH, WINDOW, WINDOW), np.int64)
        for k, (y, x) in enumerate(batch):
            inputs[k] = array[y : y + WINDOW, x : x + WINDOW]
            targets[k] = target[y : y + WINDOW, x : x + WINDOW]
        torch.from_numpy(inputs), torch.from_numpy(targets)
    return windows / (time.perf_counter() - start)


def torchgeo(image: Path, mask: Path, windows: int, workers: int = 0) -> float:
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import RandomGeoSampler

    class Masks(RasterDataset):
        is_image = False

    both = RasterDataset(image.parent) & Masks(mask.parent)
    sampler = RandomGeoSampler(both, size=WINDOW, length=windows + 2 * BATCH * max(1, workers))
    loader = DataLoader(both, BATCH, sampler=sampler, collate_fn=stack_samples, num_workers=workers)
    return rate(loader, windows)


def ours(store, windows: int, workers: int = 0) -> float:
    from geonb.store.loaders import data_module

    data = data_module(store, batch=BATCH, augment="none", seed=0, workers=workers)
    data.setup("fit")

    def endless():
        while True:
            yield from data.train_dataloader()

    return rate(endless(), windows)


def main(folder: Path) -> list[list[str]]:
    os.environ["GDAL_CACHEMAX"] = str(GDAL_CACHE_MB)
    os.environ["GEONB_SCRATCH"] = str(folder / "scratch")
    import numpy as np
    import torch

    from geonb.workloads.segmentation import dataset
    from geonb.workloads.segmentation.store import write_store

    torch.set_num_threads(1)
    image, mask = make(folder)
    # windows anywhere: stride far below the window, all in one split but for two blocks
    pairs = dataset.open_pairs(str(image), str(mask))
    started = time.perf_counter()
    store = write_store(pairs, patch=WINDOW, stride=64, block=1024, shares="96/2/2", root=folder)
    prepared = time.perf_counter() - started
    started = time.perf_counter()
    maps = store.windows().folder
    decoded = time.perf_counter() - started
    array, target = (
        np.load(maps / f"{store.sources[0]}-{plane}.npy", mmap_mode="r") for plane in ("inputs", "targets")
    )
    repeats = 5
    measured = {"map": [], "geonb": [], "geonb2": [], "torchgeo": []}
    for _ in range(repeats):
        measured["map"].append(memory_map(array, target, 1024))
        measured["geonb"].append(ours(store, 1024))
        measured["geonb2"].append(ours(store, 1024, workers=2))
        measured["torchgeo"].append(torchgeo(image, mask, 192))
    peer2 = torchgeo(image, mask, 192, workers=2)
    m = {name: statistics.median(values) for name, values in measured.items()}
    print(m, peer2)

    def row(what, value, against, other, aim, met):
        return [
            what,
            f"{value:,.0f} windows/s",
            f"{against} {other:,.0f}/s",
            f"{value / other:.2f}",
            aim,
            "yes" if met else "no",
        ]

    return [
        row(
            "geonb, no workers",
            m["geonb"],
            "TorchGeo RandomGeoSampler",
            m["torchgeo"],
            ">= 10",
            m["geonb"] >= 10 * m["torchgeo"],
        ),
        row(
            "geonb, no workers",
            m["geonb"],
            "raw memory map, float copy",
            m["map"],
            ">= 0.8",
            m["geonb"] >= 0.8 * m["map"],
        ),
        row("geonb, 2 workers", m["geonb2"], "geonb, no workers", m["geonb"], ">= 1", m["geonb2"] >= m["geonb"]),
        row("geonb, 2 workers", m["geonb2"], "TorchGeo, 2 workers", peer2, "", m["geonb2"] >= peer2),
        ["once: store from COG; scratch map from store", f"{prepared:.1f} s; {decoded:.1f} s", "", "", "", ""],
    ]
