"""The map of forecasts: layers against the forecasts they show, clicks, the frozen page and its bytes, in a browser too."""

import base64
import gzip
import html
import json
import re

import IPython
import made_forecasts as made
import numpy as np
import pytest
import xarray as xr
from browsing import browser_page
from pages import REQUESTS, colours_of

from geonb.dashboards.layers import rgb_bytes
from geonb.workloads.conflict import explore, explore_cells, frozen
from geonb.workloads.conflict.explore_cells import HITS, VEIL, Forecasts


@pytest.fixture(scope="module")
def predictions():
    return made.small_predictions()


@pytest.fixture(scope="module")
def data(predictions):
    return predictions["grid"].to_dataset().isel(y=slice(None, None, -1))  # north up, as a map is


@pytest.fixture(scope="module")
def arrays():
    return made.small_arrays()


@pytest.fixture
def explorer(predictions, arrays):
    return explore.explore(predictions, arrays).explorer


def facts_of(page):
    return json.loads(re.search(r"const facts = (\{.*\})\n", page)[1].replace("<\\/", "</"))


def planes_of(facts):
    """The page's bytes as they were packed: valid, truth, probability, spread, past."""
    stack = np.frombuffer(gzip.decompress(base64.b64decode(facts["data"])), np.uint8)
    cells = facts["height"] * facts["width"]
    maps = (len(facts["outcomes"]), len(facts["months"]), len(facts["leads"]), facts["cells"])
    sizes = [cells, np.prod(maps), len(facts["models"]) * np.prod(maps), facts["spread"] * np.prod(maps)]
    valid, truth, probability, spread, past = np.split(stack, np.cumsum(sizes))
    return {
        "valid": valid.reshape(facts["height"], facts["width"]).astype(bool),
        "truth": truth.reshape(maps),
        "probability": probability.reshape(-1, *maps),
        "spread": spread.reshape(maps) if facts["spread"] else None,
        "past": past.reshape(maps[0], facts["past"]["months"], maps[-1]),
    }


