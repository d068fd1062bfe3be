"""Ground truth: labels and areas on the grid of an image."""
