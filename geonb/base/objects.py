"""Inputs in an object store or at an address: asked for, seen in place or fetched once, and found again.

``s3://bucket/key``, ``s3://bucket/scenes/*.tif``, ``s3://bucket/folder/`` and ``https://host/file`` name files wherever a parameter
does. Who reads them gets paths on this disk, below ``data/downloads/objects``: a raster is a page of XML of some kilobytes under its
own name, a GDAL VRT whose pixels stay where they are (:mod:`geonb.base.in_place`); every other file is fetched, whole or not at all.
Both carry the object's mark (its ETag; else when it was changed) in content or time of change: with the object, the keys change of
all that was made from it. Without a network, what was fetched before is used.

Endpoint and credentials come from AWS's usual environment and files, and are written nowhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from geonb.base import download, files, in_place
from geonb.base.conventions import redacted, short
from geonb.base.threads import spread

ADDRESS = re.compile(r"stac:|[A-Za-z][A-Za-z0-9+.-]*://")
PATTERN = re.compile(r"[*?\[]")
SCHEMES = ("s3", "https", "http")
FRESH_S = (
    60  # for so long what a store said is not asked again: one parameter is looked at several times before it is read
)
AT_ONCE = 8  # objects that are asked for or fetched side by side
LARGE = 100 << 20  # bytes from which on a bar shows how far a file is
RASTER_SIDES = (".msk", ".aux.xml")  # behind the name of one that is seen in place
WORLD = {
    ".png": ".pgw",
    ".jpg": ".jgw",
    ".jpeg": ".jgw",
    ".webp": ".wld",
}  # where a picture lies, as a file beside it says
_KNOWN: dict[tuple, tuple[float, list[Path]]] = {}
_SYSTEM: dict[str, Any] = {}
_DOWN: dict[str, float] = {}  # endpoint -> when it was last found to be out of reach


@dataclass(frozen=True)
class Remote:
    """An object, as its store tells of it.

    Attributes
    ----------
    address : str
    size : int, bytes
    mark : str
        What another content would change: the ETag; without one, the time of the last change; empty if the server says neither.
    modified_s : float, s since 1970, 0 = not told
    ranges : bool
        Whether a part of it can be had without the rest.
    beside : str
        The marks of what is read with it and stays where it is, too: a mask, what GDAL keeps of it, the tiles of a VRT.
    """

    address: str
    size: int
    mark: str
    modified_s: float = 0.0
    ranges: bool = True
    beside: str = ""

    @property
    def seal(self) -> str:
        """All that another content would change."""
        return f"{self.mark} {self.size} {self.beside}".strip()

    @property
    def is_seen_in_place(self) -> bool:
        """Whether its pixels are read where they are."""
        return self.ranges and Path(_path(self.address)).suffix.lower() in in_place.SUFFIXES


def is_address(text: str) -> bool:
    """Whether a text names something that is not on this machine.

    >>> is_address("s3://bucket/a.tif"), is_address("data/a.tif"), is_address("fdsn:https://host")
    (True, False, False)
    """
    return bool(ADDRESS.match(text))


def local(address: str, folder: Path, whole: bool = False) -> list[Path]:
    """The paths on this disk by which an address is read: a file, the files of a pattern, or one folder.

    Parameters
    ----------
    address : str
        ``s3://bucket/key``, with ``*``, ``?`` or ``[...]`` a pattern, ending in ``/`` (or naming no object but the beginning of
        some) a folder; ``https://host/file``.
    folder : Path
        ``data/downloads/objects`` of the project.
    whole : bool
        Fetch rasters, too: for a node without a network.

    Raises
    ------
    ValueError
        An address with a password or a signature, of a kind that is not read, or that names nothing; an object that may not be read;
        a store that cannot be reached, and nothing fetched before; too little space. Names the address and says what to do.
    """
    check(address)
    return fresh((address, Path(folder), whole), lambda: _local(address, Path(folder), whole))


def fresh(key: tuple, find: Callable[[], list[Path]]) -> list[Path]:
    """What was found a moment ago, if it is there still, else what is found now."""
    when, known = _KNOWN.get(key, (-FRESH_S, []))
    if time.monotonic() - when >= FRESH_S or not all(path.exists() for path in known):
        try:
            known = find()
        except (OSError, ValueError) as error:
            raise ValueError(redacted(str(error))) from None
        _KNOWN[key] = time.monotonic(), known
    return known


def check(address: str) -> None:
    """Refuse, by the address alone, what is not read, or would show a secret to whoever reads the run, with a ValueError."""
    scheme, rest = address.split("://", 1)
    if scheme not in SCHEMES:
        raise ValueError(
            f"{redacted(address)} is not read: only s3://, https:// and http:// are. Copy it to one of them, or here"
        )
    if redacted(address) != address:
        raise ValueError(
            f"{redacted(address)} holds a password or a signature, which run folders and reports would show. Leave it out: keys belong "
            "into the environment (AWS_ACCESS_KEY_ID ..., GDAL_HTTP_USERPWD) or into ~/.aws/credentials, ~/.netrc"
        )
    names = _path(address).split("/")
    if not rest.partition("/")[0] or {"..", "."} & set(names) or "" in names[:-1]:
        raise ValueError(
            f"{address} names no object. Write {scheme}://{'bucket/key' if scheme == 's3' else 'host/file'}"
        )
    if scheme != "s3" and (not names[-1] or re.search(r"[*\[]", names[-1])):
        raise ValueError(
            f"{address}: a web server does not list what it holds. Name its files one by one, with commas between them"
        )


def place_of(address: str, folder: Path) -> Path:
    """Where an object lies on this disk: ``folder/bucket/key``, or ``folder/host/path``."""
    scheme, rest = address.split("://", 1)
    if scheme == "s3":
        return Path(folder, rest)
    asked = urlsplit(address).query  # another file for another question
    host = urlsplit(address).netloc.replace(":", "_")
    return Path(folder, host, *([hashlib.sha256(asked.encode()).hexdigest()[:8]] if asked else []), _path(address))


def _path(address: str) -> str:
    """The key of an object, the path at a host."""
    rest = address.split("://", 1)[1]
    return rest.partition("/")[2] if address.startswith("s3://") else unquote(urlsplit(address).path).lstrip("/")


def weigh(address: str) -> str:
    """What an address names, in a line: how many objects, how large; a ValueError as of :func:`local`."""
    check(address)
    try:
        found = _listed(address)[0]
    except ConnectionError as error:
        raise ValueError(str(error)) from None
    return f"{address}: {len(found)} objects, {sum(max(remote.size, 0) for remote in found) / 1e6:,.1f} MB"


def _local(address: str, folder: Path, whole: bool) -> list[Path]:
    try:
        found, is_folder = _listed(address)
    except ConnectionError as error:
        return _kept(address, folder, error)
    found = [replace(remote, beside=_beside(remote, found)) for remote in found]
    sides = [] if is_folder else _sides(found, whole)
    paths = _bring([*found, *sides], folder, whole)[: len(found)]
    told = {"address": address, "folder": is_folder, "objects": [remote.address for remote in found]}
    files.write_json(_ensured(_listing(address, folder)), told)
    if not is_folder:
        return paths
    home = place_of(address.rstrip("/"), folder)
    _sweep(home, {*paths}, folder)
    return [home]


def _listed(address: str) -> tuple[list[Remote], bool]:
    """The objects that an address names, and whether it is a folder of them."""
    if not address.startswith("s3://"):
        return [_ask_web(address)], False
    path = address.removeprefix("s3://")
    with _s3(address) as system:
        system.invalidate_cache()
        if PATTERN.search(path):
            is_folder, details = False, system.glob(path, detail=True)
        else:
            one = None if path.endswith("/") or "/" not in path else _info(system, path)
            is_folder = one is None
            details = system.find(path.rstrip("/") + "/", detail=True) if one is None else {path: one}
    told = [(f"s3://{name}", about) for name, about in sorted(details.items()) if about["type"] == "file"]
    found = [_remote(name, about) for name, about in told if not name.endswith("/")]  # consoles make such for a folder
    if not found:
        what = "there is no such object, and none below it" if is_folder else "no object matches"
        raise ValueError(
            f"{address}: {what} (asked {endpoint()}). Look at the bucket, and at the key's spelling, capitals too"
        )
    return found, is_folder


def _info(system: Any, path: str) -> dict | None:
    """What a store says of an object; None where it has none of that name."""
    try:
        told = system.info(path)
    except FileNotFoundError:
        return None
    return told if told["type"] == "file" else None


def _remote(address: str, told: dict) -> Remote:
    changed = told.get("LastModified")
    return Remote(
        address,
        int(told["size"]),
        str(told.get("ETag") or changed or "").strip('"'),
        changed.timestamp() if changed else 0.0,
    )


def endpoint() -> str:
    """Where S3 is asked: AWS itself, or another server that the environment names."""
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if own or not (given := os.environ.get("AWS_S3_ENDPOINT")):
        return own or "AWS"
    safe = os.environ.get("AWS_HTTPS", "YES").upper() not in ("NO", "FALSE", "OFF", "0")
    return given if "://" in given else f"http{'s' * safe}://{given}"


@contextmanager
def _s3(address: str) -> Iterator[Any]:
    """A store as it is now, and its errors in words that name the address."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
        from s3fs import S3FileSystem
    except ImportError:
        raise ValueError(f"{address}: s3fs is not installed, which asks the store: pip install geonb[cloud]") from None

    in_place.bridge(s3=True)
    where = endpoint()
    if time.monotonic() - _DOWN.get(where, -FRESH_S) < FRESH_S:
        raise ConnectionError(f"{address}: {where} was out of reach a moment ago")
    own = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    path_style = where != "AWS" and not in_place.is_on("AWS_VIRTUAL_HOSTING")
    config: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}
    config |= {"s3": {"addressing_style": "path"}} if path_style else {}
    if _SYSTEM.get("of") != (key := (os.getpid(), own)):  # to set one up takes a third of a second
        client: dict[str, Any] = {
            "endpoint_url": None if where == "AWS" else where,
            "client_kwargs": {"region_name": own.get("AWS_REGION")},
        }
        client |= {"anon": in_place.is_on("AWS_NO_SIGN_REQUEST"), "requester_pays": bool(in_place.payer())}
        _SYSTEM.update(of=key, is_=S3FileSystem(config_kwargs=config, skip_instance_cache=True, **client))
    try:
        yield _SYSTEM["is_"]
    except FileNotFoundError:
        raise ValueError(
            f"{address}: there is no such bucket or object (asked {where}). Look at its spelling"
        ) from None
    except (PermissionError, NoCredentialsError) as error:
        raise ValueError(
            f"{address} may not be read, or is not there: the store does not say which ({short(error)}). Give the keys of someone who may, "
            "by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; for a public bucket set AWS_NO_SIGN_REQUEST=YES, for one "
            "where whoever reads pays AWS_REQUEST_PAYER=requester"
        ) from None
    except ClientError as error:
        raise ValueError(
            f"{address}: the store refuses ({short(error)}). Look at AWS_REGION and AWS_ENDPOINT_URL ({where})"
        ) from None
    except (BotoCoreError, OSError) as error:
        _DOWN[where] = time.monotonic()
        raise ConnectionError(f"{address}: {where} cannot be reached ({short(error)})") from None


