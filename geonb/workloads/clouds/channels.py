"""Which channels a scene comes with: its own, chosen ones, true colour, or what a function of the user's makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import trust
from geonb.base.conventions import short
from geonb.rasters import images, preprocessing
from geonb.workloads.clouds import goes, grids

if TYPE_CHECKING:
    from geonb.workloads.clouds.frames import Frame, FrameLayer
    from geonb.workloads.clouds.grids import Grid

TRUE_COLOUR = ("true-colour", "true-color")
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Choice:
    """What `channels` asks for: names (empty: all), or true colour, or a function."""

    text: str | None
    names: tuple[str, ...] = ()
    true_colour: bool = False
    function: Callable | None = field(default=None, compare=False)

    @property
    def recipe(self) -> dict:
        """What it depends on; a function by its source."""
        known = {"channels": self.text}
        if self.function is not None and self.text is not None:
            known["function"] = hashlib.sha256(preprocessing.source_of(self.text).encode()).hexdigest()
        return known


def check_channels(channels: str) -> None:
    """Refuse names of which there is none or one twice; a function is looked for when it is used, and not run for this.

    Raises
    ------
    ValueError
    """
    if ":" not in channels:
        choose(channels)


def choose(channels: str | None) -> Choice:
    """Read `channels`.

    Parameters
    ----------
    channels : str, optional
        None: all of a scene's own. Names, comma separated: ``C02``, ``vis,ir``. ``true-colour``. A function,
        ``path.py:function`` or ``package.module:function``, that takes a Dataset of one scene, its channels as variables
        (y, x) of float32 with NaN where there is no data, and returns a DataArray (channel, y, x).

    Raises
    ------
    ValueError
        The function cannot be found; no name, or one twice.
    """
    if channels is None:
        return Choice(None)
    text = str(channels).strip()
    if text.lower() in TRUE_COLOUR:
        return Choice(TRUE_COLOUR[0], true_colour=True)
    if ":" in text:
        try:
            trust.trust(text)  # who calls this names it; of a received run's words geonb.runs.plan asked before
            return Choice(text, function=preprocessing.load(text))
        except ValueError as error:
            told = str(error).replace("preprocess", "channels")
            raise ValueError(f"channels = {told}" if told.startswith(repr(text)) else told) from None
    names = tuple(n.strip() for n in text.split(",") if n.strip())
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"channels = {channels!r} names {'one twice' if names else 'none'}. Write names, comma separated, "
            f"{TRUE_COLOUR[0]}, or path.py:function"
        )
    return Choice(text, names)


def layers(frame: Frame, choice: Choice) -> tuple[FrameLayer, ...]:
    """The layers of a frame that have to be read.

    Raises
    ------
    ValueError
        If it has not the channels asked for: names those it has.
    """
    wanted, every = _wanted(frame, choice), (*frame.layers, *frame.others)
    own = [c["name"] for layer in every for c in layer.channels]
    if not wanted:
        if not frame.layers:
            raise ValueError(
                f"all it has are coordinates, angles or flags: name in `channels` what to use, {', '.join(own)}"
            )
        return frame.layers
    missing = [n for n in wanted if n not in own]
    if missing:
        asked = f" for {TRUE_COLOUR[0]}" if choice.true_colour else ""
        raise ValueError(f"it has no channel {', '.join(missing)}{asked}. Its channels: {', '.join(own)}")
    return tuple(layer for layer in every if {c["name"] for c in layer.channels} & set(wanted))


def _wanted(frame: Frame, choice: Choice) -> tuple[str, ...]:
    """Names of the channels that are read, in the order asked for; empty: all."""
    if not choice.true_colour:
        return choice.names
    own = {c["name"] for c in frame.channels}
    if any(name.startswith("C") and name[1:].isdigit() for name in own):
        return goes.TRUE_COLOUR
    # the bands of a picture as they are
    return () if len(own) == 3 and not set(COLOURS) <= own else COLOURS


def coarsest(chosen: tuple[FrameLayer, ...]) -> Grid:
    """(crs, transform, shape) of the layer with the largest pixels: to it the others are averaged."""
    first = max(chosen, key=lambda layer: abs(layer.transform.a * layer.transform.e))
    return first.crs, first.transform, first.shape


def render(frame: Frame, choice: Choice, grid: Grid) -> tuple[tuple[dict, ...], np.ndarray, np.ndarray]:
    """Read a scene, bring it onto a grid, then combine its channels.

    Returns
    -------
    channels : tuple of {"name", "units", optional "wavelength_um"}
    inputs : ndarray (channel, y, x), 0 where not valid
    valid : ndarray (y, x) of bool: every channel has data
    """
    channels: list[dict] = []
    planes, valid = [], np.ones(grid[2], bool)
    for layer in layers(frame, choice):
        part, there = grids.bring(layer, grid)
        channels += layer.channels
        planes.append(part)
        valid &= there
    inputs = planes[0] if len(planes) == 1 else np.concatenate(planes)  # of the widest type among them
    wanted = _wanted(frame, choice)
    if wanted:
        order = [[c["name"] for c in channels].index(n) for n in wanted]
        channels, inputs = [channels[i] for i in order], inputs[order]
    if choice.function is not None:
        return _apply(choice.function, choice.text, channels, inputs, valid, grid, frame.time)
    if choice.true_colour and wanted == goes.TRUE_COLOUR:
        inputs = goes.true_colour(inputs)
        channels = [{"name": n, "units": f"255 x reflectance^(1/{goes.GAMMA})"} for n in COLOURS]
    inputs[:, ~valid] = 0
    return tuple(channels), inputs, valid


def _apply(
    function: Callable, text: str | None, channels: list[dict], inputs: np.ndarray, valid: np.ndarray, grid: Grid, time: Any
) -> tuple[tuple[dict, ...], np.ndarray, np.ndarray]:  # fmt: skip
    """What a function of the user's makes of a scene: a variable a channel (y, x), float32, NaN where there is no data."""
    named = {}
    for c, plane in zip(channels, inputs, strict=True):
        attrs = {k: v for k, v in c.items() if k != "name"}
        named[c["name"]] = (("y", "x"), np.where(valid, plane, np.nan).astype(np.float32), attrs)
    data = images.frame(inputs, valid, grid[1], grid[0], list(named)).drop_vars(["inputs", "valid", "channel"])
    data = data.assign(named).assign_coords(time=time)
    try:
        with np.errstate(all="ignore"):
            made = function(data)
        dims, values = tuple(made.dims), np.array(made.values)
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(f"channels = {text!r} failed on {', '.join(named)}: {short(error)}") from error
    if dims != ("channel", "y", "x") or values.shape[1:] != valid.shape or values.dtype.kind not in "iuf":
        raise ValueError(
            f"channels = {text!r} made {values.dtype} {dict(made.sizes)}. It returns numbers (channel, y, x) of the "
            f"scene's {valid.shape[0]} rows and {valid.shape[1]} columns"
        )
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    valid = valid & np.isfinite(values).all(axis=0)
    values[:, ~valid] = 0
    names = made["channel"].values if "channel" in made.coords else [f"channel {i + 1}" for i in range(len(values))]
    return tuple({"name": str(n), "units": str(made.attrs.get("units", "1"))} for n in names), values, valid
