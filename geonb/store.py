"""The sample store: georeferenced arrays, a table of windows into them, and a seal. Written, found again, checked.

    data/<workload>/<name>-<key>/
        arrays.zarr     -> ../.arrays/<key>.zarr: a group a source; shared by all windows and splits of the same inputs
        index.parquet   a row a window (GeoParquet)
        store.json      written last: without it there is no store
        proof.json      what `check_split` proved, and of which table; anew when it is gone or of another

Both keys are hashes of what went in, so that the same inputs and parameters find the same folder again.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from geonb import arrays, disk, grids, images, masks, preprocessing, samples, sources, splits, store_faults, threads

if TYPE_CHECKING:
    import xarray as xr

    from geonb.loaders import Tensors, Windows

FORMAT = 1
PROOF = "proof.json"
INDEX_COLUMNS = ("source", "y", "x", "height", "width", "split", "block", "time", "valid_share", "geometry")
META_KEYS = ("geonb", "format", "workload", "kind", "name", "key", "simulated", "title", "notes", "attribution")
# what a store of each kind is opened as; patches of images are a PatchStore
KINDS = {
    "sequences": "geonb.store_cubes:CubeStore",
    "windows": "geonb.store_windows:WindowStore",
    "triplets": "geonb.store_scenes:TripletStore",
}
META_KEYS += ("channels", "classes", "statistics", "parameters", "inputs", "sources", "split")


@dataclass(frozen=True)
class Store(ABC):
    """A sealed sample store, and what all kinds of it have. `store[i]` is window i, `len(store)` the number of windows.

    A kind that says `unproved`, why nobody can tell whether its splits leak, has no `check_split`; all others have one.
    """

    path: Path
    meta: dict
    unproved: ClassVar[str] = ""

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
        options = {"chunks": None, "consolidated": False, "decode_coords": "all"}
        return {name: xr.open_zarr(self.path / "arrays.zarr", group=name, **options) for name in self.sources}

    @property
    def channels(self) -> list[str]:
        """Names of the channels, in order."""
        return [c["name"] for c in self.meta["channels"]]

    @property
    def classes(self) -> list[dict]:
        """code, name, colour of each class; its place in the list is its index in `targets`."""
        return self.meta["classes"]

    @property
    def sources(self) -> list[str]:
        """Names of the sources: the groups of `arrays`."""
        return [s["name"] for s in self.meta["sources"]]

    @property
    def placed(self) -> list[str]:
        """Names of the sources that lie somewhere on Earth; pictures that came without a place do not."""
        return [s["name"] for s in self.meta["sources"] if "crs" not in s or s["crs"] is not None]

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        from geonb.runs import relative

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


@dataclass(frozen=True, repr=False)
class PatchStore(Store):
    """A sealed store of images and masks. `store[i]` is window i of an image, with the classes of its pixels."""

    def __getitem__(self, i: int) -> xr.Dataset:
        """Window i: inputs (channel, y, x), targets (y, x), valid (y, x), with coordinates, CRS, and its row as attrs."""
        row = self.index.iloc[i]
        y, x = int(row["y"]), int(row["x"])
        area = {"y": slice(y, y + int(row["height"])), "x": slice(x, x + int(row["width"]))}
        window = self._grids[row["source"]].isel(area).load()
        window.attrs |= {k: v.item() if hasattr(v, "item") else str(v) for k, v in row.items() if not pd.isna(v)}
        return window

    def windows(self, split: str | None = None, augment: str = "none", seed: int = 0) -> Windows:
        """The windows as standardised tensors, see :class:`geonb.loaders.Windows`."""
        from geonb.loaders import Windows

        return Windows(self, split, augment, seed)

    def labels(self, items: list[dict]) -> list[str]:
        """What each of some items of `windows` mostly shows, in one word: its most frequent class."""
        names = []
        for item in items:
            target = np.asarray(item["targets"]).ravel()
            counts = np.bincount(target[target != masks.IGNORE], minlength=len(self.classes))
            names.append(self.classes[int(counts.argmax())]["name"] if counts.sum() else "none")
        return names

    @property
    def legend(self) -> dict[str, str]:
        """Every label there can be, with its colour."""
        return {c["name"]: c["colour"] for c in self.classes}

    def check_split(self) -> dict:
        """Prove from the table itself that no window of one split shares a pixel or a block with another.

        Returns
        -------
        dict with method, windows, pixels (valid) and blocks of each split (also together, as counts), smallest_gap_m
        between windows of different splits (0 where blocks touch), leaks (0), said

        Raises
        ------
        ValueError
            Listing the windows that leak.
        """
        split = self.meta["split"]
        faults, gap_px = samples.leaks(self.index, {s["name"]: tuple(s["shape"]) for s in self.meta["sources"]}, split)
        if len(self.sources) > 1:
            import geopandas as gpd

            outlines = gpd.read_parquet(self.path / "index.parquet").geometry.to_numpy()
            faults += samples.ground_leaks(self.index, outlines)
        refuse_leaks(self.path, faults)
        blocks = np.concatenate([np.ravel(b) for b in split["blocks"].values()])
        gap_m = gap_px * min(s["pixel_m"] for s in self.meta["sources"])
        gap_m = round(gap_m, 1) if np.isfinite(gap_m) else None
        counts = {
            "windows": {s: int((self.index["split"] == s).sum()) for s in samples.SPLITS},
            "blocks": {s: int((blocks == i + 1).sum()) for i, s in enumerate(samples.SPLITS)},
            "pixels": split["pixels"],
        }
        apart = "there is one split only" if gap_m is None else f"the splits' nearest windows are {gap_m:.0f} m apart"
        said = f"Split by {split['method']}. No window shares a pixel or a block with one of another split; {apart}."
        return {
            "method": split["method"], **counts, "counts": counts, "smallest_gap_m": gap_m, "leaks": 0, "said": said
        }  # fmt: skip

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store beyond missing keys, see `check_store`."""
        inside = store_faults.meta_faults(self.meta)
        found = inside + store_faults.array_faults(self.path, self.meta, deep)
        if not any(fault.startswith("split") for fault in inside):
            found += store_faults.table_faults(self, INDEX_COLUMNS)
        return found

    def split_map(self, source: str) -> xr.DataArray:
        """The split of every pixel of a source: DataArray (y, x) int8, 0 none, 1 train, 2 val, 3 test."""
        import xarray as xr

        grid, split = self._grids[source], self.meta["split"]
        shape = grid.sizes["y"], grid.sizes["x"]
        values = grids.pixels_of_blocks(np.array(split["blocks"][source], np.int8), split["block"], shape)
        attrs = {"flag_values": [0, 1, 2, 3], "flag_meanings": "none train val test", "long_name": "split"}
        coords = {k: grid[k] for k in ("y", "x", "spatial_ref")}
        return xr.DataArray(values, coords, ("y", "x"), name="split", attrs=attrs)


