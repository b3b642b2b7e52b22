"""Trained model -> georeferenced predictions: blended windows in constant memory, resumable, as Zarr and COG.

predictions.zarr is a DataTree with a group a source: ``probability (model, class, y, x)``, ``label (model, y, x)``,
``truth``, ``split`` and ``block (y, x)``. The ``model`` dim holds the network and every baseline side by side.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from geonb import samples, workloads
from geonb.masks import IGNORE

if TYPE_CHECKING:
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

    path = Path(run.predictions)
    record = workloads.get(model.card["workload"])
    names = ["network", *(b.name for b in baselines)]
    stamp = {"training": model.card["training"], "best": model.card["best"], "models": names, "overlap": overlap,
             "network": model.card["network"], "precision": precision}  # fmt: skip
    done = Done(path, stamp)
    window = window_of(model.card)
    height = chunk_rows(window, overlap)
    for source in store.sources:
        scene = _known(store, source)
        if done.rows(source, "created") is None:
            _create(path, source, scene, [c["name"] for c in store.classes], names, height)
            done.mark(source, "created", 1)
        scenes = _Scene(path, source)
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
                done.mark(source, name, scenes.write(position, *band))
    attrs = {
        "workload": record.name, "title": store.meta.get("title") or record.title, "question": record.question,
        "simulated": int(store.meta["simulated"]), "notes": store.meta["notes"], "run": Path(run.path).name,
        "colours": [c["colour"] for c in store.classes], "headline": record.headline, "network": model.card["network"],
        "precision": precision, "block": store.meta["split"]["block"], "geonb": model.card["geonb"], "complete": 1,
    }  # fmt: skip
    zarr.open_group(path, mode="r+").attrs.update(attrs)
    with quiet_zarr():
        zarr.consolidate_metadata(path)
    check_predictions(path)
    return path


def network_rows(model, read: Reader, shape, window, overlap, batch, precision, begin=0):
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
        window=window, overlap=overlap, batch=batch, start_row=begin, device=device,
    )  # fmt: skip


def baseline_rows(baseline, read: Reader, shape, statistics, height: int, begin: int = 0):
    """Bands of rows from a baseline, which sees one pixel at a time and needs no overlap."""
    mean = np.asarray(statistics["mean"], np.float32)[:, None, None]
    std = np.asarray(statistics["std"], np.float32)[:, None, None]
    for top in range(begin, shape[0], height):
        values, valid = read(top, min(shape[0], top + height))
        standardised = np.where(valid, (values.astype(np.float32) - mean) / std, 0)
        yield top, baseline(standardised.astype(np.float32)), valid


def window_of(card: dict[str, Any], multiple: int = 32) -> int:
    """Window for inference, px: that of training, rounded up to what an encoder's five halvings divide.

    Not larger: kernels deep in a network that saw small windows were trained on little but padding, and what they do with
    a larger window is chance (seen: accuracy .79 with windows of 32 px as in training, .27 with 128 px).
    """
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
            self._write()

    def rows(self, source: str, model: str) -> int | None:
        return self.state["rows"].get(f"{source}|{model}")

    def mark(self, source: str, model: str, rows: int) -> None:
        self.state["rows"][f"{source}|{model}"] = rows
        self._write()

    def _write(self) -> None:
        partial = self.file.with_name(self.file.name + ".partial")
        partial.write_text(json.dumps(self.state))
        partial.replace(self.file)


class _Scene:
    """The open arrays of one source in predictions.zarr, written band by band."""

    def __init__(self, path: Path, source: str) -> None:
        group = zarr.open_group(path, mode="r+")[source]
        self.probability, self.label = group["probability"], group["label"]

    def write(self, model: int, row: int, probability: np.ndarray, valid: np.ndarray) -> int:
        """Write a band of rows, a piece of columns at a time to keep copies small; gives the row after it."""
        stop = row + probability.shape[1]
        for left in range(0, valid.shape[1], CHUNK_PX):
            x = slice(left, left + CHUNK_PX)
            here, known = probability[..., x], valid[:, x]
            self.probability[model, :, row:stop, x] = np.where(known, here, np.nan).astype(np.float16)
            self.label[model, row:stop, x] = np.where(known, here.argmax(axis=0), IGNORE).astype(np.uint8)
        return stop


def _reader(scene: xr.Dataset) -> Reader:
    def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        rows = scene.isel(y=slice(start, stop))
        return rows["inputs"].to_numpy(), rows["valid"].to_numpy().astype(bool)

    return read


def _create(
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


def predict_raster(
    model, image: str | Path, folder: str | Path, *, overlap: float = 0.5, batch: int = 32, precision: str = "float32"
) -> dict[str, Path]:
    """Label any raster of the model's bands, of any size, in constant memory; goes on where it was interrupted.

    Parameters
    ----------
    model : trained task
    image : file that GDAL reads, georeferenced, with the model's bands in the model's order
    folder : where ``<stem>_class.tif`` and ``<stem>_probability.tif`` (COG, the input's grid) go

    Returns
    -------
    dict of paths, ``class`` and ``probability``

    Raises
    ------
    ValueError
        If the bands are not the model's (both counts are told), or the raster has no coordinate reference system.
    """
    from geonb.maps import write_class_map, write_probability_map

    image, folder = Path(image), Path(folder)
    card = model.card
    classes = [c["name"] for c in card["classes"]]
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / f"{image.stem}.partial.zarr"
    status = image.stat()
    done = Done(work, {"best": card["best"], "overlap": overlap, "precision": precision,
                       "image": [str(image), status.st_size, status.st_mtime_ns]})  # fmt: skip
    window = window_of(card)
    with open_raster(image, card) as (scene, read):
        if done.rows("scene", "created") is None:
            _create(work, "scene", scene, classes, ["network"], chunk_rows(window, overlap))
            done.mark("scene", "created", 1)
        begin = done.rows("scene", "network") or 0
        shape = (scene.sizes["y"], scene.sizes["x"])
        target = _Scene(work, "scene")
        if begin < shape[0]:
            for band in network_rows(model, read, shape, window, overlap, batch, precision, begin):
                done.mark("scene", "network", target.write(0, *band))
    with xr.open_zarr(work, group="scene", consolidated=False, decode_coords="all") as scene:
        colours = [c["colour"] for c in card["classes"]]
        paths = {
            "class": write_class_map(scene, folder / f"{image.stem}_class.tif", colours),
            "probability": write_probability_map(scene, folder / f"{image.stem}_probability.tif"),
        }
    shutil.rmtree(work)
    done.file.unlink()
    return paths


@contextmanager
def open_raster(image: Path, card: dict[str, Any]) -> Iterator[tuple[xr.Dataset, Reader]]:
    """Open a raster for prediction: its grid as an empty Dataset, and a reader of rows.

    Raises
    ------
    ValueError
        See :func:`predict_raster`.
    """
    import rasterio
    import rioxarray  # noqa: F401  (the .rio accessor)
    from rasterio.windows import Window

    with rasterio.Env(GDAL_CACHEMAX=64), rasterio.open(image) as raster:
        wanted = [c["name"] for c in card["channels"]]
        if raster.count != len(wanted):
            raise ValueError(
                f"{image} has {raster.count} bands; the model was trained on {len(wanted)} ({', '.join(wanted)}). "
                "Give a raster with these bands in this order, or train a model on the bands you have."
            )
        if raster.crs is None:
            raise ValueError(
                f"{image} has no coordinate reference system. Assign it (gdal_edit.py -a_srs EPSG:...), then try again."
            )
        grid = raster.transform
        centre_x = grid.c + grid.a * (np.arange(raster.width) + 0.5)
        centre_y = grid.f + grid.e * (np.arange(raster.height) + 0.5)
        scene = xr.Dataset(coords={"y": centre_y, "x": centre_x}).rio.write_crs(raster.crs).rio.write_transform(grid)

        def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            rows = Window(0, start, raster.width, stop - start)
            values = raster.read(window=rows)
            valid = (raster.read_masks(window=rows) > 0).all(axis=0)
            if values.dtype.kind == "f":
                valid &= np.isfinite(values).all(axis=0)
            return values, valid

        yield scene, read


def predict(run, store, model, *, overlap: float, batch: int, precision: str = "auto", seed: int = 0) -> Path:
    """Predict with a workload's own function, network and baselines side by side; see :func:`predict_scenes`."""
    from geonb.tasks import precision_of

    record = workloads.get(model.card["workload"])
    baselines = [workloads.load(name)(store, seed) for name in record.baselines]
    function = workloads.load(record.predict)
    return function(run, store, model, baselines, overlap=overlap, batch=batch, precision=precision_of(precision))


def export(run, model, rasters: str | None = None, **settings: Any) -> list[Path]:
    """Export with a workload's own function; see :func:`export_maps`."""
    record = workloads.get(model.card["workload"])
    return workloads.load(record.export)(run, model, rasters, **settings)


def export_maps(
    run, model, rasters: str | None = None, *, overlap: float = 0.5, batch: int = 32, precision: str = "auto"
) -> list[Path]:
    """Write class and probability maps (COG) into the run's ``maps/``: of its scenes, and of more rasters.

    Parameters
    ----------
    rasters : str, optional
        Comma-separated files or globs, relative to the project root; see :func:`predict_raster`.

    Raises
    ------
    ValueError
        If nothing is where ``rasters`` points, or a raster does not fit the model.
    """
    from geonb.maps import write_class_map, write_probability_map
    from geonb.sources import find_rasters
    from geonb.tasks import precision_of

    folder, paths = Path(run.path) / "maps", []
    files = find_rasters(rasters) if rasters else []
    predictions = open_predictions(run.predictions)
    for source, node in predictions.children.items():
        scene = node.to_dataset()
        paths.append(write_class_map(scene, folder / f"{source}_class.tif", predictions.attrs["colours"]))
        paths.append(write_probability_map(scene, folder / f"{source}_probability.tif"))
    for file in files:
        options = {"overlap": overlap, "batch": batch, "precision": precision_of(precision)}
        paths.extend(predict_raster(model, file, folder, **options).values())
    return paths


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


def check_predictions(path: str | Path) -> None:
    """Check predictions against the contract at the head of this module.

    Raises
    ------
    ValueError
        One, listing every fault found.
    """
    import rioxarray  # noqa: F401  (the .rio accessor)

    tree, faults = open_predictions(path), []
    missing = [a for a in ("workload", "simulated", "notes", "colours", "complete") if a not in tree.attrs]
    if missing:
        faults.append(f"root attributes missing: {', '.join(missing)} (interrupted? run 03_prediction again)")
    if not tree.children:
        faults.append("no source in it")
    wanted = {"probability": ("model", "class", "y", "x"), "label": ("model", "y", "x"), "truth": ("y", "x"), "split": ("y", "x"),
              "block": ("y", "x")}  # fmt: skip
    kinds = {"label": "uint8", "truth": "uint8", "split": "int8", "probability": "float16"}
    for name, node in tree.children.items():
        scene = node.to_dataset()
        for variable in kinds.keys() & scene.data_vars:
            if scene[variable].dtype != kinds[variable]:
                faults.append(f"{name}: {variable} is {scene[variable].dtype}, not {kinds[variable]}")
        for variable, dims in wanted.items():
            if variable not in scene:
                faults.append(f"{name}: no {variable}")
            elif scene[variable].dims != dims:
                faults.append(f"{name}: {variable} has dims {scene[variable].dims}, not {dims}")
        if scene.rio.crs is None:
            faults.append(f"{name}: no coordinate reference system")
        if "probability" in scene and scene.sizes["y"] and not faults:
            middle = scene["probability"].isel(y=scene.sizes["y"] // 2).sum("class", skipna=False).to_numpy()
            middle = middle[np.isfinite(middle)]
            if middle.size and np.abs(middle - 1).max() > 0.02:
                faults.append(f"{name}: probabilities sum to {middle.min():.3f}..{middle.max():.3f}, not to 1")
    if faults:
        raise ValueError(f"{path} is not a predictions.zarr of geonb:\n- " + "\n- ".join(faults))
