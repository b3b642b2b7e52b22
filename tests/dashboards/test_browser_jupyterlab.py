"""The three explorers live in one notebook of JupyterLab: driven, saved, and opened again without a kernel."""

import re

import made
import made_forecasts
import made_sky
import nbformat
import pytest
from browsing import OPEN, Viewer, browser_page, jupyterlab, wait_until

pytestmark = pytest.mark.browser
SHUTDOWN = """async () => {
  const { commands, shell, serviceManager } = window.jupyterapp
  await commands.execute("docmanager:save")
  await shell.currentWidget.sessionContext.shutdown()
  await serviceManager.sessions.refreshRunning()
}"""


def test_explorers_live_in_jupyterlab(tmp_path):
    sky = made_sky.sky_arrays()
    made_up = {
        "segmentation": (made.made_predictions((96, 128)), made.made_arrays((96, 128))),
        "conflict": (made_forecasts.small_predictions(), made_forecasts.small_arrays()),
        "clouds": (made_sky.sky_predictions(sky), sky),
    }
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for name, (predictions, arrays) in made_up.items():
        (tmp_path / name).mkdir()
        predictions.to_zarr(tmp_path / name / "predictions.zarr")
        arrays.to_zarr(tmp_path / name / "arrays.zarr")
        notebook.cells.append(nbformat.v4.new_code_cell(OPEN.format(folder=tmp_path / name, workload=name)))
    nbformat.write(notebook, tmp_path / "explore.ipynb")
    with (
        browser_page(1280, 800) as page,
        jupyterlab(tmp_path / "explore.ipynb", page, tmp_path / "lab.log", {"GEONB_HEADLESS": ""}) as errors,
    ):
        assert errors == []
        viewers = {}
        for i, name in enumerate(made_up):
            page.evaluate(f"window.jupyterapp.shell.currentWidget.content.scrollToItem({i})")
            page.locator(".geonb-explorer").nth(i).wait_for(timeout=30_000)
            viewers[name] = Viewer(page.locator(".geonb-explorer").nth(i))
        ids = page.evaluate("[...document.querySelectorAll('.geonb-explorer [id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids)), "labels of each explorer name its own controls"
        for viewer in viewers.values():
            every_control(viewer)
            beside(viewer)
        clicks(viewers, made_up)
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs geonb[test]")
        found = axe.Axe().run(page, context=".geonb-explorer").response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [n["html"][:90] for n in one["nodes"]]) for one in grave] == []
        assert page.troubles == []
        page.evaluate(SHUTDOWN)
        page.reload()
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        assert wait_until(page, lambda: page.locator("figure.geonb-still img").count() == 3, 30)
        page.wait_for_timeout(1500)
        assert page.locator("figure.geonb-still img").first.is_visible(), "the picture stands where the map was"
        broken = page.get_by_text("Error displaying widget").or_(page.locator(".jp-OutputArea-output.jupyter-widgets"))
        assert broken.filter(visible=True).count() == 0


def every_control(viewer):
    """Move each control that can be used; the map follows and comes back."""
    viewer.root.scroll_into_view_if_needed()
    for name in viewer.names():
        control, before = viewer.control(name), viewer.picture()
        kind = control.get_attribute("type") or "select"
        if kind == "select" and name != "compare":
            start, count = control.input_value(), control.locator("option").count()
            pictures = []
            for i in range(count):
                viewer.choose(name, index=i)
                pictures.append(viewer.picture())
            assert len(set(pictures)) > 1, name
            control.select_option(value=start)
        elif kind == "range":
            start = control.input_value()
            viewer.slide(name, control.get_attribute("min") if start != control.get_attribute("min") else 2)
            assert viewer.picture() != before, name
            viewer.slide(name, start)
        viewer.settle()
        assert viewer.picture() == before, f"{name} goes back"
    viewer.choose("compare", "swipe between two")
    assert viewer.picture() != before
    viewer.choose("compare", "no")


def beside(viewer):
    """In a window of 1280 px the controls stand beside the map, also with JupyterLab's sidebar."""
    right = viewer.root.locator(".right").bounding_box()
    box = viewer.map.bounding_box()
    assert right["x"] >= box["x"] + box["width"] - 1
    assert right["x"] + right["width"] <= 1280


def clicks(viewers, made_up):
    scene = made_up["segmentation"][0]["scene"].to_dataset()
    here = scene.isel(y=60, x=70)
    told = viewers["segmentation"].click(float(here.x), float(here.y))
    assert f"truth: {made.CLASSES[int(here.truth)]}" in told and "row 61, column 71" in told
    grid = made_up["conflict"][0]["grid"].to_dataset()
    viewers["conflict"].slide("time", 5)
    told = viewers["conflict"].click(8.25, 9.25)
    here = grid.isel(time=5, outcome=0).sel(x=8.25, y=9.25)
    assert f"PRIO-GRID {int(here.gid)};" in told
    first = viewers["conflict"].root.locator(".about").first.locator("tr").nth(1).inner_text().split("\t")
    assert [float(v.strip(" %")) / 100 for v in first[2:]] == pytest.approx(
        here.probability.isel(lead=0).values, abs=0.005
    )
    viewers["conflict"].button("this view").click()
    viewers["conflict"].button("cells as CSV").wait_for()
    assert len(viewers["conflict"].table()) == 4
    viewers["clouds"].root.locator("button.tile").nth(1).click()
    viewers["clouds"].settle()
    assert re.search(r"^1: 0\.\d+", viewers["clouds"].told, re.M)
