"""Forecasting: the task learns, resumes, forecasts with dropout, and refuses what it cannot train on."""

from types import SimpleNamespace

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import folder

from geonb.store.loaders import Batches
from geonb.store.samplers import order_of
from geonb.training import task as training_task
from geonb.workloads.conflict import networks
from geonb.workloads.conflict import task as conflict_task
from geonb.workloads.conflict.task import BinnedAveragePrecision, Forecast

SETTINGS = {
    "workload": "conflict", "network": "convlstm:structure=4-0/4-4,skip=true", "loss": "bce", "augment": "none", "lr": 3e-2,
    "epochs": 8, "batch": 4, "patience": 9, "seed": 1, "precision": "float32", "optimizer": "adam:amsgrad=true,schedule=none",
}  # fmt: skip
STEPS, HORIZON, SIDE = 3, 2, 8


class Months:
    """Windows of a process in which an event of the last month comes again, with the deaths it had."""

    def __init__(self, store, split=None, augment="none", seed=0):
        if augment != "none":
            raise ValueError(f"augment {augment!r} is unknown")
        self.rows = np.flatnonzero(store.index["split"] == split)
        self.outcomes = len(store.meta["outcomes"])

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        random = np.random.default_rng(int(self.rows[i]))
        inputs = (random.random((STEPS, self.outcomes + 1, SIDE, SIDE)) < 0.2).astype(np.float32)
        targets = np.repeat(inputs[-1:, : self.outcomes], HORIZON, axis=0)
        valid = np.ones((SIDE, SIDE), bool)
        valid[0] = False
        return {"inputs": inputs, "targets": targets, "deaths": 9 * targets, "valid": valid}

    def batch(self, keys):
        items = [self[key % len(self)] for key in keys]
        return {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}


def made_store(outcomes=1, deaths=True, splits=("train",) * 40 + ("val",) * 12):
    names = ["state-based", "non-state", "one-sided"][:outcomes]
    channels = [{"name": n, "role": "both"} for n in [*names, "other"]] + [{"name": "best", "role": "target"}]
    meta = {
        "key": "made", "channels": channels, "classes": [], "simulated": True, "statistics": {"mean": [0.0], "std": [1.0]},
        "outcomes": [{"name": n, "event": n, "deaths": "best" if deaths else None} for n in names],
        "split": {"method": "time", "steps": STEPS, "horizon": HORIZON},
    }  # fmt: skip
    index = pd.DataFrame({"split": pd.Categorical(splits), "height": SIDE, "width": SIDE, "source": "grid", "block": 0})
    store = SimpleNamespace(meta=meta, index=index, path="data/conflict/made", classes=[])
    store.windows = lambda split, augment="none": Months(store, split, augment)
    return store


@pytest.fixture(autouse=True)
def sequences(monkeypatch):
    def data_module(store, batch, augment, seed, workers, sampler):
        module = L.LightningDataModule()

        def loader(split, spec, train):
            windows = Months(store, split)
            return Batches(windows, order_of(windows, store, spec, seed), batch, workers, train)

        module.train_dataloader = lambda: loader("train", sampler, True)
        module.val_dataloader = lambda: loader("val", "sequential", False)
        return module

    monkeypatch.setattr(Forecast, "data_module", staticmethod(data_module))


def made_task(network="unet_lstm:filters=4,dropout=0.3", loss="bce", outcomes=1, horizon=2):
    torch.manual_seed(0)
    card = {"network": network, "loss": loss, "channels": [{"name": "a"}] * 3, "horizon": horizon, "lr": 1e-3,
            "outcomes": [{"name": n} for n in "xyz"[:outcomes]]}  # fmt: skip
    return Forecast(card).eval()


# ---- training


