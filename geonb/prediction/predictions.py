"""A run's predictions.zarr: opened, sealed, resumed; a workload's own functions predict and export.

It is a DataTree with a group a source (scene, region, series). In each, a ``model`` dim holds the network and every baseline side by
side, with the ``truth`` and ``split`` of each place or sample beside them. What is predicted (``probability``, ``mean``, ...) and along
which dims is the workload's: its record names the function that checks it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr
import zarr

from geonb import registry
from geonb.base import specs
from geonb.base.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from geonb.base.run_folder import RunFolder
    from geonb.store.store import Store
    from geonb.training.task import Trainable


class Done:
    """Which rows of which scene and model are on disk: a list beside the array, because a chunk may be half of two bands.

    Another ``stamp`` (model, overlap, ...) means other predictions: what is there is removed and begins anew.
    """

    def __init__(self, path: Path, stamp: dict[str, Any]) -> None:
        self.file = path.with_name(path.name + ".done.json")
        stamp = json.loads(json.dumps(stamp))
        self.state = json.loads(self.file.read_text()) if self.file.exists() else {}
        if self.state.get("stamp") != stamp or not path.exists():
            if path.exists():
                shutil.rmtree(path)
            self.state = {"stamp": stamp, "rows": {}}
            zarr.open_group(path, mode="w")
            self.write()

    def rows(self, source: str, model: str) -> int | None:
        return self.state["rows"].get(f"{source}|{model}")

    def mark(self, source: str, model: str, rows: int) -> None:
        self.state["rows"][f"{source}|{model}"] = rows
        self.write()

    def write(self) -> None:
        with whole_file(self.file) as partial:
            partial.write_text(json.dumps(self.state))


def seal(
    path: Path, run: RunFolder, store: Store, card: dict[str, Any], models: Sequence[str], precision: str, **own: Any
) -> None:
    """Write what every predictions.zarr says at its root, and what is the workload's `own`: it is whole from now on.

    Parameters
    ----------
    card : of the model
    models : the network and the baselines, as in the ``model`` dim
    """
    from geonb.store.arrays import quiet_zarr

    record = registry.known(card["workload"])
    attributes = {
        "workload": record.name, "title": store.meta.get("title") or record.title, "question": record.question,
        "simulated": int(store.meta["simulated"]), "notes": store.meta["notes"], "run": Path(run.path).name,
        "headline": record.headline, "network": card["network"], "precision": precision, "geonb": card.get("geonb", ""),
        "models": list(models), **own, "complete": 1,
    }  # fmt: skip
    with quiet_zarr():
        zarr.open_group(path, mode="r+").attrs.update(attributes)  # writes what was gathered before anew, texts and all
        zarr.consolidate_metadata(path)


def predict(
    run: RunFolder,
    store: Store,
    model: Trainable,
    *,
    overlap: float,
    batch: int,
    precision: str = "auto",
    seed: int = 0,
) -> Path:
    """Predict with a workload's own function, network and baselines side by side: its record's ``predict``."""
    from geonb.training.task import precision_of

    record = registry.known(model.card["workload"])
    baselines = [specs.load(name)(store, seed) for name in record.baselines]
    function = specs.load(record.predict)
    return function(run, store, model, baselines, overlap=overlap, batch=batch, precision=precision_of(precision))


def export(run: RunFolder, model: Trainable, rasters: str | None = None, **settings: Any) -> pd.DataFrame:
    """Export with a workload's own function: its record's ``export``."""
    record = registry.known(model.card["workload"])
    return specs.load(record.export)(run, model, rasters, **settings)


def open_predictions(path: str | Path) -> xr.DataTree:
    """Open predictions.zarr lazily, as a DataTree with a group a source.

    Raises
    ------
    FileNotFoundError
        If there are none; names the notebook that writes them.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"No predictions at {path}. Run notebooks/03_prediction.ipynb first, or give another `run`."
        )
    # "all": a group's CRS may be named by its variables only, as rioxarray writes it
    return xr.open_datatree(path, engine="zarr", chunks={}, consolidated=False, decode_coords="all")
