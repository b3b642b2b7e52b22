"""The explorer of forecasts against the forecasts it shows: planes, clicks, cells and countries, pages."""

import made_forecasts as made
import numpy as np
import pytest
import viewing
import xarray as xr

from geonb.dashboards.frozen import frozen_page, pack
from geonb.workloads.conflict import priogrid
from geonb.workloads.conflict.explore import THRESHOLDS
from geonb.workloads.conflict.explore import explorer as explorer_of

DIMS = ("model", "outcome", "time", "lead")
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def predictions():
    """Forecasts with deaths, rows from the south, as they are written."""
    tree = made.small_predictions()
    data = tree["grid"].to_dataset()
    deaths = data.truth.where(data.truth >= 0) * RNG.integers(0, 900, data.truth.shape)
    tree["grid"] = data.assign(deaths=deaths, deaths_mean=5 * data.probability.isel(model=[0]))
    return tree


@pytest.fixture(scope="module")
def data(predictions):
    return predictions["grid"].to_dataset()


@pytest.fixture(scope="module")
def north(data):
    return data.isel(y=slice(None, None, -1))  # as a map is


@pytest.fixture(scope="module")
def explorer(predictions):
    return explorer_of(predictions, made.small_arrays())


def known(values, valid):
    return np.where(valid, values, np.nan)


class TestPlanes:
    @pytest.mark.parametrize("at", [(0, 0, 0), (3, 7, 2), (2, 11, 1)])
    def test_probabilities_of_the_region(self, explorer, north, at):
        at = dict(zip(("model", "time", "lead"), at, strict=True)) | {"outcome": 0}
        plane, true = viewing.seen(explorer, "probability", at).values, north.probability.isel(at)
        assert (np.isnan(plane) == ~north.valid.values).all()
        np.testing.assert_allclose(np.sqrt(plane), np.sqrt(known(true, north.valid)), atol=0.5 / 254 + 1e-6)

    def test_what_came_true_and_what_is_not_known_yet(self, explorer, north):
        for time, lead in ((6, 1), (10, 2), (11, 0)):
            truth = north.truth.isel(outcome=0, time=time, lead=lead)
            plane = viewing.seen(explorer, "truth", {"outcome": 0, "time": time, "lead": lead}).values
            np.testing.assert_array_equal(plane, known(truth.where(truth >= 0, 2), north.valid))
        assert explorer.layer("truth").labels[2] == "not known yet" and (plane[north.valid] == 2).all()
        assert explorer.outlined[1] == "truth" and explorer.layer("hits").of == ("probability", "truth")

    def test_deaths_and_spread_on_one_scale_each(self, explorer, north):
        for layer, variable in (("deaths", "deaths"), ("expected", "deaths_mean"), ("spread", "spread")):
            own = explorer.layer(layer)
            assert own.dims == tuple(d for d in DIMS if d in north[variable].dims)
            assert own.high == pytest.approx(float(north[variable].isel(lead=[0, -1]).max()))
            at = {"model": 0, "outcome": 0, "time": 6, "lead": 1}
            plane = viewing.seen(explorer, layer, {d: at[d] for d in own.dims}).values
            true = known(north[variable].isel({d: at[d] for d in own.dims}), north.valid)
            shares = [np.clip(values / own.high, 0, 1) ** own.power for values in (plane, true)]
            np.testing.assert_allclose(*shares, atol=0.5 / 254 + 1e-6)

    def test_months_leads_and_gaps_are_told(self, explorer, data):
        time, lead, model = explorer.dims[:3]
        assert time.labels == [str(t)[:7] for t in data.time.values] and time.remarks[-1] == "future"
        assert [time.labels[i - 1 : i + 1] for i in time.gaps] == [["2017-08", "2018-05"], ["2018-10", "2019-01"]]
        assert lead.ahead == [0, 1, 2] and lead.labels == ["1 month ahead", "2 months ahead", "3 months ahead"]
        assert lead.ahead_of == "time" and model.labels == made.MODELS and time.start == 11

    def test_three_outcomes_have_their_control_and_colour(self):
        explorer = explorer_of(made.small_predictions(outcomes=3), made.small_arrays())
        names = ["state-based", "non-state", "one-sided"]
        assert [d.labels for d in explorer.dims if d.name == "outcome"] == [names]
        assert "past" not in {layer.name for layer in explorer.layers}, "the cube has no channel of these"
        planes = [
            viewing.seen(explorer, "probability", {"model": 0, "outcome": o, "time": 3, "lead": 0}).values
            for o in (0, 2)
        ]
        np.testing.assert_allclose(planes[1], 0.3 * planes[0], atol=0.01)


