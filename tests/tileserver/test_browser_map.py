"""The map page in a real browser: layers in their colours where they are, controls, keys, and no request that leaves the machine."""

import asyncio
import threading
from contextlib import contextmanager

import made_rasters as made
import numpy as np
import pytest
from browsing import browser_page, free_port, wait_until
from rasterio.transform import from_origin

from geonb.tileserver import layers, server

pytestmark = pytest.mark.browser


@contextmanager
def served(found):
    """The address of the map, answered by a thread of this process."""
    from tornado.httpserver import HTTPServer

    port, loops, up = free_port(), [], threading.Event()

    async def run() -> None:
        loops.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        one = HTTPServer(server.application(found, "secret"))
        one.listen(port, "127.0.0.1")
        up.set()
        await stop.wait()
        one.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert up.wait(30)
    yield f"http://127.0.0.1:{port}/secret/"
    loop, stop = loops[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rasters")
    for i in range(2):  # side by side, dark and bright
        values = np.full((200, 300), 80 + 120 * i, "uint8")
        made.write(
            folder / f"part{i}.tif", values, nodata=0, transform=from_origin(made.WEST + 9000 * i, made.NORTH, 30, 30)
        )
    made.class_map(folder / "classes.tif")
    made.write(folder / "ints.tif", made.gradient(), tags={"simulated": "1"}, names=("near infrared",))
    found, _ = layers.layers_of([folder])
    broken = made.write(folder / "broken <b>.tif", made.gradient())
    found |= layers.layers_of([broken])[0]
    broken.write_bytes(b"")
    with served(found) as address, browser_page(1000, 700) as page:
        page.goto(address)
        settle(page, "mosaic")
        yield page
        assert page.troubles == []


def settle(page, name=None):
    """Wait until the map shows a layer, all of it."""
    named = f'[data-shown="{name}"]' if name else "[data-shown]"
    page.wait_for_timeout(150)
    page.wait_for_selector(f"canvas{named}:not([data-busy])", timeout=30_000)
    page.wait_for_timeout(150)


def colour(page, fraction):
    """Red, green and blue at a place of the map, in parts of its layer from the north-west."""
    return page.evaluate(
        """([fx, fy]) => {
          const [w, s, e, n] = told.bounds, { w: wide, h: high } = size(), canvas = document.querySelector("canvas")
          const x = (across(w) + (across(e) - across(w)) * fx - view.x) * scale() + wide / 2
          const y = (down(n) + (down(s) - down(n)) * fy - view.y) * scale() + high / 2
          return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3)
        }""",
        fraction,
    )


def choose(page, name):
    page.select_option("#layer", label=name)
    settle(page, name)


def test_a_mosaic_shows_both_files_side_by_side(page):
    choose(page, "mosaic")
    assert colour(page, [0.25, 0.5]) == [80] * 3 and colour(page, [0.75, 0.5]) == [200] * 3
    assert len({tuple(colour(page, [f, 1.06])) for f in (0.1, 0.5, 0.9)} & {(80,) * 3, (200,) * 3}) == 0


def test_a_class_map_has_its_colours_and_names(page):
    choose(page, "classes")
    assert colour(page, [0.03, 0.1]) not in ([10, 20, 200], [40, 160, 40], [210, 180, 90])  # no data
    assert colour(page, [60 / 300, 100 / 200]) == [10, 20, 200]  # column 60 and row 100: block (1, 2), of class 0
    legend = page.locator("#legend").inner_text().split("\n")
    assert legend == ["0 water", "1 forest", "2 bare <soil>"]


def test_controls_change_the_map_and_faults_are_told(page):
    choose(page, "ints")
    assert "simulated data" in page.locator("#about").inner_text()
    grey = colour(page, [0.5, 0.5])
    assert grey[0] == grey[1] == grey[2] and abs(grey[0] - 127) < 12
    page.select_option("#colormap", value="viridis")
    settle(page)
    green = colour(page, [0.5, 0.5])
    assert green[1] > green[0] + 60
    page.fill("#rescale", "0,100")
    page.keyboard.press("Enter")
    settle(page)
    assert wait_until(page, lambda: colour(page, [0.5, 0.5])[0] > 240)  # viridis ends in yellow
    assert "0 to 100, viridis" in page.locator("#legend").inner_text()
    page.fill("#rescale", "9,1")
    page.keyboard.press("Enter")
    assert wait_until(page, lambda: "rescale=9,1: give low,high" in page.locator("#fault").inner_text())
    page.fill("#rescale", "")
    page.keyboard.press("Enter")
    assert wait_until(page, lambda: page.locator("#fault").inner_text() == "")


def test_keys_and_buttons_move_and_zoom(page):
    choose(page, "classes")
    view = "() => ({ ...view })"
    start = page.evaluate(view)
    page.focus("#map")
    for key, what in (("ArrowRight", lambda a, b: b["x"] > a["x"]), ("ArrowDown", lambda a, b: b["y"] > a["y"]),
                      ("+", lambda a, b: b["zoom"] == a["zoom"] + 1), ("-", lambda a, b: b["zoom"] == a["zoom"] - 1)):  # fmt: skip
        before = page.evaluate(view)
        page.keyboard.press(key)
        assert what(before, page.evaluate(view)), key
    page.get_by_role("button", name="zoom in").click()
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -300)
    assert page.evaluate(view)["zoom"] > start["zoom"] + 1
    page.keyboard.press("0")
    page.get_by_role("button", name="whole layer").click()
    settle(page)
    assert page.evaluate(view) == start


def test_a_layer_that_cannot_be_read_is_told_and_the_others_stay(page):
    page.select_option("#layer", label="broken <b>")
    assert wait_until(page, lambda: "broken <b>.tif: it cannot be read here" in page.locator("#fault").inner_text())
    choose(page, "classes")
    assert page.locator("#fault").inner_text() == ""


def test_the_pointer_tells_where_it_is(page):
    choose(page, "mosaic")
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    lat, lon = (float(part.split("°")[0]) for part in page.locator("#place").inner_text().split(",")[:2])
    west, south, east, north = page.evaluate("() => told.bounds")
    assert abs(lon - (west + east) / 2) < 1e-3 and abs(lat - (south + north) / 2) < 1e-3
