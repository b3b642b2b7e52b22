"""Every source of a store predicted by the network and each baseline, and its maps written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from geonb.base.conventions import IGNORE
from geonb.base.conventions import SPLIT_CODES as SPLITS
from geonb.prediction.bands import PixelModel, Writer, baseline_rows, chunk_rows, create_scene, network_rows
from geonb.prediction.baselines import Baseline
from geonb.prediction.predictions import Done, open_predictions, seal
from geonb.workloads.segmentation.networks import window_of

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from geonb.base.run_folder import RunFolder
    from geonb.rasters.stitching import Reader
    from geonb.workloads.segmentation.store import PatchStore


def predict_scenes(
    run: RunFolder,
    store: PatchStore,
    model: PixelModel,
    baselines: Sequence[Baseline],
    *,
    overlap: float = 0.5,
    batch: int = 32,
    precision: str = "float32",
) -> Path:
    """Predict every source of a store with the network and each baseline; goes on where it was interrupted.

    Parameters
    ----------
    run : Run
        ``predictions.zarr`` is written into it.
    store : Store
    model : trained task, from :func:`geonb.load_model`
    baselines : functions of standardised inputs, see :mod:`geonb.workloads.segmentation.baselines`
    overlap : float, share of the window by which neighbours overlap

    Returns
    -------
    Path of predictions.zarr, checked.
    """
    from geonb.prediction.faults import check_predictions

    path = Path(run.predictions)
    names = ["network", *(b.name for b in baselines)]
    stamp = {"training": model.card["training"], "best": model.card["best"], "models": names, "overlap": overlap,
             "network": model.card["network"], "precision": precision}  # fmt: skip
    done = Done(path, stamp)
    window = window_of(model.card)
    height = chunk_rows(window, overlap)
    for source in store.sources:
        scene = _known(store, source)
        if done.rows(source, "created") is None:
            create_scene(path, source, scene, [c["name"] for c in store.classes], names, height)
            zarr.open_group(path, mode="r+")[source].attrs["dataset"] = _dataset(store, source)
            done.mark(source, "created", 1)
        writer = Writer(path, source)
        read = _reader(scene)
        shape = (scene.sizes["y"], scene.sizes["x"])
        for position, name in enumerate(names):
            start = done.rows(source, name) or 0
            if start >= shape[0]:
                continue
            if name == "network":
                bands = network_rows(model, read, shape, window, overlap, batch, precision, start)
            else:
                bands = baseline_rows(baselines[position - 1], read, shape, model.card["statistics"], height, start)
            for band in bands:
                done.mark(source, name, writer.write(position, *band))
    own = {"colours": [c["colour"] for c in store.classes], "block": store.meta["split"]["block"]}
    seal(path, run, store, model.card, names, precision, **own)
    check_predictions(path)
    return path


def _dataset(store: PatchStore, source: str) -> str:
    """The data set that a source belongs to; in a store of one, the store's name."""
    facts = next(s for s in store.meta["sources"] if s["name"] == source)
    return facts.get("dataset") or store.meta.get("name") or "dataset"


def _reader(scene: xr.Dataset) -> Reader:
    def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        rows = scene.isel(y=slice(start, stop))
        return rows["inputs"].to_numpy(), rows["valid"].to_numpy().astype(bool)

    return read


