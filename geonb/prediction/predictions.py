"""A run's predictions.zarr: opened, sealed, resumed; a workload's own functions predict and export.

It is a DataTree with a group a source (scene, region, series). In each, a ``model`` dim holds the network and every baseline side by
side, with the ``truth`` and ``split`` of each place or sample beside them. What is predicted (``probability``, ``mean``, ...) and along
which dims is the workload's: its record names the function that checks it.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr
import zarr

from geonb import registry
from geonb.base import manifest, specs
from geonb.base.conventions import short
from geonb.base.files import read_json, whole_file
from geonb.prediction import overviews

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import pandas as pd
    from distributed import Client

    from geonb.base.run_folder import RunFolder
    from geonb.store.store import Store
    from geonb.training.task import Trainable


CURE = (
    f"Run notebooks/03_prediction.ipynb again, or geonb run <workload> --resume <run>, without --steps: {manifest.CURED}. If you "
    "changed a file on purpose, delete the manifest.json beside it."
)


class Done:
    """Which rows of which scene and model are on disk: a list beside the array, because a chunk may be half of two bands.

    Another ``stamp`` (model, overlap, ...) means other predictions: what is there is removed and begins anew, as is what is damaged.
    """

    def __init__(self, path: Path, stamp: dict[str, Any]) -> None:
        self.file = path.with_name(path.name + ".done.json")
        stamp = json.loads(json.dumps(stamp))
        self.state: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # gone or broken, it tells of nothing that is done
            self.state = read_json(self.file)
        same = self.state.get("stamp") == stamp and path.exists()
        found = manifest.missing(path) if same else []
        for fault in found:
            print(f"{path.name}/{fault}; it is predicted again")
        if found or not same:
            self.file.unlink(missing_ok=True)  # first: it must not tell of rows that are going
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
    """Write what every predictions.zarr says at its root, what is the workload's `own`, and its manifest: it is whole from now on.

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
    (path / manifest.MANIFEST).unlink(missing_ok=True)  # of a kill in between nobody shall think that it was damage
    for left in path.rglob("*.partial"):  # of chunks that were being written at a kill
        left.unlink()
    with quiet_zarr():
        zarr.open_group(path, mode="r+").attrs.update(attributes)  # writes what was gathered before anew, texts and all
        zarr.consolidate_metadata(path)
    manifest.write_manifest(path)


def predict(
    run: RunFolder,
    store: Store,
    model: Trainable,
    *,
    overlap: float,
    batch: int,
    precision: str = "auto",
    seed: int = 0,
    client: Client | None = None,
) -> Path:
    """Predict with a workload's own function, network and baselines side by side: its record's ``predict``.

    Parameters
    ----------
    client : a `dask.distributed.Client`, optional
        Whose workers share the network's work, where the workload's function takes one; they see the same files.
    """
    from geonb.store import sealing
    from geonb.training.task import precision_of

    record = registry.known(model.card["workload"])
    baselines = [specs.load(name)(store, seed) for name in record.baselines]
    function = specs.load(record.predict)
    with sealing.named(store.path):
        given = {"overlap": overlap, "batch": batch, "precision": precision_of(precision)}
        if client is not None and "client" not in signature(function).parameters:
            print(f"Of {record.name} all is predicted in this process: it is not parted over workers.")
        elif client is not None:
            given["client"] = client
        path = function(run, store, model, baselines, **given)
    overviews.write(path)
    return path


def export(run: RunFolder, model: Trainable, rasters: str | None = None, **settings: Any) -> pd.DataFrame:
    """Export with a workload's own function: its record's ``export``."""
    record = registry.known(model.card["workload"])
    with named(run.predictions):
        report = specs.load(record.export)(run, model, rasters, **settings)
    folder = Path(run.path)
    maps = [p for p in (folder / "maps").glob("*") if p.is_file() and p.suffix not in (".gpkg", ".xml", ".partial")]
    manifest.note_made(folder, *(str(p.relative_to(folder)) for p in sorted(maps)))  # a GIS may write into a GeoPackage
    return report


def named(path: str | Path) -> AbstractContextManager[None]:
    """What reads these predictions in here, and fails for a damaged chunk, names it; see :func:`geonb.base.manifest.named`."""
    return manifest.named(Path(path), f"The predictions {path} are damaged", CURE)


def open_predictions(path: str | Path) -> xr.DataTree:
    """Open predictions.zarr lazily, as a DataTree with a group a source.

    Raises
    ------
    FileNotFoundError
        If there are none; names the notebook that writes them.
    ValueError
        If a file of them is gone or cut short; names the file.
    """
    found = manifest.missing(Path(path), most=manifest.QUICK)
    manifest.refuse_damaged(f"The predictions {path} are damaged", found, CURE)
    try:
        return opened(path)
    except Exception as error:  # whatever Zarr and xarray make of broken metadata
        if not Path(path).exists():
            raise
        raise ValueError(f"The predictions {path} cannot be opened ({short(error)}). {CURE}") from error


def opened(path: str | Path) -> xr.DataTree:
    """As `open_predictions`, whatever may be wrong with them."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"No predictions at {path}. Run notebooks/03_prediction.ipynb first, or give another `run`."
        )
    # "all": a group's CRS may be named by its variables only, as rioxarray writes it
    whole = (path / manifest.MANIFEST).is_file()  # what was gathered once they were is only then what there is
    return xr.open_datatree(path, engine="zarr", chunks={}, consolidated=whole, decode_coords="all")
