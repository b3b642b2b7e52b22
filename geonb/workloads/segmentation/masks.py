"""Labels: masks (raster of codes, or polygons of a class) brought onto an image's grid."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files as base_files
from geonb.rasters import grids, images, sources, validity, vectors
from geonb.rasters.images import NO_CODE
from geonb.workloads.segmentation import footprints, projecting
from geonb.workloads.segmentation.class_tables import CODES, look_up_sorted, real_classes, targets

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

COLOUR = 2**24  # codes from here on are colours that no class has
REACH_M = 2e6  # from the centre of a plane, up to where its metres are true to 2 %


@dataclass(frozen=True)
class Mask:
    """Labels for an image: a raster of class codes, class colours or a band a class, or polygons with a column of codes or names,
    or all of one class.

    grid is that of the image, for a raster that does not say where it lies. classes is the mask's own table where it differs
    from that of its set: the codes as in the file, the names as in the set, and under `own` the names as in the file.
    """

    path: Path
    column: str = "class"
    layer: str | None = None
    read: str = "codes"  # or "rgb", or "one-hot": the number of the band that is not 0
    buffer_m: float | None = None  # half the width of lines, radius of points
    every: str | None = None  # the class that every polygon is, whatever its columns
    complete: bool | None = (
        None  # whether all is mapped, so that the rest is background; None: `classes` tells, by a code 0
    )
    area: Path | None = None  # polygons within which all is mapped; None: wherever there is an image
    border_px: int = 0  # how near a pixel has to be to two polygons to be a border between them
    background: bool = False  # whether between polygons lies the class with code 0, else nothing is known
    grid: tuple | None = field(default=None, hash=False)
    classes: tuple[dict, ...] | None = field(default=None, hash=False)

    @property
    def is_vector(self) -> bool:
        """Whether the file holds polygons."""
        return self.path.suffix.lower() in vectors.SUFFIXES


def read_polygons(mask: Mask) -> gpd.GeoDataFrame:
    """Polygons of a vector mask, their class in column `value` as in the file, in the file's CRS.

    Returns
    -------
    GeoDataFrame; in its attrs `notes`: what was left out, repaired or buffered, and how many

    Raises
    ------
    ValueError
        Not a vector file, cut short, of several layers and none is named, empty, no CRS, no class column (those there are get listed),
        a polygon without class, lines or points without a width.
    """
    import geopandas as gpd
    import pandas as pd

    frame = vectors.read_frame(mask.path, mask.layer, f"column={mask.column}")
    columns = [c for c in frame.columns if c != frame.geometry.name]
    if mask.every is None and mask.column not in columns:
        raise ValueError(
            f"{mask.path} has no class column {mask.column!r}. If every polygon is one class: {mask.path.name}:all=building. If not, "
            f"its columns are {', '.join(columns) or 'none'}; name one: {mask.path.name}:column={columns[0] if columns else 'NAME'}"
        )
    everything, frame = len(frame), frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty:
        raise ValueError(f"{mask.path} holds no polygons")
    vectors.check_crs(mask.path, frame)
    values = pd.Series(mask.every, frame.index) if mask.every else frame[mask.column]
    if values.dtype.kind not in "iufb":
        values = values.map(lambda text: text.strip() or None if isinstance(text, str) else text)
    if values.isna().any():
        raise ValueError(f"{mask.path}: {int(values.isna().sum())} polygons have no {mask.column}. Fill or delete them")
    if values.dtype.kind == "f":
        if (odd := values[~np.isfinite(values) | (values != values.round())]).size:
            raise ValueError(
                f"{mask.path}: column {mask.column} holds {odd.iloc[0]:g}, and class codes are whole numbers. Name another column"
            )
        values = values.astype("int64")
    shapes, notes = _areas(mask, frame.geometry)
    polygons = gpd.GeoDataFrame({"value": values.to_numpy()}, geometry=shapes, crs=frame.crs)
    polygons = polygons[~polygons.geometry.is_empty].reset_index(drop=True)
    if polygons.empty:
        raise ValueError(f"{mask.path} holds no polygons: none of its {everything} geometries covers any ground")
    if left_out := everything - len(polygons):
        what = "geometries are null, empty or without area, and left out"
        notes.append(f"{mask.path.name}: {left_out} of {everything} {what}.")
    polygons.attrs["notes"] = notes
    return polygons


def _areas(mask: Mask, shapes: gpd.GeoSeries) -> tuple[np.ndarray, list[str]]:
    """Geometries that cover ground, each valid; and notes of what was done to them."""
    import shapely

    found, notes = shapes.to_numpy().copy(), []
    thin = shapely.get_dimensions(found) < 2  # of a collection, the highest
    if thin.any():
        if mask.buffer_m is None:
            kinds = ", ".join(sorted({shape.geom_type for shape in found[thin]}))
            raise ValueError(
                f"{mask.path}: {thin.sum()} of {len(found)} geometries cover no ground ({kinds}). Give half their width in "
                f"metres, {mask.path.name}:buffer=2.5, or take them out"
            )
        found[thin] = _widened(mask, shapes[thin]).to_numpy()
        notes.append(f"{mask.path.name}: {thin.sum()} lines or points became areas, {mask.buffer_m:g} m to each side.")
    odd = ~shapely.is_valid(found) | (shapely.get_type_id(found) == shapely.GeometryType.GEOMETRYCOLLECTION)
    if odd.any():
        # rings made valid, shells joined: a rasteriser that counts crossings would leave holes where parts overlap
        valid = shapely.make_valid(found[odd], method="structure", keep_collapsed=False)
        parts = [shapely.get_parts(shape) for shape in valid]
        found[odd] = [shapely.union_all(part[shapely.get_dimensions(part) == 2]) for part in parts]
        if repaired := int((~shapely.is_empty(found[odd])).sum()):
            notes.append(f"{mask.path.name}: {repaired} polygons cross or overlap themselves, and were repaired.")
    return found, notes


def _widened(mask: Mask, shapes: gpd.GeoSeries) -> gpd.GeoSeries:
    """Lines and points with their width: in metres on the ground, which those of a CRS need not be."""
    from pyproj import Geod

    west, south, east, north = shapes.to_crs("OGC:CRS84").total_bounds
    lon, lat = (west + east) / 2, (south + north) / 2
    corners = [west, west, east, east], [south, north, south, north]
    reach = max(Geod(ellps="WGS84").inv([lon] * 4, [lat] * 4, *corners)[2])
    if not reach < REACH_M:
        raise ValueError(
            f"{mask.path}: its lines and points lie up to {reach / 1e3:,.0f} km from their centre: a width in metres can be given "
            f"up to {REACH_M / 1e3:,.0f} km. Cut out what the images need"
        )
    plane = f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m"
    return shapes.to_crs(plane).buffer(mask.buffer_m).to_crs(shapes.crs)


def polygon_codes(polygons: gpd.GeoDataFrame, classes: Sequence[dict] | None) -> np.ndarray:
    """The class code of each polygon: its value, or the code of the class of that name.

    Raises
    ------
    ValueError
        Naming the values that are not in the class table, or no code that a class may have.
    """
    values = polygons["value"]
    if values.dtype.kind in "iub":
        wide = values[(values < CODES[0]) | (values > CODES[1])]
        if len(wide):
            raise ValueError(
                f"{wide.iloc[0]} is no class code: they go from {CODES[0]} to {CODES[1]}. Name another column"
            )
        return values.to_numpy(np.int32)
    codes = {str(c["code"]): c["code"] for c in classes or ()}
    codes |= {c.get("own", c["name"]): c["code"] for c in classes or ()}
    unknown = sorted(set(values.astype(str)) - set(codes))
    if unknown:
        table = ", ".join(f"{c['code']}={c.get('own', c['name'])}" for c in classes or ())
        raise ValueError(f"{', '.join(unknown[:10])} not in the class table ({table}). Add them, or name them `ignore`")
    return values.astype(str).map(codes).to_numpy(np.int32)


def reader(
    image: images.Image, mask: Mask, classes: tuple[dict, ...] | None = None, counts: Counter | None = None
) -> AbstractContextManager[Callable]:
    """Open an image and its mask for reading in rectangles, see :func:`geonb.rasters.images.reader`."""

    def opened(crs: Any, transform: Any, shape: tuple[int, int], stack: ExitStack) -> Callable:
        return open_codes(mask, crs, transform, shape, classes, stack)

    return images.reader(image, opened, counts)


def to_xarray(image: images.Image, mask: Mask, classes: tuple[dict, ...], step: int = 1) -> xr.Dataset:
    """A whole image with its labels, to look at: :func:`geonb.rasters.images.to_xarray` with ``targets`` (y, x).

    Returns
    -------
    Dataset with inputs (channel, y, x), valid (y, x), targets (y, x; class index, 255 none), x, y and the CRS
    """
    with reader(image, mask, classes) as read:
        inputs, valid, codes = images.thinned(read, image.shape, step)
    data = images.frame(inputs, valid, image.transform * image.transform.scale(step), image.crs, image.channels)
    data["targets"] = ("y", "x"), targets(codes, valid, classes, mask.classes)
    return data


def open_codes(
    mask: Mask, crs: Any, transform: Any, shape: tuple[int, int], classes: tuple[dict, ...] | None, stack: ExitStack
) -> Callable:
    """Open a mask for reading on an image's grid, rectangle by rectangle.

    Returns
    -------
    read : (rows : slice, columns : slice) -> ndarray (y, x) of int32: class codes, NO_CODE where there is none, and
        COLOUR and more where there is a colour (COLOUR + red, green, blue in a byte each) that no class has
    """
    classes = mask.classes or classes
    if not mask.is_vector:
        return _raster_codes(mask, (crs, transform, shape), classes, stack)
    box = grids.bounds(transform, shape)
    polygons = projecting.with_far(mask.path, *_polygons_once(mask, crs), crs, box)
    mapped = None if mask.area is None else footprints.read_area(mask.area, crs, box)
    return _polygon_reader(mask, polygons, polygon_codes(polygons, classes), mapped, transform, classes or ())


def _polygon_reader(
    mask: Mask,
    polygons: gpd.GeoDataFrame,
    codes: np.ndarray,
    mapped: np.ndarray | None,
    transform: Any,
    classes: Sequence[dict],
) -> Callable:
    """Burn polygons rectangle by rectangle, see `open_codes`: the border between them, and nothing beyond what is mapped."""
    shapes, reach = polygons.geometry.to_numpy(), mask.border_px
    border = footprints.border_code(classes) if reach else 0

    def read(rows: slice, columns: slice) -> np.ndarray:
        import shapely

        wide = [slice(s.start - reach, s.stop + reach) for s in (rows, columns)]
        corner = transform * transform.translation(wide[1].start, wide[0].start)
        around = grids.bounds(corner, (wide[0].stop - wide[0].start, wide[1].stop - wide[1].start))
        near = np.sort(polygons.sindex.query(shapely.box(*around)))

        def burn(values: list[int], area: Sequence[slice], fill: int) -> np.ndarray:
            return grids.burn(list(zip(shapes[near], values, strict=True)), transform, (area[0], area[1]), fill)

        burned = burn(codes[near].tolist(), (rows, columns), 0 if mask.background else int(NO_CODE))
        if reach and len(near) > 1:
            numbers = burn(list(range(1, len(near) + 1)), wide, 0)
            burned[footprints.between(numbers, reach)[reach:-reach, reach:-reach]] = border
        if mapped is not None:
            known = grids.burn([(shape, 1) for shape in mapped], transform, (rows, columns), 0)
            burned[known == 0] = NO_CODE
        return burned

    return read


def _polygons_once(mask: Mask, crs: Any) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """The polygons in an image's CRS, and in their own those that reach beyond what it can show.

    Read and indexed once for all threads that burn them, and all images of that CRS.
    """
    state = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in base_files.with_sides(mask.path))
    with _READING:
        key = Mask(mask.path, mask.column, mask.layer, buffer_m=mask.buffer_m, every=mask.every)
        return _read_once(key, crs.to_wkt(), state)


_READING = threading.Lock()


@lru_cache(maxsize=8)
def _read_once(mask: Mask, crs: str, state: tuple) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    return projecting.parted(read_polygons(mask), crs)


def colour_codes(colours: np.ndarray, classes: tuple[dict, ...]) -> np.ndarray:
    """The class code of each colour: (3, y, x) of uint8 -> (y, x) of int32; COLOUR + the packed colour of unknown ones."""
    red, green, blue = colours.astype(np.int32)
    packed = red << 16 | green << 8 | blue
    table = np.array([int(c["colour"].lstrip("#"), 16) for c in classes], np.int32)
    codes = np.array([c["code"] for c in classes], np.int32)
    return look_up_sorted(packed, table, codes, packed + COLOUR).astype(np.int32)


def code_text(code: int, mask: Mask) -> str:
    """A code as a person would name it: the number, or the colour it stands for."""
    return f"#{code - COLOUR:06x}" if mask.read == "rgb" and code >= COLOUR else str(code)


def check_colours(mask: Mask, dtype: str, bands: int, classes: tuple[dict, ...] | list[dict] | None) -> None:
    """Refuse a mask of colours that cannot be looked up: no table, not three bands of uint8, two classes of one colour."""
    if not classes:
        raise ValueError(
            f"{mask.path}: class colours can be read only with a class table that has them. Give `classes`"
        )
    if bands < 3 or dtype != "uint8":
        raise ValueError(
            f"{mask.path} has {bands} bands of {dtype}: read=rgb needs red, green, blue "
            "of uint8. Is it a raster of class codes?"
        )
    colours = [c["colour"] for c in classes]
    twice = [c["name"] for c in classes if colours.count(c["colour"]) > 1]
    if twice:
        raise ValueError(f"{mask.path}: classes {', '.join(twice)} have the same colour: it cannot tell them apart")


def lies_nowhere(path: Path) -> tuple | None:
    """(crs, transform) under which a raster that has no CRS can be looked at; None for one that has."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import RasterioError

    with suppress(RasterioError), sources.quiet(), rasterio.open(path) as data:
        return None if data.crs else (CRS.from_string("OGC:CRS84"), data.transform)
    return None


