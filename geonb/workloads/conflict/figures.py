"""Every figure of `conflict`, and which of them the shared notebooks show, with the words that tell how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from geonb import registry
from geonb.base.lazy import names_of
from geonb.plots.shared import LABELS, RELIABILITY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from geonb.runs.run import Run
    from geonb.workloads.conflict.store import CubeStore

_WHERE = {
    "geonb.workloads.conflict.maps": "cube_maps event_diffusion forecast_map forecast_panels forecast_tiles sequence_samples",
    "geonb.workloads.conflict.score_figures": "country_scores deaths_by_lead diagonal_roc outcome_scores roc_pr skill_by_lead "
    "skill_by_month",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)

CELLS: Mapping[str, tuple[registry.Figure, ...]] = {
    "02_training": (
        registry.Figure(
            "",
            "Windows of the training months: events of the months that go in, from the oldest on, and of the month to forecast. The "
            "caption says how they were placed.",
            "geonb.workloads.conflict.figures:sequence_samples",
        ),
    ),
    "03_prediction": (
        registry.Figure(
            "The months ahead",
            "The forecast from the last month of the data, lead by lead: nobody knows yet what happened there. Probability of at "
            "least one event in the cell and month; grey cells lie outside the region.",
            "geonb.workloads.conflict.figures:forecast_map",
        ),
        registry.Figure(
            "A month of the test split",
            "The test month with the most events: truth, network and best baseline on one scale. Does the network follow the cells' "
            "own history, or does it also see where violence spreads to? Rings of low probability around a cluster cost little and "
            "catch the next month's neighbours; a cluster that is missing altogether is what a user would not forgive.",
            "geonb.workloads.conflict.figures:busiest_month",
        ),
        registry.Figure(
            "What went in",
            "The input months of the same forecast, side by side: how the events of the region moved before it.",
            "geonb.workloads.conflict.figures:months_before",
        ),
    ),
    "04_analytics": (
        registry.Figure(
            "Found and false alarms",
            "Violence is rare in a cell and month, so nearly everything is a true negative: accuracy is useless and AUROC looks good "
            "for anything that knows the map. The average precision, the area under the precision-recall curve, is the headline; its "
            "floor is the prevalence, not one half.",
            "geonb.workloads.conflict.figures:roc_pr",
        ),
        registry.Figure(
            "By lead",
            "How fast does skill fade with the months ahead? A network that knows only where violence usually is stays flat; one that "
            "knows what is happening now starts higher and falls.",
            "geonb.workloads.conflict.figures:skill_by_lead",
        ),
        registry.Figure(
            "Deaths as distributions",
            "How well do draws of a month's deaths tell what came? CRPS: how far the draws lie from the deaths, less how far from one "
            "another. Ignorance: how surprising the class of deaths was (0, 1-2, 3-5, ... more than 1000), in bits. Interval score: width "
            "of the central 90 % of the draws, and twenty times what lay outside. These are the scores of the field's prediction "
            "challenge; most cells are peaceful, so that guessing no death scores well in all but the ignorance.",
            "geonb.workloads.conflict.figures:deaths_by_lead",
        ),
        registry.Figure(
            "By month",
            "A score over years hides when it was earned. Bars count the events of each month: with few of them, a month's score is "
            "an anecdote.",
            "geonb.workloads.conflict.figures:skill_by_month",
        ),
        registry.Figure(
            "By kind and country",
            "Several kinds of violence, or several countries: is one of them much worse? One number over all of them hides it.",
            "geonb.workloads.conflict.figures:groups",
        ),
        registry.Figure(
            "The windows, as the original scored them",
            "Windows lie around events, so events are commoner in them than in the region, and these numbers compare with nothing "
            "but numbers of the same windows. The curves ask whether a window's rim is forecast worse than its middle.",
            "geonb.workloads.conflict.figures:window_scores",
        ),
        RELIABILITY,
    ),
    "05_interpretation": (LABELS,),
    "06_explore": (
        registry.Figure(
            "",
            "A way through it. Let the months run with the truth on top, then the network's probability: does it lead or only follow? "
            "Switch the model to the best baseline and back: what does the network add? Click a cell for its history and its forecast "
            "at every lead. Move the threshold: how many false alarms does it cost to find the rest?",
        ),
    ),
}


def busiest(predictions: xr.DataTree) -> np.datetime64:
    """First month of the test forecast with the most events in it."""
    grid = predictions["grid"].to_dataset()
    events = (grid["truth"].isel(lead=0) == 1).sum(("outcome", "y", "x")).compute()
    return grid["time"].values[int(events.where(grid["split"] == "test", -1).argmax("time"))]


def busiest_month(predictions: xr.DataTree, store: CubeStore) -> Figure:
    """Truth, network and best baseline of the busiest test month."""
    from geonb.workloads.conflict import maps

    return maps.forecast_panels(predictions, store, time=busiest(predictions))


def months_before(predictions: xr.DataTree, store: CubeStore) -> Figure:
    """The input months of the busiest test month's forecast."""
    from geonb.workloads.conflict import maps

    return maps.event_diffusion(store, int(store.times.get_loc(busiest(predictions))))


def groups(scores: xr.Dataset) -> list[Figure] | None:
    """Headline metric by kind of violence and by country, where there are several."""
    from geonb.workloads.conflict import score_figures

    drawn = []
    if "outcome_score" in scores and scores.sizes.get("outcome", 0) > 1:
        drawn.append(score_figures.outcome_scores(scores))
    if "country_score" in scores and int((scores["country"] > 0).sum()) > 1:
        drawn.append(score_figures.country_scores(scores))
    return drawn or None


def window_scores(run: Run) -> list[pd.DataFrame | Figure] | None:
    """Scores of the test windows and the ROC along their diagonal, where windows were drawn around events."""
    from geonb.workloads.conflict import analytics, score_figures
    from geonb.workloads.conflict.store import MonthStore

    samples = run.samples
    if not isinstance(samples, MonthStore) or samples.meta["parameters"]["chunk_size"] is None:
        return None
    scored = analytics.score_windows(run.model, samples)
    numbers = [name for name in scored.data_vars if not scored[name].dims]
    return [scored[numbers].to_pandas().rename("test windows").to_frame().round(4), score_figures.diagonal_roc(scored)]
