"""What is on each chip: from OpenStreetMap, from polygons, or from a class raster. Unknown is never "absent".

A class is on a chip if its areas cover at least `min_share` of the chip, its lines run over at least `min_length_m` metres of it,
or a point of it lies there. Areas of one class count together (each for itself: where two overlap, twice). Where an extract does
not say anything of a part of a chip, what was found is on it, and of all else nothing is known (NA).
Each class is known where those files that tell of it are known to cover, and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geonb.base import files as base_files
from geonb.base import project
from geonb.base.conventions import refuse, short
from geonb.rasters import grids, images, osm, vectors
from geonb.workloads.chips import cutting, quadkeys
from geonb.workloads.chips.quadkeys import Cell

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

THIRTEEN = Path(__file__).with_name("labels.yaml")  # the classes of the original
MIN_SHARE, MIN_LENGTH_M = 0.01, 10.0
METRES = 6_371_008.8 * np.pi / 180  # a degree of a great circle
CHUNK = 20_000  # chips that are joined at once
BLOCK = 32  # chips on a side of what is read of a class raster at once; always the same ones, as a warp hangs a little on its frame
HAIR_DEG = 1e-6  # by which an extent may fall short of a chip
# The keys that most things have (taginfo.openstreetmap.org/keys), against which a misspelt one is noticed.
KEYS = frozenset(re.findall(r"\w+", """
abutters access admin_level aerialway aeroway amenity area artwork_type attraction barrier bicycle boundary bridge building
bus cemetery club construction craft crop crossing cuisine covered cutting cycleway denomination embankment emergency
entrance fence_type foot footway ford gauge generator genus geological golf government harbour healthcare height highway
historic hoops horse industrial information intermittent junction landcover landuse lanes layer leaf_cycle leaf_type leisure
lit location man_made material military monitoring natural network office oneway orchard parking pipeline place playground
plant plants power product produce protect_class public_transport railway recycling religion resource residential roof route
sauna sac_scale school seamark service shelter shop sidewalk smoothness social_facility species sport stadium station
street_cabinet substation substance surface swimming_pool tactile_paving telecom toilets tourism tower tracktype
traffic_calming traffic_sign trees tunnel type usage utility vending wall water water_source waterway wetland wheelchair
width wood
"""))  # fmt: skip
Classes = dict[str, dict[str, frozenset[str] | None]]


def read_classes(path: str | Path = THIRTEEN) -> Classes:
    """Label -> OpenStreetMap key -> values, None for any, from a YAML file: ``Forest: {landuse: [forest], natural: "*"}``.

    Raises
    ------
    ValueError
        Listing, with its line, every label given twice, misspelt key and entry of another form.
    """
    import yaml

    path = Path(project.at_hand(path))
    try:
        root = yaml.compose(
            path.read_text(encoding="utf-8"), yaml.SafeLoader
        )  # as it is written: no is a value, not false
    except OSError:
        raise ValueError(f"There is no file of labels {path}. The one that comes with geonb is {THIRTEEN}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable YAML: {short(error)}") from None
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise ValueError(
            f'{path} must hold lines `label: {{key: [value, value]}}`, for instance Forest: {{landuse: [forest], natural: "*"}}'
        )
    faults: list[str] = []
    classes: Classes = {}
    for label, node in root.value:
        name, line = str(label.value).strip(), label.start_mark.line + 1
        if name in classes or not name:
            faults.append(
                f"line {line}: label {name!r} is given twice. Put all of its keys in one place"
                if name
                else f"line {line}: no label"
            )
        if not isinstance(node, yaml.MappingNode) or not node.value:
            faults.append(f'line {line}: {name} needs keys, as {{landuse: [forest], natural: "*"}}')
            continue
        classes[name] = _keys(node, name, faults)
    faults += name_faults(classes)
    refuse(f"{path} cannot be used", faults)
    return classes


def name_faults(names: Iterable[str]) -> list[str]:
    """What names of classes may not be: alike but for upper and lower case, which a GeoPackage takes for one column; with commas."""
    same: dict[str, list[str]] = {}
    for name in names:
        same.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(some) for some in same.values() if len(some) > 1]
    commas = [name for some in same.values() for name in some if "," in name]
    return [
        f"{some} differ in upper and lower case alone, and are one column of a GeoPackage. Rename one" for some in alike
    ] + [f"{name!r}: labels of a chip are listed with commas. Write {name.replace(',', ' /')!r}" for name in commas]


def _keys(node: Any, label: str, faults: list[str]) -> dict[str, frozenset[str] | None]:
    import yaml

    keys: dict[str, frozenset[str] | None] = {}
    for key_node, values in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        near = [] if ":" in key or key in KEYS else get_close_matches(key, KEYS, n=1, cutoff=0.8)
        if key in keys:
            faults.append(f"line {line}: {label} has the key {key} twice")
        if near:
            faults.append(
                f"line {line}: {label}: there is hardly a key {key!r} in OpenStreetMap. Did you mean {near[0]!r}?"
            )
        every = values.value if isinstance(values, yaml.SequenceNode) else [values]
        if not every or not all(isinstance(v, yaml.ScalarNode) and v.value for v in every):
            faults.append(f'line {line}: {label}: {key} needs values, as [forest, meadow], or "*" for any')
            continue
        texts = [v.value for v in every]
        keys[key] = None if "*" in texts else frozenset(texts)
    return keys


def classes_of_tags(tags: Sequence[Mapping[str, str]], classes: Classes) -> tuple[np.ndarray, np.ndarray]:
    """Which things have which class: (place in tags, place in classes), each pair once; values must be equal, not alike."""
    wanted: dict[str, list[tuple[frozenset[str] | None, int]]] = {}
    for number, keys in enumerate(classes.values()):
        for key, values in keys.items():
            wanted.setdefault(key, []).append((values, number))
    pairs = {
        (i, number)
        for i, each in enumerate(tags)
        for key in wanted.keys() & each.keys()
        for values, number in wanted[key]
        if (each[key] != "no" if values is None else each[key] in values)
    }
    found = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def label_chips(
    chips: gpd.GeoDataFrame, labels: str | Path | Sequence[str | Path], classes: str | Path | Mapping[int, str] | None = None, *,
    min_share: float = MIN_SHARE, min_length_m: float = MIN_LENGTH_M, extent: Any = None,
) -> pd.DataFrame:  # fmt: skip
    """The sparse table of labels: a row a chip, a column a class.

    Parameters
    ----------
    chips : GeoDataFrame in OGC:CRS84 with `name`, as `cutting.cut_chips` gives it; for a class raster also `quadkey` and `zone`
    labels : extracts (.osm.pbf, Overpass JSON, osm_data.json), a vector file with its classes (``file.geojson:all=building``,
        ``file.gpkg:column=kind,layer=main``), or a class raster; files that a glob names tell of the same classes. Both but the last may
        be told where all is mapped, by polygons or an Osmosis .poly: ``city.osm.pbf:extent=area.geojson``; a class without a shape there
        is absent
    classes : YAML of labels for OpenStreetMap, the original's thirteen by default; {code: name} for a class raster
    min_share, min_length_m : share of the chip's area, 0-1; m
    extent : polygon in OGC:CRS84, optional
        Where all is mapped, whatever files say. By default what is said of each, else the box in the extract's header; of files that do
        not say it, the box around what they hold, with a note; for a raster wherever it has data.

    Returns
    -------
    DataFrame: Feature (name of the chip) and a column a class: 1, 0 or NA (not known), Int8. In its attrs `notes` and `version`,
        which stands for the inputs and the settings.

    Raises
    ------
    ValueError
        If labels or classes cannot be used; if no class is found in them at all: says what is there instead.
    """
    import pandas as pd

    files = _files(labels)
    notes: list[str] = []
    if files[0].kind == "raster":
        names: Mapping[str, Any] = {str(name): code for code, name in _coded(files[0].path, classes).items()}
        values = raster_labels(chips, [file.path for file in files], list(names.values()), min_share)
        notes.append(f"Labels are shares of a class raster ({min_share:g} of a chip and more).")
    else:
        things, numbers, names, known = (
            _osm_things(files, classes, notes) if files[0].kind == "osm" else _vector_things(files, notes)
        )
        known = known if extent is None else [extent] * len(names)
        values = joined(chips, things, numbers, len(names), known, min_share=min_share, min_length_m=min_length_m)
    if unknown := int((values < 0).any(axis=1).sum()):
        notes.append(
            f"{unknown} of {len(chips)} chips reach beyond what was mapped, at least in part: what is not found there is not known."
        )
    table = pd.DataFrame(values, columns=list(names)).astype("Int8").mask(values < 0)
    table.insert(0, "Feature", chips["name"].to_numpy())
    read = [path for file in files for path in (file.path, file.extent) if path is not None]
    sums = [base_files.fingerprint(path)["sha256"] for path in read]
    settings = [min_share, min_length_m, None if extent is None else extent.wkt, [file.options for file in files]]
    said = {
        label: {k: v and sorted(v) for k, v in keys.items()} if isinstance(keys, dict) else str(keys)
        for label, keys in names.items()
    }
    table.attrs = {"notes": notes, "version": base_files.key_of([settings, said, sums, list(table["Feature"])])}
    return table


def check(labels: str | Sequence[str], classes: str | Path | Mapping[int, str] | None = None) -> None:
    """Refuse what `label_chips` would, but for what a join tells: before hours of imagery are read.

    Raises
    ------
    ValueError
    """
    files = _files(labels)
    if files[0].kind == "osm":
        if isinstance(classes, Mapping):
            raise ValueError(
                f"classes = {dict(classes)} are a class raster's, and {files[0].path} is no raster: give a YAML of labels, or none"
            )
        read_classes(THIRTEEN if classes is None else classes)
        for file in files:
            file.area()
    elif files[0].kind == "vector":
        _vector_things(files, [])
    else:
        _coded(files[0].path, classes)
        for file in files:
            _class_raster(file.path)


def _coded(path: Path, classes: Any) -> Mapping[int, str]:
    """The classes of a class raster, code -> name."""
    if isinstance(classes, Mapping):
        refuse(f"classes = {dict(classes)} cannot be used", name_faults(map(str, classes.values())))
        return classes
    raise ValueError(f"{path} is a class raster: give its classes as code and name, for instance 1=forest,2=water")


class File(NamedTuple):
    """A file of labels: what is said of it, where all is mapped (None: nobody said), and the number of the part that names it."""

    path: Path
    options: dict[str, str]
    extent: Path | None
    part: int

    @property
    def kind(self) -> str:
        """osm, vector or raster."""
        return kind_of(self.path, self.options)

    def area(self) -> Any:
        """The polygon that was said to be mapped, in OGC:CRS84, or None."""
        return None if self.extent is None else osm.read_extent(self.extent)


def _files(labels: str | Path | Sequence[str | Path]) -> list[File]:
    """The files of labels, with what is said of each; all of one kind."""
    if isinstance(labels, str):
        items = project.split_files(labels)
    else:
        items = [str(labels)] if isinstance(labels, Path) else [str(item) for item in labels]
    faults: list[str] = []
    files: list[File] = []
    for part, (name, options) in enumerate(map(options_of, items)):
        extents = project.expand_files([options["extent"]], faults, "extent") if "extent" in options else []
        if len(extents) > 1:
            faults.append(
                f"extent={options['extent']} names {len(extents)} files, and one says what is mapped. Put all areas into one file"
            )
        found = project.expand_files([name], faults, "labels")
        files += [File(path, options, extents[0] if extents else None, part) for path in found]
    if len(kinds := {file.kind for file in files}) > 1:
        faults.append(f"labels = {labels!r}: files of several kinds ({', '.join(sorted(kinds))}). Give those of one")
    faults += [f"{file.path} is a raster, of which nothing is to be said: take {','.join(file.options)} away" for file in files
               if file.kind == "raster" and file.options]  # fmt: skip
    refuse("These labels cannot be used", faults or ["labels: no file is named"] * (not files))
    return files


def options_of(item: str) -> tuple[str, dict[str, str]]:
    """The file, and what is said of it: ``a.gpkg:column=kind,layer=main``."""
    path, *rest = re.split(r":(?=\w+=)", item.strip(), maxsplit=1)
    given = dict(text.split("=", 1) for text in re.split(r",\s*(?=\w+=)", rest[0])) if rest else {}
    odd = set(given) - {"all", "column", "layer", "extent"}
    if odd or {"all", "column"} <= set(given):
        raise ValueError(
            f"labels: {item}: give all=CLASS or column=NAME, layer=NAME if there are several, and extent=FILE of what is mapped"
        )
    return path, given


def kind_of(path: Path, options: Mapping[str, str]) -> str:
    """What a file of labels is, by its name: osm, vector or raster."""
    suffix = path.suffix.lower()
    if suffix in osm.BINARY or (suffix == ".json" and not set(options) - {"extent"}):
        return "osm"
    return "vector" if suffix in vectors.SUFFIXES else "raster"


def _osm_things(files: Sequence[File], classes: Any, notes: list[str]) -> tuple[Any, Any, Classes, list]:
    """Shapes with a class, its number, the classes, and the area that is covered, of each class."""
    import shapely

    extracts = [osm.read_elements(file.path) for file in files]
    table = osm.features(extracts, ", ".join(file.path.name for file in files[:3]) + " ..." * (len(files) > 3))
    wanted = read_classes(THIRTEEN if classes is None else classes)
    rows, numbers = classes_of_tags(table["tags"].tolist(), wanted)
    notes += table.attrs["notes"]
    if not len(rows):
        frequent = Counter(tag for tags in table["tags"] for tag in tags.items())
        most = ", ".join(f"{key}={value} ({n})" for (key, value), n in frequent.most_common(8))
        raise ValueError(
            f"Nothing in {files[0].path} has a tag of the classes ({', '.join(wanted)}). Most frequent there: {most}"
        )
    known = shapely.union_all([_mapped(*pair, notes) for pair in zip(files, extracts, strict=True)])
    return table.geometry.to_numpy()[rows], numbers, wanted, [known] * len(wanted)


def _mapped(file: File, extract: osm.Elements, notes: list[str]) -> Any:
    """The area of which an extract tells: what was said, what it says, or the box around what it holds."""
    name = file.path.name
    if (said := file.area()) is not None:
        return said
    if extract.extent is None:
        notes.append(f"{name} does not say what area it covers: taken is the box around all it holds.")
        return extract.box
    if file.path.suffix.lower() in osm.BINARY:
        notes.append(
            f"{name}: taken as mapped is the box in its header. If it was cut along a polygon: {name}:extent=area.geojson"
        )
    return extract.extent


def _vector_things(files: Sequence[File], notes: list[str]) -> tuple[Any, Any, dict[str, int], list]:
    """As `_osm_things`, of vector files."""
    import pandas as pd
    import shapely

    shapes, texts, areas = [], [], []
    for file in files:
        found, said = _read_vector(file.path, file.options, notes)
        shapes.append(found)
        texts.append(said)
        area = file.area()
        areas.append(shapely.box(*shapely.total_bounds(found)) if area is None and len(found) else area)
    geometry, every = np.concatenate(shapes), pd.concat(texts, ignore_index=True)
    every = every.map(lambda text: text.strip() or None if isinstance(text, str) else text)
    some = every.notna().to_numpy()
    if not some.all():
        notes.append(f"{int((~some).sum())} shapes have no class, and are left out.")
    if not some.any():
        raise ValueError(f"{files[0].path} holds no shape with a class. Is the file complete?")
    numbers, names = pd.factorize(every[some].astype(str), sort=True)
    refuse(f"The classes of {files[0].path} cannot be used", name_faults(names))
    if any(file.extent is None for file in files):
        notes.append(
            "The polygons do not say what area was mapped: taken is the box around them, file by file, for the classes that a file tells "
            "of. Beyond it nothing is known. If you know it: extent=area.geojson"
        )
    part = np.repeat([file.part for file in files], [len(found) for found in shapes])[some]
    telling = [_telling(name, {*part[numbers == number].tolist()}, files) for number, name in enumerate(names)]
    known = {
        parts: shapely.union_all([a for f, a in zip(files, areas, strict=True) if f.part in parts])
        for parts in {*telling}
    }
    return geometry[some], numbers, {name: i for i, name in enumerate(names)}, [known[parts] for parts in telling]


def _telling(name: str, found: set[int], files: Sequence[File]) -> frozenset[int]:
    """The parts that tell of a class: those it is `found` in, and those of which somebody said where all is mapped, if it could be.

    That is in one that is all of it, and in one whose column is that of a part in which it is.
    """
    columns = {file.options.get("column") for file in files if file.part in found} - {None}
    said = (file for file in files if file.extent is not None)
    could = {
        file.part
        for file in said
        if file.options.get("all", "").strip() == name or file.options.get("column") in columns
    }
    return frozenset(found | could)


def _read_vector(path: Path, options: Mapping[str, str], notes: list[str]) -> tuple[np.ndarray, pd.Series]:
    """The shapes of a file and the class of each."""
    import pandas as pd

    frame = vectors.read_frame(path, options.get("layer"), ",".join(f"{k}={v}" for k, v in options.items()))
    columns = [c for c in frame.columns if c != frame.geometry.name]
    column = options.get("column")
    if "all" not in options and column not in columns:
        what = f"has no class column {column!r}" if column else "needs to be told where the classes stand"
        raise ValueError(
            f"{path} {what}. If every polygon is one class: {path.name}:all=building. "
            f"If not, its columns are {', '.join(columns) or 'none'}: {path.name}:column={columns[0] if columns else 'NAME'}"
        )
    vectors.check_crs(path, frame)
    found, left, text = vectors.usable(frame)
    notes += [f"{path.name}: {line}" for line in text]
    return found, pd.Series([options["all"]] * len(found), dtype=object) if "all" in options else frame[column].iloc[
        left
    ].astype(object)


def joined(
    chips: gpd.GeoDataFrame, shapes: np.ndarray, numbers: np.ndarray, classes: int, extents: Sequence[Any] = (), *,
    min_share: float = MIN_SHARE, min_length_m: float = MIN_LENGTH_M,
) -> np.ndarray:  # fmt: skip
    """Which classes are on which chips.

    Parameters
    ----------
    chips : GeoDataFrame in OGC:CRS84, outlines of chips
    shapes : ndarray (thing,) of valid geometries in OGC:CRS84
    numbers : ndarray (thing,) of int, the class of each
    classes : int, how many there are
    extents : of each class the polygon in which all of it is mapped; none: everywhere

    Returns
    -------
    ndarray (chip, class) of int8: 1, 0, -1 where it is not known
    """
    import shapely

    outlines = chips.geometry.to_numpy()
    values = np.zeros((len(outlines), classes), np.int8)
    tree = shapely.STRtree(shapes)
    for start in range(0, len(outlines), CHUNK):
        some = outlines[start : start + CHUNK]
        chip, thing = tree.query(some, predicate="intersects")
        share, length, point = _overlaps(some, shapes, chip, thing)
        key = chip * classes + numbers[thing]
        sums = [np.bincount(key, weight, len(some) * classes).reshape(-1, classes) for weight in (share, length, point)]
        enough = (sums[0] >= min_share) & (sums[0] > 0) | (sums[1] >= min_length_m) & (sums[1] > 0) | (sums[2] > 0)
        values[start : start + CHUNK] = enough
    for extent in {id(one): one for one in extents}.values():
        wide = shapely.buffer(extent, HAIR_DEG)
        shapely.prepare(wide)
        # a half that is known to have a label says nothing of halves that have not
        values[np.ix_(~shapely.covers(wide, outlines), [one is extent for one in extents])] = -1
    return values


def _overlaps(outlines: np.ndarray, shapes: np.ndarray, chip: np.ndarray, thing: np.ndarray) -> tuple:
    """Of pairs that meet: share of the chip's area, length in metres, whether it is a point."""
    import shapely

    share, length = np.zeros(len(chip)), np.zeros(len(chip))
    dimension = shapely.get_dimensions(shapes)[thing]
    inside = _inside(outlines, shapes, chip, thing)
    cut = shapes[thing]
    whole = np.zeros(len(chip), bool)  # chips that lie within a thing
    big = np.flatnonzero((dimension == 2) & ~inside)
    shapely.prepare(shapes[np.unique(thing[big])])
    whole[big] = shapely.covers(shapes[thing[big]], outlines[chip[big]])
    part = (dimension > 0) & ~inside & ~whole
    cut[part] = _cut(outlines, shapes, chip[part], thing[part])
    area = (dimension == 2) & ~whole
    areas = shapely.area(outlines)
    share[area] = shapely.area(cut[area]) / areas[chip[area]]
    share[whole] = 1.0
    lines = np.flatnonzero(dimension == 1)
    latitude = shapely.get_y(shapely.centroid(outlines))
    length[lines] = _metres(cut[lines], latitude[chip[lines]])
    return share, length, dimension == 0


