"""Work in processes, for what holds Python's lock: each ends when this one does, and runs nothing but the function."""

from __future__ import annotations

import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def spread(function: Callable, tasks: Sequence[tuple], processes: int) -> Iterator[Any]:
    """Call `function(*task)` for each task, in processes; the results come in the order of the tasks.

    Parameters
    ----------
    function : of a module that can be imported
    processes : int
        1 works here.
    """
    if processes < 2 or len(tasks) < 2:
        yield from (function(*task) for task in tasks)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    many = min(processes, len(tasks))
    pool = ProcessPoolExecutor(many, multiprocessing.get_context("spawn"), _end_with, (os.getpid(),))
    try:
        with _no_main():  # all processes start when the first task is handed over
            futures = [pool.submit(function, *task) for task in tasks]
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_main() -> Iterator[None]:
    """Let processes start without this one's script: without ``if __name__ == "__main__"`` it would run again in each."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end_with(parent: int) -> None:
    """Let a process end when its parent was killed; it would wait for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
