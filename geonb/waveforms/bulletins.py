"""A bulletin of events as CSV and QuakeML, which grows for months while somebody watches, and goes on where it was after a kill."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files
from geonb.waveforms.journal import Growing

if TYPE_CHECKING:
    import pandas as pd

TIMES = ("onset", "detected")
TEXTS = ("event_id", "kind", "majority", "stations", "status", "remark")
UNITS = {"back_azimuth": "back_azimuth_deg", "slowness": "slowness_s_km"}  # as the file calls them
BASE = "smi:local/geonb"


class Book:
    """``bulletin.csv`` and ``bulletin.xml`` (QuakeML) of a folder, each whole or not at all, and ``settled.json``: what is told for good.

    Of what is settled the bytes stay; only events that are new or others are written anew. Where a file is not as it was left nothing
    is settled, and all is to be told again.

    Parameters
    ----------
    columns : of the bulletin; `event_id` first, then those of :data:`TIMES`, :data:`TEXTS` and numbers

    Attributes
    ----------
    until : float, s since 1970
        What was seen before is settled.
    floors : dict, station -> number of the first window that what is not settled depends on
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        from obspy.core.event import Event

        self.folder, path = folder, folder / "settled.json"
        there = files.read_json(path) if path.exists() else {}
        names = ",".join(UNITS.get(name, name) for name in columns) + "\n"
        head, _, tail = quakeml_parts([Event(event_type="earthquake")])
        self.files = [Growing(folder / "bulletin.csv", names.encode()), Growing(folder / "bulletin.xml", head, tail)]
        for file in self.files:
            file.settled = there.get(file.path.name, 0)
        if not all(file.whole for file in self.files):
            there, self.files[0].settled, self.files[1].settled = {}, 0, 0
        self.until, self.floors = float(there.get("until", -math.inf)), dict[str, int](there.get("floors", {}))
        lines = self.files[0].rest().splitlines()[0 if self.files[0].settled else 1 :]
        self.told: dict[str, tuple[str, Sequence[bytes]]] = {
            line.decode().partition(",")[0]: ("", ()) for line in lines
        }

    def write(
        self, table: pd.DataFrame, comments: Iterable[str], seen: Mapping[str, Sequence[Any]]
    ) -> tuple[list[str], list[str]]:
        """Tell of these events, after the settled ones: which are new, or others than before, and which there are no more.

        Parameters
        ----------
        table : DataFrame of the columns, in the order of time
        comments : a text an event, for the QuakeML
        seen : by event what each station saw, as :func:`quakeml` takes it
        """
        texts = dict(zip(table["event_id"], comments, strict=True))
        keys = {row[0]: repr((row, texts[row[0]], seen[row[0]])) for row in table.itertuples(index=False, name=None)}
        gone = [name for name in self.told if name not in keys]
        others = [name not in self.told or self.told[name][0] != key for name, key in keys.items()]
        new = table[np.array(others, bool)]
        if len(new):
            times = {name: new[name].dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:-3] + "Z" for name in TIMES}
            lines = new.assign(**times).round(4).to_csv(index=False, header=False).encode().splitlines(keepends=True)
            events = [quakeml(n, kind, texts[n], seen[n]) for n, kind in zip(new["event_id"], new["kind"], strict=True)]
            parts = quakeml_parts(events)[1]
            self.told |= {n: (keys[n], both) for n, *both in zip(new["event_id"], lines, parts, strict=True)}
        self.told = {name: self.told[name] for name in keys}
        if gone or len(new) or not self.files[0].path.exists():
            for i, file in enumerate(self.files):
                file.write(entry[1][i] for entry in self.told.values())
        return new["event_id"].tolist(), gone

    def settle(self, until: float, floors: Mapping[str, int], names: Sequence[str]) -> None:
        """The first events of those that were just written, `names`, stay as they are: what was seen before `until` is told for good."""
        for i, file in enumerate(self.files):
            file.settle(self.told[name][1][i] for name in names)
        self.told = {name: entry for name, entry in self.told.items() if name not in set(names)}
        self.until, self.floors = until, dict(floors)
        sizes = {file.path.name: file.settled for file in self.files}
        files.write_json(self.folder / "settled.json", {"until": until, "floors": self.floors} | sizes)


def read(folder: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """The bulletin that stands in a folder: DataFrame of these columns, times in UTC; what an older one did not tell is empty.

    Raises
    ------
    FileNotFoundError
        If nothing was watched into it.
    """
    import pandas as pd

    path = Path(folder) / "bulletin.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there: nothing was watched into this folder. Give a source, or another folder"
        )
    kinds = {name: str if name in (*TIMES, *TEXTS) else float for name in (*columns, *UNITS.values())}
    table = pd.read_csv(path, dtype=kinds).rename(columns={said: name for name, said in UNITS.items()})
    table = table.reindex(columns=list(columns))
    times = {
        name: pd.to_datetime(table[name], utc=True).dt.tz_localize(None).astype("datetime64[ns]") for name in TIMES
    }
    return table.assign(**times, remark=table["remark"].astype(object).fillna("").astype(str))


def quakeml(name: str, kind: str, comment: str, seen: Iterable[Any]) -> Any:
    """ObsPy's Event with its type, a pick of P a station, and a comment that says how sure that is. It tells no place.

    Parameters
    ----------
    seen : what has station (an array's name, or NET.STA[.LOC]), onset (s since 1970), back_azimuth (degrees) and slowness (s/km); without
        a pick where the onset is NaN
    """
    from obspy import UTCDateTime
    from obspy.core import event as of
    from obspy.geodetics import degrees2kilometers

    picks = []
    for one in (one for one in seen if np.isfinite(one.onset)):
        parts = one.station.split(".")
        net, station, place = [*parts, "", ""][:3] if len(parts) > 1 else ("XX", *parts, "")
        pick = of.Pick(
            resource_id=of.ResourceIdentifier(f"{BASE}/{name}/{one.station}"), time=UTCDateTime(one.onset), phase_hint="P",
            evaluation_mode="automatic", waveform_id=of.WaveformStreamID(net, station, place or None),
        )  # fmt: skip
        if np.isfinite(one.slowness):
            pick.backazimuth, pick.horizontal_slowness = one.back_azimuth, one.slowness * degrees2kilometers(1)
        picks.append(pick)
    return of.Event(
        resource_id=of.ResourceIdentifier(f"{BASE}/{name}"), event_type=kind, event_type_certainty="suspected", picks=picks,
        comments=[of.Comment(text=comment, force_resource_id=False)],
    )  # fmt: skip


def quakeml_parts(events: Sequence[Any]) -> tuple[bytes, list[bytes], bytes]:
    """ObsPy's Events, one at least and none of them empty, as QuakeML: what stands before them, each of them, what stands after."""
    from obspy.core.event import Catalog, ResourceIdentifier

    written = io.BytesIO()
    Catalog(list(events), resource_id=ResourceIdentifier(f"{BASE}/bulletin")).write(written, "QUAKEML")
    head, *parts = written.getvalue().split(b"<event ")
    tail = parts[-1].rpartition(b"</event>")[2]
    return head, [b"<event " + part.rpartition(b"</event>")[0] + b"</event>\n    " for part in parts], tail
