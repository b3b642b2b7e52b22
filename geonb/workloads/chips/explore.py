"""What there is to look at in predictions of chips: the imagery, and on the grid of the chips what is told and what is true."""

from __future__ import annotations

from typing import Any

import xarray as xr

from geonb.base.conventions import SPLIT_CODES
from geonb.dashboards.explorer import Dim, Explorer, Place, Table
from geonb.dashboards.imagery import picture_of
from geonb.dashboards.layers import CIVIDIS, Grid, Layer, from_array, group_of, north_up
from geonb.dashboards.page import caption_of, notes_html
from geonb.plots.cells import ground_in
from geonb.plots.maps import crs_of, edges
from geonb.plots.style import SPLIT_COLOURS

PX = (1200, 1000, 800, 640, 500)  # of the image in a page, the richest first


def explorer(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Explorer:
    """Describe predictions of chips for the explorer.

    Raises
    ------
    ValueError
        If there is no source in the predictions.
    """
    if not predictions.children:
        raise ValueError("The predictions hold no source: nothing to explore. Run notebooks/03_prediction.ipynb first.")
    names = list(predictions.children)
    data = [north_up(predictions[name].to_dataset()) for name in names]
    images = [group_of(arrays, name) for name in names]
    told = [(one["probability"] >= one["threshold"]).where(one["row"] >= 0) for one in data]
    truth = [one["truth"].where(one["truth"] >= 0) for one in data]
    models, classes = ([str(v) for v in data[0][dim].values] for dim in ("model", "class"))
    rate: dict[str, Any] = {
        "kind": "numbers",
        "low": 0.0,
        "high": 1.0,
        "form": "percent",
        "colours": CIVIDIS,
        "steps": 100,
        "grid": "chips",
    }
    yes: dict[str, Any] = {
        "kind": "classes",
        "labels": ("no", "yes"),
        "colours": ("#cfd6d9", "#b5400f"),
        "grid": "chips",
    }
    both = ("model", "class")
    layers = [
        Layer("probability", "probability of the label", read=from_array([one["probability"] for one in data], both), dims=both, **rate),
        Layer("told", "label told", read=from_array(told, both), dims=both, **yes),
        Layer("truth", "label", read=from_array(truth, ("class",)), dims=("class",), **yes),
        Layer("wrong", "where the model is wrong", "error", of=("told", "truth")),
        Layer("split", "split", "classes", from_array([one["split"] for one in data], ()), grid="chips", labels=list(SPLIT_CODES),
              colours=[SPLIT_COLOURS.get(name, "") for name in SPLIT_CODES]),
    ]  # fmt: skip
    has_image = any(image is not None for image in images)
    if has_image:
        layers.insert(0, Layer("image", "image", "image", picture_of(images)))
    return Explorer(
        "map of the chips", [_place(*one) for one in zip(names, data, images, strict=True)],
        [Dim("class", classes), Dim("model", models)], layers,
        below="image" if has_image else "", top="probability", opacity=0.6, lines=[("split:", "split")],
        table=Table("probability", "class", "model", also=("label", "truth")), truth="truth", guess="told", split="split",
        notes=notes_html(predictions.attrs), caption=caption_of(predictions.attrs),
        click="Click a chip: its labels, and every model's probabilities.", packs=lambda: _packs(models),
    )  # fmt: skip


def _place(name: str, data: xr.Dataset, image: xr.Dataset | None) -> Place:
    crs, bounds = crs_of(data), edges(data)
    grids = {"chips": Grid(bounds, (data.sizes["y"], data.sizes["x"]))}
    if image is not None:
        grids[""] = Grid(edges(image), (image.sizes["y"], image.sizes["x"]))
    return Place(name, grids, crs, ground_in(crs, bounds) if crs is not None else {})


def _packs(models: list[str]) -> list[dict[str, Any]]:
    """What goes to keep a page small: the image's pixels, then the baselines' probabilities."""
    network = {"probability": {"model": [0]}, "told": {"model": [0]}}
    packs = []
    for image_px in PX:
        for only in ({}, network):
            said = ["Probabilities of the network only."] if only and len(models) > 1 else []
            packs.append(
                {
                    "only": only,
                    "steps": 100,
                    "image_px": image_px,
                    "said": " ".join([*said, "Probabilities in steps of 1 %."]),
                }
            )
    return packs
