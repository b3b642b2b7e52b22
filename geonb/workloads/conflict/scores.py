"""How good forecasts are, and compared with what: network and baselines side by side, with intervals, by lead, month, place.

Counts come from :mod:`geonb.workloads.conflict.cells`. Scores are of all leads together and the mean over outcomes, unless they are by
lead or by outcome.

Errors of forecasts go together in space (a restless district is misjudged in every month) and in time (a calm quarter is
overrated everywhere). The intervals therefore resample both: blocks of cells and calendar quarters of the forecast month,
independently, a forecast counting as often as its block times its quarter was drawn (Owen 2007, the pigeonhole bootstrap, arXiv
0712.1111), which errs on the wide side. ``score_by`` and ``gain_by`` show what resampling only one of them would have said.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from geonb.scores.bootstrap import Arrays, Variables, by_split, with_gain
from geonb.scores.ranking import auroc
from geonb.workloads.conflict import cells as conflict_cells
from geonb.workloads.conflict.cells import COARSE, FINE, MEDIUM, SUMS, Cells, block_variables, count, lower_edge
from geonb.workloads.conflict.death_scores import NAMES

METRICS = ("average_precision", "auroc", "brier", "log_loss", "f1", "precision", "recall", *NAMES)
RESAMPLINGS = ("both", "months", "cells")
POINTS = 201


def score_forecasts(predictions: xr.DataTree, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Score every model of a predictions tree on every split, with 95 % block-bootstrap intervals.

    Average precision and AUROC are ranks in 25,000 bins of probability: they agree with scikit-learn's to 1e-3. F1, precision
    and recall are at each model's own ``threshold``, the one with the highest F1 in the validation months. CRPS, ignorance and
    interval score are those of :func:`geonb.workloads.conflict.death_scores.draw_scores`; of models that forecast expected deaths
    only, the CRPS is that of a point forecast, the mean absolute error, and the others are NaN (attribute ``drawn``: the models
    that have draws, each as many as ``members``).

    Parameters
    ----------
    predictions : DataTree, from :func:`geonb.open_predictions`
    draws : int
        Bootstrap draws; 0 leaves the intervals NaN.

    Returns
    -------
    Dataset, the first four with ``_low`` and ``_high``:
        ``score``, ``gain (model, split, metric)``: gain is the network's score minus the model's, over the same draws;
        ``lead_score``, ``lead_gain (model, split, lead, metric)``; ``outcome_score``, ``outcome_gain (model, split, outcome,
        metric)``; ``score_by_low``, ``score_by_high``, ``gain_by_low``, ``gain_by_high (resampling, model, split, metric)``;
        ``month_score (model, time, metric)`` with ``month_events``, ``month_split (time)``; ``country_score (model, split,
        country, metric)`` with ``country_events (split, country)``; ``confusion_counts (model, split, outcome, cell)`` and
        ``month_confusion (model, time, cell)`` of tn, fp, fn, tp; ``threshold (model, outcome)``; ``confidence``, ``hit_rate``,
        ``bin_samples (model, split, bin)``; ``roc_fpr``, ``roc_tpr``, ``pr_recall``, ``pr_precision (model, split, point)``;
        ``n_samples`` (forecasts), ``n_blocks``, ``prevalence (split)``. By block of cells and quarter, of the network, to compare
        runs (:func:`geonb.scores.scores.compare`): ``block_counts (outcome, block, event, level)`` by level of probability,
        ``block_sums (outcome, block, sum)``, ``block_split``, ``block_quarter``, ``block_place (block)``, ``block_truth (split)``.

    Raises
    ------
    ValueError
        If no forecast is of a month that is known.
    """
    cells = count(predictions)
    kinds, tails = ("score", "gain"), {"": (), "lead_": ("lead",), "outcome_": ("outcome",)}
    dims = {name + kind: ("model", "split", *tail, "metric") for name, tail in tails.items() for kind in kinds}
    dims |= {f"{kind}_by": ("resampling", "model", "split", "metric") for kind in kinds}
    variables = by_split(lambda split, key: _split_scores(cells, split, draws, key), cells.splits, seed, dims)
    variables |= _by_month(cells) | _by_country(cells) | _counts(cells) | _curves(cells) | block_variables(cells)
    known = dict(predictions.attrs.get("countries", {}))
    names = [known.get(str(code), "no events" if code == 0 else f"country {code}") for code in cells.country]
    coords = {
        "model": cells.models, "split": cells.splits, "metric": list(METRICS), "lead": cells.leads,
        "outcome": cells.outcomes, "time": cells.times, "resampling": list(RESAMPLINGS), "country": cells.country,
        "country_name": ("country", names), "cell": ["tn", "fp", "fn", "tp"], "event": [0, 1], "sum": list(SUMS),
    }  # fmt: skip
    keep = ("workload", "title", "run", "simulated", "notes", "colours", "network", "precision", "steps", "start")
    attrs = {k: predictions.attrs[k] for k in keep if k in predictions.attrs}
    months = conflict_cells.BLOCK_MONTHS
    attrs |= {
        "headline": "average_precision", "draws": draws, "unit": "cell-months", "block": cells.side, "block_months": months,
        "resampling": f"blocks of {cells.side} x {cells.side} cells and, independently, of {months} calendar months",
    }  # fmt: skip
    data = predictions["grid"].to_dataset()
    drawn = [str(model) for model in data["drawn"].values] if "drawn" in data.coords else []
    return xr.Dataset(variables, coords, attrs | {"drawn": ", ".join(drawn), "members": data.sizes.get("member", 0)})


