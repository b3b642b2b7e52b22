"""Rasters cut into chips: pictures named by their quadkey, a GeoParquet manifest, and an index of what holds no data.

A row of chips is warped at once and then parted; pixels that lie on the chips' grid already are copied as they are. Images of
one catalogue id are one strip of imagery: where they overlap, the first that has data is taken.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geonb.base import cluster, project, stac, threads
from geonb.base import files as base_files
from geonb.base import processes as processes_of
from geonb.base.conventions import refuse
from geonb.base.specs import pick
from geonb.rasters import grids, images, tiles
from geonb.rasters.images import Image
from geonb.rasters.sources import files_of
from geonb.workloads.chips import quadkeys
from geonb.workloads.chips.quadkeys import Cell

if TYPE_CHECKING:
    import geopandas as gpd
    from distributed import Client

MANIFEST, NODATA, SETTINGS, DONE = "manifest.parquet", "nodata-index.json", "chips.json", ".cut"
FORMS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img", *tiles.SUFFIXES)
DATA = ("none", "partial", "all")
ARD_FILE = re.compile(r"(?:.*/)?0?(\d{1,2})/([0-3]{12})/(\d{4}-\d\d-\d\d)/([^/]+)-visual\.tiff?")
AT_ONCE = 64  # chips that a process cuts before it says so
BEYOND_ZONE_DEG = 3.0  # that a raster may reach beyond a UTM zone of 6 degrees


@dataclass(frozen=True)
class Lattice:
    """A rectangle of chips: the columns and rows of a grid at a zoom, each chip `size` px wide.

    On ``xyz`` columns go on beyond 180 degrees; on ``ard`` the CRS is that of the hemisphere `south` says.
    """

    zone: int
    zoom: int
    size: int
    columns: range
    rows: range
    south: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        return len(self.rows) * self.size, len(self.columns) * self.size

    @property
    def crs(self) -> Any:
        """The grid's."""
        from rasterio.crs import CRS

        return CRS.from_string(quadkeys.crs_of(self.zone, self.south))

    @property
    def transform(self) -> Any:
        """Affine, of the pixels."""
        from affine import Affine

        corner, side = Cell("0", self.zone).bounds, quadkeys.side_m("ard" if self.zone else "xyz", self.zoom)
        north = corner[3] + (quadkeys.SOUTH_M if self.south else 0.0) - self.rows.start * side
        pixel = side / self.size
        return Affine(pixel, 0.0, corner[0] + self.columns.start * side, 0.0, -pixel, north)

    def cell(self, column: int, row: int) -> Cell:
        """The cell of a column and a row of the grid."""
        return quadkeys.cell_at(self.zone, self.zoom, column % 2**self.zoom, row)

    def slices(self, column: int, row: int) -> tuple[slice, slice]:
        """Pixels (rows, columns) of a chip."""
        y, x = (row - self.rows.start) * self.size, (column - self.columns.start) * self.size
        return slice(y, y + self.size), slice(x, x + self.size)

    def union(self, other: Lattice) -> Lattice:
        """The smallest rectangle that holds both."""
        spans = [
            range(min(a.start, b.start), max(a.stop, b.stop))
            for a, b in ((self.columns, other.columns), (self.rows, other.rows))
        ]
        return replace(self, columns=spans[0], rows=spans[1])


class Source(NamedTuple):
    """An image and the chips it shows; what it is called, and when it was taken (empty: nobody said)."""

    image: Image
    lattice: Lattice
    catalogue: str
    date: str

    @property
    def name(self) -> str:
        """The file's stem; of an ARD file, whose stem all tiles of a strip share, its square and the catalogue id."""
        ard = _ard(self.image)
        return Cell(ard[2], int(ard[1])).name(self.catalogue) if ard else self.image.name


