"""The sample store: georeferenced arrays, a table of windows into them, and a seal. Written, found again, checked.

    data/<workload>/<name>-<key>/
        arrays.zarr     -> ../.arrays/<key>.zarr: a group a source; shared by all windows and splits of the same inputs
        index.parquet   a row a window (GeoParquet)
        store.json      the seal: without it there is no store
        manifest.json   what must be there, bytes and sums; the arrays have one of their own
        proof.json      what `check_split` proved, and of which table; anew when it is gone or of another

Both keys are hashes of what went in, so that the same inputs and parameters find the same folder again.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

import pandas as pd

from geonb import registry
from geonb.base import files as base_files
from geonb.base import specs
from geonb.base.conventions import VERSION, refuse
from geonb.base.manifest import QUICK, gathered, refuse_damaged
from geonb.base.project import project_root
from geonb.store.sealing import CURE, FORMAT, damage, finished, named, seen_from

if TYPE_CHECKING:
    import xarray as xr

    from geonb.store.loaders import Tensors

PROOF = "proof.json"
META_KEYS = (
    "geonb", "format", "workload", "kind", "name", "key", "simulated", "title", "notes", "attribution", "channels", "statistics",
    "parameters", "inputs", "sources", "split",
)  # fmt: skip


@dataclass(frozen=True)
class Store(ABC):
    """A sealed sample store, and what all kinds of it have. `store[i]` is window i, `len(store)` the number of windows.

    A kind that says `unproved`, why nobody can tell whether its splits leak, has no `check_split`; all others have one.
    """

    path: Path
    meta: dict
    unproved: ClassVar[str] = ""

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """The store of this kind in a folder; :func:`open_store` asks the folder for its kind."""
        return cls(Path(folder), base_files.read_json(Path(folder) / "store.json"))

    @cached_property
    def index(self) -> pd.DataFrame:
        """The table of windows, without their outlines (a million of those take seconds to read)."""
        import pyarrow.parquet as pq

        columns = [c for c in pq.read_schema(self.path / "index.parquet").names if c != "geometry"]
        index = pd.read_parquet(self.path / "index.parquet", columns=columns)
        if "dataset" not in index:  # a store of an earlier geonb
            index.insert(1, "dataset", self.meta["name"])
        return index

    @cached_property
    def arrays(self) -> xr.DataTree:
        """A group a source: inputs (channel, y, x), targets (y, x), valid (y, x); read when used."""
        import xarray as xr

        return xr.open_datatree(self.path / "arrays.zarr", engine="zarr", chunks={}, decode_coords="all")

    @cached_property
    def _grids(self) -> dict[str, xr.Dataset]:
        import xarray as xr

        # not chunked: a window is one short read, no task graph
        open_group = partial(xr.open_zarr, chunks=None, consolidated=False, decode_coords="all")
        return {name: open_group(self.path / "arrays.zarr", group=name) for name in self.sources}

    @property
    def channels(self) -> list[str]:
        """Names of the channels, in order."""
        return [c["name"] for c in self.meta["channels"]]

    @property
    def classes(self) -> list[dict]:
        """code, name, colour of each class; its place in the list is its index in `targets`. Empty where there are none."""
        return self.meta.get("classes", [])

    @property
    def sources(self) -> list[str]:
        """Names of the sources: the groups of `arrays`."""
        return [s["name"] for s in self.meta["sources"]]

    @property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        return {s["name"]: tuple(s["shape"]) for s in self.meta["sources"]}

    @property
    def placed(self) -> list[str]:
        """Names of the sources that lie somewhere on Earth; pictures that came without a place do not."""
        return [s["name"] for s in self.meta["sources"] if "crs" not in s or s["crs"] is not None]

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        from geonb.base.project import relative

        counts = self.index["split"].astype(str).value_counts()
        parts = ", ".join(f"{name} {counts[name]:,}" for name in ("train", "val", "test") if name in counts)
        channels = ", ".join(str(channel["name"]) for channel in self.meta["channels"])
        return f"{type(self).__name__} {relative(self.path)}\n{len(self):,} ({parts}) of {len(self.sources)} sources; channels {channels}"

    @abstractmethod
    def __getitem__(self, i: int) -> xr.Dataset:
        """Window i with its inputs and targets, its real coordinates if it has any, and its row as attrs."""

    @abstractmethod
    def windows(self, split: str | None = None, augment: str = "none", seed: int = 0) -> Tensors:
        """The windows as standardised tensors."""

    @abstractmethod
    def labels(self, items: list[dict]) -> list[str]:
        """What each of some items of `windows` mostly shows, in one word; empty where nobody has said."""

    @property
    @abstractmethod
    def legend(self) -> dict[str, str]:
        """Every label there can be, with its colour."""

    @abstractmethod
    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store beyond missing keys, see `check_store`."""


@runtime_checkable
class Provable(Protocol):
    """A store of a kind whose splits can be proved not to leak."""

    def check_split(self) -> dict: ...


