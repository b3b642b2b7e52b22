"""The map of forecasts as one piece of HTML: no kernel, no network; the data are inside as bytes, packed small."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.dashboards.page import filled, framed, packed
from geonb.plots.cells import BORDER, COAST, LAND, SEA, ground
from geonb.workloads.conflict.explore_cells import (
    HISTORY,
    HITS,
    LAYERS,
    THRESHOLDS,
    VEIL,
    Forecasts,
    byte_of,
    legend_html,
    model_colour,
    ramp_of,
)
from geonb.workloads.conflict.maps import best_baseline

if TYPE_CHECKING:
    from IPython.display import HTML

TEMPLATE = Path(__file__).parent / "templates" / "frozen"
# What is left out to keep the page small, in this order: (models, origins before the latest, leads, steps of a
# probability's square root, months of history); None is all.
PACKS = (
    (None, None, None, 254, HISTORY),
    (None, None, None, 127, HISTORY),
    (2, None, None, 127, HISTORY),
    (2, 36, None, 127, HISTORY),
    (2, 24, 12, 84, HISTORY),
    (1, 24, 12, 84, 60),
    (1, 12, 12, 84, 60),
    (1, 12, 6, 84, 36),
    (1, 6, 6, 50, 24),
    (1, 3, 6, 50, 12),
    (1, 1, 3, 42, 0),
    (1, 0, 3, 42, 0),
    (1, 0, 1, 30, 0),
)


def frozen(predictions: xr.DataTree, arrays: xr.DataTree | None = None, budget_mb: float = 4) -> HTML:
    """Make the map as HTML that works on its own: in JupyterLab, in a converted notebook and in the report.

    What does not fit under the budget goes in the order of `PACKS`, and the page says so.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`, with group ``grid``
    arrays : DataTree, optional
        A store's `arrays`: adds each cell's history.
    budget_mb : float
        Of the whole HTML.

    Returns
    -------
    IPython.display.HTML with an iframe that carries the document

    Raises
    ------
    ValueError
        If there are no forecasts, or the budget leaves no room for a single map.
    """
    return framed(frozen_page(predictions, arrays, budget_mb), "map of the forecasts")


def frozen_page(predictions: xr.DataTree, arrays: xr.DataTree | None = None, budget_mb: float = 4) -> str:
    """The document inside `frozen`'s iframe, whole."""
    forecasts = Forecasts(predictions, arrays)
    facts = _facts(forecasts)
    room = budget_mb * 1e6 - len(filled(TEMPLATE, facts)) - 20_000  # quoting costs a little
    best = best_baseline(predictions)
    for models, months, leads, levels, history in PACKS:
        chosen = _chosen(forecasts, best, models, months, leads)
        if _estimate(forecasts, chosen, levels) > 1.2 * room:
            continue
        part = pack(forecasts, chosen, levels, history)
        if len(part["data"]) <= room:
            facts |= part
            break
    else:
        raise ValueError(
            f"No room for a map of {int(forecasts.valid.sum()):,} cells in {budget_mb} MB: raise budget_mb, or forecast a smaller region."
        )
    facts["left_out"] = _left_out(forecasts, chosen, facts)
    return filled(TEMPLATE, facts)


def _chosen(forecasts: Forecasts, best: str | None, models: int | None, months: int | None, leads: int | None) -> dict:
    """Positions that are kept: the network and the best baseline, the latest origins, the first leads."""
    every = {name: list(range(len(getattr(forecasts, name)))) for name in ("models", "months", "leads")}
    if models is not None:
        every["models"] = [0, *([forecasts.models.index(best)] if models == 2 and best is not None else [])]
    if months is not None:
        every["months"] = every["months"][-months - 1 :]
    if leads is not None:
        every["leads"] = every["leads"][:leads]
    return every


def _estimate(forecasts: Forecasts, chosen: dict, levels: int) -> float:
    """About how large the pack will be, from a few thousand of the cells and one month: packing a globe takes a minute."""
    places = np.flatnonzero(forecasts.valid)
    few = np.zeros(forecasts.valid.shape, bool)
    start = max(0, len(places) // 2 - 2000)  # neighbours, because they are alike
    few.flat[places[start : start + 4000]] = True
    some, none = (
        pack(forecasts, chosen | {"months": chosen["months"][-n:] if n else []}, levels, 0, few) for n in (1, 0)
    )
    return (len(some["data"]) - len(none["data"])) * len(places) / max(1, few.sum()) * len(chosen["months"])


def pack(
    forecasts: Forecasts, chosen: dict[str, list[int]], levels: int, history: int, valid: np.ndarray | None = None
) -> dict[str, Any]:
    """Take the chosen forecasts at the region's cells, as bytes, compressed.

    Returns
    -------
    dict with ``data`` (base64 of gzip of bytes: valid (y, x), then at valid cells truth (outcome, month, lead, cell), 255 where
    not known; probability (model, outcome, month, lead, cell) as `byte_of`; spread; past events (outcome, month, cell)) and
    how to read it
    """
    f, spread = forecasts, forecasts.has_spread
    valid = f.valid if valid is None else valid
    # months and leads that are kept lie side by side: a slice copies nothing of what is left out
    bounds = {"time": chosen["months"], "lead": chosen["leads"]}
    span = {dim: slice(kept[0], kept[-1] + 1) if kept else slice(0) for dim, kept in bounds.items()}
    data = f.data.isel(span)
    inside = {name: xr.DataArray(at, dims="cell") for name, at in zip("yx", np.nonzero(valid), strict=True)}
    order = ("outcome", "time", "lead", "cell")
    truth = data.truth.isel(inside).transpose(*order).values
    planes = [valid.astype(np.uint8), np.where((truth == 0) | (truth == 1), truth, 255).astype(np.uint8)]
    for model in chosen["models"]:
        values = data.probability.isel(model=model).isel(inside).transpose(*order).values
        planes.append(byte_of("probability", values, levels=levels))
    if spread:
        values = data.spread.isel(inside).transpose(*order).values
        planes.append(byte_of("spread", values, f.highest_spread, levels=min(levels, 127)))
    past, first = _past(f, inside, history)
    return {
        "data": packed([*planes, past]), "cells": int(valid.sum()), "spread": spread,
        "models": [f.models[m] for m in chosen["models"]], "model_colours": [model_colour(m) for m in chosen["models"]],
        "months": [f.months[m] for m in chosen["months"]], "splits": [f.splits[m] for m in chosen["months"]],
        "leads": [f.leads[lead] for lead in chosen["leads"]], "past": {"first": first, "months": past.shape[1]},
        "levels": levels, "threshold": [[f.threshold(m, o) for o in range(len(f.outcomes))] for m in chosen["models"]],
    }  # fmt: skip


def _past(forecasts: Forecasts, inside: dict[str, xr.DataArray], months: int) -> tuple[np.ndarray, str | None]:
    """Event flags (outcome, month, cell) of the last months of the cube, and the first of them."""
    if forecasts.history is None or not months:
        return np.zeros((len(forecasts.outcomes), 0, len(inside["y"])), np.uint8), None
    past = forecasts.history.isel(time=slice(-months, None))
    flags = past.load().isel(inside).transpose("outcome", "time", "cell").values > 0
    return flags.astype(np.uint8), str(pd.Timestamp(past.time.values[0]).to_period("M"))


def _facts(forecasts: Forecasts) -> dict[str, Any]:
    """What the page needs beside the forecasts: grid, ground, colours, words."""
    f = forecasts
    lines = ground(f.bounds)
    paths = {name: ["M" + "L".join(f"{x:.3f} {-y:.3f}" for x, y in part) for part in parts] for name, parts in lines.items()}  # fmt: skip
    return {
        "height": f.valid.shape[0], "width": f.valid.shape[1], "bounds": list(f.bounds), "ground": paths,
        "colours": {"sea": SEA, "land": LAND, "coast": COAST, "borders": BORDER, "veil": list(VEIL), "hits": list(HITS.values())},
        "ramps": {name: ramp_of(name).tolist() for name in ("probability", "spread")}, "highest_spread": f.highest_spread,
        "layers": {name: text for name, text in LAYERS.items() if name != "spread" or f.has_spread},
        "outcomes": [{"name": o["name"], "colour": o["colour"]} for o in f.outcomes], "thresholds": [t / 100 for t in THRESHOLDS],
        "legends": [{name: legend_html(f, name, o) for name in LAYERS} for o in range(len(f.outcomes))],
        "country": f.data.country.values.ravel().astype(int).tolist() if "country" in f.data and f.valid.size < 5000 else None,
    }  # fmt: skip


def _left_out(forecasts: Forecasts, chosen: dict[str, list[int]], facts: dict[str, Any]) -> str:
    """What was left out to keep the page small."""
    said = [
        f"{len(kept)} of {len(getattr(forecasts, name))} {name}"
        for name, kept in chosen.items()
        if len(kept) < len(getattr(forecasts, name))
    ]
    rounded = f"probabilities to {100 * 0.5 / facts['levels']:.1f} points at 25 %"
    return f"Frozen{': ' + ', '.join(said) if said else ''}; {rounded}."
