"""Figures and tables of how good a model is: curves of training, scores with intervals, confusion, reliability."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.base.metrics import lower_is_better, with_units
from geonb.plots.style import along_whole_numbers, banded, dashes, finish, model_looks, styled

NAMES = {
    "accuracy": "accuracy",
    "mean_iou": "mean IoU",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "boundary_f1": "boundary F1",
    "iou": "IoU",
    "f1": "F1",
    "average_precision": "average precision",
    "auroc": "AUROC",
    "auc": "AUC of distances",
    "margin": "relative margin",
    "crps": "CRPS of deaths",
    "ignorance": "ignorance of deaths [bit]",
    "interval_score": "90 % interval score of deaths",
    "map": "mAP",
    "samples_f1": "samples F1",
}


def readable(metric: str, attrs: Mapping[Any, Any] | None = None) -> str:
    """The name a reader expects: ``mean_iou`` -> ``mean IoU``; with its unit where the scores' attributes tell one."""
    return with_units(metric, attrs or {}, NAMES.get(metric, metric.replace("_", " ")))


@styled
def learning_curves(log: str | Path | pd.DataFrame, metric: str | None = None) -> Figure:
    """Draw loss and metric of each epoch, and mark the epoch of the lowest validation loss.

    Parameters
    ----------
    log : path of a run's log.csv, or its DataFrame
        Columns ``epoch``, ``train_loss``, ``val_loss``; ``val_<metric>`` and ``ema_val_loss`` where there are such.
    metric : str, optional
        Which metric to draw; the first ``val_<metric>`` when left out.
    """
    table = log if isinstance(log, pd.DataFrame) else pd.read_csv(log)
    missing = {"epoch", "train_loss", "val_loss"} - set(table.columns)
    if missing or len(table) == 0:
        about = f"lacks {sorted(missing)}" if missing else "holds no epoch"
        raise ValueError(f"No curves to draw: the log {about} (columns: {list(table.columns)}). Run 02_training first.")
    table = table.groupby("epoch").last()
    metrics = [f"val_{metric}"] if metric else [c for c in table if c.startswith("val_") and c != "val_loss"][:1]
    if metrics and metrics[0] not in table:
        raise ValueError(f"The log has no column {metrics[0]!r}; it has {list(table.columns)}.")
    best = table.val_loss.idxmin()
    panels = [("train_loss", "val_loss"), *((c.replace("val_", "train_"), c) for c in metrics)]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 2.9), squeeze=False)
    for ax, (training, validation) in zip(axes[0], panels, strict=True):
        if training in table:
            ax.plot(table.index, table[training], "o--", markersize=2.5, color="#4a6d8c", label="training")
        ax.plot(table.index, table[validation], "o-", markersize=2.5, color="#b5400f", label="validation")
        if f"ema_{validation}" in table:
            ax.plot(
                table.index, table[f"ema_{validation}"], "o:", markersize=2.5, color="#b5400f", label="running average"
            )
        ax.plot(best, table[validation][best], "o", markersize=9, fillstyle="none", color="#b5400f")
        ax.axvline(best, color="#555555", linewidth=0.8, linestyle=":")
        ax.set(xlabel="epoch", title=readable(validation.removeprefix("val_")))
        along_whole_numbers(ax)
        ax.legend()
    figure.tight_layout()
    kept = f"Dotted: epoch {best}, of the lowest validation loss, {table.val_loss[best]:.3g}."
    if table.index[0] == 0:
        kept += " Epoch 0 is what training began as; it is kept unless a later one is better beyond chance."
    return finish(figure, table.attrs, kept)


