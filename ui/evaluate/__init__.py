"""A model's accuracy: window and layers."""
