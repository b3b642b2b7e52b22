"""Headless Chromium for tests: pages without network, and a JupyterLab of one's own. Skips where either is missing."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
DONE = """() => {
  const panel = window.jupyterapp.shell.currentWidget
  const cells = panel.content.widgets.filter((w) => w.model.type === 'code' && w.model.sharedModel.source.trim())
  const bad = cells.some((w) => w.model.outputs.toJSON().some((o) => o.output_type === 'error'))
  const all = cells.every((w) => w.model.executionCount > 0)
  return bad || (all && panel.sessionContext.session.kernel.status === 'idle')
}"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets.filter((w) => w.model.type === 'code')
  .flatMap((w) => w.model.outputs.toJSON().filter((o) => o.output_type === 'error').map((o) => `${o.ename}: ${o.evalue}`))"""


@contextmanager
def browser_page(width: int = 1400, height: int = 1100):
    """A page that may ask nobody but this machine; `page.troubles` lists outside requests and page errors."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="the browser tests need playwright (pip install geonb[test])"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.troubles = []

        def gate(route):
            if urlparse(route.request.url).hostname in ("127.0.0.1", "localhost", None, ""):
                return route.continue_()
            page.troubles.append(f"asked {route.request.url[:200]}")
            return route.abort()

        page.route("**/*", gate)
        page.on("pageerror", lambda error: page.troubles.append(f"page error: {str(error)[:300]}"))
        yield page
        browser.close()


@contextmanager
def jupyterlab(notebook: Path, page, log: Path, environment: dict[str, str] | None = None):
    """Open a copy of a notebook in a JupyterLab of its own, Run-All, and give the errors its cells showed."""
    pytest.importorskip("jupyterlab", reason="the JupyterLab tests need jupyterlab")
    copy = notebook.with_name(f"look-{secrets.token_hex(4)}-{notebook.name}")
    shutil.copy(notebook, copy)
    token, port = secrets.token_hex(8), free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={notebook.parent}", "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environment or {})})
    try:
        wait_for(port, server, log)
        page.goto(f"http://127.0.0.1:{port}/lab/workspaces/w{token}/tree/{copy.name}?reset&token={token}")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        page.wait_for_function(IDLE, timeout=60_000)
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        page.wait_for_function(DONE, timeout=180_000)
        yield page.evaluate(ERRORS)
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
        copy.unlink(missing_ok=True)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    for _ in range(int(seconds * 5)):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


OPEN = """import xarray as xr
from geonb.dashboards.widget import show
from geonb.workloads.{workload}.explore import explorer
predictions, arrays = (xr.open_datatree(f"{folder}/{{name}}.zarr", engine="zarr", chunks={{}}) for name in ("predictions", "arrays"))
show(explorer(predictions, arrays))
"""


# every canvas on the page as one number, to see whether a picture changed
PICTURE = """() => {
  const found = []
  const walk = (node) => {
    for (const child of node.querySelectorAll("*")) {
      if (child.tagName === "CANVAS" && child.width) found.push(child)
      if (child.shadowRoot) walk(child.shadowRoot)
    }
  }
  walk(document)
  return found.map((canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    let sum = 0
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + 3 * data[i + 1] + 7 * data[i + 2]) % 1000000007
    return sum
  }).join(" ")
}"""


# how many colours the map shows: an empty one has a handful
COLOURS = """() => {
  const colours = new Set()
  const walk = (node) => {
    for (const child of node.querySelectorAll("*")) {
      if (child.tagName === "CANVAS" && child.width) {
        const data = child.getContext("2d").getImageData(0, 0, child.width, child.height).data
        for (let i = 0; i < data.length; i += 16) if (data[i + 3]) colours.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2])
      }
      if (child.shadowRoot) walk(child.shadowRoot)
    }
  }
  walk(document)
  return colours.size
}"""


