"""The gallery: notebooks that the newest finished run of each workload has executed, as pages of the site.

    python -m docs.gallery [--run]

With --run, workloads without a finished run are run first, with their defaults. Writes `docs/gallery`, which is never committed.
What an output shows in a frame of its own becomes a file beside the page, pictures become smaller, and what needs a kernel goes, so
that a page is light and asks nobody for anything.
"""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from PIL import Image

from geonb import registry, runs
from geonb.base.conventions import WORKLOADS
from geonb.base.project import project_root
from geonb.runs.html import settle_output, without_requests
from geonb.runs.page import day, interval
from geonb.runs.report import simulated
from geonb.runs.run import Run

THUMBNAIL = (640, 400)  # px
FRAME = re.compile(r"(<iframe\b[^>]*?)\ssrcdoc\s*=\s*('[^']*'|\"[^\"]*\")", re.I | re.S)
MISSING = "There is no finished run of `{0}` in `runs/{0}`. `geonb run {0}` makes one, then `make docs` shows its notebooks here."
CARD = ":::{{grid-item-card}} {title}\n:link: {page}\n:link-type: doc\n{picture}\n{text}\n:::\n"


def write_gallery(root: Path) -> list[str]:
    """Write `docs/gallery` anew, a page a workload and a page a notebook.

    Parameters
    ----------
    root : project root, whose `runs` are looked at

    Returns
    -------
    Names of the workloads without a finished run; their page says how to make one.
    """
    folder = root / "docs/gallery"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "extra").mkdir(parents=True)
    cards, missing = [], []
    for name in sorted(WORKLOADS):
        run, record = newest(name, root), registry.get(name)
        text, picture = MISSING.format(name), ""
        if run is None:
            missing.append(name)
        else:
            text, pictures = facts(run), write_notebooks(run, folder)
            picture = pictures.get("03_prediction", "")
        page = f"# {record.title}\n\n*{record.question}*\n\n{text}\n\n"
        (folder / f"{name}.md").write_text(page + ("" if run is None else contents(run, pictures)))
        cards.append(CARD.format(title=record.title, page=name, picture=picture, text=f"{record.question}\n\n{text}"))
    names = "\n".join(sorted(WORKLOADS))
    intro = "Executed notebooks, as `geonb run` left them: nothing here was retouched, and each can be run again."
    grid = f"::::{{grid}} 1 1 2 2\n:gutter: 3\n\n{''.join(cards)}::::\n"
    (folder / "index.md").write_text(f"# Gallery\n\n{intro}\n\n{grid}\n```{{toctree}}\n:hidden:\n\n{names}\n```\n")
    return missing


def newest(workload: str, root: Path) -> Run | None:
    """The newest run of a workload that is done, or None."""
    table = runs.table(root, query=None)
    done = table[(table["workload"] == workload) & (table["state"] == "done")] if len(table) else table
    return Run(root / "runs" / workload / done["run"].iloc[-1]) if len(done) else None


def facts(run: Run) -> str:
    """What the run is and how well it did, in a few words; that its data are simulated, if they are."""
    info = run.info
    head = info.get("headline") or {}
    told = f"Run `{run.name}`, {day(info['started'])}."
    if head:
        told += f" {head['metric']} {interval(head)} on the test split"
        told += f"; {head['baseline']} {head['baseline_value']:.3f}." if head.get("baseline_value") is not None else "."
    return f"**Simulated data.** {told}" if simulated(run.path, info) else told


def contents(run: Run, pictures: dict[str, str]) -> str:
    """Cards of a run's notebooks, which lead to their pages."""
    cards = "".join(
        CARD.format(title=name, page=f"{run.workload}/{name}", picture=picture, text="")
        for name, picture in pictures.items()
    )
    pages = "\n".join(f"{run.workload}/{name}" for name in pictures)
    return f"::::{{grid}} 1 2 3 3\n:gutter: 3\n\n{cards}::::\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def write_notebooks(run: Run, folder: Path) -> dict[str, str]:
    """Write a run's notebooks as pages; stem -> what shows its thumbnail in a card, empty where it has no picture."""
    pictures = {}
    (folder / run.workload).mkdir()
    for path in sorted(run.notebooks.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.pop("widgets", None)
        notebook.metadata.setdefault("language_info", {"name": "python"})  # of a kernel that was never asked
        seen: list[bytes] = []
        for number, cell in enumerate(notebook.cells):
            for place, output in enumerate(cell.get("outputs", [])):
                settle_output(output, saving=1, where="", left_out=[], heading="")
                data = output.get("data", {})
                seen += [base64.b64decode(data[kind]) for kind in ("image/png", "image/jpeg") if kind in data]
                if "text/html" in data:
                    data["text/html"] = framed(
                        data["text/html"], folder / "extra", f"{run.workload}-{path.stem}-{number}-{place}"
                    )
        nbformat.write(notebook, folder / run.workload / path.name)
        pictures[path.stem] = ""
        if seen:
            thumbnail(max(seen, key=len), folder / run.workload / f"{path.stem}.jpg")
            pictures[path.stem] = f":img-top: /docs/gallery/{run.workload}/{path.stem}.jpg\n:img-alt: from {path.stem}"
    return pictures


def framed(content: str, folder: Path, name: str) -> str:
    """An output's HTML without requests, the document of its frame in a file of its own, which is loaded when it is scrolled to."""
    found = FRAME.search(content)
    if found is None:
        return without_requests(content)
    page = without_requests(html.unescape(found[2][1:-1]))
    (folder / "frames").mkdir(exist_ok=True)
    (folder / "frames" / f"{name}.html").write_text(page)
    linked = FRAME.sub(lambda match: f'{match[1]} loading="lazy" src="../../../frames/{name}.html"', content, count=1)
    return without_requests(linked)


def thumbnail(picture: bytes, path: Path) -> None:
    """The upper part of a picture on white, as large as a card needs it."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    width, height = paper.size
    paper = paper.crop((0, 0, width, min(height, width * THUMBNAIL[1] // THUMBNAIL[0])))
    paper.thumbnail(THUMBNAIL)
    sheet = Image.new("RGB", THUMBNAIL, "white")
    sheet.paste(paper, ((THUMBNAIL[0] - paper.width) // 2, (THUMBNAIL[1] - paper.height) // 2))
    sheet.save(path, quality=85, optimize=True)


def main(asked: list[str]) -> None:
    """Write the gallery; with "--run" among what was asked, make the runs that it lacks before."""
    root = project_root()
    if "--run" in asked:
        for name in sorted(WORKLOADS):
            if newest(name, root) is None:
                subprocess.run([sys.executable, "-m", "geonb.cli", "run", name], cwd=root, check=True)
    for name in write_gallery(root):
        print(f"No finished run of {name}, and its page says so. To show one: geonb run {name}, then make docs.")


if __name__ == "__main__":
    main(sys.argv[1:])
