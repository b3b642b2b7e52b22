"""Rasters and polygons as map tiles for QGIS, web maps and the eye: what a folder holds, a tile of it, and the server (`geonb serve`)."""
