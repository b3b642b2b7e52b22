"""What a person sees: reports and notebook 06 in headless Chromium, without network."""

import made
import nbformat
import pytest
from browsing import COLOURS, Viewer, browser_page, jupyterlab, wait_until
from pages import notebook, run  # noqa: F401  (a finished run, as a fixture)

from geonb.dashboards.frozen import frozen
from geonb.runs import report as runs_report
from geonb.workloads.segmentation.explore import explorer

pytestmark = pytest.mark.browser


@pytest.fixture
def report(run):
    """The report of a run whose notebook 06 shows a map."""
    page = frozen(explorer(made.made_predictions((96, 128)), made.made_arrays((96, 128)))).data
    shown = nbformat.v4.new_output("display_data", data={"text/html": page})
    notebook(
        run / "notebooks" / "06_explore.ipynb", "06 Explore", [nbformat.v4.new_code_cell("show()", outputs=[shown])]
    )
    return runs_report.write_report(run)


def test_report_opens_without_network(report):
    with browser_page() as page:
        page.goto(report.as_uri())
        assert page.title().startswith("Land cover")
        viewer = Viewer(page.frame_locator("iframe[title='map of the predictions']").locator(".geonb-explorer"))
        assert viewer.title == "label of the model, network"
        page.get_by_text("code", exact=True).first.click()
        assert page.locator("details.code[open]").count() == 1
        assert page.troubles == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_map_in_a_report_is_as_high_as_what_is_in_it(report, width):
    with browser_page(width, 800) as page:
        page.goto(report.as_uri())
        frame = page.locator("iframe[title='map of the predictions']")
        viewer = Viewer(frame.content_frame.locator(".geonb-explorer"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width

        def hidden():
            return viewer.root.evaluate("() => document.documentElement.scrollHeight - window.innerHeight")

        assert wait_until(page, lambda: hidden() <= 0)
        viewer.button("this view").click()
        viewer.button("cells as CSV").wait_for()
        assert wait_until(page, lambda: hidden() <= 0), "it grows with its content"
        assert viewer.map.bounding_box()["height"] < 0.8 * 800, "the map fits on the screen, not in the iframe"


def test_a_printed_map_is_whole(report, tmp_path):
    with browser_page(1280, 800) as page:
        page.goto(report.as_uri())
        viewer = Viewer(page.locator("iframe[title='map of the predictions']").content_frame.locator(".geonb-explorer"))
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 720, "height": 1000})  # a sheet's width
        frame = "root.querySelector('.frame').getBoundingClientRect()"
        assert wait_until(page, lambda: viewer.ask(f"{frame}.right") <= 720)
        assert viewer.ask("root.querySelector('canvas.map').getBoundingClientRect().width") <= viewer.ask(f"{frame}.width") + 1  # fmt: skip
        assert not viewer.root.locator(".right").is_visible()


@pytest.mark.notebook
def test_explore_notebook_runs_in_jupyterlab(finished, tmp_path):
    folder, _ = finished
    notebook = folder / "notebooks" / "06_explore.ipynb"
    environment = {"GEONB_ROOT": str(folder), "GEONB_HEADLESS": ""}
    with browser_page() as page, jupyterlab(notebook, page, tmp_path / "lab.log", environment) as errors:
        assert errors == []
        viewer = Viewer(page.locator(".geonb-explorer").first)
        assert wait_until(page, lambda: page.evaluate(COLOURS) > 300), "the map is painted before anything is touched"
        before = viewer.picture()
        viewer.choose("top", "where the model is wrong")
        assert wait_until(page, lambda: viewer.picture() != before)
        assert page.troubles == []


@pytest.mark.notebook
def test_the_report_of_a_whole_run_asks_no_host(finished):
    folder, _ = finished
    report = next((folder / "runs").glob("*/*/report.html"))
    with browser_page() as page:
        page.goto(report.as_uri())
        page.wait_for_load_state("load")
        assert page.troubles == [] and report.stat().st_size < 15e6