def lattice_of(image: Image, grid: str = "xyz", zoom: int = 17, size: int = 256) -> Lattice:
    """The smallest rectangle of chips that covers an image.

    On ``ard`` all lie in one UTM zone: the image's own if its CRS is one, else that of its centre.

    Parameters
    ----------
    size : int, px
        Side of a chip.

    Raises
    ------
    ValueError
        If the image reaches beyond the grid, or too far beyond a UTM zone, or is wider than quadkeys.MOST chips.
    """
    quadkeys.check_grid(grid, zoom)
    grids.beyond_180(*image.grid)  # refuses before hours of cutting what it would when it is warped
    here = lonlat_box(image)
    zone, south, box = _on_xyz(image, here) if grid == "xyz" else _on_ard(image, here)
    columns, rows = quadkeys.span(zone, zoom, box)
    if len(columns) * len(rows) > quadkeys.MOST:
        raise ValueError(
            f"{image.paths[0]} would be {len(columns):,} x {len(rows):,} chips of zoom {zoom}, and at most {quadkeys.MOST:,} are "
            "cut of one raster. Give a smaller zoom"
        )
    return Lattice(zone, zoom, size, columns, rows, south)


def lonlat_box(image: Image) -> tuple[float, float, float, float]:
    """(west, south, east, north) of an image in degrees; east beyond 180 where it crosses that."""
    from rasterio.warp import transform_bounds

    box = grids.bounds(image.transform, image.shape)
    west, south, east, north = transform_bounds(image.crs, "OGC:CRS84", *box, densify_pts=21)
    if not all(map(math.isfinite, (west, south, east, north))):
        raise ValueError(
            f"{image.paths[0]} reaches where there are no longitudes and latitudes. Cut out a part first, with gdalwarp -te"
        )
    return west, south, east + 360 * (east < west), north


def _on_xyz(image: Image, here: tuple[float, float, float, float]) -> tuple[int, bool, tuple]:
    """Zone 0, and the box of an image in metres of EPSG:3857; what lies nearer to a pole than that reaches is left out."""
    west, south, east, north = here
    highest = quadkeys.highest()
    if north <= -highest or south >= highest:
        raise ValueError(
            f"{image.paths[0]} lies at {south:.2f} to {north:.2f} degrees, and chips of xyz end at {highest:.2f}. There are none so near "
            "to a pole; those of ard end at 84 north and 80 south"
        )
    if image.crs.to_epsg() == 3857:
        return 0, False, grids.bounds(image.transform, image.shape)
    low, high = (
        math.asinh(math.tan(math.radians(min(max(lat, -highest), highest)))) / math.pi for lat in (south, north)
    )
    return 0, False, (west / 180 * tiles.HALF_M, low * tiles.HALF_M, east / 180 * tiles.HALF_M, high * tiles.HALF_M)


def _on_ard(image: Image, here: tuple[float, float, float, float]) -> tuple[int, bool, tuple]:
    """UTM zone, whether south of the equator, and the box of an image in metres of the zone's plane."""
    from rasterio.warp import transform_bounds

    west, south, east, north = here
    epsg, box = image.crs.to_epsg() or 0, grids.bounds(image.transform, image.shape)
    own = epsg // 100 in (326, 327) and 1 <= epsg % 100 <= 60
    zone = epsg % 100 if own else quadkeys.zone_of((west + east) / 2)
    is_south = epsg // 100 == 327 if own else south + north < 0
    beyond = ((west - (6 * zone - 183) + 180) % 360 - 180 + 3, (east - (6 * zone - 183) + 180) % 360 - 180 - 3)
    least, most = quadkeys.UTM_LATITUDES
    if east - west > 12 or beyond[0] < -BEYOND_ZONE_DEG or beyond[1] > BEYOND_ZONE_DEG or south < least or north > most:
        raise ValueError(
            f"{image.paths[0]} reaches from {west:.2f} to {east:.2f} degrees of longitude and {south:.2f} to {north:.2f} of latitude, and "
            f"chips of ard lie in one UTM zone, here {zone}, with {BEYOND_ZONE_DEG:g} degrees around it, from {least:g} to {most:g}. "
            "Cut the raster first, or use grid=xyz"
        )
    if not own:
        box = transform_bounds(image.crs, quadkeys.crs_of(zone), *box, densify_pts=21)
    shift = quadkeys.SOUTH_M if own and is_south else 0.0
    return zone, is_south, (box[0], box[1] - shift, box[2], box[3] - shift)


