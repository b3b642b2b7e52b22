"""One raster to predict: laid out, predicted in spans of rows that any process may do, finished as maps and polygons.

What is written carries a key (the tag ``GEONB_KEY``) of the model, the file and the settings it was made with.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import xarray as xr

from geonb.base import files
from geonb.base.threads import spread
from geonb.prediction.bands import (
    PixelModel,
    Writer,
    chunk_rows,
    class_names,
    create_scene,
    map_layout,
    network_rows,
    written,
)
from geonb.prediction.predictions import Done
from geonb.rasters import sources
from geonb.rasters.reading import open_raster, tell

KEY, DAMAGED = "GEONB_KEY", "GEONB_UNREADABLE"
STRIPE_PX = 8192


@dataclass(frozen=True)
class Job:
    """One raster to predict, as workers get it: its file, where its outputs go, their key, and the settings."""

    image: Path
    folder: Path
    name: str
    key: str
    shape: tuple[int, int]
    window: int
    overlap: float
    batch: int
    precision: str
    polygons: float | None
    corners: str
    skip: tuple[str, ...]
    damaged: str

    class_map = property(lambda self: self.folder / f"{self.name}_class.tif")
    probability_map = property(lambda self: self.folder / f"{self.name}_probability.tif")
    outlines = property(lambda self: self.folder / f"{self.name}_polygons.gpkg")
    work = property(lambda self: self.folder / f"{self.name}.partial.zarr")
    mpx = property(lambda self: self.shape[0] * self.shape[1] / 1e6)

    @property
    def outlines_key(self) -> str:
        """Key of the polygons: that of the maps they are drawn from, and how they were chosen."""
        chosen = [self.polygons, self.skip] + [self.corners] * (
            self.corners != "pixels"
        )  # as it was before there was a choice
        return f"{self.key}-{files.key_of(chosen)}"

    @property
    def maps_there(self) -> bool:
        return all(key_in(path) == self.key and _whole(path) for path in (self.class_map, self.probability_map))

    @property
    def all_there(self) -> bool:
        if self.polygons is not None and not (key_in(self.outlines) == self.outlines_key and _whole(self.outlines)):
            return False
        return self.maps_there

    def others(self) -> list[Path]:
        """Files where the outputs go that are not these outputs."""
        maps = [p for p in (self.class_map, self.probability_map) if p.exists() and key_in(p) != self.key]
        if self.outlines.exists():
            found = key_in(self.outlines) or ""
            fits = found == self.outlines_key if self.polygons is not None else found.startswith(f"{self.key}-")
            maps += [] if fits else [self.outlines]
        return maps


def run_job(job: Job, model: PixelModel) -> dict[str, Any]:
    """Predict one raster from its first row to its last, in here; interrupted, it goes on where it was.

    Returns
    -------
    dict for the report
    """
    return conclude(job, model.card, predict_all(job, model))


def predict_all(job: Job, model: PixelModel) -> float:
    """All rows of a raster that are not predicted yet; gives the seconds it took."""
    started = time.perf_counter()
    with cleaned(job):
        if not job.maps_there:
            for start, stop in spans(lay_out(job, model.card), job, model.card):
                predict_band(job, model, start, stop, mark=lambda *span: mark(job, *span))
    return time.perf_counter() - started


def conclude(job: Job, card: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The maps and polygons of a raster whose rows took so many seconds; gives a dict for the report."""
    started = time.perf_counter()
    with cleaned(job):
        facts = finish(job, card)
    return facts | {"seconds": seconds + time.perf_counter() - started}


def lay_out(job: Job, card: dict[str, Any]) -> list[tuple[int, int]]:
    """Make the working store of a raster, or find it: gives the rows that are still to be predicted, as spans."""
    done = _done(job)
    with open_raster(job.image, card, job.damaged) as raster:
        scene = raster.scene
    if done.rows("scene", "created") is None:
        layout = map_layout(class_names(card))
        create_scene(job.work, "scene", scene, layout, ["network"], chunk_rows(job.window, job.overlap))
        done.mark("scene", "created", 1)
    gaps, row = [], 0
    for start, stop in [*sorted(done.state.get("spans", [])), (scene.sizes["y"],) * 2]:
        gaps += [(row, start)] if start > row else []
        row = max(row, stop)
    return gaps


