"""What all stations saw of the event of a window, as it is chosen below the explorer's map.

Sensors of an array are read from the archive again, by any filter; of a network of stations, and of beams, what the store holds is
filtered once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.conventions import short
from geonb.base.project import project_root
from geonb.plots.waveforms import SPANS_S, Section, event_sheet, section_of
from geonb.waveforms import archives, arrays, beams
from geonb.waveforms.preparation import below_nyquist, filter_words, filtered
from geonb.workloads.seismic.dataset import RUN_IN_S, Record, Recordings
from geonb.workloads.seismic.store import COLOURS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from geonb.workloads.seismic.store import RecordStore

BANDS = ("bandpass:low=1,high=4", "bandpass:low=4,high=12", "highpass:low=1", "none")
NEAR, BEAMS = "about P", "beams"


def choices(store: RecordStore) -> dict[str, list[str]]:
    """What can be chosen of a sheet; first what the network sees, or of an array its sensors."""
    own = store.meta["preparation"]
    found = [*(f"sensors, {name}" for name in own["beams"]), BEAMS] if own["beams"] else list(store.channels)
    told = {
        "filter": [own["filters"], *below_nyquist(BANDS, store.meta["rate_hz"])],
        "traces": found,
        "time": ["the whole window", NEAR],
    }
    return told | ({"beam power": list(SPANS_S)} if own["beams"] else {})


def sheet(store: RecordStore, row: int, chosen: Mapping[str, str]) -> Figure:
    """Draw the event of a window (a row of the store's table) as chosen, see `choices`."""
    about, own, before_s = store.index.iloc[row], store.meta["preparation"], _before_s(store)
    note, sensors = f"Filter: {filter_words(chosen['filter'])}.", None
    azimuth, kind = float(about["back_azimuth"]), str(about["kind"])
    if own["beams"]:
        try:
            sensors = sensors_of(store, about, chosen["filter"])
        except (OSError, ValueError, KeyError) as error:  # an archive may be gone: what the store holds is still there
            note += f" The archive cannot be read again ({short(error)}): the store's beams alone."
    if sensors is None or chosen["traces"] == BEAMS:
        section = of_store(store, row, chosen["traces"], chosen["filter"])
    else:
        section = section_of(sensors, chosen["traces"][-1], before_s, about["distance_km"], azimuth, own["beams"]["Z"])
    size = f", M {about['magnitude']:.1f}" if np.isfinite(about["magnitude"]) else ""
    seen = f", {about['distance_km']:,.0f} km, from {azimuth:.0f}°" if np.isfinite(azimuth) else ""
    more = {"sensors": sensors, "back_azimuth": azimuth} if own["beams"] else _places(store, about, section)
    return event_sheet(
        section, store.meta, title=f"{kind}, {about['id']}{size}, {about['station']}{seen}", colour=COLOURS[kind], p=kind != "noise",
        near=chosen["time"] == NEAR, span_s=SPANS_S.get(chosen.get("beam power", ""), (-1, 5)), note=note, **more,
    )  # fmt: skip


def _before_s(store: RecordStore) -> float:
    return store.meta["parameters"]["before"] / store.meta["rate_hz"]


def _places(store: RecordStore, about: Any, section: Section) -> dict[str, Any]:
    """Where the stations of a network and the event are, km east and north of their middle; NaN where nobody knows."""
    found = [path for name in store.meta.get("stations", ()) if (path := project_root() / name).is_file()]
    inventory = archives.read_stations(found) if found else None
    places = [*(arrays.middle_of(inventory, [name]) for name in section.names), (about["lat"], about["lon"])]
    at = beams.local_km(*np.array(places, float).T)
    return {"place_km": at[:-1], "source_km": at[-1] if np.isfinite(at[-1]).all() else None}


def sensors_of(store: RecordStore, about: Any, filters: str) -> xr.Dataset:
    """All sensors of a window's array, prepared from the archive anew: Dataset with ``data`` (sensor, component, time).

    Raises
    ------
    OSError, ValueError, KeyError
        If the archive is not there any more, or holds nothing of the window.
    """
    meta, root, second, start = store.meta, project_root(), np.timedelta64(1, "s"), about["time"].to_datetime64()
    inventory, stations = archives.read_stations(meta["stations"], root), [root / name for name in meta["stations"]]
    files = [str(path) for file in meta["inputs"] if (path := root / file["path"]) not in stations]
    own = (f"{about['id']}.", f"{about['id']}_")  # a file an event, where they are named so: others need no look
    index = archives.index_files([file for file in files if Path(file).name.startswith(own)] or files, root)
    there, length_s = set(index["network"] + "." + index["station"]), about["width"] / meta["rate_hz"]
    names = arrays.arrays_of(inventory, there, meta["preparation"]["aperture_km"])[about["station"]]
    rows = index[
        (index["start"] < start + round(length_s) * second) & (index["end"] > start - round(RUN_IN_S) * second)
    ]
    record = Record({"event_id": about["id"]}, about["station"], names, tuple(rows.index), start, length_s, 0.0,
                    back_azimuth=float(about["back_azimuth"]))  # fmt: skip
    return Recordings({}, index, index, inventory, meta["preparation"], "", ()).sensors(record, filters)


def of_store(store: RecordStore, row: int, channel: str, filters: str) -> Section:
    """What the store holds of an event: of an array its beams; else a channel, a trace a station, since P at the first of them."""
    index, rate, own = store.index, store.meta["rate_hz"], store.meta["preparation"]
    about, names, what = index.iloc[row], store.channels, "beams, as the network sees them"
    if own["beams"]:
        traces, part = store[row]["inputs"].to_numpy(), index.iloc[[row] * len(names)]
    else:
        mine = (index["id"] == about["id"]) & ((index["kind"] == "noise") == (about["kind"] == "noise"))
        rows = np.flatnonzero(mine)[~index[mine]["station"].duplicated().to_numpy()]
        part, what = index.iloc[rows], f"{channel} of {len(rows)} stations"
        traces, names = np.stack([store[int(i)]["inputs"].sel(channel=channel) for i in rows]), part["station"].tolist()
    traces = traces if filters in (own["filters"], "none") else filtered(traces, rate, filters, rate)
    later = (part["time"] - part["time"].min()).dt.total_seconds().to_numpy()
    seconds = later[:, None] + np.arange(traces.shape[-1]) / rate - _before_s(store)
    return Section(traces, seconds, part["distance_km"].to_numpy(), later, names, what)
