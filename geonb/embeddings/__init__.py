"""Embed samples; reduce, link, cut into clusters, search a million; keep what was fitted and apply it again."""

from __future__ import annotations

from geonb.base.lazy import names_of

_WHERE = {
    "geonb.embeddings.brought": "Brought read_vectors",
    "geonb.embeddings.embedding": "MOST_NUMBERS check_settings draw_rows embed nearest open_embeddings scene_samples",
    "geonb.embeddings.marks": "Marks",
    "geonb.embeddings.planes": "METHODS check_method reduce",
    "geonb.embeddings.search": "Index build_index open_index write_geojson",
    "geonb.embeddings.trees": "GROUPINGS Tree check_clusters check_grouping cluster kinds_table link",
    "geonb.embeddings.within": "Within",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
