"""Distances of triplets counted by block of ground, as scores.nc keeps them: two runs are compared over the same draws.

What a block is, the store says (:func:`geonb.workloads.clouds.triplets.blocks_of`): a place in all scenes that follow each
other, or all scenes of
one time, because what is near in space or in time looks alike. Every metric is a function of sums over blocks, so that the
bootstrap costs matrix products and not another look at the triplets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import xarray as xr

SUMS = ("triplets", "wins", "margin")  # wins: the neighbour is nearer; ties count half
KINDS = ("near", "far")
LEVELS = 256  # of distance, equally filled: the AUC of a draw is a rank among these
SPLITS = ("train", "val", "test")


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
    if not known.any():
        raise ValueError(
            f"None of {data.sizes['sample']:,} triplets has a distance by every model ({_listed(data)}), so there is nothing "
            "to score. Run 03_prediction again; if it stays so, the network's weights are not finite: train with a smaller `lr`."
        )
    data = data.isel(sample=np.flatnonzero(known))
    near, far, split = near[:, known], far[:, known], split[known]
    source, number = data["source"].to_numpy().astype(str), data["block"].to_numpy()
    keys = np.stack([[SPLITS.index(s) for s in split], number])
    blocks, unit = np.unique(keys, axis=1, return_inverse=True)
    level, of_block = np.stack(_levels(near, far)), (np.array(SPLITS)[blocks[0]], blocks[1])
    return Distances(_names(data), near, far, level, split, source, unit.reshape(-1), *of_block), data


def _names(data: xr.Dataset) -> list[str]:
    return [str(name) for name in data["model"].values]


def _listed(data: xr.Dataset) -> str:
    return ", ".join(_names(data))


def _levels(near: np.ndarray, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level 0 to LEVELS - 1 of each distance (model, sample); equal distances have one level."""
    out = np.empty((2, *near.shape), np.int16)
    for m, pair in enumerate(zip(near, far, strict=True)):
        edges = np.quantile(np.concatenate(pair), np.linspace(0, 1, LEVELS + 1)[1:-1])
        out[:, m] = [np.searchsorted(edges, values, side="right") for values in pair]
    return out[0], out[1]


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


def compare_triplets(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """As :func:`geonb.scores.scores.compare`, of triplets.

    Raises
    ------
    ValueError
        If they were not scored on the same triplets, or scores.nc does not tell.
    """
    from geonb.scores.bootstrap import draw, interval
    from geonb.workloads.clouds.scores import METRICS, metrics_of

    _refuse_others(one, other, metric, split)
    tables = [_network_table(scores, split) for scores in (one, other)]
    at, number = METRICS.index(metric), tables[0].shape[0]
    scored = [scores["score"].isel(model=0).sel(split=split, metric=metric).item() for scores in (one, other)]
    told = {"difference": scored[0] - scored[1], "low": np.nan, "high": np.nan, "blocks": number}
    if number > 1 and draws:
        weights = draw(number, draws, [seed, 0xB007])
        # what levels cost on all blocks is taken off every draw
        drawn = [
            metrics_of(weights @ t)[..., at] + (value - metrics_of(t.sum(axis=0))[at])
            for t, value in zip(tables, scored, strict=True)
        ]
        low, high = interval(drawn[0] - drawn[1])
        told |= {"low": float(low), "high": float(high)}
    return told


def _in_order(scores: xr.Dataset, split: str) -> xr.Dataset:
    """The blocks of a split, by number."""
    here = scores.isel(block=np.flatnonzero(scores["block_split"].values == split))
    return here.isel(block=np.argsort(here["block_number"].values))


def _network_table(scores: xr.Dataset, split: str) -> np.ndarray:
    """Sums (block, column) of the network, as of `block_table`."""
    here = _in_order(scores, split)
    levels = here["block_levels"].transpose("block", "kind", "level").to_numpy()
    sums = here["block_sums"].isel(model=0).transpose("block", "sum").to_numpy()
    return np.concatenate([sums, levels.reshape(len(levels), -1)], axis=1).astype(np.float64)


def _refuse_others(one: xr.Dataset, other: xr.Dataset, metric: str, split: str) -> None:
    """Raise a ValueError that says in what the triplets that were scored differ."""
    both = (one, other)
    if any("block_levels" not in scores for scores in both):
        raise ValueError("these scores hold no counts by block (made by an older geonb): run 04_analytics again")
    if any(split not in scores["split"].values or metric not in scores["metric"].values for scores in both):
        raise ValueError(f"not both have {metric} of the {split} split")
    mine, others = (_in_order(scores, split) for scores in both)
    if not mine.sizes["block"] or not others.sizes["block"]:
        raise ValueError(f"there is no scored triplet in the {split} split")
    same = np.array_equal(mine["block_number"].values, others["block_number"].values)
    if same:
        counts = [s["block_sums"].isel(model=0).sel(sum="triplets").values for s in (mine, others)]
        same = np.array_equal(*counts)
    if same and all("block_truth" in scores for scores in both):
        same = one["block_truth"].sel(split=split).item() == other["block_truth"].sel(split=split).item()
    if not same:
        raise ValueError(f"their {split} splits do not hold the same triplets")
