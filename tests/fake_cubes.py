"""A store of monthly cubes in memory, as little of it as the forecasts need: for tests of baselines, forecasts and scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from pyproj import CRS

ANY = ({"name": "any violence", "colour": "#b2182b", "event": "event", "deaths": "best"},)


@dataclass
class FakeCube:
    """Months of `event` and `best` (time, y, x), splits as half-open ranges of origins."""

    event: np.ndarray
    best: np.ndarray
    splits: dict
    steps: int = 6
    horizon: int = 3
    first: str = "2000-01"
    origin: tuple = (4.25, 2.75)  # latitude and longitude of the first cell's centre
    outcomes: tuple = ANY
    wraps: bool = False
    valid: np.ndarray | None = None
    path: str = "fake"
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        self.valid = np.ones(self.event.shape[1:], bool) if self.valid is None else self.valid
        self.inputs = ["event", "best"]
        self.meta = {
            "sources": [{"name": "grid", "wraps": self.wraps}], "simulated": True, "notes": "made up", "title": "made up",
            "key": "fake", "split": {"method": "time"}, "statistics": {"mean": [0, 1.0], "std": [1.0, 5.0]},
            "channels": [{"name": n, "role": "both", "kind": "monthly"} for n in self.inputs],
        } | self.meta  # fmt: skip

    @property
    def times(self):
        return pd.date_range(self.first, periods=len(self.event), freq="MS")

    @property
    def coords(self):
        (lat, lon), (rows, columns) = self.origin, self.valid.shape
        return {"y": lat + 0.5 * np.arange(rows), "x": lon + 0.5 * np.arange(columns)}

    @property
    def arrays(self):
        y, x = np.meshgrid(*self.coords.values(), indexing="ij")
        gid = np.floor((y + 90) * 2) * 720 + np.floor((x + 180) * 2) + 1
        country = np.where(x < x.mean(), 475, 483)
        data = {"gid": gid.astype(np.int32), "country": country.astype(np.int32)}
        crs = xr.DataArray(0, attrs=CRS.from_epsg(4326).to_cf())
        grid = xr.Dataset({k: (("y", "x"), v) for k, v in data.items()}, self.coords | {"spatial_ref": crs})
        return xr.DataTree.from_dict({"/grid": grid})

    def cube(self, names=None, start=None, stop=None):
        names = self.inputs if names is None else names
        values = np.stack([getattr(self, name)[start:stop] for name in names], axis=1).astype(np.float32)
        coords = {"time": self.times[start:stop], "channel": list(names), **self.coords}
        return xr.DataArray(values, coords, ("time", "channel", "y", "x"))

    def origins(self, split):
        return np.arange(*self.splits[split]) if split in self.splits else np.empty(0, int)


def contagion(months=160, rows=9, columns=11, seed=3, **more):
    """Events that feed on the past of a cell and its neighbours, from a few cells that are restless."""
    random = np.random.default_rng(seed)
    unrest = np.where(random.random((rows, columns)) < 0.12, 0.25, 0.004)
    event, heat = np.zeros((months, rows, columns), np.float32), np.zeros((rows, columns))
    for month in range(months):
        padded = np.pad(heat, 1)
        around = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
        event[month] = random.random((rows, columns)) < np.clip(unrest + 0.45 * heat + 0.2 * around, 0, 0.9)
        heat = 0.75 * heat + 0.25 * event[month]
    best = event * np.ceil(random.lognormal(1.0, 1.0, event.shape)).astype(np.float32)
    splits = {"train": (6, 98), "val": (107, 125), "test": (134, 158)}
    return FakeCube(event, best, more.pop("splits", splits), **more)