class TestClick:
    def test_it_tells_every_model_and_lead_what_came_the_deaths_and_the_past(self, explorer, data):
        cube = made.small_cube().sel(channel="event")
        for x, y in RNG.uniform((2.6, 3.6), (14.9, 13.4), (30, 2)):
            here, at = data.sel(x=x, y=y, method="nearest"), {"outcome": 0, "time": 9}
            told = viewing.clicked(explorer, x, y, at)
            if not here.valid:
                assert all(set(np.ravel(np.array(v, object))) == {None} for v in told.values())
                continue
            own = here.isel(at)
            np.testing.assert_array_equal(
                np.array(told["probability"], "float32"), own.probability.transpose("model", "lead")
            )
            np.testing.assert_array_equal(told["truth"], own.truth)
            np.testing.assert_array_equal(np.array(told["deaths"], float), own.deaths)
            np.testing.assert_allclose(
                np.array(told["expected"], float), own.deaths_mean.transpose("model", "lead"), rtol=1e-6
            )
            np.testing.assert_array_equal(told["past"], cube.sel(x=x, y=y, method="nearest"))
            assert explorer.layer("country").labels[int(told["country"])] == "UCDP country 475"

    def test_a_cell_has_prio_grids_number(self, explorer):
        title, first, down, across = explorer.places[0].ids
        grid = explorer.places[0].grids[""]
        for x, y in RNG.uniform((2.6, 3.6), (14.9, 13.4), (30, 2)):
            row, column = grid.cell(x, y)
            assert (title, first + row * down + column * across) == ("PRIO-GRID", priogrid.gid_of(y, x))

    def test_on_another_grid_there_is_no_such_number(self, data):
        coarse = data.isel(y=slice(None, None, 2), x=slice(None, None, 2))
        assert explorer_of(xr.DataTree.from_dict({"/grid": coarse})).places[0].ids is None


def test_countries_have_names_and_can_be_gone_to(predictions, data):
    country = np.where(data.y.values[:, None] > 9, 475, np.where(data.x.values > 8, 471, 0)) * data.valid.values
    tree = predictions.copy()
    tree["grid"] = data.assign(country=(("y", "x"), country))
    tree.attrs = predictions.attrs | {"countries": {"475": "Nigeria"}}
    explorer = explorer_of(tree)
    assert explorer.places[0].names == {"UCDP country 471": (8.0, 3.5, 15.0, 9.0), "Nigeria": (2.5, 9.0, 15.0, 13.5)}
    layer = explorer.layer("country")
    for x, y, name in ((13.1, 11.8, "Nigeria"), (9.3, 5.1, "UCDP country 471"), (6.2, 5.1, None)):
        told = viewing.clicked(explorer, x, y, layers=["country"])["country"]
        assert (told is None or told < 0) if name is None else layer.labels[int(told)] == name
    plane = viewing.seen(explorer, "country").values
    assert np.isnan(plane[-1, 6]) and plane[0, 0] == layer.labels.index("Nigeria")
    assert explorer.groups == "country" and explorer.group_is == "country"


def test_each_model_warns_as_often_as_there_were_events(explorer, data):
    val = data.isel(time=np.flatnonzero(data.split == "val"), lead=0, outcome=0)
    events = (val.truth.values[:, data.valid.values] == 1).mean()
    for m in (0, 3):
        guess = val.probability.isel(model=m).values[:, data.valid.values]
        chosen = THRESHOLDS.index(explorer.threshold["start"][m][0])
        rates = [(guess >= threshold).mean() for threshold in THRESHOLDS]
        assert rates[min(chosen + 1, 18)] <= events <= rates[chosen - 1], "the neighbours warn too seldom, too often"
    other = data.assign(probability=data.probability.where(data.split == "val", data.probability / 9))
    assert explorer_of(xr.DataTree.from_dict({"/grid": other})).threshold == explorer.threshold, (
        "other months say nothing"
    )
    assert explorer.threshold["by"] == ["model", "outcome"] and np.shape(explorer.threshold["start"]) == (4, 1)


