"""Work over a Dask cluster: a text becomes a client, tasks go to its workers, and their results come back in order.

Workers run functions that they import and write files that all see: what is shipped is a function's name and its arguments. A task
that a lost worker had is done again by another, so each must leave the same files when it is done twice.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from geonb.base import files, project, resources, threads
from geonb.base.conventions import VERSION, refuse, short
from geonb.base.specs import Option, check_options, load, pick

if TYPE_CHECKING:
    from distributed import Client

MOST = 4096  # processes on one machine
ALONE_S = 120.0  # without any worker, on this machine, that is how long to wait for Dask to start one again
AWAY_S = 900.0  # the same of a scheduler that somebody else began, once its workers had been there
TOLD_S = 10.0  # without any worker before that is told
POLL_S = 5.0
AHEAD = 2  # tasks that a worker's thread has been given at once
ANSWER_S = 30
ADDRESS = re.compile(r"(?:tcp|tls|ucx|ws|wss)://[^/\s:]+:\d+")
FILE = "scheduler-file:"
LOCAL = {"workers": Option(2, int, 1, MOST, help="processes"), "memory": resources.SIZE}
JOBS = {"jobs": Option(1, int, 1, 10_000), **resources.RESOURCES}
TABLE = {"local": LOCAL, "slurm": JOBS, "pbs": JOBS, "sge": JOBS}
RESUMED = "What is finished is kept: run this again"
_TOLD: WeakSet[Client] = WeakSet()  # where the dashboard was told
_SEEN: WeakSet[Client] = WeakSet()  # that had workers
_ONE_SETS = threading.Lock()
_COMPUTING: list[Any] = []  # what puts Dask's setting back, then one for each task that goes by ours


def check_workers(given: str | int) -> tuple[str, dict[str, Any]]:
    """What a text asks for: how, and with which options; ``""`` where the work stays here.

    Parameters
    ----------
    given : str or int
        0 or "" for here; a number of processes on this machine; "local:workers=4,memory=4GB"; "tcp://host:8786", a scheduler that
        runs; "scheduler-file:path", the file it wrote; "slurm:jobs=4,cores=8,memory=32GB,walltime=04:00:00" (or pbs, sge): jobs of
        the site, whose queue, account and directives dask-jobqueue's configuration may say.

    Raises
    ------
    ValueError
        Lists what is wrong with it, and what may be given.
    """
    text = str(given).strip()
    if isinstance(given, bool) or re.fullmatch(r"-?\d+", text):
        if isinstance(given, bool) or not 0 <= int(text) <= MOST:
            raise ValueError(
                f"workers = {given}: give 0 (in here) or a number of processes, up to {MOST}, or a cluster"
            )
        return ("local", {"workers": int(text), "memory": None}) if int(text) else ("", {})
    if not text:
        return "", {}
    if "://" in text:
        if not ADDRESS.fullmatch(text):
            raise ValueError(f"workers = {text!r}: an address of a Dask scheduler is tcp://host:port (or tls://)")
        return "address", {"address": text}
    if text.startswith(FILE):
        return "scheduler-file", {"scheduler_file": str(_scheduler_file(text.removeprefix(FILE)))}
    more = f", {FILE}PATH, tcp://HOST:PORT, or a number of processes on this machine"
    pick("workers", text.partition(":")[0], TABLE, text, more)
    return check_options("workers", text, TABLE)


def _scheduler_file(text: str) -> Path:
    path = next((p for p in (place / Path(text).expanduser() for place in project.places()) if p.is_file()), None)
    if path is None:
        raise ValueError(
            f"workers = {FILE}{text}: there is no such file. It is written by: dask scheduler --scheduler-file PATH"
        )
    if not files.read_json(path).get("address"):
        raise ValueError(f"{path} is no scheduler file: it says no `address`")
    return path


@contextmanager
def dask_client(given: Client | str | int | None) -> Iterator[Client | None]:
    """A client for as long as this lasts; None where the work stays here.

    What is opened here is closed at the end, jobs too. A client that is given stays open, as does a scheduler that ran before.

    Parameters
    ----------
    given : a `dask.distributed.Client`, or what :func:`check_workers` takes

    Raises
    ------
    ValueError
        What is wrong with the text; that no scheduler answers, or that no jobs can be submitted from here.
    """
    if given is None or not isinstance(given, str | int):
        if given is not None:
            tell(given)
        yield given
        return
    how, options = check_workers(given)
    if not how:
        yield None
        return
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ValueError(
            f"workers = {given} needs the package `distributed`. Install it (pip install distributed), or give workers=0."
        ) from error
    if how in TABLE:
        with _begun(how, options) as cluster, Client(cluster, set_as_default=False) as client:
            tell(client)
            yield client
        return
    try:
        client = Client(**options, timeout=ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ValueError(
            f"workers = {given}: no Dask scheduler answers within {ANSWER_S} s ({short(error)}). Does it run, and may this machine "
            "reach it? One is begun with: dask scheduler"
        ) from error
    with client:
        tell(client)
        yield client


@contextmanager
def _begun(how: str, options: dict[str, Any]) -> Iterator[Any]:
    """A cluster of our own, ended with us: processes of this machine, or jobs of the site's scheduler."""
    from distributed import LocalCluster

    if how == "local":
        # a process a worker: torch and GDAL hold locks that threads would wait for
        own = {"n_workers": options["workers"], "threads_per_worker": 1, "processes": True}
        memory = options["memory"] or "auto"
        with LocalCluster(**own, memory_limit=memory, dashboard_address="127.0.0.1:0") as cluster:
            yield cluster
        return
    import dask

    engine = load(f"dask_jobqueue:{how.upper()}Cluster")
    command = shlex.split(engine.job_cls.submit_command)[0]
    if shutil.which(command) is None:
        raise ValueError(f"workers = {how}: there is no {command} on this machine. Is its module loaded?")
    site = dask.config.get(f"jobqueue.{engine.job_cls.config_name}")
    payer = "project" if how == "sge" else "account"
    asked = resources.settled({k: v for k, v in options.items() if k != "jobs"}, site, payer)
    asked[payer] = asked.pop("account")
    root = _root()
    exported = {"GEONB_ROOT": root} | {name: os.environ[name] for name in resources.CARRIED if os.environ.get(name)}
    prologue = [f"export {name}={shlex.quote(value)}" for name, value in exported.items() if value]
    with engine(
        **asked, python=sys.executable, job_script_prologue=[*(site.get("job-script-prologue") or []), *prologue],
        scheduler_options={"dashboard_address": ":0"} | (site.get("scheduler-options") or {}),
        log_directory=site.get("log-directory") or str(Path(root or Path.cwd(), "data", ".workers")),
    ) as cluster:  # fmt: skip
        jobs = options["jobs"]
        cluster.scale(jobs=jobs)
        cluster.sync(cluster._correct_state)
        _check_begun(cluster, f"workers = {how}: {command} took no job")
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # a job that ends is followed by another
        yield cluster