def _ask_web(address: str) -> Remote:
    """What a web server says of a file, asked for its first byte: many know no other way."""
    from email.utils import parsedate_to_datetime
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    in_place.bridge()
    try:
        with urlopen(
            download.request(address, {"Range": "bytes=0-0"}, named=True), timeout=download.TIMEOUT_S
        ) as answer:
            head = answer.headers
    except HTTPError as error:
        if error.code == 416:  # of nothing there is no first byte
            raise ValueError(f"{address} is empty. Look at the address") from None
        cure = (
            "Give a name and a password by ~/.netrc or GDAL_HTTP_USERPWD=name:password"
            if error.code in (401, 403)
            else "Look at the address"
        )
        raise ValueError(f"{address} cannot be had: the server says {error.code} {error.reason}. {cure}") from None
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"{address} cannot be reached ({short(error)})") from None
    part = re.fullmatch(r"bytes 0-0/(\d+)", head.get("Content-Range") or "")
    size = int(part[1]) if part else int(head.get("Content-Length") or -1)
    changed, tag = head.get("Last-Modified"), head.get("ETag")
    with suppress(TypeError, ValueError):
        return Remote(
            address, size, (tag or changed).strip('"'), parsedate_to_datetime(changed).timestamp(), bool(part)
        )
    return Remote(address, size, (tag or changed or "").strip('"'), 0.0, bool(part))


