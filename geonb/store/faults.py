"""What may be wrong with a sample store of any kind, part by part: a kind says what it expects, and adds its own.

Behind :func:`geonb.store.store.check_store`; each part gives sentences, none where all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geonb.base.conventions import short
from geonb.rasters import grids
from geonb.store import arrays


def statistics_faults(meta: dict, channels: int) -> list[str]:
    """Mean and standard deviation of each channel that enters must be there, and fit to divide by."""
    mean, std = (np.array(meta["statistics"].get(k, []), float) for k in ("mean", "std"))
    if len(mean) == len(std) == channels and np.isfinite([*mean, *std]).all() and (std > 0).all():
        return []
    return [
        f"statistics: mean and std must be {channels} finite numbers each, std above 0; they are {meta['statistics']}"
    ]


def open_arrays(folder: Path) -> tuple[Any, list[str]]:
    """The root of a store's arrays.zarr, as it is and not as it was when its metadata were gathered; or None and why."""
    import zarr

    try:
        return zarr.open_group(folder / "arrays.zarr", mode="r", use_consolidated=False), []
    except Exception as error:  # whatever zarr makes of broken metadata
        return None, [f"arrays.zarr cannot be opened: {short(error)}"]


def shape_faults(
    root: Any, group: str, expected: Mapping[str, tuple[int, ...]], filled: Iterable[str] = ()
) -> list[str]:
    """Arrays of a group that are missing, of another shape than expected, or, if `filled`, without some of their chunks."""
    found = []
    for name, size in expected.items():
        array = root.get(f"{group}/{name}")
        if array is None or array.shape != size:
            found.append(f"arrays.zarr/{group}/{name}: {'missing' if array is None else array.shape}, not {size}")
        elif name in filled and array.nchunks_initialized < array.nchunks:
            missing = array.nchunks - array.nchunks_initialized
            found.append(f"arrays.zarr/{group}/{name}: {missing} chunks are missing")
    return found


def centre_faults(root: Any, group: str) -> Iterator[str]:
    """Coordinates that are not the pixel centres of the group's own grid."""
    source = root[group]
    centres = grids.centres(arrays.transform_of(source), source["valid"].shape[-2:])
    if not all(np.allclose(source[k][:], c) for k, c in zip("yx", centres, strict=True)):
        yield f"arrays.zarr/{group}: x and y are not the pixel centres of its GeoTransform"


def column_faults(folder: Path, wanted: Iterable[str]) -> list[str]:
    """A table that cannot be read, or lacks columns."""
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(folder / "index.parquet").column_names
    except Exception as error:  # whatever Arrow makes of a broken file
        return [f"index.parquet cannot be read: {short(error)}"]
    missing = [column for column in wanted if column not in columns]
    return [f"index.parquet has no column {', '.join(missing)}"] if missing else []
