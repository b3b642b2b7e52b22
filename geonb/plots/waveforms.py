"""What stations saw of an event, drawn onto axes: traces by distance, where the stations lie, the power of beams over slowness.

Back-azimuths are degrees clockwise from north, from the stations to the source. Maps and slowness are drawn with north up and as a
person looks: towards where a wave came from, which is against :mod:`geonb.waveforms.beams`, whose vectors point the way it travels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from geonb.plots.style import finish, styled
from geonb.waveforms import beams

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P_COLOUR = "#222222"
DIRECTIONS = ("#222222", "#d01c1c")  # of the catalogue, of a scan
APART = 0.4  # of an even spacing: where neighbours are closer, a scale of distances would lay traces over each other
NEAR_S = (-5.0, 20.0)  # about P: what is looked at closely
SPANS_S = {
    "P: -1 to 5 s": (-1, 5),
    "5 to 15 s after P": (5, 15),
    "15 to 45 s after P": (15, 45),
    "before P: -15 to -2 s": (-15, -2),
}
GRID = beams.slowness_grid(0.4, 0.01)
APART_S = 1.0  # between P at the stations, from which on the axis says whose it counts from
NOWHERE = 60.0  # degrees: a peak as wide points nowhere
LEAST = 0.3  # semblance up to which colours reach at least: noise stays dark
VELOCITIES_KM_S = (3.7, 6.45)  # circles in a slowness map: of S and of P in the crust


@dataclass(frozen=True)
class Section:
    """Traces of one event, as :func:`record_section` takes them, with 0 s where P is nearest.

    Attributes
    ----------
    traces : array (station, time); NaN where there is no sample
    seconds : array (time,) or (station, time), since P at the nearest
    away_km, p_s : arrays (station,); the distance to the source, and when P is; NaN where nobody knows
    names : of stations or sensors
    what : str, what the traces are
    """

    traces: np.ndarray
    seconds: np.ndarray
    away_km: np.ndarray
    p_s: np.ndarray
    names: Sequence[str]
    what: str


def section_of(
    sensors: xr.Dataset, component: str, before_s: float, distance_km: float, back_azimuth: float, velocity_km_s: float
) -> Section:  # fmt: skip
    """One component of an array's sensors, as a plane wave from the catalogue's back-azimuth would cross them.

    Parameters
    ----------
    sensors : Dataset of :func:`geonb.waveforms.archives.cut` and what follows, with places and `rate_hz`
    before_s : float, s
        From its first sample to P at the array's middle.
    velocity_km_s : float
        Apparent, of P.
    """
    place = _place_km(sensors)
    return Section(
        sensors["data"].sel(component=component).to_numpy(),
        np.arange(sensors.sizes["time"]) / sensors.attrs["rate_hz"] - before_s,
        distance_km + place @ beams.slowness_of(back_azimuth, 1.0),  # a vector that points away from the source
        beams.delays(beams.slowness_of(back_azimuth, velocity_km_s), *place.T),
        sensors["sensor"].to_numpy().tolist(),
        f"component {component} of {len(place)} sensors",
    )


def _place_km(sensors: xr.Dataset) -> np.ndarray:
    return np.stack([sensors["east_m"], sensors["north_m"]], 1) / 1e3


@styled
def event_sheet(
    section: Section, attrs: Mapping[Any, Any], *, title: str, colour: str, p: bool = True, near: bool = False,
    sensors: xr.Dataset | None = None, span_s: tuple[float, float] = (-1, 5), back_azimuth: float = np.nan,
    place_km: np.ndarray | None = None, source_km: np.ndarray | None = None, note: str = "", unit: str = "counts",
) -> Figure:  # fmt: skip
    """What stations saw of an event: its record section, where they lie, and of an array the power of beams over slowness.

    Parameters
    ----------
    attrs : what the data are, for the caption
    p, near : whether there is P to be marked; whether the time about it alone is shown
    sensors : of an array, for the scan of component Z
    span_s : which part of the record is scanned, s since P
    place_km, source_km : of a network, where its stations and the source are, see :func:`station_map`
    """
    begin, scan, names = float(section.seconds.min()), None, section.names
    directions = {"catalogue": back_azimuth} if np.isfinite(back_azimuth) else {}
    if sensors is not None:
        place_km, names = _place_km(sensors), sensors["sensor"].to_numpy().tolist()
        scan = scanned(sensors, tuple(second - begin for second in span_s))
    mapped = place_km is not None and bool(np.isfinite(place_km).all(1).any())
    figure = plt.figure(figsize=(10.4, 6), layout="constrained")
    columns = [["section", "map"], ["section", "power" if scan is not None else "."]] if mapped else [["section"]]
    panels = figure.subplot_mosaic(columns, width_ratios=(2.2, 1) if mapped else (1,))
    shown = section if p else replace(section, seconds=section.seconds - begin)
    record_section(panels["section"], shown, p, colour, unit)
    whole, close = (shown.seconds.min(), shown.seconds.max()), NEAR_S if p else (0, NEAR_S[1] - NEAR_S[0])
    panels["section"].set(xlim=close if near else whole, xlabel=_seconds_since(section, p))
    panels["section"].set_title(f"{title}\n{section.what}", fontsize=9)
    if scan is not None:
        figure.colorbar(slowness_map(panels["power"], scan, back_azimuth), ax=panels["power"], label="semblance")
        width = float(scan["back_azimuth_half_width"])
        name = f"scan (± {width:.0f}°)" if width < NOWHERE else f"scan, no direction (± {width:.0f}°)"
        directions[name] = float(scan["back_azimuth"]) if width < NOWHERE else np.nan
    if mapped and place_km is not None:
        station_map(panels["map"], place_km, names, directions, source_km)
    unmapped = "" if mapped else "No map: nobody knows where the stations are."
    return finish(figure, attrs, f"Each trace at its own scale. {note} {unmapped}".strip())


def _seconds_since(section: Section, p: bool) -> str:
    if not p:
        return "s since the window's first sample"
    return "s after P" if np.nanmax(section.p_s, initial=0) < APART_S else "s after P at the first station"


def scanned(sensors: xr.Dataset, between_s: tuple[float, ...]) -> xr.Dataset | None:
    """The semblance of one stretch of a record (s since its start), on Z; None where sensors, component or stretch do not suffice."""
    ends = np.clip(between_s, 0, sensors.sizes["time"] / sensors.attrs["rate_hz"])
    if "Z" not in sensors["component"] or sensors.sizes["sensor"] < beams.FEWEST or np.ptp(ends) < 1:
        return None
    return beams.scan(sensors, GRID, between_s=(float(ends[0]), float(ends[1]))).isel(time=0)


def traces_picture(traces: np.ndarray, shape: tuple[int, int], colour: str, p: float | None = None) -> np.ndarray:
    """Traces (channel, time) as :func:`strips` on white, with P at a share of the width: uint8 (y, x, 4)."""
    out = np.full((*shape, 4), 255, np.uint8)
    if p is not None:
        column = round(p * shape[1])
        out[:, column : column + 2, :3] = np.rint(255 * np.array(to_rgb(P_COLOUR)))
    out[strips(traces, shape), :3] = np.rint(255 * np.array(to_rgb(colour)))
    return out


def strips(traces: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Traces (channel, time), one below the other, each by its own largest value: bool (y, x), where there is ink."""
    height, width = shape
    strip, out = height // len(traces), np.zeros(shape, bool)
    edges = np.linspace(0, traces.shape[1], width + 1).astype(int)[:-1]
    middle, y = (strip - 1) / 2, np.arange(strip)[:, None]
    for c, trace in enumerate(traces):
        scaled = trace / max(float(np.nanmax(np.abs(trace), initial=0)), 1e-12)
        top, bottom = np.fmax.reduceat(scaled, edges), np.fmin.reduceat(scaled, edges)
        out[c * strip : (c + 1) * strip] = (y >= np.floor(middle - top * middle)) & (
            y <= np.ceil(middle - bottom * middle)
        )
    return out