class TestMade:
    def test_months_out_of_order_are_put_in_order(self, predictions, explorer, data):
        tree = xr.DataTree.from_dict({"/grid": data.isel(time=slice(None, None, -1))})
        tree.attrs = predictions.attrs
        at = {"model": 0, "outcome": 0, "time": 3, "lead": 0}
        other = explorer_of(tree)
        assert other.dims[0].labels == explorer.dims[0].labels and other.threshold == explorer.threshold
        np.testing.assert_array_equal(*(viewing.seen(one, "probability", at).values for one in (other, explorer)))

    def test_without_a_store_there_is_no_past(self, predictions):
        bare = explorer_of(predictions)
        assert "past" not in {layer.name for layer in bare.layers} and bare.chart.past == ""

    def test_without_countries_nothing_is_grouped(self, data):
        bare = explorer_of(xr.DataTree.from_dict({"/grid": data.drop_vars(["country", "deaths", "deaths_mean"])}))
        assert bare.groups == "" and bare.places[0].names == {}
        assert [name for _, name in bare.lines] == ["truth"]

    def test_where_all_is_region_there_is_no_veil(self, data, explorer):
        assert (
            explorer.veil
            and explorer_of(xr.DataTree.from_dict({"/grid": data.assign(valid=data.valid | True)})).veil == ()
        )

    def test_without_forecasts_it_is_said(self):
        with pytest.raises(ValueError, match="03_prediction"):
            explorer_of(xr.DataTree())


class TestFrozen:
    def test_the_richest_page_holds_the_forecasts(self, explorer, north):
        facts, planes = pack(explorer, explorer.packs()[0])
        (found,), inside = viewing.unpacked(facts, planes), north.valid.values
        probability = north.probability.transpose(*DIMS, "y", "x").values
        np.testing.assert_allclose(
            np.sqrt(found["probability"]), np.sqrt(known(probability, inside)), atol=0.5 / 254 + 1e-6
        )
        truth = north.truth.transpose(*DIMS[1:], "y", "x").values
        np.testing.assert_array_equal(found["truth"], known(np.where(truth < 0, 2, truth), inside))
        np.testing.assert_array_equal(
            found["past"][0], known(made.small_cube().sel(channel="event").values[:, ::-1], inside)
        )
        assert facts["dims"][0]["labels"][-1] == "2019-01" and facts["dims"][2]["labels"] == made.MODELS

    @pytest.mark.parametrize("n", [0, 2, 5, 9, 11])
    def test_less_room_costs_models_then_months_and_is_said(self, explorer, predictions, n):
        facts, planes = pack(explorer, explorer.packs()[n])
        months, leads, models = (dim["labels"] for dim in facts["dims"][:3])
        assert months[-1] == "2019-01" and models[0] == "network" and leads[0] == "1 month ahead"
        for kept, all_of, what in ((models, 4, "models"), (months, 12, "months"), (leads, 3, "leads")):
            assert (f"{len(kept)} of {all_of} {what}" in facts["said"]) == (len(kept) < all_of)
        assert (len(models) == 4) == (n < 2)
        (found,) = viewing.unpacked(facts, planes)
        assert found["probability"].shape[:4] == (len(models), 1, len(months), len(leads))
        assert np.shape(facts["threshold"]["start"]) == (len(models), 1)

    def test_the_page_says_that_it_is_simulated_and_stays_under_its_budget(self, explorer):
        page = frozen_page(explorer, 0.3)
        assert "simulated data" in page and len(page.encode()) < 300_000

    def test_no_room_is_said(self, explorer):
        with pytest.raises(ValueError, match="Raise budget_mb, or show less"):
            frozen_page(explorer, 0.03)
