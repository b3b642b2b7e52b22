"""Embeddings of samples as labelled xarray, and what is done with them: reduce, link, cut into kinds, find the nearest.

Planes are made in `planes`, trees and kinds in `trees`; `transforms` keeps both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from geonb.base.files import whole_folder
from geonb.base.manifest import missing, refuse_damaged, write_manifest
from geonb.base.pipeline import ahead
from geonb.embeddings.planes import check_method
from geonb.embeddings.trees import check_clusters, check_examples, check_grouping
from geonb.prediction import workers
from geonb.rasters.grids import lonlat
from geonb.store.arrays import quiet_zarr, summed
from geonb.store.sealing import named
from geonb.training.devices import best_device

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from geonb.base.run_folder import RunFolder
    from geonb.store.loaders import Tensors
    from geonb.store.store import Store
    from geonb.training.task import Trainable

MOST_NUMBERS = 2**24  # in a batch of inputs: 64 windows of 4 bands and 256 px


def check_settings(
    windows: int, *, samples: int, clusters: int, method: str, grouping: str = "ward", examples: str = "centre"
) -> None:
    """Refuse what notebook 05 could not draw, before anything is embedded.

    Parameters
    ----------
    windows : int
        How many the store has.

    Raises
    ------
    ValueError
        If there are more clusters than windows, fewer than 3 windows, or a method, grouping or kind of example is unknown.
    """
    check_method(method)
    check_grouping(grouping)
    check_examples(examples)
    count = min(windows, samples)
    if count < 3:
        raise ValueError(
            f"{count} windows are too few to interpret; at least 3 are needed. Cut more of them in notebook 01."
        )
    check_clusters(clusters, count)


def embed(
    run: RunFolder,
    store: Store,
    model: Trainable,
    *,
    samples: int = 1000,
    seed: int = 0,
    batch: int = 64,
    precision: str = "auto",
    client: Client | None = None,
) -> xr.Dataset:
    """Embed a random share of a store's windows with a trained task; write embeddings.zarr into the run.

    Parameters
    ----------
    samples : int
        At most so many windows, drawn evenly over the splits.
    precision : auto, float32 or bfloat16; see :func:`geonb.training.task.precision_of`
    client : a `dask.distributed.Client` over whose workers the windows are spread; they see the same files

    Returns
    -------
    Dataset with ``embedding (sample, dim)`` and, per sample, ``source, y, x, height, width, split``, ``lon, lat`` (degrees),
    ``row`` (its row in the store's index), ``time`` (UTC, NaT where unknown), ``label`` (what it mostly shows:
    ``store.labels``) where the store has labels, and ``margin`` (how well the network did on it, larger is better) where the task
    has ``margins(store, rows)``.
    """
    from geonb.training.task import precision_of

    precision = precision_of(precision)
    with named(store.path):
        windows, rows = store.windows(), draw_rows(store.index, samples, seed)
        batch = _batch_of(windows, rows, batch)
        if client is None:
            vectors, labels = _encode(model, windows, rows, batch, precision, store.labels if store.legend else None)
        else:
            vectors, labels = _encode_over(client, Path(run.embeddings).parent, store, model, rows, batch, precision)
        about = store.index.iloc[rows]
        columns: dict[str, tuple] = {name: ("sample", about[name].to_numpy()) for name in ("y", "x", "height", "width")}
        columns |= {name: ("sample", about[name].astype(str).to_numpy(dtype=object)) for name in ("source", "split")}
        lon, lat = positions(store, about)
        columns |= {"row": ("sample", rows), "time": ("sample", _times(about))}
        columns |= {
            "lon": ("sample", lon, {"units": "degrees_east"}),
            "lat": ("sample", lat, {"units": "degrees_north"}),
        }
        if labels:
            columns["label"] = ("sample", np.array(labels, dtype=object))
        if hasattr(model, "margins"):
            columns["margin"] = ("sample", np.asarray(model.margins(store, rows), np.float32))
    data = xr.Dataset(
        {"embedding": (("sample", "dim"), vectors)},
        coords=columns,
        attrs={
            "layer": "encoder, mean over the window", "network": model.card["network"], "run": Path(run.path).name,
            "precision": precision, "simulated": int(store.meta["simulated"]),
            "notes": [*store.meta["notes"], *_untrained(model)], "colours": list(store.legend.values()), "classes": list(store.legend),
        },
    )  # fmt: skip
    _write(data, Path(run.embeddings))
    return data


def encoder(model: Trainable, precision: str = "auto") -> Callable[[np.ndarray], np.ndarray]:
    """A task as a function of standardised samples (n, channel, y, x) -> vectors float32 (n, dim), on the best device there is."""
    from geonb.training.task import as_function

    return as_function(model, "encode", precision)


def _untrained(model: Trainable) -> list[str]:
    """A note where the weights are those of before the first step, which tell nothing of what was learnt."""
    if model.card.get("weights") != "start":
        return []
    return ["the network found nothing beyond what it began as: an encoder that was not trained made these embeddings"]


def _encode(
    model: Trainable,
    windows: Tensors,
    rows: np.ndarray,
    batch: int,
    precision: str,
    labels_of: Callable[[list[dict]], list[str]] | None,
) -> tuple[np.ndarray, list[str]]:
    """Embed windows, some at a time: float32 array (sample, dim), and their labels, none without `labels_of`."""
    import torch

    vectors: list[np.ndarray] = []
    labels: list[str] = []
    device = best_device()
    model = model.to(device).eval()

    def batches() -> Iterator[tuple[torch.Tensor, list[str]]]:
        for start in range(0, len(rows), batch):
            items = [windows[int(row)] for row in rows[start : start + batch]]
            inputs = torch.stack([torch.as_tensor(item["inputs"]) for item in items])
            yield inputs, labels_of(items) if labels_of else []

    bf16 = torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with ahead(batches()) as made, torch.inference_mode(), bf16:
        for inputs, some in made:
            vectors.append(model.encode(inputs.to(device)).float().cpu().numpy())
            labels += some
    return np.concatenate(vectors).astype(np.float32), labels


def _batch_of(windows: Tensors, rows: np.ndarray, batch: int) -> int:
    """At most so many windows at once; fewer where they are large, as whole regions are."""
    first = windows[int(rows[0])]["inputs"] if len(rows) else ()
    return max(1, min(batch, MOST_NUMBERS // max(1, int(np.prod(np.shape(first))))))


def _encode_over(
    client: Client, folder: Path, store: Store, model: Trainable, rows: np.ndarray, batch: int, precision: str
) -> tuple[np.ndarray, list[str]]:
    """As `_encode`, over a client's workers: whole batches each, so that the same windows are seen together."""
    step = batch * workers.BATCHES_A_TASK
    parts = [rows[i : i + step] for i in range(0, len(rows), step)]
    tasks = ((store.path, store.meta["key"], part, batch, precision) for part in parts)
    found = list(workers.over(client, model, folder, _encode_there, tasks))
    return np.concatenate([vectors for vectors, _ in found]), [label for _, labels in found for label in labels]


