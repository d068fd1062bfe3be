"""Runs on disk and on the map: results, history, undo."""
