"""What a run is to do: its record, notebooks and parameters, checked as a whole before the first kernel starts."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb import parameters, registry
from geonb.base import project, specs, trust
from geonb.base.conventions import refuse
from geonb.base.files import read_json
from geonb.runs import latest
from geonb.runs import run as runs_run

if TYPE_CHECKING:
    from geonb.registry import Workload

# What the shared notebooks need of a run that they go on with, by their numbers.
NEEDS = {3: ("store", "model"), 4: ("predictions",), 5: ("store", "model"), 6: ("store", "predictions")}


@dataclass(frozen=True)
class Step:
    """A notebook to run, with its settled parameters (`workload` and `run` are added when it starts)."""

    name: str
    notebook: Path
    declared: Mapping[str, parameters.Declared]
    values: dict[str, Any]

    @property
    def number(self) -> int:
        return number_of(self.name)


@dataclass(frozen=True)
class Plan:
    """A checked run: which folder, which steps, in order.

    `home` is where the project lives, if `root` is but its picture in a node's scratch folder.
    """

    workload: str
    record: Workload
    root: Path
    run: runs_run.Run
    steps: list[Step]
    settings: dict[str, Any]
    resume: bool = False
    home: Path | None = None


def prepare(
    workload: str,
    values: Mapping[str, Any] | None = None,
    *,
    texts: Mapping[str, str] | None = None,
    steps: str | None = None,
    resume: bool | str = False,
    file: Path | str | None = None,
    base: runs_run.Run | None = None,
    root: Path | None = None,
    home: Path | None = None,
    also: Callable[[Sequence[Step]], list[str]] | None = None,
) -> Plan:
    """Check a request as a whole and open or make its run folder; see :func:`geonb.runs.runner.run`.

    Parameters
    ----------
    texts : untyped values of ``-p``
    base : a run whose samples a new one goes on with, from step 2 on
    home : where the project lives, if `root` is but its picture in a node's scratch folder
    also : what else is wrong with the steps, for whoever runs them
    """
    root = Path(root or project.project_root()).resolve()
    record = name_workload(workload, root)
    notebooks = find_notebooks(record, root)
    chosen = choose(notebooks, steps)
    declared = {name: parameters.read(path) for name, path in notebooks.items() if path.is_file() or name in chosen}
    given = parameters.load_yaml(file) if file else {}
    yours = dict(values or {}) | parameters.parse_texts(declared, texts or {})
    _may_run(given, record, None if file and project.own(file, root) else f"the file {file}")
    _may_run(yours, record, None)
    given |= yours
    try:
        parameters.check(declared, given, record, root)
    except ValueError as error:
        raise ValueError(f"{error}" + (f"\n(also read: {file})" if file else "")) from None

    found = base or _existing(workload, record, chosen, resume, root)
    if found:
        known = {name for lines in declared.values() for name in lines}
        kept = {k: v for k, v in found.parameters.items() if k in known and k not in parameters.SET_BY_RUNNER}
        _may_run({k: v for k, v in kept.items() if k not in given}, record, f"the run {found.name}")
        given = kept | given
    settled = parameters.check(declared, given, record, root)
    refuse("Parameters are not right, nothing was run", _together(flat(settled), record, root, chosen), mark="  ")
    if record.check and record.dataset.endswith(f"/{chosen[0]}.ipynb"):
        faults = specs.load(record.check)(flat(settled), root)
        refuse("Parameters are not right, nothing was run", faults, mark="  ")
    planned = [Step(name, notebooks[name], declared[name], settled[name]) for name in chosen]
    if also:
        refuse("This cannot run as it is asked for, and nothing was run", also(planned), mark="  ")
    if base or (found and not resume and planned[0].number == 2 and _differs(found, planned[0])):
        assert found is not None
        found = _branch(workload, found, settled, root)  # other settings: another experiment on the same samples
    run = found or runs_run.new_run(workload, flat(settled), root, "stopped")
    if found and not os.access(run.path / "run.json", os.W_OK):
        raise PermissionError(f"Cannot write in {run.path}. Check its permissions, or start a run of your own.")
    return Plan(workload, record, root, run, planned, flat(settled), bool(resume), home)


def _may_run(values: Mapping[str, Any], record: Workload, whose: str | None) -> None:
    """Ask whether functions that parameters name may run: what you gave yourself (`whose` is None) may, on this machine from now on.

    Raises
    ------
    ValueError
        Lists those that a file names and that nobody on this machine named before.
    """
    faults = []
    for name, value in values.items():
        code = parameters.meaning_of(name, record).code
        path = specs.load(code)(value) if isinstance(code, str) and isinstance(value, str) else value
        if code and isinstance(path, str) and ":" in path:
            try:
                trust.demand(path, f"{name} in {whose}") if whose else trust.trust(path)
            except ValueError as error:
                faults.append(str(error))
    refuse("Parameters are not right, nothing was run", faults, mark="  ")


def _together(values: Mapping[str, Any], record: Workload, root: Path, chosen: Sequence[str]) -> list[str]:
    """What parameters that every workload has, right each by itself, cannot be together in the chosen steps."""
    faults = []
    numbers, shares = {number_of(step) for step in chosen}, str(values.get("shares"))
    if {1, 2} <= numbers and re.fullmatch(r"[^/]+/\s*0*(\.0*)?\s*/[^/]+", shares):
        faults.append(
            f"shares = {shares!r}: nothing is left for validation, by which the weights of a training are chosen"
        )
    if (weights := values.get("weights")) in ("swa", "ema"):
        from geonb.training.optimizers import AVERAGED, check_optimizer

        optimizer = str(values.get("optimizer") or record.defaults.get("optimizer") or "adamw")
        if check_optimizer(optimizer)[2][weights] is None:
            faults.append(
                f"weights = {weights!r}: optimizer = {optimizer!r} averages none. Add {weights}, as adamw:{AVERAGED[weights]}"
            )
    clusters, samples = values.get("clusters"), values.get("samples")
    if clusters and samples and clusters > samples:
        faults.append(f"clusters = {clusters}: of samples = {samples} windows there are no more kinds than that")
    if store := values.get("store"):
        kind = read_json(Path(root, Path(store).expanduser()) / "store.json").get("kind", "patches")
        if record.stores and kind not in record.stores:
            faults.append(f"store = {store!r} holds {kind}; {record.name} takes {', '.join(record.stores)}")
    return faults


def describe(workload: str, root: Path | None = None) -> str:
    """List every parameter of a workload's notebooks: type, default, allowed values, help."""
    root = Path(root or project.project_root()).resolve()
    record = name_workload(workload, root)
    paths = find_notebooks(record, root)
    return parameters.describe({name: parameters.read(path) for name, path in paths.items()}, record)


