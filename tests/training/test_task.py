"""Training: it learns, goes on where it was killed, and its model can be loaded without executing anything."""

import dataclasses
import json
import pickle
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import harm
import pandas as pd
import pytest
import torch
from trainings import SETTINGS, SMALL, folder, killed_at, same, weights

from geonb import registry
from geonb.base import trust
from geonb.training import fit
from geonb.training import task as training_task
from geonb.workloads.segmentation import task as segmentation_task
from geonb.workloads.segmentation.loaders import Windows

pytest.importorskip("lightning")


@pytest.fixture(scope="module")
def trained(small_store, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("runs") / "unbroken")
    training_task.train(run, small_store, **SETTINGS)
    return run


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
                written.append(Path(path).name)
                if written.count(fit.LAST) == 2:  # the best of epoch 2 is written, its last.ckpt is not
                    raise Killed
                return whole(self, checkpoint, path, **rest)

            whole = fit.WholeFiles.save_checkpoint
            patch.setattr(fit.WholeFiles, "save_checkpoint", save)
        else:
            step = len(small_store.index.query("split == 'train'")) // 8 + (2 if when.startswith("in") else 0)

            def seed(self, trainer, *rest):
                if trainer.global_step >= step + (0 if when.startswith("in") else step):
                    raise Killed

            patch.setattr(fit.StepSeed, "on_train_batch_start", seed)
        with pytest.raises(Killed):
            training_task.train(run, small_store, **SETTINGS)
        assert not (run.checkpoints / training_task.CARD).exists()
    training_task.train(run, small_store, **SETTINGS)
    assert same(weights(run), weights(trained))
    assert (run.path / "log.csv").read_text() == (trained.path / "log.csv").read_text()


