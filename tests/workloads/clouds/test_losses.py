"""Losses of embeddings: the formulas by loops, and which tiles an anchor is never compared with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.workloads.clouds.losses import LOSSES, InfoNCE, TripletLoss, build_loss


def drawn(n, seed, takes=2, series=2):
    random = np.random.default_rng(seed)
    places = np.column_stack([random.integers(0, m, 3 * n) for m in (takes, series)] + [random.random((3 * n, 2)) * 8])
    return torch.from_numpy(random.normal(size=(3 * n, 5))), torch.from_numpy(places)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 9), seed=st.integers(0, 999), apart=st.floats(0, 6))
def test_infonce_is_the_cross_entropy_over_the_tiles_that_count(n, seed, apart):
    vectors, places = drawn(n, seed)
    v, p = vectors.numpy() / np.linalg.norm(vectors.numpy(), axis=1, keepdims=True), places.numpy()
    total = 0.0
    for i in range(n):
        seen = []
        for j in range(n, 3 * n):
            alike_clouds = p[i, 0] == p[j, 0] and (p[i, 1] != p[j, 1] or np.hypot(*(p[i, 2:] - p[j, 2:])) < apart)
            if j in (n + i, 2 * n + i) or not alike_clouds:
                seen.append(np.exp(v[i] @ v[j] / 0.3))
        total -= np.log(np.exp(v[i] @ v[n + i] / 0.3) / sum(seen))
    assert float(InfoNCE(0.3, apart)(vectors, places)) == pytest.approx(total / n, rel=1e-6)


def test_the_triplet_loss_by_hand():
    """Squared distances 1 and 4 to the neighbours, 4 and 9 to the distant tiles: (1 - 4 + 6 + 4 - 9 + 6) / 2."""
    vectors = torch.tensor([[0.0, 0], [0, 0], [1, 0], [0, 2], [0, 2], [3, 0]])
    assert TripletLoss(6.0)(vectors).item() == 2 and TripletLoss(5.0)(vectors).item() == 1
    assert TripletLoss(4.5)(vectors).item() == 0.75, "the second lies far enough apart"


def test_infonce_compares_in_float32_also_under_autocast():
    vectors, places = torch.randn(30, 8, generator=torch.Generator().manual_seed(3)), torch.zeros(30, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = float(InfoNCE(0.01, 0)(vectors, places))
    assert within == float(InfoNCE(0.01, 0)(vectors, places))


def test_infonce_does_not_know_how_long_vectors_are():
    vectors, places = drawn(6, 0)
    assert float(InfoNCE()(vectors * 70, places)) == pytest.approx(float(InfoNCE()(vectors, places)))


def test_tiles_of_other_hours_always_count_and_of_another_series_of_the_same_hours_never():
    places = torch.tensor([[0.0, 0, 1, 1], [5, 0, 1, 1], [0, 0, 2, 1], [5, 0, 1, 2], [0, 0, 9, 9], [5, 1, 9, 9]])
    assert InfoNCE(apart=3).left_out(places).tolist() == [[False] * 4, [False] * 4]
    places[1, 0] = places[3, 0] = places[5, 0] = 0  # now all of one take
    left_out = InfoNCE(apart=3).left_out(places)
    assert left_out.tolist() == [[False, True, False, True], [True, False, False, False]]
    assert not InfoNCE(apart=0).left_out(places)[:, :3].any()


@pytest.mark.parametrize("spec", sorted(LOSSES))
def test_a_perfect_embedding_has_nearly_no_loss_and_a_wrong_one_much(spec):
    right = torch.eye(8).double()[[0, 1, 0, 1, 2, 3]] * 10
    wrong = torch.eye(8).double()[[0, 1, 2, 3, 0, 1]] * 10
    places = drawn(2, 0, takes=6)[1]
    assert float(build_loss(spec)(right, places)) < 0.05 < 1 < float(build_loss(spec)(wrong, places))


def test_specifications():
    assert build_loss("triplet") == TripletLoss(1.0) and build_loss("triplet:margin=2") == TripletLoss(2.0)
    assert build_loss("infonce:apart=0") == InfoNCE(0.1, 0.0)
    for spec, said in {
        "contrastive": "Unknown loss 'contrastive'. Known: infonce, triplet",
        "triplet:margin=0": "margin = 0 must be a number from 1e-06 to 1000000",
        "infonce:margin=1,temperature=true": "infonce has no 'margin'; it takes temperature, apart",
        "infonce:temperature=0": "temperature = 0 must be", "infonce:apart=-1": "apart = -1 must be",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=said):
            build_loss(spec)
