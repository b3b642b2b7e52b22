"""The sample store of records: prepared waveforms or beams in one Zarr, and a table of windows into them, dealt to the splits by event.

A group of the Zarr is an array of sensors, or a network of stations; in it ``inputs (record, channel, time)``, 0 where there was no
sample, and ``valid (record, time)``. A record is what one array, or one station, saw of one event. A window is a row of the table:
``record`` and ``x``, its first sample. All windows of an event, of whatever station, noise before it too, are of one split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import cluster
from geonb.base import files as base_files
from geonb.base.conventions import SPLITS, refuse
from geonb.base.project import slug
from geonb.store import arrays, windows
from geonb.store import faults as store_faults
from geonb.store.sealing import FORMAT, make_store
from geonb.store.store import Store, row_attrs
from geonb.waveforms.preparation import fit_scaler
from geonb.workloads.seismic.metrics import KINDS

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from geonb.workloads.seismic.dataset import Recordings
    from geonb.workloads.seismic.loaders import Windows

COLUMNS = (
    "source", "record", "y", "x", "height", "width", "first", "last", "time", "id", "station", "kind", "split", "block", "valid_share",
    "lon", "lat", "distance_km", "back_azimuth", "magnitude",
)  # fmt: skip
COLOURS = {"noise": "#8a8f94", "earthquake": "#1f5f99", "explosion": "#c2410c", "unknown": "#c9c9c9"}
DEALS = ("time", "event")
SCALED_BY = 2000  # training windows that a scaler is fitted to


@dataclass(frozen=True, repr=False)
class RecordStore(Store):
    """A sealed store of records. `store[i]` is window i."""

    def __getitem__(self, i: int) -> xr.Dataset:
        """Window i: inputs (channel, time), valid (time,), with its UTC times; targets (head,); its row as attrs."""
        row = self.index.iloc[i]
        span = slice(int(row["x"]), int(row["x"]) + int(row["width"]))
        group = self._grids[row["source"]]
        window = group[["inputs", "valid"]].isel(record=int(row["record"]), time=span).load()
        step = np.timedelta64(round(1e9 / self.meta["rate_hz"]), "ns")
        times = np.datetime64(row["time"], "ns") + step * np.arange(int(row["width"]))
        window = window.assign(targets=("head", self.targets(np.array([i]))[0])).assign_coords(
            time=times, channel=self.channels
        )
        window.attrs |= row_attrs(row)
        return window

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Answers (row, head), float32: an event or not; of events an explosion or not; NaN where not known or not asked."""
        kind = self.index["kind"].astype(str).to_numpy()[rows]
        explosion = np.select([kind == "explosion", kind == "earthquake"], [1.0, 0.0], np.nan)
        return np.stack([kind != "noise", explosion], -1).astype(np.float32)

    def windows(self, split: str | None = None, augment: str = "none", seed: int = 0) -> Windows:
        """The windows as scaled tensors, see :class:`geonb.workloads.seismic.loaders.Windows`."""
        from geonb.workloads.seismic.loaders import Windows

        return Windows(self, split, augment, seed)

    def labels(self, items: list[dict]) -> list[str]:
        """Kind of each of some items of `windows`."""
        return [self.index["kind"].iloc[int(item["index"])] for item in items]

    @property
    def legend(self) -> dict[str, str]:
        """Every kind there is, with its colour."""
        there = set(self.index["kind"].astype(str))
        return {kind: colour for kind, colour in COLOURS.items() if kind in there}

    def check_split(self) -> dict:
        """Prove from the table itself that no event is in two splits, and that at no station windows of two splits overlap in time.

        Returns
        -------
        dict with method, counts (windows, events of each split), smallest_gap_s (between windows of two splits at one station), leaks
        (0), said

        Raises
        ------
        ValueError
            Listing what leaks.
        """
        found, gap = self._leaks()
        refuse(f"The split of {self.path} leaks", found)
        index, method = self.index, self.meta["split"]["method"]
        counts = {
            "windows": {s: int((index["split"] == s).sum()) for s in SPLITS},
            "events": {s: int(index.loc[index["split"] == s, "id"].nunique()) for s in SPLITS},
            **{
                f"{kind}s": {
                    s: int(index.loc[(index["split"] == s) & (index["kind"] == kind), "id"].nunique()) for s in SPLITS
                }
                for kind in KINDS[1:]
            },
        }
        spans = {s: index.loc[index["split"] == s, "time"] for s in SPLITS}
        when = "; ".join(
            f"{s} {part.min():%Y-%m-%d} to {part.max():%Y-%m-%d}" for s, part in spans.items() if len(part)
        )
        apart = "" if np.isinf(gap) else f" Windows of two splits at one station are at least {gap:,.0f} s apart."
        said = f"Split by {method}: all windows of an event, of whichever station, are of one split ({when}).{apart}"
        return {"method": method, "counts": counts, "smallest_gap_s": float(gap), "leaks": 0, "said": said}

    def _leaks(self) -> tuple[list[str], float]:
        index = self.index
        several = index.groupby("id", observed=True)["split"].nunique()
        found = [f"event {name} is in several splits" for name in several[several > 1].index[:20]]
        if self.meta["split"]["method"] == "time":
            ends = [(s, part["time"].min(), part["time"].max()) for s, part in index.groupby("split", observed=True)]
            ends.sort(key=lambda one: one[1])
            found += [f"{a[0]} and {b[0]} overlap in time" for a, b in pairwise(ends) if a[2] >= b[1]]
        length = pd.Timedelta(seconds=index["width"].iloc[0] / self.meta["rate_hz"])
        gap = np.inf
        for station, part in index.groupby("station", observed=True):
            part = part.sort_values("time")
            ends = part["time"] + length
            # what began before may reach further than the last one
            reached = ends.groupby(part["split"].astype(str)).cummax()
            for split in SPLITS:
                others = reached.where(part["split"] != split).cummax().shift()
                mine = part["split"] == split
                apart = (part["time"] - others)[mine].dropna().dt.total_seconds()
                gap = min(gap, apart.min() if len(apart) else np.inf)
                found += [
                    f"windows of two splits overlap at {station}, {when}"
                    for when in part.loc[apart[apart < 0].index[:3], "time"]
                ]
        return found, gap

    def faults(self, deep: bool = False) -> list[str]:
        """What is wrong with the store beyond missing keys, see `check_store`."""
        root, found = store_faults.open_arrays(self.path)
        channels = len(self.channels)
        for source in self.meta["sources"] if root is not None else ():
            records, samples = source["records"], source["samples"]
            shapes = {"inputs": (records, channels, samples), "valid": (records, samples)}
            found += store_faults.shape_faults(root, source["name"], shapes, filled=["inputs"])
        found += store_faults.statistics_faults(self.meta, channels)
        missing = store_faults.column_faults(self.path, COLUMNS)
        return found + (missing or [f"index.parquet: {fault}" for fault in self._leaks()[0]])


