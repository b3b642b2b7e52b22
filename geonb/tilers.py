"""Arrays cut into square windows and put together again, exactly: for arrays in memory; scenes go through `stitching`."""

from __future__ import annotations

from typing import Any

import numpy as np


def tile(array: np.ndarray, size: int, stride: int | None = None, fill: Any = 0) -> np.ndarray:
    """Cut windows, row by row; the array is filled up below and to the right so that they cover it.

    Parameters
    ----------
    array : ndarray (..., y, x)
    size : int, px
    stride : int, px, optional
        Distance of neighbouring windows, at most `size`; `size` by default: no overlap.
    fill : value of the pixels outside

    Returns
    -------
    ndarray (window, ..., size, size)

    Raises
    ------
    ValueError
        If size or stride is not positive, or windows would leave gaps.
    """
    rows, columns = _counts(array.shape[-2:], size, stride := stride or size)
    padded = _fill_up(array, ((rows - 1) * stride + size, (columns - 1) * stride + size), fill)
    views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(-2, -1))
    views = np.moveaxis(views[..., ::stride, ::stride, :, :], (-4, -3), (0, 1))
    return views.reshape(rows * columns, *array.shape[:-2], size, size)


def untile(windows: np.ndarray, shape: tuple[int, int], size: int, stride: int | None = None) -> np.ndarray:
    """Put the windows of `tile` together again: ndarray (..., y, x) of `shape` rows and columns, bit by bit what was cut.

    Where windows overlap the later one counts.

    Raises
    ------
    ValueError
        If there are not as many windows, or not of that size, as `tile` makes of such an array.
    """
    rows, columns = _counts(shape, size, stride := stride or size)
    if len(windows) != rows * columns or windows.shape[-2:] != (size, size):
        raise ValueError(
            f"{len(windows)} windows of {windows.shape[-2]} x {windows.shape[-1]} px are given; {shape[0]} x {shape[1]} px "
            f"make {rows} x {columns} windows of {size} px every {stride} px"
        )
    whole = (rows - 1) * stride + size, (columns - 1) * stride + size
    array = np.empty((*windows.shape[1:-2], *whole), windows.dtype)
    for i, window in enumerate(windows):
        y, x = i // columns * stride, i % columns * stride
        array[..., y : y + size, x : x + size] = window
    return array[..., : shape[0], : shape[1]]


def half_steps(array: np.ndarray, size: int, fill: Any = 0) -> dict[str, np.ndarray]:
    """The four passes of an overlapping tiler: base, and moved by half a window in y, in x, and in both.

    Together they are the windows of ``tile(array, size, size // 2)`` of the array filled up to whole windows.

    Returns
    -------
    dict of base, y, x, both -> ndarray (window, ..., size, size)
    """
    if size % 2:
        raise ValueError(f"size = {size} px cannot be halved: give an even one")
    rows, columns = _counts(array.shape[-2:], size, size)
    whole, half = _fill_up(array, (rows * size, columns * size), fill), size // 2
    inner = slice(half, -half)
    return {
        "base": tile(whole, size),
        "y": tile(whole[..., inner, :], size) if rows > 1 else tile(whole, size)[:0],
        "x": tile(whole[..., :, inner], size) if columns > 1 else tile(whole, size)[:0],
        "both": tile(whole[..., inner, inner], size) if min(rows, columns) > 1 else tile(whole, size)[:0],
    }


def _counts(shape: tuple[int, ...], size: int, stride: int) -> tuple[int, int]:
    if size < 1 or not 1 <= stride <= size or min(shape) < 1:
        raise ValueError(
            f"size = {size} px, stride = {stride} px, array {shape[0]} x {shape[1]} px: give a size from 1, a stride from 1 to "
            "the size, and an array that is not empty"
        )
    rows, columns = (max(0, -(-(n - size) // stride)) + 1 for n in shape)
    return rows, columns


def _fill_up(array: np.ndarray, shape: tuple[int, int], fill: Any) -> np.ndarray:
    missing = [(0, n - have) for n, have in zip(shape, array.shape[-2:], strict=True)]
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + missing, constant_values=fill)
