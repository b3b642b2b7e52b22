"""Run folders: nobody shares one, facts are not lost, faults are told together."""

import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from geonb.base import files, project
from geonb.runs import run as runs_run
from geonb.runs import run_table
from geonb.runs.faults import check_run


def made(root, **facts):
    run = runs_run.new_run("tiny", {"epochs": 3, "lr": None}, root)
    run.update(**facts)
    return run


def test_a_new_run_says_what_it_is(tmp_path):
    run = made(tmp_path)
    day, words = run.name.split("_")
    assert run.path == tmp_path / "runs" / "tiny" / run.name and len(day) == 10
    assert words.split("-")[0] in runs_run.ADJECTIVES.split() and words.split("-")[1] in runs_run.ANIMALS.split()
    assert yaml.safe_load((run.path / "parameters.yaml").read_text()) == {"epochs": 3, "lr": None} == run.parameters
    environment = (run.path / "environment.txt").read_text()
    assert "# python 3" in environment and "\nnumpy==" in environment and "# device: " in environment
    assert check_run(run)["state"] == "interactive" and run.store is None
    assert not list(run.path.glob("*.partial*"))


def test_names_never_collide(tmp_path, monkeypatch):
    monkeypatch.setattr(runs_run, "ADJECTIVES", "calm")
    monkeypatch.setattr(runs_run, "ANIMALS", "heron owl")
    assert {made(tmp_path).name.split("_")[1] for _ in range(2)} == {"calm-heron", "calm-owl"}
    with pytest.raises(PermissionError, match="no free name"):
        made(tmp_path)


def _count(path, key):
    for i in range(20):
        runs_run.Run(Path(path)).update(**{f"{key}{i}": i})


