"""What a folder of rasters and polygons shows as map tiles: a layer for each file, and one for rasters that fit together."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import short
from geonb.base.threads import spread
from geonb.rasters.tiles import HALF_M
from geonb.tileserver import shapes

if TYPE_CHECKING:
    from rio_tiler.io import Reader

ENDINGS = (".tif", ".tiff")
WORLD = (-180.0, -85.0511287798066, 180.0, 85.0511287798066)  # what Web Mercator shows, degrees
OPEN = 64  # files that a thread holds open
LOOKED_AT = 24  # files of a mosaic whose values say how it is stretched
LOOK_S = 2.0  # between two looks at whether files were replaced
LARGE = 4096  # pixels; from here on overviews are missed
LARGE_BYTES = 200 << 20  # of polygons, which are held in memory: larger ones are drawn if they are named
COLUMN = ":column="  # after the name of a file of polygons
SIDE = 512  # pixels on the longer side of what is read for that, from overviews
DARK = 64  # bytes that stay below are stretched: a mask of 0 and 1 would be black
PICTURE = ("red", "green", "blue")


@dataclass(frozen=True)
class Source:
    """One raster file, or a column of one of polygons.

    Attributes
    ----------
    bounds : tuple, degrees (west, south, east, north), within what Web Mercator shows
    minzoom, maxzoom : int, of 256 px tiles: the whole file in one, and its own pixels
    names : tuple of str, of the bands that hold values (an alpha band is none)
    shown : tuple of int, bands of a picture or the one that is coloured, from 1
    colours : dict of value -> (red, green, blue, alpha), of a paletted file
    classes : dict of value -> name, of a class map of geonb
    taken : str, the TIFF's own date, empty if it has none
    notes : tuple of str, what a user should know of it
    stamp : int, when the file was written, ns
    column : str, of a file of polygons: what they are coloured by; None for rasters
    """

    path: Path
    bounds: tuple[float, float, float, float]
    minzoom: int
    maxzoom: int
    dtype: str
    names: tuple[str, ...]
    shown: tuple[int, ...]
    colours: dict[int, tuple[int, int, int, int]]
    classes: dict[int, str]
    taken: str
    simulated: bool
    notes: tuple[str, ...]
    stamp: int
    column: str | None = None

    @property
    def colormap(self) -> str | None:
        """Of a column of numbers; rasters are grey unless somebody asks."""
        return "cividis" if self.column is not None and not self.colours else None

    @property
    def kind(self) -> tuple:
        """What files of one mosaic have in common; polygons are layers by themselves."""
        alone = (self.path, self.column) if self.column is not None else ()
        return alone, self.dtype, self.names, self.shown, tuple(self.colours.items()), tuple(self.classes.items())


@dataclass
class Layer:
    """What is shown under one name: files that fit together, the first on top."""

    name: str
    every: tuple[Source, ...]  # also those that do not fit the others at present
    _ranges: dict[tuple, tuple] = field(default_factory=dict, repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _looked: float = field(default_factory=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        self._shown = _fitting(self.every)

    @property
    def sources(self) -> tuple[Source, ...]:
        return self._shown[0]

    def look_again(self, every_s: float = LOOK_S) -> None:
        """Describe files anew that were replaced since, as a run does that is computed again; asked at most every so many seconds.

        Files of a mosaic that no longer are of the kind that most are leave it until they are again; one that cannot be described (it is
        being written) stays as it was.
        """
        with self._turn:
            if time.monotonic() - self._looked < every_s:
                return
            self._looked = time.monotonic()
            now = tuple(_renewed(source) for source in self.every)
            if now != self.every:
                self.every, self._ranges = now, {}
                self._shown = _fitting(now)  # at once: other threads look up sources by their boxes

    @property
    def first(self) -> Source:
        return self.sources[0]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        boxes = self._shown[1]
        (west, south), (east, north) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        return float(west), float(south), float(east), float(north)

    @property
    def zooms(self) -> tuple[int, int]:
        return min(source.minzoom for source in self.sources), max(source.maxzoom for source in self.sources)

    def within(self, box: tuple[float, float, float, float]) -> list[Source]:
        """The files that may hold something of a box in degrees."""
        sources, boxes = self._shown
        west, south, east, north = boxes.T
        hit = (west < box[2]) & (east > box[0]) & (south < box[3]) & (north > box[1])
        return [sources[i] for i in np.flatnonzero(hit)]

    def ranges(self, bands: tuple[int, ...], nodata: float | None = None) -> tuple[tuple[float, float], ...] | None:
        """What is drawn from dark to bright, a band each; None where bytes are drawn as they are. Read once, from overviews."""
        key = (bands, str(nodata))
        with self._turn:
            if key not in self._ranges:
                self._ranges[key] = self._look(bands, nodata)
            return self._ranges[key]

    def _look(self, bands: tuple[int, ...], nodata: float | None) -> Any:
        every = max(1, -(-len(self.sources) // LOOKED_AT))
        looks = [_values(source, bands, nodata) for source in self.sources[::every]]
        ends = [[np.percentile(v[i], (2, 98, 100)) for v in looks if v[i].size] for i in range(len(bands))]
        if self.first.dtype == "uint8":
            most = max((end[2] for found in ends for end in found), default=0)
            return ((0.0, float(most)),) * len(bands) if 0 < most < DARK else None
        return tuple(_range(found) for found in ends)


def _fitting(every: Sequence[Source]) -> tuple[tuple[Source, ...], np.ndarray]:
    """The files of the kind that most are, the first's if as many are of another; and their boxes (file, 4)."""
    ((kind, _),) = Counter(source.kind for source in every).most_common(1)
    fit = tuple(source for source in every if source.kind == kind)
    return fit, np.array([source.bounds for source in fit])


