"""Beside a training: pictures of epochs and trackers, which neither change it nor end it."""

import html
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pages import REQUESTS
from PIL import Image
from sklearn.metrics import confusion_matrix
from tracking import Remembers
from trainings import SETTINGS, folder, killed_at, same, weights

from geonb import plots
from geonb.base.conventions import IGNORE
from geonb.base.specs import load
from geonb.plots import epochs
from geonb.registry import WORKLOADS, get
from geonb.runs import plan
from geonb.training import fit, task, trackers, watching
from geonb.workloads.segmentation.loaders import Windows

PICTURED = {**SETTINGS, "epochs": 4, "watch_every": 1, "pictures": plots.epoch_pictures}
PLAIN = {**SETTINGS, "epochs": 4}


@pytest.fixture(scope="module")
def plain(small_store, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("runs") / "plain")
    task.train(run, small_store, **PLAIN)
    return run


@pytest.fixture(scope="module")
def pictured(small_store, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("runs") / "pictured")
    task.train(run, small_store, **PICTURED)
    return run


def log(run):
    return (run.path / "log.csv").read_text()


def files(run):
    """Name -> content of a run's pictures and numbers."""
    return {file.name: file.read_bytes() for file in (run.path / "epochs").iterdir()}


def test_pictures_change_nothing(plain, pictured):
    assert same(weights(plain), weights(pictured)) and log(plain) == log(pictured)
    kinds = [
        f"{kind}-{epoch:04}.{ending}"
        for kind in ("confusion", "plane")
        for epoch in range(1, 5)
        for ending in ("csv", "png")
    ]
    assert sorted(files(pictured)) == sorted(kinds) and not (plain.path / "epochs").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_asked_aside_a_task_keeps_its_modes_and_all_random_states(fails, tmp_path, monkeypatch, capsys):
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5)).train()
    net[0].eval()  # as a backbone that is frozen
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    asked = []

    def draw(place, epoch, told):
        asked.append((net[1].training, torch.is_grad_enabled(), torch.rand(3), np.random.rand(3)))  # noqa: NPY002
        if fails:
            raise OSError("full")

    monkeypatch.setattr(watching.Pictures, "_ask", lambda self, net: None)
    pictures = watching.Pictures(folder(tmp_path), None, 1, draw, {})
    pictures.on_train_epoch_end(SimpleNamespace(current_epoch=0), net)
    assert asked[0][:2] == (False, False) and ("OSError: full" in capsys.readouterr().out) == fails
    assert [m.training for m in (net, *net)] == [True, False, True] and torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("when", ["before a checkpoint", "in an epoch"])
def test_a_training_that_goes_on_has_each_picture_once(when, pictured, small_store, tmp_path, monkeypatch):
    run = folder(tmp_path / "killed")
    if when == "in an epoch":
        killed_at(
            2 * int(pd.read_csv(pictured.path / "log.csv")["step"][0]) + 1, monkeypatch, run, small_store, **PICTURED
        )
    else:

        def save(self, checkpoint, path, **rest):
            if checkpoint["epoch"] == 2:
                raise KeyboardInterrupt  # epoch 3 is drawn, none of its checkpoints is written
            return whole(self, checkpoint, path, **rest)

        whole = fit.WholeFiles.save_checkpoint
        with monkeypatch.context() as patch:
            patch.setattr(fit.WholeFiles, "save_checkpoint", save)
            with pytest.raises(KeyboardInterrupt):
                task.train(run, small_store, **PICTURED)
        assert "plane-0003.csv" in files(run)
        (run.path / "epochs" / "plane-0004.csv").write_text("of an epoch that is to come")
    task.train(run, small_store, **PICTURED)
    assert files(run) == files(pictured)
    assert same(weights(run), weights(pictured)) and log(run) == log(pictured)


def test_another_training_in_the_folder_leaves_no_pictures_of_the_one_before(small_store, tmp_path):
    run = folder(tmp_path / "run")
    task.train(run, small_store, **{**PICTURED, "epochs": 2})
    task.train(run, small_store, **{**PICTURED, "epochs": 3, "watch_every": 3})
    assert {watching.epoch_of(file) for file in (run.path / "epochs").iterdir()} == {3}
    task.train(run, small_store, **{**SETTINGS, "epochs": 1})
    assert not files(run)


