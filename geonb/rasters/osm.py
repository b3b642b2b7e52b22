"""OpenStreetMap extracts: nodes, ways and relations with their tags, and what they are on the ground.

Read from .osm.pbf and .osm (by osmium) and from Overpass JSON, with geometries (``out geom``) or with nodes. Areas are made in one
way for all of them: rings of the members' lines, whole, even-odd (`shapely.build_area`); what an extract refers to and does not hold
is counted and said, and the rest is kept.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import short
from geonb.rasters import vectors

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

BINARY = (".pbf", ".osm", ".gz", ".bz2")
KINDS = ("node", "way", "relation")
AREAS = ("multipolygon", "boundary")  # types of relations that are areas
# Of closed ways: lines by these keys, but areas if one of the others is there too (wiki.openstreetmap.org/wiki/Key:area).
LINE_KEYS = frozenset({"highway", "barrier", "railway", "waterway", "power", "aerialway"})
AREA_KEYS = frozenset(
    {"building", "landuse", "leisure", "natural", "amenity", "area:highway", "place", "shop", "tourism"}
)
AREA_VALUES = frozenset(
    {"platform", "station", "services", "rest_area", "elevator", "riverbank", "dock", "boatyard", "plant", "substation"}
)
Tags = dict[str, str]


@dataclass
class Elements:
    """An extract as it came: what it holds, and what it lacks.

    nodes (with tags) are (id, tags, point), ways (id, tags, line or None, whether it is whole and closed), relations (id, tags, ways
    of (id, role)), all shapes in OGC:CRS84; extent is the area of which it tells, None if it does not say; lacks counts what is
    referred to and not there.
    """

    nodes: list[tuple[int, Tags, Any]] = field(default_factory=list)
    ways: dict[int, tuple[Tags, Any, bool]] = field(default_factory=dict)
    relations: list[tuple[int, Tags, list[tuple[int, str]]]] = field(default_factory=list)
    extent: Any = None
    lacks: Counter[str] = field(default_factory=Counter)

    @property
    def box(self) -> Any:
        """The box around all nodes and ways, in OGC:CRS84."""
        import shapely

        places = np.array([place for _, _, place in self.nodes]).reshape(-1, 2)
        lines = np.array([line for _, line, _ in self.ways.values()], object)
        return shapely.box(*shapely.total_bounds(np.concatenate([shapely.points(places), lines])))


def read_osm(paths: str | Path | Sequence[str | Path]) -> gpd.GeoDataFrame:
    """What extracts hold on the ground, each thing once.

    Parameters
    ----------
    paths : .osm.pbf, .osm, Overpass JSON, ``osm_data.json`` of tiles; one or several

    Returns
    -------
    GeoDataFrame in OGC:CRS84: kind (node, way, relation), osm_id, tags (dict), geometry (points, lines, areas). In its attrs
        `extent`, the area of which the extracts tell (None: they do not say), and `notes`, what is lacking

    Raises
    ------
    ValueError
        If a file is no extract, or all of them hold nothing that has a tag.
    """
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    return features([read_elements(file) for file in files], ", ".join(map(str, files[:3])) + " ..." * (len(files) > 3))


def read_elements(path: str | Path) -> Elements:
    """The elements of an extract.

    Raises
    ------
    ValueError
        If it cannot be read as one, or its server said that a part is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no OpenStreetMap extract {path}")
    if path.suffix.lower() in BINARY:
        return _read_binary(path)
    content: Any = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        every = content.get("elements")
        every = [e for k in ("nodes", "ways", "relations") for e in content[k]] if every is None else every
        found = _from_json(every, content.get("bounds"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no Overpass JSON ({type(error).__name__}: {short(error)}). Give a file with `elements` as Overpass answers it, "
            "an osm_data.json with nodes, ways and relations, or an .osm.pbf"
        ) from None
    if said := broken_off(content):
        raise ValueError(
            f"{path} is a part only, of which nobody knows what it lacks: {said}. Ask Overpass again, with a longer [timeout:...], or "
            "box by box"
        )
    return found


def broken_off(content: Mapping[str, Any]) -> str:
    """What an Overpass server says of an answer that it did not finish, in its `remark`; empty where it is whole."""
    remark = str(content.get("remark", ""))
    return remark.strip() if re.search("error|timed? ?out|out of memory", remark, re.IGNORECASE) else ""


def read_extent(path: str | Path) -> Any:
    """The area that an extract was cut along: polygons of a vector file, or an Osmosis filter (.poly), as osmium takes them.

    Returns
    -------
    polygon or multipolygon in OGC:CRS84

    Raises
    ------
    ValueError
        If it cannot be read, has no CRS, or holds no area.
    """
    import shapely

    path = Path(path)
    if path.suffix.lower() == ".poly":
        shapes = _read_poly(path)
    else:
        frame = vectors.read_frame(path)
        vectors.check_crs(path, frame)
        shapes = vectors.usable(frame)[0]
    area = shapely.union_all(shapes[shapely.get_dimensions(shapes) == 2])
    if area.is_empty:
        raise ValueError(f"{path} holds no polygon. Give the area that was mapped, as the extract was cut along it")
    return area


def _read_poly(path: Path) -> np.ndarray:
    """The area of a .poly file, its rings named !... cut out (wiki.openstreetmap.org/wiki/Osmosis/Polygon_Filter_File_Format)."""
    import shapely

    rings: dict[bool, list[Any]] = {False: [], True: []}
    try:
        _, _, text = path.read_text(encoding="utf-8").partition("\n")
        for section in re.split(r"^END\s*$", text, flags=re.MULTILINE):
            name, *lines = section.strip().splitlines() or [""]
            if lines:
                places = [[float(number) for number in line.split()] for line in lines]
                rings[name.startswith("!")].append(shapely.make_valid(shapely.Polygon(places)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no .poly file ({short(error)}). Give one, or polygons as GeoJSON") from None
    return np.array([shapely.union_all(rings[False]).difference(shapely.union_all(rings[True]))])


def _read_binary(path: Path) -> Elements:
    import osmium
    import shapely

    found, ids = Elements(), []
    lines: list[bytes | None] = []
    try:
        with osmium.io.Reader(str(path)) as reader:
            box = reader.header().box()
        tagless = osmium.filter.EmptyTagFilter()
        tagless.enable_for(osmium.osm.NODE)
        thing: Any
        for thing in osmium.FileProcessor(str(path)).with_locations().with_filter(tagless):
            tags = dict(thing.tags)
            if thing.is_node() and thing.location.valid():
                found.nodes.append((thing.id, tags, (thing.location.lon, thing.location.lat)))
            elif thing.is_way():
                line, whole = _way(thing, found.lacks)
                lines.append(line)
                ids.append((thing.id, tags, whole))
            elif thing.is_relation():
                members = [(member.ref, member.role) for member in thing.members if member.type == "w"]
                found.relations.append((thing.id, tags, members))
    except RuntimeError as error:
        raise ValueError(
            f"{path} cannot be read as OpenStreetMap data ({short(error)}). Copy it again, or give an .osm.pbf"
        ) from None
    found.ways = {i: (tags, line, ring) for (i, tags, ring), line in zip(ids, shapely.from_wkb(lines), strict=True)}
    if box.valid():
        found.extent = shapely.box(box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat)
    return found


def _way(way: Any, lacks: Counter[str]) -> tuple[bytes | None, bool]:
    """A way as WKB, in pieces where nodes are not there; and whether it is whole and closed."""
    import osmium
    import shapely

    try:
        return bytes.fromhex(osmium.geom.WKBFactory().create_linestring(way)), way.is_closed() and len(way.nodes) > 3
    except (RuntimeError, osmium.InvalidLocationError):
        places = [(n.lon, n.lat) if n.location.valid() else None for n in way.nodes]
        lacks["nodes"] += places.count(None)
        line = _pieces(places)
        return None if line is None else shapely.to_wkb(line), False


def _pieces(points: Iterable[tuple[float, float] | None]) -> Any:
    """A line through places, broken where one is None; None if nothing is left."""
    import shapely

    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        elif not pieces[-1] or pieces[-1][-1] != point:
            pieces[-1].append(point)
    lines = [shapely.LineString(piece) for piece in pieces if len(piece) > 1]
    return (shapely.MultiLineString(lines) if len(lines) > 1 else lines[0]) if lines else None


def _from_json(every: Sequence[Mapping[str, Any]], bounds: Sequence[float] | None) -> Elements:
    import shapely

    found = Elements(extent=None if bounds is None else shapely.box(*bounds))
    places = {e["id"]: (e["lon"], e["lat"]) for e in every if e["type"] == "node" and "lon" in e}
    for e in every:
        tags = {str(k): str(v) for k, v in e.get("tags", {}).items()}
        if e["type"] == "node" and tags and e["id"] in places:
            found.nodes.append((e["id"], tags, places[e["id"]]))
        elif e["type"] == "way":
            points = (
                [p and (p["lon"], p["lat"]) for p in e["geometry"]]
                if "geometry" in e
                else [places.get(n) for n in e.get("nodes", ())]
            )
            found.ways[e["id"]] = (tags, *_line(points, found.lacks))
    for e in every:
        if e["type"] == "relation":
            members = [m for m in e.get("members", ()) if m["type"] == "way"]
            for m in members:
                if m["ref"] not in found.ways and m.get("geometry"):  # told only here
                    found.ways[m["ref"]] = (
                        {},
                        *_line([p and (p["lon"], p["lat"]) for p in m["geometry"]], found.lacks),
                    )
            tags = {str(k): str(v) for k, v in e.get("tags", {}).items()}
            found.relations.append((e["id"], tags, [(m["ref"], m.get("role", "")) for m in members]))
    return found


def _line(points: Sequence[Any], lacks: Counter[str]) -> tuple[Any, bool]:
    missing = sum(point is None for point in points)
    lacks["nodes"] += missing
    return _pieces(points), not missing and len(points) > 3 and points[0] == points[-1]


def features(extracts: Sequence[Elements], where: str = "The extract") -> gpd.GeoDataFrame:
    """What elements are on the ground, see `read_osm`."""
    import geopandas as gpd
    import shapely

    rows: dict[tuple[str, int], tuple[Tags, Any]] = {}
    lacks: Counter[str] = Counter()
    for each in extracts:
        lacks += each.lacks
        points = shapely.points(np.array([place for _, _, place in each.nodes]).reshape(-1, 2))
        rows |= {("node", i): (tags, point) for (i, tags, _), point in zip(each.nodes, points, strict=True)}
        rows |= _ways(each, lacks, rows)
        rows |= _relations(each, lacks, rows)
    if not rows:
        tagless = sum(len(each.ways) for each in extracts)
        raise ValueError(
            f"{where} holds nothing with a tag ({tagless} ways without any). Was the box empty, or the file cut short? Nothing can be "
            "said of any chip from it"
        )
    frame = gpd.GeoDataFrame(
        {
            "kind": [k for k, _ in rows],
            "osm_id": np.array([i for _, i in rows], np.int64),
            "tags": [tags for tags, _ in rows.values()],
        },
        geometry=_mended([shape for _, shape in rows.values()], lacks),
        crs="OGC:CRS84",
    )
    known = [each.extent for each in extracts]
    frame.attrs["extent"] = None if any(e is None for e in known) else shapely.union_all(known)
    frame.attrs["notes"] = _notes(lacks, Path(where).name)
    return frame


def _ways(each: Elements, lacks: Counter[str], there: Mapping) -> dict[tuple[str, int], tuple[Tags, Any]]:
    import shapely

    rows = {}
    for i, (tags, line, closed) in each.ways.items():
        if not tags or ("way", i) in there:
            continue
        if line is None:
            lacks["ways"] += 1
        elif closed and is_area(tags):
            rows["way", i] = tags, shapely.Polygon(line)
        else:
            rows["way", i] = tags, line
    return rows


def is_area(tags: Mapping[str, str]) -> bool:
    """Whether a closed way is an area, and not a line that comes back to its start, as a roundabout or a fence does."""
    if "area" in tags:
        return tags["area"] != "no"
    if LINE_KEYS.isdisjoint(tags) or not AREA_KEYS.isdisjoint(tags):
        return True
    return any(tags.get(key) in AREA_VALUES for key in LINE_KEYS)


def _relations(each: Elements, lacks: Counter[str], there: Mapping) -> dict[tuple[str, int], tuple[Tags, Any]]:
    """Areas of relations; of one that lacks members those rings that close."""
    import shapely

    rows = {}
    for i, tags, members in each.relations:
        if tags.get("type") not in AREAS or ("relation", i) in there:
            continue
        lines = [
            (each.ways[way][1], role) for way, role in members if way in each.ways and each.ways[way][1] is not None
        ]
        if whole := len(lines) == len(members):
            area = shapely.build_area(shapely.GeometryCollection([line for line, _ in lines]))
            # a ring with a gap builds nothing, and of a lake its island alone would be left
            outer = shapely.union_all([line for line, role in lines if role != "inner"])
            _, cuts, dangles, _ = shapely.polygonize_full([outer])
            whole = not shapely.is_empty(area) and cuts.is_empty and dangles.is_empty
        if not whole:
            area, inner = (
                _rings([line for line, role in lines if (role == "inner") == hole]) for hole in (False, True)
            )
            area = area if inner.is_empty else area.difference(inner)
            lacks["relations kept" if not area.is_empty else "relations"] += 1
        if not area.is_empty:
            rows["relation", i] = tags, area
    return rows


def _rings(lines: Sequence[Any]) -> Any:
    import shapely

    noded = shapely.union_all(lines) if lines else shapely.GeometryCollection()
    return shapely.union_all(shapely.get_parts(shapely.polygonize([noded])))


def _mended(shapes: Sequence[Any], lacks: Counter[str]) -> np.ndarray:
    """Shapes, those made valid that cross themselves."""
    import shapely

    every = np.array(shapes, object)
    odd = ~shapely.is_valid(every)
    every[odd] = shapely.make_valid(every[odd], method="structure")
    lacks["mended"] += int(odd.sum())
    return every


def _notes(lacks: Counter[str], where: str) -> list[str]:
    says = {
        "nodes": "places of ways are not in the extract: lines are broken there",
        "ways": "ways have no place at all, and are left out",
        "relations kept": "multipolygons lack members (the extract ends there): their rings that close are kept",
        "relations": "multipolygons lack so many members that no ring closes, and are left out",
        "mended": "shapes cross themselves, and were mended",
    }
    return [f"{where}: {lacks[what]} {text}." for what, text in says.items() if lacks[what]]


def tag_table(extracts: Sequence[Elements]) -> pd.DataFrame:
    """How often each tag is given: topic (the key), value, nodes, ways, relations; the most frequent first.

    Of every element, also of those that are nothing on the ground by themselves, as routes.
    """
    import pandas as pd

    counts: dict[tuple[str, str], list[int]] = {}
    every: Iterable[Tags]
    for each in extracts:
        for kind, every in enumerate((
            (tags for _, tags, _ in each.nodes), (way[0] for way in each.ways.values()), (tags for _, tags, _ in each.relations),
        )):  # fmt: skip
            for tags in every:
                for tag in tags.items():
                    counts.setdefault(tag, [0, 0, 0])[kind] += 1
    ranked = sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))
    return pd.DataFrame([(*tag, *n) for tag, n in ranked], columns=["topic", "value", "nodes", "ways", "relations"])
