"""Scores of windows agree with scikit-learn on all windows of a split, also on a store the model was not trained on."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_cubes import small_cube_store
from sklearn import metrics as sk

from geonb import runs
from geonb.store import store as store_store
from geonb.training import task as training_task
from geonb.workloads.conflict import analytics, figures, score_figures
from geonb.workloads.conflict.loaders import Sequences
from geonb.workloads.conflict.task import Forecast

BEGUN = {"state": "interactive", "started": "2026-11-22T10:00:00+00:00", "steps": {}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_cube_store(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def model(store):
    torch.manual_seed(1)
    card = Forecast.card_of(store) | {
        "network": "convlstm:structure=3-4-0/0-4-3",
        "loss": "bce",
        "lr": 1e-3,
        "training": {},
    }
    task = Forecast(card).eval()
    for parameter in task.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return task


def together(model, store, split):
    """p, event, valid (sample, lead, y, x) of all windows at once."""
    windows = Sequences(store, split)
    found = windows.batch(list(range(len(windows))))
    with torch.no_grad():
        p = model(found["inputs"])[:, :, 0].sigmoid().numpy()
    return p, found["targets"][:, :, 0].numpy() > 0, np.broadcast_to(found["valid"].numpy()[:, None], p.shape)


def test_every_score_agrees_with_scikit_learn(model, store):
    found = analytics.score_windows(model, store, "test", batch=7)
    p, event, valid = together(model, store, "test")
    threshold = float(found.threshold)
    y, score = event[valid], p[valid]
    assert [int(found[k]) for k in ("tn", "fp", "fn", "tp")] == sk.confusion_matrix(
        y, score >= threshold
    ).ravel().tolist()
    assert float(found.auroc) == pytest.approx(sk.roc_auc_score(y, score), abs=1e-3)
    assert float(found.average_precision) == pytest.approx(sk.average_precision_score(y, score), abs=1e-3)
    assert float(found.brier) == pytest.approx(sk.brier_score_loss(y, score), abs=1e-6)
    assert float(found.f1) == pytest.approx(sk.f1_score(y, score >= threshold))
    assert float(found.never_brier) == pytest.approx(y.mean())
    images = [
        sk.f1_score(e[v], q[v] >= threshold) if (e[v] | (q[v] >= threshold)).any() else np.nan
        for q, e, v in zip(p, event, valid, strict=True)
    ]
    np.testing.assert_allclose(found.image_f1, images)
    for k in (0, 5):
        here = valid[..., k, k]
        expected = sk.roc_auc_score(event[..., k, k][here], p[..., k, k][here])
        assert float(found.diagonal_auroc[k]) == pytest.approx(expected, abs=2e-3)
    assert score_figures.diagonal_roc(found).axes if hasattr(score_figures, "diagonal_roc") else True


def test_the_threshold_is_chosen_on_the_validation_windows(model, store):
    p, event, valid = together(model, store, "val")
    tried = np.unique(p[valid])
    best = max(sk.f1_score(event[valid], p[valid] >= t) for t in tried[:: max(1, len(tried) // 400)])
    threshold = float(analytics.score_windows(model, store, "test").threshold)
    assert sk.f1_score(event[valid], p[valid] >= threshold) >= best - 2e-3
    assert float(analytics.score_windows(model, store, "test", threshold=0.25).threshold) == 0.25


def test_the_models_own_statistics_hold_on_another_store(model, store, tmp_path):
    other = small_cube_store(tmp_path, cube_seed=5)
    assert other.meta["statistics"] != store.meta["statistics"]
    table = analytics.full_metrics(model, other, tmp_path / "out" / "metrics.csv", threshold=0.3)
    own, there = (s.meta["statistics"] for s in (store, other))
    windows = Sequences(other, "test")
    found = windows.batch(list(range(len(windows))))
    mean, std, own_mean, own_std = (np.array(s[k]).reshape(-1, 1, 1) for s in (there, own) for k in ("mean", "std"))
    inputs = found["inputs"].numpy().astype(np.float64)
    inputs = np.where(inputs == 0, 0, (inputs * std + mean - own_mean) / own_std)
    with torch.no_grad():
        p = model(torch.from_numpy(inputs).float())[:, :, 0].sigmoid().numpy()
    valid = np.broadcast_to(found["valid"].numpy()[:, None], p.shape)
    brier = ((p - found["targets"][:, :, 0].numpy()) ** 2)[valid].mean()
    assert table["brier"][0] == pytest.approx(brier, rel=1e-4)
    read = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert read["windows"][0] == len(windows) == len(pd.read_csv(tmp_path / "out" / "metrics_images.csv"))


def test_a_store_that_does_not_fit_is_refused(model, store, tmp_path):
    other = small_cube_store(tmp_path, steps=5)
    with pytest.raises(ValueError, match="steps = 6 months when it was trained, 5"):
        analytics.score_windows(model, other)
    with pytest.raises(ValueError, match="no future windows"):
        analytics.score_windows(model, store, "future")


def test_notebook_04_opens_store_and_network_once(model, store, tmp_path, monkeypatch):
    root = store.path.parents[2]
    folder = root / "runs" / "conflict" / "2026-11-22_calm-heron"
    (folder / "checkpoints").mkdir(parents=True)
    card = model.card | {
        "workload": "conflict",
        "task": "geonb.workloads.conflict.task:Forecast",
        "best": {"epoch": 0, "val_loss": 1.0},
        "chosen": "loss",
    }
    training_task._save({"loss": model.state_dict()}, folder / "checkpoints" / "model.json", card)
    (folder / "run.json").write_text(json.dumps(BEGUN | {"store": str(store.path.relative_to(root))}))
    opened = Counter()
    for module, name in ((store_store, "open_store"), (training_task, "load_model")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, name=name: opened.update([name]) or real(*a))
    run = runs.Run(folder)
    for _ in range(2):  # as when a cell is run again
        table, _ = figures.window_scores(run)
    assert opened == {"open_store": 1, "load_model": 1}
    expected = analytics.score_windows(model, store)
    assert table.loc["average_precision", "test windows"] == round(float(expected["average_precision"]), 4)


def test_a_run_asked_for_no_window_opens_no_network(tmp_path, monkeypatch):
    whole = small_cube_store(tmp_path, chunk_size=None)
    folder = tmp_path / "runs" / "conflict" / "2026-11-22_calm-heron"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(BEGUN | {"store": str(whole.path.relative_to(tmp_path))}))
    monkeypatch.setattr(training_task, "load_model", lambda *_: pytest.fail("loaded"))
    assert figures.window_scores(runs.Run(folder)) is None


def test_a_store_of_another_workload_is_refused(monkeypatch):
    other = SimpleNamespace(path="data/clouds/made", meta={"kind": "triplets"})
    monkeypatch.setattr("geonb.store.store.open_store", lambda path: other)
    with pytest.raises(ValueError, match="data/clouds/made holds no months but triplets"):
        analytics.analytics("runs/conflict/one", other.path)
