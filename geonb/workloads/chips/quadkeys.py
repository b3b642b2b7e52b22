"""Chips by their names: where on Earth a name says that a chip lies, and what the chips of a place are called. Two grids.

``xyz`` is WebMercatorQuad (OGC 17-083r4): EPSG:3857, a chip is ``<quadkey>_<catalogue id>``. ``ard`` is the grid of Maxar's
Analysis-Ready Data: the plane of every UTM zone, 20,480 km square around (500 km, equator), halved as often as a quadkey has
digits, so that level 12 is 5 km (16,384 px), 17 is 156.25 m (512 px), 18 half of that; a chip is
``Z<zone>-<quadkey>_<catalogue id>``. A quadkey's first digit is 0 or 1 north of the equator, 2 or 3 south of it, on both.

A cell at the edge of a UTM zone belongs to the zone in which its larger part lies, or to the western one: ARD's own rule, here
counted from the zone's meridian, so that it also holds at 180 degrees.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geonb.base.conventions import refuse
from geonb.rasters.tiles import DEEPEST, HALF_M, Tile, tile_of_quadkey

if TYPE_CHECKING:
    from shapely import Polygon

GRIDS = ("xyz", "ard")
HALF_ARD_M, CENTRE_ARD_M = 10_240_000.0, 500_000.0
SOUTH_M = 10_000_000.0  # false northing of the southern UTM zones
UTM_LATITUDES = -80.0, 84.0
PARENT = 12  # level of ARD's files, 5 km; on xyz some 10 km at the equator
MOST = 5_000_000  # cells that are listed at once
NAMES = "<quadkey>_<catalogue id> (xyz) or Z<utm zone>-<quadkey>_<catalogue id> (ard)"
_NAME = re.compile(rf"(?:[Zz](\d{{1,2}})-)?([0-3]{{1,{DEEPEST}}})(?:_(.+))?")


class Cell(NamedTuple):
    """A square of a grid: its quadkey, and its UTM zone on ``ard``, 0 on ``xyz``."""

    quadkey: str
    zone: int = 0

    @property
    def grid(self) -> str:
        """Name of the grid."""
        return "ard" if self.zone else "xyz"

    @property
    def zoom(self) -> int:
        """Number of halvings, = digits of the quadkey."""
        return len(self.quadkey)

    @property
    def tile(self) -> Tile:
        """Level, column from the west and row from the north in the grid."""
        return tile_of_quadkey(self.quadkey)

    @property
    def crs(self) -> str:
        """EPSG:3857, or that of the UTM zone of the hemisphere."""
        return crs_of(self.zone, self.quadkey[:1] in ("2", "3"))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north), metres of the CRS."""
        if not self.zone:
            return self.tile.bounds
        z, x, y = self.tile
        side, shift = side_m("ard", z), SOUTH_M if self.quadkey[:1] in ("2", "3") else 0.0
        west, north = x * side - HALF_ARD_M + CENTRE_ARD_M, HALF_ARD_M - y * side + shift
        return west, north - side, west + side, north

    @property
    def footprint(self) -> Polygon:
        """Outline in OGC:CRS84, see :func:`footprints`."""
        return footprints([self])[0]

    def parent(self, zoom: int = PARENT) -> Cell:
        """The square of a coarser level that holds this one.

        Raises
        ------
        ValueError
            If the level is a finer one.
        """
        if not 0 <= zoom <= self.zoom:
            raise ValueError(
                f"{self.label} is of zoom {self.zoom} and has no parent of zoom {zoom}: give 0 to {self.zoom}"
            )
        return Cell(self.quadkey[:zoom], self.zone)

    @property
    def label(self) -> str:
        """``<quadkey>`` or ``Z<zone>-<quadkey>``."""
        return f"Z{self.zone:02d}-{self.quadkey}" if self.zone else self.quadkey

    def name(self, catalogue: str = "") -> str:
        """What a chip of this place is called, without ending."""
        return f"{self.label}_{catalogue}" if catalogue else self.label


def footprints(cells: Sequence[Cell]) -> np.ndarray:
    """Outlines (cell,) in OGC:CRS84 (longitude, latitude), straight between the corners; beyond +-180 where one crosses 180 degrees."""
    import shapely

    outlines = np.empty(len(cells), object)
    groups: dict[str, list[int]] = {}
    for i, cell in enumerate(cells):
        groups.setdefault(cell.crs, []).append(i)
    for crs, numbers in groups.items():
        west, south, east, north = np.array([cells[i].bounds for i in numbers]).T
        lon, lat = _lonlat(crs, np.stack([west, east, east, west]), np.stack([south, south, north, north]))
        outlines[numbers] = shapely.polygons(np.stack([lon, lat], axis=-1).transpose(1, 0, 2))
    return outlines


