"""Scenes as everything that follows reads them: series on one grid each, in order of time; pixels when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geonb.workloads.clouds import channels

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS

    from geonb.workloads.clouds.channels import Choice
    from geonb.workloads.clouds.frames import Frame
    from geonb.workloads.clouds.grids import Grid

PATCH = 64  # px: side of a tile where nobody says


@dataclass(frozen=True)
class Series:
    """Scenes on one grid, in order of time.

    Attributes
    ----------
    name : str
        Slug, unique among the series: their group in the store.
    times : DatetimeIndex (time,), UTC without a zone; NaT where unknown, these last
    shape : tuple = (rows, columns)
    transform : Affine, north up
    crs : rasterio CRS, or None of pictures that came without a place
    channels : tuple of str
    dtype : str
    labels : tuple of str
        One a scene, for people: its time, or the stem of its file.
    files : tuple of tuple of Path
        The files of each scene.
    """

    name: str
    times: pd.DatetimeIndex
    shape: tuple[int, int]
    transform: Affine
    crs: CRS | None
    channels: tuple[str, ...]
    dtype: str
    labels: tuple[str, ...]
    files: tuple[tuple[Path, ...], ...]
    frames: tuple[Frame, ...] = field(repr=False, compare=False)
    choice: Choice = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def grid(self) -> Grid:
        """(crs, transform, shape)"""
        return self.crs, self.transform, self.shape

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Read one scene.

        Returns
        -------
        inputs : ndarray (channel, y, x) of `dtype`; 0 where not valid
        valid : ndarray (y, x) of bool
        """
        return channels.render(self.frames[i], self.choice, self.grid)[1:]


@dataclass(frozen=True)
class Scenes:
    """Series of scenes with the same channels: what notebook 01 hands to the store.

    Attributes
    ----------
    channels : tuple of {"name", "units", optional "wavelength_um"}
    left_out : tuple of str
        "file: why" of what was skipped.
    files : list of Path
        Everything that is read, for hashing.
    recipe : dict
        All that the pixels depend on besides the files; fit for JSON.
    given : DataFrame, optional
        Triplets that came with the scenes, a row each, of :mod:`geonb.workloads.clouds.pictures`; None: they are to be drawn.
    """

    series: tuple[Series, ...]
    channels: tuple[dict, ...]
    title: str
    name: str
    attribution: str
    simulated: bool
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    files: list[Path]
    recipe: dict
    given: pd.DataFrame | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return sum(map(len, self.series))
