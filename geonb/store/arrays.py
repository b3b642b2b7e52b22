"""The arrays of a sample store: every source on its own grid in one Zarr, and what is counted over them; how any Zarr is written.

Every chunk carries the format's checksum, and chunks of nothing but zeros are written like any other, so that a chunk that is
missing or was changed always means damage.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import threads, times
from geonb.base.conventions import IGNORE
from geonb.rasters import grids

if TYPE_CHECKING:
    import xarray as xr

CHUNK_PX = 512
TILE_PX = 2 * CHUNK_PX  # side of the rectangles in which arrays are filled and counted
PLANES = ("inputs", "targets", "valid")


def strips(rows: int) -> list[slice]:
    """Strips of rows for threads to share; whole chunks, so that no two threads write into one."""
    return grids.strips(rows, -(-TILE_PX // CHUNK_PX) * CHUNK_PX)


def compressors(level: int = 0) -> list[Any]:
    """What chunks are packed with: Zstandard, and a checksum that every reader of Zarr compares (crc32c)."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(level=level), Crc32cCodec()]


def summed(data: xr.Dataset, level: int = 0) -> xr.Dataset:
    """The Dataset, all of whose variables, coordinates too, will be written with `compressors`."""
    for variable in data.variables.values():
        variable.encoding["compressors"] = compressors(level)
    return data


def writable(group: Any) -> dict[str, Any]:
    """The arrays of a Zarr group by name, open for writing; of zeros, too, every chunk is written."""
    return {name: array.with_config({"write_empty_chunks": True}) for name, array in group.arrays()}


def empty_frame(shape: tuple[int, int, int], dtype: Any, transform: Any, crs: Any, channels: Any) -> xr.Dataset:
    """A source (channel, y, x) as :func:`geonb.rasters.images.frame` makes it, whose pixels come later, whatever their number."""
    import dask.array as da

    from geonb.rasters import images

    inputs, valid = da.zeros(shape, dtype=dtype, chunks=-1), da.zeros(shape[1:], dtype=bool, chunks=-1)
    return images.frame(inputs, valid, transform, crs, channels)


def create_group(folder: Path, name: str, data: xr.Dataset, chunk_px: int = CHUNK_PX) -> Any:
    """Lay out one source, still without pixels, as CF with coordinates and CRS; returns its Zarr group, open for writing.

    Parameters
    ----------
    data : of `empty_frame`, with what else lies on its grid (y, x)
    chunk_px : side of a chunk, all channels in one
    """
    import zarr

    chunk = min(chunk_px, data.sizes["y"]), min(chunk_px, data.sizes["x"])
    encoding: dict[Any, dict[str, Any]] = {}
    for variable in data.data_vars:
        data[variable].encoding.pop("grid_mapping", None)  # as attrs: an `encoding` argument would drop it
        data[variable].attrs["grid_mapping"] = "spatial_ref"
        bands = tuple(data.sizes[dim] for dim in data[variable].dims[:-2])
        encoding[variable] = {"compressors": compressors(1), "chunks": (*bands, *chunk)}
    with quiet_zarr():
        options: dict[str, Any] = {"mode": "a", "compute": False, "consolidated": False, "write_empty_chunks": True}
        summed(data).to_zarr(folder, group=name, encoding=encoding, **options)
    return zarr.open_group(folder, path=name, mode="r+")


def source_facts(name: str, crs: Any, transform: Any, shape: tuple[int, int]) -> dict:
    """What store.json says of a source's grid; of one without a CRS nobody knows how large its pixels are."""
    if crs is None:
        return {"name": name, "crs": None, "shape": [int(n) for n in shape], "resolution": None, "pixel_m": None}
    pixel_m = grids.pixel_size_m(crs, transform, shape)
    code = crs.to_epsg()  # the exact definition is in the arrays' spatial_ref
    return {
        "name": name,
        "crs": f"EPSG:{code}" if code else crs.to_wkt(),
        "shape": [int(n) for n in shape],
        "resolution": [abs(transform.a), abs(transform.e)],
        "pixel_m": round(pixel_m, 3 if pixel_m >= 1 else 6),
    }


def seal(folder: Path, facts: list[dict], **more: Any) -> None:
    """Write the root's attributes (of each source `facts`, and more) and gather all metadata in one file, which makes opening quick."""
    import zarr

    group = zarr.open_group(folder, mode="r+")
    group.attrs.update({"Conventions": "CF-1.11", "sources": facts, **more})
    with quiet_zarr():
        zarr.consolidate_metadata(folder)


def grid_of(group: Any) -> tuple[str | None, str, tuple[int, int]]:
    """(CRS as WKT or None, GeoTransform as text, shape) of a source's Zarr group."""
    reference = group["spatial_ref"].attrs
    return reference.get("crs_wkt"), reference["GeoTransform"], tuple(group["valid"].shape)


