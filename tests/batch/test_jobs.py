"""Runs as jobs, on this machine: chained, stopped before their walltime and gone on with, cancelled, lost, refused."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from queued import HERE, record_of, wait
from tiny import RECORD

from geonb import cli, runs
from geonb.batch import jobs, schedulers
from geonb.runs import runner

pytest_plugins = ("tiny_fixtures",)  # project
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(400)]


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """Jobs find the geonb under test."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def over(run):
    return wait(lambda: record_of(run)["ended"] is not None) and record_of(run)


def test_each_notebook_a_job_and_what_they_print_is_seen(project, capfd):
    assert cli.main(["run", RECORD, "--on", "local", "--split", "-p", "lr=0.5"]) == 0
    run, printed = runs.open_run("tiny"), capfd.readouterr().out
    assert run.info["state"] == "done" and [step["state"] for step in run.info["steps"].values()] == ["done"] * 3
    record = record_of(run)
    assert [piece["steps"] for piece in record["pieces"]] == [[1], [2], [3]] and [
        job["code"] for job in record["jobs"]
    ] == [0, 0, 0]
    assert len({job["id"] for job in record["jobs"]}) == 3
    assert "epoch 2 of 2, lr 0.5" in printed and "03_tiny" in printed and "Report: " in printed
    assert cli.main(["status"]) == 0 and "No run has a job" in capfd.readouterr().out
    assert cli.main(["status", "--all"]) == 0 and run.name in capfd.readouterr().out


def test_steps_that_need_the_same_are_one_job(project, capfd):
    assert cli.main(["run", RECORD, "--on", "local", "--job", "3:walltime=01:00:00", "--dry-run"]) == 0
    run, printed = runs.open_run("tiny"), capfd.readouterr().out
    assert [piece["steps"] for piece in record_of(run)["pieces"]] == [[1, 2], [3]]
    assert "Nothing was submitted" in printed and "geonb.cli job" in printed and run.info["state"] == "stopped"
    script = run.path / "jobs" / "1-2.sh"
    script.write_text(script.read_text().replace("cd ", "export GEONB_EDITED=1\ncd "))
    assert (
        cli.main(["run", RECORD, "--resume", run.name, "--on", "local", "--job", "3:walltime=01:00:00", "--dry-run"])
        == 0
    )
    assert "GEONB_EDITED" in script.read_text() and "was edited" in capfd.readouterr().out


def test_the_line_that_a_dry_run_ends_with_asks_for_the_same_jobs(project, capfd):
    asked = ["--on", "local:scratch=$TMPDIR", "--job", "2:walltime=01:00:00", "--split", "--steps", "1-2"]
    assert cli.main(["run", RECORD, *asked, "--cell-timeout", "900", "--dry-run"]) == 0
    run = runs.open_run("tiny")
    script, before = run.path / "jobs" / "2.sh", record_of(run)
    script.write_text(script.read_text().replace("cd ", "export GEONB_EDITED=1\ncd "))
    line = shlex.split(capfd.readouterr().out.splitlines()[-1].rpartition("then: ")[2])
    assert line[:5] == ["geonb", "run", RECORD, "--resume", run.name.partition("_")[2]]
    assert cli.main([*line[1:], "--dry-run"]) == 0 and f"{script} was edited, and is taken" in capfd.readouterr().out
    assert record_of(run) == before
    assert cli.main(["run", RECORD, "--resume", run.name, "--on", "local", "--dry-run"]) == 0
    assert f"{script} was edited, and is not used" in capfd.readouterr().out


def test_a_run_that_somebody_runs_is_given_no_jobs(project, capfd, monkeypatch):
    assert cli.main(["run", RECORD, "--on", "local", "--dry-run"]) == 0
    run, asked = (
        runs.open_run("tiny"),
        ["run", RECORD, "--resume", "latest", "--on", "local", "--dry-run", "-p", "lr=0.7"],
    )
    monkeypatch.setattr(runner, "LOCK_WAIT_S", 0)
    with runner.locked(run):
        assert cli.main(asked) == 2 and "is being run by another process" in capfd.readouterr().err
    assert run.parameters["lr"] == 0.1, "theirs go on by what they were asked for"
    assert cli.main(asked) == 0 and run.parameters["lr"] == 0.7


def test_what_was_never_submitted_is_not_cancelled(project, capfd):
    assert cli.main(["run", RECORD, "--on", "local", "--split", "--dry-run"]) == 0
    assert cli.main(["cancel", runs.open_run("tiny").name]) == 2
    told = capfd.readouterr().err
    assert "nothing of it was submitted" in told and told.strip().endswith("--on local --split")


