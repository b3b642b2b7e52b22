"""Samples in the plane: scatter with their tiles, a grid of tiles, and the ways of places through it in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke

from geonb.embeddings.trees import LETTERS, NOISE
from geonb.plots.style import CLUSTER_COLOURS, class_colours, finish, listed, styled
from geonb.plots.tiles import Tiles, check_tiles, cluster_colours, tiles_at, when

TILE_CELL = (0.115, 0.135)  # of the axes: room for a tile of 0.62 inches and a little air
FEW_TIMES = 2  # a way needs two points


def spread(xy: np.ndarray, n: int) -> np.ndarray:
    """Choose `n` points far from one another (farthest-point sampling, from the one nearest the centre).

    References
    ----------
    Gonzalez 1985, Clustering to minimize the maximum intercluster distance.
    """
    chosen = [int(np.linalg.norm(xy - np.median(xy, 0), axis=1).argmin())]
    distance = np.linalg.norm(xy - xy[chosen[0]], axis=1)
    while len(chosen) < min(n, len(xy)):
        distance[chosen[-1]] = -1  # of points in one place, each is chosen once
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(xy - xy[chosen[-1]], axis=1))
    return np.array(chosen)


def place_tiles(points: np.ndarray, anchors: np.ndarray, cell: tuple[float, float]) -> np.ndarray:
    """Give each anchor a cell of a grid over the unit square: near it, and over as few points as can be.

    Parameters
    ----------
    points : array (n, 2), 0-1
        Every point of the scatter; they are counted by cell, so that there may be many.
    anchors : array (m, 2), 0-1
        The points whose tiles are to be placed.
    cell : tuple
        Width and height of a tile; no two cells overlap, so no two tiles do.

    Returns
    -------
    array (m, 2): the centres of the cells

    Raises
    ------
    ValueError
        If there are more tiles than cells.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    counts = np.array([max(1, int(1 / side + 1e-9)) for side in cell])
    if counts.prod() < len(anchors):
        raise ValueError(
            f"{len(anchors)} tiles do not fit on {counts[0]} x {counts[1]} places: show fewer or smaller tiles."
        )
    centres = np.stack(np.meshgrid(*[(np.arange(k) + 0.5) / k for k in counts]), -1).reshape(-1, 2)
    column, row = np.clip((points * counts).astype(int), 0, counts - 1).T
    # a tile is no larger than its cell: it can hide only points of that cell
    near = (np.abs(points - (np.stack([column, row], 1) + 0.5) / counts) < np.array(cell) / 2).all(1)
    covered = np.bincount((row * counts[0] + column)[near], minlength=counts.prod())
    cost = cdist(anchors, centres) + 0.8 * np.sqrt(covered / max(1, covered.max()))
    return centres[linear_sum_assignment(cost)[1]]


@styled
def scatter_with_tiles(
    xy: np.ndarray | xr.DataArray,
    tiles: Tiles,
    labels: Sequence[str],
    colours: Mapping[str, str] | None = None,
    show: int = 24,
    title: str = "Samples as the network sees them",
) -> Figure:
    """Draw samples in two dimensions, coloured by label, with some of their tiles joined to their points.

    Parameters
    ----------
    xy : array (sample, 2)
        Of `geonb.embeddings.planes.reduce`. Its attributes ``classes``, ``colours``, ``meaning`` and ``simulated`` are used.
    tiles : uint8 array (sample, h, w, 3) in the same order, or function of rows that reads those drawn
    labels : sequence of str (sample,)
        Class names or cluster letters.
    colours : mapping label -> colour, optional
        `class_colours` of a store or run; cluster letters have their own; else by order.
    show : int
        How many tiles, spread over the picture.

    Raises
    ------
    ValueError
        If xy, tiles and labels differ in length, a coordinate is not finite, or more tiles are asked for than fit.
    """
    attrs = getattr(xy, "attrs", {})
    points, names = _checked(xy, labels)
    check_tiles(tiles, len(points))
    colours = dict(colours) if colours is not None else colours_of(names, attrs)
    unit = _unit(points) * 0.84 + 0.08
    figure, ax = _plane(title)
    _cloud(ax, unit, names, colours)
    chosen = spread(unit, show)
    centres = place_tiles(unit, unit[chosen], TILE_CELL)
    for sample, tile, centre in zip(chosen, tiles_at(tiles, xy, chosen), centres, strict=True):
        _joined_tile(ax, tile, unit[sample], centre, colours[names[sample]], int(sample))
    _legend(ax, names, colours, "kind" if set(names) <= {*LETTERS, NOISE} else "label")
    return finish(figure, attrs, f"{len(points):,} samples, {len(chosen)} of them shown. {_meaning(attrs)}")


