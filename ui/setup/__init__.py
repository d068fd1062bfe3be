"""Setting up the engine: its window, and advice on GPUs."""
