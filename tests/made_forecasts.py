"""Made-up conflict forecasts that follow geonb's contracts, for tests and for looking at figures: simulated, and said to be.

A box around Nigeria (20 x 25 cells of 0.5 degrees), two hot spots that flare up and die down; events breed events nearby.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, brier_score_loss, precision_recall_curve, roc_auc_score, roc_curve

MODELS = ["network", "never", "climatology", "weighted-history"]
METRICS = ["average_precision", "auroc", "brier"]
OUTCOMES = [{"name": "any violence", "colour": "#b2182b", "event": "event", "deaths": None}]
STEPS, LEADS, MONTHS = 6, 3, 60
ORIGINS = {"val": [39, 40, 41, 42, 43], "test": [52, 53, 54, 55, 56, 57], "future": [60]}
LATITUDES, LONGITUDES = np.arange(3.75, 13.5, 0.5), np.arange(2.75, 15, 0.5)
ATTRS = {
    "workload": "conflict",
    "title": "Conflict events",
    "simulated": 1,
    "notes": ["Simulated for tests; nothing of this happened."],
    "run": "2026-11-23_quiet-ibis",
    "headline": "average_precision",
    "unit": "cell-months",
}


def small_cube(seed: int = 0) -> xr.DataArray:
    """Monthly (time, channel, y, x): ``event`` 0/1 and ``log1p_best`` over 2014 to 2018."""
    rng = np.random.default_rng(seed)
    lat, lon = np.meshgrid(LATITUDES, LONGITUDES, indexing="ij")
    north_east = np.exp(-((lat - 11.5) ** 2 + (lon - 13) ** 2) / 3)
    delta = np.exp(-((lat - 5) ** 2 + (lon - 6.5) ** 2) / 1.5)
    events = np.zeros((MONTHS, *lat.shape), np.float32)
    memory, valid = np.zeros(lat.shape), small_valid()
    for t in range(MONTHS):
        wave = 0.5 + 0.4 * np.sin(2 * np.pi * t / 24)
        rate = 0.003 + 0.5 * wave * north_east + 0.25 * (1 - wave) * delta + 0.8 * gaussian_filter(memory, 0.8)
        events[t] = rng.random(lat.shape) < np.clip(rate, 0, 0.9) * valid
        memory = 0.6 * memory + 0.4 * events[t]
    deaths = np.log1p(events * rng.geometric(0.15, events.shape)).astype(np.float32)
    coords = {
        "time": pd.date_range("2014-01", periods=MONTHS, freq="MS"),
        "channel": ["event", "log1p_best"],
        "y": ("y", LATITUDES, {"units": "degrees_north"}),
        "x": ("x", LONGITUDES, {"units": "degrees_east"}),
        "spatial_ref": ((), 0, {"crs_wkt": _wkt()}),
    }
    return xr.DataArray(np.stack([events, deaths], 1), coords, ("time", "channel", "y", "x"))


def _wkt() -> str:
    from pyproj import CRS

    return CRS.from_epsg(4326).to_wkt()


def small_valid() -> np.ndarray:
    """Cells of the region (y, x): the sea in the south-west corner is none."""
    lat, lon = np.meshgrid(LATITUDES, LONGITUDES, indexing="ij")
    return ~((lat < 6) & (lon < 4.5))


def small_arrays(cube: xr.DataArray | None = None) -> xr.DataTree:
    """The store's arrays: group ``grid`` with ``monthly`` (time, monthly_channel, y, x) and ``valid``."""
    cube = small_cube() if cube is None else cube
    data = cube.rename(channel="monthly_channel").to_dataset(name="monthly")
    return xr.DataTree.from_dict({"/grid": data.assign(valid=(("y", "x"), small_valid()))})


