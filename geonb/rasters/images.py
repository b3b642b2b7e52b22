"""Images: the bands of one file, or of several on one grid, read in rectangles so that none has to fit in memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import specs
from geonb.base.conventions import short
from geonb.base.fills import LARGEST
from geonb.rasters import grids, preprocessing, tiles
from geonb.rasters.sources import quiet
from geonb.rasters.validity import alpha_band, alpha_of_warp, holds_data, nodata_of, with_mask

if TYPE_CHECKING:
    import xarray as xr


RESAMPLING = ("average", "bilinear", "cubic", "nearest")
TILE_PX = 1024  # side of the rectangles in which files are read
# Bands that the publishers fill with 0 without a nodata tag: Sentinel-2 (Products Specification Document, SPECIAL_VALUE
# NODATA) and Landsat Collection 2 (Level-1 Data Format Control Book, fill), by their file names.
FILLED_WITH_0 = re.compile(
    r"(T\d{2}[A-Z]{3}_\d{8}T\d{6}|S2\w_OPER_MSI_L1C_TL_.+)_B\d[\dA](_\d\dm)?"
    r"|L[CEOTM]\d\d_L[12]\w\w_\d{6}_\d{8}_\d{8}_\d\d_(T1|T2|RT)_(SR_|ST_)?B\d+"
)


@dataclass(frozen=True)
class Image:
    """One georeferenced image: the bands of one file, or of several files on the same grid.

    bands holds (index of the file, band number from 1) in channel order; masked says of each whether the file tells where
    it has data (nodata, an alpha band, a mask file), fill what stands for no data in one that does not tell, by the rule of
    its product; called_alpha whether the file calls it alpha, though it holds data. alpha is the number of each file's alpha band,
    0 = none. With `resampling` the files are warped onto the grid as they are read, out of `from_crs` where theirs is another,
    with `preprocess` the values then go through that function, and with `data_shape` the pixels below and to the right of it are
    padding, never valid.
    """

    name: str
    paths: tuple[Path, ...]
    bands: tuple[tuple[int, int], ...]
    channels: tuple[str, ...]
    shape: tuple[int, int]
    transform: Any
    crs: Any
    dtype: str
    masked: tuple[bool, ...]
    fill: tuple[float | None, ...]
    called_alpha: tuple[bool, ...]
    alpha: tuple[int, ...]
    dataset: str = ""
    resampling: str | None = None  # a method of rasterio.enums.Resampling
    method: str | None = None  # the one for whoever resamples later; None: as the sides of the pixels ask for
    preprocess: str | None = None  # "module:function" or "/path/file.py:function"
    data_shape: tuple[int, int] | None = None
    from_crs: Any = None

    @property
    def grid(self) -> tuple:
        """(crs, transform, shape)"""
        return self.crs, self.transform, self.shape


def open_image(path: str | Path, bands: str | None = None, place: tuple | None = None) -> Image:
    """Read the header of one raster file.

    Parameters
    ----------
    bands : str, optional
        Names or numbers (from 1), comma separated; all by default.
    place : tuple = (crs, transform), optional
        Where the image lies, for a file that does not say it itself.

    Raises
    ------
    ValueError
        Not a raster, no CRS, one of a place that nobody knows, or a rotated grid; names the file and the cure.
    """
    import rasterio
    from rasterio.enums import ColorInterp, MaskFlags
    from rasterio.errors import RasterioIOError

    path = Path(path)
    try:
        with quiet(), rasterio.open(path) as data:
            alpha = alpha_band(data)
            numbers = [i for i in data.indexes if i != alpha]
            called = tuple(data.colorinterp[i - 1] == ColorInterp.alpha for i in numbers)
            names = [data.descriptions[i - 1] or f"band {i}" for i in numbers]
            facts = (*(place or (data.crs, data.transform)), data.shape)
            dtype = np.result_type(*(data.dtypes[i - 1] for i in numbers)).name
            # what GDAL calls alpha may be none
            untold = {MaskFlags.all_valid, MaskFlags.alpha}
            masked = tuple(alpha > 0 or untold.isdisjoint(data.mask_flag_enums[i - 1]) for i in numbers)
    except RasterioIOError as error:
        raise ValueError(f"{path} cannot be opened as a raster ({short(error)})") from None
    crs, transform, shape = facts
    if crs is None:
        raise ValueError(
            f"{path} has no CRS. Give it one, for instance: gdal_edit.py -a_srs EPSG:32617 {path.name}; a tile of a web map is placed "
            f"by its name, {tiles.SCHEMES}"
        )
    if not grids.on_earth(crs):
        raise ValueError(
            f"{path} has a local coordinate system ({crs.to_wkt()[:60]}...): nobody knows where on Earth it lies. Give it the CRS "
            f"that it was surveyed in, for instance: gdal_edit.py -a_srs EPSG:32617 {path.name}"
        )
    if transform.b or transform.d:
        raise ValueError(f"{path} lies on a rotated grid. Make it north-up first, for instance with gdalwarp")
    if np.dtype(dtype).kind == "c":
        raise ValueError(f"{path} holds complex numbers. Write amplitude and phase as real bands first")
    fill = [0.0 if FILLED_WITH_0.fullmatch(path.stem) and not told else None for told in masked]
    image = Image(
        path.stem,
        (path,),
        tuple((0, i) for i in numbers),
        tuple(names),
        shape,
        transform,
        crs,
        dtype,
        masked,
        tuple(fill),
        called,
        (alpha,),
    )
    return choose_bands(image, bands)


def is_paletted(path: str | Path) -> bool:
    """Whether the values of a file are numbers of colours, and no brightness."""
    import rasterio
    from rasterio.enums import ColorInterp

    with quiet(), rasterio.open(path) as data:
        return ColorInterp.palette in data.colorinterp


def choose_bands(image: Image, bands: str | None) -> Image:
    """The image with the named or numbered bands only, in the order asked for; names go before numbers."""
    if bands is None:
        return image
    wanted = [b.strip() for b in str(bands).split(",") if b.strip()]
    index = {str(i + 1): i for i in range(len(image.channels))} | {c: i for i, c in enumerate(image.channels)}
    unknown = [b for b in wanted if b not in index]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        what = f"no band {', '.join(unknown)}" if unknown else f"bands = {bands!r} names none, or one twice"
        files = ", ".join(str(p) for p in image.paths)
        raise ValueError(f"{files}: {what}. Its bands: {', '.join(image.channels)} (or 1 to {len(image.channels)})")
    keep = [index[b] for b in wanted]
    pick: dict[str, Any] = {
        k: tuple(getattr(image, k)[i] for i in keep) for k in ("bands", "channels", "masked", "fill", "called_alpha")
    }
    return replace(image, **pick)


def stack(images: list[Image]) -> Image:
    """Images on one grid as a single image; channels are named by what differs in the file names.

    Raises
    ------
    ValueError
        If they do not lie pixel on pixel.
    """
    first = images[0]
    other = [im for im in images if not grids.same_grid(first.grid, im.grid)]
    if other:
        raise ValueError(f"{other[0].paths[0]} is not on the grid of {first.paths[0]}: single bands cannot be stacked")
    stems = [im.name for im in images]
    named = all(c.startswith("band ") for im in images for c in im.channels) and all(len(i.bands) == 1 for i in images)
    prefix = _common(stems)
    channels = [s[len(prefix) :] or s for s in stems] if named else [c for im in images for c in im.channels]
    return replace(
        first,
        name=prefix.rstrip("_-. ") or first.name,
        paths=tuple(p for im in images for p in im.paths),
        bands=tuple((f, b) for f, im in enumerate(images) for _, b in im.bands),
        channels=tuple(unique(channels)),
        dtype=np.result_type(*(im.dtype for im in images)).name,
        masked=tuple(m for im in images for m in im.masked),
        fill=tuple(f for im in images for f in im.fill),
        called_alpha=tuple(c for im in images for c in im.called_alpha),
        alpha=tuple(a for im in images for a in im.alpha),
    )


@contextmanager
def reader(
    image: Image, open_codes: Callable[..., Callable] | None = None, counts: Counter | None = None
) -> Iterator[Callable]:
    """Open an image, and labels on its grid, for reading in rectangles.

    Parameters
    ----------
    open_codes : (crs, transform, shape, stack : ExitStack) -> (rows, columns) -> ndarray (y, x) int32, optional
        Opens the labels.
    counts : Counter, optional
        Pixels that hold data which is not finite, or beyond LARGEST, are added under "not_finite".

    Yields
    ------
    read : (rows : slice, columns : slice) -> inputs, valid, codes
        inputs : ndarray (channel, y, x), the image's dtype, 0 where not valid
        valid : ndarray (y, x) bool: every band has data, by GDAL's mask, and is finite
        codes : ndarray (y, x) int32: class codes, NO_CODE where there is none; None without labels
    """
    inner = image.data_shape or image.shape
    change = preprocessing.load(image.preprocess) if image.preprocess else None
    with ExitStack() as stack_:
        files = [_open_bands(image, path, stack_) for path in image.paths]
        codes = open_codes(image.crs, image.transform, inner, stack_) if open_codes else None

        def read(rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
            shape = rows.stop - rows.start, columns.stop - columns.start
            rows, columns = (slice(s.start, min(s.stop, n)) for s, n in zip((rows, columns), inner, strict=True))
            if rows.start >= rows.stop or columns.start >= columns.stop:  # nothing but padding
                empty = np.zeros((len(image.bands), *shape), image.dtype), np.zeros(shape, bool)
                return *empty, np.full(shape, NO_CODE) if codes else None
            inputs, valid = _finite(*_read_bands(files, image, rows, columns), counts)
            if change is not None:
                inputs, valid = _finite(preprocessing.apply(change, inputs, str(image.preprocess)), valid, counts)
            labels = codes(rows, columns) if codes else None
            return (
                _pad(inputs.astype(image.dtype, copy=False), shape, 0),
                _pad(valid, shape, False),
                None if labels is None else _pad(labels, shape, NO_CODE),
            )

        yield read


def _finite(inputs: np.ndarray, valid: np.ndarray, counts: Counter | None) -> tuple[np.ndarray, np.ndarray]:
    """Take what is not finite, or a fill that no tag tells of, out of the valid pixels; set to 0 what is not valid."""
    if inputs.dtype.kind == "f":
        finite = (np.abs(inputs) < min(LARGEST, np.finfo(inputs.dtype).max)).all(axis=0)
        if counts is not None:
            counts["not_finite"] += int((valid & ~finite).sum())
        valid = valid & finite
    np.copyto(inputs, 0, where=~valid)
    return inputs, valid


def _pad(plane: np.ndarray, shape: tuple[int, int], fill: Any) -> np.ndarray:
    missing = [(0, n - have) for n, have in zip(shape, plane.shape[-2:], strict=True)]
    if not any(after for _, after in missing):
        return plane
    return np.pad(plane, [(0, 0)] * (plane.ndim - 2) + missing, constant_values=fill)


def _open_bands(image: Image, path: Path, stack_: ExitStack) -> Any:
    """A file, its alpha band as its mask, seen on the image's grid where that is not its own."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    data = with_mask(stack_.enter_context(rasterio.open(path)), image.alpha[image.paths.index(path)], stack_)
    if image.resampling is None:
        return data
    height, width = image.data_shape or image.shape
    here = [i for i, (file, _) in enumerate(image.bands) if image.paths[file] == path]
    # a mask is heeded when pixels are averaged, but only an alpha band, or a nodata value, hands it on
    flags = {flag.name for i in data.indexes for flag in data.mask_flag_enums[i - 1]}
    fill = next((image.fill[i] for i in here if image.fill[i] is not None), None)
    nodata = nodata_of(data, [image.bands[i][1] for i in here], path) if fill is None else fill
    alpha = ("per_dataset" in flags or image.from_crs is not None) and nodata is None
    # the same CRS on both sides: of files that differ in its name only, none is to be moved
    options = {
        "src_crs": image.from_crs or image.crs,
        "crs": image.crs,
        "transform": image.transform,
        "height": height,
        "width": width,
    }
    # fills are not averaged with their neighbours, be there data in another band; beside a mask each band counts for itself,
    # as GDAL forgets the mask else
    options |= {"unified_src_nodata": "NO" if "per_dataset" in flags else "PARTIAL"}
    options |= {"src_nodata": nodata, "nodata": nodata}
    resampling = Resampling[image.resampling]
    return stack_.enter_context(WarpedVRT(data, resampling=resampling, add_alpha=alpha, **options))


