"""Images and masks as arrays of a sample store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import cluster, conventions, files
from geonb.rasters import images
from geonb.store import arrays
from geonb.store.arrays import seal, source_facts, strips
from geonb.workloads.segmentation import class_tables, dataset, masks, scan

if TYPE_CHECKING:
    from distributed import Client


def write_arrays(pairs: dataset.Pairs, folder: Path, workers: int | None = None, client: Client | None = None) -> None:
    """Bring images and masks onto disk as one Zarr, a group a source.

    Parameters
    ----------
    workers : int, optional
        Threads; as many as there are cores by default. Each works on strips of rows, with files of its own open.
    client : optional
        A `dask.distributed.Client` instead, whose workers see the same files.

    Raises
    ------
    ValueError
        Every fault that shows in the pixels, before anything is written.
    OSError
        No space left: says how much is needed.
    """
    pairs = dataset.scan(pairs, workers, client, folder.parent)
    need = sum(im.shape[0] * im.shape[1] * (len(im.bands) * np.dtype(im.dtype).itemsize + 2) for im in pairs.images)
    with files.enough_space(folder.parent, need):
        facts, tasks = [], []
        for (image, mask), found in zip(pairs, pairs.found, strict=True):
            shape = (len(image.bands), *image.shape)
            data = arrays.empty_frame(shape, image.dtype, image.transform, image.crs, image.channels)
            group = create_group(folder, image.name, data)
            tasks += [(group, image, mask, pairs.classes, rows) for rows in strips(image.shape[0])]
            facts.append(
                source_facts(image.name, *image.grid) | {"dataset": image.dataset} | {k: found[k] for k in scan.COUNTS}
            )
        with scan.bounded_cache():
            for _ in cluster.spread(_fill, tasks, client, folder.parent, workers):
                pass
        said = {"pruned": list(pairs.pruned), "remarks": scan.remarks(pairs.images, pairs.found)}
        seal(folder, facts, classes=class_tables.real_classes(pairs.classes or ()), **said)


def create_group(folder: Path, name: str, data: Any) -> Any:
    """Lay out one source with its targets, still without pixels; returns its Zarr group, open for writing."""
    import dask.array as da

    data["targets"] = ("y", "x"), da.zeros((data.sizes["y"], data.sizes["x"]), dtype="uint8", chunks=-1)
    data["targets"].attrs = {"long_name": "class index", "ignore": conventions.IGNORE}
    return arrays.create_group(folder, name, data)


def _fill(group: Any, image: images.Image, mask: masks.Mask, classes: tuple[dict, ...], rows: slice) -> None:
    to = arrays.writable(group)
    with masks.reader(image, mask, classes) as read:
        for x in strips(image.shape[1]):
            inputs, valid, codes = read(rows, x)
            to["inputs"][:, rows, x], to["valid"][rows, x] = inputs, valid
            to["targets"][rows, x] = class_tables.targets(codes, valid, classes, mask.classes)
