"""Losses by specification: ``"cross-entropy"``, ``"tversky:alpha=.7,beta=.3"``, sums with ``+``.

Each takes logits (sample, class, y, x) and targets (sample, y, x) of class indices, 255 = ignore, and gives a scalar.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from segmentation_models_pytorch import losses as smp_losses
from torch import Tensor
from torch.nn import functional

from geonb.masks import IGNORE
from geonb.parameters import parse_spec, pick

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Mean negative log-likelihood over the labelled pixels; zero where a batch has none."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        total = functional.cross_entropy(
            logits, targets, ignore_index=IGNORE, label_smoothing=label_smoothing, reduction="sum"
        )
        return total / (targets != IGNORE).sum().clamp(min=1)

    return loss


def dice(smooth: float = 0.0) -> Loss:
    """1 - Dice coefficient (Milletari et al. 2016), mean over all classes; one that the batch lacks counts 0."""
    return smp_losses.DiceLoss("multiclass", from_logits=True, smooth=smooth, ignore_index=IGNORE)


def tversky(alpha: float = 0.7, beta: float = 0.3, smooth: float = 0.0) -> Loss:
    """1 - TI with TI = TP / (TP + alpha FN + beta FP) (Salehi et al. 2017; alpha weighs what was missed).

    The library puts its alpha on false positives, so the two are swapped here.
    """
    return smp_losses.TverskyLoss(
        "multiclass", from_logits=True, smooth=smooth, ignore_index=IGNORE, alpha=beta, beta=alpha
    )


LOSSES: dict[str, Callable[..., Loss]] = {"cross-entropy": cross_entropy, "dice": dice, "tversky": tversky}


def build_loss(spec: str) -> Loss:
    """Build a loss from its specification; ``a+b`` adds them up.

    Raises
    ------
    ValueError
        If a loss or one of its arguments is unknown or ill-typed; lists what is known.
    """
    terms = [_term(part.strip(), spec) for part in spec.split("+")]
    if len(terms) == 1:
        return terms[0]
    return lambda logits, targets: torch.stack([term(logits, targets) for term in terms]).sum()


def _term(part: str, spec: str) -> Loss:
    name, options = parse_spec(part)
    make = pick("loss", name, LOSSES, spec, more="; 'a+b' adds them")
    known = inspect.signature(make).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"Unknown argument {', '.join(unknown)} in loss = {spec!r}. {name} takes: {', '.join(known) or 'none'}."
        )
    wrong = {
        key: value for key, value in options.items() if isinstance(value, bool) or not isinstance(value, int | float)
    }
    if wrong:
        raise ValueError(f"Arguments of a loss are numbers; loss = {spec!r} gives {wrong}.")
    return make(**options)
