"""A cube and its table in one HDF5 file, exactly: every array of the Zarr with its attributes, the table as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.store import arrays
from geonb.workloads.conflict.arrays import GROUP, MONTHS_AT_ONCE

if TYPE_CHECKING:
    from geonb.workloads.conflict.store import CubeStore


def write(out: Any, store: CubeStore) -> None:
    """Write the arrays (group "cube"), the table (its Parquet file's bytes) and store.json into an open HDF5 file."""
    import zarr

    root = zarr.open_group(store.path / "arrays.zarr", mode="r", use_consolidated=False)
    cube = out.create_group("cube")
    cube.attrs["root"], cube.attrs["attributes"] = json.dumps(dict(root.attrs)), json.dumps(dict(root[GROUP].attrs))
    for name, array in root[GROUP].arrays():
        about = {"dimensions": array.metadata.dimension_names, "chunks": array.chunks, "attributes": dict(array.attrs)}
        if array.dtype.kind in "OUT":
            copy = cube.create_dataset(name, data=[str(v) for v in array[:]])
        elif array.ndim == 0:
            copy = cube.create_dataset(name, data=array[()])
        else:
            copy = cube.create_dataset(name, array.shape, array.dtype, chunks=array.chunks, compression="lzf")
            for start in range(0, array.shape[0], MONTHS_AT_ONCE):
                copy[start : start + MONTHS_AT_ONCE] = array[start : start + MONTHS_AT_ONCE]
        copy.attrs["about"] = json.dumps(about)
    out["index"] = np.frombuffer((store.path / "index.parquet").read_bytes(), np.uint8)
    out["index"].attrs["format"] = "GeoParquet"
    out.attrs["store"] = json.dumps(store.meta)


def read_arrays(data: Any, folder: Path) -> None:
    """Write the arrays of an open file of `write` into a Zarr folder."""
    import zarr

    cube = data["cube"]
    root = zarr.open_group(folder, mode="w")
    root.attrs.update(json.loads(cube.attrs["root"]))
    group = root.create_group(GROUP, attributes=json.loads(cube.attrs["attributes"]))
    for name, copy in cube.items():
        about = json.loads(copy.attrs["about"])
        text = copy.dtype.kind == "O"
        options = {"chunks": tuple(about["chunks"])} if about["chunks"] else {}
        array = group.create_array(
            name, shape=copy.shape, dtype="str" if text else copy.dtype, dimension_names=about["dimensions"],
            attributes=about["attributes"], **options,
        )  # fmt: skip
        if text:
            array[:] = copy.asstr()[:]
        elif copy.ndim == 0:
            array[()] = copy[()]
        else:
            for start in range(0, copy.shape[0], MONTHS_AT_ONCE):
                array[start : start + MONTHS_AT_ONCE] = copy[start : start + MONTHS_AT_ONCE]
    with arrays.quiet_zarr():
        zarr.consolidate_metadata(root.store)


def read_table(data: Any, folder: Path) -> dict:
    """Write the table of an open file of `write` into a store's folder; gives its seal."""
    (folder / "index.parquet").write_bytes(data["index"][:].tobytes())
    return json.loads(data.attrs["store"])