def test_two_writers_lose_nothing(tmp_path):
    run = made(tmp_path)
    writers = [multiprocessing.get_context("fork").Process(target=_count, args=(run.path, key)) for key in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert {f"{k}{i}" for k in "ab" for i in range(20)} <= set(run.info)


def test_steps_merge_and_paths_are_kept_relative(tmp_path):
    run = made(tmp_path, store=tmp_path / "data/tiny/x-1", steps={"01": {"state": "running"}})
    run.update(steps={"01": {"seconds": 2.5}, "02": {"state": "done"}})
    assert run.info["steps"] == {"01": {"state": "running", "seconds": 2.5}, "02": {"state": "done"}}
    assert run.info["store"] == "data/tiny/x-1" and run.store == tmp_path / "data/tiny/x-1"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    run = made(tmp_path, headline={"metric": "m", "value": 1})
    monkeypatch.setattr(files.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        run.update(headline=None)
    assert run.info["headline"]["value"] == 1 and not list(run.path.glob("*.partial*"))


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(PermissionError, match="Cannot write a run folder"):
        made(tmp_path)


def test_of_all_workloads_the_newest_run_that_has_what_is_needed_is_found(tmp_path, capsys):
    import zarr

    able, last = made(tmp_path, started="2026-01-01T00:00"), made(tmp_path, started="2026-01-02T00:00")
    with pytest.raises(
        FileNotFoundError, match=rf"has predictions\. {last.name}: no predictions; {able.name}: no predictions"
    ):
        runs_run.find_run("latest", tmp_path, ["predictions"])
    zarr.open_group(able.predictions, mode="w", attributes={"complete": 1})
    assert runs_run.find_run("latest", tmp_path, ["predictions"]) == able
    assert f"{last.name}: no predictions" in capsys.readouterr().out
    assert runs_run.find_run("latest", tmp_path) == last


def test_open_run_by_every_kind_of_name(tmp_path):
    first, last = made(tmp_path, started="2026-01-01T00:00"), made(tmp_path, started="2026-01-02T00:00")
    for name in (last.name, last.name.split("_")[1], last.path, str(last.path.relative_to(tmp_path)), "latest"):
        assert runs_run.open_run("tiny", name, tmp_path) == last
    assert (
        runs_run.find_run(first.name.split("_")[1], tmp_path) == first and runs_run.find_run("latest", tmp_path) == last
    )
    with pytest.raises(FileNotFoundError, match=f"No run 'nope'.*{first.name}"):
        runs_run.open_run("tiny", "nope", tmp_path)
    with pytest.raises(FileNotFoundError, match="geonb run other"):
        runs_run.open_run("other", root=tmp_path)


def test_start_run_goes_on_with_the_same_settings_and_samples_only(tmp_path, monkeypatch):
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    first = runs_run.start_run("tiny", lr=0.1, store=None)
    assert runs_run.start_run("tiny", lr=0.1, store=None) == first
    assert runs_run.start_run("tiny", lr=0.2, store=None) != first
    (tmp_path / "data/tiny/a").mkdir(parents=True)
    (tmp_path / "data/tiny/a/store.json").write_text("{}")
    first.update(store=tmp_path / "data/tiny/a")
    assert runs_run.start_run("tiny", lr=0.1, store=None) == first
    (tmp_path / "data/tiny/b").mkdir()
    (tmp_path / "data/tiny/b/store.json").write_text("{}")
    assert runs_run.start_run("tiny", lr=0.1, store=None) != first, "a newer sample store is another experiment"
    assert runs_run.start_run("tiny", first.name, lr=0.9) == first and first.info["training"] == {"lr": 0.9}


def test_the_table_shows_broken_runs_and_sorts_best_first(tmp_path):
    for value, lr in ((0.5, 0.1), (0.7, 0.2), (0.6, 0.3)):
        headline = {
            "metric": "mean_iou",
            "value": value,
            "low": value - 0.1,
            "high": 1,
            "baseline": "majority",
            "baseline_value": 0.2,
        }
        made(tmp_path, headline=headline, steps={"02": {"state": "done", "seconds": 60, "parameters": {"lr": lr}}})
    (tmp_path / "runs" / "tiny" / "junk").mkdir()
    broken = made(tmp_path)
    (broken.path / "run.json").write_text("{")
    table = run_table.table(tmp_path, sort="mean_iou")
    assert table["mean_iou"].tolist()[:3] == [0.7, 0.6, 0.5] and table["lr"].tolist()[:3] == [0.2, 0.3, 0.1]
    assert table["state"].tolist().count("broken") == 2 and table["majority"][0] == 0.2 and table["minutes"][0] == 1
    assert run_table.table(tmp_path, query="lr > 0.15 and mean_iou < 0.65")["lr"].tolist() == [0.3]
    assert run_table.table(tmp_path, sort="lr")["lr"].tolist()[0] == 0.1
    with pytest.raises(ValueError, match=r"Columns: .*mean_iou"):
        run_table.table(tmp_path, sort="miou")
    assert run_table.table(tmp_path / "empty").empty


def scored(root, val, test, low=0.1, state="done", **parameters):
    """A finished run with scores on validation and test."""
    head = {"metric": "mean_iou", "low": test - low, "high": test + low, "baseline": "majority", "baseline_value": 0.2}
    info = {"headline": head | {"value": test}, "validation": head | {"value": val}, "state": state}
    return made(root, **info, steps={"02": {"state": "done", "seconds": 60, "parameters": parameters}})


def test_the_table_says_why_a_run_is_broken_or_unfinished(tmp_path):
    fine = scored(tmp_path, 0.5, 0.4, lr=0.1)
    junk = tmp_path / "runs" / "tiny" / "junk"
    junk.mkdir()
    torn, odd = made(tmp_path), made(tmp_path)
    (torn.path / "run.json").write_text('{"state": "done", ')
    (odd.path / "run.json").write_text('{"started": "2026-01-01T00:00", "steps": {}}')
    failed = made(
        tmp_path, state="failed", steps={"02_training": {"state": "failed", "error": "the loss became NaN\nmore"}}
    )
    running = made(tmp_path, state="running", steps={"02_training": {"state": "running"}})
    alone = made(tmp_path)
    nonsense = made(tmp_path, headline=[1, 2])
    table = run_table.table(tmp_path).set_index("run")
    assert len(table) == 8
    told = table["fault"].to_dict()
    assert told[fine.name] is None or told[fine.name] != told[fine.name]
    assert (
        "No run.json" in told["junk"] and "not readable JSON" in told[torn.name] and "lacks 'state'" in told[odd.name]
    )
    assert told[failed.name] == "02_training failed: the loss became NaN more"
    assert "02_training died: the process that ran it" in told[running.name]
    assert "not scored yet" in told[alone.name]
    assert table["state"][["junk", torn.name, odd.name, nonsense.name]].tolist() == ["broken"] * 4
    assert str(tmp_path) not in told["junk"].split(":")[0]


def test_the_table_tells_a_fault_with_all_its_lines(tmp_path):
    error = "Cannot train:\n- no validation windows\n- the network halves 16 px five times"
    made(tmp_path, steps={"02_training": {"state": "failed", "error": error}})
    told = run_table.table(tmp_path).iloc[0]["fault"]
    assert told == "02_training failed: Cannot train: - no validation windows - the network halves 16 px five times"
    assert told in run_table.as_text(run_table.table(tmp_path))
    made(tmp_path, started="2999", steps={"02_training": {"state": "failed", "error": "word " * 500}})
    long = run_table.table(tmp_path).iloc[-1]["fault"]
    assert len(long) < 540 and long.endswith("word ... (log.txt has the rest)")


def test_a_column_that_is_not_there_is_named_and_the_others_listed(tmp_path):
    made(tmp_path, headline={"metric": "mean_iou", "value": 0.5})
    with pytest.raises(
        ValueError,
        match=r"Cannot sort by 'mean_ious': no run has .* Did you mean 'mean_iou'\? Columns: workload, run, ",
    ):
        run_table.table(tmp_path, sort="mean_ious")
    with pytest.raises(ValueError, match=r"Cannot apply query 'nope > 1': .*Columns: workload"):
        run_table.table(tmp_path, query="nope > 1")


def test_a_run_is_running_as_long_as_its_process_is(tmp_path):
    run = made(tmp_path, state="running", **runs_run.this_process())
    assert run.info["state"] == "running"
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 20
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for gone in ({"pid": process.pid}, {"pid": None}, {"pid": "x"}, {"pid": 2**40}, {"pid_started": 1.0}):
        run = made(tmp_path, state="running", **runs_run.this_process() | gone)
        assert run.info["state"] == "died", gone
    process.wait()
    run = made(tmp_path, state="running", pid=os.getpid())  # of an earlier geonb
    assert run.info["state"] == "running"


def test_a_run_of_another_machine_is_running_as_long_as_its_lock_is_held(tmp_path):
    run = made(
        tmp_path, state="running", pid=1, pid_started=0.0, host="elsewhere", steps={"02_x": {"state": "running"}}
    )
    assert run.info["state"] == "died" == run.info["steps"]["02_x"]["state"]
    with (run.path / runs_run.LOCK).open("w") as held:
        assert run.info["state"] == "died"
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run.info["state"] == "running" == run.info["steps"]["02_x"]["state"]
    assert check_run(run)["state"] == "died"


def test_scores_of_earlier_predictions_are_told_to_be_so(tmp_path):
    run = scored(tmp_path, 0.5, 0.4)
    times = {"started": "2026-11-22T10:00:00.000Z", "ended": "2026-11-22T10:01:00.000Z", "state": "done"}
    run.update(steps={"03_prediction": times, "04_analytics": times | {"started": "2026-11-22T10:01:00.001Z"}})
    assert runs_run.older_scores(run.info) == "" and run_table.table(tmp_path)["fault"].isna().all()
    run.update(steps={"03_prediction": {"started": "2026-11-22T12:00:00.000Z", "ended": "2026-11-22T12:01:00.000Z"}})
    told = "the scores are of before 03_prediction ran again: run 04_analytics"
    assert runs_run.older_scores(run.info) == told == run_table.table(tmp_path)["fault"][0]
    run.update(steps={"04_analytics": {"ended": "2026-11-22T12:02:00.000Z"}})
    assert runs_run.older_scores(run.info) == ""


def test_parameters_that_differ_come_first_and_alone_in_the_short_table(tmp_path):
    scored(tmp_path, 0.5, 0.4, lr=0.1, epochs=3, block=None, network="unet", shape=[1, 2])
    scored(tmp_path, 0.6, 0.3, lr=0.2, epochs=3, block=32, network="unet", shape=[1, 2], sampler="shuffle")
    (tmp_path / "runs" / "tiny" / "junk").mkdir()
    table = list(run_table.table(tmp_path))
    assert table.index("lr") < table.index("started") < table.index("epochs")
    assert table.index("mean_iou") < table.index("val_mean_iou") < table.index("lr")
    short = run_table.table(tmp_path, columns="short")
    assert {"lr", "block"} < set(short) and not {"epochs", "network", "shape", "sampler", "majority"} & set(short)
    one = run_table.table(tmp_path, query="lr == 0.1", columns="short")
    assert "lr" not in one and one["baseline"].tolist() == ["majority"]
    with pytest.raises(ValueError, match="neither 'all' nor 'short'"):
        run_table.table(tmp_path, columns="few")


def test_a_parameter_left_to_the_workload_counts_as_what_it_was_settled_to(tmp_path):
    for loss, epochs in ((None, 3), ("bce", 3), ("focal", None)):
        run = scored(tmp_path, 0.5, 0.4, loss=loss, epochs=epochs, store=None)
        run.update(training={"loss": loss or "bce", "epochs": epochs or 3})
    assert sorted(run_table.table(tmp_path)["loss"]) == ["bce", "bce", "focal"]
    short = run_table.table(tmp_path, columns="short")
    assert "loss" in short and not {"epochs", "store"} & set(short)


def test_the_best_run_is_chosen_by_validation(tmp_path):
    scored(tmp_path, 0.5, 0.9, lr=0.1)
    scored(tmp_path, 0.6, 0.3, lr=0.2)
    made(tmp_path)
    table = run_table.table(tmp_path)
    assert run_table.best(table)["lr"] == 0.2
    assert run_table.table(tmp_path, sort="val_mean_iou")["lr"][0] == 0.2
    with pytest.raises(ValueError, match="no validation score"):
        run_table.best(table[table["headline"].isna()])


def test_the_validation_score_of_an_older_run_is_found_in_its_csv(tmp_path):
    run = scored(tmp_path, 0.5, 0.4)
    run.update(validation=None)
    lines = ["model,split,metric,score,low,high", "majority,val,mean_iou,0.1,0,1", "network,val,mean_iou,0.66,0.6,0.7"]
    (run.path / "scores.csv").write_text("\n".join(lines))
    row = run_table.table(tmp_path).iloc[0]
    assert (row["val_mean_iou"], row["val_low"], row["val_high"]) == (0.66, 0.6, 0.7)


def test_the_text_table_fits_the_terminal(tmp_path):
    for lr in (0.1, 0.2):
        names = {f"parameter_{i}": f"a rather long value number {lr * i}" for i in range(12)}
        scored(tmp_path, 0.5, 0.4, lr=lr, **names)
    frame = run_table.table(tmp_path, columns="short")
    for width in (80, 120, 200):
        lines = run_table.as_text(frame, width).splitlines()
        assert max(map(len, lines)) <= width and "0.400 [0.300, 0.500]" in lines[1]
        assert frame["run"][0] in lines[1] and "lr" in lines[0]
        told = " ".join(line.strip() for line in lines[4:])
        assert told.startswith("Left out to fit the terminal: ") and "parameter_11" in told
    whole = run_table.as_text(frame).splitlines()
    assert len(whole) == 3 and "parameter_11" in whole[0] and "…" not in whole[1] and "majority 0.200" in whole[1]
    (tmp_path / "runs" / "tiny" / "junk").mkdir()
    assert run_table.as_text(run_table.table(tmp_path)).splitlines()[-1].startswith("junk: No run.json")


@pytest.fixture(scope="module")
def trained(small_store):
    """A run with a store and a model: its project folder, and the run."""
    from geonb.training import task

    root = small_store.path.parents[2]
    run = runs_run.new_run("segmentation", {}, root)
    run.update(store=small_store.path)
    network = "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8"
    task.train(
        run, small_store, workload="segmentation", network=network, loss="dice", augment="none", lr=1e-3, epochs=1,
        batch=32, patience=5, seed=1, precision="float32",
    )  # fmt: skip
    return root, run


def test_a_row_leads_back_to_model_store_and_samples(trained, small_store):
    root, run = trained
    table = run_table.table(root)
    row = table[table["run"] == run.name].iloc[0]
    for given in (row, run.name, run.name.split("_")[1], run):
        loaded = run_table.load_run(given, root=root)
        assert loaded.run == run and loaded.store.path == small_store.path and not loaded.model.training
    for split in ("val", "test"):
        windows = getattr(loaded, split)
        assert (small_store.index["split"].iloc[windows.rows] == split).all() and len(windows) > 0
    probability = loaded.model.probabilities(loaded.val.batch([0, 1])["inputs"])
    assert probability.shape == (2, 3, 16, 16) and float(probability.detach().sum(1).mean()) == pytest.approx(
        1, abs=1e-4
    )
    learnt = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)
    assert row["n_weights"] == learnt and row["best_epoch"] == 1 and row["val_loss"] > 0


def test_a_row_of_conflict_leads_back_to_its_windows(tmp_path):
    from made_cubes import small_cube_store

    from geonb.training import task

    store = small_cube_store(tmp_path, rows=12, columns=10, chunk_size=None, steps=4, horizon=2)
    run = runs_run.new_run("conflict", {}, tmp_path)
    run.update(store=store.path)
    task.train(
        run, store, workload="conflict", network="convlstm:structure=2/2", loss="bce", augment="none", lr=1e-3, epochs=1,
        batch=8, patience=5, seed=1, precision="float32",
    )  # fmt: skip
    loaded = run_table.load_run(run_table.table(tmp_path).iloc[0], root=tmp_path)
    assert loaded.run == run and loaded.store.path == store.path and loaded.store.horizon == 2
    for split in ("val", "test"):
        windows = getattr(loaded, split)
        assert (store.index["split"].iloc[windows.rows] == split).all() and len(windows) > 0
    item = loaded.test[0]
    assert item["inputs"].shape[0] == 4 and item["targets"].shape == (2, 1, 12, 10)
    batch = loaded.val.batch([0, 1])
    probability = loaded.model.probabilities(batch["inputs"], batch["floor"]).detach()
    assert probability.shape == (2, 2, 1, 12, 10) and 0 < float(probability.min()) < float(probability.max()) < 1


def test_what_cannot_be_loaded_says_everything_that_is_wrong(tmp_path):
    run = made(tmp_path, store="data/tiny/gone")
    with pytest.raises(ValueError, match="cannot be loaded") as error:
        run_table.load_run(run_table.table(tmp_path).iloc[0], root=tmp_path)
    assert "data/tiny/gone is gone" in str(error.value) and "No trained model" in str(error.value)
    run.update(store=None)
    with pytest.raises(ValueError, match="no sample store"):
        run_table.load_run(run)
    (run.path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        run_table.load_run(run_table.table(tmp_path).iloc[0], root=tmp_path)
    with pytest.raises(FileNotFoundError, match="No run 'nope'"):
        run_table.load_run("nope", root=tmp_path)
    with pytest.raises(ValueError, match=r"one row of runs\.table"):
        run_table.load_run(run_table.table(tmp_path), root=tmp_path)
    row = run_table.table(tmp_path).iloc[0]
    with pytest.raises(FileNotFoundError, match="was removed"):
        run_table.load_run(row, root=tmp_path / "elsewhere")


def test_project_root(tmp_path, monkeypatch):
    monkeypatch.delenv("GEONB_ROOT", raising=False)
    with pytest.raises(FileNotFoundError, match="checkout"):
        project.project_root(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    assert project.project_root(tmp_path / "notebooks") == tmp_path
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path / "notebooks"))
    with pytest.raises(FileNotFoundError, match="GEONB_ROOT"):
        project.project_root()


def test_run_json_is_plain_json(tmp_path):
    np = pytest.importorskip("numpy")
    run = made(tmp_path, headline={"value": np.float32(0.5)})
    assert json.loads((run.path / "run.json").read_text())["headline"]["value"] == 0.5


@pytest.mark.parametrize("workload", ["../../../x", "/tmp/x", "..", ".hidden", ""])
def test_a_run_stays_in_its_project(tmp_path, workload):
    root = tmp_path / "deep" / "in" / "project"
    root.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for ask in (runs_run.new_run, runs_run.start_run, runs_run.open_run):
        with pytest.raises(ValueError, match="is no name for a folder"):
            ask(workload, root=root) if ask is not runs_run.start_run else ask(workload)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "query",
    [
        "lr.to_pickle('{}')", "lr.to_csv('{}') == 1", "@pd.compat.os.system('touch {}') == 0", "lr.apply(print) > 1", "lr.__class__ == 1",
        "(lr > 0).to_pickle('{}')", "[x for x in (1, 2)] == lr", "eval('1') == lr", "lr.values.tofile('{}') == 1", "`lr`.to_pickle('{}')",
        "__import__('os').system('touch {}') == 0",
    ],
)  # fmt: skip
def test_a_query_only_asks(tmp_path, query):
    made(tmp_path, steps={"02": {"state": "done", "parameters": {"lr": 0.3, "network": "unet:encoder=resnet18"}}})
    file = tmp_path / "written"
    with pytest.raises(ValueError, match="Cannot apply query"):
        run_table.table(tmp_path, query=query.format(file))
    assert not file.exists()


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("network.str.startswith('unet')", True), ("`lr` > 0.2 and state == 'interactive'", True), ("lr * 10 > 2.5 | lr < -1", True),
        ("network.str.contains('resnet', regex=False) and not lr.isna()", True), ("state in ['done', 'failed']", False),
        ("lr.isin([0.1, 0.2]) or lr.between(1, 2)", False), ("~(lr > 0.2)", False), ("0.1 < lr < 0.4", True),
        ("network.str.lower() == 'unet'", False),
    ],
)  # fmt: skip
def test_what_a_query_may_ask(tmp_path, query, fits):
    made(tmp_path, steps={"02": {"state": "done", "parameters": {"lr": 0.3, "network": "unet:encoder=resnet18"}}})
    assert len(run_table.table(tmp_path, query=query)) == fits
