"""Whole scenes from windows: overlapping windows, blended without seams, in bands of rows and constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
import torch

from geonb.base.pipeline import ahead
from geonb.rasters import grids

# Reads rows start:stop of a scene: native values (channel, row, x) and which pixels are valid (row, x). Of stripes of
# columns also (start, stop, first column, column after the last).
Reader = Callable[..., tuple[np.ndarray, np.ndarray]]
# First row, what is predicted (output, row, x), which pixels are valid (row, x).
Band = tuple[int, np.ndarray, np.ndarray]


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
) -> Generator[Band]:  # fmt: skip
    """Predict a scene in bands of rows; memory grows with the width of the scene or stripe, not with its height.

    One thread reads, another standardises what the network sees next; on a GPU, its next band is begun before the caller gets the
    last one. Who does not take this to its end closes it (``contextlib.closing``), which ends the threads.

    Parameters
    ----------
    probabilities : callable
        Standardised inputs (sample, channel, y, x) -> class probabilities (sample, class, y, x).
    read : callable
        ``(start, stop)`` -> native values (channel, row, x), valid (row, x). Called in a thread, one call after the other.
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
    start, end_x = stripe or (0, columns)
    across = [j for j, left in enumerate(lefts) if left + window > start and left < end_x]
    west, east = lefts[across[0]], min(columns, lefts[across[-1]] + window)
    batches = [across[k : k + batch] for k in range(0, len(across), batch)]
    down = [i for i, top in enumerate(tops) if top + window > start_row and top < end]
    total = torch.zeros(classes, window, max(east - west, window), device=device)
    top_of_total = tops[down[0]] if down else 0
    behind: deque[Callable[[], Band]] = deque()

    def inputs() -> Iterator[tuple[int, list[int], torch.Tensor, np.ndarray]]:
        piece = () if stripe is None else (west, east)
        strips = ((i, *read(tops[i], min(rows, tops[i] + window), *piece)) for i in down)
        with ahead(strips) as were_read:
            for i, values, valid in were_read:
                for chosen in batches:
                    corners = [lefts[j] - west for j in chosen]
                    yield i, chosen, _windows(values, valid, corners, window, mean, std, pin=_is_cuda(device)), valid

    with ahead(inputs()) as made:
        for i, chosen, standardised, valid in made:
            if tops[i] != top_of_total:
                total, top_of_total = _roll(total, top_of_total, tops[i])
            with torch.inference_mode():
                out = probabilities(standardised.to(device, non_blocking=True))
            for k, j in enumerate(chosen):
                weight = weight_y[i][:, None] * weight_x[j]
                total[:, :, lefts[j] - west : lefts[j] - west + window].addcmul_(out[k], weight)
            if chosen is not batches[-1]:
                continue
            begin, stop = max(start_row, tops[i]), min(end, rows if i == len(tops) - 1 else tops[i + 1])
            if stop > begin:
                done, x = slice(begin - tops[i], stop - tops[i]), slice(start - west, end_x - west)
                behind.append(_fetched(begin, total[:, done, x], valid[done, x]))
            if len(behind) > _bands_behind(device):
                yield behind.popleft()()
        while behind:
            yield behind.popleft()()


def _is_cuda(device: str | torch.device) -> bool:
    return torch.device(device).type == "cuda"


def _bands_behind(device: str | torch.device) -> int:
    """How many bands the device may be ahead of the caller: with one, it has work while its last band is copied and put away."""
    return int(_is_cuda(device))


def _fetched(row: int, band: torch.Tensor, valid: np.ndarray) -> Callable[[], Band]:
    """Begin to copy a band to the host; what is given waits for it and gives it."""
    if band.device.type != "cuda":
        here = band.cpu().numpy().copy()
        return lambda: (row, here, valid)
    host = torch.empty(band.shape, dtype=band.dtype, pin_memory=True)
    host.copy_(band, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> Band:
        copied.synchronize()
        return row, host.numpy(), valid

    return wait


def _roll(total: torch.Tensor, old_top: int, new_top: int) -> tuple[torch.Tensor, int]:
    moved = new_top - old_top
    if moved:
        keep = total.shape[1] - moved
        if keep > 0:
            total[:, :keep] = total[:, moved:].clone()
        total[:, max(0, keep) :] = 0
    return total, new_top


def _windows(
    values: np.ndarray, valid: np.ndarray, lefts: Sequence[int], window: int, mean: Sequence[float], std: Sequence[float],
    pin: bool = False,
) -> torch.Tensor:  # fmt: skip
    """Standardised float32 windows (sample, channel, y, x), invalid pixels and what lies beyond the scene at the mean.

    What they share is standardised once; with NumPy, as this is done in a thread, which should not ask for torch's. `pin`: in memory
    that a GPU copies from while others compute.
    """
    channels, high, wide = *values.shape[:2], min(lefts[-1] + window, values.shape[2]) - lefts[0]
    x = slice(lefts[0], lefts[0] + wide)
    shared = np.empty((high, wide, channels), np.float32)  # as the windows lie in memory: copied in long runs
    for c, (middle, spread) in enumerate(zip(mean, std, strict=True)):
        piece = values[c, :, x].astype(np.float32)
        piece -= np.float32(middle)
        piece *= 1 / np.float32(spread)
        shared[..., c] = piece
    shared[~valid[:, x]] = 0
    layout = torch.channels_last if channels > 1 else torch.contiguous_format
    out = torch.empty(len(lefts), channels, window, window, memory_format=layout, pin_memory=pin)
    to = out.permute(0, 2, 3, 1).numpy()
    for k, left in enumerate(lefts):
        piece = shared[:, left - lefts[0] : left - lefts[0] + window]
        to[k, : piece.shape[0], : piece.shape[1]] = piece
        to[k, piece.shape[0] :], to[k, :, piece.shape[1] :] = 0, 0
    return out
