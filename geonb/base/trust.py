"""Code that a file names (a model, a store, a run, a catalogue) runs only if somebody on this machine named it before.

What was named is kept, a note each, in ``~/.local/state/geonb/trusted`` (or under ``$XDG_STATE_HOME``). A note is called by the
sum of what was named and of its source: code that changed must be named again, and nodes that share a home need no lock.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from geonb.base import project
from geonb.base.files import read_json, write_json

_HERE: set[str] = set()  # named in this process: where notes cannot be written, that is all there is


def folder() -> Path:
    """Where the notes are kept, of this user on all nodes that share the home."""
    try:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "geonb" / "trusted"
    except RuntimeError:  # a user without a home, as in some containers: nothing can be kept
        return Path(os.devnull, "geonb")


def trust(path: str, workload: str = "") -> Path:
    """Let what an import path names run wherever a file names it, from now on, as long as its source stays as it is.

    Parameters
    ----------
    path : str
        ``path/file.py:name`` or ``package.module:name``; nothing is imported here.
    workload : str
        Of a record: its name, by which files call it too.

    Returns
    -------
    Path of the note. It is not there if it cannot be written: what was named then holds in this process only.

    Raises
    ------
    ValueError
        If there is no such file or module.
    """
    key, files = _identity(path)
    note = folder() / f"{key}.json"
    _HERE.add(key)
    with suppress(OSError):
        if not note.exists():
            note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            since = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(note, {"path": _lasting(path), "workload": workload, "files": files, "since": since})
    return note


def trusted(path: str) -> bool:
    """Whether what an import path names was named on this machine, and is still as it was then."""
    try:
        key, _ = _identity(path)
    except (ValueError, OSError):
        return False
    return key in _HERE or (folder() / f"{key}.json").is_file()


def check_name(path: str) -> None:
    """Refuse an import path whose file has nothing of that name, without running it; a star may import any name.

    Raises
    ------
    ValueError
        Lists the functions and classes that there are; or there is no such file or module, or it is no Python.
    """
    file = _identity(path)[1][-1]
    if not file.endswith(".py"):
        return
    try:
        nodes = list(ast.walk(ast.parse(Path(file).read_bytes())))
    except SyntaxError as error:
        raise ValueError(f"{path!r}: {file} is no Python that can be read ({error})") from None
    made = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names = {
        alias.asname or alias.name
        for node in nodes
        for alias in getattr(node, "names", ())
        if isinstance(alias, ast.alias)
    }
    names |= {*made, *(node.id for node in nodes if isinstance(node, ast.Name))}
    if (name := path.rpartition(":")[2]) not in names and not names & {"*", "globals", "__getattr__"}:
        raise ValueError(f"{path!r}: {file} has no {name}. It has: {', '.join(made) or 'no function'}")


def demand(path: str, whose: str = "a file") -> None:
    """Refuse code that nobody on this machine named, or that is no longer as it was then.

    Parameters
    ----------
    whose : what names it, for the message

    Raises
    ------
    ValueError
        Says what would run, from where, and how to allow it; or that there is no such file or module.
    """
    files = _identity(path)[1]
    if not trusted(path):
        place = _lasting(path)
        raise ValueError(
            f"{whose} names code to run, {path!r}, and code that comes with files is not run unasked. It would run "
            f"{path.rpartition(':')[2]} of {files[-1]}, which nobody has named on this machine, or which has changed since. Read it; if "
            f"you trust it, say so once, `geonb trust {place}` or geonb.trust({place!r}), and do this again"
        )


def listed() -> list[dict[str, Any]]:
    """All notes: ``path``, ``workload``, ``files`` and ``since`` of what was named on this machine."""
    notes = []
    for file in sorted(folder().glob("*.json")):
        with suppress(OSError, ValueError):  # one that is broken tells nothing
            note = read_json(file)
            if {"path", "workload", "files", "since"} <= note.keys():
                notes.append(note)
    return notes


def script(path: str) -> Path:
    """The file of "file.py:name", looked for here, then in the project; ValueError if there is none."""
    file = Path(path.rpartition(":")[0]).expanduser()
    places = [file, *([] if file.is_absolute() else [place / file for place in project.checkouts()])]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"{path!r}: there is no file {' or '.join(map(str, places))}")
    return found


def _lasting(path: str) -> str:
    """An import path that means the same from any folder."""
    place, _, name = path.rpartition(":")
    return f"{script(path).resolve()}:{name}" if place.endswith(".py") else path


def _identity(path: str) -> tuple[str, list[str]]:
    """Sum of what an import path names and of the files that run when it is imported; those files."""
    place, _, name = path.rpartition(":")
    if not place or not name:
        raise ValueError(f"{path!r} names no code: write path/file.py:name or package.module:name")
    own = place.endswith(".py")
    files = [script(path).resolve()] if own else _files_of(place, path)
    sums = [hashlib.sha256(file.read_bytes()).hexdigest() if file else sys.version for file in files]
    said = [Path(place).name if own else place, name, *sums]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest(), [str(file or "Python itself") for file in files]


def _files_of(module: str, path: str) -> list[Path | None]:
    """The files of a module and of the packages around it, without importing one of them; None for what has no file."""
    found: list[Path | None] = []
    inside: Any = None
    for end in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:end])
        loaded = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None) if loaded else _spec(name, inside)
        if spec is None and loaded is None:
            raise ValueError(
                f"Cannot import {module!r} (from {path!r}): there is no module {name!r}. Install it into this environment or add "
                "its folder to PYTHONPATH."
            )
        inside = spec.submodule_search_locations if spec else None
        file = getattr(loaded, "__file__", None) if loaded else spec.origin if spec and spec.has_location else None
        found.append(Path(file) if file else None)
    return found


def _spec(name: str, inside: Any) -> ModuleSpec | None:
    try:
        for finder in sys.meta_path:
            if (find := getattr(finder, "find_spec", None)) and (spec := find(name, inside)):
                return spec
    except KeyError:  # a folder without __init__.py in another such: Python asks for the outer one as it was imported
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(Path(place, name.rpartition(".")[2])) for place in inside]
        return spec
    return None
