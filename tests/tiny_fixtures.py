"""Fixtures of the runner's and the command line's tests; loaded with ``pytest_plugins``."""

import sys
from types import ModuleType

import pytest
import tiny


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of tiny notebooks, and we are in it."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "tinyload.py").write_text(tiny.WORKLOAD)
    for name, cells in (("01_dataset_tiny", tiny.DATASET), ("02_tiny", tiny.TRAIN), ("03_tiny", tiny.PREDICT)):
        tiny.write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", cells)
    monkeypatch.delenv("GEONB_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("tinyload", None)
    yield tmp_path
    sys.modules.pop("tinyload", None)


@pytest.fixture
def reported(monkeypatch):
    """Stand in for the report, which has tests of its own; the runs it was asked for."""
    asked = []
    fake = ModuleType("geonb.runs.report")
    fake.write_report = lambda path: asked.append(path) or path / "report.html"
    fake.write_index = lambda paths, out: out
    monkeypatch.setitem(sys.modules, "geonb.runs.report", fake)
    monkeypatch.setattr("geonb.runs.report", fake, raising=False)
    compare = ModuleType("geonb.runs.compare")
    compare.write_comparison = lambda paths, out, sort: (
        asked.append((tuple(paths), out, sort)) or out or "comparison.html"
    )
    monkeypatch.setitem(sys.modules, "geonb.runs.compare", compare)
    monkeypatch.setattr("geonb.runs.compare", compare, raising=False)
    return asked
