"""The plane of samples to move about in: hovering shows a tile, a lasso selects. One piece of HTML that asks no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.dashboards.layers import png
from geonb.dashboards.page import data_uri, filled, framed, notes_html
from geonb.embeddings.trees import NOISE
from geonb.plots.planes import colours_of, spread
from geonb.plots.style import place_text
from geonb.plots.tiles import Tiles, tiles_at, when

if TYPE_CHECKING:
    from IPython.display import HTML

MOST_POINTS = 400
SIDES = (64, 48, 40, 32, 24, 16)  # px of a thumbnail: the largest that fits under the budget
PIXELS = ("source", "y", "x", "height", "width")  # where a sample lies in its source, in pixels


def tiles_map(
    xy: xr.DataArray, tiles: Tiles, letters: Sequence[str], most: int = MOST_POINTS, budget_mb: float = 1.5
) -> HTML:
    """Make a scatter whose points show their tile, kind, split, time and place; a lasso or a letter selects, as a table to keep.

    Parameters
    ----------
    xy : DataArray (sample, axis = 2) of `geonb.embeddings.planes.reduce`, with the samples' coordinates
    tiles : uint8 array (sample, h, w, 3) in the same order, or function of rows that reads those shown
    letters : sequence of str (sample,)
        Of `geonb.plots.dendrograms.dendrogram`; or any labels.
    most : int
        Points shown, spread over the plane where there are more.
    budget_mb : float
        Of all thumbnails.

    Returns
    -------
    IPython.display.HTML with an iframe that carries the document

    Raises
    ------
    ValueError
        If the letters do not match the samples.
    """
    return framed(tiles_page(xy, tiles, letters, most, budget_mb), "samples in the plane", 700, "tiles")


def tiles_page(
    xy: xr.DataArray, tiles: Tiles, letters: Sequence[str], most: int = MOST_POINTS, budget_mb: float = 1.5
) -> str:
    """The document inside the iframe of `tiles_map`, whole."""
    names = np.asarray(letters).astype(str)
    if len(names) != xy.sizes["sample"]:
        raise ValueError(f"{len(names)} letters for {xy.sizes['sample']} points: give one letter a sample.")
    points = xy.transpose("sample", "axis").to_numpy().astype(float)
    chosen = np.arange(len(points)) if len(points) <= most else np.sort(_drawn(points, most))
    pictures = thumbnails(tiles_at(tiles, xy, chosen), budget_mb)
    told = [
        f"{len(chosen):,} of {len(points):,} samples." if len(chosen) < len(points) else f"{len(points):,} samples."
    ]
    told.append(str(xy.attrs.get("meaning", "")))
    colours = {name: colour for name, colour in colours_of(names, xy.attrs).items() if name in set(names[chosen])}
    columns, table = table_of(xy.isel(sample=chosen), names[chosen].tolist())
    facts = {
        "title": "samples in the plane", "points": points[chosen].round(5).tolist(), "kinds": names[chosen].tolist(), "colours": colours,
        "noise": NOISE, "tiles": pictures, "columns": columns, "table": table, "notes": notes_html(xy.attrs, *told),
    }  # fmt: skip
    return filled(facts, [], "viewer/elements.js", "viewer/shapes.js", "plane.js")


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


def table_of(samples: xr.DataArray, letters: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of what is known of samples: the table that a selection is kept as, see `geonb.dashboards.selection`."""
    columns = ["row", "kind", *(name for name in ("label", "split") if name in samples.coords), "time", "place"]
    columns += [name for name in PIXELS if name in samples.coords]
    rows = []
    for i, kind in enumerate(letters):
        sample = samples.isel(sample=i)
        values = {"kind": str(kind), "time": ", ".join(when(sample)), "place": _place(sample)}
        rows.append(
            [
                values[name] if name in values else sample[name].item() if name in sample.coords else i
                for name in columns
            ]
        )
    return columns, rows


def _place(sample: xr.DataArray) -> str:
    """Latitude and longitude of a sample, for people; nothing where they are not known."""
    if not {"lon", "lat"} <= set(sample.coords) or not np.isfinite([float(sample["lon"]), float(sample["lat"])]).all():
        return ""
    return place_text(float(sample["lat"]), float(sample["lon"]))
