"""What a finished folder holds, and what of that is gone or changed since; presence is never proof.

``manifest.json`` is written last into a folder: path -> [bytes, sum] of every file, and, for a Zarr array with its possibly millions
of chunks, path/ -> [chunks, bytes] of them all. Presence and sizes are quick to compare; sums, and the decoding of every chunk
(whose own checksum is in the format: crc32c), are for the deep checks. A chunk that turned out to be damaged when it was read is
noted in ``damaged.txt`` beside the manifest, so that whoever made the folder makes it again. A folder without a manifest is of an
earlier geonb, or of somebody who changed it on purpose and deleted the manifest: of that only what cannot be decoded is known.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

from geonb.base.conventions import refuse, short
from geonb.base.files import key_of, locked, read_json, write_json, write_text
from geonb.base.threads import spread

MANIFEST, NOTE = "manifest.json", "damaged.txt"
CURED = "what is damaged is made again"  # in the cure of whatever a resumed run repairs
METADATA = ("zarr.json", ".zarray", ".zattrs")
SUMMED_BYTES = 2**28  # larger files are known by their size only
SMALL_BYTES = 2**22  # of such files the sums are compared whenever a folder is opened
QUICK = 20_000  # chunks that may be looked for whenever a folder is opened: a tenth of a second
Held = dict[str, list[Any]]


def held(folder: Path, names: Iterable[str] = ("",)) -> Held:
    """What a manifest says of some files or folders in a folder, by default of all: fit for JSON, and for `faults`."""
    found: Held = {}
    for name in names:
        _hold(folder, name, found)
    return found


def _hold(folder: Path, name: str, found: Held) -> None:
    place = folder / name
    if place.is_file():
        size = place.stat().st_size
        found[name] = [size, _sum(place) if size <= SUMMED_BYTES else None]
    elif place.is_dir() and not (name and place.is_symlink()):
        array = _is_array(place)
        for child in sorted(p.name for p in place.iterdir() if not array or p.name in METADATA):
            path = f"{name}/{child}" if name else child
            if path not in (MANIFEST, NOTE) and not path.endswith(".partial"):
                _hold(folder, path, found)
        if array:
            found[f"{name}/"] = list(_count(place))


def write_manifest(folder: Path) -> None:
    """Say in a folder what it holds; the last thing that is done to it."""
    found = held(folder)
    write_json(folder / MANIFEST, {"holds": found, "sum": key_of(found)})


def missing(folder: Path, deep: bool = False, most: int | None = None) -> list[str]:
    """What of a folder is gone or changed since its manifest was written: by presence, size, and the sums of small files.

    Parameters
    ----------
    deep : bool
        Also compare the sums of the others, and decode every chunk of every array, those of an earlier geonb too.
    most : int, optional
        Chunks of a folder that has more are not looked for.

    Returns
    -------
    list of str
        A sentence a file, by its path in the folder; none where all is well, or nothing is known.
    """
    if deep:
        return note(folder, _missing(folder, deep, most))
    with suppress(FileNotFoundError, NotADirectoryError):
        return (folder / NOTE).read_text(errors="replace").splitlines()
    return _missing(folder, deep, most)


def _missing(folder: Path, deep: bool, most: int | None) -> list[str]:
    if not (folder / MANIFEST).is_file():
        return list(_all_undecodable(folder)) if deep else []
    try:
        said = read_json(folder / MANIFEST)
        holds = said["holds"]
        if key_of(holds) != said["sum"]:
            raise ValueError("its own sum differs")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} cannot be read ({short(error)})"]
    return faults(folder, holds, deep, most)


def faults(folder: Path, holds: Mapping[str, list[Any]], deep: bool = False, most: int | None = None) -> list[str]:
    """As `missing`, of what is given, as `held` found it."""
    chunks = sum(first for name, (first, _) in holds.items() if name.endswith("/"))
    few = most is None or chunks <= most
    found: list[str] = []
    for name, (first, second) in holds.items():
        if not name.endswith("/"):
            summed = deep or (few and first <= SMALL_BYTES)
            found += _file_faults(folder / name, name, first, second if summed else None)
        elif few:
            found += _array_faults(folder, name, first, second, deep)
    return found


def _file_faults(file: Path, name: str, size: int, digest: str | None) -> Iterator[str]:
    try:
        here = file.stat().st_size
        if here != size:
            yield f"{name} has {here:,} bytes, not {size:,}"
        elif digest is not None and _sum(file) != digest:
            yield f"{name} is not what was written: its sum differs"
    except OSError:
        yield f"{name} is missing"


def _array_faults(folder: Path, name: str, chunks: int, size: int, deep: bool) -> Iterator[str]:
    here = _count(folder / name)
    if here == (chunks, size) and not deep:
        return
    found = list(_undecodable(folder, name.rstrip("/"), chunks, deep or here[0] == chunks))
    if here != (chunks, size) and not found:
        found = [f"{name} has {here[0]:,} chunks of {here[1]:,} bytes in all, not {chunks:,} of {size:,}"]
    yield from found


def _undecodable(folder: Path, name: str, chunks: int | None = None, decode: bool = True) -> Iterator[str]:
    """Chunks of an array that are missing, if there were as many as there can be, or, if asked, cannot be decoded."""
    import zarr

    try:
        array: Any = zarr.open_array(folder / name, mode="r")
        grid = list(product(*map(range, array.cdata_shape)))
        tasks = [(array, folder / name, name, at, len(grid) == chunks, decode) for at in grid]
        yield from filter(None, spread(_chunk_fault, tasks))
    except Exception as error:  # whatever zarr makes of broken metadata
        if _of_machine(error):
            raise
        yield f"{name} cannot be read: {type(error).__name__}: {short(error)}"


def _chunk_fault(array: Any, place: Path, name: str, at: tuple[int, ...], whole: bool, decode: bool) -> str | None:
    key = array.metadata.encode_chunk_key(at)
    if not (place / key).is_file():
        return f"{name}/{key} is missing" if whole else None
    try:
        if decode:
            array[tuple(slice(i * n, (i + 1) * n) for i, n in zip(at, array.chunks, strict=True))]
    except Exception as error:  # of a codec, or zarr's
        if _of_machine(error):
            raise
        return f"{name}/{key} is damaged ({short(error)})"
    return None


def _of_machine(error: Exception) -> bool:
    """Whether an error tells nothing of a file: memory or handles ran out, it may not be read, its disk does not answer."""
    here = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # these tell of the file
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in here)


def _all_undecodable(folder: Path) -> Iterator[str]:
    """As `_undecodable`, of all arrays in a folder."""
    for place, folders, _ in os.walk(folder):
        if _is_array(Path(place)):
            folders.clear()
            yield from _undecodable(folder, os.path.relpath(place, folder))


@contextmanager
def named(folder: Path, head: str, cure: str) -> Iterator[None]:
    """Read a Zarr in here: refused where something is missing; where it ends in an error of zarr's, the damaged files are looked for.

    Raises
    ------
    ValueError
        Listing the files that are gone or damaged, with the cure.
    """
    refuse_damaged(head, missing(folder), cure)
    try:
        yield
    except Exception as error:
        frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
        if not _of_machine(error) and any(name.split(".")[0] in ("zarr", "numcodecs") for name in frames):
            refuse_damaged(head, missing(folder, deep=True), cure, error)
        raise


def note(folder: Path, found: list[str]) -> list[str]:
    """Keep what a deep look found beside the files, for whoever makes the folder again; gives it back."""
    with suppress(OSError):  # somebody else's folder, or none: whoever reads it next finds it again
        if found:
            (folder / NOTE).write_text("".join(f"{fault}\n" for fault in found))
        else:
            (folder / NOTE).unlink()
    return found


def refuse_damaged(head: str, found: list[str], cure: str, error: Exception | None = None) -> None:
    """One ValueError that lists damaged files, if there are any, and says what makes them whole again."""
    try:
        refuse(head, found)
    except ValueError as told:
        raise ValueError(f"{told}\n{cure}") from error


def note_made(run: Path, *names: str) -> None:
    """Write into the ``run.json`` of a run folder, if it is one, what some of its files are from now on: ``made``, as of `held`.

    What it says of files beside them that are no longer there is forgotten: who made these had no use for those.
    """
    if not (run / "run.json").is_file():
        return
    found, places = held(run, names), {Path(name).parent for name in names}
    with locked(run / ".run.json.lock"):
        info = read_json(run / "run.json")
        before = (info.get("made") or {}).items()
        kept = {name: what for name, what in before if Path(name).parent not in places or (run / name).exists()}
        write_text(run / "run.json", json.dumps(info | {"made": kept | found}, indent=1) + "\n")


def gathered(check: Callable[..., Iterable[str]], *given: Any) -> list[str]:
    """The faults that a check finds. What it stumbles over is one more: no other library's exception leaves a check."""
    found: list[str] = []
    try:
        for fault in check(*given):
            found.append(fault)  # one by one: those before an exception stay
    except Exception as error:
        found.append(f"it cannot be checked to its end: {type(error).__name__}: {short(error)}")
    return found


def _is_array(place: Path) -> bool:
    if (place / ".zarray").is_file():
        return True
    try:
        return read_json(place / "zarr.json").get("node_type") == "array"
    except (OSError, ValueError):
        return False


def _count(place: Path) -> tuple[int, int]:
    """Number and bytes of the chunks of an array."""
    number = size = 0
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                more, bytes_ = _count(Path(entry.path))
                number, size = number + more, size + bytes_
            elif entry.name not in METADATA and not entry.name.endswith(".partial"):
                number, size = number + 1, size + entry.stat().st_size
    return number, size


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