def _renewed(source: Source) -> Source:
    with suppress(OSError, ValueError):
        if source.path.stat().st_mtime_ns != source.stamp:
            return describe(Path(f"{source.path}{COLUMN}{source.column}") if source.column else source.path)
    return source


def _range(ends: Sequence[np.ndarray]) -> tuple[float, float]:
    low, high = (float(min(e[0] for e in ends)), float(max(e[1] for e in ends))) if ends else (0.0, 1.0)
    return (low, high) if high > low else (low, low + 1)


def _values(source: Source, bands: tuple[int, ...], nodata: float | None) -> list[np.ndarray]:
    """What there is in each band, seen from far."""
    with named(source.path):
        seen = reader(source).preview(indexes=bands, max_size=SIDE, nodata=nodata).array
    return [values[np.isfinite(values)] for values in (band.compressed() for band in seen)]


_held = threading.local()


def reader(source: Source) -> Reader | shapes.Shapes:
    """A file, open for as long as this thread needs it: opening costs more than a tile. Polygons are held for all threads."""
    path = source.path
    if source.column is not None:
        return shapes.load(path, source.column, source.stamp)
    held: OrderedDict[tuple, tuple[Any, ExitStack]] = _held.__dict__.setdefault("readers", OrderedDict())
    key = path, source.stamp
    if key not in held:
        with ExitStack() as stack:
            opened = _open(path, stack)
            held[key] = opened, stack.pop_all()
        while len(held) > OPEN:
            held.popitem(last=False)[1][1].close()
    held.move_to_end(key)
    return held[key][0]


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What GDAL cannot read there, with the file's name and GDAL's own first word."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        raise OSError(
            f"{path.name}: it cannot be read here ({short(error.__cause__ or error)}). Copy it again"
        ) from error


def _open(path: Path, stack: ExitStack) -> Reader:
    """A file as rio-tiler reads it; a fourth band that GDAL merely calls alpha is one like the others."""
    import rasterio
    from rasterio.enums import ColorInterp
    from rio_tiler.io import Reader

    from geonb.rasters.validity import alpha_band, with_mask

    data = stack.enter_context(rasterio.open(path))
    if ColorInterp.alpha in data.colorinterp and not alpha_band(data):
        data = with_mask(data, 0, stack)
    return stack.enter_context(Reader(None, dataset=data))


