"""The site builds without a warning and asks no network for anything; whatever is public says what it is; pictures stay small."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browsing import browser_page
from pages import FETCHES
from pages import run as run
from PIL import Image

from docs import gallery, pictures

ROOT = Path(__file__).parents[1]
# A name of another package than the one whose pages are made here leads nowhere: not nitpicky.
BUILD = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "nitpicky=0", "-b", "html"]
BUILD += ["-d", "build/doctrees", "-c", "docs", ".", "build/docs"]


def build(folder):
    done = subprocess.run(
        BUILD, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=500
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def site(run):
    """All guides, the gallery of one run, and of the API the pages of one package."""
    root = run.parents[2]
    skip = shutil.ignore_patterns("api", "gallery", "__pycache__", "*.ipynb")
    for name in ("docs", "notebooks", "benchmarks"):
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    api = root / "docs/api.md"
    whole = api.read_text()
    assert "\n   geonb\n" in whole
    api.write_text(whole.replace("\n   geonb\n", "\n   geonb.scores\n"))
    assert gallery.write_gallery(root) == ["chips", "clouds", "conflict", "seismic"]
    return root


def test_the_site_builds_asks_nobody_and_tells_a_broken_link(site):
    code, told = build(site)
    assert code == 0, told
    pages = sorted((site / "build/docs").rglob("*.html"))
    names = {str(page.relative_to(site / "build/docs")) for page in pages}
    assert {"index.html", "docs/nigeria.html", "docs/gallery/segmentation/02_training.html"} <= names
    assert [str(page) for page in pages if FETCHES.search(page.read_text())] == []
    assert "There is no finished run of" in (site / "build/docs/docs/gallery/clouds.html").read_text()
    verdicts = (site / "build/docs/docs/api/geonb.scores.verdicts.html").read_text()
    assert 'id="geonb.scores.verdicts.headline"' in verdicts and "lower_is_better" in verdicts

    with (site / "docs/landsat.md").open("a") as page:
        page.write("\n[gone](nowhere.md)\n")
    code, told = build(site)
    assert code != 0 and "nowhere.md" in told


@pytest.mark.browser
def test_pages_of_the_site_ask_no_network_and_its_search_finds(site):
    assert build(site)[0] == 0
    with browser_page() as page:
        for name in ("index.html", "docs/gallery/index.html", "docs/gallery/segmentation/02_training.html"):
            page.goto((site / "build/docs" / name).as_uri())
            page.wait_for_load_state("networkidle")
        page.goto((site / "build/docs/search.html").as_uri() + "?q=meteosat")
        page.wait_for_selector("ul.search li a")
        assert page.troubles == []


def test_a_frame_becomes_a_file_and_what_it_would_fetch_goes(tmp_path):
    inside = "<p>map</p><script src=https://cdn.example.org/a.js></script>".replace("<", "&lt;").replace(">", "&gt;")
    page = gallery.framed(
        f"<div><iframe title='a' style='height:9px' srcdoc='{inside}'></iframe></div>", tmp_path, "one"
    )
    assert (
        "srcdoc" not in page and 'src="../../../frames/one.html"' in page and "title='a'" in page and "cdn" not in page
    )
    assert (tmp_path / "frames/one.html").read_text() == "<p>map</p>"


def test_the_newest_run_that_is_done_is_shown(run):
    root = run.parents[2]
    later = run.parent / "2026-11-23_wise-owl"
    shutil.copytree(run, later)
    info = (later / "run.json").read_text().replace("2026-11-22", "2026-11-23")
    (later / "run.json").write_text(info)
    assert gallery.newest("segmentation", root).path == later
    (later / "run.json").write_text(info.replace('"state": "done", "store"', '"state": "failed", "store"'))
    assert gallery.newest("segmentation", root).path == run
    assert gallery.newest("conflict", root) is None


def test_pictures_stay_small(tmp_path):
    flat, noise = (
        np.zeros((900, 2000, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), np.uint8),
    )
    assert pictures.save(Image.fromarray(flat), tmp_path / "flat.png") < 20
    assert Image.open(tmp_path / "flat.png").width == pictures.WIDTH
    with pytest.raises(ValueError, match=r"noise\.png has .* kB, allowed are"):
        pictures.save(Image.fromarray(noise), tmp_path / "noise.png")
    there = {path.stem: path.stat().st_size for path in (ROOT / "docs").glob("*.png")}
    assert set(there) <= set(pictures.PICTURES) and max(there.values()) <= pictures.LIMIT_KB * 1000


def public(file):
    """A module, its public classes and functions: (name, docstring)."""
    tree = ast.parse(file.read_text())
    yield file.stem, ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield f"{file.stem}.{node.name}", ast.get_docstring(node)


def test_whatever_is_public_says_what_it_is():
    told = [found for file in sorted((ROOT / "geonb").rglob("*.py")) for found in public(file)]
    assert len(told) > 1000
    assert [name for name, text in told if not text] == []
