"""Pixel grids: windows, blocks, footprints, alignment, rasterising. Knows nothing of samples or stores.

A grid is a north-up (or south-up) raster lattice: `shape` (rows, columns), an affine `transform` and a CRS.
Offsets and sizes are whole pixels, rows before columns.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import geopandas as gpd
    from affine import Affine
    from pyproj import Transformer
    from rasterio.crs import CRS


SAME_DEG = 1e-7  # a hundredth of a metre: two CRSs that differ by less are one
REACH_PX = 2**30  # from the corner of a rectangle that is burnt
FACTOR = 50  # how many times coarser or finer a grid may become: beyond, a unit was mistaken


def offsets(length: int, size: int, stride: int) -> np.ndarray:
    """Offsets of windows along one axis: every `stride`, and one flush with the end, so that each pixel is covered.

    Parameters
    ----------
    length, size, stride : int, px

    Returns
    -------
    ndarray (window,) of int64; empty where the window is longer than the axis
    """
    if size > length:
        return np.empty(0, np.int64)
    starts = np.arange(0, length - size + 1, stride, dtype=np.int64)
    return starts if starts[-1] + size == length else np.append(starts, length - size)


def windows(shape: tuple[int, int], size: int, stride: int) -> np.ndarray:
    """Offsets of all square windows that lie inside a grid, row by row.

    Parameters
    ----------
    shape : tuple = (rows, columns)
    size, stride : int, px

    Returns
    -------
    ndarray (window, 2) of int64: y, x of the upper left pixel

    Raises
    ------
    ValueError
        If size or stride is not positive, or the window is larger than the grid.
    """
    faults = [f"{k} = {v} px is not positive" for k, v in (("size", size), ("stride", stride)) if v < 1]
    if size > min(shape):
        faults.append(f"size = {size} px is larger than the grid of {shape[0]} x {shape[1]} px")
    if faults:
        raise ValueError(f"No windows: {'; '.join(faults)}. Give a size from 1 to {min(shape)} and a stride from 1.")
    y, x = np.meshgrid(offsets(shape[0], size, stride), offsets(shape[1], size, stride), indexing="ij")
    return np.stack([y.ravel(), x.ravel()], axis=1)


def tiles(shape: tuple[int, int], size: int) -> Iterator[tuple[slice, slice]]:
    """Rectangles of at most `size` px that cover a grid once, row by row: the unit of all reading and writing."""
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            yield slice(y, min(y + size, shape[0])), slice(x, min(x + size, shape[1]))


def strips(length: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover an axis once."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def block_shape(shape: tuple[int, int], block: int) -> tuple[int, int]:
    """Rows and columns of the lattice of `block` px squares over a grid; the last ones may be cut short."""
    return -(-shape[0] // block), -(-shape[1] // block)


def pixels_of_blocks(blocks: np.ndarray, block: int, shape: tuple[int, int]) -> np.ndarray:
    """Spread a value a block over its pixels: ndarray (y, x) of the grid's shape."""
    return np.repeat(np.repeat(blocks, block, axis=0), block, axis=1)[: shape[0], : shape[1]]


