"""Runs as jobs of a real Grid Engine, which is started here where it is installed: chain, time limit, cancel, refusal."""

import subprocess

import one_node_gridengine
import psutil
import pytest
from queued import HERE, record_of, wait
from tiny import RECORD

from geonb import cli, runs
from geonb.batch import jobs

pytest_plugins = ("tiny_fixtures",)  # project
pytestmark = [
    pytest.mark.notebook, pytest.mark.slow, pytest.mark.timeout(600),
    pytest.mark.skipif(bool(one_node_gridengine.missing()), reason=f"no Grid Engine can be started: {one_node_gridengine.missing()}"),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def node(tmp_path_factory):
    with one_node_gridengine.grid_engine(tmp_path_factory.mktemp("sge")):
        yield


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(jobs, "SLOW_POLL_S", 1.0)
    monkeypatch.setattr(jobs, "GONE_S", 20.0)


def test_each_notebook_a_job(project, capfd):
    code = cli.main(["run", RECORD, "--on", "sge:cores=1,memory=1GB,walltime=00:10:00", "--split"])
    run = runs.open_run("tiny")
    assert code == 0 and run.info["state"] == "done", capfd.readouterr()
    assert [job["code"] for job in record_of(run)["jobs"]] == [0, 0, 0]
    assert [job["id"] for job in record_of(run)["jobs"]] == ["1", "2", "3"], "the first of a new cell"
    assert len(list((run.path / "jobs").glob("geonb-*.o*"))) == 3


def test_a_job_whose_time_is_over_goes_on_by_itself(project, capfd):
    code = cli.main(["run", RECORD, "--on", "sge:cores=1,memory=1GB,walltime=00:01:00,warn=35", "-p", "mode=later"])
    run, printed = runs.open_run("tiny"), capfd.readouterr().out
    assert code == 0 and run.info["state"] == "done", printed
    assert [job["code"] for job in record_of(run)["jobs"]] == [5, 0] and "is over in 35 s" in printed


def test_cancelled_no_kernel_stays(project, capfd):
    arguments = ["run", RECORD, "--on", "sge:cores=1,memory=1GB,walltime=00:10:00", "--detach", "-p", "mode=sleep"]
    assert cli.main(arguments) == 0
    run, pid = runs.open_run("tiny"), project / "notebooks" / "kernel.pid"
    wait(lambda: (run.path / "log.txt").is_file() and "about to sleep" in (run.path / "log.txt").read_text())
    kernel = int(pid.read_text())
    assert cli.main(["status"]) == 0 and "running" in capfd.readouterr().out
    assert cli.main(["cancel", run.name]) == 0
    assert "Stopped by SIGUSR2" in (run.path / jobs.OUT).read_text(), "it was warned, and ended calmly"
    wait(lambda: not psutil.pid_exists(kernel))
    assert run.info["state"] == "stopped" and len(record_of(run)["jobs"]) == 1
    job = record_of(run)["jobs"][0]["id"]
    assert job not in subprocess.run(["qstat", "-u", "*"], capture_output=True, text=True, check=True).stdout


def test_what_grid_engine_refuses_is_told_in_its_words(project, capfd):
    assert cli.main(["run", RECORD, "--on", "sge:queue=nowhere"]) == 2
    assert 'unknown queue "nowhere"' in (told := capfd.readouterr().err), told
    assert cli.main(["run", RECORD, "--on", "sge:gpus=1"]) == 2
    assert "gpu" in capfd.readouterr().err
