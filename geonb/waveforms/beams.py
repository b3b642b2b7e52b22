"""Beams of an array: delay-and-sum for many slownesses at once, and the scan that finds where a wave came from and how fast.

A slowness vector (sx, sy) is horizontal, in s/km, x east and y north, and points the way the wave travels; back-azimuth is in degrees
clockwise from north, from the array to the source: (sx, sy) = -s (sin, cos). A sensor at (east, north) km sees the plane wave
tau = sx east + sy north seconds later than the array's reference does, and a beam is the mean over the sensors of their traces
advanced by tau (Rost and Thomas 2002, Reviews of Geophysics 40(3), section 3). Heights are not used: 50 m move a steep P wave by .01 s.

Beams and scans take the data as they are: demean and filter before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike
from scipy import fft

from geonb.base.conventions import refuse

VELOCITIES = {"Z": 6.45, "R": 3.70, "T": 3.70}  # km/s of the beams that networks see: P on Z, S on R and T
FEWEST = 3  # sensors without which there is no slowness vector
LEVEL = 0.95  # of the peak: as far as semblance reaches it, the peak is wide
TAPERED = 0.22  # share of a window that its cosine taper takes, as in ObsPy's scan
GUARD = 64  # samples of silence behind a record, in which fades what a fractional delay spreads
CELLS = 2**17  # complex numbers worked on at once: they stay in the cache of a core
BLOCK = 256  # windows whose peaks are looked for at once
UNITS = {"back_azimuth": "degrees", "slowness": "s/km"}
UNITS |= {f"{name}_half_width": unit for name, unit in UNITS.items()}


def local_km(latitude: ArrayLike, longitude: ArrayLike, reference: int | None = None) -> np.ndarray:
    """Where the sensors of an array are, east and north of its reference along geodesics of WGS 84.

    Parameters
    ----------
    latitude, longitude : array (sensor,), degrees; NaN if unknown
    reference : int, optional
        Number of the sensor that is the origin; the mean of the known places by default.

    Returns
    -------
    ndarray (sensor, 2) = east, north in km; NaN where unknown

    Raises
    ------
    ValueError
        Listing places that there are not, or a reference whose place is unknown.
    """
    from pyproj import Geod

    lat, lon = np.array(latitude, float, ndmin=1), np.array(longitude, float, ndmin=1)
    known = np.isfinite(lat) & np.isfinite(lon)
    outside = known & ~((np.abs(lat) <= 90) & (np.abs(lon) <= 360))
    faults = [f"sensor {i}: {lat[i]:g}, {lon[i]:g} is no latitude and longitude" for i in np.flatnonzero(outside)]
    if reference is not None and not (0 <= reference < len(lat) and known[reference]):
        faults.append(f"reference = {reference}: give the number, from 0, of a sensor whose place is known")
    refuse("These sensors cannot be placed", faults)
    out = np.full((len(lat), 2), np.nan)
    if known.any():
        lat, lon = lat[known], lon[known]
        lon = lon[0] + (lon - lon[0] + 180) % 360 - 180  # an array across 180 degrees has a mean, too
        own = slice(None) if reference is None else int(known[:reference].sum())
        origin = np.full_like(lon, lon[own].mean()), np.full_like(lat, lat[own].mean())
        azimuth, _, far = Geod(ellps="WGS84").inv(*origin, lon, lat)
        out[known] = np.stack([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))], axis=1) * far[:, None] / 1e3
    return out


def slowness_grid(most: float = 0.4, step: float = 0.02) -> np.ndarray:
    """Slowness vectors on a square around 0: ndarray (sy, sx, 2) of (sx, sy), s/km.

    Parameters
    ----------
    most, step : float, s/km
        The largest component, and the distance of neighbours. A wave slower than `most` crosses the array with less than 1 / `most` km/s.

    Raises
    ------
    ValueError
        If there is no such grid.
    """
    if not 0 < step <= most < np.inf:
        raise ValueError(f"most = {most}, step = {step}: there is no such grid, give 0 < step <= most, in s/km")
    half = int(most / step + 1e-6)
    return np.stack(np.meshgrid(*[np.arange(-half, half + 1) * step] * 2), axis=-1)


def delays(slowness: ArrayLike, east_km: ArrayLike, north_km: ArrayLike) -> np.ndarray:
    """How much later than at the reference a plane wave arrives: ndarray (..., sensor), s, of slowness vectors (..., 2), s/km."""
    return np.asarray(slowness, float) @ np.stack([np.asarray(east_km, float), np.asarray(north_km, float)])


def slowness_of(back_azimuth: ArrayLike, velocity: ArrayLike) -> np.ndarray:
    """Slowness vectors (..., 2), s/km, of waves from `back_azimuth` degrees with an apparent velocity in km/s."""
    angle = np.radians(np.asarray(back_azimuth, float))
    return -np.stack(np.broadcast_arrays(np.sin(angle) / velocity, np.cos(angle) / velocity), axis=-1)


def direction_of(slowness: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Back-azimuth (0 to 360 degrees; NaN of a wave from straight below) and apparent velocity (km/s) of slowness vectors (..., 2)."""
    sx, sy = np.moveaxis(np.asarray(slowness, float), -1, 0)
    size = np.hypot(sx, sy)
    with np.errstate(divide="ignore"):
        return np.where(size == 0, np.nan, np.degrees(np.arctan2(-sx, -sy)) % 360), 1 / size


