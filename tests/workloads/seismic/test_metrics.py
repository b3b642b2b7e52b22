"""What two heads say together, beside scikit-learn; losses that do not ask of noise what it is; networks of every kind."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, roc_auc_score

from geonb.workloads.seismic import losses, metrics, networks


def made(n=400, seed=0):
    """Probabilities and answers: a third noise, of which nobody asks what it is, and some events of unknown kind."""
    random = np.random.default_rng(seed)
    event = (random.random(n) < 0.66).astype(float)
    explosion = np.where(event > 0, (random.random(n) < 0.3).astype(float), np.nan)
    explosion[event > 0] = np.where(random.random(int(event.sum())) < 0.05, np.nan, explosion[event > 0])
    targets = np.stack([event, explosion], -1)
    told = np.clip(np.nan_to_num(targets, nan=0.5) * 0.4 + 0.3 + random.normal(0, 0.25, (n, 2)), 0.001, 0.999)
    return told, targets


def test_metrics_are_scikit_learn_s():
    told, targets = made()
    blocks = np.arange(len(told)) // 10
    sums = metrics.block_table(told, targets, blocks, blocks.max() + 1).sum(0)
    found = metrics.metrics_of(sums)
    truth, likeliest = metrics.truth_of(targets), metrics.joint(told).argmax(-1)
    known = truth >= 0
    assert (found["confusion"] == confusion_matrix(truth[known], likeliest[known], labels=[0, 1, 2])).all()
    score = dict(zip(metrics.METRICS, found["score"], strict=True))
    assert score["macro_f1"] == pytest.approx(f1_score(truth[known], likeliest[known], average="macro"))
    assert score["detector_f1"] == pytest.approx(f1_score(targets[:, 0] > 0.5, told[:, 0] >= 0.5), abs=0.01)  # levels
    assert score["detector_ap"] == pytest.approx(average_precision_score(targets[:, 0], told[:, 0]), abs=0.01)
    asked = np.isfinite(targets[:, 1])
    assert score["classifier_auroc"] == pytest.approx(roc_auc_score(targets[asked, 1], told[asked, 1]), abs=0.01)


def test_a_model_that_says_little_is_ranked_by_what_it_says():
    """Its probabilities all lie close to one half, as those of a logistic regression of a weak feature do."""
    told, targets = made(120)
    told = 0.5 + 0.02 * (told - 0.5)
    score = metrics.metrics_of(metrics.block_table(told, targets, np.zeros(120, int), 1).sum(0))["score"]
    found = dict(zip(metrics.METRICS, score, strict=True))
    assert found["detector_ap"] == pytest.approx(average_precision_score(targets[:, 0], told[:, 0]), abs=0.002)
    asked = np.isfinite(targets[:, 1])
    assert found["classifier_auroc"] == pytest.approx(roc_auc_score(targets[asked, 1], told[asked, 1]), abs=0.002)
    assert found["detector_f1"] == pytest.approx(f1_score(targets[:, 0] > 0.5, told[:, 0] >= 0.5), abs=1e-12)


def test_joint_probabilities_are_shares_of_one():
    told, _ = made(50)
    np.testing.assert_allclose(metrics.joint(told).sum(-1), 1)
    assert metrics.joint(np.array([0.2, 0.9])).argmax() == 0 and metrics.joint(np.array([0.9, 0.9])).argmax() == 2


def test_of_noise_nobody_asks_what_it_is():
    loss = losses.build_loss("bce:weights=none", [0.5, 0.5])
    targets = torch.tensor([[0.0, torch.nan], [1.0, 1.0], [1.0, 0.0], [1.0, torch.nan]])
    logits = torch.zeros(4, 2, requires_grad=True)
    value = loss(logits, targets)
    value.backward()
    assert float(value) == pytest.approx(2 * np.log(2), rel=1e-6)
    assert (logits.grad[[0, 3], 1] == 0).all() and (logits.grad[[1, 2], 1] != 0).all()
    none = loss(torch.zeros(2, 2), torch.tensor([[0.0, torch.nan], [0.0, torch.nan]]))
    assert torch.isfinite(none)


def test_balanced_weights_make_both_answers_count_alike():
    loss = losses.build_loss("bce", [0.8, 0.1])
    yes, no = loss.balance[1], loss.balance[0]
    share = torch.tensor([0.8, 0.1])
    torch.testing.assert_close(share * yes, (1 - share) * no)


@pytest.mark.parametrize(
    "spec",
    ["resnet1d:width=8,blocks=1-1", "cnn_dense", "alexnet1d:dense=64", "spectrogram:seconds=2,backbone=resnet10t"],
)
def test_networks_tell_two_numbers_and_a_vector(spec):
    torch.manual_seed(0)
    network = networks.build_network(spec, 3, 1600, 40.0).eval()
    inputs = torch.randn(2, 3, 1600)
    with torch.inference_mode():
        assert network(inputs).shape == (2, 2) and network.body(inputs).ndim == 2
        torch.testing.assert_close(network.heads(network.body(inputs)), network(inputs))
    with pytest.raises(ValueError, match=r"needs windows of \d+ samples at least"):
        networks.build_network(spec, 3, 8, 40.0)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resnet", "resnet1d"),
        ("resnet1d:kernel=4", "kernels must be odd"),
        ("alexnet1d:filters=1-2", "5 whole numbers"),
    ],
)
def test_networks_that_are_none_are_refused(spec, said):
    with pytest.raises(ValueError, match=said):
        networks.check_network(spec)
