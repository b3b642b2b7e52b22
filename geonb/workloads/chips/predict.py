"""Every chip by the network and each baseline, on the grid of the chips.

Each source has a group, a cell of which is a chip: ``probability (model, class, y, x)``, 0-1, NaN where there is no chip; ``threshold
(model, class)``, from which on a label is told, chosen on the validation chips; ``truth (class, y, x)``, 1 there, 0 not, -1 not known;
``split (y, x)``; ``row (y, x)``, the chip's row in the store's table, -1 for none; ``block (y, x)``, the number of its parent tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.base.conventions import SPLIT_CODES
from geonb.plots.style import listed
from geonb.prediction import faults as prediction_faults
from geonb.prediction.predictions import Done, open_predictions, seal
from geonb.store.arrays import quiet_zarr, summed
from geonb.workloads.chips import metrics
from geonb.workloads.chips.store import HAS, NONE, UNKNOWN

if TYPE_CHECKING:
    from distributed import Client

    from geonb.base.run_folder import RunFolder
    from geonb.prediction.baselines import Baseline
    from geonb.workloads.chips.store import ChipStore
    from geonb.workloads.chips.task import MultiLabel


def predict_chips(
    run: RunFolder, store: ChipStore, model: MultiLabel, baselines: Sequence[Baseline], *, overlap: float = 0.0, batch: int = 64,
    precision: str = "auto", client: Client | None = None,
) -> Path:  # fmt: skip
    """Write a run's predictions.zarr; a model whose chips are all there is not asked again.

    Parameters
    ----------
    overlap : float
        Chips do not overlap: taken for nothing.
    precision : auto, float32 or bfloat16; see :func:`geonb.training.task.precision_of`
    """
    from geonb.prediction.faults import check_predictions
    from geonb.prediction.workers import ask, network_over
    from geonb.training.task import precision_of

    path, precision = Path(run.predictions), precision_of(precision)
    names = ["network", *(b.name for b in baselines)]
    stamp = {"training": model.card["training"], "best": model.card["best"], "models": names, "network": model.card["network"],
             "precision": precision, "store": store.meta["key"]}  # fmt: skip
    done = Done(path, stamp)
    if done.rows("all", "chips") is None:
        network = network_over(client, model, path.parent, store, "probabilities", precision, batch)
        told = np.stack(
            [network, *(ask(store.windows(), function, range(len(store)), batch) for function in baselines)]
        )
        truth = store.targets(np.arange(len(store)))
        validation = (store.index["split"] == "val").to_numpy()
        thresholds = np.stack([metrics.best_thresholds(one[validation], truth[validation]) for one in told])
        for source in store.sources:
            _write(path, store, source, names, told, thresholds)
        done.mark("all", "chips", len(store))
    seal(path, run, store, model.card, names, precision, unit="chips", colours=[c["colour"] for c in store.classes])
    check_predictions(path)
    return path


def _write(
    path: Path, store: ChipStore, source: str, names: list[str], told: np.ndarray, thresholds: np.ndarray
) -> None:
    """One source's group: what is told of its chips, spread over its grid of them."""
    from affine import Affine

    from geonb.rasters import grids

    index, grid, size = store.index, store._grids[source], store.meta["parameters"]["size"]
    rows = np.flatnonzero((index["source"] == source).to_numpy())
    shape = grid.sizes["y"] // size, grid.sizes["x"] // size
    at = index["y"].to_numpy()[rows] // size, index["x"].to_numpy()[rows] // size
    targets = store.targets(rows)

    def spread(values: np.ndarray, fill: float, dtype: str) -> np.ndarray:
        """(..., chip) -> (..., y, x)"""
        out = np.full((*values.shape[:-1], *shape), fill, dtype)
        out[(..., *at)] = values
        return out

    codes = index["split"].astype(str).map(SPLIT_CODES).to_numpy()[rows]
    probability = spread(told[:, rows].transpose(0, 2, 1), np.nan, "f4")
    truth = spread(np.where(np.isfinite(targets), targets, -1).T, -1, "i1")
    pixel = Affine.from_gdal(*map(float, grid["spatial_ref"].attrs["GeoTransform"].split()))
    transform = pixel * Affine.scale(size)
    y, x = grids.centres(transform, shape)
    reference = grid["spatial_ref"].drop_vars(grid["spatial_ref"].coords).copy()  # the store's own stays as it is
    reference.attrs |= {"GeoTransform": " ".join(map(repr, map(float, transform.to_gdal())))}
    on = {"grid_mapping": "spatial_ref"}
    data = xr.Dataset(
        {
            "probability": (("model", "class", "y", "x"), probability, on | {"long_name": "probability of the label", "units": "1"}),
            "threshold": (("model", "class"), thresholds, {"long_name": "a label is told from this probability on", "units": "1"}),
            "truth": (("class", "y", "x"), truth, on | {"long_name": "label: 1 there, 0 not, -1 not known"}),
            "split": (("y", "x"), spread(codes, 0, "i1"), on | {"flag_values": [0, 1, 2, 3], "flag_meanings": "none train val test"}),
            "row": (("y", "x"), spread(rows, -1, "i4"), on | {"long_name": "row in the store's table, -1: no chip"}),
            "block": (("y", "x"), spread(index["block"].to_numpy()[rows], -1, "i4"), on | {"long_name": "number of the parent tile"}),
        },
        {"model": names, "class": store.names, "y": ("y", y, grid["y"].attrs), "x": ("x", x, grid["x"].attrs), "spatial_ref": reference},
    )  # fmt: skip
    for variable in data.variables.values():
        variable.encoding.pop("_FillValue", None)
    with quiet_zarr():
        summed(data).to_zarr(path, group=source, mode="a", zarr_format=3, consolidated=False, write_empty_chunks=True)


