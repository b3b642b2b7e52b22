"""Imagery of the chips workload: rasters, folders of them, or tiles that somebody cut, each laid on the grid of its chips."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import project
from geonb.base.conventions import refuse
from geonb.rasters import grids, images, landsat, tiles
from geonb.rasters.images import Image, unique
from geonb.rasters.sources import files_of
from geonb.workloads.chips import cutting, quadkeys
from geonb.workloads.chips.cutting import Lattice
from geonb.workloads.chips.labels import check as check_labels
from geonb.workloads.chips.labels import kind_of
from geonb.workloads.chips.labels import options_of as label_options

if TYPE_CHECKING:
    import geopandas as gpd


@dataclass(frozen=True)
class Strip:
    """One image on the grid of its chips."""

    name: str
    image: Image
    lattice: Lattice
    date: str = ""  # of the imagery, ISO 8601; empty: nobody said


@dataclass(frozen=True)
class Imagery:
    """Images that are cut into chips together: what notebook 01 hands to `store.write_store`."""

    strips: tuple[Strip, ...]
    grid: str
    size: int
    channels: tuple[dict[str, Any], ...]
    name: str
    title: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()
    attribution: str = ""

    @property
    def files(self) -> dict[Path, list[Path]]:
        """Every file that is read, a mosaic's tiles included, by the one that is named."""
        return {path: files_of(path) for strip in self.strips for path in strip.image.paths}


@dataclass(frozen=True)
class Labelling:
    """What says which labels chips have, checked before anything is read; see :func:`geonb.workloads.chips.labels.label_chips`.

    Attributes
    ----------
    labels : files, comma separated, each maybe with options
    classes : YAML of labels, {code: name} of a class raster, or None
    min_share : float, 0-1, of a chip
    colours : name of a class -> colour, where somebody has said it
    """

    labels: str
    files: tuple[Path, ...]
    classes: str | dict[int, str] | None = None
    min_share: float = 0.01
    colours: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_osm(self) -> bool:
        """Whether labels come from OpenStreetMap's own files."""
        return any(
            kind_of(path, options) == "osm"
            for name, options in map(label_options, project.split_files(self.labels))
            for path in project.expand_files([name], [], "labels")  # a glob may end in anything
        )

    @property
    def recipe(self) -> dict[str, Any]:
        """All that labels depend on beside the files' contents."""
        options = [label_options(item)[1] for item in project.split_files(self.labels)]
        classes = {str(k): v for k, v in self.classes.items()} if isinstance(self.classes, dict) else self.classes
        return {"options": options, "classes": classes, "min_share": self.min_share}

    def of(self, chips: gpd.GeoDataFrame) -> tuple[np.ndarray, list[dict[str, Any]], list[str]]:
        """Labels (chip, class), 1, 0 or NaN where not known; the classes' records; and what a reader should know."""
        from geonb.plots.style import class_colours
        from geonb.workloads.chips.labels import label_chips

        cells = [quadkeys.Cell(key, int(zone)) for key, zone in zip(chips["quadkey"], chips["zone"], strict=True)]
        table = label_chips(
            chips.assign(name=[cell.name() for cell in cells]), self.labels, self.classes, min_share=self.min_share
        )
        names = list(table.columns[1:])
        colours = class_colours(names, {}) | dict(self.colours)
        classes = [{"code": i, "name": name, "colour": colours[name]} for i, name in enumerate(names)]
        return table[names].astype("Float32").to_numpy(np.float32, na_value=np.nan), classes, list(table.attrs["notes"])


def read_labels(labels: str | None, classes: str | None = None, min_share: float = 0.01) -> Labelling:
    """Look whether labels and classes are there, and what they are.

    Parameters
    ----------
    labels : str
        ``extract.osm.pbf``, Overpass ``.json``, ``polygons.geojson:all=building`` or ``:column=kind``, or a class raster.
    classes : str, optional
        A YAML of labels for OpenStreetMap (the original's thirteen by default), or of a class raster ``1=forest,2=water``.

    Raises
    ------
    ValueError
        If a file is not there or cannot be used, or the classes cannot be read.
    """
    if not labels:
        raise ValueError(
            "labels = None: say what is on the chips, for instance labels=city.osm.pbf or roofs.geojson:all=building"
        )
    faults: list[str] = []
    said = [label_options(item) for item in project.split_files(labels)]
    files = project.expand_files([name for name, _ in said], faults, "labels")
    if extents := [options["extent"] for _, options in said if "extent" in options]:
        files += project.expand_files(extents, faults, "extent")
    table: str | dict[int, str] | None = classes
    if classes and "=" in classes:
        pairs = [part.partition("=") for part in classes.split(",")]
        faults += [
            f"classes: {c.strip()!r} is no whole number, as in 1=forest,2=water"
            for c, _, _ in pairs
            if not c.strip().isdigit()
        ]
        faults += [
            f"classes = {classes!r}: every code and every name once, and none empty"
            for column in zip(*pairs, strict=True)
            if column[0] != "=" and len({text.strip() for text in column} - {""}) < len(pairs)
        ]
        table = {} if faults else {int(code): name.strip() for code, _, name in pairs}
    elif classes:
        files += project.expand_files([classes], faults, "classes")
    refuse("These labels cannot be used", faults)
    check_labels(labels, table)
    return Labelling(labels, tuple(map(Path, files)), table, min_share)


