"""A store of samples that somebody else has cut: they have no place and no month, so that much cannot be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from geonb.store.faults import open_arrays, shape_faults, statistics_faults
from geonb.store.store import row_attrs
from geonb.workloads.conflict.arrays import WINDOWS
from geonb.workloads.conflict.store import MonthStore

if TYPE_CHECKING:
    import xarray as xr

    from geonb.workloads.conflict.loaders import Samples

UNPLACED = (
    "ungeoreferenced, leakage cannot be checked: the file holds neither the places nor the months of its samples."
)


@dataclass(frozen=True, repr=False)
class WindowStore(MonthStore):
    """Samples as they came, without places and months: good for training, not for maps and headline scores."""

    georeferenced: ClassVar[bool] = False
    unproved: ClassVar[str] = f"{UNPLACED} Write a store from events in notebook 01 to forecast and score"

    @cached_property
    def grid(self) -> xr.Dataset:
        """inputs (sample, step, channel, y, x), targets (sample, y, x); read when used."""
        import xarray as xr

        return xr.open_zarr(self.path / "arrays.zarr", group=WINDOWS, chunks=None, consolidated=False)

    @cached_property
    def valid(self) -> np.ndarray:
        """All cells of a window count: ndarray (y, x) of bool."""
        return np.ones(self.meta["sources"][0]["shape"], bool)

    def windows(
        self, split: str | None = None, augment: str = "none", seed: int = 0, *, native: bool = False
    ) -> Samples:
        """The samples as standardised tensors, or in native units, see :class:`geonb.workloads.conflict.loaders.Samples`."""
        from geonb.workloads.conflict.loaders import Samples

        return Samples(self, split, augment, seed, native=native)

    def __getitem__(self, i: int) -> xr.Dataset:
        """Window i: inputs (step, channel, y, x), targets (lead, outcome, y, x), valid (y, x); no coordinates of place."""
        import xarray as xr

        i = range(len(self))[i]
        here = self.grid.isel(sample=i).load()
        names = [o["name"] for o in self.outcomes]
        window = xr.Dataset(
            {
                "inputs": (("step", "channel", "y", "x"), here["inputs"].to_numpy()),
                "targets": (("lead", "outcome", "y", "x"), here["targets"].to_numpy()[None, None]),
                "valid": (("y", "x"), self.valid),
            },
            {"channel": self.inputs, "step": np.arange(-self.steps, 0), "lead": [1], "outcome": names},
        )
        window.attrs |= row_attrs(self.index.iloc[i])
        return window

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store; `deep` also reads every sample."""
        n, steps, shape = len(self), self.steps, tuple(self.meta["sources"][0]["shape"])
        expected = {"inputs": (n, steps, len(self.inputs), *shape), "targets": (n, *shape)}
        root, found = open_arrays(self.path)
        if root is not None:
            found += shape_faults(root, WINDOWS, expected)
        found += statistics_faults(self.meta, len(self.inputs))
        if deep and not found:
            targets = self.grid["targets"].to_numpy()
            odd = int((~np.isin(targets, (0, 1))).sum())
            found += [f"arrays.zarr/{WINDOWS}/targets: {odd} values are not 0 or 1"] if odd else []
        return found