def _plane(title: str) -> tuple[Figure, Axes]:
    figure = plt.figure(figsize=(8.6, 6.4))
    ax = figure.add_axes((0.01, 0.02, 0.8, 0.93))
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], title=title)
    ax.spines[:].set(visible=True, edgecolor="#bbbbbb")
    return figure, ax


def _checked(xy: np.ndarray | xr.DataArray, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(xy, xr.DataArray):
        xy = xy.transpose("sample", "axis")
    points, names = np.asarray(xy, float), np.asarray(labels).astype(str)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"xy is {points.shape}, must be (sample, 2): reduce to two dimensions first.")
    if len(names) != len(points):
        raise ValueError(f"{len(names)} labels for {len(points)} points: give one label a sample.")
    if not np.isfinite(points).all():
        raise ValueError(f"{int((~np.isfinite(points)).any(1).sum())} points are not finite: leave those samples out.")
    return points, names


def _unit(points: np.ndarray) -> np.ndarray:
    """Points brought to 0-1 along each axis; 0.5 along one on which they do not differ."""
    low, span = points.min(0), np.ptp(points, axis=0)
    return np.where(span > 0, (points - low) / np.where(span > 0, span, 1), 0.5)


def _cloud(ax: Axes, unit: np.ndarray, names: np.ndarray, colours: Mapping[str, str], alpha: float = 0.85) -> None:
    """All points, drawn in random order so that no kind hides another; smaller where there are many."""
    order = np.random.default_rng(0).permutation(len(unit))
    there, number = np.unique(names, return_inverse=True)
    shade = np.array([to_rgba(colours[name]) for name in there])[number[order]]
    size = float(np.clip(16 * np.sqrt(1500 / len(unit)), 1.5, 16))
    shown = {"s": size, "alpha": alpha if len(unit) < 5000 else 0.6 * alpha, "linewidth": 0, "rasterized": True}
    ax.scatter(*unit[order].T, color=shade, **shown)


def _legend(ax: Axes, names: np.ndarray, colours: Mapping[str, str], what: str) -> None:
    look = {"marker": "o", "linestyle": "none", "markersize": 6}
    there, counts = np.unique(names, return_counts=True)
    held = dict(zip(there, counts, strict=True))
    entries = [
        Line2D([], [], color=colours[name], label=f"{'none' if name == NOISE else name} ({held[name]:,})", **look)
        for name in colours
        if name in held
    ]
    ax.legend(
        handles=entries, loc="upper left", bbox_to_anchor=(1, 1), title=f"{what} (samples)", title_fontsize=8
    )  # fmt: skip


def _meaning(attrs: Mapping[str, Any]) -> str:
    return str(attrs.get("meaning", ""))


def colours_of(names: np.ndarray, attrs: Mapping[str, Any]) -> dict[str, str]:
    """Colour of each name: a class its own, a cluster letter its own, anything else by order."""
    there, known = sorted(set(names)), listed(attrs.get("classes"))
    if known and set(there) <= {*known, "none"}:
        return class_colours(known, attrs) | {"none": "#bbbbbb"}
    if set(there) <= {*LETTERS, NOISE}:
        return cluster_colours(there)
    return {name: CLUSTER_COLOURS[i % len(CLUSTER_COLOURS)] for i, name in enumerate(there)}


def _joined_tile(ax: Axes, tile: np.ndarray, point: np.ndarray, centre: np.ndarray, colour: str, sample: int) -> None:
    ax.plot([point[0], centre[0]], [point[1], centre[1]], color="#555555", linewidth=0.7, zorder=3)
    ax.plot(*point, marker="o", markersize=6, color=colour, markeredgecolor="black", markeredgewidth=0.9, zorder=5)
    picture = OffsetImage(tile, zoom=0.62 * 72 / max(tile.shape[:2]), interpolation="nearest")
    box = AnnotationBbox(picture, centre, pad=0.12, bboxprops={"edgecolor": colour, "linewidth": 1.8}, zorder=4)
    box.set_gid(f"tile-{sample}")
    ax.add_artist(box)


