"""The PRIO-GRID: half-degree cells over the globe, their numbers, and the part of it that a cube covers.

360 rows x 720 columns. gid 1 is the south-west corner, so row 0 is the SOUTH and rows run north; gid 720 is the last cell of
that row. (Tollefsen, Strand and Buhaug 2012, Journal of Peace Research 49(2), 363-374.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import short
from geonb.base.files import check_shapefile
from geonb.base.project import NATURAL_EARTH

if TYPE_CHECKING:
    import pandas as pd

ROWS, COLUMNS = 360, 720
RESOLUTION_DEG = 0.5
CELLS = ROWS * COLUMNS
AFRICA = (-17.3113, -34.5115, 51.2752, 37.32)
SPECS = "box:W,S,E,N, country:<UCDP country_id>, a vector file (.geojson, .gpkg, .shp), africa, globe, or nothing"
VECTORS = (".geojson", ".json", ".gpkg", ".shp", ".fgb", ".parquet")
COUNTRIES, LAND = (
    NATURAL_EARTH / "shapefiles" / "natural_earth" / name
    for name in ("cultural/ne_110m_admin_0_countries.shp", "physical/ne_110m_land.shp")
)
# UCDP's names that Natural Earth spells in none of its columns
NAMES = {
    "dr congo": "democratic republic of the congo",
    "bosnia-herzegovina": "bosnia and herzegovina",
    "kingdom of eswatini": "eswatini",
    "macedonia, fyr": "north macedonia",
}


def gid_of(latitude: Any, longitude: Any) -> Any:
    """Number of the cell that holds a place.

    Parameters
    ----------
    latitude, longitude : float or array, degrees
        An edge belongs to the cell north or east of it; latitude 90 and longitude 180 to the last row and column.

    Returns
    -------
    int or int32 array, 1-259200

    Raises
    ------
    ValueError
        If a place is off the globe or not a number.

    Examples
    --------
    >>> gid_of(-89.75, -179.75), gid_of(90, 180)
    (1, 259200)
    """
    latitude, longitude = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
    inside = (np.abs(latitude) <= 90) & (np.abs(longitude) <= 180)
    if not inside.all():
        raise ValueError(
            f"{np.count_nonzero(~inside)} places are off the globe. Latitude is -90 to 90, longitude -180 to 180 degrees."
        )
    row = np.minimum(np.floor((latitude + 90) / RESOLUTION_DEG), ROWS - 1)
    column = np.minimum(np.floor((longitude + 180) / RESOLUTION_DEG), COLUMNS - 1)
    gid = (row * COLUMNS + column + 1).astype(np.int32)
    return gid if gid.ndim else int(gid)


def cell_of(gid: Any) -> tuple[Any, Any]:
    """Row (0 is the south) and column (0 is the west) of cells by their numbers."""
    return np.divmod(np.asarray(gid) - 1, COLUMNS)


def centre_of(gid: Any) -> tuple[Any, Any]:
    """Latitude and longitude of the cells' centres, degrees."""
    row, column = cell_of(gid)
    return (row + 0.5) * RESOLUTION_DEG - 90, (column + 0.5) * RESOLUTION_DEG - 180


def far_from(gid: Any, latitude: Any, longitude: Any) -> np.ndarray:
    """Whether places lie neither in a cell nor in one beside it; False where a place is not known."""
    y, x = centre_of(gid)
    aside = np.abs((np.asarray(longitude) - x + 180) % 360 - 180)
    return (np.abs(np.asarray(latitude) - y) > 1.5 * RESOLUTION_DEG) | (aside > 1.5 * RESOLUTION_DEG)


