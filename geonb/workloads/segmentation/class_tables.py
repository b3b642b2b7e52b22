"""Class tables: read from texts and files, and class codes turned into places in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geonb import parameters
from geonb.base import project
from geonb.base.conventions import IGNORE, short

CODES = -(2**31) + 1, 2**31 - 1  # least and largest that a class may have
# Twenty colours that stay apart, for classes whose colour nobody gave (after P. Green-Armytage 2010).
PALETTE = (
    *("#4363d8", "#e6194b", "#3cb44b", "#ffe119", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#fabed4"),
    *("#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3", "#808000", "#ffd8b1", "#000075", "#a9a9a9"),
)


def read_classes(classes: str | Path | dict | list | None) -> list[dict] | None:
    """Read a class table: "1=developed,2=water", a .csv, .yaml or .json file, or a mapping, with code, name and colour.

    Returns
    -------
    list of {"code": int, "name": str, "colour": "#rrggbb"} in the order given; None for None

    Raises
    ------
    ValueError
        Missing file, no `code=name`, a code or name twice, a code beyond `CODES`.
    """
    if classes is None:
        return None
    if isinstance(classes, dict | list):
        entries = _entries(classes)
    elif Path(str(classes)).suffix.lower() in (".csv", ".yaml", ".yml", ".json"):
        entries = _class_file(Path(project.at_hand(classes)).expanduser())
    else:
        items = (item.split("=", 1) for item in str(classes).split(","))
        entries = [dict(zip(("code", "name"), (p.strip() for p in item), strict=False)) for item in items]
    try:
        codes = [int(e["code"]) for e in entries]
        names = [str(e["name"]).strip() for e in entries]
        if any(e["name"] is None or isinstance(e["name"], bool) for e in entries):  # YAML reads a bare yes or no so
            raise TypeError
    except (KeyError, ValueError, TypeError, OverflowError):
        raise ValueError(
            f'classes = {str(classes)!r} is not a class table. Give "1=developed,2=water", or a .csv, .yaml or .json file '
            "with code and name (and colour); names such as 'yes' in quotes"
        ) from None
    given = [e["code"] for e in entries]
    if odd := [g for g, c in zip(given, codes, strict=True) if isinstance(g, bool) or float(g) != c]:
        raise ValueError(f"classes = {str(classes)!r}: code {odd[0]!r} is no whole number")
    real = [n for n in names if n != "ignore"]
    if len(set(codes)) < len(codes) or len(set(real)) < len(real) or not all(real) or not 0 < len(real) <= IGNORE:
        raise ValueError(
            f"classes = {str(classes)!r}: give each code and each name once, and 1 to {IGNORE} classes besides `ignore`"
        )
    if wide := [code for code in codes if not CODES[0] <= code <= CODES[1]]:
        raise ValueError(f"classes = {str(classes)!r}: code {wide[0]}: give codes from {CODES[0]} to {CODES[1]}")
    try:
        return class_table(dict(zip(codes, entries, strict=True)))
    except ValueError as error:
        raise ValueError(f"classes = {str(classes)!r}: {error}") from None


def class_table(entries: dict[int, dict]) -> list[dict]:
    """Complete {code: {"name", "colour"?}} with colours from PALETTE."""
    return [
        {"code": int(code), "name": str(e["name"]).strip(), "colour": _colour(e) or PALETTE[i % len(PALETTE)]}
        for i, (code, e) in enumerate(entries.items())
    ]


def _colour(entry: dict) -> str | None:
    given = entry.get("colour") or entry.get("color")
    if given is None or given == "":
        return None
    from matplotlib.colors import is_color_like, to_hex

    if not isinstance(given, str) or not is_color_like(given):
        raise ValueError(
            f'colour {given!r} of class {entry["name"]} is none. Write "#rrggbb" in quotes, or a name such as red'
        )
    return to_hex(given)


def _class_file(path: Path) -> list[dict]:
    found = next((place / path for place in project.places() if (place / path).is_file()), None)
    if found is None:
        raise ValueError(f"There is no class table {path}")
    path = found
    import yaml

    try:
        if path.suffix.lower() == ".csv":
            import pandas as pd

            # a class may be called NA or None
            return pd.read_csv(path, dtype=str, skipinitialspace=True, keep_default_na=False).to_dict("records")
        content = yaml.load(path.read_text(encoding="utf-8"), parameters.yaml_loader())  # reads JSON too
    except (yaml.YAMLError, ValueError) as error:  # pandas' are ValueErrors
        raise ValueError(f"{path} is not a class table: {short(error)}. Names with commas go in quotes") from None
    return _entries(content.get("classes", content) if isinstance(content, dict) else content)


def _entries(content: Any) -> list:
    if isinstance(content, dict):
        content = [{"code": k, **(v if isinstance(v, dict) else {"name": v})} for k, v in content.items()]
    return content if isinstance(content, list) else [content]


def targets(
    codes: np.ndarray, valid: np.ndarray, classes: tuple[dict, ...], own: tuple[dict, ...] | None = None
) -> np.ndarray:
    """Class codes -> place in the class table.

    Parameters
    ----------
    codes : ndarray (y, x) of int32
    valid : ndarray (y, x) of bool
    classes : tuple of {"code", "name", "colour"}; those named `ignore` are no classes
    own : tuple, optional
        The table that the codes come from, where it is another one: classes are the same by name.

    Returns
    -------
    ndarray (y, x) of uint8; IGNORE where there is no label, no class or no valid pixel
    """
    place = {c["name"]: i for i, c in enumerate(real_classes(classes))}
    known = [c for c in real_classes(own or classes) if c["name"] in place]
    if not known:
        return np.full(codes.shape, IGNORE, np.uint8)
    table, places = np.array([c["code"] for c in known]), np.array([place[c["name"]] for c in known], np.uint8)
    if table.min() >= 0 and table.max() < 2**16:  # look up, many times faster than search
        look_up = np.full(table.max() + 2, IGNORE, np.uint8)
        look_up[table] = places
        index = look_up[np.where((codes < 0) | (codes > table.max()), table.max() + 1, codes)]
    else:
        index = look_up_sorted(codes, table, places, IGNORE).astype(np.uint8)
    return np.where(valid, index, np.uint8(IGNORE))


def look_up_sorted(values: np.ndarray, table: np.ndarray, results: np.ndarray, missing: Any) -> np.ndarray:
    """The result that stands for each value, as `missing` where the table does not have it; for numbers of any size."""
    order = np.argsort(table)
    at = order[np.searchsorted(table, values, sorter=order).clip(max=len(table) - 1)]
    return np.where(table[at] == values, results[at], missing)


def real_classes(classes: Sequence[dict]) -> list[dict]:
    """The class table without the codes that are to be ignored."""
    return [dict(c) for c in classes if c["name"] != "ignore"]
