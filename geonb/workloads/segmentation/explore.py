"""Look around in predictions: a map with layers, opacity, class and threshold, and a click for one pixel.

`explore` is live (a widget; reads from disk what the screen needs), `frozen` is one HTML that needs neither kernel nor
network, `show` takes the one that fits: frozen where the runner said so (``GEONB_HEADLESS=1``), else live.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

from geonb.dashboards.map import (
    LAYERS,
    Place,
    legend_html,
    load_bokeh,
    map_figure,
    packed_rgba,
    paint_classes,
    paint_probability,
    paint_wrong,
    pixel_html,
)
from geonb.plots.maps import stretched
from geonb.plots.style import listed
from geonb.workloads.segmentation.frozen import frozen

__all__ = ["explore", "frozen", "show"]
VIEW_PIXELS = 900  # a side of the map on a screen; more is read thinned


def show(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Any:
    """Show predictions on a map: live in JupyterLab, frozen when the runner set ``GEONB_HEADLESS=1``.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`
    arrays : DataTree, optional
        A store's `arrays`: adds the image and its bands.
    """
    return frozen(predictions, arrays) if os.environ.get("GEONB_HEADLESS") == "1" else explore(predictions, arrays)


def explore(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Any:
    """Make the live map: widgets that drive one Bokeh figure.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`
    arrays : DataTree, optional
        A store's `arrays`: adds the image and its bands.

    Returns
    -------
    ipywidgets.VBox; its `explorer` is the `Explorer` behind it

    Raises
    ------
    ValueError
        If there is no source in the predictions.
    """
    if not predictions.children:
        raise ValueError("The predictions hold no source: nothing to explore. Run notebooks/03_prediction.ipynb first.")
    load_bokeh()
    return Explorer(predictions, arrays).widget


class Explorer:
    """The state of a live map: which source and layers, which part of the ground, and the figure that shows it."""

    def __init__(self, predictions: xr.DataTree, arrays: xr.DataTree | None) -> None:
        from bokeh.models import ColumnDataSource

        self.predictions, self.arrays = predictions, arrays
        self.place = Place(predictions, next(iter(predictions.children)), arrays)
        self.view, self.limits = self.place.bounds, None
        empty = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
        self.sources = {name: ColumnDataSource(dict(empty)) for name in ("base", "overlay")}
        self.sources["hover"] = ColumnDataSource({"label": [], "truth": [], "x": [], "y": [], "dw": [], "dh": []})
        self.sources |= {name: ColumnDataSource({"x": [], "y": []}) for name in ("click", "asked")}
        self.sources["seen"] = ColumnDataSource({"bounds": []})
        self.plot, self.overlay = map_figure(self.place, self.sources, 450)
        self._listen()
        self._controls()
        self.draw()
        self._assemble()

    def _listen(self) -> None:
        """Let the browser tell where one clicked and, when the map has come to rest, what it shows."""
        from bokeh.events import Tap
        from bokeh.models import CustomJS

        tap = "asked.data = {x: [cb_obj.x], y: [cb_obj.y]}"
        self.plot.js_on_event(Tap, CustomJS(args={"asked": self.sources["asked"]}, code=tap))
        rest = """clearTimeout(window.geonb_rest)
        window.geonb_rest = setTimeout(() => { seen.data = {bounds: [x.start, y.start, x.end, y.end]} }, 250)"""
        args = {"seen": self.sources["seen"], "x": self.plot.x_range, "y": self.plot.y_range}
        for axis in (self.plot.x_range, self.plot.y_range):
            for side in ("start", "end"):
                axis.js_on_change(side, CustomJS(args=args, code=rest))
        self.sources["asked"].on_change("data", lambda attr, old, new: self.click())
        self.sources["seen"].on_change("data", lambda attr, old, new: self.look(self.sources["seen"].data["bounds"]))

    def _controls(self) -> None:
        import ipywidgets as w

        layers = [(text, name) for name, text in LAYERS.items() if name != "image" or self.place.image is not None]
        wide = {"style": {"description_width": "70px"}, "layout": w.Layout(width="290px")}
        names = list(self.predictions.children)
        self.source = w.Dropdown(options=names, description="source", **wide)
        self.base = w.Dropdown(options=layers, description="below", **wide)
        self.over = w.Dropdown(options=[("nothing", "nothing"), *layers], value="label", description="on top", **wide)
        self.opacity = w.FloatSlider(0.5, min=0, max=1, step=0.05, description="opacity", readout_format=".0%", **wide)
        self.model = w.Dropdown(options=self.place.models, description="model", **wide)
        self.category = w.Dropdown(options=list(enumerate_options(self.place.classes)), description="class", **wide)
        look = wide | {"continuous_update": False}
        self.threshold = w.FloatSlider(0.0, min=0, max=1, step=0.05, description="at least", **look)
        self.about = w.HTML("<i>Click the map: place, bands, truth and every model's probabilities of that pixel.</i>")
        for control in (self.base, self.over, self.model, self.category, self.threshold):
            control.observe(lambda _: self.draw(), "value")
        self.opacity.observe(lambda change: setattr(self.overlay.glyph, "global_alpha", change["new"]), "value")
        self.source.observe(lambda change: self.go(change["new"]), "value")
        self.overlay.glyph.global_alpha = self.opacity.value

    def _assemble(self) -> None:
        """Put figure, controls and legend together. The figure goes in painted: what changes before it is shown is lost."""
        import ipywidgets as w
        from jupyter_bokeh.widgets import BokehModel

        attrs, several = self.predictions.attrs, len(self.predictions.children) > 1
        legend = w.HTML(legend_html(self.place, bool(attrs.get("simulated")), listed(attrs.get("notes"))))
        controls = [self.base, self.over, self.opacity, self.model, self.category, self.threshold]
        side = w.VBox([*([self.source] if several else []), *controls, self.about])
        self.widget = w.VBox([w.HBox([BokehModel(self.plot), side], layout=w.Layout(flex_flow="row wrap")), legend])
        self.widget.explorer = self
        self._show_still(self.widget._repr_mimebundle_)

    def _show_still(self, live: Callable[..., dict[str, Any]]) -> None:
        """Show a still picture beside the widget: what a converted or reopened notebook has when the kernel is gone."""

        def both(**options: Any) -> dict[str, Any]:
            return {**(live(**options) or {}), "image/png": base64.b64encode(self.still()).decode()}

        self.widget._repr_mimebundle_ = both

    def still(self) -> bytes:
        """The map as it is now, as PNG: one layer over the other."""
        layers = []
        for name in ("base", "overlay"):
            image = np.ascontiguousarray(self.sources[name].data["image"][0][::-1])
            layers.append(Image.fromarray(image.view(np.uint8).reshape(*image.shape, 4), "RGBA"))
        below, above = layers[0], layers[1].resize(layers[0].size, Image.Resampling.NEAREST)
        above.putalpha(above.getchannel("A").point(lambda value: int(value * self.opacity.value)))
        file = io.BytesIO()
        Image.alpha_composite(below, above).save(file, "PNG")
        return file.getvalue()

    def go(self, source: str) -> None:
        """Show another source."""
        self.place = Place(self.predictions, source, self.arrays)
        self.view, self.limits = self.place.bounds, None
        west, south, east, north = self.view
        self.plot.x_range.update(start=west, end=east, reset_start=west, reset_end=east)
        self.plot.y_range.update(start=south, end=north, reset_start=south, reset_end=north)
        self.sources["click"].data = {"x": [], "y": []}
        self.draw()

    def look(self, bounds: list[float]) -> None:
        """Read again for what the map now shows: closer in, more of the pixels that are on disk."""
        if len(bounds) == 4 and self.place.window(bounds, VIEW_PIXELS) != self.place.window(self.view, VIEW_PIXELS):
            self.view = tuple(bounds)
            self.draw()

    def draw(self) -> None:
        """Paint both layers and the unseen one under the pointer."""
        slices, (west, south, east, north) = self.place.window(self.view, VIEW_PIXELS)
        box = {"x": [west], "y": [south], "dw": [east - west], "dh": [north - south]}
        self.sources["base"].data = {"image": [self.paint(self.base.value, slices)], **box}
        self.sources["overlay"].data = {"image": [self.paint(self.over.value, slices)], **box}
        here = self.place.data[["label", "truth"]].isel(slices).sel(model=self.model.value).load()
        under = {name: [np.ascontiguousarray(here[name].values[::-1])] for name in ("label", "truth")}
        self.sources["hover"].data = {**under, **box}

    def paint(self, layer: str, slices: dict[str, slice]) -> np.ndarray:
        """One layer of the view as uint32 colours (y, x), the south row first."""
        data = self.place.data.sel(model=self.model.value).isel(slices)
        if layer == "image":
            return self._paint_image(slices)
        if layer in ("truth", "label"):
            return paint_classes(data[layer].values, self.place.colours)
        if layer == "wrong":
            return paint_wrong(data["truth"].values, data["label"].values)
        if layer == "probability":
            chosen = data["probability"].isel({"class": self.category.value})
            return paint_probability(chosen.values.astype("float32"), self.threshold.value)
        if layer == "sure":
            return paint_probability(data["probability"].max("class").values.astype("float32"), self.threshold.value)
        return packed_rgba(np.zeros((1, 1, 3), np.uint8), 0.0)

    def _paint_image(self, slices: dict[str, slice]) -> np.ndarray:
        bands = {"channel": self.place.bands}
        if self.limits is None:  # of the whole scene, so that colours do not change while one zooms
            whole = (
                self.place.image[["inputs", "valid"]].isel(bands | self.place.window(self.place.bounds, 500)[0]).load()
            )
            good = whole.inputs.values[:, whole.valid.values.astype(bool)].astype("float32")
            self.limits = [tuple(np.nanpercentile(band, (2, 98))) if band.size else (0.0, 1.0) for band in good]
        here = self.place.image[["inputs", "valid"]].isel(bands | slices).load()
        shown = stretched(here.inputs, here.valid, self.limits)
        return packed_rgba((shown[..., :3] * 255).astype(np.uint8), shown[..., 3])

    def click(self) -> None:
        """Tell everything about the pixel that was clicked."""
        asked = self.sources["asked"].data
        if not len(asked["x"]):
            return
        pixel = self.place.pixel(asked["x"][0], asked["y"][0])
        if pixel is None:
            self.about.value = "<i>Outside the scene.</i>"
            return
        about = self.place.describe(*pixel)
        self.sources["click"].data = {"x": [about["x"]], "y": [about["y"]]}
        self.about.value = pixel_html(about, self.place)


def enumerate_options(names: list[str]) -> list[tuple[str, int]]:
    """Names with their positions, as ipywidgets wants options."""
    return [(name, position) for position, name in enumerate(names)]
