"""What we would have guessed anyway: functions of scaled windows (sample, channel, time) that give probabilities (sample, head).

They look at ratios within a window alone, so that no scaling changes what they say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.prediction.baselines import Baseline

if TYPE_CHECKING:
    from geonb.workloads.seismic.store import RecordStore

MOST = 20_000  # windows that a baseline learns from
BATCH = 256
STA_S, LTA_S = 1.0, 20.0  # averages, short and long
PHASE_S = 4.0  # of the P and of the S window
BANDS_HZ = ((1, 2), (2, 4), (4, 8), (8, 16))


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


def triggers(inputs: np.ndarray, rate_hz: float) -> np.ndarray:
    """Logarithm of the largest STA/LTA of each channel's energy, and when it is: float32 (sample, channel + 1)."""
    found = _ratio(np.square(np.asarray(inputs, np.float32)), rate_hz)
    return np.log(np.concatenate([found.max(-1), found.mean(1).max(-1, keepdims=True)], 1) + 1e-6)


def _ratio(energy: np.ndarray, rate_hz: float) -> np.ndarray:
    """Short average over the long one before it, along the last axis; 0 where the long one is not there yet."""
    samples = energy.shape[-1]
    short = max(1, min(round(STA_S * rate_hz), samples // 4))
    long = max(short, min(round(LTA_S * rate_hz), samples // 3))
    total = np.concatenate([np.zeros_like(energy[..., :1], np.float64), np.cumsum(energy, -1, dtype=np.float64)], -1)
    at = np.arange(long, samples - short + 1)
    sta = (total[..., at + short] - total[..., at]) / short
    lta = (total[..., at] - total[..., at - long]) / long
    out = np.zeros(energy.shape)
    floor = 1e-3 * energy.mean(-1, keepdims=True) + 1e-12
    out[..., at] = sta / (lta + floor)
    return out


def ratios(inputs: np.ndarray, rate_hz: float) -> np.ndarray:
    """Logarithm of P over S in each channel and band of frequency: float32 (sample, channel * bands).

    P is the PHASE_S from where STA/LTA is largest; S the PHASE_S after that with the most energy. From what the window itself shows,
    so that it can be asked where no distance is known.
    """
    from scipy.signal import butter, sosfiltfilt

    inputs = np.asarray(inputs, np.float32)
    length = min(round(PHASE_S * rate_hz), inputs.shape[-1] // 4)
    onset = np.clip(_ratio(np.square(inputs).mean(1), rate_hz).argmax(-1), 0, inputs.shape[-1] - 2 * length - 1)
    found = []
    for low, high in BANDS_HZ:
        if high >= 0.5 * rate_hz:
            continue
        energy = np.square(sosfiltfilt(butter(3, (low, high), "bandpass", fs=rate_hz, output="sos"), inputs, axis=-1))
        total = np.concatenate([np.zeros_like(energy[..., :1]), np.cumsum(energy, -1)], -1)
        inside = total[..., length:] - total[..., :-length]  # energy of the PHASE_S that begin at a sample
        p = np.take_along_axis(inside, onset[:, None, None], -1)[..., 0]
        later = np.arange(inside.shape[-1]) >= (onset + length)[:, None, None]
        found.append(np.log((p + 1e-9) / (np.where(later, inside, 0).max(-1) + 1e-9)))
    return np.concatenate(found, 1).astype(np.float32)


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
