"""Events and covariates -> one cube on disk: months, years and what never changes, each stored once.

arrays.zarr, group "grid":

    monthly (time, monthly_channel, y, x)   float32, chunks of 12 months x 1 channel; no NaN
    yearly  (year, yearly_channel, y, x)    float32, NaN unknown; only with yearly covariates
    static  (static_channel, y, x)          float32, NaN unknown; only with static ones
    valid, country, gid (y, x)              y ascends: row 0 is the south
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geonb.base import files, threads
from geonb.store import arrays
from geonb.workloads.conflict import covariates as conflict_covariates
from geonb.workloads.conflict import events as conflict_events
from geonb.workloads.conflict import priogrid
from geonb.workloads.conflict.event_files import Paths

if TYPE_CHECKING:
    import xarray as xr

VERSION = 2  # raise it when the same events and settings give other arrays, so that no older cube is found again
MONTHS_CHUNK = 12
MOST_HALF_LIFE = 10_000  # months; of a much longer one, float32 keeps nothing but zeros
COUNTED = ("count", "best", "high", "low")
UNITS = {"event": "1", "count": "events", "best": "deaths", "high": "deaths", "low": "deaths", "months_since": "months"}
SUFFIXES = {"": None} | {f"_{name}": code for code, name in conflict_events.TYPES.items()}
PATTERN = re.compile(
    r"(?P<scale>log1p_|sqrt_)?(?P<quantity>event|count|best|high|low|months_since|history_(?P<half>\d+(\.\d+)?))"
    r"(?P<suffix>_state|_nonstate|_onesided)?"
)
FORMS = (
    "event, count, best, high, low (each also with _state, _nonstate or _onesided), log1p_ or sqrt_<count, best, high or low>, "
    "months_since, history_<half-life in months, up to 10000> (also sqrt_), or a column of the covariate files (also log1p_<column>)"
)
EVENT_RULES = ("deaths", "any")
OUTCOMES = {
    "any": (("any violence", "#b2182b", ""),),
    "by-type": (
        ("state-based", "#b2182b", "_state"),
        ("non-state", "#2166ac", "_nonstate"),
        ("one-sided", "#e08214", "_onesided"),
    ),
}


def list_outcomes(outcomes: str = "any") -> list[dict[str, str]]:
    """What is forecast: name, colour, and the channels that hold the event flag and the deaths.

    Parameters
    ----------
    outcomes : str
        ``any``: one outcome; ``by-type``: one a type of violence.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if outcomes not in OUTCOMES:
        raise ValueError(f"outcomes = {outcomes!r} is not allowed: {' or '.join(OUTCOMES)}.")
    return [
        {"name": name, "colour": colour, "event": f"event{suffix}", "deaths": f"best{suffix}"}
        for name, colour, suffix in OUTCOMES[outcomes]
    ]


def check_channels(
    channels: str | Sequence[str], available: Mapping[str, Sequence[str]] | None = None, outcomes: str = "any"
) -> list[dict[str, Any]]:
    """Turn names of channels into records.

    Parameters
    ----------
    channels : str with commas, or list
        Inputs, in their order.
    available : dict, optional
        Columns of the covariate files as `covariates.list_columns` gives them.
    outcomes : str
        Channels that the outcomes need and the inputs lack come last, with the role "target".

    Returns
    -------
    list of dict
        name, units, kind (monthly, yearly, static), position in that array, binary, role (input, target, both)

    Raises
    ------
    ValueError
        Names that say nothing, names given twice: all of them.
    """
    available = {"yearly": [], "static": []} | dict(available or {})
    names = [n for n in map(str.strip, channels.split(",") if isinstance(channels, str) else channels) if n]
    targets = [o[k] for o in list_outcomes(outcomes) for k in ("event", "deaths")]
    kinds = {n: _kind(n, available) for n in names}
    faults = [f"unknown channel {n!r}" for n, kind in kinds.items() if kind is None]
    faults += [f"{n!r} is given {names.count(n)} times" for n in kinds if names.count(n) > 1]
    faults += ["no channel is named"] * (not names)
    if faults:
        columns = ", ".join([*available["yearly"], *available["static"]]) or "none (name the files in `covariates`)"
        raise ValueError(f"channels: {'; '.join(faults)}. Allowed: {FORMS}. Covariate columns there: {columns}.")
    records, positions = [], Counter[str]()
    for name in dict.fromkeys([*names, *targets]):
        kind = kinds.get(name) or "monthly"
        role = "input" if name not in targets else "both" if name in names else "target"
        match = PATTERN.fullmatch(name) if kind == "monthly" else None
        own = "log1p" if name.startswith("log1p_") and name not in available.get(kind, ()) else "1"
        binary = match is not None and match["quantity"] == "event"
        record = {"name": name, "units": _units(match) if match else own, "kind": kind, "position": positions[kind]}
        records.append(record | {"binary": binary, "role": role})
        positions[kind] += 1
    return records


