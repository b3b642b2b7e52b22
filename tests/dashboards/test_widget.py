"""The viewer as a widget: the kernel answers by number; a picture of the first view for who has no kernel."""

import base64
import io
import re

import made_places as made
import numpy as np
import pytest
from IPython.display import HTML
from PIL import Image

from geonb.dashboards import widget
from geonb.dashboards.layers import painted


@pytest.fixture(scope="module")
def places():
    return made.data()


@pytest.fixture(scope="module")
def explorer(places):
    return made.explorer(places, opacity=1.0, ground="#102030")


def test_it_answers_what_the_viewer_asks_by_its_number(explorer, caplog):
    live, sent = widget.live(explorer), []
    live.send = lambda message, buffers=None: sent.append((message, buffers))
    asked = {
        "what": "planes",
        "place": 0,
        "view": [0, 0, 50, 50],
        "pixels": [9, 9],
        "layers": [{"layer": "height", "at": {}}],
    }
    live._handle_custom_msg({"number": 7, "asked": asked}, [])
    told, files = explorer.answer(asked)
    assert sent == [({"number": 7, "told": told}, files)]
    live._handle_custom_msg({"number": 8, "asked": {"what": "this"}}, [])
    assert "asked for 'this'" in caplog.text
    assert sent[1][0]["number"] == 8 and sent[1][0]["failed"].startswith(
        "ValueError: The explorer was asked for 'this'"
    )


def test_its_facts_travel_and_its_state_can_be_set(explorer):
    live = widget.live(explorer)
    synced = live.get_state()
    assert synced["facts"] == explorer.facts() and {"state", "wanted"} <= set(synced)
    assert "export default { render }" in live._esm and "export function mount" in live._esm


def test_a_still_picture_stands_before_it(explorer, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    bundle = widget.live(explorer)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in (bundle[0] if isinstance(bundle, tuple) else bundle)
    (still,) = shown
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", still.data)[1])
    assert picture == widget.still(explorer) and 'alt="made up"' in still.data


def test_the_still_picture_is_the_first_view(explorer, places):
    picture = np.asarray(Image.open(io.BytesIO(widget.still(explorer, 280))).convert("RGBA"))
    assert picture.shape == (180, 280, 4)  # 9 x 14 cells
    cells = picture[10::20, 10::20]
    guess = places[0].guess.values[0, 2]  # the network, the latest month
    there = np.isfinite(guess)
    assert (cells[there] == painted(explorer.layer("guess"), guess)[there]).all()
    assert (cells[~there] == (0x10, 0x20, 0x30, 255)).all()


def test_the_still_picture_lets_what_is_below_through(places):
    half = made.explorer(places, opacity=0.5)
    cells = np.asarray(Image.open(io.BytesIO(widget.still(half, 280))).convert("RGB"))[10::20, 10::20].astype(float)
    guess, height = places[0].guess.values[0, 2], places[0].height.values
    above, there = painted(half.layer("guess"), guess)[..., :3].astype(float), np.isfinite(guess + height)
    assert np.abs(cells - (above + height[..., None] + 20) / 2)[there].max() < 2


def test_the_runner_decides_between_live_and_frozen(explorer, monkeypatch):
    import ipywidgets

    monkeypatch.setenv("GEONB_HEADLESS", "1")
    assert isinstance(widget.show(explorer), HTML) and "iframe" in widget.show(explorer).data
    monkeypatch.delenv("GEONB_HEADLESS")
    assert isinstance(widget.show(explorer), ipywidgets.DOMWidget)
