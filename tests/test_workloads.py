"""The registry: names, import paths, and what it says of what it does not know."""

import dataclasses
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from geonb import registry
from geonb.base import specs
from geonb.workloads import conflict

ROOT = Path(__file__).parents[1]


def test_every_record_is_whole():
    for name in registry.WORKLOADS:
        record = registry.get(name)
        assert record.name == name and record.title and record.question.endswith("?")
        for path in (
            record.task,
            record.predict,
            record.export,
            record.check_predictions,
            record.score,
            record.tiles,
            record.explore,
            record.compare,
            *record.stores.values(),
            *record.baselines,
        ):
            assert callable(specs.load(path)), path


def test_a_record_of_your_own(monkeypatch):
    mine = registry.Workload("mine", "Mine", "What?", "notebooks/01.ipynb", "mean_iou")
    module = types.ModuleType("my_package")
    module.RECORD, module.OTHER = mine, 3
    monkeypatch.setitem(sys.modules, "my_package", module)
    assert registry.get("my_package:RECORD") is mine
    with pytest.raises(ValueError, match="is a int, not a"):
        registry.get("my_package:OTHER")
    with pytest.raises(ValueError, match="has no 'MISSING'"):
        registry.get("my_package:MISSING")


def test_a_file_names_only_what_the_user_named_before(monkeypatch):
    monkeypatch.setattr(registry, "_NAMED", {})
    mine = registry.Workload("mine", "Mine", "What?", "notebooks/01.ipynb", "mean_iou")
    module = types.ModuleType("my_package")
    module.RECORD = mine
    monkeypatch.setitem(sys.modules, "my_package", module)
    for name in ("mine", "my_package:RECORD"):
        with pytest.raises(ValueError, match=r"not known in this process.*name it yourself first"):
            registry.known(name)
    registry.get("my_package:RECORD")
    assert registry.known("mine") is registry.known("my_package:RECORD") is mine
    assert registry.known("conflict") is conflict.RECORD


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'segmentation'"):
        registry.get("segmentatoin")
    with pytest.raises(ValueError, match="PYTHONPATH"):
        registry.get("no_such_package:RECORD")


def test_the_map_of_the_package_names_every_module():
    import geonb

    lines = geonb.__doc__.splitlines()
    named = {name.strip() for line in lines if line and not line.startswith(" ") for name in line.split(",")}
    assert set(geonb._modules()) <= named
    assert callable(geonb.settle) and callable(geonb.predict) and geonb.runs.table


def test_import_is_light():
    heavy = ["torch", "xarray", "pandas", "rasterio", "matplotlib", "lightning", "sklearn", "geopandas"]
    code = f"import sys, geonb, geonb.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_toy_and_its_page_show_every_field(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "toy"))
    records = [registry.get("toy:RECORD"), *map(registry.get, registry.WORKLOADS)]
    page = (ROOT / "docs" / "workload.md").read_text().split("## The record")[1].split("\n## ")[0]
    said = {}
    for names, mark in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (needed|optional) \|", page, re.M):
        said |= dict.fromkeys(re.findall(r"\w+", names), mark)
    assert set(said) == {field.name for field in dataclasses.fields(registry.Workload)}
    for field in dataclasses.fields(registry.Workload):
        for record in records if said[field.name] == "needed" else []:
            assert getattr(record, field.name), f"{record.name} has no {field.name}, which the page calls needed"
    shown = {field.name for field in dataclasses.fields(registry.Workload) if getattr(records[0], field.name)}
    assert set(said) - shown == {"former_tasks", "live"}, (
        "a new workload has had no earlier name, and tiles do not come live"
    )
