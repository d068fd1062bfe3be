"""Training: from labelled data to a bundle."""
