"""A file of a product is lost or changed: the next step names it, and `--resume` makes the product again, with the same scores."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import harm
import pytest
import xarray as xr

from geonb import runs
from geonb.rasters import landsat

ROOT = Path(__file__).parents[1]
GEONB = str(Path(sys.executable).with_name("geonb"))
SETTINGS = {
    "images": "image.tif", "masks": "mask.tif", "patch": 32, "stride": 8, "block": 32, "epochs": 2, "samples": 40, "draws": 100,
    "network": "unet:encoder=resnet18,encoder_depth=3,decoder_channels=32-16-8", "seed": 3, "precision": "float32",
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(workload, *arguments):
    return subprocess.Popen([GEONB, "run", workload, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)  # fmt: skip


@pytest.mark.skipif("GEONB_KILLS" not in os.environ, reason="minutes; GEONB_KILLS=4 asks for it")
@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.timeout(1500)
def test_what_was_damaged_is_named_and_made_again(project):
    """Lost and changed chunks of predictions and store: never other scores with exit code 0."""
    landsat.write_scene(project, *landsat.simulate((160, 192), seed=2))
    options = [part for key, value in SETTINGS.items() for part in ("-p", f"{key}={value}")]
    first = start("segmentation", *options, "--steps", "1-4")
    assert first.wait(600) == 0, first.stdout.read()
    run = runs.open_run("segmentation")
    with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
        expected = scores.load()
    resume = ("--resume", run.name, "--steps")
    truth = next(f for f in harm.files_of(run.predictions) if "truth/c" in str(f))
    inputs = next(f for f in harm.files_of(run.store) if "inputs/c" in str(f))
    for file, kind in ((truth, "deleted"), (truth, "flipped"), (inputs, "deleted"), (inputs, "flipped")):
        harm.HARMS[kind](file)
        if file == truth:
            run.scores.unlink()  # else nobody reads the truth
        shutil.rmtree(os.environ["GEONB_SCRATCH"], ignore_errors=True)
        if file == truth or kind == "flipped":
            step = "4" if file == truth else "2"
            if file == inputs:
                (run.checkpoints / "model.json").unlink()  # else nobody reads the inputs
                (run.checkpoints / "training.txt").unlink()
            told = start("segmentation", *resume, step)
            assert told.wait(600) == 3, told.stdout.read()
            said = told.stdout.read()
            assert f"/c/{str(file).partition('/c/')[2]} is" in said and "--resume" in said, said
        made_again = start("segmentation", *resume, "1-4")
        assert made_again.wait(600) == 0, made_again.stdout.read()
        assert "runs again" in made_again.stdout.read()
        with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
            xr.testing.assert_equal(expected, scores)
        runs.check_run(run, deep=True)
