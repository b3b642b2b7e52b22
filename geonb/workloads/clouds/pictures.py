"""Triplets that somebody already has as pictures, brought into a sample store: the set as it is, with no place and no time.

The layout is that of :mod:`geonb.workloads.clouds.triplet_files`. Each folder becomes a series, each
triplet a scene of it: its three pictures below
each other, without a CRS and with time NaT. So everything that reads a store of scenes reads these; what needs a place or a time
finds none, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geonb.base import project
from geonb.base.conventions import SPLITS, refuse
from geonb.store.windows import read_shares
from geonb.workloads.clouds import triplet_files
from geonb.workloads.clouds.channels import choose
from geonb.workloads.clouds.series import Scenes, Series
from geonb.workloads.clouds.triplets import TILES, Area, ends_of

NAMED = 5  # pictures at most that a note names
COLOURS = ("red", "green", "blue")
PLACELESS = "The pictures came without place and time: no figure can show where, when or how large."


class Pictures(Series):
    """The triplets of one folder, a scene each: anchor, neighbour and distant tile below each other."""

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Read one triplet: inputs uint8 (channel, y, x), valid (y, x), all of it."""
        strip = np.concatenate([triplet_files.read_picture(file) for file in self.files[i]])
        return np.moveaxis(strip, -1, 0), np.ones(self.shape, bool)


def folder_of(spec: str) -> Path | None:
    """The folder of triplets that a text names; None where it names anything else.

    Parameters
    ----------
    spec : str
        Of `geonb.workloads.clouds.dataset.open_scenes`.

    Raises
    ------
    ValueError
        If it names such a folder and something else too.
    """
    parts = project.split_files(spec)
    folders = [folder for part in parts if (folder := project.folder_of(part)) and triplet_files.has_triplets(folder)]
    if folders and len(parts) > 1:
        raise ValueError(f"scenes = {spec!r}: {folders[0]} holds triplets as pictures. Give that folder alone")
    return folders[0] if folders else None


def open_pictures(folder: Path, patch: int | None = None, **settings: Any) -> Scenes:
    """Find the triplets of a folder and look at every picture.

    Parameters
    ----------
    folder : Path
    patch : int, px, optional
        None takes the pictures' own side; another is refused.
    **settings
        Those of `geonb.workloads.clouds.dataset.open_scenes` that need a place or other channels: each must be None.

    Returns
    -------
    Scenes, with the triplets as `given`

    Raises
    ------
    ValueError
        Listing every picture that is missing, unreadable or of another size, or every setting that cannot be.
    """
    faults = [f"{name} = {value!r}" for name, value in settings.items() if value is not None]
    if faults:
        raise ValueError(
            f"{folder} holds triplets as pictures, in red, green and blue and without a place. Leave out (None): {'; '.join(faults)}"
        )
    found = triplet_files.find_triplets(folder)
    if "train" not in found:
        raise ValueError(
            f"{folder} has no folder train with triplets, only {', '.join(found)}: there is nothing to learn from"
        )
    files = {split: list(zip(*(sets[tile] for tile in TILES), strict=True)) for split, sets in found.items()}
    every = [file for mine in files.values() for three in mine for file in three]
    sums, side = triplet_files.sums_of(folder, every)
    if patch not in (None, side):
        raise ValueError(
            f"patch = {patch} px, but the pictures of {folder} are {side} x {side} px. Leave `patch` out (None), or give {side}"
        )
    series = tuple(_series(split, mine, side) for split, mine in files.items())
    about = _about(folder)
    return Scenes(
        series,
        tuple({"name": name, "units": "digital number"} for name in COLOURS),
        title=about.get("title") or "Triplets of pictures",
        name="pictures",  # not the folder's: the same pictures are the same store, wherever they lie
        attribution=about.get("attribution") or "",
        simulated=bool(about.get("simulated")),
        notes=(PLACELESS, *about.get("notes", ())),
        left_out=(),
        files=every,
        recipe={"pictures": 1, "labels": {s.name: list(s.labels) for s in series}},
        given=_table(files, sums, side),
    )


def _about(folder: Path) -> dict[str, Any]:
    """What `export_triplets` said of the set: title, attribution, simulated, notes; nothing in other sets."""
    try:
        said = json.loads((folder / "about.json").read_text())
        return said if isinstance(said, dict) else {}
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{folder / 'about.json'} is damaged ({error}): set it right, or remove it") from None


def _series(name: str, files: list[tuple[Path, ...]], side: int) -> Pictures:
    from affine import Affine

    shape = len(TILES) * side, side
    grid = shape, Affine(1, 0, 0, 0, -1, shape[0])  # pixels, the first row on top
    times = pd.DatetimeIndex([pd.NaT] * len(files), name="time").as_unit("ns")
    labels = tuple(three[0].stem.partition("_")[0] for three in files)
    return Pictures(name, times, *grid, None, COLOURS, "uint8", labels, tuple(files), (), choose(None))


