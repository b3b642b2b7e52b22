"""Figures of triplets: how far apart near and far tiles are, where, when and on which the network is right, and the worst."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from geonb.plots.scores import counted, model_lines, models_of, needed
from geonb.plots.style import COASTS_NOTE, finish, legend_above, model_looks, place_text, styled
from geonb.plots.tiles import show_tile
from geonb.workloads.clouds.beyond_brightness import REFERENCE

if TYPE_CHECKING:
    from geonb.workloads.clouds.store import TripletStore

KIND_COLOURS = {"near": "#117733", "far": "#cc6677"}
TILE_COLOURS = {"anchor": "#333333", "neighbor": KIND_COLOURS["near"], "distant": KIND_COLOURS["far"]}
TILE_WORDS = {"anchor": "anchor", "neighbor": "neighbour", "distant": "distant"}
MOST_MAPS = 4
COLLAPSED = 1e-4  # squared distance: the loss asks for a difference of 1


@styled
def distances(scores: xr.Dataset) -> Figure:
    """Draw how far apart neighbours and distant tiles are in each model's embedding, a column a split, on a log scale.

    Parameters
    ----------
    scores : Dataset with ``distance_count (model, split, kind, distance_bin)``, ``distance_edge (model, distance_edges)``
        and ``distance_median (model, split, kind)``, of :func:`geonb.workloads.clouds.scores.score_triplets`
    """
    needed(scores, "distance_count")
    models = models_of(scores)
    splits = [str(s) for s in scores["split"].values if int(scores["n_samples"].sel(split=s))]
    size = 1.2 + 2.5 * len(splits), 0.8 + 1.35 * len(models)
    figure, axes = plt.subplots(len(models), len(splits), figsize=size, squeeze=False, sharex="row", sharey="row")
    for row, model in zip(axes, models, strict=True):
        for ax, split in zip(row, splits, strict=True):
            _histogram(ax, scores.sel(model=model, split=split))
        row[0].set_ylabel(f"{model}\n\nshare", fontsize=8)
        row[0].set_ylim(0, None)
    for ax, split in zip(axes[0], splits, strict=True):
        ax.set_title(f"{split}, {int(scores['n_samples'].sel(split=split)):,} triplets", pad=14)
    for ax in axes[-1]:
        ax.set_xlabel("squared distance")
    legend_above(figure, axes[0, 0], 2, h_pad=0.6)
    said = (
        "From the anchor to its neighbour and to its distant tile, dotted: medians. Each model has a unit of its own."
    )
    return finish(figure, scores.attrs, said, collapse(scores))


def _histogram(ax: Axes, here: xr.Dataset) -> None:
    edges, total = here["distance_edge"].values, max(1, int(here["n_samples"]))
    for kind, colour in KIND_COLOURS.items():
        one = here.sel(kind=kind)
        label = "to the neighbour" if kind == "near" else "to the distant tile"
        share = one["distance_count"].values / total
        ax.stairs(share, edges, color=colour, fill=True, alpha=0.3, linewidth=0)
        ax.stairs(share, edges, color=colour, linewidth=1.3, label=label)
        ax.axvline(float(one["distance_median"]), color=colour, linewidth=1, linestyle=":")
    ax.set_xscale("log")
    at = here["score"].sel(metric=["triplet_accuracy", "auc"]).values
    text = f"accuracy {at[0]:.2f}, AUC {at[1]:.2f}"
    ax.text(1, 1.0, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=7.5, color="#555555")


def collapse(scores: xr.Dataset) -> str:
    """Say that the network gives all tiles the same vector, if it does; else ""."""
    far = scores["distance_median"].isel(model=0).sel(kind="far")
    ties = float(scores["ties"].isel(model=0).max())
    if float(far.max()) < COLLAPSED or ties > 0.5:
        return (
            f"THE EMBEDDING HAS COLLAPSED: the median squared distance to a distant tile is {float(far.max()):.1e}, "
            f"and {ties:.0%} of the triplets are ties. Nothing below means anything; train again with a smaller `lr`."
        )
    return ""


@styled
def beyond_brightness(scores: xr.Dataset, split: str = "test") -> Figure:
    """Draw how good each model is on hard and easy triplets, and what it adds to mean and spread.

    Parameters
    ----------
    scores : Dataset with ``ease_score (model, split, ease)``, ``joined_gain (model, split)`` and their ``_low``, ``_high``, of
        :func:`geonb.workloads.clouds.beyond_brightness.beyond_brightness`
    """
    needed(scores, "ease_score")
    part = scores.sel(split=split)
    figure, (ax, gains) = plt.subplots(1, 2, figsize=(9.4, 3.8), width_ratios=(1.5, 1))
    parts = part["ease"].values.astype(float)
    model_lines(ax, parts, part, "ease_score", 0.12 * scores.sizes["model"])
    ax.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    above = {"textcoords": "offset points", "fontsize": 7.5}
    ax.annotate("a coin", (5.4, 0.5), xytext=(0, 2), ha="right", color="#777777", **above)
    names = [f"{low:+.2f} to {high:+.2f}" for low, high in itertools.pairwise(part["ease_edge"].values)]
    names[0], names[-1] = f"hardest\n{names[0]}", f"easiest\n{names[-1]}"
    ax.set_xticks(parts, names, fontsize=7)
    ax.set(xlim=(0.5, 5.5), ylim=(-0.03, 1.03), ylabel="triplet accuracy")
    ax.set_title(f"By how easy the triplet is for {REFERENCE}")
    ax.set_xlabel("a fifth of the triplets each, by (far - near) / (far + near) of mean and spread", fontsize=8)
    ax.legend(loc="lower right")
    _added(gains, part)
    figure.tight_layout(w_pad=2)
    said = (
        "Right: accuracy of mean and spread joined with each model, by a logistic regression on the validation triplets, minus "
        "theirs alone."
    )
    return finish(figure, scores.attrs, counted(scores, split), said)


def _added(ax: Axes, part: xr.Dataset) -> None:
    """What each model adds to mean and spread alone."""
    looks = model_looks(models_of(part))
    models = [model for model in looks if model != REFERENCE]
    for row, model in enumerate(models):
        value, low, high = (float(part[f"joined_gain{end}"].sel(model=model)) for end in ("", "_low", "_high"))
        ax.hlines(row, low, high, color=looks[model]["color"], linewidth=2)
        ax.plot(value, row, linestyle="none", **looks[model])
        text = f"{value:+.3f}" if np.isfinite(value) else "no validation triplet"
        at = value if np.isfinite(value) else 0
        ax.annotate(text, (at, row), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=7.5)
    ax.axvline(0, color="#999999", linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(models)), models)
    ax.set_ylim(len(models) - 0.5, -0.7)
    ax.margins(x=0.2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+.2f}" if value else "0")
    ax.xaxis.get_major_locator().set_params(nbins=5)
    ax.set(title="What it adds to mean and spread", xlabel="gain of triplet accuracy")
    ax.grid(axis="x")


@styled
def scene_accuracy(scores: xr.Dataset, split: str = "test") -> Figure:
    """Draw the triplet accuracy of each scene in order of time, network beside baselines.

    Parameters
    ----------
    scores : Dataset with ``scene_score (model, split, scene)``, its ``_low`` and ``_high``, ``scene_triplets (split, scene)``,
        ``scene_time`` and ``scene_source (scene)``
    """
    needed(scores, "scene_score")
    here = scores.sel(split=split)
    here = here.isel(scene=np.flatnonzero(here["scene_triplets"].values > 0))
    times, models = pd.DatetimeIndex(here["scene_time"].values), models_of(scores)
    dated = not times.hasnans and times.is_unique
    across = times.to_numpy() if dated else np.arange(len(times))
    figure, (ax, bars) = plt.subplots(2, 1, figsize=(8.6, 4.2), height_ratios=(3, 1), sharex=True)
    for m, (model, look) in enumerate(model_looks(models).items()):
        one = here.sel(model=model)
        small = look | {"markersize": 5 if m == 0 else 3}
        ax.plot(across, one["scene_score"], linewidth=1.5 if m == 0 else 0.8, label=model, **small)
        if m == 0:
            ax.vlines(across, one["scene_score_low"], one["scene_score_high"], color=look["color"], alpha=0.5)
    ax.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    ax.set(ylim=(None, 1.02), ylabel="triplet accuracy", title="Scene by scene")
    ax.grid(axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    step = np.diff(across).min() * 0.7 if len(across) > 1 else (np.timedelta64(1, "h") if dated else 0.7)
    bars.bar(across, here["scene_triplets"].values, width=step, color="#999999")
    bars.set_ylabel("triplets")
    bars.set_xlabel("time of the anchor's scene [UTC]" if dated else "scene, in order of time; undated ones last")
    if dated:
        bars.xaxis.set_major_formatter(ConciseDateFormatter(bars.xaxis.get_major_locator()))
    else:
        bars.xaxis.get_major_locator().set_params(integer=True)
    figure.tight_layout()
    few = int((here["scene_triplets"] < 30).sum())
    rare = f"{few} of {here.sizes['scene']} scenes have fewer than 30 triplets: their values scatter." if few else ""
    return finish(figure, scores.attrs, f"{counted(scores, split)} Dotted: a coin.", rare)


@styled
def place_accuracy(scores: xr.Dataset, split: str = "test", model: str | None = None) -> Figure:
    """Draw the triplet accuracy of a model where the anchors lie on Earth, all scenes together, a map a source.

    Parameters
    ----------
    scores : Dataset with ``place_score (model, split, place)``, ``place_triplets (split, place)``, ``place_lon``, ``place_lat``
        [degrees] and ``place_source (place)``
    model : str, optional
        The network (the first model) when left out.
    """
    import cartopy.crs as ccrs

    from geonb.plots.locators import earth

    needed(scores, "place_score")
    model = models_of(scores)[0] if model is None else model
    here = scores.sel(split=split, model=model)
    inside = here["place_triplets"].values > 0
    sources = list(dict.fromkeys(here["place_source"].values[inside].astype(str)))[:MOST_MAPS]
    middle = np.rad2deg(np.angle(np.exp(1j * np.deg2rad(here["place_lon"].values)).mean()))
    frame = {"projection": ccrs.PlateCarree(central_longitude=float(middle))}
    size = 1.2 + 4.4 * len(sources), 3.9
    figure, axes = plt.subplots(1, len(sources), figsize=size, squeeze=False, subplot_kw=frame, layout="constrained")
    low = np.floor(10 * np.nanmin(here["place_score"].values[inside])) / 10
    for ax, source in zip(axes[0], sources, strict=True):
        mine = here["place_source"].values.astype(str) == source
        lon, lat, score, count = (here[f"place_{name}"].values[mine] for name in ("lon", "lat", "score", "triplets"))
        earth(ax)
        other = count == 0
        look = {"transform": ccrs.PlateCarree(), "marker": "s", "zorder": 3}
        ax.scatter(lon[other], lat[other], s=6, color="#bbbbbb", **look)
        area = 8 + 110 * count[~other] / count.max()
        shown = ax.scatter(
            lon[~other], lat[~other], s=area, c=score[~other], cmap="viridis", vmin=min(low, 0.5), vmax=1,
            edgecolor="white", linewidth=0.4, **look,
        )  # fmt: skip
        ax.set_title(source)
        small = {"xlabel_style": {"size": 7}, "ylabel_style": {"size": 7}}
        grid = ax.gridlines(draw_labels={"bottom": "x", "left": "y"}, linewidth=0.3, color="#b9c6d0", **small)
        grid.xlocator = grid.ylocator = MaxNLocator(5)
    figure.colorbar(shown, ax=axes[0].tolist(), label="triplet accuracy", shrink=0.8)
    told = f"{model}, {split} split: a square is 2 x 2 tiles, larger with more triplets; grey ones are of other splits."
    return finish(figure, scores.attrs, told, COASTS_NOTE)


@styled
def triplet_gallery(
    predictions: xr.DataTree,
    store: TripletStore,
    split: str = "test",
    which: str = "worst",
    show: int = 6,
    spread: bool = True,
) -> Figure | None:
    """Draw triplets that the network gets most wrong, or most right: anchor, neighbour and distant tile side by side.

    Parameters
    ----------
    predictions : DataTree with the group ``triplets``, in the order of the store's table
    store : TripletStore
    which : str
        ``worst``: the distant tile is by far the nearer one to the network; ``best``: the neighbour is.
    show : int
        How many triplets.
    spread : bool
        One of each block at most: the same clouds five minutes later would fill the figure.

    Returns
    -------
    Figure, or None where the split has no triplet
    """
    chosen = ranked(predictions, split, which, show, spread)
    if chosen is None:
        return None
    rows = chosen["sample"].values
    tiles = {name: store.tiles(rows, name) for name in TILE_COLOURS}
    lines = -(-len(rows) // 2)
    figure = plt.figure(figsize=(8.8, 0.35 + 1.95 * lines))
    for place in range(len(rows)):
        _gallery_row(figure, chosen.isel(sample=place), {n: t[place] for n, t in tiles.items()}, place, lines)
    said = f"The {len(rows)} {which} triplets of the {split} split{', one of each block' if spread else ''}."
    unit = "Distances are squared, in the network's embedding; green must be the smaller."
    return finish(figure, predictions.attrs, f"{said} {unit}")


def ranked(predictions: xr.DataTree, split: str, which: str, show: int, spread: bool = True) -> xr.Dataset | None:
    """The triplets on which the network is most wrong, or most right, by (far - near) / (far + near), that first.

    Raises
    ------
    ValueError
        If `which` is neither worst nor best.
    """
    from geonb.workloads.clouds.blocks import margins_of

    if which not in ("worst", "best"):
        raise ValueError(f"which = {which!r}: give worst or best")
    data = predictions["triplets"].to_dataset().load()
    data = data.assign_coords(sample=np.arange(data.sizes["sample"]))  # rows of the store's table
    near, far = (data[name].transpose("model", "sample").values.astype(float) for name in ("near", "far"))
    known = np.isfinite(near + far).all(0) & (data["split"].values == split)
    if not known.any():
        return None
    data = data.isel(sample=known).assign(margin=(("model", "sample"), margins_of(near[:, known], far[:, known])))
    order = np.argsort(data["margin"].values[0] * (1 if which == "worst" else -1), kind="stable")
    if spread:
        _, first = np.unique(data["block"].values[order], return_index=True)
        order = order[np.sort(first)]
    return data.isel(sample=order[:show])


def _gallery_row(figure: Figure, one: xr.Dataset, tiles: dict[str, np.ndarray], place: int, lines: int) -> None:
    """Three tiles beside each other, above them their distances, what mean and spread say, time and place."""
    row, column = divmod(place, 2)
    height = figure.get_figheight()
    top = 1 - (0.35 + 1.95 * row) / height
    left = 0.02 + 0.5 * column
    values = [float(one[k].isel(model=0)) for k in ("near", "far")]
    for k, (name, tile) in enumerate(tiles.items()):
        ax = figure.add_axes((left + 0.155 * k, top - 1.5 / height, 0.15, 1.32 / height))
        show_tile(ax, tile, TILE_COLOURS[name], 1.8)
        ax.set_gid(f"{name}-{int(one['sample'])}")
        word = TILE_WORDS[name] + (f" {values[k - 1]:.3g}" if k else "")
        ax.set_title(word, fontsize=7.5, fontweight="normal", color=TILE_COLOURS[name], loc="center", pad=2)
    figure.text(left, top + 0.02 / height, _told(one), fontsize=7.5, color="#555555", va="bottom")


def _told(one: xr.Dataset) -> str:
    """When and where the anchor lies, and what mean and spread make of the triplet."""
    parts = [str(one["source"].item())]
    if "time" in one and not np.isnat(one["time"].values):
        parts = [pd.Timestamp(one["time"].values).strftime("%Y-%m-%d %H:%M")]
    if {"lon", "lat"} <= set(one.variables):
        parts.append(place_text(float(one["lat"]), float(one["lon"]), 1))
    if REFERENCE in one["model"].values:
        right = float(one["margin"].sel(model=REFERENCE)) > 0
        parts.append(f"mean and spread: {'right' if right else 'wrong'}")
    return ", ".join(parts)


@styled
def triplet_samples(store: TripletStore, n: int = 8, seed: int = 0, split: str = "train") -> Figure:
    """Draw triplets of a split as the network is given them: anchor, neighbour and distant tile below each other.

    Parameters
    ----------
    store : TripletStore
    n : int
        How many, drawn at random.

    Raises
    ------
    ValueError
        If the split has no triplet.
    """
    mine = np.flatnonzero(store.index["split"].astype(str).to_numpy() == split)
    if not mine.size:
        raise ValueError(
            f"The {split} split has no triplet to show. Give another `split`, or other `shares` in notebook 01."
        )
    rows = np.sort(np.random.default_rng([seed, 0x7121]).permutation(mine)[:n])
    figure, axes = plt.subplots(3, len(rows), figsize=(0.4 + 1.12 * len(rows), 3.9), squeeze=False)
    for line, name in zip(axes, TILE_COLOURS, strict=True):
        for ax, tile, row in zip(line, store.tiles(rows, name), rows, strict=True):
            show_tile(ax, tile, TILE_COLOURS[name])
            ax.set_gid(f"{name}-{row}")
        line[0].set_ylabel(TILE_WORDS[name], color=TILE_COLOURS[name])
    for ax, row in zip(axes[2], rows, strict=True):
        ax.set_xlabel(_when(store.index.iloc[row]), fontsize=6.5)
    figure.subplots_adjust(left=0.05, right=0.995, top=0.99, bottom=0.09, wspace=0.06, hspace=0.06)
    said = f"{len(rows)} of {mine.size:,} triplets of the {split} split, a column each. Below: the anchor's time."
    return finish(figure, store.meta, said)


def _when(row: pd.Series) -> str:
    time = pd.to_datetime(row.get("time"))
    return str(row["source"]) if pd.isna(time) else time.strftime("%m-%d %H:%M")
