"""The table of runs: a row each with state, scores and parameters; from a row back to its model, store and samples.

Nothing here fails because one run is broken or unfinished: its row says so, and why.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geonb.base.metrics import lower_in_table

if TYPE_CHECKING:
    import lightning as L
    import pandas as pd

    from geonb.runs.run import Run
    from geonb.store.loaders import Tensors
    from geonb.store.store import Store

LEAD = ("workload", "run", "state", "fault", "started")
SCORED = ("headline", "low", "high", "baseline", "baseline_score", "val_low", "val_high")
MEASURED = ("minutes", "memory_mb", "n_weights", "best_epoch", "val_loss")
# What a query may be made of, and the methods it may call.
ASKING = (ast.Expression, ast.BoolOp, ast.boolop, ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop, ast.Name,
          ast.Constant, ast.List, ast.Tuple, ast.Attribute, ast.Call, ast.keyword, ast.expr_context)  # fmt: skip
ASKED = ("str", "startswith", "endswith", "contains", "lower", "upper", "len", "isin", "between", "isna", "notna", "isnull", "notnull",
         "abs")  # fmt: skip
LONGEST = 500  # letters of a fault
# Settled for every run, but no choice that makes one run differ from another.
NO_CHOICE = {"workload", "run"}


def table(
    root: Path | None = None, query: str | None = None, sort: str | None = None, columns: str = "all"
) -> pd.DataFrame:
    """Return one row a run: state, scores on test and validation, then parameters, those that differ between runs first.

    Parameters
    ----------
    root : project root
    query : a pandas query over the columns, e.g. ``"epochs > 10 and state == 'done'"``; of methods only those of `ASKED`
    sort : a column; scores come best first, others ascending
    columns : ``all``, or ``short``: without parameters that are the same in all rows, without empty columns

    Returns
    -------
    DataFrame. ``fault``: why a run is broken or not finished, else None. ``mean_iou`` (or whatever metric leads), ``low``,
    ``high``: the network on the test split; ``val_mean_iou``: on the validation split, by which a run is chosen;
    ``baseline``, ``baseline_score``: the best baseline on the test split, also under its own name. ``minutes``,
    ``memory_mb`` (largest of the steps), ``n_weights`` (numbers the network learnt), ``best_epoch``, ``val_loss``.

    Raises
    ------
    ValueError
        If `query` or `sort` names a column that is not there, lists the columns; or if a query does more than ask.
    """
    from geonb.base.project import project_root

    folders = Path(root or project_root(), "runs").glob("*/*/")
    return table_of([path for path in folders if not path.name.startswith(".")], query, sort, columns)


def table_of(
    folders: Iterable[Path], query: str | None = None, sort: str | None = None, columns: str = "all"
) -> pd.DataFrame:
    """As :func:`table`, of these run folders."""
    import pandas as pd

    if columns not in ("all", "short"):
        raise ValueError(f"columns = {columns!r} is neither 'all' nor 'short'.")
    rows, parameters = [], []
    for row, settled in map(row_of, folders):
        rows.append(row | {k: v for k, v in settled.items() if k not in row})
        parameters.append(settled)
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(key for row in rows for key in row)))
    if frame.empty:
        return frame
    metrics = {row["headline"] for row in rows if row.get("headline")}
    frame = _chosen(frame.sort_values("started", na_position="first"), query, sort, metrics)
    here = [parameters[i] for i in frame.index]
    varying, named = varying_parameters(here), list(dict.fromkeys(name for one in here for name in one))
    scores = [name for m in sorted(metrics) for name in (m, f"val_{m}")]
    first = [*LEAD[:3], "fault", *scores, *SCORED, *varying]
    known = (*first, *MEASURED, *named, "started", "lower_is_better")
    rest = [c for c in frame if c not in known]  # baselines by their own names
    order = [*first, "started", *MEASURED, *rest, "lower_is_better", *(name for name in named if name not in varying)]
    frame = frame[[c for c in dict.fromkeys(order) if c in frame]].reset_index(drop=True)
    if columns == "short":
        constant = [n for n in named if n not in varying and n not in (*LEAD, *SCORED, *MEASURED, *scores)]
        frame = frame.drop(columns=[*constant, *(r for r in rest if r not in named)], errors="ignore")
        frame = frame.dropna(axis="columns", how="all")
    return frame


def _chosen(frame: pd.DataFrame, query: str | None, sort: str | None, metrics: set[str]) -> pd.DataFrame:
    columns = f"Columns: {', '.join(map(str, frame.columns))}."
    if sort and sort not in frame:
        near = get_close_matches(sort, map(str, frame.columns), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Cannot sort by {sort!r}: no run has such a column.{hint} {columns}")
    try:
        if query:
            _only_asks(query)
            frame = frame.query(query)
        if sort:
            metric = sort.removeprefix("val_")
            best_first = metric in metrics and not lower_in_table(frame, metric)
            frame = frame.sort_values(sort, ascending=not best_first, na_position="last", kind="stable")
    except Exception as error:  # pandas raises a dozen kinds here
        what = f"apply query {query!r}" if query else f"sort by {sort!r}"
        raise ValueError(f"Cannot {what}: {error}. {columns}") from error
    return frame


def _only_asks(query: str) -> None:
    """Refuse a query that does more than compare columns: pandas would let it call any method, as one that writes a file."""
    tree = ast.parse(re.sub(r"`[^`]*`", "column", query).strip(), mode="eval")
    for node in ast.walk(tree):
        named = str(getattr(node, "attr", None) or getattr(node, "id", ""))
        called = isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute)
        if (
            not isinstance(node, ASKING)
            or called
            or (isinstance(node, ast.Attribute) and named not in ASKED)
            or "__" in named
        ):
            raise ValueError(
                f"{ast.unparse(node)!r} is more than a query asks: compare columns, and call only {', '.join(ASKED)}"
            )


def varying_parameters(settled: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the parameters that are not the same in all runs that have them.

    A run that does not know a parameter (an older geonb, an unfinished run) says nothing about it.
    """
    values: dict[str, set[str]] = {}
    for parameters in settled:
        for name, value in parameters.items():
            values.setdefault(name, set()).add(json.dumps(value, sort_keys=True, default=str))
    return [name for name, seen in values.items() if len(seen) > 1 and name not in NO_CHOICE]