def test_the_numbers_are_those_of_scikit_learn(pictured, small_store):
    card = json.loads((pictured.checkpoints / task.CARD).read_text())
    epoch = card["checkpoints"]["loss"]["epoch"]
    model, val = task.load_model(pictured.path, "loss"), Windows(small_store, "val")
    batch = val.batch(list(range(len(val))))
    with torch.inference_mode():
        told = model(batch["inputs"]).argmax(1).numpy().ravel()
        vectors = model.encode(batch["inputs"]).numpy()
    truth = batch["targets"].numpy().ravel()
    names = [record["name"] for record in small_store.classes]
    expected = confusion_matrix(truth[truth != IGNORE], told[truth != IGNORE], labels=range(len(names)))
    found = pd.read_csv(pictured.path / "epochs" / f"confusion-{epoch:04}.csv")
    counts = found.pivot_table("count", "true", "told").loc[names, names].to_numpy()
    assert abs(counts - expected).sum() <= 4  # ties, in batches of another size
    plane = pd.read_csv(pictured.path / "epochs" / f"plane-{epoch:04}.csv")
    assert plane["row"].to_list() == val.rows.tolist()
    items = [val[i] for i in range(len(val))]
    assert plane["label"].to_list() == small_store.labels(items)
    centred = vectors - vectors.mean(0)
    apart = np.linalg.svd(centred, compute_uv=False)[:2]  # turned or not, the plane holds what two components hold
    assert np.linalg.svd(plane[["x", "y"]].to_numpy(), compute_uv=False) == pytest.approx(apart, rel=1e-3)


def seen(vectors, rows=None, simulated=True, labels=None):
    rows = np.arange(len(vectors)) if rows is None else rows
    labels = ["a" if i % 2 else "b" for i in range(len(vectors))] if labels is None else labels
    return watching.Seen(
        rows, labels, vectors, {}, {}, {"simulated": simulated, "legend": {"b": "#112233", "a": "#aa0000"}}
    )


def test_a_plane_that_flips_is_turned_back(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(40, 5)) * [9, 8, 1, 1, 1]
    plots.epoch_pictures(tmp_path, 2, seen(vectors))
    turned = vectors.copy()
    turned[:, 0] *= -1
    turned[:, :2] = turned[:, [1, 0]]
    plots.epoch_pictures(tmp_path, 4, seen(turned * [1.0001, 1.3, 1, 1, 1]))  # the axes change places
    first, second = (pd.read_csv(tmp_path / f"plane-000{epoch}.csv")[["x", "y"]].to_numpy() for epoch in (2, 4))
    assert np.corrcoef(first[:, 0], second[:, 0])[0, 1] > 0.97 and np.corrcoef(first[:, 1], second[:, 1])[0, 1] > 0.97
    plots.epoch_pictures(tmp_path, 5, seen(vectors[:30], np.arange(30) + 7))  # of other windows: left as it is
    assert "Turned" not in Image.open(tmp_path / "plane-0005.png").info["Description"]
    assert "Turned to lie as epoch 2 did" in Image.open(tmp_path / "plane-0004.png").info["Description"]


def test_colours_stay_and_simulated_data_says_so():
    planes = [
        pd.DataFrame({"row": [0, 1], "label": labels, "x": [0.0, 1], "y": [1.0, 0]})
        for labels in (["a", "b"], ["b", "a"])
    ]
    for plane in planes:
        figure = epochs.plane_of(plane, seen(np.zeros((2, 3))), 1, 0)
        looks = {c.get_label(): matplotlib_hex(c) for c in figure.axes[0].collections}
        assert looks == {"b": "#112233", "a": "#aa0000"}
        assert any(text.get_text() == "simulated data" for text in figure.texts)
    asked = seen(np.zeros((2, 3)))._replace(counts={"kind": np.array([[1, 2], [0, 0]])}, questions={"kind": ["x", "y"]})
    figure = epochs.told_of(asked, 3)
    assert [t.get_text() for t in figure.axes[0].texts] == ["33%\n1", "67%\n2", "none", "none"]
    assert any(text.get_text() == "simulated data" for text in figure.texts)


