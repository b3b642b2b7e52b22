"""What a person sees: report, frozen map and JupyterLab in headless Chromium, without network."""

import nbformat
import numpy as np
import pytest
from browsing import COLOURS, OPEN, PICTURE, browser_page, jupyterlab, wait_until
from made import CLASSES, made_arrays, made_predictions
from pages import notebook, run  # noqa: F401  (a finished run, as a fixture)

from geonb.runs import report as runs_report
from geonb.workloads.segmentation import frozen as segmentation_frozen

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def predictions():
    return made_predictions((96, 128))


@pytest.fixture(scope="module")
def arrays():
    return made_arrays((96, 128))


def figure_box(frame):
    """Where the map lies on the page."""
    return frame.locator(".bk-Figure").first.bounding_box()


def test_report_opens_without_network(run, predictions, arrays):
    frozen = segmentation_frozen.frozen(predictions, arrays).data
    shown = nbformat.v4.new_output("display_data", data={"text/html": frozen})
    notebook(
        run / "notebooks" / "06_explore.ipynb", "06 Explore", [nbformat.v4.new_code_cell("show()", outputs=[shown])]
    )
    report = runs_report.write_report(run)
    with browser_page() as page:
        page.goto(report.as_uri())
        assert page.title().startswith("Land cover")
        frame = page.frame_locator("iframe[title='map of the predictions']")
        frame.locator(".bk-Figure").first.wait_for(timeout=30_000)
        assert frame.locator("html").get_attribute("data-geonb", timeout=30_000) == "scene image label network"
        page.get_by_text("code", exact=True).first.click()
        assert page.locator("details.code[open]").count() == 1
        assert page.troubles == []


def test_frozen_map_answers_clicks_and_controls(tmp_path, predictions, arrays):
    file = tmp_path / "map.html"
    file.write_text("<!doctype html><meta charset=utf-8>" + segmentation_frozen.frozen(predictions, arrays).data)
    with browser_page() as page:
        page.goto(file.as_uri())
        page.frame_locator("iframe").locator("html[data-geonb]").wait_for(timeout=30_000)
        frame = page.frames[1]
        before = frame.evaluate(PICTURE)
        on_top = frame.locator("select").filter(has_text="nothing")
        on_top.select_option(label="where the model is wrong")
        assert wait_until(page, lambda: "wrong" in frame.locator("html").get_attribute("data-geonb"))
        assert wait_until(page, lambda: frame.evaluate(PICTURE) != before)
        # the middle of the axes is the middle of the scene: click it, and read what the arrays hold there
        canvas = figure_box(frame)
        tell = frame.get_by_text("bands:")
        page.mouse.click(canvas["x"] + 0.55 * canvas["width"], canvas["y"] + 0.5 * canvas["height"])
        tell.wait_for(timeout=10_000)
        told = dict(row.split("\t")[:2] for row in frame.locator("table tr").all_inner_texts()[1:])
        place = frame.locator("b").filter(has_text=" E, ").first.inner_text()
        x, y = (float(part.split()[0].replace(",", "")) for part in place.replace(" E, ", " E| ").split("|"))
        here = predictions["scene"].to_dataset().sel(x=x, y=y, method="nearest")
        for name, value in zip(CLASSES, here.probability.sel(model="network").values, strict=True):
            assert float(told[name]) == pytest.approx(float(value), abs=0.011)
        assert page.troubles == []


def test_live_map_in_jupyterlab(tmp_path, predictions, arrays):
    predictions.to_zarr(tmp_path / "predictions.zarr")
    arrays.to_zarr(tmp_path / "arrays.zarr")
    made = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(OPEN.format(folder=tmp_path, workload="segmentation")),
            nbformat.v4.new_code_cell("explore(predictions, arrays)"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(made, tmp_path / "explore.ipynb")
    with browser_page() as page, jupyterlab(tmp_path / "explore.ipynb", page, tmp_path / "lab.log") as errors:
        assert errors == []
        page.locator(".bk-Figure").first.wait_for(timeout=30_000)
        assert wait_until(page, lambda: page.evaluate(COLOURS) > 300), "the map is painted before anything is touched"
        page.wait_for_timeout(500)
        before = page.evaluate(PICTURE)
        page.locator(".jupyter-widgets select").filter(has_text="nothing").select_option(
            label="where the model is wrong"
        )
        assert wait_until(page, lambda: page.evaluate(PICTURE) != before), "the kernel painted another layer"
        box = figure_box(page)
        page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.5 * box["height"])
        page.get_by_text("bands:").wait_for(timeout=15_000)
        assert np.isin([page.get_by_text(name).count() > 0 for name in CLASSES], True).all()
        assert page.troubles == []


@pytest.mark.notebook
def test_explore_notebook_runs_in_jupyterlab(finished, tmp_path):
    folder, _ = finished
    notebook = folder / "notebooks" / "06_explore.ipynb"
    environment = {"GEONB_ROOT": str(folder), "GEONB_HEADLESS": ""}
    with browser_page() as page, jupyterlab(notebook, page, tmp_path / "lab.log", environment) as errors:
        assert errors == []
        page.locator(".bk-Figure").first.wait_for(timeout=30_000)
        assert wait_until(page, lambda: page.evaluate(COLOURS) > 300), "the map is painted before anything is touched"
        page.wait_for_timeout(500)
        before = page.evaluate(PICTURE)
        on_top = page.locator(".jupyter-widgets select").filter(has_text="nothing")
        on_top.select_option(label="where the model is wrong")
        assert wait_until(page, lambda: page.evaluate(PICTURE) != before)
        assert page.troubles == []


@pytest.mark.notebook
def test_the_report_of_a_whole_run_asks_no_host(finished):
    folder, _ = finished
    report = next((folder / "runs").glob("*/*/report.html"))
    with browser_page() as page:
        page.goto(report.as_uri())
        page.wait_for_load_state("load")
        assert page.troubles == [] and report.stat().st_size < 15e6
