"""Networks by specification: ``"unet:encoder=resnet18"`` -> nn.Module for N bands and C classes.

``segmentalist`` is ours (:mod:`.segmentalist`). Every architecture and encoder of segmentation-models-pytorch can be
named too, timm's encoders with the prefix ``tu-``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from geonb.base.specs import Option, check_options, options_of, parse_spec
from geonb.training import pretrained
from geonb.training.devices import check_weights
from geonb.workloads.segmentation import segmentalist
from geonb.workloads.segmentation.segmentalist import Segmentalist

# Short names of the two arguments that everybody sets.
_SHORT = {"encoder": "encoder_name", "weights": "encoder_weights"}
# What geonb decides; an activation would turn logits into something else.
_GIVEN = {"in_channels", "classes", "aux_params", "activation"}
# Options that can leave an output of another size than the input.
_SIZES = {"encoder_depth", "encoder_output_stride", "upsampling"}

ARCHITECTURES: dict[str, type[nn.Module]] = {
    name.lower(): member
    for name, member in vars(smp).items()
    if inspect.isclass(member) and issubclass(member, smp.base.SegmentationModel)
}
ARCHITECTURES["segmentalist"] = Segmentalist


def _encoder(name: Any) -> str:
    if not (
        isinstance(name, str) and (name in smp.encoders.encoders or (name[:3] == "tu-" and timm.is_model(name[3:])))
    ):
        near = get_close_matches(str(name), [*smp.encoders.encoders, *(f"tu-{m}" for m in timm.list_models())], n=3)
        raise ValueError(
            f"Unknown encoder {name!r}. Near: {', '.join(near) or 'none'}. "
            "Known: those of segmentation_models_pytorch.encoders.get_encoder_names(), and 'tu-<any timm model>'"
        )
    return name


def _options(architecture: type[nn.Module]) -> dict[str, Option]:
    """What an architecture of segmentation-models-pytorch takes: whether its numbers fit each other, it says itself."""
    given = {
        "encoder": Option("resnet18", read=_encoder, help="or tu-<any model of timm>"),
        "weights": Option(help="imagenet, ...; without, it starts at random"),
    }
    return given | options_of(architecture, {}, without={*_GIVEN, *_SHORT.values()})


OPTIONS = {name: _options(network) for name, network in ARCHITECTURES.items() if network is not Segmentalist}
OPTIONS["segmentalist"] = segmentalist.OPTIONS


def check_network(spec: str) -> tuple[type[nn.Module], dict[str, Any]]:
    """Resolve a specification without building it.

    Raises
    ------
    ValueError
        If the architecture, an option, the encoder or its weights are unknown; lists what is known.
    """
    for short, long in _SHORT.items():
        spec = spec.replace(f"{long}=", f"{short}=")
    name, options = check_options("network", spec, OPTIONS, _together)
    if name != "segmentalist":  # what is not given stays the architecture's own
        given = {"encoder", "weights", *parse_spec(spec)[1]}
        options = {_SHORT.get(key, key): value for key, value in options.items() if key in given}
    return ARCHITECTURES[name], options


def _together(name: str, options: dict[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    if name == "segmentalist":
        yield from segmentalist.size_faults(options)
        return
    encoder, weights = options["encoder"], options["weights"]
    ours = smp.encoders.encoders
    sets = ours[encoder]["pretrained_settings"] if encoder in ours else ["imagenet"]
    if weights is not None and weights not in sets:
        yield (
            f"Unknown weights {weights!r} of {encoder!r}. Known: {', '.join(sets) or 'none'}; leave them out to start at random"
        )


def build_network(spec: str, channels: int, classes: int, weights: bool = True) -> nn.Module:
    """Build a segmentation network.

    Parameters
    ----------
    spec : str
        ``architecture:option=value,...``, e.g. ``unet:encoder=resnet18``, ``fpn:encoder=tu-convnext_nano,weights=imagenet``
        or ``segmentalist:layer_blocks=2-2-2,attention=spatial``.
        Encoders start at random unless ``weights`` names a set that is on disk or can be fetched.
    channels, classes : int
        Bands in, classes out.
    weights : bool
        False leaves pretrained weights out, where a checkpoint is loaded into the network anyway.

    Returns
    -------
    Module, (sample, channel, y, x) float32 -> logits (sample, class, y, x), with ``encoder``
        A ``segmentalist`` with deep supervision gives a list of logits in training mode.

    Raises
    ------
    ValueError
        For an unknown architecture, option, encoder or weights, and options that do not go together.
    ConnectionError
        If pretrained weights are neither on disk nor to be had: fetch them on a machine with network first.
    """
    architecture, options = check_network(spec)
    if not weights and "encoder_weights" in options:
        options["encoder_weights"] = None
    pretrained = options.get("encoder_weights")
    try:
        network = architecture(in_channels=channels, classes=classes, **options)
    except MemoryError:
        raise
    except Exception as error:  # a library's, of a dozen kinds
        if pretrained is None or not isinstance(error, (OSError, RuntimeError)):
            told = str(error) or type(error).__name__
            raise ValueError(f"The options of network = {spec!r} do not go together: {told}") from error
        raise ConnectionError(
            f"The weights {pretrained!r} of {options['encoder_name']!r} are not on disk and could not be fetched ({error}). "
            "Build the network once where there is a network (a login node), or leave `weights` out to start at random."
        ) from error
    if architecture is not Segmentalist and set(options) & _SIZES:
        _check_output(network, spec, channels)
    return network


def fetch_weights(folder: Path, options: Mapping[str, str], dry: bool = False) -> list[str]:
    """Pretrained weights of ``-p network=...``, ahead of a job without network; see :mod:`geonb.training.pretrained`."""
    return pretrained.fetch_weights(options, dry, lambda spec: build_network(spec, 3, 2))


def check_build(spec: str) -> None:
    """Refuse a network that cannot be built or held, before any compute: from shapes alone, no weight is made.

    Raises
    ------
    ValueError
        As :func:`build_network` and :func:`geonb.training.devices.check_weights`.
    """
    try:
        with torch.device("meta"):
            network = build_network(spec, channels=3, classes=2, weights=False)
    except ValueError as error:
        if "meta tensor" not in str(error):
            raise
        network = build_network(
            spec, channels=3, classes=2, weights=False
        )  # some ask their own numbers while they are built
    check_weights(network, spec)


def _check_output(network: nn.Module, spec: str, channels: int) -> None:
    network.eval()
    try:
        with torch.no_grad():
            given = network(torch.zeros(1, channels, 128, 128)).shape[-1]
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"The options of network = {spec!r} do not go together: {error}") from error
    network.train()
    if given != 128:
        raise ValueError(
            f"network = {spec!r} makes {given} pixels of 128: its options {', '.join(sorted(_SIZES))} do not fit each other. "
            "Leave them out, or set `upsampling` so that the output is as large as the input."
        )


@cache
def size_multiple(spec: str) -> int:
    """What a window's height and width must be a multiple of, in pixels; 1 where any size does.

    Raises
    ------
    ValueError
        As ``build_network``.
    """
    if check_network(spec)[0] is Segmentalist:
        return 1
    network = build_network(spec, channels=3, classes=2, weights=False)
    return int(network.encoder.output_stride) if network.requires_divisible_input_shape else 1


def check_size(spec: str, height: int, width: int) -> None:
    """Refuse windows that a network cannot label, before any compute.

    Raises
    ------
    ValueError
        If a side is no multiple of ``size_multiple``; names the nearest sizes that do.
    """
    multiple = size_multiple(spec)
    wrong = sorted({side for side in (height, width) if side % multiple})
    if wrong:
        near = ", ".join(
            f"{max(multiple, side // multiple * multiple)} or {-(-side // multiple) * multiple}" for side in wrong
        )
        raise ValueError(
            f"Windows of {height} x {width} pixels don't fit network = {spec!r}: its sides must be multiples of {multiple}. "
            f"Give {near}, or a network that takes any size: unet, segmentalist."
        )


def describe_network(spec: str, channels: int, classes: int) -> dict[str, int]:
    """Size of a network: ``parameters`` (count) and ``size_multiple`` (pixels)."""
    network = build_network(spec, channels, classes, weights=False)
    return {"parameters": sum(p.numel() for p in network.parameters()), "size_multiple": size_multiple(spec)}


def window_of(card: dict[str, Any]) -> int:
    """Window for inference, px: that of training, rounded up to what the network's halvings divide.

    Not larger: kernels deep in a network that saw small windows were trained on little but padding, and what they do with
    a larger window is chance (seen: accuracy .79 with windows of 32 px as in training, .27 with 128 px).
    """
    multiple = size_multiple(card["network"])
    return -(-card["patch"] // multiple) * multiple
