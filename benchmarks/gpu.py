"""What a GPU makes of each workload, against the CPU's numbers: training steps, loader, scene, embedding, one small chain.

Without a GPU there is nothing to measure: it says so. ``GEONB_BENCH_DEVICE=cpu python -m benchmarks gpu`` runs the same code, small, on
the CPU, to see that it runs; that table is printed and not kept.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

NAMES = ("segmentation", "conflict", "clouds", "chips", "seismic")
PRECISIONS = ("float32", "bfloat16")
# Against the CPU in float32, one pass with dropout off and batch normalisation as it begins. On a GPU convolutions in float32 are
# TF32 (PyTorch's default, 10 bits of mantissa); bfloat16 has 7.
LOSS = {"float32": 5e-3, "bfloat16": 5e-2}  # relative
COSINE = {"float32": 0.99, "bfloat16": 0.9}  # of the gradients, and of embeddings, at least
PROBABILITY = {"float32": 0.02, "bfloat16": 0.1}  # of a pixel, at most
LIMIT_S = 200.0  # after so long nothing is compiled any more: the whole must stay under five minutes
CHAIN = {
    "images": "image.tif", "masks": "mask.tif", "patch": 32, "stride": 32, "block": 32, "epochs": 1, "samples": 40, "draws": 50,
    "network": "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8",
}  # fmt: skip


def chosen_device() -> str | None:
    """The device asked for, else a GPU; None where there is none."""
    import torch

    return os.environ.get("GEONB_BENCH_DEVICE") or ("cuda" if torch.cuda.is_available() else None)


def made(name: str, small: bool) -> tuple[Any, dict[str, Any]]:
    """An untrained task of a workload, with its own defaults for network and loss, and a batch of made-up samples, on the CPU."""
    import torch

    from geonb import registry
    from geonb.base import specs

    record = registry.get(name)
    random = torch.Generator().manual_seed(0)
    n, side = (4, 32) if small else (32, 256)
    classes = [{"name": str(i), "colour": "#888888"} for i in range(3)]
    statistics_ = {key: [value] * 4 for key, value in (("mean", 100.0), ("std", 50.0), ("low", 0.0), ("high", 255.0))}
    card: dict[str, Any] = {
        "workload": name, "network": record.defaults["network"], "loss": record.defaults["loss"], "lr": 1e-3, "patch": side,
        "channels": [{"name": c} for c in "abcd"], "classes": classes, "statistics": statistics_, "prevalence": [0.3, 0.2, 0.1],
        "training": {"seed": 0}, "best": {},
    }  # fmt: skip

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    def whole(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, generator=random)

    if name == "conflict":
        side, steps, horizon = (16, 3, 2) if small else (32, 12, 6)
        outcomes = [{"name": "any violence", "colour": "#b2182b"}]
        card |= {
            "patch": side,
            "steps": steps,
            "horizon": horizon,
            "outcomes": outcomes,
            "prevalence": [0.05],
            "classes": [],
        }
        events = (normal(n, horizon, 1, side, side) > 1.5).float()
        batch = {"inputs": normal(n, steps, 4, side, side), "targets": events, "deaths": 3 * events,
                 "valid": torch.ones(n, side, side, dtype=torch.bool)}  # fmt: skip
    elif name == "seismic":
        samples = 600 if small else 2400
        card |= {
            "samples": samples,
            "rate_hz": 40.0,
            "prevalence": [0.5, 0.3],
            "classes": [],
            "channels": card["channels"][:3],
        }
        batch = {"inputs": normal(n, 3, samples), "targets": whole(2, n, 2).float()}
    elif name == "clouds":
        places = torch.cat([whole(4, 3 * n, 2), whole(40, 3 * n, 2)], 1).float()
        batch = {"triplets": normal(3 * n, 4, side, side), "places": places}
    else:
        targets = whole(3, n, side, side) if name == "segmentation" else whole(2, n, 3).float()
        batch = {"inputs": normal(n, 4, side, side), "targets": targets}
    torch.manual_seed(0)
    task = specs.load(record.task)(card, weights=False)
    task.log = task.log_dict = lambda *_, **__: None  # there is no trainer
    return task, batch


def moved(batch: dict[str, Any], device: str) -> dict[str, Any]:
    return {name: value.to(device) for name, value in batch.items()}


def one_pass(task: Any, batch: dict[str, Any], device: str, precision: str) -> tuple[float, np.ndarray]:
    """Loss, and all gradients as one vector, of one pass in which nothing is drawn."""
    import torch

    task.to(device).eval().zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        loss = task.training_step(moved(batch, device), 0)
    loss.backward()
    gradients = [p.grad.float().flatten() for p in task.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat(gradients).cpu().numpy()


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of two vectors, or the smallest of rows of them."""
    one, other = np.atleast_2d(one).astype(np.float64), np.atleast_2d(other).astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / np.maximum(lengths, 1e-30)).min())


