"""Georeferenced pixels and shapes for whoever has them: grids, images, reading, stitching, polygons, OpenStreetMap, COGs."""
