"""Trained model -> forecasts of a whole region: every month of validation and test, and the one that has not come yet.

predictions.zarr is a DataTree with the group ``grid``: ``probability`` and ``deaths_mean (model, outcome, time, lead, y, x)``,
``time`` the first month that is forecast; of the network, where it has dropout, ``spread (outcome, time, lead, y, x)`` and
``deaths_quantile (quantile, outcome, time, lead, y, x)`` over its draws, and sums by country of each draw; ``truth`` and
``deaths (outcome, time, lead, y, x)``, ``split (time)``, ``valid``, ``country`` and ``gid (y, x)``. Row 0 is the south.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from geonb.prediction.predictions import Done, seal
from geonb.training.devices import best_device
from geonb.workloads.conflict.baselines import deaths_of, events_of, has_deaths
from geonb.workloads.conflict.exports import export_forecasts  # noqa: F401  (named where forecasts are made)
from geonb.workloads.conflict.windows import with_months

SPLITS = ("train", "val", "test", "future")
UNKNOWN = -1
# Middles of ten equal parts: the mean pinball loss at them, doubled, is the CRPS of the ensemble that they are.
LEVELS = tuple(round(0.05 + 0.1 * i, 2) for i in range(10))
DRAWS = 20  # of a network with dropout
DRAWS_AT_ONCE = 4
WRAP_CELLS = 16  # seen beyond the dateline


def predict_region(
    run, store, model, baselines: Sequence[Callable], *, overlap: float | None = None, batch: int = 32,
    precision: str = "float32", draws: int | None = None, train: bool = False, seed: int = 0,
) -> Path:  # fmt: skip
    """Forecast the whole region at every origin with the network and each baseline; goes on where it was interrupted.

    A network that takes any size sees the region in one pass. One whose peepholes are per pixel sees windows of its size,
    whose overlapping forecasts are blended. One origin is in memory at a time.

    Parameters
    ----------
    run : Run
        ``predictions.zarr`` is written into it.
    store : CubeStore
    model : trained task, from :func:`geonb.load_model`
    baselines : see :mod:`geonb.workloads.conflict.baselines`
    overlap : float, share of the window by which neighbours overlap (networks of a fixed size only); None: one half
    batch : int
        Windows at once, of a network of a fixed size.
    draws : int, optional
        Of a network with dropout; its mean is the forecast. None: 20. One: without dropout.
    train : bool
        Also the training months.

    Returns
    -------
    Path of predictions.zarr, checked.

    Raises
    ------
    ValueError
        If the model was trained on other channels, outcomes or months than the store holds; lists all that differs.
    """
    from geonb.prediction.faults import check_predictions

    check_fit(model.card, store)
    path, names = Path(run.predictions), ["network", *(b.name for b in baselines)]
    origins = origins_of(store, train)
    draws = drawn_of(model, draws)
    stamp = {"training": model.card["training"], "best": model.card["best"], "models": names, "overlap": overlap, "draws": draws,
             "network": model.card["network"], "precision": precision, "origins": [int(t) for t, _ in origins], "seed": seed,
             "store": store.meta["key"]}  # fmt: skip
    done = Done(path, stamp)
    if done.rows("grid", "created") is None:
        _create(path, store, names, origins, draws)
        done.mark("grid", "created", 1)
    arrays = zarr.open_group(path, mode="r+")["grid"]
    region = Region(store, model, 0.5 if overlap is None else overlap, batch, precision, draws, seed)
    for m, name in enumerate(names):
        forecast = region.forecast if name == "network" else baselines[m - 1].forecast
        for i in range(done.rows("grid", name) or 0, len(origins)):
            _write(arrays, m, i, forecast(origins[i][0]), store.valid)
            done.mark("grid", name, i + 1)
    _finish(path, run, store, model.card, names, precision, draws)
    check_predictions(path)
    return path


def check_fit(card: dict, store) -> None:
    """Refuse a store that a model cannot forecast: other channels, outcomes or months than it was trained on."""
    faults = []
    channels = [c["name"] for c in card["channels"]]
    if channels != list(store.inputs):
        faults.append(f"it was trained on the channels {channels}, the store gives {list(store.inputs)}")
    known, here = ([o["name"] for o in outcomes] for outcomes in (card["outcomes"], store.outcomes))
    if known != here:
        faults.append(f"it forecasts {known}, the store holds {here}")
    for name, months in (("steps", store.steps), ("horizon", store.horizon)):
        if int(card[name]) != months:
            faults.append(f"{name} = {card[name]} months when it was trained, {months} in the store")
    if faults:
        raise ValueError(
            f"The model does not fit the store {store.path}:\n"
            + "\n".join(f"- {f}" for f in faults)
            + "\nMake the store in notebook 01 with the model's settings, or train on this one."
        )


def origins_of(store, train: bool = False) -> list[tuple[int, str]]:
    """(t, split) of every month to forecast, in order of time; the last is the first month after the data."""
    found = [(int(t), s) for s in SPLITS[0 if train else 1 : 3] for t in with_months(store).origins(s)]
    return [*sorted(found), (len(store.times), "future")]


def month_of(store, t: int) -> pd.Timestamp:
    """First day of the month with index t, also beyond the last."""
    return store.times[0] + pd.DateOffset(months=int(t))


def drawn_of(model, draws: int | None) -> int:
    """How many draws to make: 1 of a network without dropout."""
    from torch import nn

    drops = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules())
    return (DRAWS if draws is None else draws) if drops else 1


class Region:
    """A trained task that forecasts the whole region of a store: ``forecast(t)``, arrays (outcome, lead, y, x)."""

    def __init__(self, store, model, overlap: float, batch: int, precision: str, draws: int, seed: int) -> None:
        self.device = best_device()
        self.store, self.model = store, model.to(self.device).eval()
        self.overlap, self.batch, self.precision, self.draws, self.seed = overlap, batch, precision, draws, seed
        self.wraps = bool(store.meta["sources"][0].get("wraps", False))
        self.window = window_of(model.card, store.valid.shape)
        self.places = np.unique(grid_of(store)["country"].to_numpy())

    def forecast(self, t: int) -> dict[str, np.ndarray | None]:
        """Forecast of the months from t on, from those before.

        Returns
        -------
        dict with ``probability``, ``deaths`` (or None) and, of several draws, ``spread``, ``quantile`` (level, ...) and
        ``country_cells``, ``country_deaths`` (draw, outcome, lead, place)
        """
        inputs = self.inputs(t)
        if self.draws == 1:
            drawn = self._draw(inputs, 1, 0)
            return {
                "probability": drawn["probability"][0],
                "deaths": None if drawn["deaths"] is None else drawn["deaths"][0],
            }
        pieces = []
        for first in range(0, self.draws, DRAWS_AT_ONCE):
            number = min(DRAWS_AT_ONCE, self.draws - first)
            # one draw alone would be the network without dropout
            drawn = self._draw(inputs, max(2, number), (self.seed * 100_003 + t) * 1_009 + first)
            pieces.append({name: None if v is None else v[:number] for name, v in drawn.items()})
        return self._summary(pieces)

    def inputs(self, t: int) -> np.ndarray:
        """Standardised months before t (1, step, channel, y, x), 0 where unknown or outside, wrapped round the globe."""
        values = np.asarray(self.store.cube(self.store.inputs, t - self.store.steps, t), np.float32)
        statistics = self.model.card["statistics"]
        mean, std = (np.asarray(statistics[k], np.float32)[:, None, None] for k in ("mean", "std"))
        values = np.where(self.store.valid, np.nan_to_num((values - mean) / std, posinf=0, neginf=0), 0)
        if self.wraps:
            values = np.pad(values, [(0, 0)] * 3 + [(self.pad, self.pad)], mode="wrap")
        return np.ascontiguousarray(values[None], np.float32)

    @property
    def pad(self) -> int:
        return min(WRAP_CELLS, self.store.valid.shape[1]) if self.wraps else 0

    def _draw(self, inputs: np.ndarray, draws: int, seed: int) -> dict[str, np.ndarray | None]:
        """probability and deaths (draw, outcome, lead, y, x) of the region."""
        whole = self._pass(inputs, draws, seed) if self.window is None else self._windows(inputs[0], draws, seed)
        inner = slice(self.pad, inputs.shape[-1] - self.pad)
        return {name: None if v is None else np.moveaxis(v[..., inner], 2, 1) for name, v in whole.items()}

    def _pass(
        self, inputs: np.ndarray, draws: int, seed: int, of_sample: int | None = 0
    ) -> dict[str, np.ndarray | None]:
        import torch

        bf16 = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device, dtype=torch.bfloat16, enabled=bf16):
            drawn = self.model.forecast(torch.from_numpy(inputs).to(self.device), draws=draws, seed=seed)
        arrays = {name: None if v is None else v.float().cpu().numpy() for name, v in drawn.items()}
        return arrays if of_sample is None else {n: None if v is None else v[:, of_sample] for n, v in arrays.items()}

    def _windows(self, inputs: np.ndarray, draws: int, seed: int) -> dict[str, np.ndarray | None]:
        """Blended forecasts (draw, lead, outcome, y, x) of overlapping windows of the one size that the network takes."""
        from geonb.rasters.stitching import blend_weights, offsets

        shape, size = inputs.shape[-2:], self.window
        missing = [(0, max(0, s - n)) for s, n in zip(size, shape, strict=True)]
        inputs = np.pad(inputs, [(0, 0), (0, 0), *missing])
        starts = [offsets(n, s, self.overlap) for n, s in zip(shape, size, strict=True)]
        weights = [blend_weights(n, s, at) for n, s, at in zip(shape, size, starts, strict=True)]
        corners = [(i, j) for i in range(len(starts[0])) for j in range(len(starts[1]))]
        total: dict[str, np.ndarray | None] = {}
        for begin in range(0, len(corners), self.batch):
            some = corners[begin : begin + self.batch]
            boxes = [
                (..., slice(starts[0][i], starts[0][i] + size[0]), slice(starts[1][j], starts[1][j] + size[1]))
                for i, j in some
            ]
            out = self._pass(np.stack([inputs[box] for box in boxes]), draws, seed + begin, None)
            for name, values in out.items():
                if values is None:
                    total[name] = None
                    continue
                if name not in total:
                    total[name] = np.zeros((draws, *values.shape[2:4], *inputs.shape[-2:]), np.float32)
                for k, ((i, j), box) in enumerate(zip(some, boxes, strict=True)):
                    total[name][box] += values[:, k] * (weights[0][i][:, None] * weights[1][j])
        return {name: None if v is None else v[..., : shape[0], : shape[1]] for name, v in total.items()}

    def _summary(self, pieces: list[dict]) -> dict[str, np.ndarray | None]:
        number = self.draws
        mean = sum(p["probability"].sum(axis=0) for p in pieces) / number
        spread = np.sqrt(sum(((p["probability"] - mean) ** 2).sum(axis=0) for p in pieces) / number)
        out = {"probability": mean, "spread": spread, "deaths": None}
        out["country_cells"] = np.concatenate([self._by_country(p["probability"]) for p in pieces])
        if pieces[0]["deaths"] is not None:
            deaths = np.concatenate([p["deaths"] for p in pieces])
            out["deaths"] = deaths.mean(axis=0)
            out["country_deaths"] = self._by_country(deaths)
            deaths.sort(axis=0)
            # the level's own place in the sorted draws: with ten draws the quantiles are the draws
            place = np.clip(np.rint(np.array(LEVELS) * number - 0.5).astype(int), 0, number - 1)
            out["quantile"] = deaths[place]
        return out

    def _by_country(self, values: np.ndarray) -> np.ndarray:
        """Sums (..., place) over the region's cells of each country."""
        country, valid = grid_of(self.store)["country"].to_numpy(), self.store.valid
        return np.stack([values[..., valid & (country == p)].sum(axis=-1) for p in self.places], axis=-1)


