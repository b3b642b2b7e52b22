"""Scores of triplets agree with scikit-learn and loops, intervals with a bootstrap written out; what is beyond brightness is told."""

from __future__ import annotations

import made_triplets as made
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from geonb import scores
from geonb.plots.scores import score_table, skill, source_scores
from geonb.scores import bootstrap
from geonb.workloads.clouds import blocks as clouds_blocks
from geonb.workloads.clouds import scores as clouds_scores
from geonb.workloads.clouds.beyond_brightness import PARTS, REFERENCE, beyond
from geonb.workloads.clouds.blocks import margins_of
from geonb.workloads.clouds.scores import METRICS, auc, score_triplets


@pytest.fixture(scope="module")
def tree():
    return made.made_predictions()


@pytest.fixture(scope="module")
def scored(tree):
    return score_triplets(tree, draws=200)


def changed(tree, **variables):
    """The same predictions with other variables of the triplets (dims and values)."""
    out = tree.copy()
    out["triplets"] = xr.DataTree(tree["triplets"].to_dataset().assign(variables))
    return out


def table(tree, split, model="network"):
    """near, far and block of a split's triplets."""
    data = tree["triplets"].to_dataset()
    here = data.isel(sample=np.flatnonzero(data["split"].values == split)).sel(model=model)
    return here["near"].values.astype(float), here["far"].values.astype(float), here["block"].values


def test_three_triplets_by_hand():
    """Right, a tie, wrong: accuracy (1 + 0.5 + 0) / 3; margins (4-1)/5, 0, (1-3)/4; near 1 2 3 against far 4 2 1."""
    data = xr.Dataset(
        {"near": (("model", "sample"), [[1.0, 2, 3]]), "far": (("model", "sample"), [[4.0, 2, 1]])}
        | {name: ("sample", [0, 1, 2]) for name in ("t", "y", "x", "block")}
        | {"split": ("sample", ["test"] * 3), "source": ("sample", ["a"] * 3)},
        {"model": ["network"]},
    )
    scored = score_triplets(xr.DataTree.from_dict({"/triplets": data}), draws=0)
    here = scored["score"].sel(split="test", model="network")
    assert here.sel(metric="triplet_accuracy") == pytest.approx(0.5)
    assert here.sel(metric="margin") == pytest.approx((0.6 + 0 - 0.5) / 3)
    # near 1: smaller than 4 and 2, equal to 1; near 2: smaller than 4, equal to 2; near 3: smaller than 4
    assert here.sel(metric="auc") == pytest.approx((2.5 + 1.5 + 1) / 9)
    assert scored["ties"].sel(split="test").item() == pytest.approx(1 / 3)
    assert np.isnan(scored["score"].sel(split="train")).all() and int(scored["n_samples"].sel(split="train")) == 0
    assert scored.attrs["unit"] == "triplets" and int(scored["n_blocks"].sel(split="test")) == 3


@pytest.mark.parametrize("model", made.MODELS)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_metric_agrees_with_other_ways(tree, scored, model, split):
    near, far, blocks = table(tree, split, model)
    at = scored["score"].sel(model=model, split=split)
    assert at.sel(metric="triplet_accuracy") == pytest.approx(np.mean(far > near))
    assert at.sel(metric="margin") == pytest.approx(np.mean(np.tanh(np.log(far / near) / 2)), abs=1e-6)
    is_far = np.repeat([0, 1], len(near))
    assert at.sel(metric="auc") == pytest.approx(roc_auc_score(is_far, np.concatenate([near, far])))
    assert int(scored["n_samples"].sel(split=split)) == len(near)
    assert int(scored["n_blocks"].sel(split=split)) == len(np.unique(blocks))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_auc_counts_ties_half(pairs):
    near, far = np.array(pairs, float).T
    by_pairs = np.mean((near[:, None] < far) + 0.5 * (near[:, None] == far))
    assert auc(near, far) == pytest.approx(by_pairs)
    assert auc(far, near) == pytest.approx(1 - by_pairs)
    assert (np.abs(margins_of(near, far)) <= 1).all()
    np.testing.assert_allclose(margins_of(near, far), -margins_of(far, near))


