"""Label every pixel: the network with its loss and metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from geonb.base.conventions import IGNORE
from geonb.rasters import grids
from geonb.store.samplers import check_sampler, order_of
from geonb.training.augmentation import check_augment
from geonb.training.optimizers import check_optimizer
from geonb.training.task import Trainable, check_all
from geonb.workloads.segmentation.loaders import Windows
from geonb.workloads.segmentation.losses import build_loss
from geonb.workloads.segmentation.networks import build_network, check_network, check_size, window_of

if TYPE_CHECKING:
    from geonb.store.store import Store


class Segmentation(Trainable):
    """Label every pixel.

    Parameters
    ----------
    card : dict
        ``network`` and ``loss`` (specifications), ``channels`` and ``classes`` (lists of records with ``name``), ``lr``,
        and, to train, ``training`` with ``optimizer`` and ``epochs``.
    weights : bool
        False leaves pretrained weights out (a checkpoint follows).
    """

    metric = "val_mean_iou"

    def __init__(self, card: dict[str, Any], weights: bool = True) -> None:
        super().__init__()
        self.card = card
        self.classes = len(card["classes"])
        self.network = build_network(card["network"], len(card["channels"]), self.classes, weights)
        self.network.to(memory_format=torch.channels_last)
        self.loss = build_loss(card["loss"], self.classes)
        self.mean_iou = MulticlassJaccardIndex(self.classes, ignore_index=IGNORE)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (sample, class, y, x) of standardised inputs (sample, channel, y, x)."""
        return self.network(inputs.contiguous(memory_format=torch.channels_last))

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Class probabilities (sample, class, y, x), 0-1, float32."""
        return self(inputs).float().softmax(dim=1)

    @property
    def window(self) -> int:
        """Window for inference, px, see :func:`geonb.workloads.segmentation.networks.window_of`."""
        return window_of(self.card)

    def encode(self, inputs: Tensor) -> Tensor:
        """Embedding (sample, dim): the encoder's deepest features, averaged over the window."""
        features = self.network.encoder(inputs.contiguous(memory_format=torch.channels_last))[-1]
        return features.float().mean(dim=(2, 3))

    @property
    def questions(self) -> dict[str, list[str]]:
        return {"class": [record["name"] for record in self.card["classes"]]}

    def answers(self, batch: dict[str, Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Pixel by pixel."""
        targets = batch["targets"]
        return [torch.where(targets == IGNORE, -1, targets)], [self(batch["inputs"]).argmax(dim=1)]

    def loss_of(self, outputs: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor:
        """Loss of the logits; of several (deep supervision, the final ones first) the mean weighted 1, 1/2, 1/4, ..."""
        if isinstance(outputs, Tensor):
            return self.loss(outputs, targets)
        weights = [0.5**k for k in range(len(outputs))]
        losses = [weight * self.loss(logits, targets) for weight, logits in zip(weights, outputs, strict=True)]
        return torch.stack(losses).sum() / sum(weights)

    def set_progress(self, epoch: int, epochs: int) -> None:
        """Tell a loss with scheduled weights how far the training is: 0 in the first epoch, 1 in the last that may come."""
        self.loss.set_progress(epoch / max(1, epochs - 1))

    def on_validation_epoch_start(self) -> None:
        self.loss.set_progress(1)  # the losses of all epochs must stand on one scale, for one of them is chosen

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        loss = self.loss_of(self(batch["inputs"]), batch["targets"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["inputs"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        logits = self(batch["inputs"])
        self.mean_iou.update(logits.argmax(dim=1), batch["targets"])
        self.log("val_loss", self.loss(logits, batch["targets"]), batch_size=len(batch["inputs"]))
        self.log(self.metric, self.mean_iou)

    @classmethod
    def check(cls, store: Store, network: str, loss: str, augment: str, sampler: str, optimizer: str) -> None:
        checks = [
            lambda: _check_sides(store, network),
            lambda: build_loss(loss, len(store.meta["classes"])),
            lambda: check_optimizer(optimizer),
            lambda: check_augment(augment, len(store.meta["channels"])),
            lambda: check_sampler(sampler),
        ]
        check_all(store, checks)
        windows = Windows(store, "train", augment)  # oblong windows cannot be turned
        order_of(windows, store, sampler)  # an empty constituent cannot be shown more often

    @classmethod
    def card_of(cls, store: Store) -> dict[str, Any]:
        return {
            "channels": store.meta["channels"], "classes": store.meta["classes"], "statistics": store.meta["statistics"],
            "patch": int(store.index["height"].max()), "simulated": bool(store.meta["simulated"]), **_common(store),
        }  # fmt: skip


def _check_sides(store: Store, network: str) -> None:
    check_network(network)
    faults = []
    for height, width in store.index[["height", "width"]].drop_duplicates().to_numpy().tolist():
        try:
            check_size(network, height, width)
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("\n".join(faults))


def _sides_m(source: dict[str, Any]) -> list[float]:
    """Sides of a source's pixels as resampling counts them: by the CRS's unit; on the ground where that is none."""
    from pyproj import CRS

    crs = CRS.from_user_input(source["crs"])
    if not grids.true_to_scale(crs):
        return [source["pixel_m"]]
    return [side * crs.axis_info[0].unit_conversion_factor for side in source["resolution"]]


def _common(store: Store) -> dict[str, Any]:
    """What all training sources share: ``resolution_m`` (side of a pixel), ``preprocess`` (list of import paths); else None."""
    index = store.index
    here = set(index["source"][index["split"] == "train"].astype(str))
    sources = [source for source in store.meta["sources"] if source["name"] in here]
    sides = [side for source in sources for side in _sides_m(source)]
    alike = max(sides) - min(sides) <= 1e-3 * min(sides)  # the tolerance of resampling
    datasets = {source.get("dataset") for source in sources}
    steps = [d.get("preprocess") for d in store.meta.get("datasets") or [] if d["name"] in datasets]
    same = bool(steps) and bool(steps[0]) and all(step == steps[0] for step in steps)
    return {"resolution_m": float(sides[0]) if alike else None, "preprocess": [steps[0]] if same else None}
