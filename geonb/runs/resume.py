"""When is a finished step still good? When its notebook, parameters, files, samples and the step before it are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb import parameters
from geonb.base import project
from geonb.base.files import read_json
from geonb.base.manifest import faults, missing
from geonb.rasters import sources
from geonb.runs.faults import notebook_faults
from geonb.store.sealing import damage

if TYPE_CHECKING:
    from geonb.runs.plan import Plan, Step
    from geonb.runs.run import Run

# What a shared step leaves in its run folder; without it, or if it is damaged, the step is not done, whatever run.json says.
OUTPUTS = {
    "02_training": ("checkpoints/model.json", "checkpoints/", "log.csv"),
    "03_prediction": ("predictions.zarr", "maps/"),
    "04_analytics": ("scores.nc", "scores.csv"),
    "05_interpretation": ("embeddings.zarr", "transforms/"),
}
WORDS = {
    "notebook": "the notebook",
    "files": "input files",
    "store": "the sample store",
    "upstream": "the step before it",
}


def signature(plan: Plan, step: Step, upstream: str | None) -> dict[str, Any]:
    """What a step depends on besides its parameters.

    Returns
    -------
    dict
        `notebook` and `files`: sums of the cells' sources and of path, size and time of each file that a parameter names, or
        that is read with one;
        `store`: the sample store and its key; `upstream`: the step before, and when it ended.
    """
    cells = json.loads(step.notebook.read_text(encoding="utf-8"))["cells"]
    files = []
    for name, value in sorted(step.values.items()):
        if isinstance(value, str) and name != "store":
            meaning = parameters.meaning_of(name, plan.record)
            # a web address in another parameter is a page to show, or a server to tell
            mine = meaning.files or "://" not in value or value.startswith("s3://")
            paths = [p for found in project.find_files(value, plan.root).values() for p in found] if mine else []
            if not meaning.files or meaning.check is None:
                paths = [file for path in paths for file in ([path] if path.is_dir() else sources.files_of(path))]
            if meaning.files:  # a data set stands for files that it does not name
                paths += parameters.files_of(value, meaning, plan.root)
            files += [[name, *stamp] for stamp in sources.stamps(paths, partial(_stat, plan))]
    info = plan.run.info
    store = step.values.get("store") or info.get("store") if step.number > 1 else None
    key = None
    with suppress(OSError, ValueError):  # a store that is gone or damaged has none: the step that opens it tells
        key = read_json(plan.root / store / "store.json").get("key") if store else None
    return {
        "notebook": _sum([[c["cell_type"], "".join(c["source"])] for c in cells]),
        "files": _sum(files),
        "store": [store, key],
        "upstream": [upstream, info["steps"].get(upstream or "", {}).get("ended")],
    }


def changes(run: Run, step: Step, before: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Name what differs from the finished step's record; empty if it need not run again."""
    if before.get("state") != "done":
        return "its state"
    old = before.get("parameters", {})
    found = [name for name in dict.fromkeys([*old, *step.values]) if old.get(name) != step.values.get(name)]
    found += [word for part, word in WORDS.items() if before.get("inputs", {}).get(part) != inputs[part]]
    if list(notebook_faults(run.notebooks / f"{step.name}.ipynb")):
        found.append("the executed notebook")
    if step.number == 1 and run.store:
        if not (run.store / "store.json").is_file():
            found.append("the sample store, which is gone")
        else:
            found += [f"the sample store, which is damaged ({fault})" for fault in damage(run.store)[:1]]
    return ", ".join(found + _damaged(run, OUTPUTS.get(step.name, ())))


def _damaged(run: Run, outputs: Sequence[str]) -> list[str]:
    """The first of a step's outputs that is gone or damaged: chunks by their number and size, other files by their sums."""
    if outputs and not (run.path / outputs[0]).exists():
        return [f"{outputs[0]}, which is gone"]
    made = {name: what for name, what in (run.info.get("made") or {}).items() if name.startswith(tuple(outputs))}
    found = faults(run.path, made, deep=True) if outputs else []
    arrays = [output for output in outputs if output.endswith(".zarr")]
    found += [f"{output}/{fault}" for output in arrays for fault in missing(run.path / output)]
    return [f"what it made ({fault})" for fault in found[:1]]


def _stat(plan: Plan, path: Path) -> list[Any]:
    # a scratch folder has another name in each job
    named = plan.home / path.relative_to(plan.root) if plan.home and path.is_relative_to(plan.root) else path
    if path.is_dir():
        return [str(named), _sum([_stat(plan, p) for p in sorted(path.rglob("*")) if p.is_file()])]
    if not path.is_file():  # a path that only GDAL understands
        return [str(named)]
    return [str(named), path.stat().st_size, path.stat().st_mtime_ns]


def _sum(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
