"""What systems leave in folders beside the files that people put there."""

from __future__ import annotations

CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store"}


def is_clutter(name: str) -> bool:
    """Whether a file is no file of a person: macOS's `._name` beside each file, folder settings, thumbnails."""
    return name.startswith("._") or name.lower() in CLUTTER