def side_m(grid: str, zoom: int) -> float:
    """Side of a cell in metres of its CRS."""
    return 2 * (HALF_ARD_M if grid == "ard" else HALF_M) / 2**zoom


def crs_of(zone: int, south: bool = False) -> str:
    """The CRS of cells: EPSG:3857 for zone 0, else of the UTM zone (WGS 84)."""
    return f"EPSG:32{7 if south else 6}{zone:02d}" if zone else "EPSG:3857"


def check_grid(grid: str, zoom: int) -> None:
    """Refuse a grid or a zoom that there is not, with a ValueError."""
    faults = [f"grid = {grid!r}: there are {' and '.join(GRIDS)}"] * (grid not in GRIDS)
    least = 0 if grid == "xyz" else 1  # the whole plane of a zone lies on both hemispheres
    if not isinstance(zoom, int) or not least <= zoom <= DEEPEST:
        faults.append(f"zoom = {zoom!r}: give {least} to {DEEPEST}; 17 is usual")
    refuse("There are no such chips", faults)


def read_name(name: str | Path, zoom: int | None = None) -> tuple[Cell, str]:
    """The place and the catalogue id (maybe empty) that the name of a chip says, be it a path with an ending or none.

    Raises
    ------
    ValueError
        If it is no chip's, of a zone that there is not, or of another zoom than `zoom`.
    """
    text = Path(name).name
    match = _NAME.fullmatch(re.sub(r"\.(jpe?g|png|webp|tiff?)$", "", text, flags=re.IGNORECASE))
    if not match:
        raise ValueError(f"{text} is no name of a chip: they are called {NAMES}, a quadkey being digits 0 to 3")
    zone, quadkey, catalogue = match.groups()
    if zone and not 1 <= int(zone) <= 60:
        raise ValueError(f"{text}: there is no UTM zone {zone}, they go from 1 to 60")
    if zoom is not None and len(quadkey) != zoom:
        raise ValueError(
            f"{text}: the quadkey has {len(quadkey)} digits, so it is one of zoom {len(quadkey)}, not {zoom}"
        )
    return Cell(quadkey, int(zone or 0)), catalogue or ""


def read_names(names: Iterable[str | Path], zoom: int | None = None) -> list[tuple[Cell, str]]:
    """Place and catalogue id of every chip of a folder.

    Raises
    ------
    ValueError
        Listing every name that is no chip's, or of another zoom than `zoom` (the first one's, if None); chips of two grids.
    """
    found: list[tuple[Cell, str]] = []
    faults: list[str] = []
    for name in names:
        try:
            found.append(read_name(name, zoom))
            zoom = found[-1][0].zoom if zoom is None else zoom
        except ValueError as error:
            faults.append(str(error))
    grids = Counter(cell.grid for cell, _ in found)
    if len(grids) > 1:
        counts = " and ".join(f"{n} of {grid}" for grid, n in sorted(grids.items()))
        faults.append(
            f"chips of two grids ({counts}) lie in one folder, and show the same ground twice. Put each in its own"
        )
    refuse("These chips cannot be placed", faults)
    return found


def source_of(name: str | Path, ard: str | Path, date: str = "*") -> Path:
    """The raster that an ARD chip was cut from: ``<ard>/<zone>/<quadkey of level 12>/<date>/<catalogue id>-visual.tif``.

    A chip's name holds no date: it is looked up among the folders, if none is given.

    Raises
    ------
    ValueError
        A chip of the other grid, or of a coarser level.
    FileNotFoundError
        If there is no such file; says where it was looked for.
    """
    cell, catalogue = read_name(name)
    if cell.grid != "ard" or cell.zoom < PARENT:
        raise ValueError(
            f"{Path(name).name} is no ARD chip of level {PARENT} or finer, so no file of that order holds it"
        )
    home, file = Path(ard) / f"{cell.zone:02d}" / cell.parent().quadkey, f"{catalogue}-visual.tif"
    home = home if home.is_dir() else Path(ard) / str(cell.zone) / cell.parent().quadkey
    found = sorted(home.glob(f"{date}/{glob_escape(file)}"))
    if not found:
        raise FileNotFoundError(f"No {file} in {home}/{date}/. Name the folder that holds the UTM zones as `ard`")
    return found[-1]


def glob_escape(text: str) -> str:
    """A text that stands for itself in a glob."""
    return re.sub(r"([*?[])", r"[\1]", text)


