"""What may be wrong with a run folder: its own files here, its store, predictions and scores by their own checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from geonb import registry
from geonb.base import manifest
from geonb.base.conventions import refuse, short
from geonb.base.files import read_json
from geonb.runs.run import FORMAT, STATES, Run, read_info, root_of


def check_run(path: Path | str | Run, workload: str | None = None, deep: bool = False) -> dict[str, Any]:
    """Check that a run folder of any workload is whole, and return its ``run.json``.

    Parameters
    ----------
    workload : str, optional
        Import path of a record of your own, where this process does not know it yet.
    deep : bool
        Also compare the sums of all files, load the model, and read every label of the store and every value of the predictions.

    Raises
    ------
    ValueError
        Lists every fault: missing, changed or broken files, unknown states, finished steps without their notebook, a sample store
        that is gone or damaged, and what is wrong with predictions, embeddings and scores, if there are any that are finished.
    """
    if workload is not None:
        registry.get(workload)  # known from here on, to whatever the folder's files say of it
    path = Path(path.path if isinstance(path, Run) else path)
    faults: list[str] = []
    info: dict[str, Any] | None = None
    try:
        info = read_info(path, whole=False)
    except (OSError, ValueError) as error:
        faults.append(str(error))
    faults += [f"{name} is missing" for name in ("parameters.yaml", "environment.txt") if not (path / name).is_file()]
    if info is not None:
        faults += manifest.gathered(_faults, path, info)
        steps = info.get("steps", {})
        if isinstance(steps, dict) and all(isinstance(step, dict) for step in steps.values()):
            faults += manifest.gathered(_product_faults, path, info, workload, deep)
    refuse(f"Run folder {path} is not right", faults, mark="  ")
    return info or {}


def _faults(path: Path, info: dict[str, Any]) -> list[str]:
    needed = ("geonb", "format", "name", "workload", "record", "state", "started", "steps")
    faults = [f"run.json lacks {key!r}" for key in needed if key not in info]
    if info.get("format", FORMAT) != FORMAT:
        faults.append(f"run.json has format {info['format']!r}, this geonb reads {FORMAT}")
    if info.get("state", "done") not in STATES:
        faults.append(f"state is {info['state']!r}, must be one of {', '.join(STATES)}")
    if info.get("name", path.name) != path.name:
        faults.append(f"run.json is of {info['name']!r}, the folder is {path.name!r}")
    if info.get("store") and not (root_of(path) / info["store"]).exists():
        faults.append(f"its sample store {info['store']} is gone")
    steps = info.get("steps", {})
    if not isinstance(steps, dict):
        return [*faults, f"run.json tells nothing of its steps, but {steps!r}"]
    for step, record in steps.items():
        if not isinstance(record, dict):
            faults.append(f"run.json tells nothing of step {step}, but {record!r}")
            continue
        if record.get("state") not in STATES:
            faults.append(f"step {step} has state {record.get('state')!r}, must be one of {', '.join(STATES)}")
        if record.get("state") == "done":
            faults += [
                f"step {step} is done, but {fault}" for fault in notebook_faults(path / "notebooks" / f"{step}.ipynb")
            ]
    return faults


def notebook_faults(file: Path) -> Iterator[str]:
    """Why an executed notebook cannot be read. One that somebody opened and saved again is none the worse."""
    if not file.is_file():
        yield f"notebooks/{file.name} is missing"
        return
    try:
        if not isinstance(read_json(file).get("cells"), list):
            yield f"notebooks/{file.name} holds no cells"
    except (OSError, ValueError) as error:
        yield f"notebooks/{file.name} cannot be read ({error})"


def _product_faults(path: Path, info: dict[str, Any], workload: str | None, deep: bool) -> Iterator[str]:
    """What is wrong with the store, the predictions and the scores that are there; what a step is still writing is left alone."""
    from geonb.prediction.faults import check_predictions
    from geonb.scores.scores import check_scores
    from geonb.store.store import check_store

    def check_model(_: Path) -> None:
        if deep:
            from geonb.training.task import load_model

            load_model(path, workload=workload)

    def check_embeddings(embeddings: Path) -> None:
        refuse(f"{embeddings} is damaged", manifest.missing(embeddings, deep))

    if info.get("state") != "running":  # who opened an executed notebook and saved it did no harm
        made = {
            name: what for name, what in (info.get("made") or {}).items() if deep or not name.startswith("notebooks/")
        }
        yield from manifest.faults(path, made, deep)
    run = Run(path)
    store = root_of(path) / info["store"] if info.get("store") else None
    checks: list[tuple[str, Path | None, Callable[[Path], Any]]] = [
        ("01", store, lambda path: check_store(path, deep)),
        ("02", run.checkpoints / "model.json", check_model),
        ("03", run.predictions, lambda path: check_predictions(path, workload, deep)),
        ("04", run.scores, lambda path: check_scores(path, info.get("headline"))),
        ("05", run.embeddings, check_embeddings),
    ]
    for number, product, check in checks:
        states = [about.get("state") for step, about in info.get("steps", {}).items() if step.startswith(number)]
        if product is None or not product.exists() or any(state != "done" for state in states):
            continue
        try:
            check(product)
        except (OSError, ValueError) as error:
            yield str(error).replace("\n", "\n  ")
        except Exception as error:  # of whatever library reads it
            yield f"{product} cannot be checked: {type(error).__name__}: {short(error)}"
