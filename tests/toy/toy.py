"""A workload from end to end, given as "toy:RECORD": how rough is the ground of a tile? Nothing of geonb is touched for it.

A number for a tile of a height model, learnt from tiles beside it. It stands on the spine alone, as a room does; a room of geonb
puts each part into a file of its own, named at its head. docs/workload.md goes through it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
import zarr
from affine import Affine
from matplotlib.figure import Figure as Drawing
from rasterio.crs import CRS
from torchmetrics import MeanSquaredError

from geonb.base.conventions import SPLITS
from geonb.base.download import Source
from geonb.base.files import whole_folder
from geonb.base.run_folder import RunFolder
from geonb.base.specs import Option, check_options
from geonb.dashboards.explorer import Dim, Explorer, Place
from geonb.dashboards.layers import Grid, Layer, from_array, north_up
from geonb.dashboards.page import caption_of, notes_html
from geonb.parameters import Parameter
from geonb.plots.maps import crs_of, edges
from geonb.plots.style import SPLIT_COLOURS
from geonb.prediction import faults as prediction_faults
from geonb.prediction.baselines import Baseline
from geonb.prediction.predictions import seal
from geonb.rasters import images
from geonb.registry import Figure, Workload
from geonb.scores.bootstrap import SALT, by_split, draw, resampled
from geonb.scores.comparison import Drawable, difference, of_split, refuse_others, scored
from geonb.store import arrays, leakage, windows
from geonb.store import faults as store_faults
from geonb.store.grid_store import GridStore
from geonb.store.loaders import Tensors
from geonb.store.memory_map import Plane
from geonb.store.samplers import check_sampler
from geonb.store.sealing import make_store
from geonb.store.store import Store
from geonb.store.turns import turned
from geonb.training.augmentation import check_augment
from geonb.training.devices import best_device
from geonb.training.optimizers import check_optimizer
from geonb.training.task import Trainable, check_all

# ---- the sample store (store.py, loaders.py) ------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class TileStore(GridStore):
    """A sealed store of tiles. `store[i]` is tile i of the height model, and how rough it is."""

    def __getitem__(self, i: int) -> xr.Dataset:
        tile = super().__getitem__(i)
        return tile.assign(targets=tile.attrs["roughness_m"])

    def windows(self, split: str | None = None, augment: str = "none", seed: int = 0) -> Tiles:
        return Tiles(self, split, augment, seed)

    def labels(self, items: list[dict]) -> list[str]:
        return ["" for _ in items]  # nobody has said what they show

    @property
    def legend(self) -> dict[str, str]:
        return {}

    def faults(self, deep: bool = False) -> list[str]:
        root, found = store_faults.open_arrays(self.path)
        for name, shape in self._shapes.items() if root is not None else ():
            found += store_faults.shape_faults(root, name, {"inputs": (1, *shape), "valid": shape}, filled=["inputs"])
        found += store_faults.statistics_faults(self.meta, 1)
        missing = store_faults.column_faults(
            self.path, ("source", "y", "x", "height", "width", "split", "block", "roughness_m")
        )
        return found + (missing or leakage.leaks(self.index, self._shapes, self.meta["split"])[0])


class Tiles(Tensors):
    """Tiles as tensors: inputs (sample, channel, y, x), standardised; targets (sample,), metres; index (sample,)."""

    called = "tiles"

    def __init__(self, store: Store, split: str | None, augment: str, seed: int):
        planes = {s: Plane(f"{s}/inputs", channels=True) for s in store.sources}
        super().__init__(store, split, check_augment(augment, 1), seed, planes)
        self.about = store.index.iloc[self.rows]

    def batch(self, keys: list[int]) -> dict[str, torch.Tensor]:
        read, rough = [], []
        for epoch, i in (divmod(key, len(self)) for key in keys):
            row = self.about.iloc[i]
            tile = self.maps[row["source"]][row["y"] : row["y"] + row["height"], row["x"] : row["x"] + row["width"]]
            read.append(turned(tile, *self._turn(epoch, i)) * self.scale + self.shift)
            rough.append(row["roughness_m"])
        return {
            "inputs": torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2), "targets": torch.tensor(rough, dtype=torch.float32),
            "index": torch.from_numpy(self.rows[np.asarray(keys) % len(self)]),
        }  # fmt: skip


def write_tile_store(height_m: np.ndarray, transform: Affine, crs: str, *, patch: int, block: int, seed: int) -> Store:
    """Cut a height model (y, x) into tiles, blocks of them dealt to the splits: a sealed store, or the one that is there."""
    windows.check_sizes({"relief": height_m.shape}, patch, patch, block, seed)
    cut = {"patch": patch, "stride": patch, "block": block, "seed": seed, "shares": [0.6, 0.2, 0.2], "min_valid": 1.0}
    source = arrays.source_facts("relief", CRS.from_user_input(crs), transform, height_m.shape) | {"dataset": "relief"}

    def write_arrays(folder: Path) -> None:
        data = images.frame(height_m[None], np.ones(height_m.shape, bool), transform, crs, ["height"])
        with arrays.quiet_zarr():
            data.to_zarr(folder, group="relief", consolidated=False)
        arrays.seal(folder, [source])

    def write_table(folder: Path) -> dict:
        group: Any = zarr.open_group(folder / "arrays.zarr", mode="r")["relief"]
        split = windows.deal({"relief": group}, 0, cut)
        index = windows.cut_windows({"relief": group}, split, cut, [source])
        heights = group["inputs"][0]
        index["roughness_m"] = [heights[y : y + patch, x : x + patch].std() for y, x in index[["y", "x"]].to_numpy()]
        index.to_parquet(folder / "index.parquet", index=False)
        statistics = arrays.training_statistics({"relief": group}, split)
        return {"statistics": statistics, "parameters": cut, "sources": [source], "split": split}

    facts = {"title": "A simulated relief", "simulated": True, "notes": [], "attribution": "",
             "channels": [{"name": "height", "units": "m"}]}  # fmt: skip
    recipe = {"heights": hashlib.sha256(height_m.tobytes()).hexdigest(), "crs": crs, "transform": list(transform)}
    folder = make_store("tiles", write_arrays, write_table, recipe=recipe, cut=cut, facts=facts, files=[], name="relief",
                        workload="toy")  # fmt: skip
    return TileStore.open(folder)


# ---- network and task (networks.py, losses.py, task.py) -------------------------------------------------------------------

NETWORKS = {"conv": {"width": Option(16, int, 1, 512, help="feature maps")}}
LOSSES = {"mse": {}, "huber": {"delta": Option(1.0, float, above=0, help="[m]")}}


def check_network(spec: str) -> dict[str, Any]:
    return check_options("network", spec, NETWORKS)[1]


def build_loss(spec: str) -> torch.nn.Module:
    name, options = check_options("loss", spec, LOSSES)
    return torch.nn.MSELoss() if name == "mse" else torch.nn.HuberLoss(**options)


class Roughness(Trainable):
    """Tell how rough a tile is."""

    metric = "val_rmse"

    def __init__(self, card: dict[str, Any], weights: bool = True) -> None:
        super().__init__()
        width = check_network(card["network"])["width"]
        layers = [torch.nn.Conv2d(1, width, 3), torch.nn.ReLU(), torch.nn.Conv2d(width, width, 3), torch.nn.ReLU()]
        self.card, self.network = card, torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        self.head, self.loss, self.rmse = (
            torch.nn.Linear(width, 1),
            build_loss(card["loss"]),
            MeanSquaredError(squared=False),
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.network(inputs)).squeeze(1).float()

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.network(inputs)

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        loss = self.loss(self(batch["inputs"]), batch["targets"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["inputs"]))
        return loss

    def validation_step(self, batch: dict[str, torch.Tensor], _: int) -> None:
        guess = self(batch["inputs"])
        self.rmse.update(guess, batch["targets"])
        self.log("val_loss", self.loss(guess, batch["targets"]), batch_size=len(batch["inputs"]))
        self.log(self.metric, self.rmse)

    @classmethod
    def check(cls, store: Store, network: str, loss: str, augment: str, sampler: str, optimizer: str) -> None:
        checks = [partial(check_network, network), partial(build_loss, loss), partial(check_augment, augment, 1)]
        check_all(store, [*checks, partial(check_sampler, sampler), partial(check_optimizer, optimizer)])

    @classmethod
    def card_of(cls, store: Store) -> dict[str, Any]:
        return {key: store.meta[key] for key in ("channels", "statistics")}


# ---- baselines and predictions (baselines.py, predict.py, exports.py) ------------------------------------------------------


def same_everywhere(store: Store, seed: int = 0) -> Baseline:
    """The mean of the training tiles, whatever a tile looks like."""
    mean = store.index["roughness_m"][store.index["split"] == "train"].mean()
    return Baseline("same-everywhere", lambda inputs: np.full(len(inputs), mean))


def predict_tiles(
    run: RunFolder, store: Store, model: Roughness, baselines: Sequence[Baseline], *, overlap: float, batch: int, precision: str
) -> Path:  # fmt: skip
    """Every tile by the network and each baseline: group ``relief`` with ``mean (model, sample)`` and ``truth (sample,)``, metres."""
    tiles, index, device = store.windows(), store.index, best_device()
    model, guessed = model.to(device).eval(), []
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        for start in range(0, len(tiles), batch):
            inputs = tiles.batch(list(range(start, min(start + batch, len(tiles)))))["inputs"]
            guessed.append(np.stack([model(inputs.to(device)).cpu().numpy(), *(b(inputs.numpy()) for b in baselines)]))
    models = ["network", *(b.name for b in baselines)]
    about = {name: ("sample", index[name].to_numpy()) for name in ("y", "x", "block")}
    truth, split = (
        ("sample", index["roughness_m"].to_numpy(np.float32)),
        ("sample", index["split"].cat.codes.to_numpy()),
    )
    mean = ("model", "sample"), np.concatenate(guessed, axis=1).astype(np.float32)
    data = xr.Dataset({"mean": mean, "truth": truth, "split": split}, {"model": models, **about})
    with whole_folder(Path(run.predictions)) as partial_folder:
        data.to_zarr(partial_folder, group="relief", zarr_format=2)
        seal(partial_folder, run, store, model.card, models, precision, patch=store.meta["parameters"]["patch"])
    return Path(run.predictions)


def tile_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with predictions of tiles."""
    if "relief" not in tree.children:
        yield "no group relief"
        return
    data = tree["relief"].to_dataset()
    yield from prediction_faults.layout_faults(
        data, {"mean": ("model", "sample"), "truth": ("sample",), "split": ("sample",)}
    )
    if deep and "mean" in data:
        yield from prediction_faults.range_faults("mean", data["mean"].to_numpy())


