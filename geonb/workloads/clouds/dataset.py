"""Scenes: files of any kind -> series of images in order of time on common grids, with all that is unfit left out and told.

`open_scenes` reads every scene once and keeps none: what follows reads them again one by one, with ``Series.read``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import project
from geonb.rasters import grids, images
from geonb.rasters.grids import crs_name
from geonb.workloads.clouds import channels as clouds_channels
from geonb.workloads.clouds import faults as clouds_faults
from geonb.workloads.clouds import files as clouds_files
from geonb.workloads.clouds import goes
from geonb.workloads.clouds import series as clouds_series

PATCH = 64  # px: side of a tile where nobody says

if TYPE_CHECKING:
    import xarray as xr

    from geonb.workloads.clouds.channels import Choice
    from geonb.workloads.clouds.faults import Left, Look
    from geonb.workloads.clouds.files import Frame
    from geonb.workloads.clouds.series import Grid


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
    transform: Any
    crs: Any
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
        _, inputs, valid = clouds_channels.render(self.frames[i], self.choice, self.grid)
        return inputs, valid


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
        each become scenes of all their channels. ``file.nc:longitude_of_projection_origin=9.5`` sets right what a file says
        wrongly of its grid. A folder of triplets as pictures (:mod:`geonb.workloads.clouds.triplet_files`) is taken as it
        is. None is the MODIS
        scene of `geonb.workloads.clouds.examples`.
    channels : str, optional
        Names, ``true-colour`` or a function; see `geonb.workloads.clouds.channels.choose`. None takes a scene's own.
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
    from geonb.workloads.clouds import pictures as clouds_pictures

    places = list(dict.fromkeys([Path.cwd(), *_checkout()]))
    if spec is not None and (pictures := clouds_pictures.folder_of(spec, places)):
        return clouds_pictures.open_pictures(
            pictures, patch, channels=channels, bounds=bounds, region=region, pixel_m=pixel_m
        )
    patch = PATCH if patch is None else patch
    settings = {"channels": channels, "region": region, "pixel_m": pixel_m, "patch": patch, "min_valid": min_valid}
    if spec is None:
        from geonb.workloads.clouds import examples

        return examples.modis_scene(faults=faults, **settings)
    choice, box = _check(bounds=bounds, faults=faults, **settings)
    found = clouds_files.find(spec, places)
    left_out: list[Left] = []
    frames = _open_all(found, bounds and clouds_series.parse_bounds(bounds), left_out)
    looks = clouds_faults.scan(frames, choice, box, pixel_m, patch, min_valid, left_out)
    looks = clouds_faults.alike(clouds_faults.with_contrast(looks, left_out), left_out)
    notes = list(dict.fromkeys(note for look in looks for note in look.frame.notes))
    grouped = _series(looks, choice, left_out, notes)
    lines = clouds_faults.told(left_out)
    if lines and (faults == "raise" or not grouped):
        head = "No scene remains of" if not grouped else "Scenes are not right in"
        raise ValueError(f"{head} {spec}:\n" + "\n".join(f"  {line}" for line in lines))
    recipe = choice.recipe | {k: v for k, v in settings.items() if k != "channels"} | {"bounds": bounds, "version": 1}
    recipe["grid_mapping"] = {path.name: options for path, options in found if options}
    return _scenes(grouped, looks, tuple(dict.fromkeys(notes)), tuple(lines), recipe)


def _check(
    channels: str | None, bounds: str | None, region: str | None, pixel_m: float | None, patch: int, min_valid: float,
    faults: str,
) -> tuple[Choice, tuple | None]:  # fmt: skip
    """Read the settings; every fault of theirs at once."""
    wrong, made = [], []
    for function, text in (
        (clouds_channels.choose, channels),
        (clouds_series.parse_region, region),
        (lambda b: b and clouds_series.parse_bounds(b), bounds),
    ):
        try:
            made.append(function(text))
        except ValueError as error:
            wrong.append(str(error))
    if pixel_m is not None and not 0 < pixel_m < 1e6:
        wrong.append(f"pixel_m = {pixel_m!r}: give the side of a pixel in metres, above 0, or None")
    if not 0 <= min_valid <= 1:
        wrong.append(f"min_valid = {min_valid!r}: give the share of valid pixels, 0 to 1")
    if patch < 1:
        wrong.append(f"patch = {patch!r}: give the side of a tile in pixels, 1 or more")
    if faults not in ("skip", "raise"):
        wrong.append(f"faults = {faults!r}: give skip or raise")
    if wrong:
        raise ValueError("\n".join(wrong))
    return made[0], made[1]


def _checkout() -> list[Path]:
    try:
        return [project.project_root()]
    except FileNotFoundError:  # geonb as a library, outside a checkout
        return []


def _open_all(found: Iterable[tuple[Path, dict]], bounds: tuple | None, left_out: list[Left]) -> list[Frame]:
    frames = []
    for path, options in found:
        try:
            frames += clouds_files.open_file(path, bounds, options)
        except Exception as error:  # a damaged file may raise anything; the others go on
            left_out.append(clouds_faults.Left(str(path), "", clouds_faults.reason(error, str(path))))
    return goes.group(frames)


def _series(looks: list[Look], choice: Choice, left_out: list[Left], notes: list[str]) -> list[Series]:
    """Scenes of one grid together, in order of time; a second one of the same time is left out."""
    places: list[list[Look]] = []
    for look in looks:
        same = next((p for p in places if grids.same_grid(p[0].grid, look.grid)), None)
        if same is None:
            places.append([look])
        else:
            same.append(look)
    ordered = [_in_time(members, left_out, notes) for members in places]
    names = images.unique([_slug(members) for members in ordered])
    made = []
    for name, members in zip(names, ordered, strict=True):
        crs, transform, shape = members[0].grid
        frames = tuple(look.frame for look in members)
        made.append(
            Series(
                name,
                pd.DatetimeIndex([f.time for f in frames], name="time").as_unit("ns"),
                shape,
                transform,
                crs,
                tuple(c["name"] for c in members[0].channels),
                members[0].dtype,
                tuple(f.label if pd.isna(f.time) else _time_text(f.time) for f in frames),
                tuple(f.files for f in frames),
                frames,
                choice,
            )
        )
    return made


def _time_text(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time.second else f"{time:%Y-%m-%d %H:%M}"


def _in_time(members: list[Look], left_out: list[Left], notes: list[str]) -> list[Look]:
    timed = [look for look in members if not pd.isna(look.frame.time)]
    order = sorted(timed, key=lambda look: (look.frame.time, look.order))
    if [look.order for look in order] != [look.order for look in timed]:
        notes.append("The scenes did not come in order of time; they were sorted.")
    if any(look.frame.timed_by == "name" for look in timed):
        notes.append("Times are those that the names of the files tell.")
    if len(timed) < len(members):
        notes.append(f"{len(members) - len(timed)} scenes have no time: they stand last, in order of their names.")
    kept: list[Look] = []
    for look in order:
        if kept and kept[-1].frame.time == look.frame.time:
            time = _time_text(look.frame.time)
            left_out.append(look.unfit(f"{kept[-1].where} is of the same time, {time}, and place"))
        else:
            kept.append(look)
    return kept + sorted((look for look in members if pd.isna(look.frame.time)), key=lambda look: look.frame.label)


def _slug(members: list[Look]) -> str:
    stem = members[0].frame.files[0].stem
    stems = {f.stem for look in members for f in look.frame.files}
    if len(stems) > 1:
        first, last = min(stems), max(stems)
        common = next((i for i, c in enumerate(first) if i == len(last) or c != last[i]), len(first))
        stem = re.sub(r"[\d._\-sA]*$", "", first[:common]) or stem
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return slug[:40].strip("-") or "scenes"


def _scenes(series: list[Series], looks: list[Look], notes: tuple, left_out: tuple, recipe: dict) -> Scenes:
    frames = [look.frame for look in looks]
    titles = list(dict.fromkeys(f.title for f in frames if f.title))
    names = [s.name for s in series]
    simulated = any(f.simulated for f in frames)
    return Scenes(
        tuple(series),
        looks[0].channels,
        title=titles[0] if len(titles) == 1 else f"Scenes of {names[0]}",
        name=names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more",
        attribution="; ".join(dict.fromkeys(f.attribution for f in frames if f.attribution)),
        simulated=simulated,
        notes=(*notes, *(("Simulated data: no scene is real.",) if simulated else ())),
        left_out=left_out,
        files=clouds_files.all_files(path for s in series for files in s.files for path in files),
        recipe=recipe,
    )


def scene_files(spec: str, root: Path) -> list[Path]:
    """The files that a parameter's value names, for the checks before anything runs.

    Raises
    ------
    ValueError
        Listing every part at which there is nothing.
    """
    return clouds_files.all_files(path for path, _ in clouds_files.find(spec, [Path(root)]))


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
            "CRS": crs_name(series.crs) if series.crs is not None else "none",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("series")


def to_xarray(series: Series, i: int) -> xr.Dataset:
    """One scene, to look at.

    Returns
    -------
    Dataset with inputs (channel, y, x), valid (y, x), x, y, time and the CRS
    """
    inputs, valid = series.read(i)
    return images.frame(inputs, valid, series.transform, series.crs, series.channels).assign_coords(
        time=series.times[i]
    )