@pytest.mark.slow
def test_a_script_that_was_edited_is_kept_whatever_was_asked_between(project, capfd):
    """It does its own steps, too, in a chain of which it is another part."""
    assert cli.main(["run", RECORD, "--on", "local", "--split", "--dry-run"]) == 0
    run = runs.open_run("tiny")
    script = run.path / "jobs" / "2.sh"
    script.write_text(script.read_text().replace("cd ", "export GEONB_MINE=1\ncd "))
    again = ["run", RECORD, "--resume", run.name]
    assert cli.main([*again, "--on", "local", "--steps", "1"]) == 0
    assert cli.main([*again, "--on", "local", "--steps", "2-3", "--split"]) == 0, capfd.readouterr()
    assert "GEONB_MINE" in script.read_text()
    assert [step["state"] for step in run.info["steps"].values()] == ["done"] * 3
    assert [job["code"] for job in record_of(run)["jobs"]] == [0, 0]


def test_a_job_that_is_nearly_over_stops_and_goes_on_by_itself(project, capfd):
    code = cli.main(["run", RECORD, "--on", "local:walltime=00:00:30,warn=12", "-p", "mode=later"])
    run, printed = runs.open_run("tiny"), capfd.readouterr().out
    assert code == 0 and run.info["state"] == "done", printed
    record = record_of(run)
    assert [job["code"] for job in record["jobs"]] == [5, 0] and "is over in 12 s" in printed
    assert "done before" in printed  # the first step did not run again


@pytest.mark.slow
def test_jobs_that_come_no_further_end(project, capfd):
    code = cli.main(["run", RECORD, "--on", "local:walltime=00:00:26,warn=12", "-p", "mode=sleep"])
    run = runs.open_run("tiny")
    assert code == 5 and run.info["state"] == "stopped" and 2 <= len(record_of(run)["jobs"]) <= 3
    assert "came no further" in capfd.readouterr().out and "came no further" in record_of(run)["message"]


def test_cancelled_it_leaves_no_kernel_and_can_be_gone_on_with(project, capfd):
    assert cli.main(["run", RECORD, "--on", "local", "--detach", "-p", "mode=sleep"]) == 0
    run = runs.open_run("tiny")
    pid = project / "notebooks" / "kernel.pid"
    kernel = int(wait(lambda: pid.is_file() and pid.read_text()))
    wait(lambda: "about to sleep" in (run.path / "log.txt").read_text())
    with pytest.raises(ValueError, match="has a job already"):
        jobs._refuse_busy(run, record_of(run))
    assert cli.main(["status"]) == 0 and "running" in capfd.readouterr().out
    assert cli.main(["cancel", run.name]) == 0 and "is cancelled" in capfd.readouterr().out
    assert not psutil.pid_exists(kernel) and run.info["state"] == "stopped" and len(record_of(run)["jobs"]) == 1
    assert cli.main(["cancel", run.name]) == 2 and "ended before" in capfd.readouterr().err
    assert cli.main(["run", RECORD, "--resume", run.name, "--on", "local", "-p", "mode=ok"]) == 0
    assert run.info["state"] == "done" and "past ok" in (run.path / "log.txt").read_text(), "as it was asked this time"


