"""Search for good settings: trials are runs, told apart by the validation split alone, on one sample set, by several workers.

``sweeps/<workload>/<name>/`` holds ``sweep.json`` (what is searched, and how), ``study.log`` (Optuna's journal, safe on a network file
system) and ``report.html``. A worker asks for a trial, trains it as a run of its own, tells what came out, and asks again, until there
are as many as were wanted; where and when it runs is all the same. A trial whose worker was killed is gone on with by another one.
"""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from geonb import parameters
from geonb.base import files, project
from geonb.base.conventions import refuse
from geonb.base.metrics import lower_is_better
from geonb.batch import schedulers
from geonb.batch.jobs import show_new, warned
from geonb.runs import plan as runs_plan
from geonb.runs import run as runs_run
from geonb.runs import runner

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from geonb.registry import Workload

RECORD, JOURNAL, OUT = "sweep.json", "study.log", "out.txt"
SAMPLERS = ("tpe", "grid", "random")
TRAINING = 2  # the number of the step that a trial is
POLL_S = 1.0
SEEN_S = 300.0  # how often a worker says that it is there
LOST_S = 3600.0  # after how long without a word one of another machine is not
MOST_FAILED = 3  # in a row: then it is not the settings


def load_space(file: Path | str) -> dict[str, Any]:
    """What a file says is searched, see :func:`read_space`; a ValueError if it is no YAML of names and values."""
    import yaml

    path = Path(file)
    if not path.is_file():
        raise ValueError(
            f"No file {path}. Write a line for each parameter, as lr: {{low: 1e-4, high: 1e-2, log: true}}."
        )
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=parameters.yaml_loader())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} holds no names: write a line for each parameter, as lr: {{low: 1e-4, high: 1e-2, log: true}}."
        )
    return found


