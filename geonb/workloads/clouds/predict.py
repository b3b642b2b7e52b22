"""Trained embedding -> distances of every triplet, and embeddings of whole scenes by a sliding window; for a GIS too.

predictions.zarr is a DataTree. Its group ``triplets`` holds ``near``, ``far (model, sample)``, squared distances from the anchor
to the neighbour and to the distant tile, of the network, the same network untrained, and each baseline, with ``split, source, t,
y, x, height, time, block, lon, lat (sample)``. A group a series holds ``embedding (time, y, x, dim)``, one vector a tile at the
tile's centre, and ``valid (time, y, x)``. Of triplets that came as pictures there are no scenes, and no lon and lat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from geonb.base.conventions import SPLITS
from geonb.base.pipeline import ahead
from geonb.embeddings.embedding import encoder
from geonb.prediction import workers
from geonb.prediction.baselines import Baseline
from geonb.store.arrays import quiet_zarr, summed, writable

if TYPE_CHECKING:
    from distributed import Client

    from geonb.base.run_folder import RunFolder
    from geonb.training.task import Trainable
    from geonb.workloads.clouds.store import TripletStore

BATCH = 128
MIN_VALID = 0.9  # share of a tile's pixels below which it has no embedding
UNTRAINED = "untrained"
MOST_NUMBERS = 2**25  # in a batch of tiles


def predict_triplets(
    run: RunFolder, store: TripletStore, model: Trainable, baselines: Sequence[Baseline], *, overlap: float = 0.5,
    batch: int = BATCH, precision: str = "auto", seed: int = 0, client: Client | None = None,
) -> Path:  # fmt: skip
    """Measure every triplet with the network and each baseline, and embed every scene; goes on where it was interrupted.

    Parameters
    ----------
    run : Run
        ``predictions.zarr`` is written into it.
    store : TripletStore
    model : trained task, from :func:`geonb.load_model`
    baselines : functions of standardised tiles, see :mod:`geonb.workloads.clouds.baselines`
    overlap : float, share of a tile by which neighbours overlap in the embedding of whole scenes
    batch : int, tiles
    precision : auto, float32 or bfloat16; see :func:`geonb.training.task.precision_of`
    client : a `dask.distributed.Client` over whose workers the scenes to embed are spread

    Returns
    -------
    Path of predictions.zarr, checked.
    """
    from geonb.prediction.faults import check_predictions
    from geonb.prediction.predictions import Done, seal
    from geonb.training.task import precision_of, untrained

    path, precision = Path(run.predictions), precision_of(precision)
    names = ["network", UNTRAINED, *(b.name for b in baselines)]
    step = max(1, round(model.card["patch"] * (1 - overlap)))
    stamp = {"training": model.card["training"], "best": model.card["best"], "models": names, "step": step, "seed": seed,
             "network": model.card["network"], "precision": precision, "store": store.meta["key"]}  # fmt: skip
    done = Done(path, stamp)
    embed = encoder(model, precision)
    if done.rows("triplets", "all") is None:
        functions: list[Callable] = [embed, encoder(untrained(model, seed), precision), *baselines]
        distances = [measure(store, function, batch) for function in functions]
        _write_triplets(path, store, names, distances)
        done.mark("triplets", "all", len(store))
    for name in store.placed:  # triplets that came as pictures are no scenes: nothing lies between their tiles
        corners = tile_corners(store, name, step)
        if done.rows(name, "created") is None:
            _create(path, store, name, corners, model.card)
            done.mark(name, "created", 1)
        times = range(done.rows(name, "embedding") or 0, store._grids[name].sizes["time"])
        if client is None:
            for t in times:
                _fill(path, store, name, t, corners, embed, batch)
                done.mark(name, "embedding", t + 1)
            continue
        tasks = ((path, store.path, store.meta["key"], name, t, corners, precision, batch) for t in times)
        for t, _ in zip(times, workers.over(client, model, path.parent, _embed_one, tasks), strict=True):
            done.mark(name, "embedding", t + 1)
    own = {"colours": [], "unit": "triplets", "patch": store.patch, "step": step, "pixel_m": model.card["resolution_m"]}
    seal(path, run, store, model.card, names, precision, **own)
    check_predictions(path)
    return path


def _fill(path: Path, store: TripletStore, name: str, t: int, corners: tuple, embed: Callable, batch: int) -> None:
    group = writable(zarr.open_group(path, mode="r+")[name])
    group["embedding"][t], group["valid"][t] = embed_scene(store, name, t, corners, embed, batch)


def _embed_one(
    model: Any, path: Path, store: Path, key: str, name: str, t: int, corners: tuple, precision: str, batch: int
) -> None:
    """What a worker does: a scene."""
    _fill(path, workers.store_at(store, key), name, t, corners, encoder(model, precision), batch)


def refuse_rasters(spec: str) -> None:
    """There is nothing to embed but the store's own scenes.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError("the scenes of the sample store are embedded; for others make another store")


