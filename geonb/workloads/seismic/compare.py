"""Two runs' windows over the same draws of events."""

from __future__ import annotations

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import SALT, draw
from geonb.scores.comparison import Drawable, difference, of_split, refuse_others, scored
from geonb.workloads.seismic.metrics import METRICS, metrics_of


def compare_windows(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """As :func:`geonb.scores.scores.compare`, of windows.

    Raises
    ------
    ValueError
        If they were not scored on the same windows: other events, or other windows of them.
    """

    def truth(scores: xr.Dataset) -> np.ndarray:
        """Windows of each true kind, by event: what no model changes."""
        at = of_split(scores, split, "block_number")
        counts = at["block_sums"].isel(model=0).to_numpy()[:, :9].reshape(-1, 3, 3).sum(-1)
        return np.column_stack([at["block_number"], counts])

    refuse_others(one, other, metric, split, needed=["block_sums"], samples="windows",
                  same=lambda both: np.array_equal(truth(both[0]), truth(both[1])))  # fmt: skip
    number = of_split(one, split).sizes["block"]

    def network(scores: xr.Dataset) -> Drawable:
        table = of_split(scores, split, "block_number")["block_sums"].isel(model=0).to_numpy().astype(np.float64)
        return Drawable(
            scored(scores, metric, split),
            lambda weights: metrics_of(weights @ table)["score"][..., METRICS.index(metric)],
        )

    weights = draw(number, draws, [seed, SALT]) if number > 1 and draws else None
    return difference(map(network, (one, other)), weights) | {"blocks": number}
