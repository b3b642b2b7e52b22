"""One pass over the pixels of all sources before anything is written: how many are valid, labelled, blank; which codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import cluster
from geonb.rasters import grids, sources
from geonb.rasters.images import NO_CODE, TILE_PX, Image
from geonb.store import arrays
from geonb.store.windows import Reader, valid_and_labelled
from geonb.workloads.segmentation import masks
from geonb.workloads.segmentation.masks import Mask

if TYPE_CHECKING:
    from distributed import Client

BLANKS = ("pixels_zero", "pixels_full")
TOLD = 1e-3  # share of blank pixels from which they are told
TOLD_FILES = 6  # in a fault
COUNTS = ("pixels_valid", "pixels_labelled", "pixels_not_finite", *BLANKS)
CACHE_BYTES = 128 * 2**20  # of decoded blocks that GDAL keeps; its default grows with the machine


def count_all(
    pairs: Sequence[tuple[Image, Mask]], classes: tuple[dict, ...] | None, workers: int | None, faults: list[str],
    client: Client | None = None, folder: Path | None = None,
) -> list[dict | None]:  # fmt: skip
    """Count each source's pixels, in threads, or over a client's workers, which see `folder`.

    Returns
    -------
    list of dict with the numbers named in COUNTS and codes (code -> pixels); None where a source cannot be read, and
    `faults` then says why
    """
    tasks = [
        (image, mask, classes, rows, i)
        for i, (image, mask) in enumerate(pairs)
        for rows in grids.strips(image.shape[0], TILE_PX)
    ]
    found: list[Counter | None] = [Counter() for _ in pairs]
    with bounded_cache():
        for i, part in cluster.spread(_count_strip, tasks, client, folder, workers):
            if isinstance(part, str) and found[i] is not None:
                found[i] = None  # one fault a file is enough
                faults.append(part)
            elif found[i] is not None:
                found[i].update(part)
    return [
        counts
        and {k: counts[k] for k in COUNTS}
        | {"codes": dict(sorted((k, n) for k, n in counts.items() if not isinstance(k, str)))}
        for counts in found
    ]


@contextmanager
def bounded_cache() -> Iterator[None]:
    """Keep GDAL's cache of decoded blocks small while whole files pass through it once."""
    import rasterio

    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        yield


def _count_strip(
    image: Image, mask: Mask, classes: tuple[dict, ...] | None, rows: slice, number: int
) -> tuple[int, Counter | str]:
    """Pixels of each kind, by name, and of each code; a fault as text."""
    from rasterio.errors import RasterioError

    counts: Counter = Counter()
    finite: Counter = Counter()
    try:
        with masks.reader(image, mask, classes, finite) as read:
            for columns in grids.strips(image.shape[1], TILE_PX):
                inputs, valid, labels = read(rows, columns)
                counts.update(_count(labels[valid & (labels != NO_CODE)]))
                counts["pixels_valid"] += int(valid.sum())
                for name, blank in zip(BLANKS, blanks(inputs, valid), strict=True):
                    counts[name] += int(blank.sum())
    except RasterioError as error:
        read_from = (*image.paths, mask.path)
        broken = [file for path in read_from for file in sources.damaged(path)]
        files = ", ".join(str(p) for p in read_from)
        if broken:
            more = f" and {len(broken) - TOLD_FILES} more" if len(broken) > TOLD_FILES else ""
            files = f"{', '.join(str(p) for p in broken[:TOLD_FILES])}{more} (in {files})"
        return number, (
            f"{files}: cannot be read at rows {rows.start}-{rows.stop}, columns {columns.start}-{columns.stop}: "
            f"{sources.why(read_from, error)}"
        )
    except ValueError as error:
        return number, str(error)
    counts["pixels_labelled"] = sum(n for k, n in counts.items() if not isinstance(k, str))
    counts["pixels_not_finite"] = finite["not_finite"]
    return number, counts


def blanks(inputs: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where valid pixels are 0 in all channels, and where all hold the largest number of their type: (y, x) bool each."""
    full = np.iinfo(inputs.dtype).max if inputs.dtype.kind in "iu" else np.inf
    return valid & (inputs == 0).all(axis=0), valid & (inputs == full).all(axis=0)


def remarks(images: Sequence[Image], found: Sequence[dict]) -> list[str]:
    """What was found in the pixels and nobody can decide, or was decided by a rule: a sentence a kind, with its cure."""
    kinds: dict[str, list[str]] = {}
    for image, counts in zip(images, found, strict=True):
        valid, names = counts["pixels_valid"], ", ".join(path.name for path in image.paths[:3])
        top = np.iinfo(image.dtype).max if np.dtype(image.dtype).kind in "iu" else np.inf
        cure = "in all bands count as data. If {0} means no data there: gdal_edit.py -a_nodata {0} FILE"
        told = {
            f"that are {value} {cure.format(value)}": counts[kind] for kind, value in zip(BLANKS, (0, top), strict=True)
        }
        told = {text: n * (n > TOLD * valid) for text, n in told.items()}
        told["that hold no number in some band, or one beyond 1e30, were taken for no data"] = counts[
            "pixels_not_finite"
        ]
        bare = valid - counts["pixels_labelled"]
        told["without a label are neither learnt nor scored. If they are a class, `classes` names it by its code"] = (
            bare * (bare > valid / 2)
        )
        for text, n in told.items():
            if n:
                kinds.setdefault(f"Pixels {text}", []).append(f"{names} ({n:,}, {n / max(n, valid):.1%})")
        if any(fill is not None for fill in image.fill):
            kinds.setdefault("Pixels that are 0 were taken for no data, as the publisher has it", []).append(names)
    most = 5
    more = {text: f" and {len(files) - most} more" if len(files) > most else "" for text, files in kinds.items()}
    return [f"{text}: {', '.join(files[:most])}{more[text]}." for text, files in kinds.items()]


def _count(codes: np.ndarray) -> dict[int, int]:
    if codes.size and codes.min() >= 0 and codes.max() < 2**16:  # many times faster than sorting
        counts = np.bincount(codes)
        values = np.flatnonzero(counts)
        return dict(zip(values.tolist(), counts[values].tolist(), strict=True))
    return {int(v): int(n) for v, n in zip(*np.unique(codes, return_counts=True), strict=True)}


def reader(group: Any, fact: dict, cut: dict) -> Reader:
    """Which pixels of a source are valid, labelled and, where a whole window may be, blank: what windows are cut by.

    Parameters
    ----------
    group : Zarr group
    fact : dict with the source's counts, of `count_all`
    cut : dict with patch (px), min_valid
    """
    most = max(fact.get(kind, np.inf) for kind in BLANKS)
    known = valid_and_labelled(group)
    if most < max(cut["min_valid"] * cut["patch"] ** 2, 1):
        return known  # too few pixels of nothing but 0, or the largest number, to fill the valid part of a window

    def read(rows: slice) -> tuple[np.ndarray, ...]:
        valid, labelled = known(rows)
        planes = [np.zeros(valid.shape, bool) for _ in BLANKS]
        for columns in grids.strips(valid.shape[1], arrays.TILE_PX):  # all channels of a strip may be too much at once
            found = blanks(group["inputs"][:, rows, columns], valid[:, columns])
            for plane, here in zip(planes, found, strict=True):
                plane[:, columns] = here
        return valid, labelled, *planes

    return read
