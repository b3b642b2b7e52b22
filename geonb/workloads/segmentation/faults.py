"""What may be wrong with a store of images and masks, beyond what all kinds have in common (:mod:`geonb.store.faults`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geonb.base import conventions
from geonb.rasters import grids
from geonb.store import arrays
from geonb.store.faults import centre_faults, open_arrays, shape_faults, statistics_faults


def meta_faults(meta: dict) -> list[str]:
    """What is wrong within store.json: statistics, classes, split."""
    if "classes" not in meta:
        return ["store.json has no 'classes'"]
    faults = statistics_faults(meta, len(meta["channels"]))
    codes, names = ([c.get(k) for c in meta["classes"]] for k in ("code", "name"))
    if not codes or len(set(codes)) < len(codes) or len(set(names)) < len(names) or None in codes + names:
        faults.append(f"classes: each needs its own code and name; they are {meta['classes']}")
    missing = {s["name"] for s in meta["sources"]} ^ set(meta["split"].get("blocks", {}))
    return faults + [f"split: no blocks of, or blocks of an unknown, {s}" for s in sorted(missing)]


def array_faults(folder: Path, meta: dict, deep: bool) -> list[str]:
    """What is wrong with arrays.zarr: shapes, chunks, coordinates, CRS; `deep` reads every label."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    root, faults = open_arrays(folder)
    for source in meta["sources"] if root is not None else ():
        name, shape, n = source["name"], tuple(source["shape"]), len(meta["channels"])
        expected = {"inputs": (n, *shape), "targets": shape, "valid": shape, "y": shape[:1], "x": shape[1:]}
        expected |= {"channel": (n,), "spatial_ref": ()}
        if found := shape_faults(root, name, expected, arrays.PLANES):
            faults += found
            continue
        try:
            CRS.from_wkt(arrays.grid_of(root[name])[0] or "")
            faults += centre_faults(root, name)
        except (CRSError, KeyError, ValueError) as error:
            faults.append(f"arrays.zarr/{name}/spatial_ref: no readable CRS ({conventions.short(error)})")
        if deep:
            faults += _label_faults(root[name], name, len(meta.get("classes", ())))
    return faults


def _label_faults(group: Any, name: str, n_classes: int) -> list[str]:
    odd = 0
    for y, x in grids.tiles(group["valid"].shape, arrays.TILE_PX):
        labels = group["targets"][y, x]
        odd += int((((labels >= n_classes) | ~group["valid"][y, x]) & (labels != conventions.IGNORE)).sum())
    return [f"arrays.zarr/{name}/targets: {odd} labels are no class, or lie on invalid pixels"] if odd else []
