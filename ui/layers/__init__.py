"""Any QGIS layer, frozen for the engine."""