class TestLive:
    def test_probability_is_darker_where_it_is_higher_and_veiled_outside(self, explorer, data):
        explorer.month.value, explorer.lead.value, explorer.model.value = 7, 2, 3
        expected = data.probability.isel(model=3, outcome=0, time=7, lead=2).values
        shown = colours_of(explorer.sources["cells"]).astype(float)
        assert (shown[~data.valid.values] == VEIL).all()
        weight = shown[..., 3:] / 255
        on_paper = (shown[..., :3] * weight + 255 * (1 - weight)).sum(-1)[data.valid.values]
        order = np.argsort(expected[data.valid.values], kind="stable")
        assert (np.diff(on_paper[order]) <= 4).all() and on_paper.max() - on_paper.min() > 300
        under = np.asarray(explorer.sources["cells"].data["value"][0])[::-1]
        np.testing.assert_allclose(under, expected, rtol=1e-6)

    def test_truth_and_outlines_are_the_cells_where_it_came_true(self, explorer, data):
        explorer.layer.value, explorer.month.value, explorer.lead.value = "truth", 6, 1
        came = ((data.truth == 1) & data.valid).isel(outcome=0, time=6, lead=1).values
        shown = colours_of(explorer.sources["cells"])
        red = (shown == (0xB2, 0x18, 0x2B, 255)).all(-1)
        assert (red == came).all()
        squares = explorer.sources["came"].data
        rows, columns = np.nonzero(came)
        assert (squares["x"] == data.x.values[columns]).all() and (squares["y"] == data.y.values[rows]).all()
        explorer.marks.value = False
        assert len(explorer.sources["came"].data["x"]) == 0

    @pytest.mark.parametrize("threshold", [0.1, 0.4])
    def test_hits_and_misses_are_counted(self, explorer, data, threshold):
        explorer.layer.value, explorer.month.value, explorer.threshold.value = "hits", 8, threshold
        here = data.isel(model=0, outcome=0, time=8, lead=0)
        warned, came, valid = here.probability.values >= threshold, here.truth.values == 1, here.valid.values
        expected = [(warned & came & valid), (~warned & came & valid), (warned & ~came & valid)]
        shown = colours_of(explorer.sources["cells"])
        for colour, cells in zip(HITS.values(), expected, strict=True):
            assert ((shown == (*rgb_bytes(colour), 255)).all(-1) == cells).all()
        hits, misses, alarms = (int(cells.sum()) for cells in expected)
        assert f"hits {hits}, misses {misses}, false alarms {alarms} of {valid.sum()} cells" in explorer.said.value

    def test_the_future_is_not_judged(self, explorer):
        assert explorer.month.value == 11 and "future: not known yet" in explorer.said.value
        explorer.layer.value = "hits"
        assert set(map(tuple, colours_of(explorer.sources["cells"]).reshape(-1, 4))) == {VEIL, (0, 0, 0, 0)}

    def test_click_tells_history_and_every_lead(self, explorer, data):
        explorer.month.value = 9
        explorer.sources["asked"].data = {"x": [13.05], "y": [11.9]}  # in the cell of 13.25 E, 11.75 N
        told = explorer.about.value
        here = data.sel(x=13.25, y=11.75).isel(outcome=0, time=9)
        assert "11.75° N, 13.25° E" in told and f"PRIO-GRID {int(here.gid)}" in told and "UCDP country 475" in told
        for value in here.probability.values.ravel():
            assert f">{value:.1%}</td>" in told
        assert re.findall(r"<td>(yes|no|\?)</td>", told) == [["no", "yes"][v] for v in here.truth.values]
        past = made.small_cube().sel(channel="event", x=13.25, y=11.75).values[:56]  # the months before that origin
        assert told.count('fill="#777"') == past.sum()
        explorer.lead.value = 2
        assert explorer.about.value == told  # of every lead already
        explorer.month.value = 10
        assert explorer.about.value != told
        assert explorer.sources["click"].data == {"x": [13.25], "y": [11.75]}

    def test_a_country_is_named_where_the_forecasts_know_its_name(self, explorer):
        explorer.sources["asked"].data = {"x": [13.05], "y": [11.9]}
        explorer.forecasts.attrs = explorer.forecasts.attrs | {"countries": {"475": "Nigeria"}}
        explorer.month.value = 9
        assert "Nigeria" in explorer.about.value and "UCDP country" not in explorer.about.value

    def test_click_outside_the_region(self, explorer):
        for place in ({"x": [3.0], "y": [4.0]}, {"x": [100.0], "y": [11.0]}):
            explorer.sources["asked"].data = place
            assert "Outside the region" in explorer.about.value

    def test_play_moves_the_month(self, explorer):
        explorer.play.value = 2
        assert explorer.month.value == 2 and "2017-06" in explorer.plot.title.text

    def test_the_title_names_the_month_that_is_forecast(self, explorer):
        explorer.month.value, explorer.lead.value = 11, 2
        assert explorer.plot.title.text == "probability of any violence in 2019-03, network, known until 2018-12"

    def test_coasts_and_borders_are_in_place(self, explorer):
        from bokeh.models import MultiLine

        lines = [r for r in explorer.plot.renderers if isinstance(r.glyph, MultiLine)]
        assert len(lines) == 2 and all(len(r.data_source.data["xs"]) for r in lines)
        assert "simulated data" in explorer.legend.value

    def test_three_outcomes_have_their_control(self, arrays):
        explorer = explore.explore(made.small_predictions(outcomes=3), arrays).explorer
        assert [name for name, _ in explorer.outcome.options] == ["state-based", "non-state", "one-sided"]
        before = colours_of(explorer.sources["cells"])
        explorer.outcome.value = 2
        assert (colours_of(explorer.sources["cells"]) != before).any() and "one-sided" in explorer.plot.title.text
        explorer.sources["asked"].data = {"x": [13.05], "y": [11.9]}  # no history: the arrays lack these channels
        assert "forecast" in explorer.about.value

    def test_a_still_picture_stands_beside_the_widget(self, explorer):
        shown = IPython.core.formatters.DisplayFormatter().format(explorer.widget)[0]
        assert "application/vnd.jupyter.widget-view+json" in shown and "image/png" in shown

    def test_the_threshold_warns_as_often_as_there_were_events(self, predictions, data):
        chosen = Forecasts(predictions).threshold(0, 0)
        val = data.isel(time=np.flatnonzero(data.split == "val"), lead=0, outcome=0)
        guess = val.probability.isel(model=0).values[:, data.valid.values]
        events = (val.truth.values[:, data.valid.values] == 1).mean()
        rates = {t / 100: (guess >= t / 100).mean() for t in explore_cells.THRESHOLDS}
        nearest = min(rates, key=lambda t: abs(np.log(rates[t] + 1e-9) - np.log(events)))
        assert chosen == nearest