class Viewer:
    """The explorer on a page, in an iframe or in a notebook: its controls by name, and places on its map."""

    def __init__(self, root) -> None:
        self.root, self.page = root, root.page
        self.map = root.locator("canvas.map")
        self.page.wait_for_timeout(100)
        root.and_(self.page.locator("[data-shown]")).or_(root).first.wait_for(timeout=30_000)
        self.settle()

    def ask(self, expression: str):
        """What JavaScript says of the viewer `v` and its element `root`."""
        return self.root.evaluate(f"(root) => {{ const v = root.explorer; return {expression} }}")

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        done = "root.dataset.shown !== undefined && root.dataset.busy === undefined"
        assert wait_until(self.page, lambda: self.ask(done)), "the viewer is still waiting for an answer"

    @property
    def title(self) -> str:
        return self.root.locator(".title").inner_text()

    @property
    def told(self) -> str:
        """What a click told."""
        return self.root.locator(".about").first.inner_text()

    def picture(self) -> int:
        """The map as a number."""
        return self.ask(f"({SUM})(root.querySelector('canvas.map'))")

    def names(self) -> list[str]:
        """The controls that can be used now."""
        found = "[...root.querySelectorAll('[data-control]')].filter((e) => !e.hidden && !e.querySelector('input,select').disabled)"
        return self.ask(f"{found}.map((e) => e.dataset.control)")

    def control(self, name: str):
        return self.root.locator(f"[data-control='{name}']").locator("input, select").first

    def choose(self, name: str, label: str | None = None, index: int | None = None) -> None:
        self.control(name).select_option(label=label, index=index)
        self.settle()

    def slide(self, name: str, value: float) -> None:
        self.control(name).evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })) }", value
        )
        self.settle()

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the map's CRS lies on the page, px."""
        px, py = self.ask(f"v.toScreen({x}, {y})")
        box = self.map.bounding_box()
        return box["x"] + px, box["y"] + py

    def click(self, x: float, y: float) -> str:
        """Click a place of the map's CRS; what is told then."""
        before = self.told
        self.map.scroll_into_view_if_needed()
        self.page.mouse.click(*self.at(x, y))
        wait_until(self.page, lambda: self.told != before, 5)
        self.settle()
        return self.told

    def drag(self, *points: tuple[float, float], shift: bool = False) -> None:
        """Draw a region through places of the map's CRS."""
        self.button("region").click()
        self.map.scroll_into_view_if_needed()
        at = [self.at(*point) for point in points]
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for one in at[1:]:
            self.page.mouse.move(*one, steps=4)
        self.page.mouse.up()
        if shift:
            self.page.keyboard.up("Shift")
        self.button("cells as CSV").wait_for(timeout=15_000)

    def table(self) -> list[dict[str, str]]:
        """The scores of the region."""
        rows = [row.split("\t") for row in self.root.locator(".about").nth(1).locator("tr").all_inner_texts()]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


# one canvas as a number
SUM = """(canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
  let sum = 0
  for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + 3 * data[i + 1] + 7 * data[i + 2]) % 1000000007
  return sum
}"""


@contextmanager
def served(explorer):
    """The address of an explorer's page, as `geonb app` serves it, from a thread of this process."""
    import asyncio
    import threading

    from tornado.httpserver import HTTPServer

    from geonb.dashboards.app import application

    port, token, loops = free_port(), secrets.token_hex(8), []

    async def run() -> None:
        loops.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        server = HTTPServer(application(explorer, token))
        server.listen(port, "127.0.0.1")
        up.set()
        await stop.wait()
        server.stop()

    up = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    up.wait(10)
    yield f"http://127.0.0.1:{port}/?token={token}"
    loop, stop = loops[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


def wait_until(page, check, seconds=15):
    """Poll `check` until it is true: what a browser draws comes when it comes."""
    for _ in range(int(seconds * 10)):
        if check():
            return True
        page.wait_for_timeout(100)
    return False
