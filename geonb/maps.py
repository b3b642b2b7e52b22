"""Predictions as files that GDAL and QGIS open without us: class and probability maps as cloud-optimised GeoTIFF."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray  # noqa: F401  (the .rio accessor)
import xarray as xr
from rasterio.shutil import copy
from rasterio.windows import Window

from geonb.grids import tiles

NODATA = 255
# Probabilities as bytes: 250 steps of .004, far below what a network can tell, at a quarter of float32's size.
SCALE = 0.004


def write_class_map(scene: xr.Dataset, path: str | Path, colours: Sequence[str], model: str = "network") -> Path:
    """Write the most probable class as a COG with class names, colours and overviews.

    Parameters
    ----------
    scene : Dataset, one group of predictions.zarr
    path : where to write; appears whole or not at all
    colours : hex colours in class order

    Returns
    -------
    The path.
    """
    label = scene["label"].sel(model=model)
    names = {f"CLASS_{i}": str(name) for i, name in enumerate(scene["class"].values)}
    with _cog(path, scene, count=1, resampling="MODE") as target:
        target.write_colormap(1, {i: _rgba(colour) for i, colour in enumerate(colours)})
        target.set_band_description(1, "most probable class")
        target.update_tags(**names)
        for window, piece in _pieces(scene):
            target.write(label.isel(piece).to_numpy(), 1, window=window)
    return Path(path)


def write_probability_map(scene: xr.Dataset, path: str | Path, model: str = "network") -> Path:
    """Write class probabilities as a COG, a band a class, in bytes with GDAL scale .004 (255 = no data)."""
    probability = scene["probability"].sel(model=model)
    with _cog(path, scene, count=scene.sizes["class"], resampling="AVERAGE") as target:
        target.scales = (SCALE,) * target.count
        target.update_tags(units="1", long_name="class probability")
        for band, name in enumerate(scene["class"].values, 1):
            target.set_band_description(band, str(name))
        for window, piece in _pieces(scene, side=512):
            values = probability.isel(piece).to_numpy().astype(np.float32)
            target.write(np.where(np.isnan(values), NODATA, np.rint(values / SCALE)).astype(np.uint8), window=window)
    return Path(path)


@contextmanager
def _cog(path: str | Path, scene: xr.Dataset, count: int, resampling: str):
    """A GeoTIFF open for writing by rows; on success it becomes the COG at ``path``, on failure nothing stays."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain, partial = path.with_suffix(".plain.partial.tif"), path.with_suffix(".partial.tif")
    profile: dict[str, Any] = {
        "driver": "GTiff", "dtype": "uint8", "count": count, "height": scene.sizes["y"], "width": scene.sizes["x"],
        "crs": scene.rio.crs, "transform": scene.rio.transform(), "nodata": NODATA, "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer", "num_threads": "all_cpus",
    }  # fmt: skip
    try:
        with rasterio.Env(GDAL_CACHEMAX=64, GDAL_PAM_ENABLED=False):
            with rasterio.open(plain, "w", **profile) as target:
                yield target
            cog = {
                "COMPRESS": "DEFLATE",
                "OVERVIEW_RESAMPLING": resampling,
                "BIGTIFF": "IF_SAFER",
                "NUM_THREADS": "ALL_CPUS",
            }
            copy(plain, partial, driver="COG", **cog)
        partial.replace(path)
    finally:
        plain.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def _pieces(scene: xr.Dataset, side: int = 2048):
    """Windows of the scene, whole tiles of the GeoTIFF each, so that memory does not grow with the scene."""
    for rows, columns in tiles((scene.sizes["y"], scene.sizes["x"]), side):
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        yield window, {"y": rows, "x": columns}


def _rgba(colour: str) -> tuple[int, int, int, int]:
    return (*bytes.fromhex(colour.lstrip("#")), 255)