def centres(transform: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixel centres, in units of the CRS: y (rows,), x (columns,)."""
    y = transform.f + transform.e * (np.arange(shape[0]) + 0.5)
    x = transform.c + transform.a * (np.arange(shape[1]) + 0.5)
    return y, x


def bounds(transform: Affine, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a grid's outer edges, in units of its CRS."""
    xs = sorted((transform.c, transform.c + transform.a * shape[1]))
    ys = sorted((transform.f, transform.f + transform.e * shape[0]))
    return xs[0], ys[0], xs[1], ys[1]


def beyond_180(crs: CRS, transform: Affine, shape: tuple[int, int]) -> CRS:
    """The CRS to warp a grid out of: its own, or, where its degrees go on beyond 180 or before -180, one that counts them so too.

    PROJ brings every longitude to -180..180 else, and finds no pixel at -175 in a grid from 170 to 190.

    Raises
    ------
    ValueError
        If the CRS cannot be told so: a PROJ string has no word for most datums, and the image would lie hundreds of metres off.
    """
    west, south, east, north = bounds(transform, shape)
    if not crs.is_geographic or (west >= -180 - 1e-9 and east <= 180 + 1e-9):
        return crs
    import warnings

    import pyproj
    from rasterio.crs import CRS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a PROJ string leaves out: names
        told = pyproj.CRS.from_wkt(crs.to_wkt()).to_proj4()
    wrapped = CRS.from_string(f"{told} +lon_wrap={(west + east) / 2:.6f}")
    at = min(max((west + east) / 2, -180.0), 180.0), (south + north) / 2
    off = np.subtract(lonlat(crs, *at), lonlat(wrapped, *at))
    off[0] = (off[0] + 180) % 360 - 180
    if not (np.abs(off) <= SAME_DEG).all():
        raise ValueError(
            f"{crs.to_string()} from {west:g} to {east:g} degrees: its datum is lost where longitudes go on beyond 180. Warp the raster "
            "first: gdalwarp -t_srs EPSG:4326 raster.tif warped.tif"
        )
    return wrapped


def lonlat_bounds(crs: CRS, area: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """(west, south, east, north) in degrees (OGC:CRS84) of a box in any CRS, its edges densified."""
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(crs, "OGC:CRS84", *area, densify_pts=21)
    return round(float(west), 6), round(float(south), 6), round(float(east), 6), round(float(north), 6)


def lonlat(crs: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Longitude and latitude, degrees (OGC:CRS84), of places in any CRS; not finite where it leaves the Earth."""
    return _to_lonlat(crs).transform(x, y)


@functools.lru_cache(maxsize=16)
def _to_lonlat(crs: Any) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)


def on_earth(crs: Any) -> bool:
    """Whether a CRS says where on Earth its coordinates lie; a local one of a building site does not."""
    from pyproj.exceptions import CRSError, ProjError

    try:
        return _to_lonlat(crs) is not None
    except (CRSError, ProjError):
        return False


def pixel_size_m(crs: CRS, transform: Affine, shape: tuple[int, int]) -> float:
    """Side of a pixel in metres (the smaller one), on the ellipsoid at the grid's centre."""
    from pyproj import Geod

    x, y = transform * (shape[1] / 2, shape[0] / 2)
    lon, lat = lonlat(crs, [x, x + transform.a, x], [y, y, y + transform.e])
    geod = Geod(ellps="WGS84")
    return min(geod.inv(lon[0], lat[0], lon[i], lat[i])[2] for i in (1, 2))


def true_to_scale(crs: Any) -> bool:
    """Whether a unit of a CRS is one on the ground: of a projected one, but for Mercator, which grows with the latitude."""
    mercator = r'(PROJECTION|METHOD)\["(Popular Visualisation Pseudo )?Mercator'
    return crs.is_projected and not re.search(mercator, crs.to_wkt())


def pixel_sides_m(crs: CRS, transform: Affine, shape: tuple[int, int]) -> tuple[float, float]:
    """Height and width of a pixel in metres: by the CRS's unit if it is projected, else on the ellipsoid at the centre.

    There too in Mercator, whose metres are none: at 60 degrees north two of Web Mercator are one on the ground.
    """
    if true_to_scale(crs):
        factor = crs.linear_units_factor[1]
        return abs(transform.e) * factor, abs(transform.a) * factor
    from pyproj import Geod

    x, y = transform * (shape[1] / 2, shape[0] / 2)
    geod = Geod(ellps="WGS84")
    half_y, half_x = transform.e / 2, transform.a / 2
    lon, lat = lonlat(crs, [x, x, x - half_x, x + half_x], [y - half_y, y + half_y, y, y])
    return geod.inv(lon[0], lat[0], lon[1], lat[1])[2], geod.inv(lon[2], lat[2], lon[3], lat[3])[2]


def resampled(
    crs: CRS, transform: Affine, shape: tuple[int, int], resolution_m: float, tolerance: float = 1e-3
) -> tuple[Affine, tuple[int, int]] | None:
    """The grid of another pixel side that keeps the CRS and the upper left corner, and does not leave the old one.

    Parameters
    ----------
    resolution_m : float, m
        Side of the new pixels: by the CRS's unit, or on the ground at the grid's centre if the CRS is in degrees.
    tolerance : float
        Relative difference up to which the grid is left as it is.

    Returns
    -------
    (transform, shape), or None where the pixels have that side already

    Raises
    ------
    ValueError
        More than FACTOR times coarser or finer, or less than a pixel remains.
    """
    from affine import Affine

    sides = pixel_sides_m(crs, transform, shape)
    down, across = (resolution_m / side for side in sides)
    if abs(down - 1) <= tolerance and abs(across - 1) <= tolerance:
        return None
    size = int(shape[0] / down + tolerance), int(shape[1] / across + tolerance)
    if not 1 / FACTOR <= min(down, across) <= max(down, across) <= FACTOR or min(size) < 1:
        raise ValueError(
            f"resolution = {resolution_m:g} m for pixels of {sides[0]:.4g} x {sides[1]:.4g} m ({shape[0]} x {shape[1]} px): "
            f"at most {FACTOR} times coarser or finer, and one pixel at least must remain. The resolution is in metres"
        )
    return transform * Affine.scale(across, down), size


def footprints(offsets_px: np.ndarray, sizes_px: np.ndarray, transform: Affine, crs: CRS) -> gpd.GeoSeries:
    """Outlines of windows on the ground.

    Parameters
    ----------
    offsets_px : ndarray (window, 2): y, x
    sizes_px : ndarray (window, 2): height, width
    transform : Affine
    crs : CRS

    Returns
    -------
    GeoSeries (window,) of polygons in OGC:CRS84 (longitude, latitude); straight lines between the four corners
    """
    import geopandas as gpd
    import shapely

    y, x = offsets_px.T[:, :, None] + sizes_px.T[:, :, None] * np.array([[0, 0, 1, 1], [0, 1, 1, 0]])[:, None, :]
    lon, lat = lonlat(crs, transform.c + transform.a * x, transform.f + transform.e * y)
    return gpd.GeoSeries(shapely.polygons(np.stack([lon, lat], axis=-1)), crs="OGC:CRS84")


def same_grid(
    a: tuple[CRS, Affine, tuple[int, int]], b: tuple[CRS, Affine, tuple[int, int]], tolerance_px: float = 1e-3
) -> bool:
    """Whether two grids (crs, transform, shape) lie pixel on pixel.

    CRSs that differ in name only (EPSG:32119 and 3358, the same projection on two realisations of one datum) count
    as the same when the corners move by less than half a pixel: warping between them would only blur the edges.
    """
    if a[2] != b[2]:
        return False
    corners = [np.array([t * (0, 0), t * (s[1], s[0])]) for _, t, s in (a, b)]
    if np.abs(corners[0] - corners[1]).max() > tolerance_px * min(abs(a[1].a), abs(a[1].e)):
        return False
    if a[0] == b[0]:
        return True
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    west, south, east, north = bounds(a[1], a[2])
    x, y = np.array([west, east, east, west]), np.array([south, south, north, north])
    try:
        moved_x, moved_y = Transformer.from_crs(b[0], a[0], always_xy=True).transform(x, y, errcheck=True)
    except ProjError:
        return False
    return bool(np.max(np.hypot(moved_x - x, moved_y - y)) < 0.5 * min(abs(a[1].a), abs(a[1].e)))


def overlap(a: tuple[CRS, tuple], b: tuple[CRS, tuple]) -> bool:
    """Whether two boxes (crs, bounds) share any area; `b` is taken into the CRS of `a`."""
    from rasterio.errors import CRSError
    from rasterio.warp import transform_bounds

    try:
        other = transform_bounds(b[0], a[0], *b[1], densify_pts=21)
    except (CRSError, ValueError):
        return False
    here = a[1]
    if not np.isfinite(other).all():
        return False
    return min(here[2], other[2]) > max(here[0], other[0]) and min(here[3], other[3]) > max(here[1], other[1])


def burn(shapes: Any, transform: Affine, area: tuple[slice, slice], fill: int) -> np.ndarray:
    """Rasterise (geometry, value) pairs on a rectangle of a grid; a pixel belongs to what covers its centre.

    Returns
    -------
    ndarray (y, x) of int32; `fill` where nothing lies; the last of overlapping shapes wins
    """
    from affine import Affine
    from rasterio.features import rasterize

    rows, columns = area
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    if not shapes:
        return np.full(shape, fill, np.int32)
    here = transform * Affine.translation(columns.start, rows.start)
    shapes = _around(shapes, here)
    if not shapes:
        return np.full(shape, fill, np.int32)
    return rasterize(shapes, out_shape=shape, transform=here, fill=fill, dtype="int32")


def _around(shapes: list, transform: Affine) -> list:
    """(geometry, value) pairs, what reaches far cut: beyond 2**31 px GDAL burns nothing, without a word."""
    import shapely

    reach = REACH_PX * max(abs(transform.a), abs(transform.e))
    box = transform.c - reach, transform.f - reach, transform.c + reach, transform.f + reach
    bounds = shapely.bounds([shape for shape, _ in shapes])
    far = (bounds[:, :2] < box[:2]).any(axis=1) | (bounds[:, 2:] > box[2:]).any(axis=1)
    if not far.any():
        return shapes
    cut = [
        (shape.intersection(shapely.box(*box)) if out else shape, value)
        for (shape, value), out in zip(shapes, far, strict=True)
    ]
    return [(shape, value) for shape, value in cut if not shape.is_empty]


def crs_name(crs: Any) -> str:
    """Name and code of a CRS, ``NAD83 / North Carolina (EPSG:32119)``; without a name, its projection and where it stands.

    Where a file gives no code, GDAL's match stands in.
    """
    import pyproj
    from rasterio.crs import CRS

    own = pyproj.CRS.from_wkt(crs.to_wkt())
    authority = own.to_authority(min_confidence=60)
    epsg = None if authority else CRS.from_wkt(own.to_wkt("WKT1_GDAL")).to_epsg()
    if authority or epsg:
        code = ":".join(authority or ("EPSG", str(epsg)))
        name = pyproj.CRS.from_user_input(code).name
        return name if code.split(":")[1] in name else f"{name} ({code})"
    if own.name not in ("unknown", "undefined", "unnamed"):
        return own.name
    cf = own.to_cf()
    kind = str(cf.get("grid_mapping_name", "unknown")).replace("_", " ")
    lon, lat = cf.get("longitude_of_projection_origin"), cf.get("latitude_of_projection_origin")
    at = "" if lon is None else f", {abs(lon):g}°{'E' if lon >= 0 else 'W'}"
    return kind + (f", {abs(lat):g}°{'N' if lat >= 0 else 'S'}{at}" if lat else at)
