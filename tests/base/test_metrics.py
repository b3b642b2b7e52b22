"""Which way a metric points is known in one place, and every verdict, ranking and figure goes by it."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made import made_predictions

from geonb import registry, runs, scores
from geonb.base.metrics import lower_is_better
from geonb.plots import compare as plots_compare
from geonb.plots import scores as plots_scores
from geonb.runs import compare, run_table
from geonb.workloads.segmentation import scores as segmentation_scores


def scored(metric, network, others, **attrs):
    """Scores of a network and baselines on test and val; the gain's interval is .01 wide to each side."""
    models = ["network", "good-guess", "bad-guess"]
    values = np.broadcast_to(np.array([network, *others])[:, None, None], (3, 2, 1))
    gain = values[:1] - values
    arrays = {"score": values, "score_low": values - 0.01, "score_high": values + 0.01}
    arrays |= {"gain": gain, "gain_low": gain - 0.01, "gain_high": gain + 0.01}
    dims = ("model", "split", "metric")
    coords = {"model": models, "split": ["val", "test"], "metric": [metric]}
    return xr.Dataset({k: (dims, v) for k, v in arrays.items()}, coords, {"headline": metric, **attrs})


def words(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


DOWN = [("rmse", {}), ("mae", {}), ("crps", {}), ("miss_km", {"lower_is_better": 1})]


@pytest.mark.parametrize(("metric", "attrs"), DOWN)
def test_a_smaller_error_than_the_best_baselines_beats_it(metric, attrs):
    told = scores.headline(scored(metric, 1.0, (2.0, 5.0), **attrs), metric)
    assert (told["baseline"], told["baseline_value"]) == ("good-guess", 2.0)
    said = scores.verdict(scored(metric, 1.0, (2.0, 5.0), **attrs))
    assert said.startswith(
        f"The network beats its best baseline: {metric} lower by 1.000 [0.990, 1.010] than good-guess"
    )
    said = scores.verdict(scored(metric, 3.0, (2.0, 5.0), **attrs))
    assert f"WORSE than its best baseline: {metric} higher by 1.000 [0.990, 1.010] than good-guess" in said


def test_equal_up_to_rounding_is_not_told_apart():
    same = scored("map", 1.0, (1.0, 0.5))
    for name in ("gain", "gain_low", "gain_high"):
        same[name] = same[name] * 0 - 2e-16
    assert "cannot be told from its best baseline" in scores.verdict(same)


@pytest.mark.parametrize("metric", ["accuracy", "hits_of_mine"])
def test_of_other_metrics_more_is_better(metric):
    told = scores.headline(scored(metric, 0.9, (0.8, 0.2)), metric)
    assert told["baseline"] == "good-guess" and "lower_is_better" not in told
    assert "beats" in scores.verdict(scored(metric, 0.9, (0.8, 0.2)))
    assert "WORSE" in scores.verdict(scored(metric, 0.5, (0.8, 0.2)))


def test_the_record_speaks_of_its_headline_only():
    told = {"headline": "miss_km", "lower_is_better": True}
    assert lower_is_better("miss_km", told) and not lower_is_better("accuracy", told)
    assert not lower_is_better("miss_km") and not lower_is_better("miss_km", {"headline": "miss_km"})
    assert lower_is_better("rmse", {"headline": "rmse", "lower_is_better": float("nan")})


def test_what_the_record_says_reaches_scores_and_run(tmp_path, monkeypatch):
    record = registry.Workload(
        "mine", "Mine", "What?", "01.ipynb", "miss_km", lower_is_better=True, score="builtins:made_up"
    )
    monkeypatch.setattr("builtins.RECORD", record, raising=False)
    monkeypatch.setitem(registry.WORKLOADS, "mine", "builtins:RECORD")
    monkeypatch.setattr("builtins.made_up", lambda *_, **__: scored("miss_km", 1.0, (2.0, 5.0)), raising=False)
    run = runs.new_run("mine", {}, tmp_path)
    found = scores.score(run, None)
    assert "beats" in scores.verdict(found)
    with xr.open_dataset(run.scores, engine="h5netcdf") as kept:
        assert "beats" in scores.verdict(kept.load())
    assert run.info["headline"]["baseline"] == "good-guess" and run.info["validation"]["lower_is_better"] is True


@pytest.fixture(params=DOWN)
def table(request, tmp_path):
    """Three runs, the second the best: (their table, metric, names)."""
    metric, attrs = request.param
    made = []
    for value in (3.0, 1.0, 2.0):
        found = scored(metric, value, (2.0, 5.0), **attrs)
        made.append(runs.new_run("tiny", {}, tmp_path))
        made[-1].update(headline=scores.headline(found, metric), validation=scores.headline(found, metric, "val"))
    runs.new_run("tiny", {}, tmp_path)  # not scored: says nothing of the metric
    return runs.table(tmp_path), metric, [run.name for run in made], tmp_path


def test_the_table_of_runs_sorts_the_smallest_error_first_and_chooses_it(table):
    frame, metric, names, root = table
    assert runs.best(frame)["run"] == names[1]
    for column in (metric, f"val_{metric}"):
        assert runs.table(root, sort=column)[metric].tolist()[:3] == [1.0, 2.0, 3.0]
    assert "lower_is_better" not in run_table.as_text(frame)


def test_the_page_that_compares_runs_leads_with_the_smallest_error(table):
    frame, metric, names, _ = table
    ordered = compare._best_first(frame[frame["headline"].notna()])
    assert ordered[metric].tolist() == [1.0, 2.0, 3.0] and ordered["run"][0] == names[1]
    told = {"low": 0.1, "high": 0.3, "blocks": 40}  # first run minus second: a larger error
    assert compare._verdict(told, True) == "worse" and compare._verdict(told, False) == "better"


def test_figures_say_which_way_is_better(table):
    frame = table[0]
    frame = frame[frame["headline"].notna()].reset_index(drop=True)
    assert any("(lower is better)" in word for word in words(plots_compare.headlines(frame)))
    assert any("(higher is better)" in word for word in words(plots_compare.headlines(pd.DataFrame(
        {"run": ["2026-11-22_calm-heron"], "headline": "accuracy", "accuracy": 0.5}
    ))))  # fmt: skip


def test_scores_are_drawn_with_the_direction_that_the_record_gave():
    found = segmentation_scores.score_classes(made_predictions((96, 128)), draws=0)
    for said, expected in ((None, "higher is better"), (1, "lower is better")):
        attrs = {**found.attrs, "headline": "accuracy"} | ({} if said is None else {"lower_is_better": said})
        figure = plots_scores.skill(found.assign_attrs(attrs).sel(metric=["accuracy"]))
        assert expected in [ax.get_xlabel() for ax in figure.axes]
