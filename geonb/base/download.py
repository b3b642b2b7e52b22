"""Files from their publishers: whole or not at all, resumed where cut, checked by their SHA-256 sum ever after."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geonb.base import files
from geonb.base.conventions import redacted
from geonb.base.specs import load, pick

if TYPE_CHECKING:
    from urllib.request import Request

BLOCK = 1 << 18
SCHEMES = ("http", "https")
TIMEOUT_S = 30


@dataclass(frozen=True)
class Source:
    """A publisher's file, or a collection of files.

    Attributes
    ----------
    name : str
        Publishers move and renew their files: the environment gives another address, GEONB_URL_<NAME>.
    url : str
        Empty: the publisher makes the file to order on a page, and there is no address to fetch.
    page : str
        What a browser shows a person who fetches the file by hand.
    collect : str
        Of a collection: ``"package.module:function"``, (folder, options, dry) -> lines to tell; the options say which of its
        files are meant.
    options : tuple of str
        Options that are for this collection alone; one that names none takes those that no other claims.
    """

    name: str
    url: str = ""
    page: str = ""
    collect: str = ""
    options: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment's variable for another address."""
        return f"GEONB_URL_{self.name.upper()}"

    @property
    def address(self) -> str:
        """Where it is now."""
        return os.environ.get(self.variable, self.url)


def fetch(
    source: str | Source,
    path: str | Path,
    sha256: str | None = None,
    attempts: int = 3,
    progress: bool = True,
) -> Path:
    """Get a file once; a file that is there is checked and used, without the network.

    Parameters
    ----------
    source : Source, or its address, http or https
    path : Path
        Where the file shall lie. `path`.sha256 beside it keeps its sum from the first time on.
    sha256 : str, optional
        The sum it must have; else the one recorded, if any.
    attempts : int
        How often a cut connection is taken up again, from where it was cut if the server can.

    Returns
    -------
    Path

    Raises
    ------
    ConnectionError
        The file is not there and cannot be fetched, or what comes is nothing, or a web page in its place: says from where and to
        which place to bring it. What came so far of the file stays in `path`.partial, and the next call resumes it.
    ValueError
        The address is none of http or https, or carries a password. Or the file, there or just fetched, has another sum: a
        fetched one is removed, one that was there is left alone.
    """
    from http.client import HTTPException  # 35 ms that records, which name sources, need not pay

    source = Source("", source) if isinstance(source, str) else source
    path, url = Path(path), source.address
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with files.locked(path.with_name(f".{path.name}.lock")):
        wanted = (sha256 or recorded(path) or "").lower() or None
        if path.exists():
            _check(
                path,
                wanted,
                f"It was changed or cut since it was fetched. Remove it, and {_sum_path(path)} to accept another",
            )
        else:
            if url:
                check_address(url)
            try:
                if not url:
                    raise FileNotFoundError(
                        f"its publisher gives it no fixed address; if you have one, set {source.variable}"
                    )
                resume(url, partial, attempts, progress)
                if not wanted and path.suffix.lower() not in (".html", ".htm"):
                    refuse_page(partial)
            except (OSError, HTTPException) as error:
                raise ConnectionError(_offline(url or source.name, path, error, source.page)) from error
            try:
                _check(
                    partial,
                    wanted,
                    f"Nothing was kept. If the publisher renewed the file, give its sum or remove {_sum_path(path)}",
                )
            except ValueError:
                forget(partial)
                raise
            partial.replace(path)
        forget(partial)
        if not _sum_path(path).exists():
            _record(path)
    return path


def check_address(url: str) -> None:
    """Refuse an address that is not asked over a network (file:, data:), or that carries a password, with a ValueError."""
    from urllib.parse import urlsplit

    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(
            f"{redacted(url)[:200]!r} is not fetched: only addresses of {' and '.join(SCHEMES)} are. A file that is on this machine "
            "already is named in the parameters as it is"
        )
    if urlsplit(url).username is not None:
        raise ValueError(
            f"{redacted(url)!r} carries a name or a password, which is not supported: fetch that file by hand"
        )


def _file_name(source: Source) -> str:
    """The name of the file at a source's address; ValueError if it names none."""
    from urllib.parse import urlsplit

    check_address(source.address)
    name = urlsplit(source.address).path.rpartition("/")[2]
    if name in ("", ".", ".."):
        raise ValueError(
            f"{source.address} names a folder, not a file. Set {source.variable} to the address of the file itself"
        )
    return name


def refuse_page(partial: Path) -> None:
    """Refuse, with a ConnectionError, what has no sum to be checked by: nothing at all, or a page of HTML where a file should be."""
    with partial.open("rb") as file:
        start = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    page = start.startswith(b"<") and (b"<html" in start or b"<!doctype html" in start)
    if start and not page:
        return
    forget(partial)
    what = "a web page came in its place (a login, an error or a notice?)" if page else "nothing came"
    raise ConnectionError(f"{what}, and nothing was kept")


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


