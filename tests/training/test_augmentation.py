import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geonb.store import loaders as store_loaders
from geonb.store import turns
from geonb.training import augmentation
from geonb.training.augmentation import change, check_augment, colour_facts
from geonb.workloads.segmentation import loaders

STRONG = "flips,rotations,affine:p=1,noise:p=1,blur:p=1,brightness:p=1,contrast:p=1,gamma:p=1,fancy-pca:p=1"
SIDE = 24


class Drawn:
    """Stands for a random generator: gives out what the test has written down."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return 0.0

    def uniform(self, low, high):
        value = self.values.pop(0)
        assert low <= value <= high
        return value


def made(channels=4, valid=None, seed=0):
    random = np.random.default_rng(seed)
    inputs = ndimage.gaussian_filter(random.normal(size=(channels, SIDE, SIDE)), (0, 3, 3)) * 5
    targets = torch.from_numpy((inputs[0] > 0).astype(np.int64))
    return {"inputs": torch.from_numpy(inputs.astype(np.float32)), "targets": targets, "valid": valid}


def done(name, window, *drawn, **options):
    window = {k: v if v is None else v.clone() for k, v in window.items()}
    facts = {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)}
    return change(window, [(name, {**options, "p": 1})], facts, Drawn(*drawn))


# ---- image and mask together


@settings(deadline=None)
@given(
    angle=st.floats(-30, 30), shift=st.tuples(st.integers(-6, 6), st.integers(-6, 6)), scale=st.floats(-0.2, 0.2),
    shear=st.floats(-8, 8),
)  # fmt: skip
def test_affine_moves_the_mask_with_the_image(angle, shift, scale, shear):
    window = made(1)
    window["inputs"][0] = window["targets"].float()  # an image that says where the classes are
    moved = done("affine", window, angle, *(s / SIDE for s in shift), scale, shear, 0.0,
                 rotate_deg=30, translate=0.5, scale=0.2, shear_deg=8)  # fmt: skip
    inside = moved["targets"] != 255
    agree = (moved["inputs"][0] > 0.5) == (moved["targets"] == 1)
    sure = (moved["inputs"][0] < 0.01) | (moved["inputs"][0] > 0.99)  # not between two pixels of different classes
    assert agree[inside & sure].all() and (inside & sure).float().mean() > 0.2
    assert (moved["inputs"][0][~inside] == 0).all()


def test_affine_is_scipys():
    window, angle, scale = made(2), 20.0, 1.1
    moved = done(
        "affine",
        window,
        angle,
        3 / SIDE,
        -2 / SIDE,
        scale - 1,
        0.0,
        0.0,
        rotate_deg=30,
        translate=0.5,
        scale=0.2,
        shear_deg=0,
    )
    turn = np.deg2rad(angle)  # from a place in the new window to one in the old
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / scale
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - matrix @ np.add(centre, (-2.0, 3.0))
    expected = ndimage.affine_transform(window["inputs"][1].numpy(), matrix, offset, order=1, cval=np.nan)
    labels = ndimage.affine_transform(window["targets"].numpy(), matrix, offset, order=0, cval=255)
    inside = np.isfinite(expected)
    np.testing.assert_allclose(moved["inputs"][1].numpy()[inside], expected[inside], atol=2e-4)
    assert (moved["targets"].numpy() == labels)[inside].mean() > 0.99  # ties of the nearest
    assert inside.mean() > 0.6


def test_a_shift_by_whole_pixels_is_exact_and_what_comes_in_is_ignored():
    window = made(2)
    moved = done("affine", window, 0.0, 5 / SIDE, 0.0, 0.0, 0.0, 0.0, rotate_deg=0, translate=0.5, scale=0, shear_deg=0)
    torch.testing.assert_close(moved["inputs"][:, :, 5:], window["inputs"][:, :, :-5], atol=1e-5, rtol=0)
    assert torch.equal(moved["targets"][:, 5:], window["targets"][:, :-5])
    assert (moved["targets"][:, :5] == 255).all() and (moved["inputs"][:, :, :5] == 0).all()


@pytest.mark.parametrize("name", sorted(augmentation.CHANGES))
def test_pixels_without_data_stay_zero_and_say_nothing(name):
    valid = torch.ones(SIDE, SIDE, dtype=torch.bool)
    valid[:, :9] = False
    window = made(3, valid)
    window["targets"][~valid] = 255
    poisoned = {**window, "inputs": torch.where(valid, window["inputs"], torch.tensor(100.0))}
    facts = colour_facts({"mean": [5.0] * 3, "std": [2.0] * 3}, np.diag([4.0] * 3))
    steps = check_augment(f"{name}:p=1", 3)
    one, two = (
        change({k: v.clone() for k, v in w.items()}, steps, facts, np.random.default_rng(1)) for w in (window, poisoned)
    )
    assert (one["inputs"][:, ~one["valid"]] == 0).all() and (one["targets"][~one["valid"]] == 255).all()
    torch.testing.assert_close(one["inputs"], two["inputs"], atol=1e-5, rtol=1e-5)
    assert not torch.equal(one["inputs"], window["inputs"])


# ---- colours, against arithmetic


def test_brightness_contrast_gamma_by_hand():
    window = made(2)
    old = window["inputs"].numpy()
    np.testing.assert_allclose(done("brightness", window, 0.15, limit=0.2)["inputs"], old + 0.15, atol=1e-6)
    mean = old.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(
        done("contrast", window, -0.1, limit=0.2)["inputs"], mean + 0.9 * (old - mean), atol=1e-5
    )
    low, span = old.min(axis=(1, 2), keepdims=True), np.ptp(old, axis=(1, 2), keepdims=True)
    expected = low + span * ((old - low) / span) ** 1.2
    np.testing.assert_allclose(done("gamma", window, 0.2, limit=0.2)["inputs"], expected, atol=1e-4)


def test_blur_is_scipys_gaussian_away_from_the_edge():
    window = made(3, torch.ones(SIDE, SIDE, dtype=torch.bool))
    expected = ndimage.gaussian_filter(window["inputs"].numpy(), (0, 1.3, 1.3), mode="mirror", radius=4)
    np.testing.assert_allclose(done("blur", window, 1.3, sigma=2)["inputs"], expected, atol=1e-4)


def test_noise_has_the_asked_deviation_and_is_independent():
    window = {"inputs": torch.zeros(3, 200, 200), "targets": torch.zeros(200, 200), "valid": None}
    noise = change(window, check_augment("noise:std=0.3,p=1", 3), {}, np.random.default_rng(0))["inputs"]
    assert noise.std().item() == pytest.approx(0.3, rel=0.02) and abs(noise.mean().item()) < 0.01
    assert np.abs(np.corrcoef(noise.reshape(3, -1)) - np.eye(3)).max() < 0.02


def test_hue_is_colorsyss_and_grey_stays_grey():
    window = {"inputs": torch.rand(3, 8, 8), "targets": torch.zeros(8, 8), "valid": None}
    window["inputs"][:, 0, 0], window["inputs"][:, 0, 1] = 0, 1  # the ends, so that the scale is 0 to 1
    window["inputs"][:, 0, 2] = 0.4
    new = done("colour-jitter", window, 0.0, 0.0, 0.0, 0.1, brightness=0, contrast=0, saturation=0, hue=0.2)["inputs"]
    for y, x in np.ndindex(8, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*window["inputs"][:, y, x].tolist())
        expected = colorsys.hsv_to_rgb((hue + 0.1) % 1, saturation, value)
        np.testing.assert_allclose(new[:, y, x], expected, atol=1e-4)
    np.testing.assert_allclose(new[:, 0, 2], 0.4, atol=1e-5)


def test_fancy_pca_moves_along_numpys_eigenvectors():
    random = np.random.default_rng(4)
    pixels = random.normal(size=(4000, 4)) @ random.normal(size=(4, 4)) * [1, 10, 100, 0.1]  # bands of different units
    std = pixels.std(axis=0)
    facts = colour_facts({"mean": pixels.mean(axis=0), "std": std}, np.cov(pixels.T, bias=True))
    correlation = np.corrcoef(pixels.T)  # the covariance of standardised bands
    values, vectors = np.linalg.eigh(correlation)
    np.testing.assert_allclose(facts["values"], values, atol=1e-5)
    np.testing.assert_allclose(np.abs(facts["vectors"].numpy().T @ vectors), np.eye(4), atol=1e-3)
    steps, shifts = check_augment("fancy-pca:alpha_std=0.3,p=1", 4), []
    for seed in range(3000):
        window = {"inputs": torch.zeros(4, 2, 2), "targets": torch.zeros(2, 2), "valid": None}
        moved = change(window, steps, facts, np.random.default_rng(seed))["inputs"]
        assert (moved == moved[:, :1, :1]).all()  # all pixels of a window alike
        shifts.append(moved[:, 0, 0].numpy())
    expected = vectors @ np.diag((0.3 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(np.array(shifts).T), expected, atol=0.05 * expected.max())


def test_an_old_stores_covariance_comes_from_its_training_windows(small_store):
    windows = loaders.Windows(small_store, "train")
    pixels = np.concatenate(
        [small_store[i]["inputs"].values[:, small_store[i]["valid"].values].T for i in windows.rows]
    )
    statistics = {k: v for k, v in small_store.meta["statistics"].items() if k != "covariance"}
    old = type(small_store)(small_store.path, {**small_store.meta, "statistics": statistics})
    found = loaders.training_covariance(old)
    np.testing.assert_allclose(found, np.cov(pixels.T.astype(float), bias=True), rtol=1e-3)
    known = type(small_store)(
        small_store.path, {**small_store.meta, "statistics": {**statistics, "covariance": np.eye(4).tolist()}}
    )
    np.testing.assert_array_equal(loaders.training_covariance(known), np.eye(4))


# ---- draws


def test_draws_do_not_depend_on_the_batch_or_on_workers(small_store):
    windows = loaders.Windows(small_store, "train", STRONG, seed=3)
    n = len(windows)
    keys = [2 * n + i for i in range(8)]
    together = windows.batch(keys)
    again = loaders.Windows(small_store, "train", STRONG, seed=3)
    for j in (7, 3, 0):
        alone = again.batch([keys[j]])
        assert torch.equal(alone["inputs"][0], together["inputs"][j])
        assert torch.equal(alone["targets"][0], together["targets"][j])
    assert together["inputs"].is_contiguous(memory_format=torch.channels_last)
    here, threads = (
        store_loaders.data_module(small_store, 8, STRONG, seed=3, workers=w).train_dataloader() for w in (0, 2)
    )
    for a, b in zip(here, threads, strict=True):
        assert torch.equal(a["inputs"], b["inputs"]) and torch.equal(a["targets"], b["targets"])
    torchs = torch.utils.data.DataLoader(again, 8, sampler=keys, num_workers=2)
    assert torch.equal(next(iter(torchs))["inputs"], together["inputs"])
    assert not torch.equal(windows.batch([3 * n])["inputs"][0], together["inputs"][0])


def test_each_window_and_epoch_draws_its_own(small_store):
    plain = loaders.Windows(small_store, "train")
    bright = loaders.Windows(small_store, "train", "brightness:limit=0.5,p=1", seed=3)
    n, whole = len(plain), np.flatnonzero(plain.whole)[:12]
    shifts = [
        (bright[e * n + int(i)]["inputs"] - plain[int(i)]["inputs"]).mean().item() for e in range(3) for i in whole
    ]
    assert len({round(shift, 5) for shift in shifts}) == len(shifts) and np.ptp(shifts) > 0.5


def test_each_change_happens_as_often_as_asked(small_store):
    plain = loaders.Windows(small_store, "train")
    some = loaders.Windows(small_store, "train", "brightness:p=0.25", seed=1)
    n = len(plain)
    changed = [not torch.equal(some[e * n + i]["inputs"], plain[i]["inputs"]) for e in range(8) for i in range(n)]
    assert np.mean(changed) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / len(changed)))


def test_turns_as_often_as_asked_and_those_of_before():
    n = 8000
    always = turns.draw_turns(check_augment("flips,rotations", 4), 5, 2, n)
    assert always.tolist() == np.random.default_rng([5, 2, 1]).integers(8, size=n).tolist()
    assert turns.draw_turns(check_augment("noise", 4), 5, 2, n) is None
    half = np.bincount(turns.draw_turns(check_augment("flips:p=0.5", 4), 5, 2, n), minlength=8) / n
    np.testing.assert_allclose(half, [0.625, 0, 0.125, 0, 0.125, 0, 0.125, 0], atol=0.02)
    both = np.bincount(turns.draw_turns(check_augment("rotations:p=1,flips:p=0.5", 4), 5, 2, n), minlength=8) / n
    np.testing.assert_allclose(both, [0.1875] * 4 + [0.0625] * 4, atol=0.02)


def test_mistakes_are_all_told_at_once():
    with pytest.raises(ValueError) as told:
        check_augment("flip,noise:sigma=1,blur:sigma=much,colour-jitter,gamma:limit=3,none", 4)
    for part in (
        "Unknown augment 'flip'. Did you mean 'flips'? Known: affine, blur",
        "noise has no 'sigma'; it takes std, p",
        "blur: sigma = 'much' must be a number from 0 to 50",
        "colour-jitter needs 3 bands, red, green and blue; there are 4",
        "gamma: limit = 3 must be a number from 0 to 0.99",
        "none stands alone",
    ):
        assert part in str(told.value)
    with pytest.raises(ValueError, match="noise is given twice"):
        check_augment("noise,noise", 3)
    assert check_augment("none", 4) == []
    assert check_augment("colour-jitter:hue=0.1", 3)[0][1]["hue"] == 0.1
