"""What a run is to do: refused as a whole, or settled, before the first kernel starts."""

import pytest
from tiny import RECORD, WORKLOAD

from geonb import runs
from geonb.base import trust
from geonb.runs import plan

pytest_plugins = ("tiny_fixtures",)  # project, reported


def test_nothing_is_made_when_the_request_is_wrong(project):
    with pytest.raises(ValueError, match=r"(?s)epoch: unknown.*rows = 99.*1 to 10.*no such file: gone\.csv"):
        plan.prepare(RECORD, {"epoch": 1, "rows": 99, "table": "gone.csv"})
    with pytest.raises(ValueError, match="Unknown workload 'nope'"):
        plan.prepare("nope")
    with pytest.raises(ValueError, match=r"'7' name no step.*03_tiny"):
        plan.prepare(RECORD, steps="1,7")
    (project / "p.yaml").write_text("epochz: 3")
    with pytest.raises(ValueError, match=r"(?s)epochz.*p\.yaml"):
        plan.prepare(RECORD, file=project / "p.yaml")
    (project / "notebooks" / "03_tiny.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match=r"03_tiny\.ipynb"):
        plan.prepare(RECORD)
    assert not (project / "runs").exists()


def test_precedence_and_the_recorded_parameters(project):
    (project / "p.yaml").write_text("rows: 4\nlr: 0.5")
    planned = plan.prepare(RECORD, texts={"lr": "1e-2"}, file=project / "p.yaml")
    assert [s.values for s in planned.steps] == [
        {"rows": 4, "table": None},
        {"lr": 0.01, "mode": "ok"},
        {"lr": 0.01},
    ]
    assert planned.run.parameters == {"rows": 4, "table": None, "lr": 0.01, "mode": "ok"}


@pytest.mark.parametrize(
    ("steps", "numbers"), [(None, "123"), ("1-2", "12"), ("1,3", "13"), ("2", "2"), (" 2 - 3 ", "23")]
)
def test_choosing_steps(steps, numbers):
    names = {f"0{n}_x": None for n in (1, 2, 3)}
    assert "".join(n[1] for n in plan.choose(names, steps)) == numbers


@pytest.mark.parametrize("steps", ["0", "3-1", "1-99999999999", "2-999999999", "9" * 5000, "a", "1-", "", "4"])
def test_steps_that_are_none(steps):
    with pytest.raises(ValueError, match="name no step"):
        plan.choose({f"0{n}_x": None for n in (1, 2, 3)}, steps)


def test_later_steps_without_a_run_say_what_is_missing(project):
    with pytest.raises(FileNotFoundError, match="No run yet"):
        plan.prepare(RECORD, steps="3")
    with pytest.raises(FileNotFoundError, match="begin with step 1"):
        plan.prepare(RECORD, steps="2")
    run = runs.new_run(RECORD, {}, project)
    run.update(steps={"02_tiny": {"state": "failed"}})
    with pytest.raises(ValueError, match="needs 02_tiny, unfinished"):
        plan.prepare(RECORD, steps="3")
    with pytest.raises(FileNotFoundError, match=run.name):
        plan.prepare(RECORD, resume="nope")


def test_training_does_not_go_on_in_a_run_without_its_samples(project):
    """Nor in an older one, of other samples: the last run is the one that is meant."""
    older = runs.new_run(RECORD, {}, project)
    older.update(store="data/tiny/x", steps={"01_dataset_tiny": {"state": "done"}})
    run = runs.new_run(RECORD, {}, project)
    run.update(steps={"01_dataset_tiny": {"state": "failed"}})
    with pytest.raises(ValueError, match=rf"02_tiny needs 01_dataset_tiny, unfinished in {run.name}(?s:.*)--resume"):
        plan.prepare(RECORD, steps="2")
    with pytest.raises(ValueError, match="needs 01_dataset_tiny, unfinished"):
        plan.prepare(RECORD, steps="2", resume=True)
    assert plan.prepare(RECORD, steps="1-2", resume=True).run == run


def test_other_settings_begin_another_run_on_the_same_samples(project):
    run = runs.new_run(RECORD, {}, project)
    run.notebooks.mkdir()
    (run.notebooks / "01_dataset_tiny.ipynb").write_text("{}")
    trained = {"state": "done", "parameters": {"lr": 0.1, "mode": "ok"}}
    run.update(store="data/tiny/x", steps={"01_dataset_tiny": {"state": "done"}, "02_tiny": trained})
    assert plan.prepare(RECORD, steps="2").run == run, "the same settings go on in the newest run"
    other = plan.prepare(RECORD, {"lr": 0.9}, steps="2").run
    assert other != run and other.info["store"] == "data/tiny/x" and list(other.info["steps"]) == ["01_dataset_tiny"]


def test_a_place_that_cannot_be_written(project):
    (project / "runs").write_text("")
    with pytest.raises(PermissionError, match="Cannot write a run folder"):
        plan.prepare(RECORD)


def test_a_run_goes_on_as_the_workload_that_was_asked_for_whatever_its_file_says(project):
    run = runs.new_run(RECORD, {}, project)
    assert (run.info["title"], run.info["question"]) == ("Tiny", "?"), "for who reads it without knowing the workload"
    run.update(record="trap:RECORD")
    planned = plan.prepare(RECORD, resume=run.name)
    assert planned.run == run and planned.record.name == "tiny"
    run.update(workload="segmentation")
    with pytest.raises(ValueError, match=r"a run of segmentation, not of tiny.*geonb run segmentation --resume"):
        plan.prepare(RECORD, resume=str(run.path))


def test_a_notebook_without_a_number_is_refused():
    assert plan.number_of("02b_mine") == 2
    with pytest.raises(ValueError, match=r"mine\.ipynb must begin with its number"):
        plan.choose({"mine": None}, None)


@pytest.fixture
def code(project):
    """That project, whose `mode` may name a function; such a one, which leaves a mark where it runs; and the mark."""
    (project / "tinyload.py").write_text(WORKLOAD.replace('"what happens")', '"what happens", code=True)'))
    mark = project / "executed"
    (project / "own.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\ndef scale(v):\n    return v\n"
    )
    return mark


def test_what_the_user_names_runs_and_goes_on(code, project):
    run = plan.prepare(RECORD, texts={"mode": "own.py:scale"}).run
    assert plan.prepare(RECORD, resume=run.name).settings["mode"] == "own.py:scale", "not asked again"
    for own in (project / "mine.yaml", project / "notebooks" / "parameters" / "mine.yaml"):
        own.parent.mkdir(exist_ok=True)
        own.write_text(f"mode: own.py:in_{own.parent.name.replace('-', '_')}")
        assert plan.prepare(RECORD, file=own).settings["mode"].startswith("own.py:in_")
    with pytest.raises(ValueError, match=r"there is no file .*gone\.py"):
        plan.prepare(RECORD, texts={"mode": "gone.py:scale"})


def test_a_received_run_and_received_parameters_run_nothing_that_they_name(code, project):
    run = plan.prepare(RECORD).run
    (run.path / "parameters.yaml").write_text("mode: own.py:scale")
    (project / "data").mkdir()
    (project / "data" / "theirs.yaml").write_text("mode: own.py:scale")
    for asked, whose in (
        ({"resume": True}, f"the run {run.name}"),
        ({"file": project / "data" / "theirs.yaml"}, r"the file .*theirs\.yaml"),
    ):
        with pytest.raises(ValueError, match=rf"mode in {whose} names code to run.*would run scale of .*own\.py"):
            plan.prepare(RECORD, **asked)
    assert plan.prepare(RECORD, {"mode": "ok"}, resume=True).settings["mode"] == "ok", (
        "your own word goes before theirs"
    )
    trust.trust(str(project / "own.py:scale"))
    assert plan.prepare(RECORD, resume=True).settings["mode"] == "own.py:scale"
    assert not code.exists()


def test_a_link_to_a_larger_disk_is_part_of_the_project(project, tmp_path_factory):
    (project / "runs").symlink_to(tmp_path_factory.mktemp("scratch"))
    run = runs.new_run(RECORD, {}, project)
    assert plan.prepare(RECORD, resume=run.name).run == run
    elsewhere = tmp_path_factory.mktemp("other")
    other = runs.new_run(RECORD, {}, elsewhere)
    with pytest.raises(ValueError, match="no run of this project"):
        plan.prepare(RECORD, resume=str(other.path))
