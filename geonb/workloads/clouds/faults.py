"""What is unfit among scenes: each read once, those without data, without contrast or unlike the others left out and told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geonb.base.conventions import short
from geonb.workloads.clouds import channels as clouds_channels
from geonb.workloads.clouds import grids

if TYPE_CHECKING:
    from geonb.workloads.clouds.channels import Choice
    from geonb.workloads.clouds.frames import Frame
    from geonb.workloads.clouds.grids import Grid

FLAT = 1 / 50  # less contrast than this share of a bright scene's is none: night
BRIGHT = 0.9  # quantile of the set's contrasts that counts as a bright scene's: most may be of the night
LOOK_PX = 100_000  # pixels from which a scene's contrast is told
HELD = 0.001  # share of the pixels from which on one number far from the others is no chance
# shares of all pixels and of those at the rim that are 0 in every channel, from which on they may be none
BLANK, BLANK_RIM = 0.01, 0.05


@dataclass
class Look:
    """A frame on its grid, and what one reading of it told."""

    frame: Frame
    order: int
    grid: Grid = field(init=False)
    channels: tuple[dict, ...] = ()
    dtype: str = ""
    spread: np.ndarray = field(init=False)  # (channel,): p99 - p1 of the valid pixels
    fill: tuple[float, float] | None = None  # a number that looks like no data, though nothing says so; its share

    @property
    def kind(self) -> tuple:
        return tuple(c["name"] for c in self.channels), self.dtype

    def unfit(self, why: Exception | str) -> Left:
        """What is said of it when it is left out."""
        names = ", ".join(map(str, self.frame.files))
        known = self.frame.label in {f.stem for f in self.frame.files}
        return Left(names, "" if known else self.frame.label, why if isinstance(why, str) else reason(why, names))

    @property
    def where(self) -> str:
        """Its files, and its label where they hold others too."""
        return self.unfit("").head


class Left(NamedTuple):
    """Something left out: its files, which of their scenes, and why."""

    files: str
    label: str
    why: str

    @property
    def head(self) -> str:
        return f"{self.files} ({self.label})" if self.label else self.files


def reason(error: Exception, name: str) -> str:
    """Why something is unfit, without its name, which is said anyway."""
    known = isinstance(error, ValueError)
    text = str(error) if known else f"it cannot be read ({type(error).__name__}: {short(error)})"
    return text.removeprefix(f"{name}: ").replace(name, "it")


def told(left_out: list[Left]) -> list[str]:
    """Lines "file: why"; scenes of a file that are unfit for one reason share a line."""
    labels: dict[tuple[str, str], list[str]] = {}
    for left in left_out:
        labels.setdefault((left.files, left.why), []).append(left.label)
    lines = []
    for (files, why), found in labels.items():
        head = Left(files, found[0], why).head
        if len(found) > 1:
            head = f"{files} ({len(found)} scenes, {found[0]} to {found[-1]})"
        lines.append(f"{head}: {why}")
    return lines


def scan(
    frames: list[Frame],
    choice: Choice,
    box: tuple | None,
    pixel_m: float | None,
    patch: int,
    min_valid: float,
    left_out: list[Left],
) -> list[Look]:
    """Read every scene once, one at a time, and tell what is unfit of each by itself."""
    kept = []
    for order, frame in enumerate(frames):
        look = Look(frame, order)
        try:
            native = clouds_channels.coarsest(clouds_channels.layers(frame, choice))
            look.grid = grids.target_grid(native, box, pixel_m)
            rows, columns = look.grid[2]
            if min(rows, columns) < patch:
                raise ValueError(
                    f"its {rows} x {columns} px are smaller than a tile of {patch} px. Give a smaller `patch`"
                )
            look.channels, inputs, valid = clouds_channels.render(frame, choice, look.grid)
            step = max(1, int(np.sqrt(valid.size / LOOK_PX)))
            thin, there = inputs[:, ::step, ::step], valid[::step, ::step]
            known = thin[:, there].astype(np.float64)
            look.dtype, look.spread = inputs.dtype.name, _spread(known)
            look.fill = _far(known) or _blank(thin, there)
            share = float(valid.mean())
            if share == 0:
                raise ValueError("none of its pixels is valid")
            if share < min_valid:
                raise ValueError(f"{share:.0%} of its pixels are valid; min_valid is {min_valid:.0%}")
        except Exception as error:  # a damaged file may raise anything; the others go on
            left_out.append(look.unfit(error))
        else:
            kept.append(look)
    return kept


def _spread(known: np.ndarray) -> np.ndarray:
    """p99 - p1 of each channel's valid pixels (channel, pixel)."""
    if not known.size:
        return np.zeros(len(known))
    low, high = np.percentile(known, (1, 99), axis=1)
    return high - low


