"""What the live and the frozen map share: layers as colours, the Bokeh figure, the table of one pixel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import xarray as xr

from geonb.plots.maps import crs_name, crs_of, default_bands, edges
from geonb.plots.style import class_colours

LAYERS = {
    "image": "image",
    "truth": "truth",
    "label": "label of the model",
    "probability": "probability of the class",
    "wrong": "where the model is wrong",
    "sure": "probability of the label",
}
WRONG, RIGHT = (181, 64, 15), (223, 231, 234)
# cividis at eight places: readable with every common colour deficiency, dark is low
RAMP = (
    (0, 34, 78),
    (37, 56, 110),
    (79, 84, 110),
    (112, 113, 116),
    (144, 143, 118),
    (181, 175, 104),
    (221, 209, 78),
    (254, 232, 56),
)
SPLITS = ("none", "train", "val", "test")


def packed_rgba(rgb: np.ndarray, alpha: np.ndarray | float = 1.0) -> np.ndarray:
    """(y, x, 3) uint8 and opacity 0-1 -> (y, x) uint32 as Bokeh's image_rgba wants it, the south row first."""
    out = np.empty((*rgb.shape[:2], 4), np.uint8)
    out[..., :3] = rgb
    out[..., 3] = np.broadcast_to(np.asarray(alpha) * 255, rgb.shape[:2]).astype(np.uint8)
    return np.ascontiguousarray(out.view(np.uint32)[::-1, :, 0])


def class_table(colours: Sequence[str]) -> np.ndarray:
    """Colour of each class index (256, 3) uint8."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = [tuple(bytes.fromhex(colour.lstrip("#"))) for colour in colours]
    return table


def paint_classes(labels: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Class indices (y, x) uint8 -> uint32 colours; no class is transparent."""
    return packed_rgba(class_table(colours)[labels], labels < len(colours))


