"""XYZ tiles: pictures whose place is in their name, and those that touch seen as one image, without a copy.

The tile matrix set is WebMercatorQuad (OGC 17-083r4): EPSG:3857, 2**z columns and rows, (0, 0) in the north-west. TMS counts rows
from the south: a name cannot tell, so that XYZ is taken and said.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from xml.etree import ElementTree

from geonb.base import files as base_files
from geonb.base import project
from geonb.base.conventions import refuse, short
from geonb.rasters.sources import files_of, quiet

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DEEPEST = 30  # zoom: a tile is then 4 cm wide
HALF_M = math.pi * 6378137.0  # of the square that the matrix covers, in metres of EPSG:3857
QUADKEY_DIGITS = 8  # at least: frames are numbered 0001, 0002 ... too
SAID = 6  # names in a message
SCHEMES = "{name}-{x}-{y}-{z}.png, {z}/{x}/{y}.png, or a quadkey"
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how they begin
TAIL = 1024  # bytes among which the end of a PNG is, whatever a program added after it
GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}
COLOURS = {"grey": ("Gray",), "rgb": ("Red", "Green", "Blue")}


class Tile(NamedTuple):
    """A tile of WebMercatorQuad: zoom, column from the west, row from the north."""

    z: int
    x: int
    y: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north), metres of EPSG:3857."""
        side = 2 * HALF_M / 2**self.z
        west, north = self.x * side - HALF_M, HALF_M - self.y * side
        return west, north - side, west + side, north

    @property
    def quadkey(self) -> str:
        """A digit a zoom, from the whole Earth down: 0 north-west, 1 north-east, 2 south-west, 3 south-east."""
        return "".join(str((self.x >> i & 1) + 2 * (self.y >> i & 1)) for i in range(self.z - 1, -1, -1))


def tile_of_quadkey(key: str) -> Tile:
    """The tile of a quadkey of digits 0 to 3."""
    bits = [int(digit) for digit in key]
    x, y = (int("".join(str(bit >> axis & 1) for bit in bits) or "0", 2) for axis in (0, 1))
    return Tile(len(key), x, y)


def tile_of(path: str | Path) -> Tile | None:
    """The tile that a file's name says it is: ``{name}-{x}-{y}-{z}``, ``{z}/{x}/{y}`` or a quadkey; None where it says none.

    Raises
    ------
    ValueError
        If the numbers are there, and there is no such tile.
    """
    path = Path(path)
    named = re.fullmatch(r"(?:.*[-_])?(\d+)[-_](\d+)[-_](\d+)", path.stem)
    folders = re.fullmatch(r"(\d+)/(\d+)/(\d+)", "/".join((*path.parts[-3:-1], path.stem)))
    # Z33-0133...: a cell of a UTM zone, which lies elsewhere
    key = re.fullmatch(rf"(?!Z\d\d?[-_])(?:.*[-_])?([0-3]{{{QUADKEY_DIGITS},{DEEPEST}}})", path.stem)
    if named:
        x, y, z = map(int, named.groups())
    elif folders:
        z, x, y = map(int, folders.groups())
    else:
        return tile_of_quadkey(key[1]) if key else None
    if z > DEEPEST or max(x, y) >= 2**z:
        most = f"x and y go from 0 to {2**z - 1} there" if z <= DEEPEST else f"zooms go from 0 to {DEEPEST}"
        raise ValueError(f"{path} would be tile x = {x}, y = {y} of zoom {z}: {most}. Names of tiles are {SCHEMES}")
    return Tile(z, x, y)


