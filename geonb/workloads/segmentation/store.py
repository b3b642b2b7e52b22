"""The sample store of images and masks: prepared, split by blocks, cut into windows, sealed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geonb.base import conventions, threads
from geonb.base import files as base_files
from geonb.base.conventions import VERSION
from geonb.base.project import slug as _slug
from geonb.rasters import grids, images, preprocessing
from geonb.store import windows as store_windows
from geonb.store.store import FORMAT, Store, _finished, _from, _function, _root, open_store, refuse_leaks
from geonb.workloads.segmentation import arrays, dataset, splits
from geonb.workloads.segmentation import faults as segmentation_faults

if TYPE_CHECKING:
    import xarray as xr

    from geonb.workloads.segmentation.loaders import Windows


INDEX_COLUMNS = ("source", "y", "x", "height", "width", "split", "block", "time", "valid_share", "geometry")


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
        """The windows as standardised tensors, see :class:`geonb.workloads.segmentation.loaders.Windows`."""
        from geonb.workloads.segmentation.loaders import Windows

        return Windows(self, split, augment, seed)

    def labels(self, items: list[dict]) -> list[str]:
        """What each of some items of `windows` mostly shows, in one word: its most frequent class."""
        names = []
        for item in items:
            target = np.asarray(item["targets"]).ravel()
            counts = np.bincount(target[target != conventions.IGNORE], minlength=len(self.classes))
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
        faults, gap_px = store_windows.leaks(
            self.index, {s["name"]: tuple(s["shape"]) for s in self.meta["sources"]}, split
        )
        if len(self.sources) > 1:
            import geopandas as gpd

            outlines = gpd.read_parquet(self.path / "index.parquet").geometry.to_numpy()
            faults += store_windows.ground_leaks(self.index, outlines)
        refuse_leaks(self.path, faults)
        blocks = np.concatenate([np.ravel(b) for b in split["blocks"].values()])
        gap_m = gap_px * min(s["pixel_m"] for s in self.meta["sources"])
        gap_m = round(gap_m, 1) if np.isfinite(gap_m) else None
        counts = {
            "windows": {s: int((self.index["split"] == s).sum()) for s in conventions.SPLITS},
            "blocks": {s: int((blocks == i + 1).sum()) for i, s in enumerate(conventions.SPLITS)},
            "pixels": split["pixels"],
        }
        apart = "there is one split only" if gap_m is None else f"the splits' nearest windows are {gap_m:.0f} m apart"
        said = f"Split by {split['method']}. No window shares a pixel or a block with one of another split; {apart}."
        return {
            "method": split["method"], **counts, "counts": counts, "smallest_gap_m": gap_m, "leaks": 0, "said": said
        }  # fmt: skip

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store beyond missing keys, see `check_store`."""
        inside = segmentation_faults.meta_faults(self.meta)
        found = inside + segmentation_faults.array_faults(self.path, self.meta, deep)
        if not any(fault.startswith("split") for fault in inside):
            found += segmentation_faults.table_faults(self, INDEX_COLUMNS)
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


def write_store(
    pairs: dataset.Pairs,
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
    store_windows.check_sizes(_largest(pairs), patch, stride, block, seed, min_valid)
    pairs = dataset.pad(pairs, int(patch))
    cut = {
        "patch": int(patch), "stride": int(stride), "block": block and int(block), "shares": list(store_windows.read_shares(shares)),
        "seed": int(seed), "min_valid": float(min_valid),
    }  # fmt: skip
    base = Path(root) if root else _root()
    home = base / "data" / workload
    inputs = list(threads.spread(base_files.fingerprint, [(path,) for path in pairs.files]))
    datasets = [d | {"preprocess": d["preprocess"] and _function(base, d["preprocess"])} for d in pairs.datasets]
    arrays_key = base_files.key_of(_preparation(pairs, {i["path"]: i["sha256"] for i in inputs}))
    title = _slug(name or pairs.name)
    facts = {k: getattr(pairs, k) for k in ("title", "simulated", "notes", "attribution", "channels")}
    key = base_files.key_of({"arrays": arrays_key, "cut": cut, "name": title, "facts": facts, "datasets": datasets})
    folder, prepared = home / f"{title}-{key[:8]}", home / ".arrays" / f"{arrays_key}.zarr"
    if _finished(folder):
        return open_store(folder)
    meta = {"geonb": VERSION, "format": FORMAT, "workload": workload, "kind": "patches", "name": title, "key": key}
    meta |= {**facts, "datasets": datasets, "inputs": [i | {"path": _from(base, i["path"])} for i in inputs]}
    with base_files.locked(home / ".lock"):
        if not _finished(folder):  # it may have come while we waited
            base_files.sweep(home)
            base_files.sweep(prepared.parent)
            if not prepared.is_dir():
                arrays.write_arrays(pairs, prepared)
            files = {i.name: (i.paths, m.path) for i, m in pairs}
            with base_files.enough_space(home, 1_000_000), base_files.whole_folder(folder) as partial:
                _write_table(partial, prepared, meta, cut, files, base)
    return open_store(folder)


def _largest(pairs: dataset.Pairs) -> dict[str, tuple[int, int]]:
    """The shape of the largest image of each dataset: smaller ones are padded, but one must take a window."""
    largest: dict[str, images.Image] = {}
    for image in sorted(pairs.images, key=lambda image: -min(image.shape)):
        largest.setdefault(image.dataset, image)
    return {f"{image.name}, resampled" if image.resampling else image.name: image.shape for image in largest.values()}


def _preparation(pairs: dataset.Pairs, sums: dict[str, str]) -> dict:
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
    faults, _ = store_windows.leaks(index, {name: group["valid"].shape for name, group in groups.items()}, split)
    faults += store_windows.ground_leaks(index, index.geometry.to_numpy())
    if faults:
        raise ValueError("These windows would leak between the splits:\n" + "\n".join(f"- {f}" for f in faults[:10]))
    index.to_parquet(folder / "index.parquet", index=False)
    statistics = arrays.training_statistics(groups, split)
    parts = {"classes": classes, "statistics": statistics, "parameters": cut, "sources": facts, "split": split}
    pruned = root.attrs.get("pruned", [])
    parts |= {"pruned": pruned, "notes": [*meta["notes"], *(f"Left out: {text}" for text in pruned)]}
    base_files.write_json(folder / "store.json", meta | parts)
