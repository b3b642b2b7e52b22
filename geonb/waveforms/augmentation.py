"""Changes of a window of waveforms at random, for training."""

from __future__ import annotations

from typing import Any

import numpy as np

from geonb.base.specs import Option, check_list

_P = Option(0.5, float, 0, 1, help="how often")
AUGMENT = {
    "shift": {"most_s": Option(5.0, float, above=0, help="earlier or later [s], as far as the record goes"), "p": Option(1.0, float, 0, 1)},
    "noise": {"std": Option(0.1, float, above=0, help="of the window's own standard deviation"), "p": _P},
    "taper": {"alpha": Option(0.04, float, 0, 1, help="Tukey's, share of the window"), "p": _P},
    "zero-channel": {"p": Option(0.1, float, 0, 1, help="one channel of several is silent")},
    "gap": {"most_s": Option(5.0, float, above=0, help="of silence [s]"), "p": Option(0.2, float, 0, 1)},
    "reverse": {"p": Option(0.5, float, 0, 1, help="ground that goes up goes down")},
}  # fmt: skip


def check_augment(spec: str) -> list[tuple[str, dict[str, Any]]]:
    """Resolve ``"shift:most_s=5,noise"`` or ``"none"``; a ValueError lists all that is wrong."""
    return [] if spec.strip() == "none" else check_list("augment", spec, AUGMENT)


def change(
    window: np.ndarray, steps: list[tuple[str, dict[str, Any]]], random: np.random.Generator, rate_hz: float
) -> None:
    """Change a window (channel, time) in its place, as `AUGMENT` says; what is a matter of its time was done when it was cut."""
    from scipy.signal.windows import tukey

    channels, samples = window.shape
    for name, options in steps:
        if name == "shift" or random.random() >= options["p"]:
            continue
        if name == "noise":
            window += random.standard_normal(window.shape, np.float32) * (
                options["std"] * window.std(-1, keepdims=True)
            )
        elif name == "taper":
            window *= tukey(samples, options["alpha"]).astype(np.float32)
        elif name == "reverse":
            window *= -1
        elif name == "zero-channel" and channels > 1:
            window[random.integers(channels)] = 0
        elif name == "gap":
            length = min(samples, 1 + round(random.random() * options["most_s"] * rate_hz))
            at = random.integers(samples - length + 1)
            window[:, at : at + length] = 0
