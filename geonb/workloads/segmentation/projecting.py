"""Polygons in the CRS of an image, also those that reach beyond what it can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.rasters import grids

if TYPE_CHECKING:
    import geopandas as gpd

STEP_M = 1000.0  # edges are cut to this length before they are projected: off a curve by some cm
EARTH_M = 6_371_000.0  # radius


def parted(polygons: gpd.GeoDataFrame, crs: Any) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """The polygons in another CRS, indexed, and in their own those that reach beyond what it can show."""
    import shapely

    moved = _projected(polygons, crs)
    near = _finite(moved) & moved.is_valid.to_numpy()  # what goes around the Earth may cross itself
    polygons, far = moved[near], polygons[~near]
    polygons.sindex.query(shapely.Point())  # builds the tree, before threads share it
    return polygons, far


def with_far(path: Path, polygons: gpd.GeoDataFrame, far: gpd.GeoDataFrame, crs: Any, area: tuple) -> gpd.GeoDataFrame:
    """The polygons of a file in an image's CRS, with what is around the image of those that reach farther than its CRS.

    Parameters
    ----------
    path : of the file, for messages
    polygons, far : of :func:`parted`
    crs, area : of the image; (west, south, east, north) in that CRS

    Raises
    ------
    ValueError
        If some have no coordinates there even so.
    """
    import geopandas as gpd
    import pandas as pd
    import shapely
    from rasterio.warp import transform_bounds

    if far.empty:
        return polygons
    near, (west, south, east, north) = far, transform_bounds(crs, far.crs, *area, densify_pts=21)
    if np.isfinite((west, south, east, north)).all():
        turns = (-360, 0, 360) if far.crs.is_geographic else (0,)
        east += 360 * (east < west)  # across the date line
        margin = 0.1 * max(east - west, north - south)
        boxes = [shapely.box(west + t, south, east + t, north).buffer(margin) for t in turns]
        near = far.set_geometry(far.intersection(shapely.union_all(boxes)))
    near = _projected(near[~near.is_empty], crs)
    if lost := int((~_finite(near)).sum()):
        raise ValueError(
            f"{path}: {lost} polygons have no coordinates in the CRS of an image ({grids.crs_name(crs)}), so wide do they "
            f"reach. Cut out what the images need, for instance: ogr2ogr -clipsrc west south east north cut.gpkg {path.name}"
        )
    ordered = pd.concat([polygons, near]).sort_index()  # later ones cover earlier ones
    joined = gpd.GeoDataFrame(ordered, crs=polygons.crs)
    joined.sindex.query(shapely.Point())
    return joined


def _projected(polygons: gpd.GeoDataFrame, crs: Any) -> gpd.GeoDataFrame:
    """Polygons in another CRS, where long straight edges become curves."""
    from pyproj import CRS

    own = CRS.from_user_input(polygons.crs)
    if own == CRS.from_user_input(crs):
        return polygons
    unit_m = own.axis_info[0].unit_conversion_factor * (EARTH_M if own.is_geographic else 1)
    return polygons.set_geometry(polygons.segmentize(STEP_M / unit_m)).to_crs(crs)


def _finite(polygons: gpd.GeoDataFrame) -> np.ndarray:
    return np.isfinite(polygons.bounds.to_numpy()).all(axis=1)
