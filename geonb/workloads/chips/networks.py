"""Networks that say which labels a chip has: any backbone of timm and a head, ``"resnet50:weights=imagenet,freeze=true"``.

The head is the original's, n -> n/2 -> n/4 -> classes with Linear, ReLU, BatchNorm and Dropout a step and one linear layer at the
end. What comes before the last layer is the chip's vector, by which chips are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geonb.base.specs import Option, check_options, parse_spec
from geonb.training import pretrained
from geonb.training.backbones import backbone_faults, create_backbone, feature_maps
from geonb.training.devices import check_weights


def stages_of(value: Any) -> tuple[int, ...]:
    """Epochs of ``unfreeze``: 5-10 is (5, 10); a ValueError if they are not one or two whole numbers that rise."""
    epochs = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(epochs) <= 2 or any(type(n) is not int for n in epochs) or list(epochs) != sorted(epochs):
        raise ValueError("must be one or two epochs that rise, as 5-10")
    return tuple(epochs)


_OPTIONS = {
    "head": Option("mlp", choices=("mlp", "linear"), help="mlp: n, n/2, n/4, classes"),
    "dropout": Option(0.5, float, 0, below=1),
    "weights": Option(
        "none", help="none, imagenet (on disk, or fetched by timm), or a file of weights of this backbone"
    ),
    "freeze": Option(False, bool, help="the backbone stands still at first"),
    "unfreeze": Option(
        (5, 10),
        read=stages_of,
        help="epochs at which its last half, then all of it, begins to learn, at a tenth of the rate",
    ),
}
OPTIONS = {"<backbone of timm>": _OPTIONS}


def check_network(spec: str) -> tuple[str, dict[str, Any]]:
    """Resolve a specification: (name of a timm model, {head, dropout, weights, freeze, unfreeze}).

    Raises
    ------
    ValueError
        Lists all that is unknown, ill-typed or out of range, and what is known.
    """
    return check_options("network", spec, {parse_spec(spec)[0]: _OPTIONS}, backbone_faults)


def build_network(spec: str, channels: int, classes: int, patch: int, weights: bool = True) -> MultiLabel:
    """Build a network from its specification.

    Parameters
    ----------
    patch : int, px
        Side of the chips; transformers need to know it.
    weights : bool
        False leaves pretrained weights out (a checkpoint follows).

    Raises
    ------
    ValueError
        If the specification is wrong, or the file's weights are those of another network.
    """
    name, options = check_network(spec)
    return MultiLabel(name, channels, classes, patch, options | ({} if weights else {"weights": "none"}))


def fetch_weights(folder: Path, options: Mapping[str, str], dry: bool = False) -> list[str]:
    """Pretrained weights of ``-p network=...``, ahead of a job without network; see :mod:`geonb.training.pretrained`."""
    return pretrained.fetch_weights(options, dry, lambda spec: build_network(spec, 3, 2, 224))


def check_build(spec: str) -> None:
    """Refuse a network that is not known or cannot be held, and weights that are no file: from shapes alone, no weight is made."""
    name, options = check_network(spec)
    if str(options["weights"]) not in ("none", "imagenet"):
        check_file(Path(str(options["weights"])), name)
    try:
        with torch.device("meta"):
            network = MultiLabel(name, 3, 2, 224, options | {"weights": "none"})
    except Exception:  # of the chips' side, which is not known yet; see `check_size`
        return
    check_weights(network, spec)


def check_size(spec: str, channels: int, patch: int) -> None:
    """Refuse a backbone that chips of this size do not fit, from shapes alone: nothing is computed."""
    name, options = check_network(spec)
    try:
        with torch.device("meta"):
            network = MultiLabel(name, channels, 2, patch, options | {"weights": "none"}).eval()
            network(torch.empty(2, channels, patch, patch))
    except (RuntimeError, AssertionError, IndexError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"network = {spec!r} does not take chips of {channels} x {patch} x {patch} px ({reason}). Choose another backbone or `size`"
        ) from None


def learns_from_one(spec: str, channels: int, patch: int) -> bool:
    """Whether a network takes a batch of one chip in training, from shapes alone."""
    name, options = check_network(spec)
    with torch.device("meta"):
        network = MultiLabel(name, channels, 2, patch, options | {"weights": "none"}).train()
        try:
            network(torch.empty(1, channels, patch, patch))
        except ValueError:  # of torch's batch normalisation: expected more than 1 value per channel
            return False
    return True


class MultiLabel(nn.Module):
    """Backbone and head: (sample, channel, y, x) -> logits (sample, class)."""

    def __init__(self, name: str, channels: int, classes: int, patch: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        pretrained = str(options["weights"])
        self.backbone = create_backbone(name, channels, patch, pretrained == "imagenet")
        if pretrained not in ("none", "imagenet"):
            load_weights(self.backbone, Path(pretrained), name)
        width, dropout = self.backbone.num_features, options["dropout"]
        steps = [width, width // 2, width // 4] if options["head"] == "mlp" else [width]
        layers: list[nn.Module] = []
        for n, m in pairwise(steps):
            layers += [nn.Linear(n, m), nn.ReLU(), nn.BatchNorm1d(m), nn.Dropout(dropout)]
        self.head, self.out = nn.Sequential(*layers), nn.Linear(steps[-1], classes)

    def vectors(self, inputs: Tensor) -> Tensor:
        """What comes before the last layer: (sample, dim)."""
        return self.head(feature_maps(self.backbone, inputs).mean(dim=2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.vectors(inputs))


def check_file(file: Path, name: str) -> None:
    """Refuse weights that are not there; a ValueError says what may be given."""
    if not file.is_file():
        raise ValueError(
            f"weights={file} is no file. Give none, imagenet, or a file (.pth, .safetensors) with the weights of {name}"
        )


def load_weights(backbone: nn.Module, file: Path, name: str) -> None:
    """Load a file's weights into a backbone; a first layer of three bands is made for as many as there are.

    Raises
    ------
    ValueError
        If too few of them fit: they are of another network.
    """
    from timm.models import adapt_input_conv
    from timm.models import load_state_dict as read

    check_file(file, name)
    state, wanted = read(str(file)), backbone.state_dict()
    wanted = {key: value for key, value in wanted.items() if not key.endswith("num_batches_tracked")}
    if (
        not state.keys() & wanted.keys()
    ):  # of another library, which names them otherwise: by their order, if all shapes agree
        state = dict(zip(wanted, (v for k, v in state.items() if not k.endswith("num_batches_tracked")), strict=False))
    first = next((key for key, value in wanted.items() if value.ndim == 4), None)
    if first in state and state[first].shape[1] != wanted[first].shape[1]:
        state[first] = adapt_input_conv(wanted[first].shape[1], state[first])
    fit = {key: value for key, value in state.items() if key in wanted and value.shape == wanted[key].shape}
    if len(fit) < len(wanted) - 1:
        lacking = [key for key in wanted if key not in fit]
        raise ValueError(
            f"{file} has {len(fit)} of the {len(wanted)} tensors of {name}; {lacking[0]} lacks or has another shape. Give its own"
        )
    backbone.load_state_dict(fit, strict=False)
