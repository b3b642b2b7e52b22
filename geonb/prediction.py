"""Trained model -> georeferenced predictions: blended windows in constant memory, resumable, as Zarr and COG.

predictions.zarr is a DataTree with a group a source: ``probability (model, class, y, x)``, ``label (model, y, x)``,
``truth``, ``split`` and ``block (y, x)``. The ``model`` dim holds the network and every baseline side by side.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from geonb import samples, workloads
from geonb.masks import IGNORE

if TYPE_CHECKING:
    import pandas as pd

    from geonb.stitching import Reader

CHUNK_PX = 2048
SPLITS = {name: code for code, name in enumerate(("none", *samples.SPLITS))}


def predict_scenes(
    run,
    store,
    model,
    baselines: Sequence[Callable],
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
    baselines : functions of standardised inputs, see :mod:`geonb.baselines`
    overlap : float, share of the window by which neighbours overlap

    Returns
    -------
    Path of predictions.zarr, checked.
    """
    from geonb.arrays import quiet_zarr
    from geonb.prediction_faults import check_predictions

    path = Path(run.predictions)
    record = workloads.known(model.card["workload"])
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
            begin = done.rows(source, name) or 0
            if begin >= shape[0]:
                continue
            if name == "network":
                bands = network_rows(model, read, shape, window, overlap, batch, precision, begin)
            else:
                bands = baseline_rows(baselines[position - 1], read, shape, model.card["statistics"], height, begin)
            for band in bands:
                done.mark(source, name, writer.write(position, *band))
    attrs = {
        "workload": record.name, "title": store.meta.get("title") or record.title, "question": record.question,
        "simulated": int(store.meta["simulated"]), "notes": store.meta["notes"], "run": Path(run.path).name,
        "colours": [c["colour"] for c in store.classes], "headline": record.headline, "network": model.card["network"],
        "precision": precision, "block": store.meta["split"]["block"], "geonb": model.card["geonb"], "models": names,
        "complete": 1,
    }  # fmt: skip
    with quiet_zarr():
        zarr.open_group(path, mode="r+").attrs.update(attrs)  # writes what was gathered before anew, texts and all
        zarr.consolidate_metadata(path)
    check_predictions(path)
    return path


def _dataset(store, source: str) -> str:
    """The data set that a source belongs to; in a store of one, the store's name."""
    facts = next(s for s in store.meta["sources"] if s["name"] == source)
    return facts.get("dataset") or store.meta.get("name") or "dataset"


def network_rows(model, read: Reader, shape, window, overlap, batch, precision, begin=0, stop=None, stripe=None):
    """Bands of rows from a trained task, on the best device there is; see :func:`geonb.stitching.predict_rows`."""
    import torch

    from geonb.stitching import predict_rows

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    model = model.to(device).eval()

    def probabilities(inputs):
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            return model.probabilities(inputs)

    statistics = model.card["statistics"]
    return predict_rows(
        probabilities, read, shape, len(model.card["classes"]), mean=statistics["mean"], std=statistics["std"],
        window=window, overlap=overlap, batch=batch, start_row=begin, stop_row=stop, stripe=stripe, device=device,
    )  # fmt: skip


def baseline_rows(baseline, read: Reader, shape, statistics, height: int, begin: int = 0):
    """Bands of rows from a baseline, which sees one pixel at a time and needs no overlap."""
    mean = np.asarray(statistics["mean"], np.float32)[:, None, None]
    std = np.asarray(statistics["std"], np.float32)[:, None, None]
    for top in range(begin, shape[0], height):
        values, valid = read(top, min(shape[0], top + height))
        standardised = np.where(valid, (values.astype(np.float32) - mean) / std, 0)
        yield top, baseline(standardised.astype(np.float32)), valid


