"""On what networks compute here, and whether they fit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def best_device() -> str:
    """The best device there is: ``cuda``, ``mps`` (Apple) or ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def machine_bytes() -> int:
    """Memory of the device that trains: the GPU's, else all of the machine's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_weights(network: nn.Module, spec: str) -> None:
    """Refuse a network whose weights, their gradients and what Adam keeps of them (four float32 each) no machine here holds.

    Parameters
    ----------
    network : Module, may be on the meta device, where it has shapes alone

    Raises
    ------
    ValueError
    """
    number = sum(parameter.numel() for parameter in network.parameters())
    if 16 * number > machine_bytes():
        raise ValueError(
            f"network = {spec!r} has {number:,} weights: to train them takes {16 * number / 1e9:,.0f} GB, there are "
            f"{machine_bytes() / 1e9:,.0f} GB. Give a smaller one."
        )
