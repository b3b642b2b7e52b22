"""The sample store of images and masks: prepared, split by blocks, cut into windows, sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import conventions, stac, times
from geonb.base import files as base_files
from geonb.base.project import project_root
from geonb.base.project import slug as _slug
from geonb.rasters import images, preprocessing, sources, tiles
from geonb.store import faults as store_faults
from geonb.store import held, leakage
from geonb.store import windows as store_windows
from geonb.store.arrays import training_statistics
from geonb.store.grid_store import GridStore
from geonb.store.sealing import FORMAT, make_store, seen_from
from geonb.workloads.segmentation import arrays, dataset, scan
from geonb.workloads.segmentation import faults as segmentation_faults

if TYPE_CHECKING:
    from distributed import Client

    from geonb.workloads.segmentation.loaders import Windows


# Raised where the same files come to other arrays, so that none of before is taken for them
READING = 2
INDEX_COLUMNS = ("source", "y", "x", "height", "width", "split", "block", "time", "valid_share", "geometry")


@dataclass(frozen=True, repr=False)
class PatchStore(GridStore):
    """A sealed store of images and masks. `store[i]` is window i of an image, with the classes of its pixels."""

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

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store beyond missing keys, see `check_store`."""
        inside = segmentation_faults.meta_faults(self.meta)
        found = inside + segmentation_faults.array_faults(self.path, self.meta, deep)
        if any(fault.startswith("split") for fault in inside):
            return found
        if missing := store_faults.column_faults(self.path, INDEX_COLUMNS):
            return found + missing
        leaking, _ = leakage.leaks(self.index, self._shapes, self.meta["split"])
        return found + [f"index.parquet: {fault}" for fault in leaking[:20]]


