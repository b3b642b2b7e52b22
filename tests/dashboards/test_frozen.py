"""Pages that answer themselves: what lies in them is the data, as much as fits, and what was left out is said."""

import html
import re
from dataclasses import replace
from functools import partial

import made_places as made
import numpy as np
import pytest
import viewing
from hypothesis import given
from hypothesis import strategies as st
from pages import REQUESTS

from geonb.dashboards.frozen import _gaps, frozen, frozen_page, pack, smallest_page_bytes, thinned
from geonb.dashboards.layers import Grid, from_array


@pytest.fixture(scope="module")
def places():
    return made.data()


@pytest.fixture(scope="module")
def explorer(places):
    return made.explorer(places)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 30))
def test_thinned_cells_lie_where_those_are_that_they_stand_for(rows, columns, every):
    grid = Grid((100.0, 0.0, 100.0 + 2 * columns, 3.0 * rows), (rows, columns))
    slices, thin = thinned(grid, every)
    west, south, east, north = thin.bounds
    for axis, count, n, first, step in (("x", columns, thin.shape[1], west, (east - west) / thin.shape[1]),
                                        ("y", rows, thin.shape[0], north, (south - north) / thin.shape[0])):  # fmt: skip
        centres = 100 + 2 * (np.arange(count) + 0.5) if axis == "x" else 3.0 * rows - 3 * (np.arange(count) + 0.5)
        taken = centres[slices[axis]]
        assert len(taken) == n >= min(count, 6) and (slices[axis].step == every or count < 6 * every)
        np.testing.assert_allclose(first + step * (np.arange(n) + 0.5), taken)
    assert np.abs(np.subtract(thin.bounds, grid.bounds)).max() <= 1.5 * every  # half a step of the larger cell's side


def test_a_whole_page_holds_all_numbers(explorer, places):
    facts, data = pack(explorer, {})
    for found, place, told in zip(viewing.unpacked(facts, data), places, facts["places"], strict=True):
        np.testing.assert_array_equal(found["truth"], place.truth)
        np.testing.assert_array_equal(found["height"], place.height)
        assert (np.isnan(found["guess"]) == np.isnan(place.guess.values)).all()
        assert np.nanmax(np.abs(np.sqrt(found["guess"]) - np.sqrt(place.guess.values))) <= 0.5 / 254 + 1e-9
        assert ((found["picture"][0][..., 3] == 255) == np.isfinite(place.height.values)).all()
        assert {part["layer"]: part.get("exact") for part in told["parts"]} == {
            "picture": None, "guess": False, "truth": True, "height": True}  # fmt: skip
    assert [place["masks"] for place in facts["places"]] == [[""], []], "of the first only what is there is kept"
    assert facts["whole"] and facts["said"] == ""


def test_coarser_steps_of_a_number_leave_whole_ones_exact(explorer, places):
    (found, _) = viewing.unpacked(*pack(explorer, {"steps": 50}))
    np.testing.assert_array_equal(found["height"], places[0].height)
    off = np.abs(np.sqrt(found["guess"]) - np.sqrt(places[0].guess.values))
    assert 0.006 < np.nanmax(off) <= 0.01 + 0.5 / 254
    assert len(np.unique(found["guess"][np.isfinite(found["guess"])])) <= 51


def test_what_is_left_out_is_nowhere(explorer, places):
    how = {
        "places": [1],
        "keep": {"month": [1, 2]},
        "only": {"guess": {"model": [1]}},
        "drop": ["height"],
        "every": 2,
        "said": "Less.",
    }
    facts, data = pack(explorer, how)
    (found,) = viewing.unpacked(facts, data)
    assert set(found) == {"picture", "guess", "truth"} and "height" not in str(facts["lines"])
    slices, grid = thinned(explorer.places[1].grids[""], 2)
    assert facts["places"][0]["grids"][""] == vars(grid) and facts["places"][0]["every"] == 2
    np.testing.assert_array_equal(found["truth"], places[1].truth.values[1:, slices["y"], slices["x"]])
    assert found["guess"].shape[:2] == (1, 2)
    np.testing.assert_allclose(found["guess"][0], places[1].guess.values[1, 1:, slices["y"], slices["x"]], atol=0.005)
    assert [part["dims"] for part in facts["places"][0]["parts"] if part["layer"] == "guess"] == [[[1], [0, 1]]]
    model, month = facts["dims"]
    assert (
        model["labels"] == made.MODELS
        and month["labels"] == made.MONTHS[1:]
        and month["start"] == 1
        and month["gaps"] == [1]
    )
    assert facts["said"] == "Less." and "Frozen. Less." in facts["notes"]


