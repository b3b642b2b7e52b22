"""Beams and slowness scans of an array: nine sensors, three components, 240 s at 40 Hz, beside ObsPy's scan and a loop over sensors.

One core for both. A plane wave, noise of 2-8 Hz, crosses an array of 3 km, and each sensor has noise of its own, half as strong. ObsPy
scans one component at a time, so it is called three times; both look at the same windows and slownesses, and ours finds half-widths of
peaks besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RATE, SECONDS, SENSORS, BAND = 40.0, 240, 9, (2.0, 8.0)
TURNS = 7
START = "2020-01-01T00:00:00"


def array():
    """Waveforms of the array, as geonb has them, and places of its sensors in km."""
    import xarray as xr
    from scipy.signal import butter, sosfiltfilt
    from scipy.signal.windows import tukey

    from geonb.waveforms import beams

    random, count = np.random.default_rng(0), int(RATE * SECONDS)
    place = random.uniform(-1.5, 1.5, (SENSORS, 2))
    place -= place.mean(axis=0)
    sections = butter(4, BAND, "bandpass", fs=RATE, output="sos")
    wave = sosfiltfilt(sections, random.standard_normal((3, count + 400)))
    ramps = np.exp(
        -2j * np.pi * np.fft.rfftfreq(count + 400, 1 / RATE) * beams.delays(beams.slowness_of(75, 8), *place.T)[:, None]
    )
    data = np.fft.irfft(np.fft.rfft(wave) * ramps[:, None], count + 400)[..., 200:-200]
    data += 0.5 * sosfiltfilt(sections, random.standard_normal(data.shape))
    data *= tukey(count, 0.02)  # records are tapered before they are filtered
    coords = {"east_m": ("sensor", 1e3 * place[:, 0]), "north_m": ("sensor", 1e3 * place[:, 1])}
    coords |= {"sensor": [f"A{i}" for i in range(SENSORS)], "component": list("ZRT")}
    attrs = {"start": START, "rate_hz": RATE, "units": "m/s"}
    return xr.Dataset({"data": (("sensor", "component", "time"), data.astype(np.float32))}, coords, attrs), place


def obspy_scan(data: np.ndarray, place: np.ndarray, grid: np.ndarray, window_s: float, step_s: float) -> Callable:
    """A call of ObsPy's scan of one component (sensor, time) that gives its maps (window, sy, sx)."""
    from obspy import Stream, Trace, UTCDateTime
    from obspy.core import AttribDict
    from obspy.signal.array_analysis import array_processing

    start, stream = UTCDateTime(START), Stream()
    for (x, y), trace in zip(place, data.astype(float), strict=True):
        stream += Trace(trace, {"sampling_rate": RATE, "starttime": start})
        stream[-1].stats.coordinates = AttribDict(x=x, y=y, elevation=0)
    low, high, step = grid[0, 0], grid[-1, -1], grid[1, 1] - grid[0, 0]

    def call():
        maps = []
        array_processing(
            stream, window_s, step_s / window_s, low[0], high[0], low[1], high[1], step[0], -1, -1, *BAND, start,
            stream[0].stats.endtime, 0, coordsys="xy", timestamp="julsec", store=lambda one, power, i: maps.append(one.T.copy()),
        )  # fmt: skip
        return np.array(maps)

    return call


def in_turns(calls: dict[str, Callable], times: int = TURNS) -> dict[str, float]:
    """Median seconds of each call; the first turn warms up."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(times + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            spent[name].append(time.perf_counter() - start)
    return {name: float(np.median(each[1:])) for name, each in spent.items()}


def scan_row(waveforms, place, grid, window_s: float, step_s: float, aim: int | None, times: int = TURNS) -> list[str]:
    from geonb.waveforms import beams

    calls = [obspy_scan(waveforms["data"].values[:, i], place, grid, window_s, step_s) for i in range(3)]
    ours = lambda: beams.scan(waveforms, grid, window_s, step_s, band=BAND, component=None)  # noqa: E731
    theirs = lambda: np.stack([call() for call in calls])  # noqa: E731
    maps = theirs()
    apart = float(np.abs(ours()["semblance"].values[:, : maps.shape[1]] - maps).max())
    spent = in_turns({"ours": ours, "theirs": theirs}, times)
    ratio = spent["theirs"] / spent["ours"]
    number = grid.shape[0] * grid.shape[1]
    windows = f"{maps.shape[1]} windows" if maps.shape[1] > 1 else "one window"
    what = f"scan, {number:,} slownesses, {windows} of {window_s:.0f} s; semblance differs by {apart:.0e} at most"
    met = "" if aim is None else "yes" if ratio >= aim else "no"
    told = f">= {aim} (stretch 15)" if aim else ""
    return [what, f"{spent['ours'] * 1e3:.0f} ms", f"ObsPy {spent['theirs'] * 1e3:,.0f} ms", f"{ratio:.0f}", told, met]


def beam_rows(waveforms, place) -> list[list[str]]:
    from scipy import fft

    from geonb.waveforms import beams

    data = waveforms["data"].values
    vectors = beams.slowness_of(np.linspace(0, 360, 100, endpoint=False), 6.0)
    tau, count = beams.delays(vectors, *place.T), data.shape[-1]
    size = fft.next_fast_len(count + 400, real=True)
    f = fft.rfftfreq(size, 1 / RATE)

    def naive():
        """Each sensor for itself, as one would write it."""
        out = np.zeros((len(tau), *data.shape[1:]), np.float32)
        for b, delays in enumerate(tau):
            for trace, delay in zip(data, delays, strict=True):
                out[b] += fft.irfft(fft.rfft(trace, size) * np.exp(2j * np.pi * f * delay), size)[..., :count]
        return out / len(data)

    def ours():
        return beams.beam(waveforms, vectors)["data"].values

    inside = slice(40, -40)  # where each sensor has a sample
    other = naive()[..., inside]
    apart = float(np.abs(ours()[..., inside] - other).max() / np.abs(other).max())
    spent = in_turns({"ours": ours, "naive": naive}, 3)
    phases = in_turns({"ours": lambda: beams.phase_beams(waveforms, 75.0)})["ours"]
    ratio = spent["naive"] / spent["ours"]
    return [
        ["100 beams of each component", f"{spent['ours'] * 1e3:.0f} ms", f"loop over sensors {spent['naive'] * 1e3:,.0f} ms",
         f"{ratio:.0f}", "", ""],
        ["these beams, largest difference", f"{apart:.0e} of the largest value", "the same loop", "", "<= 1e-4",
         "yes" if apart <= 1e-4 else "no"],
        ["P beam on Z, S beams on R and T", f"{phases * 1e3:.0f} ms", "", "", "", ""],
    ]  # fmt: skip


def main(folder: Path) -> list[list[str]]:
    from threadpoolctl import threadpool_limits

    from geonb.waveforms import beams

    waveforms, place = array()
    hundred = beams.slowness_grid(0.25, 0.05)[:10, :10]
    with threadpool_limits(1):
        return [
            scan_row(waveforms, place, hundred, 4.0, 1.0, 10),
            scan_row(waveforms, place, hundred, SECONDS - 1 / RATE, SECONDS - 1 / RATE, 10),
            scan_row(waveforms, place, beams.slowness_grid(0.4, 0.02), 4.0, 1.0, None, 1),
            *beam_rows(waveforms, place),
        ]
