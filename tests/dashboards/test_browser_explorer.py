"""Every control of every workload's explorer in a real browser, frozen and served: what it shows, tells, scores and writes."""

import csv
import io
import json
import re

import made
import made_forecasts
import made_sky
import numpy as np
import pytest
from browsing import Viewer, browser_page, served, wait_until
from PIL import Image
from pyproj import CRS, Geod, Transformer
from sklearn import metrics

from geonb.dashboards import frozen
from geonb.workloads.clouds import explore as clouds
from geonb.workloads.conflict import explore as conflict
from geonb.workloads.segmentation import explore as segmentation

pytestmark = pytest.mark.browser
HOSTS, WORKLOADS = ("frozen", "app"), ("segmentation", "conflict", "clouds")


@pytest.fixture(scope="module")
def data():
    """Predictions and arrays of each workload."""
    sky = made_sky.sky_arrays()
    forecasts = made_forecasts.small_predictions()
    grid = forecasts["grid"].to_dataset()
    east = np.where(grid.valid & (grid.x > 9), 471, grid.country)  # a second country, to aggregate and to go to
    forecasts["grid"] = grid.assign(country=(("y", "x"), east.astype("int32")))
    forecasts.attrs["countries"] = {"475": "Nigeria", "471": "Cameroon"}
    return {
        "segmentation": (made.made_predictions((96, 128), ("scene", "other")), made.made_arrays((96, 128), ("scene", "other"))),
        "conflict": (forecasts, made_forecasts.small_arrays()),
        "clouds": (made_sky.sky_predictions(sky), sky),
    }  # fmt: skip


@pytest.fixture(scope="module")
def explorers(data):
    rooms = {"segmentation": segmentation, "conflict": conflict, "clouds": clouds}
    return {name: rooms[name].explorer(*both) for name, both in data.items()}


@pytest.fixture(scope="module")
def addresses(explorers, tmp_path_factory):
    """Addresses of frozen pages and of servers by (host, workload)."""
    from contextlib import ExitStack

    folder, found = tmp_path_factory.mktemp("pages"), {}
    with ExitStack() as open_servers:
        for name, explorer in explorers.items():
            file = folder / f"{name}.html"
            file.write_text(frozen.frozen_page(explorer))
            found["frozen", name] = file.as_uri()
            found["app", name] = open_servers.enter_context(served(explorer))
        yield found


@pytest.fixture(scope="module")
def page():
    with browser_page(1280, 800) as page:
        yield page


@pytest.fixture
def opened(page, addresses):
    """A function that opens a workload's explorer at a host."""

    def visit(host, workload, width=1280, height=800):
        page.troubles.clear()
        page.set_viewport_size({"width": width, "height": height})
        page.goto(addresses[host, workload])
        return Viewer(page.locator(".geonb-explorer"))

    yield visit
    assert page.troubles == []


everywhere = pytest.mark.parametrize("host", HOSTS)
each = pytest.mark.parametrize("workload", WORKLOADS)


@everywhere
@each
def test_every_control_changes_the_map(opened, host, workload):
    viewer = opened(host, workload)
    if workload == "conflict":
        viewer.slide("time", 6)  # one that is no longer future: there are cells to outline
    moved = []
    for name in viewer.names():
        control = viewer.control(name)
        kind = control.get_attribute("type") or "select"
        before = viewer.picture()
        if kind == "select":
            start, count = control.input_value(), control.locator("option").count()
            pictures = set()
            for i in range(count):
                viewer.choose(name, index=i)
                if name == "compare" and i == 2 and workload == "clouds":
                    continue
                pictures.add(viewer.picture())
            assert len(pictures) > 1, f"{name}: {pictures}"
            control.select_option(value=start)
            viewer.settle()
        elif kind == "range":
            start = control.input_value()
            viewer.slide(name, control.get_attribute("min") if start != control.get_attribute("min") else 2)
            assert viewer.picture() != before, name
            viewer.slide(name, start)
        elif kind == "checkbox":
            control.click()
            viewer.settle()
            assert viewer.picture() != before, name
            control.click()
            viewer.settle()
        if kind != "search":
            assert viewer.picture() == before, f"{name} goes back"
        moved.append(name)
    assert {"segmentation": {"place", "below", "top", "model", "opacity", "compare"}, "clouds": {"place", "below", "top", "time"},
            "conflict": {"top", "time", "lead", "model", "outlined", "group"}}[workload] <= set(moved)  # fmt: skip


