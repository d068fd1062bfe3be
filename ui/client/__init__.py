"""The way to the engine: its process, its tasks, its environment."""
