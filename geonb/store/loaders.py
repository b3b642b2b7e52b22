"""From the sample store to tensors: windows cut out of a node-local memory map, in batches that are the same every time.

In the map the channels of a pixel lie side by side (:mod:`geonb.store.memory_map`), so that a batch comes out in the layout that
convolutions like best (torch.channels_last) without being turned around.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geonb.base import conventions
from geonb.store.buffers import Buffers
from geonb.store.memory_map import Plane, memory_map
from geonb.store.samplers import Order, deal, order_of
from geonb.store.turns import draw_turns

if TYPE_CHECKING:
    import lightning as L
    import pandas as pd

    from geonb.store.store import Store


class Tensors(torch.utils.data.Dataset, ABC):
    """The samples of a store, or of one split of it, as standardised tensors; what all kinds of store share.

    A kind says how many samples are read at once (`batch`) and what an item of them is (`__getitems__`).

    Parameters
    ----------
    store : Store
    split : str, optional
        train, val or test; all samples if None.
    steps : list of (name, options)
        Random changes, resolved.
    seed : int
        What happens to sample i in an epoch follows from (seed, epoch, i) alone.
    planes : name -> Plane
        What it reads; opened as `maps`.

    Notes
    -----
    A key is `epoch * len(self) + i`, so that workers need not be told which epoch it is; i alone is epoch 0.
    A sample shown again in an epoch counts as its own of a far epoch, see :class:`geonb.store.samplers.Order`.
    """

    called = "windows"

    def __init__(
        self,
        store: Store,
        split: str | None,
        steps: list[tuple[str, dict[str, float]]],
        seed: int,
        planes: Mapping[str, Plane],
    ):
        if split is not None and split not in conventions.SPLITS:
            raise ValueError(f"split = {split!r} is none of {', '.join(conventions.SPLITS)}")
        index = store.index
        self.steps, self.seed = steps, seed
        self.rows = np.arange(len(index)) if split is None else np.flatnonzero(index["split"] == split)
        mean, std = (np.array(store.meta["statistics"][k], np.float64) for k in ("mean", "std"))
        self.scale, self.shift = (1 / std).astype(np.float32), (-mean / std).astype(np.float32)
        self._drawn: dict[int, np.ndarray | None] = {}
        self._planes, self._maps = tuple(planes), dict[str, np.ndarray]()
        self.folder = memory_map(store, planes)
        self._buffers = Buffers()

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": {}}  # the maps' bytes shall not travel

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """The store's arrays as they are, (..., y, x[, channel]), read when used."""
        if not self._maps:
            self._maps = {name: np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in self._planes}
        return self._maps

    def __getitem__(self, key: int) -> dict[str, Any]:
        if not -len(self) <= key:
            raise IndexError(f"There are {len(self)} windows; {key} is none of them")
        return self.__getitems__([key % len(self) if key < 0 else key])[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __getitems__(self, keys: list[int]) -> list[dict[str, Any]]:
        batch = self.batch(keys)
        names = [n for n in batch if n != "index"]
        return [{n: batch[n][i] for n in names} | {"index": int(batch["index"][i])} for i in range(len(keys))]

    @abstractmethod
    def batch(self, keys: list[int]) -> dict[str, torch.Tensor]:
        """Read many samples at once: a dict of tensors as an item's, with a first dim sample."""

    def _turn(self, epoch: int, i: int) -> tuple[bool, int]:
        """Whether sample i is mirrored in an epoch, and its quarter turns after that."""
        known = self._drawn
        if epoch not in known:
            if len(known) >= 256:  # of old epochs; within one, as many are needed as a window is shown times
                known = self._drawn = {}
            known[epoch] = draw_turns(self.steps, self.seed, epoch, len(self))
        drawn = known[epoch]
        number = 0 if drawn is None else int(drawn[i])
        return number >= 4, number % 4


def boxes_of(index: pd.DataFrame, augment: str, steps: list[tuple[str, dict[str, float]]]) -> np.ndarray:
    """Where windows lie: ndarray of int (window, 4), y, x, height, width. Refuses to turn those that are not square."""
    boxes = index[["y", "x", "height", "width"]].to_numpy(np.int64)
    if "rotations" in dict(steps) and (boxes[:, 2] != boxes[:, 3]).any():
        raise ValueError(f"augment = {augment!r} turns windows by 90 degrees, but they are not square. Use 'flips'")
    return boxes


def size_of(boxes: np.ndarray) -> tuple[int, int]:
    """Height and width of the windows of one batch; refuses several."""
    height, width = boxes[0, 2:].tolist()
    if (boxes[:, 2:] != (height, width)).any():
        raise ValueError("Windows of different sizes cannot share a batch. Set batch = 1")
    return height, width


class Batches:
    """Batches of windows, in order; `workers` threads read ahead.

    Of several processes that train together each is a ``rank``, (which, of how many), and has its share of the same batches: in
    training a part of each, so that the steps are those of one process; else whole batches in turn.

    Threads, not processes: reading is copying, which releases Python's lock, and a batch made in another process has to be
    brought here through fresh shared memory, which costs more than making it.
    """

    batch_sampler = None  # Lightning looks for the one of a DataLoader; `sampler` is told the epoch

    def __init__(
        self,
        windows: Tensors,
        order: Order,
        batch: int,
        workers: int = 0,
        train: bool = False,
        rank: tuple[int, int] = (0, 1),
    ):
        self.dataset, self.sampler, self.batch_size, self.workers, self.train = windows, order, batch, workers, train
        self.rank, self.ranks = rank
        # batch normalisation cannot train on one sample
        self.drop_last = train and len(order) > batch and len(order) % batch == 1
        self.least = 2 if batch >= 2 * self.ranks else 1

    @property
    def batches(self) -> int:
        """Batches of an epoch, of all ranks together."""
        return len(self.sampler) // self.batch_size if self.drop_last else -(-len(self.sampler) // self.batch_size)

    def __len__(self) -> int:
        return len(self._dealt(list(range(len(self.sampler)))))

    def counted(self, at: int) -> float:
        """What the mean over this rank's part of a training batch counts in the mean of the ranks'."""
        size = min(self.batch_size, len(self.sampler) - at * self.batch_size)
        return self.ranks * deal(list(range(size)), self.rank, self.ranks, self.least)[1] / size

    def _dealt(self, keys: list[int]) -> list[list[int]]:
        """The batches of this rank: in training its part of each; else whole ones, if there is one for each rank."""
        parts = [keys[i * self.batch_size : (i + 1) * self.batch_size] for i in range(self.batches)]
        if self.ranks == 1:
            return parts
        if self.train:
            return [deal(part, self.rank, self.ranks, self.least)[0] for part in parts]
        if len(parts) >= self.ranks:
            return parts[self.rank :: self.ranks]
        return [part[self.rank :: self.ranks] for part in parts if len(part) > self.rank]

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        parts = self._dealt(list(self.sampler))
        if not self.workers:
            yield from map(self.dataset.batch, parts)
            return
        with ThreadPoolExecutor(self.workers, "geonb-windows") as pool:
            ahead: deque = deque()
            for part in parts:
                ahead.append(pool.submit(self.dataset.batch, part))
                if len(ahead) > self.workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()


def data_module(
    store: Store,
    batch: int = 32,
    augment: str = "flips,rotations",
    seed: int = 0,
    workers: int = 0,
    sampler: str = "shuffle",
    rank: tuple[int, int] = (0, 1),
    **more: Any,
) -> L.LightningDataModule:
    """The store's three splits for a Lightning Trainer: training shuffled and augmented, the others neither.

    Parameters
    ----------
    store : Store
    batch : int, windows
    augment : str
        See :mod:`geonb.training.augmentation`.
    seed : int
        Order and augmentation of an epoch follow from (seed, epoch), so that a resumed run sees the same batches.
    workers : int
        Threads that read ahead.
    sampler : str
        See :mod:`geonb.store.samplers`.
    rank : (int, int)
        Which of how many processes that train together this is; see :class:`Batches`.
    **more
        What the store's `windows` take besides.
    """
    import lightning as L

    if batch < 1 or workers < 0:
        raise ValueError(f"batch = {batch}, workers = {workers}: give at least 1 window and 0 threads")

    def loader(split: str, train: bool) -> Batches:
        windows = store.windows(split, augment if train else "none", seed, **more)
        order = order_of(windows, store, sampler if train else "sequential", seed)
        return Batches(windows, order, batch, workers, train, rank)

    # the three hooks are set, not subclassed, as LightningDataModule.from_datasets does: lightning (4 s) loads only here
    module = L.LightningDataModule()
    module.train_dataloader = lambda: loader("train", True)
    module.val_dataloader = lambda: loader("val", False)
    module.test_dataloader = lambda: loader("test", False)
    return module
