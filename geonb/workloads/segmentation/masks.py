"""Labels: class tables, and masks (raster of codes, or polygons with a class column) brought onto an image's grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import IGNORE, short
from geonb.rasters import grids, images
from geonb.rasters.images import NO_CODE

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

COLOUR = 2**24  # codes from here on are colours that no class has
VECTORS = (".shp", ".gpkg", ".geojson", ".json", ".fgb", ".parquet")
# Twenty colours that stay apart, for classes whose colour nobody gave (after P. Green-Armytage 2010).
PALETTE = (
    *("#4363d8", "#e6194b", "#3cb44b", "#ffe119", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#fabed4"),
    *("#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3", "#808000", "#ffd8b1", "#000075", "#a9a9a9"),
)


@dataclass(frozen=True)
class Mask:
    """Labels for an image: a raster of class codes or class colours, or polygons with a column of codes or names.

    classes is the mask's own table where it differs from that of its set: the codes as in the file, the names as in the
    set, and under `own` the names as in the file.
    """

    path: Path
    column: str = "class"
    layer: str | None = None
    read: str = "codes"  # or "rgb"
    classes: tuple[dict, ...] | None = field(default=None, hash=False)

    @property
    def is_vector(self) -> bool:
        """Whether the file holds polygons."""
        return self.path.suffix.lower() in VECTORS

    @property
    def files(self) -> list[Path]:
        """The file, and a shapefile's side files."""
        if self.path.suffix.lower() != ".shp":
            return [self.path]
        sides = (self.path.with_suffix(s) for s in (".dbf", ".shx", ".prj", ".cpg"))
        return [self.path, *(s for s in sides if s.is_file())]


def read_classes(classes: str | Path | dict | list | None) -> list[dict] | None:
    """Read a class table: "1=developed,2=water", a .csv, .yaml or .json file, or a mapping, with code, name and colour.

    Returns
    -------
    list of {"code": int, "name": str, "colour": "#rrggbb"} in the order given; None for None

    Raises
    ------
    ValueError
        Missing file, no `code=name`, a code or name twice.
    """
    if classes is None:
        return None
    if isinstance(classes, dict | list):
        entries = _entries(classes)
    elif Path(str(classes)).suffix.lower() in (".csv", ".yaml", ".yml", ".json"):
        entries = _class_file(Path(classes).expanduser())
    else:
        items = (item.split("=", 1) for item in str(classes).split(","))
        entries = [dict(zip(("code", "name"), (p.strip() for p in item), strict=False)) for item in items]
    try:
        codes = [int(e["code"]) for e in entries]
        names = [str(e["name"]).strip() for e in entries]
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            f'classes = {str(classes)!r} is not a class table. Give "1=developed,2=water", or a .csv, .yaml or .json file '
            "with code and name (and colour)"
        ) from None
    real = [n for n in names if n != "ignore"]
    if len(set(codes)) < len(codes) or len(set(real)) < len(real) or not all(real) or not 0 < len(real) <= IGNORE:
        raise ValueError(
            f"classes = {str(classes)!r}: give each code and each name once, and 1 to {IGNORE} classes besides `ignore`"
        )
    return class_table(dict(zip(codes, entries, strict=True)))


def class_table(entries: dict[int, dict]) -> list[dict]:
    """Complete {code: {"name", "colour"?}} with colours from PALETTE."""
    return [
        {"code": int(code), "name": str(e["name"]).strip(), "colour": _colour(e) or PALETTE[i % len(PALETTE)]}
        for i, (code, e) in enumerate(entries.items())
    ]


def _colour(entry: dict) -> str | None:
    given = entry.get("colour") or entry.get("color")
    if not isinstance(given, str):
        return None
    from matplotlib.colors import to_hex

    return to_hex(given)


def _class_file(path: Path) -> list[dict]:
    if not path.is_file():
        raise ValueError(f"There is no class table {path}")
    if path.suffix.lower() == ".csv":
        import pandas as pd

        return pd.read_csv(path, dtype=str, skipinitialspace=True).to_dict("records")
    import yaml

    try:
        content = yaml.safe_load(path.read_text())  # reads JSON too
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not a class table: {short(error)}") from None
    return _entries(content.get("classes", content) if isinstance(content, dict) else content)


