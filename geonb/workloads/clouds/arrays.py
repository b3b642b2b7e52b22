"""Arrays of a store of scenes: scenes onto disk, and what is read off them, where tiles lie, what is valid, statistics, faults."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import cluster, files
from geonb.rasters import grids
from geonb.store import arrays
from geonb.store.faults import centre_faults, open_arrays, shape_faults
from geonb.workloads.clouds.triplets import Area

if TYPE_CHECKING:
    from distributed import Client

    from geonb.workloads.clouds.series import Scenes, Series

PLANES = ("inputs", "valid")


def write_scenes(scenes: Scenes, folder: Path, client: Client | None = None) -> None:
    """Bring scenes onto disk as one Zarr, a group a series, a chunk a scene and 512 px.

    Parameters
    ----------
    client : optional
        A `dask.distributed.Client` whose workers see the same files; else a scene at a time, in here.

    Raises
    ------
    OSError
        No space left: says how much is needed.
    """
    pixels = sum(
        len(s) * s.shape[0] * s.shape[1] * (len(s.channels) * np.dtype(s.dtype).itemsize + 1) for s in scenes.series
    )
    with files.enough_space(folder.parent, pixels):
        tasks = [(to, s, i) for s in scenes.series for to in [_lay_out(s, folder)] for i in range(len(s))]
        valid = iter(list(cluster.spread(_fill, tasks, client, folder.parent, 1)))
        facts = [
            arrays.source_facts(s.name, s.crs, s.transform, s.shape)
            | {"scenes": len(s), "valid": list(islice(valid, len(s)))}
            for s in scenes.series
        ]
        arrays.seal(folder, facts)


def _lay_out(series: Series, folder: Path) -> dict[str, Any]:
    """Make a series' arrays, still without pixels, open for writing."""
    import dask.array as da
    import zarr

    from geonb.rasters import images

    shape = (len(series), len(series.channels), *series.shape)
    one = da.zeros(shape[1:], dtype=series.dtype, chunks=-1), da.zeros(series.shape, dtype=bool, chunks=-1)
    data = images.frame(*one, series.transform, series.crs, series.channels)
    empty = {
        "inputs": (("time", "channel", "y", "x"), da.zeros(shape, dtype=series.dtype, chunks=-1)),
        "valid": (("time", "y", "x"), da.zeros((shape[0], *shape[2:]), dtype=bool, chunks=-1)),
    }
    attrs = {k: {**data[k].attrs, "grid_mapping": "spatial_ref"} for k in PLANES}
    data = data.drop_vars(PLANES).assign({k: (*plane, attrs[k]) for k, plane in empty.items()})
    data = data.assign_coords(time=series.times, label=("time", np.array(series.labels, dtype="U")))
    side = min(arrays.CHUNK_PX, max(series.shape))
    coding = {"compressors": arrays.compressors(3)}
    encoding = {"inputs": coding | {"chunks": (1, shape[1], side, side)}, "valid": coding | {"chunks": (1, side, side)}}
    encoding["time"] = coding | {"units": "milliseconds since 1970-01-01", "dtype": "int64"}  # or finer, if need be
    with arrays.quiet_zarr():
        options: dict[str, Any] = {"mode": "a", "compute": False, "consolidated": False, "write_empty_chunks": True}
        arrays.summed(data).to_zarr(folder, group=series.name, encoding=encoding, **options)
    return arrays.writable(zarr.open_group(folder, path=series.name, mode="r+"))


def _fill(to: dict[str, Any], series: Series, i: int) -> int:
    """Write a scene; gives how many of its pixels are valid."""
    inputs, inside = series.read(i)
    to["inputs"][i], to["valid"][i] = inputs, inside
    return int(inside.sum())


def valid_shares(valid: np.ndarray, corners: np.ndarray, patch: int) -> np.ndarray:
    """By a summed-area table (Crow 1984): four look-ups a tile."""
    table = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int64)
    valid.astype(np.int64).cumsum(axis=0).cumsum(axis=1, out=table[1:, 1:])
    y, x = corners.T
    return (table[y + patch, x + patch] - table[y, x + patch] - table[y + patch, x] + table[y, x]) / patch**2


def outlines(root: Any, tiles: pd.DataFrame) -> np.ndarray:
    """Outlines of tiles in longitude and latitude; None where a corner lies off the Earth, or there is no CRS.

    Parameters
    ----------
    root : Zarr group of the arrays
    tiles : DataFrame with source, y, x, height, width
    """
    import shapely

    found = np.empty(len(tiles), object)
    for source in tiles["source"].unique():
        transform, crs = arrays.transform_of(root[source]), arrays.grid_of(root[source])[0]
        if crs is None:
            continue
        here = (tiles["source"] == source).to_numpy()
        at, size = (tiles.loc[here, list(c)].to_numpy() for c in (("y", "x"), ("height", "width")))
        shapes = grids.footprints(at, size, transform, crs).to_numpy()
        known = np.isfinite(shapely.bounds(shapes)).all(axis=1)
        found[here] = np.where(known, shapes, None)
    return found


def statistics(root: Any, areas: list[Area]) -> dict:
    """Mean, spread and covariance of the valid training pixels, and the 2 and 98 % points of a sample of them."""
    moments, sample = [], []
    scenes = [(area, i) for area in areas for i in area.scenes]
    each = max(1, 1_000_000 // max(1, len(scenes)))
    for area, i in scenes:
        box = slice(*area.y), slice(*area.x)
        valid = root[area.series]["valid"][(i, *box)]
        values = root[area.series]["inputs"][(i, slice(None), *box)][:, valid]
        moments.append(arrays.moments_of(values))
        sample.append(values[:, :: max(1, values.shape[1] // each)])
    found = arrays.merged(moments)
    low, high = np.percentile(np.concatenate(sample, axis=1).astype(np.float64), [2, 98], axis=1)
    return found | {"low": low.tolist(), "high": high.tolist()}


def array_faults(folder: Path, meta: dict, deep: bool) -> list[str]:
    """What is wrong with arrays.zarr: shapes, chunks, coordinates, times; `deep` reads every scene."""
    root, faults = open_arrays(folder)
    for source in meta["sources"] if root is not None else ():
        name, shape, n = source["name"], tuple(source["shape"]), source["scenes"]
        expected = {"inputs": (n, len(meta["channels"]), *shape), "valid": (n, *shape), "time": (n,), "spatial_ref": ()}
        if found := shape_faults(root, name, expected | {"y": shape[:1], "x": shape[1:]}, PLANES):
            faults += found
            continue
        faults += centre_faults(root, name)
        for i in range(n if deep else 0):
            odd = int(root[name]["valid"][i].sum()) - source["valid"][i]
            if odd:
                faults.append(f"arrays.zarr/{name}: scene {i} has {odd:+d} valid pixels against when it was written")
    return faults
