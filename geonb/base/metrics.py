"""Which way a metric points, whether more of it is better or less, and in which unit it is.

Metrics of geonb are known here. A workload whose ``headline`` is another says in its record (``lower_is_better``) which way it
points; that travels with what it leads, under the same names: the attributes of scores.nc, run.json's ``headline``, a row of
the table of runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

LOWER_IS_BETTER = frozenset({"log_loss", "brier", "loss", "mse", "rmse", "mae", "crps", "ignorance", "interval_score"})


def lower_is_better(metric: str, told: Mapping[str, Any] | None = None) -> bool:
    """Whether a smaller value of `metric` is the better one.

    Parameters
    ----------
    metric : str
        Its name, e.g. ``rmse``; one that is not known here is better the higher it is.
    told : mapping, optional
        With ``headline``, the metric that leads, and ``lower_is_better``, what the workload's record said of it (or nothing).

    Returns
    -------
    bool; for the headline of `told` the record's word, if it gave one.
    """
    if told is not None and told.get("headline") == metric:
        said = told.get("lower_is_better")
        if said is not None and said == said:  # NaN stands in a table for a run that said nothing
            return bool(said)
    return metric in LOWER_IS_BETTER


def with_units(metric: str, told: Mapping[str, Any], name: str | None = None) -> str:
    """The metric, or a `name` for it, with the unit that the workload's record says its headline has: ``rmse [m]``."""
    units = told.get("headline_units") if told.get("headline") == metric else None
    return f"{name or metric} [{units}]" if units else name or metric


def lower_in_table(table: pd.DataFrame, metric: str) -> bool:
    """The same of a table of runs, by what the rows that `metric` leads say of it; see :mod:`geonb.runs.run_table`."""
    if "lower_is_better" not in table:
        return lower_is_better(metric)
    return any(lower_is_better(metric, row) for row in table[["headline", "lower_is_better"]].to_dict("records"))
