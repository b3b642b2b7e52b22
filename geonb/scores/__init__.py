"""Metrics with intervals, what the network gains on its baselines, and whether that is beyond chance."""

from __future__ import annotations

from geonb.base.lazy import names_of

_WHERE = {
    "geonb.scores.retrieval": "score_retrieval",
    "geonb.scores.scores": "check_scores compare read_scores score table",
    "geonb.scores.verdicts": "headline summary verdict",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