def gather(files: Sequence[Path], folder: Path | None = None, zooms: str = "one") -> tuple[list[Path], list[str]]:
    """Files, those that are tiles replaced by mosaics: a VRT for each group of tiles of one set that touch, at a side or a corner.

    A tile is a picture of SUFFIXES that says nothing of its place itself, and whose name does; a set are those of one folder (that
    of the zooms, for z/x/y) and one name before the numbers. Other files stay as they are.

    Parameters
    ----------
    folder : Path, optional
        Where the VRTs go, each in a folder keyed by what it says; data/mosaics in the project by default.
    zooms : "one" or "each"
        Whether several zooms in a set are refused, as they show the same ground more than once, or are sets of their own.

    Returns
    -------
    files : list of Path, a mosaic where its first tile stood
    notes : list of str, what was taken for granted

    Raises
    ------
    ValueError
        Listing every fault: several zooms or sizes in a set, no such tile, one place twice, names that are no tile's among some
        that are, what cannot be read, or is no picture.
    """
    faults: list[str] = []
    pictures = dict.fromkeys(Path(file) for file in files if Path(file).suffix.lower() in SUFFIXES)
    damaged: list[
        str
    ] = []  # of files that are opened again by whoever asked: theirs to tell, but for holes in a mosaic
    headers = {file: header for file in pictures if (header := _header(file, damaged))}
    bare = [file for file, header in headers.items() if header["bare"]]
    if dated := _days(bare):
        faults.append(
            f"{_listed(dated)}: the numbers are a date, though they could be read as a tile. If it is a picture without a place, give it "
            f"its CRS, for instance: gdal_translate -a_srs EPSG:32617 -a_ullr west north east south {dated[0].name} image.tif. If it is "
            "a tile, call it {z}/{x}/{y}" + dated[0].suffix
        )
    tiles: dict[Path, Tile] = {}
    for file in [file for file in bare if file not in dated]:
        try:
            if (tile := tile_of(file)) is not None:
                tiles[file] = tile
        except ValueError as error:
            faults.append(str(error))
    others = [file for file in bare if file not in tiles]
    if tiles and others and not faults:
        faults.append(
            f"no place in the name of {_listed(others)}, beside {len(tiles)} tiles. Tiles are called {SCHEMES}"
        )
    sets: dict[tuple[Path, str, int], list[Path]] = {}
    for file, tile in tiles.items():
        sets.setdefault((*_set_of(file), tile.z if zooms == "each" else 0), []).append(file)
    for files_of_set in sets.values():
        faults += _disagreements({file: tiles[file] for file in files_of_set}, headers)
    refuse("These tiles cannot be placed", faults + damaged * bool(tiles))
    where, mosaics, notes = folder or _folder(), {}, []
    for (home, prefix, _), members in sets.items():
        groups = _groups(
            {file: tiles[file] for file in sorted(members, key=lambda file: tiles[file][1:])}
        )  # from the west
        alone = len({other_prefix for other, other_prefix, _ in sets if other == home}) == 1
        name = "-".join([project.slug(home.name), *([] if alone else [project.slug(prefix)]), str(tiles[members[0]].z)])
        for number, group in enumerate(groups, 1):
            named = f"{name}-{number}" if len(groups) > 1 else name
            mosaics[group[0]] = _write(where, named, {file: tiles[file] for file in group}, headers)
        notes.append(_note(name, [tiles[file] for file in members], len(groups)))
    notes += _twice(tiles, sets)
    return [mosaics.get(file, file) for file in map(Path, files) if file in mosaics or file not in tiles], notes


def _twice(tiles: dict[Path, Tile], sets: dict[tuple[Path, str, int], list[Path]]) -> list[str]:
    """What is said of sets that show the same ground, as two dates of one place do, and copies of one folder."""
    homes: dict[Tile, list[str]] = {}
    for (home, prefix, _), members in sets.items():
        for file in members:
            homes.setdefault(tiles[file], []).append(f"{_in_project(home)}/{prefix}*")
    counts = Counter(tuple(names) for names in homes.values() if len(names) > 1)
    return [
        f"{n} tiles of {' and '.join(names)} lie in one place: they are images of their own, and the GROUND THERE COUNTS MORE THAN ONCE. "
        "If they are copies, name one set"
        for names, n in counts.items()
    ]


def _in_project(folder: Path) -> Path:
    """A folder as a note that others read tells it: from the root of the project that it lies in."""
    whole = folder.absolute()
    return next((whole.relative_to(root) for root in project.checkouts() if whole.is_relative_to(root)), folder)


