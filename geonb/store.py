"""The sample store: georeferenced arrays, a table of windows into them, and a seal. Written, found again, checked.

    data/<workload>/<name>-<key>/
        arrays.zarr     -> ../.arrays/<key>.zarr: a group a source; shared by all windows and splits of the same inputs
        index.parquet   a row a window (GeoParquet)
        store.json      written last: without it there is no store

Both keys are hashes of what went in, so that the same inputs and parameters find the same folder again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb import grids, samples, sources

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1
CHUNK_PX = 512
INDEX_COLUMNS = ("source", "y", "x", "height", "width", "split", "block", "time", "valid_share")


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
        return {
            name: xr.open_zarr(
                self.path / "arrays.zarr", group=name, chunks=None, consolidated=False, decode_coords="all"
            )
            for name in self.sources
        }

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
        state = "an unfinished or damaged store (no store.json)" if folder.is_dir() else "nothing"
        raise FileNotFoundError(f"At {path} there is {state}. Run the notebook 01_dataset_* first, or set `store`.")
    return Store(folder, json.loads((folder / "store.json").read_text()))


def _newest(workload: str) -> Store:
    folder = _root() / "data" / workload
    seals = [p for p in folder.glob("*/store.json") if not p.parent.name.endswith(".partial")]
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
    samples.check_sizes({image.name: image.shape for image in pairs.images}, patch, stride, block)
    cut = {
        "patch": int(patch), "stride": int(stride), "block": int(block), "shares": list(samples.read_shares(shares)),
        "seed": int(seed), "min_valid": float(min_valid),
    }  # fmt: skip
    home = (Path(root) if root else _root()) / "data" / workload
    inputs = [_fingerprint(p) for p in pairs.files]
    arrays_key = _key(_preparation(pairs, inputs))
    title = _slug(name or pairs.name)
    key = _key({"arrays": arrays_key, "cut": cut, "name": title, "facts": _facts(pairs)})
    folder = home / f"{title}-{key[:8]}"
    if (folder / "store.json").is_file() and (folder / "arrays.zarr").is_dir():
        return open_store(folder)
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / ".lock"):
        if not ((folder / "store.json").is_file() and (folder / "arrays.zarr").is_dir()):
            arrays = home / ".arrays" / f"{arrays_key}.zarr"
            if not arrays.is_dir():
                _write_arrays(pairs, arrays)
            with whole_folder(folder) as partial:
                meta = {"geonb": _version(), "format": FORMAT, "workload": workload, "kind": "patches", "key": key}
                _write_table(partial, arrays, meta | {"name": title, **_facts(pairs), "inputs": inputs}, cut)
    return open_store(folder)


def _facts(pairs: sources.Pairs) -> dict:
    return {
        "title": pairs.title, "simulated": pairs.simulated, "notes": list(pairs.notes),
        "attribution": pairs.attribution, "channels": [dict(c) for c in pairs.channels],
    }  # fmt: skip


def _preparation(pairs: sources.Pairs, inputs: list[dict]) -> dict:
    """What the arrays depend on, and nothing else: contents of files, choice of bands, reading of masks, classes."""
    sums = {i["path"]: i["sha256"] for i in inputs}
    return {
        "format": FORMAT,
        "classes": pairs.classes and [[c["code"], c["name"], c["colour"]] for c in pairs.classes],
        "sources": [
            {
                "name": image.name, "files": [sums[str(p)] for p in image.paths], "bands": image.bands,
                "channels": image.channels, "mask": sums[str(mask.path)], "column": mask.column, "layer": mask.layer,
                "sides": sorted(s for p, s in sums.items() if Path(p).stem == mask.path.stem and mask.is_vector),
            }
            for image, mask in pairs
        ],
    }  # fmt: skip


def _write_arrays(pairs: sources.Pairs, folder: Path) -> None:
    pairs = sources.scan(pairs)
    classes = [dict(c) for c in pairs.classes if c["name"] != "ignore"]
    need = sum(im.shape[0] * im.shape[1] * (len(im.bands) * np.dtype(im.dtype).itemsize + 2) for im in pairs.images)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with enough_space(folder.parent, need), whole_folder(folder) as partial:
        facts = []
        for (image, mask), found in zip(pairs, pairs.found, strict=True):
            _write_source(partial, image, mask, pairs.classes)
            facts.append(
                {
                    "name": image.name, "crs": _crs_name(image.crs), "shape": list(image.shape),
                    "resolution": [abs(image.transform.a), abs(image.transform.e)],
                    "pixel_m": round(grids.pixel_size_m(*image.grid), 3), **{k: v for k, v in found.items() if k != "codes"},
                    "image": [str(p) for p in image.paths], "mask": str(mask.path),
                }
            )  # fmt: skip
        import zarr

        group = zarr.open_group(partial, mode="r+")
        group.attrs.update({"Conventions": "CF-1.11", "classes": classes, "sources": facts})
        with quiet_zarr():
            zarr.consolidate_metadata(partial)


def _write_source(folder: Path, image: sources.Image, mask: sources.Mask, classes: tuple[dict, ...]) -> None:
    """One group: the CF frame by xarray, the pixels rectangle by rectangle."""
    import dask.array as da
    import zarr
    from zarr.codecs import ZstdCodec

    rows, columns = image.shape
    empty = {
        "inputs": da.zeros((len(image.bands), rows, columns), dtype=image.dtype, chunks=-1),
        "valid": da.zeros((rows, columns), dtype=bool, chunks=-1),
    }
    data = sources.frame(empty["inputs"], empty["valid"], image.transform, image.crs, image.channels)
    data["targets"] = ("y", "x"), da.zeros((rows, columns), dtype="uint8", chunks=-1)
    data["targets"].attrs = {"long_name": "class index", "ignore": sources.IGNORE}
    for variable in data.data_vars.values():  # as attrs: an `encoding` argument would drop it
        variable.encoding.pop("grid_mapping", None)
        variable.attrs["grid_mapping"] = "spatial_ref"
    chunk = (min(CHUNK_PX, rows), min(CHUNK_PX, columns))
    # a chunk of nothing but zeros is written like any other, so that a missing chunk always means damage
    coding = {"compressors": [ZstdCodec(level=1)], "write_empty_chunks": True}
    encoding = {v: {**coding, "chunks": chunk} for v in ("valid", "targets")}
    encoding["inputs"] = {**coding, "chunks": (len(image.bands), *chunk)}
    with quiet_zarr():
        data.to_zarr(folder, group=image.name, mode="a", compute=False, encoding=encoding, consolidated=False)
    group = zarr.open_group(folder, path=image.name, mode="r+")
    arrays = {v: group[v].with_config({"write_empty_chunks": True}) for v in ("inputs", "valid", "targets")}
    with sources.reader(image, mask, classes) as read:
        for y, x in grids.tiles(image.shape, 2 * CHUNK_PX):
            inputs, valid, codes = read(y, x)
            arrays["inputs"][:, y, x], arrays["valid"][y, x] = inputs, valid
            arrays["targets"][y, x] = sources.targets(codes, valid, classes)


def _write_table(folder: Path, arrays: Path, meta: dict, cut: dict) -> None:
    """Split, windows and statistics from finished arrays; the seal last."""
    import geopandas as gpd
    import zarr
    from affine import Affine

    (folder / "arrays.zarr").symlink_to(Path("..") / ".arrays" / arrays.name)
    group = zarr.open_group(arrays, mode="r")
    facts, classes = group.attrs["sources"], group.attrs["classes"]
    data = {s["name"]: group[s["name"]] for s in facts}
    split = _split(data, len(classes), cut)
    tables, outlines = [], []
    for name, here in data.items():
        blocks = np.array(split["blocks"][name], np.int8)

        def read(rows: slice, here: Any = here) -> tuple[np.ndarray, np.ndarray]:
            return here["valid"][rows], here["targets"][rows] != sources.IGNORE

        table = samples.cut_patches(
            blocks, cut["block"], here["valid"].shape, cut["patch"], cut["stride"], read, cut["min_valid"]
        )
        table.insert(0, "source", name)
        table["time"] = pd.Series(pd.NaT, index=table.index, dtype="datetime64[ns, UTC]")
        transform = Affine.from_gdal(*map(float, here["spatial_ref"].attrs["GeoTransform"].split()))
        sizes = table[["height", "width"]].to_numpy()
        outlines.append(
            grids.footprints(table[["y", "x"]].to_numpy(), sizes, transform, here["spatial_ref"].attrs["crs_wkt"])
        )
        tables.append(table)
    index = gpd.GeoDataFrame(pd.concat(tables, ignore_index=True), geometry=pd.concat(outlines, ignore_index=True))
    _check_windows(index, split, {s["name"]: tuple(s["shape"]) for s in facts}, cut)
    index.to_parquet(folder / "index.parquet", index=False)
    statistics = training_statistics(data, split)
    meta = meta | {"classes": classes, "statistics": statistics, "parameters": cut, "sources": facts, "split": split}
    write_json(folder / "store.json", meta)


def _check_windows(index: pd.DataFrame, split: dict, shapes: dict, cut: dict) -> None:
    faults, _ = samples.leaks(index, shapes, split)
    if faults:
        raise ValueError("The split leaks, which it must not (please report this): " + "; ".join(faults[:5]))
    empty = [
        s for s, share in zip(samples.SPLITS, cut["shares"], strict=True) if share and not (index["split"] == s).any()
    ]
    if empty:
        raise ValueError(
            f"No window of {cut['patch']} px fits {', '.join(empty)}. Give a smaller `patch` or `stride`, another `block` "
            f"(now {cut['block']} px), or larger images"
        )


def _split(data: dict[str, Any], n_classes: int, cut: dict) -> dict:
    """Deal the blocks of all sources together; sources on one and the same grid share their blocks."""
    counts, same = {}, {}
    for name, here in data.items():
        grid = (here["valid"].shape, here["spatial_ref"].attrs["GeoTransform"], here["spatial_ref"].attrs["crs_wkt"])
        first = same.setdefault(grid, name)
        per_class = _block_counts(here, n_classes, cut["block"])
        counts[first] = counts[first] + per_class if first in counts else per_class
    flat = np.concatenate([c.reshape(-1, n_classes + 1) for c in counts.values()])
    drawn = np.zeros(len(flat), np.int8)
    some = samples.spatial_split(flat, cut["shares"], cut["seed"])
    drawn[: len(some)] = some
    ends = np.cumsum([c.shape[0] * c.shape[1] for c in counts.values()])[:-1]
    blocks = {k: b.reshape(c.shape[:2]) for (k, c), b in zip(counts.items(), np.split(drawn, ends), strict=True)}
    pixels = {s: int(flat[drawn == i + 1].sum()) for i, s in enumerate(samples.SPLITS)}
    of_grid = {name: k for k in counts for name, here in data.items() if _grid(here) == _grid(data[k])}
    return {
        "method": "block", "block": cut["block"], "shares": cut["shares"], "seed": cut["seed"], "pixels": pixels,
        "blocks": {name: blocks[of_grid[name]].tolist() for name in data},
    }  # fmt: skip


def _grid(here: Any) -> tuple:
    return here["valid"].shape, here["spatial_ref"].attrs["GeoTransform"], here["spatial_ref"].attrs["crs_wkt"]


def _block_counts(here: Any, n_classes: int, block: int) -> np.ndarray:
    """Pixels of each class in each block, unlabelled but valid ones last: ndarray (block row, block column, class + 1)."""
    shape = here["valid"].shape
    counts = np.zeros((n_classes + 1, *grids.block_shape(shape, block)), np.int64)
    for y, x in grids.tiles(shape, 2 * CHUNK_PX):
        valid, labels = here["valid"][y, x], here["targets"][y, x]
        for k in range(n_classes):
            grids.block_sums(labels == k, (y.start, x.start), block, counts[k])
        grids.block_sums(valid & (labels == sources.IGNORE), (y.start, x.start), block, counts[-1])
    return np.moveaxis(counts, 0, -1)


def training_statistics(data: dict[str, Any], split: dict) -> dict:
    """Mean and standard deviation of each channel over the valid pixels of the training blocks, in one pass.

    Partial means and squares are merged (Chan, Golub & LeVeque 1983), float64 throughout: no cancellation.
    """
    n, mean, squares = 0, 0.0, 0.0
    for name, here in data.items():
        shape = here["valid"].shape
        blocks = np.array(split["blocks"][name], np.int8)
        for y, x in grids.tiles(shape, 2 * CHUNK_PX):
            by, bx = (np.arange(s.start, s.stop) // split["block"] for s in (y, x))
            train = here["valid"][y, x] & (blocks[by[:, None], bx] == 1)
            m = int(train.sum())
            if not m:
                continue
            values = here["inputs"][:, y, x][:, train].astype(np.float64)
            part = values.mean(axis=1)
            delta = part - mean
            squares = squares + ((values - part[:, None]) ** 2).sum(axis=1) + delta**2 * (n * m / (n + m))
            mean = mean + delta * (m / (n + m))
            n += m
    if not n:
        raise ValueError("No valid training pixel: raise the first of `shares`, or give more images")
    std = np.sqrt(squares / n)
    return {"mean": np.atleast_1d(mean).tolist(), "std": np.where(std > 0, std, 1.0).tolist(), "pixels": n}


def check_split(store: Store) -> dict:
    """Prove from the table itself that no window of one split shares a pixel or a block with another.

    Returns
    -------
    dict with method, windows, pixels and blocks of each split, smallest_gap_m between windows of different splits
    (0 where blocks touch), leaks (0)

    Raises
    ------
    ValueError
        Listing the windows that leak.
    """
    shapes = {s["name"]: tuple(s["shape"]) for s in store.meta["sources"]}
    split = store.meta["split"]
    faults, gap_px = samples.leaks(store.index, shapes, split)
    if faults:
        more = f"\n... and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise ValueError(f"The split of {store.path} leaks:\n" + "\n".join(f"- {f}" for f in faults[:20]) + more)
    blocks = np.concatenate([np.ravel(b) for b in split["blocks"].values()])
    pixel_m = min(s["pixel_m"] for s in store.meta["sources"])
    return {
        "method": split["method"],
        "windows": {s: int((store.index["split"] == s).sum()) for s in samples.SPLITS},
        "pixels": split["pixels"],
        "blocks": {s: int((blocks == i + 1).sum()) for i, s in enumerate(samples.SPLITS)},
        "smallest_gap_m": gap_px * pixel_m,
        "leaks": 0,
    }


@contextmanager
def quiet_zarr() -> Iterator[None]:
    """Without the warnings that text and consolidated metadata are extensions of Zarr 3: xarray reads both."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(does not have a Zarr V3 specification|Consolidated metadata).*")
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock: who comes second waits, then finds the work done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file frees the lock, also after a kill


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all; call under a lock. Leftovers of a killed process are swept."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():  # without its seal, or damaged
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def enough_space(folder: Path, need_bytes: int) -> Iterator[None]:
    """Turn "no space left" into an error that says how much is needed, how much is there, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        raise OSError(
            errno.ENOSPC,
            f"No space left in {folder}: up to {need_bytes / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free. Nothing "
            "half-written was kept. Free some space, or put the folder on a larger disk",
        ) from error


def write_json(path: Path, content: dict) -> None:
    """Write JSON whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def _fingerprint(path: Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def _key(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg()  # the exact definition is in the arrays' spatial_ref
    return f"EPSG:{code}" if code else crs.to_wkt()


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "dataset"


def _version() -> str:
    from geonb import __version__

    return __version__