@styled
def manifold(
    xy: np.ndarray | xr.DataArray, tiles: Tiles, labels: Sequence[str], side: int = 14, filled: bool = False
) -> Figure:
    """Draw the plane as a grid of tiles: what changes from one end of it to the other.

    Parameters
    ----------
    xy, tiles, labels : as for `scatter_with_tiles`
    side : int
        Cells a side.
    filled : bool
        False: each cell shows the sample nearest to its middle, and is empty where there is none, so that the plane keeps its
        shape. True: samples spread over the plane fill the whole grid, each as near to its own place as can be (least sum of
        squared moves), so that no room is lost; distances are then lost.
    """
    attrs = getattr(xy, "attrs", {})
    points, names = _checked(xy, labels)
    check_tiles(tiles, len(points))
    if not 2 <= side <= 40:
        raise ValueError(f"side = {side} is not between 2 and 40 cells.")
    samples, column, row = (_fill if filled else _nearest_in_cell)(_unit(points), side)
    colours = colours_of(names, attrs)
    figure, ax = _plane("From one kind to the next")
    ax.set(xlim=(0, side), ylim=(0, side), aspect="equal", facecolor="#f4f4f4")
    for sample, tile, x, y in zip(samples, tiles_at(tiles, xy, samples), column, row, strict=True):
        frame = (x + 0.05, x + 0.95, y + 0.05, y + 0.95)
        box = plt.Rectangle((x + 0.01, y + 0.01), 0.98, 0.98, color=colours[names[sample]], linewidth=0)
        ax.add_patch(box)
        ax.imshow(tile, extent=frame, origin="upper", interpolation="nearest", zorder=2, gid=f"tile-{sample}")
    ax.set(xlim=(0, side), ylim=(0, side))
    _legend(ax, names, colours, "kind" if set(names) <= {*LETTERS, NOISE} else "label")
    how = "each near its own place" if filled else "of each cell the one nearest to its middle"
    return finish(figure, attrs, f"{len(samples)} of {len(points):,} samples, {how}. {_meaning(attrs)}")


