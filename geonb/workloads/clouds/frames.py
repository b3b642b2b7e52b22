"""What scenes are made of: layers of files with their grid, frames of layers with their time.

Only headers are read for them; pixels when a layer's `load` is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geonb.base import times

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS


@dataclass(frozen=True)
class FrameLayer:
    """Channels of one file on one grid, of one time.

    ``load(rows, columns) -> inputs (channel, y, x) of dtype, valid (y, x) bool`` reads a rectangle; rows run from the north.
    """

    file: Path
    channels: tuple[dict, ...]  # {"name", "units", optional "wavelength_um"}
    crs: CRS
    transform: Affine
    shape: tuple[int, int]
    dtype: str
    load: Callable[[slice, slice], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Frame:
    """A scene as its files hold it: layers of one time, maybe on several grids.

    key says which frames of other files are the same scene (those of equal key, at about one time); None: none is.
    """

    layers: tuple[FrameLayer, ...]
    time: pd.Timestamp  # UTC, or NaT
    label: str
    key: str | None = None
    timed_by: str = "file"  # or "name"
    title: str = ""
    attribution: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()
    others: tuple[FrameLayer, ...] = ()  # coordinates, angles, flags: channels only if they are asked for by name

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from, each once."""
        return tuple(dict.fromkeys(layer.file for layer in (*self.layers, *self.others)))

    @property
    def channels(self) -> tuple[dict, ...]:
        """The channels of all layers."""
        return tuple(c for layer in self.layers for c in layer.channels)


# longer patterns before those that are part of them
_TIMES = (
    (r"(?<![A-Za-z0-9])s(\d{4})(\d{3})(\d{2})(\d{2})(\d{2})\d?(?!\d)", "ordinal"),  # GOES: _s20200921200164
    (r"(?<![A-Za-z0-9])A(\d{4})(\d{3})[._](\d{2})(\d{2})(\d{2})?(?!\d)", "ordinal"),  # MODIS: A2012270.2050
    (r"(?<!\d)(\d{4})-(\d{2})-(\d{2})[T_ -]?(\d{2})[:_h-]?(\d{2})(?:[:_-]?(\d{2}))?(?!\d)", "calendar"),
    (r"(?<!\d)(\d{4})(\d{2})(\d{2})[T_ -]?(\d{2}):?(\d{2})(?::?(\d{2}))?(?!\d)", "calendar"),
    (r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)", "calendar"),
    (r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)", "calendar"),
)


def time_of_name(name: str) -> pd.Timestamp:
    """Time that a file's name tells, UTC; NaT if none.

    >>> time_of_name("OR_ABI-L2-CMIPF-M6C13_G16_s20200921200164_e20200921209484_c20200921209570.nc")
    Timestamp('2020-04-01 12:00:16')
    >>> time_of_name("Miriam.A2012270.2050.2km.jpg")
    Timestamp('2012-09-26 20:50:00')
    """
    for pattern, kind in _TIMES:
        for match in re.finditer(pattern, name):
            parts = [int(p) for p in match.groups(default="0")]
            year, rest = parts[0], parts[1:]
            try:
                if kind == "ordinal":
                    day = pd.Timestamp(year, 1, 1) + pd.Timedelta(days=rest[0] - 1)
                    if day.year != year:
                        continue
                    time = pd.Timestamp(day.year, day.month, day.day, *rest[1:])
                else:
                    time = pd.Timestamp(year, *rest)
            except ValueError:  # no such month, day, hour
                continue
            if 1950 <= time.year < 2100:
                return time
    return pd.NaT


def time_given(stem: str, given: str) -> pd.Timestamp:
    """Time of a file as somebody says it, UTC: a date, or the form of one in its name, as strptime has it.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> time_given("img_01042020", "%d%m%Y")
    Timestamp('2020-04-01 00:00:00')
    """
    form = "%" in given
    if form and not times.YEAR.search(given):
        raise ValueError(f"time = {given!r} tells no year: give the form of a whole date, as %d%m%Y")
    # where a number in front of it is no date of these centuries, the next one may be
    rest = [stem[match.start() :] for match in re.finditer(r"(?<!\d)\w", stem)]
    found = times.formed(rest, given, exact=False).dropna() if form else [times.stamp(given)]
    time = found[0] if len(found) else pd.NaT
    if pd.isna(time):
        raise ValueError(
            f"time = {given!r} is {f'no form of a date in {stem}' if form else 'no date'}. Give a date, as 2020-04-01T12:00, or "
            "the form of the one in the file's name, as %d%m%Y"
        )
    return time
