"""From raw records to what a network sees, in this order: gaps, mean, taper, filter, rate, rotation, window, and then the scale.

Filters are causal unless one asks otherwise, because a live stream has no future and a network must see in training what it will
see live; :class:`Packets` does in packets what :func:`prepare` does to a whole record. (A zero-phase filter also smears energy to
before the onset, which a detector must not learn from.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import refuse
from geonb.base.specs import Option, check_options

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

GAP_S = 5.0  # a trace with a longer one is dropped
_ORDER = Option(4, int, 1, 12, help="of the Butterworth filter")
_PHASE = Option("causal", choices=("causal", "zero"), help="zero runs once more, backwards: live cannot")
_CORNER = Option(2.0, float, above=0, help="Hz")
_HIGH = {"low": replace(_CORNER, default=1.0), "order": _ORDER, "phase": _PHASE}
FILTERS = {"bandpass": _HIGH | {"low": _CORNER, "high": replace(_CORNER, default=8.0)}, "highpass": _HIGH, "none": {}}
_FITTED = Option(False, bool, help="one scale learnt from the training windows, else each window has its own")
_EACH = Option(True, bool, help="a scale for each channel, else their ratio is kept")
SCALERS = {name: {"fitted": _FITTED, "per_channel": _EACH} for name in ("min-max", "standard", "robust", "log")}
FLAT = 1e-6  # spread over size of what is only the rounding of float32


def check_filters(text: str, rate_hz: float | None = None) -> tuple[str, dict[str, Any]]:
    """Resolve ``"bandpass:low=2,high=8,order=4,phase=causal"``, ``"highpass:low=1"`` or ``"none"``.

    Parameters
    ----------
    rate_hz : float, optional
        Corners must lie below half of it.

    Raises
    ------
    ValueError
        Lists all that is unknown, ill-typed or out of range, and what is known.
    """

    def together(name: str, options: dict[str, Any], _: Mapping[str, Any]) -> Iterable[str]:
        corners = [options[key] for key in ("low", "high") if key in options]
        if corners != sorted(set(corners)):
            yield f"low = {corners[0]:g} Hz must be below high = {corners[1]:g} Hz"
        if rate_hz and corners and corners[-1] >= rate_hz / 2:
            yield f"{corners[-1]:g} Hz must be below half the rate of the samples, {rate_hz:g} Hz"

    return check_options("filters", text, FILTERS, together)


def below_nyquist(filters: Iterable[str], rate_hz: float) -> list[str]:
    """Those of some filters whose corners lie below half the rate of the samples.

    >>> below_nyquist(["bandpass:low=4,high=12", "highpass:low=1", "none"], 20)
    ['highpass:low=1', 'none']
    """
    corners = {text: check_filters(text)[1] for text in filters}
    return [text for text, at in corners.items() if max(at.get("low", 0), at.get("high", 0)) < rate_hz / 2]


def filter_words(text: str) -> str:
    """A filter for people.

    >>> filter_words("bandpass"), filter_words("highpass:low=1,phase=zero"), filter_words("none")
    ('bandpass 2 to 8 Hz, causal', 'highpass 1 Hz, zero phase', 'none')
    """
    name, options = check_filters(text)
    if name == "none":
        return name
    corners = " to ".join(f"{options[key]:g}" for key in ("low", "high") if key in options)
    return f"{name} {corners} Hz, {'causal' if options['phase'] == 'causal' else 'zero phase'}"


def design(text: str, rate_hz: float) -> tuple[np.ndarray, bool]:
    """Second-order sections of a filter, and whether it runs backwards too."""
    from scipy.signal import butter

    name, options = check_filters(text, rate_hz)
    if name == "none":
        return np.array([[1.0, 0, 0, 1, 0, 0]]), False
    corners = [options["low"], options["high"]] if name == "bandpass" else options["low"]
    return butter(options["order"], corners, name, output="sos", fs=rate_hz), options["phase"] == "zero"


def ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """A new rate over the old one as up, down; to 1e-5, so that a clock's 99.9999 Hz are 100.

    Raises
    ------
    ValueError
        If it is higher (what is above half the old one is not there), or no ratio of whole numbers up to 1,000.
    """
    part = Fraction(to_hz / from_hz).limit_denominator(1000)
    if part > 1 or not part or abs(float(part) * from_hz / to_hz - 1) > 1e-5:
        raise ValueError(f"{from_hz:.9g} Hz cannot be made {to_hz:.9g} Hz: rates go down, by ratios of at most 1,000")
    return part.numerator, part.denominator


def resample(values: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Samples (..., time) at a lower rate, by the FIR of scipy's ``resample_poly``: linear phase, without delay.

    NaN stays NaN; the others are filtered as if the mean stood there. Sample 0 keeps its time, and floor(n * to_hz / from_hz) are left.
    """
    up, down = ratio(from_hz, to_hz)
    if up == down:
        return values
    known = np.isfinite(values)
    mean = _mean(values, known)
    new = _poly(np.where(known, values - mean, 0), up, down) + mean
    nearest = np.minimum(np.round(np.arange(new.shape[-1]) * down / up).astype(int), values.shape[-1] - 1)
    return np.where(known[..., nearest], new, np.nan)


