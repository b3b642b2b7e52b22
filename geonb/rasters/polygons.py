"""Class maps as polygons with their area, in a GeoPackage: strip by strip, whole across the strips' seams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.files import whole_file
from geonb.rasters.corners import square

if TYPE_CHECKING:
    import geopandas as gpd
    from affine import Affine

STRIP_PX = 4_000_000  # pixels that are outlined at once
BATCH = 20_000  # polygons that are written at once
STEP_M = 1000.0  # edges are cut to this length before they are projected: a straight line here is a curve there


def write_polygons(
    class_map: str | Path, path: str | Path, classes: Sequence[Mapping[str, Any]], min_area_m2: float = 0.0, *,
    corners: str = "pixels", skip: Sequence[str] = (), layer: str | None = None, probability: str | Path | None = None,
    tags: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """Outline the areas of one class (pixels that share an edge) and write them as a GeoPackage.

    Memory does not grow with the map's height, but for areas that reach through many strips: their outlines are held until
    they end.

    Parameters
    ----------
    class_map : raster of class indices, as :func:`geonb.rasters.cog.write_class_map` writes it
    path : the .gpkg; appears whole or not at all
    classes : records with ``name`` and maybe ``code``, in the order of the indices
    min_area_m2 : float, m2
        Smaller polygons are left out.
    corners : pixels, square
        Outlines follow the pixels; or have right angles on the ground, as buildings do (:func:`geonb.rasters.corners.square`):
        neighbours may then overlap by a pixel.
    skip : names of classes that are left out (a background)
    layer : str, by default the file's stem
    probability : probability map of the same grid, for the column `probability`
    tags : metadata of the file, by name

    Returns
    -------
    The path. Columns: ``value`` (in the class map), ``code`` and ``name`` of the class, ``area_m2`` (on the ellipsoid, of the
    polygon as it is written), ``probability`` (mean of the class's own over the pixels; only where a map of it is given),
    ``squared`` (false where right angles would not do; only with ``corners=square``).
    """
    import pyogrio
    import rasterio

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [str(c["name"]) for c in classes]
    options = {"layer": layer or path.stem, "driver": "GPKG", "geometry_type": "Polygon"}
    caches = rasterio.Env(GDAL_CACHEMAX=64 << 20)
    with whole_file(path, ".gpkg") as partial, caches, rasterio.open(class_map) as labels:
        area, ground = _area(labels), _ground(labels) if corners == "square" else None
        wanted = [i for i, name in enumerate(names) if name not in skip]
        first = {"layer_metadata": dict(tags)} if tags else {}
        for found in _batches(outlines(labels, wanted, probability)):
            frame = _frame(found, labels.transform, labels.crs, area, classes, probability is not None, ground)
            frame = frame[frame["area_m2"] >= min_area_m2]
            pyogrio.write_dataframe(frame, partial, append=partial.exists(), **options, **first)
            first = {}
    return path


def outlines(
    labels: Any, wanted: Sequence[int], probability: str | Path | None = None, strip_px: int | None = None
) -> Iterator[tuple[int, Any, int, float]]:
    """Areas of one class in an open class map, in pixel coordinates (x right, y down).

    Yields
    ------
    (class index, Polygon, pixels, sum of the class's probability over them), each area once and whole
    """
    import rasterio
    from rasterio.windows import Window

    height = max(1, (strip_px or STRIP_PX) // labels.width)
    open_areas = _Open()
    scores = rasterio.open(probability) if probability else None
    try:
        for top in range(0, labels.height, height):
            window = Window(0, top, labels.width, min(height, labels.height - top))
            values = labels.read(1, window=window)
            parts = _parts(values, wanted, top)
            if scores:
                parts.sums = _sums(scores, window, values, parts)
            yield from open_areas.add(parts)
        yield from open_areas.close(None)
    finally:
        if scores:
            scores.close()


class _Parts:
    """The areas within one strip: number (y, x) from 1, 0 = none; class, outline, pixels and sum of each."""

    def __init__(self, numbers: np.ndarray, classes: np.ndarray, shapes: list) -> None:
        self.numbers, self.classes, self.shapes = numbers, classes, shapes
        self.pixels = np.bincount(numbers.ravel(), minlength=len(classes))
        self.sums = np.zeros(len(classes))


def _parts(values: np.ndarray, wanted: Sequence[int], top: int) -> _Parts:
    import shapely
    from affine import Affine
    from rasterio.features import shapes
    from scipy.ndimage import label

    numbers, classes = np.zeros(values.shape, np.int32), [-1]
    for value in wanted:
        mask = values == value
        if mask.any():
            found, count = label(mask)  # pixels that share an edge
            numbers[mask] = found[mask] + len(classes) - 1
            classes += [value] * count
    outlined: list = [None] * len(classes)
    for shape, number in shapes(numbers, mask=numbers > 0, connectivity=4, transform=Affine.translation(0, top)):
        rings = shape["coordinates"]
        outlined[int(number)] = shapely.Polygon(rings[0], rings[1:])
    return _Parts(numbers, np.array(classes), outlined)


def _sums(scores: Any, window: Any, values: np.ndarray, parts: _Parts) -> np.ndarray:
    """Sum over each part of the probability of its own class."""
    sums = np.zeros(len(parts.classes))
    for value in np.unique(parts.classes[1:]):
        mask = values == value
        own = scores.read(int(value) + 1, window=window)[mask].astype(float) * scores.scales[int(value)]
        sums += np.bincount(parts.numbers[mask], weights=own, minlength=len(sums))
    return sums


class _Open:
    """Areas that reach the last row seen, and may go on below it."""

    def __init__(self) -> None:
        self.areas: dict[int, list] = {}  # number -> [class, outlines of its parts, pixels, sum]
        self.edge: np.ndarray | None = None  # number of the area at each column of the last row, 0 = none
        self.next = 1

    def add(self, parts: _Parts) -> Iterator[tuple[int, Any, int, float]]:
        """Take the strip below: join what goes on, hand out what has ended."""
        above = self.edge if self.edge is not None else np.zeros(parts.numbers.shape[1], np.int64)
        belongs = np.zeros(len(parts.classes), np.int64)  # part of the strip -> area
        for part, value in enumerate(parts.classes[1:], 1):
            belongs[part] = self.next
            self.areas[self.next] = [int(value), [parts.shapes[part]], int(parts.pixels[part]), float(parts.sums[part])]
            self.next += 1
        below = belongs[parts.numbers[0]]
        root: dict[int, int] = {}
        for a, b in np.unique(np.stack([above, below])[:, (above > 0) & (below > 0)], axis=1).T.tolist():
            a, b = _root(root, a), _root(root, b)
            if a != b and self.areas[a][0] == self.areas[b][0]:
                kept, joined = self.areas[a], self.areas.pop(b)
                root[b] = a
                kept[1] += joined[1]
                kept[2] += joined[2]
                kept[3] += joined[3]
        edge = belongs[parts.numbers[-1]]
        numbers, back = np.unique(edge, return_inverse=True)
        self.edge = np.array([_root(root, n) for n in numbers.tolist()], np.int64)[back]
        yield from self.close(set(self.edge.tolist()))

    def close(self, going_on: set[int] | None) -> Iterator[tuple[int, Any, int, float]]:
        """Hand out the areas that do not go on; None = none does."""
        for number in [n for n in self.areas if not going_on or n not in going_on]:
            value, shapes, pixels, total = self.areas.pop(number)
            yield value, _joined(shapes), pixels, total


def _root(root: dict[int, int], number: int) -> int:
    while number in root:
        number = root[number]
    return number


def _joined(shapes: list) -> Any:
    """One polygon of its parts. Corners are whole numbers, so nothing is lost; those that the seams added go again."""
    import shapely

    if len(shapes) == 1:
        return shapes[0]
    return shapely.simplify(shapely.union_all(shapes), 0)


def _batches(found: Iterator) -> Iterator[list]:
    """Lists of at most BATCH; one empty list if there is nothing, so that an empty layer is written."""
    batch: list = []
    wrote = False
    for item in found:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch, wrote = [], True
    if batch or not wrote:
        yield batch


def _frame(
    found: list, transform: Affine, crs: Any, area: Any, classes: Sequence, scored: bool, ground: Any
) -> gpd.GeoDataFrame:
    import geopandas as gpd

    shapes = np.array([shape for _, shape, _, _ in found], dtype=object)
    if ground is not None:
        squares = [square(shape, here) for shape, here in zip(shapes, ground(shapes), strict=True)]
        shapes = np.array([shape for shape, _ in squares], dtype=object)
    values = np.array([value for value, *_ in found], np.int32)
    pixels = np.array([n for _, _, n, _ in found], float)
    columns = {
        "value": values,
        "code": np.array([classes[v].get("code", v) for v in values], np.int32),
        "name": np.array([str(classes[v]["name"]) for v in values], object),
        "area_m2": area(shapes),
    }
    if scored:
        columns["probability"] = np.array([total for *_, total in found], float) / np.maximum(pixels, 1)
    if ground is not None:
        columns["squared"] = np.array([done for _, done in squares], bool)
    return gpd.GeoDataFrame(columns, geometry=_moved(shapes, transform), crs=crs)


def _moved(shapes: np.ndarray, transform: Affine) -> np.ndarray:
    import shapely

    return (
        shapely.transform(shapes, lambda xy: np.stack(transform * (xy[:, 0], xy[:, 1]), axis=1))
        if len(shapes)
        else shapes
    )


def _ground(labels: Any) -> Any:
    """A function of polygons in pixel coordinates -> (polygon, 2, 2): one pixel to the right, and one down, east and north [m]."""
    import shapely
    from pyproj import CRS, Transformer

    crs = CRS.from_user_input(labels.crs)
    to_lonlat = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform
    geod: Any = crs.get_geod()  # a CRS without an ellipsoid was refused: it has no areas either

    def ground(shapes: np.ndarray) -> np.ndarray:
        x, y = shapely.get_coordinates(shapely.centroid(shapes)).T
        here = to_lonlat(*(labels.transform * (x, y)))
        steps = []
        for right, down in ((1, 0), (0, 1)):
            azimuth, _, length = geod.inv(*here, *to_lonlat(*(labels.transform * (x + right, y + down))))
            steps.append(
                np.stack([length * np.sin(np.radians(azimuth)), length * np.cos(np.radians(azimuth))], axis=-1)
            )
        return np.stack(steps, axis=-1)

    return ground


def _area(labels: Any) -> Any:
    """A function of polygons in pixel coordinates -> their areas on the ellipsoid, m2, in an equal-area projection.

    Azimuthal (Snyder 1987, ch. 24) around the map's centre; for degrees the cylindrical one (ch. 10), where edges along
    meridians and parallels stay straight.
    """
    import shapely
    from pyproj import CRS, Transformer

    from geonb.rasters.grids import pixel_size_m

    crs = CRS.from_user_input(labels.crs)
    shape = labels.height, labels.width
    x, y = labels.transform * (shape[1] / 2, shape[0] / 2)
    lon, lat = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(x, y)
    kind = f"+proj=cea +lat_ts=0 +lon_0={lon}" if crs.is_geographic else f"+proj=laea +lat_0={lat} +lon_0={lon}"
    body = crs.ellipsoid
    if body is None:
        raise ValueError(
            f"{labels.name}: its CRS names no ellipsoid, so areas in m2 cannot be told. Give it another CRS"
        )
    equal = CRS.from_proj4(f"{kind} +a={body.semi_major_metre} +b={body.semi_minor_metre} +units=m +no_defs")
    project = Transformer.from_crs(crs, equal, always_xy=True).transform
    step = max(1.0, STEP_M / pixel_size_m(labels.crs, labels.transform, shape))

    def move(xy: np.ndarray) -> np.ndarray:
        return np.stack(project(*(labels.transform * (xy[:, 0], xy[:, 1]))), axis=1)

    def area(shapes: np.ndarray) -> np.ndarray:
        if not len(shapes):
            return np.zeros(0)
        return shapely.area(shapely.transform(shapely.segmentize(shapes, step), move))

    return area
