"""The arrays of a sample store: every source on its own grid in one Zarr, and what is counted over them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from geonb.rasters import grids

CHUNK_PX = 512
TILE_PX = 2 * CHUNK_PX  # side of the rectangles in which arrays are filled and counted
PLANES = ("inputs", "targets", "valid")


def strips(rows: int) -> list[slice]:
    """Strips of rows for threads to share; whole chunks, so that no two threads write into one."""
    return grids.strips(rows, -(-TILE_PX // CHUNK_PX) * CHUNK_PX)


def source_facts(name: str, crs: Any, transform: Any, shape: tuple[int, int]) -> dict:
    """What store.json says of a source's grid; of one without a CRS nobody knows how large its pixels are."""
    if crs is None:
        return {"name": name, "crs": None, "shape": [int(n) for n in shape], "resolution": None, "pixel_m": None}
    code = crs.to_epsg()  # the exact definition is in the arrays' spatial_ref
    return {
        "name": name,
        "crs": f"EPSG:{code}" if code else crs.to_wkt(),
        "shape": [int(n) for n in shape],
        "resolution": [abs(transform.a), abs(transform.e)],
        "pixel_m": round(grids.pixel_size_m(crs, transform, shape), 3),
    }


def seal(folder: Path, classes: list[dict], facts: list[dict], **more: Any) -> None:
    """Write the root's attributes and gather all metadata in one file, which makes opening quick."""
    import zarr

    group = zarr.open_group(folder, mode="r+")
    group.attrs.update({"Conventions": "CF-1.11", "classes": classes, "sources": facts, **more})
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
    """Without the warnings that text and gathered metadata are extensions of Zarr 3: xarray reads both."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="(?s).*(does not have a Zarr V3 specification|Consolidated metadata).*"
        )
        yield
