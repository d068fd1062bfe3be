"""Read and write training chips."""
