"""The map of predictions as one piece of HTML: no kernel, no network; the data are inside, packed small."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.base.conventions import SPLIT_CODES
from geonb.dashboards import live
from geonb.dashboards.layers import RAMP, colour_table
from geonb.dashboards.page import framed, packed
from geonb.rasters.grids import lonlat
from geonb.workloads.segmentation.explore_pixels import LAYERS, RIGHT, WRONG, Place, legend_html, map_figure

if TYPE_CHECKING:
    from IPython.display import HTML

TEMPLATES = Path(__file__).parent / "templates"
BOKEH_MB = 1.8  # what Bokeh itself takes, with its widgets
SMALLEST_SIDE = 64  # px; below that a map says nothing


def frozen(predictions: xr.DataTree, arrays: xr.DataTree | None = None, budget_mb: float = 4) -> HTML:
    """Make the map as HTML that works on its own: in JupyterLab, in a converted notebook and in the report.

    What does not fit under the budget goes in this order, and the map says so: steps of 1 % (then 2 %), the baselines'
    probabilities, the bands that are not shown, every second (third ...) pixel.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`
    arrays : DataTree, optional
        A store's `arrays`: adds the image and its bands.
    budget_mb : float
        Of the whole HTML, of which Bokeh takes about 1.8.

    Returns
    -------
    IPython.display.HTML with an iframe that carries the document

    Raises
    ------
    ValueError
        If there is no source, or the budget leaves no room for a map.
    """
    return framed(frozen_page(predictions, arrays, budget_mb), "map of the predictions", 700)


def frozen_page(predictions: xr.DataTree, arrays: xr.DataTree | None = None, budget_mb: float = 4) -> str:
    """The document inside `frozen`'s iframe, whole."""
    from bokeh.document import Document
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    names = list(predictions.children)
    if not names:
        raise ValueError("The predictions hold no source: nothing to show. Run notebooks/03_prediction.ipynb first.")
    room = (budget_mb - BOKEH_MB) * 1e6 / len(names)
    places = [Place(predictions, name, arrays) for name in names]
    parts = [fitting(place, room) for place in places]
    layout, ready = _document(places, parts, predictions.attrs)
    document = Document(title="geonb: map of the predictions")
    document.add_root(layout)
    document.js_on_event("document_ready", ready)
    return file_html(document, INLINE)


def fitting(place: Place, room_bytes: float) -> dict[str, Any]:
    """Pack a source as richly as fits into `room_bytes`; see `pack` for what comes out."""
    for step in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        if step > 1 and max(place.data.sizes["y"], place.data.sizes["x"]) / step < SMALLEST_SIDE:
            break
        cells = -(-place.data.sizes["y"] // step) * -(-place.data.sizes["x"] // step)
        if cells > 3 * room_bytes:  # even two bytes a pixel would not pack into that: do not read it
            continue
        for models, levels, every_band in (
            (0, 100, True),
            (0, 50, True),
            (1, 100, True),
            (1, 50, True),
            (1, 50, False),
        ):
            part = pack(place, step, models or len(place.models), levels, every_band)
            if len(part["data"]) <= room_bytes:
                return part
    raise ValueError(
        f"No room for a map of {place.name} in {room_bytes / 1e6:.1f} MB: raise budget_mb (above {BOKEH_MB}), or show fewer sources."
    )


def pack(place: Place, step: int, models: int, levels: int, every_band: bool) -> dict[str, Any]:
    """Take every `step`-th pixel, quantise to bytes, compress.

    Parameters
    ----------
    models : int
        How many models keep their probabilities (the network is the first); all keep their labels.
    levels : int
        Steps of a probability from 0 to 1.
    every_band : bool
        Keep all bands, or only those of the picture.

    Returns
    -------
    dict with ``data`` (base64 of gzip of bytes: bands, truth, labels, split, probabilities, each (y, x)) and how to read it
    """
    thin = {"y": slice(step // 2, None, step), "x": slice(step // 2, None, step)}
    data = place.data[["truth", "label", "split"]].isel(thin).load()
    probability = place.data["probability"].isel(thin).isel(model=slice(0, models)).values.astype("float32")
    known = np.isfinite(probability)
    steps = np.where(known, np.rint(np.where(known, probability, 0) * levels), 255).astype(np.uint8)
    bands, scaling, rgb = _bands(place, thin, every_band)
    steps = steps.reshape(-1, *steps.shape[2:])
    planes = [bands, data.truth.values[None], data.label.values, data.split.values[None], steps]
    height, width = steps.shape[1:]
    west, south, east, north = place.bounds
    size = (east - west) / place.data.sizes["x"] * step, (north - south) / place.data.sizes["y"] * step
    return {
        "name": place.name, "height": height, "width": width, "step": step, "models": models, "levels": levels,
        "rgb": rgb, "bands": scaling,
        "bounds": [west, north - height * size[1], west + width * size[0], north], "whole": list(place.bounds),
        "lonlat": _lonlat_grid(place), "data": packed([np.asarray(plane, np.uint8) for plane in planes], 9),
    }  # fmt: skip


def _bands(
    place: Place, thin: dict[str, slice], every: bool
) -> tuple[np.ndarray, list[dict[str, Any]], list[list[float]]]:
    """Bands as bytes (255 = no data), how to read them back, and [position, low, high] of red, green and blue."""
    if place.image is None:
        return np.zeros((0, *place.data.truth.isel(thin).shape), np.uint8), [], []
    chosen = list(range(place.image.sizes["channel"])) if every else sorted(set(place.bands))
    here = place.image[["inputs", "valid"]].isel(thin | {"channel": chosen}).load()
    values, good = here.inputs.values.astype("float64"), here.valid.values.astype(bool)
    planes, scaling, limits = [], [], {}
    for position, band in zip(chosen, values, strict=True):
        seen = band[good] if good.any() else np.zeros(1)
        low, high = float(seen.min()), float(seen.max())
        whole = here.inputs.dtype.kind in "ui" and high - low <= 254
        scale = 1.0 if whole else max((high - low) / 254, 1e-12)
        planes.append(np.where(good, np.rint((band - low) / scale), 255).astype(np.uint8))
        name = str(place.image.channel.values[position])
        scaling.append({"name": name, "offset": low, "scale": scale, "exact": whole})
        limits[position] = [(float(v) - low) / scale for v in np.percentile(seen, (2, 98))]
    return np.stack(planes), scaling, [[chosen.index(band), *limits[band]] for band in place.bands]


def _lonlat_grid(place: Place, side: int = 9) -> list[list[float]] | None:
    """Longitude and latitude at side x side places, the south-west first: the browser interpolates between them."""
    if place.crs is None:
        return None
    west, south, east, north = place.bounds
    x, y = np.meshgrid(np.linspace(west, east, side), np.linspace(south, north, side))
    return [np.round(values.ravel(), 7).tolist() for values in lonlat(place.crs, x, y)]


def _document(places: list[Place], parts: list[dict[str, Any]], attrs: Mapping[Hashable, Any]) -> tuple[Any, Any]:
    """The Bokeh layout, and the callback that draws it when the page is ready."""
    from bokeh.events import Tap
    from bokeh.layouts import column, row
    from bokeh.models import CustomJS, Div, Select, Slider

    place, layer = places[0], "image x y dw dh"
    sources = live.sources_of(base=layer, overlay=layer, hover="label truth x y dw dh", click="x y")
    plot, overlay = map_figure(place, sources, 540)
    overlay.glyph.global_alpha = 0.5
    layers = [(name, text) for name, text in LAYERS.items() if name != "image" or parts[0]["bands"]]
    controls = {
        "source": Select(title="source", options=[p.name for p in places], value=place.name, visible=len(places) > 1),
        "below": Select(title="below", options=layers, value=layers[0][0]),
        "top": Select(title="on top", options=[("nothing", "nothing"), *layers], value="label"),
        "opacity": Slider(title="opacity", start=0, end=1, step=0.05, value=0.5),
        "model": Select(title="model", options=place.models, value=place.models[0]),
        "category": Select(title="class", options=place.classes, value=place.classes[0]),
        "threshold": Slider(title="probability at least", start=0, end=1, step=0.05, value=0),
    }
    about = Div(text="<i>Click the map: place, bands, truth and probabilities of that pixel.</i>", width=330)
    table = colour_table(place.colours)[: len(place.classes)].tolist()
    facts = {
        "classes": place.classes,
        "models": place.models,
        "table": table,
        "ramp": RAMP,
        "splits": list(SPLIT_CODES),
    }
    facts |= {"wrong": WRONG, "right": RIGHT, "parts": parts}
    held = {"facts": json.dumps(facts), "plot": plot, "about": about, "glyph": overlay.glyph, **sources}
    held |= {f"c_{name}": control for name, control in controls.items()}
    code = (TEMPLATES / "frozen.js").read_text()
    draw = CustomJS(args=held, code=code)  # one for drawing and clicking: its arguments carry the data
    for control in controls.values():
        control.js_on_change("value", draw)
    plot.js_on_event(Tap, draw)
    legend = Div(text=legend_html(place, attrs, said_of(parts)), width=880)
    for control in controls.values():
        control.width = 300
    return column(row(plot, column(*controls.values(), about)), legend), draw


def said_of(parts: list[dict[str, Any]]) -> str:
    """What was left out to keep the map small."""
    said = [f"{p['name']}: every {p['step']}th pixel a side." for p in parts if p["step"] > 1]
    if any(part["models"] == 1 for part in parts):
        said.append("Probabilities of the network only.")
    return " ".join([*said, f"Frozen: probabilities in steps of {100 // min(part['levels'] for part in parts)} %."])
