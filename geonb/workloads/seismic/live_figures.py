"""What a watch told, drawn: probabilities over time, each event's window, a film of it, where it came from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from geonb.base.files import whole_file
from geonb.plots.locators import map_about, points
from geonb.plots.style import COASTS_NOTE, finish, styled
from geonb.waveforms import journal
from geonb.workloads.seismic import bulletin
from geonb.workloads.seismic.figures import MARKS
from geonb.workloads.seismic.metrics import KINDS, joint
from geonb.workloads.seismic.store import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RAY_KM = 1000.0  # how far the map follows a back-azimuth: the distance is not known


def probabilities(folder: Path, begin_s: float = -math.inf, end_s: float = math.inf) -> pd.DataFrame:
    """What each window said on the days from begin to end (s since 1970): DataFrame with station, step and the probability of each kind."""
    parts = []
    for station, rows in journal.read(Path(folder) / "steps", bulletin.STEP_COLUMNS, begin_s, end_s).items():
        told = joint(np.array([row[:2] for row in rows.values()]).reshape(-1, 2))
        parts.append(pd.DataFrame(told, columns=list(KINDS)).assign(station=station, step=list(rows)))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*KINDS, "station", "step"])
    return table.sort_values(["station", "step"], ignore_index=True)


@styled
def told_over_time(folder: Path, facts: Mapping[str, Any], minutes: float | None = None, most: int = 6) -> Figure:
    """Probability of an event and of an explosion by window, an axis a station, with the bulletin's events; the newest `minutes` of it."""
    begin = journal.newest_s(Path(folder) / "steps") - 60 * minutes if minutes else -math.inf
    told, table, step_s = probabilities(folder, begin), bulletin.read(folder), float(facts["step_s"])
    told["time"] = pd.to_datetime(told["step"] * step_s, unit="s")
    if minutes and len(told):
        told = told[told["time"] >= told["time"].max() - pd.Timedelta(minutes, "min")]
    stations = told["station"].value_counts().index[:most].tolist() or ["no window yet"]
    figure, axes = plt.subplots(len(stations), 1, figsize=(9, 1.1 + 1.5 * len(stations)), sharex=True, squeeze=False)
    for ax, station in zip(axes[:, 0], stations, strict=True):
        mine = told[told["station"] == station].set_index("step")
        mine = mine.reindex(range(mine.index.min(), mine.index.max() + 1)) if len(mine) else mine  # gaps stay gaps
        when = pd.to_datetime(mine.index * step_s, unit="s")
        ax.plot(when, 1 - mine["noise"], color=COLOURS["earthquake"], lw=1.2, label="event")
        ax.fill_between(
            when, 0, mine["explosion"].astype(float), color=COLOURS["explosion"], alpha=0.5, lw=0, label="explosion"
        )
        for event in table.itertuples():
            if (
                station in event.stations.split()
                and len(told)
                and event.onset >= told["time"].min() - pd.Timedelta(300, "s")
            ):
                ax.axvline(event.onset, color=COLOURS[event.kind], lw=1, ls="--")
        ax.set(ylim=(0, 1), ylabel=station)
    axes[0, 0].legend(loc="upper right", fontsize=8, ncols=2)
    axes[-1, 0].set_xlabel("end of the window, UTC (dashed: P of an event of the bulletin)")
    return finish(figure, facts)


def kept(folder: Path) -> list[str]:
    """Events whose windows are there to look at, the newest last."""
    return sorted(path.stem for path in (Path(folder) / "events").glob("*.npz"))


def _window(folder: Path, event_id: str) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, Any]:
    """Traces (channel, time), seconds since P (or its detection), what the station's windows said then, and the row of the bulletin."""
    row = bulletin.read(folder).set_index("event_id").loc[event_id]
    with np.load(Path(folder) / "events" / f"{event_id}.npz") as file:
        values, begin, rate = file["values"], float(file["begin"]), float(file["rate_hz"])
        station, step_s = str(file["station"]), float(file["step_s"])
    zero = (row["detected"] if pd.isna(row["onset"]) else row["onset"]).timestamp()
    told = probabilities(folder, begin, begin + 3600)
    told = told[told["station"] == station]
    told = told.assign(after=told["step"] * step_s - zero)
    seconds = begin - zero + np.arange(values.shape[1]) / rate
    return values, seconds, told[(told["after"] >= seconds[0]) & (told["after"] <= seconds[-1] + 60)], row


def _when(row: Any) -> str:
    known = pd.notna(row["onset"])
    return f"{'P' if known else 'the end of the first window that says event'}, {row['onset' if known else 'detected']:%Y-%m-%d %H:%M:%S}"