def small_store(seed: int = 0) -> SimpleNamespace:
    """What figures ask of a CubeStore, without a disk."""
    cube = small_cube(seed)
    times = pd.DatetimeIndex(cube.time.values)
    origins = {"train": np.arange(6, 31)} | {k: np.array(v) for k, v in ORIGINS.items() if k != "future"}
    rows = [(t, y, x) for t in (10, 20, 30, 41, 55) for y, x in ((2, 3), (10, 15), (12, 17))]
    index = pd.DataFrame(rows, columns=["t", "y", "x"]).assign(height=8, width=8)
    index["split"] = np.where(index.t < 35, "train", np.where(index.t < 50, "val", "test"))

    def windows(row: int) -> xr.Dataset:
        t, y, x = index.loc[row, ["t", "y", "x"]]
        box = {"y": slice(y, y + 8), "x": slice(x, x + 8)}
        inputs = cube.isel(time=slice(t - STEPS, t), **box).rename(time="step")
        targets = cube.isel(time=slice(t, t + LEADS), channel=[0], **box).transpose("time", "channel", "y", "x")
        targets = targets.rename(time="lead", channel="outcome")
        return xr.Dataset({"inputs": inputs.drop_vars("step"), "targets": targets.drop_vars(("lead", "outcome"))})

    class Made(SimpleNamespace):
        def __getitem__(self, row):
            return windows(row)

        def __len__(self):
            return len(index)

    return Made(
        times=times,
        inputs=["event", "log1p_best"],
        outcomes=OUTCOMES,
        steps=STEPS,
        horizon=LEADS,
        valid=small_valid(),
        index=index,
        meta=dict(ATTRS),
        arrays=small_arrays(cube),
        cube=lambda names=None, start=None, stop=None: cube.sel(channel=names or ["event", "log1p_best"]).isel(
            time=slice(start, stop)
        ),
        origins=lambda split: origins[split],
    )


def small_predictions(seed: int = 0, outcomes: int = 1) -> xr.DataTree:
    """Predictions of `MODELS` at 12 origins (val, test, one future) and 3 leads; truth is the made cube's."""
    rng = np.random.default_rng([seed, 1])
    cube = small_cube(seed)
    events, valid = cube.sel(channel="event").values, small_valid()
    origins = np.concatenate(list(ORIGINS.values()))
    split = np.concatenate([[name] * len(t) for name, t in ORIGINS.items()])
    shape = (len(origins), LEADS, *events.shape[1:])
    truth, probability = np.full(shape, -1, np.int8), np.zeros((len(MODELS), *shape), np.float32)
    for i, t in enumerate(origins):
        weights = 2.0 ** (-np.arange(t, 0, -1) / 6)
        history = np.tensordot(weights / weights.sum(), events[:t], 1)
        for lead in range(LEADS):
            if t + lead < MONTHS:
                truth[i, lead] = events[t + lead]
            blurred = gaussian_filter(history, 0.7 + 0.2 * lead)
            logit = np.log((blurred + 0.003) / (1.003 - blurred)) + 0.3 * rng.normal(size=blurred.shape)
            probability[0, i, lead] = 1 / (1 + np.exp(-logit))
            probability[2, i, lead] = events[:31].mean(0)
            probability[3, i, lead] = np.clip(0.8 * history, 0, 1)
    times = pd.DatetimeIndex([cube.time.values[0]]).to_period("M")[0] + origins
    names = [o["name"] for o in OUTCOMES] if outcomes == 1 else ["state-based", "non-state", "one-sided"]
    records = OUTCOMES if outcomes == 1 else [_violence(name) for name in names]
    dims = ("outcome", "time", "lead", "y", "x")
    fade = np.array([1.0, 0.6, 0.3], np.float32)[: len(names)].reshape(-1, 1, 1, 1, 1)
    data = xr.Dataset(
        {
            "probability": (("model", *dims), np.where(valid, probability[:, None] * fade, np.nan).astype("float32")),
            "spread": (dims, np.where(valid, 0.3 * (probability[0] * (1 - probability[0]))[None] * fade, np.nan).astype("float32")),
            "truth": (dims, np.repeat(truth[None], len(names), 0)),
            "split": ("time", split),
            "valid": (("y", "x"), valid),
            "country": (("y", "x"), np.where(valid, 475, 0).astype("int32")),
            "gid": (("y", "x"), _gid()),
        },
        coords={
            "model": MODELS, "outcome": names, "time": [p.to_timestamp() for p in times], "lead": np.arange(1, LEADS + 1),
            **{name: cube[name] for name in ("y", "x", "spatial_ref")},
        },
    )  # fmt: skip
    tree = xr.DataTree.from_dict({"/grid": data})
    tree.attrs = {**ATTRS, "outcomes": records}
    return tree


def _violence(name: str) -> dict:
    short = name.replace("-", "").replace("based", "").replace("sided", "sided")
    colour = {"state-based": "#b2182b", "non-state": "#2166ac", "one-sided": "#5aae61"}[name]
    return {"name": name, "colour": colour, "event": f"event_{short}", "deaths": None}


