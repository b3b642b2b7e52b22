"""Samples: which windows of which arrays, and on which side of the split. A sample is a row of a table, not a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import threads
from geonb.base.conventions import SPLITS, refuse
from geonb.rasters import grids
from geonb.store import arrays

if TYPE_CHECKING:
    import geopandas as gpd

Reader = Callable[[slice], tuple[np.ndarray, ...]]  # rows -> valid, labelled, blank ...; each (rows, column) of bool

DRAWS = 500  # random assignments of blocks among which the best balanced one is taken


def read_shares(shares: str | tuple[float, ...]) -> tuple[float, float, float]:
    """Shares of train, val and test: "60/20/20" -> (0.6, 0.2, 0.2).

    Raises
    ------
    ValueError
        If there are not three, one is negative, train is 0, or they do not add up to 100 (or 1).
    """
    try:
        values = np.array([float(s) for s in (shares.split("/") if isinstance(shares, str) else shares)])
    except ValueError:
        values = np.empty(0)
    total = values.sum()
    whole = min(abs(total - 1), abs(total - 100)) < 1e-6  # not so of nan
    if len(values) != 3 or (values < 0).any() or values[0] == 0 or not whole:
        raise ValueError(
            f"shares = {shares!r} is not train/val/test in percent. Give three that add up to 100: 60/20/20"
        )
    train, val, test = (float(v) for v in values / total)
    return train, val, test


def check_sizes(
    shapes: dict[str, tuple[int, int]], patch: int, stride: int, block: int | None, seed: int = 0, min_valid: float = 0,
    gap: int = 0,
) -> None:  # fmt: skip
    """Refuse window and block sizes that no grid can serve; one ValueError lists every fault."""
    faults = [
        f"{name} = {value} px: give a whole number from 1"
        for name, value in (("patch", patch), ("stride", stride), ("block", block))
        if value is not None and (value != int(value) or value < 1)
    ]
    for source, shape in shapes.items():
        if patch > min(shape):
            faults.append(
                f"patch = {patch} px is larger than {source} ({shape[0]} x {shape[1]} px): at most {min(shape)}"
            )
    faults += _gap_faults(shapes, patch, block, gap)
    if seed < 0:
        faults.append(f"seed = {seed}: give a whole number from 0")
    if not 0 <= min_valid <= 1:
        faults.append(f"min_valid = {min_valid}: give a share from 0 to 1")
    if block is not None and 1 <= block < patch:
        faults.append(
            f"patch = {patch} px is larger than block = {block} px: no patch would lie in one split. Raise `block`"
        )
    if block is not None and stride is not None and 1 <= block < stride:
        faults.append(
            f"stride = {stride} px is larger than block = {block} px: whole blocks would be stepped over. Lower `stride`"
        )
    refuse("No windows can be cut", faults)


def _gap_faults(shapes: dict[str, tuple[int, int]], patch: int, block: int | None, gap: int) -> list[str]:
    if gap != int(gap) or gap < 0:
        return [f"gap = {gap} px: give a whole number from 0"]
    if gap and block is None:
        return [
            f"gap = {gap} px: it lies between blocks of one image, and block = None deals whole images. Give a `block`"
        ]
    most = max((max(shape) for shape in shapes.values()), default=gap + 2 * patch) - 2 * patch
    if gap and gap > most:
        return [
            f"gap = {gap} px: two windows of {patch} px so far apart fit into no image, at most {max(0, most)} px apart do"
        ]
    return []


def spatial_split(counts: np.ndarray, shares: tuple[float, float, float], seed: int) -> np.ndarray:
    """Deal blocks to train, val and test at random, so that every class comes near its share in each.

    Of DRAWS random assignments that meet the shares in pixels, the one with the best balanced classes is kept
    (re-randomisation: Morgan & Rubin 2012, doi:10.1214/12-AOS1008).

    Parameters
    ----------
    counts : ndarray (block, class) of int
        Pixels of each class in each block; a column of unlabelled pixels may follow. Blocks of nothing stay unassigned.
    shares : tuple = (train, val, test), adding up to 1
    seed : int

    Returns
    -------
    ndarray (block,) of int8: 0 none, 1 train, 2 val, 3 test

    Raises
    ------
    ValueError
        If there are fewer blocks with data than splits that want one.
    """
    filled = np.flatnonzero(counts.sum(axis=1))
    wanted = np.flatnonzero(shares)
    if len(filled) < len(wanted):
        raise ValueError(
            f"{len(filled)} blocks hold data, {len(wanted)} splits want some (shares {shares}). Give a smaller `block`, "
            "more images, or a share of 0"
        )
    n_blocks, counts = len(counts), counts[filled].astype(float)
    totals = counts.sum(axis=0)
    pixels = counts.sum(axis=1)
    rng = np.random.default_rng(seed)
    best, best_miss = np.zeros(len(filled), np.int8), np.inf
    for _ in range(DRAWS):
        drawn = _deal(rng.permutation(len(filled)), pixels, np.array(shares), wanted)
        held = np.stack([counts[drawn == s + 1].sum(axis=0) for s in range(3)])
        miss = np.square(held / np.maximum(totals, 1) - np.array(shares)[:, None])[:, totals > 0].sum()
        if miss < best_miss:
            best, best_miss = drawn, miss
    split = np.zeros(n_blocks, np.int8)
    split[filled] = best
    return split


def deal(groups: dict[str, Any], n_classes: int, cut: dict, held: Mapping[str, str] | None = None) -> dict:
    """Deal the blocks of all sources together; images on one and the same grid share their blocks.

    Parameters
    ----------
    groups : dict of source -> Zarr group
    n_classes : int
        Of ``targets``; 0 where they are no classes.
    cut : dict with block (px; None deals whole sources), shares, seed, and gap (px) if there is one
    held : dict of source -> split, optional
        Whole sources that are not dealt, see :mod:`geonb.store.held`.

    Returns
    -------
    dict with method (block or source), block (px; the longest side where whole sources are dealt), gap, shares, seed, pixels
    of each split, blocks_with_data, blocks: of each source, rows of 0 none, 1 train, 2 val, 3 test, and held, where some are
    """
    block = cut["block"] or max(max(group["valid"].shape) for group in groups.values())
    first: dict[tuple, str] = {}
    for name, group in groups.items():
        first.setdefault(arrays.grid_of(group), name)
    owner = {name: first[arrays.grid_of(group)] for name, group in groups.items()}
    counts: dict[str, np.ndarray] = {}
    for name, group in groups.items():
        counts[owner[name]] = counts.get(owner[name], 0) + arrays.block_counts(group, n_classes, block)
    flat = np.concatenate([c.reshape(-1, n_classes + 1) for c in counts.values()])
    dealt = _held_blocks(counts, owner, held or {})
    free = dealt < 0
    if cut["block"] is None:
        _enough_sources(flat[free], cut["shares"])
    if free.any():
        dealt[free] = spatial_split(flat[free], cut["shares"], cut["seed"])
    ends = np.cumsum([c[..., 0].size for c in counts.values()])[:-1]
    blocks = {k: part.reshape(c.shape[:2]) for (k, c), part in zip(counts.items(), np.split(dealt, ends), strict=True)}
    return {
        "method": "source" if cut["block"] is None else "block", "block": int(block), "shares": cut["shares"],
        "seed": cut["seed"], "pixels": {s: int(flat[dealt == i + 1].sum()) for i, s in enumerate(SPLITS)},
        "blocks_with_data": int((dealt > 0).sum()), "blocks": {name: blocks[owner[name]].tolist() for name in groups},
        **({"gap": int(cut["gap"])} if cut.get("gap") else {}),
        **({"held": dict(held)} if held else {}),
    }  # fmt: skip


def _held_blocks(counts: dict[str, np.ndarray], owner: dict[str, str], held: Mapping[str, str]) -> np.ndarray:
    """The split of each block of whole sources, 0 where it holds nothing; -1 of blocks that are dealt."""
    splits: dict[str, set] = {}
    for name, other in owner.items():
        splits.setdefault(other, set()).add(held.get(name))
    mixed = [name for name, found in splits.items() if len(found) > 1]
    refuse("Images of one grid show the same ground, and cannot be in different splits", mixed)
    codes = []
    for name, count in counts.items():
        (split,), filled = splits[name], (count.sum(axis=-1) > 0).ravel()
        codes.append(filled * (SPLITS.index(split) + 1) if split else np.full(filled.size, -1))
    return np.concatenate(codes).astype(np.int8)


def _enough_sources(counts: np.ndarray, shares: tuple[float, ...]) -> None:
    places, wanted = int((counts.sum(axis=1) > 0).sum()), int(np.count_nonzero(shares))
    if places < wanted:
        raise ValueError(
            f"block = None deals whole sources, and there are {places} (on grids of their own) for {wanted} splits. Give a "
            "`block` in px, more images, or a share of 0"
        )


def _deal(order: np.ndarray, pixels: np.ndarray, shares: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Cut a shuffled row of blocks where the pixels reach each share; every wanted split gets one block at least."""
    reached = np.cumsum(pixels[order]) - pixels[order] / 2
    ends = np.searchsorted(reached, np.cumsum(shares)[:-1] * pixels.sum())
    split = np.zeros(len(order), np.int8)
    split[order] = 1 + np.searchsorted(ends, np.arange(len(order)), side="right")
    missing = [s + 1 for s in wanted if not (split == s + 1).any()]
    for s in missing:
        largest = np.bincount(split, minlength=4).argmax()
        split[order[split[order] == largest][-1]] = s
    return split


