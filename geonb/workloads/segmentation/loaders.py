"""Windows of images and masks as tensors, out of a node-local memory map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geonb.base.conventions import IGNORE
from geonb.store.arrays import PLANES
from geonb.store.loaders import Tensors, boxes_of, size_of
from geonb.store.memory_map import Plane
from geonb.store.turns import EXACT, turned
from geonb.training.augmentation import change, check_augment, colour_facts

if TYPE_CHECKING:
    from geonb.store.store import Store


class Windows(Tensors):
    """The windows of a store of images, or of one split of it, as standardised tensors, see :class:`Tensors`.

    Parameters
    ----------
    store : Store
    split : str, optional
        train, val or test; all windows by default.
    augment : str
        Random changes of image and mask together, see :mod:`geonb.training.augmentation`; none by default.
    seed : int

    Notes
    -----
    An item is {"inputs": float32 (channel, y, x), "targets": int64 (y, x) class index, 255 = ignore, "index": row of the
    store's table}. Inputs are (value - mean) / std of the training pixels, 0 where not valid.
    """

    def __init__(self, store: Store, split: str | None = None, augment: str = "none", seed: int = 0):
        self.files = [{p: f"{source}-{p}" for p in PLANES} for source in store.sources]
        planes = {f"{s}-{p}": Plane(f"{s}/{p}", p == "inputs") for s in store.sources for p in PLANES}
        super().__init__(store, split, check_augment(augment, len(store.meta["channels"])), seed, planes)
        here = store.index.iloc[self.rows]
        self.boxes = boxes_of(here, augment, self.steps)
        self.whole = (here["valid_share"] == 1).to_numpy()
        numbers = {s: i for i, s in enumerate(store.sources)}
        self.source = here["source"].astype(str).map(numbers).to_numpy(np.int64)
        self.classes = len(store.classes)
        self.facts: dict[str, Any] = {}  # of colour, where a window is changed in more than exact turns
        if set(dict(self.steps)) - set(EXACT):
            covariance = training_covariance(store) if "fancy-pca" in dict(self.steps) else None
            self.facts = colour_facts(store.meta["statistics"], covariance)

    def batch(self, keys: list[int]) -> dict[str, torch.Tensor]:
        """Read many windows at once: inputs (sample, channel, y, x) in channels_last, targets (sample, y, x), index (sample,)."""
        epochs, order = np.divmod(np.asarray(keys, np.int64), len(self))
        height, width = size_of(self.boxes[order])
        channels = len(self.scale)
        inputs = self._buffers.lend((len(order), height, width, channels), np.float32)
        targets = self._buffers.lend((len(order), height, width), np.int64)
        raw = torch.empty(height, width * channels)
        scale, shift = (torch.from_numpy(np.tile(v, width)) for v in (self.scale, self.shift))
        for j, (epoch, i) in enumerate(zip(epochs.tolist(), order.tolist(), strict=True)):
            turn = self._turn(epoch, i)
            planes = self._read(i, turn)
            raw.numpy()[:] = planes["inputs"].reshape(height, -1)  # the cast, into a piece that stays in the cache
            torch.addcmul(shift, raw, scale, out=torch.from_numpy(inputs[j].reshape(height, -1)))
            targets[j] = planes["targets"]
            if not self.whole[i]:
                inputs[j][~planes["valid"]] = 0
            if self.facts:
                self._change(epoch, i, inputs[j], targets[j], planes.get("valid"))
        return {
            "inputs": torch.from_numpy(inputs).permute(0, 3, 1, 2),
            "targets": torch.from_numpy(targets),
            "index": torch.from_numpy(self.rows[order]),
        }

    def _change(self, epoch: int, i: int, inputs: np.ndarray, targets: np.ndarray, valid: np.ndarray | None) -> None:
        """Change a window in its place: inputs (y, x, channel), targets (y, x)."""
        planes, labels = torch.from_numpy(inputs).permute(2, 0, 1), torch.from_numpy(targets)
        window = {
            "inputs": planes.contiguous(), "targets": labels,  # a plane a channel, in which all changes are quicker
            "valid": None if valid is None else torch.from_numpy(np.array(valid)),
        }  # fmt: skip
        window = change(window, self.steps, self.facts, np.random.default_rng([self.seed, epoch, i, 2]))
        planes.copy_(window["inputs"])
        if window["targets"] is not labels:
            labels.copy_(window["targets"])

    def commonest(self) -> np.ndarray:
        """The most frequent class of each window as it is stored: ndarray (window,) of int; number of classes = no label."""
        found = np.empty(len(self), np.int64)
        for i in range(len(self)):
            counts = np.bincount(self._read(i, (False, 0))["targets"].ravel(), minlength=256)
            counts[IGNORE] = 0
            found[i] = counts.argmax() if counts.any() else self.classes
        return found

    def _read(self, i: int, turn: tuple[bool, int]) -> dict[str, np.ndarray]:
        y, x, height, width = self.boxes[i].tolist()
        maps, files = self.maps, self.files[self.source[i]]
        needed = PLANES[:2] if self.whole[i] else PLANES
        planes = {p: maps[files[p]][y : y + height, x : x + width] for p in needed}
        return planes if turn == (False, 0) else {p: turned(plane, *turn) for p, plane in planes.items()}


def training_covariance(store: Store) -> np.ndarray:
    """Covariance (channel, channel) of the valid training pixels, native units: the store's own, else that of its windows."""
    known = store.meta["statistics"].get("covariance")
    if known is not None:
        return np.asarray(known, np.float64)
    windows, n, total, squares = Windows(store, "train"), 0.0, 0.0, 0.0
    share = store.index["valid_share"].to_numpy(np.float64)[windows.rows]
    for i, item in enumerate(windows):  # pixels without data are 0: they add nothing but to the number
        pixels = item["inputs"].numpy().reshape(len(windows.scale), -1).astype(np.float64)
        n, total, squares = n + share[i] * pixels.shape[1], total + pixels.sum(axis=1), squares + pixels @ pixels.T
    std = np.asarray(store.meta["statistics"]["std"], np.float64)
    return (squares / n - np.outer(total / n, total / n)) * np.outer(std, std)
