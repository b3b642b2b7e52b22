"""What the shared notebooks show of a workload: its own figures, each with the words that tell how to read it.

The notebooks' prose holds for every workload; what holds for one stands here, as data that its record points to, and
`show` puts it into the notebook. So no notebook asks which workload it has before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Look:
    """A figure and how to read it.

    Attributes
    ----------
    title : str
        Its heading in the notebook; empty for none.
    text : str
        Markdown: what to look for, and what it may mean.
    draw : str, optional
        ``"package.module:function"`` of what the notebook gives (`GIVES`); returns a figure, a list of figures, anything that
        IPython displays, or None where there is nothing to show. None: words only.
    """

    title: str
    text: str
    draw: str | None = None


GIVES = {
    "02_training": "(store, seed)",
    "03_prediction": "(predictions, store)",
    "04_analytics": "(scores, run)",
    "05_interpretation": "(vectors, letters, plane, tiles, store, run)",
    "06_explore": "(predictions, store)",
}

RELIABILITY = Look(
    "Does it know when it does not know",
    "Of what it calls 80 % sure, about 80 % should come true. Below the diagonal it is surer than it should be, as networks "
    "often are; above, it is too modest. ECE is the mean distance to the diagonal, weighted by the number of samples, which the "
    "bars show.",
    "geonb.looks:reliability",
)

LABELS = Look(
    "By label",
    "The same plane in the colours of what the windows mostly show. Colours that lie apart are what the network tells apart without "
    "having been asked here; a label in two heaps has kinds of its own; labels in one heap are confused, or look alike.",
    "geonb.looks:by_label",
)

PIXELS: Mapping[str, tuple[Look, ...]] = {
    "02_training": (
        Look(
            "",
            "Windows of the training split with their targets. If something is wrong here (a shifted mask, a swapped band), no "
            "training will mend it. Grey is ignored.",
            "geonb.looks:windows",
        ),
    ),
    "03_prediction": (
        Look(
            "",
            "Where is the network wrong, and is it at least unsure there? Only the outlined test blocks count: elsewhere the "
            "network saw the answers. Errors in thin lines along borders are half a pixel of mixed ground and hard to avoid; "
            "errors in whole patches are a kind of place that the network misses, or a label that is wrong. The last panel says "
            "which of the two it suspects itself: a good network is unsure exactly where it errs.",
            "geonb.looks:panels",
        ),
    ),
    "04_analytics": (
        Look(
            "Which classes",
            "Accuracy is the share of pixels that are right, and a model that knows only the commonest class can look good by it; "
            "the mean IoU gives every class of the split the same weight. An average hides the rare ones. Prevalence stands beside "
            "each score: a class with a thousandth of the pixels has an interval as wide as the axis, and its score is an anecdote. "
            "If a rare class matters to you, get more of it before you tune anything.",
            "geonb.looks:class_scores",
        ),
        Look(
            "How many hectares",
            "A map is often read for its hectares. Errors of both kinds can cancel there: a class may be in the wrong places and "
            "still have nearly the right area, so look at both figures. Boundary F1, in the table above, asks whether the outlines "
            "lie where they should, within two pixels.",
            "geonb.looks:area_error",
        ),
        Look(
            "Where",
            "By source and block by block. If one source is much worse than the others, its images, its labels or its kind of place "
            "differ, and a mean over all of them hides it. Bad blocks side by side are a place to look at on the map of notebook 06.",
            "geonb.looks:places",
        ),
        Look(
            "Taken for what",
            "Each row is a true class; the columns say what the network called it. Two classes that go into each other are hard to "
            "tell apart in these bands, at this resolution, or for the people who drew the labels.",
            "geonb.looks:confusion",
        ),
        RELIABILITY,
    ),
    "05_interpretation": (LABELS,),
    "06_explore": (
        Look(
            "",
            'A way through it. First lay "where the model is wrong" over the image: errors lie along borders if the network is good, '
            "in patches if it misses a kind of place. Then switch the model to a baseline and back: what does the network add? Click "
            "into a patch of errors and read the bands and the probabilities: is it nearly right, or sure and wrong? Last, lay a "
            "class's probability over the image and move the threshold: how many false alarms does it cost to find the rest of that "
            "class?",
        ),
    ),
}

CELLS: Mapping[str, tuple[Look, ...]] = {
    "02_training": (
        Look(
            "",
            "Windows of the training months: events of the months that go in, from the oldest on, and of the month to forecast. They "
            "are placed at random so that they hold an event of the target month; how often something happens in them is therefore "
            "no measure of how often it happens. The forecasts that are scored are of whole regions, not of such windows.",
            "geonb.looks:sequences",
        ),
    ),
    "03_prediction": (
        Look(
            "The months ahead",
            "The forecast from the last month of the data, lead by lead: nobody knows yet what happened there. Probability of at "
            "least one event in the cell and month; grey cells lie outside the region.",
            "geonb.looks:forecast_map",
        ),
        Look(
            "A month of the test split",
            "The test month with the most events: truth, network and best baseline on one scale. Does the network follow the cells' "
            "own history, or does it also see where violence spreads to? Rings of low probability around a cluster cost little and "
            "catch the next month's neighbours; a cluster that is missing altogether is what a user would not forgive.",
            "geonb.looks:forecast_panels",
        ),
        Look(
            "What went in",
            "The input months of the same forecast, side by side: how the events of the region moved before it.",
            "geonb.looks:diffusion",
        ),
    ),
    "04_analytics": (
        Look(
            "Found and false alarms",
            "Violence is rare in a cell and month, so nearly everything is a true negative: accuracy is useless and AUROC looks good "
            "for anything that knows the map. The average precision, the area under the precision-recall curve, is the headline; its "
            "floor is the prevalence, not one half.",
            "geonb.looks:curves",
        ),
        Look(
            "By lead",
            "How fast does skill fade with the months ahead? A network that knows only where violence usually is stays flat; one that "
            "knows what is happening now starts higher and falls.",
            "geonb.looks:leads",
        ),
        Look(
            "By month",
            "A score over years hides when it was earned. Bars count the events of each month: with few of them, a month's score is "
            "an anecdote.",
            "geonb.looks:months",
        ),
        Look(
            "By kind and country",
            "Several kinds of violence, or several countries: is one of them much worse? One number over all of them hides it.",
            "geonb.looks:groups",
        ),
        Look(
            "The windows, as the original scored them",
            "Windows lie around events, so events are commoner in them than in the region, and these numbers compare with nothing "
            "but numbers of the same windows. The curves ask whether a window's rim is forecast worse than its middle.",
            "geonb.looks:window_scores",
        ),
        RELIABILITY,
    ),
    "05_interpretation": (LABELS,),
    "06_explore": (
        Look(
            "",
            "A way through it. Let the months run with the truth on top, then the network's probability: does it lead or only follow? "
            "Switch the model to the best baseline and back: what does the network add? Click a cell for its history and its forecast "
            "at every lead. Move the threshold: how many false alarms does it cost to find the rest?",
        ),
    ),
}


TILES: Mapping[str, tuple[Look, ...]] = {
    "02_training": (
        Look(
            "",
            "Triplets of the training split, a column each. The network learns to place the neighbour closer to the anchor than the "
            "distant tile. Where you could not say either which is which, it cannot learn anything; where brightness gives it "
            "away, it need not learn anything else.",
            "geonb.looks_clouds:triplets",
        ),
    ),
    "03_prediction": (
        Look(
            "Most wrong",
            "The test triplets whose distant tile the network finds by far the nearer one. Look at each: often the distant tile does "
            "show the same kind of sky, and the network is not wrong but the triplet is. If you can see at once that it is wrong, "
            "ask what it looked at instead: brightness, the coast, an edge of the scene?",
            "geonb.looks_clouds:worst",
        ),
        Look(
            "Most right",
            "The test triplets that it finds easiest. If all of them are bright against dark, it was easy for anybody.",
            "geonb.looks_clouds:best",
        ),
    ),
    "04_analytics": (
        Look(
            "Beyond brightness",
            "Neighbours are alike in brightness and in its spread, so these two numbers alone put most triplets right. The network "
            "earns its place where they do not: on the hardest fifth of the triplets, and in what the two gain when it is joined with "
            "them. The untrained network beside it says how much of that is training, and how much any network would see.",
            "geonb.looks_clouds:beyond",
        ),
        Look(
            "How far apart",
            "The distances behind the accuracy. Accuracy compares the two tiles of one anchor; the AUC compares all distances with all, "
            "and is lower where a model's distances mean something else in another place or at another hour. Near distances "
            "that grow from training to test are over-fitting. Two heaps at the same place are a network that tells nothing apart, "
            "and both at nothing one that has collapsed.",
            "geonb.looks_clouds:distances",
        ),
        Look(
            "When and where",
            "Scene by scene and place by place. A slope over the day is light that changes, not clouds; one bad place may be a coast, "
            "a desert or sun glint that looks the same in every scene. Few triplets make a value scatter.",
            "geonb.looks_clouds:scenes_and_places",
        ),
        Look(
            "Are those alike also near",
            "Of each tile's ten likes among all that do not overlap it, the share that lies within three tiles on the ground, or within "
            "a tenth of the series in time, beside the share that chance would give. Weather has a size, so more than chance is "
            "right; nearly all of them would mean that the network knows the place and not the pattern. Tiles of training places "
            "are among them.",
            "geonb.looks_clouds:neighbours",
        ),
    ),
    "05_interpretation": (
        Look(
            "Whole scenes",
            "The kinds and colours found above, given to every tile of the scenes: each tile has the letter of the nearest kind. Do the "
            "borders between kinds follow borders that you see? Then the ways of places through the plane: a place over which one kind of "
            "cloud stays keeps to a corner, a front that passes makes a jump, and the return of all of them together would be the "
            "time of day.",
            "geonb.looks_clouds:whole_scenes",
        ),
    ),
    "06_explore": (
        Look(
            "",
            "A way through it. Lay the three components over the scene: do their colours follow kinds of cloud that you have a name "
            "for, or only how bright it is? Move through the times: a kind that drifts with the clouds is a pattern, a kind that stays "
            "where it is is ground. Click a tile: what else is near to it, here and at the other times? Then click clear sky, a coast and "
            "the scene's edge, and see what the network makes of those.",
        ),
    ),
}


def show(workload: str, notebook: str, *subject: Any) -> None:
    """Display a workload's looks for a notebook, in order.

    Parameters
    ----------
    workload : name or import path of the record
    notebook : stem, e.g. ``"04_analytics"``
    subject : what the notebook gives its looks, see `GIVES`
    """
    from IPython.display import Markdown, display

    from geonb import workloads

    for look in workloads.get(workload).looks.get(notebook, ()):
        drawn = workloads.load(look.draw)(*subject) if look.draw else ()
        if drawn is None:
            continue
        display(Markdown(f"### {look.title}\n\n{look.text}" if look.title else look.text))
        for figure in drawn if isinstance(drawn, list | tuple) else [drawn]:
            display(figure)


def windows(store, seed):
    """Training windows with their targets."""
    from geonb import plots

    return plots.samples(store, n=8, seed=seed)


def panels(predictions, store):
    """Image, truth, label and sureness of each source."""
    from geonb import plots

    return [plots.prediction_panels(predictions, source, arrays=store.arrays) for source in predictions.children]


def class_scores(scores, run):
    """IoU of each class."""
    from geonb import plots

    return plots.class_scores(scores)


def area_error(scores, run):
    """Error of each class's area."""
    from geonb import plots

    return plots.area_error(scores)


