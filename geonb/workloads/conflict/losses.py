"""Losses of forecasts by specification: ``"bce:pos_weight=pixel/4"``, ``"hurdle"``, sums ``"bce+ssim:weight=0.5"``.

Each takes outputs (sample, lead, output, y, x): the outcomes' event logits, then, where deaths are forecast, their log1p
deaths, or the logits of the classes of deaths of the first outcome, of the second, ...; targets (sample, lead, outcome, y, x)
0/1; deaths, counts of that shape; and valid (sample, y, x). Cells that are not valid take no part; a batch without a valid
cell has loss 0 and gradient 0.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from geonb.base.specs import Option, check_sum, options_of
from geonb.workloads.conflict.death_scores import CLASSES, EDGES

Maybe: TypeAlias = Tensor | None
RULES = ("none", "batch", "pixel", "pixel/2", "pixel/3", "pixel/4")


class Term(nn.Module):
    """One loss. ``events`` and ``log_deaths`` (None if not forecast), ``targets`` and ``deaths`` are (sample, lead, outcome, y, x)."""

    more: ClassVar[int] = 0  # outputs of each outcome besides the event's logit
    least_side = 1  # cells

    def forward(self, events: Tensor, log_deaths: Maybe, targets: Tensor, deaths: Maybe, valid: Tensor) -> Tensor:
        """Mean over the valid cells."""
        return _mean(self.cells(events, log_deaths, targets, deaths, valid), valid)

    @abstractmethod
    def cells(self, events: Tensor, log_deaths: Any, targets: Tensor, deaths: Any, valid: Tensor) -> Tensor:
        """What each cell adds (sample, lead, outcome, y, x)."""


class BCE(Term):
    """Binary cross-entropy of the event logits.

    Parameters
    ----------
    pos_weight : none, number, batch, pixel, pixel/2, pixel/3, pixel/4
        What a positive counts: 1; so much; (N - P)/P with the N valid cells of the batch and its P positives, by outcome;
        (N - P)/P with the N valid samples of the batch and its P positives, by cell, lead and outcome, or 1/2, 1/3, 1/4 of
        it. Where P = 0 there is nothing to weigh, and where P = N the weight, and so the loss, is 0.
    """

    def __init__(self, pos_weight: str | float | None = None) -> None:
        super().__init__()
        self.pos_weight = pos_weight

    def cells(self, events: Tensor, log_deaths: Maybe, targets: Tensor, deaths: Maybe, valid: Tensor) -> Tensor:
        weight = pixel_weights(self.pos_weight, targets, valid)
        return functional.binary_cross_entropy_with_logits(events, targets, reduction="none", pos_weight=weight)


class Focal(Term):
    """Focal loss -(1 - p_t)^gamma log p_t (Lin et al. 2017, eq. 5); ``alpha`` weighs positives, 1 - alpha negatives."""

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def cells(self, events: Tensor, log_deaths: Maybe, targets: Tensor, deaths: Maybe, valid: Tensor) -> Tensor:
        true = targets > 0.5
        signed = torch.where(true, events, -events)
        # 1 - p_t as a power of e: its gradient stays finite where p_t rounds to 1
        cell = -(self.gamma * functional.logsigmoid(-signed)).exp() * functional.logsigmoid(signed)
        if self.alpha is not None:
            cell = cell * (self.alpha * targets + (1 - self.alpha) * (1 - targets))
        return cell


class MSE(Term):
    """Mean squared error of the probability: the Brier score."""

    def cells(self, events: Tensor, log_deaths: Maybe, targets: Tensor, deaths: Maybe, valid: Tensor) -> Tensor:
        return (events.sigmoid() - targets) ** 2


class SSIM(Term):
    """1 - structural similarity of the maps of probability and truth (Wang et al. 2004), mean over valid cells.

    Gaussian windows of ``sigma`` cells. Maps are 0 outside the valid cells.
    """

    def __init__(self, sigma: float = 1.5) -> None:
        super().__init__()
        self.sigma = sigma
        self.least_side = int(3.5 * sigma + 0.5) + 1  # the edge is mirrored by the reach of the window

    def cells(self, events: Tensor, log_deaths: Maybe, targets: Tensor, deaths: Maybe, valid: Tensor) -> Tensor:
        from torchmetrics.functional.image import structural_similarity_index_measure as similarity

        within = valid[:, None, None]
        one, other = ((values * within).flatten(0, 2)[:, None] for values in (events.sigmoid(), targets))
        _, places = similarity(one, other, sigma=self.sigma, data_range=1.0, reduction="none", return_full_image=True)
        return 1 - places.reshape(events.shape)


class Hurdle(Term):
    """Cross-entropy of the event, and squared error of log1p deaths where there was one (a hurdle: Cragg 1971).

    Both are divided by the number of all cells, as in the likelihood: divided by the few with an event, the deaths would
    outweigh the event a hundredfold. ``pos_weight`` as for :class:`BCE`; ``deaths`` is what the second part counts.
    """

    more = 1

    def __init__(self, pos_weight: str | float | None = None, deaths: float = 1.0) -> None:
        super().__init__()
        self.event, self.deaths = BCE(pos_weight), deaths

    def forward(self, events: Tensor, log_deaths: Tensor, targets: Tensor, deaths: Tensor, valid: Tensor) -> Tensor:
        size = _mean(self._sizes(log_deaths, targets, deaths, valid), valid)
        return self.event(events, None, targets, None, valid) + self.deaths * size

    def size(self, log_deaths: Tensor, deaths: Tensor) -> Tensor:
        """What each cell and month adds, had it an event."""
        return (log_deaths - torch.log1p(deaths)) ** 2

    def cells(self, events: Tensor, log_deaths: Tensor, targets: Tensor, deaths: Tensor, valid: Tensor) -> Tensor:
        sizes = self._sizes(log_deaths, targets, deaths, valid)
        return self.event.cells(events, None, targets, None, valid) + self.deaths * sizes

    def _sizes(self, log_deaths: Tensor, targets: Tensor, deaths: Tensor, valid: Tensor) -> Tensor:
        positive = (targets > 0.5) & valid[:, None, None]
        return torch.where(positive, self.size(log_deaths, deaths), 0)


class HurdleClasses(Hurdle):
    """Cross-entropy of the event, and of the class of deaths where there was one: a network that draws deaths.

    The classes are those of the field's challenge (``geonb.workloads.conflict.death_scores.EDGES``): with both parts counting
    once the loss is the ignorance of the forecast, in nats.
    """

    more = CLASSES

    def size(self, log_deaths: Tensor, deaths: Tensor) -> Tensor:
        logits = log_deaths.unflatten(2, (-1, CLASSES))  # (sample, lead, outcome, class, y, x)
        which = torch.bucketize(deaths, deaths.new_tensor(EDGES), right=True)
        return -logits.log_softmax(dim=3).gather(3, which[:, :, :, None])[:, :, :, 0]


LOSSES: dict[str, type[Term]] = {
    "bce": BCE, "focal": Focal, "hurdle": Hurdle, "hurdle-classes": HurdleClasses, "mse": MSE, "ssim": SSIM,
}  # fmt: skip
_ABOVE_0 = Option(None, float, 1e-6, 1e6)  # beyond, float32 holds the sum no more
_OPTIONS = {
    "alpha": Option(None, float, 0, 1),
    "gamma": Option(None, float, 0.1, 10),
    "sigma": Option(None, float, 0.3, 5, help="cells"),
    "deaths": _ABOVE_0,
    "pos_weight": replace(_ABOVE_0, choices=RULES),
}
_WEIGHT = {"weight": replace(_ABOVE_0, default=1.0, help="in a sum")}
OPTIONS = {name: options_of(term, _OPTIONS) | _WEIGHT for name, term in LOSSES.items()}


class ForecastLoss(nn.Module):
    """A weighted sum of terms.

    Attributes
    ----------
    outcomes : int
        The first so many outputs are event logits.
    more : int
        How many outputs of each outcome follow: none, its log1p deaths, or logits of its classes of deaths.
    needs_deaths, draws_deaths : bool
        Whether deaths are learnt, and whether as a distribution.
    least_side : int, cells
        Of the windows.
    """

    def __init__(self, terms: list[tuple[float, Term]], outcomes: int) -> None:
        super().__init__()
        self.weights, self.terms = [weight for weight, _ in terms], nn.ModuleList(term for _, term in terms)
        self.outcomes, self.more = outcomes, max(term.more for term in self.terms)
        self.needs_deaths, self.draws_deaths = self.more > 0, self.more == CLASSES
        self.least_side = max(term.least_side for term in self.terms)

    def forward(self, outputs: Tensor, targets: Tensor, deaths: Tensor | None, valid: Tensor) -> Tensor:
        """Scalar of outputs (sample, lead, output, y, x), targets and deaths (sample, lead, outcome, y, x), valid (sample, y, x)."""
        given = self._given(outputs, targets, deaths, valid)
        return torch.stack([weight * term(*given) for weight, term in zip(self.weights, self.terms, strict=True)]).sum()

    def cells(self, outputs: Tensor, targets: Tensor, deaths: Tensor | None, valid: Tensor) -> Tensor:
        """What each cell (sample, y, x) adds, the mean of its leads and outcomes: the loss is the mean of the valid ones."""
        given = self._given(outputs, targets, deaths, valid)
        terms = [weight * term.cells(*given) for weight, term in zip(self.weights, self.terms, strict=True)]
        return torch.stack(terms).sum(dim=0).mean(dim=(1, 2))

    def _given(self, outputs: Tensor, targets: Tensor, deaths: Tensor | None, valid: Tensor) -> tuple[Any, ...]:
        """What the terms take."""
        # half precision cannot hold sums over a million cells
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        events, log_deaths = outputs[:, :, : self.outcomes], outputs[:, :, self.outcomes :]
        targets = targets.to(outputs.dtype)
        return events, log_deaths, targets, None if deaths is None else deaths.to(outputs.dtype), valid.bool()


def build_loss(spec: str, outcomes: int = 1) -> ForecastLoss:
    """Build a loss from its specification.

    Parameters
    ----------
    spec : str
        ``name:argument=value,...``; ``a+b`` adds terms up, and ``weight`` is what a term counts in the sum:
        ``bce:pos_weight=pixel/2+ssim:weight=0.5``.
    outcomes : int
        Number of outcomes.

    Raises
    ------
    ValueError
        If losses or arguments are unknown, ill-typed or out of range; lists all faults and what is known.
    """
    terms = check_sum("loss", spec, OPTIONS)
    if {"hurdle", "hurdle-classes"} <= {name for name, _ in terms}:
        raise ValueError(f"loss = {spec!r}: hurdle and hurdle-classes say deaths in two ways. Give one of them.")
    return ForecastLoss([(options.pop("weight"), LOSSES[name](**options)) for name, options in terms], outcomes)


def check_side(loss: str, built: ForecastLoss, side: int) -> None:
    """Refuse windows of so many cells a side that are too small for a loss.

    Raises
    ------
    ValueError
        If it compares larger maps.
    """
    if side < built.least_side:
        raise ValueError(
            f"loss = {loss!r} compares maps of {built.least_side} cells a side or more; the windows have {side}. "
            "Give a smaller sigma (ssim:sigma=0.5), larger windows, or another loss."
        )


def pixel_weights(rule: str | float | None, targets: Tensor, valid: Tensor) -> Tensor | None:
    """What a positive counts, to be multiplied with (sample, lead, outcome, y, x); None is 1. See :class:`BCE`."""
    if rule in (None, "none"):
        return None
    if not isinstance(rule, str):
        return targets.new_tensor(float(rule))
    # over all but the outcome, or over samples alone
    within = valid[:, None, None].expand_as(targets)
    over = (0, 1, 3, 4) if rule == "batch" else (0,)
    cells = within.sum(dim=over, keepdim=True).to(targets.dtype)
    positives = (targets * within).sum(dim=over, keepdim=True)
    return (cells - positives) / positives.clamp(min=1) / float(rule.partition("/")[2] or 1)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid cells, all leads and outcomes of (sample, lead, outcome, y, x)."""
    within = valid[:, None, None].expand_as(values)
    return torch.where(within, values, 0).sum() / within.sum().clamp(min=1)
