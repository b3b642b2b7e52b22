"""Triplets as three pictures each, ``00017_anchor.png``, ``00017_neighbor.png``, ``00017_distant.png``: out and in.

The layout of the sample sets that came with the original (convml-tt), in folders ``train`` and ``study``. What comes in that way
has lost its place and time: it is good for training and for looking, not for maps, and its split cannot be proved. A sample store
of it makes :mod:`geonb.workloads.clouds.pictures`.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geonb.base import files as base_files
from geonb.base import threads
from geonb.base.conventions import refuse
from geonb.workloads.clouds.triplets import TILES

if TYPE_CHECKING:
    from geonb.workloads.clouds.store import TripletStore

FOLDERS = {"train": "train", "val": "val", "test": "study"}
NAME = re.compile(r"(\d+)_(anchor|neighbor|distant)")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")  # of pictures of 8 bits
PIECE = 256
SIDES = (8, 8192)  # px, as of any other tile


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
    with base_files.whole_folder(folder) as partial:
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
    places = _places(folder)
    if any(NAME.fullmatch(file.stem) for file in (folder / "test").glob("*.png")):
        faults.append(f"{folder / 'test'}: a folder of test triplets has another name here; call it {FOLDERS['test']}")
    for split, place in places.items():
        sets: dict[str, dict[str, Path]] = {}
        for file in sorted(place.glob("*.png")):
            if match := NAME.fullmatch(file.stem):
                sets.setdefault(match[1], {})[match[2]] = file
        faults += [
            f"{place}/{n}_*.png: no {', '.join(t for t in TILES if t not in s)}" for n, s in sets.items() if len(s) < 3
        ]
        if sets:
            found[split] = {tile: [s[tile] for s in sets.values() if len(s) == 3] for tile in TILES}
    if not faults and not found:
        faults.append(f"no {{number}}_anchor.png in {', '.join(map(str, places.values()))}")
    refuse(f"{folder} holds no whole set of triplets", faults)
    return found


def _places(folder: Path) -> dict[str, Path]:
    """The folder of each split; the folder itself where it has none."""
    return {split: folder / name for split, name in FOLDERS.items() if (folder / name).is_dir()} or {"train": folder}


def has_triplets(folder: Path) -> bool:
    """Whether a folder has a picture that is named as part of a triplet, in the folders of the splits or itself."""
    return any(NAME.fullmatch(file.stem) for place in _places(folder).values() for file in place.glob("*.png"))


def read_picture(file: Path) -> np.ndarray:
    """A picture of 8 bits: uint8 (y, x, 3).

    Raises
    ------
    ValueError
        If it cannot be read, or is of more bits; names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            mode, pixels = picture.mode, np.asarray(picture.convert("RGB")) if picture.mode in MODES else None
    except (OSError, SyntaxError, UnidentifiedImageError) as error:  # SyntaxError: PIL's word for a damaged PNG
        raise ValueError(f"{file} is no readable picture ({error})") from None
    if pixels is None:
        raise ValueError(f"{file} has pixels of kind {mode}: give pictures of 8 bits a colour")
    return pixels


def sums_of(folder: Path, files: list[Path]) -> tuple[dict[Path, str], int]:
    """Read every picture of a set once.

    Returns
    -------
    dict of file -> sum of its pixels, by which the same picture is known again
    side : int, px, of all of them

    Raises
    ------
    ValueError
        Listing what cannot be read, and what is no square of the size of the first.
    """
    seen = dict(zip(files, threads.spread(_sum, [(file,) for file in files]), strict=True))
    faults = [found for found in seen.values() if isinstance(found, str)]
    sizes = {file: found[1] for file, found in seen.items() if not isinstance(found, str)}
    first, (rows, columns) = next(iter(sizes.items()), (None, (SIDES[0], SIDES[0])))
    if rows != columns or not SIDES[0] <= rows <= SIDES[1]:
        faults.append(f"{first} is {rows} x {columns} px: tiles are squares of {SIDES[0]} to {SIDES[1]} px")
    other = {file: size for file, size in sizes.items() if size != (rows, columns)}
    faults += [f"{file} is {y} x {x} px, {first} {rows} x {columns} px" for file, (y, x) in other.items()]
    refuse(f"The pictures of {folder} are no set of triplets", faults)
    return {file: found[0] for file, found in seen.items()}, rows


def _sum(file: Path) -> tuple[str, tuple[int, int]] | str:
    try:
        picture = read_picture(file)
    except ValueError as error:
        return str(error)
    return hashlib.sha256(picture.tobytes()).hexdigest(), picture.shape[:2]


def read_triplets(files: dict[str, list[Path]]) -> np.ndarray:
    """Pictures of one split: uint8 (triplet, tile, y, x, 3).

    Raises
    ------
    ValueError
        If a picture cannot be read or has another size than the first.
    """
    pictures = []
    for tile in TILES:
        for file in files[tile]:
            pictures.append(read_picture(file))
            if pictures[-1].shape != pictures[0].shape:
                raise ValueError(f"{file} is {pictures[-1].shape[:2]} px, {files[TILES[0]][0]} {pictures[0].shape[:2]}")
    whole = np.stack(pictures)
    return whole.reshape(3, -1, *whole.shape[1:]).swapaxes(0, 1)
