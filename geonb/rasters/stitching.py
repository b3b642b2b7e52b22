"""Whole scenes from windows: overlapping windows, blended without seams, in bands of rows and constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from geonb.rasters import grids

# Reads rows start:stop of a scene: native values (channel, row, x) and which pixels are valid (row, x). Of stripes of
# columns also (start, stop, first column, column after the last).
Reader = Callable[..., tuple[np.ndarray, np.ndarray]]


def offsets(length: int, window: int, overlap: float) -> list[int]:
    """Starts of windows that cover ``length`` px, the last one moved inside; ``overlap`` is a share of the window."""
    stride = max(1, round(window * (1 - overlap)))
    return grids.offsets(max(length, window), window, stride).tolist()


def blend_weights(length: int, window: int, starts: Sequence[int]) -> np.ndarray:
    """Weights (window of the scene, px in it) of overlapping windows along one axis; they sum to 1 at every pixel.

    A raised cosine, so that a window's rim, where it saw least of the surroundings, counts least. The 2-D weight is the
    product of both axes, hence also sums to 1.
    """
    ramp = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2 + 1e-3
    total = np.zeros(max(length, window))
    for start in starts:
        total[start : start + window] += ramp
    return np.stack([ramp / total[start : start + window] for start in starts]).astype(np.float32)


def predict_rows(
    probabilities: Callable[[torch.Tensor], torch.Tensor], read: Reader, shape: tuple[int, int], classes: int, *,
    mean: Sequence[float], std: Sequence[float], window: int, overlap: float, batch: int, start_row: int = 0,
    stop_row: int | None = None, stripe: tuple[int, int] | None = None, device: str | torch.device = "cpu",
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:  # fmt: skip
    """Predict a scene in bands of rows; memory grows with the width of the scene or stripe, not with its height.

    Parameters
    ----------
    probabilities : callable
        Standardised inputs (sample, channel, y, x) -> class probabilities (sample, class, y, x).
    read : callable
        ``(start, stop)`` -> native values (channel, row, x), valid (row, x).
    shape : (rows, columns) of the scene, px
    window, overlap : px, share of the window
    start_row, stop_row : int
        Only rows from start_row up to stop_row (None: the last) are given: the others are done already, or elsewhere. They
        come out bit for bit as in one pass over the scene.
    stripe : (start, stop), optional
        Only these columns are given; those of a very wide scene done one after the other hold little in memory. As other
        windows share a batch then, the last bits may differ.

    Yields
    ------
    (first row, probabilities (class, row, x) float32, which pixels are valid (row, x))
    """
    rows, columns = shape
    end = rows if stop_row is None else min(rows, stop_row)
    tops, lefts = offsets(rows, window, overlap), offsets(columns, window, overlap)
    weight_y = torch.from_numpy(blend_weights(rows, window, tops)).to(device)
    weight_x = torch.from_numpy(blend_weights(columns, window, lefts)).to(device)
    mean_t = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
    scale_t = 1 / torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
    start, end_x = stripe or (0, columns)
    across = [j for j, left in enumerate(lefts) if left + window > start and left < end_x]
    west, east = lefts[across[0]], min(columns, lefts[across[-1]] + window)
    piece = () if stripe is None else (west, east)
    total = torch.zeros(classes, window, max(east - west, window), device=device)
    first = next(i for i, top in enumerate(tops) if top + window > start_row)
    top_of_total = tops[first]
    for i in range(first, len(tops)):
        if tops[i] >= end:
            break
        total, top_of_total = _roll(total, top_of_total, tops[i])
        values, valid = read(tops[i], min(rows, tops[i] + window), *piece)
        for chosen in (across[k : k + batch] for k in range(0, len(across), batch)):
            inputs = _windows(values, valid, [lefts[j] - west for j in chosen], window, mean_t, scale_t)
            with torch.inference_mode():
                out = probabilities(inputs.to(device))
            for k, j in enumerate(chosen):
                weight = weight_y[i][:, None] * weight_x[j]
                total[:, :, lefts[j] - west : lefts[j] - west + window].addcmul_(out[k], weight)
        last = i == len(tops) - 1
        stop = min(end, rows if last else tops[i + 1])
        begin = max(start_row, tops[i])
        if stop > begin:
            rows_done = slice(begin - tops[i], stop - tops[i])
            x = slice(start - west, end_x - west)
            yield begin, total[:, rows_done, x].cpu().numpy().copy(), valid[rows_done, x]


def _roll(total: torch.Tensor, old_top: int, new_top: int) -> tuple[torch.Tensor, int]:
    moved = new_top - old_top
    if moved:
        keep = total.shape[1] - moved
        if keep > 0:
            total[:, :keep] = total[:, moved:].clone()
        total[:, max(0, keep) :] = 0
    return total, new_top


def _windows(
    values: np.ndarray, valid: np.ndarray, lefts: Sequence[int], window: int, mean: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Standardised float32 windows (sample, channel, y, x), invalid pixels and what lies beyond the scene at the mean."""
    out = torch.zeros(len(lefts), values.shape[0], window, window, dtype=torch.float32)
    out = out.to(memory_format=torch.channels_last)
    for k, left in enumerate(lefts):
        piece = torch.from_numpy(np.ascontiguousarray(values[:, :, left : left + window])).float()
        keep = torch.from_numpy(np.ascontiguousarray(valid[:, left : left + window]))
        out[k, :, : piece.shape[1], : piece.shape[2]] = ((piece - mean) * scale).masked_fill_(~keep, 0)
    return out
