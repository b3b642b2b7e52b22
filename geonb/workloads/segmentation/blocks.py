"""What every score is made of: counts per spatial block, from one walk over the pixels.

A row a block and split: confusion, log loss, Brier sum, boundary pixels. Every metric is a function of sums of such rows, so
that the bootstrap, a score by source, and a comparison of two runs each cost a matrix product, not another look at the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from geonb.base.conventions import IGNORE
from geonb.base.conventions import SPLIT_CODES as SPLITS
from geonb.workloads.segmentation import boundary

BINS = 10
# A float16 probability of 0 would make the log loss infinite; this is its smallest normal number.
SMALLEST = 6.1e-5
# Pixels looked at in one go: about 100 MB with seven classes, whatever the width of the scene.
STRIP_PIXELS = 2_000_000


def columns(classes: int) -> dict[str, slice]:
    """Where in a row of counts each kind stands.

    ``confusion`` (true, predicted) flattened; ``losses``: sums of log loss and Brier score; ``edges``: boundary pixels
    (kind, class), kinds as in :class:`geonb.workloads.segmentation.boundary.Edges`; ``areas``: true and predicted area (kind, class), ha.
    """
    begin, out = 0, {}
    for name, width in (("confusion", classes**2), ("losses", 2), ("edges", 4 * classes), ("areas", 2 * classes)):
        out[name] = slice(begin, begin + width)
        begin += width
    return out


@dataclass
class Blocks:
    """Counts of every block: ``table`` (model, block, column), and what each block is."""

    models: list[str]
    classes: list[str]
    sources: list[str]
    table: np.ndarray
    source: np.ndarray  # (block,) index into sources
    number: np.ndarray  # (block,) number of the block in its source
    split: np.ndarray  # (block,) code of its split
    bins: np.ndarray  # (model, split code, bin, 3): pixels, sum of confidence, hits
    pixel_ha: np.ndarray  # (source,) area of a pixel; NaN where the source has no place on earth
    across: np.ndarray  # (source,) columns of blocks: block number = row * across + column


def count(predictions: xr.DataTree, rows: int = 512, tolerance_px: float = 2) -> Blocks:
    """Walk over all pixels of a predictions tree once, a strip at a time.

    Parameters
    ----------
    predictions : DataTree, from :func:`geonb.open_predictions`
    rows : int
        At most so many rows at once; fewer where the scene is wide.
    tolerance_px : float, pixels
        For boundaries, see :func:`geonb.workloads.segmentation.boundary.edges`.
    """
    scenes = {name: node.to_dataset() for name, node in predictions.children.items()}
    first = next(iter(scenes.values()))
    models, classes = [str(m) for m in first["model"].values], [str(c) for c in first["class"].values]
    bins = np.zeros((len(models), len(SPLITS), BINS, 3))
    found: dict[tuple[int, int, int], np.ndarray] = {}
    for number, scene in enumerate(scenes.values()):
        height = _strip_rows(scene, rows)
        for top in range(0, scene.sizes["y"], height):
            here = slice(top, min(top + height, scene.sizes["y"]))
            for (block, split), row in _count_strip(scene, here, tolerance_px, bins).items():
                found[number, block, split] = found.get((number, block, split), 0) + row
    keys = np.array(list(found), int).reshape(-1, 3)
    width = columns(len(classes))["areas"].start
    table = np.stack(list(found.values()), axis=1) if found else np.zeros((len(models), 0, width))
    pixel_ha = np.array([_pixel_ha(scene) for scene in scenes.values()])
    across = np.array([int(scene["block"].isel(y=0).max()) + 1 for scene in scenes.values()])
    source, block, split = keys.T
    table = with_areas(table, len(classes), pixel_ha[source])
    return Blocks(models, classes, list(scenes), table, source, block, split, bins, pixel_ha, across)


def _strip_rows(scene: xr.Dataset, most: int) -> int:
    """Rows of a strip: whole chunks where they fit, so that none is decoded twice for its probabilities."""
    chunk = (scene["probability"].chunksizes.get("y") or (1,))[0]
    fitting = max(1, STRIP_PIXELS // max(1, scene.sizes["x"]))
    return max(1, min(most, max(fitting // chunk * chunk, min(fitting, chunk))))


def _count_strip(scene: xr.Dataset, rows: slice, tolerance_px: float, bins: np.ndarray) -> dict:
    """(block, split) -> counts (model, column) of the rows of a scene; `bins` are added to."""
    halo, classes = boundary.halo_px(tolerance_px), scene.sizes["class"]
    wide = slice(max(0, rows.start - halo), min(scene.sizes["y"], rows.stop + halo))
    inner = slice(rows.start - wide.start, rows.stop - wide.start)
    about = scene[["truth", "split"]].isel(y=wide).load()
    truth, split = about["truth"].to_numpy(), about["split"].to_numpy()
    blocks, place = _numbered(scene["block"].isel(y=rows).to_numpy())
    cells = place * len(SPLITS)
    tables = []
    for m in range(scene.sizes["model"]):
        label = scene["label"].isel(model=m, y=wide).to_numpy()
        part = np.where((truth != IGNORE) & (label != IGNORE), split, 0)
        edges = [mask[inner] for mask in boundary.edges(truth, label, part, tolerance_px)]
        part, true, guess = part[inner], truth[inner].astype(np.intp), label[inner].astype(np.intp)
        cell, known = cells + part, np.flatnonzero(part.ravel() > 0)
        shape = len(blocks) * len(SPLITS), -1
        about_edges = [
            np.bincount((cell * classes + (true if kind < 2 else guess))[edge], minlength=shape[0] * classes)
            for kind, edge in enumerate(edges)
        ]
        probability = scene["probability"].isel(model=m, y=rows).to_numpy().reshape(classes, -1)[:, known]
        cell, true, guess, part = (array.ravel()[known] for array in (cell, true, guess, part))
        counts = _count_pixels(probability.astype(np.float32), cell, true, guess, part, shape[0], bins[m])
        tables.append(np.concatenate([counts, *(c.reshape(shape) for c in about_edges)], axis=1))
    table = np.stack(tables)
    seen = np.flatnonzero(table[:, :, : classes**2].any(axis=(0, 2)))
    return {(int(blocks[c // len(SPLITS)]), int(c % len(SPLITS))): table[:, c] for c in seen}


def _numbered(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the blocks in a strip, and the place of each pixel's block among them (without sorting, where they are dense)."""
    low, high = int(block.min()), int(block.max())
    if high - low < block.size:
        return np.arange(low, high + 1), block.astype(np.intp) - low
    numbers, place = np.unique(block, return_inverse=True)
    return numbers, place.reshape(block.shape)


