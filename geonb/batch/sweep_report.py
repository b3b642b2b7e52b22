"""One page of a sweep: its course, which settings mattered, all trials, and what the best one is worth on the test split."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from geonb.base import files
from geonb.batch import sweeps
from geonb.runs import run as runs_run
from geonb.runs.page import SIMULATED, interval, picture, section, table, whole, write

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from matplotlib.figure import Figure

FILE = "report.html"


def write_report(folder: Path) -> Path:
    """Write the page of a sweep, also of one that is not over."""
    about, study, frame = files.read_json(folder / sweeps.RECORD), sweeps.study_of(folder), sweeps.trials_of(folder)
    counts = frame["state"].value_counts() if len(frame) else {}
    told = ", ".join(f"{number} {state}" for state, number in counts.items())
    head = f"<h1>Sweep {escape(folder.name)}</h1><p class='question'>{escape(about['workload'])}: {about['trials']} trials wanted; {told}. "
    head += (
        f"Chosen by {escape(about['metric'])} on the validation split: no trial but the best sees the test split.</p>"
    )
    parts = [
        section("best", "The best", lambda: _best(folder, about)),
        section(
            "history",
            "How it went",
            lambda: _drawn(study, "plot_optimization_history", "value of each trial", about),
        ),
        section("importances", "Which settings mattered", lambda: _importances(study, about)),
        section(
            "parallel",
            "Settings together",
            lambda: _drawn(study, "plot_parallel_coordinate", "settings of each trial", about),
        ),
        section("trials", "All trials", lambda: _trials(frame, about, folder.parents[2] / "runs" / folder.parent.name)),
    ]
    made = [part for part in parts if part]
    simulated = SIMULATED if _simulated(folder) else ""
    contents = [(key, name) for key, name, _ in made]
    page = whole(
        f"Sweep {folder.name}", "geonb: sweep", contents, head + simulated + "".join(part for *_, part in made)
    )
    return write(folder / FILE, page)


def _best(folder: Path, about: dict[str, Any]) -> str:
    run = sweeps.best_run(folder)
    head = run.info.get("headline") or {}
    said = f"<p><b>{escape(run.name)}</b>, chosen on validation."
    if head.get("value") is not None:
        said += f" On the test split: {escape(str(head.get('metric', '')))} {escape(interval(head))}."
    said += f" {_link(run.path, 'Its report')}."
    again = f"geonb run {about['workload']} -f {run.path / 'parameters.yaml'}"
    return f"{said}</p><p>Again with these settings: <code>{escape(again)}</code></p>"


def _drawn(study: optuna.Study, name: str, what: str, about: dict[str, Any]) -> str | None:
    import warnings

    import matplotlib.pyplot as plt
    import optuna

    if sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings(
            "ignore", "Attempting to set identical", UserWarning
        )  # all trials with one value of a setting
        axes = getattr(optuna.visualization.matplotlib, name)(study, target_name=about["metric"])
    figure = axes.figure if hasattr(axes, "figure") else plt.gcf()
    figure.set_size_inches(9, 4.5)
    _legible(figure, name)
    try:
        return picture(figure, what)
    finally:
        plt.close(figure)


def _legible(figure: Figure, name: str) -> None:
    """Trials by whole numbers; room for the names of choices beside the bar of colours, and colours that show on grey."""
    from textwrap import fill

    from matplotlib.ticker import MaxNLocator

    if name == "plot_optimization_history":
        figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    elif name == "plot_parallel_coordinate" and len(figure.axes) > 1:
        first, bar, *settings = figure.axes
        bar.set_position((0.92, 0.2, 0.015, 0.65))
        for axes in (first, *settings):
            axes.set_position((0.07, 0.2, 0.63, 0.65))
            texts = [label.get_text().replace(",", ", ") for label in axes.get_yticklabels()]
            labels = [fill(text, 24).replace(", ", ",") for text in texts]
            if axes.get_yscale() != "log" and any("\n" in label for label in labels):
                axes.set_yticks(axes.get_yticks(), labels, fontsize="small")
        for lines in first.collections:
            lines.set_cmap("viridis" if lines.get_cmap().name.endswith("_r") else "viridis_r")


def _importances(study: optuna.Study, about: dict[str, Any]) -> str | None:
    drawn = (
        _drawn(study, "plot_param_importances", "importance of each setting", about)
        if len(about["space"]) > 1
        else None
    )
    done = sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))
    return (
        drawn
        and drawn
        + f"<p class='quiet'>fANOVA over {done} trials (Hutter et al. 2014); with few of them a hint, no more.</p>"
    )


def _trials(frame: pd.DataFrame, about: dict[str, Any], runs: Path) -> str:
    rows = [
        [_link(runs / value, value) if column == "run" and value else _cell(value) for column, value in row.items()]
        for _, row in frame.iterrows()
    ]
    said = f"Best first; {about['metric']}: the best of a trial's epochs. Those given up (pruned) fell behind the median of the others."
    return table(list(frame.columns), rows, said, lead=0)


def _link(run: Path, name: str) -> str:
    """A run's report as the page of a sweep, three folders below the project, finds it; its name where there is none."""
    there = (run / "report.html").is_file()
    return (
        f'<a href="../../../runs/{quote(run.parent.name)}/{quote(run.name)}/report.html">{escape(name)}</a>'
        if there
        else escape(name)
    )


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _simulated(folder: Path) -> bool:
    about = files.read_json(folder / sweeps.RECORD)
    store = runs_run.Run(folder.parents[2] / "runs" / folder.parent.name / about["base"]).store
    return bool(store and files.read_json(store / "store.json").get("simulated"))
