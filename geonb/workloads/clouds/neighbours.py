"""Are tiles that an embedding finds alike also near each other, on the ground or in time? From the embeddings of whole scenes.

Clouds of one weather lie side by side, so a useful embedding finds more of a tile's likes close by than chance would; one that
finds all of them there has learnt the place and not the pattern. Tiles that overlap on the ground are never counted, at any
time, because they show the same thing.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

NEAREST = 10  # likes of each tile
NEAR_TILES = 3.0  # on the ground: so many sides of a tile
NEAR_SHARE = 0.1  # in time: so much of the series' whole span
MOST_TILES = 30_000  # held at once
MOST_ASKED = 1_000
PIECE = 64
NEARNESS = ("space", "time")


def neighbours_alike(predictions: xr.DataTree, seed: int = 0) -> dict:
    """Share of each tile's likes that are near it, and how many tiles are, of each series.

    The `NEAREST` most alike of up to `MOST_ASKED` tiles are looked for among all tiles of the series that do not overlap it on
    the ground; of long series among those of some evenly spread scenes. Tiles of training places are among them.

    Parameters
    ----------
    predictions : DataTree
        A group a series with ``embedding (time, y, x, dim)`` and ``valid (time, y, x)``, and attributes ``patch`` (px, of the
        tree) and ``step`` (px between tiles, of the group or the tree).

    Returns
    -------
    dict of ``neighbour_share``, ``neighbour_chance (series, nearness)``, nearness ``space`` and ``time`` (NaN with fewer than
    three times); empty where no series says how its tiles lie
    """
    found = {}
    for name, node in predictions.children.items():
        step = node.attrs.get("step", predictions.attrs.get("step"))
        if "embedding" not in node or not step or not predictions.attrs.get("patch"):
            continue
        side = float(predictions.attrs["patch"]) / float(step)  # of a tile, in steps
        tiles = _tiles(node.to_dataset(), seed)
        if tiles is not None:
            found[name] = _agreement(*tiles, side, seed)
    if not found:
        return {}
    values = np.array(list(found.values()))  # (series, share and chance, nearness)
    return {
        "series": ("series", list(found)),
        "nearness": ("nearness", list(NEARNESS)),
        "neighbour_share": (("series", "nearness"), values[:, 0]),
        "neighbour_chance": (("series", "nearness"), values[:, 1]),
    }


def _tiles(data: xr.Dataset, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Embeddings (tile, dim) and places (tile, 3) as time [s], row, column [steps]; None where there are too few."""
    rows, columns = data.sizes["y"], data.sizes["x"]
    most = max(1, MOST_TILES // max(1, rows * columns))
    times = np.unique(np.linspace(0, data.sizes["time"] - 1, min(most, data.sizes["time"])).round().astype(int))
    data = data.isel(time=times)
    values = data["embedding"].transpose("time", "y", "x", "dim").to_numpy()
    good = data["valid"].transpose("time", "y", "x").to_numpy().astype(bool) & np.isfinite(values).all(-1)
    t, y, x = np.nonzero(good)
    if len(t) > MOST_TILES:
        some = np.sort(np.random.default_rng([seed, 0xA11]).permutation(len(t))[:MOST_TILES])
        t, y, x = t[some], y[some], x[some]
    if len(t) <= NEAREST:
        return None
    seconds = np.full(len(times), np.nan)
    if np.issubdtype(data["time"].dtype, np.datetime64):
        when = data["time"].to_numpy().astype("datetime64[ms]")
        seconds = np.where(np.isnat(when), np.nan, when.astype(np.int64) / 1000)
    return values[t, y, x].astype(np.float32), np.stack([seconds[t], y, x], axis=1)


def _agreement(values: np.ndarray, places: np.ndarray, side: float, seed: int) -> np.ndarray:
    """Share of likes that are near and share of all tiles that are, array (2, nearness); NaN where none can be asked."""
    asked = np.random.default_rng([seed, 0xA5C]).permutation(len(values))[:MOST_ASKED]
    times = np.unique(places[:, 0][np.isfinite(places[:, 0])])
    soon = NEAR_SHARE * np.ptp(times) if len(times) > 2 else np.nan
    square = (values.astype(np.float64) ** 2).sum(axis=1)
    sums, number = np.zeros((2, 2)), 0
    for begin in range(0, len(asked), PIECE):
        some = asked[begin : begin + PIECE]
        apart = np.abs(places[some, None] - places[None])  # (asked, tile, 3)
        other = apart[..., 1:].max(axis=-1) >= side
        ask = other.sum(axis=1) >= NEAREST
        some, apart, other = some[ask], apart[ask], other[ask]
        far = square[some, None] + square - 2 * (values[some] @ values.T).astype(np.float64)
        likes = np.argpartition(np.where(other, far, np.inf), NEAREST - 1, axis=1)[:, :NEAREST]
        near = np.stack([np.hypot(apart[..., 1], apart[..., 2]) <= NEAR_TILES * side, apart[..., 0] <= soon])
        sums[0] += np.take_along_axis(near, likes[None], axis=2).mean(axis=2).sum(axis=1)
        sums[1] += ((near & other).sum(axis=2) / np.maximum(other.sum(axis=1), 1)).sum(axis=1)
        number += len(some)
    out = sums / number if number else np.full((2, 2), np.nan)
    return out if np.isfinite(soon) else np.stack([out[:, 0], [np.nan, np.nan]], axis=1)