def warped(
    image: Image, lattice: Lattice, rows: Iterable[int] | None = None, resampling: str | None = None
) -> Generator[tuple[int, np.ndarray, np.ndarray]]:
    """Read an image on the chips' grid, a row of chips at a time; without a warp where its pixels lie there already.

    Parameters
    ----------
    lattice : of `lattice_of`, or any other rectangle
    rows : ints that rise, optional
        Rows of the grid; all of the lattice by default.
    resampling : str, optional
        See :func:`geonb.rasters.images.onto`.

    Yields
    ------
    row : int, of the grid
    inputs : ndarray (channel, size, columns * size), the image's dtype, 0 where not valid
    valid : ndarray (size, columns * size) of bool
    """
    with reading(image, lattice, resampling) as read:
        for row in lattice.rows if rows is None else rows:
            yield row, *read(lattice.slices(lattice.columns.start, row)[0], slice(0, lattice.shape[1]))


@contextmanager
def reading(image: Image, lattice: Lattice, resampling: str | None = None) -> Iterator[Callable]:
    """Read rectangles of an image on the chips' grid, as `warped`: (rows, columns) of the lattice's pixels -> inputs, valid."""
    offset = _offset(image, lattice)
    there = image if offset else images.onto(image, lattice.crs, lattice.transform, lattice.shape, resampling)
    with images.reader(there) as read:
        yield lambda down, across: _shifted(read, there, down, across, offset) if offset else read(down, across)[:2]


def _offset(image: Image, lattice: Lattice) -> tuple[int, int] | None:
    """Row and column of the lattice's corner in an image whose pixels lie on it; None if they do not."""
    a, b = image.transform, lattice.transform
    if image.from_crs is not None or image.resampling or image.crs != lattice.crs:
        return None
    down, across = (b.f - a.f) / a.e, (b.c - a.c) / a.a
    strayed = abs(a.a - b.a) * max(image.shape), abs(a.e - b.e) * max(image.shape)
    off = max(*strayed, abs(down - round(down)) * b.a, abs(across - round(across)) * b.a)
    return (round(down), round(across)) if off < 1e-2 * b.a else None


def _shifted(read: Callable, image: Image, down: slice, across: slice, offset: tuple[int, int]) -> tuple:
    """What a reader reads, seen from another corner; no data beyond the image."""
    wanted = [slice(s.start + o, s.stop + o) for s, o in zip((down, across), offset, strict=True)]
    inside = [slice(max(0, s.start), max(0, min(s.stop, n))) for s, n in zip(wanted, image.shape, strict=True)]
    shape = down.stop - down.start, across.stop - across.start
    inputs, valid = np.zeros((len(image.bands), *shape), image.dtype), np.zeros(shape, bool)
    if all(s.start < s.stop for s in inside):
        at = tuple(slice(i.start - w.start, i.stop - w.start) for i, w in zip(inside, wanted, strict=True))
        inputs[(slice(None), *at)], valid[at] = read(*inside)[:2]
    return inputs, valid


