"""Baselines learn what they say they learn, from training months only; on real events they are as strong as known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_cubes import FakeCube, contagion
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss

from geonb.workloads.conflict import baselines

NIGERIA = Path(__file__).parents[4] / "shared/data/conflict/conflict_data_nga.csv"
EVERY = (baselines.never, baselines.climatology, baselines.persistence, baselines.weighted_history, baselines.logistic)


@pytest.fixture(scope="module")
def store():
    return contagion()


def test_climatology_is_the_smoothed_frequency_of_the_training_months(store):
    found = baselines.climatology(store).forecast(130)
    months = 97 + 3  # the last training origin looks at three months
    overall = store.event[:months].mean()
    np.testing.assert_allclose(
        found["probability"][0, 2], (store.event[:months].sum(0) + 12 * overall) / (months + 12), rtol=1e-5
    )
    expected = (store.best[:months].sum(0) + 12 * store.best[:months].mean()) / (months + 12)
    np.testing.assert_allclose(found["deaths"][0, 0], expected, rtol=1e-5)


def test_persistence_is_the_frequency_after_months_with_and_without_events(store):
    found = baselines.persistence(store).forecast(130)["probability"]
    for lead in range(3):
        pairs = [(store.event[t - 1], store.event[t + lead]) for t in range(6, 98)]
        last, ahead = (np.stack(part) for part in zip(*pairs, strict=True))
        for k in (0, 1):
            frequency = (ahead[last == k].sum() + 5 * ahead.mean()) / ((last == k).sum() + 5)
            np.testing.assert_allclose(found[0, lead][store.event[129] == k], frequency, rtol=1e-5)
    assert found.max() > 2 * found.min()


def test_history_weighs_months_and_neighbours(store):
    history = baselines.History(store, (4.0, 12.0), (0.0, 1.0), lags=2)
    for t in (5, 60, 30):  # also back in time
        found = history.at(t)[0]
        np.testing.assert_array_equal(found[:2], store.event[[t - 1, t - 2]])
        weights = 2.0 ** (-np.arange(t - 1, -1, -1) / 4)
        plain = np.tensordot(weights / weights.sum(), store.event[:t], 1)
        np.testing.assert_allclose(np.exp(found[2]) - 1e-4, plain, atol=1e-6)
        kernel = {"sigma": 1, "mode": "constant", "truncate": 3}
        around = gaussian_filter(plain, **kernel) / gaussian_filter(np.ones(plain.shape), **kernel)
        np.testing.assert_allclose(np.exp(found[3]) - 1e-4, around, atol=1e-6)
    assert history.names == [(4.0, 0.0), (4.0, 1.0), (12.0, 0.0), (12.0, 1.0)]


def test_history_wraps_where_the_columns_span_the_globe():
    one, moved = (contagion(wraps=True) for _ in range(2))
    moved.event = np.roll(moved.event, 3, axis=2)
    a, b = (baselines.History(s, (6.0,), (1.0,)).at(50) for s in (one, moved))
    np.testing.assert_allclose(np.roll(a, 3, axis=-1), b, atol=1e-5)


def test_a_sample_of_rows_stands_for_all_of_them(store):
    features = baselines.History(store, (6.0,), (0.5,))
    (every,) = baselines.training_rows(store, features, 0)
    (some,) = baselines.training_rows(store, features, 0, most=3000)
    assert len(every[0]) == 92 * 99 and len(some[0]) < 4500
    assert some[2].sum() == pytest.approx(len(every[0]), rel=0.06)
    assert (some[1] * some[2][:, None]).sum() == pytest.approx(every[1].sum(), rel=0.06)
    model = LogisticRegression(max_iter=500).fit(every[0], every[1][:, 0])
    intercept, slope = baselines.fit_leads(*every[:3])
    assert slope[0, 0] == pytest.approx(model.coef_[0, 0], rel=0.02)
    assert intercept[0] == pytest.approx(model.intercept_[0], rel=0.02)


def test_a_history_is_judged_by_months_later_than_those_it_was_fitted_to():
    """The first feature tells events of the first six origins and misleads in the last two; the second tells little, always."""
    random, origin = np.random.default_rng(0), np.repeat(np.arange(8), 100)
    features = random.choice([-1.0, 1.0], (800, 2))
    events = np.where(origin < 6, features[:, 0], -features[:, 0])[:, None] > 0
    losses = baselines._losses_later(features, events, np.ones(800), origin)
    assert losses[0] > 2 and losses[1] == pytest.approx(np.log(2), abs=0.05)


@pytest.mark.parametrize("make", EVERY)
def test_probabilities_are_calibrated_and_beat_never(store, make):
    baseline = make(store)
    origins = store.origins("test")
    given = [baseline.forecast(int(t)) for t in origins]
    p = np.stack([g["probability"] for g in given])
    assert p.shape == (24, 1, 3, 9, 11) and p.dtype == np.float32
    assert given[0]["deaths"].shape == (1, 3, 9, 11)
    truth = np.stack([store.event[t : t + 3] for t in origins])[:, None]
    if make is baselines.never:
        assert not p.any()
        return
    assert p.mean() == pytest.approx(truth.mean(), rel=0.5)
    loss = log_loss(truth.ravel(), p.ravel())
    assert loss < log_loss(truth.ravel(), np.full(truth.size, truth.mean()))


def test_what_never_happened_gets_a_small_chance_and_no_fault():
    quiet = contagion()
    quiet.event[:], quiet.best[:] = 0, 0
    for make in EVERY:
        given = make(quiet).forecast(130)
        assert np.isfinite(given["probability"]).all() and given["probability"].max() < 1e-3
        assert not given["deaths"].any()


def test_months_before_training_only_are_refused(store):
    with pytest.raises(ValueError, match="no training month"):
        baselines.climatology(contagion(splits={"test": (6, 20)}))


@pytest.fixture(scope="module")
def nigeria():
    """Months 1990-2019 of the cells of Nigeria's box, straight from the file."""
    if not NIGERIA.exists():
        pytest.skip(f"needs {NIGERIA.name}, which is not part of the repository")
    table = pd.read_csv(NIGERIA, skiprows=[1], low_memory=False)
    begin = pd.to_datetime(table["date_start"])
    month = (begin.dt.year - 1990) * 12 + begin.dt.month - 1
    row, column = ((table[name] + add) * 2 // 1 for name, add in (("latitude", 90), ("longitude", 180)))
    row, column = (place.astype(int) - int(place.min()) for place in (row, column))
    event = np.zeros((360, row.max() + 1, column.max() + 1), np.float32)
    event[month, row, column] = 1
    best = np.zeros_like(event)
    np.add.at(best, (month, row, column), table["best"])
    return FakeCube(event, best, {"train": (12, 300), "test": (312, 360)}, steps=10, horizon=1, first="1990-01")


def test_the_bar_on_nigeria_is_as_high_as_known(nigeria):
    """Average precision one month ahead, 2016-2019; the independent look: .25, .22, .53 (.54 with a kernel), .54."""
    bar = {}
    for make in EVERY:
        baseline = make(nigeria)
        p = np.stack([baseline.forecast(t)["probability"][0, 0] for t in range(312, 360)])
        bar[baseline.name] = average_precision_score(nigeria.event[312:].ravel(), p.ravel())
    assert bar["climatology"] == pytest.approx(0.25, abs=0.02)
    assert bar["persistence"] == pytest.approx(0.22, abs=0.02)
    assert bar["weighted-history"] > 0.52
    assert bar["logistic"] > 0.53
