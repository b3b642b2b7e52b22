"""Small rasters made for tests of tiles: where they are and what they hold is known."""

from __future__ import annotations

import io

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

UTM = "EPSG:32633"
WEST, NORTH, SIDE = 500_000, 5_200_000, 30  # m


def write(path, values, crs=UTM, transform=None, nodata=None, tags=None, names=None, colours=None, **more):
    """A GeoTIFF of (band, y, x)."""
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    place = {} if crs is None else {"crs": crs, "transform": transform or from_origin(WEST, NORTH, SIDE, SIDE)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, count=len(values), height=values.shape[1], width=values.shape[2],
                       nodata=nodata, **place, **more) as data:  # fmt: skip
        if colours:
            data.write_colormap(1, colours)
        data.write(values)
        data.update_tags(**(tags or {}))
        if names:
            data.descriptions = names
    return path


def class_map(path, shape=(200, 300)):
    """Three classes in blocks, with colours and names as geonb writes them, and no data in the north-west."""
    y, x = np.indices(shape)
    values = ((x // 40 + y // 40) % 3).astype("u1")
    values[:50, :50] = 255
    colours = {0: (10, 20, 200, 255), 1: (40, 160, 40, 255), 2: (210, 180, 90, 255)}
    tags = {"CLASS_0": "water", "CLASS_1": "forest", "CLASS_2": "bare <soil>"}
    return write(path, values, nodata=255, colours=colours, tags=tags)


def gradient(shape=(200, 300), dtype="uint16", top=3000):
    y, x = np.indices(shape)
    return (1 + (top - 1) * (x + y) / (sum(shape) - 2)).astype(dtype)


def pixels(body):
    """A picture as (y, x, red green blue alpha)."""
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGBA"))
