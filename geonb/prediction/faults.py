"""What may be wrong with a run's predictions, of any workload: the spine's part here, each workload's named by its record.

Every predictions.zarr says at its root whose it is, whether it is whole, and which models stand in it side by side; a ``model``
dim holds the network first, then every baseline. What groups and variables there are is the workload's: its record names
``check_predictions``, a function ``(tree, deep) -> faults``, which is built from the parts below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb import registry
from geonb.base import specs
from geonb.base.conventions import refuse
from geonb.base.files import read_json
from geonb.base.manifest import gathered, missing, refuse_damaged

if TYPE_CHECKING:
    import xarray as xr

SEAL = ("workload", "simulated", "notes", "complete")


def check_predictions(path: str | Path, workload: str | None = None, deep: bool = False) -> None:
    """Check a run's predictions against the contract of their workload.

    Parameters
    ----------
    path : path of predictions.zarr
    workload : str, optional
        Name or import path of the record. None: what the predictions say, else the run.json beside them.
    deep : bool
        Also compare the sums of the files, decode every chunk, and read every value; else a few rows or times of each array.

    Raises
    ------
    FileNotFoundError
        If there are none; names the notebook that writes them.
    ValueError
        One, listing every fault found: files, seal, models, variables, dims, coordinates, CRS, values out of range.
    """
    from geonb.prediction.predictions import CURE, opened

    path = Path(path)
    if path.is_dir():
        refuse_damaged(f"{path} is damaged", missing(path, deep), CURE)
    try:
        tree = opened(path)
    except Exception as error:  # whatever Zarr and xarray make of broken metadata
        if not path.exists():
            raise
        raise ValueError(f"{path} is no predictions.zarr of geonb: it cannot be opened ({error}).") from error
    faults = attribute_faults(tree, SEAL)
    record = None
    try:
        record = _record_of(tree, path, workload)
    except ValueError as error:
        faults.append(str(error))
    faults += gathered(_model_faults, tree, record)
    if record is not None and record.check_predictions:
        faults += gathered(specs.load(record.check_predictions), tree, deep)
    refuse(f"{path} is not a predictions.zarr of geonb", faults)


def _record_of(tree: xr.DataTree, path: Path, workload: str | None) -> registry.Workload:
    said = tree.attrs.get("workload")
    if workload is not None:
        record = registry.get(workload)
        if said not in (None, record.name):
            raise ValueError(f"they say that they are of the workload {said!r}, not {record.name!r}")
        return record
    name = said or _beside(path)
    if name is None:
        raise ValueError(
            "neither they nor a run.json beside them say of which workload they are, so what must be in them is not known: give "
            "`workload`"
        )
    return registry.known(name)


def _beside(path: Path) -> str | None:
    """The workload in the run.json of the folder; None where there is none to read, which `check_run` tells of."""
    try:
        info = read_json(path.parent / "run.json")
    except (OSError, ValueError):
        return None
    return info.get("record") or info.get("workload")


def _model_faults(tree: xr.DataTree, record: registry.Workload | None) -> Iterator[str]:
    """Every group with models has those that were predicted, the network first.

    Predictions of an earlier geonb don't say which those are: of them at least as many as the record has are asked.
    """
    promised = tree.attrs.get("models")
    for name, node in tree.children.items():
        if "model" not in node.dims:
            continue
        if "model" not in node.coords:
            yield f"{name}: its models have no names"
            continue
        models = [str(model) for model in node["model"].to_numpy()]
        if models[:1] != ["network"]:
            yield f"{name}: the first model is {models[:1]}, not 'network'"
        if missing := [model for model in promised or () if model not in models]:
            yield f"{name}: no {', '.join(missing)} among the models ({', '.join(models)})"
        if len(set(models)) < len(models):
            yield f"{name}: models of the same name ({', '.join(models)})"
        if promised is None and record is not None and len(models) < 1 + len(record.baselines):
            yield (
                f"{name}: {len(models)} models ({', '.join(models)}), but the workload {record.name!r} has "
                f"{len(record.baselines)} baselines beside the network"
            )


def attribute_faults(tree: xr.DataTree, names: Iterable[str]) -> list[str]:
    """Attributes of the root that are missing; most of them are written last."""
    missing = [name for name in names if name not in tree.attrs]
    return [f"root attributes missing: {', '.join(missing)} (interrupted? run 03_prediction again)"] if missing else []


def layout_faults(
    data: xr.Dataset, wanted: Mapping[str, tuple[str, ...]], kinds: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Variables that are missing, have other dims, or (`kinds`: variable -> dtype) another type."""
    for name, dims in wanted.items():
        if name not in data:
            yield f"no {name}"
        elif data[name].dims != dims:
            yield f"{name} has dims {data[name].dims}, not {dims}"
    for name, kind in (kinds or {}).items():
        if name in data and data[name].dtype != kind:
            yield f"{name} is {data[name].dtype}, not {kind}"


def coordinate_faults(data: xr.Dataset, names: Iterable[str], rising: Iterable[str] = ()) -> Iterator[str]:
    """Coordinates that are missing, unknown somewhere, or neither rise nor fall throughout; `rising` must rise."""
    for name in names:
        if name not in data.coords:
            yield f"no coordinate {name}"
            continue
        values = data[name].to_numpy()
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield f"{name} is unknown at {int((~np.isfinite(values)).sum())} places"
            continue
        steps = np.diff(values.astype(np.int64) if values.dtype.kind == "M" else values)
        if not (steps > 0).all() and (name in rising or not (steps < 0).all()):
            yield f"{name} does not {'ascend' if name in rising else 'rise or fall throughout'}"


def range_faults(
    what: str, values: np.ndarray, low: float = -np.inf, high: float = np.inf, known: Any = True
) -> Iterator[str]:
    """Values that are not finite, or not from `low` to `high`, where they are `known` (a mask that broadcasts)."""
    values = np.asarray(values)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(values) & (values >= low) & (values <= high)) & known
    if wrong.any():
        bad = values[wrong]
        allowed = f"{low:g}-{high:g}" if np.isfinite(high) else f"{low:g} or more" if np.isfinite(low) else "finite"
        yield f"{what}: {int(wrong.sum())} values are not {allowed} (as {bad.flat[0]:g})"


def split_faults(what: str, values: np.ndarray, allowed: Iterable[Any]) -> Iterator[str]:
    """Splits that there are not."""
    if odd := sorted(set(np.unique(values).tolist()) - set(allowed)):
        yield f"{what} holds {odd}; it may hold {', '.join(map(str, allowed))}"