def _table(files: Mapping[str, list[tuple[Path, ...]]], sums: Mapping[Path, str], side: int) -> pd.DataFrame:
    """A row a triplet, as `geonb.workloads.clouds.triplets.cut_triplets` has it, and of each tile its file and the sum of its pixels."""
    parts = []
    for split, mine in files.items():
        t = np.arange(len(mine))
        near = {"split": split, "source": split, "t": t, "y": 0, "x": 0, "neighbor_y": side, "neighbor_x": 0}
        far = {"distant_source": split, "distant_t": t, "distant_y": 2 * side, "distant_x": 0}
        part = pd.DataFrame(near | far | {"valid_share": 1.0})
        for k, tile in enumerate(TILES):
            part[f"{tile}_sum"] = [sums[three[k]] for three in mine]
            part[f"{tile}_file"] = [f"{three[k].parent.name}/{three[k].name}" for three in mine]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def settle(scenes: Scenes, patch: int | None, shares: str | tuple, seed: int, **asked: Any) -> dict[str, Any]:
    """What a store of given triplets depends on, as `store._settle` has it for drawn ones, and their table.

    Parameters
    ----------
    scenes : Scenes, of `open_pictures`
    patch : int, px, optional
    shares : str or tuple
        train/val/test, percent: how the triplets of ``train`` are dealt where there is no folder for the others.
    seed : int
    **asked
        Settings of how triplets are drawn or split that are not the usual ones: refused, there is nothing to draw.

    Raises
    ------
    ValueError
        For any of `asked`, another `patch`, or too few triplets to deal.
    """
    side = scenes.series[0].shape[1]
    faults = [
        f"{name} = {value!r}: the triplets and their split are given; leave it out" for name, value in asked.items()
    ]
    faults += [f"patch = {patch} px: the pictures are {side} px; leave it out"] if patch not in (None, side) else []
    refuse("Triplets that came as pictures are taken as they are", faults)
    table, notes = _deal(scenes.given, shares, seed)
    dealt = bool(notes)
    shared, named = _shared(table)
    notes.append(
        ("The split" if dealt else "The split is that of the folders and")
        + " cannot be proved free of leaks; intervals take each triplet for an independent one."
    )
    if shared:
        what = f"{shared} picture{'s are' if shared > 1 else ' is'} in two splits, pixel for pixel ({'; '.join(named)})"
        notes.append(f"{what}: scores are too good by that much.")
    ends = np.cumsum([len(s) for s in scenes.series])  # each triplet is a take: nobody knows which belong together
    takes = {s.name: list(range(int(end) - len(s), int(end))) for s, end in zip(scenes.series, ends, strict=True)}
    areas = [
        Area(source, split, (0, len(TILES) * side), (0, side), tuple(rows["t"].tolist()))
        for (source, split), rows in table.groupby(["source", "split"], sort=False)
    ]
    known = {"method": "given", "takes": takes, "dealt": dealt, "shared": shared}
    known["areas"] = [area.as_list() for area in areas]
    look = {"low": [0.0] * len(COLOURS), "high": [255.0] * len(COLOURS)}  # shown as they are, not stretched once more
    return {
        "patch": side, "split": known, "look": look, "areas": areas, "notes": notes, "table": table,
        **({"shares": list(read_shares(shares)), "seed": int(seed)} if dealt else {}),
    }  # fmt: skip


def _deal(given: pd.DataFrame, shares: str | tuple, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Deal the triplets of train at random to the splits that have no folder; a note if any was."""
    parts, there = dict(zip(SPLITS, read_shares(shares), strict=True)), set(given["split"])
    missing = [s for s in SPLITS if s not in there and (parts[s] > 0 or s == "val")]
    if not missing:
        return given, []
    wanted, train = ["train", *missing], np.flatnonzero(given["split"] == "train")
    if not parts["val"] and "val" in missing:
        raise ValueError(
            f"shares = {shares!r}, and there is no folder val: training needs validation. Give val a share above 0"
        )
    if len(train) < len(wanted):
        raise ValueError(f"{len(train)} triplets in train cannot be dealt to {', '.join(wanted)}: give more")
    ends = ends_of(np.cumsum([parts[s] for s in wanted]) / sum(parts[s] for s in wanted), len(train))
    order = np.random.default_rng([seed, 0xD3A1]).permutation(train)
    table = given.copy()
    for split, rows in zip(wanted, np.split(order, ends[:-1]), strict=True):
        table.loc[rows, "split"] = split
    said = f"There is no folder of triplets for {' and '.join(missing)}: those of train were dealt at random to {', '.join(wanted)}."
    return table, [f"{said} Neighbours of one scene may be in two of them: scores are optimistic."]


def _shared(table: pd.DataFrame) -> tuple[int, list[str]]:
    """How many different pictures are in more than one split, and some of them by name."""
    columns = ["split", "sum", "file"]
    tiles = pd.concat([table[["split", f"{t}_sum", f"{t}_file"]].set_axis(columns, axis=1) for t in TILES])
    tiles = tiles[tiles.groupby("sum")["split"].transform("nunique") > 1]
    groups = [g.drop_duplicates("split")["file"] for _, g in tiles.groupby("sum", sort=False)]
    return len(groups), [" = ".join(files) for files in groups[:NAMED]] + ["..."] * (len(groups) > NAMED)
