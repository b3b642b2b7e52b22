"""Where things lie: the project root, paths as a report shows them, the files that a parameter names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from geonb.base import objects, stac
from geonb.base.conventions import refuse

PACKAGE = Path(__file__).parents[1]
COMMAS = 8  # pieces between commas at most that one file's name may be made of
NATURAL_EARTH = PACKAGE / "natural_earth"  # coastlines and borders that travel with the package; cartopy's layout


def examples_folder() -> Path:
    """Where example data are kept."""
    return project_root() / "data" / "examples"


def objects_folder() -> Path:
    """Where what comes from object stores lies: in the project; outside of a checkout with the caches of who works here."""
    home = next(iter(checkouts()), None)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "geonb")
    return (home / "data" / "downloads" if home else cache) / "objects"


def split_files(value: str, roots: list[Path] | None = None) -> list[str]:
    """The files that a parameter names, one by one.

    ``a.gpkg:column=kind,layer=main`` is one, though it holds a comma; so is ``field, north.tif``, where there is such a file.

    Parameters
    ----------
    roots : list of Path, optional
        Where relative paths begin; here and the checkout by default.
    """
    pieces, found = re.split(r",(?!\s*\w+=)", value), []
    roots = places() if roots is None and len(pieces) > 1 else roots or []
    while pieces:
        joined = [",".join(pieces[:n]).strip() for n in range(1, min(len(pieces), COMMAS) + 1)]
        whole = next((n for n, text in enumerate(joined, 1) if _is_there(text, roots)), 1)
        found.append(joined[whole - 1])
        pieces = pieces[whole:]
    return [part for part in found if part]


def _is_there(text: str, roots: list[Path]) -> bool:
    plain = Path(_plain(text)).expanduser()
    return text != "" and any(os.path.exists(root / plain) for root in roots)  # noqa: PTH110  (no error for long texts)


def _plain(part: str) -> str:
    """A file's name without its options: polygons come as file.gpkg:column=class."""
    return re.sub(r":\w+=.*$", "", part)


def find_files(value: str, root: Path) -> dict[str, list[Path]]:
    """Files that a parameter names: part -> paths. GDAL's virtual paths (``/vsizip/...``) stand for themselves.

    Raises
    ------
    ValueError
        Of an address; see :func:`geonb.base.objects.local`.
    """
    found: dict[str, list[Path]] = {}
    for part in split_files(value, [Path(root)]):
        plain = _plain(part)
        path = Path(root, Path(plain).expanduser())
        if objects.is_address(plain):
            found[part] = _brought(plain)
        elif plain.startswith("/vsi") or is_there(path):
            found[part] = [path]
        elif any(c in plain for c in "*?["):
            anchor = Path(path.anchor)
            found[part] = sorted(anchor.glob(str(path.relative_to(anchor))))
        else:
            found[part] = []
    return found


def folder_of(item: str, roots: list[Path] | None = None) -> Path | None:
    """The folder that one of a parameter's names stands for, looked for from `roots` (here and the checkout); None if it is none.

    Raises
    ------
    ValueError
        Of an address; see :func:`geonb.base.objects.local`.
    """
    for root in places() if roots is None else roots:
        if objects.is_address(item):
            paths = _brought(item)
        else:
            paths = [root / Path(item).expanduser()]
        if len(paths) == 1 and paths[0].is_dir():
            return paths[0]
    return None


def _brought(address: str) -> list[Path]:
    """Paths on this disk of what lies elsewhere."""
    if address.startswith(stac.START):
        return objects.fresh((address, objects_folder()), lambda: stac.paths(address, objects_folder(), places()))
    return objects.local(address, objects_folder())


def at_hand(text: str | Path) -> str:
    """The name by which a file can be opened here: of an address the path on this disk, else the text itself.

    Raises
    ------
    ValueError
        Of an address; see :func:`geonb.base.objects.local`. Or it names several.
    """
    text = str(text)
    if not objects.is_address(text):
        return text
    paths = _brought(text)
    if len(paths) > 1:
        raise ValueError(f"{text} names {len(paths)} objects, and one is asked for. Name that one")
    return str(paths[0])