def files_named(value: str, root: Path) -> list[Path]:
    """Every file that ``images`` or ``labels``, a parameter's value, stands for, also those in folders.

    Raises
    ------
    ValueError
        If a part of it names none.
    """
    extents = re.findall(r"[:,]\s*extent=([^,]+)", value)
    found = project.find_files(value, root) | project.find_files(",".join(extents), root)
    if missing := [part for part, paths in found.items() if not paths]:
        raise ValueError(f"no such file: {', '.join(missing)} (looked from {root})")
    paths = [path for some in found.values() for path in some]
    inside = [file for path in paths for file in (cutting.rasters_in(path) if path.is_dir() else [path])]
    return [file for path in inside for file in files_of(path)]


def open_imagery(
    rasters: str | Sequence[str | Path], grid: str = "xyz", zoom: int | None = None, size: int = 256, bands: str | None = None,
    **facts: Any,
) -> Imagery:  # fmt: skip
    """Look at the headers of all images, and lay each on the grid of its chips.

    Parameters
    ----------
    rasters : str
        Files, folders or globs, comma separated; tiles that say in their name where they lie are taken as they are, every zoom by
        itself.
    grid : xyz or ard, see :mod:`geonb.workloads.chips.quadkeys`
    zoom : int, optional
        Level of the chips; by default that at which a chip's pixels are the image's own.
    size : int, px
        Side of a chip.
    bands : str, optional
        Names or numbers (from 1), comma separated; all by default.
    **facts : name, title, simulated, notes, attribution, channels

    Raises
    ------
    ValueError
        Listing every fault with the files it concerns.
    """
    if not rasters:
        raise ValueError(
            "images = None: say which imagery these labels are for, for instance images=ortho.tif or images=tiles/"
        )
    faults: list[str] = []
    notes: list[str] = []
    found: list[cutting.Source] = []
    for path in cutting.files_in(rasters, faults, notes):
        try:
            image = images.open_image(path, bands)
            level = native_zoom(image, grid, size) if zoom is None else zoom
            found.append(cutting.placed(image, grid, level, size))
        except ValueError as error:
            faults.append(str(error))
    faults += _unlike([source.image for source in found])
    refuse("These images cannot be cut into chips", faults)
    names = unique([source.name for source in found])
    strips = tuple(Strip(name, s.image, s.lattice, s.date) for name, s in zip(names, found, strict=True))
    facts.setdefault("channels", tuple({"name": channel, "units": "1"} for channel in found[0].image.channels))
    facts.setdefault("name", names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more")
    return Imagery(strips, grid, size, **facts | {"notes": (*notes, *facts.get("notes", ()))})


def native_zoom(image: Image, grid: str, size: int) -> int:
    """The level at which the pixels of a chip of `size` px are the image's own, or nearest to them."""
    if grid == "xyz" and image.crs.to_epsg() == 3857:
        pixel = abs(image.transform.a)
    else:
        pixel = grids.pixel_size_m(image.crs, image.transform, image.shape)
        if grid == "xyz":  # metres of the projection are longer than those on the ground, away from the equator
            _, south, _, north = grids.lonlat_bounds(image.crs, grids.bounds(image.transform, image.shape))
            pixel /= math.cos(math.radians((south + north) / 2))
    whole = quadkeys.side_m(grid, 0)
    return min(max(round(math.log2(whole / (pixel * size))), 1), tiles.DEEPEST)


def _unlike(opened: list[Image]) -> list[str]:
    """Images that do not have the first one's bands."""
    return [
        f"{image.paths[0]} has the bands {', '.join(image.channels)}, {opened[0].paths[0]} has {', '.join(opened[0].channels)}: choose "
        "those they share with `bands`"
        for image in opened[1:]
        if len(image.channels) != len(opened[0].channels)
    ]


def landsat_chips(
    size: int = 32, zoom: int = 16, min_share: float = 0.1, cache: Path | None = None
) -> tuple[Imagery, Labelling]:
    """The Landsat scene of Raleigh as small chips, and the class raster that labels them; simulated where it cannot be had.

    Returns
    -------
    imagery, and labels: the classes that cover at least `min_share` of a chip
    """
    found = landsat.scene(cache)
    parts = [images.open_image(path) for path in found.images]
    channels = tuple(landsat.CHANNELS.values())
    image = images.stack(parts) if len(parts) > 1 else parts[0]
    image = replace(image, channels=tuple(channel["name"] for channel in channels))
    strip = Strip("raleigh", image, cutting.lattice_of(image, "xyz", zoom, size))
    said: dict[str, Any] = {key: getattr(found, key) for key in ("name", "simulated", "notes", "attribution")}
    title = "Land cover of a simulated scene" if found.simulated else f"Land cover of {landsat.TITLE}"
    classes = {c["code"]: c["name"] for c in landsat.CLASSES}
    colours = {c["name"]: c["colour"] for c in landsat.CLASSES}
    labels = Labelling(str(found.classes), (found.classes,), classes, min_share, colours)
    return Imagery((strip,), "xyz", size, channels, title=f"{title}, chip by chip", **said), labels
