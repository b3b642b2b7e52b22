"""Blocks dealt to the splits, and windows cut out of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from geonb.base import conventions, threads
from geonb.rasters import grids
from geonb.store import arrays, windows
from geonb.workloads.segmentation import arrays as segmentation_arrays
from geonb.workloads.segmentation import scan


def deal(groups: dict[str, Any], n_classes: int, cut: dict) -> dict:
    """Deal the blocks of all sources together; images on one and the same grid share their blocks.

    Parameters
    ----------
    groups : dict of source -> Zarr group
    cut : dict with block (px; None deals whole sources), shares, seed

    Returns
    -------
    dict with method (block or source), block (px; the longest side where whole sources are dealt), shares, seed, pixels
    of each split, blocks_with_data, and blocks: of each source, rows of 0 none, 1 train, 2 val, 3 test
    """
    block = cut["block"] or max(max(group["valid"].shape) for group in groups.values())
    first: dict[tuple, str] = {}
    for name, group in groups.items():
        first.setdefault(arrays.grid_of(group), name)
    owner = {name: first[arrays.grid_of(group)] for name, group in groups.items()}
    counts: dict[str, np.ndarray] = {}
    for name, group in groups.items():
        counts[owner[name]] = counts.get(owner[name], 0) + segmentation_arrays.block_counts(group, n_classes, block)
    flat = np.concatenate([c.reshape(-1, n_classes + 1) for c in counts.values()])
    if cut["block"] is None:
        _enough_sources(flat, cut["shares"])
    dealt = windows.spatial_split(flat, cut["shares"], cut["seed"])
    ends = np.cumsum([c[..., 0].size for c in counts.values()])[:-1]
    blocks = {k: part.reshape(c.shape[:2]) for (k, c), part in zip(counts.items(), np.split(dealt, ends), strict=True)}
    return {
        "method": "source" if cut["block"] is None else "block", "block": int(block), "shares": cut["shares"],
        "seed": cut["seed"],
        "pixels": {s: int(flat[dealt == i + 1].sum()) for i, s in enumerate(conventions.SPLITS)},
        "blocks_with_data": int((dealt > 0).sum()),
        "blocks": {name: blocks[owner[name]].tolist() for name in groups},
    }  # fmt: skip


def _enough_sources(counts: np.ndarray, shares: tuple[float, ...]) -> None:
    places, wanted = int((counts.sum(axis=1) > 0).sum()), int(np.count_nonzero(shares))
    if places < wanted:
        raise ValueError(
            f"block = None deals whole sources, and there are {places} (on grids of their own) for {wanted} splits. Give a "
            "`block` in px, more images, or a share of 0"
        )


def cut_windows(groups: dict[str, Any], split: dict, cut: dict, facts: list[dict]) -> Any:
    """The table of windows of all sources: GeoDataFrame with outlines in OGC:CRS84.

    Parameters
    ----------
    split : dict, what `deal` gave
    cut : dict with patch, stride (px), shares, min_valid
    facts : list of dict with name, dataset, pixels of each kind: one a source
    """
    import geopandas as gpd

    tasks = [(groups[fact["name"]], fact, split, cut) for fact in facts]
    tables, outlines = zip(*threads.spread(_cut_one, tasks), strict=True)
    table = pd.concat(tables, ignore_index=True)
    table["time"] = pd.Series(pd.NaT, index=table.index, dtype="datetime64[ns, UTC]")
    missing = [
        s for s, share in zip(conventions.SPLITS, cut["shares"], strict=True) if share and s not in set(table["split"])
    ]
    if missing:
        raise ValueError(
            f"No window of {cut['patch']} px lies in {' or '.join(missing)}: {split['blocks_with_data']} blocks of "
            f"{split['block']} px hold data. Give a smaller `patch` or `stride`, another `block`, or larger images"
        )
    return gpd.GeoDataFrame(table, geometry=pd.concat(outlines, ignore_index=True))


def _cut_one(group: Any, fact: dict, split: dict, cut: dict) -> tuple[pd.DataFrame, Any]:
    """The windows of one source, and their outlines."""
    blocks, shape = np.array(split["blocks"][fact["name"]], np.int8), group["valid"].shape
    read = _planes(group, _may_be_blank(fact, cut))
    table = windows.cut_patches(blocks, split["block"], shape, cut["patch"], cut["stride"], read, cut["min_valid"])
    table.insert(0, "source", fact["name"])
    table.insert(1, "dataset", fact["dataset"])
    at, sizes = table[["y", "x"]].to_numpy(), table[["height", "width"]].to_numpy()
    return table, grids.footprints(at, sizes, arrays.transform_of(group), arrays.grid_of(group)[0])


def _may_be_blank(fact: dict, cut: dict) -> bool:
    """Whether there are pixels enough of nothing but 0, or the largest number, to fill the valid part of a window."""
    most = max(fact.get(kind, np.inf) for kind in scan.BLANKS)
    return most >= max(cut["min_valid"] * cut["patch"] ** 2, 1)


def _planes(group: Any, blank: bool) -> Callable[[slice], tuple[np.ndarray, ...]]:
    def read(rows: slice) -> tuple[np.ndarray, ...]:
        valid, labelled = group["valid"][rows], group["targets"][rows] != conventions.IGNORE
        if not blank:
            return valid, labelled
        planes = [np.zeros(valid.shape, bool) for _ in scan.BLANKS]
        for columns in grids.strips(valid.shape[1], arrays.TILE_PX):  # all channels of a strip may be too much at once
            found = scan.blanks(group["inputs"][:, rows, columns], valid[:, columns])
            for plane, here in zip(planes, found, strict=True):
                plane[:, columns] = here
        return valid, labelled, *planes

    return read
