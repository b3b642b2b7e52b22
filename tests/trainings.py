"""Small trainings of `segmentation` in a folder, also broken off, and their weights."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from geonb.training import fit
from geonb.training import task as training_task

SMALL = "unet:encoder=resnet18,encoder_depth=2,decoder_channels=16-8"
SETTINGS = {
    "workload": "segmentation", "network": SMALL, "loss": "cross-entropy", "augment": "flips,rotations", "lr": 5e-3,
    "epochs": 3, "batch": 8, "patience": 5, "seed": 1, "precision": "float32",
}  # fmt: skip


class Folder(SimpleNamespace):
    """What a training asks of a run folder."""

    def update(self, **facts):
        self.info |= facts


def folder(path: Path, **more):
    path.mkdir(parents=True, exist_ok=True)
    return Folder(path=path, checkpoints=path / "checkpoints", info={}, **more)


def weights(run):
    return training_task.load_model(run.path).state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def killed_at(step, monkeypatch, run, store, **settings):
    """Train, killed before a step (from 0); what is left is no model."""

    class Killed(BaseException):
        pass

    def seed(self, trainer, *rest):
        if trainer.global_step >= step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(fit.StepSeed, "on_train_batch_start", seed)
        with pytest.raises(Killed):
            training_task.train(run, store, **settings)
    assert not (run.checkpoints / training_task.CARD).exists()