def chip_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with predictions of chips, by the contract at the head of this module."""
    wanted = {
        "probability": ("model", "class", "y", "x"), "threshold": ("model", "class"), "truth": ("class", "y", "x"),
        "split": ("y", "x"), "row": ("y", "x"), "block": ("y", "x"),
    }  # fmt: skip
    if not tree.children:
        yield "no source"
    for name, node in tree.children.items():
        data = node.to_dataset()
        found = [f"{name}: {fault}" for fault in prediction_faults.layout_faults(data, wanted)]
        yield from found
        if found or not deep:
            continue
        there = (data["row"] >= 0).to_numpy()
        for model in data["model"].to_numpy():
            told = data["probability"].sel(model=model).to_numpy()[:, there]
            yield from prediction_faults.range_faults(f"{name}: probability of {model}", told, 0, 1)
        yield from prediction_faults.range_faults(f"{name}: truth", data["truth"].to_numpy(), -1, 1)
        yield from prediction_faults.split_faults(f"{name}: split", data["split"].to_numpy(), SPLIT_CODES.values())


def export_chips(run: RunFolder, model: MultiLabel, rasters: str | None = None, **settings: Any) -> pd.DataFrame:
    """The chips with what is told of them as ``maps/chips.gpkg`` and ``.csv``, every label's probability as a GeoTIFF a source, and the
    network as ONNX.

    Raises
    ------
    ValueError
        If rasters are named: chips of others need a store of their own.
    """
    import geopandas as gpd

    from geonb.rasters.cog import write_probability_map
    from geonb.store.store import open_store
    from geonb.training.onnx import export_onnx

    if rasters:
        raise ValueError(
            f"rasters = {rasters!r}: chips are told of the sample store's imagery. Make another store of those in notebook 01"
        )
    folder = Path(run.path) / "maps"
    folder.mkdir(exist_ok=True)
    predictions = open_predictions(run.predictions)
    store = open_store(run.store)
    chips = gpd.read_parquet(store.path / "index.parquet")
    rows: list[dict[str, Any]] = [
        {"file": source, "state": "done", "reason": "scene of the run",
         "probability": write_probability_map(node.to_dataset(), folder / f"{source}_probability.tif")}
        for source, node in predictions.children.items()
    ]  # fmt: skip
    table = with_told(chips, predictions)
    tags = {"simulated": str(int(predictions.attrs["simulated"])), "run": str(predictions.attrs["run"])}
    for name in ("chips.gpkg", "chips.csv"):
        (folder / name).unlink(missing_ok=True)
    table.to_file(folder / "chips.gpkg", layer="chips", engine="pyogrio", layer_metadata=tags)
    table.drop(columns="geometry").to_csv(folder / "chips.csv", index=False)
    rows.append({"file": "chips.gpkg, chips.csv", "state": "done", "reason": f"{len(table):,} chips, a row each"})
    try:
        made = export_onnx(model, folder / "model.onnx")
        rows.append(
            {"file": made.name, "state": "done", "reason": "the network for whoever has no torch; compared with it"}
        )
    except ImportError as error:
        rows.append({"file": "model.onnx", "state": "skipped", "reason": str(error)})
    pd.DataFrame(rows).to_csv(folder / "report.csv", index=False)
    return pd.DataFrame(rows)


def with_told(chips: Any, predictions: xr.DataTree, model: str = "network") -> Any:
    """The table of chips with what a model tells: ``told``, the labels, each one's probability as ``p <class>``, and for maps ``label``,
    the most probable of those told, and its colour ``fill``."""
    table = chips.copy()
    names = [str(name) for name in next(iter(predictions.children.values()))["class"].to_numpy()]
    told = np.full((len(table), len(names)), np.nan, np.float32)
    limits = np.full(len(names), np.nan)
    for node in predictions.children.values():
        data = node.to_dataset().sel(model=model)
        row = data["row"].to_numpy()
        told[row[row >= 0]] = data["probability"].transpose("y", "x", "class").to_numpy()[row >= 0]
        limits = data["threshold"].to_numpy()
    table["told"] = [", ".join(n for n, p, t in zip(names, one, limits, strict=True) if p >= t) for one in told]
    best = np.where(told >= limits, told, -np.inf)
    looks = np.array([*zip(names, listed(predictions.attrs["colours"]), strict=True), NONE])
    table.loc[(table[[HAS + name for name in names]] < 0).all(axis=1), "labels"] = UNKNOWN[0]
    table["label"], table["fill"] = looks[np.where(np.isfinite(best).any(1), best.argmax(1), -1)].T
    for name, values in zip(names, told.T, strict=True):
        table[f"p {name}"] = values.round(4)
    return table
