"""Sliding-window inference and polygons, without QGIS."""
