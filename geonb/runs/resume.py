"""When is a finished step still good? When its notebook, parameters, files, samples and the step before it are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb import parameters
from geonb.base import project
from geonb.base.files import read_json
from geonb.rasters import images

if TYPE_CHECKING:
    from geonb.runs.plan import Plan, Step
    from geonb.runs.run import Run

# What a shared step leaves in its run folder; without it the step is not done, whatever run.json says.
OUTPUTS = {
    "02_training": "checkpoints/model.json",
    "03_prediction": "predictions.zarr",
    "04_analytics": "scores.nc",
    "05_interpretation": "embeddings.zarr",
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
            paths = [p for found in project.find_files(value, plan.root).values() for p in found]
            meaning = parameters.meaning_of(name, plan.record)
            if not meaning.files or meaning.check is None:
                paths = [file for path in paths for file in ([path] if path.is_dir() else images.files_of(path))]
            if meaning.files:  # a data set stands for files that it does not name
                paths += parameters.files_of(value, meaning, plan.root)
            files += [[name, *_stat(path)] for path in paths]
    info = plan.run.info
    store = step.values.get("store") or info.get("store") if step.number > 1 else None
    key = None
    with suppress(OSError, ValueError):  # the step that opens it tells what is wrong with it
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
    if not (run.notebooks / f"{step.name}.ipynb").is_file():
        found.append("the executed notebook")
    if step.name in OUTPUTS and not (run.path / OUTPUTS[step.name]).exists():
        found.append(f"{OUTPUTS[step.name]}, which is gone")
    if step.number == 1 and run.store and not (run.store / "store.json").is_file():
        found.append("the sample store, which is gone")
    return ", ".join(found)


def _stat(path: Path) -> list[Any]:
    if path.is_dir():
        return [str(path), _sum([_stat(p) for p in sorted(path.rglob("*")) if p.is_file()])]
    if not path.is_file():  # a path that only GDAL understands
        return [str(path)]
    return [str(path), path.stat().st_size, path.stat().st_mtime_ns]


def _sum(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