def _entries(content: Any) -> list:
    if isinstance(content, dict):
        content = [{"code": k, **(v if isinstance(v, dict) else {"name": v})} for k, v in content.items()]
    return content if isinstance(content, list) else [content]


def targets(
    codes: np.ndarray, valid: np.ndarray, classes: tuple[dict, ...], own: tuple[dict, ...] | None = None
) -> np.ndarray:
    """Class codes -> place in the class table.

    Parameters
    ----------
    codes : ndarray (y, x) of int32
    valid : ndarray (y, x) of bool
    classes : tuple of {"code", "name", "colour"}; those named `ignore` are no classes
    own : tuple, optional
        The table that the codes come from, where it is another one: classes are the same by name.

    Returns
    -------
    ndarray (y, x) of uint8; IGNORE where there is no label, no class or no valid pixel
    """
    place = {c["name"]: i for i, c in enumerate(real_classes(classes))}
    known = [c for c in real_classes(own or classes) if c["name"] in place]
    if not known:
        return np.full(codes.shape, IGNORE, np.uint8)
    table, places = np.array([c["code"] for c in known]), np.array([place[c["name"]] for c in known], np.uint8)
    if table.min() >= 0 and table.max() < 2**16:  # look up, many times faster than search
        look_up = np.full(table.max() + 2, IGNORE, np.uint8)
        look_up[table] = places
        index = look_up[np.where((codes < 0) | (codes > table.max()), table.max() + 1, codes)]
    else:
        index = look_up_sorted(codes, table, places, IGNORE).astype(np.uint8)
    return np.where(valid, index, np.uint8(IGNORE))


def look_up_sorted(values: np.ndarray, table: np.ndarray, results: np.ndarray, missing: Any) -> np.ndarray:
    """The result that stands for each value, as `missing` where the table does not have it; for numbers of any size."""
    order = np.argsort(table)
    at = order[np.searchsorted(table, values, sorter=order).clip(max=len(table) - 1)]
    return np.where(table[at] == values, results[at], missing)


def real_classes(classes: Sequence[dict]) -> list[dict]:
    """The class table without the codes that are to be ignored."""
    return [dict(c) for c in classes if c["name"] != "ignore"]


def read_polygons(mask: Mask) -> gpd.GeoDataFrame:
    """Polygons of a vector mask, their class in column `value` as in the file, in the file's CRS.

    Raises
    ------
    ValueError
        Not a vector file, empty, no CRS, no class column (those there are get listed), a polygon without class.
    """
    import geopandas as gpd

    try:
        read = gpd.read_parquet if mask.path.suffix == ".parquet" else gpd.read_file
        frame = read(mask.path, **({"layer": mask.layer} if mask.layer else {}))
    except Exception as error:  # each reader has its own kinds
        raise ValueError(f"{mask.path} is not a vector file that can be opened ({short(error)})") from None
    columns = [c for c in frame.columns if c != frame.geometry.name]
    if mask.column not in columns:
        raise ValueError(
            f"{mask.path} has no class column {mask.column!r}. Its columns: {', '.join(columns) or 'none'}. "
            f"Name one: {mask.path.name}:column={columns[0] if columns else 'NAME'}"
        )
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty:
        raise ValueError(f"{mask.path} holds no polygons")
    if frame.crs is None:
        raise ValueError(f"{mask.path} has no CRS (a shapefile keeps it in its .prj file). Give it one")
    values = frame[mask.column]
    if values.isna().any():
        raise ValueError(f"{mask.path}: {int(values.isna().sum())} polygons have no {mask.column}. Fill or delete them")
    if values.dtype.kind == "f":
        if (values != values.round()).any():
            raise ValueError(f"{mask.path}: column {mask.column} holds fractions, not class codes. Name another column")
        values = values.astype("int64")
    return gpd.GeoDataFrame({"value": values.to_numpy()}, geometry=frame.geometry.to_numpy(), crs=frame.crs)