def cut_chips(
    rasters: str | Sequence[str | Path], folder: str | Path, *, grid: str = "xyz", zoom: int = 17, size: int = 256,
    form: str = "jpg", quality: int = 85, bands: str | None = None, rescale: tuple[float, float] | None = None,
    resampling: str | None = None, catalog: str | Mapping[str, str] | None = None,
    dates: Mapping[str, str] | None = None, processes: int | None = None, client: Client | None = None,
) -> gpd.GeoDataFrame:  # fmt: skip
    """Cut rasters into chips; killed anywhere and called again, it goes on and ends in the same files.

    Beside the pictures it writes ``manifest.parquet`` (GeoParquet) and ``nodata-index.json`` (picture -> none, partial or all, by
    all its pixels). A chip without any data is in both, and has no picture.

    Parameters
    ----------
    rasters : str or sequence of paths
        Files, folders and globs; tiles that are named by their place become mosaics (:func:`geonb.rasters.tiles.gather`).
    folder : where the chips go; holds nothing else
    grid, zoom, size : "xyz" or "ard"; digits of the quadkey; side of a chip in px
    form, quality : "jpg" or "webp" with a quality of 1-100, or "png"; where a png or webp is transparent there is no data
    bands : str, optional
        One or three, by name or number: "4,3,2".
    rescale : tuple = (black, white), optional
        Values that become 0 and 255; needed for other types than uint8.
    resampling : see :func:`geonb.rasters.images.onto`
    catalog : str or {file name or stem: id}, optional
        Catalogue id of all, or of each. By default ARD's own, else the file's stem. Images of one id are seen as one.
    dates : {file name, stem or catalogue id: ISO date}, optional
        When images were taken. By default what an ARD path says, else NaT: never guessed.
    processes : int, optional
        The number of cores by default; 1 works here.
    client : optional
        A `dask.distributed.Client` instead, whose workers see the same files.

    Returns
    -------
    GeoDataFrame in OGC:CRS84, sorted by name: name (of the picture), quadkey, zone (0 on xyz), zoom, catalogue, date, source,
        valid (share of pixels), data (none, partial, all), geometry; in its attrs `notes`, what was taken for granted

    Raises
    ------
    ValueError
        Listing every raster that cannot be used and why, with the cure; settings other than those of the chips there.
    """
    folder = Path(folder)
    settings = {"grid": grid, "zoom": zoom, "size": size, "form": form, "quality": None if form == "png" else quality,
                "bands": bands, "rescale": list(rescale) if rescale else None, "resampling": resampling}  # fmt: skip
    _check(settings)
    notes: list[str] = []
    sources = open_sources(rasters, settings, catalog, dates, notes)
    with base_files.locked(folder / DONE / "lock"):
        _claim(folder, settings)
        scenes = _scenes(sources)
        tasks = [
            (scene, rows, folder, settings, folder / DONE / f"{key}-{rows.start}.json")
            for scene in scenes
            for key in [_key(scene, settings)]
            for rows in _batches(scene)
        ]
        there = {entry.name for entry in os.scandir(folder)}
        todo = [task for task in tasks if not _is_done(task[-1], task[0], form, there)]
        many = threads.cores() if processes is None else processes
        for _ in cluster.spread(cut_rows, todo, client, folder / DONE / "workers", many, processes_of.spread):
            pass
        for left in (folder / DONE).glob("*.partial"):  # by a kill
            left.unlink(missing_ok=True)
        return _write_manifest(folder, [(task[0], task[-1]) for task in tasks], settings, notes)


def _check(settings: Mapping[str, Any]) -> None:
    quadkeys.check_grid(settings["grid"], settings["zoom"])
    pick("form", settings["form"], FORMS)
    faults = [f"size = {settings['size']!r} px: give 16 to 4096"] * (not 16 <= settings["size"] <= 4096)
    quality, rescale = settings["quality"], settings["rescale"]
    faults += [f"quality = {quality!r}: give 1 to 100"] * (quality is not None and not 1 <= quality <= 100)
    if rescale is not None and (len(rescale) != 2 or not rescale[0] < rescale[1]):
        faults.append(f"rescale = {rescale}: give the value that becomes black, and a larger one that becomes white")
    refuse("No chips can be cut so", faults)


def open_sources(
    rasters: str | Sequence[str | Path],
    settings: Mapping[str, Any],
    catalog: str | Mapping[str, str] | None = None,
    dates: Mapping[str, str] | None = None,
    notes: list[str] | None = None,
) -> list[Source]:
    """The images that are to be cut, each with its place on the grid, catalogue id and date; see `cut_chips`.

    What was taken for granted is added to `notes`.
    """
    faults: list[str] = []
    sources: list[Source] = []
    for path in files_in(rasters, faults, [] if notes is None else notes):
        try:
            image = images.open_image(path, settings["bands"])
            _check_picture(image, settings)
            source = placed(image, settings["grid"], settings["zoom"], settings["size"])
            name = re.sub(r"[^\w.-]+", "-", _given(catalog, path) or source.catalogue)
            date = _given(dates, path) or str((dates or {}).get(name, "")) or source.date
            _check_date(date, path)
            sources.append(source._replace(catalogue=name, date=date))
        except ValueError as error:
            faults.append(str(error))
    if catalog is None:
        homes: dict[str, list[Path]] = {}
        for source in sources:
            if not _ard(source.image):
                homes.setdefault(source.catalogue, []).append(source.image.paths[0])
        faults += [
            f"{', '.join(map(str, same))} would have one catalogue id, {name}. Give ids as `catalog`, one for all if they are one strip"
            for name, same in homes.items()
            if len(same) > 1
        ]
    refuse("These rasters cannot be cut into chips", faults)
    return sources