def _encode_there(
    model: Trainable, path: Path, key: str, rows: np.ndarray, batch: int, precision: str
) -> tuple[np.ndarray, list[str]]:
    store = workers.store_at(path, key)
    return _encode(model, store.windows(), rows, batch, precision, store.labels if store.legend else None)


def _times(about: pd.DataFrame) -> np.ndarray:
    """When each window was seen: datetime64 (UTC), NaT where nobody knows."""
    import pandas as pd

    if "time" not in about:
        return np.full(len(about), np.datetime64("NaT", "ns"))
    return pd.to_datetime(about["time"], utc=True).dt.tz_localize(None).to_numpy("datetime64[ns]")


def draw_rows(index: pd.DataFrame, samples: int, seed: int, min_valid: float = 0.9) -> np.ndarray:
    """Draw at most ``samples`` rows of an index, as many of each split as there are, in the index's order.

    Windows at the edge of the data would be found alike for their edge, so those with a smaller share of valid pixels than
    ``min_valid`` are left out, unless there are no others.
    """
    random = np.random.default_rng([seed, 0xE3B])
    splits = index["split"].astype(str).to_numpy()
    whole = index["valid_share"].to_numpy() >= min_valid if "valid_share" in index else np.ones(len(index), bool)
    whole = whole if whole.any() else ~whole
    names = sorted(set(splits))
    share = -(-samples // max(1, len(names)))
    chosen = [random.permutation(np.flatnonzero((splits == name) & whole))[:share] for name in names]
    return np.sort(np.concatenate(chosen))[:samples] if chosen else np.empty(0, int)


def positions(store: Store, about: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of the windows' centres, degrees; NaN in sources that lie nowhere."""
    import rioxarray  # noqa: F401  (the .rio accessor)

    lon, lat = np.full(len(about), np.nan), np.full(len(about), np.nan)
    for source in sorted(set(about["source"].astype(str)) & set(store.placed)):
        scene, mine = store.arrays[source].to_dataset(), (about["source"].astype(str) == source).to_numpy()
        own = about[mine]
        rows = (own["y"] + own["height"] // 2).clip(upper=scene.sizes["y"] - 1).to_numpy()
        columns = (own["x"] + own["width"] // 2).clip(upper=scene.sizes["x"] - 1).to_numpy()
        lon[mine], lat[mine] = lonlat(scene.rio.crs, scene["x"].values[columns], scene["y"].values[rows])
    return lon, lat


def _write(data: xr.Dataset, path: Path) -> None:
    text = {name: data[name].astype(str) for name in data.coords if data[name].dtype == object}
    with whole_folder(path) as partial, quiet_zarr():
        summed(data.assign_coords(text)).to_zarr(partial, zarr_format=3, consolidated=True, write_empty_chunks=True)
        write_manifest(partial)


def open_embeddings(path: str | Path) -> xr.Dataset:
    """Open embeddings.zarr.

    Raises
    ------
    FileNotFoundError
        If there is none; names the notebook that writes it.
    ValueError
        If a file of it is gone or cut short; names the file.
    """
    if not Path(path).exists():
        raise FileNotFoundError(
            f"No embeddings at {path}. Run notebooks/05_interpretation.ipynb first, or give another `run`."
        )
    refuse_damaged(
        f"The embeddings {path} are damaged", missing(Path(path)), "Run notebooks/05_interpretation.ipynb again."
    )
    return xr.open_zarr(path)


def scene_samples(scene: xr.DataArray | xr.Dataset, source: str, places: int = 400) -> xr.Dataset:
    """Embeddings of whole scenes as samples, for figures that want those: every time of some places.

    Parameters
    ----------
    scene : DataArray (time, y, x, dim), or Dataset with such an ``embedding``
        For instance a series of the predictions of ``clouds``.
    source : str
        Name of the series.
    places : int
        At most so many, evenly over the grid.

    Returns
    -------
    Dataset with ``embedding`` (sample, dim) and, per sample, ``source``, ``y, x`` (position on the scene's grid of embeddings),
    ``time``; without those that are not finite
    """
    data = scene["embedding"] if isinstance(scene, xr.Dataset) else scene
    step = max(1, int(np.ceil(np.sqrt(data.sizes["y"] * data.sizes["x"] / places))))
    data = data.transpose("time", "y", "x", "dim").isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))
    shape = data.shape[:3]
    values = data.to_numpy().reshape(-1, data.sizes["dim"])
    time, y, x = (part.ravel() for part in np.indices(shape))
    times = data["time"].to_numpy()[time] if "time" in data.coords else np.full(len(time), np.datetime64("NaT", "ns"))
    coords = {"time": times, "y": y * step + step // 2, "x": x * step + step // 2, "source": np.full(len(time), source)}
    samples = xr.Dataset(
        {"embedding": (("sample", "dim"), values)}, {k: ("sample", v) for k, v in coords.items()}, dict(scene.attrs)
    )
    return samples.isel(sample=np.flatnonzero(np.isfinite(values).all(1)))


def nearest(embeddings: xr.Dataset, sample: int, count: int = 8) -> xr.Dataset:
    """The samples most like one of them, by cosine similarity, most alike first (itself left out).

    Returns
    -------
    The Dataset's rows, with ``similarity`` (sample,) in -1..1.
    """
    values = embeddings["embedding"].to_numpy()
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit[sample]
    similarity[sample] = -np.inf
    order = np.argsort(-similarity, kind="stable")[: min(count, len(values) - 1)]
    return embeddings.isel(sample=order).assign(similarity=("sample", similarity[order]))
