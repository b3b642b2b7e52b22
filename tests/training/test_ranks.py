"""Training by several processes: every window once, the steps of one process, one log, and an end in seconds where one dies."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from affine import Affine
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from trainings import SETTINGS, folder, killed_at, weights

from geonb.store.loaders import Batches
from geonb.store.samplers import Order
from geonb.training import ranks
from geonb.training import task as training_task
from geonb.training.devices import Devices, check_devices, find_devices

TOY = Path(__file__).parents[1] / "toy"
TOLD = {
    "workload": "toy:RECORD", "network": "conv:width=8", "loss": "mse", "augment": "flips,rotations", "lr": 1e-2,
    "epochs": 4, "batch": 7, "patience": 9, "seed": 3, "precision": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """A store of 64 simulated tiles, and a network without batch normalisation: what processes share is the whole of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOY))
        root = tmp_path_factory.mktemp("project")
        (root / "pyproject.toml").write_text("")
        (root / "notebooks").mkdir()
        patch.setenv("GEONB_ROOT", str(root))
        import toy

        height_m = np.random.default_rng(0).normal(size=(64, 64)).cumsum(0).cumsum(1).astype(np.float32) / 10
        yield toy.write_tile_store(height_m, Affine.scale(10, -10), "EPSG:32633", patch=8, block=8, seed=0)


@pytest.fixture(scope="module")
def alone(tiles, tmp_path_factory):
    run = folder(tmp_path_factory.mktemp("runs") / "alone")
    training_task.train(run, tiles, **TOLD)
    return run


def log_of(run):
    return pd.read_csv(run.path / "log.csv")


def close(one, other, tolerance):
    """The weights of two runs, as shares of the largest of each tensor."""
    one, other = weights(one), weights(other)
    return all((one[n] - other[n]).abs().max() <= tolerance * one[n].abs().max() for n in one)


# ---- windows dealt once


@st.composite
def orders(draw):
    windows, batch = draw(st.integers(1, 60)), draw(st.integers(1, 20))
    method = draw(st.sampled_from(["shuffle", "blocks", "sequential"]))
    groups = draw(st.none() | st.lists(st.integers(-1, 2), min_size=windows, max_size=windows))
    if groups is not None and set(groups) == {-1}:
        groups = None
    blocks = np.arange(windows) // 4 if method == "blocks" else None
    order = Order(windows, draw(st.integers(0, 5)), method, blocks, groups=None if groups is None else np.array(groups))
    order.set_epoch(draw(st.integers(0, 3)))
    return order, batch, draw(st.integers(1, min(batch, len(order), 6)))


@given(orders(), st.booleans(), st.integers(0, 2))
@limits(max_examples=300, deadline=None)
def test_every_window_is_dealt_once_an_epoch_whatever_the_number_of_ranks(made, train, workers):
    order, batch, of = made
    windows = SimpleNamespace(batch=lambda keys: keys)
    whole = list(Batches(windows, order, batch, 0, train))
    loaders = [Batches(windows, order, batch, workers, train, (n, of)) for n in range(of)]
    dealt = [list(loader) for loader in loaders]
    assert [len(loader) for loader in loaders] == [len(parts) for parts in dealt] and all(dealt)
    if not train:
        found = [key for parts in dealt for part in parts for key in part]
        assert sorted(found) == sorted(order), "no window is filled in twice"
        assert all(part for parts in dealt for part in parts)
        if len(whole) >= of:
            assert sorted(map(tuple, whole)) == sorted(tuple(part) for parts in dealt for part in parts)
        return
    for at, keys in enumerate(whole):  # the steps of one process, each shared out
        parts = [parts[at] for parts in dealt]
        shares = [loader.counted(at) for loader in loaders]
        counted = [key for part, share in zip(parts, shares, strict=True) if share for key in part]
        assert sorted(counted) == sorted(keys) and sum(shares) == pytest.approx(of)
        assert shares == pytest.approx(
            [of * len(p) / len(keys) if s else 0 for p, s in zip(parts, shares, strict=True)]
        )
        least = 2 if batch >= 2 * of and len(keys) > 1 else 1
        assert all(len(part) >= least for part in parts), "batch normalisation cannot compare one window"
    assert {len(parts) for parts in dealt} == {len(whole)}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [(1, ("best", 1, 1)), ("1", ("best", 1, 1)), (4, ("gpu", 1, 4)), ("2x4", ("gpu", 2, 4)), ("cpu:2", ("cpu", 1, 2)),
     ("gpu:1", ("gpu", 1, 1)), ("cpu:2x3", ("cpu", 2, 3)), ("2x1", ("gpu", 2, 1))],
)  # fmt: skip
def test_devices_are_read(spec, expected):
    assert check_devices(spec) == Devices(*expected)


@pytest.mark.parametrize("spec", ["0", "-1", "gpu", "cpu:0", "two", "2x", "1.5", "2 x 2", "tpu:4", "", 0])
def test_what_are_no_devices_is_refused(spec):
    with pytest.raises(ValueError, match=r"is not right\. Give a number of GPUs"):
        check_devices(spec)