def spans(gaps: Sequence[tuple[int, int]], job: Job, card: dict[str, Any], parts: int = 1) -> list[tuple[int, int]]:
    """Cut rows that are to be predicted into at least about `parts` spans that begin where a chunk begins.

    A very wide raster is cut in any case: within a span one stripe of columns follows the other, and only then it is done.
    """
    height, rows = chunk_rows(job.window, job.overlap), sum(stop - start for start, stop in gaps)
    least = 4 * job.window  # at a span's upper edge a row of windows is seen twice
    if len(_stripes(job.shape[1])) > 1:
        parts = max(parts, rows // (4 * least))
    step = height * -(-max(least, -(-rows // parts)) // height)
    found: list[tuple[int, int]] = []
    for start, stop in gaps:
        found += pairwise([start, *range((start // step + 1) * step, stop, step), stop])
    return found


def predict_band(
    job: Job, model: PixelModel, start: int, stop: int, mark: Callable[[int, int, list], None] | None = None
) -> list[list[int]]:
    """Predict some rows of a raster into its working store; gives the windows of the file that could not be read."""
    with open_raster(job.image, model.card, job.damaged) as raster:
        shape = (raster.scene.sizes["y"], raster.scene.sizes["x"])
        options = shape, job.window, job.overlap, job.batch, job.precision, start, stop
        classes = class_names(model.card)
        writer = Writer(job.work, "scene", map_layout(classes))
        stripes = _stripes(shape[1])

        def write(row: int, probability: np.ndarray, valid: np.ndarray) -> None:
            after = writer.write(0, row, probability, valid, stripe[0])
            if mark and stripe[1] == shape[1]:
                mark(row, after, [list(w) for w in raster.unreadable.copy()])  # while the next rows are read

        for stripe in stripes:
            part = stripe if len(stripes) > 1 else None
            written(network_rows(model, model.probabilities, len(classes), raster.read, *options, part), write)
        return [list(w) for w in raster.unreadable]


def _stripes(columns: int) -> list[tuple[int, int]]:
    """Columns that are done at once, whole chunks of the working store each: what bounds the memory of a wide raster."""
    return [(left, min(left + STRIPE_PX, columns)) for left in range(0, columns, STRIPE_PX)]


def mark(job: Job, start: int, stop: int, unreadable: list[list[int]]) -> None:
    """Note rows as predicted. Only one process may do this for a raster."""
    done = _done(job)
    spans = done.state.setdefault("spans", [])
    if spans and spans[-1][1] == start:
        spans[-1][1] = stop
    else:
        spans.append([start, stop])
    known = done.state.setdefault("unreadable", [])
    known += [w for w in unreadable if w not in known]
    done.write()


def finish(job: Job, card: dict[str, Any]) -> dict[str, Any]:
    """Turn a raster's predictions into its maps and polygons; gives what the report says of them."""
    from geonb.rasters.polygons import write_polygons

    if not job.maps_there:
        _write_maps(job, card)
    if job.polygons is not None:
        tags = {KEY: job.outlines_key}
        write_polygons(job.class_map, job.outlines, card["classes"], job.polygons, corners=job.corners,
                       skip=job.skip, layer=job.name, probability=job.probability_map, tags=tags)  # fmt: skip
    elif job.others():
        job.outlines.unlink()  # of the maps that were here before
    clean(job)
    return {"state": "done"} | outputs(job)


def _write_maps(job: Job, card: dict[str, Any]) -> None:
    """Both maps at once: what GDAL does for overviews takes one core."""
    for _ in spread(_write_map, [(job, card, "probability"), (job, card, "class")], workers=2):
        pass


def _write_map(job: Job, card: dict[str, Any], which: str) -> None:
    from geonb.rasters.cog import TargetGrid, write_class_map, write_probability_map

    lost = _done(job).state.get("unreadable", [])
    tags = {KEY: job.key} | ({DAMAGED: tell(lost, most=len(lost))} if lost else {})
    with (
        open_raster(job.image, card, job.damaged) as raster,
        xr.open_zarr(job.work, group="scene", consolidated=False, decode_coords="all") as scene,
    ):
        onto = None
        if raster.resampled_m is not None:
            image = raster.image
            onto = TargetGrid(image.crs, image.transform, image.shape, raster.known)
            tags["GEONB_RESAMPLED_M"] = str(raster.resampled_m)
        if which == "probability":
            write_probability_map(scene, job.probability_map, tags=tags, onto=onto)
        else:
            write_class_map(scene, job.class_map, [c["colour"] for c in card["classes"]], tags=tags, onto=onto)


@contextmanager
def cleaned(job: Job) -> Iterator[None]:
    """Leave no half-written output of a raster that failed; what an interruption left is gone on with next time."""
    try:
        yield
    except Exception:
        clean(job)
        raise


def clean(job: Job) -> None:
    """Remove a raster's working store; the list of its rows first, which must not tell of rows that are going."""
    job.work.with_name(job.work.name + ".done.json").unlink(missing_ok=True)
    shutil.rmtree(job.work, ignore_errors=True)


def _done(job: Job) -> Done:
    job.folder.mkdir(parents=True, exist_ok=True)
    return Done(job.work, {"key": job.key, "damaged": job.damaged, "kept": "bytes"})


def outputs(job: Job) -> dict[str, Any]:
    """What the report says of outputs that are there."""
    import rasterio

    with rasterio.open(job.class_map) as labels:
        tags = labels.tags()
    side = tags.get("GEONB_RESAMPLED_M")
    return {
        "class": job.class_map, "probability": job.probability_map,
        "polygons": job.outlines if job.polygons is not None else None,
        "resampled_m": side and float(side), "unreadable": tags.get(DAMAGED),
    }  # fmt: skip


def key_in(path: Path) -> str | None:
    """The key that an output carries; None if it has none, or is not there."""
    import rasterio

    try:
        if path.suffix == ".gpkg":
            import pyogrio

            return (pyogrio.read_info(path)["layer_metadata"] or {}).get(KEY) if path.exists() else None
        with rasterio.open(path) as data:
            return data.tags().get(KEY)
    except (rasterio.RasterioIOError, OSError, RuntimeError):  # pyogrio's errors are RuntimeErrors
        return None


def _whole(path: Path) -> bool:
    """Whether an output is there to its end: a map's pixels, a GeoPackage's pages. What a damage left half is made again."""
    if path.suffix != ".gpkg":
        from geonb.rasters.cog import cut_short

        return not cut_short(path)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as pages:
            return bool(pages.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def model_key(model: PixelModel) -> str:
    """Key of a trained network: its weights, and what of its card changes what it says of a raster."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    facts = ("network", "channels", "classes", "statistics", "patch", "resolution_m", "preprocess")
    return files.key_of([digest.hexdigest(), *(model.card.get(fact) for fact in facts)])


def file_key(path: Path) -> list[Any]:
    """What tells a raster from another, or from itself after a change, without reading it: path, bytes, time of change; and
    those of all that is read with it.
    """

    def stamp(file: Path) -> list[Any]:
        now = file.stat()
        return [str(file), now.st_size, now.st_mtime_ns]

    return [fact for stamped in sources.stamps(sources.files_of(path), stamp) for fact in stamped]
