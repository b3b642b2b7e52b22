"""The explorer of finished runs: their predictions, and the store that these were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geonb import registry
from geonb.base import specs
from geonb.dashboards.beside import joined
from geonb.dashboards.explorer import Explorer
from geonb.prediction.predictions import open_predictions
from geonb.runs.run import Run
from geonb.store.store import open_store


def explorer_of(folders: Sequence[Path]) -> Explorer:
    """One explorer of one or more runs of a workload.

    Raises
    ------
    FileNotFoundError
        If a run has no predictions yet.
    ValueError
        If the runs are of several workloads or over other ground, or if there is nothing to show on a map.
    """
    if not folders:
        raise FileNotFoundError("No run to explore: make one with `geonb run WORKLOAD`.")
    runs = [Run(folder) for folder in folders]
    if len(workloads := {run.workload for run in runs}) > 1:
        raise ValueError(
            f"These runs are of {len(workloads)} workloads ({', '.join(sorted(workloads))}): give runs of one."
        )
    found = {}
    for run in runs:
        record = registry.get(run.workload)
        predictions = open_predictions(run.predictions)
        explorer = specs.load(record.explore)(predictions, open_store(run.store, record.name).arrays)
        if isinstance(explorer, str):
            raise ValueError(f"{run.name}: {explorer}")
        found[run.name] = explorer
    return joined(found) if len(found) > 1 else next(iter(found.values()))