def _poly(values: np.ndarray, up: int, down: int) -> np.ndarray:
    from scipy.signal import resample_poly

    return resample_poly(values, up, down, axis=-1)[..., : values.shape[-1] * up // down]


def _mean(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, values, 0).sum(axis=-1, keepdims=True) / np.maximum(known.sum(axis=-1, keepdims=True), 1)


def longest(mask: np.ndarray) -> np.ndarray:
    """The longest run of True along the last axis.

    >>> longest(np.array([[True, True, False, True], [False] * 4])).tolist()
    [2, 0]
    """
    place = np.arange(mask.shape[-1])
    return (place - np.maximum.accumulate(np.where(mask, -1, place), axis=-1)).max(axis=-1, initial=0)


def prepare(
    waveforms: xr.Dataset, filters: str = "bandpass", rate_hz: float = 40.0, *, gap_s: float = GAP_S, detrend: str = "constant",
    taper_s: float = 5.0, back_azimuth_deg: float | np.ndarray | None = None, start: Any = None, length_s: float | None = None,
) -> xr.Dataset:  # fmt: skip
    """Prepare the records of an event for beams and networks.

    Parameters
    ----------
    waveforms : Dataset (sensor, component, time)
    filters : str
        See :data:`FILTERS`. Applied at the rate of the records, before that is changed and before any beam.
    rate_hz : float, Hz
    gap_s : float, s
        A trace with a longer gap is dropped; shorter ones hold the mean, which is 0 by then.
    detrend : constant, linear or none
    taper_s : float, s
        Cosine (Hann) flank at the start, where the filter's transient is; with ``phase=zero`` at the end too. A record that
        begins that much before `start` has none of either in its window.
    back_azimuth_deg : float or (sensor,), degrees, optional
        Turns N and E to R and T; see :func:`rotate`.
    start, length_s : time and s, optional
        The window; see :func:`window`.

    Returns
    -------
    Dataset (sensor, component, time) at `rate_hz` without NaN, but for traces that were dropped, which are NaN throughout. Sensors
    without any trace are left out; `notes` tells.

    Raises
    ------
    ValueError
        If no trace is left, or an option, the rate or the window cannot be.
    """
    old_hz, attrs = float(waveforms.attrs["rate_hz"]), waveforms.attrs
    design(filters, old_hz), check_filters(filters, rate_hz)
    values = waveforms["data"].values.astype(np.float64)
    known = np.isfinite(values)
    gaps = longest(~known) / old_hz
    dropped = gaps > gap_s + 1e-9
    names = np.char.add(np.char.add(waveforms["sensor"].values[:, None], " "), waveforms["component"].values)
    lost = dropped & known.any(axis=-1)
    told = [f"{name}: dropped, a gap of {gap:.1f} s" for name, gap in zip(names[lost], gaps[lost], strict=True)]
    refuse(f"Nothing is left of {attrs['start']}", (told or ["no trace has samples"]) * bool(dropped.all()))
    values = np.where(dropped[..., None], np.nan, filtered(values, old_hz, filters, rate_hz, detrend, taper_s))
    attrs = {"rate_hz": float(rate_hz), "filters": filters, "notes": [*attrs["notes"], *told]}
    new = _with(waveforms, values, waveforms["component"].values).assign_attrs(attrs)
    new = (new if back_azimuth_deg is None else rotate(new, back_azimuth_deg)).isel(sensor=~dropped.all(axis=1))
    return new if length_s is None else window(new, start, length_s)


def filtered(
    values: np.ndarray, old_hz: float, filters: str, rate_hz: float, detrend: str = "constant", taper_s: float = 5.0
) -> np.ndarray:
    """What :func:`prepare` does to samples (..., time), each trace by itself: mean, taper, filter, rate. NaN holds the mean."""
    import scipy.signal

    sos, zero = design(filters, old_hz)
    known = np.isfinite(values)
    if detrend != "none":
        values = scipy.signal.detrend(np.where(known, values, _mean(values, known)), type=detrend)
    values = np.where(known, values, 0) * _flanks(values.shape[-1], round(taper_s * old_hz), zero)
    for _ in range(1 + zero):
        values = scipy.signal.sosfilt(sos, values)[..., :: -1 if zero else 1]
    return _poly(values, *ratio(old_hz, rate_hz))


def dataset(values: np.ndarray, sensors: Iterable, components: Iterable, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Samples (sensor, component, time) as the Dataset that all of this package share; further coordinates are assigned to it."""
    import xarray as xr

    data = {"data": (("sensor", "component", "time"), values.astype(np.float32))}
    return xr.Dataset(data, {"sensor": list(sensors), "component": list(components)}, attrs)


def _with(waveforms: xr.Dataset, values: np.ndarray, components: Iterable[str]) -> xr.Dataset:
    """Other samples and components of the same sensors."""
    new = dataset(values, waveforms["sensor"].values, components, waveforms.attrs)
    return new.assign_coords({name: coord for name, coord in waveforms.coords.items() if coord.dims == ("sensor",)})


def _flanks(n: int, flank: int, both: bool) -> np.ndarray:
    flank, whole = min(flank, n // (1 + both)), np.ones(n)
    whole[:flank] = 0.5 - 0.5 * np.cos(np.pi * np.arange(flank) / max(flank, 1))
    return whole * whole[::-1] if both else whole


def rotate(waveforms: xr.Dataset, back_azimuth_deg: float | np.ndarray) -> xr.Dataset:
    """Turn N and E to R (away from the source) and T by the back-azimuth, as ObsPy's ``rotate_ne_rt`` does for one trace.

    Parameters
    ----------
    back_azimuth_deg : float or (sensor,), degrees clockwise from north, from the sensors to the source

    Raises
    ------
    ValueError
        If there is no N and E, or the back-azimuth of no sensor is known. Sensors without one get NaN, and `notes` tells.
    """
    angles = np.broadcast_to(np.asarray(back_azimuth_deg, float), waveforms.sizes["sensor"])
    components, data = waveforms["component"].values.tolist(), waveforms["data"]
    missing = [str(name) for name in waveforms["sensor"].values[~np.isfinite(angles)]]
    if not {"N", "E"} <= set(components) or len(missing) == len(angles):
        lacks = f"N and E (there is {', '.join(components)})" if len(missing) < len(angles) else "a back-azimuth"
        raise ValueError(f"R and T need {lacks}: nothing is guessed. Give coordinates, or a scan's back-azimuth")
    north, east = (data.sel(component=name).values.astype(np.float64) for name in "NE")
    sin, cos = np.sin(np.radians(angles))[:, None], np.cos(np.radians(angles))[:, None]
    turned = np.stack([-east * sin - north * cos, -east * cos + north * sin], axis=1)
    rest = [name for name in components if name not in "NE"]
    new = _with(waveforms, np.concatenate([data.sel(component=rest).values, turned], axis=1), [*rest, "R", "T"])
    told = [f"not rotated, back-azimuth missing: {', '.join(missing)}"] if missing else []
    return new.assign_attrs(notes=[*waveforms.attrs["notes"], *told])


def window(waveforms: xr.Dataset, start: Any, length_s: float) -> xr.Dataset:
    """Exactly round(length_s * rate) samples from the one nearest to a time (None: the first): 240 s at 40 Hz are 9,600.

    A ValueError says if they do not all lie in the record.
    """
    rate, first, there = float(waveforms.attrs["rate_hz"]), utc(waveforms.attrs["start"]), waveforms.sizes["time"]
    begin = first if start is None else utc(start)
    i, n = round((begin - first).total_seconds() * rate), round(length_s * rate)
    if i < 0 or n < 1 or i + n > there:
        raise ValueError(f"{length_s:g} s from {begin} do not lie in the record: {there / rate:g} s from {first}")
    moved = first + np.timedelta64(round(i * 1e9 / rate), "ns")
    return waveforms.isel(time=slice(i, i + n)).assign_attrs(start=f"{moved.isoformat()}Z")


def utc(time: Any) -> pd.Timestamp:
    """A time as pandas reads it, in UTC without a zone; a text without one is UTC."""
    import pandas as pd

    return pd.to_datetime(time, utc=True).tz_localize(None).as_unit("ns")


class Packets:
    """The causal filter and the new rate of :func:`prepare` for a record that comes in packets of any length.

    What comes out is what :func:`prepare` makes of the whole record without taper, `delay_s` later; but for the mean, which is the
    first packet's. NaN counts as that mean.

    Parameters
    ----------
    filters, rate_hz, new_hz
        As :func:`prepare` takes them; a ValueError refuses ``phase=zero``.
    """

    def __init__(self, filters: str, rate_hz: float, new_hz: float) -> None:
        self.up, self.down = ratio(rate_hz, new_hz)
        self.sos, zero = design(filters, rate_hz)
        if zero:
            raise ValueError(f"filters = {filters!r} runs backwards, which a stream cannot: set phase=causal")
        # half of resample_poly's filter, in old samples
        self.half = 0 if self.up == self.down else -(-10 * max(self.up, self.down) // self.up)
        self.delay_s = self.half / rate_hz
        self.mean: np.ndarray | None = None
        self.begun = self.done = 0  # old samples that are forgotten, and new ones given

    def take(self, values: np.ndarray) -> np.ndarray:
        """The next samples (..., time), in order, none twice -> the new samples (..., time) that they complete."""
        from scipy.signal import sosfilt

        known = np.isfinite(values)
        if self.mean is None:
            self.mean, self.kept = _mean(values, known), np.zeros((*values.shape[:-1], 0))
            self.state = np.zeros((len(self.sos), *values.shape[:-1], 2))
        values, self.state = sosfilt(self.sos, np.where(known, values - self.mean, 0.0), zi=self.state)
        self.kept = np.concatenate([self.kept, values], axis=-1)
        ready = max((self.begun + self.kept.shape[-1] - self.half) * self.up // self.down, self.done)
        at = self.begun * self.up // self.down
        new = _poly(self.kept, self.up, self.down)[..., self.done - at : ready - at]
        begin = max((ready * self.down // self.up - self.half) // self.down * self.down, self.begun)
        self.kept, self.begun, self.done = self.kept[..., begin - self.begun :], begin, ready
        return new


def check_scaler(text: str) -> tuple[str, dict[str, Any]]:
    """Resolve ``"standard:fitted=true,per_channel=false"``; a ValueError lists all that is wrong.

    min-max goes from 0 to 1; standard by mean and standard deviation, robust by median and interquartile range; log is
    sign(x) log(1 + abs(x) / median of abs(x)).
    """
    return check_options("scaler", text, SCALERS)


def fit_scaler(text: str, channels: Iterable[str], windows: Iterable[np.ndarray] = ()) -> dict[str, Any]:
    """Make a scaler, from the training windows if it is ``fitted``: in one pass, and they need not fit into memory.

    Extremes, means and deviations are those of all samples together (of windows of one length); of medians and interquartile
    ranges the median over the windows is taken.

    Parameters
    ----------
    windows : iterable of arrays (..., channel, time)
        Of the training split alone. Flat traces do not count.

    Returns
    -------
    A card, which JSON holds, for a model's: name, per_channel, channels; shift and scale of each channel where they were fitted, else
    empty. :func:`scale` takes it.

    Raises
    ------
    ValueError
        If the text is wrong, or there is nothing to fit to.
    """
    (name, options), channels = check_scaler(text), list(channels)
    card = {"name": name, "per_channel": options["per_channel"], "channels": channels, "shift": [], "scale": []}
    if not options["fitted"]:
        return card
    parts = [np.full((1, 2, len(channels)), np.nan)]
    for each in windows:
        each = np.where(_flat(each), np.nan, each.astype(np.float64))
        both = np.stack(_statistics(name, each, options["per_channel"]), axis=-3)[..., 0]
        both = np.where(both[..., 1:, :] > 0, both, np.nan).reshape(-1, 2, both.shape[-1])
        parts.append(np.broadcast_to(both, (len(both), 2, len(channels))))
    shift, scale = np.concatenate(parts).swapaxes(0, 1)
    if empty := [channel for channel, column in zip(channels, scale.T, strict=True) if np.isnan(column).all()]:
        raise ValueError(f"No training window has a trace that is not flat in {', '.join(empty)}: nothing to fit to")
    if name == "standard":
        mean = np.nanmean(shift, axis=0)
        shift, scale = mean, np.sqrt(np.nanmean(scale**2 + (shift - mean) ** 2, axis=0))
    elif name == "min-max":
        shift, scale = np.nanmin(shift, axis=0), np.nanmax(shift + scale, axis=0) - np.nanmin(shift, axis=0)
    else:
        shift, scale = np.nanmedian(shift, axis=0), np.nanmedian(scale, axis=0)
    return card | {"shift": shift.tolist(), "scale": scale.tolist()}


def scale(card: Mapping[str, Any], values: np.ndarray, channels: Iterable[str] | None = None) -> np.ndarray:
    """Windows (..., channel, time) -> float32 of that shape, by the card of :func:`fit_scaler`.

    Flat traces and what is not finite become 0, never NaN. A ValueError says if the channels are others than those of the card.
    """
    given, known = card["channels"] if channels is None else list(channels), card["channels"]
    if given != known or values.shape[-2] != len(known):
        what = f"{', '.join(known)}; the windows have {values.shape[-2]}: {', '.join(given)}"
        raise ValueError(f"The scaler is of the channels {what}. Use that of a model trained on these, or fit one")
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    fitted = np.reshape([card["shift"], card["scale"]], (2, -1, 1))
    shift, size = fitted if card["scale"] else _statistics(card["name"], values, card["per_channel"])
    good = np.isfinite(values) & ~_flat(values) & (size > 0)
    new = np.where(good, values - shift, 0) / np.where(size > 0, size, 1)
    return np.where(good, np.sign(new) * np.log1p(np.abs(new)) if card["name"] == "log" else new, 0).astype(np.float32)


def _flat(values: np.ndarray) -> np.ndarray:
    """Which traces (..., channel, 1) hold one value, but for rounding, or none that is finite."""
    known = np.isfinite(values)
    low = np.where(known, values, np.inf).min(axis=-1, keepdims=True)
    high = np.where(known, values, -np.inf).max(axis=-1, keepdims=True)
    return ~(high - low > FLAT * np.maximum(np.abs(low), np.abs(high)))


def _statistics(name: str, values: np.ndarray, per_channel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale (..., channel or 1, 1) of windows (..., channel, time), NaN where nothing is known."""
    values = values if per_channel else values.reshape(*values.shape[:-2], 1, -1)
    values = np.where(np.isnan(values).all(axis=-1, keepdims=True), 0, values)  # of nothing: flat
    if name == "log":
        scale = np.nanmedian(np.abs(values), axis=-1, keepdims=True)
        return np.zeros_like(scale), np.where(scale > 0, scale, np.nanmean(np.abs(values), axis=-1, keepdims=True))
    if name == "min-max":
        low = np.nanmin(values, axis=-1, keepdims=True)
        return low, np.nanmax(values, axis=-1, keepdims=True) - low
    mean, deviation = (f(values, axis=-1, keepdims=True) for f in (np.nanmean, np.nanstd))
    if name == "standard":
        return mean, deviation
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=-1, keepdims=True)
    return middle, np.where(high > low, high - low, deviation)  # where half of the samples are one value