def valid_and_labelled(group: Any) -> Reader:
    """Which pixels of a group are valid, and which its ``targets`` say something of; without any, all of the valid ones."""

    def read(rows: slice) -> tuple[np.ndarray, ...]:
        valid = group["valid"][rows].astype(bool, copy=False)
        return valid, arrays.labelled(group["targets"][rows]) if "targets" in group else valid

    return read


def cut_windows(
    groups: dict[str, Any], split: dict, cut: dict, facts: list[dict], read: Callable[[Any, dict], Reader] | None = None
) -> gpd.GeoDataFrame:
    """The table of windows of all sources, with their outlines in OGC:CRS84.

    Parameters
    ----------
    groups : dict of source -> Zarr group
    split : dict, what `deal` gave; with a gap it gains ``left_out``, the number of windows of each split that were too near
    cut : dict with patch, stride (px), shares, min_valid
    facts : list of dict with name, dataset, and what `read` asks for: one a source
    read : (group, fact) -> Reader of its pixels, see `cut_patches`; `valid_and_labelled` by default

    Raises
    ------
    ValueError
        If no window lies in a split that shall have some.
    """
    import geopandas as gpd

    tasks = []
    for fact in facts:
        group = groups[fact["name"]]
        tasks.append((group, fact, split, cut, read(group, fact) if read else valid_and_labelled(group)))
    tables, outlines = zip(*threads.spread(_cut_one, tasks), strict=True)
    if split.get("gap"):
        split["left_out"] = {s: sum(t.attrs["left_out"][s] for t in tables) for s in SPLITS}
    table = pd.concat(tables, ignore_index=True)
    table.attrs = {}
    table["time"] = pd.Series(pd.NaT, index=table.index, dtype="datetime64[ns, UTC]")
    wanted = {s for s, share in zip(SPLITS, cut["shares"], strict=True) if share} | set(split.get("held", {}).values())
    missing = [s for s in SPLITS if s in wanted and s not in set(table["split"])]
    if missing:
        if split.get("gap") and any(split["left_out"][s] for s in missing):
            raise ValueError(
                f"gap = {split['gap']} px leaves no window for {' and '.join(missing)}: all of theirs lie nearer than that to a block "
                f"of another split. Give a gap of at most {_largest_gap(tasks, missing)} px, or larger blocks (block = {split['block']} px)"
            )
        raise ValueError(
            f"No window of {cut['patch']} px lies in {' or '.join(missing)}: {split['blocks_with_data']} blocks of "
            f"{split['block']} px hold data. Give a smaller `patch` or `stride`, another `block`, or larger images"
        )
    return gpd.GeoDataFrame(table, geometry=pd.concat(outlines, ignore_index=True))


