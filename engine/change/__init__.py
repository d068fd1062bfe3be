"""What changed between dates: the shift first, then the objects."""
