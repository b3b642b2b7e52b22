"""Georeferenced pixels for whoever has them: grids, images, reading, stitching, polygons, COGs."""
