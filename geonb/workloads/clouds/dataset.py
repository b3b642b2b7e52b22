"""Scenes of any kind, opened: what notebook 01 hands to the sample store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.rasters import grids, images
from geonb.workloads.clouds import examples, files, pictures
from geonb.workloads.clouds.scenes import Settings, read_files
from geonb.workloads.clouds.series import Scenes, Series

if TYPE_CHECKING:
    import xarray as xr


def open_scenes(
    spec: str | None,
    *,
    channels: str | None = None,
    bounds: str | None = None,
    region: str | None = None,
    pixel_m: float | None = None,
    patch: int | None = None,
    min_valid: float = 0.5,
    faults: str = "skip",
) -> Scenes:
    """Find scenes, read each once, and put those that are fit into series.

    Parameters
    ----------
    spec : str, optional
        NetCDF, Zarr, GeoTIFF or plain images: files, globs or folders, comma separated. Files of GOES ABI with one channel
        each become scenes of all their channels. What a file says wrongly or not at all is said behind its name:
        ``file.nc:longitude_of_projection_origin=9.5`` of its grid; ``file.nc:time=hours since 1970-01-01``, or a form as
        ``time=%Y%m%d%H``, a variable or, of one scene, a date; ``file.tif:nodata=0``. A folder of triplets as pictures
        (:mod:`geonb.workloads.clouds.triplet_files`) is taken as it is. None is the MODIS scene of
        `geonb.workloads.clouds.examples`.
    channels : str, optional
        Names, ``true-colour`` or a function; see `geonb.workloads.clouds.channels.choose`. None takes a scene's own, without
        coordinates, angles, flags and others to which CF gives a role beside them: those are taken if they are named.
    bounds : str, degrees
        ``W,S,E,N`` of the outer edges of plain images that do not say where they lie.
    region : str, degrees
        ``box:W,S,E,N``: the part of the scenes to use.
    pixel_m : float, m
        Resample each scene once to a local equal-area grid of such pixels. None keeps the scenes' own grid, if it is not in
        degrees: that has no pixels of one size, and is brought to a local grid at its own resolution.
    patch : int, px, optional
        Side of a tile: smaller scenes are left out. None: 64, or the side of triplets that came as pictures.
    min_valid : float
        Share of valid pixels [0-1] that a scene needs.
    faults : str
        "skip" leaves out what is unfit and lists it in `left_out`; "raise" tells all of it in one error.

    Returns
    -------
    Scenes

    Raises
    ------
    ValueError
        No file of that name; a setting that cannot be used; no scene remains; with faults="raise", anything unfit.
    """
    if spec is not None and (folder := pictures.folder_of(spec)):
        return pictures.open_pictures(folder, patch, channels=channels, bounds=bounds, region=region, pixel_m=pixel_m)
    settings = Settings(channels, bounds, region, pixel_m, patch, min_valid, faults)
    return examples.modis_scene(**vars(settings)) if spec is None else read_files(spec, settings)


def check_settings(values: dict[str, Any], root: Path) -> list[str]:
    """What cannot be right together, as far as the parameters alone tell: every fault.

    Parameters
    ----------
    values : dict
        Parameters of all notebooks, by name; None where the workload has a default.
    root : Path
        Where files are looked for from.
    """
    network, patch, method = (values.get(name) for name in ("network", "patch", "method"))
    if not network:
        return []
    from geonb.embeddings.planes import parse_method
    from geonb.workloads.clouds.networks import check_network, check_size

    faults = []
    try:
        if patch:
            check_size(network, 3, patch)  # a backbone takes any number of channels
    except ValueError as error:
        faults.append(str(error))
    dims = check_network(network)[1]["dims"]
    if over := [dim for dim in parse_method(method or "pca")[1] if dim >= dims]:
        faults.append(
            f"method = {method!r}: network = {network!r} gives {dims} dimensions, counted from 0: there is no {over[0]}"
        )
    return faults


def scene_files(spec: str, root: Path) -> list[Path]:
    """The files that a parameter's value names, for the checks before anything runs.

    Raises
    ------
    ValueError
        Listing every part at which there is nothing.
    """
    return files.all_files(path for path, _ in files.find(spec, [Path(root)]))


def summarise(scenes: Scenes) -> pd.DataFrame:
    """A row a series: how many scenes, from when to when, on which grid.

    Returns
    -------
    DataFrame (series) with scenes, first, last, rows, columns, pixel [m], channels, CRS
    """
    rows = {}
    for series in scenes.series:
        known = series.times.dropna()
        rows[series.name] = {
            "scenes": len(series),
            "first": known.min() if len(known) else pd.NaT,
            "last": known.max() if len(known) else pd.NaT,
            "rows": series.shape[0],
            "columns": series.shape[1],
            "pixel [m]": round(grids.pixel_sides_m(*series.grid)[0], 1) if series.crs is not None else np.nan,
            "channels": ", ".join(series.channels),
            "CRS": grids.crs_name(series.crs) if series.crs is not None else "none",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("series")


def to_xarray(series: Series, i: int) -> xr.Dataset:
    """One scene, to look at.

    Returns
    -------
    Dataset with inputs (channel, y, x), valid (y, x), x, y, time and the CRS
    """
    inputs, valid = series.read(i)
    scene = images.frame(inputs, valid, series.transform, series.crs, series.channels)
    return scene.assign_coords(time=series.times[i])