def _nearest_in_cell(unit: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each cell that holds points, the sample nearest to its middle: samples, columns, rows."""
    cell = np.clip((unit * side).astype(int), 0, side - 1)
    away = ((unit * side - cell - 0.5) ** 2).sum(1)
    order = np.argsort(away, kind="stable")
    _, first = np.unique(cell[order] @ np.array([1, side]), return_index=True)
    samples = order[first]
    return samples, *cell[samples].T


def _fill(unit: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples spread over the plane, one a cell, so that the squares of their moves add up to the least."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    samples = spread(unit, side * side)
    centres = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5) / side
    row, cell = linear_sum_assignment(cdist(_ranks(unit[samples]), centres, "sqeuclidean"))
    return samples[row], cell % side, cell // side


def _ranks(unit: np.ndarray) -> np.ndarray:
    """Each axis by rank, 0-1: points then fill the square evenly."""
    return (np.argsort(np.argsort(unit, axis=0, kind="stable"), axis=0) + 0.5) / len(unit)


@styled
def trajectories(
    xy: xr.DataArray, labels: Sequence[str] | None = None, most: int = 8, tiles: Tiles | None = None
) -> Figure | None:
    """Draw the ways of places through the plane: a line a place, in the order of time, with arrows.

    Parameters
    ----------
    xy : DataArray (sample, axis) of `geonb.embeddings.planes.reduce`, with the coordinates ``source, y, x, time``
    labels : sequence of str (sample,), optional
        Colours of the cloud behind; grey without.
    most : int
        Draw at most so many places: those seen most often, and of those seen as often, some from everywhere.
    tiles : array or function, optional
        With tiles, the first and last of each way are drawn beside their points.

    Returns
    -------
    Figure, or None where no place was seen at two times
    """
    ways = _most_seen(places_in_time(xy), most)
    if not ways:
        return None
    points, names = _checked(xy, ["all"] * xy.sizes["sample"] if labels is None else labels)
    unit = _unit(points) * 0.84 + 0.08
    figure, ax = _plane("Ways through the plane")
    if len(ways) > 1 or len(ways[0]) < len(points):
        _cloud(ax, unit, names, {"all": "#bbbbbb"} if labels is None else colours_of(names, xy.attrs), alpha=0.35)
    for number, way in enumerate(ways, 1):
        # Pale to dark in time for each of them: a colour a place would be mistaken for the colour of a kind.
        shades = plt.get_cmap("cividis")(np.linspace(0.95, 0, len(way) - 1))
        _way(ax, unit[way], shades)
        look = {
            "fontsize": 9,
            "weight": "bold",
            "zorder": 7,
            "path_effects": [withStroke(linewidth=2.5, foreground="white")],
        }
        ax.annotate(str(number), unit[way[0]], (6, 6), textcoords="offset points", **look)
        first, last = (when(xy.isel(sample=int(way[end])))[0] for end in (0, -1))
        told = f"{_named(xy, way)} ({len(way)})\n{first} to {last}"
        ax.plot([], [], linestyle="none", marker=f"${number}$", color="black", label=told)
    if tiles is not None:
        _ends(ax, xy, tiles, unit, ways)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), title="place (times)", title_fontsize=8, fontsize=7)
    many = f"{len(ways)} of the places that were seen most often" if len(ways) > 1 else "One place"
    note = f"{many}; a ring is the beginning, early is pale and late is dark."
    return finish(figure, xy.attrs, f"{note} {_meaning(xy.attrs)}")


def places_in_time(xy: xr.DataArray | xr.Dataset) -> list[np.ndarray]:
    """Samples of each place (same source, y, x) that was seen at two or more times, in the order of time; the most seen first."""
    import pandas as pd

    if not {"time", "source", "y", "x"} <= set(xy.coords):
        return []
    table = pd.DataFrame({name: xy[name].to_numpy() for name in ("source", "y", "x", "time")})
    table = table[table["time"].notna()].drop_duplicates().sort_values("time", kind="stable")
    groups = [part.index.to_numpy() for _, part in table.groupby(["source", "y", "x"], sort=True)]
    return sorted((part for part in groups if len(part) >= FEW_TIMES), key=len, reverse=True)


def _most_seen(ways: list[np.ndarray], most: int) -> list[np.ndarray]:
    """The longest ways, and of those that are as long as the last of them, some spread evenly over all."""
    if len(ways) <= most:
        return ways
    last = len(ways[most - 1])
    longer, equal = [w for w in ways if len(w) > last], [w for w in ways if len(w) == last]
    wanted = most - len(longer)
    return longer + [equal[int((k + 0.5) * len(equal) / wanted)] for k in range(wanted)]


def _way(ax: Axes, path: np.ndarray, shades: Sequence[Any]) -> None:
    """A line in pieces, each in its shade, with an arrow in the middle of those that have room for its head."""
    for start, end, shade in zip(path[:-1], path[1:], shades, strict=True):
        ax.plot(*np.stack([start, end]).T, color=shade, linewidth=1.1, alpha=0.9, zorder=3, solid_capstyle="round")
        ax.plot(*end, "o", color=shade, markersize=2.5, zorder=4)
        step = end - start
        if np.hypot(*step) > 0.02:
            middle, ahead = start + 0.5 * step, 0.012 * step / np.hypot(*step)
            look = {
                "arrowstyle": "-|>",
                "color": shade,
                "linewidth": 0.1,
                "mutation_scale": 10,
                "shrinkA": 0,
                "shrinkB": 0,
            }
            ax.annotate("", middle + ahead, middle - ahead, arrowprops=look, zorder=4)
    ring = {
        "markersize": 9,
        "markerfacecolor": "none",
        "markeredgecolor": shades[-1],
        "markeredgewidth": 1.8,
        "zorder": 6,
    }
    ax.plot(*path[0], "o", **ring)


def _named(xy: xr.DataArray, way: np.ndarray) -> str:
    here = xy.isel(sample=int(way[0]))
    place = f"y {int(here['y'])}, x {int(here['x'])}"
    return place if len(set(xy["source"].values.astype(str))) == 1 else f"{here['source'].item()}, {place}"


def _ends(ax: Axes, xy: xr.DataArray, tiles: Tiles, unit: np.ndarray, ways: list[np.ndarray]) -> None:
    """The first and the last tile of each way."""
    samples = np.concatenate([[way[0], way[-1]] for way in ways])
    centres = place_tiles(unit, unit[samples], (TILE_CELL[0], TILE_CELL[1] + 0.02))  # room for a date
    for k, (sample, tile) in enumerate(zip(samples, tiles_at(tiles, xy, samples), strict=True)):
        colour = plt.get_cmap("cividis")(0.0 if k % 2 else 0.95)  # as the way: early pale, late dark
        _joined_tile(ax, tile, unit[sample], centres[k], colour, int(sample))
        text = {"ha": "center", "va": "bottom", "fontsize": 6, "zorder": 5}
        ax.text(centres[k][0], centres[k][1] + 0.055, when(xy.isel(sample=int(sample)))[0], **text)