def _days(files: Sequence[Path]) -> list[Path]:
    """Pictures that a day was named after, 20231101 or 2023-11-12: every number of their set is one.

    As tiles they would be one of zoom 8 (150 km wide), or lie beyond 84 degrees north; a set that holds other numbers, too, is
    one of tiles.
    """
    days = {file for file in files if _is_day(file) and _is_numbered(file)}
    tiled = {_set_of(file) for file in files if file not in days and _is_numbered(file)}
    return [file for file in files if file in days and _set_of(file) not in tiled]


def _is_numbered(file: Path) -> bool:
    with suppress(ValueError):
        return tile_of(file) is not None
    return True  # refused for itself


def _is_day(file: Path) -> bool:
    """Whether the last numbers of a name are a day of the calendar, 1900 to 2099."""
    day = re.fullmatch(r"(?:.*[-_])?((?:19|20)\d\d)([-_]?)(\d\d?)\2(\d\d?)", file.stem)
    if day and (day[2] or len(day[3] + day[4]) == 4):
        with suppress(ValueError):
            return bool(date(int(day[1]), int(day[3]), int(day[4])))
    return False


def home_of(path: Path) -> Path:
    """The folder of the tiles that a mosaic of `gather` shows (that of the zooms, for z/x/y); of any other file its own."""
    if not path.absolute().is_relative_to(_folder().absolute()):
        return path.parent
    shown = [file for file in files_of(path) if file.suffix.lower() in SUFFIXES]
    return _set_of(shown[0])[0] if shown else path.parent


def _set_of(file: Path) -> tuple[Path, str]:
    """The folder of a set of tiles, and what stands before the numbers in their names."""
    match = re.fullmatch(r"(.*?)[-_]?\d+[-_]\d+[-_]\d+", file.stem)
    if not match and re.fullmatch(r"\d+/\d+/\d+", "/".join((*file.parts[-3:-1], file.stem))):
        return file.parents[2], ""  # as `tile_of` has it: before a quadkey, which a row of a deep zoom may look like
    match = match or re.fullmatch(rf"(.*?)[-_]?[0-3]{{{QUADKEY_DIGITS},{DEEPEST}}}", file.stem)
    return file.parent, match[1] if match else ""


def _header(file: Path, damaged: list[str]) -> dict[str, Any] | None:
    """What GDAL says of a picture: bare of any place, kind of colours, type, sides; None for what it cannot open."""
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import RasterioError

    rgb = ColorInterp.red, ColorInterp.green, ColorInterp.blue
    kinds = {(ColorInterp.palette,): "palette", (ColorInterp.gray,): "grey", rgb: "rgb"}
    try:
        with quiet(), rasterio.open(file) as data:
            meaning = tuple(m for m in data.colorinterp if m != ColorInterp.alpha)
            return {
                "bare": data.crs is None and data.transform.is_identity and not data.gcps[0], "kind": kinds.get(meaning),
                "bands": ", ".join(m.name for m in data.colorinterp), "dtype": data.dtypes[0], "shape": data.shape,
                "block": data.block_shapes[0],
            }  # fmt: skip
    except RasterioError as error:
        damaged.append(f"{file} cannot be opened as a raster ({short(error)})")
        return None
    finally:
        if cut_short(file):
            damaged.append(f"{file} is cut short: its end is not there. Copy it again")


def cut_short(file: Path) -> bool:
    """Whether a PNG or JPEG lacks its end, of which GDAL says nothing: the rows that are missing would be black or grey ground."""
    with file.open("rb") as data:
        start = data.read(8)
        if start.startswith(JPEG):
            return not _jpeg_ends(data)
        data.seek(-min(file.stat().st_size, TAIL), os.SEEK_END)
        return start.startswith(PNG) and b"IEND" not in data.read()


def _jpeg_ends(data: BinaryIO) -> bool:
    """Whether the picture of a JPEG has its end, wherever: phones put a film behind it; not that of a small one in its head."""
    data.seek(2)
    while len(head := data.read(2)) == 2 and head[0] == 0xFF and head[1] != 0xDA:  # until the pixels begin
        if head[1] == 0xFF:  # one that fills
            data.seek(-1, os.SEEK_CUR)
        elif head[1] > 0x01 and not 0xD0 <= head[1] <= 0xD8:  # those that are no mere mark say how long they are
            data.seek(max(int.from_bytes(data.read(2), "big") - 2, 0), os.SEEK_CUR)
    return head == b"\xff\xda" and b"\xff\xd9" in data.read()


