"""On what networks compute here."""

from __future__ import annotations


def best_device() -> str:
    """The best device there is: ``cuda``, ``mps`` (Apple) or ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
