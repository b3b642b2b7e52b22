"""Made-up triplets and embeddings that follow geonb's contracts, for tests and for looking at figures: simulated, and said to be.

Two series around Barbados: `west` of 6 scenes of 10 minutes, `east` of 3 scenes without a time. Each triplet has two hidden
truths, how it looks in brightness and how in pattern: mean and spread see the first, the network both.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import xarray as xr

MODELS = ["network", "mean-and-spread", "pixel-pca", "untrained"]
PATCH, SCENES = 32, {"west": 6, "east": 3}
ATTRS = {
    "workload": "clouds",
    "title": "Clouds without labels",
    "question": "Which kinds of pattern are there?",
    "simulated": 1,
    "notes": ["Simulated for tests; no sky looks like this."],
    "run": "2026-11-24_still-plover",
    "headline": "triplet_accuracy",
    "network": "resnet18:dims=8",
    "precision": "float32",
    "unit": "triplets",
    "complete": 1,
    "patch": PATCH,
}


def made_predictions(count: int = 600, seed: int = 0, pattern: float = 1.0, scale: float = 1.0) -> xr.DataTree:
    """Predictions of `count` triplets by `MODELS`; the network sees `pattern` times as much of the pattern as of brightness."""
    rng = np.random.default_rng([seed, 3])
    split = np.repeat(["train", "val", "test"], [count // 2, count // 4, count - count // 2 - count // 4])
    source = rng.choice(["west", "west", "east"], count)
    t = np.array([rng.integers(SCENES[s]) for s in source])
    # the three splits lie in strips from north to south
    top = np.select([split == "train", split == "val"], [0, 12], 20) * PATCH
    y, x = top + rng.integers(0, 6 * PATCH, count), rng.integers(0, 20 * PATCH, count)
    block = (source == "east") * 10_000 + y // (2 * PATCH) * 100 + x // (2 * PATCH)
    place = rng.normal(0, 0.5, 20_000)[block]  # blocks are easy or hard for every model
    brightness, texture = rng.normal(1 + place, 1.2), rng.normal(0.8 + place, 1.2)
    seen = [
        brightness + pattern * texture + rng.normal(0, 0.3, count),
        brightness,
        brightness + rng.normal(0, 0.8, count),
        brightness + rng.normal(0, 0.5, count),
    ]
    near = np.exp(rng.normal(0, 0.4, (len(MODELS), count))) * np.array([scale, 0.5, 40.0, 1e-3])[:, None]
    far = near * np.exp(np.array(seen))
    time = pd.Timestamp("2020-04-01 12:00") + pd.to_timedelta(10 * t, unit="min")
    time = np.where(source == "west", time.to_numpy("datetime64[ns]"), np.datetime64("NaT", "ns"))
    columns = {
        "split": split, "source": source, "t": t, "y": y, "x": x, "height": np.full(count, PATCH), "block": block, "time": time,
        "lon": -61 + x * 0.01 + (source == "east") * 8, "lat": 16 - y * 0.01, "distance_km": rng.uniform(400, 900, count),
    }  # fmt: skip
    table = xr.Dataset(
        {
            "near": (("model", "sample"), near.astype("float32")),
            "far": (("model", "sample"), far.astype("float32")),
            **{name: ("sample", values) for name, values in columns.items()},
        },
        coords={"model": MODELS, "sample": np.arange(count)},
    )
    groups = {f"/{name}": made_embedding(scenes, seed) for name, scenes in SCENES.items()}
    tree = xr.DataTree.from_dict({"/triplets": table, **groups})
    tree.attrs = dict(ATTRS)
    return tree


def made_embedding(scenes: int, seed: int = 0, step: int = 16) -> xr.Dataset:
    """Embedding (time, y, x, dim) that follows the place smoothly, with noise."""
    rng = np.random.default_rng([seed, 4])
    rows, columns = np.arange(12), np.arange(14)
    place = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)[None] * np.ones((scenes, 1, 1, 1))
    values = np.concatenate([place * 0.5, rng.normal(size=(*place.shape[:3], 6))], axis=-1).astype("float32")
    times = pd.Timestamp("2020-04-01 12:00") + pd.to_timedelta(10 * np.arange(scenes), unit="min")
    return xr.Dataset(
        {
            "embedding": (("time", "y", "x", "dim"), values),
            "valid": (("time", "y", "x"), np.ones(place.shape[:3], bool)),
        },
        coords={"time": times, "y": 1e6 - 1e3 * step * rows, "x": 1e3 * step * columns},
        attrs={"step": step},
    )


def made_store(predictions: xr.DataTree) -> SimpleNamespace:
    """What figures ask of a TripletStore: the pixels of a tile encode its row (red) and which of the three it is (green)."""
    data = predictions["triplets"].to_dataset()
    names = ("source", "t", "y", "x", "height", "split", "block", "time")
    index = pd.DataFrame({name: data[name].values for name in names})

    def tiles(rows, tile="anchor"):
        out = np.zeros((len(rows), PATCH, PATCH, 3), np.uint8)
        out[..., 0] = (np.asarray(rows) % 256)[:, None, None]
        out[..., 1] = ["anchor", "neighbor", "distant"].index(tile) * 100
        return out

    return SimpleNamespace(index=index, tiles=tiles, meta=dict(ATTRS), patch=PATCH)


class Anchors:
    """What baselines ask of a store of triplets."""

    path = "data/clouds/made"

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.asked = values, []

    def windows(self, split=None):
        self.asked.append(split)
        return self

    def __len__(self):
        return len(self.values)

    def batch(self, keys, tiles=("anchor", "neighbor", "distant")):
        import torch

        return {"inputs": torch.from_numpy(self.values[keys])}
