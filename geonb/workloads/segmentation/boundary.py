"""Where one class ends and another begins: boundary pixels of two maps, and which lie near one of the other map.

Precision is the share of predicted boundary pixels within a tolerance of a true boundary of the same class, recall the share
of true boundary pixels near a predicted one. Sources: Csurka et al. 2013, What is a good evaluation measure for semantic
segmentation? (BMVC, sec. 3.2: per class, with a tolerance); Perazzi et al. 2016, A benchmark dataset and evaluation
methodology for video object segmentation (CVPR, sec. 3). We count over a whole split, not per image, in pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Edges(NamedTuple):
    """Masks (y, x): boundary pixels of the true map and of the labels, and those of them near the other's."""

    true: np.ndarray
    true_near: np.ndarray
    guess: np.ndarray
    guess_near: np.ndarray


def halo_px(tolerance_px: float) -> int:
    """Rows needed above and below a strip, so that what is found in it does not depend on where it was cut."""
    return math.ceil(tolerance_px) + 1


def edges(truth: np.ndarray, label: np.ndarray, part: np.ndarray, tolerance_px: float = 2) -> Edges:
    """Find the boundary pixels of truth and label, and match them within a tolerance.

    A boundary pixel of class c has label c and, above, below, left or right of it, a pixel of another class in the same part.
    Hence neither the rim of the scene, nor pixels that do not count, nor another split make a boundary.

    Parameters
    ----------
    truth, label : array (y, x) uint8, class index
    part : array (y, x) int8
        The split each pixel counts for; 0 where it does not count (no truth, no prediction).
    tolerance_px : float, pixels
        Largest distance between centres of two boundary pixels that still match; both of one class and one part.
    """
    true, guess = contours(truth, part), contours(label, part)
    return Edges(true > 0, near(true, guess, tolerance_px), guess > 0, near(guess, true, tolerance_px))


def contours(labels: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Code (y, x) uint16 of each boundary pixel: 256 * part + label; 0 elsewhere."""
    edge = np.zeros(labels.shape, bool)
    for here, there in (((slice(None, -1),), (slice(1, None),)), ((..., slice(None, -1)), (..., slice(1, None)))):
        differs = (labels[here] != labels[there]) & (part[here] == part[there])
        edge[here] |= differs
        edge[there] |= differs
    edge &= part > 0
    return np.where(edge, part.astype(np.uint16) * 256 + labels, 0).astype(np.uint16)


def near(codes: np.ndarray, others: np.ndarray, tolerance_px: float) -> np.ndarray:
    """Mask (y, x) of the boundary pixels that have one of the same code within the tolerance in the other map.

    One comparison of whole arrays for each step in the disk: all classes and parts at once, so that neither their number
    nor the length of the boundaries costs time.
    """
    reach, (rows, columns) = int(tolerance_px), codes.shape
    found = np.zeros(codes.shape, bool)
    for down in range(-min(reach, rows - 1), min(reach, rows - 1) + 1):
        for right in range(-min(reach, columns - 1), min(reach, columns - 1) + 1):
            if down**2 + right**2 <= tolerance_px**2:
                here = _part(rows, -down), _part(columns, -right)
                there = _part(rows, down), _part(columns, right)
                found[here] |= codes[here] == others[there]
    return found & (codes > 0)


def _part(length: int, step: int) -> slice:
    """What is left of a line when it is moved by `step`: one moved by +s lies on the other moved by -s."""
    return slice(max(0, step), length + min(0, step))
