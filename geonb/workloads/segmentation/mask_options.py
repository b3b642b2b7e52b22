"""What is written after a mask's name: ``labels.geojson:all=building,complete=area.geojson,border=1``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from geonb.base import project
from geonb.base.project import expand_files
from geonb.rasters import sources
from geonb.workloads.segmentation.footprints import BORDER, WIDEST
from geonb.workloads.segmentation.masks import Mask

READS = ("codes", "rgb", "one-hot")
# Option -> what to write
VECTOR = {
    "all": "all=CLASS (every polygon is that)",
    "column": "column=NAME",
    "layer": "layer=NAME",
    "buffer": "buffer=METRES (above 0)",
    "complete": "complete=true|false|AREA.geojson (background outside the polygons)",
    "border": f"border=1 to {WIDEST} (px between touching polygons)",
}
KNOWN = VECTOR | {"read": f"read={'|'.join(READS)}"}


def read_items(masks: str | list, faults: list[str]) -> list[Mask]:
    """Masks by name or glob, each with its options; what is wrong goes to `faults`.

    Parameters
    ----------
    masks : str or list
        Commas part files, but also the options of one file: ``a.gpkg:column=kind,layer=main``.
    """
    items = project.split_files(masks) if isinstance(masks, str) else [str(m) for m in masks]
    return [mask for item in items for mask in _read_item(item, faults)]


def files_named(masks: str, root: Path) -> list[Path]:
    """Every file that masks, a parameter's value, stand for: those of areas, and what is read with one, too.

    Raises
    ------
    ValueError
        Listing what names no file, or a folder.
    """
    wanted: dict[str, list[Path]] = {}
    for part, found in project.find_files(masks, root).items():
        wanted[part] = found
        area = _options(part)[1].get("complete", "true")
        if area.lower() not in ("true", "false"):
            wanted[f"complete={area}"] = project.find_files(area, root).get(area, [])
    if missing := [part for part, found in wanted.items() if not found]:
        raise ValueError(f"no such file: {', '.join(missing)} (looked from {root})")
    files = [path for found in wanted.values() for path in found]
    if folders := [str(path) for path in files if path.is_dir()]:
        raise ValueError(
            f"a folder, where files are wanted: {', '.join(folders)}. Name those in it, for instance {folders[0]}/*"
        )
    return [file for path in files for file in sources.files_of(path)]


def _options(item: str) -> tuple[str, dict[str, str], bool]:
    """The file, its options, and whether each is given once."""
    path, *options = re.split(r":(?=\w+=)", item.strip(), maxsplit=1)
    texts = [o.split("=", 1) for o in re.split(r",\s*(?=\w+=)", options[0])] if options else []
    given = {key.strip(): value.strip() for key, value in texts}
    return path, given, len(given) == len(texts)


def _read_item(item: str, faults: list[str]) -> list[Mask]:
    path, given, once = _options(item)
    if not once:
        faults.append(f"masks: {item}: an option is given twice. Give each once")
        return []
    values, odd = _values(given, faults)
    if odd:
        faults.append(f"masks: {item}: {', '.join(odd)} is not known. Known: {', '.join(KNOWN.values())}")
        return []
    if {"all", "column"} <= set(given):
        faults.append(
            f"masks: {item}: all={given['all']} says that every polygon is one class, column= where the class stands. Give one"
        )
        return []
    if "border" in given and given.get("all") == BORDER["name"]:
        faults.append(
            f"masks: {item}: all={given['all']} calls the polygons what border={given['border']} makes of the pixels between them. Give "
            "the polygons another class, or leave out border="
        )
        return []
    these = [Mask(p, **values) for p in expand_files([path], faults, "masks")]
    for mask in these:
        surplus = set(given) & ({"read"} if mask.is_vector else set(VECTOR))
        surplus -= {"read"} if mask.read == "codes" else set()
        faults += [f"masks: {item}: {', '.join(sorted(surplus))}: not an option of such a file"] * bool(surplus)
    return these


def _values(given: dict[str, str], faults: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Options as a Mask takes them, and those that nobody knows."""
    odd = [key for key in given if key not in KNOWN]
    values: dict[str, Any] = {key: given[key] for key in ("column", "layer", "read") if key in given}
    odd += ["read"] * (values.get("read", READS[0]) not in READS)
    if (width := given.get("buffer")) is not None:
        values["buffer_m"] = float(width) if re.fullmatch(r"\d*\.?\d+", width) else 0.0
        odd += ["buffer"] * (not 0 < values["buffer_m"] < 1e6)
    if (name := given.get("all")) is not None:
        values |= {"every": name, "complete": True}  # with one class alone there is nothing to learn
        odd += ["all"] * (name in ("", "ignore"))
    if (border := given.get("border")) is not None:
        values["border_px"] = int(border) if border.isdecimal() else 0
        odd += ["border"] * (not 1 <= values["border_px"] <= WIDEST)
    if (complete := given.get("complete")) is not None:
        values["complete"] = complete.lower() != "false"
        if complete.lower() not in ("true", "false"):
            areas = expand_files([complete], faults, "complete")
            values["area"] = next(iter(areas), None)
            if len(areas) > 1:
                faults.append(
                    f"complete={complete} names {len(areas)} files. Name one; several areas can be polygons of it"
                )
    return values, [f"{key}={given[key]}" for key in dict.fromkeys(odd)]