def _read_bands(files: list, image: Image, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.windows import Window

    window = Window.from_slices(rows, columns)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    dtype = np.result_type(*(files[f].dtypes[b - 1] for f, b in image.bands))
    inputs, valid = np.empty((len(image.bands), *shape), dtype), np.ones(shape, bool)
    for f, data in enumerate(files):
        here = [i for i, (file, _) in enumerate(image.bands) if file == f]
        if not here:
            continue
        numbers = [image.bands[i][1] for i in here]
        alphas = {alpha_of_warp(data, number) for number in numbers}
        if len(alphas) == 1 and 0 not in alphas and all(value is None for value in data.nodatavals):
            read = data.read([*numbers, *alphas], window=window)  # at once: each read is a warp of its own
            inputs[here] = read[:-1]
            valid &= read[-1] > 0
            continue
        inputs[here] = data.read(numbers, window=window)
        for number, i in zip(numbers, here, strict=True):
            if image.masked[i]:
                valid &= holds_data(data, number, inputs[i], window)
            elif image.fill[i] is not None:
                valid &= inputs[i] != image.fill[i]
    return inputs, valid


def resample(image: Image, resolution_m: float, method: str | None = None) -> Image:
    """The image on pixels of another side, in its CRS and with its upper left corner; read that way from now on.

    Parameters
    ----------
    resolution_m : float, m
    method : str, optional
        average, bilinear, cubic or nearest; by default the image's own, or average for coarser pixels, bilinear for finer ones.

    Raises
    ------
    ValueError
        Unknown method; an absurd change of size (see grids.resampled).
    """
    if method is not None:
        specs.pick("resampling", method, dict.fromkeys(RESAMPLING))
    try:
        grid = grids.resampled(image.crs, image.transform, image.shape, resolution_m)
    except ValueError as error:
        raise ValueError(f"{image.paths[0]}: {error}") from None
    if grid is None:
        return image
    transform, shape = grid
    coarser = shape[0] * shape[1] < image.shape[0] * image.shape[1]
    method = method or image.method or ("average" if coarser else "bilinear")
    return replace(image, transform=transform, shape=shape, resampling=method)


def onto(image: Image, crs: Any, transform: Any, shape: tuple[int, int], method: str | None = None) -> Image:
    """The image on any grid, also of another CRS, read that way from now on; beyond its edges there is no data.

    Parameters
    ----------
    crs, transform, shape : of the grid, north-up
    method : str, optional
        As in `resample`; by default the image's own, or average for pixels more than half again as wide, else bilinear.

    Raises
    ------
    ValueError
        Unknown method.
    """
    if method is not None:
        specs.pick("resampling", method, dict.fromkeys(RESAMPLING))
    coarser = grids.pixel_size_m(crs, transform, shape) > 1.5 * grids.pixel_size_m(*image.grid)
    return replace(
        image,
        crs=crs,
        transform=transform,
        shape=shape,
        resampling=method or image.method or ("average" if coarser else "bilinear"),
        masked=tuple(told or fill is None for told, fill in zip(image.masked, image.fill, strict=True)),
        from_crs=image.from_crs or grids.beyond_180(*image.grid),
    )


def with_preprocess(image: Image, path: str) -> Image:
    """The image with a function applied to its values, after a look whether that works pixel by pixel.

    Raises
    ------
    ValueError
        If it cannot be found or fails, or a piece of an image comes out differently alone than within the whole.
    """
    size = tuple(min(n, 64) for n in image.shape)
    rows, columns = (slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(image.shape, size, strict=True))
    with reader(image) as read:
        real = read(rows, columns)[0]
    return replace(image, preprocess=path, dtype=preprocessing.check(path, real).name)


def to_xarray(image: Image, step: int = 1) -> xr.Dataset:
    """A whole image, to look at.

    Parameters
    ----------
    step : int, px
        Take every step-th pixel of every step-th row: keeps large scenes small.

    Returns
    -------
    Dataset with inputs (channel, y, x), valid (y, x), x, y and the CRS
    """
    with reader(image) as read:
        inputs, valid = thinned(read, image.shape, step)
    return frame(inputs, valid, image.transform * image.transform.scale(step), image.crs, image.channels)


def thinned(read: Callable, shape: tuple[int, int], step: int = 1) -> list[np.ndarray]:
    """Every step-th pixel of every step-th row of what a `reader` reads, strip by strip; codes only where it has labels."""
    rows = range(0, shape[0], TILE_PX - TILE_PX % step)
    strips = [read(slice(y, min(y + rows.step, shape[0])), slice(0, shape[1])) for y in rows]
    return [
        np.concatenate([part[..., ::step, ::step] for part in parts], axis=-2)
        for parts in zip(*strips, strict=True)
        if parts[0] is not None
    ]


def frame(inputs: np.ndarray, valid: np.ndarray, transform: Any, crs: Any, channels: Any) -> xr.Dataset:
    """Wrap pixels into a CF Dataset with coordinates at the pixel centres and the CRS, if there is one, in `spatial_ref`."""
    import rioxarray  # noqa: F401  (adds .rio)
    import xarray as xr

    y, x = grids.centres(transform, inputs.shape[-2:])
    data = xr.Dataset(
        {"inputs": (("channel", "y", "x"), inputs), "valid": (("y", "x"), valid)},
        {"channel": list(channels), "y": y, "x": x},
    )
    data = data if crs is None else data.rio.write_crs(crs)
    return data.rio.write_transform(transform)


def _common(stems: list[str]) -> str:
    shortest = min(stems, key=len)
    same = next((i for i, c in enumerate(shortest) if any(s[i] != c for s in stems)), len(shortest))
    return shortest[:same]


def unique(names: list[str]) -> list[str]:
    """The names, a number added to those that come again."""
    seen: Counter = Counter()
    named = []
    for name in names:
        seen[name] += 1
        named.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return named


# Of a pixel that the mask does not reach. Typed: a plain number would wrap around among small integers.
NO_CODE = np.int32(np.iinfo(np.int32).min)
