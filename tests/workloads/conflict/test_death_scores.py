"""Scores of draws of deaths are what their definitions give, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_forecast_scores import by_hand
from scipy import stats

from geonb.workloads.conflict import death_scores


@pytest.mark.parametrize("members", [1, 12, 100])
def test_scores_of_draws_are_those_by_hand(members):
    random = np.random.default_rng(members)
    rate = random.choice([0, 0, 0.3, 4, 80, 2000], (5, 40))
    draws = random.negative_binomial(0.4, 0.4 / (0.4 + rate), (members, 5, 40)).astype(np.uint32)
    deaths = random.negative_binomial(0.4, 0.4 / (0.4 + rate)).astype(float)
    found = death_scores.draw_scores(draws, deaths)
    expected = [[by_hand(draws[:, i, k].astype(float), deaths[i, k]) for k in range(40)] for i in range(5)]
    np.testing.assert_allclose(np.stack(list(found.values()), axis=-1), expected, atol=1e-9)
    assert tuple(found) == death_scores.NAMES


def test_the_crps_is_the_integral_of_the_squared_difference_of_distributions():
    draws, deaths = np.array([0, 0, 1, 5, 5, 9], np.uint32)[:, None], 3
    x = np.arange(0, 10)  # whole numbers: the integrand is constant in between
    cdf = stats.ecdf(draws[:, 0]).cdf.evaluate(x)
    found = death_scores.draw_scores(draws, np.array([deaths]))["crps"]
    assert found[0] == pytest.approx(((cdf - (x >= deaths)) ** 2).sum())


def test_a_class_that_nothing_was_drawn_in_costs_what_the_challenge_says():
    draws, deaths = np.zeros((1000, 3), np.uint32), np.array([0, 7, 2000.0])
    found = death_scores.draw_scores(draws, deaths)
    np.testing.assert_allclose(found["ignorance"], [-np.log2(1001 / 1011), np.log2(1011), np.log2(1011)])
    np.testing.assert_allclose(found["interval_score"], 20 * deaths)


def test_deaths_that_are_not_known_have_no_score():
    draws = np.array([[0, 3], [0, 2]], np.uint32)
    for values in death_scores.draw_scores(draws, np.full(2, np.nan)).values():
        assert np.isnan(values).all()


def test_the_classes_are_the_challenges():
    assert death_scores.classes_of(np.array([0, 1, 2, 3, 5, 6, 10, 11, 25, 26])).tolist() == [
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
    ]
    assert death_scores.classes_of(np.array([50, 51, 100, 101, 250, 251, 500, 501, 1000, 1001])).tolist() == [
        5, 6, 6, 7, 7, 8, 8, 9, 9, 10,
    ]  # fmt: skip


def test_large_draws_are_read_lead_by_lead(monkeypatch):
    draws = np.arange(2 * 3 * 1 * 2 * 2 * 2 * 2, dtype=np.uint32).reshape(2, 3, 1, 2, 2, 2, 2)
    dims = ("drawn", "member", "outcome", "time", "lead", "y", "x")
    data = xr.Dataset({"deaths_draws": (dims, draws), "valid": (("y", "x"), [[True, False], [True, True]])})
    data = data.assign_coords(drawn=["network", "never"])
    ((_, whole),) = death_scores.draws_of(data, "never", 1, 0)
    assert whole.shape == (3, 2, 3) and (whole[:, :, 1] == draws[1, :, 0, 1, :, 1, 0]).all()
    monkeypatch.setattr(death_scores, "AT_ONCE_BYTES", 10)
    pieces = [piece for _, piece in death_scores.draws_of(data, "never", 1, 0)]
    assert len(pieces) == 2
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    assert not list(death_scores.draws_of(data, "logistic", 1, 0))
