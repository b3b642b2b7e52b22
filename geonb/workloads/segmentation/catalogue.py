"""Datasets by name: a YAML catalogue of images, masks, classes and how to bring each into shape; several combined::

    # datasets.yaml, in the project root
    raleigh:
      title: Land cover of Raleigh
      images: data/raleigh/lsat_*.tif      # relative to this file
      masks: data/raleigh/strata.tif
      classes: {1: built, 2: field, 5: wood}
    hanoi:
      aliases: [vietnam]
      resolution: 10                       # as stated; checked against the files
      images: data/hanoi/*.tif
      masks: data/hanoi/roofs.gpkg
      mask: {column: kind}                 # codes (default) | rgb | column, layer
      classes: {1: house, 2: paddy, 3: trees}
      map: {house: built, paddy: field, trees: wood}
      preprocess: scaling.py:to_8_bit

The catalogue of the project says what runs here; a function that another one names runs once you allowed it
(:mod:`geonb.base.trust`).

`open_datasets("raleigh+hanoi", resolution=30)` is then ready for `store.write_store`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb import parameters
from geonb.base import conventions, objects, project, specs, trust
from geonb.rasters import grids, images, landsat, sources
from geonb.workloads.segmentation import class_tables, dataset, mask_options, sizes
from geonb.workloads.segmentation.dataset import Pairs

if TYPE_CHECKING:
    import pandas as pd

FILE = "datasets.yaml"
TOLERANCE = 0.01  # by how much files may differ from the resolution that is stated
# What a dataset may hold: key -> (types, what to write)
KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "aliases": ((str, list), "other names, comma separated or a list"),
    "title": ((str,), "a line of text"),
    "resolution": ((int, float), "side of a pixel in metres, above 0"),
    "images": ((str, list), "paths or globs, relative to the catalogue"),
    "masks": ((str, list), "paths or globs, relative to the catalogue"),
    "classes": ((str, dict, list), "code: name, code: {name, colour}, or a file"),
    "mask": (
        (str, dict),
        "codes, rgb, one-hot, or column: NAME or all: CLASS (and layer: NAME, buffer: METRES, complete: true|false|AREA, border: PX)",
    ),
    "bands": ((str, int, list), "names or numbers of bands, from 1"),
    "resampling": ((str,), ", ".join(images.RESAMPLING)),
    "preprocess": ((str,), "module:function or file.py:function"),
    "map": ((dict,), "own class name: common class name"),
    "simulated": ((bool,), "true or false"),
    "notes": ((str, list), "a line of text, or a list"),
    "attribution": ((str,), "a line of text"),
}


def read_catalogue(file: str | Path | None = None) -> dict[str, dict]:
    """Read a catalogue of datasets.

    Parameters
    ----------
    file : path, optional
        A YAML file; datasets.yaml in the project root by default.

    Returns
    -------
    dict of name -> what the file says of it, in one form: aliases, images, masks and notes are lists (files with their
    folder), classes a class table or None, mask a dict of options, bands a text or None

    Raises
    ------
    ValueError
        Listing every fault: no such file, not YAML, unknown keys (the known ones are named), values of another type,
        names or aliases given twice.
    """
    import yaml

    path = project.project_root() / FILE if file is None else Path(file).expanduser()
    if not path.is_absolute() and not path.is_file():
        path = project.project_root() / path
    if not path.is_file():
        raise ValueError(
            f"There is no catalogue of datasets {path}. Write one (see geonb.workloads.segmentation.catalogue), or name "
            "another: file.yaml:a+b"
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), parameters.yaml_loader())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a catalogue that can be read: {conventions.short(error)}") from None
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path} holds no datasets. Write `name:` and under it `images:` and `masks:` (geonb.workloads.segmentation.catalogue)"
        )
    faults: list[str] = []
    catalogue = {str(name): _entry(str(name), entry, path.absolute().parent, faults) for name, entry in content.items()}
    taken = [name for entry in catalogue.values() for name in (entry["name"], *entry["aliases"])]
    faults += [f"{name} names more than one dataset" for name in dict.fromkeys(taken) if taken.count(name) > 1]
    dataset.refuse(f"{path} cannot be used", faults)
    return catalogue


def _entry(name: str, given: Any, folder: Path, faults: list[str]) -> dict:
    """One dataset in one form; what is wrong goes to `faults`."""
    entry: dict[str, Any] = dict.fromkeys(KEYS) | {"name": name, "folder": folder}
    entry |= {
        "aliases": [],
        "notes": [],
        "images": [],
        "masks": [],
        "mask": {},
        "map": {},
        "title": "",
        "attribution": "",
    }
    entry["simulated"], entry["files"] = False, []
    if re.search(r"[+,:\s/]", name) or not name:
        faults.append(f"{name!r} is no name for a dataset: it may not hold spaces or any of + , : /")
    if not isinstance(given, dict):
        faults.append(f"{name}: write `images:` and `masks:` under it, indented")
        return entry
    entry["files"] = [folder / v for v in given.values() if isinstance(v, str) and (folder / v).is_file()]
    for key, value in given.items():
        try:
            types, form = specs.pick("key", str(key), KEYS)
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise ValueError(f"{key} = {value!r} is {type(value).__name__}, write {form}")
            entry[key] = READERS.get(key, lambda value, folder: value)(value, folder)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if entry["mask"].get("read") == "rgb":
        faults += _colourless(name, given.get("classes"))
    faults += [f"{name}: `{key}` is missing ({KEYS[key][1]})" for key in ("images", "masks") if key not in given]
    if entry["map"] and entry["classes"]:
        own = [c["name"] for c in entry["classes"]]
        odd = [str(k) for k in entry["map"] if str(k) not in own]
        if odd:
            faults.append(f"{name}: map: {', '.join(odd)} is none of its classes {', '.join(own)}")
    elif entry["map"]:
        faults.append(f"{name}: `map` needs `classes`")
    return entry


def _colourless(name: str, classes: Any) -> list[str]:
    """A palette would do to draw classes, not to find them in a mask of colours."""
    if classes is None:
        return [f"{name}: mask = rgb needs `classes` with a colour each"]
    listed = classes if isinstance(classes, list) else list(classes.values()) if isinstance(classes, dict) else []
    coloured = [c for c in listed if isinstance(c, dict) and c.get("colour")]
    bare = [str(c.get("name") if isinstance(c, dict) else c) for c in listed if c not in coloured]
    if isinstance(classes, str) and "=" in classes:
        bare = [classes]
    return [f"{name}: mask = rgb, but no colour for {', '.join(bare)}. Write {{name: ..., colour: '#rrggbb'}}"] * bool(
        bare
    )


def _items(value: str | list, _: Path) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]


def _files(value: str | list, folder: Path) -> list[str]:
    named = project.split_files(value, [folder]) if isinstance(value, str) else _items(value, folder)
    return [_placed(item, folder) for item in named]


def _placed(item: str, folder: Path) -> str:
    """A name as seen from anywhere; what lies in a store is asked for when the data set is opened."""
    return item if objects.is_address(item) else str(folder / Path(item).expanduser())


def _notes(value: str | list, _: Path) -> list[str]:
    return [value] if isinstance(value, str) else [str(note) for note in value]


def _resolution(value: float, _: Path) -> float:
    if not 0 < value < 1e6:
        raise ValueError(f"resolution = {value!r}: write {KEYS['resolution'][1]}")
    return float(value)


def _classes(value: Any, folder: Path) -> list[dict]:
    if isinstance(value, str) and Path(value).suffix:
        value = value if "=" in value or objects.is_address(value) else str(folder / value)
    names = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    _no_bool([c.get("name") if isinstance(c, dict) else c for c in names])
    return class_tables.read_classes(value) or []


def _map(value: dict, _: Path) -> dict[str, str]:
    _no_bool([*value, *value.values()])
    return {str(k): str(v) for k, v in value.items()}


def _no_bool(names: list) -> None:
    if any(isinstance(name, bool) for name in names):
        raise ValueError(
            "YAML reads a bare yes, no, on or off as true or false: write class names like 'yes' in quotes"
        )


def _mask(value: str | dict, folder: Path) -> dict[str, str]:
    if isinstance(value, dict):
        options = value
    elif value in mask_options.READS:
        return {"read": value}
    else:
        pairs = [re.split(r"\s*[:=]\s*", part.strip(), maxsplit=1) for part in value.split(",")]
        options = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        if len(options) < len(pairs):
            raise ValueError(f"mask = {value!r}: write {KEYS['mask'][1]}, each once")
    if set(options) - set(mask_options.VECTOR) or ("column" in options) + ("all" in options) != 1:
        raise ValueError(f"mask = {value!r}: write {KEYS['mask'][1]}")
    texts = {str(k): str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}
    if texts.get("complete", "true").lower() not in ("true", "false"):
        texts["complete"] = _placed(texts["complete"], folder)
    return texts


def _resampling(value: str, _: Path) -> str:
    specs.pick("resampling", value, dict.fromkeys(images.RESAMPLING))
    return value


def _preprocess(value: str, folder: Path) -> str:
    place, colon, name = value.rpartition(":")
    if not colon or not name.isidentifier():
        raise ValueError(f"preprocess = {value!r}: write {KEYS['preprocess'][1]}")
    return f"{folder / place}:{name}" if place.endswith(".py") else value


READERS: dict[str, Callable] = {
    "aliases": _items,
    "images": _files,
    "masks": _files,
    "notes": _notes,
    "resolution": _resolution,
    "classes": _classes,
    "mask": _mask,
    "resampling": _resampling,
    "preprocess": _preprocess,
    "bands": lambda value, folder: ",".join(_items(value if isinstance(value, list) else str(value), folder)),
    "map": _map,
}


def table(file: str | Path | None = None) -> pd.DataFrame:
    """The catalogue as a table, for people: a row a dataset, with the number of files that are there."""
    import pandas as pd

    rows = []
    for name, entry in read_catalogue(file).items():
        row = {"dataset": name, "aliases": ", ".join(entry["aliases"]), "title": entry["title"]}
        for kind in ("images", "masks"):
            here = [
                item for item in entry[kind] if not objects.is_address(item)
            ]  # to count the others is to fetch them
            row[kind] = sum(len(project.find_files(item, Path()).get(item, [])) for item in here) if here else None
        row["mask"] = ", ".join(v if k == "read" else f"{k} {v}" for k, v in entry["mask"].items()) or "codes"
        own = [entry["map"].get(c["name"], c["name"]) for c in entry["classes"] or ()]
        row["classes"] = ", ".join(dict.fromkeys(n for n in own if n != "ignore")) or "from the masks"
        row["resolution_m"] = entry["resolution"]
        row |= {k: entry[k] or "" for k in ("bands", "resampling", "preprocess", "attribution")}
        rows.append(row | {"simulated": entry["simulated"]})
    return pd.DataFrame(rows)


def open_datasets(datasets: str, resolution: float | None = None, **facts: Any) -> Pairs:
    """Open datasets of a catalogue, each prepared in its own way, to be split and trained on together.

    Parameters
    ----------
    datasets : str
        Names or aliases: "a+b" or "a,b" of datasets.yaml in the project root, or "path/file.yaml:a+b".
    resolution : float, m, optional
        Side of the pixels of all; None leaves each dataset as it is.
    **facts
        title, name, notes ...: instead of those of the datasets.

    Returns
    -------
    Pairs; of several datasets, with each in `constituents`. Sources without data or labels are left out when the pixels
    are read, and listed.

    Raises
    ------
    ValueError
        Listing every fault of all of them.
    """
    file, names = _parse(datasets)
    catalogue = read_catalogue(file)
    known = catalogue | {alias: entry for entry in catalogue.values() for alias in entry["aliases"]}
    faults: list[str] = []
    entries = [dataset.attempt(faults, specs.pick, "dataset", name, known, datasets) for name in names]
    chosen = [entry["name"] for entry in entries if entry]
    faults += [f"{name} is named twice in {datasets!r}" for name in dict.fromkeys(chosen) if chosen.count(name) > 1]
    dataset.refuse(f"datasets = {datasets!r} cannot be opened", faults)
    parts = []
    for entry in entries:
        try:
            parts.append(_open(entry, resolution))
        except ValueError as error:
            faults.append(f"{entry['name']}: {error}")
    dataset.refuse(f"datasets = {datasets!r} cannot be opened", faults)
    pairs = dataset.combine(parts) if len(parts) > 1 else parts[0]
    return replace(pairs, **facts) if facts else pairs


def check_settings(values: Mapping[str, Any], root: Path) -> list[str]:
    """What parameters, right each by itself, cannot be together: of windows and network, and of the sources what would be ignored."""
    return [*sizes.fit_faults(values, root), *_source_faults(values)]


def _source_faults(values: Mapping[str, Any]) -> list[str]:
    """What of the sources would be ignored, or refused only later."""
    given = {name: values[name] for name in ("images", "masks", "classes", "bands") if values.get(name) is not None}
    if values.get("datasets") is not None:
        surplus = f"{', '.join(given)}: not used beside `datasets`, whose catalogue says it of each. Leave out one or the other"
        return [surplus] * bool(given)
    if ("images" in given) != ("masks" in given):
        there, missing = ("images", "masks") if "images" in given else ("masks", "images")
        return [f"{there} = {given[there]!r}: {missing} are not given. Give both, or neither for the example scene"]
    if "images" not in given and "classes" in given:
        return [
            f"classes = {given['classes']!r}: the example scene has its own. Give images and masks, or leave it out"
        ]
    faults: list[str] = []
    if "bands" in given and "images" in given:  # only the headers tell
        dataset.attempt(
            faults, dataset.open_pairs, *(given.get(name) for name in ("images", "masks", "classes", "bands"))
        )
    elif "bands" in given:
        dataset.attempt(faults, landsat.check_bands, given["bands"])
    return faults


def catalogue_files(datasets: str, root: Path) -> list[Path]:
    """Every file that datasets stand for, the catalogue itself too, so that a change of one is noticed.

    Parameters
    ----------
    datasets : see :func:`open_datasets`
    root : project root, from which the catalogue is looked for

    Raises
    ------
    ValueError
        Listing unknown names, faults of the catalogue, and paths at which there is nothing.
    """
    file, names = _parse(datasets)
    path = Path(root, file.expanduser() if file else FILE)
    catalogue = read_catalogue(path)
    known = catalogue | {alias: entry for entry in catalogue.values() for alias in entry["aliases"]}
    faults: list[str] = []
    files = [path]
    for entry in filter(None, [dataset.attempt(faults, specs.pick, "dataset", n, known, datasets) for n in names]):
        files += [Path(str(entry["preprocess"]).rpartition(":")[0] or "-"), *entry["files"]]
        files.append(Path(project.at_hand(entry["mask"].get("complete", "-"))))
        for item in (*entry["images"], *entry["masks"]):
            found = project.find_files(item, root).get(item, [])
            files += [file for path in found for file in sources.files_of(path)]
            if not found:
                faults.append(f"{entry['name']}: no file is at {item}")
    dataset.refuse(f"datasets = {datasets!r} cannot be opened", faults)
    return list(dict.fromkeys(p for p in files if p.is_file()))


def _parse(text: str) -> tuple[Path | None, list[str]]:
    match = re.match(r"(.+\.ya?ml)(?::|$)", text.strip())
    file = match[1] if match else None
    names = [name.strip() for name in re.split(r"[+,]", text.strip()[match.end() if match else 0 :])]
    if not all(names):
        place = f" Known: {', '.join(sorted(read_catalogue(file)))}." if file else ""
        raise ValueError(
            f"datasets = {text!r} names no dataset, or has an empty place. Write a+b, or file.yaml:a+b.{place}"
        )
    return Path(file) if file else None, names


def _open(entry: dict, resolution: float | None) -> Pairs:
    """One dataset: files, classes by their common names, resampling, preprocessing."""
    options = ",".join(f"{k}={v}" for k, v in entry["mask"].items())
    facts = {k: entry[k] for k in ("name", "title", "attribution", "simulated")} | {"notes": tuple(entry["notes"])}
    own = entry["classes"]
    pairs = dataset.open_pairs(
        entry["images"],
        [f"{item}:{options}" if options else item for item in entry["masks"]],
        classes=own and [dict(c) for c in own],
        bands=entry["bands"],
        **facts,
    )
    faults: list[str] = []
    # the method goes with the images: a resolution may be found only when all data sets are together
    opened = [replace(image, dataset=entry["name"], method=entry["resampling"]) for image in pairs.images]
    if entry["resolution"]:
        faults += [fault for image in opened for fault in _stated(image, entry["resolution"])]
    dataset.refuse("it cannot be prepared", faults)
    opened = list(dataset.resample(replace(pairs, images=tuple(opened)), resolution).images)
    if entry["preprocess"]:
        if entry["folder"].resolve() in project.checkouts():  # the project's own words are yours, as its notebooks are
            trust.trust(entry["preprocess"])
        trust.demand(entry["preprocess"], f"a catalogue in {entry['folder']}")
        opened = [images.with_preprocess(image, entry["preprocess"]) for image in opened[:1]] + [
            replace(image, preprocess=entry["preprocess"]) for image in opened[1:]
        ]
        opened = [replace(image, dtype=opened[0].dtype) for image in opened]
    pairs = replace(pairs, images=tuple(opened), prune=True)
    return rename_classes(pairs, entry["map"]) if entry["map"] else pairs


def _stated(image: images.Image, resolution: float) -> list[str]:
    sides = grids.pixel_sides_m(*image.grid)
    if min(sides) * (1 - TOLERANCE) <= resolution <= max(sides) * (1 + TOLERANCE):
        return []
    return [
        f"resolution = {resolution:g} m is stated, but the pixels of {image.paths[0]} are {sides[0]:.4g} x {sides[1]:.4g} m. "
        "Correct it, or leave it out"
    ]


def rename_classes(pairs: Pairs, names: dict[str, str]) -> Pairs:
    """The same pixels under other class names; several classes may take one name, and `ignore` unlabels."""
    own = tuple({**c, "own": c["name"], "name": names.get(c["name"], c["name"])} for c in pairs.classes or ())
    common = {c["name"]: {k: c[k] for k in ("code", "name", "colour")} for c in reversed(own)}
    order = dict.fromkeys(c["name"] for c in own)
    return replace(
        pairs,
        classes=tuple(common[name] for name in order),
        masks=tuple(replace(mask, classes=own) for mask in pairs.masks),
    )
