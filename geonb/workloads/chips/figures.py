"""Figures of `chips`, and which of them the shared notebooks show, with the words that tell how to read them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from geonb import registry
from geonb.base.conventions import SPLITS
from geonb.plots.maps import crs_of, draw_on_grid
from geonb.plots.scores import counted, models_of, rows_of_dots
from geonb.plots.style import SPLIT_COLOURS, class_colours, finish, styled, swatches
from geonb.rasters.grids import crs_name

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geonb.workloads.chips.store import ChipStore

SHOWN = 12  # chips of a gallery
DEALT = {split: SPLIT_COLOURS[split] for split in SPLITS}


def rgb_tiles(store: ChipStore, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """How chips look to a person: uint8 (sample, y, x, 3), one stretch for the whole store; pixels without data white.

    Chips of bytes in three bands, as pictures are, stay as they are.
    """
    bands, limits = store.stretch
    tiles = []
    for row in rows:
        chip = store[int(row)]
        values = chip["inputs"].to_numpy()[bands].astype(np.float32)
        grey = np.stack(
            [np.clip((v - low) / max(high - low, 1e-6), 0, 1) for v, (low, high) in zip(values, limits, strict=True)],
            -1,
        )
        grey[~chip["valid"].to_numpy().astype(bool)] = 1
        tiles.append((grey * 255).astype(np.uint8))
    return np.stack(tiles) if tiles else np.zeros((0, 1, 1, 3), np.uint8)


@styled
def label_shares(store: ChipStore) -> Figure:
    """How many chips of each split have each label, and how many labels a chip has."""
    names, index = store.names, store.index
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 0.32 * len(names) + 1.6), width_ratios=(3, 1.3))
    start = np.zeros(len(names))
    targets = store.targets(np.arange(len(store)))
    for split, colour in DEALT.items():
        mine = targets[(index["split"] == split).to_numpy()]
        counts = (mine == 1).sum(0)
        left.barh(names, counts, left=start, color=colour, label=split)
        start += counts
    known = np.isfinite(targets).sum(0)
    for row, (count, all_) in enumerate(zip(start, known, strict=True)):
        left.annotate(f" {count / max(all_, 1):.1%}", (count, row), va="center", fontsize=8)
    left.invert_yaxis()
    left.set(xlabel="chips with the label", xlim=(0, 1.15 * max(start.max(), 1)), title="Labels")
    left.legend()
    rated = np.isfinite(targets).any(1)
    right.hist((targets[rated] == 1).sum(1), np.arange(-0.5, len(names) + 1.5), color="#607d8b", rwidth=0.9)
    right.set(xlabel="labels on a chip", ylabel="chips", title="How many at once")
    right.xaxis.get_major_locator().set_params(integer=True)
    figure.tight_layout()
    return finish(
        figure, store.meta, f"{int(rated.sum()):,} chips with known labels; the share of them beside each bar."
    )


@styled
def label_correlation(store: ChipStore) -> Figure:
    """Correlation of the labels over all chips: which come together, which exclude each other."""
    targets, names = store.targets(np.arange(len(store))), store.names
    known = targets[np.isfinite(targets).all(1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.atleast_2d(np.corrcoef(known.T)) if len(known) > 1 else np.full((len(names),) * 2, np.nan)
    side = 0.42 * len(names) + 2.2
    figure, ax = plt.subplots(figsize=(side + 1, side))
    drawn = ax.imshow(matrix, cmap="RdYlBu", vmin=-1, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.grid(False)
    for (i, j), value in np.ndenumerate(matrix):
        ink = "white" if np.isfinite(value) and abs(value) > 0.7 else "#222222"
        ax.text(j, i, "-" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(drawn, ax=ax, label="correlation", shrink=0.8)
    ax.set_title("Labels that come together")
    figure.tight_layout()
    return finish(
        figure, store.meta, f"Pearson's, of {len(known):,} chips. A dash: a label that all chips have, or none."
    )


@styled
def chips_with_labels(store: ChipStore, rows: Sequence[int] | None = None, seed: int = 0) -> Figure:
    """Some chips with the labels that they have, drawn at random so that every label is among them where it can be."""
    rows = drawn_rows(store, SHOWN, seed) if rows is None else list(rows)
    tiles, index = rgb_tiles(store, rows), store.index
    figure, axes = _gallery(len(rows))
    for ax, row, tile in zip(axes, rows, tiles, strict=False):
        _chip(ax, tile, index["quadkey"].iloc[row], store.words(row))
    figure.tight_layout()
    return finish(figure, store.meta, "Above each its quadkey, below its labels.")


def drawn_rows(store: ChipStore, count: int, seed: int = 0, split: str | None = None) -> list[int]:
    """Rows of chips, a random one of each label in turn."""
    rng, targets = np.random.default_rng(seed), store.targets(np.arange(len(store)))
    mine = np.ones(len(store), bool) if split is None else (store.index["split"] == split).to_numpy()
    pools = [rng.permutation(np.flatnonzero(mine & (labels == 1))).tolist() for labels in targets.T]
    found: dict[int, None] = {}
    while len(found) < count and any(pools):
        for pool in pools:
            if pool and len(found) < count:
                found[pool.pop()] = None
    return list(found) or np.flatnonzero(mine)[:count].tolist()


def _gallery(count: int, columns: int = 4) -> tuple[Figure, list[Axes]]:
    rows = max(1, -(-count // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(2.5 * columns, 3.2 * rows), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    return figure, list(axes.flat)


def _chip(ax: Axes, tile: np.ndarray, title: str, words: str) -> None:
    ax.imshow(tile)
    ax.set_title(title, fontsize=8)
    ax.text(0.5, -0.03, textwrap.fill(words, 34), transform=ax.transAxes, ha="center", va="top", fontsize=8)


@styled
def parent_tiles(store: ChipStore, columns: int = 3) -> Figure:
    """Where the chips of each split lie, and the parent tiles that were dealt: a panel a source."""
    size, names = store.meta["parameters"]["size"], store.sources
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    side = 5.4 if columns == 1 else 3.4
    figure, axes = plt.subplots(rows, columns, figsize=(side * columns + 0.8, side * rows + 0.5), squeeze=False)
    for ax, source in zip_longest(axes.flat, names):
        if source is None:
            ax.axis("off")
            continue
        grid, mine = store._grids[source], store.index[store.index["source"] == source]
        shape = grid.sizes["y"] // size, grid.sizes["x"] // size
        at = mine["y"] // size, mine["x"] // size
        picture, blocks = np.ones((*shape, 3)), np.full(shape, -1)
        picture[at], blocks[at] = (
            [plt.matplotlib.colors.to_rgb(DEALT[s]) for s in mine["split"].astype(str)],
            mine["block"],
        )
        crs = crs_of(grid)
        draw_on_grid(ax, picture, grid, crs)
        left, right, bottom, top = ax.images[0].get_extent()
        x, y = np.linspace(left, right, shape[1] + 1), np.linspace(top, bottom, shape[0] + 1)
        _edges(ax, blocks, x, y)
        for _, part in mine.groupby("block"):
            middle = [np.interp(part[k].mean() / size + 0.5, range(len(v)), v) for k, v in (("x", x), ("y", y))]
            ax.text(*middle, len(part), ha="center", va="center", fontsize=8)
        ax.set_title(f"{source}\n{crs_name(crs)}", fontsize=9)
    figure.tight_layout()
    figure.legend(handles=swatches(DEALT), loc="center left", bbox_to_anchor=(1, 0.5))
    return finish(
        figure, store.meta, "A cell is a chip, north is up. Lines: parent tiles; in each the number of its chips."
    )


def _edges(ax: Axes, blocks: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Lines between cells of different blocks, whose sides lie at x and y."""
    for i, j in np.argwhere(blocks[:, 1:] != blocks[:, :-1]):
        ax.plot([x[j + 1]] * 2, y[i : i + 2], color="black", lw=0.8)
    for i, j in np.argwhere(blocks[1:] != blocks[:-1]):
        ax.plot(x[j : j + 2], [y[i + 1]] * 2, color="black", lw=0.8)


