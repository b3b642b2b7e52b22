"""Triplets: an anchor tile, a neighbour beside it in the same scene, and a distant tile that has nothing to do with it.

The samples of tile2vec (Jean et al. 2019, arXiv 1805.02855), as used for clouds by Denby (2020, doi:10.1029/2019GL085190). A
triplet is a row of a table; its tiles are cut out of the scenes when they are asked for. Which rows there are follows from the
seed alone: directions come from square roots, which every machine rounds alike, and no draw depends on how work is shared.

Scenes of one place that follow each other within hours show the same clouds. Such scenes form a *take*: it is never dealt to
two splits, and within it a distant tile must lie many tiles away, whichever scene of it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.conventions import SPLITS, refuse
from geonb.store.windows import read_shares

Takes = Mapping[str, Sequence[int]]  # series -> the take of each scene
ValidShares = Callable[[str, int, np.ndarray], np.ndarray]  # series, scene, corners (n, 2) of y, x -> (n,), 0-1

TILES = ("anchor", "neighbor", "distant")
MIN_DISTANT = 10.0  # tiles
ROUNDS = 200  # of drawing again what was refused
BLOCK_TILES = 2  # side of the blocks that intervals resample
BLOCK_SIDES = (3.0, 2.5, 2.2)  # tiles: of the parts of a scene that are dealt, larger ones first
DEALS = 500


@dataclass(frozen=True)
class Area:
    """Where tiles of one split may lie in one series: rows and columns of its grid, and which of its scenes."""

    series: str
    split: str
    y: tuple[int, int]
    x: tuple[int, int]
    scenes: tuple[int, ...]

    def tiles(self, patch: int) -> tuple[float, float]:
        """Height and width in tiles."""
        return (self.y[1] - self.y[0]) / patch, (self.x[1] - self.x[0]) / patch

    def as_list(self) -> list[Any]:
        """Series, split, y, x and scenes, as store.json has them."""
        return [self.series, self.split, list(self.y), list(self.x), list(self.scenes)]


def takes_of(
    times: Mapping[str, pd.DatetimeIndex], bounds: Mapping[str, tuple[float, float, float, float]], apart_h: float
) -> dict[str, list[int]]:
    """Number the takes: scenes whose grounds overlap and that lie less than `apart_h` after one another share one.

    Parameters
    ----------
    times : series -> times of its scenes; one without a time (NaT) may be of the hours of any other, and shares its take with
        all whose grounds it overlaps, unless `apart_h` is 0
    bounds : series -> (west, south, east, north), degrees
    apart_h : float, h

    Returns
    -------
    dict of series -> number of the take of each scene, in order of time
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    scenes = [(name, time) for name, series in times.items() for time in series]
    timed = sorted((k for k, (_, time) in enumerate(scenes) if not pd.isna(time)), key=lambda k: scenes[k][1])
    pairs: list[tuple[int, int]] = []
    last: dict[str, int] = {}  # of each series: the latest scene so far
    for k in timed:
        name, time = scenes[k]
        soon = [other for other in last.values() if time - scenes[other][1] < pd.Timedelta(hours=apart_h)]
        pairs += [(k, other) for other in soon if _touch(bounds[name], bounds[scenes[other][0]])]
        last[name] = k
    undated = [k for k, (_, time) in enumerate(scenes) if pd.isna(time)]
    if apart_h > 0:
        for name, k in {scenes[k][0]: k for k in undated}.items():
            pairs += [(k, other) for other, (place, _) in enumerate(scenes) if _touch(bounds[name], bounds[place])]
    graph = coo_array((np.ones(len(pairs)), np.reshape(pairs, (-1, 2)).T.astype(int)), shape=(len(scenes),) * 2)
    take = connected_components(graph, directed=False)[1]
    order = [*timed, *undated]
    number = {old: new for new, old in enumerate(dict.fromkeys(take[order]))}
    found: dict[str, list[int]] = {name: [] for name in times}
    for (name, _), old in zip(scenes, take, strict=True):
        found[name].append(number[old])
    return found


