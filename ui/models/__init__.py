"""The panel Models, and the choice of a model."""
