"""Losses by specification: ``"cross-entropy"``, ``"tversky:alpha=.7,beta=.3"``, sums ``"bce+dice:weight=0.5"``.

Each takes logits (sample, class, y, x) and targets (sample, y, x) of class indices, 255 = ignore, and gives a scalar.

One convention for all. The network's logits z go through a softmax; the logit of class c against the rest is
z_c - logsumexp of the others, whose sigmoid is the softmax probability of c. With two classes only class 1, the positive
one, is scored, so that ``bce`` is the plain sigmoid form; with more, the mean over all classes. Ignored pixels take no
part, and a batch without a labelled pixel has loss 0 and gradient 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional

from geonb.base.conventions import IGNORE
from geonb.base.specs import Option, check_sum, options_of

SMALLEST, LARGEST = 1e-6, 1e6  # of weights: beyond, float32 holds the sum no more
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(label_smoothing: float = 0.0, class_weights: list[float] | None = None) -> Loss:
    """Negative log-likelihood, mean over the labelled pixels, each weighing as its class (``class_weights=1-2-4``)."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        known = targets != IGNORE
        weights = None if class_weights is None else logits.new_tensor(class_weights)
        total = functional.cross_entropy(
            logits, targets, weights, ignore_index=IGNORE, label_smoothing=label_smoothing, reduction="sum"
        )
        weight = known.sum() if weights is None else weights[targets[known]].sum()
        return total / torch.where(weight > 0, weight, 1)

    return loss


def bce() -> Loss:
    """Binary cross-entropy of each class against the rest."""
    return _bce(lambda positives, negatives: (1.0, 1.0))


def weighted_bce(pos_weight: float = 10.0) -> Loss:
    """Binary cross-entropy whose positive pixels weigh ``pos_weight`` times as much."""
    return _bce(lambda positives, negatives: (pos_weight, 1.0))


def adaptive_bce() -> Loss:
    """Binary cross-entropy whose positives weigh negatives / positives of the batch (weighted form of Sudre et al. 2017).

    Without positives there is nothing to weigh: plain ``bce``. Without negatives the weight, and so the loss, is 0.
    """
    return _bce(lambda positives, negatives: (negatives / positives.clamp(min=1), 1.0))


