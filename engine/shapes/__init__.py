"""From pixels to polygons."""