@styled
def told_and_true(predictions: xr.DataTree, store: ChipStore, seed: int = 0) -> Figure:
    """Test chips with the labels that they have and those that the network tells."""
    from geonb.workloads.chips.scores import gathered

    found = gathered(predictions)
    rows = drawn_rows(store, SHOWN, seed, "test")
    at = {int(row): i for i, row in enumerate(found["row"])}
    figure, axes = _gallery(len(rows))
    for ax, row, tile in zip(axes, rows, rgb_tiles(store, rows), strict=False):
        i = at[row]
        told = found["probability"][0, i] >= found["threshold"][0]
        truth = found["truth"][i]
        marks = {
            "{} ✓": told & (truth == 1),
            "{} ✗": told & (truth == 0),
            "{} ?": told & np.isnan(truth),
            "({})": ~told & (truth == 1),
        }
        words = [mark.format(name) for mark, which in marks.items() for name in found["classes"][which]]
        nothing = "nothing told, nothing there" if np.isfinite(truth).all() else "nothing told, and not all is known"
        _chip(ax, tile, store.index["quadkey"].iloc[row], ", ".join(words) or nothing)
    figure.tight_layout()
    return finish(
        figure,
        predictions.attrs,
        "Of the test split. ✓ told and there, ✗ told and not there, ? told where nobody knows, in brackets there and not told.",
    )


