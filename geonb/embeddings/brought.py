"""Vectors that were made elsewhere: a GeoParquet with a column of them, or a raster whose bands are an embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geonb.base.conventions import short
from geonb.base.project import at_hand

if TYPE_CHECKING:
    import geopandas as gpd
    import pyarrow as pa

TABLES = (".parquet", ".geoparquet", ".pq")
STRIP_PX = 2**22  # values of a raster that are read at once, all bands together


class Brought(NamedTuple):
    """What :func:`geonb.embeddings.search.build_index` takes, and what to tell of it.

    Attributes
    ----------
    vectors : float32 array (sample, dim), none of them NaN or zero
    samples : GeoDataFrame, a row a vector
    notes : texts: how many were left out, and why
    """

    vectors: np.ndarray
    samples: gpd.GeoDataFrame
    notes: list[str]


def read_vectors(
    path: str | Path, *, column: str | None = None, rename: Mapping[str, str] | None = None, block: int = 1
) -> Brought:
    """Read vectors that were brought along.

    Parameters
    ----------
    path : GeoParquet, or a raster
    column : str, optional
        Of a table: the one that holds the vectors (lists of numbers); found where there is one only.
    rename : mapping, optional
        Of a table: its column -> ``id, name, time, source, labels`` or ``group``, where these have other names.
    block : int, pixels
        Of a raster: side of a sample; its vector is the mean over its valid pixels, of which there must be half.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        No or several columns of vectors, vectors of unlike lengths, no geometry, no CRS, nothing valid.
    """
    path = Path(at_hand(path))
    if not path.is_file():
        raise FileNotFoundError(f"No vectors at {path}: give a GeoParquet ({', '.join(TABLES)}) or a raster")
    if path.suffix.lower() in TABLES:
        return _of_table(path, column, dict(rename or {}))
    if block < 1:
        raise ValueError(f"block = {block}: a side in pixels, 1 or more")
    return _of_raster(path, block)


# --- a table ---------------------------------------------------------------------------------------------------------


def _of_table(path: Path, column: str | None, rename: dict[str, str]) -> Brought:
    import geopandas as gpd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({short(error)})") from error
    name = _vector_column(schema, column, path)
    if b"geo" not in (schema.metadata or {}):
        raise ValueError(
            f"{path} has vectors ({name}) and no geometry that GeoParquet knows "
            f"(columns {', '.join(schema.names)}): write it with geopandas."
        )
    if unknown := [one for one in rename if one not in schema.names]:
        raise ValueError(f"{path} has no column {', '.join(unknown)} to rename, only {', '.join(schema.names)}")
    vectors, there = _stacked(pq.read_table(path, columns=[name]).column(0).combine_chunks(), name, path)
    kept = [n for n in schema.names if n not in (name, "bbox")]
    table = gpd.read_parquet(path, columns=kept).rename(columns=rename)
    if table.crs is None:
        raise ValueError(f"The geometry of {path} has no CRS: write it again with one (frame.set_crs(...))")
    usable, notes = _usable(vectors, ~there, "rows", path.name)
    return Brought(vectors[usable], _named(table[usable].reset_index(drop=True), path, np.flatnonzero(usable)), notes)


def _vector_column(schema: pa.Schema, column: str | None, path: Path) -> str:
    import pyarrow as pa

    def holds(field: pa.Field) -> bool:
        kind = field.type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        return lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))

    found = [field.name for field in schema if holds(field)]
    if column is not None:
        if column not in found:
            raise ValueError(
                f"{path} has no vectors in a column {column!r}; columns of lists of numbers: {', '.join(found) or 'none'}"
            )
        return column
    if len(found) != 1:
        what = (
            f"several columns of vectors ({', '.join(found)}): name one"
            if found
            else f"no column of lists of numbers, only {', '.join(schema.names)}"
        )
        raise ValueError(f"{path} has {what}")
    return found[0]


def _stacked(column: pa.Array, name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Lists as float32 array (sample, dim), and which of them are there; a null is a row of NaN."""
    import pyarrow.compute as pc

    there = np.asarray(column.is_valid())
    lengths = pc.list_value_length(column.drop_null()).to_numpy()
    if not there.any():
        raise ValueError(f"All {len(column):,} vectors of {path} ({name}) are null")
    if lengths.min() != lengths.max() or not lengths.max():
        raise ValueError(
            f"The vectors of {path} ({name}) have unlike lengths, {lengths.min()} to {lengths.max()}: "
            "they are of several models, or damaged"
        )
    out = np.full((len(column), int(lengths[0])), np.nan, np.float32)
    out[there] = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, lengths[0])
    return out, there


