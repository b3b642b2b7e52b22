"""Files from their publishers: whole or not at all, resumed where cut, checked by their SHA-256 sum ever after."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geonb.base import files

# Publishers move and renew their files: set another address with GEONB_URL_<NAME>, or pass `sources` of your own.
# An empty one: the publisher makes the file to order on a page, and there is no address to fetch.
SOURCES = {
    "ucdp_ged": "https://ucdp.uu.se/downloads/ged/ged261-csv.zip",
    "ucdp_candidate": "https://ucdp.uu.se/downloads/candidateged/GEDEvent_v26_0_6.csv",
    "priogrid_yearly": "",
    "priogrid_static": "",
    "hdx": "",
    "goes": "https://noaa-goes{satellite}.s3.amazonaws.com",
}
# Many files, of which options say the ones that are meant: (folder, options, dry, say) -> lines to tell.
COLLECTIONS = {"goes": "geonb.workloads.clouds.goes_bucket:fetch_scenes"}
# what a browser shows a person who fetches the file by hand
PAGES = {
    "ucdp_ged": "https://ucdp.uu.se/downloads/",
    "ucdp_candidate": "https://ucdp.uu.se/downloads/",
    "priogrid_yearly": "https://grid.prio.org/#/download",
    "priogrid_static": "https://grid.prio.org/#/download",
    "hdx": "https://data.humdata.org/organization/ucdp",
    "goes": "https://registry.opendata.aws/noaa-goes/",
}
BLOCK = 1 << 18
TIMEOUT_S = 30


def address(name: str, sources: Mapping[str, str] | None = None) -> str:
    """Where a publisher's file is: from `sources`, else the environment (GEONB_URL_UCDP_GED, ...), else `SOURCES`.

    Raises
    ------
    ValueError
        If there is no source of that name.
    """
    from geonb.base.specs import pick

    known = {k: os.environ.get(f"GEONB_URL_{k.upper()}", v) for k, v in SOURCES.items()} | dict(sources or {})
    return pick("source", name, known)


def fetch(
    url: str,
    path: str | Path,
    sha256: str | None = None,
    attempts: int = 3,
    progress: bool = True,
    page: str | None = None,
) -> Path:
    """Get a file once; a file that is there is checked and used, without the network.

    Parameters
    ----------
    url : str
        http, https, or one of the names in `SOURCES`.
    path : Path
        Where the file shall lie. `path`.sha256 beside it keeps its sum from the first time on.
    sha256 : str, optional
        The sum it must have; else the one recorded, if any.
    attempts : int
        How often a cut connection is taken up again, from where it was cut if the server can.
    page : str, optional
        Where a person would fetch the file by hand; named in the error.

    Returns
    -------
    Path

    Raises
    ------
    ConnectionError
        The file is not there and cannot be fetched: says from where and to which place to bring it. What came so far stays in
        `path`.partial, and the next call resumes it.
    ValueError
        The file, there or just fetched, has another sum. A fetched one is removed, one that was there is left alone.
    """
    path, page = Path(path), page or PAGES.get(url)
    name, url = url, url if "://" in url else address(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(path.with_name(f".{path.name}.lock")):
        wanted = (sha256 or recorded(path) or "").lower() or None
        if path.exists():
            _check(
                path,
                wanted,
                f"It was changed or cut since it was fetched. Remove it, and {_sum_path(path)} to accept another",
            )
        else:
            partial = path.with_name(f"{path.name}.partial")
            try:
                if not url:
                    raise FileNotFoundError(
                        f"its publisher gives it no fixed address; if you have one, set GEONB_URL_{name.upper()}"
                    )
                _download(url, partial, attempts, progress)
            except (OSError, http.client.HTTPException) as error:
                raise ConnectionError(_offline(url or name, path, error, page)) from error
            try:
                _check(
                    partial,
                    wanted,
                    f"Nothing was kept. If the publisher renewed the file, give its sum or remove {_sum_path(path)}",
                )
            except ValueError:
                _forget(partial)
                raise
            partial.replace(path)
            _forget(partial)
        if not _sum_path(path).exists():
            _record(path)
    return path


def recorded(path: Path) -> str | None:
    """The sum kept beside a file since it was first fetched."""
    text = _sum_path(path).read_text().split() if _sum_path(path).exists() else []
    return text[0] if text else None


def _record(path: Path) -> None:
    files.write_text(_sum_path(path), f"{_sum(path)}  {path.name}\n")  # as sha256sum writes it


def _sum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, wanted: str | None, cure: str) -> None:
    if wanted and (found := _sum(path)) != wanted:
        raise ValueError(f"{path} has the SHA-256 sum {found}, not {wanted}. {cure}.")


def _forget(partial: Path) -> None:
    for path in (partial, _tag_path(partial)):
        path.unlink(missing_ok=True)


def _tag_path(partial: Path) -> Path:
    """Keeps the server's mark of the version that was cut, so that two versions are never joined."""
    return partial.with_name(f"{partial.name}.tag")


