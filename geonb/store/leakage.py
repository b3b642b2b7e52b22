"""The proof that splits don't leak: windows of different splits share no pixel, no block and no ground.

That no input month of one split is a target month of another is proved beside the months: a room's own, as its windows are.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.conventions import SPLITS


def leaks(index: pd.DataFrame, shapes: dict[str, tuple[int, int]], split: dict[str, Any]) -> tuple[list[str], float]:
    """Look for leakage in the table itself: windows off the grid, in blocks of another split, or overlapping one.

    Parameters
    ----------
    index : DataFrame with source, y, x, height, width, split
    shapes : dict of source -> (rows, columns)
    split : dict with block (px) and blocks (source -> rows of 0 none, 1 train, 2 val, 3 test), and gap (px) if there shall be one: between
        windows of different splits, and from a window to the blocks of later splits

    Returns
    -------
    faults : list of str, empty if nothing leaks
    smallest_gap_px : float
        Distance between the nearest two windows of different splits; inf with one split only.
    """
    faults, gap = [], np.inf
    unknown = set(index["source"]) - set(shapes)
    if unknown:
        faults.append(f"windows of sources that the store does not have: {', '.join(sorted(unknown))}")
    for source, shape in shapes.items():
        rows = index[index["source"] == source]
        boxes = rows[["y", "x", "height", "width"]].to_numpy(np.int64)
        code = rows["split"].map({s: i + 1 for i, s in enumerate(SPLITS)}).astype(float).fillna(0).to_numpy(np.int64)
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        off = (low < 0).any(axis=1) | (high > np.array(shape)).any(axis=1) | (boxes[:, 2:] < 1).any(axis=1)
        faults += [f"{_name(rows, i)} leaves the grid of {shape[0]} x {shape[1]} px" for i in np.flatnonzero(off)]
        faults += [f"{_name(rows, i)} has no split" for i in np.flatnonzero(code == 0)]
        crossing = _crossing(low, high, code, off, np.array(split["blocks"][source]), split["block"])
        faults += [f"{_name(rows, i)} reaches into a block of another split" for i in crossing]
        faults += _near(rows, low, high, code, off, split, source)
        overlapping, nearest = overlaps(low, high, code)
        faults += [f"{_name(rows, i)} overlaps {_name(rows, j)}" for i, j in overlapping]
        gap = min(gap, nearest)
        if nearest < split.get("gap", 0) and not overlapping:
            faults.append(
                f"windows of {source} in different splits are {nearest:.0f} px apart, the gap is {split['gap']} px"
            )
    return faults, gap


def _crossing(
    low: np.ndarray, high: np.ndarray, code: np.ndarray, off: np.ndarray, blocks: np.ndarray, block: int
) -> list[int]:
    # a window at a time and pixel ranges, not the cutter's look-up: a check must not share its maker's mistakes
    crossing = []
    for i in np.flatnonzero(~off):
        touched = blocks[low[i, 0] // block : -(-high[i, 0] // block), low[i, 1] // block : -(-high[i, 1] // block)]
        if (touched != code[i]).any():
            crossing.append(int(i))
    return crossing


def _near(
    rows: pd.DataFrame, low: np.ndarray, high: np.ndarray, code: np.ndarray, off: np.ndarray, split: dict[str, Any], source: str
) -> list[str]:  # fmt: skip
    """Windows less than the gap from a block of a later split, by the distance of rectangles."""
    import shapely

    gap, side, blocks = split.get("gap", 0), split["block"], np.array(split["blocks"][source])
    faults: list[str] = []
    for later in (2, 3) if gap else ():
        y, x = np.nonzero(blocks == later)
        mine = np.flatnonzero(~off & (code > 0) & (code < later))
        if not len(y) or not len(mine):
            continue
        tree = shapely.STRtree(shapely.box(x * side, y * side, (x + 1) * side, (y + 1) * side))
        boxes = shapely.box(low[mine, 1], low[mine, 0], high[mine, 1], high[mine, 0])
        (which, _), distance = tree.query_nearest(boxes, return_distance=True, all_matches=False)
        faults += [
            f"{_name(rows, mine[i])} lies {d:.0f} px from a block of {SPLITS[later - 1]}, the gap is {gap} px"
            for i, d in zip(which, distance, strict=True)
            if d < gap
        ]
    return faults


def overlaps(low: np.ndarray, high: np.ndarray, code: np.ndarray) -> tuple[list[tuple[int, int]], float]:
    """Pairs of windows of different splits that share a pixel, and the distance of the nearest two (px)."""
    import shapely

    pairs, gap = [], np.inf
    boxes = shapely.box(low[:, 1], low[:, 0], high[:, 1], high[:, 0])
    for one in np.unique(code):
        mine, other = np.flatnonzero(code == one), np.flatnonzero(code > one)
        if not len(other):
            continue
        tree = shapely.STRtree(boxes[mine])
        far, near = tree.query(boxes[other], predicate="intersects")
        far, near = other[far], mine[near]
        shared = ((low[far] < high[near]) & (low[near] < high[far])).all(axis=1)
        pairs += [(int(i), int(j)) for i, j in zip(near[shared], far[shared], strict=True)]
        distance = tree.query_nearest(boxes[other], return_distance=True, all_matches=False)[1]
        gap = min(gap, float(distance.min()))
    return pairs, gap


def ground_leaks(index: pd.DataFrame, outlines: np.ndarray, tolerance: float = 0.01) -> list[str]:
    """Look for windows of different sources and different splits that show the same ground.

    Parameters
    ----------
    index : DataFrame with source, split
    outlines : ndarray (window,) of shapely polygons, all in one CRS
    tolerance : float
        Share of a window's area that neighbouring images may overlap by, for rounding at their seam.

    Returns
    -------
    list of str, one a pair of sources
    """
    import shapely

    if index["source"].nunique() < 2:
        return []
    tree = shapely.STRtree(outlines)
    a, b = tree.query(outlines, predicate="intersects")
    source, split = index["source"].astype(str).to_numpy(), index["split"].astype(str).to_numpy()
    keep = (source[a] < source[b]) & (split[a] != split[b])
    a, b = a[keep], b[keep]
    shared = shapely.area(shapely.intersection(outlines[a], outlines[b]))
    keep = shared > tolerance * np.minimum(shapely.area(outlines[a]), shapely.area(outlines[b]))
    pairs = pd.Series([f"{x} and {y}" for x, y in zip(source[a[keep]], source[b[keep]], strict=True)], dtype=object)
    return [
        f"{pair} show the same ground in {n} pairs of windows of different splits. Use one of them, or bring both onto one grid"
        for pair, n in pairs.value_counts().items()
    ]


def between_sources_m(index: pd.DataFrame, outlines: np.ndarray) -> float:
    """Distance on the ground, on the ellipsoid, of the nearest two windows of different sources and different splits.

    Windows have straight lines between their corners here, which bends a seam by less than a pixel: take what is below that for 0.

    Parameters
    ----------
    index : DataFrame with source, split
    outlines : ndarray (window,) of shapely polygons in OGC:CRS84

    Returns
    -------
    float, m; inf where no two sources have windows of different splits
    """
    import shapely
    from pyproj import Transformer

    corners, of = shapely.get_coordinates(outlines, return_index=True)
    to_space = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    space = np.stack(to_space.transform(corners[:, 0], corners[:, 1], np.zeros(len(corners))), axis=-1)
    keys = pd.MultiIndex.from_arrays([index["source"].astype(str), index["split"].astype(str)])
    codes, groups = pd.factorize(keys)
    points = [space[codes[of] == i] for i in range(len(groups))]
    middles = [p.mean(axis=0) for p in points]
    radii = [np.linalg.norm(p - m, axis=1).max() for p, m in zip(points, middles, strict=True)]
    # spheres around all of a source's windows of a split tell what cannot be nearer: mostly one pair is measured, or a few
    pairs = sorted(
        (float(np.linalg.norm(middles[a] - middles[b]) - radii[a] - radii[b]), a, b)
        for a, b in combinations(range(len(groups)), 2)
        if groups[a][0] != groups[b][0] and groups[a][1] != groups[b][1]
    )
    best = np.inf
    for least, a, b in pairs:
        if max(least, 0) >= best:
            break
        best = min(best, _apart_m(outlines[codes == a], outlines[codes == b]))
    return float(best)


def _apart_m(some: np.ndarray, others: np.ndarray) -> float:
    """Distance of the nearest two outlines, found in a plane that is true to scale about the first, measured on the ellipsoid."""
    import shapely
    from pyproj import Geod, Transformer

    lon, lat = shapely.get_coordinates(some)[0]
    plane = Transformer.from_crs(
        "OGC:CRS84", f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m", always_xy=True
    )
    some, others = (shapely.transform(o, lambda xy: np.stack(plane.transform(*xy.T), axis=-1)) for o in (some, others))
    (far, near), distance = shapely.STRtree(some).query_nearest(others, return_distance=True, all_matches=False)
    i = int(distance.argmin())
    ends = shapely.get_coordinates(shapely.shortest_line(some[near[i]], others[far[i]]))
    lons, lats = plane.transform(ends[:, 0], ends[:, 1], direction="INVERSE")
    return float(Geod(ellps="WGS84").inv(lons[0], lats[0], lons[1], lats[1])[2])


def within_sources_px(index: pd.DataFrame) -> dict[str, float]:
    """Distance of the nearest two windows of different splits in each source, px; inf where it has those of one only."""
    found = {}
    for source, rows in index.groupby(index["source"].astype(str)):
        boxes = rows[["y", "x", "height", "width"]].to_numpy(np.int64)
        code = rows["split"].map({s: i for i, s in enumerate(SPLITS)}).to_numpy(np.int64)
        found[str(source)] = overlaps(boxes[:, :2], boxes[:, :2] + boxes[:, 2:], code)[1]
    return found


def _name(rows: pd.DataFrame, i: int | np.integer) -> str:
    row = rows.iloc[i]
    return f"{row['split']} window {rows.index[i]} ({row['source']} y {row['y']}, x {row['x']}, {row['height']} px)"
