"""Run a workload's notebooks, one kernel a step, into a run folder; resume where a run was broken off.

``run("segmentation", {"epochs": 5}, steps="1-3")`` from Python does what ``geonb run segmentation --steps 1-3 -p epochs=5``
does from a shell. Everything is checked before the first kernel starts.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from geonb.base import files, manifest
from geonb.base.manifest import CURED
from geonb.runs import run as runs_run
from geonb.runs.plan import Plan, Step, number_of, prepare, two_words
from geonb.runs.resume import changes, signature

if TYPE_CHECKING:
    from geonb.runs.kernels import Outcome, Stop

LOCK_WAIT_S = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)  # Grid Engine warns by SIGUSR2
RESERVE, RESERVE_BYTES = ".reserve", 2**18  # room for a run's last word, kept in case its disk is full by then
LONGEST_S = 366 * 86_400


def run(
    workload: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    steps: str | None = None,
    resume: bool | str = False,
    file: Path | str | None = None,
    cell_timeout_s: int | None = None,
    root: Path | None = None,
) -> runs_run.Run:
    """Run a workload's notebooks and write its report.

    Parameters
    ----------
    workload : a known name, or an import path ``"package.module:RECORD"``
    parameters : dict of name -> value, over those of `file`, over the notebooks' defaults
    steps : which notebooks by their numbers, e.g. ``"1-3"`` or ``"2,4"``; default all
    resume : True for the newest run, or its name; finished steps with the same parameters and inputs are skipped
    file : YAML file with parameters
    cell_timeout_s : int, s
        Longest time a cell may take.
    root : project root

    Returns
    -------
    Run

    Raises
    ------
    ValueError, FileNotFoundError, PermissionError
        If something is wrong with the request; nothing was run.
    RuntimeError
        If a step failed or was stopped; the message says where, why, and what resumes it.
    """
    check_limit(cell_timeout_s)
    plan = prepare(workload, parameters, steps=steps, resume=resume, file=file, root=root)
    code, message = run_steps(plan, cell_timeout_s=cell_timeout_s)
    if code:
        raise RuntimeError(message)
    return plan.run


def check_limit(cell_timeout_s: int | None) -> None:
    """Refuse a time limit that is none.

    Raises
    ------
    ValueError
        Unless it is a whole number of seconds from 1, or None.
    """
    known = cell_timeout_s is None or (type(cell_timeout_s) is int and 1 <= cell_timeout_s <= LONGEST_S)
    if not known:
        raise ValueError(
            f"The time limit of a cell, {cell_timeout_s} s, is none. Give whole seconds, 1 to {LONGEST_S} (a year), or leave it "
            "out for no limit."
        )


def run_steps(
    plan: Plan, *, cell_timeout_s: int | None = None, out: TextIO | None = None, after: Callable[[], None] | None = None
) -> tuple[int, str]:
    """Run a plan's steps, then write the report, also after a failure.

    Parameters
    ----------
    after : callable, optional
        Called when a step is done.

    Returns
    -------
    (exit code, message)
        0 done, 3 a cell failed, 4 the kernel died or memory ran out, 5 stopped by a signal or a time limit. The message is
        empty when all is done, else it says where, why, and what resumes the run.

    Raises
    ------
    ValueError, OSError
        If the run is in use, or its folder cannot be written: nothing was run.
    """
    from geonb.runs import kernels

    out = out or sys.stdout
    stop = kernels.Stop()
    with locked(plan.run) as lock, _signals(stop):
        _begin(plan)
        try:
            files.write_text(plan.run.path / "parameters.yaml", runs_run.parameters_text(plan.workload, plan.settings))
            plan.run.notebooks.mkdir(exist_ok=True)
            files.say(f"{plan.workload}: {plan.run.path.relative_to(plan.root)}", out)
            kernels.sweep(_label(plan.run))  # the lock is ours, so what carries this label is dead
            code, message = _each_step(plan, stop, lock, cell_timeout_s, out, after)
        except (Exception, KeyboardInterrupt) as error:
            code, message = _broken_off(plan, stop, error)
        if unsaid := _settle(plan.run, code, message):
            code, message = code or 3, message + unsaid
        report = _report(plan.run)
        manifest.note_made(plan.run.path, "parameters.yaml", "environment.txt")
    return (code, f"{message}\n{report}") if code else _finish(plan, report, out)


def _begin(plan: Plan) -> None:
    """Sweep what a kill left half-written (the lock is ours: nobody but a report is writing), keep some room, say that we run."""
    run, reserve = plan.run, plan.run.path / RESERVE
    for folder in (run.path, run.notebooks, run.checkpoints):
        for left in folder.glob("*.partial*"):
            if left.is_file() and not left.name.startswith("report.html"):
                left.unlink(missing_ok=True)
    try:
        reserve.write_bytes(os.urandom(RESERVE_BYTES))  # zeros would take no room on some disks
        # the record's texts are kept, for who reads the run without knowing the workload
        run.update(state="running", ended=None, **runs_run.this_process(), **runs_run.facts_of(plan.workload))
    except OSError as error:
        reserve.unlink(missing_ok=True)
        raise OSError(
            error.errno, f"{error.strerror}. Nothing was run. See to it, and run again", str(run.path)
        ) from error


def _broken_off(plan: Plan, stop: Stop, error: BaseException) -> tuple[int, str]:
    """What becomes of a run when running it fails, and not a cell: the disk is full, somebody pressed Ctrl-C twice, a fault of ours."""
    if isinstance(error, KeyboardInterrupt):
        return 5, f"Stopped by {stop.reason or 'SIGINT'}.\n{_resume_line(plan)}"
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return 4, f"Memory ran out beside the kernel ({told}).\n{_resume_line(plan)}"
    if isinstance(error, (OSError, ValueError)):
        return 3, f"The run could not go on: {told}{_full(plan, told)}\n{_resume_line(plan)}"
    log = plan.run.path / "log.txt"
    with suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    return 3, f"geonb itself failed ({told}). Please report it, with the end of {log}.\n{_resume_line(plan)}"


def _settle(run: runs_run.Run, code: int, message: str) -> str:
    """Write how the run ended; where even that fails, a line that says so."""
    state = {0: "done", 5: "stopped"}.get(code, "failed")
    with suppress(OSError):
        (run.path / RESERVE).unlink(missing_ok=True)
    try:
        open_steps = [name for name, step in run.info["steps"].items() if step.get("state") == "running"]
        told = " ".join(message.split("\n")[:1]) or None
        steps = {
            name: {"state": state, "ended": runs_run.now(), "exit_code": code, "error": told} for name in open_steps
        }
        run.update(state=state, ended=runs_run.now(), pid=None, steps=steps)
    except (OSError, ValueError) as error:
        return f"\nIts state could not be written ({error}): `geonb runs` will show it as died."
    return ""


def _each_step(
    plan: Plan, stop: Stop, lock: int, limit_s: int | None, out: TextIO, after: Callable[[], None] | None
) -> tuple[int, str]:
    """Run the steps that are to be run, up to the first that does not end well."""
    upstream, again = _before(plan), not plan.resume
    for step in plan.steps:
        inputs = signature(plan, step, upstream)
        before = plan.run.info["steps"].get(step.name, {})
        changed = changes(plan.run, step, before, inputs)
        if again or changed:
            if not again and before.get("state") == "done":
                files.say(f"{step.name:<28} was done, but runs again: {changed} changed", out)
            again = True
            outcome = _run_step(plan, step, inputs, stop, lock, limit_s, out)
            if outcome.exit_code:
                return outcome.exit_code, explain(plan, step, outcome)
            if after:
                after()
        else:
            files.say(f"{step.name:<28} done before ({before['ended'][:16]}), same parameters and inputs: skipped", out)
        upstream = step.name
        if stop.reason:
            return 5, f"Stopped by {stop.reason} after {step.name}.\n{_resume_line(plan)}"
    return 0, ""


def _run_step(plan: Plan, step: Step, inputs: dict, stop: Stop, lock: int, limit_s: int | None, out: TextIO) -> Outcome:
    from geonb.runs import kernels, monitor

    record = {"state": "running", "parameters": step.values, "inputs": inputs, "started": runs_run.now(), "error": None}
    plan.run.update(steps={step.name: record | {"ended": None, "exit_code": None}})
    given = {"workload": plan.workload, "run": plan.run.name}
    values = dict(step.values) | {name: value for name, value in given.items() if name in step.declared}
    with _bar(step, out) as bar, ExitStack() as closing:
        log = monitor.Log(plan.run.path / "log.txt", on_line=lambda line: _show_epoch(line, bar, out))
        closing.callback(log.close)
        log.write(f"=== {step.name} {record['started']}\n", "cells")
        try:
            outcome = kernels.execute(
                step.notebook,
                plan.run.notebooks / f"{step.name}.ipynb",
                values,
                log,
                env=_environment(plan),
                cell_timeout_s=limit_s,
                stop=stop,
                keep_open=(lock,),
                label=_label(plan.run),
                on_cell=lambda cell, of, title: _advance(bar, cell, of, title),
                on_progress=bar.set_description_str,
            )
        except OSError as error:  # the disk is full, or the folder went away
            state = "died" if error.errno == errno.ENOMEM else "failed"
            outcome = kernels.Outcome(state, error=f"{type(error).__name__}: {error}")
    facts = {name: getattr(outcome, name) for name in ("cells", "seconds", "peak_memory_mb", "exit_code")}
    state = {"died": "failed"}.get(outcome.state, outcome.state)
    plan.run.update(
        steps={step.name: facts | {"state": state, "ended": runs_run.now(), "error": outcome.error or None}}
    )
    manifest.note_made(plan.run.path, f"notebooks/{step.name}.ipynb")
    word = "done" if outcome.state == "done" else outcome.state.upper()
    files.say(f"{step.name:<28} {word:<7} {_span(outcome.seconds):>10}   peak {_size(outcome.peak_memory_mb)}", out)
    return outcome


def _environment(plan: Plan) -> dict[str, str]:
    """Environment variables of a step's kernel, on top of ours."""
    own = {"GEONB_HEADLESS": "1", "GEONB_ROOT": str(plan.root)}
    if ":" in plan.workload:  # the record's module may lie in the project or where we are
        paths = [str(plan.root), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
        own["PYTHONPATH"] = os.pathsep.join(paths)
    return own


def _before(plan: Plan) -> str | None:
    """The last step before the first chosen one that this run has a record of."""
    earlier = [n for n in plan.run.info["steps"] if number_of(n) < plan.steps[0].number]
    return max(earlier, default=None)


def explain(plan: Plan, step: Step, outcome: Outcome) -> str:
    """Tell where and why a step ended, what the cell printed last, where the partial notebook lies, what resumes the run."""
    at = f', cell {outcome.cell} of {outcome.n_cells} ("{outcome.title}")' if outcome.n_cells else ""
    where = f"{step.name}{at}: "
    error = outcome.error.strip().splitlines() or ["ended without a message"]
    lines = ["", where + error[0], *error[1:30]]
    if outcome.printed:
        lines += ["The cell printed last:", *(f"  {line}" for line in outcome.printed.splitlines())]
    partial = plan.run.notebooks / f"{step.name}.ipynb"
    lines += [
        f"Partial notebook: {partial.relative_to(plan.root)}",
        f"Log: {(plan.run.path / 'log.txt').relative_to(plan.root)}",
    ]
    lines += filter(None, [_full(plan, outcome.error).strip()])
    lines += filter(None, [_kept(plan, step)])
    if outcome.state == "died" and "memory" in outcome.error.lower():
        lines.append("Give less at once (a smaller `batch` or `patch`), or ask for more memory, then:")
    # what is damaged was made by a step before: only a resumption of all makes it again
    lines.append(_resume_line(plan, every=CURED in outcome.error))
    return "\n".join(lines)


def _kept(plan: Plan, step: Step) -> str:
    """What of a training that was broken off is kept; empty where nothing is, or the step is another one."""
    log = plan.run.path / "log.csv"
    if step.number != 2 or not (plan.run.checkpoints / "last.ckpt").is_file() or not log.is_file():
        return ""
    epoch = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1].partition(",")[0]
    return f"Kept: epoch {epoch} of the training; resumed with the same settings, it goes on from there."


