"""The sample store: georeferenced arrays, a table of windows into them, and a seal."""

from __future__ import annotations

from geonb.base.lazy import names_of

_WHERE = {
    "geonb.store.store": "FORMAT META_KEYS PROOF Store check_split check_store delete_store open_store proof_of stores",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
