"""Runs beside each other and selections, from the settings of notebook 06 to the explorer; runs by name to `geonb app`'s."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from made import made_arrays, made_predictions

from geonb.runs import explore as runs_explore
from geonb.runs.run import Run


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two runs over one store, and what was handed to the screen."""
    store, shown = SimpleNamespace(arrays=made_arrays((40, 50)), path=tmp_path / "store"), []
    for name, seed in (("2026-01-01_calm-owl", 0), ("2026-01-02_wise-elk", 1)):
        tree = made_predictions((40, 50))
        tree.attrs["run"] = name
        scene = tree["scene"].to_dataset()
        tree["scene"] = xr.DataTree(scene.assign(label=scene.label.roll(y=seed)))
        tree.to_zarr(tmp_path / "runs" / "segmentation" / name / "predictions.zarr", consolidated=True)
    monkeypatch.setattr(runs_explore, "open_run", lambda workload, name: Run(tmp_path / "runs" / workload / name))
    monkeypatch.setattr(runs_explore, "show", lambda explorer: shown.append(explorer) or explorer)
    monkeypatch.setattr(runs_explore, "open_predictions", lambda path: opened(path))
    return SimpleNamespace(path=tmp_path, store=store, runs=tmp_path / "runs" / "segmentation")


def opened(path):
    tree = xr.open_datatree(path, engine="zarr", chunks=None, decode_coords="all")
    tree.encoding["source"] = str(path)
    return tree


def test_another_run_beside_is_a_choice_that_reads_its_own_predictions(world):
    first = opened(world.runs / "2026-01-01_calm-owl" / "predictions.zarr")
    explorer = runs_explore.explore("segmentation", first, world.store, beside="2026-01-02_wise-elk")
    assert list(explorer.dims[0].labels) == ["2026-01-01_calm-owl", "2026-01-02_wise-elk"]
    every = {"y": slice(None, None, 1), "x": slice(None, None, 1)}
    labels = [explorer.layer("label").read(0, {"run": run, "model": 0}, every) for run in (0, 1)]
    np.testing.assert_array_equal(labels[0], first["scene"].label.isel(model=0).values)
    np.testing.assert_array_equal(labels[1], np.roll(labels[0], 1, axis=0))


def test_a_selection_is_found_in_the_run_and_outlined(world):
    run = world.runs / "2026-01-01_calm-owl"
    (run / "selection.csv").write_text("kind,source,y,x,height,width\nA,scene,0,0,8,8\n")
    predictions = opened(run / "predictions.zarr")
    explorer = runs_explore.explore("segmentation", predictions, world.store, selection="selection.csv")
    assert [one["title"] for one in explorer.outlines] == ["selected: kind A (1)"]
    with pytest.raises(FileNotFoundError, match=r"No selection other\.csv; looked for .*calm-owl/other\.csv"):
        runs_explore.explore("segmentation", predictions, world.store, selection="other.csv")


def test_runs_of_two_workloads_are_not_laid_beside_each_other(world):
    with pytest.raises(ValueError, match=r"2 workloads \(conflict, segmentation\)"):
        runs_explore.explorer_of([world.runs / "2026-01-01_calm-owl", world.path / "runs" / "conflict" / "x"])


def test_a_workload_without_a_map_says_so_in_words(monkeypatch):
    monkeypatch.setattr(runs_explore, "described", lambda workload, predictions, store: "**No map.**")
    assert runs_explore.explore("mine", None, None).data == "**No map.**"
