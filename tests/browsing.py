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
from geonb.workloads.{workload}.explore import explore
predictions, arrays = (xr.open_datatree(f"{folder}/{{name}}.zarr", engine="zarr", chunks={{}}) for name in ("predictions", "arrays"))
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


def wait_until(page, check, seconds=15):
    """Poll `check` until it is true: what a browser draws comes when it comes."""
    for _ in range(int(seconds * 10)):
        if check():
            return True
        page.wait_for_timeout(100)
    return False
