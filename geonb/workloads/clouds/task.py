"""The task of embedding without labels: tiles beside each other shall have near vectors, tiles far apart distant ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geonb.store.samplers import check_unlabelled
from geonb.training.augmentation import check_augment
from geonb.training.optimizers import check_optimizer
from geonb.training.task import Trainable, check_all
from geonb.workloads.clouds.losses import build_loss, squared_distances
from geonb.workloads.clouds.networks import build_network, check_size

if TYPE_CHECKING:
    from geonb.store.store import Store
    from geonb.workloads.clouds.store import TripletStore

SAME = 1e-3  # mean squared distance of two tiles, as a share of what the loss asks for, below which they count as one


class Triplet(Trainable):
    """Embed tiles so that neighbours are near and distant tiles far (Jean et al. 2019, arXiv 1805.02855).

    Parameters
    ----------
    card : dict
        ``network`` and ``loss`` (specifications), ``channels`` (records), ``patch`` (px), ``lr``, and, to train, ``training``
        with ``optimizer`` and ``epochs``.
    weights : bool
        False leaves pretrained weights out (a checkpoint follows).

    Notes
    -----
    The three tiles of all triplets go through the network in one pass, so batch normalisation sees them together; the original
    passed anchors, neighbours and distant tiles one after the other.

    Vectors may grow while they get better, and the loss with them. What is logged as ``train_loss`` and ``val_loss``, by which
    one epoch is chosen, is therefore :func:`relative_loss`; ``near_train``, ``far_val`` and so on are the distances themselves.
    """

    metric = "val_triplet_accuracy"

    def __init__(self, card: dict[str, Any], weights: bool = True) -> None:
        super().__init__()
        self.card = card
        self.network = build_network(card["network"], len(card["channels"]), card["patch"], weights)
        self.network.to(memory_format=torch.channels_last)
        self.loss = build_loss(card["loss"])
        self._seen: list[Tensor] = []
        self._far = float("inf")  # of the last training step

    @classmethod
    def check(cls, store: Store, network: str, loss: str, augment: str, sampler: str, optimizer: str) -> None:
        """Refuse what cannot be trained before anything is computed; one ValueError lists every fault."""
        channels = len(store.channels)
        checks = [
            lambda: check_size(network, channels, store.meta["parameters"]["patch"]),
            lambda: build_loss(loss),
            lambda: check_augment(augment, channels),
            lambda: check_unlabelled(sampler),
            lambda: check_optimizer(optimizer),
        ]
        check_all(store, checks)

    @classmethod
    def card_of(cls, store: Store) -> dict[str, Any]:
        """Channels, statistics, size of the tiles."""
        keep = ("mean", "std", "low", "high")
        return {
            "channels": store.meta["channels"], "classes": [], "patch": int(store.meta["parameters"]["patch"]),
            "statistics": {k: store.meta["statistics"][k] for k in keep},
            "resolution_m": store.meta["sources"][0]["pixel_m"], "simulated": bool(store.meta["simulated"]),
        }  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """Embedding (sample, dim) of standardised tiles (sample, channel, y, x)."""
        return self.network(inputs.contiguous(memory_format=torch.channels_last))

    def encode(self, inputs: Tensor) -> Tensor:
        """Embedding (sample, dim), float32."""
        return self(inputs).float()

    def distances(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Squared distances anchor-neighbour and anchor-distant, each (sample,), float32."""
        return squared_distances(self(batch["triplets"]).float())

    def margins(self, store: TripletStore, rows: Sequence[int], batch: int = 128) -> np.ndarray:
        """How far each triplet is in the right: (far - near) / (far + near), -1 to 1, by the rows of a store's index; 0 for a tie."""
        from geonb.embeddings.embedding import encoder
        from geonb.workloads.clouds.predict import measure

        near, far = measure(store, encoder(self), batch, rows)
        return (far - near) / np.maximum(far + near, 1e-12)

    def _log(self, vectors: Tensor, split: str) -> tuple[Tensor, Tensor]:
        near, far = squared_distances(vectors.detach())
        found = {f"{split}_loss": relative_loss(near, far), f"near_{split}": near.mean(), f"far_{split}": far.mean()}
        self.log_dict(found, on_step=False, on_epoch=True, batch_size=len(near))
        return near, far

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        vectors = self(batch["triplets"]).float()
        self._far = float(self._log(vectors, "train")[1].mean())
        return self.loss(vectors, batch["places"])

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        near, far = self._log(self(batch["triplets"]).float(), "val")
        self.log(self.metric, _won(near, far), batch_size=len(near))
        self._seen.append(torch.stack([near, far]).detach().float().cpu())

    def on_validation_epoch_end(self) -> None:
        """Refuse to go on with an embedding that tells nothing apart.

        Raises
        ------
        ValueError
            If all tiles have nearly the same vector, or vectors are not finite.
        """
        near, far = torch.cat(self.of_all(self._seen), dim=1)
        self._seen = []
        said = collapse(near, far, self.loss.scale, max(self.of_all([self._far])))
        if said:
            raise ValueError(
                f"The embedding collapsed in epoch {self.current_epoch + 1}: {said} (lr = {self.card['lr']:g}). Nothing can be told "
                "apart by it. Try a smaller `lr`, the default is in `geonb run clouds --parameters`; or other `augment`."
            )


def _won(near: Tensor, far: Tensor) -> Tensor:
    """Share of triplets whose neighbour is nearer; half of one for a tie."""
    return ((near < far).float() + 0.5 * (near == far)).mean()


def relative_loss(near: Tensor, far: Tensor) -> Tensor:
    """The triplet loss with distances in units of their mean, and margin 1: the same for embeddings that differ in scale alone."""
    scale = torch.cat([near, far]).mean().clamp(min=1e-12)
    return ((near - far) / scale + 1).relu().mean()


def collapse(near: Tensor, far: Tensor, scale: float, trained_far: float = 0.0) -> str:
    """What is wrong with an embedding by its distances, in words; empty if nothing is.

    Parameters
    ----------
    near, far : Tensor (sample,)
        Squared distances anchor-neighbour and anchor-distant, of validation triplets.
    scale : float
        Squared distance that the loss asks for between distant tiles.
    trained_far : float
        Mean distance anchor-distant while training. Early on, before batch normalisation has its statistics, vectors of the
        network in evaluation can be all the same though those in training are not: that is no collapse.
    """
    if not bool(torch.isfinite(near).all() & torch.isfinite(far).all()):
        return "its distances are not finite"
    if max(float(far.mean()), trained_far) < SAME * scale:
        return (
            f"distant tiles are {float(far.mean()):.2g} apart, where {scale:g} is asked for: all vectors are the same"
        )
    won = float(_won(near, far))
    chance = 0.5 + 1.64 * 0.5 / max(1, len(near)) ** 0.5
    if won < chance and float(near.mean()) > 100 * scale:
        return f"neighbours are {float(near.mean()):.2g} apart, where {scale:g} is asked for, and no nearer than distant tiles: it diverged"
    return ""
