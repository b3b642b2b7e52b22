"""A store's arrays decoded once on each machine, into .npy files that are opened as memory maps.

Compressed chunks are good to keep and slow to read at random. In the files the channels of a pixel lie side by side, so that a
window is one short run of bytes a row.
"""

from __future__ import annotations

import getpass
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geonb.base.files import enough_space, locked, whole_file, whole_folder
from geonb.rasters import grids
from geonb.store.arrays import TILE_PX
from geonb.store.sealing import named

if TYPE_CHECKING:
    from geonb.store.store import Store


class Plane(NamedTuple):
    """What goes into one file: the array of the store's Zarr, (..., [channel,] y, x), and whether it has channels."""

    array: str
    channels: bool = False


def scratch_folder() -> Path:
    """Where memory maps go: GEONB_SCRATCH, else a private folder in the system's temporary one.

    Raises
    ------
    PermissionError
        If the folder belongs to somebody else.
    """
    given = os.environ.get("GEONB_SCRATCH")
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"geonb-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not given and folder.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder} does not belong to {getpass.getuser()}. Set GEONB_SCRATCH to a folder of your own"
        )
    return folder


def memory_map(store: Store, planes: Mapping[str, Plane]) -> Path:
    """Decode arrays of a store, once a machine: a file <name>.npy of each plane, (..., y, x[, channel]).

    Parameters
    ----------
    store : Store
    planes : name of the file -> what goes into it

    Raises
    ------
    OSError
        No space left: says how much is needed.
    ValueError
        If a chunk of the arrays is gone or damaged; names the file.
    """
    arrays = (store.path / "arrays.zarr").resolve()
    folder = scratch_folder() / arrays.stem
    files = [folder / f"{name}.npy" for name in planes]
    if all(map(_there, files)):
        return folder
    import zarr

    with locked(folder.with_name(f"{folder.name}.lock")):
        if not all(map(_there, files)):  # they may have come while we waited
            with named(store.path):
                group: Any = zarr.open_group(arrays, mode="r")
                need = sum(group[plane.array].nbytes for plane in planes.values())
                with enough_space(folder.parent, need), whole_folder(folder) as partial:
                    for name, plane in planes.items():
                        _decode(group[plane.array], partial / f"{name}.npy", plane.channels)
    return folder


def computed_map(file: Path, shape: tuple[int, ...], rows: Callable[[], Iterable[np.ndarray]]) -> None:
    """Compute what is not in a store, once a machine, into a float32 .npy file: row after row, one in memory at a time.

    Parameters
    ----------
    file : beside the maps of a store
    shape : (row, ...)
    rows : called only if the file is not there yet; gives them in order

    Raises
    ------
    OSError
        No space left: says how much is needed.
    """
    if _there(file):
        return
    with locked(file.with_name(f"{file.name}.lock")):
        if not _there(file):
            with enough_space(file.parent, 4 * math.prod(shape)), whole_file(file) as partial:
                to = _empty(partial, np.dtype(np.float32), shape)
                for i, row in enumerate(rows()):
                    to[i] = row
                to.flush()


def _there(file: Path) -> bool:
    """Whether a memory map can be opened; one that was cut short cannot."""
    try:
        np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def _decode(array: Any, file: Path, channels: bool) -> None:
    """Copy a Zarr array into a .npy file, channels last; along its first chunks, a rectangle of whole chunks at a time."""
    size, lead = array.shape[-2:], array.shape[: -3 if channels else -2]
    shape = lead + size + (array.shape[-3:-2] if channels else ())
    to = _empty(file, array.dtype, shape)
    step = array.chunks[0]
    # about TILE_PX, and whole chunks: a record's is as long as the record, and would be decompressed anew for each piece
    widths = [max(TILE_PX // chunk, 1) * chunk for chunk in array.chunks[-2:]]
    steps = [grids.strips(n, width) for n, width in zip(size, widths, strict=True)]
    for first in [(slice(i, i + step),) for i in range(0, lead[0], step)] if lead else [()]:
        for y, x in product(*steps):
            part = array[(*first, ..., y, x)]
            to[(*first, ..., y, x) + (slice(None),) * channels] = np.moveaxis(part, -3, -1) if channels else part
    to.flush()


def _empty(file: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file to be written through a map."""
    with file.open("wb") as out:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        start = out.tell()
        # a hole in a file on a full disk would be a crash (SIGBUS) when it is written through a map
        os.posix_fallocate(out.fileno(), 0, start + dtype.itemsize * math.prod(shape))
    return np.memmap(file, dtype, "r+", start, shape)
