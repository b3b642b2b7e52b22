"""Memory for batches that comes back: lent out, and free again once nobody holds an array, a tensor or a view of it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

MOST = 16  # free pieces that are kept


class Buffers:
    """Lends arrays, and lends the memory of those that nobody holds any more again.

    Fresh memory costs more than what is written into it (page faults; numpy's allocator at least asks for huge pages,
    torch's does not: a third of the rate).

    Notes
    -----
    Nothing is counted or guessed: an array's base is its lease, which every view of the array, every tensor made of it and
    every view of that tensor keep alive, in whichever thread and for as long as they like. When the last is gone, so is
    the lease, and gives the memory back. No lock is taken, since a lease may end inside any allocation of any thread.
    A copy, also in another process, starts empty.
    """

    def __init__(self) -> None:
        self._free: deque[np.ndarray] = deque(maxlen=MOST)  # the latest on the right; the oldest make way

    def __reduce__(self) -> tuple[type[Buffers], tuple[()]]:
        return Buffers, ()

    def lend(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array (shape) of dtype with anything in it, C order: memory that came back, else new."""
        passed: list[np.ndarray] = []
        found: np.ndarray | None = None
        while found is None:
            try:
                block = self._free.pop()
            except IndexError:
                found = np.empty(shape, dtype)
            else:
                if block.shape == tuple(shape) and block.dtype == dtype:
                    found = block
                else:
                    passed.append(block)
        self._free.extend(reversed(passed))
        return np.asarray(_Lease(found, self._free))


class _Lease:
    """Base of an array that is lent. Not an ndarray, whose views would refer past it to the memory itself."""

    __slots__ = ("_block", "_free")

    def __init__(self, block: np.ndarray, free: deque[np.ndarray]) -> None:
        self._block, self._free = block, free

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._block.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._block)
