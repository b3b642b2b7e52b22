import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geonb import tilers


def test_windows_of_a_small_array():
    # 3 x 5 px, windows of 2: a row and a column of filling
    windows = tilers.tile(np.arange(15).reshape(3, 5), 2, fill=-1)
    assert windows.tolist() == [
        [[0, 1], [5, 6]], [[2, 3], [7, 8]], [[4, -1], [9, -1]],
        [[10, 11], [-1, -1]], [[12, 13], [-1, -1]], [[14, -1], [-1, -1]],
    ]  # fmt: skip


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_inverse_is_exact(data):
    dtype = data.draw(st.sampled_from(["uint8", "int32", "float32", "float64"]))
    lead = data.draw(st.lists(st.integers(1, 3), max_size=2))
    shape = data.draw(st.integers(1, 23)), data.draw(st.integers(1, 23))
    array = data.draw(hnp.arrays(dtype, (*lead, *shape)))
    size = data.draw(st.integers(1, 12))
    stride = data.draw(st.integers(1, size))
    windows = tilers.tile(array, size, stride, fill=7)
    back = tilers.untile(windows, shape, size, stride)
    assert back.dtype == array.dtype and back.tobytes() == array.tobytes()  # NaN and -0.0 too


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6))
@settings(deadline=None)
def test_four_passes_are_one_with_half_the_stride(rows, columns, half):
    size = 2 * half
    array = np.arange(rows * columns).reshape(rows, columns)
    whole = np.pad(array, [(0, -rows % size), (0, -columns % size)], constant_values=-1)
    passes = tilers.half_steps(array, size, fill=-1)
    together = np.concatenate([passes[k] for k in ("base", "y", "x", "both")])
    expected = tilers.tile(whole, size, half)
    assert sorted(w.tobytes() for w in together) == sorted(w.tobytes() for w in expected)
    np.testing.assert_array_equal(tilers.untile(passes["base"], (rows, columns), size), array)


def test_a_pass_moves_by_half_a_window():
    array = np.arange(64).reshape(8, 8)
    passes = tilers.half_steps(array, 4)
    assert [passes[k][0, 0, 0] for k in ("base", "y", "x", "both")] == [
        array[i] for i in [(0, 0), (2, 0), (0, 2), (2, 2)]
    ]
    assert [len(passes[k]) for k in ("base", "y", "x", "both")] == [4, 2, 2, 1]


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (4, 5), (4, -1)])
def test_what_cannot_be_cut(size, stride):
    with pytest.raises(ValueError, match="give a size from 1"):
        tilers.tile(np.zeros((8, 8)), size, stride)


def test_windows_that_do_not_fit():
    windows = tilers.tile(np.zeros((8, 9)), 4)
    with pytest.raises(ValueError, match="6 windows of 4 x 4 px are given; 8 x 8 px make 2 x 2"):
        tilers.untile(windows, (8, 8), 4)
    with pytest.raises(ValueError, match="cannot be halved"):
        tilers.half_steps(np.zeros((8, 8)), 3)
