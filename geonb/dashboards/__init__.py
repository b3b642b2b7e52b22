"""Maps and planes to move about in, live in JupyterLab or frozen into a page."""

from __future__ import annotations

from geonb.base.lazy import names_of

__getattr__, __dir__, __all__ = names_of(__name__, {"geonb.dashboards.tiles": "tiles_map"})
