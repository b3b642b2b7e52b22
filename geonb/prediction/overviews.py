"""Overviews of large predictions: every fourth pixel a side, beside them, so that a map of the whole needs no minute to read.

What GDAL keeps inside a GeoTIFF, kept beside predictions.zarr: a group of another grid cannot lie within a source of a DataTree.
Derived, and made anew when the predictions are: they can be deleted at any time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from geonb.base.files import fingerprint, whole_folder
from geonb.rasters.grids import strips

FACTOR = 4
SIDE_PX = 2048  # the longer side from which a source has an overview
NAME = "overviews.zarr"


def write(path: Path) -> Path | None:
    """Write the overviews of predictions whose sources are large, if they are not there yet.

    Parameters
    ----------
    path : of predictions.zarr, sealed

    Returns
    -------
    Path of the overviews beside it, or None where no source is large
    """
    from geonb.store.arrays import quiet_zarr

    whole = zarr.open_group(path, mode="r")
    large = {name: group for name, group in whole.groups() if _side(group) > SIDE_PX}
    if not large:
        return None
    folder, stamp = path.with_name(NAME), _seal(path)
    if _stamp(folder) == stamp:
        return folder
    with whole_folder(folder) as partial, quiet_zarr():
        root = zarr.open_group(partial, mode="w", attributes={"of": stamp, "factor": FACTOR})
        for name, group in large.items():
            _thin(group, root.create_group(name))
        zarr.consolidate_metadata(partial)
    return folder


def open_of(predictions: xr.DataTree) -> dict[str, xr.Dataset]:
    """The overviews of opened predictions by source; none where there are none, or where they are of other predictions."""
    from geonb.store.arrays import quiet_zarr

    source = predictions.encoding.get("source")
    if (
        source is None
        or _stamp(folder := Path(source).with_name(NAME)) != fingerprint(Path(source) / "zarr.json")["sha256"]
    ):
        return {}
    with quiet_zarr():
        tree = xr.open_datatree(folder, engine="zarr", chunks=None)
    return {name: node.to_dataset() for name, node in tree.children.items()}


def _seal(path: Path) -> str | None:
    """What tells these predictions from others: the sum of what stands at their root, in either of Zarr's formats."""
    there = [file for name in ("zarr.json", ".zattrs") if (file := path / name).is_file()]
    return fingerprint(there[0])["sha256"] if there else None


def _side(group: zarr.Group) -> int:
    """The longer side of a grid, px; 0 of what is none: a table of samples may have columns x and y."""
    axes = [group.get(name) for name in "xy"]
    grid = all(
        isinstance(a, zarr.Array) and getattr(a.metadata, "dimension_names", None) == (n,)
        for a, n in zip(axes, "xy", strict=True)
    )
    return max(a.shape[0] for a in axes if isinstance(a, zarr.Array)) if grid else 0


def _stamp(folder: Path) -> Any:
    """Of which predictions a folder of overviews is; None where it is none."""
    return dict(zarr.open_group(folder, mode="r").attrs).get("of") if (folder / "zarr.json").is_file() else None


def _thin(group: zarr.Group, out: zarr.Group) -> None:
    """Every fourth row and column of each array of a grid, the middle ones, a strip of chunks at a time."""
    for name, array in group.arrays():
        dims = array.metadata.dimension_names or ()
        own = [slice(FACTOR // 2, None, FACTOR) if dim in ("y", "x") else slice(None) for dim in dims]
        shape = tuple(len(range(*s.indices(n))) for s, n in zip(own, array.shape, strict=True))
        chunks = tuple(
            min(n, 512) if dim in ("y", "x") else c for dim, n, c in zip(dims, shape, array.chunks, strict=True)
        )
        made = out.create_array(name, shape=shape, chunks=chunks, dtype=array.dtype, dimension_names=dims,
                                attributes=dict(array.attrs), fill_value=array.fill_value)  # fmt: skip
        if dims[-2:] != ("y", "x"):
            made[...] = array[tuple(own)] if array.ndim else array[()]
            continue
        for rows in strips(array.shape[-2], FACTOR * 512):
            strip = array[..., rows, :][..., FACTOR // 2 :: FACTOR, FACTOR // 2 :: FACTOR]
            made[..., rows.start // FACTOR : rows.start // FACTOR + strip.shape[-2], :] = strip