def check_bands(mask: Mask, image: images.Image) -> None:
    """Refuse a mask of codes that has several bands, and say what it looks like; one of a band a class that has but one."""
    import rasterio
    from rasterio.errors import RasterioError

    numbers = [number for _, number in image.bands]
    if (mask.read == "codes") == (len(numbers) == 1) or mask.read == "rgb":
        return
    if mask.read == "one-hot":
        raise ValueError(
            f"{mask.path} has one band: read=one-hot needs a band for each class. Is it a raster of class codes?"
        )
    try:
        with sources.quiet(), rasterio.open(mask.path) as data:
            step = max(1, max(data.shape) // 512)
            look = data.read(numbers, out_shape=(len(numbers), -(-data.height // step), -(-data.width // step)))
    except RasterioError as error:
        raise ValueError(f"{mask.path} cannot be read: {sources.why([mask.path], error)}") from None
    if look.max() < 2 and (look.sum(axis=0) <= 1).all():
        cure = f"It looks one-hot (0 and 1, one band at a pixel): {mask.path.name}:read=one-hot takes the band's number as code"
    elif image.dtype == "uint8" and len(numbers) == 3:
        cure = (
            f"They look like colours: {mask.path.name}:read=rgb, and `classes` a table (.csv, .yaml) with code, name and "
            "colour of each class"
        )
    else:
        cure = f"Take the one with the codes: gdal_translate -b 1 {mask.path.name} codes.tif"
    raise ValueError(f"{mask.path} has {len(numbers)} bands, where class codes are one. {cure}")


def check_nodata(mask: Mask, classes: Sequence[dict] | None) -> None:
    """Refuse a raster whose nodata value is the code, or the colour, of a class: its pixels would be no labels."""
    import rasterio

    with sources.quiet(), rasterio.open(mask.path) as data:
        nodata = data.nodata
    if nodata is None or mask.read == "one-hot" or (mask.read == "rgb" and not 0 <= nodata <= 255):
        return
    grey = "#" + f"{int(nodata):02x}" * 3 if mask.read == "rgb" else ""
    for entry in real_classes(classes or ()):
        if entry["code"] == nodata if mask.read == "codes" else entry["colour"] == grey:
            raise ValueError(
                f"{mask.path}: its nodata value {nodata:g} is the {'code' if not grey else 'colour'} of class {entry['name']}, which "
                f"has no pixel so. If it is a class: gdal_edit.py -unsetnodata {mask.path.name}. If not, name it `ignore`, or "
                "leave it out of `classes`"
            )


def _raster_codes(mask: Mask, grid: tuple, classes: tuple[dict, ...] | None, stack: ExitStack) -> Callable:
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    with sources.quiet() if mask.grid else nullcontext():
        data = stack.enter_context(rasterio.open(mask.path))
    if mask.read == "rgb":
        check_colours(mask, data.dtypes[0], data.count, classes)
    # GDAL calls the fourth class alpha
    data = validity.with_mask(data, 0 if mask.read == "one-hot" else validity.alpha_band(data), stack)
    bands = {"codes": [1], "rgb": [1, 2, 3], "one-hot": list(data.indexes)}[mask.read]
    crs, transform, (height, width) = grid
    own = mask.grid or (data.crs, data.transform, data.shape)
    if not grids.same_grid(grid, own):
        # nearest neighbour, warped as it is read; the alpha band says which pixels the mask reaches
        onto = {"crs": crs, "transform": transform, "height": height, "width": width}
        onto |= {"src_crs": own[0], "src_transform": own[1]} if mask.grid else {}
        nodata = validity.nodata_of(data, bands, mask.path)
        # not unified, or GDAL forgets a mask beside a nodata value
        onto |= {"unified_src_nodata": "NO", "src_nodata": nodata, "nodata": nodata, "add_alpha": nodata is None}
        data = stack.enter_context(WarpedVRT(data, resampling=Resampling.nearest, **onto))

    def read(rows: slice, columns: slice) -> np.ndarray:
        window = Window.from_slices(rows, columns)
        values = data.read(bands, window=window)
        known = np.stack([validity.holds_data(data, *band, window) for band in zip(bands, values, strict=True)])
        labelled = np.any(known, axis=0)  # nodata is a pixel where all of its bands are
        if mask.read == "rgb":
            codes = colour_codes(values, classes or ())
        elif mask.read == "one-hot":
            codes = _band_codes(mask, (values != 0) & known & np.isfinite(values))
        else:
            codes = _whole_codes(mask, values[0], labelled)
        return np.where(labelled, codes, NO_CODE)

    return read


def _band_codes(mask: Mask, on: np.ndarray) -> np.ndarray:
    """The number, from 1, of the band that is on: (band, y, x) bool -> (y, x) of int32; NO_CODE where none is."""
    several = int((on.sum(axis=0) > 1).sum())
    if several:
        raise ValueError(
            f"{mask.path}: {several} pixels have several bands that are not 0: a pixel can be of one class only"
        )
    return np.where(on.any(axis=0), on.argmax(axis=0) + 1, NO_CODE).astype(np.int32)


def _whole_codes(mask: Mask, values: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Values as class codes, int32; takes what is not finite out of `labelled`, refuses fractions and what no int32 can hold."""
    if values.dtype.kind == "f":
        labelled &= np.isfinite(values)
        values = np.where(labelled, values, 0)
        broken = values[values != np.rint(values)]
        if broken.size:
            raise ValueError(f"{mask.path} holds fractions such as {broken[0]:g}, not class codes. Is it the mask?")
    if values.dtype.name not in ("uint8", "int8", "uint16", "int16", "int32"):
        wide = values[labelled & ((values < CODES[0]) | (values > CODES[1]))]
        if wide.size:
            raise ValueError(
                f"{mask.path} holds {wide[0]:.0f} (at {wide.size} px or more): class codes go from {CODES[0]} to {CODES[1]}. If it "
                f"stands for no label: gdal_edit.py -a_nodata {wide[0]:.0f} {mask.path.name}. If not, give the class another code"
            )
    return values.astype(np.int32)
