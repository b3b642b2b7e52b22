"""Trained model -> forecasts of a whole region: every month of validation and test, and the one that has not come yet.

predictions.zarr is a DataTree with the group ``grid``: ``probability`` and ``deaths_mean (model, outcome, time, lead, y, x)``,
``time`` the first month that is forecast; of models that forecast a distribution of deaths ``deaths_draws (drawn, member,
outcome, time, lead, y, x)``, whole deaths; of the network, where it has dropout, ``spread (outcome, time, lead, y, x)`` over its
draws, and sums by country of each draw; ``truth`` and ``deaths (outcome, time, lead, y, x)``, ``split (time)``, ``valid``,
``country`` and ``gid (y, x)``. Row 0 is the south.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from geonb.base.pipeline import ahead, behind
from geonb.prediction.predictions import Done, seal
from geonb.store.arrays import quiet_zarr, summed, writable
from geonb.training.devices import best_device
from geonb.workloads.conflict.baselines import deaths_of, events_of, has_deaths
from geonb.workloads.conflict.death_head import SALT, draw_deaths
from geonb.workloads.conflict.death_scores import AT_ONCE_BYTES, MEMBERS, NO_DRAW
from geonb.workloads.conflict.floor import floor_outputs
from geonb.workloads.conflict.windows import with_months

if TYPE_CHECKING:
    from geonb.base.run_folder import RunFolder
    from geonb.workloads.conflict.baselines import Baseline
    from geonb.workloads.conflict.store import CubeStore, MonthStore
    from geonb.workloads.conflict.task import Forecast

Arrays = dict[str, np.ndarray]
DIMS = ("outcome", "time", "lead", "y", "x")
SPLITS = ("train", "val", "test", "future")
UNKNOWN = -1
DRAWS = 20  # of a network with dropout
DRAWS_AT_ONCE = 4
WRAP_CELLS = 16  # seen beyond the dateline


def predict_region(
    run: RunFolder, store: CubeStore, model: Forecast, baselines: Sequence[Baseline], *, overlap: float | None = None,
    batch: int = 32, precision: str = "auto", draws: int | None = None, train: bool = False, seed: int = 0,
    members: int = MEMBERS,
) -> Path:  # fmt: skip
    """Forecast the whole region at every origin with the network and each baseline; goes on where it was interrupted.

    A network that takes any size sees the region in one pass. One whose peepholes are per pixel sees windows of its size,
    whose overlapping forecasts are blended. One origin is in memory, the inputs of the next, and what is being written of the one before
    (not its draws).

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
    precision : auto, float32 or bfloat16; see :func:`geonb.training.task.precision_of`
    draws : int, optional
        Of a network with dropout; its mean is the forecast. None: 20. One: without dropout.
    train : bool
        Also the training months.
    members : int
        Draws of deaths of each model that forecasts their distribution.

    Returns
    -------
    Path of predictions.zarr, checked.

    Raises
    ------
    ValueError
        If the model was trained on other channels, outcomes or months than the store holds; lists all that differs.
    """
    from geonb.prediction.faults import check_predictions
    from geonb.training.task import precision_of

    check_fit(model.card, store)
    precision = precision_of(precision)
    path, names = Path(run.predictions), ["network", *(b.name for b in baselines)]
    origins = origins_of(store, train)
    draws = (DRAWS if draws is None else draws) if model.dropouts else 1
    region = RegionForecast(store, model, 0.5 if overlap is None else overlap, batch, precision, draws, seed, members)
    drawn = ["network"] * model.loss.draws_deaths + [b.name for b in baselines if b.draws is not None]
    stamp = {"training": model.card["training"], "best": model.card["best"], "models": names, "overlap": overlap, "draws": draws,
             "network": model.card["network"], "precision": precision, "origins": [int(t) for t, _ in origins], "seed": seed,
             "store": store.meta["key"], "drawn": drawn, "members": members}  # fmt: skip
    done = Done(path, stamp)
    if done.rows("grid", "created") is None:
        _create(path, store, names, origins, draws, drawn, members)
        done.mark("grid", "created", 1)
    arrays = writable(zarr.open_group(path, mode="r+")["grid"])

    def write(m: int, i: int, found: Mapping[str, np.ndarray | None]) -> None:
        _write(arrays, m, i, found, store.valid)
        done.mark("grid", names[m], i + 1)

    with behind(write) as send:  # while the next origin is forecast
        for m, name in enumerate(names):
            first = done.rows("grid", name) or 0
            months = [t for t, _ in origins[first:]]
            with closing(_in_turn(baselines[m - 1] if m else region, months)) as told:
                for i, found in enumerate(told, first):
                    if name in drawn:  # not behind: they are too large to be in memory twice
                        of_baseline = baselines[m - 1].draws if m else None
                        deaths = of_baseline(origins[i][0], members) if of_baseline else found.pop("draws")
                        arrays["deaths_draws"][drawn.index(name), :, :, i] = np.where(store.valid, deaths, NO_DRAW)
                    send(m, i, found)
    own = {
        "colours": [o["colour"] for o in store.outcomes], "outcomes": [dict(o) for o in store.outcomes],
        "times": [str(store.times[0].date()), str(store.times[-1].date())], "steps": int(store.steps), "draws": draws,
        "wraps": int(store.wraps), "unit": "cell-months",
        "countries": store.meta.get("report", {}).get("countries", {}),
        "start": model.start or "" if model.card.get("weights") == "start" == model.card.get("chosen") else "",
    }  # fmt: skip
    seal(path, run, store, model.card, names, precision, **own)
    check_predictions(path)
    return path


def _in_turn(who: RegionForecast | Baseline, months: Sequence[int]) -> Generator[dict[str, Any], None, None]:
    """Forecasts of several months."""
    if isinstance(who, RegionForecast):
        yield from who.forecasts(months)
        return
    for t in months:
        yield dict(who.forecast(t))


def check_fit(card: dict[str, Any], store: MonthStore) -> None:
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


def origins_of(store: CubeStore, train: bool = False) -> list[tuple[int, str]]:
    """(t, split) of every month to forecast, in order of time; the last is the first month after the data."""
    found = [(int(t), s) for s in SPLITS[0 if train else 1 : 3] for t in with_months(store).origins(s)]
    return [*sorted(found), (len(store.times), "future")]


class RegionForecast:
    """A trained task that forecasts the whole region of a store: ``forecast(t)``, arrays (outcome, lead, y, x)."""

    def __init__(
        self, store: CubeStore, model: Forecast, overlap: float, batch: int, precision: str, draws: int, seed: int,
        members: int = MEMBERS,
    ) -> None:  # fmt: skip
        self.device = best_device()
        self.store, self.model = store, model.to(self.device).eval()
        self.overlap, self.batch, self.precision, self.draws, self.seed = overlap, batch, precision, draws, seed
        self.members = members
        self.pad = min(WRAP_CELLS, store.valid.shape[1]) if store.wraps else 0
        self.window = window_of(model.card)
        self.country = grid_of(store)["country"].to_numpy()
        self.outputs = floor_outputs(store, model.floor, model.loss.more) if model.floor else None

    def forecast(self, t: int) -> Arrays:
        """Forecast of the months from t on, from those before.

        Returns
        -------
        dict with ``probability``, ``deaths`` if the loss knows them, ``draws`` (member, outcome, lead, y, x) if it draws them, and,
        of several draws, ``spread``, ``country_cells`` and ``country_deaths`` (draw, outcome, lead, place)
        """
        return self._forecast(t, self.inputs(t), self.floor(t))

    def forecasts(self, months: Sequence[int]) -> Iterator[Arrays]:
        """`forecast` of several months; what the next one needs is read meanwhile."""
        with ahead((t, self.inputs(t), self.floor(t)) for t in months) as read:
            for t, inputs, floor in read:
                yield self._forecast(t, inputs, floor)

    def _forecast(self, t: int, inputs: np.ndarray, floor: np.ndarray | None) -> Arrays:
        if self.draws == 1:
            found = self._draw(inputs, floor, 1, 0)
            draws = self._members(found, 0, t)
            return {name: values[0] for name, values in found.items()} | draws
        pieces: list[Arrays] = []
        members: list[Arrays] = []
        for first in range(0, self.draws, DRAWS_AT_ONCE):
            number = min(DRAWS_AT_ONCE, self.draws - first)
            # one draw alone would be the network without dropout
            drawn = self._draw(inputs, floor, max(2, number), (self.seed * 100_003 + t) * 1_009 + first)
            members.append(self._members(drawn, first, t))
            pieces.append({name: values[:number] for name, values in drawn.items()})
        draws = {name: np.concatenate([piece[name] for piece in members]) for name in members[0]}
        return self._summary(pieces) | draws

    def _members(self, drawn: Arrays, first: int, t: int) -> Arrays:
        """Draws of deaths, evenly from the network's draws `first`, ...; nothing if it says no classes. These are used up."""
        classes = drawn.pop("classes", None)
        if classes is None:
            return {}
        random = np.random.default_rng([self.seed, t, first, SALT])
        number = np.bincount(np.arange(self.members) * self.draws // self.members, minlength=first + len(classes))
        some = [
            draw_deaths(p, shares, self.model.card["deaths"], count, random)
            for p, shares, count in zip(
                drawn["probability"], classes, number[first : min(first + DRAWS_AT_ONCE, self.draws)], strict=False
            )
        ]
        return {"draws": np.concatenate(some)}

    def inputs(self, t: int) -> np.ndarray:
        """Standardised months before t (1, step, channel, y, x), 0 where unknown or outside, wrapped round the globe."""
        values = np.asarray(self.store.cube(self.store.inputs, t - self.store.steps, t), np.float32)
        statistics = self.model.card["statistics"]
        mean, std = (np.asarray(statistics[k], np.float32)[:, None, None] for k in ("mean", "std"))
        values = np.where(self.store.valid, np.nan_to_num((values - mean) / std, posinf=0, neginf=0), 0)
        if self.pad:
            values = np.pad(values, [(0, 0)] * 3 + [(self.pad, self.pad)], mode="wrap")
        return np.ascontiguousarray(values[None], np.float32)

    def floor(self, t: int) -> np.ndarray | None:
        """What the network corrects (1, lead, output, y, x), wrapped as the inputs are; None where it has no floor."""
        if self.outputs is None:
            return None
        return np.pad(self.outputs(t), [(0, 0)] * 3 + [(self.pad, self.pad)], mode="wrap")[None]

    def _draw(self, inputs: np.ndarray, floor: np.ndarray | None, draws: int, seed: int) -> Arrays:
        """probability and deaths (draw, outcome, lead, y, x) of the region."""
        if self.window is None:
            whole = {name: values[:, 0] for name, values in self._pass(inputs, floor, draws, seed).items()}
        else:
            whole = self._windows(inputs, floor, self.window, draws, seed)
        inner = slice(self.pad, inputs.shape[-1] - self.pad)
        return {name: np.moveaxis(values[..., inner], 2, 1) for name, values in whole.items()}

    def _pass(self, inputs: Any, floor: np.ndarray | None, draws: int, seed: int) -> Arrays:
        """Forecasts (draw, sample, lead, outcome, y, x) of some windows."""
        import torch

        bf16 = self.precision == "bfloat16"
        given, base = (None if part is None else torch.from_numpy(part).to(self.device) for part in (inputs, floor))
        with torch.inference_mode(), torch.autocast(self.device, dtype=torch.bfloat16, enabled=bf16):
            drawn = self.model.forecast(given, draws=draws, seed=seed, floor=base)
        return {name: values.float().cpu().numpy() for name, values in drawn.items()}

    def _windows(
        self, inputs: np.ndarray, floor: np.ndarray | None, size: tuple[int, int], draws: int, seed: int
    ) -> Arrays:
        """Blended forecasts (draw, lead, outcome, y, x) of overlapping windows of the one size that the network takes."""
        from geonb.rasters.stitching import blend_weights, offsets

        shape, sides = inputs.shape[-2:], []
        for length, side in zip(shape, size, strict=True):
            starts = offsets(length, side, self.overlap)
            weights = blend_weights(length, side, starts)
            sides.append([(slice(start, start + side), w) for start, w in zip(starts, weights, strict=True)])
        missing = [(0, max(0, side - length)) for length, side in zip(shape, size, strict=True)]
        inputs = np.pad(inputs[0], [(0, 0), (0, 0), *missing])
        if floor is not None:
            floor = np.pad(floor[0], [(0, 0), (0, 0), *missing])
        windows, total = list(product(*sides)), {}
        for begin in range(0, len(windows), self.batch):
            some = windows[begin : begin + self.batch]
            cut, base = (
                None if part is None else np.stack([part[..., rows, columns] for (rows, _), (columns, _) in some])
                for part in (inputs, floor)
            )
            out = self._pass(cut, base, draws, seed + begin)
            for name, values in out.items():
                if name not in total:
                    total[name] = np.zeros((draws, *values.shape[2:-2], *inputs.shape[-2:]), np.float32)
                for k, ((rows, down), (columns, across)) in enumerate(some):
                    total[name][..., rows, columns] += values[:, k] * (down[:, None] * across)
        return {name: values[..., : shape[0], : shape[1]] for name, values in total.items()}

    def _summary(self, pieces: list[Arrays]) -> Arrays:
        """Mean, spread and sums by country over the draws of all pieces."""
        number = self.draws
        mean = sum(p["probability"].sum(axis=0) for p in pieces) / number
        spread = np.sqrt(sum(((p["probability"] - mean) ** 2).sum(axis=0) for p in pieces) / number)
        out = {"probability": mean, "spread": spread}
        out["country_cells"] = np.concatenate([self._by_country(p["probability"]) for p in pieces])
        if "deaths" in pieces[0]:
            out["deaths"] = sum(p["deaths"].sum(axis=0) for p in pieces) / number
            out["country_deaths"] = np.concatenate([self._by_country(p["deaths"]) for p in pieces])
        return out

    def _by_country(self, values: np.ndarray) -> np.ndarray:
        """Sums (..., place) over the region's cells of each country."""
        cells = [self.store.valid & (self.country == place) for place in np.unique(self.country)]
        return np.stack([values[..., inside].sum(axis=-1) for inside in cells], axis=-1)


def grid_of(store: CubeStore) -> xr.Dataset:
    """Country and gid of each cell, with coordinates and CRS."""
    return store.arrays["grid"].to_dataset()[["country", "gid"]]


def window_of(card: dict[str, Any]) -> tuple[int, int] | None:
    """(rows, columns) of the windows of a network that takes no other; None where it takes any size."""
    from geonb.workloads.conflict.networks import check_network

    _, options = check_network(card["network"])
    if options.get("peephole") != "pixel":
        return None
    rows, columns = np.broadcast_to(options["size"], 2).tolist()
    return rows, columns


def _create(
    path: Path, store: CubeStore, models: Sequence[str], origins: Sequence[tuple[int, str]], draws: int,
    drawn: Sequence[str], members: int,
) -> None:  # fmt: skip
    """Lay out the group: what is known whole, forecasts empty."""
    options: dict[str, Any] = {"mode": "a", "compute": False, "consolidated": False, "write_empty_chunks": True}
    with quiet_zarr():
        data = _layout(store, models, origins, draws, drawn, members)
        summed(data).to_zarr(path, group="grid", zarr_format=3, **options)
    arrays = writable(zarr.open_group(path, mode="r+")["grid"])
    for i, (t, _) in enumerate(origins):
        arrays["truth"][:, i], deaths = _came_true(store, t)
        if has_deaths(store):
            arrays["deaths"][:, i] = deaths


def _layout(
    store: CubeStore, models: Sequence[str], origins: Sequence[tuple[int, str]], draws: int, drawn: Sequence[str],
    members: int,
) -> xr.Dataset:  # fmt: skip
    """What is known of the region, and the variables that are still empty."""
    import dask.array as da

    grid = grid_of(store)
    places = np.unique(grid["country"])
    sizes = {"model": len(models), "outcome": len(store.outcomes), "time": len(origins), "lead": store.horizon,
             "y": grid.sizes["y"], "x": grid.sizes["x"], "draw": draws, "place": len(places), "drawn": len(drawn),
             "member": members}  # fmt: skip

    def empty(order: tuple[str, ...], fill: Any, dtype: type, **attrs: Any) -> tuple:
        one = {"model", "outcome", "time", "drawn"}
        if np.dtype(dtype).itemsize * np.prod([sizes[d] for d in order if d not in one]) > AT_ONCE_BYTES:
            one.add("lead")
        chunks = tuple(1 if d in one else sizes[d] for d in order)
        values = da.full(tuple(sizes[d] for d in order), fill, dtype=dtype, chunks=chunks)
        return order, values, {**attrs, "grid_mapping": "spatial_ref"}

    def forecast(order: tuple[str, ...], long_name: str) -> tuple:
        return empty(order, np.nan, np.float32, long_name=long_name, units="1")

    def cells(values: np.ndarray, long_name: str) -> tuple:
        return ("y", "x"), values, {"long_name": long_name, "grid_mapping": "spatial_ref"}

    data = {
        "probability": forecast(("model", *DIMS), "probability of an event"),
        "truth": empty(DIMS, UNKNOWN, np.int8, long_name="an event came", unknown=UNKNOWN),
        "split": ("time", np.array([split for _, split in origins], dtype="U6")),
        "valid": cells(store.valid, "cell of the region"),
        "country": cells(grid["country"].to_numpy().astype(np.int32), "UCDP country_id"),
        "gid": cells(grid["gid"].to_numpy().astype(np.int32), "PRIO-GRID cell"),
    }
    coords = {k: grid[k] for k in ("y", "x", "spatial_ref") if k in grid.coords} | {
        "model": list(models), "outcome": [o["name"] for o in store.outcomes], "lead": np.arange(1, store.horizon + 1),
        "time": pd.DatetimeIndex([store.times[0] + pd.DateOffset(months=t) for t, _ in origins]),
    }  # fmt: skip
    by_country = ("draw", *DIMS[:3], "place")
    if draws > 1:
        data["spread"] = forecast(DIMS, "standard deviation of the probability over draws")
        data["country_cells"] = forecast(by_country, "expected cells with an event")
        coords["place"] = places
    if has_deaths(store):
        data["deaths"] = empty(DIMS, np.nan, np.float32, long_name="deaths")
        data["deaths_mean"] = forecast(("model", *DIMS), "expected deaths")
    if has_deaths(store) and draws > 1:
        data["country_deaths"] = forecast(by_country, "expected deaths")
    if drawn:
        about = {"long_name": "draws of deaths", "unknown": int(NO_DRAW)}
        data["deaths_draws"] = empty(("drawn", "member", *DIMS), NO_DRAW, np.uint32, **about)
        coords |= {"drawn": list(drawn), "member": np.arange(members)}
    return xr.Dataset(data, coords)


def _came_true(store: CubeStore, t: int) -> tuple[np.ndarray, np.ndarray | None]:
    """truth (outcome, lead, y, x) int8 and deaths float32 of the months from t on, as far as they are known."""
    stop = min(t + store.horizon, len(store.times))
    shape = (len(store.outcomes), store.horizon, *store.valid.shape)
    truth, deaths = np.full(shape, UNKNOWN, np.int8), np.full(shape, np.nan, np.float32)
    if stop > t:
        truth[:, : stop - t] = np.moveaxis(events_of(store, t, stop), 1, 0)
        if has_deaths(store):
            deaths[:, : stop - t] = np.moveaxis(deaths_of(store, t, stop), 1, 0)
    return truth, deaths


def _write(arrays: Any, m: int, i: int, forecast: Mapping[str, np.ndarray | None], valid: np.ndarray) -> None:
    """Write one origin of one model; what it does not forecast is written as not known, so that every chunk is there."""
    whole = {"country_cells", "country_deaths", "draws"}
    inside = {k: v if k in whole else np.where(valid, v, np.nan) for k, v in forecast.items() if v is not None}
    arrays["probability"][m, :, i] = inside["probability"]
    if "deaths_mean" in arrays:
        arrays["deaths_mean"][m, :, i] = inside.get("deaths", np.nan)
    if m:
        return  # the rest is of the network's draws
    if "spread" in arrays:
        arrays["spread"][:, i] = inside["spread"]
    for name in {"country_cells", "country_deaths"} & arrays.keys():
        arrays[name][:, :, i] = inside.get(name, np.nan)


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

    wanted = {"probability": ("model", *DIMS), "truth": DIMS, "split": ("time",),
              **dict.fromkeys(("valid", "country", "gid"), DIMS[3:])}  # fmt: skip
    some = {"deaths": DIMS, "spread": DIMS, "deaths_mean": ("model", *DIMS), "deaths_draws": ("drawn", "member", *DIMS)}
    wanted |= {name: order for name, order in some.items() if name in data}
    found = [*layout_faults(data, wanted), *coordinate_faults(data, ("time", "lead", "y", "x"), ("time", "lead", "y"))]
    if "spatial_ref" not in data.coords:
        found.append("no coordinate reference system")
    if missing := set(data["drawn"].to_numpy() if "drawn" in data else ()) - set(data["model"].to_numpy()):
        found.append(f"draws of models that there are not: {', '.join(sorted(missing))}")
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
    for model in month["drawn"].to_numpy() if "deaths_draws" in month else ():
        draws = month["deaths_draws"].sel(drawn=model).to_numpy()
        yield from range_faults(f"draws of deaths of {model}, {name}", draws, 0, NO_DRAW - 1, valid)
    for deaths in ("deaths_mean", "deaths"):
        if deaths in month:  # not every baseline forecasts deaths, and those of months to come are not known
            values = month[deaths].to_numpy()
            yield from range_faults(f"{deaths}, {name}", values, 0, known=valid & ~np.isnan(values))
