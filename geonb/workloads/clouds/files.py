"""Files of scenes: found by a text, told by what is in them, opened as frames; rasters and plain images themselves.

NetCDF and Zarr are opened by :mod:`geonb.workloads.clouds.netcdf`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import fills, project, stac, times
from geonb.base.conventions import short
from geonb.rasters import images, sources
from geonb.workloads.clouds import netcdf, values
from geonb.workloads.clouds.frames import Frame, FrameLayer, time_given, time_of_name
from geonb.workloads.clouds.grids import LONLAT, Box

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

RASTERS = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".vrt", ".img", ".webp")
NETCDF = (".nc", ".nc4", ".cdf", ".h5", ".he5", ".hdf5")
Found = tuple[Path, dict[str, Any]]  # a file, and what is to be set right in it


def find(spec: str, places: list[Path] | None = None) -> list[Found]:
    """Files that a text names: comma separated files, globs and folders; a folder that ends in .zarr is a store.

    Parameters
    ----------
    spec : str
        ``file.nc:longitude_of_projection_origin=9.5`` sets an attribute of the file's grid mapping right,
        ``file.nc:time=hours since 1970-01-01`` its times, ``file.nc:nodata=-999`` what stands for none; of a raster these two.
    places : list of Path, optional
        Where relative paths are looked for, the first place with something first; by default here, then in the checkout.

    Returns
    -------
    list of (path, options), each file once

    Raises
    ------
    ValueError
        Listing every part at which there is nothing.
    """
    found: dict[Path, dict[str, Any]] = {}
    faults: list[str] = []
    places = project.places() if places is None else places
    for part in project.split_files(spec):
        options = _options(part, faults)
        try:
            here = next((files for p in places for files in [project.find_files(part, p).get(part)] if files), [])
        except ValueError as error:
            faults.append(str(error))
            continue
        files = [file for path in here for file in _inside(path)]
        if not files:
            what = "scene" if here else "file"
            faults.append(f"no {what} is at {part} (looked from {' and '.join(map(str, places))})")
        found |= {file: options for file in files if file not in found}
    if faults or not found:
        raise ValueError("scenes: " + "\n".join(faults or ["no file is named"]))
    return list(found.items())


def _options(part: str, faults: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for texts in re.split(r":(?=\w+=)", part, maxsplit=1)[1:]:
        for text in texts.split(","):
            key, _, value = (t.strip() for t in text.partition("="))
            try:
                options[key] = value if key == "time" else float(value)  # 20200401 is a date
            except ValueError:
                options[key] = value
            if not value or (key == "nodata" and not isinstance(options[key], float)):
                faults.append(f"{part}: {text!r} is not {'nodata=number' if key == 'nodata' else 'attribute=value'}")
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
    """Every file that is read, each once: those within stores, and what GDAL reads for an image."""
    found = set()
    for path in paths:
        if path.is_dir():
            found |= {p for p in path.rglob("*") if p.is_file()}
            continue
        found |= set(sources.files_of(path)) if path.suffix.lower() in RASTERS else {path}
    return sorted(found)


def open_file(path: Path, bounds: Box | None = None, options: dict[str, Any] | None = None) -> list[Frame]:
    """The frames of one file, in the file's order.

    Raises
    ------
    ValueError
        Not readable, no georeference, no channel: says what is missing and what to do; does not name the file.
    """
    if path.suffix.lower() in NETCDF or values.engine(path):
        return netcdf.open_netcdf(path, options or {})
    options = dict(options or {})
    given, nodata = options.pop("time", None), options.pop("nodata", None)
    if options:
        raise ValueError(
            f"{', '.join(options)}: only the grid mapping of a NetCDF or Zarr file can be set right; of a raster say time, nodata"
        )
    return [_open_raster(path, bounds, given, nodata)]


def _open_raster(path: Path, bounds: Box | None, given: str | None, nodata: float | None) -> Frame:
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        with sources.quiet(), rasterio.open(path) as data:
            place = _place(data, bounds)
            colours = [c.name for c in data.colorinterp]
            pictures = data.driver in ("JPEG", "PNG", "WEBP")  # their bands are decoded together anyway
    except RasterioIOError as error:
        raise ValueError(f"it is no NetCDF, Zarr or raster file that can be opened ({short(error)})") from None
    if "palette" in colours:
        raise ValueError(
            f"its colours are numbers of a palette. Expand them: gdal_translate -expand rgb {path.name} ..."
        )
    image = images.open_image(path, place=place)
    if image.transform.e > 0 or image.transform.a < 0:
        raise ValueError("its rows run from the south or its columns from the east. Make it north-up, with gdalwarp")
    whole = pictures or nodata is not None  # a number stands for none where all bands hold it
    parts = [image] if whole else [images.choose_bands(image, str(i + 1)) for i in range(len(image.bands))]
    layers = tuple(_raster_layer(path, part, colours, nodata) for part in parts)
    told = stac.time_of(path) if given is None else ""
    if told:
        return Frame(layers, times.stamp(told), path.stem, timed_by="file")
    time = time_of_name(path.name) if given is None else time_given(path.stem, given)
    return Frame(layers, time, path.stem, timed_by="name" if given is None else "file")


def _raster_layer(path: Path, image: images.Image, colours: list[str], nodata: float | None) -> FrameLayer:
    units = "digital number" if image.dtype == "uint8" else "1"
    channels = []
    for name, (_, number) in zip(image.channels, image.bands, strict=True):
        colour = colours[number - 1]
        named = colour if name.startswith("band ") and colour in ("red", "green", "blue") else name
        channels.append({"name": named, "units": units})
    load = partial(_read_raster, image, nodata)
    return FrameLayer(path, tuple(channels), image.crs, image.transform, image.shape, image.dtype, load)


def _place(data: DatasetReader, bounds: Box | None) -> tuple[CRS, Affine] | None:
    """(crs, transform) of a raster that has no CRS of its own: from `bounds`, or degrees where its transform looks like it."""
    from rasterio.crs import CRS
    from rasterio.transform import from_bounds

    if data.crs is not None:
        return None
    transform, box = data.transform, data.bounds
    if bounds is not None:
        west, south, east, north = bounds
        transform = from_bounds(west, south, east + 360 * (east < west), north, data.width, data.height)
    elif transform.is_identity or max(map(abs, box[::2])) > 360 or max(map(abs, box[1::2])) > 90:
        raise ValueError('it has no georeference. Give bounds="W,S,E,N" in degrees, or a world file beside it')
    return CRS.from_string(LONLAT), transform  # a world file has no room for a CRS


def _read_raster(
    image: images.Image, nodata: float | None, rows: slice, columns: slice
) -> tuple[np.ndarray, np.ndarray]:
    with sources.quiet(), images.reader(image) as read:
        inputs, valid, _ = read(rows, columns)
    return inputs, valid if nodata is None else valid & ~fills.holds(inputs, nodata).all(axis=0)
