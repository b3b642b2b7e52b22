"""Metrics with intervals, what the network gains on its baselines, and whether that is beyond chance."""

from __future__ import annotations

from geonb.base.lazy import names_of

_WHERE = {
    "geonb.scores.scores": "SUMMARY check_scores compare headline score summary table verdict",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
