"""Every source of a store predicted by the network and each baseline, and its maps written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.base.conventions import IGNORE
from geonb.base.conventions import SPLIT_CODES as SPLITS
from geonb.prediction import scenes
from geonb.prediction.bands import PixelModel, class_layout
from geonb.prediction.baselines import Baseline
from geonb.prediction.predictions import open_predictions
from geonb.workloads.segmentation import footprints

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from geonb.base.run_folder import RunFolder
    from geonb.workloads.segmentation.store import PatchStore


def predict_scenes(
    run: RunFolder,
    store: PatchStore,
    model: PixelModel,
    baselines: Sequence[Baseline],
    *,
    overlap: float = 0.5,
    batch: int = 32,
    precision: str = "auto",
    client: Client | None = None,
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
    precision : auto, float32 or bfloat16; see :func:`geonb.training.task.precision_of`
    client : see :func:`geonb.prediction.scenes.predict_scenes`

    Returns
    -------
    Path of predictions.zarr, checked.
    """
    from geonb.prediction.faults import check_predictions

    classes, colours = ([c[key] for c in store.classes] for key in ("name", "colour"))
    path = scenes.predict_scenes(
        run, store, model, baselines, model.probabilities, class_layout(classes), outputs=len(classes), overlap=overlap,
        batch=batch, precision=precision, client=client, colours=colours,
    )  # fmt: skip
    check_predictions(path)
    return path


def export_maps(
    run: RunFolder, model: PixelModel, rasters: str | None = None, *, overlap: float = 0.5, batch: int = 32,
    precision: str = "auto", workers: int | str = 0, client: Client | None = None, overwrite: bool = False,
    polygons: float | None = None, corners: str = "pixels", damaged: str = "skip",
) -> pd.DataFrame:  # fmt: skip
    """Write class and probability maps (COG), and polygons, into the run's ``maps/``: of its scenes, and of more rasters.

    The maps of the run's own scenes follow its predictions: they are written anew each time. Those of other rasters are kept
    and never replaced unasked; see :func:`geonb.prediction.many.predict_rasters`, also for the parameters. Classes called background
    or border get no polygons: they are what lies between objects.

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
        client=client, overwrite=overwrite, polygons=polygons, corners=corners, damaged=damaged, skip=_between(model.card),
        taken=set(map(str, predictions.children)),
    )  # fmt: skip
    for source, node in predictions.children.items():
        rows.append(
            _export_scene(
                source, node.to_dataset(), folder, predictions.attrs["colours"], model.card, polygons, corners
            )
        )
    if not planned:
        return many.write_report(pd.DataFrame(rows, columns=many.COLUMNS), folder)
    return many.predict_planned(model, planned, before=rows)


def _between(card: dict[str, Any]) -> tuple[str, ...]:
    """Classes of what lies between objects, of which nobody wants outlines: those that footprints bring, by their names."""
    names = {footprints.BACKGROUND["name"], footprints.BORDER["name"]}
    return tuple(c["name"] for c in card["classes"] if c["name"] in names)


def _export_scene(
    source: str, scene: xr.Dataset, folder: Path, colours: list[str], card: dict[str, Any], polygons: float | None,
    corners: str,
) -> dict[str, Any]:  # fmt: skip
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
        row["polygons"] = write_polygons(
            classes, outlines, card["classes"], polygons, corners=corners, skip=_between(card), probability=shares
        )
    return row | {"seconds": time.perf_counter() - started}


def scene_faults(tree: xr.DataTree, deep: bool = False) -> Iterator[str]:
    """What is wrong with predictions of scenes, by the contract at the head of this module.

    Parameters
    ----------
    deep : bool
        Read every row; else the middle one of each scene.
    """
    from geonb.prediction.faults import attribute_faults

    yield from attribute_faults(tree, ("colours",))
    wanted = {"probability": ("model", "class", "y", "x"), "label": ("model", "y", "x")}
    kinds = {"label": "uint8", "truth": "uint8", "split": "int8", "probability": "float16"}
    yield from scenes.scene_faults(tree, wanted, kinds, _value_faults, deep)


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
