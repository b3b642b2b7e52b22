"""Whatever is done to a file of a finished run: `check_run` names it, and resuming begins at the step that made it."""

import harm
import pytest

from geonb import runs
from geonb.base import manifest
from geonb.runs import plan, resume
from geonb.runs.run import Run

pytestmark = pytest.mark.notebook
STEPS = ("01_dataset_segmentation", "02_training", "03_prediction", "04_analytics", "05_interpretation", "06_explore")
# what is not a product: written on and on, or only of use to a training that goes on
PASSING = ("log.txt", "training.txt", "predictions.zarr.done.json")


@pytest.fixture
def run(finished, monkeypatch):
    monkeypatch.setenv("GEONB_ROOT", str(finished[0]))
    return runs.open_run("segmentation", root=finished[0])


def products(run: Run):
    """Every file that the run made; of Zarr, where others look at each, the largest and the least. What its jobs were is no product."""
    made = [f for f in harm.files_of(run.path) if f.parent != run.path / "jobs"]
    files = [f for f in made if not (f.name in PASSING or f.name.startswith(".") or f.suffix == ".ckpt")]
    inside = sorted((f for f in files if ".zarr/" in str(f)), key=lambda file: file.stat().st_size)
    return [f for f in files if f not in inside or f in (*inside[:2], *inside[-2:])]


def test_every_harm_to_a_product_is_named_and_nothing_else_is_raised(run):
    runs.check_run(run, deep=True)
    passed, unnamed = [], []
    for i, file in enumerate(products(run)):
        for kind in list(harm.HARMS)[i % 4 :: 4]:  # one each: loading a model takes its time
            # run.json changes all the time and has no sum; without a manifest it is Zarr of an earlier geonb
            if (file.name, kind) in (("run.json", "flipped"), (manifest.MANIFEST, "deleted")):
                continue
            with harm.harmed(file, kind):
                try:
                    runs.check_run(run, deep=True)
                    passed.append((kind, file))
                except ValueError as error:
                    if file.name not in str(error) or "cannot be checked to its end" in str(error):
                        unnamed.append((kind, file, str(error)))
    assert passed == [] and unnamed == []
    runs.check_run(run, deep=True)


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"steps": []}', '{"steps": {"01_x": null}}', '{"steps": null}'])
def test_a_run_json_that_is_something_else_is_a_fault(run, text):
    file = run.path / "run.json"
    with harm.harmed(file, "cut"):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"run\.json"):
            runs.check_run(run, deep=True)
        with pytest.raises(ValueError, match=r"run\.json"):
            plan.prepare("segmentation", resume=run.name)


def again(run):
    """Step -> why it runs again."""
    planned, upstream, found = plan.prepare("segmentation", resume=run.name), None, {}
    for step in planned.steps:
        before = run.info["steps"].get(step.name, {})
        found[step.name] = resume.changes(run, step, before, resume.signature(planned, step, upstream))
        upstream = step.name
    return {step: why for step, why in found.items() if why}


@pytest.mark.parametrize("kind", ["deleted", "cut", "emptied"])
def test_resuming_begins_at_the_step_whose_output_is_damaged(run, kind):
    assert again(run) == {}
    chunks = [f for f in harm.files_of(run.store) if "/c/" in str(f)]
    made = {
        "01_dataset_segmentation": [*chunks, run.store / "index.parquet", run.store / "store.json"],
        "02_training": [run.checkpoints / name for name in ("model.json", "best.safetensors")] + [run.path / "log.csv"],
        "03_prediction": [
            *run.predictions.glob("*/truth/c/0/0"),
            run.predictions / "zarr.json",
            *run.path.glob("maps/*"),
        ],
        "04_analytics": [run.scores, run.scores.with_suffix(".csv")],
        "05_interpretation": [run.embeddings / "embedding/zarr.json", *run.path.glob("transforms/*")],
    }
    assert all(len(files) > 1 for files in made.values())
    for step, files in made.items():
        for file in files:
            with harm.harmed(file, kind):
                found = again(run)
                assert next(iter(found)) == step and (file.name in found[step] or "gone" in found[step]), (file, found)
    for step in STEPS:
        with harm.harmed(run.notebooks / f"{step}.ipynb", kind):
            assert again(run) == {step: "the executed notebook"}


@pytest.mark.parametrize("file", ["checkpoints/best.safetensors", "scores.nc", "maps/report.csv"])
def test_a_changed_byte_of_a_file_is_noticed_by_its_sum(run, file):
    with harm.harmed(run.path / file, "flipped"):
        assert "its sum differs" in " ".join(again(run).values())


def test_a_notebook_that_was_opened_and_saved_is_none_the_worse(run):
    file = run.notebooks / "04_analytics.ipynb"
    with harm.harmed(file, "flipped"):
        file.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
        runs.check_run(run)
        assert again(run) == {}
        with pytest.raises(ValueError, match=r"notebooks/04_analytics.ipynb"):
            runs.check_run(run, deep=True)


def test_a_run_of_an_earlier_geonb_is_checked_as_before(run):
    before = (run.path / "run.json").read_bytes()
    manifests = {
        f: f.read_bytes() for f in (*harm.files_of(run.path), *harm.files_of(run.store)) if f.name == "manifest.json"
    }
    try:
        harm.unsealed(run.path)
        harm.unsealed(run.store)
        run.update(made=None)
        runs.check_run(run, deep=True)
        assert again(run) == {}
        with harm.harmed(run.scores, "cut"), pytest.raises(ValueError, match=r"scores\.nc cannot be read"):
            runs.check_run(run, deep=True)
        with (
            harm.harmed(run.checkpoints / "best.safetensors", "cut"),
            pytest.raises(ValueError, match=r"best\.safetensors"),
        ):
            runs.check_run(run, deep=True)
    finally:
        (run.path / "run.json").write_bytes(before)
        for file, content in manifests.items():
            file.write_bytes(content)