def matplotlib_hex(collection):
    from matplotlib.colors import to_hex

    return to_hex(collection.get_facecolor()[0])


def test_several_questions_are_told_by_recall_and_precision():
    counts = {"road": np.array([[5, 1], [2, 6]]), "river": np.array([[9, 0], [0, 0]])}
    asked = seen(np.zeros((14, 3)))._replace(counts=counts, questions={q: ["absent", "present"] for q in counts})
    texts = [t.get_text() for t in epochs.told_of(asked, 3).axes[0].texts]
    assert texts == ["75% of 8", "86% of 7", "none", "none"]


def test_of_many_windows_the_same_are_seen_at_every_epoch(small_store, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "MOST_WATCHED", 5)
    rows = []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        run = folder(tmp_path / name)
        watched = []
        settings = {**SETTINGS, "epochs": 2, "seed": seed, "watch_every": 1}
        task.train(
            run, small_store, **settings, pictures=lambda at, epoch, one, to=watched: to.append(one.rows.tolist())
        )
        assert len(watched) == 2 and watched[0] == watched[1] and len(set(watched[0])) == 5
        rows.append(watched[0])
    assert rows[0] == rows[1] != rows[2]
    assert set(small_store.index.iloc[rows[0]]["split"]) == {"val"}


def test_a_picture_that_fails_is_told_once_and_the_training_goes_on(plain, small_store, tmp_path, capsys):
    def fail(*_):
        raise OSError("No space left on device")

    run = folder(tmp_path / "full")
    task.train(run, small_store, **{**PICTURED, "pictures": fail})
    assert same(weights(run), weights(plain))
    assert (
        capsys.readouterr().out.count("No more pictures of epochs: at epoch 1, OSError: No space left on device") == 1
    )


def test_pictures_without_who_draws_them_are_refused(small_store, tmp_path):
    with pytest.raises(ValueError, match=r"watch_every = 2 needs pictures.*geonb\.plots\.epoch_pictures"):
        task.train(folder(tmp_path / "x"), small_store, **SETTINGS, watch_every=2)


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_every_room_that_has_classes_answers(workload):
    """Questions and answers of a network that is a stand-in, counted by hand."""
    kind, nan = load(get(workload).task), float("nan")
    told = {
        "chips": torch.tensor([[0.9, 0.5], [0.1, 0.2]]),
        "seismic": torch.tensor([[0.9, 0.8], [0.2, 0.9], [0.7, 0.1], [0.9, 0.9]]),
        "conflict": torch.tensor([0.5, 0.2, 0.7, 0.9]).reshape(1, 1, 2, 1, 2),
    }.get(workload)
    batch = {
        "chips": {"targets": torch.tensor([[1.0, nan], [0.0, 1.0]])},
        "seismic": {"targets": torch.tensor([[1.0, 1.0], [0.0, nan], [1.0, 1.0], [1.0, nan]])},
        "conflict": {
            "targets": torch.tensor([1.0, 1, 0, 1]).reshape(1, 1, 2, 1, 2),
            "valid": torch.tensor([[[True, False]]]),
        },
        "segmentation": {"targets": torch.tensor([[[1, IGNORE]]])},
        "clouds": {},
    }[workload] | {"inputs": torch.zeros(1)}
    expected = {
        "chips": ([[1, 0], [-1, 1]], [[1, 0], [1, 0]]), "seismic": ([[2, 0, 2, -1]], [[2, 0, 1, 2]]),
        "conflict": ([[1, -1], [0, -1]], [[1, 0], [1, 1]]), "segmentation": ([[1, -1]], [[1, 0]]),
    }.get(workload)  # fmt: skip
    card = {"classes": [{"name": "a"}, {"name": "b"}], "outcomes": [{"name": "a"}, {"name": "b"}]}

    class Stand(SimpleNamespace):
        def __call__(self, inputs):
            return torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]]]])

    stand = Stand(card=card, probabilities=lambda *_: told)
    questions = kind.questions.fget(stand)
    if expected is None:
        assert workload == "clouds" and questions == {}
        return
    truth, said = kind.answers(stand, batch)
    assert len(truth) == len(said) == len(questions)
    assert [[int(v) for v in one.flatten()] for one in truth] == expected[0]
    assert [[int(v) for v in one.flatten()] for one in said] == expected[1]