def test_the_terminal_that_submitted_may_close(project):
    """The whole session of a login shell is hung up and killed; the job goes on."""
    command = f"{sys.executable} -m geonb.cli run {RECORD} --on local -p mode=later; sleep 100"
    (project / "notebooks" / "been.here").touch()
    shell = subprocess.Popen(
        ["bash", "-c", command],
        start_new_session=True,
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    run = wait(
        lambda: next(
            (
                runs.Run(p.parents[1])
                for p in project.glob("runs/tiny/*/jobs/jobs.json")
                if json.loads(p.read_text())["jobs"]
            ),
            None,
        )
    )
    os.killpg(shell.pid, signal.SIGHUP)
    time.sleep(0.5)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    assert over(run)["ended"] == 0 and run.info["state"] == "done"


def test_a_cell_that_fails_ends_the_chain(project, capfd):
    assert cli.main(["run", RECORD, "--on", "local", "--split", "-p", "mode=fail"]) == 3
    run = runs.open_run("tiny")
    assert run.info["state"] == "failed" and len(record_of(run)["jobs"]) == 2
    printed = capfd.readouterr().out
    assert "the loss became NaN" in printed and printed.count(record_of(run)["message"]) == 1


def test_a_job_that_was_killed_is_told_of(project, capfd):
    assert cli.main(["run", RECORD, "--on", "local", "--detach", "-p", "mode=sleep"]) == 0
    run = runs.open_run("tiny")
    wait(lambda: (run.path / "log.txt").is_file() and "about to sleep" in (run.path / "log.txt").read_text())
    os.kill(int(record_of(run)["jobs"][-1]["id"].partition("@")[0]), signal.SIGKILL)
    assert jobs.follow(run) == 4 and run.info["state"] == "died"
    assert "did not say how it ended" in capfd.readouterr().out


def test_where_nodes_may_not_submit_the_one_who_follows_does(project, capfd, monkeypatch):
    (project / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{project}/bin:{os.environ['PATH']}")
    assert cli.main(["run", RECORD, "--on", "local", "--split", "--dry-run"]) == 0
    run = runs.open_run("tiny")
    refused = schedulers.submit

    def refuse(on, file):
        raise ValueError("sbatch: error: not from compute nodes")

    monkeypatch.setattr(schedulers, "submit", refuse)
    assert jobs.work(run.path, "1") == 0 and record_of(run)["waiting"] == "sbatch: error: not from compute nodes"
    line = f"On a login node: geonb run tinyload:TINY --resume {run.name.partition('_')[2]} --on local --split"
    assert line in capfd.readouterr().out
    monkeypatch.setattr(schedulers, "submit", refused)
    assert jobs.follow(run) == 0 and run.info["state"] == "done" and len(record_of(run)["jobs"]) == 2


def test_a_scheduler_that_is_away_for_a_while_ends_nothing(project, capfd, monkeypatch):
    asked, state = [], schedulers.state

    def away(on, job):
        asked.append(job)
        if len(asked) < 3:
            raise ValueError("Unable to contact slurm controller")
        return state(on, job)

    monkeypatch.setattr(schedulers, "state", away)
    assert cli.main(["run", RECORD, "--on", "local"]) == 0
    assert capfd.readouterr().out.count("Unable to contact") == 1 and runs.open_run("tiny").info["state"] == "done"


def test_a_refused_submission_leaves_a_run_to_go_on_with(project, capfd, monkeypatch):
    def refuse(on, file):
        raise ValueError("sbatch took no job: Invalid account")

    monkeypatch.setattr(schedulers, "submit", refuse)
    assert cli.main(["run", RECORD, "--on", "local"]) == 2
    told, run = capfd.readouterr().err, runs.open_run("tiny")
    assert "Invalid account" in told and run.info["state"] == "stopped"
    assert str(run.path / "jobs") in told and f"--resume {run.name.partition('_')[2]} --on local" in told


def test_a_script_that_the_scheduler_would_not_take_is_told_before_the_first_job(project, capfd, monkeypatch):
    def check(on, file):
        if file.name == "2.sh":
            raise ValueError("sbatch: error: Invalid generic resource (gres) specification")

    monkeypatch.setattr(schedulers, "check_script", check)
    assert cli.main(["run", RECORD, "--on", "local", "--split"]) == 2
    told = capfd.readouterr().err
    assert "jobs/2.sh: sbatch: error: Invalid generic" in told and "jobs/1.sh" not in told
    assert not record_of(runs.open_run("tiny"))["jobs"]


def test_gpus_that_are_not_there_are_told_before_anything_is_computed(project, capfd, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert cli.main(["run", RECORD, "--on", "local:gpus=1", "--dry-run"]) == 0
    run = runs.open_run("tiny")
    assert jobs.work(run.path, "1-2-3") == 2 and not run.info["steps"] and record_of(run)["ended"] == 2
    assert "1 GPU(s) were asked for" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--on", "slum"], "Did you mean 'slurm'"),
        (["--detach"], "--detach: of jobs"),
        (["--on", "pbs"], "There is no qsub on this machine"),
        (["--on", "local", "--job", "9:gpus=1"], "the number of a step"),
        (["--on", "local", "--job", "2:gpu=1"], "Did you mean 'gpus'"),
        (["--on", "local", "--job", "gpus=1"], "the number of a step"),
    ],
)
def test_what_cannot_be_asked_for_makes_no_run(project, capfd, monkeypatch, arguments, says):
    monkeypatch.setenv("PATH", str(project))  # no scheduler is there
    assert cli.main(["run", RECORD, *arguments]) == 2
    assert says in capfd.readouterr().err and not list(project.glob("runs/tiny/*"))


@pytest.mark.parametrize(
    ("on", "job", "devices", "says"),
    [
        ("slurm", "2:cores=4", "2x4", "devices = '2x4' of step 2 is on 2 nodes, its job on 1: give --job 2:nodes=2,gpus=4"),
        ("slurm:nodes=2", "2:nodes=1", "cpu:2x1", "its job on 1: give --job 2:nodes=2"),
        ("pbs", "2:cores=4", "2x4", "on 2 nodes, its job on 1: that takes a job of Slurm"),
        ("local:gpus=1", "2:cores=4", 4, "devices = 4 of step 2 takes 4 GPUs of a node, its job asks for 1: give --job 2:gpus=4"),
        ("slurm", "2:nodes=2,gpus=4,scratch=$TMPDIR", "2x4", "$TMPDIR is a disk of one node, and several work on step 2: leave it out"),
    ],
)  # fmt: skip
def test_a_job_that_has_not_what_its_training_takes_is_refused(on, job, devices, says):
    name, asked = schedulers.check_on(on)
    steps = [SimpleNamespace(number=1, values={}), SimpleNamespace(number=2, values={"devices": devices})]
    resources = jobs.per_step([job], name, asked, [1, 2])
    (fault,) = jobs.faults(name, resources, steps)
    assert fault.endswith(says)


def test_a_job_that_has_what_its_training_takes():
    name, asked = schedulers.check_on("slurm")
    steps = [SimpleNamespace(number=2, values={"devices": "2x4"})]
    assert jobs.faults(name, jobs.per_step(["2:nodes=2,gpus=4"], name, asked, [2]), steps) == []
    # a site's own directives may ask for GPUs in their way
    assert jobs.faults(name, jobs.per_step(["2:nodes=2"], name, asked, [2]), steps) == []
