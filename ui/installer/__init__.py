"""Makes, tests, repairs and removes the engine's environment, without a window. `ui/setup` shows it."""
