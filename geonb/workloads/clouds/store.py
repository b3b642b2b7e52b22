"""The sample store of scenes: a group of arrays a series of scenes on one grid, and a table of triplets of tiles in them.

Laid out as :mod:`geonb.store.store`: the arrays are shared by all stores of the same scenes, so that another size of tile, another
split or more triplets write only the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import project
from geonb.base.conventions import SPLITS, refuse
from geonb.base.files import fingerprints
from geonb.base.specs import Option, check_options
from geonb.rasters import grids
from geonb.store import arrays, store
from geonb.store.faults import column_faults, statistics_faults
from geonb.store.leakage import ground_leaks
from geonb.store.sealing import FORMAT, make_store
from geonb.workloads.clouds import arrays as clouds_arrays
from geonb.workloads.clouds import leakage, triplets
from geonb.workloads.clouds.series import PATCH
from geonb.workloads.clouds.triplets import TILES, Area

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from geonb.workloads.clouds.series import Scenes

INDEX_COLUMNS = (
    "source", "dataset", "time", "t", "y", "x", "height", "width", "split", "block", "valid_share", "neighbor_y", "neighbor_x",
    "distant_source", "distant_t", "distant_y", "distant_x", "geometry",
)  # fmt: skip
APART_H = 12.0
_APART = {"apart_h": Option(APART_H, float, 0, 1e6, help="scenes of a place closer in time are one take, hours")}
SPLIT = {"auto": _APART, "scene": _APART, "area": _APART}
COUNTS = "3000/600/600"
MOST = 10_000_000  # triplets of a split; their table alone is a gigabyte


@dataclass(frozen=True, repr=False)
class TripletStore(store.Store):
    """A sealed store of scenes. `store[i]` is triplet i: anchor, neighbour and distant tile, with places and times."""

    @cached_property
    def times(self) -> dict[str, pd.DatetimeIndex]:
        """Times of each series' scenes, UTC; NaT where unknown."""
        return {name: pd.DatetimeIndex(self._grids[name]["time"].to_numpy()) for name in self.sources}

    @property
    def patch(self) -> int:
        """Side of a tile, px."""
        return int(self.meta["parameters"]["patch"])

    @property
    def legend(self) -> dict[str, str]:
        """No labels: nobody has said what the tiles show."""
        return {}

    def labels(self, items: list[dict]) -> list[str]:
        """No labels, see `legend`."""
        return []

    def windows(self, split: str | None = None, augment: str = "none", seed: int = 0) -> Any:
        """The triplets as standardised tensors, see :class:`geonb.workloads.clouds.loaders.Triplets`."""
        from geonb.workloads.clouds.loaders import Triplets

        return Triplets(self, split, augment, seed)

    def __getitem__(self, i: int) -> xr.Dataset:
        """Triplet i: inputs (tile, channel, row, column), valid (tile, row, column); y, x and time of each tile; its row as attrs."""
        import xarray as xr

        row = self.index.iloc[[i]]
        found = []
        for _, tile in triplets.tiles_table(row).iterrows():
            rows, columns = (slice(tile[at], tile[at] + tile[n]) for at, n in (("y", "height"), ("x", "width")))
            scene = self._grids[tile["source"]].isel(time=int(tile["t"]), y=rows, x=columns)
            here = scene.load().reset_coords("time")
            y, x = here["y"].to_numpy(), here["x"].to_numpy()
            here = here.drop_vars(["y", "x"]).rename(y="row", x="column")
            found.append(here.assign_coords(y=("row", y), x=("column", x)))
        names = xr.IndexVariable("tile", list(TILES))
        window = xr.concat(found, names, coords="different", compat="equals", join="override")
        window.attrs = store.row_attrs(row.iloc[0])
        return window.set_coords("time")

    def pixels(self, rows: np.ndarray, tile: str = "anchor") -> tuple[np.ndarray, np.ndarray]:
        """Raw pixels of one tile of some triplets: inputs (row, channel, y, x), valid (row, y, x)."""
        from geonb.workloads.clouds.loaders import Triplets

        return Triplets(self).pixels(np.asarray(rows, np.int64), tile)

    def tiles(self, rows: np.ndarray, tile: str = "anchor") -> np.ndarray:
        """How tiles look to a person: uint8 (row, y, x, 3), the stretch of the whole training area; invalid pixels white.

        Parameters
        ----------
        rows : rows of the index
        tile : anchor, neighbor or distant
        """
        inputs, valid = self.pixels(rows, tile)
        return shown(inputs, valid, self.meta["statistics"])

    def valid_shares(self, source: str, t: int, corners: np.ndarray, patch: int | None = None) -> np.ndarray:
        """Share of valid pixels of tiles with their upper left at corners (n, 2): ndarray (n,)."""
        valid = self._grids[source]["valid"].isel(time=t).to_numpy()
        return clouds_arrays.valid_shares(valid, corners, patch or self.patch)

    def check_split(self) -> dict:
        """Prove from the table itself that no triplet of one split shares a scene, or a pixel of the ground, with another.

        Returns
        -------
        dict with method, counts (triplets, scenes and blocks of each split), smallest_gap_m, leaks (0, or of triplets that came
        as pictures how many are in two splits), said

        Raises
        ------
        ValueError
            Listing the triplets that leak.
        """
        split = self.meta["split"]
        leaking, gap_px = self._leaks()
        refuse(f"The split of {self.path} leaks", leaking)
        tiles = triplets.tiles_table(self.index)
        tables = {
            "triplets": self.index,
            "scenes": tiles.drop_duplicates(["split", "source", "t"]),
            "blocks": self.index.drop_duplicates(["split", "block"]),
        }
        counts = {what: {s: int((table["split"] == s).sum()) for s in SPLITS} for what, table in tables.items()}
        gap_m = round(gap_px * min(s["pixel_m"] for s in self.meta["sources"]), 1) if np.isfinite(gap_px) else None
        if split["method"] == "scene":
            said = (
                f"Split by scene: no two splits share a scene, nor scenes of one place within {split['apart_h']:g} hours, which show "
                "the same clouds."
            )
        elif split["method"] == "given":
            counts = {"triplets": counts["triplets"]}  # nobody knows how many scenes they are of
            said = (
                f"Split {'at random' if split['dealt'] else 'by folder'}. Pictures without place and time cannot prove that no two splits "
                f"show the same scene. Pictures that are in two of them, pixel for pixel: {split['shared'] or 'none'}."
            )
        else:
            said = "Split by area: no tile of one split shares a pixel with one of another, in whichever scene" + (
                f"; the nearest are {gap_m / 1000:.0f} km apart." if gap_m is not None else "."
            )
        return {
            "method": split["method"],
            **counts,
            "counts": counts,
            "smallest_gap_m": gap_m,
            "leaks": split.get("shared", 0),  # any other is refused
            "said": said,
        }

    def _leaks(self) -> tuple[list[str], float]:
        import zarr

        root = zarr.open_group(self.path / "arrays.zarr", mode="r")
        return _leaks(root, self.index, self.meta["split"], self.meta["parameters"])

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store, part by part; empty if it is whole. `deep` also reads every scene."""
        found = statistics_faults(self.meta, len(self.channels))
        found += clouds_arrays.array_faults(self.path, self.meta, deep)
        if missing := column_faults(self.path, INDEX_COLUMNS):
            return found + missing
        found += [f"index.parquet: {f}" for f in self._leaks()[0][:20]]
        return found or self._odd_times()

    def _odd_times(self) -> list[str]:
        """Times in the table that are not those of the arrays: earlier versions misread all that were no whole milliseconds."""
        mine = self.index["time"].dt.tz_localize(None).to_numpy("M8[ns]")
        own = np.array(
            [self.times[s].to_numpy()[t] for s, t in zip(self.index["source"], self.index["t"], strict=True)], "M8[ns]"
        )
        odd = int(((mine != own) & ~(np.isnat(mine) & np.isnat(own))).sum())
        told = f"index.parquet: the times of {odd} triplets are not those of their scenes. Make the store again with notebook 01"
        return [told] if odd else []


def shown(inputs: np.ndarray, valid: np.ndarray, statistics: dict) -> np.ndarray:
    """Pixels (n, channel, y, x) as people see them: uint8 (n, y, x, 3), 2-98 % of the training pixels; invalid ones white.

    The first three of three or more channels are red, green, blue; of fewer, the first is grey.
    """
    bands = [0, 1, 2] if inputs.shape[1] >= 3 else [0, 0, 0]
    low, high = (np.array(statistics[k], np.float32)[bands][None, :, None, None] for k in ("low", "high"))
    grey = np.clip((inputs[:, bands].astype(np.float32) - low) / np.maximum(high - low, 1e-6), 0, 1)
    grey = np.where(valid[:, None], grey, 1)
    return (np.moveaxis(grey, 1, -1) * 255).astype(np.uint8)


def anchor_tiles(samples: TripletStore, rows: np.ndarray) -> np.ndarray:
    """How the anchors of some triplets look: uint8 (row, y, x, 3)."""
    return samples.tiles(rows)


def write_triplet_store(
    scenes: Scenes,
    *,
    patch: int | None = None,
    counts: str | dict[str, int] = COUNTS,
    distance: float = 1.0,
    min_distant: float | None = None,
    min_valid: float = 0.9,
    split: str = "auto",
    shares: str | tuple[float, float, float] = "50/20/30",
    seed: int = 0,
    name: str | None = None,
    workload: str = "clouds",
    root: Path | None = None,
    client: Client | None = None,
) -> TripletStore:
    """Bring scenes onto disk, deal them to the splits, draw triplets: a sealed store, or the one that is there.

    Parameters
    ----------
    scenes : Scenes, of :func:`geonb.workloads.clouds.dataset.open_scenes`
    patch : int, px, optional
        Side of a tile. None: 64, or that of triplets that came as pictures. Those are taken as they are: of the settings below
        only `shares` and `seed` count, where a folder is missing (:func:`geonb.workloads.clouds.pictures.settle`).
    counts : str or dict
        Triplets of train/val/test, e.g. ``2000/500/1000``.
    distance : float, tiles
        From anchor to neighbour, centre to centre.
    min_distant : float, tiles, optional
        So far at least a distant tile of the same hours lies from the anchor. None: 10, or as far as the smallest area of a
        split allows, which is then noted.
    min_valid : float, 0-1
        Share of valid pixels that each tile needs.
    split : str
        ``auto``, ``scene`` or ``area``, with the hours within which scenes of one place are one: ``auto:apart_h=12``.
    shares : str or tuple
        See :func:`geonb.workloads.clouds.triplets.split_scenes`.
    seed : int
    root : Path, optional
        The store goes to root / "data" / workload; the project root by default.
    client : optional
        A `dask.distributed.Client` whose workers bring the scenes onto disk; they see the same files.

    Raises
    ------
    ValueError
        Every fault of the settings, before anything is written.
    OSError
        No space left: says how much is needed; nothing half-written remains.
    """
    cut = _settle(scenes, patch, counts, distance, min_distant, min_valid, split, shares, seed)
    areas, notes, table = cut.pop("areas"), cut.pop("notes"), cut.pop("table", None)
    title = project.slug(name or scenes.name)
    files = fingerprints(scenes.files)
    facts = {k: getattr(scenes, k) for k in ("title", "simulated", "attribution")}
    left_out = list(scenes.left_out)
    facts["notes"] = [*scenes.notes, *notes, *(f"Left out: {text}" for text in left_out)]
    facts["channels"] = list(scenes.channels)
    folder = make_store(
        "triplets", lambda path: clouds_arrays.write_scenes(scenes, path, client),
        lambda path: {"left_out": left_out, **_write_table(path, cut, areas, table, title)},
        recipe={"format": FORMAT, "recipe": scenes.recipe, "inputs": [f["sha256"] for f in files]}, cut=cut, facts=facts,
        files=files, name=title, workload=workload, root=root,
    )  # fmt: skip
    return TripletStore.open(folder)


def _settle(
    scenes: Scenes,
    patch: int | None,
    wanted: str | dict[str, int],
    distance: float,
    min_distant: float | None,
    min_valid: float,
    split: str,
    shares: str | tuple[float, float, float],
    seed: int,
) -> dict[str, Any]:
    """All that the table depends on, checked: parameters, takes, areas."""
    counts = read_counts(wanted)
    by, apart_h = read_split(split)
    if scenes.given is not None:
        from geonb.workloads.clouds import pictures

        asked = {
            "triplets": (counts, read_counts(COUNTS)), "distance": (distance, 1.0), "min_distant": (min_distant, None),
            "split": ((by, apart_h), ("auto", APART_H)),
        }  # fmt: skip
        unusual = {name: value for name, (value, usual) in asked.items() if value != usual}
        return pictures.settle(scenes, patch, shares, seed, **unusual)
    patch = PATCH if patch is None else patch
    limits = {"patch": (8, 8192), "distance": (0, 100), "min_valid": (0, 1), "seed": (0, 2**32 - 1)}
    given = {"patch": patch, "distance": distance, "min_valid": min_valid, "seed": seed}
    wrong = {k: span for k, span in limits.items() if not span[0] <= given[k] <= span[1]}
    faults = [f"{k} = {given[k]!r}: give a number from {low:g} to {high:g}" for k, (low, high) in wrong.items()]
    refuse("No triplets can be drawn", faults)
    shapes = {s.name: s.shape for s in scenes.series}
    ground = {s.name: grids.lonlat_bounds(s.crs, grids.bounds(s.transform, s.shape)) for s in scenes.series}
    takes = triplets.takes_of({s.name: s.times for s in scenes.series}, ground, apart_h)
    method, areas = triplets.split_scenes(shapes, takes, shares, by, patch, seed)
    notes = []
    reach = min(triplets.MIN_DISTANT, max(0.7 * triplets.reach_of(areas, patch), distance))
    undated = sum(int(s.times.isna().sum()) for s in scenes.series)
    if undated and apart_h > 0:
        notes.append(
            f"{undated} scenes have no time, so nobody knows which show the same clouds: they are one take with all scenes of their "
            "place. Give their times (scenes=FILE:time=...), or split=auto:apart_h=0 if each is of other hours."
        )
    alone = any(len(triplets.takes_in(areas, takes, s)) < 2 for s in SPLITS if counts[s])
    if min_distant is None and reach < triplets.MIN_DISTANT and alone:
        notes.append(
            f"Distant tiles of the same hours lie at least {reach:.1f} tiles away, not {triplets.MIN_DISTANT:g}: the parts are too small."
        )
    min_distant = round(float(reach if min_distant is None else min_distant), 2)
    triplets.check_room(areas, takes, patch, distance, min_distant)
    known = {"method": method, "apart_h": float(apart_h), "takes": takes, "min_distant": min_distant}
    known["areas"] = [area.as_list() for area in areas]
    return {
        "patch": int(patch), "counts": counts, "distance": float(distance), "min_distant": min_distant,
        "min_valid": float(min_valid), "seed": int(seed), "split": known, "areas": areas, "notes": notes,
    }  # fmt: skip


def read_split(split: str) -> tuple[str, float]:
    """How scenes are split, ``"auto:apart_h=12"``: (auto, scene or area; hours within which scenes of one place are one take).

    Raises
    ------
    ValueError
        For another method or option.
    """
    method, options = check_options("split", split, SPLIT)
    return method, options["apart_h"]


def read_counts(counts: str | dict[str, int]) -> dict[str, int]:
    """Number of triplets of each split: "2000/500/1000" -> {"train": 2000, "val": 500, "test": 1000}.

    Raises
    ------
    ValueError
        If there are not three whole numbers, train and val are not above 0, or one is above :data:`MOST`.
    """
    try:
        values = list(counts.values()) if isinstance(counts, dict) else [int(part) for part in str(counts).split("/")]
    except ValueError:
        values = []
    if len(values) != 3 or min(values) < 0 or min(values[:2]) == 0 or max(values) > MOST:
        raise ValueError(
            f"triplets = {counts!r} are not train/val/test. Give three whole numbers up to {MOST:,}, the first two above 0: "
            "2000/500/1000"
        )
    return dict(zip(SPLITS, values, strict=True))


def _write_table(folder: Path, cut: dict, areas: list[Area], table: pd.DataFrame | None, dataset: str) -> dict:
    """Triplets, drawn unless there is a table of them, and statistics from finished arrays; gives what the seal says."""
    import geopandas as gpd
    import zarr

    root: Any = zarr.open_group(folder / "arrays.zarr", mode="r")
    sources, split, patch = root.attrs["sources"], cut["split"], cut["patch"]
    whole = {f["name"]: np.array(f["valid"]) == f["shape"][0] * f["shape"][1] for f in sources}

    def valid_shares(source: str, t: int, corners: np.ndarray) -> np.ndarray:
        if whole[source][t]:
            return np.ones(len(corners))
        return clouds_arrays.valid_shares(root[source]["valid"][t], corners, patch)

    if table is None:
        options = {k: cut[k] for k in ("counts", "patch", "distance", "min_distant", "min_valid", "seed")}
        table = triplets.cut_triplets(areas, split["takes"], valid_shares, **options)
    table = table.assign(block=triplets.blocks_of(table, split["takes"], split["method"], patch))
    times = {name: arrays.times_of(root[name]) for name in whole}
    table = _typed(table, times, patch, dataset)
    refuse("These triplets would leak between the splits", _leaks(root, table, split, cut)[0], most=10)
    tiles = triplets.tiles_table(table)
    anchors = clouds_arrays.outlines(root, tiles[tiles["tile"] == "anchor"])
    index = gpd.GeoDataFrame(table, geometry=anchors, crs="OGC:CRS84")
    index.to_parquet(folder / "index.parquet", index=False, compression="zstd")
    statistics = clouds_arrays.statistics(root, [a for a in areas if a.split == "train"]) | cut.get("look", {})
    return {
        "datasets": [{"name": dataset}], "classes": [], "parameters": {k: v for k, v in cut.items() if k != "split"},
        "statistics": statistics, "sources": sources, "split": split,
    }  # fmt: skip


def _leaks(root: Any, table: pd.DataFrame, split: dict, cut: dict) -> tuple[list[str], float]:
    """What leaks between the splits, and the distance of the nearest two tiles of different ones, px."""
    shapes = {s["name"]: tuple(s["shape"]) for s in root.attrs["sources"]}
    known = split | {"patch": cut["patch"], "distance": cut.get("distance")}
    found, gap = leakage.leaks(table, shapes, split["takes"], known)
    if not found and split["method"] == "area" and len(shapes) > 1:
        tiles = triplets.tiles_table(table)
        found += ground_leaks(tiles, clouds_arrays.outlines(root, tiles))
    return found, gap


def _typed(table: pd.DataFrame, times: dict[str, pd.DatetimeIndex], patch: int, dataset: str) -> pd.DataFrame:
    when = [times[s][t] for s, t in zip(table["source"], table["t"], strict=True)]
    names, side = sorted(times), np.full(len(table), patch, np.int16)
    whole = ("t", "y", "x", "block", "neighbor_y", "neighbor_x", "distant_t", "distant_y", "distant_x")
    table = table.astype(dict.fromkeys(whole, np.int32) | {"valid_share": np.float32})
    table = table.assign(
        source=pd.Categorical(table["source"], names),
        dataset=pd.Categorical.from_codes(np.zeros(len(table), np.int8), [dataset]),
        time=pd.DatetimeIndex(when).as_unit("ns").tz_localize("UTC"),
        height=side,
        width=side,
        split=pd.Categorical(table["split"], SPLITS),
        distant_source=pd.Categorical(table["distant_source"], names),
    )
    return table[[column for column in INDEX_COLUMNS if column != "geometry"]]
