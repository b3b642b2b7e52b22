"""`geonb run seismic` on a few simulated events: what a reader of the run would check."""

import os
import subprocess
import sys
import time
from pathlib import Path

import chains
import numpy as np
import one_node_slurm
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import f1_score, roc_auc_score

import geonb
from geonb import registry, runs, store
from geonb.base import files
from geonb.batch import jobs
from geonb.waveforms import catalogues
from geonb.workloads.seismic import bulletin, dataset, examples, metrics, predict

pytestmark = pytest.mark.notebook

ROOT = Path(__file__).parents[1]
SMALL = {
    "waveforms": "array/waveforms", "events": "array/events.xml", "stations": "array/stations.xml", "window_s": 60, "before_s": 15,
    "noise_s": 80, "network": "resnet1d:width=4,blocks=1-1", "epochs": 2, "batch": 8, "samples": 40, "clusters": 3, "draws": 50, "show": 8,
    "precision": "float32", "watch_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run and what the command line said."""
    folder = chains.project(tmp_path_factory.mktemp("seismic"))
    examples.simulate(folder / "array", events=24, seed=3)
    told = chains.run_anywhere("seismic", folder, SMALL)
    return runs.open_run("seismic", root=folder), told


def test_the_run_is_whole_and_stands_beside_its_baselines(made):
    run, told = made
    runs.check_run(run.path, deep=True)
    geonb.check_store(run.store, deep=True)
    geonb.check_predictions(run.predictions, deep=True)
    assert list(run.info["steps"]) == ["01_dataset_seismic", *registry.SHARED_STEPS]
    assert all(f"\n{name} " in told for name in ("network", "majority", "sta-lta", "p/s-ratio"))


def test_windows_lie_where_taup_says(made):
    run, _ = made
    samples = store.open_store(run.store)
    assert samples.channels == list(dataset.CHANNELS.values()) and samples.meta["rate_hz"] == 40
    events = samples.index[samples.index["kind"] != "noise"]
    import obspy

    origins = {
        e.resource_id.id.split("/")[-1]: e.preferred_origin() or e.origins[0]
        for e in obspy.read_events(str(run.path.parents[2] / "array/events.xml"))
    }
    model = obspy.taup.TauPyModel("iasp91")
    for row in events.head(6).itertuples():
        depth = origins[row.id].depth / 1000
        arrivals = model.get_travel_times(depth, row.distance_km / 111.195, ("p", "P", "Pn", "Pg"))
        p = np.datetime64(origins[row.id].time.datetime) + np.timedelta64(round(1e9 * arrivals[0].time), "ns")
        late = (row.time - pd.Timestamp(p)).total_seconds()
        assert late == pytest.approx(-SMALL["before_s"], abs=1.0)  # degrees of the ellipsoid, depths to a kilometre
    noise = samples.index[samples.index["kind"] == "noise"].set_index("id")["time"]
    both = events.set_index("id")["time"]
    apart = (both - noise.reindex(both.index)).dropna().dt.total_seconds()
    assert len(apart) and (apart >= SMALL["window_s"] - SMALL["before_s"]).all()


def test_no_event_is_in_two_splits(made):
    run, _ = made
    samples = store.open_store(run.store)
    proof = samples.check_split()
    assert proof["leaks"] == 0 and sum(proof["counts"]["events"].values()) == samples.index["id"].nunique()
    last = samples.index.groupby("split", observed=True)["time"].max()
    first = samples.index.groupby("split", observed=True)["time"].min()
    assert last["train"] < first["val"] and last["val"] < first["test"]


def test_scores_are_those_of_scikit_learn(made):
    run, _ = made
    data = xr.open_zarr(run.predictions, group="windows").load()
    scores = xr.open_dataset(run.scores)
    test = data["split"].to_numpy() == 3
    truth = metrics.truth_of(data["truth"].to_numpy())[test]
    for model in ("network", "p/s-ratio"):
        told = data["probability"].sel(model=model).to_numpy()[test]
        likeliest = metrics.joint(told).argmax(-1)
        assert float(scores["score"].sel(model=model, split="test", metric="macro_f1")) == pytest.approx(
            f1_score(truth, likeliest, labels=np.unique(truth), average="macro", zero_division=0)
        )
        events = truth > 0
        assert float(scores["score"].sel(model=model, split="test", metric="classifier_auroc")) == pytest.approx(
            roc_auc_score(truth[events] == 2, told[events, 1]), abs=0.1
        )
    votes = predict.votes_of(data)
    assert len(votes) == data.sizes["model"] * len(set(zip(data["id"].values, data["kind"].values, strict=True)))


def test_the_report_leads_with_both_heads_beside_baselines(made):
    run, _ = made
    text = (run.path / "report.html").read_text()
    assert all(
        word in text for word in ("Earthquake, explosion or noise", "detector f1", "classifier auroc", "p/s-ratio")
    )
    first = text.partition('id="split"')[0]
    scores = xr.open_dataset(run.scores).sel(model="network", split="test", metric="macro_f1")
    assert float(scores["score"]) == pytest.approx(float(scores["vote_score"]))  # of one array there is nobody to vote
    assert first.count("<table>") == 1 and "by the vote of all stations that saw them: the same numbers" in first
    assert text.count("Nothing in this store says where on Earth") == 1, "it stands in the code, and is not printed"
    assert "What stations saw of the event" in text and "places of samples; on the globe: their middle" in text


def test_the_report_plays_every_epoch(made):
    run, _ = made
    text = (run.path / "report.html").read_text()
    assert 'aria-label="Pictures of epochs"' in text and [f'data-epoch="{e}"' in text for e in (1, 2, 3)] == [1, 1, 0]
    samples = store.open_store(run.store)
    for epoch in (1, 2):
        counts = pd.read_csv(run.path / "epochs" / f"confusion-{epoch:04}.csv")
        kinds = samples.index.query("split == 'val'")["kind"].value_counts()
        true = counts.groupby("true")["count"].sum()
        assert all(true.get(kind, 0) == kinds.get(kind, 0) for kind in metrics.KINDS)


def test_live_that_is_killed_and_started_again_tells_the_same(made, monkeypatch):
    """kill -9 in the middle of a replay; and notebook 08 over what was told."""
    run, _ = made
    root = run.path.parents[2]
    events = catalogues.read_events(str(root / "array" / "events.xml")).sort_values("time")
    until = str(events["time"].iloc[2] + pd.Timedelta("10 min"))

    def command(out, speed):
        line = [
            Path(sys.executable).with_name("geonb"),
            "live",
            run.name,
            "--from",
            f"replay:{root}/array/waveforms@{speed}",
        ]
        return [*map(str, line), "--until", until, "--out", str(root / out)]

    env = {**os.environ, "GEONB_ROOT": str(root)}
    done = subprocess.run(command("clean", "max"), cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "Live: " in done.stdout, done.stderr
    watching = subprocess.Popen(
        command("killed", "100"), cwd=root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    steps, end = root / "killed" / "steps", time.monotonic() + 120
    while (
        sum(len(path.read_bytes().splitlines()) for path in steps.glob("*.csv")) < 60
        and watching.poll() is None
        and time.monotonic() < end
    ):
        time.sleep(0.1)
    assert watching.poll() is None, "it was over before it could be killed"
    watching.kill()
    watching.wait()
    done = subprocess.run(command("killed", "max"), cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "gone on with" in done.stderr + done.stdout, done.stderr
    clean, again = (bulletin.read(root / name) for name in ("clean", "killed"))
    pd.testing.assert_frame_equal(again, clean, rtol=0, atol=2e-3)
    other = subprocess.run(
        [*command("clean", "max"), "--how", "events:threshold=0.9"], cwd=root, env=env, capture_output=True, text=True
    )
    assert other.returncode == 2 and "threshold" in other.stderr

    import papermill

    monkeypatch.setenv("GEONB_ROOT", str(root))

    notebook = papermill.execute_notebook(
        str(ROOT / "notebooks" / "08_live_seismic.ipynb"), str(root / "08.ipynb"), cwd=str(root), progress_bar=False,
        parameters={"run": run.name, "folder": "clean", "events": "array/events.xml"},
    )  # fmt: skip
    told = "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "catalogued events in" in told and told.count("image/png") >= 2
    assert (list((root / "clean" / "events").glob("*.gif")) != []) == (
        list((root / "clean" / "events").glob("*.npz")) != []
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(bool(one_node_slurm.missing()), reason=f"no Slurm can be started: {one_node_slurm.missing()}")
def test_a_training_whose_walltime_ends_in_it_scores_as_one_that_was_not_stopped(made, tmp_path):
    """Slurm gives the training two minutes at a time; it submits itself again, and nobody helps."""
    folder, long = (
        made[0].path.parents[2],
        SMALL | {"epochs": 75, "patience": 75, "watch_every": 0, "tracker": "tracking:Slow"},
    )
    chains.run("seismic", folder, long, "--steps", "1-4")
    unbroken = runs.open_run("seismic", root=folder)
    with one_node_slurm.slurm(tmp_path):
        step = "2:cores=1,walltime=00:02:00,warn=45"
        told = chains.run("seismic", folder, long, "--steps", "1-4", "--on", chains.JOB, "--job", step)
    broken = runs.open_run("seismic", root=folder)
    record = files.read_json(broken.path / jobs.RECORD)
    assert "The walltime of 00:02:00 is over in 45 s" in told and broken.path != unbroken.path
    codes = [job["code"] for job in record["jobs"] if job["piece"] == 1]
    assert len(codes) > 1 and codes == [5] * (len(codes) - 1) + [0] and record["ended"] == 0
    timed = ["seconds", "time"]
    logs = [pd.read_csv(run.path / "log.csv") for run in (unbroken, broken)]
    assert len(logs[1]) == 75
    pd.testing.assert_frame_equal(*(log.drop(columns=timed, errors="ignore") for log in logs))
    with xr.open_dataset(unbroken.scores) as ours, xr.open_dataset(broken.scores) as theirs:
        xr.testing.assert_equal(ours, theirs)
