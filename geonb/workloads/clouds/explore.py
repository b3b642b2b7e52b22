"""Look around in embeddings of clouds: scenes in time, what a network sees in them as colours, and all tiles like the one clicked.

`explore` is live (ipywidgets that drive one Bokeh figure), `frozen` one HTML that needs neither kernel nor network, `show`
takes the one that fits: frozen where the runner said so (``GEONB_HEADLESS=1``), else live.
"""

from __future__ import annotations

import base64
import io
import os
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image, ImageDraw

from geonb.dashboards.map import load_bokeh, packed_rgba
from geonb.plots.cells import SEA
from geonb.plots.style import NODATA_COLOUR
from geonb.workloads.clouds.explore_style import (
    AROUND,
    LAYERS,
    legend_html,
    paint_components,
    paint_distances,
    squares,
    tile_html,
)
from geonb.workloads.clouds.explore_tiles import Clouds, SceneSeries, Tile
from geonb.workloads.clouds.frozen import frozen
from geonb.workloads.clouds.predict import series_of

__all__ = ["explore", "frozen", "show"]
VIEW_PIXELS = 700  # a side of the map on a screen; more is read thinned
NO_MAP = (
    "**No map.** The triplets came as pictures, without place and time: there is no scene to move over. The kinds, the plane and the "
    "tiles under the pointer are in notebook 05, the triplets themselves in 03."
)
COAST, BORDER = "#ffe08a", "#c9b48a"  # to be seen on sea and on cloud


