"""Look around in embeddings of clouds: scenes in time, what a network sees in them as colours, and all tiles like the one clicked.

`explore` is live (ipywidgets that drive one Bokeh figure), `frozen` one HTML that needs neither kernel nor network, `show`
takes the one that fits: frozen where the runner said so (``GEONB_HEADLESS=1``), else live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from PIL import Image, ImageDraw

from geonb.dashboards import live
from geonb.dashboards.layers import packed_rgba
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

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, GlyphRenderer
    from bokeh.plotting import figure as BokehFigure

__all__ = ["explore", "frozen", "show"]
VIEW_PIXELS = 700  # a side of the map on a screen; more is read thinned
MOST_PX = 760  # of the map from north to south
NOTHING = packed_rgba(np.zeros((1, 1, 3), np.uint8), 0.0)
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
    return frozen(predictions, arrays) if live.headless() else explore(predictions, arrays)


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
    live.load_bokeh()
    return Explorer(clouds).widget


class Explorer:
    """The state of a live map: which series and time, which tile was clicked, and the figure that shows it."""

    def __init__(self, clouds: Clouds) -> None:
        self.clouds, self.tile = clouds, clouds.start()
        self.alike = clouds.alike(self.tile)
        self.here = clouds.series[self.tile.series]
        self.view: tuple[float, ...] = self.here.bounds
        self.busy = False
        layer, lines = "image x y dw dh", "xs ys"
        self.sources = live.sources_of(
            base=layer, overlay=layer, asked="x y", seen="bounds", under="distance lon lat x y dw dh",
            squares=" ".join(squares(clouds, self.here.name, 0, None, [])), coast=lines, borders=lines,
        )  # fmt: skip
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
        self.play = live.player(self.time, 700)
        self.layer = w.Dropdown(options=[(text, name) for name, text in LAYERS.items()], description="on top", **wide)
        self.opacity = w.FloatSlider(0.55, min=0, max=1, step=0.05, description="opacity", readout_format=".0%", **wide)
        self.marks = w.Checkbox(True, description="outline the tile and those most alike", indent=False)
        self.when, self.about, self.legend = w.HTML(), w.HTML(), w.HTML()

    def _times(self) -> list[tuple[str, int]]:
        labels = [self.here.label(i) for i in range(len(self.here.times))]
        twice = len(set(labels)) < len(labels)  # a slider wants each once
        return [(f"{label} ({i + 1})" if twice else label, i) for i, label in enumerate(labels)]

    def _listen(self) -> None:
        live.on_click(self.plot, self.sources["asked"], self.click)
        live.on_rest(self.plot, self.sources["seen"], self.look)
        self.opacity.observe(lambda change: setattr(self.overlay.glyph, "global_alpha", change["new"]), "value")
        self.overlay.glyph.global_alpha = self.opacity.value
        for control in (self.time, self.layer, self.marks):
            control.observe(lambda _: self.draw(), "value")
        self.series.observe(lambda change: self.go(change["new"]), "value")

    def _assemble(self) -> None:
        import ipywidgets as w

        several = [self.series] if len(self.clouds.series) > 1 else []
        moves = max(len(series.times) for series in self.clouds.series.values()) > 1
        times = [w.HBox([self.play, self.when]), self.time] if moves else []
        controls = [*several, *times, self.layer, self.opacity, self.marks, self.legend, self.about]
        self.widget = live.with_still(live.beside(self.plot, controls, width="338px"), self)

    def go(self, name: str) -> None:
        """Show another series; the tile that was clicked stays, so that distances to it can be seen there too."""
        self.here, self.busy = self.clouds.series[name], True
        self.view, last = self.here.bounds, len(self.here.times) - 1
        place = min(self.time.index or 0, last)  # new options put the slider back to the first
        self.time.options, self.play.max = self._times(), last
        self.time.index = place
        live.move_to(self.plot, self.view)
        self.plot.frame_height = live.frame_height(self.view, self.plot.frame_width, most=MOST_PX)
        live.label_axes(self.plot, self.here.crs, digits=1)
        for lines in ("coast", "borders"):
            self.sources[lines].data = _lines(self.here, lines)
        self.busy = False
        self.draw()

    def look(self, bounds: tuple[float, ...]) -> None:
        """Read the scene again for what the map now shows: closer in, more of the pixels that are on disk."""
        if bounds != tuple(self.view):
            self.view = bounds
            self._paint_scene()

    def _paint_scene(self) -> None:
        shown = self.here.picture(self.time.value, self.view, VIEW_PIXELS)
        image, bounds = (
            (NOTHING, self.here.bounds)
            if shown is None
            else (packed_rgba(shown[0][..., :3], shown[0][..., 3] / 255), shown[1])
        )
        self.sources["base"].data = {"image": [image], **live.box_of(bounds)}

    def draw(self) -> None:
        """Paint the scene, what lies on top and the outlines, and tell of the tile."""
        if self.busy:
            return
        name, time, box = self.here.name, self.time.value, live.box_of(self.here.grid)
        squared = self.here.distances(time, self.clouds.vector(self.tile))
        painted = {
            "components": lambda: paint_components(self.clouds, name, time),
            "distance": lambda: paint_distances(self.clouds, squared),
            "nothing": lambda: NOTHING,
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

    def click(self, x: float, y: float) -> None:
        """Take the tile that was clicked, and show the distance to it."""
        place = self.here.nearest(x, y, self.time.value)
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
            layer = live.picture_of(data["image"][0])
            left, top = self._pixel(data["x"][0], data["y"][0] + data["dh"][0], size)
            right, bottom = self._pixel(data["x"][0] + data["dw"][0], data["y"][0], size)
            how = Image.Resampling.BILINEAR if name == "base" else Image.Resampling.NEAREST
            layer = layer.resize((max(1, right - left), max(1, bottom - top)), how)
            layer.putalpha(layer.getchannel("A").point(lambda value, alpha=alpha: int(value * alpha)))
            whole.alpha_composite(layer, (max(0, left), max(0, top)), (max(0, -left), max(0, -top)))
        self._draw_lines(ImageDraw.Draw(whole), size)
        return live.encoded(whole.convert("RGB"))

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


def _lines(series: SceneSeries, name: str) -> dict[str, list[list[float]]]:
    return {f"{axis}s": [line[:, i].tolist() for line in series.lines[name]] for i, axis in enumerate("xy")}


def clouds_figure(
    series: SceneSeries, sources: dict[str, ColumnDataSource], width_px: int = 490
) -> tuple[BokehFigure, GlyphRenderer]:
    """The Bokeh figure and the renderer of what lies on top: scene, colours of tiles, coasts and borders, outlines."""
    from bokeh.models import CustomJSHover, HoverTool

    plot = live.map_frame(
        series.bounds, width_px, live.frame_height(series.bounds, width_px, most=MOST_PX),
        SEA if series.image is None else NODATA_COLOUR, title=" ", toolbar_location="right", match_aspect=True,
    )  # fmt: skip
    plot.image_rgba(image="image", source=sources["base"], **live.BOX)
    overlay = plot.image_rgba(image="image", source=sources["overlay"], **live.BOX)
    unseen = plot.image(image="distance", source=sources["under"], global_alpha=0.0, **live.BOX)
    for name, colour in (("coast", COAST), ("borders", BORDER)):
        sources[name].data = _lines(series, name)
        plot.multi_line("xs", "ys", source=sources[name], line_color=colour, line_width=1.4)
    for colour, wide in ((AROUND, 5), ("colour", 2.5)):
        dash = "solid" if colour == AROUND else {"field": "dash"}
        plot.rect(
            "x", "y", "width", "height", source=sources["squares"], fill_color=None, line_color=colour, line_width=wide,
            line_dash=dash,
        )  # fmt: skip
    look: dict[str, Any] = {
        "text_color": AROUND,
        "text_font_style": "bold",
        "text_font_size": "12px",
        "text_align": "center",
    }
    look |= {"text_baseline": "middle", "background_fill_color": {"field": "colour"}}
    plot.text("x", "y", "text", source=sources["squares"], **look)
    place = CustomJSHover(code="return isFinite(value) ? value.toFixed(2) + '°' : '-'")
    far = CustomJSHover(code="return isFinite(value) ? String(+value.toPrecision(3)) : 'no tile'")
    tips = [("lat, lon", "@lat{custom}, @lon{custom}"), ("squared distance", "@distance{custom}")]
    formatters = {"@lat": place, "@lon": place, "@distance": far}
    plot.add_tools(HoverTool(tooltips=tips, formatters=formatters, renderers=[unseen]))
    live.label_axes(plot, series.crs, digits=1)
    return plot, overlay