def step(name: str, device: str, precision: str, compiled: bool, small: bool) -> tuple[float, float | None, int]:
    """Seconds of a training step (median), the most memory it needs (MB; None on a CPU), and samples in it."""
    import torch

    task, batch = made(name, small)
    task, batch = task.to(device).train(), moved(batch, device)
    if compiled:
        task.network.compile(backend="inductor" if device == "cuda" else "eager")
    optimizer, took = torch.optim.AdamW(task.parameters(), 1e-4), []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3 if small else 13):
        started = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = task.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    first = next(iter(batch.values()))
    return statistics.median(took[-10:] if not small else took[1:]), peak, len(first)


def steps(
    name: str, device: str, small: bool, started: float, taken: dict[str, tuple[float, int]]
) -> Iterator[list[str]]:
    """Rows of one workload: its numbers against the CPU's, and what a step takes; notes samples a second and in a step of the quickest."""
    task, batch = made(name, small)
    loss, gradient = one_pass(task, batch, "cpu", "float32")
    for precision in PRECISIONS:
        here, found = one_pass(task, batch, device, precision)
        error, cosine = abs(here - loss) / max(abs(loss), 1e-12), alike(found, gradient)
        good = error <= LOSS[precision] and cosine >= COSINE[precision]
        yield [f"{name}: loss and gradients, {precision}", f"loss {here:.5g}, off by {error:.1e}", f"CPU, float32: {loss:.5g}",
               f"cosine of the gradients {cosine:.4f}", f"loss {LOSS[precision]:g}, cosine {COSINE[precision]:g}", _met(good)]  # fmt: skip
        plain, peak, number = step(name, device, precision, False, small)
        taken[name] = max(taken.get(name, (0.0, 0)), (number / plain, number))
        told = "not measured: out of time"
        ratio = "-"
        if time.monotonic() - started < LIMIT_S:
            fast, fast_peak, _ = step(name, device, precision, True, small)
            told, ratio = f"torch.compile: {1e3 * fast:.1f} ms, {_mb(fast_peak)}", f"{plain / fast:.2f}"
        yield [
            f"{name}: a training step of {number}, {precision}",
            f"{1e3 * plain:.1f} ms, {_mb(peak)}",
            told,
            ratio,
            "-",
            "-",
        ]


def loading(name: str, folder: Path, device: str, started: float, needed: float, batch: int) -> list[str]:
    """A loader's rate, its samples brought to the device, beside the rate at which the quickest step measured takes them."""
    from benchmarks import feeding

    if time.monotonic() - started > LIMIT_S:
        return [f"{name}: its loader", "not measured: out of time", f"the step takes {needed:,.0f}/s", "-", ">= 1", "-"]
    folder = folder / f"feeding-{name}"
    folder.mkdir()
    found = feeding.rate(feeding.MAKERS[name](folder), batch, device)
    return [f"{name}: its loader, {feeding.WORKERS} workers, onto {device}", f"{found:,.0f} samples/s",
            f"the step takes {needed:,.0f}/s", f"{found / needed:.1f}", ">= 1", _met(found >= needed)]  # fmt: skip


