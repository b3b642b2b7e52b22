"""What there is to look at in forecasts: probabilities, deaths, what came true, hits and misses, of every cell, month, lead and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.dashboards.explorer import Chart, Dim, Explorer, Place, Table
from geonb.dashboards.layers import Grid, Layer, from_array, group_of, north_up
from geonb.dashboards.page import caption_of, notes_html
from geonb.plots.cells import LAND, RAMP, SEA, TICKS, VEIL, ground, month, outcome_records
from geonb.plots.maps import edges
from geonb.plots.style import COASTS_NOTE
from geonb.workloads.conflict.maps import best_baseline

LINES = (("country:", "country"), ("event came:", "truth"), ("deaths:", "deaths"), ("deaths expected:", "expected"))
THRESHOLDS = [t / 100 for t in (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90)]
HISTORY = 120  # months of a cell's past that are drawn
UNKNOWN = 2  # class of what is not known yet
PURPLES, REDS = ("#f7f5fa00", "#bcbddc", "#756bb1", "#3f007d"), ("#fbf9f300", "#fdb863", "#c9261f", "#40061b")
DIMS = ("model", "outcome", "time", "lead")
DEATHS: dict[str, Any] = {"power": 0.5, "colours": REDS, "unit": "deaths"}
AMOUNTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (  # variable, name and title of the layer, how it looks
    ("spread", "spread", "spread over draws", {"colours": PURPLES, "form": "percent"}),
    ("deaths_mean", "expected", "deaths expected", DEATHS | {"form": "3"}),
    ("deaths", "deaths", "deaths that came", DEATHS | {"form": "integer"}),
)
# How much goes into a page, the richest first: models, latest months, leads, steps of a probability's root, months of history
PACKS = (
    (None, None, None, 254, HISTORY), (None, None, None, 127, HISTORY), (2, None, None, 127, HISTORY),
    (2, 36, None, 127, HISTORY), (2, 24, 12, 84, HISTORY), (1, 24, 12, 84, 60), (1, 12, 12, 84, 60), (1, 12, 6, 84, 36),
    (1, 6, 6, 50, 24), (1, 3, 6, 50, 12), (1, 1, 3, 42, 1), (1, 1, 1, 30, 1),
)  # fmt: skip


def explorer(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Explorer:
    """Describe forecasts for the explorer.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`, with group ``grid``
    arrays : DataTree, optional
        A store's `arrays`: adds each cell's history.

    Raises
    ------
    ValueError
        If there are no forecasts.
    """
    if "grid" not in predictions.children:
        raise ValueError(
            f"The predictions hold no forecasts (group 'grid') but {list(predictions.children)}: nothing to explore. "
            "Run notebooks/03_prediction.ipynb first."
        )
    data = north_up(predictions["grid"].to_dataset())
    data = data if data.indexes["time"].is_monotonic_increasing else data.sortby("time")
    attrs, inside = predictions.attrs, data.valid.values.astype(bool)
    outcomes = outcome_records(attrs, data.outcome.values)
    months, leads = [month(time) for time in data.time.values], [int(lead) for lead in data.lead.values]
    past = _past(arrays, outcomes)
    dims = [
        Dim("time", months, slider=True, start=len(months) - 1, remarks=[str(s) for s in data.split.values],
            gaps=_gaps(months), title="month"),
        Dim("lead", [f"{n} month{'s' if n > 1 else ''} ahead" for n in leads], slider=True, ahead_of="time",
            ahead=[n - 1 for n in leads]),
        Dim("model", [str(m) for m in data.model.values]),
        Dim("outcome", [o["name"] for o in outcomes]),
        *([] if past is None else [Dim("past", [month(t) for t in past.time.values], hidden=True)]),
    ]  # fmt: skip
    layers = _layers(data, inside, past, outcomes, attrs)
    known = {layer.name for layer in layers}
    return Explorer(
        "map of the forecasts", [_place(data, attrs)], dims, layers, top="probability",
        lines=[line for line in LINES if line[1] in known],
        table=Table("probability", "lead", "model", also=("came", "truth")),
        chart=Chart("probability", "lead", "model", "truth", *(("past", "past") if past is not None else ("", "")), "time"),
        truth="truth", guess="probability", split="time", groups="country" if "country" in known else "", group_is="country",
        outlined=("outline cells where it came true", "truth"), ground=SEA, land=LAND,
        veil=() if inside.all() else (VEIL, "outside the region"),
        threshold={"layer": "probability", "steps": THRESHOLDS, "by": ["model", "outcome"],
                   "start": _thresholds(data, inside), "title": "warn from"},
        notes=notes_html(attrs, COASTS_NOTE), caption=caption_of(attrs),
        click="Click a cell: its history, and what every model expects of it.", packs=lambda: _packs(predictions, dims),
    )  # fmt: skip


def _layers(
    data: xr.Dataset, inside: np.ndarray, past: xr.DataArray | None, outcomes: Sequence[Mapping[str, Any]], attrs: Mapping[Any, Any]
) -> list[Layer]:  # fmt: skip
    def read(array: xr.DataArray, dims: Sequence[str] = (), after: Any = None) -> Any:
        values = from_array([array], dims, after)

        def where_inside(place: int, at: Any, slices: Mapping[str, slice]) -> np.ndarray:
            return np.where(inside[slices["y"], slices["x"]], values(place, at, slices).astype("float32"), np.nan)

        return where_inside

    layers = [
        Layer("probability", "probability", "numbers", read(data.probability, DIMS), DIMS, low=0.0, high=1.0, power=0.5, colours=RAMP,
              form="percent", ticks=TICKS),
        Layer("truth", "what came true", "classes", read(data.truth, DIMS[1:], lambda v: np.where((v == 0) | (v == 1), v, UNKNOWN)),
              DIMS[1:], labels=["no", "yes", "not known yet"], colours=["", outcomes[0]["colour"], ""]),
        Layer("hits", "hits and misses", "error", of=("probability", "truth")),
        *(_amount(data[variable], read, name, title, look) for variable, name, title, look in AMOUNTS if variable in data),
    ]  # fmt: skip
    known = _countries(data, attrs, inside) if "country" in data else {}
    if known:
        codes = np.where(data.country.values > 0, np.searchsorted(list(known), data.country.values), -1)
        layers.append(Layer("country", "country", "classes", read(xr.DataArray(codes, dims=("y", "x"))), labels=list(known.values()),
                            colours=[""] * len(known), shown=False))  # fmt: skip
    if past is not None:
        flags = read(past, ("outcome", "past"), lambda values: (values > 0).astype("float32"))
        layers.append(Layer("past", "past events", "classes", flags, ("outcome", "past"), labels=["no", "yes"],
                            colours=["", "#777777"], shown=False))  # fmt: skip
    return layers


def _amount(array: xr.DataArray, read: Any, name: str, title: str, look: Mapping[str, Any]) -> Layer:
    """Numbers from 0 to their highest."""
    dims = tuple(dim for dim in DIMS if dim in array.dims)
    ends = array.isel(lead=[0, -1])  # of all leads: a globe of them is gigabytes
    high = max(float(np.nanmax(ends.values, initial=0)), 1e-3)
    return Layer(name, title, "numbers", read(array, dims), dims, low=0.0, high=high, **look)


def _countries(data: xr.Dataset, attrs: Mapping[Any, Any], inside: Any = True) -> dict[int, str]:
    """Names of the countries of cells, by their number."""
    numbers, names = data.country.values, dict(attrs.get("countries", {}))
    return {
        n: names.get(str(n), f"UCDP country {n}")
        for n in np.unique(numbers[inside & (numbers > 0)]).astype(int).tolist()
    }


def _past(arrays: xr.DataTree | None, outcomes: Sequence[Mapping[str, Any]]) -> xr.DataArray | None:
    """Event flags (outcome, past, y, x) of the cube, where it has them for all outcomes."""
    cube = group_of(arrays, "grid")
    names = [outcome.get("event") for outcome in outcomes]
    if cube is None or not set(names) <= set(cube["monthly"].monthly_channel.values.tolist()):
        return None
    chosen = cube["monthly"].sel(monthly_channel=names).rename(monthly_channel="outcome")
    return chosen.rename(time="past").assign_coords(time=("past", cube.time.values))


def _place(data: xr.Dataset, attrs: Mapping[Any, Any]) -> Place:
    """The region: its grid, coasts, the bounds of its countries, and PRIO-GRID's number of a cell where it is that grid."""
    west, south, east, north = (round(side, 6) for side in edges(data))
    bounds = west, south, east, north
    shape = data.sizes["y"], data.sizes["x"]
    half = np.allclose([(east - west) / shape[1], (north - south) / shape[0]], 0.5)
    first = round((north - 0.25 + 90) * 2 - 0.5) * 720 + round((west + 180) * 2) + 1
    names = {}
    for number, name in (_countries(data, attrs) if "country" in data else {}).items():
        rows, columns = np.nonzero(data.country.values == number)
        box = (
            west + columns.min() / 2,
            north - (rows.max() + 1) / 2,
            west + (columns.max() + 1) / 2,
            north - rows.min() / 2,
        )
        names[name] = tuple(float(v) for v in box)
    from pyproj import CRS

    ids = ("PRIO-GRID", first, -720, 1) if half else None
    around = (
        max(-180, 2 * west - east),
        max(-90, 2 * south - north),
        min(180, 2 * east - west),
        min(90, 2 * north - south),
    )
    return Place(
        "the region", {"": Grid(bounds, shape)}, CRS("OGC:CRS84"), ground(around), ids, names=names if half else {}
    )


def _gaps(months: Sequence[str]) -> list[int]:
    """Positions before which months are missing."""
    numbers = pd.PeriodIndex(months, freq="M").asi8
    return [i for i in range(1, len(numbers)) if numbers[i] - numbers[i - 1] > 1]


def _thresholds(data: xr.Dataset, inside: np.ndarray) -> list[list[float]]:
    """The probability (model, outcome) from which a model warns as often as there were events in validation, one month ahead."""
    here = data.isel(lead=0, time=np.flatnonzero(data.split.values == "val"))
    truth = here.truth.transpose("outcome", "time", "y", "x").values
    told = []
    for model in range(data.sizes["model"]):
        guess = here.probability.isel(model=model).transpose("outcome", "time", "y", "x").values
        told.append([_as_often(g, t, inside) for g, t in zip(guess, truth, strict=True)])
    return told


def _as_often(guess: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    known = (truth >= 0) & inside & np.isfinite(guess)
    share = (truth[known] == 1).mean() if known.any() else 0.0
    wished = float(np.quantile(guess[known], 1 - share)) if known.any() and share else 0.5
    return THRESHOLDS[int(np.abs(np.log(np.array(THRESHOLDS) / max(wished, 1e-4))).argmin())]


def _packs(predictions: xr.DataTree, dims: Sequence[Dim]) -> list[dict[str, Any]]:
    """What goes to keep a page small, in the order of `PACKS`: the network and the best baseline, the latest months, the first leads."""
    labels = {dim.name: list(dim.labels) for dim in dims}
    best = best_baseline(predictions)
    packs = []
    for models, months, leads, steps, history in PACKS:
        keep = {
            "model": list(range(len(labels["model"])))
            if models is None
            else [0, *([labels["model"].index(best)] if models == 2 and best is not None else [])],
            "time": list(range(len(labels["time"])))[-(months or 10**6) :],
            "lead": list(range(len(labels["lead"])))[: leads or 10**6],
            "past": list(range(len(labels.get("past", []))))[-history:],
        }
        few = [
            f"{len(keep[d])} of {len(labels[d])} {what}"
            for d, what in (("model", "models"), ("time", "months"), ("lead", "leads"))
            if len(keep[d]) < len(labels[d])
        ]
        said = f"{', '.join(few)}; " if few else ""
        packs.append({"keep": keep, "steps": steps, "said": f"{said}probabilities to {50 / steps:.1f} points at 25 %."})
    return packs
