"""Specifications: a thing and its options in one text, ``"unet:encoder=resnet18"``, and a helpful word when it is misspelt.

What there is stands in a table, name -> options, each an :class:`Option`. Checks and help are made from it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from geonb.base.conventions import refuse

NUMBERS: dict[type, str] = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Option:
    """What an option of a specification may be.

    Attributes
    ----------
    default
        Its value where it is not given. If that is None, ``none`` may be given too.
    kind : type, optional
        int, float or bool; None for anything that `choices` or `read` let pass.
    least, most, above, below : float, optional
        Range of a number: both ends included, or without its ends.
    choices : tuple
        Allowed values; beside a number of `kind`, if there is one.
    read : callable, optional
        Takes a value that is right so far, gives what is meant by it, or raises ValueError; a text that begins with a small
        letter goes on after "key = value ".
    help : str
        A few words, with the unit.
    """

    default: Any = None
    kind: type | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    read: Callable[[Any], Any] | None = None
    help: str = ""

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        words = [f"one of {', '.join(map(_text, self.choices))}"] if self.choices else []
        if self.kind is bool:
            words = ["true or false"]
        elif self.kind is not None:
            ends = [f"above {self.above:.10g}"] if self.above is not None else []
            if self.least is not None:
                bounded = self.most is not None or self.below is not None
                ends.append(f"from {self.least:.10g}" if bounded else f"of {self.least:.10g} or more")
            ends += [f"to {self.most:.10g}"] if self.most is not None else []
            ends += [f"to below {self.below:.10g}"] if self.below is not None else []
            words.insert(0, " ".join([NUMBERS[self.kind], *ends]))
        if words and self.default is None and "none" not in self.choices:
            words.append("none")
        return ", or ".join(words)

    def take(self, value: Any) -> Any:
        """The value as it is meant.

        Raises
        ------
        ValueError
            What it must be.
        """
        if value is None and self.default is None:
            return None
        if value is None or value is False:  # both words say: without it
            value = next((c for c in self.choices if c in ("none", False)), value)
        if not any(type(value) is type(c) and value == c for c in self.choices):
            if self.choices if self.kind is None else not self._fits(value):
                near = get_close_matches(str(value), [c for c in self.choices if isinstance(c, str)], n=1)
                raise ValueError(f"must be {self.allowed}" + (f". Did you mean {near[0]!r}?" if near else ""))
            value = float(value) if self.kind is float else value
        return self.read(value) if self.read else value

    def _fits(self, value: Any) -> bool:
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        if not isinstance(value, int) and (
            self.kind is int or not isinstance(value, float) or not math.isfinite(value)
        ):
            return False
        low = -math.inf if self.least is None else self.least
        high = math.inf if self.most is None else self.most
        return (
            low <= value <= high
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


Table = Mapping[str, Mapping[str, Option]]
# faults of options that do not go together: (name, all options, those that were given) -> texts
Together = Callable[[str, dict[str, Any], Mapping[str, Any]], Iterable[str]]


def options_of(
    function: Callable[..., Any], known: Mapping[str, Option], without: Collection[str] = ()
) -> dict[str, Option]:
    """Options of a function or class: its arguments that have defaults, and what is `known` of them."""
    return {
        p.name: replace(known.get(p.name, Option()), default=p.default)
        for p in inspect.signature(function).parameters.values()
        if p.default is not p.empty and p.name not in without
    }


def check_options(what: str, text: str, table: Table, together: Together | None = None) -> tuple[str, dict[str, Any]]:
    """Check ``"name:key=value,..."`` against a table.

    Parameters
    ----------
    what : str
        The parameter, for messages.
    text : str
        As the user gave it.
    table : name -> option -> Option
    together : callable, optional
        Faults of options that do not go together; may change the options. In place of wrong ones it sees the defaults.

    Returns
    -------
    The name, and all its options, defaults included.

    Raises
    ------
    ValueError
        Lists all that is unknown (with the nearest), ill-typed or out of range, and what is allowed.
    """
    return _check(what, text, [parse_spec(text)], table, together)[0]


def check_list(
    what: str, text: str, table: Table, together: Together | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Check ``"name:key=value,name,..."``, each as :func:`check_options` does."""
    return _check(what, text, parse_specs(text), table, together)


def check_sum(what: str, text: str, table: Table, together: Together | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Check ``"name:key=value+name+..."``, each term as :func:`check_options` does."""
    return _check(what, text, [parse_spec(term.strip()) for term in text.split("+")], table, together)


def _check(
    what: str, text: str, specs: list[tuple[str, dict[str, Any]]], table: Table, together: Together | None
) -> list[tuple[str, dict[str, Any]]]:
    found, faults = [], []
    for name, given in specs:
        try:
            known = pick(what, name, table)
        except ValueError as error:
            faults.append(str(error))
            continue
        options = {key: option.default for key, option in known.items()}
        wrong = []
        for key, value in given.items():
            try:
                options[key] = pick_option(name, key, known).take(value)
            except ValueError as error:
                told = str(error)
                wrong.append(told if told[0].isupper() or told.startswith((key, name)) else f"{key} = {value!r} {told}")
        wrong += together(name, options, given) if together else []
        faults += [fault if len(specs) == 1 or fault.startswith(name) else f"{name}: {fault}" for fault in wrong]
        found.append((name, options))
    refuse(f"{what} = {text!r} is not right", faults)
    return found


def pick_option(name: str, key: str, known: Mapping[str, Option]) -> Option:
    """An option by its key; a ValueError says which there are."""
    if key in known:
        return known[key]
    near = get_close_matches(key, known, n=1)
    takes = f"it takes {', '.join(known)}" if known else "it takes no options"
    raise ValueError(f"{name} has no {key!r}; {takes}" + (f". Did you mean {near[0]!r}?" if near else ""))


def describe_table(table: Table) -> Iterator[str]:
    """A line for each name, or those that take the same: options with their defaults and what they may be."""
    for known, same in groupby(table.items(), key=lambda item: item[1]):
        shown = []
        for key, option in known.items():
            allowed = re.sub(r"^a (whole )?number (from |of )?", r"\1", option.allowed)
            about = "; ".join(filter(None, (allowed, option.help)))
            given = f"{key}={_text(option.default)}" if option.default is not None else key
            shown.append(f"{given} ({about})" if about else given)
        names = ", ".join(name for name, _ in same)
        yield f"{names}: {', '.join(shown)}" if shown else names


def _text(value: Any) -> str:
    """A value as it is written in a specification."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and value and all(isinstance(v, list | tuple) for v in value):
        return "/".join(map(_text, value))
    if isinstance(value, list | tuple):
        return "-".join(map(_text, value))
    return str(value)


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
    name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and not name.startswith(error.name):
            raise  # the module was found; one of its own imports is missing
        raise ValueError(
            f"Cannot import {name!r} (from {path!r}): {error}. Install it into this environment or add its folder to PYTHONPATH."
        ) from error
    except Exception as error:  # whatever a module may raise; or the name is none
        raise ValueError(f"Cannot import {name!r} (from {path!r}): {type(error).__name__}: {error}.") from error
    if not hasattr(module, attribute):
        raise ValueError(f"Module {name!r} has no {attribute!r} (from {path!r}).")
    return getattr(module, attribute)
