"""What the field has measured of waveforms for decades: STA/LTA and the ratio of P to S, as numbers of a window.

They are ratios within a window alone, so that no scaling changes them.
"""

from __future__ import annotations

import numpy as np

STA_S, LTA_S = 1.0, 20.0  # averages, short and long
PHASE_S = 4.0  # of the P and of the S window
BANDS_HZ = ((1, 2), (2, 4), (4, 8), (8, 16))


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
