"""Figures of a store of scenes: what was read, and where the splits lie in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from geonb.base.conventions import SPLITS
from geonb.plots.clusters import above, component_colours, component_limits
from geonb.plots.maps import crs_of, default_bands, draw_on_grid, stretched, thinned
from geonb.plots.style import SPLIT_COLOURS, evenly, finish, styled, swatches
from geonb.plots.tiles import cluster_colours, when

if TYPE_CHECKING:
    from geonb.workloads.clouds.store import TripletStore

MOST_SERIES = 3
MOST_TIMES = 3
SEE_THROUGH = 0.55  # how much of the scene the colours over it hide


@styled
def scene_parts(store: TripletStore) -> Figure:
    """Draw a scene of each series, the one in the middle of its time, with the parts of each split and coasts.

    Parameters
    ----------
    store : TripletStore
    """
    split, sources = store.meta["split"], store.sources[:MOST_SERIES]
    figure, axes = plt.subplots(1, len(sources), figsize=(6.0 * len(sources), 5.6), squeeze=False, layout="constrained")
    for ax, source in zip(axes[0], sources, strict=True):
        series = store.arrays[source].to_dataset()
        middle = series.sizes["time"] // 2
        data = series.isel(time=middle)
        image, shown = _shown(data)
        draw_on_grid(ax, shown, image, crs_of(series))
        above(ax, series, crs_of(series))
        if split["method"] == "area":
            _outline(ax, series, [a for a in split["areas"] if a[0] == source])
        scenes, shape = series.sizes["time"], f"{series.sizes['y']} x {series.sizes['x']} px"
        ax.set_title(f"{source}, {data['label'].values}\n{scenes} scene{'s' * (scenes > 1)}, {shape}")
    notes = [f"{len(store.sources)} series, {len(sources)} drawn."] if len(store.sources) > len(sources) else []
    side_km = store.patch * store.meta["sources"][0]["pixel_m"] / 1000
    notes.append(f"Tiles are {store.patch} px, about {side_km:.0f} km.")
    if split["method"] == "area":
        handles = swatches({s: SPLIT_COLOURS[s] for s in SPLITS})
        figure.legend(handles=handles, ncols=3, loc="outside upper right")
    else:
        counts = {s: sum(len(a[4]) for a in split["areas"] if a[1] == s) for s in SPLITS}
        notes.append("Scenes: " + ", ".join(f"{n} {s}" for s, n in counts.items()) + ", in order of time.")
    return finish(figure, store.meta, *notes)


@styled
def whole_scenes(
    kinds: xr.DataArray, colours: xr.DataArray, scenes: xr.Dataset, most: int = MOST_TIMES
) -> Figure | None:
    """Draw scenes of a series, evenly over its time, a row each: the scene, likeness as colour over it, and the kinds.

    Parameters
    ----------
    kinds : DataArray (time, y, x)
        The letter of each tile of the whole scenes, "" where there is none; a cell is as wide as the tiles' step.
    colours : DataArray (time, y, x, axis = 3)
        Three components of each tile's embedding; NaN where there is none.
    scenes : Dataset with ``inputs (time, channel, y, x)`` and ``valid (time, y, x)``
        The series itself, of the same times: a group of a store's `arrays`.
    most : int
        Scenes drawn.

    Returns
    -------
    Figure, or None where scenes are one tile high or wide: there is no map in that
    """
    if min(kinds.sizes["y"], kinds.sizes["x"]) < 2:
        return None
    count, crs = kinds.sizes["time"], crs_of(scenes)
    times = evenly(count, most)
    limits, tones = component_limits(colours.values), cluster_colours(np.unique(kinds.values[kinds.values != ""]))
    tall = 0.45 + 3.3 * scenes.sizes["y"] / scenes.sizes["x"]
    figure, axes = plt.subplots(len(times), 3, figsize=(12.6, tall * len(times)), squeeze=False, layout="constrained")
    for row, t in zip(axes, times, strict=True):
        image, seen = _shown(scenes.isel(time=t))
        letters, shade = kinds.isel(time=t), colours.isel(time=t)
        known = letters.values != ""
        rgb = np.dstack([component_colours(shade.values, limits) / 255, np.where(known, SEE_THROUGH, 0)])
        flat = np.zeros((*known.shape, 4))
        for letter, tone in tones.items():
            flat[letters.values == letter] = to_rgba(tone, SEE_THROUGH + 0.15)
        for ax, over in zip(row, (None, rgb, flat), strict=True):
            draw_on_grid(ax, seen, image, crs)
            bounds = ax.get_xlim(), ax.get_ylim()
            if over is not None:
                cells = xr.DataArray(over, {"y": letters["y"], "x": letters["x"]}, ("y", "x", "rgba"))
                cells = cells.sortby("y", ascending=False)
                draw_on_grid(ax, cells.values, cells, crs)
                ax.set(xlim=bounds[0], ylim=bounds[1])
            notes = above(ax, scenes, crs)
        row[0].set_title(*(when(letters) or [f"scene {t + 1}"]))
    axes[0, 1].set_title("likeness as colour")
    axes[0, 2].set_title("kinds")
    figure.legend(handles=swatches(tones), loc="outside right center", title="kind")
    said = "Three components of the embedding as red, green and blue, and the nearest kind; a cell is the middle of a tile."
    if kinds.sizes["time"] > 1:
        said += f" Of {kinds.sizes['time']} scenes {len(times)} are drawn; colours mean the same in all of them."
    return finish(figure, kinds.attrs, said, *notes)


def _shown(scene: xr.Dataset) -> tuple[xr.DataArray, np.ndarray]:
    """The bands of a scene that are drawn, thinned out, and how they look."""
    image = thinned(scene["inputs"].isel(channel=default_bands(scene["channel"].values)))
    return image, stretched(image, thinned(scene["valid"]))


def _outline(ax: Axes, series: xr.Dataset, areas: list) -> None:
    unit = 1e-3 if (crs := crs_of(series)) is not None and crs.is_projected else 1.0
    x, y = (series[a].to_numpy() * unit for a in "xy")
    half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    for _, split, rows, columns, _ in areas:
        west, north = x[columns[0]] - half_x, y[rows[0]] - half_y
        size = x[columns[1] - 1] + half_x - west, y[rows[1] - 1] + half_y - north
        for colour, width in (("black", 3.6), (SPLIT_COLOURS[split], 2.2)):
            ax.add_patch(Rectangle((west, north), *size, fill=False, edgecolor=colour, linewidth=width))
