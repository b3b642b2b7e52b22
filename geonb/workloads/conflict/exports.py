"""Forecasts as files that others open without us: cell table (Parquet, CSV), country table, NetCDF (CF), GeoTIFF (COG)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.base.files import whole_file
from geonb.workloads.conflict.death_tables import windows_of, write_draws

if TYPE_CHECKING:
    from geonb.base.run_folder import RunFolder
    from geonb.training.task import Trainable

MOST_DRAWS = 50_000_000  # rows of a file of draws that is written unasked: some minutes, 1 GB at worst
COLUMNS = ("gid", "latitude", "longitude", "origin", "lead", "month", "outcome", "p", "deaths", "truth")


def export_forecasts(run: RunFolder, model: Trainable, rasters: str | None = None, **settings: Any) -> pd.DataFrame:
    """Write the network's forecasts into the run's ``maps/``; files of before are replaced.

    - ``cells.parquet``: a row an origin, lead, outcome and cell of the region: gid, latitude, longitude, origin and forecast
      month, p, deaths (NaN where not forecast) and truth (-1: not known yet).
    - ``latest.csv``: the same of the latest origin, whose months have not come yet.
    - ``countries.csv``: expected cells with an event and expected deaths by country and month, with the 5-95 % interval over
      the network's draws, and what came.
    - ``forecasts.nc``: probabilities (outcome, time, lead, latitude, longitude), CF.
    - ``latest_<outcome>.tif``: probabilities of the latest origin, north up, EPSG:4326, a band a lead, COG.
    - ``draws_<model>_<outcome>_future.parquet`` and ``..._test.parquet``, of models with draws of deaths: the months to come, and
      the test months, in the layout of the VIEWS challenge (:mod:`geonb.workloads.conflict.death_tables`); those of more than
      MOST_DRAWS rows are left out, and told.

    Parameters
    ----------
    run : Run
        With its predictions.zarr.
    model : trained task; not used, as the forecasts are made already
    rasters : None
        Forecasts know no other rasters.
    **settings : of other workloads' exports, not used

    Returns
    -------
    DataFrame, a row a file: file, state, reason, rows, seconds; also as ``maps/report.csv``

    Raises
    ------
    ValueError
        If `rasters` are given.
    """
    from geonb.prediction.predictions import open_predictions

    if rasters:
        raise ValueError(
            f"rasters = {rasters!r}: forecasts are made from a cube of months, not from rasters. Leave it out, or make a store of "
            "other events in notebook 01 and forecast those."
        )
    tree = open_predictions(run.predictions)
    data, folder = tree["grid"].to_dataset(), Path(run.path) / "maps"
    folder.mkdir(parents=True, exist_ok=True)
    attrs = {str(name): value for name, value in tree.attrs.items()}
    countries = partial(write_countries, known=attrs.get("countries", {}))
    jobs: dict[str, tuple[Callable[[xr.Dataset, Path], int], str]] = {
        "cells.parquet": (write_cells, "every cell, month and lead"),
        "latest.csv": (write_latest, "the months that have not come yet"),
        "countries.csv": (countries, "sums by country and month"),
        "forecasts.nc": (partial(write_netcdf, attrs=attrs), "probabilities, CF"),
    }
    large: list[dict[str, Any]] = []
    for outcome in map(str, data["outcome"].values):
        latest = partial(write_map, outcome=outcome, attrs=attrs)
        place = outcome.replace(" ", "-")
        jobs[f"latest_{place}.tif"] = latest, "probabilities, a band a lead"
        for name, split in product(data["drawn"].values if "drawn" in data else (), ("future", "test")):
            if origins := windows_of(data, split):
                file = f"draws_{name}_{place}_{split}.parquet"
                number = len(origins) * data.sizes["lead"] * int(data["valid"].sum()) * data.sizes["member"]
                if number <= MOST_DRAWS:
                    draws = partial(write_draws, model=str(name), outcome=outcome, split=split)
                    jobs[file] = draws, "draws of deaths, the challenge's layout"
                else:
                    why = f"{number:,} rows; if you want them: geonb.workloads.conflict.death_tables.write_draws"
                    large.append({"file": file, "state": "left out", "reason": why, "rows": 0, "seconds": 0.0})
                    (folder / file).unlink(missing_ok=True)  # of predictions that were here before
    rows = []
    for name, (write, reason) in jobs.items():
        started = time.perf_counter()
        with whole_file(folder / name, Path(name).suffix) as path:
            number = write(data, path)
        seconds = round(time.perf_counter() - started, 3)
        rows.append({"file": name, "state": "done", "reason": reason, "rows": number, "seconds": seconds})
    report = pd.DataFrame(rows + large)
    with whole_file(folder / "report.csv") as path:
        report.to_csv(path, index=False)
    return report


def cell_table(data: xr.Dataset, i: int) -> pd.DataFrame:
    """The network's forecasts of one origin, a row a lead, outcome and cell of the region; columns as COLUMNS."""
    at, valid = _read(data, i), data["valid"].to_numpy()
    y, x = np.nonzero(valid)
    place = {"gid": data["gid"].to_numpy()[valid], "latitude": data["y"].values[y], "longitude": data["x"].values[x]}
    p, truth = (at[name].to_numpy()[..., valid] for name in ("probability", "truth"))
    deaths = at["deaths_mean"].to_numpy()[..., valid] if "deaths_mean" in at else np.full_like(p, np.nan)
    parts = [
        pd.DataFrame({**place, **about, "p": p[k], "deaths": deaths[k], "truth": truth[k]})
        for k, about in _months(data, i)
    ]
    return pd.concat(parts, ignore_index=True).astype({"lead": np.int16, "outcome": "category"})[list(COLUMNS)]