def confusion_cells(figure: Figure, ax: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    """A confusion matrix: share of each true class (row) given each label, with the counts (true, told)."""
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    shown = ax.imshow(np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(counts):
        part = share[row, column]
        text = f"{part:.0%}\n{int(value):,}" if np.isfinite(part) else "none"
        ax.text(column, row, text, ha="center", va="center", fontsize=6.8, color="white" if part > 0.55 else "#222222")
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    figure.colorbar(shown, ax=ax, label="share of the true class", shrink=0.8, format="{x:.0%}")
    figure.tight_layout()


def counted(scores: xr.Dataset, split: str, intervals: str = "bars") -> str:
    """How much of a split was scored, in the scores' own unit, and what shows the 95 % intervals ("": nothing)."""
    here, unit = scores.sel(split=split), scores.attrs.get("unit", "pixels")
    said = f"{split} split: {int(here.n_samples):,} {unit} in {int(here.n_blocks):,} blocks"
    return f"{said}; {intervals} are 95 % intervals from resampling whole blocks." if intervals else f"{said}."


def dots(ax: Axes, values: list[xr.DataArray], models: list[str]) -> None:
    """One row a category, models side by side within it: dot and interval (values, low, high), dims (model, row)."""
    centre, low, high = (np.asarray(v.transpose("model", ...).values, float).reshape(len(models), -1) for v in values)
    rows = np.arange(centre.shape[1])
    step = 0.6 / max(1, len(models))
    for m, (model, look) in enumerate(model_looks(models).items()):
        place = rows + (m - (len(models) - 1) / 2) * step
        ax.hlines(place, low[m], high[m], color=look["color"], linewidth=1.6, zorder=2)
        ax.plot(centre[m], place, linestyle="none", label=model, **look)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x")


def rows_of_dots(
    values: list[xr.DataArray], models: list[str], names: list[str], row_in: float, width_in: float = 6.8
) -> tuple[Figure, Axes]:
    """A figure of `dots`: a named row a category, each `row_in` inches high, and the models above."""
    figure, ax = plt.subplots(figsize=(width_in, 1.1 + row_in * max(1, len(names))))
    dots(ax, values, models)
    ax.set_yticks(range(len(names)), names)
    banded(ax, len(names))
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    ax.legend(ncols=len(models), loc="lower right", bbox_to_anchor=(1, 1))
    return figure, ax


def model_lines(
    ax: Axes, x: np.ndarray, scores: xr.Dataset, name: str, apart: float, only: Sequence[str] | None = None
) -> None:
    """A line a model over `x`, with intervals where there are some, models side by side, `apart` from first to last.

    `only`: of some models, each as it looks among all of them.
    """
    looks = model_looks(models_of(scores))
    models = list(looks) if only is None else [model for model in looks if model in only]
    for m, model in enumerate(models):
        one, look = scores.sel(model=model), looks[model]
        place = x + (m - (len(models) - 1) / 2) * apart / max(1, len(models))
        if f"{name}_low" in one:
            ax.vlines(place, one[f"{name}_low"], one[f"{name}_high"], color=look["color"], linewidth=1.3, zorder=2)
        small = look | {"markersize": look["markersize"] - 2}
        ax.plot(place, one[name], label=model, linewidth=1.5 if look["zorder"] == 4 else 0.75, ls=dashes(look), **small)
    ax.grid(axis="y")


@styled
def skill(scores: xr.Dataset, split: str = "test") -> Figure:
    """Draw every metric with its 95 % interval, the network beside the baselines.

    Parameters
    ----------
    scores : Dataset with ``score``, ``score_low``, ``score_high`` (model, split, metric), ``n_samples`` and ``n_blocks``
        As in a run's scores.nc.
    split : str
        Which part of the data: ``test`` is the one that nothing was chosen on.
    """
    models = models_of(scores)
    metrics = known_metrics(scores, split)
    rows = -(-len(metrics) // 6)
    columns = -(-len(metrics) // rows)
    size = 1.3 + 1.75 * columns, rows * (0.9 + 0.36 * len(models))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for place, (ax, metric) in enumerate(zip(axes.flat, metrics, strict=False)):
        one = scores.sel(split=split, metric=metric)
        digits = digits_of(one.score.values)
        for row, (model, look) in enumerate(model_looks(models).items()):
            here = one.sel(model=model)
            ax.hlines(row, here.score_low, here.score_high, color=look["color"], linewidth=2)
            ax.plot(here.score, row, linestyle="none", **look)
            text = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5, "color": look["color"]}
            if np.isfinite(here.score):
                ax.annotate(f"{float(here.score):.{digits}f}", (float(here.score), row), xytext=(0, 6), **text)
        ax.set_ylim(len(models) - 0.5, -0.6)
        ax.set_yticks(range(len(models)), models if place % columns == 0 else [])
        ax.margins(x=0.18)
        ax.grid(axis="x")
        worse = lower_is_better(metric, scores.attrs)
        ax.set_title(textwrap.fill(readable(metric, scores.attrs), 20))
        ax.set_xlabel("lower is better" if worse else "higher is better", fontsize=7.5, color="#777777")
        if not worse:  # a margin may be below nought
            ax.set_xlim(min(-0.04, float(one.score_low.fillna(one.score).min()) - 0.04), 1.04)
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    figure.tight_layout(w_pad=1.2)
    return finish(figure, scores.attrs, counted(scores, split))


def known_metrics(scores: xr.Dataset, split: str) -> list[str]:
    """Metrics that some model has in this split: forecasts without deaths have no CRPS."""
    known = np.isfinite(scores.score.sel(split=split)).any("model")
    return [str(metric) for metric in scores.metric.values[known.values]]


def digits_of(values: np.ndarray) -> int:
    """Decimals that tell models apart: two, and more where all scores are small, as Brier scores of rare events are."""
    largest = np.nanmax(np.abs(values), initial=0)
    return 2 if not 0 < largest < 0.2 else min(6, int(2 - np.floor(np.log10(largest))))


def models_of(scores: xr.Dataset) -> list[str]:
    """Names of the models, the network first."""
    return [str(model) for model in scores["model"].values]


def metric_of(scores: xr.Dataset, metric: str | None = None) -> str:
    """The metric to draw, the headline when left out; refused with the list where there is none of that name."""
    metric = str(scores.attrs.get("headline", scores["metric"].values[0])) if metric is None else metric
    if metric not in scores["metric"].values:
        raise ValueError(
            f"No metric {metric!r} in these scores; there are {', '.join(map(str, scores['metric'].values))}."
        )
    return metric


def with_better(metric: str, attrs: Mapping[Any, Any]) -> str:
    """The label of a metric's axis: its name, and which way it points."""
    return f"{readable(metric, attrs)} ({'lower' if lower_is_better(metric, attrs) else 'higher'} is better)"


def needed(scores: xr.Dataset, variable: str) -> None:
    """Refuse scores without a variable, which an older geonb made."""
    if variable not in scores:
        raise ValueError(f"These scores hold no {variable!r} (made by an older geonb). Run 04_analytics again.")


@styled
def source_scores(scores: xr.Dataset, metric: str | None = None, split: str = "test") -> Figure:
    """Draw one metric of each source with its interval, models side by side: does one number hide a bad scene?

    Parameters
    ----------
    scores : Dataset with ``source_score`` (model, split, source, metric), its ``_low``/``_high``, ``source_samples``, ``source_blocks``
        Sources without a pixel in the split are left out, and named.
    metric : str, optional
        The headline when left out.
    """
    needed(scores, "source_score")
    metric, models, unit = metric_of(scores, metric), models_of(scores), scores.attrs.get("unit", "pixels")
    whole = scores.sel(split=split, metric=metric)
    seen = (whole.source_samples > 0).values
    kept, several = whole.isel(source=np.flatnonzero(seen)), len(set(scores.dataset.values.tolist())) > 1
    names = []
    for one in range(kept.sizes["source"]):
        at = kept.isel(source=one)
        name = f"{at.source.item()} ({at.dataset.item()})" if several else str(at.source.item())
        names.append(f"{name}\n{int(at.source_samples):,} {unit}, {int(at.source_blocks):,} blocks")
    values = [kept.source_score, kept.source_score_low, kept.source_score_high]
    figure, ax = rows_of_dots(values, models, names, 0.2 * (len(models) + 0.9))
    colour = model_looks(models)[models[0]]["color"]
    ax.axvline(float(whole.score.isel(model=0)), color=colour, linewidth=0.8, linestyle=":")
    ax.set_xlabel(with_better(metric, scores.attrs))
    ax.set_title(f"{readable(metric)} of each source", pad=22)
    if not lower_is_better(metric, scores.attrs):
        ax.set_xlim(-0.01, 1)
    figure.tight_layout()
    gone = ", ".join(str(name) for name in scores.source.values[~seen])
    none = f"No {unit.removesuffix('s')} of this split: {gone}." if gone else ""
    dotted = f"Dotted: {models[0]} over all sources. No bar where a source has one block only."
    return finish(figure, scores.attrs, counted(scores, split), dotted, none)


@styled
def reliability(scores: xr.Dataset, split: str = "test") -> Figure:
    """Draw how often the winning class was right (or the event came) against the probability given: on the diagonal is honest.

    Parameters
    ----------
    scores : Dataset with ``confidence``, ``hit_rate``, ``bin_samples`` (model, split, bin)
        Mean probability given, share that was right (or had an event) and number of pixels (or cell-months) of each bin of
        equal width.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks, eq. 2-3 and 5 (arXiv 1706.04599).
    """
    curve, unit = scores[["confidence", "hit_rate", "bin_samples"]].sel(split=split), scores.attrs.get("unit", "pixels")
    events = (
        "class" not in scores.dims
    )  # forecasts of an event: what is judged is its own probability, not the winner's
    figure, (ax, bars) = plt.subplots(2, 1, figsize=(4.6, 5), height_ratios=(3, 1), sharex=True)
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    along = {"rotation": 45, "rotation_mode": "anchor", "transform_rotates_text": True}
    ax.text(0.06, 0.02, "as sure as it should be", fontsize=7, color="#888888", **along)
    bounds = np.linspace(0, 1, curve.sizes["bin"] + 1)
    for model, look in model_looks(models_of(scores)).items():
        one = curve.sel(model=model)
        pixels = one.bin_samples.values
        total, seen = max(1, pixels.sum()), pixels >= 30  # fewer pixels draw noise, not a curve
        gap = np.nansum(pixels * abs(one.confidence - one.hit_rate).values) / total
        look = look | {"markersize": look["markersize"] - 2}
        ax.plot(one.confidence[seen], one.hit_rate[seen], label=f"{model} (ECE {gap:.3f})", ls=dashes(look), **look)
        bars.stairs(pixels / total, bounds, color=look["color"])
    said = "share with an event" if events else "share that was right"
    ax.set(ylabel=said, ylim=(0, 1), xlim=(0, 1), title="Can its probabilities be believed?")
    given = "probability of an event" if events else "probability of the winning class"
    bars.set(xlabel=given, ylabel=f"share of\n{unit}", ylim=(0, None))
    if events:  # nearly all lie in the lowest bin
        bars.set(yscale="log", ylim=(1e-5, 2))
    ax.grid()
    ax.legend(loc="lower right" if events else "upper left", frameon=True, edgecolor="none", framealpha=0.85)
    figure.tight_layout()
    bins = f"Bins under 30 {unit} are left out. ECE: mean distance to the diagonal (expected calibration error)."
    return finish(figure, scores.attrs, f"{split} split: {int(scores.n_samples.sel(split=split)):,} {unit}. {bins}")


def other_scores(scores: xr.Dataset) -> dict[str, xr.Dataset]:
    """Scores of the same metrics over other units, as events by the votes of their windows: what they are -> Dataset as of `score`.

    They are variables ``<name>_score (model, split, metric)`` with ``_low`` and ``_high``, and `long_name` says what they are.
    """
    found = {}
    for name, one in scores.data_vars.items():
        if str(name).endswith("_score") and one.dims == scores["score"].dims and "long_name" in one.attrs:
            parts = {f"score{end}": scores[f"{name}{end}"] for end in ("", "_low", "_high")}
            found[str(one.attrs["long_name"])] = scores.drop_vars(list(parts)).assign(parts)
    return found


def score_table(scores: xr.Dataset, split: str = "test") -> pd.DataFrame:
    """Tabulate the scores as "0.74 [0.70, 0.78]": a row a model, the headline metric first.

    Parameters
    ----------
    scores : Dataset with ``score``, ``score_low``, ``score_high`` (model, split, metric)
    """
    part = scores.sel(split=split)
    headline = scores.attrs.get("headline")
    metrics = sorted(known_metrics(scores, split), key=lambda metric: metric != headline)
    digits = {metric: digits_of(part.score.sel(metric=metric).values) for metric in metrics}
    rows = {
        model: {readable(one, scores.attrs): written(part.sel(model=model, metric=one), digits[one]) for one in metrics}
        for model in models_of(scores)
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def written(one: xr.Dataset, digits: int = 2) -> str:
    """A score as ``0.74 [0.70, 0.78]``; without the interval where there is none, and "-" where there is no value."""
    value, low, high = (float(one[name]) for name in ("score", "score_low", "score_high"))
    if not np.isfinite(value):
        return "-"
    shown = f"{value:.{digits}f}"
    return f"{shown} [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) and np.isfinite(high) else shown
