"""Training images as files, in and out."""