def scenes(folder: Path, device: str, small: bool) -> Iterator[list[str]]:
    """A raster to maps on the device: its rate beside the bare forward's, and its probabilities beside the CPU's."""
    import rasterio
    import torch

    from benchmarks import inference
    from geonb.prediction import many
    from geonb.rasters.stitching import offsets

    sides = (512, 512) if small else (1024, 8192)  # the CPU's maps for comparison are small
    task, images = inference.model(), [inference.make(folder / f"{side}.tif", side) for side in set(sides)]
    few, large = min(images, key=_size), max(images, key=_size)
    options: dict[str, Any] = {"overlap": inference.OVERLAP, "batch": inference.BATCH}

    def shares(on: str, precision: str) -> np.ndarray:
        with using(on):
            paths = many.predict_raster(
                task, few, folder / f"{on}-{precision}", precision=precision, overwrite=True, **options
            )
        with rasterio.open(paths["probability"]) as data:
            return data.read().astype(np.float32) * data.scales[0]

    truth = shares("cpu", "float32")
    for precision in PRECISIONS:
        off = float(np.abs(shares(device, precision) - truth).max())
        with using(device), torch.inference_mode():
            started = time.perf_counter()
            many.predict_raster(task, large, folder / f"large-{precision}", precision=precision, **options)
            took = time.perf_counter() - started
            down = len(offsets(sides[1], inference.WINDOW, inference.OVERLAP))
            task.to(device)
            inference.bare(task, precision, 1, device, sides[1])
            bare = inference.bare(task, precision, down, device, sides[1])
        yield [f"scene {sides[1]}² x 3 to class + probability COG, {precision}", f"{sides[1] ** 2 / took / 1e6:.2f} Mpx/s",
               f"bare forward {sides[1] ** 2 / bare / 1e6:.2f} Mpx/s", f"{bare / took:.2f}", "-", "-"]  # fmt: skip
        yield [f"probabilities of {sides[0]}², {precision}", f"off by {off:.3f} at most", "CPU, float32", "-",
               f"<= {PROBABILITY[precision]:g}", _met(off <= PROBABILITY[precision])]  # fmt: skip


def embeddings(device: str, small: bool) -> Iterator[list[str]]:
    """Tiles to vectors, as notebooks ask for them."""
    from geonb.training.task import as_function

    task, batch = made("clouds", small)
    inputs = batch["triplets"].numpy()
    with using("cpu"):
        truth = as_function(task, "encode", "float32")(inputs)
    for precision in PRECISIONS:
        with using(device):
            embed = as_function(task, "encode", precision)
            cosine = alike(embed(inputs), truth)
            started = time.perf_counter()
            for _ in range(1 if small else 10):
                embed(inputs)
            rate = len(inputs) * (1 if small else 10) / (time.perf_counter() - started)
        yield [f"embedding of tiles, {precision}", f"{rate:,.0f}/s", "CPU, float32", f"cosine {cosine:.4f} or more",
               f">= {COSINE[precision]:g}", _met(cosine >= COSINE[precision])]  # fmt: skip


def chain(folder: Path) -> list[str]:
    """`geonb run segmentation`, all its notebooks on a small simulated scene."""
    from geonb.rasters import landsat

    root = Path(__file__).parents[1]
    folder = folder / "chain"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    (folder / "notebooks").symlink_to(root / "notebooks")
    landsat.write_scene(folder, *landsat.simulate((160, 192), seed=1))
    options = [part for key, value in CHAIN.items() for part in ("-p", f"{key}={value}")]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "geonb.cli", "run", "segmentation", *options], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "GEONB_ROOT": str(folder), "PYTHONPATH": str(root)},
    )  # fmt: skip
    if done.returncode:
        print(done.stdout[-2000:] + done.stderr[-2000:])
    took = time.perf_counter() - started
    return ["geonb run segmentation, a small scene", f"{took:.0f} s", "-", "-", "ends well", _met(not done.returncode)]


def main(folder: Path) -> list[list[str]]:
    device = chosen_device()
    if device is None:
        print("No GPU here, so nothing was measured. GEONB_BENCH_DEVICE=cpu runs the same code on the CPU, small.")
        return []
    os.environ["GEONB_SCRATCH"] = str(folder / "scratch")
    small, started = device == "cpu", time.monotonic()
    taken: dict[str, tuple[float, int]] = {}
    parts: list[Callable[[], Any]] = [lambda name=name: steps(name, device, small, started, taken) for name in NAMES]
    parts += [
        lambda: scenes(folder, device, small), lambda: embeddings(device, small), lambda: [chain(folder)],
        *(lambda name=name: [loading(name, folder, device, started, *taken[name])] for name in NAMES),
    ]  # fmt: skip
    rows = []
    for part in parts:
        for row in part():
            print(" | ".join(row), flush=True)
            rows.append(row)
    print(f"{time.monotonic() - started:.0f} s in all, on {device}")
    return [] if small else rows


@contextmanager
def using(device: str) -> Iterator[None]:
    """Take this for the best device."""
    with ExitStack() as patches:
        for module in ("prediction.bands", "training.task"):
            patches.enter_context(mock.patch(f"geonb.{module}.best_device", lambda: device))
        yield


def _size(path: Path) -> int:
    return path.stat().st_size


def _mb(value: float | None) -> str:
    return "memory not known" if value is None else f"{value:,.0f} MB at most"


def _met(good: bool) -> str:
    return "yes" if good else "no"
