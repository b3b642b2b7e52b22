"""Runs as jobs of a real Slurm, which is started here where it is installed: chain, time limit, cancel, refusal."""

import operator
import os
import shutil
import subprocess

import one_node_slurm
import psutil
import pytest
from queued import HERE, record_of, wait
from tiny import RECORD

from geonb import cli, runs
from geonb.base import cluster
from geonb.batch import jobs

pytest_plugins = ("tiny_fixtures",)  # project
pytestmark = [
    pytest.mark.notebook, pytest.mark.slow, pytest.mark.timeout(600),
    pytest.mark.skipif(bool(one_node_slurm.missing()), reason=f"no Slurm can be started: {one_node_slurm.missing()}"),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def node(tmp_path_factory):
    with one_node_slurm.slurm(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(jobs, "SLOW_POLL_S", 1.0)
    monkeypatch.setattr(jobs, "GONE_S", 10.0)


def shown(job):
    return subprocess.run(["scontrol", "show", "job", job["id"]], capture_output=True, text=True, check=True).stdout


def test_each_notebook_a_job(project, capfd):
    assert cli.main(["run", RECORD, "--on", "slurm:cores=1,memory=1GB,walltime=00:10:00", "--split"]) == 0, (
        capfd.readouterr()
    )
    run = runs.open_run("tiny")
    assert run.info["state"] == "done" and [job["code"] for job in record_of(run)["jobs"]] == [0, 0, 0]
    names = [f"geonb-{run.name.partition('_')[2]}-{step}" for step in (1, 2, 3)]
    for name, job in zip(names, record_of(run)["jobs"], strict=True):
        assert (run.path / "jobs" / f"{name}-{job['id']}.out").is_file()
        told = wait(lambda job=job: "JobState=COMPLETED" in shown(job) and shown(job))
        assert f"JobName={name}" in told and "TimeLimit=00:10:00" in told


def test_whatever_the_folder_is_called(project, monkeypatch, capfd):
    other = project / "a b'\"#ü%j$HOME"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(other.name))
    monkeypatch.chdir(other)
    assert cli.main(["run", RECORD, "--on", "slurm:cores=1,memory=1GB,walltime=00:10:00"]) == 0, capfd.readouterr()
    run = runs.open_run("tiny")
    name = f"geonb-{run.name.partition('_')[2]}-1-2-3-{record_of(run)['jobs'][0]['id']}.out"
    assert run.path.is_relative_to(other) and run.info["state"] == "done" and (run.path / "jobs" / name).is_file()


def test_a_job_whose_time_is_over_goes_on_by_itself(project, capfd):
    code = cli.main(["run", RECORD, "--on", "slurm:cores=1,memory=1GB,walltime=00:01:00,warn=35", "-p", "mode=later"])
    run, printed = runs.open_run("tiny"), capfd.readouterr().out
    assert code == 0 and run.info["state"] == "done", printed
    assert [job["code"] for job in record_of(run)["jobs"]] == [5, 0] and "is over in 35 s" in printed


def test_cancelled_by_us_or_by_scancel_no_kernel_stays(project, capfd):
    for ours in (True, False):
        assert (
            cli.main(
                ["run", RECORD, "--on", "slurm:cores=1,memory=1GB,walltime=00:10:00", "--detach", "-p", "mode=sleep"]
            )
            == 0
        )
        run, pid = runs.open_run("tiny"), project / "notebooks" / "kernel.pid"
        wait(
            lambda run=run: (run.path / "log.txt").is_file() and "about to sleep" in (run.path / "log.txt").read_text()
        )
        kernel = int(pid.read_text())
        assert cli.main(["status"]) == 0 and "RUNNING" in capfd.readouterr().out
        if ours:
            assert cli.main(["cancel", run.name]) == 0
        else:
            subprocess.run(["scancel", record_of(run)["jobs"][-1]["id"]], check=True)
            assert jobs.follow(run) == 5  # told to stop by somebody, it does not come back
        assert not psutil.pid_exists(kernel) and run.info["state"] == "stopped" and len(record_of(run)["jobs"]) == 1


def test_what_slurm_refuses_is_told_in_its_words(project, capfd):
    assert cli.main(["run", RECORD, "--on", "slurm:queue=nowhere"]) == 2
    assert "invalid partition specified: nowhere" in capfd.readouterr().err
    assert cli.main(["run", RECORD, "--on", "slurm:gpus=1"]) == 2
    assert "gres" in capfd.readouterr().err.lower()


def test_a_node_that_kills_the_job_is_told_of(project, capfd):
    assert cli.main(["run", RECORD, "--on", "slurm:cores=1,memory=1GB", "--detach", "-p", "mode=sleep"]) == 0
    run = runs.open_run("tiny")
    os.kill(wait(lambda: run.info.get("pid")), 9)
    assert jobs.follow(run) == 4 and "did not say how it ended" in capfd.readouterr().out


def queued():
    return subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=True).stdout.split()


def test_dask_workers_are_jobs_that_follow_one_another_and_end_with_us(tmp_path, monkeypatch):
    """One is cancelled meanwhile, as by its walltime: the next does its task again."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    with cluster.dask_client("slurm:jobs=1,cores=1,memory=500MB,walltime=00:10:00") as client:
        assert list(cluster.spread(operator.mul, [(i, 2) for i in range(4)], client, tmp_path)) == [0, 2, 4, 6]
        jobs_there = queued()
        assert len(jobs_there) == 1 and list((tmp_path / "data" / ".workers").iterdir())
        results = cluster.spread(operator.mul, [(i, 3) for i in range(4)], client, tmp_path)
        assert next(results) == 0
        subprocess.run(["scancel", *jobs_there], check=True)
        assert list(results) == [3, 6, 9]
        assert list(cluster.spread(operator.mul, [(5, 5)], client, tmp_path)) == [25]
    wait(lambda: not queued())
