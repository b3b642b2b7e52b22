"""A dataset's own preprocessing: a function of the user's, applied pixel by pixel as files are read."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from geonb.base import specs, trust
from geonb.base.conventions import short


def load(path: str, whose: str = "a file") -> Callable:
    """The function that "module:function" or "/path/file.py:function" names.

    Parameters
    ----------
    whose : what names it, for the message

    Raises
    ------
    ValueError
        If nobody on this machine named it before (see :mod:`geonb.base.trust`), it cannot be found, or is no function.
    """
    trust.demand(path, whose)
    place, _, name = path.rpartition(":")
    if not place.endswith(".py"):
        function = specs.load(path)
    else:
        file = trust.script(path)
        space: dict[str, Any] = {"__name__": file.stem, "__file__": str(file)}
        try:
            exec(compile(file.read_text(), str(file), "exec"), space)
        except Exception as error:  # whatever a user's file may raise
            raise ValueError(f"preprocess = {path!r}: {place} cannot be run ({short(error)})") from error
        functions = {k: v for k, v in space.items() if callable(v) and not k.startswith("__")}
        function = specs.pick("preprocess", name, functions)
    if not callable(function):
        raise ValueError(f"preprocess = {path!r} is no function")
    return function


def source_of(path: str) -> str:
    """The text of the file in which a `load` function stands; its module's name and version if there is none."""
    place = path.rpartition(":")[0]
    if place.endswith(".py"):
        return trust.script(path).read_text()
    function = inspect.unwrap(load(path))
    with suppress(TypeError, OSError):  # compiled
        if file := inspect.getsourcefile(function):
            return Path(file).read_text()
    return f"{path} {getattr(importlib.import_module(place.split('.')[0]), '__version__', '')}"


def apply(function: Callable, inputs: np.ndarray, name: str) -> np.ndarray:
    """Apply a dataset's own function to pixels.

    Parameters
    ----------
    inputs : ndarray (channel, y, x); 0 where there is no data
    name : str, for messages

    Raises
    ------
    ValueError
        If it fails, or gives anything but numbers of the same shape.
    """
    try:
        with np.errstate(all="ignore"):
            changed = np.array(function(inputs))  # a copy: it may hand back its own input
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(f"preprocess = {name!r} failed on {inputs.dtype} {inputs.shape}: {short(error)}") from error
    if changed.shape != inputs.shape or changed.dtype.kind not in "iuf":
        raise ValueError(
            f"preprocess = {name!r} made {changed.dtype} {changed.shape} of {inputs.dtype} {inputs.shape}. It takes and "
            "gives (channel, y, x), pixel by pixel, with as many channels"
        )
    return changed.astype(np.float32, copy=False) if changed.dtype == np.float64 else changed


def check(path: str, real: np.ndarray) -> np.dtype:
    """Try a function on pixels, and see whether parts of them come out alone as they do within the whole.

    Parameters
    ----------
    real : ndarray (channel, y, x): a piece of an image; numbers drawn at random are tried beside it

    Returns
    -------
    dtype of what it makes

    Raises
    ------
    ValueError
        If it cannot be found or fails, or does not work pixel by pixel.
    """
    function = load(path)
    top = min(np.iinfo(real.dtype).max, 10_000) if real.dtype.kind in "iu" else 1
    drawn = (np.random.default_rng(0).uniform(0, 1, (len(real), 16, 16)) * top).astype(real.dtype)
    for piece in (drawn, real):
        whole = apply(function, piece.copy(), path)
        y, x = (n // 2 for n in piece.shape[1:])
        for area in (np.s_[:, :y], np.s_[:, y:], np.s_[:, :, :x], np.s_[:, :, x:], np.s_[:, y : y + 1, x : x + 1]):
            if not piece[area].size:
                continue
            alone = apply(function, piece[area].copy(), path)
            if not np.allclose(alone, whole[area], rtol=1e-4, equal_nan=True):
                raise ValueError(
                    f"preprocess = {path!r} does not work pixel by pixel: a part of an image alone comes out differently "
                    "than within the whole, so windows would not match the scene. Use constants, not statistics of the image"
                )
    return whole.dtype
