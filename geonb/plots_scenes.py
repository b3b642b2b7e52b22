"""Figures of a store of scenes: what was read, and where the splits lie in it."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from geonb.plots_kinds import above
from geonb.plots_maps import crs_of, default_bands, draw_on_grid, stretched, thinned
from geonb.plots_style import SPLIT_COLOURS, finish, styled, swatches

MOST_SERIES = 3


@styled
def scene_parts(store) -> Figure:
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
        image = thinned(data["inputs"].isel(channel=default_bands(data["channel"].values)))
        draw_on_grid(ax, stretched(image, thinned(data["valid"])), image, crs_of(series))
        above(ax, series, crs_of(series))
        if split["method"] == "area":
            _outline(ax, series, [a for a in split["areas"] if a[0] == source])
        scenes, shape = series.sizes["time"], f"{series.sizes['y']} x {series.sizes['x']} px"
        ax.set_title(f"{source}, {data['label'].values}\n{scenes} scene{'s' * (scenes > 1)}, {shape}")
    notes = [f"{len(store.sources)} series, {len(sources)} drawn."] if len(store.sources) > len(sources) else []
    notes.append(
        f"Tiles are {store.patch} px, about {store.patch * store.meta['sources'][0]['pixel_m'] / 1000:.0f} km."
    )
    if split["method"] == "area":
        figure.legend(
            handles=swatches({s: SPLIT_COLOURS[s] for s in ("train", "val", "test")}),
            ncols=3,
            loc="outside upper right",
        )
    else:
        counts = {s: sum(len(a[4]) for a in split["areas"] if a[1] == s) for s in ("train", "val", "test")}
        notes.append("Scenes: " + ", ".join(f"{n} {s}" for s, n in counts.items()) + ", in order of time.")
    return finish(figure, store.meta, *notes)


def _outline(ax, series, areas: list) -> None:
    unit = 1e-3 if (crs := crs_of(series)) is not None and crs.is_projected else 1.0
    x, y = (series[a].to_numpy() * unit for a in "xy")
    half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    for _, split, rows, columns, _ in areas:
        west, north = x[columns[0]] - half_x, y[rows[0]] - half_y
        size = x[columns[1] - 1] + half_x - west, y[rows[1] - 1] + half_y - north
        for colour, width in (("black", 3.6), (SPLIT_COLOURS[split], 2.2)):
            ax.add_patch(Rectangle((west, north), *size, fill=False, edgecolor=colour, linewidth=width))