def window_of(card: dict[str, Any]) -> int:
    """Window for inference, px: that of training, rounded up to what the network's halvings divide.

    Not larger: kernels deep in a network that saw small windows were trained on little but padding, and what they do with
    a larger window is chance (seen: accuracy .79 with windows of 32 px as in training, .27 with 128 px).
    """
    from geonb.networks import size_multiple

    multiple = size_multiple(card["network"])
    return -(-card["patch"] // multiple) * multiple


def chunk_rows(window: int, overlap: float, least: int = 128) -> int:
    """Height of a chunk, px: a whole number of bands, so that a band does not rewrite its neighbours' chunks."""
    stride = max(1, round(window * (1 - overlap)))
    return stride * -(-least // stride)


class Done:
    """Which rows of which scene and model are on disk: a list beside the array, because a chunk may be half of two bands.

    Another ``stamp`` (model, overlap, ...) means other predictions: what is there is removed and begins anew.
    """

    def __init__(self, path: Path, stamp: dict[str, Any]) -> None:
        self.file = path.with_name(path.name + ".done.json")
        stamp = json.loads(json.dumps(stamp))
        self.state = json.loads(self.file.read_text()) if self.file.exists() else {}
        if self.state.get("stamp") != stamp or not path.exists():
            if path.exists():
                shutil.rmtree(path)
            self.state = {"stamp": stamp, "rows": {}}
            zarr.open_group(path, mode="w")
            self.write()

    def rows(self, source: str, model: str) -> int | None:
        return self.state["rows"].get(f"{source}|{model}")

    def mark(self, source: str, model: str, rows: int) -> None:
        self.state["rows"][f"{source}|{model}"] = rows
        self.write()

    def write(self) -> None:
        partial = self.file.with_name(self.file.name + ".partial")
        partial.write_text(json.dumps(self.state))
        partial.replace(self.file)


class Writer:
    """The open arrays of one source in predictions.zarr, written band by band."""

    def __init__(self, path: Path, source: str) -> None:
        group = zarr.open_group(path, mode="r+")[source]
        self.probability, self.label = group["probability"], group["label"]

    def write(self, model: int, row: int, probability: np.ndarray, valid: np.ndarray, column: int = 0) -> int:
        """Write a band of rows from `column` on, a piece at a time to keep copies small; gives the row after it."""
        stop = row + probability.shape[1]
        for left in range(0, valid.shape[1], CHUNK_PX):
            x = slice(left, left + CHUNK_PX)
            here, known = probability[..., x], valid[:, x]
            x = slice(column + left, column + left + known.shape[1])
            self.probability[model, :, row:stop, x] = np.where(known, here, np.nan).astype(np.float16)
            self.label[model, row:stop, x] = np.where(known, here.argmax(axis=0), IGNORE).astype(np.uint8)
        return stop


def _reader(scene: xr.Dataset) -> Reader:
    def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        rows = scene.isel(y=slice(start, stop))
        return rows["inputs"].to_numpy(), rows["valid"].to_numpy().astype(bool)

    return read


def create_scene(
    path: Path, source: str, scene: xr.Dataset, classes: Sequence[str], models: Sequence[str], height: int
) -> None:
    """Lay out a source's group: coordinates and what is known of the scene whole, predictions empty."""
    import dask.array as da

    from geonb.arrays import quiet_zarr

    rows, columns = scene.sizes["y"], scene.sizes["x"]
    chunk = (min(height, rows), min(CHUNK_PX, columns))
    coords = {"x": scene["x"], "y": scene["y"], "spatial_ref": scene["spatial_ref"]}
    predicted = xr.Dataset(
        {
            "probability": (
                ("model", "class", "y", "x"),
                da.zeros(
                    (len(models), len(classes), rows, columns), dtype=np.float16, chunks=(1, len(classes), *chunk)
                ),
                {"long_name": "class probability", "units": "1", "grid_mapping": "spatial_ref"},
            ),
            "label": (
                ("model", "y", "x"),
                da.zeros((len(models), rows, columns), dtype=np.uint8, chunks=(1, *chunk)),
                {"long_name": "most probable class", "no_class": IGNORE, "grid_mapping": "spatial_ref"},
            ),
        },
        coords={"model": list(models), "class": list(classes), **coords},
    )
    # A group begun before an interruption is laid out again; its bands are listed as done only after this.
    options = {"group": source, "zarr_format": 3, "consolidated": False}
    with quiet_zarr():
        predicted.to_zarr(path, mode="a", compute=False, **options)
    known = scene[[v for v in ("truth", "split", "block") if v in scene]]
    if known.data_vars:
        known.chunk({"y": chunk[0], "x": chunk[1]}).drop_encoding().to_zarr(path, mode="a", **options)


def _known(store, source: str) -> xr.Dataset:
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


def predict(run, store, model, *, overlap: float, batch: int, precision: str = "auto", seed: int = 0) -> Path:
    """Predict with a workload's own function, network and baselines side by side; see :func:`predict_scenes`."""
    from geonb.tasks import precision_of

    record = workloads.known(model.card["workload"])
    baselines = [workloads.load(name)(store, seed) for name in record.baselines]
    function = workloads.load(record.predict)
    return function(run, store, model, baselines, overlap=overlap, batch=batch, precision=precision_of(precision))


def export(run, model, rasters: str | None = None, **settings: Any) -> pd.DataFrame:
    """Export with a workload's own function; see :func:`export_maps`."""
    record = workloads.known(model.card["workload"])
    return workloads.load(record.export)(run, model, rasters, **settings)


def export_maps(
    run, model, rasters: str | None = None, *, overlap: float = 0.5, batch: int = 32, precision: str = "auto",
    workers: int = 0, client=None, overwrite: bool = False, polygons: float | None = None, damaged: str = "skip",
) -> pd.DataFrame:  # fmt: skip
    """Write class and probability maps (COG), and polygons, into the run's ``maps/``: of its scenes, and of more rasters.

    The maps of the run's own scenes follow its predictions: they are written anew each time. Those of other rasters are kept
    and never replaced unasked; see :func:`geonb.rasters.predict_rasters`, also for the parameters.

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

    from geonb import rasters as many

    folder, rows = Path(run.path) / "maps", []
    predictions = open_predictions(run.predictions)
    options = {"overlap": overlap, "batch": batch, "precision": precision, "workers": workers, "client": client,
               "overwrite": overwrite, "polygons": polygons, "damaged": damaged, "taken": set(predictions.children)}  # fmt: skip
    jobs = many.plan(model, many.listed(rasters), folder, **options) if rasters else None
    for source, node in predictions.children.items():
        rows.append(
            _export_scene(source, node.to_dataset(), folder, predictions.attrs["colours"], model.card, polygons)
        )
    if jobs is None:
        return many.write_report(pd.DataFrame(rows, columns=many.COLUMNS), folder)
    return many.predict_planned(model, jobs, before=rows)


def _export_scene(source: str, scene: xr.Dataset, folder: Path, colours, card: dict[str, Any], polygons) -> dict:
    from geonb.maps import write_class_map, write_probability_map
    from geonb.polygons import write_polygons

    started = time.perf_counter()
    row = {
        "file": source,
        "state": "done",
        "reason": "scene of the run",
        "Mpx": scene.sizes["y"] * scene.sizes["x"] / 1e6,
    }
    row["class"] = write_class_map(scene, folder / f"{source}_class.tif", colours)
    row["probability"] = write_probability_map(scene, folder / f"{source}_probability.tif")
    outlines = folder / f"{source}_polygons.gpkg"
    outlines.unlink(missing_ok=True)  # of predictions that were there before
    if polygons is not None:
        row["polygons"] = write_polygons(
            row["class"], outlines, card["classes"], polygons, probability=row["probability"]
        )
    return row | {"seconds": time.perf_counter() - started}


def open_predictions(path: str | Path) -> xr.DataTree:
    """Open predictions.zarr lazily, as a DataTree with a group a source.

    Raises
    ------
    FileNotFoundError
        If there are none; names the notebook that writes them.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"No predictions at {path}. Run notebooks/03_prediction.ipynb first, or give another `run`."
        )
    return xr.open_datatree(path, engine="zarr", chunks={}, consolidated=False)


def scene_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with predictions of scenes, by the contract at the head of this module.

    Parameters
    ----------
    deep : bool
        Read every row; else the middle one of each scene.
    """
    import rioxarray  # noqa: F401  (the .rio accessor)

    from geonb.prediction_faults import attribute_faults, coordinate_faults, layout_faults

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
    from geonb.prediction_faults import range_faults, split_faults

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
