"""The folder of a run, its rasters and its record."""
