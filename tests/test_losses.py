"""Losses against formulas written out by hand, with their gradients."""

import numpy as np
import pytest
import torch

from geonb.losses import IGNORE, build_loss


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.fixture
def arrays():
    random = np.random.default_rng(3)
    logits = random.normal(size=(2, 3, 5, 4))
    targets = random.integers(0, 3, (2, 5, 4))
    targets[0, :2] = IGNORE
    return logits, targets


def tversky_by_hand(logits, targets, alpha, beta):
    p, scores = softmax(logits), []
    known = targets != IGNORE
    for k in range(3):
        prob, true = p[:, k][known], (targets[known] == k).astype(float)
        tp, fn, fp = (prob * true).sum(), ((1 - prob) * true).sum(), (prob * (1 - true)).sum()
        scores.append(tp / (tp + alpha * fn + beta * fp))
    return 1 - np.mean(scores)


def as_tensors(arrays):
    return torch.tensor(arrays[0], requires_grad=True), torch.tensor(arrays[1])


def test_cross_entropy_is_the_mean_over_labelled_pixels(arrays):
    logits, targets = arrays
    known = targets != IGNORE
    picked = np.take_along_axis(softmax(logits), np.where(known, targets, 0)[:, None], axis=1)[:, 0][known]
    assert build_loss("cross-entropy")(*as_tensors(arrays)).item() == pytest.approx(-np.log(picked).mean())


def test_alpha_weighs_what_was_missed(arrays):
    expected = tversky_by_hand(*arrays, alpha=0.7, beta=0.3)
    assert build_loss("tversky:alpha=.7,beta=.3")(*as_tensors(arrays)).item() == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(tversky_by_hand(*arrays, alpha=0.3, beta=0.7), rel=1e-3)


def test_dice_is_tversky_with_halves(arrays):
    expected = tversky_by_hand(*arrays, alpha=0.5, beta=0.5)
    assert build_loss("dice")(*as_tensors(arrays)).item() == pytest.approx(expected, rel=1e-5)


def test_a_sum_adds_up(arrays):
    parts = sum(build_loss(name)(*as_tensors(arrays)).item() for name in ("cross-entropy", "dice"))
    assert build_loss("cross-entropy+dice")(*as_tensors(arrays)).item() == pytest.approx(parts)


@pytest.mark.parametrize("spec", ["cross-entropy", "dice", "tversky", "cross-entropy+dice"])
def test_gradient(spec, arrays):
    loss, (logits, targets) = build_loss(spec), as_tensors(arrays)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (logits,))


@pytest.mark.parametrize("spec", ["cross-entropy", "dice", "tversky"])
def test_a_batch_without_labels_has_no_gradient_and_no_nan(spec):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = build_loss(spec)(logits, torch.full((1, 4, 4), IGNORE))
    loss.backward()
    assert torch.isfinite(loss) and torch.all(logits.grad == 0)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("cros-entropy", "Did you mean 'cross-entropy'"),
        ("tversky:alfa=.7", "takes: alpha, beta, smooth"),
        ("tversky:alpha=much", "are numbers"),
    ],
)
def test_a_misspelt_loss_names_what_is_known(spec, told):
    with pytest.raises(ValueError, match=told):
        build_loss(spec)
