"""Map tiles of one COG: `geonb serve` beside titiler, each in a process of its own behind the same HTTP server (tornado).

One client asks both for the same tiles, in turns, over connections that stay open. titiler has the settings that its manual advises.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

SIZE, TILES, ROUNDS = 8192, 120, 3
ADVISED = {
    "GDAL_CACHEMAX": "512", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "VSI_CACHE": "TRUE",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}  # fmt: skip


def make(path: Path) -> None:
    """A COG of three bands of bytes in UTM: waves and noise, in strips."""
    import rasterio
    from rasterio.transform import from_origin

    from geonb.rasters.cog import TargetGrid, new_cog

    rng, x = np.random.default_rng(0), np.arange(SIZE)
    grid = TargetGrid("EPSG:32633", from_origin(500_000, 5_200_000, 2, 2), (SIZE, SIZE))
    with new_cog(path, grid, 3, nodata=None, overviews="AVERAGE") as target:
        for top in range(0, SIZE, 1024):
            y = np.arange(top, top + 1024)[:, None]
            waves = [128 + 60 * np.sin(x / (30 + 7 * c)) * np.cos(y / (40 + 5 * c)) for c in range(3)]
            values = np.stack(waves) + rng.normal(0, 6, (3, 1024, SIZE))
            window = rasterio.windows.Window(0, top, SIZE, 1024)
            target.write(values.clip(0, 255).astype(np.uint8), window=window)


def addresses(path: Path) -> list[str]:
    """Tiles of a walk: places by chance, at each the file's own zoom, two coarser and one finer; z/x/y."""
    import mercantile
    from rio_tiler.io import Reader

    with Reader(str(path)) as source:
        west, south, east, north = source.get_geographic_bounds("EPSG:4326")
        own = source.maxzoom
    rng, found = np.random.default_rng(1), []
    while len(found) < TILES:
        lon, lat = rng.uniform(west, east), rng.uniform(south, north)
        found += [mercantile.tile(lon, lat, own + up) for up in (-2, -1, 0, 1)]
    return [f"{t.z}/{t.x}/{t.y}" for t in found[:TILES]]


def serve_titiler() -> None:
    """titiler's application behind tornado, which hands each request on (ASGI)."""
    from fastapi import FastAPI
    from titiler.core.factory import TilerFactory
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler

    titiler = FastAPI()
    titiler.include_router(TilerFactory().router)

    class Bridge(RequestHandler):
        async def get(self) -> None:
            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": "",
                "path": self.request.path, "raw_path": self.request.path.encode(), "query_string": self.request.query.encode(),
                "headers": [(k.lower().encode(), v.encode()) for k, v in self.request.headers.get_all()],
                "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0),
            }  # fmt: skip

            async def receive() -> dict:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: dict) -> None:
                if message["type"] == "http.response.start":
                    self.set_status(message["status"])
                    for name, value in message["headers"]:
                        self.set_header(name.decode(), value.decode())
                else:
                    self.write(message.get("body", b""))

            await titiler(scope, receive, send)

    async def run() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        HTTPServer(Application([(".*", Bridge)], log_function=lambda handler: None)).add_sockets(sockets)
        print(f"Look at them here: http://127.0.0.1:{sockets[0].getsockname()[1]}/", flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def start(command: list[str], settings: dict[str, str]) -> tuple[subprocess.Popen, str]:
    """A server and the address it prints."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env={**os.environ, **settings}
    )
    for line in process.stdout:
        if line.startswith("Look at them here"):
            return process, line.split()[-1]
    raise RuntimeError(f"{command} did not start.")


def ask(base: str, tiles: list[str], form: str, at_once: int) -> tuple[float, list[float]]:
    """Requests a second and the seconds of each, asked by threads that share a list."""
    host, times, left, wrong = base.split("/")[2], [], list(tiles), []

    def client() -> None:
        link = http.client.HTTPConnection(host)
        while True:
            try:
                tile = left.pop()
            except IndexError:
                return
            began = time.perf_counter()
            link.request("GET", form.format(tile))
            answer = link.getresponse()
            body = answer.read()
            times.append(time.perf_counter() - began)
            if answer.status != 200 or body[:4] != b"\x89PNG":
                wrong.append(body[:200])

    began, threads = time.perf_counter(), [threading.Thread(target=client) for _ in range(at_once)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if wrong:
        raise RuntimeError(f"{base}: {wrong[0]}")
    return len(tiles) / (time.perf_counter() - began), times


def main(folder: Path) -> list[list[str]]:
    from urllib.parse import quote

    path = folder / "scene.tif"
    make(path)
    tiles = addresses(path)
    ours, base = start(["-m", "geonb.cli", "serve", str(path)], {})
    theirs, other = start(["-m", "benchmarks.tiles"], ADVISED)
    peer = f"/tiles/WebMercatorQuad/{{}}.png?url={quote(str(path))}"
    forms = {
        "geonb serve": (base, f"/{base.split('/')[3]}/scene/{{}}.png"),
        "titiler, bilinear": (other, f"{peer}&resampling=bilinear&reproject=bilinear"),
        "titiler, nearest": (other, peer),
    }
    rows = []
    try:
        for at, form in forms.values():
            ask(at, tiles[:40], form, 4)
        for at_once in (1, 4, 8):
            rates, late = {name: [] for name in forms}, {name: [] for name in forms}
            for _ in range(ROUNDS):
                for name, (at, form) in forms.items():
                    rate, times = ask(at, tiles, form, at_once)
                    rates[name].append(rate)
                    late[name].append(float(np.percentile(times, 95)) * 1e3)
            rate, p95 = ({k: statistics.median(v) for k, v in found.items()} for found in (rates, late))
            for name in list(forms)[1:]:
                ratio, slow = rate["geonb serve"] / rate[name], p95["geonb serve"] / p95[name]
                rows.append([f"{at_once} at once: tiles a second; p95", f"{rate['geonb serve']:.0f}/s; {p95['geonb serve']:.0f} ms",
                             f"{name} {rate[name]:.0f}/s; {p95[name]:.0f} ms", f"{ratio:.2f}; {slow:.2f}", ">= 1; <= 1",
                             "yes" if ratio >= 1 and slow <= 1 else "no"])  # fmt: skip
            print(json.dumps(rows[-2:]), flush=True)
    finally:
        ours.terminate()
        theirs.terminate()
    return rows


if __name__ == "__main__":
    serve_titiler()
