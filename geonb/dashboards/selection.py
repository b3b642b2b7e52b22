"""A selection of samples, kept as a table by the plane of notebook 05, as outlines on the map of notebook 06."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geonb.plots.maps import edges
from geonb.plots.tiles import cluster_colours

COLUMNS = ("kind", "source", "y", "x", "height", "width")


def outlines_of(table: str | Path, arrays: xr.DataTree, places: Sequence[str]) -> list[dict[str, Any]]:
    """Outlines of selected samples, one set a kind and place.

    Parameters
    ----------
    table : CSV with the columns of `COLUMNS`, as notebook 05's plane writes it; y, x, height, width in pixels
    arrays : a store's arrays, whose coordinates say where these lie
    places : names of the explorer's places; where there is one, all samples lie in it

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such table, or if it names sources that the store lacks.
    """
    import pandas as pd

    chosen = pd.read_csv(table, dtype={"kind": str, "source": str})
    missing = [name for name in COLUMNS if name not in chosen]
    if missing:
        raise ValueError(
            f"{table} lacks {', '.join(missing)}: a selection is the table that the plane of notebook 05 writes (table as CSV)."
        )
    strange = sorted(set(chosen["source"]) - set(arrays.children))
    if strange:
        raise ValueError(
            f"{table} selects in {', '.join(strange)}; the store holds {', '.join(arrays.children)}: is it of another run?"
        )
    colours = cluster_colours(chosen["kind"].to_numpy())
    found = []
    for (source, kind), rows in chosen.groupby(["source", "kind"]):
        boxes = _boxes(arrays[str(source)].to_dataset(), rows[["y", "x", "height", "width"]].to_numpy())
        place = 0 if len(places) == 1 else list(places).index(str(source))
        found.append({"title": f"selected: kind {kind} ({len(rows)}){f' in {source}' if len(places) > 1 else ''}",
                      "place": place, "colour": colours[str(kind)], "boxes": boxes.tolist()})  # fmt: skip
    return found


def _boxes(data: xr.Dataset, pixels: np.ndarray) -> np.ndarray:
    """(west, south, east, north) in the CRS of boxes (y, x, height, width) in pixels of a grid, whichever row is first."""
    west, south, east, north = edges(data)
    size_x, size_y = (east - west) / data.sizes["x"], (north - south) / data.sizes["y"]
    y, x, height, width = pixels.T
    up = data.sizes["y"] > 1 and float(data.y[0]) < float(data.y[-1])
    low, high = (
        (south + y * size_y, south + (y + height) * size_y)
        if up
        else (north - (y + height) * size_y, north - y * size_y)
    )
    return np.stack([west + x * size_x, low, west + (x + width) * size_x, high], -1)
