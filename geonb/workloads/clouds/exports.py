"""Embeddings as files for a GIS: colours of whole scenes (COG), and a table of the triplets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from affine import Affine
from rasterio.enums import ColorInterp

from geonb.base.files import whole_file
from geonb.dashboards.likeness import Likeness
from geonb.prediction.predictions import open_predictions
from geonb.rasters.cog import TargetGrid, new_cog
from geonb.workloads.clouds.explore import measured, scenes_of
from geonb.workloads.clouds.predict import series_of

if TYPE_CHECKING:
    from geonb.base.run_folder import RunFolder
    from geonb.training.task import Trainable

MAPS = 24  # scenes at most, of each series, that are written for a GIS: the latest


def component_colours(predictions: xr.DataTree, name: str) -> xr.DataArray:
    """Three principal components of a series' embeddings as red, green, blue: (time, y, x, rgb) float32 0-1, NaN where none.

    Fitted over all scenes of all series, each component stretched between its 2 and 98 % points, so that a colour means one
    thing everywhere and at all times, as on the map of notebook 06. The share of the variance is the attribute ``explained``.
    """
    like, data = Likeness(scenes_of(predictions), measured(predictions)), predictions[name].to_dataset()
    vectors, valid = data["embedding"].to_numpy(), data["valid"].to_numpy()
    points = (vectors[valid] - like.mean) @ like.components[:3].T
    low, high = like.limits[: points.shape[1]].T
    scaled = np.clip((points - low) / np.maximum(high - low, 1e-9), 0, 1)
    colours = np.full((*valid.shape, 3), np.nan, np.float32)
    colours[valid] = np.pad(scaled, ((0, 0), (0, 3 - scaled.shape[1])), constant_values=0.5)
    attrs = {"long_name": "principal components of the embedding", "explained": like.held[:3].round(3).tolist()}
    coords = {k: data[k] for k in ("time", "y", "x", "spatial_ref")}
    return xr.DataArray(colours, coords, ("time", "y", "x", "rgb"), attrs=attrs, name="colours")


def export_embeddings(run: RunFolder, model: Trainable, rasters: str | None = None, **_: Any) -> pd.DataFrame:
    """Write what a GIS can show of the embeddings: three components as RGB GeoTIFF a scene, and a table of the triplets.

    Parameters
    ----------
    rasters : None
        Not used: scenes come with the store.

    Returns
    -------
    DataFrame, a row a file, also as ``maps/report.csv``
    """
    folder = Path(run.path) / "maps"
    folder.mkdir(parents=True, exist_ok=True)
    predictions, rows = open_predictions(run.predictions), []
    for name in series_of(predictions):
        colours = component_colours(predictions, name)
        first = max(0, colours.sizes["time"] - MAPS)
        for t in range(first, colours.sizes["time"]):
            rows.append(_write_rgb(colours.isel(time=t), folder, name, t))
    table = predictions["triplets"].to_dataset().sel(model="network", drop=True)
    columns = ("split", "source", "time", "lon", "lat", "near", "far")
    with whole_file(folder / "triplets.csv") as partial:
        table[[name for name in columns if name in table]].to_dataframe().to_csv(partial, index_label="row")
    rows.append({"file": "triplets.csv", "state": "done", "reason": "distances of the network, a row a triplet"})
    report = pd.DataFrame(rows)
    with whole_file(folder / "report.csv") as partial:
        report.to_csv(partial, index=False)
    return report


def _write_rgb(colours: xr.DataArray, folder: Path, name: str, t: int) -> dict[str, Any]:
    time = pd.Timestamp(colours["time"].item())
    label = f"{time:%Y%m%dT%H%M%S}" if not pd.isna(time) else f"{t:04d}"
    file = folder / f"{name}_{label}_components.tif"
    known = np.isfinite(colours.to_numpy()).all(axis=-1)
    planes = np.where(known[..., None], np.nan_to_num(colours.to_numpy()) * 255, 0).round().astype(np.uint8)
    place = colours["spatial_ref"].attrs
    transform = Affine.from_gdal(*map(float, place["GeoTransform"].split()))
    with new_cog(file, TargetGrid(place["crs_wkt"], transform, known.shape), 4, nodata=None) as target:
        target.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        target.write(np.moveaxis(planes, -1, 0), [1, 2, 3])
        target.write(known.astype(np.uint8) * 255, 4)
        target.update_tags(title=f"Embedding of {name}", time=str(time), components=str(colours.attrs["explained"]))
    reason = "three components of the embedding as red, green, blue"
    return {"file": file.name, "state": "done", "reason": reason, "time": str(time)}