def test_it_learns_keeps_the_best_and_is_loaded(tmp_path):
    run, store = folder(tmp_path / "run"), made_store()
    training_task.train(run, store, **SETTINGS)
    rows = pd.read_csv(run.path / "log.csv")
    assert rows["val_loss"].iloc[-1] < rows["val_loss"].iloc[0]
    assert rows["val_average_precision"].iloc[-1] > 0.9
    model = training_task.load_model(run.path)
    assert model.card["best"]["val_average_precision"] == rows["val_average_precision"][rows["val_loss"].idxmin()]
    assert {k: model.card[k] for k in ("steps", "horizon", "patch", "simulated", "task")} == {
        "steps": STEPS, "horizon": HORIZON, "patch": SIDE, "simulated": True, "task": "geonb.workloads.conflict.task:Forecast",
    }  # fmt: skip
    assert [c["name"] for c in model.card["channels"]] == ["state-based", "other"], (
        "what only is a target does not enter"
    )
    windows = Months(store, "val")
    batch = windows.batch(list(range(len(windows))))
    p = model.probabilities(batch["inputs"])
    assert p.shape == batch["targets"].shape and p.dtype == torch.float32
    metrics = pytest.importorskip("sklearn.metrics")
    within = batch["valid"][:, None, None].expand_as(p)
    expected = metrics.average_precision_score(batch["targets"][within], p.detach()[within])
    assert model.card["best"]["val_average_precision"] == pytest.approx(expected, abs=2e-3)
    loss = model.loss(model(batch["inputs"]), batch["targets"], batch["deaths"], batch["valid"])
    assert model.card["best"]["val_loss"] == pytest.approx(loss.item(), abs=2e-3)


def test_killed_it_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    store = made_store(outcomes=3)
    settings = {**SETTINGS, "network": "unet_lstm:filters=2,depth=1,dropout=0.3,norm=batch", "loss": "hurdle",
                "epochs": 3, "optimizer": "adamw:swa=0.5"}  # fmt: skip
    whole, killed = folder(tmp_path / "whole"), folder(tmp_path / "killed")
    training_task.train(whole, store, **settings)

    class Killed(BaseException):
        pass

    def die(self, trainer, *rest):
        if trainer.global_step >= 13:
            raise Killed
        torch.manual_seed((self.seed * 1_000_003 + trainer.global_step) % 2**63)

    with monkeypatch.context() as patch:
        patch.setattr("geonb.training.fit.StepSeed.on_train_batch_start", die)
        with pytest.raises(Killed):
            training_task.train(killed, store, **settings)
    training_task.train(killed, store, **settings)
    assert (killed.path / "log.csv").read_text() == (whole.path / "log.csv").read_text()
    for name in ("loss", "metric", "swa"):
        one, two = (training_task.load_model(run.path, name).state_dict() for run in (whole, killed))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_all_mistakes_are_told_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(training_task, "fit", lambda *_: pytest.fail("computed"))
    wrong = {"network": "convlstn", "loss": "bcee", "augment": "flip", "optimizer": "adan", "sampler": "shuffel"}
    with pytest.raises(ValueError) as told:
        training_task.train(folder(tmp_path / "wrong"), made_store(), **{**SETTINGS, **wrong})
    assert all(f"{what} {value!r}" in str(told.value) for what, value in wrong.items())


@pytest.mark.parametrize(
    ("settings", "store", "told"),
    [
        ({}, {"splits": ("train",) * 9}, r"has no val windows"),
        ({"loss": "hurdle"}, {"deaths": False}, r"learns deaths, but the store has none for state-based"),
        ({"loss": "ssim:sigma=4"}, {}, r"maps of 15 cells a side or more; the windows have 8"),
        ({"network": "convlstm:peephole=pixel"}, {}, r"Windows of 8 x 8 cells don't fit"),
        ({"network": "convlstm:structure=2/2,head=none"}, {"outcomes": 3}, r"reads 3 outputs off 2 hidden"),
        ({"network": "convlstm:structure=5/5,head=none", "loss": "hurdle"}, {"outcomes": 3}, r"reads 6 outputs off 5"),
        ({"sampler": "blocks:balance=class"}, {}, r"there are no classes to balance"),
    ],
)
def test_what_does_not_fit_the_store_is_refused(settings, store, told, tmp_path, monkeypatch):
    monkeypatch.setattr(training_task, "fit", lambda *_: pytest.fail("computed"))
    with pytest.raises(ValueError, match=told):
        training_task.train(folder(tmp_path / "wrong"), made_store(**store), **{**SETTINGS, **settings})


