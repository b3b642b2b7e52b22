"""Every source of a store predicted by the network and each baseline, pixel by pixel; goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from geonb.base.conventions import IGNORE
from geonb.base.conventions import SPLIT_CODES as SPLITS
from geonb.prediction import workers
from geonb.prediction.bands import (
    Layout,
    MapModel,
    Writer,
    baseline_rows,
    chunk_rows,
    create_scene,
    network_rows,
    written,
)
from geonb.prediction.baselines import Baseline
from geonb.prediction.faults import coordinate_faults, layout_faults
from geonb.prediction.predictions import Done, seal
from geonb.rasters import grids

if TYPE_CHECKING:
    from distributed import Client
    from torch import Tensor

    from geonb.base.run_folder import RunFolder
    from geonb.rasters.stitching import Reader
    from geonb.store.grid_store import GridStore

SPAN_PX = 512  # least rows that a worker is given at once


def predict_scenes(
    run: RunFolder, store: GridStore, model: MapModel, baselines: Sequence[Baseline], predict: Callable[[Tensor], Tensor],
    layout: Layout, *, outputs: int = 1, overlap: float = 0.5, batch: int = 32, precision: str = "auto", client: Client | None = None,
    **own: Any,
) -> Path:  # fmt: skip
    """Write a run's predictions.zarr: what `layout` keeps of every pixel, and its ``truth``, ``split`` and ``block`` beside it.

    Parameters
    ----------
    baselines : functions of standardised inputs (channel, y, x) that give (output, y, x)
    predict : a method of the model
        Standardised inputs (sample, channel, y, x) -> what it says of each pixel (sample, output, y, x).
    overlap : float, share of the window by which neighbours overlap
    precision : auto, float32 or bfloat16; see :func:`geonb.training.task.precision_of`
    client : a `dask.distributed.Client` over whose workers the network's spans of rows are spread
    **own : what the predictions say at their root besides, see :func:`geonb.prediction.predictions.seal`
    """
    from geonb.training.task import precision_of

    path, precision = Path(run.predictions), precision_of(precision)
    names = ["network", *(b.name for b in baselines)]
    stamp = {"training": model.card["training"], "best": model.card["best"], "models": names, "overlap": overlap,
             "network": model.card["network"], "precision": precision}  # fmt: skip
    done = Done(path, stamp)
    height = chunk_rows(model.window, overlap)
    spans: list[tuple[str, int, int]] = []
    for source in store.sources:
        scene = _known(store, source)
        if done.rows(source, "created") is None:
            create_scene(path, source, scene, layout, names, height)
            zarr.open_group(path, mode="r+")[source].attrs["dataset"] = _dataset(store, source)
            done.mark(source, "created", 1)
        writer = Writer(path, source, layout)
        read = _reader(scene)
        shape = (scene.sizes["y"], scene.sizes["x"])
        for position, name in enumerate(names):
            start = done.rows(source, name) or 0
            if start >= shape[0]:
                continue
            if name == "network" and client is not None:
                least = max(SPAN_PX, 4 * model.window)  # at a span's upper edge a row of windows is seen twice
                step = height * -(-least // height)
                stops = [start, *range((start // step + 1) * step, shape[0], step), shape[0]]
                spans += [(source, *span) for span in pairwise(stops)]
                continue
            if name == "network":
                bands = network_rows(
                    model, predict, outputs, read, shape, model.window, overlap, batch, precision, start
                )
            else:
                bands = baseline_rows(baselines[position - 1], read, shape, model.card["statistics"], height, start)

            def write(
                *band: Any, writer: Writer = writer, at: int = position, source: str = source, name: str = name
            ) -> None:
                done.mark(source, name, writer.write(at, *band))

            written(bands, write)
    if client is not None:
        settings = predict.__name__, outputs, overlap, batch, precision
        tasks = ((store.path, store.meta["key"], path, layout, span, settings) for span in spans)
        over = workers.over(client, model, path.parent, _predict_span, tasks)
        for (source, _, stop), _ in zip(spans, over, strict=True):
            done.mark(source, "network", stop)
    seal(path, run, store, model.card, names, precision, block=store.meta["split"]["block"], **own)
    return path


def _predict_span(
    model: MapModel, store: Path, key: str, path: Path, layout: Layout, span: tuple[str, int, int], settings: tuple
) -> None:
    """What a worker does: the network's prediction of some rows of a source."""
    (source, start, stop), (method, outputs, overlap, batch, precision) = span, settings
    scene = workers.store_at(store, key).arrays[source].to_dataset()
    writer, shape = Writer(path, source, layout), (scene.sizes["y"], scene.sizes["x"])
    options = shape, model.window, overlap, batch, precision, start, stop
    bands = network_rows(model, getattr(model, method), outputs, _reader(scene), *options)
    written(bands, lambda *band: writer.write(0, *band))


