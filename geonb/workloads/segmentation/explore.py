"""Look around in predictions: a map with layers, opacity, class and threshold, and a click for one pixel.

`explore` is live (a widget; reads from disk what the screen needs), `frozen` is one HTML that needs neither kernel nor
network, `show` takes the one that fits: frozen where the runner said so (``GEONB_HEADLESS=1``), else live.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

from geonb.dashboards import live
from geonb.dashboards.layers import packed_rgba, paint_probability
from geonb.plots.maps import percentiles, stretched
from geonb.workloads.segmentation.explore_pixels import (
    LAYERS,
    Place,
    legend_html,
    map_figure,
    paint_classes,
    paint_wrong,
    pixel_html,
)
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
    return frozen(predictions, arrays) if live.headless() else explore(predictions, arrays)


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
    live.load_bokeh()
    return Explorer(predictions, arrays).widget


class Explorer:
    """The state of a live map: which source and layers, which part of the ground, and the figure that shows it."""

    def __init__(self, predictions: xr.DataTree, arrays: xr.DataTree | None) -> None:
        self.predictions, self.arrays = predictions, arrays
        self.place = Place(predictions, next(iter(predictions.children)), arrays)
        self.view: tuple[float, ...] = self.place.bounds
        self.limits: list[tuple[float, float]] | None = None
        layer, point = "image x y dw dh", "x y"
        self.sources = live.sources_of(
            base=layer, overlay=layer, hover="label truth x y dw dh", click=point, asked=point, seen="bounds"
        )
        self.plot, self.overlay = map_figure(self.place, self.sources, 450)
        live.on_click(self.plot, self.sources["asked"], self.click)
        live.on_rest(self.plot, self.sources["seen"], self.look)
        self._controls()
        self.draw()
        self._assemble()

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
        self.category = w.Dropdown(
            options=[(name, position) for position, name in enumerate(self.place.classes)], description="class", **wide
        )
        look = wide | {"continuous_update": False}
        self.threshold = w.FloatSlider(0.0, min=0, max=1, step=0.05, description="at least", **look)
        self.about = w.HTML("<i>Click the map: place, bands, truth and every model's probabilities of that pixel.</i>")
        for control in (self.base, self.over, self.model, self.category, self.threshold):
            control.observe(lambda _: self.draw(), "value")
        self.opacity.observe(lambda change: setattr(self.overlay.glyph, "global_alpha", change["new"]), "value")
        self.source.observe(lambda change: self.go(change["new"]), "value")
        self.overlay.glyph.global_alpha = self.opacity.value

    def _assemble(self) -> None:
        import ipywidgets as w

        legend = w.HTML(legend_html(self.place, self.predictions.attrs))
        several = [self.source] if len(self.predictions.children) > 1 else []
        controls = [self.base, self.over, self.opacity, self.model, self.category, self.threshold, self.about]
        self.widget = live.with_still(w.VBox([live.beside(self.plot, [*several, *controls]), legend]), self)

    def still(self) -> bytes:
        """The map as it is now, as PNG: one layer over the other."""
        below, above = (live.picture_of(self.sources[name].data["image"][0]) for name in ("base", "overlay"))
        above = above.resize(below.size, Image.Resampling.NEAREST)
        above.putalpha(above.getchannel("A").point(lambda value: int(value * self.opacity.value)))
        return live.encoded(Image.alpha_composite(below, above))

    def go(self, source: str) -> None:
        """Show another source."""
        self.place = Place(self.predictions, source, self.arrays)
        self.view, self.limits = self.place.bounds, None
        live.move_to(self.plot, self.view)
        self.sources["click"].data = {"x": [], "y": []}
        self.draw()

    def look(self, bounds: tuple[float, ...]) -> None:
        """Read again for what the map now shows: closer in, more of the pixels that are on disk."""
        if self.place.window(bounds, VIEW_PIXELS) != self.place.window(self.view, VIEW_PIXELS):
            self.view = bounds
            self.draw()

    def draw(self) -> None:
        """Paint both layers and the unseen one under the pointer."""
        slices, bounds = self.place.window(self.view, VIEW_PIXELS)
        box = live.box_of(bounds)
        self.sources["base"].data = {"image": [self.paint(self.base.value, slices)], **box}
        self.sources["overlay"].data = {"image": [self.paint(self.over.value, slices)], **box}
        under = self.place.data[["label", "truth"]].isel(slices).sel(model=self.model.value).load()
        hover = {name: [np.ascontiguousarray(under[name].values[::-1])] for name in ("label", "truth")}
        self.sources["hover"].data = {**hover, **box}

    def paint(self, layer: str, slices: dict[str, slice]) -> np.ndarray:
        """One layer of the view as uint32 colours (y, x), the south row first."""
        data = self.place.data.sel(model=self.model.value).isel(slices)
        if layer == "image" and self.place.image is not None:
            return self._paint_image(self.place.image, slices)
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

    def _paint_image(self, image: xr.Dataset, slices: dict[str, slice]) -> np.ndarray:
        bands = {"channel": self.place.bands}
        if self.limits is None:  # of the whole scene, so that colours do not change while one zooms
            thin = self.place.window(self.place.bounds, 500)[0]
            whole = image[["inputs", "valid"]].isel(bands | thin).load()
            good = whole.inputs.values[:, whole.valid.values.astype(bool)].astype("float32")
            self.limits = [percentiles(band) for band in good]
        view = image[["inputs", "valid"]].isel(bands | slices).load()
        shown = stretched(view.inputs, view.valid, self.limits)
        return packed_rgba((shown[..., :3] * 255).astype(np.uint8), shown[..., 3])

    def click(self, x: float, y: float) -> None:
        """Tell everything about the pixel that was clicked."""
        pixel = self.place.pixel(x, y)
        if pixel is None:
            self.about.value = "<i>Outside the scene.</i>"
            return
        about = self.place.describe(*pixel)
        self.sources["click"].data = {"x": [about["x"]], "y": [about["y"]]}
        self.about.value = pixel_html(about, self.place)
