"""Runs that are worked on in a scratch folder: all comes back, also of those that are stopped or killed, and what is wrong is told."""

import os
import shutil
import signal
from types import SimpleNamespace

import psutil
import pytest
from queued import HERE, wait
from tiny import RECORD

from geonb import cli, runs
from geonb.base import files
from geonb.batch import jobs, staging

pytest_plugins = ("tiny_fixtures",)  # project


@pytest.fixture(autouse=True)
def found(monkeypatch, tmp_path_factory):
    """Jobs find the geonb under test, and a scratch folder."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    scratch = tmp_path_factory.mktemp("scratch")
    if shutil.disk_usage(scratch).free < 2 * staging.ROOM_BYTES:
        pytest.skip(f"{scratch} is on a disk with less than {2 * staging.ROOM_BYTES / 1e9:.1f} GB free")
    monkeypatch.setenv("SCRATCH_HERE", str(scratch))
    return scratch


@pytest.fixture
def run(project):
    path = project / "runs" / "tiny" / "2026-01-01_calm-owl"
    (path / "checkpoints").mkdir(parents=True)
    files.write_json(
        path / "run.json",
        {
            "name": path.name,
            "workload": "tiny",
            "record": RECORD,
            "state": "queued",
            "started": "2026-01-01",
            "steps": {},
        },
    )
    (path / "predictions").mkdir()
    (path / "predictions" / "0").write_text("old")
    (path / "predictions" / "1").write_text("goes")
    (path / "old-maps" / "deep").mkdir(parents=True)
    (path / "old-maps" / "deep" / "a.tif").write_text("goes with its folders")
    return runs.run.Run(path)


def test_what_is_made_changed_and_removed_comes_home_and_nothing_stays_there(run, found, project):
    (project / "images").mkdir()
    (project / "images" / "a.tif").write_text("pixels")
    with staging.staged(run, "$SCRATCH_HERE") as place:
        assert place.root.is_relative_to(found) and (place.root / "images" / "a.tif").read_text() == "pixels"
        (place.root / "data" / "tiny").mkdir()  # samples are everybody's: they are made at home
        (place.run.path / "predictions" / "0").write_text("new")
        (place.run.path / "predictions" / "1").unlink()
        shutil.rmtree(place.run.path / "old-maps")
        (place.run.path / "maps" / "deep").mkdir(parents=True)
        (place.run.path / "maps" / "deep" / "a.tif").write_text("map")
        (place.run.path / "maps" / "a.tif.12345678.partial").write_text("half")
        place.run.update(state="done")
        (run.path / "notes.txt").write_text("somebody's own, meanwhile")
        (run.path / "predictions" / "by-hand").mkdir()
        assert (run.path / "predictions" / "0").read_text() == "old" and run.info["state"] == "queued"
        assert (place.run.path / "jobs").resolve() == run.path / "jobs"
    assert (run.path / "predictions" / "0").read_text() == "new" and not (run.path / "predictions" / "1").exists()
    assert (run.path / "notes.txt").read_text() == "somebody's own, meanwhile" and (
        run.path / "predictions" / "by-hand"
    ).is_dir()
    assert not (run.path / "old-maps").exists()
    assert (run.path / "maps" / "deep" / "a.tif").read_text() == "map" and run.info["state"] == "done"
    assert (
        list(run.path.rglob("*.partial*")) == []
        and list(found.iterdir()) == []
        and (project / "data" / "tiny").is_dir()
    )
    with staging.staged(run, None) as place:
        assert place.run is run and place.named(str(run.path)) == str(run.path)


def test_of_a_training_nothing_comes_home_that_tells_of_what_is_not_there(run, monkeypatch):
    """Whatever is written between two copies, home never has a last checkpoint without its best ones and its row of the log."""
    with staging.staged(run, "$SCRATCH_HERE") as place:
        here, epoch = place.run, 0

        def train():
            nonlocal epoch
            epoch += 1
            with (here.path / "log.csv").open("a") as log:
                log.write(f"{epoch}\n")
            for name in ("best-loss.ckpt", "last.ckpt"):
                (here.checkpoints / name).write_text(str(epoch).rjust(epoch))

        train()
        plain = staging._bring
        monkeypatch.setattr(staging, "_bring", lambda file, there: (plain(file, there), train()))
        place.bring_training()
        monkeypatch.setattr(staging, "_bring", plain)
        last, best = (int((run.checkpoints / f"{name}.ckpt").read_text()) for name in ("last", "best-loss"))
        assert 1 == last <= best <= len((run.path / "log.csv").read_text().split())


@pytest.mark.notebook
@pytest.mark.timeout(400)
def test_a_job_in_scratch_makes_what_one_at_home_makes(project, found, capfd):
    (project / "table.csv").write_text("rows\n3\n")
    asked = ["--on", "local:scratch=$SCRATCH_HERE", "--split", "-p", "table=table.csv"]
    assert cli.main(["run", RECORD, *asked]) == 0, capfd.readouterr()
    run, printed = runs.open_run("tiny"), capfd.readouterr().out
    assert (
        run.info["state"] == "done" and run.info["steps"]["03_tiny"]["state"] == "done" and list(found.iterdir()) == []
    )
    assert printed.count("brings back") == 3 and f"Report: {run.path}/report.html" in printed
    assert all((run.notebooks / f"{name}.ipynb").is_file() for name in run.info["steps"])
    runs.check_run(run.path)
    for again in ([], asked):  # a file's name is the one at home, in whichever folder a job works
        assert cli.main(["run", RECORD, "--resume", run.name, *again]) == 0
        assert capfd.readouterr().out.count("skipped") == 3


@pytest.mark.notebook
@pytest.mark.timeout(400)
@pytest.mark.parametrize("hard", [False, True])
def test_stopped_or_killed_what_was_done_is_home(project, found, monkeypatch, hard):
    arguments = ["run", RECORD, "--on", "local:scratch=$SCRATCH_HERE", "-p", "mode=sleep"]
    assert cli.main([*arguments, "--detach"]) == 0
    run, pid = runs.open_run("tiny"), project / "notebooks" / "kernel.pid"
    there = wait(lambda: next(found.glob(f"geonb-{run.name}-*/runs/tiny/*/log.txt"), None))
    wait(lambda: "about to sleep" in there.read_text() and pid.is_file())
    assert run.info["steps"]["01_dataset_tiny"]["state"] == "done", "a step that is done is home at once"
    job, kernel = int(files.read_json(run.path / jobs.RECORD)["jobs"][-1]["id"].partition("@")[0]), int(pid.read_text())
    os.kill(job, signal.SIGKILL if hard else signal.SIGTERM)
    assert jobs.follow(run) == (4 if hard else 5)
    wait(lambda: not psutil.pid_exists(kernel))
    assert (run.notebooks / "01_dataset_tiny.ipynb").is_file() and bool(list(found.iterdir())) == hard
    assert hard or "about to sleep" in (run.path / "log.txt").read_text()
    assert cli.main(["run", RECORD, "--resume", run.name, "--on", "local:scratch=$SCRATCH_HERE", "-p", "mode=ok"]) == 0
    assert run.info["state"] == "done"


@pytest.mark.notebook
@pytest.mark.timeout(200)
def test_a_scratch_that_is_not_there_is_told_and_nothing_is_computed(project, capfd):
    assert cli.main(["run", RECORD, "--on", "local:scratch=$NOT_SET_HERE/x"]) == 2
    assert "scratch=$NOT_SET_HERE/x" in (told := capfd.readouterr().out) and "no folder there" in told
    assert runs.open_run("tiny").info["steps"] == {}


def test_a_scratch_that_is_full_is_told_before_and_on_the_way(run, found, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5e8))
    with (
        pytest.raises(ValueError, match=r"has 0\.5 GB free, and this run has 1\.1 GB"),
        staging.staged(run, "$SCRATCH_HERE"),
    ):
        pass
    assert list(found.iterdir()) == []
    monkeypatch.undo()


def test_what_cannot_be_brought_back_stays_and_is_told_of(run, found, monkeypatch):
    def full(file, there):
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(OSError, match="What could not be brought back lies in") as told,
        staging.staged(run, str(found)) as place,
    ):
        (place.run.path / "scores.csv").write_text("m")
        monkeypatch.setattr(staging, "_bring", full)
    assert (place.run.path / "scores.csv").is_file() and str(place.run.path) in str(told.value)
