"""Layers of a map: numbers as bytes that a browser colours, with north up, and so much of a grid as a screen shows."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

# cividis at eight places: readable with every common colour deficiency, dark is low
CIVIDIS = ("#00224e", "#253856", "#4f546e", "#707174", "#908f76", "#b5af65", "#ddd14e", "#fee838")
NOTHING = 255  # the byte of no number, no class
STEPS = 254  # of a number, between the lowest and the highest
LEVEL = 1  # of DEFLATE: a move waits for it
At = Mapping[str, Any]  # a Dim's name -> position; a name left out is open: all positions
Read = Callable[[int, At, Mapping[str, slice]], np.ndarray]  # position of a place, at, slices of y and x -> (..., y, x)


def nowhere(place: int, at: At, slices: Mapping[str, slice]) -> np.ndarray:
    """The `read` of a layer that the viewer makes of others."""
    raise TypeError("The viewer makes this layer of others: there is nothing to read.")


@dataclass(frozen=True)
class Grid:
    """Cells on the ground, rows from the north: bounds = (west, south, east, north) in the CRS, shape = (rows, columns)."""

    bounds: tuple[float, float, float, float]
    shape: tuple[int, int]

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the cell at a place, or None outside."""
        west, south, east, north = self.bounds
        if not (west <= x < east and south < y <= north):
            return None
        row, column = (north - y) / (north - south) * self.shape[0], (x - west) / (east - west) * self.shape[1]
        return min(int(row), self.shape[0] - 1), min(
            int(column), self.shape[1] - 1
        )  # so near to a side, it is rounded to it

    def window(
        self, view: Sequence[float], pixels: float | Sequence[float]
    ) -> tuple[dict[str, slice], tuple[float, float, float, float]]:
        """Slices that show a view = (west, south, east, north) in `pixels` a side, or (wide, high), and the ground they cover.

        Strided where the view has more cells than that, so that only so much is kept in memory and sent: at most one cell more,
        where both edges cut through one. Of a raster that fills half the view, half as much comes.
        """
        west, south, east, north = self.bounds
        size_x, size_y = (east - west) / self.shape[1], (north - south) / self.shape[0]
        left, right = _span((view[0] - west) / size_x, (view[2] - west) / size_x, self.shape[1])
        top, bottom = _span((north - view[3]) / size_y, (north - view[1]) / size_y, self.shape[0])
        wide, high = np.broadcast_to(pixels, 2)
        step = max(1, math.ceil(max((view[2] - view[0]) / size_x / wide, (view[3] - view[1]) / size_y / high) - 1e-9))
        columns, rows = -(-(right - left) // step), -(-(bottom - top) // step)
        slices = {"y": slice(top, bottom, step), "x": slice(left, right, step)}
        x, y = west + left * size_x, north - top * size_y
        return slices, (x, y - rows * step * size_y, x + columns * step * size_x, y)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Whole pixels from low to high inside a side of `size`; at least one."""
    first = int(np.clip(np.floor(low), 0, size - 1))
    return first, int(np.clip(np.ceil(high), first + 1, size))


@dataclass(frozen=True)
class Layer:
    """One thing to see on a map.

    Attributes
    ----------
    name, title : str, for code and for people
    kind : "classes" (whole numbers from 0), "numbers", "image", or "error" (where `of`, a guess and its truth, disagree)
    read : function of (position of the place, at, slices of y and x) -> array
        (..., y, x): the dims that `at` leaves open come first, in the order of `dims`; NaN, or a class that is not there, is
        nothing. For an image (y, x, 4) uint8.
    dims : names of the Dims that its numbers depend on
    grid : str, name of its Grid in each place
    labels, colours : of classes: a name and "#rrggbb" each ("" lets through); of numbers: colours from low to high
    low, high : float, between which colours lie; None where each plane has its own
    power : float; colours follow ((value - low) / (high - low)) ** power
    form : "percent", "integer", or figures that count, as "3"
    shown : bool; False is told by a click only
    note : str, under the legend
    ticks : values told beside the colours; the ends and the middle where there are none
    steps : int, between low and high; fewer are less to send
    """

    name: str
    title: str
    kind: str
    read: Read = nowhere
    dims: tuple[str, ...] = ()
    grid: str = ""
    labels: Sequence[str] = ()
    colours: Sequence[str] = CIVIDIS
    low: float | None = None
    high: float | None = None
    power: float = 1.0
    form: str = "3"
    unit: str = ""
    shown: bool = True
    of: tuple[str, ...] = ()
    note: str = ""
    ticks: Sequence[float] = ()
    steps: int = STEPS

    def facts(self) -> dict[str, Any]:
        """The layer as the viewer reads it."""
        told = {name: value for name, value in vars(self).items() if name != "read"}
        return told | {"labels": list(self.labels), "colours": list(self.colours), "ticks": list(self.ticks)}

    def limits(self, values: np.ndarray) -> tuple[float, float]:
        """The values of the first and of the last byte: the layer's own, or those of the values; whole numbers stay whole."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        whole = known.size and high - low <= STEPS and bool((known == np.rint(known)).all())
        return low, low + STEPS if whole else high if high > low else low + max(1.0, abs(low))

    def codes(self, values: np.ndarray, low: float, high: float, steps: int = STEPS) -> np.ndarray:
        """Values as bytes: a class by its number, a number in `steps` between low and high; 255 for nothing."""
        if self.kind == "classes":
            there = np.isfinite(values) & (values >= 0) & (values < len(self.labels))
            return np.where(there, values, NOTHING).astype(np.uint8)
        known = np.isfinite(values)
        share = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1) ** self.power
        return np.where(known, np.rint(np.rint(share * steps) / steps * STEPS), NOTHING).astype(np.uint8)


