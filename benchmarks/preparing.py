"""Ten scenes of 4096 x 4096 px (4 bands uint8 and a mask, COG) into one sample store: cores used, peak memory."""

from __future__ import annotations

import os
import resource
import threading
import time
from pathlib import Path

SOURCES, SIDE, BANDS = 10, int(os.environ.get("GEONB_BENCH_SIDE", 4096)), 4
CORES, MEMORY_GB = 1.5, 2.0


def make(folder: Path) -> None:
    """Scenes of smooth fields with noise (compress like imagery), side by side, with their masks."""
    import numpy as np
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    random = np.random.default_rng(0)
    noise = random.normal(0, 4, (SIDE, SIDE)).astype(np.float32)
    cog = {"driver": "COG", "COMPRESS": "DEFLATE", "BLOCKSIZE": 512}
    for number in range(SOURCES):
        grid = {"driver": "GTiff", "height": SIDE, "width": SIDE, "crs": "EPSG:32617", "tiled": True, "dtype": "uint8",
                "transform": from_origin(4e5 + number * SIDE * 2.0, 4e6, 2, 2)}  # fmt: skip
        coarse = random.integers(40, 200, (BANDS, SIDE // 32, SIDE // 32)).astype(np.float32)
        with rasterio.open(folder / "plain.tif", "w", count=BANDS, **grid) as file:
            for band in range(BANDS):
                values = np.kron(coarse[band], np.ones((32, 32), np.float32)) + np.roll(noise, 97 * (number + band), 0)
                file.write(values.clip(1, 255).astype(np.uint8), band + 1)
        copy(folder / "plain.tif", folder / f"image{number}.tif", **cog)
        with rasterio.open(folder / "plain.tif", "w", count=1, **grid) as file:
            file.write((np.kron(coarse[0], np.ones((32, 32))) > 120).astype(np.uint8), 1)
        copy(folder / "plain.tif", folder / f"mask{number}.tif", **cog)
    (folder / "plain.tif").unlink()


def peak_of(function) -> tuple[float, float, float]:
    """Seconds, cores used (processor time / wall time), and the largest resident memory (GB) while `function` runs."""
    import psutil

    here, peak, over = psutil.Process(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, here.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, used = time.perf_counter(), time.process_time()
    function()
    wall, used = time.perf_counter() - wall, time.process_time() - used
    over.set()
    watcher.join()
    return wall, used / wall, peak / 1e9


def main(folder: Path) -> list[list[str]]:
    os.environ["GEONB_SCRATCH"] = str(folder / "scratch")
    import subprocess
    import sys

    # in a process of its own: memory that making the scenes took is not given back to the system
    subprocess.run([sys.executable, "-c", f"import sys; from pathlib import Path; from benchmarks import preparing; "
                    f"preparing.make(Path({str(folder)!r}))"], check=True)  # fmt: skip
    from geonb.workloads.segmentation import dataset
    from geonb.workloads.segmentation.store import write_store

    pairs = dataset.open_pairs(f"{folder}/image*.tif", f"{folder}/mask*.tif", "0=dark,1=bright")
    seconds, cores, peak = peak_of(
        lambda: write_store(pairs, patch=256, stride=256, block=1024, shares="60/20/20", root=folder)
    )
    peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
    pixels = SOURCES * SIDE**2 / 1e6
    what = f"{SOURCES} scenes of {SIDE}² x {BANDS} with masks, COG to store"
    return [
        [what, f"{seconds:.0f} s ({pixels / seconds:.1f} Mpx/s)", "", "", "", ""],
        [
            "cores used while preparing", f"{cores:.2f}", f"{os.cpu_count()} there", f"{cores / os.cpu_count():.2f}",
            f"> {CORES}", "yes" if cores > CORES else "no",
        ],
        ["peak memory while preparing", f"{peak:.2f} GB", "", "", f"<= {MEMORY_GB:.0f} GB", "yes" if peak <= MEMORY_GB else "no"],
    ]  # fmt: skip
