"""From the sample store to tensors: windows cut out of a node-local memory map, in batches that are the same every time.

Compressed chunks are good to keep and slow to read at random, so each store's arrays are decoded once on each machine, into
.npy files with the channels of a pixel side by side. A window is then one short run of bytes a row, and a batch comes out
in the layout that convolutions like best (torch.channels_last) without being turned around.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geonb import grids, samples
from geonb.arrays import PLANES, TILE_PX
from geonb.augmentation import EXACT, change, check_augment, colour_facts, draw_turns, turned
from geonb.buffers import Buffers
from geonb.disk import enough_space, locked, whole_folder
from geonb.masks import IGNORE
from geonb.samplers import Order, order_of

if TYPE_CHECKING:
    import lightning as L
    import pandas as pd

    from geonb.store import Store


def scratch_folder() -> Path:
    """Where memory maps go: GEONB_SCRATCH, else a private folder in the system's temporary one.

    Raises
    ------
    PermissionError
        If the folder belongs to somebody else.
    """
    given = os.environ.get("GEONB_SCRATCH")
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"geonb-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not given and folder.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder} does not belong to {getpass.getuser()}. Set GEONB_SCRATCH to a folder of your own"
        )
    return folder


def memory_map(store: Store, planes: Sequence[str] = PLANES, decode: Callable[[Any, Path], None] | None = None) -> Path:
    """Decode the arrays of a store into .npy files, once a machine: <source>-<plane>.npy, channels last.

    Parameters
    ----------
    store : Store
    planes : names of arrays of each source
    decode : function of a Zarr array and the file to write, optional
        For arrays of other dims than ([channel,] y, x).

    Raises
    ------
    OSError
        No space left: says how much is needed.
    """
    arrays = (store.path / "arrays.zarr").resolve()
    folder = scratch_folder() / arrays.stem
    files = [f"{s}-{p}.npy" for s in store.sources for p in planes]
    if all((folder / f).is_file() for f in files):
        return folder
    import zarr

    with locked(folder.with_name(f"{folder.name}.lock")):
        if not all((folder / f).is_file() for f in files):
            group = zarr.open_group(arrays, mode="r")
            need = sum(group[s][p].nbytes for s in store.sources for p in planes)
            with enough_space(folder.parent, need), whole_folder(folder) as partial:
                for source in store.sources:
                    for plane in planes:
                        (decode or _decode)(group[source][plane], partial / f"{source}-{plane}.npy")
    return folder


def _decode(array: Any, file: Path) -> None:
    """Copy a Zarr array into a .npy file, channels last, a rectangle at a time."""
    turned = array.ndim == 3
    shape = array.shape[1:] + array.shape[:1] if turned else array.shape
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
        )
        start = out.tell()
        # a hole in a file on a full disk would be a crash (SIGBUS) when it is written through a map
        os.posix_fallocate(out.fileno(), 0, start + array.nbytes)
    to = np.memmap(file, array.dtype, "r+", start, shape)
    for y, x in grids.tiles(shape[:2], TILE_PX):
        to[y, x] = array[:, y, x].transpose(1, 2, 0) if turned else array[y, x]
    to.flush()


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

    Notes
    -----
    A key is `epoch * len(self) + i`, so that workers need not be told which epoch it is; i alone is epoch 0.
    A sample shown again in an epoch counts as its own of a far epoch, see :class:`geonb.samplers.Order`.
    """

    called = "windows"

    def __init__(self, store: Store, split: str | None, steps: list[tuple[str, dict[str, float]]], seed: int):
        if split is not None and split not in samples.SPLITS:
            raise ValueError(f"split = {split!r} is none of {', '.join(samples.SPLITS)}")
        index = store.index
        self.steps, self.seed = steps, seed
        self.rows = np.arange(len(index)) if split is None else np.flatnonzero(index["split"] == split)
        mean, std = (np.array(store.meta["statistics"][k], np.float64) for k in ("mean", "std"))
        self.scale, self.shift = (1 / std).astype(np.float32), (-mean / std).astype(np.float32)
        self._drawn: dict[int, np.ndarray | None] = {}
        self._maps: Any = None
        self._buffers = Buffers()

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": None}  # the maps' bytes shall not travel

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
        number = 0 if known[epoch] is None else int(known[epoch][i])
        return number >= 4, number % 4


