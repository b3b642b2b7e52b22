"""Run a workload's notebooks, one kernel a step, into a run folder; resume where a run was broken off.

``run("segmentation", {"epochs": 5}, steps="1-3")`` from Python does what ``geonb run segmentation --steps 1-3 -p epochs=5``
does from a shell. Everything is checked before the first kernel starts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from geonb.base import files
from geonb.runs import run as runs_run
from geonb.runs.plan import Plan, Step, number_of, prepare, two_words
from geonb.runs.resume import changes, signature

if TYPE_CHECKING:
    from geonb.runs.kernels import Outcome, Stop

LOCK_WAIT_S = 10.0


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
    plan = prepare(workload, parameters, steps=steps, resume=resume, file=file, root=root)
    code, message = run_steps(plan, cell_timeout_s=cell_timeout_s)
    if code:
        raise RuntimeError(message)
    return plan.run


def run_steps(plan: Plan, *, cell_timeout_s: int | None = None, out: TextIO | None = None) -> tuple[int, str]:
    """Run a plan's steps, then write the report, also after a failure.

    Returns
    -------
    (exit code, message)
        0 done, 3 a cell failed, 4 the kernel died or memory ran out, 5 stopped by a signal or a time limit. The message is
        empty when all is done, else it says where, why, and what resumes the run.
    """
    from geonb.runs import kernels

    out = out or sys.stdout
    stop = kernels.Stop()
    with _locked(plan.run) as lock, _signals(stop):
        # the record's texts are kept, for who reads the run without knowing the workload
        plan.run.update(state="running", ended=None, pid=os.getpid(), **runs_run.facts_of(plan.workload))
        files.write_text(plan.run.path / "parameters.yaml", runs_run.parameters_text(plan.workload, plan.settings))
        plan.run.notebooks.mkdir(exist_ok=True)
        _say(out, f"{plan.workload}: {plan.run.path.relative_to(plan.root)}")
        kernels.sweep(_label(plan.run))  # the lock is ours, so what carries this label is dead
        code, message = _each_step(plan, stop, lock, cell_timeout_s, out)
        plan.run.update(state={0: "done", 5: "stopped"}.get(code, "failed"), ended=runs_run.now(), pid=None)
        report = _report(plan.run)
    return (code, f"{message}\n{report}") if code else _finish(plan, report, out)


def _each_step(plan: Plan, stop: Stop, lock: int, limit_s: int | None, out: TextIO) -> tuple[int, str]:
    """Run the steps that are to be run, up to the first that does not end well."""
    upstream, again = _before(plan), not plan.resume
    for step in plan.steps:
        inputs = signature(plan, step, upstream)
        before = plan.run.info["steps"].get(step.name, {})
        changed = changes(plan.run, step, before, inputs)
        if again or changed:
            if not again and before.get("state") == "done":
                _say(out, f"{step.name:<28} was done, but runs again: {changed} changed")
            again = True
            outcome = _run_step(plan, step, inputs, stop, lock, limit_s, out)
            if outcome.exit_code:
                return outcome.exit_code, explain(plan, step, outcome)
        else:
            _say(out, f"{step.name:<28} done before ({before['ended'][:16]}), same parameters and inputs: skipped")
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
            )
        except OSError as error:  # the disk is full, or the folder went away
            outcome = kernels.Outcome("failed", error=f"{type(error).__name__}: {error}")
    facts = {name: getattr(outcome, name) for name in ("cells", "seconds", "peak_memory_mb", "exit_code")}
    state = {"died": "failed"}.get(outcome.state, outcome.state)
    plan.run.update(
        steps={step.name: facts | {"state": state, "ended": runs_run.now(), "error": outcome.error or None}}
    )
    word = "done" if outcome.state == "done" else outcome.state.upper()
    _say(out, f"{step.name:<28} {word:<7} {_span(outcome.seconds):>10}   peak {_size(outcome.peak_memory_mb)}")
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
    where = f'{step.name}, cell {outcome.cell} of {outcome.n_cells} ("{outcome.title}"): '
    error = outcome.error.strip().splitlines() or ["ended without a message"]
    lines = ["", where + error[0], *error[1:30]]
    if outcome.printed:
        lines += ["The cell printed last:", *(f"  {line}" for line in outcome.printed.splitlines())]
    partial = plan.run.notebooks / f"{step.name}.ipynb"
    lines += [
        f"Partial notebook: {partial.relative_to(plan.root)}",
        f"Log: {(plan.run.path / 'log.txt').relative_to(plan.root)}",
    ]
    if outcome.state == "died" and "memory" in outcome.error.lower():
        lines.append("Give less at once (a smaller `batch` or `patch`), or ask for more memory, then:")
    lines.append(_resume_line(plan))
    return "\n".join(lines)


def _resume_line(plan: Plan) -> str:
    every = len(plan.steps) == len(plan.record.steps) + 1
    steps = "" if every else f" --steps {','.join(str(s.number) for s in plan.steps)}"
    return f"Resume with: geonb run {plan.workload} --resume {two_words(plan.run)}{steps}"


def _report(run: runs_run.Run) -> str:
    """Write the report; return a line that says where it is, or why it could not be made."""
    try:
        from geonb.runs import report as runs_report

        return f"Report: {runs_report.write_report(run.path)}"
    except Exception as error:  # a report must never hide how the run ended
        return f"The report could not be made: {type(error).__name__}: {error}\nTry again with: geonb report {two_words(run)}"


def _finish(plan: Plan, report: str, out: TextIO) -> tuple[int, str]:
    if plan.run.scores.is_file():
        try:
            from geonb import scores

            _say(out, "\n" + scores.summary(plan.run.path))
        except Exception as error:
            _say(out, f"The scores could not be shown: {type(error).__name__}: {error}")
    if report.startswith("Report: "):
        _say(out, report)
        return 0, ""
    return 3, report


@contextmanager
def _locked(run: runs_run.Run) -> Iterator[int]:
    """Hold a run folder for ourselves; the kernels inherit the lock, so that it lasts as long as the last of them."""
    with (run.path / ".running.lock").open("a") as handle:
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
    """Let signals stop the run calmly; only a main thread may ask for them."""
    with ExitStack() as restore:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                restore.callback(signal.signal, signum, signal.signal(signum, stop))
        yield


def _bar(step: Step, out: TextIO) -> Any:
    """A bar over cells: in a terminal, or in JupyterLab when called from a notebook; else disabled."""
    from tqdm import tqdm

    options = {
        "desc": step.name,
        "unit": "cell",
        "leave": False,
        "bar_format": "{desc} {n}/{total} |{bar:20}| {postfix}",
    }
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from tqdm.auto import tqdm as auto

        return auto(total=1, **options)
    return tqdm(total=1, file=sys.stderr, disable=None, **options)


def _label(run: runs_run.Run) -> str:
    return f"geonb-kernel-{hashlib.sha256(str(run.path).encode()).hexdigest()[:8]}"


def _advance(bar: Any, cell: int, of: int, title: str) -> None:
    bar.total, bar.n = of, max(cell - 1, 0)
    bar.set_postfix_str(title)


def _show_epoch(line: str, bar: Any, out: TextIO) -> None:
    """Show what the training says of an epoch; the rest of what cells print is in the log."""
    if line.startswith("epoch "):
        with bar.external_write_mode(file=out):
            _say(out, f"  {line}")


def _say(out: TextIO, line: str) -> None:
    print(line, file=out, flush=True)


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _size(mb: float) -> str:
    return f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1024:.1f} GB"