def row_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's row without its parameters, and those; whatever cannot be read is left out and told as the fault."""
    from geonb.runs.run import Run

    row: dict[str, Any] = dict(zip(LEAD, (path.parent.name, path.name, "broken", None, None), strict=True))
    try:
        info = Run(path).info
        row |= {"state": info["state"], "started": info["started"][:16], "fault": _fault(info)}
        steps = info.get("steps", {}).values()
        row["minutes"] = round(sum(s.get("seconds") or 0 for s in steps) / 60, 1)
        row["memory_mb"] = max((s["peak_memory_mb"] for s in steps if s.get("peak_memory_mb")), default=None)
        row |= _scores_of(path, info) | _model_of(path)
        settled: dict[str, Any] = {}
        for record in steps:
            settled = record.get("parameters", {}) | settled
        # a parameter left to the workload counts as what it was settled to: None and "bce" are no difference then
        training = info.get("training") or {}
        settled = {name: training.get(name) if value is None else value for name, value in settled.items()}
        return row, settled or training
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        told = str(error).replace(f"{path}/", "").replace(f" in {path}", "")  # the row names the folder already
        row |= {"state": "broken", "fault": f"run.json lacks {told}" if isinstance(error, KeyError) else told}
        return row, {}


def _fault(info: dict[str, Any]) -> str | None:
    """Why a run has no scores, or none of what it is now, in a few words; None if it has."""
    from geonb.runs.run import older_scores

    for step, about in info.get("steps", {}).items():
        if about.get("error"):
            told = textwrap.shorten(str(about["error"]), LONGEST, placeholder=" ... (log.txt has the rest)")
            return f"{step} {about.get('state', 'failed')}: {told}"
    if info.get("headline"):
        return older_scores(info) or None
    at = next((step for step, about in info.get("steps", {}).items() if about.get("state") == "running"), None)
    return f"not finished: {at} is running, or was killed" if at else "not scored yet (04_analytics)"


def _scores_of(path: Path, info: dict[str, Any]) -> dict[str, Any]:
    head = info.get("headline") or {}
    if not head:
        return {}
    metric = head["metric"]
    out = {"headline": metric, metric: head["value"], "low": head.get("low"), "high": head.get("high")}
    if "lower_is_better" in head:
        out["lower_is_better"] = head["lower_is_better"]
    if head.get("baseline_value") is not None:
        name = head.get("baseline") or "baseline"
        out |= {"baseline": name, "baseline_score": head["baseline_value"], name: head["baseline_value"]}
    validation = info.get("validation") or _from_csv(path / "scores.csv", metric)
    if validation:
        out |= {f"val_{metric}": validation["value"], "val_low": validation["low"], "val_high": validation["high"]}
    return out