def _far(known: np.ndarray) -> tuple[float, float] | None:
    """A number far from all others of a channel (channel, pixel), and its share: as -999 among temperatures.

    Between the two lies next to nothing, only what resampling has mixed of both; saturated clouds have grey ones beside them.
    """
    for plane in known if known.size else ():
        for number in (plane.min(), plane.max()):
            rest = plane[plane != number]
            held = plane.size - rest.size
            if held < HELD * plane.size or not rest.size:
                continue
            low, middle, high = np.percentile(rest, (25, 50, 75))
            gap = abs(middle - number)
            if gap > 5 * (high - low) > 0 and np.count_nonzero(np.abs(rest - number) < gap / 2) < held / 2:
                return float(number), held / plane.size
    return None


def _blank(inputs: np.ndarray, valid: np.ndarray) -> tuple[float, float] | None:
    """0 and its share, where pixels (channel, y, x) at the rim of what is valid are 0 in every channel: beside the Earth's disk."""
    from scipy.ndimage import binary_erosion

    zero = (inputs == 0).all(axis=0)
    rim = valid & ~binary_erosion(valid)
    if not rim.any() or zero[rim].mean() < BLANK_RIM or not BLANK <= (share := float(zero[valid].mean())) < 1:
        return None
    return 0.0, share


def unnamed_fills(looks: list[Look]) -> list[str]:
    """What is said of numbers that look like no data and are taken as data."""
    found: dict[float, list[tuple[float, Look]]] = {}
    for look in looks:
        if look.fill is not None:
            found.setdefault(look.fill[0], []).append((look.fill[1], look))
    return [
        f"{number:.6g} fills up to {max(share for share, _ in of):.1%} of {len(of)} scenes, first of {of[0][1].where}, and looks as if it "
        f"stood for no data, but no file says so: it counts as data. If it is none, say so in `scenes`: FILE:nodata={number:.6g}."
        for number, of in found.items()
    ]


def with_contrast(looks: list[Look], left_out: list[Left]) -> list[Look]:
    """Those in which there is something to see in at least one channel, beside others of the same channels."""
    bright = {
        kind: np.quantile([look.spread for look in looks if look.kind == kind], BRIGHT, axis=0)
        for kind in {look.kind for look in looks}
    }
    kept = []
    for look in looks:
        most = bright[look.kind]
        share = np.divide(look.spread, most, out=np.zeros(len(most)), where=most > 0).max()
        seen = f"its contrast is {share:.1%} of a bright scene's" if look.spread.any() else "all valid pixels are alike"
        if share >= FLAT:
            kept.append(look)
        else:
            left_out.append(look.unfit(f"nothing to see: {seen} (night?)"))
    return kept


def alike(looks: list[Look], left_out: list[Left]) -> list[Look]:
    """Those that have the channels and the type that most have."""
    if not looks:
        return looks
    counts = Counter(look.kind for look in looks)
    most = counts.most_common(1)[0][0]
    example = next(look for look in looks if look.kind == most)
    others = f"but {example.where} has {', '.join(most[0])} ({most[1]}). Choose what they share with `channels`"
    left_out += [
        look.unfit(f"it has {', '.join(look.kind[0])} ({look.dtype}), {others}") for look in looks if look.kind != most
    ]
    return [look for look in looks if look.kind == most]
