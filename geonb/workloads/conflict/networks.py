"""Networks that forecast, by specification: ``"convlstm:structure=12-24-0-0-0/0-24-12-6-5"`` -> nn.Module.

``convlstm`` (``networks_convlstm``) and ``unet_lstm`` (``networks_unet_lstm``) take months (sample, step, channel, y, x) and give
logits (sample, lead, output, y, x).
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from torch import nn

from geonb.base.specs import parse_spec, pick
from geonb.workloads.conflict.convlstm import HEADS, PEEPHOLES, EncoderDecoder, check_structure
from geonb.workloads.conflict.unet_lstm import NORMS, RECURRENT, UNetLSTM

ARCHITECTURES: dict[str, type[nn.Module]] = {"convlstm": EncoderDecoder, "unet_lstm": UNetLSTM}
# The seed's own example.
STRUCTURE = [[12, 24, 0, 0, 0], [0, 24, 12, 6, 5]]
_GIVEN = {"self", "channels", "outputs", "horizon"}
_CHOICES = {"peephole": PEEPHOLES, "head": HEADS, "recurrent": RECURRENT, "norm": NORMS}
_WHOLE = {"filters": (1, 1024), "depth": (1, 8), "kernel": (1, 31)}
_SWITCHES = ("skip",)


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
    name, given = parse_spec(spec)
    architecture = pick("network", name, ARCHITECTURES, spec)
    parameters = inspect.signature(architecture.__init__).parameters
    options = {key: parameter.default for key, parameter in parameters.items() if key not in _GIVEN}
    if "structure" in options:
        options["structure"] = STRUCTURE
    faults = [_unknown(key, name, options) for key in given if key not in options]
    options.update({key: value for key, value in given.items() if key in options})
    for key, value in options.items():
        # the word none arrives as None
        options[key] = "none" if value is None and "none" in _CHOICES.get(key, ()) else value
        told = _fault(key, options)
        if told:
            faults.append(told)
    if "size" in given and options["peephole"] != "pixel":
        faults.append(
            f"size = {given['size']!r} belongs to peephole=pixel; other peepholes take any size: leave it out"
        )
    if faults:
        raise ValueError(f"Faults in network = {spec!r}:\n" + "\n".join(f"- {fault}" for fault in faults))
    return architecture, options


def _unknown(key: str, name: str, options: dict[str, Any]) -> str:
    near = get_close_matches(key, options, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown option {key!r}.{hint} {name} takes: {', '.join(options)}"


def _fault(key: str, options: dict[str, Any]) -> str:
    """What is wrong with one option; puts the structure as a matrix into `options`."""
    value = options[key]
    if key == "structure":
        try:
            options[key] = read_structure(value)
            check_structure(options[key])
        except ValueError as error:
            return str(error)
    elif key in _CHOICES:
        near = get_close_matches(str(value), _CHOICES[key], n=1)
        if value not in _CHOICES[key]:
            hint = f". Did you mean {near[0]!r}?" if near else ""
            return f"{key} = {value!r}; allowed: {', '.join(_CHOICES[key])}{hint}"
    elif key in _WHOLE:
        low, high = _WHOLE[key]
        if not _is_whole(value) or not low <= value <= high:
            return f"{key} = {value!r}; give a whole number from {low} to {high}"
        if key == "kernel" and value % 2 == 0:
            return f"kernel = {value} is even and has no middle; give {value - 1} or {value + 1}"
    elif key == "dropout":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            return f"dropout = {value!r}; give a share from 0 to below 1, such as 0.1"
    elif key in _SWITCHES:
        return "" if isinstance(value, bool) else f"{key} = {value!r}; give true or false"
    elif key == "size":
        sides = value if isinstance(value, list | tuple) else [value] * 2
        if len(sides) != 2 or not all(_is_whole(side) and side > 0 for side in sides):
            return f"size = {value!r}; give the side of the windows in cells, as 16, or height-width, as 20-25"
    return ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
    size = tuple([options["size"]] * 2 if _is_whole(options["size"]) else options["size"])
    if (height, width) != size:
        raise ValueError(
            f"Windows of {height} x {width} cells don't fit network = {spec!r}: its peepholes per pixel are for "
            f"{size[0]} x {size[1]}. Give size={height if height == width else f'{height}-{width}'}, "
            "or peephole=channel, which takes any size."
        )


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
