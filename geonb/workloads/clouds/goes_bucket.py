"""Scenes of the GOES imager from the public bucket, without an account: what there is, what the sun allows, then fetched.

The bucket holds an hour a folder, ``ABI-L2-MCMIPF/2020/092/12/OR_ABI-...nc``, and lists itself over http by the protocol of
S3 (ListObjectsV2). Another bucket, or a mirror, by GEONB_URL_GOES.
"""

from __future__ import annotations

import http.client
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from geonb.base import download
from geonb.base.specs import Option, pick
from geonb.base.times import stamp
from geonb.workloads.clouds import GOES
from geonb.workloads.clouds.frames import time_of_name
from geonb.workloads.clouds.goes import SAME_SCAN_S

PRODUCTS = tuple(f"ABI-{kind}{sector}" for kind in ("L1b-Rad", "L2-CMIP", "L2-MCMIP") for sector in "FCM")
ATTEMPTS = 3


@dataclass(frozen=True)
class Wish:
    """What is to be fetched; see OPTIONS."""

    start: pd.Timestamp
    stop: pd.Timestamp
    product: str = "ABI-L2-MCMIPF"
    channels: tuple[str, ...] = ()
    lon: float | None = None
    lat: float | None = None
    zenith: float | None = None
    every: float | None = None
    satellite: int = 16
    limit_gb: float = 50.0

    @property
    def bucket(self) -> str:
        """Address of the satellite's bucket."""
        return GOES.address.replace("{satellite}", str(self.satellite)).rstrip("/")

    def zenith_at(self, times: Any) -> np.ndarray:
        """Angle between the sun and the zenith (time,), degrees; NaN without a place."""
        if self.lon is None or self.lat is None:
            return np.full(len(times), np.nan)
        return sun_zenith(times, self.lon, self.lat)


def read_options(options: Mapping[str, str]) -> Wish:
    """Options as texts -> what is to be fetched.

    Raises
    ------
    ValueError
        Listing every option that is unknown, missing or cannot be used.
    """
    faults: list[str] = []
    made: dict[str, Any] = {}
    for name, text in options.items():
        try:
            option = pick("option", name, OPTIONS)
            made[name] = option.take((option.kind or str)(str(text).strip()))
        except ValueError as error:
            faults.append(f"{name} = {text!r}: {OPTIONS[name].help}" if name in OPTIONS else str(error))
    faults += [f"{name} is missing: {OPTIONS[name].help}" for name in ("start", "stop") if name not in options]
    if made.get("zenith") is not None and not {"lon", "lat"} <= set(made):
        faults.append("zenith needs lon and lat: where the sun is looked at")
    if {"start", "stop"} <= set(made) and made["start"] >= made["stop"]:
        faults.append(f"stop = {options['stop']!r} is not after start = {options['start']!r}")
    if made.get("channels") and "MCMIP" in made.get("product", Wish.product):
        faults.append(f"channels: each file of {made.get('product', Wish.product)} holds all of them. Leave it out")
    if faults:
        known = [f"  {name}: {option.help}" for name, option in OPTIONS.items()]
        wrong = [f"  {fault}" for fault in faults]
        raise ValueError("\n".join(["Nothing was fetched:", *wrong, "Options, -p name=value:", *known]))
    return Wish(**made)


def _time(text: str) -> pd.Timestamp:
    if pd.isna(time := stamp(text)):
        raise ValueError(text)
    return time


def _channels(text: str) -> tuple[str, ...]:
    names = tuple(n.strip().upper() for n in text.split(",") if n.strip())
    if not names or any(not re.fullmatch(r"C(0[1-9]|1[0-6])", n) for n in names):
        raise ValueError(text)
    return names


OPTIONS = {
    "product": Option(choices=PRODUCTS, help=f"one of {', '.join(PRODUCTS)}"),
    "start": Option(read=_time, help="first time, UTC, as 2020-04-01 or 2020-04-01T12:00"),
    "stop": Option(read=_time, help="time before which the last one lies, UTC"),
    "channels": Option(read=_channels, help="of products with one a file: C01,C02,C03; all by default"),
    "lon": Option(None, float, -180, 180, help="longitude at which the sun is looked at [degrees]"),
    "lat": Option(None, float, -90, 90, help="latitude at which the sun is looked at [degrees]"),
    "zenith": Option(
        None,
        float,
        0,
        180,
        help="largest zenith angle of the sun there [degrees]; 90 is the horizon, nothing: day and night",
    ),
    "every": Option(None, float, 0.5, 1e6, help="at most one scene in so many minutes; all by default"),
    "satellite": Option(None, int, 16, 19, help="16, 17, 18 or 19"),
    "limit_gb": Option(None, float, 0, 1e6, help="more than this is not fetched [GB]"),
}
assert set(OPTIONS) == {f.name for f in fields(Wish)}