def _largest_gap(tasks: list[tuple], wanted: list[str]) -> int:
    """The largest gap that leaves each split a window (px), by halving: a smaller gap leaves no fewer of them."""

    def fits(gap: int) -> bool:
        cut = [_cut_one(group, fact, {**split, "gap": gap}, *rest)[0] for group, fact, split, *rest in tasks]
        return set(wanted) <= {s for table in cut for s in table["split"].unique()}

    low, high = 0, tasks[0][2]["gap"]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _cut_one(group: Any, fact: dict, split: dict, cut: dict, read: Reader) -> tuple[pd.DataFrame, gpd.GeoSeries]:
    """The windows of one source, and their outlines."""
    blocks, shape = np.array(split["blocks"][fact["name"]], np.int8), group["valid"].shape
    gap = split.get("gap", 0)
    table = cut_patches(blocks, split["block"], shape, cut["patch"], cut["stride"], read, cut["min_valid"], gap)
    table.insert(0, "source", fact["name"])
    table.insert(1, "dataset", fact["dataset"])
    at, sizes = table[["y", "x"]].to_numpy(), table[["height", "width"]].to_numpy()
    return table, grids.footprints(at, sizes, arrays.transform_of(group), arrays.grid_of(group)[0])


def cut_patches(
    blocks: np.ndarray,
    block: int,
    shape: tuple[int, int],
    patch: int,
    stride: int,
    read: Reader,
    min_valid: float = 0.25,
    gap: int = 0,
) -> pd.DataFrame:
    """Windows of a grid that lie in one split, with enough valid pixels, at least one label, and something to see.

    A window may span adjoining blocks of one split.

    Parameters
    ----------
    blocks : ndarray (block row, block column) of int8: 0 none, 1 train, 2 val, 3 test
    block, patch, stride : int, px
    shape : tuple = (rows, columns) of the grid
    read : rows : slice -> valid, labelled, blank ...; each ndarray (rows, column) of bool
        A window whose valid pixels are all `blank` (of one kind; any number of kinds may be given) is left out.
    min_valid : float, 0-1
        Share of valid pixels below which a window is left out.
    gap : int, px
        So far training windows stay from every block of validation and test, and windows of validation from those of test. The later
        split keeps all of its windows, and every pixel of a test block lies so far from all that was trained on.

    Returns
    -------
    DataFrame with y, x (px), height, width, split, block (number of the block under the centre), valid_share, labelled_share;
    its attrs have ``left_out``, the number of windows of each split that the gap took
    """
    at = grids.windows(shape, patch, stride)
    split = _split_of(at, patch, blocks, block)
    at, split = at[split > 0], split[split > 0]
    shares = _shares(at, patch, shape, read)
    keep = (shares[:, 0] >= min_valid) & (shares[:, 1] > 0) & (shares[:, 2:] < shares[:, :1]).all(axis=1)
    at, split, shares = at[keep], split[keep], shares[keep]
    near = _near_later(at, patch, shape, blocks, block, gap, split)
    left_out = {s: int(near[split == i + 1].sum()) for i, s in enumerate(SPLITS)}
    at, split, shares = at[~near], split[~near], shares[~near]
    middle = (at + patch // 2) // block
    table = pd.DataFrame(
        {
            "y": at[:, 0],
            "x": at[:, 1],
            "height": patch,
            "width": patch,
            "split": pd.Categorical.from_codes(split - 1, categories=SPLITS),
            "block": middle[:, 0] * blocks.shape[1] + middle[:, 1],
            "valid_share": shares[:, 0].astype(np.float32),
            "labelled_share": shares[:, 1].astype(np.float32),
        }
    )
    table.attrs["left_out"] = left_out
    return table


def _split_of(at: np.ndarray, patch: int, blocks: np.ndarray, block: int) -> np.ndarray:
    """The one split that a window lies in, 0 where it touches two, or a block of none."""
    low, high = _codes_under(at // block, (at + patch - 1) // block, blocks)
    return np.where(high == low, high, 0)


def _near_later(
    at: np.ndarray, patch: int, shape: tuple[int, int], blocks: np.ndarray, block: int, gap: int, split: np.ndarray
) -> np.ndarray:
    """Which windows have a pixel of a later split's block less than `gap` px away (along rows and columns, so at corners, too)."""
    if not gap:
        return np.zeros(len(at), bool)
    first, last = np.maximum(at - gap, 0), np.minimum(at + patch - 1 + gap, np.array(shape) - 1)
    return _codes_under(first // block, last // block, blocks)[1] > split


def _codes_under(first: np.ndarray, last: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest code of the blocks from `first` to `last`, each (window, 2)."""
    high = np.zeros(len(first), np.int8)
    low = np.full(len(first), 127, np.int8)
    for dy in range(int((last - first)[:, 0].max(initial=0)) + 1):
        for dx in range(int((last - first)[:, 1].max(initial=0)) + 1):
            here = blocks[np.minimum(first[:, 0] + dy, last[:, 0]), np.minimum(first[:, 1] + dx, last[:, 1])]
            high = np.maximum(high, here)
            low = np.minimum(low, here)
    return low, high


def _shares(at: np.ndarray, patch: int, shape: tuple[int, int], read: Callable) -> np.ndarray:
    """Share of each kind of pixel in each window (window, kind), reading a strip of rows at a time."""
    shares = np.zeros((len(at), 2))
    rows = np.unique(at[:, 0])
    step = max(1024, 2 * patch)
    while len(rows):
        start = int(rows[0])
        inside = rows[rows + patch <= start + step] if len(rows) > 1 else rows
        planes = read(slice(start, min(int(inside[-1]) + patch, shape[0])))
        if shares.shape[1] != len(planes):
            shares = np.zeros((len(at), len(planes)))
        here = np.flatnonzero((at[:, 0] >= start) & (at[:, 0] <= inside[-1]))
        y, x = at[here, 0] - start, at[here, 1]
        for k, plane in enumerate(planes):
            # summed-area table (Crow 1984): four look-ups a window
            table = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), np.int32 if plane.size < 2**31 else np.int64)
            plane.cumsum(axis=0, dtype=table.dtype).cumsum(axis=1, out=table[1:, 1:])
            total = table[y + patch, x + patch] - table[y, x + patch] - table[y + patch, x] + table[y, x]
            shares[here, k] = total / patch**2
        rows = rows[rows > inside[-1]]
    return shares
