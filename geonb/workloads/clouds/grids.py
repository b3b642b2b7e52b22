"""Where the pixels of scenes go: the crop to a region, the local metric grid, and the one resampling onto it.

A grid is (crs, transform, shape) as in :mod:`geonb.rasters.grids`, north up. Points that a satellite does not see (geostationary
coordinates off the disk) are not finite and never valid.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from geonb.rasters import grids

if TYPE_CHECKING:
    from rasterio.crs import CRS

    from geonb.workloads.clouds.frames import FrameLayer

Grid = tuple["CRS", Affine, tuple[int, int]]  # crs, transform, shape
Box = tuple[float, float, float, float]  # west, south, east, north, degrees; west above east: over the dateline
LONLAT = "OGC:CRS84"
POINTS = 65  # a side: how densely the outline and the inside of an area are followed into another CRS
LARGEST_PX = 30_000  # side of a grid beyond which a unit was mistaken


def parse_region(text: str | None) -> Box | None:
    """(west, south, east, north) in degrees of ``box:W,S,E,N``; west above east is a box over the dateline.

    Raises
    ------
    ValueError
        If it is not of that form.

    Examples
    --------
    >>> parse_region("box:-60,10,-50,20")
    (-60.0, 10.0, -50.0, 20.0)
    """
    return None if not text else parse_bounds(text, "region", "box:")


def parse_bounds(text: str, what: str = "bounds", prefix: str = "") -> Box:
    """(west, south, east, north) in degrees of ``W,S,E,N``.

    Raises
    ------
    ValueError
        If it is not of that form.
    """
    form = f"{prefix}W,S,E,N in degrees, as {prefix}-60,10,-50,20"
    try:
        west, south, east, north = (float(part) for part in str(text).strip().removeprefix(prefix).split(","))
    except ValueError:
        raise ValueError(f"{what} = {text!r} is not {form}.") from None
    degrees = -180 <= west <= 360 and -180 <= east <= 360 and west != east and -90 <= south < north <= 90
    if not degrees or not str(text).strip().startswith(prefix):
        raise ValueError(f"{what} = {text!r}: south must be less than north, and all be degrees. Write {form}.")
    return west, south, east, north


def target_grid(native: Grid, region: Box | None, pixel_m: float | None) -> Grid:
    """The grid that a scene comes to: its own, cropped, or a local metric one.

    Parameters
    ----------
    native : tuple = (crs, transform, shape)
    region : tuple = (west, south, east, north), degrees; None takes all
    pixel_m : float, m
        Side of the pixels; None keeps a projected grid as it is, and gives one in degrees its own resolution on the ground.

    Raises
    ------
    ValueError
        The region and the grid share nothing; the scene covers more than half of the globe; an absurd `pixel_m`.
    """
    if pixel_m is None and not native[0].is_geographic:
        return native if region is None else _cropped(native, region)
    return _local(native, region, pixel_m)


def _spread(box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Points over a box, edges included: x, y, each (POINTS * POINTS,)."""
    west, south, east, north = box
    x, y = np.meshgrid(np.linspace(west, east, POINTS), np.linspace(south, north, POINTS))
    return x.ravel(), y.ravel()


def _lonlat(region: Box) -> tuple[np.ndarray, np.ndarray]:
    west, south, east, north = region
    return _spread((west, south, east + 360 * (east < west), north))