@everywhere
def test_disabled_controls_are_those_that_do_nothing(opened, host):
    viewer = opened(host, "segmentation")
    assert {"class", "threshold"} & set(viewer.names()) == set()
    viewer.choose("top", "probability of the class")
    assert {"class", "threshold", "model"} <= set(viewer.names())
    viewer.choose("top", "truth")
    assert {"class", "threshold", "model"} & set(viewer.names()) == set()
    viewer.choose("top", "nothing")
    assert "opacity" not in viewer.names()


@everywhere
def test_clicks_on_pixels_tell_the_numbers_of_the_arrays(opened, data, host):
    viewer, rng = opened(host, "segmentation"), np.random.default_rng(0)
    scene, image = data["segmentation"][0]["scene"].to_dataset(), data["segmentation"][1]["scene"].to_dataset()
    to_degrees = Transformer.from_crs("EPSG:32119", "OGC:CRS84", always_xy=True)
    for _ in range(12):
        x, y = float(rng.choice(scene.x.values)), float(rng.choice(scene.y.values))
        told = viewer.click(x, y)
        here, bands = scene.sel(x=x, y=y), image.sel(x=x, y=y)
        truth = int(here.truth)
        assert f"truth: {made.CLASSES[truth] if truth != 255 else 'none'}" in told
        lon, lat = to_degrees.transform(x, y)
        north, west = re.search(r"([\d.]+)° N, ([\d.]+)° W;", told).groups()
        assert (float(north), -float(west)) == pytest.approx((lat, lon), abs=2e-5)
        for band in bands.channel.values:
            value = re.search(rf"{band}: (\S+)", told)
            assert value is None if truth == 255 else float(value[1]) == float(bands.inputs.sel(channel=band))
        if truth == 255:
            continue
        rows = viewer.root.locator(".about").first.locator("tr").all_inner_texts()
        numbers = [[float(v.strip("~ %")) / 100 for v in row.split("\t")[1:]] for row in rows[1:]]
        step = 0.011 if host == "frozen" else 0.0051
        assert np.abs(np.array(numbers).T - here.probability.values).max() < step


@everywhere
def test_clicks_on_cells_tell_the_forecasts(opened, data, host):
    viewer, rng = opened(host, "conflict"), np.random.default_rng(1)
    grid = data["conflict"][0]["grid"].to_dataset()
    for _ in range(12):
        month, model = int(rng.integers(grid.sizes["time"])), int(rng.integers(4))
        viewer.slide("time", month)
        viewer.choose("model", index=model)
        x, y = float(rng.choice(grid.x.values)), float(rng.choice(grid.y.values))
        told = viewer.click(x, y)
        here = grid.isel(time=month, outcome=0).sel(x=x, y=y)
        assert f"PRIO-GRID {int(here.gid)};" in told
        assert f"{abs(y):.2f}° {'N' if y > 0 else 'S'}, {abs(x):.2f}° E" in told
        rows = [row.split("\t") for row in viewer.root.locator(".about").first.locator("tr").all_inner_texts()[1:]]
        first = np.datetime64(here.time.values, "M")
        assert [row[0] for row in rows] == [str(first + i) for i in range(grid.sizes["lead"])]
        if not bool(here.valid):
            assert all(v == "-" for row in rows for v in row[2:])
            continue
        truth = [{0: "no", 1: "yes", -1: "not known yet"}[int(v)] for v in here.truth.values]
        assert [row[1] for row in rows] == truth
        assert f"event came: {truth[0]}" in told
        numbers = np.array([[float(v.strip("~ %")) / 100 for v in row[2:]] for row in rows])
        assert numbers == pytest.approx(here.probability.values.T, rel=0.06, abs=0.005 if host == "app" else 0.008)


