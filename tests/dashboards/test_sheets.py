"""Figures below the map: as first chosen, as asked for, kept, and which of them a page holds."""

import base64
import io
from contextlib import ExitStack
from dataclasses import replace

import made_places as made
import numpy as np
import pytest
import viewing
from browsing import Viewer, browser_page, served, wait_until
from matplotlib.figure import Figure
from PIL import Image

from geonb.dashboards import frozen, sheets
from geonb.dashboards.explorer import Place, place_facts
from geonb.dashboards.layers import Grid

COLOURS = {"red": (1, 0, 0), "blue": (0, 0, 1)}


@pytest.fixture
def drawn():
    return []


@pytest.fixture
def sheet(drawn):
    def draw(place, chosen):
        drawn.append((place, dict(chosen)))
        figure = Figure((2, 1))
        figure.subplots().set_title(f"place {place}")
        figure.set_facecolor(COLOURS[chosen["colour"]])
        return figure

    return sheets.Sheet("figures", draw, {"colour": ["red", "blue"], "size": ["large"]})


def ground(file):
    """The colour at the edge of a picture."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))[2, 2] > 128


def test_a_viewer_gets_what_it_chose_and_first_the_first(sheet, drawn):
    explorer = made.explorer(made.data(), sheet=sheet)
    assert explorer.facts()["sheet"] == {"title": "figures", "choices": {"colour": ["red", "blue"], "size": ["large"]}}
    told, (file,) = explorer.answer({"what": "sheet", "place": 1})
    assert told == {"words": "place 1"} and ground(file).tolist() == [True, False, False]
    told, (file,) = explorer.answer({"what": "sheet", "place": 0, "chosen": {"colour": "blue"}})
    assert told == {"words": "place 0"} and ground(file).tolist() == [False, False, True]
    assert drawn == [(1, {"colour": "red", "size": "large"}), (0, {"colour": "blue", "size": "large"})]
    told, _ = explorer.answer({"what": "sheet", "place": 1, "chosen": {"colour": "red"}})
    assert told == {"words": "place 1"} and len(drawn) == 2  # it is not drawn again
    told, _ = explorer.answer({"what": "sheet", "place": 0})
    assert told == {"words": "place 0"} and len(drawn) == 3


def test_another_choice_is_refused_with_those_that_there_are(sheet, drawn):
    with pytest.raises(ValueError, match=r"colour = 'green': the choices are red, blue\."):
        sheet.picture(0, {"colour": "green"})
    with pytest.raises(ValueError, match=r"form = 'round': the choices are colour, size\."):
        sheet.picture(0, {"form": "round"})
    assert not drawn


def test_no_more_are_kept_than_the_latest(sheet, drawn, monkeypatch):
    monkeypatch.setattr(sheets, "KEPT", 2)
    for place in (0, 1, 2, 1, 0):
        sheet.picture(place)
    assert [place for place, _ in drawn] == [0, 1, 2, 0]


def test_an_explorer_without_a_sheet_answers_nothing():
    explorer = made.explorer(made.data())
    assert explorer.facts()["sheet"] is None and explorer.answer({"what": "sheet", "place": 0}) == ({"words": ""}, [])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_page_holds_the_figures_of_its_first_places(sheet, drawn, count):
    facts, _ = frozen.pack(made.explorer(made.data(), sheet=sheet), {"sheets": count, "places": [1, 0]})
    held = [place["sheet"] for place in facts["places"] if "sheet" in place]
    assert [one["words"] for one in held] == ["place 1", "place 0"][:count] and len(drawn) == count
    assert all(ground(base64.b64decode(one["file"])).tolist() == [True, False, False] for one in held)
    page = frozen.frozen_page(made.explorer(made.data(), sheet=sheet))
    assert "sheet" in viewing.facts_of(page)["facts"]["places"][0]


def test_a_diagram_says_what_is_along_it():
    facts = place_facts(Place("a record", {"": Grid((0.0, 0.0, 60.0, 10.0), (1, 1))}, along="s", rows=("Z", "R")))
    assert (facts["along"], facts["rows"]) == ("s", ["Z", "R"])


@pytest.mark.browser
@pytest.mark.parametrize("host", ["frozen", "app"])
def test_below_the_map_stands_what_is_chosen(sheet, drawn, tmp_path, host):
    """A page holds the first place's figure alone, and says so at the other; a server draws every choice at every place."""
    explorer = made.explorer(made.data(), sheet=sheet, packs=lambda: [{"sheets": 1}])
    explorer.places[0] = replace(explorer.places[0], along="s", rows=("Z", "R"))
    with ExitStack() as stack:
        page = stack.enter_context(browser_page(1280, 800))
        (tmp_path / "page.html").write_text(frozen.frozen_page(explorer))
        page.goto((tmp_path / "page.html").as_uri() if host == "frozen" else stack.enter_context(served(explorer)))
        viewer, below = Viewer(page.locator(".geonb-explorer")), page.locator(".sheet")
        below.locator("img[alt='place 0']").wait_for()
        axis = viewer.picture()
        viewer.choose("place", index=1)
        if host == "frozen":
            below.get_by_text("This page holds no figure of this source").wait_for()
            assert "colour: red; size: large" in below.inner_text() and not below.locator("select").count()
        else:
            below.locator("img[alt='place 1']").wait_for()
            viewer.choose("colour", label="blue")
            assert wait_until(page, lambda: drawn[-1] == (1, {"colour": "blue", "size": "large"}))
            viewer.choose("place", index=0)
            below.locator("img[alt='place 0']").wait_for()
            assert wait_until(page, lambda: drawn[-1] == (0, {"colour": "blue", "size": "large"}))
        viewer.choose("place", index=0)
        assert viewer.picture() == axis and page.troubles == []
