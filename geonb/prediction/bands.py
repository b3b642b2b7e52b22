"""A scene predicted in bands of rows: by a network over blended windows, by a baseline pixel by pixel; into predictions.zarr."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
import zarr

from geonb.base.conventions import IGNORE
from geonb.base.pipeline import behind
from geonb.prediction.baselines import Baseline
from geonb.store.arrays import quiet_zarr, summed, writable
from geonb.training.devices import best_device

if TYPE_CHECKING:
    from torch import Tensor

    from geonb.rasters.stitching import Band, Reader

CHUNK_PX = 2048


class MapModel(Protocol):
    """A trained task that says something of every pixel of a window, as :class:`geonb.training.task.Trainable` with `window`."""

    card: dict[str, Any]

    @property
    def window(self) -> int:
        """Side of the windows it sees, px."""

    def state_dict(self) -> dict[str, Tensor]: ...
    def to(self, device: str) -> MapModel: ...
    def eval(self) -> MapModel: ...


@runtime_checkable
class PixelModel(MapModel, Protocol):
    """One that tells the class of every pixel: what maps of many rasters are made with."""

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Class probabilities (sample, class, y, x) of standardised inputs (sample, channel, y, x)."""


def pixel_model(model: object) -> PixelModel:
    """The model, if it tells the class of pixels.

    Raises
    ------
    ValueError
        If it does not.
    """
    if not isinstance(model, PixelModel):
        raise ValueError(
            f"The model, a {type(model).__name__}, does not tell the class of pixels, so there are no maps to predict for rasters. "
            "Give one that does."
        )
    return model


def class_names(card: Mapping[str, Any]) -> list[str]:
    """Names of a model's classes, in the order of its probabilities."""
    return [c["name"] for c in card["classes"]]


def network_rows(
    model: MapModel, predict: Callable[[Tensor], Tensor], outputs: int, read: Reader, shape: tuple[int, int], window: int,
    overlap: float, batch: int, precision: str, start: int = 0, stop: int | None = None, stripe: tuple[int, int] | None = None,
) -> Generator[Band]:  # fmt: skip
    """Bands of rows from a trained task, on the best device there is; see :func:`geonb.rasters.stitching.predict_rows`.

    Parameters
    ----------
    predict : a method of the model
        Standardised inputs (sample, channel, y, x) -> what it says of each pixel (sample, output, y, x).
    outputs : int
        How many numbers it says of a pixel: the classes, or one.
    """
    import torch

    from geonb.rasters.stitching import predict_rows

    device = best_device()
    model.to(device).eval()

    def on_device(inputs: Tensor) -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            return predict(inputs)

    statistics = model.card["statistics"]
    return predict_rows(
        on_device, read, shape, outputs, mean=statistics["mean"], std=statistics["std"],
        window=window, overlap=overlap, batch=batch, start_row=start, stop_row=stop, stripe=stripe, device=device,
    )  # fmt: skip


def baseline_rows(
    baseline: Baseline, read: Reader, shape: tuple[int, int], statistics: Mapping[str, Any], height: int, start: int = 0
) -> Generator[Band]:
    """Bands of rows from a baseline, which sees one pixel at a time and needs no overlap."""
    mean = np.asarray(statistics["mean"], np.float32)[:, None, None]
    std = np.asarray(statistics["std"], np.float32)[:, None, None]
    for top in range(start, shape[0], height):
        values, valid = read(top, min(shape[0], top + height))
        standardised = np.where(valid, (values.astype(np.float32) - mean) / std, 0)
        yield top, baseline(standardised.astype(np.float32)), valid


def written(bands: Generator[Band], write: Callable[[int, np.ndarray, np.ndarray], Any]) -> None:
    """Write bands while those after them are made: by a thread, one at a time, in their order."""
    with closing(bands), behind(write) as send:
        for band in bands:
            send(*band)


