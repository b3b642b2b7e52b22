"""Networks that forecast, by specification: ``"convlstm:structure=12-24-0-0-0/0-24-12-6-5"`` -> nn.Module.

``convlstm`` (:mod:`.convlstm`) and ``unet_lstm`` (:mod:`.unet_lstm`) take months (sample, step, channel, y, x) and give
logits (sample, lead, output, y, x).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from geonb.base.specs import Option, check_options, options_of
from geonb.training.devices import check_weights
from geonb.workloads.conflict.convlstm import HEADS, PEEPHOLES, EncoderDecoder, check_structure
from geonb.workloads.conflict.unet_lstm import NORMS, RECURRENT, UNetLSTM

ARCHITECTURES: dict[str, type[nn.Module]] = {"convlstm": EncoderDecoder, "unet_lstm": UNetLSTM}
STRUCTURE = [[12, 24, 0, 0, 0], [0, 24, 12, 6, 5]]  # the seed's own example


def _structure(value: Any) -> Any:
    structure = read_structure(value)
    check_structure(structure)
    return structure


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"is even and has no middle; give {value - 1} or {value + 1}")
    return value


def _size(value: Any) -> Any:
    sides = value if isinstance(value, list | tuple) else [value] * 2
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError("must be the side of the windows in cells, as 16, or height-width, as 20-25")
    return value


_OPTIONS = {
    "structure": Option(read=_structure, help="encoder/decoder, channels of each layer"),
    "peephole": Option(choices=PEEPHOLES),
    "size": Option(read=_size, help="of the windows, with peephole=pixel, cells"),
    "head": Option(choices=HEADS),
    "recurrent": Option(choices=RECURRENT),
    "norm": Option(choices=NORMS),
    "filters": Option(None, int, 1, 1024),
    "depth": Option(None, int, 1, 8),
    "kernel": Option(None, int, 1, 31, read=_odd, help="odd"),
    "dropout": Option(None, float, 0, below=1),
    "skip": Option(None, bool, help="from the inputs to each lead"),
}
OPTIONS = {name: options_of(network, _OPTIONS) for name, network in ARCHITECTURES.items()}
OPTIONS["convlstm"] = {"structure": replace(_OPTIONS["structure"], default=STRUCTURE), **OPTIONS["convlstm"]}
FLOORS = ("auto", "weighted-history", "logistic", "none")
_FLOOR = Option(
    "auto", choices=FLOORS, help="baseline that is corrected; auto: the better one in the validation months"
)
OPTIONS = {name: {**options, "floor": _FLOOR} for name, options in OPTIONS.items()}


def check_network(spec: str) -> tuple[type[nn.Module], dict[str, Any]]:
    """Resolve a specification without building it.

    Returns
    -------
    The class, and all its options, defaults included; ``structure`` as a 2 x N list.

    Raises
    ------
    ValueError
        Lists every unknown, ill-typed or unfit option, with the nearest that is known.
    """
    name, options = check_options("network", spec, OPTIONS, _together)
    return ARCHITECTURES[name], options


def _together(name: str, options: dict[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    if "size" in given and options.get("peephole", "pixel") != "pixel":
        yield f"size = {given['size']!r} belongs to peephole=pixel; other peepholes take any size: leave it out"
    if options.get("head") == "none" and options["floor"] not in ("auto", "none"):
        yield f"floor = {options['floor']!r} needs outputs that can begin at 0, which head=none has not: give head=conv, or floor=none"


def read_structure(value: Any) -> Any:
    """``12-24-0/0-24-6`` (or a single layer, ``12/12``) as a matrix [[12, 24, 0], [0, 24, 6]]; a matrix stays one.

    Raises
    ------
    ValueError
        If a number of the text is none.
    """
    if not isinstance(value, str):
        return value
    rows = [row.split("-") for row in value.split("/")]
    wrong = sorted({number for row in rows for number in row if not number.strip().isdigit()})
    if wrong:
        raise ValueError(
            f"structure = {value!r}: {', '.join(map(repr, wrong))} must be whole numbers, 0 or more. "
            "Write 12-24-0-0-0/0-24-12-6-5."
        )
    return [[int(number) for number in row] for row in rows]


def build_network(spec: str, channels: int, outputs: int, horizon: int) -> nn.Module:
    """Build a network that forecasts.

    Parameters
    ----------
    spec : str
        ``convlstm:structure=12-24-0-0-0/0-24-12-6-5,kernel=3,peephole=channel,head=conv`` (see
        :class:`geonb.workloads.conflict.convlstm.EncoderDecoder`) or ``unet_lstm:filters=8,depth=2,dropout=0.1`` (see
        :class:`geonb.workloads.conflict.unet_lstm.UNetLSTM`).
    channels, outputs, horizon : int
        Channels in, outputs of each lead, leads.

    Returns
    -------
    Module, (sample, step, channel, y, x) float32 -> logits (sample, lead, output, y, x), with ``features``

    Raises
    ------
    ValueError
        As :func:`check_network`; or if ``head=none`` has fewer hidden channels than outputs.
    """
    architecture, options = check_network(spec)
    del options["floor"]  # of the task: what the network's outputs are added to
    last = options["structure"][1][-1] if "structure" in options else outputs
    if options.get("head") == "none" and last < outputs:
        raise ValueError(
            f"head=none in network = {spec!r} reads {outputs} outputs off {last} hidden channels. "
            f"Give the last decoder layer {outputs} or more, or head=conv."
        )
    return architecture(channels, outputs, horizon, **options)


def check_size(spec: str, height: int, width: int) -> None:
    """Refuse windows that a network cannot take, before any compute: those of another size than peepholes per pixel.

    Raises
    ------
    ValueError
        Says which sizes fit.
    """
    _, options = check_network(spec)
    if options.get("peephole") != "pixel":
        return
    size = tuple([options["size"]] * 2 if isinstance(options["size"], int) else options["size"])
    if (height, width) != size:
        raise ValueError(
            f"Windows of {height} x {width} cells don't fit network = {spec!r}: its peepholes per pixel are for "
            f"{size[0]} x {size[1]}. Give size={height if height == width else f'{height}-{width}'}, "
            "or peephole=channel, which takes any size."
        )


def check_build(spec: str) -> None:
    """Refuse a network that cannot be built or held, before any compute: from shapes alone, no weight is made.

    Raises
    ------
    ValueError
        As :func:`build_network` and :func:`geonb.training.devices.check_weights`.
    """
    with torch.device("meta"):
        check_weights(build_network(spec, channels=1, outputs=1, horizon=1), spec)


def describe_network(spec: str, channels: int, outputs: int, horizon: int) -> dict[str, Any]:
    """Size of a network: ``parameters`` (count), ``any_size``, ``dropout`` (share) and, of a convlstm, its layers."""
    _, options = check_network(spec)
    network = build_network(spec, channels, outputs, horizon)
    facts = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "any_size": options.get("peephole") != "pixel",
        "dropout": float(options["dropout"]),
    }
    if "structure" in options:
        facts["encoder"], facts["decoder"], facts["links"] = check_structure(options["structure"])
    return facts
