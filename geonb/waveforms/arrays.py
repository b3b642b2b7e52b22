"""Where sensors lie together, and how long P takes to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.waveforms import catalogues
from geonb.waveforms.catalogues import FIRST_P

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 3  # sensors that make an array
DEPTH_KM = 10.0  # for travel times of events whose depth nobody knows


def p_times(events: pd.DataFrame, places: Sequence[tuple[float, float]], model: str = "iasp91") -> pd.Series:
    """When the first P of each event reaches the first of some latitudes and longitudes, UTC; NaT where nobody knows.

    Parameters
    ----------
    events : DataFrame of :func:`geonb.waveforms.catalogues.read_events`
    """
    import pandas as pd

    each = [catalogues.places(events, *place)["distance_km"].to_numpy(float) for place in places]
    away = np.fmin.reduce([*each, np.full(len(events), np.nan)])
    took = [
        p_travel_s(far, depth, model) if np.isfinite(far) else np.nan
        for far, depth in zip(away, events["depth_km"], strict=True)
    ]
    return events["time"] + pd.to_timedelta(took, unit="s")


def p_at(
    event: Mapping[str, Any], sensors: Sequence[str], distance_km: float, picks: Mapping[tuple[str, str], Any], model: str = "iasp91"
) -> pd.Timestamp:  # fmt: skip
    """When the first P of an event reached a station, or an array, UTC: the median of its sensors' picks, else by TauP.

    Parameters
    ----------
    event : row of :func:`geonb.waveforms.catalogues.read_events`
    sensors : NET.STA of all that belong to it
    distance_km : from the station or the array's middle
    picks : see :func:`geonb.waveforms.catalogues.read_picks`; empty for TauP alone

    Returns
    -------
    NaT where there is no pick, and time or distance is unknown.
    """
    import pandas as pd

    mine = [picks[event["event_id"], name] for name in sensors if (event["event_id"], name) in picks]
    if mine:
        return pd.Series(mine).median()
    took = p_travel_s(distance_km, event["depth_km"], model) if np.isfinite(distance_km) else np.nan
    return event["time"] + pd.Timedelta(took, "s")


def own_p(
    index: pd.DataFrame, events: pd.DataFrame, inventory: Any, picks: Mapping, model: str, run_in_s: float, notes: list[str]
) -> pd.DataFrame:  # fmt: skip
    """When P came in each trace of :func:`geonb.waveforms.archives.read_event_files`: as its station picked it, else by TauP.

    Parameters
    ----------
    picks : see :func:`geonb.waveforms.catalogues.read_picks`
    run_in_s : float, s
        P in so much of a trace's beginning is of no use.
    notes : list of str
        Is told how many records of which stations have no P, or lack it, and why.

    Returns
    -------
    DataFrame, with `p` (NaT for noise), and `why` traces of those stations are of no use.
    """
    import pandas as pd

    by_id, middles = {row["event_id"]: row for row in events.to_dict("records")}, dict[str, tuple[float, float]]()
    index, left, run_in = index.assign(p=pd.NaT), dict[str, list[str]](), pd.Timedelta(run_in_s, "s")
    here = index[(index["why"] == "") & index["event_id"].isin(list(by_id))]
    for (event_id, net, sta), rows in here.groupby(["event_id", "network", "station"]):
        event, name = by_id[event_id], f"{net}.{sta}"
        if event["kind"] == "noise":
            continue
        if name not in middles:
            middles[name] = middle_of(inventory, [name])
        p = p_at(event, [name], seen_from(event, middles[name])[0], picks, model)
        why = "neither a pick nor a place says when P came" if pd.isna(p) else ""
        if not why and not rows["start"].max() + run_in <= p < rows["end"].min():
            why = f"P is not in them, or in their first {run_in_s:g} s"
        index.loc[rows.index, ["p", "why"]] = p, why
        left.setdefault(why, []).append(name)
    for why in filter(None, left):
        named = ", ".join(f"{name} ({left[why].count(name)})" for name in sorted(set(left[why])))
        notes.append(f"{len(left[why])} records left out, {why}: {named}")
    return index


def seen_from(event: Mapping[str, Any], middle: tuple[float, float]) -> tuple[float, float]:
    """Distance (km) and back-azimuth of an event from a latitude and longitude; NaN where a place is not known."""
    import pandas as pd

    row = catalogues.places(pd.DataFrame([event]), *middle).iloc[0]
    return float(row["distance_km"]), float(row["back_azimuth_deg"])


def arrays_of(inventory: Any, there: set[str] | None = None, aperture_km: float = 10.0) -> dict[str, tuple[str, ...]]:
    """Sensors that lie together, by the name that their codes begin with; single ones are no array.

    Parameters
    ----------
    there : NET.STA of those that count; all by default
    """
    from scipy.cluster.hierarchy import fclusterdata

    places = {
        f"{net.code}.{s.code}": (s.latitude, s.longitude)
        for net in inventory or []
        for s in net
        if there is None or f"{net.code}.{s.code}" in there
    }
    if len(places) < FEWEST:
        return {}
    names, at = list(places), np.radians(np.array(list(places.values())))
    xyz = 6371 * np.stack(
        [np.cos(at[:, 0]) * np.cos(at[:, 1]), np.cos(at[:, 0]) * np.sin(at[:, 1]), np.sin(at[:, 0])], -1
    )
    code = fclusterdata(xyz, aperture_km, criterion="distance", method="single")
    groups: dict[str, tuple[str, ...]] = {}
    for number in np.unique(code):
        mine = sorted(n for n, c in zip(names, code, strict=True) if c == number)
        if len(mine) >= FEWEST:
            stations = [n.partition(".")[2] for n in mine]
            same = next(
                (
                    stations[0][:k]
                    for k in range(len(stations[0]), 0, -1)
                    if all(s.startswith(stations[0][:k]) for s in stations)
                ),
                stations[0],
            )
            groups[same if same not in groups else f"{same}-{number}"] = tuple(mine)
    return groups


def middle_of(inventory: Any, sensors: Sequence[str]) -> tuple[float, float]:
    """Latitude and longitude of the middle of some sensors; NaN where nobody knows."""
    at = np.array(
        [(s.latitude, s.longitude) for net in inventory or [] for s in net if f"{net.code}.{s.code}" in sensors]
    )
    if not len(at):
        return np.nan, np.nan
    return float(at[:, 0].mean()), float(at[0, 1] + ((at[:, 1] - at[0, 1] + 180) % 360 - 180).mean())


@lru_cache(maxsize=8)
def _earth(model: str) -> Any:
    from obspy.taup import TauPyModel

    return TauPyModel(model)


@lru_cache(maxsize=100_000)
def _travel(distance: float, depth: float, model: str) -> float:
    found = _earth(model).get_travel_times(depth, distance, FIRST_P)
    return min((arrival.time for arrival in found), default=np.nan)


def p_travel_s(distance_km: float, depth_km: float = 0.0, model: str = "iasp91") -> float:
    """Travel time of the first P (s), by TauP (Crotwell et al. 1999).

    Depths are taken to a kilometre (0.1 s), which lets the Earth model be used again; an unknown depth is taken for DEPTH_KM.
    """
    from obspy.geodetics import kilometers2degrees

    depth = DEPTH_KM if not np.isfinite(depth_km) else float(max(0, round(depth_km)))
    return _travel(float(kilometers2degrees(distance_km)), depth, model)
