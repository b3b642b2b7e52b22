"""Several runs beside each other on one self-contained page: what differs, how good, which differences are beyond chance.

A run is chosen on validation. The test scores stand beside it, to say what the chosen run is worth; the page says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb.base.metrics import lower_in_table
from geonb.plots.compare import class_table, curves, headlines, leads, two_words
from geonb.plots.scores import readable
from geonb.runs import run_table
from geonb.runs.page import SIMULATED, picture, section, state_mark, table, whole, write

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Resampling fewer than these hardly shows what other blocks would have given.
FEW_BLOCKS = 10
SOURCES_SAID = "Test split, 95 % intervals over each source's own blocks; without one where there is a single block."


def write_comparison(
    run_paths: Iterable[str | Path], out: str | Path | None = None, sort: str | None = None, draws: int = 1000
) -> Path:
    """Write one page that compares runs: broken and unfinished ones are named with the reason.

    Parameters
    ----------
    run_paths : paths of run folders, two or more
    out : path of the page; ``runs/comparison_<number>-runs_<key>.html`` when left out, the same for the same runs
    sort : column of the table of runs to order by; the best on validation first when left out
    draws : int
        Bootstrap draws of the paired differences.

    Returns
    -------
    Path of the page

    Raises
    ------
    ValueError
        If there are fewer than two runs.
    """
    folders = list(dict.fromkeys(Path(path).resolve() for path in run_paths))
    if len(folders) < 2:
        raise ValueError(
            f"A comparison needs two runs or more, not {len(folders)}. `geonb runs` lists those there are."
        )
    if out is None:
        from geonb.base.files import key_of

        key = key_of(sorted(folder.name for folder in folders))[:8]
        out = folders[0].parents[1] / f"comparison_{len(folders)}-runs_{key}.html"
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    return write(out, _page(folders, out, sort, draws))


def _page(folders: list[Path], out: Path, sort: str | None, draws: int) -> str:
    frame = run_table.table_of(folders, sort=sort)
    where = {(folder.parent.name, folder.name): folder for folder in folders}
    frame["path"] = [where[row.workload, row.run] for row in frame.itertuples()]
    frame, apart = _set_apart(frame)
    if len(frame) and sort is None:
        frame = _best_first(frame)
    scores, faults = _scores(frame)
    logs = _logs(frame)
    varying = [p for p in run_table.varying_parameters(_settled(frame["path"])) if p in frame]
    attrs: dict[str, Any] = {"simulated": int(any(_simulated(path) for path in frame["path"]))}
    metric = frame["headline"].iloc[0] if len(frame) else None
    parts: list[tuple[str, str, Callable[[], str | None]]] = []
    if metric:
        parts.append(("runs", "Which run", lambda: _ranking(frame, varying, scores, out)))
        labels = {row["run"]: _label(row, varying) for _, row in frame.iterrows()}
        same_loss = "loss" not in varying
        parts += [
            (
                "scores",
                "How good, with intervals",
                lambda: picture(headlines(frame, labels, attrs), "scores of each run"),
            ),
            ("differences", "Which differences are beyond chance", lambda: _differences(frame, scores, metric, draws)),
            ("leads", "Each lead", lambda: _leads(scores, metric)),
            ("outcomes", "Each outcome", lambda: _parts(scores, metric, "outcome", "Test split, 95 % intervals.")),
            ("classes", "Each class", lambda: _classes(scores)),
            ("sources", "Each source", lambda: _parts(scores, metric, "source", SOURCES_SAID)),
            (
                "curves",
                "How they learnt",
                lambda: picture(curves(logs, metric, same_loss, attrs), "curves") if logs else None,
            ),
            ("cost", "What they cost", lambda: _cost(frame)),
            ("parameters", "What they share", lambda: _shared(frame, varying)),
        ]
    parts.append(("apart", "Not compared", lambda: _apart(apart, faults, out)))
    made = [one for one in (section(*part) for part in parts) if one]
    title = "1 run, none to compare it with" if len(frame) == 1 else f"{len(frame)} runs compared"
    said = "<p class='notice bad'>No run here has scores, so there is nothing to compare.</p>" if metric is None else ""
    if len(frame) == 1:
        said = (
            "<p class='notice bad'>Only one run here can stand in this table: the end says why the others cannot.</p>"
        )
    more = f" {len(apart)} more could not be compared: see the end." if len(apart) else ""
    head = f"<h1>{title}</h1><p class='question'>{escape(_question(frame))}{more}</p>{SIMULATED if attrs['simulated'] else ''}"
    return whole(
        title, "geonb: comparison", [(key, name) for key, name, _ in made], head + said + "".join(p for *_, p in made)
    )


def _set_apart(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs that can stand in one table, and those that cannot, with the reason as their fault."""
    scored = frame["headline"].notna() if "headline" in frame else np.zeros(len(frame), bool)
    frame = frame.assign(fault=frame["fault"].astype(object))
    if np.any(scored):
        workload = frame.loc[scored, "workload"].mode().iloc[0]
        other = scored & (frame["workload"] != workload)
        frame.loc[other, "fault"] = [
            f"a run of {w}, the others are of {workload}" for w in frame.loc[other, "workload"]
        ]
        scored &= ~other
        metric = frame.loc[scored, "headline"].mode().iloc[0]
        other = scored & (frame["headline"] != metric)
        frame.loc[other, "fault"] = [f"led by {m}, the others by {metric}" for m in frame.loc[other, "headline"]]
        scored &= ~other
    return frame[scored].reset_index(drop=True), frame[~np.asarray(scored)].reset_index(drop=True)