def test_a_model_of_another_scale_scores_the_same(tree, scored):
    data = tree["triplets"].to_dataset()
    larger = score_triplets(changed(tree, near=data["near"] * 1000, far=data["far"] * 1000), draws=200)
    for name in ("score", "score_low", "gain_high", "ease_score", "joined_gain"):
        np.testing.assert_allclose(larger[name], scored[name], atol=2e-3)


def test_intervals_are_those_of_a_bootstrap_written_out(tree):
    """Whole blocks with their triplets drawn again; both models over the same draws."""
    scored = score_triplets(tree, draws=150, seed=3)
    network, other = (table(tree, "test", model) for model in ("network", "pixel-pca"))
    blocks = np.unique(network[2])
    counts = bootstrap.draw(len(blocks), 150, [3, 2, 0xB007])
    drawn = {name: [] for name in ("triplet_accuracy", "auc", "gain")}
    for weights in counts:
        w = weights[np.searchsorted(blocks, network[2])]
        accuracy = [np.average(far > near, weights=w) for near, far, _ in (network, other)]
        drawn["triplet_accuracy"].append(accuracy[0])
        drawn["gain"].append(accuracy[0] - accuracy[1])
        both = np.concatenate(network[:2])
        drawn["auc"].append(roc_auc_score(np.repeat([0, 1], len(w)), both, sample_weight=np.tile(w, 2)))
    here = scored.sel(split="test")
    for metric in ("triplet_accuracy", "auc"):
        one = here.sel(model="network", metric=metric)
        found = [one["score_low"].item(), one["score_high"].item()]
        assert found == pytest.approx(np.percentile(drawn[metric], [2.5, 97.5]), abs=2e-3), metric
    one = here.sel(model="pixel-pca", metric="triplet_accuracy")
    found = [one["gain_low"].item(), one["gain_high"].item()]
    assert found == pytest.approx(np.percentile(drawn["gain"], [2.5, 97.5]), abs=1e-9)
    assert float(here["gain_high"].sel(model="network", metric="auc")) == 0


def test_few_levels_of_distance_cost_next_to_nothing(tree, scored, monkeypatch):
    """Draws rank distances by level: with two of them the AUC would be off by some hundredths if that were not put right."""

    def middle(of):
        here = of.sel(split="test", metric="auc", model="network")
        return float(here["score_low"] + here["score_high"]) / 2

    for module in (clouds_scores, clouds_blocks):
        monkeypatch.setattr(module, "LEVELS", 2)
    coarse = score_triplets(tree, draws=200)
    assert coarse["score"].equals(scored["score"])
    assert middle(coarse) == pytest.approx(middle(scored), abs=0.015)
    distances, _ = clouds_blocks.read_distances(tree)
    table = clouds_blocks.block_table(distances, distances.split == "test")[0]
    uncorrected = clouds_scores.metrics_of(table.sum(axis=0))[2]
    assert abs(uncorrected - coarse["score"].sel(split="test", metric="auc", model="network")) > 0.025
    data = tree["triplets"].to_dataset()
    other = score_triplets(changed(tree, near=data["far"], far=data["near"]), draws=0)  # as wrong as the other is right
    told = scores.compare(coarse, other, "auc", draws=200)
    assert (told["low"] + told["high"]) / 2 == pytest.approx(told["difference"], abs=0.03)


def test_a_group_in_one_block_has_a_score_and_no_interval():
    near, far, unit = np.array([[1.0, 3, 1, 1]]), np.array([[2.0, 2, 2, 2]]), np.array([0, 0, 0, 1])
    split, block = np.full(4, "test"), (np.full(2, "test"), np.arange(2))
    distances = clouds_blocks.Distances(["network"], near, far, np.zeros((2, 1, 4), int), split, split, unit, *block)
    told = clouds_blocks.accuracy_by_group(distances, "scene", np.array([0, 0, 1, 1]), 2, 50, 0)
    score, low, high = (told[f"scene_score{end}"][1][0, 2] for end in ("", "_low", "_high"))
    assert score.tolist() == [0.5, 1] and np.isnan([low[0], high[0]]).all() and (low[1], high[1]) == (1, 1)


