"""A folder as SeisBench keeps it, taken as an archive: which trace holds what of which event, where P was picked, where stations are.

Nothing but metadata are read here; :func:`geonb.waveforms.archives.cut` reads the traces it needs, one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geonb.base import project, times
from geonb.base.project import places, split_files
from geonb.waveforms import formats
from geonb.waveforms.archives import ID, component_of
from geonb.waveforms.catalogues import read_events

if TYPE_CHECKING:
    import pandas as pd

FIRST_P = re.compile(r"trace_(p|P|P1|Pb|Pg|Pn|Pdiff|PKP|PKIKP)_arrival_sample")  # the earliest of a trace counts


@dataclass(frozen=True)
class Folder:
    """What a SeisBench folder holds.

    Attributes
    ----------
    index : DataFrame, a row a component of a trace
        As of :func:`geonb.waveforms.archives.read_event_files`, which :func:`geonb.waveforms.archives.cut` takes, and `p`
        (datetime64[ns] UTC), when P was picked; NaT of noise, which has none. `attrs` hold `units` ("" if nobody says) and `notes`.
    events : DataFrame of :func:`geonb.waveforms.catalogues.events_of`; each trace of noise is one of its own
    places : NET.STA -> latitude and longitude of a station, as in its first trace, NaN where nobody says
    files : what was read
    """

    index: pd.DataFrame
    events: pd.DataFrame
    places: dict[str, tuple[float, float]]
    files: tuple[Path, ...]


def folder_of(waveforms: str, root: Path | None = None) -> Path | None:
    """The SeisBench folder that `waveforms` names; None if it names something else.

    >>> folder_of("no/such/folder") is None
    True
    """
    names = split_files(waveforms)
    roots = places() if root is None else [Path.cwd(), root]
    folders = [home for place in roots if (home := project.folder_of(names[0], [place]))] if len(names) == 1 else []
    return next((folder for folder in folders if any(folder.glob("waveforms*.hdf5"))), None)


def open_folder(folder: Path, rate_hz: float = 40.0, events: str | None = None) -> Folder:
    """Look what a SeisBench folder holds, from its metadata alone.

    Parameters
    ----------
    rate_hz : float, Hz
        Traces below are of no use.
    events : str, optional
        Files of a catalogue with the folder's ids (source_id), in place of what the metadata say of events; noise stays noise.

    Returns
    -------
    Folder; a trace of no use says `why`: its rate, its start, its station or the pick of P is lacking, or another one of the same
    event and station comes before it

    Raises
    ------
    ValueError
        See :func:`geonb.waveforms.formats.read_seisbench` and :func:`geonb.waveforms.catalogues.events_of`.
    """
    import pandas as pd

    table = _with_events(formats.read_seisbench(folder))
    index = _index(table, folder, rate_hz)
    traces = index.drop_duplicates(["file", "trace"])
    said = traces["why"].replace("", "usable").value_counts()
    notes = [f"{n:,} of {len(traces):,} traces: {why}" for why, n in said.items()]
    index.attrs = {"units": table.attrs["units"], "notes": notes}
    known = formats.seisbench_events(table)
    several = table[table["source_type"] != ""].groupby("source_id")["source_type"].nunique()
    if len(torn := several[several > 1]):  # nobody knows which is right
        known["kind"] = known["kind"].where(~known["event_id"].isin(torn.index), "")
        known.attrs["notes"].append(f"events that are of several kinds in the metadata, taken as unknown: {len(torn)}")
    if events:
        given = read_events(events)
        known = pd.concat([given, known[known["kind"] == "noise"]], ignore_index=True)
        known.attrs = given.attrs
    return Folder(index, known, _places(table), tuple(map(Path, table.attrs["files"])))


def _with_events(table: pd.DataFrame) -> pd.DataFrame:
    """Every trace with an event: its own, one named by the origin's time, or one of its own where nothing tells; and what kind that is."""
    import pandas as pd

    kept, none = dict(table.attrs), pd.Series("", table.index)
    text = {name: table[name].fillna("").astype(str) if name in table else none for name in _SAID}
    category, own = text["trace_category"].str.lower(), table["trace_name"].astype(str) + table["trace_chunk"]
    kinds = text["source_type"].str.lower().str.strip()
    kinds = kinds.mask(
        (kinds == "") & category.str.startswith("earthquake"), "earthquake"
    )  # as STEAD's earthquake_local
    kinds = kinds.mask(category.str.contains("noise"), "noise")
    ids = table["source_id"].mask(table["source_id"] == "", text["source_origin_time"])
    table = table.assign(source_id=ids.mask((kinds == "noise") | (ids == ""), own), source_type=kinds)
    noise = table["source_type"] == "noise"  # a place or a time that noise has is of no source
    about = [
        name
        for name in table
        if name.startswith(("source_", "preferred_source_")) and name not in ("source_id", "source_type")
    ]
    table = table.assign(**{name: table[name].astype(object).mask(noise, "") for name in about})
    table.attrs = kept
    return table