def row_attrs(row: pd.Series) -> dict:
    """A row of the table, what is known of it, as attributes of its window."""
    return {k: v.item() if hasattr(v, "item") else str(v) for k, v in row.items() if not pd.isna(v)}


def sealed_at(spec: str, root: Path) -> list[Path]:
    """The folder of the sample store that a parameter names, looked for from the project root.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`open_store`, or if its seal says too little.
    """
    store = open_store(Path(root, Path(spec).expanduser()))
    if missing := [key for key in META_KEYS if key not in store.meta]:
        raise ValueError(
            f"{store.path / 'store.json'} has no {', '.join(missing)}: it was damaged. Run notebook 01 again."
        )
    return [store.path]


def open_store(path: str | Path | None = None, workload: str | None = None) -> Store:
    """Open a sample store.

    Parameters
    ----------
    path : path, optional
        Its folder; relative ones are looked for here, then from the project root. None: the newest there is.
    workload : str, optional
        Only stores of this one are the newest; named in errors.

    Raises
    ------
    FileNotFoundError
        Names the notebook that writes one.
    ValueError
        If its seal cannot be read, or a file of it is gone or cut short; names the file. Chunks of large arrays are looked for when
        they are read.
    """
    if path is None:
        return _newest(workload)
    store = _opened(path, workload)
    refuse_damaged(f"The sample store {store.path} is damaged", damage(store.path, most=QUICK), CURE)
    return store


def _opened(path: str | Path, workload: str | None = None) -> Store:
    folder = Path(path).expanduser()
    if not folder.is_absolute() and not folder.exists():
        folder = project_root() / folder
    if not (folder / "store.json").is_file():
        state = "an unfinished or damaged store (no store.json)" if folder.is_dir() else "no sample store"
        notebook = f"01_dataset_{workload}" if workload else "01_dataset_*"
        raise FileNotFoundError(
            f"At {path} there is {state}. Run notebooks/{notebook}.ipynb first, or name another store."
        )
    try:
        meta = base_files.read_json(folder / "store.json")
    except ValueError as error:
        raise ValueError(f"{error}. {CURE}") from error
    try:
        kind = registry.store_of(str(meta.get("kind", "patches")))
    except ValueError as error:
        raise ValueError(f"The sample store {folder} cannot be opened: {error}") from None
    return specs.load(kind)(folder, meta)


def _newest(workload: str | None) -> Store:
    home = project_root() / "data"
    seals = [p for p in home.glob(f"{workload or '*'}/*/store.json") if p.parent.suffix != ".partial"]
    if not seals:
        raise FileNotFoundError(
            f"No sample store in {home / (workload or '')}. Run notebooks/01_dataset_{workload or '*'}.ipynb first, or name one."
        )
    return open_store(max(seals, key=lambda p: p.stat().st_mtime).parent)


def stores(workload: str | None = None, root: Path | None = None) -> pd.DataFrame:
    """The sample stores there are, of one workload or of all, the newest first.

    Returns
    -------
    DataFrame with store (folder from the project root), state (whole, or damaged), size_mb (of arrays and table; arrays
    count in each store that shares them), windows, sources, datasets, patch, key, inputs (number of files), written (UTC)
    """
    base = Path(root) if root else project_root()
    homes = [base / "data" / workload] if workload else _folders(base / "data")
    rows = [_row(folder, base) for home in homes for folder in _folders(home)]
    columns = ["store", "state", "size_mb", "windows", "sources", "datasets", "patch", "key", "inputs", "written"]
    return pd.DataFrame(rows, columns=columns).sort_values("written", ascending=False, ignore_index=True)


def _folders(home: Path) -> list[Path]:
    return [p for p in sorted(home.glob("*/")) if not p.name.startswith(".") and p.suffix != ".partial"]


