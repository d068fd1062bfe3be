"""The engine's environment: made, tested, repaired and removed, without a window. `ui/setup_*.py` shows it."""