class TestFrozen:
    def test_bytes_hold_the_forecasts(self, predictions, data, arrays):
        facts = facts_of(frozen.frozen_page(predictions, arrays))
        planes = planes_of(facts)
        valid = data.valid.values
        assert (planes["valid"] == valid).all() and facts["models"] == made.MODELS
        truth = data.truth.values[..., valid]
        assert (planes["truth"] == np.where(truth < 0, 255, truth.astype(int))).all()
        probability = data.probability.values[..., valid]
        assert np.abs((planes["probability"] / 254) ** 2 - probability).max() < 1 / 254 + 1e-6
        assert np.abs((planes["probability"] / 254) - np.sqrt(probability)).max() <= 0.5 / 254 + 1e-6
        spread = data.spread.values[..., valid]
        assert np.abs(planes["spread"] / 254 * facts["highest_spread"] - spread).max() < spread.max() / 120
        past = made.small_cube().sel(channel="event").values[:, ::-1][:, valid]
        assert (planes["past"][0] == past).all() and facts["past"] == {"first": "2014-01", "months": 60}
        assert facts["months"][-1] == "2019-01" and facts["splits"][-1] == "future"

    def test_what_does_not_fit_is_left_out_and_said(self, predictions, arrays):
        page = frozen.frozen_page(predictions, arrays)
        whole, fixed = len(page), len(page) - len(facts_of(page)["data"])
        for share in (0.6, 0.3, 0.1):
            budget = (20_000 + fixed + share * (whole - fixed)) / 1e6
            page = frozen.frozen_page(predictions, arrays, budget)
            facts = facts_of(page)
            assert len(page.encode()) < budget * 1e6 and facts["months"][-1] == "2019-01"
            assert f"{len(facts['models'])} of 4 models" in facts["left_out"]
            assert facts["models"][0] == "network"

    def test_no_room_is_said(self, predictions):
        with pytest.raises(ValueError, match="raise budget_mb, or forecast a smaller region"):
            frozen.frozen_page(predictions, None, 0.03)

    def test_asks_nobody(self, predictions, arrays):
        shown = frozen.frozen(predictions, arrays).data
        page = html.unescape(re.search(r"srcdoc='([^']*)'", shown)[1])
        assert page.startswith("<!doctype html>") and not REQUESTS.search(page) and "simulated data" in page

    def test_names_cannot_break_the_page(self, predictions):
        bad = predictions["grid"].to_dataset().assign_coords(model=["network", "</script><b>", "x", "y'\"&"])
        page = frozen.frozen_page(xr.DataTree.from_dict({"/grid": bad}))
        assert page.count("</script>") == 1 and facts_of(page)["models"][1] == "</script><b>"

    def test_predictions_without_forecasts(self):
        for make in (explore.explore, frozen.frozen):
            with pytest.raises(ValueError, match="03_prediction"):
                make(xr.DataTree())


def test_the_runner_decides_between_live_and_frozen(predictions, monkeypatch):
    import ipywidgets
    from IPython.display import HTML

    monkeypatch.setenv("GEONB_HEADLESS", "1")
    assert isinstance(explore.show(predictions), HTML)
    monkeypatch.delenv("GEONB_HEADLESS")
    assert isinstance(explore.show(predictions), ipywidgets.VBox)


PIXELS = (
    """() => { const data = canvas.getContext('2d').getImageData(0, 0, width, height).data; return Array.from(data) }"""
)


def test_the_frozen_page_in_a_browser(predictions, data, arrays, tmp_path):
    page_file = tmp_path / "forecast.html"
    page_file.write_text(frozen.frozen_page(predictions, arrays))
    with browser_page(1150, 760) as page:
        page.goto(page_file.as_uri())
        page.wait_for_function("document.documentElement.dataset.geonb", timeout=20_000)

        def put(**values):
            for name, value in values.items():
                page.evaluate(
                    "([id, v]) => { get(id).value = v; get(id).dispatchEvent(new Event('input')) }", [name, value]
                )

        put(month=8, lead=1, layer="hits", threshold=explore_cells.THRESHOLDS.index(20))
        assert page.evaluate("document.documentElement.dataset.geonb") == "2018-08 2 network hits"
        shown = np.array(page.evaluate(PIXELS)).reshape(*data.valid.shape, 4)
        judged = Forecasts(predictions).judged(0, 0, 8, 1, 0.2)
        for number, colour in enumerate(HITS.values(), 1):
            there = (shown == (*rgb_bytes(colour), 255)).all(-1)
            near = np.abs(data.probability.isel(model=0, outcome=0, time=8, lead=1).values - 0.2) < 0.004  # rounded
            assert (there == (judged == number))[~near].all() and there.any()
        put(layer="probability", model=3)
        box = page.locator("#map").bounding_box()
        x, y = (13.25 - 2.5) / 12.5, (13.5 - 11.75) / 10  # north is up
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        told = page.inner_text("#cell")
        assert "11.75° N, 13.25° E" in told
        here = data.sel(x=13.25, y=11.75).isel(outcome=0, time=8)
        assert f"PRIO-GRID {int(here.gid)}" in told
        numbers = [int(v) for v in re.findall(r"(\d+) %", told.split("weighted-history")[-1])]
        assert np.abs(np.array(numbers) - 100 * here.probability.transpose("lead", "model").values.ravel()).max() < 1.1
        assert page.troubles == []
