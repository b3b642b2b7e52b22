"""Figures of how good forecasts are: ROC and precision-recall curves, skill by lead, month, outcome and country."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from geonb.plots.cells import month
from geonb.plots.scores import (
    counted,
    metric_of,
    model_lines,
    models_of,
    needed,
    readable,
    rows_of_dots,
    with_better,
    written,
)
from geonb.plots.style import SPLIT_COLOURS, dashes, finish, legend_above, model_looks, styled, swatches
from geonb.workloads.conflict.death_scores import NAMES

MOST_COUNTRIES = 20
SHADE = 0.22


@styled
def roc_pr(scores: xr.Dataset, split: str = "test") -> Figure:
    """Draw the ROC and the precision-recall curve of the network and the baselines, and what chance would give.

    Parameters
    ----------
    scores : Dataset with ``roc_fpr``, ``roc_tpr``, ``pr_recall``, ``pr_precision`` (model, split, point), ``prevalence`` (split)
        and ``score``, ``score_low``, ``score_high`` of ``auroc`` and ``average_precision``

    References
    ----------
    Saito and Rehmsmeier 2015, The precision-recall plot is more informative than the ROC plot on imbalanced data.
    """
    for name in ("roc_fpr", "roc_tpr", "pr_recall", "pr_precision"):
        needed(scores, name)
    here = scores.sel(split=split)
    height = 5.2 + 0.17 * scores.sizes["model"]
    figure, (roc, pr) = plt.subplots(1, 2, figsize=(9.6, height), layout="constrained")
    for model, look in model_looks(models_of(scores)).items():
        one, line = here.sel(model=model), _line(look)
        recall, precision = one.pr_recall.values, one.pr_precision.values
        order = np.flatnonzero(np.isfinite(recall) & np.isfinite(precision))
        order = order[np.lexsort([-precision[order], recall[order]])]
        label = f"{model}, {_interval(one, 'auroc')}"
        roc.plot(one.roc_fpr, one.roc_tpr, label=label, **line)
        # steps, as average precision counts them: a straight line between two thresholds promises too much
        label = f"{model}, {_interval(one, 'average_precision')}"
        pr.plot(recall[order], precision[order], label=label, drawstyle="steps-pre", **line)
    prevalence = float(here.prevalence.max()) if "prevalence" in here else np.nan
    roc.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    pr.axhline(prevalence, color="#999999", linewidth=0.8, linestyle=":")
    # at the left, where curves that are worth a look are high, on paper of its own
    above = {"xytext": (0, 4), "textcoords": "offset points", "fontsize": 7.5, "color": "#555555", "zorder": 5}
    paper = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    pr.annotate(f"chance: {prevalence:.1%} of {_unit(scores)}", (0.03, prevalence), bbox=paper, **above)
    roc.set(title="ROC: AUROC", xlabel="false alarms / all without an event", ylabel="hits / all events (recall)")
    pr.set(title="Precision and recall: average precision", xlabel="hits / all events (recall)")
    pr.set_ylabel("hits / all warnings (precision)")
    for ax in (roc, pr):
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), aspect="equal")
        ax.grid()
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.13))
    return finish(figure, scores.attrs, counted(scores, split, "brackets"), below=0.03)


def _unit(scores: xr.Dataset) -> str:
    return str(scores.attrs.get("unit", "pixels"))


def _line(look: dict[str, Any]) -> dict[str, Any]:
    """A model's colour as a line; the network's is thicker, and dashes tell the others apart."""
    width = 2.2 if look["zorder"] == 4 else 1.3
    return {"color": look["color"], "zorder": look["zorder"], "linestyle": dashes(look), "linewidth": width}


def _interval(one: xr.Dataset, metric: str) -> str:
    return written(one.sel(metric=metric)) if metric in one.metric.values else ""


@styled
def skill_by_lead(scores: xr.Dataset, metrics: Sequence[str] | None = None, split: str = "test") -> Figure:
    """Draw how skill falls with the months ahead, network beside baselines, with 95 % intervals.

    Parameters
    ----------
    scores : Dataset with ``lead_score``, ``lead_score_low``, ``lead_score_high`` (model, split, lead, metric)
    metrics : sequence of str, optional
        The headline, and the Brier score where there is one, when left out.
    """
    needed(scores, "lead_score")
    wished = [metric_of(scores), "brier"] if metrics is None else [metric_of(scores, metric) for metric in metrics]
    metrics = [metric for metric in dict.fromkeys(wished) if metric in scores.metric.values]
    leads = scores.lead.values.astype(float)
    width = 3.4 + 0.16 * min(len(leads), 24)
    figure, axes = plt.subplots(1, len(metrics), figsize=(width * len(metrics), 3.5), squeeze=False)
    for ax, metric in zip(axes[0], metrics, strict=True):
        model_lines(ax, leads, scores.sel(split=split, metric=metric), "lead_score", 0.5)
        ax.set(xlabel="lead [months ahead]", ylabel=with_better(metric, scores.attrs), title=readable(metric))
        ax.set_xlim(leads.min() - 0.6, leads.max() + 0.6)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylim(0, None)
    legend_above(figure, axes[0, 0], min(scores.sizes["model"], 6))
    return finish(figure, scores.attrs, counted(scores, split))


@styled
def deaths_by_lead(scores: xr.Dataset, split: str = "test") -> Figure | None:
    """Draw CRPS, ignorance and interval score of the models that draw deaths, by lead; None where none does.

    The network's expected deaths, where it has no draws, stand in the first panel: the CRPS of a point is its absolute error.

    Parameters
    ----------
    scores : Dataset with ``lead_score``, ``lead_score_low``, ``lead_score_high`` (model, split, lead, metric), attribute ``drawn``
    """
    drawn = str(scores.attrs.get("drawn", "")).split(", ")
    models = [model for model in models_of(scores) if model in drawn or model == models_of(scores)[0]]
    if len(models) < 2:
        return None
    leads = scores.lead.values.astype(float)
    figure, axes = plt.subplots(1, len(NAMES), figsize=((3.1 + 0.12 * min(len(leads), 24)) * len(NAMES), 3.5))
    for ax, metric in zip(axes, NAMES, strict=True):
        model_lines(ax, leads, scores.sel(split=split, metric=metric), "lead_score", 0.5, models)
        title = {"ignorance": "ignorance", "interval_score": "90 % interval score"}.get(metric, "CRPS")
        ax.set(xlabel="lead [months ahead]", ylabel="bit" if metric == "ignorance" else "deaths", title=title)
        ax.set_xlim(leads.min() - 0.6, leads.max() + 0.6)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylim(0, None)
    legend_above(figure, axes[0], min(len(models), 6))
    point = "" if models[0] in drawn else f" {models[0]}: expected deaths only, so that its CRPS is its absolute error."
    told = f"Lower is better. {int(scores.attrs.get('members', 0))} draws a cell and month.{point}"
    return finish(figure, scores.attrs, counted(scores, split), told, below=0.03)


@styled
def skill_by_month(scores: xr.Dataset, metric: str | None = None, splits: Sequence[str] = ("val", "test")) -> Figure:
    """Draw the skill of each month's forecast through time, and how many events there were to forecast.

    Parameters
    ----------
    scores : Dataset with ``month_score`` (model, time, metric), ``month_events`` and ``month_split`` (time)
    metric : str, optional
        The headline when left out.
    """
    needed(scores, "month_score")
    metric, split_of = metric_of(scores, metric), scores.month_split.values.astype(str)
    here = scores.sel(metric=metric).isel(time=np.flatnonzero(np.isin(split_of, list(splits))))
    if here.sizes["time"] == 0:
        raise ValueError(f"No month of {', '.join(splits)} in these scores; they hold {sorted(set(split_of))}.")
    times, split_of = here.time.values, here.month_split.values.astype(str)
    figure, (ax, bars) = plt.subplots(2, 1, figsize=(9.6, 4.9), height_ratios=(2.6, 1), sharex=True)
    half = np.timedelta64(15, "D")
    for panel in (ax, bars):
        for name in dict.fromkeys(split_of):  # one piece a split: months of different lengths would leave stripes
            first, last = times[split_of == name][[0, -1]]
            colour = SPLIT_COLOURS.get(name, "#ffffff")
            panel.axvspan(first - half, last + half, facecolor=colour, alpha=SHADE, linewidth=0, zorder=0)
    for model, look in model_looks(models_of(scores)).items():
        look = look | {"markersize": look["markersize"] - 3}
        for name in dict.fromkeys(split_of):  # no line over the gap between two splits
            inside = split_of == name
            label = model if name == split_of[0] else None
            values = here.month_score.sel(model=model).values[inside]
            ax.plot(
                times[inside],
                values,
                label=label,
                linewidth=1.4 if look["zorder"] == 4 else 0.8,
                ls=dashes(look),
                **look,
            )
    bars.bar(date2num(times), here.month_events.values, width=20, color="#666666")
    ax.set(ylabel=readable(metric), ylim=(0, None), title=f"{readable(metric)} of the forecasts made for each month")
    bars.set(ylabel="events", xlabel="first month forecast")
    ax.grid(axis="y")
    legend_above(figure, ax, min(scores.sizes["model"], 6))
    handles = swatches({name: SPLIT_COLOURS[name] for name in dict.fromkeys(split_of) if name in SPLIT_COLOURS})
    for handle in handles:
        handle.set_alpha(SHADE)
    bars.legend(handles=handles, loc="upper left", ncols=len(handles), bbox_to_anchor=(0, -0.35))
    missing = int(here.month_score.isel(model=0).isnull().sum())
    said = f" Months without an event have no {readable(metric)}: {missing}." if missing else ""
    told = f"Events: {_unit(scores)} with an event among those forecast, all leads together.{said}"
    return finish(figure, scores.attrs, f"{month(times[0])} to {month(times[-1])}. {told}", below=0.04)


@styled
def outcome_scores(scores: xr.Dataset, metric: str | None = None, split: str = "test") -> Figure:
    """Draw one metric of each outcome (type of violence) with its interval, models side by side.

    Parameters
    ----------
    scores : Dataset with ``outcome_score`` (model, split, outcome, metric), its ``_low``/``_high`` where known
    metric : str, optional
        The headline when left out.
    """
    return _grouped(scores, "outcome", metric, split)


@styled
def country_scores(scores: xr.Dataset, metric: str | None = None, split: str = "test") -> Figure:
    """Draw one metric of each country with its interval, models side by side: does one number hide a bad country?

    Parameters
    ----------
    scores : Dataset with ``country_score`` (model, split, country, metric), its ``_low``/``_high`` where known, and
        ``country_events`` (split, country) where known: the countries with the most events come first
    metric : str, optional
        The headline when left out.
    """
    return _grouped(scores, "country", metric, split)


def _grouped(scores: xr.Dataset, group: str, metric: str | None, split: str) -> Figure:
    """Rows of dots, a row a member of `group`; those without a score are left out and counted."""
    name = f"{group}_score"
    needed(scores, name)
    metric, models = metric_of(scores, metric), models_of(scores)
    chosen = scores.sel(split=split, metric=metric)
    seen = np.flatnonzero(chosen[name].count("model").values)
    if f"{group}_events" in chosen:
        seen = seen[np.argsort(-chosen[f"{group}_events"].values[seen], kind="stable")]
    kept = chosen.isel({group: seen[:MOST_COUNTRIES]})
    nothing = xr.full_like(kept[name], np.nan)
    values = [kept[name], kept.get(f"{name}_low", nothing), kept.get(f"{name}_high", nothing)]
    names = [_named(kept.isel({group: i}), group) for i in range(kept.sizes[group])]
    figure, ax = rows_of_dots(values, models, names, 0.12 * (len(models) + 1))
    ax.set_xlabel(with_better(metric, scores.attrs))
    ax.set_title(f"{readable(metric)} of each {group}", pad=22)
    ax.set_xlim(0, None)
    figure.tight_layout()
    left = scores.sizes[group] - kept.sizes[group]
    told = f"Left out, with fewer events or none: {left}." if left else ""
    shown = "bars" if np.isfinite(values[1]).any() else ""
    return finish(figure, scores.attrs, counted(scores, split, shown), told)


def _named(at: xr.Dataset, group: str) -> str:
    """Name of a row; a country by its name where the scores know it, else by UCDP's number."""
    name = str(at[f"{group}_name"].item()) if f"{group}_name" in at else str(at[group].item())
    name = f"country {name}" if name.isdigit() else name
    events = at.get(f"{group}_events")
    return name if events is None else f"{name}\n{int(events):,} events"