def _months(data: xr.Dataset, i: int) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Every outcome and lead of one origin: their positions, and what a table says of them."""
    origin = pd.Timestamp(data["time"].values[i])
    for o, outcome in enumerate(data["outcome"].values):
        for k, lead in enumerate(data["lead"].values):
            month = origin + pd.DateOffset(months=int(lead) - 1)
            yield (o, k), {"origin": origin, "lead": int(lead), "month": month, "outcome": str(outcome)}


def _read(data: xr.Dataset, i: int) -> xr.Dataset:
    """One origin's truth and forecasts of the network, in memory."""
    names = ("probability", "deaths_mean", "truth", "deaths", "country_cells", "country_deaths")
    return data[[n for n in names if n in data]].isel(time=i, model=0).load()


def write_cells(data: xr.Dataset, path: Path) -> int:
    """Cell tables of all origins as Parquet, one origin in memory; gives the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, number = None, 0
    try:
        for i in range(data.sizes["time"]):
            table = pa.Table.from_pandas(cell_table(data, i), preserve_index=False)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            number += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return number


def write_latest(data: xr.Dataset, path: Path) -> int:
    """The cell table of the latest origin as CSV."""
    table = cell_table(data, data.sizes["time"] - 1)
    table.to_csv(path, index=False, float_format="%.6g", date_format="%Y-%m-%d")
    return len(table)


def country_table(data: xr.Dataset, i: int, known: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Sums of one origin by lead, outcome and country: expected cells with an event and deaths, bounds over draws, and truth.

    ``cells_low`` and ``cells_high`` (5 and 95 %) say how far the network's draws differ, not how far chance may take the sum; NaN
    where it has no dropout. ``cells_true`` and ``deaths_true`` are NaN where not known yet.
    """
    at, valid = _read(data, i), data["valid"].to_numpy()
    countries, place = np.unique(data["country"].to_numpy()[valid], return_inverse=True)
    names = [(known or {}).get(str(code), "") for code in countries]
    variables = {"cells": "probability", "deaths": "deaths_mean", "cells_true": "truth", "deaths_true": "deaths"}
    summed = {name: at[of].where(at[of] >= 0).to_numpy()[..., valid] for name, of in variables.items() if of in at}
    bounds = {
        f"{name}_{end}": at[f"country_{name}"].quantile(q, "draw").sel(place=countries).to_numpy()
        for name in ("cells", "deaths")
        if f"country_{name}" in at and np.isfinite(at[f"country_{name}"]).any()  # a loss may know no deaths
        for end, q in (("low", 0.05), ("high", 0.95))
    }
    unknown = dict.fromkeys((*variables, "cells_low", "cells_high", "deaths_low", "deaths_high"), np.nan)
    rows = []
    for k, about in _months(data, i):
        sums = {name: np.bincount(place, values[k], len(countries)) for name, values in summed.items()}
        within = {name: values[k] for name, values in bounds.items()}
        rows.append(pd.DataFrame({"country": countries, "name": names, **about, **unknown, **sums, **within}))
    return pd.concat(rows, ignore_index=True)


def write_countries(data: xr.Dataset, path: Path, known: Mapping[str, str] | None = None) -> int:
    """Country tables of all origins as CSV."""
    number = 0
    for i in range(data.sizes["time"]):
        table = country_table(data, i, known)
        table.to_csv(
            path, index=False, header=i == 0, mode="a" if i else "w", float_format="%.6g", date_format="%Y-%m-%d"
        )
        number += len(table)
    return number


