"""Losses against formulas written out by hand in numpy, or another library, with their gradients."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from segmentation_models_pytorch import losses as smp_losses
from torchvision.ops import sigmoid_focal_loss

from geonb.base.conventions import IGNORE
from geonb.workloads.segmentation.losses import LOSSES, build_loss, signed_distances

torch.set_num_threads(1)
CLASSES = [2, 3, 4]


def batch(classes, seed=3):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, classes, 5, 4)) * 2
    targets = random.integers(0, classes, (2, 5, 4))
    targets[0, :2] = IGNORE
    return logits, targets


def as_tensors(logits, targets):
    return torch.tensor(logits, requires_grad=True), torch.tensor(targets)


def value(spec, arrays):
    return build_loss(spec)(*as_tensors(*arrays)).item()


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def pairs(logits, targets):
    """(probability, truth) of each scored class, over the labelled pixels."""
    p, known, n = softmax(logits), targets != IGNORE, logits.shape[1]
    return [(p[:, k][known], (targets[known] == k).astype(float)) for k in ([1] if n == 2 else range(n))]


def bce_by_hand(arrays, weigh=lambda y: (1, 1)):
    def one(p, y):
        positive, negative = weigh(y)
        return -(positive * y * np.log(p) + negative * (1 - y) * np.log(1 - p)).mean()

    return np.mean([one(p, y) for p, y in pairs(*arrays)])


def tversky_by_hand(arrays, alpha, beta, power=1.0):
    def one(p, y):
        tp, fn, fp = (p * y).sum(), ((1 - p) * y).sum(), (p * (1 - y)).sum()
        return (1 - tp / (tp + alpha * fn + beta * fp)) ** power

    return np.mean([one(p, y) for p, y in pairs(*arrays)])


def jaccard_of_sets(wrong, y):
    """1 - intersection over union when exactly the pixels `wrong` are wrong."""
    predicted = np.where(wrong, 1 - y, y)
    union = np.maximum(predicted, y).sum()
    return 1 - (predicted * y).sum() / union if union else 0.0


def lovasz_by_hand(errors, y):
    """Lovász extension as the integral over all thresholds of the set function (Berman et al. 2018, eq. 8)."""
    steps = np.unique(np.concatenate([[0.0], errors[errors > 0]]))
    return sum((high - low) * jaccard_of_sets(errors > low, y) for low, high in itertools.pairwise(steps))


@pytest.mark.parametrize("classes", CLASSES)
def test_cross_entropy_is_the_mean_over_labelled_pixels(classes):
    logits, targets = batch(classes)
    known = targets != IGNORE
    picked = np.take_along_axis(softmax(logits), np.where(known, targets, 0)[:, None], axis=1)[:, 0][known]
    assert value("cross-entropy", (logits, targets)) == pytest.approx(-np.log(picked).mean())
    weights = np.array([1, 2, 4, 3])[:classes]
    weigh = weights[targets[known]]
    spec = "cross-entropy:class_weights=" + "-".join(map(str, weights))
    assert value(spec, (logits, targets)) == pytest.approx(-(weigh * np.log(picked)).sum() / weigh.sum())


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(
    ("spec", "weigh"),
    [
        ("bce", lambda y: (1, 1)),
        ("weighted-bce:pos_weight=3", lambda y: (3, 1)),
        ("adaptive-bce", lambda y: ((1 - y).sum() / y.sum(), 1)),
        ("balanced-bce", lambda y: ((1 - y).mean(), y.mean())),
    ],
)
def test_binary_cross_entropies(spec, weigh, classes):
    assert value(spec, batch(classes)) == pytest.approx(bce_by_hand(batch(classes), weigh))


def test_two_classes_are_the_sigmoid_of_the_difference():
    logits, targets = as_tensors(*batch(2))
    known = targets != IGNORE
    difference = (logits[:, 1] - logits[:, 0])[known]
    plain = torch.nn.functional.binary_cross_entropy_with_logits(difference, targets[known].double())
    assert build_loss("bce")(logits, targets).item() == pytest.approx(plain.item())


def test_the_logit_against_the_rest_keeps_its_digits_where_a_probability_rounds_to_one():
    logits = torch.tensor([50.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    # Truth is class 1. Its logit against the rest is -50, that of class 0 is 50 - log 2, and class 2 is right.
    loss = build_loss("bce")(logits, torch.tensor([[[1]]])).item()
    assert loss == pytest.approx((50 + 50 - np.log(2) + 0) / 3)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(
    ("spec", "alpha", "beta", "power"),
    [
        ("tversky", 0.7, 0.3, 1),
        ("tversky:alpha=.2,beta=.6", 0.2, 0.6, 1),
        ("dice", 0.5, 0.5, 1),
        ("jaccard", 1, 1, 1),
        ("focal-tversky", 0.7, 0.3, 3 / 4),
        ("focal-tversky:gamma=2", 0.7, 0.3, 1 / 2),
    ],
)
def test_overlaps(spec, alpha, beta, power, classes):
    assert value(spec, batch(classes)) == pytest.approx(tversky_by_hand(batch(classes), alpha, beta, power), rel=1e-5)


def test_smooth_stands_above_and_below():
    logits, targets = batch(2)
    p, y = pairs(logits, targets)[0]
    tp, fn, fp = (p * y).sum(), ((1 - p) * y).sum(), (p * (1 - y)).sum()
    expected = 1 - (tp + 5) / (tp + 0.7 * fn + 0.3 * fp + 5)
    assert value("tversky:smooth=5", (logits, targets)) == pytest.approx(expected)


@pytest.mark.parametrize("absent", [False, True])
def test_overlaps_agree_with_the_library_also_where_a_class_is_absent(absent):
    logits, targets = batch(4)
    if absent:
        targets[targets == 2] = 1
    theirs = {
        "dice": smp_losses.DiceLoss("multiclass", ignore_index=IGNORE),
        "jaccard": smp_losses.JaccardLoss("multiclass", ignore_index=IGNORE),
        "tversky": smp_losses.TverskyLoss("multiclass", ignore_index=IGNORE, alpha=0.3, beta=0.7),
    }
    for name, loss in theirs.items():
        expected = loss(*as_tensors(logits, targets)).item()
        assert value(name, (logits, targets)) == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(("gamma", "alpha"), [(2, None), (0.5, None), (2, 0.25)])
def test_focal(classes, gamma, alpha):
    arrays = batch(classes)
    expected = np.mean([
        sigmoid_focal_loss(torch.tensor(np.log(p / (1 - p))), torch.tensor(y), -1 if alpha is None else alpha, gamma)
        .mean()
        .item()
        for p, y in pairs(*arrays)
    ])  # fmt: skip
    spec = f"focal:gamma={gamma}" + (f",alpha={alpha}" if alpha else "")
    assert value(spec, arrays) == pytest.approx(expected)


def test_focal_without_gamma_is_bce():
    assert value("focal:gamma=0.1", batch(3)) == pytest.approx(value("bce", batch(3)), rel=0.3)
    assert value("focal", batch(3)) < value("bce", batch(3))


@pytest.mark.parametrize("classes", CLASSES)
def test_lovasz_is_the_integral_over_thresholds(classes):
    logits, targets = batch(classes)
    if classes == 2:
        known = targets != IGNORE
        y = targets[known].astype(float)
        errors = np.maximum(0, 1 - (logits[:, 1] - logits[:, 0])[known] * (2 * y - 1))
        expected = lovasz_by_hand(errors, y)
    else:
        expected = np.mean([lovasz_by_hand(np.abs(y - p), y) for p, y in pairs(logits, targets)])
    assert value("lovasz", (logits, targets)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_lovasz_agrees_with_the_library_also_where_a_class_is_absent(label):
    logits, targets = as_tensors(*batch(4))
    logits, targets = logits.float(), torch.where(targets == 2, label, targets)
    theirs = smp_losses.LovaszLoss("multiclass", ignore_index=IGNORE)(logits, targets)
    assert build_loss("lovasz")(logits, targets).item() == pytest.approx(theirs.item(), rel=1e-5)
    logits = logits[:, :2]
    targets = torch.where(targets == IGNORE, IGNORE, label)
    theirs = smp_losses.LovaszLoss("binary", ignore_index=IGNORE)(logits[:, 1] - logits[:, 0], targets)
    assert build_loss("lovasz")(logits, targets).item() == pytest.approx(theirs.item(), rel=1e-5)


def distances_by_hand(target, c):
    """All pairs of pixels, no distance transform."""
    places = np.argwhere(np.ones_like(target)).astype(float)
    flat = target.ravel()
    within, outside = flat == c, (flat != c) & (flat != IGNORE)
    result = np.zeros(flat.size)
    if within.any() and outside.any():
        apart = cdist(places, places)
        result[outside] = apart[outside][:, within].min(axis=1)
        result[within] = 1 - apart[within][:, outside].min(axis=1)
    return result.reshape(target.shape)


def test_signed_distances_of_a_bar():
    target = np.array([[[0, 0, 1, 1, 1, 0, IGNORE]]])
    assert signed_distances(target, [1]).tolist() == [[[[2, 1, 0, -1, 0, 1, 0]]]]


def test_the_edge_of_what_is_ignored_is_no_boundary():
    target = np.array([[[IGNORE, 1, 1, 1, 0]]])
    assert signed_distances(target, [1]).tolist() == [[[[0, -2, -1, 0, 1]]]]


@pytest.mark.parametrize("classes", CLASSES)
def test_boundary(classes):
    logits, targets = batch(classes)
    known, p = targets != IGNORE, softmax(logits)
    scored = [1] if classes == 2 else range(classes)
    maps = np.array([[distances_by_hand(t, c) for c in scored] for t in targets])
    expected = (p[:, list(scored)] * maps)[np.repeat(known[:, None], len(scored), 1)].sum() / known.sum() / len(scored)
    assert value("boundary:start=1", (logits, targets)) == pytest.approx(expected, rel=1e-5)


def test_the_weight_of_the_boundary_follows_the_progress_through_a_sum():
    arrays = as_tensors(*batch(2))
    loss = build_loss("bce+boundary:start=0.1,end=0.5,weight=2")
    plain, boundary = build_loss("bce")(*arrays).item(), build_loss("boundary:start=1")(*arrays).item()
    for fraction, scale in [(0, 0.1), (0.5, 0.3), (1, 0.5)]:
        loss.set_progress(fraction)
        assert loss(*arrays).item() == pytest.approx(plain + 2 * scale * boundary)


def test_a_sum_adds_up_with_its_weights():
    parts = value("cross-entropy", batch(3)) + 0.25 * value("dice", batch(3))
    assert value("cross-entropy+dice:weight=0.25", batch(3)) == pytest.approx(parts)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", [*sorted(LOSSES), "bce+dice", "cross-entropy:label_smoothing=0.1"])
def test_gradient(name, classes):
    loss, (logits, targets) = build_loss(name), as_tensors(*batch(classes))
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (logits,))
    loss(logits, targets).backward()
    assert logits.grad.abs().sum() > 0
    assert torch.all(logits.grad.movedim(1, -1)[targets == IGNORE] == 0)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("label", [IGNORE, 0, 1])
@pytest.mark.parametrize("size", [1, 100])
def test_a_batch_of_one_label_or_none_is_finite(name, classes, label, size):
    logits = (size * torch.randn(2, classes, 4, 4, generator=torch.manual_seed(0))).requires_grad_()
    loss = build_loss(name)(logits, torch.full((2, 4, 4), label))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    if label == IGNORE:
        assert loss == 0 and torch.all(logits.grad == 0)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("confidence", [1e4, -1e4])
def test_a_perfect_and_an_utterly_wrong_map_have_finite_gradients(name, classes, confidence):
    targets = torch.tensor(batch(classes)[1])
    truth = torch.nn.functional.one_hot(torch.where(targets == IGNORE, 0, targets), classes).movedim(-1, 1).float()
    logits = (confidence * truth).requires_grad_()
    loss = build_loss(name)(logits, targets)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_better_map_costs_less(name, classes):
    targets = torch.tensor(batch(classes)[1])
    truth = torch.nn.functional.one_hot(torch.where(targets == IGNORE, 0, targets), classes).movedim(-1, 1).float()
    costs = [build_loss(name)(truth * confidence, targets).item() for confidence in (-4, -1, 0, 1, 4)]
    if (name, classes) == ("lovasz", 2):  # A hinge: nothing more to gain beyond a margin of 1.
        assert costs[3] == costs.pop() == 0
    assert all(worse > better for worse, better in itertools.pairwise(costs))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_half_precision_is_summed_in_single(name):
    logits, targets = as_tensors(*batch(3))
    half = logits.detach().bfloat16()
    assert build_loss(name)(half, targets.to(torch.uint8)).item() == pytest.approx(
        build_loss(name)(half.float(), targets).item()
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("cros-entropy", "Did you mean 'cross-entropy'"),
        ("tversky:alfa=.7", "tversky has no 'alfa'; it takes alpha, beta, smooth"),
        ("tversky:alpha=much", "alpha = 'much' must be a number from 0 to 1"),
        ("tversky:alpha=0,beta=0", "both 0"),
        ("weighted-bce:pos_weight=-1", "pos_weight = -1 must be a number from 1e-06 to 1000000"),
        ("dice:weight=true", "weight = True must be a number from 1e-06 to 1000000"),
        ("focal:gamma=nan", "must be a number from 0.1 to 10"),
        ("cross-entropy:class_weights=3", "class_weights=1-2-4"),
        ("cross-entropy:class_weights=1-2", "2 weights for 3 classes"),
        ("bce+", "empty"),
        ("dise+tversky:alfa=1", r"(?s)Did you mean 'dice'.*tversky has no 'alfa'"),
    ],
)
def test_a_misspelt_loss_names_what_is_known(spec, told):
    with pytest.raises(ValueError, match=told):
        build_loss(spec, classes=3)
