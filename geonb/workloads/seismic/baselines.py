"""What we would have guessed anyway: functions of scaled windows (sample, channel, time) that give probabilities (sample, head).

They look at ratios within a window alone, so that no scaling changes what they say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.prediction.baselines import Baseline
from geonb.waveforms.features import ratios, triggers

if TYPE_CHECKING:
    from geonb.workloads.seismic.store import RecordStore

MOST = 20_000  # windows that a baseline learns from
BATCH = 256


def majority(store: RecordStore, seed: int = 0) -> Baseline:
    """Every window is what most training windows are, as often as they are."""
    share = np.asarray(store.meta["prevalence"], np.float32)
    return Baseline("majority", lambda inputs: np.tile(share, (len(inputs), 1)))


def sta_lta(store: RecordStore, seed: int = 0) -> Baseline:
    """An event by the largest ratio of a short average to a long one (Allen 1978), by a logistic regression; its kind by the majority."""
    inputs, targets = _training(store, seed, lambda some: triggers(some, float(store.meta["rate_hz"])))
    detector, share = _fit(inputs, targets[:, 0]), float(store.meta["prevalence"][1])
    rate_hz = float(store.meta["rate_hz"])

    def guess(some: np.ndarray) -> np.ndarray:
        event = _ask(detector, triggers(some, rate_hz))
        return np.stack([event, np.full(len(event), share)], -1).astype(np.float32)

    return Baseline("sta-lta", guess)


def spectral_ratio(store: RecordStore, seed: int = 0) -> Baseline:
    """STA/LTA, and the kind by the ratios of P to S in bands of frequency: the discriminant of the field (Walter et al. 1995),
    by a logistic regression."""
    rate_hz = float(store.meta["rate_hz"])
    inputs, targets = _training(store, seed, lambda some: np.hstack([triggers(some, rate_hz), ratios(some, rate_hz)]))
    triggered = triggers(np.zeros((1, len(store.channels), 8), np.float32), rate_hz).shape[1]
    detector, classifier = _fit(inputs[:, :triggered], targets[:, 0]), _fit(inputs[:, triggered:], targets[:, 1])

    def guess(some: np.ndarray) -> np.ndarray:
        return np.stack([_ask(detector, triggers(some, rate_hz)), _ask(classifier, ratios(some, rate_hz))], -1).astype(
            np.float32
        )

    return Baseline("p/s-ratio", guess)


def _training(store: RecordStore, seed: int, features: Any) -> tuple[np.ndarray, np.ndarray]:
    """Features and answers of at most MOST training windows."""
    windows = store.windows("train")
    chosen = np.sort(np.random.default_rng([seed, 0x5EED]).permutation(len(windows))[:MOST])
    batches = [windows.batch(chosen[i : i + BATCH].tolist()) for i in range(0, len(chosen), BATCH)]
    return np.concatenate([features(b["inputs"].numpy()) for b in batches]), np.concatenate(
        [b["targets"].numpy() for b in batches]
    )


def _fit(features: np.ndarray, answers: np.ndarray) -> Any:
    """A logistic regression of those answers that are known, or their one answer; both kinds weigh the same."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = np.isfinite(answers)
    if not known.any() or np.ptp(answers[known]) == 0:
        return float(answers[known].mean()) if known.any() else 0.5
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000, class_weight="balanced"))
    return model.fit(features[known], answers[known])


def _ask(model: Any, features: np.ndarray) -> np.ndarray:
    return np.full(len(features), model) if isinstance(model, float) else model.predict_proba(features)[:, 1]
