"""Optimisers by specification: ``"adamw:weight_decay=0.01,schedule=one-cycle,swa=0.75"``.

``adam``, ``adamw`` or ``sgd``, each with its own arguments, a schedule of the learning rate, and averaging of weights (SWA, EMA).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from geonb.base.specs import Option, check_options

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULES = ("one-cycle", "plateau", "cosine", "none")
_FRAME = {
    "schedule": Option("one-cycle", choices=SCHEDULES),
    "factor": Option(0.1, float, 0.01, 0.99, help="of plateau"),
    "plateau_patience": Option(3, int, 0, 1_000_000, help="of plateau, epochs"),
    "swa": Option(None, float, 0, 0.999, help="share of the epochs after which weights are averaged"),
    "swa_lr": Option(None, float, 1e-9, 100, help="constant rate from there on"),
    "ema": Option(None, float, 0, 0.99999, help="decay a step of a running average of weights"),
}
_ADAM = {
    "weight_decay": Option(None, float, 0, 10),
    "beta1": Option(None, float, 0, 0.9999, help="else 0.9, and one-cycle moves it"),
    "beta2": Option(None, float, 0, 0.999999, help="else 0.999"),
    "eps": Option(None, float, 1e-12, 1),
    "amsgrad": Option(None, bool),
}
_SGD = {
    "weight_decay": Option(None, float, 0, 10),
    "momentum": Option(0.9, float, 0, 0.9999),
    "dampening": Option(None, float, 0, 1),
    "nesterov": Option(None, bool),
}
AVERAGED = {"swa": "swa=0.75", "ema": "ema=0.95"}  # averages of weights, and how each is asked for
# None is torch's own
OPTIONS = {"adam": {**_ADAM, **_FRAME}, "adamw": {**_ADAM, **_FRAME}, "sgd": {**_SGD, **_FRAME}}


def check_optimizer(spec: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Resolve a specification without building it.

    Parameters
    ----------
    spec : str
        ``adam``, ``adamw`` or ``sgd`` with any of: weight_decay; beta1, beta2, eps, amsgrad (Adam); momentum (0.9 if not
        given), dampening, nesterov (SGD); schedule = one-cycle (Smith & Topin 2018; its peak is ``lr``), plateau (``lr``
        times ``factor`` after more than ``plateau_patience`` epochs without a lower validation loss), cosine (Loshchilov &
        Hutter 2017, without restarts), none; swa, the share of the epochs after which weights are averaged (Izmailov et
        al. 2018), and swa_lr, a constant rate from there on (without it the schedule goes on); ema, the decay a step of a
        running average of the weights (Polyak & Juditsky 1992). swa and ema may be given together: each is a candidate of its own.

    Returns
    -------
    (name, arguments of the torch.optim class, {"schedule", "factor", "plateau_patience", "swa", "swa_lr", "ema"})

    Raises
    ------
    ValueError
        Lists all that is unknown, ill-typed or out of range, and what is known.
    """
    name, settled = check_options("optimizer", spec, OPTIONS, _together)
    frame = {key: settled.pop(key) for key in _FRAME}
    arguments = {key: value for key, value in settled.items() if value is not None}
    betas = {key: arguments.pop(key) for key in ("beta1", "beta2") if key in arguments}
    if betas:
        arguments["betas"] = (betas.get("beta1", 0.9), betas.get("beta2", 0.999))
    return name, arguments, frame


def _together(name: str, options: dict[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    if "swa_lr" in given and options["swa"] is None and given.get("swa") is None:
        yield "swa_lr needs swa, the share of the epochs after which weights are averaged, e.g. swa=0.75"
    for key in ("factor", "plateau_patience"):
        if key in given and options["schedule"] != "plateau":
            yield f"{key} belongs to schedule=plateau, not to {options['schedule']}"
    if options.get("nesterov") and (options["momentum"] == 0 or options["dampening"]):
        yield "nesterov=true needs momentum above 0 and dampening 0"


def first_averaged(spec: str, epochs: int) -> int | None:
    """The epoch (from 0) at whose end averaging begins, None without ``swa``; the last one at the latest."""
    swa = check_optimizer(spec)[2]["swa"]
    return None if swa is None else min(math.ceil(swa * epochs), epochs - 1)


def build_optimizer(spec: str, parameters: Iterable[Any], lr: float, steps: int, epochs: int) -> dict[str, Any]:
    """Build an optimiser and its schedule in the form of Lightning's ``configure_optimizers``.

    Parameters
    ----------
    spec : str
        See :func:`check_optimizer`.
    parameters : of the network, or groups of them as torch.optim takes them
    lr : float
        Learning rate: the peak of one-cycle, the start of the others.
    steps, epochs : int
        Steps of the whole training, and its epochs.
    """
    name, arguments, frame = check_optimizer(spec)
    optimizer = OPTIMIZERS[name](parameters, lr=lr, **arguments)
    first = first_averaged(spec, epochs)
    if first is not None and frame["swa_lr"] is not None:  # the schedule ends where the constant rate begins
        steps = steps * first // epochs
    steps = max(2, steps)
    schedulers = torch.optim.lr_scheduler
    if frame["schedule"] == "one-cycle":
        # a momentum that was asked for stays as it is
        peaks = [group["lr"] for group in optimizer.param_groups]
        cycled = name != "sgd" and "betas" not in arguments
        schedule = schedulers.OneCycleLR(optimizer, peaks, total_steps=steps, cycle_momentum=cycled)
    elif frame["schedule"] == "cosine":
        schedule = schedulers.CosineAnnealingLR(optimizer, steps)
    elif frame["schedule"] == "plateau":
        schedule = schedulers.ReduceLROnPlateau(optimizer, factor=frame["factor"], patience=frame["plateau_patience"])
        config = {"scheduler": schedule, "interval": "epoch", "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": config}
    else:
        return {"optimizer": optimizer}
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
