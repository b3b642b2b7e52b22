"""The training loop's frame: Lightning's Trainer with a resumable log, calm progress and step-wise seeds."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from tqdm.auto import tqdm

from geonb.loaders import data_module

LAST = "last.ckpt"


class EpochLog(Callback):
    """Write log.csv, one row an epoch, and tell the epoch in one line (headless) or on a bar (live).

    The rows travel in the checkpoint: a resumed training has the log of an unbroken one.
    """

    def __init__(self, path: Path, live: bool) -> None:
        self.path, self.live, self.rows = path, live, []
        self.bar = None

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]

    def on_train_start(self, trainer: L.Trainer, _: L.LightningModule) -> None:
        if self.live:
            self.bar = tqdm(total=trainer.max_epochs, initial=trainer.current_epoch, unit="epoch", file=sys.stdout)

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        metrics = {name: round(float(value), 6) for name, value in sorted(trainer.callback_metrics.items())}
        if not math.isfinite(metrics["train_loss"]):
            raise ValueError(
                f"The loss became {metrics['train_loss']} at epoch {trainer.current_epoch + 1} (lr = {task.card['lr']}). "
                "Try a smaller `lr`."
            )
        self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **metrics})
        out = io.StringIO()
        writer = csv.DictWriter(out, fieldnames=list(self.rows[-1]))
        writer.writeheader()
        writer.writerows(self.rows)
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text(out.getvalue())
        partial.replace(self.path)
        told = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if self.bar is not None:
            self.bar.set_postfix_str(told, refresh=False)
            self.bar.update()
        else:
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {told}", flush=True)

    def teardown(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()


class WholeFiles(TorchCheckpointIO):
    """A checkpoint appears whole or not at all: a kill while it is written leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        partial = Path(f"{path}.partial")
        torch.save(checkpoint, partial)
        partial.replace(path)


class StepSeed(Callback):
    """Seed every step by its global number, so that dropout draws the same in a resumed training."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        torch.manual_seed((self.seed * 1_000_003 + trainer.global_step) % 2**63)


def fit(task: L.LightningModule, run, store, training: dict[str, Any], workers: int = 0) -> dict[str, Any]:
    """Fit a task; go on from ``checkpoints/last.ckpt`` if the same training wrote it.

    Returns
    -------
    dict with ``state_dict`` of the epoch with the lowest validation loss, ``epoch`` (from 1), ``val_loss``, ``epochs_run``.
    """
    folder = Path(run.checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    log = EpochLog(Path(run.path) / "log.csv", live=os.environ.get("GEONB_HEADLESS") != "1")
    keeper = ModelCheckpoint(
        folder,
        "best-{epoch}",
        monitor="val_loss",
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    stopper = EarlyStopping("val_loss", patience=training["patience"], check_on_train_epoch_end=True)
    with warnings.catch_warnings():
        _quiet()
        trainer = L.Trainer(
            max_epochs=training["epochs"],
            devices=1,  # the loaders do not yet deal windows to several: each would train on all of them
            precision="bf16-mixed" if training["precision"] == "bfloat16" else "32-true",
            plugins=[WholeFiles()],
            callbacks=[log, StepSeed(training["seed"]), stopper, keeper],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
        data = data_module(
            store, batch=training["batch"], augment=training["augment"], seed=training["seed"], workers=workers
        )
        last = _usable(folder, task.card)
        try:
            trainer.fit(task, data, ckpt_path=last, weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            if last is None or trainer.global_step:
                raise
            raise ValueError(
                f"{last} cannot be read ({str(error).splitlines()[0]}). Delete it to train from the beginning."
            ) from error
    best = torch.load(keeper.best_model_path, weights_only=True, map_location="cpu")
    return {
        "state_dict": best["state_dict"],
        "epoch": best["epoch"] + 1,
        "val_loss": float(keeper.best_model_score),
        "epochs_run": trainer.current_epoch,
    }


def _usable(folder: Path, card: dict[str, Any]) -> Path | None:
    """The last checkpoint if this very training wrote it; leftovers of another one are removed."""
    stamp, wanted = folder / "training.txt", repr(sorted(card.items()))
    if stamp.exists() and stamp.read_text() == wanted:
        return folder / LAST if (folder / LAST).exists() else None
    for old in folder.glob("*.ckpt"):
        old.unlink()
    stamp.write_text(wanted)
    return None


def _quiet() -> None:
    # Advice about loader workers and the like repeats in every report; errors and real warnings still show.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*treespec.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