def _check_begun(cluster: Any, told: str) -> None:
    """Refuse jobs that the scheduler refused, of which Dask tells its own log alone."""
    from distributed import Status

    refused = [worker for worker in cluster.workers.values() if worker.status is Status.created]
    try:
        for worker in refused:
            cluster.sync(worker.start)
    except RuntimeError as error:
        for worker in refused:
            worker.status = Status.failed  # Dask does not close one that never began
        said = str(error).partition("stderr:")[2].strip()
        raise ValueError(f"{told}: {said or short(error)}") from error


def _root() -> str:
    try:
        return str(project.project_root())
    except FileNotFoundError:
        return ""


def tell(client: Client) -> None:
    """Print, once for each client, where its dashboard is."""
    if client in _TOLD:
        return
    _TOLD.add(client)
    known = client.scheduler_info(n_workers=0)
    board = client.dashboard_link if "dashboard" in known["services"] else "none"
    files.say(f"Dask: {len(_cores(client))} workers of {known['address']}, dashboard: {board}")


def spread(
    function: Callable, tasks: Iterable[tuple], client: Client | None, folder: Path | None, workers: int | None = None,
    here: Callable[..., Iterator[Any]] = threads.spread, common: tuple = (),
) -> Iterator[Any]:  # fmt: skip
    """Call `function(*common, *task)` for each task, over a client's workers; the results come in the order of the tasks.

    The first error is raised when its turn comes, and after the tasks that had begun: nobody writes into the folder any more.

    Parameters
    ----------
    function : of a module that workers can import; it may be called twice with one task, where a worker was lost
    client : None for `workers` threads of this process, as :func:`geonb.base.threads.spread`, or what else `here` makes of them
    folder : where they write, which all workers must see; the current one by default
    common : what every task needs; sent once, whatever their number

    Raises
    ------
    ValueError
        Workers that have no geonb, or another version of it, or do not see the folder.
    RuntimeError
        If all workers were lost and none came back.
    """
    if client is None:
        yield from here(function, ((*common, *task) for task in tasks) if common else tasks, workers)
        return
    with handing(client, folder or Path.cwd(), common) as submit:
        ahead: deque[Future] = deque()
        todo = iter(tasks)
        try:
            while True:
                for task in islice(todo, max(0, AHEAD * threads_of(client) - len(ahead))):
                    ahead.append(submit(function, *task))
                if not ahead:
                    return
                finished([ahead[0]], client)
                yield result_of(ahead.popleft())
        finally:
            with suppress(RuntimeError):  # nobody is left who writes
                while ahead:
                    finished([ahead.popleft()], client)