def _disagreements(tiles: dict[Path, Tile], headers: dict[Path, dict]) -> list[str]:
    """What tiles that are to lie on one lattice may not differ in."""
    faults, first = [], next(iter(tiles))
    zooms = Counter(tile.z for tile in tiles.values())
    if len(zooms) > 1:
        counts = ", ".join(f"{n} of zoom {z}" for z, n in sorted(zooms.items()))
        faults.append(
            f"{first.parent}: tiles of several zooms ({counts}) show the same ground more than once. Name one, for instance "
            f"*-{max(zooms)}{first.suffix} or {max(zooms)}/*/*{first.suffix}"
        )
    for what, told in (("shape", lambda shape: f"{shape[1]} x {shape[0]} px"), ("dtype", str)):
        odd = [file for file in tiles if headers[file][what] != headers[first][what]]
        if odd:
            faults.append(
                f"{first} has {told(headers[first][what])}, {_listed(odd)} {told(headers[odd[0]][what])}: tiles of one set are alike. "
                "Name those of one kind"
            )
    height, width = headers[first]["shape"]
    if height != width:
        faults.append(
            f"{first} has the name of a tile and {width} x {height} px, and tiles are square. If it is none, give it its CRS, for "
            f"instance: gdal_translate -a_srs EPSG:32617 -a_ullr west north east south {first.name} image.tif"
        )
    unread = [file for file in tiles if headers[file]["kind"] is None]
    if unread:
        faults.append(
            f"{_listed(unread)}: the bands are {headers[unread[0]]['bands']}, and tiles are grey, RGB or with a palette, each with "
            "or without alpha"
        )
    places: dict[Tile, list[Path]] = {}
    for file, tile in tiles.items():
        places.setdefault(tile, []).append(file)
    faults += [f"{_listed(same)} have one place. Name one of them" for same in places.values() if len(same) > 1]
    return faults


