"""Tasks: a network with its loss, metrics and optimiser as a LightningModule, and the one function that trains them.

A trained task is two files that need nothing else: ``best.safetensors`` (weights) and ``model.json`` (the card: how to
build the network, channels, classes, statistics). Neither can execute code when it is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchmetrics.classification import MulticlassJaccardIndex

from geonb import __version__, workloads
from geonb.losses import IGNORE, build_loss
from geonb.networks import build_network
from geonb.training import fit

CARD, WEIGHTS = "model.json", "best.safetensors"


class Segmentation(L.LightningModule):
    """Label every pixel.

    Parameters
    ----------
    card : dict
        ``network`` and ``loss`` (specifications), ``channels`` and ``classes`` (lists of records with ``name``), ``lr``.
    weights : bool
        False leaves pretrained weights out (a checkpoint follows).
    """

    def __init__(self, card: dict[str, Any], weights: bool = True) -> None:
        super().__init__()
        self.card = card
        self.classes = len(card["classes"])
        self.network = build_network(card["network"], len(card["channels"]), self.classes, weights)
        self.network.to(memory_format=torch.channels_last)
        self.loss = build_loss(card["loss"])
        self.mean_iou = MulticlassJaccardIndex(self.classes, ignore_index=IGNORE)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (sample, class, y, x) of standardised inputs (sample, channel, y, x)."""
        return self.network(inputs.contiguous(memory_format=torch.channels_last))

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Class probabilities (sample, class, y, x), 0-1, float32."""
        return self(inputs).float().softmax(dim=1)

    def encode(self, inputs: Tensor) -> Tensor:
        """Embedding (sample, dim): the encoder's deepest features, averaged over the window."""
        features = self.network.encoder(inputs.contiguous(memory_format=torch.channels_last))[-1]
        return features.float().mean(dim=(2, 3))

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        loss = self.loss(self(batch["inputs"]), batch["targets"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["inputs"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        logits = self(batch["inputs"])
        self.mean_iou.update(logits.argmax(dim=1), batch["targets"])
        self.log("val_loss", self.loss(logits, batch["targets"]), batch_size=len(batch["inputs"]))
        self.log("val_mean_iou", self.mean_iou)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW under a one-cycle learning rate (Smith & Topin 2018) whose peak is ``lr``."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.card["lr"])
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.card["lr"], total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def precision_of(precision: str) -> str:
    """Resolve ``precision = "auto"``: bfloat16 autocast where the device computes in it, else float32.

    Returns
    -------
    "bfloat16" or "float32"

    Raises
    ------
    ValueError
        For anything but auto, bfloat16, float32.
    """
    if precision in {"bfloat16", "float32"}:
        return precision
    if precision != "auto":
        raise ValueError(f"precision = {precision!r} is unknown. Give auto, bfloat16 or float32.")
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # Without matrix instructions for it, bfloat16 is slower on a CPU than float32.
    return "bfloat16" if torch.cpu._is_amx_tile_supported() else "float32"


def train(
    run,
    store,
    *,
    workload: str,
    network: str,
    loss: str,
    augment: str,
    lr: float,
    epochs: int,
    batch: int,
    patience: int,
    seed: int,
    precision: str = "auto",
    workers: int | None = None,
) -> Path:
    """Train a workload's network on a sample store; interrupted, it goes on from its last finished epoch.

    The weights of the epoch with the lowest validation loss become the model. Every draw comes from ``seed`` and a global
    number (step, epoch, sample), so that a resumed training ends in the same weights as an unbroken one (float32, same
    machine and libraries).

    Parameters
    ----------
    run : Run
        Where ``checkpoints/`` and ``log.csv`` go.
    store : Store
        Samples; its channels, classes and statistics enter the model's card.
    workload : str
        Name or import path of the record.
    network, loss, augment : str
        Specifications, e.g. ``unet:encoder=resnet18``, ``cross-entropy+dice``, ``flips,rotations``.
    lr : float
        Peak learning rate.
    epochs, batch, patience : int
        At most so many passes; windows a step; stop after so many epochs without a better validation loss.
    precision : str
        auto, bfloat16 or float32.
    workers : int, optional
        Threads that read ahead; default 2 where a GPU computes, none where the cores do.

    Returns
    -------
    Path of the card, ``checkpoints/model.json``.

    Raises
    ------
    ValueError
        If the store has no training or validation windows, or the loss became NaN.
    """
    record = workloads.get(workload)
    counts = store.index["split"].value_counts()
    missing = [split for split in ("train", "val") if not counts.get(split, 0)]
    if missing:
        raise ValueError(
            f"The store {store.path} has no {' and no '.join(missing)} windows ({dict(counts)}). "
            "Make it with a smaller `patch` or `block`, or other `shares`, in notebook 01."
        )
    card = {
        "geonb": __version__, "workload": workload, "task": record.task, "network": network, "loss": loss, "lr": lr,
        "channels": store.meta["channels"], "classes": store.meta["classes"], "statistics": store.meta["statistics"],
        "patch": int(store.index["height"].max()), "simulated": bool(store.meta["simulated"]),
        "training": {"augment": augment, "epochs": epochs, "batch": batch, "patience": patience, "seed": seed,
                     "precision": precision_of(precision), "store": store.meta["key"]},
    }  # fmt: skip
    path = Path(run.checkpoints) / CARD
    if path.exists() and _same_training(json.loads(path.read_text()), card):
        return path
    if workers is None:
        workers = 2 if torch.cuda.is_available() else 0
    torch.manual_seed(seed)
    task = workloads.load(record.task)(card)
    best = fit(task, run, store, card["training"], workers)
    task.load_state_dict(best.pop("state_dict"))
    _save(task, path, {**card, "best": best})
    return path


def _same_training(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return all(old.get(key) == value for key, value in json.loads(json.dumps(new)).items() if key != "geonb")


def _save(task: nn.Module, path: Path, card: dict[str, Any]) -> None:
    weights = {name: value.contiguous() for name, value in task.state_dict().items()}
    partial = path.with_name(WEIGHTS + ".partial")
    save_file(weights, partial)
    partial.replace(path.with_name(WEIGHTS))
    partial = path.with_name(CARD + ".partial")
    partial.write_text(json.dumps(card, indent=1))
    partial.replace(path)


def load_model(path: str | Path) -> L.LightningModule:
    """Load a trained task, in eval mode, on the CPU.

    Parameters
    ----------
    path : run folder, checkpoints folder, or model.json

    Returns
    -------
    The task, with its ``card``.

    Raises
    ------
    FileNotFoundError
        If there is no card; says where one was looked for.
    ValueError
        If the file is no geonb model (a pickle is refused unread), the card is incomplete or its weights don't fit.
    """
    card_path = _card_path(Path(path))
    weights_path = card_path.with_name(WEIGHTS)
    try:
        card = json.loads(card_path.read_text())
        task = workloads.load(card["task"])(card, weights=False)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError) as error:
        raise ValueError(
            f"{card_path} is no model card ({error!r}). It was damaged, or not written by geonb: train again."
        ) from error
    try:
        task.load_state_dict(load_file(weights_path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{card_path} has no {WEIGHTS} beside it. Copy both files, or train again.") from error
    except SafetensorError as error:
        raise ValueError(
            f"{weights_path} is no safetensors file ({error}). It was cut short or is something else; copy it again."
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {weights_path} don't fit the network of {card_path} ({card['network']}): {error}"
        ) from error
    return task.eval()


def _card_path(path: Path) -> Path:
    if path.is_file() and path.suffix in {".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".bin"}:
        raise ValueError(
            f"{path} is a pickle, which can execute code when it is read, so geonb does not open it. "
            f"Give the run folder, or the {CARD} beside its {WEIGHTS}."
        )
    places = [path] if path.suffix == ".json" else [path / CARD, path / "checkpoints" / CARD]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(map(str, places))
    raise FileNotFoundError(
        f"No trained model at {looked}. Run notebooks/02_training.ipynb first, or give another `run`."
    )
