"""Distances of triplets counted by block of ground, as scores.nc keeps them, and how good models are in groups of triplets.

What a block is, the store says (:func:`geonb.workloads.clouds.triplets.blocks_of`): a place in all scenes that follow each
other, or all scenes of one time, because what is near in space or in time looks alike.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLITS
from geonb.scores.bootstrap import Arrays, Variables, by_split, draw, with_gain

SUMS = ("triplets", "wins", "margin")  # wins: the neighbour is nearer; ties count half
KINDS = ("near", "far")
LEVELS = 256  # of distance, equally filled: the AUC of a draw is a rank among these
PIECE = 256  # groups whose draws are held at once


@dataclass(frozen=True)
class Distances:
    """What every model says of each triplet, and the block that its anchor belongs to.

    Attributes
    ----------
    near, far : array (model, sample)
        Squared distances from the anchor to its neighbour and to the distant tile.
    level : array (kind, model, sample) of int
        Level of each distance among the model's.
    split, source : array (sample,) of str
    unit : array (sample,) of int
        Its block's place in the tables below.
    block_split, block_number : array (block,)
        A number that occurs in two splits is two blocks.
    """

    models: list[str]
    near: np.ndarray
    far: np.ndarray
    level: np.ndarray
    split: np.ndarray
    source: np.ndarray
    unit: np.ndarray
    block_split: np.ndarray
    block_number: np.ndarray

    @property
    def blocks(self) -> int:
        return len(self.block_number)

    @property
    def wins(self) -> np.ndarray:
        """array (model, sample): 1 where the neighbour is nearer, 0.5 where both are equally far, else 0."""
        return (self.near < self.far) + 0.5 * (self.near == self.far)

    @property
    def margins(self) -> np.ndarray:
        """array (model, sample): (far - near) / (far + near), -1 to 1; 0 where both are nothing."""
        return margins_of(self.near, self.far)


def margins_of(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """(far - near) / (far + near), -1 to 1, whatever the unit of the distances; 0 where both are nothing."""
    total = near + far
    return np.divide(far - near, total, out=np.zeros_like(total), where=total > 0)


def read_distances(predictions: xr.DataTree) -> tuple[Distances, xr.Dataset]:
    """Distances of the triplets that every model has one of, and the group ``triplets`` of those.

    Raises
    ------
    ValueError
        If no triplet has a distance by every model.
    """
    data = predictions["triplets"].to_dataset().load()
    near, far = (data[k].transpose("model", "sample").to_numpy().astype(np.float64) for k in KINDS)
    split = data["split"].to_numpy().astype(str)
    known = np.isfinite(near).all(0) & np.isfinite(far).all(0) & np.isin(split, SPLITS)
    models = [str(name) for name in data["model"].values]
    if not known.any():
        raise ValueError(
            f"None of {data.sizes['sample']:,} triplets has a distance by every model ({', '.join(models)}), so there is nothing "
            "to score. Run 03_prediction again; if it stays so, the network's weights are not finite: train with a smaller `lr`."
        )
    data = data.isel(sample=np.flatnonzero(known))
    near, far, split = near[:, known], far[:, known], split[known]
    source, number = data["source"].to_numpy().astype(str), data["block"].to_numpy()
    keys = np.stack([[SPLITS.index(s) for s in split], number])
    blocks, unit = np.unique(keys, axis=1, return_inverse=True)
    of_block = np.array(SPLITS)[blocks[0]], blocks[1]
    return Distances(models, near, far, _levels(near, far), split, source, unit.reshape(-1), *of_block), data


def _levels(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Level 0 to LEVELS - 1 of each distance (kind, model, sample); equal distances have one level."""
    out = np.empty((2, *near.shape), np.int16)
    for m, pair in enumerate(zip(near, far, strict=True)):
        edges = np.quantile(np.concatenate(pair), np.linspace(0, 1, LEVELS + 1)[1:-1])
        out[:, m] = [np.searchsorted(edges, values, side="right") for values in pair]
    return out


