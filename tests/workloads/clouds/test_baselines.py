"""Baselines of triplets: by hand and against scikit-learn, from training anchors alone, in memory that does not grow."""

from __future__ import annotations

import made_triplets as made
import numpy as np
import pytest
from sklearn.decomposition import PCA

from geonb.workloads.clouds import baselines


@pytest.fixture
def tiles():
    """300 tiles of two channels whose brightness, contrast and pattern differ."""
    random = np.random.default_rng(0)
    level, contrast = random.normal(size=(300, 2, 1, 1)), random.gamma(2, 0.5, (300, 1, 1, 1))
    wave = np.sin(np.arange(12) * random.uniform(0.3, 2, (300, 1, 1, 1)))
    return (level + contrast * (wave + random.normal(0, 0.1, (300, 2, 12, 12)))).astype("float32")


def test_mean_and_spread_by_hand():
    """Two tiles of one channel: means 1 and 5 (spread 2), standard deviations 1 and 0 (spread 0.5)."""
    tiles = np.array([[[[0, 2], [0, 2]]], [[[5, 5], [5, 5]]]], "float32")
    embed = baselines.mean_and_spread(made.Anchors(tiles))
    np.testing.assert_allclose(embed(tiles), [[0.5, 2], [2.5, 0]])
    assert embed.name == "mean-and-spread" and embed(tiles).dtype == np.float32


def test_a_number_that_never_changes_does_not_divide_by_nought():
    tiles = np.zeros((5, 1, 4, 4), "float32")
    assert (baselines.mean_and_spread(made.Anchors(tiles))(tiles + 1)[:, 0] == 1).all()


def test_principal_components_are_those_of_scikit_learn(tiles):
    embed = baselines.pixel_pca(made.Anchors(tiles), components=20)
    flat = tiles.reshape(300, -1).astype(float)
    expected = PCA(20, svd_solver="full").fit(flat)
    new = tiles[:50] * 0.7 + 0.1
    found, wanted = embed(new), expected.transform(new.reshape(50, -1))
    np.testing.assert_allclose(np.abs(found[:, :5]), np.abs(wanted[:, :5]), atol=2e-3)
    np.testing.assert_allclose((found**2).sum(1), (wanted**2).sum(1), rtol=1e-2)
    assert embed.name == "pixel-pca" and found.dtype == np.float32 and found.shape == (50, 20)


def test_large_tiles_are_learnt_from_piece_by_piece(tiles, monkeypatch):
    monkeypatch.setattr(baselines, "BATCH", 7)
    whole = baselines.pixel_pca(made.Anchors(tiles), components=20)(tiles)
    monkeypatch.setattr(baselines, "MOST_VALUES", 0)
    pieces = baselines.pixel_pca(made.Anchors(tiles), components=20)(tiles)
    distance = [((v[:150] - v[150:]) ** 2).sum(1) for v in (whole, pieces)]
    assert np.corrcoef(*distance)[0, 1] > 0.999


@pytest.mark.parametrize("sizes", [[250], [250, 250, 3], [5, 5, 5], [100, 1], []])
def test_pieces_hold_every_row_once_and_are_large_enough(sizes):
    rows = iter(np.split(np.arange(sum(sizes))[:, None], np.cumsum(sizes)[:-1])) if sizes else iter([])
    pieces = list(baselines._pieces(rows, 100))
    assert [r for piece in pieces for r in piece[:, 0]] == list(range(sum(sizes)))
    assert all(len(piece) >= min(100, sum(sizes)) for piece in pieces)


@pytest.mark.parametrize("make", [baselines.mean_and_spread, baselines.pixel_pca])
def test_only_training_anchors_are_asked_for_and_one_seed_gives_one_answer(tiles, make, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_TILES", 120)
    store = made.Anchors(tiles)
    first, again, other = (make(store, seed)(tiles) for seed in (0, 0, 1))
    assert set(store.asked) == {"train"}
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other), "another draw of tiles"


def test_fewer_tiles_than_components_and_none(tiles):
    assert baselines.pixel_pca(made.Anchors(tiles[:5]))(tiles).shape == (300, 4)
    with pytest.raises(ValueError, match="too few for principal components"):
        baselines.pixel_pca(made.Anchors(tiles[:1]))
    for make in (baselines.mean_and_spread, baselines.pixel_pca):
        with pytest.raises(ValueError, match="no training triplet"):
            make(made.Anchors(tiles[:0]))
    with pytest.raises(ValueError, match=r"\(2, 6, 6\).*\(2, 12, 12\)"):
        baselines.pixel_pca(made.Anchors(tiles))(tiles[:, :, :6, :6])
