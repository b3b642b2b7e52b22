"""Blended windows: the pieces add up to the whole, whatever the size, the overlap and the place of an interruption."""

import threading
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.rasters import stitching
from geonb.rasters.stitching import blend_weights, offsets, predict_rows

sizes = st.integers(1, 90)
overlaps = st.sampled_from([0.0, 0.25, 0.5, 0.75])


@given(length=sizes, overlap=overlaps)
def test_windows_cover_every_pixel_and_stay_inside(length, overlap):
    starts = offsets(length, 16, overlap)
    covered = np.zeros(max(length, 16), bool)
    for start in starts:
        covered[start : start + 16] = True
    assert covered.all() and starts == sorted(set(starts)) and starts[-1] + 16 == max(length, 16)


@given(length=sizes, overlap=overlaps)
def test_weights_sum_to_one_at_every_pixel(length, overlap):
    starts = offsets(length, 16, overlap)
    total = np.zeros(max(length, 16))
    for start, weight in zip(starts, blend_weights(length, 16, starts), strict=True):
        total[start : start + 16] += weight
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_the_overlap_is_a_share_of_the_window():
    assert offsets(40, 16, 0.25) == [0, 12, 24] and offsets(40, 16, 0.75) == [0, 4, 8, 12, 16, 20, 24]
    assert offsets(39, 16, 0) == [0, 16, 23] and offsets(5, 16, 0.5) == [0]


def test_weights_fall_off_alike_on_both_sides():
    first, second = blend_weights(24, 16, [0, 8])
    np.testing.assert_allclose(first, second[::-1], rtol=1e-6)
    assert (first[:8] == 1).all() and (np.diff(first[8:]) < 0).all() and first[-1] < 0.02


def pixelwise(inputs):
    return inputs.sigmoid()


def scene(rows, columns, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(50, 20, (3, rows, columns)).astype(np.float32), random.random((rows, columns)) > 0.1


def run(values, valid, probabilities=pixelwise, start_row=0, overlap=0.5, batch=3, stop_row=None):
    options = {"mean": [50, 50, 50], "std": [20, 20, 20], "window": 16, "overlap": overlap, "batch": batch}
    out = np.full(values.shape, np.nan, np.float32)
    with np.errstate(all="ignore"):
        for row, band, known in predict_rows(
            probabilities,
            lambda a, b: (values[:, a:b], valid[a:b]),
            values.shape[1:],
            3,
            start_row=start_row,
            stop_row=stop_row,
            **options,
        ):
            assert np.isnan(out[:, row : row + band.shape[1]]).all(), "a row was given twice"
            out[:, row : row + band.shape[1]] = band
            np.testing.assert_array_equal(known, valid[row : row + band.shape[1]])
    return out


@settings(deadline=None, max_examples=30)
@given(rows=sizes, columns=sizes, overlap=overlaps)
def test_a_pixelwise_network_comes_out_as_without_windows(rows, columns, overlap):
    """If each pixel's answer depends on that pixel alone, blending must not change it: the oracle needs no windows."""
    values, valid = scene(rows, columns)
    expected = 1 / (1 + np.exp(-np.where(valid, (values - 50) / 20, 0)))
    np.testing.assert_allclose(run(values, valid, overlap=overlap), expected, atol=1e-5)


def test_an_interrupted_scene_goes_on_bit_for_bit():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 5, padding=2)
    values, valid = scene(70, 41)
    whole = run(values, valid, network)
    for start in (1, 8, 23, 54, 69):
        np.testing.assert_array_equal(run(values, valid, network, start_row=start)[:, start:], whole[:, start:])


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 70), cuts=st.lists(st.integers(0, 70), max_size=4), overlap=overlaps)
def test_bands_done_apart_are_those_of_one_pass_bit_for_bit(rows, cuts, overlap):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 5, padding=2)
    values, valid = scene(rows, 23)
    whole = run(values, valid, network, overlap=overlap)
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < rows}), rows]
    for start, stop in pairwise(edges):
        band = run(values, valid, network, start_row=start, stop_row=stop, overlap=overlap)
        np.testing.assert_array_equal(band[:, start:stop], whole[:, start:stop])
        assert np.isnan(band[:, :start]).all() and np.isnan(band[:, stop:]).all()


@settings(deadline=None, max_examples=20)
@given(columns=st.integers(1, 70), cuts=st.lists(st.integers(0, 70), max_size=3), overlap=overlaps)
def test_stripes_of_columns_are_those_of_the_whole(columns, cuts, overlap):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 5, padding=2)
    values, valid = scene(37, columns)
    whole = run(values, valid, network, overlap=overlap)
    options = {"mean": [50] * 3, "std": [20] * 3, "window": 16, "overlap": overlap, "batch": 3}
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < columns}), columns]

    def read(a, b, west, east):
        return values[:, a:b, west:east], valid[a:b, west:east]

    for start, stop in pairwise(edges):
        bands = list(predict_rows(network, read, (37, columns), 3, stripe=(start, stop), **options))
        found = np.concatenate([band for _, band, _ in bands], axis=1)
        np.testing.assert_allclose(found, whole[:, :, start:stop], atol=1e-5)
        np.testing.assert_array_equal(np.concatenate([known for *_, known in bands]), valid[:, start:stop])