def describe(path: Path) -> Source:
    """What a raster, or a file of polygons (``chips.gpkg:column=told``), holds and where.

    Raises
    ------
    ValueError
        If it cannot be shown: it has no place, or is none that GDAL opens.
    """
    import rasterio
    from rasterio.errors import RasterioError
    from rio_tiler.utils import non_alpha_indexes

    file, column = _column_of(path)
    if file.suffix.lower() in shapes.ENDINGS:
        return _describe_shapes(file, column)
    try:
        with ExitStack() as stack:
            stamp, opened = path.stat().st_mtime_ns if path.exists() else 0, _open(path, stack)
            data: Any = opened.dataset
            if opened.crs is None:
                raise ValueError(
                    f"{path}: it has no CRS, so nobody knows where it is. Give it one: rio edit-info --crs EPSG:... {path}"
                )
            if np.issubdtype(np.dtype(data.dtypes[0]), np.complexfloating):
                raise ValueError(
                    f"{path}: complex numbers have no brightness. Write their amplitude or phase as a raster"
                )
            indexes, tags = non_alpha_indexes(data), data.tags()
            names = tuple(data.descriptions[i - 1] or f"band {i}" for i in indexes)
            colours = {int(k): tuple(v) for k, v in (opened.colormap or {}).items()} if len(indexes) == 1 else {}
            classes = {int(k[6:]): v for k, v in tags.items() if k.startswith("CLASS_") and k[6:].isdigit()}
            return Source(
                path, _bounds(opened), *_zooms(opened), data.dtypes[0], names, _shown(data, indexes, names), colours,
                dict(sorted(classes.items())), tags.get("TIFFTAG_DATETIME", ""), tags.get("simulated", "0") not in ("0", "False"),
                _notes(path, opened), stamp,
            )  # fmt: skip
    except (RasterioError, rasterio.errors.CRSError) as error:
        raise ValueError(
            f"{path}: it cannot be read as a raster ({short(error)}). Copy it again, or leave it out"
        ) from error


def _column_of(path: Path) -> tuple[Path, str]:
    """A file and the column that is named after it."""
    name, _, column = str(path).rpartition(COLUMN)
    return (Path(name), column) if name and not path.exists() else (path, "")


def _describe_shapes(path: Path, column: str) -> Source:
    """What polygons show, from where one tile holds all of them down to where a usual one fills 4 x 4."""
    stamp = path.stat().st_mtime_ns
    found = shapes.load(path, column, stamp)
    whole = float(np.ptp(np.array(found.outlines.total_bounds).reshape(2, 2), axis=0).max())
    low, high = (
        int(np.clip(np.log2(2 * HALF_M / max(side, 1e-3)) + 1e-6, 0, shapes.DEEPEST))
        for side in (whole, found.side_m / 4)
    )
    notes = found.notes
    if found.column and not column:
        notes += (f"{path}: shown by {found.column}; other columns: {path}{COLUMN}NAME",)
    (west, south, east, north), names = found.bounds, (found.column or "polygons",)
    return Source(
        path, (west, south, east, north), low, max(low, high), str(found.values.dtype), names, (1,), found.colours, found.names, "",
        shapes.simulated(path), notes, stamp, column,
    )  # fmt: skip


def _notes(path: Path, opened: Reader) -> tuple[str, ...]:
    data: Any = opened.dataset
    notes = []
    if max(data.shape) > LARGE and not data.overviews(1):
        notes.append(f"{path}: it has no overviews, so small scales are slow. Add them: gdaladdo -r average {path}")
    if opened.crs.is_geographic and (opened.bounds[2] > 180.001 or opened.bounds[0] < -180.001):
        notes.append(
            f"{path}: it goes past 180 degrees, and is shown up to there. To see all of it: gdalwarp -t_srs EPSG:4326 "
            f"-te -180 {max(opened.bounds[1], -90):g} 180 {min(opened.bounds[3], 90):g} {path} ..."
        )
    return tuple(notes)


