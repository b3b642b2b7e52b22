"""Figures of several runs beside each other: headline with intervals, learning curves, IoU of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from geonb.base.metrics import lower_in_table, lower_is_better
from geonb.plots.scores import readable
from geonb.plots.style import CLUSTER_COLOURS, SPLIT_COLOURS, along_whole_numbers, banded, finish, legend_beside, styled

LINES = ("-", "--", ":", "-.")
VALIDATION, TEST = "#9a7d0a", SPLIT_COLOURS["test"]


def two_words(run: str) -> str:
    """The two words that tell a run from the others: ``2026-11-22_calm-heron`` -> ``calm-heron``."""
    return run.partition("_")[2] or run


@styled
def headlines(
    table: pd.DataFrame, labels: Mapping[str, str] | None = None, attrs: Mapping[str, Any] | None = None
) -> Figure:
    """Draw each run's leading score on validation and test with 95 % intervals, beside its best baseline.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`geonb.runs.run_table.table` that have scores, all led by one metric; drawn from the top in this order.
    labels : mapping, optional
        What to write under a run's name, e.g. the parameters that differ.
    attrs : mapping, optional
        ``simulated`` and ``notes`` of the data.
    """
    metric, number = table["headline"].iloc[0], len(table)
    figure, ax = plt.subplots(figsize=(7.4, 1.1 + 0.46 * number))
    rows = np.arange(number)
    kinds = (("validation", f"val_{metric}", "val_low", "val_high", VALIDATION, "s", -0.14),
             ("test", metric, "low", "high", TEST, "o", 0.14))  # fmt: skip
    for name, *columns, colour, marker, shift in kinds:
        if columns[0] in table:
            value, low, high = (pd.to_numeric(table[c]) if c in table else np.full(number, np.nan) for c in columns)
            ax.hlines(rows + shift, low, high, color=colour, linewidth=1.8)
            ax.plot(value, rows + shift, marker, color=colour, markersize=6.5, label=name)
    if "baseline_score" in table and table["baseline_score"].notna().any():
        look = {"color": "#555555", "markersize": 11, "mew": 1.8, "label": "best baseline (test)"}
        ax.plot(table["baseline_score"].astype(float), rows + 0.14, "|", **look)
    labels = labels or {}
    written = [f"{two_words(run)}\n{labels[run]}" if labels.get(run) else two_words(run) for run in table["run"]]
    ax.set_yticks(rows, written)
    banded(ax, number)
    ax.set_ylim(number - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    better = "lower" if lower_in_table(table, metric) else "higher"
    ax.set_xlabel(f"{readable(metric)} ({better} is better)")
    ax.set_title(f"{readable(metric)} of each run", pad=22)
    ax.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    return finish(figure, attrs or {}, "Bars are 95 % intervals from resampling whole blocks. Intervals of two runs may overlap "
                  "and the runs still differ: they share their blocks; see the paired differences.")  # fmt: skip


@styled
def curves(
    logs: Mapping[str, pd.DataFrame], metric: str, loss: bool = True, attrs: Mapping[str, Any] | None = None
) -> Figure:
    """Draw the learning curves of several runs over each other: the metric on validation, and the losses.

    Parameters
    ----------
    logs : run -> DataFrame with epoch, train_loss, val_loss and val_<metric>, as in a run's log.csv
    metric : str
    loss : bool
        Whether the losses stand on one scale, that is, all runs were trained with the same loss.
    """
    panels = [f"val_{metric}"] * any(f"val_{metric}" in log for log in logs.values())
    panels += ["val_loss", "train_loss"] if loss else []
    figure, axes = plt.subplots(1, max(1, len(panels)), figsize=(2 + 3.6 * max(1, len(panels)), 3.2), squeeze=False)
    for number, (run, log) in enumerate(logs.items()):
        table = log.groupby("epoch").last()
        look = {"color": CLUSTER_COLOURS[number % len(CLUSTER_COLOURS)], "linestyle": LINES[number // 7 % len(LINES)]}
        for ax, column in zip(axes[0], panels, strict=False):
            if column in table:
                ax.plot(table.index, table[column], linewidth=1.4, label=two_words(run), **look)
                if table["val_loss"].notna().any():
                    kept = table["val_loss"].idxmin()
                    ax.plot(kept, table[column][kept], "o", markersize=5, color=look["color"])
    for ax, column in zip(axes[0], panels, strict=False):
        kind, name = column.split("_", 1)
        ax.set(xlabel="epoch", title=f"{readable(name)}, {'validation' if kind == 'val' else 'training'}")
        along_whole_numbers(ax)
    legend_beside(figure, axes[0][0])
    said = "Dots: the epoch of the lowest validation loss."
    if not loss:
        said += " The runs were trained with different losses, which stand on different scales: no loss is drawn."
    return finish(figure, attrs or {}, said)


@styled
def leads(scores: Mapping[str, xr.Dataset], metric: str, split: str = "test") -> Figure:
    """Draw the networks' score of each lead, a line a run, beside the best of the baselines at each lead.

    Parameters
    ----------
    scores : run -> Dataset as in its scores.nc, with ``lead_score (model, split, lead, metric)``
    """
    figure, ax = plt.subplots(figsize=(7.4, 3.2))
    number = len(scores)
    for row, (run, one) in enumerate(scores.items()):
        at = one[["lead_score", "lead_score_low", "lead_score_high"]].sel(split=split, metric=metric).isel(model=0)
        colour, beside = CLUSTER_COLOURS[row % len(CLUSTER_COLOURS)], at["lead"] + 0.3 * ((row + 0.5) / number - 0.5)
        ax.vlines(beside, at["lead_score_low"], at["lead_score_high"], color=colour, linewidth=1.2, alpha=0.6)
        line = LINES[row // 7 % len(LINES)]
        ax.plot(beside, at["lead_score"], line, marker="o", markersize=4, color=colour, label=two_words(run))
    first = next(iter(scores.values()))
    others = first["lead_score"].sel(split=split, metric=metric).isel(model=slice(1, None)).dropna("model", how="all")
    if others.sizes["model"]:
        best = others.min("model") if lower_is_better(metric, first.attrs) else others.max("model")
        ax.plot(best["lead"], best, "--", color="#555555", linewidth=1.2, label="best baseline\nat each lead")
    ax.set_xlim(0.5, max(int(one["lead"].max()) for one in scores.values()) + 0.5)
    ax.set(xlabel="lead (months)", title=f"{readable(metric)} of each lead by run")
    along_whole_numbers(ax)
    legend_beside(figure, ax)
    said = f"{split} split; bars: 95 % intervals. The baseline is that of {two_words(next(iter(scores)))}; run by run it can differ."
    return finish(figure, first.attrs, said)


@styled
def class_table(scores: Mapping[str, xr.Dataset], metric: str = "iou", split: str = "test") -> Figure:
    """Draw one metric of each class (column) for each run (row), as a coloured table.

    Parameters
    ----------
    scores : run -> Dataset as in its scores.nc; all of the same classes
    """
    first = next(iter(scores.values()))
    classes = [str(c) for c in first["class"].values]
    values = np.array([
        one["class_score"].isel(model=0).sel(split=split, class_metric=metric).values for one in scores.values()
    ])  # fmt: skip
    figure, ax = plt.subplots(figsize=(1.9 + 0.78 * len(classes), 1.2 + 0.34 * len(scores)))
    ax.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    best = np.nanmax(np.where(np.isfinite(values), values, -np.inf), axis=0)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            look = {"color": "white" if value > 0.55 else "#222222", "fontsize": 8, "ha": "center", "va": "center"}
            ax.text(column, row, f"{value:.2f}", fontweight="bold" if value == best[column] else "normal", **look)
    share = first["prevalence"].sel(split=split).values
    names = [f"{c}\n{p:.1%}" if p > 0 else f"{c}\nnone" for c, p in zip(classes, share, strict=True)]
    ax.set_xticks(range(len(classes)), names, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(scores)), [two_words(run) for run in scores])
    ax.set_title(f"{readable(metric)} of each class by run")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    figure.tight_layout()
    told = f"{split} split; under each class its share of the pixels; bold: highest of the class (often within chance)."
    return finish(figure, first.attrs, told)
