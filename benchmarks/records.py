"""100,000 windows of records train out of a file that is not in memory, against the same windows out of an array that is.

The store's file is put out of the page cache before each turn, and a turn takes windows at random, none twice: each is read from the disk.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

WINDOWS, PER_RECORD = 100_000, 50
CHANNELS, RATE_HZ, WINDOW_S, BEFORE_S = 3, 40.0, 60.0, 5.0
BATCH, TURNS = 32, 5
STEPS = {True: 20, False: 100}  # of training, and of the loader with nobody computing
NETWORK = "resnet1d:width=16"


def made(folder: Path):
    """A store of noise: records of an event and the noise before it, in windows of a minute side by side."""
    import numpy as np
    import pandas as pd

    from geonb.workloads.seismic.dataset import Record, Recordings
    from geonb.workloads.seismic.store import write_store

    class Drawn(Recordings):
        def prepared(self, source, i):
            shape = (CHANNELS, self.samples_of(source))
            return np.random.default_rng(i).standard_normal(shape, np.float32), np.ones(shape[1], bool), []

    length, records = PER_RECORD * WINDOW_S, []
    for i in range(-(-WINDOWS // PER_RECORD)):
        about = {"event_id": f"e{i}", "kind": ("earthquake", "explosion")[i % 2], "magnitude": 2.0}
        about |= {"latitude": 60.0, "longitude": 5.0}
        start = np.datetime64("2000-01-01", "ns") + np.timedelta64(2 * i, "h")
        p_s = length - WINDOW_S + BEFORE_S  # in the last window
        records.append(Record(about, "NS.A", ("NS.A",), (), start, length, p_s))
    settings = {"filters": "none", "beams": None, "components": list("ZNE"), "rate_hz": RATE_HZ, "aperture_km": 10.0}
    drawn = Drawn({"stations": records}, pd.DataFrame(), pd.DataFrame(), None, settings, "drawn", ())
    return write_store(drawn, window_s=WINDOW_S, before_s=BEFORE_S, noise=PER_RECORD - 1, shares="98/1/1", root=folder)


def evict(windows) -> None:
    """Put the store's file out of the page cache: what a map still holds stays, so it is let go first."""
    windows._maps = {}
    for file in windows.folder.glob("*.npy"):
        with file.open("rb") as held:
            os.fsync(held.fileno())
            os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached(windows) -> float:
    """Share of the store's file that is in the page cache, by util-linux's fincore; NaN where that is not."""
    files = list(windows.folder.glob("*.npy"))
    if shutil.which("fincore") is None:
        return float("nan")
    line = ["fincore", "--bytes", "--noheadings", "--output", "RES", *map(str, files)]
    told = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return sum(map(int, told.split())) / sum(file.stat().st_size for file in files)


class Turns:
    """Training steps over windows in one order that goes on from turn to turn."""

    def __init__(self, store, workers: int):
        import torch

        from geonb.store.loaders import data_module
        from geonb.workloads.seismic.losses import build_loss
        from geonb.workloads.seismic.networks import build_network

        torch.manual_seed(0)
        self.loader = data_module(store, batch=BATCH, augment="none", seed=0, workers=workers).train_dataloader()
        self.windows, self.batches = self.loader.dataset, iter(self.loader)
        self.network = build_network(NETWORK, CHANNELS, self.windows.width, RATE_HZ)
        self.loss = build_loss("bce", store.meta["prevalence"])
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-3)

    def rate(self, train: bool) -> float:
        """Windows a second: of whole training steps, or of the loader with nobody computing."""
        started = time.perf_counter()
        for _ in range(STEPS[train]):
            batch = next(self.batches)
            if train:
                self.optimizer.zero_grad()
                self.loss(self.network(batch["inputs"]), batch["targets"]).backward()
                self.optimizer.step()
        return STEPS[train] * BATCH / (time.perf_counter() - started)


def main(folder: Path) -> list[list[str]]:
    os.environ["GEONB_SCRATCH"] = str(folder / "scratch")
    import numpy as np
    import torch

    torch.set_num_threads(torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else os.cpu_count())
    started = time.perf_counter()
    store = made(folder)
    took = time.perf_counter() - started
    rows = []
    for workers in (0, 2):
        disk, memory = Turns(store, workers), Turns(store, workers)
        size = sum(file.stat().st_size for file in disk.windows.folder.glob("*.npy"))
        memory.windows._maps = {name: np.load(disk.windows.folder / f"{name}.npy") for name in memory.windows.maps}
        for train in (True, False):
            rates: dict[str, list[float]] = {"disk": [], "memory": []}
            for _ in range(TURNS):
                evict(disk.windows)
                left = cached(disk.windows)
                rates["disk"].append(disk.rate(train))
                rates["memory"].append(memory.rate(train))
            cold, warm = (statistics.median(rates[name]) for name in ("disk", "memory"))
            what = f"{'training' if train else 'the loader alone'}, {workers or 'no'} workers"
            print(f"{what}: {cold:,.0f}/s from disk ({left:.1%} cached before), {warm:,.0f}/s from memory")
            rows.append([what, f"from the disk {cold:,.0f} windows/s", f"from memory {warm:,.0f}/s", f"{cold / warm:.2f}",
                         ">= 0.7" if train else "", ("yes" if cold >= 0.7 * warm else "no") if train else ""])  # fmt: skip
        del memory
    told = f"once: a store of {len(store):,} windows, {size / 1e9:.1f} GB in the file that is mapped"
    return [*rows, [told, f"{took:.0f} s", "", "", "", ""]]
