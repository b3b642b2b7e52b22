"""Sweeps: trials are runs; killed they are gone on with; the space is checked before anything is trained; the best by validation."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import tiny
from optuna.trial import TrialState
from tiny import RECORD

from geonb import cli, runs
from geonb.batch import schedulers, sweep_report, sweeps

pytest_plugins = ("tiny_fixtures",)  # project
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(600)]
HERE = Path(__file__).parents[2]
TRAIN = [
    ("markdown", "# Train"),
    (
        "parameters",
        'workload: str = "tiny"  # which\nrun: str = "latest"  # run\nlr: float = 0.1  # learning rate\nmode: str = "ok"  # how',
    ),
    ("markdown", "## Fit"),
    (
        "code",
        """\
import math, os, time
from pathlib import Path
log = Path(os.environ["GEONB_ROOT"], "runs", "tiny", run, "log.csv")
epochs = log.read_text().count("\\n") - 1 if log.is_file() else 0
if not epochs: log.write_text("epoch,val_loss,val_score\\n")
if mode == "broken": raise ValueError("cannot")
for epoch in range(epochs + 1, 7):
    loss = (math.log10(lr) + 2) ** 2 + 1 / epoch
    with log.open("a") as file: file.write(f"{epoch},{loss},{-loss}\\n")
    time.sleep(.5)