def from_array(
    arrays: Sequence[xr.DataArray | None],
    dims: Sequence[str],
    after: Callable[[np.ndarray], np.ndarray] | None = None,
    overviews: Sequence[xr.DataArray | None] | None = None,
    factor: int = 1,
) -> Read:
    """A layer's `read` from arrays with north up, one a place, of which only what is asked for is read.

    Parameters
    ----------
    arrays : DataArray (dims ..., y, x) each; None where a place has none: nothing is there
    after : function of what was read (..., y, x), as the largest along a dim
    overviews : the same arrays at every `factor`-th pixel a side, read where no more is shown; None where there is none
    """

    def read(place: int, at: At, slices: Mapping[str, slice]) -> np.ndarray:
        array = arrays[place]
        if array is None:
            return np.full((1, 1), np.nan)
        small = None if overviews is None else overviews[place]
        here: dict[str, Any] = dict(slices)
        if small is not None and min(s.step or 1 for s in slices.values()) >= factor:
            rows = {axis: np.arange(*s.indices(array.sizes[axis])) // factor for axis, s in slices.items()}
            array, here = small, {axis: np.minimum(v, small.sizes[axis] - 1) for axis, v in rows.items()}
        positions = {dim: at[dim] for dim in dims if dim in at and dim in array.dims}
        values = array.isel(positions | here).transpose(*(d for d in dims if d not in positions), ..., "y", "x")
        return after(values.values) if after else values.values

    return read


def encoded(layer: Layer, values: np.ndarray, exact: bool = False) -> tuple[dict[str, Any], bytes]:
    """One plane (y, x) as a file for the browser, WebP of an image, else DEFLATE of bytes, and how to read it.

    `exact` sends numbers as float32: what is counted must not depend on the steps in which they are shown. Bytes are `filtered`
    where that is shorter, as smooth fields are: each then lacks the sum of those above and left of it (modulo 256).
    """
    height, width = values.shape[:2]
    if layer.kind == "image":
        return {"height": height, "width": width, "image": True}, webp(values)
    values = values.astype(float) if values.dtype == bool else values
    low, high = (0.0, float(STEPS)) if layer.kind == "classes" else layer.limits(values)
    exact &= layer.kind == "numbers"
    about = {"height": height, "width": width, "low": low, "high": high, "exact": exact}
    if exact:
        return about, zlib.compress(values.astype("<f4").tobytes(), LEVEL)
    codes = layer.codes(values, low, high, layer.steps)
    plain, small = (zlib.compress(one.tobytes(), LEVEL) for one in (codes, filtered(codes)))
    return about | {"filtered": len(small) < len(plain)}, min(plain, small, key=len)


def filtered(codes: np.ndarray) -> np.ndarray:
    """Bytes (y, x) less those above and left of them, modulo 256: their sums along y and x are the bytes again."""
    return np.diff(np.diff(codes, axis=1, prepend=np.uint8(0)), axis=0, prepend=np.uint8(0))


def webp(colours: np.ndarray, quality: int = 80) -> bytes:
    """Colours (y, x, 3 or 4) uint8 as WebP, transparent where they are."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()


def north_up(data: xr.Dataset) -> xr.Dataset:
    """The Dataset with its first row in the north."""
    return data.isel(y=slice(None, None, -1)) if data.sizes["y"] > 1 and data.y[0] < data.y[-1] else data


def group_of(arrays: xr.DataTree | None, name: str) -> xr.Dataset | None:
    """A group of a store's arrays with north up; None where there is none."""
    return north_up(arrays[name].to_dataset()) if arrays is not None and name in arrays.children else None


def painted(layer: Layer, values: np.ndarray) -> np.ndarray:
    """One plane (y, x) as colours (y, x, 4) uint8, as the viewer paints it; nothing is transparent."""
    if layer.kind == "image":
        return values
    low, high = (0.0, float(STEPS)) if layer.kind == "classes" else layer.limits(values)
    return colour_table(layer)[layer.codes(values, low, high)]


def colour_table(layer: Layer) -> np.ndarray:
    """Colours (256, 4) uint8 of a layer's bytes."""
    table = np.zeros((256, 4), np.uint8)
    colours = np.array([_rgba(colour) for colour in layer.colours])
    if layer.kind == "classes":
        table[: len(colours)] = colours
    else:
        at = np.linspace(0, len(colours) - 1, NOTHING)
        table[:NOTHING] = np.stack([np.interp(at, range(len(colours)), band) for band in colours.T], -1).round()
    return table


def _rgba(colour: str) -> tuple[int, ...]:
    """``#b2182b`` or ``#b2182bff`` as four bytes; "" is transparent."""
    return tuple(bytes.fromhex((colour.lstrip("#") + "ff")[:8])) if colour else (0, 0, 0, 0)


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
