"""Arrays to look through: which, and what a report shows of them. That hvplot draws without network: tests/test_readme.py."""

import json
import subprocess
import sys

import numpy as np
import xarray as xr

from geonb.plots import arrays

STILL = """
import json, os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import numpy as np, xarray as xr, geonb
geonb.offline()
data = xr.DataArray(np.eye(8).reshape(2, 4, 8), coords={"month": [1, 2], "y": np.arange(4.0), "x": np.arange(8.0)}, name="rain")
shown, about = shell.display_formatter.format(data.hvplot.image("x", "y", groupby="month"))
print(json.dumps({"shown": sorted(shown), "starts": shown["image/png"][:4].hex(), **about["image/png"]}))
"""


def test_a_headless_run_shows_a_still_picture_with_its_text_and_no_script(monkeypatch):
    monkeypatch.setenv("GEONB_HEADLESS", "1")
    done = subprocess.run([sys.executable, "-c", STILL], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["shown"] == ["image/png", "text/plain"] and told["starts"] == "89504e47"
    assert "month: 1" in told["alt"] and "rain" in told["alt"]
    assert len(done.stdout) < 1000, "a report carries no code of Bokeh's"


def test_numbers_are_those_on_a_grid_with_most_to_look_through():
    grid = xr.Dataset(
        {
            "truth": (("y", "x"), np.zeros((2, 3))),
            "label": (("model", "lead", "y", "x"), np.zeros((2, 2, 2, 3), "uint8")),
            "probability": (("model", "y", "x"), np.zeros((2, 2, 3), "float16")),
        }
    )
    table = xr.Dataset({"near": (("model", "sample"), np.zeros((2, 4)))})
    assert arrays.numbers(xr.DataTree.from_dict({"triplets": table, "scene": grid})).name == "probability"
    assert arrays.numbers(xr.DataTree.from_dict({"triplets": table})) is None


def test_positions_without_a_number_of_their_own_are_counted():
    times = np.array(["2020-01-01", "2020-01-01", "NaT"], "datetime64[ns]")
    scenes = xr.Dataset(
        {"embedding": (("time", "y", "x", "dim"), np.zeros((3, 4, 5, 2)))},
        {"time": times, "y": range(4), "x": range(5)},
    )
    found = arrays.numbers(xr.DataTree.from_dict({"west": scenes}))
    assert found.time.values.tolist() == [0, 1, 2] and found.dim.values.tolist() == [0, 1]
