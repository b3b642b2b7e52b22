"""Figures that put the samples themselves beside what a network makes of them: dendrogram and scatter with tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from geonb.plots_style import CLUSTER_COLOURS, class_colours, finish, ink_on, listed, styled

MOST_CLUSTERS = len(CLUSTER_COLOURS)
LETTERS = "ABCDEFGHIJKLMN"


def cluster_colours(clusters: Sequence[str]) -> dict[str, str]:
    """Colour of each cluster letter, the same in every figure."""
    return {letter: CLUSTER_COLOURS[LETTERS.index(letter)] for letter in sorted(set(clusters))}


def check_tiles(tiles: np.ndarray, n: int) -> None:
    """Raise ValueError unless there is one uint8 RGB tile for each of `n` samples."""
    if tiles.ndim != 4 or tiles.shape[-1] != 3 or tiles.dtype != np.uint8:
        raise ValueError(
            f"tiles must be uint8 (sample, h, w, 3), not {tiles.dtype} {tiles.shape}. Stretch them to 0-255 first."
        )
    if len(tiles) != n:
        raise ValueError(
            f"{len(tiles)} tiles for {n} samples: give one tile a sample, in the order of the embeddings' rows."
        )


def leaf_clusters(linkage: np.ndarray, clusters: int) -> tuple[dict, list[np.ndarray]]:
    """Cut a linkage into `clusters` leaves, in drawing order.

    Returns
    -------
    dict
        What scipy's `dendrogram` says of the truncated tree (``icoord``, ``dcoord``).
    list of int arrays
        The samples under each leaf, from left to right; together every sample once.
    """
    from scipy.cluster.hierarchy import dendrogram, to_tree

    tree = dendrogram(linkage, p=clusters, truncate_mode="lastp", no_plot=True)
    nodes = to_tree(linkage, rd=True)[1]
    return tree, [np.array(nodes[leaf].pre_order(), int) for leaf in tree["leaves"]]


def examples_of(members: np.ndarray, embedding: np.ndarray, n: int) -> np.ndarray:
    """The `n` samples of a cluster nearest to its mean, nearest first."""
    distance = np.linalg.norm(embedding[members] - embedding[members].mean(0), axis=1)
    return members[np.argsort(distance, kind="stable")[:n]]


@styled
def dendrogram(
    linkage: np.ndarray, embeddings: xr.Dataset, tiles: np.ndarray, clusters: int | np.ndarray = 8, examples: int = 4
) -> tuple[Figure, np.ndarray]:
    """Draw the tree of the samples, cut into a few clusters, with the most typical tiles of each below it.

    Parameters
    ----------
    linkage : array (sample - 1, 4)
        Of `scipy.cluster.hierarchy.linkage` (Ward) over the rows of `embeddings`.
    embeddings : Dataset
        ``embedding`` (sample, dim); a ``label`` coordinate, where there is one, names each cluster's commonest class.
    tiles : uint8 array (sample, h, w, 3), in the order of the embeddings
    clusters : int, 2 to 14, or array (sample,) of `geonb.embeddings.cluster`, whose number of clusters is taken
    examples : int
        Tiles under each cluster, nearest to its mean first.

    Returns
    -------
    Figure, and array (sample,) of the letter of each sample's cluster

    Raises
    ------
    ValueError
        If `clusters` is out of range or the tiles do not match the samples.
    """
    values = embeddings["embedding"].transpose("sample", "dim").values
    check_tiles(tiles, len(values))
    if len(linkage) != len(values) - 1:
        raise ValueError(
            f"The linkage joins {len(linkage) + 1} samples, the embeddings hold {len(values)}: make both from one table."
        )
    clusters = int(clusters) if np.ndim(clusters) == 0 else len(np.unique(clusters))
    most = min(MOST_CLUSTERS, len(values))
    if not 2 <= clusters <= most:
        raise ValueError(f"clusters = {clusters} cannot be drawn: allowed are 2 to {most} for {len(values)} samples.")
    tree, leaves = leaf_clusters(linkage, clusters)
    letters = np.empty(len(values), "<U1")
    figure = plt.figure(figsize=(max(6.0, 1.0 * len(leaves) + 0.8), 3.0 + 0.83 * examples))
    top = figure.add_axes((0.07, 1 - 2.2 / figure.get_figheight(), 0.92, 1.95 / figure.get_figheight()))
    _tree(top, tree, len(leaves))
    for place, members in enumerate(leaves):
        letters[members] = LETTERS[place]
        chosen = examples_of(members, values, examples)
        _leaf(figure, top, place, members, tiles[chosen], embeddings)
    named = embeddings.attrs.get("network", "the network")
    note = f"Ward linkage of {len(values):,} samples seen by {named}; under each cluster its {examples} most typical tiles."
    return finish(figure, embeddings.attrs, note), letters


def _tree(ax: Axes, tree: dict, leaves: int) -> None:
    for x, y in zip(tree["icoord"], tree["dcoord"], strict=True):
        ax.plot(x, y, color="#555555", linewidth=1.2, solid_capstyle="round")
    ax.set(
        xlim=(0, 10 * leaves), ylim=(0, None), ylabel="distance (Ward)", title="Which windows look alike to the network"
    )
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)


def _leaf(
    figure: Figure, top: Axes, place: int, members: np.ndarray, tiles: np.ndarray, embeddings: xr.Dataset
) -> None:
    """A column under a leaf: letter, size, commonest class and example tiles."""
    colour, height = CLUSTER_COLOURS[place], figure.get_figheight()
    across = top.get_position().width / (top.get_xlim()[1] / 10)
    left, below = top.get_position().x0 + place * across, top.get_position().y0
    look = {"boxstyle": "circle,pad=0.25", "facecolor": colour, "edgecolor": "none"}
    middle = left + across / 2
    figure.text(
        middle, below - 0.16 / height, LETTERS[place], ha="center", va="center", color=ink_on(colour), bbox=look
    )
    lines = [f"{len(members):,} windows"]
    if "label" in embeddings.coords:
        names, counts = np.unique(embeddings.label.values[members].astype(str), return_counts=True)
        lines.append(f"{names[counts.argmax()]} {counts.max() / len(members):.0%}")
    figure.text(middle, below - 0.36 / height, "\n".join(lines), ha="center", va="top", fontsize=7, linespacing=1.3)
    side = 0.78  # inches
    for row, tile in enumerate(tiles):
        bottom = below - (0.72 + (row + 1) * (side + 0.05)) / height
        ax = figure.add_axes((left + 0.06 * across, bottom, 0.88 * across, side / height))
        ax.imshow(tile, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, edgecolor=colour, linewidth=1.6)


def spread(xy: np.ndarray, n: int) -> np.ndarray:
    """Choose `n` points far from one another (farthest-point sampling, from the one nearest the centre).

    References
    ----------
    Gonzalez 1985, Clustering to minimize the maximum intercluster distance.
    """
    chosen = [int(np.linalg.norm(xy - np.median(xy, 0), axis=1).argmin())]
    distance = np.linalg.norm(xy - xy[chosen[0]], axis=1)
    while len(chosen) < min(n, len(xy)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(xy - xy[chosen[-1]], axis=1))
    return np.array(chosen)


def place_tiles(points: np.ndarray, anchors: np.ndarray, cell: tuple[float, float]) -> np.ndarray:
    """Give each anchor a cell of a grid over the unit square: near it, and over as few points as can be.

    Parameters
    ----------
    points : array (n, 2), 0-1
        Every point of the scatter.
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

    counts = [max(1, int(1 / side)) for side in cell]
    if counts[0] * counts[1] < len(anchors):
        raise ValueError(
            f"{len(anchors)} tiles do not fit on {counts[0]} x {counts[1]} places: show fewer or smaller tiles."
        )
    centres = np.stack(np.meshgrid(*[(np.arange(k) + 0.5) / k for k in counts]), -1).reshape(-1, 2)
    covered = (np.abs(points[:, None] - centres[None]) < np.array(cell) / 2).all(-1).sum(0)
    cost = cdist(anchors, centres) + 0.8 * np.sqrt(covered / max(1, covered.max()))
    return centres[linear_sum_assignment(cost)[1]]