def write_store(
    recordings: Recordings,
    *,
    window_s: float,
    before_s: float,
    noise: int = 1,
    deal: str = "time",
    shares: str | tuple[float, float, float] = "60/20/20",
    scaler: str = "standard:per_channel=false",
    seed: int = 0,
    min_valid: float = 0.8,
    name: str | None = None,
    workload: str = "seismic",
    root: Path | None = None,
    client: Client | None = None,
) -> RecordStore:
    """Prepare records, cut windows of events and of the noise before them, deal events to the splits: a sealed store, or the one there is.

    Parameters
    ----------
    window_s, before_s : float, s
        Length of a window, and how long before P a window of an event begins.
    noise : int
        Windows of noise of each record at most, as many as fit between its beginning and P.
    deal : time or event
        Events in the order of time, the earliest for training, or drawn by the seed; of each kind its share.
    shares : str or tuple
        train/val/test, in percent, of events.
    scaler : str
        See :func:`geonb.waveforms.preparation.fit_scaler`.
    min_valid : float, 0-1
        Windows with a smaller share of samples are left out.
    client : optional
        A `dask.distributed.Client` whose workers prepare the records; they see the same files.

    Raises
    ------
    ValueError
        Every fault of the inputs, before anything is written.
    OSError
        No space left: says how much is needed; nothing half-written remains.
    """
    parts, rate_hz = windows.read_shares(shares), recordings.rate_hz
    if deal not in DEALS:
        raise ValueError(f"deal = {deal!r}: it is one of {', '.join(DEALS)}")
    if not 0 <= before_s < window_s:
        raise ValueError(f"before_s = {before_s} s: give 0 to below window_s = {window_s} s, or P is not in the window")
    inputs = base_files.fingerprints(sorted(recordings.files))
    samples = round(window_s * rate_hz)
    cut = {
        "samples": samples,
        "before": round(before_s * rate_hz),
        "noise": int(noise),
        "deal": deal,
        "shares": list(parts),
        "seed": int(seed),
        "min_valid": float(min_valid),
        "scaler": scaler,
        "window_s": float(window_s),
        "events": recordings.events_key,
    }
    facts = {k: getattr(recordings, k) for k in ("title", "simulated", "attribution")} | {
        "notes": list(recordings.notes)
    }
    facts |= {"channels": [{"name": c, "units": recordings.units} for c in recordings.channels], "rate_hz": rate_hz}
    facts |= {"preparation": recordings.preparation, "stations": list(recordings.stations)}
    folder = make_store(
        "records",
        lambda path: write_arrays(recordings, path, client),
        lambda path: _write_table(path, cut, recordings),
        recipe={
            "format": FORMAT,
            "seismic": 1,
            "recordings": recordings.recipe,
            "files": [i["sha256"] for i in inputs],
        },
        cut=cut,
        facts=facts,
        files=inputs,
        name=slug(name or recordings.name),
        workload=workload,
        root=root,
    )
    return RecordStore.open(folder)


