"""The sample store: georeferenced arrays, a table of windows into them, and a seal. Written, found again, checked.

    data/<workload>/<name>-<key>/
        arrays.zarr     -> ../.arrays/<key>.zarr: a group a source; shared by all windows and splits of the same inputs
        index.parquet   a row a window (GeoParquet)
        store.json      written last: without it there is no store

Both keys are hashes of what went in, so that the same inputs and parameters find the same folder again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb import arrays, disk, grids, masks, samples, sources

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1
INDEX_COLUMNS = ("source", "y", "x", "height", "width", "split", "block", "time", "valid_share", "geometry")
META_KEYS = ("geonb", "format", "workload", "kind", "name", "key", "simulated", "title", "notes", "attribution")
META_KEYS += ("channels", "classes", "statistics", "parameters", "inputs", "sources", "split")


@dataclass(frozen=True)
class Store:
    """A sealed sample store. `store[i]` is window i with real coordinates, `len(store)` the number of windows."""

    path: Path
    meta: dict

    @cached_property
    def index(self) -> pd.DataFrame:
        """The table of windows, without their outlines (a million of those take seconds to read)."""
        import pyarrow.parquet as pq

        columns = [c for c in pq.read_schema(self.path / "index.parquet").names if c != "geometry"]
        return pd.read_parquet(self.path / "index.parquet", columns=columns)

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

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> xr.Dataset:
        """Window i: inputs (channel, y, x), targets (y, x), valid (y, x), with coordinates, CRS, and its row as attrs."""
        row = self.index.iloc[i]
        y, x = int(row["y"]), int(row["x"])
        area = {"y": slice(y, y + int(row["height"])), "x": slice(x, x + int(row["width"]))}
        window = self._grids[row["source"]].isel(area).load()
        window.attrs |= {k: v.item() if hasattr(v, "item") else str(v) for k, v in row.items() if not pd.isna(v)}
        return window

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
    return Store(folder, json.loads((folder / "store.json").read_text()))


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


def write_store(
    pairs: sources.Pairs,
    *,
    patch: int = 64,
    stride: int | None = None,
    block: int = 64,
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
        Side of the blocks that are dealt to the splits; at least a patch.
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
    samples.check_sizes({image.name: image.shape for image in pairs.images}, patch, stride, block, seed, min_valid)
    cut = {
        "patch": int(patch), "stride": int(stride), "block": int(block), "shares": list(samples.read_shares(shares)),
        "seed": int(seed), "min_valid": float(min_valid),
    }  # fmt: skip
    base = Path(root) if root else _root()
    home = base / "data" / workload
    inputs = [disk.fingerprint(path) for path in pairs.files]
    arrays_key = disk.key_of(_preparation(pairs, {i["path"]: i["sha256"] for i in inputs}))
    title = _slug(name or pairs.name)
    facts = {k: getattr(pairs, k) for k in ("title", "simulated", "notes", "attribution", "channels")}
    key = disk.key_of({"arrays": arrays_key, "cut": cut, "name": title, "facts": facts})
    folder, prepared = home / f"{title}-{key[:8]}", home / ".arrays" / f"{arrays_key}.zarr"
    if _finished(folder):
        return open_store(folder)
    meta = {"geonb": _version(), "format": FORMAT, "workload": workload, "kind": "patches", "name": title, "key": key}
    meta |= {**facts, "inputs": [i | {"path": _from(base, i["path"])} for i in inputs]}
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


def _finished(folder: Path) -> bool:
    return (folder / "store.json").is_file() and (folder / "arrays.zarr").is_dir()


def _preparation(pairs: sources.Pairs, sums: dict[str, str]) -> dict:
    """What the arrays depend on, and nothing else: contents of files, choice of bands, reading of masks, classes."""
    return {
        "format": FORMAT,
        "classes": pairs.classes and [list(c.values()) for c in pairs.classes],
        "sources": [
            {
                "name": image.name, "image": [sums[str(p)] for p in image.paths], "bands": image.bands,
                "channels": image.channels, "mask": [sums[str(p)] for p in mask.files], "column": mask.column,
                "layer": mask.layer,
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
        fact |= {"image": [_from(base, p) for p in image], "mask": _from(base, mask)}
    groups = {fact["name"]: root[fact["name"]] for fact in facts}
    split = _split(groups, len(classes), cut)
    index = _cut(groups, split, cut)
    faults, _ = samples.leaks(index, {name: group["valid"].shape for name, group in groups.items()}, split)
    faults += samples.ground_leaks(index, index.geometry.to_numpy())
    if faults:
        raise ValueError("These windows would leak between the splits:\n" + "\n".join(f"- {f}" for f in faults[:10]))
    index.to_parquet(folder / "index.parquet", index=False)
    statistics = arrays.training_statistics(groups, split)
    parts = {"classes": classes, "statistics": statistics, "parameters": cut, "sources": facts, "split": split}
    disk.write_json(folder / "store.json", meta | parts)


def _cut(groups: dict[str, Any], split: dict, cut: dict) -> Any:
    """The table of windows of all sources: GeoDataFrame with outlines in OGC:CRS84."""
    import geopandas as gpd

    tables, outlines = [], []
    for name, group in groups.items():

        def read(rows: slice, group: Any = group) -> tuple[np.ndarray, np.ndarray]:
            return group["valid"][rows], group["targets"][rows] != masks.IGNORE

        blocks = np.array(split["blocks"][name], np.int8)
        shape = group["valid"].shape
        table = samples.cut_patches(blocks, cut["block"], shape, cut["patch"], cut["stride"], read, cut["min_valid"])
        table.insert(0, "source", name)
        at, sizes = table[["y", "x"]].to_numpy(), table[["height", "width"]].to_numpy()
        outlines.append(grids.footprints(at, sizes, arrays.transform_of(group), arrays.grid_of(group)[0]))
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    table["time"] = pd.Series(pd.NaT, index=table.index, dtype="datetime64[ns, UTC]")
    missing = [
        s for s, share in zip(samples.SPLITS, cut["shares"], strict=True) if share and s not in set(table["split"])
    ]
    if missing:
        raise ValueError(
            f"No window of {cut['patch']} px lies in {' or '.join(missing)}: {split['blocks_with_data']} blocks of "
            f"{cut['block']} px hold data. Give a smaller `patch` or `stride`, another `block`, or larger images"
        )
    return gpd.GeoDataFrame(table, geometry=pd.concat(outlines, ignore_index=True))


def _split(groups: dict[str, Any], n_classes: int, cut: dict) -> dict:
    """Deal the blocks of all sources together; images on one and the same grid share their blocks."""
    first = {}
    for name, group in groups.items():
        first.setdefault(arrays.grid_of(group), name)
    owner = {name: first[arrays.grid_of(group)] for name, group in groups.items()}
    counts: dict[str, np.ndarray] = {}
    for name, group in groups.items():
        here = arrays.block_counts(group, n_classes, cut["block"])
        counts[owner[name]] = counts.get(owner[name], 0) + here
    flat = np.concatenate([c.reshape(-1, n_classes + 1) for c in counts.values()])
    dealt = samples.spatial_split(flat, cut["shares"], cut["seed"])
    ends = np.cumsum([c[..., 0].size for c in counts.values()])[:-1]
    blocks = {k: part.reshape(c.shape[:2]) for (k, c), part in zip(counts.items(), np.split(dealt, ends), strict=True)}
    return {
        "method": "block", "block": cut["block"], "shares": cut["shares"], "seed": cut["seed"],
        "pixels": {s: int(flat[dealt == i + 1].sum()) for i, s in enumerate(samples.SPLITS)},
        "blocks_with_data": int((dealt > 0).sum()),
        "blocks": {name: blocks[owner[name]].tolist() for name in groups},
    }  # fmt: skip


def check_split(store: Store) -> dict:
    """Prove from the table itself that no window of one split shares a pixel or a block with another.

    Returns
    -------
    dict with method, windows, pixels (valid) and blocks of each split, smallest_gap_m between windows of different
    splits (0 where blocks touch), leaks (0)

    Raises
    ------
    ValueError
        Listing the windows that leak.
    """
    split = store.meta["split"]
    faults, gap_px = samples.leaks(store.index, {s["name"]: tuple(s["shape"]) for s in store.meta["sources"]}, split)
    if len(store.sources) > 1:
        import geopandas as gpd

        faults += samples.ground_leaks(store.index, gpd.read_parquet(store.path / "index.parquet").geometry.to_numpy())
    if faults:
        more = [f"... and {len(faults) - 20} more"] if len(faults) > 20 else []
        raise ValueError(f"The split of {store.path} leaks:\n" + "\n".join(f"- {f}" for f in faults[:20] + more))
    blocks = np.concatenate([np.ravel(b) for b in split["blocks"].values()])
    gap_m = gap_px * min(s["pixel_m"] for s in store.meta["sources"])
    return {
        "method": split["method"],
        "windows": {s: int((store.index["split"] == s).sum()) for s in samples.SPLITS},
        "pixels": split["pixels"],
        "blocks": {s: int((blocks == i + 1).sum()) for i, s in enumerate(samples.SPLITS)},
        "smallest_gap_m": round(gap_m, 1) if np.isfinite(gap_m) else None,
        "leaks": 0,
    }


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
        inside = _meta_faults(meta)
        faults += inside + _array_faults(folder, meta, deep)
        if not any(fault.startswith("split") for fault in inside):
            faults += _table_faults(store)
    if faults:
        raise ValueError(f"The sample store {folder} is damaged:\n" + "\n".join(f"- {f}" for f in faults))
    return store


def _meta_faults(meta: dict) -> list[str]:
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


def _array_faults(folder: Path, meta: dict, deep: bool) -> list[str]:
    import zarr
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        root = zarr.open_group(folder / "arrays.zarr", mode="r", use_consolidated=False)  # what is there, not what was
    except (OSError, ValueError, KeyError) as error:
        return [f"arrays.zarr cannot be opened: {masks.short(error)}"]
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
            faults.append(f"arrays.zarr/{name}/spatial_ref: no readable CRS ({masks.short(error)})")
        if deep:
            faults += _label_faults(root[name], name, len(meta["classes"]))
    return faults


def _label_faults(group: Any, name: str, n_classes: int) -> list[str]:
    odd = 0
    for y, x in grids.tiles(group["valid"].shape, arrays.TILE_PX):
        labels = group["targets"][y, x]
        odd += int((((labels >= n_classes) | ~group["valid"][y, x]) & (labels != masks.IGNORE)).sum())
    return [f"arrays.zarr/{name}/targets: {odd} labels are no class, or lie on invalid pixels"] if odd else []


def _table_faults(store: Store) -> list[str]:
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(store.path / "index.parquet").names
    except (OSError, ValueError) as error:
        return [f"index.parquet cannot be read: {masks.short(error)}"]
    missing = [c for c in INDEX_COLUMNS if c not in columns]
    if missing:
        return [f"index.parquet has no column {', '.join(missing)}"]
    shapes = {s["name"]: tuple(s["shape"]) for s in store.meta["sources"]}
    return [f"index.parquet: {f}" for f in samples.leaks(store.index, shapes, store.meta["split"])[0][:20]]


def _from(base: Path, path: Path | str) -> str:
    """A path as seen from the project, where it lies inside."""
    path = Path(path).absolute()
    return str(path.relative_to(base.absolute())) if path.is_relative_to(base.absolute()) else str(path)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "dataset"


def _version() -> str:
    from geonb import __version__

    return __version__