PLATEAU = "sgd:momentum=0.8,nesterov=true,schedule=plateau,factor=0.2,plateau_patience=0,swa=0.5"
OTHERS = {
    "plateau and averaging": {"optimizer": PLATEAU, "lr": 0.3, "epochs": 5, "patience": 9},
    "constant rate": {"optimizer": "adam:schedule=cosine,swa=0.4,swa_lr=0.002", "epochs": 4,
                      "sampler": "blocks:balance=class", "augment": "flips,affine,noise,blur,gamma,fancy-pca"},
    "early stop": {"optimizer": "adamw:schedule=none,swa=0.3", "lr": 0.2, "epochs": 9, "patience": 1},
    "two averages": {"optimizer": "adamw:swa=0.5,ema=0.8", "epochs": 4},
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_killed_with_every_option_it_goes_on_to_the_same_weights(what, small_store, tmp_path, monkeypatch):
    settings = {**SETTINGS, "batch": 16, **OTHERS[what]}
    unbroken, killed = folder(tmp_path / "unbroken"), folder(tmp_path / "killed")
    training_task.train(unbroken, small_store, **settings)
    rows = (unbroken.path / "log.csv").read_text().splitlines()[1:]
    steps = [int(row.split(",")[1]) for row in rows]
    assert len(steps) < 9  # the early stop came
    for step in (steps[0] + 1, steps[2] + 2):
        if step < steps[-1]:
            killed_at(step, monkeypatch, killed, small_store, **settings)
    killed = folder(
        killed.path.rename(tmp_path / "moved")
    )  # to another disk, say; what was the best so far stays the best
    with monkeypatch.context() as patch:  # trained to the end, but not sealed
        patch.setattr(training_task, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            training_task.train(killed, small_store, **settings)
    training_task.train(killed, small_store, **settings)
    assert (killed.path / "log.csv").read_text() == (unbroken.path / "log.csv").read_text()
    one, two = (json.loads((run.checkpoints / training_task.CARD).read_text()) for run in (unbroken, killed))
    averages = {name for name in ("swa", "ema") if name in settings["optimizer"]}
    assert one == two and set(one["checkpoints"]) == {"loss", "metric"} | averages
    for name in one["checkpoints"]:
        first, second = (training_task.load_model(run.path, name).state_dict() for run in (unbroken, killed))
        assert same(first, second)


def test_what_was_the_best_is_known_again_where_the_run_lies_elsewhere(tmp_path):
    here, there = (
        fit._keeper(tmp_path / name, "best-loss", monitor="val_loss", mode="min") for name in ("here", "there")
    )
    path, score = str(tmp_path / "here" / "best-loss.ckpt"), torch.tensor(0.25)
    here.best_model_path = here.kth_best_model_path = path
    here.best_k_models, here.best_model_score, here.kth_value = {path: score}, score, score
    there.load_state_dict(here.state_dict())
    moved = str(tmp_path / "there" / "best-loss.ckpt")
    assert there.best_model_path == there.kth_best_model_path == moved and there.best_k_models == {moved: score}
    assert there.best_model_score == there.kth_value == score and there.last_model_path == ""
    assert not there.check_monitor_top_k(
        SimpleNamespace(strategy=SimpleNamespace(reduce_boolean_decision=bool)), torch.tensor(0.5)
    )


def test_the_average_is_that_of_the_epochs_ends(small_store, tmp_path, monkeypatch):
    seen, rates = [], []

    def watch(self, trainer, *rest):
        torch.manual_seed(trainer.global_step)
        rates.append((trainer.current_epoch, trainer.optimizers[0].param_groups[0]["lr"]))

    keep = fit.EpochLog.on_train_epoch_end
    monkeypatch.setattr(fit.StepSeed, "on_train_batch_start", watch)
    monkeypatch.setattr(
        fit.EpochLog, "on_train_epoch_end",
        lambda self, trainer, task: (seen.append({k: v.clone() for k, v in task.state_dict().items()}), keep(self, trainer, task)),
    )  # fmt: skip
    run = folder(tmp_path / "swa")
    training_task.train(run, small_store, **{**SETTINGS, "epochs": 4, "optimizer": "adamw:swa=0.5,swa_lr=0.004"})
    model = training_task.load_model(run.path, "swa")
    averaged = model.state_dict()
    for name, _ in model.named_parameters():
        torch.testing.assert_close(averaged[name], (seen[2][name] + seen[3][name]) / 2, atol=1e-6, rtol=1e-5)
    running = next(name for name in averaged if name.endswith("running_mean"))
    assert not torch.equal(averaged[running], seen[3][running])  # the statistics are the averaged network's own
    card = json.loads((run.checkpoints / training_task.CARD).read_text())
    assert card["checkpoints"]["swa"]["averaged"] == 2 and card["checkpoints"]["swa"]["epoch"] == 4
    assert {rate for epoch, rate in rates if epoch >= 2} == {0.004}
    before = [rate for epoch, rate in rates if epoch < 2]
    assert max(before) == pytest.approx(SETTINGS["lr"], rel=0.05) and before[-1] < 1e-3  # one whole cycle


@pytest.fixture(scope="module")
def run_with_ema(small_store, tmp_path_factory):
    """A training with a running average, and the task's weights at the end of each step."""
    steps = []

    def watch(self, outputs, batch, at):
        steps.append({k: v.clone() for k, v in self.state_dict().items()})

    run = folder(tmp_path_factory.mktemp("runs") / "ema")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation_task.Segmentation, "on_train_batch_end", watch, raising=False)
        training_task.train(run, small_store, **{**SETTINGS, "optimizer": "adamw:ema=0.7"})
    return run, steps


def test_the_running_average_is_that_of_the_steps(run_with_ema, trained, small_store):
    run, steps = run_with_ema
    assert same(training_task.load_model(run.path, "loss").state_dict(), weights(trained)), (
        "training itself is as it was"
    )
    rows = pd.read_csv(run.path / "log.csv")
    card = json.loads((run.checkpoints / training_task.CARD).read_text())
    best = rows.loc[rows["ema_val_loss"].idxmin()]
    facts = card["checkpoints"]["ema"]
    assert facts["epoch"] == best["epoch"] and facts["val_loss"] == pytest.approx(best["ema_val_loss"], abs=1e-6)

    model = training_task.load_model(run.path, "ema")
    expected = steps[0]
    for step in steps[1 : int(best["step"])]:
        expected = {k: 0.7 * expected[k] + 0.3 * v if v.is_floating_point() else v for k, v in step.items()}
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)
    val = Windows(small_store, "val")
    batch = val.batch(list(range(len(val))))
    with torch.inference_mode():
        loss = model.loss(model(batch["inputs"]), batch["targets"])
    assert float(loss) == pytest.approx(facts["val_loss"], rel=0.02)  # the mean of batches is not quite that of pixels
    values = {name: of["val_loss"] for name, of in card["checkpoints"].items()}
    assert card["chosen"] == min(values, key=values.get) and model.card["best"]["val_loss"] == facts["val_loss"]


def test_the_running_average_is_chosen_where_validation_says_so(small_store, tmp_path, capsys):
    """A rate so high that the weights jump about: their average is better than any of them."""
    run = folder(tmp_path / "high")
    settings = {**SETTINGS, "lr": 0.03, "optimizer": "adam:schedule=none,ema=0.9", "epochs": 6}
    training_task.train(run, small_store, **settings)
    model = training_task.load_model(run.path)
    assert model.card["chosen"] == "ema" == model.card["weights"]
    assert same(model.state_dict(), training_task.load_model(run.path, "ema").state_dict())
    assert "chosen: ema" in capsys.readouterr().out