def placed(image: Image, grid: str, zoom: int, size: int) -> Source:
    """An image on the grid of its chips. Of an ARD file its own square, without the apron around it, whose pixels are those of its
    neighbours; and the catalogue id and the date that its path says, of others the file's stem, and the time of a STAC item."""
    lattice, ard = lattice_of(image, grid, zoom, size), _ard(image)
    if ard is None:
        return Source(image, lattice, image.paths[0].stem, stac.time_of(image.paths[0]))
    _check_date(ard[3], image.paths[0])
    own = grid == "ard" and lattice.zone == int(ard[1])
    return Source(image, _without_apron(lattice, ard[2]) if own else lattice, ard[4], ard[3])


def _ard(image: Image) -> re.Match[str] | None:
    """Zone, quadkey, date and catalogue id of a file that is named and laid as ARD's."""
    return ARD_FILE.fullmatch(image.paths[0].absolute().as_posix())


def own(image: Image, cells: Sequence[Cell]) -> np.ndarray:
    """Which chips an ARD file does not leave to its neighbours, by their centres: bool (cell,); of any other file all.

    On a grid that is not its own, chips do not end where its square does. Those wider than the square are left to nobody.
    """
    import shapely
    from pyproj import Transformer

    ard = _ard(image)
    if ard is None or not cells or cells[0].zoom <= len(ard[2]):
        return np.ones(len(cells), bool)
    square = Cell(ard[2], int(ard[1]))
    centres = shapely.get_coordinates(shapely.centroid(quadkeys.footprints(cells))).T
    x, y = Transformer.from_crs("OGC:CRS84", square.crs, always_xy=True).transform(*centres)
    west, south, east, north = square.bounds
    return (x >= west) & (x < east) & (y >= south) & (y < north)


def _check_date(date: str, path: Path) -> None:
    import pandas as pd

    try:
        pd.to_datetime(date or None, format="ISO8601", utc=True)
    except ValueError:
        raise ValueError(f"{path}: {date!r} is no date. Give one by ISO 8601, as 2023-11-12") from None


def files_in(rasters: str | Sequence[str | Path], faults: list[str], notes: list[str]) -> list[Path]:
    """The rasters that are named: files, those in folders and below, globs; tiles as mosaics, one for each zoom, which notes tell."""
    parts = project.split_files(rasters) if isinstance(rasters, str) else [str(part) for part in rasters]
    found: list[Path] = []
    for part in parts:
        try:
            home = project.folder_of(part)
        except ValueError as error:
            faults.append(f"rasters: {error}")
            continue
        if home is None:
            found += project.expand_files([part], faults, "rasters")
            continue
        inside = rasters_in(home)
        found += inside
        faults += [f"rasters: no raster lies in {home} (looked for {', '.join(RASTERS)})"] * (not inside)
    try:
        gathered, said = tiles.gather(list(dict.fromkeys(found)), zooms="each")
        notes += said
        return gathered
    except ValueError as error:
        faults.append(str(error))
        return []


