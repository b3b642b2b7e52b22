"""Ranks from counts by level, against a look at every pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geonb.scores.ranking import auroc

levels = st.lists(st.integers(0, 4), min_size=1, max_size=20)


@given(levels, levels)
def test_auroc_is_the_share_of_pairs_in_their_order_equal_ones_half(without, events):
    below, above = np.array(without)[:, None], np.array(events)
    expected = ((below < above) + 0.5 * (below == above)).mean()
    np.testing.assert_allclose(auroc(*(np.bincount(of, minlength=5) for of in (without, events))), expected)


def test_without_a_pair_there_is_no_auroc():
    none, some = np.zeros((2, 5)), np.ones((2, 5))
    assert np.isnan(auroc(none, some)).all() and np.isnan(auroc(some, none)).all()