def test_a_plateau_lowers_the_rate(small_store, tmp_path, monkeypatch):
    rates = {}

    def watch(self, trainer, *rest):
        rates[trainer.current_epoch] = trainer.optimizers[0].param_groups[0]["lr"]

    monkeypatch.setattr(fit.StepSeed, "on_train_batch_start", watch)
    monkeypatch.setattr(segmentation_task.Segmentation, "validation_step", lambda self, batch, _: self.log_dict(
        {"val_loss": torch.tensor(1.0 if self.current_epoch < 1 else 2.0), "val_mean_iou": torch.tensor(0.5)}, batch_size=1
    ))  # fmt: skip
    settings = {**SETTINGS, "epochs": 4, "lr": 0.1, "patience": 9}
    training_task.train(
        folder(tmp_path / "a"), small_store, **settings, optimizer="sgd:schedule=plateau,factor=0.5,plateau_patience=0"
    )
    assert list(rates.values()) == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_best_by_loss_and_by_metric_are_the_logs_best(trained, small_store):
    lines = [line.split(",") for line in (trained.path / "log.csv").read_text().splitlines()]
    rows = [dict(zip(lines[0], map(float, line), strict=True)) for line in lines[1:]]
    card = json.loads((trained.checkpoints / training_task.CARD).read_text())
    lowest = min(rows, key=lambda row: row["val_loss"])
    highest = max(rows, key=lambda row: row["val_mean_iou"])
    for name, row in (("loss", lowest), ("metric", highest)):
        assert card["checkpoints"][name] == {key: row[key] for key in ("epoch", "val_loss", "val_mean_iou")}
        model = training_task.load_model(trained.path, name)
        assert model.card["weights"] == name and model.card["best"]["epoch"] == row["epoch"]
        val = Windows(small_store, "val")
        batch = val.batch(list(range(len(val))))
        with torch.inference_mode():
            labels = model(batch["inputs"]).argmax(dim=1)
        model.mean_iou.update(labels, batch["targets"])
        assert float(model.mean_iou.compute()) == pytest.approx(row["val_mean_iou"], abs=2e-3)
    assert card["chosen"] == "loss" and training_task.load_model(trained.path).card["weights"] == "loss"


def test_weights_that_are_not_there_are_told(trained):
    with pytest.raises(ValueError, match=r"weights = 'swa' are not in .*There are: loss, metric\..*swa in `optimizer`"):
        training_task.load_model(trained.path, "swa")
    with pytest.raises(ValueError, match=r"weights = 'ema' are not in .*ema in `optimizer`, e.g. adamw:ema=0.95"):
        training_task.load_model(trained.path, "ema")
    with pytest.raises(ValueError, match=r"weights = 'best' are not in"):
        training_task.load_model(trained.path, "best")


def test_a_card_from_before_still_loads(trained, tmp_path):
    card = json.loads((trained.checkpoints / training_task.CARD).read_text())
    for key in ("checkpoints", "chosen", "resolution_m", "preprocess", "sum"):
        del card[key]
    del card["training"]["optimizer"], card["training"]["sampler"], card["best"]["val_mean_iou"]
    (tmp_path / training_task.CARD).write_text(json.dumps(card))
    (tmp_path / training_task.WEIGHTS).write_bytes((trained.checkpoints / training_task.WEIGHTS).read_bytes())
    assert same(training_task.load_model(tmp_path).state_dict(), weights(trained))
    with pytest.raises(ValueError, match="There are: loss"):
        training_task.load_model(tmp_path, "metric")


def test_the_default_is_the_training_of_before(trained, small_store, tmp_path, monkeypatch):
    """AdamW at torch's own settings, one cycle up to lr: written out."""

    def configure(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.card["lr"])
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.card["lr"], total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    monkeypatch.setattr(segmentation_task.Segmentation, "configure_optimizers", configure)
    run = folder(tmp_path / "before")
    training_task.train(run, small_store, **SETTINGS)
    assert same(weights(run), weights(trained))