def record_section(ax: Axes, section: Section, p: bool = True, colour: str = "#1f3c5a", unit: str = "") -> None:
    """Traces by distance, the nearest below: each by its own largest value, which stands at its right (in `unit`); P marked.

    Where distances are too much alike for a scale, traces stand in their order, and the axis says so; where one is not known, its
    trace is the uppermost.
    """
    traces, away_km, names, p_s = section.traces, section.away_km, section.names, section.p_s
    order = np.argsort(away_km, kind="stable")
    known, n = away_km[order][np.isfinite(away_km[order])], len(order)
    even = np.ptp(known) / max(n - 1, 1) if len(known) == n else 0.0
    to_scale = n > 1 and even > 0 and bool(np.diff(known).min() > APART * even)
    places = known if to_scale else np.arange(n, dtype=float)
    half = 0.55 * (even if to_scale else 1.0)
    labels = []
    for y, i in zip(places, order, strict=True):
        trace, x = traces[i], np.broadcast_to(section.seconds, traces.shape)[i]
        most = float(np.nanmax(np.abs(trace), initial=0))
        ax.plot(x, y + half * trace / max(most, 1e-30), color=colour, linewidth=0.5)
        ax.text(1.01, y, f"{most:.3g}", transform=ax.get_yaxis_transform(), fontsize=7, va="center", color="#555555")
        away = f"{away_km[i]:,.1f} km" if np.isfinite(away_km[i]) else "distance unknown"
        labels.append(f"{names[i]}  {away}" if len(known) and not to_scale else names[i])
        if to_scale:
            ax.text(0.004, y + 0.25 * half, names[i], transform=ax.get_yaxis_transform(), fontsize=7, va="bottom")
        if p and np.isfinite(p_s[i]):
            ax.plot([p_s[i]] * 2, [y - 0.8 * half, y + 0.8 * half], color=P_COLOUR, linewidth=1.4)
    if p and np.isfinite(p_s).any():
        ax.plot([], [], color=P_COLOUR, linewidth=1.4, label="P")
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8)
    ax.text(1.01, 1.01, f"largest\n[{unit or '1'}]", transform=ax.transAxes, fontsize=7, va="bottom", color="#555555")
    ax.set(ylim=(places.min() - 1.3 * half, places.max() + 1.3 * half), ylabel="distance [km]")
    if not to_scale:
        ax.set_yticks(places, labels, fontsize=7)
        ax.set_ylabel("in the order of distance, not to scale" if len(known) else "distances are not known")


