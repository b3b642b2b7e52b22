"""From a store of samples that somebody else has cut to tensors: as :mod:`geonb.workloads.conflict.loaders`, but whole samples are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.files import enough_space, locked, whole_folder
from geonb.store.loaders import scratch_folder
from geonb.workloads.conflict.loaders import Months
from geonb.workloads.conflict.window_store import GROUP

if TYPE_CHECKING:
    from geonb.workloads.conflict.window_store import WindowStore


class Samples(Months):
    """The samples of a WindowStore as tensors, see :class:`geonb.workloads.conflict.loaders.Months`; there are no deaths (NaN)."""

    def __init__(
        self,
        store: WindowStore,
        split: str | None = None,
        augment: str = "none",
        seed: int = 0,
        *,
        native: bool = False,
    ):
        super().__init__(store, split, augment, seed, native=native)
        self.folder = memory_map(store)

    def _fill(self, i: int, inputs: np.ndarray, targets: np.ndarray, deaths: np.ndarray, valid: np.ndarray) -> None:
        if self._maps is None:
            self._maps = {k: np.load(self.folder / f"{k}.npy", mmap_mode="r") for k in ("inputs", "targets")}
        row = int(self.rows[i])
        inputs[...] = self._maps["inputs"][row]
        np.greater_equal(self._maps["targets"][row], 1, out=targets[0, 0], casting="unsafe")
        deaths[...], valid[...] = np.nan, True


def memory_map(store: WindowStore) -> Path:
    """Decode the samples once a machine: inputs.npy (sample, step, y, x, channel), targets.npy (sample, y, x)."""
    import zarr

    arrays = (store.path / "arrays.zarr").resolve()
    folder = scratch_folder() / arrays.stem
    files = ("inputs", "targets")
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not all((folder / f"{f}.npy").is_file() for f in files):
            group = zarr.open_group(arrays, mode="r")[GROUP]
            with enough_space(folder.parent, sum(group[f].nbytes for f in files)), whole_folder(folder) as partial:
                for name in files:
                    _decode(group[name], partial / f"{name}.npy")
    return folder


def _decode(array: Any, file: Path) -> None:
    last = array.ndim == 5
    shape = (*array.shape[:2], *array.shape[3:], array.shape[2]) if last else array.shape
    with file.open("wb") as out:
        header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        for start in range(0, array.shape[0], array.chunks[0]):
            part = array[start : start + array.chunks[0]]
            out.write(np.ascontiguousarray(np.moveaxis(part, 2, -1) if last else part).data)
