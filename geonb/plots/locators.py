"""Where on Earth a scene lies: globe and surroundings, drawn from the Natural Earth files that come with geonb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.base.project import NATURAL_EARTH
from geonb.plots.maps import crs_of, edges
from geonb.plots.style import COASTS_NOTE, finish, place_text, styled
from geonb.rasters.grids import lonlat, lonlat_bounds

if TYPE_CHECKING:
    from geonb.store.store import Store

WHOLE_EARTH = 50  # degrees from the middle of the sources, beyond which the map is that of the whole Earth


def where(store: Store) -> Figure | None:
    """Where on Earth a store lies: its sources, else the places that its table tells (``lon, lat``, as of events); None if nothing says."""
    if store.placed:
        return locator(store.arrays)
    if not {"lon", "lat"} <= set(store.index):
        return None
    known = store.index[["lon", "lat"]].dropna().drop_duplicates()
    return places(known["lon"].to_numpy(), known["lat"].to_numpy(), store.meta) if len(known) else None


@styled
def places(lon: np.ndarray, lat: np.ndarray, attrs: Mapping[Any, Any]) -> Figure:
    """Places in degrees on the globe and in their surroundings; `attrs` of what they are the places of."""
    figure = plt.figure(figsize=(8, 3.6))
    ax = map_about(figure, lon, lat, (0.5, 0.08, 0.49, 0.82))
    points(ax, lon, lat, "o", "#cc2222")
    middle = lonlat(ax.projection, 0.0, 0.0)
    locator_inset(figure, (0.0, 0.05, 0.4, 0.85), (middle[0], middle[1], middle[0], middle[1]), "OGC:CRS84")
    return finish(
        figure, attrs, f"Red on the map: {len(lon):,} places of samples; on the globe: their middle.", COASTS_NOTE
    )


@styled
def locator(arrays: xr.DataTree) -> Figure:
    """Draw where on Earth the sources of a store lie: a globe, and the land around with coasts and borders.

    Parameters
    ----------
    arrays : DataTree
        A group a source with coordinates x, y and a CRS, as a store's `arrays` or predictions.
    """
    import cartopy.crs as ccrs

    boxes = [lonlat_bounds(crs_of(group.to_dataset()), edges(group)) for group in arrays.children.values()]
    west, south = np.min([box[:2] for box in boxes], axis=0)
    east, north = np.max([box[2:] for box in boxes], axis=0)
    figure = plt.figure(figsize=(8, 3.6))
    locator_inset(figure, (0.0, 0.05, 0.4, 0.85), (west, south, east, north), "OGC:CRS84")
    middle, reach = ((west + east) / 2, (south + north) / 2), max(5.0, (north - south) * 1.5, (east - west))
    place = (0.44, 0.08, 0.55, 0.82)
    if reach > WHOLE_EARTH:  # there is no land around a continent
        ax = figure.add_axes(place, projection=ccrs.PlateCarree())
        ax.set_global()
    else:
        # equal areas would be torn at the antipode, which cartopy cannot draw where land lies there (New Zealand, Bolivia)
        ax = figure.add_axes(place, projection=ccrs.AzimuthalEquidistant(*middle))
        ax.set_extent(
            (middle[0] - 1.6 * reach, middle[0] + 1.6 * reach, middle[1] - reach, middle[1] + reach), ccrs.PlateCarree()
        )
    earth(ax)
    _graticule(ax)
    for name, box in zip(arrays.children, boxes, strict=True):
        ring = [box[0], box[2], box[2], box[0], box[0]], [box[1], box[1], box[3], box[3], box[1]]
        ax.plot(*ring, color="#cc2222", linewidth=2, transform=ccrs.PlateCarree())
        text = {"xytext": (7, 5), "textcoords": "offset points", "fontsize": 8, "color": "#aa1111"}
        spot = ax.projection.transform_point((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, ccrs.PlateCarree())
        ax.annotate(str(name), spot, **text)
    return finish(figure, arrays.attrs, COASTS_NOTE)


def locator_inset(figure: Figure, rectangle: tuple[float, float, float, float], bounds: tuple, crs: Any) -> Axes:
    """Add a small globe with coasts and borders, seen from above the scene, and a red dot (or outline) where it lies.

    Parameters
    ----------
    figure : Figure
    rectangle : tuple
        Left, bottom, width, height as shares of the figure.
    bounds : tuple = (west, south, east, north), in `crs`
    crs : pyproj CRS
    """
    import cartopy.crs as ccrs

    west, south, east, north = lonlat_bounds(crs, bounds)
    lon, lat = lonlat(crs, (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
    ax = figure.add_axes(rectangle, projection=ccrs.NearsidePerspective(lon, lat, satellite_height=2_500_000))
    ax.set_global()
    earth(ax)
    grid = ax.gridlines(xlocs=range(-180, 181, 10), ylocs=range(-80, 81, 10), linewidth=0.3, color="#b9c6d0")
    grid.n_steps = 60
    if max(east - west, north - south) > 4:
        ring = [west, east, east, west, west], [south, south, north, north, south]
        ax.plot(*ring, color="#cc2222", linewidth=1.2, transform=ccrs.PlateCarree())
    ax.plot(lon, lat, "o", color="#cc2222", markeredgecolor="white", markersize=5, transform=ccrs.PlateCarree())
    ax.spines["geo"].set(edgecolor="#667788", linewidth=0.6)
    ax.set_title(place_text(lat, lon), fontsize=7.5, fontweight="normal", loc="center", pad=3)
    return ax


def earth(ax: Any) -> None:
    """Sea, land, lakes, coasts and borders on a cartopy axes, from the files that come with geonb."""
    import cartopy
    import cartopy.feature as features

    cartopy.config["pre_existing_data_dir"] = NATURAL_EARTH  # on disk: a map must never ask the network
    ax.set_facecolor("#dcebf5")
    layers = (
        ("physical", "land", {"facecolor": "#f3efe4", "edgecolor": "none"}),
        ("physical", "lakes", {"facecolor": "#dcebf5", "edgecolor": "none"}),
        ("physical", "coastline", {"facecolor": "none", "edgecolor": "#667788", "linewidth": 0.5}),
        ("cultural", "admin_0_boundary_lines_land", {"facecolor": "none", "edgecolor": "#aa9988", "linewidth": 0.5}),
    )
    for kind, name, look in layers:
        ax.add_feature(features.NaturalEarthFeature(kind, name, "110m", **look))


def _graticule(ax: Any) -> None:
    size = {"size": 7}
    ax.gridlines(
        draw_labels={"bottom": "x", "left": "y"}, linewidth=0.3, color="#b9c6d0", xlabel_style=size, ylabel_style=size
    )


def map_about(figure: Figure, lon: np.ndarray, lat: np.ndarray, rectangle: tuple[float, ...] | None = None) -> Any:
    """A map in equal distances from the middle of some points, with coasts and borders; all over the figure, or in a part of it."""
    import cartopy.crs as ccrs

    angles = np.radians(lon)
    middle = float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean()))), float(lat.mean())
    away = (lon - middle[0] + 180) % 360 - 180
    reach_x, reach_y = (max(0.5, 1.15 * float(np.abs(part).max())) for part in (away, lat - middle[1]))
    projection = ccrs.AzimuthalEquidistant(*middle)
    ax: Any = (
        figure.add_axes(rectangle, projection=projection) if rectangle else figure.add_subplot(projection=projection)
    )
    if max(reach_x, reach_y) > 60:
        ax.set_global()
    else:
        ax.set_extent(
            (middle[0] - reach_x, middle[0] + reach_x, max(-90, middle[1] - reach_y), min(90, middle[1] + reach_y)),
            ccrs.PlateCarree(),
        )
    earth(ax)
    _graticule(ax)
    return ax


def points(ax: Any, lon: Any, lat: Any, mark: str, colour: str, label: str = "", **look: Any) -> None:
    """Places in degrees on a map, by the mark of their kind: o, * or x."""
    import cartopy.crs as ccrs

    size = {"*": 60, "o": 26, "x": 30}[mark]
    edge = {} if mark == "x" else {"edgecolors": "#222222", "linewidths": 0.4}
    ax.scatter(
        lon, lat, size, marker=mark, c=colour, label=label, transform=ccrs.PlateCarree(), zorder=5, **(edge | look)
    )
