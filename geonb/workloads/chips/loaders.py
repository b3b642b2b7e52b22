"""Chips and their labels as tensors, out of a node-local memory map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geonb.store.loaders import Tensors, boxes_of, size_of
from geonb.store.memory_map import Plane
from geonb.store.turns import EXACT, turned
from geonb.training.augmentation import change, check_augment, colour_facts

if TYPE_CHECKING:
    from geonb.workloads.chips.store import ChipStore

PLANES = ("inputs", "valid")


class Chips(Tensors):
    """The chips of a store, or of one split of it, see :class:`geonb.store.loaders.Tensors`.

    An item is {"inputs": float32 (channel, y, x), standardised, 0 where there is no data; "targets": float32 (class,), 1 present,
    0 absent, NaN not known; "index": row of the store's table}.
    """

    called = "chips"

    def __init__(self, store: ChipStore, split: str | None = None, augment: str = "none", seed: int = 0):
        planes = {f"{s}-{p}": Plane(f"{s}/{p}", p == "inputs") for s in store.sources for p in PLANES}
        super().__init__(store, split, check_augment(augment, len(store.channels)), seed, planes)
        here = store.index.iloc[self.rows]
        self.boxes = boxes_of(here, augment, self.steps)
        self.source = here["source"].astype(str).to_numpy()
        self.whole = (here["valid_share"] == 1).to_numpy()
        self.targets = store.targets(self.rows)
        self.facts: dict[str, Any] = {}  # of colour, where a chip is changed in more than exact turns
        if set(dict(self.steps)) - set(EXACT):
            self.facts = colour_facts(store.meta["statistics"], store.meta["statistics"].get("covariance"))

    def batch(self, keys: list[int]) -> dict[str, torch.Tensor]:
        """Read many chips at once: inputs (sample, channel, y, x) in channels_last, targets (sample, class), index (sample,)."""
        epochs, order = np.divmod(np.asarray(keys, np.int64), len(self))
        height, width = size_of(self.boxes[order])
        inputs = self._buffers.lend((len(order), height, width, len(self.scale)), np.float32)
        for to, epoch, i in zip(inputs, epochs.tolist(), order.tolist(), strict=True):
            turn = self._turn(epoch, i)
            np.multiply(self._plane("inputs", i, turn), self.scale, out=to)
            to += self.shift
            valid = None if self.whole[i] else self._plane("valid", i, turn)
            if valid is not None:
                to[~valid] = 0
            if self.facts:
                self._change(epoch, i, to, valid)
        return {
            "inputs": torch.from_numpy(inputs).permute(0, 3, 1, 2),
            "targets": torch.from_numpy(self.targets[order]),
            "index": torch.from_numpy(self.rows[order]),
        }

    def _plane(self, name: str, i: int, turn: tuple[bool, int]) -> np.ndarray:
        y, x, height, width = self.boxes[i].tolist()
        return turned(self.maps[f"{self.source[i]}-{name}"][y : y + height, x : x + width], *turn)

    def _change(self, epoch: int, i: int, to: np.ndarray, valid: np.ndarray | None) -> None:
        """Change a chip (y, x, channel) in its place."""
        planes = torch.from_numpy(to).permute(2, 0, 1)
        window = {
            "inputs": planes.contiguous(), "targets": torch.zeros(to.shape[:2], dtype=torch.int64),
            "valid": None if valid is None else torch.from_numpy(np.array(valid)),
        }  # fmt: skip
        planes.copy_(change(window, self.steps, self.facts, np.random.default_rng([self.seed, epoch, i, 2]))["inputs"])
