"""Which run is meant by "latest": the newest that has what is needed, and what is said of the others."""

import ast
import json
import os
from pathlib import Path

import pytest
from tiny import RECORD

from geonb import registry, runs
from geonb.base.conventions import WORKLOADS
from geonb.runs import latest, plan
from geonb.runs import run as runs_run

pytest_plugins = ("tiny_fixtures",)  # project


def made(root, day, has=(), workload="tiny", **facts):
    run = runs.new_run(workload, {}, root)
    if "store" in has:
        (root / "data" / run.name).mkdir(parents=True)
        (root / "data" / run.name / "store.json").write_text("{}")
        facts["store"] = root / "data" / run.name
    if "model" in has:
        run.checkpoints.mkdir()
        (run.checkpoints / "model.json").write_text("{}")
    if "predictions" in has:
        run.predictions.mkdir()
        (run.predictions / "zarr.json").write_text(json.dumps({"attributes": {"complete": 1}}))
    run.update(started=f"2026-01-{day:02d}T00:00", **facts)
    return run


def running(step):
    return {"state": "running", **runs_run.this_process(), "steps": {step: {"state": "running"}}}


def test_the_newest_with_what_is_needed_is_taken_and_the_others_are_told(tmp_path, capsys):
    whole = made(tmp_path, 1, ("store", "model", "predictions"))
    trained = made(tmp_path, 2, ("store", "model"))
    trains = made(tmp_path, 3, ("store",), **running("02_training"))
    (trains.path / "log.csv").write_text("epoch\n1\n")
    failed = made(tmp_path, 4, steps={"01_dataset_tiny": {"state": "failed"}})
    by_hand = made(tmp_path, 5, ("store",))
    (by_hand.path / "log.csv").write_text("epoch\n1\n2\n")
    half = made(tmp_path, 6, ("store", "model"))
    half.predictions.mkdir()
    (half.predictions / "zarr.json").write_text('{"attributes": {}}')  # begun, not sealed
    assert runs.open_run("tiny", root=tmp_path, needs=["predictions"]) == whole
    said = capsys.readouterr().out
    assert said.startswith(f"{whole.name}; newer runs were passed over. ")
    for run, why in (
        (half, "no predictions;"),
        (by_hand, "no predictions (training came to epoch 2);"),
        (failed, "no predictions (01_dataset_tiny failed);"),
        (trains, "no predictions (02_training is running);"),
        (trained, "no predictions"),
    ):
        assert f"{run.name}: {why}" in said
    broken = made(tmp_path, 7)
    (broken.path / "run.json").write_text('{"started": "2026-01-07T00:00", "state": 3}')
    assert runs.open_run("tiny", root=tmp_path, needs=["store", "model"]) == half
    assert runs.open_run("tiny", root=tmp_path) == half and not capsys.readouterr().out
    (half.store / "store.json").unlink()
    assert runs.open_run("tiny", root=tmp_path, needs=["store", "model"]) == trained
    assert f"{half.name}: no sample store;" in capsys.readouterr().out


def test_a_run_that_is_named_must_have_it_too(tmp_path):
    trained, other = (
        made(tmp_path, 1, ("store", "model")),
        made(tmp_path, 2, steps={"02_training": {"state": "failed"}}),
    )
    assert runs.open_run("tiny", other.name, tmp_path) == other
    with pytest.raises(
        FileNotFoundError, match=rf"a trained model: no trained model \(02_training failed\).*{trained.name}"
    ):
        runs.open_run("tiny", other.name, tmp_path, ["model"])
    with pytest.raises(ValueError, match="Unknown need 'weights'"):
        runs.open_run("tiny", trained.name, tmp_path, ["weights"])


def test_where_none_would_do_those_of_other_workloads_are_listed(tmp_path):
    mine, theirs = made(tmp_path, 1, ("store",)), made(tmp_path, 2, ("model",), workload="other")
    with pytest.raises(FileNotFoundError) as error:
        runs.open_run("tiny", root=tmp_path, needs=["model"])
    told = str(error.value)
    assert (
        f"has a trained model. {mine.name}: no trained model." in told
        and f"(set `workload`): other/{theirs.name}." in told
    )
    with pytest.raises(FileNotFoundError) as error:
        runs.open_run("tni", root=tmp_path)
    assert all(f" {name}" in str(error.value) for name in WORKLOADS) and "package.module:RECORD" in str(error.value)
    with pytest.raises(FileNotFoundError, match=f"There is other/{theirs.name}: set `workload`"):
        runs.open_run("tiny", theirs.name.partition("_")[2], tmp_path)


def test_steps_go_on_with_a_run_that_nobody_runs(project, capsys):
    done = {"state": "done", "parameters": {"lr": 0.1, "mode": "ok"}}
    older = made(project, 1, steps={"02_tiny": done})
    newer = made(project, 2, state="running", **runs_run.this_process(), steps={"02_tiny": done})
    failed = made(project, 3, steps={"02_tiny": done | {"state": "failed"}})
    assert plan.prepare(RECORD, steps="3").run == older
    said = capsys.readouterr().out
    assert (
        f"{failed.name}: 02_tiny is unfinished; {newer.name}: is being run by another process (pid {os.getpid()})"
        in said
    )


def test_a_training_that_another_process_runs_is_left_to_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    theirs = made(tmp_path, 1, training={"lr": 0.1}, **running("02_training"))
    mine = runs.start_run("tiny", lr=0.1)
    assert mine != theirs and f"{theirs.name} is being trained by another process" in capsys.readouterr().out
    assert runs.start_run("tiny", lr=0.1) == mine, "started later"
    theirs.checkpoints.mkdir()
    (theirs.checkpoints / "model.json").write_text("{}")
    theirs.update(started="2999-01-01T00:00")
    assert runs.start_run("tiny", lr=0.1) == theirs, "trained: its later steps do no harm"


@pytest.mark.parametrize("step", registry.SHARED_STEPS[1:])
def test_a_notebook_asks_for_what_its_step_asks_for(step):
    cells = json.loads((Path(__file__).parents[2] / "notebooks" / f"{step}.ipynb").read_text())["cells"]
    line = next(line for cell in cells for line in cell["source"] if "open_run" in line)
    asked = ast.literal_eval(line.partition("needs=")[2].strip().removesuffix(")"))
    assert tuple(asked) == plan.NEEDS[int(step[:2])] and set(asked) <= set(latest.NEEDS)
