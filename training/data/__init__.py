"""Labelled images in memory."""
