"""Scores of forecasts agree with scikit-learn, with loops, and with a bootstrap written out."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from made_forecast_scores import MODELS, OUTCOMES, SPLIT, TIMES, by_hand, made, noisier  # noqa: F401
from sklearn import metrics as sk

from geonb import scores
from geonb.plots.scores import reliability, score_table, skill
from geonb.workloads.conflict import cells as conflict_cells
from geonb.workloads.conflict.death_scores import NAMES
from geonb.workloads.conflict.score_figures import deaths_by_lead
from geonb.workloads.conflict.scores import METRICS, mean_of_outcomes, score_forecasts, weights_of


@pytest.fixture(scope="module")
def tree():
    return made()


@pytest.fixture(scope="module")
def scored(tree):
    return score_forecasts(tree, draws=300)


def pairs(tree, model, outcome, **at):
    """truth, probability of the valid cells of some months (and leads)."""
    data = tree["grid"].to_dataset()
    here = data.sel(model=model, outcome=outcome)
    here = here.isel(time=np.flatnonzero(at.pop("split", "test") == SPLIT)).sel(at)
    valid = data.valid.values
    return here.truth.values[..., valid].ravel(), here.probability.values[..., valid].ravel().astype(float)


def best_threshold(truth, p):
    """The probability from which on F1 is highest, by trying each."""
    f1 = [(sk.f1_score(truth, p >= t), t) for t in np.unique(p) if t > 0]
    return max(f1)[1] if f1 else 2.0


@pytest.mark.parametrize("model", MODELS)
def test_every_score_agrees_with_scikit_learn(tree, scored, model):
    found = {name: [] for name in METRICS}
    for o, outcome in enumerate(OUTCOMES):
        truth, p = pairs(tree, model, outcome)
        threshold = float(scored.threshold.sel(model=model)[o])
        alarm = p >= (threshold if np.isfinite(threshold) else 2)
        clipped = np.clip(p, 2.0**-24, 1 - 2.0**-24)
        counts = sk.confusion_matrix(truth, alarm, labels=[0, 1]).ravel()
        np.testing.assert_array_equal(scored.confusion_counts.sel(model=model, split="test")[o], counts)
        found["average_precision"].append(sk.average_precision_score(truth, p))
        found["auroc"].append(sk.roc_auc_score(truth, p))
        found["brier"].append(sk.brier_score_loss(truth, p))
        found["log_loss"].append(sk.log_loss(truth, clipped))
        found["f1"].append(sk.f1_score(truth, alarm))
        found["precision"].append(sk.precision_score(truth, alarm, zero_division=np.nan))
        found["recall"].append(sk.recall_score(truth, alarm))
        at_best = sk.f1_score(*_at(pairs(tree, model, outcome, split="val"), best_threshold))
        at_ours = sk.f1_score(*_at(pairs(tree, model, outcome, split="val"), lambda *_: threshold))  # noqa: B023
        assert at_ours == pytest.approx(at_best, abs=5e-3)
    here = scored.score.sel(model=model, split="test")
    for name in METRICS[:-3]:
        tolerance = 1e-3 if name in ("average_precision", "auroc") else 1e-5
        assert float(here.sel(metric=name)) == pytest.approx(np.mean(found[name]), abs=tolerance, nan_ok=True), name


def _at(pair, threshold):
    truth, p = pair
    return truth, p >= threshold(truth, p)


def test_leads_months_countries_and_outcomes_are_scored_on_their_own_cells(tree, scored):
    for lead in (1, 2):
        expected = [sk.average_precision_score(*pairs(tree, "network", o, lead=lead)) for o in OUTCOMES]
        found = scored.lead_score.sel(model="network", split="test", lead=lead, metric="average_precision")
        assert float(found) == pytest.approx(np.mean(expected), abs=1e-3)
    month = [sk.roc_auc_score(*pairs(tree, "network", o, time="2011-02-01")) for o in OUTCOMES]
    found = scored.month_score.sel(model="network", time="2011-02-01", metric="auroc")
    assert float(found) == pytest.approx(np.mean(month), abs=2e-3)
    assert np.isnan(scored.month_score.sel(time="2012-01-01")).all()  # the future is not scored
    for o in OUTCOMES:
        found = scored.outcome_score.sel(model="network", split="test", outcome=o, metric="brier")
        assert float(found) == pytest.approx(sk.brier_score_loss(*pairs(tree, "network", o)), abs=1e-5)
    data = tree["grid"].to_dataset().isel(time=slice(3, 6))
    values = []
    for o in OUTCOMES:
        inside = (data.valid & (data.country == 483)).values
        truth = data.truth.sel(outcome=o).values[..., inside].ravel()
        values.append(sk.average_precision_score(truth, data.probability.sel(outcome=o)[0].values[..., inside].ravel()))
    found = scored.country_score.sel(model="network", split="test", country=483, metric="average_precision")
    assert float(found) == pytest.approx(np.mean(values), abs=4e-3)
    events = int(((data.truth == 1) & data.valid).sum())
    assert int(scored.country_events.sel(split="test").sum()) == events
    assert float(scored.prevalence.sel(split="test")) == pytest.approx(events / int(scored.n_samples.sel(split="test")))
    assert int(scored.n_samples.sel(split="test")) == 2 * 3 * 2 * 87


def test_draws_of_deaths_are_scored_by_a_loop_and_a_point_by_its_error(tree, scored):
    data = tree["grid"].to_dataset().isel(time=slice(3, 6))
    valid, deaths = data.valid.values, data.deaths.values
    found = scored.score.sel(split="test")
    for model in ("network", "never"):
        draws = data.deaths_draws.sel(drawn=model).values.astype(float)
        values = [
            by_hand(draws[:, o, t, k, y, x], deaths[o, t, k, y, x])
            for o, t, k in np.ndindex(deaths.shape[:3])
            for y, x in np.argwhere(valid)
        ]
        np.testing.assert_allclose(found.sel(model=model, metric=list(NAMES)), np.mean(values, axis=0), rtol=1e-5)
    error = abs(data.deaths_mean.sel(model="coarse") - data.deaths).values[..., valid].mean()
    np.testing.assert_allclose(found.sel(model="coarse", metric=list(NAMES)), [error, np.nan, np.nan], rtol=1e-5)
    assert scored.attrs["drawn"] == "network, never" and scored.attrs["members"] == 10
    assert (scored.score_low < scored.score_high).sel(model="network", split="test", metric=list(NAMES)).all()


def test_draws_of_months_leave_the_cells_alone_and_those_of_cells_the_months():
    both, months, cells = (weights_of(3, 4, 500, [1], how).reshape(500, 3, 4) for how in ("both", "months", "cells"))
    for weights in (both, months, cells):
        assert (weights.sum(axis=(1, 2)) == 12).all()
    assert (months == months[:, :, :1]).all() and (cells == cells[:, :1]).all()
    assert (months[:, :, 0].sum(axis=1) == 3).all() and (cells[:, 0].sum(axis=1) == 4).all()
    assert (both == months * cells).all() and (both.var(axis=0) > 0.8).all()


def test_an_outcome_without_a_score_is_left_out_of_the_mean():
    values = np.array([[[1.0], [3]], [[np.nan], [3]], [[np.nan], [np.nan]]])  # (model, outcome, metric)
    np.testing.assert_array_equal(mean_of_outcomes(values), [[2], [3], [np.nan]])


def test_intervals_are_those_of_a_bootstrap_written_out(tree):
    """Both draws of blocks by hand: each forecast counts as often as its block of cells times its quarter was drawn."""
    scored = score_forecasts(tree, draws=60, seed=5)
    data = tree["grid"].to_dataset().isel(time=slice(3, 6))
    valid = data.valid.values
    rows, columns = np.nonzero(valid)
    place = np.unique(rows // 4 * 100 + columns // 4, return_inverse=True)[1]
    months = 12 * 2011 + np.array([[0, 1], [1, 2], [4, 5]])  # of each origin and lead
    quarter = months // 3 - months.min() // 3
    weights = weights_of(2, 9, 60, [5, 1, 0xB007])
    values, gains = [], []
    for w in weights.reshape(60, 2, 9):
        counts = w[quarter][:, :, place].ravel()
        ap = [
            np.mean([
                sk.average_precision_score(
                    data.truth[o].values[..., valid].ravel(), data.probability[m, o].values[..., valid].ravel(), sample_weight=counts
                )
                for o in range(2)
            ])
            for m in (0, 2)
        ]  # fmt: skip
        values.append(ap[0])
        gains.append(ap[0] - ap[1])
    at = {"split": "test", "metric": "average_precision"}
    here = scored.sel(at)
    for found, drawn in (("score", values), ("gain", gains)):
        one = here.sel(model="network" if found == "score" else "coarse")
        expected = np.percentile(drawn, [2.5, 97.5])
        np.testing.assert_allclose([one[f"{found}_low"], one[f"{found}_high"]], expected, atol=0.01)
    assert float(here.gain_low.sel(model="network")) == 0
    assert list(scored.resampling.values) == ["both", "months", "cells"]
    narrow = (here.score_by_high - here.score_by_low).sel(model="network")
    assert (narrow.sel(resampling="months") > 0) and (narrow > 0).all()


def test_they_fit_the_shared_tables_and_figures(scored):
    told = scores.headline(scored, "average_precision")
    assert told["baseline"] == "coarse" and told["gain_low"] > 0
    assert "beats its best baseline" in scores.verdict(scored)
    assert scores.headline(scored, "brier")["baseline"] == "coarse"
    assert scores.headline(scored, "crps")["baseline"] in ("never", "coarse")
    assert score_table(scored).shape == (3, 10)
    for draw in (skill, reliability):
        assert draw(scored).axes
    frame = scores.table(scored)
    assert len(frame) == 3 * 2 * 10


def test_curves_are_those_of_scikit_learn(tree, scored):
    truth, p = (np.concatenate(v) for v in zip(*(pairs(tree, "network", o) for o in OUTCOMES), strict=True))
    fpr, tpr, _ = sk.roc_curve(truth, p, drop_intermediate=False)
    here = scored.sel(model="network", split="test")
    along = (here.roc_fpr + here.roc_tpr).values  # how far along the curve, which has vertical pieces
    np.testing.assert_allclose(here.roc_tpr, np.interp(along, fpr + tpr, tpr), atol=5e-3)
    assert sk.auc(here.roc_fpr, here.roc_tpr) == pytest.approx(sk.auc(fpr, tpr), abs=2e-3)
    precision, recall, _ = sk.precision_recall_curve(truth, p)
    place = [np.flatnonzero(recall >= r - 1e-12)[-1] for r in here.pr_recall.values]
    np.testing.assert_allclose(here.pr_precision[1:], precision[place][1:], atol=0.03)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_fine_bins_keep_the_order_and_their_edges(values):
    p = np.sort(np.array(values, np.float32))
    bins = conflict_cells.fine_bins(p)
    assert (np.diff(bins) >= 0).all() and bins.min() >= 0 and bins.max() < conflict_cells.FINE
    assert (conflict_cells.lower_edge(bins) <= p).all()
    inside = bins < conflict_cells.FINE - 1
    assert (conflict_cells.lower_edge(bins[inside] + 1) > p[inside]).all()


def test_nothing_known_is_refused(tree):
    data = tree["grid"].to_dataset()
    empty = xr.DataTree.from_dict({"/grid": data.isel(time=[6])})
    with pytest.raises(ValueError, match="nothing to score"):
        score_forecasts(empty)


def test_two_runs_are_compared_over_the_same_draws_of_blocks(tree, tmp_path):
    """By scikit-learn on weighted cells: the difference and its interval, from scores.nc as it lies on the disk."""
    worse_tree = noisier(tree, 1.5)
    both = []
    for i, one in enumerate((tree, worse_tree)):
        packed = score_forecasts(one, draws=0)
        packed.to_netcdf(tmp_path / f"{i}.nc", engine="h5netcdf")
        both.append(xr.load_dataset(tmp_path / f"{i}.nc", engine="h5netcdf"))
    told = scores.compare(both[1], both[0], "average_precision", draws=60)
    rows, columns = np.nonzero(tree["grid"].valid.values)
    place = np.unique(rows // 4 * 100 + columns // 4, return_inverse=True)[1]
    quarter = np.array([[0, 0], [0, 0], [1, 1]])  # January to March, and May to June 2011
    assert (told["blocks"], told["places"], told["quarters"], told["fewest"]) == (18, 9, 2, 2)

    def values(of, counts):
        data = of["grid"].to_dataset().isel(time=slice(3, 6), model=0)
        valid = data.valid.values
        cells = [
            (data.truth[o].values[..., valid].ravel(), data.probability[o].values[..., valid].ravel()) for o in range(2)
        ]
        return np.mean([sk.average_precision_score(*pair, sample_weight=counts) for pair in cells])

    drawn = [w[quarter][:, :, place].ravel() for w in weights_of(2, 9, 60, [0, 0xB007]).reshape(60, 2, 9)]
    expected = [values(worse_tree, counts) - values(tree, counts) for counts in drawn]
    assert told["difference"] == pytest.approx(values(worse_tree, None) - values(tree, None), abs=2e-3)
    np.testing.assert_allclose([told["low"], told["high"]], np.percentile(expected, [2.5, 97.5]), atol=0.015)
    assert told["high"] < 0  # both are hard in the same blocks: paired, the difference is beyond chance
    same = scores.compare(both[0], both[0], "brier", draws=60)
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_forecasts_of_other_months_leads_cells_or_events_are_not_compared(tree, scored):
    data = tree["grid"].to_dataset()

    def of(changed):
        other = xr.DataTree.from_dict({"/grid": changed})
        other.attrs = tree.attrs
        return score_forecasts(other, draws=0)

    split = np.where(data.split.values == "test", "test", data.split.values)
    split[5] = "future"
    flipped, moved = data.copy(deep=True), data.copy(deep=True)
    at = 0, 4, 0, 5, 5
    flipped.truth[at] = 1 - flipped.truth[at]
    moved["valid"][0, 3], moved["valid"][0, 2] = False, True  # as many cells, another one
    moved["truth"][..., 0, 2] = moved["truth"][..., 0, 3].values
    moved["probability"][..., 0, 2] = moved["probability"][..., 0, 3].values
    for changed, said in (
        (
            data.assign(split=("time", split)),
            r"other test months \(2011-01 to 2011-05, 3 months; 2011-01 to 2011-02, 2",
        ),
        (data.isel(lead=[0]), r"other leads \(1 to 2; 1 to 1\)"),
        (data.isel(outcome=[0]), r"other outcomes \(state-based, non-state; state-based\)"),
        (flipped, "do not hold the same cells and events"),
        (moved, "do not hold the same cells and events"),
    ):
        with pytest.raises(ValueError, match=said):
            scores.compare(scored, of(changed), "average_precision", draws=10)
    with pytest.raises(ValueError, match="made by an older geonb"):
        scores.compare(scored, scored.drop_vars("block_truth"), "average_precision")
    with pytest.raises(ValueError, match="not both have rmse of the test split"):
        scores.compare(scored, scored, "rmse")
    with pytest.raises(ValueError, match="one is scored as conflict, the other as segmentation"):
        scores.compare(scored, xr.Dataset(attrs={"workload": "segmentation"}), "average_precision")


def test_deaths_are_drawn_by_lead_of_those_that_forecast_distributions(scored):
    figure = deaths_by_lead(scored)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["CRPS", "ignorance", "90 % interval score"]
    for ax, name in zip(figure.axes, NAMES, strict=True):
        lines = {line.get_label(): line.get_ydata() for line in ax.lines}
        assert set(lines) == {"network", "never"}
        np.testing.assert_array_equal(lines["never"], scored.lead_score.sel(model="never", split="test", metric=name))
    point = deaths_by_lead(scored.assign_attrs(drawn="never"))
    assert any("its CRPS is its absolute error" in text.get_text() for text in point.texts)
    assert deaths_by_lead(scored.assign_attrs(drawn="")) is None