def chunk_rows(window: int, overlap: float, least: int = 128) -> int:
    """Height of a chunk, px: a whole number of bands, so that a band does not rewrite its neighbours' chunks."""
    stride = max(1, round(window * (1 - overlap)))
    return stride * -(-least // stride)


@dataclass(frozen=True)
class Layout:
    """Which variables keep the predictions of a scene, and how a band of rows fills them.

    Parameters
    ----------
    variables : name -> (dims between model and y, dtype, attributes)
    coords : dim -> its coordinates
    fill : callable
        What is predicted (output, row, x) float32, which pixels are valid (row, x) -> name -> its values (..., row, x). Of a module
        that workers elsewhere can import.
    """

    variables: Mapping[str, tuple[tuple[str, ...], type, dict[str, Any]]]
    coords: Mapping[str, Sequence[Any]]
    fill: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def class_layout(classes: Sequence[str]) -> Layout:
    """Of classes: ``probability (model, class, y, x)`` in 16 bits, NaN where not valid, and the most probable as ``label``."""
    variables: dict[str, tuple[tuple[str, ...], type, dict[str, Any]]] = {
        "probability": (("class",), np.float16, {"long_name": "class probability", "units": "1"}),
        "label": ((), np.uint8, {"long_name": "most probable class", "no_class": IGNORE}),
    }
    return Layout(variables, {"class": list(classes)}, _fill_classes)


def _fill_classes(probability: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    kept = np.where(valid, probability, np.nan).astype(np.float16)
    return {"probability": kept, "label": _most_probable(probability, valid)}


def map_layout(classes: Sequence[str]) -> Layout:
    """Of classes as their maps have them: ``probability`` in bytes, as :func:`geonb.rasters.cog.as_bytes` makes them of 16 bits."""
    from geonb.rasters.cog import NODATA, as_bytes

    def fill(probability: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
        kept = as_bytes(probability.astype(np.float16).astype(np.float32))
        kept[:, ~valid] = NODATA
        return {"probability": kept, "label": _most_probable(probability, valid)}

    whole = class_layout(classes)
    dims, _, attributes = whole.variables["probability"]
    return Layout({**whole.variables, "probability": (dims, np.uint8, attributes)}, whole.coords, fill)


def _most_probable(probability: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The first class (row, x) uint8 of the highest probability (class, row, x), IGNORE where not valid."""
    label, best = np.zeros(valid.shape, np.uint8), probability[0].copy()
    for code, one in enumerate(probability[1:], 1):  # several times quicker than argmax over the first axis
        better = one > best
        label[better] = code
        np.copyto(best, one, where=better)
    label[~valid] = IGNORE
    return label


def value_layout(long_name: str, units: str) -> Layout:
    """Of one number a pixel, in `units`: ``mean (model, y, x)``, NaN where not valid."""
    return Layout({"mean": ((), np.float32, {"long_name": long_name, "units": units})}, {}, _fill_values)


def _fill_values(values: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": np.where(valid, values[0], np.nan).astype(np.float32)}


class Writer:
    """The open arrays of one source in predictions.zarr, written band by band."""

    def __init__(self, path: Path, source: str, layout: Layout) -> None:
        arrays = writable(zarr.open_group(path, mode="r+")[source])
        self.arrays, self.fill = {name: arrays[name] for name in layout.variables}, layout.fill

    def write(self, model: int, row: int, values: np.ndarray, valid: np.ndarray, column: int = 0) -> int:
        """Write a band of rows from `column` on, a piece at a time to keep copies small; gives the row after it."""
        stop = row + values.shape[1]
        for left in range(0, valid.shape[1], CHUNK_PX):
            known = valid[:, left : left + CHUNK_PX]
            x = slice(column + left, column + left + known.shape[1])
            for name, filled in self.fill(values[..., left : left + CHUNK_PX], known).items():
                self.arrays[name][model, ..., row:stop, x] = filled
        return stop


def create_scene(
    path: Path, source: str, scene: xr.Dataset, layout: Layout, models: Sequence[str], height: int
) -> None:
    """Lay out a source's group: coordinates and what is known of the scene whole, predictions empty."""
    import dask.array as da

    rows, columns = scene.sizes["y"], scene.sizes["x"]
    chunk = (min(height, rows), min(CHUNK_PX, columns))
    empty = {}
    for name, (dims, dtype, attributes) in layout.variables.items():
        between = tuple(len(layout.coords[d]) for d in dims)
        zeros = da.zeros((len(models), *between, rows, columns), dtype=dtype, chunks=(1, *between, *chunk))
        empty[name] = ("model", *dims, "y", "x"), zeros, attributes | {"grid_mapping": "spatial_ref"}
    coords = {"x": scene["x"], "y": scene["y"], "spatial_ref": scene["spatial_ref"]}
    predicted = xr.Dataset(empty, coords={"model": list(models), **layout.coords, **coords})
    # A group begun before an interruption is laid out again; its bands are listed as done only after this.
    options: dict[str, Any] = {"group": source, "zarr_format": 3, "consolidated": False, "write_empty_chunks": True}
    with quiet_zarr():
        summed(predicted).to_zarr(path, mode="a", compute=False, **options)
    known = scene[[v for v in ("truth", "split", "block") if v in scene]]
    if known.data_vars:
        known = known.chunk({"y": chunk[0], "x": chunk[1]}).drop_encoding()
        summed(known).to_zarr(path, mode="a", **options)