@pytest.mark.parametrize("loss", ["bce", "hurdle"])
@pytest.mark.parametrize("network", ["convlstm:structure=4-0/4-4,skip=true", "unet_lstm:filters=4,depth=1"])
def test_a_network_begins_at_what_is_usual(network, loss):
    """Each outcome at its own share of the valid cells, 0.01 % at least; a checkpoint's biases are left alone."""
    store = made_store(outcomes=3)
    windows = Months(store, "train")
    batch = windows.batch(list(range(len(windows))))
    within = batch["valid"][:, None, None].expand_as(batch["targets"])
    expected = [batch["targets"][:, :, k][within[:, :, k]].mean().item() for k in range(3)]
    assert conflict_task.prevalence(store) == pytest.approx(expected)
    few = np.unique(np.linspace(0, 39, 7).round().astype(int)).tolist()
    batch = windows.batch(few)
    within = batch["valid"][:, None, None].expand_as(batch["targets"])
    assert conflict_task.prevalence(store, most=7)[0] == pytest.approx(
        batch["targets"][:, :, 0][within[:, :, 0]].mean().item()
    )
    torch.manual_seed(0)
    card = {"network": network, "loss": loss, "horizon": 2, "lr": 1e-3, "prevalence": [0.03, 0.0, 0.2],
            "channels": [{"name": "a"}] * 4, "outcomes": [{"name": n} for n in "xyz"]}  # fmt: skip
    for weights, start in ((True, (0.03, 1e-4, 0.2)), (False, None)):
        task = Forecast(card, weights=weights).eval()
        with torch.no_grad():
            task.network.head.weight.zero_()
        p = task.probabilities(torch.randn(2, 3, 4, 8, 8)).detach()
        for k in range(3):
            if start:
                torch.testing.assert_close(p[:, :, k], torch.full_like(p[:, :, k], start[k]))
            else:
                assert abs(p[:, :, k] - 0.5).max() < 0.2


# ---- forecasts


@pytest.mark.parametrize("loss", ["bce", "hurdle"])
def test_a_forecast_is_the_networks_outputs(loss):
    task, inputs = made_task("convlstm:structure=4/4", loss, outcomes=3), torch.randn(2, 4, 3, 7, 9)
    with torch.no_grad():
        outputs = task(inputs)
    found = task.forecast(inputs)
    assert found["probability"].shape == (1, 2, 2, 3, 7, 9)
    torch.testing.assert_close(found["probability"][0], torch.sigmoid(outputs[:, :, :3]))
    torch.testing.assert_close(found["probability"][0], task.probabilities(inputs).detach())
    if loss == "bce":
        assert outputs.shape[2] == 3 and "deaths" not in found
    else:
        expected = torch.sigmoid(outputs[:, :, :3]) * torch.expm1(outputs[:, :, 3:].clamp(min=0))
        torch.testing.assert_close(found["deaths"][0], expected)
    three = task.forecast(inputs, draws=3)["probability"]
    assert len(three) == 3 and not three.std(dim=0).any(), "nothing drops out"


def test_draws_follow_from_the_seed_alone():
    task, inputs = made_task(), torch.randn(2, 4, 3, 7, 9)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    four = task.forecast(inputs, draws=4, seed=3)["probability"]
    assert torch.equal(torch.get_rng_state(), state), "nobody else's draws change"
    assert torch.equal(task.forecast(inputs, draws=2, seed=3)["probability"], four[:2])
    assert not torch.equal(task.forecast(inputs, draws=4, seed=4)["probability"], four)
    assert (four.std(dim=0) > 0).any()
    one = task.forecast(inputs, draws=1)["probability"]
    assert torch.equal(task.forecast(inputs, seed=9)["probability"], one), "one draw is the network without dropout"