def _kind(name: str, available: Mapping[str, Sequence[str]]) -> str | None:
    match = PATTERN.fullmatch(name)
    if match and _may_scale(match) and 0 < float(match["half"] or 1) <= MOST_HALF_LIFE:
        return "monthly"
    return next((k for k in ("yearly", "static") if {name, name.removeprefix("log1p_")} & set(available[k])), None)


def _may_scale(match: re.Match) -> bool:
    """Whether a channel's quantity has the logarithm or root that its name asks for; a flag's would be the flag."""
    return not match["scale"] or match["quantity"] in COUNTED or (match["scale"] == "sqrt_" and bool(match["half"]))


def _units(match: re.Match) -> str:
    unit = UNITS.get(match["quantity"], "1")
    return f"{match['scale'][:-1]}({unit})" if match["scale"] else unit


@dataclass(frozen=True)
class Plan:
    """A cube that can be written: its settings are checked, its events chosen and placed; made by `plan_cube`.

    Attributes
    ----------
    events : DataFrame of `geonb.workloads.conflict.events.read_events`
    precise, placed : those that are precise enough; the same placed in their months
    first, last : first and last month, since 1970-01
    region : the cells
    channels, outcomes : records of `check_channels` and `list_outcomes`
    covariates, columns : the covariate files, and their columns as `covariates.list_columns` gives them
    rules : event_rule, month_rule, where_prec, date_prec
    """

    events: pd.DataFrame
    precise: pd.DataFrame
    placed: pd.DataFrame
    first: int
    last: int
    region: priogrid.Region
    channels: list[dict[str, Any]]
    outcomes: list[dict[str, str]]
    covariates: Paths | None
    columns: dict[str, list[str]]
    rules: dict[str, Any]

    @property
    def months(self) -> int:
        """How many months the cube has."""
        return self.last - self.first + 1


def plan_cube(
    events: pd.DataFrame | Paths,
    channels: str | Sequence[str] = "event,log1p_best",
    start: str | None = None,
    stop: str | None = None,
    region: str | Path | priogrid.Region | None = None,
    covariates: Paths | None = None,
    outcomes: str = "any",
    event_rule: str = "deaths",
    months: str = "start",
    where_prec: int | None = None,
    date_prec: int | None = None,
) -> Plan:
    """Check the settings of a cube and choose its events, months and cells, once; nothing is written.

    Parameters
    ----------
    events : DataFrame of `geonb.workloads.conflict.events.read_events`, or files for it
    channels, outcomes : as for `check_channels`
    start, stop : str, optional
        First and last month, as "1990-01"; those of the events by default.
    region : as for `geonb.workloads.conflict.priogrid.select_region`
    covariates : PRIO-GRID files, optional
    event_rule : str
        When a cell and month has an event: ``deaths``, at least one death by `best` (the seed's rule); ``any``, any event
        that UCDP lists, also those with `best` = 0.
    months : str
        The month of an event that spans several: start, end, or spread (deaths and counts divided evenly among them).
    where_prec, date_prec : int, optional
        Only events whose place and date are known at least so well (1 is exact).

    Raises
    ------
    ValueError
        Every fault of the settings and the events.
    """
    columns = conflict_covariates.list_columns(covariates)
    records = check_channels(channels, columns, outcomes)
    if event_rule not in EVENT_RULES:
        raise ValueError(f"event_rule = {event_rule!r} is not allowed: {' or '.join(EVENT_RULES)}.")
    events = events if isinstance(events, pd.DataFrame) else conflict_events.read_events(events)
    _check_columns(events, records)
    conflict_events.check_events(events, start, stop, where_prec, date_prec, months)
    precise = conflict_events.select_events(events, where_prec, date_prec)
    placed = conflict_events.place_events(precise, months)
    first = int(placed["month"].min()) if start is None else conflict_events.month_of(start)
    last = int(placed["month"].max()) if stop is None else conflict_events.month_of(stop)
    region = region if isinstance(region, priogrid.Region) else priogrid.select_region(region, precise)
    rules = {"event_rule": event_rule, "month_rule": months, "where_prec": where_prec, "date_prec": date_prec}
    return Plan(
        events, precise, placed, first, last, region, records, list_outcomes(outcomes), covariates, columns, rules
    )