def _shown(data: Any, indexes: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
    """Red, green and blue by what the file says of its bands, else the first three, else the first."""
    meanings = [data.colorinterp[i - 1].name for i in indexes]
    for said in ([name.lower() for name in names], meanings):  # of bytes GDAL says so whatever they are
        if all(colour in said for colour in PICTURE):
            return tuple(indexes[said.index(colour)] for colour in PICTURE)
    return tuple(indexes[:3]) if len(indexes) > 2 else (indexes[0],)


def _bounds(opened: Reader) -> tuple[float, float, float, float]:
    """Where a file is, in degrees; of one whose corners are no place (the disk of a geostationary satellite), where its pixels are."""
    from rasterio.crs import CRS

    west, south, east, north = opened.get_geographic_bounds(CRS.from_epsg(4326))
    if (west, south, east, north) == (-180, -90, 180, 90):
        west, south, east, north = _bounds_of_pixels(opened)
    if west > east:  # over the antimeridian
        west, east = WORLD[::2]
    west, east = max(west, WORLD[0]), min(east, WORLD[2])
    return west, max(south, WORLD[1]), east, min(north, WORLD[3])


def _bounds_of_pixels(opened: Reader, steps: int = 65) -> tuple[float, float, float, float]:
    from geonb.rasters.grids import lonlat

    west, south, east, north = opened.bounds
    x, y = np.meshgrid(np.linspace(west, east, steps), np.linspace(south, north, steps))
    at = np.stack(lonlat(opened.crs, x.ravel(), y.ravel()))
    at = at[:, np.isfinite(at).all(0)]
    return (*at.min(1), *at.max(1)) if at.size else (-180.0, -90.0, 180.0, 90.0)


def _zooms(opened: Reader) -> tuple[int, int]:
    low, high = opened.minzoom, min(opened.maxzoom, 30)
    return min(low, high), high


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The files that names and folders stand for: a file as it is, of a folder its GeoTIFFs and polygons, also those deeper.

    A file of polygons may have a column's name with it: ``chips.gpkg:column=told``.

    Raises
    ------
    FileNotFoundError, ValueError
        If a name stands for nothing, or is empty.
    """
    found: dict[Path, None] = {}
    if "" in (paths := list(paths)):
        raise ValueError("The name of a folder or file is an empty text. Leave it out, or say what it is.")
    for given in map(Path, paths):
        if given.is_dir():
            endings = (*ENDINGS, *shapes.ENDINGS)
            inside = (p for p in sorted(given.rglob("*")) if p.suffix.lower() in endings and ".partial" not in p.name)
            found |= dict.fromkeys(
                p for p in inside if p.is_file() and not any(s.startswith(".") for s in p.relative_to(given).parts)
            )
        elif _column_of(given)[0].is_file():
            found[given] = None
        else:
            raise FileNotFoundError(f"There is no file or folder {given}.")
    return list(found)


def layers_of(paths: Iterable[str | Path], mosaic: str = "mosaic") -> tuple[dict[str, Layer], list[str]]:
    """The layers of files and folders: those of files that fit together first, then one a file.

    Files fit that have the same bands, type, colours and classes. On top lies what was taken last, by the TIFF's own date; of
    files without one, what was named first.

    Parameters
    ----------
    mosaic : str, name of the layer of files that fit together

    Returns
    -------
    (layers, notes)
        By name; and a sentence for each file that was left out, or is slow.

    Raises
    ------
    ValueError, FileNotFoundError
        If nothing is left to show.
    """
    files, given = find(paths), set(map(Path, paths))
    large = [
        f for f in files if f not in given and f.suffix.lower() in shapes.ENDINGS and f.stat().st_size > LARGE_BYTES
    ]
    notes: list[str] = [
        f"{file}: {file.stat().st_size / 1e6:,.0f} MB of polygons are not read unasked. Name the file" for file in large
    ]
    sources: list[Source] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told in our words
        for told in spread(_described, [(file,) for file in files if file not in large]):
            notes.append(told) if isinstance(told, str) else sources.append(told)
    if not sources:
        endings, there = " or ".join((*ENDINGS, *shapes.ENDINGS)), ", ".join(map(str, paths))
        left = "".join(f"\n- {note}" for note in notes) or (
            f"no file ends in {endings} in {there}. Give a folder of GeoTIFFs or polygons, or rasters of another format by name."
        )
        raise ValueError(f"Nothing to show: {left}")
    notes += [note for source in sources for note in source.notes]
    kinds: dict[tuple, list[Source]] = {}
    for source in sources:
        kinds.setdefault(source.kind, []).append(source)
    together = [sorted(group, key=lambda s: s.taken, reverse=True) for group in kinds.values() if len(group) > 1]
    names = [mosaic, *(f"{mosaic} {i}" for i in range(2, len(together) + 1))][: len(together)]
    wholes = dict(zip(names, together, strict=True))
    wholes |= {name: [source] for name, source in zip(_names(sources, names), sources, strict=True)}
    return {name: Layer(name, tuple(group)) for name, group in wholes.items()}, notes


def _described(path: Path) -> Source | str:
    try:
        return describe(path)
    except ValueError as error:
        return str(error)


def _names(sources: Sequence[Source], taken: Iterable[str]) -> list[str]:
    """The shortest end of each file's path that is its own: `scene`, or `2020.scene` where `2021.scene` is there too."""
    used, names = set(taken), []
    stems = [" ".join(filter(None, (source.path.stem, source.column))) for source in sources]
    for source, stem in zip(sources, stems, strict=True):
        parts = [*source.path.absolute().parts[:-1], stem]
        name = parts.pop()
        alone = stems.count(name) == 1
        while (not alone or name in used) and parts:
            name, alone = f"{parts.pop().strip('/')}.{name}", True
        while name in used:
            name += "'"
        used.add(name)
        names.append(name)
    return names