def polygon_codes(polygons: gpd.GeoDataFrame, classes: Sequence[dict] | None) -> np.ndarray:
    """The class code of each polygon: its value, or the code of the class of that name.

    Raises
    ------
    ValueError
        Naming the values that are not in the class table.
    """
    values = polygons["value"]
    if values.dtype.kind in "iub":
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
    polygons = _polygons_once(mask, crs)
    codes = polygon_codes(polygons, classes)
    # between the polygons lies the class with code 0 if there is one, else nothing is known
    background = 0 if any(c["code"] == 0 for c in real_classes(classes or ())) else NO_CODE

    def read(rows: slice, columns: slice) -> np.ndarray:
        import shapely

        corner = transform * transform.translation(columns.start, rows.start)
        area = grids.bounds(corner, (rows.stop - rows.start, columns.stop - columns.start))
        near = np.sort(polygons.sindex.query(shapely.box(*area)))
        shapes = list(zip(polygons.geometry.to_numpy()[near], codes[near].tolist(), strict=True))
        return grids.burn(shapes, transform, (rows, columns), int(background))

    return read


def _polygons_once(mask: Mask, crs: Any) -> gpd.GeoDataFrame:
    """The polygons in an image's CRS: read and indexed once for all threads that burn them, and all images of that CRS."""
    state = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in mask.files)
    with _READING:
        return _read_once(mask.path, mask.column, mask.layer, crs.to_wkt(), state)


_READING = Lock()


@lru_cache(maxsize=8)
def _read_once(path: Path, column: str, layer: str | None, crs: str, state: tuple) -> gpd.GeoDataFrame:
    polygons = read_polygons(Mask(path, column, layer)).to_crs(crs)
    polygons.sindex.query(polygons.geometry.iloc[0])  # builds the tree, before threads share it
    return polygons


def colour_codes(colours: np.ndarray, classes: tuple[dict, ...]) -> np.ndarray:
    """The class code of each colour: (3, y, x) of uint8 -> (y, x) of int32; COLOUR + the packed colour of unknown ones."""
    red, green, blue = colours.astype(np.int32)
    packed = red << 16 | green << 8 | blue
    table = np.array([int(c["colour"].lstrip("#"), 16) for c in classes], np.int32)
    codes = np.array([c["code"] for c in classes], np.int32)
    return look_up_sorted(packed, table, codes, packed + COLOUR).astype(np.int32)


def code_text(code: int) -> str:
    """A code as a person would name it: the number, or the colour it stands for."""
    return f"#{code - COLOUR:06x}" if code >= COLOUR else str(code)


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


def _raster_codes(mask: Mask, grid: tuple, classes: tuple[dict, ...] | None, stack: ExitStack) -> Callable:
    import rasterio
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    data = stack.enter_context(rasterio.open(mask.path))
    colours = mask.read == "rgb"
    if colours:
        check_colours(mask, data.dtypes[0], data.count, classes)
    crs, transform, (height, width) = grid
    if not grids.same_grid(grid, (data.crs, data.transform, data.shape)):
        # nearest neighbour, warped as it is read; the alpha band says which pixels the mask reaches
        onto = {"crs": crs, "transform": transform, "height": height, "width": width}
        alpha = data.nodata is None and ColorInterp.alpha not in data.colorinterp
        data = stack.enter_context(WarpedVRT(data, resampling=Resampling.nearest, add_alpha=alpha, **onto))

    def read(rows: slice, columns: slice) -> np.ndarray:
        window = Window.from_slices(rows, columns)
        labelled = data.read_masks(1, window=window) > 0
        if colours:
            if data.nodata is not None:  # a colour is nodata when all of its bands are
                labelled = (data.read_masks([1, 2, 3], window=window) > 0).any(axis=0)
            return np.where(labelled, colour_codes(data.read([1, 2, 3], window=window), classes or ()), NO_CODE)
        values = data.read(1, window=window)
        if values.dtype.kind == "f":
            labelled &= np.isfinite(values)
            values = np.where(labelled, values, 0)
            broken = values[values != np.rint(values)]
            if broken.size:
                raise ValueError(f"{mask.path} holds fractions such as {broken[0]:g}, not class codes. Is it the mask?")
        return np.where(labelled, values.astype(np.int32), NO_CODE)

    return read
