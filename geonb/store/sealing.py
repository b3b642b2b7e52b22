"""How a sample store is made: found again, or its arrays, its table and, last, its seal; one writer at a time, whole or not at all.

What is damaged, by the manifest of the store or of its arrays, is made again; what is whole is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from geonb.base import manifest
from geonb.base.conventions import VERSION
from geonb.base.files import enough_space, key_of, locked, sweep, whole_folder, write_json
from geonb.base.manifest import CURED, missing, write_manifest
from geonb.base.project import at_hand, plain_name, project_root

FORMAT = 1
CURE = (
    f"Run notebook 01 again with the same settings, or geonb run <workload> --resume <run>: {CURED}. If you changed a "
    "file on purpose, delete the manifest.json beside it."
)
TABLE_BYTES = 10_000_000  # what a table and a seal may need


def make_store(
    kind: str,
    write_arrays: Callable[[Path], Any],
    write_table: Callable[[Path], dict],
    *,
    recipe: Any,
    cut: dict,
    facts: dict,
    files: list[dict],
    name: str,
    workload: str,
    root: Path | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Make a store under root / "data" / workload, or find the one that is there.

    Parameters
    ----------
    kind : str
    write_arrays, write_table
        See `seal`; what the table's part says is added to store.json.
    recipe : fit for JSON
        All that the arrays depend on: stores of the same one share them.
    cut : dict
        All that the table depends on besides.
    facts : dict
        title, simulated, notes, ...: what the store says of itself.
    files : list of dict, of `geonb.base.files.fingerprints`
    name : str
        First part of the folder's name.
    root : Path, optional
        The project root by default.
    more : mapping, optional
        What the store says of itself and its key depends on, beside the `facts`.

    Returns
    -------
    The store's folder

    Raises
    ------
    ValueError
        A workload or a name that leads out of data/.
    """
    base = Path(root) if root else project_root()
    home, arrays_key = base / "data" / plain_name(workload, "workload"), key_of(recipe)
    key = key_of({"arrays": arrays_key, "cut": cut, "name": name, "facts": facts, **(more or {})})
    said = {"geonb": VERSION, "format": FORMAT, "workload": workload, "kind": kind, "name": name, "key": key, **facts}
    said |= {"inputs": [file | {"path": seen_from(base, file["path"])} for file in files], **(more or {})}
    folder, prepared = home / f"{plain_name(name, 'name')}-{key[:8]}", home / ".arrays" / f"{arrays_key}.zarr"
    if not finished(folder) or damage(folder):
        seal(folder, prepared, write_arrays, lambda partial: said | write_table(partial))
    return folder


def seal(
    folder: Path, prepared: Path, write_arrays: Callable[[Path], Any], write_table: Callable[[Path], dict]
) -> None:
    """Make a store's folder, unless somebody else does meanwhile.

    Parameters
    ----------
    folder, prepared : Path
        The store's, and that of its arrays, in ../.arrays, which others may share.
    write_arrays : folder -> anything
        Writes the Zarr; called only if there is none.
    write_table : folder of the store, with its ``arrays.zarr`` -> dict
        Writes index.parquet into it; gives what store.json says, which is written last.

    Raises
    ------
    OSError
        No space left: says how much is needed; nothing half-written remains.
    """
    home = folder.parent
    with locked(home / ".lock"):
        found = damage(folder) if finished(folder) else []
        if finished(folder) and not found:  # it may have come while we waited
            return
        for fault in found:
            print(f"{folder.name}: {fault}; it is made again")
        sweep(home)
        sweep(prepared.parent)
        if not prepared.is_dir() or missing(prepared):
            with whole_folder(prepared) as partial:
                write_arrays(partial)
                write_manifest(partial)
        with enough_space(home, TABLE_BYTES), whole_folder(folder) as partial:
            (partial / "arrays.zarr").symlink_to(Path("..") / prepared.parent.name / prepared.name)
            write_json(partial / "store.json", write_table(partial))
            write_manifest(partial)


def check_import(file: str | Path, folder: str | Path) -> tuple[Path, Path]:
    """What every import of an HDF5 file asks first: the file and the new store's folder.

    Raises
    ------
    ValueError
        Not an HDF5 file.
    FileExistsError
        The folder is there already.
    """
    import h5py

    file, folder = Path(at_hand(file)), Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already. Give another folder, or delete it")
    if not file.is_file() or not h5py.is_hdf5(file):
        raise ValueError(f"{file} is not an HDF5 file")
    return file, folder


def damage(folder: Path, deep: bool = False, most: int | None = None) -> list[str]:
    """What of a finished store, or of its arrays, is gone or changed since; see :func:`geonb.base.manifest.missing`."""
    if not (folder / "arrays.zarr").is_dir():
        return ["arrays.zarr cannot be opened: it is gone", *missing(folder, deep)]
    return missing(folder, deep) + [f"arrays.zarr/{fault}" for fault in missing(folder / "arrays.zarr", deep, most)]


def named(folder: Path | str) -> AbstractContextManager[None]:
    """Read a store's arrays in here, where something missing is refused and a damaged chunk is named."""
    head = f"The arrays of the sample store {folder} are damaged"
    return manifest.named(Path(folder) / "arrays.zarr", head, CURE)


def finished(folder: Path) -> bool:
    """Whether a store is sealed and its arrays are there."""
    return (folder / "store.json").is_file() and (folder / "arrays.zarr").is_dir()


def seen_from(base: Path, path: Path | str) -> str:
    """A path as seen from the project, where it lies inside."""
    path = Path(path).absolute()
    return str(path.relative_to(base.absolute())) if path.is_relative_to(base.absolute()) else str(path)
