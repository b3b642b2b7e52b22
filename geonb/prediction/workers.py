"""Rasters spread over processes by Dask: small ones whole, large ones in bands of rows, which come out as in one pass."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import cluster
from geonb.base.files import shared_folder
from geonb.base.pipeline import ahead
from geonb.prediction import jobs as prediction_jobs

if TYPE_CHECKING:
    from distributed import Client

    from geonb.prediction.bands import MapModel, PixelModel
    from geonb.prediction.jobs import Job

SMALL_MPX = 8.0  # a raster up to so many megapixels is done whole by one worker
BANDS_A_WORKER = 4  # so that who is done early takes more, yet few windows are seen twice, at the bands' edges
BATCHES_A_TASK = 8
_ONE_LOADS = threading.Lock()
_LOADED: dict[str, MapModel] = {}


def spread(
    jobs: Sequence[Job], model: PixelModel, client: Client | None = None
) -> Iterator[tuple[Job, dict | Exception]]:
    """Predict rasters in here, or over Dask workers; gives each with what the report says of it, or why it failed.

    Parameters
    ----------
    client : a `dask.distributed.Client` of a cluster whose workers see the same files; None = in here
    """
    if not jobs:
        return
    if client is None:
        yield from _in_here(jobs, model)
        return
    with _saved(model, jobs[0].folder) as folder:
        yield from spread_over(client, jobs, model.card, folder)


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


def over(client: Client, model: MapModel, folder: Path, function: Callable, tasks: Iterable[tuple]) -> Iterator[Any]:
    """Call `function(model, *task)` for each task over a client's workers, each of which loads the model once; in order.

    Parameters
    ----------
    folder : where they write, which all workers see
    function : of a module that workers can import
    """
    with _saved(model, folder) as place:
        about = (function, place, cluster.cores_of(client), model.card["workload"])
        yield from cluster.spread(_with_model, ((*about, task) for task in tasks), client, folder)


def ask(windows: Any, function: Callable, rows: range, batch: int) -> np.ndarray:
    """What a function of standardised inputs (n, ...) says of some windows of a store, `batch` at a time: float32 (window, ...)."""
    some = (list(rows[i : i + batch]) for i in range(0, len(rows), batch))
    with ahead(windows.batch(chosen)["inputs"].numpy() for chosen in some) as read:
        found = [function(inputs) for inputs in read]
    return np.concatenate(found).astype(np.float32)


def network_over(
    client: Client | None, model: Any, folder: Path, store: Any, method: str, precision: str, batch: int
) -> np.ndarray:
    """What a trained task's `method` says of every window of a store, in here or over a client's workers; see :func:`ask`."""
    if client is None:
        return _ask_rows(model, store, range(len(store)), method, precision, batch)
    tasks = [(store.path, store.meta["key"], rows, method, precision, batch) for rows in _batches(len(store), batch)]
    return np.concatenate(list(over(client, model, folder, _ask_there, tasks)))


def _batches(count: int, batch: int) -> Iterator[range]:
    """Whole batches, some for each task: which windows are seen together changes the last bits of what is said of them."""
    step = batch * BATCHES_A_TASK
    return (range(i, min(i + step, count)) for i in range(0, count, step))


def _ask_there(model: Any, path: Path, key: str, rows: range, method: str, precision: str, batch: int) -> np.ndarray:
    return _ask_rows(model, store_at(path, key), rows, method, precision, batch)


def _ask_rows(model: Any, store: Any, rows: range, method: str, precision: str, batch: int) -> np.ndarray:
    from geonb.training.task import as_function

    return ask(store.windows(), as_function(model, method, precision), rows, batch)


@lru_cache(maxsize=1)
def store_at(path: Path, key: str) -> Any:
    """The sample store of a path, opened once a process; `key` is its own, since another may be made under the same name."""
    from geonb.store.store import open_store

    return open_store(path)


def _with_model(function: Callable, folder: Path, threads: int | None, workload: str, task: tuple) -> Any:
    return function(_ready(folder, threads, workload), *task)


@contextmanager
def _saved(model: MapModel, folder: Path) -> Iterator[Path]:
    """The model as two files for the workers, whichever weights it holds; beside the outputs, which all workers see."""
    from safetensors.torch import save_file

    with shared_folder(folder, ".model-") as place:
        (place / "model.json").write_text(json.dumps(model.card))
        save_file({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, place / "weights.safetensors")
        yield place


def _loaded(folder: Path, workload: str) -> MapModel:
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


def _ready(folder: Path, threads: int | None, workload: str) -> MapModel:
    """The model of a folder in this process, with so many threads of torch's."""
    import torch

    if threads and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return _loaded(folder, workload)


def work(job: Job, folder: Path, span: tuple[int, int] | None, threads: int | None, workload: str) -> tuple[Any, float]:
    """What a worker does: a whole raster, or a span of its rows; gives the result and the seconds it took."""
    model: Any = _ready(folder, threads, workload)
    started = time.perf_counter()
    result = prediction_jobs.run_job(job, model) if span is None else prediction_jobs.predict_band(job, model, *span)
    return result, time.perf_counter() - started


def end(job: Job, card: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What a worker does when all rows of a raster are predicted: its maps and polygons."""
    started = time.perf_counter()
    return prediction_jobs.finish(job, card), time.perf_counter() - started


def spread_over(
    client: Client, jobs: Sequence[Job], card: dict[str, Any], folder: Path
) -> Iterator[tuple[Job, dict | Exception]]:
    """Give tasks to a client's workers and gather what they made.

    Parameters
    ----------
    folder : the model's

    Raises
    ------
    ValueError
        Workers that cannot be used, see :func:`geonb.base.cluster.spread`.
    RuntimeError
        If all workers died and none came back.
    """
    with cluster.handing(client, folder.parent) as submit:
        yield from _gathered(submit, client, jobs, card, folder)


def _gathered(
    submit: Callable[..., Future], client: Client, jobs: Sequence[Job], card: dict[str, Any], folder: Path
) -> Iterator[tuple[Job, dict | Exception]]:
    share, threads = cluster.threads_of(client), cluster.cores_of(client)
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
        tasks |= {submit(work, job, folder, span, threads, card["workload"]): (job, span) for span in spans}
        if not spans:
            tasks[submit(end, job, card)] = (job, None)
    try:
        while tasks:
            for future in cluster.finished(tasks, client):
                job, span = tasks.pop(future)
                if future.cancelled():  # by a scheduler that is gone: what is predicted stays, to be gone on with
                    cluster.result_of(future)
                try:
                    result, took = cluster.result_of(future)
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
                    tasks[submit(end, job, card)] = (job, None)
    finally:
        for future in tasks:
            future.cancel()


def _spans(job: Job, card: dict[str, Any], share: int) -> list[tuple[int, int] | None]:
    """The rows that one task each predicts: None = all, and the maps; spans begin where a chunk begins."""
    if job.maps_there or job.mpx <= SMALL_MPX:
        return [None]
    return list(prediction_jobs.spans(prediction_jobs.lay_out(job, card), job, card, share * BANDS_A_WORKER))
