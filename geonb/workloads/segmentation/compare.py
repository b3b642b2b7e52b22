"""Two runs' classes over the same draws of blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import SALT, draw
from geonb.scores.comparison import Drawable, difference, of_split, refuse_others
from geonb.workloads.segmentation.scores import METRICS, block_table, metrics_of


def compare_classes(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """As :func:`geonb.scores.scores.compare`, of classes.

    Raises
    ------
    ValueError
        If they were not scored on the same pixels: other classes, blocks or truth.
    """

    def same(both: Sequence[xr.Dataset]) -> bool:
        keys = ([at["block_source"], at["block_number"], _truth(at)] for at in (_blocks(s, split) for s in both))
        return all(np.array_equal(mine, others) for mine, others in zip(*keys, strict=True))

    told = {"classes": lambda scores: ", ".join(map(str, scores["class"].values))}
    refuse_others(one, other, metric, split, needed=["block_confusion"], samples="pixels", told=told, same=same)
    number = _blocks(one, split).sizes["block"]
    weights = draw(number, draws, [seed, SALT]) if number > 1 and draws else None
    return difference([_network(scores, metric, split) for scores in (one, other)], weights) | {"blocks": number}


def _blocks(scores: xr.Dataset, split: str) -> xr.Dataset:
    return of_split(scores, split, "block_source", "block_number")


def _truth(blocks: xr.Dataset) -> np.ndarray:
    """Pixels of each true class: array (block, true)."""
    return blocks["block_confusion"].isel(model=0).sum("predicted").values


def _network(scores: xr.Dataset, metric: str, split: str) -> Drawable:
    table = block_table(_blocks(scores, split))[0]

    def drawn(weights: np.ndarray) -> np.ndarray:
        return metrics_of(weights @ table, scores.sizes["class"])[0][..., METRICS.index(metric)]

    return Drawable(float(drawn(np.ones(len(table)))), drawn)