def metrics_of(table: np.ndarray, bins: int) -> np.ndarray:
    """Metrics (..., metric) in the order of METRICS from summed counts (..., column); NaN where undefined.

    Parameters
    ----------
    table : array (..., column), see :func:`geonb.workloads.conflict.cells.width`
    """
    without, events = table[..., :bins], table[..., bins : 2 * bins]
    total, number = events.sum(-1), without.sum(-1) + events.sum(-1)
    sums = dict(zip(SUMS, np.moveaxis(table[..., 2 * bins :], -1, 0), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        alarms = sums["tp"] + sums["fp"]
        found = {
            "average_precision": average_precision(without, events),
            "auroc": auroc(without, events),
            "brier": sums["brier"] / number,
            "log_loss": sums["log_loss"] / number,
            "f1": np.where(total > 0, 2 * sums["tp"] / (alarms + total), np.nan),
            "precision": sums["tp"] / alarms,
            "recall": sums["tp"] / total,
            "crps": sums["crps"] / sums["n_deaths"],
            "ignorance": sums["ignorance"] / sums["n_drawn"],
            "interval_score": sums["interval_score"] / sums["n_drawn"],
        }
    return np.stack([found[name] for name in METRICS], axis=-1)


def average_precision(without: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Sum of precision times gain in recall over the bins from the highest down; counts (..., bin) in ascending order."""
    hits, alarms = np.cumsum(events[..., ::-1], -1), np.cumsum((without + events)[..., ::-1], -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (hits / np.maximum(alarms, 0.5) * events[..., ::-1]).sum(-1) / events.sum(-1)


def weights_of(months: int, places: int, draws: int, seed: list[int], how: str = "both") -> np.ndarray:
    """How often each block counts in each draw: array (draw, months * places)."""
    random = np.random.default_rng(seed)
    by_month = random.multinomial(months, np.full(months, 1 / months), size=draws).astype(np.float64)
    by_place = random.multinomial(places, np.full(places, 1 / places), size=draws).astype(np.float64)
    if how != "both":
        (by_place if how == "months" else by_month)[:] = 1
    return (by_month[:, :, None] * by_place[:, None]).reshape(draws, -1)


def mean_of_outcomes(values: np.ndarray) -> np.ndarray:
    """Mean over the outcomes (axis 1) where it is defined."""
    known = np.isfinite(values).sum(axis=1)
    return np.where(known, np.nansum(values, axis=1), np.nan) / np.maximum(known, 1)


def _ranked(metrics: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Metrics (..., metric) with those that are ranks from the fine bins (..., 2, FINE)."""
    metrics = metrics.copy()
    metrics[..., 0] = average_precision(fine[..., 0, :], fine[..., 1, :])
    metrics[..., 1] = auroc(fine[..., 0, :].astype(np.float64), fine[..., 1, :].astype(np.float64))
    return metrics


def _split_scores(cells: Cells, split: str, draws: int, seed: list[int]) -> Arrays:
    """Scores and gains of a split, of all leads and of each, with intervals over the same draws of blocks."""
    table, fine = cells.blocks[split], cells.fine[:, cells.splits.index(split)]
    months, places = table.shape[3:5]
    table = table.reshape(*table.shape[:3], months * places, -1)
    hows = RESAMPLINGS if draws and max(months, places) > 1 else ()
    weights = {how: weights_of(months, places, draws, seed, how) for how in hows}
    pooled = table.sum(axis=2, dtype=np.float64)
    of_outcomes = _ranked(metrics_of(pooled.sum(axis=2), COARSE), fine.sum(axis=2, dtype=np.int64))
    drawn = {how: drawn_metrics(pooled, w, of_outcomes) for how, w in weights.items()}  # (model, outcome, draw, metric)
    mean = mean_of_outcomes(of_outcomes)
    bounds = {how: with_gain(mean, mean_of_outcomes(drawn[how]) if drawn else None) for how in RESAMPLINGS}
    out = with_gain(of_outcomes, drawn.get("both"), axis=2, prefix="outcome_") | bounds["both"]
    for kind in ("score", "gain"):
        for end in ("low", "high"):
            out[f"{kind}_by_{end}"] = np.stack([told[f"{kind}_{end}"] for told in bounds.values()])
    by_lead = []
    for lead in range(len(cells.leads)):
        alone = table[:, :, lead].astype(np.float64)
        value = _ranked(metrics_of(alone.sum(axis=2), COARSE), fine[:, :, lead])
        some = mean_of_outcomes(drawn_metrics(alone, weights["both"], value)) if weights else None
        by_lead.append(with_gain(mean_of_outcomes(value), some, prefix="lead_"))
    return out | {name: np.stack([piece[name] for piece in by_lead], axis=1) for name in by_lead[0]}


def drawn_metrics(table: np.ndarray, weights: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Metrics (model, outcome, draw, metric) of each draw of blocks; table (model, outcome, block, column).

    Coarse bins tie what the fine ones tell apart: the draws are moved by what that costs on all blocks.
    """
    drawn = metrics_of(weights @ table, COARSE)
    return drawn + (value - metrics_of(table.sum(axis=2), COARSE))[:, :, None]


def _confusion(table: np.ndarray, bins: int) -> np.ndarray:
    """tn, fp, fn, tp (..., cell) of summed counts."""
    without, events = table[..., :bins].sum(-1), table[..., bins : 2 * bins].sum(-1)
    tp, fp = (table[..., 2 * bins + SUMS.index(name)] for name in ("tp", "fp"))
    return np.rint(np.stack([without - fp, fp, events - tp, tp], axis=-1)).astype(np.int64)


def _by_month(cells: Cells) -> Variables:
    value = mean_of_outcomes(metrics_of(cells.months, MEDIUM))
    return {
        "month_score": (("model", "time", "metric"), value),
        "month_events": ("time", cells.months[0, ..., MEDIUM : 2 * MEDIUM].sum(axis=(0, 2)).astype(np.int64)),
        "month_split": ("time", cells.split_of),
        "month_confusion": (("model", "time", "cell"), _confusion(cells.months, MEDIUM).sum(axis=1)),
    }


def _by_country(cells: Cells) -> Variables:
    value = metrics_of(cells.countries, MEDIUM)  # (model, split, outcome, country, metric)
    mean = np.stack([mean_of_outcomes(value[:, s]) for s in range(len(cells.splits))], axis=1)
    events = cells.countries[0, ..., MEDIUM : 2 * MEDIUM].sum(axis=(1, 3)).astype(np.int64)
    return {
        "country_score": (("model", "split", "country", "metric"), mean),
        "country_events": (("split", "country"), events),
    }


def _counts(cells: Cells) -> Variables:
    totals = [cells.blocks[s].sum(axis=(2, 3, 4), dtype=np.float64) for s in cells.splits]
    confusion = np.stack([_confusion(total, COARSE) for total in totals], axis=1)
    number, events = cells.fine[0].sum(axis=(1, 2, 3, 4)), cells.fine[0][:, :, :, 1].sum(axis=(1, 2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        confidence, hit_rate = (cells.bins[..., column] / cells.bins[..., 0] for column in (1, 2))
    return {
        "confusion_counts": (("model", "split", "outcome", "cell"), confusion),
        "threshold": (("model", "outcome"), np.where(cells.threshold < FINE, lower_edge(cells.threshold), np.nan)),
        "confidence": (("model", "split", "bin"), confidence),
        "hit_rate": (("model", "split", "bin"), hit_rate),
        "bin_samples": (("model", "split", "bin"), cells.bins[..., 0].astype(np.int64)),
        "n_samples": ("split", number.astype(np.int64)),
        "n_blocks": ("split", np.array([np.prod(cells.blocks[s].shape[3:5]) for s in cells.splits])),
        "prevalence": ("split", events / np.maximum(number, 1)),
    }


def _curves(cells: Cells) -> Variables:
    """ROC and precision-recall curves of all outcomes and leads together, at some points."""
    fine = cells.fine.sum(axis=(2, 3), dtype=np.int64)  # (model, split, 2, FINE)
    names = ("roc_fpr", "roc_tpr", "pr_recall", "pr_precision")
    curves = np.full((4, *fine.shape[:2], POINTS), np.nan)
    for m, s in np.ndindex(*fine.shape[:2]):
        curves[:, m, s] = curves_of(*fine[m, s])
    return {name: (("model", "split", "point"), values) for name, values in zip(names, curves, strict=True)}


def curves_of(without: np.ndarray, events: np.ndarray, points: int = POINTS) -> np.ndarray:
    """False-alarm rate, hit rate; recall, precision: array (4, point) of counts by ascending bin."""
    grid = np.linspace(0, 1, points)
    false, hits = (np.concatenate([[0], np.cumsum(c[::-1])]) for c in (without, events))
    if not false[-1] or not hits[-1]:
        return np.full((4, points), np.nan)
    fpr, tpr = false / false[-1], hits / hits[-1]
    along = (fpr + tpr) / 2
    place = np.searchsorted(tpr, grid).clip(1, len(tpr) - 1)
    precision = hits[place] / np.maximum(hits[place] + false[place], 1)
    return np.stack([np.interp(grid, along, fpr), np.interp(grid, along, tpr), grid, precision])
