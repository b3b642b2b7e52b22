"""The explorer in a headless browser: until the first map, a move of a slider until its pixels, bytes a move, and frozen pages.

A server of this process answers (`geonb app`), as a kernel does over a socket. Moves come in an order that nothing is kept of. In
JupyterLab: from Run-All to the first map.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MOVES = 30
MOVE = """async ([at, pan]) => {
  const root = document.querySelector(".geonb-explorer")
  const start = performance.now()
  if (pan) { const [w, s, e, n] = pan; root.explorer.look([w, s, e, n]) } else root.explorer.set({ at })
  await new Promise((done) => { const wait = () => (root.dataset.busy === undefined ? done() : setTimeout(wait, 1)); wait() })
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  return performance.now() - start
}"""


def scene(shape: tuple[int, int], models: int, classes: int, folder: Path) -> Path:
    """Predictions of segmentation, written in strips: smooth probabilities, blocks as labels."""
    import zarr

    from geonb.prediction import overviews

    path, names = folder / "predictions.zarr", [f"class {i}" for i in range(classes)]
    root = zarr.open_group(path, mode="w", attributes={"workload": "segmentation", "colours": []})
    group, chunk = root.create_group("scene"), 1024
    arrays = {
        "probability": ("f4", ("model", "class")),
        "label": ("u1", ("model",)),
        "truth": ("u1", ()),
        "split": ("i1", ()),
    }
    sizes = {"model": models, "class": classes}
    made = {
        name: group.create_array(name, shape=(*(sizes[d] for d in dims), *shape), dtype=dtype, dimension_names=(*dims, "y", "x"),
                                 chunks=(*(1 for _ in dims), chunk, chunk), attributes={"grid_mapping": "spatial_ref"})
        for name, (dtype, dims) in arrays.items()
    }  # fmt: skip
    x = np.arange(shape[1])
    for top in range(0, shape[0], chunk):
        y = np.arange(top, min(top + chunk, shape[0]))[:, None]
        rows = slice(top, top + len(y))
        for m in range(models):
            waves = np.stack([1 + np.sin(x / (40 + 9 * c) + m) * np.cos(y / (50 + 7 * c)) for c in range(classes)])
            waves = np.rint(waves / waves.sum(0) * 200).astype("f4") / 200
            made["probability"][m, :, rows] = waves
            made["label"][m, rows] = waves.argmax(0)
        made["truth"][rows] = ((x // 60 + y // 60) % classes).astype("u1")
        made["split"][rows] = (1 + (x // 256 + y // 256) % 3).astype("i1")
    from pyproj import CRS

    for name, values, dims, attrs in (
        ("y", 228_500 - 10.0 * np.arange(shape[0]), ("y",), {}), ("x", 630_000 + 10.0 * np.arange(shape[1]), ("x",), {}),
        ("model", np.arange(models), ("model",), {}), ("class", np.array(names), ("class",), {}),
        ("spatial_ref", np.array(0), (), CRS.from_epsg(32119).to_cf()),
    ):  # fmt: skip
        group.create_array(name, data=values, dimension_names=dims, attributes=attrs)
    for one in made.values():
        one.attrs["coordinates"] = "spatial_ref"
    zarr.consolidate_metadata(path)
    overviews.write(path)
    return path


def cube(folder: Path, months: int = 36) -> Path:
    """Forecasts of the whole PRIO-GRID."""
    import pandas as pd
    import xarray as xr
    from pyproj import CRS

    rng, shape = np.random.default_rng(0), (360, 720)
    spots = rng.random((2, 1, months, 1, *shape), np.float32) ** 12
    data = xr.Dataset(
        {
            "probability": (("model", "outcome", "time", "lead", "y", "x"), spots),
            "truth": (("outcome", "time", "lead", "y", "x"), (spots[0] > 0.5).astype("i1")),
            "split": ("time", ["val"] * 6 + ["test"] * (months - 6)),
            "valid": (("y", "x"), np.ones(shape, bool)),
        },
        {
            "model": ["network", "climatology"], "outcome": ["any violence"], "lead": [1],
            "time": pd.date_range("2015-01", periods=months, freq="MS"), "y": -90 + 0.5 * (np.arange(360) + 0.5),
            "x": -180 + 0.5 * (np.arange(720) + 0.5), "spatial_ref": ((), 0, CRS.from_epsg(4326).to_cf()),
        },
    )  # fmt: skip
    tree = xr.DataTree.from_dict({"/grid": data})
    tree.attrs = {"workload": "conflict", "outcomes": [{"name": "any violence", "colour": "#b2182b", "event": "event"}]}
    tree.to_zarr(folder / "predictions.zarr", encoding={"/grid": {"probability": {"chunks": (1, 1, 1, 1, *shape)}}})
    return folder / "predictions.zarr"


@contextmanager
def served(explorer: Any) -> Iterator[str]:
    """The address of the explorer's page, answered by a thread of this process."""
    from geonb.dashboards import app

    ready: list[tuple[int, str]] = []
    told = {"ready": lambda *port_and_token: ready.append(port_and_token)}
    threading.Thread(target=app.serve, args=(explorer,), kwargs=told, daemon=True).start()
    while not ready:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{ready[0][0]}/?token={ready[0][1]}"


def first_map(page: Any, address: str) -> float:
    """Seconds until an address shows a map that answers."""
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(".geonb-explorer[data-shown]:not([data-busy])", timeout=60_000)
    return time.perf_counter() - start


