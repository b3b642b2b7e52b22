"""How alike tiles look to a network: distances to one that is chosen, the most alike of all, and their components as colours."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from geonb.plots.style import evenly

COMPONENTS = 16  # principal components that are kept; the first three become colours
FITTED = 20_000  # tiles that the components are fitted to
SEARCHED_MB = 400  # of embeddings that are searched for tiles alike: scenes spread evenly over all
APART_H = 6.0  # hours within which two tiles at one place show much the same
COUNT = 5  # tiles alike that are told
MARKED = 11  # that are told to who marks them
Chosen = tuple[int, int, int, int]  # place, position in time, row from the north, column


class Tiles(Protocol):
    """Tiles of one place on a grid, at several times: what a workload hands over for each."""

    times: np.ndarray  # datetime64 (time,), NaT where unknown
    reach: tuple[int, int]  # rows and columns on the grid as far as which two tiles overlap

    def vectors(self, time: int) -> np.ndarray:
        """Embedding (y, x, dim) float32 of all tiles of a time, north up; NaN where there is no tile."""
        ...

    def picture(self, time: int, row: int, column: int) -> np.ndarray | None:
        """A tile as a person sees it: (y, x, 4) uint8."""
        ...

    def label(self, time: int, row: int, column: int) -> str:
        """When and where a tile lies."""
        ...


class Likeness:
    """Distances between all tiles of a run.

    Parameters
    ----------
    tiles : sequence of Tiles, one a place
    measured : (near, far) arrays of squared distances of pairs that are neighbours and of pairs that are not, or None: pairs
        drawn at random then say what is near
    marking : whether people may mark tiles as right or wrong, and search again by what they marked

    Attributes
    ----------
    near, far : float
        Medians of the two, where colours begin to say "alike", "unlike".
    top : float, squared distance where colours end
    held : ndarray (component,), shares of the variance

    Raises
    ------
    ValueError
        If no tile of any place is valid.
    """

    layer, dim, grid, likely_layer = "distance", "time", "tiles", "likely"

    def __init__(
        self, tiles: Sequence[Tiles], measured: tuple[np.ndarray, np.ndarray] | None = None, marking: bool = False
    ) -> None:
        self.tiles, self.marking = list(tiles), marking
        self.drawn = drawn = self._draw()
        self._fit(drawn)
        self.measured = measured is not None
        near, far = measured if measured is not None else (None, None)
        if near is None or far is None:
            far = np.square(drawn - np.random.default_rng(1).permutation(drawn)).sum(-1).astype(float)
            near = np.percentile(far, [10])
        self.near, self.far = float(np.median(near)), float(np.median(far))
        self.top = max(float(np.percentile(far, 90)), 1.2 * self.far, 1e-9)

    def _draw(self) -> np.ndarray:
        """Vectors (tile, dim) of tiles drawn over all places and times."""
        rng, each = np.random.default_rng(0), max(200, FITTED // len(self.tiles))
        parts = []
        for tiles in self.tiles:
            times = evenly(len(tiles.times), 25)
            for time in times:
                vectors = tiles.vectors(time)
                vectors = vectors[np.isfinite(vectors).all(-1)]
                parts.append(vectors[rng.permutation(len(vectors))[: -(-each // len(times))]])
        drawn = np.concatenate(parts)
        if not len(drawn):
            raise ValueError("No tile of any scene is valid: nothing to explore. Are the scenes mostly no data?")
        return drawn

    def _fit(self, drawn: np.ndarray) -> None:
        from sklearn.decomposition import PCA

        drawn = drawn if len(drawn) > 1 else np.repeat(drawn, 2, axis=0)
        with np.errstate(invalid="ignore"):  # tiles that are all the same vary in nothing: shares of none
            model = PCA(min(COMPONENTS, *drawn.shape), svd_solver="covariance_eigh").fit(drawn)
        self.mean, self.components = model.mean_, model.components_
        self.held = np.nan_to_num(model.explained_variance_ratio_)
        limits = np.percentile(model.transform(drawn)[:, :3], (2, 98), axis=0).T
        self.limits = np.pad(limits, ((0, 3 - len(limits)), (0, 0)))

    @functools.cached_property
    def words(self) -> dict[str, Any]:
        """What the viewer says of distances."""
        apart = f" within {APART_H:g} hours" if any(len(tiles.times) > 1 for tiles in self.tiles) else ""
        part = sum(map(len, self.searched)) / sum(len(tiles.times) for tiles in self.tiles)
        note = f"None overlaps another{apart}." + ("" if part > 0.99 else f" Searched: {part:.0%} of the scenes.")
        return {"note": note}

    def start(self) -> Chosen:
        """The tile in the middle of the first scene that has any."""
        for place, tiles in enumerate(self.tiles):
            for time in range(len(tiles.times)):
                known = np.isfinite(tiles.vectors(time)).all(-1)
                rows, columns = np.nonzero(known)
                if len(rows):
                    off = (rows - (known.shape[0] - 1) / 2) ** 2 + (columns - (known.shape[1] - 1) / 2) ** 2
                    return place, time, int(rows[off.argmin()]), int(columns[off.argmin()])
        raise ValueError("No tile of any scene is valid.")  # the components could not have been fitted

    def vector(self, chosen: Sequence[int]) -> np.ndarray:
        """The embedding (dim,) of a tile."""
        place, time, row, column = chosen
        return self.tiles[place].vectors(time)[row, column]

    def valid(self, chosen: Sequence[int]) -> bool:
        """Whether there is a tile."""
        return bool(np.isfinite(self.vector(chosen)).all())

    def distances(self, place: int, time: int, chosen: Sequence[int]) -> np.ndarray:
        """Squared distance (y, x) float32 of all tiles of a scene to one; NaN where there is no tile."""
        return np.square(self.tiles[place].vectors(time) - self.vector(chosen)).sum(-1)

    def scores(self, place: int, time: int) -> np.ndarray:
        """Principal components (y, x, component) of a scene's tiles; NaN where there is none."""
        return (self.tiles[place].vectors(time) - self.mean) @ self.components.T

    def colours(self, place: int, time: int) -> np.ndarray:
        """The first three components as (y, x, 4) uint8, fitted over all scenes; transparent where there is no tile."""
        scores = self.scores(place, time)[..., :3]
        known = np.isfinite(scores).all(-1)
        scores = np.pad(np.nan_to_num(scores), ((0, 0), (0, 0), (0, 3 - scores.shape[-1])))
        low, high = self.limits.T
        shares = np.clip((scores - low) / np.maximum(high - low, 1e-12), 0, 1)
        return np.concatenate([np.rint(shares * 255), 255.0 * known[..., None]], -1).astype(np.uint8)

    def picture(self, chosen: Sequence[int]) -> np.ndarray | None:
        """A tile as a person sees it: (y, x, 4) uint8, or None."""
        return self.tiles[chosen[0]].picture(*chosen[1:])

    def label(self, chosen: Sequence[int]) -> str:
        """When and where a tile lies."""
        return self.tiles[chosen[0]].label(*chosen[1:])

    @functools.cached_property
    def searched(self) -> list[list[int]]:
        """The times of each place that are searched for tiles alike."""
        each = [tiles.vectors(0).shape[0] * tiles.vectors(0).shape[1] * len(tiles.times) for tiles in self.tiles]
        share = min(1.0, SEARCHED_MB * 1e6 / (4 * len(self.mean) * sum(each)))
        return [evenly(len(tiles.times), max(1, int(share * len(tiles.times)))) for tiles in self.tiles]

    def alike(self, chosen: Sequence[int], count: int = COUNT) -> list[tuple[Chosen, float]]:
        """The most alike tiles over all places and times, with their squared distance, the nearest first.

        None of them overlaps the tile, or another of them, within `APART_H` hours: the next window, or the next frame, of the
        same clouds says nothing. Of more than `SEARCHED_MB`, scenes spread evenly over all are searched.
        """
        vector = self.vector(chosen)
        left = [
            np.stack([np.square(tiles.vectors(t) - vector).sum(-1) for t in times])
            for tiles, times in zip(self.tiles, self.searched, strict=True)
        ]
        left = [np.where(np.isfinite(d), d, np.inf) for d in left]
        self._strike(left, chosen)
        nearest: list[tuple[Chosen, float]] = []
        while len(nearest) < count:
            place = int(np.argmin([d.min() for d in left]))
            if not np.isfinite(left[place].min()):
                break
            at, row, column = (int(i) for i in np.unravel_index(left[place].argmin(), left[place].shape))
            nearest.append(((place, self.searched[place][at], row, column), float(left[place][at, row, column])))
            self._strike(left, nearest[-1][0])
        return nearest

    def model(self, right: Sequence[Sequence[int]], wrong: Sequence[Sequence[int]]) -> tuple[np.ndarray, float]:
        """Weights (dim,) and offset of the score by which marked tiles are searched again, see :func:`geonb.embeddings.marks.fitted`."""
        from geonb.embeddings.marks import DRAWN, fitted

        dims = len(self.mean)
        told, refused = (np.array([self.vector(one) for one in some]).reshape(-1, dims) for some in (right, wrong))
        return fitted(told, refused, self.drawn[:: max(1, len(self.drawn) // DRAWN)])

    def likely(
        self, place: int, time: int, right: Sequence[Sequence[int]], wrong: Sequence[Sequence[int]]
    ) -> np.ndarray:
        """The model's score (y, x) float32 of all tiles of a scene; NaN where there is no tile."""
        weights, offset = self.model(right, wrong)
        return self.tiles[place].vectors(time) @ weights + np.float32(offset)

    def like_marked(
        self, right: Sequence[Sequence[int]], wrong: Sequence[Sequence[int]], count: int = MARKED
    ) -> list[tuple[Chosen, float]]:
        """The tiles that score highest and are not marked yet, the best first, with their score."""
        found: list[tuple[float, Chosen]] = []
        marked = {tuple(one) for one in (*right, *wrong)}
        for place, times in enumerate(self.searched):
            for time in times:
                score = self.likely(place, time, right, wrong)
                score = np.where(np.isfinite(score), score, -np.inf)
                for at in np.argsort(-score, axis=None, kind="stable")[: count + len(marked)]:
                    row, column = (int(i) for i in np.unravel_index(at, score.shape))
                    if np.isfinite(score[row, column]) and (place, time, row, column) not in marked:
                        found.append((float(score[row, column]), (place, time, row, column)))
        return [(chosen, score) for score, chosen in sorted(found, reverse=True)[:count]]

    def _strike(self, left: list[np.ndarray], chosen: Sequence[int]) -> None:
        """Take a tile, and what overlaps it within some hours, out of those that are left (in place)."""
        place, time, row, column = chosen
        tiles, times = self.tiles[place], self.searched[place]
        up, across = tiles.reach
        soon = np.abs(tiles.times[times] - tiles.times[time]) < np.timedelta64(
            int(APART_H * 3600), "s"
        )  # False for NaT
        soon |= np.array(times) == time
        rows, columns = slice(max(0, row - up), row + up + 1), slice(max(0, column - across), column + across + 1)
        left[place][np.flatnonzero(soon), rows, columns] = np.inf

    def nearest_of(
        self, keys: np.ndarray, count: int = COUNT, among: int = 400, batch: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each tile of a few thousand the most alike of the others, as `alike`: what a page without a kernel tells.

        Parameters
        ----------
        keys : int (tile, 4), as `Chosen`
        among : so many nearest are looked at first for those that do not overlap; all, where they do not suffice

        Returns
        -------
        positions in `keys` (tile, count), -1 where there are fewer, and squared distances (tile, count) float32
        """
        vectors = np.stack([self.vector(key) for key in keys]).astype("float64")
        norms = np.square(vectors).sum(-1)
        nearest, far = np.full((len(keys), count), -1), np.full((len(keys), count), np.nan, "float32")
        times = np.stack([self.tiles[p].times[t].astype("datetime64[s]").astype("int64") for p, t, *_ in keys])
        known = np.array([not np.isnat(self.tiles[p].times[t]) for p, t, *_ in keys])
        reach = np.array([self.tiles[p].reach for p, *_ in keys])
        among = min(among, len(keys))

        def apart(i: int, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Of some, the nearest to i that overlap neither it nor each other, and how far."""
            exact = np.square(vectors[some] - vectors[i]).sum(-1)
            order = np.argsort(exact, kind="stable")
            some, exact = some[order], exact[order]
            free, last = np.ones(len(some), bool), i
            chosen: list[int] = []
            while len(chosen) < count:
                here = (keys[some, 0] == keys[last, 0]) & (np.abs(keys[some, 2:] - keys[last, 2:]) <= reach[last]).all(
                    -1
                )
                soon = (np.abs(times[some] - times[last]) < APART_H * 3600) & known[some] & known[last]
                free &= ~(here & (soon | (keys[some, 1] == keys[last, 1])))
                if not free.any():
                    break
                chosen.append(int(free.argmax()))
                last = int(some[chosen[-1]])
            return some[chosen], exact[chosen]

        for start in range(0, len(keys), batch):
            squared = norms[start : start + batch, None] + norms - 2 * vectors[start : start + batch] @ vectors.T
            for i, some in enumerate(np.argpartition(squared, among - 1, axis=1)[:, :among], start):
                found = apart(i, some)
                if len(found[0]) < count and among < len(keys):  # so many overlap that too few were looked at
                    found = apart(i, np.arange(len(keys)))
                nearest[i, : len(found[0])], far[i, : len(found[0])] = found
        return nearest, far
