"""Rasters spread over processes by Dask: small ones whole, large ones in bands of rows, which come out as in one pass."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.base.files import shared_folder
from geonb.prediction import jobs as prediction_jobs

if TYPE_CHECKING:
    from distributed import Client

    from geonb.prediction.bands import PixelModel
    from geonb.prediction.jobs import Job

SMALL_MPX = 8.0  # a raster up to so many megapixels is done whole by one worker
ALONE_S = 120.0  # without any worker, on this machine, that is how long to wait for Dask to start one again
BANDS_A_WORKER = 4  # so that who is done early takes more, yet few windows are seen twice, at the bands' edges
_ONE_LOADS = threading.Lock()
_LOADED: dict[str, PixelModel] = {}


def spread(
    jobs: Sequence[Job], model: PixelModel, workers: int = 0, client: Client | None = None
) -> Iterator[tuple[Job, dict | Exception]]:
    """Predict rasters in here, or over Dask workers; gives each with what the report says of it, or why it failed.

    Parameters
    ----------
    workers : processes on this machine; 0 and no client = in here
    client : a `dask.distributed.Client` of a cluster whose workers see the same files
    """
    if not jobs:
        return
    if not workers and client is None:
        yield from _in_here(jobs, model)
        return
    with _cluster(workers, client) as (executor, share, living), _saved(model, jobs[0].folder) as folder:
        threads = None if client is not None else max(1, len(os.sched_getaffinity(0)) // workers)
        yield from spread_over(executor, jobs, model.card, folder, share, threads, living)


def _in_here(jobs: Sequence[Job], model: PixelModel) -> Iterator[tuple[Job, dict | Exception]]:
    """One raster after the other; a thread makes the maps of each while the next is predicted."""
    with ThreadPoolExecutor(1, thread_name_prefix="geonb-maps") as pool:
        before: tuple[Job, Future] | None = None
        for job in jobs:
            ending: Future = Future()
            try:
                seconds = prediction_jobs.predict_all(job, model)
                ending = pool.submit(prediction_jobs.conclude, job, model.card, seconds)
            except Exception as error:  # one bad raster must not stop the others
                ending.set_exception(error)
            if before:
                yield _outcome(*before)
            before = job, ending
        if before:
            yield _outcome(*before)


def _outcome(job: Job, ending: Future) -> tuple[Job, dict | Exception]:
    try:
        return job, ending.result()
    except Exception as error:
        return job, error


@contextmanager
def _cluster(workers: int, client: Client | None) -> Iterator[tuple[Executor, int, Callable[[], int] | None]]:
    """The executor of a client, how many tasks it takes at once, and what counts its workers if none may be left for long.

    A cluster of our own is closed at the end. One that is given, and is not on this machine, may be waiting for a
    scheduler's queue, however long.
    """
    if client is not None:
        from distributed import LocalCluster

        living = (lambda: len(client.ncores())) if isinstance(client.cluster, LocalCluster) else None
        yield client.get_executor(pure=False), max(1, sum(client.ncores().values())), living
        return
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ValueError(
            f"workers = {workers} needs the package `distributed`. Install it (pip install distributed), or give workers=0."
        ) from error
    # a process a worker: torch and GDAL hold locks that threads would wait for
    options = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as own:
        yield own.get_executor(pure=False), workers, lambda: len(own.ncores())


@contextmanager
def _saved(model: PixelModel, folder: Path) -> Iterator[Path]:
    """The model as two files for the workers, whichever weights it holds; beside the outputs, which all workers see."""
    from safetensors.torch import save_file

    with shared_folder(folder, ".model-") as place:
        (place / "model.json").write_text(json.dumps(model.card))
        save_file({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, place / "weights.safetensors")
        yield place


def _loaded(folder: Path, workload: str) -> PixelModel:
    """The model, loaded once a process; `workload` is named by the process that made the cluster, not by a file."""
    from safetensors.torch import load_file

    from geonb.training.task import task_of_card

    with _ONE_LOADS:
        if str(folder) not in _LOADED:
            card = json.loads((folder / "model.json").read_text())
            task = task_of_card(card, workload)(card, weights=False)
            task.load_state_dict(load_file(folder / "weights.safetensors"))
            _LOADED.clear()  # of an earlier call to the same cluster
            _LOADED[str(folder)] = task.eval()
        return _LOADED[str(folder)]


def work(job: Job, folder: Path, span: tuple[int, int] | None, threads: int | None, workload: str) -> tuple[Any, float]:
    """What a worker does: a whole raster, or a span of its rows; gives the result and the seconds it took."""
    import torch

    if threads and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    model = _loaded(folder, workload)
    started = time.perf_counter()
    result = prediction_jobs.run_job(job, model) if span is None else prediction_jobs.predict_band(job, model, *span)
    return result, time.perf_counter() - started


def end(job: Job, card: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What a worker does when all rows of a raster are predicted: its maps and polygons."""
    started = time.perf_counter()
    return prediction_jobs.finish(job, card), time.perf_counter() - started


