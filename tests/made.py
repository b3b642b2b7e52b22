"""Made-up data that follow geonb's contracts, for tests and for looking at figures: simulated, and said to be.

A patch of ground around Raleigh, North Carolina (EPSG:32119, 28.5 m), 7 classes, a network that is right more often than
a per-pixel linear model, which is right more often than the majority class.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import gaussian_filter

CLASSES = ["developed", "agriculture", "herbaceous", "shrubland", "forest", "water", "sediment"]
COLOURS = ["#c94a4a", "#e2b84b", "#c8d96f", "#a0845c", "#2f7d4f", "#3f7fbf", "#bfb8a5"]
MODELS = ["network", "majority", "pixel-linear"]
BANDS = ["band_10", "band_20", "band_30", "band_40", "band_50"]
NOTES = ["Mask of 1996, image of 2000.", "Simulated for tests; no place looks like this."]
ATTRS = {
    "workload": "segmentation",
    "title": "Land cover from Landsat",
    "question": "Which land cover is at each pixel?",
    "simulated": 1,
    "notes": NOTES,
    "run": "2026-11-22_calm-heron",
    "colours": COLOURS,
    "headline": "mean_iou",
}
WEST, NORTH, CELL = 630_000.0, 228_500.0, 28.5
SPLITS = ["train", "val", "test"]
BLOCK = 32


def made_grid(shape: tuple[int, int]) -> dict[str, tuple[str, np.ndarray]]:
    return {
        "y": ("y", NORTH - CELL * (np.arange(shape[0]) + 0.5)),
        "x": ("x", WEST + CELL * (np.arange(shape[1]) + 0.5)),
    }


def made_truth(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Class index of each pixel, 255 in a no-data wedge in the north-west."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=shape), 7) for _ in CLASSES])
    fields /= fields.std(axis=(1, 2), keepdims=True)
    truth = (fields + np.array([0.8, 0.6, 0.3, -0.2, 1.0, -0.4, -1.2])[:, None, None]).argmax(0).astype("uint8")
    rows, columns = np.indices(shape)
    truth[rows + columns < 0.35 * min(shape)] = 255
    return truth


def made_split(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """1 train, 2 val, 3 test in square blocks."""
    blocks = np.random.default_rng(seed).choice([1, 2, 3], p=[0.6, 0.2, 0.2], size=[n // BLOCK + 1 for n in shape])
    return np.kron(blocks, np.ones((BLOCK, BLOCK)))[: shape[0], : shape[1]].astype("int8")


def made_blocks(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = np.indices(shape) // BLOCK
    return (rows * -(-shape[1] // BLOCK) + columns).astype("int32")


def made_probability(truth: np.ndarray, model: str, rng: np.random.Generator) -> np.ndarray:
    """Class probabilities (class, y, x) float32 that sum to one; NaN where there is no truth."""
    filled = np.where(truth == 255, 4, truth)
    hot = np.eye(len(CLASSES))[filled].transpose(2, 0, 1)
    if model == "majority":
        share = np.bincount(filled.ravel(), minlength=len(CLASSES)) / filled.size
        logits = np.broadcast_to(np.log(share + 1e-6)[:, None, None], hot.shape)
    elif model == "network":
        noise = np.stack([gaussian_filter(rng.normal(size=truth.shape), 4) for _ in CLASSES])
        logits = 4 * np.stack([gaussian_filter(h, 1.5) for h in hot]) + 2.4 * noise / noise.std()
    else:
        logits = 1.6 * hot + 1.1 * rng.normal(size=hot.shape)
    odds = np.exp(logits - logits.max(0))
    probability = (odds / odds.sum(0)).astype("float32")
    probability[:, truth == 255] = np.nan
    return probability


def georeferenced(data: xr.Dataset) -> xr.Dataset:
    import rioxarray  # noqa: F401

    return data.rio.write_crs("EPSG:32119")


def made_predictions(shape: tuple[int, int] = (160, 192), sources: tuple[str, ...] = ("scene",)) -> xr.DataTree:
    tree = {"/": xr.Dataset(attrs=ATTRS)}
    for seed, source in enumerate(sources):
        truth, rng = made_truth(shape, seed), np.random.default_rng(seed)
        probability = np.stack([made_probability(truth, model, rng) for model in MODELS])
        label = np.where(truth == 255, 255, np.nan_to_num(probability).argmax(1)).astype("uint8")
        data = xr.Dataset(
            {
                "probability": (("model", "class", "y", "x"), probability),
                "label": (("model", "y", "x"), label),
                "truth": (("y", "x"), truth),
                "split": (("y", "x"), made_split(shape, seed)),
                "block": (("y", "x"), made_blocks(shape)),
            },
            coords=made_grid(shape) | {"class": CLASSES, "model": MODELS},
        )
        tree[f"/{source}"] = georeferenced(data)
    return xr.DataTree.from_dict(tree)


def made_arrays(shape: tuple[int, int] = (160, 192), sources: tuple[str, ...] = ("scene",)) -> xr.DataTree:
    spectra = np.random.default_rng(3).uniform(30, 180, size=(len(CLASSES), len(BANDS)))
    tree = {}
    for seed, source in enumerate(sources):
        truth = made_truth(shape, seed)
        valid = truth != 255
        inputs = spectra[np.where(valid, truth, 0)].transpose(2, 0, 1)
        inputs = inputs + np.random.default_rng(seed).normal(0, 9, inputs.shape)
        inputs = np.where(valid, inputs.clip(0, 255), 0).astype("uint8")
        data = xr.Dataset(
            {"inputs": (("channel", "y", "x"), inputs), "targets": (("y", "x"), truth), "valid": (("y", "x"), valid)},
            coords=made_grid(shape) | {"channel": BANDS},
        )
        tree[f"/{source}"] = georeferenced(data)
    return xr.DataTree.from_dict(tree)


class MadeStore(SimpleNamespace):
    """As much of a Store as the figures use."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> xr.Dataset:
        row = self.index.iloc[i]
        window = {"y": slice(row.y, row.y + row.height), "x": slice(row.x, row.x + row.width)}
        return self.arrays[row.source].to_dataset().isel(window).assign_attrs(row.to_dict())

    def split_map(self, source: str) -> xr.DataArray:
        targets = self.arrays[source]["targets"]
        return targets.copy(data=made_split(targets.shape, list(self.arrays.children).index(source)))


