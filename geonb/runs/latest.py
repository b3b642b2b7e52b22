"""Which run a notebook can go on with where none is named: what it needs of one, and why others do not have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from geonb.base.run_folder import RunFolder
from geonb.base.specs import pick

MOST = 5  # runs named in one message


def _has_store(run: RunFolder) -> bool:
    return run.store is not None and (run.store / "store.json").is_file()


def _has_model(run: RunFolder) -> bool:
    return (run.checkpoints / "model.json").is_file()  # written last, when all is trained


def _has_predictions(run: RunFolder) -> bool:
    import zarr

    with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or broken
        return bool(zarr.open_group(run.predictions, mode="r").attrs.get("complete"))
    return False


# What a notebook may need -> what it is called, the notebook that makes it, whether a run has it.
NEEDS: dict[str, tuple[str, str, Callable[[RunFolder], bool]]] = {
    "store": ("a sample store", "01_dataset", _has_store),
    "model": ("a trained model", "02_training", _has_model),
    "predictions": ("predictions", "03_prediction", _has_predictions),
}


def lacking(run: RunFolder, needs: Sequence[str]) -> str:
    """Say what a run lacks of what is needed (keys of `NEEDS`), and why; empty if it has all of it."""
    try:
        info = run.info
        for need in needs:
            called, notebook, has = pick("need", need, NEEDS)
            if not has(run):
                why = _unfinished(run, info, notebook)
                return f"no {called.removeprefix('a ')}" + f" ({why})" * bool(why)
    except (OSError, ValueError) as error:
        return f"its run.json cannot be read: {error}"
    return ""


def _unfinished(run: RunFolder, info: dict[str, Any], notebook: str) -> str:
    """How far a run came towards what a notebook makes."""
    for name, about in info.get("steps", {}).items():
        if name[:2] <= notebook[:2] and about.get("state") != "done":
            return f"{name} is running" if about.get("state") == "running" else f"{name} {about.get('state')}"
    log = run.path / "log.csv"
    if notebook >= "02_training" and log.is_file() and not _has_model(run):
        return f"training came to epoch {max(0, len(log.read_text(errors='replace').splitlines()) - 1)}"
    return ""


def told(runs: Iterable[tuple[RunFolder, str]]) -> str:
    """Runs with what each lacks, on one line."""
    each = [f"{run.name}: {why}" for run, why in runs]
    return "; ".join(each[:MOST] + [f"and {len(each) - MOST} more"] * (len(each) > MOST))


def called(needs: Sequence[str]) -> str:
    """What is needed, in words."""
    return " and ".join(pick("need", need, NEEDS)[0] for need in needs)
