"""Setting up the engine: its window, and what is said of GPUs."""
