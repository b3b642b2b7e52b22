"""Losses of several labels at once, given as texts with options: ``"bce:weights=balanced"``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geonb.base.specs import Option, check_options

OPTIONS = {
    "bce": {
        "weights": Option("balanced", choices=("balanced", "none"), help="rare classes count as much as common ones"),
        "most": Option(20.0, float, 1, 1e6, help="a class's weight at most"),
    },
    "focal": {"gamma": Option(2.0, float, 0, 10, help="Lin et al. 2017, equation 4")},
}


def check_loss(spec: str) -> tuple[str, dict[str, Any]]:
    """Resolve a specification without building it; a ValueError lists all that is wrong."""
    return check_options("loss", spec, OPTIONS)


def build_loss(spec: str, prevalence: Sequence[float]) -> LabelLoss:
    """Build a loss of logits (sample, class) and targets, NaN where a label is not known.

    Parameters
    ----------
    prevalence : share of the training chips with each class, 0-1

    Raises
    ------
    ValueError
        If the specification is wrong.
    """
    name, options = check_loss(spec)
    weights = torch.ones(len(prevalence))
    if options.get("weights") == "balanced":
        share = torch.tensor(prevalence, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
        weights = ((1 - share) / share).clamp(1 / options["most"], options["most"])
    return LabelLoss(name, weights, options.get("gamma", 0.0))


class LabelLoss(nn.Module):
    """Binary cross-entropy of every class, the mean of the labels that are known; focal with ``gamma`` above 0."""

    def __init__(self, name: str, weights: Tensor, gamma: float) -> None:
        super().__init__()
        self.name, self.gamma = name, gamma
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        known = torch.isfinite(targets)
        truth = torch.where(known, targets, 0.0)
        loss = nn.functional.binary_cross_entropy_with_logits(
            logits.float(), truth, pos_weight=self.weights, reduction="none"
        )
        if self.gamma:
            missed = torch.where(truth > 0.5, 1 - logits.sigmoid(), logits.sigmoid()).float()
            loss = loss * missed**self.gamma
        return (loss * known).sum() / known.sum().clamp(min=1)