@dataclass(frozen=True)
class Region:
    """A rectangle of the grid and which of its cells count.

    Attributes
    ----------
    spec : str
        What it was made from.
    row, column : int
        Its south-west cell.
    valid : ndarray (y, x) bool
        Row 0 is the south.
    country_id : int
        Of a region that is one country, else 0.
    notes : tuple of str
        How the cells were chosen, where that is not plain.
    """

    spec: str
    row: int
    column: int
    valid: np.ndarray = field(repr=False)
    country_id: int = 0
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.valid.shape

    @property
    def wraps(self) -> bool:
        """Whether the columns go all round the globe."""
        return self.shape[1] == COLUMNS

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north), degrees."""
        south, west = self.row * RESOLUTION_DEG - 90, self.column * RESOLUTION_DEG - 180
        return west, south, west + self.shape[1] * RESOLUTION_DEG, south + self.shape[0] * RESOLUTION_DEG

    @property
    def latitude(self) -> np.ndarray:
        """Centres of the rows, ascending."""
        return (self.row + np.arange(self.shape[0]) + 0.5) * RESOLUTION_DEG - 90

    @property
    def longitude(self) -> np.ndarray:
        """Centres of the columns, ascending."""
        return (self.column + np.arange(self.shape[1]) + 0.5) * RESOLUTION_DEG - 180

    @property
    def gid(self) -> np.ndarray:
        """Numbers of the cells: (y, x) int32."""
        rows, columns = np.ogrid[: self.shape[0], : self.shape[1]]
        return ((self.row + rows) * COLUMNS + self.column + columns + 1).astype(np.int32)

    def places(self, gid: Any) -> np.ndarray:
        """Flat index into (y, x) of each cell; -1 for those outside the rectangle."""
        row, column = cell_of(gid)
        row, column = row - self.row, column - self.column
        inside = (row >= 0) & (row < self.shape[0]) & (column >= 0) & (column < self.shape[1])
        return np.where(inside, row * self.shape[1] + column, -1)


def select_region(spec: str | Path | None, events: pd.DataFrame | None = None) -> Region:
    """The part of the grid that a text names.

    Parameters
    ----------
    spec : str, optional
        ``box:W,S,E,N`` in degrees, snapped outward to whole cells, every cell counts; ``country:475`` by UCDP country_id;
        a vector file, the cells whose centre lies inside a shape (a shape without any: the cells it touches); ``africa``
        and ``globe``, the cells on land and those with events; without: the box around the events, every cell counts.
    events : DataFrame, optional
        As `geonb.workloads.conflict.events.read_events` gives them; needed for countries and without `spec`.

    Returns
    -------
    Region
        A country has the cells whose centre lies in its outline (Natural Earth, 1:110m) and those of its events; where
        that small-scale map lacks the country, only the latter, which `notes` says.

    Raises
    ------
    ValueError
        If the text cannot be understood, the file is not there, or no cell is left.
    """
    text = "" if spec is None else str(spec).strip()
    if text.startswith("box:"):
        return _box(text, _bounds(text))
    if text.startswith("country:"):
        return _country(text, events)
    if text == "africa":
        return _on_land(_box(text, AFRICA), events)
    if text == "globe":
        return _on_land(_box(text, (-180, -90, 180, 90)), events)
    if text.lower().endswith(VECTORS):
        return _file(text)
    if text:
        raise ValueError(f"region = {text!r} names no part of the grid. Allowed: {SPECS}.")
    if events is None or not len(events):
        raise ValueError(f"Without events there is no region around them. Give `region`: {SPECS}.")
    around = _around(
        "", _with_events(np.zeros((ROWS, COLUMNS), bool), events["gid"]), notes=("the box around the events",)
    )
    return replace(around, valid=np.ones(around.shape, bool))


def _bounds(text: str) -> tuple[float, ...]:
    try:
        bounds = tuple(float(part) for part in text.removeprefix("box:").split(","))
    except ValueError:
        bounds = ()
    faults = []
    if len(bounds) != 4 or not np.isfinite(bounds).all():
        faults.append("it needs four numbers, west, south, east and north")
    else:
        west, south, east, north = bounds
        faults += ["west must be less than east (for a box over the dateline take globe)"] * (west >= east)
        faults += ["south must be less than north"] * (south >= north)
        faults += ["longitudes are -180 to 180 degrees"] * (west < -180 or east > 180)
        faults += ["latitudes are -90 to 90 degrees"] * (south < -90 or north > 90)
    if faults:
        raise ValueError(f"region = {text!r}: {'; '.join(faults)}. Write box:W,S,E,N as box:2.5,4,15,14.")
    return bounds


def _box(text: str, bounds: tuple[float, ...]) -> Region:
    west, south, east, north = (np.array(bounds) + np.array([180, 90, 180, 90])) / RESOLUTION_DEG
    row, column = int(np.floor(south)), int(np.floor(west))
    shape = int(np.ceil(north)) - row, int(np.ceil(east)) - column
    return Region(text, row, column, np.ones(shape, bool))


def _around(text: str, cells: np.ndarray, **more: Any) -> Region:
    """The smallest rectangle around cells of the globe (360, 720)."""
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    if not len(rows):
        raise ValueError(f"region = {text!r} holds no cell of the grid. Allowed: {SPECS}.")
    y, x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Region(text, int(rows[0]), int(columns[0]), cells[y, x].copy(), **more)


def check_country(text: str) -> None:
    """Refuse a country that is not given by its number, as ``country:475`` is; whether there are events of it is seen later.

    Raises
    ------
    ValueError
        If it is none.
    """
    code = text.removeprefix("country:").strip()
    if not code.isdecimal():
        raise ValueError(
            f"region = {text!r}: {code!r} is no number. Write the country's country_id of UCDP (Gleditsch-Ward), as country:475."
        )


def _country(text: str, events: pd.DataFrame | None) -> Region:
    check_country(text)
    code = text.removeprefix("country:").strip()
    known = sorted(set(events["country_id"].unique()) - {0}) if events is not None else []
    if events is None or int(code) not in known:
        there = ", ".join(str(k) for k in known[:20]) + (" ..." if len(known) > 20 else "")
        raise ValueError(
            f"region = {text!r}: no event has that country_id. There are: {there or 'none'}. Take one of those, or a box."
        )
    cells = _with_events(np.zeros((ROWS, COLUMNS), bool), events["gid"][events["country_id"] == int(code)])
    name = events.attrs.get("countries", {}).get(int(code), "")
    outline = _outline(name)
    if outline is None:
        note = (
            f"{name or text} is not in the map of countries (Natural Earth 1:110m): only the cells of its events count"
        )
    else:
        cells |= cells_of(outline)
        note = f"cells whose centre lies in {name} (Natural Earth 1:110m), and those of its events"
    return _around(text, cells, country_id=int(code), notes=(note,))


def _outline(name: str) -> Any:
    """The shape of a country by UCDP's name for it, such as "Yemen (North Yemen)"; None if it is not on the map."""
    import geopandas as gpd

    wanted = name.split("(")[0].strip().lower()
    wanted = NAMES.get(wanted, wanted)
    columns = ["NAME", "NAME_LONG", "ADMIN", "NAME_EN", "FORMAL_EN"]
    countries = gpd.read_file(COUNTRIES, columns=columns)
    match = countries[columns].apply(lambda names: names.str.lower() == wanted).any(axis=1)
    return countries.geometry[match] if match.any() else None