@contextmanager
def handing(client: Client, folder: Path, common: tuple = ()) -> Iterator[Callable[..., Future]]:
    """What hands a function and its arguments to a client's workers, all of which see `folder`; see :func:`spread`."""
    with files.shared_folder(folder, ".workers-") as token:
        greet(client, token)
        executor = client.get_executor(pure=False)
        shared = (
            client.submit(tuple, common, pure=False) if common else ()
        )  # a task: lost with a worker, it is done again
        yield lambda function, *task: executor.submit(do, function, task, token, VERSION, shared)


def threads_of(client: Client) -> int:
    """How many tasks a client's workers do at once; 1 before there are any."""
    return max(1, sum(_cores(client).values()))


def _cores(client: Client) -> dict[str, int]:
    """Threads of each worker that is there."""
    try:
        return dict(client.ncores())
    except (OSError, TimeoutError) as error:
        raise RuntimeError(f"The Dask scheduler is gone ({short(error)}). {RESUMED} when one is there") from error


def cores_of(client: Client) -> int | None:
    """Cores for each task where all share this machine; None elsewhere, where that is settled already."""
    from distributed import LocalCluster

    return max(1, threads.cores() // threads_of(client)) if isinstance(client.cluster, LocalCluster) else None


def greet(client: Client, token: Path) -> None:
    """Refuse workers that cannot be used, as far as they are there by now.

    Parameters
    ----------
    token : a folder that was made just now, which they must see

    Raises
    ------
    ValueError
        Which lack what.
    """
    tell(client)
    faults = []
    for worker, found in client.run(faults_here, token, VERSION, on_error="return").items():
        found = [f"it has no geonb as here ({short(found)})"] if isinstance(found, Exception) else found
        faults += [f"{worker}: {fault}" for fault in found]
        _SEEN.add(client)
    refuse("These Dask workers cannot be used", faults)


def faults_here(token: Path, version: str) -> list[str]:
    """Why this process is no worker for one that has this version of geonb, and made that folder."""
    faults = [f"it has geonb {VERSION}, and here it is {version}: install the same"] * (version != VERSION)
    if not token.is_dir():
        faults.append(
            f"it does not see {token.parent}: workers need the same files under the same path, on a shared disk"
        )
    return faults


def do(function: Callable, task: Sequence[Any], token: Path, version: str, common: tuple = ()) -> Any:
    """What a worker does with a task; one that came late, and was not greeted, first asks itself whether it can."""
    refuse("A Dask worker cannot be used", faults_here(token, version))
    with _computing_here():
        return function(*common, *task)


@contextmanager
def _computing_here() -> Iterator[None]:
    """Lazy arrays are computed by the task itself: handed to the cluster, it would wait for workers that may all be waiting so.

    That is a setting of the whole process, which may be somebody else's, too: after the last of several tasks it is as before.
    """
    import dask

    with _ONE_SETS:
        if not _COMPUTING:
            _COMPUTING.append(dask.config.set(scheduler="synchronous"))
        _COMPUTING.append(None)
    try:
        yield
    finally:
        with _ONE_SETS:
            _COMPUTING.pop()
            if len(_COMPUTING) == 1:
                _COMPUTING.pop().__exit__(None, None, None)


def result_of(future: Future) -> Any:
    """What a task gave, or why not; a RuntimeError says what to do where workers died of it, or the scheduler."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise RuntimeError(
            f"Several Dask workers died, one after the other, over one task; memory that ran out is the commonest cause. {RESUMED} "
            "with fewer workers on a machine, or with more memory for each"
        ) from error
    except CancelledError as error:
        raise RuntimeError(f"The Dask scheduler is gone. {RESUMED} when one is there") from error


def finished(futures: Collection[Future], client: Client) -> set[Future]:
    """Those of some tasks that are done, at least one; waits for it.

    Dask does not start a worker again that dies while it starts: on this machine that is not waited for. Workers that are jobs may
    be waiting for their turn in a queue, however long.

    Raises
    ------
    RuntimeError
        If all workers were lost and none came back, or the scheduler is gone.
    """
    limit, since, told = _patience(client), time.monotonic(), False
    poll_s = POLL_S if limit is None else min(POLL_S, limit / 10)
    while not (done := wait(futures, poll_s, FIRST_COMPLETED).done):
        there = _cores(client)
        alone_s = time.monotonic() - since
        if there:
            since, told = time.monotonic(), False
            _SEEN.add(client)
        elif limit is not None and alone_s >= limit:
            raise RuntimeError(
                f"All Dask workers died, and none came back for {limit:.0f} s; memory that ran out is the commonest cause. {RESUMED} "
                "with fewer `workers`, more memory for each, or workers=0"
            )
        elif alone_s >= TOLD_S and not told:
            told = True
            files.say("No Dask worker is there; waiting for one.")
    return done


def _patience(client: Client) -> float | None:
    """How long to wait without any worker, s; None: however long."""
    from distributed import LocalCluster

    if isinstance(client.cluster, LocalCluster):
        return ALONE_S
    return AWAY_S if client.cluster is None and client in _SEEN else None