@pytest.mark.parametrize("metric", ["val_log_loss", "val_mean_iou"])
def test_of_a_metric_that_is_better_the_lower_the_lowest_is_kept(metric, small_store, tmp_path, monkeypatch):
    """Known to geonb (a log loss), or told by the workload's record."""
    record = dataclasses.replace(registry.get("segmentation"), lower_is_better=True)
    monkeypatch.setattr(registry, "get", lambda name: record)
    monkeypatch.setattr(segmentation_task.Segmentation, "metric", metric)
    run = folder(tmp_path / "lower")
    training_task.train(run, small_store, **SETTINGS)
    lines = [line.split(",") for line in (run.path / "log.csv").read_text().splitlines()]
    values = [float(line[lines[0].index(metric)]) for line in lines[1:]]
    kept = json.loads((run.checkpoints / training_task.CARD).read_text())["checkpoints"]["metric"]
    assert kept["epoch"] == 1 + values.index(min(values)) and min(values) < max(values)


def test_what_any_task_refuses_and_remembers(small_store):
    training_task.Trainable.check(small_store, "", "", "", "", "adamw")
    with pytest.raises(ValueError, match="Unknown optimizer 'adamn'"):
        training_task.Trainable.check(small_store, "", "", "", "", "adamn")
    card = training_task.Trainable.card_of(small_store)
    assert card["simulated"] is True and len(card["statistics"]["mean"]) == len(card["channels"]) == 4


# ---- before any compute


def test_all_mistakes_are_told_before_anything_is_computed(small_store, tmp_path, monkeypatch):
    monkeypatch.setattr(training_task, "fit", lambda *_, **__: pytest.fail("computed"))
    wrong = {"network": "unett", "loss": "dise", "augment": "flip", "optimizer": "adan", "sampler": "shuffel"}
    with pytest.raises(ValueError) as told:
        training_task.train(folder(tmp_path / "wrong"), small_store, **{**SETTINGS, **wrong})
    assert all(f"{what} {value!r}" in str(told.value) for what, value in wrong.items())


