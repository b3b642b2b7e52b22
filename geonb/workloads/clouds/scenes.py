"""Files of any kind -> series of scenes in order of time on common grids, with all that is unfit left out and told.

Every scene is read once and none is kept: what follows reads them again one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from geonb.rasters import images
from geonb.rasters.grids import same_grid
from geonb.workloads.clouds import channels, faults, files, goes, grids
from geonb.workloads.clouds.series import PATCH, Scenes, Series

if TYPE_CHECKING:
    from pathlib import Path

    from geonb.workloads.clouds.channels import Choice
    from geonb.workloads.clouds.faults import Left, Look
    from geonb.workloads.clouds.frames import Frame
    from geonb.workloads.clouds.grids import Box

Read = TypeVar("Read")


@dataclass(frozen=True)
class Settings:
    """How scenes are to be read; :func:`geonb.workloads.clouds.dataset.open_scenes` says what each means."""

    channels: str | None = None
    bounds: str | None = None
    region: str | None = None
    pixel_m: float | None = None
    patch: int | None = None
    min_valid: float = 0.5
    faults: str = "skip"

    @property
    def side_px(self) -> int:
        """Side of a tile."""
        return PATCH if self.patch is None else self.patch

    def read(self) -> tuple[Choice, Box | None, Box | None]:
        """Channels, bounds and region as they are meant.

        Raises
        ------
        ValueError
            Every fault of every setting at once.
        """
        wrong: list[str] = []
        choice, region = _tried(channels.choose, self.channels, wrong), _tried(grids.parse_region, self.region, wrong)
        bounds = _tried(grids.parse_bounds, self.bounds, wrong) if self.bounds else None
        if self.pixel_m is not None and not 0 < self.pixel_m < 1e6:
            wrong.append(f"pixel_m = {self.pixel_m!r}: give the side of a pixel in metres, above 0, or None")
        if not 0 <= self.min_valid <= 1:
            wrong.append(f"min_valid = {self.min_valid!r}: give the share of valid pixels, 0 to 1")
        if self.side_px < 1:
            wrong.append(f"patch = {self.side_px!r}: give the side of a tile in pixels, 1 or more")
        if self.faults not in ("skip", "raise"):
            wrong.append(f"faults = {self.faults!r}: give skip or raise")
        if wrong or choice is None:
            raise ValueError("\n".join(wrong))
        return choice, bounds, region


def _tried(read: Callable[[Any], Read], text: str | None, wrong: list[str]) -> Read | None:
    try:
        return read(text)
    except ValueError as error:
        wrong.append(str(error))
        return None


def read_files(spec: str, settings: Settings) -> Scenes:
    """Find scenes, read each once, and put those that are fit into series; see :func:`geonb.workloads.clouds.dataset.open_scenes`."""
    choice, bounds, region = settings.read()
    found = files.find(spec)
    left_out: list[Left] = []
    frames = _open_all(found, bounds, left_out)
    looks = faults.scan(frames, choice, region, settings.pixel_m, settings.side_px, settings.min_valid, left_out)
    looks = faults.alike(faults.with_contrast(looks, left_out), left_out)
    notes = [*(note for look in looks for note in look.frame.notes), *faults.unnamed_fills(looks)]
    series = _series(looks, choice, left_out, notes)
    lines = faults.told(left_out)
    if not series or (lines and settings.faults == "raise"):
        head = "Scenes are not right in" if series else "No scene remains of"
        raise ValueError(f"{head} {spec}:\n" + "\n".join(f"  {line}" for line in lines))
    recipe = choice.recipe | {k: getattr(settings, k) for k in ("bounds", "region", "pixel_m", "min_valid")}
    # the version is raised when the same files give other pixels, so that no older store is found again
    recipe |= {"patch": settings.side_px, "version": 3, **_order(series, dict(found))}
    return _scenes(series, looks, notes, lines, recipe)


def _order(series: list[Series], found: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """What the store's arrays hold besides pixels, by the names of files, too; files are counted in the order of their hashes."""
    paths = sorted({path for s in series for of_one in s.files for path in of_one})
    number = {path: i for i, path in enumerate(paths)}
    told = [
        [s.name, list(s.labels), list(map(str, s.times)), [[number[path] for path in of_one] for of_one in s.files]]
        for s in series
    ]
    return {"series": told, "options": [found[path] for path in paths]}


