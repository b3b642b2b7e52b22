"""From UCDP's events to the sample store of the `conflict` workload: what notebook 01 calls, and the checks of its parameters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.base.specs import Option, check_options, parse_spec

if TYPE_CHECKING:
    import pandas as pd

    from geonb.workloads.conflict.cube import Plan
    from geonb.workloads.conflict.store import CubeStore

ATTRIBUTION = (
    "UCDP Georeferenced Event Dataset (Sundberg and Melander 2013, Journal of Peace Research 50(4)), CC BY 4.0; PRIO-GRID "
    "(Tollefsen, Strand and Buhaug 2012, Journal of Peace Research 49(2))"
)
_EVENT = {
    "where_prec": Option(None, int, 1, 7, help="places known at least so well, 1 is exact"),
    "date_prec": Option(None, int, 1, 5, help="dates known at least so well, 1 is exact"),
    "months": Option("start", choices=("start", "end", "spread"), help="of an event that lasts longer"),
}
EVENT = {"deaths": _EVENT, "any": _EVENT}
WINDOWS = {
    "events": {
        "size": Option(16, int, 1, 2**15 - 1, help="cells"),
        "draws": Option(5, int, 1, 2**15 - 1, help="windows an event"),
        "min_events": Option(25, int, 0, 2**15 - 1, help="in a window's input months"),
        "outliers": Option("none", choices=("none", "lof", "kmeans"), help="isolated events seed no window"),
    },
    "region": {},
}


def check_event(spec: str) -> dict[str, Any]:
    """What makes an event of a cell and month: ``deaths`` (at least one by UCDP's best estimate) or ``any`` (any listed event).

    Options: ``where_prec``, ``date_prec`` (only events whose place and date are known at least so well; 1 is exact) and
    ``months`` (start, end or spread: the month of an event that lasts longer).

    Raises
    ------
    ValueError
        For another rule or option.
    """
    rule, options = check_options("event", spec, EVENT)
    given = parse_spec(spec)[1]  # what a store is keyed by; a default has no part in it
    return {"event_rule": rule, **{key: value for key, value in options.items() if key in given}}


def check_windows(spec: str) -> dict[str, Any]:
    """How training windows are placed: ``events`` (around the events of the month to forecast) or ``region`` (all of it).

    Options of ``events``: ``size`` (cells), ``draws`` (windows an event), ``min_events`` (that the input months must hold in a
    window), ``outliers`` (none, lof, kmeans: isolated events that seed no window).

    Raises
    ------
    ValueError
        For another way or option.
    """
    way, options = check_options("windows", spec, WINDOWS)
    return {"way": way, **options}


def check_shares(spec: str) -> None:
    """Refuse shares that are neither three percentages nor the last months of the splits.

    Raises
    ------
    ValueError
        See :func:`geonb.store.windows.read_shares` and :func:`geonb.workloads.conflict.windows.read_ends`.
    """
    from geonb.store import windows as store_windows
    from geonb.workloads.conflict import windows as conflict_windows

    if ":" in spec:
        conflict_windows.read_ends(spec, -12 * 1970, 12 * 10_000)  # whether they lie in the data is seen later
    else:
        store_windows.read_shares(spec)


def check_settings(values: dict[str, Any], root: Path) -> list[str]:
    """What cannot be right together, as far as the parameters alone tell: every fault.

    Parameters
    ----------
    values : dict
        Parameters of all notebooks, by name; None where the workload has a default.
    root : Path
        Where files are looked for from.
    """
    from geonb.workloads.conflict import covariates, cube

    named = values.get("covariates")
    cut = check_windows(values["windows"])
    checks = [
        lambda: cube.check_inputs(
            cube.check_channels(
                values["channels"], covariates.list_columns(_files(named, root) if named else []), values["outcomes"]
            )
        ),
        lambda: _check_months(values),
        lambda: _check_size(cut.get("size"), values["region"]),
        lambda: _check_peepholes(cut.get("size"), values.get("network")),
    ]
    faults = []
    for check in checks:
        try:
            check()
        except ValueError as error:
            faults.append(str(error))
    return faults


def _check_months(values: dict[str, Any]) -> None:
    """Whether a period of which both ends are given has months enough for the splits."""
    from geonb.workloads.conflict import events
    from geonb.workloads.conflict import windows as conflict_windows

    first, last = check_period(values["period"]) if values["period"] else (None, None)
    if first and last:
        months = events.month_of(last) - events.month_of(first) + 1
        conflict_windows.check_length(values["steps"], values["horizon"], months)
        conflict_windows.split_months(
            months, values["steps"], values["horizon"], values["shares"], events.month_of(first)
        )


def _check_size(size: int | None, region: str | None) -> None:
    from geonb.workloads.conflict import priogrid
    from geonb.workloads.conflict import windows as conflict_windows

    if size and region and region.startswith("box:"):
        conflict_windows.check_fit(size, *priogrid.select_region(region).shape)


def _check_peepholes(size: int | None, network: str | None) -> None:
    """Peepholes of one weight a cell fit windows of one size only."""
    if not network or "pixel" not in network or not size:
        return
    from geonb.workloads.conflict.networks import check_network, check_size

    if check_network(network)[1].get("peephole") == "pixel":
        check_size(network, size, size)


def check_period(spec: str) -> tuple[str | None, str | None]:
    """First and last month of ``"1990-01:2019-12"``; either may be left out.

    Raises
    ------
    ValueError
        If it is not of that form, or ends before it starts.
    """
    from geonb.workloads.conflict import events

    first, colon, last = spec.partition(":")
    if not colon:
        raise ValueError(
            f"period = {spec!r}: give the first and the last month, as 1990-01:2019-12; either may be empty."
        )
    first, last = first.strip(), last.strip()
    months = [events.month_of(m) for m in (first, last) if m]
    if len(months) == 2 and months[0] > months[1]:
        raise ValueError(f"period = {spec!r} ends before it starts.")
    return first or None, last or None


def check_region(spec: str, root: Path | None = None) -> None:
    """Refuse a region that is none, before anything is read; what depends on the events is seen later.

    Raises
    ------
    ValueError
        See :func:`geonb.workloads.conflict.priogrid.select_region`.
    """
    from geonb.workloads.conflict import priogrid

    if not spec.startswith("country:"):
        priogrid.select_region(_region_file(spec, root) or spec)


def _region_file(spec: str | None, root: Path | None = None) -> Path | None:
    """The vector file that a region names, looked for from the project root; None where it names none."""
    from geonb.base import project
    from geonb.workloads.conflict import priogrid

    if not spec or not spec.lower().endswith(priogrid.VECTORS):
        return None
    return Path(root or project.project_root(), Path(spec).expanduser())


def refuse_rasters(spec: str) -> None:
    """There is nothing to predict but the store's own region.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(
        "forecasts are of the region and months of the sample store; for another region make another store"
    )