def test_what_is_not_there_is_refused_before_anything_is_computed(tiles, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    monkeypatch.setattr(training_task.Trainable, "__init__", lambda *_: pytest.fail("a network was built"))
    run = folder(tmp_path / "run")
    for devices, said in {
        2: r"devices = 2 asks for 2 GPU\(s\), and torch .* sees 1 here. .* cpu:2 for processes",
        "gpu:4": r"asks for 4 GPU\(s\)",
        "cpu:2x2": "asks for 2 nodes, and here is 1: begin it in a job of Slurm",
        "cpu:8": "8 processes cannot share batches of 7 windows",
    }.items():
        with pytest.raises(ValueError, match=said):
            training_task.train(run, tiles, **TOLD, devices=devices)
    assert list(run.path.iterdir()) == []
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    assert find_devices("cpu:2x2").processes == 4


# ---- what two find


@pytest.mark.parametrize("devices", ["cpu:2", "cpu:3"])
def test_several_processes_find_what_one_does(devices, tiles, alone, tmp_path):
    """Parts of 4 + 3, or 3 + 2 + 2, of which each counts by its windows: the same to rounding, which Adam lets grow."""
    run = folder(tmp_path / "together")
    training_task.train(run, tiles, **TOLD, devices=devices)
    assert len(tiles.index.query("split == 'train'")) % 7, "the last batch is a short one"
    np.testing.assert_allclose(log_of(run), log_of(alone), rtol=2e-3)
    assert close(run, alone, 5e-3)
    assert log_of(run)["step"].tolist() == log_of(alone)["step"].tolist(), "the steps of one process"
    (said,) = run.info["trained_by"]
    assert said == {"from_epoch": 1, "processes": int(devices[-1]), "nodes": 1, "device": "cpu", "batch": 7,
                    "batch_of_a_process": -(-7 // int(devices[-1]))}  # fmt: skip
    assert sorted(p.name for p in run.checkpoints.glob(".*")) == [], "what the processes were given is gone"


def test_two_end_within_the_spread_of_seeds_with_everything_that_stands_beside(small_store, tmp_path, capsys):
    """Batch normalisation, two averages, pictures, a tracker: what compares windows sees half of each batch on the CPU."""
    everything = {**SETTINGS, "batch": 16, "epochs": 4, "optimizer": "adamw:swa=0.5,ema=0.8"}
    seeds = []
    for seed in range(4):
        run = folder(tmp_path / f"seed {seed}")
        training_task.train(run, small_store, **{**everything, "seed": seed})
        seeds.append(json.loads((run.checkpoints / "model.json").read_text()))
    run = folder(tmp_path / "two", name="two")
    beside = {"watch_every": 2, "pictures": draw, "tracker": "csv"}
    capsys.readouterr()
    training_task.train(run, small_store, **everything, **beside, devices="cpu:2")
    said = capsys.readouterr().out
    assert "2 processes (cpu) share each batch of 16 windows" in said
    assert [said.count(f"epoch {n}/4  ema_val_loss") for n in (1, 2, 3, 4)] == [1] * 4, "the first alone tells"
    card = json.loads((run.checkpoints / "model.json").read_text())
    assert set(card["checkpoints"]) == {"loss", "metric", "swa", "ema"}
    for name in card["checkpoints"]:
        found = [one["checkpoints"][name]["val_loss"] for one in seeds]
        spread = max(found) - min(found)
        assert min(found) - spread <= card["checkpoints"][name]["val_loss"] <= max(found) + spread, name
    assert sorted(p.name for p in (run.path / "epochs").iterdir()) == ["drawn-0002", "drawn-0004"]
    logged = json.loads((run.path / "tracker" / "geonb.json").read_text())["rows"]
    assert [row["epoch"] for row in logged] == [1, 2, 3, 4]
    assert len(log_of(run)) == 4 and "ema_val_loss" in log_of(run)
    # validated again by one process: what two said of the very same weights
    model = training_task.load_model(run.path, "loss")
    again = validated(model, small_store)
    assert again == pytest.approx({key: model.card["best"][key] for key in again}, abs=2e-5)


def draw(folder, epoch, seen):
    (folder / f"drawn-{epoch:04}").write_text(str(len(seen.rows)))


def validated(model, store):
    import lightning as L

    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    found = trainer.validate(model, model.data_module(store, batch=16).val_dataloader(), verbose=False)[0]
    return {name: found[name] for name in ("val_loss", "val_mean_iou")}


def test_broken_off_it_goes_on_on_more(tiles, alone, tmp_path, monkeypatch):
    run, steps = folder(tmp_path / "one to two"), log_of(alone)["step"]
    killed_at(steps[1] + 2, monkeypatch, run, tiles, **TOLD)
    training_task.train(run, tiles, **TOLD, devices="cpu:2")
    np.testing.assert_allclose(log_of(run), log_of(alone), rtol=2e-3)
    assert close(run, alone, 5e-3)
    assert [(one["from_epoch"], one["processes"]) for one in run.info["trained_by"]] == [(1, 1), (3, 2)]


def test_an_error_of_theirs_is_the_error(tiles, tmp_path):
    run = folder(tmp_path / "run")
    with pytest.raises(ValueError, match=r"The loss .*became (nan|inf).* Try a smaller `lr`|or try a smaller `lr`"):
        training_task.train(run, tiles, **{**TOLD, "lr": 1e30, "optimizer": "sgd:schedule=none"}, devices="cpu:2")
    assert not (run.checkpoints / "model.json").exists()


STAND_IN = """\
#!{python}
import os, subprocess, sys, threading
options = dict(o.removeprefix("--").partition("=")[::2] for o in sys.argv[1:] if o.startswith("--"))
command = sys.argv[next(i for i, o in enumerate(sys.argv) if i and not o.startswith("-")):]
each, of = int(options["ntasks-per-node"]), int(options["ntasks"])
assert of == each * int(options["nodes"])
tasks = []
for n in range(of):
    told = {{"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n % each), "SLURM_NODEID": str(n // each)}}
    tasks.append(subprocess.Popen(command, env=os.environ | told, stdin=subprocess.PIPE))
def end():
    sys.stdin.buffer.read()
    for task in tasks: task.stdin.close()
threading.Thread(target=end, daemon=True).start()
os._exit(max(task.wait() for task in tasks))
"""


def test_nodes_of_a_job_train_together_by_srun(tiles, alone, tmp_path, monkeypatch):
    """By a stand-in for srun, which begins what it was asked for here: two nodes of one process."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(STAND_IN.format(python=sys.executable))
    (tmp_path / "bin" / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setattr(ranks.socket, "gethostname", lambda: "localhost")
    run = folder(tmp_path / "nodes")
    training_task.train(run, tiles, **TOLD, devices="cpu:2x1")
    np.testing.assert_allclose(log_of(run), log_of(alone), rtol=2e-3)
    assert close(run, alone, 5e-3) and run.info["trained_by"][0]["nodes"] == 2


# ---- when one dies


def processes_of(pid):
    return [p for p in psutil.Process(pid).children() if "geonb.training.ranks" in " ".join(p.cmdline())]


def wait_for(what, seconds=300.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_one_of_two_dies_and_the_other_with_it_and_it_goes_on_on_one(tiles, alone, tmp_path, monkeypatch):
    run, attend, died = folder(tmp_path / "killed"), ranks._attend, []

    def kill_one(processes, heard, *rest):
        hear = heard.hear

        def listen(line):
            hear(line)
            if heard.at.startswith("epoch 3 of 4") and not died:
                died[:] = [psutil.Process(one.pid) for one in processes]
                processes[1].kill()
                died.append(time.monotonic())

        heard.hear = listen
        attend(processes, heard, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ranks, "_attend", kill_one)
        with pytest.raises(RuntimeError) as told:
            training_task.train(run, tiles, **TOLD, devices="cpu:2")
    assert time.monotonic() - died.pop() < 10, "seconds, not the half hour of a collective operation"
    assert re.search(
        r"Process 2 of 2 of the training was killed by signal: 9 \(most likely memory ran out\), in epoch 3 of 4, .*; the others were "
        r"ended. Kept is epoch 2 of 4: run this again with the same settings to go on from there",
        str(told.value),
    )
    assert not any(one.is_running() for one in died) and list(run.checkpoints.glob(".ranks-*")) == []
    assert not (run.checkpoints / "model.json").exists()
    training_task.train(run, tiles, **TOLD)
    np.testing.assert_allclose(log_of(run), log_of(alone), rtol=2e-3)
    assert close(run, alone, 5e-3)
    assert [(one["from_epoch"], one["processes"]) for one in run.info["trained_by"]] == [(1, 2), (3, 1)]


SCRIPT = """
import sys
sys.path[:0] = {places!r}
from pathlib import Path
import geonb
from geonb import registry
from trainings import folder
registry.get("toy:RECORD")
from geonb.training import task
task.train(folder(Path({run!r})), geonb.open_store({store!r}), **{settings!r}, devices="cpu:2")
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_began_it(signum, tiles, tmp_path):
    settings = {**TOLD, "epochs": 4000, "patience": 4000}
    places = [str(TOY), str(TOY.parent)]
    script = SCRIPT.format(places=places, run=str(tmp_path / "run"), store=str(tiles.path), settings=settings)
    began = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_for(lambda: began.poll() is not None or (tmp_path / "run" / "checkpoints" / "last.ckpt").exists())
        assert began.poll() is None, began.communicate()[0]
        two = processes_of(began.pid)
        assert len(two) == 2
        began.send_signal(signum)
        said, _ = began.communicate(timeout=60)
    finally:
        began.kill()
    _, left = psutil.wait_procs(two, timeout=10)
    assert not left and began.returncode != 0
    if signum != signal.SIGKILL:
        assert re.search(r"Interrupted in epoch \d+ of 4000, .*\. Kept is epoch \d+ of 4000", said), said


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs")
def test_two_gpus_find_what_one_does(tiles, tmp_path):
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    training_task.train(one, tiles, **TOLD, devices="gpu:1")
    training_task.train(two, tiles, **TOLD, devices=2)
    np.testing.assert_allclose(log_of(two), log_of(one), rtol=1e-2)
