"""What starting costs: import, help, and a notebook step against the same code as a script."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

LINES = ["import torch", "import xarray", "import lightning", "import cartopy.crs"]
# hvplot puts the code of an interactive map, some megabytes, into the notebook that imports it: counted apart.
WITH_MAP = [*LINES, "import hvplot.xarray"]


def seconds(command: list[str], repeats: int = 5, **options) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, **options)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def step(folder: Path, lines: list[str]) -> float:
    """A `geonb run` of one step: a notebook that only imports, in a project of its own; without the command's own start."""
    import json

    folder.mkdir()
    (folder / "notebooks").mkdir()
    (folder / "pyproject.toml").write_text("")
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    parameters = {
        **cell,
        "id": "b",
        "metadata": {"tags": ["parameters"]},
        "source": 'run: str = "latest"  # run folder\nseed: int = 0  # unused',
    }
    notebook = {"cells": [parameters, {**cell, "source": "\n".join(lines)}], "nbformat": 4, "nbformat_minor": 5,
                "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}}  # fmt: skip
    for name in ("01_dataset_only", "02_only"):
        (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps(notebook))
    (folder / "only.py").write_text(
        "from geonb.workloads import Workload\n"
        "ONE = Workload('one', 'One', 'What?', 'notebooks/01_dataset_only.ipynb', 'mean_iou', steps=())\n"
        "TWO = Workload('two', 'Two', 'What?', 'notebooks/01_dataset_only.ipynb', 'mean_iou', steps=('02_only',))\n"
    )
    import os

    env = {**os.environ, "PYTHONPATH": str(folder), "GEONB_ROOT": str(folder)}
    geonb = str(Path(sys.executable).with_name("geonb"))
    once, twice = (seconds([geonb, "run", f"only:{name}"], 5, cwd=folder, env=env) for name in ("ONE", "TWO"))
    print(f"one step {once:.2f} s, two steps {twice:.2f} s")
    return twice - once


def main(folder: Path) -> list[list[str]]:
    geonb = str(Path(sys.executable).with_name("geonb"))
    bare = seconds([sys.executable, "-c", "pass"])
    imported = seconds([sys.executable, "-c", "import geonb"]) - bare
    helped = seconds([geonb, "--help"])
    rows = []
    for name, lines in (("plain", LINES), ("map", WITH_MAP)):
        script = seconds([sys.executable, "-c", "\n".join(lines)])
        each = step(folder / name, lines)
        what = ", ".join(line.split()[1].split(".")[0] for line in lines)
        aim, met = ("<= +2.5 s", "yes" if each - script <= 2.5 else "no") if lines is LINES else ("", "")
        rows.append([f"each further step of `geonb run` that imports {what}", f"{each:.2f} s", f"as a script {script:.2f} s",
                     f"{each - script:+.2f} s", aim, met])  # fmt: skip
    return [
        ["`import geonb`", f"{imported:.2f} s", f"bare interpreter {bare:.2f} s", "", "< 0.3 s", "yes" if imported < 0.3 else "no"],
        ["`geonb --help`", f"{helped:.2f} s", "", "", "< 0.5 s", "yes" if helped < 0.5 else "no"],
        *rows,
    ]  # fmt: skip