def timing_error(place_km: np.ndarray, slowness: ArrayLike, timing_s: float) -> tuple[float, float]:
    """Standard errors of back-azimuth (degrees) and slowness (s/km) where each sensor's arrival is off by `timing_s`, by itself.

    Of a plane fitted by least squares to arrivals at `place_km` (sensor, 2); infinite where the sensors lie on a line. Clocks, coordinates,
    the phase of an instrument and the ground below it shift arrivals; beams of noise-free data know nothing of it.
    """
    off = place_km - place_km.mean(axis=0)
    if np.linalg.matrix_rank(off) < 2:
        return np.inf, np.inf
    size = float(np.linalg.norm(slowness))
    along = np.asarray(slowness, float) / size
    spread, across = timing_s**2 * np.linalg.inv(off.T @ off), np.array([-along[1], along[0]])
    return float(np.degrees(np.sqrt(across @ spread @ across) / size)), float(np.sqrt(along @ spread @ along))


def delay_and_sum(data: np.ndarray, rate_hz: float, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over sensors of their traces, each advanced by its delay: phase ramps on spectra that are computed once.

    Records are zero-padded by the longest delay, so that nothing wraps around. At each sample the mean is over those sensors that
    have one at that time, to the nearest sample; within a few samples of a gap a fractional delay smears its edge.

    Parameters
    ----------
    data : array (sensor, component, time); NaN where there is no sample
    tau : array (beam, sensor), s

    Returns
    -------
    ndarray (beam, component, time), float32; NaN where no sensor has a sample
    ndarray (beam, component, time), int16: from how many sensors each is
    """
    n, shift, there = data.shape[-1], np.rint(tau * rate_hz).astype(int), np.isfinite(data)
    size = fft.next_fast_len(n + int(np.abs(shift).max(initial=0)) + GUARD, real=True)
    spectra = fft.rfft(np.where(there, data, 0).astype(np.float32), size)
    spectra = np.ascontiguousarray(np.moveaxis(spectra, -1, 0))  # (frequency, sensor, component)
    out, counts = np.empty((len(tau), *data.shape[1:]), np.float32), _counts(there, shift)
    block = max(1, 8 * CELLS // spectra.size)
    for lo in range(0, len(tau), block):
        beams = _ramps(rate_hz / size, 0, len(spectra), tau[lo : lo + block]) @ spectra  # (frequency, beam, component)
        out[lo : lo + block] = fft.irfft(np.ascontiguousarray(np.moveaxis(beams, 0, -1)), size)[..., :n]
    return np.divide(out, counts, out=np.full_like(out, np.nan), where=counts > 0), counts


def _ramps(step_hz: float, first: int, bins: int, tau: np.ndarray) -> np.ndarray:
    """exp(2 pi i f tau) at the frequencies (first + k) step_hz: complex64 (frequency, ...).

    Each is a product of one of few by one of few: an exponential costs as much as a dozen of products.
    """
    few = int(np.ceil(np.sqrt(bins)))
    exponents = np.arange(few), first + few * np.arange(-(-bins // few))
    fine, coarse = (np.exp(np.multiply.outer(2j * np.pi * step_hz * k, tau)).astype(np.complex64) for k in exponents)
    return np.multiply(coarse[:, None], fine, order="C").reshape(-1, *tau.shape)[:bins]


def _counts(there: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """How many sensors have a sample once their masks (sensor, component, time) are advanced by `shift` (beam, sensor) samples."""
    edges = np.diff(there.astype(np.int8), axis=-1, prepend=0, append=0)
    sensor, component, at = np.nonzero(edges)
    out = np.zeros((len(shift), *edges.shape[1:]), np.int16)
    moved = np.clip(at - shift[:, sensor], 0, there.shape[-1])
    np.add.at(out, (np.arange(len(shift))[:, None], component, moved), edges[sensor, component, at])
    return np.cumsum(out, axis=-1, out=out)[..., :-1]


def _array(waveforms: xr.Dataset, components: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Places (sensor, 2) in km and samples (sensor, component, time) of the sensors that can be used, and which ones cannot and why.

    A trace that is flat or holds no sample at all is all NaN.
    """
    names, there = waveforms["sensor"].values.astype(str), waveforms["component"].values.astype(str)
    if "east_m" in waveforms.coords:
        place = np.stack([waveforms["east_m"].values, waveforms["north_m"].values], axis=1) / 1e3
    else:
        place = local_km(waveforms["latitude"].values, waveforms["longitude"].values)
    known, have = np.isfinite(place).all(axis=1), ", ".join(there)
    faults = [f"component {c}: there are {have}. Rotate, or name another" for c in components if c not in there]
    faults += ["the place of no sensor is known: give station metadata (StationXML) of this array"] * (not known.any())
    refuse("No beams of these waveforms", faults)
    data = waveforms["data"].sel(component=list(components)).transpose("sensor", "component", "time").values[known]
    data = np.where(np.isfinite(data), data, np.float32(np.nan))
    notes = [f"{name}: its place is unknown, left out of beams" for name in names[~known]]
    low, high = np.fmin.reduce(data, axis=-1), np.fmax.reduce(data, axis=-1)
    dead = ~(high > low)
    why = np.where(np.isnan(low), "without a sample", "flat")
    notes += [f"{names[known][i]} {components[c]}: {why[i, c]}, left out of beams" for i, c in np.argwhere(dead)]
    data[dead] = np.nan
    return place[known], data, notes


def beam(waveforms: xr.Dataset, slowness: ArrayLike, components: Sequence[str] | None = None) -> xr.Dataset:
    """Beams of an array, see :func:`delay_and_sum`.

    Parameters
    ----------
    waveforms : Dataset
        `data` (sensor, component, time), NaN where there is no sample; places of the sensors as coordinates `east_m` and `north_m`, or
        `latitude` and `longitude`; attribute `rate_hz`.
    slowness : array (beam, 2) or (2,), s/km
    components : sequence of str, optional
        All by default.

    Returns
    -------
    Dataset
        `data` (beam, component, time) in the unit of the waveforms and `sensors` (beam, component, time), from how many it is; `sx`
        and `sy` by beam. What was left out stands in the attribute `notes`.

    Raises
    ------
    ValueError
        A component that there is not, a slowness that is NaN, or no sensor whose place is known.
    """
    components = [str(name) for name in (waveforms["component"].values if components is None else components)]
    vectors = np.atleast_2d(np.asarray(slowness, float))
    if not np.isfinite(vectors).all():
        raise ValueError(f"slowness = {vectors.tolist()}: give numbers, in s/km. A scan of too few sensors has NaN")
    place, data, notes = _array(waveforms, components)
    summed, counts = delay_and_sum(data, waveforms.attrs["rate_hz"], delays(vectors, *place.T))
    dims = ("beam", "component", "time")
    return xr.Dataset(
        {"data": (dims, summed), "sensors": (dims, counts)},
        {"component": components, "sx": ("beam", vectors[:, 0]), "sy": ("beam", vectors[:, 1])},
        waveforms.attrs | {"notes": [*waveforms.attrs.get("notes", []), *notes]},
    )


def phase_beams(waveforms: xr.Dataset, back_azimuth: float, velocities: Mapping[str, float] = VELOCITIES) -> xr.Dataset:
    """One beam for each component, with the velocity of the phase that is strongest there: P on Z, S on R and T.

    Parameters
    ----------
    waveforms : Dataset
        As for :func:`beam`, rotated to R and T by the same back-azimuth.
    back_azimuth : float, degrees
    velocities : mapping, component -> apparent velocity, km/s

    Returns
    -------
    Dataset
        `data` and `sensors` (component, time), NaN and 0 for a component that no sensor has, which the attribute `notes` tells; `velocity`
        (km/s), `sx` and `sy` by component.

    Raises
    ------
    ValueError
        An unknown back-azimuth, horizontal components that were not rotated, none of the components.
    """
    there, unknown = set(waveforms["component"].values.astype(str)), not np.isfinite(back_azimuth)
    faults = [f"back_azimuth = {back_azimuth}: give degrees, of the event's place or of a scan"] * unknown
    if there & {"N", "E"} and not there >= {"R", "T"}:
        faults.append(f"components = {', '.join(sorted(there))}: rotate N and E to R and T by the back-azimuth first")
    elif not there & set(velocities):
        faults.append(f"components = {', '.join(sorted(there))}, and beams are asked of {', '.join(velocities)}")
    refuse("No beams of these waveforms", faults)
    vectors = {name: slowness_of(back_azimuth, velocity) for name, velocity in velocities.items()}
    parts = [beam(waveforms, vectors[name], [name]).isel(beam=0, drop=True) for name in velocities if name in there]
    out = xr.concat(parts, "component", combine_attrs="override")
    out = out.reindex(component=list(velocities), fill_value={"data": np.nan, "sensors": 0})
    notes = [note for part in parts for note in part.attrs["notes"]]
    notes += [f"{name}: no sensor has this component, its beam is empty" for name in velocities if name not in there]
    out.attrs["notes"] = list(dict.fromkeys(notes))
    sx, sy = np.array(list(vectors.values())).T
    along = {"velocity": list(velocities.values()), "sx": sx, "sy": sy}
    return out.assign_coords({name: ("component", values) for name, values in along.items()})


def scan(
    waveforms: xr.Dataset,
    grid: np.ndarray | None = None,
    window_s: float | None = None,
    step_s: float | None = None,
    *,
    band: tuple[float, float] | None = None,
    component: str | None = "Z",
    between_s: tuple[float, float] | None = None,
    level: float = LEVEL,
) -> xr.Dataset:
    """Semblance of an array over slownesses, window by window: where did the wave come from, and how fast did it cross?

    Each window of each sensor is demeaned and tapered, and its spectrum computed once; semblance is the power of the beam over the mean
    power of the sensors, 0 to 1, of all frequencies of the band together. That is the relative power of ObsPy's
    ``array_processing(method=0, prewhiten=0)``. A window goes without sensors that lack a sample in it or are flat, and one of fewer than
    three sensors stays NaN.

    Parameters
    ----------
    waveforms : Dataset
        As for :func:`beam`.
    grid : array (sy, sx, 2), s/km
        Evenly spaced, :func:`slowness_grid`'s by default.
    window_s, step_s : float, s
        Sliding windows, half overlapping by default; one window of all that there is without `window_s`.
    band : tuple = (lowest, highest), Hz
        All frequencies by default: then filter before.
    component : str or None
        None scans all of them, and gives a dim `component`.
    between_s : tuple = (from, to), s since the start of the record
    level : float
        Half-widths are those of the slownesses where semblance is at least this share of the peak.

    Returns
    -------
    Dataset ([component,] time, sy, sx)
        `time` is the start of a window (UTC). `semblance` (..., sy, sx); by window its `peak`, `power`, the mean square of the beam
        there in the unit of the waveforms squared, `back_azimuth` (degrees) and `slowness` (s/km) of the peak, moved within the grid to
        the top of a parabola, `back_azimuth_half_width` (degrees; 180 if the peak holds the vertical) and `slowness_half_width`,
        `at_edge`, whether the peak reaches the edge of the grid and may be wider than told, and `sensors`, how many.

    Notes
    -----
    The half-width is how well this array resolves this wave at these frequencies, side lobes as high as `level` included. It is no
    error bar: it does not shrink with less noise, and what shifts single arrivals comes on top, see :func:`timing_error`.

    Raises
    ------
    ValueError
        Listing a grid, windows or a band that cannot be.
    """
    rate, samples = float(waveforms.attrs["rate_hz"]), waveforms.sizes["time"]
    components = [component] if component else [str(name) for name in waveforms["component"].values]
    grid = slowness_grid() if grid is None else np.asarray(grid, float)
    begin, end = (0.0, samples / rate) if between_s is None else between_s
    window_s = end - begin if window_s is None else window_s
    step_s = window_s / 2 if step_s is None else step_s
    length, step, first = int(window_s * rate + 1e-6), max(1, round(step_s * rate)), round(begin * rate)
    last, (low, high) = min(round(end * rate), samples), (0.0, rate / 2) if band is None else band
    faults = [f"grid {grid.shape}: give (sy, sx, 2), 3 x 3 at least and evenly spaced"] * (not _even(grid))
    if not (first >= 0 and 8 <= length <= last - first and step_s > 0):
        told = f"window_s = {window_s}, step_s = {step_s}, between_s = {between_s}"
        faults.append(f"{told}: there are {samples / rate:g} s of record, and a window has 8 samples at least")
    if not 0 <= low < high <= rate / 2:
        faults.append(f"band = {band}: give two frequencies from 0 to {rate / 2:g} Hz")
    refuse("This scan cannot be made", faults)
    place, data, notes = _array(waveforms, components)
    tau = delays(grid.reshape(-1, 2), *place.T)
    windows = sliding_window_view(data[..., first:last], length, axis=-1)[:, :, ::step]
    semblance, power, sensors = _semblance(windows, rate, tau, (low, high))
    if (across := np.ptp(tau, axis=1).max()) > window_s / 2:
        notes.append(
            f"the slowest waves cross the array in {across:.1f} s: windows of {window_s:g} s hold a part of them"
        )
    if missing := int((len(place) - sensors).sum()):
        notes.append(f"{missing} of {sensors.size * len(place)} windows of sensors are left out: no sample, or flat")
    if few := int((sensors < FEWEST).sum()):
        notes.append(f"{few} of {sensors.size} windows have fewer than {FEWEST} sensors, and no slowness")
    semblance[sensors < FEWEST] = np.nan
    maps = semblance.reshape(-1, *grid.shape[:2])
    parts = [_peaks(maps[i : i + BLOCK], grid, level) for i in range(0, len(maps), BLOCK)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found |= {"power": found["peak"] * power.ravel(), "sensors": sensors}
    start = np.datetime64(str(waveforms.attrs["start"]).removesuffix("Z"), "ns")
    seconds = (first + step * np.arange(windows.shape[2])) / rate
    units = UNITS | {"power": f"({waveforms.attrs.get('units', '')})^2"}
    dims, attrs = ("component", "time"), {"window_s": length / rate, "step_s": step / rate, "band_hz": [low, high]}
    out = xr.Dataset(
        {name: (dims, each.reshape(sensors.shape), {"units": units.get(name, "1")}) for name, each in found.items()},
        {"component": components, "time": start + np.rint(seconds * 1e9).astype("timedelta64[ns]")},
        attrs | {"level": level, "notes": [*waveforms.attrs.get("notes", []), *notes]},
    )
    out["semblance"] = ((*dims, "sy", "sx"), maps.reshape(*sensors.shape, *grid.shape[:2]), {"units": "1"})
    out = out.assign_coords(sy=("sy", grid[:, 0, 1], {"units": "s/km"}), sx=("sx", grid[0, :, 0], {"units": "s/km"}))
    return out if component is None else out.isel(component=0)


def _even(grid: np.ndarray) -> bool:
    """Whether slownesses are those of two evenly spaced, growing axes: (sy, sx, 2)."""
    if grid.ndim != 3 or grid.shape[-1] != 2 or min(grid.shape[:2]) < 3:
        return False
    down, right, steps = np.diff(grid, axis=0), np.diff(grid, axis=1), grid[1, 1] - grid[0, 0]
    return bool((steps > 0).all() and np.allclose(down, [0, steps[1]]) and np.allclose(right, [steps[0], 0]))


def _semblance(
    windows: np.ndarray, rate: float, tau: np.ndarray, band: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Semblance (component, window, slowness), mean square of the sensors and their number (component, window).

    Of windows (sensor, component, window, sample) and delays (slowness, sensor).
    """
    from obspy.signal.invsim import cosine_taper

    sensors, _, count, length = windows.shape
    size = 2 ** int(np.ceil(np.log2(length + np.ptp(tau, axis=1).max() * rate)))  # nothing wraps around
    first, last = max(1, int(band[0] * size / rate + 0.5)), min(size // 2 - 1, int(band[1] * size / rate + 0.5))
    if last < first:
        raise ValueError(f"band = {band} Hz holds no frequency of a window of {length / rate:g} s: give a wider one")
    taper = cosine_taper(length, TAPERED).astype(np.float32)
    semblance = np.empty((*windows.shape[1:3], len(tau)), np.float32)
    power, alive = np.empty(windows.shape[1:3]), np.empty(windows.shape[1:3], int)
    block = max(1, 32 * CELLS // (sensors * len(power) * size))
    for here in (slice(lo, lo + block) for lo in range(0, count, block)):
        part = windows[:, :, here].astype(np.float32)
        seen = np.ptp(part, axis=-1) > 0  # NaN is not
        part -= part.mean(axis=-1, keepdims=True)
        part[~seen] = 0
        spectra = fft.rfft(part * taper, size)[..., first : last + 1]
        energy = (spectra.real**2 + spectra.imag**2).sum(axis=(0, -1), dtype=float)  # (component, window)
        alive[:, here] = number = seen.sum(axis=0)
        flat = np.ascontiguousarray(spectra.transpose(3, 1, 2, 0)).reshape(last + 1 - first, -1, sensors)
        summed = _beam_power(flat, tau, rate / size, first).reshape(*energy.shape, -1)
        semblance[:, here] = summed / np.maximum(number * energy, np.finfo(float).tiny)[..., None]
        power[:, here] = 2 * energy / (size * np.maximum(number, 1) * (taper**2).sum())  # Parseval, of half a spectrum
    return semblance, power, alive


def _beam_power(spectra: np.ndarray, tau: np.ndarray, step_hz: float, first: int) -> np.ndarray:
    """Power of the sum over sensors, all frequencies together: (window, slowness); of (frequency, window, sensor), (slowness, sensor)."""
    bins, count, sensors = spectra.shape
    out = np.empty((count, len(tau)), np.float32)
    block = max(1, min(max(CELLS // count, 16), 32 * CELLS // (bins * sensors)))  # slownesses
    for lo in range(0, len(tau), block):
        ramps = _ramps(step_hz, first, bins, tau[lo : lo + block].T)  # (frequency, sensor, slowness)
        total = np.zeros((count, 2 * ramps.shape[-1]), np.float32)
        few = max(1, CELLS // total.size)  # frequencies
        for k in range(0, bins, few):
            parts = (spectra[k : k + few] @ ramps[k : k + few]).view(np.float32)  # real and imaginary side by side
            total += np.einsum("fws,fws->ws", parts, parts)
        out[:, lo : lo + block] = total[:, ::2] + total[:, 1::2]
    return out


def _peaks(maps: np.ndarray, grid: np.ndarray, level: float) -> dict[str, np.ndarray]:
    """Peaks of maps (window, sy, sx): height, direction, half-widths and whether they reach the edge; NaN of maps of NaN."""
    known, steps, each = np.isfinite(maps[:, 0, 0]), grid[1, 1] - grid[0, 0], np.arange(len(maps))
    maps = np.where(known[:, None, None], maps, 0)
    y, x = np.divmod(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[2])
    top, left = np.clip(y - 1, 0, maps.shape[1] - 3), np.clip(x - 1, 0, maps.shape[2] - 3)
    near = sliding_window_view(maps, (3, 3), axis=(1, 2))[each, top, left]
    inside = ((top == y - 1) & (left == x - 1))[:, None]
    vector = grid[y, x] + steps * np.where(inside, _tops(near), 0)
    (azimuth, velocity), peak = direction_of(vector), maps[each, y, x]
    wide = maps >= level * peak[:, None, None]
    window, row, column = np.nonzero(wide)
    cells, begins = grid[row, column], np.searchsorted(window, each)  # of one map after the other
    spread = np.stack(np.meshgrid([-0.5, 0, 0.5], [-0.5, 0, 0.5]), axis=-1).reshape(9, 2) * steps  # over a cell
    azimuths, velocities = direction_of(cells[:, None] + spread)
    turned = np.abs((azimuths - azimuth[window, None] + 180) % 360 - 180)
    turned[(np.abs(cells) <= 0.501 * steps).all(axis=1)] = 180  # a wave from straight below comes from anywhere
    off = np.abs(1 / velocities - 1 / velocity[window, None])
    out = {"peak": peak, "back_azimuth": azimuth, "slowness": 1 / velocity}
    out["back_azimuth_half_width"] = np.fmax.reduceat(np.fmax.reduce(turned, axis=1), begins)
    out["slowness_half_width"] = np.maximum.reduceat(off.max(axis=1), begins)
    out = {name: np.where(known, values, np.nan) for name, values in out.items()}
    return out | {"at_edge": known & (wide[:, [0, -1]].any(axis=(1, 2)) | wide[:, :, [0, -1]].any(axis=(1, 2)))}


def _tops(near: np.ndarray) -> np.ndarray:
    """Where the parabolas through 3 x 3 values (window, y, x), by least squares, are highest: (window, 2) = x, y in steps off the middle.

    At most 1 away, and 0 where they have no highest point.
    """
    slope, bend = np.array([-0.5, 0.0, 0.5]), np.array([1.0, -2.0, 1.0])
    bx, by = (near @ slope).mean(axis=1), (slope @ near).mean(axis=1)
    cx, cy, both = (near @ bend).mean(axis=1), (bend @ near).mean(axis=1), slope @ near @ slope
    bent = cx * cy - both**2
    top, good = np.stack([both * by - cy * bx, both * bx - cx * by], axis=1), (bent > 0) & (cx < 0)
    return np.clip(np.divide(top, bent[:, None], out=np.zeros_like(top), where=good[:, None]), -1, 1)