def test_in_a_forecast_only_dropout_is_active():
    task = made_task("unet_lstm:filters=4,dropout=0.3,norm=batch").train()
    before = {key: value.clone() for key, value in task.state_dict().items()}
    modes = []
    for module in task.modules():
        module.register_forward_hook(lambda m, *_: modes.append((type(m).__name__, m.training)))
    task.forecast(torch.randn(2, 4, 3, 7, 9), draws=2)
    assert {name for name, training in modes if training} == {"Dropout2d"}
    assert task.training and all(module.training for module in task.modules()), "as it was"
    assert all(torch.equal(before[key], value) for key, value in task.state_dict().items()), "no statistics moved"


def test_no_draw_is_refused():
    with pytest.raises(ValueError, match="draws = 0"):
        made_task().forecast(torch.zeros(1, 2, 3, 4, 4), draws=0)


def test_a_wild_number_of_deaths_stays_finite():
    task = made_task("convlstm:structure=2/2", "hurdle")
    with torch.no_grad():
        task.network.head.bias[:] = 1e4
    assert torch.isfinite(task.forecast(torch.zeros(1, 2, 3, 4, 4))["deaths"]).all()


@pytest.mark.parametrize("network", ["convlstm:structure=4-6-0/0-6-4", "unet_lstm:filters=4"])
def test_an_embedding_is_the_mean_of_what_is_remembered(network):
    task, inputs = made_task(network), torch.randn(2, 4, 3, 8, 8)
    found = task.encode(inputs)
    torch.testing.assert_close(found, task.network.features(inputs).mean(dim=(2, 3)))
    assert found.shape == (2, 6 if network.startswith("convlstm") else 16)
    inputs[0, 0] += 1
    changed = (task.encode(inputs) - found).abs().amax(dim=1)
    assert changed[0] > 0 and changed[1] < 1e-6


# ---- average precision


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.9), st.integers(1, 3))
def test_average_precision_is_scikit_learns(seed, rate, outcomes):
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    shape = (4, 2, outcomes, 5, 6)
    # logits at the middle of bins: nothing is lost to them
    logits = (random.integers(0, 60, shape) * 32 + 16.5) * 32 / 8192 - 4
    truth, valid = random.random(shape) < rate, random.random((4, 5, 6)) < 0.7
    metric = BinnedAveragePrecision(outcomes)
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(*(torch.from_numpy(v[part]) for v in (logits, truth, valid)))
    expected = []
    for k in range(outcomes):
        within = np.broadcast_to(valid[:, None], truth[:, :, k].shape)
        if truth[:, :, k][within].any():
            expected.append(metrics.average_precision_score(truth[:, :, k][within], logits[:, :, k][within]))
    assert float(metric.compute()) == pytest.approx(np.mean(expected) if expected else 0, abs=1e-6)


def test_a_step_that_no_machine_holds_is_refused_before_it_begins(monkeypatch):
    store, network = made_store(), SETTINGS["network"]
    each = conflict_task.kept_bytes(network, 2, 1, STEPS, HORIZON, (SIDE, SIDE))
    assert conflict_task.kept_bytes(network, 2, 1, STEPS, HORIZON, (10 * SIDE, SIDE)) == pytest.approx(
        10 * each, rel=0.05
    )
    Forecast.check_memory(store, network, 32, "float32")
    monkeypatch.setattr(conflict_task, "machine_bytes", lambda: 3.5 * each)
    Forecast.check_memory(store, network, 3, "float32")
    Forecast.check_memory(store, network, 6, "bfloat16")
    with pytest.raises(ValueError, match=r"batch = 4 windows of .* Give batch = 3, .*windows=events:size=16"):
        Forecast.check_memory(store, network, 4, "float32")


@pytest.mark.parametrize("network", ["unet_lstm", SETTINGS["network"]])
def test_what_a_step_keeps_is_what_torch_keeps(network):
    kept, built = {}, networks.build_network(network, 3, 1, 2)

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no place is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        built(torch.randn(1, 4, 3, 16, 16))
    weights = {p.untyped_storage().data_ptr() for p in built.parameters()}
    wanted = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights)
    assert conflict_task.kept_bytes(network, 3, 1, 4, 2, (16, 16)) == pytest.approx(wanted, rel=0.1)
