"""What the live and the frozen map of forecasts share: forecasts as colours, one cell's history and forecasts, legends."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
import xarray as xr

from geonb.dashboards.layers import cell_at, group_of, north_up, packed_rgba, rgb_bytes
from geonb.dashboards.page import bar_cell, notes_html, swatch
from geonb.plots.cells import month, outcome_records, probability_look
from geonb.plots.maps import edges
from geonb.plots.style import COASTS_NOTE, MODEL_COLOURS, place_text

LAYERS = {
    "probability": "probability",
    "truth": "what came true",
    "hits": "hits and misses",
    "spread": "spread over draws",
}
THRESHOLDS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90)  # per cent
HITS = {"hit": "#1b7837", "miss": "#c51b7d", "false alarm": "#f4a736"}
VEIL = (169, 176, 181, 115)
HISTORY = 120  # months of a cell's past that are drawn
DIMS = ("outcome", "time", "lead", "y", "x")


class Forecasts:
    """Forecasts with north up, and each cell's past where there is one.

    Attributes
    ----------
    data : Dataset of the predictions' group ``grid``, origins in order of time
    bounds : tuple = (west, south, east, north), degrees
    months, splits, leads, models : lists, in the order of ``data``
    outcomes : records with name, colour and, where known, the event channel
    history : DataArray (outcome, time, y, x) of event flags, or None
    """

    def __init__(self, predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> None:
        if "grid" not in predictions.children:
            raise ValueError(
                f"The predictions hold no forecasts (group 'grid') but {list(predictions.children)}: nothing to explore. "
                "Run notebooks/03_prediction.ipynb first."
            )
        data = predictions["grid"].to_dataset()
        in_order = data if data.indexes["time"].is_monotonic_increasing else data.sortby("time")
        self.data, self.attrs = north_up(in_order), predictions.attrs
        self.bounds = tuple(round(side, 6) for side in edges(self.data))
        self.months = [month(time) for time in self.data.time.values]
        self.splits = [str(split) for split in self.data.split.values]
        self.leads = [int(lead) for lead in self.data.lead.values]
        self.models = [str(model) for model in self.data.model.values]
        self.outcomes = outcome_records(predictions.attrs, self.data.outcome.values)
        self.valid = self.data.valid.values.astype(bool)
        self.has_spread = "spread" in self.data
        self.history = self._past(arrays)
        self._thresholds: dict[tuple[int, int], float] = {}

    def _past(self, arrays: xr.DataTree | None) -> xr.DataArray | None:
        cube = group_of(arrays, "grid")
        if cube is None:
            return None
        monthly = cube["monthly"]
        known = set(monthly.monthly_channel.values.tolist())
        names = [outcome.get("event") for outcome in self.outcomes]
        if not set(names) <= known:
            return None
        chosen = monthly.sel(monthly_channel=names).rename(monthly_channel="outcome").transpose("outcome", ...)
        return chosen.assign_coords(outcome=[outcome["name"] for outcome in self.outcomes])

    def values(self, name: str, outcome: int, month: int, lead: int, model: int = 0) -> np.ndarray:
        """One map (y, x) of a variable, the north first."""
        at = {"outcome": outcome, "time": month, "lead": lead} | ({"model": model} if name == "probability" else {})
        return self.data[name].isel(at).transpose("y", "x").values

    def threshold(self, model: int, outcome: int) -> float:
        """The probability from which a model warns as often as there were events in the validation months, lead 1."""
        if (model, outcome) not in self._thresholds:
            at = {"outcome": outcome, "lead": 0, "time": [i for i, s in enumerate(self.splits) if s == "val"]}
            truth = self.data.truth.isel(at).transpose("time", "y", "x").values
            guess = self.data.probability.isel(at | {"model": model}).transpose("time", "y", "x").values
            known = (truth >= 0) & self.valid & np.isfinite(guess)
            share = (truth[known] == 1).mean() if known.any() else 0.0
            wished = float(np.quantile(guess[known], 1 - share)) if known.any() and share else 0.5
            steps = np.array(THRESHOLDS) / 100
            self._thresholds[model, outcome] = float(steps[np.abs(np.log(steps / max(wished, 1e-4))).argmin()])
        return self._thresholds[model, outcome]

    def came_true(self, outcome: int, month: int, lead: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the cells with an event, where that is known."""
        rows, columns = np.nonzero((self.values("truth", outcome, month, lead) == 1) & self.valid)
        return rows, columns

    def judged(self, model: int, outcome: int, month: int, lead: int, threshold: float) -> np.ndarray | None:
        """0 neither, 1 hit, 2 miss, 3 false alarm (y, x); None where the truth is not known yet."""
        truth, guess = (self.values(n, outcome, month, lead, model) for n in ("truth", "probability"))
        if not ((truth >= 0) & self.valid).any():
            return None
        warned, came = np.nan_to_num(guess) >= threshold, truth == 1
        return np.where(self.valid & (truth >= 0), warned * came + 2 * (~warned & came) + 3 * (warned & ~came), 0)

    def paint(
        self, layer: str, model: int, outcome: int, month: int, lead: int, threshold: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """A layer as uint32 colours (y, x), the south first, and its numbers (y, x), the north first."""
        rgba = np.zeros((*self.valid.shape, 4), np.uint8)
        if layer in ("probability", "spread"):
            values = self.values(layer, outcome, month, lead, model).astype("float32")
            rgba = ramp_of(layer, self.highest_spread)[byte_of(layer, values, self.highest_spread)]
        elif layer == "truth":
            values = np.where(self.valid, self.values("truth", outcome, month, lead), -1).astype("float32")
            rgba[values == 1] = (*rgb_bytes(self.outcomes[outcome]["colour"]), 255)
        else:
            judged = self.judged(model, outcome, month, lead, threshold)
            values = np.zeros(self.valid.shape, "float32") if judged is None else judged.astype("float32")
            for number, colour in enumerate(HITS.values(), 1):
                rgba[values == number] = (*rgb_bytes(colour), 255)
        rgba[~self.valid] = VEIL
        return packed_rgba(rgba[..., :3], rgba[..., 3] / 255), values

    @property
    def highest_spread(self) -> float:
        """The largest spread of all maps, where the colours end."""
        if not hasattr(self, "_highest"):
            self._highest = max(float(self.data.spread.max()), 1e-3) if self.has_spread else 1.0
        return self._highest

    def title(self, layer: str, model: int, outcome: int, month: int, lead: int) -> str:
        """What the map shows: layer, month that is forecast, by which model and from when."""
        ahead = str(pd.Period(self.months[month], "M") + self.leads[lead] - 1)
        what = f"{LAYERS[layer]} of {self.outcomes[outcome]['name']} in {ahead}"
        by = "" if layer == "truth" else f", {self.models[0 if layer == 'spread' else model]}"
        return f"{what}{by}, known until {pd.Period(self.months[month], 'M') - 1}"

    def counts_html(self, model: int, outcome: int, month: int, lead: int, threshold: float) -> str:
        """How many hits, misses and false alarms the map holds."""
        judged = self.judged(model, outcome, month, lead, threshold)
        if judged is None:
            return f"<small>{self.splits[month]}: not known yet what came true.</small>"
        counts = np.bincount(judged[self.valid].astype(int), minlength=4)
        told = (
            f"hits {counts[1]:,}, misses {counts[2]:,}, false alarms {counts[3]:,} of {int(self.valid.sum()):,} cells"
        )
        return f"<small>{self.splits[month]} split, warning from {threshold:.3g}: {told}.</small>"

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """Row (from the north) and column of the cell at a place, or None outside the region."""
        cell = cell_at(self.bounds, self.valid.shape, x, y)
        return cell if cell is not None and self.valid[cell] else None


def ramp_of(layer: str, highest: float = 1.0) -> np.ndarray:
    """Colours (256, 4) uint8 of the bytes of a probability (square root, 0-254) or a spread; 255 is transparent."""
    import matplotlib.pyplot as plt

    cmap = probability_look()["cmap"] if layer == "probability" else plt.get_cmap("Purples")
    table = cmap(np.linspace(0, 1, 255), bytes=True)
    if layer == "spread":
        table[:, 3] = np.linspace(0, 255, 255).clip(0, 60) / 60 * 255
    return np.concatenate([table, np.zeros((1, 4), np.uint8)])


def byte_of(layer: str, values: np.ndarray, highest: float = 1.0, levels: int = 254) -> np.ndarray:
    """Numbers as bytes 0-254 in steps of 1/`levels` (probability: of its square root, spread: of the highest), NaN 255."""
    known = np.isfinite(values)
    share = np.clip(np.where(known, values, 0) / (highest if layer == "spread" else 1.0), 0, 1)
    share = np.sqrt(share) if layer == "probability" else share
    share = np.rint(share * levels) / levels
    return np.where(known, np.rint(share * 254), 255).astype(np.uint8)


def legend_html(forecasts: Forecasts, layer: str, outcome: int) -> str:
    """What the colours mean, and what the data are."""
    if layer in ("probability", "spread"):
        chips = _ramp_html(layer, forecasts.highest_spread)
    elif layer == "truth":
        chips = swatch(forecasts.outcomes[outcome]["colour"], forecasts.outcomes[outcome]["name"])
    else:
        chips = "".join(swatch(colour, name) for name, colour in HITS.items())
    veil = "" if forecasts.valid.all() else swatch("rgb({},{},{})".format(*VEIL[:3]), "outside the region")
    legend = f'<div style="font:12px sans-serif;line-height:1.5">{chips}{veil}</div>'
    return legend + notes_html(forecasts.attrs, COASTS_NOTE)


def _ramp_html(layer: str, highest: float, width_px: int = 260) -> str:
    """The colours of a probability or a spread as a bar with numbers."""
    table = ramp_of(layer)[np.linspace(0, 254, 12).astype(int)]
    stops = ",".join(f"rgba({r},{g},{b},{a / 255:.2f})" for r, g, b, a in table.tolist())
    at = (0, 0.02, 0.1, 0.25, 0.5, 1) if layer == "probability" else (0, highest / 2, highest)
    places = [np.sqrt(v) if layer == "probability" else v / highest for v in at]
    ticks = "".join(
        f'<span style="position:absolute;left:{width_px * place:.0f}px">{value:.2g}</span>'
        for place, value in zip(places, at, strict=True)
    )
    look = f"display:inline-block;width:{width_px}px;height:10px;border:1px solid #999"
    bar = f'<span style="{look};background:linear-gradient(90deg,{stops})"></span>'
    return f'<div>{bar}<div style="position:relative;height:16px">{ticks}</div></div>'


def cell_html(forecasts: Forecasts, row: int, column: int, outcome: int, month: int) -> str:
    """One cell: where it is, its past events, and every model's forecast of every lead as lines and as a table."""
    here = forecasts.data.isel(y=row, x=column, outcome=outcome, time=month)
    here = here[[n for n in ("probability", "truth", "gid", "country") if n in here]].load()
    guess = here.probability.transpose("model", "lead").values.astype(float)
    truth = np.nan_to_num(here.truth.values.astype(float), nan=-1).astype(int)
    origin = pd.Period(forecasts.months[month], "M")
    past, first = _past_of(forecasts, row, column, outcome, origin)
    facts = [f"PRIO-GRID {int(here.gid)}"] if "gid" in here else []
    number = int(here.country) if "country" in here else 0
    known = dict(forecasts.attrs.get("countries", {})).get(str(number))
    facts += [escape(known) if known else f"UCDP country {number}"] if number else []
    heads = "".join(f'<th style="color:{model_colour(m)}">{escape(n)}</th>' for m, n in enumerate(forecasts.models))
    rows = "".join(
        f'<tr><td style="white-space:nowrap">{origin + lead - 1}</td>'
        f"<td>{('no', 'yes')[truth[i]] if truth[i] in (0, 1) else '?'}</td>"
        + "".join(bar_cell(guess[m, i], "#fdd9b0", 58, ".1%") for m in range(len(forecasts.models)))
        + "</tr>"
        for i, lead in enumerate(forecasts.leads)
    )
    table = (
        f'<table style="border-spacing:5px 0;text-align:left"><tr><th>month</th><th>came</th>{heads}</tr>{rows}</table>'
    )
    return (
        f'<div style="font:12px sans-serif"><b>{place_text(float(here.y), float(here.x), None)}</b> {", ".join(facts)}'
        f"{cell_svg(past, first, guess, truth, str(origin))}"
        f'<div style="max-height:190px;overflow:auto">{table}</div></div>'
    )


def _past_of(forecasts: Forecasts, row: int, column: int, outcome: int, origin: pd.Period) -> tuple[np.ndarray, str]:
    """Event flags of a cell in the months before an origin, and the month they begin with."""
    if forecasts.history is None:
        return np.zeros(0), str(origin)
    months = pd.DatetimeIndex(forecasts.history.time.values).to_period("M")
    stop = int(np.searchsorted(months.asi8, origin.ordinal))
    start = max(0, stop - HISTORY)
    flags = forecasts.history.isel(outcome=outcome, y=row, x=column, time=slice(start, stop)).values
    return (flags > 0).astype(int), str(months[start]) if stop > start else str(origin)


def model_colour(position: int) -> str:
    """The colour a model has in every figure."""
    return MODEL_COLOURS[position % len(MODEL_COLOURS)]


def cell_svg(past: np.ndarray, first: str, guess: np.ndarray, truth: np.ndarray, origin: str) -> str:
    """Past events as ticks, forecasts (model, lead) as lines after the dashed origin, events that came true as dots."""
    width, height, leads = 330, 92, guess.shape[1]
    split = width * (0.55 if len(past) else 0.0) + 24
    step, ahead = (split - 28) / max(1, len(past)), (width - split - 6) / max(1, leads)
    ticks = "".join(
        f'<rect x="{24 + i * step:.1f}" y="8" width="{max(1, step * 0.8):.1f}" height="66" fill="#777"/>'
        for i in np.flatnonzero(past)
    )
    lines, top = "", max(0.1, float(np.nanmax(guess, initial=0)))
    for m in reversed(range(len(guess))):
        points = [(split + (i + 0.5) * ahead, 74 - 66 * v / top) for i, v in enumerate(guess[m]) if np.isfinite(v)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        look = f'stroke="{model_colour(m)}" stroke-width="{2.2 if m == 0 else 1.1}" fill="none"'
        lines += f'<polyline points="{drawn}" {look}/>'
        lines += "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{model_colour(m)}"/>' for x, y in points)
    dots = "".join(
        f'<circle cx="{split + (i + 0.5) * ahead:.1f}" cy="79" r="3.2" fill="#000"/>'
        for i in np.flatnonzero(truth == 1)
    )
    text = 'font-size="9" fill="#555"'
    return (
        f'<svg width="{width}" height="{height}" style="display:block;background:#fff;font-family:sans-serif">{ticks}'
        f'<line x1="24" x2="{width}" y1="74" y2="74" stroke="#999"/><line x1="{split}" x2="{split}" y1="4" y2="74" stroke="#555" '
        f'stroke-dasharray="3 2"/>{lines}{dots}<text x="{width - 2}" y="10" text-anchor="end" {text}>top {top:.0%}</text>'
        f'<text x="24" y="90" {text}>{first if len(past) else ""}</text><text x="{split + 2}" y="90" {text}>{origin}: forecast</text></svg>'
    )
