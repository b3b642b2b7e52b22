"""The tree of embedded samples with its clusters as leaves, and tiles of each under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.embeddings.trees import EXAMPLES, LETTERS, NOISE, Tree, as_tree, cluster, letters_of
from geonb.plots.style import CLUSTER_COLOURS, finish, ink_on, styled
from geonb.plots.tiles import MOST_CLUSTERS, Tiles, check_tiles, examples_of, show_tile, tiles_at

if TYPE_CHECKING:
    pass


@styled
def dendrogram(
    linkage: np.ndarray | Tree,
    embeddings: xr.Dataset,
    tiles: Tiles,
    clusters: int | np.ndarray = 8,
    examples: str = "centre",
    count: int = 4,
    seed: int = 0,
) -> tuple[Figure, np.ndarray]:
    """Draw the tree of the samples, cut into a few clusters, with some tiles of each below it.

    Parameters
    ----------
    linkage : Tree of `geonb.embeddings.trees.link`, or array (sample - 1, 4)
        Of `scipy.cluster.hierarchy.linkage` over the rows of `embeddings`.
    embeddings : Dataset
        ``embedding`` (sample, dim); a ``label`` coordinate, where there is one, names each cluster's commonest class.
    tiles : uint8 array (sample, h, w, 3) in the order of the embeddings, or function of rows that reads those drawn
    clusters : int, 2 to 14, or array (sample,) of `geonb.embeddings.trees.cluster`, whose number of clusters is taken
    examples : str
        Which tiles stand under each cluster: "centre" (nearest to its mean first), "random", "best" or "worst" (by the
        coordinate ``margin``).
    count : int
        How many of them.

    Returns
    -------
    Figure, and array (sample,) of the letter of each sample's cluster; "-" for noise of HDBSCAN

    Raises
    ------
    ValueError
        If `clusters` is out of range, the tiles or the tree do not match the samples, or there is no ``margin`` to go by.
    """
    tree, n = as_tree(linkage), embeddings.sizes["sample"]
    check_tiles(tiles, n)
    if len(tree.leaf) != n:
        raise ValueError(
            f"The linkage joins {len(tree.leaf)} samples, the embeddings hold {n}: make both from one table."
        )
    clusters = int(clusters) if np.ndim(clusters) == 0 else len(set(np.asarray(clusters).tolist()) - {-1})
    most = min(MOST_CLUSTERS, n)
    if not 2 <= clusters <= most:
        raise ValueError(f"clusters = {clusters} cannot be drawn: allowed are 2 to {most} for {n} samples.")
    numbers = cluster(tree, clusters)
    leaves = [np.flatnonzero(numbers == place) for place in range(numbers.max() + 1)]
    chosen = [examples_of(members, embeddings, count, examples, seed) for members in leaves]
    shown = np.split(tiles_at(tiles, embeddings, np.concatenate(chosen)), np.cumsum([len(c) for c in chosen])[:-1])
    figure, top = _tree(tree, len(leaves), count)
    for place, members in enumerate(leaves):
        _leaf(figure, top, place, members, embeddings)
        _tiles_under(figure, top, place, shown[place], chosen[place])
    said = _said(tree, embeddings, EXAMPLES[examples], count)
    return finish(figure, embeddings.attrs, *said), letters_of(numbers)


def _tree(tree: Tree, leaves: int, count: int) -> tuple[Figure, Axes]:
    """The branches above the leaves, on a figure with room for tiles below."""
    from scipy.cluster.hierarchy import dendrogram as layout

    figure = plt.figure(figsize=(max(6.0, 1.0 * leaves + 0.8), 3.0 + 0.83 * count))
    top = figure.add_axes((0.07, 1 - 2.2 / figure.get_figheight(), 0.92, 1.95 / figure.get_figheight()))
    drawn = layout(tree.linkage, p=leaves, truncate_mode="lastp", no_plot=True)
    for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        top.plot(x, y, color="#555555", linewidth=1.2, solid_capstyle="round")
    top.set(
        xlim=(0, 10 * leaves), ylim=(0, None), ylabel="distance (Ward)", title="Which windows look alike to the network"
    )
    top.set_xticks([])
    top.spines["bottom"].set_visible(False)
    return figure, top


def _said(tree: Tree, embeddings: xr.Dataset, which: str, count: int) -> list[str]:
    """What a reader must know of the tree."""
    n, named = len(tree.leaf), embeddings.attrs.get("network", "the network")
    under = f"under each cluster {which.format(count)}."
    if tree.grouping == "ward":
        said = [f"Ward linkage of {n:,} samples seen by {named}; {under}"]
    else:
        how = {"kmeans": "k-means centres", "hdbscan": "dense groups (HDBSCAN)"}[tree.grouping]
        said = [f"{tree.leaves} {how} of {n:,} samples seen by {named}, and Ward's linkage of those; {under}"]
    if noise := int((tree.leaf < 0).sum()):
        said.append(f"{noise:,} samples ({noise / n:.0%}) lie in no dense group and are not shown ({NOISE}).")
    if tree.agreement:
        found = tree.agreement
        said.append(
            f"Condensed: the linkage joins {tree.leaves:,} groups, each weighted by its samples. Against the exact tree of "
            f"{found['samples']:,} samples: adjusted Rand index {found['rand']:.2f} (between exact trees of two such draws: "
            f"{found['rand_of_two_samples']:.2f}), cophenetic correlation {found['cophenetic']:.2f}."
        )
    return said


def _column(figure: Figure, top: Axes, place: int) -> tuple[float, float, float]:
    """Left edge, width and top of the column under a leaf, as shares of the figure."""
    across = top.get_position().width / (top.get_xlim()[1] / 10)
    return top.get_position().x0 + place * across, across, top.get_position().y0


def _leaf(figure: Figure, top: Axes, place: int, members: np.ndarray, embeddings: xr.Dataset) -> None:
    """Under a leaf: its letter, how many windows it holds, and its commonest class."""
    colour, height = CLUSTER_COLOURS[place], figure.get_figheight()
    left, across, below = _column(figure, top, place)
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


def _tiles_under(figure: Figure, top: Axes, place: int, tiles: np.ndarray, samples: np.ndarray) -> None:
    """A column of tiles, each carrying its sample's number as gid."""
    left, across, below = _column(figure, top, place)
    side = 0.78  # inches
    for row, (tile, sample) in enumerate(zip(tiles, samples, strict=True)):
        bottom = below - (0.72 + (row + 1) * (side + 0.05)) / figure.get_figheight()
        ax = figure.add_axes((left + 0.06 * across, bottom, 0.88 * across, side / figure.get_figheight()))
        show_tile(ax, tile, CLUSTER_COLOURS[place], name=f"tile-{sample}")
