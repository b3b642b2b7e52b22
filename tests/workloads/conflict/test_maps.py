"""Figures of forecasts: what is drawn is what was given, in its place on Earth, with its units, and no more than is known."""

import itertools
import socket

import matplotlib

matplotlib.use("Agg")

import made_cubes
import made_forecasts as made
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PolyCollection
from sklearn.metrics import average_precision_score

from geonb import plots
from geonb.plots import cells, style
from geonb.workloads.conflict import maps as conflict_maps
from geonb.workloads.conflict import score_figures


@pytest.fixture(scope="module")
def store():
    return made.small_store()


@pytest.fixture(scope="module")
def predictions():
    return made.small_predictions()


@pytest.fixture(scope="module")
def scores(predictions):
    return made.small_scores(predictions)


def words(figure):
    """Every text a reader sees."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def maps(figure):
    """Axes with cells on them, the colour bar's left out."""
    return [ax for ax in figure.axes if ax.images]


def cell_at(ax, lon, lat):
    """What the first image of an axes shows at a place, by the image's own extent."""
    image = ax.images[0]
    west, east, south, north = image.get_extent()
    shown = image.get_array()
    assert image.origin == "upper"
    row = int((north - lat) / (north - south) * shown.shape[0])
    column = int((lon - west) / (east - west) * shown.shape[1])
    return shown[row, column]


def test_cells_lie_where_they_are_on_earth():
    figure, ax = matplotlib.pyplot.subplots()
    values = xr.DataArray(np.zeros((20, 25)), {"y": made.LATITUDES, "x": made.LONGITUDES}, ("y", "x"))
    values.loc[{"y": 12.25, "x": 13.25}] = 1.0
    for one in (values, values.isel(y=slice(None, None, -1))):  # rows from the south, rows from the north
        ax.clear()
        cells.cell_map(ax, one)
        assert cell_at(ax, 13.25, 12.25) == 1 and np.sum(ax.images[0].get_array()) == 1
    matplotlib.pyplot.close(figure)


def test_the_ground_is_natural_earth_and_inside_the_map():
    lines = cells.ground((2.5, 3.5, 15.0, 13.5))
    assert set(lines) == {"land", "coast", "borders"} and all(lines.values())
    for parts in lines.values():
        points = np.concatenate(parts)
        assert points[:, 0].min() >= 2.5 - 1e-9 and points[:, 0].max() <= 15 + 1e-9
        assert points[:, 1].min() >= 3.5 - 1e-9 and points[:, 1].max() <= 13.5 + 1e-9
    coast = np.concatenate(lines["coast"])
    lagos = np.abs(coast - [3.4, 6.4]).sum(1).min()
    assert lagos < 1.0  # the coast passes Lagos
    assert cells.ground((-30.0, -40.0, -25.0, -35.0))["coast"] == []  # open sea


