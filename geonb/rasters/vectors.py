"""Vector files: read with what they say of themselves, or refused by name with the cure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files as base_files
from geonb.base.conventions import short
from geonb.rasters import grids

if TYPE_CHECKING:
    import geopandas as gpd

SUFFIXES = (".shp", ".gpkg", ".geojson", ".json", ".fgb", ".parquet")


def read_frame(path: Path, layer: str | None = None, options: str = "") -> gpd.GeoDataFrame:
    """All that stands in a vector file, or in one of its layers.

    Parameters
    ----------
    layer : str, optional
        The only one that holds geometries by default.
    options : str
        What the user gave beside the file's name, for the cure: ``column=kind``.

    Raises
    ------
    ValueError
        Not a vector file, cut short, a table without geometries, or several layers and none is named.
    """
    import geopandas as gpd

    parquet, chosen = path.suffix.lower() == ".parquet", {}
    if path.is_file():
        base_files.check_shapefile(path)
    try:
        layers = None if parquet else gpd.list_layers(path)
    except Exception as error:  # each reader has its own kinds
        raise ValueError(f"{path} is not a vector file that can be opened ({short(error)})") from None
    if layers is not None:
        chosen["layer"] = _layer(path, layers, layer, options)
    try:
        frame = gpd.read_parquet(path) if parquet else gpd.read_file(path, **chosen)
    except Exception as error:
        raise ValueError(f"{path} is not a vector file that can be opened ({short(error)})") from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise ValueError(f"{path} is a table without geometries")
    return frame


def check_crs(path: Path, frame: gpd.GeoDataFrame) -> None:
    """Refuse shapes of which nobody knows where on Earth they lie, with a ValueError."""
    if frame.crs is None:
        raise ValueError(f"{path} has no CRS (a shapefile keeps it in its .prj file). Give it one")
    if not grids.on_earth(frame.crs):
        raise ValueError(
            f"{path} has a local CRS ({frame.crs.name}): nobody knows where on Earth it lies. Give it another"
        )


def _layer(path: Path, layers: Any, layer: str | None, options: str) -> str | None:
    """The layer that is named, or the only one that holds geometries; None where there is none."""
    names = layers["name"][layers["geometry_type"].notna()].tolist()
    if layer and not names:
        raise ValueError(f"{path} has no layer with geometries ({', '.join(layers['name'])}). Name another file")
    if (len(names) > 1 and layer is None) or layer not in (None, *names):
        what = "has several layers" if layer is None else f"has no layer {layer!r}"
        given = f"{options}," if options else ""
        raise ValueError(f"{path} {what}: {', '.join(names)}. Name one: {path.name}:{given}layer={names[0]}")
    return layer or next(iter(names), None)


def usable(frame: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Shapes in OGC:CRS84, mended where they cross themselves; which rows are left; and what was done."""
    import shapely

    filled = ~(frame.geometry.isna() | frame.geometry.is_empty).to_numpy()
    moved = (
        shapely.force_2d(frame.geometry[filled].to_crs("OGC:CRS84").to_numpy()) if filled.any() else np.empty(0, object)
    )
    odd = ~shapely.is_valid(moved)
    moved[odd] = shapely.make_valid(moved[odd], method="structure", keep_collapsed=False)
    kept = ~shapely.is_empty(moved) & np.isfinite(shapely.bounds(moved)).all(axis=1)
    left = np.flatnonzero(filled)[kept]
    notes = [f"{int(odd.sum())} shapes cross or overlap themselves, and were mended."] * bool(odd.any())
    notes += [f"{len(frame) - len(left)} of {len(frame)} shapes are empty or lie nowhere, and are left out."] * (
        len(left) < len(frame)
    )
    return moved[kept], left, notes