def rasters_in(folder: Path) -> list[Path]:
    """The rasters of a folder and of those below."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in RASTERS and path.is_file())


def _given(table: str | Mapping[str, str] | None, path: Path) -> str:
    if isinstance(table, str):
        return table
    return str(next((table[k] for k in (str(path), path.name, path.stem) if k in table), "")) if table else ""


def _check_picture(image: Image, settings: Mapping[str, Any]) -> None:
    faults = []
    if len(image.channels) not in (1, 3):
        faults.append(
            f"{image.paths[0]} has {len(image.channels)} bands ({', '.join(image.channels)}), and a picture has one or three. Name "
            "them, for instance bands=1,2,3"
        )
    if image.dtype != "uint8" and settings["rescale"] is None:
        faults.append(
            f"{image.paths[0]} holds {image.dtype}, and a picture 0 to 255: give the values that become black and white, for instance "
            "rescale=(0, 3000)"
        )
    refuse("No picture can be made", faults)


def _without_apron(lattice: Lattice, quadkey: str) -> Lattice:
    """The chips of an ARD file's own square."""
    _, x, y = tiles.tile_of_quadkey(quadkey)
    times = 2 ** (lattice.zoom - len(quadkey)) if lattice.zoom >= len(quadkey) else 0
    if not times:
        return lattice
    columns, rows = (
        range(max(span.start, n * times), min(span.stop, (n + 1) * times))
        for span, n in ((lattice.columns, x), (lattice.rows, y))
    )
    return replace(lattice, columns=columns, rows=rows)


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Say in a folder what chips it is for; refuse one that is for others, or holds other things."""
    if (folder / SETTINGS).is_file():
        there = base_files.read_json(folder / SETTINGS)
        other = [f"{k} = {there.get(k)!r}, now {v!r}" for k, v in settings.items() if there.get(k) != v]
        if other:
            raise ValueError(
                f"{folder} holds chips of other settings ({'; '.join(other)}). Name another folder, or give those"
            )
        return
    foreign = sorted(path.name for path in folder.iterdir() if path.name != DONE)
    if foreign:
        raise ValueError(
            f"{folder} holds other things ({', '.join(foreign[:5])}), and no {SETTINGS} of ours. Name another folder"
        )
    base_files.write_json(folder / SETTINGS, settings)


def _scenes(sources: Sequence[Source]) -> list[tuple[Source, ...]]:
    """Sources of one catalogue id and one plane, together."""
    scenes: dict[tuple, list[Source]] = {}
    for source in sources:
        scenes.setdefault((source.catalogue, source.lattice.zone, source.lattice.south), []).append(source)
    return [tuple(scene) for scene in scenes.values()]


def _key(scene: Sequence[Source], settings: Mapping[str, Any]) -> str:
    """Stands for what the chips of a scene are made of."""
    every = [file for source in scene for path in source.image.paths for file in files_of(path)]
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in every]
    return base_files.key_of([settings, stamps, [s[1:] for s in scene]])


def _batches(scene: Sequence[Source]) -> list[range]:
    """Rows of a scene, so many that they hold some AT_ONCE chips."""
    every = _all(scene)
    step = max(1, AT_ONCE // max(1, len(every.columns)))
    return [range(y, min(y + step, every.rows.stop)) for y in range(every.rows.start, every.rows.stop, step)]


def _all(scene: Sequence[Source]) -> Lattice:
    whole = scene[0].lattice
    for source in scene[1:]:
        whole = whole.union(source.lattice)
    return whole


def _is_done(part: Path, scene: Sequence[Source], form: str, there: set[str]) -> bool:
    """Whether a batch was cut, and its pictures are there."""
    if not part.is_file():
        return False
    lattice, catalogue = scene[0].lattice, scene[0].catalogue
    chips = json.loads(part.read_text())
    return all(f"{lattice.cell(x, y).name(catalogue)}.{form}" in there for x, y, pixels, _ in chips if pixels)


def cut_rows(scene: Sequence[Source], rows: range, folder: Path, settings: Mapping[str, Any], part: Path) -> None:
    """Cut some rows of a scene, and then write in `part` which chips hold how much data: [column, row, pixels, source]."""
    chips: list[list[int]] = []
    with ExitStack() as stack:
        strips = []
        for source in scene:
            own = range(max(rows.start, source.lattice.rows.start), min(rows.stop, source.lattice.rows.stop))
            strip = stack.enter_context(closing(warped(source.image, source.lattice, own, settings["resampling"])))
            strips.append((own, strip))
        for row in rows:
            here = [(i, next(strip)) for i, (own, strip) in enumerate(strips) if row in own]
            lattice, inputs, valid, first = _joined(scene, here, row)
            for column, number in first.items():
                _, x = lattice.slices(column, row)
                pixels = int(valid[:, x].sum())
                if pixels:
                    name = f"{lattice.cell(column, row).name(scene[0].catalogue)}.{settings['form']}"
                    _save(inputs[:, :, x], valid[:, x], folder, name, settings)
                chips.append([column, row, pixels, number])
    base_files.write_text(part, json.dumps(chips))


def _joined(
    scene: Sequence[Source], here: list[tuple], row: int
) -> tuple[Lattice, np.ndarray, np.ndarray, dict[int, int]]:
    """A row of chips of all images that show it, and of each column the first image with data there."""
    if not here:
        return scene[0].lattice, np.empty((0, 0, 0)), np.empty((0, 0)), {}
    lattice = _all([scene[i] for i, _ in here])
    size, channels = lattice.size, here[0][1][1].shape[0]
    shape = size, lattice.shape[1]
    first: dict[int, int] = {}
    if len(here) == 1:  # the usual case, and joining copies all pixels
        i, (_, inputs, valid) = here[0]
        some = valid.reshape(size, len(lattice.columns), size).any(axis=(0, 2))
        return lattice, inputs, valid, {c: i if any_ else -1 for c, any_ in zip(lattice.columns, some, strict=True)}
    inputs, valid = np.zeros((channels, *shape), here[0][1][1].dtype), np.zeros(shape, bool)
    for i, (_, pixels, data) in here:
        own = scene[i].lattice.columns
        x = slice((own.start - lattice.columns.start) * size, (own.stop - lattice.columns.start) * size)
        new = data & ~valid[:, x]
        np.copyto(inputs[:, :, x], pixels, where=new)
        valid[:, x] |= new
        some = new.reshape(size, len(own), size).any(axis=(0, 2))
        first |= {column: i for column, any_ in zip(own, some, strict=True) if any_ and first.get(column, -1) < 0}
        first |= {column: -1 for column in own if column not in first}
    return lattice, inputs, valid, dict(sorted(first.items()))


def _save(inputs: np.ndarray, valid: np.ndarray, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Write a picture whole or not at all."""
    from PIL import Image as Picture

    if settings["rescale"]:
        black, white = settings["rescale"]
        inputs = ((inputs.astype(np.float32) - black) * (255 / (white - black))).clip(0, 255).round().astype(np.uint8)
        inputs[:, ~valid] = 0
    form, options = FORMS[settings["form"]], {"quality": settings["quality"]} if settings["quality"] else {}
    planes = list(inputs)
    if form != "JPEG" and not valid.all():
        planes.append(valid.astype(np.uint8) * 255)
    planes = [*planes[:1] * 3, *planes[1:]] if form == "WEBP" and len(planes) < 3 else planes  # it knows no grey
    picture = Picture.fromarray(np.ascontiguousarray(np.stack(planes, axis=-1)) if len(planes) > 1 else planes[0])
    partial = folder / DONE / f"{name}.partial"
    picture.save(partial, form, **options)
    partial.replace(folder / name)


