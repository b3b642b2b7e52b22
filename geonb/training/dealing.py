"""What a training by several processes does otherwise: gradients weighed by windows, one set of statistics, the same word for all.

Each process (a rank) has a part of every batch, see :class:`geonb.store.loaders.Batches`, and the same weights. What one process
would do with the whole batch and what all of them do together differ by rounding alone where the loss is a mean over windows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from geonb.training.devices import Devices


class Rank(NamedTuple):
    """Which of the processes that train together this is; by default there is one.

    `last` is the checkpoint that several go on from: who began them has looked, so that they cannot disagree.
    """

    number: int = 0
    devices: Devices = Devices()
    last: Path | None = None

    @property
    def of(self) -> int:
        return self.devices.processes


class Dealt(DDPStrategy):
    """Lightning's DDP for parts of unequal size: the mean of the gradients is that over the windows of the whole batch."""

    counted = 1.0  # what this rank's part of the step counts, see `Batches.counted`

    def backward(self, closure_loss: Tensor, *args: Any, **options: Any) -> Tensor:
        return super().backward(closure_loss * self.counted, *args, **options)

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        # Lightning's mean of whole numbers over gloo is cut off, and with it the windows that a logged mean is divided by
        whole = isinstance(tensor, Tensor) and not tensor.is_floating_point()
        return super().reduce(tensor.double() if whole else tensor, group, reduce_op)


class Together(Callback):
    """Tell the strategy what a step's part counts; on the CPU, where batch normalisation compares the windows of one rank alone, let
    its running statistics be the mean of the ranks', so that all of them validate and keep the same network."""

    def on_train_batch_start(self, trainer: L.Trainer, task: L.LightningModule, batch: Any, at: int) -> None:
        trainer.strategy.counted = trainer.train_dataloader.counted(at)

    def on_train_batch_end(self, trainer: L.Trainer, task: L.LightningModule, *_: Any) -> None:
        if task.device.type == "cuda":
            return  # Lightning's sync_batchnorm: the statistics are those of the whole batch
        norms = [one for one in task.modules() if isinstance(one, _BatchNorm) and one.training]
        kept = [buffer for one in norms for buffer in (one.running_mean, one.running_var) if buffer is not None]
        if not kept:
            return
        flat = torch.cat([buffer.flatten() for buffer in kept]) * (trainer.strategy.counted / trainer.world_size)
        torch.distributed.all_reduce(flat)
        for buffer, mean in zip(kept, flat.split([buffer.numel() for buffer in kept]), strict=True):
            buffer.copy_(mean.view_as(buffer))


def of_all_ranks(own: list[Any], trainer: L.Trainer) -> list[Any]:
    """What all ranks collected, each in a list of its own: theirs one after the other, the same for all."""
    if trainer.world_size == 1:
        return own
    lists: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(lists, own)
    return [one for each in lists for one in each]
