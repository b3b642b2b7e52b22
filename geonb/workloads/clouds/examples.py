"""Scenes of clouds that are ready to use: a real one that cartopy carries, and a simulated sequence that says it is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files, project
from geonb.workloads.clouds.scenes import Settings, read_files
from geonb.workloads.clouds.series import Scenes

if TYPE_CHECKING:
    import xarray as xr

MODIS_FILE = "Miriam.A2012270.2050.2km.jpg"
# outer edges as in cartopy's gallery, "Adding an image to a map"
MODIS_BOUNDS = "-120.67660000000001,13.2301484511245,-106.32104523100001,30.766899999999502"


def modis_scene(**settings: Any) -> Scenes:
    """Hurricane Miriam over the Pacific off Mexico, 26 September 2012, in true colour: the example of `clouds`.

    750 x 975 pixels of about 2 km, Aqua MODIS, as cartopy carries it; brought from degrees to a local metric grid.

    Parameters
    ----------
    **settings
        As for `geonb.workloads.clouds.dataset.open_scenes`.

    Returns
    -------
    Scenes; where cartopy came without the image, `simulated_scenes`, after a warning
    """
    import cartopy

    path = Path(cartopy.config["repo_data_dir"]) / "raster" / "sample" / MODIS_FILE
    if not path.is_file():
        warnings.warn(
            f"This cartopy does not carry the MODIS scene ({path}). Simulated scenes are used instead, and every result "
            "says so. Install cartopy from PyPI, or give files of your own.",
            stacklevel=2,
        )
        return simulated_scenes(**settings)
    found = read_files(str(path), Settings(**settings | {"bounds": MODIS_BOUNDS}))
    return replace(
        found,
        series=tuple(replace(s, name="miriam") for s in found.series),
        name="modis-miriam",
        title="Clouds of Hurricane Miriam from MODIS, 26 September 2012",
        attribution="Aqua MODIS, true colour, NASA (public domain), as carried by the Python package cartopy",
        notes=(
            *(note for note in found.notes if "names of the files" not in note),
            "Coastlines and borders are drawn into the image itself: tiles that hold them show them, and so may their embedding.",
            "One scene only: training and test tiles are parted by area, not by time.",
        ),
    )


REGIMES = ("streets", "cells", "veil")
# where a geostationary imager over 75 degrees west, of GOES-R's kind, sees the trade winds east of the Caribbean
VIEW = {
    "grid_mapping_name": "geostationary",
    "perspective_point_height": 35786023.0,
    "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.31414,
    "latitude_of_projection_origin": 0.0,
    "longitude_of_projection_origin": -75.0,
    "sweep_angle_axis": "x",
}
STEP_RAD = 56e-6  # 2 km below the satellite
PLACE = (-57.7, 13.2)  # longitude, latitude of the middle


def simulated_scenes(
    folder: Path | None = None,
    shape: tuple[int, int] = (288, 320),
    days: int = 6,
    frames: int = 2,
    seed: int = 0,
    **settings: Any,
) -> Scenes:
    """Made-up clouds of three kinds that drift with the wind, on several days, as a geostationary satellite would see them.

    Parameters
    ----------
    folder : Path, optional
        Where the NetCDF file is kept; data/examples in the project by default.
    shape : tuple = (rows, columns)
    days : int
        Each with clouds and a wind of its own.
    frames : int
        Scenes a day, 10 minutes apart.
    **settings
        As for `geonb.workloads.clouds.dataset.open_scenes`.

    Returns
    -------
    Scenes; the variable ``regime`` of their one file tells the kind of each pixel
    """
    name = f"simulated-clouds-{shape[0]}x{shape[1]}-{days}x{frames}-{seed}.nc"
    path = (Path(folder) if folder else project.examples_folder()) / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole_file(path) as partial:
            simulate(shape, days, frames, seed).to_netcdf(partial, engine="h5netcdf")
    found = read_files(str(path), Settings(**settings))
    return replace(
        found,
        series=tuple(replace(s, name="simulated") for s in found.series),
        name="simulated-clouds",
        title="Simulated clouds of three kinds",
        attribution="simulated by geonb",
    )


def simulate(shape: tuple[int, int], days: int, frames: int, seed: int) -> xr.Dataset:
    """Draw a sequence of scenes with known kinds of cloud.

    Streets are long and narrow along the day's wind, cells are rings, a veil is broad and smooth; all three have the same
    mean brightness and spread, so that only their pattern tells them apart.

    Returns
    -------
    Dataset on a geostationary grid by CF, coordinates in radians: visible (time, y, x), reflectance packed as int16; regime
    (time, y, x), place in REGIMES
    """
    import pandas as pd
    import xarray as xr

    rng = np.random.default_rng(seed)
    times, visible, regime = [], [], []
    for day in range(days):
        wind = rng.uniform(0, np.pi)  # direction from which it blows, counted from the rows
        step = np.round(4 * np.array([np.sin(wind), np.cos(wind)])).astype(int)  # px a frame
        clouds, kinds = _day(rng, shape, wind)
        for frame in range(frames):
            times.append(pd.Timestamp("2020-02-01 14:00") + pd.Timedelta(days=3 * day, minutes=10 * frame))
            noise = rng.normal(scale=0.01, size=shape)
            visible.append(np.roll(clouds, frame * step, axis=(0, 1)) + noise)
            regime.append(np.roll(kinds, frame * step, axis=(0, 1)))
    y, x = _angles(shape)
    dims = ("time", "y", "x")
    packed = {"dtype": "int16", "scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": -1, "zlib": True}
    data = xr.Dataset(
        {
            "visible": (dims, np.clip(visible, 0, 1.5), {"units": "1", "long_name": "reflectance factor, simulated"}),
            "regime": (dims, np.array(regime, np.int8)),
            "view": ((), 0, VIEW),
        },
        {"time": times, "y": y, "x": x},
        {"title": "Simulated clouds of three kinds", "simulated": 1, "source": "simulated", "Conventions": "CF-1.8"},
    )
    data.regime.attrs = {"flag_values": np.arange(3, dtype=np.int8), "flag_meanings": " ".join(REGIMES)}
    for name in ("x", "y"):
        data[name].attrs = {"standard_name": f"projection_{name}_coordinate", "units": "rad"}
    for name in ("visible", "regime"):
        data[name].attrs["grid_mapping"] = "view"
        data[name].encoding = packed if name == "visible" else {"zlib": True}
    data.time.encoding = {"units": "seconds since 2020-01-01", "dtype": "int64"}
    return data


def _angles(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Scan angles of the pixel centres around PLACE, rad: y (rows,) from the north, x (columns,) from the west."""
    from pyproj import CRS, Transformer

    middle = Transformer.from_crs("OGC:CRS84", CRS.from_cf(VIEW), always_xy=True).transform(*PLACE)
    x0, y0 = (round(m / VIEW["perspective_point_height"] / STEP_RAD) * STEP_RAD for m in middle)
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    return y0 - rows * STEP_RAD, x0 + columns * STEP_RAD