def _write_manifest(
    folder: Path, parts: list[tuple], settings: Mapping[str, Any], notes: list[str]
) -> gpd.GeoDataFrame:
    """The manifest and the index of what holds no data, of the batches that were cut."""
    import geopandas as gpd
    import pandas as pd

    rows: list[dict[str, Any]] = []
    cells: list[Cell] = []
    for scene, part in parts:
        for column, row, pixels, number in json.loads(part.read_text()):
            cell, source, share = (
                scene[0].lattice.cell(column, row),
                scene[number if number >= 0 else 0],
                pixels / settings["size"] ** 2,
            )
            cells.append(cell)
            rows.append({"name": f"{cell.name(source.catalogue)}.{settings['form']}", "quadkey": cell.quadkey, "zone": cell.zone,
                         "zoom": cell.zoom, "catalogue": source.catalogue, "date": source.date or None,
                         "source": str(source.image.paths[0]), "valid": share, "data": DATA[(share > 0) + (share == 1)]})  # fmt: skip
    frame = gpd.GeoDataFrame(rows, geometry=quadkeys.footprints(cells), crs="OGC:CRS84")
    frame["date"] = (
        pd.to_datetime(frame["date"], format="ISO8601", utc=True).dt.tz_localize(None).astype("datetime64[ms]")
    )
    frame.attrs["notes"] = notes
    frame = frame.sort_values("name", ignore_index=True)
    base_files.write_json(folder / NODATA, dict(zip(frame["name"], frame["data"], strict=True)))
    with base_files.whole_file(folder / MANIFEST) as partial:
        frame.to_parquet(partial, index=False)
    return frame