def station_map(
    ax: Axes, place_km: np.ndarray, names: Sequence[str], directions: Mapping[str, float], source_km: np.ndarray | None = None
) -> None:  # fmt: skip
    """Stations on flat ground with north up, and arrows from their middle to where a wave came from.

    Parameters
    ----------
    place_km : array (station, 2) = east, north; NaN where nobody knows, left out
    directions : dict of whose it is (first the catalogue's) -> back-azimuth, degrees; of NaN there is no arrow
    source_km : array (2,), where the source is, if it is near enough to be on the map
    """
    known = np.isfinite(place_km).all(1)
    at = place_km[known]
    middle = at.mean(0)
    reach = max(float(np.abs(at - middle).max()), 1e-3)
    if source_km is not None:
        reach = max(reach, float(np.abs(source_km - middle).max()))
        ax.plot(*source_km, "*", color=DIRECTIONS[0], markersize=11, label="event, by the catalogue")
    for (name, azimuth), colour in zip(directions.items(), DIRECTIONS, strict=False):
        ax.plot([], [], color=colour, linewidth=1.6, label=f"{name}: {azimuth:.0f}°" if np.isfinite(azimuth) else name)
        if np.isfinite(azimuth):
            tip = reach * np.array([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))])
            look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", middle + tip, middle, arrowprops=look)
    ax.plot(*at.T, "^", color="#1f3c5a", markersize=5, linestyle="none")
    for (east, north), name in zip(at, np.array(names)[known], strict=True):
        ax.annotate(str(name).rpartition(".")[2], (east, north), (3, 3), textcoords="offset points", fontsize=6)
    sides = [(middle[k] - 1.2 * reach, middle[k] + 1.2 * reach) for k in (0, 1)]
    ax.set(xlim=sides[0], ylim=sides[1], aspect="equal", xlabel="east [km]", ylabel="north [km]")
    ax.annotate(
        "N",
        (0.96, 0.97),
        (0.96, 0.84),
        xycoords="axes fraction",
        ha="center",
        fontsize=8,
        arrowprops={"arrowstyle": "->"},
    )
    look = {"fontsize": 7, "title": "back-azimuth", "title_fontsize": 7, "alignment": "left"}
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), **(look if directions else {"fontsize": 7}))


def slowness_map(ax: Axes, scan: xr.Dataset, back_azimuth: float = np.nan) -> Any:
    """Semblance over slowness of one window of :func:`geonb.waveforms.beams.scan`, towards the source; its peak, and the catalogue's ray.

    Returns
    -------
    What a colour bar is made of.
    """
    shown = ax.pcolormesh(
        -scan["sx"],
        -scan["sy"],
        scan["semblance"],
        cmap="cividis",
        vmin=0,
        vmax=max(float(scan["peak"]), LEAST),
        shading="nearest",
        rasterized=True,
    )
    most = float(np.abs(scan["sx"]).max())
    for velocity in VELOCITIES_KM_S:
        circle = np.exp(1j * np.linspace(0, 2 * np.pi, 181)) / velocity
        if 1 / velocity < most:
            ax.plot(circle.real, circle.imag, color="white", linewidth=0.6, linestyle=":")
            ax.text(0, -1 / velocity, f"{velocity:g} km/s", color="white", fontsize=6.5, ha="center", va="bottom")
    if np.isfinite(back_azimuth):
        angle, rim = np.radians(back_azimuth), [withStroke(linewidth=2.6, foreground="#222222")]
        line = [0, most * np.sin(angle)], [0, most * np.cos(angle)]
        ax.plot(*line, color="white", linewidth=1.2, path_effects=rim, label=f"catalogue {back_azimuth:.0f}°")
    if np.isfinite(scan["peak"]):
        azimuth, slowness = float(scan["back_azimuth"]), float(scan["slowness"])
        east, north = (
            (0.0, 0.0)
            if np.isnan(azimuth)
            else (slowness * np.sin(np.radians(azimuth)), slowness * np.cos(np.radians(azimuth)))
        )
        told = f"scan {azimuth:.0f} ± {float(scan['back_azimuth_half_width']):.0f}°, {1 / slowness:.1f} km/s"
        ax.plot(east, north, "+", color=DIRECTIONS[1], markersize=11, markeredgewidth=2, linestyle="none", label=told)
    ax.axhline(0, color="white", linewidth=0.3)
    ax.axvline(0, color="white", linewidth=0.3)
    ax.set(
        xlim=(-most, most),
        ylim=(-most, most),
        aspect="equal",
        xlabel="slowness, east [s/km]",
        ylabel="slowness, north [s/km]",
    )
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=7)
    return shown