def test_blocks_not_triplets_are_resampled():
    """The same triplets ten times over tell no more, if their copies lie in the same blocks."""
    tree = made.made_predictions(200)
    data = tree["triplets"].to_dataset()
    tenfold = tree.copy()
    tenfold["triplets"] = xr.DataTree(data.isel(sample=np.tile(np.arange(200), 10)))
    once, again = (score_triplets(t, draws=300).sel(split="test") for t in (tree, tenfold))
    for name in ("score_low", "score_high", "gain_low"):
        np.testing.assert_allclose(again[name].sel(metric=["triplet_accuracy", "margin"]),
                                   once[name].sel(metric=["triplet_accuracy", "margin"]))  # fmt: skip
    assert int(again["n_samples"]) == 10 * int(once["n_samples"]) and int(again["n_blocks"]) == int(once["n_blocks"])


def test_a_block_number_of_two_splits_is_two_blocks(tree):
    one = changed(tree, block=("sample", np.zeros(600, int)))
    scored = score_triplets(one, draws=50)
    assert scored["n_blocks"].values.tolist() == [1, 1, 1] and np.isnan(scored["score_low"]).all()
    assert "cannot be told" in scores.verdict(scored)  # without an interval nothing is claimed


def test_sources_scenes_and_places_are_scored_on_their_own_triplets(tree, scored):
    data = tree["triplets"].to_dataset()
    test = data["split"].values == "test"
    win = data["far"].sel(model="network").values > data["near"].sel(model="network").values
    for source in ("west", "east"):
        mine = test & (data["source"].values == source)
        here = scored.sel(source=source, split="test")
        assert int(here["source_samples"]) == mine.sum()
        assert here["source_score"].sel(model="network", metric="triplet_accuracy") == pytest.approx(win[mine].mean())
        assert here["source_score_low"].sel(model="network", metric="auc") < here["source_score"].sel(
            model="network", metric="auc"
        )
    order = scored["scene_time"].values
    assert (np.diff(order[:6]) > np.timedelta64(0)).all() and np.isnat(order[6:]).all(), "undated ones last"
    assert scored["scene_source"].values.tolist() == ["west"] * 6 + ["east"] * 3
    mine = test & (data["source"].values == "west") & (data["t"].values == 4)
    at = scored["scene_score"].isel(scene=4).sel(split="test", model="network")
    assert at == pytest.approx(win[mine].mean()) and int(scored["scene_triplets"].sel(split="test")[4]) == mine.sum()
    assert int(scored["scene_triplets"].sum()) == int(scored["place_triplets"].sum()) == 600
    place = int(scored["place_triplets"].sel(split="test").values.argmax())
    lon, lat = (float(scored[f"place_{k}"][place]) for k in ("lon", "lat"))
    square = (np.abs(data["lon"].values - lon) < 0.64) & (np.abs(data["lat"].values - lat) < 0.64)
    assert square.sum() >= int(scored["place_triplets"].sel(split="test")[place])


def test_places_on_the_date_line_do_not_lie_in_greenwich():
    tree = made.made_predictions(40)
    lon = np.where(np.arange(40) % 2, 179.9, -179.9)
    same = {name: ("sample", np.zeros(40, int)) for name in ("y", "x")}
    scored = score_triplets(changed(tree, lon=("sample", lon), source=("sample", ["west"] * 40), **same), draws=0)
    assert (np.abs(scored["place_lon"]) > 179).all()


