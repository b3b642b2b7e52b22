import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from geonb.base import conventions
from geonb.store import leakage, windows

SHARES = (0.6, 0.2, 0.2)


def counts_of(rows=12, columns=12, seed=0):
    """Pixels of two classes in blocks; the second class in the eastern half only; a row of empty blocks."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((rows, columns, 3), int)
    counts[..., 0] = rng.integers(50, 100, (rows, columns))
    counts[:, columns // 2 :, 1] = rng.integers(0, 30, (rows, columns - columns // 2))
    counts[0] = 0
    return counts.reshape(-1, 3)


def test_shares():
    assert windows.read_shares("60/20/20") == pytest.approx(SHARES)
    assert windows.read_shares((0.5, 0.5, 0)) == (0.5, 0.5, 0)
    for wrong in ("60/20", "60/20/30", "0/50/50", "-10/60/50", "a/b/c", "60,20,20"):
        with pytest.raises(ValueError, match="60/20/20"):
            windows.read_shares(wrong)


def test_split_meets_the_shares_of_every_class():
    counts = counts_of()
    split = windows.spatial_split(counts, SHARES, seed=0)
    assert (split[counts.sum(axis=1) == 0] == 0).all()
    for k in (0, 1):
        held = [counts[split == s, k].sum() / counts[:, k].sum() for s in (1, 2, 3)]
        np.testing.assert_allclose(held, SHARES, atol=0.03)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_blocks_are_dealt_by_their_number(seed):
    for number, held in ((10, [6, 2, 2]), (20, [12, 4, 4]), (5, [3, 1, 1])):
        split = windows.spatial_split(np.ones((number, 1), int), SHARES, seed)
        assert np.bincount(split, minlength=4)[1:].tolist() == held


def test_split_follows_its_seed():
    counts = counts_of()
    one, again, other = (windows.spatial_split(counts, SHARES, seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).mean() > 0.2


def test_split_says_when_there_are_too_few_blocks():
    with pytest.raises(ValueError, match="2 blocks hold data, 3 splits want some"):
        windows.spatial_split(np.array([[5], [7], [0]]), SHARES, 0)
    split = windows.spatial_split(np.array([[1], [1], [1000]]), SHARES, 0)
    assert sorted(split) == [1, 2, 3]  # each gets one, however uneven


@given(st.integers(0, 10**6), st.integers(3, 40))
@settings(max_examples=30, deadline=None)
def test_every_wanted_split_gets_a_block(seed, n):
    counts = np.random.default_rng(seed).integers(1, 1000, (n, 2))
    assert set(windows.spatial_split(counts, SHARES, seed)) == {1, 2, 3}
    assert set(windows.spatial_split(counts, (0.8, 0.2, 0.0), seed)) == {1, 2}


def everything(shape):
    return lambda rows: (np.ones((rows.stop - rows.start, shape[1]), bool),) * 2


def test_windows_lie_in_one_split_and_may_span_its_blocks():
    blocks = np.array([[1, 1, 2], [1, 1, 0]])
    table = windows.cut_patches(blocks, 4, (8, 12), 4, 2, everything((8, 12)))
    found = {(r.y, r.x): r.split for r in table.itertuples()}
    train = {(y, x): "train" for y in (0, 2, 4) for x in (0, 2, 4)}
    assert found == train | {(0, 8): "val"}  # and none in the empty block at the lower right


def test_shares_of_valid_and_labelled_pixels_match_a_plain_count():
    rng = np.random.default_rng(0)
    valid, labelled = rng.random((40, 30)) < 0.5, rng.random((40, 30)) < 0.1
    table = windows.cut_patches(
        np.ones((5, 4), int), 8, (40, 30), 7, 3, lambda rows: (valid[rows], labelled[rows]), min_valid=0.4
    )
    expected = {}
    for y in [*range(0, 34, 3)]:
        for x in [*range(0, 24, 3), 23]:
            shares = [plane[y : y + 7, x : x + 7].mean() for plane in (valid, labelled)]
            if shares[0] >= 0.4 and shares[1] > 0:
                expected[y, x] = shares
    assert {(r.y, r.x) for r in table.itertuples()} == set(expected)
    for r in table.itertuples():
        assert [r.valid_share, r.labelled_share] == pytest.approx(expected[r.y, r.x])


def test_just_enough_valid_pixels_are_enough_and_without_a_label_there_is_no_window():
    valid, none = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    valid[:2, :2] = True

    def cut(labelled, min_valid):
        planes = lambda rows: (valid[rows], labelled[rows])  # noqa: E731
        return len(windows.cut_patches(np.ones((1, 1), int), 4, (4, 4), 4, 4, planes, min_valid))

    assert [cut(valid, 0.25), cut(valid, 0.26), cut(none, 0.25)] == [1, 0, 0]


def test_the_block_of_a_window_lies_under_its_centre():
    table = windows.cut_patches(np.ones((2, 3), int), 4, (8, 12), 4, 1, everything((8, 12)))
    number = np.kron(np.arange(6).reshape(2, 3), np.ones((4, 4), int))
    assert len(table) == 5 * 9 and table["block"].tolist() == number[table["y"] + 2, table["x"] + 2].tolist()


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_no_split_shares_a_pixel_with_another(data):
    shape = data.draw(st.tuples(st.integers(12, 60), st.integers(12, 60)))
    block = data.draw(st.integers(3, 12))
    patch, stride = data.draw(st.integers(2, block)), data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    blocks = rng.integers(0, 4, (-(-shape[0] // block), -(-shape[1] // block)))
    table = windows.cut_patches(blocks, block, shape, patch, stride, everything(shape))
    owner = np.zeros(shape, int)  # the oracle: paint each pixel with the splits that see it
    for r in table.itertuples():
        assert r.y >= 0 and r.x >= 0 and r.y + patch <= shape[0] and r.x + patch <= shape[1]
        owner[r.y : r.y + patch, r.x : r.x + patch] |= 1 << conventions.SPLITS.index(r.split)
    assert set(np.unique(owner)) <= {0, 1, 2, 4}
    table.insert(0, "source", "s")
    split = {"block": block, "blocks": {"s": blocks.tolist()}}
    assert leakage.leaks(table, {"s": shape}, split)[0] == []


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_gap_takes_just_the_windows_that_are_too_near_a_later_split(data):
    """Oracle: scipy's chessboard distance of every pixel to the pixels of later splits' blocks."""
    shape = data.draw(st.tuples(st.integers(20, 60), st.integers(20, 60)))
    block, gap = data.draw(st.integers(4, 12)), data.draw(st.integers(1, 15))
    patch, stride = data.draw(st.integers(2, block)), data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    blocks = rng.choice(4, (-(-shape[0] // block), -(-shape[1] // block)), p=[0.1, 0.7, 0.1, 0.1])
    every = windows.cut_patches(blocks, block, shape, patch, stride, everything(shape))
    table = windows.cut_patches(blocks, block, shape, patch, stride, everything(shape), gap=gap)
    codes = np.kron(blocks, np.ones((block, block), int))[: shape[0], : shape[1]]
    expected, left_out = [], dict.fromkeys(conventions.SPLITS, 0)
    for r in every.itertuples():
        later = codes > conventions.SPLITS.index(r.split) + 1
        between = distance_transform_cdt(~later, "chessboard") - 1 if later.any() else np.full(shape, 999)
        if between[r.y : r.y + patch, r.x : r.x + patch].min() >= gap:
            expected.append((r.y, r.x, r.split))
        else:
            left_out[r.split] += 1
    assert [(r.y, r.x, r.split) for r in table.itertuples()] == expected
    assert table.attrs["left_out"] == left_out and left_out["test"] == 0
    split = {"block": block, "blocks": {"s": blocks.tolist()}, "gap": gap}
    faults, nearest = leakage.leaks(table.assign(source="s"), {"s": shape}, split)
    assert faults == [] and nearest >= gap


def test_a_window_nearer_than_the_gap_is_a_fault():
    split = {"block": 4, "blocks": {"s": [[1, 1, 3, 3]]}, "gap": 2}
    table = pd.DataFrame(
        {"source": "s", "y": 0, "x": [2, 8], "height": 4, "width": 4, "split": ["train", "test"]}, index=[0, 1]
    )
    assert leakage.leaks(table, {"s": (4, 16)}, split)[1] == 2
    assert leakage.leaks(table, {"s": (4, 16)}, split)[0] == []
    near = table.assign(x=[3, 9])
    assert leakage.leaks(near, {"s": (4, 16)}, split) == (
        ["train window 0 (s y 0, x 3, 4 px) lies 1 px from a block of test, the gap is 2 px"], 2.0
    )  # fmt: skip
    (one, two), _ = leakage.leaks(table.assign(x=[3, 8]), {"s": (4, 16)}, split)
    assert "1 px from a block" in one and two == "windows of s in different splits are 1 px apart, the gap is 2 px"


def planted(**changes):
    """Two windows of 4 px in a 8 x 8 grid of blocks of 4 px, train on the left, test on the right; then one is changed."""
    table = pd.DataFrame(
        {"source": "s", "y": [0, 4], "x": [0, 4], "height": 4, "width": 4, "split": ["train", "test"]}, index=[10, 11]
    )
    for column, value in changes.items():
        table.loc[11, column] = value
    return leakage.leaks(table, {"s": (8, 8)}, {"block": 4, "blocks": {"s": [[1, 3], [1, 3]]}})


def test_no_leak_and_the_gap():
    assert planted() == ([], 0.0)  # they touch at a corner
    far = pd.DataFrame(
        {"source": "s", "y": [0, 0], "x": [0, 13], "height": 4, "width": 4, "split": ["train", "test"]}, index=[0, 1]
    )
    blocks = {"block": 4, "blocks": {"s": [[1, 0, 0, 3, 3]]}}
    assert leakage.leaks(far, {"s": (4, 20)}, blocks) == ([], 9.0)
    two = pd.concat([far, far.assign(source="t", x=[0, 7])], ignore_index=True)
    blocks = {"block": 4, "blocks": blocks["blocks"] | {"t": [[1, 3, 3]]}}
    assert leakage.leaks(two, {"t": (4, 12), "s": (4, 20)}, blocks) == ([], 3.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": 2}, "reaches into a block of another split"),
        ({"y": 2, "x": 3}, "train window 10 .* overlaps test window 11"),
        ({"x": 6}, "leaves the grid of 8 x 8 px"),
        ({"y": -1}, "leaves the grid"),
        ({"split": "spare"}, "has no split"),
        ({"source": "t"}, "sources that the store does not have: t"),
    ],
)
def test_planted_faults_are_found(changes, message):
    faults, _ = planted(**changes)
    assert pd.Series(faults).str.contains(message).any(), faults


@pytest.mark.parametrize(("y", "x"), [(3, 4), (5, 4), (4, 3), (4, 5)])
def test_a_pixel_in_the_next_block_is_one_too_many_on_any_side(y, x):
    blocks = {"block": 4, "blocks": {"s": [[1, 1, 1], [1, 3, 1], [1, 1, 1]]}}
    table = pd.DataFrame({"source": "s", "y": [4, y], "x": [4, x], "height": 4, "width": 4, "split": "test"})
    faults, _ = leakage.leaks(table, {"s": (12, 12)}, blocks)
    assert faults == [f"test window 1 (s y {y}, x {x}, 4 px) reaches into a block of another split"]


def test_sizes_are_refused_together():
    with pytest.raises(ValueError, match=r"(?s)patch = 0 px.*stride = -1 px"):
        windows.check_sizes({"a": (10, 10)}, 0, -1, 5)
    with pytest.raises(ValueError, match=r"(?s)larger than a \(10 x 20 px\): at most 10.*larger than block = 8 px"):
        windows.check_sizes({"a": (10, 20)}, 16, 8, 8)
    with pytest.raises(ValueError, match=r"stride = 5000 px is larger than block = 64 px.*Lower `stride`"):
        windows.check_sizes({}, 64, 5000, 64)
    for wrong, told in ((-1, "whole number from 0"), (1.5, "whole number"), (53, "at most 52 px apart")):
        with pytest.raises(ValueError, match=rf"gap = {wrong} px.*{told}"):
            windows.check_sizes({"a": (10, 60)}, 4, 4, 8, gap=wrong)
    windows.check_sizes({"a": (10, 60)}, 4, 4, 8, gap=52)
    with pytest.raises(ValueError, match=r"gap = 8 px.*block = None deals whole images"):
        windows.check_sizes({}, 4, 4, None, gap=8)
    windows.check_sizes({}, 64, 64, 64)
    windows.check_sizes({}, 64, 5000, None)


def test_the_same_ground_seen_by_two_sources():
    from shapely import box

    index = pd.DataFrame({"source": ["a", "b", "b"], "split": ["train", "test", "train"]})
    outlines = np.array([box(0, 0, 2, 2), box(1, 1, 3, 3), box(1, 1, 3, 3)])
    (fault,) = leakage.ground_leaks(index, outlines)
    assert fault.startswith("a and b show the same ground in 1 pairs")
    assert leakage.ground_leaks(index, np.array([box(0, 0, 2, 2), box(2, 0, 4, 2), box(0, 0, 2, 2)])) == []
    small = np.array([box(0, 0, 10, 10), box(9, 9, 9.5, 9.5), box(20, 0, 21, 1)])
    assert len(leakage.ground_leaks(index, small)) == 1, "all of a small window within a large one"
