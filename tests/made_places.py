"""A small explorer of two places for tests: months with a gap, two models, classes, numbers and a picture; some of it unknown."""

from __future__ import annotations

import numpy as np
import xarray as xr
from pyproj import CRS

from geonb.dashboards.explorer import Dim, Explorer, Place
from geonb.dashboards.layers import Grid, Layer, from_array

MONTHS, MODELS = ["2020-01", "2020-02", "2020-05"], ["network", "always"]


def data(seed: int = 0, months=MONTHS, models=MODELS, shapes=((9, 14), (12, 7))) -> list[xr.Dataset]:
    """Of each place guess (model, month, y, x) 0-1, truth (month, y, x) 0/1, height (y, x) in whole metres, north up.

    The first place has numbers in its west only, and no height in its northernmost row.
    """
    made = []
    for n, shape in enumerate(shapes):
        rng = np.random.default_rng([seed, n])
        there = np.indices(shape)[1] < (4 if n == 0 else 99)
        guess = np.where(there, rng.random((len(models), len(months), *shape)), np.nan)
        truth = np.where(there, rng.random((len(months), *shape)) < 0.3, np.nan)
        height = np.where(there & (np.indices(shape)[0] > (0 if n == 0 else -1)), rng.integers(-20, 180, shape), np.nan)
        coords = {
            "model": models,
            "month": months,
            "y": np.arange(shape[0])[::-1] * 10.0,
            "x": np.arange(shape[1]) * 10.0,
        }
        made.append(xr.Dataset({"guess": (("model", "month", "y", "x"), guess), "truth": (("month", "y", "x"), truth),
                                "height": (("y", "x"), height)}, coords))  # fmt: skip
    return made


def explorer(places: list[xr.Dataset], **more) -> Explorer:
    months, models = (places[0][name].values.tolist() for name in ("month", "model"))

    def picture(place, at, slices):
        height = places[place].height.values[slices["y"], slices["x"]]
        grey = np.nan_to_num(height + 20).astype(np.uint8)
        return np.stack([grey, grey, grey, np.where(np.isnan(height), 0, 255).astype(np.uint8)], -1)

    layers = [
        Layer("picture", "picture", "image", picture),
        Layer("guess", "guess", "numbers", from_array([d.guess for d in places], ("model", "month")), ("model", "month"), low=0.0,
              high=1.0, power=0.5),
        Layer("truth", "truth", "classes", from_array([d.truth for d in places], ("month",)), ("month",), labels=["no", "yes"],
              colours=["", "#b2182b"]),
        Layer("hits", "hits", "error", of=("guess", "truth")),
        Layer("height", "height", "numbers", from_array([d.height for d in places], ()), unit="m"),
    ]  # fmt: skip
    grids = [
        Grid((-5.0, -5.0, 10.0 * d.sizes["x"] - 5, 10.0 * d.sizes["y"] - 5), (d.sizes["y"], d.sizes["x"]))
        for d in places
    ]
    told = {
        "below": "picture", "top": "guess", "lines": [("height:", "height"), ("came:", "truth")], "truth": "truth", "guess": "guess",
        "threshold": {"layer": "guess", "steps": [0.1, 0.5], "by": ["model"], "start": [0.1, 0.5][: len(models)]},
    }  # fmt: skip
    gaps = [months.index("2020-05")] if months[-1] == "2020-05" and len(months) > 1 else []
    return Explorer(
        "made up", [Place(f"place {n}", {"": grid}, CRS("EPSG:32632")) for n, grid in enumerate(grids)],
        [Dim("model", models), Dim("month", months, slider=True, start=len(months) - 1, remarks=["val"] * len(months), gaps=gaps)],
        layers, **(told | more),
    )  # fmt: skip