def write_cube(folder: str | Path, plan: Plan, interpolate: Sequence[str] = ("pop_",)) -> dict[str, Any]:
    """Write a cube as one Zarr, whole or not at all; a year of one channel at a time, so memory stays small.

    Parameters
    ----------
    folder : path of the Zarr itself, as .../arrays.zarr
    plan : of `plan_cube`
    interpolate : as for `geonb.workloads.conflict.covariates.read_covariates`

    Returns
    -------
    dict with sources, channels, outcomes, report: what the arrays' root attributes hold too
        ``report``: what reading counted, events used and left out by reason, months without any event before, after and between,
        the rules, the region, and per covariate how its gaps were filled.

    Raises
    ------
    ValueError
        If no event lies in the region and months, or for a fault of the covariates, before anything is written.
    """
    folder = Path(folder)
    read, region = plan.events.attrs, plan.region
    report = dict(read.get("report", {})) | {"dropped_by_precision": len(plan.events) - len(plan.precise)}
    report["countries"] = {str(code): name for code, name in read.get("countries", {}).items()}
    used, counts = _inside(plan)
    report |= _gaps(plan) | counts | plan.rules
    report["region"] = {"spec": region.spec, "valid_cells": int(region.valid.sum()), "notes": list(region.notes)}
    held = _covariates(plan, interpolate)
    report["covariates"] = {n: {k: v for k, v in a.attrs.items() if k != "units"} for n, a in held.data_vars.items()}
    sources = [dict(priogrid.source_facts(region, plan.months, conflict_events.month_text(plan.first)))]
    facts = {"channels": plan.channels, "outcomes": plan.outcomes, "report": report}
    folder.parent.mkdir(parents=True, exist_ok=True)
    need = 4 * region.valid.size * plan.months * sum(r["kind"] == "monthly" for r in plan.channels)
    with files.enough_space(folder.parent, need), files.whole_folder(folder) as partial:
        _fill_months(_lay_out(partial, plan, held), plan, used)
        arrays.seal(partial, sources, **facts)
    return {"sources": sources, **facts}


def check_inputs(records: Sequence[Mapping[str, Any]]) -> None:
    """Refuse channels of which the first is none of months: windows are drawn around its events.

    Raises
    ------
    ValueError
        Names the first one.
    """
    first = next(r for r in records if r["role"] != "target")
    if first["kind"] != "monthly":
        raise ValueError(
            f"channels: the first one, {first['name']}, is {first['kind']}; windows are drawn around the events of the first, so "
            "it must be a monthly one, such as event. Put that first."
        )


def _check_columns(events: pd.DataFrame, records: list[dict]) -> None:
    missing = {"high", "low"} - set(events.attrs.get("columns", ("high", "low")))
    if lacks := [r["name"] for r in records if missing & set(r["name"].split("_"))]:
        raise ValueError(
            f"channels {', '.join(lacks)}: not every event file has a column for them. Leave these channels out."
        )


def _inside(plan: Plan) -> tuple[pd.DataFrame, dict[str, int]]:
    """Events of the period in the region's cells, with `place` and `step`; how many these are, and the others."""
    months, region = plan.placed["month"], plan.region
    timely = months.between(plan.first, plan.last).to_numpy()
    place = region.places(plan.placed["gid"].to_numpy())
    inside = np.append(region.valid.ravel(), False)[place]  # -1, outside, takes the last
    used = plan.placed.assign(place=place, step=months - plan.first)[timely & inside]
    if not len(used):
        raise ValueError(
            f"No event from {conflict_events.month_text(plan.first)} to {conflict_events.month_text(plan.last)} lies in the "
            f"region {region.spec or 'around them'} (bounds {region.bounds}). Choose another region or period."
        )
    outside = {"outside_period": int((~timely).sum()), "outside_region": int((timely & ~inside).sum())}
    return used, outside | {"used": len(used)}


def _gaps(plan: Plan) -> dict[str, int]:
    """Months of the period in which no event was read at all: before and after the files, or missing between them.

    They count as peaceful, which is wrong where the files do not cover them.
    """
    months = plan.placed["month"]
    empty = np.setdiff1d(np.arange(plan.first, plan.last + 1), months)
    low, high = months.min(), months.max()
    return {
        "months_before_events": int((empty < low).sum()),
        "months_after_events": int((empty > high).sum()),
        "months_without_events": int(((empty >= low) & (empty <= high)).sum()),
    }


