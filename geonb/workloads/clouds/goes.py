"""The Advanced Baseline Imager of GOES-R: radiances to reflectance and temperature, channels of one scan, true colour.

Read by what is in the files, not by their names: L1b-Rad (one channel a file), L2 CMIP (one) and MCMIP (all sixteen). The
formulas are those of the GOES-R Product Definition and User's Guide, volume 3 (L1b) and 5 (L2).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import xarray as xr

    from geonb.workloads.clouds.frames import Frame

# central wavelengths, micrometres (PUG volume 3, table of ABI bands)
WAVELENGTHS_UM = (
    *(0.47, 0.64, 0.865, 1.378, 1.61, 2.25, 3.90, 6.185),
    *(6.95, 7.34, 8.50, 9.61, 10.35, 11.20, 12.30, 13.30),
)
REFLECTIVE = 6  # bands 1 to 6 see sunlight, the others warmth
NO_VALUE = 3  # quality flag DQF of a pixel without one; out of range and less certain ones are kept: bright cloud is among them
SAME_SCAN_S = 15  # files of one scan begin within this; the fastest sector comes again after 30 s
TRUE_COLOUR = ("C01", "C02", "C03")
GAMMA = 2.2


def channel(data: xr.Dataset, name: str) -> dict | None:
    """What a variable of an ABI file holds: ``channel`` (name, units, wavelength_um), ``quality``, ``calibration``.

    Returns
    -------
    dict, or None where it is no variable of ABI; calibration is ("reflectance", kappa0) or ("temperature", fk1, fk2, bc1, bc2)
    """
    match = re.fullmatch(r"Rad|CMI(?:_C(\d\d))?", str(name))
    if not match or (match[1] is None and "band_id" not in data.variables):
        return None
    band = int(match[1]) if match[1] else int(np.ravel(data["band_id"].values)[0])
    units = "1" if band <= REFLECTIVE else "K"
    facts: dict[str, Any] = {
        "channel": {"name": f"C{band:02d}", "units": units, "wavelength_um": WAVELENGTHS_UM[band - 1]},
        "quality": next((q for q in (f"DQF_C{band:02d}", "DQF") if q in data.variables), None),
    }
    if name == "Rad":
        names = ("kappa0",) if band <= REFLECTIVE else ("planck_fk1", "planck_fk2", "planck_bc1", "planck_bc2")
        missing = [n for n in names if n not in data.variables]
        if missing:
            raise ValueError(f"its radiances cannot be calibrated: it has no {', '.join(missing)}")
        constants = tuple(float(np.ravel(data[n].values)[0]) for n in names)
        facts["calibration"] = ("reflectance" if band <= REFLECTIVE else "temperature", *constants)
    return facts


def calibrate(values: np.ndarray, valid: np.ndarray, calibration: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Radiances -> reflectance factor (bands 1-6) or brightness temperature in K (7-16), and where there is one.

    reflectance = kappa0 * L; temperature = (fk2 / ln(fk1 / L + 1) - bc1) / bc2 (PUG volume 3, L1b radiances)
    """
    kind, *constants = calibration
    if kind == "reflectance":
        return (values * np.float32(constants[0])).astype(np.float32), valid
    fk1, fk2, bc1, bc2 = constants
    valid = valid & (values > 0)  # noise around nothing has no temperature
    radiance = np.where(valid, values, 1).astype(np.float64)
    return ((fk2 / np.log(fk1 / radiance + 1) - bc1) / bc2).astype(np.float32), valid


def scene_key(data: xr.Dataset) -> str | None:
    """What files of the same sector of the same satellite have in common; None where it is no ABI file."""
    attrs = data.attrs
    if not {"Rad", "CMI", "CMI_C01"} & set(map(str, data.data_vars)) or "scene_id" not in attrs:
        return None
    kind = "Rad" if "Rad" in data.data_vars else "CMI"
    mesoscale = re.search(r"(?:Rad|CMIP)(M[12])", str(attrs.get("dataset_name", "")))  # both are called Mesoscale
    return f"{attrs.get('platform_ID', '')} {attrs['scene_id']} {kind} {mesoscale[1] if mesoscale else ''}"


def group(frames: list[Frame]) -> list[Frame]:
    """Frames of one scan, each of one channel, as one frame with all of them; others stay as they are.

    Returns
    -------
    list of Frame, each where the first of its files stood
    """
    keyed = [(f.key, f.time, i) for i, f in enumerate(frames) if f.key is not None and not pd.isna(f.time)]
    scans: list[list[int]] = []
    last: dict[str, list[int]] = {}  # of each sector, the scan that is being gathered
    for key, time, i in sorted(keyed):
        scan = last.get(key, [])
        near = bool(scan) and (time - frames[scan[0]].time).total_seconds() <= SAME_SCAN_S
        known = {c["name"] for j in scan for c in frames[j].channels}
        if near and known.isdisjoint(c["name"] for c in frames[i].channels):
            scan.append(i)
        else:
            last[key] = [i]
            scans.append(last[key])
    scan_of = {i: scan for scan in scans for i in scan}
    whole = [scan_of.get(i, [i]) for i in range(len(frames))]
    return [_joined([frames[j] for j in scan]) for i, scan in enumerate(whole) if i == min(scan)]


def _joined(frames: list[Frame]) -> Frame:
    if len(frames) == 1:
        return frames[0]
    layers = sorted((layer for frame in frames for layer in frame.layers), key=lambda layer: layer.channels[0]["name"])
    time = min(frame.time for frame in frames)
    others = tuple(layer for frame in frames for layer in frame.others)
    return replace(frames[0], layers=tuple(layers), others=others, time=time, label=f"{time:%Y-%m-%d %H:%M:%S}")


def true_colour(reflectance: np.ndarray) -> np.ndarray:
    """Blue, red and near infrared -> red, green, blue as a person would see them.

    The imager has no green; 0.45 red + 0.10 near infrared + 0.45 blue stands for it (Bah, Gunshor and Schmit 2018, Earth and
    Space Science 5, 549-558), and a gamma of 2.2 brightens the dark.

    Parameters
    ----------
    reflectance : ndarray (3, y, x): C01, C02, C03; reflectance factor

    Returns
    -------
    ndarray (3, y, x) of uint8: red, green, blue
    """
    blue, red, infrared = np.clip(reflectance, 0, 1)
    colours = np.stack([red, 0.45 * red + 0.10 * infrared + 0.45 * blue, blue])
    return np.round(255 * colours ** (1 / GAMMA)).astype(np.uint8)
