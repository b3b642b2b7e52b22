"""A live stream in blocks of a few seconds: filtered, at one rate, with the direction and power of what crosses the array.

A block is a function of the samples in it and of as much before it as its filter remembers, not of how packets came. It is prepared again
once a late packet changes one of these samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from geonb.waveforms import archives, preparation
from geonb.waveforms import beams as beaming
from geonb.waveforms.rings import Ring

DECAYED = 1e-4  # what a filter may still remember of what was before a block
TAPER_S = 5.0
TOGETHER = 64  # blocks prepared at once
GRID = beaming.slowness_grid(0.4, 0.04)  # s/km


class Block(NamedTuple):
    """A few seconds of an array or of one sensor."""

    values: np.ndarray  # (sensor, component, sample), 0 where there is none
    known: np.ndarray  # of that shape
    power: float  # mean square of the strongest beam, or of the trace
    semblance: float
    back_azimuth: float
    slowness: float
    onset_s: float  # where the trace changes most in the block and the one before, s from the beginning of the block


class Blocks:
    """The blocks of an array, or of one sensor: ``blocks[b]`` begins b steps after 1970 began, and is None if nothing is known.

    Parameters
    ----------
    sensors : NET.STA[.LOC], as the ring names them
    components : the first is that whose direction and power are measured
    place_km : array (sensor, 2), east and north; NaN where not known
    filters, rate_hz : as :func:`geonb.waveforms.preparation.prepare` takes them
    step_s : float, s; it holds whole samples
    scanned : bool
        Look for the direction, which takes three sensors whose places are known.
    """

    def __init__(
        self, ring: Ring, sensors: Sequence[str], components: Sequence[str], place_km: np.ndarray, filters: str, rate_hz: float,
        step_s: float, scanned: bool = True,
    ) -> None:  # fmt: skip
        self.ring, self.sensors, self.components = ring, list(sensors), list(components)
        self.place_km, self.placed, self.scanned = place_km, np.isfinite(place_km).all(1), scanned
        self.filters, self.rate = filters, float(rate_hz)
        self.step_ns, self.per = round(step_s * 1e9), round(step_s * self.rate)
        self.run_in = round(max(run_in_s(filters, self.rate), step_s) * self.rate)
        self.run_in_ns = round(self.run_in / self.rate * 1e9)
        self.notes: list[str] = []
        options = preparation.check_filters(filters)[1]
        self.band = options.get("low", 0.0), options.get("high", self.rate / 2)
        self._blocks: dict[int, Block | None] = {}

    def __getitem__(self, b: int) -> Block | None:
        self.need([b])
        return self._blocks[b]

    @property
    def ahead_ns(self) -> int:
        """How long after a block samples must be there, see :meth:`geonb.waveforms.rings.Ring.ahead_s`."""
        return round(self.ring.ahead_s(self.sensors, self.rate) * 1e9)

    def forget(self, begin: int, end: int) -> tuple[int, int]:
        """Prepare again what samples from begin to end (ns) enter; the first and the last block of that."""
        first, last = (begin - self.ahead_ns) // self.step_ns, (end + self.run_in_ns) // self.step_ns
        for b in range(first, last + 1):
            self._blocks.pop(b, None)
        return first, last

    def forget_before(self, begin: int) -> None:
        """Blocks that end before a time (ns) are no longer needed."""
        self._blocks = {b: block for b, block in self._blocks.items() if (b + 1) * self.step_ns > begin}

    def need(self, blocks: Iterable[int]) -> None:
        """Prepare blocks that are not there yet, those that follow one another together."""
        missing = sorted({b for b in blocks if b not in self._blocks})
        most = (
            1 if self.ahead_ns else TOGETHER
        )  # a rate is changed block by block, so that all that enters one is of one stretch
        for _, run in groupby(enumerate(missing), lambda one: one[1] - one[0]):
            mine = [b for _, b in run]
            for i in range(0, len(mine), most):
                self._prepare(mine[i], len(mine[i : i + most]))

    def _prepare(self, first: int, count: int) -> None:
        ahead_ns = self.ahead_ns if count == 1 else 0
        begin, end = first * self.step_ns - self.run_in_ns, (first + count) * self.step_ns + ahead_ns
        raw, raw_hz = self.ring.read(self.sensors, self.components, begin, end, self.rate)
        length = round((end - begin - (count - 1) * self.step_ns) / 1e9 * raw_hz)
        parts = np.moveaxis(sliding_window_view(raw, length, -1)[:, :, :: self.per][:, :, :count], 2, 0)
        parts = np.where(self._faulty(parts, raw_hz)[..., None], np.nan, parts)  # (block, sensor, component, time)
        known = np.isfinite(parts)
        new = preparation.filtered(parts, raw_hz, self.filters, self.rate, taper_s=TAPER_S)
        new = np.where(known.any(-1, keepdims=True), new, 0)[..., : self.run_in + self.per].astype(np.float32)
        at = np.minimum(np.round((self.run_in + np.arange(self.per)) * raw_hz / self.rate).astype(int), length - 1)
        known = known[..., at]
        found = self._directions(np.where(known.any(-1)[:, :, :1, None], new[:, :, :1, self.run_in :], np.nan))
        for i in range(count):
            seen = known[i, :, 0].any(-1)
            if not known[i].any():
                self._blocks[first + i] = None
                continue
            trace = (
                new[i, seen, 0, self.run_in - self.per :].mean(0) if seen.any() else np.zeros(2 * self.per, np.float32)
            )
            power, semblance, azimuth, slowness = (float(each[i]) for each in found) if found else (np.nan,) * 4
            power = power if np.isfinite(power) else float(np.square(trace[self.per :]).mean())
            onset = _onset(trace, self.per) / self.rate
            self._blocks[first + i] = Block(
                new[i, ..., self.run_in :], known[i], power, semblance, azimuth, slowness, onset
            )

    def _faulty(self, parts: np.ndarray, raw_hz: float) -> np.ndarray:
        """Which traces (block, sensor, component) no one should look at: as :func:`geonb.waveforms.archives.trace_fault` says."""
        known = np.isfinite(parts)
        low, high = np.where(known, parts, np.inf).min(-1), np.where(known, parts, -np.inf).max(-1)
        same = np.diff(parts, axis=-1) == 0
        still = np.zeros(same.shape[:-1], int)
        many = 2 * same.sum(-1) > parts.shape[-1] - 2  # only such can hold a long run of one value
        still[many] = preparation.longest(same[many])
        suspect = (high <= low) | (np.maximum(-low, high) >= 2**31 - 1) | (2 * still > parts.shape[-1] - 2)
        suspect |= np.isinf(parts).any(-1)
        suspect &= known.sum(-1) > raw_hz  # of less nobody can say
        for b, s, c in np.argwhere(suspect):
            why = archives.trace_fault(parts[b, s, c], raw_hz)
            suspect[b, s, c] = why != "" and not why.startswith("clipped")
            self.notes += [f"{self.sensors[s]} {self.components[c]}: {why}, left out"] * bool(suspect[b, s, c])
        return suspect

    def _directions(self, values: np.ndarray) -> list[np.ndarray] | None:
        """Power, semblance, back-azimuth and slowness of blocks (block, sensor, 1, time); None where there are no beams."""
        if not self.scanned or self.placed.sum() < beaming.FEWEST:
            return None
        together = np.moveaxis(values, 0, 2).reshape(len(self.sensors), 1, -1)
        waves = preparation.dataset(
            together, self.sensors, ["Z"], {"rate_hz": self.rate, "start": "2000-01-01", "notes": []}
        )
        waves = waves.assign_coords(
            east_m=("sensor", self.place_km[:, 0] * 1e3), north_m=("sensor", self.place_km[:, 1] * 1e3)
        )
        length = self.per / self.rate
        found = beaming.scan(waves.isel(sensor=self.placed), GRID, length, length, band=self.band)
        return [found[name].to_numpy() for name in ("power", "peak", "back_azimuth", "slowness")]


def _onset(trace: np.ndarray, first: int) -> float:
    """Sample, counted from `first`, at which a trace changes most: the least of Akaike's criterion (Maeda 1985)."""
    squared = np.square(trace.astype(np.float64))
    n, edge, total = len(squared), 8, np.cumsum(squared)
    if n <= 2 * edge or not total[-1] > 0:
        return np.nan
    k = np.arange(edge, n - edge)
    tiny = 1e-12 * total[-1] / n
    before, after = total[k - 1] / k + tiny, (total[-1] - total[k - 1]) / (n - k) + tiny
    return float(k[np.argmin(k * np.log(before) + (n - k) * np.log(after))] - first)


def run_in_s(filters: str, rate_hz: float) -> float:
    """How long before a block its filter begins, so that the taper is over and only DECAYED left of what was before: whole seconds."""
    from scipy.signal import sosfilt

    sos, _ = preparation.design(filters, rate_hz)
    pulse = np.zeros(round(600 * rate_hz))
    pulse[0] = 1
    answer = np.abs(sosfilt(sos, pulse))
    later = np.flatnonzero(answer > DECAYED * answer.max())
    return float(np.ceil(TAPER_S + (later[-1] if len(later) else 0) / rate_hz))