@everywhere
def test_the_title_tells_the_month_that_is_forecast(opened, host):
    viewer = opened(host, "conflict")
    viewer.slide("time", 11)
    viewer.slide("lead", 2)
    assert "2019-03 (3 months ahead, known until 2018-12)" in viewer.title
    assert "2019-03" in viewer.map.get_attribute("aria-label")


def cells_of(grid, box):
    west, south, east, north = box
    return grid.sel(x=slice(west, east)).sel(y=slice(south, north) if grid.y[0] < grid.y[-1] else slice(north, south))


@everywhere
def test_scores_of_a_region_are_those_of_scikit_learn(opened, data, host):
    viewer = opened(host, "segmentation")
    scene = data["segmentation"][0]["scene"].to_dataset()
    west, east, north, south = (float(v) for v in (scene.x[20], scene.x[90], scene.y[10], scene.y[80]))
    viewer.drag((west - 10, north + 10), (east + 10, south - 10))
    inside = cells_of(scene, (west, south, east, north))
    found = {(row["split"], row["model"]): row for row in viewer.table()}
    for code, split in ((1, "train"), (2, "val"), (3, "test")):
        for m, model in enumerate(made.MODELS):
            known = (inside.split.values == code) & (inside.truth.values != 255)
            if not known.any():
                continue
            truth, guess = inside.truth.values[known], inside.label.values[m][known]
            row = found[split, model]
            assert int(row["n"].replace(",", "")) == known.sum()
            assert float(row["accuracy"]) == pytest.approx(metrics.accuracy_score(truth, guess), abs=6e-4)
            assert float(row["mean IoU"]) == pytest.approx(metrics.jaccard_score(truth, guess, average="macro"), abs=6e-4)  # fmt: skip


@everywhere
def test_scores_of_forecasts_in_a_region_and_in_a_country(opened, data, host):
    viewer = opened(host, "conflict")
    viewer.slide("time", 5)
    viewer.slide("lead", 1)
    grid = data["conflict"][0]["grid"].to_dataset().isel(time=5, lead=1, outcome=0)

    def same(known):
        for row, model in zip(viewer.table(), made_forecasts.MODELS, strict=True):
            truth, guess = grid.truth.values[known], grid.probability.sel(model=model).values[known]
            assert row["model"] == model and int(row["n"]) == known.sum() and int(row["events"]) == truth.sum()
            off = 6e-4 if host == "app" else 0.02  # a page keeps probabilities in steps
            assert float(row["Brier"]) == pytest.approx(metrics.brier_score_loss(truth, guess), abs=off)
            assert float(row["average precision"]) == pytest.approx(metrics.average_precision_score(truth, guess), abs=off)  # fmt: skip

    viewer.drag((5.1, 4.4), (5.1, 12.6), (13.9, 12.6), (13.9, 4.4), shift=True)
    y, x = np.meshgrid(grid.y, grid.x, indexing="ij")
    same((x > 5.1) & (x < 13.9) & (y > 4.4) & (y < 12.6) & grid.valid.values)
    viewer.button("clear").click()
    viewer.control("search").fill("Cameroon")
    viewer.control("search").press("Enter")
    viewer.button("cells as CSV").wait_for()
    viewer.settle()
    same(grid.country.values == 471)


# whether the map has the colour of a region's outline within 10 px of its canvas around a place
MARKED = """(x, y) => {
  const canvas = root.querySelector('canvas.map')
  const at = v.toScreen(x, y).map((px) => Math.round((px * canvas.width) / canvas.clientWidth))
  const { data } = canvas.getContext('2d').getImageData(at[0] - 10, at[1] - 10, 20, 20)
  for (let i = 0; i < data.length; i += 4) if (data[i] === 215 && data[i + 1] === 25 && data[i + 2] === 28) return true
  return false
}"""


