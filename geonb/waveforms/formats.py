"""Other people's files of windows: the original's HDF5, an event a file, and SeisBench's folders, read and written window by window."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base import files, times
from geonb.base.conventions import refuse, short
from geonb.waveforms.catalogues import COLUMNS, events_of
from geonb.waveforms.preparation import dataset

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

CHANNELS = {"vertical": "Z", "transverse": "T", "radial": "R", "north": "N", "east": "E"}  # the original's words
PLACE = {"latitude": "_latitude_deg", "longitude": "_longitude_deg", "elevation_m": "_elevation_m"}
SOURCE = dict(zip(COLUMNS, ("id", "origin_time", "type", "latitude_deg", "longitude_deg", *COLUMNS[5:]), strict=True))
RATE, ORDER = "trace_sampling_rate_hz", "trace_component_order"
CODES = ("station_network_code", "station_code", "station_location_code")
TEXTS = (*CODES, "source_id", "trace_start_time")
Windows = Iterable[tuple["xr.Dataset", Mapping[str, Any]]]


def write_original(waveforms: xr.Dataset, path: str | Path, event: Mapping[str, Any], **more: Any) -> Path:
    """Write the window of one sensor or beam as the original has it: ``traces`` (component, time), ``event_info`` in JSON.

    Parameters
    ----------
    waveforms : Dataset (sensor: 1, component, time)
    event : a row of a catalogue; its `depth_km` is written as such, and as ``depth`` in metres, ObsPy's unit
    more : further entries of event_info, as ``baz_to_arces``
    """
    import h5py

    known = {key: value for key, value in event.items() if value == value and value != ""}
    origin: dict[str, Any] = {key: float(known[key]) for key in ("latitude", "longitude", "depth_km") if key in known}
    origin |= {"depth": origin["depth_km"] * 1000} if "depth_km" in known else {}
    origin |= {"time": f"{np.datetime64(known['time'], 'ns')}Z"} if "time" in known else {}
    size = {"mag": known["magnitude"], "magnitude_type": known.get("magnitude_type")} if "magnitude" in known else {}
    words = {component: word for word, component in CHANNELS.items()}
    stats = {"starttime": waveforms.attrs["start"], "sampling_rate": waveforms.attrs["rate_hz"], "station": str(waveforms["sensor"].item()),
             "channels": [words[component] for component in waveforms["component"].values.tolist()]}  # fmt: skip
    info = {"event_id": known["event_id"], "event_type": known.get("kind"), "origins": [origin], "magnitudes": [size]}
    with files.whole_file(Path(path)) as partial, h5py.File(partial, "w") as file:
        file["traces"] = waveforms["data"].values[0].astype(np.float32)
        file["event_info"] = json.dumps(info | {"trace_stats": stats} | more, default=float)
    return Path(path)


def read_original(path: str | Path) -> tuple[xr.Dataset, pd.DataFrame]:
    """Read a file of the original, or of :func:`write_original`: the window, and its event as a catalogue of one row.

    All of event_info stands among the attributes too. A depth of which it does not say that it is in km is NaN.

    Raises
    ------
    ValueError
        What the file lacks.
    """
    import h5py
    import pandas as pd

    try:
        with h5py.File(path) as file:
            attrs = {**file.attrs, **file["traces"].attrs}
            text = file["event_info"][()] if "event_info" in file else attrs["event_info"]
            values, info = file["traces"][()], json.loads(text)
        stats, origin, size = info["trace_stats"], *((info.get(key) or [{}])[0] for key in ("origins", "magnitudes"))
        names = [next((c for word, c in CHANNELS.items() if word in n.lower()), "") for n in stats["channels"]]
        start, rate = times.stamp(stats["starttime"]), float(stats["sampling_rate"])
        if values.ndim != 2 or len(values) != len(names) or not all(names) or start != start:
            raise ValueError(f"traces {values.shape}, channels {stats['channels']}, starttime {stats['starttime']}")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no file of the original (traces, event_info): {short(error)}") from None
    event_id = str(info.get("event_id") or origin.get("resource_id") or Path(path).stem)
    row = {"event_id": event_id, "kind": info.get("event_type"), **origin, **size, "depth": None}
    events = events_of(pd.DataFrame([row], dtype=object))
    notes = events.attrs["notes"] + ["the depth has no unit"] * ("depth" in origin and "depth_km" not in origin)
    attrs = {"start": f"{start.isoformat()}Z", "rate_hz": rate, "units": "", "event_id": event_id, "array": ""}
    attrs |= {"notes": notes, "event_info": info}
    return dataset(values[None], [str(stats.get("station", ""))], names, attrs), events


def write_seisbench(windows: Windows, folder: str | Path, events: pd.DataFrame | None = None, bucket: int = 64) -> Path:
    """Write windows as SeisBench keeps them, ``waveforms.hdf5`` and ``metadata.csv``, a trace a sensor; a bucket is in memory at once.

    Parameters
    ----------
    windows : iterable of (Dataset (sensor, component, time), further columns), of one unit
        Columns in SeisBench's names, the same for all; of ``split``, val becomes its dev. NaN is written as 0, and its share told by
        ``trace_completeness``.
    folder : new; appears whole or not at all
    events : DataFrame of a catalogue, optional
        Fills ``source_...`` by the windows' `event_id`.

    Raises
    ------
    ValueError
        If the folder is there, no window comes, or one brings another unit or columns that the first has not.
    """
    import h5py

    if Path(folder).exists():
        raise ValueError(f"{folder} is there already. Give a new folder, or remove it")
    known = {} if events is None else events.set_index("event_id", drop=False).to_dict("index")
    units: set[str] = set()
    with ExitStack() as stack:
        place = stack.enter_context(files.whole_folder(Path(folder)))
        file = stack.enter_context(h5py.File(place / "waveforms.hdf5", "w"))
        text = stack.enter_context((place / "metadata.csv").open("w", newline="", encoding="utf-8"))
        table: Any = None
        numbers, traces = count(), _traces(windows, known, units)
        groups = groupby(traces, lambda trace: (len(trace[0]), next(numbers) // bucket))
        for made, held in enumerate(list(group) for _, group in groups):
            block = np.zeros((len(held), len(held[0][0]), max(values.shape[1] for values, _ in held)), np.float32)
            for i, (values, row) in enumerate(held):
                block[i, :, : values.shape[1]] = values
                row = {"trace_name": f"bucket{made}${i},:{values.shape[0]},:{values.shape[1]}"} | row
                if table is None:
                    table = csv.DictWriter(text, list(row))
                    table.writeheader()
                table.writerow(row)
            file[f"data/bucket{made}"] = block
        if len(units) != 1:
            raise ValueError(f"{folder} is not written: its windows must be of one unit, not {sorted(units)}")
        unit = units.pop().replace("m/s", "mps")
        for key, value in {"dimension_order": "CW", "measurement": "velocity", "unit": unit}.items():
            file[f"data_format/{key}"] = value
    return Path(folder)


def _traces(windows: Windows, known: Mapping[str, Any], units: set[str]) -> Iterator[tuple[np.ndarray, dict]]:
    """Samples (component, time) and row of each sensor of windows."""
    for waveforms, more in windows:
        attrs, components = waveforms.attrs, "".join(waveforms["component"].values.tolist())
        units.add(attrs["units"])
        event = known.get(attrs["event_id"], {}) | {"event_id": attrs["event_id"]}
        shared = {f"source_{theirs}": event.get(ours, "") for ours, theirs in SOURCE.items()}
        shared |= {"trace_start_time": attrs["start"], RATE: attrs["rate_hz"], ORDER: components}
        split = {"split": "dev"} if more.get("split") == "val" else {}
        for i, name in enumerate(waveforms["sensor"].values.tolist()):
            values, row = waveforms["data"].values[i], dict(zip(CODES, [*name.split("."), "", ""], strict=False))
            row |= {f"station{end}": waveforms[ours].values[i] for ours, end in PLACE.items() if ours in waveforms}
            row |= {"trace_npts": values.shape[-1], "trace_completeness": np.isfinite(values).mean()}
            yield np.where(np.isfinite(values), values, 0), {**shared, **row, **more, **split}


def read_seisbench(folder: str | Path) -> pd.DataFrame:
    """The metadata of a SeisBench folder, of all its chunks: a row a trace.

    Returns
    -------
    DataFrame with the file's own columns and ``trace_chunk``, ``trace_sampling_rate_hz`` and ``trace_component_order`` in any case; as
    attributes `folder`, `files`, `units` and `dimension_order`. :func:`seisbench_windows` reads its rows, :func:`seisbench_events` its
    events.

    Raises
    ------
    ValueError
        Listing files that are missing, and if nothing tells the rate or the components, or chunks differ in unit or order.
    """
    import h5py
    import pandas as pd

    folder, tables, about, shared = Path(folder), [], dict[str, Any](), set[tuple[str, str]]()
    listed = (folder / "chunks").read_text().split() if (folder / "chunks").is_file() else []
    named = [] if (folder / "waveforms.hdf5").is_file() else [path.stem for path in folder.glob("metadata*.csv")]
    chunks = listed or sorted(name.removeprefix("metadata") for name in named) or [""]  # as SeisBench finds them
    both = [folder / name for chunk in chunks for name in (f"metadata{chunk}.csv", f"waveforms{chunk}.hdf5")]
    refuse(f"{folder} is no whole SeisBench folder", [f"{path.name} is missing" for path in both if not path.is_file()])
    for chunk in chunks:
        with h5py.File(folder / f"waveforms{chunk}.hdf5") as file:
            told = file.get("data_format", {})
            about = {key: (told[key].asstr() if told[key].dtype.kind in "OS" else told[key])[()] for key in told}
        shared.add((about.get("unit", ""), about.get("dimension_order", "CW")))
        path, kept = folder / f"metadata{chunk}.csv", dict.fromkeys((*TEXTS, ORDER), str)
        table = pd.read_csv(path, dtype=kept, keep_default_na=False, na_values=["", "nan", "None"], low_memory=False)
        table = table.fillna(dict.fromkeys(TEXTS, ""))  # NA is a network, and 00 a location
        rate = 1 / table["trace_dt_s"] if "trace_dt_s" in table else about.get("sampling_rate")
        told = {"source_id": "", RATE: rate, ORDER: about.get("component_order")}
        tables.append(pd.DataFrame(told, table.index).assign(**table, trace_chunk=chunk))
    whole = pd.concat(tables, ignore_index=True)
    unknown = [f"neither metadata nor data_format tell {k} of all" for k in (RATE, ORDER) if whole[k].isna().any()]
    unknown += [f"its chunks differ in unit or dimension_order: {sorted(shared)}"] * (len(shared) > 1)
    unit, order = min(shared)
    unknown += [f"dimension_order = {order!r}, which is neither CW nor WC"] * (order not in ("CW", "WC"))
    refuse(f"{folder} cannot be read", unknown)
    whole.attrs = {"folder": str(folder), "units": unit.replace("mps", "m/s"), "files": list(map(str, both))}
    whole.attrs["dimension_order"] = order
    return whole


def stored(file: Any, name: str, dimension_order: str = "CW") -> np.ndarray:
    """Samples (component, time) of a trace of an open ``waveforms.hdf5``, by its trace_name, as ``bucket0$3,:3,:600``, and no other's.

    KeyError says that there is no such trace.
    """
    name, _, where = name.partition("$")
    parts = [[int(v) if v.strip() else None for v in part.split(":")] for part in where.split(",") if where]
    values = file["data"][name][tuple(slice(*part) if len(part) > 1 else part[0] for part in parts)]
    return values if dimension_order == "CW" else values.T


def seisbench_windows(table: pd.DataFrame) -> Iterator[xr.Dataset]:
    """The windows of rows of :func:`read_seisbench`, one by one in their order, each of one sensor."""
    import h5py

    with ExitStack() as stack:
        names = {chunk: Path(table.attrs["folder"], f"waveforms{chunk}.hdf5") for chunk in set(table["trace_chunk"])}
        opened = {chunk: stack.enter_context(h5py.File(name)) for chunk, name in names.items()}
        for row in table.to_dict("records"):
            values = stored(opened[row["trace_chunk"]], str(row["trace_name"]), table.attrs["dimension_order"])
            attrs = {"start": row.get("trace_start_time", ""), "rate_hz": float(row[RATE]), "notes": [], "array": ""}
            attrs |= {"event_id": row.get("source_id", ""), "units": table.attrs["units"]}
            new = dataset(values[None], [".".join(filter(None, map(row.get, CODES)))], row[ORDER], attrs)
            place = {ours: ("sensor", [float(row.get(f"station{end}", np.nan))]) for ours, end in PLACE.items()}
            yield new.assign_coords(place)


def seisbench_events(table: pd.DataFrame) -> pd.DataFrame:
    """The catalogue of rows of :func:`read_seisbench`: each event once, as :func:`events_of` reads them."""
    rows = table[table["source_id"] != ""].drop_duplicates("source_id")  # noise has none
    return events_of(rows[[name for name in rows if name.startswith(("source_", "preferred_source_"))]])