def _day(rng: np.random.Generator, shape: tuple[int, int], wind: float) -> tuple[np.ndarray, np.ndarray]:
    """A day's clouds (reflectance) and the kind of each pixel."""
    ky, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    along, across = kx * np.cos(wind) + ky * np.sin(wind), ky * np.cos(wind) - kx * np.sin(wind)
    k = np.hypot(kx, ky)
    streets = np.exp(-(((np.abs(across) - 1 / 9) / 0.02) ** 2) - (along / 0.012) ** 2)
    ring = np.exp(-(((k - 1 / 22) / 0.012) ** 2))
    veil = 1 / (1 + (k / 0.02) ** 3)
    patterns = [_shaped(rng, streets), -np.abs(_shaped(rng, ring)), _shaped(rng, veil)]
    levels = np.stack([0.45 + 0.12 * (p - p.mean()) / p.std() for p in patterns])
    # as large an area of each kind, in patches of some 100 px
    place = _shaped(rng, np.exp(-((k / 0.006) ** 2)))
    kinds = (place.ravel().argsort().argsort() * len(REGIMES) // place.size).reshape(shape)
    return np.take_along_axis(levels, kinds[None], axis=0)[0], kinds


def _shaped(rng: np.random.Generator, amplitude: np.ndarray) -> np.ndarray:
    """A random field (y, x) with the given amplitude at each frequency; its edges join."""
    return np.fft.ifft2(np.fft.fft2(rng.normal(size=amplitude.shape)) * amplitude).real
