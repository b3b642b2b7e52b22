"""Images by SpatioTemporal Asset Catalogs: each item becomes one raster, its bands those assets that are asked for, read in place.

``stac:item.json,assets=red+green+nir`` names a file or an address of one item or of a collection of items;
``stac:https://host/v1,collections=sentinel-2-l2a,bbox=9.5+46+10+46.5,datetime=2024-06-01/2024-06-30,cloud=20,assets=red+nir`` asks a
catalogue's API. An item's raster is a VRT over the assets: pixels stay where they are and are read a window at a time, as of any
other image (an array of Dask's, as of odc-stac, would be read by readers of its own).
Its grid is that of the finest asset, whose CRS the others must have, and pixels of coarser ones are repeated, which makes no value up;
whoever wants others resamples the whole image. No data, scale and offset are those that the item tells (``raster:bands``, ``bands``),
or the file where the item does not; scaled bands are float32 with NaN for no data. The item's time is the image's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from geonb.base import files, in_place, objects
from geonb.base.conventions import redacted, refuse, short
from geonb.base.specs import Option, check_options
from geonb.base.threads import spread

if TYPE_CHECKING:
    from pystac import Asset, Item

START = "stac:"
OPTIONS = {
    "stac": {
        "assets": Option(None, read=str, help="names with + between them, in the order of the bands: red+green+nir"),
        "collections": Option(None, read=str, help="of an API, with + between them"),
        "bbox": Option(None, read=str, help="of an API: west+south+east+north, degrees"),
        "datetime": Option(None, read=str, help="of an API: 2024-06-01/2024-06-30, or one day"),
        "cloud": Option(None, float, least=0, most=100, help="most clouds (eo:cloud_cover), percent"),
        "limit": Option(200, int, least=1, help="most items; more are refused, not cut off"),
    }
}
SEARCH = ("collections", "bbox", "datetime")
SIGNED = "Addresses that a server must sign first (Planetary Computer) are not read: take another catalogue, or fetch the files yourself"


@dataclass(frozen=True)
class _Band:
    """A band of an asset: where it is read, what it says of its values, and its grid."""

    name: str
    path: Path
    number: int
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    crs: Any
    transform: Any
    shape: tuple[int, int]
    has_mask: bool


def paths(text: str, folder: Path, roots: Sequence[Path]) -> list[Path]:
    """A raster on this disk for each item that a text names, called by the item's id.

    Parameters
    ----------
    text : str
        ``stac:PLACE,assets=a+b``; see the module.
    folder : Path
        Where objects lie; the rasters go to its ``stac``.
    roots : list of Path
        Where a file is looked for.

    Raises
    ------
    ValueError
        Unknown options, no such file or API, no or too many items, an item without an asset or with assets on several CRSs: every fault
        of all items.
    """
    place, options = _parse(text)
    items = _items(text, place, options, folder, roots)
    home = folder / "stac" / files.key_of([place, options["assets"]])
    faults: list[str] = []
    made = list(
        spread(
            _raster_or_fault,
            [(item, options["assets"].split("+"), folder, home, faults) for item in items],
            objects.AT_ONCE,
        )
    )
    refuse(f"{redacted(text)} cannot be used", faults)
    return made


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    place, *given = re.split(r",\s*(?=\w+=)", text.removeprefix(START))
    options = check_options("images", ":".join(["stac", ",".join(given)]) if given else "stac", OPTIONS)[1]
    faults = [] if place else ["no file or address is named"]
    if not options["assets"] or not all(options["assets"].split("+")):
        faults.append("no assets are named: write assets=red+green+blue")
    if box := options["bbox"]:
        try:
            west, south, east, north = (float(part) for part in box.split("+"))
            good = -180 <= west < east <= 180 and -90 <= south < north <= 90
        except ValueError:
            good = False
        faults += [f"bbox={box}: write west+south+east+north in degrees"] * (not good)
    if redacted(place) != place:
        faults.append("the address holds a password or a signature: leave it out")
    refuse(
        f"{redacted(text)} cannot be read",
        faults,
        cure="Write stac:item.json,assets=red+green or stac:https://host/v1,collections=...",
    )
    return place, options


def _items(text: str, place: str, options: Mapping[str, Any], folder: Path, roots: Sequence[Path]) -> list[Item]:
    try:
        import pystac
    except ImportError:
        raise ValueError(f"{text}: pystac is not installed: pip install geonb[cloud]") from None

    if any(options[key] for key in SEARCH):
        found: list[Item] = [pystac.Item.from_dict(told) for told in _searched(text, place, options, folder)]
    else:
        found = list(_of_file(place, folder, roots))
    clear = found
    if (most := options["cloud"]) is not None:
        clouds = [item.properties.get("eo:cloud_cover") for item in found]
        clear = [item for item, share in zip(found, clouds, strict=True) if share is not None and share <= most]
        if unknown := clouds.count(None):
            files.say(
                f"{text}: {unknown} of {len(found)} items do not say how cloudy they are, and are left out (cloud={most:g})"
            )
    if not clear:
        raise ValueError(f"{text}: no item is left of {len(found)}. Widen the search, or allow more clouds")
    if len(clear) > options["limit"]:
        raise ValueError(
            f"{text}: more than limit={options['limit']} items match. Narrow the search down, or give a higher limit"
        )
    twice = [item.id for item in clear if sum(other.id == item.id for other in clear) > 1]
    refuse(f"{text}: items of the same id", twice)
    return clear


def _of_file(place: str, folder: Path, roots: Sequence[Path]) -> Iterator[Item]:
    """The items that a file holds, of which relative addresses begin where it lies."""
    import pystac

    if objects.is_address(place):
        path, where = objects.local(place, folder)[0], place
    else:
        path = next(
            (root / Path(place).expanduser() for root in roots if (root / Path(place).expanduser()).is_file()), Path()
        )
        where = str(path.absolute())
        if not path.name:
            raise ValueError(f"no file is at {place} (looked from {' and '.join(map(str, roots))})")
    told = files.read_json(path)
    if told.get("type") not in ("Feature", "FeatureCollection"):
        raise ValueError(
            f"{place} is neither an item nor a collection of items (type {told.get('type')!r}). Of a catalogue give an item's file, or its "
            "API and collections="
        )
    for item in told["features"] if told["type"] == "FeatureCollection" else [told]:
        try:
            yield pystac.Item.from_dict(item, href=where if told["type"] == "Feature" else _self(item) or where)
        except (pystac.STACError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{place} holds what is no STAC item ({short(error)})") from None


def _self(item: Mapping[str, Any]) -> str:
    """Where an item says that it lies."""
    return next((link["href"] for link in item.get("links", ()) if link.get("rel") == "self"), "")


def _searched(text: str, root: str, options: Mapping[str, Any], folder: Path) -> list[dict]:
    """The items that an API has, as it tells of them; without a network, those that it had the last time."""
    try:
        from pystac_client import Client
        from pystac_client.exceptions import APIError
        from requests.exceptions import RequestException
    except ImportError:
        raise ValueError(f"{text}: pystac-client is not installed: pip install geonb[cloud]") from None

    kept = folder / ".about" / ".listings" / f"{files.key_of(text)}.json"
    asked = {
        "collections": options["collections"] and options["collections"].split("+"),
        "bbox": options["bbox"] and [float(part) for part in options["bbox"].split("+")],
        "datetime": options["datetime"],
        "max_items": options["limit"] + 1 if options["cloud"] is None else None,
    }
    try:
        found = list(Client.open(root).search(**asked).items_as_dicts())
    except (APIError, RequestException, OSError) as error:
        if getattr(error, "status_code", None):  # it is there
            raise ValueError(
                f"{text}: the catalogue refuses ({short(error)}). Look at its address and at what it is asked"
            ) from None
        if not kept.is_file():
            raise ValueError(
                f"{text}: the catalogue cannot be reached ({short(error)}). Run this once where there is a network"
            ) from None
        files.say(f"{text}: the catalogue cannot be reached; what it had the last time is used")
        return files.read_json(kept)["items"]
    except Exception as error:  # of pystac, for whatever a server may send
        raise ValueError(
            f"{text}: {root} is no STAC API ({type(error).__name__}: {short(error)}). Give the address of its landing page"
        ) from None
    kept.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(kept, {"items": found})
    return found


def _raster_or_fault(item: Item, assets: Sequence[str], folder: Path, home: Path, faults: list[str]) -> Path:
    try:
        return _raster(item, assets, folder, home)
    except ValueError as error:
        faults.append(f"{item.id}: {error}")
        return home


def _raster(item: Item, assets: Sequence[str], folder: Path, home: Path) -> Path:
    """Write the raster of an item, if it is not there as it would be."""
    if lacking := [name for name in assets if name not in item.assets]:
        raise ValueError(f"no asset {', '.join(lacking)}; it has {', '.join(item.assets)}")
    bands = [band for name in assets for band in _bands(name, item.assets[name], folder)]
    finest = min(bands, key=lambda band: abs(band.transform.a * band.transform.e))
    refuse("its assets make no one image", list(_apart(bands, finest)), cure="Name assets that do, or several images")
    name = re.sub(r"[^\w.-]+", "_", item.id)
    name += f"_{files.key_of(item.id)[:8]}" * (name != item.id)  # "a b" and "a/b" are two
    file, said = home / f"{name}.tif", item.datetime or item.common_metadata.start_datetime
    text = ElementTree.tostring(_vrt(bands, finest, "" if said is None else said.isoformat()), "unicode")
    if not file.is_file() or file.read_text(encoding="utf-8") != text:  # its time tells when it became another
        home.mkdir(parents=True, exist_ok=True)
        files.write_text(file, text)
    return file


def _bands(name: str, asset: Asset, folder: Path) -> Iterator[_Band]:
    """The bands of an asset, with what the item says of their values and the file of the rest."""
    import rasterio
    from rasterio.enums import MaskFlags
    from rasterio.errors import RasterioError

    href = asset.get_absolute_href() or asset.href
    try:
        path = objects.local(href, folder)[0] if objects.is_address(href) else Path(href)
    except ValueError as error:
        raise ValueError(f"asset {name}: {error}. {SIGNED}") from None
    told = asset.to_dict()
    each = told.get("raster:bands") or told.get("bands") or [{}]
    try:
        with rasterio.open(path) as data:
            for number in data.indexes:
                own = each[number - 1] if len(each) == data.count else each[0] if len(each) == 1 else {}
                facts = {
                    key: own.get(key, own.get(f"raster:{key}", told.get(f"raster:{key}", told.get(key))))
                    for key in ("nodata", "scale", "offset")
                }
                nodata, scale, offset = _values(name, facts, data, number)
                yield _Band(name if data.count == 1 else f"{name} {number}", path, number, data.dtypes[number - 1], nodata, scale, offset,
                            data.crs, data.transform, data.shape, MaskFlags.per_dataset in data.mask_flag_enums[number - 1])  # fmt: skip
    except RasterioError as error:
        raise ValueError(f"asset {name}: {redacted(href)} cannot be opened as a raster ({short(error)})") from None


def _values(name: str, told: Mapping[str, Any], data: Any, number: int) -> tuple[float | None, float, float]:
    """What stands for no data, and what makes a number a quantity: as the item says it, else the file."""
    own = data.nodatavals[number - 1]
    try:
        nodata = own if told["nodata"] is None else float(told["nodata"])
        scale = data.scales[number - 1] if told["scale"] is None else float(told["scale"])
        offset = data.offsets[number - 1] if told["offset"] is None else float(told["offset"])
    except (TypeError, ValueError):
        raise ValueError(f"asset {name}: nodata, scale or offset is no number: {dict(told)}") from None
    if own is not None and nodata is not None and nodata != own and not (math.isnan(own) and math.isnan(nodata)):
        raise ValueError(
            f"asset {name}: no data is {nodata:g} by the item, {own:g} by the file. Which is right? Correct the item in a copy of it"
        )
    return nodata, scale, offset


def _apart(bands: Sequence[_Band], finest: _Band) -> Iterator[str]:
    """Why bands cannot be read on one grid."""
    several = len({band.path for band in bands}) > 1
    for band in bands:
        left, top, wide, high = _place(band, finest)
        over = left > 0.5 or top > 0.5 or left + wide < finest.shape[1] - 0.5 or top + high < finest.shape[0] - 0.5
        if band.crs != finest.crs:
            yield f"{band.name} has another CRS than {finest.name}"
        elif band.transform.b or band.transform.d:
            yield f"{band.name} lies on a rotated grid"
        elif band.has_mask and several:
            yield f"{band.name} has a mask of its own, which says nothing of the others"
        elif over and band.nodata is None:
            yield f"{band.name} does not cover {finest.name}, and nothing says what stands for no data in it"


def _place(band: _Band, grid: _Band) -> tuple[float, float, float, float]:
    """Where a band lies on the pixels of a grid: left, top, width, height."""
    to = ~grid.transform * band.transform
    return to.c, to.f, to.a * band.shape[1], to.e * band.shape[0]


def _vrt(bands: Sequence[_Band], grid: _Band, when: str) -> ElementTree.Element:
    """The page of XML by which GDAL reads bands of several files on one grid."""
    height, width = grid.shape
    root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    ElementTree.SubElement(root, "SRS").text = grid.crs.to_wkt() if grid.crs else ""
    ElementTree.SubElement(root, "GeoTransform").text = ", ".join(map(repr, grid.transform.to_gdal()))
    about = ElementTree.SubElement(root, "Metadata", domain=in_place.DOMAIN)
    ElementTree.SubElement(about, "MDI", key="DATETIME").text = when
    scaled = any((band.scale, band.offset) != (1, 0) for band in bands)
    for number, band in enumerate(bands, 1):
        element = ElementTree.SubElement(
            root, "VRTRasterBand", dataType="Float32" if scaled else _gdal_type(band.dtype), band=str(number)
        )
        ElementTree.SubElement(element, "Description").text = band.name
        if band.nodata is not None:
            ElementTree.SubElement(element, "NoDataValue").text = "nan" if scaled else repr(band.nodata)
        _source(element, band, grid, scaled)
    if bands[0].has_mask:  # then all are of one file
        mask = ElementTree.SubElement(ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        source = ElementTree.SubElement(mask, "SimpleSource")
        ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0").text = str(bands[0].path)
        ElementTree.SubElement(source, "SourceBand").text = "mask,1"
    return root


def _source(element: ElementTree.Element, band: _Band, grid: _Band, scaled: bool) -> None:
    source = ElementTree.SubElement(element, "ComplexSource", resampling="nearest")
    ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0").text = str(band.path)
    ElementTree.SubElement(source, "SourceBand").text = str(band.number)
    high, wide = band.shape
    size = {"RasterXSize": wide, "RasterYSize": high, "DataType": _gdal_type(band.dtype)}
    ElementTree.SubElement(source, "SourceProperties", {key: str(value) for key, value in size.items()})
    ElementTree.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=str(wide), ySize=str(high))
    where = dict(zip(("xOff", "yOff", "xSize", "ySize"), _place(band, grid), strict=True))
    ElementTree.SubElement(source, "DstRect", {key: repr(round(value, 6)) for key, value in where.items()})
    if band.nodata is not None:
        ElementTree.SubElement(source, "NODATA").text = repr(band.nodata)
    if scaled:
        ElementTree.SubElement(source, "ScaleOffset").text = repr(band.offset)
        ElementTree.SubElement(source, "ScaleRatio").text = repr(band.scale)


def _gdal_type(dtype: str) -> str:
    from rasterio.dtypes import dtype_rev, typename_fwd

    return typename_fwd[dtype_rev[dtype]]


def time_of(path: str | Path) -> str:
    """When an item of a catalogue was taken, ISO 8601, of its raster; empty of every other."""
    return in_place.said(path, "DATETIME")
