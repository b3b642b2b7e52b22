"""Images and masks as arrays of a sample store, and what is counted over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geonb.base import conventions, files, threads
from geonb.rasters import grids, images
from geonb.store.arrays import CHUNK_PX, PLANES, TILE_PX, merged, moments_of, quiet_zarr, seal, source_facts, strips
from geonb.workloads.segmentation import dataset, masks, scan


def write_arrays(pairs: dataset.Pairs, folder: Path, workers: int | None = None) -> None:
    """Bring images and masks onto disk as one Zarr, a group a source.

    Parameters
    ----------
    workers : int, optional
        Threads; as many as there are cores by default. Each works on strips of rows, with files of its own open.

    Raises
    ------
    ValueError
        Every fault that shows in the pixels, before anything is written.
    OSError
        No space left: says how much is needed.
    """
    pairs = dataset.scan(pairs) if workers is None else dataset.scan(pairs, workers)
    need = sum(im.shape[0] * im.shape[1] * (len(im.bands) * np.dtype(im.dtype).itemsize + 2) for im in pairs.images)
    with files.enough_space(folder.parent, need):
        facts, tasks = [], []
        for (image, mask), found in zip(pairs, pairs.found, strict=True):
            data = images.frame(*_empty(image), image.transform, image.crs, image.channels)
            group = create_group(folder, image.name, data)
            tasks += [(group, image, mask, pairs.classes, rows) for rows in strips(image.shape[0])]
            facts.append(
                source_facts(image.name, *image.grid) | {"dataset": image.dataset} | {k: found[k] for k in scan.COUNTS}
            )
        with scan.bounded_cache():
            for _ in threads.spread(_fill, tasks, workers):
                pass
        seal(folder, masks.real_classes(pairs.classes or ()), facts, pruned=list(pairs.pruned))


def _empty(image: images.Image) -> tuple[Any, Any]:
    import dask.array as da  # stands for pixels that come later, whatever their number

    shape = len(image.bands), *image.shape
    return da.zeros(shape, dtype=image.dtype, chunks=-1), da.zeros(image.shape, dtype=bool, chunks=-1)


def create_group(folder: Path, name: str, data: Any) -> Any:
    """Lay out one source, still without pixels, as CF with coordinates and CRS; returns its Zarr group, open for writing."""
    import dask.array as da
    import zarr
    from zarr.codecs import ZstdCodec

    rows, columns = data.sizes["y"], data.sizes["x"]
    data["targets"] = ("y", "x"), da.zeros((rows, columns), dtype="uint8", chunks=-1)
    data["targets"].attrs = {"long_name": "class index", "ignore": conventions.IGNORE}
    for variable in data.data_vars.values():  # as attrs: an `encoding` argument would drop it
        variable.encoding.pop("grid_mapping", None)
        variable.attrs["grid_mapping"] = "spatial_ref"
    chunk = (min(CHUNK_PX, rows), min(CHUNK_PX, columns))
    coding = {"compressors": [ZstdCodec(level=1)]}
    encoding = {v: {**coding, "chunks": chunk} for v in ("valid", "targets")}
    encoding["inputs"] = {**coding, "chunks": (data.sizes["channel"], *chunk)}
    with quiet_zarr():
        data.to_zarr(folder, group=name, mode="a", compute=False, encoding=encoding, consolidated=False)
    return zarr.open_group(folder, path=name, mode="r+")


def writable(group: Any) -> dict[str, Any]:
    """The pixel arrays of a group. Chunks of zeros are written like any other: a missing chunk always means damage."""
    return {v: group[v].with_config({"write_empty_chunks": True}) for v in PLANES}


def _fill(group: Any, image: images.Image, mask: masks.Mask, classes: tuple[dict, ...], rows: slice) -> None:
    to = writable(group)
    with masks.reader(image, mask, classes) as read:
        for x in strips(image.shape[1]):
            inputs, valid, codes = read(rows, x)
            to["inputs"][:, rows, x], to["valid"][rows, x] = inputs, valid
            to["targets"][rows, x] = masks.targets(codes, valid, classes, mask.classes)


def block_counts(group: Any, n_classes: int, block: int) -> np.ndarray:
    """Count pixels by block and class.

    Returns
    -------
    ndarray (block row, block column, class + 1) of int64; valid pixels without a label come last
    """
    shape = group["valid"].shape
    counts = np.zeros((*grids.block_shape(shape, block), n_classes + 1), np.int64)
    tasks = [(group, y, x, n_classes, block) for y, x in grids.tiles(shape, TILE_PX)]
    for area, found in threads.spread(_block_counts, tasks):
        counts[area] += found
    return counts


def _block_counts(group: Any, y: slice, x: slice, n_classes: int, block: int) -> tuple[tuple, np.ndarray]:
    valid, labels = group["valid"][y, x], group["targets"][y, x]
    by, bx = (np.arange(s.start, s.stop) // block for s in (y, x))
    rows, columns = by[-1] - by[0] + 1, bx[-1] - bx[0] + 1
    cell = (by - by[0])[:, None] * columns + (bx - bx[0])
    bins = cell * (n_classes + 1) + np.minimum(labels, n_classes)
    found = np.bincount(bins[valid], minlength=rows * columns * (n_classes + 1))
    return np.s_[by[0] : by[-1] + 1, bx[0] : bx[-1] + 1], found.reshape(rows, columns, n_classes + 1)


def training_statistics(groups: dict[str, Any], split: dict) -> dict:
    """Mean, standard deviation and covariance of the channels over the valid pixels of the training blocks, in one pass.

    Means and products of parts are merged (Chan, Golub & LeVeque 1983), in float64: no cancellation.

    Returns
    -------
    dict with mean (channel,), std (channel,; 1 where a channel is constant), covariance (channel, channel), all in the
    units of the inputs, and pixels, their number
    """
    tasks = [
        (group, y, x, np.array(split["blocks"][name], np.int8), split["block"])
        for name, group in groups.items()
        for y, x in grids.tiles(group["valid"].shape, TILE_PX)
    ]
    return merged(threads.spread(_moments, tasks))


def _moments(group: Any, y: slice, x: slice, blocks: np.ndarray, block: int) -> tuple[int, Any, Any]:
    """Of the training pixels of a rectangle: number, mean of each channel, products about the mean."""
    by, bx = (np.arange(s.start, s.stop) // block for s in (y, x))
    train = blocks[by[:, None], bx] == 1
    if not train.any():
        return 0, None, None
    train &= group["valid"][y, x]
    return moments_of(group["inputs"][:, y, x][:, train])
