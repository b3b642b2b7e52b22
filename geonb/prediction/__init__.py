"""predictions.zarr, the network and every baseline side by side; and many rasters beyond the store's."""

from __future__ import annotations

from geonb.base.lazy import names_of

_WHERE = {
    "geonb.prediction.predictions": "Done export open_predictions predict",
}
__getattr__, __dir__, __all__ = names_of(__name__, _WHERE)