def _beside(remote: Remote, found: Sequence[Remote]) -> str:
    """The marks of what is read with a raster that is seen in place, as far as there is anything."""
    if not remote.is_seen_in_place:
        return ""
    names = [remote.address + end for end in RASTER_SIDES]
    names += in_place.shown(remote.address) if remote.address.lower().endswith(".vrt") else []
    return " ".join(f"{side.address} {side.mark}" for side in _there(names, found))


def _sides(found: Sequence[Remote], whole: bool) -> list[Remote]:
    """What lies beside files that are fetched, and is read with them: parts of a shapefile, where a picture lies."""
    wanted = []
    for remote in found:
        stem, dot, ending = remote.address.rpartition(".")
        suffix = f".{ending.lower()}" if dot else ""
        wanted += [
            stem + (end.upper() if ending.isupper() else end)
            for end in files.BESIDE.get(suffix, ())
            if suffix == ".shp"
        ]
        wanted += [stem + WORLD[suffix], stem + ".wld", f"{remote.address}.aux.xml"] if suffix in WORLD else []
        wanted += [remote.address + end for end in RASTER_SIDES] if whole and remote.is_seen_in_place else []
    told = {remote.address for remote in found}
    return _there([name for name in dict.fromkeys(wanted) if name not in told], ())