def export_tiles(run: RunFolder, model: Roughness, rasters: str | None = None, **settings: Any) -> pd.DataFrame:
    """The tiles' numbers as a table that anybody opens: ``maps/tiles.csv``."""
    if rasters:
        raise ValueError(f"rasters = {rasters!r}: tiles come with the store. Leave it out")
    file = Path(run.path) / "maps" / "tiles.csv"
    file.parent.mkdir(exist_ok=True)
    with xr.open_zarr(run.predictions, group="relief") as data:
        data["mean"].sel(model="network").to_dataframe().to_csv(file)
    return pd.DataFrame([{"file": "relief", "state": "done", "table": file}])


# ---- scores (scores.py, compare.py) ----------------------------------------------------------------------------------------


def _rmse(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Of sums (..., squared error and number): the score (..., metric)."""
    return {"score": np.sqrt(sums[..., :1] / sums[..., 1:])}


def score_tiles(predictions: xr.DataTree, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """RMSE of every model, with intervals over blocks of ground; the sums of each block are kept, so that runs can be compared."""
    data = predictions["relief"].to_dataset().load()
    blocks, at = np.unique(data["block"], return_inverse=True)
    squares = np.square(data["mean"] - data["truth"]).to_numpy()
    table = np.zeros((data.sizes["model"], len(blocks), 2))
    for model, square in zip(table, squares, strict=True):
        np.add.at(model, at, np.stack([square, np.ones_like(square)], axis=-1))
    split = np.zeros(len(blocks), int)
    split[at] = data["split"]  # a block lies in one split
    names = [s for i, s in enumerate(SPLITS) if (split == i).any()]
    parts = [table[:, split == SPLITS.index(name)] for name in names]
    dims = dict.fromkeys(("score", "gain"), ("model", "split", "metric"))
    scores = by_split(lambda part, salted: resampled(part, _rmse, draws, salted), parts, seed, dims)
    counts = {"n_samples": [int(p[0, :, 1].sum()) for p in parts], "n_blocks": [p.shape[1] for p in parts]}
    scores |= {name: ("split", values) for name, values in counts.items()}
    scores |= {"block_sums": (("model", "block", "sum"), table), "block_split": ("block", np.array(SPLITS)[split])}
    coords = {"model": data["model"].astype(str).to_numpy(), "split": names, "metric": ["rmse"], "block": blocks}
    said = {key: predictions.attrs[key] for key in ("workload", "title", "simulated", "precision")}
    return xr.Dataset(scores, coords, said | {"headline": "rmse", "unit": "tiles"})


def compare_tiles(
    one: xr.Dataset, other: xr.Dataset, metric: str, split: str = "test", draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Two runs' RMSE over the same draws of blocks."""
    refuse_others(one, other, metric, split, needed=["block_sums"], samples="tiles",
                  same=lambda both: both[0]["block"].equals(both[1]["block"]))  # fmt: skip
    number = of_split(one, split).sizes["block"]

    def network(scores: xr.Dataset) -> Drawable:
        sums = of_split(scores, split)["block_sums"].isel(model=0).to_numpy()
        return Drawable(scored(scores, metric, split), lambda weights: _rmse(weights @ sums)["score"][:, 0])

    weights = draw(number, draws, [seed, SALT]) if number > 1 and draws else None
    return difference(map(network, (one, other)), weights) | {"blocks": number}


# ---- what a person sees (figures.py, explore.py) ---------------------------------------------------------------------------


def grey_tiles(store: Store, rows: np.ndarray) -> np.ndarray:
    """Tiles as pictures, uint8 (sample, y, x, 3): high ground is bright."""
    tiles = np.stack([store[int(row)]["inputs"].isel(channel=0).to_numpy() for row in rows])
    heights = store.arrays["relief"]["inputs"].to_numpy()
    low, high = heights.min(), heights.max()
    return np.repeat((255 * (tiles - low) / (high - low)).astype(np.uint8)[..., None], 3, axis=-1)


def scatter(predictions: xr.DataTree) -> Drawing:
    data = predictions["relief"].to_dataset()
    figure, ax = plt.subplots(figsize=(4, 4))
    ax.plot(data["truth"], data["mean"].sel(model="network"), ".")
    ax.set(xlabel="roughness [m]", ylabel="the network's [m]")
    plt.close(figure)
    return figure


def explorer(predictions: xr.DataTree, arrays: xr.DataTree) -> Explorer:
    """What each model says of the tiles, and the truth, on their ground."""
    data, ground = predictions["relief"].to_dataset(), north_up(arrays["relief"].to_dataset())
    side, (west, south, east, north) = predictions.attrs["patch"], edges(ground)
    rows, columns = (ground.sizes[axis] // side for axis in "yx")
    pixel = (east - west) / ground.sizes["x"]
    tiles = Grid((west, north - rows * side * pixel, west + columns * side * pixel, north), (rows, columns))
    grids = {"tiles": tiles, "": Grid((west, south, east, north), (ground.sizes["y"], ground.sizes["x"]))}

    def on_tiles(values: xr.DataArray) -> xr.DataArray:
        """(..., sample) -> (..., y, x), NaN where no tile was cut."""
        spread = np.full((*values.shape[:-1], rows, columns), np.nan)
        spread[..., data["y"] // side, data["x"] // side] = values
        return xr.DataArray(spread, dims=(*values.dims[:-1], "y", "x"))

    metres: dict[str, Any] = {
        "kind": "numbers",
        "unit": "m",
        "grid": "tiles",
        "low": 0.0,
        "high": float(data["truth"].max()),
    }
    layers = [
        Layer("height", "height", "numbers", from_array([ground["inputs"].isel(channel=0)], ()), colours=("#000000", "#ffffff"), unit="m"),
        Layer("mean", "roughness, by the model", read=from_array([on_tiles(data["mean"])], ("model",)), dims=("model",), **metres),
        Layer("truth", "roughness", read=from_array([on_tiles(data["truth"])], ()), **metres),
        Layer("split", "split", "classes", from_array([on_tiles(data["split"])], ()), grid="tiles", labels=SPLITS,
              colours=[SPLIT_COLOURS[split] for split in SPLITS]),
    ]  # fmt: skip
    return Explorer(
        "map of the tiles", [Place("relief", grids, crs_of(ground))], [Dim("model", list(data["model"].values))], layers,
        below="height", top="mean", opacity=0.7, split="split",
        lines=[("roughness:", "truth"), ("the model says:", "mean"), ("split:", "split")],
        notes=notes_html(predictions.attrs), caption=caption_of(predictions.attrs),
        packs=lambda: [{}, {"steps": 50, "said": "In steps of 2 %."}],
    )  # fmt: skip


# ---- the record (__init__.py) ----------------------------------------------------------------------------------------------


def check_settings(values: dict[str, Any], root: Path) -> list[str]:
    """What cannot be right together: each parameter has been checked by itself."""
    if values["patch"] > values["block"]:
        return [
            f"patch = {values['patch']} px is larger than block = {values['block']} px: no tile would lie in one split"
        ]
    return []


RECORD = Workload(
    name="toy",
    title="Rough and even ground",
    question="How rough is the ground of a tile?",
    dataset=str(Path(__file__).with_name("01_dataset_toy.ipynb")),
    stores={"tiles": "toy:TileStore"},
    task="toy:Roughness",
    baselines=("toy:same_everywhere",),
    predict="toy:predict_tiles",
    check_predictions="toy:tile_faults",
    export="toy:export_tiles",
    score="toy:score_tiles",
    compare="toy:compare_tiles",
    headline="rmse",
    lower_is_better=True,
    units="m",
    tiles="toy:grey_tiles",
    explore="toy:explorer",
    figures={
        "03_prediction": (
            Figure("Predicted and true", "A point is a tile; on the diagonal the network is right. Of all splits.", "toy:scatter"),
        )
    },
    fetch=(Source("relief", "", page="https://example.org/relief"),),
    check="toy:check_settings",
    defaults={
        "network": "conv", "loss": "mse", "augment": "flips,rotations", "lr": 3e-2, "epochs": 10, "batch": 16, "patience": 5,
        "overlap": 0.0,
    },
    parameters={
        "relief": Parameter("height of the ridges [m]", minimum=1, maximum=5000),
        "network": Parameter("the network and its options", check="toy:check_network", options="toy:NETWORKS"),
        "loss": Parameter("the loss and its options", check="toy:build_loss", options="toy:LOSSES"),
    },
)  # fmt: skip