@styled
def scatter_with_tiles(
    xy: np.ndarray | xr.DataArray,
    tiles: np.ndarray,
    labels: Sequence[str],
    colours: Mapping[str, str] | None = None,
    show: int = 24,
    title: str = "Samples as the network sees them",
) -> Figure:
    """Draw samples in two dimensions, coloured by label, with some of their tiles joined to their points.

    Parameters
    ----------
    xy : array (sample, 2)
        Of `geonb.embeddings.reduce`. Its attributes ``classes``, ``colours``, ``method`` and ``simulated`` are used.
    tiles : uint8 array (sample, h, w, 3), in the same order
    labels : sequence of str (sample,)
        Class names or cluster letters.
    colours : mapping label -> colour, optional
        `class_colours` of a store or run; cluster letters have their own; else by order.
    show : int
        How many tiles, spread over the picture.

    Raises
    ------
    ValueError
        If xy, tiles and labels differ in length.
    """
    attrs = getattr(xy, "attrs", {})
    xy, names = np.asarray(xy, float), np.asarray(labels).astype(str)
    check_tiles(tiles, len(xy))
    if len(names) != len(xy):
        raise ValueError(f"{len(names)} labels for {len(xy)} points: give one label a sample.")
    colours = dict(colours) if colours is not None else _colours_of(names, attrs)
    span = np.ptp(xy, axis=0)
    unit = (xy - xy.min(0)) / np.where(span > 0, span, 1) * 0.84 + 0.08
    figure = plt.figure(figsize=(8.6, 6.4))
    ax = figure.add_axes((0.01, 0.02, 0.8, 0.93))
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], title=title)
    for name in [name for name in colours if name in set(names)]:
        here = names == name
        ax.scatter(*unit[here].T, s=16, color=colours[name], label=f"{name} ({here.sum():,})", alpha=0.85, linewidth=0)
    chosen = spread(unit, show)
    for sample, centre in zip(chosen, place_tiles(unit, unit[chosen], TILE_CELL), strict=True):
        _joined_tile(ax, tiles[sample], unit[sample], centre, colours[names[sample]], int(sample))
    ax.spines[:].set(visible=True, edgecolor="#bbbbbb")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), title="label (samples)", title_fontsize=8, markerscale=1.6)
    return finish(figure, attrs, f"{len(xy):,} samples, {len(chosen)} of them shown. {_meaning(attrs)}")


