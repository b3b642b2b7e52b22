"""Losses of the two heads, given as texts with options: ``"bce:weights=balanced,explosion=0.5"``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geonb.base.specs import Option, check_options

OPTIONS = {
    "bce": {
        "weights": Option("balanced", choices=("balanced", "none"), help="the rarer answer counts as much as the other"),
        "explosion": Option(1.0, float, 0, 100, help="weight of the second head beside the first"),
        "smooth": Option(0.0, float, 0, below=0.5, help="targets are drawn so far from 0 and 1"),
    },
}  # fmt: skip


def check_loss(spec: str) -> tuple[str, dict[str, Any]]:
    """Resolve a specification without building it; a ValueError lists all that is wrong."""
    return check_options("loss", spec, OPTIONS)


def build_loss(spec: str, prevalence: Sequence[float]) -> HeadsLoss:
    """Build a loss of logits (sample, head) and targets (sample, head), NaN where an answer is not known or not asked.

    Parameters
    ----------
    prevalence : share of yes among the training windows that know each head's answer, 0-1
    """
    _, options = check_loss(spec)
    share = torch.tensor(list(prevalence), dtype=torch.float32).clamp(1e-3, 1 - 1e-3)
    balance = (
        torch.stack([0.5 / (1 - share), 0.5 / share]) if options["weights"] == "balanced" else torch.ones(2, len(share))
    )
    return HeadsLoss(balance, torch.tensor([1.0, options["explosion"]]), options["smooth"])


class HeadsLoss(nn.Module):
    """Binary cross-entropy of each head over the windows that know its answer: of noise nobody asks what it is.

    Parameters
    ----------
    balance : (no or yes, head), weight of an answer
    shares : (head,), weight of a head
    """

    def __init__(self, balance: Tensor, shares: Tensor, smooth: float) -> None:
        super().__init__()
        self.smooth = smooth
        self.register_buffer("balance", balance)
        self.register_buffer("shares", shares)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        known = torch.isfinite(targets)
        truth = torch.where(known, targets, 0.0)
        weight = torch.where(truth > 0.5, self.balance[1], self.balance[0]) * known
        wanted = truth * (1 - 2 * self.smooth) + self.smooth
        each = nn.functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        return (self.shares * (each * weight).sum(0) / known.sum(0).clamp(min=1)).sum()