def open_store(path: str | Path | None = None, workload: str | None = None) -> Store:
    """Open a sample store.

    Parameters
    ----------
    path : path, optional
        Its folder; relative ones are looked for here, then from the project root. None: the newest of `workload`.
    workload : str, optional

    Raises
    ------
    FileNotFoundError
        Names the notebook that writes one.
    """
    if path is None:
        return _newest(workload or "segmentation")
    folder = Path(path).expanduser()
    if not folder.is_absolute() and not folder.exists():
        folder = _root() / folder
    if not (folder / "store.json").is_file():
        state = "an unfinished or damaged store (no store.json)" if folder.is_dir() else "no sample store"
        notebook = f"01_dataset_{workload}" if workload else "01_dataset_*"
        raise FileNotFoundError(f"At {path} there is {state}. Run notebooks/{notebook}.ipynb first, or set `store`.")
    meta = json.loads((folder / "store.json").read_text())
    return _kind(meta.get("kind"))(folder, meta)


def _kind(kind: str | None) -> type[Store]:
    from geonb import workloads

    return workloads.load(KINDS[kind]) if kind in KINDS else PatchStore


def refuse_leaks(path: Path, faults: list[str]) -> None:
    """One ValueError that lists the windows that leak, if any do."""
    if faults:
        more = [f"... and {len(faults) - 20} more"] if len(faults) > 20 else []
        raise ValueError(f"The split of {path} leaks:\n" + "\n".join(f"- {f}" for f in faults[:20] + more))


