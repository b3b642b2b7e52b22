"""Made-up embedded scenes that follow geonb's contracts, for the dashboard of clouds: simulated, and said to be.

Two series: ``west``, four geostationary scenes over the western edge of Iberia (coast in view), and ``pole``, two scenes on an
equal-area grid. The embedding is a known mixture of a tile's mean, spread and slopes, so that what is alike can be told.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from pyproj import CRS
from scipy.ndimage import gaussian_filter

PATCH, STEP, DIMS = 16, 4, 12
GEOS = CRS.from_proj4("+proj=geos +h=35785831 +lon_0=0 +a=6378169 +rf=295.488065897001 +sweep=y")
LAEA = CRS.from_proj4("+proj=laea +lat_0=15 +lon_0=-50 +datum=WGS84")
TIMES = {
    "west": ["2020-04-01T12:00", "2020-04-01T13:00", "2020-04-02T12:00", "2020-04-03T12:00"],
    "pole": ["NaT", "NaT"],
}
ATTRS = {
    "workload": "clouds", "title": "Clouds", "simulated": 1, "notes": ["Simulated for tests; no sky looks like this."],
    "run": "2026-11-23_quiet-ibis", "headline": "triplet_accuracy", "unit": "triplets", "network": "resnet18", "patch": PATCH,
}  # fmt: skip


def scenes(name: str, shape: tuple[int, int], seed: int) -> xr.Dataset:
    """The store's arrays of one series: inputs (time, channel, y, x) int16 and valid, no data in the north-east."""
    rng, times = np.random.default_rng(seed), pd.DatetimeIndex(TIMES[name])
    y, x = np.indices(shape)
    fine = np.stack([gaussian_filter(rng.normal(size=shape), 0.8) for _ in times])
    broad = np.stack([gaussian_filter(rng.normal(size=shape), 9) for _ in times])
    inputs = 300 + 400 * broad / broad.std() + 120 * fine * (x / shape[1])
    west, north, pixel, crs = (-1_000_000.0, 4_300_000.0, 4000.0, GEOS) if name == "west" else (-2e5, 1e5, 2000.0, LAEA)
    valid = np.broadcast_to(x - y < shape[1] - 12, inputs.shape)
    coords = {
        "time": times, "channel": ["vis"], "y": north - pixel * (np.arange(shape[0]) + 0.5),
        "x": west + pixel * (np.arange(shape[1]) + 0.5), "spatial_ref": ((), 0, {"crs_wkt": crs.to_wkt()}),
    }  # fmt: skip
    data = np.where(valid, inputs, 0)[:, None].astype(np.int16)
    return xr.Dataset({"inputs": (("time", "channel", "y", "x"), data), "valid": (("time", "y", "x"), valid)}, coords)


def embedded(image: xr.Dataset, seed: int = 7) -> xr.Dataset:
    """The predictions' group of one series: windows of PATCH px every STEP px; valid where all their pixels are."""
    windows = np.lib.stride_tricks.sliding_window_view(image.inputs.values[:, 0].astype(float), (PATCH, PATCH), (1, 2))
    windows = windows[:, ::STEP, ::STEP]
    good = np.lib.stride_tricks.sliding_window_view(image.valid.values, (PATCH, PATCH), (1, 2))[:, ::STEP, ::STEP].all(
        (-1, -2)
    )
    along = [np.diff(windows, axis=axis).std((-1, -2)) for axis in (-1, -2)]
    features = np.stack([windows.mean((-1, -2)), windows.std((-1, -2)), *along], -1) / [300, 100, 30, 30]
    mixed = features @ np.random.default_rng(seed).normal(size=(4, DIMS)) / 3
    rows, columns = windows.shape[1:3]
    centre = {axis: image[axis].values[:-1] + np.diff(image[axis].values) / 2 for axis in "yx"}
    coords = {
        "time": image.time, "y": centre["y"][PATCH // 2 - 1 :: STEP][:rows], "x": centre["x"][PATCH // 2 - 1 :: STEP][:columns],
        "spatial_ref": image.spatial_ref,
    }  # fmt: skip
    vectors = np.where(good[..., None], mixed, np.nan).astype("float32")
    return xr.Dataset({"embedding": (("time", "y", "x", "dim"), vectors), "valid": (("time", "y", "x"), good)}, coords)


def sky_arrays(shape: tuple[int, int] = (72, 96)) -> xr.DataTree:
    """The store's arrays: groups ``west`` and ``pole``."""
    return xr.DataTree.from_dict({f"/{name}": scenes(name, shape, seed) for seed, name in enumerate(TIMES)})


def sky_predictions(arrays: xr.DataTree, triplets: bool = True) -> xr.DataTree:
    """Predictions of those arrays: a group a series, and the distances of some triplets."""
    groups = {f"/{name}": embedded(group.to_dataset()) for name, group in arrays.children.items()}
    rng = np.random.default_rng(3)
    distances = {"near": rng.gamma(2, 0.05, (2, 200)), "far": rng.gamma(2, 0.8, (2, 200))}
    near_far = {name: (("model", "sample"), values.astype("float32")) for name, values in distances.items()}
    if triplets:
        groups["/triplets"] = xr.Dataset(near_far, {"model": ["network", "mean-and-spread"]})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(ATTRS)
    return tree
