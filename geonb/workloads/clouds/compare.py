"""Two runs' triplets over the same draws of blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import SALT, draw
from geonb.scores.comparison import Drawable, difference, of_split, refuse_others, same_truth, scored
from geonb.workloads.clouds.scores import METRICS, metrics_of


def compare_triplets(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """As :func:`geonb.scores.scores.compare`, of triplets.

    Raises
    ------
    ValueError
        If they were not scored on the same triplets, or scores.nc does not tell.
    """

    def same(both: Sequence[xr.Dataset]) -> bool:
        mine, others = (_blocks(scores, split) for scores in both)
        counts = [at["block_sums"].isel(model=0).sel(sum="triplets").values for at in (mine, others)]
        return (
            np.array_equal(mine["block_number"].values, others["block_number"].values)
            and np.array_equal(counts[0], counts[1])
            and same_truth(both, split)
        )

    refuse_others(one, other, metric, split, needed=["block_levels"], samples="triplets", same=same)
    number = _blocks(one, split).sizes["block"]
    weights = draw(number, draws, [seed, SALT]) if number > 1 and draws else None
    return difference([_network(scores, metric, split) for scores in (one, other)], weights) | {"blocks": number}


def _blocks(scores: xr.Dataset, split: str) -> xr.Dataset:
    return of_split(scores, split, "block_number")


def _network(scores: xr.Dataset, metric: str, split: str) -> Drawable:
    """The network's metric; what levels cost on all blocks is taken off every draw."""
    at = _blocks(scores, split)
    levels = at["block_levels"].transpose("block", "kind", "level").to_numpy()
    sums = at["block_sums"].isel(model=0).transpose("block", "sum").to_numpy()
    table = np.concatenate([sums, levels.reshape(len(levels), -1)], axis=1).astype(np.float64)
    value, place = scored(scores, metric, split), METRICS.index(metric)
    cost = value - metrics_of(table.sum(axis=0))[place]
    return Drawable(value, lambda weights: metrics_of(weights @ table)[..., place] + cost)