def test_the_player_holds_all_and_asks_nobody(pictured, tmp_path, monkeypatch):
    page = plots.play_epochs(pictured.path).data
    assert not REQUESTS.search(page) and page.count("data:image/png;base64,") == 8 and page.count(" hidden") == 3
    alts = [html.unescape(alt) for alt in re.findall(r'<img alt="([^"]*)"', page)]
    assert len(set(alts)) == 8 and all(re.search(r"epoch \d\. .*windows, the same at every epoch", alt) for alt in alts)
    monkeypatch.setattr(epochs, "MOST_PLAYED", 2)
    short = plots.play_epochs(pictured.path).data
    assert re.findall(r'data-epoch="(\d)"', short) == ["1", "4"] and "2 of 4 epochs" in short
    assert plots.play_epochs(tmp_path) is None


@pytest.mark.browser
def test_the_report_plays_them_by_mouse_and_keyboard(pictured, tmp_path):
    import nbformat
    from browsing import browser_page
    from pages import notebook, outputs

    from geonb.runs import report

    run = tmp_path / "2026-11-22_calm-heron"
    (run / "notebooks").mkdir(parents=True)
    shown = outputs({"text/html": plots.play_epochs(pictured.path).data, "text/plain": "HTML"})
    notebook(run / "notebooks" / "02_training.ipynb", "02 Training", [nbformat.v4.new_code_cell("play", outputs=shown)])
    with browser_page() as page:
        page.goto(report.write_report(run).as_uri())
        player = page.get_by_role("group", name="Pictures of epochs")
        slider, told = player.get_by_role("slider", name="epoch"), player.get_by_role("status")
        visible = player.locator("[data-epoch]:visible")
        assert told.inner_text() == "epoch 4" and visible.get_attribute("data-epoch") == "4"
        slider.focus()
        page.keyboard.press("ArrowLeft")
        assert told.inner_text() == slider.get_attribute("aria-valuetext") == "epoch 3"
        assert visible.get_attribute("data-epoch") == "3" and visible.count() == 1
        page.keyboard.press("End")
        page.keyboard.press("Shift+Tab")  # to the button
        page.keyboard.press("Enter")
        assert told.inner_text() == "epoch 1"
        page.wait_for_function("() => document.querySelector('output').textContent === 'epoch 4'", timeout=10_000)
        assert player.get_by_role("button").inner_text() == "Play" and page.troubles == []


# ---- trackers


def train(run, store, tracker, **more):
    task.train(run, store, **{**PLAIN, "tracker": tracker, **more})


def rows_of(run):
    return pd.read_csv(run.path / "log.csv")


def test_a_tracker_is_told_each_epoch_and_the_parameters(plain, small_store, tmp_path, monkeypatch):
    run, rates = folder(tmp_path / "run"), {}
    seed = fit.StepSeed.on_train_batch_start

    def watch(self, trainer, *rest):
        rates.setdefault(trainer.current_epoch + 1, trainer.optimizers[0].param_groups[0]["lr"])
        seed(self, trainer, *rest)

    monkeypatch.setattr(fit.StepSeed, "on_train_batch_start", watch)
    train(run, small_store, "tracking:Remembers,colour=blue")
    assert same(weights(run), weights(plain)) and log(run) == log(plain)
    logger, rows = Remembers.made[-1], rows_of(run)
    assert logger.colour == "blue" and logger.save_dir_given == str(run.path / "tracker") and logger.status == "success"
    assert [one["epoch"] for one in logger.told] == rows["epoch"].to_list()
    for name in ("train_loss", "val_loss", "val_mean_iou"):
        assert [one[name] for one in logger.told] == pytest.approx(rows[name].to_list(), abs=1e-6)
    assert {one["epoch"]: one["lr"] for one in logger.told} == rates
    assert {"network", "loss", "lr", "batch", "seed", "optimizer"} <= logger.parameters.keys()


