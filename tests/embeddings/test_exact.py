"""Exact search gives what sorting all products gives, whatever is allowed, in float32 and with candidates in bfloat16."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.embeddings import exact


def unit(n, dims, seed=0, clusters=0, spread=0.05):
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, dims))
    if clusters:
        values = random.normal(size=(clusters, dims))[random.integers(clusters, size=n)] + spread * values
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def by_sorting(vectors, queries, count, allowed):
    scores = queries.astype(float) @ vectors.astype(float).T
    scores[:, ~allowed] = -np.inf
    best = -np.sort(-scores, axis=1)[:, :count]
    return np.pad(best, ((0, 0), (0, count - best.shape[1])), constant_values=-np.inf), scores


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 400), count=st.integers(1, 40), share=st.floats(0, 1), clusters=st.sampled_from([0, 3]),
    queries=st.sampled_from([1, 3, 40]), half=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_top_is_what_sorting_gives(n, count, share, clusters, queries, half, seed):
    vectors, asked = unit(n, 8, seed, clusters), unit(queries, 8, seed + 1)
    allowed = np.random.default_rng(seed).random(n) <= share
    rows, scores = exact.top(vectors, asked, count, allowed, exact.halves(vectors) if half else None)
    expected, every = by_sorting(vectors, asked, count, allowed)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    for i, row in enumerate(rows):
        there = row[row >= 0]
        assert len(set(there)) == len(there) == min(count, allowed.sum()) and allowed[there].all()
        np.testing.assert_allclose(every[i, there], scores[i, : len(there)], atol=1e-6)


@pytest.mark.parametrize(
    ("clusters", "spread"), [(0, 0), (4, 0.05), (4, 0.002)]
)  # the last: all alike but for rounding
def test_candidates_in_bfloat16_give_the_answers_of_float32(clusters, spread):
    vectors, asked = unit(20_000, 32, 1, clusters, spread), unit(100, 32, 2)
    half = exact.halves(vectors)
    rows, scores = exact.top(vectors, asked, 10, half=half)
    plain, expected = exact.top(vectors, asked, 10)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert (rows == plain).mean() > 0.999  # equal ones may change places
    rough = np.argsort(-(half.vectors.float().numpy() @ asked.T), axis=0)[:10].T
    assert any(set(a) != set(b) for a, b in zip(rough, plain, strict=True))  # else this test would prove nothing
