"""Losses of an embedding without labels, by specification: ``"infonce:temperature=0.1,apart=3"`` or ``"triplet:margin=1"``.

Each takes the vectors of a batch, all anchors, all neighbours and all distant tiles, and where the tiles lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from geonb.base.specs import Option, check_options, options_of


def squared_distances(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Near and far of vectors (3 * sample, dim): anchor to neighbour and anchor to distant tile, each (sample,)."""
    anchor, neighbor, distant = vectors.chunk(3)
    return (anchor - neighbor).square().sum(dim=1), (anchor - distant).square().sum(dim=1)


@dataclass(frozen=True)
class TripletLoss:
    """Mean of ``relu(|a - n|^2 - |a - d|^2 + margin)``: Jean et al. 2019 (Tile2Vec, arXiv 1805.02855), eq. 2-3.

    Attributes
    ----------
    margin : float, squared distance
    """

    margin: float = 1.0

    @property
    def scale(self) -> float:
        """Squared distance of tiles that are well apart."""
        return self.margin

    def __call__(self, vectors: Tensor, places: Tensor | None = None) -> Tensor:
        """Loss of vectors (3 * sample, dim); where they lie does not count."""
        near, far = squared_distances(vectors)
        return (near - far + self.margin).relu().mean()


@dataclass(frozen=True)
class InfoNCE:
    """Which of all neighbours and distant tiles in the batch is the anchor's? Cross-entropy of cosines over temperature.

    van den Oord et al. 2018 (arXiv 1807.03748), eq. 4; cosines and temperature as in Chen et al. 2020 (SimCLR, arXiv 2002.05709).
    An anchor is compared with 2 n - 1 tiles in place of one. Tiles that may well show the same clouds are left out: those of the
    same take (hours and ground) that are less than ``apart`` away from the anchor, and those of the same take in another series,
    whose pixels are no measure of the distance.

    Attributes
    ----------
    temperature : float
        Small: the most similar wrong tile counts alone. Large: all of them.
    apart : float, tiles
    """

    temperature: float = 0.1
    apart: float = 3.0

    scale = 1.0  # vectors of length 1 are at most 4 apart, at right angles 2

    def __call__(self, vectors: Tensor, places: Tensor) -> Tensor:
        """Loss of vectors (3 * sample, dim) of tiles at places (3 * sample, 4): take, series, y and x in tiles."""
        anchor, others = functional.normalize(vectors, dim=1).tensor_split([len(vectors) // 3])
        own = torch.arange(len(anchor), device=vectors.device)
        with torch.autocast(vectors.device.type, enabled=False):  # in bfloat16 a cosine near 1 is good to 1/256 only
            alike = anchor @ others.T / self.temperature
        return functional.cross_entropy(alike.masked_fill(self.left_out(places), float("-inf")), own)

    def left_out(self, places: Tensor) -> Tensor:
        """Which of the neighbours and distant tiles (2 * sample) do not count beside each anchor's own (sample): bool."""
        n = len(places) // 3
        one, other = places[:n, None], places[None, n:]
        near = (one[..., 2:] - other[..., 2:]).square().sum(dim=-1) < self.apart**2
        same_take, other_series = one[..., 0] == other[..., 0], one[..., 1] != other[..., 1]
        found = same_take & (near | other_series)
        own = torch.arange(n, device=places.device)
        found[own, own] = False  # the neighbour itself
        found[own, own + n] = False  # the distant tile drawn for it
        return found


LOSSES: dict[str, type[TripletLoss] | type[InfoNCE]] = {"infonce": InfoNCE, "triplet": TripletLoss}
_OPTIONS = {
    "margin": Option(None, float, 1e-6, 1e6, help="squared distance"),
    "temperature": Option(None, float, 1e-3, 1e3),
    "apart": Option(None, float, 0, 1e6, help="tiles; 0: none is left out"),
}
OPTIONS = {name: options_of(loss, _OPTIONS) for name, loss in LOSSES.items()}


def build_loss(spec: str) -> TripletLoss | InfoNCE:
    """Build a loss from its specification.

    Raises
    ------
    ValueError
        Lists all that is unknown, ill-typed or out of range, and what is known.
    """
    name, options = check_options("loss", spec, OPTIONS)
    return LOSSES[name](**options)
