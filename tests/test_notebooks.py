"""The notebooks: their rules, read off the files; and the whole chain, run on small data."""

import ast
import html
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import nbformat
import numpy as np
import pytest
import viewing
import xarray as xr

import geonb
from geonb import parameters, registry, runs
from geonb.runs import runner
from geonb.workloads.segmentation import examples

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path, kind):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestRules:
    def test_shape(self, path):
        code, prose = cells(path, "code"), "\n".join(source(c) for c in cells(path, "markdown"))
        assert len(re.findall(r"^# ", prose, flags=re.M)) == 1, "one H1"
        assert 4 <= len(re.findall(r"^## ", prose, flags=re.M)) <= 7, "4-7 sections"
        assert all(len(source(c).splitlines()) <= 20 for c in code), "cells of at most 20 lines"
        assert not any(isinstance(n, ast.ClassDef) for c in code for n in ast.walk(ast.parse(source(c))))
        imports = ast.parse(source(code[0])).body
        assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in imports), "the first code cell imports"
        assert code[1]["metadata"]["tags"] == ["parameters"]
        assert "Next" in source(code[-1]) or "last notebook" in source(code[-1]), "the last cell says what is next"

    def test_parameters(self, path):
        declared = parameters.read(path)
        assert len(declared) <= 18
        assert all(d.help for d in declared.values()), "each has a comment"
        own = path.stem.removeprefix("01_dataset_")
        known = set(parameters.PARAMETERS) | (set(registry.get(own).parameters) if own in registry.WORKLOADS else set())
        if path.stem not in registry.SHARED_STEPS:  # of one workload alone, as 07
            known |= {
                n for w in registry.WORKLOADS if path.stem in registry.get(w).steps for n in registry.get(w).parameters
            }
        if any(path.stem in registry.get(w).steps for w in registry.WORKLOADS) or path.stem.startswith("01"):
            assert set(declared) <= known, "one name means one thing in every notebook"

    def test_no_outputs(self, path):
        assert all(not c["outputs"] and c["execution_count"] is None for c in cells(path, "code"))

    def test_no_branch_on_the_workload(self, path):
        if path.stem.startswith("01"):
            return
        for cell in cells(path, "code"):
            for node in ast.walk(ast.parse(source(cell))):
                if isinstance(node, ast.If | ast.IfExp):
                    assert not re.search(r"workload|record\.name", ast.unparse(node.test)), ast.unparse(node.test)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own around the notebooks as they are."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.setenv("GEONB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("workload", sorted(registry.WORKLOADS))
@pytest.mark.parametrize(("name", "value"), [("loss", "dise"), ("network", "unett"), ("optimizer", "adam:momentum=1")])
def test_a_wrong_option_in_the_notebook_makes_no_run_folder(project, workload, name, value):
    imports, declared, *code = map(source, cells(ROOT / "notebooks" / "02_training.ipynb", "code"))
    space = {}
    exec(f"{imports}\n{declared}", space)
    space |= {"workload": workload, name: value}
    with pytest.raises(ValueError, match=f"Parameters are not right:\n  {name} = '{value}' is not right"):
        exec(next(text for text in code if "start_run" in text), space)
    assert not (project / "runs").exists()


@pytest.mark.notebook
def test_a_sixth_workload_runs_through_the_shared_notebooks(project, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "toy"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "toy"), prepend=os.pathsep)
    run = runner.run("toy:RECORD")
    runs.check_run(run.path, deep=True)
    geonb.check_store(run.store, deep=True)
    geonb.check_predictions(run.predictions, deep=True)
    with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
        assert list(scores["model"].values) == ["network", "same-everywhere"]
        network, mean = scores["score"].sel(split="test", metric="rmse").values
        assert 0 < network < mean, "less is better, and it has learnt something"
    assert f"{network:.3f} [" in geonb.scores.summary(geonb.scores.read_scores(run.scores)), (
        "a metric that the spine does not know leads, too"
    )
    report = (run.path / "report.html").read_text()
    assert registry.get("toy:RECORD").question in report and "imulated" in report
    pages = [html.unescape(inner) for inner in re.findall(r"srcdoc='([^']*)'", report)]
    frozen = viewing.facts_of(next(page for page in pages if "map of the tiles" in page))
    (shown,) = viewing.unpacked(frozen["facts"], frozen["data"])
    predicted = geonb.open_predictions(run.predictions)["relief"]["mean"]
    for values, true in zip(shown["mean"], predicted.values, strict=True):
        step = shown["truth"][np.isfinite(shown["truth"])].max() / 254
        np.testing.assert_allclose(
            np.sort(values[np.isfinite(values)]), np.sort(true).clip(0, 254 * step), atol=0.51 * step
        )


