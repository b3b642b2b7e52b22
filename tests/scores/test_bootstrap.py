"""Draws, bounds and gains against sums that one can do by eye."""

import numpy as np

from geonb.scores import bootstrap

TABLE = np.array([[[1, 2], [3, 4], [0, 2]], [[1, 2], [1, 4], [1, 2]]], float)  # (model, block, hits and number)


def shares(sums):
    return {"score": sums[..., :1] / sums[..., 1:], "count": sums[..., 1:]}


def test_scores_and_gains_come_from_the_same_draws_of_blocks():
    told = bootstrap.resampled(TABLE, shares, 200, [1])
    np.testing.assert_array_equal(told["score"], [[4 / 8], [3 / 8]])
    np.testing.assert_array_equal(told["gain"], [[0], [1 / 8]])
    drawn = []
    for weights in bootstrap.draw(3, 200, [1]):
        hits, number = (TABLE * weights[:, None]).sum(axis=1).T
        drawn.append(hits / number)
    bounds = np.percentile(drawn, [2.5, 97.5], axis=0)
    np.testing.assert_allclose([told["score_low"][:, 0], told["score_high"][:, 0]], bounds)
    gains = np.percentile([one[0] - one for one in drawn], [2.5, 97.5], axis=0)
    np.testing.assert_allclose([told["gain_low"][:, 0], told["gain_high"][:, 0]], gains)
    assert "count_low" in told and "count_gain" not in told


def test_a_draw_is_of_as_many_blocks_as_there_are_each_as_likely():
    drawn = bootstrap.draw(5, 4000, [3])
    assert drawn.shape == (4000, 5) and (drawn.sum(axis=1) == 5).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(drawn.var(axis=0), 1 - 1 / 5, atol=0.1)  # of a multinomial; 1 if each were drawn alone
    assert (drawn == bootstrap.draw(5, 4000, [3])).all() and (drawn != bootstrap.draw(5, 4000, [4])).any()


def test_one_block_or_no_draw_has_no_interval():
    for table, draws in ((TABLE[:, :1], 200), (TABLE, 0)):
        told = bootstrap.resampled(table, shares, draws, [1])
        assert np.isnan([told["score_low"], told["gain_high"]]).all() and np.isfinite(told["score"]).all()


def test_what_coarse_counts_cost_is_put_right_in_every_draw():
    plain = bootstrap.resampled(TABLE, shares, 200, [1])
    moved = bootstrap.resampled(TABLE, shares, 200, [1], exact={"score": plain["score"] + [[0.25], [0]]})
    np.testing.assert_allclose(moved["score"], plain["score"] + [[0.25], [0]])
    np.testing.assert_allclose(moved["score_low"], plain["score_low"] + [[0.25], [0]])
    np.testing.assert_allclose(moved["gain_high"] - plain["gain_high"], [[0], [0.25]])


def test_groups_stand_beside_their_splits_in_the_order_of_the_dims():
    masks = [[np.array([True, False, False]), np.array([False, True, True])], [np.ones(3, bool)] * 2]
    seeds = []

    def resample(mask, seed):
        seeds.append(seed)
        return bootstrap.resampled(TABLE[:, mask], shares, 0, seed)

    told = bootstrap.by_group(resample, masks, "place", 7, {"blocks": np.count_nonzero})
    dims, values = told["place_score"]
    assert dims == ("model", "split", "place", "metric") and values.shape == (2, 2, 2, 1)
    np.testing.assert_allclose(values[:, 0, :, 0], [[1 / 2, 3 / 6], [1 / 2, 2 / 6]])
    assert told["place_blocks"][0] == ("split", "place") and told["place_blocks"][1].tolist() == [[1, 2], [3, 3]]
    assert {name.removeprefix("place_") for name in told} == {
        *(f"{kind}{end}" for kind in ("score", "gain") for end in ("", "_low", "_high")), "blocks",
    }  # fmt: skip
    bootstrap.by_split(resample, [np.ones(3, bool)] * 2, 7, {"score": ("model", "split", "metric")})
    assert len({tuple(seed) for seed in seeds}) == 6, "neither groups nor splits share their draws"
