"""What the shared notebooks show of forecasts, with the words that tell how to read it."""

from __future__ import annotations

from collections.abc import Mapping

from geonb.plots.shared import LABELS, RELIABILITY
from geonb.registry import Figure

CELLS: Mapping[str, tuple[Figure, ...]] = {
    "02_training": (
        Figure(
            "",
            "Windows of the training months: events of the months that go in, from the oldest on, and of the month to forecast. They "
            "are placed at random so that they hold an event of the target month; how often something happens in them is therefore "
            "no measure of how often it happens. The forecasts that are scored are of whole regions, not of such windows.",
            "geonb.workloads.conflict.figures:sequences",
        ),
    ),
    "03_prediction": (
        Figure(
            "The months ahead",
            "The forecast from the last month of the data, lead by lead: nobody knows yet what happened there. Probability of at "
            "least one event in the cell and month; grey cells lie outside the region.",
            "geonb.workloads.conflict.figures:forecast_map",
        ),
        Figure(
            "A month of the test split",
            "The test month with the most events: truth, network and best baseline on one scale. Does the network follow the cells' "
            "own history, or does it also see where violence spreads to? Rings of low probability around a cluster cost little and "
            "catch the next month's neighbours; a cluster that is missing altogether is what a user would not forgive.",
            "geonb.workloads.conflict.figures:forecast_panels",
        ),
        Figure(
            "What went in",
            "The input months of the same forecast, side by side: how the events of the region moved before it.",
            "geonb.workloads.conflict.figures:diffusion",
        ),
    ),
    "04_analytics": (
        Figure(
            "Found and false alarms",
            "Violence is rare in a cell and month, so nearly everything is a true negative: accuracy is useless and AUROC looks good "
            "for anything that knows the map. The average precision, the area under the precision-recall curve, is the headline; its "
            "floor is the prevalence, not one half.",
            "geonb.workloads.conflict.figures:curves",
        ),
        Figure(
            "By lead",
            "How fast does skill fade with the months ahead? A network that knows only where violence usually is stays flat; one that "
            "knows what is happening now starts higher and falls.",
            "geonb.workloads.conflict.figures:leads",
        ),
        Figure(
            "By month",
            "A score over years hides when it was earned. Bars count the events of each month: with few of them, a month's score is "
            "an anecdote.",
            "geonb.workloads.conflict.figures:months",
        ),
        Figure(
            "By kind and country",
            "Several kinds of violence, or several countries: is one of them much worse? One number over all of them hides it.",
            "geonb.workloads.conflict.figures:groups",
        ),
        Figure(
            "The windows, as the original scored them",
            "Windows lie around events, so events are commoner in them than in the region, and these numbers compare with nothing "
            "but numbers of the same windows. The curves ask whether a window's rim is forecast worse than its middle.",
            "geonb.workloads.conflict.figures:window_scores",
        ),
        RELIABILITY,
    ),
    "05_interpretation": (LABELS,),
    "06_explore": (
        Figure(
            "",
            "A way through it. Let the months run with the truth on top, then the network's probability: does it lead or only follow? "
            "Switch the model to the best baseline and back: what does the network add? Click a cell for its history and its forecast "
            "at every lead. Move the threshold: how many false alarms does it cost to find the rest?",
        ),
    ),
}


def sequences(store, seed):
    """Input months and target of training windows."""
    from geonb.workloads.conflict import maps

    return maps.sequence_samples(store, n=4, seed=seed)


def forecast_map(predictions, store):
    """The forecast of the months ahead, a panel a lead."""
    from geonb.workloads.conflict import maps

    return maps.forecast_map(predictions)


def busiest(predictions):
    """First month of the test forecast with the most events in it: datetime64."""
    grid = predictions["grid"]
    events = (grid["truth"].isel(lead=0) == 1).sum(("outcome", "y", "x")).compute()
    return grid["time"].values[int(events.where(grid["split"] == "test", -1).argmax("time"))]


def forecast_panels(predictions, store):
    """Truth, network and best baseline of the busiest test month."""
    from geonb.workloads.conflict import maps

    return maps.forecast_panels(predictions, store, time=busiest(predictions))


def diffusion(predictions, store):
    """The input months of the busiest test month's forecast."""
    from geonb.workloads.conflict import maps

    return maps.event_diffusion(store, int(store.times.get_loc(busiest(predictions))))


def curves(scores, run):
    """ROC and precision-recall curves."""
    from geonb.workloads.conflict import score_figures

    return score_figures.roc_pr(scores)


def leads(scores, run):
    """Headline metric by lead."""
    from geonb.workloads.conflict import score_figures

    return score_figures.skill_by_lead(scores)


def months(scores, run):
    """Headline metric by month, events beneath."""
    from geonb.workloads.conflict import score_figures

    return score_figures.skill_by_month(scores)


def groups(scores, run):
    """Headline metric by kind of violence and by country, where there are several."""
    from geonb.workloads.conflict import score_figures

    named = {
        "outcome_score": ("outcome", score_figures.outcome_scores),
        "country_score": ("country", score_figures.country_scores),
    }
    several = {"outcome": scores.sizes.get("outcome", 0) > 1, "country": int((scores["country"] > 0).sum()) > 1}
    return [draw(scores) for name, (dim, draw) in named.items() if name in scores and several[dim]] or None


def window_scores(scores, run):
    """Scores of the test windows and the ROC along their diagonal, where windows were drawn around events."""
    from geonb.workloads.conflict import analytics, score_figures

    if run.samples.meta["parameters"]["chunk_size"] is None:
        return None
    found = analytics.score_windows(run.model, run.samples)
    numbers = [name for name in found.data_vars if not found[name].dims]
    return [found[numbers].to_pandas().rename("test windows").to_frame().round(4), score_figures.diagonal_roc(found)]