def write_arrays(recordings: Recordings, folder: Path, client: Client | None = None) -> None:
    """Bring prepared records onto disk, a group a source, one record in memory at a time and core."""
    import zarr

    root = zarr.open_group(folder, mode="w")
    facts, need = [], 0
    groups: dict[str, Any] = {}
    for source, records in recordings.sources.items():
        samples, channels = recordings.samples_of(source), len(recordings.channels)
        groups[source] = group = root.create_group(source)
        options: dict[str, Any] = {"compressors": arrays.compressors(1), "fill_value": 0}
        for name, dims in (("inputs", ("record", "channel", "time")), ("valid", ("record", "time"))):
            shape = tuple({"record": len(records), "channel": channels, "time": samples}[dim] for dim in dims)
            dtype = "f4" if name == "inputs" else "bool"
            group.create_array(name, shape=shape, chunks=(1, *shape[1:]), dtype=dtype, dimension_names=dims, **options)
        need += len(records) * samples * (4 * channels + 1)
        facts.append(
            arrays.source_facts(source, None, None, (channels, samples)) | {"records": len(records), "samples": samples}
        )
    with base_files.enough_space(folder.parent, need):
        tasks = [
            (source, i, arrays.writable(groups[source]))
            for source, records in recordings.sources.items()
            for i in range(len(records))
        ]
        found = cluster.spread(_fill, tasks, client, folder.parent, common=(recordings,))
        told = [note for notes in found for note in notes]
        arrays.seal(folder, facts, told=told)


def _fill(recordings: Recordings, source: str, i: int, to: dict[str, Any]) -> list[str]:
    """Prepare record i; gives what a reader should know of it."""
    values, valid, notes = recordings.prepared(source, i)
    to["inputs"][i], to["valid"][i] = values, valid
    return notes


