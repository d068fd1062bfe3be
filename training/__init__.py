"""Datasets, training and accuracy, without QGIS."""
