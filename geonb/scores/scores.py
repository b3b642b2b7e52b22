"""How good, and compared with what: metrics with intervals, network and baselines side by side, as labelled Datasets.

A workload counts and knows its metrics. Everything follows from its counts of each block, so that the block bootstrap
(:mod:`geonb.scores.bootstrap`) costs a matrix product and not another look at the samples. The counts are kept in scores.nc: two
runs are compared block by block (:mod:`geonb.scores.comparison`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb import registry
from geonb.base import specs
from geonb.base.conventions import refuse
from geonb.base.files import whole_file
from geonb.base.manifest import gathered, note_made
from geonb.prediction.predictions import named
from geonb.scores.verdicts import headline

if TYPE_CHECKING:
    import pandas as pd

    from geonb.base.run_folder import RunFolder


def compare(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Difference of two runs' networks over the same blocks, with its paired 95 % interval, as their workload compares.

    Returns
    -------
    dict with ``difference`` (one minus other), ``low``, ``high``, ``blocks``, and what the workload adds

    Raises
    ------
    ValueError
        If they are scored in different ways, or not on the same samples; or if their workload is not known in this process.
    """
    if any("workload" not in scores.attrs for scores in (one, other)):
        raise ValueError(
            "these scores do not say of which workload they are (made by an older geonb): run 04_analytics again"
        )
    records = [registry.known(scores.attrs["workload"]) for scores in (one, other)]
    if records[0].compare != records[1].compare:
        raise ValueError(f"one is scored as {records[0].name}, the other as {records[1].name}")
    return specs.load(records[0].compare)(one, other, metric, split, draws, seed)


def score(run: RunFolder, predictions: xr.DataTree, *, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Score with the workload's own function; write scores.nc and scores.csv into the run, note its headline on test and val.

    Returns
    -------
    The Dataset of the workload's score function (for classes: :func:`score_classes`).
    """

    record = registry.known(run.info.get("record") or run.workload)
    with named(run.predictions):
        scores = specs.load(record.score)(predictions, draws=draws, seed=seed)
    if record.lower_is_better is not None:  # a metric of the workload's own: whoever reads the scores must know
        scores = scores.assign_attrs(headline=record.headline, lower_is_better=int(record.lower_is_better))
    if record.units:
        scores = scores.assign_attrs(headline=record.headline, headline_units=record.units)
    path = Path(run.scores)
    packed = {name: {"zlib": True} for name in scores.data_vars if str(name).startswith("block_")}
    with whole_file(path) as partial:
        scores.to_netcdf(partial, engine="h5netcdf", encoding=packed)
    with whole_file(path.with_suffix(".csv")) as partial:
        table(scores).to_csv(partial, index=False)
    note_made(Path(run.path), "scores.nc", "scores.csv")
    told = {"headline": headline(scores, record.headline), "precision": scores.attrs.get("precision")}
    if "val" in scores["split"].values:  # what a run may be chosen by
        told["validation"] = headline(scores, record.headline, "val")
    run.update(**told)
    return scores


def read_scores(path: str | Path) -> xr.Dataset:
    """A scores.nc, read whole; what earlier versions of geonb called otherwise has its name of today."""
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        scores = opened.load()
    former = (str(name) for name in scores.data_vars if str(name).endswith("_pixels"))
    return scores.rename({name: f"{name.removesuffix('_pixels')}_samples" for name in former})


def check_scores(path: str | Path, told: Mapping[str, Any] | None = None) -> None:
    """Check a run's scores.nc, of any workload.

    Parameters
    ----------
    told : mapping, optional
        The headline in the run's ``run.json``: it must be what the scores say.

    Raises
    ------
    ValueError
        One, listing every fault found: variables, dims, the network, intervals that don't hold their score, the headline.
    """
    try:
        scores = read_scores(path)
    except Exception as error:  # whatever HDF5 and xarray make of a broken file
        raise ValueError(f"{path} cannot be read ({error}). Run 04_analytics again.") from error
    dims, faults = ("model", "split", "metric"), []
    for name in ("score", "score_low", "score_high", "gain"):
        if name not in scores:
            faults.append(f"no {name}")
        elif scores[name].dims != dims:
            faults.append(f"{name} has dims {scores[name].dims}, not {dims}")
    if not faults:
        faults += gathered(_value_faults, scores, told or {})
    refuse(f"{path} is not a scores.nc of geonb", faults)


def _value_faults(scores: xr.Dataset, told: Mapping[str, Any]) -> Iterator[str]:
    for dim, needed in {"model": "network", "split": "test", "metric": str(scores.attrs.get("headline"))}.items():
        if needed not in scores[dim].values:
            yield f"no {dim} {needed!r}, only {', '.join(map(str, scores[dim].values))}"
    if np.isinf(scores["score"]).any():
        yield f"{int(np.isinf(scores['score']).sum())} scores are infinite"
    crossed = int((scores["score_low"] > scores["score_high"]).sum())
    if crossed:
        yield f"{crossed} intervals end before they begin"
    place = {"model": "network", "split": told.get("split"), "metric": told.get("metric")}
    if told and all(value in scores[dim].values for dim, value in place.items()):
        value = float(scores["score"].sel(place))
        if not np.isclose(value, float(told["value"]), equal_nan=True):
            yield f"run.json says {told['metric']} {told['value']}, the scores {value}: run 04_analytics again"


def table(scores: xr.Dataset) -> pd.DataFrame:
    """Scores as a tidy DataFrame: model, split, metric, score, low, high."""
    columns = ["score", "score_low", "score_high"]
    frame = scores[columns].to_dataframe().reset_index()
    return frame[["model", "split", "metric", *columns]].rename(columns={"score_low": "low", "score_high": "high"})
