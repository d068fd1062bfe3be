"""The device, the precision, and batches of windows on it."""