def forget(partial: Path) -> None:
    """Remove what came of a file, and the server's mark of it."""
    for path in (partial, _tag_path(partial)):
        path.unlink(missing_ok=True)


def _tag_path(partial: Path) -> Path:
    """Keeps the server's mark of the version that was cut, so that two versions are never joined."""
    return partial.with_name(f"{partial.name}.tag")


def request(url: str, headers: Mapping[str, str], named: bool = False) -> Request:
    """What a server is asked; `named`: with the name and the password of GDAL_HTTP_USERPWD or ~/.netrc, as GDAL itself would.

    They are not handed on to where the server may lead.
    """
    from base64 import b64encode
    from urllib.request import Request

    asked = Request(url, headers={"User-Agent": "geonb", "Accept-Encoding": "identity"} | dict(headers))
    if who := named and (os.environ.get("GDAL_HTTP_USERPWD") or _netrc(asked.host.rpartition(":")[0] or asked.host)):
        asked.add_unredirected_header("Authorization", f"Basic {b64encode(who.encode()).decode()}")
    return asked


def _netrc(host: str) -> str:
    """``name:password`` for a host, of the file that curl reads; empty where there is none, or none that can be read."""
    from netrc import NetrcParseError, netrc

    try:
        login, _, password = netrc().authenticators(host) or ("", "", "")
    except (OSError, NetrcParseError):
        return ""
    return f"{login}:{password}" if login else ""


def resume(url: str, partial: Path, attempts: int = 3, progress: bool = True, named: bool = False) -> None:
    """Fetch a file to `partial`, from where it was cut before if the server can and has the same one still; raises OSError.

    `named` as in :func:`request`.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError

    for attempt in range(attempts):
        try:
            return _continue(url, partial, progress, named)
        except HTTPError as error:
            if error.code == 416:  # what is there does not fit what the server has
                forget(partial)
            elif error.code < 500 and error.code != 429:
                raise
            if attempt == attempts - 1:
                raise
        except (OSError, HTTPException):
            if attempt == attempts - 1:
                raise
    return None


def _continue(url: str, partial: Path, progress: bool, named: bool) -> None:
    """Fetch what is missing of a file; all of it if the server cannot do parts, or has another version now."""
    from urllib.request import urlopen

    from tqdm.auto import tqdm

    tag = _tag_path(partial).read_text() if _tag_path(partial).exists() else ""
    have = partial.stat().st_size if partial.exists() and tag else 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag} if have else {}
    with urlopen(request(url, headers, named), timeout=TIMEOUT_S) as answer:
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


def _offline(url: str, path: Path, error: Exception, page: str) -> str:
    by_hand = f" (page: {page})" if page else ""
    return redacted(
        f"{url} could not be fetched: {error}. With a network, run this again: it goes on where it was cut. "
        f"Or bring the file yourself{by_hand} and put it at {path.resolve()}. The address can be set anew if it moved."
    )


def fetch_all(
    sources: Sequence[Source],
    folder: Path,
    names: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    dry: bool = False,
) -> list[str]:
    """Fetch files of a workload, all that can be had; tells of each where it lies, or how to get it.

    Parameters
    ----------
    sources : sequence of Source
    folder : Path
        Where they go.
    names : sequence of str
        Which of the sources; all by default.
    options : mapping, optional
        Which files of a collection, such as a satellite's bucket.
    dry : bool
        Tell what is there and what would be fetched, and fetch nothing.

    Returns
    -------
    list of str, a line a file

    Raises
    ------
    ValueError
        If there is no source of that name; options or addresses that cannot be used: nothing was fetched.
    ConnectionError
        If one could not be fetched; after the others were tried.
    """
    known = {source.name: source for source in sources}
    wanted = [pick("file", name, known) for name in names or known]
    if options and not any(source.collect for source in wanted):
        which = ", ".join(source.name for source in wanted)
        raise ValueError(f"{which} take no options, but {', '.join(options)} is given. Leave out -p.")
    told, failed = [], []
    file_of = {source.name: _file_name(source) for source in wanted if source.address and not source.collect}
    claimed = {name for source in wanted for name in source.options}
    for source in wanted:
        url = source.address
        if source.collect:
            its = {
                k: v
                for k, v in (options or {}).items()
                if (k in source.options if source.options else k not in claimed)
            }
            try:
                told += load(source.collect)(folder, its, dry)
            except ConnectionError as error:
                failed.append(str(error))
        elif dry:
            there = url and (folder / file_of[source.name]).is_file()
            told.append(f"{source.name}: {'there, from ' if there else ''}{url or f'made to order at {source.page}'}")
        elif not url:
            told.append(
                f"{source.name}: made to order at {source.page}; put the file anywhere and name it in the parameters"
            )
        else:
            try:
                told.append(f"{source.name}: {fetch(source, folder / file_of[source.name])}")
            except ConnectionError as error:
                failed.append(str(error))
    if failed:
        raise ConnectionError("\n".join([*told, *failed]))
    return told
