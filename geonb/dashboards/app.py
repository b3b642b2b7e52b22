"""The explorer as a page that a server of its own answers: `geonb app RUN`, without JupyterLab."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from geonb.base.conventions import short
from geonb.dashboards.page import VIEWER, filled

if TYPE_CHECKING:
    from tornado.web import Application

    from geonb.dashboards.explorer import Explorer

FAULTS = (ValueError, OSError, RuntimeError, KeyError, IndexError, TypeError, AttributeError)


def application(explorer: Explorer, token: str) -> Application:
    """The server's two addresses: the page, and what its viewer asks; both want the token.

    The page keeps the token in its address and sends it with every question, so no cookie is set and other pages of the browser
    cannot ask.
    """
    from tornado.web import Application, HTTPError, RequestHandler

    page = filled(explorer.facts(), [], *VIEWER, "app.js")
    reading = ThreadPoolExecutor(1)  # one answer after the other, while the server goes on listening

    class Guarded(RequestHandler):
        def prepare(self) -> None:
            given = self.request.headers.get("X-Token") or self.get_query_argument("token", "")
            if not hmac.compare_digest(given.encode(), token.encode()):
                raise HTTPError(403, reason="Open the whole address that geonb app printed: it ends in ?token=...")
            self.set_header("Cache-Control", "no-store")

    class Page(Guarded):
        def get(self) -> None:
            self.write(page)

    class Ask(Guarded):
        async def post(self) -> None:
            try:
                asked = json.loads(self.request.body)
                told, files = await asyncio.get_running_loop().run_in_executor(reading, explorer.answer, asked)
            except FAULTS as error:
                self.set_status(422)
                self.finish({"failed": f"{type(error).__name__}: {short(error)}"})
                return
            self.set_header("Content-Type", "application/octet-stream")
            self.finish(framed_answer(told, files))

    return Application([("/", Page), ("/ask", Ask)])


def framed_answer(told: Mapping[str, Any], files: Sequence[bytes]) -> bytes:
    """JSON and files in one piece: the number of parts, their lengths (uint32, little-endian), the parts."""
    parts = [json.dumps(told).encode(), *files]
    return struct.pack(f"<I{len(parts)}I", len(parts), *map(len, parts)) + b"".join(parts)


def serve(explorer: Explorer, port: int = 0, ready: Callable[[int, str], None] | None = None) -> None:
    """Serve an explorer on this machine alone (127.0.0.1) until interrupted.

    Parameters
    ----------
    port : int
        0 takes a free one.
    ready : function of the port and the token, called when the page can be opened

    Raises
    ------
    OSError
        If the port is taken.
    """
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    token = secrets.token_urlsafe(24)

    async def run() -> None:
        sockets = bind_sockets(port, "127.0.0.1")
        HTTPServer(application(explorer, token)).add_sockets(sockets)
        if ready is not None:
            ready(sockets[0].getsockname()[1], token)
        await asyncio.Event().wait()

    asyncio.run(run())