def places(scores, run):
    """Scores by source and by block."""
    from geonb import plots

    return [plots.source_scores(scores), plots.block_scores(scores)]


def confusion(scores, run):
    """The network's confusion matrix."""
    from geonb import plots

    return plots.confusion(scores)


def reliability(scores, run):
    """How often what is called so sure comes true."""
    from geonb import plots

    return plots.reliability(scores)


def by_label(vectors, letters, plane, tiles, store, run):
    """The plane of notebook 05 coloured by label; nothing where samples have none."""
    from geonb import plots

    return plots.scatter_with_tiles(plane, tiles, vectors["label"].values) if "label" in vectors.coords else None


def sequences(store, seed):
    """Input months and target of training windows."""
    from geonb import plots

    return plots.sequence_samples(store, n=4, seed=seed)


def forecast_map(predictions, store):
    """The forecast of the months ahead, a panel a lead."""
    from geonb import plots

    return plots.forecast_map(predictions)


def busiest(predictions):
    """First month of the test forecast with the most events in it: datetime64."""
    grid = predictions["grid"]
    events = (grid["truth"].isel(lead=0) == 1).sum(("outcome", "y", "x")).compute()
    return grid["time"].values[int(events.where(grid["split"] == "test", -1).argmax("time"))]


def forecast_panels(predictions, store):
    """Truth, network and best baseline of the busiest test month."""
    from geonb import plots

    return plots.forecast_panels(predictions, store, time=busiest(predictions))


