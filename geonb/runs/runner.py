"""Run a workload's notebooks, one kernel a step, into a run folder; resume where a run was broken off.

``run("segmentation", {"epochs": 5}, steps="1-3")`` from Python does what ``geonb run segmentation --steps 1-3 -p epochs=5``
does from a shell. Everything is checked before the first kernel starts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from geonb import parameters, registry
from geonb.base import files, project, specs
from geonb.runs import resume as runs_resume
from geonb.runs import run as runs_run

if TYPE_CHECKING:
    from geonb.registry import Workload
    from geonb.runs.kernels import Outcome, Stop

LOCK_WAIT_S = 10.0


@dataclass(frozen=True)
class Step:
    """A notebook to run, with its settled parameters (`workload` and `run` are added when it starts)."""

    name: str
    notebook: Path
    declared: Mapping[str, parameters.Declared]
    values: dict[str, Any]

    @property
    def number(self) -> int:
        return int(re.match(r"\d+", self.name)[0])


@dataclass(frozen=True)
class Plan:
    """A checked run: which folder, which steps, in order."""

    workload: str
    record: Workload
    root: Path
    run: runs_run.Run
    steps: list[Step]
    settings: dict[str, Any]
    resume: bool = False


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


def prepare(
    workload: str,
    values: Mapping[str, Any] | None = None,
    *,
    texts: Mapping[str, str] | None = None,
    steps: str | None = None,
    resume: bool | str = False,
    file: Path | str | None = None,
    root: Path | None = None,
) -> Plan:
    """Check a request as a whole and open or make its run folder; see :func:`run`. `texts` are untyped values of ``-p``."""
    root = Path(root or project.project_root()).resolve()
    record = _record(workload, root)
    notebooks = find_notebooks(record, root)
    chosen = choose(notebooks, steps)
    declared = {name: parameters.read(path) for name, path in notebooks.items() if path.is_file() or name in chosen}
    given = parameters.load_yaml(file) if file else {}
    given |= dict(values or {}) | parameters.parse_texts(declared, texts or {})
    try:
        parameters.check(declared, given, record, root)
    except ValueError as error:
        raise ValueError(f"{error}" + (f"\n(also read: {file})" if file else "")) from None

    found = _existing(workload, record, chosen, resume, root)
    if found:
        known = {name for lines in declared.values() for name in lines}
        given = {k: v for k, v in found.parameters.items() if k in known and k not in parameters.SET_BY_RUNNER} | given
    settled = parameters.check(declared, given, record, root)
    if record.check and record.dataset.endswith(f"/{chosen[0]}.ipynb"):
        _check_together(record, flat(settled), root)
    planned = [Step(name, notebooks[name], declared[name], settled[name]) for name in chosen]
    if found and not resume and planned[0].number == 2 and _differs(found, planned[0]):
        found = _branch(workload, found, settled, root)  # other settings: another experiment on the same samples
    run = found or runs_run.new_run(workload, flat(settled), root)
    if found and not os.access(run.path / "run.json", os.W_OK):
        raise PermissionError(f"Cannot write in {run.path}. Check its permissions, or start a run of your own.")
    return Plan(workload, record, root, run, planned, flat(settled), bool(resume))


def _check_together(record: Workload, values: dict[str, Any], root: Path) -> None:
    if faults := specs.load(record.check)(values, root):
        raise ValueError("Parameters are not right, nothing was run:\n" + "\n".join(f"  {f}" for f in faults))


def describe(workload: str, root: Path | None = None) -> str:
    """List every parameter of a workload's notebooks: type, default, allowed values, help."""
    root = Path(root or project.project_root()).resolve()
    record = _record(workload, root)
    paths = find_notebooks(record, root)
    return parameters.describe({name: parameters.read(path) for name, path in paths.items()}, record)


def _record(workload: str, root: Path) -> Workload:
    # a workload of your own may lie in the project or where you are; kernels get the same folders
    sys.path += [str(folder) for folder in (root, Path.cwd()) if str(folder) not in sys.path]
    return registry.get(workload)


def find_notebooks(record: Workload, root: Path) -> dict[str, Path]:
    """Notebooks of a workload in their order: step -> path."""
    paths = [root / record.dataset, *(root / "notebooks" / f"{step}.ipynb" for step in record.steps)]
    return {path.stem: path for path in paths}


def choose(notebooks: Mapping[str, Path], steps: str | None) -> list[str]:
    """Pick steps by their leading numbers, as in ``"1-3,5"``; None is all.

    Raises
    ------
    ValueError
        If a number names no step; lists the steps there are.
    """
    numbers = {name: int(re.match(r"\d+", name)[0]) for name in notebooks}
    if steps is None:
        return list(notebooks)
    wanted: set[int] = set()
    faults = []
    for part in str(steps).split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        span = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        unknown = [n for n in span if n not in numbers.values()]
        if not span or unknown:
            faults.append(part.strip())
        wanted |= set(span)
    if faults:
        raise ValueError(
            f"Steps {steps!r}: {', '.join(map(repr, faults))} name no step. Write numbers or ranges, as 1-3 or 2,4. "
            f"There are: {', '.join(notebooks)}."
        )
    return [name for name, number in numbers.items() if number in wanted]