def cell_at(zone: int, zoom: int, column: int, row: int) -> Cell:
    """The cell of a column, from the west, and a row, from the north."""
    return Cell(Tile(zoom, int(column), int(row)).quadkey, zone)


def zone_of(lon: float) -> int:
    """The UTM zone of a longitude, degrees; every 6 degrees, without the exceptions of Norway and Svalbard, as ARD has it."""
    return math.floor((lon + 180) / 6) % 60 + 1


def cells_at(lon: float, lat: float, grid: str = "xyz", zoom: int = 17) -> list[Cell]:
    """The cells that hold a point: one; on ``ard`` one or two at the edge of a UTM zone, that of its own zone first.

    Parameters
    ----------
    lon, lat : float, degrees (OGC:CRS84)

    Raises
    ------
    ValueError
        If there is no such place, or the grid does not reach there.
    """
    check_grid(grid, zoom)
    _check_place((lon, lat, lon, lat), grid)
    lon = (lon + 180) % 360 - 180
    if grid == "xyz":
        x, y = _index(0, zoom, *_from_lonlat(0, lon, lat))
        most = 2**zoom - 1
        return [cell_at(0, zoom, min(max(x, 0), most), min(max(y, 0), most))]
    own = zone_of(lon)
    found = []
    for zone in (own, own % 60 + 1, (own - 2) % 60 + 1):
        x, y = _index(zone, zoom, *_from_lonlat(zone, lon, lat))
        if belongs(zone, zoom, np.array([x]), np.array([y]))[0]:
            found.append(cell_at(zone, zoom, x, y))
    return found or [cell_at(own, zoom, *_index(own, zoom, *_from_lonlat(own, lon, lat)))]


def cells_in(bounds: tuple[float, float, float, float], grid: str = "xyz", zoom: int = 17) -> list[Cell]:
    """The cells that share area with a box, row by row; on ``ard`` zone by zone.

    Parameters
    ----------
    bounds : tuple = (west, south, east, north), degrees (OGC:CRS84)
        West may lie east of east: the box then crosses 180 degrees.

    Raises
    ------
    ValueError
        If it is no box, reaches beyond the grid, or holds more than MOST cells.
    """
    check_grid(grid, zoom)
    west, south, east, north = bounds
    _check_place(bounds, grid)
    if south >= north or west == east:
        raise ValueError(f"bounds = {bounds} hold no area: give west, south, east, north in degrees")
    if west > east:
        return cells_in((west, south, 180.0, north), grid, zoom) + [
            cell
            for cell in cells_in((-180.0, south, east, north), grid, zoom)
            if not cell.zone or cell.zone < 31 or not _touches(cell, (west, south, 180.0, north))
        ]
    if grid == "xyz":
        left, top = _from_lonlat(0, west, min(north, highest()))
        right, bottom = _from_lonlat(0, east, max(south, -highest()))
        return _cells(0, zoom, (left, bottom, right, top))
    edge = 90 * side_m("ard", zoom) / 1e7 / max(0.1, math.cos(math.radians(max(abs(south), abs(north)))))
    zones = dict.fromkeys(zone_of(lon) for lon in np.append(np.arange(west - edge, east + edge, 3.0), east + edge))
    return [cell for zone in zones for cell in _zone_cells(zone, zoom, bounds)]