def _best_first(frame: pd.DataFrame) -> pd.DataFrame:
    metric = frame["headline"].iloc[0]
    by = f"val_{metric}" if f"val_{metric}" in frame else "started"
    ascending = lower_in_table(frame, metric)
    return frame.sort_values(by, ascending=ascending, na_position="last", kind="stable", ignore_index=True)


def _scores(frame: pd.DataFrame) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """run -> scores.nc, and why there is none to compare."""
    from geonb.runs.run import older_scores, read_info
    from geonb.scores.scores import read_scores

    scores, faults = {}, {}
    for run, path in zip(frame.get("run", []), frame["path"], strict=True):
        try:
            if older := older_scores(read_info(path)):
                faults[run] = older
                continue
            scores[run] = read_scores(path / "scores.nc")
        except (OSError, ValueError) as error:
            gone = not (path / "scores.nc").is_file()
            faults[run] = "its scores.nc is gone" if gone else f"its scores.nc cannot be read ({error})"
    return scores, faults


def _logs(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    import pandas as pd

    logs = {}
    for run, path in zip(frame.get("run", []), frame["path"], strict=True):
        try:
            log = pd.read_csv(path / "log.csv")
        except (OSError, ValueError):
            continue  # a run without its log has no curve; its scores still count
        if {"epoch", "val_loss"} <= set(log) and len(log):
            logs[run] = log
    return logs


def _settled(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [run_table.row_of(path)[1] for path in paths]


def _simulated(path: Path) -> bool:
    from geonb.runs.report import simulated
    from geonb.runs.run import Run

    try:
        return simulated(path, Run(path).info)
    except (OSError, ValueError):
        return False


def _question(frame: pd.DataFrame) -> str:
    from geonb import registry

    try:
        return registry.known(frame["workload"].iloc[0]).question if len(frame) else ""
    except (ValueError, ImportError):
        return ""


def _label(row: pd.Series, varying: list[str]) -> str:
    texts = [_said(row[name]) for name in varying][:3]
    return ", ".join(text if len(text) <= 26 else f"{text[:25]}…" for text in texts)


def _said(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _link(path: Path, out: Path) -> str:
    name, report = _unbroken(escape(two_words(path.name))), path / "report.html"
    if not report.is_file():
        return f"{name} <small>(no report)</small>"
    return f'<a href="{escape(os.path.relpath(report, out.parent).replace(os.sep, "/"), quote=True)}">{name}</a>'


def _unbroken(cell: str) -> str:
    return f'<span style="white-space: nowrap">{cell}</span>'


def _between(value: Any, low: Any, high: Any) -> str:
    if value is None or not np.isfinite(value):
        return "-"
    known = low is not None and high is not None and np.isfinite(low) and np.isfinite(high)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if known else f"{value:.3f}"


def _ranking(frame: pd.DataFrame, varying: list[str], scores: dict[str, xr.Dataset], out: Path) -> str:
    """The table of runs, what differs between them beside validation and test scores; the one to choose leads."""
    from geonb.scores.verdicts import verdict

    metric = frame["headline"].iloc[0]
    name = readable(metric)
    heads = ["run", *varying, f"{name}, validation", f"{name}, test", "its best baseline, test"]
    rows = [
        [
            _link(row["path"], out),
            *(escape(_said(row[p])).replace(",", ",<wbr>").replace(":", ":<wbr>") for p in varying),
            _unbroken(_between(row.get(f"val_{metric}"), row.get("val_low"), row.get("val_high"))),
            _unbroken(_between(row[metric], row.get("low"), row.get("high"))),
            _unbroken(escape(f"{row['baseline']} {row['baseline_score']:.3f}"))
            if isinstance(row.get("baseline"), str)
            else "-",
        ]
        for _, row in frame.iterrows()
    ]
    caption = "Brackets: 95 % intervals from resampling whole blocks."
    try:
        chosen = run_table.best(frame)
    except ValueError:
        return table(heads, rows, caption) + "<p>No run has a validation score, so none can be chosen here.</p>"
    against = verdict(scores[chosen["run"]]) if "gain" in scores.get(chosen["run"], ()) else ""
    told = (
        f"<p><b>Chosen by validation: {escape(two_words(chosen['run']))}</b>, with {name} "
        f"{_between(chosen[f'val_{metric}'], chosen.get('val_low'), chosen.get('val_high'))} there and "
        f"{_between(chosen[metric], chosen.get('low'), chosen.get('high'))} on test. Load it with "
        f"<code>geonb.load_run({escape(repr(chosen['run']))})</code>. {escape(against)}</p>"
        f"<p class='quiet'>A run is chosen by its validation score; the test score says what the chosen one is worth. To choose "
        f"by the test score would be cheating: of {len(frame)} runs, the one with the luckiest test blocks would win and look "
        "better than it is. For the same reason the validation score of the chosen run flatters it a little.</p>"
    )
    return told + table(heads, rows, caption, lead=int(chosen.name))


def _differences(frame: pd.DataFrame, scores: dict[str, xr.Dataset], metric: str, draws: int) -> str | None:
    """Each run minus the first of the table, over the blocks that both were scored on."""
    if len(frame) < 2:
        return None
    from geonb.runs.run import Run
    from geonb.scores.scores import compare

    try:
        first = str(run_table.best(frame)["run"])
    except ValueError:
        first = str(frame["run"].iloc[0])
    stores = {row["run"]: Run(row["path"]).info.get("store") for _, row in frame.iterrows()}
    rows, lower = [], lower_in_table(frame, metric)
    for run in (r for r in frame["run"] if r != first):
        cells = [escape(two_words(run))]
        try:
            if run not in scores or first not in scores:
                raise ValueError("there is no scores.nc to read")
            elsewhere = stores[run] != stores[first]
            if elsewhere and "block_truth" not in scores[run]:  # only that tells whether it holds the same ones
                raise ValueError(f"another sample store ({stores[run]}), hence other blocks")
            told = {}
            for split in ("val", "test"):
                try:
                    told[split] = compare(scores[run], scores[first], metric, split, draws)
                except ValueError as error:
                    raise ValueError(
                        f"another sample store ({stores[run]}): {error}" if elsewhere else error
                    ) from error
            cells += [_difference(told[split]) for split in ("val", "test")]
            said = f" (another sample store, of the same {scores[run].attrs['unit']})" if elsewhere else ""
            cells += [
                str(told["test"].get("resampled", told["test"]["blocks"])),
                escape(_verdict(told["test"], lower) + said),
            ]
        except ValueError as error:
            cells += ["-", "-", "", f"cannot be compared: {escape(str(error))}"]
        rows.append(cells)
    said = (
        f"The {readable(metric)} of each run minus that of {two_words(first)}. Both are scored on the same blocks, and each draw of "
        f"the bootstrap takes the same blocks for both, so that what makes a block hard for both cancels out ({draws} draws). On "
        f"validation the difference flatters {two_words(first)}, if it was chosen there; of twenty "
        "differences between runs that are equally good, one is beyond its interval by chance."
    )
    return table(["run", "difference, validation", "difference, test", "test blocks", "on the test blocks"], rows, said)


def _difference(told: dict[str, Any]) -> str:
    if not np.isfinite(told["low"]):
        return f"{told['difference']:+.3f}"
    return f"{told['difference']:+.3f} [{told['low']:+.3f}, {told['high']:+.3f}]"


def _verdict(told: dict[str, Any], lower_is_better: bool) -> str:
    if not np.isfinite(told["low"]):
        return "one block only: no interval"
    if told["low"] <= 0 <= told["high"]:
        return "cannot be told apart"
    said = "better" if (told["low"] > 0) != lower_is_better else "worse"
    few = told.get("fewest", told["blocks"]) < FEW_BLOCKS
    return f"{said}, but with so few blocks intervals are too narrow" if few else said


def _leads(scores: dict[str, xr.Dataset], metric: str) -> str | None:
    with_leads = {run: one for run, one in scores.items() if "lead_score" in one}
    if max((one.sizes["lead"] for one in with_leads.values()), default=0) < 2:
        return None
    return picture(leads(with_leads, metric), "score of each lead by run")


def _classes(scores: dict[str, xr.Dataset]) -> str | None:
    scores = {run: one for run, one in scores.items() if "class_score" in one}
    if not scores:
        return None
    first = next(iter(scores.values()))
    alike = {run: one for run, one in scores.items() if list(one["class"].values) == list(first["class"].values)}
    gone = [two_words(run) for run in scores if run not in alike]
    said = f"<p class='quiet'>Of other classes, hence not shown: {escape(', '.join(gone))}.</p>" if gone else ""
    return picture(class_table(alike), "score of each class by run") + said


def _parts(scores: dict[str, xr.Dataset], metric: str, dim: str, caption: str) -> str | None:
    """Test score of each source, or outcome, by run, where there is more than one."""
    with_parts = {run: one for run, one in scores.items() if f"{dim}_score" in one}
    names = list(dict.fromkeys(str(s) for one in with_parts.values() for s in one[dim].values))
    if len(names) < 2:
        return None
    rows = []
    for run, one in with_parts.items():
        at = one.sel(split="test", metric=metric).isel(model=0)
        cells = {
            str(here[dim].item()): _between(*(float(here[f"{dim}_score{end}"]) for end in ("", "_low", "_high")))
            for here in (at.isel({dim: i}) for i in range(at.sizes[dim]))
        }
        rows.append([escape(two_words(run)), *(cells.get(name, "-") for name in names)])
    return table(["run", *names], rows, caption)


def _cost(frame: pd.DataFrame) -> str:
    def told(value: Any, form: str) -> str:
        return form.format(value) if value is not None and value == value else "-"

    rows = [
        [
            escape(two_words(row["run"])), state_mark(row["state"]), told(row.get("minutes"), "{:.1f} min"),
            told(row.get("memory_mb"), "{:,.0f} MB"), told(row.get("n_weights"), "{:,.0f}"),
            told(row.get("best_epoch"), "{:.0f}"), told(row.get("val_loss"), "{:.4g}"),
        ]
        for _, row in frame.iterrows()
    ]  # fmt: skip
    heads = ["run", "state", "time, all steps", "peak memory", "weights", "best epoch", "lowest validation loss"]
    return table(
        heads, rows, "Memory is that of the hungriest step. Losses of different kinds stand on different scales."
    )


def _shared(frame: pd.DataFrame, varying: list[str]) -> str:
    alike: dict[str, Any] = {}
    for settled in _settled(frame["path"]):
        alike = settled | alike
    alike = {k: v for k, v in alike.items() if k not in varying and k not in run_table.NO_CHOICE}
    rows = [[escape(name), escape(json.dumps(value, default=str))] for name, value in sorted(alike.items())]
    listed = table(["parameter", "value"], rows)
    return f"<details><summary>{len(rows)} parameters that are the same in every run that has them</summary>{listed}</details>"


def _apart(apart: pd.DataFrame, faults: dict[str, str], out: Path) -> str | None:
    rows = [
        [_link(row["path"], out), state_mark(row["state"]), escape(str(row["fault"] or "no scores"))]
        for _, row in apart.iterrows()
    ]
    rows += [
        [escape(two_words(run)), "", escape(f"compared by its headline only: {why}")] for run, why in faults.items()
    ]
    return table(["run", "state", "why"], rows) if rows else None
