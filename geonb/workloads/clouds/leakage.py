"""The proof that the splits of triplets don't leak: no scene, and no pixel of the ground, in two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.conventions import SPLITS
from geonb.store.leakage import overlaps
from geonb.workloads.clouds.triplets import Takes, tiles_table


def leaks(
    index: pd.DataFrame, shapes: Mapping[str, tuple[int, int]], takes: Takes, split: dict[str, Any]
) -> tuple[list[str], float]:
    """Look for leakage in the table itself, and for tiles that are not what they are called.

    Parameters
    ----------
    index : table of a store
    shapes, takes : series -> (rows, columns); series -> the take of each scene
    split : dict with method (scene, area or given) and patch; unless given, with distance and min_distant

    Returns
    -------
    faults : list of str, empty if nothing leaks
    smallest_gap_px : float
        By area: between the nearest tiles of different splits in one series; inf by scene.
    """
    tiles, gap = tiles_table(index), np.inf
    faults: list[str] = []
    unknown = sorted(set(tiles["source"]) - set(shapes))
    if unknown:
        return [f"tiles of scenes that the store does not have: {', '.join(unknown)}"], gap
    rows, columns, scenes = (
        tiles["source"].map({s: (*shape, len(takes[s]))[k] for s, shape in shapes.items()}) for k in range(3)
    )
    off = (tiles[["y", "x", "t"]] < 0).any(axis=1) | (tiles["t"] >= scenes)
    off |= (tiles["y"] + tiles["height"] > rows) | (tiles["x"] + tiles["width"] > columns)
    if off.any():
        return [f"{_named(tile)} leaves the scenes of {tile['source']}" for _, tile in tiles[off].iterrows()], gap
    tiles["take"] = [takes[s][t] for s, t in zip(tiles["source"], tiles["t"], strict=True)]
    if split["method"] != "area":
        owners = tiles.groupby("take")["split"].unique()
        shared = owners[owners.map(len) > 1]
        faults += [f"scenes of take {take} are in {' and '.join(sorted(of))}" for take, of in shared.items()]
    else:
        for source in shapes:
            here = tiles[tiles["source"] == source].reset_index(drop=True)
            low = here[["y", "x"]].to_numpy(np.int64)
            code = here["split"].map({s: i for i, s in enumerate(SPLITS)}).to_numpy(np.int64)
            pairs, nearest = overlaps(low, low + here[["height", "width"]].to_numpy(np.int64), code)
            faults += [f"{_named(here.loc[i])} overlaps {_named(here.loc[j])}" for i, j in pairs]
            gap = min(gap, nearest)
    return faults + (_misnamed(index, tiles, split) if split["method"] != "given" else []), gap


def _misnamed(index: pd.DataFrame, tiles: pd.DataFrame, split: dict[str, Any]) -> list[str]:
    """Neighbours at another distance than asked for, and distant tiles that are near."""
    n, patch = len(index), split["patch"]
    at = tiles[["y", "x"]].to_numpy(np.float64).reshape(3, n, 2)
    take, source = tiles["take"].to_numpy().reshape(3, n), tiles["source"].to_numpy().reshape(3, n)
    near = np.hypot(*(at[1] - at[0]).T)
    far = np.hypot(*(at[2] - at[0]).T)
    odd = np.abs(near - split["distance"] * patch) > 1
    close = (take[2] == take[0]) & ((source[2] != source[0]) | (far < split["min_distant"] * patch - 1e-6))
    faults = [
        f"the neighbor of triplet {i} is {near[i] / patch:.2f} tiles away, not {split['distance']:g}"
        for i in np.flatnonzero(odd)
    ]
    return faults + [
        f"the distant tile of triplet {i} is {far[i] / patch:.1f} tiles away in scenes of the same hours"
        for i in np.flatnonzero(close)
    ]


def _named(row: pd.Series) -> str:
    return f"{row['tile']} of {row['split']} triplet {row['triplet']} ({row['source']}, scene {row['t']}, y {row['y']}, x {row['x']})"
