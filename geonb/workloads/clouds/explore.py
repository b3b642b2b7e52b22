"""What there is to look at in embeddings of clouds: scenes in time, what a network sees as colours, and all tiles like one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geonb.dashboards.explorer import Dim, Explorer, Place
from geonb.dashboards.layers import CIVIDIS, At, Grid, Layer, group_of, north_up
from geonb.dashboards.likeness import Likeness
from geonb.dashboards.page import caption_of, notes_html
from geonb.plots.cells import SEA, ground_in
from geonb.plots.maps import crs_of, default_bands, edges, percentiles, stretched
from geonb.plots.style import COASTS_NOTE, NODATA_COLOUR, evenly, place_text
from geonb.rasters.grids import lonlat
from geonb.workloads.clouds.predict import series_of

NO_MAP = (
    "**No map.** The triplets came as pictures, without place and time: there is no scene to move over. The kinds, the plane and the "
    "tiles under the pointer are in notebook 05, the triplets themselves in 03."
)
# How much goes into a page, the richest first: scenes, px of a scene, quality, components, every n-th tile a side
PACKS = (
    (24, 700, 65, 16, 1), (16, 700, 65, 16, 1), (12, 700, 60, 12, 1), (12, 600, 55, 12, 1), (8, 600, 55, 12, 1),
    (8, 500, 50, 10, 1), (6, 500, 50, 10, 2), (5, 400, 45, 8, 2), (4, 320, 45, 8, 3), (3, 256, 40, 6, 4), (2, 200, 40, 6, 6),
    (1, 160, 40, 4, 8),
)  # fmt: skip


def explorer(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Explorer | str:
    """Describe embedded scenes for the explorer; a word (Markdown) where there is no scene that was embedded.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`, a group a series with ``embedding`` (time, y, x, dim)
    arrays : DataTree, optional
        A store's `arrays`: adds the scenes themselves.

    Raises
    ------
    ValueError
        If no tile of the scenes is valid.
    """
    series = scenes_of(predictions, arrays)
    if not series:
        return NO_MAP
    like = Likeness(series, measured(predictions))
    has_image = any(one.image is not None for one in series)
    shares = ", ".join(f"{c} {share:.0%}" for c, share in zip(("red", "green", "blue"), like.held, strict=False))
    near = ("two neighbours", "distant tiles") if like.measured else ("a tenth of pairs", "half of pairs")

    def seen(place: int, at: At, slices: Any) -> np.ndarray:
        return like.colours(place, at["time"])[slices["y"], slices["x"]]

    def far(place: int, at: At, slices: Any) -> np.ndarray:
        return like.distances(place, at["time"], at["chosen"])[slices["y"], slices["x"]]

    layers = [
        Layer("components", "what the network sees, as colours", "image", seen,
              ("time",), "tiles", note="Tiles of one colour look alike to the network: three principal components of its embedding, "
              f"{shares} of the variance. A colour means the same in each scene."),
        Layer("distance", "squared distance to the tile", "numbers", far,
              ("time",), "tiles", low=0.0, high=like.top, power=0.5, colours=CIVIDIS[::-1], ticks=(0, like.near, like.far),
              note=f"Bright is alike. Median of {near[0]} {like.near:.3g}, of {near[1]} {like.far:.3g}."),
    ]  # fmt: skip
    if has_image:
        layers.insert(
            0, Layer("scene", "scene", "image", lambda p, at, s: series[p].picture_of(at["time"], s), ("time",))
        )
    return Explorer(
        "map of the embeddings", [one.described() for one in series], [Dim("time", [], slider=True)], layers,
        below="scene" if has_image else "", top="components", likeness=like, opacity=0.55, place_is="series",
        ground=NODATA_COLOUR if has_image else SEA, notes=notes_html(predictions.attrs, COASTS_NOTE), caption=caption_of(predictions.attrs),
        click="Click: the tile there, and how alike all others are.", packs=lambda: _packs(series, like),
    )  # fmt: skip


def scenes_of(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> list[SceneSeries]:
    """The series whose scenes were embedded."""
    names = [n for n in series_of(predictions) if "embedding" in predictions[n].to_dataset().data_vars]
    return [SceneSeries(name, predictions, arrays) for name in names]


def measured(predictions: xr.DataTree) -> tuple[np.ndarray, np.ndarray] | None:
    """Distances of triplets, not those of training, where there are any."""
    if "triplets" not in predictions.children:
        return None
    triplets = predictions["triplets"].to_dataset().isel(model=0)
    if "split" in triplets and (unseen := triplets.split.values.astype(str) != "train").any():
        triplets = triplets.isel(sample=unseen)
    near, far = (triplets[name].values.astype(float) for name in ("near", "far"))
    near, far = near[np.isfinite(near)], far[np.isfinite(far)]
    return (near, far) if len(near) and len(far) else None


class SceneSeries:
    """Scenes on one grid and the embedding of their tiles: the `Tiles` of a place.

    Attributes
    ----------
    data : Dataset with embedding (time, y, x, dim) and valid (time, y, x), north up
    image : Dataset of the store with inputs (time, channel, y, x) and valid, north up, or None
    bounds, grid : tuple = (west, south, east, north), of the scenes and of the grid of tiles, in the CRS
    side, step : tuple = (width, height) of a tile and of the grid of tiles, in units of the CRS
    """

    def __init__(self, name: str, predictions: xr.DataTree, arrays: xr.DataTree | None) -> None:
        self.name, self.data = name, north_up(predictions[name].to_dataset())
        self.image, self.crs = group_of(arrays, name), crs_of(self.data)
        self.shape = self.data.sizes["y"], self.data.sizes["x"]
        self.times = self.data.time.values.astype("datetime64[ns]")
        self.grid = self.bounds = edges(self.data)
        self.step = (self.grid[2] - self.grid[0]) / self.shape[1], (self.grid[3] - self.grid[1]) / self.shape[0]
        ratio = predictions.attrs.get("patch", 1) / predictions.attrs.get("step", predictions.attrs.get("patch", 1))
        self.side, self.patch = (ratio * self.step[0], ratio * self.step[1]), 1
        if self.image is not None:
            self.bands, self.bounds = default_bands(self.image.channel.values), edges(self.image)
            size = self.image.sizes["y"], self.image.sizes["x"]
            self.pixel = (self.bounds[2] - self.bounds[0]) / size[1], (self.bounds[3] - self.bounds[1]) / size[0]
            self.patch = int(predictions.attrs.get("patch") or round(self.step[0] / self.pixel[0]))
            self.side = self.patch * self.pixel[0], self.patch * self.pixel[1]
            self._widen()
        up, across = (int(np.ceil(self.side[i] / self.step[i] - 1e-6)) - 1 for i in (1, 0))
        self.reach = up, across
        self.scenes = self._scenes()
        # as many as a slider goes back and forth over, never a season of full disks
        self.vectors = functools.lru_cache(maxsize=32)(self._vectors)

    def _widen(self) -> None:
        """Give a single row or column of tiles the size of a tile: it has no neighbour to tell its step."""
        alone = self.shape[1] == 1, self.shape[0] == 1
        width, height = (side if one else step for one, side, step in zip(alone, self.side, self.step, strict=True))
        self.step = width, height
        (left, right), (down, up) = ((float(v.min()), float(v.max())) for v in (self.data.x.values, self.data.y.values))
        self.grid = left - width / 2, down - height / 2, right + width / 2, up + height / 2

    def _scenes(self) -> list[int | None]:
        """The place of each embedded scene in the store: by ``t`` where the predictions give it, by order, or by time."""
        if self.image is None:
            return [None] * len(self.times)
        if "t" in self.data.coords:
            return [int(t) for t in self.data.t.values]
        if self.image.sizes["time"] == len(self.times):
            return list(range(len(self.times)))
        known = {time: i for i, time in enumerate(self.image.time.values.astype("datetime64[ns]"))}
        return [known.get(time) for time in self.times]

    def _vectors(self, time: int) -> np.ndarray:
        here = self.data[["embedding", "valid"]].isel(time=time).load()
        vectors = here.embedding.transpose("y", "x", "dim").values.astype("float32")
        good = here.valid.transpose("y", "x").values.astype(bool) & np.isfinite(vectors).all(-1)
        return np.where(good[..., None], vectors, np.float32(np.nan))

    def described(self) -> Place:
        """This series as a place of the explorer."""
        grids = {"tiles": Grid(self.grid, self.shape)}
        if self.image is not None:
            grids = {"": Grid(self.bounds, (self.image.sizes["y"], self.image.sizes["x"]))} | grids
        labels = [self.when(i) for i in range(len(self.times))]
        lines = ground_in(self.crs, self.bounds) if self.crs is not None else {}
        return Place(
            self.name, grids, self.crs, lines, labels={"time": labels}, gaps={"time": self._gaps()}, tile=self.side
        )

    def _gaps(self) -> list[int]:
        """Positions before which more than one and a half of the usual time has passed."""
        steps = np.diff(self.times).astype("timedelta64[s]").astype(float)
        if len(steps) < 3 or np.isnat(self.times).any():
            return []
        return [int(i) + 1 for i in np.flatnonzero(steps > 1.5 * np.median(steps))]

    def when(self, time: int, short: bool = False) -> str:
        """When a scene was taken, for people."""
        if np.isnat(self.times[time]):
            return f"scene {time + 1}"
        at = pd.Timestamp(self.times[time])
        return f"{at.day} {at:%b %Y %H:%M}" if short else f"{at:%Y-%m-%d %H:%M}"

    def label(self, time: int, row: int, column: int) -> str:
        """When and where a tile lies."""
        lon, lat = (
            (np.nan, np.nan)
            if self.crs is None
            else lonlat(self.crs, self.data.x.values[column], self.data.y.values[row])
        )
        known = np.isfinite(lon) and np.isfinite(lat)
        where = place_text(float(lat), float(lon), 1) if known else f"row {row + 1}, column {column + 1}"
        return f"{self.when(time, short=True)}, {where}"

    @functools.cached_property
    def limits(self) -> list[tuple[float, float]]:
        """2nd and 98th percentile of each shown band, over a few scenes: brightness keeps its meaning while one plays."""
        assert self.image is not None
        some = sorted({scene for i in evenly(len(self.scenes), 4) if (scene := self.scenes[i]) is not None})
        thin = {axis: slice(None, None, max(1, self.image.sizes[axis] // 400)) for axis in "yx"}
        here = self.image[["inputs", "valid"]].isel({"time": some, "channel": self.bands} | thin).load()
        good = here.valid.transpose("time", "y", "x").values.astype(bool)
        bands = here.inputs.transpose("channel", "time", "y", "x").values[:, good].astype("float32")
        return [percentiles(band) for band in bands]

    def picture_of(self, time: int, slices: Any) -> np.ndarray:
        """A window of a scene as colours (y, x, 4) uint8; transparent where the store lacks it."""
        if self.image is None or self.scenes[time] is None:
            return np.zeros((1, 1, 4), np.uint8)
        at = {"time": self.scenes[time], "channel": self.bands} | dict(slices)
        view = self.image[["inputs", "valid"]].isel(at).load()
        return (stretched(view.inputs, view.valid, self.limits) * 255).round().astype(np.uint8)

    def picture(self, time: int, row: int, column: int) -> np.ndarray | None:
        """One tile as colours (y, x, 4) uint8, all its pixels; None where the store lacks it."""
        if self.image is None or self.scenes[time] is None:
            return None
        x, y = float(self.data.x.values[column]), float(self.data.y.values[row])
        left = max(0, round((x - self.bounds[0]) / self.pixel[0] - self.patch / 2))
        top = max(0, round((self.bounds[3] - y) / self.pixel[1] - self.patch / 2))
        return self.picture_of(time, {"y": slice(top, top + self.patch), "x": slice(left, left + self.patch)})


def _packs(series: list[SceneSeries], like: Likeness) -> list[dict[str, Any]]:
    packs = []
    for scenes, px, quality, components, every in PACKS:
        places = evenly(len(series), scenes)
        each = max(1, scenes // len(places))
        times = [evenly(len(one.times), each) for one in series]
        kept, whole = sum(len(times[p]) for p in places), sum(len(one.times) for one in series)
        said = [f"{kept} of {whole:,} scenes"] if kept < whole else []
        said += [f"one tile in {every} a side"] if every > 1 else []
        count = min(components, len(like.components))
        said.append(f"colours of distances by {count} principal components ({like.held[:count].sum():.0%} of the variance), in steps of a "
                    "byte; the nearest tiles and their distances by the whole embedding, among those here")  # fmt: skip
        packs.append({"places": places, "keep": {"time": times}, "image_px": px, "quality": quality, "components": components,
                      "every": every, "said": "; ".join(said) + "."})  # fmt: skip
    return packs
