"""A raster many times larger than the memory that the process may take, predicted by the best run of a table of runs.

The limit is a hard one: RLIMIT_DATA is set to what the process holds after imports and with the model loaded, plus what is
allowed. Whoever asks for more (numpy, torch, GDAL, Zarr alike) gets none, and the benchmark fails.
``python -m benchmarks.huge FOLDER [ALLOWED_MB [TIMES]]`` tries other sizes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

ALLOWED_MB, TIMES = 300, 20
NETWORK = "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8"
OVERLAP, BATCH = 0.25, 16


def project(folder: Path) -> Path:
    """A project with two short runs on a simulated scene."""
    from geonb import runs
    from geonb.training import task
    from geonb.workloads.segmentation import examples
    from geonb.workloads.segmentation import store as segmentation_store

    (folder / "notebooks").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("")
    os.environ["GEONB_ROOT"] = str(folder)
    samples = segmentation_store.write_store(
        examples.simulated_scene((256, 256)), patch=64, stride=32, block=64, root=folder
    )
    for lr in (1e-3, 1e-5):
        settings = {"network": NETWORK, "loss": "cross-entropy", "augment": "flips", "lr": lr, "epochs": 2, "batch": 16,
                    "patience": 2, "seed": 0, "workload": "segmentation"}  # fmt: skip
        run = runs.new_run("segmentation", settings, root=folder)
        run.update(store=samples.path, state="done")
        task.train(run, samples, **settings, workers=0)
    return folder


def make(path: Path, megabytes: float) -> int:
    """Write a square float32 raster of five bands block by block; gives its side in pixels."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    side = math.ceil(math.sqrt(megabytes * 1e6 / (5 * 4)) / 512) * 512
    random = np.random.default_rng(0)
    pieces = [random.integers(1, 255, (5, 512, 512)).astype(np.float32) for _ in range(4)]
    with rasterio.Env(GDAL_CACHEMAX=64 << 20), rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=5, dtype="float32", crs="EPSG:32617", tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", zlevel=1, bigtiff="if_safer", interleave="pixel",
        transform=from_origin(5e5, 4e6, 30, 30),
    ) as file:  # fmt: skip
        for i in range((side // 512) ** 2):
            y, x = divmod(i, side // 512)
            file.write(pieces[(x + y) % 4], window=Window(512 * x, 512 * y, 512, 512))
    return side


def predict(root: Path, image: Path, folder: Path, allowed_mb: float) -> dict:
    """In this process: load the best run by its row, forbid more memory than allowed, predict."""
    import resource

    os.environ["GEONB_ROOT"] = str(root)
    import pyogrio  # noqa: F401
    import zarr  # noqa: F401

    import geonb
    from geonb import runs
    from geonb.prediction import many

    table = runs.table(root, query="state == 'done'", sort="val_loss" if "val_loss" in runs.table(root) else None)
    loaded = geonb.load_run(table.iloc[0], root=root)
    base, data = status_mb("VmRSS"), status_mb("VmData")
    limit = int((data + allowed_mb) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    started = time.perf_counter()
    report = many.predict_rasters(loaded.model, [image], folder, overlap=OVERLAP, batch=BATCH)
    seconds = time.perf_counter() - started
    row = report.iloc[0]
    return {"state": row["state"], "seconds": seconds, "Mpx": row["Mpx"], "base_mb": base,
            "peak_mb": status_mb("VmHWM") - base, "data_mb": status_mb("VmPeak"), "run": loaded.run.name}  # fmt: skip


def status_mb(name: str) -> float:
    """A line of /proc/self/status: VmRSS (resident now), VmHWM (its peak), VmData (private memory, what is limited)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def main(folder: Path, allowed_mb: float = ALLOWED_MB, times: float = TIMES) -> list[list[str]]:
    root, image = project(folder / "project"), folder / "huge.tif"
    side = make(image, allowed_mb * times * 1.05)
    size_mb = side**2 * 20 / 2**20
    print(
        f"{side} x {side} px x 5 bands of float32: {size_mb:,.0f} MB, {size_mb / allowed_mb:.0f} times {allowed_mb} MB",
        flush=True,
    )
    call = f"huge.predict(*map(pathlib.Path, {[str(root), str(image), str(folder / 'out')]!r}), {allowed_mb})"
    code = f"import json, pathlib; from benchmarks import huge; print('FOUND', json.dumps({call}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{done.stdout}\n{done.stderr}")
    found = json.loads(done.stdout.rpartition("FOUND ")[2])
    ratio = size_mb / allowed_mb
    print(found)
    return [[
        f"raster of {size_mb:,.0f} MB ({found['Mpx']:,.0f} Mpx) in {found['seconds'] / 60:.1f} min, model loaded by its row",
        f"peak {found['peak_mb']:,.0f} MB above imports and model ({found['base_mb']:,.0f} MB)",
        f"hard limit (RLIMIT_DATA) {allowed_mb:,.0f} MB above them", f"{ratio:.0f}", ">= 20 times the limit",
        "yes" if ratio >= 20 and found["state"] == "done" else "no",
    ]]  # fmt: skip


if __name__ == "__main__":
    for line in main(Path(sys.argv[1]), *map(float, sys.argv[2:])):
        print(" | ".join(line))
