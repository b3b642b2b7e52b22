"""Figures of scores: the numbers drawn are the numbers given, each with its interval."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made import MODELS, made_log, made_predictions, made_scores

from geonb import plots
from geonb.plots.scores import other_scores


@pytest.fixture(scope="module")
def predictions():
    return made_predictions()


@pytest.fixture(scope="module")
def scores(predictions):
    return made_scores(predictions)


def words(figure):
    """Every text a reader sees."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_skill_draws_each_score_on_its_value(scores):
    figure = plots.skill(scores)
    for ax, metric in zip(figure.axes, scores.metric.values, strict=True):
        drawn = [line.get_xdata()[0] for line in ax.lines]
        assert drawn == pytest.approx(scores.score.sel(split="test", metric=metric).values)
        spans = [[segment[0][0], segment[1][0]] for c in ax.collections for segment in c.get_segments()]
        one = scores.sel(split="test", metric=metric)
        assert np.array(spans) == pytest.approx(np.stack([one.score_low.values, one.score_high.values], -1))
    assert any(f"{int(scores.n_samples.sel(split='test')):,} pixels" in word for word in words(figure))


@pytest.fixture(scope="module")
def sources_scores():
    tree = made_predictions((96, 128), ("north", "south", "outside"))
    for name, node in tree.children.items():
        node.attrs["dataset"] = "satellite" if name == "outside" else "aerial"
    outside = tree["outside"].to_dataset()
    tree["outside"] = outside.assign(split=xr.full_like(outside["split"], 1)).assign_attrs(dataset="satellite")
    return made_scores(tree)


def test_source_scores_draw_each_source_on_its_value_and_name_those_without_pixels(sources_scores):
    figure = plots.source_scores(sources_scores)
    at = sources_scores["source_score"].sel(split="test", metric="mean_iou", source=["north", "south"])
    for line, model in zip(figure.axes[0].lines, MODELS, strict=False):
        assert line.get_xdata() == pytest.approx(at.sel(model=model).values)
    told = words(figure)
    assert any("No pixel of this split: outside" in word for word in told) and "simulated data" in told
    pixels = int(sources_scores["source_samples"].sel(split="test", source="south"))
    assert any(word.startswith("south (aerial)") and f"{pixels:,} pixels" in word for word in told)


def test_score_table_reads_value_and_interval():
    dims = ("model", "split", "metric")
    one = xr.Dataset(
        {"score": (dims, [[[0.7412]]]), "score_low": (dims, [[[0.7]]]), "score_high": (dims, [[[0.778]]])},
        coords={"model": ["network"], "split": ["test"], "metric": ["mean_iou"]},
    )
    assert plots.score_table(one).loc["network", "mean IoU"] == "0.74 [0.70, 0.78]"


def test_scores_of_other_units_are_found_by_what_they_say_they_are():
    dims = ("model", "split", "metric")
    bounds = {
        f"{name}score{end}": (dims, [[[value]]])
        for name, value in (("", 0.2), ("vote_", 0.7))
        for end in ("", "_low", "_high")
    }
    coords = {"model": ["network"], "split": ["test"], "metric": ["mean_iou"]}
    one = xr.Dataset(bounds | {"kind_score": (("model", "split"), [[0.1]])}, coords)
    assert other_scores(one) == {}
    one["vote_score"].attrs["long_name"] = "Events by vote"
    one["kind_score"].attrs["long_name"] = "of other metrics"
    (found,) = other_scores(one).items()
    assert (
        found[0] == "Events by vote" and plots.score_table(found[1]).loc["network", "mean IoU"] == "0.70 [0.70, 0.70]"
    )
    assert plots.score_table(one).loc["network", "mean IoU"] == "0.20 [0.20, 0.20]"


def test_learning_curves_mark_the_lowest_validation_loss():
    log = made_log()
    figure = plots.learning_curves(log)
    best = int(log.epoch[log.val_loss.argmin()])
    assert any(f"epoch {best}," in word for word in words(figure))
    both = plots.learning_curves(log.assign(ema_val_loss=log.val_loss / 2)).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in both.lines}
    assert list(drawn["running average"]) == list(log.val_loss / 2) and list(drawn["validation"]) == list(log.val_loss)
    with pytest.raises(ValueError, match=r"lacks .'val_loss'"):
        plots.learning_curves(log.drop(columns="val_loss"))
    with pytest.raises(ValueError, match="no epoch"):
        plots.learning_curves(pd.DataFrame(columns=["epoch", "train_loss", "val_loss"]))


def test_figures_leave_pyplot(scores):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    plots.skill(scores)
    assert plt.get_fignums() == before  # else a notebook shows it twice, and memory grows
    assert len(MODELS) == 3
