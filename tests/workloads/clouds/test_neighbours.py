"""Which of a tile's likes are near: by hand, against a loop, and nothing that overlaps is counted."""

import made_triplets as made
import numpy as np
import pytest
import xarray as xr

from geonb.workloads.clouds import neighbours


def tree(values, times=None, valid=None, **attrs):
    """Predictions with one series; values (time, y, x, dim)."""
    shape = values.shape[:3]
    times = (
        np.datetime64("2020-04-01", "ns") + np.arange(shape[0]) * np.timedelta64(600, "s") if times is None else times
    )
    data = xr.Dataset(
        {
            "embedding": (("time", "y", "x", "dim"), values.astype("float32")),
            "valid": (("time", "y", "x"), np.ones(shape, bool) if valid is None else valid),
        },
        {"time": times, "y": -np.arange(shape[1]), "x": np.arange(shape[2])},
    )
    out = xr.DataTree.from_dict({"/a": data, "/triplets": xr.Dataset()})
    out.attrs = {"patch": 32, "step": 16} | attrs
    return out


def by_loop(values, seconds, side):
    """Shares of likes and of all tiles that are near in space and time, tile by tile."""
    t, y, x = (v.ravel() for v in np.indices(values.shape[:3]))
    flat, soon, rows = values.reshape(len(t), -1), neighbours.NEAR_SHARE * np.ptp(seconds), []
    for i in range(len(t)):
        other = np.flatnonzero(np.maximum(abs(y - y[i]), abs(x - x[i])) >= side)
        far = ((flat[other] - flat[i]) ** 2).sum(1)
        likes = other[np.argsort(far, kind="stable")[: neighbours.NEAREST]]
        apart = np.hypot(y - y[i], x - x[i]), np.abs(seconds[t] - seconds[t[i]])
        near = np.stack([apart[0] <= 3 * side, apart[1] <= soon])
        rows.append([near[:, likes].mean(1), near[:, other].mean(1)])
    return np.mean(rows, axis=0)


def test_it_is_the_share_by_a_loop():
    values = np.random.default_rng(0).normal(size=(4, 9, 8, 3)).astype("float32")
    values[..., 0] += np.arange(9)[:, None]
    found = neighbours.neighbours_alike(tree(values))
    expected = by_loop(values.astype(float), np.arange(4) * 600.0, 2)
    np.testing.assert_allclose(found["neighbour_share"][1][0], expected[0], atol=1e-3)
    np.testing.assert_allclose(found["neighbour_chance"][1][0], expected[1])
    assert found["series"][1] == ["a"] and expected[0, 0] > expected[1, 0] + 0.1


def test_what_knows_the_place_finds_near_ones_and_noise_finds_chance():
    places = np.stack(np.meshgrid(np.arange(20), np.arange(20), indexing="ij"), -1)[None] * np.ones((3, 1, 1, 1))
    noise = np.random.default_rng(1).normal(size=(3, 20, 20, 2))
    knows, guesses = (neighbours.neighbours_alike(tree(v)) for v in (places, noise))
    assert knows["neighbour_share"][1][0, 0] == 1
    assert guesses["neighbour_share"][1][0] == pytest.approx(guesses["neighbour_chance"][1][0], abs=0.02)


def test_the_same_place_at_other_times_is_never_counted():
    """Each place has a vector of its own at all times; only others may be found, of which none is near in these distances."""
    values = np.zeros((5, 1, 24, 1))
    values[..., 0] = np.array([7 * i % 24 for i in range(24)])  # what is alike lies far apart
    found = neighbours.neighbours_alike(tree(values, patch=16, step=16))
    assert found["neighbour_share"][1][0, 0] < 0.5


def test_invalid_tiles_and_unknown_times_are_left_out():
    values = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype("float32")
    valid = np.ones((3, 6, 6), bool)
    valid[:, :3] = False
    broken = np.where(valid[..., None], values, np.nan)
    found = neighbours.neighbours_alike(tree(broken, valid=valid))
    expected = by_loop(values[:, 3:].astype(float), np.arange(3) * 600.0, 2)
    np.testing.assert_allclose(found["neighbour_share"][1][0], expected[0], atol=1e-3)
    undated = neighbours.neighbours_alike(tree(values, times=np.full(3, "NaT", "datetime64[ns]")))
    assert np.isnan(undated["neighbour_share"][1][0, 1]) and undated["neighbour_share"][1][0, 0] > 0


def test_long_series_are_thinned_and_those_without_a_grid_are_left_out(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_TILES", 400)
    read = []
    real = neighbours._tiles
    monkeypatch.setattr(neighbours, "_tiles", lambda data, seed: read.append(real(data, seed)) or read[-1])
    values = np.random.default_rng(0).normal(size=(40, 10, 8, 2))
    assert neighbours.neighbours_alike(tree(values))["neighbour_share"][1].shape == (1, 2)
    values, places = read[0]
    assert len(values) == 400 and set(places[:, 0] - places[0, 0]) == {
        0,
        6000,
        12000,
        17400,
        23400,
    }  # evenly spread scenes
    assert neighbours.neighbours_alike(tree(np.zeros((1, 2, 2, 1)))) == {}, "fewer tiles than likes"
    assert neighbours.neighbours_alike(tree(np.zeros((1, 9, 9, 1)), step=None)) == {}
    assert set(neighbours.neighbours_alike(made.made_predictions())["series"][1]) == {"west", "east"}
