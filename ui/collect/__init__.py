"""Collecting labels and imagery: a window, and what the engine needs from it."""
