"""Collecting: places by population, labels from OpenStreetMap and cadastres, imagery from tiles and rasters."""
