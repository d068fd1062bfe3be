"""Learning from checked squares, the comparison, and the versions of a label project's model."""