class Windows(Tensors):
    """The windows of a store of images, or of one split of it, as standardised tensors, see :class:`Tensors`.

    Parameters
    ----------
    store : Store
    split : str, optional
        train, val or test; all windows by default.
    augment : str
        Random changes of image and mask together, see :mod:`geonb.augmentation`; none by default.
    seed : int

    Notes
    -----
    An item is {"inputs": float32 (channel, y, x), "targets": int64 (y, x) class index, 255 = ignore, "index": row of the
    store's table}. Inputs are (value - mean) / std of the training pixels, 0 where not valid.
    """

    def __init__(self, store: Store, split: str | None = None, augment: str = "none", seed: int = 0):
        super().__init__(store, split, check_augment(augment, len(store.meta["channels"])), seed)
        here = store.index.iloc[self.rows]
        self.boxes = boxes_of(here, augment, self.steps)
        self.whole = (here["valid_share"] == 1).to_numpy()
        names = store.sources
        self.source = here["source"].astype(str).map({s: i for i, s in enumerate(names)}).to_numpy(np.int64)
        self.names, self.folder = names, memory_map(store)
        self.classes = len(store.classes)
        self.facts = None  # of colour, where a window is changed in more than exact turns
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
            if self.facts is not None:
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
        if self._maps is None:
            self._maps = [
                {p: np.load(self.folder / f"{name}-{p}.npy", mmap_mode="r") for p in PLANES} for name in self.names
            ]
        y, x, height, width = self.boxes[i].tolist()
        maps = self._maps[self.source[i]]
        needed = PLANES[:2] if self.whole[i] else PLANES
        if turn == (False, 0):
            return {p: maps[p][y : y + height, x : x + width] for p in needed}
        return {p: turned(maps[p][y : y + height, x : x + width], *turn) for p in needed}


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


class Batches:
    """Batches of windows, in order; `workers` threads read ahead.

    Threads, not processes: reading is copying, which releases Python's lock, and a batch made in another process has to be
    brought here through fresh shared memory, which costs more than making it.
    """

    batch_sampler = None  # Lightning looks for the one of a DataLoader; `sampler` is told the epoch

    def __init__(self, windows: Tensors, order: Order, batch: int, workers: int = 0, train: bool = False):
        self.dataset, self.sampler, self.batch_size, self.workers = windows, order, batch, workers
        # batch normalisation cannot train on one sample
        self.drop_last = train and len(order) > batch and len(order) % batch == 1

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size if self.drop_last else -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        keys = list(self.sampler)
        parts = [keys[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]
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
) -> L.LightningDataModule:
    """The store's three splits for a Lightning Trainer: training shuffled and augmented, the others neither.

    Parameters
    ----------
    store : Store
    batch : int, windows
    augment : str
        See :mod:`geonb.augmentation`.
    seed : int
        Order and augmentation of an epoch follow from (seed, epoch), so that a resumed run sees the same batches.
    workers : int
        Threads that read ahead.
    sampler : str
        See :mod:`geonb.samplers`.
    """
    import lightning as L

    if batch < 1 or workers < 0:
        raise ValueError(f"batch = {batch}, workers = {workers}: give at least 1 window and 0 threads")

    def loader(split: str, train: bool) -> Batches:
        windows = store.windows(split, augment if train else "none", seed)
        order = order_of(windows, store, sampler if train else "sequential", seed)
        return Batches(windows, order, batch, workers, train)

    # the three hooks are set, not subclassed, as LightningDataModule.from_datasets does: lightning (4 s) loads only here
    module = L.LightningDataModule()
    module.train_dataloader = lambda: loader("train", True)
    module.val_dataloader = lambda: loader("val", False)
    module.test_dataloader = lambda: loader("test", False)
    return module
