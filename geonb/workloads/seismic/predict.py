"""Every window by the network and each baseline: group ``windows`` of predictions.zarr.

``probability (model, sample, head)`` of an event, and of an explosion if it is one, 0-1; ``truth (sample, head)``, 1, 0, NaN where not
known or not asked; ``split (sample)``; and what is known of each window: ``row`` (in the store's table), ``block`` (number of the
event), ``id, station, kind, time, lon, lat, distance_km, back_azimuth, magnitude``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.base.conventions import SPLIT_CODES
from geonb.base.files import whole_folder
from geonb.prediction import faults as prediction_faults
from geonb.prediction.predictions import open_predictions, seal
from geonb.store.arrays import quiet_zarr, summed
from geonb.workloads.seismic.metrics import joint
from geonb.workloads.seismic.networks import HEADS

if TYPE_CHECKING:
    from geonb.base.run_folder import RunFolder
    from geonb.prediction.baselines import Baseline
    from geonb.workloads.seismic.store import RecordStore
    from geonb.workloads.seismic.task import TwoHeaded

TEXTS = ("id", "source", "station", "kind")
NUMBERS = {
    "lon": "degrees_east",
    "lat": "degrees_north",
    "distance_km": "km",
    "back_azimuth": "degrees",
    "magnitude": "1",
}


def predict_windows(
    run: RunFolder,
    store: RecordStore,
    model: TwoHeaded,
    baselines: Sequence[Baseline],
    *,
    overlap: float = 0.0,
    batch: int = 128,
    precision: str = "auto",
) -> Path:
    """Write a run's predictions.zarr, whole or not at all.

    Parameters
    ----------
    overlap : float
        Windows are those of the table: taken for nothing.
    precision : auto, float32 or bfloat16; see :func:`geonb.training.task.precision_of`
    """
    from geonb.prediction.faults import check_predictions
    from geonb.training.task import as_function, precision_of

    precision, names = precision_of(precision), ["network", *(b.name for b in baselines)]
    functions: list[Callable] = [as_function(model, "probabilities", precision), *baselines]
    windows, told = store.windows(), []
    for start in range(0, len(windows), batch):
        inputs = windows.batch(list(range(start, min(start + batch, len(windows)))))["inputs"].numpy()
        told.append(np.stack([function(inputs) for function in functions]))
    index, rows = store.index, np.arange(len(store))
    data = xr.Dataset(
        {
            "probability": (("model", "sample", "head"), np.concatenate(told, 1).astype(np.float32), {"units": "1"}),
            "truth": (
                ("sample", "head"),
                store.targets(rows),
                {"long_name": "1 yes, 0 no, NaN not known or not asked"},
            ),
            "split": ("sample", index["split"].astype(str).map(SPLIT_CODES).to_numpy(np.int8)),
        },
        {
            "model": names,
            "head": list(HEADS),
            "row": ("sample", rows),
            "block": ("sample", index["block"].to_numpy()),
            "record": ("sample", index["record"].to_numpy()),
            "start": ("sample", index["x"].to_numpy()),
            "time": ("sample", index["time"].to_numpy("datetime64[ns]")),
            **{name: ("sample", index[name].astype(str).to_numpy().astype(str)) for name in TEXTS},
            **{name: ("sample", index[name].to_numpy(np.float64), {"units": units}) for name, units in NUMBERS.items()},
        },
    )
    path = Path(run.predictions)
    with whole_folder(path) as partial:
        with quiet_zarr():
            summed(data).to_zarr(partial, group="windows", zarr_format=3, consolidated=False, write_empty_chunks=True)
        seal(
            partial,
            run,
            store,
            model.card,
            names,
            precision,
            unit="windows",
            colours=list(store.legend.values()),
            rate_hz=store.meta["rate_hz"],
            samples=store.meta["parameters"]["samples"],
        )
    check_predictions(path)
    return path


def window_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with predictions of windows, by the contract at the head of this module."""
    if "windows" not in tree.children:
        yield "no group windows"
        return
    data = tree["windows"].to_dataset()
    wanted = {"probability": ("model", "sample", "head"), "truth": ("sample", "head"), "split": ("sample",)}
    found = list(prediction_faults.layout_faults(data, wanted))
    yield from found
    if deep and not found:
        for model in data["model"].to_numpy():
            yield from prediction_faults.range_faults(
                f"probability of {model}", data["probability"].sel(model=model).to_numpy(), 0, 1
            )
        yield from prediction_faults.split_faults("split", data["split"].to_numpy(), SPLIT_CODES.values())