def _cut(outlines: np.ndarray, shapes: np.ndarray, chip: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """The parts of things that lie on chips; cut by upright rectangles where the chips are some, which is nine times faster."""
    import shapely

    cut, boxes = np.empty(len(chip), object), shapely.bounds(outlines)
    upright = np.isclose(
        shapely.area(outlines), (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), rtol=1e-9, atol=0
    )[chip]
    skew = ~upright
    cut[skew] = shapely.intersection(shapes[thing[skew]], outlines[chip[skew]])
    order = np.flatnonzero(upright)[np.argsort(chip[upright], kind="stable")]
    for pairs in np.split(order, np.flatnonzero(np.diff(chip[order])) + 1) if len(order) else ():
        cut[pairs] = shapely.clip_by_rect(shapes[thing[pairs]], *boxes[chip[pairs[0]]])
    return cut


def _inside(outlines: np.ndarray, shapes: np.ndarray, chip: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """Whether things surely lie in the chip: their box in the upright one that the chip's four corners leave."""
    import shapely

    corners = shapely.get_coordinates(outlines).reshape(len(outlines), 5, 2)[:, :4]
    x, y = np.sort(corners[..., 0], axis=1), np.sort(corners[..., 1], axis=1)
    inner, boxes = np.stack([x[:, 1], y[:, 1], x[:, 2], y[:, 2]], axis=1)[chip], shapely.bounds(shapes)[thing]
    return (boxes[:, :2] >= inner[:, :2]).all(axis=1) & (boxes[:, 2:] <= inner[:, 2:]).all(axis=1)


def _metres(lines: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Lengths of lines in degrees, near some latitudes, in metres on a sphere."""
    import shapely

    pieces, owner = shapely.get_parts(lines, return_index=True)
    places, piece = shapely.get_coordinates(pieces, return_index=True)
    step = np.diff(places, axis=0)
    same = piece[1:] == piece[:-1]
    at = owner[piece[1:]][same]
    metres = np.hypot(step[same, 0] * np.cos(np.radians(latitude[at])), step[same, 1]) * METRES
    return np.bincount(at, metres, len(lines))


def raster_labels(chips: gpd.GeoDataFrame, paths: Sequence[Path], codes: Sequence[int], min_share: float) -> np.ndarray:
    """Values (chip, class) by shares of the pixels of class rasters: -1 where what is not seen of a chip could decide.

    Where rasters overlap, the first that has data counts. Of each only what lies on chips is read.
    """
    opened = [_class_raster(path) for path in paths]
    meets = [_meets(image, chips) for image in opened]
    cells = [Cell(str(key), int(zone)) for key, zone in zip(chips["quadkey"], chips["zone"], strict=True)]
    groups: dict[tuple[int, int, int, int], list[int]] = {}  # chips of one grid that lie near each other
    for i, cell in enumerate(cells):
        groups.setdefault((cell.zone, cell.zoom, cell.tile.x // BLOCK, cell.tile.y // BLOCK), []).append(i)
    shares, told = np.zeros((len(chips), len(codes))), np.zeros(len(chips))
    for (zone, zoom, column, row), group in groups.items():
        here = [(image, hit) for image, hit in zip(opened, meets, strict=True) if hit[group].any()]
        corner = quadkeys.cell_at(zone, zoom, BLOCK * column, BLOCK * row)
        size = max((_fine_enough(image, corner) for image, _ in here), default=1)
        left: dict[int, np.ndarray] = {}  # pixels not seen yet, as bits: a block of fine chips would be a gigabyte
        whole = np.full(size**2 // 8, 255, np.uint8)
        for image, hit in here:  # one open at a time: there may be a mask for each chip
            seen = sorted(
                (i for i in group if hit[i] and told[i] < 1), key=lambda i: (cells[i].tile.y, cells[i].tile.x)
            )
            for i, inputs, valid in _read(image, corner, {i: cells[i] for i in seen}, size):
                if (broken := inputs[:, valid] % 1 != 0).any():
                    raise ValueError(
                        f"{image.paths[0]} is no class raster: it holds {inputs[:, valid][broken][0]:g}, and whole numbers are wanted"
                    )
                free = np.unpackbits(left.get(i, whole)).reshape(size, size).astype(bool)
                new = valid & free
                shares[i] += (inputs[0][new][:, None] == np.asarray(codes)).sum(axis=0) / size**2
                told[i] += new.mean()
                left[i] = np.packbits(free & ~new)
    values = ((shares >= min_share) & (shares > 0)).astype(np.int8)
    unseen = (1 - told)[:, None]
    values[(values == 0) & (unseen > 1e-9) & (shares + unseen >= min_share)] = -1
    return values


def _class_raster(path: Path) -> images.Image:
    image = images.open_image(path)
    if len(image.channels) != 1:
        raise ValueError(
            f"{path} is no class raster: it has {len(image.channels)} bands, and one of whole numbers is wanted"
        )
    return image


def _meets(image: images.Image, chips: gpd.GeoDataFrame) -> np.ndarray:
    """Whether chips may lie on an image: bool (chip,), by boxes in degrees, also around 180."""
    import shapely

    west, south, east, north = cutting.lonlat_box(image)
    boxes = shapely.bounds(chips.geometry.to_numpy())
    across = [(boxes[:, 0] + turn < east) & (boxes[:, 2] + turn > west) for turn in (-360, 0, 360)]
    return np.any(across, axis=0) & (boxes[:, 1] < north) & (boxes[:, 3] > south)


def _read(
    image: images.Image, corner: Cell, cells: Mapping[int, Cell], size: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Of some chips of the block from a corner on what an image holds: inputs and valid; its frame is always the whole block."""
    _, x, y = corner.tile
    south = corner.zone > 0 and (image.crs.to_epsg() or 0) // 100 == 327
    lattice = cutting.Lattice(corner.zone, corner.zoom, size, range(x, x + BLOCK), range(y, y + BLOCK), south)
    with cutting.reading(image, lattice, "nearest") as read:
        for i, cell in cells.items():
            yield i, *read(*lattice.slices(cell.tile.x, cell.tile.y))


def _fine_enough(image: images.Image, cell: Cell) -> int:
    """Pixels along a chip, so that about as many are looked at as the raster has there."""
    _, south, _, north = cell.footprint.bounds
    side = (north - south) * METRES
    return int(np.clip(2 ** np.ceil(np.log2(side / grids.pixel_size_m(*image.grid))), 16, 1024))


def dense(sparse: pd.DataFrame) -> pd.DataFrame:
    """The dense table: name and list of labels of each chip of which all is known; the others have no row."""
    import pandas as pd

    known = sparse[sparse.notna().all(axis=1)]
    names = np.array(sparse.columns[1:])
    lists = [names[row].tolist() for row in known.iloc[:, 1:].to_numpy(np.int8).astype(bool)]
    return pd.DataFrame({"name": known["Feature"].to_numpy(), "labels": lists})


def write_labels(sparse: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write ``sparse.csv`` (not known: empty), ``dense.json`` (name -> labels), and last ``labels.json`` with version and notes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    each = dense(sparse)
    base_files.write_text(folder / "sparse.csv", sparse.to_csv(index=False))
    base_files.write_text(
        folder / "dense.json", json.dumps(dict(zip(each["name"], each["labels"], strict=True)), indent=1)
    )
    base_files.write_json(
        folder / "labels.json",
        {"version": sparse.attrs["version"], "notes": sparse.attrs["notes"], "chips": len(sparse)},
    )
    return [folder / name for name in ("sparse.csv", "dense.json", "labels.json")]