def read_space(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check what is searched: a name -> a list of values, or {low, high} with log or step.

    Returns
    -------
    dict of name -> optuna's distribution

    Raises
    ------
    ValueError
        Listing everything that is not right.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    faults = []
    for name, given in values.items():
        if isinstance(given, list) and given:
            found[name] = CategoricalDistribution(given)
            continue
        ends = [given.get(key) for key in ("low", "high")] if isinstance(given, Mapping) else []
        if len(ends) != 2 or not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
            faults.append(
                f"{name}: {given!r} is neither a list of values nor low and high, as {{low: 1e-4, high: 1e-2, log: true}}"
            )
            continue
        if unknown := sorted(set(given) - {"low", "high", "log", "step"}):
            faults.append(f"{name}: {', '.join(unknown)} is none of low, high, log, step")
            continue
        kind: Any = IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
        more = {"step": given["step"]} if given.get("step") is not None else {}
        try:
            found[name] = kind(*ends, log=bool(given.get("log", False)), **more)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if not values:
        faults.append("it is empty: write a line for each parameter, as lr: {low: 1e-4, high: 1e-2, log: true}")
    refuse("This space cannot be searched", faults)
    return found


def corners(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Values that show whether a space is allowed: each choice, and both ends, one parameter after the other."""
    from optuna.distributions import CategoricalDistribution

    for name, what in space.items():
        for value in what.choices if isinstance(what, CategoricalDistribution) else (what.low, what.high):
            yield {name: value}


def make(
    workload: str, space: Mapping[str, Any], *, trials: int, metric: str = "val_loss", sampler: str = "tpe", prune: bool = True,
    fixed: Mapping[str, Any] | None = None, texts: Mapping[str, str] | None = None, seed: int = 0, name: str | None = None,
    base: str | None = None, root: Path | None = None,
) -> Path:  # fmt: skip
    """Check a sweep as a whole, make its folder and its sample set's run; nothing is trained.

    Parameters
    ----------
    space : see :func:`read_space`
    trials : int
    metric : str
        A column of a training's ``log.csv`` that begins with ``val_``; of its epochs the best counts.
    sampler : tpe, grid or random
    prune : bool
        Whether a trial that is worse than the median of the others at the same epoch is stopped (tpe and random).
    fixed, texts : what all trials share, as of ``geonb run`` (-f, -p)
    base : str, optional
        A run whose samples are taken; by default a new run of step 1 makes them.
    name : str, optional
        Of the sweep; one that is there already is gone on with, and then has to be the same.

    Returns
    -------
    Path of the sweep's folder

    Raises
    ------
    ValueError
        Every fault of space and settings.
    """
    root = Path(root or project.project_root()).resolve()
    record = runs_plan.name_workload(workload, root)
    faults = [f"trials = {trials}: a whole number from 1"] * (trials < 1)
    faults += [f"metric = {metric!r}: of the validation split, as val_loss or val_{record.headline}"] * (
        not metric.startswith("val_")
    )
    faults += [f"sampler = {sampler!r}: it is one of {', '.join(SAMPLERS)}"] * (sampler not in SAMPLERS)
    refuse("This sweep cannot be made", faults)
    given = _given(record, space, sampler, fixed or {}, texts or {}, root)
    home = root / "sweeps" / record.name
    folder = home / project.plain_name(name, "sweep") if name else None
    about = {
        "workload": workload, "space": dict(space), "trials": trials, "metric": metric, "sampler": sampler, "prune": bool(prune),
        "fixed": given, "seed": seed, "lower": lower_is_better(metric.removeprefix("val_"), _told(record)),
    }  # fmt: skip
    if folder is None or not (folder / RECORD).is_file():
        about["base"] = runs_run.open_run(workload, base or _samples(workload, given, root), root).name
    with files.locked(home / ".lock"):  # samples take their time: another sweep may have been made meanwhile
        folder = folder or _free(home)
        _settle(folder, about)
    return folder


def _samples(workload: str, given: Mapping[str, Any], root: Path) -> str:
    """The name of a new run that made the sample set."""
    plan = runs_plan.prepare(workload, given, steps="1", root=root)
    code, message = runner.run_steps(plan)
    if code:
        raise ValueError(f"The sample set could not be made:\n{message}")
    return plan.run.name


def _settle(folder: Path, about: dict[str, Any]) -> None:
    """Write what is searched; of a sweep that is there, and is the same, how many trials there are to be. A grid's points then wait."""
    if (folder / RECORD).is_file():
        before = files.read_json(folder / RECORD)
        differs = [key for key, value in about.items() if key not in ("trials", "base") and before[key] != value]
        told = [f"{key} was {before[key]!r}, is {about[key]!r}" for key in differs]
        refuse(f"{folder} is another sweep", told, cure="Give another --name.")
        about = before | {"trials": about["trials"]}
    folder.mkdir(exist_ok=True)
    grid = list(islice(product(*about["space"].values()), about["trials"])) if about["sampler"] == "grid" else []
    files.write_json(folder / RECORD, about | {"trials": len(grid) or about["trials"]})
    study = study_of(folder)
    for values in grid[len(study.get_trials(deepcopy=False)) :]:  # those before wait already, or were tried
        study.enqueue_trial(dict(zip(about["space"], values, strict=True)))


def _free(home: Path) -> Path:
    """Where a sweep of today may lie, and none does."""
    today = runs_run.now()[:10]
    return next(home / f"{today}_{n}" for n in count(1) if not (home / f"{today}_{n}").exists())


def _given(
    record: Workload,
    space: Mapping[str, Any],
    sampler: str,
    fixed: Mapping[str, Any],
    texts: Mapping[str, str],
    root: Path,
) -> dict[str, Any]:
    """What all trials share; a ValueError lists what of a space the training does not take."""
    declared = {name: parameters.read(path) for name, path in runs_plan.find_notebooks(record, root).items()}
    searched = {name for step, lines in declared.items() if runs_plan.number_of(step) == TRAINING for name in lines}
    distributions = read_space(space)
    faults = [
        f"{name}: of the training only these are searched: {', '.join(sorted(searched))}"
        for name in space
        if name not in searched
    ]
    if sampler == "grid" and not all(isinstance(values, list) for values in space.values()):
        faults.append("sampler = grid goes through lists of values: write them out instead of low and high")
    refuse("This sweep cannot be made", faults)
    given = dict(fixed) | parameters.parse_texts(declared, texts)
    for corner in corners(distributions):
        try:
            parameters.check(declared, given | corner, record, root)
        except ValueError as error:
            faults.append(str(error))
    refuse("This space holds what the workload does not take", faults)
    return given


def study_of(folder: Path) -> optuna.Study:
    """The sweep's study, made when first asked for."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    about = files.read_json(folder / RECORD)
    file = str(folder / JOURNAL)
    # the lock is a file that is made anew: links and byte ranges are not safe on each network file system
    storage = JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
    study = optuna.create_study(
        study_name=folder.name,
        storage=storage,
        load_if_exists=True,
        direction="minimize" if about["lower"] else "maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
        if about["prune"]
        else optuna.pruners.NopPruner(),
    )
    seed = about["seed"] + len(study.get_trials(deepcopy=False))  # each trial has draws of its own, whoever works on it
    startup = min(10, max(2, about["trials"] // 3))
    tpe = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=startup)
    study.sampler = tpe if about["sampler"] == "tpe" else optuna.samplers.RandomSampler(seed=seed)
    return study


def _told(record: Workload) -> dict[str, Any]:
    """What a workload says of its own metric, see :func:`geonb.base.metrics.lower_is_better`."""
    return {"headline": record.headline, "lower_is_better": record.lower_is_better}


def work(
    folder: Path, number: int, on: str, walltime: str | None = None, warn: int | None = None, out: TextIO | None = None
) -> int:
    """Train trials until there are as many as were wanted.

    Parameters
    ----------
    walltime, warn : see :data:`geonb.batch.schedulers.RESOURCES`

    Returns
    -------
    Exit code: 0 done, 3 too many failed in a row, 5 stopped; before its walltime is over a worker submits itself again.
    """
    out, failed = out or sys.stdout, 0
    with warned({"walltime": walltime, "warn": warn}) as nearly_over:
        try:
            while failed < MOST_FAILED:
                about = files.read_json(folder / RECORD)
                trial = _next(folder)
                if trial is None:
                    return 0
                files.say(f"trial {trial.number}: {', '.join(f'{k}={v}' for k, v in trial.params.items())}", out)
                code, told = _train(folder, trial.study, trial, about, folder.parents[2])
                files.say(f"trial {trial.number}: {told}", out)
                if code == 5:
                    break
                failed = 0 if code == 0 else failed + 1
        except KeyboardInterrupt:
            failed = 0
    if nearly_over() and failed < MOST_FAILED:
        _submit(folder, number, on)
    if failed >= MOST_FAILED:
        files.say(f"{MOST_FAILED} trials failed in a row; `geonb runs` says why. This worker tries no more.", out)
        return 3
    return 5


def _next(folder: Path) -> optuna.Trial | None:
    """A trial to work on: one that its worker left behind, else a new one, else None."""
    import optuna

    with files.locked(folder / ".lock"):
        states = optuna.trial.TrialState
        study = study_of(folder)  # under the lock: its draws go by how many trials there are
        found = study.get_trials(deepcopy=False)
        for one in found:
            if one.state == states.RUNNING and not _works(one.user_attrs.get("worker", {})):
                trial = optuna.trial.Trial(study, one._trial_id)
                trial.set_user_attr("worker", _this_worker())
                return trial
        about = files.read_json(folder / RECORD)
        counted = (states.RUNNING, *_over(about))
        if sum(one.state in counted for one in found) >= about["trials"]:
            return None
        trial = study.ask(read_space(about["space"]))
        trial.set_user_attr("worker", _this_worker())
        return trial


def _over(about: Mapping[str, Any]) -> tuple[optuna.trial.TrialState, ...]:
    """States of trials after which there is nothing left to do; a point of a grid that failed has no other in its place."""
    from optuna.trial import TrialState

    failed = (TrialState.FAIL,) if about["sampler"] == "grid" else ()
    return (TrialState.COMPLETE, TrialState.PRUNED, *failed)


def _this_worker() -> dict[str, Any]:
    return runs_run.this_process() | {"seen": time.time()}


def _works(worker: Mapping[str, Any]) -> bool:
    """Whether a worker is there; one of another machine is, until an hour after its last word."""
    import platform

    import psutil

    if worker.get("host") != platform.node():
        return bool(worker) and time.time() - worker["seen"] < LOST_S
    try:
        process = psutil.Process(int(worker["pid"]))
        return abs(process.create_time() - worker["pid_started"]) < 5 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError):
        return False


def _train(
    folder: Path, study: optuna.Study, trial: optuna.Trial, about: Mapping[str, Any], root: Path
) -> tuple[int, str]:
    """Train one trial's run, pruned where it falls behind; tell the study."""
    import optuna

    named, metric = trial.user_attrs.get("run"), about["metric"]
    given = about["fixed"] | trial.params
    try:
        if named:
            plan = runs_plan.prepare(about["workload"], given, steps=str(TRAINING), resume=named, root=root)
        else:
            base = runs_run.open_run(about["workload"], about["base"], root)
            plan = runs_plan.prepare(about["workload"], given, steps=str(TRAINING), base=base, root=root)
            trial.set_user_attr("run", plan.run.name)
            plan.run.update(sweep={"name": folder.name, "trial": trial.number})
        with _pruned(plan.run, trial, metric) as falls_behind:
            code, message = runner.run_steps(plan, out=io.StringIO())
    except (ValueError, OSError) as error:
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return 2, f"failed: {error}"
    values = history(plan.run, metric)
    best = _best(values, about["lower"])
    if falls_behind.is_set():
        study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
        plan.run.update(sweep={"name": folder.name, "trial": trial.number, "pruned": len(values)})
        return 0, f"given up after {len(values)} epochs ({metric} {_best(values, about['lower']):.4g})"
    if code == 5:
        return 5, message  # another worker goes on with it
    if code or not values:
        why = message.strip().partition("\n")[0] or f"its log.csv has no column {metric}"
        trial.set_user_attr("why", why)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return 3, f"failed: {why}"
    study.tell(trial.number, best)
    return 0, f"{metric} {_best(values, about['lower']):.4g} after {len(values)} epochs ({plan.run.name})"


def history(run: runs_run.Run, metric: str) -> list[float]:
    """A column of a run's ``log.csv``, an epoch a number; empty where there is none."""
    import pandas as pd

    file = run.path / "log.csv"
    if not file.is_file():
        return []
    table = pd.read_csv(file)
    return [float(v) for v in table[metric]] if metric in table else []


def _best(values: Sequence[float], lower: bool) -> float:
    known = [v for v in values if math.isfinite(v)]
    return (min if lower else max)(known) if known else math.inf if lower else -math.inf


@contextmanager
def _pruned(run: runs_run.Run, trial: optuna.Trial, metric: str) -> Iterator[threading.Event]:
    """Tell the study each epoch of a run; stop the run where it falls behind the others."""
    falls_behind, over = threading.Event(), threading.Event()

    def watch() -> None:
        told, seen = 0, time.monotonic()
        while not over.wait(POLL_S):
            if time.monotonic() - seen > SEEN_S:
                seen = time.monotonic()
                trial.set_user_attr("worker", _this_worker())
            for value in history(run, metric)[told:]:
                told += 1
                if math.isfinite(value):
                    trial.report(value, told)
            if told and trial.should_prune() and not over.is_set():  # by now the run may have ended
                falls_behind.set()
                os.kill(os.getpid(), signal.SIGUSR1)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield falls_behind
    finally:
        over.set()
        thread.join()


def run_workers(
    folder: Path, workers: int, on: str = "local", asked: Mapping[str, Any] | None = None, out: TextIO | None = None
) -> None:
    """Begin workers, as processes of this machine or as jobs, and wait until the trials are done.

    Raises
    ------
    RuntimeError
        If all workers ended and trials are missing.
    """
    out = out or sys.stdout
    resources = schedulers.settled(on, asked or schedulers.check_on(on)[1])
    for number in range(workers):
        _begin(folder, number, on, resources)
    files.say(f"{folder}: {workers} worker{'s' * (workers > 1)}, {on} {', '.join(_jobs(folder, on))}", out)
    said = 0
    try:
        while _jobs(folder, on):
            said = show_new(folder / OUT, said, out)
            time.sleep(POLL_S if on == "local" else 10 * POLL_S)
    except KeyboardInterrupt:
        if on != "local":  # the queue needs nobody who waits
            told = ", ".join(_jobs(folder, on))
            files.say(f"The workers go on ({told}). The same command with --name {folder.name} waits for them.", out)
            raise
        for job in _jobs(folder, on):
            schedulers.cancel(on, job)
        raise
    show_new(folder / OUT, said, out)
    if (done := len(finished(folder))) < files.read_json(folder / RECORD)["trials"]:
        raise RuntimeError(
            f"{done} of {files.read_json(folder / RECORD)['trials']} trials are done and no worker is left; {folder / OUT} says what they "
            f"printed. To go on: the same command with --name {folder.name}"
        )


def _begin(folder: Path, number: int, on: str, resources: Mapping[str, Any]) -> None:
    """Submit a worker, unless it is there from before."""
    name = folder / f"worker-{number}.job"
    if name.is_file() and schedulers.state(on, name.read_text()):
        return
    limit = [resources["walltime"], *([str(resources["warn"])] if resources["warn"] else [])]
    command = ["sweep-worker", str(folder), str(number), on, *(limit if resources["walltime"] else [])]
    body = schedulers.body(command, folder.parents[2], folder / OUT, resources["cores"] or 1)
    files.write_text(
        folder / f"worker-{number}.sh", schedulers.script(on, resources, f"geonb-sweep-{number}", body, folder)
    )
    _submit(folder, number, on)


def _submit(folder: Path, number: int, on: str) -> None:
    files.write_text(folder / f"worker-{number}.job", schedulers.submit(on, folder / f"worker-{number}.sh"))


def _jobs(folder: Path, on: str) -> list[str]:
    """The workers' jobs that are not over."""
    return [job for file in sorted(folder.glob("worker-*.job")) if _is_there(on, job := file.read_text())]


def _is_there(on: str, job: str) -> bool:
    try:
        return bool(schedulers.state(on, job))
    except ValueError:  # its controller may be away for a while: the job is not
        return True


def finished(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """Trials that are done or were given up; of a grid those that failed, too."""
    return study_of(folder).get_trials(deepcopy=False, states=_over(files.read_json(folder / RECORD)))


def trials_of(folder: Path) -> pd.DataFrame:
    """A row a trial, the best first: number, run, state, value, epochs, its settings."""
    import pandas as pd

    about, root = files.read_json(folder / RECORD), folder.parents[2]
    rows = []
    for trial in study_of(folder).get_trials(deepcopy=False):
        run = trial.user_attrs.get("run")
        path = root / "runs" / folder.parent.name / (run or "")
        epochs = len(history(runs_run.Run(path), about["metric"])) if run else 0
        value = trial.value if trial.state.name == "COMPLETE" else None
        settled = {
            "trial": trial.number,
            "run": run or "",
            "state": trial.state.name.lower(),
            about["metric"]: value,
            "epochs": epochs,
        }
        rows.append(settled | trial.params)
    frame = pd.DataFrame(rows)
    return frame.sort_values(about["metric"], ascending=about["lower"], na_position="last") if len(frame) else frame


def best_run(folder: Path) -> runs_run.Run:
    """The run of the trial that was best on the validation split.

    Raises
    ------
    ValueError
        If no trial was trained to its end.
    """
    frame = trials_of(folder)
    done = frame[frame["state"] == "complete"] if len(frame) else frame
    if done.empty:
        raise ValueError(f"No trial of {folder} was trained to its end.")
    return runs_run.Run(folder.parents[2] / "runs" / folder.parent.name / done["run"].iloc[0])


def finish(folder: Path, workers: int, on: str, asked: Mapping[str, Any]) -> tuple[int, str]:
    """Run a sweep's trials, then all steps of the best one: (exit code, what is to be said)."""
    if len(finished(folder)) < files.read_json(folder / RECORD)["trials"]:
        try:
            run_workers(folder, workers, on, asked)
        except RuntimeError as error:
            return 3, str(error)
    best, about = best_run(folder), files.read_json(folder / RECORD)
    plan = runs_plan.prepare(about["workload"], resume=best.name, root=folder.parents[2])
    return runner.run_steps(plan)