def _from_csv(file: Path, metric: str) -> dict[str, float] | None:
    """The network's validation score from scores.csv: runs of an older geonb noted the test score only."""
    if not file.is_file():
        return None
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            if (row["model"], row["split"], row["metric"]) == ("network", "val", metric):
                low, high = (float(row[end] or "nan") for end in ("low", "high"))
                return {"value": float(row["score"]), "low": low, "high": high}
    return None


def _model_of(path: Path) -> dict[str, Any]:
    """Size and best epoch from the model's card and the header of its weights; nothing where there is no model."""
    import struct

    try:
        card = json.loads((path / "checkpoints" / "model.json").read_text())
        best = card.get("best") or {}
        out = {"best_epoch": best.get("epoch"), "val_loss": best.get("val_loss")}
        with (path / "checkpoints" / "best.safetensors").open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        header.pop("__metadata__", None)
        sizes = {name: math.prod(about["shape"]) for name, about in header.items()}
        # running means and counters of normalisation layers are no weights that are learnt
        return out | {
            "n_weights": sum(n for name, n in sizes.items() if "running_" not in name and "num_batches" not in name)
        }
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return {}


def best(frame: pd.DataFrame) -> pd.Series:
    """Return the row with the best validation score. The test score plays no part: a run chosen by it would be judged by it too.

    Raises
    ------
    ValueError
        If no run has a validation score, or the runs were led by different metrics.
    """
    metrics = sorted(frame["headline"].dropna().unique()) if "headline" in frame else []
    columns = [f"val_{m}" for m in metrics if f"val_{m}" in frame and frame[f"val_{m}"].notna().any()]
    if len(columns) != 1:
        what = (
            f"are led by different metrics ({', '.join(metrics)})" if len(columns) > 1 else "have no validation score"
        )
        raise ValueError(f"No best run: these {len(frame)} runs {what}. Run notebook 04, or narrow them with `query`.")
    values = frame[columns[0]]
    lower = lower_in_table(frame, columns[0].removeprefix("val_"))
    return frame.loc[values.idxmin() if lower else values.idxmax()]


@dataclass(frozen=True)
class Loaded:
    """A run with its trained model and its samples. ``loaded.val.rows`` are the rows of ``loaded.store.index`` it draws on."""

    run: Run
    model: L.LightningModule
    store: Store

    @cached_property
    def val(self) -> Tensors:
        """The validation windows: ``val[i]``, ``val.batch([0, 1])`` give standardised inputs and targets, and what the model needs
        besides (``floor``, of a forecast that corrects a baseline).
        """
        return self.store.windows("val", **self.model.beside(self.store))

    @cached_property
    def test(self) -> Tensors:
        """The test windows, alike."""
        return self.store.windows("test", **self.model.beside(self.store))


def load_run(row: pd.Series | str | Path | Run, weights: str | None = None, root: Path | None = None) -> Loaded:
    """Load what a row of the table of runs stands for: its model, its sample store, its validation and test windows.

    Parameters
    ----------
    row : a row of :func:`table`, a run's name (or its two words, or path), or a Run
    weights : which of the model's weights, see :func:`geonb.load_model`
    root : project root

    Returns
    -------
    Loaded: ``run``, ``model``, ``store``, ``val``, ``test``. Windows are read when first used.

    Raises
    ------
    FileNotFoundError
        If there is no such run.
    ValueError
        Lists every fault: a broken run.json, a store or a model that is gone.

    Examples
    --------
    >>> row = geonb.runs.run_table.best(geonb.runs.run_table.table(query="state == 'done'"))  # doctest: +SKIP
    >>> loaded = geonb.load_run(row)  # doctest: +SKIP
    >>> loaded.model.probabilities(loaded.val.batch([0, 1])["inputs"])  # doctest: +SKIP

    The sample is the first dimension of what comes back; then come the class, or the lead and the outcome, and y, x.
    """
    from geonb.store.store import open_store
    from geonb.training.task import load_model

    run = _run_of(row, root)
    faults: list[str] = []
    store = model = None
    try:
        where = run.store
        if where is None:
            faults.append("it has no sample store: run notebook 01 and 02 in it")
        elif not (where / "store.json").is_file():
            faults.append(f"its sample store {where} is gone: run notebook 01 with the parameters of the run again")
        else:
            store = open_store(where)
    except (OSError, ValueError) as error:
        faults.append(str(error))
    try:
        model = load_model(run.path) if weights is None else load_model(run.path, weights=weights)
    except (OSError, ValueError) as error:
        faults.append(str(error))
    if store is None or model is None:
        raise ValueError(f"Run {run.name} cannot be loaded:\n" + "\n".join(f"  {fault}" for fault in faults))
    return Loaded(run, model, store)


