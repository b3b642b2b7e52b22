"""Figures of several runs: each number stands where it belongs, and losses that cannot be compared are not drawn."""

import matplotlib

matplotlib.use("Agg")

import pandas as pd
import pytest
from made import made_log, made_predictions, made_scores
from made_forecasts import small_scores

from geonb.plots import compare


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


@pytest.fixture
def table():
    rows = [("2026-11-22_calm-heron", 0.5, 0.45, 0.55), ("2026-11-22_shy-owl", 0.4, None, None)]
    frame = pd.DataFrame(rows, columns=["run", "mean_iou", "low", "high"])
    return frame.assign(
        headline="mean_iou", val_mean_iou=[0.6, 0.3], val_low=[0.55, 0.2], val_high=[0.7, 0.4], baseline_score=0.2
    )


def test_headlines_stand_on_their_values_in_the_order_of_the_table(table):
    figure = compare.headlines(table, {table["run"][1]: "loss dice"}, {"simulated": 1})
    validation, test, baseline = figure.axes[0].lines[:3]
    assert validation.get_xdata().tolist() == [0.6, 0.3] and test.get_xdata().tolist() == [0.5, 0.4]
    assert baseline.get_xdata().tolist() == [0.2, 0.2] and test.get_ydata()[0] < test.get_ydata()[1]
    told = words(figure)
    assert "calm-heron" in told and "shy-owl\nloss dice" in told and "simulated data" in told
    assert "simulated data" not in words(compare.headlines(table.drop(columns=["val_mean_iou"])))


def test_curves_of_different_losses_show_the_metric_only():
    logs = {"2026-11-22_calm-heron": made_log(6), "2026-11-22_shy-owl": made_log(9).drop(columns="val_mean_iou")}
    both = compare.curves(logs, "mean_iou")
    assert len(both.axes) == 3 and both.axes[1].lines[0].get_ydata() == pytest.approx(made_log(6)["val_loss"].values)
    apart = compare.curves(logs, "mean_iou", loss=False)
    assert len(apart.axes) == 1 and any("different scales" in word for word in words(apart))


def test_the_table_of_classes_shows_the_iou_of_the_network():
    scores = made_scores(made_predictions((96, 128)), draws=0)
    worse = scores.copy(deep=True)
    worse["class_score"] *= 0.5
    figure = compare.class_table({"2026-11-22_calm-heron": scores, "2026-11-22_shy-owl": worse})
    expected = scores["class_score"].sel(model="network", split="test", class_metric="iou").dropna("class").values
    cells = figure.axes[0].texts
    assert [cell.get_text() for cell in cells] == [f"{v:.2f}" for v in [*expected, *(expected / 2)]]
    bold = [cell.get_fontweight() == "bold" for cell in cells]
    assert bold == [True] * len(expected) + [v == 0 for v in expected]


def test_leads_stand_on_their_scores_beside_the_best_baseline():
    scores = small_scores()
    worse = scores.copy(deep=True)
    worse["lead_score"] *= 0.5
    runs = {"2026-11-22_calm-heron": scores, "2026-11-22_shy-owl": worse}
    figure = compare.leads(runs, "average_precision")
    expected = scores["lead_score"].sel(model="network", split="test", metric="average_precision").values
    one, other, baseline = figure.axes[0].lines
    assert one.get_ydata() == pytest.approx(expected) and other.get_ydata() == pytest.approx(expected / 2)
    assert [round(x) for x in one.get_xdata()] == [1, 2, 3]
    others = scores["lead_score"].sel(split="test", metric="average_precision").drop_sel(model="network")
    assert baseline.get_ydata() == pytest.approx(others.max("model").values)
    lowest = compare.leads(runs, "brier").axes[0].lines[2]
    others = scores["lead_score"].sel(split="test", metric="brier").drop_sel(model="network")
    assert lowest.get_ydata() == pytest.approx(others.min("model").values)
    assert "calm-heron" in words(figure) and "simulated data" in words(figure)
