"""Servers that tests read from, each a process of its own: an S3 store (moto's), and a web server that gives parts of files.

GDAL waits for a server with Python's lock held; one in the same process would never answer.
"""

from __future__ import annotations

import http.server
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 store."""

    name: str
    client: object

    def put(self, path: Path, key: str = "", **more: str) -> str:
        """Bring a file, or all that lies in a folder; gives the address."""
        key = key or path.name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                end = f"/{file.relative_to(path).as_posix()}" if path.is_dir() else ""
                self.client.put_object(Bucket=self.name, Key=key + end, Body=file.read_bytes(), **more)
        return f"s3://{self.name}/{key}" + "/" * path.is_dir()


@pytest.fixture(scope="session")
def s3_server():
    pytest.importorskip("moto", reason="needs moto[s3] and flask (pip install -e .[test])")
    with served("s3") as address:
        yield address


@pytest.fixture
def bucket(s3_server, monkeypatch, tmp_path):
    """An empty bucket of a local S3 server, and a project of its own that reads from it."""
    import boto3

    for name in [name for name in os.environ if name.startswith(("AWS_", "GDAL_HTTP_USERPWD", "CPL_VSIL"))]:
        monkeypatch.delenv(name)
    said = {
        "AWS_ACCESS_KEY_ID": "anna",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_REGION": "us-east-1",
    }
    for name, value in (said | dict.fromkeys(("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"), "")).items():
        monkeypatch.setenv(name, value)  # so that what bridges them is undone
        if not value:
            monkeypatch.delenv(name)
    own_project(tmp_path / "project", monkeypatch)
    client = boto3.client("s3")
    name = f"bucket-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=name)
    yield Bucket(name, client)
    for bridged in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"):
        os.environ.pop(bridged, None)


def own_project(folder: Path, monkeypatch) -> Path:
    """A project in which nothing was fetched."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    monkeypatch.setenv("GEONB_ROOT", str(folder))
    forget(monkeypatch)
    return folder


def forget(monkeypatch) -> None:
    """As a minute later: what stores said is asked again."""
    from geonb.base import objects

    monkeypatch.setattr(objects, "_KNOWN", {})
    monkeypatch.setattr(objects, "_DOWN", {})


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder, and the address at which a local web server shows it; a project of its own."""
    (tmp_path / "served").mkdir()
    own_project(tmp_path / "project", monkeypatch)
    with served("web", tmp_path / "served") as address:
        yield tmp_path / "served", address


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files of the folder it was started in; parts of them; what lies in locked/ for anna, whose password is pw, only."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if "/locked/" in self.path and self.headers.get("Authorization") != "Basic YW5uYTpwdw==":
            return self.send_error(401)
        if not path.is_file():
            return self.send_error(404)
        content, stat = path.read_bytes(), path.stat()
        part = (
            re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "") if "/whole/" not in self.path else None
        )
        start, stop = (
            (int(part[1]), min(int(part[2] or len(content) - 1), len(content) - 1) + 1) if part else (0, len(content))
        )
        if part and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"')
        self.send_header("Last-Modified", self.date_time_string(int(stat.st_mtime)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:stop])
        return None

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Api(Ranges):
    """A STAC API at /v1 over features.json of its folder; what it is asked stands in asked.jsonl."""

    def do_GET(self) -> None:
        root = f"http://{self.headers['Host']}/v1"
        links = [{"rel": "self", "href": root}, {"rel": "root", "href": root}]
        links += [
            {"rel": "search", "href": f"{root}/search", "method": method, "type": "application/geo+json"}
            for method in ("GET", "POST")
        ]
        conforms = [f"https://api.stacspec.org/v1.0.0/{part}" for part in ("core", "item-search")]
        landing = {"type": "Catalog", "id": "api", "description": "of tests", "stac_version": "1.0.0"}
        self.told(landing | {"links": links, "conformsTo": conforms})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Path("asked.jsonl").open("a") as file:
            file.write(json.dumps(asked) + "\n")
        first, _, last = asked.get("datetime", "0/9").partition("/")
        found = [
            item for item in json.loads(Path("features.json").read_text())
            if item["collection"] in asked["collections"] and first <= item["properties"]["datetime"] <= last
        ]  # fmt: skip
        self.told({"type": "FeatureCollection", "features": found, "links": []})

    def told(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/geo+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served(kind: str, folder: Path | str = ".") -> Iterator[str]:
    """A server, ``s3``, ``web`` or ``stac``, for as long as this lasts; yields its address."""
    command = [sys.executable, __file__, kind]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def main(kind: str) -> None:
    """Serve until nobody holds the other end of the standard input."""
    if kind == "s3":
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        port = server.get_host_and_port()[1]
    else:
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api if kind == "stac" else Ranges)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        port = web.server_address[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
