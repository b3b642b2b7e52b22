"""Sizes that fit the data: a window sees a few buildings and their surroundings, at a resolution that shows each as a few dozen pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geonb.base import project
from geonb.rasters import grids, tiles
from geonb.store.windows import check_sizes
from geonb.workloads.segmentation import dataset
from geonb.workloads.segmentation.class_tables import read_classes, real_classes
from geonb.workloads.segmentation.dataset import Pairs, attempt
from geonb.workloads.segmentation.masks import read_polygons

PATCH = 32  # px, where masks are rasters; and what a window found is a multiple of, as networks halve it five times
LARGEST = 256  # px, of a window that is found
SIDE = 32  # px that the median polygon's side keeps when finer pixels are averaged
SIDES = 4  # of the median polygon, that a window covers
FINER = 1.25  # pixels that are finer than needed by less stay as they are
STEPS = (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8, 10)  # Renard's series R10: a resolution is one of these, times 10**n
MOST = 5000  # polygons that are measured


def fitted(
    pairs: Pairs,
    patch: int | None = None,
    stride: int | None = None,
    block: int | None = 0,
    resolution: float | None = None,
) -> tuple[Pairs, dict[str, int | None]]:
    """Sizes of windows and blocks, and the resolution: those that are given, the others as they suit the data.

    Where masks are rasters a window has 32 px. Where they are polygons it covers about four sides of the median one, in steps of
    32 px up to 256, and a quarter of the largest image at most. Where all polygons are one class (`all=`: objects, not ground
    cover), pixels finer than a 32nd of that side are averaged, unless `resolution` or `patch` is given.

    Parameters
    ----------
    patch : int, px; None: found
    stride : int, px; None: half a patch
    block : int, px; 0: two patches; None: whole images
    resolution : float, m; None: found

    Returns
    -------
    pairs : Pairs, resampled, with a note of what was found and why
    sizes : dict of patch, stride, block: what `store.write_store` takes
    """
    notes, side_m = [], _median_side(pairs)
    if resolution is None and patch is None and side_m and all(m.every for m in pairs.masks):
        resolution = _coarser(pairs, side_m)
        if resolution:
            notes.append(f"pixels are averaged to {resolution:g} m, on which such a side has {side_m / resolution:.0f}")
    pairs = dataset.resample(pairs, resolution)
    if patch is None and side_m:
        pixel_m = float(np.median([_pixel_m(image) for image in pairs.images]))
        largest = max(min(image.shape) for image in pairs.images)
        wish, most = SIDES * side_m / pixel_m, min(LARGEST, largest // 4)
        patch = max(PATCH, min(round(wish / PATCH), most // PATCH) * PATCH)
        why = "as large as the images allow" if patch < wish - PATCH else f"{patch * pixel_m / side_m:.1f} such sides"
        notes.append(f"windows have {patch} px ({patch * pixel_m:.3g} m, {why})")
    patch = PATCH if patch is None else patch
    sizes = {
        "patch": patch,
        "stride": max(patch // 2, 1) if stride is None else stride,
        "block": 2 * patch if block == 0 else block,
    }
    if notes:
        told = f"Found from the polygons, whose side is {side_m:.3g} m (median, the root of the area): {'; '.join(notes)}. "
        pairs = replace(pairs, notes=(*pairs.notes, told + "`patch` and `resolution` say otherwise."))
    return pairs, sizes


def _pixel_m(image: Any) -> float:
    return float(np.sqrt(np.prod(grids.pixel_sides_m(*image.grid))))


def _median_side(pairs: Pairs) -> float | None:
    """The root of the area of the median polygon that reaches an image, metres on the ellipsoid; None where there are rasters."""
    import shapely
    from pyproj import Geod

    if not all(mask.is_vector for mask in pairs.masks):
        return None
    geod, sides = Geod(ellps="WGS84"), []
    for mask in dict.fromkeys(pairs.masks):
        shapes = read_polygons(mask).geometry.to_crs("OGC:CRS84").to_numpy()
        boxes = [grids.lonlat_bounds(i.crs, grids.bounds(i.transform, i.shape)) for i, other in pairs if other == mask]
        inside = np.unique(shapely.STRtree(shapes).query(shapely.box(*np.transpose(boxes)), predicate="intersects")[1])
        chosen = inside[:: -(-len(inside) // MOST) or 1]
        sides += [abs(geod.geometry_area_perimeter(shape)[0]) ** 0.5 for shape in shapes[chosen]]
    return float(np.median(sides)) if sides else None


def _coarser(pairs: Pairs, side_m: float) -> float | None:
    """A round resolution at which a side has about SIDE pixels, m; None where the images' own pixels are not much finer."""
    wish = side_m / SIDE
    power = 10.0 ** np.floor(np.log10(wish))
    steps = np.array(STEPS) * power
    found = float(f"{steps[np.abs(np.log(steps / wish)).argmin()]:.3g}")
    return found if found > FINER * max(_pixel_m(image) for image in pairs.images) else None


def fit_faults(values: Mapping[str, Any], root: Path) -> list[str]:
    """What sizes, network, loss and class table, right each by itself, cannot be together, as far as the parameters tell."""
    faults: list[str] = []
    patch, network, loss, classes = (values.get(name) for name in ("patch", "network", "loss", "classes"))
    attempt(faults, check_sizes, {}, *_surely(values), values["seed"], 0, values.get("gap", 0))
    if values.get("rasters"):  # those to predict, two notebooks later
        found = attempt(faults, project.existing_files, values["rasters"], root)
        attempt(faults, tiles.gather, found or [])
    if network:
        from geonb.workloads.segmentation.networks import check_size

        attempt(faults, check_size, network, patch or PATCH, patch or PATCH)
    table = attempt(faults, read_classes, classes) if loss and classes and "=" in classes else None
    if table:
        from geonb.workloads.segmentation.losses import build_loss

        attempt(faults, build_loss, loss, len(real_classes(table)))
    return faults


def _surely(values: Mapping[str, Any]) -> tuple[int, int | None, int | None]:
    """patch, stride, block: those that are given, and for those found later what refuses nothing."""
    patch, stride, block = (values[name] for name in ("patch", "stride", "block"))
    if patch is None:
        found = max(2 * LARGEST, stride or 0) if block == 0 else block
        return min(size for size in (stride, found, PATCH) if size), stride, found
    return patch, stride, 2 * patch if block == 0 else block
