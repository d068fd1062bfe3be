"""Access to the engine: its process, tasks and environment."""
