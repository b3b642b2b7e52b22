"""The sample store of chips: imagery on the grid of its chips, a table of them with their labels, dealt to the splits by parent tile.

A chip is a window of its source, ``size`` px wide and aligned with the grid, so that its quadkey says where it lies. Chips of one parent
tile, of whichever source, date or zoom, are of one split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import cluster, threads
from geonb.base import files as base_files
from geonb.base.conventions import SPLITS, refuse
from geonb.base.project import project_root, slug
from geonb.rasters import sources
from geonb.store import arrays, leakage, windows
from geonb.store import faults as store_faults
from geonb.store.sealing import FORMAT, make_store, seen_from
from geonb.store.store import Store, row_attrs
from geonb.workloads.chips import cutting, quadkeys
from geonb.workloads.chips.dataset import Imagery, Labelling, Strip

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from distributed import Client

    from geonb.workloads.chips.loaders import Chips

COLUMNS = (
    "source", "quadkey", "zone", "parent", "y", "x", "height", "width", "split", "block", "valid_share", "labels", "geometry",
)  # fmt: skip
HAS = "has "  # begins the column of a class: 1 there, 0 not, -1 not known
NONE = "none", "#9a9a9a"  # a chip without any label, and its colour
UNKNOWN = "not known", "#dcdcdc"  # one of which nobody said what is on it
STRETCHED = 64  # chips that say how bright a store is
STRIP_PX = 512  # rows that are warped at once
OSM = "Labels: © OpenStreetMap contributors, ODbL"  # as https://www.openstreetmap.org/copyright asks
ENOUGH = 30  # parent tiles, below which a deeper level is taken where nobody asked for one


@dataclass(frozen=True, repr=False)
class ChipStore(Store):
    """A sealed store of chips. `store[i]` is chip i with its labels."""

    def __getitem__(self, i: int) -> xr.Dataset:
        """Chip i: inputs (channel, y, x), valid (y, x), targets (class,): 1 there, 0 not, NaN not known; its row as attrs."""
        row = self.index.iloc[i]
        y, x = int(row["y"]), int(row["x"])
        area = {"y": slice(y, y + int(row["height"])), "x": slice(x, x + int(row["width"]))}
        chip = self._grids[row["source"]].isel(area).load()
        chip = chip.assign(targets=("class", self.targets(np.array([i]))[0])).assign_coords({"class": self.names})
        chip.attrs |= row_attrs(row[[c for c in row.index if not c.startswith(HAS)]])
        return chip

    @property
    def names(self) -> list[str]:
        """Names of the classes, in order."""
        return [c["name"] for c in self.classes]

    @cached_property
    def stretch(self) -> tuple[list[int], list[tuple[float, float]]]:
        """Bands shown as red, green and blue, and the values between which each is: the 2nd and 98th percentile of chips spread over the
        store; of bytes in three bands, as pictures are, 0 and 255."""
        from geonb.plots.maps import default_bands, percentiles

        bands = default_bands(self.channels)
        bands = bands * 3 if len(bands) == 1 else bands
        if len(self.channels) == 3 and next(iter(self._grids.values()))["inputs"].dtype == np.uint8:
            return bands, [(0.0, 255.0)] * 3
        drawn = np.unique(np.linspace(0, len(self) - 1, min(len(self), STRETCHED)).astype(int))
        chips = [self[int(row)] for row in drawn]
        seen = [chip["inputs"].to_numpy()[bands][:, chip["valid"].to_numpy().astype(bool)] for chip in chips]
        return bands, [percentiles(band) for band in np.concatenate(seen, axis=1).astype(np.float32)]

    @cached_property
    def _targets(self) -> np.ndarray:
        return self.index[[HAS + name for name in self.names]].to_numpy(np.int8)

    def targets(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Labels of some chips: float32 (chip, class), 1 there, 0 not, NaN not known."""
        found = self._targets[np.asarray(rows)].astype(np.float32)
        return np.where(found < 0, np.nan, found)

    def windows(self, split: str | None = None, augment: str = "none", seed: int = 0) -> Chips:
        """The chips as standardised tensors, see :class:`geonb.workloads.chips.loaders.Chips`."""
        from geonb.workloads.chips.loaders import Chips

        return Chips(self, split, augment, seed)

    def labels(self, items: list[dict]) -> list[str]:
        """The rarest label of each of some items of `windows`: what tells it from the others; "none" where it has none, "not known"
        where it may have some."""
        share = np.asarray(self.meta["prevalence"])
        found = []
        for item in items:
            targets = np.asarray(item["targets"])
            there = np.flatnonzero(targets > 0.5)
            nothing = (NONE if np.isfinite(targets).all() else UNKNOWN)[0]
            found.append(self.names[there[share[there].argmin()]] if len(there) else nothing)
        return found

    def words(self, row: int) -> str:
        """What is on a chip, for a person: its labels, and of which nobody knows."""
        targets = self.targets([row])[0]
        there, unknown = (
            [name for name, is_so in zip(self.names, so, strict=True) if is_so]
            for so in (targets == 1, np.isnan(targets))
        )
        if not unknown:
            return ", ".join(there) or "no label"
        rest = (
            ""
            if len(unknown) == len(targets)
            else f": {', '.join(unknown)}"
            if len(unknown) < 4
            else f": {len(unknown)} labels"
        )
        return "; ".join([*([", ".join(there)] if there else []), UNKNOWN[0] + rest])

    @property
    def legend(self) -> dict[str, str]:
        """Every label there can be, with its colour."""
        return {c["name"]: c["colour"] for c in self.classes} | dict([NONE, UNKNOWN])

    def check_split(self) -> dict:
        """Prove from the table itself that no parent tile is in two splits, and that chips of different zones share no ground.

        Returns
        -------
        dict with method, counts (chips and parent tiles of each split), smallest_gap_m (0: parent tiles adjoin), leaks (0), said

        Raises
        ------
        ValueError
            Listing what leaks.
        """
        refuse(f"The split of {self.path} leaks", self._leaks())
        level, index = self.meta["split"]["level"], self.index
        counts = {
            "chips": {s: int((index["split"] == s).sum()) for s in SPLITS},
            "parent tiles": {s: int(index.loc[index["split"] == s, "parent"].nunique()) for s in SPLITS},
        }
        said = (
            f"Split by parent tile of level {level}: chips of one parent tile, of whichever image, date or zoom, are of one split. Parent "
            "tiles of different splits may adjoin."
        )
        method = f"parent tile of level {level}"
        return {"method": method, "counts": counts, "smallest_gap_m": 0.0, "leaks": 0, "said": said}

    def _leaks(self) -> list[str]:
        index, level = self.index, self.meta["split"]["level"]
        cells = [quadkeys.Cell(key, int(zone)) for key, zone in zip(index["quadkey"], index["zone"], strict=True)]
        wrong = [
            cell.name() for cell, parent in zip(cells, index["parent"], strict=True) if parent_of(cell, level) != parent
        ]
        found = [f"{name} stands under another parent tile" for name in wrong[:20]]
        several = index.groupby("parent", observed=True)["split"].nunique()
        found += [f"parent tile {parent} is in several splits" for parent in several[several > 1].index[:20]]
        if len({(cell.zone, cell.zoom) for cell in cells}) > 1:
            import geopandas as gpd

            outlines = gpd.read_parquet(self.path / "index.parquet").geometry.to_numpy()
            found += leakage.ground_leaks(index, outlines)
        return found

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store beyond missing keys, see `check_store`."""
        root, found = store_faults.open_arrays(self.path)
        channels = len(self.channels)
        for name, shape in self._shapes.items() if root is not None else ():
            found += store_faults.shape_faults(
                root, name, {"inputs": (channels, *shape), "valid": shape}, filled=["inputs"]
            )
            if deep and not found:
                found += store_faults.centre_faults(root, name)
        found += store_faults.statistics_faults(self.meta, channels)
        missing = store_faults.column_faults(self.path, (*COLUMNS, *(HAS + name for name in self.names)))
        return found + (missing or [f"index.parquet: {fault}" for fault in self._leaks()])


def parent_of(cell: quadkeys.Cell, level: int) -> str:
    """Name of the tile of a level that holds a chip."""
    return quadkeys.Cell(cell.quadkey[:level], cell.zone).name()


def write_store(
    imagery: Imagery, labels: Labelling, *, parent: int | None = None, shares: str | tuple[float, float, float] = "60/20/20",
    seed: int = 0, min_valid: float = 0.5, name: str | None = None, workload: str = "chips", root: Path | None = None,
    client: Client | None = None,
) -> ChipStore:  # fmt: skip
    """Lay imagery on its grid, label the chips, deal parent tiles to the splits: a sealed store, or the one that is there.

    Parameters
    ----------
    parent : int, optional
        Level of the tiles that are dealt to the splits; 12, or a deeper one where that gives less than ENOUGH tiles.
    shares : str or tuple
        train/val/test, in percent, of parent tiles, so that every class comes near its share in each.
    min_valid : float, 0-1
        Chips with a smaller share of valid pixels are left out.
    name : str, optional
        First part of the folder's name.
    root : Path, optional
        The store goes to root / "data" / workload; the project root by default.
    client : optional
        A `dask.distributed.Client` whose workers lay the imagery on its grid; they see the same files.

    Raises
    ------
    ValueError
        Every fault of the inputs, before anything is written.
    OSError
        No space left: says how much is needed; nothing half-written remains.
    """
    parts = windows.read_shares(shares)
    zooms = [strip.lattice.zoom for strip in imagery.strips]
    if parent is not None and not 1 <= parent <= min(zooms):
        raise ValueError(f"parent = {parent}: chips are of zoom {min(zooms)}, so give 1 to {min(zooms)}, or None")
    base = Path(root) if root else project_root()
    read = imagery.files | {file: sources.files_of(file) for file in labels.files}
    inputs = base_files.fingerprints(sorted({file for found in read.values() for file in found}))
    sums = {Path(i["path"]): i["sha256"] for i in inputs}
    contents = {path: sources.stamps(found, sums.__getitem__) for path, found in read.items()}
    cut = {
        "grid": imagery.grid, "size": imagery.size, "parent": parent, "shares": list(parts), "seed": int(seed),
        "min_valid": float(min_valid), "labels": labels.recipe | {"contents": [contents[file] for file in labels.files]},
    }  # fmt: skip
    facts = {k: getattr(imagery, k) for k in ("title", "simulated", "attribution", "channels")}
    facts["notes"] = list(imagery.notes)
    if labels.is_osm:
        facts["attribution"] = ". ".join(filter(None, (facts["attribution"], OSM)))
    folder = make_store(
        "chips", lambda path: write_arrays(imagery, path, client=client),
        lambda path: _write_table(path, cut, labels, imagery, base),
        recipe=_preparation(imagery, contents), cut=cut, facts=facts, files=inputs, name=slug(name or imagery.name),
        workload=workload, root=root,
    )  # fmt: skip
    return ChipStore.open(folder)


def _preparation(imagery: Imagery, contents: dict[Path, list]) -> dict:
    """What the arrays depend on, and nothing else."""
    return {
        "format": FORMAT, "chips": 1,
        "sources": [
            {
                "name": s.name, "image": [c for path in s.image.paths for c in contents[path]], "bands": s.image.bands,
                "channels": s.image.channels, "zone": s.lattice.zone, "zoom": s.lattice.zoom, "size": s.lattice.size,
                "columns": [s.lattice.columns.start, s.lattice.columns.stop], "rows": [s.lattice.rows.start, s.lattice.rows.stop],
                "south": s.lattice.south,
            }
            | ({"date": s.date} if s.date else {})
            for s in imagery.strips
        ],
    }  # fmt: skip


def write_arrays(imagery: Imagery, folder: Path, workers: int | None = None, client: Client | None = None) -> None:
    """Bring imagery onto disk as one Zarr, a group a source, on the grid of the chips."""
    facts, tasks, need = [], [], 0
    for strip in imagery.strips:
        image, lattice = strip.image, strip.lattice
        shape = (len(image.bands), *lattice.shape)
        data = arrays.empty_frame(shape, image.dtype, lattice.transform, lattice.crs, image.channels)
        several = max(1, STRIP_PX // lattice.size)
        group = arrays.create_group(folder, strip.name, data, several * lattice.size)
        need += data["inputs"].nbytes + data["valid"].nbytes
        starts = range(lattice.rows.start, lattice.rows.stop, several)
        tasks += [(group, strip, range(start, min(start + several, lattice.rows.stop))) for start in starts]
        facts.append(
            arrays.source_facts(strip.name, lattice.crs, lattice.transform, lattice.shape) | {"date": strip.date}
        )
    with base_files.enough_space(folder.parent, need):
        for _ in cluster.spread(_fill, tasks, client, folder.parent, workers):
            pass
        arrays.seal(folder, facts)


def _fill(group: Any, strip: Strip, rows: range) -> None:
    to = arrays.writable(group)
    read = list(cutting.warped(strip.image, strip.lattice, rows))
    first = strip.lattice.slices(strip.lattice.columns.start, rows.start)[0].start
    span = slice(first, first + len(rows) * strip.lattice.size)
    to["inputs"][:, span] = np.concatenate([inputs for _, inputs, _ in read], axis=1)
    to["valid"][span] = np.concatenate([valid for _, _, valid in read])


def _write_table(folder: Path, cut: dict, labels: Labelling, imagery: Imagery, base: Path) -> dict:
    """Chips, labels, split and statistics from finished arrays; gives what the seal says of them."""
    import zarr

    root: Any = zarr.open_group(folder / "arrays.zarr", mode="r")
    index = pd.concat([_chips(root[s.name], s, cut["min_valid"]) for s in imagery.strips], ignore_index=True)
    if index.empty:
        raise ValueError(
            f"No chip has {cut['min_valid']:.0%} valid pixels. Give a smaller `min_valid`, or other images"
        )
    chips = _placed(index)
    targets, classes, notes = labels.of(chips)
    names = [c["name"] for c in classes]
    for name, values in zip(names, targets.T, strict=True):
        chips[HAS + name] = np.where(np.isfinite(values), values, -1).astype(np.int8)
    chips["labels"] = [", ".join(n for n, v in zip(names, row, strict=True) if v == 1) for row in targets]
    level, split = _deal(chips, targets, cut)
    chips.to_parquet(folder / "index.parquet", index=False)
    training = targets[(chips["split"] == "train").to_numpy()]
    known = np.isfinite(training)
    if not known.any():
        raise ValueError(
            f"Of none of the {len(training):,} training chips is known what is on it. {' '.join(notes)} Are these labels of this place?"
        )
    prevalence = np.where(known, training, 0).sum(0) / np.maximum(known.sum(0), 1)
    facts = [source | {"dataset": imagery.name} for source in root.attrs["sources"]]
    for source, strip in zip(facts, imagery.strips, strict=True):
        source |= {"image": [seen_from(base, path) for path in strip.image.paths], "zoom": strip.lattice.zoom}
    return {
        "classes": classes, "prevalence": prevalence.tolist(), "parameters": cut, "sources": facts, "split": split,
        "statistics": _statistics(root, chips),
        "notes": [*imagery.notes, *notes, *_told(chips, names, level, cut)],
    }  # fmt: skip


def _chips(group: Any, strip: Strip, min_valid: float) -> pd.DataFrame:
    """The chips of a source with enough valid pixels: where they lie in it, and in the grid."""
    lattice, size = strip.lattice, strip.lattice.size
    shares = np.stack([
        group["valid"][top : top + size].reshape(size, -1, size).mean(axis=(0, 2)) for top in range(0, lattice.shape[0], size)
    ])  # fmt: skip
    row, column = np.nonzero(shares >= max(min_valid, 1e-9))
    at = zip(row.tolist(), column.tolist(), strict=True)
    cells = [lattice.cell(lattice.columns.start + c, lattice.rows.start + r) for r, c in at]
    own = cutting.own(strip.image, cells)
    row, column, cells = row[own], column[own], [cell for cell, mine in zip(cells, own, strict=True) if mine]
    table = pd.DataFrame(
        {"source": strip.name, "quadkey": [cell.quadkey for cell in cells], "zone": lattice.zone},
        index=range(len(cells)),
    )
    return table.assign(
        y=row * size, x=column * size, height=size, width=size, valid_share=shares[row, column].astype(np.float32),
        time=pd.Timestamp(strip.date) if strip.date else pd.NaT,
    )  # fmt: skip


def _placed(index: pd.DataFrame) -> gpd.GeoDataFrame:
    import geopandas as gpd

    cells = [quadkeys.Cell(key, int(zone)) for key, zone in zip(index["quadkey"], index["zone"], strict=True)]
    return gpd.GeoDataFrame(index, geometry=quadkeys.footprints(cells), crs="OGC:CRS84")


def _deal(chips: gpd.GeoDataFrame, targets: np.ndarray, cut: dict) -> tuple[int, dict[str, Any]]:
    """Deal parent tiles to the splits; writes ``parent``, ``block`` and ``split``, gives the level and what the seal says."""
    cells = [quadkeys.Cell(key, int(zone)) for key, zone in zip(chips["quadkey"], chips["zone"], strict=True)]
    deepest = min(cell.zoom for cell in cells)
    level = cut["parent"] or min(quadkeys.PARENT, deepest)
    while cut["parent"] is None and level < deepest and len({parent_of(c, level) for c in cells}) < ENOUGH:
        level += 1
    chips["parent"] = [parent_of(cell, level) for cell in cells]
    block, parents = pd.factorize(chips["parent"], sort=True)
    counts = np.zeros((len(parents), targets.shape[1] + 1))
    np.add.at(counts, block, np.column_stack([np.nan_to_num(targets), 1 + np.zeros(len(block))]))
    dealt = windows.spatial_split(counts, tuple(cut["shares"]), cut["seed"])
    chips["block"] = block.astype(np.int32)
    chips["split"] = pd.Categorical([SPLITS[code - 1] for code in dealt[block]], SPLITS)
    of = {parent: SPLITS[code - 1] for parent, code in zip(parents, dealt, strict=True)}
    return level, {"method": f"parent tile of level {level}", "level": level, "of": of}


def _statistics(root: Any, chips: gpd.GeoDataFrame) -> dict:
    """Mean, standard deviation and covariance over the valid pixels of the training chips."""
    training = chips[chips["split"] == "train"]

    def moments(row: Any) -> tuple[int, Any, Any]:
        box = slice(row.y, row.y + row.height), slice(row.x, row.x + row.width)
        valid = root[row.source]["valid"][box].astype(bool)
        return arrays.moments_of(root[row.source]["inputs"][(slice(None), *box)][:, valid])

    return arrays.merged(threads.spread(moments, ((row,) for row in training.itertuples())))


def _told(chips: gpd.GeoDataFrame, names: list[str], level: int, cut: dict) -> list[str]:
    """What a reader should know of the labels and the split."""
    notes = []
    if cut["parent"] is None and level != quadkeys.PARENT:
        tiles = chips["parent"].nunique()
        notes.append(f"Split by parent tiles of level {level}, not {quadkeys.PARENT}: {tiles} of them hold chips.")
    if level >= chips["quadkey"].str.len().max():
        notes.append(
            f"Chips are dealt one by one (level {level} is their own): neighbours may be of two splits, and scores are kinder for it."
        )
    unknown = int((chips[[HAS + name for name in names]] < 0).all(axis=1).sum())
    if unknown:
        notes.append(
            f"{unknown:,} of {len(chips):,} chips lie where nobody said what is there: they have no labels, and no score counts them."
        )
    for split in SPLITS:
        mine = chips[chips["split"] == split]
        lacking = [name for name in names if len(mine) and not (mine[HAS + name] == 1).any()]
        if lacking:
            notes.append(f"The {split} split has no chip with {', '.join(lacking)}.")
    return notes
