"""The plane of samples to move about in: hovering over a point shows its tile. One piece of HTML that asks no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.dashboards.layers import png
from geonb.dashboards.page import data_uri, framed, notes_html
from geonb.embeddings.trees import NOISE
from geonb.plots.planes import colours_of, spread
from geonb.plots.style import place_text
from geonb.plots.tiles import Tiles, tiles_at, when

if TYPE_CHECKING:
    from IPython.display import HTML

MOST_POINTS = 400
SIDES = (64, 48, 40, 32, 24, 16)  # px of a thumbnail: the largest that fits under the budget
SHOWN_PX = 110


def tiles_map(
    xy: xr.DataArray, tiles: Tiles, letters: Sequence[str], most: int = MOST_POINTS, budget_mb: float = 1.5
) -> HTML:
    """Make a scatter whose points show their tile, kind, split, time and place under the pointer.

    Parameters
    ----------
    xy : DataArray (sample, axis = 2) of `geonb.embeddings.planes.reduce`, with the samples' coordinates
    tiles : uint8 array (sample, h, w, 3) in the same order, or function of rows that reads those shown
    letters : sequence of str (sample,)
        Of `geonb.plots.dendrograms.dendrogram`; or any labels.
    most : int
        Points shown, spread over the plane where there are more.
    budget_mb : float
        Of all thumbnails; Bokeh's own code comes on top, about 1.

    Returns
    -------
    IPython.display.HTML with an iframe that carries the document

    Raises
    ------
    ValueError
        If the letters do not match the samples.
    """
    return framed(tiles_page(xy, tiles, letters, most, budget_mb), "samples in the plane", 640, "tiles")


def tiles_page(
    xy: xr.DataArray, tiles: Tiles, letters: Sequence[str], most: int = MOST_POINTS, budget_mb: float = 1.5
) -> str:
    """The document inside the iframe of `tiles_map`, whole."""
    from bokeh.embed import file_html
    from bokeh.layouts import column
    from bokeh.models import Div
    from bokeh.resources import INLINE

    names = np.asarray(letters).astype(str)
    if len(names) != xy.sizes["sample"]:
        raise ValueError(f"{len(names)} letters for {xy.sizes['sample']} points: give one letter a sample.")
    points = xy.transpose("sample", "axis").to_numpy().astype(float)
    chosen = np.arange(len(points)) if len(points) <= most else np.sort(_drawn(points, most))
    pictures = thumbnails(tiles_at(tiles, xy, chosen), budget_mb)
    plot = _figure(xy.isel(sample=chosen), points[chosen], names[chosen], pictures, colours_of(names, xy.attrs))
    told = [
        f"{len(chosen):,} of {len(points):,} samples." if len(chosen) < len(points) else f"{len(points):,} samples."
    ]
    told.append(str(xy.attrs.get("meaning", "")))
    notes = Div(text=f'<div style="font:12px sans-serif">{notes_html(xy.attrs, *told)}</div>', width=860)
    return file_html(column(plot, notes), INLINE, title="geonb: samples in the plane")


def _drawn(points: np.ndarray, most: int) -> np.ndarray:
    """Half of the points spread over the plane, half at random: its outline and its density."""
    outline = spread(points, most // 2)
    rest = np.setdiff1d(np.arange(len(points)), outline)
    return np.concatenate([outline, np.random.default_rng(0).choice(rest, most - len(outline), replace=False)])


def thumbnails(tiles: np.ndarray, budget_mb: float) -> list[str]:
    """PNG data URIs of tiles (sample, h, w, 3), together at most `budget_mb`, as large as that allows.

    Raises
    ------
    ValueError
        If even the smallest do not fit.
    """
    for side in SIDES:
        pictures = [_png(tile, side) for tile in tiles]
        if sum(map(len, pictures)) <= budget_mb * 1e6:
            return pictures
    raise ValueError(f"{len(tiles)} tiles do not fit into {budget_mb} MB: raise `budget_mb`, or show fewer points.")


def _png(tile: np.ndarray, side: int) -> str:
    from PIL import Image

    image = Image.fromarray(tile)
    if max(image.size) > side:
        share = side / max(image.size)
        image = image.resize([max(1, round(length * share)) for length in image.size], Image.Resampling.BOX)
    return data_uri(png(image))


def _figure(
    xy: xr.DataArray, points: np.ndarray, names: np.ndarray, pictures: list[str], colours: dict[str, str]
) -> Any:
    """The Bokeh figure: a renderer a kind, so that the legend can hide it."""
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    plot = figure(
        width=860,
        height=560,
        tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll="wheel_zoom",
        toolbar_location="above",
    )
    plot.axis.visible = plot.grid.visible = False
    about = [_about(xy.isel(sample=place)) for place in range(len(names))]
    for name in [name for name in colours if name in set(names)]:
        here = np.flatnonzero(names == name)
        source = {
            "x": points[here, 0], "y": points[here, 1], "tile": [pictures[place] for place in here],
            "about": [about[place] for place in here], "kind": [name] * len(here),
        }  # fmt: skip
        look = {"size": 8, "color": colours[name], "alpha": 0.85, "line_color": None}
        plot.scatter("x", "y", legend_label="none" if name == NOISE else name, source=source, **look)
    plot.add_tools(HoverTool(tooltips=_tooltip(), point_policy="snap_to_data", attachment="horizontal"))
    plot.legend.click_policy, plot.legend.title = "hide", "kind (click hides)"
    plot.add_layout(plot.legend[0], "right")
    return plot


def _tooltip() -> str:
    picture = f"<img src='@tile' style='width:{SHOWN_PX}px;image-rendering:pixelated;display:block'>"
    return f"<div style='font:11px sans-serif'>{picture}<b>@kind</b> @about</div>"


def _about(sample: xr.DataArray) -> str:
    """Label, split, time and place of a sample, in a line of text."""
    parts = [str(sample[key].item()) for key in ("label", "split") if key in sample.coords]
    parts += when(sample)
    if {"lon", "lat"} <= set(sample.coords) and np.isfinite([float(sample["lon"]), float(sample["lat"])]).all():
        lon, lat = float(sample["lon"]), float(sample["lat"])
        parts.append(place_text(lat, lon))
    if "source" in sample.coords:
        parts.append(str(sample["source"].item()))
    return ", ".join(parts)
