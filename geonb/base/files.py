"""Ways of writing: whole or not at all, one at a time, and with a clear word when the disk is full."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from geonb.base.threads import spread

OLD_S = 86_400  # after which nobody is still writing
# Where a part of a file's content lies beside it: a shapefile's parts, what SQLite has not yet written into the file itself.
BESIDE = {".shp": (".dbf", ".shx", ".prj", ".cpg"), ".gpkg": (".gpkg-wal", ".gpkg-journal")}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock: who comes second waits, then finds the work done. A killed process lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file frees the lock


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all; call under a lock. A folder of that name is replaced."""
    partial, before = (folder.with_name(f"{folder.name}{ending}") for ending in (".partial", ".before.partial"))
    for left in (partial, before):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():  # without its seal, or damaged
            folder.rename(before)  # removing takes time, and a kill meanwhile would leave a half
        partial.rename(folder)
    finally:
        for left in (partial, before):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def whole_file(file: Path, ending: str = "") -> Iterator[Path]:
    """A file that appears whole or not at all: write under the name given here, and it takes the place of `file`.

    Who may read it is for the umask to say, also where a library lets in nobody but the owner. What is left under such a name,
    beside it (SQLite's journal) or by a kill a day ago, is swept.

    Parameters
    ----------
    ending : str
        Of the name to write under, for a library that goes by it.

    Raises
    ------
    ValueError
        If `file` is a folder or a device, which a file would take the place of.
    """
    if file.exists() and not file.is_file():
        kind = "a folder" if file.is_dir() else "a device"
        raise ValueError(f"{file} is {kind}, no file: nothing was written there. Give the name of a file.")
    # a name of each writer's own, on whatever node: two that write at once each replace the file, the later one stays
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}.partial{ending}")
    try:
        yield partial
        if not partial.stat().st_mode & 0o077:  # as safetensors writes: is that the umask's will?
            plain = partial.with_name(f"{partial.name}-mode")
            plain.touch()
            partial.chmod(plain.stat().st_mode & 0o777)
            plain.unlink()
        partial.replace(file)
    finally:
        for left in file.parent.glob(f"{glob.escape(file.name)}.*.partial*"):
            with suppress(OSError):  # its writer may be done with it by now
                if left.name.startswith(partial.name) or time.time() - left.stat().st_mtime > OLD_S:
                    left.unlink()


@contextmanager
def shared_folder(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder in `folder` for as long as this lasts, to be seen by other processes; those of killed owners are swept."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{prefix}*.partial"):
        with suppress(OSError), (left / ".lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its owner lives
            shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, suffix=".partial", dir=folder) as place,
        locked(Path(place) / ".lock"),
    ):
        yield Path(place)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written; call under the lock of the folder."""
    for partial in folder.glob("*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def enough_space(folder: Path, need_bytes: int) -> Iterator[None]:
    """Turn "no space left" into an error that says how much is needed, how much is there, and what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)  # h5py gives a text only
        if not full:
            raise
        free = shutil.disk_usage(folder).free
        raise OSError(
            errno.ENOSPC,
            f"No space left in {folder}: up to {need_bytes / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free. "
            "Nothing half-written was kept. Free some space, or use a folder on a larger disk",
        ) from error


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all, also if the power fails."""
    with whole_file(file) as partial, partial.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def write_json(file: Path, content: dict) -> None:
    """Write JSON whole or not at all."""
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """What a JSON file says, which must be a mapping.

    Raises
    ------
    FileNotFoundError, PermissionError
        If it is not there, or may not be read.
    ValueError
        If it is not JSON, or holds no mapping; names it.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a mapping, found {type(content).__name__}")
    return content


def say(text: str, stream: TextIO | None = None) -> None:
    """Print at once; where nobody hears it (a closed pipe, a terminal that hung up, a full disk), all that follows goes nowhere."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        mute(stream)


def mute(stream: TextIO) -> None:
    """Let all that is printed go nowhere; else what was not heard would end the interpreter with a code of its own."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def fingerprint(path: Path) -> dict:
    """path, bytes and sha256 of a file, read as a stream."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def with_sides(path: Path) -> list[Path]:
    """The file, and those beside it that are read with it (:data:`BESIDE`), as far as there is anything in them."""
    ends = [end for ending in BESIDE.get(path.suffix.lower(), ()) for end in dict.fromkeys((ending, ending.upper()))]
    sides = [path.with_suffix(end) for end in ends]
    return [path, *(side for side in sides if side.is_file() and side.stat().st_size)]


def check_shapefile(path: Path) -> None:
    """Refuse a shapefile of which a part is shorter than its header says; GDAL reads null shapes where it was cut off.

    Raises
    ------
    ValueError
        Naming the part. Of a file of another format nothing is asked.
    """
    for part in with_sides(path) if path.suffix.lower() == ".shp" else ():
        kind, there = part.suffix.lower(), part.stat().st_size
        with part.open("rb") as file:
            head = file.read(32)
        if kind in (".shp", ".shx"):
            said = max(100, 2 * int.from_bytes(head[24:28]))  # in words of 16 bits, after an own header of 100 bytes
        elif kind == ".dbf":
            records, header, length = (int.from_bytes(head[a:b], "little") for a, b in ((4, 8), (8, 10), (10, 12)))
            said = max(32, header + records * length)
        else:
            continue
        if there < said:
            raise ValueError(f"{part} is damaged or cut short: {there:,} bytes of {said:,}. Copy it again")


def fingerprints(paths: Iterable[str | Path]) -> list[dict]:
    """The `fingerprint` of each file and of what is read with it (`with_sides`), read in threads."""
    every = dict.fromkeys(side for path in paths for side in with_sides(Path(path)))
    return list(spread(fingerprint, [(path,) for path in every]))


def key_of(content: Any) -> str:
    """Sixteen hexadecimal digits that stand for anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