def test_a_band_stays_what_it_was_when_the_next_is_made():
    values, valid = scene(70, 20)
    options = {"mean": [50] * 3, "std": [20] * 3, "window": 16, "overlap": 0.5, "batch": 3}
    bands = list(predict_rows(pixelwise, lambda a, b: (values[:, a:b], valid[a:b]), (70, 20), 3, **options))
    np.testing.assert_array_equal(np.concatenate([b for _, b, _ in bands], axis=1), run(values, valid))


def test_no_seams():
    """A network that answers wrongly at its window's rim (padding) must not show a grid in the blended scene."""
    flat = np.full((3, 64, 64), 50, np.float32)

    def rim_is_wrong(inputs):
        out = torch.full_like(inputs, 0.5)
        out[..., 0], out[..., -1], out[..., 0, :], out[..., -1, :] = 1, 1, 1, 1
        return out

    inner = run(flat, np.ones((64, 64), bool), rim_is_wrong)[:, 8:-8, 8:-8]
    assert np.abs(inner - 0.5).max() < 0.02


def test_invalid_pixels_reach_the_network_as_the_mean():
    values, valid = scene(20, 20)
    values[:, ~valid] = np.nan
    assert np.isfinite(run(values, valid)).all()
    assert run(values, valid)[:, ~valid] == pytest.approx(0.5)


def in_turn(probabilities, values, valid, window, overlap, batch, start_row):
    """What `predict_rows` gives, with nothing beside anything and window by window: an oracle to the last bit."""
    rows, columns = valid.shape
    tops, lefts = offsets(rows, window, overlap), offsets(columns, window, overlap)
    down, across = blend_weights(rows, window, tops), blend_weights(columns, window, lefts)
    total = torch.zeros(3, max(rows, window), max(columns, window))
    for i, top in enumerate(tops):
        if top + window <= start_row:
            continue
        for begin in range(0, len(lefts), batch):
            some = lefts[begin : begin + batch]
            inputs = torch.zeros(len(some), 3, window, window).to(memory_format=torch.channels_last)
            for k, left in enumerate(some):
                piece = torch.from_numpy(values[:, top : top + window, left : left + window])
                keep = torch.from_numpy(valid[top : top + window, left : left + window])
                standardised = ((piece - 50) * (1 / torch.tensor(20.0))).masked_fill(~keep, 0)
                inputs[k, :, : piece.shape[1], : piece.shape[2]] = standardised
            out = probabilities(inputs)
            for k in range(len(some)):
                weight = torch.from_numpy(down[i])[:, None] * torch.from_numpy(across[begin + k])
                left = some[k]
                total[:, top : top + window, left : left + window].addcmul_(out[k], weight)
    return total[:, start_row:rows, :columns].numpy()


@settings(deadline=None, max_examples=20)
@given(rows=sizes, columns=sizes, overlap=overlaps, late=st.integers(0, 2), data=st.data())
def test_work_beside_the_network_changes_no_bit(rows, columns, overlap, late, data):
    """`late` bands are behind, as on a GPU."""
    values, valid = scene(rows, columns)
    start_row, batch = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(1, 4))
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stitching, "_bands_behind", lambda device: late)
        got = run(values, valid, network, start_row, overlap, batch)
    np.testing.assert_array_equal(got[:, start_row:], in_turn(network, values, valid, 16, overlap, batch, start_row))


@pytest.mark.parametrize("where", ["read", "network", "caller"])
def test_what_fails_reaches_the_caller_and_leaves_no_thread(where):
    values, valid = scene(80, 40)
    asked, before = [], set(threading.enumerate())

    def read(start, stop):
        asked.append(start)
        if where == "read" and start > 20:
            raise OSError("unreadable")
        return values[:, start:stop], valid[start:stop]

    def network(inputs):
        if where == "network" and len(asked) > 2:
            raise OSError("out of memory")
        return inputs.sigmoid()

    bands = predict_rows(network, read, (80, 40), 3, mean=[50] * 3, std=[20] * 3, window=16, overlap=0.5, batch=3)
    with pytest.raises(OSError), closing(bands):
        for row, _, _ in bands:
            if where == "caller" and row > 20:
                raise OSError("disk full")
    assert set(threading.enumerate()) <= before and len(asked) < 9, "it read on"
