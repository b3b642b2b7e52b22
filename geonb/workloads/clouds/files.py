"""What scenes are made of: layers of files with their grid, frames of layers with their time; rasters and plain images.

NetCDF and Zarr are opened by :mod:`geonb.workloads.clouds.netcdf`. Only headers are read here; pixels when a layer's `load` is called.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geonb.base import project
from geonb.base.conventions import short
from geonb.rasters import images

RASTERS = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".vrt", ".img", ".webp")
NETCDF = (".nc", ".nc4", ".cdf", ".h5", ".he5", ".hdf5")
DEGREES = "OGC:CRS84"


@dataclass(frozen=True)
class Layer:
    """Channels of one file on one grid, of one time.

    ``load(rows, columns) -> inputs (channel, y, x) of dtype, valid (y, x) bool`` reads a rectangle; rows run from the north.
    """

    file: Path
    channels: tuple[dict, ...]  # {"name", "units", optional "wavelength_um"}
    crs: Any
    transform: Any
    shape: tuple[int, int]
    dtype: str
    load: Callable[[slice, slice], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Frame:
    """A scene as its files hold it: layers of one time, maybe on several grids.

    key says which frames of other files are the same scene (those of equal key, at about one time); None: none is.
    """

    layers: tuple[Layer, ...]
    time: pd.Timestamp  # UTC, or NaT
    label: str
    key: str | None = None
    timed_by: str = "file"  # or "name"
    title: str = ""
    attribution: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from, each once."""
        return tuple(dict.fromkeys(layer.file for layer in self.layers))

    @property
    def channels(self) -> tuple[dict, ...]:
        """The channels of all layers."""
        return tuple(c for layer in self.layers for c in layer.channels)


