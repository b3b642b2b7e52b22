"""Numbers out of NetCDF and Zarr: rectangles of a variable, unpacked as CF says, with where there are any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.base import fills
from geonb.base.conventions import short
from geonb.workloads.clouds import goes

_LOCK = RLock()  # HDF5 is not made for several threads


@dataclass(frozen=True)
class Variable:
    """One channel in a file: which part of which variable, and how its numbers are to be read."""

    name: str
    dims: tuple[str, ...]  # as in the file, y and x among them
    select: tuple[tuple[str, int], ...]  # places along the dims that are not y, x or time
    channel: dict
    attrs: dict = field(hash=False)
    quality: tuple[str, tuple] | None = None  # variable of quality flags and its dims
    calibration: tuple | None = None  # see goes.calibrate


def engine(path: Path) -> str:
    """What xarray opens a file or store with, by its first bytes; empty where it is none of NetCDF and Zarr."""
    if path.is_dir():
        return "zarr"
    with path.open("rb") as file:
        start = file.read(4)
    return {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy", b"CDF\x05": "scipy"}.get(start, "")


@contextmanager
def opened(path: Path) -> Iterator[xr.Dataset]:
    """A file or store as it is: nothing decoded, nothing loaded.

    Raises
    ------
    ValueError
        If it cannot be opened.
    """
    kind = engine(path) or "h5netcdf"
    with _LOCK:
        try:
            options = {"phony_dims": "access"} if kind == "h5netcdf" else None
            data = xr.open_dataset(path, engine=kind, decode_cf=False, backend_kwargs=options)
        except Exception as error:  # each reader has its own kinds
            raise ValueError(f"it cannot be opened as NetCDF or Zarr, or is cut short ({short(error)})") from None
        with data:
            yield data


def plain(value: Any) -> Any:
    """An attribute as a number or text of Python's own."""
    if isinstance(value, np.ndarray):
        return value.item() if value.size == 1 else value.tolist()
    return value.item() if isinstance(value, np.generic) else value.decode() if isinstance(value, bytes) else value


def dtype(data: xr.Dataset, variable: Variable) -> np.dtype:
    """Type that a channel's numbers come in: as in the file, but float32 where they are unpacked, and for float64."""
    if variable.calibration or "scale_factor" in variable.attrs or "add_offset" in variable.attrs:
        return np.dtype(np.float32)
    own = _unsigned(np.empty(0, data[variable.name].dtype), variable.attrs).dtype
    return np.dtype(np.float32) if own == np.float64 else own


def _unsigned(raw: np.ndarray, attrs: dict) -> np.ndarray:
    """Whole numbers that NetCDF's classic types could not call unsigned."""
    if raw.dtype.kind == "i" and str(attrs.get("_Unsigned", "")).lower() == "true":
        return raw.view(raw.dtype.str.replace("i", "u"))
    return raw.astype(raw.dtype.newbyteorder("="), copy=False)


def load(
    path: Path,
    variable: Variable,
    dims: tuple[str, str],
    place: tuple[str, int] | None,
    turned: tuple[bool, bool],
    shape: tuple[int, int],
    rows: slice,
    columns: slice,
) -> tuple[np.ndarray, np.ndarray]:
    """Read a rectangle of a channel at one time, rows from the north and columns from the west."""
    at: dict[str, int | slice] = dict([*variable.select, *([place] if place else [])])
    for dim, turn, length, part in zip(dims, turned, shape, (rows, columns), strict=True):
        at[dim] = slice(length - part.stop, length - part.start) if turn else part
    wanted = [(variable.name, variable.dims), *([variable.quality] if variable.quality else [])]
    try:
        raw, *flags = _planes(path, wanted, at, dims)
    except (OSError, RuntimeError, KeyError) as error:  # HDF5 finds damage when it comes to it
        raise ValueError(f"{variable.name} cannot be read: it is damaged or cut short ({short(error)})") from None
    values, valid = decode(raw, variable.attrs)
    if variable.calibration:
        values, valid = goes.calibrate(values, valid, variable.calibration)
    for flag in flags:
        valid = valid & (flag != goes.NO_VALUE)
    upright = tuple(slice(None, None, -1) if turn else slice(None) for turn in turned)
    kind = np.float32 if values.dtype == np.float64 else values.dtype
    return np.where(valid, values, 0).astype(kind)[upright][None], valid[upright].copy()