def _there(names: Sequence[str], found: Sequence[Remote]) -> list[Remote]:
    """Those objects that are there, asked for side by side, but for what is known of them already."""
    known = {remote.address: remote for remote in found}
    answers = spread(lambda name: known.get(name) or _side(name), [(name,) for name in names], AT_ONCE)
    return [remote for remote in answers if remote]


def _side(address: str) -> Remote | None:
    """A file that may be there; one that may not be read is as good as none: whoever reads its neighbour misses it."""
    try:
        if not address.startswith("s3://"):
            return _ask_web(address)
        with _s3(address) as system:
            told = _info(system, address.removeprefix("s3://"))
        return _remote(address, told) if told else None
    except ValueError:
        return None


def _bring(found: Sequence[Remote], folder: Path, whole: bool) -> list[Path]:
    """Make sure that each object is here as it is there now; says what is fetched before it is."""
    todo = [remote for remote in found if not _is_here(remote, folder, whole)]
    fetched = [remote for remote in todo if whole or not remote.is_seen_in_place]
    if need := sum(max(remote.size, 0) for remote in fetched):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        text = f"{len(fetched)} of {len(found)} objects" if len(found) > 1 else fetched[0].address
        if need > free:
            raise ValueError(
                f"{text}: {need / 1e6:,.1f} MB are to be fetched to {folder}, where {free / 1e6:,.1f} MB are free"
            )
        files.say(f"{text}: {need / 1e6:,.1f} MB are fetched to {folder}")
    list(spread(_bring_one, [(remote, folder, whole) for remote in todo], AT_ONCE))
    return [place_of(remote.address, folder) for remote in found]


def _is_here(remote: Remote, folder: Path, whole: bool) -> bool:
    place, about = place_of(remote.address, folder), _about(remote.address, folder)
    if not (place.is_file() and about.is_file()):
        return False
    kept = files.read_json(about)
    same = all(kept.get(key) == value for key, value in _facts(remote).items())
    return same and (kept["how"] == "fetched" or not (whole or not remote.is_seen_in_place))


def _facts(remote: Remote) -> dict[str, Any]:
    return asdict(remote) | {"endpoint": endpoint() if remote.address.startswith("s3://") else ""}