def made_store(shape: tuple[int, int] = (160, 192), patch: int = 32) -> MadeStore:
    arrays = made_arrays(shape)
    split = made_split(shape)
    corners = [(y, x) for y in range(0, shape[0] - patch + 1, patch) for x in range(0, shape[1] - patch + 1, patch)]
    index = pd.DataFrame(corners, columns=["y", "x"]).assign(source="scene", height=patch, width=patch)
    index["split"] = [[None, *SPLITS][split[y, x]] for y, x in corners]
    index["valid_share"] = [float(arrays["scene"].valid[y : y + patch, x : x + patch].mean()) for y, x in corners]
    meta = {"workload": "segmentation", "name": "raleigh", "title": ATTRS["title"], "simulated": True, "notes": NOTES}
    classes = [{"code": i + 1, "name": n, "colour": c} for i, (n, c) in enumerate(zip(CLASSES, COLOURS, strict=True))]
    return MadeStore(
        path="data/segmentation/raleigh-made0000",
        meta=meta | {"split": {"method": "block", "block": BLOCK}, "classes": classes},
        arrays=arrays,
        index=index,
        classes=classes,
        channels=list(BANDS),
        sources=["scene"],
    )


def made_scores(predictions: xr.DataTree | None = None, draws: int = 100) -> xr.Dataset:
    from geonb.workloads.segmentation.scores import score_classes

    return score_classes(predictions if predictions is not None else made_predictions(), draws=draws)


def made_embeddings(n: int = 120, dim: int = 16, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(CLASSES), n)
    centres = rng.normal(0, 3, (len(CLASSES), dim))
    return xr.Dataset(
        {"embedding": (("sample", "dim"), (centres[label] + rng.normal(size=(n, dim))).astype("float32"))},
        coords={
            "source": ("sample", ["scene"] * n),
            "y": ("sample", rng.integers(0, 128, n)),
            "x": ("sample", rng.integers(0, 160, n)),
            "height": ("sample", [32] * n),
            "width": ("sample", [32] * n),
            "split": ("sample", rng.choice(SPLITS, n)),
            "row": ("sample", np.arange(n) * 3),
            "label": ("sample", np.array(CLASSES)[label]),
            "lon": ("sample", rng.uniform(-78.8, -78.5, n)),
            "lat": ("sample", rng.uniform(35.6, 35.9, n)),
        },
        attrs={
            "layer": "encoder",
            "network": "unet:encoder=resnet18",
            "simulated": 1,
            "notes": NOTES,
            "colours": COLOURS,
            "classes": CLASSES,
        },
    )


def made_tiles(embeddings: xr.Dataset, side: int = 32) -> np.ndarray:
    """Tiles (sample, h, w, 3) uint8: the class colour of each sample, with grain."""
    rng = np.random.default_rng(0)
    colour = {name: [int(c[i : i + 2], 16) for i in (1, 3, 5)] for name, c in zip(CLASSES, COLOURS, strict=True)}
    base = np.array([colour[str(name)] for name in embeddings.label.values])[:, None, None, :]
    return (base + rng.normal(0, 18, (embeddings.sizes["sample"], side, side, 3))).clip(0, 255).astype("uint8")


def made_log(epochs: int = 20) -> pd.DataFrame:
    e = np.arange(epochs)
    return pd.DataFrame(
        {
            "epoch": e + 1,
            "train_loss": 0.5 + 1.3 * np.exp(-e / 4),
            "val_loss": 0.72 + 1.0 * np.exp(-e / 3) + 0.012 * np.maximum(e - 11, 0),
            "val_mean_iou": 0.5 - 0.35 * np.exp(-e / 4) - 0.004 * np.maximum(e - 11, 0),
            "lr": 1e-3,
            "seconds": 2.4,
        }
    )
