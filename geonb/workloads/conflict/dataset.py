"""From UCDP's events to the sample store of the `conflict` workload: what notebook 01 calls, and the checks of its parameters."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.base import project
from geonb.base.specs import Option, check_options, parse_spec
from geonb.store.windows import read_shares
from geonb.workloads.conflict import cube, examples
from geonb.workloads.conflict.covariates import list_columns
from geonb.workloads.conflict.events import OVERLAPS, TYPES, YEARS, month_of, month_text, read_events
from geonb.workloads.conflict.events import remarks as remarks  # for notebook 01, where `events` is a parameter
from geonb.workloads.conflict.priogrid import ROWS, VECTORS, check_country, select_region
from geonb.workloads.conflict.store import CubeStore, write_cube_store
from geonb.workloads.conflict.windows import check_fit, check_length, read_ends, split_months

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTION = (
    "UCDP Georeferenced Event Dataset (Sundberg and Melander 2013, Journal of Peace Research 50(4)), CC BY 4.0; PRIO-GRID "
    "(Tollefsen, Strand and Buhaug 2012, Journal of Peace Research 49(2))"
)
SIMULATED: dict[str, Any] = {
    "title": "Simulated violence on the PRIO-GRID",
    "notes": ["Simulated data: no event in them ever happened."],
    "attribution": "simulated by geonb",
}
_EVENT = {
    "where_prec": Option(None, int, 1, 7, help="places known at least so well, 1 is exact"),
    "date_prec": Option(None, int, 1, 5, help="dates known at least so well, 1 is exact"),
    "months": Option("start", choices=("start", "end", "spread"), help="of an event that lasts longer"),
}
EVENT = {"deaths": _EVENT, "any": _EVENT}
_OVERLAP = "events in months that an earlier file covers: refused (raise), left out (first) or kept (both)"
_FAULTS = {"overlap": Option("raise", choices=OVERLAPS, help=_OVERLAP)}
FAULTS = {"raise": _FAULTS, "drop": _FAULTS}
MOST_WINDOWS = 20_000_000  # some 2 GB while they are placed; the original had 700,000 of the globe
WINDOWS = {
    "events": {
        "size": Option(16, int, 1, ROWS, help="cells"),
        "draws": Option(5, int, 1, 2**15 - 1, help="windows an event"),
        "min_events": Option(25, int, 0, 2**15 - 1, help="in a window's input months"),
        "outliers": Option("none", choices=("none", "lof", "kmeans"), help="isolated events seed no window"),
    },
    "region": {},
}


def check_faults(spec: str) -> tuple[str, str]:
    """What becomes of faulty events, ``raise`` or ``drop`` (left out), and of those in months that an earlier file covers (``overlap``).

    Raises
    ------
    ValueError
        For another rule or option.
    """
    rule, options = check_options("faults", spec, FAULTS)
    return rule, options["overlap"]


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
    if ":" in spec:
        read_ends(spec, -12 * 1970, 12 * 10_000)  # whether they lie in the data is seen later
    else:
        read_shares(spec)


def check_settings(values: dict[str, Any], root: Path) -> list[str]:
    """What cannot be right together, as far as the parameters alone tell: every fault.

    Parameters
    ----------
    values : dict
        Parameters of all notebooks, by name; None where the workload has a default.
    root : Path
        Where files are looked for from.
    """
    size = check_windows(values["windows"]).get("size")
    faults = []
    for check in (
        lambda: _files("events", values.get("events"), root),
        lambda: _check_channels(values, root),
        lambda: _check_months(values),
        lambda: _check_size(size, values["region"]),
        lambda: _check_peepholes(size, values.get("network")),
        lambda: _check_learning(size, values),
    ):
        try:
            check()
        except ValueError as error:
            faults.append(str(error))
    return faults


def _check_channels(values: dict[str, Any], root: Path) -> None:
    columns = list_columns(_files("covariates", values.get("covariates"), root))
    cube.check_inputs(cube.check_channels(values["channels"], columns, values["outcomes"]))


def _check_months(values: dict[str, Any]) -> None:
    """Whether a period of which both ends are given has months enough for the splits."""
    first, last = check_period(values["period"]) if values["period"] else (None, None)
    if first and last:
        begin, months = month_of(first), month_of(last) - month_of(first) + 1
        check_length(values["steps"], values["horizon"], months)
        split_months(months, values["steps"], values["horizon"], values["shares"], begin)


def _check_size(size: int | None, region: str | None) -> None:
    if size and region and region.startswith("box:"):
        check_fit(size, *select_region(region).shape)


def _check_peepholes(size: int | None, network: str | None) -> None:
    """Peepholes of one weight a cell fit windows of one size only."""
    if not network or "pixel" not in network or not size:
        return
    from geonb.workloads.conflict.networks import check_size

    check_size(network, size, size)


def _check_learning(size: int | None, values: dict[str, Any]) -> None:
    """Whether the network has outputs enough, and windows that were cut to a size are large enough for the loss."""
    network, loss = values.get("network"), values.get("loss")
    if not (network or loss):
        return
    import torch

    from geonb.workloads.conflict.losses import build_loss, check_side
    from geonb.workloads.conflict.networks import build_network

    outcomes = len(cube.list_outcomes(values["outcomes"]))
    built = build_loss(loss or "bce", outcomes)
    if size:
        check_side(loss or "bce", built, size)
    if network:
        with torch.device("meta"):  # built without its numbers
            build_network(network, 1, outcomes * (1 + built.more), values["horizon"])


def _check_draws(plan: cube.Plan, draws: int) -> None:
    """Refuse more windows than can be placed in memory."""
    inside = plan.placed["month"].between(plan.first, plan.last) & (plan.region.places(plan.placed["gid"]) >= 0)
    seeds = int((~plan.placed[inside].duplicated(["month", "gid"])).sum())
    if seeds * draws > MOST_WINDOWS:
        raise ValueError(
            f"draws = {draws} (in `windows`) for {seeds:,} months and cells with an event are {seeds * draws:,} windows: more than "
            f"{MOST_WINDOWS:,} cannot be placed. Give at most {MOST_WINDOWS // seeds}, a smaller `region`, or windows=region"
        )


def check_period(spec: str) -> tuple[str | None, str | None]:
    """First and last month of ``"1990-01:2019-12"``; either may be left out.

    Raises
    ------
    ValueError
        If it is not of that form, or ends before it starts.
    """
    first, colon, last = spec.partition(":")
    if not colon:
        raise ValueError(
            f"period = {spec!r}: give the first and the last month, as 1990-01:2019-12; either may be empty."
        )
    first, last = first.strip(), last.strip()
    months = [month_of(month) for month in (first, last) if month]
    if odd := [m for m in (first, last) if m and not YEARS[0] <= int(m[:4]) <= YEARS[1]]:
        raise ValueError(f"period = {spec!r}: {' and '.join(odd)} is not in the years {YEARS[0]} to {YEARS[1]}.")
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
    if spec.startswith("country:"):
        check_country(spec)
    else:
        select_region(_region_file(spec, root) or spec)


def _region_file(spec: str | None, root: Path | None = None) -> Path | None:
    """The vector file that a region names, looked for from the project root; None where it names none."""
    if not spec or not spec.lower().endswith(VECTORS):
        return None
    return Path(root or project.project_root(), Path(project.at_hand(spec)).expanduser())


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
        See :func:`check_faults` and :func:`geonb.workloads.conflict.events.read_events`.

    Returns
    -------
    DataFrame of :func:`geonb.workloads.conflict.events.read_events`, an event a row; in its attrs ``files``

    Raises
    ------
    ValueError
        Every fault of the files.
    """
    files = [examples.simulated_conflict()] if spec is None else _files("events", spec)
    events = read_events(files, *check_faults(faults))
    if not len(events):
        raise ValueError(f"The event files hold no event: {', '.join(map(str, files))}. Give files with events.")
    events.attrs["paths"] = [str(file) for file in files]
    return events