def grid_of(store) -> xr.Dataset:
    """Country and gid of each cell, with coordinates and CRS."""
    return store.arrays["grid"].to_dataset()[["country", "gid"]]


def window_of(card: dict, shape: tuple[int, int]) -> tuple[int, int] | None:
    """(rows, columns) of the windows of a network that takes no other; None where it takes any size."""
    from geonb.workloads.conflict.networks import check_network

    _, options = check_network(card["network"])
    if options.get("peephole") != "pixel":
        return None
    size = options["size"]
    return tuple(int(s) for s in (size if np.ndim(size) else (size, size)))


def _create(path: Path, store, models: Sequence[str], origins: Sequence[tuple[int, str]], draws: int) -> None:
    """Lay out the group: what is known whole, forecasts empty."""
    import dask.array as da

    from geonb.store.arrays import quiet_zarr

    grid = grid_of(store)
    coords = {k: grid[k] for k in ("y", "x", "spatial_ref") if k in grid.coords}
    sizes = {"model": len(models), "outcome": len(store.outcomes), "time": len(origins), "lead": store.horizon,
             "y": grid.sizes["y"], "x": grid.sizes["x"], "quantile": len(LEVELS), "draw": draws,
             "place": len(np.unique(grid["country"]))}  # fmt: skip
    dims, with_deaths = ("outcome", "time", "lead", "y", "x"), has_deaths(store)
    wanted = {"probability": (("model", *dims), "probability of an event", "1")}
    if with_deaths:
        wanted["deaths_mean"] = (("model", *dims), "expected deaths", "1")
    if draws > 1:
        wanted["spread"] = (dims, "standard deviation of the probability over draws", "1")
        wanted["country_cells"] = (("draw", *dims[:3], "place"), "expected cells with an event", "1")
    if draws > 1 and with_deaths:
        wanted["deaths_quantile"] = (("quantile", *dims), "quantile of expected deaths over draws", "1")
        wanted["country_deaths"] = (("draw", *dims[:3], "place"), "expected deaths", "1")
    variables = {}
    for name, (order, long_name, units) in wanted.items():
        chunk = tuple(1 if d in ("model", "outcome", "time") else sizes[d] for d in order)
        empty = da.full(tuple(sizes[d] for d in order), np.nan, dtype=np.float32, chunks=chunk)
        variables[name] = (order, empty, {"long_name": long_name, "units": units, "grid_mapping": "spatial_ref"})
    names = [o["name"] for o in store.outcomes]
    times = pd.DatetimeIndex([month_of(store, t) for t, _ in origins])
    data = xr.Dataset(
        variables,
        coords={
            "model": list(models),
            "outcome": names,
            "time": times,
            "lead": np.arange(1, store.horizon + 1),
            **coords,
        },
    )
    if "deaths_quantile" in variables:
        data = data.assign_coords(quantile=np.array(LEVELS))
    if "country_cells" in variables:
        data = data.assign_coords(place=np.unique(grid["country"]))
    with quiet_zarr():
        data.to_zarr(path, group="grid", mode="a", compute=False, zarr_format=3, consolidated=False)
        _known(store, grid, origins, times).to_zarr(path, group="grid", mode="a", zarr_format=3, consolidated=False)
    arrays = zarr.open_group(path, mode="r+")["grid"]
    for i, (t, _) in enumerate(origins):
        arrays["truth"][:, i], deaths = _came_true(store, t)
        if with_deaths:
            arrays["deaths"][:, i] = deaths