def _open_all(found: list[files.Found], bounds: Box | None, left_out: list[Left]) -> list[Frame]:
    frames: list[Frame] = []
    for path, options in found:
        try:
            frames += files.open_file(path, bounds, options)
        except Exception as error:  # a damaged file may raise anything; the others go on
            left_out.append(faults.Left(str(path), "", faults.reason(error, str(path))))
    return goes.group(frames)


def _series(looks: list[Look], choice: Choice, left_out: list[Left], notes: list[str]) -> list[Series]:
    """Scenes of one grid together, in order of time; a second one of the same time is left out."""
    places: list[list[Look]] = []
    for look in looks:
        place = next((p for p in places if same_grid(p[0].grid, look.grid)), None)
        if place is None:
            places.append(place := [])
        place.append(look)
    ordered = [_in_time(members, left_out, notes) for members in places]
    names = images.unique([_slug(members) for members in ordered])
    return [_on_one_grid(name, members, choice) for name, members in zip(names, ordered, strict=True)]


def _on_one_grid(name: str, members: list[Look], choice: Choice) -> Series:
    first, frames = members[0], tuple(look.frame for look in members)
    crs, transform, shape = first.grid
    return Series(
        name,
        pd.DatetimeIndex([f.time for f in frames], name="time").as_unit("ns"),
        shape,
        transform,
        crs,
        channels=tuple(c["name"] for c in first.channels),
        dtype=first.dtype,
        labels=tuple(f.label if pd.isna(f.time) else _time_text(f.time) for f in frames),
        files=tuple(f.files for f in frames),
        frames=frames,
        choice=choice,
    )


def _time_text(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time.second else f"{time:%Y-%m-%d %H:%M}"


def _in_time(members: list[Look], left_out: list[Left], notes: list[str]) -> list[Look]:
    timed = [look for look in members if not pd.isna(look.frame.time)]
    order = sorted(timed, key=lambda look: (look.frame.time, look.order))
    if [look.order for look in order] != [look.order for look in timed]:
        notes.append("The scenes did not come in order of time; they were sorted.")
    if any(look.frame.timed_by == "name" for look in timed):
        notes.append("Times are those that the names of the files tell.")
    undated = sorted((look for look in members if pd.isna(look.frame.time)), key=lambda look: look.frame.label)
    if undated:
        names = ", ".join(look.frame.label for look in undated[:3]) + ", ..." * (len(undated) > 3)
        notes.append(f"{len(undated)} scenes have no time: they stand last, in order of their names ({names}).")
    kept: list[Look] = []
    for look in order:
        if kept and kept[-1].frame.time == look.frame.time:
            time = _time_text(look.frame.time)
            left_out.append(look.unfit(f"{kept[-1].where} is of the same time, {time}, and place"))
        else:
            kept.append(look)
    return kept + undated


def _slug(members: list[Look]) -> str:
    """What the names of the files have in common, without what tells their time."""
    stem = members[0].frame.files[0].stem
    stems = sorted({f.stem for look in members for f in look.frame.files})
    if len(stems) > 1:
        stem = re.sub(r"[\d._\-sA]*$", "", os.path.commonprefix(stems)) or stem  # noqa: RUF071 (letters, not folders)
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return slug[:40].strip("-") or "scenes"


def _scenes(series: list[Series], looks: list[Look], notes: list[str], left_out: list[str], recipe: dict) -> Scenes:
    frames = [look.frame for look in looks]
    titles = list(dict.fromkeys(f.title for f in frames if f.title))
    first, more = series[0].name, len(series) - 1
    simulated = any(f.simulated for f in frames)
    return Scenes(
        tuple(series),
        looks[0].channels,
        title=titles[0] if len(titles) == 1 else f"Scenes of {first}",
        name=f"{first}-and-{more}-more" if more else first,
        attribution="; ".join(dict.fromkeys(f.attribution for f in frames if f.attribution)),
        simulated=simulated,
        notes=tuple(dict.fromkeys([*notes, *(["Simulated data: no scene is real."] if simulated else [])])),
        left_out=tuple(left_out),
        files=files.all_files(path for s in series for of_one in s.files for path in of_one),
        recipe=recipe,
    )