def _known(store: PatchStore, source: str) -> xr.Dataset:
    """A source's truth, split and block (y, x), lazily, beside its inputs."""
    scene = store.arrays[source].to_dataset().chunk({"y": 1024, "x": 1024})
    side = store.meta["split"]["block"]
    across = -(-scene.sizes["x"] // side)
    row = xr.DataArray(np.arange(scene.sizes["y"], dtype=np.int32) // side * across, dims="y").chunk({"y": 1024})
    column = xr.DataArray(np.arange(scene.sizes["x"], dtype=np.int32) // side, dims="x").chunk({"x": 1024})
    split = store.split_map(source).chunk({"y": 1024, "x": 1024}).where(scene["valid"].astype(bool), 0).astype(np.int8)
    grid = {"grid_mapping": "spatial_ref"}
    return scene.assign(
        truth=scene["targets"].assign_attrs(no_class=IGNORE, **grid),
        split=split.assign_attrs(flag_values=list(SPLITS.values()), flag_meanings=" ".join(SPLITS), **grid),
        block=(row + column).assign_attrs(long_name="spatial block", **grid),
    )


def export_maps(
    run: RunFolder, model: PixelModel, rasters: str | None = None, *, overlap: float = 0.5, batch: int = 32,
    precision: str = "auto", workers: int = 0, client: Client | None = None, overwrite: bool = False,
    polygons: float | None = None, damaged: str = "skip",
) -> pd.DataFrame:  # fmt: skip
    """Write class and probability maps (COG), and polygons, into the run's ``maps/``: of its scenes, and of more rasters.

    The maps of the run's own scenes follow its predictions: they are written anew each time. Those of other rasters are kept
    and never replaced unasked; see :func:`geonb.prediction.many.predict_rasters`, also for the parameters.

    Parameters
    ----------
    rasters : str, optional
        Comma-separated files or globs, looked for from here and from the project root.

    Returns
    -------
    DataFrame, a row a scene and a raster, also as ``maps/report.csv``

    Raises
    ------
    ValueError
        If nothing is where ``rasters`` points, maps there are of another model or file, or no raster could be predicted.
    """
    import pandas as pd

    from geonb.prediction import many

    folder, rows = Path(run.path) / "maps", []
    predictions = open_predictions(run.predictions)
    planned = rasters and many.plan(
        model, many.listed(rasters), folder, overlap=overlap, batch=batch, precision=precision, workers=workers,
        client=client, overwrite=overwrite, polygons=polygons, damaged=damaged, taken=set(map(str, predictions.children)),
    )  # fmt: skip
    for source, node in predictions.children.items():
        rows.append(
            _export_scene(source, node.to_dataset(), folder, predictions.attrs["colours"], model.card, polygons)
        )
    if not planned:
        return many.write_report(pd.DataFrame(rows, columns=many.COLUMNS), folder)
    return many.predict_planned(model, planned, before=rows)


def _export_scene(
    source: str, scene: xr.Dataset, folder: Path, colours: list[str], card: dict[str, Any], polygons: float | None
) -> dict[str, Any]:
    from geonb.rasters.cog import write_class_map, write_probability_map
    from geonb.rasters.polygons import write_polygons

    started = time.perf_counter()
    mpx = scene.sizes["y"] * scene.sizes["x"] / 1e6
    row: dict[str, Any] = {"file": source, "state": "done", "reason": "scene of the run", "Mpx": mpx}
    classes = row["class"] = write_class_map(scene, folder / f"{source}_class.tif", colours)
    shares = row["probability"] = write_probability_map(scene, folder / f"{source}_probability.tif")
    outlines = folder / f"{source}_polygons.gpkg"
    outlines.unlink(missing_ok=True)  # of predictions that were there before
    if polygons is not None:
        row["polygons"] = write_polygons(classes, outlines, card["classes"], polygons, probability=shares)
    return row | {"seconds": time.perf_counter() - started}


def scene_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with predictions of scenes, by the contract at the head of this module.

    Parameters
    ----------
    deep : bool
        Read every row; else the middle one of each scene.
    """
    import rioxarray  # noqa: F401  (the .rio accessor)

    from geonb.prediction.faults import attribute_faults, coordinate_faults, layout_faults

    yield from attribute_faults(tree, ("colours",))
    if not tree.children:
        yield "no source in it"
    wanted = {"probability": ("model", "class", "y", "x"), "label": ("model", "y", "x"),
              **dict.fromkeys(("truth", "split", "block"), ("y", "x"))}  # fmt: skip
    kinds = {"label": "uint8", "truth": "uint8", "split": "int8", "probability": "float16"}
    for name, node in tree.children.items():
        scene = node.to_dataset()
        found = [*layout_faults(scene, wanted, kinds), *coordinate_faults(scene, ("y", "x"))]
        if scene.rio.crs is None:
            found.append("no coordinate reference system")
        rows = scene.sizes.get("y", 0)
        if rows and not found:
            step = 512
            strips = (
                [slice(at, at + step) for at in range(0, rows, step)] if deep else [slice(rows // 2, rows // 2 + 1)]
            )
            found = list(
                dict.fromkeys(fault for strip in strips for fault in _value_faults(scene.isel(y=strip).load()))
            )
        yield from (f"{name}: {fault}" for fault in found)


def _value_faults(rows: xr.Dataset) -> Iterator[str]:
    """Probabilities are 0-1 and sum to 1 wherever there is a label; truth is a class or none; splits are known ones."""
    from geonb.prediction.faults import range_faults, split_faults

    for model in rows["model"].to_numpy():
        at = rows.sel(model=model)
        known = (at["label"] != IGNORE).to_numpy()
        yield from range_faults(f"probability of {model}", at["probability"].to_numpy(), 0, 1, known)
        total = at["probability"].astype(np.float32).sum("class", skipna=False).to_numpy()[known]
        total = total[np.isfinite(total)]
        if total.size and np.abs(total - 1).max() > 0.02:
            yield f"probabilities of {model} sum to {total.min():.3f}..{total.max():.3f}, not to 1"
    classes = rows.sizes["class"]
    for what, codes in (("truth", rows["truth"]), ("label", rows["label"])):
        yield from range_faults(what, codes.to_numpy(), 0, classes - 1, (codes != IGNORE).to_numpy())
    yield from split_faults("split", rows["split"].to_numpy(), SPLITS.values())