def _touch(a: tuple, b: tuple) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def split_scenes(
    shapes: Mapping[str, tuple[int, int]], takes: Takes, shares: str | tuple, by: str, patch: int, seed: int = 0
) -> tuple[str, list[Area]]:
    """Deal takes to train, val and test in order of time, or, where there are too few, parts of every scene.

    By area each series is cut into rectangles, half a tile apart, each of which belongs to one split in all of its scenes.

    Parameters
    ----------
    shapes : series -> (rows, columns)
    takes : series -> the take of each scene
    shares : train/val/test, percent
    by : "scene", "area", or "auto": by scene if there are five takes or more
    patch : int, px

    Returns
    -------
    method : "scene" or "area"
    areas : list of Area

    Raises
    ------
    ValueError
        Fewer takes than splits that want one.
    """
    parts = read_shares(shares)
    wanted = [(s, p) for s, p in zip(SPLITS, parts, strict=True) if p > 0]
    number = max(max(t) for t in takes.values()) + 1
    if by == "auto":
        by = "scene" if number >= 5 else "area"
    if by == "area":
        return by, [a for n, shape in shapes.items() for a in _blocks(n, shape, wanted, len(takes[n]), patch, seed)]
    if number < len(wanted):
        raise ValueError(
            f"split = 'scene' deals whole scenes, and there are {number} that are independent (of other times or places) for "
            f"{len(wanted)} splits; those of one place without a time count as one. Use split = 'area', give more scenes, their times "
            "(file.nc:time=...), a smaller `apart_h`, or a share of 0"
        )
    sizes = np.bincount([take for t in takes.values() for take in t], minlength=number)
    owner = _deal_in_order(sizes, [p for _, p in wanted])
    areas = [
        Area(name, split, (0, rows), (0, columns), tuple(np.flatnonzero(owner[list(takes[name])] == k).tolist()))
        for name, (rows, columns) in shapes.items()
        for k, (split, _) in enumerate(wanted)
    ]
    return by, [area for area in areas if area.scenes]


