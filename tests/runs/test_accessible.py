"""A report for everybody: texts of pictures, contrast, headings (axe-core), and nothing cut on a narrow screen or on paper."""

import re
from importlib import resources

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from browsing import browser_page
from pages import notebook, outputs, png, run  # noqa: F401  (a finished run, as a fixture)

from geonb.plots import style
from geonb.runs import html as runs_html
from geonb.runs import report

CUT = """() => {
  const width = document.documentElement.clientWidth
  const moves = (e) => e && (getComputedStyle(e).overflowX === 'auto' || moves(e.parentElement))
  return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > width + 1 && !moves(e))
    .map((e) => e.outerHTML.slice(0, 80))
}"""


def test_a_figure_tells_its_titles_axes_legend_and_caption():
    @style.styled
    def draw():
        figure, ax = plt.subplots()
        ax.plot([0, 1], label="network")
        ax.set(title="Rain", xlabel="lead [months]", ylabel="mm")
        ax.legend()
        return style.finish(figure, {}, "Monthly means.")

    told = draw()._repr_mimebundle_()[1]["image/png"]["alt"]
    assert told == "Rain. along: lead [months]; up: mm. network. Monthly means"


def test_a_figure_without_words_tells_what_draws_it():
    @style.styled
    def draw():
        """Tiles on a plane."""
        return plt.figure()

    assert draw()._repr_mimebundle_()[1]["image/png"]["alt"] == "Tiles on a plane."


@pytest.mark.parametrize("saving", [0, 1])
def test_every_picture_has_a_text_its_own_or_its_heading(tmp_path, saving):
    own, bare = outputs({"image/png": png(300, noise=True)}, {"image/png": png(300, noise=True)})
    own["metadata"] = {"image/png": {"alt": "Rain of May"}}
    cells = [
        nbformat.v4.new_markdown_cell("## Where\nLook."),
        nbformat.v4.new_code_cell("x", outputs=[own, bare]),
    ]
    notebook(tmp_path / "04_look.ipynb", "04 Look", cells)
    _, page, _ = runs_html.render_notebook(tmp_path / "04_look.ipynb", saving)
    assert re.findall(r'alt="([^"]*)"', page) == ["Rain of May", "Figure: Where"]
    assert ("image/jpeg" in page) == bool(saving)


@pytest.fixture
def wide(run):
    """A report with a box of xarray's and a table wider than a telephone."""
    box = xr.Dataset({"rain": (("y", "x"), np.zeros((2, 3)))}, coords={"y": [1.0, 2.0]}, attrs={"units": "mm"})
    table = pd.DataFrame(np.full((2, 12), 123_456_789.5), columns=[f"a column {i}" for i in range(12)])
    shown = outputs(*({"text/html": thing._repr_html_()} for thing in (box, table)), {"image/png": png(1500)})
    notebook(run / "notebooks" / "03_wide.ipynb", "03 Wide", [nbformat.v4.new_code_cell("box", outputs=shown)])
    return report.write_report(run)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "media"), [(390, "screen"), (1280, "screen"), (680, "print")])
def test_a_report_is_readable_for_everybody(wide, width, media):
    pytest.importorskip("axe_playwright_python", reason="needs axe-core (pip install geonb[test])")
    with browser_page(width) as page:
        page.emulate_media(media=media)
        page.goto(wide.as_uri())
        assert page.evaluate(CUT) == []
        page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text())
        found = page.evaluate("() => axe.run({exclude: ['iframe']}, {iframes: false})")["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
        assert page.locator("html").get_attribute("lang") == "en" and page.troubles == []