def _planes(
    path: Path, wanted: list[tuple[str, tuple]], at: dict[str, int | slice], order: tuple[str, str]
) -> list[np.ndarray]:
    """Rectangles (y, x) of variables as they are in the file."""
    if engine(path) in ("zarr", "scipy"):
        with opened(path) as data:
            return [data[n].isel(at, missing_dims="ignore").transpose(*order).values for n, _ in wanted]
    import h5py

    planes = []
    with _LOCK, h5py.File(path, "r") as file:  # many times faster than to look at every variable again
        for name, dims in wanted:
            plane = file[name][tuple(at[d] for d in dims)]
            left = [d for d in dims if d in order]
            planes.append(plane if left == list(order) else plane.T)
    return planes


def decode(raw: np.ndarray, attrs: dict) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as CF packs them -> values and where there are any.

    _FillValue, missing_value and what lies outside of valid_range (valid_min, valid_max) count in packed units and are not
    valid; nor is what is not finite, or NetCDF's own fill (9.97e36, -32767 ...). Without scale_factor and add_offset the type stays.
    """
    raw = _unsigned(raw, attrs)
    valid = np.isfinite(raw) if raw.dtype.kind == "f" else np.ones(raw.shape, bool)
    values = raw
    if "scale_factor" in attrs or "add_offset" in attrs:
        scale, offset = (float(plain(attrs.get(k, v))) for k, v in (("scale_factor", 1), ("add_offset", 0)))
        values = (raw * scale + offset).astype(np.float32)
    for fill in fills.fills(raw.dtype, attrs):
        packed = raw.dtype.kind == "f" or fill % 1 == 0  # whole numbers cannot be 9999.9, but what they unpack to can
        valid &= ~fills.holds(raw if packed else values, fill)
    if "nodata" in attrs:  # of somebody who saw the values
        valid &= ~fills.holds(values, attrs["nodata"])
    for limit, outside in zip(_limits(attrs), (np.less, np.greater), strict=True):
        if limit is None:
            continue
        if raw.dtype.kind in "iu" and np.asarray(limit).dtype.kind == "f":  # of the unpacked type, so in its units
            valid &= ~outside(*fills.alike(values, limit))
        else:
            valid &= ~outside(*fills.alike(raw, fills.like(limit, raw.dtype, attrs)))
    return values, valid


def _limits(attrs: dict) -> tuple[Any, Any]:
    """The least and the greatest valid number, None where there is none.

    Raises
    ------
    ValueError
        Texts that are no numbers, or a range of other than two: names the attribute.
    """
    limits = [_numbers(attrs, key, 1)[0] if key in attrs else None for key in ("valid_min", "valid_max")]
    low, high = _numbers(attrs, "valid_range", 2) if "valid_range" in attrs else limits
    return low, high


def _numbers(attrs: dict, key: str, count: int) -> np.ndarray:
    told = plain(attrs[key])
    numbers = np.ravel(attrs[key]) if not isinstance(told, str) else np.array(told.replace(",", " ").split())
    try:
        numbers = numbers if numbers.dtype.kind in "iuf" else pd.to_numeric(numbers)
    except ValueError:
        numbers = numbers[:0]
    if len(numbers) != count:
        raise ValueError(
            f"its attribute {key} = {told!r} is not {'a number' if count == 1 else f'{count} numbers'}: set it right in the file"
        )
    return numbers
