"""Reports and pages that tests look at: a finished run, its notebooks, and what a page may not ask a network for."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pytest
from made import made_predictions, made_scores
from PIL import Image

from geonb.runs import html as runs_html

FETCHES = re.compile(
    r"<(?:script|img|iframe|link|source|video|audio|object|embed|input|use)\b[^>]*\s(?:xlink:)?(?:src|href|data|srcset|poster)"
    r"\s*=\s*[\"']?\s*(?:https?:)?//|url\(\s*[\"']?\s*(?:https?:)?//|@import",
    re.I,
)


FETCHING = """<script src="https://cdn.example.org/require.js"></script><link rel=stylesheet href='//cdn.example.org/a.css'>
<img alt="x" src=https://example.org/a.png><style>@import url(https://example.org/b.css); p {background: url("http://example.org/c.png")}</style>
<iframe src="https://example.org/"></iframe><iframe srcdoc="&lt;script src=&quot;https://cdn.example.org/d.js&quot;&gt;&lt;/script&gt;kept"></iframe>
<a href="https://example.org/read">a link to read</a>"""


def png(side=8, noise=False):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (side, side, 3), "uint8") if noise else np.full((side, side, 3), 200, "uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def outputs(*data):
    return [nbformat.v4.new_output("display_data", data=dict(entry)) for entry in data]


def notebook(path, title, cells):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {title}\n\nWhy we do this."), *cells])
    nbformat.write(made, path)


@pytest.fixture
def run(tmp_path):
    """A finished run of two notebooks, with scores."""
    folder = tmp_path / "runs" / "segmentation" / "2026-11-22_calm-heron"
    (folder / "notebooks").mkdir(parents=True)
    made_scores(made_predictions()).to_netcdf(folder / "scores.nc", engine="h5netcdf")
    (folder / "parameters.yaml").write_text("epochs: 3\n")
    (folder / "environment.txt").write_text("# python 3.11\n# device: cpu\nnumpy==2.4.6\n")
    step = {"state": "done", "seconds": 62.0, "peak_memory_mb": 812.4, "exit_code": 0, "parameters": {"epochs": 3},
            "cells": [{"index": 3, "title": "Fit", "seconds": 41.5}]}  # fmt: skip
    info = {"name": folder.name, "workload": "segmentation", "record": "segmentation", "state": "done", "store": None,
            "started": "2026-11-22T10:00:00Z", "ended": "2026-11-22T10:05:00Z", "precision": "float32", "steps": {"02_training": step},
            "headline": {"metric": "mean_iou", "value": 0.51, "low": 0.45, "high": 0.57,
                         "baseline": "pixel-linear", "baseline_value": 0.44}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info))
    code = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell("## Fit\nOne line an epoch."),
        code("fit(model)", execution_count=1, outputs=outputs({"image/png": png()}, {"text/html": FETCHING})),
        code(
            "widget",
            execution_count=2,
            outputs=outputs({runs_html.WIDGET: {"model_id": "a"}, "text/plain": "VBox(...)"}),
        ),
        code(
            "js",
            execution_count=3,
            outputs=outputs({"application/javascript": "fetch('https://example.org')", "text/plain": "js"}),
        ),
    ]
    notebook(folder / "notebooks" / "02_training.ipynb", "02 Training", cells)
    return folder


# What makes a browser ask another host: an attribute that fetches, or a style that imports.
REQUESTS = re.compile(
    r"<(?:script|img|iframe|link|source|object|embed)\b[^>]*\s(?:src|href|data)\s*=\s*[\"']?(?:https?:)?//|@import\s+(?:url\()?[\"']?http",
    re.I,
)
