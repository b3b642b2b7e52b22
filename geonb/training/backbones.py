"""Backbones of timm: any of them as features of tiles with any number of bands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn


def backbone_faults(name: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a backbone's name, for :func:`geonb.base.specs.check_options`."""
    from difflib import get_close_matches

    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        yield f"{name!r} is no backbone of timm.{hint} timm.list_models() names all; e.g. resnet18, convnext_atto, vit_tiny_patch16_224"


def create_backbone(name: str, channels: int, patch: int, pretrained: bool) -> nn.Module:
    """A backbone without its classifier, for tiles of `patch` px; ``num_features`` is the length of its vectors.

    Parameters
    ----------
    pretrained : bool
        Weights of ImageNet, on disk or fetched by timm; their first layer is made for the number of channels.
    """
    import timm

    create = partial(timm.create_model, name, pretrained=pretrained, in_chans=channels, num_classes=0)
    try:
        return create(img_size=patch)
    except TypeError:  # convolutions take any size, and have no such argument
        return create()


def feature_maps(backbone: nn.Module, inputs: Tensor) -> Tensor:
    """Activations (sample, feature, place) of a backbone's last layer, whatever its kind: convolutions or tokens."""
    maps = backbone.forward_features(inputs)
    if maps.ndim == 3:  # tokens (sample, token, feature); those that stand for no place are left out
        maps = maps[:, getattr(backbone, "num_prefix_tokens", 0) :].transpose(1, 2)
    elif maps.shape[1] != backbone.num_features:  # (sample, y, x, feature)
        maps = maps.permute(0, 3, 1, 2)
    return maps.flatten(2)
