"""Small data sets that are ready to use: real where a package carries them, else simulated and said to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from geonb.rasters import images, landsat
from geonb.workloads.segmentation import dataset


def landsat_raleigh(bands: str | None = None, cache: Path | None = None, vector: bool = False) -> dataset.Pairs:
    """A Landsat-7 scene of Raleigh, North Carolina (2000), and its land cover in seven classes (1996).

    Parameters
    ----------
    bands : str, optional
        Names (blue, green, red, near infrared, shortwave infrared), the files' numbers (10 to 50), or 1 to 5.
    cache : Path, optional
        Where the files are kept; data/examples in the project by default.
    vector : bool
        The 34 training polygons instead of the full raster.

    Returns
    -------
    Pairs; where the files can neither be found nor fetched, of a simulated scene, after a warning
    """
    found = landsat.scene(cache)
    if found.simulated:
        return _pairs(found, "Land cover of a simulated scene", [found.classes], bands)
    masks = f"{found.classes.with_name('landsat96_polygons.shp')}:column=id" if vector else [found.classes]
    return _pairs(found, f"Land cover of {landsat.TITLE}", masks, bands)


def simulated_scene(
    shape: tuple[int, int] = (448, 480), seed: int = 0, cache: Path | None = None, bands: str | None = None
) -> dataset.Pairs:
    """A made-up scene with known truth, see :func:`geonb.rasters.landsat.simulated_scene`."""
    found = landsat.simulated_scene(shape, seed, cache)
    return _pairs(found, "Land cover of a simulated scene", [found.classes], bands)


def _pairs(scene: landsat.Scene, title: str, masks: str | list[Path], bands: str | None) -> dataset.Pairs:
    pairs = dataset.open_pairs(
        scene.images, masks, title=title, name=scene.name, simulated=scene.simulated, notes=scene.notes,
        attribution=scene.attribution,
    )  # fmt: skip
    named = tuple(c["name"] for c in landsat.CHANNELS.values())
    image = replace(pairs.images[0], channels=named)
    image = image if scene.simulated else replace(image, name="raleigh")
    numbers = dict(zip(landsat.CHANNELS, named, strict=True))
    if bands:
        landsat.check_bands(bands)
        image = images.choose_bands(image, ",".join(numbers.get(b.strip(), b.strip()) for b in bands.split(",")))
    channels = {c["name"]: c for c in landsat.CHANNELS.values()}
    return replace(
        pairs, images=(image,), classes=landsat.CLASSES, channels=tuple(channels[name] for name in image.channels)
    )


CATALOGUE = """# Two simulated data sets that differ in resolution, coordinate system and kind of mask.
ridge:
  title: Ridge, simulated
  resolution: 30
  images: ridge/image.tif
  masks: ridge/colours.tif
  mask: rgb
  classes: classes.yaml
  simulated: true
shore:
  aliases: [coast]
  title: Shore, simulated
  resolution: 32.3
  images: shore/image.tif
  masks: shore/cover.gpkg
  mask: {column: cover}
  classes: classes.yaml
  simulated: true
"""


def write_catalogue(folder: Path, shape: tuple[int, int] = (160, 192), seed: int = 0) -> Path:
    """Write two simulated data sets and the catalogue that names them, as a pattern for one of your own.

    `ridge` has 30 m pixels in UTM zone 17N and a mask that is a picture, a colour a class; `shore` has 40 m pixels in Web
    Mercator, which are 32.3 m on the ground there, and polygons with the class's name in the column `cover`.

    Returns
    -------
    Path of datasets.yaml, to be used as ``open_datasets(f"{path}:ridge+shore")``
    """
    import geopandas as gpd
    import rasterio
    import yaml
    from affine import Affine
    from rasterio.features import shapes
    from shapely.geometry import shape as outline

    for number, name in enumerate(("ridge", "shore")):
        landsat.write_scene(folder / name, *landsat.simulate(shape, seed + number))
    classes = [dict(c) for c in landsat.CLASSES]
    (folder / "classes.yaml").write_text(yaml.safe_dump(classes, sort_keys=False))
    colours = np.array([[0, 0, 0], *(tuple(bytes.fromhex(c["colour"][1:])) for c in classes)], np.uint8)
    with rasterio.open(folder / "ridge" / "mask.tif") as mask:
        profile = mask.profile | {"count": 3, "photometric": "rgb", "nodata": None}
        with rasterio.open(folder / "ridge" / "colours.tif", "w", **profile) as file:
            file.write(colours[mask.read(1)].transpose(2, 0, 1))
    crs, transform = "EPSG:3857", Affine(40, 0, -8_900_000, 0, -40, 4_300_000)
    for name in ("image", "mask"):
        with rasterio.open(folder / "shore" / f"{name}.tif", "r+") as file:
            file.crs, file.transform = crs, transform
    with rasterio.open(folder / "shore" / "mask.tif") as mask:
        found = [(outline(s), int(v)) for s, v in shapes(mask.read(1), transform=mask.transform)]
    named = {c["code"]: c["name"] for c in classes}
    frame = {"cover": [named[v] for _, v in found], "geometry": [g for g, _ in found]}
    gpd.GeoDataFrame(frame, crs=crs).to_file(folder / "shore" / "cover.gpkg")
    for name in ("ridge", "shore"):
        (folder / name / "mask.tif").unlink()
    (folder / "datasets.yaml").write_text(CATALOGUE)
    return folder / "datasets.yaml"
