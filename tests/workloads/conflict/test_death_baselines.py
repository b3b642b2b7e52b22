"""Baselines that are distributions draw what the cells saw, and nothing that is not known yet."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from fake_cubes import FakeCube
from scipy import stats

from geonb.workloads.conflict import baselines, death_baselines

EVERY = (death_baselines.last_months, death_baselines.last_months_neighbours, death_baselines.last_poisson)
SPLITS = {"train": (6, 20), "val": (20, 24), "test": (24, 28)}


def cube(wraps=False, **more):
    random = np.random.default_rng(4)
    best = random.poisson(random.gamma(0.3, 8, (30, 5, 6)))
    valid = np.ones((5, 6), bool)
    valid[0, :2] = False
    event = ((best > 0) | (random.random(best.shape) < 0.1)) & valid  # some events are without a death
    return FakeCube(event.astype(float), best * valid, SPLITS, wraps=wraps, valid=valid, **more)


def neighbours(store, y, x):
    """Cells that touch (y, x), and it itself, in the region."""
    rows, columns = store.valid.shape
    found = set()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = y + dy, (x + dx) % columns if store.wraps else x + dx
            if 0 <= at[0] < rows and 0 <= at[1] < columns and store.valid[at]:
                found.add(at)
    return found


def test_the_own_last_year_is_drawn_evenly_a_month_for_all_cells():
    store = cube()
    found = death_baselines.last_months(store)
    draws, past = found.draws(24, 120), store.best[12:24]
    assert draws.shape == (120, 1, 3, 5, 6) and draws.dtype == np.uint32
    months = Counter(int(np.flatnonzero((past == d[0, 0]).all(axis=(1, 2)))[0]) for d in draws)
    assert set(months.values()) == {10} and len(months) == 12
    assert (draws == draws[:, :, :1]).all(), "whatever the lead"
    forecast = found.forecast(24)
    np.testing.assert_allclose(forecast["probability"][0, 2], store.event[12:24].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(forecast["deaths"][0, 2], past.mean(axis=0), rtol=1e-6)
    some = Counter(int(np.flatnonzero((past == d[0, 0]).all(axis=(1, 2)))[0]) for d in found.draws(24, 20))
    assert sorted(some.values()) == [1] * 4 + [2] * 8


@pytest.mark.parametrize("wraps", [False, True])
def test_neighbours_count_like_the_cell_itself(wraps):
    store = cube(wraps)
    found = death_baselines.last_months_neighbours(store)
    draws, forecast = found.draws(24, 3000)[:, 0, 1], found.forecast(24)
    for y, x in ((2, 3), (1, 0), (4, 5), (0, 2)):
        pool = [store.best[12:24, r, c] for r, c in neighbours(store, y, x)]
        assert forecast["deaths"][0, 0, y, x] == pytest.approx(np.mean(pool), rel=1e-5)
        events = [store.event[12:24, r, c] for r, c in neighbours(store, y, x)]
        assert forecast["probability"][0, 0, y, x] == pytest.approx(np.mean(events), rel=1e-5)
        values, expected = np.unique(np.concatenate(pool), return_counts=True)
        counts = np.array([(draws[:, y, x] == v).sum() for v in values])
        assert counts.sum() == 3000, "nothing but what was seen there"
        assert stats.chisquare(counts, expected * 3000 / expected.sum()).pvalue > 1e-4


def test_the_poisson_is_about_the_last_month():
    store = cube()
    found = death_baselines.last_poisson(store)
    draws, last = found.draws(24, 2000)[:, 0], store.best[23]
    np.testing.assert_allclose(draws.mean(axis=(0, 1)), last, atol=5 * np.sqrt(last.max() / 6000))
    np.testing.assert_allclose(draws.var(axis=(0, 1))[last > 0], last[last > 0], rtol=0.15)
    np.testing.assert_allclose(
        found.forecast(24)["probability"][0, 0], 1 - np.exp(-np.maximum(last, store.event[23])), rtol=1e-5
    )


@pytest.mark.parametrize("make", EVERY)
def test_months_to_come_do_not_enter_and_the_seed_decides(make):
    one, other = cube(), cube()
    other.best[24:], other.event[24:] = 99, 1
    for name, values in make(one).forecast(24).items():
        np.testing.assert_array_equal(values, make(other).forecast(24)[name])
    np.testing.assert_array_equal(make(one, seed=3).draws(24, 30), make(other, seed=3).draws(24, 30))
    if make is not death_baselines.last_months:  # another order of the same months is the same distribution
        assert (make(one, seed=3).draws(24, 30) != make(one, seed=4).draws(24, 30)).any()
    assert not make(one).draws(0, 5).any() and not make(one).forecast(0)["probability"].any(), "nothing was seen yet"


@pytest.mark.parametrize("make", EVERY)
def test_without_deaths_there_is_the_chance_of_an_event_and_no_draw(make):
    store = cube(outcomes=({"name": "any", "colour": "#000000", "event": "event", "deaths": None},))
    found = make(store)
    assert found.draws is None and found.forecast(24)["deaths"] is None
    assert (found.forecast(24)["probability"][0, 0][store.event[23] > 0] > 0).all()


def test_never_draws_no_death():
    never = baselines.never(cube())
    assert never.draws(24, 7).shape == (7, 1, 3, 5, 6) and not never.draws(24, 7).any()
