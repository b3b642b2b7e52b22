"""A run as jobs: one after the other, each with what its steps need; stopped in time, submitted again, told of, cancelled.

``jobs/`` in the run folder holds a script for each piece of the run, ``jobs.json`` (what was submitted, and what became of it) and
``out.txt`` (what the jobs print). A job that ends well submits the next one itself. One whose walltime is nearly over stops where a
kill would be survived, too, and submits itself again; so a chain of any length goes on until it is done, also when nobody is logged
in. What can be edited are the scripts: they are taken as they lie there.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd

from geonb.base import files, manifest, project
from geonb.base.conventions import refuse
from geonb.base.resources import seconds_of
from geonb.base.specs import check_options, parse_spec
from geonb.batch import schedulers, staging
from geonb.runs import plan as runs_plan
from geonb.runs import run as runs_run
from geonb.runs import runner
from geonb.training.devices import check_devices

if TYPE_CHECKING:
    from geonb.runs.plan import Plan, Step
    from geonb.runs.run import Run

FOLDER, RECORD, OUT = "jobs", "jobs/jobs.json", "jobs/out.txt"
POLL_S = 1.0
SLOW_POLL_S = 15.0  # between questions to the scheduler, which serves others too
GONE_S = 60.0  # a job that the scheduler knows no more may still be writing how it ended
CANCEL_S = 60.0


def per_step(
    texts: Sequence[str], on: str, asked: Mapping[str, Any], numbers: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """What each step asks for: of all (``--on``), and over that of some (``--job 2:gpus=1,walltime=12:00:00``).

    Parameters
    ----------
    on : the scheduler, and `asked` what every job asks of it, see :func:`geonb.batch.schedulers.check_on`

    Raises
    ------
    ValueError
        Listing every text that is not right.
    """
    found, faults = {number: dict(asked) for number in numbers}, []
    for text in texts:
        head = text.partition(":")[0].strip()
        if not head.isdigit() or int(head) not in found:
            faults.append(f"--job {text}: begin with the number of a step, {', '.join(map(str, numbers))}, as 2:gpus=1")
            continue
        try:
            given = check_options("--job", text, {head: schedulers.TABLE[on]})[1]
        except ValueError as error:
            faults.append(str(error))
            continue
        found[int(head)] |= {name: given[name] for name in parse_spec(text)[1]}
    refuse("These jobs cannot be asked for", faults)
    return found


def faults(on: str, resources: Mapping[int, Mapping[str, Any]], steps: Sequence[Step]) -> list[str]:
    """What jobs cannot be as they are asked for: fewer nodes or GPUs than a training takes, one node's disk for several."""
    found = []
    for step in steps:
        number, (nodes, gpus) = step.number, _nodes_and_gpus(resources[step.number])
        devices = check_devices(step.values.get("devices", 1))
        wanted = f"devices = {step.values.get('devices')!r} of step {number}"
        if nodes < devices.nodes:
            more = f",gpus={devices.each}" * (devices.kind == "gpu")
            cure = f"give --job {number}:nodes={devices.nodes}{more}"
            cure = cure if "nodes" in schedulers.TABLE[on] else "that takes a job of Slurm"
            found.append(f"{wanted} is on {devices.nodes} nodes, its job on {nodes}: {cure}")
        if devices.kind == "gpu" and 0 < gpus < devices.each:
            found.append(
                f"{wanted} takes {devices.each} GPUs of a node, its job asks for {gpus}: give --job {number}:gpus={devices.each}"
            )
    several = [step.number for step in steps if _nodes_and_gpus(resources[step.number])[0] > 1]
    if scratch := {str(resources[number]["scratch"]) for number in several} - {"None"}:
        found.append(
            f"scratch={', '.join(scratch)} is a disk of one node, and several work on step {', '.join(map(str, several))}: leave it out"
        )
    return found


def _nodes_and_gpus(resources: Mapping[str, Any]) -> tuple[int, int]:
    return resources.get("nodes", 1), resources["gpus"]


