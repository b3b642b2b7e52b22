"""Run folders: nobody shares one, facts are not lost, faults are told together."""

import json
import multiprocessing
from pathlib import Path

import pytest
import yaml

from geonb import runs


def made(root, **facts):
    run = runs.new_run("tiny", {"epochs": 3, "lr": None}, root)
    run.update(**facts)
    return run


def test_a_new_run_says_what_it_is(tmp_path):
    run = made(tmp_path)
    day, words = run.name.split("_")
    assert run.path == tmp_path / "runs" / "tiny" / run.name and len(day) == 10
    assert words.split("-")[0] in runs.ADJECTIVES.split() and words.split("-")[1] in runs.ANIMALS.split()
    assert yaml.safe_load((run.path / "parameters.yaml").read_text()) == {"epochs": 3, "lr": None} == run.parameters
    environment = (run.path / "environment.txt").read_text()
    assert "# python 3" in environment and "\nnumpy==" in environment and "# device: " in environment
    assert runs.check_run(run)["state"] == "interactive" and run.store is None
    assert not list(run.path.glob("*.partial*"))


def test_names_never_collide(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ADJECTIVES", "calm")
    monkeypatch.setattr(runs, "ANIMALS", "heron owl")
    assert {made(tmp_path).name.split("_")[1] for _ in range(2)} == {"calm-heron", "calm-owl"}
    with pytest.raises(PermissionError, match="no free name"):
        made(tmp_path)


def _count(path, key):
    for i in range(20):
        runs.Run(Path(path)).update(**{f"{key}{i}": i})


def test_two_writers_lose_nothing(tmp_path):
    run = made(tmp_path)
    writers = [multiprocessing.get_context("fork").Process(target=_count, args=(run.path, key)) for key in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert {f"{k}{i}" for k in "ab" for i in range(20)} <= set(run.info)


def test_steps_merge_and_paths_are_kept_relative(tmp_path):
    run = made(tmp_path, store=tmp_path / "data/tiny/x-1", steps={"01": {"state": "running"}})
    run.update(steps={"01": {"seconds": 2.5}, "02": {"state": "done"}})
    assert run.info["steps"] == {"01": {"state": "running", "seconds": 2.5}, "02": {"state": "done"}}
    assert run.info["store"] == "data/tiny/x-1" and run.store == tmp_path / "data/tiny/x-1"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    run = made(tmp_path, headline={"metric": "m", "value": 1})
    monkeypatch.setattr(runs.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        run.update(headline=None)
    assert run.info["headline"]["value"] == 1 and not list(run.path.glob("*.partial*"))


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(PermissionError, match="Cannot write a run folder"):
        made(tmp_path)


def test_open_run_by_every_kind_of_name(tmp_path):
    first, last = made(tmp_path, started="2026-01-01T00:00"), made(tmp_path, started="2026-01-02T00:00")
    for name in (last.name, last.name.split("_")[1], last.path, str(last.path.relative_to(tmp_path)), "latest"):
        assert runs.open_run("tiny", name, tmp_path) == last
    assert runs.find_run(first.name.split("_")[1], tmp_path) == first and runs.find_run("latest", tmp_path) == last
    with pytest.raises(FileNotFoundError, match=f"No run 'nope'.*{first.name}"):
        runs.open_run("tiny", "nope", tmp_path)
    with pytest.raises(FileNotFoundError, match="geonb run other"):
        runs.open_run("other", root=tmp_path)


def test_start_run_goes_on_with_the_same_settings_and_samples_only(tmp_path, monkeypatch):
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    first = runs.start_run("tiny", lr=0.1, store=None)
    assert runs.start_run("tiny", lr=0.1, store=None) == first
    assert runs.start_run("tiny", lr=0.2, store=None) != first
    (tmp_path / "data/tiny/a").mkdir(parents=True)
    (tmp_path / "data/tiny/a/store.json").write_text("{}")
    first.update(store=tmp_path / "data/tiny/a")
    assert runs.start_run("tiny", lr=0.1, store=None) == first
    (tmp_path / "data/tiny/b").mkdir()
    (tmp_path / "data/tiny/b/store.json").write_text("{}")
    assert runs.start_run("tiny", lr=0.1, store=None) != first, "a newer sample store is another experiment"
    assert runs.start_run("tiny", first.name, lr=0.9) == first and first.info["training"] == {"lr": 0.9}


def test_check_run_lists_every_fault(tmp_path):
    run = made(tmp_path, state="odd", store="data/gone", steps={"01_x": {"state": "done"}, "02_y": {"state": "?"}})
    (run.path / "environment.txt").unlink()
    with pytest.raises(ValueError, match="not right") as error:
        runs.check_run(run.path)
    for fault in ("environment.txt", "'odd'", "data/gone", "01_x.ipynb is missing", "'?'"):
        assert fault in str(error.value)
    (run.path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        runs.check_run(run.path)
    with pytest.raises(ValueError, match=r"No run\.json"):
        runs.check_run(tmp_path)


def test_the_table_shows_broken_runs_and_sorts_best_first(tmp_path):
    for value, lr in ((0.5, 0.1), (0.7, 0.2), (0.6, 0.3)):
        headline = {
            "metric": "mean_iou",
            "value": value,
            "low": value - 0.1,
            "high": 1,
            "baseline": "majority",
            "baseline_value": 0.2,
        }
        made(tmp_path, headline=headline, steps={"02": {"state": "done", "seconds": 60, "parameters": {"lr": lr}}})
    (tmp_path / "runs" / "tiny" / "junk").mkdir()
    broken = made(tmp_path)
    (broken.path / "run.json").write_text("{")
    table = runs.table(tmp_path, sort="mean_iou")
    assert table["mean_iou"].tolist()[:3] == [0.7, 0.6, 0.5] and table["lr"].tolist()[:3] == [0.2, 0.3, 0.1]
    assert table["state"].tolist().count("broken") == 2 and table["majority"][0] == 0.2 and table["minutes"][0] == 1
    assert runs.table(tmp_path, query="lr > 0.15 and mean_iou < 0.65")["lr"].tolist() == [0.3]
    assert runs.table(tmp_path, sort="lr")["lr"].tolist()[0] == 0.1
    with pytest.raises(ValueError, match=r"Columns: .*mean_iou"):
        runs.table(tmp_path, sort="miou")
    assert runs.table(tmp_path / "empty").empty


def test_project_root(tmp_path, monkeypatch):
    monkeypatch.delenv("GEONB_ROOT", raising=False)
    with pytest.raises(FileNotFoundError, match="checkout"):
        runs.project_root(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    assert runs.project_root(tmp_path / "notebooks") == tmp_path
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path / "notebooks"))
    with pytest.raises(FileNotFoundError, match="GEONB_ROOT"):
        runs.project_root()


def test_run_json_is_plain_json(tmp_path):
    np = pytest.importorskip("numpy")
    run = made(tmp_path, headline={"value": np.float32(0.5)})
    assert json.loads((run.path / "run.json").read_text())["headline"]["value"] == 0.5
