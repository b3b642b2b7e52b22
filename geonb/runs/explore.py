"""The explorer of finished runs: their predictions, the store that these were made from, other runs beside them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb import registry
from geonb.base import specs
from geonb.base.project import project_root
from geonb.dashboards.beside import joined
from geonb.dashboards.explorer import Explorer
from geonb.dashboards.selection import outlines_of
from geonb.dashboards.widget import show
from geonb.plots.shared import named
from geonb.prediction.predictions import open_predictions
from geonb.runs.run import Run, open_run

if TYPE_CHECKING:
    import xarray as xr

    from geonb.store.store import Store


def explore(
    workload: str, predictions: xr.DataTree, store: Store, *, beside: str | None = None, selection: str | None = None
) -> Any:
    """A workload's explorer: live in JupyterLab, frozen in a report; a word where it has nothing to show on a map.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`
    beside : comma-separated names of other runs over the same store: to choose, swipe and subtract between
    selection : CSV of samples, from notebook 05's plane, which the map outlines; looked for in the run, then in the project

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such run or file, the runs lie on other ground, or the selection is none of this store.
    """
    from IPython.display import Markdown

    with named(predictions, store):
        explorer = described(workload, predictions, store)
        if isinstance(explorer, str):
            return Markdown(explorer)
        if beside:
            runs = [open_run(workload, name.strip()) for name in beside.split(",")]
            others = {run.name: described(workload, open_predictions(run.predictions), store) for run in runs}
            explorer = joined({str(predictions.attrs.get("run", "this run")): explorer} | others)
        if selection:
            file = _found(selection, predictions)
            explorer = replace(explorer, outlines=outlines_of(file, store.arrays, [p.name for p in explorer.places]))
        return show(explorer)


def described(workload: str, predictions: xr.DataTree, store: Store) -> Any:
    """What a workload has to show of predictions: an Explorer, or Markdown where there is no map; the store for one that names it."""
    explorer = specs.load(registry.get(workload).explore)
    more = {"store": store} if "store" in inspect.signature(explorer).parameters else {}
    return explorer(predictions, store.arrays, **more)


def explorer_of(folders: Sequence[Path]) -> Explorer:
    """One explorer of one or more runs of a workload.

    Raises
    ------
    FileNotFoundError
        If a run has no predictions yet.
    ValueError
        If the runs are of several workloads or over other ground, or if there is nothing to show on a map.
    """
    runs = [Run(folder) for folder in folders]
    if len(workloads := {run.workload for run in runs}) > 1:
        raise ValueError(
            f"These runs are of {len(workloads)} workloads ({', '.join(sorted(workloads))}): give runs of one."
        )
    found = {}
    for run in runs:
        found[run.name] = described(run.workload, open_predictions(run.predictions), run.samples)
        if isinstance(found[run.name], str):
            raise ValueError(f"{run.name}: {found[run.name]}")
    return joined(found) if len(found) > 1 else next(iter(found.values()))


def _found(selection: str, predictions: xr.DataTree) -> Path:
    """The file of a selection: as it is given, in the run's folder, or in the project."""
    run = Path(str(predictions.encoding.get("source", "."))).parent
    places = [folder / selection for folder in (Path(), run, project_root())]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"No selection {selection}; looked for {', '.join(str(p.absolute()) for p in places)}.")
