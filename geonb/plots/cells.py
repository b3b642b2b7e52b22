"""Cells on the ground: maps of a half-degree grid with coasts and borders, for figures and for the live map."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure

from geonb.base.project import NATURAL_EARTH
from geonb.plots.maps import edges
from geonb.plots.style import COASTS_NOTE
from geonb.rasters.grids import lonlat

SEA, LAND, COAST, BORDER = "#e4eef5", "#fbf9f3", "#5b6b78", "#8d7b68"
VEIL = "#a9b0b5"
# Nothing in sight lets the ground through; from there lightness falls all the way, so that it can be read in grey.
RAMP = ("#fbf9f300", "#fde3a7", "#fdb863", "#f1722f", "#c9261f", "#850f26", "#40061b")
TICKS = (0, 0.02, 0.1, 0.25, 0.5, 1)


def ground_note(valid: Any = None) -> str:
    """What a reader of the map must know of its ground."""
    veiled = valid is not None and not np.asarray(valid).all()
    return f"{COASTS_NOTE} Grey veil: outside the region." if veiled else COASTS_NOTE


def probability_look() -> dict[str, Any]:
    """Colours of a probability of a rare event: the square root of 0-1, so that 2 % and 10 % can be told apart."""
    return {"cmap": LinearSegmentedColormap.from_list("events", RAMP), "norm": PowerNorm(0.5, 0, 1)}


@functools.lru_cache(maxsize=16)
def ground(bounds: tuple[float, float, float, float]) -> dict[str, list[np.ndarray]]:
    """Lines of the ground inside bounds, from the Natural Earth files that come with geonb.

    Parameters
    ----------
    bounds : tuple = (west, south, east, north), degrees

    Returns
    -------
    dict of ``land`` (outer rings), ``coast``, ``borders``: lists of arrays (point, 2) of longitude and latitude
    """
    return {
        "land": _clipped("physical/ne_110m_land", bounds),
        "coast": _clipped("physical/ne_110m_coastline", bounds),
        "borders": _clipped("cultural/ne_110m_admin_0_boundary_lines_land", bounds),
    }


def ground_in(crs: Any, bounds: tuple[float, float, float, float], side: int = 41) -> dict[str, list[np.ndarray]]:
    """Coasts and borders inside bounds of any CRS, from the Natural Earth files that come with geonb.

    Parameters
    ----------
    crs : pyproj CRS; for a geostationary one, what lies behind the Earth is left out
    bounds : tuple = (west, south, east, north), in `crs`

    Returns
    -------
    dict of ``coast`` and ``borders``: lists of x, y (point, 2) in `crs`
    """
    from pyproj import Transformer

    west, south, east, north = bounds
    lon, lat = lonlat(
        crs, *(a.ravel() for a in np.meshgrid(np.linspace(west, east, side), np.linspace(south, north, side)))
    )
    seen = np.isfinite(lon) & np.isfinite(lat)
    if not seen.any():
        return {"coast": [], "borders": []}
    margin = 1 + max(np.ptp(lon[seen]), np.ptp(lat[seen])) / side  # what bends between the places looked at
    box = (lon[seen].min() - margin, lat[seen].min() - margin, lon[seen].max() + margin, lat[seen].max() + margin)
    back = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    degrees = ground(tuple(round(float(v), 3) for v in box))
    return {n: [p for line in degrees[n] for p in _bent(line, back, bounds)] for n in ("coast", "borders")}


def _bent(line: np.ndarray, back: Any, bounds: tuple[float, float, float, float]) -> list[np.ndarray]:
    """A line in degrees as pieces in a CRS, cut at the bounds, at the horizon and where the CRS jumps across itself."""
    import shapely

    west, south, east, north = bounds
    fine = shapely.get_coordinates(shapely.segmentize(shapely.linestrings(line), 0.25))
    x, y = back.transform(*fine.T)
    points = np.stack([x, y], -1)
    known = np.isfinite(points).all(-1)
    step = np.hypot(*np.diff(np.where(known[:, None], points, 0), axis=0).T)
    joined = known[1:] & known[:-1] & (step < max(east - west, north - south) / 2)
    pieces = np.split(points, np.flatnonzero(~joined) + 1)
    lines = [shapely.linestrings(piece) for piece in pieces if len(piece) > 1]
    parts = shapely.get_parts(shapely.clip_by_rect(lines, *bounds))
    kept = [shapely.get_coordinates(part) for part in parts if part.geom_type == "LineString" and not part.is_empty]
    return [part for part in kept if len(part) > 1]


def _clipped(name: str, bounds: tuple[float, float, float, float]) -> list[np.ndarray]:
    import shapely
    from cartopy.io.shapereader import Reader

    path = NATURAL_EARTH / "shapefiles" / "natural_earth" / f"{name}.shp"
    shapes = np.array(list(Reader(path).geometries()), dtype=object)
    parts = shapely.get_parts(shapely.intersection(shapes, shapely.box(*bounds)))
    parts = shapely.get_parts(parts)  # a clipped multi-part may hold collections
    parts = [shapely.get_exterior_ring(part) if part.geom_type == "Polygon" else part for part in parts]
    lines = [part for part in parts if part.geom_type in ("LineString", "LinearRing") and not part.is_empty]
    return [shapely.get_coordinates(line) for line in lines]


def cell_map(ax: Axes, values: xr.DataArray, valid: Any = None, **look: Any) -> Any:
    """Draw cells (y, x) over land and sea, with coasts and borders above them; NaN shows the ground.

    Parameters
    ----------
    values : DataArray (y, x), latitude and longitude of cell centres in degrees; either order of latitude
    valid : bool (y, x), optional
        Cells of the region; a veil lies over the others.
    **look : cmap, norm, ... of ``imshow``

    Returns
    -------
    the AxesImage, for a colour bar
    """
    north = values.isel(y=slice(None, None, -1)) if values.y[0] < values.y[-1] else values
    west, south, east, south_to_north = bounds = edges(values)
    draw_ground(ax, bounds)
    shown = np.ma.masked_invalid(north.transpose("y", "x").values.astype(float))
    image = ax.imshow(
        shown, extent=(west, east, south, south_to_north), interpolation="nearest", origin="upper", zorder=2, **look
    )
    if valid is not None:
        outside = values.copy(data=np.where(np.asarray(valid), np.nan, 1.0)).sortby("y", ascending=False)
        veil = {"cmap": ListedColormap([VEIL]), "alpha": 0.45, "zorder": 2.5, "interpolation": "nearest"}
        ax.imshow(np.ma.masked_invalid(outside.values), extent=image.get_extent(), origin="upper", **veil)
    _frame(ax, bounds)
    return image


def draw_ground(ax: Axes, bounds: tuple[float, float, float, float]) -> None:
    """Land below, coasts and borders above whatever is drawn at a zorder of 2."""
    from matplotlib.collections import LineCollection, PolyCollection

    lines = ground(tuple(round(float(side), 6) for side in bounds))
    ax.set_facecolor(SEA)
    ax.add_collection(PolyCollection(lines["land"], facecolor=LAND, edgecolor="none", zorder=1), autolim=False)
    fine = 0.5 if bounds[2] - bounds[0] > 90 else 1.0  # on a map of the world, lines must not hide the land
    for name, colour, width in (("coast", COAST, 0.8 * fine), ("borders", BORDER, 0.7 * fine)):
        ax.add_collection(LineCollection(lines[name], colors=colour, linewidths=width, zorder=3), autolim=False)


def _frame(ax: Axes, bounds: tuple[float, float, float, float]) -> None:
    west, south, east, north = bounds
    ax.set(xlim=(west, east), ylim=(south, north))
    ax.set_aspect(1 / max(0.2, np.cos(np.deg2rad((south + north) / 2))))
    ax.xaxis.set_major_locator(plt.MaxNLocator(4, steps=[1, 2, 3, 5, 10]))
    ax.yaxis.set_major_locator(plt.MaxNLocator(4, steps=[1, 2, 3, 5, 10]))
    ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}°{'W' if value < 0 else 'E' if value else ''}")
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}°{'S' if value < 0 else 'N' if value else ''}")
    ax.tick_params(labelsize=7, length=2)
    ax.spines[:].set_visible(True)


def cell_grid(
    rows: int, columns: int, values: Any, width: float = 11.5, widest: float = 3.6
) -> tuple[Figure, np.ndarray]:
    """A figure of maps that all show the same cells, with the shape that the region has."""
    west, south, east, north = edges(values)
    stretch = 1 / max(0.2, np.cos(np.deg2rad((south + north) / 2)))
    wide = min(widest, (width - 1.5) / columns)
    size = columns * wide + 1.5, rows * (wide * min(2.2, stretch * (north - south) / (east - west)) + 0.26) + 0.35
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05, wspace=0.02, hspace=0.04)
    return figure, axes


def label_grid(axes: np.ndarray) -> None:
    """Degrees at the lowest map of each column and the leftmost of each row, also where some panels are empty."""
    for side, lines in (("labelbottom", axes.T[:, ::-1]), ("labelleft", axes)):
        for line in lines:
            shown = [ax for ax in line if ax.axison]
            for place, ax in enumerate(shown):
                ax.tick_params(**{side: place == 0})


def probability_bar(figure: Figure, image: Any, axes: Sequence[Axes], label: str) -> None:
    """The colour bar of `probability_look`."""
    bar = figure.colorbar(image, ax=axes, label=label, shrink=0.85, aspect=28, pad=0.01)
    bar.set_ticks(list(TICKS), labels=[f"{tick:.0%}" for tick in TICKS])


def mark_cells(ax: Axes, there: xr.DataArray, colour: str = "black", **look: Any) -> None:
    """Outline the cells (y, x) that hold something, one square each: what is below stays to be seen."""
    from matplotlib.collections import PolyCollection

    half_x, half_y = (abs(float(there[n][1] - there[n][0])) / 2 if there[n].size > 1 else 0.25 for n in ("x", "y"))
    rows, columns = np.nonzero(there.transpose("y", "x").values)
    x, y = there.x.values[columns], there.y.values[rows]
    corners = np.array([[-half_x, -half_y], [half_x, -half_y], [half_x, half_y], [-half_x, half_y]]) * 0.84
    squares = np.stack([x, y], -1)[:, None] + corners
    look = {
        "facecolor": "none",
        "edgecolor": colour,
        "linewidth": 0.8 if there.sizes["x"] < 150 else 0.25,
        "zorder": 4,
    } | look
    ax.add_collection(PolyCollection(squares, **look), autolim=False)


def one_colour(colour: str) -> dict[str, Any]:
    """Look of cells that are there or not: one colour, or the ground."""
    return {"cmap": ListedColormap(["#ffffff00", colour]), "norm": Normalize(0, 1)}


def month(time: Any) -> str:
    """``2016-03`` of any time."""
    return str(np.datetime64(time, "M"))


def outcome_records(attrs: Mapping[Any, Any], names: Iterable[Any]) -> list[dict[str, Any]]:
    """The outcomes' records, also where a file has kept only their names."""
    records = attrs.get("outcomes") or []
    known = {record["name"]: dict(record) for record in records if isinstance(record, Mapping)}
    return [known.get(str(name), {"name": str(name), "colour": "#b2182b"}) for name in names]
