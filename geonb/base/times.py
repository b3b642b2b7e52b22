"""Times out of numbers and texts: read with the unit or the form that stands beside them; what nothing tells stays NaT."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from geonb.base.fills import fills, holds

# the year in four digits and first: 1-2-2000 may be of January or of February
SINCE = re.compile(r"(\w+)\s+since\s+(\d{4}-\d{1,2}-\d{1,2}(?!\d).*|\d{8}(?!\d).*)", re.IGNORECASE)
EPOCH = re.compile(r"\b(unix|posix|1970 epoch|(since|from) (the )?(1970|epoch(?! of)))\b", re.IGNORECASE)
OTHER = re.compile(r"\b(gps|tai|j2000|launch|mission|model)\b", re.IGNORECASE)  # epochs, which begin at other times
CODES = re.compile(r"%[a-z](?:[-_/:.T ]*%[a-z])*", re.IGNORECASE)
LETTERS = re.compile(r"(?<![a-z])YYYY(MMDD(HH(MM(SS)?)?)?|DDD|MM)(?![a-z]|[-_/:.T ]+(?:HH|MM|SS|DD))", re.IGNORECASE)
YEAR = re.compile("%[YyG]")
UNITS = {  # as UDUNITS may write them -> as pandas reads them
    short: unit
    for unit, shorts in {
        "days": "days day d", "hours": "hours hour hrs hr h", "minutes": "minutes minute mins min",
        "seconds": "seconds second secs sec s",
        "milliseconds": "milliseconds millisecond msec ms", "microseconds": "microseconds microsecond us",
        "nanoseconds": "nanoseconds nanosecond ns",
    }.items()
    for short in shorts.split()
}  # fmt: skip
CALENDARS = "standard", "gregorian", "proleptic_gregorian"
GREGORIAN = 1582, 10, 15  # dates of the standard calendar before it are Julian ones
YEARS = 1700, 2200  # what nanoseconds since 1970 can hold, and no 9999 that stands for none
STEPS = {"%S": "seconds", "%M": "minutes", "%H": "hours", "%d": "days", "%j": "days", "%m": "months", "%Y": "years"}


def decoded(values: Any, attrs: Mapping[str, Any]) -> pd.DatetimeIndex:
    """The times that numbers or texts stand for.

    Parameters
    ----------
    values : array (time,) of numbers, texts or datetime64
    attrs : mapping
        What stands beside them, as CF has it: ``units``, with ``calendar``, ``scale_factor``, ``add_offset``, ``_FillValue``
        and ``missing_value``. Units without ``since`` are read where they, ``long_name`` or ``name`` tell the form:
        ``day as %Y%m%d.%f``, ``YYYYMMDDHH``, ``seconds, unix epoch``; of texts, the units may: ``%d/%m/%Y``.

    Returns
    -------
    DatetimeIndex (time,), UTC without a zone; NaT where a value is missing, and everywhere if nothing says what it counts
    """
    values = np.ravel(values)
    if values.dtype.kind == "M":
        return pd.DatetimeIndex(values).as_unit("ns")
    units, *about = (_text(attrs.get(key, "")) for key in ("units", "long_name", "name"))
    if values.dtype.kind not in "iuf":
        texts = [_text(value) for value in values]
        told = formed(texts, units[units.index("%") :]) if "%" in units else [stamp(text) for text in texts]
        return pd.DatetimeIndex(told).as_unit("ns")
    read: Callable[..., pd.DatetimeIndex] | None = None
    good = _known(values, attrs)
    if since := _since(units):
        read = None if unread(attrs) else partial(_counted, attrs, UNITS[since[1].lower()], since[2])
    elif form := form_in(" ".join([units, *about])):
        read = partial(_written, form)
    elif unit := _epoch(units, *about):
        read = partial(_counted, attrs, unit, "1970-01-01")
    times = np.full(len(values), "NaT", "M8[ns]")
    if read and good.any():
        times[good] = read(values[good])
    return pd.DatetimeIndex(times)


def stamp(text: Any) -> pd.Timestamp:
    """UTC time of a text that begins with the year, as ISO 8601 does; NaT of any other: 04/05/2020 may be of April or of May.

    >>> stamp("2020-04-01T14:15:00+02:00")
    Timestamp('2020-04-01 12:15:00')
    >>> stamp("12:15")
    NaT
    """
    text = re.sub(r"\s*(UTC|GMT)$", "Z", _text(text).replace("/", "-"))
    if not re.match(r"\d{4}-?\d\d-?\d\d(?!\d)", text):
        return pd.NaT
    time = pd.to_datetime(re.sub(r"(?<=\d)[_ ](?=\d)", "T", text), format="ISO8601", errors="coerce", utc=True)
    return time.tz_localize(None) if not pd.isna(time) and YEARS[0] < time.year < YEARS[1] else pd.NaT


def formed(texts: Iterable[str], form: str, exact: bool = True) -> pd.DatetimeIndex:
    """Times that texts tell in a form, as strptime has it: UTC; NaT where they do not, or tell no year or one of no date.

    >>> formed(["05/04/2020 14:00 +0200", "2020"], "%d/%m/%Y %H:%M %z")
    DatetimeIndex(['2020-04-05 12:00:00', 'NaT'], dtype='datetime64[ns]', freq=None)
    """
    found = pd.to_datetime(pd.Series(texts, dtype=str), format=form, exact=exact, errors="coerce", utc=True)
    found = found.where(found.dt.year.between(*YEARS) & bool(YEAR.search(form)))
    return pd.DatetimeIndex(found.dt.tz_localize(None), name=None).as_unit("ns")


def form_in(text: str) -> str:
    """The form of dates written as one number that a text tells, as strftime has it; empty if none, or none of one number.

    >>> form_in("day as %Y%m%d.%f"), form_in("time, YYYYMMDDHH"), form_in("%Y%m%d.%H%M"), form_in("hours")
    ('%Y%m%d', '%Y%m%d%H', '', '')
    """
    if match := CODES.search(text):
        form = match[0].removesuffix(".%f")
        return form if "%Y" in form and re.fullmatch("(%[YmdjHMS])+", form) else ""
    if not (match := LETTERS.search(text)):
        return ""
    return "%Y%j" if match[1].upper() == "DDD" else "%Y%m%d%H%M%S"[: len(match[0]) - 2]


def unread(attrs: Mapping[str, Any]) -> str:
    """What stands beside times that count since a date, and cannot be counted here; empty if nothing does.

    >>> unread({"units": "months since 2020-01-01"}), unread({"units": "days since 2020-01-01", "calendar": "360_day"})
    ('unit months', 'calendar 360_day')
    """
    if not (since := _since(_text(attrs.get("units", "")))):
        return ""
    if since[1].lower() not in UNITS:
        return f"unit {since[1]}"
    calendar = _calendar(attrs)
    return "" if calendar in CALENDARS else f"calendar {calendar}"


def _since(units: str) -> re.Match[str] | None:
    return SINCE.fullmatch(re.sub(r"\s*\(.*\)$", "", units))


def _calendar(attrs: Mapping[str, Any]) -> str:
    return _text(attrs.get("calendar", "")).lower() or CALENDARS[0]


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return (value.decode() if isinstance(value, bytes) else str(value)).strip()


def _known(values: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    """Which numbers are finite and none of the fills."""
    good = np.isfinite(values)
    for fill in fills(values.dtype, attrs):
        good &= ~holds(values, fill)
    return good


def _epoch(units: str, *about: str) -> str:
    """The unit of numbers that are said to count from the epoch of Unix; empty if they are not, or no unit is said."""
    words = " ".join([units, *about]).replace("_", " ")
    if not EPOCH.search(words) or OTHER.search(words) or re.search(r"\d", words.replace("1970", "")):
        return ""
    return next((UNITS[word] for word in re.findall(r"[a-z]+", words.lower()) if word in UNITS), "")


@np.errstate(over="ignore")
def _counted(attrs: Mapping[str, Any], unit: str, since: str, values: np.ndarray) -> pd.DatetimeIndex:
    """Numbers that count units since a date of any year; NaT of those beyond all dates, as fills are that nobody names."""
    times = np.full(len(values), "NaT", "M8[ns]")
    try:
        start = pd.to_datetime(since, utc=True).tz_localize(None)
    except ValueError:  # a date that is none
        return pd.DatetimeIndex(times)
    day = start.normalize()
    days = int(day.to_datetime64().astype("M8[D]").astype(int))
    if _calendar(attrs) != "proleptic_gregorian" and (day.year, day.month, day.day) < GREGORIAN:
        century = (day.year - (day.month < 3)) // 100
        days += century - century // 4 - 2
    if "scale_factor" in attrs or "add_offset" in attrs:
        values = values * float(_text(attrs.get("scale_factor", 1))) + float(_text(attrs.get("add_offset", 0)))
    step = pd.Timedelta(1, unit)
    first, last = (pd.Timestamp(year, 1, 1).timestamp() for year in YEARS)
    seconds = values.astype(np.float64) * step.total_seconds() + days * 86400
    near = (seconds > first) & (seconds < last)
    counts = values[near].astype(np.int64 if values.dtype.kind in "iu" else np.float64)
    whole, rest = np.divmod(counts, pd.Timedelta("1D") // step)  # nanoseconds since an old date are too many to hold
    clock = (start - day).to_numpy() + np.round(rest * step.as_unit("ns").value).astype("m8[ns]")
    times[near] = (days + whole.astype(np.int64)).astype("M8[D]") + clock
    return pd.DatetimeIndex(times)


def _written(form: str, values: np.ndarray) -> pd.DatetimeIndex:
    """Numbers whose digits are a date, 20200401.5 for noon: what is behind the point is a share of the last unit."""
    whole, exact = np.floor(values), 2 ** (np.finfo(values.dtype).nmant if values.dtype.kind == "f" else 63)
    digits = len(pd.Timestamp(0).strftime(form))
    texts = pd.Series([str(int(number)).zfill(digits) for number in whole])
    found = pd.to_datetime(texts, format=form, errors="coerce")
    sure = (found.dt.strftime(form) == texts) & found.dt.year.between(*YEARS) & (whole < exact)
    found = found.where(sure).astype("M8[ns]")
    step = next(unit for code, unit in STEPS.items() if code in form)
    return pd.DatetimeIndex(found + (found + pd.DateOffset(**{step: 1}) - found) * (values - whole))