def transform_of(group: Any) -> Any:
    """Affine transform of a source's Zarr group."""
    from affine import Affine

    return Affine.from_gdal(*map(float, grid_of(group)[1].split()))


def times_of(group: Any) -> pd.DatetimeIndex:
    """Times of a source's Zarr group, UTC; NaT where unknown. Their units stand with them: days, milliseconds, or finer ones."""
    return times.decoded(group["time"][:], group["time"].attrs)


def merged(moments: Iterable[tuple[int, Any, Any]]) -> dict:
    """Statistics of all pixels from the moments of parts: see `training_statistics`.

    Parameters
    ----------
    moments : of each part, number of pixels, mean (channel,), products about the mean (channel, channel); of `moments_of`
    """
    n, mean, products = 0, np.zeros(()), np.zeros(())
    for m, part, inside in moments:
        if not m:
            continue
        delta = part - mean
        products = products + inside + np.outer(delta, delta) * (n * m / (n + m))
        mean = mean + delta * (m / (n + m))
        n += m
    if not n:
        raise ValueError("No training pixel is valid: raise the first of `shares`, or give more images")
    std = np.sqrt(np.diag(products) / n)
    return {
        "mean": mean.tolist(), "std": np.where(std > 0, std, 1.0).tolist(), "covariance": (products / n).tolist(),
        "pixels": n,
    }  # fmt: skip


def moments_of(values: np.ndarray) -> tuple[int, Any, Any]:
    """Of pixels (channel, pixel): number, mean of each channel, products about the mean, in float64."""
    values = values.astype(np.float64)
    if not values.shape[1]:
        return 0, None, None
    mean = values.mean(axis=1)
    values -= mean[:, None]
    return values.shape[1], mean, values @ values.T


@contextmanager
def quiet_zarr() -> Iterator[None]:
    """Without the warnings that text and gathered metadata are extensions of Zarr 3, and a manifest no part of it."""
    told = "does not have a Zarr V3 specification|Consolidated metadata|not recognized as a component"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f"(?s).*({told}).*")
        yield


def labelled(targets: np.ndarray) -> np.ndarray:
    """Which pixels of `targets` say something: class indices but for IGNORE, numbers but for NaN; ndarray of bool."""
    return ~np.isnan(targets) if targets.dtype.kind == "f" else targets != IGNORE


def block_counts(group: Any, n_classes: int, block: int) -> np.ndarray:
    """Count valid pixels by block and class; where there are no classes (`n_classes` = 0), by block.

    Returns
    -------
    ndarray (block row, block column, class + 1) of int64; valid pixels without a label come last
    """
    shape = group["valid"].shape
    counts = np.zeros((*grids.block_shape(shape, block), n_classes + 1), np.int64)
    tasks = [(group, y, x, n_classes, block) for y, x in grids.tiles(shape, TILE_PX)]
    for area, found in threads.spread(_block_counts, tasks):
        counts[area] += found
    return counts


def _block_counts(group: Any, y: slice, x: slice, n_classes: int, block: int) -> tuple[tuple, np.ndarray]:
    valid = group["valid"][y, x].astype(bool, copy=False)
    labels = group["targets"][y, x] if n_classes else np.zeros(valid.shape, np.uint8)
    by, bx = (np.arange(s.start, s.stop) // block for s in (y, x))
    rows, columns = by[-1] - by[0] + 1, bx[-1] - bx[0] + 1
    cell = (by - by[0])[:, None] * columns + (bx - bx[0])
    bins = cell * (n_classes + 1) + np.minimum(labels, n_classes)
    found = np.bincount(bins[valid], minlength=rows * columns * (n_classes + 1))
    return np.s_[by[0] : by[-1] + 1, bx[0] : bx[-1] + 1], found.reshape(rows, columns, n_classes + 1)


def training_statistics(groups: dict[str, Any], split: dict) -> dict:
    """Mean, standard deviation and covariance of the channels over the valid pixels of the training blocks, in one pass.

    Means and products of parts are merged (Chan, Golub & LeVeque 1983), in float64: no cancellation.

    Returns
    -------
    dict with mean (channel,), std (channel,; 1 where a channel is constant), covariance (channel, channel), all in the
    units of the inputs, and pixels, their number
    """
    tasks = [
        (group, y, x, np.array(split["blocks"][name], np.int8), split["block"])
        for name, group in groups.items()
        for y, x in grids.tiles(group["valid"].shape, TILE_PX)
    ]
    return merged(threads.spread(_moments, tasks))


def _moments(group: Any, y: slice, x: slice, blocks: np.ndarray, block: int) -> tuple[int, Any, Any]:
    """Of the training pixels of a rectangle: number, mean of each channel, products about the mean."""
    by, bx = (np.arange(s.start, s.stop) // block for s in (y, x))
    train = blocks[by[:, None], bx] == 1
    if not train.any():
        return 0, None, None
    train &= group["valid"][y, x].astype(bool, copy=False)
    return moments_of(group["inputs"][:, y, x][:, train])