@styled
def ranked(store: ChipStore, answers: Any, asked: Sequence[int] = (), by: str = "cosine similarity") -> Figure:
    """Answers of a search as pictures, the best first, after the chips that ask.

    Parameters
    ----------
    answers : of :meth:`geonb.embeddings.search.Index.search`, with ``row``, the chip's row in the store
    asked : rows of the chips that ask; so many are shown as of a gallery
    by : what the answers' score is
    """
    asked = asked[:SHOWN]
    rows = [*asked, *answers["row"].astype(int)]
    words = ["asked", *[""] * (len(asked) - 1)] if len(asked) else []
    words += [f"{rank}: {score:.3f}" for rank, score in zip(answers["rank"], answers["score"], strict=True)]
    figure, axes = _gallery(len(rows))
    for ax, row, tile, told in zip(axes, rows, rgb_tiles(store, rows), words, strict=False):
        _chip(ax, tile, told, store.words(row))
        if row in asked:
            ax.add_patch(plt.Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, lw=4, color="#e0218a"))
    figure.tight_layout()
    return finish(figure, store.meta, f"Above each its rank and {by}, below its labels.")


@styled
def class_scores(scores: xr.Dataset, metric: str = "average_precision", split: str = "test") -> Figure:
    """One metric of each class with its interval, models side by side, and how many chips have it."""
    chosen, models = scores.sel(split=split, class_metric=metric), models_of(scores)
    number = int(scores["n_samples"].sel(split=split))
    names = [
        f"{name}\n{int(n):,} chips, {n / max(number, 1):.1%}"
        for name, n in zip(scores["class"].values, chosen.class_chips.values, strict=True)
    ]
    values = [chosen.class_score, chosen.class_score_low, chosen.class_score_high]
    figure, ax = rows_of_dots(values, models, names, 0.2 * (len(models) + 0.6), 6.4)
    for row, colour in enumerate(class_colours(scores["class"].values, scores.attrs).values()):
        ax.plot(-0.03, row, marker="s", markersize=8, color=colour, transform=ax.get_yaxis_transform(), clip_on=False)
    ax.tick_params(axis="y", pad=18)
    said = metric.replace("_", " ")
    ax.set(xlim=(-0.01, 1.01), xlabel=said)
    ax.set_title(f"{said} of each label", pad=22)
    figure.tight_layout()
    return finish(figure, scores.attrs, counted(scores, split))


CHIPS: Mapping[str, Any] = {
    "02_training": (
        registry.Figure(
            "",
            "Chips of the training split with their labels. Would you give the same ones? A label that you cannot see is one "
            "that the network must guess from what is around it, or the map is newer than the image.",
            "geonb.workloads.chips.figures:chips_with_labels",
        ),
    ),
    "03_prediction": (
        registry.Figure(
            "",
            "Chips of the test split. Look at what is told and not there: often it is there, and nobody has mapped it. What is there and "
            "not told is small, hidden, or rare.",
            "geonb.workloads.chips.figures:told_and_true",
        ),
    ),
    "04_analytics": (
        registry.Figure(
            "Which labels",
            "Average precision asks how well chips are ranked by a label, whatever the threshold; what chance would give is the share of "
            "chips with it, which stands beside its name. F1 is at the threshold that was best on validation.",
            "geonb.workloads.chips.figures:class_scores",
        ),
    ),
    "05_interpretation": (
        registry.Figure(
            "By label",
            "The same plane in the colours of the rarest label of each chip: of several labels the one that tells it from the others, "
            "however little of it there is. So a kind may be named after what few of its chips show: compare its share with that of all.",
            "geonb.plots.shared:by_label",
        ),
    ),
    "06_explore": (
        registry.Figure(
            "",
            "A way through it. Choose a class and look at its probability over the image: is it high where you see it? Then look at where "
            "the label is: what lies between the two is what the network misses, or what the map lacks. Switch the model to "
            "colour-histogram and back.",
            "",
        ),
    ),
}  # fmt: skip
