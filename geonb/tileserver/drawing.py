"""A tile of a layer as a picture, as an address asks for it, and the TileJSON that tells what there is to ask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import refuse
from geonb.tileserver.layers import Layer, Source, named, reader

if TYPE_CHECKING:
    from rio_tiler.models import ImageData

HALF = math.pi * 6_378_137  # of Web Mercator's square, m
DEEPEST = 30  # zoom; as in TileJSON
MOST_BUFFER = 256  # px
ASKED = {
    "bands": "numbers of one band or three, as 3,2,1",
    "rescale": "low,high of all bands or of each, as 0,3000",
    "colormap": "name of a colour map of one band, as viridis",
    "nodata": "the value that stands for no data, as 0 or nan",
    "buffer": f"pixels more on each side, 0 to {MOST_BUFFER}",
    "scheme": "xyz (rows from the north) or tms (from the south)",
}
# Level 1 of PNG: three times as fast as GDAL's own choice, files a seventh larger, and nobody pays for them on loopback.
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {"ZLEVEL": 1}),
    "jpg": ("JPEG", {"QUALITY": 85}),
    "webp": ("WEBP", {"QUALITY": 85}),
}
TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class Style:
    """How a layer is drawn.

    Attributes
    ----------
    bands : tuple of int, one or three, from 1
    ranges : tuple of (dark, bright), a band each; None draws bytes as they are
    colormap : str, optional; of one band
    nodata : float, optional, in place of what the file says
    own_colours : bool, by the file's own colour table
    buffer : int, px more on each side
    tms : bool, rows are counted from the south
    """

    bands: tuple[int, ...]
    ranges: tuple[tuple[float, float], ...] | None
    colormap: str | None = None
    nodata: float | None = None
    own_colours: bool = False
    buffer: int = 0
    tms: bool = False


def style_of(layer: Layer, asked: Mapping[str, str]) -> Style:
    """What an address asks for, and of what it leaves out the layer's own.

    Parameters
    ----------
    asked : by name, see `ASKED`

    Raises
    ------
    ValueError
        Lists every fault at once.
    """
    faults = [
        f"{name}: nothing is asked by that name; known are {', '.join(ASKED)}" for name in asked if name not in ASKED
    ]
    bands = _bands(layer, asked.get("bands"), faults)
    ranges = _ranges(asked.get("rescale"), len(bands), faults)
    colormap = _colormap(asked.get("colormap"), len(bands), faults) or layer.first.colormap
    nodata = _nodata(layer, asked.get("nodata"), faults)
    buffer, scheme = asked.get("buffer", "0"), asked.get("scheme", "xyz")
    if not (buffer.isascii() and buffer.isdigit() and int(buffer[:9]) <= MOST_BUFFER):
        faults.append(f"buffer={buffer}: give {ASKED['buffer']}")
    if scheme not in ("xyz", "tms"):
        faults.append(f"scheme={scheme}: give {ASKED['scheme']}")
    refuse(f"{layer.name}: this cannot be drawn", faults)
    own = bool(layer.first.colours) and ranges is None and colormap is None
    if ranges is None and not own:
        ranges = layer.ranges(bands, nodata)
    return Style(bands, ranges, colormap, nodata, own, int(buffer), scheme == "tms")


def _bands(layer: Layer, text: str | None, faults: list[str]) -> tuple[int, ...]:
    if text is None:
        return layer.first.shown
    count, numbers = len(layer.first.names), [n.strip() for n in text.split(",")]
    if len(numbers) in (1, 3) and all(n in map(str, range(1, count + 1)) for n in numbers):
        return tuple(map(int, numbers))
    named = ", ".join(f"{i} ({name})" for i, name in enumerate(layer.first.names[:20], 1))
    faults.append(f"bands={text}: give {ASKED['bands']}; there are {named}")
    return layer.first.shown


def _ranges(text: str | None, count: int, faults: list[str]) -> tuple[tuple[float, float], ...] | None:
    if text is None:
        return None
    try:
        numbers = [float(n) for n in text.split(",")]
    except ValueError:
        numbers = []
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) in (2, 2 * count) and all(math.isfinite(b - a) and b > a for a, b in pairs):
        return pairs if len(pairs) == count else pairs * count
    faults.append(f"rescale={text}: give {ASKED['rescale']}, the lower first")
    return None


def _colormap(name: str | None, count: int, faults: list[str]) -> str | None:
    if name is None:
        return None
    from rio_tiler.colormap import cmap

    if name not in cmap.list():
        faults.append(f"colormap={name}: no such colour map; known are {', '.join(sorted(cmap.list()))}")
    elif count != 1:
        faults.append(f"colormap={name}: colours are given to one band, and {count} are drawn; say which, as bands=1")
    return name


def _nodata(layer: Layer, text: str | None, faults: list[str]) -> float | None:
    if text is None:
        return None
    from rasterio.dtypes import in_dtype_range

    dtype = np.dtype(layer.first.dtype)
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    whole = dtype.kind == "f" or value.is_integer()
    if not math.isinf(value) and whole and in_dtype_range(value, dtype.name):
        return value
    faults.append(f"nodata={text}: give {ASKED['nodata']}; a value of {dtype}")
    return None


def box_of(z: int, x: int, y: int) -> tuple[float, float, float, float]:
    """Bounds of a tile in Web Mercator, m."""
    side = 2 * HALF / 2**z
    return -HALF + x * side, HALF - (y + 1) * side, -HALF + (x + 1) * side, HALF - y * side


def _degrees(x: float, y: float) -> tuple[float, float]:
    return math.degrees(x / 6_378_137), math.degrees(math.atan(math.sinh(max(-HALF, min(HALF, y)) / 6_378_137)))


def check_tile(z: int, x: int, y: int) -> None:
    """Refuse what is no tile.

    Raises
    ------
    ValueError
        Says what there is at that zoom.
    """
    if not 0 <= z <= DEEPEST:
        raise ValueError(f"Zoom {z} is none: give 0 to {DEEPEST}.")
    if not (0 <= x < 2**z and 0 <= y < 2**z):
        raise ValueError(f"Tile x = {x}, y = {y} is none of zoom {z}: there both go from 0 to {2**z - 1:,}.")


def draw(layer: Layer, z: int, x: int, y: int, style: Style, form: str = "png", side: int = 256) -> bytes:
    """A tile as a picture; where there is no data it is transparent (white as JPEG).

    Parameters
    ----------
    z, x, y : int, zoom, column from the west, row from the north
    form : str, one of `ENCODERS`
    side : int, px

    Raises
    ------
    ValueError
        If there is no such tile.
    OSError
        If a file cannot be read there; names it.
    """
    check_tile(z, x, y)
    west, south, east, north = box_of(z, x, y)
    more = (east - west) / side * style.buffer
    side += 2 * style.buffer
    box = (west - more, south - more, east + more, north + more)
    sources = layer.within((*_degrees(*box[:2]), *_degrees(*box[2:])))
    image = _read(sources, box, side, style) if sources else None
    if image is None:
        return _blank(side, form)
    data, alpha = _coloured(image, layer.first, style)
    return _encoded(data, alpha, form, bool(layer.first.colours)) if alpha.any() else _blank(side, form)


def _read(sources: list[Source], box: tuple[float, float, float, float], side: int, style: Style) -> ImageData:
    """The pixels of a box in Web Mercator: of each the first file's that has data there, looked up to the buffer's edge."""
    from rio_tiler.constants import WEB_MERCATOR_CRS
    from rio_tiler.mosaic import mosaic_reader

    def part(source: Source) -> ImageData:
        method = "nearest" if source.colours or source.classes else "bilinear"
        with named(source.path):
            image = reader(source).part(
                box, dst_crs=WEB_MERCATOR_CRS, bounds_crs=WEB_MERCATOR_CRS, width=side, height=side, indexes=style.bands,
                nodata=style.nodata, resampling_method=method, reproject_method=method,
            )  # fmt: skip
        if image.array.dtype.kind == "f":
            image.array.mask |= ~np.isfinite(image.array.data)  # what a file does not call nodata is none all the same
        return image

    if len(sources) == 1:
        return part(sources[0])
    return mosaic_reader(sources, part, threads=0)[0]  # other tiles are drawn beside this one


def _coloured(image: ImageData, source: Source, style: Style) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (1 or 3, y, x) and how opaque they are (y, x)."""
    from rio_tiler.colormap import apply_cmap, cmap

    alpha = np.where(image.array.mask.all(0), 0, 255).astype(np.uint8)
    if image.alpha_mask is not None and image.alpha_mask.dtype == np.uint8:
        alpha = image.alpha_mask
    if style.own_colours:
        table = np.zeros((max(source.colours) + 2, 4), np.uint8)  # the last: of what has no colour
        table[list(source.colours)] = list(source.colours.values())
        values = image.array.data[0]
        rgba = table[np.where((values >= 0) & (values < len(table)), values, len(table) - 1)]
        return np.moveaxis(rgba[..., :3], -1, 0), np.where(alpha > 0, rgba[..., 3], 0).astype(np.uint8)
    data = (image if style.ranges is None else image.rescale(style.ranges)).array.data
    return (apply_cmap(data, cmap.get(style.colormap))[0] if style.colormap else data), alpha