def write_store(
    pairs: dataset.Pairs,
    *,
    patch: int = 64,
    stride: int | None = None,
    block: int | None = 64,
    gap: int = 0,
    shares: str | tuple[float, float, float] = "60/20/20",
    seed: int = 0,
    min_valid: float = 0.25,
    name: str | None = None,
    workload: str = "segmentation",
    root: Path | None = None,
    client: Client | None = None,
) -> PatchStore:
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
    gap : int, px
        So far training windows stay from blocks of validation and test, and windows of validation from blocks of test.
    shares : str or tuple
        train/val/test, in percent, of blocks; "75/25/0,test:NAME" keeps whole data sets or images for one split, see
        :mod:`geonb.store.held`.
    seed : int
    min_valid : float, 0-1
        Windows with a smaller share of valid pixels are left out.
    name : str, optional
        First part of the folder's name.
    root : Path, optional
        The store goes to root / "data" / workload; the project root by default.
    client : optional
        A `dask.distributed.Client` whose workers read and write the pixels; they see the same files.

    Raises
    ------
    ValueError
        Every fault of the inputs, before anything is written.
    OSError
        No space left: says how much is needed; nothing half-written remains.
    """
    stride = max(patch // 2, 1) if stride is None else stride
    store_windows.check_sizes(_largest(pairs), patch, stride, block, seed, min_valid, gap)
    pairs = dataset.pad(pairs, int(patch))
    parts, named = held.read_split(shares)
    own = held.sources_of(named, {image.name: _called(image) for image in pairs.images}, parts)
    cut = {
        "patch": int(patch), "stride": int(stride), "block": block and int(block), "shares": list(parts),
        "seed": int(seed), "min_valid": float(min_valid), **({"gap": int(gap)} if gap else {}), **({"held": own} if own else {}),
    }  # fmt: skip
    base = Path(root) if root else project_root()
    read = pairs.files
    inputs = base_files.fingerprints(sorted({file for found in read.values() for file in found}))
    sums = {Path(i["path"]): i["sha256"] for i in inputs}
    contents = {path: sources.stamps(found, sums.__getitem__) for path, found in read.items()}
    files = {
        i.name: ([seen_from(base, path) for path in i.paths], seen_from(base, m.path), stac.time_of(i.paths[0]))
        for i, m in pairs
    }
    datasets = [d | {"preprocess": d["preprocess"] and _function(base, d["preprocess"])} for d in pairs.datasets]
    facts = {k: getattr(pairs, k) for k in ("title", "simulated", "notes", "attribution", "channels")}
    folder = make_store(
        "patches", lambda path: arrays.write_arrays(pairs, path, client=client),
        lambda path: _write_table(path, cut, files, datasets[0]["name"], facts["notes"]),
        recipe=_preparation(pairs, contents), cut=cut, facts=facts, files=inputs,
        name=_slug(name or pairs.name), workload=workload, root=root, more={"datasets": datasets},
    )  # fmt: skip
    return PatchStore.open(folder)


def _called(image: images.Image) -> list[str]:
    """What an image may be called by beside its name: its data set, and the folders of its files, or tiles."""
    return [image.dataset] * bool(image.dataset) + [tiles.home_of(path).name for path in image.paths]


def _function(base: Path, path: str) -> str:
    """An import path; that of a file as seen from the project."""
    place, _, name = path.rpartition(":")
    return f"{seen_from(base, place)}:{name}" if place.endswith(".py") else path


def _largest(pairs: dataset.Pairs) -> dict[str, tuple[int, int]]:
    """The shape of the largest image of each dataset: smaller ones are padded, but one must take a window."""
    largest: dict[str, images.Image] = {}
    for image in sorted(pairs.images, key=lambda image: -min(image.shape)):
        largest.setdefault(image.dataset, image)
    return {f"{image.name}, resampled" if image.resampling else image.name: image.shape for image in largest.values()}


def _preparation(pairs: dataset.Pairs, contents: dict[Path, list]) -> dict:
    """What the arrays depend on, and nothing else: contents of files, choice of bands, reading of masks, classes."""
    return {
        "format": FORMAT, "reading": READING, "prune": pairs.prune,
        "classes": pairs.classes and [list(c.values()) for c in pairs.classes],
        "sources": [
            {
                "name": image.name, "image": [s for p in image.paths for s in contents[p]], "bands": image.bands,
                "channels": image.channels, "mask": contents[mask.path], "column": mask.column,
                "layer": mask.layer, "read": mask.read, "own": mask.classes and [list(c.values()) for c in mask.classes],
                "grid": [image.shape, list(image.transform)], "data_shape": image.data_shape, "dtype": image.dtype,
                "resampling": image.resampling, "dataset": image.dataset,
                "preprocess": image.preprocess and preprocessing.source_of(image.preprocess),
                **({"buffer_m": mask.buffer_m} if mask.buffer_m else {}),
                **({"every": mask.every} if mask.every else {}),
                **({"area": contents[mask.area]} if mask.area else {}),
                **({"border_px": mask.border_px} if mask.border_px else {}),
                **({"background": False} if mask.is_vector and not mask.background else {}),
            }
            for image, mask in pairs
        ],
    }  # fmt: skip


def _write_table(folder: Path, cut: dict, files: dict, dataset_name: str, notes: Sequence[str]) -> dict:
    """Split, windows and statistics from finished arrays; gives what the seal says of them."""
    import zarr

    root: Any = zarr.open_group(folder / "arrays.zarr", mode="r")
    sources, classes = root.attrs["sources"], root.attrs["classes"]
    for source in sources:
        image, mask, _ = files[source["name"]]
        source |= {"dataset": source["dataset"] or dataset_name, "image": image, "mask": mask}
    groups = {source["name"]: root[source["name"]] for source in sources}
    own = {name: split for name, split in cut.get("held", {}).items() if name in groups}
    split = store_windows.deal(groups, len(classes), cut, own)
    index = store_windows.cut_windows(groups, split, cut, sources, lambda group, fact: scan.reader(group, fact, cut))
    leaking, _ = leakage.leaks(index, {name: group["valid"].shape for name, group in groups.items()}, split)
    leaking += leakage.ground_leaks(index, index.geometry.to_numpy())
    conventions.refuse("These windows would leak between the splits", leaking, most=10)
    when = {
        source["name"]: times.stamp(files[source["name"]][2]) for source in sources
    }  # of STAC items; nobody says of others
    index["time"] = index["source"].astype(str).map(when).astype("datetime64[ns]").dt.tz_localize("UTC")
    index.to_parquet(folder / "index.parquet", index=False)
    pruned = root.attrs.get("pruned", [])
    return {
        "classes": classes, "statistics": training_statistics(groups, split), "parameters": cut, "sources": sources,
        "split": split, "pruned": pruned,
        "notes": [*notes, *root.attrs.get("remarks", []), *(f"Left out: {text}" for text in pruned)],
    }  # fmt: skip
