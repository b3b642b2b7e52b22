"""Polygons as map tiles: a column of a vector file, burnt at the resolution that a tile asks for, in its classes' colours.

`Shapes` answers as rio-tiler's Reader of a raster of that column would, so that all the rest is as for rasters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import short

if TYPE_CHECKING:
    import geopandas as gpd
    from rio_tiler.models import ImageData

ENDINGS = (".gpkg", ".parquet", ".geojson", ".fgb", ".shp")
FILL = "fill"  # the column of colours, as in simplestyle (https://github.com/mapbox/simplestyle-spec)
CLASSES = 255  # with 0, where nothing is, they fill a byte
GUESSED = 32  # a column of more texts is not taken for classes unless it is named
PLAIN = "#b5400f"  # of shapes without a column
DEEPEST = 22
HIGHEST = 85.0511287798066  # degrees of latitude, at which Web Mercator ends


@dataclass(frozen=True)
class Shapes:
    """Shapes and the number each is drawn as.

    Attributes
    ----------
    outlines : GeoSeries in Web Mercator, the largest first: smaller ones lie on top
    values : ndarray (shape,), codes of classes as uint8, from 1; or a column's own numbers as float32
    names, colours : by code; empty where there are no classes
    column : str, what the values are
    notes : tuple of str, what is not shown
    """

    outlines: gpd.GeoSeries
    values: np.ndarray
    column: str
    names: dict[int, str]
    colours: dict[int, tuple[int, int, int, int]]
    notes: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north; degrees."""
        from rasterio.warp import transform_bounds

        return transform_bounds("EPSG:3857", "OGC:CRS84", *self.outlines.total_bounds)

    @cached_property
    def boxes(self) -> np.ndarray:
        """West, south, east, north of each shape: (shape, 4), Web Mercator."""
        return self.outlines.bounds.to_numpy()

    @property
    def side_m(self) -> float:
        """Of a usual shape's box, in Web Mercator."""
        return float(np.median(np.ptp(self.boxes.reshape(-1, 2, 2), axis=1).max(1)))

    def part(self, bbox: Sequence[float], width: int, height: int, **_: Any) -> ImageData:
        """The shapes in a box in Web Mercator."""
        from rasterio.crs import CRS
        from rasterio.features import rasterize
        from rasterio.transform import from_bounds
        from rio_tiler.models import ImageData

        transform = from_bounds(*bbox, width, height)
        number = np.zeros((height, width), np.uint32)  # of the shape on top, from 1
        inside = np.sort(self.outlines.sindex.query(_box(bbox), predicate="intersects"))
        boxes = self.boxes[inside]
        small = (np.ptp(boxes.reshape(-1, 2, 2), axis=1) < max(transform.a, -transform.e)).all(1)
        large = [(self.outlines.iloc[i], i + 1) for i in inside[~small].tolist()]
        if large:
            number = rasterize(large, out=number, transform=transform)
        # what is less than a pixel has no pixel's centre in it, and would vanish from small scales
        x = ((boxes[small, 0] + boxes[small, 2]) / 2 - bbox[0]) / transform.a
        y = ((boxes[small, 1] + boxes[small, 3]) / 2 - bbox[3]) / transform.e
        hit = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        at = y[hit].astype(int), x[hit].astype(int)
        np.maximum.at(number, at, (inside[small][hit] + 1).astype(np.uint32))
        shown = np.concatenate([self.values[:1] * 0, self.values])[number]
        empty = number == 0 if self.names else (number == 0) | ~np.isfinite(shown)
        return ImageData(np.ma.array(shown[None], mask=empty[None]), bounds=tuple(bbox), crs=CRS.from_epsg(3857))

    def preview(self, **_: Any) -> ImageData:
        """All values, as pixels: what a stretch is chosen by."""
        from rio_tiler.models import ImageData

        return ImageData(np.ma.masked_invalid(self.values[None, None]))


def _box(bounds: Sequence[float]) -> Any:
    import shapely

    return shapely.box(*bounds)