def _files(what: str, spec: str | None, root: Path | None = None) -> list[Path]:
    named = project.find_files(spec, root or project.project_root()) if spec else {}
    if odd := [part for part in named if re.search(r":\w+=", part)]:
        raise ValueError(f"{', '.join(odd)}: files of events and covariates take no options. Write the path alone.")
    found = {pattern: [path for path in paths if path.is_file()] for pattern, paths in named.items()}
    missing = [pattern for pattern, paths in found.items() if not paths]
    if missing:
        raise ValueError(
            f"{what}: no file {', '.join(missing)}. Give files from here or from the project root, or globs."
        )
    return [path for paths in found.values() for path in paths]


def summarise(events: pd.DataFrame) -> dict[str, Any]:
    """What was read, for people: events, first and last month, deaths, cells, kinds, and what was odd and how often."""
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
    kinds = zip(TYPES, cube.OUTCOMES["by-type"], strict=True)
    told |= {name: f"{int((events['type'] == code).sum()):,}" for code, (name, *_) in kinds}
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
    **others : as notebook 01 declares them; see :func:`check_event`, :func:`check_windows`, :func:`check_period`,
        :func:`geonb.workloads.conflict.cube.check_channels`, :func:`geonb.workloads.conflict.priogrid.select_region`,
        :func:`geonb.workloads.conflict.windows.split_months`

    Raises
    ------
    ValueError
        Every fault of the settings, events and covariates, before anything is written.
    """
    start, stop = check_period(period) if period else (None, None)
    files, shapes = _files("covariates", covariates), _region_file(region)
    recipe: dict[str, Any] = {"channels": channels, "start": start, "stop": stop, "region": region}
    recipe |= {"outcomes": outcomes} | check_event(event)
    cut = check_windows(windows)
    plan = cube.plan_cube(events, covariates=files, **recipe | {"region": shapes or region})
    cube.check_inputs(plan.channels)
    check_fit(cut.get("size"), *plan.region.shape)
    check_length(steps, horizon, plan.months)
    _check_draws(plan, cut.get("draws", 0))
    split_months(plan.months, steps, horizon, shares, plan.first)
    plan = replace(plan, region=replace(plan.region, spec=region or ""))  # told as it was given, not as a path
    simulated = bool(events.attrs.get("simulated"))
    where = ", ".join(map(str, events.attrs.get("countries", {}).values()))
    place = where if where and len(where) < 40 else ((shapes.stem if shapes else region) or "many countries")
    title = f"Organised violence on the PRIO-GRID: {place}"
    meta = SIMULATED if simulated else {"title": title, "notes": [], "attribution": ATTRIBUTION}
    own = "simulated-conflict" if simulated else Path(events.attrs["paths"][0]).name.split(".")[0]
    meta = {**meta, "name": name or own, "simulated": simulated}
    inputs = [*events.attrs["paths"], *files, *([shapes] if shapes else [])]
    recipe |= {"cube": cube.VERSION, "rules": events.attrs.get("rules")}
    return write_cube_store(
        partial(cube.write_cube, plan=plan), recipe, inputs=inputs, meta=meta, steps=steps, horizon=horizon,
        shares=shares, seed=seed, root=root, chunk_size=cut.get("size"),
        **{k: cut[k] for k in ("draws", "min_events", "outliers") if k in cut},
    )  # fmt: skip
