"""The server of `geonb serve`: tiles, TileJSON and a map to look at, on this machine alone and behind a token."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from geonb.base.conventions import short
from geonb.base.files import say
from geonb.base.threads import cores
from geonb.tileserver import drawing
from geonb.tileserver.layers import Layer

if TYPE_CHECKING:
    from tornado.web import Application

MAP = Path(__file__).parent / "templates" / "map.html"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# One cache for all blocks that were decoded. The list of a folder is still read on opening, once a file and thread: GDAL finds
# masks, overviews and world files beside a raster there.
GDAL = {"GDAL_CACHEMAX": 512 << 20}  # bytes: rasterio takes a number so


def application(layers: Mapping[str, Layer], token: str) -> Application:
    """The server's addresses, each beginning with the token, since maps and QGIS can neither send headers nor keep a query.

    ``/TOKEN/`` is the map, ``/TOKEN/tilejson.json`` the first layer and the names of all, ``/TOKEN/LAYER/tilejson.json`` one,
    ``/TOKEN/LAYER/Z/X/Y.png`` (.jpg, .webp; Y@2x of 512 px) a tile; what else may be asked: :data:`drawing.ASKED`.
    """
    from tornado.web import Application, HTTPError, RequestHandler

    pool = ThreadPoolExecutor(max(2, cores()), "geonb-tile", initializer=_enter_gdal)
    names = json.dumps(list(layers))[1:-1].replace("<", "\\u003c")
    page = MAP.read_text(encoding="utf-8").replace("/*LAYERS*/", names)

    class Guarded(RequestHandler):
        async def prepare(self) -> None:
            given = self.path_args[0] if self.path_args else self.get_query_argument("token", "")
            if not hmac.compare_digest(given.encode(), token.encode()):
                raise HTTPError(403, "Take the whole address that geonb serve printed: it begins with its token.")

        def set_default_headers(self) -> None:
            origin = self.request.headers.get("Origin", "")
            if origin == "null" or urlsplit(origin).hostname in LOOPBACK:  # a page from a file, or of a server here
                self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Vary", "Origin")
            self.set_header("Referrer-Policy", "no-referrer")
            self.set_header("X-Content-Type-Options", "nosniff")

        def write_error(self, status_code: int, **told: Any) -> None:
            self.set_header("Content-Type", "text/plain; charset=UTF-8")
            error = told.get("exc_info", (None, None))[1]
            known = isinstance(error, HTTPError)
            said = (error.log_message or self._reason) % error.args if known else f"This failed here: {error}"
            self.finish(f"{said}\n")

        def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
            if not isinstance(error, HTTPError):
                say(f"{self.request.path.removeprefix(f'/{token}')}: {kind.__name__}: {short(error)}", sys.stderr)

        def layer(self, name: str) -> Layer:
            if name not in layers:
                names = ", ".join(list(layers)[:20])
                raise HTTPError(404, f"There is no layer {name[:80]!r}. There are: {names}.")
            return layers[name]

        def style(self, layer: Layer) -> drawing.Style:
            layer.look_again()
            asked = {name: self.get_query_argument(name) for name in self.request.query_arguments if name != "token"}
            return drawing.style_of(layer, asked)

        async def aside(self, work: Callable, *arguments: Any) -> Any:
            """What takes time, in a thread; what was asked wrongly is said."""
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
            except ValueError as error:
                raise HTTPError(400, str(error)) from error

    class Root(Guarded):
        async def get(self) -> None:
            self.redirect(f"/{token}/")

    class Page(Guarded):
        async def get(self, _: str) -> None:
            self.write(page)

    class Told(Guarded):
        async def get(self, _: str, name: str | None = None) -> None:
            layer = self.layer(next(iter(layers)) if name is None else name)
            style = await self.aside(self.style, layer)
            base = f"{self.request.protocol}://{self.request.host}/{token}"
            asked = urlencode([(k, self.get_query_argument(k)) for k in self.request.query_arguments if k != "token"])
            told = drawing.tilejson(layer, style, tile_address(base, layer.name) + (f"?{asked}" if asked else ""))
            if name is None:
                told["layers"] = [
                    {"name": one, "tilejson": f"{base}/{quote(one, safe='')}/tilejson.json"} for one in layers
                ]
            self.set_header("Content-Type", "application/json; charset=UTF-8")
            self.finish(json.dumps(told))

    class Tile(Guarded):
        async def get(self, _: str, name: str, z: str, x: str, last: str) -> None:
            layer = self.layer(name)
            form, body = await self.aside(self.tile, layer, z, x, last)
            self.set_header("Content-Type", drawing.TYPES[form])
            self.set_header("Cache-Control", "private, max-age=60")  # a file may be replaced
            self.finish(body)

        def tile(self, layer: Layer, z: str, x: str, last: str) -> tuple[str, bytes]:
            column, row, zoom, side, form = parse_tile(z, x, last)
            style = self.style(layer)
            if style.tms and 0 <= zoom <= drawing.DEEPEST:
                row = 2**zoom - 1 - row
            return form, drawing.draw(layer, zoom, column, row, style, form, side)

    class Nothing(Guarded):
        async def prepare(self) -> None:
            raise HTTPError(404, "There is nothing at this address. Open the one that geonb serve printed.")

    part = "([^/]+)"
    return Application(
        [
            ("/", Root), (f"/{part}/?", Page), (f"/{part}/tilejson.json", Told), (f"/{part}/{part}/tilejson.json", Told),
            (f"/{part}/{part}/{part}/{part}/{part}", Tile), (".*", Nothing),
        ],
        log_function=lambda handler: None,
    )  # fmt: skip


def parse_tile(z: str, x: str, last: str) -> tuple[int, int, int, int, str]:
    """Column, row, zoom, side in pixels and format of ``z/x/y.png`` or ``z/x/y@2x.png``.

    Raises
    ------
    ValueError
        If a number is none, or the format is unknown.
    """
    name, _, ending = last.rpartition(".")
    form = {"jpeg": "jpg"}.get(ending.lower(), ending.lower())
    if form not in drawing.ENCODERS:
        raise ValueError(f"{last[:80]}: a tile ends in {', '.join(f'.{known}' for known in drawing.ENCODERS)}.")
    row, double = name.removesuffix("@2x"), name.endswith("@2x")
    texts = {"z": z, "x": x, "y": row}
    wrong = [
        f"{k} = {v[:40]}"
        for k, v in texts.items()
        if not (v.removeprefix("-").isdecimal() and v.isascii() and len(v) < 12)
    ]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: zoom, column and row of a tile are whole numbers, as 12/2200/1343.png.")
    return int(x), int(row), int(z), 512 if double else 256, form


def _enter_gdal() -> None:
    """Settings hold in the thread that enters them, for as long as it lives."""
    import rasterio

    rasterio.Env(**GDAL).__enter__()


def tile_address(base: str, layer: str) -> str:
    """The address of a layer's tiles, with {z}, {x} and {y}."""
    return f"{base}/{quote(layer, safe='')}/{{z}}/{{x}}/{{y}}.png"


