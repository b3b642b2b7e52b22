"""A scene through a U-Net (resnet18, 3 bands, 256 px windows, 25 % overlap) against the bare forward of the same batches."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WINDOW, OVERLAP, BATCH = 256, 0.25, 16
CLASSES = 2


def model():
    import torch

    from geonb.workloads.segmentation.task import Segmentation

    torch.manual_seed(0)
    names = [{"name": str(i), "colour": "#888888"} for i in range(CLASSES)]
    card = {"network": "unet:encoder=resnet18", "loss": "cross-entropy", "lr": 1e-3, "channels": [{"name": c} for c in "rgb"],
            "classes": names, "statistics": {"mean": [100.0] * 3, "std": [50.0] * 3}, "patch": WINDOW, "best": {}}  # fmt: skip
    return Segmentation(card).eval()


def make(path: Path, side: int) -> Path:
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    random = np.random.default_rng(0)
    piece = random.integers(1, 255, (3, 512, 512), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=3, dtype="uint8", crs="EPSG:32617", tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", transform=from_origin(5e5, 4e6, 1, 1),
    ) as file:  # fmt: skip
        for y in range(0, side, 512):
            for x in range(0, side, 512):
                file.write(piece, window=Window(x, y, 512, 512))
    return path


def bare(task, precision: str, rows: int, device: str = "cpu", side: int = 4096) -> float:
    """Seconds of the forward pass alone, on the batches that ``rows`` rows of windows of a scene `side` px wide make."""
    import torch

    from geonb.rasters.stitching import offsets

    across = len(offsets(side, WINDOW, OVERLAP))
    sizes = [min(BATCH, across - j) for j in range(0, across, BATCH)]
    inputs = [torch.randn(n, 3, WINDOW, WINDOW).to(device, memory_format=torch.channels_last) for n in sizes]
    started = time.perf_counter()
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        for _ in range(rows):
            for batch in inputs:
                task(batch)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def scene(folder: Path, side: int, cheap: bool) -> dict:
    """Predict a raster in this process: seconds, and peak memory in MB."""
    from geonb.prediction import many
    from geonb.training.task import precision_of

    task = model()
    if cheap:  # memory does not depend on what the network computes; a thin one keeps the benchmark short
        import torch

        task.probabilities = lambda inputs: torch.stack([inputs[:, 0].sigmoid(), 1 - inputs[:, 0].sigmoid()], dim=1)
    image, out = make(folder / f"{side}.tif", side), Path(tempfile.mkdtemp(dir=folder))  # maps that are there are kept
    # as the bare forward has: imports, and what the first pass through a network sets up
    many.predict_raster(task, make(folder / "warm.tif", 512), out, overlap=OVERLAP, batch=BATCH)
    precision = precision_of("auto")
    started = time.perf_counter()
    many.predict_raster(task, image, out, overlap=OVERLAP, batch=BATCH, precision=precision)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": peak_mb()}


def codecs(folder: Path) -> list[list[str]]:
    """What codec and level cost: a map of probabilities, smooth with noise, as COG with overviews."""
    import numpy as np
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin
    from scipy.ndimage import gaussian_filter

    random, side, plain = np.random.default_rng(0), 4096, folder / "plain.tif"
    smooth, rough = (gaussian_filter(random.normal(size=(side, side)).astype(np.float32), sigma) for sigma in (24, 1))
    share = 1 / (1 + np.exp(-(6 * smooth / smooth.std() + 0.7 * rough / rough.std())))
    with rasterio.open(
        plain, "w", driver="GTiff", height=side, width=side, count=2, dtype="uint8", nodata=255, tiled=True, blockxsize=512,
        blockysize=512, crs="EPSG:32617", transform=from_origin(5e5, 4e6, 1, 1),
    ) as file:  # fmt: skip
        file.write(np.rint(np.stack([share, 1 - share]) / 0.004).astype(np.uint8))

    def cost(codec: str, level: str) -> tuple[float, float]:
        seconds, made = [], folder / "cog.tif"
        options = {"COMPRESS": codec, "OVERVIEW_RESAMPLING": "AVERAGE"} | ({"LEVEL": level} if level else {})
        for _ in range(3):
            started = time.process_time()
            with rasterio.Env(GDAL_CACHEMAX=64 << 20, GDAL_PAM_ENABLED=False):
                copy(plain, made, driver="COG", **options)
            seconds.append(time.process_time() - started)
        return statistics.median(seconds), made.stat().st_size / 1e6

    usual, size = cost("DEFLATE", "6")
    rows = []
    for codec, level in (("DEFLATE", "1"), ("DEFLATE", "3"), ("ZSTD", "1"), ("ZSTD", "9"), ("LZW", ""), ("NONE", "")):
        took, mb = cost(codec, level)
        rows.append([f"probability COG 4096² x 2, {codec} {level}".strip(), f"{took:.2f} s of one core, {mb:.1f} MB",
                     f"DEFLATE 6, GDAL's own: {usual:.2f} s, {size:.1f} MB", f"{took / usual:.2f} of the time, {mb / size:.2f} of the size",
                     "-", "-"])  # fmt: skip
    return rows


def peak_mb() -> float:
    """Peak resident memory of this program. Not ru_maxrss: that begins at what the parent held when it forked."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def in_process(folder: Path, side: int, cheap: bool) -> dict:
    call = f"inference.scene(pathlib.Path({str(folder)!r}), {side}, {cheap})"
    code = f"import json, pathlib; from benchmarks import inference; print(json.dumps({call}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


def main(folder: Path) -> list[list[str]]:
    from geonb.rasters.stitching import offsets
    from geonb.training.task import precision_of

    precision = precision_of("auto")
    task, down = model(), len(offsets(4096, WINDOW, OVERLAP))
    bare(task, precision, 1)
    forward, whole = [], []
    for _ in range(3):
        forward.append(bare(task, precision, down))
        whole.append(in_process(folder, 4096, cheap=False)["seconds"])
        print(f"bare {forward[-1]:.1f} s, scene {whole[-1]:.1f} s", flush=True)
    bare_rate, our_rate = (4096**2 / statistics.median(s) / 1e6 for s in (forward, whole))
    ratio = statistics.median(
        a / b for a, b in zip(forward, whole, strict=True)
    )  # pairs, as the machine's speed drifts
    small, large = (in_process(folder, side, cheap=True)["peak_mb"] for side in (4096, 16384))
    return [
        [f"scene 4096² x 3 to class + probability COG, {precision}", f"{our_rate:.3f} Mpx/s",
         f"bare forward of the same batches {bare_rate:.3f} Mpx/s",
         f"{ratio:.2f}", ">= 0.92", "yes" if ratio >= 0.92 else "no"],
        ["peak memory at 16384² (network replaced by a pixel-wise one)", f"{large:,.0f} MB", f"at 4096² {small:,.0f} MB",
         f"{large - small:+,.0f} MB", "<= +200 MB", "yes" if large - small <= 200 else "no"],
        *codecs(folder),
    ]  # fmt: skip
