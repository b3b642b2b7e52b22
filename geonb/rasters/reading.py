"""Any raster, read for prediction: checked by its header, in strips of rows, at the model's resolution, damage found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geonb.rasters import grids, images, preprocessing, sources

if TYPE_CHECKING:
    from geonb.rasters.images import Image
    from geonb.rasters.stitching import Reader

CACHE_BYTES = (
    64 << 20
)  # of GDAL's blocks; rasterio takes a whole number for bytes, GDAL's own default is 5 % of the memory
TOLERANCE = 1.1  # pixels whose sides differ by less count as the model's
# What one can say of a window: (first row, row after the last, first column, column after the last), px of the file.
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Raster:
    """A raster open for prediction.

    scene is its grid for the network, an empty Dataset; `read(start, stop, west, east)` gives rows of it, or a part of them.
    image tells of the file's own grid, and `known(rows, columns)` which of its pixels hold data. resampled_m is the pixel
    side in metres on which the network sees it, None = the file's own. unreadable fills while it is read.
    """

    image: images.Image
    scene: xr.Dataset
    read: Reader
    known: Callable[[slice, slice], np.ndarray]
    resampled_m: float | None = None
    unreadable: set[Window] = field(default_factory=set)


def check_raster(path: Path, card: dict[str, Any]) -> images.Image:
    """Check by its header that a raster fits a model.

    Raises
    ------
    ValueError
        Not a raster, no coordinate reference system, a rotated grid, other bands than the model's, pixels of quite another
        size; says what to do.
    """
    image = images.open_image(path)
    wanted = [c["name"] for c in card["channels"]]
    if len(image.bands) != len(wanted):
        raise ValueError(
            f"{path} has {len(image.bands)} bands; the model was trained on {len(wanted)} ({', '.join(wanted)}). "
            "Give a raster with these bands in this order, or train a model on the bands you have."
        )
    seen(image, card)
    return image


@contextmanager
def open_raster(path: str | Path, card: dict[str, Any], damaged: str = "skip") -> Iterator[Raster]:
    """Open a raster for prediction by a model.

    Parameters
    ----------
    card : dict
        The model's: ``channels``; ``resolution_m``, where pixels more than 10 % off are read through a WarpedVRT at that
        resolution; ``preprocess``, import paths of functions of values (channel, y, x), as in training.
    damaged : "skip" or "nodata"
        What happens at pixels that cannot be read: an error, or they count as having no data and are listed in `unreadable`.

    Raises
    ------
    ValueError
        See :func:`check_raster` and :func:`functions_of`; and, from `read`, the rows and columns that cannot be read, with GDAL's reason.
    """
    import rasterio
    import rioxarray  # noqa: F401  (the .rio accessor)

    path = Path(path)
    image = check_raster(path, card)
    looked = seen(image, card)
    functions = functions_of(card)
    unreadable: set[Window] = set()
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), images.reader(image) as own, images.reader(looked) as read:
        with rasterio.open(path) as data:
            blocks = data.block_shapes[0]
        known = careful = _Careful(image, image, own, blocks, damaged, unreadable)
        if looked is not image:
            careful = _Careful(image, looked, read, (256, 256), damaged, unreadable)
        yield Raster(
            image, _grid(looked.crs, looked.transform, looked.shape), _rows(careful, looked.shape[1], functions),
            lambda y, x: known(y, x)[1], None if looked is image else float(card["resolution_m"]), unreadable,
        )  # fmt: skip


def functions_of(card: dict[str, Any]) -> dict[str, Callable]:
    """What a model's card says is done to values before the network sees them, by import path.

    Raises
    ------
    ValueError
        If nobody on this machine named such a function before, or it cannot be found; see :mod:`geonb.base.trust`.
    """
    steps = card.get("preprocess") or []
    named = [steps] if isinstance(steps, str) else steps
    return {name: preprocessing.load(str(name), "the model's card (preprocess)") for name in named}


def seen(image: images.Image, card: dict[str, Any]) -> images.Image:
    """The image as the model sees it: at the resolution it was trained on, where its own differs by more than 10 %.

    Raises
    ------
    ValueError
        If it differs absurdly; see :func:`geonb.rasters.grids.resampled`.
    """
    wanted = card.get("resolution_m")
    sides = grids.pixel_sides_m(image.crs, image.transform, image.shape)
    if not wanted or all(1 / TOLERANCE <= side / wanted <= TOLERANCE for side in sides):
        return image
    new = images.resample(image, wanted)
    # unlike in training up to the very edge: the rest of a pixel there is seen as well, so that no pixel goes unlabelled
    scale = new.transform.e / image.transform.e, new.transform.a / image.transform.a
    return replace(new, shape=tuple(math.ceil(n / f - 1e-6) for n, f in zip(image.shape, scale, strict=True)))


def _grid(crs: Any, transform: Any, shape: tuple[int, int]) -> xr.Dataset:
    y, x = grids.centres(transform, shape)
    return xr.Dataset(coords={"y": y, "x": x}).rio.write_crs(crs).rio.write_transform(transform)


def _rows(read: Callable, columns: int, functions: dict[str, Callable]) -> Reader:
    def rows(start: int, stop: int, west: int = 0, east: int = columns) -> tuple[np.ndarray, np.ndarray]:
        values, valid = read(slice(start, stop), slice(west, east))
        for name, function in functions.items():
            values = preprocessing.apply(function, values, name)
            if values.dtype.kind == "f":
                valid = valid & np.isfinite(values).all(axis=0)
            values[:, ~valid] = 0  # as in training: a function sees 0 where there is no data
        return values, valid

    return rows


class _Careful:
    """A reader of rectangles that finds out which blocks of a file cannot be read.

    Parameters
    ----------
    image, looked : Image
        As it is on disk, and as `read` gives it.
    read : (rows, columns) -> values (channel, y, x), valid (y, x), ...
    blocks : (rows, columns) of what is tried alone when a rectangle fails
    """

    def __init__(
        self,
        image: Image,
        looked: Image,
        read: Callable,
        blocks: tuple[int, int],
        damaged: str,
        unreadable: set[Window],
    ) -> None:
        self.image, self.looked, self.blocks = image, looked, blocks
        self.read = lambda rows, columns: read(rows, columns)[:2]
        self.damaged, self.unreadable = damaged, unreadable

    def __call__(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        from rasterio.errors import RasterioError

        try:
            return self.read(rows, columns)
        except RasterioError as error:
            return self._piecewise(rows, columns, error)

    def _piecewise(self, rows: slice, columns: slice, first: Exception) -> tuple[np.ndarray, np.ndarray]:
        from rasterio.errors import RasterioError

        found: list[Window] = []
        reason: BaseException = first
        shape = rows.stop - rows.start, columns.stop - columns.start
        values, valid = np.zeros((len(self.image.bands), *shape), self.image.dtype), np.zeros(shape, bool)
        for y, x in self._blocks(rows, columns):
            place = (
                slice(y.start - rows.start, y.stop - rows.start),
                slice(x.start - columns.start, x.stop - columns.start),
            )
            try:
                values[(slice(None), *place)], valid[place] = self.read(y, x)
            except RasterioError as error:
                found.append(self._in_file(y, x))
                reason = error
        if found and self.damaged != "nodata":
            raise ValueError(
                f"{self.image.paths[0]} cannot be read at {tell(found)}: {sources.why(self.image.paths, reason)}, "
                "or give damaged='nodata' to predict the rest"
            ) from reason
        self.unreadable.update(found)
        return values, valid

    def _blocks(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        high, wide = self.blocks
        for top in range(rows.start // high * high, rows.stop, high):
            y = slice(max(top, rows.start), min(top + high, rows.stop))
            for left in range(columns.start // wide * wide, columns.stop, wide):
                yield y, slice(max(left, columns.start), min(left + wide, columns.stop))

    def _in_file(self, y: slice, x: slice) -> Window:
        """The whole block around a piece of it, in pixels of the file: strips that overlap then name one and the same."""
        old, new = self.image.transform, self.looked.transform

        def around(piece: slice, block: int, length: int, scale: float) -> tuple[int, int]:
            start = piece.start // block * block
            return int(start * scale), min(math.ceil((start + block) * scale), length)

        (high, wide), (rows, columns) = self.blocks, self.image.shape
        return *around(y, high, rows, new.e / old.e), *around(x, wide, columns, new.a / old.a)


def tell(windows: Any, most: int = 5) -> str:
    """Windows in words: "rows 0-512, columns 512-1024; ... and 3 more"."""
    windows = sorted(windows)
    told = "; ".join(f"rows {a}-{b}, columns {c}-{d}" for a, b, c, d in windows[:most])
    return told + (f"; and {len(windows) - most} more" if len(windows) > most else "")
