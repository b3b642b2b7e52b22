"""The pictures that README shows, drawn from the newest finished run of each workload: ``make pictures``, or

    python -m docs.pictures [name ...]

Only runs of real data are drawn. A picture whose run is not there stays as it is, and which command makes the run is said.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import geonb
from docs.gallery import newest
from geonb.base.project import project_root
from geonb.runs.report import simulated
from geonb.runs.run import Run
from geonb.workloads.segmentation import figures as segmentation_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 1400  # px, at most
LIMIT_KB = 700  # of one file


def land_cover(run: Run) -> Image.Image:
    """Scene, truth, network and baselines, where it is wrong and how sure it is."""
    return drawn(segmentation_figures.panels(geonb.open_predictions(run.predictions), run.samples)[0])


def explorer(run: Run) -> Image.Image:
    """The map of the run's report as a browser shows it, after a click.

    Raises
    ------
    RuntimeError
        If there is no browser that can be driven.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        raise RuntimeError(
            "its picture is taken by Chromium and playwright: apt-get install chromium; pip install playwright"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.goto((run.path / "report.html").as_uri())
        frame = page.locator(".geonb-map iframe").last
        inside = frame.content_frame
        inside.locator("html[data-geonb]").wait_for(timeout=60_000)
        shape = inside.locator("canvas.map").bounding_box()
        inside.locator("canvas.map").click(position={"x": 0.45 * shape["width"], "y": 0.5 * shape["height"]})
        page.wait_for_timeout(1500)
        picture = Image.open(io.BytesIO(frame.screenshot())).convert("RGB")
        browser.close()
    return picture


# docs/<name>.png -> workload, what makes its run, and what draws it: an image of the run
PICTURES: dict[str, tuple[str, str, Callable[[Run], Image.Image]]] = {
    "demo": ("segmentation", "geonb run segmentation", land_cover),
    "explorer": ("segmentation", "geonb run segmentation", explorer),
    "clouds": ("clouds", "geonb run clouds", explorer),
}


def drawn(figure: Figure) -> Image.Image:
    """A figure as an image: drawn at the size it is shown in, since a resampled one is less sharp and twice as large."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, bbox_inches="tight", facecolor="white")
    return Image.open(file).convert("RGB")


def save(image: Image.Image, path: Path) -> int:
    """Write an image as PNG, at most `WIDTH` px wide.

    Returns
    -------
    Its size in kB

    Raises
    ------
    ValueError
        If it is larger than `LIMIT_KB` still.
    """
    image.thumbnail((WIDTH, 4 * WIDTH))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    if file.tell() > LIMIT_KB * 1000:
        raise ValueError(
            f"{path.name} has {file.tell() // 1000} kB, allowed are {LIMIT_KB}. Draw less in it, or lower WIDTH."
        )
    path.write_bytes(file.getvalue())
    return file.tell() // 1000


def main(names: list[str]) -> None:
    """Draw the pictures of these names, or all; a name that is none is refused."""
    if unknown := [name for name in names if name not in PICTURES]:
        sys.exit(f"{', '.join(unknown)}: no such picture. There are: {', '.join(PICTURES)}.")
    root = project_root()
    for name, (workload, command, draw) in PICTURES.items():
        if names and name not in names:
            continue
        path, run = root / "docs" / f"{name}.png", newest(workload, root)
        if run is None or simulated(run.path, run.info):
            there = (
                f"the newest finished run of {workload} is of simulated data"
                if run
                else f"no finished run of {workload}"
            )
            print(f"docs/{name}.png stays as it is: {there}. Make one with: {command}")
            continue
        try:
            print(f"docs/{name}.png: {save(draw(run), path)} kB, of {run.workload}/{run.name}")
        except RuntimeError as error:
            print(f"docs/{name}.png stays as it is: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
