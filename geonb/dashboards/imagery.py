"""Imagery as layers of an explorer: a picture of three bands, and every band's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from geonb.dashboards.layers import At, Layer, Read
from geonb.plots.maps import default_bands, percentiles, stretched


def picture_of(images: Sequence[xr.Dataset | None]) -> Read:
    """A layer's `read` of images, one a place: the bands that are shown, stretched by the whole scene.

    Colours so do not change while one zooms.

    Parameters
    ----------
    images : Datasets with ``inputs`` (channel, y, x) and ``valid`` (y, x), north up; None where a place has none
    """
    limits: dict[int, list[tuple[float, float]]] = {}

    def read(place: int, at: At, slices: Mapping[str, slice]) -> np.ndarray:
        image = images[place]
        if image is None:
            return np.zeros((1, 1, 4), np.uint8)
        bands = {"channel": default_bands(image.channel.values)}
        if place not in limits:
            step = max(1, max(image.sizes["y"], image.sizes["x"]) // 500)
            whole = (
                image[["inputs", "valid"]]
                .isel(bands | {"y": slice(None, None, step), "x": slice(None, None, step)})
                .load()
            )
            good = (
                whole.inputs.transpose("channel", "y", "x").values[:, whole.valid.values.astype(bool)].astype("float32")
            )
            limits[place] = [percentiles(band) for band in good]
        view = image[["inputs", "valid"]].isel(bands | dict(slices)).load()
        return (stretched(view.inputs, view.valid, limits[place]) * 255).astype(np.uint8)

    return read


def bands_of(images: Sequence[xr.Dataset | None]) -> list[Layer]:
    """Every band as numbers that a click tells; NaN where there is no data."""
    there = [image for image in images if image is not None]
    names = list(dict.fromkeys(str(n) for image in there for n in image.channel.values))
    form = "integer" if all(image.inputs.dtype.kind in "iu" for image in there) else "5"

    def reader(name: str) -> Read:
        def read(place: int, at: At, slices: Mapping[str, slice]) -> np.ndarray:
            image = images[place]
            known = [] if image is None else [str(n) for n in image.channel.values]
            if image is None or name not in known:
                return np.full((1, 1), np.nan)
            view = image[["inputs", "valid"]].isel(dict(slices) | {"channel": known.index(name)}).load()
            return np.where(view.valid.values.astype(bool), view.inputs.values.astype(float), np.nan)

        return read

    return [Layer(f"band-{name}", name, "numbers", reader(name), form=form, shown=False) for name in names]