def _known(store, grid: xr.Dataset, origins, times) -> xr.Dataset:
    """What is known of the region, and truth and deaths still empty."""
    import dask.array as da

    shape = len(store.outcomes), len(origins), store.horizon, *store.valid.shape
    dims, chunk = ("outcome", "time", "lead", "y", "x"), (1, 1, *shape[2:])
    same = {"grid_mapping": "spatial_ref"}
    data = xr.Dataset(
        {
            "truth": (
                dims,
                da.full(shape, UNKNOWN, dtype=np.int8, chunks=chunk),
                {"long_name": "an event came", "unknown": UNKNOWN, **same},
            ),
            "split": ("time", np.array([s for _, s in origins], dtype="U6")),
            "valid": (("y", "x"), store.valid, {"long_name": "cell of the region", **same}),
            "country": (
                ("y", "x"),
                grid["country"].to_numpy().astype(np.int32),
                {"long_name": "UCDP country_id", **same},
            ),
            "gid": (("y", "x"), grid["gid"].to_numpy().astype(np.int32), {"long_name": "PRIO-GRID cell", **same}),
        }
    )
    if has_deaths(store):
        data["deaths"] = dims, da.full(shape, np.nan, dtype=np.float32, chunks=chunk), {"long_name": "deaths", **same}
    return data


