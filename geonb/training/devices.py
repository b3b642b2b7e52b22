"""On what networks compute here, and whether they fit."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class Devices(NamedTuple):
    """What a training was asked to run on: a process for each device, `each` of them on each of `nodes`.

    `kind` is ``gpu``, ``cpu``, or ``best``, the best device there is, which is one.
    """

    kind: str = "best"
    nodes: int = 1
    each: int = 1

    @property
    def processes(self) -> int:
        return self.nodes * self.each


def check_devices(spec: str | int) -> Devices:
    """Read ``1`` (the best device there is), ``4`` (GPUs of this machine), ``2x4`` (of each of two nodes), ``cpu:2``, ``gpu:1``.

    Raises
    ------
    ValueError
        If it is anything else. Whether the devices are there is asked by :func:`find_devices`.
    """
    read = re.fullmatch(r"(?:(cpu|gpu):)?(?:([1-9]\d{0,3})x)?([1-9]\d{0,2})", str(spec))
    if read is None:
        raise ValueError(
            f"devices = {spec!r} is not right. Give a number of GPUs, 4; of nodes and of GPUs on each, 2x4; or of processes on the "
            "cores, cpu:2. 1 is the best device there is."
        )
    kind, nodes, each = read[1], int(read[2] or 1), int(read[3])
    return Devices(kind or ("best" if nodes == each == 1 else "gpu"), nodes, each)


def find_devices(spec: str | int) -> Devices:
    """Like :func:`check_devices`, and refuse GPUs that this machine does not have, and nodes that no job of Slurm holds.

    Raises
    ------
    ValueError
    """
    devices = check_devices(spec)
    if devices.kind == "gpu":
        import torch

        there = torch.cuda.device_count()
        if there < devices.each:
            raise ValueError(
                f"devices = {spec!r} asks for {devices.each} GPU(s), and torch {torch.__version__} sees {there} here. Give 1, the best "
                f"device there is, or cpu:{devices.each} for processes on the cores. A job of a cluster asks for them: --job 2:"
                f"{f'nodes={devices.nodes},' * (devices.nodes > 1)}gpus={devices.each}."
            )
    held = int(os.environ.get("SLURM_JOB_NUM_NODES") or 1)
    if devices.nodes > held:
        raise ValueError(
            f"devices = {spec!r} asks for {devices.nodes} nodes, and here is {held}: begin it in a job of Slurm that holds them "
            f"(sbatch --nodes={devices.nodes}), or give the devices of one machine, as {devices.each}."
        )
    return devices


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
