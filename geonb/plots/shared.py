"""Figures that more than one workload shows, with the words that tell how to read them."""

from __future__ import annotations

from typing import Any

from geonb.registry import Figure

RELIABILITY = Figure(
    "Does it know when it does not know",
    "Of what it calls 80 % sure, about 80 % should come true. Below the diagonal it is surer than it should be, as networks "
    "often are; above, it is too modest. ECE is the mean distance to the diagonal, weighted by the number of samples, which the "
    "bars show.",
    "geonb.plots.shared:reliability",
)


LABELS = Figure(
    "By label",
    "The same plane in the colours of what the windows mostly show. Colours that lie apart are what the network tells apart without "
    "having been asked here; a label in two heaps has kinds of its own; labels in one heap are confused, or look alike.",
    "geonb.plots.shared:by_label",
)


def show(workload: str, notebook: str, *subject: Any) -> None:
    """Display a workload's looks for a notebook, in order.

    Parameters
    ----------
    workload : name or import path of the record
    notebook : stem, e.g. ``"04_analytics"``
    subject : what the notebook gives its looks, see `GIVES`
    """
    from IPython.display import Markdown, display

    from geonb import registry
    from geonb.base import specs

    for look in registry.get(workload).figures.get(notebook, ()):
        drawn = specs.load(look.draw)(*subject) if look.draw else ()
        if drawn is None:
            continue
        display(Markdown(f"### {look.title}\n\n{look.text}" if look.title else look.text))
        for figure in drawn if isinstance(drawn, list | tuple) else [drawn]:
            display(figure)


def reliability(scores, run):
    """How often what is called so sure comes true."""
    from geonb.plots import scores as plots_scores

    return plots_scores.reliability(scores)


def by_label(vectors, letters, plane, tiles, store, run):
    """The plane of notebook 05 coloured by label; nothing where samples have none."""
    from geonb.plots import planes

    return planes.scatter_with_tiles(plane, tiles, vectors["label"].values) if "label" in vectors.coords else None
