"""`kill -9` in the middle of each step, then `--resume`: the same arrays and scores as a run that was left in peace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from geonb import runs
from geonb.workloads.segmentation import examples

ROOT = Path(__file__).parents[1]
GEONB = str(Path(sys.executable).with_name("geonb"))
SETTINGS = {
    "images": "image.tif", "masks": "mask.tif", "patch": 32, "stride": 8, "block": 32, "epochs": 4, "samples": 40, "draws": 100,
    "network": "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8", "seed": 3, "precision": "float32",
}  # fmt: skip
STEPS = ("01_dataset_segmentation", "02_training", "03_prediction", "04_analytics", "05_interpretation", "06_explore")
CONFLICT = {
    "region": "box:-5,6,1,12", "period": "1999-01:2006-12", "steps": 6, "horizon": 2, "epochs": 8, "batch": 4, "seed": 3,
    "network": "unet_lstm:filters=4,depth=1,dropout=0.3", "precision": "float32",
}  # fmt: skip


def state(run: Path, step: str) -> str | None:
    try:
        return json.loads((run / "run.json").read_text())["steps"].get(step, {}).get("state")
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def in_the_middle(run: Path, step: str) -> bool:
    """Whether a step has something half done: an epoch of several, a band of several, else its kernel a while at work."""
    if step == "02_training":
        return (run / "checkpoints" / "last.ckpt").exists()
    if step == "03_prediction":
        done = run / "predictions.zarr.done.json"
        return done.exists() and any("network" in key for key in json.loads(done.read_text())["rows"])
    return state(run, step) == "running"


def start(workload: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen([GEONB, "run", workload, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)  # fmt: skip


def run_killed(project: Path, workload: str, steps: tuple[str, ...], options: list[str]) -> tuple[runs.Run, Path]:
    """A run that was left in peace, and one that was killed in every one of its steps and resumed to its end."""
    unbroken = start(workload, *options)
    assert unbroken.wait(600) == 0, unbroken.stdout.read()
    left_in_peace = runs.open_run(workload)
    subprocess.run(["rm", "-rf", str(project / "data" / workload)], check=True)  # step 1 has work to do again
    killed, resume = [], []
    for step in steps:
        process = start(workload, *(resume or options))
        deadline = time.time() + 300
        while time.time() < deadline and process.poll() is None:
            run = max(
                (p for p in (project / "runs" / workload).iterdir() if p.is_dir()), key=lambda p: p.stat().st_ctime
            )
            if run != left_in_peace.path and state(run, step) == "running" and in_the_middle(run, step):
                time.sleep(1.0 if step[:2] in {"01", "04", "05", "06"} else 0)
                break
            time.sleep(0.02)
        if process.poll() is None and state(run, step) == "running":
            killed.append(step)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        resume = ["--resume", run.name, *(["--steps", f"1-{len(steps)}"] if len(steps) < len(STEPS) else [])]
    assert killed == list(steps), "every step was killed while it ran"
    last = start(workload, *resume)
    assert last.wait(600) == 0, last.stdout.read()
    return left_in_peace, run


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.timeout(1500)
def test_killed_in_every_step(project):
    examples.write_scene(project, *examples.simulate((256, 224), seed=2))
    options = [part for key, value in SETTINGS.items() for part in ("-p", f"{key}={value}")]
    left_in_peace, run = run_killed(project, "segmentation", STEPS, options)
    with (
        xr.open_dataset(left_in_peace.scores, engine="h5netcdf") as expected,
        xr.open_dataset(run / "scores.nc", engine="h5netcdf") as found,
    ):
        xr.testing.assert_equal(expected, found)
    for name in ("predictions.zarr", "embeddings.zarr"):
        one = xr.open_datatree(left_in_peace.path / name, engine="zarr", chunks={})
        two = xr.open_datatree(run / name, engine="zarr", chunks={})
        xr.testing.assert_equal(one, two)
    assert (left_in_peace.path / "log.csv").read_text() == (run / "log.csv").read_text()
    runs.check_run(run)


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.timeout(900)
def test_forecasts_killed_in_training_and_prediction(project):
    """With dropout, whose draws must be the same again; scores and the rest follow from what is compared here."""
    options = [part for key, value in CONFLICT.items() for part in ("-p", f"{key}={value}")]
    steps = ("01_dataset_conflict", "02_training", "03_prediction")
    left_in_peace, run = run_killed(project, "conflict", steps, [*options, "--steps", "1-3"])
    assert (left_in_peace.path / "log.csv").read_text() == (run / "log.csv").read_text()
    weights = "checkpoints/best.safetensors"
    assert (left_in_peace.path / weights).read_bytes() == (run / weights).read_bytes()
    one, two = (xr.open_datatree(p / "predictions.zarr", engine="zarr", chunks={}) for p in (left_in_peace.path, run))
    xr.testing.assert_equal(one, two)
    assert float(one["grid/spread"].max()) > 0
    runs.check_run(run)