def show(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Any:
    """Show embedded scenes on a map: live in JupyterLab, frozen when the runner set ``GEONB_HEADLESS=1``.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`, a group a series with ``embedding`` (time, y, x, dim)
    arrays : DataTree, optional
        A store's `arrays`: adds the scenes themselves.

    Without a scene that was embedded (triplets that came as pictures have none) a word takes the place of the map.
    """
    if not series_of(predictions):
        from IPython.display import Markdown

        return Markdown(NO_MAP)
    return frozen(predictions, arrays) if os.environ.get("GEONB_HEADLESS") == "1" else explore(predictions, arrays)


def explore(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Any:
    """Make the live map: widgets that drive one Bokeh figure.

    Returns
    -------
    ipywidgets.VBox; its `explorer` is the `Explorer` behind it

    Raises
    ------
    ValueError
        If the predictions hold no embedded scenes, or no tile of them is valid.
    """
    clouds = Clouds(predictions, arrays)
    load_bokeh()
    return Explorer(clouds).widget


class Explorer:
    """The state of a live map: which series and time, which tile was clicked, and the figure that shows it."""

    def __init__(self, clouds: Clouds) -> None:
        from bokeh.models import ColumnDataSource

        self.clouds, self.tile = clouds, clouds.start()
        self.alike = clouds.alike(self.tile)
        self.here = clouds.series[self.tile.series]
        self.view, self.busy = self.here.bounds, False
        box = {name: [] for name in ("x", "y", "dw", "dh")}
        contents = {
            "base": {"image": [], **box}, "overlay": {"image": [], **box}, "asked": {"x": [], "y": []}, "seen": {"bounds": []},
            "under": {"distance": [], "lon": [], "lat": [], **box}, "squares": squares(clouds, self.here.name, 0, None, []),
            "coast": {"xs": [], "ys": []}, "borders": {"xs": [], "ys": []},
        }  # fmt: skip
        self.sources = {name: ColumnDataSource(data) for name, data in contents.items()}
        self.plot, self.overlay = clouds_figure(self.here, self.sources)
        self._controls()
        self._listen()
        self.draw()
        self._assemble()

    def _controls(self) -> None:
        import ipywidgets as w

        wide = {"style": {"description_width": "52px"}, "layout": w.Layout(width="322px")}
        self.series = w.Dropdown(options=list(self.clouds.series), value=self.here.name, description="series", **wide)
        self.time = w.SelectionSlider(
            options=self._times(), value=self.tile.time, description="time", readout=False, **wide
        )
        self.play = w.Play(
            min=0, max=len(self.here.times) - 1, value=self.tile.time, interval=700, layout=w.Layout(width="140px")
        )
        w.link((self.play, "value"), (self.time, "index"))
        self.layer = w.Dropdown(options=[(text, name) for name, text in LAYERS.items()], description="on top", **wide)
        self.opacity = w.FloatSlider(0.55, min=0, max=1, step=0.05, description="opacity", readout_format=".0%", **wide)
        self.marks = w.Checkbox(True, description="outline the tile and those most alike", indent=False)
        self.when, self.about, self.legend = w.HTML(), w.HTML(), w.HTML()

    def _times(self) -> list[tuple[str, int]]:
        labels = [self.here.label(i) for i in range(len(self.here.times))]
        twice = len(set(labels)) < len(labels)  # a slider wants each once
        return [(f"{label} ({i + 1})" if twice else label, i) for i, label in enumerate(labels)]

    def _listen(self) -> None:
        """Let the browser tell where one clicked and, when the map has come to rest, what it shows."""
        from bokeh.events import Tap
        from bokeh.models import CustomJS

        tap = "asked.data = {x: [cb_obj.x], y: [cb_obj.y]}"
        self.plot.js_on_event(Tap, CustomJS(args={"asked": self.sources["asked"]}, code=tap))
        rest = """clearTimeout(window.geonb_rest)
        window.geonb_rest = setTimeout(() => { seen.data = {bounds: [x.start, y.start, x.end, y.end]} }, 250)"""
        ranges = {"x": self.plot.x_range, "y": self.plot.y_range}
        for axis in ranges.values():
            for side in ("start", "end"):
                axis.js_on_change(side, CustomJS(args={"seen": self.sources["seen"], **ranges}, code=rest))
        self.sources["asked"].on_change("data", lambda attr, old, new: self.click())
        self.sources["seen"].on_change("data", lambda attr, old, new: self.look(self.sources["seen"].data["bounds"]))
        self.opacity.observe(lambda change: setattr(self.overlay.glyph, "global_alpha", change["new"]), "value")
        self.overlay.glyph.global_alpha = self.opacity.value
        for control in (self.time, self.layer, self.marks):
            control.observe(lambda _: self.draw(), "value")
        self.series.observe(lambda change: self.go(change["new"]), "value")

    def _assemble(self) -> None:
        """Put figure and controls together. The figure goes in painted: what changes before it is shown is lost."""
        import ipywidgets as w
        from jupyter_bokeh.widgets import BokehModel

        several = [self.series] if len(self.clouds.series) > 1 else []
        times = (
            [w.HBox([self.play, self.when]), self.time]
            if max(len(s.times) for s in self.clouds.series.values()) > 1
            else []
        )
        controls = [*several, *times, self.layer, self.opacity, self.marks, self.legend, self.about]
        side = w.VBox(controls, layout=w.Layout(width="338px"))
        self.widget = w.HBox([BokehModel(self.plot), side], layout=w.Layout(flex_flow="row wrap"))
        self.widget.explorer = self
        live = self.widget._repr_mimebundle_

        def both(**options: Any) -> dict[str, Any]:  # a still picture for a notebook whose kernel is gone
            return {**(live(**options) or {}), "image/png": base64.b64encode(self.still()).decode()}

        self.widget._repr_mimebundle_ = both

    def go(self, name: str) -> None:
        """Show another series; the tile that was clicked stays, so that distances to it can be seen there too."""
        self.here, self.busy = self.clouds.series[name], True
        self.view, last = self.here.bounds, len(self.here.times) - 1
        place = min(self.time.index or 0, last)  # new options put the slider back to the first
        self.time.options, self.play.max = self._times(), last
        self.time.index = place
        west, south, east, north = self.view
        self.plot.x_range.update(start=west, end=east, reset_start=west, reset_end=east)
        self.plot.y_range.update(start=south, end=north, reset_start=south, reset_end=north)
        self.plot.frame_height = frame_height(self.here, self.plot.frame_width)
        label_axes(self.plot, self.here)
        for lines in ("coast", "borders"):
            self.sources[lines].data = _lines(self.here, lines)
        self.busy = False
        self.draw()

    def look(self, bounds: list[float]) -> None:
        """Read the scene again for what the map now shows: closer in, more of the pixels that are on disk."""
        if len(bounds) == 4 and tuple(bounds) != tuple(self.view):
            self.view = tuple(bounds)
            self._paint_scene()

    def _paint_scene(self) -> None:
        shown = self.here.picture(self.time.value, self.view, VIEW_PIXELS) if self.here.image is not None else None
        if shown is None:
            grey = np.zeros((1, 1, 3), np.uint8)
            self.sources["base"].data = {"image": [packed_rgba(grey, 0.0)], **_box(self.here.bounds)}
            return
        colours, bounds = shown
        image = packed_rgba(colours[..., :3], colours[..., 3] / 255)
        self.sources["base"].data = {"image": [image], **_box(bounds)}

    def draw(self) -> None:
        """Paint the scene, what lies on top and the outlines, and tell of the tile."""
        if self.busy:
            return
        name, time, box = self.here.name, self.time.value, _box(self.here.grid)
        squared = self.here.distances(time, self.clouds.vector(self.tile))
        painted = {
            "components": lambda: paint_components(self.clouds, name, time),
            "distance": lambda: paint_distances(self.clouds, squared),
            "nothing": lambda: packed_rgba(np.zeros((1, 1, 3), np.uint8), 0.0),
        }[self.layer.value]()
        self._paint_scene()
        self.sources["overlay"].data = {"image": [painted], **box}
        lon, lat = self.here.lonlat(*np.meshgrid(self.here.data.x.values, self.here.data.y.values))
        under = {"distance": squared, "lon": lon, "lat": lat}
        self.sources["under"].data = {n: [np.ascontiguousarray(v[::-1], "float32")] for n, v in under.items()} | box
        marked = self.tile if self.marks.value else None
        self.sources["squares"].data = squares(self.clouds, name, time, marked, self.alike)
        self.plot.title.text, self.when.value = self.title(), f"<b>{self.here.label(time)}</b>"
        self.legend.value = legend_html(self.clouds, self.layer.value)
        self.about.value = tile_html(self.clouds, self.tile, self.alike, name, time)

    def title(self) -> str:
        """What the map shows."""
        about = f"{self.here.name}, " if len(self.clouds.series) > 1 else ""
        own = self.clouds.series[self.tile.series]
        other = (own, self.tile.time) != (self.here, self.time.value)
        far = f": distance to the tile{f' of {own.label(self.tile.time)}' if other else ''}"
        return f"{about}{self.here.label(self.time.value)}{far if self.layer.value == 'distance' else ''}"

    def click(self) -> None:
        """Take the tile that was clicked, and show the distance to it."""
        asked = self.sources["asked"].data
        if not len(asked["x"]):
            return
        place = self.here.nearest(asked["x"][0], asked["y"][0], self.time.value)
        if place is None:
            self.about.value = "<i>No tile there: outside the scene, or mostly no data.</i>"
            return
        self.tile = Tile(self.here.name, self.time.value, *place)
        self.alike = self.clouds.alike(self.tile)
        if self.layer.value == "components":
            self.layer.value = "distance"  # draws
        else:
            self.draw()

    def still(self, width: int = 900) -> bytes:
        """The map as it is now, as PNG: scene, what lies on top, coasts, outlines."""
        west, south, east, north = self.here.bounds
        size = width, max(1, round(width * (north - south) / (east - west)))
        whole = Image.new("RGBA", size, NODATA_COLOUR)
        for name, alpha in (("base", 1.0), ("overlay", self.opacity.value)):
            data = self.sources[name].data
            image = np.ascontiguousarray(data["image"][0][::-1])
            layer = Image.fromarray(image.view(np.uint8).reshape(*image.shape, 4), "RGBA")
            left, top = self._pixel(data["x"][0], data["y"][0] + data["dh"][0], size)
            right, bottom = self._pixel(data["x"][0] + data["dw"][0], data["y"][0], size)
            how = Image.Resampling.BILINEAR if name == "base" else Image.Resampling.NEAREST
            layer = layer.resize((max(1, right - left), max(1, bottom - top)), how)
            layer.putalpha(layer.getchannel("A").point(lambda value, alpha=alpha: int(value * alpha)))
            whole.alpha_composite(layer, (max(0, left), max(0, top)), (max(0, -left), max(0, -top)))
        self._draw_lines(ImageDraw.Draw(whole), size)
        file = io.BytesIO()
        whole.convert("RGB").save(file, "PNG")
        return file.getvalue()

    def _pixel(self, x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
        west, south, east, north = self.here.bounds
        return round((x - west) / (east - west) * size[0]), round((north - y) / (north - south) * size[1])

    def _draw_lines(self, pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
        for name, colour in (("coast", COAST), ("borders", BORDER)):
            for line in self.here.lines[name]:
                pen.line([self._pixel(x, y, size) for x, y in line], fill=colour, width=2)
        marked = self.sources["squares"].data
        for x, y, wide, high, colour in zip(*(marked[n] for n in ("x", "y", "width", "height", "colour")), strict=True):
            corners = (self._pixel(x + i * wide / 2, y - i * high / 2, size) for i in (-1, 1))
            pen.rectangle([at for corner in corners for at in corner], outline=colour, width=3)


def _box(bounds: tuple[float, float, float, float]) -> dict[str, list[float]]:
    west, south, east, north = bounds
    return {"x": [west], "y": [south], "dw": [east - west], "dh": [north - south]}


def _lines(series: SceneSeries, name: str) -> dict[str, list[list[float]]]:
    return {f"{axis}s": [line[:, i].tolist() for line in series.lines[name]] for i, axis in enumerate("xy")}


def clouds_figure(series: SceneSeries, sources: dict[str, Any], width_px: int = 490) -> tuple[Any, Any]:
    """The Bokeh figure and the renderer of what lies on top: scene, colours of tiles, coasts and borders, outlines."""
    from bokeh.models import BoxZoomTool, CustomJSHover, HoverTool, Range1d
    from bokeh.plotting import figure

    west, south, east, north = series.bounds
    plot = figure(
        x_range=Range1d(west, east), y_range=Range1d(south, north), tools="pan,wheel_zoom,reset,tap", title=" ",
        active_scroll="wheel_zoom", toolbar_location="right", match_aspect=True, output_backend="canvas",
        background_fill_color=SEA if series.image is None else NODATA_COLOUR, frame_width=width_px,
        frame_height=frame_height(series, width_px),
    )  # fmt: skip
    plot.add_tools(BoxZoomTool(match_aspect=True))
    plot.grid.visible, plot.toolbar.logo = False, None
    box = {"x": "x", "y": "y", "dw": "dw", "dh": "dh"}
    plot.image_rgba(image="image", source=sources["base"], **box)
    overlay = plot.image_rgba(image="image", source=sources["overlay"], **box)
    unseen = plot.image(image="distance", source=sources["under"], global_alpha=0.0, **box)
    for name, colour in (("coast", COAST), ("borders", BORDER)):
        sources[name].data = _lines(series, name)
        plot.multi_line("xs", "ys", source=sources[name], line_color=colour, line_width=1.4)
    for colour, wide in ((AROUND, 5), ("colour", 2.5)):
        dash = "solid" if colour == AROUND else {"field": "dash"}
        plot.rect(
            "x", "y", "width", "height", source=sources["squares"], fill_color=None, line_color=colour, line_width=wide,
            line_dash=dash,
        )  # fmt: skip
    look = {"text_color": AROUND, "text_font_style": "bold", "text_font_size": "12px", "text_align": "center"}
    look |= {"text_baseline": "middle", "background_fill_color": {"field": "colour"}}
    plot.text("x", "y", "text", source=sources["squares"], **look)
    place = CustomJSHover(code="return isFinite(value) ? value.toFixed(2) + '°' : '-'")
    far = CustomJSHover(code="return isFinite(value) ? String(+value.toPrecision(3)) : 'no tile'")
    tips = [("lat, lon", "@lat{custom}, @lon{custom}"), ("squared distance", "@distance{custom}")]
    formatters = {"@lat": place, "@lon": place, "@distance": far}
    plot.add_tools(HoverTool(tooltips=tips, formatters=formatters, renderers=[unseen]))
    label_axes(plot, series)
    return plot, overlay


def frame_height(series: SceneSeries, width_px: int) -> int:
    """Height, px, at which a pixel of the scenes is a square."""
    west, south, east, north = series.bounds
    return int(np.clip(width_px * (north - south) / (east - west), 200, 760))


def label_axes(plot: Any, series: SceneSeries) -> None:
    """Kilometres on the scenes' own grid, or degrees."""
    from bokeh.models import CustomJSTickFormatter

    from geonb.rasters.grids import crs_name

    if series.crs is not None and series.crs.is_projected:
        plot.xaxis.axis_label, plot.yaxis.axis_label = f"x [km], {crs_name(series.crs)}", "y [km]"
        for axis in (*plot.xaxis, *plot.yaxis):
            axis.formatter = CustomJSTickFormatter(
                code="return (tick / 1000).toFixed(Math.abs(ticks[1] - ticks[0]) < 1000 ? 1 : 0)"
            )
    elif series.crs is not None:
        plot.xaxis.axis_label, plot.yaxis.axis_label = "longitude [°]", "latitude [°]"
    else:
        plot.xaxis.axis_label, plot.yaxis.axis_label = "x", "y"
