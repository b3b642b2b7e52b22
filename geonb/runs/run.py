"""The run folder: everything one experiment made. The table of all of them: :mod:`geonb.runs.run_table`.

``runs/<workload>/<date>_<two words>/`` holds ``parameters.yaml``, ``environment.txt``, ``run.json`` (state, time of each
cell, peak memory of each step), ``checkpoints/``, executed ``notebooks/``, predictions, embeddings, scores, figures and
``report.html``. ``run.json`` is written last and whole: it is the seal.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb import registry
from geonb.base.conventions import VERSION, WORKLOADS
from geonb.base.files import locked, read_json, write_text
from geonb.base.project import plain_name, project_root
from geonb.runs import latest

if TYPE_CHECKING:
    import lightning as L

    from geonb.store.store import Store

FORMAT = 1
STATES = (
    "queued",
    "running",
    "done",
    "failed",
    "stopped",
    "died",
    "interactive",
)  # died: by `read_info`, nobody could write it
LOCK = ".running.lock"  # held by the process that runs a run, and by its kernels
FORMS: dict[str, tuple[type, ...]] = {
    "state": (str,), "started": (str,), "steps": (dict,), "name": (str,), "workload": (str,), "store": (str, type(None)),
    "ended": (str, type(None)), "headline": (dict, type(None)), "training": (dict, type(None)),
}  # fmt: skip
ADJECTIVES = (
    "amber brave bright calm clear cool crisp deft early eager fair fleet fond free fresh gentle glad golden grand green "
    "happy hardy honest keen kind light lively lucid mellow merry mild neat nimble noble patient plain proud quick quiet "
    "rapid ready royal rustic silent silver smooth snowy solid spry steady sunny swift tidy vivid warm wide wild wise"
)
ANIMALS = (
    "adder auk badger bat bear beaver bison bittern boar buzzard carp cod condor coot crab crane crow curlew deer dingo "
    "dove duck eagle eel egret elk falcon ferret finch fox frog gecko gnu goat goose grebe gull hare hawk heron hyena ibex "
    "ibis jackal jay kestrel kite lark lemur linnet lion lynx magpie marten mole moose newt ocelot okapi orca oriole otter "
    "owl panda pelican perch pika plover puffin puma quail rail raven robin salmon seal shrew skink snipe stoat stork swan "
    "swift tapir teal tern tiger toad trout viper vole walrus weasel whale wolf wombat wren yak zebra"
)


@dataclass(frozen=True)
class Run:
    """A run folder. Facts are read from its ``run.json`` each time, so that what another process wrote is seen.

    `samples` and `model` are opened when first asked for and then kept: open the run anew to see another training.
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def workload(self) -> str:
        return self.path.parent.name

    @property
    def info(self) -> dict[str, Any]:
        """``run.json`` as a dict, see :func:`read_info`; FileNotFoundError or ValueError if it is missing or broken."""
        return read_info(self.path)

    @property
    def store(self) -> Path | None:
        """The sample store that notebook 01 recorded, or None."""
        store = self.info.get("store")
        return None if store is None else root_of(self.path) / store

    @cached_property
    def samples(self) -> Store:
        """Its sample store, opened; raises as :func:`geonb.open_store`."""
        from geonb.store.store import open_store

        return open_store(self.store, self.workload)

    @cached_property
    def model(self) -> L.LightningModule:
        """Its trained task, with the weights that the validation loss chose; raises as :func:`geonb.load_model`."""
        from geonb.training.task import load_model

        return load_model(self.path)

    @property
    def parameters(self) -> dict[str, Any]:
        from geonb.parameters import load_yaml

        file = self.path / "parameters.yaml"
        return load_yaml(file) if file.is_file() else {}

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.zarr"

    @property
    def embeddings(self) -> Path:
        return self.path / "embeddings.zarr"

    @property
    def scores(self) -> Path:
        return self.path / "scores.nc"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def notebooks(self) -> Path:
        return self.path / "notebooks"

    def update(self, **facts: Any) -> None:
        """Write facts into ``run.json``: read, change and replace under a lock, so that two writers lose nothing.

        A dict under `steps` is merged step by step; paths inside the project are stored relative to it.
        """
        with locked(self.path / ".run.json.lock"):
            info = self.info
            steps = facts.pop("steps", {})
            info.update({key: self._plain(value) for key, value in facts.items()})
            for step, record in steps.items():
                info.setdefault("steps", {})[step] = info.get("steps", {}).get(step, {}) | record
            _write_json(self.path / "run.json", info)

    def _plain(self, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        root = root_of(self.path)
        value = value if value.is_absolute() else root / value
        return str(value.relative_to(root)) if value.is_relative_to(root) else str(value)


def new_run(
    workload: str, parameters: dict[str, Any] | None = None, root: Path | None = None, state: str = "interactive"
) -> Run:
    """Make a run folder that nobody else has, with its parameters and its environment.

    Parameters
    ----------
    workload : a known name, or an import path whose record's name becomes the folder
    parameters : what was settled, for ``parameters.yaml``
    root : project root
    state : what it is until somebody runs it; of notebooks that are run by hand, "interactive"

    Raises
    ------
    PermissionError
        If nothing can be written there; said before anything runs.
    """
    from geonb.runs import environment

    folder = Path(root or project_root()) / "runs" / folder_name(workload)
    path: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _take_name(folder)
        write_text(path / "parameters.yaml", parameters_text(workload, parameters or {}))
        write_text(path / "environment.txt", environment.describe())
        info: dict[str, Any] = {
            "geonb": VERSION,
            "format": FORMAT,
            "name": path.name,
            "workload": folder.name,
            **facts_of(workload),
            "state": state,
            "store": None,
            "started": now(),
            "ended": None,
            "steps": {},
        }
        _write_json(path / "run.json", info)
    except OSError as error:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
        raise PermissionError(
            f"Cannot write a run folder in {folder}: {error.strerror or error}. Check the permissions and the space left, or "
            "work in a checkout of your own."
        ) from error
    return Run(path)


def parameters_text(workload: str, parameters: dict[str, Any]) -> str:
    """Text of ``parameters.yaml``: what repeats a run with ``-f``."""
    import yaml

    return (
        f"# geonb run {workload} -f parameters.yaml\n{yaml.safe_dump(parameters, sort_keys=False, allow_unicode=True)}"
    )


def open_run(workload: str, run: str | Path = "latest", root: Path | None = None, needs: Sequence[str] = ()) -> Run:
    """Open a run folder by name, by its two words, by path, or the newest one.

    Parameters
    ----------
    needs : of "store", "model", "predictions"
        What the run must have. "latest" is then the newest that has it, and a line is printed if newer ones were passed over.

    Raises
    ------
    FileNotFoundError
        If there is no such run, or it lacks what is needed; lists those that would do.
    ValueError
        If two runs have the same two words; lists them.
    """
    root = Path(root or project_root())
    if str(run) == "latest":
        return newest(workload, lambda one: latest.lacking(one, needs), root, needs)
    found = _named(workload, run, root)
    if why := latest.lacking(found, needs) if needs else "":
        fitting = [one.name for one in _runs(root, folder_name(workload)) if not latest.lacking(one, needs)]
        would = (
            f"set `run` (`--resume` of geonb run) to one that has: {', '.join(fitting[: latest.MOST])}"
            if fitting
            else "no other run has"
        )
        raise FileNotFoundError(
            f"{found.path} has not what is needed, {latest.called(needs)}: {why}. Finish it, or {would}."
        )
    return found


def newest(workload: str, lacks: Callable[[Run], str], root: Path, needs: Sequence[str] = ()) -> Run:
    """Open a workload's newest run that lacks nothing; say which newer ones were passed over.

    Parameters
    ----------
    lacks : what a run lacks, in words; empty for nothing
    needs : what is needed, for the error's words

    Raises
    ------
    FileNotFoundError
        If there is none; lists the runs there are and what each lacks, and those of other workloads that would do.
    """
    passed: list[tuple[Run, str]] = []
    for one in _runs(root, folder_name(workload)):
        if not (why := lacks(one)):
            if passed:
                print(f"{one.name}; newer runs were passed over. {latest.told(passed)}", flush=True)
            return one
        passed.append((one, why))
    folder = root / "runs" / folder_name(workload)
    what = (
        f"No run in {folder} has {latest.called(needs) or 'all that is needed'}"
        if passed
        else f"No run yet in {folder}"
    )
    lines = [f"{what}. {latest.told(passed) or 'There are: none'}. Make one with: geonb run {workload}"]
    others = [one for one in _runs(root, "*") if one.path.parent != folder and not lacks(one)]
    if others:
        names = ", ".join(f"{one.workload}/{one.name}" for one in others[: latest.MOST])
        lines.append(f"Runs of other workloads that would do (set `workload`): {names}.")
    if not (passed or ":" in workload or workload in WORKLOADS):
        known = ", ".join(sorted(WORKLOADS))
        lines.append(f"Workloads of geonb: {known}; one of your own is given as 'package.module:RECORD'.")
    raise FileNotFoundError("\n".join(lines))


def _runs(root: Path, folder: str) -> list[Run]:
    """The runs in a workload's folder ("*": in all), the newest first."""
    there = [path.parent for path in (root / "runs").glob(f"{folder}/*/run.json")]
    return [Run(path) for path in sorted(there, key=lambda path: (_started(path), path), reverse=True)]


def _named(workload: str, run: str | Path, root: Path) -> Run:
    folder, given = root / "runs" / folder_name(workload), Path(run)
    for path in (folder / given, root / given, given):
        if (path / "run.json").is_file():
            return Run(_plain(path))
    there = _runs(root, folder.name)
    matches = [one for one in there if one.name.partition("_")[2] == str(run)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(
            f"{str(run)!r} names {len(matches)} runs: {', '.join(one.name for one in matches)}. Give the whole name."
        )
    names = ", ".join(one.name for one in there[:10]) or "none"
    elsewhere = [
        one
        for one in _runs(root, "*")
        if one.workload != folder.name and str(run) in (one.name, one.name.partition("_")[2])
    ]
    hint = f" There is {elsewhere[0].workload}/{elsewhere[0].name}: set `workload`." if elsewhere else ""
    raise FileNotFoundError(
        f"No run {str(run)!r} in {folder}. There are: {names}.{hint} Make one with: geonb run {workload}"
    )


def _plain(path: Path) -> Path:
    """A path from the root, without ".."; links in it stay: runs/ may be one, to a larger disk."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def find_run(run: str | Path = "latest", root: Path | None = None, needs: Sequence[str] = ()) -> Run:
    """Open a run of any workload, by name, its two words, path, or "latest": the newest that has what is needed; see :func:`open_run`."""
    root = Path(root or project_root())
    newest_first = _runs(root, "*")
    there = [one.path for one in reversed(newest_first)]
    path = Path(run)
    if str(run) == "latest" and there:
        passed: list[tuple[Run, str]] = []
        for one in newest_first:
            if not (why := latest.lacking(one, needs) if needs else ""):
                if passed:
                    print(f"{one.workload}/{one.name}; newer runs were passed over. {latest.told(passed)}", flush=True)
                return one
            passed.append((one, why))
        raise FileNotFoundError(f"No run in {root / 'runs'} has {latest.called(needs)}. {latest.told(passed)}.")
    for candidate in (root / path, path):
        if (candidate / "run.json").is_file():
            return Run(_plain(candidate))
    matches = [p for p in there if str(run) in (p.name, p.name.partition("_")[2])]
    if len(matches) == 1:
        return Run(matches[0])
    names = ", ".join(str(p.relative_to(root)) for p in (matches or there[::-1][:10])) or "none"
    raise FileNotFoundError(
        f"{'Several runs' if matches else 'No run'} {str(run)!r} in {root / 'runs'}. There are: {names}."
    )


def start_run(workload: str, run: str | Path = "latest", **parameters: Any) -> Run:
    """Open the run that notebook 02 goes on with, or make it.

    With ``run="latest"`` this is the newest run trained with these very parameters, so that running the notebook again
    continues it; if there is none, or a newer sample store has been written since, a new one. One that another process is
    training is left to it.

    Parameters
    ----------
    workload, run : see :func:`open_run`
    **parameters : the settled parameters of the training
    """
    wanted = {k: str(v) if isinstance(v, Path) else v for k, v in parameters.items()}
    if str(run) != "latest":
        opened = open_run(workload, run)
        opened.update(training=wanted)
        return opened
    root = project_root()
    stores = (root / "data" / folder_name(workload)).glob("*/store.json")
    sealed = max(stores, key=lambda p: p.stat().st_mtime_ns, default=None)
    for found in _runs(root, folder_name(workload)):
        # a newer sample store means another experiment, even with the same settings
        same_store = parameters.get("store") or sealed is None or found.store in (None, sealed.parent)
        if not (_started(found.path) and found.info.get("training") == wanted and same_store):
            continue
        if found.info["state"] == "running" and latest.lacking(found, ["model"]):
            print(
                f"{found.name} is being trained by another process, with these very settings: this is a run beside it",
                flush=True,
            )
            continue
        return found
    made = new_run(workload, wanted)
    made.update(training=wanted)
    return made


def folder_name(workload: str) -> str:
    """Name of a workload's folder: the name itself, or that of the record an import path leads to; ValueError if it is none."""
    return plain_name(registry.get(workload).name if ":" in workload else workload, "workload")


def facts_of(workload: str) -> dict[str, str]:
    """What run.json says of its workload: how it was named, and, where it is known, title and question for any reader."""
    try:
        record = registry.get(workload)
    except ValueError:
        return {"record": workload}
    return {"record": workload, "title": record.title, "question": record.question}


def older_scores(info: dict[str, Any]) -> str:
    """What makes a run's scores those of earlier predictions: a step before them that began anew since; empty if none did."""
    steps = info.get("steps", {})
    scored = max((str(about.get("ended") or "") for name, about in steps.items() if name.startswith("04")), default="")
    again = [
        name for name, about in steps.items() if name[:2] < "04" and scored and str(about.get("started") or "") > scored
    ]
    return f"the scores are of before {again[-1]} ran again: run 04_analytics" if again else ""


def now() -> str:
    """Time now, UTC, to the millisecond: 2026-11-22T09:30:00.123Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_info(path: Path, whole: bool = True) -> dict[str, Any]:
    """What ``run.json`` says, and in place of "running" the state "died" where the process that ran it is gone.

    Parameters
    ----------
    path : run folder
    whole : bool
        False lets pass that something is missing.

    Raises
    ------
    FileNotFoundError
        If it is missing.
    ValueError
        If it is no JSON, or says something of another type; names the file.
    """
    file = path / "run.json"
    if not file.is_file():
        raise FileNotFoundError(f"No {file.name} in {path}: this is no run folder.")
    info = read_json(file)
    faults = [f"lacks {key!r}" for key in ("state", "started", "steps") if whole and key not in info]
    faults += [
        f"has {info[k]!r:.40} as {k!r}" for k, kinds in FORMS.items() if k in info and not isinstance(info[k], kinds)
    ]
    steps = info.get("steps", {})
    faults += (
        [f"has {v!r:.40} as step {k!r}" for k, v in steps.items() if not isinstance(v, dict)] if not faults else []
    )
    if faults:
        raise ValueError(f"{file} {', '.join(faults)}: it was damaged. Bring it back, or start a run of your own.")
    if info.get("state") == "running" and not _is_run(path, info):
        gone = f"the process that ran it ({info.get('pid')} on {info.get('host', 'this machine')}) is gone, killed or with its machine"
        info["state"] = "died"
        info["steps"] = {
            name: step | {"state": "died", "error": gone} if step.get("state") == "running" else step
            for name, step in steps.items()
        }
    return info


def this_process() -> dict[str, Any]:
    """What `run.json` keeps of the process that runs it: number, start (a number is given again), machine."""
    import psutil

    return {"pid": os.getpid(), "pid_started": psutil.Process().create_time(), "host": platform.node()}


def _is_run(path: Path, info: dict[str, Any]) -> bool:
    """Whether the process of `run.json` is there. Processes of another machine cannot be seen, but the lock they hold."""
    import psutil

    if info.get("host", platform.node()) != platform.node():
        try:
            with (path / LOCK).open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:  # held, or the disk knows no locks
            return True
        return False
    try:
        process = psutil.Process(int(info["pid"]))
        began = info.get("pid_started", process.create_time())
        return abs(process.create_time() - began) < 5 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def _write_json(file: Path, facts: dict[str, Any]) -> None:
    write_text(file, json.dumps(facts, indent=1, default=_jsonable) + "\n")


def _jsonable(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _take_name(folder: Path) -> Path:
    draw = random.SystemRandom()  # a seed set by anyone else must not repeat names
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    taken = {p.name.partition("_")[2] for p in folder.iterdir()}
    for attempt in range(1000):
        name = f"{draw.choice(ADJECTIVES.split())}-{draw.choice(ANIMALS.split())}"
        if name in taken and attempt < 500:
            continue  # the two words alone should name a run
        try:
            (folder / f"{day}_{name}").mkdir()
        except FileExistsError:
            continue
        return folder / f"{day}_{name}"
    raise FileExistsError(f"no free name left in {folder}; remove old runs")


def _started(path: Path) -> str:
    try:
        return str(Run(path).info.get("started", ""))
    except (OSError, ValueError):
        return ""


def root_of(run: Path) -> Path:
    """The root of the project that a run folder lies in."""
    return run.parents[2]
