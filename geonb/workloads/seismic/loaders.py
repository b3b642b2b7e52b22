"""Windows of records as tensors, out of a node-local memory map; changed at random in training, by (seed, epoch, window) alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from geonb.store.loaders import Tensors
from geonb.store.memory_map import Plane
from geonb.waveforms.augmentation import change, check_augment
from geonb.waveforms.preparation import scale

if TYPE_CHECKING:
    from geonb.workloads.seismic.store import RecordStore


class Windows(Tensors):
    """The windows of a store, or of one split of it, see :class:`geonb.store.loaders.Tensors`.

    An item is {"inputs": float32 (channel, time), scaled as the store says; "targets": float32 (head,), an event or not, an explosion
    or not, NaN where the answer is not known or not asked; "index": row of the store's table}.
    """

    def __init__(self, store: RecordStore, split: str | None = None, augment: str = "none", seed: int = 0):
        planes = {f"{source}-inputs": Plane(f"{source}/inputs") for source in store.sources}
        super().__init__(store, split, check_augment(augment), seed, planes)
        here = store.index.iloc[self.rows]
        self.source = here["source"].astype(str).to_numpy()
        self.record, self.start = here["record"].to_numpy(), here["x"].to_numpy()
        self.width = int(store.meta["parameters"]["samples"])
        self.room = here[["first", "last"]].to_numpy()  # from where to where a window may be shifted
        self.rate_hz, self.scaler = float(store.meta["rate_hz"]), store.meta["scaler"]
        self.targets = store.targets(self.rows)

    def batch(self, keys: list[int]) -> dict[str, torch.Tensor]:
        """Read many windows at once: inputs (sample, channel, time), targets (sample, head), index (sample,)."""
        epochs, order = np.divmod(np.asarray(keys, np.int64), len(self))
        inputs = self._buffers.lend((len(order), len(self.scale), self.width), np.float32)
        for to, epoch, i in zip(inputs, epochs.tolist(), order.tolist(), strict=True):
            random = np.random.default_rng([self.seed, epoch, i, 0x5E15]) if self.steps else None
            start = int(self.start[i]) + (self._shift(i, random) if random else 0)
            to[:] = self.maps[f"{self.source[i]}-inputs"][self.record[i], :, start : start + self.width]
            if random:
                change(to, self.steps, random, self.rate_hz)
        return {
            "inputs": torch.from_numpy(scale(self.scaler, inputs)),
            "targets": torch.from_numpy(self.targets[order]),
            "index": torch.from_numpy(self.rows[order]),
        }

    def _shift(self, i: int, random: np.random.Generator) -> int:
        """Samples by which a window begins later, so that it stays in its room; drawn first, before all other changes."""
        options = dict(self.steps).get("shift")
        if options is None or random.random() >= options["p"]:
            return 0
        most = round(options["most_s"] * self.rate_hz)
        low, high = self.room[i] - self.start[i]
        return int(np.clip(random.integers(-most, most + 1), low, high))
