"""Outlines of pixels as buildings have them: right angles along each one's own main direction.

Each ring is simplified, its edges are sorted into those along and those across the main direction, neighbours of one kind
become one edge, and edges meet where along crosses across.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

TOLERANCE_PX = 1.5  # of the simplification: above a pixel's diagonal, so that no stair of pixels is left
GRID_PX = 1e-6
CORNERS = ("pixels", "square")
LEAST_IOU = 0.7  # of a squared outline with the pixels'; below, the simplified outline is kept


def square(outline: Any, ground: np.ndarray | None = None, tolerance_px: float = TOLERANCE_PX) -> tuple[Any, bool]:
    """An outline of pixels with right angles on the ground.

    Parameters
    ----------
    outline : Polygon in pixel coordinates (x right, y down), with holes or without
    ground : array (2, 2), optional
        What one pixel to the right and one down are on the ground (columns), east and north in metres: right angles are
        those of the ground. By default pixels are square.
    tolerance_px : float, px
        By how much the ring may be simplified before its edges are sorted (Douglas & Peucker 1973).

    Returns
    -------
    Polygon in pixel coordinates, and whether it is squared: along its edges' mean direction or that of the smallest rectangle
    around it, whichever fits the pixels better; where both leave an IoU of 0.7 or less with them (a bent row of sheds), or
    `ground` is not finite, the outline is only simplified, or one of a pixel or two kept
    """
    matrix = np.eye(2) if ground is None else np.asarray(ground, float)
    best, most, squared = outline.simplify(tolerance_px), LEAST_IOU, False
    if _iou(best, outline) < LEAST_IOU:  # a pixel or two
        best = outline
    area = abs(np.linalg.det(matrix)) if np.isfinite(matrix).all() else 0.0
    if not area > 0:  # beyond what a CRS shows
        return best, False
    matrix = matrix / np.sqrt(area)  # lengths stay in pixels, so that the tolerance means the same
    moved = _turned(outline, matrix)
    for angle in (_direction(moved.simplify(tolerance_px)), _direction(moved.minimum_rotated_rectangle)):
        along = _turn(-angle)
        shell, *holes = (_squared(ring, tolerance_px) for ring in _rings(_turned(moved, along)))
        if shell is None:
            continue
        level = shapely.Polygon(shell, [ring for ring in holes if ring is not None])
        if (
            not level.is_valid
        ):  # before corners on straight edges go: a spike would lose its tip, and with it a right angle
            continue
        level = shapely.simplify(
            shapely.set_precision(level, GRID_PX), 0
        )  # corners that are one but for rounding are one
        found = _turned(level, np.linalg.inv(along @ matrix))
        if found.geom_type == "Polygon" and found.is_valid and (iou := _iou(found, outline)) > most:
            best, most, squared = found, iou, True
    return best, squared


def _iou(one: Any, other: Any) -> float:
    return one.intersection(other).area / one.union(other).area


def _direction(shape: Any) -> float:
    """Main direction (radians) modulo a right angle: the mean of the edges', by their length, on the fourfold circle."""
    edges = np.concatenate([np.diff(ring, axis=0) for ring in _rings(shape)])
    steps = edges[:, 0] + 1j * edges[:, 1]
    length = np.abs(steps)
    return float(np.angle(np.sum(length * (steps / np.where(length > 0, length, 1)) ** 4))) / 4


def _squared(ring: np.ndarray, tolerance: float) -> np.ndarray | None:
    """The ring (point, 2), closed, with edges along x and y in turns; None where fewer than four would be left.

    Each edge lies where it leaves as much area on either side as the ring did: at the mean of y over x, or of x over y.
    """
    kept = shapely.get_coordinates(shapely.simplify(shapely.LinearRing(ring), tolerance))[:-1]
    places = {tuple(point): i for i, point in enumerate(ring[:-1].tolist())}
    at = np.array([places[tuple(point)] for point in kept.tolist()])
    ring = np.roll(ring[:-1], -at[0], axis=0)
    ends = (at - at[0]) % len(ring)
    edges = np.diff(kept, axis=0, append=kept[:1])
    flat = np.abs(edges[:, 0]) >= np.abs(edges[:, 1])  # along x
    turns = np.flatnonzero(flat != np.roll(flat, 1))
    if len(turns) < 4:
        return None
    group = np.searchsorted(turns, np.searchsorted(ends, np.arange(len(ring)), "right") - 1, "right") - 1
    group %= len(turns)  # what comes before the first turn goes on from the last
    steps = np.diff(ring, axis=0, append=ring[:1])
    first = int(flat[turns[0]])
    level, upright = (_mean(group, (ring + steps / 2)[:, 1 - k], steps[:, k])[k ^ (1 - first) :: 2] for k in (0, 1))
    if not (np.isfinite(level).all() and np.isfinite(upright).all()):  # an edge that goes there and back again
        return None
    ahead = np.stack(
        [upright, level] if first else [np.roll(upright, -1), level], axis=1
    )  # corners after edges along x
    behind = np.stack([np.roll(upright, 1), level] if first else [upright, level], axis=1)  # and those before
    return np.stack([behind, ahead], axis=1).reshape(-1, 2)


def _mean(group: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of each group; not a number where its weights sum to nothing."""
    total = np.bincount(group, weights)
    return np.bincount(group, values * weights) / np.where(np.abs(total) > 1e-6, total, np.nan)


def _rings(shape: Any) -> list[np.ndarray]:
    return [shapely.get_coordinates(ring) for ring in (shape.exterior, *shape.interiors)]


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _turned(shape: Any, matrix: np.ndarray) -> Any:
    return shapely.transform(shape, lambda xy: xy @ matrix.T)