def _bring_one(remote: Remote, folder: Path, whole: bool) -> None:
    place, about = place_of(remote.address, folder), _about(remote.address, folder)
    with files.locked(_ensured(about.with_name(f"{about.name}.lock"))):
        if _is_here(remote, folder, whole):  # another process was quicker
            return
        if about.is_file():
            in_place.renewed([remote.address, *(remote.address + end for end in RASTER_SIDES)])
            about.unlink()
        _ensured(place)
        if whole or not remote.is_seen_in_place:
            how, partial = "fetched", about.with_suffix(".partial")
            _fetch(remote, partial)
        else:
            how, partial = "seen in place", about.with_suffix(".vrt")
            in_place.see(remote.address, remote.seal, partial)
        # the nanoseconds tell two versions of one second apart
        stamp = int(remote.modified_s) * 10**9 + zlib.crc32(remote.seal.encode()) % 10**9
        os.utime(partial, ns=(stamp, stamp))
        partial.replace(place)
        download.forget(partial)
        files.write_json(about, _facts(remote) | {"how": how})


def _fetch(remote: Remote, partial: Path) -> None:
    """Fetch an object, resumed where it was cut, and make sure that it is the one that was asked for."""
    from http.client import HTTPException

    url, web = remote.address, not remote.address.startswith("s3://")
    if not web:
        with _s3(remote.address) as system:
            url = system.url(remote.address, **in_place.payer())
    try:
        if not remote.size:
            partial.touch()
        else:
            download.resume(url, partial, progress=remote.size >= LARGE, named=web)
        if web and not remote.address.lower().endswith((".html", ".htm")):
            download.refuse_page(partial)
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"{remote.address} could not be fetched: {short(error)}. Run this again: it goes on where it was cut"
        ) from None
    if _side(remote.address) != replace(remote, beside="") or (
        remote.size >= 0 and partial.stat().st_size != remote.size
    ):
        download.forget(partial)
        raise ValueError(f"{remote.address} was changed while it was fetched, and nothing was kept. Run this again")


def _kept(address: str, folder: Path, error: Exception) -> list[Path]:
    """What was fetched before, where the store cannot be asked."""
    listing = _listing(address, folder)
    if not listing.is_file():
        raise ValueError(f"{error}, and it was never fetched. Run this once where there is a network: on a login node")
    told = files.read_json(listing)
    paths = [place_of(name, folder) for name in told["objects"]]
    abouts = [_about(name, folder) for name in told["objects"]]
    records = [
        files.read_json(about) if about.is_file() and path.is_file() else {}
        for about, path in zip(abouts, paths, strict=True)
    ]
    lacking = [name for name, record in zip(told["objects"], records, strict=True) if record.get("how") != "fetched"]
    if lacking:
        raise ValueError(
            f"{error}, and {len(lacking)} of its {len(paths)} objects are not on this disk, as {lacking[0]}. Fetch them where there is a "
            f"network, rasters too: geonb fetch WORKLOAD {address}"
        )
    files.say(f"{error}: what was fetched before is used")
    return [place_of(address.rstrip("/"), folder)] if told["folder"] else paths


def _sweep(home: Path, wanted: set[Path], folder: Path) -> None:
    """Of a folder, remove what was brought here and is no longer there; refuse what somebody else put between."""
    for path in sorted(path for path in home.rglob("*") if path.is_file() and path not in wanted):
        about = folder / ".about" / path.relative_to(folder).with_name(f"{path.name}.json")
        if not about.is_file():
            raise ValueError(
                f"{path} is none of the store's objects: that folder mirrors the store. Move the file elsewhere"
            )
        path.unlink()
        about.unlink()


def _about(address: str, folder: Path) -> Path:
    """What is known of an object that was brought; not beside it, where a pattern would find it."""
    place = place_of(address, folder)
    return Path(folder, ".about", place.relative_to(folder)).with_name(f"{place.name}.json")


def _listing(address: str, folder: Path) -> Path:
    return Path(folder, ".about", ".listings", f"{files.key_of([address, endpoint()])}.json")


def _ensured(path: Path) -> Path:
    """The path, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
