"""Changes of a window of waveforms, each by what it says."""

import numpy as np
import pytest

from geonb.waveforms import augmentation

RATE = 40.0


@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        ("reverse:p=1", lambda old, new: np.array_equal(new, -old)),
        ("taper:p=1,alpha=0.1", lambda old, new: np.all(new[:, [0, -1]] == 0) and np.array_equal(new[:, 400], old[:, 400])),
        ("zero-channel:p=1", lambda old, new: sorted(np.abs(new).max(1) == 0) == [False, False, True]),
        ("gap:p=1,most_s=2", lambda old, new: 1 <= (new == 0).all(0).sum() <= 81 and np.array_equal(new[new != 0], old[new != 0])),
        ("noise:p=1,std=0.5", lambda old, new: abs((new - old).std(1) / old.std(1) - 0.5).max() < 0.05),
        ("reverse:p=0", lambda old, new: np.array_equal(new, old)),
    ],
)  # fmt: skip
def test_each_change_does_what_it_says(spec, holds):
    old = np.random.default_rng(0).normal(1, [[1], [3], [9]], (3, 800)).astype(np.float32)
    for seed in range(5):
        new = old.copy()
        augmentation.change(new, augmentation.check_augment(spec), np.random.default_rng(seed), RATE)
        assert holds(old, new)


def test_of_one_channel_none_is_silenced():
    window = np.ones((1, 80), np.float32)
    augmentation.change(window, augmentation.check_augment("zero-channel:p=1"), np.random.default_rng(0), RATE)
    assert window.all()
