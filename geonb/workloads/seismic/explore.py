"""What there is to look at in predictions of windows: test windows as traces, and what each model says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLIT_CODES
from geonb.dashboards.explorer import Dim, Explorer, Place, Table
from geonb.dashboards.layers import CIVIDIS, Grid, Layer
from geonb.dashboards.page import caption_of, notes_html
from geonb.workloads.seismic.metrics import KINDS, joint
from geonb.workloads.seismic.store import COLOURS

MOST = 60  # windows, the most mistaken and the surest of the test split
TRACE_PX = (110, 1200)  # of one channel


def explorer(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Explorer:
    """Describe predictions of windows for the explorer.

    Raises
    ------
    ValueError
        If there is no test window.
    """
    data = predictions["windows"].to_dataset().load()
    told = joint(data["probability"].to_numpy())
    true = np.array([KINDS.index(k) if k in KINDS else -1 for k in data["kind"].to_numpy()])
    rows = chosen(told[0], true, data["split"].to_numpy() == SPLIT_CODES["test"])
    if not len(rows):
        raise ValueError("The predictions hold no test window: nothing to explore. Give more events in notebook 01.")
    models = [str(m) for m in data["model"].values]
    height = TRACE_PX[0] * (
        1 if arrays is None else max(g["inputs"].sizes["channel"] for g in arrays.children.values())
    )
    rate, width = float(predictions.attrs["rate_hz"]), int(predictions.attrs["samples"])
    box = (0.0, 0.0, width / rate, width / rate * height / TRACE_PX[1])

    def traces(place: int, at: Mapping[str, Any], slices: Mapping[str, slice]) -> np.ndarray:
        i = rows[place]
        if arrays is None:
            return np.zeros((1, 1, 4), np.uint8)
        group = arrays[str(data["source"].values[i])]["inputs"]
        start = int(data["start"].values[i])
        values = group.isel(record=int(data["record"].values[i]), time=slice(start, start + width)).to_numpy()
        return picture(values, height, COLOURS[str(data["kind"].values[i])])[slices["y"], slices["x"]]

    def probability(place: int, at: Mapping[str, Any], slices: Mapping[str, slice]) -> np.ndarray:
        values = told[:, rows[place]]  # (model, kind)
        values = values[at["model"]] if "model" in at else values
        values = values[..., at["kind"]] if "kind" in at else values
        return values[..., None, None]

    def likeliest(place: int, at: Mapping[str, Any], slices: Mapping[str, slice]) -> np.ndarray:
        values = told[:, rows[place]].argmax(-1).astype(float)
        return (values[at["model"]] if "model" in at else values)[..., None, None]

    def truth(place: int, at: Mapping[str, Any], slices: Mapping[str, slice]) -> np.ndarray:
        return np.array([[true[rows[place]] if true[rows[place]] >= 0 else np.nan]])

    looks: dict[str, Any] = {
        "kind": "classes",
        "labels": KINDS,
        "colours": [COLOURS[k] for k in KINDS],
        "grid": "window",
    }
    layers = [
        Layer("traces", "traces", "image", traces),
        Layer("probability", "probability", "numbers", probability, ("model", "kind"), "window", low=0.0, high=1.0, form="percent",
              colours=CIVIDIS),
        Layer("told", "kind told", read=likeliest, dims=("model",), **looks),
        Layer("truth", "kind", read=truth, **looks),
    ]  # fmt: skip
    grids = {"window": Grid(box, (1, 1)), "": Grid(box, (height, TRACE_PX[1]))}
    places = [Place(_name(data, i, n, told[0, i]), grids) for n, i in enumerate(rows)]
    return Explorer(
        "windows of the test split",
        places,
        [Dim("model", models), Dim("kind", KINDS)],
        layers,
        below="traces",
        top="told",
        opacity=0.12,
        lines=[("truth:", "truth"), ("told:", "told")],
        table=Table("probability", "kind", "model"),
        notes=notes_html(predictions.attrs),
        caption=caption_of(predictions.attrs),
        place_is="window",
        click="Click the traces: what each model says of this window. Seconds from left to right; each trace at its own scale.",
        packs=lambda: [{}, {"image_px": 800, "said": "Traces in fewer points."}],
    )


def chosen(told: np.ndarray, true: np.ndarray, test: np.ndarray, most: int = MOST) -> np.ndarray:
    """Rows of test windows: by turns those that are most mistaken and surest."""
    of_true = np.where(test & (true >= 0), told[np.arange(len(told)), true], np.nan)
    order = np.argsort(of_true)[: int(np.isfinite(of_true).sum())]
    if len(order) <= most:
        return order
    return np.concatenate([order[: most // 2], order[::-1][: most - most // 2]])


def _name(data: xr.Dataset, i: int, n: int, told: np.ndarray) -> str:
    at = np.datetime_as_string(data["time"].values[i], unit="s").replace("T", " ")
    return f"{n + 1}: {data['kind'].values[i]}, told {KINDS[told.argmax()]} {told.max():.0%}, {data['station'].values[i]} {at}"


def picture(traces: np.ndarray, height: int, colour: str) -> np.ndarray:
    """Traces (channel, time), one below the other, each by its own largest value: uint8 (y, x, 4)."""
    from matplotlib.colors import to_rgb

    width, strip = TRACE_PX[1], height // len(traces)
    out = np.full((height, width, 4), 255, np.uint8)
    ink = np.array([round(255 * part) for part in to_rgb(colour)] + [255], np.uint8)
    edges = np.linspace(0, traces.shape[1], width + 1).astype(int)[:-1]
    for c, trace in enumerate(traces):
        scaled = trace / max(float(np.abs(trace).max()), 1e-12)
        top, bottom = np.maximum.reduceat(scaled, edges), np.minimum.reduceat(scaled, edges)
        middle, y = (strip - 1) / 2, np.arange(strip)[:, None]
        drawn = (y >= np.floor(middle - top * middle)) & (y <= np.ceil(middle - bottom * middle))
        out[c * strip : (c + 1) * strip][drawn] = ink
    return out