def directions(layers: Mapping[str, Layer], base: str, most: int = 20) -> str:
    """What to paste where: QGIS, Leaflet, MapLibre, for the first layer; and the names of all."""
    layer = next(iter(layers.values()))
    tiles, (low, high) = tile_address(base, layer.name), layer.zooms
    names = [
        f"  {one.name}  ({len(one.sources)} files)" if len(one.sources) > 1 else f"  {one.name}"
        for one in layers.values()
    ]
    more = [f"  ... and {len(names) - most} more"] if len(names) > most else []
    return "\n".join([
        "Layers:", *names[:most], *more, "",
        f"Look at them here:     {base}/",
        f"QGIS, new XYZ layer:   {tiles}",
        f"  as a data source:    type=xyz&url={quote(tiles, safe=':/')}&zmin={low}&zmax={high}",
        f"Leaflet:               L.tileLayer('{tiles}', {{maxNativeZoom: {high}}})",
        f"MapLibre:              {{type: 'raster', tileSize: 256, url: '{base}/{quote(layer.name, safe='')}/tilejson.json'}}",
    ])  # fmt: skip


def serve(layers: Mapping[str, Layer], port: int = 0, ready: Callable[[int, str], None] | None = None) -> None:
    """Serve layers on this machine alone (127.0.0.1) until interrupted.

    Parameters
    ----------
    port : int
        0 takes a free one.
    ready : function of the port and of the address that all others begin with, called when tiles can be asked for

    Raises
    ------
    ValueError
        If the port is taken; says which is free.
    """
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    token = secrets.token_urlsafe(24)
    try:
        if not 0 <= port < 65_536:  # which the system would take for another
            raise OSError("ports go from 0 to 65535")
        sockets = bind_sockets(port, "127.0.0.1")
    except OSError as error:
        probe = bind_sockets(0, "127.0.0.1")
        free = probe[0].getsockname()[1]
        probe[0].close()
        raise ValueError(
            f"Port {port} cannot be used ({error}). {free} is free: --port {free}; or leave it out."
        ) from error

    async def run() -> None:
        HTTPServer(application(layers, token)).add_sockets(sockets)
        at = sockets[0].getsockname()[1]
        if ready is not None:
            ready(at, f"http://127.0.0.1:{at}/{token}")
        await asyncio.Event().wait()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a tile's, which nobody could heed
        asyncio.run(run())
