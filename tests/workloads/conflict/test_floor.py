"""A network with a floor begins as that baseline, corrects it, and is it where nothing better is found."""

from __future__ import annotations

import json
from types import SimpleNamespace

import made_cubes
import numpy as np
import pandas as pd
import pytest
import torch
import trainings
from fake_cubes import contagion
from sklearn.metrics import log_loss

from geonb.prediction.predictions import open_predictions
from geonb.scores.verdicts import verdict
from geonb.training import task as training_task
from geonb.workloads.conflict import baselines, floor, predict, scores
from geonb.workloads.conflict.baselines import Regression
from geonb.workloads.conflict.task import Forecast

SETTINGS = {
    "workload": "conflict", "network": "unet_lstm:filters=2,depth=1,dropout=0.3", "loss": "hurdle", "augment": "flips",
    "lr": 3e-3, "epochs": 3, "batch": 16, "patience": 9, "seed": 1, "precision": "float32",
}  # fmt: skip
MAKE = {"weighted-history": baselines.weighted_history, "logistic": baselines.logistic}


@pytest.fixture(scope="module")
def fake():
    return contagion()


@pytest.fixture(scope="module", params=["by-type", "wraps"])
def cube_store(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    if request.param == "wraps":
        return made_cubes.small_cube_store(root, columns=48, wraps=True, draws=1)
    return made_cubes.small_cube_store(root, outcomes="by-type", draws=1)


def folder(path):
    return trainings.folder(path, predictions=path / "predictions.zarr")


@pytest.mark.parametrize("name", MAKE)
def test_a_regression_goes_through_json_and_is_the_baseline(fake, name):
    found = Regression.of(json.loads(json.dumps(floor.FITS[name](fake, 0).record())))
    logits, baseline = found.on(fake), MAKE[name](fake)
    for t in (60, 130, 107):
        p = baseline.forecast(t)["probability"].astype(np.float64)
        np.testing.assert_allclose(logits(t), np.log(p / (1 - p)), atol=1e-4)


def test_the_floor_is_the_baseline_with_the_lower_log_loss_of_the_validation_months(fake):
    found, losses = floor.choose_floor(fake, "auto", 0)
    origins = fake.origins("val")
    truth = np.stack([fake.event[t : t + 3] for t in origins])[:, None]
    for name, make in MAKE.items():
        baseline = make(fake)
        p = np.stack([baseline.forecast(int(t))["probability"] for t in origins])
        assert losses[name] == pytest.approx(log_loss(truth.ravel(), p.ravel().astype(np.float64)), rel=1e-5)
    assert losses[found.name] == min(losses.values()) and len(set(losses.values())) == 2
    for name in MAKE:
        only, told = floor.choose_floor(fake, name, 0)
        assert only.name == name and list(told) == [name]


def test_cells_outside_the_region_do_not_count_in_the_choice():
    half, part = contagion(), contagion()
    half.valid[4:] = False
    part.event, part.best, part.valid = part.event[:, :4], part.best[:, :4], part.valid[:4]
    one, two = (floor.choose_floor(store, "weighted-history", 0)[1] for store in (half, part))
    assert one["weighted-history"] == pytest.approx(two["weighted-history"], rel=1e-3)


@pytest.mark.parametrize("more", [0, 1, 11])
def test_windows_cut_the_floor_with_the_turns_of_the_targets(cube_store, more):
    regression = baselines.fit_weighted_history(cube_store)
    given = floor.floor_map(cube_store, regression, more)
    whole, index = floor.floor_outputs(cube_store, regression, more), cube_store.index
    plain = cube_store.windows(floor=given)
    over = np.flatnonzero(index["x"] + index["width"] > cube_store.valid.shape[1])
    assert len(over) or not cube_store.wraps
    rows = [0, len(plain) // 2, len(plain) - 1, *over[:3].tolist()]
    batch = plain.batch(rows)
    assert batch["floor"].shape[:3] == (len(rows), cube_store.horizon, len(cube_store.outcomes) * (1 + more))
    for j, i in enumerate(rows):
        row = index.iloc[i]
        columns = np.arange(row["x"], row["x"] + row["width"]) % cube_store.valid.shape[1]
        expected = whole(int(row["t"]))[:, :, row["y"] : row["y"] + row["height"]][..., columns]
        np.testing.assert_array_equal(batch["floor"][j].numpy(), expected)
    straight = cube_store.windows("train", floor=given).batch(list(range(20)))
    turned = cube_store.windows("train", "flips,rotations", 3, floor=given).batch(list(range(20)))
    seen = set()
    for j in range(20):
        fits = [
            (flip, quarters)
            for flip in (False, True)
            for quarters in range(4)
            if all(np.array_equal(_turn(straight[k][j], flip, quarters), turned[k][j]) for k in ("inputs", "floor"))
        ]
        assert fits, f"window {j} is no turn of itself"
        seen |= set(fits)
    assert len(seen) >= 5


def _turn(plane, flip, quarters):
    plane = plane.numpy()
    return np.rot90(plane[..., ::-1] if flip else plane, quarters, (-2, -1))


def test_a_floor_in_the_map_is_computed_once(cube_store, monkeypatch):
    regression = baselines.fit_weighted_history(cube_store)
    first = floor.floor_map(cube_store, regression, 0)
    monkeypatch.setattr(floor, "floor_outputs", lambda *_: pytest.fail("computed again"))
    assert floor.floor_map(cube_store, regression, 0).logits == first.logits


def prepared(store, network, loss="hurdle"):
    """A task that has not taken a step, and what it says of its floor."""
    card = {
        "network": network, "loss": loss, "channels": [{"name": n} for n in store.inputs], "outcomes": list(store.outcomes),
        "horizon": store.horizon, "steps": store.steps, "lr": 1e-3, "statistics": store.meta["statistics"],
        "training": {"epochs": 1, "seed": 0}, "prevalence": [0.1] * len(store.outcomes),
    }  # fmt: skip
    torch.manual_seed(0)
    task = Forecast(card)
    return task, card | task.prepare(store)


@pytest.mark.parametrize("network", [
    "unet_lstm:filters=2,depth=1", "convlstm:structure=3-0/3-3,skip=true", "convlstm:structure=3-0/3-3,peephole=pixel,size=4",
])  # fmt: skip
@pytest.mark.parametrize("name", MAKE)
def test_a_network_begins_as_its_floor(fake, network, name, capsys):
    task, card = prepared(fake, f"{network},floor={name}")
    assert f"floor: {name}" in capsys.readouterr().out and card["floor"]["val_log_loss"].keys() == {name}
    region = predict.RegionForecast(fake, task, 0.5, 4, "float32", 1, 0)
    found, expected = region.forecast(130), MAKE[name](fake).forecast(130)
    np.testing.assert_allclose(found["probability"], expected["probability"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found["deaths"], expected["deaths"], rtol=1e-4, atol=1e-6)
    other = Forecast(json.loads(json.dumps(card)), weights=False).eval()
    other.load_state_dict(task.state_dict())
    again = predict.RegionForecast(fake, other, 0.5, 4, "float32", 1, 0).forecast(130)
    np.testing.assert_array_equal(again["probability"], found["probability"])


def test_a_correction_is_added_to_the_floor_in_every_draw(fake):
    task, _ = prepared(fake, "unet_lstm:filters=4,depth=1,dropout=0.5,floor=logistic", "bce")
    for parameter in task.network.head.parameters():
        torch.nn.init.normal_(parameter)
    inputs, base = torch.randn(2, 6, 2, 9, 11), 3 * torch.randn(2, 3, 1, 9, 11)
    task.eval()
    with torch.no_grad():
        expected = task.network(inputs) + base
    torch.testing.assert_close(task(inputs, base).detach(), expected)
    torch.testing.assert_close(task.probabilities(inputs, base).detach(), expected.sigmoid())
    drawn, zero = (task.forecast(inputs, 3, seed=2, floor=b)["probability"].logit() for b in (base, 0 * base))
    torch.testing.assert_close(drawn - base, zero, atol=1e-3, rtol=1e-3)
    assert zero.std(dim=0).max() > 0.1


def test_a_network_with_a_floor_does_not_forecast_without_one(fake):
    task, _ = prepared(fake, "unet_lstm:filters=2,depth=1,floor=logistic", "bce")
    with pytest.raises(ValueError, match="corrects logistic: without its logits there is no forecast"):
        task.forecast(torch.zeros(1, 6, 2, 9, 11))
    bare, card = prepared(fake, "unet_lstm:filters=2,depth=1,floor=none", "bce")
    assert card["floor"] is None and bare.start is None
    with pytest.raises(ValueError, match="has no floor"):
        bare(torch.zeros(1, 6, 2, 9, 11), torch.zeros(1, 3, 1, 9, 11))
    p = bare.eval().probabilities(torch.zeros(1, 6, 2, 9, 11))
    assert p.mean().item() == pytest.approx(0.1, abs=0.03), "it begins at the prevalence"


# ---- training


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    """Windows of the whole region, one a month: few and small."""
    root = tmp_path_factory.mktemp("region")
    return made_cubes.small_cube_store(root, rows=8, columns=9, chunk_size=None, min_events=0)


@pytest.fixture(scope="module")
def trained(region, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("run"))
    training_task.train(run, region, **SETTINGS)
    return run


def test_the_start_is_validated_and_kept_as_epoch_0(region, trained):
    rows = pd.read_csv(trained.path / "log.csv")
    assert list(rows["epoch"]) == [0, 1, 2, 3] and np.isnan(rows["train_loss"][0]) and rows["step"][0] == 0
    model = training_task.load_model(trained.path, "start")
    first = rows.iloc[0]
    assert model.card["best"]["epoch"] == 0 and model.card["best"]["val_loss"] == first["val_loss"]
    losses, sizes = [], []
    windows = region.windows("val", **model.beside(region))
    for begin in range(0, len(windows), 16):
        batch = windows.batch(list(range(begin, min(len(windows), begin + 16))))
        losses.append(model.loss(batch["floor"], batch["targets"], batch["deaths"], batch["valid"]).item())
        sizes.append(len(batch["floor"]))
    assert first["val_loss"] == pytest.approx(np.average(losses, weights=sizes), abs=1e-5)
    with torch.no_grad():
        assert torch.equal(model(batch["inputs"], batch["floor"]), batch["floor"])
    lowest = training_task.load_model(trained.path, "loss").card["best"]
    assert lowest["epoch"] == rows["epoch"][rows["val_loss"][1:].idxmin()]


def test_what_finds_nothing_is_its_floor_and_says_so(region, tmp_path, capsys):
    run = folder(tmp_path / "wild")
    training_task.train(run, region, **{**SETTINGS, "network": "unet_lstm:filters=2,depth=1,dropout=0,floor=logistic",
                        "lr": 5.0, "loss": "bce", "patience": 1})  # fmt: skip
    assert "Training found nothing beyond logistic on the validation samples" in capsys.readouterr().out
    assert len(pd.read_csv(run.path / "log.csv")) == 2, "patience counts from the start"
    model = training_task.load_model(run.path)
    assert (model.card["chosen"], model.card["weights"], model.card["best"]["epoch"]) == ("start", "start", 0)
    baseline = baselines.logistic(region, seed=1)
    forecast = predict.RegionForecast(region, model, 0.5, 4, "float32", 1, 0)
    t = int(region.origins("test")[0])
    np.testing.assert_allclose(
        forecast.forecast(t)["probability"], baseline.forecast(t)["probability"], rtol=1e-4, atol=1e-7
    )
    models = {name: make(region, seed=1) for name, make in MAKE.items()}
    path = predict.predict_region(run, region, model, list(models.values()))
    made = scores.score_forecasts(open_predictions(path), draws=50)
    gain = made.sel(model="logistic", split="test", metric="average_precision")
    assert abs(gain["gain"]) < 1e-4 and abs(gain["gain_low"]) < 1e-4
    assert "Training found nothing beyond logistic on the validation samples: the network is logistic." in verdict(made)
    moved = predict.predict_region(run, region, training_task.load_model(run.path, "loss"), list(models.values()))
    assert "nothing beyond" not in verdict(scores.score_forecasts(open_predictions(moved), draws=0))


def test_the_gain_on_the_start_is_that_of_the_validation_loss(region, trained):
    card = json.loads((trained.checkpoints / training_task.CARD).read_text())
    model = training_task.load_model(trained.path)
    states = {name: training_task.load_model(trained.path, name).state_dict() for name in ("start", "loss", "metric")}
    kept = card["checkpoints"]
    for name in ("loss", "metric"):
        told = floor.gain_on_start(model, states["start"], states[name], region)
        assert told["gain"] == pytest.approx(kept["start"]["val_loss"] - kept[name]["val_loss"], abs=2e-6)
        assert told["standard_error"] > 0 and told["blocks"] == "4 x 4 cells and of 3 months"
        assert all(torch.equal(value, states[name][key]) for key, value in model.state_dict().items())


def test_averaged_weights_stay_what_they_are_when_the_gain_on_the_floor_is_judged(region, tmp_path):
    run = folder(tmp_path / "swa")
    training_task.train(run, region, **{**SETTINGS, "optimizer": "adamw:swa=0.3"})
    swa, start = (training_task.load_model(run.path, name).state_dict() for name in ("swa", "start"))
    card = json.loads((run.checkpoints / training_task.CARD).read_text())
    model = training_task.load_model(run.path)
    told = floor.gain_on_start(model, start, swa, region)
    facts = card["checkpoints"]
    assert (
        told["gain"] == pytest.approx(facts["start"]["val_loss"] - facts["swa"]["val_loss"], abs=2e-6) and told["gain"]
    )


def test_the_gain_counts_the_cells_of_windows_over_the_dateline(cube_store):
    task, _ = prepared(cube_store, "unet_lstm:filters=2,depth=1,floor=weighted-history", "bce")
    start = {key: value.clone() for key, value in task.state_dict().items()}
    other = start | {"network.head.bias": start["network.head.bias"] + 0.3}
    told = floor.gain_on_start(task, start, other, cube_store)
    windows = cube_store.windows("val", **task.beside(cube_store))
    batch = windows.batch(list(range(len(windows))))
    losses = [
        torch.nn.functional.binary_cross_entropy_with_logits(batch["floor"] + more, batch["targets"], reduction="none")
        .mean(dim=(1, 2))[batch["valid"]].double().mean().item()
        for more in (0, 0.3)
    ]  # fmt: skip
    assert told["gain"] == pytest.approx(losses[0] - losses[1], abs=1e-6) and told["standard_error"] > 0
    assert told["log_loss_gain"] == pytest.approx(told["gain"]), "the loss is the plain one"
    weighed, _ = prepared(cube_store, "unet_lstm:filters=2,depth=1,floor=weighted-history", "bce:pos_weight=30")
    told = floor.gain_on_start(weighed, start, other, cube_store)
    assert told["log_loss_gain"] == pytest.approx(losses[0] - losses[1], abs=1e-6)
    assert told["gain"] > 0 > told["log_loss_gain"], (
        "more alarms are a gain by a loss that weighs events, and none by the plain one"
    )


@pytest.mark.parametrize(("gain", "error", "events", "chosen"), [
    (0.3, 0.2, 0.3, "loss"), (0.1, 0.2, 0.1, "start"), (0.3, None, 0.3, "start"), (0.3, 0.2, -0.01, "start")])  # fmt: skip
def test_a_gain_within_chance_keeps_the_floor(fake, monkeypatch, gain, error, events, chosen, capsys):
    task, _ = prepared(fake, "unet_lstm:filters=2,depth=1,floor=logistic", "bce")
    told = {"gain": gain, "standard_error": error, "blocks": "some cells", "log_loss_gain": events}
    monkeypatch.setattr("geonb.workloads.conflict.task.gain_on_start", lambda *_: told)
    kept = {"start": {"val_loss": 0.5, "epoch": 0}, "loss": {"val_loss": 0.4, "epoch": 7}}
    name, why = task.choose(kept, {"start": {}, "loss": {}}, fake)
    assert name == chosen and why["gain_on_start"]["gain"] == gain and why["gain_on_start"]["standard_error"] == error
    said = capsys.readouterr().out
    assert f"loss (epoch 7) lowers the validation loss of logistic by {gain}" in said
    assert ("log loss of events rises" in said) == (events < 0)
    kept["loss"]["val_loss"] = 0.6
    assert task.choose(kept, {}, fake) == ("start", {})


def test_a_standard_error_is_what_a_mean_of_grouped_differences_errs_by():
    """With effects of months and of places the mean moves by what their variances say; told is that, or a little more."""
    random, months, places = np.random.default_rng(0), 12, 20
    month, place = (part.ravel() for part in np.indices((months, places)))
    drawn = []
    for _ in range(2000):
        of_months, of_places = random.normal(size=(months, 1)), 1.5 * random.normal(size=places)
        effects = of_months + of_places + random.normal(size=(months, places))
        drawn.append(floor.paired_gain(effects.ravel(), month, place)[1])
    truth = np.sqrt(1 / months + 1.5**2 / places + 1 / (months * places))
    assert truth < np.sqrt(np.mean(np.square(drawn))) < 1.05 * truth
    assert floor.paired_gain(np.arange(4.0), np.zeros(4), np.arange(4)) == (1.5, None)


def test_killed_it_goes_on_to_the_same_weights(region, trained, tmp_path, monkeypatch):
    killed = folder(tmp_path / "killed")
    steps = int(pd.read_csv(trained.path / "log.csv")["step"][1])

    class Killed(BaseException):
        pass

    for last in (2, steps + 3):

        def die(self, trainer, *rest, last=last):
            if trainer.global_step >= last:
                raise Killed
            torch.manual_seed((self.seed * 1_000_003 + trainer.global_step) % 2**63)

        with monkeypatch.context() as patch:
            patch.setattr("geonb.training.fit.StepSeed.on_train_batch_start", die)
            with pytest.raises(Killed):
                training_task.train(killed, region, **SETTINGS)
    training_task.train(killed, region, **SETTINGS)
    assert (killed.path / "log.csv").read_text() == (trained.path / "log.csv").read_text()
    one, two = (json.loads((run.checkpoints / training_task.CARD).read_text()) for run in (killed, trained))
    assert one == two
    for name in ("start", "loss", "metric"):
        one, two = (training_task.load_model(run.path, name).state_dict() for run in (killed, trained))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_card_without_a_floor_is_of_a_network_that_says_it_all(region, tmp_path):
    """Cards of before there were floors: their network's name, which would now ask for one, has none."""
    run = folder(tmp_path / "older")
    training_task.train(run, region, **{**SETTINGS, "network": "unet_lstm:filters=2,depth=1,floor=none", "epochs": 1})
    path = run.checkpoints / training_task.CARD
    card = json.loads(path.read_text())
    assert "start" not in card["checkpoints"]
    for key in ("floor", "sum"):
        del card[key]
    path.write_text(json.dumps(card | {"network": "unet_lstm:filters=2,depth=1"}))
    model = training_task.load_model(run.path)
    assert model.floor is None
    forecast = predict.RegionForecast(region, model, 0.5, 4, "float32", 1, 0)
    assert np.isfinite(forecast.forecast(int(region.origins("test")[0]))["probability"]).all()


def test_samples_without_months_before_them_have_no_floor(capsys):
    store = SimpleNamespace(path="data/conflict/came", georeferenced=False)
    card = {"network": "unet_lstm", "loss": "bce", "channels": [{"name": "a"}], "outcomes": [{"name": "x"}], "horizon": 1,
            "training": {"seed": 0}}  # fmt: skip
    task = Forecast(card)
    assert task.prepare(store) == {"floor": None} and task.start is None
    assert "floor: none; the samples came without the months" in capsys.readouterr().out


def test_a_floor_that_cannot_be_is_refused_before_anything_is_computed(tmp_path, monkeypatch, region):
    monkeypatch.setattr(training_task, "fit", lambda *_: pytest.fail("computed"))
    with pytest.raises(ValueError, match=r"floor = 'logistic' needs outputs that can begin at 0"):
        training_task.train(folder(tmp_path), region, **{**SETTINGS, "loss": "bce",
                            "network": "convlstm:structure=4/4,head=none,floor=logistic"})  # fmt: skip
    with pytest.raises(ValueError, match=r"floor = 'logistc' must be one of auto, weighted-history, logistic, none"):
        training_task.train(folder(tmp_path), region, **{**SETTINGS, "network": "unet_lstm:floor=logistc"})
