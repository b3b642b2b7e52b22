"""Polygons of one class and what lies between them: background where the labels are complete, a border where buildings touch."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files as base_files
from geonb.base.conventions import short
from geonb.rasters import grids
from geonb.workloads.segmentation import projecting
from geonb.workloads.segmentation.class_tables import class_table

if TYPE_CHECKING:
    import geopandas as gpd

    from geonb.workloads.segmentation.masks import Mask

BACKGROUND = {"name": "background", "colour": "#efe6cf"}
BORDER = {"name": "border", "colour": "#3b3b3b"}
WIDEST = 16  # px, of a border: beyond, it is no longer one


def between(numbers: np.ndarray, reach: int) -> np.ndarray:
    """Where two different polygons lie within `reach` pixels, also diagonally: what keeps touching buildings apart.

    A class of its own for the narrow places between instances, as in the winning entries of SpaceNet 4 and the 2018 Data Science
    Bowl (there with a network for instances after it; here the classes are all there is).

    Parameters
    ----------
    numbers : ndarray (y, x) of int: the number of the polygon from 1, 0 where none is
    reach : int, px

    Returns
    -------
    ndarray (y, x) of bool; right from `reach` pixels inside the edge on
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    side, beyond = 2 * reach + 1, np.iinfo(numbers.dtype).max
    largest = maximum_filter(numbers, side, mode="constant", cval=0)
    smallest = minimum_filter(np.where(numbers > 0, numbers, beyond), side, mode="constant", cval=beyond)
    return (smallest < largest) & (largest > 0)


def complete_table(masks: Iterable[Mask], table: list[dict] | None, codes: Iterable[int]) -> list[dict] | None:
    """The class table with what masks bring besides their polygons: code 0, background, and a border.

    Parameters
    ----------
    table : list of {"code", "name", "colour"}, or None where none was given
    codes : of the polygons

    Raises
    ------
    ValueError
        If a name that is needed stands for another code already.
    """
    masks = list(masks)
    ground, border = any(mask.complete for mask in masks), any(mask.border_px for mask in masks)
    if not ground and not border:
        return table
    known = {
        c["code"]: c for c in table or class_table({code: {"name": f"class {code}"} for code in sorted(set(codes))})
    }
    names = {c["name"]: c["code"] for c in known.values()}
    if ground and 0 not in known:
        if BACKGROUND["name"] in names:
            raise ValueError(
                f"class {BACKGROUND['name']} has code {names[BACKGROUND['name']]}, and what lies between polygons is code 0. Give it "
                "code 0 in `classes`"
            )
        known = {0: {"code": 0, **BACKGROUND}} | known
    if border and BORDER["name"] not in names:
        code = max(known, default=0) + 1
        known[code] = {"code": code, **BORDER}
    return list(known.values())


def border_code(classes: Iterable[dict]) -> int:
    """The code of the border in a table that has one."""
    return next(c["code"] for c in classes if c.get("own", c["name"]) == BORDER["name"])


def told(mask: Mask, polygons: int) -> list[str]:
    """What was taken for granted of a mask, and how to say otherwise."""
    notes, name = [], f"{mask.path.parent.name}/{mask.path.name}"
    if mask.every and mask.complete and mask.area is None:
        notes.append(
            f"{name}: {polygons} polygons are class {mask.every}, and EVERYTHING ELSE WAS TAKEN FOR BACKGROUND, as if each {mask.every} "
            "had one: any that is missing is taught and scored as background. If a part only is mapped, complete=AREA.geojson says where; "
            "if nobody knows, complete=false."
        )
    elif mask.complete:
        where = f"within {mask.area.name}; beyond it nothing is known" if mask.area else "wherever there is an image"
        notes.append(f"{name}: what lies outside its {polygons} polygons is background (code 0), {where}.")
    elif mask.every:
        notes.append(f"{name}: {polygons} polygons are class {mask.every}; between them nothing is known.")
    if mask.border_px:
        notes.append(
            f"{name}: pixels within {mask.border_px} px of two polygons are class {BORDER['name']}, which keeps them apart."
        )
    return notes


def read_area(path: Path, crs: Any, box: tuple) -> np.ndarray:
    """The outlines within which labels are complete, in the CRS of an image; the file is read once for all threads.

    Parameters
    ----------
    box : (west, south, east, north) of the image; areas beyond its CRS (the whole Earth) are cut around it

    Raises
    ------
    ValueError
        Not a vector file, no CRS, no polygons.
    """
    state = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in base_files.with_sides(path))
    return projecting.with_far(path, *_read_area(path, crs.to_wkt(), state), crs, box).geometry.to_numpy()


@lru_cache(maxsize=8)
def _read_area(path: Path, crs: str, state: tuple) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    return projecting.parted(check_area(path), crs)


def check_area(path: Path) -> gpd.GeoDataFrame:
    """The polygons of a file of the area mapped, see :func:`read_area`."""
    import geopandas as gpd

    try:
        frame = gpd.read_parquet(path) if path.suffix.lower() == ".parquet" else gpd.read_file(path)
    except Exception as error:  # each reader has its own kinds
        raise ValueError(f"complete={path}: not a vector file that can be opened ({short(error)})") from None
    kinds = set(frame.geom_type.dropna()) if isinstance(frame, gpd.GeoDataFrame) else set()
    if not kinds or kinds - {"Polygon", "MultiPolygon"}:
        raise ValueError(
            f"complete={path}: the area in which everything is mapped is told by polygons, and this holds "
            f"{', '.join(sorted(kinds)) or 'none'}"
        )
    if frame.crs is None or not grids.on_earth(frame.crs):
        raise ValueError(f"complete={path} has no CRS that says where on Earth it lies. Give it one")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    return frame.set_geometry(frame.geometry.make_valid())