def _newest(workload: str) -> Store:
    folder = _root() / "data" / workload
    seals = [p for p in folder.glob("*/store.json") if p.parent.suffix != ".partial"]
    if not seals:
        raise FileNotFoundError(
            f"No sample store in {folder}. Run notebooks/01_dataset_{workload}.ipynb first, or set `store`."
        )
    return open_store(max(seals, key=lambda p: p.stat().st_mtime).parent)


def _root() -> Path:
    from geonb import runs

    return runs.project_root()


def stores(workload: str = "segmentation", root: Path | None = None) -> pd.DataFrame:
    """The sample stores there are, the newest first.

    Returns
    -------
    DataFrame with store (folder from the project root), state (whole, or damaged), size_mb (of arrays and table; arrays
    count in each store that shares them), windows, sources, datasets, patch, key, inputs (number of files), written (UTC)
    """
    base = Path(root) if root else _root()
    rows = [_row(folder, base) for folder in _folders(base / "data" / workload)]
    columns = ["store", "state", "size_mb", "windows", "sources", "datasets", "patch", "key", "inputs", "written"]
    return pd.DataFrame(rows, columns=columns).sort_values("written", ascending=False, ignore_index=True)


def _folders(home: Path) -> list[Path]:
    return [p for p in sorted(home.glob("*/")) if not p.name.startswith(".") and p.suffix != ".partial"]


def _row(folder: Path, base: Path) -> dict:
    files = [p for part in (folder, (folder / "arrays.zarr").resolve()) for p in part.rglob("*") if p.is_file()]
    written = pd.Timestamp(folder.stat().st_mtime, unit="s", tz="UTC").floor("s")
    row = {"store": _from(base, folder), "state": "damaged", "written": written}
    row["size_mb"] = round(sum(p.stat().st_size for p in files) / 1e6, 1)
    try:
        if not _finished(folder):
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
        folder = _root() / folder
    folder = folder.absolute()
    prepared, home = folder / "arrays.zarr", folder.parent
    if not (folder / "store.json").is_file() and not prepared.is_symlink():
        raise FileNotFoundError(
            f"At {path} there is no sample store: nothing was deleted. geonb.store.stores() lists them"
        )
    users = _runs_of(folder)
    if users and not force:
        raise ValueError(
            f"{folder} is used by the runs {', '.join(users)}: nothing was deleted. Delete those runs first, or say force=True"
        )
    from geonb import loaders

    with disk.locked(home / ".lock"):
        prepared = prepared.resolve()
        shared = [p for p in home.glob("*/arrays.zarr") if p.parent != folder and p.resolve() == prepared]
        (folder / "store.json").unlink(missing_ok=True)  # the seal first: what a kill leaves is no store
        removed = [folder]
        if not shared and prepared.parent == (home / ".arrays").resolve():
            removed += [p for p in (prepared, loaders.scratch_folder() / prepared.stem) if p.is_dir()]
        for place in removed:
            shutil.rmtree(place)
    return [str(place) for place in removed]


def _runs_of(folder: Path) -> list[str]:
    """The runs, of the project that the store lies in, that were made with it."""
    from geonb import runs

    found = []
    project = folder.parents[min(2, len(folder.parents) - 1)]
    for file in sorted(project.glob("runs/*/*/run.json")):
        try:
            used = runs.Run(file.parent).store
        except (OSError, ValueError, KeyError):
            continue
        if used is not None and Path(used).resolve() == folder.resolve():
            found.append(file.parent.name)
    return found


