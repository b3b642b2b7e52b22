"""Losses of forecasts against scikit-learn, torchvision, and loops in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.workloads.conflict.losses import LOSSES, RULES, build_loss, pixel_weights

SHAPE = (3, 2, 2, 8, 9)  # sample, lead, outcome, y, x


def made(seed=0, dtype=torch.float64, shape=SHAPE, rate=0.3, each=2):
    """Outputs (`each` of an outcome: its event logit, then log1p deaths or logits of classes), targets, deaths, valid."""
    random = torch.Generator().manual_seed(seed)
    samples, leads, outcomes, height, width = shape
    outputs = torch.randn(samples, leads, each * outcomes, height, width, generator=random, dtype=dtype)
    targets = (torch.rand(shape, generator=random) < rate).to(dtype)
    deaths = (torch.rand(shape, generator=random, dtype=dtype) * 50).round() * targets
    valid = torch.rand(samples, height, width, generator=random) < 0.7
    return outputs, targets, deaths, valid


def each_of(spec):
    """Outputs of an outcome that a loss takes; two where it takes any."""
    return 1 + max(1, build_loss(spec).more)


def s(z):
    return 1 / (1 + np.exp(-z))


def cells(outputs, targets, deaths, valid):
    """Logit, log1p deaths, target, deaths, place of every valid cell, one by one."""
    outputs, targets, deaths, valid = (v.numpy() for v in (outputs, targets, deaths, valid))
    n = targets.shape[2]
    for a, b, k, y, x in np.ndindex(targets.shape):
        if valid[a, y, x]:
            yield (outputs[a, b, k, y, x], outputs[a, b, n + k, y, x], targets[a, b, k, y, x], deaths[a, b, k, y, x],
                   (a, b, k, y, x))  # fmt: skip


def loss(spec, given, outcomes=2):
    return float(build_loss(spec, outcomes)(*given))


def test_bce_is_log_loss():
    sklearn = pytest.importorskip("sklearn.metrics")
    given = made()
    rows = list(cells(*given))
    truth, p = [row[2] for row in rows], [s(row[0]) for row in rows]
    assert loss("bce", given) == pytest.approx(sklearn.log_loss(truth, p), abs=1e-12)
    weights = [7.5 if t else 1 for t in truth]
    weighted = sklearn.log_loss(truth, p, sample_weight=weights) * np.mean(weights)
    assert loss("bce:pos_weight=7.5", given) == pytest.approx(weighted, abs=1e-12)
    assert loss("mse", given) == pytest.approx(sklearn.brier_score_loss(truth, p), abs=1e-12)


@pytest.mark.parametrize("rule", ["batch", "pixel", "pixel/2", "pixel/3", "pixel/4"])
def test_weights_of_positives_are_negatives_over_positives(rule):
    given = made()
    _, targets, _, valid = (v.numpy() for v in given)
    total, count = 0.0, 0
    for logit, _, truth, _, (_, b, k, y, x) in cells(*given):
        if rule == "batch":
            known = [targets[a, lead, k][valid[a]] for a in range(3) for lead in range(2)]
            known = np.concatenate(known)
        else:
            known = np.array([targets[a, b, k, y, x] for a in range(3) if valid[a, y, x]])
        weight = (len(known) - known.sum()) / max(known.sum(), 1) / float(rule.partition("/")[2] or 1)
        total -= weight * np.log(s(logit)) if truth else np.log(1 - s(logit))
        count += 1
    assert loss(f"bce:pos_weight={rule}", given) == pytest.approx(total / count, abs=1e-12)


def test_a_pixel_without_positives_or_without_negatives_has_a_finite_weight():
    targets = torch.zeros(4, 1, 1, 1, 3)
    targets[:, ..., 1] = 1
    targets[0, ..., 2] = 1
    weights = pixel_weights("pixel", targets, torch.ones(4, 1, 3, dtype=torch.bool))
    assert weights.flatten().tolist() == [4, 0, 3]
    for rule in RULES:
        for truth in (torch.zeros(SHAPE), torch.ones(SHAPE)):
            outputs, _, deaths, valid = made(dtype=torch.float32)
            outputs.requires_grad_()
            found = build_loss(f"bce:pos_weight={rule}", 2)(outputs, truth, deaths, valid)
            found.backward()
            assert torch.isfinite(found) and torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize(("gamma", "alpha"), [(2, -1), (2, 0.25), (0.5, 0.9)])
def test_focal_is_torchvisions(gamma, alpha):
    ops = pytest.importorskip("torchvision.ops")
    given = made()
    rows = list(cells(*given))
    logits, truth = (torch.tensor(np.array([row[k] for row in rows])) for k in (0, 2))
    expected = ops.sigmoid_focal_loss(logits, truth, alpha=alpha, gamma=gamma, reduction="mean")
    spec = f"focal:gamma={gamma}" + (f",alpha={alpha}" if alpha > 0 else "")
    assert loss(spec, given) == pytest.approx(float(expected), abs=1e-12)


def test_ssim_is_wang_2004():
    """One cell at a time: Gaussian means, variances and covariance of 11 x 11 cells, mirrored at the edge."""
    given = made(shape=(2, 1, 1, 8, 9))
    outputs, targets, _, valid = (v.numpy() for v in given)
    offsets = np.arange(-5, 6)
    bell = np.exp(-(offsets**2) / (2 * 1.5**2))
    bell = np.outer(bell, bell) / np.outer(bell, bell).sum()
    total, count = 0.0, 0
    for a in range(2):
        p, t = s(outputs[a, 0, 0]) * valid[a], targets[a, 0, 0] * valid[a]
        p, t = (np.pad(values, 5, mode="reflect") for values in (p, t))
        for y, x in zip(*np.nonzero(valid[a]), strict=True):
            u, v = p[y : y + 11, x : x + 11], t[y : y + 11, x : x + 11]
            mu, mv = (bell * u).sum(), (bell * v).sum()
            uu, vv, uv = (bell * u * u).sum() - mu**2, (bell * v * v).sum() - mv**2, (bell * u * v).sum() - mu * mv
            c1, c2 = 0.01**2, 0.03**2
            total += 1 - (2 * mu * mv + c1) * (2 * uv + c2) / ((mu**2 + mv**2 + c1) * (uu + vv + c2))
            count += 1
    assert loss("ssim", given, 1) == pytest.approx(total / count, abs=1e-9)
    perfect = given[1].clone()
    assert loss("ssim", (torch.cat([200 * (perfect - 0.5)] * 2, dim=2), *given[1:]), 1) == pytest.approx(0, abs=1e-9)


def test_hurdle_is_log_loss_and_squared_error_of_log_deaths_where_there_was_an_event():
    given = made()
    rows = list(cells(*given))
    event = -np.mean([np.log(s(z) if t else 1 - s(z)) for z, _, t, _, _ in rows])
    size = np.mean([t * (size - np.log1p(deaths)) ** 2 for _, size, t, deaths, _ in rows])
    assert loss("hurdle", given) == pytest.approx(event + size, abs=1e-12)
    assert loss("hurdle:deaths=0.25", given) == pytest.approx(event + 0.25 * size, abs=1e-12)
    quiet = (given[0], torch.zeros(SHAPE).double(), torch.zeros(SHAPE).double(), given[3])
    assert loss("hurdle", quiet) == pytest.approx(loss("bce", quiet), abs=1e-12)


def test_the_hurdle_of_classes_is_the_ignorance_of_what_it_forecasts():
    outputs, targets, deaths, valid = made(each=12)
    deaths = deaths * 40 ** torch.randint(0, 2, SHAPE)  # some beyond 1000
    targets, deaths = targets.round(), torch.where(targets > 0.5, deaths, 0)  # an event may be without a death
    total, count = 0.0, 0
    for a, b, k, y, x in np.ndindex(SHAPE):
        if not valid[a, y, x]:
            continue
        p, classes = s(float(outputs[a, b, k, y, x])), outputs[a, b, 2 + 11 * k : 13 + 11 * k, y, x].softmax(0)
        which = sum(float(deaths[a, b, k, y, x]) >= least for least in (1, 3, 6, 11, 26, 51, 101, 251, 501, 1001))
        total -= np.log(p * float(classes[which]) if targets[a, b, k, y, x] else 1 - p)
        count += 1
    assert loss("hurdle-classes", (outputs, targets, deaths, valid)) == pytest.approx(total / count, abs=1e-12)
    built = build_loss("hurdle-classes")
    assert built.draws_deaths and built.needs_deaths and built.more == 11 and not build_loss("hurdle").draws_deaths


def test_sums_and_weights():
    given = made()
    expected = 2 * loss("bce:pos_weight=pixel/2", given) + 0.5 * loss("ssim", given)
    assert loss("bce:pos_weight=pixel/2,weight=2+ssim:weight=0.5", given) == pytest.approx(expected, abs=1e-12)
    assert build_loss("bce+hurdle").needs_deaths and not build_loss("bce+focal+mse+ssim").needs_deaths


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(LOSSES)), st.integers(0, 1000))
def test_invalid_cells_do_not_matter(name, seed):
    outputs, targets, deaths, valid = made(seed, each=each_of(name))
    outside = ~valid[:, None, None]
    others = (
        torch.where(outside, torch.randn_like(outputs), outputs).requires_grad_(),
        torch.where(outside, 1 - targets, targets), torch.where(outside, deaths + 5, deaths), valid,
    )  # fmt: skip
    found = build_loss(name, 2)(*others)
    found.backward()
    assert found.item() == pytest.approx(loss(name, (outputs, targets, deaths, valid)), abs=1e-12)
    assert not others[0].grad[outside.expand_as(outputs)].any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_without_a_valid_cell_loss_and_gradient_are_zero(name):
    outputs, targets, deaths, valid = made(each=each_of(name))
    outputs.requires_grad_()
    found = build_loss(name, 2)(outputs, targets, deaths, torch.zeros_like(valid))
    found.backward()
    assert found.item() == 0 and not outputs.grad.any()


@pytest.mark.parametrize("spec", [*sorted(LOSSES), "bce:pos_weight=pixel/3", "bce:pos_weight=batch", "focal:alpha=0.3"])
def test_gradients_are_those_of_finite_differences(spec):
    outputs, targets, deaths, valid = made(shape=(2, 1, 1, 6, 7), each=each_of(spec))
    assert torch.autograd.gradcheck(
        lambda z: build_loss(spec, 1)(z, targets, deaths, valid), outputs.requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize("spec", sorted(LOSSES))
def test_wild_logits_and_half_precision_stay_finite(spec):
    outputs, targets, deaths, valid = made(dtype=torch.float32, each=each_of(spec))
    for values in (500 * outputs, outputs.bfloat16()):
        values = values.detach().requires_grad_()
        found = build_loss(spec, 2)(values, targets, deaths, valid)
        found.backward()
        assert torch.isfinite(found) and torch.isfinite(values.grad).all() and found.dtype == torch.float32


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("bcee", r"Unknown loss 'bcee'.*Did you mean 'bce'\?"),
        ("bce:weigth=2", r"bce has no 'weigth'; it takes pos_weight, weight"),
        ("bce:pos_weight=pixl", r"pos_weight = 'pixl' .*none, batch, pixel, pixel/2, pixel/3, pixel/4"),
        ("bce:pos_weight=pixel/5", r"pos_weight = 'pixel/5'"),
        ("bce:pos_weight=-1", r"pos_weight = -1 .*from 1e-06 to 1000000"),
        ("bce:pos_weight=true", r"pos_weight = True"),
        ("focal:gamma=a", r"gamma = 'a' .*0\.1 to 10"),
        ("focal:alpha=2", r"alpha = 2 .*0 to 1"),
        ("ssim:sigma=0", r"sigma = 0 .*0\.3 to 5"),
        ("hurdle:deaths=0", r"deaths = 0 .*from 1e-06 to 1000000"),
        ("bce:weight=0", r"weight = 0 "),
        ("hurdle+hurdle-classes", r"in two ways"),
    ],
)
def test_what_is_wrong_is_told(spec, told):
    with pytest.raises(ValueError, match=told):
        build_loss(spec)


def test_all_faults_are_told():
    with pytest.raises(ValueError) as error:
        build_loss("bcee+focal:gamma=99,alpha=7+ssim:sigma=77")
    assert all(word in str(error.value) for word in ("bcee", "99", "alpha = 7", "77"))


@pytest.mark.parametrize(
    "spec",
    ["bce:pos_weight=pixel/2", "focal:alpha=0.3", "hurdle:deaths=2", "mse", "ssim:sigma=0.5", "bce+hurdle:weight=0.3"],
)
def test_a_loss_is_the_mean_of_its_valid_cells(spec):
    given = made()
    built = build_loss(spec, 2)
    by_cell = built.cells(*given)
    assert by_cell.shape == given[3].shape
    assert by_cell[given[3]].mean().item() == pytest.approx(built(*given).item(), abs=1e-12)