def _run_of(row: Any, root: Path | None) -> Run:
    from geonb.base.project import project_root
    from geonb.runs.run import Run, find_run

    if isinstance(row, Run):
        return row
    if isinstance(row, (str, Path)):
        return find_run(row, root)
    if not hasattr(row, "get") or row.get("run") is None or getattr(row, "ndim", 1) != 1:
        raise ValueError(
            f"row must be one row of runs.table() (as table.iloc[0]), a run's name or a Run, not {type(row).__name__}."
        )
    path = Path(root or project_root()) / "runs" / str(row["workload"]) / str(row["run"])
    if not path.is_dir():
        raise FileNotFoundError(
            f"No run folder at {path}: it was removed, or the table is of another project (give `root`)."
        )
    return Run(path)


def as_text(frame: pd.DataFrame, width: int | None = None) -> str:
    """The table for a terminal: score and interval in one cell, long texts cut short, the last columns left out if need be.

    Parameters
    ----------
    width : int, optional
        Characters in a line; no limit when left out.

    Returns
    -------
    The table, and below it why runs have no scores.
    """
    shown = _for_reading(frame)
    cells = [[str(c) for c in shown.columns], *([_text(v) for v in row] for row in shown.itertuples(index=False))]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    left_out: list[str] = []
    if width:
        whole = {f"{kind}{metric}" for metric in frame.get("headline", []) for kind in ("", "val_")} | {
            "run",
            "baseline",
        }
        # names and scores stay whole; the longest other text gives way first, down to a dozen letters; then the last column
        least = [w if h in whole else min(w, max(len(h), 12)) for h, w in zip(cells[0], widths, strict=True)]
        while sum(widths) + 2 * (len(widths) - 1) > width and len(widths) > 1:
            longest = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
            if widths[longest] > least[longest] and sum(least[: len(widths)]) + 2 * (len(widths) - 1) <= width:
                widths[longest] -= 1
            else:
                left_out.insert(0, cells[0][len(widths) - 1])
                widths.pop()
    lines = ["  ".join(_fitted(cell, w) for cell, w in zip(row, widths, strict=False)).rstrip() for row in cells]
    if left_out:
        lines += [
            "",
            *_wrapped(f"Left out to fit the terminal: {', '.join(left_out)} (--all shows every column).", width),
        ]
    if "fault" in frame and frame["fault"].notna().any():
        faults = frame.loc[frame["fault"].notna(), ["run", "fault"]].itertuples(index=False)
        lines += ["", *(line for run, fault in faults for line in _wrapped(f"{run}: {fault}", width))]
    return "\n".join(lines)


def _wrapped(line: str, width: int | None) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent="  ") if width else [line]


def _for_reading(frame: pd.DataFrame) -> pd.DataFrame:
    """Interval beside the score, baseline's name beside its score; in the order in which columns matter."""
    shown = frame.copy().astype(object)
    metrics = list(dict.fromkeys(m for m in frame.get("headline", []) if isinstance(m, str)))
    for metric in metrics:
        cells = zip(frame[metric], _column(frame, "low"), _column(frame, "high"), strict=True)
        shown[metric] = ["" if v is None or v != v else f"{v:.3f}{_between(lo, hi)}" for v, lo, hi in cells]
        if f"val_{metric}" in frame:
            shown[f"val_{metric}"] = ["" if v is None or v != v else f"{v:.3f}" for v in frame[f"val_{metric}"]]
    if {"baseline", "baseline_score"} <= set(frame):
        both = zip(frame["baseline"], frame["baseline_score"], strict=True)
        shown["baseline"] = [f"{name} {score:.3f}" if isinstance(name, str) else "" for name, score in both]
    gone = {"headline", "lower_is_better", "low", "high", "val_low", "val_high", "baseline_score", "fault"}
    gone |= {"workload"} if frame["workload"].nunique() < 2 else set()
    last = [name for name in ("baseline", "minutes", "started", *MEASURED) if name in shown]
    kept = [name for name in shown if name not in gone and name not in last]
    return shown[list(dict.fromkeys([*kept, *last]))]


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or low != low else f" [{low:.3f}, {high:.3f}]"


def _column(frame: pd.DataFrame, name: str) -> Any:
    return frame[name] if name in frame else [None] * len(frame)


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fitted(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"
