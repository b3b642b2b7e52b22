"""Windows of records as tensors, out of a node-local memory map; changed at random in training, by (seed, epoch, window) alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geonb.base.specs import Option, check_list
from geonb.store.loaders import Tensors
from geonb.store.memory_map import Plane
from geonb.waveforms.preparation import scale

if TYPE_CHECKING:
    from geonb.workloads.seismic.store import RecordStore

_P = Option(0.5, float, 0, 1, help="how often")
AUGMENT = {
    "shift": {"most_s": Option(5.0, float, above=0, help="earlier or later [s], as far as the record goes"), "p": Option(1.0, float, 0, 1)},
    "noise": {"std": Option(0.1, float, above=0, help="of the window's own standard deviation"), "p": _P},
    "taper": {"alpha": Option(0.04, float, 0, 1, help="Tukey's, share of the window"), "p": _P},
    "zero-channel": {"p": Option(0.1, float, 0, 1, help="one channel of several is silent")},
    "gap": {"most_s": Option(5.0, float, above=0, help="of silence [s]"), "p": Option(0.2, float, 0, 1)},
    "reverse": {"p": Option(0.5, float, 0, 1, help="ground that goes up goes down")},
}  # fmt: skip


def check_augment(spec: str) -> list[tuple[str, dict[str, Any]]]:
    """Resolve ``"shift:most_s=5,noise"`` or ``"none"``; a ValueError lists all that is wrong."""
    return [] if spec.strip() == "none" else check_list("augment", spec, AUGMENT)


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


def change(
    window: np.ndarray, steps: list[tuple[str, dict[str, Any]]], random: np.random.Generator, rate_hz: float
) -> None:
    """Change a window (channel, time) in its place, as `AUGMENT` says; what is a matter of its time was done when it was cut."""
    from scipy.signal.windows import tukey

    channels, samples = window.shape
    for name, options in steps:
        if name == "shift" or random.random() >= options["p"]:
            continue
        if name == "noise":
            window += random.standard_normal(window.shape, np.float32) * (
                options["std"] * window.std(-1, keepdims=True)
            )
        elif name == "taper":
            window *= tukey(samples, options["alpha"]).astype(np.float32)
        elif name == "reverse":
            window *= -1
        elif name == "zero-channel" and channels > 1:
            window[random.integers(channels)] = 0
        elif name == "gap":
            length = min(samples, 1 + round(random.random() * options["most_s"] * rate_hz))
            at = random.integers(samples - length + 1)
            window[:, at : at + length] = 0
