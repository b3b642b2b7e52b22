"""A sample store as one HDF5 file, to take elsewhere, and back: windows are copied out, split by split.

Layout "geonb":

    /                       attributes layout = "geonb", store = store.json as text
    /<split>/inputs         (sample, channel, y, x)  native type
    /<split>/targets        (sample, y, x)           class index, 255 = ignore
    /<split>/valid          (sample, y, x)           bool
    /<split>/transform      (sample, 6)              x of the corner, x a column, 0, y of the corner, 0, y a row (GDAL's order)
    /<split>/row            (sample,)                row of the store's table
    /<split>/source         (sample,)                position in /sources
    /sources/<name>         attributes crs_wkt, GeoTransform, shape
    /index                  the table, a dataset a column
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import conventions, files, times
from geonb.rasters import grids, images
from geonb.store import arrays
from geonb.store.sealing import check_import, seal
from geonb.workloads.segmentation import arrays as segmentation_arrays

if TYPE_CHECKING:
    from geonb.store.store import Store

LAYOUTS = ("geonb",)
SAMPLES_AT_ONCE = 32


def export_hdf5(store: Store, file: str | Path, layout: str = "geonb") -> Path:
    """Copy all windows of a store into one HDF5 file, whole or not at all.

    Parameters
    ----------
    store : Store
    file : path
    layout : str
        "geonb"

    Raises
    ------
    ValueError
        Unknown layout, or windows of several sizes.
    OSError
        No space left: says how much is needed.
    """
    import h5py
    import zarr

    _check_layout(layout)
    index, file = store.index, Path(file)
    if len(index[["height", "width"]].drop_duplicates()) != 1:
        raise ValueError(f"The windows of {store.path} are of several sizes; an HDF5 array holds one")
    root: Any = zarr.open_group(store.path / "arrays.zarr", mode="r")
    file.parent.mkdir(parents=True, exist_ok=True)
    need = (
        int(index["height"].iloc[0]) ** 2
        * len(index)
        * (len(store.channels) * root[f"{store.sources[0]}/inputs"].dtype.itemsize + 2)
    )
    with files.enough_space(file.parent, need), files.whole_file(file) as partial, h5py.File(partial, "w") as out:
        out.attrs["layout"], out.attrs["store"] = layout, json.dumps(store.meta)
        _write_sources(out, root, store.sources)
        for split in conventions.SPLITS:
            rows = np.flatnonzero(index["split"] == split)
            _write_split(out.create_group(split), root, store, rows)
        _write_index(out.create_group("index"), index)
    return file


def _check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout = {layout!r} is not known. Choose one of: {', '.join(LAYOUTS)}")


def _write_sources(out: Any, root: Any, names: list[str]) -> None:
    for name in names:
        crs, transform, shape = arrays.grid_of(root[name])
        group = out.create_group(f"sources/{name}")
        group.attrs.update({"crs_wkt": crs, "GeoTransform": transform, "shape": shape})


def _write_split(group: Any, root: Any, store: Store, rows: np.ndarray) -> None:
    names = store.sources
    size = tuple(int(n) for n in store.index[["height", "width"]].iloc[0])
    kinds = {p: root[f"{names[0]}/{p}"].dtype for p in arrays.PLANES}
    shapes = {"inputs": (len(store.channels), *size), "targets": size, "valid": size}
    here = {
        p: group.create_dataset(
            p,
            (len(rows), *shapes[p]),
            kinds[p],
            chunks=(1, *shapes[p]) if len(rows) else None,
            compression="lzf" if len(rows) else None,
        )
        for p in arrays.PLANES
    }
    transforms = {name: np.array(arrays.transform_of(root[name]).to_gdal()) for name in names}
    corners = np.empty((len(rows), 6))
    for i, row in enumerate(store.index.iloc[rows].itertuples()):
        area = slice(row.y, row.y + row.height), slice(row.x, row.x + row.width)
        for p in arrays.PLANES:
            here[p][i] = root[f"{row.source}/{p}"][(..., *area)]
        corners[i] = transforms[row.source]
        corners[i, [0, 3]] += corners[i, 1] * row.x, corners[i, 5] * row.y
    group["transform"], group["row"] = corners, rows
    group["source"] = store.index["source"].iloc[rows].map({n: i for i, n in enumerate(names)}).to_numpy(np.int64)


def _write_index(group: Any, index: pd.DataFrame) -> None:
    for name, column in index.items():
        if column.dtype.kind in "iufb":
            group[str(name)] = column.to_numpy()
        elif isinstance(column.dtype, pd.DatetimeTZDtype):
            group[str(name)] = (
                column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ns]").view(np.int64)
            )
            group[str(name)].attrs["units"] = "nanoseconds since 1970-01-01T00:00:00Z"
        else:
            group[str(name)] = column.astype(str).to_numpy(dtype=object)


def import_hdf5(file: str | Path, folder: str | Path) -> Path:
    """Make a sample store of an HDF5 file written by `export_hdf5`: same windows, splits, coordinates and statistics.

    Pixels that lie in no window are not in the file; in the new store they are not valid.

    Parameters
    ----------
    file : path
    folder : path
        The store's folder; its arrays go beside it, into ../.arrays.

    Raises
    ------
    ValueError
        Not an HDF5 file, or of another layout.
    FileExistsError
        The folder is there already.
    """
    import h5py

    file, folder = check_import(file, folder)
    with h5py.File(file) as data:
        _check_layout(str(data.attrs.get("layout", "none")))
        meta = json.loads(data.attrs["store"])

        def write_arrays(path: Path) -> None:
            with files.enough_space(path.parent, 2 * file.stat().st_size):
                _read_arrays(data, meta, path)

        def write_table(path: Path) -> dict:
            _read_index(data).to_parquet(path / "index.parquet", index=False)
            return meta

        prepared = folder.parent / ".arrays" / f"{files.fingerprint(file)['sha256'][:16]}.zarr"
        seal(folder, prepared, write_arrays, write_table)
    return folder


def _read_arrays(data: Any, meta: dict, folder: Path) -> None:
    import dask.array as da
    from affine import Affine

    channels = [c["name"] for c in meta["channels"]]
    dtype = data["train/inputs"].dtype
    for number, source in enumerate(meta["sources"]):
        about = data[f"sources/{source['name']}"].attrs
        transform = Affine.from_gdal(*map(float, about["GeoTransform"].split()))
        shape = int(about["shape"][0]), int(about["shape"][1])
        empty = da.zeros((len(channels), *shape), dtype=dtype, chunks=-1), da.zeros(shape, dtype=bool, chunks=-1)
        group = segmentation_arrays.create_group(
            folder, source["name"], images.frame(*empty, transform, about["crs_wkt"], channels)
        )
        to = arrays.writable(group)
        for y, x in grids.tiles(shape, arrays.TILE_PX):  # every chunk is there, also between the windows
            to["inputs"][:, y, x], to["valid"][y, x], to["targets"][y, x] = 0, False, 255
        for split in conventions.SPLITS:
            here = data[split]
            for i in np.flatnonzero(here["source"][:] == number):
                row = here["row"][i]
                top, left, height, width = (int(data[f"index/{k}"][row]) for k in ("y", "x", "height", "width"))
                area = slice(top, top + height), slice(left, left + width)
                for p in arrays.PLANES:
                    to[p][(..., *area)] = here[p][i]
    arrays.seal(folder, meta["sources"], classes=meta["classes"])


def _read_index(data: Any) -> Any:
    import geopandas as gpd
    from affine import Affine

    columns = {}
    for name, values in data["index"].items():
        if "units" in values.attrs:
            columns[name] = times.decoded(values[:], values.attrs).tz_localize("UTC")
        else:
            columns[name] = values.asstr()[:] if values.dtype.kind == "O" else values[:]
    index = pd.DataFrame(columns)
    index["split"] = pd.Categorical(index["split"], categories=conventions.SPLITS)
    outlines = pd.Series(index=index.index, dtype=object)
    for name, rows in index.groupby("source"):
        about = data[f"sources/{name}"].attrs
        transform = Affine.from_gdal(*map(float, about["GeoTransform"].split()))
        at, sizes = rows[["y", "x"]].to_numpy(), rows[["height", "width"]].to_numpy()
        outlines[rows.index] = grids.footprints(at, sizes, transform, about["crs_wkt"]).to_numpy()
    return gpd.GeoDataFrame(index, geometry=gpd.GeoSeries(outlines, crs="OGC:CRS84"))