def name_workload(workload: str, root: Path) -> Workload:
    """The record that a user named on the command line; known in this process from here on.

    One of your own may lie in the project or where you are; kernels get the same folders. For geonb's own nothing is looked for
    there: it may be a folder that somebody sent, and libraries try to import what is not installed.
    """
    if ":" in workload:
        sys.path += [str(folder) for folder in (root, Path.cwd()) if str(folder) not in sys.path]
    return registry.get(workload)


def numbers(workload: str, root: Path | None = None) -> list[int]:
    """The numbers of a workload's steps."""
    root = Path(root or project.project_root()).resolve()
    return [number_of(name) for name in find_notebooks(name_workload(workload, root), root)]


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
    numbers = {name: number_of(name) for name in notebooks}
    if steps is None:
        return list(notebooks)
    wanted: set[int] = set()
    faults = []
    for part in str(steps).split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        span = {n for n in numbers.values() if first <= n <= last}
        if not {first, last} <= span:
            faults.append(part.strip())
        wanted |= span
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
    first, named = number_of(chosen[0]), resume if isinstance(resume, str) else "latest"
    if not resume and first == 1:
        return None
    try:
        found = runs_run.open_run(workload, named, root) if resume else _newest_for(workload, record, chosen, root)
    except FileNotFoundError as error:
        if isinstance(resume, str) or first > 2:
            raise
        if resume or not any((root / "data" / record.name).glob("*/store.json")):
            raise FileNotFoundError(
                f"{error.args[0]}\nStep {first} needs a sample store too: begin with step 1 (`geonb run {workload}`)."
            ) from None
        return None  # step 2 finds the newest sample store by itself
    if not found.path.is_relative_to(root / "runs"):
        raise ValueError(
            f"{found.path} is no run of this project, {root}. Go on with it in the checkout that it lies in."
        )
    info = found.info
    steps = info.get("steps")
    if not isinstance(steps, dict) or not all(isinstance(step, dict) for step in steps.values()):
        raise ValueError(
            f"{found.path / 'run.json'} is damaged: it tells of no steps. Begin anew: geonb run {workload}"
        )
    if info.get("workload", record.name) != record.name:
        raise ValueError(
            f"{found.path} is a run of {info['workload']}, not of {record.name}. Give the workload it is of: "
            f"geonb run {info['workload']} --resume {two_words(found)}"
        )
    if unfinished := _unfinished(info, chosen, 1):
        raise ValueError(
            f"{', '.join(chosen)} needs {', '.join(unfinished)}, unfinished in {found.name}. "
            f"Finish it: geonb run {workload} --resume {two_words(found)}"
        )
    return found