_SAID = ("trace_category", "source_type", "source_origin_time", "trace_channel")


def _index(table: pd.DataFrame, folder: Path, rate_hz: float) -> pd.DataFrame:
    """A row a component of each trace."""
    import pandas as pd

    rate, samples = table[formats.RATE].astype(float), _samples(table, folder)
    start = pd.Series(times.decoded(table.get("trace_start_time", pd.Series("", table.index)), {}), table.index)
    picks = [table[name].astype(float) for name in table if FIRST_P.fullmatch(name)]
    sample = pd.concat(picks, axis=1).min(axis=1) if picks else pd.Series(np.nan, table.index)
    noise = table["source_type"] == "noise"
    known, inside = table.reindex(columns=formats.CODES).fillna(""), sample.between(0, samples - 1)
    whys = {
        "below": rate < rate_hz * (1 - 1e-5), "no start": start.isna(), "no station": known["station_code"] == "",
        "no pick of P": ~noise & sample.isna(), "P lies outside": ~noise & sample.notna() & ~inside,
    }  # fmt: skip
    why = np.select(list(whys.values()), list(whys), "")
    why = np.where(why == "below", rate.map("{:g} Hz, ".format) + f"below {rate_hz:g} Hz", why)
    same = known[list(formats.CODES[:2])].assign(event=table["source_id"], why=why).duplicated()
    step = pd.to_timedelta(1e9 / rate, unit="ns")
    made = pd.DataFrame({
        "file": [str(Path(folder, f"waveforms{chunk}.hdf5")) for chunk in table["trace_chunk"]],
        **dict(zip(ID, (known[code] for code in formats.CODES), strict=False)),
        "channel": table.get("trace_channel", pd.Series("", table.index)).fillna("").astype(str), "start": start.astype("M8[ns]"),
        "end": (start + (samples - 1) * step).astype("M8[ns]"), "rate_hz": rate, "samples": samples,
        "event_id": table["source_id"], "p": (start + sample.mask(noise) * step).astype("M8[ns]"),
        "why": np.where(same & (why == ""), "another of this event and station comes before it", why),
        "trace": table["trace_name"].astype(str), "order": table.attrs["dimension_order"],
    })  # fmt: skip
    letters = table[formats.ORDER].astype(str)
    rows = made.loc[made.index.repeat(letters.str.len())]
    place = rows.groupby(level=0).cumcount()
    letter = np.array(list("".join(letters)), object)
    band = rows["channel"].where(rows["channel"].str.len() < 3, "")  # HH of HHZ; one that is whole is of one component
    rows = rows.assign(place=place, channel=band + letter).reset_index(drop=True)
    return rows[rows["channel"].map(component_of) != ""].reset_index(drop=True)


def _samples(table: pd.DataFrame, folder: Path) -> pd.Series:
    """Length of each trace: as its place in a bucket says, or its array."""
    import h5py
    import pandas as pd

    order = table.attrs["dimension_order"]
    axis = order.index("W")
    form = r"\$[^,]*,(?:[^,]*,)*?:(\d+)$" if axis else r"\$[^,]*,:(\d+),"
    last = table["trace_name"].astype(str).str.extract(form)[0]
    samples = pd.to_numeric(last)
    for chunk, rows in table[samples.isna()].groupby("trace_chunk"):
        with h5py.File(Path(folder, f"waveforms{chunk}.hdf5")) as file:
            for i, name in rows["trace_name"].astype(str).items():
                whole = "$" not in name  # then nothing need be read
                samples[i] = file["data"][name].shape[axis] if whole else formats.stored(file, name, order).shape[1]
    return samples.astype(int)


def _places(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    codes, names = list(formats.CODES[:2]), [f"station{formats.PLACE[name]}" for name in ("latitude", "longitude")]
    first = table.reindex(columns=[*codes, *names]).fillna(dict.fromkeys(codes, "")).drop_duplicates(codes)
    return {f"{net}.{sta}": (float(lat), float(lon)) for net, sta, lat, lon in first.itertuples(index=False)}
