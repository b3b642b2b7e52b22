"""Where a raster holds data: what GDAL says of it (nodata, alpha bands, masks), heeded in a warp too."""

from __future__ import annotations

from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from geonb.rasters.sources import quiet

# What an alpha band holds where there is data; in 8 bits the last only: GDAL calls the fourth of bands of 0 and 1 so, too.
OPAQUE = (1, 32767, 65535, 255)


def alpha_band(data: Any) -> int:
    """Number of the band that says where there is data, 0 if there is none.

    GDAL calls the fourth band of many 8-bit images alpha, be it near infrared: a mask holds nothing but 0 and one other value.
    """
    from rasterio.enums import ColorInterp

    for number, meaning in zip(data.indexes, data.colorinterp, strict=True):
        if meaning == ColorInterp.alpha:
            step = max(1, max(data.shape) // 512)
            look = data.read(number, out_shape=(-(-data.height // step), -(-data.width // step)))
            opaque = OPAQUE if look.dtype != np.uint8 else OPAQUE[-1:]
            if any(np.isin(look, (0, value)).all() for value in opaque):
                return number
    return 0


def nodata_of(data: Any, numbers: list[int], path: Path) -> float | None:
    """The nodata value of bands that are warped together, for which GDAL takes one; refuses several."""
    values = {str(value): value for value in (data.nodatavals[number - 1] for number in numbers)}
    if len(values) > 1:
        raise ValueError(
            f"{path}: its bands have different nodata values ({', '.join(values)}), so they can be read on its own grid only. Give all "
            "of them one, for instance with gdalwarp -dstnodata"
        )
    return next(iter(values.values()), None)


def with_mask(data: Any, alpha: int, stack_: ExitStack) -> Any:
    """The file as GDAL heeds all that is said of its data, also in a warp.

    What it calls alpha is a band like the others, and with its number (0 = none) the mask of all: else GDAL would go by it whatever
    it holds, and in few types only. A single band with a nodata value and a mask comes twice: of one, a warp forgets the mask.
    """
    import rasterio
    from rasterio import shutil
    from rasterio.enums import ColorInterp, MaskFlags

    alone = data.count == 1 and data.nodata is not None and MaskFlags.per_dataset in data.mask_flag_enums[0]
    if ColorInterp.alpha not in data.colorinterp and not alone:
        return data
    with rasterio.MemoryFile(ext=".vrt") as memory:
        shutil.copy(data, memory.name, driver="VRT")
        root = ElementTree.fromstring(bytes(memory.getbuffer()))
    for band in root.iter("VRTRasterBand"):
        if (meaning := band.find("ColorInterp")) is not None and meaning.text == "Alpha":
            band.remove(meaning)
    if alone:
        root.append(deepcopy(root.findall("VRTRasterBand")[0]))
        root[-1].set("band", "2")
    if alpha:
        for other in root.findall("MaskBand"):
            root.remove(other)
        mask = ElementTree.SubElement(ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        source = ElementTree.SubElement(mask, "ComplexSource")
        ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0").text = data.name
        ElementTree.SubElement(source, "SourceBand").text = str(alpha)
        ElementTree.SubElement(source, "LUT").text = "0:0,1:255"
    memory = stack_.enter_context(rasterio.MemoryFile(ElementTree.tostring(root), ext=".vrt"))
    with quiet():
        return stack_.enter_context(memory.open())


def holds_data(data: Any, number: int, values: np.ndarray, window: Any) -> np.ndarray:
    """Where a band holds data: by GDAL's mask; by its nodata value, which GDAL forgets beside a mask; by the alpha band that a
    warp adds, which GDAL heeds in few types.
    """
    from rasterio.enums import MaskFlags

    flags, nodata, alpha = data.mask_flag_enums[number - 1], data.nodatavals[number - 1], alpha_of_warp(data, number)
    told = data.read(alpha, window=window) if alpha else data.read_masks(number, window=window)
    return told > 0 if nodata is None or MaskFlags.nodata in flags else (told > 0) & (values != nodata)


def alpha_of_warp(data: Any, number: int) -> int:
    """Number of the alpha band that a warp added and that tells of a band where there is data, 0 if there is none."""
    from rasterio.enums import ColorInterp, MaskFlags

    added = MaskFlags.all_valid in data.mask_flag_enums[number - 1] and data.colorinterp[-1] == ColorInterp.alpha
    return data.count if added else 0