def _blocks(
    name: str, shape: tuple[int, int], wanted: list[tuple[str, float]], scenes: int, patch: int, seed: int
) -> list[Area]:
    """Squares of about BLOCK_SIDES tiles, half a tile apart, dealt so that those of each split lie far apart."""
    gap = patch // 2
    for side in BLOCK_SIDES:
        counts = [max(1, int((n + gap) // (side * patch + gap))) for n in shape]
        parts = counts[0] * counts[1]
        if parts >= 2 * len(wanted):
            break
    if parts < len(wanted):
        raise ValueError(
            f"{name} ({shape[0]} x {shape[1]} px) holds {parts} parts of {BLOCK_SIDES[-1]:g} tiles of {patch} px, and "
            f"{len(wanted)} splits want some. Give a smaller `patch`, a share of 0, or scenes of other days"
        )
    lines = [np.linspace(0, n + gap, k + 1).round().astype(int).tolist() for n, k in zip(shape, counts, strict=True)]
    rows, columns = ([(low, high - gap) for low, high in pairwise(line)] for line in lines)
    places = np.argwhere(np.ones(counts)).astype(float)
    owner = _deal_apart(places, np.array([p for _, p in wanted]), seed)
    boxes = [(y, x) for y in rows for x in columns]
    return [Area(name, wanted[k][0], *box, tuple(range(scenes))) for k, box in zip(owner, boxes, strict=True)]


def ends_of(reached: np.ndarray, n: int) -> np.ndarray:
    """Where each part of n things ends, by the share of them that it reaches, 0-1; none goes empty."""
    more = np.arange(len(reached))
    return np.clip(np.rint(reached * n).astype(int), more + 1, n - more[::-1])


def _deal_apart(places: np.ndarray, parts: np.ndarray, seed: int) -> np.ndarray:
    """Which split each place goes to: of many random deals, the one whose splits' places lie farthest from one another."""
    n = len(places)
    sizes = np.diff([0, *ends_of(np.cumsum(parts), n)])
    random, best, farthest = np.random.default_rng([seed, 0xA3EA]), np.zeros(n, int), -1.0
    apart = np.abs(places[:, None] - places[None]).sum(axis=-1)  # whole numbers: the same best deal on every machine
    for _ in range(DEALS):
        owner = np.empty(n, int)
        owner[random.permutation(n)] = np.repeat(np.arange(len(sizes)), sizes)
        spread = min(
            apart[np.ix_(owner == k, owner == k)].sum() / max(size * (size - 1), 1) for k, size in enumerate(sizes)
        )
        if spread > farthest:
            best, farthest = owner, spread
    return best


def _deal_in_order(sizes: np.ndarray, parts: list[float]) -> np.ndarray:
    """Which split each take goes to: in order, each split at least one, as near to its share of the scenes as can be."""
    reached = np.cumsum(sizes) - sizes / 2
    owner = np.searchsorted(np.cumsum(parts)[:-1] * sizes.sum(), reached, side="right")
    for k in range(len(parts)):  # none goes empty
        owner[k] = min(owner[k], k)
        owner[len(sizes) - 1 - k] = max(owner[len(sizes) - 1 - k], len(parts) - 1 - k)
    return owner


def reach_of(areas: Sequence[Area], patch: int) -> float:
    """So far, in tiles, that from any place of any area some place of the same split and series is as far away."""
    reach = np.inf
    for one in areas:
        others = [a for a in areas if (a.split, a.series) == (one.split, one.series)]
        reach = min(reach, max(_centre_to_corner(one, other, patch) for other in others))
    return float(reach)


def _centre_to_corner(one: Area, other: Area, patch: int) -> float:
    """From the middle tile of one area to the farthest tile of another, in tiles."""
    sides = ((one.y, other.y), (one.x, other.x))
    down, across = (max(abs((a[0] + a[1] - patch) / 2 - end) for end in (b[0], b[1] - patch)) for a, b in sides)
    return float(np.hypot(down, across)) / patch


def check_room(areas: Sequence[Area], takes: Takes, patch: int, distance: float, min_distant: float) -> None:
    """Refuse tiles and distances for which there is no room; one ValueError lists every fault."""
    faults = []
    for area in areas:
        where = f"a {area.split} part of {area.series} ({area.y[1] - area.y[0]} x {area.x[1] - area.x[0]} px)"
        sides = area.tiles(patch)
        if min(sides) < 1:
            faults.append(f"patch = {patch} px is larger than {where}: give a smaller `patch`")
        elif max(sides) < 1 + distance:
            room = f"neighbours at distance = {distance:g} tiles of {patch} px do not fit into {where}"
            faults.append(f"{room}: give a smaller `patch` or `distance`")
    for split in dict.fromkeys(area.split for area in areas):
        if len(takes_in(areas, takes, split)) > 1 or faults:
            continue
        mine = [a for a in areas if a.split == split]
        most = max(_farthest(one, other, patch) for one in mine for other in mine)
        if most < min_distant:
            faults.append(
                f"min_distant = {min_distant:g} tiles of {patch} px do not fit into the {split} parts, in which two tiles are at most "
                f"{most:.1f} tiles apart: give a smaller `min_distant` or `patch`, or scenes of other days"
            )
    refuse("No triplets can be drawn", list(dict.fromkeys(faults)))


def _farthest(one: Area, other: Area, patch: int) -> float:
    """Between the two tiles that are farthest apart, in tiles; 0 in different series."""
    if one.series != other.series:
        return 0.0
    down, across = (max(b[1] - patch - a[0], a[1] - patch - b[0]) for a, b in ((one.y, other.y), (one.x, other.x)))
    return float(np.hypot(down, across)) / patch


def takes_in(areas: Sequence[Area], takes: Takes, split: str) -> set[int]:
    """Numbers of the takes whose scenes a split has."""
    return {takes[a.series][i] for a in areas if a.split == split for i in a.scenes}


def cut_triplets(
    areas: Sequence[Area],
    takes: Takes,
    valid_shares: ValidShares,
    *,
    counts: Mapping[str, int],
    patch: int,
    distance: float = 1.0,
    min_distant: float = MIN_DISTANT,
    min_valid: float = 0.9,
    seed: int = 0,
) -> pd.DataFrame:
    """Draw triplets: anchors anywhere, neighbours in a random direction, distant tiles of another take or far away.

    Parameters
    ----------
    areas : where tiles of each split may lie
    takes : series -> the take of each scene
    valid_shares : (series, scene, corners (n, 2) of y, x) -> share of valid pixels of each tile (n,), 0-1
    counts : split -> number of triplets
    patch : int, px
    distance : float, tiles
        From the anchor to the neighbour, centre to centre; 1: side by side, 0.5: half overlapping.
    min_distant : float, tiles
        A distant tile of the anchor's own take lies at least so far away, and always beyond the neighbour.
    min_valid : float, 0-1
        Tiles with a smaller share of valid pixels are drawn again.
    seed : int

    Returns
    -------
    DataFrame with split, source, t, y, x, valid_share, neighbor_y, neighbor_x, distant_source, distant_t, distant_y, distant_x

    Raises
    ------
    ValueError
        If so many could not be found.
    """
    check_room(areas, takes, patch, distance, min_distant)
    tables = []
    for code, split in enumerate(SPLITS):
        mine = [a for a in areas if a.split == split]
        if counts.get(split) and mine:
            random = np.random.default_rng([seed, code, 0x7319])
            draw = _Draw(mine, takes, patch, distance, min_distant)
            tables.append(_cut_split(draw, split, counts[split], valid_shares, min_valid, random))
    return pd.concat(tables, ignore_index=True)


class _Draw:
    """One split: its scenes in a row, each with its area and take, and how tiles are drawn in them."""

    def __init__(self, areas: list[Area], takes: Takes, patch: int, distance: float, min_distant: float) -> None:
        scenes = [(a, i) for a in areas for i in a.scenes]
        self.names, self.t = [a.series for a, _ in scenes], np.array([i for _, i in scenes])
        self.take = np.array([takes[a.series][i] for a, i in scenes])
        self.low = np.array([(a.y[0], a.x[0]) for a, _ in scenes])
        self.room = np.array([(a.y[1] - a.y[0] - patch, a.x[1] - a.x[0] - patch) for a, _ in scenes])  # of corners
        self.place = np.unique(self.names, return_inverse=True)[1]
        self.patch, self.step = patch, distance * patch
        self.far2 = (max(min_distant, distance) * patch) ** 2

    def corners(self, scene: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return self.low[scene] + random.integers(self.room[scene] + 1)

    def __call__(self, n: int, random: np.random.Generator) -> dict[str, np.ndarray]:
        """n candidates; `fits` says which of them lie inside and far enough."""
        scene, far = random.integers(len(self.t), size=(2, n))
        anchor = self.corners(scene, random)
        way = random.uniform(-1, 1, (n, 2))
        length = np.sqrt((way**2).sum(axis=1))  # exact to the last bit everywhere, as sines are not
        with np.errstate(divide="ignore", invalid="ignore"):
            offset = np.rint(way / length[:, None] * self.step)
        fits = (length <= 1) & (length > 1e-3)
        offset = np.where(fits[:, None], offset, 0).astype(np.int64)
        neighbor, distant = anchor + offset, self.corners(far, random)
        inside = neighbor - self.low[scene]
        fits &= ((inside >= 0) & (inside <= self.room[scene])).all(axis=1)
        apart = ((distant - anchor) ** 2).sum(axis=1) >= self.far2
        fits &= (self.take[scene] != self.take[far]) | ((self.place[scene] == self.place[far]) & apart)
        return {"scene": scene, "far": far, "anchor": anchor, "neighbor": neighbor, "distant": distant, "fits": fits}


def _cut_split(
    draw: _Draw, split: str, n: int, valid_shares: ValidShares, min_valid: float, random: np.random.Generator
) -> pd.DataFrame:
    kept: list[dict[str, np.ndarray]] = []
    have = tried = 0
    for _ in range(ROUNDS):
        found = draw(max(4 * (n - have), 256), random)
        tried += len(found["fits"])
        found = {k: v[found["fits"]][: 2 * (n - have) + 64] for k, v in found.items()}
        scenes = (found["scene"], found["scene"], found["far"])
        shares = [_shares(draw, s, found[tile], valid_shares) for s, tile in zip(scenes, TILES, strict=True)]
        good = np.min(shares, axis=0) >= min_valid
        kept.append({k: v[good] for k, v in found.items()} | {"valid_share": shares[0][good]})
        have += int(good.sum())
        if have >= n:
            break
    else:
        raise ValueError(
            f"{have} of {n} {split} triplets could be drawn in {tried:,} tries: too few tiles have {min_valid:.0%} of valid pixels, "
            "or lie far enough from one another. Give a smaller `min_valid`, `min_distant` or `patch`, or fewer `triplets`"
        )
    whole = {k: np.concatenate([part[k] for part in kept])[:n] for k in kept[0]}
    names = np.array(draw.names, dtype=object)
    (y, x), (near_y, near_x), (far_y, far_x) = (whole[tile].T for tile in TILES)
    return pd.DataFrame(
        {
            "split": np.full(n, split, dtype=object), "source": names[whole["scene"]], "t": draw.t[whole["scene"]], "y": y, "x": x,
            "valid_share": whole["valid_share"].astype(np.float32), "neighbor_y": near_y, "neighbor_x": near_x,
            "distant_source": names[whole["far"]], "distant_t": draw.t[whole["far"]], "distant_y": far_y, "distant_x": far_x,
        }
    )  # fmt: skip


def _shares(draw: _Draw, scene: np.ndarray, corners: np.ndarray, valid_shares: ValidShares) -> np.ndarray:
    found = np.empty(len(scene))
    for one in np.unique(scene):
        here = scene == one
        found[here] = valid_shares(draw.names[one], int(draw.t[one]), corners[here])
    return found


def blocks_of(table: pd.DataFrame, takes: Takes, method: str, patch: int) -> np.ndarray:
    """The block of each triplet's anchor, for intervals: array of int, numbered from 0.

    By area: squares of BLOCK_TILES tiles of a series, all its scenes together, for what lies there follows itself in time. By
    scene, or as given: takes; where a split has fewer than eight, squares of a take.
    """
    side = BLOCK_TILES * patch
    source = pd.factorize(table["source"])[0]
    take = np.array([takes[s][t] for s, t in zip(table["source"], table["t"], strict=True)])
    place = np.stack([source, table["y"] // side, table["x"] // side], axis=1)
    key = np.column_stack([np.zeros_like(take) if method == "area" else take, place])
    if method != "area":
        many = table["split"].map(lambda s: len(np.unique(take[(table["split"] == s).to_numpy()])) >= 8).to_numpy(bool)
        key[many, 1:] = -1
    return np.unique(key, axis=0, return_inverse=True)[1].ravel()


def tiles_table(index: pd.DataFrame) -> pd.DataFrame:
    """Every tile of every triplet as a row: triplet, tile, split, source, t, y, x, height, width."""
    parts = []
    for tile in TILES:
        far = tile == "distant"
        columns = {"source": "distant_source" if far else "source", "t": "distant_t" if far else "t"}
        columns |= {axis: axis if tile == "anchor" else f"{tile}_{axis}" for axis in "yx"}
        columns |= {same: same for same in ("split", "height", "width")}
        part = pd.DataFrame({name: index[column].to_numpy() for name, column in columns.items()})
        part = part.astype({"source": str, "split": str})
        parts.append(part.assign(triplet=np.arange(len(index)), tile=tile))
    return pd.concat(parts, ignore_index=True)
