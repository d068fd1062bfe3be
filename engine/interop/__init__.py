"""What leaves in formats that other programs read."""