def _came_true(store, t: int) -> tuple[np.ndarray, np.ndarray | None]:
    """truth (outcome, lead, y, x) int8 and deaths float32 of the months from t on, as far as they are known."""
    stop = min(t + store.horizon, len(store.times))
    shape = (len(store.outcomes), store.horizon, *store.valid.shape)
    truth, deaths = np.full(shape, UNKNOWN, np.int8), np.full(shape, np.nan, np.float32)
    if stop > t:
        truth[:, : stop - t] = np.moveaxis(events_of(store, t, stop), 1, 0)
        if has_deaths(store):
            deaths[:, : stop - t] = np.moveaxis(deaths_of(store, t, stop), 1, 0)
    return truth, deaths


def _write(arrays, m: int, i: int, forecast: dict[str, np.ndarray | None], valid: np.ndarray) -> None:
    """Write one origin of one model."""
    arrays["probability"][m, :, i] = np.where(valid, forecast["probability"], np.nan).astype(np.float32)
    if "deaths_mean" in arrays and forecast.get("deaths") is not None:
        arrays["deaths_mean"][m, :, i] = np.where(valid, forecast["deaths"], np.nan).astype(np.float32)
    if "spread" in forecast:
        arrays["spread"][:, i] = np.where(valid, forecast["spread"], np.nan).astype(np.float32)
        arrays["country_cells"][:, :, i] = forecast["country_cells"]
    if forecast.get("quantile") is not None:
        arrays["deaths_quantile"][:, :, i] = np.where(valid, forecast["quantile"], np.nan).astype(np.float32)
        arrays["country_deaths"][:, :, i] = forecast["country_deaths"]


