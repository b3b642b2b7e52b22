"""Layers of a map, live or frozen: numbers as colours, with north up, and so much of a grid as a screen shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

# cividis at eight places: readable with every common colour deficiency, dark is low
RAMP = (
    (0, 34, 78),
    (37, 56, 110),
    (79, 84, 110),
    (112, 113, 116),
    (144, 143, 118),
    (181, 175, 104),
    (221, 209, 78),
    (254, 232, 56),
)


def packed_rgba(rgb: np.ndarray, alpha: np.ndarray | float = 1.0) -> np.ndarray:
    """(y, x, 3) uint8 and opacity 0-1 -> (y, x) uint32 as Bokeh's image_rgba wants it, the south row first."""
    out = np.empty((*rgb.shape[:2], 4), np.uint8)
    out[..., :3] = rgb
    out[..., 3] = np.broadcast_to(np.asarray(alpha) * 255, rgb.shape[:2]).astype(np.uint8)
    return np.ascontiguousarray(out.view(np.uint32)[::-1, :, 0])


def rgb_bytes(colour: str) -> tuple[int, int, int]:
    """``#b2182b`` as three bytes."""
    red, green, blue = bytes.fromhex(colour.lstrip("#")[:6])
    return red, green, blue


def colour_table(colours: Sequence[str]) -> np.ndarray:
    """Colour of each class index (256, 3) uint8."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = [rgb_bytes(colour) for colour in colours]
    return table


def paint_probability(values: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Probability 0-1 (y, x) -> uint32 colours; below the threshold, and where there is none, transparent."""
    known = np.isfinite(values)
    place = np.clip(np.where(known, values, 0), 0, 1) * (len(RAMP) - 1)
    ramp = np.array(RAMP, float)
    low = np.minimum(place.astype(int), len(RAMP) - 2)
    rgb = ramp[low] + (place - low)[..., None] * (ramp[low + 1] - ramp[low])
    return packed_rgba(rgb.round().astype(np.uint8), known & (values >= threshold))


def north_up(data: xr.Dataset) -> xr.Dataset:
    """The Dataset with its first row in the north."""
    return data.isel(y=slice(None, None, -1)) if data.sizes["y"] > 1 and data.y[0] < data.y[-1] else data


def group_of(arrays: xr.DataTree | None, name: str) -> xr.Dataset | None:
    """A group of a store's arrays with north up; None where there is none."""
    return north_up(arrays[name].to_dataset()) if arrays is not None and name in arrays.children else None


def cell_at(bounds: Sequence[float], shape: tuple[int, int], x: float, y: float) -> tuple[int, int] | None:
    """Row (from the north) and column of the cell of a grid at a place, or None outside."""
    west, south, east, north = bounds
    if not (west <= x < east and south < y <= north):
        return None
    return int((north - y) / (north - south) * shape[0]), int((x - west) / (east - west) * shape[1])


def window(
    whole: Sequence[float], shape: tuple[int, int], view: Sequence[float], pixels: int
) -> tuple[dict[str, slice], tuple[float, float, float, float]]:
    """Slices of a grid that show a view in at most `pixels` a side, and the ground they cover.

    The slices are strided where the view is larger than that, so that only so much is kept in memory.

    Parameters
    ----------
    whole : tuple = (west, south, east, north), outer edges of a grid of `shape` (rows, columns) with north up
    view : tuple = (west, south, east, north)
    """
    west, south, east, north = whole
    size_x, size_y = (east - west) / shape[1], (north - south) / shape[0]
    left, right = _span((view[0] - west) / size_x, (view[2] - west) / size_x, shape[1])
    top, bottom = _span((north - view[3]) / size_y, (north - view[1]) / size_y, shape[0])
    step = max(1, -(-max(right - left, bottom - top) // pixels))
    columns, rows = -(-(right - left) // step), -(-(bottom - top) // step)
    slices = {"y": slice(top, bottom, step), "x": slice(left, right, step)}
    x, y = west + left * size_x, north - top * size_y
    return slices, (x, y - rows * step * size_y, x + columns * step * size_x, y)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Whole pixels from low to high inside a side of `size`; at least one."""
    first = int(np.clip(np.floor(low), 0, size - 1))
    return first, int(np.clip(np.ceil(high), first + 1, size))
