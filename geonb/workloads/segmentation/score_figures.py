"""Figures of class scores, areas, blocks and confusion."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.base.metrics import lower_is_better
from geonb.plots.scores import confusion_cells, counted, models_of, needed, readable, rows_of_dots
from geonb.plots.style import class_colours, finish, model_looks, styled
from geonb.scores.verdicts import carriers


@styled
def class_scores(scores: xr.Dataset, metric: str = "iou", split: str = "test") -> Figure:
    """Draw one metric of each class with its interval, models side by side, with the class's share of the split.

    Parameters
    ----------
    scores : Dataset with ``class_score`` (model, split, class, class_metric), its ``_low``/``_high`` and ``prevalence``;
        ``class_blocks`` and ``rare`` (split, class) are told where they are there
    metric : str
        One of the Dataset's ``class_metric``.
    """
    chosen = scores.sel(split=split, class_metric=metric)
    shares = list(map(_share, chosen.prevalence.values))
    if "class_blocks" in chosen:  # not in scores of an earlier geonb
        here = zip(shares, chosen.class_blocks.values.tolist(), chosen.rare.values.tolist(), strict=True)
        shares = [f"{s}, {n} block{'s' * (n != 1)}{' (rare)' * r}" if n else s for s, n, r in here]
    figure, ax = _rows_of_classes(chosen, scores, shares)
    ax.set(xlim=(-0.01, 1), xlabel=readable(metric), title=f"{readable(metric)} of each class")
    figure.tight_layout()
    return finish(figure, scores.attrs, counted(scores, split), carriers(scores, split) if metric == "iou" else "")


def _rows_of_classes(chosen: xr.Dataset, scores: xr.Dataset, told: list[str]) -> tuple[Figure, Axes]:
    """A row a class, with its colour, its name and something to tell of it."""
    models, colours = models_of(scores), class_colours(scores["class"].values, scores.attrs)
    names = [f"{name}\n{more}" for name, more in zip(colours, told, strict=True)]
    values = [chosen.class_score, chosen.class_score_low, chosen.class_score_high]
    figure, ax = rows_of_dots(values, models, names, 0.2 * (len(models) + 0.6), 6.4)
    for row, colour in enumerate(colours.values()):
        ax.plot(-0.03, row, marker="s", markersize=8, color=colour, transform=ax.get_yaxis_transform(), clip_on=False)
    ax.tick_params(axis="y", pad=18)
    return figure, ax


@styled
def area_error(scores: xr.Dataset, split: str = "test") -> Figure:
    """Draw by how much each class's area is over- or underestimated, with its interval, and the area there is in truth.

    Parameters
    ----------
    scores : Dataset with ``class_score`` of ``area_error`` and ``true_area_ha`` (split, class)
    """
    needed(scores, "true_area_ha")
    chosen, models = scores.sel(split=split, class_metric="area_error"), models_of(scores)
    figure, ax = _rows_of_classes(chosen, scores, list(map(_area, chosen.true_area_ha.values)))
    # Beyond, one class that is given a hundredfold would press all others onto the line of zero.
    low, high = -1.08, 2.08
    ax.axvline(0, color="#555555", linewidth=0.8, zorder=1)
    values = np.asarray(chosen.class_score.transpose("model", "class").values, float)
    for m, look in enumerate(model_looks(models).values()):
        paper = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        text = {"ha": "right", "va": "center", "fontsize": 7, "color": look["color"], "bbox": paper, "zorder": 5}
        for row in np.flatnonzero(values[m] > high):
            place = row + (m - (len(models) - 1) / 2) * 0.6 / len(models)
            ax.text(high - 0.02, place, f"{values[m, row]:+.0%} ▸", **text)
    ax.set(xlim=(low, high), xlabel="area given / true area - 1")
    ax.set_title("Is each class given the area that it has?", pad=22)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.0%}" if value else "0")
    figure.tight_layout()
    said = "Under each class its true area in this split. -100 %: the class is never given."
    return finish(figure, scores.attrs, counted(scores, split), said)


def _area(ha: float) -> str:
    if not np.isfinite(ha):
        return ""
    return "not in this split" if ha == 0 else f"{ha / 100:,.1f} km²" if ha >= 1000 else f"{ha:,.1f} ha"


@styled
def block_scores(scores: xr.Dataset, metric: str = "accuracy", model: str | None = None, split: str = "test") -> Figure:
    """Draw one metric of every block as a map of the blocks: where is it bad?

    Parameters
    ----------
    scores : Dataset with the counts of each block, and the attribute ``blocks_across`` (columns of blocks of each source)
    metric : str
        ``accuracy`` is the one that is fair to blocks which lack a class.
    model : str, optional
        The network (the first model) when left out.
    """
    from geonb.workloads.segmentation.scores import block_scores as by_block

    needed(scores, "block_confusion")
    model = models_of(scores)[0] if model is None else model
    values = by_block(scores, metric, model, split)
    sources = [str(s) for s in scores.source.values if (values.block_source == s).any()][:6]
    across = scores["blocks_across"].sel(source=sources).values
    figure, axes = plt.subplots(
        1, len(sources), figsize=(1 + 3 * len(sources), 3.1), squeeze=False, layout="constrained"
    )
    worse, shown = lower_is_better(metric, scores.attrs), None
    limits = np.floor(10 * values.min()) / 10, np.ceil(10 * values.max()) / 10
    for ax, source, columns in zip(axes[0], sources, across, strict=True):
        rows, places = np.divmod(values.block_number.values[values.block_source.values == source], int(columns))
        every = scores.block_number.values[scores.block_source.values == source] // int(columns)
        grid = np.full((every.max() + 1, int(columns)), np.nan)
        grid[rows, places] = values.values[values.block_source.values == source]
        ax.set_facecolor("#ececec")
        shown = ax.imshow(grid, cmap="viridis_r" if worse else "viridis", vmin=limits[0], vmax=limits[1])
        ax.set_title(source)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.colorbar(shown, ax=axes[0].tolist(), label=readable(metric), shrink=0.8)
    side = f" Blocks of {scores.attrs['block']} px." if scores.attrs.get("block") else ""
    told = f"{readable(metric)} of {model} in each block of the {split} split; grey blocks are of another split.{side}"
    return finish(figure, scores.attrs, told)


def _share(part: float) -> str:
    return f"{part:.1%} of pixels" if part > 0 else "not in this split"


@styled
def confusion(scores: xr.Dataset, model: str | None = None, split: str = "test") -> Figure:
    """Draw the confusion matrix: share of each true class (row) given each label, with the pixel counts.

    Parameters
    ----------
    scores : Dataset with ``confusion`` (model, split, true, predicted), pixels
    model : str, optional
        The network (the first model) when left out.
    """
    model = models_of(scores)[0] if model is None else model
    counts = scores.confusion.sel(model=model, split=split).transpose("true", "predicted")
    names = [str(name) for name in counts.true.values]
    size = 1.6 + 0.62 * len(names)
    figure, ax = plt.subplots(figsize=(size + 1.1, size))
    ax.set(xlabel="label given", ylabel="true class", title=f"Where the pixels of each class went: {model}")
    confusion_cells(figure, ax, counts.values, names)
    return finish(figure, scores.attrs, f"{split} split: {int(counts.sum()):,} pixels; rows add up to 100 %.")
