"""Georeferenced pixels and shapes for whoever has them: grids, images, reading, stitching, polygons, OpenStreetMap, COGs."""

from geonb.base import in_place

in_place.bridge()  # whoever opens rasters, a worker elsewhere too, reads them where AWS's libraries would