def _file(text: str) -> Region:
    import geopandas as gpd

    from geonb.workloads.conflict.event_files import list_layers

    if not Path(text).exists():
        raise ValueError(f"region = {text!r}: there is no such file. Allowed: {SPECS}.")
    if Path(text).is_file():
        check_shapefile(Path(text))
    parquet = text.lower().endswith(".parquet")
    try:
        layers = [] if parquet else list_layers(text)
        frame = gpd.read_parquet(text) if parquet else gpd.read_file(text, layer=layers[0], columns=[])
    except Exception as error:  # each reader has its own kinds
        raise ValueError(
            f"region = {text!r} is not a vector file that can be opened ({short(error)}). Fetch it again."
        ) from None
    if len(layers) > 1:
        raise ValueError(f"region = {text!r} holds {len(layers)} layers ({', '.join(layers[:9])}); it must hold one.")
    if "geometry" not in frame:
        raise ValueError(f"region = {text!r}: the file has no geometries. Give one with outlines.")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.crs is None:
        raise ValueError(
            f"region = {text!r}: the file does not say its coordinate system. Write it with one, as EPSG:4326."
        )
    return _around(text, cells_of(frame.geometry.to_crs(4326)), notes=("cells whose centre lies inside",))


def cells_of(shapes: Any) -> np.ndarray:
    """Cells whose centre lies in a shape; of a shape without any, the cells it touches: (360, 720) bool, row 0 south."""
    cells = np.zeros((ROWS, COLUMNS), bool)
    for shape in shapes:
        inside = _burnt([shape])
        cells |= inside if inside.any() else _burnt([shape], touched=True)
    return cells


def _burnt(shapes: Any, touched: bool = False) -> np.ndarray:
    """Cells whose centre lies in the shapes, or all that these touch: (360, 720) bool, row 0 south."""
    from rasterio.features import rasterize
    from rasterio.transform import from_origin

    transform = from_origin(-180, 90, RESOLUTION_DEG, RESOLUTION_DEG)
    return rasterize(shapes, (ROWS, COLUMNS), transform=transform, all_touched=touched, dtype="uint8")[::-1].astype(
        bool
    )


def _on_land(whole: Region, events: pd.DataFrame | None) -> Region:
    import geopandas as gpd

    cells = _burnt(gpd.read_file(LAND, columns=[]).geometry, touched=True)
    if events is not None:
        cells = _with_events(cells, events["gid"])
    rows, columns = whole.shape
    valid = cells[whole.row : whole.row + rows, whole.column : whole.column + columns].copy()
    return replace(whole, valid=valid, notes=("cells that touch land (Natural Earth 1:110m), and those of events",))


def _with_events(cells: np.ndarray, gid: Any) -> np.ndarray:
    cells = cells.copy()
    cells.reshape(-1)[np.unique(gid) - 1] = True
    return cells


def source_facts(region: Region, months: int, first_month: str) -> Mapping[str, Any]:
    """What a store says of its grid."""
    return {
        "name": "grid", "crs": "EPSG:4326", "shape": list(region.shape), "resolution": [RESOLUTION_DEG] * 2,
        "pixel_m": 55_660, "months": months, "first_month": first_month, "wraps": region.wraps,
    }  # fmt: skip