def _download(url: str, partial: Path, attempts: int, progress: bool) -> None:
    for attempt in range(attempts):
        try:
            return _continue(url, partial, progress)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # what is there does not fit what the server has
                _forget(partial)
            elif error.code < 500 and error.code != 429:
                raise
            if attempt == attempts - 1:
                raise
        except (OSError, http.client.HTTPException):
            if attempt == attempts - 1:
                raise
    return None


def _continue(url: str, partial: Path, progress: bool) -> None:
    """Fetch what is missing of a file; all of it if the server cannot do parts, or has another version now."""
    from tqdm.auto import tqdm

    tag = _tag_path(partial).read_text() if _tag_path(partial).exists() else ""
    have = partial.stat().st_size if partial.exists() and tag else 0
    headers = {"User-Agent": "geonb", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
        part = answer.status == 206 and (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        have = have if part else 0
        length = answer.headers.get("Content-Length")
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        _tag_path(partial).write_text("" if mark.startswith("W/") else mark)
        total = have + int(length) if length else None
        bar = {"total": total, "initial": have, "unit": "B", "unit_scale": True, "disable": not progress}
        with (
            tqdm(desc=partial.name.removesuffix(".partial"), **bar) as shown,
            partial.open("ab" if part else "wb") as file,
        ):
            while block := answer.read(BLOCK):
                file.write(block)
                have += len(block)
                shown.update(len(block))
    if total is not None and have != total:
        raise ConnectionError(f"the connection was cut after {have} of {total} bytes")


def _offline(url: str, path: Path, error: Exception, page: str | None) -> str:
    by_hand = f" (page: {page})" if page else ""
    return (
        f"{url} could not be fetched: {error}. With a network, run this again: it goes on where it was cut. "
        f"Or bring the file yourself{by_hand} and put it at {path.resolve()}. The address can be set anew if it moved."
    )


def fetch_all(
    record: Any,
    folder: Path,
    names: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    dry: bool = False,
) -> list[str]:
    """Fetch a workload's files, all that can be had; tells of each where it lies, or how to get it.

    Parameters
    ----------
    record : Workload
    folder : Path
        Where they go.
    names : sequence of str
        Which of ``record.fetch``; all by default.
    options : mapping, optional
        Which files of a collection, such as a satellite's bucket.
    dry : bool
        Tell what would be fetched, and fetch nothing.

    Returns
    -------
    list of str, a line a file

    Raises
    ------
    ValueError
        If the workload has no files to fetch, or none of that name; options that cannot be used.
    ConnectionError
        If one could not be fetched; after the others were tried.
    """
    from geonb.base.specs import pick

    if not record.fetch:
        raise ValueError(
            f"{record.name} has nothing to fetch: its example data come with the first run of notebook 01."
        )
    wanted = [pick("file", name, dict.fromkeys(record.fetch, name)) for name in names or record.fetch]
    if options and not set(wanted) & set(COLLECTIONS):
        raise ValueError(f"{', '.join(wanted)} take no options, but {', '.join(options)} is given. Leave out -p.")
    told, failed = [], []
    for name in wanted:
        url = address(name)
        if name in COLLECTIONS:
            from geonb.base.specs import load

            told += load(COLLECTIONS[name])(folder, options or {}, dry)
            continue
        if dry:
            told.append(f"{name}: {url or f'made to order at {PAGES[name]}'}")
            continue
        if not url:
            told.append(f"{name}: made to order at {PAGES[name]}; put the file anywhere and name it in the parameters")
            continue
        try:
            told.append(f"{name}: {fetch(name, folder / url.rpartition('/')[2])}")
        except ConnectionError as error:
            failed.append(str(error))
    if failed:
        raise ConnectionError("\n".join([*told, *failed]))
    return told