def _newest_for(workload: str, record: Workload, chosen: list[str], root: Path) -> runs_run.Run:
    """The newest run that steps can go on with: nobody else runs it, and what they build on is done.

    Where there is none such, the newest of all, which tells by itself what is wrong with it.
    """
    needs = NEEDS.get(number_of(chosen[0]), ()) if record.task else ()

    def lacks(run: runs_run.Run) -> str:
        if why := latest.lacking(run, needs):
            return why
        if run.info["state"] == "running":
            return f"is being run by another process (pid {run.info.get('pid')})"
        if run.info["state"] == "queued":
            return "waits for its job to begin"
        return "".join(f"{step} is unfinished" for step in _unfinished(run.info, chosen)[:1])

    try:
        return runs_run.newest(workload, lacks, root, needs)
    except FileNotFoundError:
        if needs:
            raise
        return runs_run.open_run(workload, "latest", root)


def _unfinished(info: Mapping[str, Any], chosen: Sequence[str], first: int = 2) -> list[str]:
    """Steps from a first one on that the chosen ones build on, and that a run began and did not end.

    A run whose sample set failed is not passed by for one of before: it is what somebody asked for last.
    """
    needed = [name for name in info["steps"] if first <= number_of(name) < min(number_of(chosen[0]), 4)]
    return [name for name in needed if info["steps"][name].get("state") != "done" and name not in chosen]


def _differs(found: runs_run.Run, step: Step) -> bool:
    before = found.info["steps"].get(step.name)
    return before is not None and before.get("parameters") != step.values


def _branch(workload: str, found: runs_run.Run, settled: Mapping[str, dict], root: Path) -> runs_run.Run:
    made = runs_run.new_run(workload, flat(settled), root, "stopped")
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


def number_of(step: str) -> int:
    """The number that a step's name begins with.

    Raises
    ------
    ValueError
        If it begins with none.
    """
    match = re.match(r"\d+", step)
    if match is None:
        raise ValueError(f"{step}.ipynb must begin with its number, as 01_dataset_mine.ipynb: steps are chosen by it.")
    return int(match[0])


def two_words(run: runs_run.Run) -> str:
    """The two words of a run's name."""
    return run.name.partition("_")[2] or run.name
