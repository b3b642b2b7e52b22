"""The map of embeddings as one piece of HTML: no kernel, no network; scenes as small JPEGs, embeddings as bytes of their components."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from PIL import Image

from geonb.dashboards.layers import RAMP
from geonb.dashboards.page import filled, framed, packed
from geonb.plots.style import NODATA_COLOUR, evenly
from geonb.workloads.clouds.explore_style import ALIKE, CHOSEN, LAYERS, data_uri, legend_html, on_paper
from geonb.workloads.clouds.explore_tiles import APART_H, Clouds, SceneSeries

if TYPE_CHECKING:
    from IPython.display import HTML

TEMPLATE = Path(__file__).parent / "templates" / "frozen"
NO_TILE = -128  # the first component's byte where there is no tile


class Pack(NamedTuple):
    """How much of everything goes into the page."""

    scenes: int
    side_px: int  # of a scene's picture
    quality: int  # of its JPEG
    components: int
    every: int  # n-th tile a side


# What is left out to keep the page small, in this order.
PACKS = (
    Pack(24, 700, 65, 16, 1), Pack(16, 700, 65, 16, 1), Pack(12, 700, 60, 12, 1), Pack(12, 600, 55, 12, 1),
    Pack(8, 600, 55, 12, 1), Pack(8, 500, 50, 10, 1), Pack(6, 500, 50, 10, 2), Pack(5, 400, 45, 8, 2),
    Pack(4, 320, 45, 8, 3), Pack(3, 256, 40, 6, 4), Pack(2, 200, 40, 6, 6), Pack(1, 160, 40, 4, 8),
)  # fmt: skip


def frozen(predictions: xr.DataTree, arrays: xr.DataTree | None = None, budget_mb: float = 2) -> HTML:
    """Make the map as HTML that works on its own: in JupyterLab, in a converted notebook and in the report.

    What does not fit under the budget goes in the order of `PACKS`, and the page says so.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`, a group a series with ``embedding`` (time, y, x, dim)
    arrays : DataTree, optional
        A store's `arrays`: adds the scenes themselves.
    budget_mb : float
        Of the whole HTML.

    Returns
    -------
    IPython.display.HTML with an iframe that carries the document

    Raises
    ------
    ValueError
        If there are no embedded scenes, or the budget leaves no room for a single one.
    """
    return framed(frozen_page(predictions, arrays, budget_mb), "map of the embeddings")


def frozen_page(predictions: xr.DataTree, arrays: xr.DataTree | None = None, budget_mb: float = 2) -> str:
    """The document inside `frozen`'s iframe, whole."""
    clouds = Clouds(predictions, arrays)
    render = functools.lru_cache(maxsize=64)(_rendered)  # the next pack often differs in one number only
    for chosen in PACKS:
        made = filled(TEMPLATE, pack(clouds, chosen, render))
        quoted = len(made.encode()) + 4 * (made.count("&") + made.count("'"))
        if quoted <= budget_mb * 1e6:
            return made
    raise ValueError(
        f"No room for a single scene in {budget_mb} MB: {quoted / 1e6:.2f} MB are needed. Raise budget_mb."
    )


def pack(clouds: Clouds, chosen: Pack, render: Any = None) -> dict[str, Any]:
    """Take the chosen scenes and tiles: components as signed bytes of one scale, compressed, and what the page needs to read them.

    Returns
    -------
    dict with ``data`` (base64 of gzip of int8: for each series (component, time, y, x), `NO_TILE` in the first component
    where there is none), ``scale`` (value of a step) and ``factor`` (squared distances of bytes -> of the embedding)
    """
    names = [list(clouds.series)[i] for i in evenly(len(clouds.series), chosen.scenes)]
    each = max(1, chosen.scenes // len(names))
    count = min(chosen.components, len(clouds.components))
    times = {name: evenly(len(clouds.series[name].times), each) for name in names}
    thin = {name: _thin(clouds.series[name], chosen.every) for name in names}
    vectors = {n: np.stack([clouds.series[n].vectors(t)[thin[n]] for t in times[n]]) for n in names}
    scores = {n: (v - clouds.mean) @ clouds.components[:count].T for n, v in vectors.items()}
    scale = _step(np.concatenate([np.abs(s[np.isfinite(s)]) for s in scores.values()]))
    steps = {n: np.clip(np.rint(np.nan_to_num(s) / scale), -127, 127).astype(np.int8) for n, s in scores.items()}
    factor, agreement = _agreement(vectors, steps, scale)
    for name, value in steps.items():
        value[..., 0][~np.isfinite(scores[name][..., 0])] = NO_TILE
    facts = {
        "data": packed(np.moveaxis(value, -1, 0) for value in steps.values()), "components": count, "no_tile": NO_TILE,
        "scale": scale, "factor": factor, "colours": (clouds.colours / scale).round(3).tolist(), "ramp": RAMP,
        "near": clouds.near, "top": clouds.top, "measured": clouds.measured, "apart_h": APART_H, "layers": LAYERS,
        "marks": {"chosen": CHOSEN, "alike": ALIKE}, "paper": NODATA_COLOUR, "legends": {n: legend_html(clouds, n) for n in LAYERS},
        "series": [_series_facts(clouds.series[n], times[n], thin[n], chosen, render or _rendered) for n in names],
    }  # fmt: skip
    facts["left_out"] = _left_out(clouds, chosen, times, count, agreement)
    return facts


def _thin(series: SceneSeries, every: int) -> tuple[slice, slice]:
    """Every n-th row and column of the tiles, but never so few that there is nothing to click."""
    sides = ((n, max(1, min(every, n // 6))) for n in (series.rows, series.columns))
    rows, columns = (slice((n % e or e) // 2 if e > 1 else 0, None, e) for n, e in sides)
    return rows, columns


def _step(sizes: np.ndarray) -> float:
    """Value of one step of a byte, for components of these sizes: all fit, but for outliers that would make steps too coarse."""
    return max(min(float(sizes.max()), 4 * float(np.percentile(sizes, 99))) / 127, 1e-12) if len(sizes) else 1.0


def _agreement(vectors: dict[str, np.ndarray], steps: dict[str, np.ndarray], scale: float) -> tuple[float, float]:
    """Factor that makes squared distances of bytes those of the embedding, and the rank correlation of the two, over drawn pairs."""
    from scipy.stats import spearmanr

    whole = np.concatenate([v.reshape(-1, v.shape[-1]) for v in vectors.values()])
    small = np.concatenate([s.reshape(-1, s.shape[-1]) for s in steps.values()])
    known = np.flatnonzero(np.isfinite(whole).all(-1))
    one, other = np.random.default_rng(0).choice(known, (2, 3000)) if len(known) > 1 else (known, known)
    true = np.square(whole[one] - whole[other]).sum(-1)
    told = np.square(small[one].astype(float) - small[other]).sum(-1) * scale**2
    apart = (told > 0) & (true > 0)
    if apart.sum() < 3:
        return scale**2, 1.0
    factor = float(np.median(true[apart] / told[apart]))
    return factor * scale**2, float(spearmanr(true[apart], told[apart]).statistic)


def _rendered(series: SceneSeries, time: int, side_px: int, quality: int) -> str | None:
    """A whole scene as a JPEG in the page; None where the store lacks it."""
    shown = series.picture(time, series.bounds, 2 * side_px)
    if shown is None:
        return None
    picture = on_paper(shown[0])
    size = side_px * np.array(picture.size) / max(picture.size)
    if max(picture.size) > side_px:
        picture = picture.resize([max(1, int(v)) for v in size.round()], Image.Resampling.BOX)
    return data_uri(np.asarray(picture.convert("RGBA")), None, quality)


def _series_facts(
    series: SceneSeries, times: list[int], thin: tuple[slice, slice], chosen: Pack, render: Any
) -> dict[str, Any]:
    """Grid, times, pictures and lines of one series."""
    west, south, east, north = series.bounds
    y, x = series.data.y.values[thin[0]], series.data.x.values[thin[1]]
    step = [abs(float(v[1] - v[0])) if len(v) > 1 else own for v, own in ((x, series.step[0]), (y, series.step[1]))]
    epoch = [
        None if np.isnat(series.times[t]) else float(series.times[t].astype("datetime64[s]").astype(float)) / 3600
        for t in times
    ]
    unit = 1000 / (east - west)  # the page counts in thousandths of the width, from the north-west
    paths = {
        name: ["M" + "L".join(f"{(a - west) * unit:.1f} {(north - b) * unit:.1f}" for a, b in line) for line in lines]
        for name, lines in series.lines.items()
    }
    return {
        "name": series.name, "rows": len(y), "columns": len(x), "labels": [series.label(t) for t in times], "hours": epoch,
        "short": [series.label(t, short=True) for t in times],
        "first": [(float(x[0]) - west) * unit, (north - float(y[0])) * unit], "step": [v * unit for v in step],
        "side": [v * unit for v in series.side], "height": (north - south) * unit, "lines": paths,
        "reach": [int(np.ceil(series.side[i] / step[i] - 1e-6)) - 1 for i in (1, 0)], "lonlat": _lonlat_grid(series),
        "scenes": [render(series, t, chosen.side_px, chosen.quality) for t in times],
        "size": f"{series.patch} x {series.patch} pixels" if series.image is not None else "",
    }  # fmt: skip


def _lonlat_grid(series: SceneSeries, side: int = 25) -> list[list[float | None]] | None:
    """Longitude and latitude at side x side places, the north-west first: the browser interpolates between them."""
    if series.crs is None:
        return None
    west, south, east, north = series.bounds
    x, y = np.meshgrid(np.linspace(west, east, side), np.linspace(north, south, side))
    return [[round(float(v), 4) if np.isfinite(v) else None for v in values.ravel()] for values in series.lonlat(x, y)]


def _left_out(clouds: Clouds, chosen: Pack, times: dict[str, list[int]], count: int, agreement: float) -> str:
    """What was left out to keep the page small, and what that does to distances."""
    said = []
    scenes, every = sum(map(len, times.values())), sum(len(s.times) for s in clouds.series.values())
    if scenes < every:
        said.append(f"{scenes} of {every:,} scenes")
    if chosen.every > 1:
        said.append(f"every {chosen.every}th tile a side")
    if count < len(clouds.mean):
        share = clouds.held[:count].sum()
        said.append(f"{count} principal components of {len(clouds.mean)} dimensions ({share:.0%} of the variance)")
    told = f"; in whole steps of a byte. Rank correlation with the distances of the whole embedding: {agreement:.3f}."
    return f"Frozen{': ' + ', '.join(said) if said else ''}{told}"