def write_store(
    pairs: sources.Pairs,
    *,
    patch: int = 64,
    stride: int | None = None,
    block: int | None = 64,
    shares: str | tuple[float, float, float] = "60/20/20",
    seed: int = 0,
    min_valid: float = 0.25,
    name: str | None = None,
    workload: str = "segmentation",
    root: Path | None = None,
) -> Store:
    """Prepare images and masks, split them by spatial blocks, cut windows: a sealed store, or the one that is there.

    Parameters
    ----------
    pairs : Pairs
    patch : int, px
        Side of a window.
    stride : int, px, optional
        Distance of neighbouring windows; half a patch by default.
    block : int, px
        Side of the blocks that are dealt to the splits; at least a patch. None deals whole sources.
    shares : str or tuple
        train/val/test, in percent.
    seed : int
    min_valid : float, 0-1
        Windows with a smaller share of valid pixels are left out.
    name : str, optional
        First part of the folder's name.
    root : Path, optional
        The store goes to root / "data" / workload; the project root by default.

    Raises
    ------
    ValueError
        Every fault of the inputs, before anything is written.
    OSError
        No space left: says how much is needed; nothing half-written remains.
    """
    stride = max(patch // 2, 1) if stride is None else stride
    samples.check_sizes(_largest(pairs), patch, stride, block, seed, min_valid)
    pairs = sources.pad(pairs, int(patch))
    cut = {
        "patch": int(patch), "stride": int(stride), "block": block and int(block), "shares": list(samples.read_shares(shares)),
        "seed": int(seed), "min_valid": float(min_valid),
    }  # fmt: skip
    base = Path(root) if root else _root()
    home = base / "data" / workload
    inputs = list(threads.spread(disk.fingerprint, [(path,) for path in pairs.files]))
    datasets = [d | {"preprocess": d["preprocess"] and _function(base, d["preprocess"])} for d in pairs.datasets]
    arrays_key = disk.key_of(_preparation(pairs, {i["path"]: i["sha256"] for i in inputs}))
    title = _slug(name or pairs.name)
    facts = {k: getattr(pairs, k) for k in ("title", "simulated", "notes", "attribution", "channels")}
    key = disk.key_of({"arrays": arrays_key, "cut": cut, "name": title, "facts": facts, "datasets": datasets})
    folder, prepared = home / f"{title}-{key[:8]}", home / ".arrays" / f"{arrays_key}.zarr"
    if _finished(folder):
        return open_store(folder)
    meta = {"geonb": _version(), "format": FORMAT, "workload": workload, "kind": "patches", "name": title, "key": key}
    meta |= {**facts, "datasets": datasets, "inputs": [i | {"path": _from(base, i["path"])} for i in inputs]}
    with disk.locked(home / ".lock"):
        if not _finished(folder):  # it may have come while we waited
            disk.sweep(home)
            disk.sweep(prepared.parent)
            if not prepared.is_dir():
                arrays.write_arrays(pairs, prepared)
            files = {i.name: (i.paths, m.path) for i, m in pairs}
            with disk.enough_space(home, 1_000_000), disk.whole_folder(folder) as partial:
                _write_table(partial, prepared, meta, cut, files, base)
    return open_store(folder)


def _largest(pairs: sources.Pairs) -> dict[str, tuple[int, int]]:
    """The shape of the largest image of each dataset: smaller ones are padded, but one must take a window."""
    largest: dict[str, images.Image] = {}
    for image in sorted(pairs.images, key=lambda image: -min(image.shape)):
        largest.setdefault(image.dataset, image)
    return {f"{image.name}, resampled" if image.resampling else image.name: image.shape for image in largest.values()}


def _finished(folder: Path) -> bool:
    return (folder / "store.json").is_file() and (folder / "arrays.zarr").is_dir()


def _preparation(pairs: sources.Pairs, sums: dict[str, str]) -> dict:
    """What the arrays depend on, and nothing else: contents of files, choice of bands, reading of masks, classes."""
    return {
        "format": FORMAT, "prune": pairs.prune,
        "classes": pairs.classes and [list(c.values()) for c in pairs.classes],
        "sources": [
            {
                "name": image.name, "image": [sums[str(p)] for p in image.paths], "bands": image.bands,
                "channels": image.channels, "mask": [sums[str(p)] for p in mask.files], "column": mask.column,
                "layer": mask.layer, "read": mask.read, "own": mask.classes and [list(c.values()) for c in mask.classes],
                "grid": [image.shape, list(image.transform)], "data_shape": image.data_shape, "dtype": image.dtype,
                "resampling": image.resampling, "dataset": image.dataset,
                "preprocess": image.preprocess and preprocessing.source_of(image.preprocess),
            }
            for image, mask in pairs
        ],
    }  # fmt: skip


def _write_table(folder: Path, prepared: Path, meta: dict, cut: dict, files: dict, base: Path) -> None:
    """Split, windows and statistics from finished arrays; the seal last."""
    import zarr

    (folder / "arrays.zarr").symlink_to(Path("..") / ".arrays" / prepared.name)
    root = zarr.open_group(prepared, mode="r")
    facts, classes = root.attrs["sources"], root.attrs["classes"]
    for fact in facts:
        image, mask = files[fact["name"]]
        fact["dataset"] = fact["dataset"] or meta["datasets"][0]["name"]
        fact |= {"image": [_from(base, p) for p in image], "mask": _from(base, mask)}
    groups = {fact["name"]: root[fact["name"]] for fact in facts}
    split = splits.deal(groups, len(classes), cut)
    index = splits.cut_windows(groups, split, cut, facts)
    faults, _ = samples.leaks(index, {name: group["valid"].shape for name, group in groups.items()}, split)
    faults += samples.ground_leaks(index, index.geometry.to_numpy())
    if faults:
        raise ValueError("These windows would leak between the splits:\n" + "\n".join(f"- {f}" for f in faults[:10]))
    index.to_parquet(folder / "index.parquet", index=False)
    statistics = arrays.training_statistics(groups, split)
    parts = {"classes": classes, "statistics": statistics, "parameters": cut, "sources": facts, "split": split}
    pruned = root.attrs.get("pruned", [])
    parts |= {"pruned": pruned, "notes": [*meta["notes"], *(f"Left out: {text}" for text in pruned)]}
    disk.write_json(folder / "store.json", meta | parts)


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
    if store.unproved:
        raise ValueError(f"{store.path}: its split cannot be checked; {store.unproved}")
    of = _what_a_proof_is_of(store)  # before the table is read: what changes meanwhile is proved again
    proof = replace(store).check_split()
    with suppress(OSError):  # somebody else's store, or a full disk: whoever asks next proves it again
        disk.write_json(store.path / PROOF, {"of": of, "proof": proof})
    return proof


def proof_of(store: Store) -> dict:
    """What `check_split` proved of this very table; proved now if it never was, or if table, seal or geonb are others since.

    Returns and raises as `check_split`.
    """
    try:
        kept = json.loads((store.path / PROOF).read_text())
    except (FileNotFoundError, ValueError):
        return check_split(store)
    return kept["proof"] if kept.get("of") == _what_a_proof_is_of(store) else check_split(store)


def _what_a_proof_is_of(store: Store) -> dict[str, str]:
    """All that a proof rests on: the contents of the table and of the seal, and the geonb that reads them."""
    table = disk.fingerprint(store.path / "index.parquet")["sha256"]
    return {"geonb": _version(), "index.parquet": table, "store.json": disk.key_of(store.meta)}


def check_store(path: str | Path, deep: bool = False) -> Store:
    """Check a sample store against its contract.

    Parameters
    ----------
    path : path
    deep : bool
        Also read every label.

    Returns
    -------
    Store, if it is whole

    Raises
    ------
    ValueError
        Listing every fault: seal, keys, arrays, chunks, coordinates, CRS, table, windows, statistics, classes.
    """
    folder, faults = Path(path), []
    try:
        store = open_store(folder)
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} is not a sample store: store.json: {error}") from None
    meta = store.meta
    faults += [f"store.json has no {k!r}" for k in META_KEYS if k not in meta]
    if meta.get("format") != FORMAT:
        faults.append(f"store.json is of format {meta.get('format')}, this geonb reads {FORMAT}: run notebook 01 again")
    if not faults:
        faults += store.faults(deep)
    if faults:
        raise ValueError(f"The sample store {folder} is damaged:\n" + "\n".join(f"- {f}" for f in faults))
    return store


def _from(base: Path, path: Path | str) -> str:
    """A path as seen from the project, where it lies inside."""
    path = Path(path).absolute()
    return str(path.relative_to(base.absolute())) if path.is_relative_to(base.absolute()) else str(path)


def _function(base: Path, path: str) -> str:
    """An import path; that of a file as seen from the project."""
    place, _, name = path.rpartition(":")
    return f"{_from(base, place)}:{name}" if place.endswith(".py") else path


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "dataset"


def _version() -> str:
    from geonb import __version__

    return __version__
