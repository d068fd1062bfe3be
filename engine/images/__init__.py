"""Any raster, read on the lattice of a model; regions on it."""
