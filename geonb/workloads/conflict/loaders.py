"""From stores of months to tensors: windows cut out of a node-local memory map of the cube, or whole samples read.

What is yearly or never changes is kept once in the map too, and repeated only inside a batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from geonb.store.loaders import Tensors, boxes_of, size_of
from geonb.store.memory_map import Plane
from geonb.store.turns import EXACT, unturned
from geonb.training.augmentation import check_augment
from geonb.workloads.conflict.arrays import GROUP, KINDS, WINDOWS, years_of

if TYPE_CHECKING:
    from geonb.workloads.conflict.floor import FloorMap
    from geonb.workloads.conflict.store import CubeStore, MonthStore
    from geonb.workloads.conflict.window_store import WindowStore


class Months(Tensors):
    """Samples of months before and months after as standardised tensors, whatever they are read from (`_fill`).

    Parameters
    ----------
    store : CubeStore or WindowStore
    split : str, optional
        train, val or test; all windows by default.
    augment : str
        flips, rotations: of inputs, targets, deaths and valid together; none by default.
    seed : int
        What happens to window i in an epoch follows from (seed, epoch, i) alone.
    native : bool
        Inputs as they are in the store, in their own units, NaN where not known.
    floor : int
        Outputs of a floor, none by default.

    Notes
    -----
    Keys are those of :class:`geonb.store.loaders.Tensors`. An item is {"inputs": float32 (step, channel, y, x), (value - mean) /
    std of the training months, unknown values 0 after that; "targets": float32 (lead, outcome, y, x) 0/1; "deaths": float32
    (lead, outcome, y, x), NaN where an outcome has no deaths; "valid": bool (y, x); "index": row of the store's table}.
    With a floor also "floor": float32 (lead, output, y, x), what the network's outputs are added to.
    In memory the channels of a cell lie side by side (channels_last, as convolutions like it best).
    """

    called = "windows of months"
    unknown = True  # whether there may be NaN among the inputs

    def __init__(
        self,
        store: MonthStore,
        split: str | None,
        augment: str,
        seed: int,
        planes: Mapping[str, Plane],
        *,
        native: bool,
        floor: int = 0,
    ):
        super().__init__(store, split, check_turns(augment), seed, planes)
        self.boxes = boxes_of(store.index.iloc[self.rows], augment, self.steps)
        self.past, self.ahead, self.outcomes = store.steps, store.horizon, len(store.outcomes)
        self.native, self.floor = native, floor

    def batch(self, keys: list[int]) -> dict[str, torch.Tensor]:
        """Read many windows at once: a dict of tensors as an item's, with a first dim sample."""
        epochs, order = np.divmod(np.asarray(keys, np.int64), len(self))
        height, width = size_of(self.boxes[order])
        n, lend = len(order), self._buffers.lend
        inputs = lend((n, self.past, height, width, len(self.scale)), np.float32)
        targets = lend((n, self.ahead, self.outcomes, height, width), np.float32)
        deaths = lend((n, self.ahead, self.outcomes, height, width), np.float32)
        valid = lend((n, height, width), bool)
        floor = lend((n, self.ahead, self.floor, height, width), np.float32) if self.floor else None
        for j, (epoch, i) in enumerate(zip(epochs.tolist(), order.tolist(), strict=True)):
            turn = self._turn(epoch, i)
            # written into views that are turned back, so that nothing is moved twice
            self._fill(
                i, unturned(inputs[j], turn, (1, 2)), unturned(targets[j], turn, (2, 3)),
                unturned(deaths[j], turn, (2, 3)), unturned(valid[j], turn, (0, 1)),
                *([] if floor is None else [unturned(floor[j], turn, (2, 3))]),
            )  # fmt: skip
        if not self.native:
            inputs *= self.scale
            inputs += self.shift
            if self.unknown:
                np.nan_to_num(inputs, copy=False, posinf=0, neginf=0)
        return {
            "inputs": torch.from_numpy(inputs).permute(0, 1, 4, 2, 3),
            "targets": torch.from_numpy(targets),
            "deaths": torch.from_numpy(deaths),
            "valid": torch.from_numpy(valid),
            "index": torch.from_numpy(self.rows[order]),
        } | ({} if floor is None else {"floor": torch.from_numpy(floor)})

    @abstractmethod
    def _fill(
        self, i: int, inputs: np.ndarray, targets: np.ndarray, deaths: np.ndarray, valid: np.ndarray, *floor: np.ndarray
    ) -> None:
        """Read window i into inputs (step, y, x, channel), targets, deaths (lead, outcome, y, x), valid (y, x) and a floor."""


class Sequences(Months):
    """The windows of a cube's store, or of one split of it, as standardised tensors, see :class:`Months`.

    Parameters
    ----------
    floor : FloorMap, optional
        Of the whole region, see :func:`geonb.workloads.conflict.floor.floor_map`.
    """

    def __init__(
        self,
        store: CubeStore,
        split: str | None = None,
        augment: str = "none",
        seed: int = 0,
        *,
        native: bool = False,
        floor: FloorMap | None = None,
    ):
        there = {c["kind"] for c in store.meta["channels"]}
        planes = {kind: Plane(f"{GROUP}/{kind}", channels=True) for kind in KINDS if kind in there}
        planes |= {"valid": Plane(f"{GROUP}/valid")}
        super().__init__(
            store, split, augment, seed, planes, native=native, floor=0 if floor is None else floor.outputs
        )
        if floor is not None:  # it lies beside the others
            files = [file.stem for file in (floor.logits, floor.rest) if file is not None]
            self._planes = (*self._planes, *files)
            self.floor_rest = None if floor.rest is None else floor.rest.stem
            self.floors, self.floor_rows = floor.logits.stem, floor.rows(store.index["t"].to_numpy(np.int64)[self.rows])
        self.origin, self.columns = store.index["t"].to_numpy(np.int64)[self.rows], store.valid.shape[1]
        records = {c["name"]: c for c in store.meta["channels"]}
        inputs = [records[n] for n in store.inputs]
        # of each kind: where in the inputs, where in its file
        self.places = {k: _runs([(i, c["position"]) for i, c in enumerate(inputs) if c["kind"] == k]) for k in KINDS}
        self.unknown = bool(self.places["yearly"] or self.places["static"])
        self.events = np.array([records[o["event"]]["position"] for o in store.outcomes])
        self.deaths = np.array([records[o["deaths"]]["position"] if o["deaths"] else -1 for o in store.outcomes])
        self.logged = np.array([(o["deaths"] or "").startswith("log1p_") for o in store.outcomes])
        if self.places["yearly"]:
            self.years = years_of(store.times, store.grid["year"].to_numpy())

    def _fill(
        self, i: int, inputs: np.ndarray, targets: np.ndarray, deaths: np.ndarray, valid: np.ndarray, *floor: np.ndarray
    ) -> None:
        y, x, height, width = self.boxes[i].tolist()
        end = min(x + width, self.columns)
        rows, to = slice(y, y + height), (inputs.swapaxes(-1, -2), targets, deaths, valid, *floor)
        self._piece(i, rows, slice(x, end), [part[..., : end - x] for part in to])
        if end < x + width:  # over the dateline, at the first column
            self._piece(i, rows, slice(0, x + width - end), [part[..., end - x :] for part in to])

    def _piece(self, i: int, rows: slice, columns: slice, to: list[np.ndarray]) -> None:
        """One piece: inputs (step, y, channel, x), the others as in `_fill`."""
        maps, t = self.maps, int(self.origin[i])
        inputs, targets, deaths, valid, *floor = to
        inputs = inputs.swapaxes(-1, -2)
        for into, at in self.places["monthly"]:
            inputs[..., into] = maps["monthly"][t - self.past : t, rows, columns, at]
        for into, at in self.places["yearly"]:
            years = self.years[t - self.past : t]
            for year in range(int(years[0]), int(years[-1]) + 1):
                inputs[years == year, ..., into] = maps["yearly"][year, rows, columns, at]
        for into, at in self.places["static"]:
            inputs[..., into] = maps["static"][rows, columns, at]
        after = maps["monthly"][t : t + self.ahead, rows, columns]
        for k, (event, dead) in enumerate(zip(self.events.tolist(), self.deaths.tolist(), strict=True)):
            np.greater_equal(after[..., event], 1, out=targets[:, k], casting="unsafe")
            deaths[:, k] = after[..., dead] if dead >= 0 else np.nan
            if self.logged[k]:
                np.expm1(deaths[:, k], out=deaths[:, k])
        valid[...] = maps["valid"][rows, columns]
        for base in floor:
            base[:, : len(self.events)] = maps[self.floors][self.floor_rows[i], ..., rows, columns]
            if self.floor_rest is not None:
                base[:, len(self.events) :] = maps[self.floor_rest][self.floor_rows[i], :, rows, columns]


class Samples(Months):
    """The samples of a WindowStore as tensors, see :class:`Months`; there are no deaths (NaN)."""

    def __init__(
        self,
        store: WindowStore,
        split: str | None = None,
        augment: str = "none",
        seed: int = 0,
        *,
        native: bool = False,
    ):
        planes = {"inputs": Plane(f"{WINDOWS}/inputs", channels=True), "targets": Plane(f"{WINDOWS}/targets")}
        super().__init__(store, split, augment, seed, planes, native=native)

    def _fill(
        self, i: int, inputs: np.ndarray, targets: np.ndarray, deaths: np.ndarray, valid: np.ndarray, *floor: np.ndarray
    ) -> None:
        row = int(self.rows[i])
        inputs[...] = self.maps["inputs"][row]
        np.greater_equal(self.maps["targets"][row], 1, out=targets[0, 0], casting="unsafe")
        deaths[...], valid[...] = np.nan, True


def _runs(pairs: list[tuple[int, int]]) -> list[tuple[slice, slice]]:
    """Pairs of positions as slices, as few as there can be: neighbours in both are copied together."""
    runs: list[list[int]] = []
    for into, at in pairs:
        if runs and (into, at) == (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]):
            runs[-1][2] += 1
        else:
            runs.append([into, at, 1])
    return [(slice(a, a + n), slice(b, b + n)) for a, b, n in runs]


def check_turns(augment: str) -> list[tuple[str, dict[str, float]]]:
    """Resolve a specification of flips and rotations.

    Raises
    ------
    ValueError
        Also for changes that are made for images.
    """
    steps = check_augment(augment)
    if others := [name for name, _ in steps if name not in EXACT]:
        raise ValueError(
            f"augment = {augment!r}: {', '.join(others)} is made for images, months of events know {', '.join(EXACT)} or none"
        )
    return steps
