"""Work beside work: a thread makes what is needed next, or puts away what was made, with room for little in between.

What threads do here decodes, computes with NumPy or compresses, and most of that leaves Python's lock free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


@contextmanager
def ahead(items: Iterable[T], depth: int = 1) -> Iterator[Iterator[T]]:
    """Items that are made by a thread while the caller works with those before: ``with ahead(items) as made: for item in made``.

    An error comes in its item's turn. However the block is left, nothing more is begun, the items are closed (in their thread) and
    the thread has ended.

    Parameters
    ----------
    depth : int
        At most so many items are made, or being made, that the caller has not asked for yet.
    """
    source = iter(items)
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="geonb-ahead") as pool:

        def made() -> Iterator[T]:
            waiting.extend(pool.submit(next, source, _END) for _ in range(depth))
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, source, _END))
                yield item

        try:
            yield made()
        finally:
            for future in waiting:
                future.cancel()
            if hasattr(source, "close"):  # what a generator has opened it closes; where it was opened
                pool.submit(source.close).result()


@contextmanager
def behind(function: Callable[..., Any], depth: int = 1) -> Iterator[Callable[..., None]]:
    """A function whose calls are done by a thread, in their order, while the caller goes on; what they give is lost.

    ``with behind(write) as send: send(piece)``. An error of a call is raised by the next one, or at the end of the block, and no
    call after it is done. If the block is left by an error or an interrupt, what was sent is done first, so that nothing that was
    computed is lost. The thread has ended in any case.

    Parameters
    ----------
    depth : int
        A call waits while so many before it are not done; so much is in memory besides what the caller holds.
    """
    waiting: deque[Future] = deque()
    failed: list[BaseException] = []

    def call(*arguments: Any) -> None:
        if failed:
            return
        try:
            function(*arguments)
        except BaseException as error:
            failed.append(error)
            raise

    with ThreadPoolExecutor(1, thread_name_prefix="geonb-behind") as pool:

        def send(*arguments: Any) -> None:
            while waiting and (len(waiting) >= depth or waiting[0].done()):
                waiting.popleft().result()
            waiting.append(pool.submit(call, *arguments))

        yield send
        while waiting:
            waiting.popleft().result()