def balanced_bce() -> Loss:
    """Binary cross-entropy, positives times b, negatives times 1 - b, b = share of negatives (Xie & Tu 2015, eq. 2).

    A batch with one kind only has loss 0.
    """

    def weights(positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (positives + negatives).clamp(min=1)
        return negatives / pixels, positives / pixels

    return _bce(weights)


def focal(gamma: float = 2.0, alpha: float | None = None) -> Loss:
    """Focal loss -(1 - p_t)^gamma log p_t of each class against the rest (Lin et al. 2017, eq. 5).

    ``alpha`` weighs positives with alpha, negatives with 1 - alpha.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        margins, (true, known) = _against_rest(logits), _truth(logits, targets)
        signed = torch.where(true, margins, -margins)
        # 1 - p_t as a power of e: its gradient stays finite where p_t rounds to 1.
        pixel = -(gamma * functional.logsigmoid(-signed)).exp() * functional.logsigmoid(signed)
        if alpha is not None:
            pixel = pixel * torch.where(true, alpha, 1 - alpha)
        return _mean(pixel, known)

    return loss


def dice(smooth: float = 1e-7) -> Loss:
    """1 - Dice coefficient (Milletari et al. 2016); a class that the batch lacks counts 0."""
    return tversky(0.5, 0.5, smooth)


def jaccard(smooth: float = 1e-7) -> Loss:
    """1 - soft intersection over union (Rahman & Wang 2016); a class that the batch lacks counts 0."""
    return tversky(1.0, 1.0, smooth)


def tversky(alpha: float = 0.7, beta: float = 0.3, smooth: float = 1e-7) -> Loss:
    """1 - TI, TI = (TP + e) / (TP + alpha FN + beta FP + e) (Salehi et al. 2017; alpha weighs what was missed).

    e is ``smooth``. A class that the batch lacks counts 0 in the mean.
    """
    return lambda logits, targets: _tversky_distance(logits, targets, alpha, beta, smooth)[0].mean()


def focal_tversky(alpha: float = 0.7, beta: float = 0.3, gamma: float = 4 / 3, smooth: float = 1e-7) -> Loss:
    """(1 - TI)^(1/gamma) of each class (Abraham & Khan 2019); the better a class, the steeper its loss."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        distance, present = _tversky_distance(logits, targets, alpha, beta, smooth)
        # A root has no gradient at 0, neither for an absent class nor for a perfect one.
        root = distance.clamp(min=1e-7) ** (1 / gamma)
        return torch.where(present, root, 0).mean()

    return loss


def lovasz() -> Loss:
    """Lovász extension of the Jaccard loss over the batch (Berman et al. 2018, alg. 1).

    Two classes: hinge errors of the logit. More: errors of the softmax, mean over the classes that the batch has.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        true, known = _truth(logits, targets)
        if logits.shape[1] == 2:
            margins = _against_rest(logits)
            errors, counted = (1 - torch.where(true, margins, -margins)).relu(), torch.ones_like(known[:1, 0, 0, 0])
        else:
            errors, counted = (true.to(logits.dtype) - logits.softmax(dim=1)).abs(), true.sum(dim=(0, 2, 3)) > 0
        labelled = known.flatten()
        errors, true = (values.movedim(1, 0).flatten(1)[:, labelled] for values in (errors, true))  # (class, pixel)
        errors, order = errors.sort(dim=1, descending=True)
        true = true.gather(1, order)
        positives = true.sum(dim=1, keepdim=True)
        missed = 1 - (positives - true.cumsum(dim=1)) / (positives + (~true).cumsum(dim=1))
        gradient = missed.diff(dim=1, prepend=missed.new_zeros(len(missed), 1))
        return ((errors * gradient).sum(dim=1) * counted).sum() / counted.sum().clamp(min=1)

    return loss


class Boundary:
    """Mean of the probability times the signed distance to the class's boundary, in pixels (Kervadec et al. 2019).

    The distance is negative within the class, so the loss may be negative: it is meant as the second term of a sum. Its
    weight grows from ``start`` to ``end`` over the training, told by ``set_progress``; before that it is ``start``.
    Where a sample has no pixel of a class, or nothing but it, there is no boundary and the distance is 0.
    """

    def __init__(self, start: float = 0.01, end: float = 1.0) -> None:
        self.start, self.end = start, end
        self.scale = start

    def set_progress(self, fraction: float) -> None:
        """Set the weight at this fraction (0-1) of the training."""
        self.scale = self.start + (self.end - self.start) * min(max(fraction, 0.0), 1.0)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        classes = _scored(logits.shape[1])
        distances = torch.as_tensor(signed_distances(targets.cpu().numpy(), classes)).to(logits)
        products = logits.softmax(dim=1)[:, classes] * distances
        pixels = (targets != IGNORE).sum().clamp(min=1)
        return self.scale * products.sum() / (pixels * len(classes))


def signed_distances(targets: np.ndarray, classes: list[int]) -> np.ndarray:
    """Distance of each pixel to the boundary of each class, as in the code of Kervadec et al. 2019.

    Parameters
    ----------
    targets : ndarray (sample, y, x) of class indices, 255 = ignore

    Returns
    -------
    ndarray (sample, class, y, x), pixels
        Outside, the distance to the nearest pixel of the class (from 1); within, minus the distance to the nearest pixel
        of another, counted from 0. Ignored pixels are 0, and their edge is no boundary.
    """
    distances = np.zeros((len(targets), len(classes), *targets.shape[1:]), np.float32)
    for sample, target in enumerate(targets):
        for k, c in enumerate(classes):
            within = target == c
            outside = ~within & (target != IGNORE)
            if within.any() and outside.any():
                distances[sample, k][outside] = distance_transform_edt(~within)[outside]
                distances[sample, k][within] = 1 - distance_transform_edt(~outside)[within]
    return distances


def _class_weights(value: Any) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(v, int | float) and 0 <= v <= LARGEST for v in value):
        raise ValueError(
            f"must be a number, 0 to {LARGEST:g}, for each class, as class_weights=1-2-4 or class_weights=[1,0.5,2]"
        )
    if not any(value):
        raise ValueError("is 0 for all classes: nothing would count")
    return value


LOSSES: dict[str, Callable[..., Loss]] = {
    "adaptive-bce": adaptive_bce,
    "balanced-bce": balanced_bce,
    "bce": bce,
    "boundary": Boundary,
    "cross-entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "focal-tversky": focal_tversky,
    "jaccard": jaccard,
    "lovasz": lovasz,
    "tversky": tversky,
    "weighted-bce": weighted_bce,
}
_SHARE, _POSITIVE = Option(None, float, 0, 1), Option(None, float, 0, LARGEST)
_OPTIONS = {
    "alpha": _SHARE, "beta": _SHARE, "gamma": Option(None, float, 0.1, 10), "label_smoothing": Option(None, float, 0, below=1),
    "pos_weight": Option(None, float, SMALLEST, LARGEST), "smooth": _POSITIVE, "start": _POSITIVE, "end": _POSITIVE,
    "class_weights": Option(read=_class_weights, help="one a class, as 1-2-4"),
}  # fmt: skip
_WEIGHT = {"weight": Option(1.0, float, SMALLEST, LARGEST, help="in a sum")}
OPTIONS = {name: options_of(make, _OPTIONS) | _WEIGHT for name, make in LOSSES.items()}


class Sum:
    """A weighted sum of losses; ``set_progress`` reaches the terms that have one."""

    def __init__(self, terms: list[tuple[float, Loss]]) -> None:
        self.terms = terms

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        # Half precision cannot hold sums over a million pixels.
        logits, targets = logits.to(torch.promote_types(logits.dtype, torch.float32)), targets.long()
        return torch.stack([weight * term(logits, targets) for weight, term in self.terms]).sum()

    def set_progress(self, fraction: float) -> None:
        """Tell the terms with a scheduled weight what fraction (0-1) of the training is done."""
        for _, term in self.terms:
            if hasattr(term, "set_progress"):
                term.set_progress(fraction)


def build_loss(spec: str, classes: int | None = None) -> Sum:
    """Build a loss from its specification.

    Parameters
    ----------
    spec : str
        ``name:argument=value,...``; ``a+b`` adds terms up, and ``weight`` is what a term counts in the sum:
        ``cross-entropy+dice:weight=0.5``.
    classes : int, optional
        Number of classes, to check ``class_weights`` against.

    Raises
    ------
    ValueError
        If losses or arguments are unknown, ill-typed or out of range; lists all faults and what is known.
    """

    def together(name: str, options: dict[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
        weights = options.get("class_weights")
        if weights and classes is not None and len(weights) != classes:
            yield f"class_weights = {weights!r}: {len(weights)} weights for {classes} classes; give one for each"
        if options.get("alpha") == options.get("beta") == 0:
            yield f"alpha and beta of {name} are both 0: nothing would count. Raise one"

    terms = check_sum("loss", spec, OPTIONS, together)
    return Sum([(options.pop("weight"), LOSSES[name](**options)) for name, options in terms])


def _scored(classes: int) -> list[int]:
    return [1] if classes == 2 else list(range(classes))


def _truth(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Is the pixel of the class (sample, scored class, y, x), and is it labelled (sample, 1, y, x)."""
    classes = targets.new_tensor(_scored(logits.shape[1])).reshape(-1, 1, 1)
    targets = targets[:, None]
    return targets == classes, targets != IGNORE


def _against_rest(logits: Tensor) -> Tensor:
    """Logit of each scored class against the rest, z_c - logsumexp of the others, (sample, scored class, y, x).

    Without the largest term nothing of the others' sum is lost to rounding, so only the largest class needs its own sum.
    """
    if logits.shape[1] == 2:
        return logits[:, 1:] - logits[:, :1]
    highest, where = logits.detach().max(dim=1, keepdim=True)
    largest = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, where, True)
    terms = (logits - highest).exp()
    others = torch.where(largest, 1, terms.sum(dim=1, keepdim=True) - terms)  # 1 or more
    below = logits.masked_fill(largest, -torch.inf).logsumexp(dim=1, keepdim=True)
    return logits - torch.where(largest, below, others.log() + highest)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean over the labelled pixels and the classes of (sample, class, y, x)."""
    return (values * known).sum() / (known.sum().clamp(min=1) * values.shape[1])


def _bce(weigh: Callable[[Tensor, Tensor], tuple[Any, Any]]) -> Loss:
    """Cross-entropy with weights of positive and negative pixels from their counts (class, 1, 1)."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        margins, (true, known) = _against_rest(logits), _truth(logits, targets)
        positives = true.sum(dim=(0, 2, 3)).to(logits.dtype)[:, None, None]
        positive, negative = weigh(positives, known.sum() - positives)
        log_share = functional.logsigmoid(torch.where(true, margins, -margins))
        return -_mean(torch.where(true, positive, negative) * log_share, known)

    return loss


def _tversky_distance(
    logits: Tensor, targets: Tensor, alpha: float, beta: float, smooth: float
) -> tuple[Tensor, Tensor]:
    """1 - Tversky index (class), 0 for a class that the batch lacks, and which classes it has."""
    true, known = _truth(logits, targets)
    share, over = logits.softmax(dim=1)[:, _scored(logits.shape[1])], (0, 2, 3)
    hit = (share * true).sum(dim=over)
    wrong = alpha * ((1 - share) * true).sum(dim=over) + beta * (share * (known & ~true)).sum(dim=over)
    present = true.sum(dim=over) > 0
    # Written as one quotient: 1 - TI would lose all digits where TI is almost 1.
    return torch.where(present, wrong / (hit + wrong + smooth).clamp(min=1e-12), 0), present