def _existing(
    workload: str, record: Workload, chosen: list[str], resume: bool | str, root: Path
) -> runs_run.Run | None:
    """The run folder to go on with, or None for a new one."""
    first = int(re.match(r"\d+", chosen[0])[0])
    if not resume and first == 1:
        return None
    try:
        found = runs_run.open_run(workload, "latest" if resume in (True, False) else resume, root)
    except FileNotFoundError as error:
        if resume not in (True, False) or first > 2:
            raise
        if resume or not any((root / "data" / record.name).glob("*/store.json")):
            raise FileNotFoundError(
                f"{error.args[0]}\nStep {first} needs a sample store too: begin with step 1 (`geonb run {workload}`)."
            ) from None
        return None  # step 2 finds the newest sample store by itself
    info = found.info
    needed = [n for n in info["steps"] if 1 < int(n[:2]) < min(first, 4)]
    unfinished = [n for n in needed if info["steps"][n]["state"] != "done" and n not in chosen]
    if unfinished:
        raise ValueError(
            f"{', '.join(chosen)} needs {', '.join(unfinished)}, unfinished in {found.name}. "
            f"Finish it: geonb run {workload} --resume {short(found)}"
        )
    return found


def _differs(found: runs_run.Run, step: Step) -> bool:
    before = found.info["steps"].get(step.name)
    return before is not None and before.get("parameters") != step.values


def _branch(workload: str, found: runs_run.Run, settled: Mapping[str, dict], root: Path) -> runs_run.Run:
    made = runs_run.new_run(workload, flat(settled), root)
    info = found.info
    kept = {name: record for name, record in info["steps"].items() if name.startswith("01")}
    made.notebooks.mkdir()
    for name in kept:
        shutil.copy(found.notebooks / f"{name}.ipynb", made.notebooks)
    made.update(store=info["store"], steps=kept)
    return made


def flat(settled: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Parameters of all steps as one mapping; a name on whose value the steps' defaults differ is left to them."""
    values: dict[str, list[Any]] = {}
    for step in settled.values():
        for name, value in step.items():
            values.setdefault(name, []).append(value)
    return {name: found[0] for name, found in values.items() if all(v == found[0] for v in found)}


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
    code, message = 0, ""
    stop = kernels.Stop()
    with _locked(plan.run) as lock, _signals(stop):
        plan.run.update(state="running", ended=None, pid=os.getpid())
        files.write_text(plan.run.path / "parameters.yaml", runs_run.parameters_text(plan.workload, plan.settings))
        plan.run.notebooks.mkdir(exist_ok=True)
        _say(out, f"{plan.workload}: {plan.run.path.relative_to(plan.root)}")
        kernels.sweep(_label(plan.run))  # the lock is ours, so what carries this label is dead
        upstream = _before(plan)
        again = False
        for step in plan.steps:
            inputs = runs_resume.signature(plan, step, upstream)
            before = plan.run.info["steps"].get(step.name, {})
            changed = runs_resume.changes(plan.run, step, before, inputs)
            if plan.resume and not again and not changed:
                _say(out, f"{step.name:<28} done before ({before['ended'][:16]}), same parameters and inputs: skipped")
            else:
                if plan.resume and not again and before.get("state") == "done":
                    _say(out, f"{step.name:<28} was done, but runs again: {changed} changed")
                again = True
                outcome = _run_step(plan, step, inputs, stop, lock, cell_timeout_s, out)
                code = outcome.exit_code
                if code:
                    message = explain(plan, step, outcome)
                    break
            upstream = step.name
            if stop.reason:
                code, message = 5, f"Stopped by {stop.reason} after {step.name}.\n{_resume_line(plan)}"
                break
        state = {0: "done", 5: "stopped"}.get(code, "failed")
        plan.run.update(state=state, ended=runs_run.now(), pid=None)
        report = _report(plan.run)
    if code == 0:
        code, message = _finish(plan, report, out)
    else:
        message += f"\n{report}"
    return code, message


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
    earlier = [n for n in plan.run.info["steps"] if int(n[:2]) < plan.steps[0].number]
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
    steps = (
        ""
        if len(plan.steps) == len(plan.record.steps) + 1
        else f" --steps {','.join(str(s.number) for s in plan.steps)}"
    )
    return f"Resume with: geonb run {plan.workload} --resume {short(plan.run)}{steps}"


def short(run: runs_run.Run) -> str:
    """The two words of a run's name."""
    return run.name.partition("_")[2] or run.name


def _report(run: runs_run.Run) -> str:
    """Write the report; return a line that says where it is, or why it could not be made."""
    try:
        from geonb.runs import report as runs_report

        return f"Report: {runs_report.write_report(run.path)}"
    except Exception as error:  # a report must never hide how the run ended
        return (
            f"The report could not be made: {type(error).__name__}: {error}\nTry again with: geonb report {short(run)}"
        )


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
