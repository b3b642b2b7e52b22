"""Maps: north up, on the data's own grid, with a scale bar and a small map that says where on Earth the scene lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geonb.plots.style import NODATA_COLOUR
from geonb.rasters.grids import pixel_sides_m, true_to_scale

GAMMA = 0.75  # a few bright roofs set the stretch; without this the rest of a scene is too dark to read
PANEL_PIXELS = 900  # a panel of 3 inches shows no more; larger rasters are read thinned


def crs_of(data: xr.DataArray | xr.Dataset) -> Any:
    """The coordinate reference system of an array as pyproj CRS, or None where it has none.

    A grid mapping is found as a coordinate or, where a file was opened without ``decode_coords="all"``, as a variable.
    """
    import rioxarray  # noqa: F401
    from pyproj import CRS

    if data.rio.crs:
        return CRS.from_user_input(data.rio.crs)
    variables = data.variables if isinstance(data, xr.Dataset) else data.coords
    mappings = [v.attrs["crs_wkt"] for v in variables.values() if v.attrs.get("crs_wkt")]
    return CRS.from_wkt(mappings[0]) if mappings else None


def thinned(data: Any, pixels: int = PANEL_PIXELS) -> Any:
    """Every n-th pixel of (..., y, x) with north up, so that neither side exceeds `pixels`."""
    step = max(1, -(-max(data.sizes["y"], data.sizes["x"]) // pixels))
    thin = data.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step)) if step > 1 else data
    return thin.isel(y=slice(None, None, -1)) if thin.sizes["y"] > 1 and thin.y[0] < thin.y[-1] else thin


def edges(data: Any) -> tuple[float, float, float, float]:
    """Outer bounds (west, south, east, north) of the pixels, from their centres, in the units of the CRS."""
    x, y = data["x"].values, data["y"].values
    half_x = abs(x[1] - x[0]) / 2 if len(x) > 1 else 0.5
    half_y = abs(y[1] - y[0]) / 2 if len(y) > 1 else 0.5
    return float(x.min() - half_x), float(y.min() - half_y), float(x.max() + half_x), float(y.max() + half_y)


def percentiles(band: np.ndarray) -> tuple[float, float]:
    """The 2nd and 98th percentile of a band, between which it is shown; 0 and 1 where it is empty."""
    low, high = np.nanpercentile(band, (2, 98)) if band.size else (0.0, 1.0)
    return float(low), float(high)


def stretched(
    image: xr.DataArray, valid: xr.DataArray | None = None, limits: Sequence[tuple[float, float]] | None = None
) -> np.ndarray:
    """Stretch three bands to the eye: (channel, y, x) any dtype -> (y, x, 4) float 0-1, transparent where not valid.

    Each band is stretched between its own `limits`; when left out, between the 2nd and 98th percentile of its valid pixels.
    """
    bands = image.transpose("channel", "y", "x").values.astype("float32")
    good = np.isfinite(bands).all(0)
    if valid is not None:
        good &= valid.transpose("y", "x").values.astype(bool)
    shown = np.zeros((*bands.shape[1:], 4), "float32")
    for i, j in enumerate([0, 1, 2] if len(bands) > 2 else [0, 0, 0]):
        band = bands[j]
        low, high = limits[j] if limits else percentiles(band[good])
        shown[..., i] = np.where(good, np.clip((band - low) / max(high - low, 1e-12), 0, 1) ** GAMMA, 0)
    shown[..., 3] = good
    return shown


def default_bands(channels: Iterable[Any]) -> list[int]:
    """Which channels to show as red, green, blue: by name where they say so, near infrared first where there is one.

    Landsat's ``band_10 .. band_50`` (blue, green, red, near and shortwave infrared) show as 4-3-2, in which plants are red.
    """
    names = [str(name).lower() for name in channels]
    if {"red", "green", "blue"} <= set(names):
        return [names.index(name) for name in ("red", "green", "blue")]
    return [3, 2, 1] if len(names) >= 4 else ([0, 1, 2] if len(names) == 3 else [0])


def draw_on_grid(ax: Axes, values: np.ndarray, data: Any, crs: Any = None) -> None:
    """Show (y, x[, rgba]) on the axes of its own grid: km where the CRS counts metres, degrees, or pixels."""
    west, south, east, north = edges(data)
    metres = crs is not None and crs.is_projected
    unit = 1e-3 if metres else 1.0
    ax.imshow(values, extent=(west * unit, east * unit, south * unit, north * unit), interpolation="nearest")
    geographic = crs is not None and crs.is_geographic
    ax.set_aspect(1 / np.cos(np.deg2rad((south + north) / 2)) if geographic else "equal")
    names = (
        ("longitude [°]", "latitude [°]") if geographic else ("easting [km]", "northing [km]") if metres else ("x", "y")
    )
    ax.set(xlabel=names[0], ylabel=names[1])
    ax.xaxis.get_major_locator().set_params(nbins=5)
    ax.yaxis.get_major_locator().set_params(nbins=6)
    ax.ticklabel_format(useOffset=False, style="plain")
    ax.spines[:].set_visible(True)
    ax.set_facecolor(NODATA_COLOUR)


def draw_values(
    ax: Axes, values: xr.DataArray, crs: Any, title: str, limits: tuple[float, float] | None = None,
    ticks: Sequence[float] | None = None, cmap: str = "cividis",
) -> None:  # fmt: skip
    """Show numbers (y, x) on the axes of their own grid, with a colour bar inside the panel, so that panels stay alike."""
    draw_on_grid(ax, values.values, values, crs)
    shown = ax.images[-1]
    shown.set(cmap=cmap, clim=limits or percentiles(values.values[np.isfinite(values.values)]))
    ax.set_title(title)
    ax.add_patch(
        plt.Rectangle((0.02, 0.02), 0.52, 0.15, transform=ax.transAxes, facecolor="white", alpha=0.9, zorder=3)
    )
    bar = ax.figure.colorbar(shown, cax=ax.inset_axes((0.05, 0.115, 0.46, 0.03), zorder=4), orientation="horizontal")
    if ticks is not None:
        bar.set_ticks(list(ticks))
    bar.ax.tick_params(labelsize=7, length=2, pad=1)


def split_lines(ax: Axes, split: xr.DataArray, crs: Any, which: int = 3, **look: Any) -> None:
    """Outline the blocks of one split (3: test)."""
    thin = thinned(split)
    inside = np.pad((thin.values == which).astype(float), 1)
    if not inside.any():
        return
    unit = 1e-3 if crs is not None and crs.is_projected else 1.0
    step_x, step_y = thin.x.values[1] - thin.x.values[0], thin.y.values[1] - thin.y.values[0]
    x = np.concatenate([[thin.x.values[0] - step_x], thin.x.values, [thin.x.values[-1] + step_x]])
    y = np.concatenate([[thin.y.values[0] - step_y], thin.y.values, [thin.y.values[-1] + step_y]])
    ax.contour(x * unit, y * unit, inside, levels=[0.5], **({"colors": "black", "linewidths": 0.7} | look))


def panel_grid(count: int, bounds: tuple[float, float, float, float]) -> tuple[Figure, np.ndarray]:
    """Rows of four panels with the shape of the scene."""
    west, south, east, north = bounds
    rows, wide = -(-count // 4), 2.95
    size = (4 * wide + 0.7, rows * (wide * min(2.0, (north - south) / (east - west)) + 0.3) + 0.4)
    figure, axes = plt.subplots(rows, 4, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.03)
    return figure, axes


def scale_bar(ax: Axes, crs: Any = None) -> None:
    """A bar of a round length on the ground, about a quarter of the panel, on axes in km of a CRS (None: true ones)."""
    west, east = ax.get_xlim()
    km = 1.0
    if crs is not None and not true_to_scale(crs):
        middle = sum(ax.get_ylim()) / 2 * 1000
        km = pixel_sides_m(crs, Affine.translation(west * 1000, middle) * Affine.scale(1, -1), (1, 1))[1]
    wish = (east - west) * km / 4
    power = 10.0 ** np.floor(np.log10(wish))
    length = max(step for step in (1, 2, 5) if step * power <= wish) * power
    x, y = west + 0.04 * (east - west), 0.045
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
    text = f"{length:g} km" if length >= 1 else f"{length * 1000:g} m"
    ax.annotate(text, (x, y + 0.03), xycoords=ax.get_xaxis_transform(), fontsize=7.5, va="bottom", bbox=box)
    for colour, width in (("white", 4.5), ("black", 2)):
        ax.plot([x, x + length / km], [y, y], transform=ax.get_xaxis_transform(), color=colour, linewidth=width)


def composite_note(image: xr.DataArray, bands: Sequence[int] | None = None) -> str:
    """Say which bands a composite shows."""
    bands = default_bands(image["channel"].values) if bands is None else bands
    names = [str(image["channel"].values[band]) for band in bands]
    natural = [name.lower() for name in names] == ["red", "green", "blue"]
    told = (
        "natural colours" if natural else f"{', '.join(names)} as {'red, green, blue' if len(names) == 3 else 'grey'}"
    )
    return f"Image: {told}; each band stretched 2-98 % and brightened."


def common_limits(windows: Sequence[xr.Dataset], bands: Sequence[int]) -> list[tuple[float, float]]:
    """One stretch for a whole gallery, so that its windows can be compared."""
    good = np.concatenate(
        [w.inputs.isel(channel=bands).values[:, w.valid.values.astype(bool)] for w in windows], axis=1
    )
    return [percentiles(band) for band in good]
