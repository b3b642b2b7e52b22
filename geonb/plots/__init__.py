"""Static figures. Each takes labelled xarray and gives back a matplotlib Figure with title, units and legend; north is up."""

from __future__ import annotations

from geonb.base.lazy import names_of

_WHERE = {
    "geonb.plots.arrays": "numbers offline",
    "geonb.plots.clusters": "component_colours component_limits components_map kinds_in_time kinds_map",
    "geonb.plots.dendrograms": "dendrogram",
    "geonb.plots.epochs": "epoch_pictures play_epochs",
    "geonb.plots.locators": "locator where",
    "geonb.plots.maps": "stretched thinned",
    "geonb.plots.planes": "manifold scatter_with_tiles trajectories",
    "geonb.plots.scores": "learning_curves reliability score_table skill source_scores",
    "geonb.plots.shared": "show tiles_of",
    "geonb.plots.style": "class_colours",
    "geonb.plots.tiles": "alike cluster_colours",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
