"""Optimisers by specification: ``"adamw:weight_decay=0.01,schedule=one-cycle,swa=0.75"``.

``adam``, ``adamw`` or ``sgd``, each with its own arguments, a schedule of the learning rate, and averaging of weights (SWA).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from geonb.base.specs import parse_spec, pick

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULES = ("one-cycle", "plateau", "cosine", "none")
_ADAM = {"weight_decay": (0, 10), "beta1": (0, 0.9999), "beta2": (0, 0.999999), "eps": (1e-12, 1), "amsgrad": bool}
_SGD = {"weight_decay": (0, 10), "momentum": (0, 0.9999), "dampening": (0, 1), "nesterov": bool}
# What each takes: a range, or bool.
ARGUMENTS: dict[str, dict[str, Any]] = {"adam": _ADAM, "adamw": _ADAM, "sgd": _SGD}
COMMON = {"factor": (0.01, 0.99), "plateau_patience": (0, 1_000_000), "swa": (0, 0.999), "swa_lr": (1e-9, 100)}
DEFAULTS = {"schedule": "one-cycle", "factor": 0.1, "plateau_patience": 3, "swa": None, "swa_lr": None}


def check_optimizer(spec: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Resolve a specification without building it.

    Parameters
    ----------
    spec : str
        ``adam``, ``adamw`` or ``sgd`` with any of: weight_decay; beta1, beta2, eps, amsgrad (Adam); momentum (0.9 if not
        given), dampening, nesterov (SGD); schedule = one-cycle (Smith & Topin 2018; its peak is ``lr``), plateau (``lr``
        times ``factor`` after more than ``plateau_patience`` epochs without a lower validation loss), cosine (Loshchilov &
        Hutter 2017, without restarts), none; swa, the share of the epochs after which weights are averaged (Izmailov et
        al. 2018), and swa_lr, a constant rate from there on (without it the schedule goes on).

    Returns
    -------
    (name, arguments of the torch.optim class, {"schedule", "factor", "plateau_patience", "swa", "swa_lr"})

    Raises
    ------
    ValueError
        Lists all that is unknown, ill-typed or out of range, and what is known.
    """
    name, given = parse_spec(spec)
    pick("optimizer", name, OPTIMIZERS, spec)
    allowed = {**ARGUMENTS[name], **COMMON, "schedule": SCHEDULES}
    settled = {**DEFAULTS, **given}
    if settled["schedule"] is None:  # what parse_spec makes of the word none
        settled["schedule"] = "none"
    settled = {key: value for key, value in settled.items() if value is not None or key not in DEFAULTS}
    faults = [_fault(name, key, value, allowed) for key, value in settled.items()]
    settled = {**DEFAULTS, **settled}
    if "swa_lr" in given and settled["swa"] is None:
        faults.append("swa_lr needs swa, the share of the epochs after which weights are averaged, e.g. swa=0.75")
    for key in ("factor", "plateau_patience"):
        if key in given and settled["schedule"] != "plateau":
            faults.append(f"{key} belongs to schedule=plateau, not to {settled['schedule']}")
    if settled.get("nesterov") and (settled.get("momentum", 0.9) == 0 or settled.get("dampening", 0) != 0):
        faults.append("nesterov=true needs momentum above 0 and dampening 0")
    faults = [fault for fault in faults if fault]
    if faults:
        raise ValueError(f"optimizer = {spec!r} is not right:\n" + "\n".join(f"- {fault}" for fault in faults))
    frame = {key: settled.pop(key) for key in DEFAULTS}
    return name, _arguments(name, settled), frame


def _fault(name: str, key: str, value: Any, allowed: dict[str, Any]) -> str:
    if key not in allowed:
        return f"{name} has no {key!r}; it takes {', '.join(allowed)}"
    what = allowed[key]
    if what is bool:
        return "" if isinstance(value, bool) else f"{key} = {value!r} must be true or false"
    if what is SCHEDULES:
        return "" if value in SCHEDULES else f"schedule = {value!r} must be one of {', '.join(SCHEDULES)}"
    whole = key == "plateau_patience"
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not what[0] <= value <= what[1]:
        return f"{key} = {value!r} must be a {'whole ' if whole else ''}number from {what[0]} to {what[1]}"
    return ""


def _arguments(name: str, settled: dict[str, Any]) -> dict[str, Any]:
    if name == "sgd":
        return {"momentum": 0.9, **settled}
    betas = {key: settled.pop(key) for key in ("beta1", "beta2") if key in settled}
    if betas:
        settled["betas"] = (betas.get("beta1", 0.9), betas.get("beta2", 0.999))
    return settled


def first_averaged(spec: str, epochs: int) -> int | None:
    """The epoch (from 0) at whose end averaging begins, None without ``swa``; the last one at the latest."""
    swa = check_optimizer(spec)[2]["swa"]
    return None if swa is None else min(math.ceil(swa * epochs), epochs - 1)


def build_optimizer(
    spec: str, parameters: Iterable[torch.Tensor], lr: float, steps: int, epochs: int
) -> dict[str, Any]:
    """Build an optimiser and its schedule in the form of Lightning's ``configure_optimizers``.

    Parameters
    ----------
    spec : str
        See :func:`check_optimizer`.
    parameters : of the network
    lr : float
        Learning rate: the peak of one-cycle, the start of the others.
    steps, epochs : int
        Steps of the whole training, and its epochs.
    """
    name, arguments, frame = check_optimizer(spec)
    optimizer = OPTIMIZERS[name](parameters, lr=lr, **arguments)
    if frame["swa_lr"] is not None:  # the schedule ends where the constant rate begins
        steps = steps * first_averaged(spec, epochs) // epochs
    steps = max(2, steps)
    schedulers = torch.optim.lr_scheduler
    if frame["schedule"] == "one-cycle":
        # a momentum that was asked for stays as it is
        cycled = name != "sgd" and "betas" not in arguments
        schedule = schedulers.OneCycleLR(optimizer, lr, total_steps=steps, cycle_momentum=cycled)
    elif frame["schedule"] == "cosine":
        schedule = schedulers.CosineAnnealingLR(optimizer, steps)
    elif frame["schedule"] == "plateau":
        schedule = schedulers.ReduceLROnPlateau(optimizer, factor=frame["factor"], patience=frame["plateau_patience"])
        config = {"scheduler": schedule, "interval": "epoch", "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": config}
    else:
        return {"optimizer": optimizer}
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
