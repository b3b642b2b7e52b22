"""Flips and quarter turns of windows: drawn, made, and made by writing into a view that is turned back."""

from __future__ import annotations

import numpy as np

# what a window may be turned into: (flip left-right first, then quarter turns), numbered 4 * flip + quarters
TURNS = {
    "none": [(False, 0)],
    "flips": [(False, 0), (True, 0), (True, 2), (False, 2)],
    "rotations": [(False, k) for k in range(4)],
    "flips,rotations": [(flip, k) for flip in (False, True) for k in range(4)],
}


EXACT = ("flips", "rotations")


def draw_turns(steps: list[tuple[str, dict[str, float]]], seed: int, epoch: int, n: int) -> np.ndarray | None:
    """Draw the exact turn of each of an epoch's n windows: ndarray (window,) of 4 * flip + quarters; None = no turns asked."""
    chances = {name: options["p"] for name, options in steps if name in EXACT}
    if not chances:
        return None
    random = np.random.default_rng([seed, epoch, 1])
    if set(chances.values()) == {1}:
        return _numbers(",".join(sorted(chances)))[random.integers(len(TURNS[",".join(sorted(chances))]), size=n)]
    flip, quarters = np.zeros(n, np.int8), np.zeros(n, np.int8)
    for name in sorted(chances):
        drawn = _numbers(name)[random.integers(4, size=n)] * (random.random(n) < chances[name])
        flip, quarters = flip + drawn // 4, (quarters + drawn) % 4
    return 4 * flip + quarters


def _numbers(name: str) -> np.ndarray:
    return np.array([4 * flip + quarters for flip, quarters in TURNS[name]], np.int8)


def turned(plane: np.ndarray, flip: bool, quarters: int) -> np.ndarray:
    """Mirror and turn (y, x) or (y, x, channel); pixels are moved whole, as bytes, whatever their type."""
    shape = plane.shape
    plane = np.ascontiguousarray(plane)
    pixels = plane.view(f"V{plane.itemsize * (shape[2] if plane.ndim == 3 else 1)}").reshape(shape[:2])
    moved = np.ascontiguousarray(np.rot90(pixels[:, ::-1] if flip else pixels, quarters))
    return moved.view(plane.dtype).reshape(moved.shape + shape[2:])


def unturned(array: np.ndarray, turn: tuple[bool, int], axes: tuple[int, int]) -> np.ndarray:
    """The view of an array that, filled with a window as it is, leaves it mirrored and turned in the array."""
    flip, quarters = turn
    view = np.rot90(array, -quarters, axes) if quarters else array
    return np.flip(view, axes[1]) if flip else view
