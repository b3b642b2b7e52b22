"""Ranks from counts by level, against a look at every pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geonb.scores.ranking import auroc
from geonb.scores.ranking import levels as levels_of

levels = st.lists(st.integers(0, 4), min_size=1, max_size=20)


@given(levels, levels)
def test_auroc_is_the_share_of_pairs_in_their_order_equal_ones_half(without, events):
    below, above = np.array(without)[:, None], np.array(events)
    expected = ((below < above) + 0.5 * (below == above)).mean()
    np.testing.assert_allclose(auroc(*(np.bincount(of, minlength=5) for of in (without, events))), expected)


def test_without_a_pair_there_is_no_auroc():
    none, some = np.zeros((2, 5)), np.ones((2, 5))
    assert np.isnan(auroc(none, some)).all() and np.isnan(auroc(some, none)).all()


def test_values_that_lie_close_together_have_levels_of_their_own_and_a_half_is_kept():
    near = 0.5 + np.array([-3, -2, -1, 0, 1, 2, 3, 0]) * 1e-3
    level = levels_of(near, 20)
    assert (np.diff(level[:7]) > 0).all() and level[7] == level[3] == 10 and level[2] < 10 and level.min() == 0
    random = np.random.default_rng(0)
    many = levels_of(random.normal(0.4, 0.01, 5000), 20)
    assert np.bincount(many)[:10].min() > 0 and np.bincount(many).max() < 1000 and many.max() == 9
    assert len(set(levels_of(0.3 + random.normal(0, 1e-9, 50), 20))) == 1
    assert levels_of(np.empty(0), 20).shape == (0,)