def _write_table(folder: Path, cut: dict, recordings: Recordings) -> dict:
    """Windows, split, statistics and scaler from finished arrays; gives what the seal says of them."""
    import geopandas as gpd
    import zarr

    root: Any = zarr.open_group(folder / "arrays.zarr", mode="r")
    rows = [row for source in recordings.sources for row in _windows(root[source], source, recordings, cut)]
    if not rows:
        refuse(
            f"No window has {cut['min_valid']:.0%} of its samples",
            _gathered(root.attrs["told"]) or ["records are too short"],
            cure="Give a shorter window_s or before_s, a smaller min_valid, or other records.",
        )
    index = pd.DataFrame(rows)
    split, said = deal_events(index, cut["deal"], cut["shares"], cut["seed"], cut["window_s"])
    index["split"] = pd.Categorical(split, SPLITS)
    index["block"] = pd.factorize(index["id"], sort=True)[0].astype(np.int32)
    index["kind"] = pd.Categorical(index["kind"], list(COLOURS))
    index["source"] = index["source"].astype("category")
    place = gpd.points_from_xy(index["lon"], index["lat"])
    gpd.GeoDataFrame(index, geometry=[p if np.isfinite(p.x) else None for p in place], crs="OGC:CRS84").to_parquet(
        folder / "index.parquet", index=False
    )
    training = index[index["split"] == "train"]
    kind = training["kind"].astype(str)
    known = kind.isin(("earthquake", "explosion"))
    prevalence = [float((kind != "noise").mean()), float((kind[known] == "explosion").mean()) if known.any() else 0.5]
    drawn = np.random.default_rng([cut["seed"], 0x5CA1]).permutation(len(training))[:SCALED_BY]
    return {
        "prevalence": prevalence,
        "parameters": cut,
        "split": {"method": cut["deal"], **said},
        "sources": [fact | {"dataset": recordings.name} for fact in root.attrs["sources"]],
        "statistics": _statistics(root, training.iloc[np.sort(drawn)]),
        "scaler": fit_scaler(cut["scaler"], recordings.channels, _some(root, training.iloc[np.sort(drawn)])),
        "notes": [*recordings.notes, *_gathered(root.attrs["told"]), *_lacking(index)],
    }