def _gid() -> np.ndarray:
    rows, columns = np.floor((LATITUDES + 90) * 2), np.floor((LONGITUDES + 180) * 2)
    return (rows[:, None] * 720 + columns + 1).astype("int32")


def small_scores(predictions: xr.DataTree | None = None, points: int = 50) -> xr.Dataset:
    """Scores of `predictions` by scikit-learn; the intervals are made up."""
    data = (small_predictions() if predictions is None else predictions)["grid"].to_dataset()
    splits = ["val", "test"]
    score = np.full((len(MODELS), 2, len(METRICS)), np.nan)
    lead_score = np.full((len(MODELS), 2, LEADS, len(METRICS)), np.nan)
    month_score = np.full((len(MODELS), data.sizes["time"], len(METRICS)), np.nan)
    curves = {name: np.full((len(MODELS), 2, points), np.nan) for name in ("roc_fpr", "roc_tpr", "pr_recall", "pr_precision")}  # fmt: skip
    bins = {name: np.zeros((len(MODELS), 2, 10)) for name in ("confidence", "hit_rate", "bin_samples")}
    for m, model in enumerate(MODELS):
        for s, split in enumerate(splits):
            truth, guess = _pairs(data, data.split.values == split, model)
            score[m, s] = _metrics(truth, guess)
            for lead in range(LEADS):
                lead_score[m, s, lead] = _metrics(*_pairs(data.isel(lead=[lead]), data.split.values == split, model))
            fpr, tpr, _ = roc_curve(truth, guess)
            precision, recall, _ = precision_recall_curve(truth, guess)
            at = np.linspace(0, 1, points)
            curves["roc_fpr"][m, s], curves["roc_tpr"][m, s] = at, np.interp(at, fpr, tpr)
            place = np.searchsorted(recall[::-1], at).clip(0, len(recall) - 1)
            curves["pr_recall"][m, s], curves["pr_precision"][m, s] = at, precision[::-1][place]
            which = np.minimum((guess * 10).astype(int), 9)
            for b in range(10):
                inside = which == b
                bins["bin_samples"][m, s, b] = inside.sum()
                bins["confidence"][m, s, b] = guess[inside].mean() if inside.any() else np.nan
                bins["hit_rate"][m, s, b] = truth[inside].mean() if inside.any() else np.nan
        for i in range(data.sizes["time"]):
            truth, guess = _pairs(data, np.arange(data.sizes["time"]) == i, model)
            month_score[m, i] = _metrics(truth, guess) if len(truth) else np.nan
    known = (data.truth >= 0) & data.valid
    events = ((data.truth == 1) & data.valid).sum(("outcome", "lead", "y", "x"))
    n_samples = [int(known.isel(time=data.split.values == s).sum()) for s in splits]
    prevalence = [float(_pairs(data, data.split.values == s, "network")[0].mean()) for s in splits]
    three, lead_dims = ("model", "split", "metric"), ("model", "split", "lead", "metric")
    variables = _with_ends("score", three, score) | _with_ends("gain", three, score[:1] - score)
    variables |= _with_ends("lead_score", lead_dims, lead_score)
    variables |= {
        "month_score": (("model", "time", "metric"), month_score),
        "month_events": ("time", events.values),
        "month_split": ("time", data.split.values),
        "n_samples": ("split", n_samples),
        "n_blocks": ("split", [20, 24]),
        "prevalence": ("split", prevalence),
    }
    variables |= {name: (("model", "split", "point"), values) for name, values in curves.items()}
    variables |= {name: (("model", "split", "bin"), values) for name, values in bins.items()}
    coords = {"model": MODELS, "split": splits, "metric": METRICS, "lead": data.lead.values, "time": data.time.values}
    return xr.Dataset(variables, coords, dict(ATTRS))


def _with_ends(name: str, dims: tuple[str, ...], values: np.ndarray) -> dict:
    return {name: (dims, values), f"{name}_low": (dims, values * 0.93), f"{name}_high": (dims, values * 1.05)}


def _pairs(data: xr.Dataset, months: np.ndarray, model: str) -> tuple[np.ndarray, np.ndarray]:
    here = data.isel(time=np.flatnonzero(months))
    truth = here.truth.values
    known = (truth >= 0) & here.valid.values
    return truth[known], here.probability.sel(model=model).values[known]


def _metrics(truth: np.ndarray, guess: np.ndarray) -> list[float]:
    return [average_precision_score(truth, guess), roc_auc_score(truth, guess), brier_score_loss(truth, guess)]
