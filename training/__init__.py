"""Data, training and evaluation, without QGIS."""
