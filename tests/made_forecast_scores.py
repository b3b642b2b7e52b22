"""Forecasts to score, made by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr

MODELS, OUTCOMES = ["network", "never", "coarse"], ["state-based", "non-state"]


TIMES = pd.DatetimeIndex(
    ["2010-01-01", "2010-02-01", "2010-03-01", "2011-01-01", "2011-02-01", "2011-05-01", "2012-01-01"]
)


SPLIT = np.array(["val"] * 3 + ["test"] * 3 + ["future"])


def made(seed=0, rows=9, columns=10, leads=2, draws=10):
    """Forecasts of two outcomes whose network is skilful, `never`, and a model of few distinct probabilities without draws."""
    random = np.random.default_rng(seed)
    shape = (2, 7, leads, rows, columns)
    chance = random.beta(0.4, 3, shape)
    truth = (random.random(shape) < chance).astype(np.int8)
    truth[:, 6] = -1
    network = 1 / (1 + np.exp(-(np.log(chance / (1 - chance)) + random.normal(0, 1, shape))))
    probability = np.stack([network, np.zeros(shape), np.where(chance > 0.2, 0.3, 0.05)]).astype(np.float32)
    valid = np.ones((rows, columns), bool)
    valid[0, :3] = False
    deaths = np.where(truth > 0, np.ceil(random.lognormal(1, 1, shape)), 0).astype(np.float32)
    deaths[:, 6] = np.nan
    ensemble = np.rint(random.gamma(0.3, 30 * network, (draws, *shape))).astype(np.uint32)
    drawn = np.where(valid, np.stack([ensemble, np.zeros_like(ensemble)]), 2**32 - 1).astype(np.uint32)
    dims = ("outcome", "time", "lead", "y", "x")
    data = xr.Dataset(
        {
            "probability": (("model", *dims), np.where(valid, probability, np.nan)),
            "deaths_mean": (("model", *dims), np.stack([ensemble.mean(0), np.zeros(shape), 4 * probability[2]])),
            "deaths_draws": (("drawn", "member", *dims), drawn),
            "truth": (dims, truth),
            "deaths": (dims, deaths),
            "split": ("time", SPLIT),
            "valid": (("y", "x"), valid),
            "country": (("y", "x"), np.where(np.arange(columns) < 4, 475, 483) * np.ones((rows, 1), int)),
        },
        coords={
            "model": MODELS, "outcome": OUTCOMES, "time": TIMES, "lead": np.arange(1, leads + 1),
            "drawn": MODELS[:2], "member": np.arange(draws),
        },
    )  # fmt: skip
    tree = xr.DataTree.from_dict({"/grid": data})
    tree.attrs = {
        "workload": "conflict",
        "simulated": 1,
        "notes": "made",
        "colours": ["#000000"] * 2,
        "headline": "average_precision",
    }
    return tree


def noisier(tree, noise, seed=1):
    """The same forecasts with the network's ranks disturbed."""
    data = tree["grid"].to_dataset()
    p = data.probability.values.copy()
    logit = np.log(np.clip(p[0], 1e-6, 1 - 1e-6) / (1 - np.clip(p[0], 1e-6, 1 - 1e-6)))
    p[0] = 1 / (1 + np.exp(-(logit + np.random.default_rng(seed).normal(0, noise, logit.shape))))
    out = xr.DataTree.from_dict({"/grid": data.assign(probability=(data.probability.dims, p.astype(np.float32)))})
    out.attrs = tree.attrs
    return out


BINS = (
    0,
    1,
    3,
    6,
    11,
    26,
    51,
    101,
    251,
    501,
    1001,
    np.inf,
)  # the challenge's classes of whole deaths, as its paper lists them


def by_hand(draws, deaths):
    """CRPS, ignorance and 90 % interval score of one cell's draws, each as its definition reads."""
    crps = abs(draws - deaths).mean() - abs(draws[:, None] - draws).mean() / 2
    (inside,) = [(low, high) for low, high in pairwise(BINS) if low <= deaths < high]
    hits = sum(inside[0] <= draw < inside[1] for draw in draws)
    low, high = np.percentile(draws, [5, 95])
    missed = (low - deaths) * (deaths < low) + (deaths - high) * (deaths > high)
    return crps, -np.log2((hits + 1) / (len(draws) + 11)), high - low + 2 / 0.1 * missed