@lru_cache
def load(path: Path, column: str = "", stamp: int = 0) -> Shapes:
    """Shapes of a file, coloured by a column; read once for each `stamp`, when it was written.

    What lies beyond 180 degrees is shown on the other side, where it is.

    Parameters
    ----------
    column : str
        By default what ``fill`` colours, else the first column of a few texts; without one all are alike.

    Raises
    ------
    ValueError
        If it cannot be read, has no place or no polygons, or no such column; lists those there are.
    """
    from geonb.rasters import vectors

    read = vectors.read_frame(path)
    vectors.check_crs(path, read)
    read = read[read.geom_type.isin(("Polygon", "MultiPolygon")).to_numpy()]
    if read.empty:
        raise ValueError(
            f"{path}: no polygons, which is what can be drawn. Points and lines: convert them, for instance with buffer()"
        )
    whole = read.to_crs("OGC:CRS84").geometry
    shapes, reach = _on_the_map(whole).to_crs(3857), whole.bounds
    polar = int(((reach["miny"] < -HIGHEST - 1e-6) | (reach["maxy"] > HIGHEST + 1e-6)).sum())
    notes = (
        f"{path}: {polar:,} of {len(whole):,} polygons reach nearer to a pole than {HIGHEST:.2f} degrees, where the map ends.",
    )
    kept = ~(shapes.is_empty | shapes.isna()).to_numpy()
    order = np.flatnonzero(kept)[np.argsort(-shapes[kept].area.to_numpy(), kind="stable")]
    if not len(order):
        raise ValueError(
            f"{path}: its polygons lie where Web Mercator shows nothing, nearer to a pole than 85.05 degrees"
        )
    values, name, names, colours = _drawn(path, read.iloc[order], column)
    return Shapes(shapes.iloc[order].reset_index(drop=True), values, name, names, colours, notes * bool(polar))


def _on_the_map(shapes: gpd.GeoSeries) -> gpd.GeoSeries:
    """What Web Mercator shows of shapes in degrees, those that reach beyond 180 in two parts."""
    shown, reach = shapes.clip_by_rect(-180, -HIGHEST, 180, HIGHEST), shapes.bounds
    for turn, far in ((360, reach["minx"] < -180 - 1e-9), (-360, reach["maxx"] > 180 + 1e-9)):
        if far.any():
            rest = shapes[far].translate(turn).clip_by_rect(-180, -HIGHEST, 180, HIGHEST)
            shown[far] = shown[far].union(rest)
    return shown


def _drawn(path: Path, table: gpd.GeoDataFrame, column: str) -> tuple[np.ndarray, str, dict, dict]:
    """What each shape is drawn as: values, what they are, and names and colours of classes."""
    from pandas.api.types import is_numeric_dtype

    columns = [name for name in table.columns if name not in (table.geometry.name, FILL)]
    if column and column not in columns:
        raise ValueError(f"{path} has no column {column!r}. There are: {', '.join(map(str, columns[:40]))}")
    fills = table[FILL].astype(str) if FILL in table else None
    few = [name for name in columns if _few(table[name])]
    if not column and fills is not None:
        column = next((n for n in few if not table.groupby(table[n].map(_text))[FILL].nunique().gt(1).any()), FILL)
    column = column or next(iter(few), "")
    if column and is_numeric_dtype(table[column]) and table[column].dtype != bool:
        return table[column].to_numpy(np.float32, na_value=np.nan), str(column), {}, {}
    texts = table[column].map(_text) if column else np.full(len(table), path.stem)
    names, codes = np.unique(np.asarray(texts, str), return_inverse=True)
    if len(names) > CLASSES:
        raise ValueError(
            f"{path}: {column} has {len(names):,} values, and at most {CLASSES} get a colour. Name another column"
        )
    first = np.unique(codes, return_index=True)[1]
    if fills is not None and not (fills.to_numpy() == fills.to_numpy()[first][codes]).all():
        fills = None  # they are another column's
    colours = _colours(path, names.tolist(), fills.to_numpy()[first] if fills is not None else None)
    return (codes + 1).astype(np.uint8), str(column), dict(enumerate(names.tolist(), 1)), dict(enumerate(colours, 1))


def _few(values: Any) -> bool:
    """Whether a column's texts are classes, as far as one can see: few, and not each of one shape."""
    from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

    if (is_numeric_dtype(values) and values.dtype != bool) or is_datetime64_any_dtype(values):
        return False
    return 2 <= values.map(_text).nunique() <= min(GUESSED, len(values) - 1)


def _text(value: Any) -> str:
    """A value as a class's name; several labels of one shape are one class of their own."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None or value != value or value == "" else str(value)


def _colours(path: Path, names: list[str], fills: Sequence[str] | None) -> list[tuple[int, int, int, int]]:
    from matplotlib.colors import to_rgba

    from geonb.plots.style import class_colours

    told = class_colours(names, {}) if len(names) > 1 else {names[0]: PLAIN}
    wanted = [told[name] for name in names] if fills is None else list(fills)
    try:
        return [tuple(round(255 * part) for part in to_rgba(colour)) for colour in wanted]
    except ValueError as error:
        raise ValueError(f"{path}: {FILL} holds what is no colour ({short(error)}); write #rrggbb") from error


def simulated(path: Path) -> bool:
    """Whether a file says of itself that its data are simulated; only a GeoPackage can."""
    import pyogrio

    told = pyogrio.read_info(path)["layer_metadata"] if path.suffix.lower() == ".gpkg" else None
    return (told or {}).get("simulated", "0") not in ("0", "False")
