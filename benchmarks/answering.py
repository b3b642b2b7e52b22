"""What notebooks 03 and 05 take for chips, embeddings and forecasts, files and all, beside the bare network on the same tensors."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

AIM, ROUNDS, BATCH, SAMPLES, DRAWS = 0.92, 3, 64, 400, 4


def untrained(name: str, store: Any, **more: Any) -> Any:
    """A task with the workload's default network, and the card of a trained one."""
    import torch

    from geonb import registry
    from geonb.base import specs

    record = registry.get(name)
    torch.manual_seed(0)
    kind = specs.load(record.task)
    card = {"network": record.defaults["network"], "loss": record.defaults["loss"], "lr": 1e-3, "workload": name, "geonb": "0",
            "training": {"seed": 0}, "best": {}, "task": record.task, "patch": 256}  # fmt: skip
    return kind(card | kind.card_of(store) | more, weights=False).eval()


def asked(store: Any, task: Any, method: str, rows: list[int]) -> Callable[[], Any]:
    """What asks a network about some windows of a store, which are in memory as it gets them, in batches."""
    from geonb.training.task import as_function

    windows, ask = store.windows(), as_function(task, method, "float32")
    batches = [windows.batch(rows[i : i + BATCH])["inputs"].numpy() for i in range(0, len(rows), BATCH)]
    return lambda: [ask(batch) for batch in batches]


def compared(what: str, count: int, whole: Callable[[Path], Any], bare: Callable[[], Any], folder: Path) -> list[str]:
    """In turns, each turn's whole in a folder of its own: medians of the seconds of both."""
    taken: dict[str, list[float]] = {"whole": [], "bare": []}
    for turn in range(ROUNDS + 1):
        place = folder / f"run-{turn}"
        place.mkdir(parents=True)
        started = time.perf_counter()
        whole(place)
        between = time.perf_counter()
        bare()
        if turn:  # the first is to warm up
            taken["whole"].append(between - started)
            taken["bare"].append(time.perf_counter() - between)
        shutil.rmtree(place)
    whole_s, bare_s = (statistics.median(seconds) for seconds in taken.values())
    ratio = bare_s / whole_s
    return [what, f"{count / whole_s:,.0f}/s", f"the bare network {count / bare_s:,.0f}/s", f"{ratio:.2f}", f">= {AIM}",
            "yes" if ratio >= AIM else "no"]  # fmt: skip


def run_in(place: Path) -> Any:
    return SimpleNamespace(path=place, predictions=place / "predictions.zarr", embeddings=place / "embeddings.zarr")


def chips(folder: Path) -> list[str]:
    from benchmarks import feeding
    from geonb.workloads.chips.predict import predict_chips

    store = feeding.chips(folder)
    task = untrained("chips", store)
    return compared(
        f"predictions.zarr of {len(store)} chips of 256 px, batches of {BATCH}", len(store),
        lambda place: predict_chips(run_in(place), store, task, [], batch=BATCH, precision="float32"),
        asked(store, task, "probabilities", list(range(len(store)))), folder,
    )  # fmt: skip


def vectors(folder: Path) -> list[str]:
    from benchmarks import feeding
    from geonb.embeddings.embedding import draw_rows, embed

    store = feeding.segmentation(folder)
    task, rows = untrained("segmentation", store), draw_rows(store.index, SAMPLES, 0).tolist()
    return compared(
        f"embeddings.zarr of {len(rows)} windows of 256 px, batches of {BATCH}", len(rows),
        lambda place: embed(run_in(place), store, task, samples=SAMPLES, batch=BATCH, precision="float32"),
        asked(store, task, "encode", rows), folder,
    )  # fmt: skip


def forecasts(folder: Path) -> list[str]:
    from benchmarks import feeding
    from geonb.workloads.conflict import predict

    store = feeding.conflict(folder)
    facts = {"steps": store.steps, "horizon": store.horizon, "outcomes": list(store.outcomes), "floor": None}
    task = untrained("conflict", store, network="unet_lstm:floor=none", **facts)
    region = predict.RegionForecast(store, task, 0.5, BATCH, "float32", DRAWS, 0)
    origins = predict.origins_of(store)
    inputs = [region.inputs(t) for t, _ in origins]
    return compared(
        f"predictions.zarr of {len(origins)} months of {' x '.join(map(str, store.valid.shape))} cells, {DRAWS} draws", len(origins),
        lambda place: predict.predict_region(run_in(place), store, task, [], precision="float32", draws=DRAWS),
        lambda: [region._pass(one, None, DRAWS, 0) for one in inputs], folder,
    )  # fmt: skip


def main(folder: Path) -> list[list[str]]:
    os.environ["GEONB_SCRATCH"] = str(folder / "scratch")
    import torch

    torch.set_num_threads(torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else os.cpu_count())
    rows = []
    for part in (chips, vectors, forecasts):
        (folder / part.__name__).mkdir()
        rows.append(part(folder / part.__name__))
        print(" | ".join(rows[-1]), flush=True)
    return rows
