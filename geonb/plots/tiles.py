"""Figures that put the samples themselves beside what a network makes of them: the dendrogram, and what is alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.embeddings.trees import LETTERS, NOISE, check_examples
from geonb.plots.style import CLUSTER_COLOURS, finish, styled

if TYPE_CHECKING:
    from geonb.store.store import Store

MOST_CLUSTERS = len(CLUSTER_COLOURS)
NOISE_COLOUR = "#bbbbbb"
# The tiles of all samples, or a function of rows of the store's index that reads those that are drawn.
Tiles = np.ndarray | Callable[[np.ndarray], np.ndarray]


def cluster_colours(clusters: Iterable[str]) -> dict[str, str]:
    """Colour of each cluster letter, the same in every figure; noise ("-") is grey and comes last."""
    letters = {str(letter) for letter in clusters}
    noise = {NOISE: NOISE_COLOUR} if NOISE in letters else {}
    return {letter: CLUSTER_COLOURS[LETTERS.index(letter)] for letter in sorted(letters - {NOISE})} | noise


def check_tiles(tiles: Tiles, n: int) -> None:
    """Raise ValueError unless there is one uint8 RGB tile for each of `n` samples; a function is asked when tiles are drawn."""
    if callable(tiles):
        return
    if tiles.ndim != 4 or tiles.shape[-1] != 3 or tiles.dtype != np.uint8:
        raise ValueError(
            f"tiles must be uint8 (sample, h, w, 3), not {tiles.dtype} {tiles.shape}. Stretch them to 0-255 first."
        )
    if len(tiles) != n:
        raise ValueError(
            f"{len(tiles)} tiles for {n} samples: give one tile a sample, in the order of the embeddings' rows."
        )


def tiles_at(tiles: Tiles, about: Any, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """The tiles of some samples.

    Parameters
    ----------
    tiles : uint8 array (sample, h, w, 3), or function of rows
        A function gets the coordinate ``row`` of the samples (their places, where there is none), so that a table that was
        filtered or sorted still leads to their own tiles.
    about : Dataset or DataArray with the samples' coordinates, or array (sample, ...)
    places : positions along ``sample``

    Returns
    -------
    uint8 array (place, h, w, 3)
    """
    chosen = np.asarray(places, int)
    check_tiles(tiles, len(about["sample"]) if hasattr(about, "coords") else len(about))
    if not callable(tiles):
        return tiles[chosen]
    read = np.asarray(tiles(about["row"].to_numpy()[chosen] if "row" in getattr(about, "coords", ()) else chosen))
    check_tiles(read, len(chosen))
    return read


def drawn_windows(store: Store, n: int, split: str | None, seed: int) -> tuple[int, np.ndarray]:
    """How many windows a split of a store has (None: all of it), and the rows of `n` of them, drawn at random.

    Raises
    ------
    ValueError
        If the split has none.
    """
    inside = np.arange(len(store)) if split is None else np.flatnonzero(store.index["split"] == split)
    if not len(inside):
        raise ValueError(f"No windows in split {split!r}; the store has {sorted(set(store.index['split']))}.")
    return len(inside), pd.Series(inside).sample(min(n, len(inside)), random_state=seed).to_numpy()


def show_tile(ax: Axes, tile: np.ndarray, colour: str, width: float = 1.6, name: str | None = None) -> None:
    """Draw a tile in a frame, without axes; its name becomes the picture's id in SVG."""
    ax.imshow(tile, interpolation="nearest", gid=name)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, edgecolor=colour, linewidth=width)


def examples_of(
    members: np.ndarray, embeddings: xr.Dataset, n: int, examples: str = "centre", seed: int = 0
) -> np.ndarray:
    """Choose `n` samples of a cluster to show.

    Parameters
    ----------
    members : positions of the cluster's samples
    examples : str
        "centre": nearest to the cluster's mean, nearest first; "random"; "best" or "worst": of the largest or smallest ``margin``.

    Raises
    ------
    ValueError
        If best or worst are asked for and the embeddings have no coordinate ``margin``.
    """
    check_examples(examples)
    if examples == "random":
        return np.random.default_rng([seed, int(members[0])]).permutation(members)[:n]
    if examples == "centre":
        values = embeddings["embedding"].isel(sample=members).transpose("sample", "dim").to_numpy()
        return members[np.argsort(np.linalg.norm(values - values.mean(0), axis=1), kind="stable")[:n]]
    if "margin" not in embeddings.coords:
        raise ValueError(
            f"examples = {examples!r} needs a coordinate 'margin' that says how well the network did on each sample; these "
            "embeddings have none. Take 'centre' or 'random'."
        )
    margin = embeddings["margin"].to_numpy()[members]
    return members[np.argsort(-margin if examples == "best" else margin, kind="stable")[:n]]


@styled
def alike(tiles: Tiles, embeddings: xr.Dataset, sample: int, nearest: xr.Dataset) -> Figure:
    """Draw a sample and, beside it, those most like it to the network.

    Parameters
    ----------
    tiles : uint8 array (sample, h, w, 3) in the order of `embeddings`, or function of rows
    embeddings : Dataset with ``embedding`` (sample, dim) and the coordinate ``row`` of each sample in the store's index
    sample : int
        Position of the sample that was asked about.
    nearest : Dataset
        Of `geonb.embeddings.embedding.nearest`: the rows like it, with ``similarity``.
    """
    places = {int(row): place for place, row in enumerate(embeddings["row"].values)}
    order = [sample, *(places[int(row)] for row in nearest["row"].values)]
    figure, axes = plt.subplots(1, len(order), figsize=(1.35 * len(order), 1.9), squeeze=False)
    words = ["asked", *(f"{float(value):.3f}" for value in nearest["similarity"].values)]
    for ax, place, tile, word in zip(axes[0], order, tiles_at(tiles, embeddings, order), words, strict=True):
        one = embeddings.isel(sample=place)
        show_tile(ax, tile, "#b5400f" if ax is axes[0, 0] else "#999999", 1.4, f"tile-{place}")
        ax.set_title(word, loc="center", fontsize=8.5)
        under = [*([str(one.label.item())] if "label" in one.coords else []), str(one.split.item()), *when(one)]
        ax.set_xlabel("\n".join(under), fontsize=7.5)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.86, bottom=0.22, wspace=0.08)
    told = [*(["label"] if "label" in embeddings.coords else []), "split", *(["time"] if when(one) else [])]
    below = 0.01 + 0.09 * (len(told) - 2 if len(told) > 2 else 0)
    note = f"Above: cosine similarity of the embeddings. Below: {', '.join(told)}."
    return finish(figure, embeddings.attrs, note, below=below)


def when(sample: xr.Dataset | xr.DataArray) -> list[str]:
    """The time of one sample as text, to the minute where it has one; empty where it is not known."""
    if "time" not in sample.coords or np.isnat(sample["time"].values):
        return []
    text = str(sample["time"].values.astype("datetime64[m]")).replace("T", " ")
    return [text.removesuffix(" 00:00")]