def test_fifths_are_by_the_margin_of_mean_and_spread(tree, scored):
    near, far, _ = table(tree, "test", REFERENCE)
    ease = (far - near) / (far + near)
    order = np.argsort(ease, kind="stable")
    n_near, n_far, _ = table(tree, "test")
    parts = [np.mean(n_far[p] > n_near[p]) for p in np.array_split(order, PARTS)]
    np.testing.assert_allclose(scored["ease_score"].sel(split="test", model="network"), parts)
    assert scored["ease_triplets"].sel(split="test").values.tolist() == [30] * 5
    np.testing.assert_allclose(scored["ease_edge"].sel(split="test")[[0, -1]], [ease.min(), ease.max()])
    reference = scored["reference_score"].sel(split="test")
    assert reference.sel(model=REFERENCE).values.tolist() == [0, 1]
    wrong = far < near
    assert reference.sel(model="network", reference="wrong") == pytest.approx(np.mean(n_far[wrong] > n_near[wrong]))


def test_joining_is_a_logistic_regression_fitted_to_validation(tree, scored):
    """Written out: signs at random instead of both, and the weights of scikit-learn on those."""
    random = np.random.default_rng(0)

    def margins(split):
        pairs = [table(tree, split, m)[:2] for m in (REFERENCE, "network")]
        return np.stack([(far - near) / (far + near) for near, far in pairs], 1)

    sign = random.choice([-1, 1], (200, 150, 1))  # many draws of the order, so that both come about as often
    x = (margins("val")[None] * sign).reshape(-1, 2)
    fitted = LogisticRegression(fit_intercept=False, C=1e4).fit(x, (sign > 0).ravel())
    expected = np.mean(margins("test") @ fitted.coef_[0] > 0)
    here = scored.sel(split="test")
    assert here["joined_score"].sel(model="network") == pytest.approx(expected, abs=0.02)
    alone = here["score"].sel(model=REFERENCE, metric="triplet_accuracy")
    assert here["joined_gain"].sel(model="network") == pytest.approx(
        float(here["joined_score"].sel(model="network") - alone)
    )
    assert here["joined_gain"].sel(model=REFERENCE) == 0


def test_what_is_beyond_brightness_is_said_honestly():
    sees = score_triplets(made.made_predictions(4000, pattern=1.0), draws=200)
    follows = score_triplets(made.made_predictions(4000, pattern=0.0), draws=200)
    assert "sees something that brightness does not tell" in beyond(sees) and "untrained" in beyond(sees)
    assert "can be told from chance" in beyond(follows)
    wrong = [s["reference_score"].sel(split="test", model="network", reference="wrong").item() for s in (sees, follows)]
    assert wrong[0] > wrong[1] + 0.2 and wrong[1] < 0.3, "one that follows brightness is wrong where brightness is"
    assert f"{wrong[0]:.0%}" in beyond(sees)


def test_without_mean_and_spread_or_validation_nothing_is_claimed(tree):
    data = tree["triplets"].to_dataset()
    fewer = tree.copy()
    fewer["triplets"] = xr.DataTree(data.sel(model=["network", "untrained"]))
    alone = score_triplets(fewer, draws=20)
    assert "ease_score" not in alone and beyond(alone) == ""
    split = np.where(data["split"].values == "val", "train", data["split"].values)
    unfitted = score_triplets(changed(tree, split=("sample", split)), draws=20)
    assert np.isnan(unfitted["joined_gain"]).all() and "Joined" not in beyond(unfitted)
    assert "go wrong the network puts" in beyond(unfitted)


def test_triplets_without_a_distance_are_left_out_for_all(tree):
    data = tree["triplets"].to_dataset()
    near = data["near"].copy(deep=True)
    near[1, :50] = np.nan
    scored = score_triplets(changed(tree, near=near), draws=0)
    assert int(scored["n_samples"].sum()) == 550
    with pytest.raises(ValueError, match="nothing to score"):
        score_triplets(changed(tree, near=near * np.nan), draws=0)