def write_netcdf(data: xr.Dataset, path: Path, attrs: dict[str, Any]) -> int:
    """Probabilities and what is known as NetCDF-4 with CF coordinates, month by month; gives the number of origins."""
    names = [n for n in ("probability", "deaths_mean", "spread") if n in data]
    out = data[[*names, "truth", "valid", "country", "gid"]].isel(model=0, drop=True)
    if "deaths_mean" in out and not np.isfinite(out["deaths_mean"].isel(time=-1)).any():
        out = out.drop_vars("deaths_mean")  # a network without deaths beside baselines that have them
    out = out.rename(y="latitude", x="longitude").drop_vars([n for n in ("place", "quantile") if n in out.coords])
    out["latitude"].attrs = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    out["longitude"].attrs = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    first = {"standard_name": "forecast_reference_time", "long_name": "first month that is forecast"}
    out["time"].attrs = {**first, "axis": "T"}
    out["lead"].attrs = {"long_name": "months ahead; 1 is the month of the reference time", "units": "1"}
    months = out["time"].to_numpy().astype("datetime64[M]")[:, None] + (out["lead"].to_numpy() - 1)
    about = {"standard_name": "time", "long_name": "month that is forecast"}
    out = out.assign_coords(month=(("time", "lead"), months.astype("datetime64[ns]"), about))
    out["valid"] = (
        out["valid"].astype(np.int8).assign_attrs(flag_values=np.array([0, 1], np.int8), flag_meanings="outside inside")
    )
    for name in out.data_vars:
        out[name].encoding = {"zlib": True, "complevel": 1}
        if "latitude" in out[name].dims:
            out[name].attrs["grid_mapping"] = "spatial_ref"
    for name in ("time", "month"):
        out[name].encoding = {"units": "days since 1970-01-01", "dtype": "int32"}
    kept = {k: attrs[k] for k in ("title", "network", "run", "simulated") if k in attrs}
    out.attrs = {"Conventions": "CF-1.10", **kept, "notes": str(attrs.get("notes", "")), "source": "geonb"}
    out.to_netcdf(path, engine="h5netcdf")
    return out.sizes["time"]


def write_map(data: xr.Dataset, path: Path, outcome: str, attrs: Mapping[str, Any] | None = None) -> int:
    """Probabilities of the latest origin as COG, north up, a band a lead, NaN = outside; gives the number of bands.

    Bands carry their month and statistics, the file says where it comes from and, where they are, that data are simulated.
    """
    from rasterio.crs import CRS
    from rasterio.transform import from_origin

    from geonb.rasters.cog import TargetGrid, new_cog

    values = data["probability"].isel(model=0, time=-1).sel(outcome=outcome).to_numpy()[:, ::-1]
    y, x = data["y"].to_numpy(), data["x"].to_numpy()
    step = [abs(float(v[1] - v[0])) if len(v) > 1 else 0.5 for v in (x, y)]
    corner = float(x[0]) - step[0] / 2, float(y[-1]) + step[1] / 2
    grid = TargetGrid(CRS.from_epsg(4326), from_origin(*corner, *step), (len(y), len(x)))
    origin = pd.Timestamp(data["time"].values[-1])
    with new_cog(path, grid, len(values), dtype="float32", nodata=np.nan, overviews="AVERAGE") as target:
        target.write(values.astype(np.float32))
        about = {"long_name": f"probability of an event: {outcome}", "units": "1", "origin": origin.strftime("%Y-%m")}
        target.update_tags(**about, **_about(attrs))
        for band, lead in enumerate(data["lead"].values, 1):
            target.set_band_description(band, f"{outcome}, {origin + pd.DateOffset(months=int(lead) - 1):%Y-%m}")
            target.update_tags(band, **_statistics(values[band - 1]))
    return len(values)


def _about(attrs: Mapping[str, Any] | None) -> dict[str, str]:
    """What a file says of its origin, as texts."""
    known = {k: str(attrs[k]) for k in ("title", "network", "run") if k in attrs} if attrs else {}
    return known | ({"simulated": "1", "notes": "Simulated data"} if attrs and int(attrs.get("simulated", 0)) else {})


def _statistics(values: np.ndarray) -> dict[str, str]:
    """A band's statistics under GDAL's names, so that a GIS stretches its colours without reading it all."""
    if not np.isfinite(values).any():
        return {}
    exact = values.astype(np.float64)
    found: dict[str, Callable] = {"MINIMUM": np.nanmin, "MAXIMUM": np.nanmax, "MEAN": np.nanmean, "STDDEV": np.nanstd}
    share = {"STATISTICS_VALID_PERCENT": f"{100 * np.isfinite(values).mean():.4g}"}
    return {f"STATISTICS_{name}": f"{of(exact):.9g}" for name, of in found.items()} | share