def test_figures_ask_nobody(store, predictions, monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("a figure opened a socket")

    monkeypatch.setattr(socket, "socket", refused)
    cells.ground.cache_clear()
    assert conflict_maps.event_diffusion(store, 40) and conflict_maps.forecast_map(predictions)


def test_cube_maps_count_the_months_with_an_event(store):
    figure = conflict_maps.cube_maps(store)
    ax, line = figure.axes[:2]
    total = store.cube(names=["event"]).values[:, 0].sum(0)
    row, column = np.unravel_index(total.argmax(), total.shape)
    assert cell_at(ax, made.LONGITUDES[column], made.LATITUDES[row]) == total.max()
    assert np.ma.filled(ax.images[0].get_array(), 0).sum() == total.sum()
    drawn = [patch.get_data().values for patch in line.patches if hasattr(patch, "get_data")]
    assert (drawn[0] == store.cube(names=["event"]).values[:, 0].sum((1, 2))).all()
    assert "simulated data" in words(figure)
    assert isinstance(ax.images[0].norm, matplotlib.colors.LogNorm)
    coasts = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert len(coasts) == 2 and all(c.get_segments() for c in coasts)


def test_cube_maps_shade_the_months_of_each_split(store):
    line = conflict_maps.cube_maps(store).axes[1]
    from matplotlib.colors import to_rgb
    from matplotlib.dates import num2date

    spans = {}
    for patch in line.patches:
        if isinstance(patch, matplotlib.patches.Rectangle):
            start, end = (num2date(v).strftime("%Y-%m") for v in (patch.get_x(), patch.get_x() + patch.get_width()))
            spans[patch.get_facecolor()[:3]] = (start, end)
    looks = {name: to_rgb(colour) for name, colour in style.SPLIT_COLOURS.items()}
    # the first origin's month, and the month after the last origin's last lead
    assert spans[looks["train"]] == ("2014-07", "2016-10")
    assert spans[looks["val"]] == ("2017-04", "2017-11")
    assert spans[looks["test"]] == ("2018-05", "2019-01")


def test_event_diffusion_shows_the_months_before_and_none_after(store):
    figure = conflict_maps.event_diffusion(store, "2016-03")
    assert figure is not None
    panels = maps(figure)
    assert len(panels) == made.STEPS
    t = list(store.times).index(pd.Timestamp("2016-03"))
    events = store.cube(names=["event"]).values[:, 0]
    for place, ax in enumerate(panels):
        shown = np.ma.filled(ax.images[0].get_array(), 0)
        assert (shown[::-1] == events[t - made.STEPS + place]).all()
        assert ax.get_title(loc="left").startswith(str(store.times[t - made.STEPS + place])[:7])
    same = conflict_maps.event_diffusion(made.small_cube(), t, steps=made.STEPS)
    assert [ax.get_title(loc="left") for ax in maps(same)] == [ax.get_title(loc="left") for ax in panels]


@pytest.mark.parametrize("t", [3, "2014-02", 61])
def test_event_diffusion_refuses_months_it_cannot_show(store, t):
    with pytest.raises(ValueError, match=r"6 months to show before it\. Give 6 to 60"):
        conflict_maps.event_diffusion(store, t)


def test_event_diffusion_ends_where_the_future_begins(store):
    assert any("before 2019-01" in word for word in words(conflict_maps.event_diffusion(store, 60)))


def test_sequence_samples_show_inputs_then_targets(store, monkeypatch):
    monkeypatch.setitem(store.meta, "parameters", {"chunk_size": 8, "min_events": 25})
    figure = conflict_maps.sequence_samples(store, n=2, split="test", seed=1)
    rows = np.array(figure.axes).reshape(2, made.STEPS + made.LEADS)
    chosen = store.index[store.index.split == "test"].sample(2, random_state=1).sort_values("t")
    events = store.cube(names=["event"]).values[:, 0]
    for axes, row in zip(rows, chosen.itertuples(), strict=True):
        for offset, ax in enumerate(axes):
            t = row.t - made.STEPS + offset
            box = events[t, row.y : row.y + 8, row.x : row.x + 8]
            assert (ax.images[0].get_array() == box).all() and ax.images[0].origin == "lower"  # south is row 0
            assert ax.get_title(loc="center") == str(store.times[t])[:7]
    assert any("placed at random so that they hold an event" in word.replace("\n", " ") for word in words(figure))
    monkeypatch.setitem(store.meta, "parameters", {"chunk_size": None})
    said = " ".join(words(conflict_maps.sequence_samples(store, n=1))).replace("\n", " ")
    assert "Each window is the whole region" in said and "at random so that" not in said
    with pytest.raises(ValueError, match="No windows in split 'nowhere'; the store has"):
        conflict_maps.sequence_samples(store, split="nowhere")


def test_best_baseline_is_chosen_on_validation_months(predictions):
    data = predictions["grid"].to_dataset()
    val = data.isel(time=np.flatnonzero(data.split == "val"), lead=0, outcome=0)
    scored = {}
    for model in made.MODELS[1:]:
        keep = np.broadcast_to(val.valid.values, val.truth.shape)
        scored[model] = average_precision_score(val.truth.values[keep], val.probability.sel(model=model).values[keep])
    assert conflict_maps.best_baseline(predictions) == max(scored, key=scored.get)
    swapped = data.assign(probability=data.probability.copy())
    months = np.flatnonzero(data.split == "test")  # a baseline that knows the test months gains nothing by it
    swapped.probability[{"model": 2, "time": months}] = data.truth.isel(time=months)
    assert conflict_maps.best_baseline(xr.DataTree.from_dict({"/grid": swapped})) == max(scored, key=scored.get)
    alone = xr.DataTree.from_dict({"/grid": data.sel(model=["network"])})
    assert conflict_maps.best_baseline(alone) is None


def test_forecast_panels_put_truth_beside_network_and_baseline(store, predictions):
    figure = conflict_maps.forecast_panels(predictions, store, time="2018-06", leads=[1, 3], baseline="climatology")
    data = predictions["grid"].to_dataset()
    here = data.sel(time="2018-06-01").isel(outcome=0)
    panels = maps(figure)
    assert len(panels) == 1 + 2 * 3  # the month before once, then truth, network and baseline of each lead
    truth, network, baseline = panels[4:7]  # of lead 3
    assert truth.get_title(loc="left").startswith("truth of 2018-08")
    shown = np.ma.filled(truth.images[0].get_array(), 0)[::-1]
    assert (shown == here.truth.sel(lead=3).where(here.valid, 0)).all()
    for ax, model in ((network, "network"), (baseline, "climatology")):
        drawn = np.ma.filled(ax.images[0].get_array(), np.nan)[::-1]
        expected = here.probability.sel(lead=3, model=model).values
        np.testing.assert_allclose(drawn, expected, rtol=1e-6)
        squares = [c for c in ax.collections if isinstance(c, PolyCollection)][-1].get_paths()
        assert len(squares) == int(((here.truth.sel(lead=3) == 1) & here.valid).sum())
    before = np.ma.filled(panels[0].images[0].get_array(), 0)[::-1]
    assert (before == store.cube(names=["event"]).sel(time="2018-05-01").values[0]).all()
    assert any("Grey veil: outside the region" in word for word in words(figure))


def test_forecast_panels_choose_the_last_test_month_whose_truth_is_known(predictions):
    data = predictions["grid"].to_dataset()
    assert conflict_maps.origin_of(data) == 10  # 57 + 3 leads = the 60 months there are
    assert conflict_maps.origin_of(data, "latest") == 11
    unknown = data.assign(truth=data.truth.copy())
    unknown.truth[{"time": [9, 10], "lead": 2}] = -1
    assert conflict_maps.origin_of(unknown) == 8
    decoded = unknown.assign(truth=unknown.truth.where(unknown.truth >= 0))  # as a reader makes NaN of a fill value
    assert conflict_maps.origin_of(decoded) == 8
    with pytest.raises(ValueError, match=r"No forecast of '1999-01'; there are 12, from 2017-04 to 2019-01"):
        conflict_maps.forecast_panels(predictions, time="1999-01")


def test_forecast_map_shows_every_lead_of_the_future_and_its_spread(predictions):
    figure = conflict_maps.forecast_map(predictions)
    panels = maps(figure)
    assert len(panels) == 2 * made.LEADS
    future = predictions["grid"].to_dataset().isel(time=-1, outcome=0)
    for place in range(made.LEADS):
        drawn = np.ma.filled(panels[place].images[0].get_array(), np.nan)[::-1]
        np.testing.assert_allclose(drawn, future.probability.isel(model=0, lead=place), rtol=1e-6)
        unsure = np.ma.filled(panels[made.LEADS + place].images[0].get_array(), np.nan)[::-1]
        np.testing.assert_allclose(unsure, future.spread.isel(lead=place), rtol=1e-6)
    told = words(figure)
    assert any("Nothing of it is known yet" in word for word in told) and "simulated data" in told
    assert "2019-03 (3 months ahead)" in told and any("probability of" in word for word in told)
    assert (
        len(maps(conflict_maps.forecast_map(predictions, model="climatology"))) == made.LEADS
    )  # no spread of a baseline


def test_one_cell_and_one_lead_are_a_map_too(predictions):
    small = predictions["grid"].to_dataset().isel(y=[5], x=[5], lead=[0])
    tree = xr.DataTree.from_dict({"/grid": small})
    assert conflict_maps.forecast_map(tree) and conflict_maps.forecast_panels(tree)


def test_predictions_without_forecasts_are_refused():
    with pytest.raises(ValueError, match="no group 'grid' but \\['scene'\\]"):
        conflict_maps.forecast_map(xr.DataTree.from_dict({"/scene": xr.Dataset()}))


class TestTiles:
    def test_newer_events_are_brighter_and_north_is_up(self, store):
        tiles = conflict_maps.forecast_tiles(store, np.arange(len(store)))
        assert tiles.shape == (len(store), 8, 8, 3) and tiles.dtype == np.uint8
        events = store.cube(names=["event"]).values[:, 0]
        row = store.index.loc[7]
        window = events[row.t - made.STEPS : row.t, row.y : row.y + 8, row.x : row.x + 8]
        age = np.where(window.any(0), window[::-1].argmax(0), made.STEPS)[::-1]  # months since the last, north first
        light = tiles[7].sum(-1).astype(int)
        levels = [light[age == a] for a in range(made.STEPS + 1) if (age == a).any()]
        assert all((level == level[0]).all() for level in levels)
        assert all(a[0] > b[0] for a, b in itertools.pairwise(levels)) and len(levels) > 2

    def test_rows_keep_their_order(self, store):
        both = conflict_maps.forecast_tiles(store, [8, 2])
        assert (both[0] == conflict_maps.forecast_tiles(store, [8])[0]).all()
        assert (both[1] == conflict_maps.forecast_tiles(store, [2])[0]).all()

    def test_windows_over_the_dateline_go_on_at_the_other_side(self, store):
        from types import SimpleNamespace

        turned = SimpleNamespace(**vars(store))
        turned.index = store.index.iloc[:1].assign(x=20)  # columns 20 to 24, then 0 to 2
        turned.cube = lambda names=None, start=None, stop=None: store.cube(names, start, stop)
        shifted = SimpleNamespace(**vars(turned))
        shifted.index = turned.index.assign(x=0)
        shifted.cube = lambda names=None, start=None, stop=None: store.cube(names, start, stop).roll(x=5)
        assert (conflict_maps.forecast_tiles(turned, [0]) == conflict_maps.forecast_tiles(shifted, [0])).all()


class TestScores:
    def test_roc_pr_draw_the_curves_with_their_scores(self, scores):
        figure = score_figures.roc_pr(scores)
        roc, pr = figure.axes
        one = scores.sel(split="test")
        for line, model in zip(roc.lines, made.MODELS, strict=False):
            assert line.get_xdata() == pytest.approx(one.roc_fpr.sel(model=model).values)
            assert line.get_ydata() == pytest.approx(one.roc_tpr.sel(model=model).values)
        for line, model in zip(pr.lines, made.MODELS, strict=False):
            assert sorted(line.get_ydata()) == pytest.approx(sorted(one.pr_precision.sel(model=model).values))
            assert line.get_drawstyle() == "steps-pre"
        assert pr.lines[-1].get_ydata() == pytest.approx([float(one.prevalence)] * 2)
        value, low, high = (
            float(one[n].sel(model="network", metric="average_precision")) for n in ("score", "score_low", "score_high")
        )
        assert f"network, {value:.2f} [{low:.2f}, {high:.2f}]" in words(figure)

    def test_skill_by_lead_draws_each_lead_on_its_value(self, scores):
        figure = score_figures.skill_by_lead(scores)
        for ax, metric in zip(figure.axes, ("average_precision", "brier"), strict=True):
            for line, model in zip(ax.lines, made.MODELS, strict=True):
                one = scores.sel(split="test", metric=metric, model=model)
                assert line.get_ydata() == pytest.approx(one.lead_score.values)
                assert np.abs(line.get_xdata() - scores.lead.values).max() < 0.5
            spans = [segment[:, 1] for c in ax.collections for segment in c.get_segments()]
            at = scores.sel(split="test", metric=metric)
            ends = np.stack([at.lead_score_low.values.ravel(), at.lead_score_high.values.ravel()], -1)
            assert np.array(spans) == pytest.approx(ends)
        with pytest.raises(ValueError, match="No metric 'iou' in these scores; there are average_precision, auroc"):
            score_figures.skill_by_lead(scores, metrics=["iou"])

    def test_skill_by_month_has_the_events_beneath_and_no_line_over_the_gap(self, scores):
        figure = score_figures.skill_by_month(scores)
        ax, bars = figure.axes
        assert [line.get_xdata().size for line in ax.lines] == [5, 6] * len(made.MODELS)
        drawn = [bar.get_height() for bar in bars.containers[0]]
        assert drawn == scores.month_events.values[:11].tolist() and min(drawn) > 0
        assert len(ax.patches) == 2  # one piece of shade a split, not a stripe a month
        network = np.concatenate([line.get_ydata() for line in ax.lines[:2]])
        assert network == pytest.approx(scores.month_score.sel(model="network", metric="average_precision").values[:11])

    def test_outcomes_and_countries_are_rows(self, scores):
        rng = np.random.default_rng(0)
        dims = ("model", "split", "country", "metric")
        values = rng.random((4, 2, 3, 3))
        values[:, :, 1] = np.nan
        more = scores.assign(
            country_score=(dims, values),
            country_events=(("split", "country"), [[1, 0, 9], [4, 0, 12]]),
            outcome_score=(("model", "split", "outcome", "metric"), values[:, :, :2]),
        ).assign_coords(country=[475, 436, 438], outcome=["state-based", "non-state"])
        figure = score_figures.country_scores(more)
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert labels == [
            "country 438\n12 events",
            "country 475\n4 events",
        ]  # most events first, one without a score out
        assert figure.axes[0].lines[0].get_xdata() == pytest.approx(values[0, 1, [2, 0], 0])
        assert any("Left out, with fewer events or none: 1" in word for word in words(figure))
        assert not any("bars are 95 %" in word for word in words(figure))  # there are none
        with_bars = more.assign(country_score_low=(dims, values * 0.9), country_score_high=(dims, values * 1.1))
        assert any("bars are 95 %" in word for word in words(score_figures.country_scores(with_bars)))
        assert score_figures.outcome_scores(more).axes[0].get_yticklabels()[0].get_text() == "state-based"

    def test_diagonal_roc(self):
        rng = np.random.default_rng(0)
        rates = np.sort(rng.random((2, 5, 20)), -1)
        window = xr.Dataset(
            {
                "diagonal_fpr": (("pixel", "point"), rates[0]),
                "diagonal_tpr": (("pixel", "point"), rates[1]),
                "diagonal_auroc": ("pixel", rng.random(5)),
            }
        )
        roc, bars = score_figures.diagonal_roc(window).axes
        assert [bar.get_height() for bar in bars.containers[0]] == pytest.approx(window.diagonal_auroc.values)
        assert roc.lines[3].get_ydata() == pytest.approx(rates[1, 3])

    def test_scores_without_what_is_drawn_are_refused_with_a_word(self, scores):
        for draw in (score_figures.country_scores, score_figures.outcome_scores, score_figures.diagonal_roc):
            with pytest.raises(ValueError, match="Run 04_analytics again"):
                draw(scores)


class TestSharedFigures:
    """The figures that segmentation has too, with the scores of forecasts."""

    def test_units_are_cell_months(self, scores):
        for draw in (plots.skill, plots.reliability, score_figures.roc_pr):
            told = " ".join(words(draw(scores)))
            assert f"{int(scores.n_samples.sel(split='test')):,} cell-months" in told and "pixels" not in told

    def test_reliability_is_about_the_event(self, scores):
        figure = plots.reliability(scores)
        ax, bars = figure.axes
        assert ax.get_ylabel() == "share with an event" and bars.get_xlabel() == "probability of an event"
        one = scores.sel(split="test", model="network")
        seen = one.bin_samples.values >= 30
        assert ax.lines[1].get_ydata() == pytest.approx(one.hit_rate.values[seen])

    def test_small_scores_keep_the_digits_that_tell_them_apart(self, scores):
        table = plots.score_table(
            0.1 * scores[["score", "score_low", "score_high"]]
        )  # Brier scores of rare events are near 0.01
        values = (0.1 * scores.score.sel(split="test", metric="brier")).values
        assert [cell.split(" ")[0] for cell in table["Brier score"]] == [f"{value:.4f}" for value in values]
        assert len(set(table["Brier score"])) == len(table)
        assert plots.score_table(scores).columns[0] == "average precision"

    def test_a_metric_that_nobody_has_is_left_out(self, scores):
        more = scores.copy(deep=True)
        more = more.reindex(metric=[*made.METRICS, "crps"])
        assert "CRPS of deaths" not in plots.score_table(more)
        drawn = [ax for ax in plots.skill(more).axes if ax.axison]
        assert [ax.get_title(loc="left") for ax in drawn] == ["average precision", "AUROC", "Brier score"]

    def test_learning_curves_take_the_metric_that_was_logged(self):
        log = pd.DataFrame(
            {
                "epoch": [0, 1, 2],
                "train_loss": [3.0, 2, 1],
                "val_loss": [3.0, 1, 2],
                "val_average_precision": [0.1, 0.3, 0.2],
            }
        )
        figure = plots.learning_curves(log)
        assert figure.axes[1].get_title(loc="left") == "average precision"
        assert any("epoch 1, of the lowest validation loss" in word for word in words(figure))
        assert any("Epoch 0 is what training began as" in word for word in words(figure))


@pytest.fixture(scope="module")
def cube_store(tmp_path_factory):
    return made_cubes.small_cube_store(tmp_path_factory.mktemp("project"))


def test_figures_read_a_store_from_disk(cube_store):
    events = cube_store.cube(names=[cube_store.outcomes[0]["event"]]).values[:, 0] * cube_store.valid
    ax = conflict_maps.cube_maps(cube_store).axes[0]
    assert np.ma.filled(ax.images[0].get_array(), 0).sum() == events.sum()
    panels = [ax for ax in conflict_maps.event_diffusion(cube_store, 96).axes if ax.images]
    assert len(panels) == cube_store.steps
    last = np.ma.filled(panels[-1].images[0].get_array(), 0)[::-1]
    assert (last * cube_store.valid == events[95]).all()
    assert conflict_maps.sequence_samples(cube_store, 3)


def test_tiles_are_the_windows_of_the_store(cube_store):
    rows = np.arange(min(12, len(cube_store)))
    tiles = conflict_maps.forecast_tiles(cube_store, rows)
    for tile, row in zip(tiles, rows, strict=True):
        window = (cube_store[int(row)].inputs.isel(channel=0).values > 0).any(0)[::-1]  # north up
        ground = tile[~window][0] if (~window).any() else 0
        assert ((tile != ground).any(-1) == window).all()
