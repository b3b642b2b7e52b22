"""Numbers that stand for none: which ones, by what stands beside an array, and where it holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# From here on a number is a fill (netCDF's 9.97e36, the lowest float as ArcGIS and GRASS write it), or was averaged with one.
LARGEST = 1e30


def fills(dtype: np.dtype, attrs: Mapping[str, Any]) -> Iterator[Any]:
    """Numbers that stand for none: those that attributes name, as text too, and NetCDF's own of what was never written.

    The library's default of unsigned numbers and of bytes is their highest, which a bright cloud may have: it does not count.
    """
    from h5netcdf.legacyapi import default_fillvals

    for key in ("_FillValue", "missing_value"):
        for fill in np.ravel(attrs.get(key, [])):
            try:
                yield like(float(fill) if isinstance(fill, str | bytes) else fill, dtype, attrs)
            except ValueError:  # a word
                continue
    own = default_fillvals.get(f"{dtype.kind}{dtype.itemsize}")
    counts = dtype.kind == "i" and dtype.itemsize > 1 and "_FillValue" not in attrs
    if own is not None and (dtype.kind == "f" or counts):
        yield np.asarray(own, dtype)[()]


def holds(values: np.ndarray, number: Any) -> np.ndarray:
    """Where an array holds a number that may have been written in another type."""
    return np.equal(*alike(values, np.asarray(number)[()]))


def alike(values: np.ndarray, number: Any) -> tuple[np.ndarray, Any]:
    """Both in the coarser type of two floats, as one of them was rounded to it: -999.9 in doubles is -999.9000244 in singles."""
    if values.dtype.kind != "f":
        return values, number
    kind = min(values.dtype, number.dtype, key=lambda d: d.itemsize) if number.dtype.kind == "f" else values.dtype
    with np.errstate(over="ignore"):
        return values.astype(kind, copy=False), number.astype(kind)


def like(value: Any, dtype: np.dtype, attrs: Mapping[str, Any]) -> Any:
    """An attribute's number in the type of the data, which NetCDF's classic types could not call unsigned either."""
    value = np.asarray(value).ravel()
    if dtype.kind == "u" and value.dtype.kind == "i" and str(attrs.get("_Unsigned", "")).lower() == "true":
        value = value.astype(dtype.str.replace("u", "i")).view(dtype)
    return value[0]