def test_windows_the_network_cannot_halve_are_refused(small_store, tmp_path, monkeypatch):
    monkeypatch.setattr(training_task, "fit", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(ValueError, match=r"Windows of 16 x 16 pixels don't fit .* multiples of 32"):
        training_task.train(folder(tmp_path / "odd"), small_store, **{**SETTINGS, "network": "fpn:encoder=resnet18"})


# ---- the task


def tiny_task(loss="cross-entropy"):
    card = {
        "network": SMALL,
        "loss": loss,
        "channels": [{"name": "a"}] * 4,
        "classes": [{"name": n} for n in "xyz"],
        "lr": 1,
    }
    return segmentation_task.Segmentation(card)


def test_deep_supervision_weighs_the_outputs_by_halves():
    task, targets = tiny_task(), torch.randint(0, 3, (2, 8, 8))
    outputs = [torch.randn(2, 3, 8, 8) for _ in range(3)]
    losses = [torch.nn.functional.cross_entropy(output, targets) for output in outputs]
    expected = (losses[0] + losses[1] / 2 + losses[2] / 4) / 1.75
    torch.testing.assert_close(task.loss_of(outputs, targets), expected)
    torch.testing.assert_close(task.loss_of(tuple(outputs[:1]), targets), losses[0])
    torch.testing.assert_close(task.loss_of(outputs[0], targets), losses[0])


def test_deep_supervision_trains_is_averaged_and_loaded(small_store, tmp_path):
    run, network = folder(tmp_path / "deep"), "segmentalist:layer_blocks=1-1,initial_filters=8,deep_supervision=true"
    training_task.train(run, small_store, **{**SETTINGS, "epochs": 2, "network": network, "optimizer": "adamw:swa=0.5"})
    for name in ("loss", "metric", "swa"):
        model = training_task.load_model(run.path, name)
        assert model.probabilities(torch.zeros(1, 4, 16, 16)).shape == (1, 3, 16, 16)
    assert isinstance(model.train()(torch.zeros(2, 4, 16, 16)), list | tuple)


def test_a_loss_is_told_how_far_the_training_is(small_store, tmp_path, monkeypatch):
    told = []

    def build(spec, classes):
        def loss(logits, targets):
            return torch.nn.functional.cross_entropy(logits, targets, ignore_index=255)

        loss.set_progress = told.append
        return loss

    monkeypatch.setattr(segmentation_task, "build_loss", build)
    training_task.train(folder(tmp_path / "told"), small_store, **SETTINGS)
    assert told == [0, 1, 0.5, 1, 1, 1], "by epoch in training, and always as at the end in validation"


def test_an_embedding_is_the_mean_of_the_deepest_features():
    task, inputs = tiny_task().eval(), torch.randn(2, 4, 32, 32)
    with torch.inference_mode():
        expected = task.network.encoder(inputs)[-1].mean(dim=(2, 3))
        torch.testing.assert_close(task.encode(inputs), expected)


def test_the_card_has_the_common_resolution_and_preparation(small_store):
    meta = {**small_store.meta}
    source = meta["sources"][0]
    index = small_store.index

    def common(sources, datasets):
        store = type(small_store)(small_store.path, {**meta, "sources": sources, "datasets": datasets})
        half = len(index) // 2
        names = [s["name"] for s in sources]
        at = [names[0] if i < half or len(names) == 1 else names[1] for i in range(len(index))]
        store.__dict__["index"] = index.assign(source=at)
        return segmentation_task._common(store)

    one = {**source, "crs": "EPSG:32617", "pixel_m": 9.996, "resolution": [10.0, 10.0], "dataset": "a"}
    near, far = ({**one, "name": "second", "dataset": "b", "resolution": [m, m]} for m in (10.004, 20.0))
    degrees = {**near, "crs": "EPSG:4326", "pixel_m": 9.999, "resolution": [1e-4, 8e-5]}
    feet = {**one, "crs": "EPSG:2264", "resolution": [10 / 0.3048006096] * 2}
    assert common([one, degrees], [])["resolution_m"] == 10.0
    assert common([feet], [])["resolution_m"] == pytest.approx(10.0)
    steps = [{"name": "a", "preprocess": "m:f"}, {"name": "b", "preprocess": "m:f"}]
    assert common([one, near], steps) == {"resolution_m": 10.0, "preprocess": ["m:f"]}
    assert common([one, far], [steps[0], {"name": "b", "preprocess": "m:g"}]) == {
        "resolution_m": None,
        "preprocess": None,
    }
    assert common([one], steps[:1]) == {"resolution_m": 10.0, "preprocess": ["m:f"]}
    assert segmentation_task._common(small_store) == {"resolution_m": source["resolution"][0], "preprocess": None}


def test_the_seed_and_the_settings_matter(trained, small_store, tmp_path):
    run = folder(tmp_path / "other")
    training_task.train(run, small_store, **{**SETTINGS, "seed": 2})
    assert not same(weights(run), weights(trained))


def test_a_budget_in_steps_is_so_many_epochs(trained, small_store, tmp_path, capsys):
    """Schedule, log and weights are those of a training that was asked for as many epochs."""
    steps = pd.read_csv(trained.path / "log.csv")["step"].tolist()
    run = folder(tmp_path / "budget")
    training_task.train(run, small_store, **{**SETTINGS, "epochs": 1}, min_steps=steps[1] + 1)
    assert (
        f"at most 3 epochs, not 1, and a patience of {3 * SETTINGS['patience']}: one is {steps[0]} steps, and "
        f"min_steps = {steps[1] + 1}" in capsys.readouterr().out
    )
    assert same(weights(run), weights(trained))
    assert (run.path / "log.csv").read_text() == (trained.path / "log.csv").read_text()
    card = json.loads((run.checkpoints / training_task.CARD).read_text())
    assert card["training"]["epochs"] == 3 and card["training"]["min_steps"] == steps[1] + 1
    assert card["training"]["patience"] == 3 * SETTINGS["patience"]


@pytest.mark.parametrize("min_steps", [None, 0, 1, "two epochs"])
def test_a_budget_that_the_epochs_fill_changes_nothing(min_steps, small_store, tmp_path, capsys, monkeypatch):
    class Settled(Exception):
        pass

    def fit(task, *_, **__):
        raise Settled(task.card["training"]["epochs"])

    monkeypatch.setattr(training_task, "fit", fit)
    if min_steps == "two epochs":
        min_steps = 2 * -(-len(small_store.index.query("split == 'train'")) // 8)
    with pytest.raises(Settled, match=r"^2$"):
        training_task.train(folder(tmp_path / "a"), small_store, **{**SETTINGS, "epochs": 2}, min_steps=min_steps)
    assert "epochs, not" not in capsys.readouterr().out


def test_trained_again_is_not_trained_at_all_and_says_so(trained, small_store, monkeypatch, capsys):
    monkeypatch.setattr(training_task, "fit", lambda *_, **__: pytest.fail("trained again"))
    training_task.train(trained, small_store, **SETTINGS)
    said = capsys.readouterr().out
    assert (
        "nothing was trained now: it ended on 20" in said and " after 3 of 3 epochs; loss is chosen, of epoch " in said
    )
    assert "another `seed`" in said and f"delete {trained.checkpoints}." in said


def test_an_interrupt_says_what_is_kept_and_the_same_call_goes_on(trained, small_store, tmp_path, monkeypatch, capsys):
    run, steps = folder(tmp_path / "calm-heron"), pd.read_csv(trained.path / "log.csv")["step"].tolist()
    before, seed = signal.getsignal(signal.SIGINT), fit.StepSeed.on_train_batch_start

    def interrupted_at(step):
        def interrupt(self, trainer, *rest):
            if trainer.global_step == step:
                raise KeyboardInterrupt
            seed(self, trainer, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(fit.StepSeed, "on_train_batch_start", interrupt)
            with pytest.raises(KeyboardInterrupt) as stopped:
                training_task.train(run, small_store, **SETTINGS)
        return str(stopped.value)

    of = steps[0]
    told = interrupted_at(2)
    assert told.startswith(f"Interrupted in epoch 1 of 3, step 2 of {of}. No epoch had ended, so nothing is kept")
    told = interrupted_at(steps[0] + 3)
    assert told.startswith(
        f"Interrupted in epoch 2 of 3, step 3 of {of}. Kept is epoch 1 of 3, in checkpoints/ of the run calm-heron."
    )
    assert signal.getsignal(signal.SIGINT) == before, "Lightning ignores what comes after"
    capsys.readouterr()
    training_task.train(run, small_store, **SETTINGS)
    assert "goes on after epoch 1 of 3" in capsys.readouterr().out
    assert same(weights(run), weights(trained))


@pytest.mark.parametrize("patience", [1, 2])
def test_an_early_stop_says_so_and_stays(patience, small_store, tmp_path, monkeypatch, capsys):
    losses = iter([3.0, 1.0, *([2.0] * 9)])

    def validated(self, batch, at):
        if at == 0:
            self.now = next(losses)
        self.log_dict({"val_loss": torch.tensor(self.now), "val_mean_iou": torch.tensor(0.5)}, batch_size=1)

    monkeypatch.setattr(segmentation_task.Segmentation, "validation_step", validated)
    run, settings = folder(tmp_path / "early"), {**SETTINGS, "epochs": 9, "patience": patience}
    with monkeypatch.context() as patch:
        patch.setattr(training_task, "_save", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            training_task.train(run, small_store, **settings)
    sentence = (
        f"Stopped early, after epoch {2 + patience} of 9: no epoch of the last {patience} (`patience`) had a lower validation loss "
        "than epoch 2, 1."
    )
    assert sentence in capsys.readouterr().out
    training_task.train(run, small_store, **settings)
    said = capsys.readouterr().out
    assert sentence in said and "/9  train_loss" not in said
    assert len((run.path / "log.csv").read_text().splitlines()) == 3 + patience, "resumed, it does not go on"


def test_other_settings_in_the_same_folder_begin_anew(small_store, tmp_path):
    run = folder(tmp_path / "again")
    training_task.train(run, small_store, **{**SETTINGS, "epochs": 1})
    training_task.train(run, small_store, **{**SETTINGS, "epochs": 1, "lr": 1e-3})
    assert json.loads((run.checkpoints / training_task.CARD).read_text())["lr"] == 1e-3


def test_a_loss_that_became_nan_says_what_to_do(small_store, tmp_path):
    with pytest.raises(ValueError, match=r"The loss became nan at epoch 1 .*smaller `lr`"):
        training_task.train(folder(tmp_path / "nan"), small_store, **{**SETTINGS, "lr": 1e30})


def test_a_loss_of_the_validation_samples_that_is_not_finite_stops_training(small_store, tmp_path, monkeypatch):
    def validated(self, batch, _):
        self.log_dict({"val_loss": torch.inf, self.metric: 0.5})

    monkeypatch.setattr(segmentation_task.Segmentation, "validation_step", validated)
    with pytest.raises(ValueError, match=r"validation samples became inf at epoch 1.* fills that no nodata"):
        training_task.train(folder(tmp_path / "inf"), small_store, **SETTINGS)


def test_the_card_tells_what_the_model_needs(trained):
    card = training_task.load_model(trained.path).card
    assert len(card["channels"]) == len(card["statistics"]["mean"]) and card["best"]["epoch"] >= 1


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "best.safetensors", "model.json"])
def test_a_pickle_is_never_executed(name, trained, tmp_path):
    for file in (training_task.CARD, training_task.WEIGHTS):
        (tmp_path / file).write_bytes((trained.checkpoints / file).read_bytes())
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    target = tmp_path / name if name.endswith(("ckpt", "pt")) else tmp_path
    with pytest.raises(ValueError, match=r"pickle|safetensors file|no model card"):
        training_task.load_model(target)


def test_a_pickle_in_the_place_of_the_last_checkpoint_is_never_executed(small_store, tmp_path):
    run = folder(tmp_path / "planted")
    training_task.train(run, small_store, **{**SETTINGS, "epochs": 1})
    (run.checkpoints / training_task.CARD).unlink()
    torch.save(Bomb(), run.checkpoints / fit.LAST)
    with pytest.raises(ValueError, match=r"cannot be read"):
        training_task.train(run, small_store, **{**SETTINGS, "epochs": 1})


@pytest.mark.parametrize("file", ["last.ckpt", "best-loss.ckpt"])
@pytest.mark.parametrize("kind", ["emptied", "cut", "flipped"])
def test_a_damaged_checkpoint_is_told_and_training_begins_anew(
    file, kind, trained, small_store, tmp_path, monkeypatch, capsys
):
    run = folder(tmp_path / "damaged")
    steps = len(small_store.index.query("split == 'train'")) // 8
    killed_at(steps + 1, monkeypatch, run, small_store, **SETTINGS)
    harm.HARMS[kind](run.checkpoints / file)
    training_task.train(run, small_store, **SETTINGS)
    assert f"{file} in {run.checkpoints} cannot be read: it trains from the beginning" in capsys.readouterr().out
    assert same(weights(run), weights(trained))
    assert (run.path / "log.csv").read_text() == (trained.path / "log.csv").read_text()


@pytest.mark.parametrize("kind", harm.HARMS)
@pytest.mark.parametrize("file", [training_task.WEIGHTS, training_task.CARD])
def test_a_damaged_model_is_refused_and_trained_again(file, kind, trained, small_store):
    before = weights(trained)
    with harm.harmed(trained.checkpoints / file, kind):
        with pytest.raises((ValueError, FileNotFoundError), match=file):
            training_task.load_model(trained.path)
        training_task.train(trained, small_store, **SETTINGS)
        assert same(weights(trained), before)


def test_another_digit_in_a_card_is_noticed(trained, small_store, tmp_path):
    """It is still JSON of the right form, and another mean changes every prediction."""
    before = weights(trained)
    file = trained.checkpoints / training_task.CARD
    text = file.read_text()
    card = json.loads(text)
    card["statistics"]["mean"][0] += 40
    try:
        file.write_text(json.dumps(card))
        with pytest.raises(ValueError, match=r"(?s)model\.json is damaged.*its sum differs.*delete its `sum`"):
            training_task.load_model(trained.path)
        training_task.train(trained, small_store, **SETTINGS)
        assert same(weights(trained), before)
    finally:
        file.write_text(text)
    loaded = training_task.load_model(copied(trained, tmp_path / "mine", **card))
    assert loaded.card["statistics"]["mean"] == card["statistics"]["mean"]


@pytest.mark.parametrize("text", ["null", "[]", "{}", "3", "{", '{"best": {}}'])
def test_a_card_that_is_something_else_is_no_model_card(text, trained, tmp_path):
    shutil.copytree(trained.checkpoints, tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / training_task.CARD).write_text(text)
    with pytest.raises(ValueError, match=r"model\.json is no model card"):
        training_task.load_model(tmp_path)


def test_a_missing_model_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoints/model.json.*02_training"):
        training_task.load_model(tmp_path)


@pytest.mark.parametrize(
    ("amx", "dot", "found"), [(True, True, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")]
)
def test_precision_is_what_the_device_computes_in(monkeypatch, amx, dot, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: dot)
    assert training_task.precision_of("auto") == found
    assert training_task.precision_of("bfloat16") == "bfloat16"
    with pytest.raises(ValueError, match="auto, bfloat16 or float32"):
        training_task.precision_of("half")


def test_bfloat16_trains(small_store, tmp_path):
    run = folder(tmp_path / "half")
    training_task.train(run, small_store, **{**SETTINGS, "epochs": 1, "precision": "bfloat16"})
    assert training_task.load_model(run.path).card["training"]["precision"] == "bfloat16"


def copied(trained, folder, **changed):
    """A trained model elsewhere, whose card was changed."""
    folder.mkdir()
    shutil.copy(trained.checkpoints / training_task.WEIGHTS, folder)
    card = json.loads((trained.checkpoints / training_task.CARD).read_text()) | changed
    del card["sum"]  # else it is told that it was changed
    (folder / training_task.CARD).write_text(json.dumps(card))
    return folder


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module that Python would find, and that leaves a file where it is imported."""
    (tmp_path / "lib").mkdir()
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'executed')!r}).touch()\n"
    code += "def task(card, weights): raise SystemExit\n"
    code += "from geonb.workloads import Workload\nTASK = 'geonb.workloads.segmentation.task:Segmentation'\n"
    code += "RECORD = Workload('mine', 'Mine', 'What?', '01.ipynb', 'mean_iou', task=TASK)\n"
    (tmp_path / "lib" / "planted_in_a_card.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.setattr(registry, "_NAMED", {})
    yield tmp_path / "executed"
    sys.modules.pop("planted_in_a_card", None)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"task": "os:system"}, r"names the task 'os:system', but the task of the workload 'segmentation'.*not imported"),
        ({"task": "planted_in_a_card:task"}, r"'planted_in_a_card:task'.*could be any code.*workload='package.module:RECORD'"),
        ({"workload": "planted_in_a_card:RECORD"}, r"not known in this process.*workloads.get\('planted_in_a_card:RECORD'\)"),
        ({"workload": "planted_in_a_card:RECORD", "task": "planted_in_a_card:task"}, r"not known in this process"),
        ({"workload": "conflict"}, r"the task of the workload 'conflict' is 'geonb.workloads.conflict.task:Forecast'"),
    ],
)  # fmt: skip
def test_a_card_imports_and_calls_nothing_that_it_names(changed, told, trained, tmp_path, planted):
    folder = copied(trained, tmp_path / "model", **changed)
    with pytest.raises(ValueError, match=told):
        training_task.load_model(folder)
    assert not planted.exists() and "planted_in_a_card" not in sys.modules


def test_a_record_that_the_user_names_is_known_from_then_on(trained, tmp_path, planted):
    folder = copied(trained, tmp_path / "model", workload="planted_in_a_card:RECORD")
    for _ in range(2):  # by the argument, then because it was named
        model = training_task.load_model(folder, workload=None if planted.exists() else "planted_in_a_card:RECORD")
        assert same(model.state_dict(), weights(trained))
    assert registry.known("mine") is registry.known("planted_in_a_card:RECORD")


def test_the_record_that_the_user_gives_goes_before_what_the_card_says(trained, tmp_path, planted):
    """Dask's workers import the record of the model's card: it must be the one that the user gave."""
    from geonb.prediction import workers

    folder = copied(trained, tmp_path / "model", workload="planted_in_a_card:RECORD")
    model = training_task.load_model(folder, workload="segmentation")
    assert model.card["workload"] == "segmentation" and not planted.exists()
    with workers._saved(model, tmp_path / "out") as saved:
        assert same(workers._loaded(saved, model.card["workload"]).state_dict(), weights(trained))
    assert not planted.exists()


def test_a_record_that_was_named_on_this_machine_is_known_until_it_changes(trained, tmp_path, planted, monkeypatch):
    folder = copied(trained, tmp_path / "model", workload="planted_in_a_card:RECORD")
    registry.get("planted_in_a_card:RECORD")
    planted.unlink()
    for name in ("planted_in_a_card:RECORD", "mine"):  # in processes to come
        monkeypatch.setattr(registry, "_NAMED", {})
        monkeypatch.setattr(trust, "_HERE", set())
        sys.modules.pop("planted_in_a_card", None)
        assert registry.known(name).name == "mine" and same(
            training_task.load_model(folder).state_dict(), weights(trained)
        )
    monkeypatch.setattr(registry, "_NAMED", {})
    sys.modules.pop("planted_in_a_card")
    planted.unlink()
    code = tmp_path / "lib" / "planted_in_a_card.py"
    code.write_text(code.read_text() + "# another's\n")
    for ask in (
        lambda: training_task.load_model(folder),
        lambda: registry.known("mine"),
        lambda: registry.store_of("theirs"),
    ):
        with pytest.raises(ValueError, match=r"with the source that it has now|Unknown kind of sample store"):
            ask()
    assert not planted.exists()


@pytest.mark.parametrize(
    ("workload", "task"),
    [
        ("segmentation", "geonb.tasks:Segmentation"),
        ("conflict", "geonb.tasks_forecast:Forecast"),
        ("clouds", "geonb.tasks_triplet:Triplet"),
    ],
)
def test_cards_of_the_first_version_are_understood_wherever_the_task_moves(workload, task):
    found = training_task.task_of_card({"workload": workload, "task": task})
    assert found.__name__ == task.partition(":")[2] and found.__module__ == f"geonb.workloads.{workload}.task"


def test_what_is_no_task_is_refused(monkeypatch):
    record = dataclasses.replace(registry.get("segmentation"), task="builtins:dict")
    with pytest.raises(
        ValueError, match=r"'builtins:dict' of the workload 'segmentation' is no geonb.training.task.Trainable"
    ):
        training_task.task_of(record)
