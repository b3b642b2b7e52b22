"""Scores of a class by place: does it hold in each image and data set, beside the baselines there?"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geonb.plots.scores import counted, models_of, needed, readable, rows_of_dots
from geonb.plots.style import finish, styled
from geonb.scores.bootstrap import resampled
from geonb.scores.comparison import of_split
from geonb.workloads.segmentation.scores import CLASS_METRICS, block_table, metrics_of

MOST = 3  # classes of which each is drawn: objects and what lies between


def class_by_source(
    scores: xr.Dataset, metric: str = "iou", split: str = "test", draws: int | None = None, seed: int = 0
) -> xr.Dataset:
    """One metric of each class in each source, with 95 % intervals over the source's blocks (see `geonb.scores.bootstrap`).

    Parameters
    ----------
    scores : Dataset with the counts of each block, from `score_classes`
    metric : one of its ``class_metric``
    draws : int, optional
        As many as the scores had.

    Returns
    -------
    Dataset with value, low and high (model, source, class) and pixels, blocks (source,); sources of other splits left out.
    Bounds are NaN where a source has one block.
    """
    here, number = of_split(scores, split), scores.sizes["class"]
    table, at = block_table(here), CLASS_METRICS.index(metric)
    draws = int(scores.attrs.get("draws", 1000)) if draws is None else draws
    names = [name for name in scores.source.values.tolist() if (here.block_source == name).any()]
    parts = [table[:, (here.block_source == name).values] for name in names]
    found = [
        resampled(part, lambda sums: {"value": metrics_of(sums, number)[1][..., at]}, draws, [seed, place])
        for place, part in enumerate(parts)
    ]
    by_place = {
        out: (("model", "source", "class"), np.stack([one[name] for one in found], axis=1))
        for out, name in (("value", "value"), ("low", "value_low"), ("high", "value_high"))
    }
    confusion = here.block_confusion.isel(model=0).sum(("true", "predicted")).values
    counts = {
        "pixels": ("source", [int(confusion[(here.block_source == name).values].sum()) for name in names]),
        "blocks": ("source", [part.shape[1] for part in parts]),
    }
    coords = {"model": scores.model.values, "source": names, "class": scores["class"].values}
    return xr.Dataset({**by_place, **counts}, coords)


@styled
def class_source_scores(scores: xr.Dataset, metric: str = "iou", split: str = "test") -> Figure:
    """Draw one metric of each class in each source, models side by side; see `class_by_source`."""
    needed(scores, "block_confusion")
    found, models = class_by_source(scores, metric, split), models_of(scores)
    rows = found.stack(row=("class", "source"), create_index=False)
    names = [
        f"{kind}, {source}\n{pixels:,} pixels, {blocks:,} blocks"
        for kind, source, pixels, blocks in zip(
            rows["class"].values, rows.source.values, rows.pixels.values, rows.blocks.values, strict=True
        )
    ]
    figure, ax = rows_of_dots([rows.value, rows.low, rows.high], models, names, 0.2 * (len(models) + 0.9))
    ax.set(xlim=(-0.01, 1), xlabel=readable(metric))
    ax.set_title(f"{readable(metric)} of each class by source", pad=22)
    figure.tight_layout()
    return finish(figure, scores.attrs, counted(scores, split), "No bar where a source has one block only.")
