"""From a store of scenes to tensors: the three tiles of a triplet, cut on the fly out of a node-local memory map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geonb.store.loaders import Tensors
from geonb.store.memory_map import Plane
from geonb.store.turns import EXACT, TURNS, unturned
from geonb.training.augmentation import change, check_augment, colour_facts
from geonb.workloads.clouds.triplets import TILES, tiles_table

if TYPE_CHECKING:
    import pandas as pd

    from geonb.workloads.clouds.store import TripletStore


def _places(tiles: pd.DataFrame, store: TripletStore) -> np.ndarray:
    """Which take and series each tile is of, and its corner in tiles: float32 (tile, 4)."""
    takes, number = store.meta["split"]["takes"], {name: i for i, name in enumerate(store.sources)}
    sources, times = tiles["source"].astype(str), tiles["t"].to_numpy()
    take = [takes[source][t] for source, t in zip(sources, times, strict=True)]
    corners = tiles[["y", "x"]].to_numpy(np.float32) / store.patch
    return np.column_stack([take, sources.map(number), corners]).astype(np.float32)


class Triplets(Tensors):
    """The triplets of a store, or of one split of it, as standardised tensors.

    Parameters
    ----------
    store : TripletStore
    split : str, optional
        train, val or test; all by default.
    augment : str
        Random changes, see :mod:`geonb.training.augmentation`, each tile of a triplet for itself; none by default.
    seed : int
        What happens to triplet i in an epoch follows from (seed, epoch, i) alone.

    Notes
    -----
    Keys are those of :class:`geonb.store.loaders.Tensors`. An item is {"inputs": the anchor, float32 (channel, y, x); "neighbor" and
    "distant": the others; "index": row of the store's table}. Values are (value - mean) / std of the training pixels, 0 where
    not valid. A batch also has "triplets" (3 * sample, channel, y, x): all anchors, all neighbours, all distant tiles, in one
    piece of memory of which the others are views, and "places" (3 * sample, 4) of those tiles: take, series, y and x in tiles.
    """

    called = "triplets"

    def __init__(self, store: TripletStore, split: str | None = None, augment: str = "none", seed: int = 0):
        self.names = store.sources
        planes = {f"{s}-{p}": Plane(f"{s}/{p}", p == "inputs") for s in self.names for p in ("inputs", "valid")}
        super().__init__(store, split, check_augment(augment, len(store.channels)), seed, planes)
        tiles = tiles_table(store.index.iloc[self.rows])
        self.source = tiles["source"].map({s: i for i, s in enumerate(self.names)}).to_numpy().reshape(3, -1)
        self.corners = tiles[["t", "y", "x"]].to_numpy(np.int64).reshape(3, -1, 3)
        self.places = _places(tiles, store).reshape(3, -1, 4)
        self.patch, self._turns = store.patch, dict[int, np.ndarray]()
        self.facts: dict[str, Any] = {}  # of colour, where a tile is changed in more than exact turns
        if set(dict(self.steps)) - set(EXACT):
            self.facts = colour_facts(store.meta["statistics"], store.meta["statistics"]["covariance"])

    def __getitems__(self, keys: list[int]) -> list[dict[str, Any]]:
        batch = self.batch(keys)
        names = ("inputs", *TILES[1:])
        return [{n: batch[n][i] for n in names} | {"index": int(batch["index"][i])} for i in range(len(keys))]

    def batch(self, keys: list[int], tiles: tuple[str, ...] = TILES) -> dict[str, torch.Tensor]:
        """Read many triplets at once, or some of their tiles: a dict of tensors as an item's, with a first dim sample."""
        epochs, order = np.divmod(np.asarray(keys, np.int64), len(self))
        n, side, channels = len(order), self.patch, len(self.scale)
        room = self._buffers.lend((len(tiles) * n, side, side, channels), np.float32)
        scale, shift = (torch.from_numpy(np.tile(v, side)) for v in (self.scale, self.shift))
        for k, tile in enumerate(tiles):
            which = TILES.index(tile)
            for j, (epoch, i) in enumerate(zip(epochs.tolist(), order.tolist(), strict=True)):
                to = room[k * n + j]
                turn = self._turn_of(epoch, i, which)
                values, valid = self._tile(which, i)
                unturned(to, turn, (0, 1))[...] = values
                flat = torch.from_numpy(to.reshape(side, -1))
                torch.addcmul(shift, flat, scale, out=flat)
                inside = None if valid.all() else np.rot90(valid[:, ::-1] if turn[0] else valid, turn[1])
                if inside is not None:
                    to[~inside] = 0
                if self.facts:
                    self._change_tile(epoch, i, which, to, inside)
        whole = torch.from_numpy(room).permute(0, 3, 1, 2)
        named = {"inputs" if tile == "anchor" else tile: whole[k * n : (k + 1) * n] for k, tile in enumerate(tiles)}
        places = self.places[[TILES.index(tile) for tile in tiles]][:, order].reshape(-1, 4)
        return named | {
            "triplets": whole, "places": torch.from_numpy(places), "index": torch.from_numpy(self.rows[order])
        }  # fmt: skip

    def pixels(self, keys: np.ndarray, tile: str = "anchor") -> tuple[np.ndarray, np.ndarray]:
        """Pixels as they are in the scenes: inputs (key, channel, y, x), valid (key, y, x)."""
        read = [self._tile(TILES.index(tile), int(i)) for i in keys]
        return np.stack([v for v, _ in read]).transpose(0, 3, 1, 2), np.stack([v for _, v in read])

    def _turn_of(self, epoch: int, i: int, which: int) -> tuple[bool, int]:
        """Each tile of a triplet is turned for itself: which way up a pattern lies shall not count."""
        names = ",".join(sorted(name for name, _ in self.steps if name in EXACT))
        if not names:
            return False, 0
        if epoch not in self._turns:
            if len(self._turns) >= 8:
                self._turns = {}
            random = np.random.default_rng([self.seed, epoch, 1])
            self._turns[epoch] = random.integers(len(TURNS[names]), size=(3, len(self)))
        return TURNS[names][self._turns[epoch][which, i]]

    def _change_tile(self, epoch: int, i: int, which: int, to: np.ndarray, valid: np.ndarray | None) -> None:
        """Change a tile in its place: (y, x, channel)."""
        planes = torch.from_numpy(to).permute(2, 0, 1)
        window = {
            "inputs": planes.contiguous(), "targets": torch.zeros(to.shape[:2], dtype=torch.int64),
            "valid": None if valid is None else torch.from_numpy(np.array(valid)),
        }  # fmt: skip
        random = np.random.default_rng([self.seed, epoch, i, 2, which])
        planes.copy_(change(window, self.steps, self.facts, random)["inputs"])

    def _tile(self, which: int, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (y, x, channel) and valid (y, x) of one tile, straight from the map."""
        name = self.names[self.source[which, i]]
        t, y, x = self.corners[which, i].tolist()
        box = t, slice(y, y + self.patch), slice(x, x + self.patch)
        return self.maps[f"{name}-inputs"][box], self.maps[f"{name}-valid"][box]
