"""What there is to look at in a segmentation: image, truth, labels and probabilities of every model, and where they are wrong."""

from __future__ import annotations

from typing import Any

import xarray as xr

from geonb.base.conventions import IGNORE, SPLIT_CODES
from geonb.dashboards.explorer import Dim, Explorer, Place, Table
from geonb.dashboards.imagery import bands_of, picture_of
from geonb.dashboards.layers import CIVIDIS, Grid, Layer, from_array, group_of, north_up
from geonb.dashboards.page import caption_of, notes_html
from geonb.plots.cells import ground_in
from geonb.plots.maps import crs_of, edges
from geonb.plots.style import SPLIT_COLOURS, class_colours
from geonb.prediction import overviews

PX = (900, 900, 800, 700, 640)  # of the image in a page, and fewer with ever fewer pixels of everything else


def explorer(predictions: xr.DataTree, arrays: xr.DataTree | None = None) -> Explorer:
    """Describe predictions for the explorer.

    Parameters
    ----------
    predictions : DataTree of `geonb.open_predictions`
    arrays : DataTree, optional
        A store's `arrays`: adds the image and its bands.

    Raises
    ------
    ValueError
        If there is no source in the predictions.
    """
    if not predictions.children:
        raise ValueError("The predictions hold no source: nothing to explore. Run notebooks/03_prediction.ipynb first.")
    names = list(predictions.children)
    data = [with_indices(north_up(predictions[name].to_dataset())) for name in names]
    images = [group_of(arrays, name) for name in names]
    below = "image" if any(image is not None for image in images) else ""
    classes, models = ([str(name) for name in data[0][dim].values] for dim in ("class", "model"))
    bands = bands_of(images)
    return Explorer(
        "map of the predictions",
        [_place(name, one) for name, one in zip(names, data, strict=True)],
        [Dim("model", models), Dim("class", classes)],
        [*([Layer("image", "image", "image", picture_of(images))] if below else []), *_layers(predictions, data, classes), *bands],
        below=below, top="label",
        lines=[("split:", "split"), ("truth:", "truth"), *((f"{band.title}:", band.name) for band in bands)],
        table=Table("probability", "class", "model", heads="label"),
        truth="truth", guess="label", split="split", opacity=0.5,
        threshold={"layer": "probability", "steps": [i / 20 for i in range(20)], "start": 0.0, "hides": True, "title": "at least"},
        notes=notes_html(predictions.attrs), caption=caption_of(predictions.attrs),
        click="Click the map: place, bands, truth and every model's probabilities of that pixel.",
        packs=lambda: _packs(models, [band.name for band in bands]),
    )  # fmt: skip


def _layers(predictions: xr.DataTree, data: list[xr.Dataset], classes: list[str]) -> list[Layer]:
    """What every source has, read from its overviews where no more is shown."""
    small = {name: with_indices(north_up(one)) for name, one in overviews.open_of(predictions).items()}

    def of(variable: str, dims: tuple[str, ...] = (), after: Any = None) -> Any:
        thin = [small[name][variable] if name in small else None for name in predictions.children]
        return from_array([one[variable] for one in data], dims, after, thin, overviews.FACTOR)

    colours = list(class_colours(classes, predictions.attrs).values())
    of_class: dict[str, Any] = {"kind": "classes", "labels": classes, "colours": colours}
    rate: dict[str, Any] = {
        "kind": "numbers",
        "low": 0.0,
        "high": 1.0,
        "form": "percent",
        "colours": CIVIDIS,
        "steps": 127,
    }
    return [
        Layer("truth", "truth", read=of("truth"), **of_class),
        Layer("label", "label of the model", read=of("label", ("model",)), dims=("model",), **of_class),
        Layer("probability", "probability of the class", read=of("probability", ("model", "class")), dims=("model", "class"), **rate),
        Layer("wrong", "where the model is wrong", "error", of=("label", "truth")),
        Layer("sure", "probability of the label", read=of("probability", ("class", "model"), lambda p: p.max(0)), dims=("model",), **rate),
        Layer("split", "split", "classes", of("split"), labels=list(SPLIT_CODES), colours=[SPLIT_COLOURS[name] for name in SPLIT_CODES]),
    ]  # fmt: skip


def with_indices(data: xr.Dataset) -> xr.Dataset:
    """The Dataset with class indices as bytes, 255 where there is none, also where a reader made NaN of a fill value."""
    decoded = [name for name in ("label", "truth") if data[name].dtype.kind == "f"]
    return data.assign({name: data[name].fillna(IGNORE).astype("uint8") for name in decoded})


def _place(name: str, data: xr.Dataset) -> Place:
    crs, bounds = crs_of(data), edges(data)
    lines = ground_in(crs, bounds) if crs is not None else {}
    return Place(name, {"": Grid(bounds, (data.sizes["y"], data.sizes["x"]))}, crs, lines)


def _packs(models: list[str], bands: list[str]) -> list[dict[str, Any]]:
    """What goes to keep a page small, in this order: coarser steps, the baselines' probabilities, bands, every second pixel."""
    packs = []
    network = {"probability": {"model": [0]}, "sure": {"model": [0]}}
    for i, every in enumerate((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)):
        for only, steps, drop in (
            ({}, 127, []),
            ({}, 50, []),
            (network, 127, []),
            (network, 50, []),
            (network, 50, bands),
        ):
            said = [f"One pixel in {every} a side."] if every > 1 else []
            said += ["Probabilities of the network only."] if only and len(models) > 1 else []
            said += ["Without the values of bands."] if drop else []
            said += [f"Probabilities in steps of {100 / steps:.1g} %."]
            packs.append({"every": every, "only": only, "steps": steps, "drop": drop, "said": " ".join(said),
                          "image_px": PX[min(i, len(PX) - 1)]})  # fmt: skip
    return packs