def votes_of(data: xr.Dataset) -> pd.DataFrame:
    """What all stations say together of each event, and of the noise before it: the mean of their probabilities, and the majority.

    Returns
    -------
    DataFrame, a row an event or its noise and a model: id, kind (true), block, split, model, stations, event, explosion (mean
    probabilities), told (the likeliest kind by them), agreed (share of the stations whose own likeliest kind that is)
    """
    from geonb.workloads.seismic.metrics import KINDS

    parts = []
    for m, model in enumerate(data["model"].to_numpy()):
        told = data["probability"].isel(model=m).to_numpy()
        table = pd.DataFrame({name: data[name].to_numpy() for name in ("id", "kind", "block", "split")})
        table["event"], table["explosion"], table["own"] = told[:, 0], told[:, 1], joint(told).argmax(-1)
        groups = table.groupby(["id", "kind"], sort=False)
        vote = groups.agg(
            block=("block", "first"),
            split=("split", "first"),
            stations=("own", "size"),
            event=("event", "mean"),
            explosion=("explosion", "mean"),
        )
        likeliest = joint(vote[["event", "explosion"]].to_numpy()).argmax(-1)
        own = table["own"].to_numpy() == likeliest[groups.ngroup().to_numpy()]
        vote["told"], vote["agreed"] = (
            np.array(KINDS)[likeliest],
            pd.Series(own).groupby(groups.ngroup().to_numpy()).mean().to_numpy(),
        )
        parts.append(vote.reset_index().assign(model=str(model)))
    return pd.concat(parts, ignore_index=True)


def export_events(run: RunFolder, model: TwoHeaded, rasters: str | None = None, **settings: Any) -> pd.DataFrame:
    """What the network says as tables: ``maps/windows.csv``, a row a window; ``maps/events.csv``, a row an event by vote;
    ``maps/events.gpkg`` of those that lie somewhere.

    Raises
    ------
    ValueError
        If rasters are named: there are none here.
    """
    import geopandas as gpd

    if rasters:
        raise ValueError(
            f"rasters = {rasters!r}: seismic has no rasters. For other waveforms make a store in notebook 01, or use geonb live"
        )
    folder = Path(run.path) / "maps"
    folder.mkdir(exist_ok=True)
    predictions = open_predictions(run.predictions)
    data = predictions["windows"].to_dataset().load()
    names = {code: split for split, code in SPLIT_CODES.items()}
    told = data["probability"].sel(model="network").to_numpy()
    table = pd.DataFrame({name: data[name].to_numpy() for name in ("id", "station", "time", "kind", *NUMBERS)})
    table["split"] = [names[int(code)] for code in data["split"].to_numpy()]
    for name, values in zip(("p noise", "p earthquake", "p explosion"), joint(told).T, strict=True):
        table[name] = values.round(4)
    table.to_csv(folder / "windows.csv", index=False)
    votes = votes_of(data)
    votes = votes[votes["model"] == "network"].drop(columns=["model", "block"])
    votes["split"] = votes["split"].map(names)
    place = table.groupby(["id", "kind"], as_index=False)[list(NUMBERS)].mean()
    votes = votes.merge(place, on=["id", "kind"])
    votes.round(4).to_csv(folder / "events.csv", index=False)
    rows = [
        {"file": f"{name}.csv", "state": "done", "reason": f"{len(one):,} rows"}
        for name, one in (("windows", table), ("events", votes))
    ]
    placed = votes[np.isfinite(votes["lon"]) & np.isfinite(votes["lat"])]
    (folder / "events.gpkg").unlink(missing_ok=True)
    if len(placed):
        points = gpd.GeoDataFrame(placed, geometry=gpd.points_from_xy(placed["lon"], placed["lat"]), crs="OGC:CRS84")
        points.to_file(
            folder / "events.gpkg",
            layer="events",
            engine="pyogrio",
            layer_metadata={"simulated": str(int(predictions.attrs["simulated"]))},
        )
        rows.append({"file": "events.gpkg", "state": "done", "reason": f"{len(placed):,} events on the map"})
    pd.DataFrame(rows).to_csv(folder / "report.csv", index=False)
    return pd.DataFrame(rows)
