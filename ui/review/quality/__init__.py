"""Labels that are probably wrong, worst first."""