def _usable(vectors: np.ndarray, null: np.ndarray, what: str, name: str) -> tuple[np.ndarray, list[str]]:
    """Which vectors are like anything, and words for the others."""
    finite = np.isfinite(vectors).all(1)
    zero = finite & ~vectors.any(1)
    counts = {"without a vector": null, "with NaN or infinity in it": ~finite & ~null, "with zeros only": zero}
    notes = [
        f"{name}: {int(mask.sum()):,} of {len(vectors):,} {what} {word} were left out"
        for word, mask in counts.items()
        if mask.any()
    ]
    if not (usable := finite & ~zero).any():
        raise ValueError(f"No vector is usable. {'; '.join(notes)}")
    return usable, notes


def _named(table: gpd.GeoDataFrame, path: Path, rows: np.ndarray) -> gpd.GeoDataFrame:
    """A table with ids and a source: its own, or the row's number and the file's name."""
    if "id" not in table:
        table.insert(0, "id", [f"{path.stem}-{row}" for row in rows])
    return table if "source" in table else table.assign(source=path.stem)


# --- a raster --------------------------------------------------------------------------------------------------------


def _of_raster(path: Path, block: int) -> Brought:
    import geopandas as gpd
    import rasterio

    try:
        opened = rasterio.open(path)
    except rasterio.errors.RasterioError as error:
        raise ValueError(f"{path} is neither a GeoParquet nor a raster ({short(error)})") from error
    with opened as raster:
        if raster.crs is None:
            raise ValueError(f"{path} has no CRS, so that its samples lie nowhere: set it (rio edit-info --crs ...)")
        if raster.count < 2:
            raise ValueError(f"{path} has one band: the bands of an embedding are its numbers, as many as it has")
        parts = list(_strips(raster, block))
        vectors, valid = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        number = -(-raster.width // block)
        vectors[~valid] = np.nan
        usable, notes = _usable(vectors, ~valid, f"{'pixels' if block == 1 else f'blocks of {block} px'}", path.name)
        y, x = np.divmod(np.flatnonzero(usable), number)
        shapes = _boxes(raster, y * block, x * block, block)
        samples = gpd.GeoDataFrame(
            {"id": [f"{path.stem}-{a}-{b}" for a, b in zip(y * block, x * block, strict=True)], "source": path.stem},
            geometry=shapes,
            crs=raster.crs,
        )
    return Brought(vectors[usable], samples, [note.replace("without a vector", "without data") for note in notes])


def _strips(raster: Any, block: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors and whether they hold data, of some rows of blocks after the other: (block, band), (block,)."""
    from rasterio.windows import Window

    rows = max(1, STRIP_PX // (raster.width * raster.count * block)) * block
    scales, offsets = (np.array(of, np.float32)[:, None, None] for of in (raster.scales, raster.offsets))
    for top in range(0, raster.height, rows):
        window = Window(0, top, raster.width, min(rows, raster.height - top))
        values = raster.read(window=window, masked=True)
        valid = ~np.ma.getmaskarray(values).any(0)
        values = values.filled(0).astype(np.float32) * scales + offsets
        valid &= np.isfinite(values).all(0)
        values[:, ~valid] = 0
        sums, counts, sizes = (_summed(one, block) for one in (values, valid[None], np.ones_like(valid)[None]))
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums / counts
        yield means.reshape(len(means), -1).T.astype(np.float32), (counts * 2 >= np.maximum(sizes, 1)).ravel()


def _summed(values: np.ndarray, block: int) -> np.ndarray:
    """Sums over blocks of pixels, those at the edge smaller: (band, y, x)."""
    high, wide = (-size % block for size in values.shape[1:])
    filled = np.pad(values.astype(np.float32), ((0, 0), (0, high), (0, wide)))
    return filled.reshape(len(values), filled.shape[1] // block, block, -1, block).sum((2, 4))


def _boxes(raster: Any, y: np.ndarray, x: np.ndarray, block: int) -> np.ndarray:
    """Outlines of blocks of pixels, in the raster's CRS."""
    import shapely

    bottom, right = np.minimum(y + block, raster.height), np.minimum(x + block, raster.width)
    corners = np.stack(
        [np.stack([x, y], -1), np.stack([right, y], -1), np.stack([right, bottom], -1), np.stack([x, bottom], -1)], 1
    )
    a, b, c, d, e, f = tuple(raster.transform)[:6]
    east, north = corners[..., 0] * a + corners[..., 1] * b + c, corners[..., 0] * d + corners[..., 1] * e + f
    return shapely.polygons(np.stack([east, north], -1))