def open_events(spec: str | None = None, faults: str = "raise") -> pd.DataFrame:
    """Read UCDP files, or the simulated process where none is named.

    Parameters
    ----------
    spec : str, optional
        Files, comma separated or a glob; looked for from here and from the project root.
    faults : str
        ``raise`` or ``drop``, see :func:`geonb.workloads.conflict.events.read_events`.

    Returns
    -------
    DataFrame of :func:`geonb.workloads.conflict.events.read_events`, an event a row; in its attrs ``files``

    Raises
    ------
    ValueError
        Every fault of the files.
    """
    from geonb.workloads.conflict import events, examples

    files = [examples.simulated_conflict()] if spec is None else _files(spec)
    found = events.read_events(files, faults)
    if not len(found):
        raise ValueError(f"The event files hold no event: {', '.join(map(str, files))}. Give files with events.")
    found.attrs["paths"] = [str(f) for f in files]
    return found


def _files(spec: str, root: Path | None = None) -> list[Path]:
    from geonb.base import project

    found = project.find_files(spec, root or project.project_root())
    missing = [pattern for pattern, paths in found.items() if not paths]
    if missing:
        raise ValueError(f"No file {', '.join(missing)}. Give paths from here or from the project root, or globs.")
    return [path for paths in found.values() for path in paths]


