"""Inputs of the segmentation workload: images paired with masks, checked as a set before any long work.

`open_pairs` looks at the headers of all files and `scan` at their pixels; each tells every fault it found at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import IGNORE
from geonb.base.project import expand_files as _expand
from geonb.rasters import grids, sources, tiles
from geonb.rasters import images as rasters_images
from geonb.rasters.images import Image, choose_bands, open_image, stack, unique
from geonb.workloads.segmentation import footprints, mask_options
from geonb.workloads.segmentation import scan as segmentation_scan
from geonb.workloads.segmentation.class_tables import class_table, read_classes, real_classes
from geonb.workloads.segmentation.masks import (
    Mask,
    check_bands,
    check_colours,
    check_nodata,
    code_text,
    lies_nowhere,
    polygon_codes,
    read_polygons,
)

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Pairs:
    """Images with their masks, ready to be read: what notebook 01 hands to `store.write_store`.

    classes is None until `scan` has found the codes in the masks. `a + b` are Pairs that are split together; their
    `constituents` keep what each was made of. With `prune`, `scan` leaves out sources without data or labels and lists
    them in `pruned`.
    """

    images: tuple[Image, ...]
    masks: tuple[Mask, ...]
    classes: tuple[dict, ...] | None = None
    channels: tuple[dict, ...] = ()
    name: str = "dataset"
    title: str = ""
    simulated: bool = False
    notes: tuple[str, ...] = ()
    attribution: str = ""
    found: tuple[dict, ...] = field(default=(), compare=False)  # by `scan`: pixels and codes of each image
    constituents: tuple[Pairs, ...] = ()
    prune: bool = False
    pruned: tuple[str, ...] = field(default=(), compare=False)

    def __iter__(self) -> Iterator[tuple[Image, Mask]]:
        return iter(zip(self.images, self.masks, strict=True))

    def __len__(self) -> int:
        return len(self.images)

    def __add__(self, other: Pairs) -> Pairs:
        return combine([self, other]) if isinstance(other, Pairs) else NotImplemented

    @property
    def datasets(self) -> list[dict]:
        """name, title, simulated, notes, attribution, resolution_m, bands and preprocess of each constituent."""
        return [part._facts() for part in self.constituents or (self,)]

    def _facts(self) -> dict:
        sides = {float(f"{grids.pixel_size_m(i.crs, i.transform, i.shape):.3g}") for i in self.images}
        given = {k: getattr(self, k) for k in ("name", "title", "simulated", "attribution")}
        return given | {
            "notes": list(self.notes),
            "resolution_m": sides.pop() if len(sides) == 1 else None,  # the common side of the pixels, if there is one
            "bands": list(self.images[0].channels),
            "preprocess": self.images[0].preprocess,
        }

    @property
    def files(self) -> dict[Path, list[Path]]:
        """Every file that is read, a VRT's sources and a shapefile's parts included, by the one that is named."""
        named = {path for image in self.images for path in image.paths}
        named |= {path for mask in self.masks for path in (mask.path, mask.area) if path}
        return {path: sources.files_of(path) for path in sorted(named)}


def open_pairs(
    images: str | list | None,
    masks: str | list | None,
    classes: str | list | dict | None = None,
    bands: str | None = None,
    **facts: Any,
) -> Pairs:
    """Pair images with masks and check their headers: files, bands, CRS, overlap, class columns.

    Parameters
    ----------
    images : str
        Paths or globs, comma separated. Web-map tiles that say in their name where they lie form one image where they touch
        (see `geonb.rasters.tiles`). Single-band files on one grid that share one mask are stacked into one image.
    masks : str
        Paths or globs, comma separated; raster, or polygons (.shp, .gpkg, .geojson, .fgb, .parquet) with a column `class`,
        or another one: `roads.gpkg:column=kind,layer=main`, or all of one class: `roofs.geojson:all=building`; lines and points
        are given a width, `roads.gpkg:buffer=2.5` m to each side. `file.tif:read=rgb` holds class colours, `read=one-hot` a band
        a class, numbered from 1. As many as images (matched by stem where the stems agree, else by order), one for all, or
        polygons of several places, each for the images it reaches. Between polygons lies the class with code 0 where `classes`
        has one or the labels are complete (`complete=true`, or within polygons `complete=area.geojson`; `all=` takes them so),
        else nothing is known; `border=1` makes a class of the pixels that near to two polygons. A raster that does not say where
        it lies takes the grid of its image, where they have as many pixels.
    classes : str, optional
        "1=developed,2=water", a .csv, .yaml or .json file (code, name, colour), or None: what is found in the masks.
        A class named `ignore` is no class: its pixels count as unlabelled.
    bands : str, optional
        Names or numbers (from 1), comma separated; None takes all.
    **facts
        name, title, notes, attribution, simulated, channels: kept in the sample store.

    Raises
    ------
    ValueError
        Listing every fault with the files it concerns.
    """
    faults: list[str] = []
    notes: list[str] = list(facts.get("notes", ()))
    if images is None or masks is None:
        raise ValueError(f"images = {images!r}, masks = {masks!r}: give both")
    image_files, mask_items = _expand(images, faults, "images"), mask_options.read_items(masks, faults)
    image_files, told = attempt(faults, tiles.gather, image_files) or ([], [])
    notes += told
    opened = [attempt(faults, open_image, path) for path in image_files]
    table, areas = _check_masks(mask_items, attempt(faults, read_classes, classes), faults, notes)
    if not faults:
        opened, mask_items = _match(opened, mask_items, areas, faults)
    if not faults:
        opened = [attempt(faults, choose_bands, image, bands) for image in opened]
    if not faults:
        _check_alike(opened, faults)
        mask_items = _take_grids(opened, mask_items, areas, faults, notes)
        for image, mask in zip(opened, mask_items, strict=True):
            if mask.grid is None:
                _check_overlap(image, mask, areas[mask], faults)
        _check_mapped(opened, mask_items, faults)
    refuse("These inputs cannot be used", faults)
    # by the table that was given: one made of the codes found would turn what is not known into a class
    ground = _ground(table) is not None
    mask_items = [replace(m, background=m.is_vector and ground and m.complete is not False) for m in mask_items]
    notes += _alpha_notes(opened)
    facts["notes"] = tuple(dict.fromkeys(notes))
    names = unique([image.name for image in opened])
    opened = [replace(im, name=name, channels=opened[0].channels) for im, name in zip(opened, names, strict=True)]
    facts.setdefault("channels", tuple({"name": c, "units": "1"} for c in opened[0].channels))
    facts.setdefault("name", names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more")
    return Pairs(tuple(opened), tuple(mask_items), tuple(table) if table else None, **facts)


def resample(pairs: Pairs, resolution: float | None, method: str | None = None) -> Pairs:
    """Pairs whose images have pixels of another side; masks follow when they are read.

    Parameters
    ----------
    resolution : float, m; None leaves all as it is
    method : str, optional
        average, bilinear, cubic or nearest; by default each image's own, or average for coarser pixels, bilinear for finer ones.

    Raises
    ------
    ValueError
        Listing every image whose size would change absurdly (see grids.resampled).
    """
    if resolution is None:
        return pairs
    if not 0 < resolution < 1e6:
        raise ValueError(f"resolution = {resolution!r}: give the side of a pixel in metres, above 0, or None")
    faults: list[str] = []
    images = [attempt(faults, rasters_images.resample, image, resolution, method) for image in pairs.images]
    refuse("These inputs cannot be used", faults)
    parts = tuple(resample(part, resolution, method) for part in pairs.constituents)
    return replace(pairs, images=tuple(images), constituents=parts)


def scan(pairs: Pairs, workers: int | None = None, client: Client | None = None, folder: Path | None = None) -> Pairs:
    """Read every pixel once: count the valid ones, the not finite ones and the class codes; find unreadable files.

    Parameters
    ----------
    workers : int, optional
        Threads; as many as there are cores by default.
    client, folder : optional
        A `dask.distributed.Client` instead, whose workers see the files and this folder.

    Returns
    -------
    Pairs with `classes` complete (from the codes found, where none were given) and `found` filled

    Raises
    ------
    ValueError
        Listing every fault: truncated files, images without data, codes that are not in the table, classes of the table
        without a pixel, no labels at all, or of one class only.
    """
    faults: list[str] = []
    found = segmentation_scan.count_all(list(pairs), pairs.classes, workers, faults, client, folder)
    codes = sum((Counter(f["codes"]) for f in found if f), Counter())
    if not faults and pairs.classes is None:
        pairs = replace(pairs, classes=tuple(class_table({code: {"name": f"class {code}"} for code in sorted(codes)})))
    kept: list[tuple[Image, Mask, dict | None]] = []
    pruned: list[str] = []
    for (image, mask), counts in zip(pairs, found, strict=True):
        if counts:
            table = mask.classes or pairs.classes or ()
            if table:  # none yet where another mask could not be read
                _check_codes(mask, counts, table, faults)
            empty = _emptiness(image, mask, counts, table, pairs.prune)
            if empty:
                (pruned if pairs.prune else faults).append(empty)
                continue
        kept.append((image, mask, counts))
    if kept and not faults:
        _check_classes(kept, pairs.classes or (), faults)
    left = {image.dataset for image, _, _ in kept}
    faults += [
        f"dataset {name}: no source remains: {'; '.join(pruned)}"
        for name in dict.fromkeys(image.dataset for image in pairs.images)
        if pairs.prune and name not in left
    ]
    refuse("These inputs cannot be used", faults)
    images, masks, found = zip(*kept, strict=True)
    return replace(pairs, images=images, masks=masks, found=found, pruned=tuple(pruned))


def _emptiness(image: Image, mask: Mask, counts: dict, classes: tuple[dict, ...], strictly: bool) -> str | None:
    """What a source lacks, if it is of no use; `strictly` counts images of nothing but 0, or the largest number, too."""
    names = ", ".join(str(p) for p in image.paths)
    if not counts["pixels_valid"]:
        return f"{names}: no valid pixel: all are nodata or not finite in at least one band"
    ignored = {c["code"] for c in classes if c["name"] == "ignore"}
    if not set(counts["codes"]) - ignored:
        return f"{mask.path}: labels no valid pixel of {names}"
    if strictly and counts["pixels_valid"] in (counts["pixels_zero"], counts["pixels_full"]):
        return f"{names}: every valid pixel is {'0' if counts['pixels_zero'] else 'the largest number'} in all bands"
    return None


def _check_codes(mask: Mask, counts: dict, classes: tuple[dict, ...], faults: list[str]) -> None:
    known = {c["code"]: c["name"] for c in classes}
    unknown = {c: n for c, n in counts["codes"].items() if c not in known}
    if unknown:
        what, table = "class codes", ", ".join(f"{c}={n}" for c, n in known.items())
        if mask.read == "rgb":
            what, table = "colours", ", ".join(f"{c['colour']} {c['name']}" for c in classes)
        most = sorted(unknown, key=unknown.__getitem__, reverse=True)[:20]
        listed = sorted(most) if len(unknown) < 21 else most
        codes = ", ".join(f"{code_text(c, mask)} ({unknown[c]} px)" for c in listed)
        codes += f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""
        faults.append(
            f"{mask.path}: {what} {codes} are not in the table ({table}). Add them, or give them the name `ignore`"
        )
    if len(known) > IGNORE:
        faults.append(f"{mask.path}: {len(known)} classes; at most {IGNORE} can be told apart. Is it the mask?")


def _check_classes(kept: list[tuple[Image, Mask, dict | None]], classes: tuple[dict, ...], faults: list[str]) -> None:
    """Every class of the table needs pixels, and there must be two: else scores are of fewer classes than anybody thinks."""
    pixels: Counter = Counter()
    for _, mask, counts in kept:
        for entry in mask.classes or classes:
            pixels[entry["name"]] += counts["codes"].get(entry["code"], 0) if counts else 0
    table = real_classes(classes)
    files = ", ".join(dict.fromkeys(mask.path.name for _, mask, _ in kept[:6])) + (" ..." if len(kept) > 6 else "")
    reach = max(mask.border_px for _, mask, _ in kept)
    for c in [c for c in table if not pixels[c["name"]]]:
        if reach and c.get("own", c["name"]) == footprints.BORDER["name"]:
            faults.append(
                f"border={reach} finds no pixel within {reach} px of two polygons in {files} (the parts of a MultiPolygon count as one). "
                f"Leave out border=, or give a wider one, up to {footprints.WIDEST}"
            )
        else:
            faults.append(
                f"class {c['name']} ({c['code']}) of the table has no valid pixel in {files}. Leave it out of `classes`, or name it "
                "`ignore`"
            )
    if len(table) == 1 and not faults:
        mask = kept[0][1]
        cure = f"If others count as nodata (gdalinfo tells): gdal_edit.py -unsetnodata {mask.path.name}"
        if mask.is_vector:
            cure = (
                f"To make what lies between the polygons a class: {mask.path.name}:complete=true, or complete=AREA.geojson where a part "
                'is mapped only, or a name for code 0, classes="0=other,1=house"'
            )
        faults.append(
            f"{files}: all labels are of one class, {table[0]['name']}, so there is nothing to tell apart. {cure}"
        )


def _match(
    images: list[Image], masks: list[Mask], areas: dict[Mask, tuple], faults: list[str]
) -> tuple[list[Image], list[Mask]]:
    """A mask for each image: the only one, by stem, by order; polygons of several places by where they lie."""
    boxes = [(i.crs, grids.bounds(i.transform, i.shape)) for i in images]
    one_place = all(grids.overlap(boxes[0], box) for box in boxes[1:])
    if len(masks) == 1 and len(images) > 1 and one_place and all(len(i.bands) == 1 for i in images):
        return [attempt(faults, stack, images)], masks
    if len(masks) == 1:
        return images, masks * len(images)
    if len(images) == len(masks):
        by_stem = {m.path.stem: m for m in masks}
        if len(by_stem) == len(masks) and all(i.name in by_stem for i in images):
            masks = [by_stem[i.name] for i in images]
        return images, masks
    if all(mask.is_vector for mask in masks):
        here = [[mask for mask in masks if grids.overlap(box, areas[mask])] for box in boxes]
        if all(len(found) == 1 for found in here):
            return images, [found[0] for found in here]
    faults.append(
        f"{len(images)} images ({', '.join(i.paths[0].name for i in images[:6])}) for {len(masks)} masks "
        f"({', '.join(m.path.name for m in masks[:6])}): give as many masks as images, one mask for all, or "
        "polygons of which one file alone reaches each image"
    )
    return images, masks


def _check_alike(images: list[Image], faults: list[str]) -> None:
    first, files = images[0], Counter(path.resolve() for image in images for path in image.paths)
    faults += [
        f"{file} is given {n} times: its pixels would count as often. Name it once"
        for file, n in files.items()
        if n > 1
    ]
    for image in images[1:]:
        if len(image.channels) != len(first.channels):
            faults.append(
                f"{image.paths[0]} has {len(image.channels)} bands, {first.paths[0]} has {len(first.channels)}: "
                "choose those they share with `bands`"
            )
        elif image.channels != first.channels and not any(
            c.startswith("band ") for c in image.channels + first.channels
        ):
            faults.append(
                f"{image.paths[0]} has the bands {', '.join(image.channels)}, {first.paths[0]} has "
                f"{', '.join(first.channels)}: choose the same ones, in one order, with `bands`"
            )


def _check_masks(
    masks: list[Mask], table: list[dict] | None, faults: list[str], notes: list[str]
) -> tuple[list[dict] | None, dict[Mask, tuple]]:
    """Where each mask lies (crs, bounds), or None and its (transform, shape); and the class table, where none was given that
    of the polygons' class names.
    """
    areas: dict[Mask, tuple] = {}
    polygons = {}
    for mask in dict.fromkeys(masks):
        if mask.is_vector:
            shapes = attempt(faults, read_polygons, mask)
            if shapes is not None:
                polygons[mask], areas[mask] = shapes, (shapes.crs, tuple(shapes.total_bounds))
                notes += [*shapes.attrs["notes"], *footprints.told(mask, len(shapes))]
            if mask.area is not None:
                attempt(faults, footprints.check_area, mask.area)
            continue
        nowhere = lies_nowhere(mask.path)
        raster = attempt(faults, open_image, mask.path, None, nowhere)
        if raster is None:
            continue
        attempt(faults, check_bands, mask, raster)
        if mask.read == "rgb":
            attempt(faults, check_colours, mask, raster.dtype, len(raster.bands), table)
            notes += _alpha_notes([raster])
        attempt(faults, check_nodata, mask, table)
        here = (
            (None, (raster.transform, raster.shape))
            if nowhere
            else (raster.crs, grids.bounds(raster.transform, raster.shape))
        )
        areas[mask] = here
    named = {m: p for m, p in polygons.items() if p["value"].dtype.kind not in "iub"}
    if table is None and named and len(named) == len(set(masks)):
        names = sorted(set().union(*(p["value"].astype(str) for p in named.values())))
        table = class_table({i: {"name": name} for i, name in enumerate(names, start=1)})
    codes = {mask: _codes(mask, shapes, table, faults) for mask, shapes in polygons.items()}
    found = [code for here in codes.values() if here is not None for code in here.tolist()]
    if not faults:
        table = attempt(faults, footprints.complete_table, polygons, table, found)
    for mask, coded in codes.items():
        if coded is None or mask.complete is not None:
            continue
        if ground := _ground(table):
            notes.append(f"{mask.path.name}: between the polygons lies class {ground['name']} (code 0).")
        elif not table and (coded == 0).any():
            cure = "`classes` with a name for code 0 would make it that"
            notes.append(f"{mask.path.name}: between the polygons nothing is known; {cure}.")
    return table, areas


def _codes(mask: Mask, polygons: Any, table: list[dict] | None, faults: list[str]) -> np.ndarray | None:
    try:
        return polygon_codes(polygons, table)
    except ValueError as error:
        faults.append(f"{mask.path}, {f'all={mask.every}' if mask.every else f'column {mask.column}'}: {error}")
        return None


def _alpha_notes(images: list[Image]) -> list[str]:
    """What is told of bands that are called alpha and taken as data."""
    called = [
        f"{image.paths[file].name} (band {number})"
        for image in images
        for (file, number), called in zip(image.bands, image.called_alpha, strict=True)
        if called
    ]
    more = f" and {len(called) - 3} more" if len(called) > 3 else ""
    what = "called alpha, but more than 0 and full is in it, so it masks nothing"
    return [f"{', '.join(called[:3])}{more}: {what}."] if called else []


def _ground(table: list[dict] | None) -> dict | None:
    """The class with code 0, if the table has one."""
    return next((c for c in real_classes(table or ()) if c["code"] == 0), None)


def _take_grids(
    images: list[Image], masks: list[Mask], areas: dict[Mask, tuple], faults: list[str], notes: list[str]
) -> list[Mask]:
    """The masks, those that do not say where they lie on the grids of their images: pixel by pixel, where the sizes match."""
    taken = []
    for image, mask in zip(images, masks, strict=True):
        if areas[mask][0] is not None:
            taken.append(mask)
            continue
        transform, shape = areas[mask][1]
        alone = all(
            grids.same_grid(image.grid, im.grid) for im, other in zip(images, masks, strict=True) if other == mask
        )
        same = transform.is_identity or grids.same_grid((image.crs, transform, shape), image.grid)
        if shape == image.shape and alone and same:
            notes.append(
                f"{mask.path.name} has no CRS: it was laid on {image.paths[0].name}, pixel by pixel ({shape[0]} x {shape[1]} px)."
            )
        else:
            what = "lies elsewhere" if shape == image.shape and alone else f"has {shape[0]} x {shape[1]} px"
            faults.append(
                f"{mask.path} has no CRS and {what}, so it cannot be laid pixel by pixel on {image.paths[0]} ({image.shape[0]} x "
                f"{image.shape[1]} px) or on several images. Give it one, for instance: gdal_edit.py -a_srs EPSG:32617 {mask.path.name}"
            )
        taken.append(replace(mask, grid=image.grid))
    return taken


def _check_overlap(image: Image, mask: Mask, area: tuple, faults: list[str]) -> None:
    here = image.crs, grids.bounds(image.transform, image.shape)
    if not grids.overlap(here, area):
        faults.append(
            f"{image.paths[0]} and {mask.path} do not overlap: (west, south, east, north) in degrees are "
            f"{grids.lonlat_bounds(*here)} and {grids.lonlat_bounds(*area)}. Check the CRS of both"
        )


def _check_mapped(images: list[Image], masks: list[Mask], faults: list[str]) -> None:
    """Refuse an area of `complete=` that lies beside all of its images: nothing would be known in any."""
    for path in dict.fromkeys(mask.area for mask in masks if mask.area):
        shapes = footprints.check_area(path)
        area = shapes.crs, tuple(shapes.total_bounds)
        boxes = [
            (i.crs, grids.bounds(i.transform, i.shape)) for i, m in zip(images, masks, strict=True) if m.area == path
        ]
        if not any(
            grids.overlap(area, box) for box in boxes
        ):  # not the other way: an image's CRS may not hold the area
            faults.append(
                f"complete={path} overlaps no image, so nothing would be known anywhere: (west, south, east, north) in degrees are "
                f"{grids.lonlat_bounds(*area)}, and {grids.lonlat_bounds(*boxes[0])} of the first image. Check the CRS of both"
            )


def pad(pairs: Pairs, patch: int) -> Pairs:
    """Images that are smaller than a window, brought to its size with pixels that are not valid, below and to the right."""
    padded = [
        image
        if min(image.shape) >= patch
        else replace(image, shape=(max(image.shape[0], patch), max(image.shape[1], patch)), data_shape=image.shape)
        for image in pairs.images
    ]
    return replace(pairs, images=tuple(padded))


def combine(parts: Iterable[Pairs]) -> Pairs:
    """Pairs of several datasets as one, split together; each keeps its own preparation, and stands in `constituents`.

    Classes are the same by name; codes and colours are those of the first. Parts whose classes are not known yet are
    scanned.

    Raises
    ------
    ValueError
        Datasets that disagree on classes or channels, or come twice.
    """
    parts = [one for part in parts for one in part.constituents or (part,)]
    parts = [part if part.classes else scan(part) for part in parts]
    first, faults = parts[0], []
    names = [part.name for part in parts]
    faults += [f"{name} comes more than once" for name in dict.fromkeys(names) if names.count(name) > 1]
    for other in parts[1:]:
        faults += [*_class_faults(first, other), *_channel_faults(first, other)]
    refuse("These datasets cannot be combined", faults)
    dtype = np.result_type(*(image.dtype for part in parts for image in part.images)).name
    labels = [image.name for part in parts for image in part.images]
    opened, opened_masks = [], []
    for part in parts:
        for image, mask in part:
            name = image.name if labels.count(image.name) == 1 else f"{part.name}-{image.name}"
            channels = first.images[0].channels
            opened.append(replace(image, name=name, dataset=part.name, dtype=dtype, channels=channels))
            opened_masks.append(replace(mask, classes=mask.classes or part.classes))
    opened = [replace(im, name=name) for im, name in zip(opened, unique([i.name for i in opened]), strict=True)]
    return Pairs(
        tuple(opened),
        tuple(opened_masks),
        first.classes,
        first.channels,
        name="-and-".join(names) if len(names) < 4 else f"{names[0]}-and-{len(names) - 1}-more",
        title="; ".join(dict.fromkeys(part.title or part.name for part in parts)),
        simulated=any(part.simulated for part in parts),
        notes=tuple(f"{part.name}: {note}" for part in parts for note in part.notes),
        attribution="; ".join(dict.fromkeys(part.attribution for part in parts if part.attribution)),
        constituents=tuple(parts),
        prune=all(part.prune for part in parts),
    )


def _class_faults(a: Pairs, b: Pairs) -> list[str]:
    mine, theirs = ([c["name"] for c in real_classes(part.classes or ())] for part in (a, b))
    if set(mine) == set(theirs):
        return []
    only = [
        f"only {part.name} has {', '.join(n for n in names if n not in other)}"
        for part, names, other in ((a, mine, theirs), (b, theirs, mine))
        if set(names) - set(other)
    ]
    return [
        f"{a.name} ({', '.join(mine)}) and {b.name} ({', '.join(theirs)}) disagree on classes: {'; '.join(only)}. In the "
        "catalogue, give each class its common name with `map: {own: common}`, or `map: {own: ignore}` to leave it out"
    ]


def _channel_faults(a: Pairs, b: Pairs) -> list[str]:
    mine, theirs = a.images[0].channels, b.images[0].channels
    unnamed = any(c.startswith("band ") for c in (*mine, *theirs))
    if len(mine) == len(theirs) and (mine == theirs or unnamed):
        return []
    return [
        f"{a.name} has the {len(mine)} bands {', '.join(mine)}, {b.name} has the {len(theirs)} bands {', '.join(theirs)}: "
        "choose the same ones, in one order, with `bands`"
    ]


def attempt(faults: list[str], function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives; None where it refuses, and `faults` then says why."""
    try:
        return function(*arguments)
    except ValueError as error:
        faults.append(str(error))
        return None


def refuse(what: str, faults: list[str]) -> None:
    """Raise a ValueError that lists all faults, each once; nothing where there are none."""
    if faults:
        raise ValueError(f"{what}:\n" + "\n".join(f"- {fault}" for fault in dict.fromkeys(faults)))