def write(
    plan: Plan, on: str, resources: Mapping[int, Mapping[str, Any]], split: bool = False, limit_s: int | None = None,
    typed: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write scripts and record of a plan's jobs; nothing is submitted.

    Steps that follow each other and ask for the same are one job, unless `split`. A script that somebody edited stays as it is.

    Parameters
    ----------
    typed : what of the command line asked for these jobs, for the line that asks for the same again

    Raises
    ------
    ValueError
        If a job of this run is still in the queue, or runs.
    """
    folder, file = plan.run.path / FOLDER, plan.run.path / RECORD
    folder.mkdir(exist_ok=True)
    before = files.read_json(file) if file.is_file() else {}
    _refuse_busy(plan.run, before)
    with runner.locked(plan.run):
        # each job reads from there what was asked for here
        files.write_text(plan.run.path / "parameters.yaml", runs_run.parameters_text(plan.workload, plan.settings))
        manifest.note_made(plan.run.path, "parameters.yaml")
        pieces = _pieces(plan, on, resources, split)
        written = _write_scripts(plan, on, pieces, dict(before.get("written", {})))
        out = plan.run.path / OUT
        record: dict[str, Any] = {
            "on": on, "typed": [*typed], "workload": plan.workload, "cell_timeout_s": limit_s, "pieces": pieces, "at": 0, "jobs": [],
            "written": written, "cancelled": None, "waiting": "", "ended": None, "message": "",
            "out_from": out.stat().st_size if out.is_file() else 0,  # what jobs printed before was seen before
        }  # fmt: skip
        files.write_json(file, record)
    return record


def _pieces(plan: Plan, on: str, resources: Mapping[int, Mapping[str, Any]], split: bool) -> list[dict[str, Any]]:
    """The jobs of a plan: their steps, what they ask for, and what they and their scripts are called."""
    pieces: list[dict[str, Any]] = []
    for step in plan.steps:
        asked = schedulers.settled(on, resources[step.number])
        if pieces and not split and pieces[-1]["resources"] == asked:
            pieces[-1]["steps"].append(step.number)
        else:
            pieces.append({"steps": [step.number], "resources": asked})
    for piece in pieces:
        steps = "-".join(map(str, piece["steps"]))
        piece |= {"name": f"geonb-{plan.run.name.partition('_')[2]}-{steps}", "script": f"{FOLDER}/{steps}.sh"}
    return pieces


def _write_scripts(plan: Plan, on: str, pieces: Sequence[Mapping[str, Any]], written: dict[str, str]) -> dict[str, str]:
    """Write the jobs' scripts, but for those that somebody edited since they were `written`; gives what is written now, by name."""
    for piece in pieces:
        # by its steps: a script that was edited may be taken by another chain, where it has another place
        command = ["job", str(plan.run.path), "-".join(map(str, piece["steps"]))]
        body = schedulers.body(command, plan.root, plan.run.path / OUT, piece["resources"]["cores"])
        text = schedulers.script(on, piece["resources"], piece["name"], body, plan.run.path / FOLDER)
        file = plan.run.path / piece["script"]
        if _edited(file, written.get(piece["script"])):
            files.say(f"{file} was edited, and is taken as it is. Remove it for a new one.")
        else:
            files.write_text(file, text)
        written[piece["script"]] = files.key_of(text)
    for name in written.keys() - {piece["script"] for piece in pieces}:
        if _edited(file := plan.run.path / name, written[name]):
            files.say(
                f"{file} was edited, and is not used: as they are asked for now, the jobs are others ({len(pieces)} of them)."
            )
    return written


def _edited(file: Path, written: str | None) -> bool:
    return bool(written and file.is_file() and files.key_of(file.read_text(encoding="utf-8")) != written)


def _refuse_busy(run: Run, record: Mapping[str, Any]) -> None:
    on_its_way = record.get("jobs") and record["ended"] is None
    if on_its_way and (known := schedulers.state(record["on"], record["jobs"][-1]["id"])):
        raise ValueError(
            f"{run.name} has a job already ({record['on']} {record['jobs'][-1]['id']}, {known}). Wait for it (geonb status), or end it: "
            f"geonb cancel {runs_plan.two_words(run)}"
        )


def read(run: Run) -> dict[str, Any]:
    """What was submitted of a run; ValueError if nothing was."""
    file = run.path / RECORD
    if not file.is_file():
        raise ValueError(f"{run.workload}/{run.name} has no jobs. Begin with: geonb run {run.workload} --on slurm")
    return files.read_json(file)


def again(run: Run) -> str:
    """The line that goes on with a run by the same jobs: asked for otherwise, they would be others than the scripts that lie there."""
    record = read(run)
    typed = record.get("typed") or ["--on", record["on"]]
    return shlex.join(["geonb", "run", run.info["record"], "--resume", runs_plan.two_words(run), *typed])


def check_scripts(run: Run) -> None:
    """Ask the scheduler whether it would take each script, where it can tell: a refusal in hours costs a night.

    Raises
    ------
    ValueError
        With its own words, and the script's name.
    """
    record, refused = read(run), []
    for piece in record["pieces"]:
        try:
            schedulers.check_script(record["on"], run.path / piece["script"])
        except ValueError as error:
            refused.append(f"{piece['script']}: {error}")
    refuse(f"The scheduler would not take these jobs of {run.path}", refused)


@contextmanager
def _changing(run: Run) -> Iterator[dict[str, Any]]:
    """The record, to be changed under a lock: a job and somebody who cancels it may both write."""
    with files.locked(run.path / FOLDER / ".lock"):
        record = read(run)
        yield record
        files.write_json(run.path / RECORD, record)


def submit(run: Run) -> str:
    """Hand the piece that is next to the scheduler; give the job's id.

    Raises
    ------
    ValueError
        With the scheduler's own words where it refuses.
    """
    with _changing(run) as record:
        if record["cancelled"]:
            raise ValueError(f"{run.name} was cancelled {record['cancelled'][:19]}")
        run.update(state="queued", ended=None)  # before: a job may begin at once
        try:
            job = schedulers.submit(record["on"], run.path / record["pieces"][record["at"]]["script"])
        except ValueError:
            run.update(state="stopped", ended=runs_run.now())
            raise
        record["jobs"].append(
            {"id": job, "piece": record["at"], "submitted": runs_run.now(), "ended": None, "code": None}
        )
        record |= {"waiting": "", "ended": None, "message": ""}
    return job


def work(folder: Path, steps: str) -> int:
    """What a job does: run its piece, known by its `steps` ("1-2"), stop in time, see to what comes next. The exit code of the run."""
    run = runs_run.Run(folder)
    record = read(run)
    chain = [piece["script"] for piece in record["pieces"]]
    if (script := f"{FOLDER}/{steps}.sh") not in chain:
        raise ValueError(f"{run.name} has no job of steps {steps}: {', '.join(chain)}. Submit by geonb run --on")
    at = chain.index(script)
    piece = record["pieces"][at]
    before, ran = _progress(run), False
    files.say(f"\n{runs_run.now()[:19]} {piece['name']} on {runs_run.this_process()['host']}")
    header = (folder / script).read_text(encoding="utf-8")
    with warned(piece["resources"] | schedulers.walltime_in(header)) as nearly_over:
        try:
            _check_gpus(piece["resources"])
            with staging.staged(run, piece["resources"]["scratch"]) as place:
                home = runs_run.root_of(run.path)
                plan = runs_plan.prepare(
                    record["workload"], steps=steps.replace("-", ","), resume=run.name, root=place.root, home=home
                )
                code, message = runner.run_steps(
                    plan, cell_timeout_s=record["cell_timeout_s"], out=place.out(sys.stdout), after=place.bring_back
                )
                message, ran = place.named(message), True
        except KeyboardInterrupt as stopped:
            code, message = 5, f"Stopped by {stopped.args[0] if stopped.args else 'SIGINT'}."
        except (ValueError, OSError) as error:
            code, message = 3 if ran else 2, str(error)
    if message:
        files.say(message)
    return _go_on(run, at, code, message, nearly_over(), _progress(run) != before)


def _go_on(run: Run, at: int, code: int, message: str, in_time: bool, further: bool) -> int:
    """Note how a job ended; submit the next one, or this one again."""
    with _changing(run) as record:
        for job in record["jobs"][-1:]:
            job |= {"ended": runs_run.now(), "code": code, "further": further}
        stuck = in_time and not further and not any(job.get("further") for job in record["jobs"][-2:])
        comes_back = code == 5 and in_time and not record["cancelled"] and not (stuck and len(record["jobs"]) > 1)
        last = at + 1 == len(record["pieces"])
        if code == 0 and not last and not record["cancelled"]:
            record["at"] = at + 1
        elif not comes_back:
            record |= {"ended": code, "message": _why(message, stuck)}
            if stuck:
                files.say(record["message"])
            return code
    try:
        job = submit(run)
        files.say(
            f"Submitted: {read(run)['on']} job {job}, {'which goes on from here' if comes_back else 'the next steps'}."
        )
    except ValueError as error:
        with _changing(run) as record:
            record["waiting"] = str(error)
        files.say(f"The next job could not be submitted from here: {error}\n{_by_hand(run)}")
    return 0 if comes_back else code


def _why(message: str, stuck: bool) -> str:
    if not stuck:
        return message.strip().partition("\n")[0]
    return "Two jobs came no further before their walltime was over: ask for a longer one (of an epoch, say, at least)."


def _by_hand(run: Run) -> str:
    return f"On a login node: {again(run)}"


def _check_gpus(resources: Mapping[str, Any]) -> None:
    """Refuse to compute on the CPU for hours where a GPU was asked for."""
    if not (wanted := resources.get("gpus")):
        return
    import torch

    there = torch.cuda.device_count()
    if there < wanted:
        raise ValueError(
            f"{wanted} GPU(s) were asked for and torch {torch.__version__} sees {there} on {runs_run.this_process()['host']}. Did the "
            "scheduler give one (nvidia-smi in the job's prologue)? Is torch built for its driver (geonb doctor)?"
        )


@contextmanager
def warned(resources: Mapping[str, Any]) -> Iterator[Callable[[], bool]]:
    """Stop this process calmly before its walltime is over, counted from where its script began; gives what says whether it nearly is.

    It is, too, where the scheduler was first to tell the process to end.
    """
    import psutil

    limit = seconds_of(resources["walltime"])
    if limit is None:
        if resources["walltime"]:
            files.say(
                f"The walltime {resources['walltime']} is not HH:MM:SS or D-HH:MM:SS: this job cannot stop before its end."
            )
        yield lambda: False
        return
    warn = resources["warn"] or min(max(limit / 10, 10), 300)
    end = psutil.Process().create_time() + limit - warn

    def stop() -> None:
        files.say(
            f"The walltime of {resources['walltime']} is over in {warn:.0f} s: this job stops here, and is submitted again."
        )
        os.kill(os.getpid(), signal.SIGUSR1)

    alarm = threading.Timer(max(end - time.time(), 0), stop)
    alarm.daemon = True
    alarm.start()
    try:
        yield lambda: time.time() >= end
    finally:
        alarm.cancel()


def _progress(run: Run) -> list[Any]:
    """How far a run is: steps that are done, the last epoch, what lies in its folder and in those of its samples that are being made."""
    log = run.path / "log.csv"
    epochs = log.read_text(encoding="utf-8", errors="replace").count("\n") if log.is_file() else 0
    done = sorted(name for name, step in run.info["steps"].items() if step.get("state") == "done")
    made = [
        path
        for name in ("predictions.zarr", "embeddings.zarr", "maps")
        for path in (run.path / name).rglob("*")
        if path.is_file()
    ]
    samples = list((runs_run.root_of(run.path) / "data" / run.workload).rglob("*"))
    return [done, epochs, len(made), len(samples)]


def follow(run: Run, out: TextIO | None = None) -> int:
    """Show what the jobs print until the run has ended; give its exit code. The jobs need nobody who follows.

    Where nodes may not submit, the next job is submitted from here.
    """
    out, said, asked, gone, silent = out or sys.stdout, read(run)["out_from"], 0.0, 0.0, ""
    while True:
        record = read(run)
        said = show_new(run.path / OUT, said, out)
        if record["ended"] is not None:
            show_new(run.path / OUT, said, out)
            return record["ended"]
        if record["waiting"]:
            files.say(f"Submitted from here: {record['on']} job {submit(run)}", out)
            continue
        now = time.monotonic()
        if now - asked > (POLL_S if record["on"] == "local" else SLOW_POLL_S):
            try:
                asked, known = now, schedulers.state(record["on"], record["jobs"][-1]["id"])
            except ValueError as error:  # its controller may be away for a while: the job is not
                known = "unknown"
                if str(error) != silent:
                    silent = str(error)
                    files.say(f"The scheduler does not answer ({silent}). Asked again.", out)
            gone = 0.0 if known else gone or now
            if gone and now - gone > (POLL_S * 5 if record["on"] == "local" else GONE_S) and read(run) == record:
                return _lost(run, record, out)
        time.sleep(POLL_S)


def show_new(file: Path, said: int, out: TextIO) -> int:
    """Show what a file holds beyond its first `said` bytes; give how many there are now."""
    if not file.is_file():
        return said
    with file.open("rb") as handle:
        handle.seek(said)
        text = handle.read()
    if text:
        files.say(text.decode("utf-8", errors="replace").rstrip("\n"), out)
    return said + len(text)


def _lost(run: Run, record: Mapping[str, Any], out: TextIO) -> int:
    """A job that is gone and never said how it ended: killed hard, or its script failed before geonb began."""
    job = record["jobs"][-1]
    said = [
        path
        for path in sorted((run.path / FOLDER).glob("*"))
        if path.suffix not in (".sh", ".json", ".txt") and path.is_file()
    ]
    tails = [f"{path.relative_to(run.path)}:\n{_tail(path)}" for path in said if _tail(path)]
    # killed while it wrote the report, it had said in run.json what became of the run
    code, state = {"stopped": 5, "failed": 3}.get(run.info["state"], 4), run.info["state"]
    message = f"Job {job['id']} of {record['on']} was told to end by somebody else, or by the scheduler."
    if code == 4:
        message = f"Job {job['id']} of {record['on']} is gone and did not say how it ended: killed (memory, walltime, a node that failed)?"
    with _changing(run) as changed:
        changed |= {"ended": code, "message": message}
        changed["jobs"][-1] |= {"ended": runs_run.now(), "code": code}
    if state in ("queued", "running"):
        run.update(state="died", ended=runs_run.now())
    files.say("\n".join([message, *tails, _by_hand(run)]), out)
    return code


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])


