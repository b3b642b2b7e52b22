"""Figures and tables of how good a model is: curves of training, scores with intervals, confusion, reliability."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.plots_style import class_colours, finish, model_looks, styled

LOWER_IS_BETTER = {"log_loss", "brier", "loss", "rmse", "mae", "crps"}
NAMES = {
    "accuracy": "accuracy",
    "mean_iou": "mean IoU",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "iou": "IoU",
    "f1": "F1",
}


def readable(metric: str) -> str:
    """The name a reader expects: ``mean_iou`` -> ``mean IoU``."""
    return NAMES.get(metric, metric.replace("_", " "))


@styled
def learning_curves(log: str | Path | pd.DataFrame, metric: str | None = None) -> Figure:
    """Draw loss and metric per epoch, with the epoch whose weights are kept.

    Parameters
    ----------
    log : path of a run's log.csv, or its DataFrame
        Columns ``epoch``, ``train_loss``, ``val_loss`` and at least one ``val_<metric>``.
    metric : str, optional
        Which ``val_<metric>`` chose the epoch; the first in the table when left out, the loss when there is none.
    """
    table = log if isinstance(log, pd.DataFrame) else pd.read_csv(log)
    if "epoch" not in table or len(table) == 0:
        raise ValueError(
            f"No epochs to draw: the log has columns {list(table.columns)} and {len(table)} rows. Train first."
        )
    table = table.groupby("epoch").last()  # Lightning's logger spreads an epoch over several rows
    losses = [column for column in table if str(column).endswith("loss")]
    metrics = [f"val_{metric}"] if metric else [c for c in table if str(c).startswith("val_") and c not in losses][:1]
    chosen = metrics[0] if metrics else "val_loss"
    if chosen not in table:
        raise ValueError(f"The log has no column {chosen!r}; it has {list(table.columns)}.")
    falling = chosen.removeprefix("val_") in LOWER_IS_BETTER
    best = (table[chosen].idxmin if falling else table[chosen].idxmax)()
    figure, axes = plt.subplots(1, 1 + bool(metrics), figsize=(4.2 * (1 + bool(metrics)), 2.9), squeeze=False)
    groups = [losses] + ([[c for c in (chosen.replace("val_", "train_"), chosen) if c in table]] if metrics else [])
    for ax, columns in zip(axes[0], groups, strict=True):
        for column in columns:
            kind = "validation" if str(column).startswith("val") else "training"
            look = {"color": "#b5400f"} if kind == "validation" else {"color": "#4a6d8c", "linestyle": "--"}
            ax.plot(table.index + 1, table[column], marker="o", markersize=2.5, label=kind, **look)
        ax.axvline(best + 1, color="#555555", linewidth=0.8, linestyle=":")
        ax.set(xlabel="epoch", title="loss" if columns is losses else readable(chosen.removeprefix("val_")))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(axis="y")
        ax.legend()
    figure.tight_layout()
    lead = readable(chosen.removeprefix("val_"))
    kept = f"Dotted: epoch {best + 1} of {len(table)}, kept for its validation {lead} of {table[chosen][best]:.3g}."
    return finish(figure, table.attrs | log.attrs if isinstance(log, pd.DataFrame) else {}, kept)


def _counted(scores: xr.Dataset, split: str) -> str:
    here = scores.sel(split=split)
    return (
        f"{split} split: {int(here.n_pixels):,} pixels in {int(here.n_blocks):,} blocks; "
        "bars are 95 % intervals from resampling whole blocks."
    )


def _dots(ax: Axes, values: list[xr.DataArray], models: list[str]) -> None:
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


@styled
def skill(scores: xr.Dataset, split: str = "test") -> Figure:
    """Draw every metric with its 95 % interval, the network beside the baselines.

    Parameters
    ----------
    scores : Dataset with ``score``, ``score_low``, ``score_high`` (model, split, metric), ``n_pixels`` and ``n_blocks``
        As in a run's scores.nc.
    split : str
        Which part of the data: ``test`` is the one that nothing was chosen on.
    """
    models, metrics = [str(m) for m in scores.model.values], [str(m) for m in scores.metric.values]
    figure, axes = plt.subplots(
        1, len(metrics), figsize=(1.3 + 1.75 * len(metrics), 0.9 + 0.36 * len(models)), squeeze=False
    )
    for ax, metric in zip(axes[0], metrics, strict=True):
        one = scores.sel(split=split, metric=metric)
        for row, (model, look) in enumerate(model_looks(models).items()):
            here = one.sel(model=model)
            ax.hlines(row, here.score_low, here.score_high, color=look["color"], linewidth=2)
            ax.plot(here.score, row, linestyle="none", **look)
            text = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5, "color": look["color"]}
            ax.annotate(f"{float(here.score):.2f}", (float(here.score), row), xytext=(0, 6), **text)
        ax.set_ylim(len(models) - 0.5, -0.6)
        ax.set_yticks(range(len(models)), models if ax is axes[0, 0] else [])
        ax.margins(x=0.18)
        ax.grid(axis="x")
        worse = metric in LOWER_IS_BETTER
        ax.set_title(readable(metric))
        ax.set_xlabel("lower is better" if worse else "higher is better", fontsize=7.5, color="#777777")
        if not worse:
            ax.set_xlim(-0.04, 1.04)
    figure.tight_layout(w_pad=1.2)
    return finish(figure, scores.attrs, _counted(scores, split))


@styled
def class_scores(scores: xr.Dataset, metric: str = "iou", split: str = "test") -> Figure:
    """Draw one metric of each class with its interval, models side by side, with the class's share of the split.

    Parameters
    ----------
    scores : Dataset with ``class_score`` (model, split, class, class_metric), its ``_low``/``_high`` and ``prevalence``
    metric : str
        One of the Dataset's ``class_metric``.
    """
    here = scores.sel(split=split, class_metric=metric)
    models, classes = [str(m) for m in scores.model.values], [str(c) for c in scores["class"].values]
    figure, ax = plt.subplots(figsize=(6.4, 0.9 + 0.2 * (len(models) + 0.6) * len(classes)))
    _dots(ax, [here.class_score, here.class_score_low, here.class_score_high], models)
    colours = class_colours(classes, scores.attrs)
    share = here.prevalence.values
    ax.set_yticks(range(len(classes)), [f"{c}\n{p:.1%} of pixels" for c, p in zip(classes, share, strict=True)])
    for row, colour in enumerate(colours.values()):
        ax.plot(-0.03, row, marker="s", markersize=8, color=colour, transform=ax.get_yaxis_transform(), clip_on=False)
        if row % 2:
            ax.axhspan(row - 0.5, row + 0.5, color="#f7f7f7", zorder=0)
    ax.tick_params(axis="y", length=0, pad=18)
    ax.set(xlim=(-0.01, 1), xlabel=readable(metric), title=f"{readable(metric)} of each class")
    ax.legend(ncols=len(models), loc="lower right", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    return finish(figure, scores.attrs, _counted(scores, split))


@styled
def confusion(scores: xr.Dataset, model: str | None = None, split: str = "test") -> Figure:
    """Draw the confusion matrix: share of each true class (row) given each label, with the pixel counts.

    Parameters
    ----------
    scores : Dataset with ``confusion`` (model, split, true, predicted), pixels
    model : str, optional
        The network (the first model) when left out.
    """
    model = str(scores.model.values[0]) if model is None else model
    counts = scores.confusion.sel(model=model, split=split).transpose("true", "predicted")
    total = counts.sum("predicted")
    share = (counts / total.where(total > 0)).values
    names = [str(name) for name in counts.true.values]
    size = 1.6 + 0.62 * len(names)
    figure, ax = plt.subplots(figsize=(size + 1.1, size))
    shown = ax.imshow(np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(counts.values):
        part = share[row, column]
        text = f"{part:.0%}\n{int(value):,}" if np.isfinite(part) else "no\npixels"
        ax.text(column, row, text, ha="center", va="center", fontsize=6.8, color="white" if part > 0.55 else "#222222")
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="label given", ylabel="true class", title=f"Where the pixels of each class went: {model}")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    figure.colorbar(shown, ax=ax, label="share of the true class", shrink=0.8, format="{x:.0%}")
    figure.tight_layout()
    return finish(figure, scores.attrs, f"{split} split: {int(counts.sum()):,} pixels; rows add up to 100 %.")


def calibration(predictions: xr.DataTree, split: str = "test", bins: int = 10) -> xr.Dataset:
    """Count how often the winning class was right, by the probability it was given.

    Parameters
    ----------
    predictions : DataTree
        Groups with ``probability`` (model, class, y, x), ``truth`` and ``split`` (y, x).

    Returns
    -------
    Dataset (model, bin): ``count`` pixels, ``confidence`` mean winning probability, ``accuracy`` share that was right

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks, eq. 2-3 (arXiv 1706.04599).
    """
    wanted = ["none", "train", "val", "test"].index(split)
    first = next(iter(predictions.children.values()))
    models = first["model"].values
    sums = np.zeros((3, len(models), bins))  # pixels, sum of probabilities, number right
    for group in predictions.children.values():
        for start in range(0, group.sizes["y"], 512):  # strips: a scene's probabilities need not fit into memory
            strip = group.to_dataset()[["probability", "truth", "split"]].isel(y=slice(start, start + 512))
            sums += _strip_sums(strip, wanted, bins)
    count = sums[0]
    mean = np.divide(sums[1:], count, out=np.full_like(sums[1:], np.nan), where=count > 0)
    return xr.Dataset(
        {
            "count": (("model", "bin"), count.astype(int)),
            "confidence": (("model", "bin"), mean[0]),
            "accuracy": (("model", "bin"), mean[1]),
        },
        coords={"model": models, "bin": (np.arange(bins) + 0.5) / bins},
        attrs={**predictions.attrs, "split": split},
    )


def _strip_sums(strip: xr.Dataset, wanted: int, bins: int) -> np.ndarray:
    """Pixels, sum of winning probabilities and number right: (3, model, bin)."""
    truth, values = strip.truth.values, strip.probability.transpose("model", "class", "y", "x").values
    here = (strip.split.values == wanted) & (truth != 255) & np.isfinite(values).all((0, 1))
    truth, values = truth[here], values[:, :, here]  # (pixel,), (model, class, pixel)
    top, right = values.max(1), values.argmax(1) == truth
    place = np.minimum((top * bins).astype(int), bins - 1)
    weights = (np.ones_like(top), top, right)
    return np.array([[np.bincount(p, w, bins) for p, w in zip(place, weight, strict=True)] for weight in weights])


@styled
def reliability(data: xr.DataTree | xr.Dataset, split: str = "test") -> Figure:
    """Draw how often the winning class is right against the probability it was given: on the diagonal is honest.

    Parameters
    ----------
    data : predictions DataTree, or what `calibration` made of it
    """
    curve = data if isinstance(data, xr.Dataset) else calibration(data, split)
    figure, (ax, bars) = plt.subplots(2, 1, figsize=(4.6, 5), height_ratios=(3, 1), sharex=True)
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    look = {
        "rotation": 45,
        "rotation_mode": "anchor",
        "transform_rotates_text": True,
        "fontsize": 7,
        "color": "#888888",
    }
    ax.text(0.06, 0.02, "as sure as it should be", **look)
    width = float(curve.bin[1] - curve.bin[0])
    for model, look in model_looks([str(m) for m in curve.model.values]).items():
        one = curve.sel(model=model)
        seen = one["count"].values >= 30  # fewer pixels draw noise, not a curve
        gap = float((one["count"] * abs(one.confidence - one.accuracy)).sum() / max(1, int(one["count"].sum())))
        look = look | {"markersize": look["markersize"] - 2}
        ax.plot(one.confidence[seen], one.accuracy[seen], label=f"{model} (ECE {gap:.3f})", **look)
        heights = one["count"] / max(1, int(one["count"].sum()))
        bars.stairs(heights, np.append(one.bin - width / 2, one.bin[-1] + width / 2), color=look["color"])
    ax.set(ylabel="share that was right", ylim=(0, 1), xlim=(0, 1), title="Can its probabilities be believed?")
    bars.set(xlabel="probability of the winning class", ylabel="share of pixels", ylim=(0, None))
    ax.grid()
    ax.legend(loc="upper left")
    figure.tight_layout()
    counted = int(curve["count"].isel(model=0).sum())
    note = f"{curve.attrs.get('split', split)} split: {counted:,} pixels; bins under 30 pixels left out. ECE: mean distance to the diagonal."
    return finish(figure, curve.attrs, note)


def score_table(scores: xr.Dataset, split: str = "test") -> pd.DataFrame:
    """Tabulate the scores as "0.74 [0.70, 0.78]": a row a model, the headline metric first.

    Parameters
    ----------
    scores : Dataset with ``score``, ``score_low``, ``score_high`` (model, split, metric)
    """
    here = scores.sel(split=split)
    headline = scores.attrs.get("headline")
    metrics = sorted((str(m) for m in scores.metric.values), key=lambda metric: metric != headline)
    rows = {
        str(model): {
            readable(metric): _with_interval(*(float(here[v].sel(model=model, metric=metric)) for v in _SCORE))
            for metric in metrics
        }
        for model in scores.model.values
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


_SCORE = ("score", "score_low", "score_high")


def _with_interval(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(low) and np.isfinite(high) else f"{value:.2f}"
