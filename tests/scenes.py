"""Small simulated scenes with known pixels, written as files, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

GRID = {"crs": "EPSG:32617", "west": 500_000.0, "north": 4_000_000.0, "pixel_m": 10.0}


@dataclass(frozen=True)
class Scene:
    """image.tif (4 bands, uint16, nodata 0) and mask.tif (codes 1, 2, 5; 0 unlabelled), 96 x 128 px of 10 m, UTM 17N."""

    folder: Path
    inputs: np.ndarray  # (4, 96, 128), 0 where there is no data
    codes: np.ndarray  # (96, 128)

    image = property(lambda self: self.folder / "image.tif")
    mask = property(lambda self: self.folder / "mask.tif")
    classes = "0=ignore,1=field,2=wood,5=lake"


def write_raster(
    path: Path,
    values: np.ndarray,
    nodata=None,
    crs=GRID["crs"],
    west=GRID["west"],
    north=GRID["north"],
    pixel_m=10.0,
    **more,
) -> Path:
    """Write (y, x) or (channel, y, x) as GeoTIFF, on the grid of a scene unless told otherwise."""
    import rasterio
    from rasterio.transform import from_origin

    values = values if values.ndim == 3 else values[None]
    shape = dict(zip(("count", "height", "width"), values.shape, strict=True))
    grid = {"crs": crs, "transform": from_origin(west, north, pixel_m, pixel_m)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", **({"driver": "GTiff", "dtype": values.dtype, "nodata": nodata} | shape | grid | more)
    ) as file:
        file.write(values)
    return path


def look_at(path: Path) -> None:
    """Leave beside a raster what a GIS does when somebody looks at it."""
    band = '<PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">1</MDI></Metadata></PAMRasterBand>'
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")


def make_scene(folder: Path, shape=(96, 128), seed=0) -> Scene:
    """Fields of three classes with a signature each, a corner without data, some pixels without label."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    rank = gaussian_filter(rng.normal(size=shape), 6, mode="wrap").ravel().argsort().argsort().reshape(shape)
    codes = np.array([1, 2, 5], np.uint8)[np.minimum(rank * 3 // rank.size, 2)]
    level = np.zeros((6, 4))
    level[[1, 2, 5]] = (400, 600, 500, 900), (300, 350, 280, 1200), (350, 300, 200, 90)
    inputs = level[codes].transpose(2, 0, 1) + rng.normal(scale=60, size=(4, *shape))
    inputs = inputs.clip(1).astype(np.uint16)
    codes[::17, ::13] = 0
    y, x = np.indices(shape)
    inputs[:, x + y < 30] = 0
    write_raster(folder / "image.tif", inputs, nodata=0)
    write_raster(folder / "mask.tif", codes)
    return Scene(folder, inputs, codes)
