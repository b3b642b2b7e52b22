"""Specifications: a thing and its options in one text, ``"unet:encoder=resnet18"``, and a helpful word when it is misspelt."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Split ``"unet:encoder=resnet18,depth=4"`` into a name and its options.

    Values are Python literals (``4``, ``0.5``, ``[1, 2]``), ``true``/``false``/``none``, whole numbers joined by hyphens
    (``2-2-4`` is ``[2, 2, 4]``), else text.

    >>> parse_spec("unet:encoder=resnet18,depth=4")
    ('unet', {'encoder': 'resnet18', 'depth': 4})

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    specs = parse_specs(text)
    if len(specs) != 1:
        raise ValueError(f"{text!r} must name one thing, as name:key=value,key=value; it names {len(specs)}.")
    return specs[0]


def pick(what: str, name: str, known: Mapping[str, Any], text: str = "", more: str = "") -> Any:
    """Take one of the known things by its name.

    Raises
    ------
    ValueError
        If there is none of that name: the nearest, and all that are known; `text` is the whole of what was given.
    """
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    where = f" in {what} = {text!r}" if text and text != name else ""
    raise ValueError(f"Unknown {what} {name!r}{where}.{hint} Known: {', '.join(sorted(known))}{more}.")


def parse_specs(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Split a comma separated list of specifications; ``key=value`` belongs to the name before it.

    >>> parse_specs("flips,noise:sigma=0.1,share=0.5")
    [('flips', {}), ('noise', {'sigma': 0.1, 'share': 0.5})]

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    form = "write name:key=value,key=value"
    specs: list[tuple[str, dict[str, Any]]] = []
    for piece in _split(text):
        head, colon, option = piece.partition(":")
        if colon and "=" not in head:
            specs.append((head.strip(), {}))
        elif "=" not in piece:
            specs.append((piece.strip(), {}))
            option = ""
        else:
            option = piece
        if not specs or not specs[-1][0]:
            raise ValueError(f"{text!r}: no name before {piece!r}; {form}.")
        options = specs[-1][1]
        if not option.strip() and not colon:
            continue
        key, equals, value = (p.strip() for p in option.partition("="))
        if not equals or not key.isidentifier() or not value:
            raise ValueError(f"{text!r}: {option.strip()!r} is not key=value; {form}.")
        if key in options:
            raise ValueError(f"{text!r}: {key!r} is given twice.")
        options[key] = _literal(value)
    if not specs:
        raise ValueError(f"{text!r} is empty; {form}.")
    return specs


def _split(text: str) -> Iterable[str]:
    """Pieces between commas that stand outside brackets."""
    depth, start = 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            yield text[start:i]
            start = i + 1
    if text.strip():
        yield text[start:]


def _literal(value: str) -> Any:
    words = {"none": None, "null": None, "true": True, "false": False}
    if value.lower() in words:
        return words[value.lower()]
    if re.fullmatch(r"\d+(-\d+)+", value):
        return [int(part) for part in value.split("-")]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def load(path: str) -> Any:
    """Import what ``"package.module:name"`` names.

    Raises
    ------
    ValueError
        If the module or the name in it cannot be imported; says which, and from where Python looked.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise  # the module was found; one of its own imports is missing
        raise ValueError(
            f"Cannot import {module!r} (from {path!r}): {error}. Install it into this environment or add its folder to PYTHONPATH."
        ) from error
    except AttributeError as error:
        raise ValueError(f"Module {module!r} has no {attribute!r} (from {path!r}).") from error