def cancel(run: Run) -> str:
    """End a run's job, wait until its kernel is gone too; a sentence that says how it stands.

    Raises
    ------
    ValueError
        If it has no job, or none that is not over; with the scheduler's own words if it refuses.
    """
    with _changing(run) as record:
        if record["ended"] is not None:
            raise ValueError(
                f"{run.name}: its jobs ended before (exit code {record['ended']}). There is nothing to cancel."
            )
        if not record["jobs"]:
            raise ValueError(
                f"{run.name}: nothing of it was submitted, so there is nothing to cancel. To submit it: {again(run)}"
            )
        record["cancelled"], job = runs_run.now(), record["jobs"][-1]["id"]
    try:
        schedulers.cancel(record["on"], job)
    except ValueError:
        with _changing(run) as changed:
            changed["cancelled"] = None
        raise
    until = time.monotonic() + CANCEL_S
    while schedulers.state(record["on"], job):
        if time.monotonic() > until:
            return (
                f"{record['on']} job {job} was asked to end and has not after {CANCEL_S:.0f} s; geonb status shows it."
            )
        time.sleep(POLL_S)
    with _changing(run) as changed:
        if changed["ended"] is None:
            changed |= {"ended": 5, "message": "cancelled"}
    if run.info["state"] in ("queued", "running", "died"):
        run.update(state="stopped", ended=runs_run.now(), pid=None)
    return f"{run.workload}/{run.name}: {record['on']} job {job} is cancelled. To go on: {again(run)}"


def table(root: Path | None = None, all_runs: bool = False) -> pd.DataFrame:
    """Runs with jobs, the newest first: where they stand, and what the scheduler says. Without those that are over, unless `all_runs`."""
    rows = []
    for file in sorted((root or project.project_root()).glob(f"runs/*/*/{RECORD}"), reverse=True):
        run = runs_run.Run(file.parent.parent)
        record = files.read_json(file)
        if record["ended"] is not None and not all_runs:
            continue
        last = record["jobs"][-1] if record["jobs"] else None
        try:
            known = schedulers.state(record["on"], last["id"]) if last and record["ended"] is None else ""
        except ValueError as error:
            known = f"no answer: {error}".partition("\n")[0]
        info, pieces = run.info, record["pieces"]
        steps = [name for name, step in info["steps"].items() if step.get("state") == "done"]
        rows.append(
            {
                "run": f"{run.workload}/{run.name}", "on": record["on"], "job": last["id"] if last else "not submitted",
                "scheduler says": known or ("gone" if last and record["ended"] is None else ""), "state": info["state"],
                "steps": ",".join(str(n) for n in pieces[record["at"]]["steps"]), "done": len(steps),
                "jobs": len(record["jobs"]), "note": record["waiting"] or record["message"],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