def belongs(zone: int, zoom: int, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether cells of the plane of a UTM zone are its own, by ARD's rule: ndarray of bool.

    All that touch the zone's eastern edge are; of those across its western edge the ones that lie east of it by more than half,
    measured between the westernmost corner but one and the easternmost.
    """
    side = side_m("ard", zoom)
    west = np.asarray(columns) * side - HALF_ARD_M + CENTRE_ARD_M
    north = HALF_ARD_M - np.asarray(rows) * side
    lon = _lonlat(crs_of(zone), np.stack([west, west, west + side, west + side]),
                  np.stack([north, north - side, north, north - side]))[0]  # fmt: skip
    meridian = 6 * zone - 183
    with np.errstate(invalid="ignore"):
        from_edge = np.sort((lon - meridian + 180) % 360 - 180 + 3, axis=0)  # degrees from the western edge of 6
        least, second, most = from_edge[0], from_edge[1], from_edge[3]
        return (most >= 0) & (least <= 6) & ((least >= 0) | (most >= -second))


def _zone_cells(zone: int, zoom: int, bounds: tuple[float, float, float, float]) -> list[Cell]:
    """The cells of a UTM zone that are its own and share area with a box in degrees."""
    import shapely

    west, south, east, north = bounds
    meridian = 6 * zone - 183
    turn = 360 * round(((west + east) / 2 - meridian) / 360)  # the box seen from this zone
    west, east = max(west - turn, meridian - 12), min(east - turn, meridian + 12)
    if west >= east:
        return []
    edges = shapely.segmentize(shapely.box(west, south, east, north), 0.02 * max(1.0, (east - west), (north - south)))
    lon, lat = shapely.get_coordinates(edges).T
    outline = shapely.Polygon(np.stack(_from_lonlat(zone, lon, lat), axis=1))
    cells = _cells(zone, zoom, outline.bounds)
    if not cells:
        return []
    tiles = np.array([cell.tile for cell in cells])
    side = side_m("ard", zoom)
    left, top = tiles[:, 1] * side - HALF_ARD_M + CENTRE_ARD_M, HALF_ARD_M - tiles[:, 2] * side
    shapely.prepare(outline)
    keep = shapely.intersects(outline, shapely.box(left, top - side, left + side, top))
    keep &= belongs(zone, zoom, tiles[:, 1], tiles[:, 2])
    return [cell for cell, kept in zip(cells, keep, strict=True) if kept]


def _cells(zone: int, zoom: int, box: tuple[float, float, float, float]) -> list[Cell]:
    """The cells that share area with a box in metres of the grid's plane."""
    columns, rows = span(zone, zoom, box)
    if len(columns) * len(rows) > MOST:
        raise ValueError(
            f"{len(columns)} x {len(rows)} chips of zoom {zoom} lie there, and at most {MOST:,} are listed at once. Give a "
            "smaller box or a smaller zoom"
        )
    return [cell_at(zone, zoom, x, y) for y in rows for x in columns]


def span(zone: int, zoom: int, box: tuple[float, float, float, float]) -> tuple[range, range]:
    """Columns and rows of the cells that share area with a box (west, south, east, north) in metres of the grid's plane.

    The plane of a UTM zone is that of its northern CRS, going on south of the equator, that of ``xyz`` goes on beyond 180 degrees.
    A hair (1e-6 of a cell) is none.
    """
    side, most = side_m("ard" if zone else "xyz", zoom), 2**zoom
    west, north = (CENTRE_ARD_M - HALF_ARD_M, HALF_ARD_M) if zone else (-HALF_M, HALF_M)
    hair = 1e-6
    first = math.floor((box[0] - west) / side + hair), math.floor((north - box[3]) / side + hair)
    last = math.ceil((box[2] - west) / side - hair), math.ceil((north - box[1]) / side - hair)
    return range(first[0], last[0]), range(max(0, first[1]), min(most, last[1]))


def _touches(cell: Cell, bounds: tuple[float, float, float, float]) -> bool:
    return cell in _zone_cells(cell.zone, cell.zoom, bounds)


def _index(zone: int, zoom: int, x: Any, y: Any) -> tuple[int, int]:
    side = side_m("ard" if zone else "xyz", zoom)
    west, north = (CENTRE_ARD_M - HALF_ARD_M, HALF_ARD_M) if zone else (-HALF_M, HALF_M)
    return math.floor((x - west) / side), math.floor((north - y) / side)


def highest() -> float:
    """Latitude at which Web Mercator ends, degrees."""
    return math.degrees(math.atan(math.sinh(math.pi)))


def _check_place(bounds: tuple[float, float, float, float], grid: str) -> None:
    west, south, east, north = bounds
    faults = [f"longitude {lon}: give -180 to 180 degrees" for lon in (west, east) if not -180 <= lon <= 180]
    least, most = (-highest(), highest()) if grid == "xyz" else UTM_LATITUDES
    what = "Web Mercator ends" if grid == "xyz" else "the UTM zones end"
    faults += [
        f"latitude {lat}: {what} at {least:.4f} and {most:.4f} degrees, and no chips of {grid} lie beyond"
        for lat in (south, north)
        if not least - 1e-9 <= lat <= most + 1e-9
    ]
    refuse("There are no chips", faults)


def _from_lonlat(zone: int, lon: Any, lat: Any) -> tuple[Any, Any]:
    """Metres of a grid's plane, from degrees."""
    return _plane(crs_of(zone)).transform(lon, lat)


def _lonlat(crs: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Degrees; of UTM zones near those of the first place: none jumps at 180."""
    lon, lat = _plane(crs).transform(x, y, direction="INVERSE")
    if crs == crs_of(0):
        return lon, lat
    with np.errstate(invalid="ignore"):
        first = np.asarray(lon)[:1]
        return first + (lon - first + 180) % 360 - 180, lat


@functools.lru_cache(maxsize=128)
def _plane(crs: str) -> Any:
    from pyproj import Transformer

    return Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
