"""Average precision and nDCG of neighbours: by hand, by scikit-learn, and with intervals over groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from geonb.scores.retrieval import score_retrieval, told

# on a circle: the nearest of 0 degrees are 10, 25, 45, 70, 100 degrees, in this order
ANGLES = np.radians([0, 10, 25, 45, 70, 100])
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def only(first, n):
    return np.arange(n) == first


def test_average_precision_is_what_one_counts_by_hand():
    labels = [["a"], ["a"], ["b"], ["a", "b"], ["c"], ["a"]]  # relevant to the first: yes no yes no yes
    found = score_retrieval({"v": CIRCLE}, labels, list("uvwxyz"), k=3, queries=only(0, 6))
    assert found["score"].sel(metric="mAP@3").item() == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert found.attrs["chance"] == pytest.approx(3 / 5) and found.attrs["queries"] == 1
    found = score_retrieval({"v": CIRCLE}, labels, list("uvwxyz"), k=5, queries=only(0, 6))
    assert found["score"].sel(metric="mAP@5").item() == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)


def test_who_lies_beside_may_not_answer_unless_allowed():
    labels = [["a"], ["a"], ["b"], ["a"], ["c"], ["b"]]
    alike = {"v": CIRCLE}
    apart = score_retrieval(
        alike, labels, list("uuwxyz"), k=2, queries=only(0, 6)
    )  # 25 (no) and 45 degrees (yes) answer
    assert apart["score"].values[0, 0] == pytest.approx(1 / 2) and apart.attrs["chance"] == pytest.approx(1 / 4)
    beside = score_retrieval(alike, labels, list("uuwxyz"), k=2, queries=only(0, 6), own_group=True)
    assert beside["score"].values[0, 0] == pytest.approx(1 / 2 * (1 / 1))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(8, 60), k=st.integers(1, 70), seed=st.integers(0, 99))
def test_scores_are_those_of_scikit_learn(n, k, seed):
    random = np.random.default_rng(seed)
    vectors, has = random.normal(size=(n, 4)), random.random((n, 3)) < 0.4
    labels = [[str(c) for c in np.flatnonzero(row)] for row in has]
    shared = has.astype(int) @ has.T
    np.fill_diagonal(shared, 0)
    asking = np.flatnonzero(shared.any(1))
    if not len(asking):
        with pytest.raises(ValueError, match=f"none of {n} queries shares a label"):
            score_retrieval({"v": vectors}, labels, range(n), k=k)
        return
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cut, graded = [], []
    for i in asking:
        others = np.arange(n) != i
        relevant, similar = shared[i, others], unit[others] @ unit[i]
        graded.append(ndcg_score([relevant], [similar], k=k))
        if k >= n:
            cut.append(average_precision_score(relevant > 0, similar))
    found = score_retrieval({"v": vectors}, labels, range(n), k=k)
    assert found["score"].values[0, 1] == pytest.approx(np.mean(graded), abs=1e-6)
    assert not cut or found["score"].values[0, 0] == pytest.approx(np.mean(cut), abs=1e-6)
    assert found.attrs["without"] == n - len(asking)


def clustered(tiles=30, each=10, seed=0):
    random = np.random.default_rng(seed)
    kinds = random.integers(4, size=(tiles, each)).ravel()
    good = np.eye(4)[kinds] + 0.3 * random.normal(size=(tiles * each, 4))
    return good, random.normal(size=good.shape), [[f"k{kind}"] for kind in kinds], np.repeat(np.arange(tiles), each)


def test_the_gain_has_an_interval_over_groups_and_words():
    good, noise, labels, tiles = clustered()
    found = score_retrieval({"network": good, "histogram": noise, "again": good}, labels, tiles)
    at = found.sel(metric="mAP@10")
    gain = at.sel(model="histogram")
    assert gain["gain"] == pytest.approx(float(at["score"][0] - at["score"][1])) and gain["gain_low"] > 0.3
    assert gain["gain_low"] < gain["gain"] < gain["gain_high"]
    assert (at.sel(model="again")[["gain", "gain_low", "gain_high"]].to_array() == 0).all()
    assert abs(float(at["score"][1]) - found.attrs["chance"]) < 0.15
    assert found.attrs["groups"] == 30 and found.attrs["queries"] == 300
    assert told(found).startswith(f"mAP@10 of network: {float(at['score'][0]):.3f} [") and "against histogram" in told(
        found
    )
    one = score_retrieval({"network": good}, labels, np.zeros(300), own_group=True)
    assert np.isnan(one["score_low"]).all()  # one group tells nothing of others


def test_fewer_queries_are_drawn_alike_for_every_model_and_seed():
    good, noise, labels, tiles = clustered()
    found = [score_retrieval({"a": good, "b": noise}, labels, tiles, most=50, seed=seed) for seed in (1, 1, 2)]
    assert found[0].attrs["queries"] == 50 and found[0].equals(found[1]) and not found[0].equals(found[2])


def test_what_cannot_be_scored_is_refused():
    good, _, labels, tiles = clustered()
    with pytest.raises(
        ValueError, match=r"(?s)b has 299 vectors for 300 samples.*a holds NaN.*10 groups for 300.*k = 0"
    ):
        score_retrieval({"a": np.where(good > 1, np.nan, good), "b": good[1:]}, labels, tiles[:10], k=0)
    with pytest.raises(ValueError, match="shares a label with a sample of another group"):
        score_retrieval({"a": good}, labels, np.zeros(300))
    with pytest.raises(ValueError, match="none of 300 queries"):
        score_retrieval({"a": good}, [[] for _ in labels], tiles)
