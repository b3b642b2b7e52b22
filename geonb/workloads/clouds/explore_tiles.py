"""What the live and the frozen map of embeddings share: series of scenes, their tiles, how alike two tiles are, and where they lie."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from geonb.dashboards.layers import group_of, north_up, window
from geonb.plots.cells import ground_in
from geonb.plots.maps import crs_of, default_bands, edges, percentiles, stretched
from geonb.plots.style import evenly, place_text
from geonb.rasters.grids import lonlat

COMPONENTS = 16  # principal components that are kept; the first three become colours
FITTED = 20_000  # tiles that the components are fitted to
SEARCHED_MB = 400  # of embeddings that are searched for tiles alike: scenes spread evenly over all
APART_H = 6.0  # hours within which two tiles at one place show much the same clouds


class Tile(NamedTuple):
    """Which tile: series, time, row (from the north) and column on the series' grid of tiles, all counted from 0."""

    series: str
    time: int
    row: int
    column: int


class SceneSeries:
    """Scenes on one grid, and the embedding of their tiles.

    Attributes
    ----------
    data : Dataset with embedding (time, y, x, dim) and valid (time, y, x), north up
    image : Dataset of the store with inputs (time, channel, y, x) and valid, north up, or None
    bounds : tuple = (west, south, east, north), of the scenes, in the CRS
    times : datetime64 (time,), NaT where unknown
    side, step : tuple = (width, height) of a tile and of the grid of tiles, in units of the CRS
    reach : tuple = (rows, columns) on the grid of tiles as far as which two tiles overlap
    """

    def __init__(self, name: str, predictions: xr.DataTree, arrays: xr.DataTree | None) -> None:
        self.name, self.data = name, north_up(predictions[name].to_dataset())
        self.image = group_of(arrays, name)
        self.crs = crs_of(self.data)
        self.rows, self.columns = self.data.sizes["y"], self.data.sizes["x"]
        self.times = self.data.time.values.astype("datetime64[ns]")
        self.grid = self.bounds = edges(self.data)
        self.step = (self.grid[2] - self.grid[0]) / self.columns, (self.grid[3] - self.grid[1]) / self.rows
        ratio = predictions.attrs.get("patch", 1) / predictions.attrs.get("step", predictions.attrs.get("patch", 1))
        self.side, self.patch = (ratio * self.step[0], ratio * self.step[1]), 1
        if self.image is not None:
            self.bands = default_bands(self.image.channel.values)
            self.bounds, self.shape = edges(self.image), (self.image.sizes["y"], self.image.sizes["x"])
            pixel = (self.bounds[2] - self.bounds[0]) / self.shape[1], (self.bounds[3] - self.bounds[1]) / self.shape[0]
            self.patch = int(predictions.attrs.get("patch") or round(self.step[0] / pixel[0]))
            self.side = self.patch * pixel[0], self.patch * pixel[1]
            self._widen()
        self.reach = tuple(int(np.ceil(self.side[i] / self.step[i] - 1e-6)) - 1 for i in (1, 0))
        self.scenes = self._scenes()
        # as many as a slider goes back and forth over, never a season of full disks
        self.vectors = functools.lru_cache(maxsize=32)(self._vectors)

    def _widen(self) -> None:
        """Give a single row or column of tiles the size of a tile: it has no neighbour to tell its step."""
        alone = self.columns == 1, self.rows == 1
        width, height = (side if one else step for one, side, step in zip(alone, self.side, self.step, strict=True))
        self.step = width, height
        (left, right), (down, up) = ((float(v.min()), float(v.max())) for v in (self.data.x.values, self.data.y.values))
        half_x, half_y = self.step[0] / 2, self.step[1] / 2
        self.grid = left - half_x, down - half_y, right + half_x, up + half_y

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

    def label(self, time: int, short: bool = False) -> str:
        """When a scene was taken, for people; `short` fits under a small picture."""
        if np.isnat(self.times[time]):
            return f"scene {time + 1}"
        when = pd.Timestamp(self.times[time])
        return f"{when.day} {when:%b %Y %H:%M}" if short else f"{when:%Y-%m-%d %H:%M}"

    def distances(self, time: int, vector: np.ndarray) -> np.ndarray:
        """Squared distance in the embedding (y, x) float32 of all tiles of a scene to one vector; NaN where there is no tile."""
        return np.square(self.vectors(time) - vector).sum(-1)

    def place(self, row: int, column: int) -> tuple[float, float]:
        """x, y of a tile's centre, in the CRS."""
        return float(self.data.x.values[column]), float(self.data.y.values[row])

    def nearest(self, x: float, y: float, time: int) -> tuple[int, int] | None:
        """Row and column of the tile whose centre is nearest; None outside the scene or where there is no tile."""
        west, south, east, north = self.bounds
        if not (west <= x <= east and south <= y <= north):
            return None
        row, column = (int(np.abs(self.data[n].values - at).argmin()) for n, at in (("y", y), ("x", x)))
        return (row, column) if np.isfinite(self.vectors(time)[row, column]).all() else None

    def lonlat(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Longitude and latitude, degrees, of places in the CRS; not finite off the Earth's disk."""
        if self.crs is None:
            return np.full(np.shape(x), np.nan), np.full(np.shape(y), np.nan)
        return lonlat(self.crs, x, y)

    def place_text(self, row: int, column: int, digits: int = 2) -> str:
        """Latitude and longitude of a tile's centre, for people."""
        lon, lat = self.lonlat(*self.place(row, column))
        if not (np.isfinite(lon) and np.isfinite(lat)):
            return f"row {row + 1}, column {column + 1}"
        return place_text(lat, lon, digits)

    @functools.cached_property
    def limits(self) -> list[tuple[float, float]]:
        """2nd and 98th percentile of each shown band, over a few scenes: brightness keeps its meaning while one plays."""
        if self.image is None:
            return []
        some = sorted({scene for i in evenly(len(self.scenes), 4) if (scene := self.scenes[i]) is not None})
        thin = window(self.bounds, self.shape, self.bounds, 400)[0]
        here = self.image[["inputs", "valid"]].isel({"time": some, "channel": self.bands} | thin).load()
        good = here.valid.transpose("time", "y", "x").values.astype(bool)
        bands = here.inputs.transpose("channel", "time", "y", "x").values[:, good].astype("float32")
        return [percentiles(band) for band in bands]

    def picture(self, time: int, view: Sequence[float], pixels: int) -> tuple[np.ndarray, tuple] | None:
        """A scene as colours (y, x, 4) uint8 with the ground they cover; None where the store lacks it."""
        if self.image is None or self.scenes[time] is None:
            return None
        slices, box = window(self.bounds, self.shape, view, pixels)
        return self._shown(self.image, time, slices), box

    def tile_picture(self, tile: Tile) -> np.ndarray | None:
        """One tile as colours (y, x, 4) uint8, all its pixels; None where the store lacks it."""
        if self.image is None or self.scenes[tile.time] is None:
            return None
        x, y = self.place(tile.row, tile.column)
        pixel = self.side[0] / self.patch, self.side[1] / self.patch
        left, top = (x - self.bounds[0]) / pixel[0] - self.patch / 2, (self.bounds[3] - y) / pixel[1] - self.patch / 2
        left, top = max(0, round(left)), max(0, round(top))
        return self._shown(
            self.image, tile.time, {"y": slice(top, top + self.patch), "x": slice(left, left + self.patch)}
        )

    def _shown(self, image: xr.Dataset, time: int, slices: dict[str, slice]) -> np.ndarray:
        at = {"time": self.scenes[time], "channel": self.bands} | slices
        view = image[["inputs", "valid"]].isel(at).load()
        return (stretched(view.inputs, view.valid, self.limits) * 255).round().astype(np.uint8)

    @functools.cached_property
    def lines(self) -> dict[str, list[np.ndarray]]:
        """Coasts and borders that fall into view: lists of x, y (point, 2) in the CRS."""
        return ground_in(self.crs, self.bounds) if self.crs is not None else {"coast": [], "borders": []}


class Clouds:
    """The scenes of a run with what a network sees in them.

    Attributes
    ----------
    series : dict of SceneSeries, by name
    mean, components, colours : ndarray (dim,), (component, dim), (3, 2)
        Principal components over all times and series, and the values of the first three between which colours lie.
    held : ndarray (component,), shares of the variance
    near, far : float
        Median squared distance of neighbouring, and of distant, tiles; where colours of distances begin to say "alike", "unlike".
    top : float, where the colours of distances end
    """

    def __init__(self, predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> None:
        names = [name for name, group in predictions.children.items() if "embedding" in group.data_vars]
        if not names:
            raise ValueError(
                f"The predictions hold no embedded scenes but {list(predictions.children)}: nothing to explore. "
                "Run notebooks/03_prediction.ipynb first."
            )
        self.attrs = predictions.attrs
        self.series = {name: SceneSeries(name, predictions, arrays) for name in names}
        drawn = self._draw()
        self._fit(drawn)
        self._distances(predictions, drawn)

    def _draw(self) -> np.ndarray:
        """Vectors (tile, dim) of tiles drawn over all series and times."""
        rng, each = np.random.default_rng(0), max(200, FITTED // len(self.series))
        parts = []
        for series in self.series.values():
            times = evenly(len(series.times), 25)
            for time in times:
                vectors = series.vectors(time)
                vectors = vectors[np.isfinite(vectors).all(-1)]
                parts.append(vectors[rng.permutation(len(vectors))[: -(-each // len(times))]])
        drawn = np.concatenate(parts)
        if not len(drawn):
            raise ValueError(
                "No tile of any scene is valid: nothing to explore. Are the scenes mostly no data? Look at them in "
                "notebooks/01_dataset_clouds.ipynb."
            )
        return drawn

    def _fit(self, drawn: np.ndarray) -> None:
        from sklearn.decomposition import PCA

        drawn = drawn if len(drawn) > 1 else np.repeat(drawn, 2, axis=0)
        model = PCA(min(COMPONENTS, *drawn.shape), svd_solver="covariance_eigh").fit(drawn)
        self.mean, self.components = model.mean_, model.components_
        self.held = np.nan_to_num(model.explained_variance_ratio_)
        limits = np.percentile(model.transform(drawn)[:, :3], (2, 98), axis=0).T
        self.colours = np.pad(limits, ((0, 3 - len(limits)), (0, 0)))

    def _distances(self, predictions: xr.DataTree, drawn: np.ndarray) -> None:
        """What is near and what is far: of triplets, not those of training, where there are any, else of tiles drawn at random."""
        self.measured = "triplets" in predictions.children
        if self.measured:
            triplets = predictions["triplets"].to_dataset().isel(model=0)
            if "split" in triplets and (unseen := triplets.split.values.astype(str) != "train").any():
                triplets = triplets.isel(sample=unseen)
            near, far = (triplets[name].values.astype(float) for name in ("near", "far"))
            near, far = near[np.isfinite(near)], far[np.isfinite(far)]
            self.measured = bool(len(near) and len(far))
        if not self.measured:
            far = np.square(drawn - np.random.default_rng(1).permutation(drawn)).sum(-1).astype(float)
            near = np.percentile(far, [10])
        self.near, self.far = float(np.median(near)), float(np.median(far))
        self.top = max(float(np.percentile(far, 90)), 1.2 * self.far, 1e-9)

    def vector(self, tile: Tile) -> np.ndarray:
        """The embedding (dim,) of a tile."""
        return self.series[tile.series].vectors(tile.time)[tile.row, tile.column]

    def scores(self, series: str, time: int) -> np.ndarray:
        """Principal components (y, x, component) of a scene's tiles; NaN where there is none."""
        return (self.series[series].vectors(time) - self.mean) @ self.components.T

    def rgb(self, series: str, time: int) -> np.ndarray:
        """The first three components as colours (y, x, 3) uint8; black where there is no tile."""
        scores = self.scores(series, time)[..., :3]
        scores = np.pad(scores, ((0, 0), (0, 0), (0, 3 - scores.shape[-1])))
        low, high = self.colours.T
        share = np.clip((np.nan_to_num(scores) - low) / np.maximum(high - low, 1e-12), 0, 1)
        return np.where(np.isfinite(scores), np.rint(share * 255), 0).astype(np.uint8)

    def start(self) -> Tile:
        """The tile in the middle of the first scene that has any: what is told before one clicks."""
        for series in self.series.values():
            for time in range(len(series.times)):
                rows, columns = np.nonzero(np.isfinite(series.vectors(time)).all(-1))
                if len(rows):
                    off = (rows - (series.rows - 1) / 2) ** 2 + (columns - (series.columns - 1) / 2) ** 2
                    return Tile(series.name, time, int(rows[off.argmin()]), int(columns[off.argmin()]))
        raise ValueError("No tile of any scene is valid.")  # the components could not have been fitted

    @functools.cached_property
    def searched(self) -> dict[str, list[int]]:
        """The times of each series that are searched for tiles alike."""
        tiles = sum(len(s.times) * s.rows * s.columns for s in self.series.values())
        share = min(1.0, SEARCHED_MB * 1e6 / (4 * len(self.mean) * tiles))
        return {name: evenly(len(s.times), max(1, int(share * len(s.times)))) for name, s in self.series.items()}

    def alike(self, tile: Tile, count: int = 5) -> list[tuple[Tile, float]]:
        """The most alike tiles over all series and times, with their squared distance, the nearest first.

        None of them overlaps the tile, or another of them, within `APART_H` hours: the next window, or the next frame, of the
        same clouds says nothing. Of more than `SEARCHED_MB`, scenes spread evenly over all are searched.
        """
        vector = self.vector(tile)
        nearest: list[tuple[Tile, float]] = []
        searched = self.searched
        left = {n: np.stack([self.series[n].distances(t, vector) for t in times]) for n, times in searched.items()}
        left = {name: np.where(np.isfinite(d), d, np.inf) for name, d in left.items()}
        self._strike(left, searched, tile)
        while len(nearest) < count:
            name = min(left, key=lambda n: left[n].min())
            if not np.isfinite(left[name].min()):
                break
            place, row, column = (int(i) for i in np.unravel_index(left[name].argmin(), left[name].shape))
            nearest.append((Tile(name, searched[name][place], row, column), float(left[name][place, row, column])))
            self._strike(left, searched, nearest[-1][0])
        return nearest

    def _strike(self, left: dict[str, np.ndarray], searched: dict[str, list[int]], tile: Tile) -> None:
        """Take a tile, and what overlaps it within some hours, out of those that are left (in place)."""
        series = self.series[tile.series]
        times, (up, across) = series.times[searched[tile.series]], series.reach
        soon = np.abs(times - series.times[tile.time]) < np.timedelta64(int(APART_H * 3600), "s")  # False for NaT
        soon |= np.array(searched[tile.series]) == tile.time
        rows = slice(max(0, tile.row - up), tile.row + up + 1)
        columns = slice(max(0, tile.column - across), tile.column + across + 1)
        left[tile.series][np.flatnonzero(soon), rows, columns] = np.inf