def diffusion(predictions, store):
    """The input months of the busiest test month's forecast."""
    from geonb import plots

    return plots.event_diffusion(store, int(store.times.get_loc(busiest(predictions))))


def curves(scores, run):
    """ROC and precision-recall curves."""
    from geonb import plots

    return plots.roc_pr(scores)


def leads(scores, run):
    """Headline metric by lead."""
    from geonb import plots

    return plots.skill_by_lead(scores)


def months(scores, run):
    """Headline metric by month, events beneath."""
    from geonb import plots

    return plots.skill_by_month(scores)


def groups(scores, run):
    """Headline metric by kind of violence and by country, where there are several."""
    from geonb import plots

    named = {"outcome_score": ("outcome", plots.outcome_scores), "country_score": ("country", plots.country_scores)}
    several = {"outcome": scores.sizes.get("outcome", 0) > 1, "country": int((scores["country"] > 0).sum()) > 1}
    return [draw(scores) for name, (dim, draw) in named.items() if name in scores and several[dim]] or None


def window_scores(scores, run):
    """Scores of the test windows and the ROC along their diagonal, where windows were drawn around events."""
    from geonb import analytics, plots

    if run.samples.meta["parameters"]["chunk_size"] is None:
        return None
    found = analytics.score_windows(run.model, run.samples)
    numbers = [name for name in found.data_vars if not found[name].dims]
    return [found[numbers].to_pandas().rename("test windows").to_frame().round(4), plots.diagonal_roc(found)]