def _windows(group: Any, source: str, recordings: Recordings, cut: dict) -> Iterator[dict[str, Any]]:
    """Windows of one source's records: of the event, and of the noise before it."""
    samples, before, rate_hz = cut["samples"], cut["before"], recordings.rate_hz
    for i, record in enumerate(recordings.sources[source]):
        valid = group["valid"][i].astype(bool)
        length, p = (
            int(np.flatnonzero(valid).max(initial=-1)) + 1,
            round(record.p_s * rate_hz),
        )  # behind it the group's longest record goes on
        about = {
            "id": record.event["event_id"],
            "station": record.station,
            "source": source,
            "record": i,
            "y": 0,
            "height": len(recordings.channels),
            "width": samples,
            "lon": record.event["longitude"],
            "lat": record.event["latitude"],
            "magnitude": record.event["magnitude"],
            "distance_km": record.distance_km,
            "back_azimuth": record.back_azimuth,
        }
        # a window stays a window of its kind wherever it is shifted to: of an event, P is in it, and of noise it is not
        room = max(0, p - samples // 2), min(p, length - samples)
        wanted = [(p - before, record.event["kind"] or "unknown", room)] if record.event["kind"] != "noise" else []
        until = p - round(recordings.guard_s * rate_hz) if wanted else length
        fit = max(min(cut["noise"], until // samples), 0)  # P may come before the record does
        starts = np.linspace(0, until - samples, fit).round().astype(int).tolist() if fit else []
        wanted += [(start, "noise", (0, until - samples)) for start in starts]
        for start, kind, (first, last) in wanted:
            share = float(valid[start : start + samples].mean()) if 0 <= start <= length - samples else 0.0
            if share < cut["min_valid"]:
                continue
            time = np.datetime64(record.start, "ns") + np.timedelta64(round(1e9 * start / rate_hz), "ns")
            yield about | {
                "x": start,
                "first": min(first, start),
                "last": max(last, start),
                "time": time,
                "kind": kind,
                "valid_share": share,
            }


def deal_events(
    index: pd.DataFrame, deal: str, shares: Sequence[float], seed: int, length_s: float
) -> tuple[np.ndarray, dict[str, Any]]:
    """Deal events to the splits: (split of each window, facts). By time there is one date between two splits; by event each kind is dealt.

    Events whose windows overlap in time, anywhere, are dealt as one: what one station saw of both is the same ground's motion.

    Raises
    ------
    ValueError
        Fewer than three events, or groups of them, apart in time.
    """
    kinds = index[index["kind"] != "noise"].groupby("id")["kind"].first()
    events = index.groupby("id")["time"].agg(["min", "max"]).sort_values("min", kind="stable")
    ends_at = events["max"].cummax().shift() + pd.Timedelta(seconds=length_s)
    events["group"] = (events["min"] >= ends_at).cumsum()
    groups = events.reset_index().groupby("group")["id"].agg(list)
    ids = groups.str[0].to_numpy()  # the first stands for its group
    if len(ids) < 3:
        raise ValueError(
            f"{len(events)} events, {len(ids)} apart in time, are too few for training, validation and test: give 3 or more that are"
        )
    ends = np.cumsum(shares) / sum(shares)
    if deal == "time":
        at = np.clip(np.round(ends[:2] * len(ids)).astype(int), [1, 2], [len(ids) - 2, len(ids) - 1])
        code = np.searchsorted(at, np.arange(len(ids)), side="right")
    else:
        code = np.zeros(len(ids), int)
        of = kinds.reindex(ids).fillna("noise").to_numpy()
        for kind in np.unique(of):
            mine = np.random.default_rng([seed, 0xDEA1]).permutation(np.flatnonzero(of == kind))
            code[mine] = np.searchsorted(np.round(ends[:2] * len(mine)), np.arange(len(mine)), side="right")
    named = {one: SPLITS[c] for group, c in zip(groups, code, strict=True) for one in group}
    dealt = index["id"].map(named).to_numpy()
    return dealt, {"events": {s: sum(one == s for one in named.values()) for s in SPLITS}}


def _some(root: Any, rows: pd.DataFrame) -> Iterator[np.ndarray]:
    """Windows (channel, time) of some rows, one after the other."""
    for row in rows.itertuples():
        yield np.asarray(root[row.source]["inputs"][row.record, :, row.x : row.x + row.width])


def _statistics(root: Any, rows: pd.DataFrame) -> dict:
    """Mean and standard deviation of the channels over training windows."""
    return arrays.merged(map(arrays.moments_of, _some(root, rows)))


def _gathered(notes: Sequence[str], most: int = 12) -> list[str]:
    """Notes of records: of those that differ in names and numbers alone the first, and how many there are."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        what = note.partition(": ")[2] or note
        kinds.setdefault(re.sub(r"-?\d[\d.:T-]*", "N", what.partition(" (")[0]), []).append(note)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    told = [same[0] if len(same) == 1 else f"{same[0]}; {len(same) - 1:,} more of the kind." for same in ordered[:most]]
    left = sum(map(len, ordered[most:]))
    return told + [f"{left:,} more notes of {len(ordered) - most} other kinds: the arrays' attribute `told`."] * bool(
        left
    )


def _lacking(index: pd.DataFrame) -> list[str]:
    """Kinds that a split has none of, and events of unknown kind."""
    notes = []
    for split in SPLITS:
        mine = set(index.loc[index["split"] == split, "kind"].astype(str))
        lacking = [kind for kind in KINDS if kind not in mine]
        notes += [f"The {split} split has no {' and no '.join(lacking)}."] if lacking else []
    unknown = index.loc[index["kind"] == "unknown", "id"].nunique()
    if unknown:
        notes.append(
            f"{unknown} events are of unknown kind: they count for the detector, and for the classifier nowhere."
        )
    return notes
