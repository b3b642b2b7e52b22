"""The most alike of many unit vectors, exactly: products of matrices pick groups of rows, float32 orders what is in them.

The largest score of each group of rows is kept, not the scores: that is a pass through a buffer that stays in the cache, where a heap or a
sort of all scores costs as much as the product itself. The best `count` rows lie in the `count` groups whose largest scores are
highest. On bfloat16 (a fraction of the time where the processor multiplies it: AMX) the scores are off by less than a known
bound; a query for which the bound cannot exclude the groups left out is asked again in float32. So the answers are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

GROUP = 32  # rows that share one kept score
QUERIES, ROWS = 1024, 4096  # scores in the buffer: 16 MB
MANY = 32  # queries from which the copy in bfloat16 pays


class Halves(NamedTuple):
    """Vectors in bfloat16, and the largest length of what that leaves out of one of them."""

    vectors: torch.Tensor
    error: float


def halves(vectors: np.ndarray) -> Halves:
    """The copy in bfloat16 that `top` takes: half the memory of `vectors` (sample, dim), float32."""
    import torch

    made, error = torch.empty(vectors.shape, dtype=torch.bfloat16), 0.0
    for start in range(0, len(vectors), 65536):
        part = torch.from_numpy(np.array(vectors[start : start + 65536]))
        made[start : start + len(part)] = part
        error = max(error, float((part - part.bfloat16().float()).norm(dim=1).max()))
    return Halves(made, error)


def top(
    vectors: np.ndarray, queries: np.ndarray, count: int, allowed: np.ndarray | None = None, half: Halves | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The rows most alike each query, by the product of vectors of length one: the cosine of the angle between them.

    Parameters
    ----------
    vectors : float32 array (sample, dim), of length one; may be a memory map
    queries : float32 array (query, dim), of length one
    count : int
        Answers for each query.
    allowed : bool array (sample,), optional
        Only these rows may be answers.
    half : Halves, optional
        `halves` of the vectors, to pick candidates with.

    Returns
    -------
    rows : int64 array (query, count), best first; -1 where there are no more
    scores : float32 array (query, count), -1..1; -inf where there are no more
    """
    rows, barred = None, None
    if allowed is not None and not allowed.all():
        if np.count_nonzero(allowed) * 2 < len(allowed):
            rows = np.flatnonzero(allowed)
        else:
            barred = ~allowed
    found = np.full((len(queries), count), -1, np.int64)
    scores = np.full((len(queries), count), -np.inf, np.float32)
    if len(queries) < MANY or rows is not None:
        half = None
    if rows is not None and not len(rows):
        return found, scores
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        found[part], scores[part] = _some(vectors, queries[part], count, rows, barred, half)
    return found, scores


def _some(
    vectors: np.ndarray, queries: np.ndarray, count: int, rows: np.ndarray | None, barred: np.ndarray | None,
    half: Halves | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    import torch

    asked = torch.from_numpy(np.array(queries, np.float32))
    best = _group_maxima(vectors, asked, rows, barred, half)
    groups = min(best.shape[1], count if half is None else 2 * count + 16)
    kept = best.topk(min(groups + 1, best.shape[1]), dim=1)
    chosen = kept.indices[:, :groups].sort(dim=1).values
    found, scores = _ordered(vectors, queries, chosen.numpy(), count, rows, barred)
    if half is not None and best.shape[1] > groups:
        # what the scores may be off by: the query's rounding, the vectors', and that of the product itself
        lost = (asked - asked.bfloat16().float()).norm(dim=1).numpy() * (1 + half.error) + half.error + 2**-8
        unsure = np.flatnonzero(kept.values[:, groups].numpy() + lost >= scores[:, -1])
        if len(unsure):
            found[unsure], scores[unsure] = _some(vectors, queries[unsure], count, rows, barred, None)
    return found, scores


def _group_maxima(
    vectors: np.ndarray, asked: torch.Tensor, rows: np.ndarray | None, barred: np.ndarray | None, half: Halves | None
) -> torch.Tensor:
    """The largest score in each `GROUP` of rows: (query, group)."""
    import torch

    total = len(vectors) if rows is None else len(rows)
    best = torch.full((len(asked), -(-total // GROUP)), -torch.inf)
    step = max(ROWS, ROWS * QUERIES // max(1, len(asked)) // 16)  # few queries: long strips
    given = asked if half is None else asked.bfloat16()
    for start in range(0, total, step):
        stop = min(start + step, total)
        if half is not None:
            block = half.vectors[start:stop]
        elif rows is not None:
            block = torch.from_numpy(vectors[rows[start:stop]])
        else:
            block = _tensor(vectors[start:stop])
        scores = (given @ block.T).float()
        if barred is not None and barred[start:stop].any():
            scores[:, torch.from_numpy(barred[start:stop])] = -torch.inf
        if short := -len(block) % GROUP:
            scores = torch.nn.functional.pad(scores, (0, short), value=-torch.inf)
        best[:, start // GROUP : -(-stop // GROUP)] = scores.view(len(asked), -1, GROUP).amax(-1)
    return best


def _tensor(part: np.ndarray) -> torch.Tensor:
    """A tensor on the memory of an array, also of a map that may not be written: nothing here writes."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(part)


def _ordered(
    vectors: np.ndarray, queries: np.ndarray, groups: np.ndarray, count: int, rows: np.ndarray | None, barred: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The best `count` rows in some groups of rows of each query."""
    total = len(vectors) if rows is None else len(rows)
    found = np.full((len(queries), count), -1, np.int64)
    scores = np.full((len(queries), count), -np.inf, np.float32)
    step = max(1, 2**24 // max(1, groups.shape[1] * GROUP * vectors.shape[1]))  # 64 MB of vectors at once
    for start in range(0, len(queries), step):
        at = (groups[start : start + step, :, None] * GROUP + np.arange(GROUP)).reshape(-1, groups.shape[1] * GROUP)
        inside = at < total
        at = np.where(inside, at, 0)
        if rows is not None:
            at = rows[at]
        value = np.matmul(vectors[at], queries[start : start + step, :, None])[..., 0]
        value[~inside if barred is None else ~inside | barred[at]] = -np.inf
        order = np.argsort(-value, axis=1, kind="stable")[:, :count]
        some = np.take_along_axis(value, order, 1)
        scores[start : start + step, : order.shape[1]] = some
        found[start : start + step, : order.shape[1]] = np.where(
            np.isneginf(some), -1, np.take_along_axis(at, order, 1)
        )
    return found, scores


def is_fast() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    from geonb.training.task import precision_of

    return precision_of("auto") == "bfloat16"