def test_a_tracker_that_fails_is_told_once_and_the_training_goes_on(plain, small_store, tmp_path, capsys):
    run = folder(tmp_path / "run")
    train(run, small_store, "tracking:Fails")
    assert same(weights(run), weights(plain)) and [one["epoch"] for one in Remembers.made[-1].told] == [1]
    told = "The tracker tracking:Fails failed (ConnectionError: the server went away): the training goes on without it."
    assert capsys.readouterr().out.count(told) == 1


@pytest.mark.parametrize("spec", ["tracking:Remembers", "csv", "tensorboard", "mlflow"])
def test_a_training_that_goes_on_does_so_in_the_same_tracker(spec, small_store, tmp_path, monkeypatch):
    for package in trackers.PACKAGES.get(spec, ()):
        pytest.importorskip(package)
        break
    run, before = folder(tmp_path / "run"), len(Remembers.made)
    steps = len(small_store.index.query("split == 'train'")) // SETTINGS["batch"]
    killed_at(2 * steps + 3, monkeypatch, run, small_store, **{**PLAIN, "tracker": spec})
    train(run, small_store, spec)
    found = LOGGED[spec](run.path / "tracker", Remembers.made[before:])
    rows = rows_of(run)
    assert sorted(found) == rows["epoch"].to_list()
    assert [found[epoch] for epoch in sorted(found)] == pytest.approx(rows["val_loss"].to_list(), abs=1e-5)


def of_csv(place, _):
    table = pd.read_csv(place / "metrics.csv")
    assert table["lr"].notna().all() and "network" in (place / "hparams.yaml").read_text()
    return dict(zip(table["step"], table["val_loss"], strict=True))


def of_tensorboard(place, _):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(place))
    read.Reload()
    assert {"train_loss", "val_loss", "val_mean_iou", "lr"} <= set(read.Tags()["scalars"])
    events = read.Scalars("val_loss")
    assert len(events) == len({event.step for event in events}), "none twice"
    return {event.step: event.value for event in events}


def of_mlflow(place, _):
    from mlflow.tracking import MlflowClient

    client = MlflowClient((place / "mlruns").absolute().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("geonb").experiment_id])
    assert (
        run.info.status == "FINISHED"
        and run.data.params["batch"] == "8"
        and {"lr", "train_loss"} <= run.data.metrics.keys()
    )
    history = client.get_metric_history(run.info.run_id, "val_loss")
    assert len(history) == len({one.step for one in history}), "none twice"
    return {one.step: one.value for one in history}


def of_own(_, made):
    assert len(made) == 2, "one a start"
    told = [one for logger in made for one in logger.told]
    assert [one["epoch"] for one in told] == [1, 2, 3, 4]
    return {one["epoch"]: one["val_loss"] for one in told}


LOGGED = {"csv": of_csv, "tensorboard": of_tensorboard, "mlflow": of_mlflow, "tracking:Remembers": of_own}


def test_a_tracker_asked_for_later_has_the_epochs_that_another_noted(small_store, tmp_path, monkeypatch):
    run, before = folder(tmp_path / "run"), len(Remembers.made)
    steps = len(small_store.index.query("split == 'train'")) // SETTINGS["batch"]
    killed_at(2 * steps + 3, monkeypatch, run, small_store, **{**PLAIN, "tracker": "csv"})
    train(run, small_store, "tracking:Remembers")
    assert [one["epoch"] for one in Remembers.made[before].told] == [1, 2, 3, 4]


def test_another_training_in_the_folder_begins_a_new_tracker_run(small_store, tmp_path, capsys):
    run = folder(tmp_path / "run")
    train(run, small_store, "csv")
    train(run, small_store, "csv", epochs=1)
    assert len(pd.read_csv(run.path / "tracker" / "metrics.csv")) == 1
    (before,) = run.path.glob("tracker-*")
    assert len(pd.read_csv(before / "metrics.csv")) == PLAIN["epochs"], "what was noted offline is nowhere else"
    assert f"lies in {before} now" in capsys.readouterr().out


