"""The QGIS side: dock, map tools, layer sources, results and Processing algorithms. Never torch, rasterio or numpy."""
