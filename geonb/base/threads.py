"""Work in threads: decoding and compressing leave Python's lock free, so all cores help."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def cores() -> int:
    """Number of cores that this process may use; at most GEONB_CORES, which a job says that has a part of a machine."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        there = os.process_cpu_count() or 1
    else:
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("GEONB_CORES", "")
    return min(there, max(int(given), 1)) if given.isdecimal() else there


def spread(function: Callable, tasks: Iterable[tuple], workers: int | None = None) -> Iterator[Any]:
    """Call `function(*task)` for each task, in threads; the results come in the order of the tasks.

    The first error is raised when its turn comes; tasks that have not begun by then never do.

    Parameters
    ----------
    workers : int, optional
        Number of threads; the number of cores by default. 1 works here, without threads.
    """
    workers = cores() if workers is None else workers
    if workers < 2:
        yield from (function(*task) for task in tasks)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="geonb")
    try:
        for future in [pool.submit(function, *task) for task in tasks]:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
