"""What we would have guessed anyway: functions of standardised chips (sample, channel, y, x) that give probabilities (sample, class)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geonb.prediction.baselines import Baseline

if TYPE_CHECKING:
    from geonb.workloads.chips.store import ChipStore

MOST_CHIPS = 20_000  # that a baseline learns from
BATCH = 256
BINS = 16  # of each channel's histogram, from LOW to HIGH standard deviations about its mean
LOW, HIGH = -3.0, 3.0


def prevalence(store: ChipStore, seed: int = 0) -> Baseline:
    """Every chip has each label as often as the training chips have it."""
    share = np.asarray(store.meta["prevalence"], np.float32)
    return Baseline("prevalence", lambda inputs: np.tile(share, (len(inputs), 1)))


def colour_histogram(store: ChipStore, seed: int = 0) -> Baseline:
    """A logistic regression of each label on the histograms of the channels: what colour alone can tell."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, targets = _training(store, seed)
    fitted = []
    for labels in targets.T:
        known = np.isfinite(labels)
        if not known.any() or np.ptp(labels[known]) == 0:
            fitted.append(float(labels[known].mean()) if known.any() else 0.0)  # there is one answer only
        else:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
            fitted.append(model.fit(features[known], labels[known]))

    def guess(inputs: np.ndarray) -> np.ndarray:
        found = histograms(inputs)
        told = [np.full(len(found), f) if isinstance(f, float) else f.predict_proba(found)[:, 1] for f in fitted]
        return np.stack(told, axis=1).astype(np.float32)

    return Baseline("colour-histogram", guess)


def histograms(inputs: np.ndarray) -> np.ndarray:
    """Share of each channel's pixels in each bin: float32 (sample, channel * BINS). Pixels without data are 0, the mean."""
    inputs = np.asarray(inputs)
    number = np.clip((inputs - LOW) / (HIGH - LOW) * BINS, 0, BINS - 1).astype(np.int64).reshape(*inputs.shape[:2], -1)
    n, channels, pixels = number.shape
    place = number + BINS * np.arange(n * channels).reshape(n, channels, 1)
    found = np.bincount(place.ravel(), minlength=n * channels * BINS).reshape(n, channels * BINS)
    return (found / pixels).astype(np.float32)


def _training(store: ChipStore, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Histograms and labels of at most MOST_CHIPS training chips."""
    chips = store.windows("train")
    chosen = np.sort(np.random.default_rng([seed, 0x5EED]).permutation(len(chips))[:MOST_CHIPS])
    batches = [chips.batch(chosen[i : i + BATCH].tolist()) for i in range(0, len(chosen), BATCH)]
    features = np.concatenate([histograms(batch["inputs"].numpy()) for batch in batches])
    return features, np.concatenate([batch["targets"].numpy() for batch in batches])
