"""Files that GDAL and QGIS open without us: anything on a grid as cloud-optimised GeoTIFF, class and probability maps among it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray  # noqa: F401  (the .rio accessor)
import xarray as xr
from rasterio.enums import Resampling
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geonb.base.files import whole_file
from geonb.rasters.grids import tiles

NODATA = 255
# Probabilities as bytes: 250 steps of .004, far below what a network can tell, at a quarter of float32's size.
SCALE = 0.004


def write_class_map(
    scene: xr.Dataset, path: str | Path, colours: Sequence[str], model: str = "network", *,
    tags: Mapping[str, Any] | None = None, onto: TargetGrid | None = None,
) -> Path:  # fmt: skip
    """Write the most probable class as a COG with class names, colours and overviews.

    Parameters
    ----------
    scene : Dataset, one group of predictions.zarr
    path : where to write; appears whole or not at all
    colours : hex colours in class order
    tags : more metadata of the file, by name
    onto : another grid to write on, if not the scene's: the nearest pixel's class

    Returns
    -------
    The path.
    """
    label = scene["label"].sel(model=model)
    names = {f"CLASS_{i}": str(name) for i, name in enumerate(scene["class"].values)}

    def read(piece: dict[str, slice]) -> np.ndarray:
        return label.isel(piece).to_numpy()[None]

    with new_cog(path, onto or TargetGrid.of(scene), count=1, overviews="MODE") as target:
        target.write_colormap(1, {i: _rgba(colour) for i, colour in enumerate(colours)})
        target.set_band_description(1, "most probable class")
        target.update_tags(**names, **(tags or {}))
        _fill(target, scene, read, onto, "nearest")
    return Path(path)


def write_probability_map(
    scene: xr.Dataset, path: str | Path, model: str = "network", *,
    tags: Mapping[str, Any] | None = None, onto: TargetGrid | None = None,
) -> Path:  # fmt: skip
    """Write class probabilities as a COG, a band a class, in bytes with GDAL scale .004 (255 = no data).

    Those of a scene may be such bytes already. Onto another grid than the scene's they are interpolated bilinearly; for the rest
    see :func:`write_class_map`.
    """
    probability = scene["probability"].sel(model=model)

    def read(piece: dict[str, slice]) -> np.ndarray:
        values = probability.isel(piece).to_numpy()
        return values if values.dtype == np.uint8 else as_bytes(values.astype(np.float32))

    with new_cog(path, onto or TargetGrid.of(scene), count=scene.sizes["class"], overviews="AVERAGE") as target:
        target.scales = (SCALE,) * target.count
        target.update_tags(units="1", long_name="class probability", **(tags or {}))
        for band, name in enumerate(scene["class"].values, 1):
            target.set_band_description(band, str(name))
        _fill(target, scene, read, onto, "bilinear", side=512)
    return Path(path)


def as_bytes(probability: np.ndarray) -> np.ndarray:
    """Probabilities float32 as bytes of SCALE each, NODATA where they are NaN."""
    steps = probability / SCALE
    np.rint(steps, out=steps)
    steps[np.isnan(steps)] = NODATA
    return steps.astype(np.uint8)


@dataclass(frozen=True)
class TargetGrid:
    """A grid to write on, and which of its pixels hold data: `known(rows, columns)`; None = as the scene says."""

    crs: Any
    transform: Any
    shape: tuple[int, int]
    known: Callable[[slice, slice], np.ndarray] | None = None

    @classmethod
    def of(cls, scene: xr.Dataset) -> TargetGrid:
        return cls(scene.rio.crs, scene.rio.transform(), (scene.sizes["y"], scene.sizes["x"]))


def _fill(
    target: DatasetWriter, scene: xr.Dataset, read: Callable[[dict[str, slice]], np.ndarray], onto: TargetGrid | None,
    resampling: str, side: int = 2048,
) -> None:  # fmt: skip
    """Write a scene piece by piece; onto another grid by way of a file on its own."""
    own = TargetGrid.of(scene)
    if onto is None:
        for window, piece in _pieces(own.shape, side):
            target.write(read(piece), window=window)
        return
    between = Path(f"{target.name}.between.tif")  # beside the target, and swept with it
    with rasterio.open(between, "w", **_profile(own, target.count)) as plain:
        for window, piece in _pieces(own.shape, side):
            plain.write(read(piece), window=window)
    grid = {"crs": onto.crs, "transform": onto.transform, "height": onto.shape[0], "width": onto.shape[1]}
    method = Resampling[resampling]
    with rasterio.open(between) as plain, WarpedVRT(plain, resampling=method, nodata=NODATA, **grid) as seen:
        for window, piece in _pieces(onto.shape, side):
            values = seen.read(window=window)
            if onto.known is not None:
                values[:, ~onto.known(piece["y"], piece["x"])] = NODATA
            target.write(values, window=window)
    between.unlink()


def _profile(grid: TargetGrid, count: int, dtype: str = "uint8", nodata: float | None = NODATA) -> dict[str, Any]:
    return {
        "driver": "GTiff", "dtype": dtype, "count": count, "height": grid.shape[0], "width": grid.shape[1],
        "crs": grid.crs, "transform": grid.transform, "nodata": nodata, "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer", "num_threads": "all_cpus",
    }  # fmt: skip


@contextmanager
def new_cog(
    path: str | Path, grid: TargetGrid, count: int, *, dtype: str = "uint8", nodata: float | None = NODATA,
    overviews: str | None = None,
) -> Iterator[DatasetWriter]:  # fmt: skip
    """A GeoTIFF open for writing by rows; on success it becomes the COG at `path`, on failure nothing stays.

    Parameters
    ----------
    count : int, bands
    overviews : str, optional
        How they are resampled, in GDAL's word; its own choice when left out.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # GDAL's own level, 6, takes half as long again for files a twentieth smaller: benchmarks/README.md
    cog = {"COMPRESS": "DEFLATE", "LEVEL": "1", "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"}
    cog |= {"OVERVIEW_RESAMPLING": overviews} if overviews else {}
    with whole_file(path, ".tif") as partial, rasterio.Env(GDAL_CACHEMAX=64 << 20, GDAL_PAM_ENABLED=False):
        plain = Path(f"{partial}.plain.tif")
        with rasterio.open(plain, "w", **_profile(grid, count, dtype, nodata)) as target:
            yield target
        copy(plain, partial, driver="COG", **cog)
        plain.unlink()  # before the map has its name: who finds it there never looks for what a kill left beside it


def cut_short(path: str | Path) -> bool:
    """Whether a GeoTIFF ends before its pixels do: of a file whose copy or disk failed, the header may be all there is."""
    size = Path(path).stat().st_size
    with rasterio.open(path) as data:
        (height, width), bands = data.block_shapes[0], {1, data.count}
        places = product(range(-(-data.width // width)), range(-(-data.height // height)), bands)
        for x, y, band in places:
            at, length = (
                int(data.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", band) or 0) for what in ("OFFSET", "SIZE")
            )
            if at + length > size:
                return True
    return False


def _pieces(shape: tuple[int, int], side: int = 2048) -> Iterator[tuple[Window, dict[str, slice]]]:
    """Windows of a grid, whole tiles of the GeoTIFF each, so that memory does not grow with the scene."""
    for rows, columns in tiles(shape, side):
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        yield window, {"y": rows, "x": columns}


def _rgba(colour: str) -> tuple[int, int, int, int]:
    return (*bytes.fromhex(colour.lstrip("#")), 255)