print(epochs)""",
    ),
]


@pytest.fixture
def trained(project, monkeypatch):
    """The tiny project, whose training is best at a rate of .01."""
    tiny.write_notebook(project / "notebooks" / "02_tiny.ipynb", TRAIN)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    (project / "space.yaml").write_text("lr: {low: 1.0e-4, high: 1.0, log: true}\nmode: [ok, fine]\n")
    return project


def states(folder):
    return [trial.state.name for trial in sweeps.study_of(folder).get_trials()]


@pytest.mark.slow
def test_twelve_trials_by_two_workers_one_killed_in_the_middle(trained, capfd):
    """Both workers and who waits for them are killed with the third trial done; the same command goes on to twelve."""
    asked = ["sweep", RECORD, "-f", "space.yaml", "--trials", "12", "--workers", "2", "--name", "a"]
    command = [sys.executable, "-m", "geonb.cli", *asked]
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    folder = trained / "sweeps" / "tiny" / "a"
    until = time.monotonic() + 200
    while not (folder / sweeps.JOURNAL).is_file() or len(sweeps.finished(folder)) < 3:
        assert time.monotonic() < until and first.poll() is None
        time.sleep(0.3)
    os.killpg(first.pid, signal.SIGKILL)
    subprocess.run(["pkill", "-9", "-f", f"sweep-worker {folder}"], check=False)
    first.wait()
    running = [trial for trial in sweeps.study_of(folder).get_trials() if trial.state.name == "RUNNING"]
    left = {trial.number: trial.user_attrs.get("run") for trial in running}
    assert left
    assert cli.main(asked) == 0
    printed, done = capfd.readouterr().out, states(folder)
    assert len(done) == 12 and set(done) <= {"COMPLETE", "PRUNED"}, done
    for number, name in left.items():  # gone on with in the same run
        assert name is None or sweeps.study_of(folder).get_trials()[number].user_attrs["run"] == name
    frame, best = sweeps.trials_of(folder), sweeps.best_run(folder)
    assert (
        abs(best.parameters["lr"] - 0.01) == min(abs(lr - 0.01) for lr in frame.loc[frame["state"] == "complete", "lr"])
        or len(frame) == 12
    )
    assert frame["val_loss"].min() == frame["val_loss"].iloc[0]
    assert [step["state"] for step in best.info["steps"].values()] == [
        "done"
    ] * 3  # the test split is looked at once, for the best
    others = [runs.Run(p.parent) for p in trained.glob("runs/tiny/*/run.json") if p.parent != best.path]
    assert all("03_tiny" not in run.info["steps"] for run in others)
    page = (folder / "report.html").read_text()
    assert "Which settings mattered" in page and f"Report: {folder}" in printed
    link = f"../../../runs/tiny/{best.name}/report.html"
    assert (
        f'href="{link}"' in page
        and (folder / link).is_file()
        and all(run.name in page for run in others if "sweep" in run.info)
    )


def test_two_sweeps_on_one_storage_do_not_repeat_trials(trained):
    """Two workers at once ask one study: as many trials as were wanted, none twice."""
    folder = sweeps.make(RECORD, {"lr": [0.1, 0.01, 0.001, 0.0001]}, trials=9, sampler="grid", name="b")
    workers = [
        subprocess.Popen([sys.executable, "-m", "geonb.cli", "sweep-worker", str(folder), str(n), "local"])
        for n in (0, 1)
    ]
    assert [worker.wait(200) for worker in workers] == [0, 0]
    found = sweeps.study_of(folder).get_trials()
    assert sorted(trial.params["lr"] for trial in found) == [0.0001, 0.001, 0.01, 0.1]
    assert sweeps.best_run(folder).parameters["lr"] == 0.01
    assert len({trial.user_attrs["run"] for trial in found}) == 4


def test_a_worker_of_another_machine_is_there_until_long_after_its_last_word(monkeypatch):
    elsewhere = sweeps._this_worker() | {"host": "another-node"}
    assert sweeps._works(sweeps._this_worker()) and sweeps._works(elsewhere)
    assert not sweeps._works(elsewhere | {"seen": time.time() - 4000})
    assert not sweeps._works({}) and not sweeps._works(sweeps._this_worker() | {"pid_started": 1.0})


def test_the_best_is_that_of_the_workload_s_own_word(trained):
    """Of a metric that geonb does not know, the record says which way it points."""
    (trained / "tinyload.py").write_text(
        tiny.WORKLOAD.replace('headline="m"', 'headline="score", lower_is_better=True')
    )
    folder = sweeps.make(RECORD, {"lr": [0.1, 0.01]}, trials=2, sampler="grid", metric="val_score", name="e")
    assert sweeps.work(folder, 0, "local") == 0
    assert sweeps.best_run(folder).parameters["lr"] == 0.1  # the score is minus the loss


def test_settings_that_fail_end_the_worker_and_say_why(trained, capfd):
    folder = sweeps.make(
        RECORD, {"lr": [0.1, 0.01, 0.001, 0.0001, 1.0]}, trials=5, sampler="grid", fixed={"mode": "broken"}, name="c"
    )
    assert sweeps.work(folder, 0, "local") == 3
    assert states(folder)[:4] == ["FAIL"] * 3 + ["WAITING"] and "cannot" in capfd.readouterr().out
    with pytest.raises(ValueError, match=r"No trial .* was trained to its end"):
        sweeps.best_run(folder)


@pytest.mark.parametrize(
    ("space", "more", "says"),
    [
        ("lr: 3", [], "neither a list of values nor low and high"),
        ("lr: {low: 1, high: 2, steps: 3}", [], "steps is none of"),
        ("lr: {low: 2.0, high: 1.0}", [], "low"),
        ("rate: [1, 2]", [], "of the training only these are searched"),
        ("lr: [0.1, much]", [], "lr"),
        ("lr: {low: 0.1, high: 1.0}", ["--sampler", "grid"], "goes through lists"),
        ("lr: [0.1]", ["--metric", "iou"], "of the validation split"),
        ("lr: [0.1]", ["--trials", "0"], "a whole number from 1"),
        ("lr: [0.1]", ["--workers", "0"], "a whole number from 1"),
        ("lr: [0.1]", ["--sampler", "tpi"], "one of tpe, grid, random"),
    ],
)
def test_what_cannot_be_searched_is_told_before_anything_runs(trained, capfd, space, more, says):
    (trained / "space.yaml").write_text(space)
    assert (
        cli.main(["sweep", RECORD, "-f", "space.yaml", *(["--trials", "2"] if "--trials" not in more else []), *more])
        == 2
    )
    assert (
        says in capfd.readouterr().err and not list(trained.glob("runs/tiny/*")) and not (trained / "sweeps").exists()
    )


def test_a_name_that_is_taken_by_another_sweep_is_refused(trained, capfd):
    sweeps.make(RECORD, {"lr": [0.1]}, trials=1, name="d")
    with pytest.raises(ValueError, match=r"(?s)is another sweep.*space was"):
        sweeps.make(RECORD, {"lr": [0.2]}, trials=1, name="d")
    assert json.loads((trained / "sweeps" / "tiny" / "d" / sweeps.RECORD).read_text())["space"] == {"lr": [0.1]}


def test_trials_that_all_had_one_value_of_a_setting_are_drawn_without_a_warning():
    import optuna

    study = optuna.create_study()
    space = {
        "lr": optuna.distributions.FloatDistribution(0.1, 1),
        "network": optuna.distributions.CategoricalDistribution(["a", "b"]),
    }
    for lr in (0.2, 0.4):
        study.add_trial(optuna.trial.create_trial(params={"lr": lr, "network": "a"}, distributions=space, value=lr))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sweep_report._drawn(study, "plot_parallel_coordinate", "settings of each trial", {"metric": "val_loss"})


@pytest.fixture
def made(trained):
    """Makes a sweep of a sample set that is there."""
    base = runs.run.new_run(RECORD, {}, trained, "done").name
    return lambda space, **more: sweeps.make(RECORD, space, base=base, **{"sampler": "grid", "trials": 9, **more})


def test_workers_that_begin_together_draw_apart(made, monkeypatch):
    """Each has opened the study before the other has asked it."""
    folder = made({"lr": {"low": 1e-4, "high": 1.0, "log": True}}, sampler="random")
    plain = sweeps.files.locked

    @contextlib.contextmanager
    def late(path):
        if not asked:
            asked.append(0)
            asked.append(sweeps._next(folder))
        with plain(path):
            yield

    asked = []
    monkeypatch.setattr(sweeps.files, "locked", late)
    second = sweeps._next(folder)
    assert second.params != asked[1].params and (asked[1].number, second.number) == (0, 1)


def test_a_grid_that_is_gone_on_with_has_no_more_points_than_it_has(made, monkeypatch):
    """The same command with --name, as a sweep that was broken off advises."""
    space = {"lr": [0.1, 0.01, 0.001]}
    folder = made(space, name="a", trials=2)
    assert made(space, name="a", trials=10) == folder
    assert json.loads((folder / sweeps.RECORD).read_text())["trials"] == 3
    tried = [sweeps._next(folder).params["lr"] for _ in range(3)]
    assert tried == [0.1, 0.01, 0.001] and sweeps._next(folder) is None


def test_a_grid_with_a_point_that_fails_comes_to_its_end(made):
    folder = made({"lr": [0.1, 0.01]})
    trial = sweeps._next(folder)
    trial.study.tell(trial.number, state=TrialState.FAIL)
    trial = sweeps._next(folder)
    trial.study.tell(trial.number, 0.5)
    assert sweeps._next(folder) is None and len(sweeps.finished(folder)) == 2


def test_without_a_name_it_is_another_sweep(made):
    """Also where one was removed, and where two are made at once."""
    space = {"lr": [0.1]}
    first, second = made(space), made(space)
    shutil.rmtree(first)
    assert made(space) != second and made(space, name="mine") != made(space)


def test_a_scheduler_that_is_away_ends_no_sweep(made, monkeypatch):
    folder = made({"lr": [0.1]})
    (folder / "worker-0.job").write_text("7")
    said = iter(["RUNNING", ValueError("Unable to contact slurm controller"), "RUNNING", ""])

    def state(on, job):
        answer = next(said)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(schedulers, "state", state)
    assert [sweeps._jobs(folder, "slurm") for _ in range(4)] == [["7"]] * 3 + [[]]


def test_what_a_worker_is_asked_for_it_is_told(made, monkeypatch):
    folder = made({"lr": [0.1]})
    monkeypatch.setattr(sweeps, "_submit", lambda *_: None)
    on, asked = schedulers.check_on("local:walltime=01:00:00,warn=900")
    sweeps._begin(folder, 3, on, asked)
    told = {}
    monkeypatch.setattr(
        sweeps, "warned", lambda resources: told.update(resources) or contextlib.nullcontext(lambda: False)
    )
    line = (folder / "worker-3.sh").read_text().splitlines()[-1]
    monkeypatch.setattr(sweeps, "_next", lambda _: None)
    assert cli.main(shlex.split(line.partition("geonb.cli ")[2].partition(" >>")[0])) == 0
    assert told == {"walltime": "01:00:00", "warn": 900}


@pytest.mark.parametrize("command", [["sweep", RECORD, "-f", "space.yaml", "--trials", "2"], ["lab"]])
def test_what_would_not_be_heeded_is_refused(trained, capfd, command):
    assert cli.main([*command, "--on", "local:scratch=/tmp"]) == 2
    assert "scratch=/tmp: a" in (told := capfd.readouterr().err) and "does not heed it" in told
    assert not list(trained.glob("runs/*"))