def _row(folder: Path, base: Path) -> dict:
    files = [p for part in (folder, (folder / "arrays.zarr").resolve()) for p in part.rglob("*") if p.is_file()]
    written = pd.Timestamp(folder.stat().st_mtime, unit="s", tz="UTC").floor("s")
    row = {"store": seen_from(base, folder), "state": "damaged", "written": written}
    row["size_mb"] = round(sum(p.stat().st_size for p in files) / 1e6, 1)
    try:
        if not finished(folder):
            return row
        found = open_store(folder)
        names = [d["name"] for d in found.meta.get("datasets", [{"name": found.meta["name"]}])]
        row |= {"windows": len(found), "sources": len(found.sources), "datasets": "+".join(names), "state": "whole"}
        return row | {
            "key": found.meta["key"], "patch": _side(found.meta["parameters"]), "inputs": len(found.meta["inputs"])
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return row | {"state": "damaged"}


def _side(cut: dict) -> int | None:
    return cut.get("patch", cut.get("chunk_size"))


def delete_store(path: str | Path, force: bool = False) -> list[str]:
    """Delete a sample store, its arrays if no other store shares them, and their memory map on this machine.

    Parameters
    ----------
    path : path
        Its folder; relative ones are looked for here, then from the project root.
    force : bool
        Also if runs refer to it: they can then no longer be predicted, scored or resumed.

    Returns
    -------
    list of the folders that were removed

    Raises
    ------
    FileNotFoundError
        If there is no store (finished or damaged) at `path`.
    ValueError
        If runs refer to it; names them.
    """
    folder = Path(path).expanduser()
    if not folder.is_absolute() and not folder.exists():
        folder = project_root() / folder
    folder = folder.absolute()
    prepared, home = folder / "arrays.zarr", folder.parent
    if not (folder / "store.json").is_file() and not prepared.is_symlink():
        raise FileNotFoundError(
            f"At {path} there is no sample store: nothing was deleted. geonb.store.store.stores() lists them"
        )
    users = _runs_of(folder)
    if users and not force:
        raise ValueError(
            f"{folder} is used by the runs {', '.join(users)}: nothing was deleted. Delete those runs first, or say force=True"
        )
    from geonb.store.memory_map import scratch_folder

    with base_files.locked(home / ".lock"):
        prepared = prepared.resolve()
        shared = [p for p in home.glob("*/arrays.zarr") if p.parent != folder and p.resolve() == prepared]
        (folder / "store.json").unlink(missing_ok=True)  # the seal first: what a kill leaves is no store
        removed = [folder]
        if not shared and prepared.parent == (home / ".arrays").resolve():
            removed += [p for p in (prepared, scratch_folder() / prepared.stem) if p.is_dir()]
        for place in removed:
            shutil.rmtree(place)
    return [str(place) for place in removed]


def _runs_of(folder: Path) -> list[str]:
    """The runs, of the project that the store lies in, that were made with it."""
    found = []
    project_folder = folder.parents[min(2, len(folder.parents) - 1)]
    for file in sorted(project_folder.glob("runs/*/*/run.json")):
        try:
            used = base_files.read_json(file).get("store")
        except (OSError, ValueError):  # a broken run.json tells nothing
            continue
        if used and Path(project_folder, used).resolve() == folder.resolve():
            found.append(file.parent.name)
    return found


def check_split(store: Store) -> dict:
    """Prove from the table itself, read anew, that no sample of one split shares anything with another.

    What was proved is kept beside the table, for `proof_of`.

    Returns
    -------
    dict with method, leaks (0), ``said`` (one sentence of what was proved) and ``counts`` (kind -> split -> number), and
    what the kind of store adds, see `PatchStore.check_split`

    Raises
    ------
    ValueError
        Listing the windows that leak; or why nobody can tell, where the kind of store is `unproved`.
    """
    fresh = replace(store)
    if store.unproved or not isinstance(fresh, Provable):
        raise ValueError(f"{store.path}: its split cannot be checked; {store.unproved}")
    of = _what_a_proof_is_of(store)  # before the table is read: what changes meanwhile is proved again
    with named(store.path):
        proof = fresh.check_split()
    with suppress(OSError):  # somebody else's store, or a full disk: whoever asks next proves it again
        base_files.write_json(store.path / PROOF, {"of": of, "proof": proof})
    return proof


def proof_of(store: Store) -> dict:
    """What `check_split` proved of this very table; proved now if it never was, or if table, seal or geonb are others since.

    Returns and raises as `check_split`.
    """
    try:
        kept = base_files.read_json(store.path / PROOF)
    except (OSError, ValueError):
        return check_split(store)
    return kept["proof"] if kept.get("of") == _what_a_proof_is_of(store) else check_split(store)


def _what_a_proof_is_of(store: Store) -> dict[str, str]:
    """All that a proof rests on: the contents of the table and of the seal, and the geonb that reads them."""
    table = base_files.fingerprint(store.path / "index.parquet")["sha256"]
    return {"geonb": VERSION, "index.parquet": table, "store.json": base_files.key_of(store.meta)}


def check_store(path: str | Path, deep: bool = False) -> Store:
    """Check a sample store against its contract.

    Parameters
    ----------
    path : path
    deep : bool
        Also compare the sums of the files, decode every chunk, and read every label.

    Returns
    -------
    Store, if it is whole

    Raises
    ------
    ValueError
        Listing every fault: files, seal, keys, arrays, chunks, coordinates, CRS, table, windows, statistics, classes.
    """
    folder = Path(path)
    try:
        store = _opened(folder)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not a sample store: store.json: {error}") from None
    meta, faults = store.meta, damage(store.path, deep)
    faults += [f"store.json has no {k!r}" for k in META_KEYS if k not in meta]
    if meta.get("format") != FORMAT:
        faults.append(f"store.json is of format {meta.get('format')}, this geonb reads {FORMAT}: run notebook 01 again")
    if not faults:
        faults += gathered(store.faults, deep)
    refuse(f"The sample store {folder} is damaged", faults, most=len(faults))
    return store