def block_table(distances: Distances, inside: np.ndarray) -> np.ndarray:
    """Sums over some triplets by their block: array (model, block, column), SUMS first, then near and far by level.

    Parameters
    ----------
    inside : array (sample,) of bool
        Only blocks that hold one of these are in the table, in order.
    """
    blocks, unit = np.unique(distances.unit[inside], return_inverse=True)
    number = len(blocks)
    table = np.empty((len(distances.models), number, len(SUMS) + 2 * LEVELS))
    for m, (wins, margins) in enumerate(zip(distances.wins, distances.margins, strict=True)):
        for column, weights in enumerate((None, wins[inside], margins[inside])):
            table[m, :, column] = np.bincount(unit, weights, number)
        for k in range(2):
            place = unit * LEVELS + distances.level[k, m, inside]
            begin = len(SUMS) + k * LEVELS
            table[m, :, begin : begin + LEVELS] = np.bincount(place, minlength=number * LEVELS).reshape(number, LEVELS)
    return table


def block_variables(distances: Distances, data: xr.Dataset) -> dict:
    """The counts of each block for scores.nc; those by level of the network only.

    Returns
    -------
    dict of ``block_sums (model, block, sum)``, ``block_levels (kind, block, level)`` of the network, ``block_split``,
    ``block_number (block)`` and ``block_truth (split)``, a fingerprint of the triplets, where the predictions hold all three
    places of each
    """
    table = block_table(distances, np.ones(len(distances.unit), bool))
    levels = table[0, :, len(SUMS) :].reshape(distances.blocks, 2, LEVELS).swapaxes(0, 1)
    out = {
        "block_sums": (("model", "block", "sum"), table[..., : len(SUMS)]),
        "block_levels": (("kind", "block", "level"), levels.astype(np.int32)),
        "block_split": ("block", distances.block_split),
        "block_number": ("block", distances.block_number),
    }
    places = ["t", "y", "x", "neighbor_y", "neighbor_x", "distant_source", "distant_t", "distant_y", "distant_x"]
    if all(name in data for name in places):
        prints = [_fingerprint(data.isel(sample=distances.split == s), ["source", *places]) for s in SPLITS]
        out["block_truth"] = "split", np.array(prints)
    return out


def _fingerprint(data: xr.Dataset, names: list[str]) -> str:
    """Sixteen digits that change with any triplet of a split, not with their order."""
    rows = sorted(zip(*(data[name].to_numpy().tolist() for name in names), strict=True))
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def accuracy_by_group(
    distances: Distances, name: str, group: np.ndarray, number: int, draws: int, seed: int
) -> Variables:
    """Triplet accuracy of every model in each group of triplets, with intervals over the blocks of each split.

    Parameters
    ----------
    name : str
        Of the variables and of their dim.
    group : array (sample,) of int
        Below `number`; -1 for none.

    Returns
    -------
    dict of ``<name>_score`` and ``<name>_gain (model, split, <name>)`` with ``_low`` and ``_high``, NaN where a group lies in one
    block; ``<name>_triplets (split, <name>)``
    """
    dims = dict.fromkeys(("score", "gain"), ("model", "split", name)) | {"triplets": ("split", name)}
    told = by_split(lambda split, key: _accuracies(distances, split, group, number, draws, key), SPLITS, seed, dims)
    return {f"{name}_{key}": variable for key, variable in told.items()}


def _accuracies(
    distances: Distances, split: str, group: np.ndarray, number: int, draws: int, seed: list[int]
) -> Arrays:
    """Of one split: score and gain (model, group) with their bounds, triplets (group,)."""
    blocks = np.flatnonzero(distances.block_split == split)
    weights = np.ones((1, len(blocks)))  # the first are all blocks
    if draws and len(blocks) > 1:
        weights = np.concatenate([weights, draw(len(blocks), draws, seed)])
    wins, pieces = distances.wins, []
    for begin in range(0, number, PIECE):
        wide = min(PIECE, number - begin)
        inside = (distances.split == split) & (group >= begin) & (group < begin + wide)
        place = np.searchsorted(blocks, distances.unit[inside]) * wide + group[inside] - begin
        sums = [np.bincount(place, w, len(blocks) * wide) for w in (None, *wins[:, inside])]
        count, *won = (one.reshape(len(blocks), wide).astype(float) for one in sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.stack([weights @ w for w in won]) / (weights @ count)  # (model, draw, group)
        drawn[:, 1:, (count > 0).sum(axis=0) < 2] = np.nan
        told = with_gain(drawn[:, 0], drawn[:, 1:] if len(weights) > 1 else None)
        pieces.append(told | {"triplets": count.sum(axis=0).astype(int)})
    return {key: np.concatenate([piece[key] for piece in pieces], axis=-1) for key in pieces[0]}