def _groups(tiles: dict[Path, Tile]) -> list[list[Path]]:
    """Tiles that touch, together; groups by their first, tiles in the order given."""
    at = {(tile.x, tile.y): file for file, tile in tiles.items()}
    group_of: dict[Path, int] = {}
    for number, start in enumerate(at):
        todo = [start]
        while todo:
            x, y = todo.pop()
            file = at.get((x, y))
            if file is not None and file not in group_of:
                group_of[file] = number
                todo += [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    groups: dict[int, list[Path]] = {}
    for file in tiles:
        groups.setdefault(group_of[file], []).append(file)
    return list(groups.values())


def _write(folder: Path, name: str, tiles: dict[Path, Tile], headers: dict[Path, dict]) -> Path:
    """The VRT of a group of tiles, where it does not stand yet."""
    text = _vrt(tiles, headers, folder / "key")
    path = folder / hashlib.sha256(text).hexdigest()[:12] / f"{name}.vrt"
    if not path.is_file() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        with base_files.whole_file(path) as partial:
            partial.write_bytes(text)
            newest = max(file.stat().st_mtime_ns for file in tiles)  # made again, it is the same file
            os.utime(partial, ns=(newest, newest))
    return path


def _vrt(tiles: dict[Path, Tile], headers: dict[Path, dict], folder: Path) -> bytes:
    """A VRT that shows tiles where they lie: no data where there is none, colours of palettes, alpha as the mask of all bands."""
    header, z = headers[next(iter(tiles))], next(iter(tiles.values())).z
    side, dtype = header["shape"][0], GDAL_TYPES.get(header["dtype"], header["dtype"])
    west, north = min(tile.x for tile in tiles.values()), min(tile.y for tile in tiles.values())
    across, down = max(t.x for t in tiles.values()) - west + 1, max(t.y for t in tiles.values()) - north + 1
    box, pixel_m = Tile(z, west, north).bounds, 2 * HALF_M / 2**z / side
    root = ElementTree.Element("VRTDataset", rasterXSize=str(across * side), rasterYSize=str(down * side))
    ElementTree.SubElement(root, "SRS").text = "EPSG:3857"
    ElementTree.SubElement(root, "GeoTransform").text = f"{box[0]!r}, {pixel_m!r}, 0, {box[3]!r}, 0, {-pixel_m!r}"
    colours = COLOURS["grey" if all(headers[file]["kind"] == "grey" for file in tiles) else "rgb"]
    bands = []
    for number, colour in enumerate(colours, 1):
        bands.append(ElementTree.SubElement(root, "VRTRasterBand", dataType=dtype, band=str(number)))
        ElementTree.SubElement(bands[-1], "Description").text = colour.lower()
        ElementTree.SubElement(bands[-1], "ColorInterp").text = colour
    bands.append(ElementTree.SubElement(ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte"))
    names = _seen_from(folder, tiles)
    for file, tile in tiles.items():
        at = (tile.x - west) * side, (tile.y - north) * side
        for number, band in enumerate(bands, 1):
            _add_source(band, number if number <= len(colours) else 0, names[file], headers[file], at)
    ElementTree.indent(root)
    return ElementTree.tostring(root)


def _seen_from(folder: Path, files: Iterable[Path]) -> dict[Path, str]:
    """What files are called in a VRT in a folder: relative within a project, so that one that is moved keeps its mosaics."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100
    # .. climbs out of where a link leads, not of where it lies: below one, as where data lies on another disk, paths are whole
    inside = [
        root for root in project.checkouts() if folder.resolve() == root.resolve() / os.path.relpath(folder, root)
    ]
    paths = {file: Path(os.path.abspath(file)) for file in files}  # noqa: PTH100
    return {
        file: os.path.relpath(path, folder) if any(path.is_relative_to(root) for root in inside) else str(path)
        for file, path in paths.items()
    }


def _add_source(band: ElementTree.Element, number: int, name: str, header: dict, at: tuple[int, int]) -> None:
    """Show a tile's band, or with number 0 its mask, in a band of a VRT."""
    side, palette = str(header["shape"][0]), header["kind"] == "palette"
    source = ElementTree.SubElement(band, "ComplexSource" if palette else "SimpleSource")
    named = ElementTree.SubElement(source, "SourceFilename", relativeToVRT=str(int(not Path(name).is_absolute())))
    named.text = name
    shown = "1" if palette or header["kind"] == "grey" else str(number)
    ElementTree.SubElement(source, "SourceBand").text = shown if number or palette else "mask,1"
    sides = {"RasterXSize": side, "RasterYSize": side, "DataType": GDAL_TYPES.get(header["dtype"], header["dtype"])}
    blocks = dict(zip(("BlockYSize", "BlockXSize"), map(str, header["block"]), strict=True))
    ElementTree.SubElement(source, "SourceProperties", sides | blocks)
    ElementTree.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=side, ySize=side)
    ElementTree.SubElement(source, "DstRect", xOff=str(at[0]), yOff=str(at[1]), xSize=side, ySize=side)
    if palette:
        ElementTree.SubElement(source, "ColorTableComponent").text = str(number or 4)


def _folder() -> Path:
    """Where mosaics are kept: in the project, or, outside of any, with what is temporary."""
    root = next(iter(project.checkouts()), None)
    return root / "data" / "mosaics" if root else Path(tempfile.gettempdir()) / "geonb-mosaics"


def _note(name: str, tiles: list[Tile], groups: int) -> str:
    several = f"{groups} images, one for those that touch" if groups > 1 else "one image"
    return (
        f"{name}: {len(tiles)} tiles were placed by their names ({several}), rows counted from the north (XYZ; were they TMS, counted "
        "from the south, the map would lie far off)."
    )


def _listed(files: Sequence[Path]) -> str:
    more = f" and {len(files) - SAID} more" if len(files) > SAID else ""
    return ", ".join(str(file) for file in files[:SAID]) + more
