"""Every static figure: maps, curves of training, scores, forecasts, galleries, dendrogram and scatter with tiles.

Each takes labelled xarray (a store, predictions, scores, embeddings) and gives back a matplotlib Figure with title, units and
legend; maps have north up; a class has one colour everywhere; figures of simulated data say so. This module is the list, the
drawing is beside it: `plots_maps` and `plots_locator` (where), `plots_forecast` and `plots_cells` (what is expected where),
`plots_scores` and `plots_forecast_scores` (how good), `plots_tiles` and `plots_planes` (what is alike), `plots_kinds` (where
each kind lies, and when), `plots_style`.
"""

from geonb.plots_forecast import (
    cube_maps,
    event_diffusion,
    forecast_map,
    forecast_panels,
    forecast_tiles,
    sequence_samples,
)
from geonb.plots_forecast_scores import (
    country_scores,
    diagonal_roc,
    outcome_scores,
    roc_pr,
    skill_by_lead,
    skill_by_month,
)
from geonb.plots_kinds import component_colours, component_limits, components_map, kinds_in_time, kinds_map
from geonb.plots_locator import locator
from geonb.plots_maps import class_shares, prediction_panels, rgb, samples, scene, stretched
from geonb.plots_planes import manifold, scatter_with_tiles, trajectories
from geonb.plots_scenes import scene_parts
from geonb.plots_scores import (
    area_error,
    block_scores,
    class_scores,
    confusion,
    learning_curves,
    reliability,
    score_table,
    skill,
    source_scores,
)
from geonb.plots_style import class_colours
from geonb.plots_tiles import alike, cluster_colours, dendrogram
from geonb.plots_triplets import triplet_gallery, triplet_samples

__all__ = [
    "alike",
    "area_error",
    "block_scores",
    "class_colours",
    "class_scores",
    "class_shares",
    "cluster_colours",
    "component_colours",
    "component_limits",
    "components_map",
    "confusion",
    "country_scores",
    "cube_maps",
    "dendrogram",
    "diagonal_roc",
    "event_diffusion",
    "forecast_map",
    "forecast_panels",
    "forecast_tiles",
    "kinds_in_time",
    "kinds_map",
    "learning_curves",
    "locator",
    "manifold",
    "outcome_scores",
    "prediction_panels",
    "reliability",
    "rgb",
    "roc_pr",
    "samples",
    "scatter_with_tiles",
    "scene",
    "scene_parts",
    "score_table",
    "sequence_samples",
    "skill",
    "skill_by_lead",
    "skill_by_month",
    "source_scores",
    "stretched",
    "trajectories",
    "triplet_gallery",
    "triplet_samples",
]