def _finish(path: Path, run, store, card: dict, models: list[str], precision: str, draws: int) -> None:
    own = {
        "colours": [o["colour"] for o in store.outcomes], "outcomes": [dict(o) for o in store.outcomes],
        "times": [str(store.times[0].date()), str(store.times[-1].date())], "steps": int(store.steps), "draws": draws,
        "wraps": int(bool(store.meta["sources"][0].get("wraps", False))), "unit": "cell-months",
        "countries": store.meta.get("report", {}).get("countries", {}),
    }  # fmt: skip
    seal(path, run, store, card, models, precision, **own)


def forecast_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with forecasts, by the contract at the head of this module.

    Parameters
    ----------
    deep : bool
        Read every month; else the first and the last.
    """
    from geonb.prediction.faults import attribute_faults

    yield from attribute_faults(tree, ("outcomes",))
    if "grid" not in tree.children:
        yield f"no group 'grid', only {list(tree.children)}"
    else:
        yield from _group_faults(tree["grid"].to_dataset(), deep)


def _group_faults(data: xr.Dataset, deep: bool) -> Iterator[str]:
    from geonb.prediction.faults import coordinate_faults, layout_faults, split_faults

    dims = ("outcome", "time", "lead", "y", "x")
    wanted = {"probability": ("model", *dims), "truth": dims, "split": ("time",),
              **dict.fromkeys(("valid", "country", "gid"), dims[3:])}  # fmt: skip
    only_some = {
        "deaths_mean": ("model", *dims),
        "deaths": dims,
        "spread": dims,
        "deaths_quantile": ("quantile", *dims),
    }
    wanted |= {name: order for name, order in only_some.items() if name in data}
    found = [*layout_faults(data, wanted), *coordinate_faults(data, ("time", "lead", "y", "x"), ("time", "lead", "y"))]
    if "spatial_ref" not in data.coords:
        found.append("no coordinate reference system")
    if found:
        yield from found
        return
    yield from split_faults("split", data["split"].astype(str).to_numpy(), SPLITS)
    for i in range(data.sizes["time"]) if deep else sorted({0, data.sizes["time"] - 1}):
        yield from _month_faults(data.isel(time=i))


def _month_faults(month: xr.Dataset) -> Iterator[str]:
    """Forecasts of one origin: known, 0-1 and not negative in every cell of the region; truth is 0, 1 or not known."""
    from geonb.prediction.faults import range_faults

    name, valid = str(month["time"].values)[:7], month["valid"].to_numpy()
    for model in month["model"].to_numpy():
        at = month.sel(model=model)
        yield from range_faults(f"probability of {model}, {name}", at["probability"].to_numpy(), 0, 1, valid)
    yield from range_faults(f"truth, {name}", month["truth"].to_numpy(), UNKNOWN, 1)
    if "spread" in month:
        yield from range_faults(f"spread, {name}", month["spread"].to_numpy(), 0, 1, valid)
    for deaths in ("deaths_mean", "deaths_quantile", "deaths"):
        if deaths in month:  # not every baseline forecasts deaths, and those of months to come are not known
            values = month[deaths].to_numpy()
            yield from range_faults(f"{deaths}, {name}", values, 0, known=valid & ~np.isnan(values))
