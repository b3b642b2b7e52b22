"""Triplets as three pictures each, ``00017_anchor.png``, ``00017_neighbor.png``, ``00017_distant.png``: out and in.

The layout of the sample sets that came with the original (convml-tt), in folders ``train`` and ``study``. What comes in that way
has lost its place and time: it is good for training and for looking, not for maps, and its split cannot be proved.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geonb import disk
from geonb.triplets import TILES

if TYPE_CHECKING:
    from geonb.store_scenes import TripletStore

FOLDERS = {"train": "train", "val": "val", "test": "study"}
PIECE = 256


def export_triplets(samples: TripletStore, folder: str | Path) -> Path:
    """Write every triplet as three PNGs of 8 bits, in folders train, val and study, and triplets.csv that tells where they lie.

    Parameters
    ----------
    samples : TripletStore
    folder : path
        Must not be there yet; appears whole or not at all.

    Raises
    ------
    FileExistsError
        If it is there.
    """
    from PIL import Image

    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already. Give a new folder, or remove it")
    with disk.whole_folder(folder) as partial:
        for split, name in FOLDERS.items():
            rows = np.flatnonzero(samples.index["split"] == split)
            (partial / name).mkdir()
            for tile in TILES:
                for start in range(0, len(rows), PIECE):
                    pictures = samples.tiles(rows[start : start + PIECE], tile)
                    for number, picture in enumerate(pictures, start):
                        Image.fromarray(picture).save(partial / name / f"{number:05d}_{tile}.png")
        table = samples.index.copy()
        table.insert(0, "id", table.groupby("split", observed=True).cumcount())
        table.to_csv(partial / "triplets.csv", index=False)
        facts = {k: samples.meta[k] for k in ("title", "attribution", "simulated", "notes")}
        (partial / "about.json").write_text(json.dumps(facts, indent=1))
    return folder


def find_triplets(folder: str | Path) -> dict[str, dict[str, list[Path]]]:
    """Find the triplets of a folder: split -> tile -> files, in order of their numbers.

    Raises
    ------
    ValueError
        If there are none, or triplets of which a picture is missing; names them.
    """
    folder, found, faults = Path(folder), {}, []
    places = {split: folder / name for split, name in FOLDERS.items() if (folder / name).is_dir()} or {"train": folder}
    for split, place in places.items():
        sets: dict[str, dict[str, Path]] = {}
        for file in sorted(place.glob("*.png")):
            if match := re.fullmatch(r"(\d+)_(anchor|neighbor|distant)", file.stem):
                sets.setdefault(match[1], {})[match[2]] = file
        faults += [
            f"{place}/{n}_*.png: no {', '.join(t for t in TILES if t not in s)}" for n, s in sets.items() if len(s) < 3
        ]
        if sets:
            found[split] = {tile: [s[tile] for s in sets.values() if len(s) == 3] for tile in TILES}
    if faults or not found:
        listed = (
            "\n".join(f"- {f}" for f in faults[:20])
            or f"- no {{number}}_anchor.png in {', '.join(map(str, places.values()))}"
        )
        raise ValueError(f"{folder} holds no whole set of triplets:\n{listed}")
    return found


def read_triplets(files: dict[str, list[Path]]) -> np.ndarray:
    """Pictures of one split: uint8 (triplet, tile, y, x, 3).

    Raises
    ------
    ValueError
        If a picture cannot be read or has another size than the first.
    """
    from PIL import Image, UnidentifiedImageError

    pictures = []
    for tile in TILES:
        for file in files[tile]:
            try:
                pictures.append(np.asarray(Image.open(file).convert("RGB")))
            except (OSError, UnidentifiedImageError) as error:
                raise ValueError(f"{file} is no readable picture ({error})") from None
            if pictures[-1].shape != pictures[0].shape:
                raise ValueError(f"{file} is {pictures[-1].shape[:2]} px, {files[TILES[0]][0]} {pictures[0].shape[:2]}")
    whole = np.stack(pictures)
    return whole.reshape(3, -1, *whole.shape[1:]).swapaxes(0, 1)
