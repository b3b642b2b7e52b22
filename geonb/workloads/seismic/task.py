"""Tell what a window holds: noise or an event, and of an event an earthquake or an explosion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geonb.store.samplers import check_sampler
from geonb.training.optimizers import check_optimizer
from geonb.training.task import Trainable, check_all
from geonb.waveforms.augmentation import check_augment
from geonb.workloads.seismic.losses import build_loss, check_loss
from geonb.workloads.seismic.metrics import KINDS, joint, macro_f1, truth_of
from geonb.workloads.seismic.networks import build_network, check_network

if TYPE_CHECKING:
    from geonb.store.store import Store


class TwoHeaded(Trainable):
    """A network of two heads with its loss; the metric is the macro F1 of noise, earthquake and explosion, by the likeliest of them."""

    metric = "val_macro_f1"

    def __init__(self, card: dict[str, Any], weights: bool = True) -> None:
        super().__init__()
        self.card = card
        self.network = build_network(card["network"], len(card["channels"]), card["samples"], card["rate_hz"])
        self.loss = build_loss(card["loss"], card["prevalence"])
        self._told: list[tuple[Tensor, Tensor]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)

    def encode(self, inputs: Tensor) -> Tensor:
        """The vector of each window (sample, dim): what comes before the heads."""
        return self.network.body(inputs)

    def probabilities(self, inputs: Tensor) -> Tensor:
        """(sample, head): of an event, and of an explosion if it is one."""
        return self.network(inputs).float().sigmoid()

    @property
    def questions(self) -> dict[str, list[str]]:
        return {"kind": list(KINDS)}

    def answers(self, batch: dict[str, Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        told = joint(self.probabilities(batch["inputs"]).cpu().numpy()).argmax(-1)
        return [torch.from_numpy(truth_of(batch["targets"].cpu().numpy()))], [torch.from_numpy(told)]

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        loss = self.loss(self(batch["inputs"]), batch["targets"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["inputs"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        logits = self(batch["inputs"])
        self.log("val_loss", self.loss(logits, batch["targets"]), batch_size=len(batch["inputs"]))
        self._told.append((logits.float().sigmoid().cpu(), batch["targets"].cpu()))

    def on_validation_epoch_end(self) -> None:
        told, targets = (torch.cat(part).numpy() for part in zip(*self.of_all(self._told), strict=True))
        self._told = []
        self.log(self.metric, macro_f1(truth_of(targets), joint(told).argmax(-1)))

    def margins(self, store: Store, rows: np.ndarray) -> np.ndarray:
        """How sure the network was of what is true, 0 to 1, of some rows of a store."""
        windows, found, device = store.windows(), [], next(self.parameters()).device
        for start in range(0, len(rows), 64):
            batch = windows.batch([int(row) for row in rows[start : start + 64]])
            with torch.inference_mode():
                told = joint(self.probabilities(batch["inputs"].to(device)).cpu().numpy())
            truth = truth_of(batch["targets"].numpy())
            found.append(np.where(truth >= 0, told[np.arange(len(told)), truth], np.nan))
        return np.concatenate(found)

    @classmethod
    def check(cls, store: Store, network: str, loss: str, augment: str, sampler: str, optimizer: str) -> None:
        facts = cls.card_of(store)
        checks: list[Callable[[], Any]] = [
            partial(check_network, network), partial(check_loss, loss), partial(check_augment, augment), partial(check_sampler, sampler),
            partial(check_optimizer, optimizer),
            lambda: build_network(network, len(facts["channels"]), facts["samples"], facts["rate_hz"]),
            lambda: _check_kinds(store),
        ]  # fmt: skip
        check_all(store, checks)

    @classmethod
    def card_of(cls, store: Store) -> dict[str, Any]:
        """What live must know, too: how windows are made of waveforms, and how they are scaled."""
        facts = {name: store.meta[name] for name in ("rate_hz", "scaler", "preparation", "prevalence")}
        return super().card_of(store) | facts | {name: store.meta["parameters"][name] for name in ("samples", "before")}


def _check_kinds(store: Store) -> None:
    """Refuse training windows that are all noise, or all events."""
    kinds: Iterable[str] = store.index.loc[store.index["split"] == "train", "kind"].astype(str).unique()
    if "noise" not in kinds or len(set(kinds) - {"noise"}) == 0:
        raise ValueError(
            f"The training windows are all of the kind {', '.join(sorted(kinds))}: there must be noise and events. Give records that begin "
            "well before P (`noise_s` of notebook 01), and events with kinds"
        )