def _encoded(data: np.ndarray, alpha: np.ndarray, form: str, exact: bool) -> bytes:
    from rio_tiler.utils import render

    driver, options = ENCODERS[form]
    if form == "jpg":
        return render(np.where(alpha > 0, data, 255).astype(np.uint8), None, driver, **options)
    if form == "webp" and exact:
        options = {"LOSSLESS": "YES"}
    return render(np.ascontiguousarray(data), None if alpha.min() == 255 else alpha, driver, **options)


@lru_cache
def _blank(side: int, form: str) -> bytes:
    return _encoded(np.zeros((3, side, side), np.uint8), np.zeros((side, side), np.uint8), form, True)


def tilejson(layer: Layer, style: Style, tiles: str) -> dict[str, Any]:
    """A layer as TileJSON 3.0 (https://github.com/mapbox/tilejson-spec), and under `geonb` what its pixels mean.

    Parameters
    ----------
    tiles : str, address with {z}, {x} and {y}
    """
    (west, south, east, north), (low, high) = layer.bounds, layer.zooms
    middle = [(west + east) / 2, (south + north) / 2, _fitting((west, south, east, north), low, high)]
    first = layer.first
    classes = [
        {"value": value, "name": name, "colour": f"#{bytes(first.colours.get(value, (0, 0, 0))[:3]).hex()}"}
        for value, name in first.classes.items()
    ]
    count = len(layer.sources)
    told = {
        "tilejson": "3.0.0", "name": layer.name, "tiles": [tiles], "vector_layers": [], "scheme": "tms" if style.tms else "xyz",
        "bounds": [west, south, east, north], "center": middle, "minzoom": low, "maxzoom": high,
        "description": f"{first.path.name}{f' and {count - 1} more' if count > 1 else ''}{' (simulated data)' if first.simulated else ''}",
        "geonb": {
            "bands": list(first.names), "shown": list(style.bands), "ranges": style.ranges, "dtype": first.dtype, "classes": classes,
            "colormap": style.colormap, "paletted": style.own_colours, "files": count, "simulated": first.simulated,
        },
    }  # fmt: skip
    return told | ({"legend": "; ".join(f"{c['value']} {c['name']}" for c in classes)} if classes else {})


def _fitting(bounds: tuple[float, float, float, float], low: int, high: int) -> int:
    """The zoom at which bounds fill some four tiles."""
    wide = max((bounds[2] - bounds[0]) / 360, 1e-9)
    return max(low, min(high, int(math.log2(2 / wide))))
