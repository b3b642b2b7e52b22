"""Training: it learns, goes on where it was killed, and its model can be loaded without executing anything."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from geonb import tasks, training

pytest.importorskip("lightning")
SMALL = "unet:encoder=resnet18,encoder_depth=2,decoder_channels=16-8"
SETTINGS = {
    "workload": "segmentation", "network": SMALL, "loss": "cross-entropy", "augment": "flips,rotations", "lr": 5e-3,
    "epochs": 3, "batch": 8, "patience": 5, "seed": 1, "precision": "float32",
}  # fmt: skip


def folder(path: Path):
    path.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(path=path, checkpoints=path / "checkpoints")


@pytest.fixture(scope="module")
def trained(small_store, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("runs") / "unbroken")
    tasks.train(run, small_store, **SETTINGS)
    return run


def weights(run):
    return tasks.load_model(run.path).state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns(trained):
    rows = (trained.path / "log.csv").read_text().splitlines()
    losses = [float(row.split(",")[2]) for row in rows[1:]]
    assert len(losses) == 3 and losses[-1] < losses[0]


@pytest.mark.parametrize("when", ["in the second epoch", "after its last step", "between two files"])
def test_killed_it_goes_on_to_the_same_weights(when, trained, small_store, tmp_path, monkeypatch):
    run = folder(tmp_path / "killed")

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        if when == "between two files":
            written = []

            def save(self, checkpoint, path, **rest):
                written.append(path)
                if len(written) == 4:  # the best of epoch 2 is written, its last.ckpt is not
                    raise Killed
                return whole(self, checkpoint, path, **rest)

            whole = training.WholeFiles.save_checkpoint
            patch.setattr(training.WholeFiles, "save_checkpoint", save)
        else:
            step = len(small_store.index.query("split == 'train'")) // 8 + (2 if when.startswith("in") else 0)

            def seed(self, trainer, *rest):
                if trainer.global_step >= step + (0 if when.startswith("in") else step):
                    raise Killed

            patch.setattr(training.StepSeed, "on_train_batch_start", seed)
        with pytest.raises(Killed):
            tasks.train(run, small_store, **SETTINGS)
        assert not (run.checkpoints / tasks.CARD).exists()
    tasks.train(run, small_store, **SETTINGS)
    assert same(weights(run), weights(trained))
    assert (run.path / "log.csv").read_text() == (trained.path / "log.csv").read_text()


def test_the_seed_and_the_settings_matter(trained, small_store, tmp_path):
    run = folder(tmp_path / "other")
    tasks.train(run, small_store, **{**SETTINGS, "seed": 2})
    assert not same(weights(run), weights(trained))


def test_trained_again_is_not_trained_at_all(trained, small_store, monkeypatch):
    monkeypatch.setattr(tasks, "fit", lambda *_: pytest.fail("trained again"))
    tasks.train(trained, small_store, **SETTINGS)


def test_other_settings_in_the_same_folder_begin_anew(small_store, tmp_path):
    run = folder(tmp_path / "again")
    tasks.train(run, small_store, **{**SETTINGS, "epochs": 1})
    tasks.train(run, small_store, **{**SETTINGS, "epochs": 1, "lr": 1e-3})
    assert json.loads((run.checkpoints / tasks.CARD).read_text())["lr"] == 1e-3


def test_a_loss_that_became_nan_says_what_to_do(small_store, tmp_path):
    with pytest.raises(ValueError, match=r"The loss became nan at epoch 1 .*smaller `lr`"):
        tasks.train(folder(tmp_path / "nan"), small_store, **{**SETTINGS, "lr": 1e30})


def test_the_card_tells_what_the_model_needs(trained):
    card = tasks.load_model(trained.path).card
    assert len(card["channels"]) == len(card["statistics"]["mean"]) and card["best"]["epoch"] >= 1


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "best.safetensors", "model.json"])
def test_a_pickle_is_never_executed(name, trained, tmp_path):
    for file in (tasks.CARD, tasks.WEIGHTS):
        (tmp_path / file).write_bytes((trained.checkpoints / file).read_bytes())
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    target = tmp_path / name if name.endswith(("ckpt", "pt")) else tmp_path
    with pytest.raises(ValueError, match=r"pickle|safetensors file|no model card"):
        tasks.load_model(target)


def test_a_pickle_in_the_place_of_the_last_checkpoint_is_never_executed(small_store, tmp_path):
    run = folder(tmp_path / "planted")
    tasks.train(run, small_store, **{**SETTINGS, "epochs": 1})
    (run.checkpoints / tasks.CARD).unlink()
    torch.save(Bomb(), run.checkpoints / training.LAST)
    with pytest.raises(ValueError, match=r"cannot be read"):
        tasks.train(run, small_store, **{**SETTINGS, "epochs": 1})


def test_a_missing_model_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoints/model.json.*02_training"):
        tasks.load_model(tmp_path)


def test_precision_is_what_the_device_computes_in():
    assert tasks.precision_of("auto") in {"bfloat16", "float32"}
    assert tasks.precision_of("bfloat16") == "bfloat16"
    with pytest.raises(ValueError, match="auto, bfloat16 or float32"):
        tasks.precision_of("half")


def test_bfloat16_trains(small_store, tmp_path):
    run = folder(tmp_path / "half")
    tasks.train(run, small_store, **{**SETTINGS, "epochs": 1, "precision": "bfloat16"})
    assert tasks.load_model(run.path).card["training"]["precision"] == "bfloat16"