def find(spec: str, places: list[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Files that a text names: comma separated files, globs and folders; a folder that ends in .zarr is a store.

    Parameters
    ----------
    spec : str
        ``file.nc:longitude_of_projection_origin=9.5`` sets an attribute of the file's grid mapping right.
    places : list of Path
        Where relative paths are looked for, the first place with something first.

    Returns
    -------
    list of (path, options), each file once

    Raises
    ------
    ValueError
        Listing every part at which there is nothing.
    """
    found, faults = {}, []
    for part in project.split_files(spec):
        options = _options(part, faults)
        here = next((files for p in places for files in [project.find_files(part, p).get(part)] if files), [])
        files = [file for path in here for file in _inside(path)]
        if not files:
            faults.append(
                f"no {'scene' if here else 'file'} is at {part} (looked from {' and '.join(map(str, places))})"
            )
        found |= {file: options for file in files if file not in found}
    if faults or not found:
        raise ValueError("scenes: " + "\n".join(faults or ["no file is named"]))
    return list(found.items())


def _options(part: str, faults: list[str]) -> dict[str, Any]:
    texts = re.split(r":(?=\w+=)", part, maxsplit=1)[1:]
    options = {}
    for text in texts[0].split(",") if texts else []:
        key, equals, value = (t.strip() for t in text.partition("="))
        try:
            options[key] = float(value)
        except ValueError:
            options[key] = value
        if not equals or not value:
            faults.append(f"{part}: {text!r} is not attribute=value")
    return options


def _inside(path: Path) -> list[Path]:
    """The file itself; of a folder, everything in it that looks like a scene."""
    if not path.is_dir() or _is_store(path):
        return [path]
    known = [p for p in path.rglob("*") if p.suffix.lower() in (*RASTERS, *NETCDF) or (p.is_dir() and _is_store(p))]
    stores = {p for p in known if p.is_dir()}
    return sorted(p for p in known if not stores & set(p.parents) and (p in stores or p.is_file()))


def _is_store(folder: Path) -> bool:
    return folder.suffix == ".zarr" or any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))


def all_files(paths: Iterable[Path]) -> list[Path]:
    """Every file that is read, each once: those within stores, and what lies beside an image and tells its place."""
    found = set()
    for path in paths:
        if path.is_dir():
            found |= {p for p in path.rglob("*") if p.is_file()}
            continue
        found.add(path)
        letters = path.suffix[1:2] + path.suffix[-1:]
        sides = [f".{letters}w", f"{path.suffix}w", ".wld", f"{path.suffix}.aux.xml", f"{path.suffix}.msk"]
        if path.suffix.lower() in RASTERS:
            found |= {p for p in (path.with_suffix(s) for s in sides) if p.is_file()}
    return sorted(found)


def open_file(
    path: Path, bounds: tuple[float, ...] | None = None, options: dict[str, Any] | None = None
) -> list[Frame]:
    """The frames of one file, in the file's order.

    Raises
    ------
    ValueError
        Not readable, no georeference, no channel: says what is missing and what to do; does not name the file.
    """
    from geonb.workloads.clouds import netcdf

    if (
        path.is_dir()
        or path.suffix.lower() in NETCDF
        or _magic(path) in (b"\x89HDF", b"CDF\x01", b"CDF\x02", b"CDF\x05")
    ):
        return netcdf.open_netcdf(path, options or {})
    if options:
        raise ValueError(f"{', '.join(options)}: only the grid mapping of a NetCDF or Zarr file can be set right")
    return [_open_raster(path, bounds)]


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _open_raster(path: Path, bounds: tuple[float, ...] | None) -> Frame:
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        with _quiet(), rasterio.open(path) as data:
            place = _place(data, bounds)
            colours = [c.name for c in data.colorinterp]
            pictures = data.driver in ("JPEG", "PNG", "WEBP")  # their bands are decoded together anyway
    except RasterioIOError as error:
        raise ValueError(f"it is no NetCDF, Zarr or raster file that can be opened ({short(error)})") from None
    if "palette" in colours:
        raise ValueError(
            f"its colours are numbers of a palette. Expand them: gdal_translate -expand rgb {path.name} ..."
        )
    with _quiet():
        image = images.open_image(path, place=place)
    if image.transform.e > 0 or image.transform.a < 0:
        raise ValueError("its rows run from the south or its columns from the east. Make it north-up, with gdalwarp")
    parts = [image] if pictures else [images.choose_bands(image, str(i + 1)) for i in range(len(image.bands))]
    return Frame(
        tuple(_raster_layer(path, part, colours) for part in parts), time_of_name(path.name), path.stem, timed_by="name"
    )


def _raster_layer(path: Path, image: images.Image, colours: list[str]) -> Layer:
    units = "digital number" if image.dtype == "uint8" else "1"
    channels = []
    for name, (_, number) in zip(image.channels, image.bands, strict=True):
        colour = colours[number - 1]
        named = colour if name.startswith("band ") and colour in ("red", "green", "blue") else name
        channels.append({"name": named, "units": units})
    load = partial(_read_raster, image)
    return Layer(path, tuple(channels), image.crs, image.transform, image.shape, image.dtype, load)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without GDAL's word that a plain image has no georeference: it was given one."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _place(data: Any, bounds: tuple[float, ...] | None) -> tuple | None:
    """(crs, transform) of a raster that has no CRS of its own: from `bounds`, or degrees where its transform looks like it."""
    from rasterio.crs import CRS
    from rasterio.transform import from_bounds

    if data.crs is not None:
        return None
    if bounds is not None:
        west, south, east, north = bounds
        return CRS.from_string(DEGREES), from_bounds(
            west, south, east + 360 * (east < west), north, data.width, data.height
        )
    box = data.bounds
    if (
        not data.transform.is_identity
        and abs(box.left) <= 360
        and abs(box.right) <= 360
        and max(map(abs, box[1::2])) <= 90
    ):
        return CRS.from_string(DEGREES), data.transform  # a world file, which has no room for a CRS
    raise ValueError('it has no georeference. Give bounds="W,S,E,N" in degrees, or a world file beside it')


def _read_raster(image: images.Image, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    with _quiet(), images.reader(image) as read:
        inputs, valid, _ = read(rows, columns)
    return inputs, valid


# longer patterns before those that are part of them
_TIMES = (
    (r"(?<![A-Za-z0-9])s(\d{4})(\d{3})(\d{2})(\d{2})(\d{2})\d?(?!\d)", "ordinal"),  # GOES: _s20200921200164
    (r"(?<![A-Za-z0-9])A(\d{4})(\d{3})[._](\d{2})(\d{2})(\d{2})?(?!\d)", "ordinal"),  # MODIS: A2012270.2050
    (r"(?<!\d)(\d{4})-(\d{2})-(\d{2})[T_ -]?(\d{2})[:_h-]?(\d{2})(?:[:_-]?(\d{2}))?(?!\d)", "calendar"),
    (r"(?<!\d)(\d{4})(\d{2})(\d{2})[T_ -]?(\d{2}):?(\d{2})(?::?(\d{2}))?(?!\d)", "calendar"),
    (r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)", "calendar"),
    (r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)", "calendar"),
)


def time_of_name(name: str) -> pd.Timestamp:
    """Time that a file's name tells, UTC; NaT if none.

    >>> time_of_name("OR_ABI-L2-CMIPF-M6C13_G16_s20200921200164_e20200921209484_c20200921209570.nc")
    Timestamp('2020-04-01 12:00:16')
    >>> time_of_name("Miriam.A2012270.2050.2km.jpg")
    Timestamp('2012-09-26 20:50:00')
    """
    for pattern, kind in _TIMES:
        for match in re.finditer(pattern, name):
            parts = [int(p) for p in match.groups(default="0")]
            year, rest = parts[0], parts[1:]
            try:
                if kind == "ordinal":
                    day = pd.Timestamp(year, 1, 1) + pd.Timedelta(days=rest[0] - 1)
                    if day.year != year:
                        continue
                    time = pd.Timestamp(day.year, day.month, day.day, *rest[1:])
                else:
                    time = pd.Timestamp(year, *rest)
            except ValueError:  # no such month, day, hour
                continue
            if 1950 <= time.year < 2100:
                return time
    return pd.NaT