def sun_zenith(times: Any, lon: float, lat: float) -> np.ndarray:
    """Angle between the sun's centre and the zenith, without refraction; right to some hundredths of a degree, 1950-2050.

    The low-precision formulas of the Astronomical Almanac (Michalsky 1988, Solar Energy 40, 227-235).

    Parameters
    ----------
    times : datetime or sequence of them, UTC
    lon, lat : float, degrees

    Returns
    -------
    ndarray (time,), degrees
    """
    moments = pd.DatetimeIndex(np.atleast_1d(np.asarray(times, "datetime64[ns]")))
    days = ((moments - pd.Timestamp("2000-01-01 12:00")) / pd.Timedelta(days=1)).to_numpy()
    hour = ((moments - moments.normalize()) / pd.Timedelta(hours=1)).to_numpy()
    mean_longitude = 280.460 + 0.9856474 * days
    anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = np.radians(mean_longitude + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.radians(23.439 - 4e-7 * days)
    ascension = np.degrees(np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic)))
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    sidereal = 15 * (6.697375 + 0.0657098242 * days + hour)
    angle = np.radians(sidereal + lon - ascension)
    phi = np.radians(lat)
    cosine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def list_keys(bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Everything in a bucket under a prefix: key and size in bytes, page by page.

    Raises
    ------
    ConnectionError
        The bucket cannot be reached, or answers with something else than a listing.
    """
    query = {"list-type": "2", "prefix": prefix}
    while True:
        page = _page(f"{bucket}/?{urllib.parse.urlencode(query)}")
        for entry in page.iterfind("{*}Contents"):  # the namespace differs between servers
            yield entry.findtext("{*}Key", ""), int(entry.findtext("{*}Size", "0"))
        token = page.findtext("{*}NextContinuationToken")
        if not token or page.findtext("{*}IsTruncated") != "true":
            return
        query["continuation-token"] = token


def _page(url: str) -> ElementTree.Element:
    download.check_address(url)
    request = urllib.request.Request(url, headers={"User-Agent": "geonb"})
    for attempt in range(ATTEMPTS):
        try:
            with urllib.request.urlopen(request, timeout=download.TIMEOUT_S) as answer:
                text = answer.read()
            break
        except (OSError, http.client.HTTPException) as error:
            code = error.code if isinstance(error, urllib.error.HTTPError) else None
            if attempt == ATTEMPTS - 1 or (code is not None and code < 500 and code != 429):
                cure = "With a network, run this again; set" if code is None else "Set"
                raise ConnectionError(
                    f"{url} could not be listed: {error}. {cure} GEONB_URL_GOES if it moved."
                ) from error
    try:
        page = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConnectionError(f"{url} is no bucket: it answers with something else than a listing ({error})") from None
    kind = page.tag.rpartition("}")[2]
    if kind != "ListBucketResult":
        raise ConnectionError(f"{url} is no bucket: it answers with <{kind}>")
    return page


def find_files(wish: Wish) -> pd.DataFrame:
    """The files that a wish means, in order of time; those of the night are not even listed.

    Returns
    -------
    DataFrame with key, bytes, time (UTC), channel ("" where a file has all), zenith (degrees; NaN without a place)
    """
    rows = []
    for hour in pd.date_range(wish.start.floor("h"), wish.stop, freq="h", inclusive="left"):
        looks = pd.date_range(hour, periods=13, freq="5min")  # between two, the sun moves 1.25 degrees
        if wish.zenith is not None and not (wish.zenith_at(looks) <= wish.zenith + 1.25).any():
            continue
        for key, size in list_keys(wish.bucket, f"{wish.product}/{hour:%Y/%j/%H}/"):
            name = key.rpartition("/")[2]
            time, match = time_of_name(name), re.search(r"-M\d+(C\d\d)?_", name)
            if name.endswith(".nc") and not pd.isna(time) and match:
                rows.append((key, size, time, match[1] or ""))
    frame = pd.DataFrame(rows, columns=["key", "bytes", "time", "channel"]).astype({"time": "datetime64[ns]"})
    frame = frame[(frame["time"] >= wish.start) & (frame["time"] < wish.stop)]
    if wish.channels:
        frame = frame[frame["channel"].isin(wish.channels)]
    frame["zenith"] = wish.zenith_at(frame["time"])
    if wish.zenith is not None:
        frame = frame[frame["zenith"] <= wish.zenith]
    return _thinned(frame.sort_values(["time", "key"], ignore_index=True), wish)


def _thinned(frame: pd.DataFrame, wish: Wish) -> pd.DataFrame:
    """The first scan in every so many minutes, with the files of all its channels."""
    if wish.every is None or frame.empty:
        return frame
    times = frame["time"].drop_duplicates().sort_values()
    bins = (times - wish.start) // pd.Timedelta(minutes=wish.every)
    first = times.groupby(bins).min()
    nearest = first.to_numpy()[np.searchsorted(first.to_numpy(), frame["time"].to_numpy(), side="right") - 1]
    return frame[(frame["time"] - nearest) <= pd.Timedelta(seconds=SAME_SCAN_S)].reset_index(drop=True)


def fetch_scenes(
    folder: Path, options: Mapping[str, str], dry: bool = False, say: Callable[[str], None] = print
) -> list[str]:
    """Tell what would be fetched and how much it is; then fetch it, each file whole or not at all.

    Parameters
    ----------
    folder : Path
        Files go to ``folder/goes<satellite>/<product>``.
    options : mapping
        See OPTIONS.
    dry : bool
        Only tell.
    say : callable
        Takes the lines of the listing.

    Returns
    -------
    list of str: where the files lie

    Raises
    ------
    ValueError
        Options that cannot be used; more than `limit_gb` or than the disk has room for.
    ConnectionError
        The bucket or a file cannot be reached; after the others were tried. What came so far is used the next time.
    """
    wish = read_options(options)
    files = find_files(wish)
    for line in _listing(files, wish):
        say(line)
    folder = folder / f"goes{wish.satellite}" / wish.product
    if files.empty:
        return ["nothing was fetched"]
    if dry:
        return [f"a dry run: nothing was fetched. The files would go to {folder}"]
    _check_size(files, wish, folder)
    failed = []
    for i, row in enumerate(files.itertuples()):
        name = row.key.rpartition("/")[2]
        say(f"{i + 1} of {len(files)}: {name}")
        try:
            download.fetch(f"{wish.bucket}/{urllib.parse.quote(row.key)}", folder / name)
        except ConnectionError as error:
            failed.append(str(error))
    if failed:
        raise ConnectionError("\n".join([f"{len(files) - len(failed)} of {len(files)} files are in {folder}", *failed]))
    return [f"{len(files)} files are in {folder}; use them as -p scenes={folder}"]


def _listing(files: pd.DataFrame, wish: Wish) -> list[str]:
    if files.empty:
        dark = f" with the sun within {wish.zenith:g} degrees of the zenith" if wish.zenith is not None else ""
        return [f"{wish.bucket} has no {wish.product} from {wish.start} to {wish.stop}{dark}"]
    lines = [f"{wish.product} of {wish.bucket}:"]
    for time, scan in files.groupby("time"):
        sun = "" if np.isnan(scan["zenith"].iloc[0]) else f", sun {scan['zenith'].iloc[0]:.1f} degrees from the zenith"
        names = f", {' '.join(scan['channel'])}" if scan["channel"].iloc[0] else ""
        lines.append(f"  {time:%Y-%m-%d %H:%M:%S}{names}, {scan['bytes'].sum() / 1e6:,.1f} MB{sun}")
    if len(lines) > 41:
        lines = [*lines[:21], f"  ... {len(lines) - 41} more ...", *lines[-20:]]
    return [*lines, f"{len(files)} files, {files['bytes'].sum() / 1e9:,.3f} GB"]


def _check_size(files: pd.DataFrame, wish: Wish, folder: Path) -> None:
    missing = [row.bytes for row in files.itertuples() if not (folder / row.key.rpartition("/")[2]).exists()]
    need_gb = sum(missing) / 1e9
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    if need_gb > wish.limit_gb:
        raise ValueError(
            f"These are {need_gb:,.2f} GB, more than limit_gb = {wish.limit_gb:g}. Ask for a shorter time, a larger `every`, "
            "fewer channels or a smaller sector, or raise limit_gb."
        )
    if need_gb > free_gb:
        raise ValueError(
            f"These are {need_gb:,.2f} GB, but {place} has room for {free_gb:,.2f} GB. Nothing was fetched."
        )
