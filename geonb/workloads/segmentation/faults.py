"""What may be wrong with a sample store, part by part: the checks behind `store.check_store`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import conventions
from geonb.rasters import grids
from geonb.store import arrays, windows

if TYPE_CHECKING:
    from geonb.store.store import Store


def meta_faults(meta: dict) -> list[str]:
    """What is wrong within store.json: statistics, classes, split."""
    faults, n = [], len(meta["channels"])
    mean, std = (np.array(meta["statistics"].get(k, []), float) for k in ("mean", "std"))
    if len(mean) != n or len(std) != n or not np.isfinite([*mean, *std]).all() or (std <= 0).any():
        faults.append(
            f"statistics: mean and std must be {n} finite numbers each, std above 0; they are {meta['statistics']}"
        )
    codes, names = ([c.get(k) for c in meta["classes"]] for k in ("code", "name"))
    if not codes or len(set(codes)) < len(codes) or len(set(names)) < len(names) or None in codes + names:
        faults.append(f"classes: each needs its own code and name; they are {meta['classes']}")
    missing = {s["name"] for s in meta["sources"]} ^ set(meta["split"].get("blocks", {}))
    return faults + [f"split: no blocks of, or blocks of an unknown, {s}" for s in sorted(missing)]


def array_faults(folder: Path, meta: dict, deep: bool) -> list[str]:
    """What is wrong with arrays.zarr: shapes, chunks, coordinates, CRS; `deep` reads every label."""
    import zarr
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        root = zarr.open_group(folder / "arrays.zarr", mode="r", use_consolidated=False)  # what is there, not what was
    except (OSError, ValueError, KeyError) as error:
        return [f"arrays.zarr cannot be opened: {conventions.short(error)}"]
    faults = []
    for source in meta["sources"]:
        name, shape = source["name"], tuple(source["shape"])
        expected = {"inputs": (len(meta["channels"]), *shape), "targets": shape, "valid": shape}
        expected |= {"y": shape[:1], "x": shape[1:], "channel": (len(meta["channels"]),), "spatial_ref": ()}
        for variable, size in expected.items():
            array = root.get(f"{name}/{variable}")
            if array is None or array.shape != size:
                faults.append(
                    f"arrays.zarr/{name}/{variable}: {'missing' if array is None else array.shape}, not {size}"
                )
            elif variable in arrays.PLANES and array.nchunks_initialized < array.nchunks:
                faults.append(
                    f"arrays.zarr/{name}/{variable}: {array.nchunks - array.nchunks_initialized} chunks are missing"
                )
        if any(fault.startswith(f"arrays.zarr/{name}/") for fault in faults):
            continue
        try:
            CRS.from_wkt(arrays.grid_of(root[name])[0])
            centres = grids.centres(arrays.transform_of(root[name]), shape)
            if not all(np.allclose(root[f"{name}/{k}"][:], c) for k, c in zip("yx", centres, strict=True)):
                faults.append(f"arrays.zarr/{name}: x and y are not the pixel centres of its GeoTransform")
        except (CRSError, KeyError, ValueError) as error:
            faults.append(f"arrays.zarr/{name}/spatial_ref: no readable CRS ({conventions.short(error)})")
        if deep:
            faults += _label_faults(root[name], name, len(meta["classes"]))
    return faults


def _label_faults(group: Any, name: str, n_classes: int) -> list[str]:
    odd = 0
    for y, x in grids.tiles(group["valid"].shape, arrays.TILE_PX):
        labels = group["targets"][y, x]
        odd += int((((labels >= n_classes) | ~group["valid"][y, x]) & (labels != conventions.IGNORE)).sum())
    return [f"arrays.zarr/{name}/targets: {odd} labels are no class, or lie on invalid pixels"] if odd else []


def table_faults(store: Store, wanted: tuple[str, ...]) -> list[str]:
    """What is wrong with index.parquet: unreadable, columns that are missing, windows that leak."""
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(store.path / "index.parquet").names
    except (OSError, ValueError) as error:
        return [f"index.parquet cannot be read: {conventions.short(error)}"]
    missing = [c for c in wanted if c not in columns]
    if missing:
        return [f"index.parquet has no column {', '.join(missing)}"]
    shapes = {s["name"]: tuple(s["shape"]) for s in store.meta["sources"]}
    return [f"index.parquet: {f}" for f in windows.leaks(store.index, shapes, store.meta["split"])[0][:20]]
