"""Scores against scikit-learn, intervals against what they promise."""

import warnings

import numpy as np
import pytest
import xarray as xr
from sklearn import metrics

from geonb import scores as s

CLASSES = ["water", "forest", "field", "rare"]


def tree(rows=60, columns=80, seed=0, skill=1.0):
    random = np.random.default_rng(seed)
    truth = random.choice(4, (rows, columns), p=[0.4, 0.3, 0.29, 0.01]).astype(np.uint8)
    logits = random.normal(size=(2, 4, rows, columns))
    logits[0] += skill * (truth == np.arange(4)[:, None, None])
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = probability.argmax(axis=1).astype(np.uint8)
    truth[random.random(truth.shape) < 0.1] = s.IGNORE
    label[:, :5] = s.IGNORE
    block = (np.arange(rows) // 10)[:, None] * 8 + np.arange(columns) // 10
    split = np.array([1, 2, 3])[block % 3].astype(np.int8)
    data = xr.Dataset(
        {
            "probability": (("model", "class", "y", "x"), probability.astype(np.float16)),
            "label": (("model", "y", "x"), label),
            "truth": (("y", "x"), truth),
            "split": (("y", "x"), split),
            "block": (("y", "x"), block.astype(np.int32)),
        },
        coords={"model": ["network", "majority"], "class": CLASSES},
    )
    attrs = {
        "workload": "segmentation",
        "simulated": 1,
        "colours": ["#000000"] * 4,
        "headline": "mean_iou",
        "notes": [],
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/a": data})


def pixels(data, split, model=0):
    known = (data["truth"] != s.IGNORE) & (data["label"][model] != s.IGNORE) & (data["split"] == s.SPLITS[split])
    known = known.values
    return (
        data["truth"].values[known],
        data["label"].values[model][known],
        data["probability"].values[model][:, known].T.astype(float),
    )


@pytest.fixture(scope="module")
def made():
    predictions = tree()
    return predictions["a"].to_dataset(), s.score_classes(predictions, draws=300, rows=17)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("model", [0, 1])
def test_metrics_agree_with_scikit_learn(made, split, model):
    data, scores = made
    true, guess, probability = pixels(data, split, model)
    at = scores["score"].isel(model=model).sel(split=split)
    assert at.sel(metric="accuracy").item() == pytest.approx(metrics.accuracy_score(true, guess))
    assert at.sel(metric="mean_iou").item() == pytest.approx(metrics.jaccard_score(true, guess, average="macro"))
    assert at.sel(metric="macro_f1").item() == pytest.approx(metrics.f1_score(true, guess, average="macro"))
    probability /= probability.sum(axis=1, keepdims=True)
    assert at.sel(metric="log_loss").item() == pytest.approx(
        metrics.log_loss(true, probability, labels=range(4)), rel=1e-3
    )
    brier = ((probability - np.eye(4)[true]) ** 2).sum(axis=1).mean()
    assert at.sel(metric="brier").item() == pytest.approx(brier, rel=1e-3)
    by_class = scores["class_score"].isel(model=model).sel(split=split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f1, count = metrics.precision_recall_fscore_support(true, guess, labels=range(4))
    np.testing.assert_allclose(by_class.sel(class_metric="recall"), recall)
    np.testing.assert_allclose(by_class.sel(class_metric="f1"), f1)
    np.testing.assert_allclose(by_class.sel(class_metric="precision"), precision)
    matrix = scores["confusion"].isel(model=model).sel(split=split)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(true, guess, labels=range(4)))
    np.testing.assert_allclose(scores["prevalence"].sel(split=split), count / count.sum())
    assert scores["n_pixels"].sel(split=split) == len(true)


def test_reliability_bins_hold_the_pixels_of_their_confidence(made):
    data, scores = made
    true, guess, probability = pixels(data, "test")
    top = probability.max(axis=1)
    mine = (top >= 0.5) & (top < 0.6)
    at = scores.isel(model=0, bin=5).sel(split="test")
    assert at["bin_pixels"] == mine.sum()
    assert at["confidence"].item() == pytest.approx(top[mine].mean())
    assert at["hit_rate"].item() == pytest.approx((true == guess)[mine].mean())


def test_absent_classes_do_not_enter_the_mean():
    predictions = tree()
    data = predictions["a"].to_dataset()
    predictions["a"] = xr.DataTree(data.assign(truth=data["truth"].where(data["truth"] != 3, 0)))
    scores = s.score_classes(predictions, draws=0)
    true, guess, _ = pixels(predictions["a"].to_dataset(), "test")
    expected = metrics.jaccard_score(true, guess, average="macro", labels=[0, 1, 2])
    assert scores["score"].sel(model="network", split="test", metric="mean_iou").item() == pytest.approx(expected)
    assert scores["n_classes"].sel(split="test") == 3
    assert np.isnan(scores["class_score"].sel(model="network", split="test", class_metric="iou", **{"class": "rare"}))


def test_intervals_hold_the_score_and_shrink_with_more_blocks(made):
    _, scores = made
    score, low, high = scores["score"], scores["score_low"], scores["score_high"]
    assert ((low <= score) & (score <= high)).sel(metric="accuracy").all()
    larger = s.score_classes(tree(rows=240, columns=320), draws=300)
    width = (high - low).sel(model="network", split="test", metric="accuracy").item()
    wider = (larger["score_high"] - larger["score_low"]).sel(model="network", split="test", metric="accuracy").item()
    assert wider < 0.5 * width


def test_bootstrap_agrees_with_resampling_by_hand():
    predictions = tree(skill=2)
    data = predictions["a"].to_dataset()
    scores = s.score_classes(predictions, draws=4000)
    hit = data["label"][0] == data["truth"]
    known = (data["truth"] != s.IGNORE) & (data["label"][0] != s.IGNORE) & (data["split"] == 3)
    blocks = [b for b in np.unique(data["block"]) if (known & (data["block"] == b)).any()]
    hits = np.array([int((hit & known & (data["block"] == b)).sum()) for b in blocks])
    counts = np.array([int((known & (data["block"] == b)).sum()) for b in blocks])
    random = np.random.default_rng(1)
    drawn = random.integers(0, len(blocks), (4000, len(blocks)))
    by_hand = np.percentile(hits[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    at = scores.sel(model="network", split="test", metric="accuracy")
    assert [at["score_low"].item(), at["score_high"].item()] == pytest.approx(by_hand, abs=3e-3)


def test_a_paired_gain_is_narrower_than_the_scores_it_compares(made):
    data, _ = made
    twin = data.copy(deep=True)
    twin["label"][1], twin["probability"][1] = data["label"][0], data["probability"][0]
    worse = np.random.default_rng(5).random(twin["label"][1].shape) < 0.1
    twin["label"][1] = xr.where((twin["label"][1] != s.IGNORE) & worse, 0, twin["label"][1])
    predictions = tree()
    predictions["a"] = xr.DataTree(twin)
    scores = s.score_classes(predictions, draws=500)
    at = scores.sel(model="majority", split="test", metric="accuracy")
    one = scores["score"].sel(split="test", metric="accuracy")
    assert at["gain"].item() == pytest.approx((one[0] - one[1]).item())
    assert at["gain_low"] <= at["gain"] <= at["gain_high"]
    assert at["gain_high"] - at["gain_low"] < 0.5 * (at["score_high"] - at["score_low"])
    assert scores["gain"].sel(model="network", split="test", metric="accuracy") == 0


def test_the_verdict_is_honest():
    for skill, told in ((3, "beats"), (0, "cannot be told"), (-3, "WORSE")):
        assert told in s.verdict(s.score_classes(tree(skill=skill), draws=300))


def test_one_seed_one_answer(made):
    _, scores = made
    xr.testing.assert_identical(scores, s.score_classes(tree(), draws=300, rows=17))


def test_headline_names_the_best_baseline(made):
    _, scores = made
    told = s.headline(scores, "mean_iou")
    assert told["baseline"] == "majority" and told["low"] <= told["value"] <= told["high"]


def test_nothing_to_score_is_an_error():
    predictions = tree()
    data = predictions["a"].to_dataset()
    predictions["a"] = xr.DataTree(data.assign(truth=xr.full_like(data["truth"], s.IGNORE)))
    with pytest.raises(ValueError, match="nothing to score"):
        s.score_classes(predictions)
