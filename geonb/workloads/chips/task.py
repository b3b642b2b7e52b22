"""Tell the labels of a chip: the network with its loss, metric, and a backbone that may learn later than its head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from geonb.store.samplers import check_unlabelled
from geonb.training.augmentation import check_augment
from geonb.training.optimizers import check_optimizer
from geonb.training.task import Trainable, check_all
from geonb.workloads.chips.losses import build_loss, check_loss
from geonb.workloads.chips.metrics import average_precision
from geonb.workloads.chips.networks import build_network, check_network, check_size, learns_from_one

if TYPE_CHECKING:
    from geonb.store.store import Store

SLOWER = 10  # a backbone that was frozen learns at this part of the rate (fast.ai's staged fine-tuning)


class MultiLabel(Trainable):
    """Tell which labels a chip has.

    Parameters
    ----------
    card : dict
        ``network`` and ``loss`` (specifications), ``channels`` and ``classes`` (records), ``prevalence`` (class,), ``patch`` (px),
        ``lr``, and, to train, ``training``.
    weights : bool
        False leaves pretrained weights out (a checkpoint follows).
    """

    metric = "val_map"

    def __init__(self, card: dict[str, Any], weights: bool = True) -> None:
        super().__init__()
        self.card = card
        options = check_network(card["network"])[1]
        self.stages: tuple[int, ...] = options["unfreeze"] if options["freeze"] else ()
        self.network = build_network(
            card["network"], len(card["channels"]), len(card["classes"]), card["patch"], weights
        )
        self.network.to(memory_format=torch.channels_last)
        self.loss = build_loss(card["loss"], card["prevalence"])
        self._seen: list[tuple[Tensor, Tensor]] = []

    @classmethod
    def check(cls, store: Store, network: str, loss: str, augment: str, sampler: str, optimizer: str) -> None:
        """Refuse what cannot be trained before anything is computed; one ValueError lists every fault."""
        channels = len(store.channels)
        checks = [
            lambda: check_size(network, channels, store.meta["parameters"]["size"]),
            lambda: check_loss(loss),
            lambda: check_augment(augment, channels),
            lambda: check_unlabelled(sampler),
            lambda: check_optimizer(optimizer),
        ]
        check_all(store, checks)

    @classmethod
    def check_batch(cls, store: Store, network: str, batch: int) -> None:
        """Refuse to learn from one chip at a time where batch normalisation compares chips."""
        chips = int((store.index["split"] == "train").sum())
        if min(batch, chips) == 1 and not learns_from_one(
            network, len(store.channels), store.meta["parameters"]["size"]
        ):
            cure = (
                "Give batch = 2 or more" if chips > 1 else "Label more chips, or deal more of them to training (shares)"
            )
            raise ValueError(
                f"batch = {batch}, of {chips} training chips: {network} cannot learn from one chip at a time, as its batch normalisation "
                f"compares several. {cure}"
            )

    @classmethod
    def card_of(cls, store: Store) -> dict[str, Any]:
        """Channels, classes, statistics, size of the chips, and how common each class is in training."""
        keep = ("channels", "classes", "statistics")
        return {key: store.meta[key] for key in keep} | {
            "patch": int(store.meta["parameters"]["size"]), "prevalence": store.meta["prevalence"],
            "grid": store.meta["parameters"]["grid"], "simulated": bool(store.meta["simulated"]),
        }  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (sample, class) of standardised chips (sample, channel, y, x)."""
        return self.network(inputs.contiguous(memory_format=torch.channels_last))

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Probability of each label (sample, class), 0-1, float32."""
        return self(inputs).float().sigmoid()

    def encode(self, inputs: Tensor) -> Tensor:
        """The vector before the last layer (sample, dim), float32."""
        return self.network.vectors(inputs.contiguous(memory_format=torch.channels_last)).float()

    @property
    def questions(self) -> dict[str, list[str]]:
        return {record["name"]: ["absent", "present"] for record in self.card["classes"]}

    def answers(self, batch: dict[str, Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Label by label: present from a probability of 0.5 on."""
        told = self.probabilities(batch["inputs"]) >= 0.5
        return batch["targets"].nan_to_num(nan=-1.0).T.unbind(), told.T.unbind()

    def parameter_groups(self) -> Iterable[Any]:
        """A backbone that begins frozen learns at a tenth of the rate."""
        if not self.stages:
            return super().parameter_groups()
        backbone = list(self.network.backbone.parameters())
        rest = [*self.network.head.parameters(), *self.network.out.parameters()]
        return [{"params": rest}, {"params": backbone, "lr": self.card["lr"] / SLOWER}]

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.stages:
            self._freeze()

    def _freeze(self) -> None:
        """Let learn what learns in this epoch: the head; from the first stage the backbone's last half; from the last all of it."""
        children = [module for module in self.network.backbone.children() if any(True for _ in module.parameters())]
        half = len(children) // 2
        for i, module in enumerate(children):
            begins = self.stages[0] if i >= half else self.stages[-1]
            module.requires_grad_(self.current_epoch >= begins)
            if self.current_epoch < begins:  # batch normalisation keeps what it knows
                for part in module.modules():
                    if isinstance(part, nn.modules.batchnorm._BatchNorm):
                        part.eval()

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        loss = self.loss(self(batch["inputs"]), batch["targets"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["inputs"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        logits = self(batch["inputs"])
        self.log("val_loss", self.loss(logits, batch["targets"]), batch_size=len(batch["inputs"]))
        self._seen.append((logits.float().sigmoid().cpu(), batch["targets"].cpu()))

    def on_validation_epoch_end(self) -> None:
        probability, targets = (torch.cat(part).numpy() for part in zip(*self.of_all(self._seen), strict=True))
        self._seen = []
        found = [
            average_precision(p[np.isfinite(t)], t[np.isfinite(t)])
            for p, t in zip(probability.T, targets.T, strict=True)
        ]
        self.log(self.metric, float(np.nanmean(found)) if np.isfinite(found).any() else 0.0)
