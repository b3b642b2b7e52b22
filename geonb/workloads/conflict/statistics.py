"""Mean and standard deviation of a cube's channels over its training months, a year of one channel at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from geonb.base.threads import spread
from geonb.store.arrays import times_of
from geonb.workloads.conflict.arrays import MONTHS_AT_ONCE


def check_standardise(standardise: str | Sequence[str], inputs: Sequence[dict]) -> list[bool]:
    """Which input channels are standardised: "all", "none", or names (text with commas, or list).

    Flags and shares of months, which lie between 0 and 1, are left alone: they are 0 nearly everywhere, so that in units of
    their standard deviation an ordinary value would be dozens.

    Raises
    ------
    ValueError
        For names that are no input.
    """
    names = [c["name"] for c in inputs]
    asked = [n.strip() for n in standardise.split(",")] if isinstance(standardise, str) else list(standardise)
    if asked in (["all"], ["none"]):
        asked = names if asked == ["all"] else []
    unknown = [n for n in asked if n not in names]
    if unknown:
        raise ValueError(
            f"standardise names {', '.join(unknown)}, which is no input. Give all, none, or some of {', '.join(names)}"
        )
    return [c["name"] in asked and not (c["binary"] or _is_share(c)) for c in inputs]


def _is_share(channel: dict) -> bool:
    return channel["kind"] == "monthly" and channel.get("units") == "1"


def training_statistics(
    group: Any, inputs: Sequence[dict], flags: Sequence[bool], months: tuple[int, int]
) -> dict[str, list[float]]:
    """Mean and standard deviation of each input channel over valid cells and training months; unknown values are left out.

    Parameters
    ----------
    group : Zarr group of a cube
    inputs : list of channel records
    flags : list of bool
        Channels of False have mean 0 and standard deviation 1.
    months : tuple = (first, end)
        Half-open range of months: those that training windows may have as inputs.

    Returns
    -------
    dict with mean, std (channel,), native units; std is 1 where a channel is constant

    Raises
    ------
    ValueError
        Channels without one known value; all of them.
    """
    valid = group["valid"][:].astype(bool)
    asked = [c for c, flag in zip(inputs, flags, strict=True) if flag]
    found = dict(zip((c["name"] for c in asked), spread(_one, [(group, c, months, valid) for c in asked]), strict=True))
    empty = [name for name, pair in found.items() if pair is None]
    if empty:
        raise ValueError(
            f"No value of {', '.join(empty)} is known in the training months and the region. Leave these channels out, or "
            "give covariates of these years"
        )
    pairs = [found.get(c["name"], (0.0, 1.0)) for c in inputs]
    return {"mean": [mean for mean, _ in pairs], "std": [std for _, std in pairs]}


def _one(group: Any, record: dict, months: tuple[int, int], valid: np.ndarray) -> tuple[float, float] | None:
    """Mean and standard deviation of a channel; None if nothing is known of it."""
    n, middle, squares = 0.0, 0.0, 0.0
    for values, weight in _pieces(group, record, months):
        inside = values.astype(np.float64).ravel() if valid.all() else values[..., valid].astype(np.float64)
        known = np.isfinite(inside)
        inside = inside if known.all() else inside[known]
        if not inside.size:
            continue
        # parts are joined by their means (Chan, Golub & LeVeque 1983), as sums of squares lose digits
        more, own = weight * inside.size, inside.mean()
        inside -= own
        squares += weight * float(inside.ravel() @ inside.ravel()) + (own - middle) ** 2 * n * more / (n + more)
        middle += (own - middle) * more / (n + more)
        n += more
    if not n:
        return None
    deviation = float(np.sqrt(squares / n))
    return float(middle), deviation if deviation > 1e-12 * max(abs(middle), 1e-300) else 1.0


def _pieces(group: Any, record: dict, months: tuple[int, int]) -> Iterator[tuple[np.ndarray, int]]:
    """Values of a channel in the months, and the number of months that they stand for."""
    array, k, (start, end) = group[record["kind"]], record["position"], months
    if record["kind"] == "static":
        yield array[k], end - start
    elif record["kind"] == "monthly":
        step = MONTHS_AT_ONCE
        for begin in range(start - start % step, end, step):  # along the chunks
            yield array[max(begin, start) : min(begin + step, end), k], 1
    else:
        years = times_of(group)[start:end].year
        at = group["year"][:]
        for year, count in zip(*np.unique(years, return_counts=True), strict=True):
            yield array[int(np.flatnonzero(at == year)[0]), k], int(count)
