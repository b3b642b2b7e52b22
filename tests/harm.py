"""Every way in which a file gets lost or changes: deleted, cut short, emptied, a byte flipped; undone again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geonb.base.manifest import MANIFEST, NOTE


def cut(file: Path) -> None:
    """What is left of a copy that broke off."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def empty(file: Path) -> None:
    """What a power failure leaves."""
    file.write_bytes(b"")


def flip(file: Path) -> None:
    """One bit of the middle byte is another: a digit or a letter of a text, too, so that it may still be read."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


HARMS = {"deleted": Path.unlink, "cut": cut, "emptied": empty, "flipped": flip}


def files_of(folder: Path) -> list[Path]:
    """All files of a folder, behind links too, but what a check left there."""
    inside = [p for p in folder.rglob("*") if p.is_file()]
    for link in [p for p in folder.iterdir() if p.is_symlink() and p.is_dir()]:
        inside += [p for p in link.rglob("*") if p.is_file()]  # Python 3.11 does not follow links
    return sorted({p for p in inside if p.name != NOTE})


def unsealed(folder: Path) -> Path:
    """A folder as an earlier geonb would have written it: nobody says what must be there."""
    for file in files_of(folder):
        if file.name == MANIFEST:
            file.unlink()
    return folder


@contextmanager
def harmed(file: Path, kind: str) -> Iterator[None]:
    """A file that was harmed, and is what it was afterwards; what a check noted beside it goes, too."""
    before = file.read_bytes()
    HARMS[kind](file)
    try:
        yield
    finally:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(before)
        for folder in file.parents:
            (folder / NOTE).unlink(missing_ok=True)
            if folder.name == "data" or folder.name == "runs":
                break


def each(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file of a folder, of each array's chunks the first and the last, with every harm that there is."""
    kept: dict[str, list[Path]] = {}
    for file in files_of(folder):
        kept.setdefault(str(file).partition("/c/")[0] if "/c/" in str(file) else str(file), []).append(file)
    files = dict.fromkeys(file for group in kept.values() for file in (group[0], group[-1]))
    yield from ((file, kind) for file in files for kind in HARMS)
