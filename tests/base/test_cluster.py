"""A text becomes a Dask client; results come in order; workers that cannot be used, that die or that are all gone are told of."""

import json
import operator
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dask
import pytest

from geonb.base import cluster
from geonb.base.conventions import VERSION

distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")


@pytest.fixture(scope="module")
def there():
    """A scheduler and two workers that somebody else began."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as found:
        yield found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, ("", {})),
        ("0", ("", {})),
        ("", ("", {})),
        (3, ("local", {"workers": 3, "memory": None})),
        ("3", ("local", {"workers": 3, "memory": None})),
        ("local:workers=4,memory=2GB", ("local", {"workers": 4, "memory": "2GB"})),
        ("tcp://10.0.0.1:8786", ("address", {"address": "tcp://10.0.0.1:8786"})),
        (
            "slurm:jobs=4,cores=8,memory=32GB,walltime=04:00:00",
            (
                "slurm",
                {"jobs": 4, "cores": 8, "memory": "32GB", "walltime": "04:00:00", "queue": None, "account": None},
            ),
        ),
    ],
)
def test_what_a_text_asks_for(given, expected):
    assert cluster.check_workers(given) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (-1, "workers = -1: give 0"),
        (5000, "up to 4096"),
        (True, "workers = True"),
        ("slrum:jobs=2", "Did you mean 'slurm'.*scheduler-file:PATH, tcp://HOST:PORT"),
        ("slurm:jobs=0,memory=lots,walltime=8", r"(?s)jobs = 0 .*memory = 'lots' .*walltime = 8 must be HH:MM:SS"),
        ("local:threads=2", "local has no 'threads'; it takes workers, memory"),
        ("tcp://head", "tcp://host:port"),
        ("scheduler-file:gone.json", "dask scheduler --scheduler-file"),
    ],
)
def test_what_is_wrong_with_a_text_is_told(given, told):
    with pytest.raises(ValueError, match=told):
        cluster.check_workers(given)


def test_results_come_in_order_and_the_dashboard_is_told_once(there, tmp_path, capsys):
    with cluster.dask_client(there.scheduler_address) as client:
        numbers = list(cluster.spread(operator.mul, [(i, 3) for i in range(40)], client, tmp_path))
        assert numbers == list(range(0, 120, 3))
        assert list(cluster.spread(operator.mul, [], client, tmp_path)) == []
        with cluster.dask_client(client) as same:
            assert same is client
        assert client.status == "running", "what is given stays open"
    told = capsys.readouterr().out
    assert told == f"Dask: 2 workers of {there.scheduler_address}, dashboard: {there.dashboard_link}\n"
    assert not list(tmp_path.iterdir())
    with distributed.Client(there) as client:
        assert len(client.ncores()) == 2, "a scheduler that ran before runs on"


def test_a_scheduler_is_found_by_its_file(there, tmp_path):
    # as `dask scheduler --scheduler-file` does, which says more of its workers, by then not all of it JSON
    (tmp_path / "scheduler.json").write_text(json.dumps({"type": "Scheduler", "address": there.scheduler_address}))
    with cluster.dask_client(f"scheduler-file:{tmp_path / 'scheduler.json'}") as client:
        assert next(cluster.spread(operator.add, [(1, 2)], client, tmp_path)) == 3


def test_where_nobody_answers_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 1)
    with (
        pytest.raises(ValueError, match="no Dask scheduler answers within 1 s"),
        cluster.dask_client("tcp://127.0.0.1:9"),
    ):
        pass


def linger(folder, name):
    time.sleep(0.5)
    (folder / name).touch()
    if name == "bad":
        raise ZeroDivisionError(name)


def test_after_an_error_nobody_writes_any_more(there, tmp_path):
    with distributed.Client(there) as client:
        names = ["bad", *"abcdefghijkl"]
        with pytest.raises(ZeroDivisionError):
            list(cluster.spread(linger, [(tmp_path, name) for name in names], client, tmp_path / "seen"))
        written = sorted(tmp_path.iterdir())
        assert len(written) < 8, "what had not begun never does"
        time.sleep(1.2)
        assert sorted(tmp_path.iterdir()) == written


def test_workers_that_cannot_be_used_are_refused(there, tmp_path, monkeypatch):
    with distributed.Client(there) as client:
        with pytest.raises(ValueError, match=f"(?s)tcp://.*does not see {tmp_path}: .*tcp://.*does not see"):
            cluster.greet(client, tmp_path / "elsewhere")
        monkeypatch.setattr(cluster, "VERSION", "99.0")
        with pytest.raises(ValueError, match=f"it has geonb {VERSION}, and here it is 99.0"):
            next(cluster.spread(operator.add, [(1, 2)], client, tmp_path))
    with pytest.raises(ValueError, match="does not see"):  # one that came late
        cluster.do(operator.add, (1, 2), tmp_path / "elsewhere", "99.0")


def die_once(folder, number):
    """Ends its process the first time, as running out of memory does."""
    if number == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_what_a_lost_worker_had_is_done_again(there, tmp_path):
    with distributed.Client(there) as client:
        found = list(cluster.spread(die_once, [(tmp_path, i) for i in range(12)], client, tmp_path / "seen"))
    assert found == list(range(12)) and (tmp_path / "died").exists()


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_ends_every_worker_is_told(there, tmp_path):
    with (
        distributed.Client(there) as client,
        pytest.raises(RuntimeError, match=r"Several Dask workers died.*more memory for each"),
    ):
        list(cluster.spread(die, [(1,)], client, tmp_path))


@pytest.mark.parametrize("how", ["own", "address"])
def test_all_workers_gone_and_none_coming_back_is_told(how, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ALONE_S", 1.0)
    monkeypatch.setattr(cluster, "AWAY_S", 1.0)
    monkeypatch.setattr(cluster, "TOLD_S", 0.2)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as mine:
        given = distributed.Client(mine) if how == "own" else mine.scheduler_address
        with cluster.dask_client(given) as client:
            results = cluster.spread(linger, [(tmp_path, str(i)) for i in range(50)], client, tmp_path / "seen")
            next(results)
            mine.scale(0)
            with pytest.raises(
                RuntimeError, match=r"All Dask workers died, and none came back for 1 s.*run this again"
            ):
                list(results)
            client.close()


def test_without_workers_a_queue_is_waited_for(tmp_path, capsys, monkeypatch):
    """Jobs may come later: so nothing is refused at a scheduler that has no worker yet."""
    monkeypatch.setattr(cluster, "AWAY_S", 0.5)
    monkeypatch.setattr(cluster, "TOLD_S", 0.2)
    monkeypatch.setattr(cluster, "POLL_S", 0.1)
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as mine:
        threading.Timer(2, mine.scale, (1,)).start()
        with cluster.dask_client(mine.scheduler_address) as client:
            assert list(cluster.spread(operator.add, [(1, 2)], client, tmp_path)) == [3]
    assert "No Dask worker is there; waiting for one." in capsys.readouterr().out


def test_a_scheduler_that_is_gone_is_told(tmp_path):
    mine = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        cluster.dask_client(mine.scheduler_address) as client,
    ):
        results = cluster.spread(linger, [(tmp_path, str(i)) for i in range(50)], client, tmp_path / "seen")
        next(results)
        mine.close()
        with pytest.raises(RuntimeError, match="scheduler is gone"):
            list(results)


def test_jobs_of_a_site_need_its_commands(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="there is no sbatch on this machine"), cluster.dask_client("slurm:jobs=1"):
        pass


def test_jobs_that_are_refused_are_told_in_the_schedulers_words(monkeypatch, tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: nowhere' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    with (
        pytest.raises(ValueError, match="sbatch took no job: sbatch: error: invalid partition specified: nowhere"),
        cluster.dask_client("slurm:jobs=2,queue=nowhere"),
    ):
        pass


def test_dask_computes_for_others_as_before(tmp_path):
    """A worker may be somebody else's, or this very process; tasks that overlap both compute by themselves."""
    before, first_is_over = dask.config.get("scheduler", None), threading.Event()

    def later():
        assert first_is_over.wait(20)
        return dask.config.get("scheduler", None)

    with ThreadPoolExecutor(2) as pool, dask.config.set(scheduler="processes"):
        second = pool.submit(cluster.do, later, (), tmp_path, VERSION)
        while dask.config.get("scheduler") != "synchronous":
            time.sleep(0.01)
        first = pool.submit(cluster.do, dask.config.get, ("scheduler",), tmp_path, VERSION).result()
        first_is_over.set()
        assert (first, second.result()) == ("synchronous", "synchronous")
        assert dask.config.get("scheduler") == "processes"
        with pytest.raises(ZeroDivisionError):
            cluster.do(operator.truediv, (1, 0), tmp_path, VERSION)
        assert dask.config.get("scheduler") == "processes"
    assert dask.config.get("scheduler", None) == before
