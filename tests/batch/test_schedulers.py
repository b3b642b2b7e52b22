"""What is asked of a scheduler, and what it answers; its commands are stood in for by scripts that answer as the real ones do."""

import time

import dask
import pytest

from geonb.base import resources
from geonb.batch import schedulers

PBS = """Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
1234.pbs01        geonb-calm-owl   anna              00:01:02 {state} workq
"""
SGE = """job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
     17 0.55500 geonb-calm anna         {state}     11/29/2026 08:00:00 main.q@node1                       1
    171 0.55500 other      anna         r     11/29/2026 08:00:00 main.q@node1                       1
"""


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Put commands first in PATH: name -> (exit code, text); each writes what it was called with into NAME.calls."""

    def place(**answers):
        for name, (code, text) in answers.items():
            (tmp_path / f"{name}.text").write_text(text)
            (tmp_path / name).write_text(
                f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.calls\n/bin/cat {tmp_path}/{name}.text\nexit {code}\n'
            )
            (tmp_path / name).chmod(0o755)
        return tmp_path

    monkeypatch.setenv("PATH", str(tmp_path))  # a real scheduler may be installed
    return place


def asked(text):
    on, given = schedulers.check_on(text)
    return on, schedulers.settled(on, given)


def test_a_script_asks_for_what_was_said(tmp_path):
    on, wanted = asked("slurm:walltime=1-08:00:00,memory=16GiB,cores=4,gpus=2,queue=gpu,account=geo")
    text = schedulers.script(on, wanted, "geonb-calm-owl-2", "exec true", tmp_path)
    for line in (
        "-J geonb-calm-owl-2",
        "-p gpu",
        "-A geo",
        "--cpus-per-task=4",
        "--mem=16G",
        "-t 1-08:00:00",
        "--gres=gpu:2",
    ):
        assert f"#SBATCH {line}\n" in text, line
    assert text.startswith("#!/usr/bin/env bash\n") and text.endswith("\nexec true\n") and "dask" not in text
    on, wanted = asked("pbs:walltime=08:00:00,memory=16GiB,cores=4,gpus=2,queue=gpu,account=geo")
    text = schedulers.script(on, wanted, "geonb-calm-owl-2", "exec true", tmp_path)
    for line in (
        "-N geonb-calm-owl-2",
        "-q gpu",
        "-A geo",
        "-l select=1:ncpus=4:mem=16384MB:ngpus=2",
        "-l walltime=08:00:00",
    ):
        assert f"#PBS {line}\n" in text, line
    on, wanted = asked("sge:walltime=08:00:00,gpus=1,account=geo")
    text = schedulers.script(on, wanted, "geonb-calm-owl-2", "exec true", tmp_path)
    for line in ("-N geonb-calm-owl-2", "-P geo", "-l h_rt=08:00:00", "-l gpu=1", "-cwd"):
        assert f"#$ {line}\n" in text, line


def test_several_nodes_are_one_task_on_each(tmp_path):
    on, wanted = asked("slurm:nodes=3,gpus=4,cores=8")
    with dask.config.set({"jobqueue.slurm.job-directives-skip": ["--mem"]}):
        text = schedulers.script(on, wanted, "geonb-calm-n 1", "exec true", tmp_path)
    asks = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {
        "#SBATCH --nodes=3",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --gres=gpu:4",
    } <= set(asks)
    assert "#SBATCH -n 1" not in asks and not any("--mem" in line for line in asks)
    assert "#SBATCH -n 1\n" in schedulers.script(*asked("slurm:nodes=1"), "geonb-calm-owl-2", "exec true", tmp_path)


def test_the_sites_configuration_stands_where_the_run_says_nothing(tmp_path):
    site = {
        "jobqueue.slurm.queue": "short", "jobqueue.slurm.walltime": "02:00:00", "jobqueue.slurm.cores": 6, "jobqueue.slurm.memory": "12GiB",
        "jobqueue.slurm.job-script-prologue": ["module load python"], "jobqueue.slurm.job-extra-directives": ["--exclusive"],
    }  # fmt: skip
    asked("slurm")
    with dask.config.set(site):
        on, wanted = asked("slurm:queue=long")
        text = schedulers.script(on, wanted, "n", "exec true", tmp_path)
    lines = text.splitlines()
    assert "#SBATCH -p long" in lines and "#SBATCH -t 02:00:00" in lines and "#SBATCH --cpus-per-task=6" in lines
    assert "#SBATCH --exclusive" in lines and lines[-2:] == ["module load python", "exec true"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slum", "Did you mean 'slurm'"),
        ("slurm:walltime=30", "HH:MM:SS"),
        ("slurm:walltime=99:99:99", "HH:MM:SS"),
        ("slurm:memory=16", "a size with its unit"),
        ("slurm:memory=much", "a size with its unit"),
        ("slurm:gpus=-1", "a whole number of 0 or more"),
        ("slurm:gpu=1", "Did you mean 'gpus'"),
        ("slurm:account=2024-05", "account = .* must be a name: put it in quotes"),
        ("slurm:queue=1e5", "queue = .* must be a name: put it in quotes"),
    ],
)
def test_what_cannot_be_asked_for_is_told(text, says):
    with pytest.raises(ValueError, match=says):
        schedulers.check_on(text)


def test_a_directive_names_the_folder_whatever_it_is_called(tmp_path):
    text = schedulers.script(*asked("slurm"), "n", "exec true", tmp_path / 'a "b" %j')
    assert f'#SBATCH -e "{tmp_path}/a \\"b\\" %%j"/n-%J.err' in text.splitlines()
    assert f"#SBATCH -e {tmp_path}/n-%J.err" in schedulers.script(*asked("slurm"), "n", "exec true", tmp_path)


def test_names_that_look_like_numbers_stay_as_they_were_written():
    wanted = asked("slurm:account='2024-05',queue=007")[1]
    assert (wanted["account"], wanted["queue"]) == ("2024-05", "007")


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:30:00", 1800), ("1-02:03:04", 93784), ("30", None), ("UNLIMITED", None), (None, None)]
)
def test_walltime_in_seconds(text, seconds):
    assert resources.seconds_of(text) == seconds


def test_an_id_is_read_and_a_refusal_is_told_in_the_schedulers_words(commands, tmp_path):
    folder = commands(sbatch=(0, "Submitted batch job 4711\n"), qsub=(0, "1234.pbs01\n"))
    assert (
        schedulers.submit("slurm", tmp_path / "a.sh") == "4711"
        and schedulers.submit("pbs", tmp_path / "a.sh") == "1234.pbs01"
    )
    assert (folder / "sbatch.calls").read_text() == f"{tmp_path}/a.sh\n"
    commands(qsub=(0, 'Your job 17 ("geonb-calm") has been submitted\n'))
    assert schedulers.submit("sge", tmp_path / "a.sh") == "17"
    commands(sbatch=(1, "sbatch: error: Batch job submission failed: Invalid account\n"))
    with pytest.raises(ValueError, match="Invalid account"):
        schedulers.submit("slurm", tmp_path / "a.sh")
    (folder / "sbatch").unlink()
    with pytest.raises(ValueError, match="no sbatch on this machine"):
        schedulers.submit("slurm", tmp_path / "a.sh")


def test_a_scheduler_that_can_tell_is_asked_whether_it_would_take_a_script(commands, tmp_path):
    folder = commands(sbatch=(0, "sbatch: Job 7 to start at 2026-11-29T16:32:57\n"), qsub=(1, "not asked\n"))
    for on in ("slurm", "pbs", "sge", "local"):
        schedulers.check_script(on, tmp_path / "a.sh")
    assert (folder / "sbatch.calls").read_text() == f"--test-only {tmp_path}/a.sh\n" and not (
        folder / "qsub.calls"
    ).exists()
    commands(sbatch=(1, "sbatch: error: Invalid generic resource (gres) specification\n"))
    with pytest.raises(ValueError, match="Invalid generic resource"):
        schedulers.check_script("slurm", tmp_path / "a.sh")
    commands(sbatch=(1, "allocation failure: Requested nodes are busy\n"))
    schedulers.check_script("slurm", tmp_path / "a.sh")  # it would wait, as jobs do


def test_states_are_the_schedulers_own(commands):
    commands(squeue=(0, "PENDING Resources\n"), qstat=(0, PBS.format(state="R")))
    assert (
        schedulers.state("slurm", "4711") == "PENDING Resources" and schedulers.state("pbs", "1234.pbs01") == "running"
    )
    commands(
        squeue=(1, "slurm_load_jobs error: Invalid job id specified\n"),
        qstat=(153, "qstat: Unknown Job Id 1234.pbs01\n"),
    )
    assert schedulers.state("slurm", "4711") == schedulers.state("pbs", "1234.pbs01") == ""
    commands(squeue=(0, "COMPLETED None\n"), qstat=(0, PBS.format(state="R").replace("1234.pbs01 ", "1234.pbs-lo*")))
    assert (
        schedulers.state("slurm", "4711") == ""
        and schedulers.state("pbs", "1234.pbs01") == "running"
        and schedulers.state("pbs", "123") == ""
    )
    commands(squeue=(0, "RUNNING None\n"))
    assert schedulers.state("slurm", "4711") == "RUNNING", "None is its word for no reason"
    commands(squeue=(0, ""), qstat=(0, PBS.format(state="F")))
    assert schedulers.state("slurm", "4711") == schedulers.state("pbs", "1234.pbs01") == ""
    commands(qstat=(0, SGE.format(state="qw")))
    assert (
        schedulers.state("sge", "17") == "queued"
        and schedulers.state("sge", "1") == ""
        and schedulers.state("sge", "171") == "running"
    )
    commands(squeue=(1, "slurm_load_jobs error: Unable to contact slurm controller\n"))
    with pytest.raises(ValueError, match="Unable to contact"):
        schedulers.state("slurm", "4711")  # no answer is not the same as no job


def test_a_number_that_the_system_gave_again_is_no_job_of_ours(tmp_path):
    """A stranger's process is neither told of as ours nor ended."""
    import subprocess

    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            old = f"{stranger.pid}@1000000000.00"
            assert schedulers.state("local", old) == ""
            # of another scheduler, whose worker began a sweep before
            assert [schedulers.state("local", job) for job in (f"{stranger.pid}", "4711[].server")] == ["", ""]
            schedulers.cancel("local", old)
            assert stranger.poll() is None
        finally:
            stranger.kill()
    (tmp_path / "a.sh").write_text("sleep 60")
    job = schedulers.submit("local", tmp_path / "a.sh")
    assert schedulers.state("local", job) == "running"
    schedulers.cancel("local", job)
    until = time.monotonic() + 10
    while schedulers.state("local", job) and time.monotonic() < until:
        time.sleep(0.1)
    assert schedulers.state("local", job) == ""


@pytest.mark.parametrize("on", ["slurm", "pbs", "sge"])
def test_the_walltime_of_a_script_is_read_back(on, tmp_path):
    text = schedulers.script(
        *asked(f"{on}:walltime=08:30:00,memory=16GB,cores=4,gpus=1"), "geonb-calm-owl-2", "exec true", tmp_path
    )
    assert schedulers.walltime_in(text) == {"walltime": "08:30:00"}
    assert schedulers.walltime_in(text.replace("08:30:00", "09:00:00")) == {"walltime": "09:00:00"}
    assert schedulers.walltime_in("#!/bin/sh\nsleep -t 5\n") == {}


@pytest.mark.parametrize("line", ["#SBATCH --time=1-02:00:00", "#SBATCH --time 1-02:00:00", "#SBATCH -t1-02:00:00"])
def test_however_it_was_edited(line):
    assert schedulers.walltime_in(f"#!/bin/sh\n#SBATCH -t 00:30:00\n{line}\n") == {"walltime": "1-02:00:00"}
