"""Labels: class tables, and masks (raster of codes, or polygons with a class column) brought onto an image's grid."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geonb import grids

if TYPE_CHECKING:
    import geopandas as gpd

IGNORE = 255  # target of a pixel without a label
# of a pixel that the mask does not reach; typed, because a plain number would wrap around in small integers
NO_CODE = np.int32(np.iinfo(np.int32).min)