def paint_probability(values: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Probability 0-1 (y, x) -> uint32 colours; below the threshold, and where there is none, transparent."""
    known = np.isfinite(values)
    place = np.clip(np.where(known, values, 0), 0, 1) * (len(RAMP) - 1)
    ramp = np.array(RAMP, float)
    low = np.minimum(place.astype(int), len(RAMP) - 2)
    rgb = ramp[low] + (place - low)[..., None] * (ramp[low + 1] - ramp[low])
    return packed_rgba(rgb.round().astype(np.uint8), known & (values >= threshold))


def paint_wrong(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where the label is not the truth -> uint32 colours; where either is missing, transparent."""
    rgb = np.where((truth != labels)[..., None], np.uint8(WRONG), np.uint8(RIGHT))
    return packed_rgba(rgb, (truth != 255) & (labels != 255))


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
        there = arrays is not None and source in arrays.children
        self.image = north_up(arrays[source].to_dataset()) if there else None
        self.crs, self.bounds = crs_of(self.data), edges(self.data)
        self.classes = [str(name) for name in self.data["class"].values]
        self.models = [str(name) for name in self.data["model"].values]
        self.colours = list(class_colours(self.classes, predictions.attrs).values())
        self.bands = default_bands(self.image.channel.values) if there else []

    def window(
        self, bounds: Sequence[float], pixels: int
    ) -> tuple[dict[str, slice], tuple[float, float, float, float]]:
        """Slices of the grid that show `bounds` in at most `pixels` a side, and the ground they cover; see `window`."""
        return window(self.bounds, (self.data.sizes["y"], self.data.sizes["x"]), bounds, pixels)

    def pixel(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the pixel at a place, or None outside."""
        west, south, east, north = self.bounds
        if not (west <= x < east and south < y <= north):
            return None
        return (
            int((north - y) / (north - south) * self.data.sizes["y"]),
            int((x - west) / (east - west) * self.data.sizes["x"]),
        )

    def lonlat(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Longitude and latitude, degrees, of places in the CRS."""
        from pyproj import Transformer

        return Transformer.from_crs(self.crs, "OGC:CRS84", always_xy=True).transform(x, y)

    def describe(self, row: int, column: int) -> dict[str, Any]:
        """Everything known of one pixel, read from disk at full resolution."""
        here = self.data[["probability", "label", "truth", "split"]].isel(y=row, x=column).load()
        x, y = float(here.x), float(here.y)
        lon, lat = self.lonlat(x, y) if self.crs is not None else (None, None)
        bands = {}
        if self.image is not None:
            values = self.image[["inputs", "valid"]].isel(y=row, x=column).load()
            bands = dict(zip(map(str, values.channel.values), values.inputs.values.tolist(), strict=True))
            bands = bands if bool(values.valid) else dict.fromkeys(bands)
        return {
            "x": x, "y": y, "lon": lon, "lat": lat, "row": row, "column": column, "bands": bands,
            "truth": self.name_of(int(here.truth)), "split": SPLITS[int(here.split)],
            "labels": {m: self.name_of(int(v)) for m, v in zip(self.models, here.label.values, strict=True)},
            "probability": here.probability.transpose("model", "class").values.astype(float),
        }  # fmt: skip

    def name_of(self, index: int) -> str:
        """Name of a class index; "none" for no class."""
        return self.classes[index] if index < len(self.classes) else "none"


def north_up(data: xr.Dataset) -> xr.Dataset:
    """The Dataset with its first row in the north."""
    return data.isel(y=slice(None, None, -1)) if data.sizes["y"] > 1 and data.y[0] < data.y[-1] else data


def with_indices(data: xr.Dataset) -> xr.Dataset:
    """The Dataset with class indices as bytes, 255 where there is none, also where a reader made NaN of a fill value."""
    decoded = [name for name in ("label", "truth") if data[name].dtype.kind == "f"]
    return data.assign({name: data[name].fillna(255).astype("uint8") for name in decoded})


def window(
    whole: Sequence[float], shape: tuple[int, int], view: Sequence[float], pixels: int
) -> tuple[dict[str, slice], tuple[float, float, float, float]]:
    """Slices of a grid that show a view in at most `pixels` a side, and the ground they cover.

    The slices are strided where the view is larger than that, so that only so much is kept in memory.

    Parameters
    ----------
    whole : tuple = (west, south, east, north), outer edges of a grid of `shape` (rows, columns) with north up
    view : tuple = (west, south, east, north)
    """
    west, south, east, north = whole
    size_x, size_y = (east - west) / shape[1], (north - south) / shape[0]
    left, right = _span((view[0] - west) / size_x, (view[2] - west) / size_x, shape[1])
    top, bottom = _span((north - view[3]) / size_y, (north - view[1]) / size_y, shape[0])
    step = max(1, -(-max(right - left, bottom - top) // pixels))
    columns, rows = -(-(right - left) // step), -(-(bottom - top) // step)
    slices = {"y": slice(top, bottom, step), "x": slice(left, right, step)}
    x, y = west + left * size_x, north - top * size_y
    return slices, (x, y - rows * step * size_y, x + columns * step * size_x, y)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Whole pixels from low to high inside a side of `size`; at least one."""
    first = int(np.clip(np.floor(low), 0, size - 1))
    return first, int(np.clip(np.ceil(high), first + 1, size))


def map_figure(place: Place, sources: Mapping[str, Any], width_px: int = 560) -> Any:
    """The Bokeh figure: two image layers, an unseen one for the hover, a cross where one clicked.

    Parameters
    ----------
    place : Place
    sources : mapping of ColumnDataSource
        ``base`` and ``overlay`` (image, x, y, dw, dh), ``hover`` (label, truth, x, y, dw, dh), ``click`` (x, y).
    """
    from bokeh.models import BoxZoomTool, CustomJSHover, HoverTool, Range1d
    from bokeh.plotting import figure

    west, south, east, north = place.bounds
    stretch = 1 / np.cos(np.deg2rad((south + north) / 2)) if place.crs is not None and place.crs.is_geographic else 1.0
    height = int(np.clip(width_px * (north - south) * stretch / (east - west), 200, 700))
    plot = figure(
        x_range=Range1d(west, east), y_range=Range1d(south, north), tools="pan,wheel_zoom,reset,tap",
        active_scroll="wheel_zoom", toolbar_location="above", background_fill_color="#e3e3e3", output_backend="canvas",
        frame_width=width_px, frame_height=height,
    )  # fmt: skip
    plot.add_tools(BoxZoomTool(match_aspect=True))
    plot.grid.visible = False
    plot.toolbar.logo = None
    box = {"x": "x", "y": "y", "dw": "dw", "dh": "dh"}
    plot.image_rgba(image="image", source=sources["base"], **box)
    overlay = plot.image_rgba(image="image", source=sources["overlay"], **box)
    unseen = plot.image(image="label", source=sources["hover"], global_alpha=0.0, **box)
    plot.scatter("x", "y", source=sources["click"], marker="cross", size=22, line_width=3, line_color="white")
    plot.scatter("x", "y", source=sources["click"], marker="cross", size=20, line_width=1.5, line_color="#d7191c")
    names = CustomJSHover(args={"names": place.classes}, code="return names[value] ?? 'none'")
    tips = [("label", "@label{custom}"), ("truth", "@truth{custom}")]
    plot.add_tools(HoverTool(tooltips=tips, formatters={"@label": names, "@truth": names}, renderers=[unseen]))
    label_axes(plot, place)
    return plot, overlay


def label_axes(plot: Any, place: Place) -> None:
    """Kilometres where the CRS counts metres, degrees where it is geographic."""
    from bokeh.models import CustomJSTickFormatter

    if place.crs is not None and place.crs.is_projected:
        code = crs_name(place.crs)
        plot.xaxis.axis_label, plot.yaxis.axis_label = f"easting [km], {code}", "northing [km]"
        for axis in (*plot.xaxis, *plot.yaxis):
            axis.formatter = CustomJSTickFormatter(
                code="return (tick / 1000).toFixed(Math.abs(ticks[1] - ticks[0]) < 1000 ? 2 : 0)"
            )
    elif place.crs is not None:
        plot.xaxis.axis_label, plot.yaxis.axis_label = "longitude [°]", "latitude [°]"
    else:
        plot.xaxis.axis_label, plot.yaxis.axis_label = "x", "y"


def legend_html(place: Place, simulated: bool, notes: Sequence[str]) -> str:
    """Swatches of the classes, and what the data are."""
    chips = "".join(
        f'<span style="white-space:nowrap;margin-right:10px"><span style="display:inline-block;width:11px;height:11px;'
        f'border:1px solid #666;background:{escape(colour)};margin-right:4px"></span>{escape(name)}</span>'
        for name, colour in zip(place.classes, place.colours, strict=True)
    )
    low, high = (f"rgb{RAMP[i]}" for i in (0, -1))
    ramp = ",".join(f"rgb{colour}" for colour in RAMP)
    scale = (
        f'<span style="white-space:nowrap">probability 0 <span style="display:inline-block;width:70px;height:9px;'
        f'background:linear-gradient(90deg,{low},{ramp},{high})"></span> 1</span>'
    )
    stamp = (
        '<b style="background:#fff3bf;border:1px solid #c08a00;padding:0 5px">simulated data</b> ' if simulated else ""
    )
    said = f'<div style="color:#666;font-size:11px">{stamp}{escape(" ".join(notes))}</div>'
    return f'<div style="font:12px sans-serif;line-height:1.7">{chips}{scale}</div>{said}'


def pixel_html(about: Mapping[str, Any], place: Place) -> str:
    """The table of one pixel: place, bands, truth, and each model's probabilities as bars."""
    cells = "".join(
        f'<tr><td style="border-left:10px solid {colour};padding-left:5px">{escape(name)}</td>'
        + "".join(_bar(about["probability"][m, c]) for m in range(len(place.models)))
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


def _bar(value: float) -> str:
    if not np.isfinite(value):
        return '<td style="color:#999">-</td>'
    fill = f"linear-gradient(90deg,#c9d8e6 {value:.0%},transparent {value:.0%})"
    return f'<td style="min-width:74px;background:{fill}">{value:.2f}</td>'


def load_bokeh() -> None:
    """Give Bokeh's own code to the browser from this machine: jupyter_bokeh expects it there, and asks no network for it."""
    from bokeh import __version__
    from bokeh.resources import Resources
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is not None:
        code = json.dumps("\n".join(Resources("inline", components=["bokeh"]).js_raw))
        # a script element of its own: JupyterLab evaluates outputs where `this` is not the window Bokeh looks for
        added = "document.head.appendChild(Object.assign(document.createElement('script'), {textContent: code}))"
        wanted = f"const code = {code};\nif (window.Bokeh?.version !== '{__version__}') {added}"
        display({"application/javascript": wanted, "text/plain": "(Bokeh for the map below)"}, raw=True)