@pytest.mark.notebook
def test_two_processes_train_in_the_shared_notebook(project, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "toy"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "toy"), prepend=os.pathsep)
    run = runner.run("toy:RECORD", {"devices": "cpu:2", "epochs": 2}, steps="1-2")
    assert [(one["from_epoch"], one["processes"]) for one in run.info["trained_by"]] == [(1, 2)]
    assert len((run.path / "log.csv").read_text().splitlines()) == 3
    said = "".join(
        output.text
        for cell in nbformat.read(run.notebooks / "02_training.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    )
    assert "2 processes (cpu) share each batch" in said and said.count("epoch 2/2  train_loss") == 1
    assert geonb.load_model(run.path).card["best"]["epochs_run"] == 2


@pytest.mark.notebook
def test_the_main_chain_on_small_data(finished, monkeypatch):
    folder, told = finished
    monkeypatch.setenv("GEONB_ROOT", str(folder))
    run = runs.open_run("segmentation")
    runs.check_run(run.path, deep=True)
    geonb.check_store(run.store, deep=True)
    geonb.check_predictions(run.predictions, deep=True)
    assert "pixel-linear" in told and "report.html" in told
    assert {p.name for p in (run.path / "maps").iterdir()} >= {"image_class.tif", "image_probability.tif"}
    assert run.info["headline"]["metric"] == "mean_iou" and all(
        s["peak_memory_mb"] > 50 for s in run.info["steps"].values()
    )
    assert str(folder) not in (run.path / "report.html").read_text().split('id="environment"')[0], (
        "paths of this machine"
    )


@pytest.mark.notebook
def test_two_datasets_of_one_registry_train_together_and_are_scored_apart(project):
    """Of different pixel, coordinate system and kind of mask, with a network, loss and sampler of the long list."""
    examples.write_catalogue(project / "sets", (128, 160))
    small = {
        "datasets": "sets/datasets.yaml:ridge+coast", "resolution": 35, "patch": 24, "stride": 24, "block": 24, "epochs": 1,
        "network": "segmentalist:layer_blocks=1-1,initial_filters=8,attention=spatial,deep_supervision=true",
        "loss": "cross-entropy+lovasz", "augment": "flips,fancy-pca", "sampler": "shuffle:balance=dataset",
        "optimizer": "adamw:schedule=plateau", "rasters": "sets/shore/image.tif", "polygons": 20_000.0,
        "corners": "square", "draws": 20,
    }  # fmt: skip
    run = runner.run("segmentation", small, steps="1-4")
    facts = {s["name"]: s for s in geonb.open_store(run.store).meta["sources"]}
    assert {(s["dataset"], s["crs"]) for s in facts.values()} == {("ridge", "EPSG:32617"), ("shore", "EPSG:3857")}
    assert all(s["pixel_m"] == pytest.approx(35, rel=0.25) for s in facts.values()), (
        "Web Mercator metres are not metres"
    )
    with xr.open_dataset(run.scores, engine="h5netcdf") as scores:
        assert sorted(scores["dataset"].values) == ["ridge", "shore"]
        assert np.isfinite(scores["source_score"].sel(split="test", metric="accuracy")).all()
    report = (run.path / "report.html").read_text()
    assert "Each source" in report and all(name in report for name in facts)
    outlines = gpd.read_file(run.path / "maps" / "image_polygons.gpkg")
    assert (outlines["area_m2"] >= 20_000).all() and outlines.crs == "EPSG:3857" and outlines["squared"].dtype == bool


@pytest.mark.notebook
def test_resuming_what_is_done_does_nothing_and_what_is_gone_is_made_again(finished):
    folder, _ = finished
    geonb, environment = Path(sys.executable).with_name("geonb"), {**os.environ, "GEONB_ROOT": str(folder)}
    resume = [geonb, "run", "segmentation", "--resume"]  # every step: other tests find the run whole again
    again = subprocess.run(resume, cwd=folder, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count("skipped") == 6, again.stdout + again.stderr
    scores = runs.open_run("segmentation", root=folder).scores
    scores.unlink()
    again = subprocess.run(resume, cwd=folder, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count("skipped") == 3 and scores.is_file(), (
        again.stdout + again.stderr
    )


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_name_that_a_notebook_takes_from_a_module_is_there(path):
    tree = ast.parse("\n".join(source(cell) for cell in cells(path, "code")))
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "geonb":
            package = importlib.import_module(node.module)
            for name in node.names:  # a submodule, or what a module gives
                where = f"{node.module}.{name.name}"
                found = getattr(package, name.name, None)
                modules[name.asname or name.name] = importlib.import_module(where) if found is None else found
    modules["geonb"] = geonb
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{node.value.id}.{node.attr}"


def test_defaults_of_every_workload_fit_its_notebooks():
    for record in map(registry.get, registry.WORKLOADS):
        known = dict(parameters.PARAMETERS) | dict(record.parameters)
        assert set(record.defaults) <= set(known)
        assert (ROOT / record.dataset).is_file()
        assert all((ROOT / "notebooks" / f"{step}.ipynb").is_file() for step in record.steps)
        parameters.settle(record.name, **record.defaults)


def test_the_real_size_settings_are_known():
    for path in (ROOT / "notebooks" / "parameters").glob("*.yaml"):
        record = registry.get(path.stem)
        notebooks = [ROOT / record.dataset, *(ROOT / "notebooks" / f"{s}.ipynb" for s in record.steps)]
        parameters.check({n.stem: parameters.read(n) for n in notebooks}, parameters.load_yaml(path), record)
