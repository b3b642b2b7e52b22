"""What the live and the frozen map share: layers as colours, the Bokeh figure, the table of one pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.base.conventions import IGNORE, SPLIT_CODES
from geonb.dashboards import live
from geonb.dashboards.layers import RAMP, cell_at, colour_table, group_of, north_up, packed_rgba, window
from geonb.dashboards.page import bar_cell, notes_html, swatch
from geonb.plots.maps import crs_of, default_bands, edges
from geonb.plots.style import NODATA_COLOUR, class_colours
from geonb.rasters.grids import lonlat

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, GlyphRenderer
    from bokeh.plotting import figure as BokehFigure

LAYERS = {
    "image": "image",
    "truth": "truth",
    "label": "label of the model",
    "probability": "probability of the class",
    "wrong": "where the model is wrong",
    "sure": "probability of the label",
}
WRONG, RIGHT = (181, 64, 15), (223, 231, 234)


def paint_classes(labels: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Class indices (y, x) uint8 -> uint32 colours; no class is transparent."""
    return packed_rgba(colour_table(colours)[labels], labels < len(colours))


def paint_wrong(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where the label is not the truth -> uint32 colours; where either is missing, transparent."""
    rgb = np.where((truth != labels)[..., None], np.array(WRONG, np.uint8), np.array(RIGHT, np.uint8))
    return packed_rgba(rgb, (truth != IGNORE) & (labels != IGNORE))


class Place:
    """One source of the predictions on the ground: its grid, its CRS, and the way to longitude and latitude.

    Attributes
    ----------
    data : Dataset of the predictions' group, with north up
    image : Dataset of the store's arrays on the same grid, or None
    bounds : tuple = (west, south, east, north), in the CRS
    """

    def __init__(self, predictions: xr.DataTree, source: str, arrays: xr.DataTree | None) -> None:
        self.name = source
        self.data = with_indices(north_up(predictions[source].to_dataset()))
        self.image = group_of(arrays, source)
        self.crs, self.bounds = crs_of(self.data), edges(self.data)
        self.classes = [str(name) for name in self.data["class"].values]
        self.models = [str(name) for name in self.data["model"].values]
        self.colours = list(class_colours(self.classes, predictions.attrs).values())
        self.bands = default_bands(self.image.channel.values) if self.image is not None else []

    def window(
        self, bounds: Sequence[float], pixels: int
    ) -> tuple[dict[str, slice], tuple[float, float, float, float]]:
        """Slices of the grid that show `bounds` in at most `pixels` a side, and the ground they cover; see `window`."""
        return window(self.bounds, (self.data.sizes["y"], self.data.sizes["x"]), bounds, pixels)

    def pixel(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the pixel at a place, or None outside."""
        return cell_at(self.bounds, (self.data.sizes["y"], self.data.sizes["x"]), x, y)

    def describe(self, row: int, column: int) -> dict[str, Any]:
        """Everything known of one pixel, read from disk at full resolution."""
        here = self.data[["probability", "label", "truth", "split"]].isel(y=row, x=column).load()
        x, y = float(here.x), float(here.y)
        lon, lat = lonlat(self.crs, x, y) if self.crs is not None else (None, None)
        bands = {}
        if self.image is not None:
            values = self.image[["inputs", "valid"]].isel(y=row, x=column).load()
            bands = dict(zip(map(str, values.channel.values), values.inputs.values.tolist(), strict=True))
            bands = bands if bool(values.valid) else dict.fromkeys(bands)
        return {
            "x": x, "y": y, "lon": lon, "lat": lat, "row": row, "column": column, "bands": bands,
            "truth": self.name_of(int(here.truth)), "split": list(SPLIT_CODES)[int(here.split)],
            "labels": {m: self.name_of(int(v)) for m, v in zip(self.models, here.label.values, strict=True)},
            "probability": here.probability.transpose("model", "class").values.astype(float),
        }  # fmt: skip

    def name_of(self, index: int) -> str:
        """Name of a class index; "none" for no class."""
        return self.classes[index] if index < len(self.classes) else "none"


def with_indices(data: xr.Dataset) -> xr.Dataset:
    """The Dataset with class indices as bytes, 255 where there is none, also where a reader made NaN of a fill value."""
    decoded = [name for name in ("label", "truth") if data[name].dtype.kind == "f"]
    return data.assign({name: data[name].fillna(IGNORE).astype("uint8") for name in decoded})


def map_figure(
    place: Place, sources: Mapping[str, ColumnDataSource], width_px: int = 560
) -> tuple[BokehFigure, GlyphRenderer]:
    """The Bokeh figure and the renderer of its upper layer: two image layers, an unseen one for the hover, a cross where one clicked.

    Parameters
    ----------
    place : Place
    sources : mapping of ColumnDataSource
        ``base`` and ``overlay`` (image, x, y, dw, dh), ``hover`` (label, truth, x, y, dw, dh), ``click`` (x, y).
    """
    from bokeh.models import CustomJSHover, HoverTool

    _, south, _, north = place.bounds
    stretch = 1 / np.cos(np.deg2rad((south + north) / 2)) if place.crs is not None and place.crs.is_geographic else 1.0
    plot = live.map_frame(place.bounds, width_px, live.frame_height(place.bounds, width_px, stretch), NODATA_COLOUR)
    plot.image_rgba(image="image", source=sources["base"], **live.BOX)
    overlay = plot.image_rgba(image="image", source=sources["overlay"], **live.BOX)
    unseen = plot.image(image="label", source=sources["hover"], global_alpha=0.0, **live.BOX)
    plot.scatter("x", "y", source=sources["click"], marker="cross", size=22, line_width=3, line_color="white")
    plot.scatter("x", "y", source=sources["click"], marker="cross", size=20, line_width=1.5, line_color="#d7191c")
    names = CustomJSHover(args={"names": place.classes}, code="return names[value] ?? 'none'")
    tips = [("label", "@label{custom}"), ("truth", "@truth{custom}")]
    plot.add_tools(HoverTool(tooltips=tips, formatters={"@label": names, "@truth": names}, renderers=[unseen]))
    live.label_axes(plot, place.crs, ("easting", "northing"))
    return plot, overlay


def legend_html(place: Place, attrs: Mapping[Any, Any], *more: str) -> str:
    """Swatches of the classes, and what the data are."""
    classes = "".join(swatch(colour, name) for name, colour in zip(place.classes, place.colours, strict=True))
    ramp = ",".join(f"rgb{colour}" for colour in RAMP)
    scale = (
        f'<span style="white-space:nowrap;margin-left:10px">probability 0 <span style="display:inline-block;width:70px;height:9px;'
        f'background:linear-gradient(90deg,{ramp})"></span> 1</span>'
    )
    return f'<div style="font:12px sans-serif;line-height:1.7">{classes}{scale}</div>{notes_html(attrs, last=more)}'


def pixel_html(about: Mapping[str, Any], place: Place) -> str:
    """The table of one pixel: place, bands, truth, and each model's probabilities as bars."""
    cells = "".join(
        f'<tr><td style="border-left:10px solid {colour};padding-left:5px">{escape(name)}</td>'
        + "".join(bar_cell(about["probability"][m, c], "#c9d8e6", 74, ".2f") for m in range(len(place.models)))
        + "</tr>"
        for c, (name, colour) in enumerate(zip(place.classes, place.colours, strict=True))
    )
    heads = "".join(f"<th>{escape(m)}<br><small>{escape(about['labels'][m])}</small></th>" for m in place.models)
    bands = ", ".join(f"{escape(k)} {'no data' if v is None else format(v, '.5g')}" for k, v in about["bands"].items())
    lonlat = f"{about['lat']:.5f}°, {about['lon']:.5f}° (lat, lon)" if about["lat"] is not None else ""
    return (
        f'<div style="font:12px sans-serif"><b>{about["x"]:,.1f} E, {about["y"]:,.1f} N</b> {lonlat}<br>'
        f"row {about['row']}, column {about['column']}; {escape(about['split'])} split<br>"
        f"bands: {bands or 'not given'}<br>truth: <b>{escape(about['truth'])}</b>"
        f'<table style="border-spacing:4px 1px;text-align:left"><tr><th>class</th>{heads}</tr>{cells}</table></div>'
    )
