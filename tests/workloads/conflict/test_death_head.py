"""A network's draws of deaths follow the probabilities that it says, and values that were seen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_cubes import ANY, contagion
from forecasting import RECORD, model_of  # noqa: F401
from scipy import ndimage, stats

from geonb.prediction.predictions import open_predictions
from geonb.workloads.conflict import baselines, death_head, predict
from geonb.workloads.conflict.death_scores import classes_of

SPLITS = {"train": (6, 98), "val": (107, 110), "test": (150, 153)}


@pytest.fixture(scope="module")
def store():
    return contagion(splits=SPLITS, months=156)


def training_deaths(store):
    """Deaths of the training months with an event, that a training origin looks at."""
    months = slice(0, 97 + store.horizon)
    return store.best[months][store.event[months] > 0], months


def test_shares_of_classes_are_those_of_training_events(store):
    deaths, _ = training_deaths(store)
    counts = np.array([(classes_of(deaths) == k).sum() for k in range(11)])
    (record,) = death_head.class_records(store)
    np.testing.assert_allclose(record["shares"], (counts + 0.5) / (counts + 0.5).sum())


def test_classes_are_weighed_by_age_and_distance_and_drawn_towards_all(store):
    shares = np.array(death_head.class_records(store)[0]["shares"])[:, None, None]
    weight = 0.5 ** (np.arange(99, -1, -1) / 12)  # last month counts once
    counts = np.stack([
        np.tensordot(weight, (store.event[:100] > 0) & (classes_of(store.best[:100]) == k), 1) for k in range(11)
    ])  # fmt: skip
    seen = np.stack([ndimage.gaussian_filter(c, 1.5, mode="constant", truncate=3) for c in counts])
    history = death_head.ClassHistory(store)
    history.at(120)  # and back
    np.testing.assert_allclose(history.at(100)[0], (seen + 0.5 * shares) / (seen.sum(axis=0) + 0.5), rtol=1e-4)
    later = contagion(splits=SPLITS, months=156)
    later.event[100:], later.best[100:] = 1, 999
    np.testing.assert_array_equal(death_head.ClassHistory(later).at(100), history.at(100))


def test_values_are_deaths_that_were_seen_or_the_least_of_an_unseen_class(store):
    deaths, _ = training_deaths(store)
    (record,) = death_head.class_records(store)
    for k, values in enumerate(record["values"]):
        seen = np.sort(deaths[classes_of(deaths) == k])
        assert (classes_of(np.array(values)) == k).all() and len(values) <= 100
        if 0 < len(seen) <= 100:
            np.testing.assert_array_equal(values, seen)
        elif len(seen):
            np.testing.assert_allclose(np.mean(values), seen.mean(), rtol=0.05)
    assert [death_head._values(np.array([4]))[k] for k in (0, 1, 2, 10)] == [[0], [1], [4], [1001]]


def test_draws_follow_events_classes_and_values():
    random = np.random.default_rng(0)
    probability = np.array([0, 0.03, 0.6, 1], np.float32).reshape(1, 1, 2, 2)
    classes = random.dirichlet(np.ones(11), (1, 1, 2, 2)).transpose(0, 1, 4, 2, 3).astype(np.float32)
    records = [{"values": [[0], [1, 2, 2], [3], [6, 9], [11], [26], [51], [101], [251], [501, 700], [1001, 5000]]}]
    draws = death_head.draw_deaths(probability, classes, records, 20_000, random)[:, 0, 0]
    assert draws.dtype == np.uint32 and not draws[:, 0, 0].any()
    for y, x in ((0, 1), (1, 0), (1, 1)):
        p = float(probability[0, 0, y, x])
        expected, seen = {0: 1 - p}, draws[:, y, x]
        for share, values in zip(classes[0, 0, :, y, x], records[0]["values"], strict=True):
            for value in values:
                expected[value] = expected.get(value, 0) + p * float(share) / len(values)
        counts = np.array([(seen == value).sum() for value in expected])
        assert counts.sum() == 20_000
        wanted = np.array(list(expected.values()))
        some = wanted > 0
        assert stats.chisquare(counts[some], wanted[some] / wanted.sum() * counts.sum()).pvalue > 1e-4


def head_of(store, network="convlstm:structure=3-4-0/0-4-3", **more):
    return model_of(network, "hurdle-classes", deaths=death_head.class_records(store), **more)


def test_a_new_network_begins_at_the_shares_of_the_training_months(store):
    card = head_of(store).card | {"prevalence": [0.02], "network": "unet_lstm:filters=4,depth=1,skip=false"}
    task = predict_task(card)
    with torch.no_grad():
        task.network.head.weight.zero_()
        outputs = task(torch.randn(2, 6, 2, 9, 11))
    shares = torch.tensor(card["deaths"][0]["shares"])
    torch.testing.assert_close(outputs[:, :, 0].sigmoid(), torch.full_like(outputs[:, :, 0], 0.02))
    torch.testing.assert_close(outputs[:, :, 1:].softmax(2), shares[None, None, :, None, None].expand(2, 3, 11, 9, 11))


def predict_task(card):
    from geonb.workloads.conflict.task import Forecast

    return Forecast(card).eval()


@pytest.mark.parametrize(
    ("network", "draws"),
    [
        ("unet_lstm:filters=4,depth=1,dropout=0.3", 6),
        ("unet_lstm:filters=4,depth=1", 1),
        ("convlstm:structure=3-4-0/0-4-3,peephole=pixel,size=4", 1),
    ],
)
def test_the_region_is_drawn_as_the_network_says(store, tmp_path, network, draws):
    run = SimpleNamespace(path=tmp_path, predictions=tmp_path / "predictions.zarr")
    predict.predict_region(run, store, head_of(store, network), [], draws=draws, members=300)
    data = open_predictions(run.predictions)["grid"].to_dataset().load()
    assert list(data.drawn.values) == ["network"] and not list(
        predict.forecast_faults(open_predictions(run.predictions))
    )
    assert ("spread" in data) == (draws > 1)
    drawn, p = data.deaths_draws.values[0].astype(float), data.probability.values[0]
    assert drawn.mean() == pytest.approx(float(data.deaths_mean.mean()), rel=0.05)
    assert p.mean() * 0.8 < (drawn > 0).mean() < p.mean() * 1.02, "few events are without a death"
    again = SimpleNamespace(path=tmp_path / "b", predictions=tmp_path / "b" / "predictions.zarr")
    predict.predict_region(again, store, head_of(store, network), [], draws=draws, members=300)
    np.testing.assert_array_equal(open_predictions(again.predictions)["grid"]["deaths_draws"], data.deaths_draws)


def test_draws_come_evenly_from_those_over_dropout(store, monkeypatch):
    model = head_of(store, "unet_lstm:filters=4,depth=1,dropout=0.3")
    region = predict.RegionForecast(store, model, 0.5, 8, "float32", 6, 0, members=15)
    asked = []

    def noted(probability, classes, records, members, random):
        asked.append(members)
        return np.zeros((members, *probability.shape), np.uint32)

    monkeypatch.setattr(predict, "draw_deaths", noted)
    assert region.forecast(150)["draws"].shape == (15, len(ANY), 3, 9, 11)
    assert asked == [3, 2, 3, 2, 3, 2]


@pytest.mark.parametrize("network", ["unet_lstm:filters=2,depth=1", "convlstm:structure=3-0/3-3,peephole=pixel,size=4"])
def test_a_network_with_a_floor_begins_at_the_classes_that_the_cells_saw(store, monkeypatch, network):
    task = predict_task(head_of(store, f"{network},floor=logistic", training={"epochs": 1, "seed": 0}).card)
    task.prepare(store)
    asked = []

    def noted(probability, classes, *_):
        asked.append((probability, classes))
        return np.zeros((1, *probability.shape), np.uint32)

    monkeypatch.setattr(predict, "draw_deaths", noted)
    predict.RegionForecast(store, task, 0.5, 4, "float32", 1, 0, members=1).forecast(150)
    ((probability, classes),) = asked
    np.testing.assert_allclose(probability, baselines.logistic(store).forecast(150)["probability"], rtol=1e-4)
    expected = np.broadcast_to(death_head.ClassHistory(store).at(150)[:, None], classes.shape)
    np.testing.assert_allclose(classes, expected, rtol=1e-4)
