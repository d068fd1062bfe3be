"""The loop: learn from checked areas, and compare with the base."""
