"""Small files of scenes for tests: CF NetCDF on any grid, and files as the GOES imager's ground system writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

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


def textured(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Whole numbers 10-250, none of them alike over large parts."""
    return np.random.default_rng(seed).integers(10, 251, shape)


def write_cf(
    path: Path,
    values: np.ndarray,
    times=None,
    crs="EPSG:32620",
    west=500_000.0,
    north=1_600_000.0,
    pixel=1000.0,
    **attrs,
) -> Path:
    """Write vis (time, y, x) or (y, x), north up, with a CF grid mapping; attrs go to the variable."""
    import pyproj

    dims = ("time", "y", "x")[-values.ndim :]
    rows, columns = values.shape[-2:]
    data = xr.Dataset(
        {
            "vis": (dims, values, {"grid_mapping": "crs"} | attrs),
            "crs": ((), 0, pyproj.CRS.from_user_input(crs).to_cf()),
        },
        {"y": north - pixel * (np.arange(rows) + 0.5), "x": west + pixel * (np.arange(columns) + 0.5)},
    )
    if times is not None:
        data = data.assign_coords(time=("time", pd.to_datetime(times)) if values.ndim == 3 else pd.Timestamp(times))
    data.to_netcdf(path, engine="h5netcdf")
    return path


def write_plain(path: Path, values: np.ndarray, attrs: dict, **more: tuple) -> Path:
    """Write tb (time, lat, lon) or (lat, lon) as a hand-made file is: attributes of any type; more variables as (dims, values, attrs)."""
    import h5netcdf

    dims = ("time", "lat", "lon")[-values.ndim :]
    rows, columns = values.shape[-2:]
    found = {
        "lat": (("lat",), 20 - 0.05 * np.arange(rows), {"units": "degrees_north"}),
        "lon": (("lon",), -60 + 0.05 * np.arange(columns), {"units": "degrees_east"}),
        "tb": (dims, values, {"units": "K"} | attrs),
    }
    with h5netcdf.File(path, "w") as file:
        file.dimensions = dict(zip(dims, values.shape, strict=True))
        for name, (over, numbers, about) in (found | more).items():
            variable = file.create_variable(name, over, data=numbers)
            for key, value in about.items():
                variable.attrs[key] = value
    return path


def scan_angles(shape: tuple[int, int], factor: float = 1, corner=(-0.012, 0.052)) -> tuple[np.ndarray, np.ndarray]:
    """y (rows,) from the north and x (columns,), rad: pixels of `factor` x 2 km right and below a corner (x, y)."""
    step = STEP_RAD * factor
    return corner[1] - step * (np.arange(shape[0]) + 0.5), corner[0] + step * (np.arange(shape[1]) + 0.5)


def write_abi(
    folder: Path,
    band: int,
    counts: np.ndarray,
    start: str = "2020-04-01T12:00:16.4",
    product: str = "L1b-Rad",
    quality: np.ndarray | None = None,
    corner=(-0.012, 0.052),
    sector: str = "F",
    scale=(0.5, -2.0),
) -> Path:
    """Write a file of one channel as the Product User's Guide describes: packed, unsigned by attribute, fill 1023."""
    y, x = scan_angles(counts.shape, {2: 0.25, 1: 0.5, 3: 0.5, 5: 0.5}.get(band, 1), corner)
    time = pd.Timestamp(start)
    name = "Rad" if product == "L1b-Rad" else "CMI"
    packed = {
        "_FillValue": np.int16(1023), "_Unsigned": "true", "valid_range": np.array([0, 1022], np.int16),
        "scale_factor": np.float32(scale[0]), "add_offset": np.float32(scale[1]),
        "grid_mapping": "goes_imager_projection", "units": "W m-2 sr-1 um-1",
    }  # fmt: skip
    half = abs(y[1] - y[0])
    dqf = np.zeros(counts.shape, np.int8) if quality is None else quality.astype(np.int8)
    data = xr.Dataset(
        {
            name: (("y", "x"), counts.astype(np.int16), packed),
            "DQF": (("y", "x"), dqf, {"flag_values": np.arange(4, dtype=np.int8), "flag_meanings": "good less out none"}),
            "goes_imager_projection": ((), 0, VIEW | {"inverse_flattening": 298.2572221}),
            "band_id": ("band", np.array([band], np.int8)),
            "kappa0": ((), np.float32(0.0019)),
            "planck_fk1": ((), np.float32(10803.3)), "planck_fk2": ((), np.float32(1392.74)),
            "planck_bc1": ((), np.float32(0.0755)), "planck_bc2": ((), np.float32(0.99975)),
            "t": ((), time.timestamp() - pd.Timestamp("2000-01-01 12:00").timestamp(),
                  {"units": "seconds since 2000-01-01 12:00:00", "standard_name": "time"}),
        },
        {
            # as packed as in the real ones, y falling
            "y": ("y", np.arange(len(y), dtype=np.int16),
                  {"scale_factor": -half, "add_offset": y[0], "units": "rad", "axis": "Y"}),
            "x": ("x", np.arange(len(x), dtype=np.int16), {"scale_factor": half, "add_offset": x[0], "units": "rad", "axis": "X"}),
        },
        {"platform_ID": "G16", "scene_id": {"F": "Full Disk", "M1": "Mesoscale", "M2": "Mesoscale"}[sector],
         "instrument_type": "GOES-R Series Advanced Baseline Imager", "institution": "DOC/NOAA/NESDIS",
         "time_coverage_start": f"{start}Z"},
    )  # fmt: skip
    stamp = f"{time:%Y%j%H%M%S}{time.microsecond // 100_000}"
    path = folder / f"OR_ABI-{product}{sector}-M6C{band:02d}_G16_s{stamp}_e{stamp}_c{stamp}.nc"
    data.attrs["dataset_name"] = path.name
    data.to_netcdf(path, engine="h5netcdf")
    return path
