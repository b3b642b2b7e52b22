"""The files that a raster is read from, its own and those beside it, and what tells them from others."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from geonb.base import files as base_files
from geonb.base import in_place
from geonb.base.conventions import short

ROWS = 512  # read at a time


def files_of(path: str | Path) -> list[Path]:
    """Every file on disk that is read for one, itself first.

    Of a raster those that GDAL names (the sources of a VRT with theirs; masks, metadata, world files) but for overviews, which
    tell nothing new; of other formats what `geonb.base.files` knows. An archive stands for what is read in it; what lies behind
    an address is not told.
    """
    import rasterio
    from rasterio.errors import RasterioError

    found = dict.fromkeys(base_files.with_sides(Path(path)))
    todo = [str(path)]
    while todo:
        with quiet(), suppress(RasterioError), rasterio.open(todo.pop()) as data:
            new = {name: file for name in data.files if (file := _on_disk(name)) and file not in found}
            found |= dict.fromkeys(file for file in new.values() if file.suffix.lower() != ".ovr")
            todo += list(new) * (data.driver == "VRT")
    return list(found)


def damaged(path: str | Path) -> list[Path]:
    """Of a raster that cannot be read, the rasters it shows (the tiles of a VRT) that can be opened, but not read to the end."""
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    found = []
    for file in files_of(path)[1:]:
        with quiet(), suppress(RasterioError), rasterio.open(file) as data:
            try:
                for row in range(0, data.height, ROWS):
                    data.read(window=Window(0, row, data.width, min(ROWS, data.height - row)))
            except RasterioError:
                found.append(file)
    return found


def why(paths: Iterable[Path], error: BaseException) -> str:
    """Why rasters that were opened cannot be read to the end, and what to do: damaged here, or out of reach where they are."""
    reason = short(error.__cause__ or error)
    addresses = [address for path in paths for file in files_of(path) if (address := in_place.said(file, "ADDRESS"))]
    if not addresses:
        return f"truncated or damaged ({reason}). Copy it again"
    return f"not all of {', '.join(addresses)} could be had ({reason}). Is it there still, and a network? Then run this again"


def stamps(files: Iterable[Path], stamp: Callable[[Path], Any]) -> list[Any]:
    """What tells files from others, and from themselves after a change: a stamp of each.

    Of GDAL's .aux.xml it is what is said there beside statistics, which a GIS writes when somebody looks at a raster; none where
    that is all.
    """
    said = [(file, _beside_statistics(file) if file.name.lower().endswith(".aux.xml") else None) for file in files]
    return [stamp(file) if text is None else [file.name, text] for file, text in said if text != ""]


def _beside_statistics(file: Path) -> str | None:
    """What GDAL's metadata beside a raster says but for statistics; None where it cannot be read so."""
    try:
        root = ElementTree.parse(file).getroot()
        for parent in reversed(list(root.iter())):  # what becomes empty goes, too
            for child in list(parent):
                emptied = child.tag in ("Metadata", "PAMRasterBand") and not len(child)
                if emptied or child.tag == "Histograms" or child.get("key", "").startswith("STATISTICS_"):
                    parent.remove(child)
        return ElementTree.canonicalize(ElementTree.tostring(root, "unicode"), strip_text=True) if len(root) else ""
    except (OSError, SyntaxError, ValueError, LookupError, RecursionError):  # no XML, or in an encoding of others
        return None


def _on_disk(name: str) -> Path | None:
    """The file on disk in which lies what GDAL names so, ``/vsizip//data/a.zip/b.tif`` in ``/data/a.zip``."""
    if re.search(r"/vsi(s3|curl|gs|az|oss|swift)[/?_]", name):
        return None
    path = Path(re.sub(r"^(/vsi\w+/)+", "", name).strip("{}"))
    place = next((place for place in (path, *path.parents) if place.is_file()), None)
    return place.resolve() if place and ".." in place.parts else place  # relative to a VRT


@contextmanager
def quiet() -> Iterator[None]:
    """Without GDAL's word that a plain image has no georeference: it was given one."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
