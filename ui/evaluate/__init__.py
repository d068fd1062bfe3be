"""The accuracy of a model: its window and its layers."""
