"""Networks by specification: ``"unet:encoder=resnet18"`` -> nn.Module for N bands and C classes.

Every architecture and encoder of segmentation-models-pytorch can be named, timm's encoders with the prefix ``tu-``.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

import segmentation_models_pytorch as smp
from torch import nn

from geonb.parameters import parse_spec, pick

# Short names of the two arguments that everybody sets.
_SHORT = {"encoder": "encoder_name", "weights": "encoder_weights"}
_GIVEN = {"in_channels", "classes", "aux_params", "self", "kwargs"}

ARCHITECTURES: dict[str, type[nn.Module]] = {
    name.lower(): member
    for name, member in vars(smp).items()
    if inspect.isclass(member) and issubclass(member, smp.base.SegmentationModel)
}


def check_network(spec: str) -> tuple[type[nn.Module], dict[str, Any]]:
    """Resolve a specification without building it.

    Raises
    ------
    ValueError
        If the architecture, an option or the encoder is unknown; lists what is known.
    """
    name, options = parse_spec(spec)
    architecture = pick("network", name, ARCHITECTURES, spec)
    known = set(inspect.signature(architecture.__init__).parameters) - _GIVEN
    options = {_SHORT.get(key, key): value for key, value in options.items()}
    unknown = sorted(set(options) - known)
    if unknown:
        allowed = sorted((known - set(_SHORT.values())) | set(_SHORT))
        raise ValueError(
            f"Unknown option {', '.join(unknown)} in network = {spec!r}. {name} takes: {', '.join(allowed)}."
        )
    encoder = options.get("encoder_name", "resnet18")
    if not encoder.startswith("tu-") and encoder not in smp.encoders.encoders:
        near = get_close_matches(encoder, smp.encoders.encoders, n=3)
        raise ValueError(
            f"Unknown encoder {encoder!r} in network = {spec!r}. Near: {', '.join(near) or 'none'}. "
            "Known: those of segmentation_models_pytorch.encoders.get_encoder_names(), and 'tu-<any timm model>'."
        )
    return architecture, {"encoder_name": encoder, "encoder_weights": None, **options}


def build_network(spec: str, channels: int, classes: int, weights: bool = True) -> nn.Module:
    """Build a segmentation network.

    Parameters
    ----------
    spec : str
        ``architecture:option=value,...``, e.g. ``unet:encoder=resnet18`` or ``fpn:encoder=tu-convnext_nano,weights=imagenet``.
        Encoders start at random unless ``weights`` names a set that is on disk or can be fetched.
    channels, classes : int
        Bands in, classes out.
    weights : bool
        False leaves pretrained weights out, where a checkpoint is loaded into the network anyway.

    Returns
    -------
    Module, (sample, channel, y, x) float32 -> logits (sample, class, y, x)

    Raises
    ------
    ValueError
        For an unknown architecture, option, encoder or weights.
    ConnectionError
        If pretrained weights are neither on disk nor to be had: fetch them on a machine with network first.
    """
    architecture, options = check_network(spec)
    if not weights:
        options["encoder_weights"] = None
    try:
        return architecture(in_channels=channels, classes=classes, **options)
    except (OSError, RuntimeError) as error:
        if options["encoder_weights"] is None:
            raise
        raise ConnectionError(
            f"The weights {options['encoder_weights']!r} of {options['encoder_name']!r} are not on disk and could not be fetched "
            f"({error}). Build the network once where there is a network (a login node), or leave `weights` out to start at random."
        ) from error
