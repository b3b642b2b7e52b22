"""A run folder tells all that is wrong with it, and with what the run made, at once."""

import sys
import types

import pytest
import xarray as xr
from made_forecasts import small_predictions, small_scores

from geonb import registry
from geonb.runs.faults import check_run
from geonb.runs.run import new_run


def made(root, **facts):
    run = new_run("tiny", {"epochs": 3, "lr": None}, root)
    run.update(**facts)
    return run


def test_check_run_lists_every_fault(tmp_path):
    run = made(tmp_path, state="odd", store="data/gone", steps={"01_x": {"state": "done"}, "02_y": {"state": "?"}})
    (run.path / "environment.txt").unlink()
    with pytest.raises(ValueError, match="not right") as error:
        check_run(run.path)
    for fault in ("environment.txt", "'odd'", "data/gone", "01_x.ipynb is missing", "'?'"):
        assert fault in str(error.value)
    (run.path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        check_run(run.path)
    with pytest.raises(ValueError, match=r"No run\.json"):
        check_run(tmp_path)


def test_check_run_tells_what_is_wrong_with_what_the_run_made(tmp_path):
    """Of another workload than segmentation; what a step is still writing is not yet wrong."""
    scores, predictions = small_scores(), small_predictions()
    run = new_run("conflict", {}, tmp_path)
    scores.to_netcdf(run.scores, engine="h5netcdf")
    check_run(run)
    run.update(headline={"metric": "average_precision", "split": "test", "value": 2.0})
    (tmp_path / "data" / "torn").mkdir(parents=True)
    (tmp_path / "data" / "torn" / "store.json").write_text("{}")
    run.update(store="data/torn")
    predictions["grid"] = predictions["grid"].to_dataset().drop_vars("probability")
    predictions.to_zarr(run.predictions)
    with pytest.raises(ValueError) as error:
        check_run(run)
    for fault in ("torn is damaged", "no probability", "run.json says average_precision 2.0"):
        assert fault in str(error.value), str(error.value)
    steps = {f"{n}_x": {"state": "running"} for n in ("01", "03", "04")}
    run.update(steps=steps)
    assert check_run(run)["store"] == "data/torn"


def test_check_run_of_a_workload_of_your_own(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_NAMED", {})
    record = registry.Workload("mine", "Mine", "What?", "01.ipynb", "mean_iou", check_predictions="my_package:faults")
    module = types.ModuleType("my_package")
    module.RECORD, module.faults = record, lambda tree, deep: [f"deep is {deep}"]
    monkeypatch.setitem(sys.modules, "my_package", module)
    run = made(tmp_path)
    attrs = {"workload": "mine", "simulated": 1, "notes": [], "complete": 1}
    xr.DataTree(xr.Dataset(attrs=attrs)).to_zarr(run.predictions)
    with pytest.raises(ValueError, match="'mine' is not known in this process"):
        check_run(run)
    with pytest.raises(ValueError, match="- deep is True"):
        check_run(run, "my_package:RECORD", deep=True)
    with pytest.raises(ValueError, match="- deep is False"):  # named once, it is known
        check_run(run)
