"""Formats of other programs: models in and out, and what a run found."""
