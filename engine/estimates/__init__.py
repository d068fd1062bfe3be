"""What a run will take: seconds and memory."""