def spread_over(
    executor: Executor, jobs: Sequence[Job], card: dict[str, Any], folder: Path, share: int, threads: int | None,
    living: Callable[[], int] | None = None,
) -> Iterator[tuple[Job, dict | Exception]]:  # fmt: skip
    """Give tasks to an executor and gather what they made.

    Parameters
    ----------
    folder : the model's
    share : how many tasks the executor does at once
    threads : of torch in each worker; None leaves them as they are
    living : tells how many workers there are, where having none for long means that none will come

    Raises
    ------
    RuntimeError
        If all workers died and none came back.
    """
    tasks: dict[Future, tuple[Job, tuple[int, int] | None]] = {}
    left: Counter = Counter()  # spans of a raster that are not in yet
    seconds: Counter = Counter()
    failed: dict[Job, Exception] = {}
    for job in jobs:
        try:
            spans = _spans(job, card, share)
        except Exception as error:
            prediction_jobs.clean(job)
            yield job, error
            continue
        left[job] = sum(span is not None for span in spans)
        tasks |= {executor.submit(work, job, folder, span, threads, card["workload"]): (job, span) for span in spans}
        if not spans:
            tasks[executor.submit(end, job, card)] = (job, None)
    try:
        while tasks:
            for future in _finished(tasks, living):
                job, span = tasks.pop(future)
                try:
                    result, took = future.result()
                    seconds[job] += took
                    if span is not None:
                        prediction_jobs.mark(job, *span, result)
                except Exception as error:  # a bad file, or a worker that died: this raster's, not the others'
                    failed.setdefault(job, error)
                left[job] -= span is not None
                if left[job]:
                    continue
                if job in failed:  # only now: no other worker writes into it any more
                    prediction_jobs.clean(job)
                    yield job, failed[job]
                elif span is None:
                    yield job, result | {"seconds": seconds[job]}
                else:
                    tasks[executor.submit(end, job, card)] = (job, None)
    finally:
        for future in tasks:
            future.cancel()


def _finished(tasks: dict[Future, Any], living: Callable[[], int] | None) -> set[Future]:
    """The tasks that are done, at least one. Dask does not restart a worker that dies while it starts: that is not waited for."""
    if living is None:
        return wait(tasks, return_when=FIRST_COMPLETED).done
    seen = time.monotonic()
    while not (done := wait(tasks, ALONE_S / 10, return_when=FIRST_COMPLETED).done):
        if living():
            seen = time.monotonic()
        elif time.monotonic() - seen >= ALONE_S:
            raise RuntimeError(
                f"All Dask workers on this machine died, and none came back for {ALONE_S:.0f} s; memory that ran out is the "
                "commonest cause. Maps that were finished are kept: run this again with fewer `workers`, or workers=0"
            )
    return done


def _spans(job: Job, card: dict[str, Any], share: int) -> list[tuple[int, int] | None]:
    """The rows that one task each predicts: None = all, and the maps; spans begin where a chunk begins."""
    if job.maps_there or job.mpx <= SMALL_MPX:
        return [None]
    return list(prediction_jobs.spans(prediction_jobs.lay_out(job, card), job, card, share * BANDS_A_WORKER))
