"""The block bootstrap: scores, what the network gains on each model, and intervals of both over the same draws of blocks.

Every metric is a function of sums over blocks, so that a draw is a row of weights and all draws are one product of matrices.
A workload brings its counts by block and its metrics; draws, bounds and how they are stacked by split and group are here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

SALT = 0xB007  # draws of scores are apart from all that is drawn elsewhere from the same seed
Arrays = dict[str, np.ndarray]
Variables = dict[str, tuple[str | tuple[str, ...], np.ndarray]]
Part = TypeVar("Part")


def draw(blocks: int, draws: int, seed: list[int]) -> np.ndarray:
    """How often each block is drawn: array (draw, block), rows sum to the number of blocks."""
    counts = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)
    return counts.astype(np.float64)  # a product of floats goes through BLAS


def interval(drawn: np.ndarray) -> np.ndarray:
    """2.5 and 97.5 percentiles over the first axis, NaN where no draw is defined."""
    bounds = np.full((2, *drawn.shape[1:]), np.nan)
    defined = np.isfinite(drawn).any(axis=0)
    bounds[:, defined] = np.nanpercentile(drawn[:, defined], [2.5, 97.5], axis=0)
    return bounds


def with_interval(name: str, value: np.ndarray, drawn: np.ndarray | None, axis: int = 1) -> Arrays:
    """A value with ``<name>_low`` and ``<name>_high``, NaN where nothing was drawn; `drawn` has the draws on `axis`."""
    low, high = np.full((2, *np.shape(value)), np.nan) if drawn is None else interval(np.moveaxis(drawn, axis, 0))
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def with_gain(value: np.ndarray, drawn: np.ndarray | None, axis: int = 1, prefix: str = "") -> Arrays:
    """``score`` and ``gain``, each with its interval: what the first model has more than each, in the same draws (paired).

    Parameters
    ----------
    value : array (model, ...)
    drawn : array (model, ...) with the draws on `axis`, or None
    """
    gains = None if drawn is None else drawn[:1] - drawn
    scores = with_interval(f"{prefix}score", value, drawn, axis)
    return scores | with_interval(f"{prefix}gain", value[:1] - value, gains, axis)


def resampled(
    table: np.ndarray, metrics: Callable[[np.ndarray], Arrays], draws: int, seed: list[int], exact: Arrays | None = None
) -> Arrays:
    """Metrics of every model on some blocks, with intervals, and what the first model gains on each.

    Parameters
    ----------
    table : array (model, block, column)
        Sums by block.
    metrics : function of sums (model, ..., column)
        Gives arrays (model, ..., metric) by name, ``score`` among them; NaN where undefined.
    draws : int
        None are drawn, and bounds are NaN, where this is 0 or there is one block only.
    exact : dict, optional
        Values on all blocks that the table tells too coarsely: the draws are moved by what that costs.

    Returns
    -------
    dict of what `metrics` names and ``gain``, each with ``_low`` and ``_high``
    """
    coarse, number = metrics(table.sum(axis=1)), table.shape[1]
    drawn = metrics(draw(number, draws, seed) @ table) if number > 1 and draws else None
    out: Arrays = {}
    for name, value in coarse.items():
        some = None if drawn is None else drawn[name]
        if exact and name in exact:
            some = None if some is None else some + (exact[name] - value)[:, None]
            value = exact[name]
        out |= with_gain(value, some) if name == "score" else with_interval(name, value, some)
    return out


def by_split(
    resample: Callable[[Part, list[int]], Arrays], parts: Sequence[Part], seed: int, dims: Mapping[str, tuple[str, ...]]
) -> Variables:
    """Variables of each split, from what `resample` gives of a split's part and the seed of its draws; see :func:`stacked`."""
    return stacked([resample(part, [seed, n, SALT]) for n, part in enumerate(parts)], "split", dims)


def by_group(
    resample: Callable[[np.ndarray, list[int]], Arrays],
    inside: Sequence[Sequence[np.ndarray]],
    dim: str,
    seed: int,
    counts: Mapping[str, Callable[[np.ndarray], int]],
) -> Variables:
    """``<dim>_score``, ``<dim>_gain (model, split, <dim>, metric)`` and their bounds, of each group's own blocks.

    Parameters
    ----------
    resample : function of a mask and the seed of its draws, see :func:`resampled`
    inside : masks, by split and group
    counts : functions of a mask, by what they count
        Each is a variable ``<dim>_<name> (split, <dim>)``.
    """
    names, rows = ("score", "gain"), []
    for n, masks in enumerate(inside):
        groups = [resample(mask, [seed, n, SALT, i + 1]) for i, mask in enumerate(masks)]
        row = stacked(groups, dim, dict.fromkeys(names, ("model", dim, "metric")))
        rows.append({name: values for name, (_, values) in row.items()})
    out = stacked(rows, "split", dict.fromkeys(names, ("model", "split", dim, "metric")))
    for name, of in counts.items():
        out[name] = ("split", dim), np.array([[int(of(mask)) for mask in masks] for masks in inside])
    return {f"{dim}_{name}": variable for name, variable in out.items()}


def stacked(pieces: Sequence[Arrays], dim: str, dims: Mapping[str, tuple[str, ...]]) -> Variables:
    """Variables of a Dataset from one dict of arrays a split, or a group: stacked along `dim`.

    Parameters
    ----------
    dims : mapping
        Name -> dims when stacked, `dim` among them; ``<name>_low`` and ``<name>_high`` have the same.
    """
    return {
        name + end: (named, np.stack([piece[name + end] for piece in pieces], axis=named.index(dim)))
        for name, named in dims.items()
        for end in ("", "_low", "_high")
        if name + end in pieces[0]
    }