def test_they_fit_the_shared_tables_and_figures(scored):
    told = scores.headline(scored, "triplet_accuracy")
    assert told["baseline"] in made.MODELS[1:] and told["low"] < told["value"] < told["high"]
    assert "triplet_accuracy" in scores.verdict(scored)
    assert list(score_table(scored).columns) == ["triplet accuracy", "relative margin", "AUC of distances"]
    assert len(scores.table(scored)) == 4 * 3 * len(METRICS)
    text = scores.summary(scored)
    assert "150 triplets in" in text and "triplet_accuracy" in text and "auc" in text and "simulated" in text
    assert all(draw(scored).axes for draw in (skill, source_scores))
    empty = scored.assign(n_samples=scored["n_samples"] * 0)
    assert scores.verdict(empty) == "The test split holds nothing that could be scored."


def test_a_margin_below_nought_stays_inside_its_panel(scored):
    worse = scored.copy(deep=True)
    worse["score"][:] = worse["score"] - 1.2
    worse["score_low"][:] = worse["score_low"] - 1.2
    for ax in skill(worse).axes:
        lowest = min(line.get_xdata().min() for line in ax.lines)
        assert ax.get_xlim()[0] < lowest


def test_one_seed_one_answer(tree, scored):
    xr.testing.assert_identical(scored, score_triplets(tree, draws=200))


def test_two_runs_are_compared_over_the_same_draws_of_blocks(tree, tmp_path):
    other_tree = made.made_predictions(pattern=0.0)
    both = []
    for i, one in enumerate((tree, other_tree)):
        score_triplets(one, draws=0).to_netcdf(tmp_path / f"{i}.nc", engine="h5netcdf")
        both.append(xr.load_dataset(tmp_path / f"{i}.nc", engine="h5netcdf"))
    found = [table(t, "test") for t in (tree, other_tree)]
    blocks = np.unique(found[0][2])
    for metric, of in (
        ("triplet_accuracy", lambda near, far, w: np.average(far > near, weights=w)),
        ("auc", lambda near, far, w: roc_auc_score(np.repeat([0, 1], len(w)), [*near, *far], sample_weight=[*w, *w])),
    ):
        told = scores.compare(both[0], both[1], metric, draws=100)
        values = [of(near, far, np.ones(len(near))) for near, far, _ in found]
        assert told["difference"] == pytest.approx(values[0] - values[1]) and told["blocks"] == len(blocks)
        drawn = []
        for weights in bootstrap.draw(len(blocks), 100, [0, 0xB007]):
            w = weights[np.searchsorted(blocks, found[0][2])]
            drawn.append(of(*found[0][:2], w) - of(*found[1][:2], w))
        assert [told["low"], told["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=3e-3)
    same = scores.compare(both[0], both[0], "margin", draws=50)
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_other_triplets_are_not_compared(tree, scored):
    blocks = tree["triplets"]["block"].values.copy()
    blocks[-1] += 1
    moved = score_triplets(changed(tree, block=("sample", blocks)), draws=0)
    with pytest.raises(ValueError, match="test splits do not hold the same triplets"):
        scores.compare(scored, moved, "auc")
    places = {
        name: tree["triplets"]["y"] for name in ("neighbor_y", "neighbor_x", "distant_t", "distant_y", "distant_x")
    }
    places["distant_source"] = tree["triplets"]["source"]
    one, other = (
        score_triplets(changed(tree, **places | {"distant_x": places["distant_x"] + k}), draws=0) for k in (0, 1)
    )
    assert scores.compare(one, one, "margin", draws=0)["difference"] == 0
    with pytest.raises(ValueError, match="do not hold the same triplets"):
        scores.compare(one, other, "margin")
    with pytest.raises(ValueError, match="not both have mean_iou"):
        scores.compare(scored, scored, "mean_iou")
    with pytest.raises(ValueError, match="older geonb"):
        scores.compare(scored.drop_vars("block_levels"), scored, "margin")
    for workload in ("conflict", "segmentation"):
        with pytest.raises(ValueError, match=f"one is scored as clouds, the other as {workload}"):
            scores.compare(scored, xr.Dataset(attrs={"workload": workload}), "margin")
