"""Train a bundle from labelled data."""
