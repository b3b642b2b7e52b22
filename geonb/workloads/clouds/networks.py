"""Networks that turn a tile into a vector: any backbone of timm and a small head, ``"resnet18:dims=100,head=mlp"``.

The head is that of the original (fastai's): the largest and the mean activation of each feature map side by side, batch
normalisation, dropout, two linear layers. ``head=linear`` has the last of them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geonb.base.specs import Option, check_options, parse_spec
from geonb.training import pretrained
from geonb.training.backbones import backbone_faults, create_backbone, feature_maps
from geonb.training.devices import check_weights

_OPTIONS = {
    "dims": Option(100, int, 2, 4096, help="length of the vector"),
    "head": Option("mlp", choices=("mlp", "linear")),
    "hidden": Option(512, int, 2, 65536, help="width of the head"),
    "dropout": Option(0.5, float, 0, below=1),
    "unit": Option(False, bool, help="vectors of length 1"),
    "weights": Option("none", choices=("none", "imagenet")),
}
OPTIONS = {"<backbone of timm>": _OPTIONS}


def check_network(spec: str) -> tuple[str, dict[str, Any]]:
    """Resolve a specification: (name of a timm model, {dims, head, hidden, dropout, weights}).

    ``dims`` is the length of the vector, ``head`` mlp or linear, ``hidden`` the width between its layers, ``dropout`` its
    larger rate (before the first layer half of it), ``unit`` whether vectors have length 1 (Schroff et al. 2015, FaceNet),
    ``weights`` none or imagenet (on disk, or fetched by timm).

    Raises
    ------
    ValueError
        Lists all that is unknown, ill-typed or out of range, and what is known.
    """
    return check_options("network", spec, {parse_spec(spec)[0]: _OPTIONS}, backbone_faults)


def build_network(spec: str, channels: int, patch: int, weights: bool = True) -> Embedder:
    """Build a network from its specification.

    Parameters
    ----------
    channels : int
    patch : int, px
        Side of the tiles; transformers need to know it.
    weights : bool
        False leaves pretrained weights out (a checkpoint follows).

    Raises
    ------
    ValueError
        If the specification is wrong, or the backbone cannot take such tiles.
    """
    name, options = check_network(spec)
    return Embedder(name, channels, patch, weights and options["weights"] == "imagenet", options)


def fetch_weights(folder: Path, options: Mapping[str, str], dry: bool = False) -> list[str]:
    """Pretrained weights of ``-p network=...``, ahead of a job without network; see :mod:`geonb.training.pretrained`."""
    return pretrained.fetch_weights(options, dry, lambda spec: build_network(spec, 3, 224))


def check_build(spec: str) -> None:
    """Refuse a network that is not known or cannot be held, whatever the tiles: from shapes alone, no weight is made.

    Raises
    ------
    ValueError
        As :func:`check_network` and :func:`geonb.training.devices.check_weights`.
    """
    check_network(spec)
    try:
        with torch.device("meta"):
            network = build_network(spec, 3, 224, weights=False)
    except Exception:  # of the tiles' side, which is not known yet; see `check_size`
        return
    check_weights(network, spec)


def check_size(spec: str, channels: int, patch: int) -> None:
    """Refuse a backbone that tiles of this size do not fit, from shapes alone: nothing is computed.

    Raises
    ------
    ValueError
    """
    try:
        with torch.device("meta"):
            network = build_network(spec, channels, patch, weights=False).eval()
            network(torch.empty(2, channels, patch, patch))
    except (RuntimeError, AssertionError, IndexError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"network = {spec!r} does not take {channels} x {patch} x {patch} px ({reason}). Choose another backbone or `patch`"
        ) from None


class Embedder(nn.Module):
    """Backbone and head: (sample, channel, y, x) -> (sample, dim)."""

    def __init__(self, name: str, channels: int, patch: int, pretrained: bool, options: dict[str, Any]) -> None:
        super().__init__()
        self.backbone = create_backbone(name, channels, patch, pretrained)
        width, self.unit = 2 * self.backbone.num_features, options["unit"]
        dims, hidden, dropout = options["dims"], options["hidden"], options["dropout"]
        if options["head"] == "linear":
            self.head = nn.Linear(width, dims)
        else:
            self.head = nn.Sequential(
                nn.BatchNorm1d(width), nn.Dropout(dropout / 2), nn.Linear(width, hidden), nn.ReLU(),
                nn.BatchNorm1d(hidden), nn.Dropout(dropout), nn.Linear(hidden, dims),
            )  # fmt: skip

    def features(self, inputs: Tensor) -> Tensor:
        """Largest and mean activation of each feature map: (sample, 2 * feature)."""
        maps = feature_maps(self.backbone, inputs)
        return torch.cat([maps.amax(dim=2), maps.mean(dim=2)], dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        vectors = self.head(self.features(inputs))
        return nn.functional.normalize(vectors.float(), dim=1) if self.unit else vectors