def measure(
    store: TripletStore, embed: Callable, batch: int = BATCH, rows: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances near and far of every triplet of a store, or of some rows of its index: float32 (sample,) each."""
    windows, found = store.windows(), [np.empty((2, 0), np.float32)]
    rows = range(len(windows)) if rows is None else [int(row) for row in rows]
    batch = max(1, min(batch // 3, MOST_NUMBERS // (3 * windows.patch**2 * len(windows.scale))))
    some = (list(rows[start : start + batch]) for start in range(0, len(rows), batch))
    with ahead(windows.batch(chosen)["triplets"].numpy() for chosen in some) as read:
        for tiles in read:
            anchor, neighbor, distant = np.split(np.asarray(embed(tiles), np.float32), 3)
            found.append(np.stack([((anchor - other) ** 2).sum(axis=1) for other in (neighbor, distant)]))
    near, far = np.concatenate(found, axis=1)
    return near, far


def tile_corners(store: TripletStore, name: str, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper left corners (rows,), (columns,) of the tiles that slide over a series' scenes."""
    shape = next(s["shape"] for s in store.meta["sources"] if s["name"] == name)
    # every step, none flush with the end: an even lattice is what a map of tiles needs
    rows, columns = (np.arange(0, max(side - store.patch, 0) + 1, step) for side in shape)
    return rows, columns


def embed_scene(
    store: TripletStore, name: str, t: int, corners: tuple, embed: Callable, batch: int = BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """Embed a whole scene: vectors (y, x, dim), NaN where the tile is mostly invalid, and which are not, (y, x).

    The scene is standardised once. Beyond that overlapping tiles share nothing: each tile's convolutions see zeros beyond its own
    rim, so that little of one's work is exact for the other (benchmarks/README.md says how little).
    """
    inputs = standardised(store, name, t)[0]
    patch = store.patch
    rows, columns = corners
    at = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    good = store.valid_shares(name, t, at).reshape(len(rows), len(columns)) >= MIN_VALID
    found = np.full((*good.shape, 1), np.nan, np.float32)  # of a scene without any tile
    batch = max(1, min(batch, MOST_NUMBERS // (patch**2 * inputs.shape[-1])))
    places = np.argwhere(good)
    some = (places[start : start + batch].T for start in range(0, len(places), batch))
    with ahead((y, x, _stack(inputs, rows[y], columns[x], patch)) for y, x in some) as cut:
        for y, x, tiles in cut:
            vectors = embed(tiles)
            if found.shape[-1] != vectors.shape[1]:
                found = np.full((*good.shape, vectors.shape[1]), np.nan, np.float32)
            found[y, x] = vectors
    return found, good


def _stack(inputs: np.ndarray, y: np.ndarray, x: np.ndarray, patch: int) -> Any:
    """Tiles of a scene (y, x, channel) by their corners, as a tensor (n, channel, row, column), channels last in memory."""
    import torch

    batch = torch.empty((len(y), inputs.shape[-1], patch, patch), memory_format=torch.channels_last)
    to = batch.permute(0, 2, 3, 1).numpy()
    for k, (i, j) in enumerate(zip(y.tolist(), x.tolist(), strict=True)):
        to[k] = inputs[i : i + patch, j : j + patch]
    return batch


def standardised(store: TripletStore, name: str, t: int) -> tuple[np.ndarray, np.ndarray]:
    """A scene as the network sees it: float32 (y, x, channel), 0 where invalid, and what is valid (y, x)."""
    scene = store._grids[name].isel(time=t)
    mean, std = (np.array(store.meta["statistics"][k], np.float32) for k in ("mean", "std"))
    valid = scene["valid"].to_numpy().astype(bool)
    values = (np.moveaxis(scene["inputs"].to_numpy(), 0, -1).astype(np.float32) - mean) / std
    values[~valid] = 0
    return values, valid


def _write_triplets(
    path: Path, store: TripletStore, names: list[str], distances: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    from geonb.embeddings.embedding import positions

    index = store.index
    lon, lat = positions(store, index)
    near, far = (np.stack(part) for part in zip(*distances, strict=True))
    what = "squared distance in the embedding from the anchor to the "
    places = ("t", "y", "x", "neighbor_y", "neighbor_x", "distant_t", "distant_y", "distant_x")
    about = {n: ("sample", index[n].to_numpy()) for n in (*places, "height", "block")}
    about |= {n: ("sample", index[n].astype(str).to_numpy(dtype="U")) for n in ("split", "source", "distant_source")}
    data = xr.Dataset(
        {
            "near": (("model", "sample"), near, {"long_name": what + "neighbour", "units": "1"}),
            "far": (("model", "sample"), far, {"long_name": what + "distant tile", "units": "1"}),
            **about,
            "time": ("sample", index["time"].dt.tz_localize(None).to_numpy()),
            "lon": ("sample", lon, {"units": "degrees_east"}),
            "lat": ("sample", lat, {"units": "degrees_north"}),
        },
        {"model": names},
    )
    data = data if store.placed else data.drop_vars(["lon", "lat"])
    with quiet_zarr():
        summed(data).to_zarr(
            path, group="triplets", mode="a", zarr_format=3, consolidated=False, write_empty_chunks=True
        )


def _create(path: Path, store: TripletStore, name: str, corners: tuple, card: dict) -> None:
    import dask.array as da

    from geonb.workloads.clouds.networks import check_network

    scene = store._grids[name]
    y, x = (scene[a].to_numpy() for a in "yx")
    half = (store.patch - 1) / 2
    centre = {a: v[0] + (v[1] - v[0]) * (at + half) for a, v, at in zip("yx", (y, x), corners, strict=True)}
    shape, dims = (scene.sizes["time"], *map(len, corners)), check_network(card["network"])[1]["dims"]
    empty = da.full((*shape, dims), np.nan, dtype=np.float32, chunks=(1, *shape[1:], dims))
    about = {"long_name": "embedding of the tile centred here", "units": "1", "grid_mapping": "spatial_ref"}
    known = da.zeros(shape, dtype=bool, chunks=(1, *shape[1:]))
    data = xr.Dataset(
        {
            "embedding": (("time", "y", "x", "dim"), empty, about),
            "valid": (("time", "y", "x"), known, {"long_name": "tile has data", "grid_mapping": "spatial_ref"}),
        },
        {"time": scene["time"].to_numpy(), **{a: (a, centre[a], scene[a].attrs) for a in "yx"}},
        {"patch": store.patch},
    )
    reference = scene["spatial_ref"].drop_vars(scene["spatial_ref"].coords).copy()  # the store's own stays as it is
    data = data.assign_coords(spatial_ref=reference)
    step_y, step_x = (
        float(v[1] - v[0]) if len(v) > 1 else store.patch * float(a[1] - a[0])
        for v, a in zip(centre.values(), (y, x), strict=True)
    )
    geo = (centre["x"][0] - step_x / 2, step_x, 0, centre["y"][0] - step_y / 2, 0, step_y)
    data["spatial_ref"].attrs["GeoTransform"] = " ".join(map(repr, map(float, geo)))
    data["time"].encoding = {"units": "milliseconds since 1970-01-01", "dtype": "int64"}
    options: dict[str, Any] = {"mode": "a", "compute": False, "consolidated": False, "write_empty_chunks": True}
    with quiet_zarr():
        summed(data).to_zarr(path, group=name, zarr_format=3, **options)


def triplet_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with distances and embeddings, by the contract at the head of this module.

    Parameters
    ----------
    deep : bool
        Read every scene; else the first and the last of each series.
    """
    from geonb.prediction.faults import attribute_faults, layout_faults, range_faults, split_faults

    yield from attribute_faults(tree, ("patch",))
    if "triplets" not in tree.children:
        yield f"no group 'triplets', only {list(tree.children)}"
        return
    data = tree["triplets"].to_dataset()
    wanted = {**dict.fromkeys(("near", "far"), ("model", "sample")),
              **dict.fromkeys(("split", "source", "block", "t", "y", "x"), ("sample",))}  # fmt: skip
    found = list(layout_faults(data, wanted))
    if not found:
        for name in ("near", "far"):
            for model, values in zip(data["model"].to_numpy(), data[name].to_numpy(), strict=True):
                found += range_faults(f"{name} of {model}", values, 0)
        found += split_faults("split", data["split"].astype(str).to_numpy(), SPLITS)
    yield from (f"triplets: {fault}" for fault in found)
    for name in series_of(tree):
        yield from (f"{name}: {fault}" for fault in _series_faults(tree[name].to_dataset(), deep))


def _series_faults(data: xr.Dataset, deep: bool) -> Iterator[str]:
    from geonb.prediction.faults import coordinate_faults, layout_faults, range_faults

    wanted = {"embedding": ("time", "y", "x", "dim"), "valid": ("time", "y", "x")}
    found = [*layout_faults(data, wanted), *coordinate_faults(data, ("y", "x"))]
    if "time" not in data.coords:
        found.append("no coordinate time")
    if "spatial_ref" not in data.coords:
        found.append("no coordinate reference system")
    yield from found
    if found:
        return
    for t in range(data.sizes["time"]) if deep else sorted({0, data.sizes["time"] - 1} - {-1}):
        scene = data.isel(time=t).load()
        known = scene["valid"].to_numpy()[..., None]
        yield from range_faults(f"embedding of scene {t}", scene["embedding"].to_numpy(), known=known)


def series_of(predictions: xr.DataTree) -> list[str]:
    """Names of the series whose scenes were embedded."""
    return [name for name in predictions.children if name != "triplets"]
