"""From UCDP's events to the sample store of the `conflict` workload: what notebook 01 calls, and the checks of its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geonb.specifications import parse_spec, pick

ATTRIBUTION = (
    "UCDP Georeferenced Event Dataset (Sundberg and Melander 2013, Journal of Peace Research 50(4)), CC BY 4.0; PRIO-GRID "
    "(Tollefsen, Strand and Buhaug 2012, Journal of Peace Research 49(2))"
)
RULES = {"deaths": ("where_prec", "date_prec", "months"), "any": ("where_prec", "date_prec", "months")}
WINDOWS = {"events": {"size": 16, "draws": 5, "min_events": 25, "outliers": "none"}, "region": {}}


def check_event(spec: str) -> dict[str, Any]:
    """What makes an event of a cell and month: ``deaths`` (at least one by UCDP's best estimate) or ``any`` (any listed event).

    Options: ``where_prec``, ``date_prec`` (only events whose place and date are known at least so well; 1 is exact) and
    ``months`` (start, end or spread: the month of an event that lasts longer).

    Raises
    ------
    ValueError
        For another rule or option.
    """
    rule, options = parse_spec(spec)
    known = pick("event", rule, RULES, spec)
    _refuse("event", spec, options, known)
    if options.get("months", "start") not in ("start", "end", "spread"):
        raise ValueError(f"event = {spec!r}: months = {options['months']!r} is none of start, end, spread.")
    return {"event_rule": rule, **options}


def check_windows(spec: str) -> dict[str, Any]:
    """How training windows are placed: ``events`` (around the events of the month to forecast) or ``region`` (all of it).

    Options of ``events``: ``size`` (cells), ``draws`` (windows an event), ``min_events`` (that the input months must hold in a
    window), ``outliers`` (none, lof, kmeans: isolated events that seed no window).

    Raises
    ------
    ValueError
        For another way or option.
    """
    way, options = parse_spec(spec)
    known = pick("windows", way, WINDOWS, spec)
    _refuse("windows", spec, options, known)
    return {"way": way, **known, **options}


def _refuse(what: str, spec: str, options: dict[str, Any], known: Any) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        allowed = ", ".join(known) or "no options"
        raise ValueError(f"Unknown option {', '.join(unknown)} in {what} = {spec!r}. Known: {allowed}.")


def check_period(spec: str) -> tuple[str | None, str | None]:
    """First and last month of ``"1990-01:2019-12"``; either may be left out.

    Raises
    ------
    ValueError
        If it is not of that form, or ends before it starts.
    """
    from geonb import events

    first, colon, last = spec.partition(":")
    if not colon:
        raise ValueError(
            f"period = {spec!r}: give the first and the last month, as 1990-01:2019-12; either may be empty."
        )
    months = [events.month_of(m) if m else None for m in (first.strip(), last.strip())]
    if None not in months and months[0] > months[1]:
        raise ValueError(f"period = {spec!r} ends before it starts.")
    return first.strip() or None, last.strip() or None


def check_region(spec: str, root: Path | None = None) -> None:
    """Refuse a region that is none, before anything is read; what depends on the events is seen later.

    Raises
    ------
    ValueError
        See :func:`geonb.priogrid.select_region`.
    """
    from geonb import priogrid

    if not spec.startswith("country:"):
        priogrid.select_region(spec if root is None or ":" in spec else _found(spec, root))


def _found(spec: str, root: Path) -> str:
    path = Path(root) / spec
    return str(path) if path.exists() else spec


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