def _dataset(store: GridStore, source: str) -> str:
    """The data set that a source belongs to; in a store of one, the store's name."""
    facts = next(s for s in store.meta["sources"] if s["name"] == source)
    return facts.get("dataset") or store.meta.get("name") or "dataset"


def _reader(scene: xr.Dataset) -> Reader:
    def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        rows = scene.isel(y=slice(start, stop))
        return rows["inputs"].to_numpy(), rows["valid"].to_numpy().astype(bool)

    return read


def _known(store: GridStore, source: str) -> xr.Dataset:
    """A source's truth, split and block (y, x), lazily, beside its inputs."""
    scene = store.arrays[source].to_dataset().chunk({"y": 1024, "x": 1024})
    side = store.meta["split"]["block"]
    across = -(-scene.sizes["x"] // side)
    row = xr.DataArray(np.arange(scene.sizes["y"], dtype=np.int32) // side * across, dims="y").chunk({"y": 1024})
    column = xr.DataArray(np.arange(scene.sizes["x"], dtype=np.int32) // side, dims="x").chunk({"x": 1024})
    split = store.split_map(source).chunk({"y": 1024, "x": 1024}).where(scene["valid"].astype(bool), 0).astype(np.int8)
    grid = {"grid_mapping": "spatial_ref"}
    of_classes = {"no_class": IGNORE} if scene["targets"].dtype.kind in "iu" else {}
    return scene.assign(
        truth=scene["targets"].assign_attrs(**of_classes, **grid),
        split=split.assign_attrs(flag_values=list(SPLITS.values()), flag_meanings=" ".join(SPLITS), **grid),
        block=(row + column).assign_attrs(long_name="spatial block", **grid),
    )


def scene_faults(
    tree: xr.DataTree, wanted: Mapping[str, tuple[str, ...]], kinds: Mapping[str, str],
    value_faults: Callable[[xr.Dataset], Iterable[str]], deep: bool = False,
) -> Iterator[str]:  # fmt: skip
    """What is wrong with predictions of scenes: layout, coordinates, CRS, values.

    Parameters
    ----------
    wanted : variable -> dims, besides truth, split and block (y, x)
    kinds : variable -> dtype
    value_faults : rows of a scene -> what is wrong with their values
    deep : bool
        Read every row; else the middle one of each scene.
    """
    import rioxarray  # noqa: F401  (the .rio accessor)

    if not tree.children:
        yield "no source in it"
    wanted = {**wanted, **dict.fromkeys(("truth", "split", "block"), ("y", "x"))}
    for name, node in tree.children.items():
        scene = node.to_dataset()
        found = [*layout_faults(scene, wanted, kinds), *coordinate_faults(scene, ("y", "x"))]
        if scene.rio.crs is None:
            found.append("no coordinate reference system")
        rows = scene.sizes.get("y", 0)
        if rows and not found:
            strips = grids.strips(rows, 512) if deep else [slice(rows // 2, rows // 2 + 1)]
            found = [fault for strip in strips for fault in value_faults(scene.isel(y=strip).load())]
        yield from (f"{name}: {fault}" for fault in dict.fromkeys(found))
