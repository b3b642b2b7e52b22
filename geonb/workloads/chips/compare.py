"""Two runs' chips over the same draws of parent tiles."""

from __future__ import annotations

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import SALT, draw
from geonb.scores.comparison import Drawable, difference, of_split, refuse_others, scored
from geonb.workloads.chips.metrics import METRICS, metrics_of


def compare_chips(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """As :func:`geonb.scores.scores.compare`, of chips.

    Raises
    ------
    ValueError
        If they were not scored on the same chips: other classes, parent tiles or labels.
    """
    classes = one.sizes["class"]

    def truth(scores: xr.Dataset) -> np.ndarray:
        """Chips, and those with each label, by block: what no model changes."""
        at = of_split(scores, split, "block_number")
        sums = at["block_sums"].isel(model=0).to_numpy()
        hit, miss = sums[:, 2 : 2 + classes], sums[:, 2 + 2 * classes : 2 + 3 * classes]
        return np.column_stack([at["block_number"], sums[:, 0], hit + miss])

    told = {"classes": lambda scores: ", ".join(map(str, scores["class"].values))}
    refuse_others(one, other, metric, split, needed=["block_sums"], samples="chips", told=told,
                  same=lambda both: np.array_equal(truth(both[0]), truth(both[1])))  # fmt: skip
    number = of_split(one, split).sizes["block"]

    def network(scores: xr.Dataset) -> Drawable:
        table = of_split(scores, split, "block_number")["block_sums"].isel(model=0).to_numpy().astype(np.float64)
        value, place = scored(scores, metric, split), METRICS.index(metric)
        cost = value - metrics_of(table.sum(axis=0), classes)["score"][place]  # of levels, which tie what is told apart
        return Drawable(value, lambda weights: metrics_of(weights @ table, classes)["score"][..., place] + cost)

    weights = draw(number, draws, [seed, SALT]) if number > 1 and draws else None
    return difference(map(network, (one, other)), weights) | {"blocks": number}