def _count_pixels(
    probability: np.ndarray, cell: np.ndarray, true: np.ndarray, guess: np.ndarray, part: np.ndarray, cells: int,
    bins: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(cell, column): confusion, log loss and Brier sum of labelled pixels; adds them to the reliability bins."""
    classes = len(probability)
    given = probability[true, np.arange(true.size)]
    log_loss = -np.log(np.clip(given, SMALLEST, 1))
    brier = np.einsum("cp,cp->p", probability, probability) - 2 * given + 1
    top, hit = probability.max(axis=0), guess == true
    binned = part.astype(np.intp) * BINS + np.minimum((top * BINS).astype(np.intp), BINS - 1)
    for column, weight in enumerate((None, top, hit)):
        bins[..., column] += np.bincount(binned, weights=weight, minlength=bins[..., 0].size).reshape(bins.shape[:2])
    confusion = np.bincount((cell * classes + true) * classes + guess, minlength=cells * classes**2)
    losses = [np.bincount(cell, weights=loss, minlength=cells) for loss in (log_loss, brier)]
    return np.column_stack([confusion.reshape(cells, -1), *losses])


def with_areas(table: np.ndarray, classes: int, pixel_ha: np.ndarray) -> np.ndarray:
    """Append the areas of each block, true and predicted, by class; in pixels where a source has no place on earth.

    Parameters
    ----------
    table : array (model, block, column without areas)
    pixel_ha : array (block,)
    """
    confusion = table[..., columns(classes)["confusion"]].reshape(*table.shape[:-1], classes, classes)
    size = (pixel_ha if np.isfinite(pixel_ha).all() else np.ones_like(pixel_ha))[:, None]
    return np.concatenate([table, confusion.sum(-1) * size, confusion.sum(-2) * size], axis=-1)


def _pixel_ha(scene: xr.Dataset) -> float:
    """Area of a pixel in hectares, on the ellipsoid at the scene's centre; NaN without coordinates or CRS."""
    import rioxarray  # noqa: F401  (the .rio accessor)
    from pyproj import Geod, Transformer

    if not {"y", "x"} <= set(scene.coords) or scene.rio.crs is None or min(scene.sizes["y"], scene.sizes["x"]) < 2:
        return np.nan
    x, y = (scene[axis].values[scene.sizes[axis] // 2 - 1 :][:2] for axis in ("x", "y"))
    to_lonlat = Transformer.from_crs(scene.rio.crs, "OGC:CRS84", always_xy=True)
    lon, lat = to_lonlat.transform([x[0], x[1], x[1], x[0]], [y[0], y[0], y[1], y[1]])
    return abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0]) / 10_000