def _full(plan: Plan, error: str) -> str:
    """How much room there is, where an error says that there is none."""
    if not any(words in error for words in ("No space left", "Disk quota exceeded")):
        return ""
    free = shutil.disk_usage(plan.run.path).free
    return f"\nOn the disk of {plan.run.path} {free / 1e6:,.1f} MB are free. Free some space, then:"


def _resume_line(plan: Plan, every: bool = False) -> str:
    every |= len(plan.steps) == len(plan.record.steps) + 1
    steps = "" if every else f" --steps {','.join(str(s.number) for s in plan.steps)}"
    return f"Resume with: geonb run {plan.workload} --resume {two_words(plan.run)}{steps}"


def _report(run: runs_run.Run) -> str:
    """Write the report; return a line that says where it is, or why it could not be made."""
    try:
        from geonb.runs import report as runs_report

        return f"Report: {runs_report.write_report(run.path)}"
    except (Exception, KeyboardInterrupt) as error:  # a report must never hide how the run ended
        return f"The report could not be made: {type(error).__name__}: {error}\nTry again with: geonb report {two_words(run)}"


def _finish(plan: Plan, report: str, out: TextIO) -> tuple[int, str]:
    if told := runs_run.older_scores(plan.run.info):
        files.say(f"\n{told[0].upper()}{told[1:]}.", out)
    elif plan.run.scores.is_file():
        try:
            from geonb import scores

            files.say("\n" + scores.summary(scores.read_scores(plan.run.scores)), out)
        except Exception as error:
            files.say(f"The scores could not be shown: {type(error).__name__}: {error}", out)
    if report.startswith("Report: "):
        files.say(report, out)
        return 0, ""
    return 3, report