def _covariates(plan: Plan, interpolate: Sequence[str]) -> xr.Dataset:
    """The covariates' variables by channel name: yearly ones on the cube's years, log1p taken."""
    held = [(r["name"], plan.columns[r["kind"]]) for r in plan.channels if r["kind"] != "monthly"]
    columns = {name: name if name in there else name.removeprefix("log1p_") for name, there in held}
    years = range(plan.first // 12 + 1970, plan.last // 12 + 1971)
    wanted = list(dict.fromkeys(columns.values()))
    data = conflict_covariates.read_covariates(plan.covariates, wanted, plan.region, years, interpolate)
    for name, column in [(name, column) for name, column in columns.items() if name != column]:
        if float(data[column].min()) < 0:
            raise ValueError(
                f"channel {name!r}: {column} has values below 0, so it has no log1p. Take {column} itself."
            )
        data[name] = np.log1p(data[column]).assign_attrs(data[column].attrs)
    return data[list(columns)]


def _lay_out(folder: Path, plan: Plan, held: xr.Dataset) -> Any:
    """Lay out the group, all but the months written; returns its Zarr group, open for writing."""
    import zarr

    data = arrays.summed(_described(plan, held), level=1)
    chunks = {"monthly": (MONTHS_CHUNK, 1), "yearly": (MONTHS_CHUNK, 1), "static": (1,)}
    data["time"].encoding |= {"units": "days since 1970-01-01", "dtype": "int32"}
    for name, variable in data.data_vars.items():
        variable.encoding.pop("grid_mapping", None)
        variable.attrs["grid_mapping"] = "spatial_ref"
        front = zip(chunks.get(str(name), ()), variable.shape, strict=False)
        variable.encoding["chunks"] = (*(min(c, n) for c, n in front), *plan.region.shape)
    options: dict[str, Any] = {"group": "grid", "mode": "a", "consolidated": False, "write_empty_chunks": True}
    with arrays.quiet_zarr():
        data.drop_vars("monthly").to_zarr(folder, **options)
        data[["monthly"]].to_zarr(folder, compute=False, **options)
    return zarr.open_group(folder, path="grid", mode="r+")


def _described(plan: Plan, held: xr.Dataset) -> xr.Dataset:
    """All that the group holds, with its CF attributes; the months still to be filled."""
    import dask.array as da
    import rioxarray  # noqa: F401  (adds .rio)
    import xarray as xr
    from affine import Affine

    region = plan.region
    times = np.arange(plan.first, plan.last + 1).astype("datetime64[M]").astype("datetime64[ns]")
    names = {k: [r["name"] for r in plan.channels if r["kind"] == k] for k in ("monthly", "yearly", "static")}
    data = xr.Dataset(coords={"time": times, "y": region.latitude, "x": region.longitude})
    data["time"].attrs = {"standard_name": "time", "long_name": "first day of the month"}
    data["monthly"] = (
        ("time", "monthly_channel", "y", "x"),
        da.zeros((len(times), len(names["monthly"]), *region.shape), dtype="float32", chunks=-1),
        {"long_name": "monthly channels, from events"},
    )
    for kind in ("yearly", "static"):
        if names[kind]:
            data[kind] = held[names[kind]].to_dataarray(f"{kind}_channel").astype("float32")
            data[kind].attrs = {"long_name": f"{kind} covariates; NaN is unknown"}
    if "yearly" in data:
        data["yearly"] = data["yearly"].transpose("year", "yearly_channel", "y", "x")
        data["year"].attrs = {"long_name": "calendar year"}
    data["valid"] = ("y", "x"), region.valid, {"long_name": "cell counts in scores"}
    data["country"] = ("y", "x"), countries_of(plan.precise, region), {
        "long_name": "UCDP country_id (Gleditsch-Ward) of most events in the cell, 0 unknown"
    }  # fmt: skip
    data["gid"] = ("y", "x"), region.gid, {"long_name": "PRIO-GRID cell number"}
    data = data.assign_coords({f"{k}_channel": names[k] for k in names if k in data})
    west, south, *_ = region.bounds
    step = priogrid.RESOLUTION_DEG
    data = data.rio.write_crs(4326).rio.write_transform(Affine(step, 0, west, 0, step, south))  # y ascends
    data["y"].attrs = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    data["x"].attrs = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    return data


def countries_of(events: pd.DataFrame, region: priogrid.Region) -> np.ndarray:
    """The country_id of most events in each cell: (y, x) int32; 0 where there is none, the lower id of two with as many."""
    found = pd.DataFrame({"place": region.places(events["gid"].to_numpy()), "code": events["country_id"].to_numpy()})
    counts = found[(found["place"] >= 0) & (found["code"] > 0)].value_counts().reset_index()
    counts = counts.sort_values(["count", "code"], ascending=[True, False])  # the most events are written last
    countries = np.zeros(region.valid.size, np.int32)
    countries[counts["place"]] = counts["code"]
    countries = countries.reshape(region.shape)
    if region.country_id:
        countries[region.valid & (countries == 0)] = region.country_id
    return countries


def _fill_months(group: Any, plan: Plan, used: pd.DataFrame) -> None:
    """Write the monthly channels, each by a thread of its own, twelve months at a time."""
    to, cells = arrays.writable(group)["monthly"], plan.region.valid.size
    names = {r["name"]: r["position"] for r in plan.channels if r["kind"] == "monthly"}
    channels = [(k, match) for name, k in names.items() if (match := PATTERN.fullmatch(name))]
    cases = {suffix: _cases(used, cells, suffix) for suffix in {match["suffix"] or "" for _, match in channels}}
    tasks = []
    for position, match in channels:
        quantity = match["quantity"] if match["quantity"] in COUNTED else "event"
        sums = _sums(*cases[match["suffix"] or ""], quantity, plan.rules["event_rule"])
        tasks.append((to, position, match, *sums, plan.months))
    list(threads.spread(_fill_channel, tasks))


def _fill_channel(to: Any, position: int, match: re.Match, where: np.ndarray, values: np.ndarray, months: int) -> None:
    """Write one channel from its sums; what reaches back in time is carried from one piece to the next."""
    shape = to.shape[2:]
    cells, state = shape[0] * shape[1], None
    values = np.log1p(values) if match["scale"] == "log1p_" else values
    for begin in range(0, months, MONTHS_CHUNK):
        n = min(MONTHS_CHUNK, months - begin)
        low, high = np.searchsorted(where, [begin * cells, (begin + n) * cells])
        out = np.zeros(n * cells, np.float32)
        out[where[low:high] - begin * cells] = values[low:high]
        out = out.reshape(n, cells)
        if match["quantity"] == "months_since":
            state = _since(out, state, begin)
        elif match["half"]:
            state = _history(out, state, float(match["half"]))
        if match["scale"] == "sqrt_":
            np.sqrt(out, out=out)
        to[begin : begin + n, position] = out.reshape(n, *shape)


def _cases(used: pd.DataFrame, cells: int, suffix: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Events of a type; their months and cells as flat indices (month * cells + cell), ascending; each event's place there."""
    if SUFFIXES[suffix]:
        used = used[used["type"] == SUFFIXES[suffix]]
    flat = used["step"].to_numpy(np.int64) * cells + used["place"].to_numpy(np.int64)
    return used, *np.unique(flat, return_inverse=True)


def _sums(
    used: pd.DataFrame, where: np.ndarray, inverse: np.ndarray, quantity: str, event_rule: str
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of a quantity, or event flags, by month and cell: flat indices, ascending, and values."""
    if quantity == "event":
        counts = np.bincount(inverse, used["best"] >= 1 if event_rule == "deaths" else None, len(where))
        return where[counts > 0], np.ones(np.count_nonzero(counts), np.float32)
    each = used["share"].to_numpy() * (1 if quantity == "count" else used[quantity].to_numpy())
    return where, np.bincount(inverse, each, len(where)).astype(np.float32)


def _since(flags: np.ndarray, last: np.ndarray | None, begin: int) -> np.ndarray:
    """Turn event flags (month, cell) in place into months since the last event; returns the month of the last one.

    0 in a month with an event. Before a cell's first event: months since the period's start, which is 1 in its first month.
    """
    last = np.full(flags.shape[1], -1, np.float32) if last is None else last
    for month, flag in enumerate(flags, begin):
        last[flag > 0] = month
        np.subtract(month, last, out=flag)
    return last


def _history(flags: np.ndarray, level: np.ndarray | None, half_life: float) -> np.ndarray:
    """Turn event flags (month, cell) in place into their exponentially weighted past; returns the last month's.

    h(t) = a h(t - 1) + (1 - a) flag(t), a = 2**(-1 / half_life): weight halves every `half_life` months; always 1 gives 1.
    """
    keep = np.float32(2 ** (-1 / half_life))
    level = np.zeros(flags.shape[1], np.float32) if level is None else level
    for flag in flags:
        flag *= 1 - keep
        flag += keep * level
        level = flag
    return level.copy()