@everywhere
def test_a_country_that_one_goes_to_is_outlined(opened, data, host):
    viewer = opened(host, "conflict")
    grid = data["conflict"][0]["grid"].to_dataset()
    number = grid.country.where(grid.valid.astype(bool), -1).transpose("y", "x").values
    edges = [(x + 0.25, y, number[i, j] == 471, number[i, j + 1] == 471)
             for i, y in enumerate(grid.y.values) for j, x in enumerate(grid.x.values[:-1])]  # fmt: skip
    places = [(x, y, left != right) for x, y, left, right in edges if left or right]
    assert {edge for *_, edge in places} == {True, False}
    viewer.control("search").fill("Cameroon")
    viewer.control("search").press("Enter")
    viewer.button("cells as CSV").wait_for()
    viewer.settle()
    for x, y, edge in places[:: len(places) // 30]:
        assert viewer.ask(f"({MARKED})({x}, {y})") == edge, (x, y)
    viewer.button("clear").click()
    assert not any(viewer.ask(f"({MARKED})({x}, {y})") for x, y, _ in places[:: len(places) // 30])


@everywhere
def test_mean_of_each_country_is_of_all_its_cells(opened, data, host):
    viewer = opened(host, "conflict")
    viewer.control("group").click()
    viewer.settle()
    grid = data["conflict"][0]["grid"].to_dataset().isel(time=-1, lead=0, outcome=0, model=0)
    for _ in range(2):  # from afar, and with few cells on the screen
        for number in (471, 475):
            here = grid.where(grid.country == number)
            x, y = (9.75, 8.25) if number == 471 else (8.25, 8.25)
            viewer.page.mouse.move(*viewer.at(x, y))
            told = viewer.root.locator(".under").inner_text()
            value = float(re.search(r"probability: (\S+) %", told)[1]) / 100
            assert value == pytest.approx(float(here.probability.mean()), abs=0.006), told
        viewer.control("search").fill("8.25, 9")
        viewer.control("search").press("Enter")
        viewer.button("closer").click()
        viewer.settle()


@everywhere
def test_go_to_coordinates_and_numbers(opened, data, host):
    viewer = opened(host, "conflict")
    cell = data["conflict"][0]["grid"].to_dataset().sel(x=6.75, y=5.25)
    for asked in ("5.3, 6.8", "5.3 N 6.8 E", str(int(cell.gid))):
        viewer.control("search").fill(asked)
        viewer.control("search").press("Enter")
        assert wait_until(viewer.page, lambda: f"PRIO-GRID {int(cell.gid)};" in viewer.told), asked
        viewer.click(10.25, 5.25)
    viewer.control("search").fill("Atlantis")
    viewer.control("search").press("Enter")
    assert '"Atlantis" is not here' in viewer.root.locator(".under").inner_text()


def test_go_to_latitude_and_longitude_in_a_projection(opened, data):
    viewer = opened("frozen", "segmentation")
    scene = data["segmentation"][0]["scene"].to_dataset()
    x, y = float(scene.x[40]), float(scene.y[60])
    lon, lat = Transformer.from_crs("EPSG:32119", "OGC:CRS84", always_xy=True).transform(x, y)
    viewer.control("search").fill(f"{lat:.6f} N, {-lon:.6f} W")
    viewer.control("search").press("Enter")
    assert wait_until(viewer.page, lambda: "row 61, column 41" in viewer.told), viewer.told
    viewer.control("search").fill("other")
    viewer.control("search").press("Enter")
    viewer.settle()
    assert viewer.title.startswith("other")


@everywhere
def test_swipe_and_difference(opened, data, host):
    viewer = opened(host, "conflict")
    viewer.slide("time", 6)
    viewer.choose("compare", "swipe between two")
    halves = "(() => { const c = root.querySelector('canvas.map'); const k = c.width / c.clientWidth; return v.state.swipe })()"
    assert viewer.ask(halves) == 0.5
    before, box = viewer.picture(), viewer.map.bounding_box()
    cut = box["x"] + 54 + (box["width"] - 54) / 2
    viewer.page.mouse.move(cut, box["y"] + 100)
    viewer.page.mouse.down()
    viewer.page.mouse.move(cut + 150, box["y"] + 130, steps=5)
    viewer.page.mouse.up()
    assert viewer.ask("v.state.swipe") == pytest.approx(0.5 + 150 / (box["width"] - 54), abs=0.01)
    assert viewer.picture() != before
    assert "| never" in viewer.title
    viewer.choose("other-model", "as above")
    viewer.choose("other-lead", "3 months ahead")
    assert "3 months ahead" in viewer.title
    viewer.choose("compare", "difference of two")
    viewer.choose("other-lead", "as above")
    viewer.choose("other-model", "climatology")
    grid = data["conflict"][0]["grid"].to_dataset().isel(time=6, lead=0, outcome=0)
    viewer.page.mouse.move(*viewer.at(12.25, 11.25))
    told = viewer.root.locator(".under").inner_text()
    here = grid.probability.sel(x=12.25, y=11.25)
    value = float(re.search(r"difference: (\S+) %", told)[1]) / 100
    assert value == pytest.approx(float(here.sel(model="network") - here.sel(model="climatology")), abs=0.02)


@each
def test_downloads(opened, data, workload, tmp_path):
    viewer = opened("app", workload)
    with viewer.page.expect_download() as given:
        viewer.button("PNG").click()
    given.value.save_as(tmp_path / "map.png")
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))
    legend = picture[int(2 * (viewer.map.bounding_box()["height"] + 30)) :]
    assert len(np.unique(legend.reshape(-1, 3), axis=0)) > 20, "a legend or words stand below the map"
    if workload == "clouds":
        return
    viewer.button("this view").click()
    viewer.button("cells as CSV").wait_for()
    with viewer.page.expect_download() as given:
        viewer.button("cells as CSV").click()
    rows = list(csv.DictReader(io.StringIO(given.value.path().read_text())))
    with viewer.page.expect_download() as given:
        viewer.button("outline as GeoJSON").click()
    outline = json.loads(given.value.path().read_text())["features"][0]["geometry"]
    assert outline["type"] == "Polygon" and outline["coordinates"][0][0] == outline["coordinates"][0][-1]
    name = {"segmentation": "scene", "conflict": "grid"}[workload]
    source = data[workload][0][name].to_dataset()
    assert len(rows) == source.sizes["y"] * source.sizes["x"]
    for row in rows[:: len(rows) // 10]:
        here = source.sel(x=float(row["x"]), y=float(row["y"]), method="nearest")
        if workload == "conflict":
            value = float(here.probability.isel(time=-1, lead=0, outcome=0, model=0))
            told = row["probability network"]
            assert told == "" if np.isnan(value) else float(told) == pytest.approx(value, rel=1e-5)
        else:
            assert row["truth"] == (made.CLASSES[int(here.truth)] if here.truth != 255 else "")


@each
def test_keys_do_what_the_mouse_does(opened, workload):
    viewer = opened("frozen", workload)
    viewer.map.focus()
    start = viewer.ask("v.state.view")
    viewer.page.keyboard.press("Enter")
    assert wait_until(viewer.page, lambda: viewer.ask("v.state.chosen !== null"))
    first = viewer.ask("v.state.chosen")
    viewer.page.keyboard.press("ArrowRight")
    assert wait_until(viewer.page, lambda: viewer.ask("v.state.chosen.x") > first["x"])
    viewer.page.keyboard.press("ArrowUp")
    assert wait_until(viewer.page, lambda: viewer.ask("v.state.chosen.y") > first["y"])
    viewer.page.keyboard.press("+")
    near = viewer.ask("v.state.view")
    assert near[2] - near[0] == pytest.approx((start[2] - start[0]) / 1.6)
    viewer.page.keyboard.press("Shift+ArrowLeft")
    assert viewer.ask("v.state.view")[0] < near[0]
    viewer.page.keyboard.press("-")
    viewer.page.keyboard.press("0")
    assert viewer.ask("v.state.view") == pytest.approx(start)


def test_the_wheel_scrolls_the_page_unless_it_is_meant(opened):
    viewer = opened("frozen", "conflict", 700, 500)
    view, (x, y) = viewer.ask("v.state.view"), viewer.at(8.25, 8.25)
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.wheel(0, 120)
    assert wait_until(viewer.page, lambda: viewer.page.evaluate("scrollY") > 0)
    assert viewer.ask("v.state.view") == view
    viewer.page.evaluate("scrollTo(0, 0)")
    viewer.page.keyboard.down("Control")
    viewer.page.mouse.wheel(0, -120)
    viewer.page.keyboard.up("Control")
    assert wait_until(viewer.page, lambda: viewer.ask("v.state.view") != view)
    viewer.page.mouse.dblclick(x, y)
    assert viewer.ask("v.state.view") == pytest.approx(view)


@each
def test_a_double_click_shows_all_and_moves_no_mark(opened, workload):
    viewer = opened("frozen", workload)
    view = viewer.ask("v.state.view")
    x, y = ((low + high) / 2 for low, high in zip(view[:2], view[2:], strict=True))
    viewer.click(x, y)
    marks = "[v.state.chosen, v.state.like]"
    viewer.button("closer").click()
    viewer.settle()
    before, told = viewer.ask(marks), viewer.told
    px, py = viewer.at(x, y)
    viewer.page.mouse.dblclick(px - 120, py - 90, delay=30)
    viewer.page.wait_for_timeout(600)
    viewer.settle()
    assert viewer.ask("v.state.view") == pytest.approx(view)
    assert (viewer.ask(marks), viewer.told) == (before, told)


def test_two_fingers_zoom_about_their_middle_and_pan(opened):
    viewer = opened("frozen", "conflict", 700, 500)  # a page that scrolls
    box, view, chosen = viewer.map.bounding_box(), viewer.ask("v.state.view"), viewer.ask("v.state.chosen")
    x, y = box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"]
    fingers = viewer.page.context.new_cdp_session(viewer.page)
    fingers.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def touch(kind, *points):
        places = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def under(px, py):
        return viewer.ask(f"v.toMap({px - box['x']}, {py - box['y']})")

    before = under(x, y)
    touch("touchStart", (x - 50, y))
    touch("touchStart", (x - 50, y), (x + 50, y))
    for step in (20, 40, 60):
        touch("touchMove", (x - 50, y - step), (x + 50, y - step))
    moved = viewer.ask("v.state.view")
    assert moved[2] - moved[0] == pytest.approx(view[2] - view[0])
    assert under(x, y - 60) == pytest.approx(before)
    for step in (60, 80, 100):
        touch("touchMove", (x + 30 - step, y - 60), (x + 30 + step, y - 60))
    near = viewer.ask("v.state.view")
    assert near[2] - near[0] == pytest.approx((view[2] - view[0]) / 2)
    assert under(x + 30, y - 60) == pytest.approx(before)
    assert viewer.page.evaluate("scrollY") == 0, "the map has moved, not the page"
    touch("touchEnd")
    fingers.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    viewer.page.wait_for_timeout(600)
    assert viewer.ask("v.state.chosen") == chosen, "two fingers choose nothing"


@pytest.mark.parametrize(("workload", "place"), [("segmentation", 0), ("conflict", 0), ("clouds", 0), ("clouds", 1)])
def test_the_scale_bar_measures_the_ground(opened, explorers, workload, place):
    viewer = opened("frozen", workload)
    if place:
        viewer.choose("place", index=place)
    crs = CRS(explorers[workload].places[place].crs)
    west, south, east, north = viewer.ask("v.state.view")
    x, y, d = (west + east) / 2, (south + north) / 2, (east - west) / 20
    to_degrees = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    (lon0, lat0), (lon1, lat1) = to_degrees.transform(x - d, y), to_degrees.transform(x + d, y)
    metres = Geod(ellps="WGS84").inv(lon0, lat0, lon1, lat1)[2] / (2 * d)
    assert viewer.ask("v.metres()") == pytest.approx(metres, rel=0.01)


@pytest.mark.parametrize("place", [0, 1])
def test_hover_tells_longitude_and_latitude(opened, explorers, place):
    viewer, rng = opened("frozen", "clouds"), np.random.default_rng(2)
    if place:
        viewer.choose("place", index=place)
    one = explorers["clouds"].places[place]
    to_degrees = Transformer.from_crs(one.crs, "OGC:CRS84", always_xy=True)
    west, south, east, north = one.bounds
    for _ in range(6):
        x, y = rng.uniform(west, east), rng.uniform(south, north)
        viewer.page.mouse.move(*viewer.at(x, y))
        lon, lat = to_degrees.transform(x, y)
        told = re.search(r"([\d.]+)° N, ([\d.]+)° W", viewer.root.locator(".under").inner_text())
        pixel = (north - south) / 500 / 1e5
        assert (float(told[1]), -float(told[2])) == pytest.approx((lat, lon), abs=0.02 + 2 * pixel)


def test_a_full_disk_tells_no_more_of_a_place_than_is_right(page, tmp_path):
    from geonb.dashboards.explorer import Explorer, Place
    from geonb.dashboards.layers import Grid, Layer

    crs, side = made_sky.GEOS, 5.5e6
    layer = Layer("ones", "ones", "numbers", lambda place, at, slices: np.ones((100, 100))[slices["y"], slices["x"]])
    disk = Explorer(
        "disk", [Place("disk", {"": Grid((-side, -side, side, side), (100, 100))}, crs)], [], [layer], top="ones"
    )
    (tmp_path / "disk.html").write_text(frozen.frozen_page(disk))
    page.goto((tmp_path / "disk.html").as_uri())
    viewer, rng = Viewer(page.locator(".geonb-explorer")), np.random.default_rng(5)
    to_degrees, told = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True), 0
    for x, y in rng.uniform(-side, side, (40, 2)):
        x, y = (
            (np.floor(v / side * 50) + 0.5) / 50 * side for v in (x, y)
        )  # the middle of a cell, which a click tells
        found = re.search(r"([\d.]+)° ([NS]), ([\d.]+)° ([EW])", viewer.click(x, y))
        lon, lat = to_degrees.transform(x, y)
        if not np.isfinite(lon):
            assert found is None
            continue
        if found is None:  # at the rim, where the Earth ends between two places told
            continue
        told += 1
        step = 10.0 ** -len(found[1].partition(".")[2])
        south, west = found[2] == "S", found[4] == "W"
        assert abs(float(found[1]) * (-1 if south else 1) - lat) <= step
        assert abs(float(found[3]) * (-1 if west else 1) - lon) <= step
    assert told > 15


@everywhere
def test_a_tile_and_those_like_it(opened, explorers, host):
    viewer, explorer = opened(host, "clouds"), explorers["clouds"]
    grid = explorer.places[0].grids["tiles"]
    west, south, east, north = grid.bounds
    rng, seen = np.random.default_rng(4), 0
    while seen < 12:
        row, column = int(rng.integers(grid.shape[0])), int(rng.integers(grid.shape[1]))
        if not explorer.likeness.valid((0, 0, row, column)):
            continue
        seen += 1
        viewer.click(
            west + (column + 0.5) * (east - west) / grid.shape[1], north - (row + 0.5) * (north - south) / grid.shape[0]
        )
        told = [float(v) for v in re.findall(r"^\d: (\S+)", viewer.told, re.M)]
        exact = [far for _, far in explorer.likeness.alike((0, 0, row, column))]
        assert told == pytest.approx(exact, rel=0.006), (row, column)
    first = explorer.likeness.alike((0, 0, row, column))[0][0]
    viewer.root.locator("button.tile").nth(1).click()
    viewer.settle()
    assert viewer.ask("[v.state.place, v.state.at.time]") == list(first[:2])


@everywhere
def test_a_region_follows_the_layer_on_top_and_counts_nothing_in_a_picture(opened, host):
    viewer = opened(host, "clouds")
    region = viewer.root.locator(".about").nth(1)
    viewer.button("this view").click()
    assert wait_until(viewer.page, lambda: "Region: nothing to count in a picture." in region.inner_text())
    viewer.choose("top", "squared distance to the tile")
    assert wait_until(viewer.page, lambda: "squared distance to the tile: mean" in region.inner_text())
    assert "test split" not in region.inner_text(), "nothing here has a score"


def test_what_failed_is_asked_for_again(opened):
    viewer = opened("app", "segmentation")
    viewer.page.route("**/ask", lambda route: route.abort())
    before = viewer.picture()
    viewer.choose("top", "split")
    assert "could not be read" in viewer.root.locator(".under").inner_text()
    viewer.page.unroute("**/ask")
    viewer.choose("top", "label of the model")
    viewer.choose("top", "split")
    assert viewer.title == "scene, split" and viewer.picture() != before


@everywhere
def test_tiles_stay_while_time_goes_on(opened, explorers, host):
    viewer = opened(host, "clouds")
    count, grid = viewer.root.locator("button.tile").count(), explorers["clouds"].places[0].grids["tiles"]
    viewer.click((grid.bounds[0] + grid.bounds[2]) / 2, (grid.bounds[1] + grid.bounds[3]) / 2)
    told = viewer.told
    viewer.slide("time", 1)
    assert viewer.told == told and viewer.root.locator("button.tile").count() == count > 1


@pytest.mark.parametrize("width", [390, 1280, 1920])
@each
def test_layout(opened, workload, width):
    viewer = opened("frozen", workload, width, {390: 844, 1280: 800, 1920: 1080}[width])
    page = viewer.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut at the right"
    canvas, right = viewer.map.bounding_box(), viewer.root.locator(".right").bounding_box()
    if width == 390:
        assert canvas["width"] > 350 and right["y"] > canvas["y"] + canvas["height"]
        return
    assert right["x"] >= canvas["x"] + canvas["width"] - 1, "the controls stand beside the map"
    last = viewer.control("search").bounding_box()
    assert last["y"] + last["height"] < page.viewport_size["height"]
    assert canvas["width"] > 0.68 * width
    for _ in range(9):
        viewer.button("closer").click()
    viewer.settle()
    assert viewer.map.bounding_box() == canvas, "wider labels do not move the map"


@everywhere
@each
def test_nothing_stands_in_the_way_of_assistive_technology(opened, host, workload):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs geonb[test]")
    viewer = opened(host, workload)
    viewer.map.focus()
    viewer.page.keyboard.press("Enter")
    viewer.choose("compare", "swipe between two")
    if workload != "clouds":
        viewer.button("this view").click()
        viewer.button("cells as CSV").wait_for()
    found = axe.Axe().run(viewer.page).response["violations"]
    bad = [(one["id"], one["impact"], [n["html"][:120] for n in one["nodes"]]) for one in found]
    assert [one for one in bad if one[1] in ("serious", "critical")] == []
    assert bad == []


def test_play_moves_on_and_says_so(opened):
    viewer = opened("frozen", "conflict")
    viewer.slide("time", 3)
    viewer.button("play month").click()
    assert wait_until(viewer.page, lambda: viewer.ask("v.state.at.time") >= 5)
    viewer.button("pause month").click()
    now = viewer.ask("v.state.at.time")
    viewer.page.wait_for_timeout(1000)
    assert viewer.ask("v.state.at.time") == now
    assert viewer.root.locator(".gaps i").count() == 2, "gaps in time are marked"