def is_there(path: Path) -> bool:
    """Whether something is at a path; at one that no disk could hold (5,000 letters) there is nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def project_root(start: Path | str | None = None) -> Path:
    """Return the folder with ``pyproject.toml`` and ``notebooks/``, found upwards from `start` (default: where we are).

    The environment variable ``GEONB_ROOT`` overrides.

    Raises
    ------
    FileNotFoundError
        If there is none: geonb runs notebooks from a checkout.
    """
    given = os.environ.get("GEONB_ROOT")
    if given and start is None:
        if not Path(given, "notebooks").is_dir():
            raise FileNotFoundError(
                f"GEONB_ROOT={given} has no notebooks/ folder. Unset it, or point it at a checkout."
            )
        return Path(given).resolve()
    here = Path(start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(
        f"No pyproject.toml beside a notebooks/ folder in {here} or above. geonb runs notebooks from a checkout: clone it, "
        "`make install` (or `pip install -e .`), and work inside it, or set GEONB_ROOT."
    )


def relative(path: Path | str) -> str:
    """A path as it should stand in a report that others read: relative to the project root, where it lies in it."""
    path, root = Path(path).resolve(), project_root()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def existing_files(paths: str, root: Path | None = None) -> list[Path]:
    """Files by name or glob, comma separated, looked for from here and from the project root (`root`, if it is another's).

    Raises
    ------
    ValueError
        Listing every part at which there is nothing, and where it was looked for.
    """
    faults: list[str] = []
    found = expand_files(paths, faults, "rasters", root)
    refuse("These inputs cannot be used", faults)
    return found


def expand_files(paths: str | list, faults: list[str], what: str, root: Path | None = None) -> list[Path]:
    """Files by name or glob, looked for from here, then from the project root (a notebook's "here" is its own folder)."""
    items = split_files(paths) if isinstance(paths, str) else [str(p) for p in paths]
    found: list[Path] = []
    where = places() if root is None else [Path.cwd(), root]
    for item in items:
        try:
            here = next((files for place in where for files in [find_files(item, place).get(item)] if files), [])
        except ValueError as error:
            faults.append(f"{what}: {error}")
            continue
        files = [path for path in here if path.is_file()]
        found += files
        if not files:
            faults.append(f"{what}: no file is at {item} (looked from {' and '.join(map(str, where))})")
    if not items:
        faults.append(f"{what}: no file is named")
    return found


def places() -> list[Path]:
    """Where files that a parameter names are looked for: here, then in the checkout."""
    return list(dict.fromkeys([Path.cwd(), *checkouts()]))


def checkouts() -> list[Path]:
    """The project root in a list; empty where there is none."""
    try:
        return [project_root()]
    except FileNotFoundError:  # geonb as a library, outside a checkout
        return []


def own(file: Path | str, root: Path) -> bool:
    """Whether a file speaks for the project: it lies in its root itself, or among its notebooks, and not among data and runs."""
    folder = Path(file).expanduser().resolve().parent
    return folder == root.resolve() or folder.is_relative_to(root.resolve() / "notebooks")


def plain_name(name: str, what: str) -> str:
    """A name as one folder or file may bear it, which leads nowhere else.

    Raises
    ------
    ValueError
        If it is empty, holds a slash, or begins with a dot.
    """
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(
            f"{what} = {name!r} is no name for a folder: it may not be empty, hold a slash or begin with a dot"
        )
    return name


def check_name(name: str) -> None:
    """Refuse what no folder can be called by.

    Raises
    ------
    ValueError
        If it has no letter or digit, or more than 100 letters.
    """
    if len(name.encode(errors="replace")) > 100 or not any(c.isalnum() for c in name):
        raise ValueError("must be 1 to 100 letters, at least one of them a letter or a digit: a folder is called by it")


def slug(name: str) -> str:
    """A name as a folder may bear it: small letters, digits, hyphens."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "dataset"