def summarise(events: pd.DataFrame) -> dict[str, Any]:
    """What was read, for people: events, first and last month, deaths, cells, kinds, and what was odd and how often."""
    from geonb.workloads.conflict.events import month_text

    report = events.attrs.get("report", {})
    told = {
        "simulated": "yes" if events.attrs.get("simulated") else "no",
        "events": f"{len(events):,}",
        "from": month_text(int(events["month_start"].min())),
        "to": month_text(int(events["month_end"].max())),
        "deaths (best estimate)": f"{int(events['best'].sum()):,}",
        "events without a death": f"{int((events['best'] == 0).sum()):,}",
        "grid cells": f"{events['gid'].nunique():,}",
        "countries": ", ".join(map(str, events.attrs.get("countries", {}).values()))[:200],
    }
    kinds = {1: "state-based", 2: "non-state", 3: "one-sided"}
    told |= {name: f"{int((events['type'] == code).sum()):,}" for code, name in kinds.items()}
    odd = {name: n for name, n in report.items() if isinstance(n, int) and n and name not in ("events", "simulated")}
    odd |= {f"left out: {text}": n for text, n in report.get("faulty_dropped", {}).items()}
    return told | {name.replace("_", " "): f"{n:,}" for name, n in odd.items()}


def write_conflict_store(
    events: pd.DataFrame,
    *,
    covariates: str | None = None,
    region: str | None = None,
    period: str | None = None,
    channels: str = "event,log1p_best",
    outcomes: str = "any",
    event: str = "deaths",
    windows: str = "region",
    steps: int = 10,
    horizon: int = 1,
    shares: str = "60/20/20",
    seed: int = 0,
    name: str | None = None,
    root: Path | None = None,
) -> CubeStore:
    """Make the cube, the split and the table of windows: a sealed store, or the one that is there.

    Parameters
    ----------
    events : DataFrame, of :func:`open_events`
    others : as notebook 01 declares them; see :func:`check_event`, :func:`check_windows`, :func:`check_period`,
        :func:`geonb.workloads.conflict.cube.check_channels`, :func:`geonb.workloads.conflict.priogrid.select_region`,
        :func:`geonb.workloads.conflict.windows.split_months`

    Raises
    ------
    ValueError
        Every fault of the settings, events and covariates, before anything is written.
    """
    from geonb.workloads.conflict import cube, store

    start, stop = check_period(period) if period else (None, None)
    files = _files(covariates) if covariates else []
    recipe = {"channels": channels, "start": start, "stop": stop, "region": region, "outcomes": outcomes} | check_event(
        event
    )
    cut = check_windows(windows)
    shapes = _region_file(region)
    plan = cube.plan_cube(events, covariates=files or None, **recipe | {"region": shapes or region})
    _check_fit(plan, cut.get("size"), steps, horizon, shares)
    plan = replace(plan, region=replace(plan.region, spec=region or ""))  # told as it was given, not as a path
    simulated = bool(events.attrs.get("simulated"))
    where = ", ".join(map(str, events.attrs.get("countries", {}).values()))
    place = where if where and len(where) < 40 else ((shapes.stem if shapes else region) or "many countries")
    meta = {
        "name": name or ("simulated-conflict" if simulated else Path(events.attrs["paths"][0]).name.split(".")[0]),
        "title": "Simulated violence on the PRIO-GRID"
        if simulated
        else f"Organised violence on the PRIO-GRID: {place}",
        "simulated": simulated,
        "notes": ["Simulated data: no event in them ever happened."] if simulated else [],
        "attribution": "geonb.workloads.conflict.examples.simulated_conflict" if simulated else ATTRIBUTION,
    }

    inputs = [*events.attrs["paths"], *files, *([shapes] if shapes else [])]
    return store.write_cube_store(
        partial(cube.write_cube, plan=plan), {**recipe, "cube": cube.VERSION}, inputs=inputs, meta=meta, steps=steps,
        horizon=horizon, shares=shares, seed=seed, root=root, chunk_size=cut.get("size"),
        **{k: cut[k] for k in ("draws", "min_events", "outliers") if k in cut},
    )  # fmt: skip


def _check_fit(plan: Plan, size: int | None, steps: int, horizon: int, shares: str) -> None:
    """Refuse, before the cube is written, what its channels, size and months will not allow."""
    from geonb.workloads.conflict import cube
    from geonb.workloads.conflict import windows as conflict_windows

    cube.check_inputs(plan.channels)
    if size:
        conflict_windows.check_fit(size, *plan.region.shape)
    conflict_windows.check_length(steps, horizon, plan.months)
    conflict_windows.split_months(plan.months, steps, horizon, shares, plan.first)
