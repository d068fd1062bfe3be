"""A run's polygons at another threshold, without running the model."""
