"""Averages of a network's weights beside its training: over the ends of epochs (SWA), or running from step to step (EMA)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

if TYPE_CHECKING:
    from geonb.training.task import Trainable


class Averaging(Callback):
    """Average a network's weights over the ends of epochs, from ``first`` (from 0) on (SWA, Izmailov et al. 2018).

    With ``lr``, the learning rate stays there from that epoch on. The average travels in the checkpoint.
    """

    def __init__(self, network: torch.nn.Module, first: int, lr: float | None) -> None:
        self.first, self.lr, self.model = first, lr, AveragedModel(network)

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state)

    @property
    def averaged(self) -> int:
        """Number of epochs in the average."""
        return int(self.model.n_averaged)

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.model.to(task.device)

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self.lr is not None and trainer.current_epoch >= self.first:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = self.lr

    def on_train_epoch_end(self, trainer: L.Trainer, task: Trainable) -> None:
        if trainer.current_epoch >= self.first:
            self.model.update_parameters(task.network)


class RunningAverage(Callback):
    """Exponential moving average of a task's weights, a step at a time, from the end of the first step on (Polyak & Juditsky 1992).

    It is validated at the end of each epoch, as ``ema_val_loss`` in the log, and its best epoch is kept. Batch-norm statistics are
    averaged alike: they belong to the same last steps. The average and its best travel in the checkpoint.

    Parameters
    ----------
    decay : share of the average that a step leaves, so that it tells of about the last 1 / (1 - decay) steps
    data : the validation samples are its `val_dataloader`
    validator : a trainer of its own, in the precision of the training

    Attributes
    ----------
    best : ``epoch`` (from 1), ``val_loss`` and the task's metric where the loss was lowest; empty before the first epoch's end
    state : state_dict of the task there
    """

    def __init__(self, task: Trainable, decay: float, data: L.LightningDataModule, validator: L.Trainer) -> None:
        self.model = AveragedModel(task, multi_avg_fn=_average(decay), use_buffers=True)
        self.data, self.validator = data, validator
        self.best: dict[str, Any] = {}
        self.state: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "best": self.best, "state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.best, self.state = state["best"], state["state"]

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.model.to(task.device)  # validating leaves it on the CPU

    def on_train_batch_end(self, trainer: L.Trainer, task: L.LightningModule, *_: Any) -> None:
        self.model.update_parameters(task)

    def on_train_epoch_end(self, trainer: L.Trainer, task: Trainable) -> None:
        model: Trainable = self.model.module
        model.set_progress(trainer.current_epoch, trainer.max_epochs)
        self.validator.fit_loop.epoch_progress.current.processed = trainer.current_epoch  # what an error says
        found = self.validator.validate(model, self.data.val_dataloader(), verbose=False)[0]
        facts = {name: round(float(found[name]), 6) for name in ("val_loss", task.metric)}
        task.log("ema_val_loss", facts["val_loss"])
        if facts["val_loss"] < self.best.get("val_loss", float("inf")):
            self.best = {"epoch": trainer.current_epoch + 1, **facts}
            self.state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _average(decay: float) -> Any:
    """torch's running average, but whole numbers (counts, indices) are copied: torch would cut their averages off."""
    lerp = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], steps: Tensor) -> None:
        if averages[0].is_floating_point():
            lerp(averages, current, steps)
        else:
            torch._foreach_copy_(averages, current)

    return update
