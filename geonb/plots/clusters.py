"""Where each kind lies and when it was seen: footprints of tiles on their source, components as colours, shares in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from geonb.embeddings.trees import NOISE
from geonb.plots.cells import draw_ground, ground_in, ground_note
from geonb.plots.maps import (
    PANEL_PIXELS,
    crs_of,
    default_bands,
    draw_on_grid,
    edges,
    percentiles,
    scale_bar,
    stretched,
    thinned,
)
from geonb.plots.style import COASTS_NOTE, evenly, finish, ink_on, styled, swatches
from geonb.plots.tiles import cluster_colours

COAST_KM = 300  # a scene narrower than that is not described by coasts that are off by kilometres
MOST_LETTERED = 160  # footprints of a map that carry their letter
MOST_BARS = 36


@styled
def kinds_map(letters: Sequence[str], embeddings: xr.Dataset, arrays: xr.DataTree, most: int = 4) -> Figure | None:
    """Draw where each kind lies: the tiles' footprints on their source, coloured by letter.

    Parameters
    ----------
    letters : sequence of str (sample,)
        Of `geonb.plots.dendrograms.dendrogram`.
    embeddings : Dataset or DataArray with the coordinates ``source, y, x, height, width`` (pixels) of each sample
    arrays : DataTree
        A store's `arrays`: a group a source with coordinates y, x and a CRS; where it has ``inputs``, they are drawn below.
    most : int
        Sources drawn, those with the most samples first.

    Returns
    -------
    Figure, or None where all samples of each source lie on the same ground
    """
    names = np.asarray(letters).astype(str)
    colours = cluster_colours(names)
    kinds = list(colours)
    tones = np.array([to_rgb(colour) for colour in colours.values()])
    number = np.array([kinds.index(name) for name in names])

    def paint(here: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], step: int) -> np.ndarray:
        votes = np.zeros((len(kinds), *_thin_shape(shape, step)), np.uint32)
        for kind, *box in zip(number[here], *boxes[here].T, strict=True):
            for area in _areas(box, shape, step):
                votes[kind][area] += 1
        return np.dstack([tones[votes.argmax(0)], np.where(votes.sum(0) > 0, 0.62, 0)])

    drawn = _maps(embeddings, arrays, most, paint, "Kinds")
    if drawn is None:
        return None
    figure, axes, sources, note = drawn
    for ax, source in zip(axes, sources, strict=True):
        _write_letters(ax, names, embeddings, source, arrays[source].to_dataset(), colours)
    handles = swatches({"none" if name == NOISE else name: colour for name, colour in colours.items()})
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), title="kind")
    where = "Where footprints overlap, or were seen at several times, the kind that most of them have."
    return finish(figure, embeddings.attrs, f"{len(names):,} samples. {where} {note}")


@styled
def components_map(components: xr.DataArray, arrays: xr.DataTree, most: int = 4) -> Figure | None:
    """Draw three components of the embedding as red, green and blue on the ground: like colours look alike to the network.

    Parameters
    ----------
    components : DataArray (sample, axis = 3) of `geonb.embeddings.planes.reduce` with ``axes=3``, with the samples' coordinates
    arrays : DataTree
        A store's `arrays`.

    Returns
    -------
    Figure, or None where all samples of each source lie on the same ground
    """
    shade = component_colours(components.transpose("sample", "axis").to_numpy()) / 255

    def paint(here: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], step: int) -> np.ndarray:
        total = np.zeros((*_thin_shape(shape, step), 4))
        for tone, *box in zip(shade[here], *boxes[here].T, strict=True):
            for area in _areas(box, shape, step):
                total[area] += (*tone, 1)
        count = total[..., 3:]
        return np.dstack([total[..., :3] / np.maximum(count, 1), count > 0])

    drawn = _maps(components, arrays, most, paint, "Likeness as colour")
    if drawn is None:
        return None
    figure, _, _, note = drawn
    held = components.attrs.get("explained_variance")
    parts = f", {', '.join(f'{float(part):.0%}' for part in held)} of the variance," if held is not None else ""
    said = f"Three components of the embedding{parts} as red, green and blue, each stretched 2-98 %; means where tiles overlap."
    return finish(figure, components.attrs, f"{said} {note}")


def component_colours(
    values: np.ndarray | xr.DataArray, limits: Sequence[tuple[float, float]] | None = None
) -> np.ndarray:
    """Three components as colours.

    Parameters
    ----------
    values : array (..., 3)
    limits : three pairs, optional
        What becomes 0 and 255 of each; the 2nd and 98th percentile of the finite values when left out. Give those of a whole
        series, so that its scenes can be compared.

    Returns
    -------
    uint8 array (..., 3); white where a value is not finite
    """
    values = np.asarray(values, np.float64)
    if values.shape[-1] != 3:
        raise ValueError(f"{values.shape[-1]} components cannot be red, green and blue: reduce with axes=3.")
    known = np.isfinite(values).all(-1)
    limits = component_limits(values) if limits is None else limits
    shade = np.ones_like(values)
    for axis, (low, high) in enumerate(limits):
        shade[known, axis] = np.clip((values[known, axis] - low) / max(high - low, 1e-12), 0, 1)
    return (shade * 255).round().astype(np.uint8)


def component_limits(values: np.ndarray | xr.DataArray) -> list[tuple[float, float]]:
    """The 2nd and 98th percentile of each component (..., axis), over its finite values."""
    flat = np.asarray(values, np.float64).reshape(-1, np.shape(values)[-1])
    flat = flat[np.isfinite(flat).all(1)]
    return [percentiles(column) for column in flat.T]


def _maps(embeddings: Any, arrays: xr.DataTree, most: int, paint: Any, what: str) -> Any:
    """A panel a source, with what `paint` makes of its samples over the image or the coasts; None if there is no map in it."""
    held = embeddings["source"].to_numpy().astype(str)
    boxes = np.stack([embeddings[name].to_numpy() for name in ("y", "x", "height", "width")], 1).astype(int)
    names, counts = np.unique(held, return_counts=True)
    spread_out = [name for name in names[np.argsort(-counts, kind="stable")] if _places(boxes[held == name]) > 1]
    # series have no y: they are on no map
    sources = [name for name in spread_out if name in arrays.children and "y" in arrays[name].dims][:most]
    if not sources:
        return None
    figure, axes = plt.subplots(1, len(sources), figsize=(5.2 * len(sources), 4.9), squeeze=False, layout="constrained")
    notes = [f"Drawn: {len(sources)} of {len(names)} sources."] if len(names) > len(sources) else []
    for ax, source in zip(axes[0], sources, strict=True):
        data = arrays[source].to_dataset()
        shape, crs = (data.sizes["y"], data.sizes["x"]), crs_of(data)
        step = max(1, -(-max(shape) // PANEL_PIXELS))
        grid = data[["y", "x"]].isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))
        over = xr.DataArray(paint(np.flatnonzero(held == source), boxes, shape, step), grid.coords, ("y", "x", "rgba"))
        notes += _below(ax, data, crs)
        over = thinned(over)
        draw_on_grid(ax, over.values, over, crs)
        notes += above(ax, data, crs)
        ax.set_title(f"{what}: {source} ({(held == source).sum():,} samples)")
    return figure, axes[0], sources, " ".join(dict.fromkeys(notes))


def _places(boxes: np.ndarray) -> int:
    return len(np.unique(boxes, axis=0))


def _thin_shape(shape: tuple[int, int], step: int) -> tuple[int, int]:
    rows, columns = (len(range(step // 2, side, step)) for side in shape)
    return rows, columns


def _areas(box: Sequence[int], shape: tuple[int, int], step: int) -> list[tuple[slice, slice]]:
    """The cells of a thinned grid that a footprint covers, at least one; two areas where it runs across the grid's seam."""
    y, x, height, width = box
    parts = [(x, min(x + width, shape[1]))] + ([(0, x + width - shape[1])] if x + width > shape[1] else [])

    def cells(start: int, end: int, side: int) -> slice:
        first = max(0, -(-(start - step // 2) // step))
        last = -(-(end - step // 2) // step)
        first = min(first, len(range(step // 2, side, step)) - 1)
        return slice(first, max(first + 1, last))

    return [(cells(y, y + height, shape[0]), cells(*part, shape[1])) for part in parts]


def _below(ax: Axes, data: xr.Dataset, crs: Any) -> list[str]:
    """Draw the source's own image in grey, or land and sea; say what it is."""
    if "inputs" in data and {"channel", "y", "x"} <= set(data["inputs"].dims):
        first = {dim: 0 for dim in data["inputs"].dims if dim not in ("channel", "y", "x")}
        image = thinned(data["inputs"].isel(first | {"channel": default_bands(data["channel"].values)}))
        valid = (
            thinned(data["valid"].isel({d: 0 for d in data["valid"].dims if d in first})) if "valid" in data else None
        )
        shown = stretched(image, valid)
        grey = np.dstack([np.repeat(shown[..., :3].mean(-1, keepdims=True), 3, -1), shown[..., 3:]])
        draw_on_grid(ax, grey, image, crs)
        return ["Below: the image in grey, of the first time." if first else "Below: the image in grey."]
    if crs is not None and crs.is_geographic:
        draw_ground(ax, edges(data))
    return []


def above(ax: Axes, data: xr.Dataset, crs: Any) -> list[str]:
    """Coasts over a wide source, a scale bar over a projected one."""
    if crs is None:
        return []
    bounds = edges(data)
    if crs.is_geographic:
        if "inputs" not in data:
            return [ground_note()]
        if (bounds[2] - bounds[0]) * 111 * np.cos(np.deg2rad((bounds[1] + bounds[3]) / 2)) < COAST_KM:
            return []
        return _coasts(ax, bounds, crs, 1.0)
    scale_bar(ax, crs)
    return _coasts(ax, bounds, crs, 1e-3) if bounds[2] - bounds[0] > COAST_KM * 1000 else []


def _coasts(ax: Axes, bounds: tuple[float, float, float, float], crs: Any, unit: float) -> list[str]:
    """Coastlines of Natural Earth in the source's own CRS."""
    limits = ax.get_xlim(), ax.get_ylim()
    for line in ground_in(crs, bounds)["coast"]:
        ax.plot(*line.T * unit, color="black", linewidth=1.6, alpha=0.5)
        ax.plot(*line.T * unit, color="white", linewidth=0.8)
    ax.set(xlim=limits[0], ylim=limits[1])
    return [COASTS_NOTE]


def _write_letters(
    ax: Axes, names: np.ndarray, embeddings: Any, source: str, data: xr.Dataset, colours: dict[str, str]
) -> None:
    """The letter in the middle of each footprint, where there are few: colour alone is not for everyone."""
    here = np.flatnonzero(embeddings["source"].to_numpy().astype(str) == source)
    if len(here) > MOST_LETTERED:
        return
    crs = crs_of(data)
    unit = 1e-3 if crs is not None and crs.is_projected else 1.0
    for sample in here:
        y, x, height, width = (int(embeddings[name][sample]) for name in ("y", "x", "height", "width"))
        row, column = min(y + height // 2, data.sizes["y"] - 1), (x + width // 2) % data.sizes["x"]
        look = {"ha": "center", "va": "center", "fontsize": 6.5, "color": ink_on(colours[names[sample]])}
        ax.text(float(data["x"][column]) * unit, float(data["y"][row]) * unit, names[sample], **look)


@styled
def kinds_in_time(letters: Sequence[str], embeddings: xr.Dataset) -> Figure | None:
    """Draw when each kind was seen: its share of the samples of each time.

    Parameters
    ----------
    letters : sequence of str (sample,)
    embeddings : Dataset or DataArray with the coordinate ``time`` (UTC) of each sample

    Returns
    -------
    Figure, or None where there are no two times
    """
    import pandas as pd

    if "time" not in embeddings.coords:
        return None
    times, names = pd.to_datetime(embeddings["time"].to_numpy()), np.asarray(letters).astype(str)
    known = times.notna()
    different = np.unique(times[known])
    if len(different) < 2:
        return None
    colours = cluster_colours(names)
    each = -(-len(different) // MOST_BARS)  # times a bar
    bar = np.searchsorted(different, times[known].to_numpy()) // each
    starts = pd.DatetimeIndex(different[::each])
    counts = np.array([np.bincount(bar[names[known] == name], minlength=len(starts)) for name in colours])
    total, bottom = counts.sum(0), np.zeros(len(starts))
    figure, ax = plt.subplots(figsize=(8.6, 3.2), layout="constrained")
    for name, share in zip(colours, counts / np.maximum(total, 1), strict=True):
        told = "none" if name == NOISE else name
        ax.bar(range(len(starts)), share, 0.92, bottom=bottom, color=colours[name], label=told)
        bottom += share
    _time_axis(ax, starts, total)
    ax.set(ylabel="share of the samples", xlim=(-0.6, len(starts) - 0.4), ylim=(0, 1))
    ax.set_title("When each kind was seen", pad=14)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="kind", reverse=True)
    span = f"a bar is {each} times after one another" if each > 1 else "a bar is a time"
    left = f" {int((~known).sum()):,} samples have no time." if (~known).any() else ""
    return finish(figure, embeddings.attrs, f"{int(total.sum()):,} samples, {span}; UTC. Above: samples.{left}")


def _time_axis(ax: Axes, starts: Any, total: np.ndarray) -> None:
    """A few dates below the bars, and how many samples each stands for above."""
    places = evenly(len(starts), 7)
    close = starts[-1] - starts[0] < np.timedelta64(3, "D")
    months = all(start.day == 1 and start.hour == 0 for start in starts)
    form = "%H:%M" if close and starts[0].date() == starts[-1].date() else "%d %b %H:%M" if close else "%Y-%m-%d"
    form = "%Y-%m" if months and not close else form
    ax.set_xticks(places, [starts[place].strftime(form) for place in places])
    if close and form == "%H:%M":
        ax.set_xlabel(starts[0].strftime("%Y-%m-%d"))
    for place, count in enumerate(total):
        ax.text(place, 1.01, f"{count:,}", ha="center", va="bottom", fontsize=6, color="#555555")