@styled
def diagonal_roc(window_scores: xr.Dataset) -> Figure:
    """Draw the ROC of single cells of the windows, those on the diagonal: is a forecast worse towards a window's corners?

    Parameters
    ----------
    window_scores : Dataset with ``diagonal_fpr``, ``diagonal_tpr`` (pixel, point) and ``diagonal_auroc`` (pixel)
        ``pixel``: position on the diagonal, 0 is the corner.
    """
    for name in ("diagonal_fpr", "diagonal_tpr", "diagonal_auroc"):
        needed(window_scores, name)
    number = window_scores.sizes["pixel"]
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, number))
    figure, (roc, bars) = plt.subplots(1, 2, figsize=(8.2, 3.7))
    for place, colour in enumerate(colours):
        one = window_scores.isel(pixel=place)
        roc.plot(one.diagonal_fpr, one.diagonal_tpr, color=colour, linewidth=1)
    roc.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    roc.set(xlabel="false alarms / all without an event", ylabel="hits / all events", title="ROC of single cells")
    roc.set_aspect("equal")
    bars.bar(range(number), window_scores.diagonal_auroc.values, color=colours)
    bars.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    bars.set(ylim=(0, 1), xlabel="place on the window's diagonal", ylabel="AUROC", title="From corner to corner")
    for ax in (roc, bars):
        ax.grid(axis="y")
    figure.tight_layout()
    return finish(figure, window_scores.attrs, "One curve a cell of the windows' diagonal; colours as in the bars.")