def test_a_tracker_asked_for_later_begins_where_it_was_asked_for(small_store, tmp_path, monkeypatch):
    """Without a tracker nothing is noted, so that of the epochs before there is nothing to tell."""
    run, before = folder(tmp_path / "run"), len(Remembers.made)
    steps = len(small_store.index.query("split == 'train'")) // SETTINGS["batch"]
    killed_at(2 * steps + 3, monkeypatch, run, small_store, **PLAIN)
    train(run, small_store, "tracking:Remembers")
    assert [one["epoch"] for one in Remembers.made[before].told] == [3, 4]


@pytest.mark.parametrize("kind", ["tracker", "pictures"])
def test_what_cannot_be_cleared_away_ends_no_training(kind, tmp_path, monkeypatch, capsys):
    """On a file server what somebody has open stays, and an old folder may be anything."""
    run = folder(tmp_path / "run")
    (run.path / "tracker").mkdir(parents=True)
    (run.path / "tracker" / "geonb.json").write_text('{"tracker": "csv", "rows": [{"epoch": 1}]}')
    (run.path / "epochs" / "plane-0003.png").mkdir(parents=True)  # unlink fails, also for root
    monkeypatch.setattr(watching.Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("busy")))
    if kind == "tracker":
        tracking = watching.Tracking(run, "csv", {})
        tracking.begin(None, 0)
        assert tracking.logger is None and not (run.path / "tracker" / "metrics.csv").exists()
        assert "The tracker csv failed (OSError: busy): the training goes on" in capsys.readouterr().out
    else:
        pictures = watching.Pictures(run, None, 1, None, {})
        pictures.begin(None, 0)
        assert (
            pictures.every == 0 and "No more pictures of epochs: those that are there stay" in capsys.readouterr().out
        )


WRONG = {
    "tensorbord": r"Unknown tracker 'tensorbord'. Did you mean 'tensorboard'\?",
    "mlflow:url=x": r"mlflow has no 'url'; it takes uri, experiment",
    "wandb:mode=of": "mode = 'of' must be one of offline, online",
    "csv:a=1": "csv has no 'a'",
    "collections:Counter": "collections:Counter is no lightning.pytorch.loggers.Logger",
    "tracking:Nothing": "Module 'tracking' has no 'Nothing'",
    "no_such_package:Logger": "Cannot import 'no_such_package'",
    "tracking:Remembers,color=blue": "Remembers: got an unexpected keyword argument 'color'",
    "tracking:Needs": "Needs: missing a required argument: 'address'",
}


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_tracker_is_refused_before_anything_runs(spec, small_store, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: True)
    run = folder(tmp_path / "run")
    with pytest.raises(ValueError, match=WRONG[spec]):
        train(run, small_store, spec)
    assert not run.checkpoints.exists()


@pytest.mark.parametrize("spec", trackers.PACKAGES)
def test_a_missing_package_is_told_with_the_command(spec, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"needs the package {spec}, .*: pip install {spec}"):
        trackers.check_tracker(spec)


@pytest.mark.parametrize(("spec", "offline"), [("wandb", True), ("wandb:mode=online", False)])
def test_nothing_goes_over_the_network_unless_asked_for(spec, offline, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(trackers, "find_spec", lambda name: True)
    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger", lambda *_, **options: asked.append(options))
    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", lambda *given, **_: asked.append(given[2]))
    trackers.build_tracker(spec, tmp_path, "run")
    trackers.build_tracker("mlflow", tmp_path, "run")
    assert asked[0]["offline"] is offline and asked[1].startswith("file:///")


def test_what_a_file_names_as_a_tracker_is_not_run_unasked():
    assert [trackers.code_of(spec) for spec in ("none", "mlflow:uri=http://127.0.0.1:5000", "a.b:C,x=1", "csv")] == [
        "",
        "",
        "a.b:C",
        "",
    ]
    with pytest.raises(ValueError, match="tracker in the run x names code to run, 'tracking:Remembers'"):
        plan._may_run({"tracker": "tracking:Remembers,colour=red"}, get("segmentation"), "the run x")
    plan._may_run({"tracker": "mlflow:uri=http://127.0.0.1:5000"}, get("segmentation"), "the run x")
    plan._may_run({"tracker": "tracking:Remembers,colour=red"}, get("segmentation"), None)  # your own word
    plan._may_run({"tracker": "tracking:Remembers"}, get("segmentation"), "the run x")  # known from then on