def points(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Points over a grid, edges included, in its CRS: x, y, each (POINTS * POINTS,)."""
    return _spread(grids.bounds(*grid[1:]))


def transformed(source: CRS | str, target: CRS | str, x: Any, y: Any) -> tuple[Any, Any]:
    """Points from one CRS into another: x, y; not finite where it does not reach."""
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True).transform(x, y)


def moved(source: CRS | str, target: CRS | str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points from one CRS into another, only those that are finite there: x, y."""
    x, y = transformed(source, target, x, y)
    finite = np.isfinite(x) & np.isfinite(y)
    return x[finite], y[finite]


def _sides(grid: Grid, x: float, y: float) -> tuple[list[float], list[float]]:
    """Middles of the west, east, north and south side of a pixel around a point, in the grid's CRS: x, y."""
    half_x, half_y = grid[1].a / 2, grid[1].e / 2
    return [x - half_x, x + half_x, x, x], [y, y, y - half_y, y + half_y]


def _cropped(native: Grid, region: Box) -> Grid:
    rows, columns = window(native, *moved(LONLAT, native[0], *_lonlat(region)), margin_px=0)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(f"it has nothing of region = {_text(region)}; {where(native)}")
    shape = rows.stop - rows.start, columns.stop - columns.start
    return native[0], native[1] * Affine.translation(columns.start, rows.start), shape


def window(grid: Grid, x: np.ndarray, y: np.ndarray, margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of a grid that hold points (in its CRS) and a margin around them; empty slices if none does."""
    if not len(x):
        return slice(0, 0), slice(0, 0)
    _, transform, shape = grid
    across, down = ~transform * (x, y)
    found = []
    for values, length in ((down, shape[0]), (across, shape[1])):
        # a rounding error of a millionth of a pixel must not add a row
        first, last = math.floor(values.min() + 1e-6) - margin_px, math.ceil(values.max() - 1e-6) + margin_px
        found.append(slice(min(max(first, 0), length), max(min(last, length), 0)))
    return found[0], found[1]


def where(grid: Grid) -> str:
    """A few words on the part of the globe that a grid covers, for messages."""
    lon, lat = moved(grid[0], LONLAT, *points(grid))
    if not len(lon):
        return "none of it lies on the globe"
    return f"it lies in box:{lon.min():.4g},{lat.min():.4g},{lon.max():.4g},{lat.max():.4g}"


def _text(box: Box) -> str:
    return "box:" + ",".join(f"{v:g}" for v in box)


def _local(native: Grid, region: Box | None, pixel_m: float | None) -> Grid:
    """A grid in metres, equal-area around the middle of the region, or of the scene."""
    from rasterio.crs import CRS

    lon, lat = moved(native[0], LONLAT, *points(native))
    if region is not None:
        if not _holds(native, region):
            raise ValueError(f"it has nothing of region = {_text(region)}; {where(native)}")
        lon, lat = _lonlat(region)
    if not len(lon):
        raise ValueError("none of its pixels lies on the globe. Is its CRS right?")
    centre = _centre(lon, lat)
    own_m = ground_m(native, centre)
    pixel_m = float(f"{own_m:.3g}") if pixel_m is None else float(pixel_m)
    if not own_m / grids.FACTOR <= pixel_m <= own_m * grids.FACTOR:
        raise ValueError(
            f"pixel_m = {pixel_m:g} m for pixels of {own_m:.4g} m: at most {grids.FACTOR} times coarser or finer"
        )
    crs = CRS.from_string(f"+proj=laea +lat_0={centre[1]:.3f} +lon_0={centre[0]:.3f} +datum=WGS84 +units=m +no_defs")
    x, y = moved(LONLAT, crs, lon, lat)
    if np.ptp(lon) > 180 and np.abs([x, y]).max() > 9_000_000:
        raise ValueError("it covers more than half of the globe: choose a part with region = box:W,S,E,N")
    # whole pixels counted from the middle: the same region gives the same lattice, whatever the scene's own grid
    west, east = math.floor(x.min() / pixel_m + 1e-6), math.ceil(x.max() / pixel_m - 1e-6)
    south, north = math.floor(y.min() / pixel_m + 1e-6), math.ceil(y.max() / pixel_m - 1e-6)
    shape = north - south, east - west
    if max(shape) > LARGEST_PX:
        raise ValueError(
            f"pixel_m = {pixel_m:g} m makes {shape[0]} x {shape[1]} px; at most {LARGEST_PX} a side. Give a larger "
            "pixel_m or a smaller region"
        )
    return crs, Affine(pixel_m, 0, west * pixel_m, 0, -pixel_m, north * pixel_m), shape


def _holds(native: Grid, region: Box) -> bool:
    """Whether a grid has anything of a region."""
    x, y = moved(LONLAT, native[0], *_lonlat(region))
    west, south, east, north = grids.bounds(*native[1:])
    if native[0].is_geographic:
        x = west + (x - west) % 360
    return bool(((west <= x) & (x <= east) & (south <= y) & (y <= north)).any())


def _centre(lon: np.ndarray, lat: np.ndarray) -> tuple[float, float]:
    """Middle of places on the globe in degrees; longitudes may run over the dateline."""
    turned = np.exp(1j * np.radians(lon))
    middle = np.degrees(np.angle(turned.mean()))
    offset = (lon - middle + 180) % 360 - 180  # none of them far from 0, unless the whole globe is there
    middle = (middle + (offset.min() + offset.max()) / 2 + 180) % 360 - 180
    return round(float(middle), 3), round(float((lat.min() + lat.max()) / 2), 3)


def ground_m(grid: Grid, place: tuple[float, float]) -> float:
    """Side of a grid's pixels on the ground at a place (longitude, latitude), the geometric mean of both sides, m.

    Where the grid does not see the place it is the CRS's own unit that counts.
    """
    from pyproj import Geod

    lon, lat = transformed(grid[0], LONLAT, *_sides(grid, *transformed(LONLAT, grid[0], *place)))
    if not np.isfinite([*lon, *lat]).all():
        return float(np.sqrt(np.prod(grids.pixel_sides_m(*grid))))
    geod = Geod(ellps="WGS84")
    return float(np.sqrt(geod.inv(lon[0], lat[0], lon[1], lat[1])[2] * geod.inv(lon[2], lat[2], lon[3], lat[3])[2]))


def bring(layer: FrameLayer, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a layer on a grid: read as they are where the grid is a part of the layer's own, else resampled once.

    Returns
    -------
    inputs : ndarray (channel, y, x) of the layer's dtype, 0 where not valid
    valid : ndarray (y, x) of bool
    """
    layer = _turned(layer, grid) if layer.crs.is_geographic else layer
    own = (layer.crs, layer.transform, layer.shape)
    offset = _offset(own, grid)
    if offset is not None:
        rows, columns = (slice(o, o + n) for o, n in zip(offset, grid[2], strict=True))
        inputs, valid = layer.load(rows, columns)
        return _blank(inputs, valid), valid
    rows, columns = _source(own, grid)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return np.zeros((len(layer.channels), *grid[2]), layer.dtype), np.zeros(grid[2], bool)
    inputs, valid = layer.load(rows, columns)
    here = own[0], own[1] * Affine.translation(columns.start, rows.start), valid.shape
    return warp(inputs, valid, here, grid)


def _turned(layer: FrameLayer, grid: Grid) -> FrameLayer:
    """A layer in degrees that has its seam (180 degrees, or where it begins) opposite to a grid, if it is not so already.

    GDAL follows longitudes by straight pieces, and would draw one from 180 to -180 through the whole globe.
    """
    from rasterio.crs import CRS

    west, step, count = layer.transform.c, layer.transform.a, layer.shape[1]
    lon, lat = moved(grid[0], layer.crs, *points(grid))
    if not len(lon) or (west >= -180 - step and west + count * step <= 180 + step and np.ptp(lon) < 180):
        return layer
    middle = _centre(lon, lat)[0]
    circle = abs(count * step - 360) < step / 2  # it has no ends: it may begin anywhere
    first = round((middle - 180 - west) / step) if circle else 0
    begin = west + first * step - middle
    begin -= 360 * round((begin + count * step / 2) / 360)  # its middle as near as can be to the grid's
    crs = CRS.from_string(f"+proj=longlat +datum=WGS84 +pm={middle:.3f} +no_defs")
    transform = Affine(step, 0, begin, 0, layer.transform.e, layer.transform.f)
    return replace(layer, crs=crs, transform=transform, load=partial(_rolled, layer, first))


def _rolled(layer: FrameLayer, first: int, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Columns of a full circle, counted from the column `first` on."""
    count = layer.shape[1]
    start = (columns.start + first) % count
    parts = [slice(start, min(start + columns.stop - columns.start, count))]
    left = columns.stop - columns.start - (parts[0].stop - start)
    read = [layer.load(rows, part) for part in (*parts, *([slice(0, left)] if left else []))]
    return np.concatenate([r[0] for r in read], axis=2), np.concatenate([r[1] for r in read], axis=1)


@lru_cache(maxsize=256)
def _source(own: Grid, grid: Grid) -> tuple[slice, slice]:
    """Rows and columns of `own` that `grid` is made of."""
    # points between those followed may bulge out: a hundredth of the longer side covers what a POINTS-fold outline misses
    margin = 2 + math.ceil(_step(own, grid)) + max(own[2]) // 100
    return window(own, *moved(grid[0], own[0], *points(grid)), margin_px=margin)


def _offset(own: Grid, grid: Grid) -> tuple[int, int] | None:
    """Row and column at which a grid begins within another one, if it is a part of it, pixel on pixel."""
    if own[0] != grid[0] or not np.allclose((own[1].a, own[1].e), (grid[1].a, grid[1].e), rtol=1e-6):
        return None
    column, row = ~own[1] * (grid[1].c, grid[1].f)
    first = round(row), round(column)
    inside = all(f >= 0 and f + n <= m for f, n, m in zip(first, grid[2], own[2], strict=True))
    return first if inside and abs(row - first[0]) < 1e-3 and abs(column - first[1]) < 1e-3 else None


@lru_cache(maxsize=256)
def _step(own: Grid, grid: Grid) -> float:
    """How many pixels of `own` a pixel of `grid` spans, in its middle: above 1 the grid is coarser."""
    middle = grid[1] * (grid[2][1] / 2, grid[2][0] / 2)
    ends = transformed(grid[0], own[0], *_sides(grid, *middle))
    if not np.isfinite(ends).all():  # the middle is off the disk: by the units
        return math.sqrt(abs(grid[1].a * grid[1].e / (own[1].a * own[1].e)))
    (x0, x1, x2, x3), (y0, y1, y2, y3) = ends
    wide, askew = ((d + 180) % 360 - 180 if own[0].is_geographic else d for d in (x1 - x0, x3 - x2))
    area = abs(wide * (y3 - y2) - askew * (y1 - y0))
    return math.sqrt(area / abs(own[1].a * own[1].e))


def warp(inputs: np.ndarray, valid: np.ndarray, own: Grid, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Resample pixels onto a grid: averages where it is coarser, bilinear where it is finer, by valid pixels alone.

    Places are right to an eighth of a pixel, as GDAL follows a CRS.

    Parameters
    ----------
    inputs : ndarray (channel, y, x)
    valid : ndarray (y, x) of bool
    own, grid : tuple = (crs, transform, shape)

    Returns
    -------
    inputs : ndarray (channel, y, x) of the same dtype, 0 where not valid
    valid : ndarray (y, x) of bool: half or more of what a pixel is made of was valid
    """
    exact = np.float32 if np.can_cast(inputs.dtype, np.float32) else np.float64
    there = (_all_seen(own, grid) if valid.all() else _seen(valid, own, grid)).copy()
    warped = np.empty((len(inputs), *grid[2]), inputs.dtype)
    for i, plane in enumerate(inputs):
        out = _onto(np.where(valid, plane, np.nan).astype(exact), own, grid)
        there &= np.isfinite(out)
        if inputs.dtype.kind in "iu":
            limits = np.iinfo(inputs.dtype)
            out = np.clip(np.round(np.nan_to_num(out)), limits.min, limits.max)
        warped[i] = np.nan_to_num(out)
    return _blank(warped, there), there


def _seen(valid: np.ndarray, own: Grid, grid: Grid) -> np.ndarray:
    """Where half or more of what a pixel is made of is valid: ndarray (y, x) of bool."""
    rim = 1 + math.ceil(_step(own, grid))  # what lies beyond the edge is not valid either
    padded = np.pad(valid, rim).astype(np.float32)
    wider = own[0], own[1] * Affine.translation(-rim, -rim), padded.shape
    return _onto(padded, wider, grid) >= 0.5  # NaN far outside


@lru_cache(maxsize=8)
def _all_seen(own: Grid, grid: Grid) -> np.ndarray:
    # scenes of a series mostly have no gap: as fast as one channel less
    return _seen(np.ones(own[2], bool), own, grid)


def _onto(plane: np.ndarray, own: Grid, grid: Grid) -> np.ndarray:
    """Resample a plane (y, x) in which NaN stands for nothing."""
    from rasterio.enums import Resampling
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.warp import reproject

    # rasterio makes images in memory and hushes this itself, but that does not hold in several threads
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.warp")
    out = np.full(grid[2], np.nan, plane.dtype)
    reproject(
        plane, out, src_transform=own[1], src_crs=own[0], src_nodata=np.nan,
        dst_transform=grid[1], dst_crs=grid[0], dst_nodata=np.nan,
        resampling=Resampling.average if _step(own, grid) > 1 else Resampling.bilinear, num_threads=1,
    )  # fmt: skip
    return out


def _blank(inputs: np.ndarray, valid: np.ndarray) -> np.ndarray:
    inputs[:, ~valid] = 0
    return inputs