@contextmanager
def locked(run: runs_run.Run) -> Iterator[int]:
    """Hold a run folder for ourselves; the kernels inherit the lock, so that it lasts as long as the last of them."""
    with (run.path / runs_run.LOCK).open("a") as handle:
        deadline = time.monotonic() + LOCK_WAIT_S  # a kernel whose runner was killed needs a moment to end
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    pid = run.info.get("pid")
                    raise ValueError(
                        f"{run.name} is being run by another process (pid {pid}). Wait for it, or start a run of your own."
                    ) from None
                time.sleep(0.2)
        yield handle.fileno()


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """Let signals stop the run calmly; only a main thread may ask for them. With ``nohup`` a terminal may hang up."""
    with ExitStack() as restore:
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                    continue
                restore.callback(signal.signal, signum, signal.signal(signum, stop))
        yield


def _bar(step: Step, out: TextIO) -> Any:
    """A bar over cells: in a terminal, or in JupyterLab when called from a notebook; else disabled."""
    from tqdm import tqdm

    form = f"{step.name} {{n}}/{{total}} |{{bar:20}}| {{desc}}"
    options: dict[str, Any] = {"unit": "cell", "leave": False, "bar_format": form}
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from tqdm.auto import tqdm as auto

        return auto(total=1, **options)
    return tqdm(total=1, file=sys.stderr, disable=None, **options)


def _label(run: runs_run.Run) -> str:
    return f"geonb-kernel-{hashlib.sha256(str(run.path).encode()).hexdigest()[:8]}"


def _advance(bar: Any, cell: int, of: int, title: str) -> None:
    bar.total, bar.n = of, max(cell - 1, 0)
    bar.set_description_str(title)


def _show_epoch(line: str, bar: Any, out: TextIO) -> None:
    """Show what the training says of an epoch; the rest of what cells print is in the log."""
    if line.startswith("epoch "):
        with bar.external_write_mode(file=out):
            files.say(f"  {line}", out)


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _size(mb: float) -> str:
    return f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1024:.1f} GB"