def _meaning(attrs: Mapping[str, object]) -> str:
    if attrs.get("method") == "pca":
        parts = [float(part) for part in np.atleast_1d(attrs.get("explained_variance", []))]
        held = f", which hold {sum(parts):.0%} of the variance" if parts else ""
        return f"The first two principal components{held}."
    return "Neighbours are alike; axes, and distances between groups, carry no unit."


TILE_CELL = (0.115, 0.135)  # of the axes: room for a tile of 0.62 inches and a little air


def _colours_of(names: np.ndarray, attrs: Mapping[str, object]) -> dict[str, str]:
    there, known = sorted(set(names)), listed(attrs.get("classes"))
    if known and set(there) <= {*known, "none"}:
        return class_colours(known, attrs) | {"none": "#bbbbbb"}
    if set(there) <= set(LETTERS):
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
def alike(tiles: np.ndarray, embeddings: xr.Dataset, sample: int, nearest: xr.Dataset) -> Figure:
    """Draw a sample and, beside it, those most like it to the network.

    Parameters
    ----------
    tiles : uint8 array (sample, h, w, 3), in the order of `embeddings`
    embeddings : Dataset with ``embedding`` (sample, dim) and the coordinate ``row`` of each sample in the store's index
    sample : int
        Position of the sample that was asked about.
    nearest : Dataset
        Of `geonb.embeddings.nearest`: the rows like it, with ``similarity``.
    """
    check_tiles(tiles, embeddings.sizes["sample"])
    places = {int(row): place for place, row in enumerate(embeddings["row"].values)}
    found = [places[int(row)] for row in nearest["row"].values]
    figure, axes = plt.subplots(1, 1 + len(found), figsize=(1.35 * (1 + len(found)), 1.9), squeeze=False)
    words = ["asked", *(f"{float(value):.3f}" for value in nearest["similarity"].values)]
    for ax, place, word in zip(axes[0], [sample, *found], words, strict=True):
        here = embeddings.isel(sample=place)
        ax.imshow(tiles[place], interpolation="nearest")
        ax.set_title(word, loc="center", fontsize=8.5)
        ax.set_xlabel(f"{here.label.item()}\n{here.split.item()}", fontsize=7.5)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, edgecolor="#b5400f" if ax is axes[0, 0] else "#999999", linewidth=1.4)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.86, bottom=0.22, wspace=0.08)
    return finish(figure, embeddings.attrs, "Above: cosine similarity of the embeddings. Below: label, split.")