def _drawn(folder: Path, event_id: str, channels: list[str]) -> tuple[Figure, Any, np.ndarray]:
    values, seconds, told, row = _window(folder, event_id)
    figure, axes = plt.subplots(
        len(values) + 1,
        1,
        figsize=(8.5, 1.1 * len(values) + 1.9),
        sharex=True,
        gridspec_kw={"height_ratios": [1] * len(values) + [1.3]},
    )
    for ax, trace, name in zip(axes[:-1], values, channels, strict=True):
        ax.plot(seconds, trace / max(float(np.abs(trace).max()), 1e-12), color=COLOURS[row["kind"]], lw=0.5)
        ax.set(ylim=(-1.05, 1.05), yticks=[], ylabel=name)
        ax.axvline(0, color="#222222", lw=0.8, ls="--")
    for kind in KINDS:
        axes[-1].plot(told["after"], told[kind], color=COLOURS[kind], lw=1.4, label=kind)
    axes[-1].axvline(0, color="#222222", lw=0.8, ls="--")
    axes[-1].set(
        ylim=(0, 1),
        ylabel="probability",
        xlabel=f"s after {_when(row)} UTC (windows: where they end)",
    )
    axes[-1].legend(loc="upper left", fontsize=8, ncols=3)
    likely = row[f"p_{row['kind']}"]
    figure.suptitle(
        f"{event_id}: {row['kind']} {likely:.0%}, {row['agreed']:.0%} of {row['windows']} windows agree", fontsize=10
    )
    return figure, axes, told["after"].to_numpy()


@styled
def event_window(folder: Path, event_id: str, facts: Mapping[str, Any]) -> Figure:
    """An event's window, each trace at its own scale, above what was said of windows while it passed."""
    return finish(_drawn(folder, event_id, [c["name"] for c in facts["channels"]])[0], facts)


def film(folder: Path, event_id: str, facts: Mapping[str, Any], kind: str = "gif", fps: int = 4) -> Path:
    """A film of an event passing by, a picture a window: ``events/ID.gif``, or ``.mp4`` where ffmpeg is installed.

    Raises
    ------
    ValueError
        Another kind, or no ffmpeg.
    """
    from matplotlib import animation

    if kind not in ("gif", "mp4") or (kind == "mp4" and not animation.writers.is_available("ffmpeg")):
        raise ValueError(f"kind = {kind!r}: give gif, or mp4 where ffmpeg is installed")
    figure, axes, after = _drawn(folder, event_id, [c["name"] for c in facts["channels"]])
    finish(figure, facts)
    covers = [ax.axvspan(0, 1, color="white", alpha=0.85, lw=0) for ax in axes]
    right = axes[0].get_xlim()[1]

    def until(second: float) -> list[Any]:
        for cover in covers:
            cover.set(x=second, width=max(right - second, 0))
        return covers

    path = Path(folder) / "events" / f"{event_id}.{kind}"
    with whole_file(path, f".{kind}") as partial:
        frames = [*after[after <= right], right, right, right]
        writer = "pillow" if kind == "gif" else "ffmpeg"
        animation.FuncAnimation(figure, until, frames, blit=False).save(str(partial), writer=writer, fps=fps)
    plt.close(figure)
    return path


def played(path: Path) -> Any:
    """A GIF within a notebook, and within its report."""
    from base64 import b64encode

    from IPython.display import HTML

    data = b64encode(path.read_bytes()).decode()
    return HTML(
        f'<img alt="The window of event {path.stem} as it passed, and its probabilities" src="data:image/gif;base64,{data}">'
    )


def refreshing(
    folder: Path, facts: Mapping[str, Any], minutes: float | None, every_s: float = 10.0
) -> Callable[[], bool]:
    """What `watch` asks whether to stop: so many minutes after now, and meanwhile the newest half hour is drawn below the cell."""
    from IPython.display import display

    begun, drawn = time.monotonic(), [time.monotonic()]
    shown = display("Waiting for the first windows.", display_id=True)

    def stop() -> bool:
        now = time.monotonic()
        if now - drawn[0] > every_s and (folder / "bulletin.csv").exists():
            drawn[0] = now
            figure = told_over_time(folder, facts, minutes=30)
            shown.update(figure)
            plt.close(figure)
        return minutes is not None and now - begun > 60 * minutes

    return stop


@styled
def directions(table: pd.DataFrame, inventory: Any, facts: Mapping[str, Any]) -> Figure | None:
    """Where the events of a bulletin came from, as far as a back-azimuth tells; None without one, or without metadata."""
    import cartopy.crs as ccrs
    from pyproj import Geod

    known, stations = table[np.isfinite(table["back_azimuth"])], [s for net in inventory or () for s in net]
    if known.empty or not stations:
        return None
    lat, lon = (np.array([getattr(s, name) for s in stations]) for name in ("latitude", "longitude"))
    geod, figure = Geod(ellps="WGS84"), plt.figure(figsize=(6.5, 5.5))
    n, at = len(known), (float(lon.mean()), float(lat.mean()))
    far = geod.fwd(np.full(n, at[0]), np.full(n, at[1]), known["back_azimuth"].to_numpy(), np.full(n, 1e3 * RAY_KM))
    ax = map_about(figure, np.append(far[0], lon), np.append(far[1], lat))
    for kind in MARKS:
        mine = (known["kind"] == kind).to_numpy()
        for x, y in zip(far[0][mine], far[1][mine], strict=True):
            ax.plot([at[0], x], [at[1], y], color=COLOURS[kind], lw=1, alpha=0.7, transform=ccrs.Geodetic())
        ax.plot([], [], color=COLOURS[kind], label=f"{kind} ({mine.sum()})") if mine.any() else None
    points(ax, lon, lat, "x", "#222222", "sensors")
    ax.legend(loc="upper right", fontsize=8)
    return finish(
        figure, facts, f"{RAY_KM:g} km along the back-azimuth of each event; its distance is not known. {COASTS_NOTE}"
    )
