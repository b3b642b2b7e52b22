"""Maps of images, classes and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.plots.maps import (
    common_limits,
    composite_note,
    crs_of,
    default_bands,
    draw_on_grid,
    draw_values,
    edges,
    panel_grid,
    scale_bar,
    split_lines,
    stretched,
    thinned,
)
from geonb.plots.style import NODATA_COLOUR, SPLIT_COLOURS, class_colours, finish, styled, swatches
from geonb.plots.tiles import drawn_windows
from geonb.rasters.grids import crs_name


def coloured(labels: np.ndarray, colours: Mapping[str, str]) -> np.ndarray:
    """Class indices (y, x) -> (y, x, 4); anything that is no class is transparent."""
    from matplotlib.colors import to_rgba

    table = np.zeros((256, 4), "float32")
    table[: len(colours)] = [to_rgba(colour) for colour in colours.values()]
    return table[np.clip(np.nan_to_num(labels, nan=255), 0, 255).astype("uint8")]


@styled
def rgb(
    image: xr.DataArray, valid: xr.DataArray | None = None, bands: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes | Figure:
    """Draw a colour composite on the image's own grid.

    Parameters
    ----------
    image : DataArray (channel, y, x)
    valid : DataArray (y, x) bool, optional
        Pixels to show; the others are grey.
    bands : three positions along ``channel`` for red, green, blue; see `default_bands`
    ax : Axes, optional

    Returns
    -------
    Axes, or the Figure made for it when no `ax` was given
    """
    if ax is not None:
        return _composite(ax, image, valid, bands)
    figure, ax = plt.subplots(figsize=(5, 4.6))
    _composite(ax, image, valid, bands)
    return finish(figure, image.attrs, composite_note(image, bands))


def _composite(ax: Axes, image: xr.DataArray, valid: xr.DataArray | None, bands: Sequence[int] | None = None) -> Axes:
    thin = thinned(image.isel(channel=default_bands(image["channel"].values) if bands is None else list(bands)))
    draw_on_grid(ax, stretched(thin, None if valid is None else thinned(valid)), thin, crs_of(image))
    ax.set_title("image")
    return ax


@styled
def scene(store: Any, source: str | None = None, bands: Sequence[int] | None = None) -> Figure:
    """Draw one source of a sample store: image, mask and split side by side, and where on Earth it lies.

    Parameters
    ----------
    store : Store (`geonb.open_store`)
    source : str, optional
        The first when left out.
    """
    source = next(iter(store.arrays.children)) if source is None else source
    data = store.arrays[source].to_dataset()
    crs, split = crs_of(data), store.split_map(source)
    colours = {entry["name"]: entry["colour"] for entry in store.classes}
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.2), sharex=True, sharey=True, layout="none")
    figure.subplots_adjust(left=0.05, right=0.995, top=0.93, bottom=0.25, wspace=0.06)
    _composite(axes[0], data.inputs, data.valid, bands)
    draw_on_grid(axes[1], coloured(thinned(data.targets).values, colours), thinned(data.targets), crs)
    draw_on_grid(axes[2], coloured(thinned(split).values, SPLIT_COLOURS), thinned(split), crs)
    axes[1].set_title("mask (what to learn)")
    axes[2].set_title("split")
    for ax in axes[1:]:
        ax.set_ylabel("")
    if crs is not None and crs.is_projected:
        scale_bar(axes[0], crs)
    room = {"loc": "upper left", "bbox_to_anchor": (0, -0.16), "columnspacing": 1.2, "handlelength": 1.2}
    axes[1].legend(handles=swatches(colours | {"no data": NODATA_COLOUR}), ncols=4, **room)
    axes[2].legend(handles=swatches(_present(split)), ncols=4, **room)
    if crs is not None:
        from geonb.plots.locators import locator_inset

        locator_inset(figure, (0.03, -0.1, 0.15, 0.27), edges(data), crs)
    height, width = data.sizes["y"], data.sizes["x"]
    share = float(data.valid.mean())
    note = (
        f"{source}: {width:,} x {height:,} pixels, {share:.1%} valid; {crs_name(crs) if crs is not None else 'no CRS'}."
    )
    return finish(figure, store.meta, f"{note} {composite_note(data.inputs, bands)}", below=0.1)


def _present(split: xr.DataArray) -> dict[str, str]:
    there = np.unique(split.values)
    return {name: colour for i, (name, colour) in enumerate(SPLIT_COLOURS.items()) if i in there}


@styled
def prediction_panels(predictions: xr.DataTree, source: str | None = None, arrays: xr.DataTree | None = None) -> Figure:
    """Draw truth, every model's map, where the network is wrong and how sure it was, side by side.

    Parameters
    ----------
    predictions : DataTree
        A group a source with ``probability`` (model, class, y, x), ``label`` (model, y, x), ``truth``, ``split`` (y, x).
    source : str, optional
        The first when left out.
    arrays : DataTree, optional
        The store's arrays: the scene itself becomes the first panel.
    """
    source = next(iter(predictions.children)) if source is None else source
    data, crs = predictions[source].to_dataset(), crs_of(predictions[source].to_dataset())
    colours = class_colours(data["class"].values, predictions.attrs)
    thin = thinned(data[["label", "truth", "split"]])
    models = [str(m) for m in data.model.values]
    panels: dict[str, np.ndarray] = {"truth": coloured(thin.truth.values, colours)}
    panels |= {model: coloured(thin.label.sel(model=model).values, colours) for model in models}
    truth, label = thin.truth.values, thin.label.isel(model=0).values
    wrong = np.where((truth == 255) | (label == 255), 255, (truth != label).astype("uint8"))
    panels[f"where {models[0]} is wrong"] = coloured(wrong, RIGHT_WRONG)
    image = None if arrays is None or source not in arrays.children else arrays[source].to_dataset()
    figure, axes = panel_grid(len(panels) + 2 + (image is not None), edges(data))
    places = iter(axes.flat)
    if image is not None:
        _composite(next(places), image.inputs, image.valid)
    for title, values in panels.items():
        ax = next(places)
        draw_on_grid(ax, values, thin, crs)
        ax.set_title(title)
    _sureness(next(places), data, crs, models[0])
    for ax in axes.flat:
        if ax.images:
            split_lines(ax, data.split, crs)
            ax.label_outer()
        else:
            ax.set_axis_off()
    legend = swatches(colours | {"no data": NODATA_COLOUR, **RIGHT_WRONG})
    next(places).legend(handles=legend, loc="upper left", title="class", alignment="left")
    if crs is not None and crs.is_projected:
        scale_bar(axes[0, 0], crs)
    note = f"{source}. Black outlines: test blocks, the only ones scores are reported on."
    return finish(figure, predictions.attrs, note, "" if image is None else composite_note(image.inputs))


RIGHT_WRONG = {"right": "#dfe7ea", "wrong": "#b5400f"}


def _sureness(ax: Axes, data: xr.Dataset, crs: Any, model: str) -> None:
    """Probability of the winning class, the lower the darker."""
    thin = thinned(data.probability.sel(model=model)).max("class", skipna=False)  # unknown are all classes or none
    draw_values(ax, thin, crs, f"{model}: probability of its class", (1 / data.sizes["class"], 1), (0.25, 0.5, 0.75, 1))


@styled
def samples(
    store: Any, n: int = 8, split: str | None = "train", seed: int = 0, bands: Sequence[int] | None = None
) -> Figure:
    """Draw `n` random windows of a sample store above their masks.

    Parameters
    ----------
    store : Store (`geonb.open_store`)
    split : str, optional
        Which windows to draw from; all when None.
    """
    count, rows = drawn_windows(store, n, split, seed)
    chosen = store.index.iloc[rows]
    colours = {entry["name"]: entry["colour"] for entry in store.classes}
    figure, axes = plt.subplots(2, len(rows), figsize=(1.5 * len(rows), 3.9), squeeze=False)
    windows = [store[int(row)] for row in rows]
    picked = default_bands(windows[0].channel.values) if bands is None else list(bands)
    limits = common_limits(windows, picked)
    for column, (about, window) in enumerate(zip(chosen.itertuples(), windows, strict=True)):
        shown = stretched(window.inputs.isel(channel=picked), window.valid, limits)
        axes[0, column].imshow(shown, interpolation="nearest")
        axes[1, column].imshow(coloured(window.targets.values, colours), interpolation="nearest")
        axes[0, column].set_title(f"{about.source}\ny {about.y}, x {about.x}", fontsize=7)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], facecolor=NODATA_COLOUR)
        ax.spines[:].set_visible(True)
    axes[0, 0].set_ylabel("image")
    axes[1, 0].set_ylabel("mask")
    figure.subplots_adjust(left=0.04, right=0.99, top=0.9, bottom=0.12, wspace=0.06, hspace=0.05)
    figure.legend(
        handles=swatches(colours | {"no data": NODATA_COLOUR}), loc="lower left", ncols=8, bbox_to_anchor=(0.03, 0)
    )
    size = f"{chosen.height.iloc[0]} x {chosen.width.iloc[0]} pixels"
    return finish(figure, store.meta, f"{len(chosen)} of {count:,} {split or ''} windows of {size}, drawn at random.")


@styled
def class_shares(store: Any) -> Figure:
    """Draw how much of each class there is to learn from: its share of the labelled pixels of each split.

    Parameters
    ----------
    store : Store (`geonb.open_store`)
    """
    names = [entry["name"] for entry in store.classes]
    counts = np.zeros((3, len(names)))
    for source in store.arrays.children:
        targets, split = store.arrays[source]["targets"], store.split_map(source)
        for start in range(0, targets.sizes["y"], 1024):
            rows = {"y": slice(start, start + 1024)}
            here, part = targets.isel(rows).values, split.isel(rows).values
            for number in range(3):
                found = here[(part == number + 1) & (here < len(names))].astype(int)
                counts[number] += np.bincount(found, minlength=len(names))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, ax = plt.subplots(figsize=(6.6, 0.8 + 0.42 * len(names)))
    for number, (split_name, colour) in enumerate(list(SPLIT_COLOURS.items())[1:]):
        label = f"{split_name} ({counts[number].sum():,.0f} pixels)"
        bars = ax.barh(np.arange(len(names)) + (number - 1) * 0.27, share[number], 0.25, color=colour, label=label)
        ax.bar_label(bars, [f"{part:.1%}" for part in share[number]], fontsize=6.5, padding=2, color="#555555")
    ax.set(
        yticks=range(len(names)),
        yticklabels=names,
        xlabel="share of the split's labelled pixels",
        ylim=(len(names) - 0.5, -0.5),
    )
    ax.set_title("How much of each class there is")
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.margins(x=0.12)
    ax.legend(loc="lower right")
    figure.tight_layout()
    return finish(figure, store.meta, "The mean over classes counts a rare class as much as a common one.")