def test_layers_made_of_what_is_left_out_go_too(explorer):
    facts, _ = pack(explorer, {"drop": ["truth"]})
    assert {layer["name"] for layer in facts["layers"]} == {"picture", "guess", "height"}


def test_thresholds_are_those_of_the_models_that_are_kept(explorer):
    assert pack(explorer, {"keep": {"model": [1]}})[0]["threshold"]["start"] == [0.5]


def test_a_place_without_a_layer_has_nothing_there(explorer, places):
    lacking = replace(explorer.layer("height"), read=from_array([None, places[1].height], ()))
    some = replace(explorer, layers=[lacking if layer.name == "height" else layer for layer in explorer.layers])
    for how in ({}, {"every": 2}):
        first, second = viewing.unpacked(*pack(some, how))
        assert np.isnan(first["height"]).all() and first["height"].shape == first["truth"].shape[1:]
        assert np.isfinite(second["height"]).all()


@pytest.mark.parametrize(
    ("gaps", "kept", "expected"),
    [
        ([2], [0, 1, 2], [2]),
        ([2], [2, 3], []),
        ([2], [0, 3], [1]),
        ([1, 2], [0, 2, 3], [1]),
        ([], [0, 5], []),
        ([3], [], []),
    ],
)
def test_gaps_among_what_is_kept(gaps, kept, expected):
    assert _gaps(gaps, kept) == expected


class TestBudget:
    data = made.data(shapes=((120, 160), (60, 50)))
    packs = (
        {"said": "All."},
        {"steps": 50, "said": "Coarse."},
        {"steps": 50, "every": 4, "places": [0], "said": "Thin."},
    )

    @pytest.fixture(scope="class")
    @classmethod
    def sizes(cls):
        return [
            len(frozen(made.explorer(cls.data, packs=partial(list, [how])), 20).data.encode()) / 1e6
            for how in cls.packs
        ]

    def test_the_richest_that_fits_is_taken(self, sizes):
        assert sizes[0] > sizes[1] > sizes[2] > smallest_page_bytes() / 1e6
        explorer = made.explorer(self.data, packs=lambda: self.packs)
        for n, size in enumerate(sizes):
            facts = viewing.facts_of(frozen_page(explorer, size + 0.002))["facts"]
            assert facts["said"] == self.packs[n]["said"]
            assert len(frozen(explorer, size + 0.002).data.encode()) < (size + 0.002) * 1e6

    def test_no_room_is_said(self, sizes):
        with pytest.raises(ValueError, match=r"No room for a map in 0\.05 MB: .* MB are needed. Raise budget_mb"):
            frozen_page(made.explorer(self.data, packs=lambda: self.packs), 0.05)


def page_in(shown):
    return html.unescape(re.search(r"srcdoc='([^']*)'", shown.data)[1])


def test_it_asks_nobody(explorer):
    page = page_in(frozen(explorer))
    assert page == frozen_page(explorer) and page.startswith("<!doctype html>") and not REQUESTS.search(page)


def test_names_cannot_break_the_page(places):
    names = ["<!--<script>", "</script><b>'\"&", "/*CODE*/ TITLE"]
    bad = [place.assign_coords(model=names[:2], month=[names[2], "2020-02", "2020-05"]) for place in places]
    page = page_in(frozen(made.explorer(bad)))
    assert page.count("</script>") == 2 and "<!--" not in page.partition("<body>")[2]
    facts = viewing.facts_of(page)["facts"]
    assert facts["dims"][0]["labels"] == names[:2] and facts["dims"][1]["labels"][0] == names[2]
    assert "mount(document" in page.rpartition('<script type="module">')[2]
