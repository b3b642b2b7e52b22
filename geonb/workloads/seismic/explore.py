"""What there is to look at in predictions of windows: test windows as traces, and what each model says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLIT_CODES
from geonb.dashboards.explorer import Dim, Explorer, Place, Table
from geonb.dashboards.layers import CIVIDIS, Grid, Layer
from geonb.dashboards.page import caption_of, notes_html
from geonb.dashboards.sheets import Sheet
from geonb.plots.waveforms import traces_picture
from geonb.workloads.seismic import sections
from geonb.workloads.seismic.metrics import KINDS, joint
from geonb.workloads.seismic.store import COLOURS

if TYPE_CHECKING:
    from geonb.workloads.seismic.store import RecordStore

MOST = 60  # windows, the most mistaken and the surest of the test split
TRACE_PX = (110, 1200)  # of one channel


def explorer(predictions: xr.DataTree, arrays: xr.DataTree | None = None, store: RecordStore | None = None) -> Explorer:
    """Describe predictions of windows for the explorer; with their store also what stations saw of each event, see `sections`.

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
    before = None if store is None else store.meta["parameters"]["before"] / width
    box = (0.0, 0.0, width / rate, width / rate * height / TRACE_PX[1])

    def traces(place: int, at: Mapping[str, Any], slices: Mapping[str, slice]) -> np.ndarray:
        i = rows[place]
        if arrays is None:
            return np.zeros((1, 1, 4), np.uint8)
        group = arrays[str(data["source"].values[i])]["inputs"]
        start = int(data["start"].values[i])
        values = group.isel(record=int(data["record"].values[i]), time=slice(start, start + width)).to_numpy()
        kind = str(data["kind"].values[i])
        p = before if kind != "noise" else None
        return traces_picture(values, (height, TRACE_PX[1]), COLOURS[kind], p)[slices["y"], slices["x"]]

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
    strip_names = [] if store is None or arrays is None else store.channels
    places = [Place(_name(data, i, n, told[0, i]), grids, along="s", rows=strip_names) for n, i in enumerate(rows)]
    sheet = None if store is None else Sheet(
        "What stations saw of the event",
        lambda place, chosen: sections.sheet(store, int(data["row"].values[rows[place]]), chosen),
        sections.choices(store),
    )  # fmt: skip
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
        sheet=sheet,
        click="Click the traces: what each model says of this window. Seconds from left to right; each trace at its own scale; black: P.",
        packs=lambda: [
            *({"sheets": n, "said": f"What stations saw: of the first {n} windows."} for n in (8, 4)),
            {"image_px": 800, "sheets": 0, "said": "Traces in fewer points, without what stations saw."},
        ],
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