NOTEBOOK = """from geonb.dashboards.widget import show
from geonb.prediction.predictions import open_predictions
from geonb.workloads.{room} import explore
show(explore.explorer(open_predictions("{path}")))
"""
AGAIN = """async () => {
  for (const root of document.querySelectorAll(".geonb-explorer")) root.dataset.old = ""
  const start = performance.now()
  window.jupyterapp.commands.execute("notebook:run-all-cells")
  const there = () => document.querySelector(".geonb-explorer[data-shown]:not([data-old]):not([data-busy])")
  await new Promise((done) => { const wait = () => (there() ? done() : setTimeout(wait, 1)); wait() })
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  return performance.now() - start
}"""


def run_all(room: str, path: Path, folder: Path) -> float:
    """Seconds from Run-All to the first map in JupyterLab: the median of five, in a kernel that has imported what it needs."""
    import sys

    import nbformat

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browsing import browser_page, jupyterlab

    cell = nbformat.v4.new_code_cell(NOTEBOOK.format(room=room, path=path))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), folder / "map.ipynb")
    with (
        browser_page(1400, 900) as page,
        jupyterlab(folder / "map.ipynb", page, folder / "lab.log", {"GEONB_HEADLESS": ""}) as errors,
    ):
        assert not errors, errors
        page.wait_for_selector(".geonb-explorer[data-shown]:not([data-busy])", timeout=60_000)
        return statistics.median(page.evaluate(AGAIN) for _ in range(5)) / 1e3


def main(folder: Path) -> list[list[str]]:
    import shutil

    from playwright.sync_api import sync_playwright

    from geonb.dashboards.frozen import frozen_page
    from geonb.prediction.predictions import open_predictions
    from geonb.workloads.conflict import explore as conflict
    from geonb.workloads.segmentation import explore as segmentation

    rows = []
    for name in ("small", "large", "cube"):
        (folder / name).mkdir()
    works = {
        "815 x 739 px, 3 models, 7 classes": (segmentation, scene((739, 815), 3, 7, folder / "small")),
        "10,000 x 10,000 px": (segmentation, scene((10_000, 10_000), 1, 2, folder / "large")),
        "360 x 720 cells, 36 months": (conflict, cube(folder / "cube")),
    }
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        for what, (room, path) in works.items():
            start = time.perf_counter()
            explorer = room.explorer(open_predictions(path))
            opened = time.perf_counter() - start
            page, sent = browser.new_page(viewport={"width": 1400, "height": 900}), []
            page.on("response", lambda one, sent=sent: sent.append(one) if one.url.endswith("/ask") else None)
            with served(explorer) as address:
                seconds = opened + first_map(page, address)
                rows.append([f"{what}: described, served, first map", f"{seconds:.1f} s", "", "", "<= 5 s",
                             "yes" if seconds <= 5 else "no"])  # fmt: skip
                page.evaluate(
                    "(top) => document.querySelector('.geonb-explorer').explorer.set({ top })", explorer.table.layer
                )
                page.wait_for_selector(".geonb-explorer:not([data-busy])")
                before, times = len(sent), [page.evaluate(MOVE, move) for move in moves(explorer)]
                sizes = [len(one.body()) / 1e3 for one in sent[before:]]
            late, most = float(np.percentile(times, 95)), sum(sizes) / len(times)
            rows.append([f"{what}: {len(times)} moves until pixels, p50; p95", f"{statistics.median(times):.0f} ms; {late:.0f} ms", "", "",
                         "p95 < 200 ms", "yes" if late < 200 else "no"])  # fmt: skip
            rows.append([f"{what}: sent a move", f"{most:.0f} kB", "", "", "<= 300 kB", "yes" if most <= 300 else "no"])
            start = time.perf_counter()
            (folder / "map.html").write_text(frozen_page(explorer))
            made, size = time.perf_counter() - start, (folder / "map.html").stat().st_size / 1e6
            seconds = first_map(page, (folder / "map.html").as_uri())
            rows.append([f"{what}: frozen, made in {made:.0f} s, until it answers", f"{seconds:.2f} s; {size:.1f} MB", "", "", "<= 1.5 s",
                         "yes" if seconds <= 1.5 else "no"])  # fmt: skip
            page.close()
        browser.close()
    for what, (room, path) in works.items():
        seconds = run_all(room.__name__.split(".")[-2], path, folder)
        rows.append([f"{what}: Run-All in JupyterLab, warm, to the first map", f"{seconds:.1f} s", "", "", "<= 2 s",
                     "yes" if seconds <= 2 else "no"])  # fmt: skip
    return rows


def moves(explorer: Any) -> list[tuple[dict[str, int], list[float] | None]]:
    """Positions of sliders and choices that were not shown yet; of a large raster, windows."""
    west, south, east, north = explorer.places[0].bounds
    if max(explorer.places[0].grids[""].shape) > 5000:
        rng, found = np.random.default_rng(0), []
        for _ in range(MOVES):
            share = rng.uniform(0.05, 0.9)
            x, y = (rng.uniform(0, 1 - share) for _ in range(2))
            box = (west + x * (east - west), south + y * (north - south))
            found.append(({}, [*box, box[0] + share * (east - west), box[1] + share * (north - south)]))
        return found
    dims = [dim for dim in explorer.dims if len(dim.labels) > 1 and not dim.hidden]
    positions = np.stack(np.meshgrid(*(range(len(dim.labels)) for dim in dims), indexing="ij"), -1).reshape(
        -1, len(dims)
    )
    return [({dim.name: int(i) for dim, i in zip(dims, one, strict=True)}, None) for one in positions[:MOVES]]
